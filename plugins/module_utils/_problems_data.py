# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems of data directories, and servers on a host that do not match the inventory."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _steps


def check_other_server(cluster):
    """If the inventory has another version or data directory than the server of a host, that server is not observed, and a run would create a second one."""
    for host in cluster.seen:
        data, version = host.observed.data, host.postgresql_version
        # A repmgr.conf without data may be left from an interrupted deployment. A cluster of Debian's postgresql-common is in the way in any case.
        others = [entry for entry in host.observed.elsewhere or [] if entry.get('version') or (
            entry.get('node_id') == host.node_id and (entry.get('major') or host.observed.deployed))]
        path, major = (others[0].get('file'), others[0].get('major')) if others else (None, None)
        if others and others[0].get('version'):
            cluster.problem(
                'other_server', host.name, '%s is the configuration of a server in %s, but by the inventory it is in %s' % (
                    path, others[0].get('data_directory'), data.path), 'no other cluster of that version and name on the host',
                ['Correct repmgr_data_directory or repmgr_postgresql_version of the host.',
                 _steps.shell('pg_renamecluster %s main other' % others[0].get('version'), host=host.name, only_if='that server is not of this cluster')
                 if major else 'Or remove that file, if no server needs it.'])
        elif others:
            cluster.problem(
                'other_server', host.name, '%s is that of a server in %s%s, but by the inventory it is in %s' % (
                    path, others[0].get('data_directory'), ' (PostgreSQL %s)' % major if major else '', data.path), 'the server that this node has',
                ['Set repmgr_postgresql_version%s, or repmgr_data_directory, to those of that server.' % (' to %s' % major if major else ''),
                 'No playbook changes the major version of a cluster; after an upgrade by hand, correct that file as well.'])
        elif data.state == 'valid' and data.major and version and data.major != version:
            cluster.problem(
                'other_server', host.name, 'data directory %s is of PostgreSQL %s, but the inventory has %s' % (data.path, data.major, version),
                'the major version of the data', 'Set repmgr_postgresql_version to %s. No playbook changes the major version of a cluster.' % data.major)


def check_data(cluster):
    """Data directories that cannot be used, are missing, or belong to another cluster."""
    for host in cluster.seen:
        observed = host.observed
        data = observed.data
        if data.state == 'unrecognised':
            cluster.problem(
                'unrecognised_data', host.name, 'data directory %s %s' % (data.path, data.reason or 'contains something else'),
                'an empty directory or a PostgreSQL cluster',
                'Look at it; move it away if it is not needed, or set repmgr_data_directory.')
        elif data.state == 'partial' and not _will_be_cloned(cluster, host):
            cluster.problem(
                'partial_data', host.name, 'data directory %s %s' % (data.path, data.reason or 'is incomplete'),
                'an empty directory or a complete PostgreSQL cluster', 'Look at it; move it away if it is not needed.')
        elif data.state == 'partial' and cluster.exists and host.node_id in cluster.registry:
            cluster.problem(
                'missing_data', host.name, 'is registered, but its data directory %s %s' % (data.path, data.reason or 'is incomplete'),
                'a copy of the primary', _steps.playbook('site'), stop=False)
        elif data.state == 'valid' and not cluster.is_witness(host):
            _check_valid_data(cluster, host)
        elif data.state in ('missing', 'empty') and not cluster.is_witness(host) and not cluster.has_at(host, 'other_server'):
            _check_missing_data(cluster, host)
    for host in cluster.seen:
        if cluster.is_witness(host) and host.observed.data.state == 'valid' and cluster.system_identifier is not None and (
                _cluster.identifier(host) == cluster.system_identifier):
            cluster.problem(
                'witness_is_copy', host.name, 'is a witness, but has a copy of the data of the cluster (system identifier %s)' % _cluster.identifier(host),
                'a server of its own', 'Put the host into the standby group.' if host.observed.guard is not None else
                # A guard is only on data nodes: then it may be the last copy.
                'Put the host into the standby group, or empty its data directory yourself.')


