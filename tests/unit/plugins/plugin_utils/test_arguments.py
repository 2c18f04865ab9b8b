# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..', '..'))
HOSTS = {'o1': 'orders', 'o2': 'orders', 'b1': 'billing', 'n1': '15', 'x': ''}
VARIABLES = ('repmgr_password', 'repmgr_port')


def check(playbook, **extra):
    """As with -e: a variable with our prefix is in both."""
    return _arguments.check(playbook, dict((name, value) for name, value in extra.items() if name in _arguments.ARGUMENTS), extra, HOSTS, VARIABLES)


def values(playbook, **extra):
    found, problems = check(playbook, **extra)
    assert problems == []
    return found


def problem(playbook, **extra):
    problems = check(playbook, **extra)[1]
    assert len(problems) == 1, problems
    return problems[0]


# It looks at hosts that are in no cluster yet.
@pytest.mark.parametrize('playbook', sorted(set(_arguments.PLAYBOOKS) - set(['adopt'])))
def test_every_playbook_refuses_a_cluster_that_is_not_there(playbook):
    needed = {'repmgr_target': 'o1', 'repmgr_maintenance': 'unpause', 'repmgr_leave': 'orders', 'repmgr_restore': {'latest': True}}
    takes = dict((name, needed[name]) for name in _arguments.PLAYBOOKS[playbook][1])
    for name in ('repmgr_only', 'cluster'):
        for value in ('ordres', 'orders,ordres', ['ordres'], '', None):
            said = problem(playbook, **dict(takes, **{name: value}))
            assert said.startswith('%s is ' % name) and 'expected one or more of 15, billing, orders, separated by commas.' in said, said
    # A number from JSON, and the same from the command line.
    for value in (15, '15', [15], ' 15 '):
        assert check(playbook, **dict(takes, repmgr_only=value))[0]['only'] == ['15']


@pytest.mark.parametrize('playbook', sorted(playbook for playbook, (takes, dummy) in _arguments.PLAYBOOKS.items() if 'repmgr_target' in takes))
def test_the_target(playbook):
    assert values(playbook, repmgr_target='b1') == dict(values(playbook, target='b1'), target='b1', only=['billing'])
    assert values(playbook, repmgr_target='o2', repmgr_only='orders,billing')['only'] == ['orders']
    assert problem(playbook, repmgr_target='typo') == (
        "repmgr_target is 'typo', expected one of b1, n1, o1, o2, x. Run again with -e repmgr_target=HOST." if playbook != 'remove_node' else
        "repmgr_target is 'typo', expected one of b1, n1, o1, o2, x, or the name of a registered node that is not in the inventory, together with its cluster. "
        'Run again with one of them, or with -e repmgr_only=NAME.')
    assert problem(playbook, target='') == "target is '', expected one of b1, n1, o1, o2, x. Run again with -e repmgr_target=HOST."
    assert problem(playbook, repmgr_target='o1', cluster='billing') == (
        "repmgr_target is 'o1', which is in cluster orders, expected a host of billing. Run again with one of b1.")
    # The contract says what is wrong with a host that is in no cluster.
    assert values(playbook, repmgr_target='x')['only'] == ['']


def test_who_adopts_names_no_cluster():
    assert values('adopt', repmgr_adopt_to='hosts.yml', repmgr_adopt_overwrite='yes') == {'adopt_to': 'hosts.yml', 'adopt_overwrite': True}
    assert values('adopt') == {'adopt_to': '', 'adopt_overwrite': False}
    assert problem('adopt', repmgr_only='orders').startswith('repmgr_only is set, expected one of the arguments of adopt')
    assert 'expected the path of a file on the controller' in problem('adopt', repmgr_adopt_to='')
    assert 'expected true or false' in problem('adopt', repmgr_adopt_overwrite='perhaps')


