# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fcntl
import json
import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run_lock

BOOT = '11111111-2222-3333-4444-555555555555'
# With the start of the first process.
LIFE = BOOT + ' 5'
SSHD = {'pid': 300, 'started': 3000}


def run(name, **changes):
    return dict({'run': name, 'playbook': 'site.yml', 'user': 'alice', 'controller': 'ops1', 'process': {'pid': 7}}, **changes)


def note(name='r2', renewed=1000, **changes):
    return dict(run(name), **dict({'boot': LIFE, 'since': 900, 'renewed': renewed, 'session': SSHD, 'displaced': None}, **changes))


def here(uptime=1000, connected=False, boot=LIFE):
    return {'boot': boot, 'uptime': uptime, 'connected': connected}


@pytest.mark.parametrize('there, now, options, found', [
    (None, here(), {}, 'take'),
    (note('r1'), here(), {}, 'renew'),
    (note('r1'), here(9999), {}, 'renew'),
    (note(), here(), {}, 'refuse'),
    (note(), here(1119), {}, 'refuse'),
    (note(), here(1120), {}, 'take'),
    # Its work takes hours, and its connection is open.
    (note(), here(99999, connected=True), {}, 'refuse'),
    # Another boot, by its name or by a time that has not come yet.
    (note(), here(boot='other'), {}, 'take'),
    (note('r1'), here(boot='other'), {}, 'take'),
    (note(), here(999, connected=True), {}, 'take'),
    (note(), here(connected=True), {'override': ['r2']}, 'take'),
    (note(), here(), {'override': ['r3']}, 'refuse'),
    # This run had it.
    (None, here(), {'before': LIFE}, 'lost'),
    (note('r1'), here(), {'before': LIFE}, 'renew'),
    (note(), here(), {'before': LIFE}, 'lost'),
    (note(), here(9999), {'before': LIFE}, 'lost'),
    (note(), here(), {'before': LIFE, 'override': ['r2']}, 'lost'),
    (None, here(), {'before': 'other'}, 'take'),
    (note(), here(), {'before': 'other'}, 'refuse'),
])
def test_decision(there, now, options, found):
    assert _run_lock.decision(there, 'r1', now, **options) == found


@pytest.mark.parametrize('other, waits', [
    (note('r2', since=990), True), (note('r0', since=990), False), (note('r2', since=970), False),
    (note('r0', displaced=note('r1')), True), (note('r0', displaced=note('r3')), False)])
def test_who_gives_way(other, waits):
    """Of two that begin at once exactly one waits for the other."""
    assert _run_lock.gives_way(_run_lock.told(other, here()), 'r1') is waits


@pytest.mark.parametrize('changes', [
    {'run': 1}, {'run': ''}, {'since': '900'}, {'renewed': None}, {'renewed': True}, {'renewed': float('nan')}, {'session': 'x'}, {'session': {'pid': 1}},
    {'process': None}, {'boot': None}, {'user': ['x']}])
def test_a_note_that_is_none(changes):
    assert _run_lock.understood(note(**changes)) is None


@pytest.mark.parametrize('value', [None, [], 'x', 1, {}])
def test_what_is_no_note(value):
    assert _run_lock.understood(value) is None
    assert _run_lock.understood(note(displaced=value))['displaced'] is None


class Node:
    """A node with processes and a time of its own."""

    def __init__(self, folder):
        self.folder = str(folder.join('pgfleet'))
        self.proc = str(folder.join('proc'))
        self.program(1, 'systemd', 0, 5)
        self.write('sys/kernel/random/boot_id', BOOT + '\n')
        self.at(1000)

    def write(self, name, text):
        path = os.path.join(self.proc, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'w') as handle:
            handle.write(text)

    def at(self, seconds):
        self.write('uptime', '%d.25 77.00\n' % seconds)

    def program(self, pid, name, parent, started, state='S'):
        self.write('%d/stat' % pid, '%d (%s) %s %d %s %d 0 0\n' % (pid, name, state, parent, ' '.join(['0'] * 17), started))

    def connected(self, sshd='sshd'):
        self.program(100, sshd, 1, 50)
        self.program(300, sshd, 100, 3000)
        self.program(400, 'sudo (x) y', 300, 3001)
        self.program(os.getpid(), 'python', 400, 3002)

    def take(self, name, **options):
        return _run_lock.take(run(name), folder=self.folder, proc=self.proc, **options)

    def release(self, name, **options):
        return _run_lock.release(name, folder=self.folder, **options)

    def seen(self):
        return _run_lock.seen(self.folder, self.proc)

    def path(self, name='run.json'):
        return os.path.join(self.folder, name)


@pytest.fixture
def node(tmpdir):
    return Node(tmpdir)


def test_one_after_the_other(node):
    assert node.take('r1') == {'state': 'held', 'run': 'r1', 'boot': LIFE}
    node.at(1060)
    refused = node.take('r2')
    assert refused == dict(run('r1'), state='refused', for_seconds=60, renewed_seconds=60, connected=False, displaced='')
    assert node.seen() == dict(refused, state='seen')
    # Not its own.
    node.release('r2')
    assert node.take('r1', before=LIFE)['state'] == 'held'
    node.at(1070)
    refused = node.take('r2')
    assert (refused['for_seconds'], refused['renewed_seconds']) == (70, 10)
    node.release('r1')
    assert node.seen() is None and not os.path.exists(node.path())
    assert node.take('r2')['state'] == 'held'
    assert node.take('r1', before=LIFE)['state'] == 'lost'


