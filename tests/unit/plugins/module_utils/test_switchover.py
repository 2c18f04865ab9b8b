# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import copy

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _observe, _repmgr, _switchover
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server

ID = '7000000000000000001'
NAMES = {1: 'a', 2: 'b', 3: 'c', 4: 'w'}
SWITCHOVER = 'standby switchover --siblings-follow'
DRY_RUN = SWITCHOVER + ' --dry-run'


class Cluster:
    """Primary a, standbys b (the target) and c, witness w, and the programs that act on them."""

    def __init__(self):
        self.primary = 1
        self.paused = set()
        self.silent = set()
        self.daemons = dict((name, True) for name in 'abcw')
        self.lag = 0
        self.detached = set()
        self.rc = {}
        self.switchover_does = None
        self.unpause_fails = 0
        self.calls = []
        self.other_holder = False

    # -- what the module asks

    def rows(self):
        found = []
        for number, name in NAMES.items():
            kind = 'witness' if name == 'w' else 'primary' if number == self.primary else 'standby'
            found.append({'node_id': number, 'node_name': name, 'type': kind, 'active': True, 'conninfo': 'host=%s' % name,
                          'upstream_node_id': None if kind == 'primary' else self.primary})
        return found

    def observe(self, name):
        if name in self.silent:
            return None
        number = [key for key, value in NAMES.items() if value == name][0]
        recovery = name != 'w' and number != self.primary
        streams = recovery and name not in self.detached
        return Observed(
            name=name, config={'node_id': number, 'node_name': name},
            data=Data(state='valid', wal_log_hints=True),
            server=Server(state='running', sql=True, in_recovery=recovery, system_identifier='4' if name == 'w' else ID),
            receiver={'status': 'streaming', 'sender_host': NAMES[self.primary], 'sender_port': 5432} if streams else None,
            replication=[
                {'application_name': other, 'state': 'streaming', 'lag_bytes': self.lag}
                for key, other in NAMES.items() if key != self.primary and other != 'w' and other not in self.detached
            ] if number == self.primary else [],
            repmgr={'nodes': self.rows(), 'repmgrd': {'running': self.daemons[name], 'paused': name in self.paused}})

    # -- what the module does

    def run(self, argv, accept=(0,), **dummy):
        if argv[1:] == ['--version']:
            return Result(argv, 0, 'repmgr 5.3.3\n', '')
        words = ' '.join(argv[3:])
        self.calls.append(words)
        rc = self.rc.get(words, 0)
        if words == SWITCHOVER:
            # repmgr pauses, and unpauses when all went well.
            self.paused = set('abcw')
            if self.switchover_does:
                self.switchover_does()
            if rc in (0, 22):
                self.primary = 2
                self.paused = set()
        elif words == 'service unpause':
            if self.unpause_fails:
                self.unpause_fails -= 1
                rc = 26
            else:
                self.paused = set()
        result = Result(argv, rc, '', 'ERROR: it is broken' if rc else '')
        if accept is not None and rc not in accept:
            raise CommandError('ended with exit code %s' % rc, result)
        return result

    def checkpoint(self, dummy):
        self.calls.append('CHECKPOINT')
        return True


class Lock:
    """The advisory lock on the primary."""

    def __init__(self, psql, dummy):
        self.cluster = psql
        self.held = not psql.other_holder

    def holders(self):
        if 'a' in self.cluster.silent:
            raise PsqlError('connection refused')
        return ['somebody'] if self.cluster.other_holder else []

    def __enter__(self):
        if 'a' in self.cluster.silent:
            raise PsqlError('connection refused')
        return self

    def __exit__(self, *dummy):
        return False


@pytest.fixture
def cluster(monkeypatch):
    found = Cluster()
    clock = [0]

    def sleep(seconds):
        clock[0] += seconds

    monkeypatch.setattr(_observe, 'observe_local', lambda runner, psql, place, events=0: found.observe('b'))
    monkeypatch.setattr(_observe, 'observe_peers', lambda psql, observed, place, peers, timeout: dict(
        (name, (found.observe(name), 'refused' if name in found.silent else '')) for name in 'acw'))
    monkeypatch.setattr(_observe, 'read_config', lambda path: {'conninfo': 'host=b'})
    monkeypatch.setattr(_switchover, 'SwitchoverLock', Lock)
    monkeypatch.setattr(_switchover.time, 'sleep', sleep)
    monkeypatch.setattr(_switchover.time, 'time', lambda: clock[0])
    return found


def make(cluster, **params):
    given = {'siblings_follow': True, 'connect_timeout': 1, 'max_lag': 1024, 'timeout': 5}
    given.update(params)
    found = _switchover.Switchover(
        cluster, cluster, _repmgr.Repmgr(cluster, '/bin-dir', '/etc/repmgr.conf'), _observe.Place('b', '/etc/repmgr.conf', '/bin-dir'), given)
    found.look()
    return found


def fails(switchover, **kwargs):
    with pytest.raises(_switchover.SwitchoverError) as caught:
        switchover.run(**kwargs)
    return caught.value.problems


def test_all_goes_well(cluster):
    switchover = make(cluster)
    switchover.run()
    assert cluster.calls == [DRY_RUN, 'CHECKPOINT', SWITCHOVER]
    found = switchover.result()
    assert (found['before'], found['after']) == ({'node_id': 1, 'node_name': 'a'}, {'node_id': 2, 'node_name': 'b'})
    assert found['unpaused'] is False and found['problems'] == [] and switchover.notes == []


