# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: checks of the hosts of one cluster against each other."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract_values import FAILOVER, PROFILES, data_nodes_of, flaw, is_empty, lower_names
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer as _integer, message


def check_two_nodes(hosts):
    data_nodes = data_nodes_of(hosts)
    if len(data_nodes) != 2 or len(hosts) != 2 or any(host.get('allow_two_nodes', True) for host in hosts):
        return []
    return [message(', '.join('%s' % host.get('name') for host in hosts), 'two nodes and no witness: one node is not a majority, so no standby can be promoted',
                    'a witness or a third node', ['Add one, or set repmgr_allow_two_nodes: true.', _steps.playbook(
                        'failover', reason='Without it, promote a node by')])]


def check_synchronous(hosts):
    data_nodes = data_nodes_of(hosts)
    problems = []
    for host in data_nodes:
        number = _integer(host.get('synchronous') or 0)
        if number is None or not 0 <= number <= max(0, len(data_nodes) - 1):
            problems += flaw(host, 'repmgr_synchronous is "%s"' % (host.get('synchronous'),), 'a number from 0 to %d, the number of possible standbys' % max(
                0, len(data_nodes) - 1), 'Correct repmgr_synchronous.')
    numbers = set('%s' % host.get('synchronous') for host in data_nodes)
    if not problems and len(numbers) > 1:
        problems.append(message(', '.join('%s' % host.get('name') for host in data_nodes), 'repmgr_synchronous is %s' % ' and '.join(sorted(numbers)),
                                'the same on all nodes', 'Set repmgr_synchronous once for the cluster.'))
    return problems or _check_direct_standbys(data_nodes)


def _check_direct_standbys(data_nodes):
    """Only standbys that replicate from the primary directly confirm commits, so with each data node as primary there have to be enough of them."""
    number = _integer(data_nodes[0].get('synchronous') or 0) if data_nodes else 0
    for primary in data_nodes if number else []:
        standbys = [host for host in data_nodes if host is not primary]
        below = [host for host in standbys if not is_empty(host.get('upstream')) and host['upstream'] != primary.get('name')]
        direct = len(standbys) - len(below)
        if number > direct:
            others = ', '.join('%s' % host.get('name') for host in below)
            return flaw(primary, 'repmgr_synchronous is %d, and while it is the primary only %d standby%s would replicate from it directly '
                        '(repmgr_upstream of %s is another node)' % (number, direct, '' if direct == 1 else 's', others),
                        'at most %d, because a commit cannot be confirmed by a standby below another one' % direct,
                        'Lower repmgr_synchronous, or remove repmgr_upstream.')
    return []


def check_electable(hosts):
    """A node with priority 0 is never promoted, so one of the data nodes needs another one."""
    data_nodes = data_nodes_of(hosts)
    if len(data_nodes) < 2 or any(host.get('failover') != 'automatic' or _integer(host.get('priority')) != 0 for host in data_nodes):
        return []
    return [message(', '.join('%s' % host.get('name') for host in data_nodes), 'repmgr_failover is automatic and repmgr_priority is 0 on all data nodes',
                    'a node that may be promoted', "Correct repmgr_priority, or set repmgr_failover: manual.")]


def check_connections(hosts):
    """Each standby needs a connection to the primary and a slot there; one more connection is for a clone."""
    count, problems = len(data_nodes_of(hosts)), []
    for host in data_nodes_of(hosts):
        settings = lower_names(host.get('server_settings'))
        for name, least in (('max_wal_senders', count), ('max_replication_slots', count)):
            number = _integer(settings.get(name))
            if name in settings and (number is None or number < least):
                problems += flaw(host, 'repmgr_postgresql_settings.%s is "%s"' % (name, settings[name]), 'at least %d for %d data nodes' % (least, count),
                                 'Correct repmgr_postgresql_settings.')
    return problems


def check_same(hosts, key, variable):
    """Variables that nodes use to connect to each other, which therefore have to be the same on all of them."""
    values = sorted(set('%s' % host[key] for host in hosts if host.get(key) is not None))
    if len(values) < 2:
        return []
    return [message(', '.join('%s' % host.get('name') for host in hosts), '%s is %s' % (variable, ' and '.join(value or 'off' for value in values)),
                    'the same on all nodes', 'Set %s once for the cluster.' % variable)]


def check_same_backup(hosts):
    """A cluster has one backup repository, which does not depend on which node is the primary."""
    problems = []
    for key in ('tool', 'repository', 'group'):
        values = sorted(set('%s' % (host.get('backup') or {}).get(key, 'none') for host in hosts if host.get('backup') is not None))
        if len(values) > 1 and not problems:
            problems.append(message(', '.join('%s' % host.get('name') for host in hosts), 'repmgr_backup%s is not the same' % (
                '' if key == 'tool' else '_' + key), 'the same on all nodes', 'Set it once for the cluster.'))
    return problems


def check_one_lease(hosts):
    """A promotion waits until an isolated primary has stopped, so all nodes need the same limit."""
    problems = []
    for key, variable, allowed in (('profile', 'repmgr_failover_profile', PROFILES), ('failover', 'repmgr_failover', FAILOVER)):
        holders = {}
        for host in hosts:
            if host.get(key) in allowed:
                holders.setdefault(host[key], []).append('%s' % host.get('name'))
        if len(holders) > 1:
            problems.append(message(', '.join(name for value in sorted(holders) for name in holders[value]), '%s is %s' % (
                variable, '; '.join('%s on %s' % (value, ', '.join(holders[value])) for value in sorted(holders))), 'the same on all nodes',
                'Set %s once for the cluster.' % variable))
    return problems


def check_unique(hosts, key, what, command):
    holders = {}
    for host in hosts:
        value = key(host)
        if value is not None:
            holders.setdefault(value, []).append(host.get('name') or '(no name)')
    problems = []
    for value in sorted(holders, key=lambda item: '%s' % (item,)):
        names = holders[value]
        if len(names) > 1:
            problems.append(message(', '.join(names), '%s %s is used %s' % (what, value, 'twice' if len(names) == 2 else '%d times' % len(names)),
                                    'a different one for each host', command))
    return problems


def check_one_version(hosts):
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


def check_upstreams(hosts):
    """The upstream of a standby is a data node of the same cluster, and upstreams form no cycle."""
    data_nodes = [host.get('name') for host in hosts if 'witness' not in (host.get('groups') or [])]
    problems = []
    for host in hosts:
        value = host.get('upstream')
        others = [name for name in data_nodes if name != host.get('name')]
        if not is_empty(value) and value not in others:
            problems += flaw(host, 'repmgr_upstream is "%s"' % (value,),
                             'another data node of its cluster (%s), or nothing for the live primary' % ', '.join('%s' % name for name in others),
                             'Correct repmgr_upstream.')
    above = dict((host.get('name'), host.get('upstream')) for host in hosts)
    for host in hosts if not problems else []:
        seen, name = [], host.get('name')
        while name in above and not is_empty(above[name]) and name not in seen:
            seen.append(name)
            name = above[name]
        if name == host.get('name') and seen:
            problems += flaw(host, 'repmgr_upstream forms a cycle: %s' % ' <- '.join('%s' % word for word in seen + [name]),
                             'a chain that ends at the primary', 'Correct repmgr_upstream.')
    return problems
