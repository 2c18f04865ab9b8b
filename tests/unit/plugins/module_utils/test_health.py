# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of role health. It stands here because this folder's tests run on Python 2.7 and 3.6, too, as the program does."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import types

import pytest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), *['..'] * 4)


def load(name, *path):
    module = types.ModuleType(name)
    sys.modules[name] = module
    with open(os.path.join(ROOT, 'roles', *path)) as handle:
        exec(compile(handle.read(), name + '.py', 'exec', 0, True), module.__dict__)  # pylint: disable=exec-used
    return module


fuse = load('fuse', 'guard', 'files', 'fuse.py')
health = load('health', 'health', 'files', 'health.py')

CONFIG = {'cluster': 'c', 'name': 'n1', 'node_id': 1, 'bin_dir': '/usr/bin', 'data_directory': '/data', 'conninfo': 'port=5432', 'listen_port': 8008,
          'tls': None, 'doubt': 3.5, 'detection': 13}
CORE = {'in_recovery': False, 'postmaster_start_time': '2026-01-01 00:00:00+00', 'server_version': 150004, 'system': '7', 'timeline': 2, 'location': 1000,
        'received': None, 'replayed': None, 'replayed_timestamp': None, 'paused': None, 'receiver': None, 'sent': None, 'archive': False, 'synchronous': '',
        'replication': None, 'primary': None}
REPLICA = dict(CORE, in_recovery=True, location=None, received=900, replayed=800, paused=False, receiver='streaming', sent=1000, primary=1000)


def stamp(sight, limit=7, boot='b'):
    return {'boot': boot, 'sight': sight, 'limit': limit, 'directory': '/data'}


# -- /primary

def test_who_says_primary_of_all_that_there_can_be():
    states, recovers = ('running', 'starting', 'stopping', 'stopped', 'unknown'), (False, True, None)
    stamps = [None] + [stamp(100 - age, limit, boot) for age in (0, 3.5, 3.6, 6.9, 7.1, 100) for limit in (7, None) for boot in ('b', 'another')]
    seen = set()
    for state, in_recovery, word, stopped, started in itertools.product(states, recovers, stamps, (None, 0, 50, 60), (None, 55)):
        problem = health.primary_problem(state, in_recovery, word, 'b', 100.0, 3.5, stopped, started)
        old = word is not None and word['limit'] is not None and word['boot'] == 'b' and 100 - word['sight'] > 3.5
        fenced = stopped is not None and (started is None or stopped >= started)
        assert (problem is None) == (state == 'running' and in_recovery is False and not old and not fenced)
        seen.add(problem[0] if problem else None)
        # Whatever the fuse would end is not told to be the primary.
        if fuse.expired(word, 'b', 100.0):
            assert problem is not None
    assert seen == set([None, 'not_running', 'replica', 'fenced', 'doubt'])


@pytest.mark.parametrize('word, code', [
    ({}, 'hangs'), ({'boot': 'another'}, None), ({'hangs': False}, None), ({'sight': 96}, 'doubt'),
    # Somebody has ended the guard, or it would stop nobody.
    ({'limit': None}, None),
])
def test_a_server_that_has_just_answered_again(word, code):
    """Until its guard knows: it may have been about to stop it, and another is promoted then."""
    problem = health.primary_problem('running', False, dict(dict(stamp(100), hangs=True), **word), 'b', 100.0, 3.5)
    assert (problem and problem[0]) == code


def test_a_limit_shorter_than_the_doubt_counts():
    assert health.primary_problem('running', False, stamp(98, 1), 'b', 100.0, 3.5)[0] == 'doubt'


# -- the paths of Patroni

def codes(core, problem=None, state='running', **query):
    query = dict((key, [value]) for key, value in query.items())
    return dict((path, health.verdict(path, query, state, core, problem, 'n1')) for path in health.PRIMARY + health.REPLICA + (
        '/health', '/readiness', '/standby-leader', '/whatever'))


PRIMARIES = dict.fromkeys(('/', '/primary', '/read-write', '/leader', '/master'), 200)
READ_ONLY = dict.fromkeys(('/read-only', '/read-only-sync', '/read-only-synchronous', '/read-only-quorum'), 200)


