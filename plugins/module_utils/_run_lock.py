# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock that keeps one run of a playbook from working beside another: a file on every node that the run reaches.

Two runs that reach one node in common exclude each other. Nothing has to remove the lock of a run that died:
* It is in /run, and has the boot in it, so that a reboot ends it. Its times are seconds since that boot: no change of the clock makes it older.
* It lives as long as the SSH connection that it was taken through, and LOCK_SECONDS after it was last renewed where there is none. Every observation
  renews it.
* The controller that the run was on knows at once that the run is over (plugin_utils/_this_run.py).
* An operator who knows better names the run (`-e repmgr_override_run=`). Nobody can override a run by that which he has not been told of.

A node has one lock, whatever the inventory calls its cluster. Where the lock cannot be written, the run goes on with a warning: a full /run must not keep
anybody from replacing a dead primary, and the other nodes have the lock.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import fcntl
import json
import os
import stat
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import LOCK_SECONDS

FOLDER = '/run/pgfleet'
PROC = '/proc'
# A run that is younger may not have found out yet that it has to give way: it observes all of its hosts first.
YOUNG = 30
# Seconds to wait for another process that reads or writes the lock at this moment, which takes milliseconds.
_PATIENCE = 5
# More is none of ours.
_LONGEST = 65536


class Unavailable(Exception):
    """The lock can neither be taken nor refused."""


# -- decisions

def decision(note, run, here, override=(), before=''):
    """take, renew, refuse or lost. note: the lock that is there, or None. run: the id of this run. here: {boot, uptime, connected}, the latter of `note`.

    override: ids of runs that are dead by somebody's word. before: the boot in which this run took the lock earlier, '' where it did not. Who has it no
    more must not take it again: what happened in between is not what this run has seen.
    """
    of_this_boot = note is not None and note['boot'] == here['boot']
    if of_this_boot and note['run'] == run:
        return 'renew'
    if before and before == here['boot']:
        return 'lost'
    if not of_this_boot or note['run'] in override or not lives(note, here):
        return 'take'
    return 'refuse'


def lives(note, here):
    age = here['uptime'] - note['renewed']
    return note['boot'] == here['boot'] and age >= 0 and (age < LOCK_SECONDS or here['connected'])


def gives_way(other, run):
    """Whether it is worth to wait a few seconds for the other run, as `told` has it, to release its lock.

    Of two that begin at the same time, each may have been first on some nodes: the lower id stays. And one that has taken this run's lock for dead is
    refused by the nodes on which that is alive.
    """
    return other['displaced'] == run or (other['for_seconds'] < YOUNG and other['run'] > run)


def told(note, here):
    """What others are told of a lock."""
    found = dict((name, note[name]) for name in ('run', 'playbook', 'user', 'controller', 'process'))
    found.update(for_seconds=here['uptime'] - note['since'], renewed_seconds=here['uptime'] - note['renewed'], connected=here['connected'],
                 displaced=(note.get('displaced') or {}).get('run', ''))
    return found


_NOBODY = {'run': '', 'playbook': '', 'user': '', 'controller': '', 'process': {}, 'for_seconds': 0, 'renewed_seconds': 0, 'connected': False,
           'displaced': ''}


def understood(note):
    """The note, or None if it was not written by this file: it is nobody's lock."""
    if not isinstance(note, dict) or not isinstance(note.get('process'), dict):
        return None
    if not all(hasattr(note.get(name), 'lower') for name in ('run', 'playbook', 'user', 'controller', 'boot')):
        return None
    if not note['run'] or not all(_whole(note.get(name)) for name in ('since', 'renewed')):
        return None
    session = note.get('session')
    if session is not None and not (isinstance(session, dict) and _whole(session.get('pid')) and _whole(session.get('started'))):
        return None
    return dict(note, displaced=understood(note.get('displaced')))


def _whole(value):
    return type(value).__name__ in ('int', 'long')


# -- the node

def take(run, override=(), before='', folder=FOLDER, proc=PROC):
    """Take or renew the lock. run: {run, playbook, user, controller, process}.

    {state: held, run, boot}, {state: refused or lost, and what `told` says of the other run}, or {state: unavailable, reason}.
    """
    try:
        with _Mutex(folder):
            note = _read(folder)
            here = _here(note, proc)
            what = decision(note, run['run'], here, override, before)
            if what in ('refuse', 'lost'):
                return dict(told(note, here) if note and note['boot'] == here['boot'] else _NOBODY, state={'refuse': 'refused'}.get(what, what))
            new = dict(run, boot=here['boot'], renewed=here['uptime'], session=_session(proc))
            if what == 'renew':
                new.update(since=note['since'], displaced=note['displaced'])
            else:
                new.update(since=here['uptime'], displaced=_silent(note, here, override))
            _write(folder, new)
            return {'state': 'held', 'run': run['run'], 'boot': here['boot']}
    except Unavailable as exc:
        return {'state': 'unavailable', 'reason': '%s' % exc}
    except (IOError, OSError) as exc:
        return {'state': 'unavailable', 'reason': '%s: %s' % (exc.filename or folder, exc.strerror or exc)}


