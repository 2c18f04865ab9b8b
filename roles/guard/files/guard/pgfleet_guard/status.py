# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each of the hooks would answer now."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from pgfleet_guard.answers import answered, heard, is_blind, names
from pgfleet_guard.clock import clock
from pgfleet_guard.configuration import become_user, local_of, peers_of, votes_of
from pgfleet_guard.data_directory import claim, control_data, data_is, promotes_itself, starts_as
from pgfleet_guard.memory import Memory
from pgfleet_guard.messages import say
from pgfleet_guard.promotion_rules import promotion_problem
from pgfleet_guard.session import ask_all
from pgfleet_guard.settings import FUSE_PID_FILE, STOP_MARGIN
from pgfleet_guard.sight import read_stamp
from pgfleet_guard.start_rules import start_problem
from pgfleet_guard.state import read_state, reign_on
from pgfleet_guard.votes import may_elect, out_of_sight


def status(config):
    become_user(config)
    local, peers = local_of(config, 'status'), peers_of(config, 'status')
    ask_all([local] + peers, config['connect_timeout'] + 2)
    votes = votes_of(config)
    for server in [local] + peers:
        answer = server.answer
        text = server.error or 'no answer'
        if answered(server):
            text = 'witness' if server.witness else 'primary' if not answer.get('in_recovery') else 'standby' if (
                server is not local or not promotes_itself(config['data_directory'])) else 'recovers from an archive, and then promotes itself'
            text += ', timeline %s' % answer.get('timeline') if not server.witness else ''
            if answer.get('last_seen') is not None and (answer.get('in_recovery') or server.witness):
                text += ', has seen its upstream %d s ago' % answer['last_seen']
        say('%s (%s): %s' % (server.name, 'vote' if server.vote else 'no vote', text))
        if answered(server) and answer.get('tracks') is False:
            say('%s: TRACK_ACTIVITIES IS OFF: who was primary there last keeps others from starting and from being promoted for as long as its session lasts, '
                'dead or not. Set it to on, and reload' % server.name)
    control = control_data(config)
    kind = data_is(config['data_directory'])
    state = read_state(config)
    timeline = claim(config['data_directory'], control, state)
    problem = start_problem(peers, heard, votes, control.get('Database system identifier'), timeline,
                            reign=reign_on(state, timeline, config['data_directory'])) if kind == 'primary' else None
    say('armed: %s' % ('yes' if state['armed'] else 'no: has not seen a majority of votes since it was installed, and stops no primary that is alone'))
    say('fuse: ' + fuse_text(fuse_runs(), read_stamp(config), clock()))
    say('start: %s' % ('refused: ' + problem.text if problem else 'allowed, as ' + starts_as(config['data_directory'])))
    memory = Memory(config, state)
    memory.learn([local] + peers, peers)
    problem = promotion_problem(local, peers, answered, votes, config['synchronous'], config['isolation'] + STOP_MARGIN, memory.known)[0]
    say('promote: %s' % ('refused: ' + problem if problem else 'allowed'))
    heeded = may_elect(peers, answered, votes, config['synchronous']) is not False
    unseen = out_of_sight(peers, lambda peer: answered(peer) and not (heeded and is_blind(peer, config['node_id'], config['isolation'])), votes)
    say('isolate: %s' % ('not a primary' if kind != 'primary' else 'stops the server: cannot see %s' % names(unseen) if unseen
                         else 'sees enough of %d votes to go on' % votes))
    for server in [local] + peers:
        server.close()
    return 0


def fuse_runs():
    try:
        with open(FUSE_PID_FILE) as handle:
            with open('/proc/%d/cmdline' % int(handle.read()), 'rb') as command:
                # The number may be another process's by now.
                return any(os.path.basename(word) == b'repmgr-guard-fuse' for word in command.read().split(b'\0'))
    except (IOError, OSError, ValueError):
        return False


def fuse_text(runs, stamp, now):
    """What the fuse would do now. stamp: what it was told last in this boot, or None."""
    if stamp is None:
        told = 'was told nothing since the boot, so it stops nothing'
    elif stamp['limit'] is None:
        told = 'no limit: %s; last sight %.1f s ago' % (
            'somebody has ended the guard' if stamp.get('fences') else 'the guard would not stop this server for being alone', now - stamp['sight'])
    else:
        told = 'limit %d s, last sight %.1f s ago' % (stamp['limit'], now - stamp['sight'])
    return ('runs, ' if runs else 'DOES NOT RUN, ') + told
