#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_arguments
short_description: Check the extra variables of a playbook of this collection
version_added: 0.1.0
description:
  - The first task of each playbook of this collection. Compares the extra variables with the arguments of the playbook, the hosts of the
    play and their clusters, and fails with a list of valid names if one does not match.
  - A variable with the collection's prefix, such as C(repmgr_target), may also come from C(import_playbook). Its short name, such as
    C(target), is accepted only with C(-e).
  - An extra variable that begins with C(repmgr_) and is not a variable of this collection is refused.
  - Runs on the controller without any connection. It is an internal part of the playbooks.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.info
author:
  - The pgfleet authors (@pgfleet)
options:
  playbook:
    description: The name of the playbook.
    type: str
    required: true
    choices:
      - add_node
      - adopt
      - backup
      - failover
      - leave
      - maintenance
      - minor_upgrade
      - preflight
      - rejoin
      - remove_node
      - restore
      - rolling_restart
      - rotate_credentials
      - site
      - status
      - switchover
      - verify_backup
"""

EXAMPLES = r"""
- name: Check the arguments
  pgfleet.repmgr.repmgr_arguments:
    playbook: switchover
  register: arguments
  run_once: true
"""

RETURN = r"""
only:
  description: The clusters of this run; empty for all clusters. A host as an argument limits the run to its cluster.
  returned: success
  type: list
  elements: str
target:
  description:
    - The host given as C(repmgr_target). Each other argument of the playbook is returned in the same way, under its name without C(repmgr_).
  returned: if the playbook has this argument
  type: str
"""
