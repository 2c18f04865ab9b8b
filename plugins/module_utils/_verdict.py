# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the observations of all nodes of a cluster -> primary, health, problems with their next steps, and readiness."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _problems_access, _problems_data, _problems_metadata, _problems_replication
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _problems_repmgrd, _problems_servers, _readiness
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Host, integer, plain


def verdict(hosts, deploying=True, further=()):
    """Return the verdict as a dictionary, the same for modules and filters.

    hosts: [Host] of one cluster. deploying: whether the cluster is about to be created if it does not exist. further: functions that look for more
    problems, each with the cluster as its argument.
    """
    cluster = _cluster.Cluster(hosts)
    _cluster.find_registry(cluster)
    _cluster.find_primary(cluster)
    _problems_servers.check_runs(cluster)
    if cluster.has('other_run'):
        # Some nodes were not observed, and problems of the others may be the other run's work in progress.
        return _answer(cluster, deploying)
    _problems_servers.check_seen(cluster)
    _problems_servers.check_restore(cluster)
    if cluster.exists or deploying:
        _problems_servers.check_primary(cluster)
    _problems_data.check_other_server(cluster)
    _problems_data.check_data(cluster)
    _problems_metadata.check_metadata(cluster)
    _problems_metadata.check_unlisted(cluster)
    _problems_access.check_reach(cluster)
    _problems_access.check_logins(cluster)
    _problems_access.check_certificates(cluster)
    if cluster.exists:
        _problems_replication.check_replication(cluster)
        _problems_repmgrd.check_repmgrd(cluster)
        _problems_replication.check_backup(cluster)
        _problems_replication.check_verified(cluster)
    for check in further:
        check(cluster)
    return _answer(cluster, deploying)


def _missing_primary(cluster):
    """The names of the nodes that are registered as active primary, as in the inventory if they are there."""
    names = dict((host.node_name, host.name) for host in cluster.hosts)
    return sorted(names.get(row.node_name, row.node_name) for row in cluster.registry.values() if row.type == 'primary' and row.active)


def _status(cluster, deploying):
    if cluster.has('split_brain'):
        return 'split_brain'
    unknown = cluster.has('data_unknown', 'server_starting', 'server_unknown', 'server_silent', 'no_majority')
    if cluster.has('no_majority') or (unknown and (cluster.exists or cluster.has('server_silent', 'server_starting'))):
        return 'unknown'
    if not cluster.exists:
        return 'unknown' if unknown or cluster.has('other_server') or not (deploying or cluster.seen) else 'absent'
    if cluster.primary is None:
        return 'no_primary'
    return 'degraded' if cluster.problems else 'healthy'


def _role(cluster, host):
    row = cluster.registry.get(host.node_id)
    if cluster.primary is not None and cluster.exists:
        if host is cluster.primary:
            return 'primary'
        return 'witness' if cluster.is_witness(host) else 'standby'
    if row is not None and row.node_name == host.node_name and row.type in ('primary', 'standby', 'witness'):
        return row.type
    return host.initial_role or 'standby'


def _depths(hosts):
    """{host name: number of standbys above it}. A cascaded standby is set up after its upstream."""
    upstream = dict((host.name, host.upstream) for host in hosts)
    depths = {}
    for name in upstream:
        above = []
        while upstream.get(name) and name not in above:
            above.append(name)
            name = upstream[name]
        depths[above[0] if above else name] = len(above)
    return depths


def _answer(cluster, deploying):
    status = _status(cluster, deploying)
    stop = [problem for problem in cluster.problems if problem.stop]
    primary = cluster.primary.name if cluster.primary is not None and status != 'split_brain' else None
    counts = 'primary %s, %d of %d hosts observed, %d problem%s' % (
        primary or 'none', len(cluster.seen), len(cluster.hosts), len(cluster.problems), '' if len(cluster.problems) == 1 else 's')
    failover_ready = _readiness.failover_ready(cluster)
    return {
        'exists': cluster.exists,
        'status': status,
        'primary': primary,
        'system_identifier': cluster.system_identifier,
        'roles': dict((host.name, _role(cluster, host)) for host in cluster.hosts),
        'problems': [_cluster.problem_dict(problem) for problem in cluster.problems],
        'stop': [problem.message for problem in stop],
        'failover_ready': failover_ready,
        'successor': _readiness.successor(failover_ready['candidates']),
        'logins': _problems_access.logins(cluster.hosts),
        'depths': _depths(cluster.hosts),
        'registry': [plain(row) for dummy, row in sorted(cluster.registry.items())],
        'unlisted': [plain(row) for row in cluster.unlisted],
        'missing_primary': _missing_primary(cluster) if primary is None else [],
        'registered_primary': sorted(row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active),
        'summary': '%s: %s' % (status, counts),
        'counts': counts,
    }


def hosts_from(records):
    """[Host] from records: dictionaries as the roles keep them, in which ids and ports may be text."""
    hosts = []
    for values in records:
        values = dict(values)
        for name in ('node_id', 'port', 'synchronous'):
            values[name] = integer(values.get(name))
        values['postgresql_version'] = '%s' % (values.get('postgresql_version') or '')
        host = Host.from_dict(values)
        host.node_name = host.node_name or host.name
        hosts.append(host)
    return hosts


def from_inventory(records):
    """The verdict for records as in hosts_from."""
    return verdict(hosts_from(records))


def from_one_node(observed):
    """The verdict from one node alone: from its own observation, the peers that it observed, and the registered nodes that it could not observe."""
    rows = observed.nodes or []
    for peer in (observed.peers or {}).values():
        if not rows and peer is not None:
            rows = peer.nodes or []
    own_id = (observed.config or {}).get('node_id')
    hosts, taken = [], set()
    for row in rows:
        mine = row.node_id == own_id
        hosts.append(Host(
            name=observed.name if mine and observed.name else row.node_name, node_id=row.node_id, node_name=row.node_name,
            initial_role=row.type, observed=observed if mine else (observed.peers or {}).get(row.node_name)))
        taken.add(row.node_name)
    if not any(host.observed is observed for host in hosts):
        name = (observed.config or {}).get('node_name') or observed.name
        hosts.append(Host(name=observed.name or name or 'localhost', node_id=own_id, node_name=name or '', observed=observed))
    for name, peer in sorted((observed.peers or {}).items()):
        if name not in taken and peer is not None:
            hosts.append(Host(name=name, node_name=name, observed=peer))
    return verdict(hosts, deploying=False)