def test_one_cluster_leaves_and_by_its_name():
    assert values('leave', repmgr_leave='orders') == {'leave': ['orders'], 'only': ['orders'], 'override_run': []}
    assert values('leave', repmgr_leave='orders', repmgr_only='orders')['only'] == ['orders']
    assert problem('leave').startswith('repmgr_leave is not set, expected one or more of 15, billing, orders')
    for extra in ({'repmgr_leave': 'orders,billing'}, {'repmgr_leave': 'orders', 'repmgr_only': 'billing'},
                  {'repmgr_leave': 'orders', 'repmgr_only': 'orders,billing'}):
        assert 'expected the name of the one cluster that shall leave' in problem('leave', **extra)
    assert 'expected one or more of 15, billing, orders' in problem('leave', repmgr_leave='true')


def test_a_run_that_is_dead():
    for value in ('r0123456789', ['r0123456789'], ' r0123456789 '):
        assert values('site', repmgr_override_run=value)['override_run'] == ['r0123456789']
    assert values('failover', override_run='r0123456789,rabcdef0123')['override_run'] == ['r0123456789', 'rabcdef0123']
    for value in ('true', True, '', 'r012', 'r0123456789,x', None):
        assert 'expected the id of the run in the message of the refusal' in problem('site', repmgr_override_run=value)
    # They neither take nor mind the lock.
    for playbook in ('status', 'preflight'):
        assert 'repmgr_override_run is set, expected one of the arguments of %s:' % playbook in problem(playbook, repmgr_override_run='r0123456789')


def test_a_node_that_is_in_no_inventory():
    """The playbook itself looks whether it is registered in the cluster that was named, or in the only one."""
    assert values('remove_node', repmgr_target='gone', repmgr_only='orders') == dict(
        target='gone', only=['orders'], override_run=[], primary_is_dead='')
    assert 'together with its cluster' in problem('remove_node', target='gone', repmgr_only='orders,billing')
    hosts = {'o1': 'orders', 'o2': 'orders'}
    assert _arguments.check('remove_node', {}, {'target': 'gone'}, hosts, ())[1] == []
    assert 'expected one of o1, o2.' in _arguments.check('switchover', {}, {'target': 'gone'}, hosts, ())[1][0]


@pytest.mark.parametrize('extra, said', [
    ({'set': 'last'}, 'the label of a backup'), ({'set': ''}, 'the label of a backup'), ({'time': '2026-11-30 14:05:00'}, 'a time with its time zone'),
    ({'time': ''}, 'expected'), ({'verify_limit': 0}, 'a number of seconds'), ({'repmgr_override_run': 'r0123456789'}, 'Run again without it')])
def test_what_a_restore_drill_does_not_take(extra, said):
    assert said in problem('verify_backup', **extra)


@pytest.mark.parametrize('playbook', ['add_node', 'rejoin', 'remove_node', 'switchover'])
def test_no_target(playbook):
    assert problem(playbook) == 'repmgr_target is not set, expected one of b1, n1, o1, o2, x. Run again with -e repmgr_target=HOST.'


