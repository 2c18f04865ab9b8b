# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe TCP ports in parallel, so that dead peers cost one timeout in total, not one per peer."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import select
import socket
import threading
import time

# Best state first. If a name has several addresses, the best state counts.
_ORDER = ('open', 'refused', 'timeout', 'unreachable', 'error', 'unresolved')
_STATES = {
    errno.ECONNREFUSED: 'refused',
    errno.ETIMEDOUT: 'timeout',
    errno.EHOSTUNREACH: 'unreachable',
    errno.ENETUNREACH: 'unreachable',
    errno.EHOSTDOWN: 'unreachable',
    errno.EADDRNOTAVAIL: 'unreachable',
}


def resolve(names, timeout):
    """{name: ([addresses], error)}. If the resolver does not answer in time for a name, that is an error of this name only."""
    answers = {}

    def ask(name):
        try:
            found = socket.getaddrinfo(name, None, 0, socket.SOCK_STREAM)
            addresses = []
            for entry in found:
                if entry[4][0] not in addresses:
                    addresses.append(entry[4][0])
            answers[name] = (addresses, '')
        except (socket.error, UnicodeError) as exc:
            answers[name] = ([], '%s' % (exc.args[-1] if exc.args else exc))

    threads = []
    for name in set(names):
        thread = threading.Thread(target=ask, args=(name,))
        thread.daemon = True
        thread.start()
        threads.append(thread)
    deadline = time.time() + timeout
    for thread in threads:
        thread.join(max(0, deadline - time.time()))
    return dict((name, answers.get(name, ([], 'no answer from the resolver within %s s' % timeout))) for name in names)


def probe(targets, timeout, sources=None):
    """[(address, port)] -> {(address, port): (state, error)}, non-blocking and in parallel.

    sources: a dictionary that is filled with {address: the local address that the connection is made from}.
    """
    results, waiting = {}, {}
    for target in set(targets):
        address, port = target
        try:
            connection = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            code = connection.connect_ex((address, port))
            source = connection.getsockname()[0]
            # Without a route the socket has no local address.
            if sources is not None and source not in ('0.0.0.0', '::'):
                sources[address] = source
        except (socket.error, OverflowError, TypeError) as exc:
            results[target] = ('error', '%s' % exc)
            continue
        if code == 0:
            results[target] = ('open', '')
            connection.close()
        elif code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            waiting[connection] = target
        else:
            results[target] = _named(code)
            connection.close()
    deadline = time.time() + timeout
    while waiting:
        left = deadline - time.time()
        if left <= 0:
            break
        dummy, writable, failed = select.select([], list(waiting), list(waiting), left)
        for connection in set(writable) | set(failed):
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            results[waiting.pop(connection)] = ('open', '') if code == 0 else _named(code)
            connection.close()
    for connection, target in waiting.items():
        results[target] = ('timeout', 'no answer')
        connection.close()
    return results


def _named(code):
    return _STATES.get(code, 'error'), errno.errorcode.get(code, str(code))


def reach(peers, timeout):
    """The state of the SSH and PostgreSQL port of each peer, as seen from this host. Takes `timeout` seconds at most, for any number of peers."""
    started = time.time()
    resolved = resolve([peer['address'] for peer in peers], timeout)
    targets = []
    for peer in peers:
        for address in resolved[peer['address']][0]:
            targets += [(address, peer['ssh_port']), (address, peer['port'])]
    left = max(0.5, timeout - (time.time() - started))
    sources = {}
    results = probe(targets, left / 2.0, sources)
    # The kernel repeats a lost SYN only after a second, which may exceed the timeout, so try again ourselves.
    late = [target for target in results if results[target][0] == 'timeout']
    results.update(probe(late, left / 2.0))
    entries = []
    for peer in peers:
        addresses, error = resolved[peer['address']]
        entry = {'name': peer['name'], 'address': peer['address'], 'port': peer['port'], 'ssh_port': peer['ssh_port'],
                 'addresses': addresses, 'sources': sorted(set(sources[address] for address in addresses if address in sources)), 'error': error}
        for service, port in (('ssh', peer['ssh_port']), ('postgresql', peer['port'])):
            answers = sorted((results[(address, port)] for address in addresses), key=lambda answer: _ORDER.index(answer[0]))
            state, detail = answers[0] if answers else ('unresolved', error)
            entry[service] = state
            if detail and not entry['error']:
                entry['error'] = '%s port %s: %s' % (service, port, detail + (' within %s s' % timeout if state == 'timeout' else ''))
        entries.append(entry)
    return entries
