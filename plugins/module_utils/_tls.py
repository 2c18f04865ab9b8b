# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check a server's certificate by a TLS handshake within this host, with the result that a peer with sslmode=verify-full would get."""

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
    """{error, days, authority_days, names, root, authority_key}. error is empty if every peer would accept the certificate.

    days: whole days until the certificate expires, None if it was rejected. authority_days: days until the first CA in its chain expires, or if it was
    rejected, the last trusted CA; None if no CA is found. names: its subject alternative names. root: SHA-256 of the file of trusted CAs, None without one.
    authority_key: whether the key of the CA is on this host.
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
        # ssl.SSLError is an OSError. Its text comes from OpenSSL: expired, self-signed, key values mismatch.
        found['error'] = '%s: %s' % (certificate, getattr(exc, 'verify_message', None) or getattr(exc, 'reason', None) or exc)
        found['authority_days'] = _most([_days(each) for each in _authorities(root)])
        return found
    found['names'] = [value for dummy, value in peer.get('subjectAltName', ())]
    found['days'] = _days(peer)
    found['authority_days'] = _authority_days(peer, _authorities(root) + _authorities(certificate))
    there = set(_plain(name) for name in found['names'])
    missing = [name for name in names if _plain(name) not in there]
    if missing:
        found['error'] = '%s is not valid for %s' % (certificate, ', '.join(missing))
    return found


def _days(certificate):
    return int((ssl.cert_time_to_seconds(certificate['notAfter']) - time.time()) // 86400)


def _most(numbers):
    return max(numbers) if numbers else None


def _authorities(path):
    """The CA certificates in a file, in the form of getpeercert()."""
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=path).get_ca_certs()
    except (IOError, OSError, ValueError):
        return []


def _authority_days(certificate, authorities):
    """Whole days until the first CA in the chain of this certificate expires. While a CA is replaced there are two with the same subject; the later counts."""
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
    """A normal form to compare names: an IP address has several spellings, and a host name is not case-sensitive."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, name)
        except (socket.error, ValueError, UnicodeError):
            pass
    return name.lower()


def _key_error(key, user, runner):
    """Check what PostgreSQL checks: the key belongs to the postgres OS user or root, others cannot read it, and the postgres OS user can."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        # The packages that create the user are not installed yet.
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
    """The result of getpeercert() for a client that trusts `root`."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=root)
    # The caller compares the names, in the same way for all Python versions. libpq is not stricter about extensions than VERIFY_DEFAULT.
    client.check_hostname = False
    client.verify_flags = ssl.VERIFY_DEFAULT
    here, there = _socketpair()

    def serve():
        try:
            server.wrap_socket(there, server_side=True).close()
        except (IOError, OSError, ValueError):
            # The client has rejected the certificate, and its exception says why.
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
    """A socket pair that ssl can wrap. In Python 2 socketpair() returns raw sockets, which need a wrapper for that."""
    wrapper = getattr(socket, '_socketobject', None)
    ends = [wrapper(_sock=end) if wrapper else end for end in socket.socketpair()]
    for end in ends:
        end.settimeout(_SECONDS)
    return ends
