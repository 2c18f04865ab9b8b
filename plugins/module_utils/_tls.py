# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server's certificate will do: a handshake on this host alone says what a peer with sslmode=verify-full would say."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib
import os
import pwd
import socket
import ssl
import threading
import time

_SECONDS = 5


def examine(certificate, key, root, names, user, runner, authority_key=None):
    """{error, days, authority_days, names, root, authority_key}: error is empty where every peer would accept the certificate.

    days: whole days until it expires, None where it was not accepted. authority_days: until the first of those that it comes from does; where it was not
    accepted, the last that is trusted; None where no authority is found. names: what it is made out to. root: SHA-256 of the file of trusted
    authorities, None where there is none. authority_key: whether the authority's own key is on this host.
    """
    found = {'error': '', 'days': None, 'authority_days': None, 'names': [], 'root': _digest(root),
             'authority_key': bool(authority_key) and os.path.exists(authority_key)}
    for path in (root, certificate, key):
        if not os.path.exists(path):
            found['error'] = '%s is missing' % path
            return found
    found['error'] = _key_error(key, user, runner)
    if found['error']:
        return found
    try:
        peer = _handshake(certificate, key, root)
    except (IOError, OSError, ValueError) as exc:
        # ssl.SSLError is an OSError. Its text is OpenSSL's own: expired, self-signed, key values mismatch.
        found['error'] = '%s: %s' % (certificate, getattr(exc, 'verify_message', None) or getattr(exc, 'reason', None) or exc)
        found['authority_days'] = _most([_days(each) for each in _authorities(root)])
        return found
    found['names'] = [value for dummy, value in peer.get('subjectAltName', ())]
    found['days'] = _days(peer)
    found['authority_days'] = _authority_days(peer, _authorities(root) + _authorities(certificate))
    there = set(_plain(name) for name in found['names'])
    missing = [name for name in names if _plain(name) not in there]
    if missing:
        found['error'] = '%s is not made out to %s' % (certificate, ', '.join(missing))
    return found


def _days(certificate):
    return int((ssl.cert_time_to_seconds(certificate['notAfter']) - time.time()) // 86400)


def _most(numbers):
    return max(numbers) if numbers else None


def _authorities(path):
    """The authorities in a file, as getpeercert() shows a certificate."""
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=path).get_ca_certs()
    except (IOError, OSError, ValueError):
        return []


def _authority_days(certificate, authorities):
    """Whole days until the chain of this certificate breaks. Of several authorities of one name, as while a new one replaces the old, the last counts."""
    found, passed = [], []
    while certificate['issuer'] not in passed:
        passed.append(certificate['issuer'])
        issuers = [each for each in authorities if each['subject'] == certificate['issuer']]
        if not issuers:
            break
        certificate = max(issuers, key=_days)
        found.append(_days(certificate))
    return min(found) if found else None


def _digest(path):
    try:
        with open(path, 'rb') as handle:
            return hashlib.sha256(handle.read()).hexdigest()
    except (IOError, OSError):
        return None


def _plain(name):
    """An address has many spellings, a name one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, name)
        except (socket.error, ValueError, UnicodeError):
            pass
    return name.lower()


def _key_error(key, user, runner):
    """PostgreSQL's own conditions: the key is the server's or root's, nobody else reads it, and the server's user can."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        # The packages that make the user are not here yet.
        return ''
    stat = os.stat(key)
    if stat.st_uid not in (0, entry.pw_uid):
        return '%s belongs to neither %s nor root' % (key, user)
    if stat.st_mode & (0o027 if stat.st_uid == 0 else 0o077):
        return '%s can be read by others: mode %o, expected %s' % (
            key, stat.st_mode & 0o7777, '0640 at most' if stat.st_uid == 0 else '0600')
    if runner.run(['test', '-r', key], accept=None, run_as=user).rc != 0:
        return '%s cannot be read by %s' % (key, user)
    return ''


def _handshake(certificate, key, root):
    """The certificate as ssl.getpeercert() shows it to a client that trusts this root."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=root)
    # Names are compared in one way for all Pythons, and libpq is no stricter about extensions than this.
    client.check_hostname = False
    client.verify_flags = ssl.VERIFY_DEFAULT
    here, there = _socketpair()

    def serve():
        try:
            server.wrap_socket(there, server_side=True).close()
        except (IOError, OSError, ValueError):
            # The client, who has not accepted it, says why.
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    connection = here
    try:
        connection = client.wrap_socket(here)
        return connection.getpeercert()
    finally:
        connection.close()
        thread.join(_SECONDS)


def _socketpair():
    """Two ends that ssl can wrap. What Python 2's socketpair() gives has to be dressed for that."""
    dressed = getattr(socket, '_socketobject', None)
    ends = [dressed(_sock=end) if dressed else end for end in socket.socketpair()]
    for end in ends:
        end.settimeout(_SECONDS)
    return ends
