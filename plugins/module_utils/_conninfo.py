# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: libpq's connection strings and password files."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote

_PLAIN = re.compile(r"[^\s'\\=]+\Z")
# These come first, because a reader looks for them first; the rest is in alphabetical order.
_ORDER = ('host', 'hostaddr', 'port', 'user', 'dbname')
# The values that libpq assumes for missing or empty keywords.
_DEFAULTS = {'port': '5432', 'sslmode': 'prefer', 'target_session_attrs': 'any'}
# Passwords cannot be compared because observations do not contain them; fallback_application_name is only a label.
_NOT_COMPARED = ('password', 'fallback_application_name')


def build(values):
    """{'host': 'a', ...} -> "host=a ...", quoted for libpq."""
    names = [name for name in _ORDER if name in values] + sorted(name for name in values if name not in _ORDER)
    return ' '.join('%s=%s' % (name, quote(values[name])) for name in names if values[name] is not None)


def quote(value):
    text = '%s' % (value,)
    if _PLAIN.match(text):
        return text
    return "'%s'" % text.replace('\\', '\\\\').replace("'", "\\'")


def parse(text):
    """A connection string in keyword or URI form -> dictionary. Raises ValueError if it is invalid."""
    text = text or ''
    if text.startswith('postgresql://') or text.startswith('postgres://'):
        return _parse_uri(text)
    values = {}
    position = 0
    end = len(text)
    while True:
        while position < end and text[position].isspace():
            position += 1
        if position >= end:
            return values
        start = position
        while position < end and text[position] != '=' and not text[position].isspace():
            position += 1
        name = text[start:position]
        while position < end and text[position].isspace():
            position += 1
        if position >= end or text[position] != '=':
            raise ValueError('missing "=" after "%s" in connection string' % name)
        position += 1
        while position < end and text[position].isspace():
            position += 1
        value = []
        if position < end and text[position] == "'":
            position += 1
            while True:
                if position >= end:
                    raise ValueError('unterminated quoted string in connection string')
                char = text[position]
                position += 1
                if char == "'":
                    break
                if char == '\\' and position < end:
                    char = text[position]
                    position += 1
                value.append(char)
        else:
            while position < end and not text[position].isspace():
                char = text[position]
                position += 1
                if char == '\\' and position < end:
                    char = text[position]
                    position += 1
                value.append(char)
        values[name] = ''.join(value)


def _parse_uri(text):
    rest = text.split('://', 1)[1]
    rest, dummy, query = rest.partition('?')
    authority, dummy, dbname = rest.partition('/')
    values = {}
    if '@' in authority:
        credentials, dummy, authority = authority.rpartition('@')
        user, colon, password = credentials.partition(':')
        if user:
            values['user'] = unquote(user)
        if colon:
            values['password'] = unquote(password)
    hosts, ports = [], []
    for part in authority.split(',') if authority else []:
        match = re.match(r'^(\[[^\]]*\]|[^:]*)(?::(\d*))?$', part)
        if not match:
            raise ValueError('cannot read host "%s" in connection URI' % part)
        hosts.append(unquote(match.group(1).strip('[]')))
        ports.append(match.group(2) or '')
    if any(hosts):
        values['host'] = ','.join(hosts)
    if any(ports):
        values['port'] = ','.join(ports)
    if dbname:
        values['dbname'] = unquote(dbname)
    for pair in query.split('&') if query else []:
        name, dummy, value = pair.partition('=')
        values[unquote(name)] = unquote(value)
    # The JDBC spelling; libpq accepts this one pair.
    if values.get('ssl') == 'true':
        values['sslmode'] = 'require'
        del values['ssl']
    return values


def parse_or_empty(text):
    """Like parse(), but {} for an invalid connection string."""
    try:
        return parse(text)
    except ValueError:
        return {}


def has_own_password(actual, wanted):
    """Whether a connection string in use has a password, which `wanted` leaves to the passfile, where rotate_credentials changes it."""
    return bool(parse_or_empty(actual).get('password')) and not parse_or_empty(wanted).get('password')


def address(values):
    """The address that libpq connects to, or None: hostaddr takes precedence over host."""
    return values.get('hostaddr') or values.get('host') or None


def effective(values):
    """The values, with libpq's defaults for missing or empty ones."""
    found = dict(_DEFAULTS, **dict((name, value) for name, value in values.items() if value != ''))
    if 'user' in found:
        found.setdefault('dbname', found['user'])
    return found