def only(*groups):
    found = dict.fromkeys(codes(CORE), 503)
    for group in groups:
        found.update(group if isinstance(group, dict) else {group: 200})
    return found


def test_the_codes_of_a_primary():
    assert codes(CORE) == only(PRIMARIES, READ_ONLY, '/health', '/readiness')


def test_the_codes_of_a_primary_in_doubt():
    assert codes(CORE, problem=('doubt', '')) == only('/health')


def test_the_codes_of_a_replica():
    replica = ('replica', '')
    assert codes(REPLICA, replica) == only('/replica', '/read-only', '/async', '/asynchronous', '/health', '/readiness')
    sync = dict(REPLICA, synchronous='ANY 1 ("n1", "n2")')
    assert codes(sync, replica) == only('/replica', '/read-only', '/sync', '/synchronous', '/read-only-sync', '/read-only-synchronous', '/health',
                                        '/readiness')
    quorum = dict(REPLICA, synchronous='ANY 1 ("n1", "n2", "n3")')
    assert codes(quorum, replica) == only('/replica', '/read-only', '/quorum', '/read-only-quorum', '/health', '/readiness')


def test_the_codes_of_a_server_that_does_not_answer():
    assert codes({}, ('not_running', ''), 'stopped') == only()


@pytest.mark.parametrize('lag, code', [
    ('200', 200), ('199', 503), ('1kB', 200), ('16MB', 200), ('0', 503), ('1 MB', 200), ('16XB', 400), ('', 400), ('-1', 400)])
def test_how_far_behind(lag, code):
    assert codes(REPLICA, ('replica', ''), lag=lag)['/replica'] == code
    assert codes(REPLICA, ('replica', ''), lag=lag)['/async'] == code


def test_who_was_not_told_where_the_primary_is_does_not_know_how_far_behind_it_is():
    unknown = dict(REPLICA, primary=None, receiver=None)
    assert codes(unknown, ('replica', ''), lag='16MB')['/replica'] == 503
    assert codes(unknown, ('replica', ''))['/replica'] == 200
    assert codes(unknown, ('replica', ''))['/readiness'] == 503


def test_the_state_of_replication():
    replica = ('replica', '')
    assert codes(REPLICA, replica, replication_state='streaming')['/replica'] == 200
    archive = dict(REPLICA, receiver=None, archive=True)
    assert codes(archive, replica, replication_state='streaming')['/replica'] == 503
    assert codes(archive, replica, replication_state='in archive recovery')['/replica'] == 200


def test_no_node_has_a_tag():
    assert codes(REPLICA, ('replica', ''), tag_zone='a')['/replica'] == 503
    assert codes(CORE, tag_zone='a')['/primary'] == 200


def test_readiness_of_what_is_received_and_of_what_is_replayed():
    assert codes(REPLICA, ('replica', ''), lag='100')['/readiness'] == 503
    assert codes(REPLICA, ('replica', ''), lag='100', mode='write')['/readiness'] == 200


@pytest.mark.parametrize('setting, kind', [
    ('', ''), (None, ''), ('n1', 'sync'), ('n2', ''), ('*', ''), ('n2, n1', 'sync'), ('FIRST 1 (n2, n1, n3)', ''), ('FIRST 1 (n1, n2, n3)', 'sync'),
    ('2 (n1, n2, n3)', 'sync'), ('ANY 1 (n1, n2, n3)', 'quorum'), ('ANY 2 (n1, n2, n3)', 'sync'), ('any 1 (*)', 'quorum'), ('ANY 1 ("n-1", "n2")', '')])
def test_who_confirms(setting, kind):
    assert health.confirms(setting, 'n1') == kind


# -- JSON

