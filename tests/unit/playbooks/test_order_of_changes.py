# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that changes TLS settings or addresses may end after any of its tasks, and the nodes still connect: the order that this needs."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import yaml

from conftest import PLAYBOOKS, ROOT


def load(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        return yaml.safe_load(handle)


def site():
    """'role file' of everything that site.yml imports or includes, in the order in which a run comes to it."""
    play = load(PLAYBOOKS, 'site.yml')[-1]
    found = []
    for task in play['tasks'] + play['post_tasks']:
        role = task.get('ansible.builtin.import_role') or task['ansible.builtin.include_role']
        found.append('%s %s' % (role['name'].rpartition('.')[2], role.get('tasks_from', 'main')))
    return found


def assert_in_order(names, *steps):
    assert [names.count(step) for step in steps] == [1] * len(steps), names
    assert sorted(steps, key=names.index) == list(steps), names


def written(*path):
    """{file that a task writes: its task} of the top level of a file of tasks."""
    return dict(((task.get('ansible.builtin.template') or {}).get('src'), task) for task in load(*path))


def test_repmgr_conf_names_a_new_way_when_the_servers_take_it():
    """The commands of repmgr, the promotion among them, connect as it says."""
    assert_in_order(site(), 'repmgr_install main', 'tls main', 'server main', 'repmgr_install conf', 'primary main', 'standby main', 'witness main',
                    'repmgrd main', 'guard main')
    first = [task for task in load('roles', 'repmgr_install', 'tasks', 'configure.yml') if task.get('ansible.builtin.include_tasks') == 'conf.yml']
    assert [task['when'] for task in first] == ['__repmgr_record.observed.config is none']
    assert 'repmgr.conf.j2' not in written('roles', 'repmgr_install', 'tasks', 'configure.yml')
    assert 'repmgr.conf.j2' in written('roles', 'repmgr_install', 'tasks', 'conf.yml')


def test_the_same_when_a_node_is_added():
    loops = [task['loop'] for task in load(PLAYBOOKS, 'add_node.yml')[-1]['tasks'] if 'server' in str(task.get('loop'))]
    assert len(loops) == 1
    assert_in_order(loops[0].replace('[', ']').split(']'), "'repmgr_install', 'configure'", "'server', 'main'", "'repmgr_install', 'conf'",
                    "__repmgr_role, 'main'")
