# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import copy
import os
import subprocess

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _observe, _place, _repmgr, _switchover
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server, plain

ID = '7000000000000000001'
NAMES = {1: 'a', 2: 'b', 3: 'c', 4: 'w'}
SWITCHOVER = 'standby switchover --siblings-follow'
DRY_RUN = SWITCHOVER + ' --dry-run'
SERVICE = 'sudo /usr/bin/systemctl %s postgresql@15-main'

# Two programs for a real shell. Each knows which host it is on, and what there is refused.
SSH = """#!/bin/sh
while [ $# -gt 2 ]; do shift; done
echo "$ME $1" >>"$HOSTS/ssh"
test ! -e "$HOSTS/no-ssh-$ME-$1" || exit 255
ME=$1 exec /bin/sh -c "$2"
"""
SUDO = """#!/bin/sh
test "$1 $2" = "-n -l" || touch "$HOSTS/ran"
shift 2
echo "$ME $*" >>"$HOSTS/sudo"
! grep -qxFe "$*" "$HOSTS/no-sudo-$ME" 2>/dev/null
"""


class Cluster:
    """Primary a, standbys b (the target) and c, witness w, and the programs that act on them."""

    def __init__(self, folder):
        self.folder = folder
        self.shells = []
        self.backlog = (True, 16)
        self.settings = {'max_wal_senders': '2', 'max_replication_slots': '2'}
        self.slots = dict((name, []) for name in 'abcw')
        for name, text in (('ssh', SSH), ('sudo', SUDO)):
            path = self.write(os.path.join('bin', name), text)
            os.chmod(path, 0o755)
        for name in 'abcw':
            self.configure(name)
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

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'w') as handle:
            handle.write(text)
        return path

    def configure(self, name, **values):
        values = dict({
            'node_name': name, 'conninfo': 'host=%s' % name, 'use_replication_slots': 'yes',
            'service_stop_command': SERVICE % 'stop', 'service_start_command': SERVICE % 'start'}, **values)
        return self.write('%s.conf' % name, ''.join("%s='%s'\n" % item for item in sorted(values.items())))

    def seen(self, program):
        """What a program was asked, sorted: hosts are asked at the same time."""
        path = os.path.join(self.folder, program)
        if not os.path.exists(path):
            return []
        with open(path) as handle:
            return sorted(handle.read().splitlines())

    # -- what the module asks

    def rows(self):
        found = []
        for number, name in NAMES.items():
            kind = 'witness' if name == 'w' else 'primary' if number == self.primary else 'standby'
            found.append({'node_id': number, 'node_name': name, 'type': kind, 'active': True, 'conninfo': 'host=%s' % name,
                          'slot_name': 'slot_%s' % name, 'config_file': os.path.join(self.folder, '%s.conf' % name),
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
            server=Server(state='running', sql=True, in_recovery=recovery, system_identifier='4' if name == 'w' else ID,
                          settings=self.settings),
            receiver={'status': 'streaming', 'sender_host': NAMES[self.primary], 'sender_port': 5432} if streams else None,
            replication=[
                {'application_name': other, 'state': 'streaming', 'lag_bytes': self.lag}
                for key, other in NAMES.items() if key != self.primary and other != 'w' and other not in self.detached
            ] if number == self.primary else [],
            slots=self.slots[name],
            repmgr={'nodes': self.rows(), 'repmgrd': {'running': self.daemons[name], 'paused': name in self.paused}})

    # -- what the module does

    def run(self, argv, accept=(0,), **dummy):
        if argv[0] == '/bin/sh':
            self.shells.append(argv[-1])
            environment = dict(os.environ, ME='b', HOSTS=self.folder, PATH='%s/bin:%s' % (self.folder, os.environ['PATH']))
            process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
            stdout, stderr = process.communicate()
            return Result(argv, process.returncode, stdout, stderr)
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
                self.slots['b'] = [{'slot_name': 'slot_%s' % name, 'active': True} for name in 'ac']
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

    def archive_backlog(self, dummy):
        return self.backlog


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
def cluster(monkeypatch, tmpdir):
    found = Cluster(str(tmpdir))
    clock = [0]

    def sleep(seconds):
        clock[0] += seconds

    monkeypatch.setattr(_observe, 'observe_local', lambda runner, psql, place, events=0: found.observe('b'))
    monkeypatch.setattr(_observe, 'observe_peers', lambda psql, observed, place, peers, timeout: dict(
        (name, (found.observe(name), 'refused' if name in found.silent else '')) for name in 'acw'))
    monkeypatch.setattr(_switchover, 'SwitchoverLock', Lock)
    monkeypatch.setattr(_switchover.time, 'sleep', sleep)
    monkeypatch.setattr(_switchover.time, 'time', lambda: clock[0])
    return found


def make(cluster, **params):
    given = {'siblings_follow': True, 'connect_timeout': 1, 'max_lag': 1024, 'max_archive_ready': 16, 'timeout': 5}
    given.update(params)
    config_file = os.path.join(cluster.folder, 'b.conf')
    found = _switchover.Switchover(
        cluster, cluster, _repmgr.Repmgr(cluster, '/bin-dir', config_file), _place.Place('b', config_file, '/bin-dir'), given)
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
    may = {'service_start_command': True, 'service_stop_command': True}
    assert found['preflight'] == {
        'ssh': {'a': True, 'c': True, 'w': True}, 'ssh_back': True, 'sudo': {'a': may, 'b': may, 'c': may}, 'archive_ready': 16,
        'max_wal_senders': {'free': 2, 'needed': 2}, 'max_replication_slots': {'free': 2, 'needed': 2}}
    assert found['slots_left'] == []


def test_what_is_asked_of_the_hosts(cluster):
    make(cluster).run(check_mode=True)
    # The target at home, the witness for its repmgr.conf, the others for that and for what it says.
    assert len(cluster.shells) == 6
    assert cluster.seen('ssh') == ['a b', 'b a', 'b a', 'b c', 'b c', 'b w']
    assert cluster.seen('sudo') == [
        '%s /usr/bin/systemctl %s postgresql@15-main' % (name, verb) for name in 'abc' for verb in ('start', 'stop')]
    assert not os.path.exists(os.path.join(cluster.folder, 'ran'))


def test_check_mode_ends_with_the_dry_run(cluster):
    make(cluster).run(check_mode=True)
    assert cluster.calls == [DRY_RUN]


def test_siblings_may_be_left(cluster):
    cluster.settings = {'max_wal_senders': '1', 'max_replication_slots': '1'}
    make(cluster, siblings_follow=False).run(check_mode=True)
    assert cluster.calls == ['standby switchover --dry-run']
    assert cluster.seen('ssh') == ['a b', 'b a', 'b a']


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


def no_ssh_to_primary(cluster):
    cluster.write('no-ssh-b-a', '')


def no_ssh_back(cluster):
    cluster.write('no-ssh-a-b', '')


def no_ssh_to_siblings(cluster):
    cluster.configure('b', ssh_options='-o "User x"')
    cluster.write('no-ssh-b-c', '')
    cluster.write('no-ssh-b-w', '')


def no_config_on_primary(cluster):
    os.remove(os.path.join(cluster.folder, 'a.conf'))


def no_config_that_can_be_read(cluster):
    cluster.write('c.conf', 'motd: welcome to c\n')


def no_sudo(cluster):
    cluster.write('no-sudo-a', '/usr/bin/systemctl stop postgresql@15-main\n')
    cluster.write('no-sudo-b', '/usr/bin/systemctl start postgresql@15-main\n')
    cluster.configure('c', service_start_command='sudo -u root /opt/its "the start"')
    cluster.write('no-sudo-c', '-u root /opt/its the start\n')


def backlog(cluster):
    cluster.backlog = (True, 17)


def little_room(cluster):
    cluster.settings = {'max_wal_senders': '1', 'max_replication_slots': '3'}
    # One that a follower had before is taken again; it counts for nothing.
    cluster.slots['b'] = [{'slot_name': name, 'active': False} for name in ('slot_c', 'x', 'y')]


REFUSALS = [
    (no_ssh_to_primary, [
        'no SSH as postgres to primary a: `ssh -o Batchmode=yes -q -o ConnectTimeout=10 a true` ended with exit code 255']),
    (no_ssh_back, [
        'no SSH as postgres from primary a back to the node: `ssh -o Batchmode=yes -q -o ConnectTimeout=10 b true` failed there']),
    (no_ssh_to_siblings, [
        'no SSH as postgres to standby c: `ssh -o Batchmode=yes -o "User x" c true` ended with exit code 255',
        'no SSH as postgres to witness w: `ssh -o Batchmode=yes -o "User x" w true` ended with exit code 255']),
    (no_config_on_primary, ['FOLDER/a.conf of primary a cannot be read as postgres by SSH']),
    (no_config_that_can_be_read, ['FOLDER/c.conf of standby c cannot be read as postgres by SSH']),
    (no_sudo, [
        'sudo on primary a does not let postgres run service_stop_command: sudo /usr/bin/systemctl stop postgresql@15-main',
        'sudo on standby b does not let postgres run service_start_command: sudo /usr/bin/systemctl start postgresql@15-main',
        'sudo on standby c does not let postgres run service_start_command: sudo -u root /opt/its "the start"']),
    (backlog, ['17 WAL files wait to be archived on primary a, more than max_archive_ready, 16; see pg_stat_archiver there']),
    (little_room, [
        'max_wal_senders of the node is 1, 1 free, but 2 nodes are going to stream from it',
        'max_replication_slots of the node is 3, 1 free, but 2 nodes are going to stream from it']),
    (silent_primary, ['primary a does not answer (connection refused)']),
    (silent_sibling, ['standby c does not answer (refused)', 'witness w does not answer (refused)']),
    (detached_target, ['the node does not stream from primary a']),
    (behind, ['the node lags 1025 bytes behind']),
    (paused, ['repmgrd is already paused on c, by an operator or by another switchover']),
    (daemon_missing, ['repmgrd is not running on w']),
    (second, ['another switchover is under way']),
]


@pytest.mark.parametrize('check_mode', [True, False])
@pytest.mark.parametrize('change, problems', REFUSALS, ids=[case[0].__name__ for case in REFUSALS])
def test_refused(cluster, change, problems, check_mode):
    change(cluster)
    before = copy.copy(cluster.paused)
    assert fails(make(cluster), check_mode=check_mode) == [problem.replace('FOLDER', cluster.folder) for problem in problems]
    # Nothing was changed, and a pause that somebody made is his.
    assert set(cluster.calls) <= set([DRY_RUN]) and cluster.paused == before


def test_no_repmgrd_anywhere_is_somebodys_choice(cluster):
    cluster.daemons = dict((name, False) for name in 'abcw')
    make(cluster).run()
    assert cluster.primary == 2


def test_all_problems_are_named_at_once(cluster):
    for change in (detached_target, paused, daemon_missing, no_ssh_back, no_ssh_to_siblings, no_sudo, backlog, little_room):
        change(cluster)
    # c is not asked about sudo: it cannot be asked at all.
    assert len(fails(make(cluster))) == 3 + 1 + 2 + 2 + 1 + 2


def test_a_command_that_needs_a_shell_is_not_asked_about(cluster):
    for name in 'abc':
        cluster.configure(name, service_stop_command='sudo a; touch %s/ran' % cluster.folder, service_start_command='pg_ctl start')
    switchover = make(cluster)
    switchover.run(check_mode=True)
    assert switchover.result()['preflight']['sudo'] == {} and cluster.seen('sudo') == []
    assert not os.path.exists(os.path.join(cluster.folder, 'ran'))


def test_odd_words_arrive_as_they_are(cluster):
    cluster.configure('c', service_start_command='sudo -u root "/opt/it\'\'s" "the  start"', service_stop_command='')
    make(cluster).run(check_mode=True)
    assert [line for line in cluster.seen('sudo') if line.startswith('c ')] == ["c -u root /opt/it's the  start"]


def test_a_host_that_does_not_answer_is_not_asked_for_ssh(cluster):
    silent_sibling(cluster)
    fails(make(cluster))
    assert cluster.seen('ssh') == ['a b', 'b a', 'b a']


def test_a_program_that_is_missing_is_a_problem_of_that_host(cluster, monkeypatch):
    real = cluster.run

    def run(argv, **kwargs):
        if argv[0] == '/bin/sh' and ' c ' in argv[-1]:
            raise CommandError('timeout cannot be run', Result(argv, 127, '', ''))
        return real(argv, **kwargs)

    monkeypatch.setattr(cluster, 'run', run)
    assert fails(make(cluster)) == ['c: timeout cannot be run']


def test_a_primary_that_does_not_archive(cluster):
    cluster.backlog = (False, 1000)
    switchover = make(cluster)
    switchover.run(check_mode=True)
    assert 'archive_ready' not in switchover.result()['preflight'] and switchover.notes == []


def test_a_backlog_that_may_not_be_counted(cluster):
    cluster.backlog = (True, None)
    switchover = make(cluster)
    switchover.run(check_mode=True)
    assert switchover.result()['preflight']['archive_ready'] is None
    assert switchover.notes == [
        'the WAL files that wait to be archived on primary a could not be counted; a long backlog makes its shutdown slow']


def test_without_slots(cluster):
    cluster.configure('b', use_replication_slots='no')
    cluster.settings['max_replication_slots'] = '0'
    cluster.switchover_does = lambda: cluster.slots['a'].append({'slot_name': 'slot_b', 'active': False})
    switchover = make(cluster)
    switchover.run()
    assert 'max_replication_slots' not in switchover.result()['preflight'] and switchover.notes == []


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
        'a, b, c, w: repmgrd may still be paused (ended with exit code 26); expected not paused. '
        'Type: ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=unpause']


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