def test_the_status_of_a_primary_and_of_a_replica():
    told = health.status(CONFIG, 'running', 'primary', dict(CORE, replication=[{'application_name': 'n2', 'state': 'streaming', 'replayed': 5}]), {}, None)
    assert told['role'] == 'primary' and told['xlog'] == {'location': 1000} and told['timeline'] == 2 and told['patroni']['scope'] == 'c'
    assert told['replication'] == [{'application_name': 'n2', 'state': 'streaming'}] and 'reason' not in told
    told = health.status(CONFIG, 'running', 'replica', REPLICA, {'paused': True}, ('replica', ''))
    assert told['xlog'] == {'received_location': 900, 'replayed_location': 800, 'replayed_timestamp': None, 'paused': False}
    assert told['replication_state'] == 'streaming' and told['pause'] is True
    assert health.status(CONFIG, 'stopped', 'primary', {}, {}, ('not_running', 'x'))['reason']['code'] == 'not_running'


def test_the_members():
    nodes = [{'node_id': 1, 'node_name': 'n1', 'type': 'primary', 'active': True, 'conninfo': 'host=10.0.0.1 port=5433 user=repmgr'},
             {'node_id': 2, 'node_name': 'n2', 'type': 'standby', 'active': True, 'conninfo': "host='fe80::2' user=repmgr"},
             {'node_id': 3, 'node_name': 'n3', 'type': 'standby', 'active': False, 'conninfo': 'host=10.0.0.3'},
             {'node_id': 4, 'node_name': 'w', 'type': 'witness', 'active': True, 'conninfo': 'host=10.0.0.4'}]
    core = dict(CORE, replication=[{'application_name': 'n2', 'state': 'streaming', 'sync_state': 'sync', 'replayed': 990}])
    told = health.cluster(CONFIG, 'running', core, {'nodes': nodes, 'paused': False}, None)
    assert told['scope'] == 'c' and [member['name'] for member in told['members']] == ['n1', 'n2', 'n3']
    first, second, third = told['members']
    assert first == {'name': 'n1', 'role': 'leader', 'state': 'running', 'api_url': 'http://10.0.0.1:8008/patroni', 'host': '10.0.0.1', 'port': 5433,
                     'timeline': 2}
    assert (second['role'], second['state'], second['lag'], second['api_url']) == ('sync_standby', 'streaming', 10, 'http://[fe80::2]:8008/patroni')
    assert (third['state'], third['lag']) == ('stopped', 'unknown')
    # A primary in doubt is not the leader.
    assert health.cluster(CONFIG, 'running', core, {'nodes': nodes}, ('doubt', ''))['members'][0]['role'] == 'replica'


# -- requests

@pytest.mark.parametrize('data, found', [
    (b'GET / HTTP/1.1\r\n', ('GET', '/', {})), (b'OPTIONS /primary HTTP/1.0\r\n', ('OPTIONS', '/primary', {})),
    (b'HEAD /replica?lag=16MB&replication_state=streaming HTTP/1.1\r\n', ('HEAD', '/replica', {'lag': ['16MB'], 'replication_state': ['streaming']})),
    (b'GET http://n1:8008/cluster/ HTTP/1.1\r\n', ('GET', '/cluster', {})), (b'GET //primary HTTP/1.0\r\n', ('GET', '/primary', {})),
    (b'POST /restart HTTP/1.1\r\n', 501), (b'GET /config HTTP/1.1\r\n', 404), (b'GET /metrics HTTP/1.1\r\n', 404), (b'GET /\r\n', 400), (b'\r\n', 400),
    (b'\x16\x03\x01\x02\x00\r\n', 400), (b'get / HTTP/1.1\r\n', 400), (b'GET * HTTP/1.1\r\n', 400), (b'GET / HTTP/x\r\n', 400),
    (b'GET http://[ HTTP/1.0\r\n', 400)])
def test_what_is_asked(data, found):
    assert health.parse(data + b'\r\n') == found


def test_another_method_than_get_is_told_the_code_alone():
    for method in ('HEAD', 'OPTIONS'):
        assert health.response(method, 200, {'a': 1}) == b'HTTP/1.0 200 OK\r\n\r\n'
    assert health.response('GET', 503, None) == b'HTTP/1.0 503 Service Unavailable\r\n\r\n'
    head, body = health.response('GET', 503, {'a': 1}).split(b'\r\n\r\n')
    assert json.loads(body.decode()) == {'a': 1} and b'Content-Length: 8' in head and b'Content-Type: application/json' in head


