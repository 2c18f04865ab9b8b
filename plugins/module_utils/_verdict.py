# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the observations of all nodes of a cluster -> who is primary, is it healthy, what is wrong, what to do next."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _changeover, _conninfo, _repmgr, _restore, _settings, _sources, _steps, _verify
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import AUTHORITY_DAYS, LOCK_SECONDS, MAX_LAG, RENEWAL_DAYS, span
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import behind, lsn, position, says_received
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Host, Problem, integer, plain
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority, trust, voters

_MAX_RETAINED = 1024 * 1024 * 1024


class _Cluster:
    """The hosts of one cluster and what was concluded so far."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.problems = []
        self.seen = [host for host in hosts if host.observed is not None and not host.unreachable]
        self.registry = {}
        self.primary = None
        self.exists = False
        self.system_identifier = None

    def problem(self, code, node, seen, expected, steps='', stop=True):
        nodes = node if isinstance(node, list) else [node]
        self.problems.append(Problem(code=code, node=', '.join(nodes), nodes=nodes, seen=seen, expected=expected, steps=_steps.listed(steps), stop=stop))

    def has_at(self, host, code):
        return any(problem.code == code and host.name in problem.nodes for problem in self.problems)

    def has(self, *codes):
        return any(problem.code in codes for problem in self.problems)

    def is_witness(self, host):
        row = self.registry.get(host.node_id)
        if row is not None and row.node_name == host.node_name:
            return row.type == 'witness'
        return host.initial_role == 'witness'

    @property
    def data_hosts(self):
        return [host for host in self.seen if not self.is_witness(host)]

    @property
    def unlisted(self):
        """Registered nodes that no host of the inventory is.

        One with the id or the name of a host is the subject of id_taken or name_taken, one that a host's repmgr.conf names that of
        config_of_other_node, and metadata without any host of this cluster are foreign_metadata.
        """
        ours = set((host.node_id, host.node_name) for host in self.hosts)
        rows = [row for dummy, row in sorted(self.registry.items())]
        if not any((row.node_id, row.node_name) in ours for row in rows):
            return []
        ids = set(host.node_id for host in self.hosts) | set((host.observed.config or {}).get('node_id') for host in self.seen)
        names = set(host.node_name for host in self.hosts)
        return [row for row in rows if row.node_id not in ids and row.node_name not in names]


def verdict(hosts, deploying=True):
    """hosts: [Host] of one cluster -> dictionary, the same for a module and for a filter.

    deploying: whether a cluster that does not exist is about to be made.
    """
    cluster = _Cluster(hosts)
    _find_registry(cluster)
    _find_primary(cluster)
    _check_runs(cluster)
    if cluster.has('other_run'):
        # Some nodes were not observed, and whatever is wrong with the others may be that run's work in progress.
        return _answer(cluster, deploying)
    _check_seen(cluster)
    _check_restore(cluster)
    if cluster.exists or deploying:
        _check_primary(cluster)
    _check_other_server(cluster)
    _check_data(cluster)
    _check_metadata(cluster)
    _check_unlisted(cluster)
    _check_reach(cluster)
    _check_logins(cluster)
    _check_certificates(cluster)
    if cluster.exists:
        _check_replication(cluster)
        _check_repmgrd(cluster)
        _check_backup(cluster)
        _check_verified(cluster)
    return _answer(cluster, deploying)


# -- what is there

def _rows(host):
    return host.observed.nodes or []


def _running(host):
    return host.observed.server.state == 'running'


def _writable(host):
    return _running(host) and host.observed.server.in_recovery is False


def _recovering(host):
    observed = host.observed
    return bool(_running(host) and observed.server.in_recovery) or bool(
        observed.data.state == 'valid' and observed.data.standby_signal)


def _was_node(host):
    """A stopped server that ran as this node. Nobody may be left who remembers its cluster; it is one all the same."""
    observed = host.observed
    return bool(observed.server.state == 'stopped' and observed.data.state == 'valid' and observed.data.started
                and host.node_id is not None and (observed.config or {}).get('node_id') == host.node_id)


def _identifier(host):
    return host.observed.system_identifier


def _find_registry(cluster):
    """The metadata that count."""
    having = [host for host in cluster.seen if _rows(host)]
    if having:
        found = max(having, key=lambda host: trust(host.initial_role == 'witness', _writable(host), host.observed.server.timeline))
        cluster.registry = dict((row.node_id, row) for row in _rows(found))
    cluster.exists = bool(having) or any(
        _recovering(host) or _was_node(host) for host in cluster.seen if host.initial_role != 'witness')


def _find_primary(cluster):
    writable = [host for host in cluster.data_hosts if _writable(host)]
    if not cluster.exists:
        # A server that is there before the cluster is: on the host that shall be primary it is adopted.
        initial = [host for host in cluster.hosts if host.initial_role == 'primary']
        if len(initial) == 1 and initial[0] in writable:
            cluster.primary = initial[0]
        if len(initial) == 1 and initial[0] in cluster.seen:
            cluster.system_identifier = _identifier(initial[0])
        return
    registered = [host for host in writable if cluster.registry.get(host.node_id) is not None
                  and cluster.registry[host.node_id].node_name == host.node_name]
    known = set(_identifier(host) for host in cluster.data_hosts if _recovering(host) and _identifier(host))
    claimants = registered or [host for host in writable if _identifier(host) in known]
    if claimants:
        # A host whose data were replaced by a foreign cluster is no claimant: no other node shares its identifier, and its own
        # metadata do not know it.
        of_cluster = [host for host in claimants if _identifier(host) in known] or [
            host for host in claimants if any(row.node_id == host.node_id for row in _rows(host)) or not (known or _differs(cluster, host))]
        # A writable server with the cluster's data counts, registered or not.
        identifiers = set(_identifier(host) for host in of_cluster)
        claimants = [host for host in writable if host in of_cluster or _identifier(host) in identifiers]
        identifiers = identifiers or known
        cluster.system_identifier = sorted('%s' % item for item in identifiers)[0] if len(identifiers) == 1 else None
    elif known:
        cluster.system_identifier = sorted(known)[0] if len(known) == 1 else None
    else:
        stopped = set(_identifier(host) for host in cluster.data_hosts
                      if host.node_id in cluster.registry and _identifier(host))
        cluster.system_identifier = sorted(stopped)[0] if len(stopped) == 1 else None
    if len(claimants) == 1:
        cluster.primary = claimants[0]
    elif len(claimants) > 1:
        names = [host.name for host in claimants]
        for host in claimants:
            server = host.observed.server
            others = ', '.join(name for name in names if name != host.name)
            cluster.problem(
                'split_brain', host.name,
                'runs as primary on timeline %s at %s, and so does %s' % (server.timeline, server.current_lsn, others),
                'one primary',
                ['Find out which one holds the data to keep, and stop the server of every other.',
                 _steps.playbook('rejoin', repmgr_target=None, reason='Bring each of those back by')])


def _differs(cluster, host):
    """Whether this one is registered as something else than the primary, and another registered node, such as a primary that is stopped, has other data."""
    row = cluster.registry.get(host.node_id)
    return not (row is not None and row.type == 'primary' and row.active) and any(
        other is not host and other.node_id in cluster.registry and other.observed.data.state == 'valid' and _identifier(other) != _identifier(host)
        for other in cluster.data_hosts)


# -- checks

def _check_runs(cluster):
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


def _check_seen(cluster):
    hidden = [host for host in cluster.hosts if host not in cluster.seen]
    for host in hidden:
        cluster.problem(
            'unreachable', host.name, 'cannot be reached' if host.unreachable else 'was not observed',
            'every host of a new cluster in reach' if not cluster.exists else 'every host of the cluster in reach',
            # Without a primary nobody leaves; no_primary says what comes before that.
            [_steps.shell('ansible %s -m ansible.builtin.ping' % _pattern([host.name]), reason='Try')]
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


def _check_restore(cluster):
    """Between its two histories a cluster is left to the restore alone: a standby that was promoted then would have the number of the other one."""
    for host in cluster.seen:
        found = _restore.unfinished(host.observed.restore)
        if found:
            cluster.problem('restore_unfinished', host.name, found[0], found[1], [
                'Run the playbook restore again, with the same repmgr_restore: it goes on where it was.'])


def _check_primary(cluster):
    if cluster.exists:
        if cluster.primary is None and not cluster.has('split_brain'):
            stopped = ', '.join('%s (%s)' % (host.name, host.observed.data.cluster_state or host.observed.server.state)
                                for host in cluster.data_hosts)
            # Who streams from a host that was observed, as a cascaded standby, says nothing of those that were not.
            fed = set(entry.get('application_name') for host in cluster.seen for entry in host.observed.replication or [])
            streaming = [host.name for host in cluster.data_hosts if _streams(host) and host.node_name not in fed]
            hidden = [host.name for host in cluster.hosts if host not in cluster.seen]
            fenced = [host for host in cluster.data_hosts if guard_stop(host) is not None]
            if streaming and hidden:
                # Somebody sends to them. Whoever only cannot be reached from here must not be taken for dead.
                cluster.problem(
                    'no_primary', hidden, 'no host that could be observed runs as primary, but %s %s from one that could not' % (
                        ', '.join(streaming), 'streams' if len(streaming) == 1 else 'stream'),
                    'every host in reach', _steps.shell(
                        'ansible %s -m ansible.builtin.ping' % _pattern(hidden), reason='Repair the way there, until this works'))
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
                _steps.shell('ansible %s -m ansible.builtin.ping' % _pattern(peers), reason='Find out whether it answers'),
                _steps.playbook('failover', only_if='the host of %s is lost' % peers[0])])
        return
    cluster.problem(
        'no_primary', host.name, 'its guard stopped the server because %s, and no other host runs as primary; data nodes: %s' % (because, stopped),
        'one primary',
        restart + ['Start %s again, or repair the network between %s and %s: the guard starts the server by itself as soon as it sees a majority.' % (
            ', '.join(peers) or 'the other nodes', host.name, 'it' if len(peers) == 1 else 'them')]
        + ([_steps.shell('ansible %s -m ansible.builtin.ping' % _pattern(peers), reason='Find out which of them answer')] if peers else [])
        + [_steps.playbook('failover', only_if='the host of %s is lost' % host.name)])


def _pattern(names):
    """For ansible, in a shell."""
    return _steps.quoted(':'.join(names))


def _start_last_primary(cluster):
    registered = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and any(
        row.node_id == host.node_id and row.type == 'primary' and row.active for row in cluster.registry.values())]
    return _steps.start(registered[0].name, registered[0].observed.config, only_if='its server was stopped on purpose') if len(registered) == 1 else None


def _start_of_a_standby(cluster):
    """Where no server answers, nobody can tell who was primary, and failover needs to know. A standby may be started whoever that was."""
    stopped = [host for host in cluster.data_hosts if host.observed.server.state == 'stopped' and host.observed.data.state == 'valid'
               and host.observed.data.standby_signal]
    return _steps.start(stopped[0].name, stopped[0].observed.config) if stopped and not cluster.registry else None


def _missing_primary(cluster):
    """Who is registered as primary, by the host's name where the inventory has it."""
    names = dict((host.node_name, host.name) for host in cluster.hosts)
    return sorted(names.get(row.node_name, row.node_name) for row in cluster.registry.values() if row.type == 'primary' and row.active)


