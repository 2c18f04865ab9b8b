# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hook before a promotion."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import subprocess
import time

from pgfleet_guard.answers import answered, names, newest
from pgfleet_guard.clock import clock
from pgfleet_guard.configuration import become_user, local_of, peers_of, votes_of
from pgfleet_guard.data_directory import promotes_itself
from pgfleet_guard.locks import hold, keep_votes, lock_and_look, only_one
from pgfleet_guard.memory import Memory
from pgfleet_guard.messages import say
from pgfleet_guard.promotion_rules import promotion_problem, succession_problem
from pgfleet_guard.questions import vote_name
from pgfleet_guard.session import ask_all
from pgfleet_guard.settings import PROMOTE_FILE, STOP_MARGIN
from pgfleet_guard.state import read_state
from pgfleet_guard.votes import majority


def promote(config, command, by_hand=False):
    """Exit code 0: it may be promoted; with a command, that command's, run while nobody else can start or be promoted.

    by_hand: an operator has decided, also without a majority. Of those that answer, all have to give their locks, so that two such promotions exclude
    each other as well.
    """
    become_user(config)
    if promotes_itself(config['data_directory']):
        say('not promoted: this server recovers from an archive, and promotes itself when that is done')
        return 1
    lease = config['isolation'] + STOP_MARGIN
    # repmgrd can hang in an election that it holds again, on its old connection to a frozen primary. So it is made to wait here.
    deadline = clock() + lease + 30
    votes, memory = votes_of(config), Memory(config, read_state(config))
    # Two would end each other's sessions, and with them the locks: repmgrd holds an election again while the guard's is at work.
    if only_one(PROMOTE_FILE, deadline) is None:
        say('not promoted: another promotion of this node is at work (%s is locked)' % PROMOTE_FILE)
        return 1
    while True:
        local, peers = local_of(config, 'promote'), peers_of(config, 'promote')
        ask_all([local] + peers, config['connect_timeout'] + 2,
                enough=None if by_hand else lambda: sum(
                    1 for server in [local] + peers if server.vote and 'upstream' in server.answer) >= majority(votes))

        def judge(local=local, peers=peers):
            if by_hand:
                return succession_problem(local, [peer for peer in peers if answered(peer)]), False
            memory.learn([local] + peers, peers)
            return promotion_problem(local, peers, answered, votes, config['synchronous'], lease, memory.known)

        problem, wait = judge()
        if not problem:
            voters = [local] + [peer for peer in peers if (answered(peer) if by_hand else peer.vote and 'upstream' in peer.answer)]
            need = len(voters) if by_hand else majority(votes)
            again, holder = lock_and_look(voters, need, judge)
            problem, wait = again or ('somebody else is about to become primary: %s' % holder, True)
            if not problem and command and not keep_votes(voters, need, vote_name(newest(local) + 1, config['node_id'])):
                problem, wait = 'the lock was lost while votes were kept', True
            if not problem:
                say('may be promoted: sees %s' % names(voters))
                try:
                    # It inherits the lock of only_one.
                    code = subprocess.call(command, close_fds=False) if command else 0
                    if command and code == 0:
                        # Until the others follow, or this node, cut off at once, has stopped: the old primary must not start with their votes.
                        hold(voters, lease)
                    return code
                finally:
                    for server in [local] + peers:
                        server.close()
        for server in [local] + peers:
            server.close()
        if not wait or clock() >= deadline:
            say('not promoted: %s' % problem)
            return 1
        # Clients wait for this.
        time.sleep(0.2)