# -- the server that runs

def test_the_word_of_a_postmaster(tmpdir, monkeypatch):
    ours = subprocess.Popen(['sleep', '60'])
    try:
        pid = tmpdir.join('postmaster.pid')
        assert health.postmaster(str(tmpdir)) is None
        pid.write('%d\n/data\n1700000000\n5432\n/run\n*\n 1 2\nready   \n' % ours.pid)
        # Another program has the number.
        assert health.postmaster(str(tmpdir)) is None
        real = open

        def named(path, *more):
            return real(str(tmpdir.join('comm')) if path == '/proc/%d/comm' % ours.pid else path, *more)

        tmpdir.join('comm').write('postgres\n')
        monkeypatch.setattr(health, 'open', named, raising=False)
        assert health.postmaster(str(tmpdir)) == (ours.pid, 1700000000, 'ready')
        pid.write('%d\n/data\n' % ours.pid)
        assert health.postmaster(str(tmpdir)) is None
        # One for a single user, whom nobody connects to.
        pid.write('-%d\n/data\n1700000000\n' % ours.pid)
        assert health.postmaster(str(tmpdir)) is None
    finally:
        ours.kill()
        ours.wait()


def test_since_when_it_is_stopped(tmpdir, monkeypatch):
    path = tmpdir.join('stopped')
    monkeypatch.setattr(fuse, 'STOPPED_FILE', str(path))
    assert health.stopped_since() is None
    path.write('{"code": "isolated", "since": 123}')
    assert health.stopped_since() == 123
    path.write('{"code"')
    assert health.stopped_since() == 0


# -- connections

class Session:
    """A server that answers when it is told to."""

    def __init__(self):
        self.process, self.asked, self.core, self.more, self.pid, self.with_more = None, None, {}, {}, 1, False
        self.asks, self.waits = 0, False

    def fresh(self, more):
        return not self.waits

    def ask(self, more):
        self.asks += self.asked is None
        self.asked = self.asked or fuse.clock()
        return True

    def late(self):
        return self.asked is not None and fuse.clock() - self.asked > health.PATIENCE

    def hangs(self):
        return False

    def fail(self):
        self.asked = None


class Node:
    def __init__(self):
        self.session, self.asked = Session(), []

    def answer(self, path, query):
        self.asked.append(path)
        return (200 if path == '/primary' else 503), {'path': path}


@pytest.fixture
def served():
    """serve(tls=None): (port, Service), with a thread that turns it."""
    stop, threads = threading.Event(), []

    def serve(tls=None):
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(128)
        listener.setblocking(False)
        service = health.Service(dict(CONFIG, tls=tls), listener, Node())

        def turn():
            while not stop.is_set():
                service.turn(0.05)

        thread = threading.Thread(target=turn)
        thread.daemon = True
        thread.start()
        threads.append((thread, service, listener))
        return listener.getsockname()[1], service

    yield serve
    stop.set()
    for thread, service, listener in threads:
        thread.join(5)
        for number in list(service.connections):
            service.drop(number)
        listener.close()


def ask(port, data, timeout=5, context=None):
    handle = socket.create_connection(('127.0.0.1', port), timeout)
    if context:
        handle = context.wrap_socket(handle, server_hostname='n1')
    try:
        handle.sendall(data)
        found = b''
        while True:
            more = handle.recv(65536)
            if not more:
                return found
            found += more
    except (IOError, OSError) as exc:
        if exc.errno != errno.ECONNRESET:
            raise
        return found
    finally:
        handle.close()


def test_methods_and_paths_over_a_connection(served):
    port, dummy = served()
    assert ask(port, b'OPTIONS /primary HTTP/1.0\r\n\r\n') == b'HTTP/1.0 200 OK\r\n\r\n'
    assert ask(port, b'HEAD /replica HTTP/1.1\r\nHost: x\r\n\r\n') == b'HTTP/1.0 503 Service Unavailable\r\n\r\n'
    assert ask(port, b'GET /primary HTTP/1.1\r\nHost: x\r\n\r\n').endswith(b'{"path": "/primary"}')
    assert ask(port, b'PUT /primary HTTP/1.1\r\n\r\n') == b'HTTP/1.0 501 Not Implemented\r\n\r\n'
    assert ask(port, b'GET /history HTTP/1.1\r\n\r\n') == b'HTTP/1.0 404 Not Found\r\n\r\n'
    assert ask(port, b'\x00\xff garbage\r\n\r\n') == b'HTTP/1.0 400 Bad Request\r\n\r\n'


