# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr-backup: makes the backups of a cluster, and starts the other half of pgBackRest for its peers.

It runs on the host of the repository, or, where data nodes write to a repository that all of them reach, on each data node. Who is primary, and
whether there is a standby to read from, it asks the nodes each time. As the server's user. Decisions are in _backup.py.

    repmgr-backup FILE full|differential|incremental   make a backup; on a standby: nothing
    repmgr-backup FILE watch                            make the first one, or the one that is due after a change of primary or because WAL was lost
    repmgr-backup FILE create [--take-over]             make the repository ready for the cluster
    repmgr-backup FILE info                             what the repository has, as JSON
    repmgr-backup FILE state                            what this node says of itself, as JSON
    repmgr-backup FILE remote                           what sshd starts for a peer (command= in authorized_keys)

FILE: node.json or repository.json. watch gives up with exit code 75 while another backup is being made; the others wait for it, for an hour.

Standard library only, Python 2.7 and 3.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import argparse
import errno
import fcntl
import json
import os
import posixpath
import shlex
import subprocess
import sys
import threading
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup

# Seconds. A node that does not answer is not waited for; a backup is, but not for ever.
LOOK = 30
LIMIT = 24 * 3600
# A backup of the schedule waits for another one, or it would be missing until its next time, which may be a week away.
WAIT = 3600
POLL = 10
BUSY = 75
# What peers ask each other for that is no pgBackRest.
STATE = 'repmgr-backup-state'
CHECKPOINT = 'repmgr-backup-checkpoint'
# Two of them: a function that does not work in recovery must not even be in the statement there.
_STANDBY = """
SELECT pg_catalog.json_build_object('in_recovery', true, 'timeline', (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver),
  'streaming', EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming'),
  'delay', (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'recovery_min_apply_delay'), 'paused', pg_catalog.pg_is_wal_replay_paused())
"""
_PRIMARY = """
SELECT pg_catalog.json_build_object('in_recovery', false, 'timeline',
  ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int,
  'checkpoint_timeline', (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
  'wal_size', pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
  'waiting', (SELECT pg_catalog.json_agg(pg_catalog.substr(name, 1, 24)) FROM pg_catalog.pg_ls_dir('pg_wal/archive_status') AS name
    WHERE name ~ '^[0-9A-F]{24}[.]ready$'))
"""


class Failed(Exception):
    """What is said, and the exit code."""

    def __init__(self, message, code=1):
        super(Failed, self).__init__(message)
        self.code = code


def run(words, limit):
    """(exit code, standard output, standard error)"""
    try:
        process = subprocess.Popen(['timeout', '-k', '10', str(limit)] + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   close_fds=True, cwd='/', env=dict(os.environ, LC_ALL='C'))
    except EnvironmentError as exc:
        return 127, '', '%s' % exc
    out, err = process.communicate()
    return process.returncode, out.decode('utf-8', 'replace'), err.decode('utf-8', 'replace')


def last_line(*texts):
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if 'ERROR: ' in line]
    return (wrong or lines or ['no output'])[-1]


def psql(settings, statement, limit=LOOK):
    return run([settings['psql'], '-XAtq', '-d', 'postgres', '-p', '%s' % settings['port'], '-h', settings['socket_directory'], '-v', 'ON_ERROR_STOP=1',
                '-c', statement], limit)


def own_state(settings):
    """What the server of this host says of itself, or None where it does not answer."""
    code, out, dummy = psql(settings, 'SELECT pg_catalog.pg_is_in_recovery()')
    if code != 0:
        return None
    code, out, dummy = psql(settings, _STANDBY if out.strip() == 't' else _PRIMARY)
    try:
        return json.loads(out) if code == 0 else None
    except ValueError:
        return None


def own_checkpoint(settings):
    """Whether the server of this host has made one."""
    return psql(settings, 'CHECKPOINT', WAIT)[0] == 0


