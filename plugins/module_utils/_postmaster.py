# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the server of a data directory runs, by postmaster.pid and /proc."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import os

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Server


def _pid_file(path):
    """The lines of postmaster.pid, or None."""
    try:
        with open(path) as handle:
            return handle.read().splitlines()
    except (IOError, OSError):
        return None


def alive(path, data_directory):
    """The process that postmaster.pid names, if it is the server of this directory, also one for a single user, else None. Starts no process.

    After a crash of the host the number may be that of any process, also of another cluster's server. A server is a program of that name whose
    working directory is its data directory. The guard, which is one file without imports, has the same rule in owner().
    """
    lines = _pid_file(path)
    if not lines or not lines[0].strip().lstrip('-').isdigit():
        return None
    pid = abs(int(lines[0]))
    try:
        os.kill(pid, 0)
    except OSError as exc:
        if exc.errno == errno.ESRCH:
            return None
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as handle:
            program = os.path.basename(handle.read().split(b'\0')[0])
    except (IOError, OSError):
        # There, but hidden from this user: what may be a server is not taken for a stopped one.
        return pid
    if program not in (b'postgres', b'postmaster'):
        return None
    try:
        return pid if os.readlink('/proc/%d/cwd' % pid) == os.path.realpath(data_directory) else None
    except (IOError, OSError):
        # Root in a container may not look there; then its name is enough.
        return pid


def is_single(path):
    """Whether it is a server for a single user, whose number is a negative one there: it owns the directory, and nobody can connect to it."""
    return (_pid_file(path) or [''])[0].startswith('-')


def server_of(data_directory):
    """The process id of the server that runs on this directory, or None."""
    return alive(os.path.join(data_directory, 'postmaster.pid'), data_directory)


def without_stale_pid(data_directory):
    """The environment in which PostgreSQL starts although postmaster.pid names a process that is no server of this directory.

    After a crash of the host the number may be that of repmgrd or of this module: PostgreSQL does not start beside a process of its own user, except
    for the one that is named like this (CreateLockFile in miscinit.c; pg_ctl does the same). It still looks for shared memory that is in use.
    """
    path = os.path.join(data_directory, 'postmaster.pid')
    lines = _pid_file(path)
    return {'PG_GRANDPARENT_PID': lines[0].strip().lstrip('-')} if lines and alive(path, data_directory) is None else {}


def observe_server(place, data):
    server = Server()
    if data.state in ('missing', 'empty'):
        server.state = 'stopped'
        return server, None
    if not data.path or not os.access(data.path, os.X_OK | os.R_OK):
        server.error = 'its data directory cannot be read'
        return server, None
    path = os.path.join(data.path, 'postmaster.pid')
    pid = alive(path, data.path)
    if pid is None:
        server.state = 'stopped'
        return server, None
    lines = _pid_file(path) or []
    server.pid = pid
    if is_single(path):
        server.state, server.error = 'starting', 'is one for a single user (process %d)' % pid
        return server, None
    status = lines[7].strip() if len(lines) > 7 else ''
    server.state = {'ready': 'running', 'standby': 'running', 'starting': 'starting', 'stopping': 'starting'}.get(status, 'running')
    if status == 'stopping':
        server.error = 'is shutting down'
    if server.state == 'running':
        # What SQL would say, for the case that it does not answer.
        server.in_recovery = {
            'in production': False, 'in archive recovery': True, 'shut down in recovery': True,
        }.get(data.cluster_state)
    socket_dir = lines[4].strip() if len(lines) > 4 else ''
    port = lines[3].strip() if len(lines) > 3 else ''
    return server, {'host': socket_dir, 'port': port} if socket_dir else None


def replaced_programs(pid, program, started):
    """Whether a server runs programs or libraries that are not on disk any more: a package was upgraded under it."""
    gone = ' (deleted)'
    try:
        found = [os.readlink('/proc/%d/exe' % pid)]
        with open('/proc/%d/maps' % pid) as handle:
            found += [line.rstrip('\n').split(None, 5)[-1] for line in handle if gone in line and '.so' in line]
    except (IOError, OSError, TypeError):
        # In a container root may be kept from looking into others' processes. A file that was put there after the start says the same.
        try:
            found = [program + gone] if started is not None and os.stat(program).st_ctime > started + 1 else []
        except OSError:
            return []
    names = sorted(set(os.path.basename(path[:-len(gone)]) for path in found if path.endswith(gone)))
    return ['%s was replaced by another version' % name for name in names]
