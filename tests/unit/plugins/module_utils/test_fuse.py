# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fuse of role guard, and what the guard tells it. They stand here because this folder's tests run on Python 2.7 and 3.6, too, as both programs do."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.guard_program import guard

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), *('../../../../roles/guard/files'.split('/')))

fuse = types.ModuleType('fuse')
with open(os.path.join(FOLDER, 'fuse.py')) as program:
    exec(compile(program.read(), os.path.join(FOLDER, 'fuse.py'), 'exec'), fuse.__dict__)  # pylint: disable=exec-used


# -- what is decided

STAMP = {'sight': 100.0, 'limit': 7, 'boot': 'this', 'directory': '/data'}


@pytest.mark.parametrize('now, change, done', [
    (106.9, {}, False),
    (107.1, {}, True),
    # The host stood still.
    (5000, {}, True),
    (5000, {'limit': None}, False),
    (5000, {'boot': 'another'}, False),
    (5000, {'sight': 4999}, False),
])
def test_when_it_kills(now, change, done):
    assert fuse.expired(dict(STAMP, **change), 'this', now) is done


@pytest.mark.parametrize('change, since, done', [
    ({}, None, False), ({}, 993.1, False), ({}, 992.9, True),
    # Whoever was asked when nobody was primary here keeps nobody from an election.
    ({'sight': 999}, 992.9, True),
    ({'promoted': None}, 1, False), ({'boot': 'another'}, 1, False),
    # Its guard has seen it: that word counts.
    ({'limit': 7, 'sight': 999}, 1, False),
])
def test_when_it_kills_a_primary_of_which_it_was_told_nothing(change, since, done):
    assert bool(fuse.expired(dict(dict(STAMP, limit=None, promoted=7), **change), 'this', 1000, since)) is done


def test_it_kills_for_no_word():
    assert not fuse.expired(None, 'this', 5000)


@pytest.mark.parametrize('text', [
    '', '{', '[]', 'null', '7', '"x"', '{}', '\x00\x01',
    json.dumps(dict(STAMP, limit='7')), json.dumps(dict(STAMP, sight=None)), json.dumps(dict(STAMP, sight=-1)), json.dumps(dict(STAMP, limit=-1)),
    json.dumps(dict(STAMP, sight=float('nan'))), json.dumps(dict(STAMP, directory=None)), json.dumps(dict(STAMP, directory='data')),
    json.dumps(dict(STAMP, boot=None)), json.dumps({'limit': 7, 'sight': 100, 'boot': 'this'}),
    # Of a time to come.
    json.dumps(dict(STAMP, sight=5001)),
    json.dumps(dict(STAMP, limit=None, promoted='7')), json.dumps(dict(STAMP, limit=None, promoted=-1)),
    # What is being written.
    json.dumps(STAMP)[:-5],
])
def test_what_makes_no_sense(text):
    assert fuse.understood(text, 5000) is None


def test_what_makes_sense():
    assert fuse.understood(json.dumps(STAMP).ljust(1024), 5000) == STAMP
    assert fuse.understood(json.dumps(dict(STAMP, limit=None, more=1)), 5000)['limit'] is None


def test_both_programs_have_the_same_clock_and_boot():
    assert abs(fuse.clock() - guard.clock()) < 0.5
    with open('/proc/uptime') as handle:
        assert abs(fuse.clock() - float(handle.read().split()[0])) < 1
    assert fuse.boot() == guard.boot()
    assert (fuse.SIGHT_FILE, fuse.STOPPED_FILE, fuse.PID_FILE) == (guard.SIGHT_FILE, guard.STOPPED_FILE, guard.FUSE_PID_FILE)


# -- with processes

@pytest.fixture
def run_server(tmpdir, monkeypatch):
    """Something that looks like a server with one backend, or that differs from one; its process, and its child's number."""
    monkeypatch.setattr(fuse, 'SIGHT_FILE', str(tmpdir.join('sight')))
    monkeypatch.setattr(fuse, 'STOPPED_FILE', str(tmpdir.join('stopped')))
    started = []

    def start(name='postgres', cwd='data'):
        program = str(tmpdir.ensure('bin', dir=True).join(name))
        if not os.path.exists(program):
            os.symlink(sys.executable, program)
        process = subprocess.Popen([program, '-c', 'import os, sys, time\nchild = os.fork()\nif child: print(child); sys.stdout.flush()\ntime.sleep(60)'],
                                   cwd=str(tmpdir.ensure(cwd, dir=True)), stdout=subprocess.PIPE)
        started.append((process, int(process.stdout.readline())))
        return started[-1]

    yield start
    for process, child in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        try:
            os.kill(child, signal.SIGKILL)
        except OSError:
            pass