def _registered_primary(cluster):
    names = [row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active]
    return sorted(names) or [host.name for host in cluster.data_hosts or cluster.hosts]


def _check_other_server(cluster):
    """Where the inventory leads past the server that a host has, nothing is seen of that server, and a run would make another one beside it."""
    for host in cluster.seen:
        data, version = host.observed.data, host.postgresql_version
        # A repmgr.conf without data may be that of a deployment that never got further. What starts the server on Debian is in the way in any case.
        others = [entry for entry in host.observed.elsewhere or [] if entry.get('version') or (
            entry.get('node_id') == host.node_id and (entry.get('major') or host.observed.deployed))]
        path, major = (others[0].get('file'), others[0].get('major')) if others else (None, None)
        if others and others[0].get('version'):
            cluster.problem(
                'other_server', host.name, '%s is the configuration of a server in %s, and the inventory leads to %s' % (
                    path, others[0].get('data_directory'), data.path), 'no other cluster of that version and name on the host',
                ['Correct repmgr_data_directory or repmgr_postgresql_version of the host.',
                 _steps.shell('pg_renamecluster %s main other' % others[0].get('version'), host=host.name, only_if='that server is not of this cluster')
                 if major else 'Or remove that file, if no server needs it.'])
        elif others:
            cluster.problem(
                'other_server', host.name, '%s is that of a server in %s%s, and the inventory leads to %s' % (
                    path, others[0].get('data_directory'), ' (PostgreSQL %s)' % major if major else '', data.path), 'the server that this node has',
                ['Set repmgr_postgresql_version%s, or repmgr_data_directory, as that server has them.' % (' to %s' % major if major else ''),
                 'No playbook changes the major version of a cluster; after an upgrade by hand, correct that file by hand, too.'])
        elif data.state == 'valid' and data.major and version and data.major != version:
            cluster.problem(
                'other_server', host.name, 'data directory %s is of PostgreSQL %s, and the inventory leads to %s' % (data.path, data.major, version),
                'the major version of the data', 'Set repmgr_postgresql_version to %s. No playbook changes the major version of a cluster.' % data.major)


def _check_data(cluster):
    for host in cluster.seen:
        observed = host.observed
        data = observed.data
        if data.state == 'unrecognised':
            cluster.problem(
                'unrecognised_data', host.name, 'data directory %s %s' % (data.path, data.reason or 'holds something else'),
                'an empty directory or a PostgreSQL cluster',
                'Look at it; move it away if nobody needs it, or set repmgr_data_directory.')
        elif data.state == 'partial' and not _will_be_cloned(cluster, host):
            cluster.problem(
                'partial_data', host.name, 'data directory %s %s' % (data.path, data.reason or 'is incomplete'),
                'an empty directory or a complete PostgreSQL cluster', 'Look at it; move it away if nobody needs it.')
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
                _identifier(host) == cluster.system_identifier):
            cluster.problem(
                'witness_is_copy', host.name, 'is a witness, but holds a copy of the cluster (system identifier %s)' % _identifier(host),
                'a server of its own', 'Put the host into the standby group, or empty its data directory yourself.')


