# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the modules call repmgr: flags, exit codes, output and configuration file of each version."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import LIMIT

EXIT_CODES = {
    0: 'success',
    1: 'bad configuration',
    2: 'bad rsync',
    4: 'no restart',
    6: 'database connection failed',
    7: 'database query failed',
    8: 'promotion failed',
    9: 'bad password',
    10: 'string overflow',
    11: 'failover failed',
    12: 'bad ssh',
    13: 'system failure',
    14: 'bad base backup',
    15: 'internal error',
    16: 'monitoring failed',
    17: 'bad backup label',
    18: 'switchover failed',
    19: 'barman failed',
    20: 'registration not synchronised',
    21: 'out of memory',
    22: 'switchover incomplete',
    23: 'follow failed',
    24: 'rejoin failed',
    25: 'node status has warnings',
    26: 'repmgrd could not be paused',
    27: 'repmgrd service failed',
}
NODE_STATUS = 25

# The oldest version that has what the modules and the guard use: repmgr.get_upstream_node_id() and the columns of `service status`.
OLDEST = (4, 4)

# repmgr does not quote its CSV, and a name or a location may contain commas, so a line is split at the fields that cannot.
# 4.3 added priority and upstream_last_seen, 4.4 the location.
_SERVICE = re.compile(r'^(\d+),(.*),(primary|standby|witness|bdr|unknown),([^,]*),([^,]*),([^,]*),([^,]*)(?:,(-?\d+),(-?\d+)(?:,(.*))?)?$')
_SERVICE_COLUMNS = ('node_id', 'node_name', 'type', 'running', 'repmgrd_running', 'repmgrd_pid', 'paused', 'priority',
                    'upstream_last_seen', 'location')
_EVENT = re.compile(r'^(\d+),(.*),([a-z_0-9]+),([tf]),(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^,]*)(?:,(.*))?$')
_SETTING = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(?:=|\s)\s*(.*?)\s*$")
_SHELL = re.compile(r"[|;&$`<>(){}*?~\n]")
_LEVELS = re.compile(r'^(?:\[[^\]]*\]\s*)?\[?(DEBUG|INFO|NOTICE|WARNING|ERROR|ALERT|CRITICAL|EMERG|DETAIL|HINT)\]?:?\s+(.*)$')


def slot_name(node_id):
    """The name of the replication slot that repmgr creates for a node on its upstream, and repmgr-guard on the other nodes."""
    return 'repmgr_slot_%s' % node_id


def is_slot_of_a_node(name):
    return re.match(slot_name('[0-9]+') + '$', name) is not None


class ConfigError(Exception):
    """A configuration file that repmgr itself would reject."""


def parse_config(text):
    """The text of repmgr.conf -> {name: value}. Values may be unquoted or in single quotes, in which '' is a quote."""
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith('#'):
            continue
        match = _SETTING.match(line)
        if not match:
            # Not the line itself: it may be that of a file of passwords.
            raise ConfigError('line %d is not a setting' % number)
        values[match.group(1).lower()] = _config_value(match.group(2), number)
    return values


def _config_value(text, number):
    if not text.startswith("'"):
        return re.split(r'\s*#', text, maxsplit=1)[0].strip().strip('"')
    value, position = [], 1
    while position < len(text):
        char = text[position]
        if char == "'":
            if text[position + 1:position + 2] != "'":
                return ''.join(value)
            position += 1
        elif char == '\\' and text[position + 1:position + 2] in ("'", '\\'):
            position += 1
            char = text[position]
        value.append(char)
        position += 1
    raise ConfigError('line %d has no closing quote' % number)


def split_command(command):
    """A command from repmgr.conf -> argument list. repmgr runs it in a shell, so a command with shell syntax becomes an argument of /bin/sh -c."""
    if _SHELL.search(command):
        return ['/bin/sh', '-c', command]
    words, word, quote, started = [], [], None, False
    for char in command:
        if quote:
            if char == quote:
                quote = None
            else:
                word.append(char)
        elif char in '\'"':
            quote, started = char, True
        elif char == '\\':
            return ['/bin/sh', '-c', command]
        elif char.isspace():
            if word or started:
                words.append(''.join(word))
            word, started = [], False
        else:
            word.append(char)
    if word or started:
        words.append(''.join(word))
    return words