def ask(settings, name, question, limit=LOOK):
    """What a node answers, or None where it does not."""
    node = settings['nodes'][name]
    code, out, dummy = run([settings['ssh'], '-p', '%s' % node['ssh_port'], '%s@%s' % (settings['os_user'], node['address']), question], limit)
    try:
        return json.loads(out) if code == 0 else None
    except ValueError:
        return None


def states(settings):
    """{node: state}. All at once: those that are gone cost what one of them does."""
    nodes = settings.get('nodes') or {}
    if not nodes:
        return {settings['name']: own_state(settings)}
    found = {}

    def look(name):
        found[name] = ask(settings, name, STATE)

    threads = [threading.Thread(target=look, args=(name,)) for name in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def info(settings):
    code, out, err = run(_backup.command(settings, 'info', 'output=json', 'log-level-console=error'), LOOK)
    return _backup.answered(code, out, err, settings['cluster'])


class Lock:
    """One at a time of each cluster on a host; it ends with the process."""

    def __init__(self, settings, wait=0):
        self._path = settings['lock']
        self._wait = wait
        self._handle = None

    def __enter__(self):
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        waited = 0
        while not self._taken():
            if waited >= self._wait:
                raise Failed('another backup of the cluster is being made on this host%s' % (', for more than %d s' % waited if waited else ''),
                             1 if self._wait else BUSY)
            time.sleep(POLL)
            waited += POLL
        return self

    def _taken(self):
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except EnvironmentError as exc:
            if exc.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def __exit__(self, *dummy):
        os.close(self._handle)


def chosen(settings):
    """Who is primary and who is read from, and what the primary says of itself; None where the program runs on a node that is not primary."""
    seen = states(settings)
    decision = _backup.choose(seen)
    if not settings.get('nodes') and decision['refused']:
        if seen[settings['name']] is None:
            raise Failed('the server of this host does not answer')
        return None, None
    if decision['refused']:
        raise Failed('no backup is made: %s' % decision['refused'])
    return decision, seen[decision['primary']]


def checkpoint_if_promoted(settings, decision, state):
    """The one of a promotion takes minutes, and until it has ended pgBackRest refuses to back up a server whose control data names the old timeline."""
    if not _backup.lacks_checkpoint(state):
        return
    done = ask(settings, decision['primary'], CHECKPOINT, WAIT) if settings.get('nodes') else own_checkpoint(settings)
    if not done:
        sys.stderr.write('%s was promoted and has made no checkpoint since; pgBackRest may refuse it\n' % decision['primary'])


def pgbackrest(words):
    code, out, err = run(words, LIMIT)
    for text in (out, err):
        sys.stderr.write(text)
    if code != 0:
        raise Failed('%s ended with exit code %d: %s' % (words[-1], code, last_line(out, err)))


def is_ours(settings):
    """Whether the role has recorded that the collection made the stanza of this repository, or was told to take it over."""
    try:
        with open(settings['marker']) as handle:
            return handle.read().strip() == settings['place']
    except EnvironmentError:
        return False


def make(settings, kind, wait=0):
    with Lock(settings, wait):
        decision, state = chosen(settings)
        if decision is None:
            return {'made': False, 'why': 'this node is no primary'}
        # A backup also removes those that are older than the retention.
        if not is_ours(settings):
            raise Failed('no backup is made: it is not recorded in %s that this collection has set up the repository; run site' % settings['marker'])
        checkpoint_if_promoted(settings, decision, state)
        pgbackrest(_backup.backup_command(settings, settings.get('nodes') or {}, decision, kind))
    last = info(settings)['last']
    return {'made': True, 'from': decision['standby'] or decision['primary'], 'backup': last}


def missing(settings, archive, first):
    """Which WAL lacks in the repository, from the first one that the last backup needs."""
    def listed(*path):
        words = _backup.command(settings, 'repo-ls') + [posixpath.join('archive', settings['cluster'], archive, *path)]
        code, out, err = run(words, LOOK)
        if code != 0:
            raise Failed('the WAL in the repository cannot be listed: %s' % last_line(out, err))
        return out.split()
    return _backup.missing_wal([name for folder in _backup.wal_folders(listed(), first[0]) for name in listed(folder)], first)


def lost(settings, judged, state):
    """WAL that the repository does not have and will not get."""
    last = judged['last']
    if judged['state'] != 'ok' or not state.get('wal_size') or last['timeline'] != state['timeline']:
        return []
    first = (last['first_wal'], state['wal_size'])
    before = missing(settings, judged['archive'], first)
    if not before:
        return []
    decision, state = chosen(settings)
    if decision is None or state['timeline'] != last['timeline']:
        return []
    return _backup.lost_wal(before, state, missing(settings, judged['archive'], first))


def watch(settings):
    judged = info(settings)
    decision, state = chosen(settings)
    kind = decision and _backup.due(judged, state['timeline'])
    gap = lost(settings, judged, state) if decision and not kind else []
    if gap:
        # From there on nothing can be restored before there is a new backup.
        sys.stderr.write('%d WAL files are not in the repository and will not come, the first one %s; making a backup\n' % (len(gap), gap[0]))
    return make(settings, kind or 'incremental') if kind or gap else {'made': False, 'why': 'none is due'}


def create(settings, take_over=False):
    """The repository knows the cluster. pgBackRest does nothing where that is so already.

    Without a backup there is nothing to lose, and it may be what a run has left that was killed before it was recorded.
    """
    decision, dummy = chosen(settings)
    if decision is None:
        # What is not looked at must not be recorded as the cluster's.
        raise Failed('the server of this host is no primary')
    judged = info(settings)
    if judged['state'] == 'unreachable':
        raise Failed(judged['reason'])
    if judged['count'] and not take_over and not is_ours(settings):
        raise Failed('the repository has %d backups of a cluster %s that this collection has not set up there, the last one %s; they would be removed by '
                     'repmgr_backup_retention. Set another repmgr_backup_repository.path, or repmgr_backup_take_over: true if they are of this cluster' % (
                         judged['count'], settings['cluster'], judged['last']['label']))
    if judged['state'] == 'no_stanza':
        pgbackrest(_backup.create_command(settings, settings.get('nodes') or {}, decision))
    return {'created': judged['state'] == 'no_stanza', 'lacks_backup': not judged['count']}


def remote(settings):
    """In place of a shell. What is asked for is taken apart as a shell would, and given to none. It is no fence: see _backup.is_allowed."""
    asked = os.environ.get('SSH_ORIGINAL_COMMAND', '')
    own = {STATE: own_state, CHECKPOINT: own_checkpoint}
    if asked in own and settings['side'] == 'pg':
        return own[asked](settings)
    words = shlex.split(asked)
    if not _backup.is_allowed(words, settings['side'], settings):
        raise Failed('repmgr-backup: refused: %s' % asked)
    os.execvp('pgbackrest', words)


def main():
    parser = argparse.ArgumentParser(prog='repmgr-backup', description='Makes the backups of a cluster.')
    parser.add_argument('file', help='node.json or repository.json')
    parser.add_argument('command', choices=list(_backup.TYPES) + ['watch', 'create', 'info', 'state', 'remote'])
    parser.add_argument('--take-over', action='store_true', help='create: even if the repository has backups that this collection has not made')
    options = parser.parse_args()
    with open(options.file) as handle:
        settings = json.load(handle)
    others = {'watch': watch, 'create': lambda given: create(given, options.take_over), 'info': info, 'state': own_state, 'remote': remote}
    try:
        said = others[options.command](settings) if options.command in others else make(settings, options.command, WAIT)
    except Failed as exc:
        sys.stderr.write('%s\n' % exc)
        return exc.code
    sys.stdout.write(json.dumps(said, sort_keys=True) + '\n')
    return 0
