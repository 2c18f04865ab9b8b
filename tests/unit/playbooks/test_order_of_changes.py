# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that changes TLS settings or addresses may be interrupted after any task, and the nodes can still connect: the order of tasks for that."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess

import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def load(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        found = yaml.safe_load(handle)
    # That of the proxies comes after the cluster's.
    return [each for each in found if each.get('name') != 'Configure the proxies'] if path[0] == 'playbooks' else found


def site():
    """'role file' of everything that site.yml imports or includes, in the order in which a run comes to it."""
    play = load('playbooks', 'site.yml')[-1]
    found = []
    for task in play['tasks'] + play['post_tasks']:
        role = task.get('ansible.builtin.import_role') or task['ansible.builtin.include_role']
        found.append('%s %s' % (role['name'].rpartition('.')[2], role.get('tasks_from', 'main')))
    return found


def assert_in_order(names, *steps):
    assert [names.count(step) for step in steps] == [1] * len(steps), names
    assert sorted(steps, key=names.index) == list(steps), names


def written(*path):
    """{template that a task writes: its task} of a file of tasks and the blocks in it."""
    tasks = [each for task in load(*path) for each in task.get('block', [task])]
    return dict((entry.get('template'), task) for task in tasks for entry in task.get('pgfleet.repmgr.repmgr_files', {}).get('files', []))


def test_repmgr_conf_names_a_new_way_when_the_servers_take_it():
    """The commands of repmgr, the promotion among them, connect as it says."""
    assert_in_order(site(), 'repmgr_install main', 'tls main', 'server main', 'repmgr_install conf', 'primary main', 'standby main', 'witness main',
                    'repmgrd main', 'guard main')
    first = [task for task in load('roles', 'repmgr_install', 'tasks', 'configure.yml') if task.get('ansible.builtin.include_tasks') == 'conf.yml']
    assert [task['when'] for task in first] == ['__repmgr_record.observed.config is none']
    assert 'repmgr.conf.j2' not in written('roles', 'repmgr_install', 'tasks', 'configure.yml')
    assert 'repmgr.conf.j2' in written('roles', 'repmgr_install', 'tasks', 'conf.yml')


def test_the_same_when_a_node_is_added():
    loops = [task['loop'] for task in load('playbooks', 'add_node.yml')[-1]['tasks'] if 'server' in str(task.get('loop'))]
    assert len(loops) == 1
    assert_in_order(loops[0].replace('[', ']').split(']'), "'repmgr_install', 'configure'", "'server', 'main'", "'repmgr_install', 'conf'",
                    "__repmgr_role, 'main'")


def test_what_was_goes_when_nobody_connects_by_it():
    assert_in_order(site(), 'server main', 'repmgr_install conf', 'guard main', 'server access_stale', 'server firewall_stale', 'repmgrd reconnect',
                    'server tls_last', 'common observe_again')
    firewall = [task for task in load('roles', 'server', 'tasks', 'firewall.yml') if 'ansible.posix.firewalld' in task or 'community.general.ufw' in task]
    assert [(task['loop'], set(task.get('ansible.posix.firewalld', task.get('community.general.ufw'))) & {'delete'}) for task in firewall] == [
        ('{{ __repmgr_wanted }}', set())] * 2
    assert firewall[0]['ansible.posix.firewalld']['state'] == 'enabled'


def test_nobody_connects_in_a_new_way_before_all_servers_take_it():
    check, write, dummy = load('roles', 'repmgr_install', 'tasks', 'conf.yml')
    assert check['ansible.builtin.assert']['that'] == '__repmgr_members | difference(ansible_play_hosts) | length == 0'
    assert check['when'] == '__repmgr_changes_over and not ansible_check_mode'
    assert write['pgfleet.repmgr.repmgr_files']['files'][0]['template'] == 'repmgr.conf.j2'


def test_the_servers_change_last_after_a_new_look():
    """They depend on a new observation: a WAL receiver that has not been restarted still requires TLS."""
    observe, record, dummy, write = load('roles', 'server', 'tasks', 'tls_last.yml')
    assert observe['ansible.builtin.include_role']['tasks_from'] == 'observe_again'
    assert 'pgfleet.repmgr.changeover' in record['ansible.builtin.set_fact']['__repmgr_changeover'] and 'when' not in record
    assert write['ansible.builtin.import_tasks'] == 'settings.yml'


def test_both_authorities_are_trusted_before_any_server_changes():
    tasks = load('roles', 'tls', 'tasks', 'main.yml')
    assert [task.get('ansible.builtin.include_tasks') for task in tasks][-2:] == ['{{ __repmgr_tls_mode }}.yml', 'trust.yml']
    assert_in_order(site(), 'tls main', 'server main')


def test_what_changes_is_known_before_the_settings_are_compared():
    names = [list(task.get('ansible.builtin.set_fact') or task) for task in load('roles', 'common', 'tasks', 'decide.yml')]
    assert names.index(['__repmgr_changeover']) < names.index(['__repmgr_record'])


@pytest.mark.parametrize('playbook, before', [
    ('remove_node', 'Gather the state of all nodes again'), ('rotate_credentials', 'Choose the next password')])
def test_others_leave_it_to_site(playbook, before):
    """They refuse before any change: the rules, certificates and keys that they write would lock out nodes that still use the former addresses."""
    names = [task['name'] for task in load('playbooks', playbook + '.yml')[-1]['tasks']]
    task = load('playbooks', playbook + '.yml')[-1]['tasks'][names.index('Check that no TLS or address change is pending')]
    assert task['ansible.builtin.include_role']['tasks_from'] == 'settled'
    assert names.index(task['name']) == names.index(before) - 1


@pytest.mark.parametrize('later, address', [('10.0.0.2', None), ('192.168.0.2', '10.0.0.2')])
def test_what_they_say(tmp_path, later, address):
    server = {'state': 'running', 'sql': True, 'in_recovery': False, 'settings': {'port': '5433'}}
    row = {'node_id': 1, 'node_name': 'a', 'type': 'primary', 'active': True, 'conninfo': 'host=10.0.0.2 user=repmgr dbname=repmgr'}
    record = {'name': 'a', 'node_id': '1', 'node_name': 'a', 'port': '5432', 'address': later, 'user': 'repmgr', 'database': 'repmgr', 'tls': '',
              'conninfo': '', 'observed': {'server': server, 'repmgr': {'nodes': [row]}}}
    tasks = [{'import_role': {'name': 'pgfleet.repmgr.common', 'tasks_from': 'settled'}}]
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
        'hosts': 'a', 'gather_facts': False, 'connection': 'local', 'tasks': tasks, 'vars': {'__repmgr_to_settle': ['a']}}]))
    (tmp_path / 'hosts.yml').write_text(yaml.safe_dump({'all': {'hosts': {'a': {'__repmgr_record': record}}}}))
    (tmp_path / 'ansible.cfg').write_text('')
    done = subprocess.run(
        ['ansible-playbook', '-i', 'hosts.yml', 'play.yml'], cwd=str(tmp_path), timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, check=False, env=dict(os.environ, ANSIBLE_NOCOLOR='1', ANSIBLE_CONFIG='ansible.cfg', ANSIBLE_STDOUT_CALLBACK='default',
                                                       ANSIBLE_COLLECTIONS_PATH=os.path.join(ROOT, '.ansible', 'collections')))
    said = ' '.join(done.stdout.split())
    # Another port is no matter of these.
    assert 'repmgr_port' not in said and (done.returncode, 'a: is connected to by %s, and its repmgr_address is %s' % (address, later) in said) == (
        (2, True) if address else (0, False)), said
