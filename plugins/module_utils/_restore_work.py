# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a restore on a data node. Nothing is decided here.

The restored data are beside the data directory, DIRECTORY.restore, until they are exchanged. How far a restore is, is in a file of the home of the server's
user, which is written before each step.
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

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _data_directory, _node_notes, _place, _postmaster, _restore
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import literal

# The settings of the running server that decide what is written, and those that a recovery or its prepared transactions may need.
_SAME = ('wal_level', 'wal_log_hints', 'track_commit_timestamp', 'min_wal_size', 'max_wal_size')
_SIZES = {'max_connections': 'max_connections', 'max_worker_processes': 'max_worker_processes', 'max_wal_senders': 'max_wal_senders',
          'max_prepared_xacts': 'max_prepared_transactions', 'max_locks_per_xact': 'max_locks_per_transaction'}
# What of the running server's configuration is in its data directory, and stays as it is.
_CONFIGURATION = ('postgresql.auto.conf', 'postgresql.conf', 'pg_hba.conf', 'pg_ident.conf', 'conf.d')
# What recovery has left, or would be taken for a standby's.
_LEFT = _data_directory.SIGNALS + ('recovery.done', 'postmaster.opts')
# Seconds that the repository is given for the WAL that is written when a restore begins.
_ARCHIVE = 120
_SOCKETS = '/var/run/postgresql/repmgr-restore'
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


