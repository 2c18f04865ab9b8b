# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is registered votes, and the primary never counts fewer votes than the others."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def tasks(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        found = yaml.safe_load(handle)
    return found[0]['tasks'] if 'tasks' in found[0] else found


def parts(task):
    """[(role, tasks_from)] that a task includes, loops resolved as far as their text goes."""
    included = task.get('ansible.builtin.include_role') or {}
    return str(task.get('loop', '')) + ' %s %s' % (included.get('name'), included.get('tasks_from'))


def test_a_new_node_votes_after_it_is_registered_and_before_it_may_elect():
    order = [parts(task) for task in tasks('playbooks', 'add_node.yml')]
    found = [[number for number, text in enumerate(order) if words in text] for words in (
        "[__repmgr_role, 'main']", 'pgfleet.repmgr.guard new_votes', 'pgfleet.repmgr.guard peers', "['repmgrd', 'main']")]
    assert [len(numbers) for numbers in found] == [1, 1, 1, 1] and sorted(found) == found, found
    assert "['guard', 'main']" in order[found[3][0]]


def test_in_site_too_the_primary_counts_a_new_vote_first():
    names = [task['ansible.builtin.include_tasks'] for task in tasks('roles', 'guard', 'tasks', 'main.yml') if 'ansible.builtin.include_tasks' in task]
    assert names == ['new_votes.yml', 'watch.yml']
    write, check = tasks('roles', 'guard', 'tasks', 'new_votes.yml')
    assert write['ansible.builtin.import_tasks'] == 'peers.yml' and write['when'].startswith('inventory_hostname == __repmgr_primary.name and')
    assert check['ansible.builtin.assert']['that'] == '__repmgr_primary.name in ansible_play_hosts'


def test_it_counts_a_vote_that_is_gone_for_longer_than_the_others():
    when = [task['when'].strip() for task in tasks('playbooks', 'remove_node.yml') if 'pgfleet.repmgr.guard peers' in parts(task)]
    # Only where there is a guard: not on a cluster that was never deployed.
    guarded = " and __repmgr_files['guard.json'] in __repmgr_record.observed.files"
    assert when == ["inventory_hostname not in [__repmgr_given.target, __repmgr_primary.name] and __repmgr_role != 'witness'" + guarded,
                    'inventory_hostname == __repmgr_primary.name' + guarded]
