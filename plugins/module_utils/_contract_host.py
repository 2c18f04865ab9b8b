# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: checks of the variables of one host, and of its operating system."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import posixpath
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract_values import PROFILES, flaw, is_empty, one_of
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer as _integer

# Empty is off.
TLS = ('managed', 'provided', '')
INSECURE = ('trust', 'superuser', 'unverified_hosts')
PACKAGE_SOURCES = ('pgdg', 'distro', 'none')
VERSIONS = (10, 18)
CLONE_FROM = ('primary', 'standby')
CLONE_COMPRESS = ('gzip', 'lz4', 'zstd')
# The first major version that can compress a base backup in plain format on its way.
COMPRESSES = 15
# The limits of pg_basebackup, in kB/s.
RATES = (32, 1048576)

AUTO_REJOIN = ('rewind', 'attach', 'off')
# The name of a node is its application_name, which PostgreSQL truncates to 63 bytes. The name of a cluster is part of the common name of its CA, after
# `repmgr cluster `, and X.509 limits that to 64 characters.
NODE_NAME_LENGTH = 63
CLUSTER_NAME_LENGTH = 64 - len('repmgr cluster ')
# No characters with a meaning in systemd units, shells or SQL.
_NAME = re.compile('[A-Za-z0-9][A-Za-z0-9._-]*\\Z')
_SIZE = re.compile('[0-9]{1,15}([kMGT]?B)?\\Z')
_ADDRESS = re.compile('([*]|[0-9]+([.][0-9]+){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\\Z')
_LOCATION = re.compile('[A-Za-z0-9][A-Za-z0-9 ._:/+-]*\\Z')
OLDEST = {'Debian': 11, 'Ubuntu': 20}
OLDEST_EL = 7
# The greatest value of PostgreSQL's type integer, the type of the column in repmgr.nodes.
GREATEST_ID = 2147483647
# Keywords of pg_hba.conf.
RULE_WORDS = ('all', 'sameuser', 'samerole', 'samegroup', 'replication')
# The collection sets the password of its role and the rights on its database, so neither may be one of PostgreSQL's own.
TAKEN_USERS = RULE_WORDS + ('postgres', 'public', 'none', 'user', 'current_user', 'current_role', 'session_user')
TAKEN_DATABASES = RULE_WORDS + ('postgres', 'template0', 'template1')
NAME = re.compile(r'^[A-Za-z_][A-Za-z0-9_.-]{0,62}\Z')

# Removed at boot, or not a file system for data.
VOLATILE = ('/dev', '/proc', '/run', '/sys', '/tmp', '/var/run')
PATH = re.compile(r'^/[A-Za-z0-9_.,:@+=/-]+\Z')

# Options of `repmgr standby clone` that overwrite data, or make no clone.
UNUSABLE_CLONE_OPTIONS = ('--force', '-F', '--dry-run', '--replication-conf-only', '--recovery-conf-only', '--pgdata', '-D')


def number_id(host):
    number = _integer(host.get('node_id'))
    return number if number is not None and number > 0 else None


def check_cluster_name(host):
    if is_empty(host.get('cluster')):
        return flaw(host, 'repmgr_cluster_name is not set', 'the name of the cluster that the host belongs to',
                    'Set repmgr_cluster_name for the host or its group.')
    return _name(host, 'cluster', 'repmgr_cluster_name', CLUSTER_NAME_LENGTH)


def _name(host, key, variable, longest):
    value = '%s' % (host.get(key),)
    if _NAME.match(value) and len(value) <= longest:
        return []
    return flaw(host, '%s is "%s"' % (variable, value), 'letters, digits, dots, dashes and underscores, the first one a letter or a digit, and '
                'no more than %d of them' % longest, 'Correct %s.' % variable)


def check_node_name(host):
    return [] if host.get('node_name') is None else _name(host, 'node_name', 'repmgr_node_name', NODE_NAME_LENGTH)


def check_location(host):
    value = host.get('location')
    if value is None or _LOCATION.match('%s' % (value,)):
        return []
    return flaw(host, 'repmgr_location is "%s"' % (value,), 'letters, digits, blanks and . _ : / + -, the first one a letter or a digit',
                'Correct repmgr_location.')