class Work:
    """params: of the module repmgr_restore."""

    def __init__(self, runner, params):
        self.runner = runner
        self.params = params
        self.data = os.path.realpath(params['data_directory'])
        self.directory = self.data + '.restore'
        self.log = self.data + '.restore.log'
        self.home = pwd.getpwuid(os.geteuid()).pw_dir
        self.path = os.path.join(self.home, _node_notes.RESTORE_FILE)
        self.target = _restore.target(params['target']) if params['target'] else {}
        self.state = self.read()

    # -- state

    def read(self):
        try:
            with open(self.path) as handle:
                return _restore.valid_state(json.load(handle))
        except (IOError, OSError, ValueError):
            return None

    def write(self, **news):
        self.state = dict(self.state or {}, **news)
        _write(self.path, json.dumps(self.state, indent=2, sort_keys=True) + '\n')

    # -- look

    def look(self):
        """What a plan needs to know. The repository is asked where a timeline is given: on the primary."""
        found = {'state': self.state, 'obstacle': self.obstacle(), 'free': 0, 'now': time.time(), 'directory': self.directory}
        stat = os.statvfs(os.path.dirname(self.data))
        found['free'] = stat.f_bavail * stat.f_frsize
        if self.params['timeline']:
            try:
                found['size'] = int(self.live('SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database'))
            except (CommandError, ValueError):
                # The backup tells its own.
                found['size'] = 0
            try:
                found.update(self.repository())
            except CommandError as exc:
                found['error'] = 'the backup repository does not answer: %s' % exc.message
        return found

    def obstacle(self):
        """Why these data cannot be exchanged by a rename, or ''."""
        parent = os.path.dirname(self.data)
        if self.state is not None and self.state['data_directory'] != self.data:
            return '%s is of a restore of %s' % (self.path, self.state['data_directory'])
        if self.state is not None and self.state.get('cluster') != self.params['cluster']:
            return '%s is of a restore of cluster %s' % (self.path, self.state.get('cluster'))
        if self.state is not None and self.state['phase'] in _restore.UNDER_WAY:
            return ''
        if not os.path.isdir(self.data):
            return '%s is no directory' % self.data
        if os.path.ismount(self.data):
            return '%s is a mount' % self.data
        if not os.access(parent, os.W_OK):
            return '%s is not writable for %s' % (parent, pwd.getpwuid(os.geteuid()).pw_name)
        if os.path.islink(os.path.join(self.data, 'pg_wal')):
            return 'pg_wal is a link to %s' % os.path.realpath(os.path.join(self.data, 'pg_wal'))
        if _place.listdir(os.path.join(self.data, 'pg_tblspc')):
            return 'there are tablespaces'
        if os.path.lexists(self.directory) and not self.is_ours():
            return '%s is there, and not of a restore by this collection' % self.directory
        return ''

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

    # -- restore and proof

    def restore(self):
        """From the repository to a proven directory. One that is proven for that target already is used as it is."""
        with _Alone(self.path + '.lock', self.params['timeout']):
            self.state = self.read()
            if self.state and self.state['phase'] == 'proven' and _restore.goes_on(
                    self.state, self.target, self.params['timeline'], self.params['cluster']):
                return False
            if self.state and self.state['phase'] in _restore.UNDER_WAY:
                raise RestoreError('a restore is in the middle of its exchange', 'one that has not begun', 'Look at %s.' % self.path)
            self.clear()
            self.state = None
            self.write(phase='restoring', target=self.target, words=_restore.words(self.target), cluster=self.params['cluster'], data_directory=self.data,
                       directory=self.directory, kept='', backup=self.params['backup'], live_timeline=self.params['timeline'],
                       timeline=self.params['target_timeline'], begun=_stamp())
            os.mkdir(self.directory, 0o700)
            self.write(inode=_inode(self.directory), reached=self.reach_now())
            begun = time.time()
            self.runner.run(_restore.restore_command(self.params['conf'], self.params['cluster'], self.directory, self.params['backup']['label']),
                            timeout=self.params['timeout'])
            copied = time.time()
            self.prove(self.target)
            self.write(phase='proven', seconds={'copy': round(copied - begun, 1), 'recovery': round(time.time() - copied, 1)})
            return True

    def is_ours(self):
        """Whether the directory is the one that was made after the state file. Of one that is empty nobody misses anything."""
        return self.state is not None and self.state['directory'] == self.directory and (
            self.state.get('inode') == _inode(self.directory) or os.path.isdir(self.directory) and not _place.listdir(self.directory))

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
        _remove(self.log)

    def program(self, name):
        return os.path.join(self.params['bin_dir'], name)

    def reach_now(self):
        """All that was committed until now is in the archive, and a commit after it: recovery stops at the first one after its time. Where that ends."""
        said = self.live('SET synchronous_commit = local; SELECT pg_catalog.txid_current(); '
                         "SELECT pg_catalog.pg_walfile_name(p) || ' ' || p FROM pg_catalog.pg_switch_wal() AS p")
        name, reached = said.split()[-2:]
        deadline, folder = time.time() + _ARCHIVE, os.path.join(self.data, 'pg_wal')
        # Recycled, it has been archived.
        while os.path.exists(os.path.join(folder, name)) and not os.path.exists(os.path.join(folder, 'archive_status', name + '.done')):
            if time.time() > deadline:
                raise RestoreError('WAL file %s is not in the archive after %d s' % (name, _ARCHIVE), 'an archive that takes WAL',
                                   'Look at the log of PostgreSQL and at /var/log/pgbackrest.')
            time.sleep(0.5)
        return reached

    def live(self, query, database='postgres'):
        return self.psql(self.params['socket_directory'], self.params['port'], query, database)

    def private(self, query, database='postgres'):
        return self.psql(_SOCKETS, self.params['port'], query, database)

    def psql(self, host, port, query, database):
        # By standard input: a query may have the hash of a password.
        return self.runner.run([self.program('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', host, '-p', '%d' % port, '-d', database, '-f', '-'],
                               stdin=query + ';\n', env={'PGCONNECT_TIMEOUT': '10', 'PGOPTIONS': '-c statement_timeout=60s -c lock_timeout=30s'}).stdout.strip()

    def prove(self, target):
        for name in _LEFT:
            _remove(os.path.join(self.directory, name))
        _write(os.path.join(self.directory, 'postgresql.auto.conf'), '')
        if os.listdir(os.path.join(self.directory, 'pg_tblspc')):
            raise RestoreError('the backup has tablespaces', 'none', 'Restore by hand, as docs/backup.md says.')
        # The archive may be younger than the last failover. And what this server knows of is no number for a new timeline.
        for name in _data_directory.history_files(self.data):
            _replace(os.path.join(self.data, 'pg_wal', name), os.path.join(self.directory, 'pg_wal', name))
        version = self.version()
        command = _restore.get_command(self.params['conf'], self.params['cluster'], self.directory)
        options = _restore.recovery_options(target, self.params['target_timeline'], command)
        if version < 12:
            recovery = [option for option in options if option[0] != 'recovery_target_action'] + [
                ('standby_mode', 'off')] + [option for option in options if option[0] == 'recovery_target_action']
            _write(os.path.join(self.directory, 'recovery.conf'), _restore.conf_text(recovery))
            options = []
        else:
            _write(os.path.join(self.directory, 'recovery.signal'), '')
        try:
            self.start(options, self.params['timeout'])
            seen = json.loads(self.private(_SEEN))
            with open(self.log) as handle:
                seen['stopped'] = _restore.stopped_at(handle.read())
            problem = _restore.proof_problem(target, seen, {
                'system_identifier': self.live('SELECT system_identifier FROM pg_catalog.pg_control_system()'), 'live_timeline': self.params['timeline'],
                'reached': self.state['reached'] if self.params['target_timeline'] == self.params['timeline'] else ''})
            if problem:
                raise RestoreError('what was restored is not what was asked for: %s' % problem, _restore.words(target),
                                   'Nothing of the cluster was changed. Look at %s; another repmgr_restore may be right.' % self.log)
            databases = self.private('SELECT datname FROM pg_catalog.pg_database').split()
            if self.params['database'] not in databases:
                raise RestoreError('at that moment there was no database %s' % self.params['database'], 'a moment after the cluster was deployed',
                                   'Nothing of the cluster was changed.')
            self.write(result=seen)
        finally:
            self.stop()

    def version(self):
        with open(os.path.join(self.directory, 'PG_VERSION')) as handle:
            return int(handle.read().strip().split('.')[0])

    def start(self, options, limit):
        """The private server, until it answers."""
        # Of a run that was ended: a server, and the cluster's own settings, which would be stronger than ours.
        self.stop()
        _write(os.path.join(self.directory, 'postgresql.auto.conf'), '')
        if not os.path.isdir(_SOCKETS):
            os.mkdir(_SOCKETS, 0o700)
        os.chmod(_SOCKETS, 0o700)
        _write(os.path.join(_SOCKETS, 'pg_hba.conf'), 'local all all peer\n')
        _write(os.path.join(_SOCKETS, 'pg_ident.conf'), '')
        control = _data_directory.parse_controldata(self.runner.run([self.program('pg_controldata'), '-D', self.directory]).stdout)
        settings = dict((name, self.live('SHOW %s' % name)) for name in _SAME)
        sizes = dict((name, max(int(control.get('%s setting' % label) or 0), int(self.live('SHOW %s' % name)))) for label, name in _SIZES.items())
        conf = os.path.join(_SOCKETS, 'postgresql.conf')
        _write(conf, _restore.conf_text([('port', self.params['port'])] + _restore.private_options(_SOCKETS, settings, sizes) + options))
        deadline = time.time() + limit
        words = [self.program('pg_ctl'), '-D', self.directory, '-o', '-c config_file=%s' % conf, '-l', self.log, '-w', '-t', '%d' % limit, 'start']
        begun = self.runner.run(words, accept=None, timeout=limit + 60)
        # Without hot standby pg_ctl is content as soon as recovery has begun.
        while begun.rc == 0 and _postmaster.server_of(self.directory) is not None:
            if self.is_writable():
                return
            if time.time() > deadline:
                raise RestoreError('recovery has not come to its end after %d s' % limit, 'one that ends', 'Nothing of the cluster was changed.')
            time.sleep(0.5)
        with open(self.log) as handle:
            fatal = [line for line in handle.read().splitlines() if re.search(' (FATAL|PANIC): ', line) and 'not accepting connections' not in line]
        why = fatal[-1] if fatal else begun.stderr or begun.stdout
        raise RestoreError('the restored server did not come up: %s' % why, 'one that recovers to the target',
                           'Nothing of the cluster was changed. Look at %s; another repmgr_restore may be right.' % self.log)

    def is_writable(self):
        try:
            return self.private('SELECT pg_catalog.pg_is_in_recovery()') == 'f'
        except CommandError:
            return False

    def stop(self):
        if _postmaster.server_of(self.directory) is not None:
            self.runner.run([self.program('pg_ctl'), '-D', self.directory, '-m', 'fast', '-w', '-t', '600', 'stop'], timeout=660)
        shutil.rmtree(_SOCKETS, ignore_errors=True)

    # -- before the exchange

    def adopt(self):
        """What is no data, and stays as it is today: repmgr's records, the password of its role, and the server's configuration."""
        with _Alone(self.path + '.lock', 60):
            self.expect('proven')
            system = self.live('SELECT system_identifier FROM pg_catalog.pg_control_system()')
            if '%s' % self.state['result']['system_identifier'] != system:
                raise RestoreError('the system identifier of the restored data is %s, that of the cluster %s' % (
                    self.state['result']['system_identifier'], system), 'the same', 'Remove %s and %s.' % (self.path, self.directory))
            database, role = self.params['database'], self.params['user']
            rows = self.live('SELECT pg_catalog.json_agg(n) FROM repmgr.nodes n', database)
            version = self.live("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'repmgr'", database)
            password = self.live('SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %s' % literal(role))
            try:
                self.start([], 600)
                if self.private("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'repmgr'", database) != version:
                    self.private('ALTER EXTENSION repmgr UPDATE TO %s' % literal(version), database)
                statements = ['BEGIN', 'SET CONSTRAINTS ALL DEFERRED', 'DELETE FROM repmgr.nodes',
                              'INSERT INTO repmgr.nodes SELECT * FROM pg_catalog.json_populate_recordset(NULL::repmgr.nodes, %s)' % literal(rows)]
                if password:
                    statements.append('ALTER ROLE "%s" PASSWORD %s' % (role.replace('"', '""'), literal(password)))
                self.private(';\n'.join(statements + ['COMMIT']), database)
            finally:
                self.stop()
            for name in _LEFT:
                _remove(os.path.join(self.directory, name))
            for name in _CONFIGURATION:
                _replace(os.path.join(self.data, name), os.path.join(self.directory, name))
            for name in self.named():
                if os.path.lexists(os.path.join(self.data, name)) and not os.path.lexists(os.path.join(self.directory, name)):
                    _make_folders(self.directory, os.path.dirname(name))
                    _replace(os.path.join(self.data, name), os.path.join(self.directory, name))
            # That repmgrd is paused. It is read by a repmgrd that starts.
            _replace(os.path.join(self.data, 'pg_stat', 'repmgrd_state.txt'), os.path.join(self.directory, 'pg_stat', 'repmgrd_state.txt'))
            self.write(phase='swapping', kept='%s.before-restore-%s' % (self.data, _stamp()))
            return True

    def named(self):
        """Files in the data directory that its configuration names, relative to it: one that was made after the backup would not be there."""
        found = self.live("SELECT setting FROM pg_catalog.pg_settings WHERE setting <> '' AND name IN ('ssl_cert_file', 'ssl_key_file', 'ssl_ca_file', "
                          "'ssl_crl_file', 'ssl_dh_params_file', 'hba_file', 'ident_file', 'krb_server_keyfile') "
                          'UNION SELECT sourcefile FROM pg_catalog.pg_file_settings')
        paths = [os.path.relpath(os.path.join(self.data, line), self.data) for line in found.splitlines() if line]
        return [path for path in paths if not path.startswith('..')]

    def expect(self, phase):
        if self.state is None or self.state['phase'] != phase or self.state['target'] != self.target:
            raise RestoreError('%s says %s' % (self.path, self.state['phase'] if self.state else 'nothing'), 'a restore to that target that is %s' % phase)

    # -- the exchange

    def ready(self):
        """Refuse, before the server is stopped, what swap() would refuse after that."""
        if self.state and self.state['phase'] == 'swapping' and os.path.exists(self.directory) and os.path.exists(self.data):
            self.check_exchange()
        return False

    def check_exchange(self):
        own = self.timeline_of(self.data)
        if own >= self.state['result']['timeline']:
            raise RestoreError('the cluster has come to timeline %d meanwhile, and the restored data are on %d' % (own, self.state['result']['timeline']),
                               'a newer one there', 'Move %s away, remove %s, and run again: it is restored anew.' % (self.directory, self.path))
        if os.path.exists(self.state['kept']):
            raise RestoreError('%s is there already' % self.state['kept'], 'nothing of that name')

    def swap(self):
        """Two renames. Whichever of them was done, the next run does the rest; in between there is no data directory, and nothing can start."""
        with _Alone(self.path + '.lock', 60):
            if self.state and self.state['phase'] == 'swapped':
                return False
            self.expect('swapping')
            kept = self.state['kept']
            if os.path.exists(self.directory):
                for directory in (self.data, self.directory):
                    if _postmaster.server_of(directory) is not None:
                        raise RestoreError('a server runs in %s' % directory, 'one that is stopped')
                if os.path.exists(self.data):
                    self.check_exchange()
                    os.rename(self.data, kept)
                    _sync(os.path.dirname(self.data))
                os.rename(self.directory, self.data)
                _sync(os.path.dirname(self.data))
            elif not (os.path.exists(kept) and os.path.exists(self.data)):
                raise RestoreError('neither %s nor %s is there' % (self.directory, kept), 'one of them')
            self.write(phase='swapped')
            return True

    def timeline_of(self, directory):
        """The newest that the directory knows."""
        control = _data_directory.parse_controldata(self.runner.run([self.program('pg_controldata'), '-D', directory]).stdout)
        return _data_directory.newest_timeline(control, directory)

    # -- afterwards

    def end(self):
        """The restore is over. Old data directories stay."""
        if self.state is None:
            return False
        for path in (self.log, self.path + '.lock', self.path):
            _remove(path)
        return True

    def discard(self):
        """What an earlier restore has left that never touched the cluster."""
        if self.state is None or self.state['phase'] in _restore.UNDER_WAY:
            return False
        with _Alone(self.path + '.lock', 60):
            self.clear()
            for path in (self.path, self.path + '.lock'):
                _remove(path)
            self.state = None
        return True


class _Alone:
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
                raise RestoreError('another process of a restore is at work on this host', 'one at a time', 'Wait for it to end, and run again.')
            time.sleep(1)

    def __exit__(self, *dummy):
        os.close(self._handle)


def _stamp():
    return time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())


def _write(path, text):
    with open(path + '.new', 'w') as handle:
        os.chmod(path + '.new', 0o600)
        handle.write(text)
        handle.flush()
        # Lost in a power failure, it would not be known how far the exchange was.
        os.fsync(handle.fileno())
    os.rename(path + '.new', path)
    _sync(os.path.dirname(path))


def _inode(path):
    """What tells a directory from any other one that has its name later."""
    try:
        found = os.lstat(path)
    except (IOError, OSError):
        return None
    return [found.st_dev, found.st_ino]


def _make_folders(directory, below):
    """With the modes of a data directory."""
    for part in below.split(os.sep) if below else []:
        directory = os.path.join(directory, part)
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)


def _sync(directory):
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path):
    if os.path.lexists(path):
        os.unlink(path)


def _replace(source, target):
    """A file, or a folder of files, as it is there; nothing where there is none."""
    if os.path.isdir(target) and not os.path.islink(target):
        shutil.rmtree(target)
    else:
        _remove(target)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    elif os.path.lexists(source):
        shutil.copy2(source, target)
        # An empty postgresql.auto.conf after a power failure would be another configuration.
        _sync(target)
