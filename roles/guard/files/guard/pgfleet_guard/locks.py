# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks and votes: what keeps others from starting and from being promoted meanwhile."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import fcntl
import os
import time

from pgfleet_guard.answers import names
from pgfleet_guard.clock import clock
from pgfleet_guard.messages import say
from pgfleet_guard.questions import TRY_LOCK, VOTE, literal
from pgfleet_guard.session import ask_all


def hold(servers, seconds):
    """Keep the locks on these servers, even if this program ends: a server in pg_sleep() does not notice that its client is gone."""
    for server in servers:
        try:
            server.process.stdin.write(('SELECT pg_catalog.pg_sleep(%d);\n' % seconds).encode('utf-8'))
            server.process.stdin.flush()
        except (AttributeError, IOError, OSError):
            pass
    # Each psql has to read it first.
    time.sleep(0.2 if servers else 0)


def only_one(path, deadline):
    """Whether this is the only promotion on this host: waits for another one until the deadline. The promotion itself, which may outlive its hook,
    holds it as well.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.fcntl(handle, fcntl.F_GETFD) & ~fcntl.FD_CLOEXEC)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except (IOError, OSError) as exc:
            if exc.errno not in (errno.EAGAIN, errno.EACCES) or clock() >= deadline:
                os.close(handle)
                return None
        time.sleep(0.2)


def lock(servers, need):
    """(whether enough locks were taken, so that no other start or promotion can run, the holders of the others)"""
    ask_all(servers, 5, TRY_LOCK)
    got = [server for server in servers if server.answer.get('lock')]
    holders = sorted(set(server.answer.get('holder') for server in servers if server.answer.get('lock') is False and server.answer.get('holder')))
    return len(got) >= need, ', '.join(holders)


def lock_and_look(servers, need, judge, yields=False):
    """(problem, '') with the locks held, or (None, who holds them instead). What was seen before may have changed until then, so it is looked at again.

    yields: to any promotion that has a lock, however many are left. Who is being promoted has that of its own server for certain, which no network takes away,
    and looks like a standby until it is done.
    """
    enough, holder = lock(servers, need)
    enough = enough and not (yields and 'repmgr-guard promote ' in holder)
    locked = [server for server in servers if server.answer.get('lock')]
    if enough:
        ask_all(servers, 2)
        # Who has not answered has lost its connection, and with it its lock.
        enough = len([server for server in locked if server.process is not None]) >= need
    return (judge(), '') if enough else (None, holder or 'no lock')


def keep_votes(voters, need, name):
    """Whether so many still have the lock. voters: this node first, which needs none for itself.

    One that cannot keep its vote, for want of a slot say, is no reason to leave a cluster without a primary.
    """
    ask_all(voters[1:], 5, VOTE % (literal(name), literal(name)))
    without = [server for server in voters[1:] if server._tags.get('vote') is None]  # pylint: disable=protected-access
    if without:
        say('the vote of %s is known for as long as the lock is held: %s' % (names(without), without[0].error or 'no answer'))
    return len([server for server in voters if server.process is not None]) >= need
