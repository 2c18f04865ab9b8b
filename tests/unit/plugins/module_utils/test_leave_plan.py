# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a cluster may leave the collection, also in the middle of it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _leave, _problems_replication, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server, plain

NUMBERS = {'a': 1, 'b': 2, 'c': 3, 'w': 4}
ROLES = {'a': 'primary', 'b': 'standby', 'c': 'standby', 'w': 'witness'}
FILES = dict((name, '/etc/pgfleet/' + name) for name in _leave._ONLY_OURS)
FILES.update({'repmgrd.service': '/etc/systemd/system/repmgrd.service', 'settings.conf': '/etc/postgresql/15/main/conf.d/repmgr.conf',
              'restart.conf': '/etc/systemd/system/postgresql@15-main.service.d/pgfleet-restart.conf'})
DEPLOYED = [FILES['repmgrd.service'], FILES['settings.conf'], FILES['guard.json']]


def row(name, active=True):
    return {'node_id': NUMBERS[name], 'node_name': name, 'type': ROLES[name], 'upstream_node_id': None if name == 'a' else 1, 'active': active,
            'priority': 100, 'location': 'default', 'conninfo': 'host=%s' % name}


def running(name, by=None, paused=None, inactive=(), files=(), **more):
    recovery, identifier = ROLES[name] == 'standby', '9' if name == 'w' else '7'
    return Observed(**dict({
        'installed': True, 'repmgr_installed': True, 'pause': {'by': by, 'reason': 'x'} if by else None, 'files': dict.fromkeys(files or DEPLOYED, 'x'),
        'data': Data(path='/data', state='valid', system_identifier=identifier, standby_signal=recovery),
        'server': Server(state='running', sql=True, in_recovery=recovery, system_identifier=identifier, timeline=1,
                         current_lsn=None if recovery else '0/5000060'),
        'receiver': {'status': 'streaming', 'received_tli': 1} if recovery else None,
        'repmgr': {'database': True, 'nodes': [row(each, each not in inactive) for each in sorted(ROLES)],
                   'repmgrd': {'running': True, 'paused': bool(by) if paused is None else paused, 'pid': 1}}}, **more))


def plan(changes=None, **common):
    """changes: {name: what is other there, or None where it does not answer}"""
    records = []
    for name in sorted(ROLES):
        change = (changes or {}).get(name, {})
        observed = None if change is None else plain(running(name, **dict(common, **change)))
        records.append({'name': name, 'node_id': '%d' % NUMBERS[name], 'node_name': name, 'cluster': 'lab', 'address': '10.0.0.%d' % NUMBERS[name],
                        'port': '5432', 'initial_role': ROLES[name], 'upstream': '', 'unreachable': observed is None, 'observed': observed})
    hosts = _verdict.hosts_from(records)
    return _leave.leave_plan(hosts, _verdict.verdict(hosts), FILES, 'repmgrd-plain')


STOPPED = Server(state='stopped')
# What keeps a server from starting as a second primary is its start hook.
DOWN = [
    ('b', {'server': STOPPED}),
    ('b', {'server': STOPPED, 'data': Data(path='/data', state='valid', system_identifier='7')}),
    ('b', {'server': STOPPED, 'data': Data(path='/data', state='partial')}),
    ('b', {'server': STOPPED, 'data': Data(path='/data', state='empty', clone_begun=True)}),
    ('b', {'server': Server(state='starting')}),
    ('b', {'server': Server(state='running', sql=False)}),
    ('b', None), ('w', None), ('a', None),
]


@pytest.mark.parametrize('by', [None, 'leave'])
@pytest.mark.parametrize('name, change', DOWN, ids=[str(number) for number in range(len(DOWN))])
def test_no_start_hook_goes_while_a_server_is_down(name, change, by):
    assert plan({name: change}, by=by)['refuse']


@pytest.mark.parametrize('change', [{'server': STOPPED, 'data': Data(path='/data', state='partial')}, None])
def test_the_server_counts_beside_the_problems(change):
    """A copy that was begun is no problem of the verdict, because site makes it anew."""
    assert [text for text in plan({'b': change}, by='leave')['refuse'] if text.startswith('b: ') and 'every data node at work' in text]