def parse_version(text):
    """'repmgr 5.3.3' -> (5, 3, 3); () if the text has no version in it."""
    match = re.search(r'(\d+)\.(\d+)(?:\.(\d+))?', text or '')
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()


def needs_restart(old, new):
    """Whether servers have to restart between the upgrade of repmgr's packages and that of its extension. old, new: results of parse_version.

    5.3 renamed the functions in repmgr.so: a server that has loaded the library from before 5.3 lacks the functions that the extension of 5.3 calls, and
    vice versa. From 5.3 to 5.5 neither the library nor the functions of the extension have changed.
    """
    return old < (5, 3) <= new


def service_command(verb, version):
    """The command that pauses, unpauses or queries all repmgrd daemons: `daemon` before 5.0 (5.x still accepts it) and if the version is unknown."""
    return ['service' if version >= (5, 0) else 'daemon', verb]


def parse_service_status(text):
    """`service status --csv` -> ([row], [lines that were not understood])"""
    rows, other = [], []
    for line in _lines(text):
        match = _SERVICE.match(line)
        if match is None:
            other.append(line)
            continue
        row = dict((name, value) for name, value in zip(_SERVICE_COLUMNS, match.groups()) if value is not None)
        for name in _SERVICE_COLUMNS:
            if name in row and name not in ('node_name', 'type', 'location'):
                row[name] = int(row[name]) if _number(row[name]) else None
        rows.append(row)
    return rows, other


def parse_cluster_show(text):
    """`cluster show --csv` -> ([{node_id, available, in_recovery}], [lines that were not understood])"""
    rows, other = [], []
    for line in _lines(text):
        match = re.match(r'^(\d+),(0|-1),(0|1|-1)$', line)
        if match is None:
            other.append(line)
            continue
        rows.append({
            'node_id': int(match.group(1)),
            'available': match.group(2) == '0',
            'in_recovery': {'0': False, '1': True}.get(match.group(3)),
        })
    return rows, other


def parse_matrix(text):
    """`cluster matrix --csv` and `cluster crosscheck --csv` -> ([{from_id, to_id, connects}], [other lines])

    connects: whether from_id can connect to to_id, or None if repmgr could not find out.
    """
    rows, other = [], []
    for line in _lines(text):
        match = re.match(r'^(\d+),(\d+),(-[12]|0)$', line)
        if match is None:
            other.append(line)
            continue
        rows.append({'from_id': int(match.group(1)), 'to_id': int(match.group(2)),
                     'connects': {'0': True, '-1': False, '-2': None}[match.group(3)]})
    return rows, other


def parse_events(text):
    """`cluster event --csv` -> ([{node_id, node_name, event, successful, timestamp, details}], [other lines])"""
    rows, other = [], []
    for line in _lines(text):
        match = _EVENT.match(line)
        if match is None:
            other.append(line)
            continue
        rows.append({
            'node_id': int(match.group(1)),
            'node_name': match.group(2),
            'event': match.group(3),
            'successful': match.group(4) == 't',
            'timestamp': match.group(5),
            'details': match.group(6) or '',
        })
    return rows, other


def parse_node_check(text):
    """`node check --csv` -> ([{check, status, details}], [other lines]). Quotes in the details are not escaped.

    The lines with the name and the id of the node have no status.
    """
    rows, other = [], []
    for line in _lines(text):
        match = re.match(r'^"(Node name|Node ID)",()"(.*)"$', line) or re.match(
            r'^"([^"]*)","(OK|WARNING|CRITICAL|UNKNOWN)"(?:,"(.*)")?$', line)
        if match:
            rows.append({'check': match.group(1), 'status': match.group(2), 'details': match.group(3) or ''})
        else:
            other.append(line)
    return rows, other