def runs(pid):
    try:
        with open('/proc/%d/stat' % pid) as handle:
            return handle.read().rpartition(')')[2].split()[0] != 'Z'
    except (IOError, OSError):
        return False


def ended(process):
    """Whether it was killed, or is within two seconds."""
    deadline = time.time() + 2
    while process.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    return process.poll() == -9


def tell(tmpdir, **change):
    new = tmpdir.join('sight.new')
    new.write(json.dumps(dict({'sight': fuse.clock(), 'limit': 0.3, 'boot': fuse.boot(), 'directory': str(tmpdir.join('data'))}, **change)))
    os.rename(str(new), str(tmpdir.join('sight')))


def look(program, seconds):
    deadline = time.time() + seconds
    while time.time() < deadline:
        program.look()
        time.sleep(0.02)


def test_a_guard_that_tells_nothing_any_more(tmpdir, run_server, capsys):
    process, child = run_server()
    other, others_child = run_server(cwd='another')
    program = fuse.Fuse()
    for dummy in range(3):
        tell(tmpdir)
        look(program, 0.2)
    assert process.poll() is None and runs(child)
    look(program, 0.4)
    assert ended(process) and not runs(child)
    assert other.poll() is None and runs(others_child)
    stopped = json.loads(tmpdir.join('stopped').read())
    assert (stopped['code'], stopped['peers']) == ('fuse', []) and abs(stopped['since'] - time.time()) < 5
    assert capsys.readouterr()[0].count('stopped the server: the guard has not seen enough votes, or has not been at work, for 0.') == 1
    # It waits for another word: what somebody starts now is not what that word was about.
    os.unlink(str(tmpdir.join('stopped')))
    again, child = run_server()
    look(program, 0.3)
    assert again.poll() is None and runs(child) and not tmpdir.join('stopped').check()
    tell(tmpdir)
    look(program, 0.6)
    assert ended(again)


@pytest.mark.skipif(sys.getfilesystemencoding().lower() not in ('utf-8', 'utf8'), reason='the test itself cannot make such a folder')
def test_a_folder_that_is_not_ascii(tmpdir, run_server):
    process, dummy = run_server(cwd='d\xc3\xa4ta' if str is bytes else 'd\xe4ta')
    tell(tmpdir, sight=fuse.clock() - 1, directory=u'%s' % tmpdir.join('data').dirname + u'/d\xe4ta')
    fuse.Fuse().look()
    assert ended(process)


def test_an_orphan_does_not_go_on(tmpdir, run_server):
    process, child = run_server()
    process.kill()
    process.wait()
    tell(tmpdir, sight=fuse.clock() - 1)
    fuse.Fuse().look()
    assert not runs(child)


def test_a_frozen_server_is_killed(tmpdir, run_server):
    process, dummy = run_server()
    os.kill(process.pid, signal.SIGSTOP)
    tell(tmpdir, sight=fuse.clock() - 1)
    fuse.Fuse().look()
    assert ended(process)


@pytest.mark.parametrize('told', [
    {'limit': None}, {'boot': 'another'}, {'directory': '/nowhere'}, {'sight': 10 ** 9},
])
def test_no_reason_to_kill(tmpdir, run_server, told):
    process, child = run_server()
    tell(tmpdir, **dict({'sight': fuse.clock() - 1}, **told))
    look(fuse.Fuse(), 0.2)
    assert process.poll() is None and runs(child) and not tmpdir.join('stopped').check()


@pytest.mark.parametrize('other', [{'name': 'repmgrd'}, {'name': 'postgres_exporter'}, {'cwd': 'data/base'}])
def test_what_is_no_server_is_let_be(tmpdir, run_server, other):
    process, child = run_server(**other)
    tell(tmpdir, sight=fuse.clock() - 1, server=process.pid)
    look(fuse.Fuse(), 0.2)
    assert process.poll() is None and runs(child) and not tmpdir.join('stopped').check()


