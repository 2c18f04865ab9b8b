# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the watch for a standby: one that is left behind, and one that might have to take over."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess
import sys

from pgfleet_guard.answers import has_partial_record, hears, other_primary, registered_upstream
from pgfleet_guard.clock import clock
from pgfleet_guard.jobs import Job, why_not
from pgfleet_guard.messages import next_command, say
from pgfleet_guard.processes import following, promoting
from pgfleet_guard.promotion_rules import asked_by_primary, best_candidate, promotion_problem
from pgfleet_guard.questions import literal, upstream_conninfo
from pgfleet_guard.retention import held_by, lsn_text
from pgfleet_guard.settings import DEFERENCE, FOLLOW_LIMIT, LEFT_BEHIND, PATIENCE, SERVED, STOP_MARGIN
from pgfleet_guard.watch_base import Base


class Standby(Base):
    # a server that might have to take over: repmgr does not repeat an election whose promotion went wrong
    def standby(self):
        def seen(peer):
            return peer.seen(15)

        answer = self.local.answer
        if answer.get('in_recovery') and answer.get('primary_id') is not None:
            self.keep(primary=answer['primary_id'])
        primary = other_primary([peer for peer in self.peers if seen(peer)])
        if not seen(self.local) or hears(answer, 15) or primary:
            self.lost = None
            if seen(self.local) and not hears(answer, 15) and primary.answer.get('system') == answer.get('system'):
                self.left_behind(primary)
            elif seen(self.local):
                self.astray, self.follow_attempts, self.stuck = None, 0, None
                if self.went_round is not None and hears(answer, 15):
                    self.ends_detour()
            return
        self.astray, self.lost = None, self.lost or clock()
        # Until then repmgr is given the time to do it.
        if clock() - self.lost < self.config['detection']:
            return
        lease = self.config['isolation'] + STOP_MARGIN
        asked = asked_by_primary([self.local] + [peer for peer in self.peers if seen(peer)], lease, self.memory.known, answer.get('timeline'))
        if asked:
            self.say('alarm', 'is cut off from its primary: ' + asked, 60)
            return
        problem = promotion_problem(self.local, self.peers, seen, self.votes, self.config['synchronous'], lease, self.memory.known)[0]
        daemon = 'repmgrd is paused' if answer.get('paused') else '' if answer.get('repmgrd') else 'repmgrd does not run'
        deference = clock() - self.lost < self.config['detection'] + DEFERENCE
        if not daemon and not problem and self.config['automatic'] and best_candidate(self.local, self.peers, seen, deference) is self.local:
            self.elect()
            return
        self.say('alarm', 'NO PRIMARY: %s. Type: %s' % (
            '; '.join([text for text in (daemon, problem) if text]) or 'no standby was promoted', next_command('failover')), 60)

    def left_behind(self, primary):
        """A node that was down during a failover still follows the old primary, and a repmgrd that starts without its upstream exits immediately."""
        config = self.config
        self.astray = self.astray or clock()
        # Nobody has paused repmgrd to do something by hand.
        if self.local.answer.get('paused') or primary.answer.get('paused'):
            return
        if self.goes_round(primary):
            return
        # repmgrd has had its time.
        if clock() - self.astray < LEFT_BEHIND:
            return
        if config['auto_rejoin'] == 'off':
            self.say('astray', '%s is primary, and this standby streams from nobody. Type: %s' % (primary.name, next_command('site')))
            return
        if clock() < self.follow_after or self.job or following():
            return
        pause = PATIENCE * 2 ** min(4, self.follow_attempts)
        holders = held_by(self.local, [primary] + [peer for peer in self.peers if peer is not primary and peer.seen(15) and not peer.witness
                                                   and hears(peer.answer, 15) and peer.answer.get('system') == primary.answer.get('system')])
        if not holders:
            self.follow_after = clock() + PATIENCE * 2 ** 4
            self.say('astray', 'streams from nobody, and %s has removed the WAL that it needs, from %s on; no other node that answers has it. It has to be '
                     'cloned again: %s' % (primary.name, lsn_text(self.local.answer['lsn']), next_command('rejoin', config['name'], 'reclone')))
            return
        # A standby that has what the primary has removed will do: from there it catches up.
        upstream = holders[0]
        self.follow_attempts += 1
        self.follow_after = clock() + pause
        say('streams from nobody for %d s: follows %s%s' % (clock() - self.astray, upstream.name, '' if upstream is primary else (
            ', because primary %s has removed the WAL that it needs' % primary.name)))
        self.job = Job(config, 'follow', self.repmgr('standby', 'follow', '--upstream-node-id', str(upstream.node_id)),
                       lambda code, output: code and self.say('astray', 'could not follow %s: %s. Tries again in %d s; by hand: %s' % (
                           upstream.name, why_not(output), pause, next_command('rejoin', config['name']))),
                       seconds=FOLLOW_LIMIT)

    def goes_round(self, primary):
        """Let this standby stream from the primary by PostgreSQL alone, where repmgr refuses it. Whether that is begun, or may be soon.

        repmgr's own command follows as soon as it streams (standby): it gives it its slot and its record.
        """
        answer = self.local.answer
        if not has_partial_record(answer) or self.went_round == answer['replayed'] or self.config['auto_rejoin'] == 'off' or (
                answer.get('version') or 0) < 130000 or (primary.answer.get('timeline') or 0) <= (answer.get('checkpoint_timeline') or 0):
            self.stuck = None
            return False
        if self.stuck is None or self.stuck[0] != answer['replayed']:
            # What it has received whole it goes on replaying.
            self.stuck = (answer['replayed'], clock())
        if clock() - self.stuck[1] < SERVED or self.job or following():
            return True
        self.stuck, self.went_round = None, answer['replayed']
        say('does not stream, and has the beginning of a record that %s does not have (%s to %s), so repmgr would refuse to follow: streams from it '
            'nevertheless' % (primary.name, lsn_text(answer['replayed']), lsn_text(answer['lsn'])))
        statements = ['ALTER SYSTEM SET primary_conninfo = %s' % literal(upstream_conninfo(self.config, primary.conninfo)),
                      "ALTER SYSTEM SET primary_slot_name = ''", 'SELECT pg_catalog.pg_reload_conf()']
        self.job = Job(self.config, 'new upstream',
                       [os.path.join(self.config['bin_dir'], 'psql'), '-X', '-q', '-w', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d',
                        'port=%d dbname=postgres user=%s' % (self.config['port'], self.config['user'])]
                       + [word for statement in statements for word in ('-c', statement)],
                       lambda code, output: code and self.say('astray', 'could not set primary_conninfo: %s. By hand: %s' % (
                           output[-300:], next_command('rejoin', self.config['name']))), seconds=30)
        return True

    def ends_detour(self):
        """Have repmgr create its slot and record, as for a standby that follows normally."""
        primary_id = self.local.answer.get('primary_id')
        if primary_id is not None and registered_upstream(self.local) == primary_id:
            # repmgrd was faster; asked again, repmgr would meet its own slot in use.
            self.went_round = None
            return
        upstream = [peer for peer in self.peers if peer.node_id == primary_id and peer.seen(15)]
        if not upstream or clock() < self.follow_after or self.job or following():
            return
        self.follow_after = clock() + PATIENCE
        self.job = Job(self.config, 'follow', self.repmgr('standby', 'follow', '--upstream-node-id', str(upstream[0].node_id)), self.went, seconds=FOLLOW_LIMIT)

    def went(self, code, output):
        if code:
            self.say('astray', 'streams, and repmgr could not follow: %s. Tries again in %d s' % (why_not(output), PATIENCE))
        else:
            self.went_round = None
            say('follows as before')

    def elect(self):
        """This election and that of another node at the same time exclude each other by their locks."""
        if clock() < self.elect_after or self.job or (self.election is not None and self.election.poll() is None) or promoting():
            return
        self.elect_after = clock() + PATIENCE
        say('NO PRIMARY, and repmgr has promoted nobody: promotes this node, which has received most')
        self.election = subprocess.Popen(
            [sys.executable, os.path.abspath(sys.argv[0]), 'promote', '--'] + self.repmgr('standby', 'promote', '--log-to-file'),
            env=dict(os.environ, PGPASSFILE=self.config['passfile']), cwd='/')
