# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import random

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _problems_access, _problems_deploy, _steps, _topology, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server, plain

ID = '7000000000000000001'
WITNESS_ID = '7000000000000000004'
OTHER_ID = '7000000000000000099'
PATH = '/var/lib/postgresql/15/main'
REPMGRD = {'running': True, 'paused': False, 'pid': 1}


def row(number, name, kind, upstream=None, active=True):
    return {'node_id': number, 'node_name': name, 'type': kind, 'upstream_node_id': upstream, 'active': active, 'priority': 100,
            'location': 'default', 'conninfo': 'host=%s' % name}


ROWS = [row(1, 'a', 'primary'), row(2, 'b', 'standby', 1), row(3, 'c', 'standby', 1), row(4, 'w', 'witness', 1)]


def running(recovery, identifier=ID, nodes=None, timeline=1, repmgrd=None, guard=None):
    return Observed(
        installed=True, repmgr_installed=True, guard=guard,
        data=Data(path=PATH, state='valid', system_identifier=identifier, standby_signal=recovery,
                  cluster_state='in archive recovery' if recovery else 'in production'),
        server=Server(state='running', sql=True, in_recovery=recovery, system_identifier=identifier, timeline=timeline,
                      current_lsn=None if recovery else '0/5000060'),
        receiver={'status': 'streaming', 'received_tli': timeline} if recovery else None,
        repmgr={'database': True, 'nodes': ROWS if nodes is None else nodes, 'repmgrd': repmgrd or REPMGRD})


def stopped(state='valid', signal=False, identifier=ID, reason=''):
    return Observed(
        installed=True, repmgr_installed=True,
        data=Data(path=PATH, state=state, system_identifier=identifier if state == 'valid' else None, standby_signal=signal,
                  cluster_state='shut down' if state == 'valid' else None, reason=reason),
        server=Server(state='stopped'), repmgr={'nodes': None})


def host(name, number, role, observed=None, unreachable=False):
    return {'name': name, 'node_id': str(number), 'node_name': name, 'cluster': 'lab', 'address': '10.0.0.%d' % number, 'port': '5432',
            'initial_role': role, 'upstream': '', 'unreachable': unreachable, 'observed': None if observed is None else plain(observed)}


def healthy(**changes):
    """Four hosts, a to c and w, with other observations where they are given."""
    found = {'a': running(False), 'b': running(True), 'c': running(True), 'w': running(False, WITNESS_ID)}
    found.update(changes)
    return [host('a', 1, 'primary', found['a']), host('b', 2, 'standby', found['b']),
            host('c', 3, 'standby', found['c']), host('w', 4, 'witness', found['w'])]


def fresh(**changes):
    found = {'a': stopped('missing'), 'b': stopped('missing'), 'c': stopped('missing'), 'w': stopped('missing')}
    found.update(changes)
    return [host('a', 1, 'primary', found['a']), host('b', 2, 'standby', found['b']),
            host('c', 3, 'standby', found['c']), host('w', 4, 'witness', found['w'])]


def judge(hosts):
    return _verdict.from_inventory(hosts)


def codes(answer, stop=None):
    return sorted(set(problem['code'] for problem in answer['problems'] if stop is None or problem['stop'] is stop))


# -- clusters that are well

def test_the_records_of_a_standby_count_before_those_of_a_witness():
    """A witness is a server of its own, so its timeline says nothing, and it copies the rows now and then only."""
    older = [dict(each, active=each['node_id'] != 3) for each in ROWS]
    for timeline in (1, 9):
        hosts = healthy(a=stopped(), w=running(False, WITNESS_ID, nodes=older, timeline=timeline))
        for order in (hosts, hosts[::-1]):
            registry = _verdict.verdict(_verdict.hosts_from(order))['registry']
            assert [each['active'] for each in registry] == [True] * 4
    # Where nobody else has any, they are what there is.
    registry = _verdict.verdict(_verdict.hosts_from(fresh(w=running(False, WITNESS_ID, nodes=older))))['registry']
    assert [each['active'] for each in registry] == [True, True, False, True]


def test_fresh():
    answer = judge(fresh())
    assert (answer['status'], answer['exists'], answer['primary'], answer['stop']) == ('absent', False, None, [])
    assert answer['roles'] == {'a': 'primary', 'b': 'standby', 'c': 'standby', 'w': 'witness'}


def test_healthy():
    answer = judge(healthy())
    assert (answer['status'], answer['primary'], answer['problems'], answer['stop']) == ('healthy', 'a', [], [])
    assert answer['system_identifier'] == ID
    assert answer['roles'] == {'a': 'primary', 'b': 'standby', 'c': 'standby', 'w': 'witness'}
    assert answer['summary'] == 'healthy: primary a, 4 of 4 hosts observed, 0 problems'


def test_after_a_switchover_the_live_primary_is_adopted():
    rows = [row(1, 'a', 'standby', 2), row(2, 'b', 'primary'), row(3, 'c', 'standby', 2), row(4, 'w', 'witness', 2)]
    answer = judge(healthy(a=running(True, nodes=rows, timeline=2), b=running(False, nodes=rows, timeline=2),
                           c=running(True, nodes=rows, timeline=2), w=running(False, WITNESS_ID, nodes=rows)))
    assert (answer['status'], answer['primary'], answer['stop']) == ('healthy', 'b', [])
    assert answer['roles'] == {'a': 'standby', 'b': 'primary', 'c': 'standby', 'w': 'witness'}


def test_interrupted_first_deployment_goes_on():
    answer = judge(fresh(a=running(False, nodes=[])))
    assert (answer['status'], answer['exists'], answer['primary'], answer['stop']) == ('absent', False, 'a', [])
    answer = judge(fresh(a=running(False, nodes=ROWS[:1]), b=stopped('partial'), c=stopped('valid', signal=True),
                         w=running(False, WITNESS_ID, nodes=[])))
    assert (answer['exists'], answer['primary'], answer['stop']) == (True, 'a', [])


def test_stopped_or_running_server_on_the_initial_primary_is_adopted():
    for observed in (stopped(), running(False, nodes=[])):
        answer = judge(fresh(a=observed))
        assert (answer['exists'], answer['stop'], answer['system_identifier']) == (False, [], ID)


def was_node(number, started=True):
    observed = stopped()
    return observed.replace(config={'node_id': number, 'node_name': 'a'}, data=observed.data.replace(started=started))


def test_stopped_node_of_a_cluster_that_nobody_remembers_is_not_started():
    answer = judge(fresh(a=was_node(1)))
    assert (answer['status'], answer['exists'], answer['primary']) == ('no_primary', True, None)
    assert len(answer['stop']) == 1 and 'Start the server of the last primary' in answer['stop'][0]


@pytest.mark.parametrize('observed', [was_node(1, started=False), was_node(9)], ids=['never started', 'of another node id'])
def test_stopped_server_that_never_was_this_node_makes_no_cluster(observed):
    assert judge(fresh(a=observed))['exists'] is False


def test_streaming_replication_without_repmgr_is_adopted():
    answer = judge(fresh(a=running(True, nodes=[]), b=running(False, nodes=[])))
    assert (answer['exists'], answer['primary'], answer['stop']) == (True, 'b', [])
    assert answer['roles']['a'] == 'standby'


def test_recreated_standby_is_no_reason_to_stop():
    answer = judge(healthy(c=stopped('missing')))
    assert (answer['status'], answer['stop'], codes(answer)) == ('degraded', [], ['missing_data'])


OTHER = {'file': '/etc/repmgr.conf', 'data_directory': '/var/lib/postgresql/15/main', 'major': '15', 'node_id': 2, 'version': None}
DISTRIBUTION = dict(OTHER, file='/etc/postgresql/15/main/postgresql.conf', node_id=None, version='15')


