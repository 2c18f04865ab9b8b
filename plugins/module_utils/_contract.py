# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what the inventory says, checked before any host is changed. Whether a cluster exists is not asked here."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import posixpath
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer as _integer, message
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _hba, _settings, _steps

PROFILES = ('fast', 'safe', 'wan')
# Empty is off.
TLS = ('managed', 'provided', '')
INSECURE = ('trust', 'superuser', 'unverified_hosts')
PACKAGE_SOURCES = ('pgdg', 'distro', 'none')
VERSIONS = (10, 18)
CLONE_FROM = ('primary', 'standby')
CLONE_COMPRESS = ('gzip', 'lz4', 'zstd')
# The first major version that compresses what it sends into a plain directory.
COMPRESSES = 15
# kB/s, as pg_basebackup has them.
RATES = (32, 1048576)
FAILOVER = ('automatic', 'manual')
AUTO_REJOIN = ('rewind', 'attach', 'off')
# A node's name is its application_name, which PostgreSQL cuts at 63 bytes; a cluster's name is in the common name of its authority after
# `repmgr cluster `, which X.509 ends at 64.
NODE_NAME_LENGTH = 63
CLUSTER_NAME_LENGTH = 64 - len('repmgr cluster ')
# Without what means something to systemd, a shell, SQL, or whoever takes a line apart.
_NAME = re.compile('[A-Za-z0-9][A-Za-z0-9._-]*\\Z')
_SIZE = re.compile('[0-9]{1,15}([kMGT]?B)?\\Z')
_ADDRESS = re.compile('([*]|[0-9]+([.][0-9]+){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\\Z')
_LOCATION = re.compile('[A-Za-z0-9][A-Za-z0-9 ._:/+-]*\\Z')
OLDEST = {'Debian': 11, 'Ubuntu': 20}
OLDEST_EL = 7
# The greatest value of PostgreSQL's type integer, which repmgr.nodes has for it.
GREATEST_ID = 2147483647
# pg_hba.conf has these words for many users or databases, and for all streams.
RULE_WORDS = ('all', 'sameuser', 'samerole', 'samegroup', 'replication')
# The collection sets the rights and the password of its role, and PostgreSQL reserves the others.
TAKEN_USERS = RULE_WORDS + ('postgres', 'public', 'none', 'user', 'current_user', 'current_role', 'session_user')
TAKEN_DATABASES = RULE_WORDS + ('postgres', 'template0', 'template1')
NAME = re.compile(r'^[A-Za-z_][A-Za-z0-9_.-]{0,62}\Z')
# A name with a dot is that of an extension.
SETTING = re.compile(r'^[A-Za-z_][A-Za-z0-9_$]*([.][A-Za-z_][A-Za-z0-9_$]*)*\Z')
# Lost with the next boot, or no file system for data.
VOLATILE = ('/dev', '/proc', '/run', '/sys', '/tmp', '/var/run')
PATH = re.compile(r'^/[A-Za-z0-9_.,:@+=/-]+\Z')
# {setting of repmgr.conf: what to set instead}. The nodes, the guard and the playbooks rely on what the collection has put there.
OWNED_BY_REPMGR_CONF = {
    'node_id': 'repmgr_node_id', 'node_name': 'repmgr_node_name', 'conninfo': 'repmgr_address, repmgr_port, repmgr_user or repmgr_database',
    'data_directory': 'repmgr_data_directory', 'config_directory': None, 'pg_bindir': 'repmgr_postgresql_version', 'replication_user': 'repmgr_user',
    'use_replication_slots': None, 'location': 'repmgr_location', 'priority': 'repmgr_priority', 'failover': 'repmgr_failover',
    'promote_command': None, 'follow_command': None, 'failover_validation_command': None,
}
# The same of the server's settings.
OWNED_BY_SERVER = {
    'data_directory': 'repmgr_data_directory', 'config_file': None, 'hba_file': None, 'port': 'repmgr_port', 'ssl': 'repmgr_tls',
    'ssl_cert_file': 'repmgr_tls_certificate', 'ssl_key_file': 'repmgr_tls_key', 'synchronous_standby_names': 'repmgr_synchronous',
    'primary_conninfo': None, 'primary_slot_name': None,
}
# Options of `repmgr standby clone` that overwrite data, or make no copy.
UNUSABLE_CLONE_OPTIONS = ('--force', '-F', '--dry-run', '--replication-conf-only', '--recovery-conf-only', '--pgdata', '-D')


