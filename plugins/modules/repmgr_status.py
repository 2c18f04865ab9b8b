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
short_description: Print the status of clusters and write it to files
version_added: 0.1.0
description:
  - Combines the observations of all nodes into a report for humans or for programs. The playbook C(pgfleet.repmgr.status) consists of
    M(pgfleet.repmgr.repmgr_cluster_info), M(pgfleet.repmgr.repmgr_proxy_info) and this module.
  - Runs on the controller without any connection. The text is printed directly, with colours on a terminal unless C(ANSIBLE_NOCOLOR) or
    C(NO_COLOR) is set. With a JSON stdout callback, it is only in the result.
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
  proxies:
    description:
      - What the proxies of these clusters have answered, one dictionary for each, as P(pgfleet.repmgr.cluster_status#filter) takes them.
    type: list
    elements: dict
    default: []
  format:
    description:
      - V(text) for humans, V(json) for programs. The JSON is the result of P(pgfleet.repmgr.cluster_status#filter), from a line C({) to
        a line C(}).
    type: str
    choices: [text, json]
    default: text
  output:
    description:
      - A file on the controller to write the same output to, without colours. The path is relative to the current directory. The file is
        replaced atomically, in check mode as well.
    type: path
  report:
    description:
      - A file on the controller to write one HTML page for all clusters to, which needs no network and no script - health, replication
        topology, nodes, proxies, logins between nodes, events, problems and the next commands. It is written in the same way as O(output).
    type: path
seealso:
  - module: pgfleet.repmgr.repmgr_cluster_info
  - module: pgfleet.repmgr.repmgr_proxy_info
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
  description: The text that was printed, without colours.
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