def lives_elsewhere(entry, **more):
    observed = stopped('missing').replace(elsewhere=[entry], **more)
    # It is what listens on the port.
    observed.reach = [{'name': 'b', 'ssh': 'open', 'postgresql': 'open', 'address': '10.0.0.2', 'port': 5432}]
    return observed


@pytest.mark.parametrize('others', [healthy, fresh], ids=['among others', 'everywhere'])
@pytest.mark.parametrize('entry, more, said', [
    (OTHER, {}, 'Set repmgr_postgresql_version to 15'), (dict(OTHER, major=None), {'deployed': True}, 'or repmgr_data_directory, to those of that server'),
    (DISTRIBUTION, {}, 'pg_renamecluster 15 main other'), (dict(DISTRIBUTION, major=None), {}, 'remove that file'),
])
def test_an_inventory_that_leads_past_the_server_of_a_host_stops_everything(others, entry, more, said):
    """Seen from there the host is empty, and what listens on its port is in the way."""
    answer = judge(others(b=lives_elsewhere(entry, config={'node_id': 2, 'node_name': 'b'}, **more)))
    assert codes(answer, stop=True) == ['other_server'], answer['problems']
    assert entry['file'] in answer['stop'][0] and said in answer['stop'][0]
    assert answer['status'] == ('degraded' if others is healthy else 'unknown')
    assert 'missing_data' not in codes(answer) and 'vanished_data' not in codes(answer)


@pytest.mark.parametrize('entry', [dict(OTHER, major=None), dict(OTHER, node_id=9)], ids=['of a deployment that was interrupted', 'of another node'])
def test_what_is_not_the_server_of_this_node_does_not_count(entry):
    answer = judge(fresh(b=lives_elsewhere(entry)))
    assert codes(answer, stop=True) == ['port_taken'] and answer['status'] == 'absent'


def test_data_of_another_major_version():
    def at(version):
        hosts = fresh(a=stopped())
        hosts[0]['observed']['data']['major'] = '15'
        return judge([dict(host, postgresql_version=version) for host in hosts])

    assert codes(at('16'), stop=True) == ['other_server'] and 'Set repmgr_postgresql_version to 15.' in at('16')['stop'][0]
    assert at('15')['stop'] == at(15)['stop'] == at('')['stop'] == at(None)['stop'] == []


def without_data(state='missing', clone_begun=False, deployed=True, node_id=3):
    observed = stopped(state).replace(deployed=deployed, config={'node_id': node_id, 'node_name': 'c'} if node_id else None)
    observed.data.clone_begun = clone_begun
    return observed


@pytest.mark.parametrize('state', ['missing', 'empty'])
def test_a_standby_whose_data_vanished_is_not_cloned_unasked(state):
    """Its file system is not mounted: a copy would land on the one below."""
    answer = judge(healthy(c=without_data(state)))
    assert (codes(answer), codes(answer, stop=True)) == (['vanished_data'], ['vanished_data'])
    problem = answer['problems'][0]
    assert 'Mount the file system' in problem['message']
    assert problem['steps'][1]['arguments'] == {'repmgr_target': 'c', 'repmgr_rejoin': 'reclone'} and problem['steps'][1]['only_if']
    # Nothing to type without a thought.
    assert _steps.first_command(problem['steps']) is None


@pytest.mark.parametrize('observed', [
    without_data(node_id=None, deployed=False), without_data(node_id=None), without_data(deployed=False), without_data('empty', clone_begun=True),
    without_data(clone_begun=True)], ids=['recreated', 'repmgr.conf lost', 'killed before its clone', 'killed in its clone', 'clone failed'])
def test_a_standby_that_was_never_finished_is_cloned_by_the_next_run(observed):
    answer = judge(healthy(c=observed))
    assert (answer['stop'], codes(answer)) == ([], ['missing_data'])


def test_no_new_cluster_takes_the_place_of_one_whose_data_all_vanished():
    """No server runs that could say that there was one: all hosts booted before their file systems were mounted."""
    def gone(name, number):
        return without_data(node_id=number).replace(config={'node_id': number, 'node_name': name})

    answer = judge(fresh(a=gone('a', 1), b=gone('b', 2)))
    assert codes(answer, stop=True) == ['vanished_data'] and len(answer['stop']) == 2 and 'Mount the file system' in answer['stop'][0], answer['problems']
    # A deployment that was ended before the first server was there goes on.
    assert judge(fresh(a=gone('a', 1).replace(deployed=False)))['stop'] == []


def test_data_that_are_missing_before_the_node_is_registered_are_cloned():
    answer = judge(healthy(a=running(False, nodes=ROWS[:2]), b=running(True, nodes=ROWS[:2]), c=without_data()))
    assert answer['stop'] == [] and codes(answer) == ['not_registered'], answer['problems']


def test_unreachable_standby_with_a_majority():
    hosts = healthy()
    hosts[2].update(unreachable=True, observed=None)
    answer = judge(hosts)
    assert (answer['status'], answer['primary'], answer['stop'], codes(answer)) == ('degraded', 'a', [], ['unreachable'])


@pytest.mark.parametrize('changes, code', [
    (dict(b=running(True, repmgrd={'running': False, 'paused': False})), 'repmgrd_down'),
    (dict(b=running(True, guard={'running': False, 'enabled': True})), 'guard_down'),
    (dict(b=running(True, guard={'running': True, 'enabled': False})), 'guard_down'),
    (dict(a=running(False, guard={'running': True, 'enabled': True, 'fuse': {'running': False, 'enabled': True}})), 'fuse_down'),
    (dict(b=running(True, guard={'running': True, 'enabled': True, 'fuse': {'running': True, 'enabled': False}})), 'fuse_down'),
    (dict(b=running(True, repmgrd={'running': True, 'paused': True})), 'repmgrd_paused'),
    (dict(b=stopped('valid', signal=True)), 'stopped_standby'),
    (dict(w=stopped('valid', identifier=WITNESS_ID)), 'witness_down'),
])
def test_degraded(changes, code):
    answer = judge(healthy(**changes))
    assert (answer['status'], answer['stop']) == ('degraded', [])
    assert code in codes(answer)


@pytest.mark.parametrize('fuse', [None, {'running': True, 'enabled': True}])
def test_a_fuse_that_is_well_or_not_installed_yet(fuse):
    guard = {'running': True, 'enabled': True, 'fuse': fuse}
    assert 'fuse_down' not in codes(judge(healthy(a=running(False, guard=guard), b=running(True, guard=guard))))


def test_detached_standby():
    observed = running(True)
    observed.receiver = None
    answer = judge(healthy(b=observed))
    assert (answer['status'], answer['stop'], codes(answer)) == ('degraded', [], ['not_streaming'])


def behind(position='0/6000060', **more):
    observed = running(True)
    observed.receiver = None
    observed.server.replayed_lsn = position
    observed.server.received_lsn = more.get('received', position)
    observed.server.settings = more.get('settings', {'restore_command': ''})
    observed.config = more.get('config')
    return observed


def holding(observed, oldest):
    observed.server.oldest_wal = oldest
    return observed


SEGMENT = 16 * 1024 * 1024


