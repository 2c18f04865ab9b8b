# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state that rejoin.yml leaves when it fails: its own block runs, with tasks that only record what they would do."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

import pytest
import yaml

from playbook_runs import PLAYBOOKS, inventory, playbook_run

SYSTEMD, NODE = 'ansible.builtin.systemd', 'pgfleet.repmgr.repmgr_node'
UNMASK, MASK, STOP = 'postgresql@15-main masked=False', 'postgresql@15-main masked=True', 'postgresql@15-main enabled=False state=stopped'
ENABLE, GUARD, GUARD_STOP = 'postgresql@15-main enabled=True', 'repmgr-guard state=started', 'repmgr-guard state=stopped'


def stub(task):
    """The task with its module replaced by one that records the step. It fails if the step is in `failing`."""
    made = dict((key, value) for key, value in task.items() if key in ('name', 'when', 'vars', 'register'))
    for part in ('block', 'rescue', 'always'):
        if part in task:
            made[part] = [stub(each) for each in task[part]]
    if 'block' in made:
        return made
    if SYSTEMD in task:
        options = ' '.join('%s=%s' % item for item in sorted(task[SYSTEMD].items()) if item[0] != 'name')
        word = '%s %s' % (task[SYSTEMD]['name'], options)
    elif NODE in task:
        word = task[NODE]['rejoin']
    elif 'ansible.builtin.import_role' in task:
        word = task['ansible.builtin.import_role']['name']
    else:
        return task
    made['vars'] = dict(task.get('vars', {}), step=word)
    made['ansible.builtin.debug'] = {'msg': 'did: {{ step }}'}
    made['changed_when'] = 'was_masked' if 'masked=False' in word else False
    made['failed_when'] = 'step is search(failing)'
    return made


def rejoin(folder, failing='^$', asked='rewind', was_masked=True, guard=True, server='stopped'):
    """(rc, the steps that were begun)"""
    with open(os.path.join(PLAYBOOKS, 'rejoin.yml')) as handle:
        tasks = [task for task in yaml.safe_load(handle)[-1]['tasks'] if 'always' in task]
    assert len(tasks) == 1
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_become': False, '__repmgr_service': 'postgresql@15-main', 'was_masked': was_masked, 'failing': failing,
        '__repmgr_given': {'target': 'a1', 'rejoin': asked}, '__repmgr_record': {'observed': {
            'server': {'state': server}, 'receiver': {'status': 'streaming'} if server == 'running' else None, 'guard': guard and {'running': True}}}})
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': [stub(task) for task in tasks]}]))
    code, said = playbook_run(folder, 'play.yml', ['-v'])
    return code, re.findall(r'^    "msg": "did: ([^"]*)"', said, re.M), said


@pytest.mark.parametrize('case, steps', [
    ({}, [GUARD_STOP, UNMASK, 'rewind', ENABLE, 'pgfleet.repmgr.repmgrd', GUARD]),
    ({'asked': 'reclone', 'failing': 'rewind'}, [GUARD_STOP, UNMASK, 'rewind', 'reclone', ENABLE, 'pgfleet.repmgr.repmgrd', GUARD]),
    ({'guard': None}, [UNMASK, 'rewind', ENABLE, 'pgfleet.repmgr.repmgrd']),
    ({'was_masked': False, 'server': 'running'}, [UNMASK, 'rewind', ENABLE, 'pgfleet.repmgr.repmgrd', GUARD]),
])
def test_brings_it_back(tmp_path, case, steps):
    code, done, said = rejoin(tmp_path, **case)
    assert (code, done) == (0, steps), said


@pytest.mark.parametrize('case, steps', [
    ({'failing': 'rewind'}, ['rewind', STOP, MASK, GUARD]),
    ({'failing': 'rewind|reclone', 'asked': 'reclone'}, ['rewind', 'reclone', STOP, MASK, GUARD]),
    ({'failing': 'attach', 'asked': 'attach'}, ['attach', STOP, MASK, GUARD]),
    ({'failing': 'rewind|reclone', 'asked': 'reclone', 'guard': None}, ['rewind', 'reclone', STOP, MASK]),
    ({'failing': 'rewind|main enabled=False state=stopped'}, ['rewind', STOP, GUARD]),
    # Somebody else stopped it, or it ran: that is no fence.
    ({'failing': 'rewind', 'was_masked': False}, ['rewind', GUARD]),
    # It is a standby by then.
    ({'failing': 'repmgrd'}, ['rewind', ENABLE, 'pgfleet.repmgr.repmgrd', GUARD]),
])
def test_leaves_it_as_it_was(tmp_path, case, steps):
    code, done, said = rejoin(tmp_path, **case)
    done = done[done.index(UNMASK) + 1:]
    assert (code, done) == (2, steps), said