@pytest.mark.parametrize('server, said', [
    (STOPPED, 'is in state stopped'), (Server(state='running', sql=False, in_recovery=True), 'does not answer'),
    (Server(state='running', sql=True, in_recovery=None), 'is not in recovery'), (Server(state='running', sql=True, in_recovery=False), 'is not in recovery')])
def test_what_is_wrong_with_a_server_is_said(server, said):
    assert [text for text in plan({'b': {'server': server}}, by='leave')['refuse'] if text.startswith('b: its server %s; expected every data node' % said)]


def test_a_healthy_cluster_leaves_with_its_primary_last():
    found = plan()
    assert found == {'refuse': [], 'begun': False, 'ours': ['a', 'b', 'c', 'w'], 'turns': ['b', 'c', 'w', 'a'], 'unpaused': ['a', 'b', 'c', 'w']}


def test_a_run_goes_on_where_it_was():
    left = {'files': ['/etc/repmgr.conf'], 'guard': None, 'daemons': [{'pid': 1, 'unit': 'repmgrd-plain.service'}]}
    found = plan({'b': left, 'c': {'paused': False}}, by='leave')
    assert found == {'refuse': [], 'begun': True, 'ours': ['a', 'b', 'c', 'w'], 'turns': ['b', 'c', 'w', 'a'], 'unpaused': ['c']}


def test_what_a_half_left_cluster_makes_is_no_obstacle_then():
    assert plan(inactive='b')['refuse'] and not plan(inactive='b', by='leave')['refuse']
    down = {'running': False, 'enabled': False}
    for by in (None, 'leave'):
        assert not plan({'b': {'guard': dict(down, fuse=down)}}, by=by)['refuse']


@pytest.mark.parametrize('by', ['maintenance', 'failover', None])
def test_a_pause_of_somebody_else_is_his(by):
    found = plan({'b': {'by': by, 'paused': True}})
    assert len(found['refuse']) == 1 and found['refuse'][0].startswith('b: its repmgrd is paused, and not by leave')
    assert ('pgfleet.repmgr.failover' if by == 'failover' else 'repmgr_maintenance=unpause') in found['refuse'][0]


@pytest.mark.parametrize('code', ['backup_repository', 'backup_stanza', 'backup_missing', 'backup_old', 'archive_failing'])
def test_backups_are_no_obstacle(monkeypatch, code):
    monkeypatch.setattr(_problems_replication._backup, 'problems', lambda found: [(code, 'x', 'y')])
    assert plan({'a': {'backup': {'code': 0}}})['refuse'] == []


@pytest.mark.parametrize('files, ours', [
    ([FILES['repmgrd.service']], False), ([FILES['settings.conf'], '/etc/repmgr.conf', '/etc/logrotate.d/repmgr-pgfleet'], False),
    ([FILES['repmgrd.service'], FILES['settings.conf']], True), ([FILES['repmgrd.service'], '/etc/repmgr.conf'], False),
    # A member with another operating system has them elsewhere.
    ([FILES['repmgrd.service'], '/var/lib/pgsql/15/data/conf.d/repmgr.conf'], True),
    (['/etc/systemd/system/postgresql-15.service.d/pgfleet-restart.conf'], True),
] + [([FILES[name]], True) for name in _leave._ONLY_OURS], ids=str)
def test_whose_node_it_is(files, ours):
    assert plan({'b': {'files': files}})['ours'] == (['a', 'b', 'c', 'w'] if ours else ['a', 'c', 'w'])
    # The pause alone, which every node gets, makes nobody's unit ours.
    assert ('b' in plan({'b': {'files': files}}, by='leave')['ours']) is ours


def test_a_cluster_that_was_never_ours():
    found = plan(files=[FILES['repmgrd.service']])
    assert (found['refuse'], found['begun'], found['ours']) == ([], False, [])
