# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One question over HTTP, with a limit for all of it. No redirects and no proxies: whoever is asked is on this host."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import re
import socket
import ssl
import time

# A proxy needs about 300 bytes for each server.
_MOST = 20 * 10 ** 6


class HttpError(Exception):
    """state: 'refused', where nothing listens; 'silent', where the limit was over; 'other'."""

    def __init__(self, state, words):
        super(HttpError, self).__init__(words)
        self.state = state


def get(address, port, path, limit, tls=False):
    """(status code, body). The certificate is not verified. limit: seconds."""
    deadline, handle = time.time() + limit, None
    try:
        handle = socket.create_connection((address, port), limit)
        if tls:
            context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23))
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            handle = context.wrap_socket(handle)
        host = '[%s]' % address if ':' in address else address
        handle.sendall(('GET %s HTTP/1.0\r\nHost: %s:%d\r\n\r\n' % (path, host, port)).encode('ascii'))
        data, more = b'', b'?'
        while more:
            left = deadline - time.time()
            if left <= 0:
                raise socket.timeout()
            handle.settimeout(left)
            try:
                more = handle.recv(65536)
            except ssl.SSLError as exc:
                if not data or 'timed out' in '%s' % exc:
                    raise
                # Closed without a word in TLS, which older Pythons report with OpenSSL 3. Whether that was all, the body says.
                more = b''
            data += more
            if len(data) > _MOST:
                raise HttpError('other', 'an answer of more than %d bytes' % _MOST)
    except socket.timeout:
        raise HttpError('silent', 'no answer within %s s' % limit)
    except (IOError, OSError, ValueError) as exc:
        if 'timed out' in '%s' % exc:
            # Python 2.7 reports a TLS handshake that takes too long as an SSLError.
            raise HttpError('silent', 'no answer within %s s' % limit)
        code = getattr(exc, 'errno', None)
        raise HttpError('refused' if code == errno.ECONNREFUSED else 'other', 'connection refused' if code == errno.ECONNREFUSED else '%s' % exc)
    finally:
        if handle is not None:
            handle.close()
    head, dummy, body = data.partition(b'\r\n\r\n')
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b'HTTP/') or not words[1].isdigit():
        raise HttpError('other', 'an answer that is not HTTP')
    if re.search(br'\r\ntransfer-encoding:\s*chunked\s*(\r\n|\Z)', head, re.I):
        body = _joined(body)
    text = body.decode('utf-8', 'replace')
    return int(words[1]), text if isinstance(text, str) else body


def _joined(body):
    """What was sent in chunks: HAProxy does so in HTTP/1.0 as well."""
    found, rest = [], body
    while True:
        size, dummy, rest = rest.partition(b'\r\n')
        if not re.match(br'[0-9A-Fa-f]{1,8}\s*(;|\Z)', size):
            raise HttpError('other', 'an answer that is not complete')
        length = int(size.split(b';')[0], 16)
        if not length:
            return b''.join(found)
        if rest[length:length + 2] != b'\r\n':
            raise HttpError('other', 'an answer that is not complete')
        found.append(rest[:length])
        rest = rest[length + 2:]