def test_an_answer_that_cannot_be_sent_yet_is_waited_for():
    """SSLSocket.send of Python 2 says 0 then."""
    class Handle:
        says = [0, 2, 0, 1]

        def send(self, data):
            return self.says.pop(0)

    connection = health.Connection(Handle(), 0, False)
    connection.request, connection.output = ('GET', '/', {}), b'abc'
    assert connection.step() == health.select.POLLOUT and connection.output == b'abc'
    assert connection.step() == health.select.POLLOUT and connection.output == b'c'
    with pytest.raises(EOFError):
        connection.step()
    assert connection.output == b''


def test_a_request_has_an_end(served):
    port, dummy = served()
    assert ask(port, b'GET / HTTP/1.0\r\nX: ' + b'x' * health.REQUEST).startswith(b'HTTP/1.0 431 ')


def test_slow_clients_keep_nobody_waiting_and_are_closed(served, monkeypatch):
    monkeypatch.setattr(health, 'CONNECTION', 1)
    port, service = served()
    slow = [socket.create_connection(('127.0.0.1', port), 5) for dummy in range(100)]
    for handle in slow:
        handle.sendall(b'GET /pri')
    begun = time.time()
    for dummy in range(50):
        assert ask(port, b'OPTIONS /primary HTTP/1.0\r\n\r\n') == b'HTTP/1.0 200 OK\r\n\r\n'
    assert time.time() - begun < 5
    for handle in slow:
        handle.settimeout(10)
        assert handle.recv(10) == b''
        handle.close()
    assert not service.connections


def test_of_too_many_the_oldest_is_closed(served, monkeypatch):
    monkeypatch.setattr(health, 'CONNECTIONS', 10)
    monkeypatch.setattr(health, 'CONNECTION', 60)
    port, service = served()
    many = [socket.create_connection(('127.0.0.1', port), 5) for dummy in range(30)]
    assert ask(port, b'OPTIONS /primary HTTP/1.0\r\n\r\n') == b'HTTP/1.0 200 OK\r\n\r\n'
    assert len(service.connections) <= 10
    assert many[0].recv(1) == b''
    for handle in many:
        handle.close()


def test_who_asks_at_the_same_time_shares_one_question(served):
    port, service = served()
    session = service.node.session
    session.waits = True
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(port, b'OPTIONS /primary HTTP/1.0\r\n\r\n'))) for dummy in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    # The server has answered nothing: all are told within its time what is known without it.
    assert answers == [b'HTTP/1.0 200 OK\r\n\r\n'] * 20 and session.asks <= 3


def test_liveness_asks_no_server(served):
    port, service = served()
    service.node.session.waits = True
    assert ask(port, b'GET /liveness HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.0 503')
    assert service.node.session.asks == 0


def certificate(folder, name):
    subprocess.check_call(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=' + name,
                           '-keyout', str(folder.join('key')), '-out', str(folder.join('crt.new'))], stderr=subprocess.PIPE)
    os.rename(str(folder.join('crt.new')), str(folder.join('crt')))


def shown(port):
    """The certificate that it shows."""
    return ssl.get_server_certificate(('127.0.0.1', port))


