# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the watch for a server that should run, and does not."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess

from pgfleet_guard.answers import other_primary
from pgfleet_guard.clock import clock
from pgfleet_guard.data_directory import control_data, own_timeline, promotes_itself, wrote_nothing
from pgfleet_guard.messages import next_command, say
from pgfleet_guard.processes import outcome, rejoining
from pgfleet_guard.questions import RELEASE, literal, session_name
from pgfleet_guard.session import ask_all
from pgfleet_guard.settings import PATIENCE, READS, SOON, STOPPED_FILE
from pgfleet_guard.signal_files import lost_its_signal, make_standby
from pgfleet_guard.start import next_step, restored
from pgfleet_guard.start_rules import start_problem
from pgfleet_guard.state import is_restoring, reign_on
from pgfleet_guard.votes import can_take_over
from pgfleet_guard.watch_rejoin import Rejoin


class Down(Rejoin):
    def stopped(self):
        if self.is_starting() or self.job or not self.wanted() or rejoining(self.config['data_directory']):
            return
        control = control_data(self.config, READS)
        if not control:
            # On which timeline it is nobody knows, nor what a rejoin would have to do.
            self.say('control', 'does not start or rejoin the server: pg_controldata gave no result for %s within %d s, or failed' % (
                self.config['data_directory'], READS))
            return
        if lost_its_signal(control, self.config['data_directory'], is_restoring(self.config)):
            try:
                make_standby(self.config['data_directory'], control)
            except (IOError, OSError) as exc:
                self.say('signal', 'cannot be made the standby again that it was before it was killed while it was promoted: %s' % exc)
            return
        system, timeline = control.get('Database system identifier'), own_timeline(control, self.config['data_directory'])
        primary = other_primary([peer for peer in self.peers if self.fresh(peer)], system)
        if promotes_itself(self.config['data_directory']):
            # Who has restored them knows when they are to be started.
            self.say('restored', 'does not rejoin %s, which is primary. %s' % (primary.name, restored(self.config)) if primary else (
                'does not start the server, whose data recover from an archive. To start it: systemctl start %s' % self.config['service']), float('inf'))
            return
        if primary and (primary.answer.get('timeline') or 0) < timeline:
            # What this node has acknowledged since would be lost.
            self.say('older', 'does not rejoin %s: it is primary on timeline %s, which is older than %s, the one here. Decide which data are right, then '
                     'look: %s --check' % (primary.name, primary.answer.get('timeline'), timeline, next_command('rejoin', self.config['name'])), float('inf'))
            return
        if primary and (primary.answer.get('timeline') or 0) == own_timeline(control) and not wrote_nothing(control):
            # Both were promoted to it, or somebody has taken a signal file away. repmgr would attach it, and pg_rewind find nothing to do.
            self.say('twice', 'does not rejoin %s: both have been primary on timeline %d, and neither PostgreSQL nor pg_rewind can tell what only one of them '
                     'has. To make this node a standby, which moves its data aside: %s' % (
                         primary.name, own_timeline(control), next_command('rejoin', self.config['name'], 'reclone')), float('inf'))
            return
        if primary:
            self.rejoin(primary, control)
            return
        # A rewind that was cut short has copied the newer history file already: what the control data say is what may start.
        problem = start_problem(self.peers, self.fresh, self.votes, system, own_timeline(control),
                                reign=reign_on(self.state, own_timeline(control), self.config['data_directory']))
        if problem:
            if clock() - self.since > 2:
                self.say('start', 'does not start the server: %s. %s' % (problem.text, next_step(self.config, problem) if problem.code == 'named'
                                                                         else 'It starts when it can'))
            return
        if self.started is not None and clock() - self.started < PATIENCE and can_take_over(self.peers, self.fresh):
            self.say('again', 'does not start the server: it was started less than %d s ago and is down again, so this is left to a failover '
                     'for a while' % PATIENCE)
            return
        # Until they have missed it, and elected.
        if self.blinded is not None and clock() - self.blinded < PATIENCE + self.config['detection'] and can_take_over(self.peers, self.fresh):
            self.say('again', 'does not start the server: others answer, but have not seen it, so this is left to a failover for a while')
            return
        self.start('starts the server again, in its place')

    def fallen(self):
        """A standby can be started safely; but one that fails again immediately has a reason that an operator should see."""
        if self.is_starting() or self.job or not self.wanted() or rejoining(self.config['data_directory']):
            return
        if self.started is None or clock() - self.started > PATIENCE:
            self.start('starts the standby again')

    def start(self, text):
        self.started = clock()
        say(text)
        # Do not wait for it: a recovery may be long, and the peers must be watched in the meantime.
        self.starting = subprocess.Popen(['sudo', '-n', '/usr/bin/systemctl', 'start', self.config['service']])

    def is_starting(self):
        if self.starting is None:
            return False
        if self.starting.poll() is None:
            return True
        if self.starting.returncode:
            # What cannot start must not keep the others from being promoted.
            say('the server did not start: see journalctl -u %s' % self.config['service'])
            ask_all([peer for peer in self.peers if self.fresh(peer)], 2, RELEASE % literal(session_name(self.config, 'start')))
        self.starting = None
        return False

    @staticmethod
    def forget_stop():
        try:
            os.unlink(STOPPED_FILE)
        except OSError:
            pass

    def wanted(self):
        """Whether the server should run: systemd has tried to start it, or the guard stopped it. One that an operator stopped or masked stays down."""
        if self.asking is not None:
            return self.has_failed()
        # Often while it may be a matter of seconds.
        if self.asked_systemd is not None and clock() - self.asked_systemd < (0.5 if clock() - self.since < PATIENCE else 5):
            return False
        self.asked_systemd = clock()
        for folder in ('/etc', '/run'):
            try:
                if os.readlink('%s/systemd/system/%s.service' % (folder, self.config['service'])) == '/dev/null':
                    return False
            except OSError:
                pass
        # To the unit of EL's packages, whose main process is the server, that is a clean end and no failure.
        if os.path.exists(STOPPED_FILE):
            return True
        with open(os.devnull, 'w') as null:
            self.asking = (subprocess.Popen(['sudo', '-n', '/usr/bin/systemctl', 'is-failed', self.config['service']], stdout=null, stderr=null), clock())
        return self.has_failed()

    def has_failed(self):
        """What systemd has answered. It is not waited for: sudo may wait for a directory service that is away, and meanwhile somebody may start the server,
        which the fuse would end where nothing is told of it. Nor is it asked once more: what hangs as root cannot be ended from here.
        """
        process, since = self.asking
        code = outcome(process, SOON if clock() - since < SOON else 0)
        if code is None:
            if clock() - since > PATIENCE:
                self.say('systemd', 'systemctl is-failed %s has not ended for %d s (process %d): until it does, nothing is started here' % (
                    self.config['service'], clock() - since, process.pid))
            return False
        self.asking = None
        # Of a time before: the server was started since.
        return code == 0 and since >= self.since
