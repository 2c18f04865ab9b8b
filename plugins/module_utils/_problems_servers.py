# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems of whole hosts: another run at work, a host that was not observed, a server that does not answer, no primary."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _last_copy, _repmgr, _restore, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import LOCK_SECONDS, span
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority


def check_runs(cluster):
    """Another run is at work on the nodes, or took over the lock of this one."""
    for run, names, others in other_runs(cluster.seen, 'refused'):
        cluster.problem(
            'other_run', names, 'another run is at work: %s' % run_in_words(others), 'one run at a time',
            ['Wait for it to end.',
             'If it was killed, its lock ends with its SSH connection, about a minute later, or hours later if its controller was switched off.'
             if any(other['connected'] for other in others) else
             'If it was killed, its lock ends in %s.' % span(max(LOCK_SECONDS - other['renewed_seconds'] for other in others)),
             'Only if you are sure that it has ended, run again with -e repmgr_override_run=%s.' % run])
    for run, names, others in other_runs(cluster.seen, 'lost'):
        cluster.problem(
            'other_run', names, 'this run has lost its lock, so another run may have been at work in the meantime%s' % (
                ': %s' % run_in_words(others) if run else ''),
            'the lock that it took at its start', 'Wait until no other run is at work, and run again.')


def other_runs(hosts, state):
    """[(run id, [host names], [lock as observed on each of these hosts])] of the runs whose lock is in this state.

    state: 'seen', 'refused' (the lock of another run prevented this one from taking its own) or 'lost'.
    """
    runs = {}
    for host in hosts:
        other = host.observed.run_lock or {}
        if other.get('state') == state:
            runs.setdefault(other['run'], []).append((host.name, other))
    return [(run, [name for name, dummy in locks], [lock for dummy, lock in locks]) for run, locks in sorted(runs.items())]


def run_in_words(others):
    """Describe a run. others: its lock, as observed on each host."""
    other = others[0]
    return '`ansible-playbook %s` by %s on %s, for %s, last active %s ago' % (
        other['playbook'], other['user'], other['controller'], span(max(each['for_seconds'] for each in others)),
        span(min(each['renewed_seconds'] for each in others)))


def check_seen(cluster):
    """Hosts that were not observed, and servers in a state in which no run may continue."""
    hidden = [host for host in cluster.hosts if host not in cluster.seen]
    for host in hidden:
        cluster.problem(
            'unreachable', host.name, 'cannot be reached' if host.unreachable else 'was not observed',
            'all hosts of a new cluster to be reachable' if not cluster.exists else 'all hosts of the cluster to be reachable',
            # Without a primary no node can be removed; the problem no_primary names the steps before that.
            [_steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern([host.name]), reason='Try')]
            + ([_steps.playbook('remove_node', repmgr_target=host.name, only_if='its host is gone for good')]
               if cluster.exists and cluster.primary is not None else []), stop=not cluster.exists)
    missing = [host.name for host in hidden] + [row.node_name for row in cluster.unlisted]
    count = len(cluster.seen) + len(missing)
    if cluster.exists and missing and len(cluster.seen) < majority(count):
        cluster.problem(
            'no_majority', missing, 'only %d of %d hosts of the cluster could be observed' % (len(cluster.seen), count),
            'a majority, because a host that was not observed may be the primary',
            # Without a primary nobody can be removed. With one, a node can be, as long as a majority of the others is there; else the word of the operator
            # is needed, for all of them.
            ['Bring the missing hosts back.', _steps.playbook(
                'failover', repmgr_primary_is_dead=','.join(missing), only_if='all of them are gone for good') if cluster.primary is None else _steps.playbook(
                    'remove_node', repmgr_target=None, only_if='one of them is gone for good') if len(cluster.seen) >= majority(count - 1) else _steps.playbook(
                        'remove_node', repmgr_target=None, repmgr_primary_is_dead=','.join(missing), only_if='all of them are gone for good')])
    for host in cluster.seen:
        server, data = host.observed.server, host.observed.data
        if data.state == 'unknown':
            cluster.problem(
                'data_unknown', host.name, 'data directory %s: %s' % (data.path or '(none)', data.reason or 'is in an unknown state'),
                'a directory that can be read and that no other program writes to',
                'Look at the directory and at the program that writes to it, and run again.')
        if server.state == 'starting':
            cluster.problem(
                'server_starting', host.name, 'its server %s' % (server.error or 'is starting'), 'a server that has started or stopped',
                'Wait, look at its log, and run again.')
        elif server.state == 'unknown' and data.state != 'unknown':
            cluster.problem(
                'server_unknown', host.name, 'cannot determine the state of its server: %s' % (server.error or 'no reason given'),
                'running or stopped', 'Look at its processes and its log, and run again.')
        elif server.state == 'running' and server.in_recovery and data.promotes_itself:
            cluster.problem(
                'restoring', host.name, 'its server recovers from an archive and then promotes itself', 'a standby or a primary',
                _steps.RESTORING if cluster.primary is None else [
                    'Stop its server: beside %s it would be a second primary.' % cluster.primary.name,
                    _steps.playbook('status', reason='Then find out how to bring it back')])
        elif server.state == 'running' and not server.sql:
            cluster.problem(
                'server_silent', host.name, 'its server runs but does not answer: %s' % (server.error or 'no reason given'),
                'an answer over SQL', 'Look at its log and pg_hba.conf.')
        version = _repmgr.parse_version(host.observed.repmgr_version)
        if version and version < _repmgr.OLDEST:
            cluster.problem(
                'old_repmgr', host.name, 'repmgr %s is installed' % host.observed.repmgr_version, 'version %d.%d or later' % _repmgr.OLDEST,
                'Upgrade its packages on every node of the cluster, and its extension by: alter extension repmgr update')


