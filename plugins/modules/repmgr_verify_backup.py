#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_verify_backup
short_description: One step of a restore drill
version_added: 0.1.0
description:
  - The playbook C(pgfleet.repmgr.verify_backup) is made of this. By itself it is of no use, because it does what a plan says.
  - Runs on a data node as the postgres OS user. Which directory is the copy of a drill is in C(.repmgr_verify.json) in the home directory of that user, as
    long as there is one.
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
      - V(look) reports the data that a plan needs.
      - V(run) copies a backup into a directory of its own, recovers it with a server that nobody reaches, checks it, and removes it.
      - V(clean) removes what a drill has left that was killed.
    type: str
    required: true
    choices: [look, run, clean]
  name:
    description:
      - The name of the node in the inventory.
    type: str
    required: true
  directory:
    description:
      - The directory of the copy, by default beside the data directory and named like it with C(.verify). It is made and removed; one that is there and is not
        of a drill is never touched.
    type: str
    default: ""
  target:
    description:
      - What recovery stops at, as the variable C(repmgr_restore) of the playbook C(restore) says it.
    type: dict
    default: {latest: true}
  timeline:
    description:
      - The timeline of the cluster. With V(0) the repository is not asked.
    type: int
    default: 0
  backup:
    description:
      - The backup that is restored, as the plan has it.
    type: dict
    default: {}
  archive:
    description:
      - The first and the last WAL file in the archive, as the plan has it.
    type: dict
    default: {}
  history:
    description:
      - The text of the history file of O(target_timeline).
    type: str
    default: ""
  queries:
    description:
      - What is asked of the restored databases.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description:
          - The database.
        type: str
        required: true
      query:
        description:
          - SQL, as C(psql) takes it.
        type: str
        required: true
      expected:
        description:
          - What C(psql -At) prints. Without it the query only has to succeed.
        type: str
  timeout:
    description:
      - Seconds after which the drill ends.
    type: int
    default: 86400
seealso:
  - module: pgfleet.repmgr.repmgr_restore
"""

EXAMPLES = r"""
- name: Remove what a drill has left that was killed
  pgfleet.repmgr.repmgr_verify_backup:
    step: clean
    name: db2
    data_directory: /var/lib/postgresql/15/main
    bin_dir: /usr/lib/postgresql/15/bin
    conf: /etc/pgfleet/backup/orders/node.conf
    cluster: orders
    port: 5432
  become: true
  become_user: postgres
"""

RETURN = r"""
look:
  description: What a plan needs to know.
  returned: with O(step=look)
  type: dict
result:
  description:
    - What the drill has found. C(ok); C(problem) and its C(kind) (copy, recovery, gap, damage, query), both empty where all is well; C(label), C(type) and
      C(bytes) of the backup, C(database_bytes) of all restored databases; C(target) in words, C(timeline), C(lsn) and C(newest_commit) that were reached;
      C(checks) that were made; C(node), C(begun) and C(ended) in seconds since 1970, and the C(seconds) that its parts took.
  returned: with O(step=run)
  type: dict
refusal:
  description: In the same form as for M(pgfleet.repmgr.repmgr_node). The drill came to no result.
  returned: on failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Runner
from ansible_collections.pgfleet.repmgr.plugins.module_utils._private_server import RestoreError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message
from ansible_collections.pgfleet.repmgr.plugins.module_utils._verify_work import Verification

ARGUMENTS = dict(
    step=dict(type='str', required=True, choices=['look', 'run', 'clean']),
    name=dict(type='str', required=True),
    data_directory=dict(type='path', required=True),
    directory=dict(type='str', default=''),
    bin_dir=dict(type='path', required=True),
    conf=dict(type='path', required=True),
    cluster=dict(type='str', required=True),
    port=dict(type='int', required=True),
    socket_directory=dict(type='path', default='/var/run/postgresql'),
    target=dict(type='dict', default={'latest': True}),
    timeline=dict(type='int', default=0),
    target_timeline=dict(type='int', default=0),
    backup=dict(type='dict', default={}),
    archive=dict(type='dict', default={}),
    history=dict(type='str', default=''),
    queries=dict(type='list', elements='dict', default=[], options=dict(
        database=dict(type='str', required=True), query=dict(type='str', required=True), expected=dict(type='str'))),
    timeout=dict(type='int', default=86400),
)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    step, name = module.params['step'], module.params['name']
    work = Verification(Runner(module), module.params)
    try:
        if step == 'look':
            module.exit_json(changed=False, look=work.look())
        changed = not module.check_mode and getattr(work, step)()
        module.exit_json(changed=bool(changed), result=work.result)
    except RestoreError as exc:
        refusal = dict(node=name, seen='%s: %s' % (step, exc.seen), expected=exc.expected, steps=exc.step)
        module.fail_json(msg=message(**refusal), refusal=refusal)
    except CommandError as exc:
        refusal = dict(node=name, seen='%s: %s' % (step, exc.message), expected='a command that succeeds', steps='Run again.')
        # No result: that is what a drill has found.
        module.fail_json(msg=message(**refusal), refusal=refusal, command=exc.to_dict())
    except (IOError, OSError) as exc:
        module.fail_json(msg='%s: %s: %s' % (name, step, exc))


if __name__ == '__main__':
    main()
