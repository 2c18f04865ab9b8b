# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the watch that tells the fuse, and goes on from what the guard before has told."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from pgfleet_guard.clock import clock
from pgfleet_guard.messages import say
from pgfleet_guard.settings import FUSE, LOOK
from pgfleet_guard.sight import write_stamp
from pgfleet_guard.votes import majority
from pgfleet_guard.watch_base import Base


class Fuse(Base):
    def resume(self, pid):
        """A guard that starts beside a primary counts from what the one before it has seen: one that is killed again and again would grant it a new
        period each time, and never stop it. A server that was started since has a period of its own.
        """
        stamp, now, limit = self.before, clock(), self.config['isolation']
        if not stamp or not stamp.get('fences') or stamp.get('server') not in (None, pid):
            return
        self.sight = stamp['sight']
        if stamp['limit'] is None:
            # The previous guard was stopped on purpose, however long ago: query the peers first.
            self.sight = max(self.sight, now + LOOK - limit - FUSE)
        self.since = min(now, max(self.sight + FUSE, now + LOOK - limit))

    def stamp(self, kind, pid):
        """Tells the fuse, which ends the server where this program does not, and a guard that starts after this one:

        sight: when those were asked who were enough for this primary to go on, the last time. limit: how much later it has to end; None where this
        program would not stop it either, or is ended by somebody. fences: whether it would, as long as it is at work. server: the postmaster. promoted: the
        limit of a primary here of which nothing is told, because this program hangs since before; None as for limit. hangs: whether this server may be
        stopped soon because it does not answer, for the health endpoint: it may go on again just before that.
        """
        config, need = self.config, self.votes - majority(self.votes)
        # Without these `need` newest answers the others would be a majority; the oldest of them counts.
        moments = sorted([peer.answered for peer in self.peers if peer.vote and self.fresh(peer) and self.seen(peer)], reverse=True)
        if 0 < need <= len(moments):
            self.sight = max(self.sight, moments[need - 1])
        limit = config['isolation'] + FUSE if need and self.replaceable() else None
        fences = bool(kind == 'primary' and pid and (limit or self.may_be_replaced()))
        told = {'boot': self.boot, 'cluster': config.get('cluster'), 'node_id': config.get('node_id'), 'directory': self.directory, 'server': pid,
                'sight': self.sight, 'fences': fences, 'limit': config['isolation'] + FUSE if fences else None, 'promoted': limit,
                'hangs': fences and self.hangs(1)}
        before, when = self.stamped or ({}, 0)
        if told != before and (dict(told, sight=before.get('sight')) != before or clock() - when >= config['isolation'] / 8.0):
            problem = write_stamp(told)
            if problem:
                self.say('stamp', problem)
            else:
                self.stamped = (told, clock())

    def stand_down(self):
        """This program is stopped on purpose: the fuse leaves the server alone. Also at a restart; the next guard logs the gap (predecessor)."""
        if self.stamped:
            write_stamp(dict(self.stamped[0], limit=None, promoted=None, ended=clock()))
        kind, pid = self.detected or (None, None)
        say('ends, because somebody stops or restarts it. Until the line "watches over" follows, %s. If nobody restarts it: systemctl start repmgr-guard' % (
            'NOTHING STOPS THIS PRIMARY when it is cut off or replaced' if kind == 'primary' and pid else
            'nobody starts this node again, lets it rejoin or holds an election here'))