@pytest.mark.parametrize('oldest, standby, code', [
    (7 * SEGMENT, behind(), 'wal_removed'),
    (6 * SEGMENT, behind(), 'not_streaming'),
    (None, behind(), 'not_streaming'),
    (7 * SEGMENT, behind(None), 'not_streaming'),
    (7 * SEGMENT, behind(settings={'restore_command': 'cp'}), 'not_streaming'),
    # PostgreSQL before 12 has no such setting.
    (7 * SEGMENT, behind(settings={}, config={'restore_command': 'cp'}), 'not_streaming'),
    # After its start it replays what it has itself, and has not asked for more yet.
    (7 * SEGMENT, behind(received=None), 'not_streaming'),
])
def test_wal_that_a_standby_needs_is_removed(oldest, standby, code):
    answer = judge(healthy(a=holding(running(False), oldest), b=standby))
    assert (answer['status'], answer['stop'], codes(answer)) == ('degraded', [], [code])


@pytest.mark.parametrize('oldest, more', [(7 * SEGMENT, ''), (6 * SEGMENT, ' and c still has')])
def test_who_has_the_wal_that_is_removed(oldest, more):
    answer = judge(healthy(a=holding(running(False), 7 * SEGMENT), b=behind(), c=holding(running(True), oldest)))
    assert answer['problems'][0]['message'] == (
        'b: cannot stream: it needs WAL from 0/6000060 on, which primary a has removed%s; expected the WAL that it needs on a node that it can stream from. '
        'Type: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_rejoin=reclone -e repmgr_target=b' % more)


@pytest.mark.parametrize('guard, receiver, found', [
    ({'running': True, 'enabled': True}, {'status': 'streaming'}, []),
    # Nobody advances it.
    (None, {'status': 'streaming'}, ['stale_slot']),
    # Its node needs it, and cannot use it.
    ({'running': True, 'enabled': True}, None, ['not_streaming', 'stale_slot']),
])
def test_a_slot_that_is_kept_for_a_member(guard, receiver, found):
    rows = [dict(row, slot_name='repmgr_slot_%d' % row['node_id']) for row in ROWS]
    here, there = running(True, nodes=rows, guard=guard), running(True, nodes=rows)
    here.slots = [{'slot_name': 'repmgr_slot_2', 'active': False, 'retained_bytes': 3 * 1024 ** 3}]
    there.receiver = receiver
    assert codes(judge(healthy(a=running(False, nodes=rows), b=there, c=here))) == found


def test_a_standby_keeps_wal_for_the_primary_too():
    rows = [dict(row, slot_name='repmgr_slot_%d' % row['node_id']) for row in ROWS]
    here = running(True, nodes=rows, guard={'running': True, 'enabled': True})
    here.slots = [{'slot_name': 'repmgr_slot_1', 'active': False, 'retained_bytes': 3 * 1024 ** 3}]
    assert codes(judge(healthy(a=running(False, nodes=rows), b=running(True, nodes=rows), c=here))) == []


def test_stale_slot_is_reported():
    observed = running(False)
    observed.slots = [{'slot_name': 'repmgr_slot_9', 'active': False, 'retained_bytes': 3 * 1024 ** 3}]
    answer = judge(healthy(a=observed))
    assert codes(answer) == ['stale_slot']
    assert answer['problems'][0]['message'] == (
        "a: slot repmgr_slot_9 is not used, and it retains 3072 MB of WAL; expected no WAL retained for a node that is gone. "
        "Only if its node is gone for good, type on a: psql -c \"select pg_drop_replication_slot('repmgr_slot_9')\"")


def test_a_slot_of_somebody_else_is_no_problem_of_the_cluster():
    observed = running(False)
    observed.slots = [{'slot_name': name, 'active': False, 'retained_bytes': 3 * 1024 ** 3} for name in ('barman', 'my_repmgr_slot_1', 'repmgr_slot_1b', None)]
    assert codes(judge(healthy(a=observed))) == []


def test_the_slot_of_a_member_that_is_away():
    """It goes with its node, and not before."""
    observed = running(False)
    observed.slots = [{'slot_name': 'repmgr_slot_3', 'active': False, 'retained_bytes': 3 * 1024 ** 3}]
    hosts = healthy(a=observed, c=stopped(signal=True))
    problem, = [problem for problem in judge(hosts)['problems'] if problem['code'] == 'stale_slot']
    assert problem['message'].endswith(
        'Only if c is gone for good, type: ansible-playbook pgfleet.repmgr.remove_node -e repmgr_target=c')


def test_the_slot_of_a_member_that_streams_from_elsewhere():
    rows = [dict(row, slot_name='repmgr_slot_%d' % row['node_id']) for row in ROWS]
    here = running(True, nodes=rows)
    here.slots = [{'slot_name': 'repmgr_slot_2', 'active': False, 'retained_bytes': 3 * 1024 ** 3}]
    problem, = judge(healthy(a=running(False, nodes=rows), b=running(True, nodes=rows), c=here))['problems']
    assert problem['message'].endswith(
        "Only if b does not stream from it, type on c: psql -c \"select pg_drop_replication_slot('repmgr_slot_2')\"")


@pytest.mark.parametrize('note, step', [
    (None, 'Only if no switchover is at work, type: ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=unpause'),
    ({'by': 'maintenance', 'reason': 'disk'}, 'Type: ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=unpause'),
    ({'by': 'failover', 'reason': 'a is replaced by hand'},
     'Only if the run of failover that paused it has ended, type: ansible-playbook pgfleet.repmgr.failover'),
    ({'by': 'restart', 'reason': 'a restarts in its place'},
     'Only if the run of rolling_restart that paused it has ended, type: ansible-playbook pgfleet.repmgr.rolling_restart'),
])
def test_the_pause_of_a_run_is_its_own_to_lift(note, step):
    observed = running(True, repmgrd={'running': True, 'paused': True})
    observed.pause = note
    problem, = judge(healthy(b=observed))['problems']
    assert problem['code'] == 'repmgrd_paused' and problem['message'].endswith('expected not paused. ' + step)


# -- servers that are down

