# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import random

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Host, Observed, Server

ID = '7000000000000000001'
GOOD = {'full_page_writes': 'on', 'wal_log_hints': 'on', 'data_checksums': 'off', 'max_wal_senders': '10', 'max_replication_slots': '10'}
MB = 1024 * 1024


def lsn(position):
    return '%X/%X' % (position >> 32, position & 0xffffffff)


class Cluster:
    """Primary a, standbys b and c, witness w; a case changes what it is about."""

    def __init__(self):
        self.rows = [
            self.row(1, 'a', 'primary', None), self.row(2, 'b', 'standby', 1), self.row(3, 'c', 'standby', 1),
            self.row(4, 'w', 'witness', 1, 0)]
        self.observed = dict((name, self.make(name)) for name in 'abcw')
        self.gone = []

    @staticmethod
    def row(number, name, kind, upstream, priority=100):
        return {'node_id': number, 'node_name': name, 'type': kind, 'upstream_node_id': upstream, 'active': True, 'priority': priority,
                'location': 'default', 'slot_name': 'repmgr_slot_%d' % number if kind == 'standby' else None}

    @staticmethod
    def make(name):
        recovery = name in 'bc'
        identifier = '7000000000000000004' if name == 'w' else ID
        return Observed(
            config={'failover': 'automatic'},
            data=Data(path='/data', state='valid', system_identifier=identifier, standby_signal=recovery),
            server=Server(state='running', sql=True, in_recovery=recovery, system_identifier=identifier, timeline=1,
                          current_lsn=None if recovery else lsn(100 * MB), received_lsn=lsn(100 * MB) if recovery else None,
                          settings=dict(GOOD)),
            receiver={'status': 'streaming', 'received_tli': 1} if recovery else None,
            repmgr={'repmgrd': {'running': True, 'paused': False, 'pid': 7}})

    def hosts(self):
        found = []
        for number, name in enumerate('abcw', 1):
            observed = self.observed[name]
            observed.repmgr['nodes'] = self.rows
            found.append(Host(
                name=name, node_id=number, node_name=name, unreachable=name in self.gone,
                initial_role={'a': 'primary', 'w': 'witness'}.get(name, 'standby'),
                observed=None if name in self.gone else observed))
        return found

    def ready(self):
        return _verdict.verdict(self.hosts())['failover_ready']


def healthy(cluster):
    pass


def standby_repmgrd_down(cluster):
    cluster.observed['b'].repmgr['repmgrd'] = {'running': False}


def witness_repmgrd_paused(cluster):
    cluster.observed['w'].repmgr['repmgrd'] = {'running': True, 'paused': True}


def winner_paused(cluster):
    cluster.observed['b'].repmgr['repmgrd']['paused'] = True


def winner_killed(cluster):
    # A repmgrd that ends in good order takes its number out of the server's shared memory; kill -9 leaves it there.
    cluster.observed['b'].repmgr['repmgrd'] = {'running': False, 'pid': 7}


def winner_manual(cluster):
    cluster.observed['b'].config = {'failover': 'manual'}


def loser_manual(cluster):
    winner_manual(cluster)
    cluster.observed['b'].server.received_lsn = lsn(100 * MB - 1)


def manual_but_priority_zero(cluster):
    winner_manual(cluster)
    cluster.rows[1]['priority'] = 0
    cluster.observed['c'].server.received_lsn = lsn(100 * MB - 1)


def primary_repmgrd_down(cluster):
    cluster.observed['a'].repmgr['repmgrd'] = {'running': False}


def all_paused(cluster):
    for name in 'abcw':
        cluster.observed[name].repmgr['repmgrd']['paused'] = True


def one_standby_dead(cluster):
    cluster.gone = ['c']


def two_voters_dead(cluster):
    cluster.gone = ['c', 'w']


def inactive_siblings_do_not_count(cluster):
    two_voters_dead(cluster)
    cluster.rows[2]['active'] = cluster.rows[3]['active'] = False


def priority_zero_counts_for_the_quorum(cluster):
    cluster.gone = ['w']
    cluster.rows[2]['priority'] = 0


def a_voter_without_repmgrd_counts_for_the_quorum(cluster):
    cluster.gone = ['c']
    cluster.observed['w'].repmgr['repmgrd'] = {'running': False}


def half_is_not_enough(cluster):
    cluster.rows[3]['active'] = False
    cluster.gone = ['c']


