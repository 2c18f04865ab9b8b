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

import os
import pwd
import shutil
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _node_notes, _place, _postmaster, _restore
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._private_server import (
    LEFT, Alone, Private, RestoreError, inode, remove, stamp, sync)
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import literal

# What of the running server's configuration is in its data directory, and stays as it is.
_CONFIGURATION = ('postgresql.auto.conf', 'postgresql.conf', 'pg_hba.conf', 'pg_ident.conf', 'conf.d')
# Seconds that the repository is given for the WAL that is written when a restore begins.
_ARCHIVE = 120


class Work(Private):
    """params: of the module repmgr_restore."""

    def __init__(self, runner, params):
        Private.__init__(self, runner, params, os.path.realpath(params['data_directory']) + '.restore', _node_notes.RESTORE_FILE)

    # -- look

    def look(self):
        """The data that a plan needs. The repository is queried only if a timeline is given, that is, on the primary."""
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

    # -- restore and proof

    def restore(self):
        """From the repository to a proven directory. One that is proven for that target already is used as it is."""
        with Alone(self.path + '.lock', self.params['timeout']):
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
                       timeline=self.params['target_timeline'], begun=stamp())
            os.mkdir(self.directory, 0o700)
            self.write(inode=inode(self.directory), reached=self.reach_now())
            begun = time.time()
            self.runner.run(_restore.restore_command(self.params['conf'], self.params['cluster'], self.directory, self.params['backup']['label']),
                            timeout=self.params['timeout'])
            copied = time.time()
            self.prove(self.target)
            self.write(phase='proven', seconds={'copy': round(copied - begun, 1), 'recovery': round(time.time() - copied, 1)})
            return True

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

    def prove(self, target):
        # The archive may be younger than the last failover. And what this server knows of is no number for a new timeline.
        for name in _data_directory.history_files(self.data):
            _replace(os.path.join(self.data, 'pg_wal', name), os.path.join(self.directory, 'pg_wal', name))
        try:
            seen = self.recover(target, self.params['timeout'])
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

    # -- before the exchange

    def adopt(self):
        """What is no data, and stays as it is today: repmgr's records, the password of its role, and the server's configuration."""
        with Alone(self.path + '.lock', 60):
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
            for name in LEFT:
                remove(os.path.join(self.directory, name))
            for name in _CONFIGURATION:
                _replace(os.path.join(self.data, name), os.path.join(self.directory, name))
            for name in self.named():
                if os.path.lexists(os.path.join(self.data, name)) and not os.path.lexists(os.path.join(self.directory, name)):
                    _make_folders(self.directory, os.path.dirname(name))
                    _replace(os.path.join(self.data, name), os.path.join(self.directory, name))
            # That repmgrd is paused. It is read by a repmgrd that starts.
            _replace(os.path.join(self.data, 'pg_stat', 'repmgrd_state.txt'), os.path.join(self.directory, 'pg_stat', 'repmgrd_state.txt'))
            self.write(phase='swapping', kept='%s.before-restore-%s' % (self.data, stamp()))
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
            raise RestoreError('%s says %s' % (self.path, self.state['phase'] if self.state else 'nothing'), 'a restore to this target in phase %s' % phase)

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
        with Alone(self.path + '.lock', 60):
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
                    sync(os.path.dirname(self.data))
                os.rename(self.directory, self.data)
                sync(os.path.dirname(self.data))
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
            remove(path)
        return True

    def discard(self):
        """What an earlier restore has left that never touched the cluster."""
        if self.state is None or self.state['phase'] in _restore.UNDER_WAY:
            return False
        with Alone(self.path + '.lock', 60):
            self.clear()
            for path in (self.path, self.path + '.lock'):
                remove(path)
            self.state = None
        return True


def _make_folders(directory, below):
    """With the modes of a data directory."""
    for part in below.split(os.sep) if below else []:
        directory = os.path.join(directory, part)
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)


def _replace(source, target):
    """A file, or a folder of files, as it is there; nothing where there is none."""
    if os.path.isdir(target) and not os.path.islink(target):
        shutil.rmtree(target)
    else:
        remove(target)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True)
    elif os.path.lexists(source):
        shutil.copy2(source, target)
        # An empty postgresql.auto.conf after a power failure would be another configuration.
        sync(target)
