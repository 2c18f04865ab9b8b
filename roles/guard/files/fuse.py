# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr-guard-fuse: stops a primary if its guard fails to do so.

The guard writes into a small file when it last reached enough votes for the primary on this host to continue, and how much later that server must have ended
(Watch.stamp in guard.py). This program only reads that file, and kills the server when the time is over: because the guard is dead, hangs,
or is restarted again and again, or because this host was frozen. It waits for nothing that can hang: no disk, no network, no other program.

What the guard writes about a standby, or about a server that is down, has no limit. If that server accepts writes later, because it was promoted or started
while the guard hung, the limit of a primary counts from when this was first detected (Eye); a working guard replaces it by its own within a second.

If the file does not exist, nothing is guarded, and nothing is done. If it is no longer updated, the guard does not work, and the time runs
out. A file that cannot be read, or is invalid, is ignored: the earlier content counts until its time runs out. After it has killed a server, it
waits for a new file.

Standard library only, Python 2.7 and 3. See docs/guard.md, "The fuse".
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import json
import os
import re
import signal
import sys
import threading
import time

SIGHT_FILE = '/run/postgresql/repmgr-guard.sight'
STOPPED_FILE = '/run/postgresql/repmgr-guard.stopped'
PID_FILE = '/run/postgresql/repmgr-guard-fuse.pid'
# How often it looks, in seconds.
EVERY = 0.05


def clock():
    """Seconds since the host's boot, in which it was suspended included. No change of the wall clock moves it. The same as in guard.py."""
    if hasattr(time, 'clock_gettime'):
        return time.clock_gettime(7)  # CLOCK_BOOTTIME; Python has the name since 3.7.
    with open('/proc/uptime') as handle:
        return float(handle.read().split()[0])


def boot():
    """Tells this boot, of a container too, from any other. The same as in guard.py."""
    with open('/proc/sys/kernel/random/boot_id') as handle:
        found = handle.read().strip()
    try:
        # A container knows the boot of its host.
        with open('/proc/1/stat') as handle:
            return '%s %s' % (found, handle.read().rpartition(')')[2].split()[19])
    except (IOError, OSError):
        # Hidden (hidepid).
        return found


def is_standby(directory, aside=''):
    """Whether a server on this directory recovers until somebody promotes it. With recovery.signal alone, or a recovery.conf without standby_mode (before
    PostgreSQL 12), it recovers from an archive, and promotes itself when that is done. The same as in plugins/module_utils/_data_directory.py.
    """
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            old = int(handle.read().split('.')[0]) < 12
    except (IOError, OSError, ValueError):
        old = False
    if not old and os.path.exists(os.path.join(directory, 'standby.signal' + aside)):
        return True
    try:
        with open(os.path.join(directory, 'recovery.conf' + aside), 'rb') as handle:
            found = re.findall(br"(?im)^[ \t]*standby_mode[ \t]*=?[ \t]*'?[ \t]*([a-z0-9]+)", handle.read())
    except (IOError, OSError):
        return False
    # As PostgreSQL reads it: the last one counts, and a word may be shortened as long as it is one.
    word = found[-1].lower() if found else b''
    return word in (b'1', b'on') or word != b'' and (b'true'.startswith(word) or b'yes'.startswith(word))


# -- what is decided

def understood(text, now):
    """What the guard has told, or None where it makes no sense."""
    try:
        stamp = json.loads(text)
        sight, directory = stamp['sight'], stamp['directory']
        numbers = [sight] + [limit for limit in (stamp['limit'], stamp.get('promoted')) if limit is not None]
        # Nobody has seen anything in a time to come; a tenth of a second for the clock's own steps.
        makes_sense = all(isinstance(number, (int, float)) and number >= 0 for number in numbers) and sight <= now + 0.1
        return stamp if makes_sense and directory.startswith('/') and hasattr(stamp['boot'], 'lower') else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def expired(stamp, here, now, since=None):
    """Whether the server has to end. here: this boot; what was told in another one is about another server. since: when a primary was first seen here of
    which the guard has told nothing (unwatched), None for none.
    """
    stamp = counted(stamp, here, since)
    return stamp is not None and stamp['limit'] is not None and stamp['boot'] == here and now - stamp['sight'] > stamp['limit']


def counted(stamp, here, since):
    """The word that counts: of a primary that the guard has told nothing of, as if it had told so when that was first seen."""
    return dict(stamp, sight=since, limit=stamp['promoted']) if since is not None and unwatched(stamp, here) else stamp


def unwatched(stamp, here):
    """Whether a primary on this host would be one of which the guard has told nothing, and that it would stop."""
    return stamp is not None and stamp['boot'] == here and stamp['limit'] is None and stamp.get('promoted') is not None


# -- what is done

def servers(directory):
    """The processes of the server on that directory. All have it as their working directory: no other cluster's, and no number of before, is met.

    By their name in the kernel: unlike a command line it can be read of a process that hangs, too, and no child of the server changes it.
    """
    # In bytes, whatever this program's locale is.
    found, wanted = [], directory.encode('utf-8')
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%d/comm' % int(name), 'rb') as handle:
                if handle.read().strip() in (b'postgres', b'postmaster') and os.readlink(('/proc/%s/cwd' % name).encode('ascii')) == wanted:
                    found.append(int(name))
        except (IOError, OSError, ValueError):
            continue
    return sorted(found)


