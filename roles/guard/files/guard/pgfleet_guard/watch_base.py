# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every part of the watch goes by: whom it sees, what it knows, and what it promises."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from pgfleet_guard.answers import is_blind
from pgfleet_guard.clock import boot, clock
from pgfleet_guard.configuration import local_of, peers_of, votes_of
from pgfleet_guard.data_directory import promotes_itself
from pgfleet_guard.memory import Memory
from pgfleet_guard.messages import say
from pgfleet_guard.processes import stop_now
from pgfleet_guard.retention import Retention
from pgfleet_guard.settings import BLIND, PATIENCE, STOP_MARGIN
from pgfleet_guard.sight import read_stamp
from pgfleet_guard.state import read_state, write_state
from pgfleet_guard.votes import majority, may_elect


class Base:
    """What all parts of the watch share. Each part is a class of its own (watch_*.py); Watch is all of them."""

    def __init__(self, config):
        self.config = config
        self.peers = peers_of(config, 'watch')
        self.local = local_of(config, 'watch')
        self.retention = Retention(config)
        self.votes = votes_of(config)
        self.since = clock()         # since when there has been something to see
        self.ticked = clock()        # when it last looked
        self.detected = None         # what runs here, and as what
        self.sight = self.since      # when those were asked who were enough for it to go on, the last time
        self.stamped = None          # (what the fuse was told, when)
        self.boot, self.directory = boot(), os.path.realpath(config['data_directory'])
        self.against, self.void = {}, set()   # votes for another primary: {(timeline, node id): since when}; those that came to nothing
        self.polled = {}             # {peer: (the vote that it has, whether it was given while this primary ran)}
        self.started = None          # when this program last started the server
        self.starting = None
        self.doubted = None          # since when somebody knows of another primary
        self.blinded = None          # when it was stopped because peers that answer had lost sight of it
        self.served = None           # since when the primary here has answered; None while it does not: in a recovery, or because it hangs
        self.asked_systemd = None
        self.asking = None           # (systemctl is-failed, since when)
        self.unannounced = None      # (the repmgrd of which the server here does not know, when that is looked at again)
        self.checkpoint = None       # when the primary that this node rejoins was last made to have one
        self.lost = None             # since when a standby here has had no primary
        self.election = None         # the promotion of this node, where repmgr has left one out
        self.elect_after = 0
        self.astray = None           # since when a standby here has streamed from nobody, where there is a primary
        self.stuck = None            # (what it has replayed, since when), where that is less than what it has received
        self.went_round = None       # what it had replayed when it was made to stream without repmgr for that reason
        self.follow_after = 0
        self.follow_attempts = 0
        self.job = None              # what repmgr or PostgreSQL does here for this program
        self.unregistered = None     # since when a primary here is not registered as one
        self.register_after = 0
        self.untold = {}             # {peer: since when it looks for another primary than this new one}
        self.notified = {}           # {peer: (what it was notified of, since when)}
        self.late = None             # since when a rejoin has waited for a witness
        self.rejoin_after = 0
        self.rejoin_failures = 0
        self.said = {}
        self.state = read_state(config)
        self.before = read_stamp(config)
        if self.before and self.before.get('fences') and not self.state['armed']:
            # Its file is lost.
            self.keep(armed=True)
        self.memory = Memory(config, self.state)

    def say(self, topic, text, again=300):
        """Log a message once, and again when it changes or after this many seconds."""
        before = self.said.get(topic)
        if before is None or before[0] != text or clock() - before[1] > again:
            self.said[topic] = (text, clock())
            say(text)

    def seen(self, peer):
        limit = self.config['isolation']
        return peer.seen(limit, self.since) and not (self.makes_way() and is_blind(peer, self.config['node_id'], limit))

    def makes_way(self):
        """Whether peers that answer but have lost contact with this primary count as unreachable, so that they can elect another one."""
        others = may_elect(self.peers, self.fresh, self.votes, self.config['synchronous'])
        if others is False:
            return False
        if self.served is not None:
            # A recovering server cannot be reached. After its recovery the peers need some time to notice it.
            return clock() - self.served > BLIND
        # The others have had time for one election. Interrupting the recovery again would restart it, and it would never finish.
        if self.blinded is not None and self.started is not None and self.started > self.blinded:
            return False
        if others:
            return clock() - self.since > BLIND
        # Otherwise the server would stay down for an election that may not be possible.
        return clock() - max(self.since, self.local.answered or 0) > PATIENCE + self.config['detection']

    def fresh(self, peer):
        return peer.seen(self.config['isolation']) and peer.answered >= self.since

    def close(self):
        if self.job:
            self.job.close()
        for server in [self.local, self.retention] + self.peers:
            server.close()

    def replaceable(self):
        """Whether another node could be elected; otherwise this primary need not stop."""
        return self.state['armed'] and self.config['automatic'] and not self.local.answer.get('paused')

    def word(self):
        """What a primary here promises to those that it asks: when it will have stopped where it sees them no more (lease, in seconds; None: never), by
        which votes it counts, and on which timeline it is primary (None: not known yet).
        """
        answer = self.local.answer
        return {'lease': self.config['isolation'] + STOP_MARGIN if self.replaceable() else None,
                'votes': sorted([self.config['node_id']] + [peer.node_id for peer in self.peers if peer.vote]),
                'timeline': answer.get('timeline') if self.fresh(self.local) and answer.get('in_recovery') is False else None}

    def keep(self, **news):
        """Write the state file if it has changed."""
        state = dict(self.state, **news)
        if state != self.state:
            self.state = state
            write_state(self.config, state)

    @staticmethod
    def stop(directory, problem):
        stop_now(directory, problem)
        say('stopped the server: ' + problem.text)

    def restores(self):
        """Whether the server here recovers from an archive, and is no primary before that is done. What a file says that was left beside standby.signal, and
        outlives a promotion (left_over), it says about the next start alone.
        """
        return promotes_itself(self.config['data_directory']) and not (self.fresh(self.local) and self.local.answer.get('in_recovery') is False)

    def hangs(self, limits=2):
        """Whether the server here, which has answered since it started, neither answers nor refuses connections, as one that recovers does, for so many
        isolation limits.

        This guard goes on asking in its name, and not everybody who answers would notice: a standby below another standby knows nothing of its primary.
        """
        answered_last = self.local.answered or 0
        return answered_last >= self.since and clock() - max(answered_last, self.local.refused or 0) > limits * self.config['isolation']

    def may_elect(self, peer):
        """Whether a peer may elect another primary. While repmgrd is paused here, these are only the peers that were told earlier that this primary stops; the
        others were told that it does not, or were never queried, because an operator has promoted this node without them.
        """
        return not self.local.answer.get('paused') or peer.node_id in ((self.state['reign'] or {}).get('limited') or [])

    def may_be_replaced(self):
        """Whether those peers are a majority: until they know of the pause, they act as if there were none."""
        return bool(self.state['armed'] and self.config['automatic'] and self.local.answer.get('paused')) and len(
            [peer for peer in self.peers if peer.vote and self.may_elect(peer)]) >= majority(self.votes)

    def repmgr(self, *words):
        return [os.path.join(self.config['bin_dir'], 'repmgr'), '-f', self.config['conf']] + list(words)
