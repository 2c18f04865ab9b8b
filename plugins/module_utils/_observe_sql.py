# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Query a server, and add its answer to an observation."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import pwd

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError


def connections(place, config, sockets):
    """[(connection string, OS user to run psql as, or None)] to try, in this order.

    config: repmgr.conf as _place.read_config returns it. sockets: {host, port} of the server's socket, or None.
    """
    ways = []
    conninfo = place.conninfo or (config or {}).get('conninfo')
    database = None
    if conninfo:
        ways.append((conninfo, None))
        database = _conninfo.parse_or_empty(conninfo).get('dbname')
    # Over the socket as the postgres OS user, which works before the repmgr role exists. Root has to become that user.
    user = None
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(place.user)
        except KeyError:
            return ways
        user = place.user
    elif pwd.getpwuid(os.geteuid()).pw_name != place.user:
        return ways
    local = dict(sockets or {'port': str(place.port)})
    local['user'] = place.user
    if not sockets and conninfo:
        return ways
    for name in [database, 'postgres']:
        if name and (_conninfo.build(dict(local, dbname=name)), user) not in ways:
            ways.append((_conninfo.build(dict(local, dbname=name)), user))
    return ways


def observe_sql(psql, ways, events):
    """(answer, errors) of the first connection that works. answer: {tag: value} of Psql.observe, or None. errors: [text] of those that failed."""
    errors = []
    for conninfo, user in ways:
        try:
            return psql.observe(conninfo, events=events, run_as=user), errors
        except PsqlError as exc:
            errors.append(redacted('%s' % exc))
    return None, errors


def take_sql(observed, tags, database=None):
    """Add the answer of a server ({tag: value} of Psql.observe) to an observation. database: the one of repmgr's metadata."""
    server = observed.server
    answer = tags.get('server') or {}
    position = tags.get('position') or {}
    settings = tags.get('settings') or {}
    if 'primary_conninfo' in settings:
        settings['primary_conninfo'] = redacted(settings['primary_conninfo'])
    server.sql = bool(answer)
    server.in_recovery = answer.get('in_recovery', server.in_recovery)
    server.version = (answer.get('version') or '').split(' ')[0] or None
    server.version_num = answer.get('version_num')
    server.system_identifier = answer.get('system_identifier')
    server.checkpoint_timeline = answer.get('checkpoint_timeline')
    server.started_at = answer.get('started_at')
    for name in ('current_lsn', 'received_lsn', 'replayed_lsn', 'replay_paused', 'lag_bytes', 'lag_seconds'):
        setattr(server, name, position.get(name))
    server.oldest_wal = tags.get('oldest_wal')
    server.archiver = tags.get('archiver') or {}
    server.settings = settings
    server.configured = tags.get('configured') or {}
    receiver = tags.get('receiver')
    if receiver and receiver.get('status'):
        receiver['conninfo'] = redacted(receiver.get('conninfo'))
        receiver['received_lsn'] = receiver.get('flushed_lsn') or receiver.get('received_lsn')
        observed.receiver = receiver
    # After a promotion the control data are outdated until the next checkpoint; the position of the WAL is not.
    if position.get('wal_timeline'):
        server.timeline = int(position['wal_timeline'], 16)
    else:
        known = [(receiver or {}).get('received_tli'), tags.get('recovery_timeline'), server.checkpoint_timeline]
        server.timeline = max([number for number in known if number] or [0]) or None
    observed.replication = tags.get('replication') or []
    observed.slots = tags.get('slots') or []
    databases = tags.get('databases')
    repmgrd = tags.get('repmgrd') or {}
    absent = databases is not None and database is not None and database not in databases
    nodes = tags.get('nodes')
    here = answer.get('database') is not None and answer.get('database') == database
    if nodes is None and (absent or (here and 'extension' not in tags)):
        nodes = []
    if nodes is not None:
        for row in nodes:
            row['conninfo'] = redacted(row.get('conninfo'))
    observed.repmgr = {
        'database': None if databases is None or database is None else database in databases,
        'extension': tags.get('extension'),
        'nodes': nodes,
        'repmgrd': {'running': repmgrd.get('running'), 'paused': repmgrd.get('paused'), 'pid': _known(repmgrd.get('pid'))},
        'upstream_last_seen': _known(tags.get('upstream_last_seen')),
        'upstream_node_id': _known(tags.get('upstream_node_id')),
        'role': (tags.get('role') or {}).get('rolname'),
        'missing_rights': tags.get('missing_rights'),
        'superuser': (tags.get('role') or {}).get('rolsuper'),
    }
    observed.events = tags.get('events') or []


def _known(number):
    # repmgr's functions return -1 for unknown.
    return None if number == -1 else number


def no_repmgr():
    """Observed.repmgr of a node without metadata."""
    return {'database': None, 'extension': None, 'nodes': None, 'upstream_last_seen': None, 'upstream_node_id': None,
            'repmgrd': {'running': None, 'paused': None, 'pid': None}, 'role': None, 'missing_rights': None, 'superuser': None}


def database_of(conninfo):
    """The database of a connection string, or None."""
    values = _conninfo.parse_or_empty(conninfo)
    return values.get('dbname') or values.get('user')
