# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what the inventory says, checked before any host is changed. Whether a cluster exists is not asked here."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

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
OLDEST = {'Debian': 11, 'Ubuntu': 20}
OLDEST_EL = 7


def contract_problems(hosts):
    """hosts: one dictionary for each host of one cluster -> messages. Values that are not defined are null or empty."""
    found = []
    for host in hosts:
        for check in (_cluster_name, _node_id, _group, _profile, _package_source, _port, _priority, _tls, _insecure, _timing, _auto_rejoin, _clone):
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
    found += _synchronous(hosts)
    found += _one_lease(hosts)
    found += _upstreams(hosts)
    return found


def _say(host, seen, expected, command):
    return [message(host.get('name') or '(no name)', seen, expected, command)]


def _empty(value):
    return value is None or '%s' % (value,) == ''


def _integer(value):
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int('%s' % (value,))
    except ValueError:
        return None


def _number_id(host):
    number = _integer(host.get('node_id'))
    return number if number is not None and number > 0 else None


def _endpoint(host):
    return None if _empty(host.get('address')) else '%s port %s' % (host.get('address'), host.get('port') or 5432)


def _cluster_name(host):
    if _empty(host.get('cluster')):
        return _say(host, 'repmgr_cluster_name is not set', 'the name of the cluster that the host belongs to',
                    'Set repmgr_cluster_name for the host or its group.')
    return []


def _node_id(host):
    value = host.get('node_id')
    if _empty(value):
        return _say(host, 'repmgr_node_id is not set', 'a positive number that is unique in the cluster and never changes',
                    'Set repmgr_node_id for the host.')
    if _number_id(host) is None:
        return _say(host, 'repmgr_node_id is "%s"' % (value,), 'a positive number that is unique in the cluster and never changes',
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
    return found


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
                    'a witness or a third node', 'Add one, or set repmgr_allow_two_nodes: true and promote by playbooks/failover.yml.')]


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
    value = host.get('port')
    number = _integer(value)
    if _empty(value) or (number is not None and 0 < number < 65536):
        return []
    return _say(host, 'repmgr_port is "%s"' % (value,), 'a number from 1 to 65535', 'Correct repmgr_port.')


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