def test_a_follower_without_a_slot_of_the_new_primary(cluster, monkeypatch):
    real = cluster.observe

    def observe(name):
        found = real(name)
        if name == 'b' and cluster.primary == 2:
            found.slots = [{'slot_name': 'slot_a', 'active': True}, {'slot_name': 'slot_c', 'active': False}]
        return found

    monkeypatch.setattr(cluster, 'observe', observe)
    assert fails(make(cluster)) == ['c does not use its slot slot_c of the new primary']


def test_slots_that_the_guard_keeps_are_not_left_over(cluster, monkeypatch):
    def leave():
        cluster.slots['a'] = [{'slot_name': 'slot_c', 'active': False, 'retained_bytes': 1}]

    observe = cluster.observe
    monkeypatch.setattr(cluster, 'observe', lambda name: observe(name) and Observed.from_dict(dict(
        plain(observe(name)), guard={'running': True, 'enabled': True})))
    cluster.switchover_does = leave
    switchover = make(cluster)
    switchover.run()
    assert (switchover.result()['slots_left'], switchover.notes) == ([], [])


def test_slots_that_are_left_are_named(cluster):
    def leave():
        cluster.slots['a'] = [
            {'slot_name': 'slot_b', 'active': False, 'retained_bytes': 16777216}, {'slot_name': 'slot_c', 'active': True},
            {'slot_name': 'backup', 'active': False}]
        cluster.slots['c'] = [{'slot_name': 'slot_a', 'active': False, 'retained_bytes': 1}]

    cluster.switchover_does = leave
    switchover = make(cluster)
    switchover.run()
    assert switchover.result()['slots_left'] == [
        {'node_name': 'a', 'slot_name': 'slot_b', 'retained_bytes': 16777216},
        {'node_name': 'c', 'slot_name': 'slot_a', 'retained_bytes': 1}]
    assert switchover.notes == [
        "%s: slot %s is left from before the switchover and retains WAL that nobody needs; expected no such slot. "
        "Type on %s: psql -c \"select pg_drop_replication_slot('%s')\"" % (name, slot, name, slot)
        for name, slot in (('a', 'slot_b'), ('c', 'slot_a'))]