@pytest.mark.parametrize('sshd', ['sshd', 'sshd-session'])
def test_an_open_connection_keeps_it(node, sshd):
    node.connected(sshd)
    node.take('r1')
    with open(node.path()) as handle:
        assert json.load(handle)['session'] == SSHD
    node.at(99999)
    refused = node.take('r2')
    assert (refused['state'], refused['connected'], refused['for_seconds']) == ('refused', True, 98999)
    # Closed, not yet reaped, or another process of that number.
    for changes in (dict(started=3000, state='Z'), dict(started=4000)):
        node.program(300, sshd, 100, **changes)
        assert node.seen() is None
    assert node.take('r2')['state'] == 'held'


def test_no_connection_is_named_where_there_is_none(node):
    node.program(os.getpid(), 'python', 1, 3002)
    node.take('r1')
    with open(node.path()) as handle:
        assert json.load(handle)['session'] is None


def test_the_lock_of_a_silent_run_is_given_back(node):
    node.take('r1')
    node.at(1200)
    node.take('r2')
    taken = node.take('r1', before=LIFE)
    assert (taken['state'], taken['run'], taken['displaced']) == ('lost', 'r2', 'r1')
    # Another node has refused r2.
    node.release('r2', refused=True)
    assert node.take('r1', before=LIFE)['state'] == 'held'
    # At the end of its work it gives back nothing.
    node.at(1400)
    node.take('r2')
    node.release('r2')
    assert node.take('r1', before=LIFE)['state'] == 'lost'


def test_what_is_dead_by_somebodys_word_is_not_given_back(node):
    node.take('r1')
    assert node.take('r2', override=['r1'])['state'] == 'held'
    node.release('r2', refused=True)
    assert node.seen() is None


def test_a_restart_of_the_container(node):
    """It has the boot of its host, and its /run may be as it was, or empty."""
    node.take('r1')
    node.program(1, 'systemd', 0, 7000)
    assert node.take('r1', before=LIFE) == {'state': 'held', 'run': 'r1', 'boot': BOOT + ' 7000'}


@pytest.mark.parametrize('text', [b'', b'{', b'null', b'\xff\xfe', b'{"run": "r9"}', b'x' * 100000])
def test_what_nobody_wrote_is_nobodys(node, text):
    node.take('r1')
    with open(node.path(), 'wb') as handle:
        handle.write(text)
    assert node.seen() is None
    assert node.take('r2')['state'] == 'held'


def test_a_link_is_replaced_and_not_followed(node, tmpdir):
    node.take('r1')
    os.unlink(node.path())
    tmpdir.join('theirs').write('theirs')
    os.symlink(str(tmpdir.join('theirs')), node.path())
    assert node.take('r2')['state'] == 'held'
    assert tmpdir.join('theirs').read() == 'theirs'


def test_something_else_in_its_place(node):
    node.take('r1')
    os.unlink(node.path())
    os.mkdir(node.path())
    assert node.take('r2')['state'] == 'unavailable'
    os.rmdir(node.path())
    # Opening one waits for a writer.
    os.mkfifo(node.path())
    assert node.take('r2')['state'] == 'unavailable' and node.seen() is None
    node.release('r2')


def test_a_folder_of_others(node, tmpdir):
    os.mkdir(node.folder)
    os.chmod(node.folder, 0o777)
    assert 'pgfleet is not a directory that only' in node.take('r1')['reason']
    os.rmdir(node.folder)
    os.symlink(str(tmpdir), node.folder)
    assert node.take('r1')['state'] == 'unavailable'
    os.unlink(node.folder)
    tmpdir.join('pgfleet').write('')
    assert node.take('r1')['state'] == 'unavailable'
    node.release('r1')


def test_no_room(node, monkeypatch):
    """The lock that was there stays."""
    node.take('r1')

    def full(source, target):
        raise OSError(28, 'No space left on device', target)
    monkeypatch.setattr(os, 'rename', full)
    assert node.take('r1') == {'state': 'unavailable', 'reason': '%s: No space left on device' % node.path()}
    assert node.take('r2')['state'] == 'refused'
    assert sorted(os.listdir(node.folder)) == ['run.json', 'run.lock']


def test_whoever_hangs_while_he_takes_it_is_not_waited_for_long(node, monkeypatch):
    node.take('r1')
    monkeypatch.setattr(_run_lock, '_PATIENCE', 1)
    with open(node.path('run.lock')) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = node.take('r2')
        assert found['state'] == 'unavailable' and 'another process has had' in found['reason']
        node.release('r1')
    assert node.take('r2')['state'] == 'refused'


def race(folder, name):
    """Takes the lock of two hundred nodes in another process, from the moment at which 'go' is there; the process id."""
    child = os.fork()
    if child:
        return child
    try:
        run = {'run': name, 'playbook': '', 'user': '', 'controller': '', 'process': {}}
        while not os.path.exists(os.path.join(folder, 'go')):
            pass
        states = [_run_lock.take(run, folder='%s/%d' % (folder, number))['state'] for number in range(200)]
        with open(os.path.join(folder, name), 'w') as handle:
            handle.write(' '.join(states))
    finally:
        os._exit(0)


def test_of_two_that_begin_at_once_one_has_it(tmpdir):
    racers = [race(str(tmpdir), name) for name in ('r1', 'r2')]
    tmpdir.join('go').write('')
    for racer in racers:
        os.waitpid(racer, 0)
    first, second = [tmpdir.join(name).read().split() for name in ('r1', 'r2')]
    assert len(first) == 200
    assert all(sorted(pair) == ['held', 'refused'] for pair in zip(first, second)), list(zip(first, second))