def same(one, other):
    """Whether two connection strings are equivalent. Order, quoting, form, defaults and passwords do not matter."""
    try:
        first, second = effective(parse(one)), effective(parse(other))
    except ValueError:
        return one == other
    for name in _NOT_COMPARED:
        first.pop(name, None)
        second.pop(name, None)
    return first == second


def without_password(text):
    """(the connection string without its password, the password or None)"""
    try:
        values = parse(text)
    except ValueError:
        return text, None
    if 'password' not in values:
        return text, None
    password = values.pop('password')
    return build(values), password


def multihost(hosts, **options):
    """One DSN for several hosts: libpq tries them in order until one has the requested session attributes."""
    values = dict((name, value) for name, value in options.items() if value is not None)
    values['host'] = ','.join('%s' % host['address'] for host in hosts)
    values['port'] = ','.join('%s' % (host.get('port') or 5432) for host in hosts)
    return build(values)


def passfile_fields(line):
    """[host, port, database, user, password] of one line, or None. A backslash escapes ":" and "\\"."""
    if not line.strip() or line.lstrip().startswith('#'):
        return None
    fields, field, escaped = [], [], False
    for char in line.rstrip('\r\n'):
        if escaped:
            field.append(char)
            escaped = False
        elif char == '\\':
            escaped = True
        elif char == ':' and len(fields) < 4:
            fields.append(''.join(field))
            field = []
        else:
            field.append(char)
    fields.append(''.join(field))
    return fields if len(fields) == 5 else None


def passfile_password(text, user, cluster=None):
    """The password of the first line for `user`. Only if there is none, that of the first line with user "*", which may be for another server.

    cluster: consider only the block that the collection wrote for this cluster.
    """
    lines = (text or '').splitlines()
    if cluster is not None:
        begin, end = ['# %s pgfleet.repmgr %s' % (word, cluster) for word in ('BEGIN', 'END')]
        lines = lines[lines.index(begin) + 1:lines.index(end)] if begin in lines and end in lines else []
    found = [fields for fields in map(passfile_fields, lines) if fields]
    for wanted in (user, '*'):
        for fields in found:
            if fields[3] == wanted:
                return fields[4]
    return ''


def in_use(observed, ids):
    """[(client, connection string)] that the node connects with now, or will after a restart.

    ids: the node ids, as text, of the nodes whose connection strings count.
    """
    observed = observed or {}
    found = [('repmgrd', row.get('conninfo')) for row in (observed.get('repmgr') or {}).get('nodes') or [] if '%s' % row.get('node_id') in ids]
    found.append(('standby', ((observed.get('server') or {}).get('settings') or {}).get('primary_conninfo')))
    # Before PostgreSQL 12 primary_conninfo is not a setting.
    found.append(('standby', (observed.get('receiver') or {}).get('conninfo')))
    found.append(('repmgr', (observed.get('config') or {}).get('conninfo')))
    found += [('guard', peer.get('conninfo')) for peer in (observed.get('guard') or {}).get('peers') or [] if '%s' % peer.get('node_id') in ids]
    return [(who, text) for who, text in found if text]


def passfile_lines(members, database, user, password):
    """The lines of a passfile that lets a node log in to every member of its cluster.

    members: records of the hosts, with name, node_name, node_id, address, port and, if observed, the registered nodes and primary_conninfo. libpq compares
    the host in a connection string literally, so there is a line for every name and address that may be in use: a cluster that was built by hand keeps its
    own until its connection strings are changed to those of the inventory.
    """
    endpoints = []
    # A node that is being removed is still registered.
    ids = set('%s' % member.get('node_id') for member in members)
    for member in members:
        endpoints.append((member.get('address'), member.get('port')))
    for member in members:
        for name in (member.get('node_name'), member.get('name')):
            endpoints.append((name, member.get('port')))
    for member in members:
        for dummy, text in in_use(member.get('observed'), ids):
            values = parse_or_empty(text)
            # A connection string with several hosts has one port for each, or one for all.
            ports = (values.get('port') or '5432').split(',')
            for name in ('host', 'hostaddr'):
                hosts = (values.get(name) or '').split(',')
                endpoints += zip(hosts, ports if len(ports) > 1 else ports * len(hosts))
    lines = []
    for host, port in endpoints:
        # Over the local socket the postgres OS user needs no password.
        if not host or ('%s' % host).startswith('/'):
            continue
        for name in (database, 'replication'):
            line = ':'.join(_escaped(value) for value in (host, port or 5432, name, user, password))
            if line not in lines:
                lines.append(line)
    return lines


def _escaped(value):
    return ('%s' % (value,)).replace('\\', '\\\\').replace(':', '\\:')
