#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_status
short_description: Print the status of clusters, and write it to files
version_added: 0.1.0
description:
  - Says what the observations of all nodes mean, for a person or for a program. The playbook C(pgfleet.repmgr.status) is made of
    M(pgfleet.repmgr.repmgr_cluster_info) and this.
  - Runs on the controller and connects to nobody. Text is printed as it is, with colours on a terminal unless C(ANSIBLE_NOCOLOR) or
    C(NO_COLOR) is set; a stdout callback that makes JSON of the whole run has it in the result alone.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.info
author:
  - The pgfleet authors (@pgfleet)
options:
  nodes:
    description:
      - One dictionary for each host of any number of clusters, as P(pgfleet.repmgr.cluster_status#filter) takes them.
    type: list
    elements: dict
    required: true
  format:
    description:
      - V(text) for people, V(json) for programs. The JSON is what P(pgfleet.repmgr.cluster_status#filter) returns, from a line C({) to
        a line C(}).
    type: str
    choices: [text, json]
    default: text
  output:
    description:
      - A file on the controller that gets the same, without colours. Relative to the current directory. It is replaced as a whole,
        in check mode, too.
    type: path
  report:
    description:
      - A file on the controller that gets one HTML page for all clusters, which needs no network and no script - the verdicts, who streams
        from whom, the nodes, who reaches whom, events, problems and the next commands. Written as O(output) is.
    type: path
seealso:
  - module: pgfleet.repmgr.repmgr_cluster_info
  - plugin: pgfleet.repmgr.cluster_status
    plugin_type: filter
  - plugin: pgfleet.repmgr.status_html
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Gather the state of each node
  pgfleet.repmgr.repmgr_cluster_info:
    name: "{{ inventory_hostname }}"
    find: true
  become: true
  register: seen

- name: Combine it with the inventory variables
  ansible.builtin.set_fact:
    record:
      name: "{{ inventory_hostname }}"
      node_id: "{{ repmgr_node_id }}"
      node_name: "{{ inventory_hostname }}"
      cluster: orders
      address: "{{ ansible_host }}"
      observed: "{{ seen.observed }}"

- name: Report the status of the cluster
  pgfleet.repmgr.repmgr_status:
    nodes: "{{ ansible_play_hosts | map('extract', hostvars, 'record') | list }}"
    report: /srv/www/orders.html
  run_once: true
"""

RETURN = r"""
msg:
  description: What was printed, without colours.
  returned: always
  type: str
verdicts:
  description: The first lines of the text, one for each cluster.
  returned: always
  type: list
  elements: str
status:
  description: The same as data, as P(pgfleet.repmgr.cluster_status#filter) returns it.
  returned: always
  type: dict
"""
