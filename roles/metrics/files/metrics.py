# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr-metrics: the state of the cluster as seen from this node, for the textfile collector of node_exporter.

Observes once, with plugins/module_utils of the collection, writes one file, and ends; a systemd timer runs it. It changes nothing else. Started as root,
it observes as the postgres OS user and writes the file as root. Exit code 0: the file was written. Otherwise the file is unchanged, and
repmgr_observed_timestamp_seconds in it says how old it is.

Standard library only, Python 2.7 and 3.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import argparse
import errno
import grp
import json
import os
import pwd
import subprocess
import sys
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _observe, _place, _problems_access, _tls, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Runner
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import Psql

ROLES = ('primary', 'standby', 'witness')
# How long an answer of the backup repository is used.
REPOSITORY_SECONDS = 60

# (name, help), in the order of the output.
FAMILIES = (
    ('repmgr_up', 'Whether the PostgreSQL server of this node answers'),
    ('repmgr_role', 'Current role of this node, as the node itself reports it: 1 for its role, 0 for the others'),
    ('repmgr_timeline', 'Timeline that this node writes or receives'),
    ('repmgr_streaming', 'Whether this standby receives WAL'),
    ('repmgr_receive_lag_bytes', 'WAL that the primary has written and this standby has not received: lost if it were promoted now'),
    ('repmgr_replay_lag_bytes', 'WAL that this standby has received and not replayed'),
    ('repmgr_replay_lag_seconds', 'Age of the last transaction that this standby has replayed; 0 if everything received has been replayed'),
    ('repmgr_repmgrd_running', 'Whether repmgrd runs on this node'),
    ('repmgr_repmgrd_paused', 'Whether repmgrd is paused on this node'),
    ('repmgr_guard_running', 'Whether repmgr-guard runs on this node'),
    ('repmgr_guard_fuse_running', 'Whether repmgr-guard-fuse runs on this node'),
    ('repmgr_nodes_registered', 'Registered nodes of the cluster'),
    ('repmgr_nodes_answering', 'Registered nodes whose server answers this node'),
    ('repmgr_primaries', 'Nodes that run as primary, as this node sees them; there must not be more than one'),
    ('repmgr_failover_ready', 'Whether an automatic failover would succeed now, as this node sees it'),
    ('repmgr_slot_active', 'Whether this replication slot is in use'),
    ('repmgr_slot_retained_bytes', 'WAL that is retained for this replication slot'),
    ('repmgr_certificate_valid', "Whether peers would accept the server's certificate"),
    ('repmgr_certificate_remaining_seconds', "How long the server's certificate and its CA are still valid, in whole days"),
    ('repmgr_backup_repository_up', 'Whether the backup repository answers this primary and has the cluster'),
    ('repmgr_backup_last_timestamp_seconds', 'When the last good backup of the cluster ended; 0 if there is none'),
    ('repmgr_backup_last_size_bytes', 'Size of the data in the last good backup'),
    ('repmgr_backup_max_age_seconds', 'How old the last backup may be, from the inventory'),
    ('repmgr_backup_verify_timestamp_seconds', 'When the last restore drill that this node knows of ended; 0 if there was none'),
    ('repmgr_backup_verify_ok', 'Whether the last restore drill that this node knows of found nothing wrong'),
    ('repmgr_backup_verify_max_age_seconds', 'How long ago the last restore drill may be, from the inventory; 0 for any age'),
    ('repmgr_archive_failing', 'Whether this primary failed to archive the last WAL segment that it tried'),
    ('repmgr_observation_duration_seconds', 'Duration of the observation'),
    ('repmgr_observed_timestamp_seconds', 'Time of the observation: time() - repmgr_observed_timestamp_seconds is the age of this file'),
)


class Programs:
    """The one method of an AnsibleModule that module_utils need."""

    def run_command(self, cmd, data=None, environ_update=None, cwd=None, **dummy):
        process = subprocess.Popen(
            cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, close_fds=True, cwd=cwd,
            env=dict(os.environ, **(environ_update or {})))
        stdout, stderr = process.communicate((data or '').encode('utf-8'))
        return process.returncode, stdout, stderr


