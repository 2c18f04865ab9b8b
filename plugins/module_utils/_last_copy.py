# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: a cluster without a primary of which no copy is left, or one that its guard does not start: what is lost, and what the operator has to decide."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority, voters


def check_no_data(cluster):
    """Whether no data node that was observed has data of the cluster: then nobody can become primary, and a playbook has nothing to copy."""
    hidden = hidden_data_nodes(cluster)
    names = [host.name for host in cluster.data_hosts] or hidden
    if cluster.primary is not None or cluster.has('split_brain') or not names or any(_may_have_data(cluster, host) for host in cluster.data_hosts):
        return False
    if not cluster.registry and any(host.observed.guard is not None and host.observed.data.state == 'valid' for host in cluster.seen):
        # Only data nodes have a guard, whatever group the inventory puts the host in.
        return False
    states = ', '.join('%s (%s)' % (host.name, 'of another cluster' if host.observed.data.state == 'valid' else host.observed.data.state)
                       for host in cluster.data_hosts)
    # Once for all of them: each has vanished_data, missing_data, partial_data or foreign_data as well.
    cluster.problem(
        'no_data', names, 'the cluster exists, and no data node that could be observed has its data: %s%s' % (
            states or 'there is none', '; %s, which could not be observed, may have the only copy' % ', '.join(hidden) if hidden else ''),
        'a data node with the data',
        (['Bring %s back.' % ', '.join(hidden), _steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern(_inventory(cluster, hidden)),
                                                             reason='Find out whether it answers')] if _inventory(cluster, hidden) else [])
        + ['Mount the file systems of the data, if only these are missing.',
           'If no copy is left, what was written after the last backup is lost. Restore that backup by hand on one of them (docs/backup.md), start its server '
           'as primary, and run again.',
           'Without a backup all data are lost. If a new cluster is to replace this one, remove repmgr.conf and repmgrd.service from all hosts%s.' % (
               ', and the data of the witness' if any(cluster.is_witness(host) for host in cluster.hosts) else '')])
    return True


def _may_have_data(cluster, host):
    state = host.observed.data.state
    return state in ('unknown', 'unrecognised') or state == 'valid' and not _cluster.is_foreign(cluster, host)


def hidden_data_nodes(cluster):
    """The names of the data nodes that were not observed, with those that are registered and not in the inventory."""
    return [host.name for host in cluster.hosts if host not in cluster.seen and not cluster.is_witness(host)] + [
        row.node_name for row in cluster.unlisted if row.type != 'witness']


def _inventory(cluster, names):
    """Those that the controller has an address of."""
    return [name for name in names if name in [host.name for host in cluster.hosts]]


def start_alone(cluster, host):
    """[step] that start the server of this former primary without its guard; [] where its guard would start it, or where a standby could take over.

    The guard starts a primary only where a majority of the votes answers. With too few nodes left that will never be so, and nobody but the operator can know
    that nobody else has become primary.
    """
    unit = _steps.unit(host.observed.config)
    if not unit or host.observed.guard is None or host.observed.data.standby_signal or host.observed.data.state != 'valid' or _may_answer(cluster, host):
        return []
    hidden = hidden_data_nodes(cluster)
    # A guard that is enabled stops it again.
    return [_steps.shell(
        'rm -f /etc/systemd/system/%s.service.d/pgfleet-guard.conf && systemctl daemon-reload && systemctl disable --now repmgr-guard repmgr-guard-fuse && '
        'systemctl unmask %s && systemctl enable --now %s' % (unit, unit, unit), host=host.name,
        only_if='%s has the data to keep%s, so that it has to start without its guard' % (
            host.name, ', and it is certain that %s will not run again' % ', '.join(hidden) if hidden else ''))]


def _may_answer(cluster, host):
    """Whether no majority of the votes is out of sight, or need not be after a plain start of what is there. The guard judges by these as well."""
    rows = [row for dummy, row in sorted(cluster.registry.items())]
    # The records of a witness, which may be all that there are, can be old.
    more = [Node(node_id=other.node_id, node_name=other.node_name, type='witness' if other.initial_role == 'witness' else 'standby')
            for other in cluster.hosts if other.node_id not in cluster.registry]
    able = set(other.node_id for other in cluster.seen if other is host or _cluster.running(other) or other.observed.data.state == 'valid' and (
        other.observed.data.standby_signal or cluster.is_witness(other)))
    return all(len([row for row in votes if row.node_id not in able]) < majority(len(votes)) for votes in (voters(rows), voters(rows + more)))
