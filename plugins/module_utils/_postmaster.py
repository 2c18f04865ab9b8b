# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the server of a data directory is running, from postmaster.pid and /proc."""

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
    """The pid in postmaster.pid if it is the server of this directory, single-user mode included, otherwise None. No process is started.

    path: of postmaster.pid. After a crash of the host the pid may belong to any process, including the server of another cluster. A server is a process
    named postgres whose working directory is its data directory. The guard, which imports nothing, has the same rule in owner().
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
        # The process exists, but is hidden from this user. It may be the server.
        return pid
    if program not in (b'postgres', b'postmaster'):
        return None
    try:
        return pid if os.readlink('/proc/%d/cwd' % pid) == os.path.realpath(data_directory) else None
    except (IOError, OSError):
        # In a container even root may not read this; then the name is enough.
        return pid


def is_single(path):
    """Whether the server is in single-user mode, which is a negative pid in postmaster.pid: it uses the directory, and accepts no connections."""
    return (_pid_file(path) or [''])[0].startswith('-')


def server_of(data_directory):
    """The pid of the server that runs on this data directory, or None."""
    return alive(os.path.join(data_directory, 'postmaster.pid'), data_directory)


def without_stale_pid(data_directory):
    """{name: value} of the environment variables with which PostgreSQL starts in spite of a stale postmaster.pid.

    After a crash of the host the pid may belong to repmgrd or to this module. PostgreSQL refuses to start while a process of its own user has that pid,
    unless it is the one in this variable (CreateLockFile in miscinit.c; pg_ctl does the same). It still checks for shared memory in use.
    """
    path = os.path.join(data_directory, 'postmaster.pid')
    lines = _pid_file(path)
    return {'PG_GRANDPARENT_PID': lines[0].strip().lstrip('-')} if lines and alive(path, data_directory) is None else {}


def observe_server(place, data):
    """(Server, {host, port} of its socket or None), without SQL. data: the observation of its data directory."""
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
        server.state, server.error = 'starting', 'is in single-user mode (process %d)' % pid
        return server, None
    status = lines[7].strip() if len(lines) > 7 else ''
    server.state = {'ready': 'running', 'standby': 'running', 'starting': 'starting', 'stopping': 'starting'}.get(status, 'running')
    if status == 'stopping':
        server.error = 'is shutting down'
    if server.state == 'running':
        # In case the server does not answer over SQL.
        server.in_recovery = {
            'in production': False, 'in archive recovery': True, 'shut down in recovery': True,
        }.get(data.cluster_state)
    socket_dir = lines[4].strip() if len(lines) > 4 else ''
    port = lines[3].strip() if len(lines) > 3 else ''
    return server, {'host': socket_dir, 'port': port} if socket_dir else None


def replaced_programs(pid, program, started):
    """[text] of the programs and libraries that were replaced on disk, by an upgrade of a package, since the server started.

    program: the path of postgres. started: the start time of the server in seconds since the epoch, or None.
    """
    gone = ' (deleted)'
    try:
        paths = [os.readlink('/proc/%d/exe' % pid)]
        with open('/proc/%d/maps' % pid) as handle:
            paths += [line.rstrip('\n').split(None, 5)[-1] for line in handle if gone in line and '.so' in line]
    except (IOError, OSError, TypeError):
        # In a container even root may not read this. Then a program that was installed after the start of the server counts as replaced.
        try:
            paths = [program + gone] if started is not None and os.stat(program).st_ctime > started + 1 else []
        except OSError:
            return []
    names = sorted(set(os.path.basename(path[:-len(gone)]) for path in paths if path.endswith(gone)))
    return ['%s was replaced by another version' % name for name in names]