def observe_backup(runner, observed, options):
    """The state of the backups. The answer of the repository is used for a minute: asking it is a login to another host, and costs more than all the rest."""
    now, kept, path = time.time(), None, options.repository_answer
    try:
        with open(path or '') as handle:
            kept = json.load(handle)
        if not (kept['cluster'] == options.cluster and 0 <= now - kept['asked'] < REPOSITORY_SECONDS):
            kept = None
    except (IOError, OSError, ValueError, KeyError, TypeError):
        kept = None
    found = _observe.observe_backup(runner, observed, options.user, judged=kept and kept['judged'])
    if found and kept is None and path:
        try:
            write(path, json.dumps({'cluster': options.cluster, 'asked': now, 'judged': found['judged']}).encode('utf-8'))
        except (IOError, OSError) as exc:
            sys.stderr.write('repmgr-metrics: %s: %s\n' % (path, exc))
    return found


def observe(options):
    """The observation of this node, including its peers."""
    runner = Runner(Programs())
    psql = Psql(runner, options.bin_dir, options.passfile, options.connect_timeout)
    place = _place.Place('', options.config, options.bin_dir, options.data_directory, options.port, None, options.user)
    observed = _observe.observe_local(runner, psql, place)
    observed.name = place.name = (observed.config or {}).get('node_name') or ''
    observed.backup = observe_backup(runner, observed, options)
    observed.verified = _observe.read_verified()
    if options.certificate:
        observed.tls = _tls.examine(options.certificate, options.key, options.root, [], options.user, runner)
    observed.peers = dict((name, found[0]) for name, found in _observe.observe_peers(
        psql, observed, place, [], options.connect_timeout).items())
    return observed


# -- PURE: an observation -> text

def samples(observed, verdict):
    """[(family, labels, value)]. Unknown values are left out, because 0 would be wrong."""
    found = []

    def add(family, value, **labels):
        if value is not None:
            found.append((family, labels, value))

    server = observed.server
    add('repmgr_up', server.sql)
    if observed.guard is not None:
        add('repmgr_guard_running', observed.guard.get('running'))
        add('repmgr_guard_fuse_running', (observed.guard.get('fuse') or {}).get('running'))
    if observed.tls:
        add('repmgr_certificate_valid', not observed.tls.get('error'))
        days = _problems_access.certificate_days(observed.tls)
        add('repmgr_certificate_remaining_seconds', None if days is None else days * 86400)
    if not server.sql:
        return found
    rows = observed.nodes or []
    own_id = (observed.config or {}).get('node_id')
    own = [row for row in rows if row.node_id == own_id]
    is_witness = bool(own) and own[0].type == 'witness'
    role = 'witness' if is_witness else 'standby' if server.in_recovery else 'primary'
    for name in ROLES:
        add('repmgr_role', name == role, role=name)
    if not is_witness:
        add('repmgr_timeline', server.timeline)
    if role == 'standby':
        add('repmgr_streaming', (observed.receiver or {}).get('status') == 'streaming')
        for candidate in verdict['failover_ready']['candidates']:
            if candidate['node_id'] == own_id:
                add('repmgr_receive_lag_bytes', candidate['lag_bytes'])
        add('repmgr_replay_lag_bytes', server.lag_bytes)
        add('repmgr_replay_lag_seconds', server.lag_seconds)
    repmgrd = (observed.repmgr or {}).get('repmgrd') or {}
    add('repmgr_repmgrd_running', repmgrd.get('running'))
    add('repmgr_repmgrd_paused', repmgrd.get('paused'))
    if rows:
        seen = [(row, observed if row.node_id == own_id else observed.peers.get(row.node_name)) for row in rows]
        answering = [(row, node) for row, node in seen if node is not None and node.server.sql]
        add('repmgr_nodes_registered', len(rows))
        add('repmgr_nodes_answering', len(answering))
        add('repmgr_primaries', len([row for row, node in answering if row.type != 'witness' and node.server.in_recovery is False]))
        add('repmgr_failover_ready', verdict['failover_ready']['ready'])
    if observed.backup:
        judged, last = observed.backup['judged'], observed.backup['judged']['last']
        add('repmgr_backup_repository_up', judged['state'] in ('ok', 'no_backup'))
        if judged['state'] in ('ok', 'no_backup'):
            add('repmgr_backup_last_timestamp_seconds', last['ended'] if last else 0)
            add('repmgr_backup_last_size_bytes', last['bytes'] if last else None)
        add('repmgr_backup_max_age_seconds', observed.backup['settings']['max_age'] * 3600)
        add('repmgr_archive_failing', (observed.backup.get('archiver') or {}).get('failing'))
    if observed.verified:
        last = observed.verified['last']
        add('repmgr_backup_verify_timestamp_seconds', last['ended'] if last else 0)
        add('repmgr_backup_verify_ok', last['ok'] if last else None)
        add('repmgr_backup_verify_max_age_seconds', observed.verified['max_age'] * 3600)
    for slot in observed.slots or []:
        add('repmgr_slot_active', slot.get('active'), slot=slot.get('slot_name'))
        add('repmgr_slot_retained_bytes', slot.get('retained_bytes'), slot=slot.get('slot_name'))
    return found