def trusting_all():
    context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_certificate_that_is_renewed_is_shown(served, tmpdir):
    certificate(tmpdir, 'n1')
    port, service = served({'certificate': str(tmpdir.join('crt')), 'key': str(tmpdir.join('key'))})
    context = trusting_all()
    assert ask(port, b'OPTIONS /primary HTTP/1.0\r\n\r\n', context=context) == b'HTTP/1.0 200 OK\r\n\r\n'
    assert ask(port, b'GET /primary HTTP/1.0\r\n\r\n', context=context).endswith(b'{"path": "/primary"}')
    before = shown(port)
    # Who does not speak TLS, and who says nothing, are in nobody's way.
    silent = socket.create_connection(('127.0.0.1', port), 5)
    assert ask(port, b'GET / HTTP/1.0\r\n\r\n') in (b'', ask(port, b'GET / HTTP/1.0\r\n\r\n'))
    # The key alone: what was there before is shown.
    tmpdir.join('key').copy(tmpdir.join('key.before'))
    subprocess.check_call(['openssl', 'genrsa', '-out', str(tmpdir.join('key')), '2048'], stderr=subprocess.PIPE)
    service.certificate.looked = None
    assert shown(port) == before
    certificate(tmpdir, 'n1')
    service.certificate.looked = None
    assert shown(port) != before
    silent.close()


def test_a_port_that_is_taken_is_named_and_not_tried_many_times_a_second(tmpdir, monkeypatch, capsys):
    taken = health.listen(0)
    port, slept = taken.getsockname()[1], []
    tmpdir.join('health.json').write(json.dumps(dict(CONFIG, listen_port=port)))
    monkeypatch.setattr(health, 'CONFIG', str(tmpdir.join('health.json')))
    monkeypatch.setattr(health.time, 'sleep', slept.append)
    try:
        assert health.main() == 1
    finally:
        taken.close()
    assert slept == [5] and 'cannot listen on port %d: ' % port in capsys.readouterr()[0]


# -- the session with the server

PSQL = '''#!%s
import sys
for line in iter(sys.stdin.readline, ''):
    if line.startswith('\\\\echo end'):
        with open(%r) as handle:
            text = handle.read()
        if text == 'die':
            sys.exit(2)
        if text != 'hang':
            sys.stdout.write(text + line[6:])
            sys.stdout.flush()
'''


@pytest.fixture
def session(tmpdir, monkeypatch):
    tmpdir.join('answer').write('')
    tmpdir.join('psql').write(PSQL % (sys.executable, str(tmpdir.join('answer'))))
    tmpdir.join('psql').chmod(0o755)
    monkeypatch.setattr(health, 'postmaster', lambda directory: (7, 100, 'ready'))
    found = health.Session(dict(CONFIG, bin_dir=str(tmpdir)))
    found.says = lambda text: tmpdir.join('answer').write(text)
    yield found
    found.close()


def answered(session, more=False):
    assert session.ask(more) is True
    end = time.time() + 10
    while not session.read():
        assert time.time() < end
        time.sleep(0.01)
    return session.core


def test_a_session_is_kept_and_asked_again(session):
    session.says('core\t%s\n' % json.dumps(CORE))
    assert answered(session)['timeline'] == 2 and session.fresh(False) and not session.fresh(True)
    first = session.process
    session.says('core\t%s\nERROR: x\nnodes\t[]\npaused\tfalse\n' % json.dumps(CORE))
    answered(session, True)
    assert session.process is first and session.more == {'nodes': [], 'paused': False} and session.fresh(True)


def test_a_session_that_ends_or_says_nothing_is_no_answer(session):
    session.says('die')
    assert answered(session) == {} and session.process is None
    # It has never answered, and is not tried again at once.
    assert session.ask(False) is False
    session.again = 0
    session.says('hang')
    assert session.ask(False) and not session.late()
    session.asked -= 1
    assert session.late() and not session.hangs()
    session.asked -= 2
    assert session.hangs()


def test_a_session_that_has_answered_is_replaced_at_once_when_it_ends(session):
    session.says('core\t%s\n' % json.dumps(CORE))
    answered(session)
    session.process.kill()
    session.process.wait()
    # Whether that is seen when it is asked or when it should answer.
    if session.ask(False):
        assert session.read()
    assert session.process is None and not session.counts()
    assert answered(session)['timeline'] == 2 and session.counts()
    # Once: one that has not answered since is waited for.
    session.says('die')
    assert answered(session) == {} and session.again == 0
    assert answered(session) == {}
    assert session.ask(False) is False


