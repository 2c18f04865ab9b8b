# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems of replication: standbys, witnesses, slots, and the backup repository."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _cluster, _repmgr, _settings, _steps, _verify
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import lsn, position, says_received

_MAX_RETAINED = 1024 * 1024 * 1024


def check_replication(cluster):
    """Standbys that do not stream, witnesses that do not follow the primary, and slots that retain WAL."""
    primary = cluster.primary
    if primary is None:
        return
    server = primary.observed.server
    for host in cluster.data_hosts:
        observed = host.observed
        if host is primary or not (_cluster.running(host) and observed.server.sql and observed.server.in_recovery):
            continue
        receiver = observed.receiver or {}
        if receiver.get('status') != 'streaming' and _wal_removed(host, primary):
            holders = [other.name for other in cluster.data_hosts if other is not host and _cluster.streams(other) and not _wal_removed(host, other)]
            cluster.problem(
                'wal_removed', host.name, 'cannot stream: it needs WAL from %s on, which primary %s has removed%s' % (
                    lsn(_received(host)), primary.name, ' and %s still has' % ', '.join(holders) if holders else ''),
                'the WAL that it needs on a node that it can stream from',
                _steps.playbook('rejoin', repmgr_target=host.name, repmgr_rejoin='reclone'), stop=False)
        elif receiver.get('status') != 'streaming':
            cluster.problem(
                'not_streaming', host.name, 'is not streaming (%s)' % (receiver.get('status') or 'no WAL receiver'),
                'streaming from its upstream', ['Look at its log.', _steps.playbook('site')], stop=False)
        elif server.timeline and observed.server.timeline and observed.server.timeline < server.timeline:
            cluster.problem(
                'old_timeline', host.name, 'is on timeline %s, the primary on %s' % (observed.server.timeline, server.timeline),
                'timeline %s' % server.timeline, _steps.playbook('rejoin', repmgr_target=host.name), stop=False)
    _check_commits(cluster)
    _check_slots(cluster)
    row = None
    for host in cluster.seen:
        row = cluster.registry.get(host.node_id)
        if row is not None and row.type == 'witness' and row.upstream_node_id != primary.node_id and (
                cluster.registry.get(primary.node_id) is not None):
            cluster.problem(
                'witness_upstream', host.name, 'watches node %s, while %s is the primary' % (row.upstream_node_id, primary.name),
                'node %s' % primary.node_id, _steps.playbook('site'), stop=False)
        if cluster.is_witness(host) and not _cluster.running(host):
            _check_witness_down(cluster, host)


def _check_commits(cluster):
    """Whether enough standbys stream to confirm commits. Those below another standby never do, so a cascade can leave too few while all are well."""
    settings = cluster.primary.observed.server.settings or {}
    needed = _settings.confirmations(settings.get('synchronous_standby_names'))
    confirming = sorted('%s' % entry.get('application_name') for entry in cluster.primary.observed.replication or []
                        if entry.get('state') == 'streaming' and entry.get('sync_state') not in (None, 'async'))
    # Whether a session waits is its own synchronous_commit, which the observing one has set to `local`.
    if needed > len(confirming):
        cluster.problem(
            'commits_wait', cluster.primary.name, 'each commit waits for %d standby%s, and %s' % (
                needed, '' if needed == 1 else 's', 'only %s can confirm it' % ', '.join(confirming) if confirming else 'none can confirm it'),
            'as many standbys that stream directly from it',
            ['Bring the others back, or lower repmgr_synchronous.', _steps.playbook('site', reason='Then type')], stop=False)


def _check_witness_down(cluster, host):
    data = host.observed.data
    if data.state in ('missing', 'empty') and host.observed.config:
        cluster.problem(
            'witness_down', host.name, 'the server of the witness is %s, and its data directory %s is %s' % (host.observed.server.state, data.path, data.state),
            # Debian's pg_createcluster refuses to create a cluster whose configuration directory exists.
            'a running server', [
                'Mount the file system of its data, and start its server.',
                'If they are lost, a new server replaces them, because a witness only has copies: on Debian, move its configuration directory away.',
                _steps.playbook('site', reason='Then type')], stop=False)
    else:
        cluster.problem('witness_down', host.name, 'the server of the witness is %s' % host.observed.server.state,
                        'a running server', [
                            'If the server died, systemd restarts it, at most five times in two minutes.',
                            _steps.start(host.name, host.observed.config) or _steps.playbook('site')], stop=False)


