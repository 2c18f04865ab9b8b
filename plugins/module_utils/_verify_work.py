# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a restore drill on a data node. What they mean is decided in _verify.

The copy is in a directory of its own, and gone when the drill has ended. Its file in the home of the server's user says which directory that is: what a killed
drill has left is removed by the next one, and nothing else ever.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import pwd
import shutil
import signal
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _conninfo, _data_directory, _processes, _restore, _verify
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._private_server import Alone, Busy, Private, RestoreError, inode, remove

FILE = '.repmgr_verify.json'
_LOOK = 60
# Seconds between two looks at WAL that lacks: several files are sent at once, so that one may lack for a moment.
_ARRIVES = 15
_AGAIN = 'Run again: a node that is right for it by then is taken.'
# Below this much room the drill ends, before the node's own server has none.
_FLOOR = 256 * 1048576


class Ended(RestoreError):
    """The drill came to no result. It says nothing of the backup."""


def _interrupted(number, dummy):
    raise Ended('the restore drill was ended by signal %d' % number, 'the time that it needs', _AGAIN)


class Verification(Private):
    """params: of the module repmgr_verify_backup."""

    SOCKETS = '/var/run/postgresql/repmgr-verify'
    KEEPS_WAL = False
    valid_state = staticmethod(_verify.valid_state)

    def __init__(self, runner, params):
        # Beside the data themselves, where the data directory is a link.
        beside = os.path.realpath(params['data_directory']) + '.verify'
        Private.__init__(self, runner, params, os.path.abspath(params['directory'] or beside), FILE)
        self.deadline = 0
        self.looked = 0
        self.result = None
        self.on_standby = False

    # -- look

    def look(self):
        """What a plan needs to know. The repository is asked where a timeline is given: on the node where the drill will be."""
        parent = os.path.dirname(self.directory)
        found = {'obstacle': self.obstacle(parent), 'left': self.state is not None or self.is_ours(), 'free': 0, 'size': 0, 'reserve': 0, 'now': time.time(),
                 'parent': parent, 'directory': self.directory}
        if self.params['timeline'] and not found['obstacle']:
            found['free'] = _free(parent)
            if os.path.isdir(self.directory):
                # What a killed drill has left is removed first.
                found['free'] += _taken(self.directory)
            try:
                found['size'], found['reserve'] = [int(word) for word in self.live(
                    'SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database; '
                    "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))").split()]
                found.update(self.repository())
            except CommandError as exc:
                found['error'] = 'the backup repository does not answer: %s' % exc.message
        return found

    def obstacle(self, parent):
        """Why there can be no copy, or ''."""
        user = pwd.getpwuid(os.geteuid()).pw_name
        if not os.path.isdir(parent):
            return '%s is no directory' % parent
        if not os.access(parent, os.W_OK | os.X_OK):
            return '%s is not writable for %s' % (parent, user)
        if (os.path.realpath(parent) + '/').startswith(self.data + '/'):
            return '%s is in the data directory of the server' % parent
        if os.path.lexists(self.directory) and not self.is_ours():
            return '%s is there, and not of a restore drill by this collection' % self.directory
        return ''

    def clean(self):
        """What an earlier drill has left on a node where there is none now."""
        if self.state is None:
            return False
        try:
            with Alone(self.path + '.lock', 0):
                self.state = self.read()
                self.sweep()
        except Busy:
            # That is somebody else's.
            return False
        return True

    # -- the drill

    def run(self):
        os.nice(10)
        begun = time.time()
        self.deadline = begun + self.params['timeout']
        self.on_standby = self.live('SELECT pg_catalog.pg_is_in_recovery()') == 't'
        with Alone(self.path + '.lock', self.params['timeout']):
            self.state = self.read()
            self.sweep()
            self.write(directory=self.directory, data_directory=self.data)
            # A module that is ended removes what it has begun as well.
            former = dict((number, signal.signal(number, _interrupted)) for number in (signal.SIGTERM, signal.SIGHUP))
            try:
                os.mkdir(self.directory, 0o700)
                self.write(inode=inode(self.directory))
                self.result = self.examine()
            finally:
                for number, handler in former.items():
                    signal.signal(number, handler)
                self.sweep()
        self.result['seconds']['total'] = round(time.time() - begun, 1)
        self.result['ended'] = int(time.time())
        return False

    def examine(self):
        backup = self.params['backup']
        found = {'ok': False, 'kind': '', 'problem': '', 'node': self.params['name'], 'label': backup['label'], 'type': backup['type'],
                 'bytes': backup['bytes'], 'target': _restore.words(self.target), 'timeline': self.params['target_timeline'],
                 'begun': int(time.time()), 'seconds': {}, 'checks': [],
                 'newest_commit': None, 'lsn': None, 'database_bytes': None}
        step, begun = 'copy', time.time()
        try:
            self.copy()
            found['seconds']['copy'], step, begun = round(time.time() - begun, 1), 'recovery', time.time()
            self.recover_and_compare(found)
            found['seconds']['recovery'], step, begun = round(time.time() - begun, 1), 'damage', time.time()
            if not found['problem']:
                self.check(found)
                found['seconds']['checks'] = round(time.time() - begun, 1)
        except Ended:
            raise
        except (RestoreError, CommandError) as exc:
            self.look_after(answers=True)
            if isinstance(exc, CommandError):
                said = _verify.fatal_of(exc.result.stdout + exc.result.stderr) or exc.message
            else:
                said = (self.said() if step == 'recovery' else '') or exc.seen
            found.update(kind=found['kind'] or step, problem='%s%s' % (_verify.short(said), '; %s' % found['problem'] if found['problem'] else ''))
        found['ok'] = not found['problem']
        return found

    def copy(self):
        self.runner.run(_restore.restore_command(self.params['conf'], self.params['cluster'], self.directory, self.params['backup']['label'],
                                                 # Not the spool of the server of this node, which it would empty.
                                                 ['--spool-path=%s.spool' % self.directory]), timeout=self.left())
        self.look_after()

    def recover_and_compare(self, found):
        size = int(_data_directory.parse_controldata(self.runner.run([self.program('pg_controldata'), '-D', self.directory]).stdout)['Bytes per WAL segment'])
        missing, looked = self.missing(size), time.time()
        if missing:
            # Should recovery fail, that is why.
            found.update(kind='gap', problem=_verify.gap_words(missing))
        seen = self.recover(self.target, self.left())
        self.look_after()
        if missing:
            time.sleep(max(0, looked + _ARRIVES - time.time()))
            missing = [name for name in self.missing(size) if name in missing]
        found.update(kind='', problem='', lsn=seen['lsn'], newest_commit=seen['last_commit'] or self.newest_commit())
        wrong = _verify.recovery_problem(self.target, seen, {
            'system_identifier': self.live('SELECT system_identifier FROM pg_catalog.pg_control_system()'), 'timeline': self.params['target_timeline'],
            'archive': self.params['archive'], 'missing': missing, 'size': size})
        if wrong:
            found.update(kind=wrong[0], problem=wrong[1])

    def missing(self, size):
        """WAL that lacks in the archive from the backup on. To an earlier moment than its end, recovery says itself whether it came there."""
        archive = self.params['archive']
        if self.target['kind'] != 'latest' or not archive or not archive.get('id'):
            return []

        def listed(*path):
            words = _backup.command({'conf': self.params['conf'], 'cluster': self.params['cluster']}, 'repo-ls', 'log-level-console=error')
            return self.runner.run(words + ['/'.join(('archive', self.params['cluster'], archive['id']) + path)], timeout=_LOOK).stdout.split()
        backup = self.params['backup']
        names = [name for folder in _verify.wal_folders(listed(), backup) for name in listed(folder)]
        return _verify.missing_wal(names, backup, self.params['target_timeline'], _restore.history(self.params['history']), size)

    def newest_commit(self):
        """Of a backup after which nothing was committed."""
        if self.private('SHOW track_commit_timestamp') != 'on':
            return None
        return self.private('SELECT "timestamp" FROM pg_catalog.pg_last_committed_xact()') or None

    # -- checks

    def check(self, found):
        names = self.private('SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1').splitlines()
        found['database_bytes'] = int(self.private('SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database'))
        found['checks'].append(self.check_relations(names))
        self.look_after()
        for query in self.params['queries']:
            try:
                returned = self.psql(self.SOCKETS, self.params['port'], query['query'], query['database'], self.left(), read_only=True)
            except CommandError as exc:
                found.update(kind='query', problem='"%s" in database %s: %s' % (_verify.short(query['query']), query['database'], exc.message))
                return
            problem = _verify.query_problem(query, returned)
            if problem:
                found.update(kind='query', problem=problem)
                return
            self.look_after()
        if self.params['queries']:
            found['checks'].append('%d queries' % len(self.params['queries']))
        self.stop()
        found['checks'].append(self.check_pages())

    def check_relations(self, names):
        """All tables and their indexes, by amcheck where the server has it; else all tables are read."""
        where = ['-h', self.SOCKETS, '-p', '%d' % self.params['port']]
        if os.path.exists(self.program('pg_amcheck')) and self.private("SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'"):
            done = self.runner.run([self.program('pg_amcheck')] + where + ['--all', '--install-missing'], accept=(0, 2), timeout=self.left())
            if done.rc != 0:
                raise RestoreError('pg_amcheck: %s' % (done.stdout or done.stderr), 'relations without damage')
            return 'pg_amcheck of %d databases' % len(names)
        for name in names:
            self.runner.run([self.program('pg_dump')] + where + ['-f', '/dev/null', '-d', _conninfo.build({'dbname': name})], timeout=self.left())
            self.look_after()
        return 'pg_dump of %d databases' % len(names)

    def check_pages(self):
        control = _data_directory.parse_controldata(self.runner.run([self.program('pg_controldata'), '-D', self.directory]).stdout)
        if control.get('Data page checksum version', '0') == '0':
            return 'no data checksums'
        programs = [name for name in ('pg_checksums', 'pg_verify_checksums') if os.path.exists(self.program(name))]
        if not programs:
            return 'data checksums not checked, because there is no pg_checksums'
        done = self.runner.run([self.program(programs[0]), '-D', self.directory], accept=None, timeout=self.left())
        if done.rc != 0:
            wrong = [line for line in done.stderr.splitlines() if line.strip()]
            raise RestoreError('%s: %s' % (programs[0], wrong[0] if wrong else 'exit code %d' % done.rc), 'pages whose checksums are right')
        return 'data checksums of all pages'

    # -- limits

    def left(self):
        """Seconds that are left."""
        rest = int(self.deadline - time.time())
        if rest < 1:
            raise Ended('it has not finished after %d s' % self.params['timeout'], 'a drill that finishes by then', 'Run again with a larger '
                        'repmgr_verify_limit.')
        return rest

    def watch(self):
        if time.time() > self.looked + 5:
            self.look_after()

    def look_after(self, answers=False):
        """Ends the drill where this node is needed for something else. answers: also where its own server does not answer, which recovery is made like."""
        self.left()
        self.looked = time.time()
        if _free(self.directory) < _FLOOR:
            raise Ended('%d MB are left in %s' % (_free(self.directory) // 1048576, os.path.dirname(self.directory)), '%d MB or more' % (_FLOOR // 1048576),
                        'Free some space there, and run again.')
        try:
            primary = self.live('SELECT pg_catalog.pg_is_in_recovery()') == 'f'
        except CommandError as exc:
            if answers:
                raise Ended('its own server does not answer any more: %s' % exc.message, 'one that runs', _AGAIN)
            # It may be back in a moment.
            return
        if primary and self.on_standby:
            raise Ended('it has become primary meanwhile', 'a standby, because a drill takes from the node what its clients need',
                        _AGAIN)

    def said(self):
        """Why the private server ended, by its own log."""
        try:
            with open(self.log) as handle:
                return _verify.fatal_of(handle.read())
        except (IOError, OSError):
            return ''

    # -- afterwards

    def sweep(self):
        """No process, no directory, no file of a drill is left. The lock stays, because somebody may wait for it."""
        wanted = self.directory
        # An earlier one may have been elsewhere.
        for directory in sorted(set([wanted] + ([self.state['directory']] if self.state else []))):
            self.directory, self.log = directory, directory + '.log'
            self.end_copies()
            self.clear()
            shutil.rmtree(directory + '.spool', ignore_errors=True)
        self.directory, self.log = wanted, wanted + '.log'
        shutil.rmtree(self.SOCKETS, ignore_errors=True)
        remove(self.path)
        self.state = None

    def end_copies(self):
        """pgBackRest of a killed drill goes on by itself."""
        if not self.is_ours():
            return
        word = '--pg1-path=%s' % self.directory
        for number, limit in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            for pid in _processes.processes_with(word):
                try:
                    os.kill(pid, number)
                except OSError:
                    # It has ended by itself.
                    continue
            deadline = time.time() + limit
            while _processes.processes_with(word) and time.time() < deadline:
                time.sleep(0.2)


def _free(path):
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def _taken(directory):
    """Bytes of the files below it."""
    total = 0
    for folder, dummy, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total