def parse_node_status(text):
    """`node status --csv` -> ({key: value}, [other lines]). The names that may follow a number of slots are in KEY_names."""
    values, other = {}, []
    for line in _lines(text):
        match = re.match(r'^"([^"]*)",(?:"(.*)"|([^\s",]*)(?:,"(.*)")?)$', line)
        if match is None:
            other.append(line)
            continue
        values[match.group(1)] = match.group(2) if match.group(2) is not None else match.group(3)
        if match.group(4) is not None:
            values[match.group(1) + '_names'] = match.group(4)
    return values, other


def warnings(stderr):
    """repmgr's warnings and errors, as lines, without messages of a lower level."""
    found = []
    for entry in parse_log(stderr):
        if entry['level'] not in ('DEBUG', 'INFO', 'NOTICE'):
            found += ('%s: %s' % (entry['level'], entry['text']) if entry['level'] else entry['text']).splitlines()
    return found


def parse_log(text):
    """repmgr's messages -> [{level, text}]; a line without a level belongs to the message before it."""
    found = []
    for line in text.splitlines():
        match = _LEVELS.match(line.strip())
        if match:
            found.append({'level': match.group(1), 'text': match.group(2).strip()})
        elif line.strip() and found:
            found[-1]['text'] += '\n' + line.rstrip()
        elif line.strip():
            found.append({'level': '', 'text': line.rstrip()})
    return found


def summary(stdout, stderr):
    """The essence of repmgr's output: errors with their details and hints, or without errors the last line."""
    lines = parse_log(stderr) + parse_log(stdout)
    quoted, taken = [], False
    for line in lines:
        if line['level'] in ('ERROR', 'ALERT', 'CRITICAL', 'EMERG'):
            taken = True
        elif line['level'] not in ('DETAIL', 'HINT'):
            taken = False
        if taken:
            quoted.append('%s: %s' % (line['level'], line['text']))
    if not quoted and lines:
        quoted.append(lines[-1]['text'])
    return ' '.join(' '.join(line.split()) for line in quoted)


def _lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def _number(text):
    return re.match(r'^-?\d+$', text.strip()) is not None


def _target(conninfo):
    """(options, environment) that make repmgr connect to a server."""
    # Some versions require -h although -d should be enough, so the parts are passed one by one.
    values = _conninfo.parse(_conninfo.without_password(conninfo)[0])
    options = []
    for flag, name in (('-h', 'host'), ('-p', 'port'), ('-U', 'user'), ('-d', 'dbname')):
        if values.get(name):
            options += [flag, values[name]]
    # There are no flags for the TLS settings, so they are passed in the environment.
    return options, dict((variable, values[name]) for variable, name in (('PGSSLMODE', 'sslmode'), ('PGSSLROOTCERT', 'sslrootcert')) if values.get(name))