def _check_missing_data(cluster, host):
    """A host that was replaced by an empty one gets a copy. One that is as it was, but for its data, more likely lacks a mount."""
    observed = host.observed
    data = observed.data
    registered = cluster.exists and host.node_id in cluster.registry
    # What a run that was interrupted before or in its clone left is no node that was finished once.
    finished = (observed.config or {}).get('node_id') == host.node_id and observed.deployed and not data.clone_begun
    if finished and (registered or not cluster.exists):
        # Where no data are left to say so, it was a cluster all the same: a new one would be made in its place.
        cluster.problem(
            'vanished_data', host.name, '%s been deployed, but its data directory %s is %s' % (
                'is registered and has' if registered else 'has', data.path, data.state), 'its data, because only its file system may be missing',
            ['Mount the file system of its data, and run again.',
             _steps.playbook('rejoin', repmgr_target=host.name, repmgr_rejoin='reclone', only_if='its data are lost') if registered else
             'Where a new cluster shall take the place of one that is lost, remove repmgr.conf and repmgrd.service from its hosts.'])
    elif registered:
        cluster.problem(
            'missing_data', host.name, 'is registered, but its data directory %s is %s' % (data.path, data.state),
            'a copy of the primary', _steps.playbook('site'), stop=False)


def _will_be_cloned(cluster, host):
    if cluster.is_witness(host):
        return False
    if cluster.exists:
        return cluster.primary is not None and host is not cluster.primary
    return host.initial_role == 'standby'


def _check_valid_data(cluster, host):
    observed = host.observed
    identifier = _identifier(host)
    if host is cluster.primary:
        return
    if not cluster.exists:
        if host.initial_role == 'primary':
            return
        cluster.problem(
            'foreign_data', host.name, 'data directory %s holds another cluster (system identifier %s)' % (
                observed.data.path, identifier),
            'an empty directory on a host that shall become a standby',
            'Nothing is ever cleared by a deploy: move the directory away if nobody needs it, or take the host out of the inventory.')
        return
    if cluster.system_identifier is not None and identifier is not None and identifier != cluster.system_identifier:
        cluster.problem(
            'foreign_data', host.name, 'data directory %s holds another cluster (system identifier %s)' % (
                observed.data.path, identifier),
            'system identifier %s' % cluster.system_identifier,
            'Nothing is ever cleared by a deploy: move the directory away if nobody needs it, or take the host out of the inventory.')
    elif cluster.primary is not None and observed.server.state == 'stopped' and not observed.data.standby_signal:
        cluster.problem(
            'stopped_ex_primary', host.name, 'its server is stopped and %s, while %s is the primary now' % (
                'would recover from an archive and then promote itself' if observed.data.promotes_itself else 'was a primary', cluster.primary.name),
            'a standby of %s' % cluster.primary.name,
            # What somebody has restored is moved aside, and nothing else is done to it.
            ([_steps.playbook('rejoin', repmgr_target=host.name, repmgr_rejoin='reclone', only_if='nobody needs what was restored there')]
             if observed.data.promotes_itself else [_steps.playbook('rejoin', repmgr_target=host.name, reason='Bring it back by')])
            + ([] if host.node_id in cluster.registry else
               [_steps.playbook('add_node', repmgr_target=host.name, reason='It was removed from the cluster; when it is back, complete it by')]))
    elif cluster.primary is not None and observed.server.state == 'stopped':
        cluster.problem(
            'stopped_standby', host.name, 'its server is stopped', 'a running standby',
            _steps.playbook('site'), stop=False)


def _check_metadata(cluster):
    if _runs_unregistered(cluster):
        cluster.problem(
            'unregistered_primary', cluster.primary.name, 'runs as primary, but %s is registered as primary' % ', '.join(_other_primaries(cluster)),
            'its own record as primary, because nobody can be made its standby before',
            [_steps.shell('repmgr primary register --force', host=cluster.primary.name, reason='Register it')]
            if all(_is_no_primary(cluster, name) for name in _other_primaries(cluster)) else
            [_steps.shell('repmgr primary register --force', host=cluster.primary.name,
                          only_if='it is certain that %s does not run' % ', '.join(_other_primaries(cluster)))])
    elif cluster.exists and cluster.primary is not None and _registered_as(cluster, cluster.primary) not in ('', 'primary'):
        cluster.problem(
            'stale_record', cluster.primary.name, 'runs as primary, but is registered as %s' % _registered_as(cluster, cluster.primary),
            'its own record as primary, because nobody can be made its standby before', _steps.playbook('site'), stop=False)
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
            if cluster.exists and host in cluster.seen and other is None and not cluster.has_at(host, 'unregistered_primary'):
                cluster.problem('not_registered', host.name, 'is not registered', 'a record in repmgr.nodes',
                                _steps.playbook('site'), stop=False)
            continue
        if row.type == 'witness' and host.initial_role in ('primary', 'standby'):
            cluster.problem(
                'witness_as_standby', host.name, 'is registered as witness, but is in the %s group' % host.initial_role,
                'the witness group', ['Put it into the witness group.', _steps.shell(
                    'repmgr witness unregister', host=host.name, only_if='it shall be no witness any more')])
        elif row.type != 'witness' and host.initial_role == 'witness':
            cluster.problem(
                'standby_as_witness', host.name, 'is registered as %s, but is in the witness group' % row.type,
                'the primary or standby group', ['Put it into the standby group.', _steps.shell(
                    'repmgr standby unregister', host=host.name, only_if='it shall become a witness')])
        if row.active is False:
            cluster.problem('inactive', host.name, 'its record is inactive', 'an active record',
                            ['Look at `repmgr cluster show`.', _steps.playbook('site', reason='A node that runs is registered again by')], stop=False)
        elif row.type == 'primary' and cluster.primary is not None and host is not cluster.primary:
            cluster.problem('stale_record', host.name, 'is registered as primary, while %s is' % cluster.primary.name,
                            # With two active primaries in the records, site cannot tell which one a standby has to follow.
                            'a record as standby', _steps.shell('repmgr standby register --force', host=host.name, reason='Register it as what it is')
                            if _runs_as_standby(cluster, host) and not _runs_unregistered(cluster) else _steps.playbook('site'), stop=False)
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


def _runs_unregistered(cluster):
    """Whether the primary was promoted and not registered, as by a run that was ended in between. site and rejoin would stop in their middle: repmgr_node
    registers no primary beside another one in the records that does not run as such, and repmgr makes nobody the standby of one that is not registered.
    """
    if not cluster.exists or cluster.primary is None or not _other_primaries(cluster):
        return False
    return cluster.registry.get(cluster.primary.node_id) is None or _registered_as(cluster, cluster.primary) not in ('', 'primary')


def _registered_as(cluster, host):
    """The type in the record of a host, or ''."""
    row = cluster.registry.get(host.node_id)
    return row.type if row is not None and row.node_name == host.node_name else ''


def _runs_as_standby(cluster, host):
    return host in cluster.seen and _running(host) and host.observed.server.in_recovery is True


def _other_primaries(cluster):
    """The other nodes that are registered as active primary."""
    return sorted(row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active
                  and row.node_id != cluster.primary.node_id and row.node_name != cluster.primary.node_name)


def _is_no_primary(cluster, node_name):
    """Whether it was seen that a node takes no writes: what does not answer the controller may be a primary all the same."""
    return any(host.node_name == node_name and (host.observed.server.state == 'stopped' or _runs_as_standby(cluster, host)) for host in cluster.seen)


def _check_unlisted(cluster):
    """A run would take away their access, their slots and their votes, which the other nodes still count."""
    for row in cluster.unlisted:
        address = _conninfo.address(_conninfo.parse_or_empty(row.conninfo))
        there = [host.name for host in cluster.hosts if address and address == host.address]
        cluster.problem(
            'unlisted_node', row.node_name, 'is registered in the cluster%s, but is not in this inventory' % (
                ' with the address of %s' % ', '.join(there) if there else ''),
            'every registered node in the inventory',
            ['Put it into the inventory, or correct repmgr_node_id and repmgr_node_name of its host.', _steps.playbook(
                'remove_node', repmgr_target=row.node_name, only_if='it shall leave the cluster')])


