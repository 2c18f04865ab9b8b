# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: how conf.d/repmgr.conf combines the collection's settings with those that a server had before. Compatible settings are kept; a conflict in which
the server would lose something is refused.

This is decided before the first deployment; afterwards the file belongs to the collection. Kept settings are in a separate section of the file, so that
later runs recognise them and new nodes get them as well. A setting is no longer kept once the inventory sets it.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import posixpath
import re

# The second line of each file that the collection has written; the first one is the user's, ansible_managed.
OURS = '# Later lines win: repmgr_postgresql_settings overrides what the collection sets.'
KEPT = '# Kept as the servers had it before; what the inventory names replaces it.'
# The values that the packages of a distribution set.
_PACKAGED = {
    'ssl_cert_file': ('/etc/ssl/certs/ssl-cert-snakeoil.pem',),
    'ssl_key_file': ('/etc/ssl/private/ssl-cert-snakeoil.key',),
}
# Settings for which the larger value is always safe.
_LARGER = ('max_wal_senders', 'max_replication_slots', 'wal_keep_size', 'wal_keep_segments')
# Values in ascending order; a higher value includes everything that a lower one provides.
_BOOLEAN = ('off', 'on')
_RANKS = {
    'wal_level': ('minimal', 'replica', 'logical'), 'archive_mode': ('off', 'on', 'always'), 'password_encryption': ('md5', 'scram-sha-256'),
    'hot_standby': _BOOLEAN, 'wal_log_hints': _BOOLEAN, 'ssl': _BOOLEAN,
}
# Variables of the inventory, and the settings that they determine.
_VARIABLES = {
    'repmgr_archive_command': ('archive_command',), 'repmgr_shared_preload_libraries': ('shared_preload_libraries',),
    'repmgr_tls': ('ssl', 'ssl_cert_file', 'ssl_key_file'),
}
_CERTIFICATE = 'repmgr_tls: provided with repmgr_tls_certificate, repmgr_tls_key and repmgr_tls_root, or repmgr_tls: managed to have it replaced'
_NAMED_BY = {
    'archive_command': 'repmgr_archive_command, a command that works on every node',
    'archive_library': "repmgr_postgresql_settings.archive_library, and repmgr_archive_command: ''",
    'ssl_cert_file': _CERTIFICATE, 'ssl_key_file': _CERTIFICATE,
}
# Factors to the base units kB and ms.
_UNITS = {'': 1, 'kB': 1, 'MB': 1024, 'GB': 1024 ** 2, 'TB': 1024 ** 3, 'us': 0.001, 'ms': 1, 's': 1000, 'min': 60000, 'h': 3600000, 'd': 86400000}


# -- the file

def text(own, named, kept):
    """The lines of conf.d/repmgr.conf below its first one. own: the settings of the collection; named: those of the inventory."""
    found = [OURS] + lines([item for item in dict(own, **named).items() if item[0] not in kept])
    # The server reports values without the escaping that a configuration file needs.
    return '\n'.join(found + ([KEPT] + lines((name, ('%s' % (value,)).replace('\\', '\\\\')) for name, value in sorted(kept.items())) if kept else []))


def lines(items):
    # Always quoted: ansible-core versions differ in whether "{{ 5432 }}" is a number.
    return ["%s = '%s'" % (name, ('on' if value else 'off') if isinstance(value, bool) else ('%s' % (value,)).replace("'", "''")) for name, value in items]


def kept_in(content):
    """{setting: value} of the settings kept in this file; None if it is missing or not written by the collection."""
    lines = (content or '').splitlines()
    if OURS not in lines:
        return None
    lines = lines[lines.index(KEPT) + 1:] if KEPT in lines else []
    matches = [re.match(r"(\w+) = '(.*)'$", line) for line in lines]
    return dict((match.group(1), match.group(2).replace("''", "'").replace('\\\\', '\\')) for match in matches if match)


def foreign_in(content):
    """[name] of the settings, and of the include directives, in a file that the collection has not written; [] if it has, or there is none."""
    lines = (content or '').splitlines()
    if OURS in lines:
        return []
    return sorted(set(match.group(1).lower() for match in [re.match(r"\s*([A-Za-z_][\w.]*)", line) for line in lines] if match))


