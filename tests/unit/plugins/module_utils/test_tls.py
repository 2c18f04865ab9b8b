# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real certificates, made by the openssl program, and a real handshake."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import pwd
import subprocess
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _tls

USER = pwd.getpwuid(os.geteuid()).pw_name
NEW = ['openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-subj']


class Runner:
    def __init__(self, rc=0):
        self.rc = rc

    def run(self, dummy, **kwargs):
        return self


def call(folder, *argv):
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0]
    assert process.returncode == 0, output


@pytest.fixture(scope='module')
def folder(tmpdir_factory):
    path = str(tmpdir_factory.mktemp('tls'))
    for name in ('ca', 'other'):
        call(path, *(NEW + ['/CN=' + name, '-x509', '-days', '2', '-keyout', name + '.key', '-out', name + '.crt']))
    call(path, *(NEW + ['/CN=a', '-keyout', 'server.key', '-out', 'server.csr']))
    with open(os.path.join(path, 'names'), 'w') as handle:
        handle.write('subjectAltName=DNS:a.example,IP:192.168.56.101,IP:2001:db8::1')
    for name, days in (('server', '20'), ('expired', '-1')):
        call(path, 'openssl', 'x509', '-req', '-in', 'server.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', days,
             '-extfile', 'names', '-out', name + '.crt')
    for name in ('ca.key', 'server.key'):
        os.chmod(os.path.join(path, name), 0o600)
    return path


def examine(folder, certificate='server.crt', key='server.key', root='ca.crt', names=(), user=USER, runner=None, **more):
    paths = [os.path.join(folder, name) for name in (certificate, key, root)]
    return _tls.examine(paths[0], paths[1], paths[2], list(names), user, runner or Runner(), **more)


def test_a_certificate_that_will_do(folder):
    found = examine(folder, names=['A.example', '192.168.56.101', '2001:0DB8:0::0001'], authority_key=os.path.join(folder, 'ca.key'))
    assert (found['error'], found['days'], found['authority_days'], found['authority_key']) == ('', 19, 1, True)
    assert len(found['names']) == 3 and len(found['root']) == 64
    assert examine(folder, root='other.crt')['root'] != found['root']
    assert examine(folder, authority_key=os.path.join(folder, 'none'))['authority_key'] is False


@pytest.mark.parametrize('changes, said', [
    (dict(certificate='none.crt'), ['none.crt is missing']),
    (dict(key='none.key'), ['none.key is missing']),
    (dict(root='none.crt'), ['none.crt is missing']),
    # The second spelling is that of Pythons before 3.7, which keep OpenSSL's reason to themselves.
    (dict(certificate='expired.crt'), ['certificate has expired', 'CERTIFICATE_VERIFY_FAILED']),
    (dict(root='other.crt'), ['unable to get local issuer certificate', 'CERTIFICATE_VERIFY_FAILED']),
    (dict(key='ca.key'), ['KEY_VALUES_MISMATCH']),
    (dict(certificate='names'), ['NO_START_LINE', 'PEM', 'pem']),
    (dict(names=['b.example', '192.168.56.102', '192.168.56.101']), ['is not valid for b.example, 192.168.56.102']),
    (dict(runner=Runner(rc=1)), ['server.key cannot be read by %s' % USER]),
])
def test_a_certificate_that_will_not_do(folder, changes, said):
    found = examine(folder, **changes)
    assert any(words in found['error'] for words in said), found


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read(folder, mode, monkeypatch):
    path = os.path.join(folder, 'server.key')
    os.chmod(path, mode)
    try:
        if os.geteuid() == 0 and mode == 0o640:
            # As root's it may be: PostgreSQL then wants the server's user in its group.
            assert examine(folder)['error'] == ''
        else:
            assert 'server.key can be read by others: mode %o' % mode in examine(folder)['error']
    finally:
        os.chmod(path, 0o600)


def test_before_the_servers_user_exists_the_key_is_not_judged(folder):
    assert examine(folder, user='nobody-of-this-name', runner=Runner(rc=1))['error'] == ''


def made(name, issuer, days):
    end = time.strftime('%b %d %H:%M:%S %Y GMT', time.gmtime(time.time() + (days + 0.5) * 86400))
    return {'subject': name, 'issuer': issuer, 'notAfter': end}


@pytest.mark.parametrize('authorities, days', [
    ([], None),
    ([made('other', 'other', 5)], None),
    ([made('ca', 'ca', 5)], 5),
    # The old one and the new one, of the same name.
    ([made('ca', 'ca', 5), made('ca', 'ca', 3650)], 3650),
    # The first link that breaks counts.
    ([made('ca', 'root', 50), made('root', 'root', 5)], 5),
    ([made('ca', 'root', -1), made('root', 'root', 5)], -1),
    ([made('ca', 'root', 5)], 5),
    ([made('ca', 'b', 9), made('b', 'ca', 8)], 8),
])
def test_until_the_chain_breaks(authorities, days):
    assert _tls._authority_days(made('leaf', 'ca', 100), authorities) == days


def test_how_long_the_authority_of_a_refused_certificate_is_good(folder):
    assert examine(folder, certificate='expired.crt')['authority_days'] == 1
    assert examine(folder, certificate='none.crt')['authority_days'] is None