def check_restore(cluster):
    """While a cluster is being restored, nothing else may change it: a promotion would create a second history with the same timeline number."""
    for host in cluster.seen:
        unfinished = _restore.unfinished(host.observed.restore)
        if unfinished:
            seen, expected = unfinished
            cluster.problem('restore_unfinished', host.name, seen, expected, [
                'Run the playbook restore again, with the same repmgr_restore: it continues where it stopped.'])


def check_primary(cluster):
    """A cluster without a primary, or an inventory that does not name exactly one for a new cluster."""
    if cluster.exists:
        if cluster.primary is None and not cluster.has('split_brain') and not _last_copy.check_no_data(cluster):
            stopped = ', '.join('%s (%s)' % (host.name, host.observed.data.cluster_state or host.observed.server.state)
                                for host in cluster.data_hosts)
            # A standby that streams from an observed host, as a cascaded one does, is no evidence of a primary among the unobserved hosts.
            fed = set(entry.get('application_name') for host in cluster.seen for entry in host.observed.replication or [])
            streaming = [host.name for host in cluster.data_hosts if _cluster.streams(host) and host.node_name not in fed]
            hidden = [host.name for host in cluster.hosts if host not in cluster.seen]
            fenced = [host for host in cluster.data_hosts if guard_stop(host) is not None]
            if streaming and hidden:
                # Some server sends to them. A primary that only the controller cannot reach must not be treated as failed.
                cluster.problem(
                    'no_primary', hidden, 'no host that could be observed runs as primary, but %s %s from one that could not' % (
                        ', '.join(streaming), 'streams' if len(streaming) == 1 else 'stream'),
                    'all hosts to be reachable', _steps.shell(
                        'ansible %s -m ansible.builtin.ping' % _cluster.pattern(hidden), reason='Repair the connection until this works'))
            elif fenced:
                for host in fenced:
                    _check_fenced(cluster, host, stopped)
            else:
                start_standby, alone = _start_of_a_standby(cluster), _start_alone(cluster)
                cluster.problem(
                    'no_primary', _registered_primary(cluster), 'the cluster exists, but no host runs as primary; data nodes: %s' % (
                        stopped or 'none seen'),
                    'one primary',
                    [_start_last_primary(cluster) or 'Start the server of the last primary if it was stopped on purpose.']
                    + ([_steps.shell(start_standby['shell'], host=start_standby['host'], reason='A standby knows which node that was: start it')]
                       if start_standby else [])
                    + [_steps.playbook('failover', reason='Otherwise promote a standby')]
                    + alone)
        return
    initial = [host.name for host in cluster.hosts if host.initial_role == 'primary']
    if not initial:
        cluster.problem(
            'no_initial_primary', [host.name for host in cluster.hosts],
            'no host of the new cluster is in the primary group', 'exactly one', 'Put one data node into the primary group.')
    elif len(initial) > 1:
        cluster.problem(
            'two_initial_primaries', initial, '%d hosts of the new cluster are in the primary group' % len(initial),
            'exactly one', 'Leave one in the primary group and put the others into the standby group.')


def guard_stop(host):
    """{code, peers, since} of a primary that repmgr-guard has stopped, as far as it recorded them, or None.

    The record is ignored if the server runs, is a standby now, or has lost its data: the guard does not start such a server again.
    """
    observed = host.observed
    if observed.server.state != 'stopped' or observed.data.standby_signal or observed.data.state in ('missing', 'empty'):
        return None
    return (observed.guard or {}).get('stopped')


# By the code that the guard recorded; without a code, 'isolated', the most frequent one.
_STOPPED_BECAUSE = {
    'isolated': 'it cannot reach {0}',
    'primary': '{0} is primary',
    'promoted': '{0} is on a newer timeline',
    'named': 'others name {0} as primary',
    'stood_still': 'this host stood still, so another primary could have been elected',
    'promoting': 'another node was being promoted with the votes of {0}',
    'hangs': 'it did not answer, and other nodes had lost contact with it',
    'fuse': 'it could not reach a majority of the votes, or did not run',
}
# Another node has newer data, so this one becomes a standby.
_REPLACED = ('primary', 'promoted', 'named')