def test_another_server_is_asked_anew(session, monkeypatch):
    session.says('core\t%s\n' % json.dumps(CORE))
    answered(session)
    first = session.process
    monkeypatch.setattr(health, 'postmaster', lambda directory: (8, 100, 'ready'))
    answered(session)
    assert session.process is not first and session.pid == 8
    monkeypatch.setattr(health, 'postmaster', lambda directory: None)
    assert session.ask(False) is False and session.core == {}


def test_how_far_the_primary_was_is_remembered_for_a_while(session):
    session.says('core\t%s\n' % json.dumps(dict(REPLICA, sent=1000)))
    assert answered(session)['primary'] == 1000
    session.says('core\t%s\n' % json.dumps(dict(REPLICA, receiver=None, sent=None)))
    assert answered(session)['primary'] == 1000
    session.primary = (1000, session.primary[1] - 2 * CONFIG['detection'] - 1)
    assert answered(session)['primary'] is None


# -- all of it together

def test_what_changes_between_two_answers_of_the_server_is_seen(tmpdir, monkeypatch):
    """A guard that doubts, a server that is being stopped: not half a second later."""
    monkeypatch.setattr(fuse, 'SIGHT_FILE', str(tmpdir.join('sight')))
    monkeypatch.setattr(fuse, 'STOPPED_FILE', str(tmpdir.join('stopped')))
    now, word = [1000.0], [(7, 100, 'ready')]
    monkeypatch.setattr(fuse, 'clock', lambda: now[0])
    monkeypatch.setattr(fuse, 'boot', lambda: 'b')
    monkeypatch.setattr(health, 'postmaster', lambda directory: word[0])
    node = health.Node(CONFIG)
    node.session.core, node.session.pid, node.session.answered, node.session.clock = dict(CORE), 7, 1007.0, lambda: now[0]

    def code():
        return node.answer('/primary', {})[0]

    # No guard: the server's own word.
    assert code() == 200
    tmpdir.join('sight').write(json.dumps(stamp(999.5)))
    assert code() == 200 and node.answer('/liveness', {}) == (200, None)
    now[0] = 1003.1
    assert code() == 503 and node.answer('/patroni', {})[1]['reason']['code'] == 'doubt' and node.answer('/liveness', {}) == (200, None)
    now[0] = 1007.0
    assert node.answer('/liveness', {}) == (503, None)
    # Half a file, and a time to come, change nothing; the next word does.
    tmpdir.join('sight').write('{"boot"')
    assert code() == 503
    tmpdir.join('sight').write(json.dumps(stamp(1006.9)))
    assert code() == 200
    word[0] = (7, 100, 'stopping')
    assert code() == 503
    word[0] = (8, 200, 'ready')
    assert code() == 503 and node.answer('/patroni', {})[1]['state'] == 'unknown'
    word[0] = (7, 100, 'ready')
    tmpdir.join('stopped').write('{"since": 150}')
    assert code() == 503
    tmpdir.join('stopped').write('{"since": 99}')
    assert code() == 200
    # The guard was stopped by somebody, as for the fuse.
    tmpdir.join('sight').write(json.dumps(stamp(1, None)))
    assert code() == 200
    assert node.answer('/replica', {'lag': ['x']}) == (400, None)
    # Its guard hangs since it was a standby: the limit of a primary counts from when it was first seen as one.
    tmpdir.join('sight').write(json.dumps(dict(stamp(1, None), promoted=7)))
    node.session.core['in_recovery'] = True
    assert code() == 503
    node.session.core['in_recovery'] = False
    now[0] = 1001.0
    assert code() == 200
    now[0] = 1004.4
    assert code() == 200 and node.answer('/liveness', {}) == (200, None)
    now[0] = 1004.6
    assert code() == 503 and node.answer('/liveness', {}) == (200, None)
    now[0] = 1008.1
    assert node.answer('/liveness', {}) == (503, None)
    tmpdir.join('sight').write(json.dumps(stamp(1, None)))
    # What the server said counts for a while, and no longer.
    now[0] = 1007.0 + health.HANGS + health.FRESH
    assert code() == 200
    now[0] += 0.1
    assert code() == 503 and node.answer('/health', {})[0] == 503
