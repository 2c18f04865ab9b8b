# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions with servers: how they are asked, waited for and given up."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import fcntl
import json
import os
import select
import subprocess

from pgfleet_guard.clock import clock
from pgfleet_guard.processes import let_go
from pgfleet_guard.questions import HOLDER, QUESTION, SPEAK_AS, WORD, literal, session_name
from pgfleet_guard.settings import KEEPALIVES, PATIENCE, REFUSAL

# libpq's own messages for a server that it cannot reach. Here they are in English; messages of a server may not be.
UNREACHED = ('Connection refused', 'No route to host', 'nreachable', 'timed out', 'timeout', 'could not translate', 'reset by peer', 'closed the connection')


class Server:
    """One server: a persistent psql that is queried repeatedly and without blocking."""

    def __init__(self, config, name, conninfo, node_id=None, vote=False, witness=False, purpose='status'):
        self.config, self.name, self.conninfo, self.node_id = config, name, conninfo, node_id
        self.vote, self.witness = vote, witness
        self.purpose = purpose
        self.answer = {}
        self.answered = None      # when the question was asked whose answer came last
        self.whole = None         # ... that was answered to its end
        self.refused = None       # when it last refused a connection
        self.error = ''
        self.process = None
        self.endless = None       # whether the last question of a primary here that it has answered said that this one does not stop
        self._asked = None
        self._script = None
        self._spare = False       # connected by the slots of max_wal_senders, see ended
        self._spared = 0          # since when
        self._begun = None
        self._promise = None
        self._number = 0
        self._buffer = b''
        self._tags = {}

    @property
    def waiting(self):
        return self._asked is not None

    def ask(self, script=QUESTION):
        self._number += 1
        self._asked, self._tags, self._script = clock(), {}, script
        try:
            if self.process is None:
                self._connect()
            self.process.stdin.write(('%s\\echo end %d\n' % (script, self._number)).encode('utf-8'))
            self.process.stdin.flush()
        except (IOError, OSError) as exc:
            self._last_words()
            self.error = self.error or '%s' % exc
            self.close()

    def _last_words(self):
        """Take what a psql that has ended said before: it tells more than a broken pipe."""
        try:
            said = self._buffer + os.read(self.process.stdout.fileno(), 65536)
        except (AttributeError, IOError, OSError):
            return
        for line in said.split(b'\n'):
            self._take(line.decode('utf-8', 'replace'))

    def _connect(self):
        env = dict(os.environ, LC_ALL='C', PGCONNECT_TIMEOUT=str(self.config['connect_timeout']), PGPASSFILE=self.config['passfile'],
                   PGAPPNAME=session_name(self.config, self.purpose),
                   # Under which name the guards of the others log in; here it is the server's own user.
                   PGOPTIONS=(KEEPALIVES if self.purpose in ('start', 'promote') else '') + (
                       '-c client_min_messages=error -c statement_timeout=30s -c lock_timeout=500ms -c pgfleet.login=') + (
                       self.config.get('login') or '').replace('\\', '\\\\').replace(' ', '\\ '))
        self.process = subprocess.Popen(
            [os.path.join(self.config['bin_dir'], 'psql'), '-X', '-A', '-t', '-q', '-w', '-F', '\t', '-d',
             self.conninfo + (' replication=database' if self._spare else '')],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd='/', close_fds=True)
        fcntl.fcntl(self.process.stdout, fcntl.F_SETFL, fcntl.fcntl(self.process.stdout, fcntl.F_GETFL) | os.O_NONBLOCK)
        self._buffer, self.error = b'', ''

    def read(self):
        try:
            data = os.read(self.process.stdout.fileno(), 65536)
        except OSError as exc:
            if exc.errno in (errno.EAGAIN, errno.EINTR):
                return
            data = b''
        if not data:
            self.ended()
            return
        lines = (self._buffer + data).split(b'\n')
        self._buffer = lines.pop()
        for line in lines:
            self._take(line.decode('utf-8', 'replace'))

    def _take(self, line):
        tag, tab, value = line.partition('\t')
        if tab:
            try:
                self._tags[tag] = json.loads(value)
            except ValueError:
                pass
            else:
                if tag == 'core':
                    # It is in sight, whatever becomes of the rest; of which the last word stands until then.
                    self.answer, self.answered = dict(self.answer, **self._tags[tag]), self._asked
                return
        if line == 'end %d' % self._number:
            if 'core' in self._tags:
                self.answer = merged(self._tags)
                self.whole = self._asked
                self.answered = self._asked
                self.endless = self._promise
            elif 'lock' in self._tags:
                self.answer = dict(self.answer, lock=self._tags['lock'], holder=self._tags.get('holder'))
                self.answered = self._asked
            self._asked = None
        elif line.strip():
            self.error = line.strip()[:300]

    def ended(self):
        """psql has ended by itself. If a peer refused a new connection immediately, it is queried again over a replication connection: clients may have taken
        all regular connections, and such a server would count as unreachable for everybody. A WAL sender that is connected to a database answers SQL like
        any other session, and has connection slots of its own (max_wal_senders, PostgreSQL 12 and later).
        """
        asked, script, number, spare = self._asked, self._script, self._number, self._spare
        self.close()
        # Without any answer, libpq would have given up later.
        at_once = asked is not None and clock() - asked < self.config['connect_timeout'] / 2.0
        if at_once and number == 1 and not spare and self.node_id != self.config.get('node_id') and not any(word in self.error for word in UNREACHED):
            self._spare, self._spared = True, clock()
            self.ask(script)
            if self.waiting:
                self._asked = asked

    def close(self):
        """Close the connection. A psql that hangs in a dead network does not end by itself."""
        if self._number > 1 and self._asked is not None:
            # It worked until now: perhaps the server has only restarted.
            self._begun = None
        elif self._asked is not None and clock() - self._asked < REFUSAL:
            self.refused = clock()
        self._asked = None
        process, self.process = self.process, None
        self._spare = False
        if process is None:
            return
        self._number = 0
        for stream in (process.stdin, process.stdout):
            try:
                stream.close()
            except (IOError, OSError):
                pass
        let_go(process)

    def seen(self, seconds, since=None):
        """Whether it has answered a query that is not older than this; `since`, the time from which it could answer, counts like an answer."""
        moments = [moment for moment in (self.answered, since) if moment is not None]
        return bool(moments) and clock() - max(moments) <= seconds

    def ask_again(self):
        self._begun = None

    def tick(self, interval, patience, word=None):
        """Called often: send a query when it is due, and give up one without an answer. word: the promise of a running primary."""
        now = clock()
        if self._asked is not None and now - self._asked > patience:
            self.error = 'no answer within %d s' % patience
            self.close()
        if self._spare and self._asked is None and now - self._spared >= PATIENCE:
            # While it is open, it is a row in pg_stat_replication.
            self.close()
            self._begun = None
        if self._asked is None and (self._begun is None or now - self._begun >= interval):
            self._begun = now
            self._promise = None if word is None else word['lease'] is None
            script = SPEAK_AS % literal(session_name(self.config, 'watch' if word is None else 'primary')) + QUESTION
            self.ask(script if word is None else script + HOLDER + WORD % json.dumps(word, sort_keys=True))