def contract_problems(hosts):
    """hosts: one dictionary for each host of one cluster -> messages. Values that are not defined are null or empty."""
    found = []
    for host in hosts:
        for check in (_cluster_name, _node_name, _node_id, _group, _profile, _package_source, _port, _priority, _tls, _insecure, _timing, _auto_rejoin,
                      _clone, _names, _location, _data_directory, _ssh_port, _metrics, _routing, _backups, _archive, _libraries, _password, _repmgr_settings,
                      _server_settings, _rules, _witness_upstream):
            found += check(host)
        # A host that could not be reached has no facts to judge; its absence is judged elsewhere.
        if not host.get('unreachable'):
            for check in (_system, _version, _service_manager, _compress):
                found += check(host)
    found += _unique(hosts, _number_id, 'node id', 'Give each host its own repmgr_node_id.')
    found += _unique(hosts, lambda host: host.get('node_name') or None, 'node name', 'Give each host its own repmgr_node_name.')
    found += _unique(hosts, _endpoint, 'address and port', 'Set repmgr_address or repmgr_port so that each node has its own.')
    found += _one_version(hosts)
    found += _two_nodes(hosts)
    found += _electable(hosts)
    found += _connections(hosts)
    found += _same(hosts, 'user', 'repmgr_user')
    found += _same(hosts, 'database', 'repmgr_database')
    found += _same(hosts, 'tls', 'repmgr_tls')
    found += _same_backup(hosts)
    found += _synchronous(hosts)
    found += _one_lease(hosts)
    found += _upstreams(hosts)
    return found


def _say(host, seen, expected, command):
    return [message(host.get('name') or '(no name)', seen, expected, command)]


def _empty(value):
    return value is None or '%s' % (value,) == ''


def _number_id(host):
    number = _integer(host.get('node_id'))
    return number if number is not None and number > 0 else None


def _endpoint(host):
    return None if _empty(host.get('address')) else '%s port %s' % (host.get('address'), host.get('port') or 5432)


def _cluster_name(host):
    if _empty(host.get('cluster')):
        return _say(host, 'repmgr_cluster_name is not set', 'the name of the cluster that the host belongs to',
                    'Set repmgr_cluster_name for the host or its group.')
    return _name(host, 'cluster', 'repmgr_cluster_name', CLUSTER_NAME_LENGTH)


def _name(host, key, variable, longest):
    value = '%s' % (host.get(key),)
    if _NAME.match(value) and len(value) <= longest:
        return []
    return _say(host, '%s is "%s"' % (variable, value), 'letters, digits, dots, dashes and underscores, the first one a letter or a digit, and '
                'no more than %d of them' % longest, 'Correct %s.' % variable)


def _node_name(host):
    return [] if host.get('node_name') is None else _name(host, 'node_name', 'repmgr_node_name', NODE_NAME_LENGTH)


def _location(host):
    value = host.get('location')
    if value is None or _LOCATION.match('%s' % (value,)):
        return []
    return _say(host, 'repmgr_location is "%s"' % (value,), 'letters, digits, blanks and . _ : / + -, the first one a letter or a digit',
                'Correct repmgr_location.')


def _node_id(host):
    value = host.get('node_id')
    if _empty(value):
        return _say(host, 'repmgr_node_id is not set', 'a positive number that is unique in the cluster and never changes',
                    'Set repmgr_node_id for the host.')
    if _number_id(host) is None:
        return _say(host, 'repmgr_node_id is "%s"' % (value,), 'a positive number that is unique in the cluster and never changes',
                    'Correct repmgr_node_id of the host.')
    if _number_id(host) > GREATEST_ID:
        return _say(host, 'repmgr_node_id is %d' % _number_id(host), 'a number up to %d, which is what repmgr can store' % GREATEST_ID,
                    'Correct repmgr_node_id of the host.')
    return []


def _group(host):
    groups = list(host.get('groups') or [])
    if not groups:
        return _say(host, 'is in no role group', 'exactly one of the groups primary, standby and witness',
                    'Put the host into one of them.')
    if len(groups) > 1:
        return _say(host, 'is in the groups %s' % ' and '.join(groups), 'exactly one of the groups primary, standby and witness',
                    'Leave the host in one of them.')
    return []


def _one_of(values, key, variable, allowed, host=None):
    value = values.get(key)
    if value in allowed:
        return []
    return _say(host or values, '%s is "%s"' % (variable, '' if value is None else value), 'one of %s' % ', '.join(allowed),
                'Correct %s.' % variable)


def _profile(host):
    return _one_of(host, 'profile', 'repmgr_failover_profile', PROFILES)


