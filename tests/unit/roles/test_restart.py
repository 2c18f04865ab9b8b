# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is looked at before a server is restarted, for the role of a node may have changed since the run began."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

LOOK = 'role_unchanged.yml'
ROLES = {'a': 'primary', 'b': 'standby', 'w': 'witness'}


@pytest.mark.parametrize('name, primary_first, in_recovery, goes_on', [
    ('b', False, True, True),
    # It was promoted meanwhile.
    ('b', False, False, False),
    # Only starting: its packages have restarted it.
    ('b', False, None, True),
    ('w', False, False, True),
    # After the switchover, and before.
    ('a', False, True, True),
    ('a', False, False, False),
    # In its place: it must not have been replaced meanwhile.
    ('a', True, False, True),
    ('a', True, True, False),
])
def test_only_what_still_has_its_role_is_restarted(host, name, primary_first, in_recovery, goes_on):
    task, = [task for task in host.load('server', 'tasks', LOOK) if 'in_recovery' in task.get('ansible.builtin.assert', {}).get('that', '')]
    found = host.rendered('{{ %s }}' % task['ansible.builtin.assert']['that'], inventory_hostname=name, __repmgr_rolling={'primary_first': primary_first},
                          __repmgr_cluster={'primary': 'a', 'roles': ROLES}, __repmgr_now={'observed': {'server': {'in_recovery': in_recovery}}})
    assert found is goes_on


@pytest.mark.parametrize('path, stops', [('restart_one.yml', 'systemd'), ('upgrade_one.yml', 'package')])
def test_it_is_looked_at_right_before_the_server_stops(host, path, stops):
    tasks = host.load('server', 'tasks', path)
    first, = [number for number, task in enumerate(tasks) if task.get('ansible.builtin.import_tasks') == LOOK]
    assert 'ansible.builtin.' + stops in tasks[first + 1]


@pytest.mark.parametrize('written, allowed, looks', [(False, True, True), (True, False, True), (False, False, False)])
def test_site_looks_again_before_it_restarts(host, written, allowed, looks):
    """Its first look may be as old as a clone is long."""
    first = host.load('server', 'tasks', 'restarts.yml')[0]
    assert first['ansible.builtin.include_role']['tasks_from'] == 'observe_again'
    assert host.rendered('{{ %s }}' % first['when'], __repmgr_settings_written=written, repmgr_allow_restart=allowed, ansible_check_mode=False) is looks


@pytest.mark.parametrize('hosts, goes_on', [(['a', 'b', 'c', 'w', 'other'], True), (['a', 'c', 'w', 'other'], False)])
def test_after_one_that_failed_nobody_is_restarted(host, hosts, goes_on):
    """A setting with which no server starts would take down one after the other, where a failure does not end the play."""
    known = {'__repmgr_rolling': {'hosts': ['a', 'b', 'c', 'w'], 'successor': 'c'}, 'ansible_play_hosts': hosts}
    first = host.load('server', 'tasks', LOOK)[0]
    assert host.rendered('{{ %s }}' % first['ansible.builtin.assert']['that'], **known) is goes_on
    tasks = host.load('server', 'tasks', 'rolling.yml')
    handed, = [task for task in tasks if 'pgfleet.repmgr.repmgr_switchover' in task]
    assert host.rendered('{{ %s }}' % handed['when'], inventory_hostname='c', **known) is goes_on
    order, = [task['ansible.builtin.set_fact'] for task in tasks if 'ansible.builtin.set_fact' in task]
    names = ['a', 'b', 'c', 'w', 'down']
    records = dict((name, {'__repmgr_record': {'name': name, 'cluster': 'lab', 'observed': {}}}) for name in names)
    # Who was out of reach before is no reason.
    assert host.rendered(order['__repmgr_rolling'], __repmgr_members=names, ansible_play_hosts=names[:-1], hostvars=records, __repmgr_to_renew=names[1:3],
                         __repmgr_cluster={'primary': 'a', 'successor': 'b', 'roles': dict.fromkeys(names, 'standby')}) == {
        'order': ['c', 'b'], 'successor': '', 'primary_first': False, 'too_low': [], 'hosts': names[:-1]}
