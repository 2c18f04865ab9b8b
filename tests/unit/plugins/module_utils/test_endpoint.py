# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A question over HTTP has a limit, and the answer of a health endpoint counts where it does not change while the server is asked."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _endpoint, _http


@contextlib.contextmanager
def listening(serve=None):
    """The port of a server that does this with each connection; without it, a connection is accepted by the kernel alone, as that of a frozen process."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(5)

    def work():
        handle = listener.accept()[0]
        try:
            serve(handle)
        except (IOError, OSError):
            # It has given up.
            pass
        finally:
            handle.close()

    if serve:
        thread = threading.Thread(target=work)
        thread.daemon = True
        thread.start()
    with contextlib.closing(listener):
        yield listener.getsockname()[1]


def answering(data):
    def serve(handle):
        handle.recv(4096)
        handle.sendall(data)
    return serve


def test_an_answer():
    with listening(answering(b'HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\ntwo\nlines\n')) as port:
        assert _http.get('127.0.0.1', port, '/x', 2) == (503, 'two\nlines\n')


CHUNKS = b'HTTP/1.1 200 OK\r\nconnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\nA;x=y\r\n0123\r\n567\n\r\n0\r\n\r\n'


def test_an_answer_in_chunks():
    with listening(answering(CHUNKS)) as port:
        assert _http.get('127.0.0.1', port, '/x', 2) == (200, 'one\n0123\r\n567\n')


def test_an_answer_in_chunks_that_ends_too_early():
    complete, begin = len(CHUNKS) - len(b'\r\n\r\n'), CHUNKS.index(b'\r\n\r\n') + 4
    for end in range(begin, complete):
        with listening(answering(CHUNKS[:end])) as port:
            with pytest.raises(_http.HttpError) as caught:
                _http.get('127.0.0.1', port, '/x', 2)
            assert str(caught.value) == 'an answer that is not complete', end


def drips(handle):
    while True:
        handle.sendall(b'x')
        time.sleep(0.05)


@pytest.mark.parametrize('tls', [False, True])
@pytest.mark.parametrize('serve', [None, lambda handle: time.sleep(5)])
def test_one_that_hangs_costs_the_limit(serve, tls):
    with listening(serve) as port:
        begun = time.time()
        with pytest.raises(_http.HttpError) as caught:
            _http.get('127.0.0.1', port, '/', 0.3, tls=tls)
        assert caught.value.state == 'silent' and 'within 0.3 s' in str(caught.value) and time.time() - begun < 1.5


def test_the_limit_is_for_all_of_it():
    with listening(drips) as port:
        begun = time.time()
        with pytest.raises(_http.HttpError) as caught:
            _http.get('127.0.0.1', port, '/', 0.5)
        assert caught.value.state == 'silent' and time.time() - begun < 1.5


@pytest.mark.parametrize('data', [b'', b'hello\r\n\r\n', b'HTTP/1.1 xyz\r\n\r\n', b'HTTP/1.1'])
def test_what_is_no_answer(data):
    with listening(answering(data)) as port:
        with pytest.raises(_http.HttpError) as caught:
            _http.get('127.0.0.1', port, '/', 2)
        assert caught.value.state == 'other'


def test_nothing_listens():
    with listening() as port:
        pass
    with pytest.raises(_http.HttpError) as caught:
        _http.get('127.0.0.1', port, '/', 2)
    assert (caught.value.state, str(caught.value)) == ('refused', 'connection refused')


def test_plain_http_where_tls_was_expected():
    with listening(answering(b'HTTP/1.1 200 OK\r\n\r\n')) as port:
        with pytest.raises(_http.HttpError) as caught:
            _http.get('127.0.0.1', port, '/', 2, tls=True)
        assert caught.value.state == 'other'


def test_tls_that_ends_without_a_word(tmpdir):
    subprocess.check_call(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=another', '-keyout', str(tmpdir.join('key')),
                           '-out', str(tmpdir.join('crt'))], stderr=subprocess.PIPE)
    context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_SERVER', ssl.PROTOCOL_SSLv23))
    context.load_cert_chain(str(tmpdir.join('crt')), str(tmpdir.join('key')))

    def serve(handle):
        handle = context.wrap_socket(handle, server_side=True)
        answering(b'HTTP/1.0 200 OK\r\n\r\nall\n')(handle)
        handle.shutdown(socket.SHUT_RDWR)

    with listening(serve) as port:
        assert _http.get('127.0.0.1', port, '/', 2, tls=True) == (200, 'all\n')


# -- the endpoint of a node

CONFIG = {'listen_port': 8008, 'tls': {'certificate': '/x', 'key': '/y'}, 'cluster': 'c', 'name': 'db1'}


def told(role='primary', name='db1', **more):
    return json.dumps(dict(more, role=role, patroni={'scope': 'c', 'name': name}))


@pytest.fixture
def root(tmpdir):
    tmpdir.ensure('etc', 'pgfleet', dir=True).join('health.json').write(json.dumps(CONFIG))
    return str(tmpdir)


@pytest.mark.parametrize('answer, answers, primary, reason', [
    ((200, told()), True, True, ''),
    ((503, told('replica')), True, False, 'it is a replica'),
    ((503, told(reason={'code': 'doubt', 'text': 'the guard hangs'})), True, False, 'the guard hangs'),
    ((200, told(name='db9')), False, None, ''),
    ((404, told()), False, None, ''),
    ((200, '<html>'), False, None, ''),
    ((200, '[]'), False, None, ''),
    ((200, '{"patroni": null}'), False, None, '')])
def test_what_it_says(root, answer, answers, primary, reason):
    asked = []

    def get(*where, **how):
        asked.append((where, how))
        return answer

    found = _endpoint.ask(root, get)
    assert asked == [(('127.0.0.1', 8008, '/primary', 1), {'tls': True})]
    assert (found['installed'], found['answers'], found['primary'], found['reason'], bool(found['error'])) == (
        True, answers, primary, reason, not answers)


def test_it_does_not_answer_or_is_not_there(root, tmpdir):
    def get(*dummy, **dummy_too):
        raise _http.HttpError('refused', 'connection refused')

    found = _endpoint.ask(root, get)
    assert (found['installed'], found['answers'], found['error']) == (True, False, 'connection refused on port 8008')
    assert _endpoint.ask(str(tmpdir.join('none')), get) == {
        'installed': False, 'answers': False, 'primary': None, 'reason': '', 'error': 'it is not installed'}
    tmpdir.join('etc', 'pgfleet', 'health.json').write('{')
    assert _endpoint.ask(root, get)['answers'] is False


def said(primary, installed=True):
    return {'installed': installed, 'answers': primary is not None, 'primary': primary, 'reason': '', 'error': ''}


@pytest.mark.parametrize('first, writable, second, primary, settled', [
    # They agree, and nobody is asked again.
    (True, True, None, True, True), (False, False, None, False, True),
    # Promoted before the server was asked, or after it; demoted before it, or after it.
    (False, True, True, True, False), (True, False, False, False, False),
    # A contradiction that stays.
    (False, True, False, False, True), (True, False, True, True, True),
    # It does not answer, or did not for a moment.
    (None, True, None, None, True), (None, True, True, True, False), (None, False, False, False, False)])
def test_a_role_that_changes_is_no_contradiction(first, writable, second, primary, settled):
    asked, slept = [], []

    def again():
        asked.append(1)
        return said(second)

    found = _endpoint.settle(said(first), writable, again, slept.append)
    assert (found['primary'], found['settled']) == (primary, settled)
    assert len(asked) == len(slept) == (0 if first is not None and first == writable else 1)
    # Longer than an answer of the server counts for the endpoint.
    assert all(seconds > 0.5 for seconds in slept)


def test_one_that_is_not_installed_is_not_waited_for():
    assert _endpoint.settle(said(None, installed=False), True, None, None)['settled'] is True