def _check_own_rows(cluster, host):
    """Metadata in which nobody of this cluster appears are another cluster's."""
    rows = _rows(host)
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
                'stale_witness', host.name, 'its copy of the metadata does not know primary %s' % cluster.primary.name,
                'a current copy', _steps.playbook('site'), stop=False)


def _check_reach(cluster):
    seen = dict((host.name, host) for host in cluster.seen)
    for host in cluster.seen:
        for entry in host.observed.reach or []:
            peer = seen.get(entry.get('name'))
            if peer is None:
                continue
            if entry.get('ssh') == 'unresolved':
                cluster.problem(
                    'unresolved', host.name, 'cannot resolve address %s of %s' % (entry.get('address'), peer.name),
                    'a name that every node resolves, or an address', 'Set repmgr_address of %s.' % peer.name)
                continue
            state = entry.get('postgresql')
            if peer is host:
                # Whatever listens there may be the server that the inventory leads past.
                if state == 'open' and host.observed.server.state == 'stopped' and not cluster.has_at(host, 'other_server'):
                    cluster.problem(
                        'port_taken', host.name, 'something listens on port %s, but not the server of %s' % (
                            entry.get('port', host.port), host.observed.data.path),
                        'a free port, or that server',
                        [_steps.shell('ss -ltnp', host=host.name, reason='Find it'), 'Stop it, or set repmgr_port or repmgr_data_directory.'])
                continue
            if entry.get('ssh') != 'open':
                cluster.problem(
                    'ssh_unreachable', host.name, 'cannot reach SSH of %s at %s port %s: %s' % (
                        peer.name, entry.get('address'), entry.get('ssh_port', 22), entry.get('ssh')),
                    'an open port', 'Check firewall, sshd and repmgr_address of %s.' % peer.name)
            # Nothing listens yet where a server does not run, and an adopted one may still listen on localhost alone.
            closed = state == 'refused' and _running(peer) and peer.node_id in cluster.registry
            if state in ('timeout', 'unreachable', 'error') or closed:
                cluster.problem(
                    'postgresql_unreachable', host.name, 'cannot reach PostgreSQL of %s at %s port %s: %s' % (
                        peer.name, entry.get('address'), entry.get('port', peer.port), state),
                    'an open port', 'Check firewall, listen_addresses and repmgr_address of %s.' % peer.name)


def _check_logins(cluster):
    """Who cannot log in where: SSH, SQL, replication. Said once for each host that something is wrong with."""
    names = set(host.name for host in cluster.seen)
    for host in cluster.seen:
        failed = []
        for peer, ways in sorted((host.observed.logins or {}).items()):
            failed += ['%s by %s (%s)' % (peer, way, why) for way, why in sorted(ways.items()) if why and peer in names]
        if failed:
            cluster.problem(
                'login_failed', host.name, 'cannot log in to %s' % '; '.join(failed), 'every node to be let in by every other',
                _steps.playbook('site', reason='Keys, passwords, certificates and access lines are put right by'))


def _check_certificates(cluster):
    for host in cluster.seen:
        tls = host.observed.tls
        if not tls or not host.tls:
            continue
        provided = host.tls == 'provided'
        renewal = 'Put it right in repmgr_tls_certificate, repmgr_tls_key and repmgr_tls_root of the host.' if provided else _steps.playbook('site')
        authority_days, authority_limit = tls.get('authority_days'), RENEWAL_DAYS if provided else AUTHORITY_DAYS
        if tls.get('error') and (provided or cluster.exists and host.node_id in cluster.registry):
            cluster.problem(
                'certificate', host.name, 'its peers would not accept its TLS certificate: %s' % tls.get('error'),
                'a certificate that they accept', renewal, stop=provided)
        elif not tls.get('error') and tls.get('days') is not None and tls['days'] < RENEWAL_DAYS:
            cluster.problem(
                'certificate_expires', host.name, 'its TLS certificate expires in %d days' % tls['days'],
                '%d days or more' % RENEWAL_DAYS, renewal, stop=False)
        # What site.yml signs by it ends with it.
        if authority_days is not None and authority_days < authority_limit:
            cluster.problem(
                'authority_expires', host.name, 'the authority of its TLS certificate %s, and nobody accepts the certificate after that' % (
                    'expires in %d days' % authority_days if authority_days >= 0 else 'has expired'), '%d days or more' % authority_limit,
                renewal if provided else _steps.playbook(
                    'rotate_credentials', repmgr_credentials='certificates', reason='A new authority and new certificates are made by'), stop=False)


def certificate_days(tls):
    """Whole days until peers no longer accept a server's certificate, by the observation of it; None where that is not known."""
    known = [days for days in ((tls or {}).get('days'), (tls or {}).get('authority_days')) if days is not None]
    return min(known) if known and tls.get('days') is not None else None


def logins(hosts):
    """{from: {to: ['no ssh', ...]}} of everybody who was tried, or {} where all of it worked."""
    table = dict((host.name, dict(
        (peer, ['no %s' % way for way in ('ssh', 'sql', 'replication') if ways.get(way)])
        for peer, ways in (host.observed.logins or {}).items())) for host in hosts if host.observed is not None and not host.unreachable)
    return table if any(failed for row in table.values() for failed in row.values()) else {}


def _check_replication(cluster):
    primary = cluster.primary
    if primary is None:
        return
    server = primary.observed.server
    for host in cluster.data_hosts:
        observed = host.observed
        if host is primary or not (_running(host) and observed.server.sql and observed.server.in_recovery):
            continue
        receiver = observed.receiver or {}
        if receiver.get('status') != 'streaming' and _wal_removed(host, primary):
            holders = [other.name for other in cluster.data_hosts if other is not host and _streams(other) and not _wal_removed(host, other)]
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
    _check_slots(cluster)
    row = None
    for host in cluster.seen:
        row = cluster.registry.get(host.node_id)
        if row is not None and row.type == 'witness' and row.upstream_node_id != primary.node_id and (
                cluster.registry.get(primary.node_id) is not None):
            cluster.problem(
                'witness_upstream', host.name, 'watches node %s, while %s is the primary' % (row.upstream_node_id, primary.name),
                'node %s' % primary.node_id, _steps.playbook('site'), stop=False)
        if cluster.is_witness(host) and not _running(host):
            _check_witness_down(cluster, host)


def _check_witness_down(cluster, host):
    data = host.observed.data
    if data.state in ('missing', 'empty') and host.observed.config:
        cluster.problem(
            'witness_down', host.name, 'the server of the witness is %s, and its data directory %s is %s' % (host.observed.server.state, data.path, data.state),
            # pg_createcluster of Debian makes none where the configuration of one is left.
            'a running server', [
                'Mount the file system of its data, and start its server.',
                'Where they are lost, a new server is as good, because a witness only has copies: on Debian, move its configuration directory away.',
                _steps.playbook('site', reason='Then type')], stop=False)
    else:
        cluster.problem('witness_down', host.name, 'the server of the witness is %s' % host.observed.server.state,
                        'a running server', [
                            'systemd starts one that has died, five times in two minutes.',
                            _steps.start(host.name, host.observed.config) or _steps.playbook('site')], stop=False)


def _received(host):
    """Up to where a standby has its WAL, in bytes, or None."""
    known = [place for place in (position(host.observed.server.received_lsn), position(host.observed.server.replayed_lsn)) if place is not None]
    return max(known) if known else None


