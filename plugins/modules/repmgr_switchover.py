#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_switchover
short_description: Make this standby the primary of its repmgr cluster, in good order
version_added: 0.1.0
description:
  - Checks everything that can be known beforehand, asks the old primary for a checkpoint, lets C(repmgr) try and then do the
    switchover, and verifies the result on every node, its replication slots included.
  - Beforehand means that all nodes answer, this one streams and is not behind, repmgrd runs everywhere and is paused nowhere, SSH works as
    C(repmgr) uses it and from the primary back to this node, sudo allows the service commands on every node, the primary has archived its
    WAL, and this node has room for those that will stream from it. Everything is said at once, in check mode as well.
  - Whatever happens, repmgrd is not left paused.
  - Run it on the standby that shall become primary, as the user that the server runs as. On the primary itself it changes nothing.
extends_documentation_fragment:
  - pgfleet.repmgr.repmgr
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.state
  - pgfleet.repmgr.attributes.actiongroup_repmgr
author:
  - The pgfleet authors (@pgfleet)
options:
  config_file:
    description:
      - The path of C(repmgr.conf).
    type: path
    required: true
  siblings_follow:
    description:
      - Let the other standbys and the witness follow the new primary.
    type: bool
    default: true
  max_lag:
    description:
      - Bytes that the standby may be behind before it is refused. What is behind delays the end of the write gap.
    type: int
    default: 16777216
  max_archive_ready:
    description:
      - WAL files that may wait to be archived on the primary before the switchover is refused. A primary archives them before it has
        shut down, and clients wait for that.
      - It is looked at only when C(archive_mode) is on and there is a command or library to archive with.
      - The default is where C(repmgr node check) begins to warn. C(repmgr) itself refuses from 128 on.
    type: int
    default: 16
  timeout:
    description:
      - Seconds until every node must have followed.
    type: int
    default: 60
seealso:
  - module: pgfleet.repmgr.repmgr_node
  - module: pgfleet.repmgr.repmgr_cluster_info
"""

EXAMPLES = r"""
- name: Switch over to this node
  pgfleet.repmgr.repmgr_switchover:
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
  become: true
  become_user: postgres
"""

RETURN = r"""
before:
  description: The primary before, with C(node_id) and C(node_name).
  returned: when it could be found out
  type: dict
after:
  description: The primary afterwards, with C(node_id) and C(node_name).
  returned: when the switchover was done
  type: dict
preflight:
  description: What was asked beforehand, besides the state of the nodes. What stood against the switchover is in RV(problems).
  returned: when the primary answered
  type: dict
  contains:
    ssh:
      description:
        - For each node name, whether C(repmgr)'s own SSH command works from this node. The primary, and with O(siblings_follow) the
          other standbys and the witness.
      type: dict
      sample: {"db1": true, "db3": true, "db4": true}
    ssh_back:
      description: Whether the primary reaches this node by SSH.
      returned: when this node reaches the primary
      type: bool
    sudo:
      description:
        - For each node name and each service command of its C(repmgr.conf) that begins with C(sudo), whether it may be run. It is asked by
          C(sudo -n -l), which runs nothing.
      type: dict
      sample: {"db1": {"service_start_command": true, "service_stop_command": true}}
    archive_ready:
      description: How many WAL files wait to be archived on the primary; null where the role may not count them.
      returned: when the primary archives
      type: int
    max_wal_senders:
      description: How many walsenders this node has C(free) and how many are C(needed) for those that will stream from it.
      type: dict
      sample: {"free": 10, "needed": 2}
    max_replication_slots:
      description: The same of replication slots.
      returned: when C(use_replication_slots) is on
      type: dict
      sample: {"free": 10, "needed": 2}
dry_run:
  description: What C(repmgr standby switchover --dry-run) said, with C(cmd), C(rc), C(stdout_lines) and C(stderr_lines).
  returned: when it was asked
  type: dict
switchover:
  description: What C(repmgr standby switchover) said.
  returned: when it was run
  type: dict
duration:
  description: Seconds that C(repmgr standby switchover) took.
  returned: when it was run
  type: float
checkpoint:
  description: Whether the role may ask the old primary for a checkpoint.
  returned: when it was asked
  type: bool
slots_left:
  description:
    - Slots on the old primary or another standby that nobody uses and that belong to a node which follows the new primary, with
      C(node_name), C(slot_name) and C(retained_bytes). Each is warned about. Always empty where repmgr-guard runs, which keeps a slot for
      every node on every other.
  returned: when the switchover was done
  type: list
  elements: dict
unpaused:
  description: Whether repmgrd had to be unpaused after the switchover.
  returned: when the switchover was run
  type: bool
refusal:
  description: The same as of M(pgfleet.repmgr.repmgr_node).
  returned: on failure
  type: dict
problems:
  description: What stood against the switchover, or what is not as it should be after it.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _observe
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Runner
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import MAX_LAG
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import Psql
from ansible_collections.pgfleet.repmgr.plugins.module_utils._repmgr import Repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message
from ansible_collections.pgfleet.repmgr.plugins.module_utils._switchover import Switchover, SwitchoverError

ARGUMENTS = dict(
    config_file=dict(type='path', required=True),
    bin_dir=dict(type='path', required=True),
    siblings_follow=dict(type='bool', default=True),
    max_lag=dict(type='int', default=MAX_LAG),
    max_archive_ready=dict(type='int', default=16),
    timeout=dict(type='int', default=60),
    passfile=dict(type='path', no_log=False),
    connect_timeout=dict(type='int', default=3),
)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    config = _observe.read_config(params['config_file'])
    if not config or not config.get('conninfo') or not isinstance(config.get('node_id'), int):
        module.fail_json(msg='%s has no node_id and conninfo that can be read' % params['config_file'])
    runner = Runner(module)
    switchover = Switchover(
        runner,
        Psql(runner, params['bin_dir'], params['passfile'], params['connect_timeout']),
        Repmgr(runner, params['bin_dir'], params['config_file'], params['passfile']),
        _observe.Place(config.get('node_name', ''), params['config_file'], params['bin_dir'], user=_observe.current_user()),
        params)
    try:
        switchover.look()
        if switchover.is_primary:
            module.exit_json(changed=False, **switchover.result())
        switchover.run(module.check_mode)
    except SwitchoverError as exc:
        _warn(module, switchover)
        result = switchover.result()
        result['problems'] = exc.problems
        refusal = dict(node=config.get('node_name', ''), seen='; '.join(exc.problems), expected=exc.expected, steps=exc.steps)
        module.fail_json(
            changed=switchover.begun,
            msg=message(**refusal), refusal=refusal, **result)
    _warn(module, switchover)
    result = switchover.result()
    module.exit_json(changed=True, diff={'before': {'primary': result['before']}, 'after': {'primary': switchover.target}}, **result)


def _warn(module, switchover):
    for note in switchover.notes:
        module.warn(note)


if __name__ == '__main__':
    main()