def alone_in_another_location(cluster):
    inactive_siblings_do_not_count(cluster)
    cluster.rows[1]['location'] = 'moon'


def no_standby(cluster):
    cluster.rows[1]['upstream_node_id'] = cluster.rows[2]['upstream_node_id'] = None


def detached(cluster):
    cluster.observed['b'].receiver = cluster.observed['c'].receiver = None


def priority_zero(cluster):
    cluster.rows[1]['priority'] = cluster.rows[2]['priority'] = 0


def manual(cluster):
    cluster.observed['b'].config = {'failover': 'manual'}
    cluster.observed['c'].config = {'node_id': 3}


def other_location(cluster):
    for row in cluster.rows[1:]:
        row['location'] = 'moon'


def witness_in_the_primarys_location(cluster):
    other_location(cluster)
    cluster.rows[3]['location'] = 'default'


def far_behind(cluster):
    for name in 'bc':
        cluster.observed[name].server.received_lsn = lsn(60 * MB)


def only_one_behind(cluster):
    cluster.observed['b'].server.received_lsn = lsn(60 * MB)


def no_rewind(cluster):
    cluster.observed['a'].server.settings.update(wal_log_hints='off', full_page_writes='off')


def checksums_do_as_well(cluster):
    cluster.observed['a'].server.settings.update(wal_log_hints='off', data_checksums='on')


def few_walsenders(cluster):
    cluster.observed['b'].server.settings['max_wal_senders'] = '1'


def few_slots(cluster):
    cluster.observed['b'].server.settings['max_replication_slots'] = '3'
    cluster.observed['b'].slots = [{'slot_name': 'x'}, {'slot_name': 'y'}, {'slot_name': 'repmgr_slot_3'}]


def replay_paused(cluster):
    cluster.observed['b'].server.replay_paused = cluster.observed['c'].server.replay_paused = True


def replay_that_is_resumed(cluster):
    replay_paused(cluster)
    for name in 'bc':
        cluster.observed[name].repmgr['missing_rights'] = ['execute of pg_ls_dir(text,boolean,boolean)']


def replay_that_may_not_be_resumed(cluster):
    replay_that_is_resumed(cluster)
    cluster.observed['b'].repmgr['missing_rights'] = ['execute of pg_wal_replay_resume()']


def replay_paused_without_siblings(cluster):
    replay_that_is_resumed(cluster)
    inactive_siblings_do_not_count(cluster)
    cluster.observed['b'].server.version_num = 120000


def replay_paused_without_siblings_on_13(cluster):
    replay_paused_without_siblings(cluster)
    cluster.observed['b'].server.version_num = 130000


def nobody(name, why):
    return '%s: the others would elect it, but %s, so no standby would be promoted; expected a winner that promotes itself. Correct ' \
        'that, or set its priority to 0 in repmgr.conf and register it again.' % (name, why)


