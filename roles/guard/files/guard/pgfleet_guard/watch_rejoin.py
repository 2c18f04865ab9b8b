# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the watch that makes a primary that was replaced a standby."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from pgfleet_guard.answers import has_checkpoint, names
from pgfleet_guard.clock import clock
from pgfleet_guard.data_directory import control_data, own_timeline, wrote_nothing
from pgfleet_guard.jobs import Job, why_not
from pgfleet_guard.messages import next_command, say
from pgfleet_guard.processes import without_stale_pid
from pgfleet_guard.rewind import recovery_of
from pgfleet_guard.settings import CHECKPOINT_LIMIT, READS, SERVED
from pgfleet_guard.watch_base import Base


class Rejoin(Base):
    def rejoin(self, primary, control):
        config = self.config
        if config['auto_rejoin'] == 'off':
            self.say('rejoin', '%s is primary; this node can come back as its standby: %s' % (
                primary.name, next_command('rejoin', config['name'])))
            return
        if clock() < self.rejoin_after:
            return
        late = [peer for peer in self.peers if peer.witness and self.fresh(peer) and peer.answer.get('upstream') == config['node_id']]
        self.late = (self.late or clock()) if late else None
        if late and clock() - self.late < SERVED:
            # repmgr's witness would take this node, back so soon, for the primary that it knows, and stay registered below it. One that has
            # not been told by then asks this node until it is back; the new primary's guard registers it anew.
            self.say('late', 'waits for %s to notice that %s is primary' % (names(late), primary.name))
            return
        rewind = config['auto_rejoin'] == 'rewind'
        if rewind and not has_checkpoint(primary):
            self.have_checkpoint(primary)
            return
        self.checkpoint = None
        if rewind and wrote_nothing(control) and (primary.answer.get('timeline') or 0) <= own_timeline(control):
            # Nothing to be rewound. A recovery would write a checkpoint that the primary does not have, and that pg_rewind does not look for on one timeline.
            rewind = False
        recovery = recovery_of(config, control) if rewind else None
        if recovery:
            say('recovers the crashed server before it is rewound')
            self.job = Job(config, 'recovery', recovery, lambda code, output: self.recovered(primary, code, output),
                           more=without_stale_pid(config['data_directory']))
            return
        say('rejoins %s as its standby (%s)' % (primary.name, 'rewind' if rewind else 'attach'))
        # Never ended: half of a rewind is lost data. A connection that is dead ends by what the primary's conninfo says.
        self.job = Job(config, 'rejoin', self.repmgr('-d', primary.conninfo, 'node', 'rejoin', *['--force-rewind'] if rewind else []),
                       lambda code, output: self.not_rejoined(primary, why_not(output)) if code else self.rejoined(primary))

    def recovered(self, primary, code, output):
        control = {} if code else control_data(self.config, READS)
        if control:
            self.rejoin(primary, control)
        else:
            # Without control data it is unknown how to rejoin.
            self.not_rejoined(primary, output[-300:] if code else 'pg_controldata gave no result for %s' % self.config['data_directory'])

    def have_checkpoint(self, primary):
        """Request a checkpoint as a job: it may take a minute, during which the local server may be started."""
        config = self.config
        if self.checkpoint is None:
            self.job = Job(config, 'checkpoint', [os.path.join(config['bin_dir'], 'psql'), '-X', '-q', '-w', '-d', primary.conninfo, '-c', 'CHECKPOINT'],
                           lambda code, output: self.has_had_checkpoint(primary, code, output), seconds=CHECKPOINT_LIMIT,
                           more={'PGCONNECT_TIMEOUT': str(config['connect_timeout'])})
        elif primary.answered is not None and primary.answered > self.checkpoint:
            self.checkpoint = None
            self.not_rejoined(primary, '%s has had no checkpoint since its promotion' % primary.name)

    def has_had_checkpoint(self, primary, code, output):
        if code:
            self.not_rejoined(primary, '%s has had no checkpoint since its promotion: %s' % (primary.name, output[-300:]))
            return
        # Its answers so far are older than the checkpoint.
        self.checkpoint = clock()
        primary.ask_again()

    def rejoined(self, primary):
        self.rejoin_failures = 0
        say('is a standby of %s again' % primary.name)

    def not_rejoined(self, primary, problem):
        self.rejoin_failures += 1
        # Right after a failover the metadata has yet to settle.
        pause = min(60, 2 ** self.rejoin_failures)
        self.rejoin_after = clock() + pause
        self.say('rejoin', 'could not rejoin %s: %s. Tries again in %d s; by hand: %s' % (
            primary.name, problem, pause, next_command('rejoin', self.config['name'])))