def check_node_id(host):
    value = host.get('node_id')
    if is_empty(value):
        return flaw(host, 'repmgr_node_id is not set', 'a positive number that is unique in the cluster and never changes',
                    'Set repmgr_node_id for the host.')
    if number_id(host) is None:
        return flaw(host, 'repmgr_node_id is "%s"' % (value,), 'a positive number that is unique in the cluster and never changes',
                    'Correct repmgr_node_id of the host.')
    if number_id(host) > GREATEST_ID:
        return flaw(host, 'repmgr_node_id is %d' % number_id(host), 'a number up to %d, which is what repmgr can store' % GREATEST_ID,
                    'Correct repmgr_node_id of the host.')
    return []


def check_group(host):
    groups = list(host.get('groups') or [])
    if not groups:
        return flaw(host, 'is in no role group', 'exactly one of the groups primary, standby and witness',
                    'Put the host into one of them.')
    if len(groups) > 1:
        return flaw(host, 'is in the groups %s' % ' and '.join(groups), 'exactly one of the groups primary, standby and witness',
                    'Leave the host in one of them.')
    return []


def check_profile(host):
    return one_of(host, 'profile', 'repmgr_failover_profile', PROFILES)


def check_tls(host):
    mode = host.get('tls') or ''
    if mode not in TLS:
        return flaw(host, 'repmgr_tls is "%s"' % (mode,), "one of managed, provided, 'off'", 'Correct repmgr_tls.')
    if mode != 'provided':
        return []
    files = host.get('tls_files') or {}
    missing = ['repmgr_tls_%s is "%s"' % (name, files.get(name) or '') for name in ('certificate', 'key', 'root')
               if not ('%s' % (files.get(name) or '')).startswith('/')]
    return flaw(host, '; '.join(missing), 'the path of a file on the host', 'Set it, or leave out repmgr_tls.') if missing else []


def check_insecure(host):
    unknown = ['%s' % (word,) for word in host.get('insecure') or [] if word not in INSECURE]
    return flaw(host, 'repmgr_insecure has %s' % ', '.join(unknown), 'nothing but %s' % ', '.join(INSECURE),
                'Correct repmgr_insecure, or leave it out.') if unknown else []


def check_auto_rejoin(host):
    return [] if host.get('auto_rejoin') is None else one_of(host, 'auto_rejoin', 'repmgr_auto_rejoin', AUTO_REJOIN)


def check_clone(host):
    """Values that pg_basebackup would refuse only when a standby is cloned."""
    clone = host.get('clone') or {}
    problems = [] if clone.get('from') is None else one_of(clone, 'from', 'repmgr_clone_from', CLONE_FROM, host)
    rate = '%s' % (clone.get('max_rate') or '',)
    if rate and not RATES[0] <= _kilobytes(rate) <= RATES[1]:
        problems += flaw(host, 'repmgr_clone_max_rate is "%s"' % rate, 'kilobytes a second with k or megabytes with M, from 32k to 1024M',
                         'Correct repmgr_clone_max_rate, or leave it out.')
    if clone.get('compress'):
        problems += one_of(clone, 'compress', 'repmgr_clone_compress', CLONE_COMPRESS, host)
    if clone.get('own_options') and (rate or clone.get('compress')):
        problems += flaw(host, 'repmgr_settings has pg_basebackup_options, which would replace repmgr_clone_max_rate and repmgr_clone_compress',
                         'one of the two', 'Put all of it into pg_basebackup_options, or leave it out.')
    unusable = ['%s' % (option,) for option in clone.get('options') or [] if _option(option) in UNUSABLE_CLONE_OPTIONS]
    if unusable:
        problems += flaw(host, 'repmgr_clone_options has %s' % ', '.join(unusable), 'options that do not change whether and where a clone is made',
                         'Leave it out of repmgr_clone_options.')
    return problems


def _option(text):
    """The name of an option: -D/path is -D, --pgdata=path is --pgdata."""
    text = ('%s' % (text,)).strip()
    return re.split('[= ]', text)[0] if text.startswith('--') else text[:2]