CASES = [
    (healthy, ['b', 'c'], []),
    (one_standby_dead, ['b'], []),
    (primary_repmgrd_down, ['b', 'c'], []),
    (inactive_siblings_do_not_count, ['b'], []),
    (witness_in_the_primarys_location, ['b', 'c'], []),
    (only_one_behind, ['c', 'b'], []),
    (checksums_do_as_well, ['b', 'c'], []),
    (loser_manual, ['c', 'b'], []),
    (manual_but_priority_zero, ['c', 'b'], []),
    (priority_zero_counts_for_the_quorum, ['b', 'c'], []),
    (replay_that_is_resumed, ['b', 'c'], []),
    (replay_paused_without_siblings_on_13, ['b'], []),
    (replay_that_may_not_be_resumed, ['b', 'c'], [nobody('b', 'replay is paused')]),
    (winner_manual, ['b', 'c'], [nobody('b', 'failover is manual in repmgr.conf')]),
    (winner_paused, ['b', 'c'], [
        nobody('b', 'repmgrd is paused'),
        'b: repmgrd is paused: it would not follow the new primary; expected a running repmgrd, not paused. '
        'Only if no switchover is at work, type: ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=unpause']),
    (winner_killed, ['b', 'c'], [
        nobody('b', 'repmgrd is not running'),
        'b: repmgrd is not running: it would not follow the new primary; expected a running repmgrd, not paused. '
        'Type on b: systemctl start repmgrd']),
    (a_voter_without_repmgrd_counts_for_the_quorum, ['b'], [
        'w: repmgrd is not running: it would not follow the new primary; expected a running repmgrd, not paused. '
        'Type on w: systemctl start repmgrd']),
    (half_is_not_enough, ['b'], [
        'a: of the 2 nodes that would elect its successor, 1 can be reached; c cannot; expected more than half, 2. '
        'Bring them back, or unregister those that are gone for good.']),
    (alone_in_another_location, ['b'], [
        'a: no node in its location default can be reached, so repmgrd would take its failure for a network split; expected a standby or '
        'witness in that location. Set repmgr_location of a witness or a standby near it.']),
    (replay_paused_without_siblings, ['b'], [
        'a: none of its standbys could be promoted: b: replay is paused; expected one that could be promoted. '
        'Look at: ansible-playbook pgfleet.repmgr.status']),
    (standby_repmgrd_down, ['c', 'b'], [
        'b: repmgrd is not running: it would not follow the new primary; expected a running repmgrd, not paused. '
        'Type on b: systemctl start repmgrd']),
    (witness_repmgrd_paused, ['b', 'c'], [
        'w: repmgrd is paused: it would not follow the new primary; expected a running repmgrd, not paused. '
        'Only if no switchover is at work, type: ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=unpause']),
    (all_paused, ['b', 'c'], [
        'a: none of its standbys could be promoted: b: repmgrd is paused; c: repmgrd is paused; expected one that could be promoted. '
        'Look at: ansible-playbook pgfleet.repmgr.status']),
    (two_voters_dead, ['b'], [
        'a: of the 3 nodes that would elect its successor, 1 can be reached; c, w cannot; expected more than half, 2. '
        'Bring them back, or unregister those that are gone for good.']),
    (no_standby, [], [
        'a: none of its registered standbys answers; expected one that could be promoted. Type: ansible-playbook pgfleet.repmgr.site']),
    (detached, ['b', 'c'], [
        'a: none of its standbys could be promoted: b: does not stream from the primary; c: does not stream from the primary; '
        'expected one that could be promoted. Look at: ansible-playbook pgfleet.repmgr.status']),
    (priority_zero, ['b', 'c'], [
        'a: none of its standbys could be promoted: b: priority is 0; c: priority is 0; expected one that could be promoted. '
        'Look at: ansible-playbook pgfleet.repmgr.status']),
    (manual, ['b', 'c'], [
        'a: none of its standbys could be promoted: b: failover is manual in repmgr.conf; c: failover is manual in repmgr.conf; '
        'expected one that could be promoted. Look at: ansible-playbook pgfleet.repmgr.status']),
    (replay_paused, ['b', 'c'], [
        'a: none of its standbys could be promoted: b: replay is paused; c: replay is paused; '
        'expected one that could be promoted. Look at: ansible-playbook pgfleet.repmgr.status']),
    (other_location, ['b', 'c'], [
        'a: no node in its location default can be reached, so repmgrd would take its failure for a network split; expected a standby or '
        'witness in that location. Set repmgr_location of a witness or a standby near it.']),
    (far_behind, ['b', 'c'], [
        'b: is the best candidate, but 40 MB behind; expected 16 MB at most, because the rest would be lost. '
        'Wait for it to catch up, or look at the network and at its disk.']),
    (no_rewind, ['b', 'c'], [
        'a: has neither wal_log_hints nor data checksums, so it could not be rewound after a failover; expected wal_log_hints = on. '
        'Set it on every node and restart the servers, standbys first.',
        'a: full_page_writes is off, so it could not be rewound after a failover; expected full_page_writes = on. '
        'Set it on every node and reload.']),
    (few_walsenders, ['b', 'c'], [
        'b: max_wal_senders is 1, and 2 nodes would have to stream from it; expected at least 2. '
        'Raise it on every node and restart the servers, standbys first.']),
    (few_slots, ['b', 'c'], [
        'b: max_replication_slots is 3, of which 2 are taken, and 2 nodes would have to stream from it; expected at least 4. '
        'Raise it on every node and restart the servers, standbys first.']),
]


@pytest.mark.parametrize('change, candidates, reasons', CASES, ids=[case[0].__name__ for case in CASES])
def test_case(change, candidates, reasons):
    cluster = Cluster()
    change(cluster)
    answer = cluster.ready()
    assert answer['reasons'] == reasons
    assert answer['ready'] is (not reasons)
    assert [item['name'] for item in answer['candidates']] == candidates


