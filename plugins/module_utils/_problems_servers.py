# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems with other runs, with hosts that were not observed, with servers, and with a missing primary."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _repmgr, _restore, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import LOCK_SECONDS, span
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority


def check_runs(cluster):
    for run, names, others in other_runs(cluster.seen, 'refused'):
        cluster.problem(
            'other_run', names, 'another run is at work: %s' % run_in_words(others), 'one run at a time',
            ['Wait for it to end.',
             'If it was killed, its lock ends with its SSH connection, about a minute later; where its controller was switched off, after hours.'
             if any(other['connected'] for other in others) else
             'If it was killed, its lock ends in %s.' % span(max(LOCK_SECONDS - other['renewed_seconds'] for other in others)),
             'Only if you know that it is dead, run again with -e repmgr_override_run=%s.' % run])
    for run, names, others in other_runs(cluster.seen, 'lost'):
        cluster.problem(
            'other_run', names, 'this run has lost its lock, so another may have been at work meanwhile%s' % (': %s' % run_in_words(others) if run else ''),
            'the lock that it took before', 'Wait until no other run is at work, and run again.')


def other_runs(hosts, state):
    """[(run, [hosts], [what each of them tells of its lock])] of the runs whose lock is in this state."""
    runs = {}
    for host in hosts:
        other = host.observed.run_lock or {}
        if other.get('state') == state:
            runs.setdefault(other['run'], []).append((host.name, other))
    return [(run, [name for name, dummy in found], [other for dummy, other in found]) for run, found in sorted(runs.items())]


def run_in_words(others):
    """Of one run, as it was seen on some nodes."""
    other = others[0]
    return '`ansible-playbook %s` by %s on %s, for %s now, seen last %s ago' % (
        other['playbook'], other['user'], other['controller'], span(max(each['for_seconds'] for each in others)),
        span(min(each['renewed_seconds'] for each in others)))


def check_seen(cluster):
    hidden = [host for host in cluster.hosts if host not in cluster.seen]
    for host in hidden:
        cluster.problem(
            'unreachable', host.name, 'cannot be reached' if host.unreachable else 'was not observed',
            'every host of a new cluster in reach' if not cluster.exists else 'every host of the cluster in reach',
            # Without a primary nobody leaves; no_primary says what comes before that.
            [_steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern([host.name]), reason='Try')]
            + ([_steps.playbook('remove_node', repmgr_target=host.name, only_if='its host is gone for good')]
               if cluster.exists and cluster.primary is not None else []), stop=not cluster.exists)
    missing = [host.name for host in hidden] + [row.node_name for row in cluster.unlisted]
    count = len(cluster.seen) + len(missing)
    if cluster.exists and missing and len(cluster.seen) < majority(count):
        cluster.problem(
            'no_majority', missing, 'only %d of %d hosts of the cluster could be observed' % (len(cluster.seen), count),
            'a majority, because what is not observed may be the primary',
            ['Bring the missing hosts back.', _steps.playbook('remove_node', repmgr_target=None, only_if='one of them is gone for good')])
    for host in cluster.seen:
        server, data = host.observed.server, host.observed.data
        if data.state == 'unknown':
            cluster.problem(
                'data_unknown', host.name, 'data directory %s: %s' % (data.path or '(none)', data.reason or 'cannot be told'),
                'one that can be read and that nobody is writing to', 'Look at the directory and at who writes to it, and run again.')
        if server.state == 'starting':
            cluster.problem(
                'server_starting', host.name, 'its server %s' % (server.error or 'is starting'), 'a server that has settled',
                'Wait, look at its log, and run again.')
        elif server.state == 'unknown' and data.state != 'unknown':
            cluster.problem(
                'server_unknown', host.name, 'the state of its server cannot be told: %s' % (server.error or 'no reason given'),
                'running or stopped', 'Look at its processes and its log, and run again.')
        elif server.state == 'running' and server.in_recovery and data.promotes_itself:
            cluster.problem(
                'restoring', host.name, 'its server recovers from an archive, and promotes itself when that is done', 'a standby, or a primary',
                _steps.RESTORING if cluster.primary is None else [
                    'Stop its server: beside %s it would be a second primary.' % cluster.primary.name,
                    _steps.playbook('status', reason='Then see how it is brought back by')])
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
    """Between its two histories a cluster is left to the restore alone: a standby that was promoted then would have the number of the other one."""
    for host in cluster.seen:
        found = _restore.unfinished(host.observed.restore)
        if found:
            cluster.problem('restore_unfinished', host.name, found[0], found[1], [
                'Run the playbook restore again, with the same repmgr_restore: it goes on where it was.'])


