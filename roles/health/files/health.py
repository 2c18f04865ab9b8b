# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr-health: tells load balancers what this node is, over HTTP, by the paths and status codes of Patroni's REST API.

/primary answers 200 only while the guard of this node does not doubt that its server is the primary: it goes by the word that the guard leaves for its
fuse (fuse.py), and says no long before either of them stops the server. It is a process of its own, and one thread: whatever clients do to it, the
guard does not wait for it. A question to the server is shared by all who ask within half a second.

Standard library only, Python 2.7 and 3. See docs/routing.md. Everything it knows is in one file: /etc/pgfleet/health.json (units: seconds).
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import fcntl
import json
import os
import re
import select
import socket
import ssl
import subprocess
import sys
import time
from collections import OrderedDict

import fuse

try:
    from urllib.parse import parse_qs, urlsplit
except ImportError:  # Python 2.7
    from urlparse import parse_qs, urlsplit

CONFIG = '/etc/pgfleet/health.json'
# How long an answer of the server is reused for further requests.
FRESH = 0.5
# How long a request waits for the server; the checks of proxies time out soon after that.
PATIENCE = 0.8
# How long the server has to answer, and how long its last answer is used meanwhile: a primary becomes a replica only by a restart.
HANGS = 2
# How long a server that does not answer is not asked again.
PAUSE = 0.5
# How long the program waits before it exits if it cannot listen; systemd restarts it immediately.
TAKEN = 5
# From the connection to the last byte of the answer.
CONNECTION = 3
# A request with all of its headers; in bytes.
REQUEST = 4096
# If there are more, the oldest one is closed; by then it has been served long ago.
CONNECTIONS = 400
# What Patroni calls maximum_lag_on_failover.
READY_LAG = 1048576
# The version of Patroni's API that is reported.
API = '4.0.0'

REASONS = {200: 'OK', 400: 'Bad Request', 404: 'Not Found', 431: 'Request Header Fields Too Large', 501: 'Not Implemented', 503: 'Service Unavailable'}
UNITS = {'b': 1, 'kb': 1024, 'mb': 1024 ** 2, 'gb': 1024 ** 3, 'tb': 1024 ** 4}
PRIMARY = ('/', '/primary', '/read-write', '/leader', '/master')
REPLICA = ('/replica', '/read-only', '/sync', '/synchronous', '/async', '/asynchronous', '/quorum', '/read-only-sync', '/read-only-synchronous',
           '/read-only-quorum')
# These are asked for more than the checks are.
EVERYTHING = ('/patroni', '/cluster')
# What Patroni has besides, and this program does not: no answer is made up.
ABSENT = ('/config', '/history', '/metrics', '/failsafe')

# json_agg begins a new line for each row; an answer is one line.
_CORE = """
SELECT 'core', replace(row_to_json(t)::text, chr(10), ' ') FROM (SELECT
  pg_catalog.pg_is_in_recovery() AS in_recovery,
  pg_catalog.pg_postmaster_start_time()::text AS postmaster_start_time,
  current_setting('server_version_num')::int AS server_version,
  (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system,
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN coalesce((SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming'),
      (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()))
    ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
  CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::bigint END AS location,
  pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_receive_lsn(), '0/0')::bigint AS received,
  pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::bigint AS replayed,
  pg_catalog.pg_last_xact_replay_timestamp()::text AS replayed_timestamp,
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() END AS paused,
  (SELECT status FROM pg_catalog.pg_stat_wal_receiver) AS receiver,
  (SELECT pg_catalog.pg_wal_lsn_diff(latest_end_lsn, '0/0')::bigint FROM pg_catalog.pg_stat_wal_receiver) AS sent,
  coalesce(current_setting('restore_command', true), '') <> '' AS archive,
  current_setting('synchronous_standby_names') AS synchronous,
  (SELECT json_agg(r) FROM (SELECT usename, application_name, client_addr, state, sync_state, sync_priority,
    pg_catalog.pg_wal_lsn_diff(replay_lsn, '0/0')::bigint AS replayed FROM pg_catalog.pg_stat_replication) r) AS replication) t;
"""
# Statements of their own: what fails here, or waits for a lock, takes nothing from the first one.
_MORE = """
SELECT 'paused', to_json(repmgr.repmgrd_is_paused());
SELECT 'nodes', replace(json_agg(n ORDER BY n.node_id)::text, chr(10), ' ') FROM (SELECT node_id, node_name, type, active, conninfo FROM repmgr.nodes) n;
"""


