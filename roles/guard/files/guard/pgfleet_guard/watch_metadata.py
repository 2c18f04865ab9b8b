# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the watch that puts in order what a failover has left: registrations, votes and notifications."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import signal

from pgfleet_guard.answers import hears, upstream_of
from pgfleet_guard.clock import clock
from pgfleet_guard.data_directory import left_over
from pgfleet_guard.jobs import Job, why_not
from pgfleet_guard.messages import next_command, say
from pgfleet_guard.processes import daemon, following, promoting
from pgfleet_guard.questions import ADOPT, FORGET, NOTIFY, VOTE, voted
from pgfleet_guard.session import ask_all
from pgfleet_guard.settings import PATIENCE, SERVED, SETTLED, UNANNOUNCED
from pgfleet_guard.watch_base import Base


class Metadata(Base):
    def tidy(self, directory):
        """The server accepts writes, so a signal file that was left beside its standby.signal is obsolete."""
        uptime, pid = self.local.answer.get('uptime'), (self.detected or (None, None))[1]
        path = left_over(directory, pid, None if uptime is None else uptime + clock() - self.local.answered)
        if path:
            try:
                os.unlink(path)
                say('removes %s, which was there beside standby.signal, and which the next start would take for a restore' % path)
            except (IOError, OSError) as exc:
                self.say('tidy', '%s cannot be removed, and the next start would take it for a restore: %s' % (path, exc))

    def announce_repmgrd(self):
        """Restart a repmgrd that runs, and of which its server does not know: by ending it, for systemd starts it again.

        Where the server came back between two of its checks, after a crash say, repmgrd (5.3) connects anew, and does not write its number and its node into
        the shared memory, which is empty then. It cannot be paused, passes for one that does not run, and what others notify it of is lost. A server that
        came back later it tells (check_connection and monitor_streaming_primary in repmgrd-physical.c). Only while the primary is in sight, so that no
        election is at work.
        """
        here = self.local.answer if self.fresh(self.local) else {}
        if here.get('repmgrd') is not False or (here.get('in_recovery') and not here.get('receiving')) or (here.get('uptime') or 0) < UNANNOUNCED:
            self.unannounced = None
            return
        if self.unannounced is not None and clock() < self.unannounced[1]:
            return
        pid, known = daemon(self.config), self.unannounced
        self.unannounced = (pid, clock() + UNANNOUNCED)
        # One that has just been started has that time to tell.
        if pid is None or known is None or known[0] != pid or promoting() or following():
            return
        say('ends repmgrd (process %d), which systemd starts again: it has not told the server that it runs, since that was started' % pid)
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError as exc:
            say('repmgrd (process %d) cannot be ended: %s' % (pid, exc))

    def register(self):
        """Who was promoted by hand, or by a repmgr that was killed meanwhile, is not known as primary; and nobody can follow or rejoin it."""
        answer, here = self.local.answer, self.config['node_id']
        # Until it is registered at all it is somebody's first deployment.
        if not self.local.seen(5) or answer.get('in_recovery', True) or here not in (answer.get('registered') or []) or answer['primary_id'] == here:
            self.unregistered, self.register_after = None, 0
            return
        self.unregistered = self.unregistered or clock()
        if clock() - self.unregistered < SETTLED or clock() < self.register_after or self.job or answer.get('paused') or promoting():
            return
        self.register_after = clock() + PATIENCE
        say('registers this node as primary, which it has been for %d s without being registered' % (clock() - self.unregistered))
        self.job = Job(self.config, 'registration', self.repmgr('primary', 'register', '--force'), self.registered, seconds=PATIENCE)

    def registered(self, code, output):
        if code:
            self.say('register', 'could not register this node as primary: %s. Tries again in %d s; by hand: %s' % (
                why_not(output), PATIENCE, next_command('site')))

    def adopt(self, answering):
        """A witness that was down during a failover finds the new primary by itself, but stays registered below the old one."""
        here = self.config['node_id']
        strays = self.local.answer.get('strays') or []
        if self.local.waiting or not self.local.seen(5) or self.local.answer.get('primary_id') != here:
            return
        for peer in answering:
            if peer.witness and peer.node_id in strays and peer.answer.get('upstream') == here:
                self.say('adopt', 'registers %s below this node, which it follows' % peer.name)
                ask_all([self.local], 1, ADOPT % (here, peer.node_id))

    def withdraw(self, answering):
        """Drop the votes that have served: where who gave one has followed, which it knows by its own data. And those for a promotion that came to nothing,
        once that node is a standby: should it be away later, a start here would wait for it. What it was before this host stood still does not count
        (is_voted_out).
        """
        here = self.local.answer
        if not self.fresh(self.local) or here.get('in_recovery') is not False or not here.get('timeline'):
            return
        followed = (self.state['reign'] or {}).get('followed') or []
        standbys = [peer.node_id for peer in answering if hears(peer.answer, self.config['isolation'])] if clock() - self.since >= PATIENCE else []
        served = []
        for peer in answering:
            later, number = voted(peer.answer)
            follows = peer.node_id in followed and (peer.witness or hears(peer.answer, self.config['isolation']) and (
                peer.answer.get('timeline') == here['timeline']))
            nothing = number in standbys and (later, number) in self.void
            if later and (nothing if later > here['timeline'] else follows) and not peer.answer.get('holder') and not peer.waiting:
                if later > here['timeline']:
                    say('withdraws the vote of %s for node %d on timeline %d: that node is a standby' % (peer.name, number, later))
                served.append(peer)
        if served:
            ask_all(served, 1, VOTE % ("''", "''"))
            for peer in served:
                # Should the same node be promoted later, its vote has the same name, and is another one.
                self.void.discard(voted(peer.answer))
                self.against.pop(voted(peer.answer), None)
                peer.answer = dict(peer.answer, voted=None)

    def tell(self, answering):
        """Who has lost its primary waits a minute for the word of a repmgrd that has been promoted. Where another promotes, or repmgrd dies
        meanwhile, nobody gives it.
        """
        here, told = self.config['node_id'], []
        for peer in answering if clock() - self.since < PATIENCE else []:
            if upstream_of(peer) in (None, here) or peer.answer.get('receiving') or peer.answer.get('paused'):
                self.untold.pop(peer.name, None)
            elif clock() - self.untold.setdefault(peer.name, clock()) >= SERVED and self.local.answer.get('primary_id') == here and not peer.waiting:
                say('tells %s, which looks for node %s, to follow this node' % (peer.name, upstream_of(peer)))
                told.append(peer)
                # It keeps what it is told.
                self.untold[peer.name] = clock() + PATIENCE
        if told:
            # All at once: the watch must not stand still for each in turn.
            ask_all(told, 1, NOTIFY % here)

    def forget(self, answering):
        """A notification that comes after a node has found the new primary by itself is kept, and taken for that of the next election: repmgr's
        witness then goes on asking a primary that is dead. So what is served is taken back.
        """
        served = []
        for peer in answering:
            notified, last_seen = peer.answer.get('notified'), peer.answer.get('last_seen')
            follows = peer.answer.get('upstream') == self.config['node_id'] and last_seen is not None and last_seen <= 2
            if notified is None or not follows:
                self.notified.pop(peer.name, None)
            elif self.notified.setdefault(peer.name, (notified, clock()))[0] != notified:
                self.notified[peer.name] = (notified, clock())
            # To follow this node it does already; of another one, it may be about to.
            elif clock() - self.notified[peer.name][1] >= (1 if notified == self.config['node_id'] else SERVED) and not peer.waiting:
                say('takes back what %s was notified of, and has not used: to follow node %s' % (peer.name, notified))
                served.append(peer)
                del self.notified[peer.name]
        if served:
            ask_all(served, 1, FORGET)
