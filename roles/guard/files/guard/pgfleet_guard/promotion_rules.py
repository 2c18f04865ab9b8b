# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a standby may be promoted, and which one. Pure functions, but for the time."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from pgfleet_guard.answers import age, names, other_primary, reached, unheard, untracked, upstream_of
from pgfleet_guard.clock import clock
from pgfleet_guard.messages import next_command
from pgfleet_guard.votes import can_take_over, majority, may_have_more


def lacking(positions, keeps):
    """The number of members for which a server may not have all WAL that they need next. Unknown values do not count.

    positions: {node id: position that the member has reached}. keeps: {node id: position from which the server has WAL for the member}.
    The same as in plugins/module_utils/_votes.py.
    """
    return sum(1 for member, position in positions.items() if keeps.get(member) is not None and keeps[member] > position)


def rank(timeline, lsn, lacks, priority, node_id):
    """The sort key of a candidate; the greatest is promoted. The received position comes first. The same as in plugins/module_utils/_votes.py."""
    return (timeline or 0, lsn or 0, -lacks, priority, -node_id)


def best_candidate(local, peers, seen, deference=True):
    """The most advanced of the standbys that may be promoted, by the priorities that this node knows; or None.

    deference: whether to prefer a standby that keeps more WAL for the other members. The position of an unreachable member is its last reported one, which a
    guard that started later does not know. So two guards may disagree, and each leave the election to the other; therefore this applies for a limited time
    only. During that time a standby that has received more also wins if its repmgrd does not run: it may be restarting.
    """
    priorities = local.answer.get('priorities') or {}
    positions = dict((str(server.node_id), server.answer['lsn']) for server in [local] + peers if not server.witness and server.answer.get('lsn')
                     and server.answer.get('system') == local.answer.get('system')) if deference else {}
    found = [server for server in can_take_over([local], lambda server: True) + can_take_over(peers, seen, daemon=not deference)
             if priorities.get(str(server.node_id), 0) > 0]
    furthest = max([reached(server) for server in found if server.answer.get('repmgrd')] or [(0, 0)])
    found = [server for server in found if server.answer.get('repmgrd') or reached(server) > furthest]
    return max(found, key=lambda server: rank(
        server.answer.get('timeline'), server.answer.get('lsn'), lacking(positions, server.answer.get('keeps') or {}),
        priorities[str(server.node_id)], server.node_id)) if found else None


def asked_by_primary(servers, lease, known, timeline=None):
    """A message if a running primary has queried one of the servers within the lease, or ''. A primary relies on every node that it reaches for the lease
    that it has promised.

    known: {server name: what Memory has of it}. timeline: that of this node; a primary on an older one was replaced.
    """
    for server in servers:
        found = current(known.get(server.name), timeline)
        if not found:
            continue
        seconds = clock() - found['at']
        told = found['word'].get('lease', lease)
        if told is None:
            return ('primary %s has told %s that it does not stop by itself, because repmgrd was paused there, its guard not armed, or repmgr_failover '
                    'manual. Where it is dead: %s' % (found['primary'], server.name, next_command('failover', dead=found['primary'])))
        if seconds < max(told, lease) and untracked([server]) and not found['gone']:
            return untracked([server]) % found['primary']
        if seconds < max(told, lease):
            return 'primary %s runs, and has asked %s %d s ago, less than %d' % (found['primary'], server.name, seconds, max(told, lease))
    return ''


def current(found, timeline):
    """The entry of a server in Memory, unless it is about a primary that is known to have been replaced."""
    theirs = found and found['word'].get('timeline')
    return None if not found or theirs and timeline and theirs < timeline else found


def outvoted(servers, voters, known, timeline):
    """Why the voters are no majority by the votes that the primary counts, which may not be those of this node's file; or ''.

    Between two files that site.yml writes, each of two nodes could have a majority of its own. servers: those that answer. What a node was told that was
    removed since, or is gone, is what the primary counted then.
    """
    for name in sorted(server.name for server in servers):
        found = current(known.get(name), timeline)
        theirs = set(found['word'].get('votes') or [] if found else [])
        sees = len(theirs & set(server.node_id for server in voters))
        if theirs and sees < majority(len(theirs)):
            return 'primary %s has told %s that it counts the votes of nodes %s; %d of them are in sight, a majority is %d' % (
                found['primary'], name, ', '.join('%s' % number for number in sorted(theirs)), sees, majority(len(theirs)))
    return ''


def succession_problem(local, answering):
    """Why this node cannot be promoted, regardless of the votes; or ''."""
    answer = local.answer
    if answer.get('in_recovery') is None:
        return 'the server here does not answer: %s' % (local.error or 'no reason given')
    if not answer['in_recovery']:
        return 'it is a primary already'
    primary = other_primary(answering, answer.get('system'))
    return '%s is primary' % primary.name if primary else ''


def promotion_problem(local, peers, seen, votes, synchronous, lease, known):
    """(why this standby may not be promoted, whether waiting may help), or ('', False). known: what Memory has."""
    answer = local.answer
    answering = [peer for peer in peers if seen(peer)]
    problem = succession_problem(local, answering)
    if problem:
        return problem, False
    if 'primary_id' not in answer:
        return 'the server here cannot read repmgr.nodes: %s' % (local.error or 'no reason given'), True
    # Nodes that somebody has registered and that are not in the file count as votes that are not in sight.
    votes += len(set(answer.get('registered') or []) - set([local.node_id] + [peer.node_id for peer in peers]))
    # One that does not say what its repmgrd has seen cannot say that it has not seen the primary.
    voters = [peer for peer in answering if peer.vote and 'upstream' in peer.answer]
    if len(voters) + 1 < majority(votes):
        return 'sees %d of %d votes (%s), a majority is %d' % (len(voters) + 1, votes, names([local] + voters), majority(votes)), True
    young = [server for server in [local] + voters if server.answer.get('uptime') is not None and age(server.answer['uptime']) < lease]
    if young:
        # It does not know who asked it before.
        return '%s started %d s ago, less than %d: a primary may have seen it until then' % (young[0].name, age(young[0].answer['uptime']), lease), True
    timeline = answer.get('timeline')
    asked = asked_by_primary([local] + answering, lease, known, timeline) or outvoted([local] + answering, [local] + voters, known, timeline)
    if asked:
        return asked, True
    old = answer.get('primary_id')
    for server in [local] + answering:
        seconds = unheard(server.answer)
        if old is not None and upstream_of(server) == old and seconds is not None and seconds < lease:
            return '%s has seen the primary %d s ago, less than %d' % (server.name, seconds, lease), True
    if synchronous:
        # A commit was confirmed by that many standbys; whoever is not in sight may be all of them.
        standbys = [peer for peer in peers if not peer.witness and peer.node_id != old]
        unsure = may_have_more(standbys, seen)
        if len(unsure) >= synchronous:
            missing, replaying = [peer for peer in unsure if not seen(peer)], [peer for peer in unsure if seen(peer)]
            reasons = ['cannot see %s' % names(missing)] if missing else []
            reasons += ['cannot tell before its replay ends what has been received by %s' % names(replaying)] if replaying else []
            return '%s, who may have a commit that nobody else has (repmgr_synchronous %d)' % (' and '.join(reasons), synchronous), True
        ahead = [peer for peer in answering if not peer.witness and reached(peer) > reached(local)]
        if ahead:
            return '%s has received more' % names(ahead), True
    return '', False