def say(text):
    print(text)
    sys.stdout.flush()


# -- what is decided

def primary_problem(state, in_recovery, stamp, here, now, doubt, stopped=None, started=None):
    """Why this node is not to be written to, as (code, text); None where it is.

    state: 'running' is the server that has answered. stamp: the last word of the guard to the fuse (fuse.understood). here: this boot. doubt: how old that
    may be; the guard stops the server later, and nobody is promoted before that. Where the guard would not stop it, the server's own word counts.
    stopped: when the guard or its fuse has stopped a server here; started: when this one was started; in seconds since 1970.
    """
    if state != 'running':
        return 'not_running', 'the server is %s' % state
    if in_recovery is not False:
        return 'replica', 'it is a replica'
    if stopped is not None and (started is None or stopped >= started):
        return 'fenced', 'the guard has stopped the server'
    if stamp is not None and stamp['limit'] is not None and fuse.expired(dict(stamp, limit=min(doubt, stamp['limit'])), here, now):
        return 'doubt', 'the guard has not seen enough votes, or has not been at work, for %.1f s' % (now - stamp['sight'])
    if stamp is not None and stamp['limit'] is not None and stamp['boot'] == here and stamp.get('hangs'):
        # Others may have been promoted before the guard hears that it goes on.
        return 'hangs', 'the server has not answered its guard for long, and may be stopped for that'
    return None


def size(text):
    """The number of bytes in '1kB' or '1024'; None if the text is not a size."""
    found = re.match(r'\s*(\d{1,15})\s*([kmgt]?b)?\s*\Z', text, re.I)
    return int(found.group(1)) * UNITS[(found.group(2) or 'b').lower()] if found else None