def _tls(host):
    mode = host.get('tls') or ''
    if mode not in TLS:
        return _say(host, 'repmgr_tls is "%s"' % (mode,), "one of managed, provided, 'off'", 'Correct repmgr_tls.')
    if mode != 'provided':
        return []
    files = host.get('tls_files') or {}
    missing = ['repmgr_tls_%s is "%s"' % (name, files.get(name) or '') for name in ('certificate', 'key', 'root')
               if not ('%s' % (files.get(name) or '')).startswith('/')]
    return _say(host, '; '.join(missing), 'the path of a file on the host', 'Set it, or leave out repmgr_tls.') if missing else []


def _insecure(host):
    unknown = ['%s' % (word,) for word in host.get('insecure') or [] if word not in INSECURE]
    return _say(host, 'repmgr_insecure has %s' % ', '.join(unknown), 'nothing but %s' % ', '.join(INSECURE),
                'Correct repmgr_insecure, or leave it out.') if unknown else []


def _auto_rejoin(host):
    return [] if host.get('auto_rejoin') is None else _one_of(host, 'auto_rejoin', 'repmgr_auto_rejoin', AUTO_REJOIN)


def _clone(host):
    """What pg_basebackup would refuse only when a standby is cloned."""
    clone = host.get('clone') or {}
    found = [] if clone.get('from') is None else _one_of(clone, 'from', 'repmgr_clone_from', CLONE_FROM, host)
    rate = '%s' % (clone.get('max_rate') or '',)
    if rate and not RATES[0] <= _kilobytes(rate) <= RATES[1]:
        found += _say(host, 'repmgr_clone_max_rate is "%s"' % rate, 'kilobytes a second with k or megabytes with M, from 32k to 1024M',
                      'Correct repmgr_clone_max_rate, or leave it out.')
    if clone.get('compress'):
        found += _one_of(clone, 'compress', 'repmgr_clone_compress', CLONE_COMPRESS, host)
    if clone.get('own_options') and (rate or clone.get('compress')):
        found += _say(host, 'repmgr_settings has pg_basebackup_options, which would replace repmgr_clone_max_rate and repmgr_clone_compress',
                      'one of the two', 'Put all of it into pg_basebackup_options, or leave it out.')
    unusable = ['%s' % (option,) for option in clone.get('options') or [] if _option(option) in UNUSABLE_CLONE_OPTIONS]
    if unusable:
        found += _say(host, 'repmgr_clone_options has %s' % ', '.join(unusable), 'options that leave it to the collection whether and where a copy is made',
                      'Leave it out of repmgr_clone_options.')
    return found


def _option(text):
    """Its name: -D/path and --pgdata=path are -D and --pgdata."""
    text = ('%s' % (text,)).strip()
    return re.split('[= ]', text)[0] if text.startswith('--') else text[:2]


def _kilobytes(rate):
    """0 for what is no rate."""
    number = rate[:-1] if rate[-1] in 'kM' else rate
    if not number or set(number) - set('0123456789'):
        return 0
    return int(number) * (1024 if rate.endswith('M') else 1)


def _compress(host):
    version, method = _integer(host.get('postgresql_version')), (host.get('clone') or {}).get('compress')
    if not method or version is None or version >= COMPRESSES:
        return []
    return _say(host, 'repmgr_clone_compress is "%s" and PostgreSQL %d does not compress what it sends' % (method, version),
                'PostgreSQL %d or later' % COMPRESSES, 'Leave out repmgr_clone_compress.')


def _seconds(value):
    """Of a number with PostgreSQL's unit, as of '6s'; a plain number is milliseconds. None where it is neither."""
    text = ('%s' % (value,)).strip()
    for unit, factor in (('ms', 0.001), ('min', 60.0), ('s', 1.0), ('', 0.001)):
        if text.endswith(unit):
            number = _integer(text[:len(text) - len(unit)].strip())
            return None if number is None else number * factor
    return None


