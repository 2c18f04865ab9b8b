# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of the cluster's data from a backup, and the server that runs on it: on no address, with a socket in a directory that is closed to others, and
without a word to the archive. Nothing is decided here.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import fcntl
import json
import os
import pwd
import re
import shutil
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _data_directory, _place, _postmaster, _restore
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError

# The settings of the running server that decide what is written, and those that a recovery or its prepared transactions may need.
_SAME = ('wal_level', 'wal_log_hints', 'track_commit_timestamp', 'min_wal_size', 'max_wal_size')
_SIZES = {'max_connections': 'max_connections', 'max_worker_processes': 'max_worker_processes', 'max_wal_senders': 'max_wal_senders',
          'max_prepared_xacts': 'max_prepared_transactions', 'max_locks_per_xact': 'max_locks_per_transaction'}
# What recovery has left, or would be taken for a standby's.
LEFT = _data_directory.SIGNALS + ('recovery.done', 'postmaster.opts')
_LOOK = 60

_SEEN = """SELECT pg_catalog.json_build_object('in_recovery', pg_catalog.pg_is_in_recovery(),
  'timeline', CASE WHEN NOT pg_catalog.pg_is_in_recovery()
    THEN ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
  'system_identifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
  'lsn', CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_lsn()::text END,
  'last_commit', pg_catalog.pg_last_xact_replay_timestamp(),
  'tablespaces', (SELECT count(*) FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')))"""


class RestoreError(Exception):
    """What is wrong, and what was expected."""

    def __init__(self, seen, expected, step='Run again.'):
        super(RestoreError, self).__init__(seen)
        self.seen = seen
        self.expected = expected
        self.step = step


class Busy(RestoreError):
    """Another process has the lock."""