def text(found, **labels):
    """The text format of Prometheus. labels: added to every sample."""
    lines = []
    for name, what in FAMILIES:
        mine = [(more, value) for family, more, value in found if family == name]
        if mine:
            lines += ['# HELP %s %s.' % (name, what), '# TYPE %s gauge' % name]
        for more, value in mine:
            words = ['%s="%s"' % (label, escaped(more[label] if label in more else labels[label])) for label in sorted(set(labels) | set(more))]
            lines.append('%s{%s} %s' % (name, ','.join(words), number(value)))
    return '\n'.join(lines) + '\n'


def escaped(value):
    return ('%s' % (value,)).replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')


def number(value):
    return '%d' % value if isinstance(value, bool) or value == int(value) else repr(float(value))


# -- the program

def look(options):
    started = time.time()
    observed = observe(options)
    found = samples(observed, _verdict.from_one_node(observed))
    ended = time.time()
    found += [('repmgr_observation_duration_seconds', {}, round(ended - started, 3)), ('repmgr_observed_timestamp_seconds', {}, round(ended, 3))]
    return text(found, cluster=options.cluster, node=observed.name)


def become(user):
    entry = pwd.getpwnam(user)
    os.setgroups([group.gr_gid for group in grp.getgrall() if user in group.gr_mem] + [entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ['HOME'] = entry.pw_dir


def look_as(user, options):
    """Observe in a child process that gives up root privileges for good; return its output. sudo and runuser would log each call."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            become(user)
            with os.fdopen(writing, 'wb') as handle:
                handle.write(look(options).encode('utf-8'))
            code = 0
        except Exception as exc:  # pylint: disable=broad-except
            sys.stderr.write('repmgr-metrics: %s: %s\n' % (type(exc).__name__, exc))
        finally:
            # Do not return into the parent's code.
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, 'rb') as handle:
        said = handle.read()
    return said if os.waitpid(child, 0)[1] == 0 else None


def write(path, content):
    """Write atomically: a concurrent reader sees the old file. The directory may belong to another user."""
    aside = path + '.tmp'
    try:
        os.unlink(aside)
    except OSError as exc:
        if exc.errno != errno.ENOENT:
            raise
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(handle, 'wb') as opened:
        os.fchmod(handle, 0o644)
        opened.write(content)
    os.rename(aside, path)


def main():
    parser = argparse.ArgumentParser(prog='repmgr-metrics', description='Metrics of the cluster as seen from this node, for node_exporter.')
    parser.add_argument('--cluster', required=True, help='name of the cluster, a label of every sample')
    parser.add_argument('--config', required=True, help='repmgr.conf')
    parser.add_argument('--bin-dir', required=True, help='directory of psql and pg_controldata')
    parser.add_argument('--data-directory', required=True)
    parser.add_argument('--port', type=int, default=5432)
    parser.add_argument('--passfile', required=True)
    parser.add_argument('--user', default='postgres', help='the user that the server runs as')
    parser.add_argument('--connect-timeout', type=int, default=3, help='seconds')
    parser.add_argument('--certificate', help='with --key and --root: also export its validity')
    parser.add_argument('--key')
    parser.add_argument('--root')
    parser.add_argument('--repository-answer', help='a file that keeps the last answer of the backup repository for a minute (default: ask each time)')
    parser.add_argument('--output', help='the file to write (default: stdout)')
    options = parser.parse_args()
    content = look_as(options.user, options) if os.geteuid() == 0 else look(options).encode('utf-8')
    if content is None:
        return 1
    if options.output:
        write(options.output, content)
    else:
        getattr(sys.stdout, 'buffer', sys.stdout).write(content)
    return 0