def _timing(host):
    """A primary that is cut off has to stop before repmgrd can give it up, and be out of everybody's memory by then."""
    if not host.get('timing'):
        return []
    timing = dict(host['timing'])
    for name in ('monitor_interval', 'reconnect_attempts', 'reconnect_interval', 'attempt', 'isolation'):
        # Templates make text of numbers.
        timing[name] = _integer(timing[name])
        if timing[name] is None or timing[name] < 1:
            return _say(host, '%s is "%s"' % (name, host['timing'][name]), 'a number of 1 or more', 'Correct repmgr_settings.')
    # Who is cut off answers no attempt to connect.
    window = timing['reconnect_attempts'] * timing['attempt'] + (timing['reconnect_attempts'] - 1) * timing['reconnect_interval']
    shown = 'reconnect_attempts %d x %d s + (%d - 1) x reconnect_interval %d = %d s' % (
        timing['reconnect_attempts'], timing['attempt'], timing['reconnect_attempts'], timing['reconnect_interval'], window)
    wal = _seconds(timing['wal_sender_timeout'])
    found = []
    if window < timing['isolation'] + 1:
        found += _say(host, shown, 'at least %d s, because a primary that is cut off stops after %d s (profile %s)' % (
            timing['isolation'] + 1, timing['isolation'], host.get('profile')), 'Correct repmgr_settings, or choose another repmgr_failover_profile.')
    if window <= 2 * timing['monitor_interval']:
        found += _say(host, shown, 'more than twice monitor_interval_secs %d, for which repmgrd takes a primary as seen' % timing['monitor_interval'],
                      'Correct repmgr_settings.')
    if wal is None or wal == 0 or wal >= window:
        found += _say(host, 'wal_sender_timeout is "%s"' % (timing['wal_sender_timeout'],), 'less than %s, and not 0' % shown,
                      'Correct repmgr_postgresql_settings.')
    return found


def _two_nodes(hosts):
    data_nodes = [host for host in hosts if 'witness' not in (host.get('groups') or [])]
    if len(data_nodes) != 2 or len(hosts) != 2 or any(host.get('allow_two_nodes', True) for host in hosts):
        return []
    return [message(', '.join('%s' % host.get('name') for host in hosts), 'two nodes and no witness: neither is a majority, so nobody can be promoted',
                    'a witness or a third node', ['Add one, or set repmgr_allow_two_nodes: true.', _steps.playbook(
                        'failover', reason='A node is then promoted by')])]


def _synchronous(hosts):
    data_nodes = [host for host in hosts if 'witness' not in (host.get('groups') or [])]
    found = []
    for host in data_nodes:
        number = _integer(host.get('synchronous') or 0)
        if number is None or not 0 <= number <= max(0, len(data_nodes) - 1):
            found += _say(host, 'repmgr_synchronous is "%s"' % (host.get('synchronous'),), 'a number from 0 to %d, how many standbys there can be' % max(
                0, len(data_nodes) - 1), 'Correct repmgr_synchronous.')
    numbers = set('%s' % host.get('synchronous') for host in data_nodes)
    if not found and len(numbers) > 1:
        found.append(message(', '.join('%s' % host.get('name') for host in data_nodes), 'repmgr_synchronous is %s' % ' and '.join(sorted(numbers)),
                             'the same on all nodes', 'Set repmgr_synchronous once for the cluster.'))
    return found


def _data_nodes(hosts):
    return [host for host in hosts if 'witness' not in (host.get('groups') or [])]


def _names(host):
    found = []
    for key, taken, own in (('user', TAKEN_USERS, 'role'), ('database', TAKEN_DATABASES, 'database')):
        value = host.get(key)
        if value is None:
            continue
        # community.postgresql takes Public for PUBLIC, and would give everybody what is repmgr's.
        if ('%s' % (value,)).lower() in taken or ('%s' % (value,)).lower().startswith('pg_'):
            found += _say(host, 'repmgr_%s is "%s"' % (key, value), 'a %s of its own, because the collection sets its rights and who may use it' % own,
                          'Choose another repmgr_%s.' % key)
        elif not NAME.match('%s' % (value,)):
            found += _say(host, 'repmgr_%s is "%s"' % (key, value), 'a letter or _, followed by up to 62 letters, digits and any of _ . -',
                          'Correct repmgr_%s.' % key)
    return found


def _within(path, folder):
    return path == folder or path.startswith(folder.rstrip('/') + '/')


def _is_path(value):
    return bool(PATH.match(value)) and '/../' not in value + '/' and value.strip('/') != ''


def _data_directory(host):
    value = '%s' % (host.get('data_directory') or '',)
    if not value:
        return []
    path = posixpath.normpath(value)
    if not _is_path(value):
        return _say(host, 'repmgr_data_directory is "%s"' % value, 'the absolute path of a folder, without blanks, quotes and ..',
                    'Correct repmgr_data_directory, or leave it out.')
    around = [place for place in host.get('places') or [] if _within(posixpath.normpath(place), path)]
    if around or any(_within(path, place) for place in VOLATILE):
        return _say(host, 'repmgr_data_directory is "%s"%s' % (value, ', which holds %s' % around[0] if around else ''),
                    'a folder for nothing else that outlives a boot', 'Correct repmgr_data_directory, or leave it out.')
    return []