@pytest.mark.parametrize('playbook, extra, name, value', [
    ('maintenance', {'repmgr_maintenance': 'unpause', 'repmgr_primary_is_dead': 'o1'}, 'primary_is_dead', 'o1'),
    ('failover', {}, 'target', ''), ('failover', {}, 'only', []), ('failover', {}, 'primary_is_dead', ''), ('failover', {}, 'accept_loss', False),
    ('failover', {'accept_loss': 'yes'}, 'accept_loss', True), ('failover', {'repmgr_accept_loss': False}, 'accept_loss', False),
    ('failover', {'primary_is_dead': 'o1'}, 'only', ['orders']), ('failover', {'primary_is_dead': 'gone'}, 'only', []),
    ('failover', {'primary_is_dead': 'o1, gone,o1'}, 'primary_is_dead', 'o1,gone'), ('failover', {'primary_is_dead': 'gone,o1'}, 'only', ['orders']),
    ('remove_node', {'target': 'o2', 'primary_is_dead': ['o1', 'o2']}, 'primary_is_dead', 'o1,o2'),
    ('maintenance', {'repmgrd': 'unpause'}, 'maintenance', 'unpause'), ('maintenance', {'repmgrd': 'pause', 'reason': 'x y'}, 'reason', 'x y'),
    ('rejoin', {'target': 'o1'}, 'rejoin', 'rewind'), ('rejoin', {'target': 'o1', 'rejoin': 'attach'}, 'rejoin', 'attach'),
    ('rolling_restart', {'all': 'true'}, 'all', True), ('rolling_restart', {}, 'all', False),
    ('rotate_credentials', {}, 'credentials', ['password', 'ssh', 'certificates']),
    ('rotate_credentials', {'credentials': ['ssh']}, 'credentials', ['ssh']),
    ('rotate_credentials', {'repmgr_credentials': 'ssh, password,ssh'}, 'credentials', ['ssh', 'password']),
    ('status', {}, 'logins', False), ('status', {'report': 'x.html'}, 'logins', True), ('status', {'report': 'x', 'logins': 'false'}, 'logins', False),
    ('status', {'connect_timeout': '10'}, 'connect_timeout', 10), ('status', {'repmgr_format': 'json'}, 'format', 'json'),
    ('verify_backup', {'target': 'o1'}, 'only', ['orders']), ('verify_backup', {}, 'target', ''), ('verify_backup', {}, 'verify_limit', 86400),
    ('verify_backup', {'set': '20261130-165822F'}, 'backup_set', '20261130-165822F'),
    ('verify_backup', {'time': '2026-11-30 14:05:00+00'}, 'backup_time', '2026-11-30 14:05:00+00'),
    # The same twice is no contradiction.
    ('status', {'repmgr_format': 'json', 'format': 'json'}, 'format', 'json'),
    ('rolling_restart', {'all': 'yes', 'repmgr_all': True}, 'all', True),
    # What others use such words for is none of our business.
    ('site', {'format': 'x', 'all': 'x', 'reason': ''}, 'only', []),
    ('site', {'repmgr_port': 1, 'repmgr_hosts': 'x', 'repmgr_batch': 1, 'repmgr_max_fail': 1, 'other': 2}, 'only', []),
])
def test_values(playbook, extra, name, value):
    assert values(playbook, **extra)[name] == value


@pytest.mark.parametrize('playbook, extra, said', [
    ('failover', {'accept_loss': 'ture'}, "accept_loss is 'ture', expected true or false. Run again with -e repmgr_accept_loss=true."),
    ('failover', {'repmgr_primary_is_dead': ''}, "repmgr_primary_is_dead is '', expected the name of the primary whose host is dead."),
    ('failover', {'primary_is_dead': 'o1', 'target': 'b1'}, "primary_is_dead is 'o1', which is in cluster orders, expected a host of billing."),
    ('failover', {'primary_is_dead': 'o1,b1'}, "primary_is_dead is 'b1', which is in cluster billing, expected a host of orders."),
    ('failover', {'primary_is_dead': ','}, "primary_is_dead is ',', expected the name of the primary whose host is dead."),
    ('maintenance', {}, 'repmgr_maintenance is not set, expected one of pause, unpause. Run again with -e repmgr_maintenance=pause.'),
    ('maintenance', {'repmgrd': 'stop'}, "repmgrd is 'stop', expected one of pause, unpause."),
    ('maintenance', {'repmgrd': 'pause'}, 'repmgr_reason is not set, expected the reason for the pause'),
    ('maintenance', {'repmgrd': 'pause', 'reason': ' '}, "reason is ' ', expected the reason for the pause"),
    ('rejoin', {'target': 'o1', 'rejoin': 'rewnd'}, "rejoin is 'rewnd', expected one of attach, rewind, reclone."),
    ('rolling_restart', {'all': 'x'}, "all is 'x', expected true or false."),
    ('rotate_credentials', {'credentials': 'passwords'}, "credentials is 'passwords', expected one or more of password, ssh, certificates, separated by"),
    ('rotate_credentials', {'credentials': ['ssh', 'x']}, "credentials is ['ssh', 'x'], expected"),
    ('rotate_credentials', {'credentials': []}, 'credentials is [], expected'),
    ('status', {'format': 'xml'}, "format is 'xml', expected one of text, json."),
    ('status', {'repmgr_output': ''}, "repmgr_output is '', expected the path of a file"),
    ('status', {'logins': None}, "logins is '', expected true or false."),
    ('status', {'connect_timeout': '0'}, "connect_timeout is '0', expected a number of seconds, 1 or more."),
    ('status', {'connect_timeout': '2s'}, "connect_timeout is '2s', expected a number"),
    ('status', {'format': 'json', 'repmgr_format': 'text'}, "repmgr_format is 'text' and format is 'json', expected one of the two."),
    ('status', {'cluster': 'orders', 'repmgr_only': 'billing'}, "repmgr_only is 'billing' and cluster is 'orders', expected one of the two."),
    # All nodes would restart, where one was meant.
    ('rolling_restart', {'target': 'o1'},
     'target is set, expected one of the arguments of rolling_restart: repmgr_all, repmgr_batch, repmgr_hosts, repmgr_max_fail'),
    ('site', {'repmgr_rejoin': 'reclone'}, 'repmgr_rejoin is set, expected one of the arguments of site:'),
    ('site', {'repmgr_passwort': 'x'}, 'repmgr_passwort is not a variable of this collection, expected repmgr_password.'),
    ('switchover', {'target': 'o1', 'repmgr_onyl': 'x'}, 'repmgr_onyl is not a variable of this collection, expected repmgr_only.'),
    ('site', {'repmgr_whatsoever': 'x'}, 'repmgr_whatsoever is not a variable of this collection, expected a variable of the roles or one of repmgr_batch, '),
])
def test_refused(playbook, extra, said):
    assert said in problem(playbook, **extra)


