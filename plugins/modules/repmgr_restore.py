#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_restore
short_description: One step of the restore of a cluster to an earlier moment
version_added: 0.1.0
description:
  - The playbook C(pgfleet.repmgr.restore) is made of this. By itself it is of no use, because the steps belong together with what is done to the other nodes.
  - Runs on a data node as the postgres OS user. How far a restore is, is in C(.repmgr_restore.json) in the home directory of that user.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.pgbackrest
author:
  - The pgfleet authors (@pgfleet)
attributes:
  check_mode:
    support: full
    details:
      - In check mode everything but V(look) does nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  step:
    description:
      - V(look) reports what a plan needs to know.
      - V(restore) copies a backup beside the data directory, recovers it to the target with a server that nobody reaches, and proves what came of it.
      - V(adopt) gives the restored data the records of repmgr, the password of its role and the server's configuration as they are today.
      - V(ready) fails where V(swap) would, and needs no stopped server.
      - V(swap) exchanges the two directories by renames. The server has to be stopped.
      - V(end) removes the state file.
      - V(discard) removes the files of an earlier restore that did not reach V(swap).
    type: str
    required: true
    choices: [look, restore, adopt, ready, swap, end, discard]
  database:
    description:
      - The database of repmgr.
    type: str
    default: repmgr
  user:
    description:
      - The role of repmgr.
    type: str
    default: repmgr
  target:
    description:
      - What recovery stops at, as the variable C(repmgr_restore) of the playbook says it.
    type: dict
    default: {}
  timeline:
    description:
      - The timeline of the primary. With V(0) the repository is not asked.
    type: int
    default: 0
  backup:
    description:
      - The backup that is restored, with C(label).
    type: dict
    default: {}
  timeout:
    description:
      - Seconds that the copy, and then the recovery, may take.
    type: int
    default: 86400
seealso:
  - module: pgfleet.repmgr.repmgr_node
"""

EXAMPLES = r"""
- name: Look at what an earlier restore has left
  pgfleet.repmgr.repmgr_restore:
    step: look
    data_directory: /var/lib/postgresql/15/main
    bin_dir: /usr/lib/postgresql/15/bin
    conf: /etc/pgfleet/backup/orders/node.conf
    cluster: orders
    port: 5432
  become: true
  become_user: postgres
"""

RETURN = r"""
state:
  description:
    - How far a restore is on this node, V(none) where there is none. C(phase) is restoring, proven, swapping or swapped; C(target), C(words), C(backup),
      C(directory), and, from swapping on, C(kept), the name of the old data directory. C(result) is what the restored server said of itself.
  returned: always
  type: dict
look:
  description: What a plan needs to know.
  returned: with O(step=look)
  type: dict
refusal:
  description: In the same form as for M(pgfleet.repmgr.repmgr_node).
  returned: on failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Runner
from ansible_collections.pgfleet.repmgr.plugins.module_utils._restore_work import RestoreError, Work
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

ARGUMENTS = dict(
    step=dict(type='str', required=True, choices=['look', 'restore', 'adopt', 'ready', 'swap', 'end', 'discard']),
    data_directory=dict(type='path', required=True),
    bin_dir=dict(type='path', required=True),
    conf=dict(type='path', required=True),
    cluster=dict(type='str', required=True),
    port=dict(type='int', required=True),
    socket_directory=dict(type='path', default='/var/run/postgresql'),
    database=dict(type='str', default='repmgr'),
    user=dict(type='str', default='repmgr'),
    target=dict(type='dict', default={}),
    timeline=dict(type='int', default=0),
    target_timeline=dict(type='int', default=0),
    backup=dict(type='dict', default={}),
    timeout=dict(type='int', default=86400),
)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    step = module.params['step']
    work = Work(Runner(module), module.params)
    try:
        if step == 'look':
            found = work.look()
            module.exit_json(changed=False, state=found['state'], look=found)
        changed = not module.check_mode and getattr(work, step)()
        module.exit_json(changed=bool(changed), state=work.state)
    except RestoreError as exc:
        refusal = dict(node=module.params['cluster'], seen='%s: %s' % (step, exc.seen), expected=exc.expected, steps=exc.step)
        module.fail_json(msg=message(**refusal), refusal=refusal, state=work.state)
    except CommandError as exc:
        refusal = dict(node=module.params['cluster'], seen='%s: %s' % (step, exc.message), expected='a command that succeeds', steps='Run again.')
        module.fail_json(msg=message(**refusal), refusal=refusal, state=work.state, result=exc.to_dict())
    except (IOError, OSError) as exc:
        module.fail_json(msg='%s: %s' % (step, exc), state=work.state)


if __name__ == '__main__':
    main()