def _ssh_port(host):
    value = (host.get('peer') or {}).get('ssh_port')
    number = _integer(value)
    if _empty(value):
        return []
    if number is None or not 0 < number < 65536:
        return _say(host, 'repmgr_ssh_port is "%s"' % (value,), 'a number from 1 to 65535', 'Correct repmgr_ssh_port.')
    if number == _integer(host.get('port')):
        return _say(host, 'repmgr_port and repmgr_ssh_port are %d' % number, 'a port for each', 'Correct one of them.')
    return []


def _metrics(host):
    metrics = host.get('metrics') or {}
    if not metrics.get('wanted'):
        return []
    directory, interval, found = '%s' % (metrics.get('directory') or '',), _integer(metrics.get('interval')), []
    data = posixpath.normpath('%s' % (host.get('data_directory') or '/nowhere',))
    if not _is_path(directory):
        found += _say(host, 'repmgr_metrics_directory is "%s"' % directory, 'the absolute path of a folder, without blanks, quotes and ..',
                      'Correct repmgr_metrics_directory.')
    elif _within(posixpath.normpath(directory), data):
        found += _say(host, 'repmgr_metrics_directory is "%s", which is in repmgr_data_directory' % directory,
                      'a folder of its own, because a new copy replaces all of the data directory', 'Correct repmgr_metrics_directory.')
    if interval is None or interval < 1:
        found += _say(host, 'repmgr_metrics_interval is "%s"' % (metrics.get('interval'),), 'a number of 1 or more', 'Correct repmgr_metrics_interval.')
    return found


def _routing(host):
    """Health endpoints, and what proxies serve; what several clusters have on one proxy is compared there (_routing.proxy_problems)."""
    routing, found, used = host.get('routing') or {}, [], {}
    if not routing:
        return []
    proxies = routing.get('proxies') or []
    if routing.get('unknown_group'):
        found += _say(host, 'repmgr_proxy_group is "%s"' % (routing['unknown_group'],), 'a group of the inventory, or nothing where there is no proxy',
                      'Correct repmgr_proxy_group, or make that group.')
    names = [('repmgr_port', host.get('port')), ('repmgr_ssh_port', (host.get('peer') or {}).get('ssh_port'))]
    names += [('repmgr_health_port', routing.get('port'))] if routing.get('wanted') else []
    names += [('repmgr_rw_port', routing.get('rw_port')), ('repmgr_ro_port', routing.get('ro_port')),
              ('repmgr_proxy_stats_port', routing.get('stats_port'))] if proxies else []
    for variable, value in names:
        number = _integer(value)
        if number is not None and number in used:
            # Those two are compared above.
            if used[number] != 'repmgr_port' or variable != 'repmgr_ssh_port':
                found += _say(host, '%s and %s are %d' % (used[number], variable, number), 'a port for each', 'Correct one of them.')
        elif variable not in ('repmgr_port', 'repmgr_ssh_port'):
            found += _port_number(host, 0 if _empty(value) else value, variable)
        used.setdefault(number, variable)
    if not proxies:
        return found
    if not routing.get('wanted') and 'witness' not in (host.get('groups') or []):
        found += _say(host, 'repmgr_health is false, and the group of proxies has %s' % ', '.join(proxies),
                      'repmgr_health true, because a proxy finds the primary by it', 'Correct repmgr_health, or take the hosts out of that group.')
    if not _SIZE.match('%s' % (routing.get('ro_lag'),)):
        found += _say(host, 'repmgr_ro_lag is "%s"' % (routing.get('ro_lag'),), 'a number of bytes, or one with kB, MB, GB or TB', 'Correct repmgr_ro_lag.')
    if not _ADDRESS.match('%s' % (routing.get('stats_address'),)):
        found += _say(host, 'repmgr_proxy_stats_address is "%s"' % (routing.get('stats_address'),), 'an IP address, or *',
                      'Correct repmgr_proxy_stats_address.')
    if (_integer(routing.get('connections')) or 0) < 1:
        found += _say(host, 'repmgr_proxy_connections is "%s"' % (routing.get('connections'),), 'a number of 1 or more', 'Correct repmgr_proxy_connections.')
    return found