def confirms(setting, name):
    """'sync' where each commit waits for this standby, 'quorum' where it waits for some of which this is one, or ''.

    setting: synchronous_standby_names; the same on all nodes, so the primary is one of those that it names, and never waits for itself.
    """
    found = re.match(r'\s*(?:(ANY|FIRST)\s+)?(?:(\d+)\s*\((.*)\)|(.+?))\s*\Z', setting or '', re.I | re.S)
    if not found:
        return ''
    text = found.group(3) if found.group(2) else found.group(4)
    number = int(found.group(2) or 1)
    names = [quoted.replace('""', '"') or plain for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', text)]
    if name not in names and '*' not in names:
        return ''
    if '*' not in names and number >= len(names) - 1:
        return 'sync'
    if (found.group(1) or 'FIRST').upper() == 'ANY':
        return 'quorum'
    # Of a list in order: the primary may be one of those before it, which it is not known here.
    return 'sync' if name in names[:number] else ''


def replication_state(core):
    return 'streaming' if core.get('receiver') == 'streaming' else 'in archive recovery' if core.get('archive') else ''


def lags(core, most, location='replayed'):
    """Whether a replica is further behind than that, or has not been told for too long how far the primary is (core['primary'] is None)."""
    return core.get('primary') is None or core['primary'] - (core.get(location) or 0) > most


def verdict(path, query, state, core, problem, name):
    """The status code. query: {name: [values]}. core: what the server has answered, {} where it does not. problem: see primary_problem."""
    running, replica = state == 'running', core.get('in_recovery') is True
    lag = query.get('lag', [None])[0]
    most = size(lag) if lag is not None else None
    if lag is not None and most is None:
        return 400
    if path in PRIMARY:
        return 503 if problem else 200
    if path == '/health':
        return 200 if running else 503
    if path == '/readiness':
        if not problem:
            return 200
        location = 'received' if query.get('mode', [''])[0] == 'write' else 'replayed'
        ready = running and replica and replication_state(core) == 'streaming' and not lags(core, READY_LAG if most is None else most, location)
        return 200 if ready else 503
    if path not in REPLICA:
        return 503
    # No node has a tag.
    if any(key.startswith('tag_') for key in query):
        return 503
    if path.startswith('/read-only') and not problem:
        return 200
    wanted = query.get('replication_state', [''])[0]
    if not running or not replica or (most is not None and lags(core, most)) or (wanted and replication_state(core) != wanted):
        return 503
    kind = confirms(core.get('synchronous'), name)
    fits = {'/sync': kind == 'sync', '/synchronous': kind == 'sync', '/read-only-sync': kind == 'sync', '/read-only-synchronous': kind == 'sync',
            '/quorum': kind == 'quorum', '/read-only-quorum': kind == 'quorum', '/async': not kind, '/asynchronous': not kind}
    return 200 if fits.get(path, True) else 503


# -- what is told

def status(config, state, role, core, more, problem):
    """The JSON of /patroni, and of each check that is asked with GET."""
    found = {'state': state, 'role': role}
    if core:
        found.update(postmaster_start_time=core['postmaster_start_time'], server_version=core['server_version'], timeline=core['timeline'],
                     database_system_identifier=core['system'])
        found['xlog'] = {'location': core['location']} if not core['in_recovery'] else {
            'received_location': core['received'] or core['replayed'], 'replayed_location': core['replayed'],
            'replayed_timestamp': core['replayed_timestamp'], 'paused': core['paused']}
        if core['replication']:
            found['replication'] = [dict((key, value) for key, value in row.items() if key != 'replayed') for row in core['replication']]
        if core['in_recovery']:
            if replication_state(core):
                found['replication_state'] = replication_state(core)
            kind = confirms(core['synchronous'], config['name'])
            if kind:
                found[kind + '_standby'] = True
    if more.get('paused'):
        found['pause'] = True
    if problem and problem[0] != 'replica':
        found['reason'] = {'code': problem[0], 'text': problem[1]}
    found['patroni'] = {'version': API, 'scope': config['cluster'], 'name': config['name']}
    return found


def host_of(conninfo):
    """Host and port of a conninfo that repmgr has registered."""
    found = dict((key, value.strip("'")) for key, value in re.findall(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", conninfo or ''))
    return found.get('host', ''), int(found['port']) if found.get('port', '').isdigit() else 5432


def cluster(config, state, core, more, problem):
    """The JSON of /cluster: the registered nodes with data. What others are the primary alone sees, by who streams from it."""
    members, senders = [], dict((row['application_name'], row) for row in core.get('replication') or [])
    for row in more.get('nodes') or []:
        if row['type'] == 'witness':
            continue
        host, port = host_of(row['conninfo'])
        here = row['node_id'] == config['node_id']
        leader = not problem if here else row['type'] == 'primary' and bool(row['active'])
        member = {'name': row['node_name'], 'role': 'leader' if leader else 'replica', 'state': 'running' if leader or row['active'] else 'stopped',
                  'api_url': '%s://%s:%d/patroni' % ('https' if config['tls'] else 'http', '[%s]' % host if ':' in host else host, config['listen_port']),
                  'host': host, 'port': port}
        if here:
            member['state'] = replication_state(core) or state if not leader else state
            if core:
                member['timeline'] = core['timeline']
            if not leader:
                lag = core['primary'] - (core.get('replayed') or 0) if core.get('primary') is not None else None
                member['lag'] = max(0, lag) if lag is not None else 'unknown'
        elif not leader:
            sender = senders.get(row['node_name'])
            if sender and sender['state'] == 'streaming' and not problem:
                member.update(state='streaming', timeline=core['timeline'], lag=max(0, core['location'] - (sender['replayed'] or 0)))
                if sender['sync_state'] in ('sync', 'quorum'):
                    member['role'] = sender['sync_state'] + '_standby'
            else:
                member['lag'] = 'unknown'
        members.append(member)
    found = {'members': members, 'scope': config['cluster']}
    if more.get('paused'):
        found['pause'] = True
    return found


# -- what is seen

def postmaster(directory):
    """(process, when it was started, its own word on its state) of the server that runs there, or None. The word is there since PostgreSQL 10."""
    try:
        with open(os.path.join(directory, 'postmaster.pid')) as handle:
            lines = handle.read(4096).split('\n')
        pid = int(lines[0])
        with open('/proc/%d/comm' % pid, 'rb') as handle:
            if handle.read().strip() not in (b'postgres', b'postmaster'):
                return None
        return pid, int(lines[2]), lines[7].strip()
    except (IOError, OSError, ValueError, IndexError):
        return None


def stopped_since():
    """When the guard, or its fuse, has stopped the server; None where there is no such word, 0 where it cannot be read."""
    try:
        with open(fuse.STOPPED_FILE) as handle:
            return int(json.loads(handle.read(65536))['since'])
    except (IOError, OSError) as exc:
        return None if exc.errno == errno.ENOENT else 0
    except (KeyError, TypeError, ValueError):
        return 0


class Session:
    """The server here: a psql that stays connected, and is asked one thing at a time."""

    def __init__(self, config, clock=fuse.clock):
        self.config, self.clock = config, clock
        self.process, self.asked, self.number, self.buffer, self.tags = None, None, 0, b'', {}
        self.core, self.more, self.answered, self.pid = {}, {}, None, None
        self.again = 0               # when it may be asked again, where it did not answer
        self.primary = None          # (how far the primary was at least, when that was heard)
        self.with_more = False       # whether the last question was for everything

    def fresh(self, more):
        return self.answered is not None and self.clock() - self.answered <= FRESH and (self.with_more or not more)

    def ask(self, more):
        """Unless it is asked already, or has not answered a moment ago. Whether an answer is to be waited for."""
        if self.asked is not None:
            return True
        server = postmaster(self.config['data_directory'])
        if server is None or self.clock() < self.again:
            self.forget()
            return False
        if server[0] != self.pid:
            self.close()
        self.number, self.tags, self.with_more = self.number + 1, {}, more
        try:
            if self.process is None:
                self._connect(server[0])
            self.process.stdin.write(('%s\\echo end %d\n' % (_CORE + (_MORE if more else ''), self.number)).encode('utf-8'))
            self.process.stdin.flush()
        except (IOError, OSError):
            self.fail()
            return False
        self.asked = self.clock()
        return True

    def _connect(self, pid):
        config = self.config
        env = dict(os.environ, LC_ALL='C', PGCONNECT_TIMEOUT='2', PGAPPNAME='repmgr-health',
                   PGOPTIONS='-c client_min_messages=error -c statement_timeout=2s -c lock_timeout=200ms -c default_transaction_read_only=on')
        self.process = subprocess.Popen([os.path.join(config['bin_dir'], 'psql'), '-X', '-A', '-t', '-q', '-w', '-F', '\t', '-d', config['conninfo']],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd='/', close_fds=True)
        fcntl.fcntl(self.process.stdout, fcntl.F_SETFL, fcntl.fcntl(self.process.stdout, fcntl.F_GETFL) | os.O_NONBLOCK)
        self.pid, self.buffer = pid, b''

    def read(self):
        """What has come. Whether the question is answered, or will not be."""
        try:
            data = os.read(self.process.stdout.fileno(), 65536)
        except OSError as exc:
            if exc.errno in (errno.EAGAIN, errno.EINTR):
                return False
            data = b''
        if not data:
            self.fail()
            return True
        lines = (self.buffer + data).split(b'\n')
        self.buffer = lines.pop()
        for line in lines:
            tag, tab, value = line.decode('utf-8', 'replace').partition('\t')
            if tab:
                try:
                    self.tags[tag] = json.loads(value)
                except ValueError:
                    pass
            elif tag == 'end %d' % self.number and self.asked is not None:
                self._take()
                return True
        return False

    def _take(self):
        if 'core' not in self.tags:
            self.fail()
            return
        self.core, self.answered, self.asked = self.tags['core'], self.asked, None
        self.more = dict((key, value) for key, value in self.tags.items() if key != 'core')
        core, now = self.core, self.clock()
        if core['receiver'] == 'streaming' and core['sent'] is not None:
            self.primary = (max(core['sent'], core['received'] or 0), now)
        # Nobody says more than that while there is no primary; but not for ever.
        core['primary'] = self.primary[0] if self.primary and now - self.primary[1] <= 2 * self.config['detection'] else None

    def late(self):
        return self.asked is not None and self.clock() - self.asked > PATIENCE

    def hangs(self):
        return self.asked is not None and self.clock() - self.asked > HANGS

    def counts(self):
        return bool(self.core) and self.clock() - self.answered <= HANGS + FRESH

    def forget(self):
        self.core, self.more, self.answered = {}, {}, None

    def fail(self):
        # One that has answered is replaced at once: a session that somebody has ended fails one check, and a proxy drops a node after two.
        had_answered = self.answered is not None
        self.close()
        self.again = 0 if had_answered else self.clock() + PAUSE

    def close(self):
        process, self.process, self.asked, self.pid = self.process, None, None, None
        self.forget()
        if process:
            for action in (process.kill, process.stdin.close, process.stdout.close, process.wait):
                try:
                    action()
                except (IOError, OSError):
                    pass


class Node:
    """What this node is at this moment."""

    def __init__(self, config):
        self.config, self.sight, self.session, self.said = config, fuse.Fuse(), Session(config), None
        self.unwatched = None        # since when a primary here answers of which the guard has told nothing

    def look(self):
        """(state, role, problem). What can change from one moment to the next is looked at for each answer."""
        config, session = self.config, self.session
        server = postmaster(config['data_directory'])
        if server is None:
            state = 'stopped'
        elif server[2] in ('starting', 'stopping'):
            state = server[2]
        elif session.counts() and session.pid == server[0]:
            state = 'running'
        else:
            state = 'unknown'
        core = session.core if state == 'running' else {}
        self.sight.read()
        now, here = fuse.clock(), self.sight.here
        if core.get('in_recovery') is not False or not fuse.unwatched(self.sight.stamp, here):
            self.unwatched = None
        elif self.unwatched is None:
            self.unwatched = now
        problem = primary_problem(state, core.get('in_recovery'), fuse.counted(self.sight.stamp, here, self.unwatched), here, now, config['doubt'],
                                  stopped_since(), server[1] if server else None)
        told = problem[0] if problem else ''
        if told != self.said:
            self.said = told
            say('answers %s on /primary%s' % (503 if problem else 200, ': ' + problem[1] if problem else ''))
        replica = core['in_recovery'] if core else fuse.is_standby(config['data_directory'])
        return state, 'replica' if replica else 'primary', problem, core

    def answer(self, path, query):
        """(status code, JSON or None: no body even for GET)."""
        state, role, problem, core = self.look()
        if path == '/liveness':
            dead = role == 'primary' and fuse.expired(self.sight.stamp, self.sight.here, fuse.clock(), self.unwatched)
            return (503 if dead else 200), None
        code = verdict(path, query, state, core, problem, self.config['name'])
        if path == '/readiness' or code == 400:
            return code, None
        more = self.session.more if core else {}
        if path == '/cluster':
            return 200, cluster(self.config, state, core, more, problem)
        return (200 if path == '/patroni' else code), status(self.config, state, role, core, more, problem)


# -- who is answered

def parse(data):
    """(method, path, query) of a request, or a status code if it is invalid."""
    line = data.split(b'\n', 1)[0].strip().decode('latin-1')
    words = line.split(' ')
    if len(words) != 3 or not re.match(r'HTTP/\d\.\d\Z', words[2]) or not re.match('[A-Z]{1,20}\\Z', words[0]):
        return 400
    if words[0] not in ('GET', 'HEAD', 'OPTIONS'):
        return 501
    try:
        parts = urlsplit(words[1] if not words[1].startswith('//') else '/' + words[1].lstrip('/'))
        query = parse_qs(parts.query)
    except ValueError:
        return 400
    path = parts.path.rstrip('/') or '/'
    return (words[0], path, query) if path.startswith('/') and path not in ABSENT else 404 if path in ABSENT else 400


def response(method, code, body):
    """As Patroni answers: who asks with another method than GET is told the code, and nothing else."""
    head = 'HTTP/1.0 %d %s\r\n' % (code, REASONS[code])
    if method != 'GET' or body is None:
        return (head + '\r\n').encode('ascii')
    text = json.dumps(body, sort_keys=True).encode('utf-8')
    return (head + 'Content-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n' % len(text)).encode(
        'ascii') + text


class Connection:
    def __init__(self, handle, since, secure):
        self.handle, self.since, self.secure = handle, since, secure
        self.shaken, self.received, self.request, self.output = not secure, b'', None, None

    def step(self):
        """As far as it goes now: None, or what it waits for (select.POLLIN, select.POLLOUT). Raises EOFError at its end."""
        try:
            if not self.shaken:
                self.handle.do_handshake()
                self.shaken = True
            while self.request is None:
                data = self.handle.recv(REQUEST)
                if not data:
                    raise EOFError()
                self.received += data
                if b'\r\n\r\n' in self.received or b'\n\n' in self.received:
                    self.request = parse(self.received)
                elif len(self.received) >= REQUEST:
                    self.request = 431
            if self.output is None:
                return None
            while self.output:
                sent = self.handle.send(self.output)
                if not sent:
                    # TLS on Python 2, where another Python raises SSL_ERROR_WANT_WRITE.
                    return select.POLLOUT
                self.output = self.output[sent:]
        except ssl.SSLError as exc:
            if exc.args[0] == ssl.SSL_ERROR_WANT_READ:
                return select.POLLIN
            if exc.args[0] == ssl.SSL_ERROR_WANT_WRITE:
                return select.POLLOUT
            raise EOFError()
        except (IOError, OSError) as exc:
            if exc.errno in (errno.EAGAIN, errno.EINTR):
                return select.POLLOUT if self.output else select.POLLIN
            raise EOFError()
        except ValueError:
            # A handshake of garbage, in some versions of Python.
            raise EOFError()
        raise EOFError()

    def close(self):
        try:
            if self.secure and self.shaken and self.output == b'':
                # Its half of the goodbye; that of the other side is not waited for.
                self.handle.unwrap()
        except (IOError, OSError, ValueError):
            pass
        try:
            self.handle.close()
        except (IOError, OSError):
            pass


class Certificate:
    """The TLS context, made anew when the files have changed. A new key whose certificate is still to come is tried again."""

    def __init__(self, config):
        self.files, self.mark, self.context, self.looked = config['tls'], None, None, None

    def current(self, now):
        if self.files and (self.looked is None or now - self.looked >= 1):
            self.looked = now
            try:
                mark = [(found.st_ino, found.st_mtime) for found in (os.stat(self.files[name]) for name in ('certificate', 'key'))]
                if mark != self.mark:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if hasattr(ssl, 'PROTOCOL_TLS_SERVER') else ssl.PROTOCOL_SSLv23)
                    if hasattr(context, 'minimum_version'):
                        context.minimum_version = ssl.TLSVersion.TLSv1_2
                    else:
                        # Python before 3.7.
                        for name in ('OP_NO_SSLv2', 'OP_NO_SSLv3', 'OP_NO_TLSv1', 'OP_NO_TLSv1_1'):
                            context.options |= getattr(ssl, name, 0)
                    context.load_cert_chain(self.files['certificate'], self.files['key'])
                    say('has read %s%s' % (self.files['certificate'], ' again' if self.mark else ''))
                    self.context, self.mark = context, mark
            except (IOError, OSError, ValueError) as exc:
                if self.context is None:
                    say('%s or %s cannot be used: %s' % (self.files['certificate'], self.files['key'], exc))
        return self.context


def listen(port):
    """On all addresses, of both families where there are two."""
    for family, address in ((socket.AF_INET6, '::'), (socket.AF_INET, '')):
        handle = None
        try:
            handle = socket.socket(family, socket.SOCK_STREAM)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            handle.bind((address, port))
            handle.listen(128)
            handle.setblocking(False)
            return handle
        except (IOError, OSError) as exc:
            if handle:
                handle.close()
            if family == socket.AF_INET or exc.errno == errno.EADDRINUSE:
                raise
    return None


class Service:
    def __init__(self, config, listener, node=None):
        self.config, self.listener, self.node = config, listener, node or Node(config)
        self.connections = OrderedDict()      # {number of the handle: Connection}, the oldest first
        self.certificate, self.poll, self.heard = Certificate(config), select.poll(), None
        self.poll.register(listener, select.POLLIN)

    def drop(self, number):
        connection = self.connections.pop(number, None)
        if connection:
            self.forget(number)
            connection.close()

    def forget(self, number):
        try:
            self.poll.unregister(number)
        except (KeyError, ValueError):
            pass

    def accept(self):
        # A flood does not keep those waiting who are connected.
        for dummy in range(64):
            try:
                handle = self.listener.accept()[0]
            except (IOError, OSError):
                return
            handle.setblocking(False)
            now = fuse.clock()
            if self.config['tls']:
                context = self.certificate.current(now)
                try:
                    if context is None:
                        raise ValueError()
                    handle = context.wrap_socket(handle, server_side=True, do_handshake_on_connect=False)
                except (IOError, OSError, ValueError):
                    handle.close()
                    continue
            while len(self.connections) >= CONNECTIONS:
                self.drop(next(iter(self.connections)))
            connection = Connection(handle, now, bool(self.config['tls']))
            self.connections[handle.fileno()] = connection
            self.poll.register(handle.fileno(), select.POLLIN)
            self.step(handle.fileno())

    def step(self, number):
        connection = self.connections.get(number)
        if connection is None:
            return
        try:
            wants = connection.step()
            if wants is None:
                self.answer(number, connection)
            else:
                self.poll.register(number, wants)
        except EOFError:
            self.drop(number)

    def answer(self, number, connection, final=False):
        """At once where what is known is fresh; otherwise with the answer that is on its way."""
        request = connection.request
        if isinstance(request, int):
            connection.output = response('', request, None)
        else:
            method, path, query = request
            more, session = path in EVERYTHING, self.node.session
            if not final and path != '/liveness' and not session.fresh(more):
                waits = session.ask(more)
                self.hear()
                if waits:
                    # Nothing that the client does is of interest meanwhile.
                    self.forget(number)
                    return
            connection.output = response(method, *self.node.answer(path, query))
        self.step(number)

    def hear(self):
        """Listen to the session's psql, whichever that is now."""
        process = self.node.session.process
        handle = process.stdout.fileno() if process else None
        if handle != self.heard:
            if self.heard is not None:
                self.forget(self.heard)
            self.heard = handle
        if handle is not None:
            self.poll.register(handle, select.POLLIN)

    def serve_waiting(self):
        session = self.node.session
        for number, connection in list(self.connections.items()):
            if connection.request is not None and connection.output is None:
                # One that asks for everything waits for the next answer where this one was about less.
                less = connection.request[1] in EVERYTHING and session.core and not session.with_more and not session.late()
                self.answer(number, connection, final=not less)

    def turn(self, seconds=0.25):
        session = self.node.session
        try:
            events = self.poll.poll(int(1000 * min(seconds, 0.05 if session.asked is not None else seconds)))
        except (IOError, OSError, select.error) as exc:
            if exc.args[0] != errno.EINTR:
                raise
            events = []
        for number, dummy in events:
            if number == self.heard:
                done = session.read() if session.process else True
                self.hear()
                if done:
                    self.serve_waiting()
            elif number != self.listener.fileno():
                self.step(number)
        if any(number == self.listener.fileno() for number, dummy in events):
            self.accept()
        if session.hangs():
            session.fail()
            self.hear()
            self.serve_waiting()
        elif session.late():
            self.serve_waiting()
        now = fuse.clock()
        for number, connection in list(self.connections.items()):
            if now - connection.since <= CONNECTION:
                break
            self.drop(number)


def marks(*paths):
    found = []
    for path in paths:
        try:
            seen = os.stat(path)
            found.append((seen.st_ino, seen.st_mtime))
        except (IOError, OSError):
            found.append(None)
    return found


def main():
    watched = (CONFIG, os.path.abspath(sys.argv[0]))
    begun, looked = marks(*watched), fuse.clock()
    with open(CONFIG) as handle:
        config = json.load(handle)
    try:
        listener = listen(config['listen_port'])
    except (IOError, OSError) as exc:
        say('cannot listen on port %d: %s; ends in %d s, and systemd starts it again' % (config['listen_port'], exc, TAKEN))
        time.sleep(TAKEN)
        return 1
    service = Service(config, listener)
    say('answers on port %d, by %s' % (config['listen_port'], 'HTTPS' if config['tls'] else 'HTTP'))
    while True:
        service.turn()
        if fuse.clock() - looked >= 1:
            looked = fuse.clock()
            # A run that was killed before it restarted this program has restarted it all the same: systemd starts it again.
            now = marks(*watched)
            if now != begun and None not in now:
                say('ends, because its program or its configuration is new')
                return 0


if __name__ == '__main__':
    sys.exit(main())
