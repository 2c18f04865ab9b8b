# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes of this host: those that were started here, those of the server, and what repmgr does."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import signal
import time

from pgfleet_guard.clock import clock
from pgfleet_guard.settings import STOPPED_FILE


def let_go(process):
    """Kill a process without waiting for its end: one that reads from a hanging disk cannot end before the disk answers. subprocess reaps it when the next
    process is started.
    """
    try:
        process.kill()
    except OSError:
        pass
    process.poll()


def outcome(process, seconds):
    """Its exit code; None if it does not end within this time."""
    deadline = clock() + seconds
    while process.poll() is None and clock() < deadline:
        time.sleep(0.02)
    return process.poll()


def named_pid(directory):
    """(process id, whether it is that of a single-user server, which writes its process id as a negative number)."""
    with open(os.path.join(directory, 'postmaster.pid')) as handle:
        number = int(handle.readline())
    return abs(number), number < 0


def postmaster(directory):
    """Process id of the server that runs on this directory, or None. A single-user server does not count; see occupied."""
    pid, single = owner(directory)
    return None if single else pid


def occupied(directory):
    """Whether a single-user server is running on this directory. Wait for it: nothing else may change the data until it ends."""
    return owner(directory)[1]


def owner(directory):
    """(process id of the server on this data directory, whether it is a single-user server), or (None, False).

    After a crash of the host, the number in postmaster.pid may belong to any process, also to the server of another cluster; the working directory of a
    server is its data directory.
    """
    try:
        pid, single = named_pid(directory)
        with open('/proc/%d/cmdline' % pid, 'rb') as handle:
            program = os.path.basename(handle.read().split(b'\0')[0])
        runs = program in (b'postgres', b'postmaster') and os.readlink('/proc/%d/cwd' % pid) == os.path.realpath(directory)
        return (pid, single) if runs else (None, False)
    except (IOError, OSError, ValueError):
        return None, False


def stop_now(directory, problem=None):
    """Stop the server within a second, by an immediate shutdown and SIGKILL for what does not obey.

    STOPPED_FILE says that it was the guard, so that it starts it again; and why: {"code", "text", "peers", "since"}.
    """
    pid = postmaster(directory)
    if pid is None:
        return
    try:
        with open(STOPPED_FILE, 'w') as handle:
            json.dump(dict(problem._asdict() if problem else {}, since=int(time.time())), handle)
    except (IOError, OSError):
        pass
    victims = [pid] + _children(pid)
    for number, seconds in ((signal.SIGQUIT, 0.5), (signal.SIGKILL, 0.5)):
        for victim in victims if number == signal.SIGKILL else [pid]:
            try:
                os.kill(victim, number)
            except OSError:
                pass
        deadline = clock() + seconds
        while clock() < deadline and any(os.path.exists('/proc/%d' % victim) for victim in victims):
            time.sleep(0.02)


def _processes():
    """Of every process (number, its command line as words, with the program's bare name first)."""
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%d/cmdline' % int(name), 'rb') as handle:
                words = handle.read().decode('utf-8', 'replace').split('\0')
        except (IOError, OSError, ValueError):
            continue
        yield int(name), [os.path.basename(words[0])] + words[1:]


def _commands():
    return [words for dummy, words in _processes()]


def rejoining(directory):
    """Whether an earlier rejoin is at work on this directory, or somebody's server for a single user: a rejoin goes on where the guard that has begun it was
    restarted.
    """
    return occupied(directory) or any(
        words[0] == 'repmgr' and 'rejoin' in words or directory in words and (words[0] == 'pg_rewind' or '--single' in words) for words in _commands())


def promoting():
    """Whether a promotion is running on this host, or its hook is waiting for one."""
    return any('promote' in words and ('standby' in words or any(word.endswith('repmgr-guard') for word in words)) for words in _commands())


def following():
    """Whether a standby on this host is being attached to a new upstream."""
    return any('standby' in words and 'follow' in words for words in _commands())


def daemon(config):
    """The number of the repmgrd of this node, or None."""
    for pid, words in _processes():
        if words[0] == 'repmgrd' and config['conf'] in words:
            return pid
    return None


def _children(pid):
    found = []
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%d/stat' % int(name)) as handle:
                # The name in brackets may hold anything.
                if int(handle.read().rpartition(')')[2].split()[1]) == pid:
                    found.append(int(name))
        except (IOError, OSError, ValueError):
            continue
    return found


def without_stale_pid(directory):
    """What PostgreSQL has to be told where postmaster.pid names a process that is no server of this directory.

    After a crash of the host the number may be that of repmgrd, or of this program: PostgreSQL does not start beside a process of its own user, except
    for the one that is named like this (CreateLockFile in miscinit.c; pg_ctl does the same). It still looks for shared memory that is in use.
    """
    try:
        return {'PG_GRANDPARENT_PID': str(named_pid(directory)[0])} if owner(directory)[0] is None else {}
    except (IOError, OSError, ValueError):
        return {}