def _backups(host):
    """What the inventory says of backups; a server has one archive."""
    backup = host.get('backup')
    if not backup:
        return []
    settings = _lower(host.get('server_settings'))
    taken = sorted(name for name in ('archive_command', 'archive_library', 'archive_mode') if name in settings)
    found = _backup.input_problems(dict(backup, archive_command_named=_settings.archives(backup.get('archive_command'))))
    if taken:
        found.append(('repmgr_postgresql_settings has %s beside repmgr_backup' % ', '.join(taken), 'one of the two, because a server has one archive',
                      'Leave it out of repmgr_postgresql_settings.'))
    return [problem for each in found for problem in _say(host, *each)]


def _archive(host):
    settings = _lower(host.get('server_settings'))
    command = settings.get('archive_command', host.get('archive_command'))
    if re.search('[\r\n]', '%s' % (host.get('archive_command') or '',)):
        return _say(host, 'repmgr_archive_command has more than one line', 'one line', 'Write it in one line, in YAML without | or with >-.')
    if command is None or settings.get('archive_library') or not _on(settings.get('archive_mode', True)) or ('%s' % (command,)).strip():
        return []
    return _say(host, 'repmgr_archive_command is empty, with which PostgreSQL keeps all WAL until the disk is full', 'a command',
                'Leave out repmgr_archive_command to archive nothing.')


def _libraries(host):
    own = _lower(host.get('server_settings')).get('shared_preload_libraries')
    variable = 'repmgr_postgresql_settings.shared_preload_libraries' if own is not None else 'repmgr_shared_preload_libraries'
    libraries = own if own is not None else host.get('libraries')
    if libraries is None:
        return []
    names = libraries if isinstance(libraries, (list, tuple)) else ('%s' % (libraries,)).split(',')
    if 'repmgr' in [posixpath.basename(('%s' % (name,)).strip().strip('"')) for name in names]:
        return []
    return _say(host, '%s is "%s"' % (variable, ', '.join('%s' % (name,) for name in names)), 'repmgr among them, without which repmgrd does not run',
                'Add repmgr to %s.' % variable)


def _password(host):
    return [] if _integer(host.get('password_lines')) in (None, 1) else _say(
        host, 'repmgr_password has %s lines' % host['password_lines'], 'one, because a passfile has a line for each server', 'Correct repmgr_password.')


def _lower(settings):
    """PostgreSQL does not tell upper case from lower in names of settings."""
    return dict((('%s' % (name,)).lower(), value) for name, value in (settings or {}).items())


def _on(value):
    return ('%s' % (value,)).strip().lower() not in ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0')


def _owned(host, settings, owned, variable):
    found = []
    for name in sorted(set(settings) & set(owned)):
        found += _say(host, '%s has %s' % (variable, name), 'settings that the collection does not rely on itself',
                      'Set %s instead.' % owned[name] if owned[name] else 'Leave it out of %s.' % variable)
    return found


def _lines(host, settings, variable):
    """Each setting is a line of its file. One that is broken in two, as by a block of YAML, or that has no name, keeps its program from starting."""
    found = []
    for name, value in sorted(settings.items()):
        if not SETTING.match('%s' % (name,)):
            found += _say(host, '%s has "%s"' % (variable, name), 'the name of a setting', 'Correct %s.' % variable)
        elif re.search('[\r\n\0]', '%s' % (value,)):
            found += _say(host, '%s.%s has more than one line' % (variable, name), 'one line', 'Write it in one line, in YAML without | or with >-.')
    return found


def _repmgr_settings(host):
    settings = host.get('repmgr_settings') or {}
    return _owned(host, settings, OWNED_BY_REPMGR_CONF, 'repmgr_settings') + _lines(host, settings, 'repmgr_settings')


def _server_settings(host):
    """What would leave a server that cannot be a standby, or lets nobody in."""
    settings = _lower(host.get('server_settings'))
    found = _owned(host, settings, OWNED_BY_SERVER, 'repmgr_postgresql_settings') + _lines(host, settings, 'repmgr_postgresql_settings')

    def wrong(name, expected):
        return _say(host, 'repmgr_postgresql_settings.%s is "%s"' % (name, settings[name]), expected, 'Correct repmgr_postgresql_settings.')

    # A witness has no standbys.
    replicates = 'witness' not in (host.get('groups') or [])
    # hot_standby and archive are what PostgreSQL before 9.6 called replica, and are taken for it still.
    if replicates and 'wal_level' in settings and ('%s' % settings['wal_level']).lower() not in ('replica', 'logical', 'hot_standby', 'archive'):
        found += wrong('wal_level', 'replica or logical, which standbys need')
    for name, reason in (('hot_standby', 'on, because repmgr asks standbys'), ('full_page_writes', 'on, because pg_rewind needs it')):
        if replicates and name in settings and not _on(settings[name]):
            found += wrong(name, reason)
    if 'track_activities' in settings and not _on(settings['track_activities']):
        found += wrong('track_activities', 'on, because a server tells by it which primary has asked it, and when')
    if _on(settings.get('default_transaction_read_only', False)):
        found += wrong('default_transaction_read_only', 'off, because repmgr writes its records on the primary')
    if 'password_encryption' in settings and ('%s' % settings['password_encryption']).lower() != 'scram-sha-256':
        found += wrong('password_encryption', 'scram-sha-256, which the nodes ask of each other')
    if 'listen_addresses' in settings and not [word for word in ('%s' % settings['listen_addresses']).split(',') if word.strip() not in (
            '', 'localhost', '127.0.0.1', '::1')]:
        found += wrong('listen_addresses', 'an address that the other nodes reach')
    return found