def _wal_removed(standby, upstream):
    """Whether the upstream has no longer what the standby needs next. One with an archive gets it from there."""
    observed = standby.observed
    archive = (observed.server.settings or {}).get('restore_command') or (observed.config or {}).get('restore_command')
    received, oldest = _received(standby), upstream.observed.server.oldest_wal
    if not says_received(observed.server):
        return False
    return not archive and received is not None and oldest is not None and received < oldest


def _check_slots(cluster):
    """The nodes' own slots that nobody uses. repmgr-guard keeps one for each member on every data node, and advances it while the member streams.

    A slot of a backup program or a subscriber is for its owner to judge.
    """
    streaming = set(row.slot_name for row in cluster.registry.values() if row.slot_name and any(
        host.node_id == row.node_id and (host is cluster.primary or _streams(host)) for host in cluster.data_hosts))
    members = dict((_repmgr.slot_name(other.node_id), other.name) for other in cluster.hosts)
    witnesses = [_repmgr.slot_name(other.node_id) for other in cluster.hosts if cluster.is_witness(other)]
    for host in cluster.data_hosts:
        advanced = streaming if (host.observed.guard or {}).get('running') else ()
        for slot in host.observed.slots or []:
            name = slot.get('slot_name') or ''
            if not slot.get('active') and (slot.get('retained_bytes') or 0) > _MAX_RETAINED and name not in advanced and _repmgr.is_slot_of_a_node(name):
                # A witness never streams: what kept its WAL was another node.
                gone = name in members and name not in streaming and name not in witnesses
                cluster.problem(
                    'stale_slot', host.name, 'nobody uses slot %s, and it keeps %d MB of WAL' % (name, slot.get('retained_bytes') // 1048576),
                    'no WAL kept for a node that is gone',
                    _steps.playbook('remove_node', repmgr_target=members[name], only_if='%s is gone for good' % members[name]) if gone else _steps.shell(
                        'psql -c "select pg_drop_replication_slot(\'%s\')"' % name, host=host.name,
                        only_if='%s does not stream from it' % members[name] if name in members else 'its node is gone for good'),
                    stop=False)


def _check_repmgrd(cluster):
    for host in cluster.seen:
        if not (_running(host) and host.observed.server.sql) or host.node_id not in cluster.registry:
            continue
        repmgrd = (host.observed.repmgr or {}).get('repmgrd') or {}
        if _versions_differ(host):
            _check_versions(cluster, host, _upgrade_repmgr(host))
        elif repmgrd.get('running') is False:
            cluster.problem('repmgrd_down', host.name, 'repmgrd is not running', 'a running repmgrd',
                            _steps.shell('systemctl start repmgrd', host=host.name), stop=False)
        if repmgrd.get('running') is None:
            cluster.problem('repmgrd_unknown', host.name, 'repmgrd cannot be asked', 'shared_preload_libraries with repmgr',
                            'Add repmgr to shared_preload_libraries and restart the server.', stop=False)
        if repmgrd.get('paused'):
            note = host.observed.pause
            why = ' (%s: %s)' % (note.get('by'), note.get('reason')) if note else ''
            cluster.problem('repmgrd_paused', host.name, 'repmgrd is paused: no automatic failover%s' % why, 'not paused',
                            _steps.unpause((note or {}).get('by')), stop=False)
        guard = host.observed.guard
        if guard and not (guard.get('running') and guard.get('enabled')):
            cluster.problem('guard_down', host.name, 'repmgr-guard %s' % (
                'would not run after a boot' if guard.get('running') else 'is not running: nothing stops this node when it is cut off'),
                'a running guard', _steps.shell('systemctl enable --now repmgr-guard', host=host.name), stop=False)
        fuse = (guard or {}).get('fuse')
        if fuse and not (fuse.get('running') and fuse.get('enabled')):
            cluster.problem('fuse_down', host.name, 'repmgr-guard-fuse %s' % (
                'would not run after a boot' if fuse.get('running') else
                'is not running: nothing stops this node when it is cut off and its guard hangs or dies'),
                'a running fuse', _steps.shell('systemctl enable --now repmgr-guard-fuse', host=host.name), stop=False)
        if host.observed.server.restart_for:
            cluster.problem('restart_pending', host.name, 'its server waits for a restart: %s' % ', '.join(host.observed.server.restart_for),
                            'a server that runs what is installed and configured',
                            _steps.playbook('rolling_restart'), stop=False)


# What minor_upgrade brings together. repmgrd compares the two when it starts; what comes later does not end one that runs.
OTHER_VERSIONS = ('old_extension', 'new_extension')
_SAME_VERSION = 'the same version of both, because repmgrd does not start beside an extension of another one'
RESTART_BETWEEN = [
    'This upgrade needs a restart of every server, and no playbook does it: stop repmgrd on all nodes, upgrade repmgr there, restart the servers.',
    'Then type in the database of repmgr, on the primary and on the witness: ALTER EXTENSION repmgr UPDATE', 'Start repmgrd on all nodes.']


def _versions(host):
    """(of the installed packages, of the extension in the database), () where it is not known."""
    return (_repmgr.parse_version(host.observed.repmgr_version)[:2], _repmgr.parse_version((host.observed.repmgr or {}).get('extension'))[:2])


def _versions_differ(host):
    """Whether the packages of repmgr and its extension are known to be of different versions."""
    installed, extension = _versions(host)
    return bool(installed and extension and installed != extension)


def _upgrade_repmgr(host):
    upgrade = RESTART_BETWEEN if _repmgr.needs_restart(*sorted(_versions(host))) else _steps.playbook('minor_upgrade')
    return upgrade


def _start_repmgrd(host):
    return _upgrade_repmgr(host) if _versions_differ(host) else _steps.shell('systemctl start repmgrd', host=host.name)


def _check_versions(cluster, host, upgrade):
    installed, extension = host.observed.repmgr_version, host.observed.repmgr.get('extension')
    daemon = 'does not run' if _repmgrd(host) == 'down' else 'would not start again'
    if _versions(host)[0] > _versions(host)[1]:
        cluster.problem('old_extension', host.name, 'its repmgrd %s: repmgr %s is installed, and the extension in its database is %s' % (
            daemon, installed, extension), _SAME_VERSION, upgrade, stop=False)
    else:
        cluster.problem('new_extension', host.name, 'its repmgrd %s: the extension in its database is %s, and repmgr %s is installed' % (
            daemon, extension, installed), _SAME_VERSION, upgrade, stop=False)


# -- what only a deployment has to look at

def deploy_problems(hosts):
    """What a deployment would break by doing as the inventory says: it writes passwords, ports and names on all nodes long before the servers have them.
    And what it could not be ended with: a package source that has to be corrected first."""
    cluster = _Cluster(hosts)
    _check_runs(cluster)
    if cluster.has('other_run'):
        return []
    _find_registry(cluster)
    _find_primary(cluster)
    cluster.problems = []
    for host in cluster.seen:
        _check_port(cluster, host)
        _check_names(cluster, host)
        _check_hba_file(cluster, host)
        unusable = _sources.plan(host)['problem']
        if unusable:
            cluster.problem('unusable_source', host.name, 'the package source %s, %s' % (unusable['source'], unusable['seen']), unusable['expected'],
                            unusable['steps'])
    _check_password(cluster)
    if cluster.exists:
        _check_changeover(cluster)
    _check_settings(cluster)
    return [_problem(problem) for problem in cluster.problems]


def _registered(cluster, host):
    """The connection string that a node is registered with, as libpq reads it; {} where it is not registered."""
    row = cluster.registry.get(host.node_id)
    if row is None or row.node_name != host.node_name or not row.conninfo:
        return {}
    return _conninfo.effective(_conninfo.parse_or_empty(row.conninfo))


def _check_hba_file(cluster, host):
    hba = host.observed.hba or {}
    if hba.get('other'):
        cluster.problem(
            'other_hba_file', host.name, 'its server reads %s, not %s' % (hba['other'], hba['file']),
            'the second one, to which the collection writes its rules',
            'Move what is in the first one there, set hba_file to it, and restart the server.')


def _check_port(cluster, host):
    registered = _registered(cluster, host)
    running = integer((host.observed.server.settings or {}).get('port')) if _running(host) else None
    port = running or integer(registered.get('port'))
    if port is not None and host.port is not None and port != host.port:
        cluster.problem(
            'changed_port', host.name, '%s port %d, and repmgr_port is %d' % ('its server listens on' if running else 'is registered with', port, host.port),
            'the port that it has, because the other nodes would lose it', 'Set repmgr_port: %d. No playbook changes the port of a server.' % port)


def _check_names(cluster, host):
    registered = _registered(cluster, host)
    for variable, key, value in (('repmgr_user', 'user', host.user), ('repmgr_database', 'dbname', host.database)):
        if registered.get(key) and value and registered[key] != value:
            cluster.problem(
                'changed_name', host.name, 'is registered with %s %s, and %s is %s' % (key, registered[key], variable, value),
                'the names that the cluster has, because the nodes log in by them', 'Set %s: %s. No playbook renames it.' % (variable, registered[key]))


def _check_password(cluster):
    """By the primary alone: after a rotation that was ended in the middle, its passfile is the last one with the old password."""
    if cluster.exists and cluster.primary is not None and cluster.primary.other_password:
        cluster.problem(
            'changed_password', cluster.primary.name, 'repmgr_password is not the password that the nodes log in with',
            'that one, because a new password is set on the servers before the nodes use it',
            [_steps.playbook('rotate_credentials'), 'Until the cluster is healthy, set the old one again.'])


def _check_changeover(cluster):
    """TLS settings and addresses: what site.yml changes in an order in which the nodes go on, and where there is no such order.

    A host that cannot be reached any more after that was begun was ready for it before.
    """
    records = [plain(host) for host in cluster.hosts]
    found = _changeover.changeover(records)
    hidden = [host.name for host in cluster.hosts if host not in cluster.seen]
    if found['servers']:
        _check_changed_tls(cluster, found, [] if found['begun'] else hidden)
    for host in cluster.seen:
        former = found['former'].get(host.name)
        if former:
            begun = _conninfo.address(_conninfo.parse_or_empty((host.observed.config or {}).get('conninfo'))) == host.address
            _check_changed_address(cluster, host, ', '.join(former), found['verified'].get(host.name, []), [] if begun else hidden,
                                   _changeover.taken(records, host.name, found))
    for name, peer, address in _changeover.strangers(records, found):
        cluster.problem(
            'changed_address', name, 'connects to %s from %s, which is not its repmgr_address' % (peer, address),
            'nodes that connect to each other from the addresses that they let in',
            'Set repmgr_address of all nodes to addresses of the same network, or leave it as it was.')


def _check_changed_tls(cluster, found, hidden):
    mode, root = cluster.hosts[0].tls or 'off', _changeover.verified_by(cluster.hosts[0].conninfo)
    used = 'with certificates of %s' % ', '.join(found['roots']) if found['roots'] else 'with TLS' if mode == 'off' else 'without TLS'
    foreign = [path for path in found['roots'] if path not in (_changeover.MANAGED_ROOT, root)]
    if hidden:
        cluster.problem(
            'changed_tls', hidden, 'cannot be reached, while nodes still connect %s, and repmgr_tls is %s' % (used, mode),
            'every host in reach, because one that is left out would not be let in by the others',
            ['Leave repmgr_tls as it was until then.', _steps.shell('ansible %s -m ansible.builtin.ping' % _pattern(hidden), reason='Try'),
             _steps.playbook('remove_node', repmgr_target=None, only_if='one of them is gone for good')])
    elif mode == 'provided' and foreign:
        cluster.problem(
            'changed_tls', [host.name for host in cluster.hosts], 'nodes verify each other by %s, and repmgr_tls_root is %s' % (', '.join(foreign), root),
            'the same path, because until all nodes use the new one each has to accept both authorities',
            'Add what is in %s to %s on every node, and set repmgr_tls_root: %s.' % (root, foreign[0], foreign[0]))
    else:
        cluster.problem(
            'pending_tls', found['clients'] or [host.name for host in cluster.seen], 'nodes connect %s, and repmgr_tls is %s' % (used, mode),
            'nodes that connect as the inventory says', _steps.playbook('site'))


def _check_changed_address(cluster, host, former, verified, hidden, taken):
    names = (host.observed.tls or {}).get('names') or []
    if taken is not None:
        cluster.problem(
            'changed_address', host.name, 'is connected to by %s, and its repmgr_address %s is %s, by which nodes still connect to %s' % (
                former, host.address, taken[1], taken[0]),
            'an address that no other node has, because nodes would take the one for the other',
            ['Give %s an address that neither has had, and leave that of %s.' % (taken[0], host.name), _steps.playbook('site', reason='Then type'),
             'Change the other after that.'])
    elif hidden:
        cluster.problem(
            'changed_address', hidden, 'cannot be reached, while nodes still connect to %s by %s, and its repmgr_address is %s' % (
                host.name, former, host.address),
            'every host in reach, because one that is left out would not know the new address',
            ['Leave repmgr_address as it was until then.', _steps.shell('ansible %s -m ansible.builtin.ping' % _pattern(hidden), reason='Try'),
             _steps.playbook('remove_node', repmgr_target=None, only_if='one of them is gone for good')])
    elif host.tls == 'provided' and not set(verified) <= set(names):
        cluster.problem(
            'changed_address', host.name, 'is connected to by %s, its repmgr_address is %s, and its certificate is made out to %s' % (
                former, host.address, ', '.join(names) or 'neither'),
            'a certificate for both, until all nodes use the new address',
            'Put one that is made out to both into repmgr_tls_certificate of the host, and leave out the former name with the next one.')
    else:
        cluster.problem(
            'pending_address', host.name, 'is connected to by %s, and its repmgr_address is %s' % (former, host.address),
            'nodes that connect to it as the inventory says', _steps.playbook('site'))


def _check_settings(cluster):
    """Before the collection's own file is there: afterwards it holds what was kept."""
    lost = {}
    for host in cluster.seen:
        for item in _settings.replaced(host, cluster.hosts):
            lost.setdefault(item, []).append(host.name)
    for (name, theirs, path, own), names in sorted(lost.items()):
        cluster.problem(
            'replaced_setting', names, "%s is '%s' in %s, and would become '%s'" % (name, theirs, path, own),
            'the inventory to say what becomes of a setting that was there before', 'Name it there: %s.' % _settings.named_by(name))


# -- would a failover succeed

def _failover_ready(cluster):
    """Would an automatic failover succeed if the primary died now: {ready, reasons, candidates}; candidates best first.

    The rules are those of do_election() in repmgr's repmgrd-physical.c, which is the same text in 5.2.0, 5.3.3, 5.4.1 and 5.5.0, with
    get_active_sibling_node_records() of dbutils.c and get_repmgrd_pid() of repmgr.c:

    * Voters are the active records whose upstream is the primary, the witness among them. A voter counts as visible when its server
      answers; its repmgrd, priority and failover mode do not matter. Visible must be more than half, or the standby has no sibling.
    * One visible voter must be in the primary's location; the standby that votes counts as one.
    * Each standby judges the others. It passes over who has priority 0 or less, is not in recovery, or has no repmgrd recorded.
      The best has received most, then has the highest priority, then the lowest id.
    * It cannot see that another is paused, set to failover=manual, or has a repmgrd that was killed and so is recorded still: such a
      one may win, and then nobody is promoted.
    * A standby with siblings resumes a paused replay; one that may not, gives up.
    """
    primary = cluster.primary
    row = cluster.registry.get(primary.node_id) if primary is not None else None
    if not cluster.exists:
        return _not_ready([Problem(seen='there is no cluster yet' if cluster.seen else 'no node was observed')])
    if primary is None or cluster.has('split_brain'):
        return _not_ready([Problem(seen='no single primary is known, so there is nothing to fail over from')])
    if row is None or row.type != 'primary':
        return _not_ready([_reason(primary.name, 'runs as primary, but is not registered as such', 'a record as primary',
                                   _steps.shell('repmgr primary register --force', host=primary.name)
                                   if _runs_unregistered(cluster) else _steps.playbook('site'))])
    voters = [item for dummy, item in sorted(cluster.registry.items())
              if item.type in ('standby', 'witness') and item.active is not False and item.upstream_node_id == primary.node_id]
    hosts = dict((host.node_id, host) for host in cluster.seen)
    visible = [item for item in voters if item.node_id in hosts and _answers(hosts[item.node_id])]
    candidates = [_candidate(item, hosts[item.node_id], primary, len(voters) == 1) for item in visible if item.type == 'standby']
    electable = set(item.node_id for item in visible if _electable(item, hosts[item.node_id]))
    candidates.sort(key=lambda item: (item['node_id'] not in electable, item['lag_bytes'] is None, item['lag_bytes'] or 0,
                                      -(item['priority'] or 0), item['node_id']))
    reasons = _candidate_reasons(primary, candidates)
    reasons += _quorum_reasons(primary, row, voters, visible)
    reasons += _vote_reasons(cluster, primary)
    # The slot that is kept for the primary is one that it will want as a standby.
    reasons += _follow_reasons(visible, voters + [row], hosts, candidates)
    reasons += _rewind_reasons(primary)
    return _readiness(reasons, candidates)


def _not_ready(reasons):
    return _readiness(reasons, [])


def _readiness(reasons, candidates):
    return {
        'ready': not reasons, 'candidates': candidates,
        'reasons': [reason.message if reason.node else reason.seen for reason in reasons],
        'problems': [dict(_problem(reason), message=reason.message if reason.node else reason.seen) for reason in reasons],
    }


def _reason(node, seen, expected, steps):
    return Problem(code='failover_not_ready', node=node, nodes=[node], seen=seen, expected=expected, steps=_steps.listed(steps))


def _answers(host):
    return _running(host) and host.observed.server.sql


# An obstacle to an election alone: a switchover is a person's decision.
_MANUAL = 'failover is manual in repmgr.conf'
# Why repmgrd would not act.
_IDLE = {'down': 'repmgrd is not running', 'unknown': 'repmgrd cannot be asked', 'paused': 'repmgrd is paused'}


def _repmgrd(host):
    """down, unknown, paused or running"""
    repmgrd = (host.observed.repmgr or {}).get('repmgrd') or {}
    if repmgrd.get('running') is False:
        return 'down'
    if repmgrd.get('running') is None:
        return 'unknown'
    return 'paused' if repmgrd.get('paused') else 'running'


def _streams(host):
    return (host.observed.receiver or {}).get('status') == 'streaming' and host.observed.server.in_recovery is True


def _electable(row, host):
    """Whether the others may take it for the winner. repmgrd does not ask who streams, but who does not is behind from the next write."""
    repmgrd = (host.observed.repmgr or {}).get('repmgrd') or {}
    return _streams(host) and (row.priority or 0) > 0 and bool(repmgrd.get('running') or repmgrd.get('pid'))


def _candidate(row, host, primary, alone):
    observed = host.observed
    obstacles = []
    if not _streams(host):
        obstacles.append('does not stream from the primary')
    if not (row.priority or 0) > 0:
        obstacles.append('priority is 0')
    if observed.config and observed.config.get('failover') != 'automatic':
        # repmgr's own default is manual.
        obstacles.append(_MANUAL)
    if _repmgrd(host) in _IDLE:
        obstacles.append(_IDLE[_repmgrd(host)])
    if observed.server.replay_paused and not _resumes_replay(observed, alone):
        obstacles.append('replay is paused')
    return {
        'name': host.name, 'node_id': row.node_id, 'priority': row.priority, 'location': row.location,
        'lag_bytes': _lag(row, host, primary), 'obstacles': obstacles,
    }


def _resumes_replay(observed, alone):
    """do_election() does where there are siblings; without any, it is left to the promotion, which does so from PostgreSQL 13 on."""
    if alone:
        return (observed.server.version_num or 0) >= 130000
    missing = (observed.repmgr or {}).get('missing_rights')
    return missing is not None and 'execute of pg_wal_replay_resume()' not in missing


def _lag(row, host, primary):
    """Bytes that the primary has written and this standby has not received, or None."""
    written = position(primary.observed.server.current_lsn)
    received = None
    for entry in primary.observed.replication or []:
        # Of the same moment as the primary's own position, which the standby's word is not.
        if entry.get('application_name') == row.node_name:
            received = position(entry.get('flush_lsn'))
    if received is None:
        received = position(host.observed.server.received_lsn)
    return behind(written, received)


def _able(candidates):
    return [item for item in candidates if not item['obstacles']]


def _successor(candidates):
    """The standby that a planned switchover should go to, or ''."""
    return ([item['name'] for item in candidates if not set(item['obstacles']) - set([_MANUAL])] or [''])[0]


def _candidate_reasons(primary, candidates):
    if not candidates:
        return [_reason(primary.name, 'no registered standby of it answers', 'one that could be promoted', _steps.playbook('site'))]
    if not _able(candidates):
        return [_reason(primary.name, 'none of its standbys could be promoted: %s' % '; '.join(
            '%s: %s' % (item['name'], ', '.join(item['obstacles'])) for item in candidates), 'one that could be promoted',
            _steps.playbook('status', reason='Look at'))]
    first = candidates[0]
    if first['obstacles']:
        return [_reason(first['name'], 'the others would elect it, but %s: nobody would be promoted' % ', '.join(first['obstacles']),
                        'a winner that promotes itself', 'Mend that, or set its priority to 0 in repmgr.conf and register it again.')]
    if (first['lag_bytes'] or 0) > MAX_LAG:
        return [_reason(first['name'], 'is the best candidate, but %d MB behind' % (first['lag_bytes'] // 1048576),
                        '%d MB at most, because the rest would be lost' % (MAX_LAG // 1048576),
                        'Wait for it to catch up, or look at the network and at its disk.')]
    return []


def _quorum_reasons(primary, row, voters, visible):
    """The standby that votes is one of the voters; without a sibling it wins by default, but in the primary's location only."""
    reasons = []
    hidden = [item.node_name for item in voters if item not in visible]
    if len(voters) > 1 and len(visible) < majority(len(voters)):
        reasons.append(_reason(
            primary.name, 'of the %d nodes that would elect its successor %d can be seen; %s cannot' % (
                len(voters), len(visible), ', '.join(hidden)),
            'more than half, %d' % majority(len(voters)),
            'Bring them back, or unregister those that are gone for good.'))
    if visible and not any(item.location == row.location for item in visible):
        reasons.append(_reason(
            primary.name, 'no node in its location %s can be seen, and repmgrd would take its death for a network split' % row.location,
            'a standby or witness in that location', 'Set repmgr_location of a witness or a standby near it.'))
    return reasons


def _vote_reasons(cluster, primary):
    """repmgr-guard promotes with a majority of votes only."""
    if not any(host.observed.guard for host in cluster.seen):
        return []
    votes = voters([row for dummy, row in sorted(cluster.registry.items())])
    answering = set(host.node_id for host in cluster.seen if _answers(host))
    left = [row for row in votes if row.node_id in answering and row.node_id != primary.node_id]
    needed = majority(len(votes))
    if len(left) >= needed:
        return []
    return [_reason(primary.name, 'without it %d of %d votes would be left (%s)' % (
        len(left), len(votes), ', '.join(row.node_name for row in left) or 'nobody'), 'a majority, %d' % needed,
        'Bring back who is missing, or add a node or a witness.')]


def _follow_reasons(visible, voters, hosts, candidates):
    """What would keep the others from following the new primary."""
    able = _able(candidates)
    reasons = []
    if not able:
        return reasons
    for item in visible:
        host = hosts[item.node_id]
        state = _repmgrd(host)
        if state in _IDLE:
            reasons.append(_reason(
                host.name, '%s: it would not follow the new primary' % _IDLE[state], 'a running repmgrd, not paused',
                _steps.unpause((host.observed.pause or {}).get('by')) if state == 'paused'
                else _start_repmgrd(host)))
    # The other standbys and the old primary will want to stream from it.
    wanted = len([item for item in voters if item.type == 'standby'])
    best = hosts[able[0]['node_id']]
    settings = best.observed.server.settings or {}
    slots = any(item.slot_name for item in voters)
    for name in ['max_wal_senders'] + (['max_replication_slots'] if slots else []):
        limit = integer(settings.get(name))
        taken = len([slot for slot in best.observed.slots or [] if slot.get('slot_name') not in [item.slot_name for item in voters]]
                    ) if name == 'max_replication_slots' else 0
        if limit is not None and limit - taken < wanted:
            reasons.append(_reason(
                best.name, '%s is %d%s, and %d nodes would want to stream from it' % (
                    name, limit, ', of which %d are taken' % taken if taken else '', wanted),
                'at least %d' % (wanted + taken), 'Raise it on every node and restart the servers, standbys first.'))
    return reasons


def _rewind_reasons(primary):
    """What would keep the old primary from coming back by pg_rewind."""
    settings = primary.observed.server.settings or {}
    reasons = []
    if settings.get('wal_log_hints') == 'off' and settings.get('data_checksums') == 'off':
        reasons.append(_reason(
            primary.name, 'has neither wal_log_hints nor data checksums, so it could not be rewound after a failover',
            'wal_log_hints = on', 'Set it on every node and restart the servers, standbys first.'))
    if settings.get('full_page_writes') == 'off':
        reasons.append(_reason(
            primary.name, 'full_page_writes is off, so it could not be rewound after a failover', 'full_page_writes = on',
            'Set it on every node and reload.'))
    return reasons


def _check_backup(cluster):
    """What the repository is to the cluster, by the primary, and what archiving is to the primary. None of it is a reason to touch no node."""
    primary = cluster.primary
    for code, seen, expected in _backup.problems(primary.observed.backup) if primary is not None and primary.observed.backup else []:
        if code == 'backup_repository':
            cluster.problem('backup_repository', primary.name, seen, expected, [
                'Look at its host and its disk. WAL waits on the primary until then, and commits do not.'], stop=False)
        elif code == 'backup_stanza':
            cluster.problem('backup_stanza', primary.name, seen, expected, _steps.playbook('site'), stop=False)
        elif code == 'backup_missing':
            cluster.problem('backup_missing', primary.name, seen, expected, _steps.playbook('backup', repmgr_backup_type='full'), stop=False)
        elif code == 'backup_old':
            cluster.problem('backup_old', primary.name, seen, expected, _steps.playbook('backup'), stop=False)
        elif code == 'archive_failing':
            cluster.problem('archive_failing', primary.name, seen, expected, [
                'What it says is in the log of PostgreSQL and in /var/log/pgbackrest.'], stop=False)


def _check_verified(cluster):
    """What the last restore drill has found. Nodes that were down then, or are new, do not know of it."""
    primary = cluster.primary
    if primary is None or not primary.observed.verified:
        return
    found = _verify.problem_of([primary.observed.verified] + [host.observed.verified for host in cluster.seen])
    if found and found[0] == 'backup_verify_failed':
        cluster.problem('backup_verify_failed', primary.name, found[1], found[2], found[3], stop=False)
    elif found:
        cluster.problem('backup_verify_old', primary.name, found[1], found[2], found[3], stop=False)


# -- the answer

def _problem(problem):
    return dict(plain(problem), message=problem.message, command=problem.command)


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
    """{host: how many standbys are above it}: who replicates from another standby has to wait for that one."""
    upstream = dict((host.name, host.upstream) for host in hosts)
    found = {}
    for name in upstream:
        above = []
        while upstream.get(name) and name not in above:
            above.append(name)
            name = upstream[name]
        found[above[0] if above else name] = len(above)
    return found


def _answer(cluster, deploying):
    status = _status(cluster, deploying)
    stop = [problem for problem in cluster.problems if problem.stop]
    primary = cluster.primary.name if cluster.primary is not None and status != 'split_brain' else None
    counts = 'primary %s, %d of %d hosts observed, %d problem%s' % (
        primary or 'none', len(cluster.seen), len(cluster.hosts), len(cluster.problems), '' if len(cluster.problems) == 1 else 's')
    failover_ready = _failover_ready(cluster)
    return {
        'exists': cluster.exists,
        'status': status,
        'primary': primary,
        'system_identifier': cluster.system_identifier,
        'roles': dict((host.name, _role(cluster, host)) for host in cluster.hosts),
        'problems': [_problem(problem) for problem in cluster.problems],
        'stop': [problem.message for problem in stop],
        'failover_ready': failover_ready,
        'successor': _successor(failover_ready['candidates']),
        'logins': logins(cluster.hosts),
        'depths': _depths(cluster.hosts),
        'registry': [plain(row) for dummy, row in sorted(cluster.registry.items())],
        'unlisted': [plain(row) for row in cluster.unlisted],
        'missing_primary': _missing_primary(cluster) if primary is None else [],
        'registered_primary': sorted(row.node_name for row in cluster.registry.values() if row.type == 'primary' and row.active),
        'summary': '%s: %s' % (status, counts),
        'counts': counts,
    }


# -- ways in

def hosts_from(records):
    """records: dictionaries as the roles keep them, ids and ports may be text -> [Host]."""
    made = []
    for values in records:
        values = dict(values)
        for name in ('node_id', 'port', 'synchronous'):
            values[name] = integer(values.get(name))
        values['postgresql_version'] = '%s' % (values.get('postgresql_version') or '')
        host = Host.from_dict(values)
        host.node_name = host.node_name or host.name
        made.append(host)
    return made


def from_inventory(records):
    return verdict(hosts_from(records))


def from_one_node(observed):
    """The verdict that one node can reach: itself, the peers that it observed, and those that it only knows of."""
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