def _kilobytes(rate):
    """A rate in kB/s; 0 if it is not a rate."""
    number = rate[:-1] if rate[-1] in 'kM' else rate
    if not number or set(number) - set('0123456789'):
        return 0
    return int(number) * (1024 if rate.endswith('M') else 1)


def check_compress(host):
    version, method = _integer(host.get('postgresql_version')), (host.get('clone') or {}).get('compress')
    if not method or version is None or version >= COMPRESSES:
        return []
    return flaw(host, 'repmgr_clone_compress is "%s" and PostgreSQL %d cannot compress base backups in transit' % (method, version),
                'PostgreSQL %d or later' % COMPRESSES, 'Leave out repmgr_clone_compress.')


def _seconds(value):
    """Seconds (float) from a value with a unit of PostgreSQL, such as '6s'; without a unit it is milliseconds. None if it is invalid."""
    text = ('%s' % (value,)).strip()
    for unit, factor in (('ms', 0.001), ('min', 60.0), ('s', 1.0), ('', 0.001)):
        if text.endswith(unit):
            number = _integer(text[:len(text) - len(unit)].strip())
            return None if number is None else number * factor
    return None


def check_timing(host):
    """An isolated primary has to stop before another one can be elected, and repmgrd must not treat it as recently seen by then."""
    if not host.get('timing'):
        return []
    timing = dict(host['timing'])
    for name in ('monitor_interval', 'reconnect_attempts', 'reconnect_interval', 'attempt', 'isolation'):
        # Templates turn numbers into text.
        timing[name] = _integer(timing[name])
        if timing[name] is None or timing[name] < 1:
            return flaw(host, '%s is "%s"' % (name, host['timing'][name]), 'a number of 1 or more', 'Correct repmgr_settings.')
    # An isolated primary answers none of the connection attempts.
    window = timing['reconnect_attempts'] * timing['attempt'] + (timing['reconnect_attempts'] - 1) * timing['reconnect_interval']
    shown = 'reconnect_attempts %d x %d s + (%d - 1) x reconnect_interval %d = %d s' % (
        timing['reconnect_attempts'], timing['attempt'], timing['reconnect_attempts'], timing['reconnect_interval'], window)
    wal = _seconds(timing['wal_sender_timeout'])
    problems = []
    if window < timing['isolation'] + 1:
        problems += flaw(host, shown, 'at least %d s, because an isolated primary stops after %d s (profile %s)' % (
            timing['isolation'] + 1, timing['isolation'], host.get('profile')), 'Correct repmgr_settings, or choose another repmgr_failover_profile.')
    if window <= 2 * timing['monitor_interval']:
        problems += flaw(
            host, shown, 'more than twice monitor_interval_secs %d, the time for which repmgrd treats a primary as seen' % timing['monitor_interval'],
            'Correct repmgr_settings.')
    if wal is None or wal == 0 or wal >= window:
        problems += flaw(host, 'wal_sender_timeout is "%s"' % (timing['wal_sender_timeout'],), 'less than %s, and not 0' % shown,
                         'Correct repmgr_postgresql_settings.')
    return problems


def check_names(host):
    problems = []
    for key, taken, own in (('user', TAKEN_USERS, 'role'), ('database', TAKEN_DATABASES, 'database')):
        value = host.get(key)
        if value is None:
            continue
        # community.postgresql would take Public for PUBLIC, and grant the rights of the repmgr role to all roles.
        if ('%s' % (value,)).lower() in taken or ('%s' % (value,)).lower().startswith('pg_'):
            problems += flaw(host, 'repmgr_%s is "%s"' % (key, value), 'a %s of its own, because the collection sets its rights and who may use it' % own,
                             'Choose another repmgr_%s.' % key)
        elif not NAME.match('%s' % (value,)):
            problems += flaw(host, 'repmgr_%s is "%s"' % (key, value), 'a letter or _, followed by up to 62 letters, digits and any of _ . -',
                             'Correct repmgr_%s.' % key)
    return problems


def _within(path, folder):
    return path == folder or path.startswith(folder.rstrip('/') + '/')


def _is_path(value):
    return bool(PATH.match(value)) and '/../' not in value + '/' and value.strip('/') != ''