def _check_fenced(cluster, host, stopped):
    """Once the guard reaches a majority, it starts the server again, so a failover is the answer only if a host is lost."""
    stop = guard_stop(host)
    restart = [] if (host.observed.guard or {}).get('running') else [
        _steps.shell('systemctl enable --now repmgr-guard', host=host.name, reason='Its guard does not run: start it')]
    names = dict((other.node_name, other.name) for other in cluster.hosts)
    peers = [names.get(peer, peer) for peer in stop.get('peers') or []]
    replaced = stop.get('code') in _REPLACED and bool(peers)
    if replaced:
        # The first peer is the new primary; the others only named it.
        peers = peers[:1]
    code = stop.get('code') if replaced or stop.get('code') in ('stood_still', 'promoting', 'hangs', 'fuse') else 'isolated'
    alone = _last_copy.start_alone(cluster, host)
    newer = [other.name for other in cluster.data_hosts if not _cluster.is_foreign(cluster, other) and _timeline(other) > _timeline(host) > 0]
    because = _STOPPED_BECAUSE[code].format(', '.join(peers) or 'a majority of the votes')
    if replaced:
        cluster.problem(
            'no_primary', host.name, 'its guard stopped the server because %s, and no other host runs as primary; data nodes: %s' % (because, stopped),
            'one primary',
            restart + [
                'Start %s again, or repair the network between %s and it: the guard then makes %s its standby.' % (peers[0], host.name, host.name),
                _steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern(peers), reason='Find out whether it answers'),
                _steps.playbook('failover', only_if='the host of %s is lost' % peers[0])])
        return
    cluster.problem(
        'no_primary', host.name, 'its guard stopped the server because %s, and no other host runs as primary; data nodes: %s' % (because, stopped),
        'one primary',
        restart + ['Start %s again, or repair the network between %s and %s: the guard starts the server by itself as soon as it reaches a majority.' % (
            ', '.join(peers) or 'the other nodes', host.name, 'it' if len(peers) == 1 else 'them')]
        + ([_steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern(peers), reason='Find out which of them answer')] if peers else [])
        + [_steps.playbook('failover', reason='There is a newer timeline on %s, so the guard does not start %s as a primary: promote a standby' % (
            ', '.join(newer), host.name)) if newer else _steps.playbook('failover', only_if='the host of %s is lost' % host.name)] + alone)


def _timeline(host):
    return max(host.observed.data.timeline or 0, host.observed.server.timeline or 0)


def _stopped_primaries(cluster):
    """The stopped servers with data of the cluster that were primary, those of the newest timeline, which only a promotion makes."""
    found = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and host.observed.data.state == 'valid'
             and not host.observed.data.standby_signal and not host.observed.data.promotes_itself and not _cluster.is_foreign(cluster, host)]
    newest = max([host.observed.data.timeline or 0 for host in found] or [0])
    return [host for host in found if (host.observed.data.timeline or 0) == newest]


def _start_alone(cluster):
    """The step that starts the last primary without its guard, where its guard would not and no standby is left to be promoted."""
    last = _stopped_primaries(cluster)
    others = [host for host in cluster.data_hosts if host.observed.data.state == 'valid' and (
        host.observed.data.standby_signal or _cluster.running(host)) and not _cluster.is_foreign(cluster, host)]
    return _last_copy.start_alone(cluster, last[0]) if len(last) == 1 and not others else []


def _start_last_primary(cluster):
    """The step that starts the registered primary, if exactly one is stopped; else that of the newest timeline, whom nobody has seen yet; or None."""
    registered = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and any(
        row.node_id == host.node_id and row.type == 'primary' and row.active for row in cluster.registry.values())]
    last = _stopped_primaries(cluster)
    if len(last) == 1 and last[0] not in registered and cluster.registry and (last[0].observed.data.timeline or 0) > max(
            [host.observed.data.timeline or 0 for host in cluster.data_hosts if host is not last[0]] or [0]):
        unit = _steps.unit(last[0].observed.config)
        step = _steps.shell('systemctl unmask %s && systemctl enable --now %s' % (unit, unit), host=last[0].name) if unit else _steps.start(
            last[0].name, last[0].observed.config)
        return step and dict(step, reason='Nobody else is on timeline %s, so this one was promoted last: start it' % last[0].observed.data.timeline)
    return _steps.start(registered[0].name, registered[0].observed.config, only_if='its server was stopped on purpose') if len(registered) == 1 else None


def _start_of_a_standby(cluster):
    """If no server answers, it is unknown which node was the primary, and failover needs to know. Starting a standby is safe in any case."""
    stopped = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and host.observed.data.state == 'valid'
               and host.observed.data.standby_signal]
    return _steps.start(stopped[0].name, stopped[0].observed.config) if stopped and not cluster.registry else None


def _registered_primary(cluster):
    names = [row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active]
    return sorted(names) or [host.name for host in cluster.data_hosts or cluster.hosts]