def _rules(host):
    found = []
    for rule in (host.get('hba') or {}).get('extra') or []:
        problem = _hba.problem(rule)
        if problem:
            found += _say(host, 'an entry of repmgr_pg_hba_extra %s' % problem, 'rules that PostgreSQL can read, because it does not start with others',
                          'Correct repmgr_pg_hba_extra.')
    return found


def _witness_upstream(host):
    if 'witness' not in (host.get('groups') or []) or _empty(host.get('upstream')):
        return []
    return _say(host, 'is a witness and repmgr_upstream is "%s"' % (host['upstream'],), 'nothing, because a witness does not replicate',
                'Set repmgr_upstream of standbys only.')


def _electable(hosts):
    """Priority 0 is "never promoted"."""
    data_nodes = _data_nodes(hosts)
    if len(data_nodes) < 2 or any(host.get('failover') != 'automatic' or _integer(host.get('priority')) != 0 for host in data_nodes):
        return []
    return [message(', '.join('%s' % host.get('name') for host in data_nodes), 'repmgr_failover is automatic and repmgr_priority is 0 on all data nodes',
                    'a node that may be promoted', "Correct repmgr_priority, or set repmgr_failover: manual.")]


def _connections(hosts):
    """Each standby streams, and has a slot on the primary; one more connection is for a copy."""
    count, found = len(_data_nodes(hosts)), []
    for host in _data_nodes(hosts):
        settings = _lower(host.get('server_settings'))
        for name, least in (('max_wal_senders', count), ('max_replication_slots', count)):
            number = _integer(settings.get(name))
            if name in settings and (number is None or number < least):
                found += _say(host, 'repmgr_postgresql_settings.%s is "%s"' % (name, settings[name]), 'at least %d for %d data nodes' % (least, count),
                              'Correct repmgr_postgresql_settings.')
    return found


def _same(hosts, key, variable):
    """What the nodes say to each other, so that it cannot differ."""
    values = sorted(set('%s' % host[key] for host in hosts if host.get(key) is not None))
    if len(values) < 2:
        return []
    return [message(', '.join('%s' % host.get('name') for host in hosts), '%s is %s' % (variable, ' and '.join(value or 'off' for value in values)),
                    'the same on all nodes', 'Set %s once for the cluster.' % variable)]


def _same_backup(hosts):
    """One cluster has one repository, whoever is primary."""
    found = []
    for key in ('tool', 'repository', 'group'):
        values = sorted(set('%s' % (host.get('backup') or {}).get(key, 'none') for host in hosts if host.get('backup') is not None))
        if len(values) > 1 and not found:
            found.append(message(', '.join('%s' % host.get('name') for host in hosts), 'repmgr_backup%s is not the same' % (
                '' if key == 'tool' else '_' + key), 'the same on all nodes', 'Set it once for the cluster.'))
    return found


def _one_lease(hosts):
    """How long a primary that is cut off goes on, and whether it stops at all, is what the others wait for: all have to mean the same."""
    found = []
    for key, variable, allowed in (('profile', 'repmgr_failover_profile', PROFILES), ('failover', 'repmgr_failover', FAILOVER)):
        holders = {}
        for host in hosts:
            if host.get(key) in allowed:
                holders.setdefault(host[key], []).append('%s' % host.get('name'))
        if len(holders) > 1:
            found.append(message(', '.join(name for value in sorted(holders) for name in holders[value]), '%s is %s' % (
                variable, '; '.join('%s on %s' % (value, ', '.join(holders[value])) for value in sorted(holders))), 'the same on all nodes',
                'Set %s once for the cluster.' % variable))
    return found