def check_data_directory(host):
    value = '%s' % (host.get('data_directory') or '',)
    if not value:
        return []
    path = posixpath.normpath(value)
    if not _is_path(value):
        return flaw(host, 'repmgr_data_directory is "%s"' % value, 'the absolute path of a folder, without blanks, quotes and ..',
                    'Correct repmgr_data_directory, or leave it out.')
    around = [place for place in host.get('places') or [] if _within(posixpath.normpath(place), path)]
    if around or any(_within(path, place) for place in VOLATILE):
        return flaw(host, 'repmgr_data_directory is "%s"%s' % (value, ', which contains %s' % around[0] if around else ''),
                    'a folder of its own on a permanent file system', 'Correct repmgr_data_directory, or leave it out.')
    return []


def check_ssh_port(host):
    value = (host.get('peer') or {}).get('ssh_port')
    number = _integer(value)
    if is_empty(value):
        return []
    if number is None or not 0 < number < 65536:
        return flaw(host, 'repmgr_ssh_port is "%s"' % (value,), 'a number from 1 to 65535', 'Correct repmgr_ssh_port.')
    if number == _integer(host.get('port')):
        return flaw(host, 'repmgr_port and repmgr_ssh_port are %d' % number, 'a port for each', 'Correct one of them.')
    return []


def check_metrics(host):
    metrics = host.get('metrics') or {}
    if not metrics.get('wanted'):
        return []
    directory, interval, problems = '%s' % (metrics.get('directory') or '',), _integer(metrics.get('interval')), []
    data = posixpath.normpath('%s' % (host.get('data_directory') or '/nowhere',))
    if not _is_path(directory):
        problems += flaw(host, 'repmgr_metrics_directory is "%s"' % directory, 'the absolute path of a folder, without blanks, quotes and ..',
                         'Correct repmgr_metrics_directory.')
    elif _within(posixpath.normpath(directory), data):
        problems += flaw(host, 'repmgr_metrics_directory is "%s", which is in repmgr_data_directory' % directory,
                         'a folder outside of it, because a new clone replaces the data directory', 'Correct repmgr_metrics_directory.')
    if interval is None or interval < 1:
        problems += flaw(host, 'repmgr_metrics_interval is "%s"' % (metrics.get('interval'),), 'a number of 1 or more', 'Correct repmgr_metrics_interval.')
    return problems


def check_routing(host):
    """Health endpoints and proxies. Clusters that share a proxy are compared by _routing.proxy_problems."""
    routing, problems, used = host.get('routing') or {}, [], {}
    if not routing:
        return []
    proxies = routing.get('proxies') or []
    if routing.get('unknown_group'):
        problems += flaw(host, 'repmgr_proxy_group is "%s"' % (routing['unknown_group'],), 'a group of the inventory, or nothing where there is no proxy',
                         'Correct repmgr_proxy_group, or make that group.')
    names = [('repmgr_port', host.get('port')), ('repmgr_ssh_port', (host.get('peer') or {}).get('ssh_port'))]
    names += [('repmgr_health_port', routing.get('port'))] if routing.get('wanted') else []
    names += [('repmgr_rw_port', routing.get('rw_port')), ('repmgr_ro_port', routing.get('ro_port')),
              ('repmgr_proxy_stats_port', routing.get('stats_port'))] if proxies else []
    for variable, value in names:
        number = _integer(value)
        if number is not None and number in used:
            # check_ssh_port compares these two.
            if used[number] != 'repmgr_port' or variable != 'repmgr_ssh_port':
                problems += flaw(host, '%s and %s are %d' % (used[number], variable, number), 'a port for each', 'Correct one of them.')
        elif variable not in ('repmgr_port', 'repmgr_ssh_port'):
            problems += _port_number(host, 0 if is_empty(value) else value, variable)
        used.setdefault(number, variable)
    if not proxies:
        return problems
    if not routing.get('wanted') and 'witness' not in (host.get('groups') or []):
        problems += flaw(host, 'repmgr_health is false, and the group of proxies has %s' % ', '.join(proxies),
                         'repmgr_health true, because proxies need it to find the primary', 'Correct repmgr_health, or remove the hosts from that group.')
    if not _SIZE.match('%s' % (routing.get('ro_lag'),)):
        problems += flaw(host, 'repmgr_ro_lag is "%s"' % (routing.get('ro_lag'),), 'a number of bytes, or one with kB, MB, GB or TB', 'Correct repmgr_ro_lag.')
    if not _ADDRESS.match('%s' % (routing.get('stats_address'),)):
        problems += flaw(host, 'repmgr_proxy_stats_address is "%s"' % (routing.get('stats_address'),), 'an IP address, or *',
                         'Correct repmgr_proxy_stats_address.')
    if (_integer(routing.get('connections')) or 0) < 1:
        problems += flaw(host, 'repmgr_proxy_connections is "%s"' % (routing.get('connections'),), 'a number of 1 or more', 'Correct repmgr_proxy_connections.')
    return problems


