# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _status
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed, plain
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils import status_cases as cases


def seen(cluster):
    return _status.status(cluster.records(), '2026-03-04T05:06:07Z')


def said(cluster):
    return _status.text(seen(cluster)).splitlines()


def cells(cluster, node):
    """The main table's line of a node, by heading."""
    view = seen(cluster)['clusters'][0]
    return dict((heading, words) for entry in view['nodes'] if entry['name'] == node for heading, words, dummy in _status.columns(entry))


HEALTHY = """\
orders: healthy: primary db1, 4 of 4 hosts observed, 0 problems
failover: ready, db2 first

node  role     state      timeline  LSN        lag      sync   repmgrd  guard    upstream
db1   primary  running    1         0/5000060  -        -      running  running  -
db2   standby  streaming  1         0/5000060  0 bytes  async  running  running  db1
db3   standby  streaming  1         0/5000060  0 bytes  async  running  running  db1
db4   witness  running    -         -          -        -      running  -        db1

node  server  certificate  disk                     slots
db1   15.6    3649 days    12.0 GB free of 40.0 GB  repmgr_slot_2 active, keeps 0 bytes, repmgr_slot_3 active, keeps 0 bytes
db2   15.6    3649 days    12.0 GB free of 40.0 GB  -
db3   15.6    3649 days    12.0 GB free of 40.0 GB  -
db4   15.6    3649 days    12.0 GB free of 40.0 GB  -

events
  2026-03-03 04:05:06 UTC  db4  witness_register: witness registration succeeded; upstream node ID is 1
  2026-03-02 04:05:06 UTC  db2  standby_register: standby registration succeeded
  2026-03-01 04:05:06 UTC  db1  primary_register

next: nothing to do"""


def test_healthy():
    assert '\n'.join(said(cases.healthy())) == HEALTHY
    found = seen(cases.healthy())
    assert (found['healthy'], found['time'], [view['cluster'] for view in found['clusters']]) == (True, '2026-03-04T05:06:07Z', ['orders'])


@pytest.mark.parametrize('case, status, first, follows', [
    (cases.standby_detached, 'degraded', 'not_streaming', 'ansible-playbook pgfleet.repmgr.site'),
    (cases.standby_stopped, 'degraded', 'stopped_standby', 'ansible-playbook pgfleet.repmgr.site'),
    (cases.primary_gone, 'degraded', 'unreachable', 'ansible db1 -m ansible.builtin.ping'),
    (cases.paused_and_primary_down, 'no_primary', 'no_primary', 'ansible-playbook pgfleet.repmgr.failover'),
    (cases.two_primaries, 'split_brain', 'split_brain',
     'Find out which one holds the data to keep, and stop the server of every other. Bring each of those back by: '
     'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=HOST'),
    (cases.primary_out_of_reach, 'no_primary', 'no_primary', 'ansible db1 -m ansible.builtin.ping'),
    (cases.nobody_reached, 'unknown', 'unreachable', 'ansible db1 -m ansible.builtin.ping'),
], ids=lambda value: getattr(value, '__name__', ''))
def test_what_is_wrong_comes_first_and_says_what_to_type(case, status, first, follows):
    found = seen(case())
    view = found['clusters'][0]
    assert (found['healthy'], view['healthy'], view['status']) == (False, False, status)
    assert (view['problems'][0]['code'], view['next']) == (first, follows)
    words = said(case())
    assert words[0].startswith('orders: %s: primary ' % status)
    assert words[1] == 'failover: not ready' and words[2].startswith('  ')
    assert words[-1] == 'next: ' + follows


@pytest.mark.parametrize('case', sorted(cases.CASES))
def test_it_is_data(case):
    found = seen(cases.CASES[case]())
    assert json.loads(json.dumps(found)) == found
    assert set(found) == set(('time', 'healthy', 'clusters'))


def test_detached_standby():
    line = cells(cases.standby_detached(), 'db3')
    assert (line['state'], line['lag'], line['sync'], line['upstream']) == ('not streaming', '48.0 MB', '-', '- (registered db1)')
    assert any('repmgr_slot_3 inactive, keeps 48.0 MB' in words for words in said(cases.standby_detached()))