def _package_source(host):
    # Known only once the host was asked.
    return [] if host.get('unreachable') and _empty(host.get('package_source')) else _one_of(
        host, 'package_source', 'repmgr_package_source', PACKAGE_SOURCES)


def _port(host):
    return _port_number(host, host.get('port'), 'repmgr_port')


def _port_number(host, value, variable):
    number = _integer(value)
    if _empty(value) or (number is not None and 0 < number < 65536):
        return []
    return _say(host, '%s is "%s"' % (variable, value), 'a number from 1 to 65535', 'Correct %s.' % variable)


def _priority(host):
    value = host.get('priority')
    number = _integer(value)
    if _empty(value) or (number is not None and number >= 0):
        return []
    return _say(host, 'repmgr_priority is "%s"' % (value,), 'a number, 0 for a node that is never promoted', 'Correct repmgr_priority.')


def _system(host):
    family, distribution = host.get('os_family'), host.get('distribution') or ''
    major = _integer(('%s' % (host.get('distribution_major') or '')).split('.')[0])
    shown = ('%s %s' % (distribution or family or 'unknown', host.get('distribution_major') or '')).strip()
    expected = 'Enterprise Linux 7 or later, Debian 11 or later, or Ubuntu 20.04 or later'
    supported = False
    if family == 'RedHat':
        supported = major is not None and major >= OLDEST_EL
    elif family == 'Debian':
        # A release that has no number yet is newer than any that has one.
        supported = (major is None and distribution == 'Debian') or (major is not None and major >= OLDEST.get(distribution, 0))
    return [] if supported else _say(host, 'runs %s' % shown, expected, 'Take the host out of the inventory, or upgrade it.')


def _version(host):
    value = host.get('postgresql_version')
    number = _integer(value)
    if number is not None and VERSIONS[0] <= number <= VERSIONS[1]:
        return []
    return _say(host, 'repmgr_postgresql_version is "%s"' % ('' if value is None else value), 'a major version from %d to %d' % VERSIONS,
                'Correct repmgr_postgresql_version.')


def _service_manager(host):
    value = host.get('service_mgr')
    if value == 'systemd':
        return []
    return _say(host, 'services are managed by %s' % (value or 'nothing that is known'), 'systemd', 'Take the host out of the inventory.')


def _unique(hosts, key, what, command):
    holders = {}
    for host in hosts:
        value = key(host)
        if value is not None:
            holders.setdefault(value, []).append(host.get('name') or '(no name)')
    found = []
    for value in sorted(holders, key=lambda item: '%s' % (item,)):
        names = holders[value]
        if len(names) > 1:
            found.append(message(', '.join(names), '%s %s is used %s' % (what, value, 'twice' if len(names) == 2 else '%d times' % len(names)),
                                 'a different one for each host', command))
    return found


def _one_version(hosts):
    versions = {}
    for host in hosts:
        number = _integer(host.get('postgresql_version'))
        if number is not None and not host.get('unreachable'):
            versions.setdefault(number, []).append(host.get('name') or '(no name)')
    if len(versions) < 2:
        return []
    shown = '; '.join('%d on %s' % (number, ', '.join(versions[number])) for number in sorted(versions))
    return [message(', '.join(name for number in sorted(versions) for name in versions[number]),
                    'different major versions of PostgreSQL: %s' % shown, 'one version in the whole cluster',
                    'Set repmgr_postgresql_version once for the cluster.')]


def _upstreams(hosts):
    """A standby replicates from a data node of its own cluster."""
    data_nodes = [host.get('name') for host in hosts if 'witness' not in (host.get('groups') or [])]
    found = []
    for host in hosts:
        value = host.get('upstream')
        others = [name for name in data_nodes if name != host.get('name')]
        if not _empty(value) and value not in others:
            found += _say(host, 'repmgr_upstream is "%s"' % (value,),
                          'another data node of its cluster (%s), or nothing for the live primary' % ', '.join('%s' % name for name in others),
                          'Correct repmgr_upstream.')
    above = dict((host.get('name'), host.get('upstream')) for host in hosts)
    for host in hosts if not found else []:
        seen, name = [], host.get('name')
        while name in above and not _empty(above[name]) and name not in seen:
            seen.append(name)
            name = above[name]
        if name == host.get('name') and seen:
            found += _say(host, 'repmgr_upstream leads back to it: %s' % ' <- '.join('%s' % word for word in seen + [name]),
                          'a way up to the primary', 'Correct repmgr_upstream.')
    return found