@pytest.mark.parametrize('text', ['', '{', '{"limit": null}', '{"sight": 1e12, "limit": 9, "boot": "x", "directory": "/"}'])
def test_garbage_does_not_stop_the_time(tmpdir, run_server, text):
    process, dummy = run_server()
    program = fuse.Fuse()
    tell(tmpdir)
    program.look()
    tmpdir.join('sight').write(text)
    program.look()
    assert process.poll() is None
    look(program, 0.5)
    assert ended(process)


def test_garbage_that_is_mended(tmpdir, run_server):
    process, dummy = run_server()
    program = fuse.Fuse()
    tell(tmpdir)
    program.look()
    tmpdir.join('sight').write('{')
    program.look()
    tell(tmpdir, sight=fuse.clock() + 0.05, limit=9)
    look(program, 0.5)
    assert process.poll() is None


@pytest.fixture
def promoted(tmpdir, run_server):
    """A server whose guard hangs since before it was promoted; and its fuse, which has seen it as a standby."""
    process, dummy = run_server()
    data = tmpdir.join('data')
    data.join('PG_VERSION').write('15')
    data.join('postmaster.pid').write('%d\n%s\n1700000000\n5432\n' % (process.pid, data))
    data.join('standby.signal').write('')
    tell(tmpdir, limit=None, promoted=0.3, sight=0)
    program = fuse.Fuse()
    look(program, 0.6)
    assert process.poll() is None
    return process, program


def test_a_standby_that_is_promoted_while_its_guard_hangs(tmpdir, promoted, run_server, capsys):
    process, program = promoted
    tmpdir.join('data', 'standby.signal').remove()
    look(program, 0.2)
    # From then on, however long the guard has said nothing.
    assert process.poll() is None
    look(program, 0.5)
    assert ended(process) and tmpdir.join('stopped').check()
    assert 'it has been primary for 0.' in capsys.readouterr()[0]
    # One that is started then has a limit, too.
    again, dummy = run_server()
    tmpdir.join('data', 'postmaster.pid').write('%d\n/\n1700000009\n5432\n' % again.pid)
    look(program, 0.2)
    assert again.poll() is None
    look(program, 0.6)
    assert ended(again)


@pytest.mark.parametrize('told', [
    # The guard goes on, was ended by somebody, or would not stop it.
    {'limit': 9, 'promoted': 9}, {'limit': None, 'promoted': None}, {'limit': None},
])
def test_a_standby_that_is_promoted_and_whose_guard_has_spoken(tmpdir, promoted, told):
    process, program = promoted
    tmpdir.join('data', 'standby.signal').remove()
    look(program, 0.1)
    tell(tmpdir, **told)
    look(program, 0.6)
    assert process.poll() is None


@pytest.mark.parametrize('what', ['aside', 'single', 'another', 'nothing', 'old'])
def test_what_is_no_primary(tmpdir, promoted, what):
    process, program = promoted
    data = tmpdir.join('data')
    if what == 'aside':
        # A rejoin recovers it.
        data.join('standby.signal').rename(data.join('standby.signal.aside'))
    elif what == 'old':
        data.join('PG_VERSION').write('11')
        data.join('recovery.conf').write("standby_mode = 'on'")
    else:
        data.join('standby.signal').remove()
        number = {'single': '-%d' % process.pid, 'another': '%d' % os.getpid(), 'nothing': ''}[what]
        data.join('postmaster.pid').write(number + '\n/\n1700000000\n')
    look(program, 0.8)
    assert process.poll() is None


def test_a_number_that_is_another_clusters_server_now(tmpdir, run_server):
    """After a crash, in what postmaster.pid was left with."""
    data = tmpdir.ensure('data', dir=True)
    data.join('PG_VERSION').write('15')
    for process, here in ((run_server(cwd='another')[0], False), (run_server()[0], True)):
        data.join('postmaster.pid').write('%d\n/\n1700000000\n' % process.pid)
        assert (fuse.primary_on(str(data)) is not None) is here


def test_a_disk_that_hangs(tmpdir, promoted, monkeypatch):
    """What it hangs in is not what counts the time, nor what reads the guard's word."""
    process, program = promoted
    monkeypatch.setattr(fuse, 'primary_on', lambda directory: time.sleep(60))
    time.sleep(0.2)
    tell(tmpdir, limit=0.3)
    look(program, 0.6)
    assert ended(process)


