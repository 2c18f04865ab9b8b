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


def test_what_was_goes_when_nobody_connects_by_it():
    assert_in_order(site(), 'server main', 'repmgr_install conf', 'guard main', 'server access_stale', 'server firewall_stale', 'repmgrd reconnect',
                    'server tls_last', 'common observe')
    firewall = [task for task in load('roles', 'server', 'tasks', 'firewall.yml') if 'ansible.posix.firewalld' in task or 'community.general.ufw' in task]
    assert [(task['loop'], set(task.get('ansible.posix.firewalld', task.get('community.general.ufw'))) & {'delete'}) for task in firewall] == [
        ('{{ __repmgr_wanted }}', set())] * 2
    assert firewall[0]['ansible.posix.firewalld']['state'] == 'enabled'


def test_nobody_connects_in_a_new_way_before_all_servers_take_it():
    check, write = load('roles', 'repmgr_install', 'tasks', 'conf.yml')
    assert check['ansible.builtin.assert']['that'] == '__repmgr_members | difference(ansible_play_hosts) | length == 0'
    assert check['when'] == '__repmgr_changes_over and not ansible_check_mode' and 'ansible.builtin.template' in write


def test_the_servers_change_last_after_a_new_look():
    """By what is observed then: a WAL receiver that waits for a restart still asks for TLS."""
    observe, record, dummy, write = load('roles', 'server', 'tasks', 'tls_last.yml')
    assert observe['ansible.builtin.include_role']['tasks_from'] == 'observe'
    assert 'pgfleet.repmgr.changeover' in record['ansible.builtin.set_fact']['__repmgr_changeover'] and 'when' not in record
    assert write['ansible.builtin.import_tasks'] == 'settings.yml'


def test_both_authorities_are_trusted_before_any_server_changes():
    tasks = load('roles', 'tls', 'tasks', 'main.yml')
    assert [task.get('ansible.builtin.include_tasks') for task in tasks][-2:] == ['{{ __repmgr_tls_mode }}.yml', 'trust.yml']
    assert_in_order(site(), 'tls main', 'server main')


def test_what_changes_is_known_before_the_settings_are_compared():
    names = [list(task.get('ansible.builtin.set_fact') or task) for task in load('roles', 'common', 'tasks', 'decide.yml')]
    assert names.index(['__repmgr_changeover']) < names.index(['__repmgr_record'])


def test_remove_node_leaves_it_to_site():
    """Before it changes anything: it writes rules and guard.json of all others, and by the new ones alone nobody would connect."""
    tasks = load(PLAYBOOKS, 'remove_node.yml')[-1]['tasks']
    names = [task['name'] for task in tasks]
    check = tasks[names.index('Nodes connect to each other as the inventory says')]
    assert '(pending|changed)_(tls|address)$' in check['vars']['__repmgr_pending'] and check['when'] == '__repmgr_renewed'
    assert names.index(check['name']) < names.index('The others are a cluster without the target')
