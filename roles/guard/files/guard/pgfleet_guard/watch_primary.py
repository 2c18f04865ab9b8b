# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the watch for a server that may be writing."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from pgfleet_guard.answers import hears, is_blind, names, other_primary, streams_past
from pgfleet_guard.clock import clock
from pgfleet_guard.data_directory import control_data, own_timeline
from pgfleet_guard.messages import Problem
from pgfleet_guard.questions import session_name, voted
from pgfleet_guard.settings import READS, SECOND_LOOK
from pgfleet_guard.votes import has_majority, names_another, out_of_sight, voted_for_another, who_yields
from pgfleet_guard.watch_metadata import Metadata


class Primary(Metadata):
    def remember(self, answering):
        """Record what distinguishes a witness that does not know this primary yet from one that knows a newer one, as it has no timeline."""
        answer, here = self.local.answer, self.config['node_id']
        if not self.fresh(self.local) or answer.get('in_recovery') is not False or not answer.get('timeline') or 'primary_id' not in answer:
            return
        reign = self.state['reign'] or {}
        if reign.get('timeline') != answer['timeline']:
            # Until it is registered, its own metadata have the one before.
            reign = {'timeline': answer['timeline'], 'replaced': answer['primary_id'] if answer['primary_id'] != here else self.state['primary'],
                     'followed': [], 'limited': []}
        followed = set(reign['followed'])
        for peer in answering:
            said = set(number for number in (peer.answer.get('upstream'), peer.answer.get('primary_id')) if number is not None)
            # A witness copies repmgr.nodes before its repmgrd watches the new primary: until both name it, it has not followed.
            if here in said and (not peer.witness or said == set([here])):
                followed.add(peer.node_id)
        # Who was told last that this primary stops when it is alone.
        limited = set(reign.get('limited') or [])
        for peer in self.peers:
            if self.fresh(peer) and peer.endless is not None:
                limited = limited - set([peer.node_id]) if peer.endless else limited | set([peer.node_id])
        self.keep(reign=dict(reign, followed=sorted(followed), limited=sorted(limited)))

    def primary(self, directory):
        if not self.fresh(self.local):
            self.served = None
        elif self.served is None:
            # The reason for its last stop is over.
            self.served, self.blinded = clock(), None
        answering = [peer for peer in self.peers if self.fresh(peer)]
        other, past, named, out = other_primary(answering), [], None, None
        # What it answered as a standby, a moment before its own promotion, is another timeline.
        if self.fresh(self.local) and self.local.answer.get('in_recovery') is False and self.local.answer.get('timeline'):
            past = streams_past(answering, self.local.answer.get('system'), self.local.answer['timeline'])
            self.remember(answering)
            self.tidy(directory)
            # Only after the node that this one has replaced is recorded.
            if (self.state['reign'] or {}).get('timeline') == self.local.answer['timeline']:
                named = names_another(self.peers, answering, self.local.answer['timeline'], self.state['reign'])
                out = self.is_voted_out(answering, self.local.answer['timeline'])
        if out and not other:
            self.stop(directory, out)
            return
        if other:
            control = control_data(self.config, READS)
            timeline = max(own_timeline(control, directory), self.local.answer.get('timeline') or 0 if self.local.seen(5) else 0)
            if other.answer.get('system') != control.get('Database system identifier', self.local.answer.get('system')):
                self.say('foreign', '%s is primary of another cluster (system identifier %s)' % (other.name, other.answer.get('system')))
            else:
                text = '%s is primary, on timeline %s (here: %s)' % (other.name, other.answer.get('timeline'), timeline)
                # What is not primary yet does not become one beside another, whichever has the newer timeline.
                yields = 'this' if self.restores() else who_yields(
                    answering, self.config['node_id'], timeline, other, self.votes, self.config['isolation'])
                if yields == 'this':
                    self.stop(directory, Problem('primary', text, [other.name]))
                    return
                self.say('two', 'TWO PRIMARIES: %s. %s' % (text, 'That one should stop by itself' if yields == 'other' else
                                                           'Nothing tells which of them to stop: see docs/guard.md'), 30)
        elif (past or named) and not self.is_followed(answering):
            self.stop(directory, named if not past else Problem('promoted', '%s streams on timeline %s (here: %s), so another node was promoted' % (
                names(past), past[0].answer['timeline'], self.local.answer['timeline']), [peer.name for peer in past]))
            return
        else:
            self.register()
            if not past and not named:
                self.doubted = None
        if not self.restores():
            self.adopt(answering)
            self.withdraw(answering)
            self.tell(answering)
            self.forget(answering)
        # Somebody has seen no primary, and has locked a majority, or so many that with those out of sight they are one. Where this host stood still and
        # its clock did, too, nothing else tells.
        promoting = [peer for peer in answering if peer.vote and self.lets_another_be_promoted(peer)]
        if promoting and out_of_sight(self.peers, lambda peer: self.seen(peer) and peer not in promoting, self.votes):
            self.stop(directory, Problem('promoting', '%s: another node is being promoted with the votes of %s' % (
                promoting[0].answer['holder'], names(promoting)), [peer.name for peer in promoting]))
            return
        unseen = out_of_sight(self.peers, lambda peer: self.seen(peer) or not self.may_elect(peer), self.votes) if (
            self.state['armed'] and self.config['automatic']) else []
        if unseen:
            # A server that was frozen was seen by nobody for that reason, and starts again like one that has died.
            recovering = not self.fresh(self.local)
            if (recovering or self.local.seen(self.config['isolation'] / 2.0)) and any(self.fresh(peer) for peer in unseen):
                self.blinded = clock()
            self.stop(directory, Problem('isolated', '%s cannot be seen, or cannot see it, for %d s and could elect another primary. It starts again '
                                         'when they are in sight' % (names(unseen), self.config['isolation']), [peer.name for peer in unseen]))
            return
        blind = [peer for peer in answering if peer.vote and is_blind(peer, self.config['node_id'], self.config['isolation'])]
        if blind and self.hangs() and self.replaceable():
            self.blinded = clock()
            self.stop(directory, Problem('hangs', 'it has not answered for %d s, and %s cannot see it either' % (
                clock() - self.local.answered, names(blind)), []))

    def is_voted_out(self, answering, timeline):
        """The Problem where a peer has voted for another primary while this one ran; or None.

        A vote is kept when nobody has been asked by this primary for so long that it has to have stopped. That it runs all the same tells that this host
        stood still, and its clock with it, whoever follows it again by now. So only a vote counts that was given since: a peer that has answered here without
        it has it now. One that a peer has in its first answer is about a promotion that came to nothing, as a start sees to, or an operator, who has started
        this primary all the same. That the candidate is a standby it may say once more; what it said before that vote was seen is of before a pause.
        """
        limit = self.config['isolation']
        for peer in answering:
            self.know_vote(peer)
            vote = voted(peer.answer)
            if vote[0] > timeline and vote not in self.against:
                self.against[vote] = clock()
                for other in self.peers:
                    if other.node_id == vote[1]:
                        other.ask_again()
        for vote, since in self.against.items():
            fresh = [peer for peer in answering if peer.node_id == vote[1] and peer.answered >= since and not peer.witness]
            if any(hears(peer.answer, limit) for peer in fresh) and not any(self.lets_another_be_promoted(peer) for peer in answering):
                self.void.add(vote)
        # Who has not answered since then is waited for no longer than this; it is asked at once.
        young = set(vote for vote, since in self.against.items() if clock() - since <= 2 * SECOND_LOOK)
        old = [peer for peer in answering if not any(vote[1] == peer.node_id and peer.answered < since for vote, since in self.against.items())]
        new = [peer for peer in answering if self.polled.get(peer.name) == (voted(peer.answer), True)]
        return voted_for_another(self.peers, new, timeline, self.void | young, old) if self.replaceable() else None

    def know_vote(self, peer):
        """Record the votes of a peer that are not new. If its last answer is incomplete, its vote is from an earlier answer."""
        if 'voted' not in peer.answer or peer.whole is None or peer.whole < self.since:
            return
        vote = voted(peer.answer)
        before, news = self.polled.get(peer.name, (vote, False))
        if vote != before:
            news = True
            # What is known of one of the same name is about another one.
            self.void.discard(vote)
            self.against.pop(vote, None)
        # While this primary cannot be replaced nobody counts on its stop.
        self.polled[peer.name] = (vote, news and self.replaceable())

    def is_followed(self, answering):
        """Whether a majority follows this primary although somebody knows of another one. What was answered before that was known says so for a moment
        only: a host that stood still has old answers.
        """
        if self.doubted is None:
            self.doubted = clock()
            for peer in self.peers:
                peer.ask_again()
        if clock() - self.doubted > SECOND_LOOK:
            answering = [peer for peer in answering if peer.answered > self.doubted]
        return has_majority(self.config['node_id'], answering, self.votes, self.config['isolation'])

    def lets_another_be_promoted(self, peer):
        holder = peer.answer.get('holder') or ''
        return holder.startswith('repmgr-guard promote ') and holder != session_name(self.config, 'promote')
