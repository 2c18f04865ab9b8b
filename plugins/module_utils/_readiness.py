# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: whether an automatic failover would succeed now, and if not, why."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _problems_metadata, _problems_repmgrd, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import MAX_LAG
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import behind, position
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Problem, integer
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority, voters


def failover_ready(cluster):
    """Whether an automatic failover would succeed if the primary failed now: {ready, reasons, problems, candidates}, the best candidate first.

    The rules are those of do_election() in repmgr's repmgrd-physical.c, which is the same in 5.2.0, 5.3.3, 5.4.1 and 5.5.0, with
    get_active_sibling_node_records() of dbutils.c and get_repmgrd_pid() of repmgr.c:

    * Voters are the active records whose upstream is the primary, the witness among them. A voter counts as visible when its server
      answers; its repmgrd, priority and failover mode do not matter. Visible must be more than half, or the standby has no sibling.
    * One visible voter must be in the primary's location; the standby that votes counts as one.
    * Each standby rates the others. It ignores those that have priority 0 or less, are not in recovery, or have no repmgrd recorded.
      The best one has received most WAL, then has the highest priority, then the lowest id.
    * It does not notice that another standby is paused, is set to failover=manual, or has a repmgrd that was killed and is therefore
      still recorded: such a standby may win, and then none is promoted.
    * A standby with siblings resumes a paused replay, and gives up if it has no right to do so.
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
                                   if _problems_metadata.runs_unregistered(cluster) else _steps.playbook('site'))])
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
    # The old primary will need a slot as well when it comes back as a standby.
    reasons += _follow_reasons(visible, voters + [row], hosts, candidates)
    reasons += _rewind_reasons(primary)
    return _readiness(reasons, candidates)


def _not_ready(reasons):
    return _readiness(reasons, [])


def _readiness(reasons, candidates):
    return {
        'ready': not reasons, 'candidates': candidates,
        'reasons': [reason.message if reason.node else reason.seen for reason in reasons],
        'problems': [dict(_cluster.problem_dict(reason), message=reason.message if reason.node else reason.seen) for reason in reasons],
    }


def _reason(node, seen, expected, steps):
    return Problem(code='failover_not_ready', node=node, nodes=[node], seen=seen, expected=expected, steps=_steps.listed(steps))


def _answers(host):
    return _cluster.running(host) and host.observed.server.sql


# This prevents an election only; a switchover is the decision of an operator.
_MANUAL = 'failover is manual in repmgr.conf'
# Why repmgrd would not act, by its state.
_IDLE = {'down': 'repmgrd is not running', 'unknown': 'the state of repmgrd is unknown', 'paused': 'repmgrd is paused'}


def _electable(row, host):
    """Whether the others may elect it. repmgrd does not check which standby streams, but one that does not is behind after the next write."""
    repmgrd = (host.observed.repmgr or {}).get('repmgrd') or {}
    return _cluster.streams(host) and (row.priority or 0) > 0 and bool(repmgrd.get('running') or repmgrd.get('pid'))


def _candidate(row, host, primary, alone):
    observed = host.observed
    obstacles = []
    if not _cluster.streams(host):
        obstacles.append('does not stream from the primary')
    if not (row.priority or 0) > 0:
        obstacles.append('priority is 0')
    if observed.config and observed.config.get('failover') != 'automatic':
        # repmgr's own default is manual.
        obstacles.append(_MANUAL)
    if _cluster.repmgrd_state(host) in _IDLE:
        obstacles.append(_IDLE[_cluster.repmgrd_state(host)])
    if observed.server.replay_paused and not _resumes_replay(observed, alone):
        obstacles.append('replay is paused')
    return {
        'name': host.name, 'node_id': row.node_id, 'priority': row.priority, 'location': row.location,
        'lag_bytes': _lag(row, host, primary), 'obstacles': obstacles,
    }


def _resumes_replay(observed, alone):
    """Whether a paused replay does not prevent the promotion. With siblings do_election() resumes it; without, a promotion does so since PostgreSQL 13.

    alone: whether the standby has no siblings.
    """
    if alone:
        return (observed.server.version_num or 0) >= 130000
    missing = (observed.repmgr or {}).get('missing_rights')
    return missing is not None and 'execute of pg_wal_replay_resume()' not in missing


def _lag(row, host, primary):
    """WAL that the primary has written and this standby has not received, in bytes, or None."""
    written = position(primary.observed.server.current_lsn)
    received = None
    for entry in primary.observed.replication or []:
        # Prefer the position that the primary reports: it is from the same moment as the primary's own one.
        if entry.get('application_name') == row.node_name:
            received = position(entry.get('flush_lsn'))
    if received is None:
        received = position(host.observed.server.received_lsn)
    return behind(written, received)


def _able(candidates):
    return [item for item in candidates if not item['obstacles']]


def successor(candidates):
    """The standby that a planned switchover should go to, or ''."""
    return ([item['name'] for item in candidates if not set(item['obstacles']) - set([_MANUAL])] or [''])[0]


def _candidate_reasons(primary, candidates):
    if not candidates:
        return [_reason(primary.name, 'none of its registered standbys answers', 'one that could be promoted', _steps.playbook('site'))]
    if not _able(candidates):
        return [_reason(primary.name, 'none of its standbys could be promoted: %s' % '; '.join(
            '%s: %s' % (item['name'], ', '.join(item['obstacles'])) for item in candidates), 'one that could be promoted',
            _steps.playbook('status', reason='Look at'))]
    first = candidates[0]
    if first['obstacles']:
        return [_reason(first['name'], 'the others would elect it, but %s, so no standby would be promoted' % ', '.join(first['obstacles']),
                        'a winner that promotes itself', 'Correct that, or set its priority to 0 in repmgr.conf and register it again.')]
    if (first['lag_bytes'] or 0) > MAX_LAG:
        return [_reason(first['name'], 'is the best candidate, but %d MB behind' % (first['lag_bytes'] // 1048576),
                        '%d MB at most, because the rest would be lost' % (MAX_LAG // 1048576),
                        'Wait for it to catch up, or look at the network and at its disk.')]
    return []


def _quorum_reasons(primary, row, voters, visible):
    """Whether enough voters are visible. The standby that votes is one of them; without siblings it wins by default, but only in the primary's location."""
    reasons = []
    hidden = [item.node_name for item in voters if item not in visible]
    if len(voters) > 1 and len(visible) < majority(len(voters)):
        reasons.append(_reason(
            primary.name, 'of the %d nodes that would elect its successor, %d can be reached; %s cannot' % (
                len(voters), len(visible), ', '.join(hidden)),
            'more than half, %d' % majority(len(voters)),
            'Bring them back, or unregister those that are gone for good.'))
    if visible and not any(item.location == row.location for item in visible):
        reasons.append(_reason(
            primary.name, 'no node in its location %s can be reached, so repmgrd would take its failure for a network split' % row.location,
            'a standby or witness in that location', 'Set repmgr_location of a witness or a standby near it.'))
    return reasons