def _received(host):
    """The position up to which a standby has WAL, in bytes, or None."""
    positions = [position(host.observed.server.received_lsn), position(host.observed.server.replayed_lsn)]
    return max([value for value in positions if value is not None] or [None])


def _wal_removed(standby, upstream):
    """Whether the upstream has removed the WAL that the standby needs next. A standby with a restore_command gets it from the archive."""
    observed = standby.observed
    archive = (observed.server.settings or {}).get('restore_command') or (observed.config or {}).get('restore_command')
    received, oldest = _received(standby), upstream.observed.server.oldest_wal
    if not says_received(observed.server):
        return False
    return not archive and received is not None and oldest is not None and received < oldest


def _check_slots(cluster):
    """Unused slots of nodes that retain WAL. repmgr-guard keeps one for each member on every data node, and advances it while the member streams.

    Slots of backup programs and subscribers are the business of their owners.
    """
    streaming = set(row.slot_name for row in cluster.registry.values() if row.slot_name and any(
        host.node_id == row.node_id and (host is cluster.primary or _cluster.streams(host)) for host in cluster.data_hosts))
    members = dict((_repmgr.slot_name(other.node_id), other.name) for other in cluster.hosts)
    witnesses = [_repmgr.slot_name(other.node_id) for other in cluster.hosts if cluster.is_witness(other)]
    for host in cluster.data_hosts:
        advanced = streaming if (host.observed.guard or {}).get('running') else ()
        for slot in host.observed.slots or []:
            name = slot.get('slot_name') or ''
            if not slot.get('active') and (slot.get('retained_bytes') or 0) > _MAX_RETAINED and name not in advanced and _repmgr.is_slot_of_a_node(name):
                # A witness never streams, so the slot belonged to another node with its id.
                gone = name in members and name not in streaming and name not in witnesses
                cluster.problem(
                    'stale_slot', host.name, 'slot %s is not used, and it retains %d MB of WAL' % (name, slot.get('retained_bytes') // 1048576),
                    'no WAL retained for a node that is gone',
                    _steps.playbook('remove_node', repmgr_target=members[name], only_if='%s is gone for good' % members[name]) if gone else _steps.shell(
                        'psql -c "select pg_drop_replication_slot(\'%s\')"' % name, host=host.name,
                        only_if='%s does not stream from it' % members[name] if name in members else 'its node is gone for good'),
                    stop=False)


def check_backup(cluster):
    """Problems of the backup repository and of archiving, as the primary observed them. They never stop a run."""
    primary = cluster.primary
    for code, seen, expected in _backup.problems(primary.observed.backup) if primary is not None and primary.observed.backup else []:
        if code == 'backup_repository':
            cluster.problem('backup_repository', primary.name, seen, expected, [
                'Look at its host and its disk. Until then WAL accumulates on the primary; commits do not wait.'], stop=False)
        elif code == 'backup_stanza':
            cluster.problem('backup_stanza', primary.name, seen, expected, _steps.playbook('site'), stop=False)
        elif code == 'backup_missing':
            cluster.problem('backup_missing', primary.name, seen, expected, _steps.playbook('backup', repmgr_backup_type='full'), stop=False)
        elif code == 'backup_old':
            cluster.problem('backup_old', primary.name, seen, expected, _steps.playbook('backup'), stop=False)
        elif code == 'archive_failing':
            cluster.problem('archive_failing', primary.name, seen, expected, [
                'Its errors are in the log of PostgreSQL and in /var/log/pgbackrest.'], stop=False)


def check_verified(cluster):
    """The result and the age of the last restore drill. Nodes that were down then, or are new, have no record of it."""
    primary = cluster.primary
    if primary is None or not primary.observed.verified:
        return
    problem = _verify.problem_of([primary.observed.verified] + [host.observed.verified for host in cluster.seen])
    if problem and problem[0] == 'backup_verify_failed':
        cluster.problem('backup_verify_failed', primary.name, problem[1], problem[2], problem[3], stop=False)
    elif problem:
        cluster.problem('backup_verify_old', primary.name, problem[1], problem[2], problem[3], stop=False)