def test_stopped_standby():
    line = cells(cases.standby_stopped(), 'db3')
    assert (line['role'], line['state'], line['LSN'], line['repmgrd'], line['guard']) == ('- (registered standby)', 'stopped', '-', '?', 'running')


def test_primary_gone():
    cluster = cases.primary_gone()
    line = cells(cluster, 'db1')
    assert (line['role'], line['state'], line['repmgrd'], line['guard']) == ('- (registered primary)', 'unreachable', '?', '?')
    assert cells(cluster, 'db3')['lag'] == '2.0 kB, 1.5 s'
    assert [cells(cluster, node)['upstream'] for node in ('db2', 'db3', 'db4')] == ['-', 'db2', 'db2']
    assert '  2026-03-02 04:05:06 UTC  db2  repmgrd_failover_promote: node 2 promoted to primary; old primary 1 marked as failed' in said(cluster)


def test_how_long_nobody_wrote_before_a_promotion():
    """Only the primary knows, and its events are taken though others have the same."""
    cluster = cases.primary_gone()
    cluster.observed[2].events = [dict(row, write_gap=8.6 if row['event'] == 'standby_promote' else None) for row in [
        dict(cluster.observed[2].events[0], event='standby_promote', details='server "node2" was promoted')] + cluster.observed[2].events[1:]]
    assert [event['write_gap'] for event in seen(cluster)['clusters'][0]['events']] == [8.6, None, None]
    assert '  2026-03-03 04:05:06 UTC  db3  standby_promote: server "node2" was promoted; 8.6 s after the last transaction from before' in said(cluster)


def test_a_primary_that_only_the_controller_cannot_reach_is_not_called_dead():
    cluster = cases.primary_out_of_reach()
    words = '\n'.join(said(cluster))
    assert 'db2, db3 stream from one that could not' in words and 'pgfleet.repmgr.failover' not in words
    assert [cells(cluster, node)['upstream'] for node in ('db2', 'db3')] == ['db1', 'db1']


def test_paused_is_said_once_with_its_reason():
    words = said(cases.paused_and_primary_down())
    assert [line for line in words if 'disk swap' in line] == [
        '  db2, db3, db4: repmgrd is paused: no automatic failover (maintenance: disk swap in rack 2); expected not paused.']