def merged(tags):
    """One answer, merged from the parts that were received."""
    answer = dict(tags['core'])
    for tag in ('repmgrd', 'nodes'):
        answer.update(tags.get(tag) or {})
    answer.update((tag, tags[tag]) for tag in ('holder', 'voted') if tag in tags)
    # A diverged standby has the history file of a timeline that it cannot follow: it knows that timeline (newest), but is not on it. The file at its
    # received position has the timeline on which it received that WAL.
    known = tags.get('history') or {}
    if answer.get('timeline'):
        answer['timeline'] = max(known.get('reached') or 0, answer['timeline'])
        answer['newest'] = max(known.get('history') or 0, answer['timeline'])
    return answer


def pump(servers, seconds):
    """Read all answers that arrive within this time; return as soon as no query is pending."""
    deadline = clock() + seconds
    while True:
        handles = dict((server.process.stdout.fileno(), server) for server in servers if server.process is not None and server.waiting)
        left = deadline - clock()
        if not handles or left <= 0:
            return
        try:
            ready = select.select(list(handles), [], [], left)[0]
        except select.error as exc:
            if exc.args[0] != errno.EINTR:
                raise
            continue
        for handle in ready:
            handles[handle].read()


def ask_all(servers, seconds, script=QUESTION, enough=None):
    """Query all servers in parallel. After 0.5 s, wait only until `enough()` is true or `seconds` have passed."""
    for server in servers:
        server.ask(script)
    deadline = clock() + seconds
    pump(servers, 0.5 if enough else seconds)
    while enough and not enough() and clock() < deadline and any(server.waiting for server in servers):
        pump(servers, 0.1)
    for server in servers:
        if server.waiting:
            server.error = 'no answer within %d s' % seconds
            server.close()