def test_a_candidate():
    cluster = Cluster()
    cluster.observed['b'].server.received_lsn = lsn(99 * MB)
    # The primary's own word on both positions comes before the standby's of another moment.
    cluster.observed['a'].replication = [{'application_name': 'b', 'flush_lsn': lsn(100 * MB - 8)}]
    assert cluster.ready()['candidates'][1] == {
        'name': 'b', 'node_id': 2, 'priority': 100, 'location': 'default', 'lag_bytes': 8, 'obstacles': []}


def test_priority_and_id_decide_between_equals():
    cluster = Cluster()
    cluster.rows[2]['priority'] = 200
    assert [item['name'] for item in cluster.ready()['candidates']] == ['c', 'b']


@pytest.mark.parametrize('names, reason', [
    ('b', 'no single primary is known, so there is nothing to fail over from'),
    ('', 'no single primary is known, so there is nothing to fail over from'),
], ids=['two primaries', 'no primary'])
def test_without_one_primary(names, reason):
    cluster = Cluster()
    if names:
        cluster.observed['b'].server.in_recovery = False
    else:
        cluster.gone = ['a']
    found = cluster.ready()
    assert (found['ready'], found['reasons'], found['candidates'], found['problems'][0]['steps']) == (False, [reason], [], [])


def test_the_guard_counts_votes():
    """The witness, which repmgr counts, has no vote where the nodes with data are odd in number."""
    cluster = Cluster()
    cluster.observed['b'].guard = {'running': True, 'enabled': True}
    assert cluster.ready()['ready']
    cluster.gone = ['c']
    assert 'a: without it 1 of 3 votes would be left (b); expected a majority, 2. Bring back the missing nodes, or add a node or a witness.' in (
        cluster.ready()['reasons'])
    # With two nodes it has one.
    cluster.rows.pop(2)
    assert cluster.ready()['ready']
    cluster.gone = ['c', 'w']
    assert any('1 of 3 votes would be left (b)' in reason for reason in cluster.ready()['reasons'])


@pytest.mark.parametrize('observed, reason', [(Observed(), 'there is no cluster yet'), (None, 'no node was observed')])
def test_without_a_cluster(observed, reason):
    found = _verdict.verdict([Host(name='a', initial_role='primary', observed=observed)])['failover_ready']
    assert (found['ready'], found['reasons'], found['candidates']) == (False, [reason], [])


def test_a_primary_that_is_not_registered_as_such():
    cluster = Cluster()
    cluster.rows[0]['type'] = 'standby'
    assert cluster.ready()['reasons'] == [
        'a: runs as primary, but is not registered as such; expected a record as primary. Type: ansible-playbook pgfleet.repmgr.site']


def test_any_two_changes_at_once_never_raise_and_never_contradict():
    rng = random.Random(5)
    for dummy in range(600):
        cluster = Cluster()
        changes = rng.sample([case[0] for case in CASES], 3)
        for change in changes:
            change(cluster)
        for name in rng.sample('abcw', 1):
            cluster.observed[name].server = cluster.observed[name].server.replace(
                **{rng.choice(['settings', 'current_lsn', 'received_lsn', 'in_recovery']): None})
        answer = cluster.ready()
        assert answer['ready'] is (not answer['reasons'])
        if answer['ready']:
            assert answer['candidates'] and not answer['candidates'][0]['obstacles']


def test_the_slot_that_is_kept_for_the_primary_is_not_taken_by_somebody_else():
    cluster = Cluster()
    for row in cluster.rows:
        row['slot_name'] = 'repmgr_slot_%d' % row['node_id']
    cluster.observed['b'].server.settings['max_replication_slots'] = '2'
    cluster.observed['b'].slots = [{'slot_name': 'repmgr_slot_1', 'active': False}, {'slot_name': 'repmgr_slot_3', 'active': False}]
    assert cluster.ready()['reasons'] == []


@pytest.mark.parametrize('change, successor', [
    (lambda cluster: None, 'b'), (winner_manual, 'b'), (manual, 'b'), (winner_paused, 'c'), (detached, ''), (priority_zero, ''), (no_standby, '')])
def test_whom_a_switchover_should_go_to(change, successor):
    """A failover that is left to a person is no obstacle to a switchover by one."""
    cluster = Cluster()
    change(cluster)
    assert _verdict.verdict(cluster.hosts())['successor'] == successor
