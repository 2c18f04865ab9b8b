# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When failover.yml ends its own pause."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

import pytest
import yaml

from playbook_runs import PLAYBOOKS, inventory, playbook_run


@pytest.mark.parametrize('fails, done, alone, unpaused', [
    ('nobody', False, [], ['a1', 'a2', 'b1']), ('a2', False, [], []), ('b1', False, [], ['a1', 'a2']), ('a2', True, [], ['a1', 'b1']),
    ('nobody', False, ['b1'], []),
])
def test_a_promotion_that_failed_leaves_repmgrd_paused(tmp_path, fails, done, alone, unpaused):
    with open(os.path.join(PLAYBOOKS, 'failover.yml')) as handle:
        play, = yaml.safe_load(handle)
    unpause, = [task for task in play['tasks'] if task.get('ansible.builtin.include_role', {}).get('tasks_from') == 'unpause']
    unpause.pop('ansible.builtin.include_role')
    unpause['ansible.builtin.debug'] = {'msg': '<{{ inventory_hostname }}>'}
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1:a2:b1', 'gather_facts': False, 'strategy': 'linear', 'tasks': [
        {'name': 'Promote', 'ansible.builtin.fail': {'msg': 'no'}, 'when': "inventory_hostname == '%s'" % fails}, unpause]}]))
    inventory(tmp_path, {'ansible_connection': 'local', '__repmgr_failover_last': play['vars']['__repmgr_failover_last'],
                         '__repmgr_failover': {'target': 'a2', 'done': done, 'alone': alone}})
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert (code == 0) is (fails == 'nobody'), said
    assert sorted(re.findall('<(.*)>', said)) == unpaused, said


@pytest.mark.parametrize('now, unpaused, unmasked', [
    ({'target': 'a2', 'done': False, 'alone': []}, ['a1', 'a2', 'b1'], []),
    # An election has promoted b1, or the guard of the old primary a1 has started that again before it was masked.
    ({'target': 'b1', 'done': True, 'alone': []}, ['a1', 'a2', 'b1'], []),
    ({'target': 'a1', 'done': True, 'alone': []}, ['a1', 'a2', 'b1'], ['a1']),
    ({'target': 'a1', 'done': True, 'alone': ['b1']}, [], ['a1']),
])
def test_a_primary_that_appears_during_the_run(tmp_path, now, unpaused, unmasked):
    with open(os.path.join(PLAYBOOKS, 'failover.yml')) as handle:
        play, = yaml.safe_load(handle)
    tasks = []
    for name, word in (('Unmask and enable PostgreSQL on the primary', 'unmask'), ('Unpause repmgrd', 'unpause')):
        task, = [task for task in play['tasks'] if task['name'] == name]
        tasks.append({'name': name, 'when': task['when'], 'ansible.builtin.debug': {'msg': '<%s {{ inventory_hostname }}>' % word}})
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1:a2:b1', 'gather_facts': False, 'strategy': 'linear', 'tasks': tasks}]))
    inventory(tmp_path, {
        'ansible_connection': 'local', '__repmgr_failover_last': play['vars']['__repmgr_failover_last'], '__repmgr_failover_now': now,
        '__repmgr_failover': {'target': 'a2', 'done': False, 'alone': [], 'fence': ['a1']}, '__repmgr_watched': {'server masked': '/masked'},
        '__repmgr_record': "{{ {'observed': {'files': {'/masked': 'x'} if inventory_hostname == 'a1' else {}}} }}"})
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert code == 0, said
    assert sorted(re.findall('<unpause (.*)>', said)) == unpaused and re.findall('<unmask (.*)>', said) == unmasked, said