def test_a_primary_that_its_guard_has_stopped():
    """It starts by itself as soon as it sees a majority: a failover would only make a second history."""
    observed = stopped()
    observed.guard = {'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['b', 'c'], 'since': 1764450000}}
    answer = judge(healthy(a=observed))
    assert (answer['status'], codes(answer)) == ('no_primary', ['no_primary'])
    assert answer['stop'] == [
        'a: its guard stopped the server because it cannot reach b, c, and no other host runs as primary; data nodes: a (shut down), '
        'b (in archive recovery), c (in archive recovery); expected one primary. Start b, c again, or repair the network between a and them: '
        'the guard starts the server by itself as soon as it reaches a majority. Find out which of them answer: '
        'ansible b:c -m ansible.builtin.ping; only if the host of a is lost, type: ansible-playbook pgfleet.repmgr.failover']
    assert _steps.first_command(answer['problems'][0]['steps'])['shell'] == 'ansible b:c -m ansible.builtin.ping'


@pytest.mark.parametrize('stop, because, lost', [
    ({'code': 'isolated', 'peers': ['b']}, 'it cannot reach b', 'a'),
    ({'code': 'primary', 'peers': ['b']}, 'b is primary', 'b'),
    ({'code': 'promoted', 'peers': ['c']}, 'c is on a newer timeline', 'c'),
    ({'code': 'named', 'peers': ['c', 'w']}, 'others name c as primary', 'c'),
    ({'code': 'named', 'peers': []}, 'it cannot reach a majority of the votes', 'a'),
    ({'code': 'promoting', 'peers': ['b']}, 'another node was being promoted with the votes of b', 'a'),
    ({'code': 'stood_still', 'peers': []}, 'this host stood still, so another primary could have been elected', 'a'),
    ({'code': 'hangs', 'peers': []}, 'it did not answer, and other nodes had lost contact with it', 'a'),
    ({'code': 'fuse', 'peers': []}, 'it could not reach a majority of the votes, or did not run', 'a'),
    ({'code': 'of a later version', 'peers': ['b', 'c']}, 'it cannot reach b, c', 'a'),
    ({}, 'it cannot reach a majority of the votes', 'a'),
], ids=lambda value: value.get('code', 'nothing') if isinstance(value, dict) else '')
def test_why_the_guard_stopped_the_primary(stop, because, lost):
    observed = stopped()
    observed.guard = {'running': True, 'enabled': True, 'stopped': stop}
    problem = judge(healthy(a=observed))['problems'][0]
    assert problem['seen'].startswith('its guard stopped the server because %s, and no other host' % because)
    assert problem['steps'][-1] == _steps.playbook('failover', only_if='the host of %s is lost' % lost)


def test_a_guard_that_did_not_write_down_why():
    observed = stopped()
    observed.guard = {'running': True, 'enabled': True, 'stopped': {}}
    answer = judge(healthy(a=observed))
    assert 'its guard stopped the server because it cannot reach a majority of the votes' in answer['stop'][0]
    assert _steps.first_command(answer['problems'][0]['steps']) is None


@pytest.mark.parametrize('guard', [
    None, {'running': True, 'enabled': True}, {'running': True, 'enabled': True, 'stopped': None},
], ids=['none', 'of an older version', 'has stopped nothing'])
def test_a_primary_that_somebody_else_has_stopped(guard):
    observed = stopped()
    observed.guard = guard
    answer = judge(healthy(a=observed))
    assert _steps.first_command(answer['problems'][0]['steps'])['playbook'] == 'failover'
    assert 'guard' not in answer['stop'][0]


def test_two_data_nodes_and_a_witness_with_a_primary_that_its_guard_has_stopped():
    observed = stopped()
    observed.guard = {'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['b', 'w'], 'since': None}}
    hosts = [entry for entry in healthy(a=observed) if entry['name'] != 'c']
    answer = judge(hosts)
    assert 'cannot reach b, w' in answer['stop'][0] and answer['problems'][0]['node'] == 'a'


def test_the_mark_of_the_guard_means_nothing_beside_a_server_that_runs():
    observed = running(False, guard={'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['b'], 'since': 1}})
    assert judge(healthy(a=observed))['status'] == 'healthy'


def test_nor_where_another_primary_runs():
    observed = stopped()
    observed.guard = {'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['b'], 'since': 1}}
    answer = judge(healthy(a=observed, b=running(False, timeline=2, nodes=[row(1, 'a', 'primary', active=False), row(2, 'b', 'primary')] + ROWS[2:])))
    assert answer['primary'] == 'b' and 'stopped_ex_primary' in codes(answer)


def test_the_server_of_a_witness_is_started_by_a_command():
    observed = stopped('valid', identifier=WITNESS_ID)
    observed.config = {'node_id': 4, 'node_name': 'w', 'service_start_command': 'sudo /usr/bin/systemctl start postgresql@15-main'}
    problem = [found for found in judge(healthy(w=observed))['problems'] if found['code'] == 'witness_down'][0]
    assert problem['steps'][1:] == [{'shell': 'sudo /usr/bin/systemctl start postgresql@15-main', 'host': 'w'}]
    assert problem['command'] == (
        'If the server died, systemd restarts it, at most five times in two minutes. Type on w: sudo /usr/bin/systemctl start postgresql@15-main')


def test_the_server_of_the_last_primary_is_started_by_a_command():
    observed = stopped()
    observed.config = {'node_id': 1, 'node_name': 'a', 'service_start_command': 'sudo /usr/bin/systemctl start postgresql-15'}
    assert judge(healthy(a=observed))['problems'][0]['command'] == (
        'Only if its server was stopped on purpose, type on a: sudo /usr/bin/systemctl start postgresql-15; '
        'otherwise promote a standby: ansible-playbook pgfleet.repmgr.failover')


# -- clusters that stop a deployment, with the whole message

STOPS = [
    ('split brain', healthy(b=running(False)), 'split_brain', [
        'a: runs as primary on timeline 1 at 0/5000060, and so does b; expected one primary. Find out which one holds the data to keep, '
        'and stop the server of every other. Bring each of those back by: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=HOST',
        'b: runs as primary on timeline 1 at 0/5000060, and so does a; expected one primary. Find out which one holds the data to keep, '
        'and stop the server of every other. Bring each of those back by: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=HOST']),
    ('primary down', healthy(a=stopped()), 'no_primary', [
        'a: the cluster exists, but no host runs as primary; data nodes: a (shut down), b (in archive recovery), '
        'c (in archive recovery); expected one primary. Start the server of the last primary if it was stopped on purpose. '
        'Otherwise promote a standby: ansible-playbook pgfleet.repmgr.failover']),
    ('stopped ex-primary', healthy(
        a=stopped(), b=running(False, timeline=2, nodes=[row(1, 'a', 'primary', active=False), row(2, 'b', 'primary')] + ROWS[2:])),
     'degraded', [
        'a: its server is stopped and was a primary, while b is the primary now; expected a standby of b. '
        'Bring it back by: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a']),
    ('foreign data', healthy(c=stopped(identifier=OTHER_ID)), 'degraded', [
        'c: data directory /var/lib/postgresql/15/main contains another cluster (system identifier 7000000000000000099); expected system '
        'identifier 7000000000000000001. A deployment never clears a directory: move it away if it is not needed, or remove the host '
        'from the inventory.']),
    ('foreign data, running', healthy(c=running(False, OTHER_ID, nodes=[])), 'degraded', [
        'c: data directory /var/lib/postgresql/15/main contains another cluster (system identifier 7000000000000000099); expected system '
        'identifier 7000000000000000001. A deployment never clears a directory: move it away if it is not needed, or remove the host '
        'from the inventory.']),
    ('data on a standby of a new cluster', fresh(b=stopped()), 'absent', [
        'b: data directory /var/lib/postgresql/15/main contains another cluster (system identifier 7000000000000000001); expected an empty '
        'directory on a host that is to become a standby. A deployment never clears a directory: move it away if it is not needed, or '
        'remove the host from the inventory.']),
    ('something else in the directory', fresh(c=stopped('unrecognised', reason='holds notes.txt but no PG_VERSION')), 'absent', [
        'c: data directory /var/lib/postgresql/15/main holds notes.txt but no PG_VERSION; expected an empty directory or a PostgreSQL '
        'cluster. Look at it; move it away if it is not needed, or set repmgr_data_directory.']),
    ('half an initdb on the primary', fresh(a=stopped('partial', reason='has no global/pg_control')), 'absent', [
        'a: data directory /var/lib/postgresql/15/main has no global/pg_control; expected an empty directory or a complete PostgreSQL '
        'cluster. Look at it; move it away if it is not needed.']),
    ('starting', healthy(b=running(True).replace(server=Server(state='starting'))), 'unknown', [
        'b: its server is starting; expected a server that has started or stopped. Wait, look at its log, and run again.']),
    ('silent', healthy(b=running(True).replace(server=Server(state='running', in_recovery=True, error='too many clients'))), 'unknown', [
        'b: its server runs but does not answer: too many clients; expected an answer over SQL. Look at its log and pg_hba.conf.']),
    ('unreadable', healthy(b=stopped('unknown', reason='cannot be read: Permission denied')), 'unknown', [
        'b: data directory /var/lib/postgresql/15/main: cannot be read: Permission denied; expected a directory that can be read and that '
        'no other program writes to. Look at the directory and at the program that writes to it, and run again.']),
]


@pytest.mark.parametrize('name, hosts, status, stop', STOPS, ids=[case[0] for case in STOPS])
def test_stop(name, hosts, status, stop):
    answer = judge(hosts)
    assert answer['stop'] == stop
    assert answer['status'] == status


def test_foreign_primary_does_not_become_ours():
    """The registered primary's data were replaced by a new cluster: the standbys know better."""
    answer = judge(healthy(a=running(False, OTHER_ID, nodes=[])))
    assert answer['primary'] is None and answer['system_identifier'] == ID
    assert codes(answer, True) == ['foreign_data', 'no_primary']


def test_no_initial_primary():
    hosts = fresh()
    hosts[0]['initial_role'] = 'standby'
    assert judge(hosts)['stop'] == [
        'a, b, c, w: no host of the new cluster is in the primary group; expected exactly one. Put one data node into the primary group.']


def test_two_initial_primaries():
    hosts = fresh()
    hosts[1]['initial_role'] = 'primary'
    assert judge(hosts)['stop'] == [
        'a, b: 2 hosts of the new cluster are in the primary group; expected exactly one. '
        'Leave one in the primary group and put the others into the standby group.']


def test_two_initial_primaries_do_not_matter_to_an_existing_cluster():
    hosts = healthy()
    hosts[1]['initial_role'] = 'primary'
    assert judge(hosts)['stop'] == []


@pytest.mark.parametrize('version, stops', [('4.2', True), ('4.3', True), ('4.4', False), ('5.0', False), ('5.5', False), ('10.0', False), (None, False)])
def test_repmgr_that_is_too_old(version, stops):
    """On a node of a cluster, and on a host that is about to become one."""
    for hosts in (healthy(b=running(True).replace(repmgr_version=version)), [host('b', 2, 'primary', stopped('empty').replace(repmgr_version=version))]):
        found = [problem for problem in _verdict.from_inventory(hosts)['problems'] if problem['code'] == 'old_repmgr']
        assert [problem['stop'] for problem in found] == ([True] if stops else [])
        if stops:
            assert found[0]['message'].startswith('b: repmgr %s is installed; expected version 4.4 or later.' % version)


def test_unreachable_host_of_a_new_cluster():
    hosts = fresh()
    hosts[2].update(unreachable=True, observed=None)
    assert judge(hosts)['stop'] == [
        'c: cannot be reached; expected all hosts of a new cluster to be reachable. Try: ansible c -m ansible.builtin.ping']


def test_no_majority():
    hosts = healthy()
    for entry in hosts[2:]:
        entry.update(unreachable=True, observed=None)
    answer = judge(hosts)
    assert answer['status'] == 'unknown'
    assert answer['stop'] == [
        'c, w: only 2 of 4 hosts of the cluster could be observed; expected a majority, because a host that was not observed may be the primary. '
        'Bring the missing hosts back. Only if one of them is gone for good, type: ansible-playbook pgfleet.repmgr.remove_node -e repmgr_target=HOST']


# -- registered nodes that the inventory does not list

def without(*names):
    return [entry for entry in healthy() if entry['name'] not in names]


@pytest.mark.parametrize('rows', [ROWS, ROWS[:2] + [row(3, 'c', 'standby', 1, active=False)] + ROWS[3:]], ids=['active', 'inactive'])
def test_unlisted_node(rows):
    """Whether it lives does not matter: a run would take its access away, and the guards of the others count its vote."""
    hosts = [host(entry['name'], int(entry['node_id']), entry['initial_role'], running(
        entry['name'] == 'b', WITNESS_ID if entry['name'] == 'w' else ID, nodes=rows)) for entry in without('c')]
    answer = judge(hosts)
    assert (answer['status'], answer['primary'], codes(answer)) == ('degraded', 'a', ['unlisted_node'])
    assert [found['node_name'] for found in answer['unlisted']] == ['c']
    assert answer['stop'] == [
        'c: is registered in the cluster, but is not in this inventory; expected every registered node in the inventory. '
        'Put it into the inventory, or correct repmgr_node_id and repmgr_node_name of its host. '
        'Only if it is to leave the cluster, type: ansible-playbook pgfleet.repmgr.remove_node -e repmgr_target=c']


def test_unlisted_nodes_count_for_the_majority():
    answer = judge(without('b', 'c'))
    assert answer['status'] == 'unknown' and codes(answer) == ['no_majority', 'unlisted_node']
    assert 'b, c: only 2 of 4 hosts of the cluster could be observed' in answer['stop'][0]


def test_a_registered_node_under_another_name_is_not_unlisted():
    """Its id, its name or its repmgr.conf says which host it is, and another problem says what is wrong."""
    for change, code in ((dict(node_name='x'), 'id_taken'), (dict(node_id='9'), 'name_taken')):
        hosts = healthy()
        hosts[2].update(change)
        assert 'unlisted_node' not in codes(judge(hosts)) and code in codes(judge(hosts))
    hosts = healthy(c=running(True).replace(config={'node_id': 3, 'node_name': 'c'}))
    hosts[2].update(node_id='9', node_name='x')
    assert codes(judge(hosts), True) == ['config_of_other_node']


def test_an_unlisted_node_with_the_address_of_a_host():
    rows = ROWS + [row(9, 'old', 'standby', 1)]
    rows[-1]['conninfo'] = 'host=10.0.0.3 user=repmgr'
    answer = judge(healthy(**dict((name, running(name in 'bc', WITNESS_ID if name == 'w' else ID, nodes=rows)) for name in 'abcw')))
    assert codes(answer) == ['unlisted_node'] and 'old: is registered in the cluster with the address of c, but' in answer['stop'][0]


def test_metadata_of_another_cluster_list_no_node_of_this_one():
    rows = [row(11, 'x', 'primary'), row(12, 'y', 'standby', 11)]
    answer = judge([host('a', 1, 'primary', running(False, nodes=rows)), host('b', 2, 'standby', stopped('missing'))])
    assert 'foreign_metadata' in codes(answer) and 'unlisted_node' not in codes(answer)


def test_one_node_knows_no_inventory():
    assert _verdict.from_one_node(running(False).replace(config={'node_id': 1, 'node_name': 'a'}))['unlisted'] == []


def test_witness_in_the_standby_group():
    hosts = healthy()
    hosts[3]['initial_role'] = 'standby'
    answer = judge(hosts)
    assert answer['stop'] == [
        'w: is registered as witness, but is in the standby group; expected the witness group. '
        'Put it into the witness group. Only if it is no longer to be a witness, type on w: repmgr witness unregister']
    assert answer['roles']['w'] == 'witness'


def test_standby_in_the_witness_group():
    hosts = healthy()
    hosts[1]['initial_role'] = 'witness'
    assert judge(hosts)['stop'] == [
        'b: is registered as standby, but is in the witness group; expected the primary or standby group. '
        'Put it into the standby group. Only if it is to become a witness, type on b: repmgr standby unregister']


def test_copy_of_the_cluster_on_a_witness():
    answer = judge(fresh(a=running(False, nodes=ROWS[:1]), w=stopped('valid', signal=True)))
    assert codes(answer, True) == ['witness_is_copy']


def test_swapped_ids():
    hosts = healthy()
    hosts[1]['node_id'], hosts[2]['node_id'] = hosts[2]['node_id'], hosts[1]['node_id']
    answer = judge(hosts)
    assert codes(answer, True) == ['id_taken', 'name_taken']
    assert answer['stop'][0] == (
        'b: node id 3 is registered for c; expected node b. '
        'Compare repmgr_node_id in the inventory with `repmgr cluster show`; hosts may be swapped.')


def test_swapped_hosts():
    found = healthy()
    found[1]['observed']['config'] = {'node_id': 3, 'node_name': 'c'}
    assert judge(found)['stop'] == [
        "b: its repmgr.conf is that of node c (id 3); expected node b (id 2). "
        "Hosts or ids may be swapped in the inventory. If it is a new id on purpose, unregister the node first."]


def test_metadata_of_another_cluster():
    foreign = [row(11, 'x', 'primary'), row(12, 'y', 'witness', 11)]
    answer = judge(healthy(w=running(False, WITNESS_ID, nodes=foreign)))
    assert answer['stop'] == [
        'w: its repmgr metadata are those of another cluster (x, y); expected those of cluster lab. '
        'Check repmgr_cluster_name of this host.']


# -- reach

def reach(name, number, ssh='open', postgresql='open'):
    return {'name': name, 'address': '10.0.0.%d' % number, 'addresses': [], 'ssh': ssh, 'postgresql': postgresql, 'error': '',
            'port': 5432, 'ssh_port': 22}


@pytest.mark.parametrize('hosts, entry, stop', [
    (fresh(), reach('b', 2, postgresql='refused'), []),
    (fresh(), reach('b', 2, ssh='refused', postgresql='refused'), [
        'a: cannot reach SSH of b at 10.0.0.2 port 22: refused; expected an open port. Check firewall, sshd and repmgr_address of b.']),
    (fresh(), reach('b', 2, postgresql='timeout'), [
        'a: cannot reach PostgreSQL of b at 10.0.0.2 port 5432: timeout; expected an open port. '
        'Check firewall, listen_addresses and repmgr_address of b.']),
    (fresh(), reach('b', 2, ssh='unresolved', postgresql='unresolved'), [
        'a: cannot resolve address 10.0.0.2 of b; expected a name that every node resolves, or an address. Set repmgr_address of b.']),
    (fresh(), reach('a', 1, ssh='open', postgresql='open'), [
        'a: something listens on port 5432, but not the server of /var/lib/postgresql/15/main; expected a free port, or that server. '
        'Find it on a: ss -ltnp; stop it, or set repmgr_port or repmgr_data_directory.']),
    (healthy(), reach('b', 2), []),
    (healthy(), reach('b', 2, postgresql='refused'), [
        'a: cannot reach PostgreSQL of b at 10.0.0.2 port 5432: refused; expected an open port. '
        'Check firewall, listen_addresses and repmgr_address of b.']),
    (healthy(c=stopped('missing')), reach('c', 3, postgresql='refused'), []),
    (healthy(), reach('stranger', 9, ssh='timeout', postgresql='timeout'), []),
])
def test_reach(hosts, entry, stop):
    hosts[0]['observed']['reach'] = [entry]
    try:
        assert judge(hosts)['stop'] == stop
    finally:
        hosts[0]['observed']['reach'] = []


def test_a_peer_that_is_down_is_not_reported_by_everybody():
    hosts = healthy()
    hosts[2].update(unreachable=True, observed=None)
    hosts[0]['observed']['reach'] = [reach('c', 3, ssh='timeout', postgresql='timeout')]
    assert judge(hosts)['stop'] == []


# -- one node's own verdict

def logged_in(**why):
    """What b was told by its peers: nothing, but for these ways into c."""
    ways = {'ssh': '', 'sql': '', 'replication': ''}
    return running(True).replace(logins={'a': ways, 'c': dict(ways, **why), 'w': ways})


def test_who_is_how_far_down():
    hosts = healthy()
    for item, upstream in zip(hosts, ['', '', 'b', '']):
        item['upstream'] = upstream
    assert judge(hosts)['depths'] == {'a': 0, 'b': 0, 'c': 1, 'w': 0}
    hosts[1]['upstream'] = 'a'
    assert judge(hosts)['depths'] == {'a': 0, 'b': 1, 'c': 2, 'w': 0}
    # The contract refuses a circle; here it must only not go round for ever.
    hosts[0]['upstream'] = 'c'
    assert judge(hosts)['depths']['a'] == 3


def test_every_login_works():
    answer = judge(healthy(b=logged_in()))
    assert (answer['status'], answer['logins']) == ('healthy', {})


def test_a_login_fails():
    answer = judge(healthy(b=logged_in(ssh='Permission denied (publickey).', replication='no pg_hba.conf entry')))
    assert answer['status'] == 'degraded'
    assert answer['stop'] == [
        'b: cannot log in to c by replication (no pg_hba.conf entry); c by ssh (Permission denied (publickey).); expected logins between '
        'all nodes. Correct keys, passwords, certificates and pg_hba rules by: ansible-playbook pgfleet.repmgr.site']
    assert answer['logins']['b'] == {'a': [], 'c': ['no ssh', 'no replication'], 'w': []}
    assert _topology.login_matrix(answer['logins']).splitlines() == [
        'from \\ to  a   b  c                       w', 'a          -   ?  ?                       ?',
        'b          ok  -  no ssh, no replication  ok', 'c          ?   ?  -                       ?', 'w          ?   ?  ?                       -']


def certified(mode, **tls):
    hosts = healthy(b=running(True).replace(tls=dict({'error': '', 'days': 400}, **tls)))
    for item in hosts:
        item['tls'] = mode
    return judge(hosts)


@pytest.mark.parametrize('mode, tls, code, stop', [
    ('managed', {}, None, False),
    ('managed', {'days': 30}, None, False),
    ('managed', {'days': 29}, 'certificate_expires', False),
    ('provided', {'days': 29}, 'certificate_expires', False),
    ('managed', {'authority_days': 90}, None, False),
    ('managed', {'authority_days': 89}, 'authority_expires', False),
    ('provided', {'authority_days': 89}, None, False),
    ('provided', {'authority_days': 29}, 'authority_expires', False),
    ('off', {'authority_days': 1}, 'authority_expires', False),
    # What the collection made, it mends.
    ('managed', {'error': 'certificate has expired', 'days': None}, 'certificate', False),
    ('provided', {'error': 'certificate has expired', 'days': None}, 'certificate', True),
    ('off', {'error': 'certificate has expired', 'days': None}, 'certificate', False),
])
def test_certificate(mode, tls, code, stop):
    answer = certified(mode if mode != 'off' else '', **tls)
    found = [problem for problem in answer['problems'] if problem['node'] == 'b']
    assert [(problem['code'], problem['stop']) for problem in found] == ([(code, stop)] if code and mode != 'off' else [])


@pytest.mark.parametrize('days, seen', [(89, 'expires in 89 days'), (-1, 'has expired')])
def test_the_authority_is_renewed_by_another_playbook(days, seen):
    """A certificate that site.yml signs by it is good for no longer than it is."""
    problem, = [problem for problem in certified('managed', authority_days=days)['problems'] if problem['node'] == 'b']
    assert problem['message'] == (
        'b: the CA of its TLS certificate %s, and after that no node accepts the certificate; expected 90 days or more. Create a new CA and new '
        'certificates by: ansible-playbook pgfleet.repmgr.rotate_credentials -e repmgr_credentials=certificates' % seen)


@pytest.mark.parametrize('tls, days', [
    (None, None), ({}, None), ({'days': 5}, 5), ({'days': 5, 'authority_days': 9}, 5), ({'days': 9, 'authority_days': 5}, 5),
    ({'days': None, 'authority_days': 9}, None)])
def test_how_long_a_certificate_is_accepted(tls, days):
    assert _problems_access.certificate_days(tls) == days


def test_a_managed_certificate_that_is_not_made_yet_is_no_problem():
    hosts = fresh()
    for item in hosts:
        item['tls'] = 'managed'
    hosts[0]['observed'] = plain(Observed(tls={'error': 'root.crt is missing', 'days': None}, data=Data(state='missing'),
                                          server=Server(state='stopped')))
    assert judge(hosts)['problems'] == []
    hosts[0]['tls'] = 'provided'
    assert [problem['code'] for problem in judge(hosts)['problems']] == ['certificate']


def test_from_one_node():
    mine = running(False)
    mine.name, mine.config = 'host-a', {'node_id': 1, 'node_name': 'a'}
    mine.peers = {'b': running(True), 'c': running(True), 'w': running(False, WITNESS_ID)}
    answer = _verdict.from_one_node(mine)
    assert (answer['status'], answer['primary']) == ('healthy', 'host-a')
    mine.peers = {'b': None, 'c': None, 'w': None}
    assert _verdict.from_one_node(mine)['status'] == 'unknown'


def test_from_one_bare_node():
    answer = _verdict.from_one_node(stopped('missing'))
    assert (answer['status'], answer['problems']) == ('absent', [])


# -- anything at all

def _anything(rng):
    kinds = ['primary', 'standby', 'witness']
    rows = rng.choice([None, [], ROWS, ROWS[:1], [row(rng.randint(1, 4), rng.choice('abcw'), rng.choice(kinds),
                                                      rng.choice([None, 1, 2]), rng.choice([True, False])) for dummy in range(3)]])
    observed = Observed(
        config=rng.choice([None, {'node_id': rng.randint(1, 4), 'node_name': rng.choice('abcw')}]),
        data=Data(path=rng.choice(['', PATH]), state=rng.choice(['missing', 'empty', 'partial', 'valid', 'unrecognised', 'unknown']),
                  system_identifier=rng.choice([None, ID, OTHER_ID]), standby_signal=rng.choice([True, False]),
                  started=rng.choice([None, True, False])),
        server=Server(state=rng.choice(['running', 'running', 'running', 'stopped', 'starting', 'unknown']),
                      sql=rng.choice([True, True, False]), in_recovery=rng.choice([True, False, None]),
                      system_identifier=rng.choice([None, ID, OTHER_ID]), timeline=rng.choice([None, 1, 2])),
        receiver=rng.choice([None, {}, {'status': 'streaming'}, {'status': 'waiting'}]),
        slots=rng.choice([[], [{}], [{'slot_name': 's', 'active': False, 'retained_bytes': None}]]),
        repmgr=rng.choice([{}, {'nodes': rows}, {'nodes': rows, 'repmgrd': REPMGRD}, {'nodes': rows, 'repmgrd': None}]),
        reach=[reach(rng.choice('abcwx'), 1, rng.choice(['open', 'refused', 'unresolved']), rng.choice(['open', 'timeout', 'error']))])
    return rng.choice([None, observed, observed, observed])


def test_random_observations_never_raise_and_never_contradict():
    rng = random.Random(20)
    for dummy in range(4000):
        hosts = [host(name, number, rng.choice(['primary', 'standby', 'witness', '']), _anything(rng), rng.choice([True, False, False]))
                 for number, name in enumerate(rng.sample('abcw', rng.randint(1, 4)), 1)]
        answer = judge(hosts)
        assert answer['status'] in ('absent', 'healthy', 'degraded', 'no_primary', 'split_brain', 'unknown')
        assert (answer['status'] == 'healthy') <= (answer['problems'] == [])
        assert answer['stop'] == [problem['message'] for problem in answer['problems'] if problem['stop']]
        assert list(answer['roles'].values()).count('primary') <= 1 or not answer['primary']
        for problem in answer['problems']:
            assert problem['node'] and problem['seen'] and problem['expected'] and problem['message']
        if answer['status'] in ('split_brain', 'no_primary', 'unknown'):
            assert answer['stop']


@pytest.mark.parametrize('changes, missing', [
    ({}, []),
    # It may run on somewhere, paused; or its server is down.
    ({'a': None}, ['host-a']),
    ({'a': stopped()}, ['host-a']),
    # Another lives, and nobody has registered it yet.
    ({'a': None, 'b': running(False, timeline=2)}, []),
])
def test_a_registered_primary_that_does_not_answer(changes, missing):
    """By the name of its host, which is the word that an operator gives."""
    hosts = healthy(**changes)
    hosts[0].update(name='host-a', unreachable=hosts[0]['observed'] is None)
    assert judge(hosts)['missing_primary'] == missing


def test_a_registered_primary_that_is_not_in_the_inventory():
    assert judge(healthy(a=None)[1:])['missing_primary'] == ['a']


# -- what only a deployment has to look at

def deploy_problems(hosts):
    """Without those that only stop other playbooks than site: these hosts are registered by their names. test_changeover.py is about them."""
    return [problem for problem in _problems_deploy.deploy_problems(_verdict.hosts_from(hosts)) if not problem['code'].startswith('pending_')]


def deploying(changes, registered='host=a user=repmgr dbname=repmgr', running_port='5432', **observations):
    """Codes and messages where host a, registered like this, has changed in the inventory."""
    rows = [dict(ROWS[0], conninfo=registered)] + ROWS[1:]
    first = running(False, nodes=rows)
    first.server.settings = {'port': running_port}
    hosts = healthy(**dict({'a': first}, **observations))
    hosts[0].update({'user': 'repmgr', 'database': 'repmgr'}, **changes)
    found = deploy_problems(hosts)
    assert all(problem['stop'] for problem in found)
    return [problem['code'] for problem in found], ' '.join(problem['message'] for problem in found)


def test_a_deployment_of_what_is_there():
    assert deploying({}) == ([], '')
    # Defaults of libpq, and other addresses and settings, make no other port, role or database.
    assert deploying({}, registered='postgresql://repmgr@10.0.0.9?sslmode=require') == ([], '')
    assert deploying({}, registered='') == ([], '')
    # A new cluster is no cluster that could break.
    hosts = fresh()
    hosts[0].update(port=5433, other_password=True)
    assert deploy_problems(hosts) == []


@pytest.mark.parametrize('changes, more, code, said', [
    ({'port': '5433'}, {}, 'changed_port',
     'a: its server listens on port 5432, and repmgr_port is 5433; expected its present port, because the other nodes connect to it. '
     'Set repmgr_port: 5432. No playbook changes the port of a server.'),
    ({'port': 5433}, {'a': stopped()}, 'changed_port', 'a: is registered with port 5432, and repmgr_port is 5433'),
    # A server that was there before the cluster, too.
    ({}, {'running_port': '5433', 'registered': ''}, 'changed_port', 'its server listens on port 5433, and repmgr_port is 5432'),
    ({'user': 'fleet'}, {}, 'changed_name', 'a: is registered with user repmgr, and repmgr_user is fleet; expected'),
    ({'database': 'fleet'}, {}, 'changed_name', 'Set repmgr_database: repmgr. No playbook renames it.'),
    ({'other_password': True}, {}, 'changed_password',
     'a: repmgr_password is not the password that the nodes log in with; expected that password, because a new one is set on the servers '
     'before the nodes use it. Until the cluster is healthy, set the old one again. Only if the cluster is healthy, type: '),
    ({'unknown_password': 'unset'}, {}, 'unknown_password',
     'a: its role repmgr has a password, which is neither in ~postgres/.pgpass nor in repmgr_password; expected a password that is known, because a new one '
     'would lock out whoever logs in with the present one. Set repmgr_password to it'),
    ({'unknown_password': 'unseen'}, {}, 'unknown_password',
     'Put the line "local all postgres peer" at the top of pg_hba.conf there, and reload it. Run again.'),
])
def test_a_deployment_that_would_lock_the_nodes_out(changes, more, code, said):
    codes, text = deploying(changes, **more)
    assert codes == [code] and said in text, text
    if code == 'changed_password':
        assert 'rotate_credentials' in text


def test_a_server_that_reads_another_pg_hba_conf():
    hosts = healthy()
    hosts[1]['observed']['hba'] = {'file': '/etc/postgresql/15/main/pg_hba.conf', 'other': '/srv/hba.conf'}
    hosts[2]['observed']['hba'] = {'file': '/etc/postgresql/15/main/pg_hba.conf', 'other': None}
    found = [problem for problem in _problems_deploy.deploy_problems(_verdict.hosts_from(hosts)) if problem['code'] == 'other_hba_file']
    assert [(problem['node'], problem['stop']) for problem in found] == [('b', True)]
    assert 'its server reads /srv/hba.conf, not /etc/postgresql/15/main/pg_hba.conf; expected' in found[0]['message']


def test_the_port_of_a_node_that_is_down_is_the_registered_one():
    rows = ROWS[:1] + [dict(ROWS[1], conninfo='host=b port=6000')] + ROWS[2:]
    hosts = healthy(a=running(False, nodes=rows), b=stopped('missing'))
    found = deploy_problems(hosts)
    assert [problem['message'].partition(';')[0] for problem in found] == ['b: is registered with port 6000, and repmgr_port is 5432']
    # A row of another node says nothing of this one.
    hosts[1]['node_name'] = 'other'
    assert deploy_problems(hosts) == []


def test_only_the_primary_says_which_password_is_in_use():
    """The witness of a rotation that was ended in the middle still logs in to itself with the old one."""
    hosts = healthy()
    hosts[3]['other_password'] = True
    assert deploy_problems(hosts) == []


@pytest.mark.parametrize('judged, archiver, code, step', [
    ({'state': 'ok', 'last': {'label': 'l', 'ended': 1000000}}, {}, None, None),
    ({'state': 'ok', 'last': {'label': 'l', 'ended': 1}}, {}, 'backup_old', 'pgfleet.repmgr.backup'),
    ({'state': 'no_backup', 'last': None}, {}, 'backup_missing', 'repmgr_backup_type=full'),
    ({'state': 'no_stanza', 'last': None}, {}, 'backup_stanza', 'pgfleet.repmgr.site'),
    ({'state': 'unreachable', 'reason': 'no route', 'last': None}, {}, 'backup_repository', 'Look at its host'),
    ({'state': 'ok', 'last': {'label': 'l', 'ended': 1000000}}, {'failing': True, 'last_failed_wal': 'X'}, 'archive_failing', '/var/log/pgbackrest'),
])
def test_backups(judged, archiver, code, step):
    """Said of the primary; it stops nothing, because what it touches is no node."""
    answer = judge(healthy(a=running(False).replace(backup={'settings': {'max_age': 48}, 'judged': judged, 'archiver': archiver, 'now': 1000001})))
    assert [(problem['code'], problem['node'], problem['stop']) for problem in answer['problems']] == ([(code, 'a', False)] if code else [])
    assert not code or step in answer['problems'][0]['message'], answer['problems']
    assert answer['status'] == ('degraded' if code else 'healthy')


# -- codes that no other case names

def with_roles(*roles):
    return [dict(entry, initial_role=role) for entry, role in zip(fresh(), roles)]


def everywhere(*rows):
    return healthy(a=running(False, nodes=list(rows)), b=running(True, nodes=list(rows)), c=running(True, nodes=list(rows)),
                   w=running(False, WITNESS_ID, nodes=list(rows)))


@pytest.mark.parametrize('code, hosts', [
    ('data_unknown', healthy(b=stopped('unknown', reason='cannot be read'))),
    ('server_starting', healthy(b=running(True).replace(server=Server(state='starting')))),
    ('server_silent', healthy(b=running(True).replace(server=Server(state='running', in_recovery=True)))),
    ('server_unknown', healthy(b=running(True).replace(server=Server(state='unknown')))),
    ('restoring', healthy(b=running(True).replace(data=Data(path=PATH, state='valid', system_identifier=ID, promotes_itself=True)))),
    ('unrecognised_data', fresh(c=stopped('unrecognised', reason='holds notes.txt'))),
    ('partial_data', fresh(a=stopped('partial', reason='has no global/pg_control'))),
    ('no_initial_primary', with_roles('standby', 'standby', 'standby', 'witness')),
    ('two_initial_primaries', with_roles('primary', 'primary', 'standby', 'witness')),
    ('old_timeline', healthy(a=running(False, timeline=2), b=running(True, timeline=2), c=running(True, timeline=1))),
    ('repmgrd_unknown', healthy(b=running(True, repmgrd={'running': None}))),
    ('stale_record', everywhere(row(1, 'a', 'primary'), row(2, 'b', 'primary'), row(3, 'c', 'standby', 1), row(4, 'w', 'witness', 1))),
    ('standby_as_witness', everywhere(*ROWS[:3] + [row(4, 'w', 'standby', 1)])),
    ('witness_as_standby', everywhere(*ROWS[:2] + [row(3, 'c', 'witness', 1), ROWS[3]])),
    ('witness_upstream', everywhere(*ROWS[:3] + [row(4, 'w', 'witness', 2)])),
    ('stale_witness', healthy(w=running(False, WITNESS_ID, nodes=ROWS[1:]))),
    ('ssh_unreachable', healthy(b=running(True).replace(reach=[{'name': 'a', 'address': 'a', 'ssh': 'timeout', 'postgresql': 'open'}]))),
    ('postgresql_unreachable', healthy(b=running(True).replace(reach=[{'name': 'a', 'address': 'a', 'ssh': 'open', 'postgresql': 'timeout'}]))),
])
def test_a_code(code, hosts):
    assert code in codes(judge(hosts))
    assert code not in codes(judge(healthy())) + codes(judge(fresh()))


def test_data_that_were_restored_beside_a_primary():
    hosts = healthy(b=stopped().replace(data=stopped().data.replace(promotes_itself=True)))
    problem, = [problem for problem in judge(hosts)['problems'] if problem['code'] == 'stopped_ex_primary']
    assert 'would recover from an archive and then promote itself' in problem['seen']


def test_recovery_signal_that_was_left_on_a_primary():
    answer = judge(healthy(a=running(False).replace(data=running(False).data.replace(promotes_itself=True))))
    assert (answer['primary'], answer['stop']) == ('a', [])


def confirmed_by(names, *replication, **settings):
    observed = running(False)
    observed = observed.replace(server=observed.server.replace(settings=dict(settings, synchronous_standby_names=names)), replication=[
        {'application_name': name, 'state': state, 'sync_state': sync} for name, state, sync in replication])
    return [problem['message'] for problem in judge(healthy(a=observed))['problems'] if problem['code'] == 'commits_wait']


def test_commits_wait_where_too_few_standbys_can_confirm_them():
    b, c = ('b', 'streaming', 'quorum'), ('c', 'streaming', 'quorum')
    assert confirmed_by('ANY 2 (b, c)', b, c) == confirmed_by('', b) == confirmed_by(None) == confirmed_by('ANY 1 (b, c)', c) == []
    assert confirmed_by('FIRST 1 (b, c)', ('b', 'streaming', 'sync'), ('c', 'streaming', 'potential')) == []
    assert confirmed_by('ANY 2 (b, c)', b)[0].startswith('a: each commit waits for 2 standbys, and only b can confirm it; expected as many standbys')
    assert confirmed_by('ANY 1 (b, c)', ('b', 'catchup', 'quorum'), ('other', 'streaming', 'async'))[0].startswith(
        'a: each commit waits for 1 standby, and none can confirm it')
    # As each session of the collection sees it.
    assert confirmed_by('ANY 2 (b, c)', b, synchronous_commit='local') == confirmed_by('ANY 2 (b, c)', b)
