# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leave.yml looks at once more between its pause and the first node."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from playbook_runs import PLAYBOOKS, inventory, playbook_run

BEFORE = {'turns': ['a2', 'a1'], 'refuse': [], 'begun': False, 'ours': ['a1', 'a2'], 'unpaused': ['a1', 'a2']}


def load():
    with open(os.path.join(PLAYBOOKS, 'leave.yml')) as handle:
        play, = yaml.safe_load(handle)
    return play


@pytest.mark.parametrize('now, goes_on', [
    ({}, True), ({'unpaused': ['a2']}, False), ({'turns': ['a1', 'a2']}, False), ({'refuse': ['a2: its server is in state stopped.']}, False)], ids=str)
def test_it_goes_on_only_where_all_are_paused_and_the_primary_is_the_same(tmp_path, now, goes_on):
    play = load()
    check, = [task for task in play['tasks'] if 'ansible.builtin.assert' in task]
    inventory(tmp_path, {
        'ansible_connection': 'local', '__repmgr_leave': BEFORE, '__repmgr_leave_now': dict(BEFORE, **dict({'unpaused': []}, **now)),
        '__repmgr_says_why': True, '__repmgr_see_there': 'there', '__repmgr_cluster': {'summary': 'healthy'}})
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
        'hosts': 'a1', 'gather_facts': False, 'tasks': [check], 'vars': {name: play['vars'][name] for name in ('__repmgr_turns', '__repmgr_at_work')}}]))
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert (code == 0) is goes_on, said
    if not goes_on:
        assert 'primary a1 as before' in ' '.join(said.split()) and 'repmgr_maintenance=unpause' in said, said


def test_it_looks_again_before_anything_is_removed():
    names = [(task.get('ansible.builtin.include_role') or task.get('ansible.builtin.import_role') or {}).get('tasks_from') or task['name']
             for task in load()['tasks']]
    wanted = ['pause', 'observe_again', 'Compute the plan again', 'Check that all nodes are paused and the primary is the same', 'leave', 'unpause']
    assert names[names.index('pause'):names.index('unpause') + 1] == wanted