def test_no_file(tmpdir, run_server):
    """Nobody watches, or does no more: it was taken away."""
    process, dummy = run_server()
    program = fuse.Fuse()
    look(program, 0.1)
    tell(tmpdir)
    program.look()
    os.unlink(str(tmpdir.join('sight')))
    look(program, 0.5)
    assert process.poll() is None
    tmpdir.join('sight').mkdir()
    look(program, 0.1)
    assert process.poll() is None


def test_a_program_of_its_own(tmpdir, run_server):
    """As it is started, with its memory locked where that may be; and what it costs."""
    process, child = run_server()
    with open(os.path.join(FOLDER, 'fuse.py')) as handle:
        text = handle.read().replace('/run/postgresql/repmgr-guard.', str(tmpdir) + '/').replace('/run/postgresql', str(tmpdir))
    tmpdir.join('fuse').write(text)
    tell(tmpdir, limit=2)
    started = subprocess.Popen([sys.executable, str(tmpdir.join('fuse'))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        time.sleep(1)
        assert process.poll() is None and runs(child)
        with open('/proc/%d/stat' % started.pid) as handle:
            begun = sum(int(word) for word in handle.read().rpartition(')')[2].split()[11:13])
        time.sleep(0.5)
        with open('/proc/%d/stat' % started.pid) as handle:
            # Hundredths of a second.
            assert sum(int(word) for word in handle.read().rpartition(')')[2].split()[11:13]) - begun <= 3
        deadline = time.time() + 5
        while (process.poll() is None or runs(child)) and time.time() < deadline:
            time.sleep(0.02)
        assert process.poll() == -9 and not runs(child)
        # It says so when it has done it.
        time.sleep(0.5)
    finally:
        started.terminate()
        output = started.communicate()[0].decode()
    assert 'watches over the guard of this host' in output and 'stopped the server' in output and 'Traceback' not in output


# -- what the guard tells

CONFIG = {'cluster': 'x', 'name': 'a', 'node_id': 1, 'isolation': 4, 'automatic': True, 'auto_rejoin': 'rewind', 'synchronous': 0, 'detection': 16,
          'connect_timeout': 2, 'port': 5432, 'database': 'repmgr', 'user': 'postgres', 'bin_dir': '/bin', 'conf': '/etc/repmgr.conf', 'passfile': '/pgpass',
          'data_directory': '/data', 'service': 'postgresql', 'start_wait': 0,
          'peers': [{'name': name, 'conninfo': name, 'node_id': number, 'vote': True, 'witness': False} for number, name in enumerate('bc', 2)]}
ANSWER = {'in_recovery': True, 'repmgrd': True, 'paused': False, 'upstream': 1, 'receiving': True, 'silence': 0, 'system': '7', 'timeline': 1}


class Host:
    """A guard after another on one host, in a time of its own."""

    def __init__(self, monkeypatch, tmpdir):
        self.now, self.kind, self.pid, self.said = 1000.0, 'primary', 77, []
        self.answering = 'bc'
        self.sight, self.config = tmpdir.join('sight'), dict(CONFIG, state=str(tmpdir.join('state')))
        tmpdir.join('state').write(json.dumps({'cluster': 'x', 'node_id': 1, 'armed': True, 'primary': None, 'reign': None}))
        monkeypatch.setattr(guard, 'SIGHT_FILE', str(self.sight))
        for name, function in (('clock', lambda: self.now), ('say', self.said.append), ('data_is', lambda directory: self.kind),
                               ('postmaster', lambda directory: self.pid), ('stop_now', lambda directory, problem: self.said.append('STOP'))):
            monkeypatch.setattr(guard, name, function)
        monkeypatch.setattr(guard.time, 'sleep', lambda seconds: None)
        monkeypatch.setattr(guard.Server, 'tick', lambda server, *dummy: self.ask(server))
        monkeypatch.setattr(guard.Watch, 'wanted', lambda self: False)
        self.guard()

    def ask(self, server):
        if server.name in self.answering:
            server.answer, server.answered = dict(ANSWER), self.now - 0.2

    def guard(self, **config):
        self.watch = guard.Watch(dict(self.config, **config))
        self.watch.local.answer, self.watch.local.answered = {'paused': False}, self.now

    def goes_on(self, seconds):
        """By ticks of half a second. Whether the guard stops the server."""
        self.said[:] = []
        for dummy in range(int(seconds * 2)):
            self.now += 0.5
            self.watch.tick()
        return 'STOP' in self.said

    @property
    def told(self):
        return json.loads(self.sight.read())

    def fuse_kills(self, after=0):
        return fuse.expired(fuse.understood(self.sight.read(), self.now), guard.boot(), self.now + after)


@pytest.fixture
def host(monkeypatch, tmpdir):
    return Host(monkeypatch, tmpdir)


def test_the_stamp_of_a_primary(host):
    assert not host.goes_on(10)
    assert host.told == {'boot': guard.boot(), 'cluster': 'x', 'node_id': 1, 'directory': '/data', 'server': 77, 'fences': True, 'limit': 6, 'promoted': 6,
                         'sight': 1009.8, 'hangs': False}
    assert not host.fuse_kills(5.7) and host.fuse_kills(5.9)
    # The guard comes first, and whoever is promoted last.
    assert host.config['isolation'] < host.told['limit'] < host.config['isolation'] + guard.STOP_MARGIN


def test_the_sight_of_a_majority(host):
    """Three votes: one more is enough. Five: two are, and the later of them counts for nothing."""
    host.goes_on(1)
    host.answering = 'b'
    assert not host.goes_on(10) and host.told['sight'] == 1010.8
    host.answering = ''
    host.goes_on(1)
    assert host.told['sight'] == 1010.8
    peers = [dict(peer, name=name, node_id=number) for number, (peer, name) in enumerate(zip(CONFIG['peers'] * 2, 'bcde'), 2)]
    host.guard(peers=peers)
    host.answering = 'bcde'
    host.goes_on(1)
    seen = host.told['sight']
    host.answering = 'e'
    host.goes_on(2)
    assert host.told['sight'] == seen


@pytest.mark.parametrize('change', [
    {'kind': 'standby'}, {'pid': None}, {'automatic': False}, {'paused': True}, {'armed': False}, {'peers': CONFIG['peers'][:1]}, {'peers': []}])
def test_whom_the_fuse_lets_be(host, change):
    host.guard(**dict((key, value) for key, value in change.items() if key in ('automatic', 'peers')))
    host.kind, host.pid = change.get('kind', 'primary'), change.get('pid', 77)
    host.watch.local.answer['paused'] = change.get('paused', False)
    if 'armed' in change:
        host.watch.state['armed'], host.answering = False, ''
    host.watch.tick()
    assert host.told['limit'] is None and not host.told['fences'] and not host.fuse_kills(1000)
    # While this guard hangs it may become a primary that somebody has to stop.
    assert host.told['promoted'] == (6 if 'kind' in change or 'pid' in change else None)


def test_how_often_it_is_written(host, monkeypatch):
    written, real = [], guard.write_stamp
    monkeypatch.setattr(guard, 'write_stamp', lambda stamp: (written.append(stamp), real(stamp))[1])
    host.goes_on(1)
    del written[:]
    for dummy in range(100):
        host.now += 0.01
        host.watch.tick()
    assert 1 <= len(written) <= 2
    host.watch.local.answer['paused'] = True
    host.watch.tick()
    assert written[-1]['limit'] is None


def test_a_guard_that_is_killed_again_and_again(host):
    host.goes_on(10)
    host.answering = ''
    host.goes_on(1)
    sight = host.told['sight']
    for dummy in range(2):
        host.now += 1
        host.guard()
        assert not host.goes_on(1) and host.told['sight'] == sight
    assert not host.fuse_kills()
    host.now += 1.5
    assert host.fuse_kills()
    host.guard()
    # It asks before it stops a server that nobody has watched; the fuse does not wait for it.
    assert not host.goes_on(0.5) and host.fuse_kills() and host.goes_on(2)


def test_a_guard_that_is_killed_and_sees_its_peers(host):
    host.goes_on(10)
    host.now += 2
    host.guard()
    host.answering = ''
    assert not host.goes_on(1)
    host.answering = 'c'
    assert not host.goes_on(10) and not host.fuse_kills()


def test_a_server_that_was_started_since(host):
    host.goes_on(10)
    host.answering, host.pid = '', 78
    host.now += 100
    host.guard()
    assert not host.goes_on(4) and host.told['sight'] == 1110.5 and host.goes_on(1)


def test_a_guard_that_reads_its_configuration_again(host):
    host.goes_on(10)
    host.answering = ''
    host.goes_on(3.5)
    host.guard()
    assert host.goes_on(3)


def test_a_guard_that_is_ended(host):
    """The server is let be, however long; whoever starts a guard again lets it look first."""
    host.goes_on(10)
    sight = host.told['sight']
    host.watch.stand_down()
    assert host.told['limit'] is None and host.told['fences'] and host.told['sight'] == sight and not host.fuse_kills(1000)
    assert host.told['promoted'] is None
    host.now += 1000
    host.guard()
    host.answering = ''
    assert not host.goes_on(1) and host.told['limit'] == 6 and not host.fuse_kills()
    host.answering = 'bc'
    assert not host.goes_on(10) and not host.fuse_kills()


def test_a_guard_that_is_ended_in_a_cut(host):
    host.goes_on(10)
    host.answering = ''
    host.goes_on(3)
    host.watch.stand_down()
    host.guard()
    assert host.goes_on(3.5)


def test_a_guard_that_starts_in_a_pause(host):
    """For as long as it does not know of it, its own period counts."""
    host.goes_on(1)
    host.answering = ''
    host.watch.local.answer['paused'] = True
    assert not host.goes_on(100) and host.told['limit'] is None
    host.guard()
    host.watch.local.answer['paused'] = None
    assert not host.goes_on(1) and host.told['limit'] == 6 and not host.fuse_kills()
    host.watch.local.answer['paused'] = True
    assert not host.goes_on(10) and host.told['limit'] is None


def test_a_guard_whose_file_is_lost(host):
    host.goes_on(1)
    os.unlink(host.config['state'])
    host.guard()
    assert host.watch.state['armed'] and guard.read_state(host.config)['armed']
    os.unlink(host.config['state'])
    os.unlink(str(host.sight))
    host.guard()
    assert not host.watch.state['armed']


@pytest.mark.parametrize('change', [{'boot': 'another'}, {'cluster': 'y'}, {'node_id': 2}, {'sight': 5000}, {'sight': None}, None])
def test_a_stamp_of_something_else(host, change):
    host.goes_on(1)
    host.sight.write(json.dumps(dict(host.told, **change)) if change else '{')
    assert guard.read_stamp(host.config) is None
    host.answering = ''
    host.guard()
    assert not host.goes_on(4) and host.goes_on(1)


def test_no_room_in_run(host, monkeypatch):
    """The stamp finds room in the file that is there; a primary that is well is not stopped because of a full /run."""
    host.goes_on(1)
    real = open

    def full(path, mode='r'):
        if path.endswith('.new'):
            raise IOError(guard.errno.ENOSPC, 'No space left on device')
        return real(path, mode)
    monkeypatch.setitem(guard.__dict__, 'open', full)
    size = host.sight.size()
    host.goes_on(2)
    assert host.told['sight'] == 1002.8 and host.sight.size() == size == 1024


def test_what_cannot_be_written_is_said(host, monkeypatch):
    monkeypatch.setattr(guard, 'SIGHT_FILE', str(host.sight.join('not', 'there')))
    host.goes_on(2)
    assert [text for text in host.said if 'cannot be written' in text and 'sight' in text] != []


@pytest.mark.parametrize('limit, renewed', [(6, True), (None, False)])
def test_a_server_that_starts_beside_no_guard(host, monkeypatch, limit, renewed):
    """It has its time, and no more; where the guard was ended by somebody the fuse does not watch."""
    host.goes_on(1)
    host.sight.write(json.dumps(dict(host.told, limit=limit)))
    before, host.now = host.told, host.now + 100
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'write_environment', lambda config: None)
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': '7', "Latest checkpoint's TimeLineID": '1'})
    monkeypatch.setattr(guard, 'hold', lambda servers, seconds: None)
    monkeypatch.setattr(guard, 'lock', lambda servers, need: (True, ''))

    def ask_all(servers, seconds, enough=None):
        host.now += 0.5
        for server in servers:
            server.answer, server.answered, server.process = dict(ANSWER), host.now, server
            server.close = server.poll = lambda: None
    monkeypatch.setattr(guard, 'ask_all', ask_all)
    # `need` is counted by the connections that are left.
    monkeypatch.setattr(guard, 'lock_and_look', lambda servers, need, judge, yields: (None, ''))
    assert guard.start(host.config) == 0
    assert host.told == (dict(before, sight=1101.0, server=None) if renewed else before)
    # The guard that comes then does not begin again.
    host.guard()
    host.answering = ''
    assert not renewed or (not host.goes_on(4) and host.goes_on(1))


# -- systemd

def test_a_socket_of_systemd_that_is_gone(monkeypatch, tmpdir):
    monkeypatch.setenv('NOTIFY_SOCKET', str(tmpdir.join('gone')))
    guard.tell_systemd('WATCHDOG=1')


def test_a_systemd_that_hangs(monkeypatch, tmpdir):
    listening = guard.socket.socket(guard.socket.AF_UNIX, guard.socket.SOCK_DGRAM)
    listening.bind(str(tmpdir.join('notify')))
    monkeypatch.setenv('NOTIFY_SOCKET', str(tmpdir.join('notify')))
    begun = time.time()
    for dummy in range(2000):
        guard.tell_systemd('WATCHDOG=1')
    assert time.time() - begun < 5 and listening.recv(100) == b'WATCHDOG=1'
    listening.close()


@pytest.mark.parametrize('found', ['{', '{}', '[]', None])
def test_a_configuration_that_cannot_be_read(host, monkeypatch, tmpdir, found):
    """A guard that ended for that could not start again, and its primary would be killed."""
    ticks, config = [], tmpdir.join('guard.json')

    def tick(watch, real=guard.Watch.tick):
        ticks.append(1)
        host.now += 0.5
        if len(ticks) == 3:
            config.write(found or '')
            os.utime(str(config), (1, len(ticks)))
            if found is None:
                config.remove()
        if len(ticks) == 20:
            config.write(json.dumps(dict(host.config, peers=[])))
        if len(ticks) == 22:
            raise SystemExit(0)
        real(watch)
    config.write(json.dumps(host.config))
    for name, value in (('CONFIG', str(config)), ('PID_FILE', str(tmpdir.join('pid'))), ('become_user', lambda config: None),
                        ('tell_systemd', lambda text: None), ('read_config', lambda: json.loads(config.read()))):
        monkeypatch.setattr(guard, name, value)
    monkeypatch.setattr(guard.signal, 'signal', lambda *dummy: None)
    monkeypatch.setattr(guard.Watch, 'tick', tick)
    with pytest.raises(SystemExit):
        guard.watch(host.config)
    assert 'STOP' not in host.said and len([text for text in host.said if 'cannot be read, and what it said before counts' in text]) == 1
    assert 'has read its configuration again: 1 votes' in host.said


@pytest.mark.parametrize('end, limit', [(SystemExit(0), None), (RuntimeError('x'), 6)])
def test_how_a_guard_ends(host, monkeypatch, tmpdir, end, limit):
    """A crash leaves the server to the fuse."""
    ticks = []

    def tick(watch, real=guard.Watch.tick):
        ticks.append(1)
        host.now += 0.5
        if len(ticks) > 3:
            raise end
        real(watch)
    tmpdir.join('guard.json').write(json.dumps(host.config))
    monkeypatch.setattr(guard, 'CONFIG', str(tmpdir.join('guard.json')))
    monkeypatch.setattr(guard, 'PID_FILE', str(tmpdir.join('pid')))
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard.signal, 'signal', lambda *dummy: None)
    monkeypatch.setattr(guard.Watch, 'tick', tick)
    told = []
    monkeypatch.setattr(guard, 'tell_systemd', told.append)
    with pytest.raises(type(end)):
        guard.watch(host.config)
    assert host.told['limit'] == limit and host.told['fences']
    ended = [text for text in host.said if text.startswith('ends, because somebody stops or restarts it.')]
    assert [('NOTHING STOPS THIS PRIMARY' in text) for text in ended] == ([True] if limit is None else [])
    assert guard.predecessor(guard.read_stamp(host.config), host.now + 3) == (
        'the guard before it was ended 3 s ago' if limit is None else 'the guard before it was killed or has crashed')
    assert [text for text in host.said if text.startswith('watches over')][0].endswith('; the first guard since the boot')
    assert told == ['READY=1'] + ['WATCHDOG=1'] * 3