# -- one server

def found(server):
    """{setting: value} that the operator configured on a server, and that the collection's file might override."""
    if server.kept is not None:
        return dict(server.kept)
    values = {}
    for name, entry in (server.configured or {}).items():
        # postgresql.auto.conf is read last, so the collection's file does not override it.
        if posixpath.basename(entry.get('file') or '') == 'postgresql.auto.conf' or entry.get('setting') in (entry.get('default'), None):
            continue
        values[name] = '%s%s' % (entry['setting'], entry.get('unit') or '')
    for name in ('ssl_cert_file', 'ssl_key_file'):
        # With ssl on and no certificate configured, the server uses the default, server.crt in its data directory.
        if values.get('ssl') == 'on' and name not in values and (server.settings or {}).get(name):
            values[name] = server.settings[name]
        if values.get(name) in _PACKAGED[name]:
            del values[name]
    return values


def archives(command):
    """Whether an archive_command really archives."""
    return ('%s' % (command or '',)).strip() not in ('', '(disabled)', ':', 'true', '/bin/true', '/usr/bin/true', 'exit 0')


def amount(value):
    """A number with one of PostgreSQL's units, converted to kB or ms; None if it is not a number."""
    match = re.match(r'\s*(-?[0-9]+)\s*([A-Za-z]*)\s*$', '%s' % (value,))
    return int(match.group(1)) * _UNITS[match.group(2)] if match and match.group(2) in _UNITS else None


def libraries(value):
    return [name.strip().strip('"') for name in ('%s' % (value,)).split(',') if name.strip()]


def same(name, one, other):
    if amount(one) is not None and amount(other) is not None:
        return amount(one) == amount(other)
    if name == 'shared_preload_libraries':
        return libraries(one) == libraries(other)
    one, other = [('%s' % (value,)).strip() for value in (one, other)]
    return one.lower() == other.lower() if name in _RANKS else one == other


def merged(name, own, theirs):
    """The value that satisfies both the collection and the operator, or None if there is none."""
    if name in _LARGER and amount(own) is not None and amount(theirs) is not None:
        return theirs if amount(theirs) > amount(own) else own
    if name == 'max_slot_wal_keep_size':
        # The operator chose this limit for the disk of the server.
        return theirs
    if name in _RANKS:
        ranks, values = _RANKS[name], [('%s' % (value,)).lower() for value in (own, theirs)]
        return None if [value for value in values if value not in ranks] else own if ranks.index(values[0]) >= ranks.index(values[1]) else theirs
    if name == 'shared_preload_libraries':
        # Keep the operator's order, which matters to some libraries.
        names = libraries(theirs)
        return ','.join(names + [each for each in libraries(own) if each not in names])
    if name == 'archive_command':
        if archives(own) and archives(theirs):
            return own if same(name, own, theirs) else None
        return theirs if archives(theirs) else own
    if name == 'listen_addresses' and set(libraries(theirs)) & set(['*', '0.0.0.0']) and libraries(own) == ['*']:
        return own
    return own if same(name, own, theirs) else None


# -- a cluster

def named(host):
    """The names of the settings that the inventory determines."""
    names = set(('%s' % (name,)).lower() for name in host.server_settings or {})
    own = host.settings or {}
    for variable, settings in _VARIABLES.items():
        if variable in (host.named or []):
            names.update(settings)
    # A value other than the default comes from the inventory, wherever it is defined. An archive for backups is set by the collection: it does not mean that
    # an archive that was there before may end.
    if archives(own.get('archive_command')) and not host.backup:
        names.add('archive_command')
    if libraries(own.get('shared_preload_libraries', 'repmgr')) != ['repmgr']:
        names.add('shared_preload_libraries')
    if host.tls != 'managed':
        names.update(_VARIABLES['repmgr_tls'])
    # These are checked elsewhere, or are set only if a variable requests it.
    return names | set(['port', 'synchronous_standby_names'])


