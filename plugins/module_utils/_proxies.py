# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the statistics of HAProxy, as CSV -> which servers it sends clients to."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import csv
import re

# The columns that are used, by the names that HAProxy has had for them since 1.8. A version may add others anywhere.
_COLUMNS = ('pxname', 'svname', 'scur', 'status', 'lastchg', 'type', 'check_status', 'check_code')
_SERVER = '2'


def address_of(stats_address):
    """Where a proxy answers itself, if it listens on this address."""
    return {'0.0.0.0': '127.0.0.1', '*': '127.0.0.1', '::': '::1'}.get(stats_address, stats_address)


def sections(cluster):
    """{port: backend} of roles/haproxy/templates/cluster.cfg.j2."""
    return {'read_write': '%s-primary' % cluster, 'read_only': '%s-replicas' % cluster}


def parse(text):
    """{backend: [{node, up, status, sessions, changed_seconds, check}]}, or None if this is not what HAProxy writes, or not all of it."""
    if not text.startswith('# pxname,') or not text.endswith('\n'):
        return None
    lines = list(csv.reader(text[2:].splitlines()))
    if not set(_COLUMNS) <= set(lines[0]):
        return None
    at = dict((name, lines[0].index(name)) for name in _COLUMNS)
    found = {}
    for line in lines[1:]:
        if not line:
            continue
        if len(line) <= max(at.values()):
            return None
        row = dict((name, line[at[name]].strip()) for name in _COLUMNS)
        if row['type'] != _SERVER:
            # A frontend, or the sum of a backend: a node may have one of their names.
            continue
        found.setdefault(row['pxname'], []).append({
            'node': row['svname'], 'up': bool(re.match(r'(UP|no check)\b', row['status'])), 'status': row['status'], 'sessions': _number(row['scur']),
            # Since the server was last taken for up or down, or since HAProxy has started.
            'changed_seconds': _number(row['lastchg']),
            # An asterisk means that a check is under way.
            'check': ' '.join([row['check_status'].lstrip('* '), row['check_code']]).strip()})
    return found


def _number(text):
    return int(text) if text.isdigit() else None


def agrees(found, expected):
    """Whether these servers are up, and no others. found: of parse. expected: {backend: [node]}; a backend that is not there cannot agree soon."""
    return all(sorted(server['node'] for server in found[backend] if server['up']) == sorted(nodes) for backend, nodes in expected.items() if backend in found)
