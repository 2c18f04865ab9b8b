# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems with the records in repmgr.nodes, compared with the inventory and with the servers."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _conninfo, _steps


def check_metadata(cluster):
    """Records in repmgr.nodes that do not match the inventory or the running servers."""
    if runs_unregistered(cluster):
        cluster.problem(
            'unregistered_primary', cluster.primary.name, 'runs as primary, but %s is registered as primary' % ', '.join(_other_primaries(cluster)),
            'its own record as primary, because no node can become its standby before that',
            [_steps.shell('repmgr primary register --force', host=cluster.primary.name, reason='Register it')]
            if all(_is_no_primary(cluster, name) for name in _other_primaries(cluster)) else
            [_steps.shell('repmgr primary register --force', host=cluster.primary.name,
                          only_if='it is certain that %s does not run' % ', '.join(_other_primaries(cluster)))])
    elif cluster.exists and cluster.primary is not None and _registered_as(cluster, cluster.primary) not in ('', 'primary'):
        cluster.problem(
            'stale_record', cluster.primary.name, 'runs as primary, but is registered as %s' % _registered_as(cluster, cluster.primary),
            'its own record as primary, because no node can become its standby before that', _steps.playbook('site'), stop=False)
    by_name = dict((row.node_name, row) for row in cluster.registry.values())
    for host in cluster.hosts:
        row = cluster.registry.get(host.node_id)
        if row is not None and row.node_name != host.node_name:
            cluster.problem(
                'id_taken', host.name, 'node id %s is registered for %s' % (host.node_id, row.node_name),
                'node %s' % host.node_name, 'Compare repmgr_node_id in the inventory with `repmgr cluster show`; hosts may be swapped.')
        other = by_name.get(host.node_name)
        if other is not None and other.node_id != host.node_id:
            cluster.problem(
                'name_taken', host.name, 'node name %s is registered with id %s' % (host.node_name, other.node_id),
                'id %s' % host.node_id, 'Compare repmgr_node_id in the inventory with `repmgr cluster show`; hosts may be swapped.')
        if row is None or row.node_name != host.node_name:
            # While no server runs nobody knows who is registered.
            known = cluster.registry or cluster.primary is not None
            if cluster.exists and known and host in cluster.seen and other is None and not cluster.has_at(host, 'unregistered_primary'):
                cluster.problem('not_registered', host.name, 'is not registered', 'a record in repmgr.nodes',
                                _steps.playbook('site'), stop=False)
            continue
        if row.type == 'witness' and host.initial_role in ('primary', 'standby'):
            cluster.problem(
                'witness_as_standby', host.name, 'is registered as witness, but is in the %s group' % host.initial_role,
                'the witness group', ['Put it into the witness group.', _steps.shell(
                    'repmgr witness unregister', host=host.name, only_if='it is no longer to be a witness')])
        elif row.type != 'witness' and host.initial_role == 'witness':
            cluster.problem(
                'standby_as_witness', host.name, 'is registered as %s, but is in the witness group' % row.type,
                'the primary or standby group', ['Put it into the standby group.', _steps.shell(
                    'repmgr standby unregister', host=host.name, only_if='it is to become a witness')])
        if row.active is False:
            cluster.problem('inactive', host.name, 'its record is inactive', 'an active record',
                            ['Look at `repmgr cluster show`.', _steps.playbook('site', reason='Register a running node again by')], stop=False)
        elif row.type == 'primary' and cluster.primary is not None and host is not cluster.primary:
            cluster.problem('stale_record', host.name, 'is registered as primary, while %s is' % cluster.primary.name,
                            # With two active primaries in the records, site cannot tell which one a standby has to follow.
                            'a record as standby', _steps.shell('repmgr standby register --force', host=host.name, reason='Register it as what it is')
                            if _runs_as_standby(cluster, host) and not runs_unregistered(cluster) else _steps.playbook('site'), stop=False)
    for host in cluster.seen:
        config = host.observed.config or {}
        if config.get('node_id') is not None and host.node_id is not None and (
                config.get('node_id') != host.node_id or (config.get('node_name') or host.node_name) != host.node_name):
            cluster.problem(
                'config_of_other_node', host.name, 'its repmgr.conf is that of node %s (id %s)' % (
                    config.get('node_name'), config.get('node_id')),
                'node %s (id %s)' % (host.node_name, host.node_id),
                'Hosts or ids may be swapped in the inventory. If it is a new id on purpose, unregister the node first.')
        _check_own_rows(cluster, host)


def runs_unregistered(cluster):
    """Whether the primary was promoted but not registered, for example because a run was killed in between.

    site and rejoin would then fail halfway: repmgr_node does not register a primary while another node is recorded as one and does not run as such, and
    repmgr makes no node the standby of a primary that is not registered.
    """
    if not cluster.exists or cluster.primary is None or not _other_primaries(cluster):
        return False
    return cluster.registry.get(cluster.primary.node_id) is None or _registered_as(cluster, cluster.primary) not in ('', 'primary')


def _registered_as(cluster, host):
    """The type in the record of this host, or ''."""
    row = cluster.registry.get(host.node_id)
    return row.type if row is not None and row.node_name == host.node_name else ''


def _runs_as_standby(cluster, host):
    """Whether the server of this host runs as a standby."""
    return host in cluster.seen and _cluster.running(host) and host.observed.server.in_recovery is True


def _other_primaries(cluster):
    """The other nodes that are registered as active primary."""
    return sorted(row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active
                  and row.node_id != cluster.primary.node_id and row.node_name != cluster.primary.node_name)


def _is_no_primary(cluster, node_name):
    """Whether the node was observed to accept no writes. A node that the controller cannot reach may still be a primary."""
    return any(host.node_name == node_name and (host.observed.server.state == 'stopped' or _runs_as_standby(cluster, host)) for host in cluster.seen)


def check_unlisted(cluster):
    """Registered nodes that are not in the inventory. A run would remove their access and their slots, while the other nodes still count their votes."""
    for row in cluster.unlisted:
        address = _conninfo.address(_conninfo.parse_or_empty(row.conninfo))
        there = [host.name for host in cluster.hosts if address and address == host.address]
        cluster.problem(
            'unlisted_node', row.node_name, 'is registered in the cluster%s, but is not in this inventory' % (
                ' with the address of %s' % ', '.join(there) if there else ''),
            'every registered node in the inventory',
            ['Put it into the inventory, or correct repmgr_node_id and repmgr_node_name of its host.', _steps.playbook(
                'remove_node', repmgr_target=row.node_name, only_if='it is to leave the cluster')])


def _check_own_rows(cluster, host):
    """Metadata without any node of this cluster are those of another cluster."""
    rows = _cluster.rows(host)
    if not rows:
        return
    ours = set((other.node_id, other.node_name) for other in cluster.hosts)
    if not any((row.node_id, row.node_name) in ours for row in rows):
        cluster.problem(
            'foreign_metadata', host.name, 'its repmgr metadata are those of another cluster (%s)' % ', '.join(
                sorted(row.node_name for row in rows)),
            'those of cluster %s' % host.cluster if host.cluster else 'those of this cluster',
            'Check repmgr_cluster_name of this host.')
    elif cluster.primary is not None and host is not cluster.primary and cluster.is_witness(host):
        row = cluster.registry.get(cluster.primary.node_id)
        if row is not None and (row.node_id, row.node_name) not in [(item.node_id, item.node_name) for item in rows]:
            cluster.problem(
                'stale_witness', host.name, 'primary %s is missing from its copy of the metadata' % cluster.primary.name,
                'a current copy', _steps.playbook('site'), stop=False)