def test_check_mode_ends_with_the_dry_run(cluster):
    make(cluster).run(check_mode=True)
    assert cluster.calls == [DRY_RUN]


def test_siblings_may_be_left(cluster):
    make(cluster, siblings_follow=False).run(check_mode=True)
    assert cluster.calls == ['standby switchover --dry-run']


def test_a_primary_is_left_alone(cluster):
    cluster.primary = 2
    assert make(cluster).is_primary
    assert cluster.calls == []


# -- what is refused before anything is changed

def silent_primary(cluster):
    cluster.silent.add('a')


def silent_sibling(cluster):
    cluster.silent.update('cw')


def detached_target(cluster):
    cluster.detached.add('b')


def behind(cluster):
    cluster.lag = 1025


def paused(cluster):
    cluster.paused.add('c')


def daemon_missing(cluster):
    cluster.daemons['w'] = False


def second(cluster):
    cluster.other_holder = True


REFUSALS = [
    (silent_primary, ['primary a does not answer (connection refused)']),
    (silent_sibling, ['standby c does not answer (refused)', 'witness w does not answer (refused)']),
    (detached_target, ['the node does not stream from primary a']),
    (behind, ['the node is 1025 bytes behind']),
    (paused, ['repmgrd is paused already on c, by somebody or by another switchover']),
    (daemon_missing, ['repmgrd is not running on w']),
    (second, ['another switchover is under way']),
]


@pytest.mark.parametrize('check_mode', [True, False])
@pytest.mark.parametrize('change, problems', REFUSALS, ids=[case[0].__name__ for case in REFUSALS])
def test_refused(cluster, change, problems, check_mode):
    change(cluster)
    before = copy.copy(cluster.paused)
    assert fails(make(cluster), check_mode=check_mode) == problems
    # Nothing was run, and a pause that somebody made is his.
    assert cluster.calls == [] and cluster.paused == before


def test_no_repmgrd_anywhere_is_somebodys_choice(cluster):
    cluster.daemons = dict((name, False) for name in 'abcw')
    make(cluster).run()
    assert cluster.primary == 2


def test_all_problems_are_named_at_once(cluster):
    detached_target(cluster)
    paused(cluster)
    daemon_missing(cluster)
    assert len(fails(make(cluster))) == 3


def test_a_dry_run_that_fails_is_the_end(cluster):
    cluster.rc[DRY_RUN] = 18
    assert fails(make(cluster)) == ["repmgr's dry run says: ERROR: it is broken"]
    assert cluster.calls == [DRY_RUN]


# -- repmgrd is never left paused

def test_a_switchover_that_fails_leaves_nobody_paused(cluster):
    cluster.rc[SWITCHOVER] = 18
    switchover = make(cluster)
    assert fails(switchover) == ['repmgr standby switchover ended with exit code 18 (switchover failed): ERROR: it is broken']
    assert cluster.calls == [DRY_RUN, 'CHECKPOINT', SWITCHOVER, 'service unpause']
    assert cluster.paused == set() and switchover.result()['unpaused'] is True


def test_an_interrupt_leaves_nobody_paused(cluster):
    def interrupt():
        raise KeyboardInterrupt()

    cluster.switchover_does = interrupt
    with pytest.raises(KeyboardInterrupt):
        make(cluster).run()
    assert cluster.paused == set()


def test_unpausing_is_tried_again(cluster):
    cluster.rc[SWITCHOVER], cluster.unpause_fails = 18, 2
    fails(make(cluster))
    assert cluster.calls[-3:] == ['service unpause'] * 3 and cluster.paused == set()


def test_a_pause_that_cannot_be_ended_is_said(cluster):
    cluster.rc[SWITCHOVER], cluster.unpause_fails = 18, 99
    switchover = make(cluster)
    fails(switchover)
    assert switchover.notes == [
        'repmgrd may still be paused on a, b, c, w; type: repmgr service unpause. ended with exit code 26']


def test_a_node_that_does_not_answer_is_unpaused_as_well(cluster):
    cluster.rc[SWITCHOVER], cluster.switchover_does = 18, lambda: cluster.silent.add('c')
    switchover = make(cluster)
    fails(switchover)
    assert 'service unpause' in cluster.calls
    assert 'c' in switchover.notes[0]


# -- verification

def test_a_sibling_that_does_not_follow(cluster):
    cluster.rc[SWITCHOVER], cluster.switchover_does = 22, lambda: cluster.detached.add('c')
    assert fails(make(cluster)) == ['c does not stream from the new primary']
    assert cluster.paused == set()


def test_an_old_primary_that_does_not_come_back(cluster):
    cluster.rc[SWITCHOVER], cluster.switchover_does = 22, lambda: cluster.silent.add('a')
    assert fails(make(cluster)) == ['a does not answer (refused)']


def test_a_sibling_that_was_not_asked_to_follow(cluster):
    cluster.switchover_does = lambda: cluster.detached.add('c')
    # Without --siblings-follow the command is another one; the fake acts on this one alone.
    switchover = make(cluster)
    switchover.params['siblings_follow'] = False
    cluster.rc['standby switchover'] = 0
    real = cluster.run

    def run(argv, **kwargs):
        if argv[3:] == ['standby', 'switchover']:
            argv = argv[:3] + SWITCHOVER.split()
        return real(argv, **kwargs)

    cluster.run = run
    switchover.run()
    assert switchover.result()['after'] == {'node_id': 2, 'node_name': 'b'}
