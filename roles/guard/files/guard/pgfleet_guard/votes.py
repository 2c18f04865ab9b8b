# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the votes say: majorities, who was voted for, and who may be elected. Pure functions."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from pgfleet_guard.answers import follows, newest
from pgfleet_guard.messages import Problem
from pgfleet_guard.questions import voted


def majority(votes):
    return votes // 2 + 1


def has_majority(node_id, others, votes, limit):
    """Whether this node and the peers that follow it are a majority."""
    return 1 + sum(1 for peer in others if peer.vote and follows(peer, node_id, limit)) >= majority(votes)


def who_yields(peers, node_id, timeline, other, votes, limit):
    """Which of two primaries has to stop: 'this', 'other', or '' if that cannot be determined. It is the older one, unless a majority of the nodes that have
    not voted for the newer one still follows it. A node that voted for the newer one and still follows the older one has not noticed yet, or found it first.
    """
    theirs = other.answer.get('timeline') or 0
    rest = [peer for peer in peers if peer.node_id not in (node_id, other.node_id)]
    ours = [peer for peer in rest if not has_voted_against(peer, timeline, other.node_id)]
    rest = [peer for peer in rest if not has_voted_against(peer, theirs, node_id)]
    if has_majority(node_id, ours, votes, limit):
        return 'other'
    if has_majority(other.node_id, rest, votes, limit):
        return 'this'
    return 'this' if theirs > timeline else 'other' if theirs < timeline else ''


def has_voted_against(peer, timeline, rival):
    """Whether a peer has voted for the rival to replace a primary on this timeline."""
    later, number = voted(peer.answer)
    return later > timeline and number == rival


def out_of_sight(peers, seen, votes):
    """The unreachable peers with a vote, if they are a majority and could elect a primary without this node; otherwise an empty list."""
    unseen = [peer for peer in peers if peer.vote and not seen(peer)]
    return unseen if len(unseen) >= majority(votes) else []


def names_another(peers, answering, timeline, reign, told=False):
    """The Problem that a peer names another node of this cluster as primary that is not reachable as a standby, so that it may have been promoted with that
    peer's vote; or None.

    A node that is not in the configuration was removed and does not count. told: include peers that have voted for another node or were told to follow it.
    Either may come from a failed promotion; for what a vote means to a running server see Watch.is_voted_out.
    """
    by_id = dict((peer.node_id, peer) for peer in peers if not peer.witness)
    for peer in answering:
        numbers = [peer.answer.get('notified')] if told else []
        # What a standby says is older than what this node knows, unless it is on a newer timeline. Its upstream may be another standby.
        if peer.witness:
            numbers += [peer.answer.get('upstream'), peer.answer.get('primary_id')]
        newer = not peer.witness and newest(peer) > timeline
        if newer:
            numbers.append(peer.answer.get('primary_id'))
        for number in numbers:
            other = by_id.get(number)
            if other is None or (other in answering and other.answer.get('in_recovery')) or (not newer and is_old_word(reign, timeline, peer, number)):
                continue
            return Problem('named', '%s names %s as primary, which is not in sight as a standby' % (peer.name, other.name), [other.name, peer.name])
    return voted_for_another(peers, answering, timeline) if told else None


def voted_for_another(peers, answering, timeline, void=(), believed=None):
    """The Problem that a peer has voted for another node of this cluster, for a newer timeline, that is not reachable as a standby; or None.

    void: votes of promotions that are known to have failed. believed: the peers whose answer that they are a standby counts; by default those that answer.
    """
    believed = answering if believed is None else believed
    by_id = dict((peer.node_id, peer) for peer in peers if not peer.witness)
    for peer in answering:
        later, number = voted(peer.answer)
        other = by_id.get(number)
        if later > timeline and other is not None and (later, number) not in void and not (other in believed and other.answer.get('in_recovery')):
            return Problem('named', '%s has voted for %s as primary on timeline %d (here: %d), which is not in sight as a standby' % (
                peer.name, other.name, later, timeline), [other.name, peer.name])
    return None


def is_old_word(reign, timeline, peer, number):
    """Whether a peer that names this node as primary has merely not noticed yet that it was replaced by the local node.

    A witness has no timeline, nor has a notification. So the guard of a primary records which node it has replaced, and which peers have followed it since.
    """
    if not reign or reign.get('timeline') != timeline:
        return False
    followed, replaced = reign.get('followed', []), reign.get('replaced')
    # A node that was replaced and has not followed this node since then was never a standby that could be promoted: it is the old primary, resuming after a
    # pause. This does not apply to a witness with a vote, because that node may have been promoted with it.
    if peer.witness and not peer.vote and number == replaced and number not in followed:
        return True
    return False if peer.node_id in followed else replaced in (None, number)


def can_take_over(peers, seen, daemon=True):
    """The standbys that repmgr or a guard may promote; an unknown priority does not exclude a standby. daemon: only those with a running repmgrd."""
    return [peer for peer in peers if seen(peer) and not peer.witness and peer.answer.get('in_recovery') and (peer.answer.get('repmgrd') or not daemon)
            and not peer.answer.get('paused') and (peer.answer.get('priorities') or {}).get(str(peer.node_id), 1) > 0]


def may_have_more(peers, seen):
    """The standbys whose received position is unknown."""
    return [peer for peer in peers if not peer.witness and (not seen(peer) or peer.answer.get('replaying'))]


def may_elect(peers, seen, votes, synchronous):
    """Whether the others can promote one of them without this node: True, False, or None if that depends on unreachable peers."""
    unseen = [peer for peer in peers if not seen(peer)]
    enough = sum(1 for peer in peers if peer.vote and seen(peer)) >= majority(votes)
    if enough and can_take_over(peers, seen) and not (synchronous and len(may_have_more(peers, seen)) >= synchronous):
        return True
    return None if unseen else False