class Repmgr:
    """The repmgr program with one configuration file."""

    def __init__(self, runner, bin_dir, config_file, passfile=None, run_as=None):
        self._runner = runner
        self._program = os.path.join(bin_dir, 'repmgr')
        self._config_file = config_file
        self._passfile = passfile
        self._run_as = run_as
        self._version = None

    @property
    def version(self):
        if self._version is None:
            self._version = parse_version(self._runner.run([self._program, '--version'], run_as=self._run_as).stdout)
        return self._version

    def call(self, command, options=(), conninfo=None, dry_run=False, timeout=LIMIT, accept=(0,), env=None):
        """`repmgr -f FILE COMMAND OPTIONS`. A password in conninfo is passed in the environment, so that it is not in the process list."""
        argv = [self._program, '-f', self._config_file]
        env = dict(env or {})
        if self._passfile:
            env['PGPASSFILE'] = self._passfile
        if conninfo:
            target, password = _conninfo.without_password(conninfo)
            if password is not None:
                env['PGPASSWORD'] = password
            argv += ['-d', target]
        argv += command.split() + list(options)
        if dry_run:
            argv.append('--dry-run')
        return self._runner.run(argv, env=env, timeout=timeout, accept=accept, run_as=self._run_as)

    # -- one method per command

    def primary_register(self, force=False, **kwargs):
        return self.call('primary register', ['--force'] if force else [], **kwargs)

    def primary_unregister(self, force=False, **kwargs):
        return self.call('primary unregister', ['--force'] if force else [], **kwargs)

    def standby_clone(self, source, upstream_node_id=None, extra=(), **kwargs):
        options = ['--fast-checkpoint']
        if upstream_node_id is not None:
            options.append('--upstream-node-id=%d' % upstream_node_id)
        return self.call('standby clone', options + list(extra), conninfo=source, **kwargs)

    def standby_register(self, force=False, upstream_node_id=None, wait_sync=60, **kwargs):
        options = ['--force'] if force else []
        if upstream_node_id is not None:
            options.append('--upstream-node-id=%d' % upstream_node_id)
        if not kwargs.get('dry_run'):
            options.append('--wait-sync=%d' % wait_sync)
        return self.call('standby register', options, **kwargs)

    def standby_follow(self, upstream_node_id=None, **kwargs):
        options = ['--upstream-node-id=%d' % upstream_node_id] if upstream_node_id is not None else []
        return self.call('standby follow', options, **kwargs)

    def standby_unregister(self, node_id=None, **kwargs):
        return self.call('standby unregister', ['--node-id=%d' % node_id] if node_id is not None else [], **kwargs)

    def standby_register_stopped(self, primary, upstream_node_id, **kwargs):
        """Register a stopped standby: repmgr then needs the connection to the primary, and --force."""
        options, env = _target(primary)
        return self.call('standby register', options + ['--force', '--upstream-node-id=%d' % upstream_node_id], env=env, **kwargs)

    def witness_register(self, primary, force=False, **kwargs):
        options, env = _target(primary)
        return self.call('witness register', options + (['--force'] if force else []), env=env, **kwargs)

    def witness_unregister(self, force=False, **kwargs):
        return self.call('witness unregister', ['--force'] if force else [], **kwargs)

    def node_rejoin(self, target, rewind=False, **kwargs):
        # rewind: True, or the path of another pg_rewind.
        options = ['--force-rewind%s' % ('' if rewind is True else '=%s' % rewind)] if rewind else []
        return self.call('node rejoin', options, conninfo=target, **kwargs)

    def standby_switchover(self, siblings_follow=True, **kwargs):
        return self.call('standby switchover', ['--siblings-follow'] if siblings_follow else [], **kwargs)

    def service(self, verb, **kwargs):
        """pause, unpause or status."""
        return self.call(' '.join(service_command(verb, self.version)), **kwargs)

    def ask(self, what):
        """{rows, rc, warnings, unknown}. unknown: the lines that the parser did not understand."""
        command, parser = ANSWERS[what]
        if what == 'service':
            result = self.service('status', options=['--csv'], accept=(0, NODE_STATUS))
        else:
            options = ['--csv', '--limit=20'] if what == 'event' else ['--csv']
            result = self.call(command, options, accept=(0, NODE_STATUS))
        rows, other = parser(result.stdout)
        return {'rows': rows, 'rc': result.rc, 'warnings': warnings(result.stderr), 'unknown': other}

    def show(self, what):
        """The output for humans. Exit code 25 only means that it contains warnings."""
        if what == 'service':
            return self.service('status', accept=(0, NODE_STATUS))
        options = ['--limit=20'] if what == 'event' else []
        return self.call('cluster ' + what if what != 'cluster' else 'cluster show', options, accept=(0, NODE_STATUS))


# The commands with machine-readable output: (command, parser).
ANSWERS = {
    'cluster': ('cluster show', parse_cluster_show),
    'service': ('service status', parse_service_status),
    'event': ('cluster event', parse_events),
    'matrix': ('cluster matrix', parse_matrix),
    'crosscheck': ('cluster crosscheck', parse_matrix),
    'node_status': ('node status', parse_node_status),
    'node_check': ('node check', parse_node_check),
}