def test_all_that_is_wrong_is_said_at_once():
    assert len(check('rejoin', repmgr_target='typo', cluster='ordres', rejoin='x')[1]) == 3


def test_an_inventory_variable_is_no_argument():
    """The short names count in `extra` alone."""
    names = dict((argument.alias, 'x') for argument in _arguments.ARGUMENTS.values())
    assert _arguments.check('site', names, {}, HOSTS, ())[1] == []
    assert 'repmgr_target is not set' in _arguments.check('switchover', names, {}, HOSTS, ())[1][0]


def test_import_playbook_may_give_those_with_the_prefix():
    assert _arguments.check('switchover', {'repmgr_target': 'o1'}, {}, HOSTS, ())[0]['target'] == 'o1'


def test_no_variable_of_the_roles_has_the_name_of_an_argument():
    with open(os.path.join(ROOT, 'roles', 'common', 'defaults', 'main.yml')) as handle:
        assert not set(yaml.safe_load(handle)) & set(_arguments.ARGUMENTS)


GROUPS = {'all': ['a', 'b', 'c'], 'ungrouped': [], 'primary': ['a'], 'standby': ['b'], 'db_orders': ['c'], 'empty': []}


@pytest.mark.parametrize('pattern', [
    'primary:standby:witness', 'primary,standby', 'db_orders', 'a:b', 'db_*', 'all:!c', 'primary:&db_orders', 'empty', '~db_.*', 'primary[0]',
    'db_orders:witness'])
def test_a_pattern_that_is_right(pattern):
    assert _arguments.hosts_problem(pattern, GROUPS) == ''


@pytest.mark.parametrize('pattern, unknown', [
    ('typo', "'typo'"), ('primary:typo', "'typo'"), ('all:!typo', "'typo'"), ('witness', "'witness'"), ('x*:y', "'x*' or 'y'")])
def test_a_pattern_with_a_name_that_nothing_has(pattern, unknown):
    found = _arguments.hosts_problem(pattern, GROUPS)
    assert 'is named %s, expected some of its groups: db_orders, empty, primary, standby.' % unknown in found


def test_groups_of_other_names_and_no_inventory():
    groups = {'all': ['a'], 'ungrouped': [], 'pg_first': ['a']}
    assert "'primary' or 'standby' or 'witness', expected some of its groups: pg_first." in _arguments.hosts_problem('primary:standby:witness', groups)
    assert _arguments.hosts_problem('primary:standby:witness', {'all': [], 'ungrouped': []}) == ''


def test_the_documentation_has_every_playbook():
    with open(os.path.join(ROOT, 'plugins', 'modules', 'repmgr_arguments.py')) as handle:
        documentation = yaml.safe_load(handle.read().split('DOCUMENTATION = r"""')[1].split('"""')[0])
    assert documentation['options']['playbook']['choices'] == sorted(_arguments.PLAYBOOKS)
