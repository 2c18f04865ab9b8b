# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that must run on one node after the other do so, in the right order, regardless of the user's ansible.cfg."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import itertools
import os
import re
import shutil

import pytest
import yaml

from playbook_runs import PLAYBOOKS, ROOT, inventory, playbook_run


@pytest.mark.parametrize('path', sorted(glob.glob(os.path.join(PLAYBOOKS, '*.yml'))), ids=os.path.basename)
def test_no_play_leaves_its_strategy_to_the_configuration(path):
    """With strategy `free`, a host would decide before the others are observed, and all nodes would restart at the same time."""
    with open(path) as handle:
        assert set(play.get('strategy') for play in yaml.safe_load(handle)) == set(['linear'])


@pytest.mark.parametrize('order', list(itertools.permutations(['a1', 'a2', 'b1'])), ids=','.join)
def test_a_newer_repmgr_comes_to_the_nodes_in_their_order(tmp_path, order):
    """A standby whose turn comes before that of the primary has a repmgrd that does not start."""
    shutil.copy(os.path.join(ROOT, 'roles', 'server', 'tasks', 'extension.yml'), str(tmp_path))
    (tmp_path / 'extension_one.yml').write_text(yaml.safe_dump(
        [{'name': step, 'ansible.builtin.debug': {'msg': '<%s {{ inventory_hostname }}>' % step}} for step in ('packages', 'daemon')]))
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1:a2:b1:b2', 'gather_facts': False, 'strategy': 'linear', 'tasks': [
        {'ansible.builtin.include_tasks': 'extension.yml'}]}]))
    inventory(tmp_path, {'ansible_connection': 'local', '__repmgr_versions': {'order': list(order)}})
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert code == 0, said
    assert re.findall('<(.*)>', said) == ['%s %s' % (step, host) for host in order for step in ('packages', 'daemon')], said


@pytest.mark.parametrize('depths', [{'a1': 0, 'a2': 0, 'b1': 1}, {'a1': 2, 'a2': 0, 'b1': 1}, {'a1': 1, 'a2': 2, 'b1': 0}], ids=str)
def test_who_replicates_from_a_standby_comes_after_it(tmp_path, depths):
    tasks = os.path.join(ROOT, 'roles', 'standby', 'tasks')
    shutil.copy(os.path.join(tasks, 'level.yml'), str(tmp_path))
    with open(os.path.join(tasks, 'main.yml')) as handle:
        loop, = [task for task in yaml.safe_load(handle) if 'loop' in task]
    (tmp_path / 'node.yml').write_text(yaml.safe_dump([
        {'name': 'node', 'ansible.builtin.debug': {'msg': '<{{ inventory_hostname }}>'}, 'register': 'node'}]))
    # What it registers stays.
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1:a2:b1', 'gather_facts': False, 'strategy': 'linear', 'tasks': [
        loop, {'ansible.builtin.assert': {'that': 'node is not skipped'}}]}]))
    inventory(tmp_path, {'ansible_connection': 'local', '__repmgr_cluster': {'depths': depths}})
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert code == 0, said
    found = re.findall('<(.*)>', said)
    assert sorted(found) == sorted(depths) and [depths[host] for host in found] == sorted(depths.values()), said


@pytest.mark.parametrize('primary, ours', [
    ('a1', ['a1', 'a2', 'b1']), ('a2', ['a1', 'a2', 'b1']), ('b1', ['a1', 'a2', 'b1']), ('a1', ['a1', 'b1']), ('a1', [])])
def test_a_cluster_leaves_with_its_primary_last(tmp_path, primary, ours):
    """The guards of the others are asked by the primary's for as long as that is there. What is not ours is passed over."""
    turns = [host for host in ('b1', 'a2', 'a1') if host != primary] + [primary]
    with open(os.path.join(PLAYBOOKS, 'leave.yml')) as handle:
        play, = yaml.safe_load(handle)
    loop, = [task for task in play['tasks'] if task.get('ansible.builtin.include_role', {}).get('tasks_from') == 'leave']
    loop['ansible.builtin.include_tasks'] = {'file': 'leave_one.yml', 'apply': loop.pop('ansible.builtin.include_role')['apply']}
    (tmp_path / 'leave_one.yml').write_text(yaml.safe_dump([
        {'name': step, 'ansible.builtin.debug': {'msg': '<%s {{ inventory_hostname }}>' % step}} for step in ('conf', 'guard')]))
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
        'hosts': 'a1:a2:b1', 'gather_facts': False, 'strategy': 'linear', 'tasks': [loop], 'vars': {
            '__repmgr_turns': play['vars']['__repmgr_turns'], '__repmgr_leave': {'turns': turns, 'ours': ours}}}]))
    inventory(tmp_path, {'ansible_connection': 'local'})
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert code == 0, said
    turns = [host for host in turns if host in ours]
    assert re.findall('<(.*)>', said) == ['%s %s' % (step, host) for host in turns for step in ('conf', 'guard')], said
