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
short_description: Make this standby the primary of its repmgr cluster by a switchover
version_added: 0.1.0
description:
  - Runs a preflight, requests a checkpoint on the old primary, runs the dry run of C(repmgr) and then its switchover, and verifies the result
    on every node, including replication slots.
  - The preflight checks that all nodes answer, that this one streams and does not lag, that repmgrd runs on all nodes and is not paused, that
    SSH works in the way C(repmgr) uses it and from the primary back to this node, that sudo allows the service commands on every node, that the
    primary has archived its WAL, and that this node has enough WAL senders and slots. It reports all problems at once, in check mode as well.
  - repmgrd is never left paused, even if the switchover fails.
  - Run it on the standby that shall become primary, as the postgres OS user. On the primary itself it changes nothing.
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
      - The lag in bytes above which the switchover is refused. The lag adds to the time without writes.
    type: int
    default: 16777216
  max_archive_ready:
    description:
      - The number of WAL files waiting to be archived on the primary above which the switchover is refused. A primary archives them before it
        shuts down, and clients wait for that.
      - This is checked only if C(archive_mode) is on and an archive command or library is set.
      - The default is the threshold at which C(repmgr node check) warns. C(repmgr) itself refuses from 128 on.
    type: int
    default: 16
  timeout:
    description:
      - Seconds to wait until all nodes follow the new primary.
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
  description: The results of the preflight, except for the state of the nodes. The reasons against the switchover are in RV(problems).
  returned: when the primary answered
  type: dict
  contains:
    ssh:
      description:
        - For each node name, whether the SSH command of C(repmgr) works from this node. Checked for the primary, and with
          O(siblings_follow) for the other standbys and the witness.
      type: dict
      sample: {"db1": true, "db3": true, "db4": true}
    ssh_back:
      description: Whether the primary can log in to this node by SSH.
      returned: if this node can log in to the primary
      type: bool
    sudo:
      description:
        - For each node name and each service command in its C(repmgr.conf) that begins with C(sudo), whether it may be run. This is checked
          with C(sudo -n -l), which runs nothing.
      type: dict
      sample: {"db1": {"service_start_command": true, "service_stop_command": true}}
    archive_ready:
      description: Number of WAL files waiting to be archived on the primary; null if the role may not count them.
      returned: if the primary archives
      type: int
    max_wal_senders:
      description: Number of WAL senders that are C(free) on this node, and that are C(needed) for the nodes that will stream from it.
      type: dict
      sample: {"free": 10, "needed": 2}
    max_replication_slots:
      description: The same for replication slots.
      returned: if C(use_replication_slots) is on
      type: dict
      sample: {"free": 10, "needed": 2}
dry_run:
  description: The result of C(repmgr standby switchover --dry-run), with C(cmd), C(rc), C(stdout_lines) and C(stderr_lines).
  returned: when it was run
  type: dict
switchover:
  description: The result of C(repmgr standby switchover), in the same form.
  returned: when it was run
  type: dict
duration:
  description: Seconds that C(repmgr standby switchover) took.
  returned: when it was run
  type: float
checkpoint:
  description: Whether the role was allowed to request a checkpoint on the old primary.
  returned: when it was requested
  type: bool
slots_left:
  description:
    - Inactive slots on the old primary or another standby for nodes that follow the new primary, with C(node_name), C(slot_name) and
      C(retained_bytes). There is a warning for each. Always empty if repmgr-guard runs, which keeps a slot for every node on every other.
  returned: when the switchover was done
  type: list
  elements: dict
unpaused:
  description: Whether repmgrd had to be unpaused after the switchover.
  returned: when the switchover was run
  type: bool
refusal:
  description: In the same form as for M(pgfleet.repmgr.repmgr_node).
  returned: on failure
  type: dict
problems:
  description: The reasons against the switchover, or the problems after it.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _place
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
    config = _place.read_config(params['config_file'])
    if not config or not config.get('conninfo') or not isinstance(config.get('node_id'), int):
        module.fail_json(msg='%s has no node_id and conninfo that can be read' % params['config_file'])
    runner = Runner(module)
    switchover = Switchover(
        runner,
        Psql(runner, params['bin_dir'], params['passfile'], params['connect_timeout']),
        Repmgr(runner, params['bin_dir'], params['config_file'], params['passfile']),
        _place.Place(config.get('node_name', ''), params['config_file'], params['bin_dir'], user=_place.current_user()),
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