def _vote_reasons(cluster, primary):
    """repmgr-guard allows a promotion only with a majority of the votes."""
    if not any(host.observed.guard for host in cluster.seen):
        return []
    votes = voters([row for dummy, row in sorted(cluster.registry.items())])
    answering = set(host.node_id for host in cluster.seen if _answers(host))
    left = [row for row in votes if row.node_id in answering and row.node_id != primary.node_id]
    needed = majority(len(votes))
    if len(left) >= needed:
        return []
    return [_reason(primary.name, 'without it %d of %d votes would be left (%s)' % (
        len(left), len(votes), ', '.join(row.node_name for row in left) or 'none'), 'a majority, %d' % needed,
        'Bring back the missing nodes, or add a node or a witness.')]


def _follow_reasons(visible, voters, hosts, candidates):
    """What would prevent the others from following the new primary."""
    able = _able(candidates)
    reasons = []
    if not able:
        return reasons
    for item in visible:
        host = hosts[item.node_id]
        state = _cluster.repmgrd_state(host)
        if state in _IDLE:
            reasons.append(_reason(
                host.name, '%s: it would not follow the new primary' % _IDLE[state], 'a running repmgrd, not paused',
                _steps.unpause((host.observed.pause or {}).get('by')) if state == 'paused'
                else _problems_repmgrd.start_repmgrd(host)))
    # The other standbys and the old primary will have to stream from it.
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
                best.name, '%s is %d%s, and %d nodes would have to stream from it' % (
                    name, limit, ', of which %d are taken' % taken if taken else '', wanted),
                'at least %d' % (wanted + taken), 'Raise it on every node and restart the servers, standbys first.'))
    return reasons


def _rewind_reasons(primary):
    """What would prevent the old primary from coming back by pg_rewind."""
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
