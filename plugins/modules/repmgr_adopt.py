#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_adopt
short_description: Write the inventory of clusters that were built by hand
version_added: 0.1.0
description:
  - Makes an inventory of this collection of what was found on nodes that run PostgreSQL and repmgr already, and says what stands in the way and what
    the playbook C(pgfleet.repmgr.site) would change. The playbook C(pgfleet.repmgr.adopt) is made of M(pgfleet.repmgr.repmgr_cluster_info) and this.
  - Runs on the controller and connects to nobody. What it prints stands there as it is; a stdout callback that makes JSON of the whole run has it in
    the result alone.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.info
author:
  - The pgfleet authors (@pgfleet)
options:
  nodes:
    description:
      - One dictionary for each host of any number of clusters, with C(name), C(connection), the variables by which Ansible connects to it, C(observed) and
        C(by_hand) as M(pgfleet.repmgr.repmgr_cluster_info) returned them, V(none) with the C(reason) where it did not answer, and C(places), where this
        collection has the files of such a node.
    type: list
    elements: dict
    required: true
  to:
    description:
      - A file on the controller that gets the inventory. Relative to the current directory. Not written in check mode. Without it the inventory is printed.
        Nobody but its owner may read it, because passwords may be added to it.
    type: path
  overwrite:
    description:
      - Whether a file that is there is replaced.
    type: bool
    default: false
seealso:
  - module: pgfleet.repmgr.repmgr_cluster_info
"""

EXAMPLES = r"""
- name: Gather the state of each node
  pgfleet.repmgr.repmgr_cluster_info:
    name: "{{ inventory_hostname }}"
    find: true
    by_hand: true
  become: true
  register: seen

- name: Record what was found
  ansible.builtin.set_fact:
    record:
      name: "{{ inventory_hostname }}"
      observed: "{{ seen.observed }}"
      by_hand: "{{ seen.by_hand }}"

- name: Write the inventory
  pgfleet.repmgr.repmgr_adopt:
    nodes: "{{ ansible_play_hosts | map('extract', hostvars, 'record') | list }}"
    to: hosts.yml
  run_once: true
"""

RETURN = r"""
inventory:
  description: The inventory as YAML.
  returned: always
  type: str
clusters:
  description:
    - What was found, each with C(name), C(primary), C(system_identifier), C(variables), and C(nodes). A node has C(name), C(node_id), C(node_name), C(group),
      C(variables), C(connection), C(seen) and C(report), a list of what this collection does in its own way, each with C(what), C(seen), and C(site),
      what C(pgfleet.repmgr.site) does with it.
  returned: always
  type: list
  elements: dict
problems:
  description: What is wrong, each with C(code), C(nodes), C(seen), C(expected), C(steps), C(message) and C(stop), whether the inventory is not whole.
  returned: always
  type: list
  elements: dict
complete:
  description: Whether there is a cluster, and no problem with C(stop).
  returned: always
  type: bool
"""