def primary_on(directory):
    """What tells the server on that directory from any later one, where it takes writes or will by itself; else None. It looks at a disk.

    Of a standby that is recovered for a rewind the signal file is aside for a moment; a server for a single user, whose number is a negative one, takes
    nobody's writes.
    """
    if is_standby(directory) or is_standby(directory, '.aside'):
        return None
    try:
        with open(os.path.join(directory, 'postmaster.pid'), 'rb') as handle:
            lines = handle.read(4096).split(b'\n')
        pid = int(lines[0])
        with open('/proc/%d/comm' % pid, 'rb') as handle:
            runs = handle.read().strip() in (b'postgres', b'postmaster')
        # After a crash the number may be that of another cluster's server.
        return (pid, lines[2]) if runs and os.readlink(('/proc/%d/cwd' % pid).encode('ascii')) == directory.encode('utf-8') else None
    except (IOError, OSError, ValueError, IndexError):
        return None


class Eye(threading.Thread):
    """Looks at a data directory, which may hang as disks do: in a thread of its own, so that only this does."""

    def __init__(self):
        super(Eye, self).__init__()
        self.daemon = True
        self.directory, self.found = None, (None, None)

    def run(self):
        while True:
            directory = self.directory
            self.found = (directory, primary_on(directory) if directory else None)
            # Of the second that there is before a promotion.
            time.sleep(4 * EVERY)

    def see(self, directory):
        """What primary_on has said last. None to look no more."""
        if directory and self.ident is None:
            # The default is locked in memory, all 8 MB of it.
            threading.stack_size(256 * 1024)
            self.start()
        self.directory = directory
        found = self.found
        return found[1] if found[0] == directory else None


def kill(victims, text):
    """At once and all of them: a backend whose postmaster is dead goes on with its statement, and acknowledges it."""
    try:
        # As the guard does it (stop_now in guard.py), which starts the server again when it may.
        with open(STOPPED_FILE, 'w') as handle:
            json.dump({'code': 'fuse', 'text': text, 'peers': [], 'since': int(time.time())}, handle)
    except (IOError, OSError):
        pass
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except OSError:
            pass


class Fuse:
    def __init__(self):
        self.here, self.stamp, self.mark = boot(), None, None
        self.blown = None          # the word that it has killed for: it waits for another one
        self.said = None
        self.eye, self.primary, self.since = Eye(), None, None

    def read(self):
        try:
            found = os.stat(SIGHT_FILE)
            mark = (found.st_ino, found.st_mtime, found.st_size)
            if mark != self.mark:
                with open(SIGHT_FILE) as handle:
                    stamp = understood(handle.read(4096), clock())
                # What makes no sense may be half of what is being written: it is read again.
                self.mark = mark if stamp else None
                self.stamp = stamp or self.stamp
        except (IOError, OSError, ValueError) as exc:
            self.mark = None
            if getattr(exc, 'errno', None) == errno.ENOENT:
                self.stamp = None

    def see(self, now):
        """Since when there is a primary here of which the guard has told nothing; or None."""
        found = self.eye.see(self.stamp['directory'] if unwatched(self.stamp, self.here) else None)
        if found != self.primary:
            self.primary, self.since = found, now
        return self.since if found else None

    def look(self):
        self.read()
        now = clock()
        since = self.see(now)
        if self.stamp == self.blown or not expired(self.stamp, self.here, now, since):
            return
        text = 'the guard has not seen enough votes, or has not been at work, for %.1f s' % (now - self.stamp['sight']) if since is None else (
            'it has been primary for %.1f s, of which the guard has told nothing' % (now - since))
        victims = servers(self.stamp['directory'])
        killed = bool(victims)
        # Again for those that were begun meanwhile. One that waits for a disk ends when it comes back from there; it is looked at again.
        for dummy in range(20):
            if not victims:
                # A server that is started after that is another one, and has a limit of its own, also before the Eye has looked again.
                self.blown, self.primary = (self.stamp, self.primary) if since is None else (None, None)
                break
            kill(victims, text)
            time.sleep(0.01)
            victims = servers(self.stamp['directory'])
        if killed and self.said != (self.stamp, since):
            self.said = (self.stamp, since)
            print('stopped the server: %s. It starts again when its guard sees enough votes' % text)
            sys.stdout.flush()


def lock_memory():
    """Where the machine has no memory left it must not have to read its own program from a disk."""
    try:
        import ctypes  # pylint: disable=import-outside-toplevel
        libc = ctypes.CDLL(None)
        if hasattr(libc, 'mallopt'):
            # M_ARENA_MAX: none of 64 MB for the thread of the Eye.
            libc.mallopt(-8, 1)
        libc.mlockall(3)  # MCL_CURRENT | MCL_FUTURE
    except Exception as exc:  # pylint: disable=broad-except
        print('its memory is not locked: %s' % exc)


def main():
    lock_memory()
    fuse = Fuse()
    try:
        with open(PID_FILE, 'w') as handle:
            handle.write('%d\n' % os.getpid())
    except (IOError, OSError) as exc:
        print('%s cannot be written: %s' % (PID_FILE, exc))
    print('watches over the guard of this host')
    sys.stdout.flush()
    while True:
        fuse.look()
        time.sleep(EVERY)


if __name__ == '__main__':
    main()