def test_two_primaries():
    cluster = cases.two_primaries()
    assert [cells(cluster, node)['role'] for node in ('db1', 'db2', 'db3')] == ['primary', 'primary (registered standby)', 'standby']
    assert [cells(cluster, node)['timeline'] for node in ('db1', 'db2')] == ['1', '2']
    assert seen(cluster)['clusters'][0]['problems'][0]['steps'][1] == {
        'playbook': 'rejoin', 'arguments': {'repmgr_target': None}, 'reason': 'Bring each of those back by',
        'command': 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=HOST'}
    assert len([line for line in said(cluster) if line.startswith('    Find out which one holds')]) == 1


def test_a_command_for_one_node_names_it():
    cluster = cases.healthy()
    cluster.observed[3].guard = {'running': False, 'enabled': True}
    view = seen(cluster)['clusters'][0]
    assert view['next'] == 'on db3: systemctl enable --now repmgr-guard'
    assert view['next_step'] == {
        'shell': 'systemctl enable --now repmgr-guard', 'host': 'db3', 'command': 'systemctl enable --now repmgr-guard'}


def test_the_same_problem_of_two_nodes_has_the_step_of_each():
    cluster = cases.healthy()
    for number in (2, 3):
        cluster.observed[number].guard = {'running': False, 'enabled': True}
    problem = [found for found in seen(cluster)['clusters'][0]['problems'] if found['code'] == 'guard_down'][0]
    assert (problem['nodes'], [step['host'] for step in problem['steps']]) == (['db2', 'db3'], ['db2', 'db3'])
    assert problem['command'].splitlines() == ['Type on %s: systemctl enable --now repmgr-guard' % host for host in ('db2', 'db3')]


def test_the_fuse_of_each_node():
    cluster = cases.healthy()
    cluster.observed[1].guard = {'running': True, 'enabled': True, 'fuse': {'running': True, 'enabled': True, 'limit': 7, 'sight_age': 0.6}}
    cluster.observed[2].guard = {'running': True, 'enabled': True, 'fuse': {'running': False, 'enabled': True, 'limit': None, 'sight_age': 4.0}}
    cluster.observed[3].guard = {'running': True, 'enabled': True, 'fuse': None}
    assert [node['fuse'] for node in seen(cluster)['clusters'][0]['nodes']][:3] == [
        {'state': 'running', 'limit': 7, 'sight_age': 0.6}, {'state': 'not running', 'limit': None, 'sight_age': 4.0},
        {'state': 'not installed', 'limit': None, 'sight_age': None}]


def test_a_step_that_has_a_condition_is_not_the_next_one():
    cluster = cases.healthy()
    cluster.observed[1].slots[0].update(slot_name='repmgr_slot_9', active=False, retained_bytes=3 * cases.GB)
    view = seen(cluster)['clusters'][0]
    assert [problem['code'] for problem in view['problems']] == ['stale_slot']
    assert (view['problems'][0]['type'], view['next_step']) == (None, None)
    assert view['next'].startswith('Only if its node is gone for good, type on db1: psql ')


def test_a_primary_that_its_guard_has_stopped():
    cluster = cases.healthy()
    cluster.stop(1)
    cluster.observed[1].guard = {'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['db2', 'db3'], 'since': 5}}
    for number in (2, 3):
        cluster.detach(number)
    view = seen(cluster)['clusters'][0]
    assert view['nodes'][0]['guard_stopped'] == {'code': 'isolated', 'peers': ['db2', 'db3'], 'since': 5}
    assert view['next'] == 'ansible db2:db3 -m ansible.builtin.ping'
    assert 'its guard stopped the server because it cannot reach db2, db3' in '\n'.join(said(cluster))


def test_a_problem_of_many_nodes_has_each_of_their_names():
    cluster = cases.healthy()
    cluster.vanish(1)
    cluster.vanish(2)
    found = dict((problem['code'], problem['nodes']) for problem in seen(cluster)['clusters'][0]['problems'])
    assert (found['no_majority'], found['unreachable']) == (['db1', 'db2'], ['db1', 'db2'])


def test_why_a_failover_is_not_ready_has_steps():
    cluster = cases.healthy()
    cluster.observed[4].repmgr['repmgrd'] = {'running': True, 'paused': True, 'pid': 7}
    failover = seen(cluster)['clusters'][0]['failover']
    assert len(failover['reasons']) == len(failover['steps']) == 1
    assert failover['steps'][0][0]['command'] == 'ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=unpause'


def test_healthy_but_not_ready():
    cluster = cases.healthy()
    cluster.rows = [dict(row, priority=0) for row in cluster.rows]
    view = seen(cluster)['clusters'][0]
    assert (view['status'], view['failover']['ready']) == ('healthy', False)
    assert view['next'] and view['next'] != 'nothing to do'


def test_registered_and_live_values_are_both_said_where_they_differ():
    cluster = cases.healthy()
    cluster.rows = [dict(row, upstream_node_id=3) if row['node_id'] == 2 else dict(row, active=False) if row['node_id'] == 3 else row
                    for row in cluster.rows]
    assert cells(cluster, 'db2')['upstream'] == 'db1 (registered db3)'
    assert cells(cluster, 'db3')['role'] == 'standby (registered inactive)'


def test_who_reaches_whom_is_drawn_where_somebody_cannot():
    assert not any(line.startswith('from') for line in said(cases.standby_stopped()))
    cluster = cases.healthy()
    cluster.observed[2].logins = {'db3': {'ssh': 'Permission denied', 'sql': '', 'replication': ''}}
    assert seen(cluster)['clusters'][0]['matrix']['db2'] == {'db1': [], 'db3': ['no ssh'], 'db4': []}
    assert 'db2 ok - no ssh ok'.split() in [line.split() for line in said(cluster)]


def test_the_last_restore_drill():
    cluster = cases.healthy()
    assert seen(cluster)['clusters'][0]['restore_drill'] is None
    cluster.observed[1].verified = {'max_age': 0, 'now': 20000, 'last': None}
    assert 'restore drill: none was made' in said(cluster)
    last = {'ok': False, 'ended': 12800, 'label': 'L', 'node': 'db2', 'problem': 'it is damaged', 'kind': 'damage', 'seconds': {}}
    cluster.observed[2].verified = {'max_age': 0, 'now': 20000, 'last': last}
    assert said(cluster)[2] == 'restore drill: 2 hours ago, failed: backup L, on db2: it is damaged'
    view = seen(cluster)['clusters'][0]
    assert view['restore_drill']['result'] == last and view['restore_drill']['age_seconds'] == 7200
    assert view['next'].endswith('backup -e repmgr_backup_type=full')


def test_two_clusters():
    one, other = cases.healthy(), cases.standby_stopped()
    other.name = 'billing'
    found = _status.status(one.records() + other.records())
    assert [view['cluster'] for view in found['clusters']] == ['billing', 'orders']
    assert found['healthy'] is False
    words = _status.text(found).splitlines()
    assert words[0].startswith('billing: degraded: ') and words[1].startswith('orders: healthy: ')
    assert '== billing' in words and '== orders' in words


def test_nothing_at_all():
    found = _status.status([])
    assert found['healthy'] is False and 'no cluster' in _status.text(found)


def test_long_names_keep_the_columns_apart():
    long = 'a-host-whose-name-somebody-took-pains-with.' + 'x' * 60
    cluster = cases.Cluster(names=(long, 'db2', 'db3', 'db4'))
    table = said(cluster)[3:8]
    starts = set(line.index(word) for line, word in zip(table, ['role', 'primary', 'standby', 'standby', 'witness']))
    assert starts == set([len(long) + 2])


def test_names_are_text_whatever_they_hold():
    cluster = cases.Cluster(name='<b>', names=('<script>alert(1)</script>', 'db2', 'db3', 'db4'))
    assert said(cluster)[0].startswith('<b>: healthy: primary <script>alert(1)</script>, ')


@pytest.mark.parametrize('observed', [
    None, Observed(), Observed(tls={}, repmgr={}, reach=None, logins=None, slots=None, events=None, replication=None, disks=None)],
    ids=['none', 'empty', 'nothing in it'])
def test_unknown_values(observed):
    cluster = cases.healthy()
    records = cluster.records()
    records[2]['observed'] = None if observed is None else plain(observed)
    found = _status.status(records)
    assert found['healthy'] is False
    node = found['clusters'][0]['nodes'][2]
    assert (node['role'], node['timeline'], node['lag_bytes']) == (None, None, None)
    assert 'None' not in _status.text(found)


def test_what_a_server_does_not_say_is_unknown():
    cluster = cases.healthy()
    cluster.replies(2, timeline=None, received_lsn=None, replayed_lsn=None)
    cluster.observed[1].replication = []
    line = cells(cluster, 'db2')
    assert (line['timeline'], line['LSN'], line['lag'], line['sync']) == ('-', '-', '?', '-')
    cluster.replies(2, sql=False)
    line = cells(cluster, 'db2')
    assert (line['role'], line['state'], line['repmgrd']) == ('standby', 'does not answer', '?')


@pytest.mark.parametrize('count, words', [
    (None, '?'), (0, '0 bytes'), (1023, '1023 bytes'), (1024, '1.0 kB'), (150 * 1024, '150 kB'), (16 * 1024 ** 2, '16.0 MB'),
    (5 * 1024 ** 5, '5120 TB')])
def test_size(count, words):
    assert _status.size(count) == words


@pytest.mark.parametrize('interval, expected', [
    (None, None), ('', None), ('00:00:00.5', 0.5), ('1 day 01:00:00', 90000.0), ('-00:00:01', -1.0), ('P1D', None)])
def test_seconds(interval, expected):
    assert _status.seconds(interval) == expected


@pytest.mark.parametrize('stamp, words', [
    ('2026-03-03T04:05:06.789+00:00', '2026-03-03 04:05:06 UTC'), ('2026-03-03 04:05:06+02', '2026-03-03 04:05:06+02'), (None, '?'), ('soon', '?')])
def test_when(stamp, words):
    assert _status.when(stamp) == words


@pytest.mark.parametrize('words, level', [
    ('streaming', 'ok'), ('streaming, replay paused', 'warn'), ('not streaming', 'bad'), ('paused', 'warn'), ('-', ''), ('unreachable', 'bad')])
def test_level(words, level):
    assert _status.level(words) == level
