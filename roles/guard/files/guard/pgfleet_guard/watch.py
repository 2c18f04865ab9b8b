# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The watch: what is done, once a second or so."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import signal
import socket
import time

from pgfleet_guard.answers import names
from pgfleet_guard.clock import clock
from pgfleet_guard.configuration import become_user, read_config
from pgfleet_guard.data_directory import data_is
from pgfleet_guard.messages import Problem, say
from pgfleet_guard.processes import postmaster
from pgfleet_guard.session import pump
from pgfleet_guard.settings import CONFIG, PID_FILE, STOP_MARGIN
from pgfleet_guard.sight import predecessor
from pgfleet_guard.state import keep_restoring
from pgfleet_guard.votes import majority
from pgfleet_guard.watch_down import Down
from pgfleet_guard.watch_fuse import Fuse
from pgfleet_guard.watch_primary import Primary
from pgfleet_guard.watch_standby import Standby


class Watch(Primary, Down, Standby, Fuse):
    """The watch loop, about once a second. Every action is one line in the journal."""

    def tick(self):
        directory = self.config['data_directory']
        kind, pid = data_is(directory), postmaster(directory)
        asleep, self.ticked = clock() - self.ticked, clock()
        if (kind, pid) == self.detected and kind == 'primary' and pid and asleep >= self.config['isolation'] + STOP_MARGIN and self.replaceable():
            # Before the standstill no other node was promoted; during it one may have been. It is started again, if allowed, as after a crash.
            self.stop(directory, Problem('stood_still', 'this host, or this program, stood still for %d s, in which another primary could be elected' %
                                         asleep, []))
            return
        if (kind, pid) != self.detected:
            first = self.detected is None
            self.detected, self.since, self.served, self.lost, self.asked_systemd = (kind, pid), clock(), None, None, None
            self.sight, self.against, self.void, self.polled = self.since, {}, set(), {}
            if first and kind == 'primary' and pid:
                self.resume(pid)
            self.said.clear()
            # Earlier answers are about a different state.
            for peer in self.peers:
                peer.ask_again()
            if pid:
                self.forget_stop()
        short = min(1, self.config['isolation'] / 4.0)
        # A standby that has lost its primary looks often: when a connection of that primary's guard is first missed counts.
        interval = 5 if kind == 'standby' and pid and self.local.answer.get('receiving', True) else short
        word = self.word() if kind == 'primary' and pid else None
        for server in self.peers + ([self.local] if pid else []):
            pause = interval if server is not self.local else short
            server.tick(pause, max(2, self.config['isolation'] / 2.0) + max(0, pause - 1), word)
        pump([self.local] + self.peers, 0.25)
        off = [server for server in [self.local] + self.peers if server.answer.get('tracks') is False]
        if off:
            self.say('tracks', 'track_activities is off on %s: who was primary there last keeps others from starting and from being promoted for as long as '
                     'its session lasts, dead or not. Set it to on, and reload' % names(off))
        if self.memory.learn([self.local] + self.peers, self.peers):
            self.keep(asked=dict(self.memory.known))
        time.sleep(0.2)
        result = self.job.result() if self.job else None
        if result:
            job, self.job = self.job, None
            job.then(*result)
        self.arm()
        self.stamp(kind, pid)
        self.note_restore(kind, pid)
        if kind == 'primary':
            if pid:
                self.primary(directory)
                self.announce_repmgrd()
            else:
                self.stopped()
        elif kind == 'standby' and pid:
            self.standby()
            self.announce_repmgrd()
        elif kind == 'standby':
            self.fallen()
        # Last, because fencing comes first.
        if pid and not self.job:
            self.retention.tick(self.local, self.peers)

    def arm(self):
        """A new guard may be in the wrong network, or not be allowed to connect by its peers yet; that must not stop a primary."""
        if self.state['armed']:
            return
        voters = [peer for peer in self.peers if peer.vote and self.fresh(peer)]
        if len(voters) + 1 >= majority(self.votes):
            self.keep(armed=True)
            say('is armed: has reached a majority of the votes (%s), and stops a primary on this node that loses it' % names(voters))
        else:
            self.say('unarmed', 'is not armed: has not seen a majority of votes since it was installed (sees %s), and stops no primary for being alone'
                     % names(voters))

    def note_restore(self, kind, pid):
        """Until the server takes writes, or the data are a standby's. Where there is no data directory nothing is known yet."""
        if kind == 'standby' or kind == 'primary' and pid and self.fresh(self.local) and self.local.answer.get('in_recovery') is False:
            keep_restoring(self.config, False)
        elif pid and self.restores():
            keep_restoring(self.config, True)


def tell_systemd(text):
    address = os.environ.get('NOTIFY_SOCKET')
    if address:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # A systemd that hangs, or starts anew, must not keep the guard from its work.
            notify.setblocking(False)
            notify.sendto(text.encode('ascii'), '\0' + address[1:] if address.startswith('@') else address)
        except (IOError, OSError):
            pass
        notify.close()


def watch(config):
    become_user(config)

    def end(dummy_number, dummy_frame):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    changed = os.stat(CONFIG).st_mtime
    watching = Watch(config)
    say('watches over %s: %d votes, %s a primary that is alone for %d s, auto_rejoin %s; %s' % (
        config['name'], watching.votes, 'stops' if watching.state['armed'] else 'is not armed yet, and once it is stops', config['isolation'],
        config['auto_rejoin'], predecessor(watching.before, clock())))
    try:
        with open(PID_FILE, 'w') as handle:
            handle.write('%d\n' % os.getpid())
    except (IOError, OSError) as exc:
        # Where /run is full status says that no guard runs, which is better than none.
        say('%s cannot be written: %s' % (PID_FILE, exc))
    tell_systemd('READY=1')
    try:
        while True:
            watching.tick()
            tell_systemd('WATCHDOG=1')
            try:
                written = os.stat(CONFIG).st_mtime
                # What is at work here goes on as it was begun.
                if written != changed and not watching.job:
                    changed = written
                    successor = Watch(read_config())
                    watching.close()
                    watching = successor
                    say('has read its configuration again: %d votes' % watching.votes)
            except (IOError, OSError, KeyError, TypeError, ValueError) as exc:
                # A guard that ended for that could not start again, and the fuse would end a server that is well.
                watching.say('config', '%s cannot be read, and what it said before counts: %s' % (CONFIG, exc))
    except SystemExit:
        # Whatever else ends this program leaves its last word, and the server, to the fuse.
        watching.stand_down()
        raise
    finally:
        watching.close()
        if os.path.exists(PID_FILE):
            os.unlink(PID_FILE)