def check_primary(cluster):
    if cluster.exists:
        if cluster.primary is None and not cluster.has('split_brain'):
            stopped = ', '.join('%s (%s)' % (host.name, host.observed.data.cluster_state or host.observed.server.state)
                                for host in cluster.data_hosts)
            # Who streams from a host that was observed, as a cascaded standby, says nothing of those that were not.
            fed = set(entry.get('application_name') for host in cluster.seen for entry in host.observed.replication or [])
            streaming = [host.name for host in cluster.data_hosts if _cluster.streams(host) and host.node_name not in fed]
            hidden = [host.name for host in cluster.hosts if host not in cluster.seen]
            fenced = [host for host in cluster.data_hosts if guard_stop(host) is not None]
            if streaming and hidden:
                # Somebody sends to them. Whoever only cannot be reached from here must not be taken for dead.
                cluster.problem(
                    'no_primary', hidden, 'no host that could be observed runs as primary, but %s %s from one that could not' % (
                        ', '.join(streaming), 'streams' if len(streaming) == 1 else 'stream'),
                    'every host in reach', _steps.shell(
                        'ansible %s -m ansible.builtin.ping' % _cluster.pattern(hidden), reason='Repair the way there, until this works'))
            elif fenced:
                for host in fenced:
                    _check_fenced(cluster, host, stopped)
            else:
                told = _start_of_a_standby(cluster)
                cluster.problem(
                    'no_primary', _registered_primary(cluster), 'the cluster exists, but no host runs as primary; data nodes: %s' % (
                        stopped or 'none seen'),
                    'one primary',
                    [_start_last_primary(cluster) or 'Start the server of the last primary if it was stopped on purpose.']
                    + ([_steps.shell(told['shell'], host=told['host'], reason='A standby can tell who that was: start it')] if told else [])
                    + [_steps.playbook('failover', reason='Otherwise type')])
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
    """{code, peers, since} of a primary that repmgr-guard has stopped, as far as it wrote them down, or None.

    Its mark means nothing beside a server that runs, one that is a standby now, or one whose data are gone: the guard starts none of them again.
    """
    observed = host.observed
    if observed.server.state != 'stopped' or observed.data.standby_signal or observed.data.state in ('missing', 'empty'):
        return None
    return (observed.guard or {}).get('stopped')


# By what the guard wrote down. Where that is nothing, it is the most frequent of them.
_STOPPED_BECAUSE = {
    'isolated': 'it cannot see {0}',
    'primary': '{0} is primary',
    'promoted': '{0} is on a newer timeline',
    'named': 'others name {0} as primary',
    'stood_still': 'this host stood still, and another primary could be elected meanwhile',
    'promoting': 'another node was being promoted with the votes of {0}',
    'hangs': 'it did not answer, and others had lost sight of it',
    'fuse': 'it could not see a majority of the votes, or was not at work',
}
# Its data are not the newest: it comes back as a standby.
_REPLACED = ('primary', 'promoted', 'named')


def _check_fenced(cluster, host, stopped):
    """The guard starts the server again when it sees a majority, so a failover is right only where a host is lost."""
    stop = guard_stop(host)
    restart = [] if (host.observed.guard or {}).get('running') else [
        _steps.shell('systemctl enable --now repmgr-guard', host=host.name, reason='Its guard does not run: start it')]
    names = dict((other.node_name, other.name) for other in cluster.hosts)
    peers = [names.get(peer, peer) for peer in stop.get('peers') or []]
    replaced = stop.get('code') in _REPLACED and bool(peers)
    if replaced:
        # Behind the one that counts stand those that only name it.
        peers = peers[:1]
    code = stop.get('code') if replaced or stop.get('code') in ('stood_still', 'promoting', 'hangs', 'fuse') else 'isolated'
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
        restart + ['Start %s again, or repair the network between %s and %s: the guard starts the server by itself as soon as it sees a majority.' % (
            ', '.join(peers) or 'the other nodes', host.name, 'it' if len(peers) == 1 else 'them')]
        + ([_steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern(peers), reason='Find out which of them answer')] if peers else [])
        + [_steps.playbook('failover', only_if='the host of %s is lost' % host.name)])


def _start_last_primary(cluster):
    registered = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and any(
        row.node_id == host.node_id and row.type == 'primary' and row.active for row in cluster.registry.values())]
    return _steps.start(registered[0].name, registered[0].observed.config, only_if='its server was stopped on purpose') if len(registered) == 1 else None


def _start_of_a_standby(cluster):
    """Where no server answers, nobody can tell who was primary, and failover needs to know. A standby may be started whoever that was."""
    stopped = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and host.observed.data.state == 'valid'
               and host.observed.data.standby_signal]
    return _steps.start(stopped[0].name, stopped[0].observed.config) if stopped and not cluster.registry else None


def _registered_primary(cluster):
    names = [row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active]
    return sorted(names) or [host.name for host in cluster.data_hosts or cluster.hosts]
