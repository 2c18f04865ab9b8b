# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Observe a node and its peers. Nothing is changed."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import io
import json
import os
import threading
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _conninfo, _data_directory, _node_notes, _observe_sql, _place, _postmaster
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _processes, _reach
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed


def observe_local(runner, psql, place, events=0):
    """The observation of this node. events: number of repmgr's latest events to read.

    It starts two processes at most, pg_controldata and psql, if the first connection works.
    """
    config = _place.read_config(place.config_file)
    if not place.data_directory and config:
        place.data_directory = config.get('data_directory')
    observed = Observed(
        name=place.name,
        installed=_exists(place.bin_dir, 'postgres'),
        repmgr_installed=_exists(place.bin_dir, 'repmgr'),
        deployed=_node_notes.is_deployed(),
        repmgr_version=_place.installed_repmgr(place.bin_dir),
        config=_place.public_config(config),
        repmgr=_observe_sql.no_repmgr(),
    )
    observed.pause = _node_notes.read_pause(place.user)
    observed.restore = _node_notes.read_restore(place.user)
    observed.guard = _node_notes.read_guard()
    observed.daemons = _processes.daemons(place.data_directory)
    observed.data = _data_directory.observe_data(runner, place)
    observed.elsewhere = _place.elsewhere(place)
    observed.disks = _data_directory.disks(place.data_directory)
    observed.server, sockets = _postmaster.observe_server(place, observed.data)
    if observed.server.state == 'running' and _exists(place.bin_dir, 'psql'):
        ways = _observe_sql.connections(place, config, sockets)
        tags, errors = _observe_sql.observe_sql(psql, ways, events)
        observed.server.error = '; '.join(errors[:1])
        if tags is not None:
            conninfo = place.conninfo or (config or {}).get('conninfo')
            _observe_sql.take_sql(observed, tags, _observe_sql.database_of(conninfo) or 'repmgr')
            observed.server.restart_for = [
                '%s has changed' % name for name in tags.get('pending_restart') or []] + _postmaster.replaced_programs(
                    observed.server.pid, os.path.join(place.bin_dir, 'postgres'), (tags.get('server') or {}).get('started_epoch'))
            observed.server.lowered = _lowered(runner, place, observed.server.settings, tags.get('pending_restart') or [])
            observed.server.unread = _unread(observed.server.settings, (tags.get('server') or {}).get('loaded_at'))
    elif observed.server.state == 'running':
        observed.server.error = 'there is no psql in %s' % place.bin_dir
    return observed


# The file that the role backup writes on data nodes, and the limit for the answer of the repository in seconds.
_BACKUP = 'etc/pgfleet/backup/*/node.json'
# Beside it: the result of the last restore drill.
VERIFIED = 'verified.json'
_BACKUP_LIMIT = 10