def _silent(note, here, override):
    """A lock that only nothing has been heard of for long: its run may be alive, and gets it back should this one be refused elsewhere."""
    if note is None or note['boot'] != here['boot'] or note['run'] in override:
        return None
    return dict(note, displaced=None)


def release(run, refused=False, folder=FOLDER):
    """Remove the lock if it is that of `run`, an id. refused: the run has done nothing, so a lock that it took for dead is put back."""
    try:
        with _Mutex(folder):
            note = _read(folder)
            if note is None or note['run'] != run:
                return
            if refused and note['displaced']:
                _write(folder, note['displaced'])
            else:
                os.unlink(_path(folder))
    except (Unavailable, IOError, OSError):
        # It ends by itself.
        pass


def seen(folder=FOLDER, proc=PROC):
    """What is to be told of the run that is at work, or None."""
    try:
        note = _read(folder)
        here = _here(note, proc)
    except (Unavailable, IOError, OSError):
        return None
    return dict(told(note, here), state='seen') if note is not None and lives(note, here) else None


class _Mutex:
    """Only one process at a time reads and writes the lock. A file of its own: the lock itself is replaced, and flock() holds what was replaced."""

    def __init__(self, folder):
        self._folder = folder
        self._handle = None

    def __enter__(self):
        try:
            os.mkdir(self._folder, 0o755)
        except OSError as exc:
            if exc.errno != errno.EEXIST:
                raise
        found = os.lstat(self._folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Unavailable('%s is not a folder that only the user of this run may write to' % self._folder)
        self._handle = os.open(os.path.join(self._folder, 'run.lock'), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            self._wait()
        except Exception:
            os.close(self._handle)
            raise
        return self

    def _wait(self):
        for dummy in range(_PATIENCE * 50):
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except (IOError, OSError) as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            time.sleep(0.02)
        raise Unavailable('another process has had %s/run.lock for more than %d s' % (self._folder, _PATIENCE))

    def __exit__(self, *dummy):
        os.close(self._handle)
        return False


def _path(folder):
    return os.path.join(folder, 'run.json')


def _read(folder):
    try:
        # Never waits, whatever somebody has put there.
        handle = os.open(_path(folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Unavailable('%s is no file' % _path(folder))
        return understood(json.loads(os.read(handle, _LONGEST).decode('utf-8')))
    except ValueError:
        return None
    finally:
        os.close(handle)


def _write(folder, note):
    """Whole or not at all: where there is no room, the lock that was there stays."""
    new = _path(folder) + '.new'
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        with os.fdopen(handle, 'wb') as stream:
            stream.write(json.dumps(note, sort_keys=True).encode('utf-8'))
        os.rename(new, _path(folder))
    except (IOError, OSError):
        os.unlink(new)
        raise


# -- processes

def _here(note, proc):
    session = note and note.get('session')
    # In a container, which knows the boot of its host, the start of the first process tells whether /run may have been emptied.
    return {'boot': '%s %s' % (boot(proc), started(1, proc)), 'uptime': int(float(_text(os.path.join(proc, 'uptime')).split()[0])),
            'connected': bool(session) and started(session['pid'], proc) == session['started']}


def boot(proc=PROC):
    return _text(os.path.join(proc, 'sys/kernel/random/boot_id')).strip()


def _text(path):
    with open(path) as handle:
        return handle.read()


def started(pid, proc=PROC):
    """When the process began, in the kernel's own unit, or None where there is none. One that has ended and is not reaped yet is none."""
    found = _stat(pid, proc)
    return None if found is None or found[1] in ('Z', 'X') else found[3]


def _stat(pid, proc):
    """(program, state, parent, start) of a process, or None."""
    try:
        text = _text(os.path.join(proc, '%d' % pid, 'stat'))
        # A program's name may have anything in it.
        rest = text[text.rindex(')') + 1:].split()
        return text[text.index('(') + 1:text.rindex(')')], rest[0], int(rest[1]), int(rest[19])
    except (IOError, OSError, ValueError, IndexError):
        return None


def _session(proc, pid=None):
    """{pid, started} of the process of sshd that has this connection, or None. With ControlPersist it is one for the whole run.

    The nearest one: above it is the one that has all connections, which never ends. OpenSSH 9.8 and later call it sshd-session.
    """
    pid = os.getpid() if pid is None else pid
    while pid > 1:
        found = _stat(pid, proc)
        if found is None:
            return None
        if found[0] in ('sshd', 'sshd-session'):
            return {'pid': pid, 'started': found[3]}
        pid = found[2]
    return None
