# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hook before a start of the server."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import time

from pgfleet_guard.answers import heard, names
from pgfleet_guard.clock import clock
from pgfleet_guard.configuration import become_user, peers_of, votes_of
from pgfleet_guard.data_directory import claim, control_data, data_is, promotes_itself, starts_as
from pgfleet_guard.locks import hold, lock_and_look
from pgfleet_guard.messages import Problem, next_command, say
from pgfleet_guard.processes import occupied, without_stale_pid
from pgfleet_guard.session import ask_all
from pgfleet_guard.settings import ENVIRONMENT_FILE, START_LEASE
from pgfleet_guard.sight import read_stamp, write_stamp
from pgfleet_guard.signal_files import lost_its_signal, make_standby, put_signals_back
from pgfleet_guard.start_rules import REPLACED, becomes_primary, start_problem
from pgfleet_guard.state import is_restoring, keep_restoring, read_state, reign_on
from pgfleet_guard.votes import majority, out_of_sight


def start(config):
    """Exit code 0: it may start."""
    become_user(config)
    write_environment(config)
    if occupied(config['data_directory']):
        say('does not start: a server for a single user is at work on %s (postmaster.pid has its number). Wait until it has ended' % config['data_directory'])
        return 1
    try:
        put_signals_back(config['data_directory'])
    except OSError as exc:
        say('does not start: a rejoin has moved a signal file aside, and it cannot be put back: %s' % exc)
        return 1
    try:
        control = control_data(config) if data_is(config['data_directory']) == 'primary' else {}
        if lost_its_signal(control, config['data_directory'], is_restoring(config)):
            make_standby(config['data_directory'], control)
    except (IOError, OSError) as exc:
        say('does not start: it was killed while it was promoted, and cannot be made the standby again that it was: %s' % exc)
        return 1
    kind = data_is(config['data_directory'])
    if kind == 'standby':
        keep_restoring(config, False)
    if kind != 'primary':
        return 0
    deadline = clock() + config['start_wait']
    votes, said, state = votes_of(config), '', read_state(config)
    while True:
        control = control_data(config)
        begun = clock()
        peers = peers_of(config, 'start')
        # One with data may have been promoted while nobody else knows of it yet: whoever of them can answer is heard out.
        ask_all(peers, config['connect_timeout'] + 2, enough=lambda: not out_of_sight(peers, heard, votes) and not any(
            peer.waiting for peer in peers if not peer.witness))
        system, timeline = control.get('Database system identifier'), claim(config['data_directory'], control, state)

        def judge(system=system, timeline=timeline, peers=peers):
            return start_problem(peers, heard, votes, system, timeline, reign=reign_on(state, timeline, config['data_directory'])) or (
                becomes_primary(config, peers))

        problem = judge()
        if not problem:
            voters = [peer for peer in peers if peer.vote and heard(peer)]
            # Whoever is promoted needs a majority of the others' locks.
            need = votes - majority(votes)
            problem, holder = lock_and_look(voters, need, judge, yields=True) if voters else (None, '')
            if not problem and not holder:
                hold(voters, START_LEASE)
                # From then on they keep the lock without this connection. One that was reset before that has taken its lock with it.
                holder = '' if len([peer for peer in voters if peer.process is not None and peer.process.poll() is None]) >= need else 'the lock was lost'
            if not problem and not holder:
                stamp = read_stamp(config)
                if stamp and stamp['limit'] is not None:
                    # Its guard has died. It has what has been seen now, and not more: nobody else would stop it.
                    write_stamp(dict(stamp, sight=begun, server=None))
                if promotes_itself(config['data_directory']):
                    keep_restoring(config, True)
                say('may start as %s: sees %s, and none of them follows another' % (starts_as(config['data_directory']), names(voters)))
                for peer in peers:
                    peer.close()
                return 0
            problem = problem or Problem('locked', 'somebody else is about to become primary: %s' % holder, [])
        for peer in peers:
            peer.close()
        final = problem.code in REPLACED or clock() >= deadline
        if problem.text != said or final:
            say('%s as %s: %s%s' % ('does not start' if final else 'waits to start', starts_as(config['data_directory']), problem.text,
                                    '. ' + next_step(config, problem) if final else ''))
            said = problem.text
        if final:
            return 1
        time.sleep(1)


def write_environment(config):
    try:
        with open(ENVIRONMENT_FILE, 'w') as handle:
            handle.writelines('%s=%s\n' % item for item in without_stale_pid(config['data_directory']).items())
    except (IOError, OSError) as exc:
        # Seldom needed, so no reason not to start.
        say('%s cannot be written: %s' % (ENVIRONMENT_FILE, exc))


def next_step(config, problem):
    if problem.code in REPLACED and promotes_itself(config['data_directory']):
        return restored(config)
    if problem.code in REPLACED:
        return 'It can come back as a standby: %s%s' % (
            'repmgr-guard watch does that now (repmgr_auto_rejoin: %s), or ' % config['auto_rejoin'] if config['auto_rejoin'] != 'off' else '',
            next_command('rejoin', config['name']))
    if problem.code == 'named':
        return ('It comes back as soon as %s is in sight. Where that node is gone for good, promote a standby: %s. Where there is none, see '
                '"A node that waits for another" in docs/guard.md' % (problem.peers[0], next_command('failover')))
    return 'It starts when it can (repmgr-guard watch). Where it has to start anyway, see docs/runbook.md'


def restored(config):
    return ('Its data recover from an archive, as somebody has restored them, and are left as they are. To look at them, start them beside the cluster '
            '(docs/backup.md). To make this node a standby, which moves them aside: %s' % next_command('rejoin', config['name'], 'reclone'))