def check_password(host):
    return [] if _integer(host.get('password_lines')) in (None, 1) else flaw(
        host, 'repmgr_password has %s lines' % host['password_lines'], 'one, because a passfile has a line for each server', 'Correct repmgr_password.')


def check_witness_upstream(host):
    if 'witness' not in (host.get('groups') or []) or is_empty(host.get('upstream')):
        return []
    return flaw(host, 'is a witness and repmgr_upstream is "%s"' % (host['upstream'],), 'nothing, because a witness does not replicate',
                'Set repmgr_upstream of standbys only.')


def check_package_source(host):
    # The default depends on the facts of the host.
    return [] if host.get('unreachable') and is_empty(host.get('package_source')) else one_of(
        host, 'package_source', 'repmgr_package_source', PACKAGE_SOURCES)


def check_port(host):
    return _port_number(host, host.get('port'), 'repmgr_port')


def _port_number(host, value, variable):
    number = _integer(value)
    if is_empty(value) or (number is not None and 0 < number < 65536):
        return []
    return flaw(host, '%s is "%s"' % (variable, value), 'a number from 1 to 65535', 'Correct %s.' % variable)


def check_priority(host):
    value = host.get('priority')
    number = _integer(value)
    if is_empty(value) or (number is not None and number >= 0):
        return []
    return flaw(host, 'repmgr_priority is "%s"' % (value,), 'a number, 0 for a node that is never promoted', 'Correct repmgr_priority.')


def check_system(host):
    family, distribution = host.get('os_family'), host.get('distribution') or ''
    major = _integer(('%s' % (host.get('distribution_major') or '')).split('.')[0])
    shown = ('%s %s' % (distribution or family or 'unknown', host.get('distribution_major') or '')).strip()
    expected = 'Enterprise Linux 7 or later, Debian 11 or later, or Ubuntu 20.04 or later'
    supported = False
    if family == 'RedHat':
        supported = major is not None and major >= OLDEST_EL
    elif family == 'Debian':
        # A release without a number is a newer one, in development.
        supported = (major is None and distribution == 'Debian') or (major is not None and major >= OLDEST.get(distribution, 0))
    return [] if supported else flaw(host, 'runs %s' % shown, expected, 'Remove the host from the inventory, or upgrade it.')


def check_version(host):
    value = host.get('postgresql_version')
    number = _integer(value)
    if number is not None and VERSIONS[0] <= number <= VERSIONS[1]:
        return []
    return flaw(host, 'repmgr_postgresql_version is "%s"' % ('' if value is None else value), 'a major version from %d to %d' % VERSIONS,
                'Correct repmgr_postgresql_version.')


def check_service_manager(host):
    value = host.get('service_mgr')
    if value == 'systemd':
        return []
    return flaw(host, 'services are managed by %s' % (value or 'an unknown program'), 'systemd', 'Remove the host from the inventory.')


# In the order of their messages.
CHECKS = (
    check_cluster_name, check_node_name, check_node_id, check_group, check_profile, check_package_source, check_port, check_priority, check_tls,
    check_insecure, check_timing, check_auto_rejoin, check_clone, check_names, check_location, check_data_directory, check_ssh_port, check_metrics,
    check_routing, check_password, check_witness_upstream)
# They need the facts of the host.
CHECKS_OF_FACTS = (check_system, check_version, check_service_manager, check_compress)