def read_verified(root='/'):
    """What this node remembers of restore drills: {max_age: hours, now, last: the result of the last one or None}; None where there are no backups."""
    paths = sorted(glob.glob(os.path.join(root, _BACKUP)))
    if not paths:
        return None
    found = {'max_age': 0, 'now': int(time.time()), 'last': None}
    try:
        with io.open(paths[0], encoding='utf-8') as handle:
            found['max_age'] = int(json.load(handle).get('verify_max_age') or 0)
        with io.open(os.path.join(os.path.dirname(paths[0]), VERIFIED), encoding='utf-8') as handle:
            last = json.load(handle)
        if isinstance(last['ended'], int) and isinstance(last['seconds'], dict) and last['ok'] in (True, False) and all(
                hasattr(last[name], 'lower') for name in ('label', 'node', 'problem')):
            found['last'] = last
    except (IOError, OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return found


def observe_backup(runner, observed, user='postgres', root='/', judged=None):
    """The state of the backups, from the repository; None if there are no backups, or this node is not the primary.

    judged: an earlier answer of the repository (see _backup.answered) to use instead of asking it.
    """
    paths = sorted(glob.glob(os.path.join(root, _BACKUP)))
    if not paths or not observed.server.sql or observed.server.in_recovery is not False or (observed.config or {}).get('node_id') is None:
        return None
    try:
        with io.open(paths[0], encoding='utf-8') as handle:
            settings = json.load(handle)
        if judged is None:
            done = runner.run(_backup.command(settings, 'info', 'output=json', 'log-level-console=error'), accept=None, timeout=_BACKUP_LIMIT, run_as=user)
            judged = _backup.answered(done.rc, done.stdout, done.stderr, settings['cluster'])
    except (CommandError, IOError, OSError, ValueError, KeyError) as exc:
        settings, judged = {'max_age': 0}, _backup.answered(1, '', '%s' % exc, '')
    return {'settings': {'max_age': settings.get('max_age') or 0}, 'judged': judged, 'archiver': observed.server.archiver, 'now': int(time.time())}


# https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
_NO_LESS_THAN_THE_PRIMARY = ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction')


def _lowered(runner, place, settings, pending):
    """{name: number} of the settings that the next start would lower below the present value. `postgres -C` reads the configuration files."""
    lowered = {}
    for name in [name for name in pending if name in _NO_LESS_THAN_THE_PRIMARY]:
        argv = [os.path.join(place.bin_dir, 'postgres'), '-D', settings.get('data_directory') or place.data_directory]
        if settings.get('config_file'):
            argv += ['-c', 'config_file=' + settings['config_file']]
        value = runner.run(argv + ['-C', name], accept=None, run_as=place.user).stdout.strip()
        if value.isdigit() and int(value) < int(settings[name]):
            lowered[name] = int(value)
    return lowered


def _unread(settings, loaded_at):
    """[path] of the files that an interrupted run wrote and the server has not loaded. loaded_at: seconds since the epoch."""
    folder = os.path.dirname(settings.get('config_file') or '')
    files = [os.path.join(folder, 'conf.d', 'repmgr.conf')] + [
        os.path.join(folder, settings[name]) for name in ('hba_file', 'ssl_cert_file', 'ssl_key_file') if settings.get(name)]
    unread = []
    for path in files:
        try:
            # A file of the same second counts as loaded.
            if loaded_at is not None and os.stat(path).st_mtime > loaded_at + 1:
                unread.append(path)
        except OSError:
            continue
    return unread


def observe_remote(psql, name, conninfo, events=0):
    """(observation, '') of a node over SQL alone, or (None, reason) if it does not answer."""
    try:
        tags = psql.observe(conninfo, events=events)
    except PsqlError as exc:
        return None, redacted('%s' % exc)
    observed = Observed(name=name, repmgr=_observe_sql.no_repmgr())
    _observe_sql.take_sql(observed, tags, _observe_sql.database_of(conninfo))
    if not observed.server.sql:
        return None, 'the server answered with nothing'
    observed.server.state = 'running'
    observed.data = Data(
        path=observed.server.settings.get('data_directory') or '', state='valid',
        system_identifier=observed.server.system_identifier, timeline=observed.server.checkpoint_timeline,
        cluster_state='in archive recovery' if observed.server.in_recovery else 'in production',
        standby_signal=bool(observed.server.in_recovery))
    return observed, ''


def observe_peers(psql, observed, place, peers, timeout):
    """{name: (observation or None, reason)} of all registered nodes and the given peers, which are queried in parallel.

    peers: [{name, address, port}]. timeout: seconds for each connection.
    """
    own = place.conninfo or (_place.read_config(place.config_file) or {}).get('conninfo') or ''
    base = _conninfo.parse_or_empty(own)
    targets = {}
    own_id = (observed.config or {}).get('node_id')
    for peer in peers:
        if peer['name'] != place.name:
            targets[peer['name']] = dict(base, host=peer['address'], port=str(peer['port']))
    for node in observed.nodes or []:
        if node.node_id != own_id and node.node_name not in targets:
            targets[node.node_name] = _conninfo.parse_or_empty(usable(node.conninfo, own))
    endpoints = dict((name, {
        'name': name, 'address': _conninfo.address(values) or 'localhost',
        'port': int(values.get('port') or 5432), 'ssh_port': int(values.get('port') or 5432),
    }) for name, values in targets.items())
    reached = dict((entry['name'], entry) for entry in _reach.reach(list(endpoints.values()), timeout))
    answers = {}

    def query(name):
        values = dict(targets[name])
        values.setdefault('connect_timeout', str(timeout))
        answers[name] = observe_remote(psql, name, _conninfo.build(values))

    threads = []
    for name in targets:
        if reached[name]['postgresql'] == 'open':
            threads.append(threading.Thread(target=query, args=(name,)))
            threads[-1].start()
        else:
            answers[name] = (None, reached[name]['error'] or reached[name]['postgresql'])
    for thread in threads:
        thread.join()
    return answers


def usable(conninfo, own):
    """A registered connection string that can be used from this node.

    A password in it is redacted in observations, so the password of this node's own connection string replaces it.
    """
    values = _conninfo.parse_or_empty(conninfo)
    if values.get('password'):
        values['password'] = _conninfo.parse_or_empty(own).get('password')
    return _conninfo.build(values)


def _exists(directory, name):
    return bool(directory) and os.path.exists(os.path.join(directory, name))