class Private:
    """params: those of the modules that restore. directory: of the copy.

    state: the name of the file in the home of the server's user that says how far the work is. A copy that it does not name is somebody else's.
    """

    SOCKETS = '/var/run/postgresql/repmgr-restore'
    # Whether WAL that the private server writes is kept: the server that takes over its data archives it.
    KEEPS_WAL = True
    valid_state = staticmethod(_restore.valid_state)

    def __init__(self, runner, params, directory, state):
        self.runner = runner
        self.params = params
        self.data = os.path.realpath(params['data_directory'])
        self.directory = directory
        self.log = directory + '.log'
        self.home = pwd.getpwuid(os.geteuid()).pw_dir
        self.path = os.path.join(self.home, state)
        self.target = _restore.target(params['target']) if params['target'] else {}
        self.state = self.read()

    def read(self):
        try:
            with open(self.path) as handle:
                return self.valid_state(json.load(handle))
        except (IOError, OSError, ValueError):
            return None

    def write(self, **news):
        self.state = dict(self.state or {}, **news)
        write(self.path, json.dumps(self.state, indent=2, sort_keys=True) + '\n')

    def repository(self):
        conf, cluster = self.params['conf'], self.params['cluster']
        info = self.runner.run(_backup.command({'conf': conf, 'cluster': cluster}, 'info', 'output=json', 'log-level-console=error'), timeout=_LOOK).stdout
        judged = _backup.judge(info, cluster)
        if judged['state'] == 'unreachable':
            return {'error': 'the backup repository does not answer: %s' % judged['reason']}
        backups = _backup.backups(info, cluster)
        timeline = self.target['timeline'] or self.params['timeline']
        found = {'backups': backups, 'archive': _backup.archived(info, cluster), 'history': self.history(timeline), 'tablespaces': []}
        if found['history'] is not None:
            chosen = _restore.choose(backups, self.target, timeline, _restore.history(found['history']))[0]
            if chosen:
                found['tablespaces'] = self.tablespaces(chosen['label'])
        return found

    def history(self, timeline):
        """The text of its history file, '' for the first timeline, None where neither this server nor the archive has it."""
        if timeline == 1:
            return ''
        own = os.path.join(self.data, 'pg_wal', '%08X.history' % timeline)
        if os.path.exists(own):
            with open(own) as handle:
                return handle.read()
        path = os.path.join(self.home, '.repmgr_restore.history')
        try:
            done = self.runner.run(_restore.get_command(self.params['conf'], self.params['cluster']) + ['%08X.history' % timeline, path],
                                   accept=None, timeout=_LOOK)
            if done.rc != 0:
                return None
            with open(path) as handle:
                return handle.read()
        finally:
            if os.path.exists(path):
                os.unlink(path)

    def tablespaces(self, label):
        info = self.runner.run(_backup.command({'conf': self.params['conf'], 'cluster': self.params['cluster']}, 'info', 'output=json', 'set=%s' % label,
                                               'log-level-console=error'), timeout=_LOOK).stdout
        found = [backup for stanza in json.loads(info) for backup in stanza.get('backup') or [] if backup.get('label') == label]
        return ['%s' % (space.get('destination') or space.get('name')) for backup in found for space in backup.get('tablespace') or []]

    def is_ours(self):
        """Whether the directory is the one that was made after the state file. Of one that is empty nobody misses anything."""
        return self.state is not None and self.state['directory'] == self.directory and (
            self.state.get('inode') == inode(self.directory) or os.path.isdir(self.directory) and not _place.listdir(self.directory))

    def clear(self):
        """What an earlier restore has left, and is marked as such."""
        if os.path.lexists(self.directory):
            if not self.is_ours():
                raise RestoreError('%s is there, and not of a restore by this collection' % self.directory, 'nothing of that name', 'Move it away.')
            if _postmaster.server_of(self.directory) is not None:
                self.runner.run([self.program('pg_ctl'), '-D', self.directory, '-m', 'immediate', '-w', 'stop'], accept=None)
            if _postmaster.server_of(self.directory) is not None:
                raise RestoreError('a server runs in %s' % self.directory, 'none', 'Stop it.')
            shutil.rmtree(self.directory)
        remove(self.log)

    def program(self, name):
        return os.path.join(self.params['bin_dir'], name)

    def live(self, query, database='postgres'):
        return self.psql(self.params['socket_directory'], self.params['port'], query, database)

    def private(self, query, database='postgres'):
        return self.psql(self.SOCKETS, self.params['port'], query, database)

    def psql(self, host, port, query, database, limit=60, read_only=False):
        # By standard input: a query may have the hash of a password.
        return self.runner.run([self.program('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', host, '-p', '%d' % port, '-d', database, '-f', '-'],
                               stdin=query + ';\n', timeout=max(limit, 600), env={
                                   'PGCONNECT_TIMEOUT': '10', 'PGOPTIONS': '-c statement_timeout=%ds -c lock_timeout=30s%s' % (
                                       limit, ' -c default_transaction_read_only=on' if read_only else '')}).stdout.strip()

    def version(self):
        with open(os.path.join(self.directory, 'PG_VERSION')) as handle:
            return int(handle.read().strip().split('.')[0])

    def recover(self, target, limit):
        """From the backup to the target, along the timeline of the parameters."""
        for name in LEFT:
            remove(os.path.join(self.directory, name))
        if os.listdir(os.path.join(self.directory, 'pg_tblspc')):
            raise RestoreError('the backup has tablespaces', 'none', 'Restore by hand, as docs/backup.md says.')
        command = _restore.get_command(self.params['conf'], self.params['cluster'], self.directory)
        options = _restore.recovery_options(target, self.params['target_timeline'], command)
        if self.version() < 12:
            recovery = [option for option in options if option[0] != 'recovery_target_action'] + [
                ('standby_mode', 'off')] + [option for option in options if option[0] == 'recovery_target_action']
            write(os.path.join(self.directory, 'recovery.conf'), _restore.conf_text(recovery))
            options = []
        else:
            write(os.path.join(self.directory, 'recovery.signal'), '')
        self.start(options, limit)
        seen = json.loads(self.private(_SEEN))
        with open(self.log) as handle:
            seen['stopped'] = _restore.stopped_at(handle.read())
        return seen

    def start(self, options, limit):
        """The private server, until it answers."""
        # Of a run that was ended: a server, and the cluster's own settings, which would be stronger than ours.
        self.stop()
        write(os.path.join(self.directory, 'postgresql.auto.conf'), '')
        if not os.path.isdir(self.SOCKETS):
            os.mkdir(self.SOCKETS, 0o700)
        os.chmod(self.SOCKETS, 0o700)
        write(os.path.join(self.SOCKETS, 'pg_hba.conf'), 'local all all peer\n')
        write(os.path.join(self.SOCKETS, 'pg_ident.conf'), '')
        control = _data_directory.parse_controldata(self.runner.run([self.program('pg_controldata'), '-D', self.directory]).stdout)
        settings = dict((name, self.live('SHOW %s' % name)) for name in _SAME)
        sizes = dict((name, max(int(control.get('%s setting' % label) or 0), int(self.live('SHOW %s' % name)))) for label, name in _SIZES.items())
        conf = os.path.join(self.SOCKETS, 'postgresql.conf')
        write(conf, _restore.conf_text([('port', self.params['port'])] + _restore.private_options(self.SOCKETS, settings, sizes, self.KEEPS_WAL) + options))
        deadline = time.time() + limit
        words = [self.program('pg_ctl'), '-D', self.directory, '-o', '-c config_file=%s' % conf, '-l', self.log, '-w', '-t', '%d' % limit, 'start']
        begun = self.runner.run(words, accept=None, timeout=limit + 60)
        # Without hot standby pg_ctl is content as soon as recovery has begun.
        while begun.rc == 0 and _postmaster.server_of(self.directory) is not None:
            if self.is_writable():
                return
            self.watch()
            if time.time() > deadline:
                raise RestoreError('recovery has not finished after %d s' % limit, 'one that finishes', 'Nothing of the cluster was changed.')
            time.sleep(0.5)
        with open(self.log) as handle:
            fatal = [line for line in handle.read().splitlines() if re.search(' (FATAL|PANIC): ', line) and 'not accepting connections' not in line]
        why = fatal[-1] if fatal else begun.stderr or begun.stdout
        raise RestoreError('the restored server did not come up: %s' % why, 'one that recovers to the target',
                           'Nothing of the cluster was changed. Look at %s; another repmgr_restore may be right.' % self.log)

    def watch(self):
        """Called again and again while it recovers."""

    def is_writable(self):
        try:
            return self.private('SELECT pg_catalog.pg_is_in_recovery()') == 'f'
        except CommandError:
            return False

    def stop(self):
        if _postmaster.server_of(self.directory) is not None:
            self.runner.run([self.program('pg_ctl'), '-D', self.directory, '-m', 'fast', '-w', '-t', '600', 'stop'], timeout=660)
        shutil.rmtree(self.SOCKETS, ignore_errors=True)


class Alone:
    """One at a time on this host. What an earlier run has begun may outlive it, and is waited for."""

    def __init__(self, path, limit):
        self._path = path
        self._deadline = time.time() + limit
        self._handle = None

    def __enter__(self):
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.fcntl(self._handle, fcntl.F_SETFD, fcntl.fcntl(self._handle, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except (IOError, OSError) as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.time() > self._deadline:
                raise Busy('another restore process is running on this host', 'one at a time', 'Wait for it to end, and run again.')
            time.sleep(1)

    def __exit__(self, *dummy):
        os.close(self._handle)


def stamp():
    return time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())


def write(path, text):
    with open(path + '.new', 'w') as handle:
        os.chmod(path + '.new', 0o600)
        handle.write(text)
        handle.flush()
        # Lost in a power failure, it would not be known how far the exchange was.
        os.fsync(handle.fileno())
    os.rename(path + '.new', path)
    sync(os.path.dirname(path))


def inode(path):
    """What tells a directory from any other one that has its name later."""
    try:
        found = os.lstat(path)
    except (IOError, OSError):
        return None
    return [found.st_dev, found.st_ino]


def sync(directory):
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path):
    if os.path.lexists(path):
        os.unlink(path)
