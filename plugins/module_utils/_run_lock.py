# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The run lock, which prevents two runs of playbooks at the same time: a file on every node that the run reaches.

Two runs exclude each other if they reach at least one common node. The lock of a run that died need not be removed:
* It is in /run and contains the boot id, so a reboot ends it. Its times are seconds since boot, so changes of the clock do not affect it.
* It is valid as long as the SSH connection that it was taken through is open, and otherwise for LOCK_SECONDS after it was last renewed. Every observation
  renews it.
* The controller of that run knows at once that the run is over (plugin_utils/_this_run.py).
* An operator can override it by naming the run (`-e repmgr_override_run=`), which takes its id, so an unknown run cannot be overridden by accident.

A node has one lock, regardless of the cluster name in the inventory. If the lock cannot be written, the run goes on with a warning: a full /run must not
prevent the replacement of a dead primary, and the other nodes have the lock as well.
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
# A run that is younger (in seconds) may not know yet that it has to give way, because it observes all of its hosts first.
YOUNG = 30
# Seconds to wait for another process that is reading or writing the lock, which takes milliseconds.
_PATIENCE = 5
# A larger file was not written by us.
_LONGEST = 65536


class Unavailable(Exception):
    """It is not possible to find out whether another run has the lock."""


# -- decisions

def decision(note, run, here, override=(), before=''):
    """Return 'take', 'renew', 'refuse' or 'lost'.

    note: the present lock, or None. run: the id of this run. here: {boot, uptime, connected}; connected is whether the SSH session in `note` is open.
    override: ids of runs that the operator declared dead. before: the boot in which this run took the lock earlier, or ''. A run that has lost its lock must
    not take it again, because another run may have changed the node since it was observed.
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
    """Whether to wait a few seconds because the other run will release its lock. other: a result of `told`.

    If two runs begin at the same time, each may be first on some of the nodes; the one with the lower id goes on. And a run that replaced this run's lock
    because it looked dead will be refused by the nodes where it does not.
    """
    return other['displaced'] == run or (other['for_seconds'] < YOUNG and other['run'] > run)


def told(note, here):
    """The description of a lock for other runs and for the operator."""
    found = dict((name, note[name]) for name in ('run', 'playbook', 'user', 'controller', 'process'))
    found.update(for_seconds=here['uptime'] - note['since'], renewed_seconds=here['uptime'] - note['renewed'], connected=here['connected'],
                 displaced=(note.get('displaced') or {}).get('run', ''))
    return found


_NOBODY = {'run': '', 'playbook': '', 'user': '', 'controller': '', 'process': {}, 'for_seconds': 0, 'renewed_seconds': 0, 'connected': False,
           'displaced': ''}


def understood(note):
    """The note, or None if it is not valid: then it is not a lock."""
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

    Return {state: held, run, boot}, {state: refused or lost, and the keys of `told` for the other run}, or {state: unavailable, reason}.
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
    """The lock that is replaced, if it only expired: its run may still be alive, and gets the lock back if this run is refused by another node."""
    if note is None or note['boot'] != here['boot'] or note['run'] in override:
        return None
    return dict(note, displaced=None)


def release(run, refused=False, folder=FOLDER):
    """Remove the lock of the run with id `run`. refused: the run has changed nothing, so put back an expired lock that it replaced."""
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
        # The lock expires by itself.
        pass


def seen(folder=FOLDER, proc=PROC):
    """The description of the run that is at work on this node, or None."""
    try:
        note = _read(folder)
        here = _here(note, proc)
    except (Unavailable, IOError, OSError):
        return None
    return dict(told(note, here), state='seen') if note is not None and lives(note, here) else None


class _Mutex:
    """Lets one process at a time read and write the lock. It uses a separate file, because the lock file is replaced, and flock() would be on the old one."""

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
            raise Unavailable('%s is not a directory that only the user of this run may write to' % self._folder)
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
        # O_NONBLOCK: never wait, even if this is a FIFO.
        handle = os.open(_path(folder), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Unavailable('%s is not a regular file' % _path(folder))
        return understood(json.loads(os.read(handle, _LONGEST).decode('utf-8')))
    except ValueError:
        return None
    finally:
        os.close(handle)


def _write(folder, note):
    """Write atomically: if the file system is full, the old lock stays."""
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
    # A container has the boot id of its host, so the start time of process 1 is added: it tells whether /run may have been emptied.
    return {'boot': '%s %s' % (boot(proc), started(1, proc)), 'uptime': int(float(_text(os.path.join(proc, 'uptime')).split()[0])),
            'connected': bool(session) and started(session['pid'], proc) == session['started']}


def boot(proc=PROC):
    return _text(os.path.join(proc, 'sys/kernel/random/boot_id')).strip()


def _text(path):
    with open(path) as handle:
        return handle.read()


def started(pid, proc=PROC):
    """The start time of a process in clock ticks, or None if there is no such process. A zombie does not count."""
    found = _stat(pid, proc)
    return None if found is None or found[1] in ('Z', 'X') else found[3]


def _stat(pid, proc):
    """(program, state, parent, start) of a process, or None."""
    try:
        text = _text(os.path.join(proc, '%d' % pid, 'stat'))
        # The name of the program may contain any character, parentheses included.
        rest = text[text.rindex(')') + 1:].split()
        return text[text.index('(') + 1:text.rindex(')')], rest[0], int(rest[1]), int(rest[19])
    except (IOError, OSError, ValueError, IndexError):
        return None


def _session(proc, pid=None):
    """{pid, started} of the sshd process of this connection, or None. With ControlPersist there is one connection for the whole run.

    Take the nearest ancestor: above it is the listening sshd, which never ends. In OpenSSH 9.8 and later the process is called sshd-session.
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