def _check_missing_data(cluster, host):
    """A host that was replaced by an empty one is cloned. If only the data of a host are missing, a file system is probably not mounted."""
    observed = host.observed
    data = observed.data
    registered = cluster.exists and host.node_id in cluster.registry
    # A node whose first deployment was interrupted before or during its clone has never had data.
    finished = (observed.config or {}).get('node_id') == host.node_id and observed.deployed and not data.clone_begun
    # While no server runs nobody knows who is registered.
    unknown = cluster.exists and not cluster.registry and cluster.primary is None
    if finished and (registered or unknown or not cluster.exists):
        # No data are left as evidence, but there was a cluster: a run would create a new one in its place.
        cluster.problem(
            'vanished_data', host.name, '%s been deployed, but its data directory %s is %s' % (
                'is registered and has' if registered else 'has', data.path, data.state), 'its data, because only its file system may be missing',
            ['Mount the file system of its data, and run again.',
             _steps.playbook('rejoin', repmgr_target=host.name, repmgr_rejoin='reclone', only_if='its data are lost') if registered or unknown else
             'If a new cluster is to replace one that is lost, remove repmgr.conf and repmgrd.service from its hosts.'])
    elif registered:
        cluster.problem(
            'missing_data', host.name, 'is registered, but its data directory %s is %s' % (data.path, data.state),
            'a copy of the primary', _steps.playbook('site'), stop=False)


def _will_be_cloned(cluster, host):
    """Whether a deployment would clone this host, so that partial data are no obstacle."""
    if cluster.is_witness(host):
        return False
    if cluster.exists:
        return cluster.primary is not None and host is not cluster.primary
    return host.initial_role == 'standby'


def _check_valid_data(cluster, host):
    """A complete data directory: of another cluster, or of a stopped server."""
    observed = host.observed
    identifier = _cluster.identifier(host)
    if host is cluster.primary:
        return
    if not cluster.exists:
        if host.initial_role == 'primary':
            return
        cluster.problem(
            'foreign_data', host.name, 'data directory %s contains another cluster (system identifier %s)' % (
                observed.data.path, identifier),
            'an empty directory on a host that is to become a standby',
            'A deployment never clears a directory: move it away if it is not needed, or remove the host from the inventory.')
        return
    if _cluster.is_foreign(cluster, host):
        cluster.problem(
            'foreign_data', host.name, 'data directory %s contains another cluster (system identifier %s)' % (
                observed.data.path, identifier),
            'the data of the cluster' if cluster.system_identifier is None else 'system identifier %s' % cluster.system_identifier,
            # Its own copy of the metadata may be all that tells.
            'Put it into the witness group: its own metadata say that it is the witness.' if any(
                row.type == 'witness' and row.node_id == host.node_id for row in _cluster.rows(host)) else
            'A deployment never clears a directory: move it away if it is not needed, or remove the host from the inventory.')
    elif cluster.primary is not None and observed.server.state == 'stopped' and not observed.data.standby_signal:
        cluster.problem(
            'stopped_ex_primary', host.name, 'its server is stopped and %s, while %s is the primary now' % (
                'would recover from an archive and then promote itself' if observed.data.promotes_itself else 'was a primary', cluster.primary.name),
            'a standby of %s' % cluster.primary.name,
            # Data that were restored there are only moved aside.
            ([_steps.playbook('rejoin', repmgr_target=host.name, repmgr_rejoin='reclone', only_if='the data that were restored there are not needed')]
             if observed.data.promotes_itself else [_steps.playbook('rejoin', repmgr_target=host.name, reason='Bring it back by')])
            + ([] if host.node_id in cluster.registry else
               [_steps.playbook('add_node', repmgr_target=host.name, reason='It was removed from the cluster; when it is back, complete it by')]))
    elif cluster.primary is not None and observed.server.state == 'stopped':
        cluster.problem(
            'stopped_standby', host.name, 'its server is stopped', 'a running standby',
            _steps.playbook('site'), stop=False)