def confirmations(names):
    """The number of standbys that a commit waits for with this value of synchronous_standby_names."""
    count = re.match(r'\s*(?:any\s+|first\s+)?(\d+)\s*\(', names or '', re.I)
    return int(count.group(1)) if count else int(bool((names or '').strip()))


def _data_nodes(hosts):
    return [host for host in hosts if host.initial_role != 'witness' and host.observed is not None and not host.unreachable]


def _common_archive(hosts):
    """The archive_command that all data nodes use, or ''. A command of some nodes only may not work on the others, whose WAL would fill the disk."""
    commands = set()
    for host in hosts:
        command = found(host.observed.server).get('archive_command')
        if archives(command) or host.observed.server.sql or host.observed.data.state in ('missing', 'empty', 'partial'):
            commands.add(command if archives(command) else '')
    if [host for host in hosts if archives((host.observed.server.kept or {}).get('archive_command'))]:
        # Decided already; nodes that are added later get the same command.
        commands.discard('')
    return commands.pop() if len(commands) == 1 else ''


def kept(host, hosts):
    """{setting: value} to keep in conf.d/repmgr.conf of a host. It is the same on every data node, because any of them may become primary."""
    others = [host] if host.initial_role == 'witness' and host.observed is not None else _data_nodes(hosts)
    own, result, unasked, archive = host.settings or {}, {}, named(host), _common_archive(others)
    for other in others:
        for name, theirs in sorted(found(other.observed.server).items()):
            if name not in own or name in unasked or name == 'archive_command' and theirs != archive:
                continue
            value = merged(name, result.get(name, own[name]), theirs)
            if value is not None and not same(name, value, own[name]):
                result[name] = value
    return result


def replaced(host, hosts):
    """[(setting, present value, its file, new value)] of the conflicts that the operator has to decide, for a host that was observed."""
    server = host.observed.server
    if server.kept is not None:
        command = server.kept.get('archive_command')
        wanted = (host.settings or {}).get('archive_command')
        if not archives(command) or 'archive_command' in named(host) or _common_archive(_data_nodes(hosts)) and not archives(wanted):
            return []
        # It was changed on one of the nodes, so the nodes have no common archive_command any more.
        return [('archive_command', command, 'conf.d/repmgr.conf', '%s' % ((host.settings or {}).get('archive_command'),))]
    own, unasked, lost = dict(host.settings or {}, **kept(host, hosts)), named(host), []
    for name, theirs in sorted(found(server).items()):
        if name in unasked or name == 'ssl_key_file' and lost and lost[-1][0] == 'ssl_cert_file':
            continue
        if name == 'archive_library' and own:
            # From PostgreSQL 16 on it is an error if both archive_library and archive_command are set, and nothing is archived.
            value = None if own.get('archive_command') else theirs
        elif name in own:
            value = merged(name, own[name], theirs)
            if name == 'shared_preload_libraries':
                # Other nodes may have more libraries, in another order.
                value = own[name] if set(libraries(theirs)) <= set(libraries(own[name])) else None
            elif value is not None and not same(name, value, own[name]):
                value = None
        else:
            continue
        if value is None:
            entry = (server.configured or {}).get(name) or {}
            lost.append((name, theirs, entry.get('file') or 'its configuration', '%s' % (own.get(name, own.get('archive_command')),)))
    return lost


def dropped(host, hosts):
    """[name] of the settings in a conf.d/repmgr.conf of the operator's own that nobody would set any more, for a host that was observed.

    Those that the collection sets itself are kept or refused by what they are; see kept() and replaced().
    """
    handled = set(_LARGER) | set(_RANKS) | set(['archive_library', 'ssl_min_protocol_version'])
    handled.update(('%s' % name).lower() for name in host.server_settings or {})
    for names in list(_VARIABLES.values()) + [other.settings or {} for other in hosts]:
        handled.update(names)
    return [name for name in host.observed.server.foreign or [] if name not in handled]


def named_by(name):
    """The variable that determines a setting, for a message."""
    return _NAMED_BY.get(name) or 'repmgr_postgresql_settings.%s' % name
