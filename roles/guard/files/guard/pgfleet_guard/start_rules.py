# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server may start as a primary. Pure functions."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from pgfleet_guard.answers import age, heard, names, newest, other_primary, untracked, word_of
from pgfleet_guard.messages import Problem
from pgfleet_guard.questions import session_name
from pgfleet_guard.settings import STOP_MARGIN
from pgfleet_guard.votes import names_another, out_of_sight

# Problems that say that another node has become primary: this one can come back as its standby.
REPLACED = ('primary', 'promoted')


def start_problem(peers, seen, votes, system, timeline, reign=None):
    """Why this server may not start as a primary, or None."""
    answering = [peer for peer in peers if seen(peer)]
    primary = other_primary(answering, system)
    if primary:
        return Problem('primary', '%s is primary, on timeline %s (here: %s)' % (primary.name, primary.answer.get('timeline'), timeline), [primary.name])
    ahead = [peer for peer in answering if not peer.witness and peer.answer.get('system') == system and newest(peer) > timeline]
    if ahead:
        return Problem('promoted', '%s knows of timeline %s (here: %s), so another node was promoted' % (
            names(ahead), newest(ahead[0]), timeline), [peer.name for peer in ahead])
    named = names_another(peers, answering, timeline, reign, told=True)
    if named:
        return named
    unseen = out_of_sight(peers, seen, votes)
    if unseen:
        return Problem('isolated', 'cannot see %s, who could have elected another primary' % names(unseen), [peer.name for peer in unseen])
    return None


def becomes_primary(config, peers):
    """The Problem that another server is about to become primary, by itself after it has recovered from an archive or a crash, or None.

    Until then it answers as a standby, or not at all. Its guard queries in its name, without a timeline; between two queries the promise cannot be read.
    """
    own = session_name(config, 'primary')[21:]
    for peer in peers:
        if not heard(peer) or not peer.answer.get('asked'):
            continue
        name, seconds, word = (list(peer.answer['asked']) + [None])[:3]
        if name != own and word_of(word).get('timeline') is None and age(seconds or 0) < config['isolation'] + STOP_MARGIN:
            return Problem('locked', untracked([peer]) % name if untracked([peer]) else 'primary %s recovers, and has asked %s %d s ago' % (
                name, peer.name, age(seconds or 0)), [peer.name])
    return None
