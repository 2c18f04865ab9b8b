# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: how applications are led to the primary: what a proxy serves, and what is wrong with that."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _proxies, _routes, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._check_timing import timing
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer, message


def served(records):
    """[{name, address, port, health_port, tls}] of the nodes with data. records: what each host of a cluster has recorded."""
    return [{'name': record['name'], 'node_name': '%s' % record['node_name'], 'address': '%s' % record['address'], 'port': integer(record['port']),
             'health_port': integer(record['routing']['port'])} for record in records if 'witness' not in record['groups']]


def proxy_plan(members, proxy):
    """What a proxy serves, of the clusters that this run has looked at.

    members: {cluster: (speaker, [record])}; the speaker is a host that has the cluster's CA. [{cluster, speaker, nodes, ...}] in order.
    """
    found = []
    for name in sorted(members):
        speaker, records = members[name]
        first = [record for record in records if record['name'] == speaker][0]
        routing = first['routing']
        if proxy not in routing['proxies']:
            continue
        root = first['tls_files'].get('root')
        found.append({
            'cluster': name, 'speaker': speaker, 'nodes': served(records), 'rw_port': integer(routing['rw_port']), 'ro_port': integer(routing['ro_port']),
            'ro_lag': '%s' % routing['ro_lag'], 'ro_fallback': routing['ro_fallback'], 'tls': routing['tls'], 'root': root,
            # A managed certificate names the node, one that was provided the address by which it is reached; HAProxy compares names alone.
            'verify': '' if not routing['tls'] else 'address' if first['tls'] == 'provided' else 'node_name',
            'timing': timing(first['timing']), 'stats_address': '%s' % routing['stats_address'], 'stats_port': integer(routing['stats_port']),
            'connections': integer(routing['connections']),
            'here': [[variable, integer(value)] for record in records if record['name'] == proxy for variable, value in (
                ('repmgr_port', record['port']), ('repmgr_health_port', routing['port']), ('repmgr_ssh_port', record['peer']['ssh_port']))]})
    return found


def proxy_looks(records, began, connect_timeout):
    """{proxy: {address, port, expected, seconds, began, connect_timeout}} of the proxies that status asks where they send writes.

    records: what each host has recorded, of any number of clusters. expected: {backend: [node]}. seconds: for how long a proxy that disagrees is asked again,
    because the primary may just have changed. began: when the nodes were observed. A proxy that was not reached as a node is left out.
    """
    clusters, found = {}, {}
    gone = set(record['name'] for record in records if record['unreachable'])
    for record in records:
        clusters.setdefault('%s' % record['cluster'], []).append(record)
    for name, members in sorted(clusters.items()):
        proxies = [(proxy, record) for record in members for proxy in record['routing']['proxies'] if proxy not in gone]
        primary = _verdict.verdict(_verdict.hosts_from(members), deploying=False)['primary'] if proxies else None
        expected = ['%s' % record['node_name'] for record in members if record['name'] == primary]
        for proxy, record in proxies:
            look = found.setdefault(proxy, {
                'address': _proxies.address_of('%s' % record['routing']['stats_address']), 'port': integer(record['routing']['stats_port']), 'expected': {},
                'seconds': 0, 'began': began, 'connect_timeout': connect_timeout})
            if expected:
                look['expected'][_proxies.sections(name)['read_write']] = expected
                look['seconds'] = max(look['seconds'], _routes.settles(record.get('timing')))
    return found


def listeners(text):
    """{port: [programs]} of `ss -Hltnp`."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        port = integer(words[3].rpartition(':')[2]) if len(words) > 3 else None
        if port:
            found.setdefault(port, []).extend(re.findall(r'\("([^"]+)"', words[5]) if len(words) > 5 else [])
    return found


def bound(text):
    """{file: [ports]} of `grep -H bind` in our own configuration."""
    found = {}
    for line in text.splitlines():
        match = re.match(r'(?:.*/)?([^/:]+\.cfg):\s*bind\s+\S*:(\d+)', line)
        if match:
            found.setdefault(match.group(1), []).append(int(match.group(2)))
    return found


def proxy_problems(plan, proxy, listening, installed):
    """Why this proxy is not configured: each a message that says what to do. listening: of listeners; installed: of bound."""
    used, found = {}, []

    def take(port, what):
        if port in used:
            found.append(message(proxy, 'port %d is wanted by %s and by %s' % (port, used[port], what), 'a port for each',
                                 'Correct one of these variables, and run again.'))
        else:
            used[port] = what

    known = set(cluster_file(cluster['cluster']) for cluster in plan)
    for name in sorted(set(installed) - known - set([GLOBAL])):
        for port in installed[name]:
            take(port, '%s, which serves another cluster' % name)
    for cluster in plan:
        for variable, port in cluster['here']:
            take(port, '%s of cluster %s, which has a node here' % (variable, cluster['cluster']))
    stats = sorted(set((cluster['stats_address'], cluster['stats_port'], cluster['connections']) for cluster in plan))
    if len(stats) > 1:
        seen = '; '.join('%s, %s, %s' % row for row in stats)
        found.append(message(
            proxy, 'its clusters have different repmgr_proxy_stats_address, repmgr_proxy_stats_port or repmgr_proxy_connections: ' + seen,
            'the same for all clusters of a proxy', 'Correct them, and run again.'))
    for cluster in plan:
        take(cluster['rw_port'], 'repmgr_rw_port of cluster %s' % cluster['cluster'])
        take(cluster['ro_port'], 'repmgr_ro_port of cluster %s' % cluster['cluster'])
    if plan:
        take(plan[0]['stats_port'], 'repmgr_proxy_stats_port')
    ours = set(port for ports in installed.values() for port in ports)
    wanted = [(port, variable) for cluster in plan for port, variable in (
        (cluster['rw_port'], 'repmgr_rw_port of cluster %s' % cluster['cluster']), (cluster['ro_port'], 'repmgr_ro_port of cluster %s' % cluster['cluster']))]
    wanted += [(plan[0]['stats_port'], 'repmgr_proxy_stats_port')] if plan else []
    for port, variable in wanted:
        programs = listening.get(port)
        if programs is not None and not (port in ours and (not programs or 'haproxy' in programs)):
            found.append(message(proxy, '%s is %d, and %s listens on that port' % (variable, port, ' and '.join(sorted(set(programs))) or 'some program'),
                                 'a port that is free', 'Choose another one, or stop that program, and run again.'))
    return found


GLOBAL = '00-global.cfg'


def cluster_file(cluster):
    return 'cluster-%s.cfg' % cluster


def proxy_addresses(hosts):
    """The addresses of the proxies' inventory entries; those that are names are left out, as a firewall knows none."""
    found = ['%s' % (host.get('repmgr_address') or host.get('ansible_host') or host.get('inventory_hostname')) for host in hosts]
    return [address for address in found if re.match(r'\d+(\.\d+){3}\Z|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\Z', address)]


def firewall_entries(record, hosts, port):
    """['ADDRESS PORT'] that a node opens to its proxies, which connect in the name of their clients, and ask which node is the primary.

    record: of the node. hosts: the proxies' inventory entries. port: the node's port of PostgreSQL.
    """
    routing = record.get('routing') or {}
    if not routing.get('wanted') or 'witness' in record['groups']:
        return []
    return ['%s %s' % (address, each) for address in proxy_addresses(hosts) for each in (port, routing['port'])]
