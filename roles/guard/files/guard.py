# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr-guard: no second primary.

repmgr elects a new primary, but nothing keeps the old one from writing on. This program does, on every node with data:

  repmgr-guard start                 before the server starts (systemd): may it start as what its data directory says?
  repmgr-guard promote [-- COMMAND]  before a promotion (failover_validation_command, promote_command): is it safe?
  repmgr-guard promote-by-hand -- COMMAND
                                     before a promotion that an operator has decided: is there still no primary, and is nobody about to become one?
  repmgr-guard primary-is-dead NAME  the word of an operator that a primary which was paused does not run: it is not waited for any more
  repmgr-guard watch                 all the time (systemd): stops a primary that the others may replace, starts a crashed one again,
                                     makes one that was replaced a standby, and holds an election that repmgr gave up
  repmgr-guard status                what each of them would answer now

Why it is enough. Every node with data has a vote; a witness has one where they are even in number. A promotion needs a majority of
votes in sight, none of which has seen the primary, or been asked by the primary's guard, for a while (the lease), and a lock on each. A
primary that cannot see enough votes to rule such a majority out stops before the lease ends, by itself and without waiting for anybody;
whom it sees, it has asked, so that the two exclude each other whatever repmgrd knows. A start needs the same sight, and the same lock for
its first seconds; so a start and a promotion that come at the same time exclude each other.

Standard library only, Python 2.7 and 3. Everything it knows is in one file: /etc/pgfleet/guard.json (units: seconds).
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import fcntl
import grp
import json
import os
import pwd
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

try:
    from shlex import quote
except ImportError:  # Python 2.7
    from pipes import quote

CONFIG = '/etc/pgfleet/guard.json'
# "repm" "guar": an advisory lock in repmgr's database.
LOCK = (1919250541, 1735745906)
# How long a start keeps promotions away when nobody is left to tell that it went well.
START_LEASE = 15
# A server that works, and takes no connections (it recovers, or has no slot free), says so within this time.
REFUSAL = 0.5
# How long a server that has just started is given to be seen again; well within that lease.
BLIND = 10
# What `repmgr standby follow` may take: it waits for less.
FOLLOW_LIMIT = 120
# How long a node that lacks WAL for another one leaves an election to a node that keeps it.
DEFERENCE = 30
# After 100 s a lock is free whose holder has lost power: idle, a session would be kept for two hours. Not sooner: in a cut a candidate may be on its way, and
# what a running primary has asked is not missed before the others have elected.
KEEPALIVES = '-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=4 '
# How long repmgrd is given to let its standby follow a new primary.
LEFT_BEHIND = 30
# A server that needs to be started again sooner than this is left to a failover.
PATIENCE = 60
# How long after its promotion a server is given to be registered as primary by whoever has promoted it.
SETTLED = 10
# How long a primary, of which somebody knows another one, gives all others to answer once more.
SECOND_LOOK = 1
# A connection whose last question is by so much older than the newest one is another connection; less is a matter of how fast an answer came.
LEFT_OVER = 5
# What a promotion waits beyond the time after which an isolated primary has begun to stop.
STOP_MARGIN = 3
# What the fuse (fuse.py) waits beyond that time: the guard has had its second to stop the server by then, one that was killed has had the time to
# start again and to see its peers (docs/guard.md, "The fuse"), and the last second before a promotion is left for the fuse's own work.
FUSE = 2
# How long a guard that starts gives its peers to answer, however long nobody has looked.
LOOK = 1.5
# How long the watch waits for a program that mostly ends at once: of what the fuse leaves it that is little in every profile.
SOON = 0.25
# How long a repmgrd that runs has to tell its server so. One that is started does it at once.
UNANNOUNCED = 10
# How long it waits for pg_controldata, which reads one block of a disk.
READS = 1
# A checkpoint of a new primary takes as long as what it has to write.
CHECKPOINT_LIMIT = 60
PID_FILE = '/run/postgresql/repmgr-guard.pid'
# As fuse.py writes it.
FUSE_PID_FILE = '/run/postgresql/repmgr-guard-fuse.pid'
# Exists while the server is down because the guard has stopped it; says why, see stop_now.
STOPPED_FILE = '/run/postgresql/repmgr-guard.stopped'
# The names of the slots that this guard keeps for the other members.
SLOTS_FILE = '/run/postgresql/repmgr-guard.slots'
# What the fuse, and a guard that starts, go by; see Watch.stamp.
SIGHT_FILE = '/run/postgresql/repmgr-guard.sight'
# Locked by the promotion that is at work on this host.
PROMOTE_FILE = '/run/postgresql/repmgr-guard.promote'
# {primary: when an operator has said that it does not run}, see primary_is_dead.
DEAD_FILE = '/run/postgresql/repmgr-guard.dead'
# Beside the state file; see is_restoring.
RESTORING = '.restoring'
# What makes a server recover before it takes writes: as a standby, or from an archive until it promotes itself (is_standby).
SIGNALS = ('standby.signal', 'recovery.signal', 'recovery.conf')
# Read by units whose main process is the server; see start-hook.conf.j2.
ENVIRONMENT_FILE = '/run/postgresql/repmgr-guard.env'

# A standby's control data follow at the next restartpoint only; a history file is there as soon as it follows a newer timeline. In a statement of
# its own, like whatever else may fail: a peer that answers the first one is in sight. Under a lock on repmgr.nodes the last one ends by lock_timeout.
# Until a standby that has started has replayed all WAL that it had, and asks for more for the first time, it does not say what it has received: what it
# tells (lsn) is less. It asks also where its upstream is gone (RequestXLogStreaming in walreceiverfuncs.c, the same from 12 to 17).
_QUESTION = r"""
SELECT 'core', row_to_json(t) FROM (SELECT
  pg_catalog.pg_is_in_recovery() AS in_recovery,
  current_setting('server_version_num')::int AS version,
  (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system,
  greatest(
    (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
    (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()),
    (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming'),
    CASE WHEN NOT pg_catalog.pg_is_in_recovery()
      THEN ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END) AS timeline,
  (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()) AS checkpoint_timeline,
  pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()
    THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
    ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')::bigint AS lsn,
  CASE WHEN pg_catalog.pg_is_in_recovery() AND NOT pg_catalog.pg_is_wal_replay_paused() AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_stat_activity WHERE backend_type = 'startup' AND wait_event NOT IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream'))
    THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::bigint END AS replayed,
  pg_catalog.pg_is_in_recovery() AND pg_catalog.pg_last_wal_receive_lsn() IS NULL AS replaying,
  coalesce((SELECT status = 'streaming' FROM pg_catalog.pg_stat_wal_receiver), false) AS receiving,
  current_setting('track_activities') = 'on' AS tracks,
  (SELECT extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float8 FROM pg_catalog.pg_stat_wal_receiver) AS silence,
  extract(epoch FROM clock_timestamp() - pg_catalog.pg_postmaster_start_time())::float8 AS uptime,
  (SELECT json_build_array(substr(application_name, 22), extract(epoch FROM clock_timestamp() - greatest(query_start, state_change))::float8,
      substring(query FROM 'pgfleet ([{][^'']*)'))
    FROM pg_catalog.pg_stat_activity p WHERE application_name LIKE 'repmgr-guard primary %'
      AND usename = coalesce(nullif(current_setting('pgfleet.login', true), ''), current_user)
      AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity w WHERE w.application_name LIKE 'repmgr-guard watch %' AND w.usename = p.usename
        AND substr(w.application_name, 20, 42) = substr(p.application_name, 22)
        AND greatest(w.query_start, w.state_change) > greatest(p.query_start, p.state_change))
    ORDER BY greatest(query_start, state_change) DESC NULLS FIRST LIMIT 1) AS asked,
  (SELECT json_agg(substr(application_name, 20)) FROM pg_catalog.pg_stat_activity WHERE application_name LIKE 'repmgr-guard watch %'
      AND usename = coalesce(nullif(current_setting('pgfleet.login', true), ''), current_user)) AS watchers) t;
SELECT 'history', row_to_json(t) FROM (SELECT
  max(CASE WHEN f.name ~ '^[0-9A-F]{8}[.]history$' THEN ('x' || substr(f.name, 1, 8))::bit(32)::int END) AS history,
  max(CASE WHEN f.name ~ '^[0-9A-F]{24}$' THEN CASE WHEN i.reached / i.segment
    = ('x' || substr(f.name, 9, 8))::bit(32)::bigint * (4294967296 / i.segment) + ('x' || substr(f.name, 17, 8))::bit(32)::bigint
    THEN ('x' || substr(f.name, 1, 8))::bit(32)::int END END) AS reached
  FROM pg_catalog.pg_ls_waldir() f, (SELECT bytes_per_wal_segment::bigint AS segment, pg_catalog.pg_wal_lsn_diff(
      greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()), '0/1')::bigint AS reached FROM pg_catalog.pg_control_init()) i
  WHERE pg_catalog.pg_is_in_recovery()) t;
SELECT 'voted', to_json(coalesce(max(slot_name::text), '')) FROM pg_catalog.pg_replication_slots WHERE slot_name LIKE 'pgfleet\_vote\_%';
SELECT 'repmgrd', row_to_json(t) FROM (SELECT
  nullif(repmgr.get_upstream_last_seen(), -1) AS last_seen,
  nullif(repmgr.get_upstream_node_id(), -1) AS upstream,
  nullif(repmgr.get_new_primary(), -1) AS notified,
  repmgr.repmgrd_is_running() AS repmgrd,
  repmgr.repmgrd_is_paused() AS paused) t;
SELECT 'nodes', row_to_json(t) FROM (SELECT
  (SELECT n.node_id FROM repmgr.nodes n WHERE n.type = 'primary' AND n.active LIMIT 1) AS primary_id,
  (SELECT array_agg(n.node_id) FROM repmgr.nodes n WHERE n.type <> 'witness') AS registered,
  (SELECT json_object_agg(n.node_id, n.priority) FROM repmgr.nodes n) AS priorities,
  (SELECT json_object_agg(n.node_id, n.upstream_node_id) FROM repmgr.nodes n) AS upstreams,
  (SELECT array_agg(n.node_id) FROM repmgr.nodes n JOIN repmgr.nodes p ON p.type = 'primary' AND p.active
    WHERE n.type = 'witness' AND n.upstream_node_id IS DISTINCT FROM p.node_id) AS strays,
  (SELECT json_object_agg(n.node_id, pg_catalog.pg_wal_lsn_diff(least(s.restart_lsn, k.redo_lsn), '0/0')::bigint)
    FROM repmgr.nodes n CROSS JOIN pg_catalog.pg_control_checkpoint() k LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = n.slot_name
    WHERE n.type <> 'witness') AS keeps) t;
"""

# Under this name a peer knows who asks, and remembers when: one that a running primary has just asked is in its sight.
_SPEAK_AS = 'SET application_name = %s;'

_HOLDER = r"""
SELECT 'holder', to_json((SELECT a.application_name FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
  WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %d AND l.objid = %d LIMIT 1));
""" % LOCK

_TRY_LOCK = r"""
SELECT pg_catalog.pg_sleep(0.2) FROM (SELECT count(pg_catalog.pg_terminate_backend(pid)) AS ended FROM pg_catalog.pg_stat_activity
  WHERE application_name = left(current_setting('application_name'), 63) AND pid <> pg_catalog.pg_backend_pid()) t WHERE ended > 0;
SELECT 'lock', to_json(pg_catalog.pg_try_advisory_lock(%d, %d));
""" % LOCK + _HOLDER

# What a running primary promises with each question, see Watch.word. It is the last statement, whose text pg_stat_activity keeps and shows to those who ask
# that server next; the application_name has no room for it.
_WORD = """
SELECT 'word', to_json('pgfleet %s'::text);
"""

# A vote outlives the connection that it was given through, and a restart: it is an empty slot, which may be made on a standby, too, and keeps no WAL.
# There is room for it where the slots for members have left it (_RETAIN). The name sorts by timeline.
_VOTE = r"""
SELECT 'withdrawn', count(pg_catalog.pg_drop_replication_slot(slot_name)) FROM pg_catalog.pg_replication_slots
  WHERE slot_name LIKE 'pgfleet\_vote\_%%' AND slot_name <> %s AND NOT active;
SELECT 'vote', count(pg_catalog.pg_create_physical_replication_slot(name)) FROM (SELECT %s::name AS name) t
  WHERE name <> '' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = name);
"""

_RELEASE = r"""
SELECT 'released', count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
  WHERE application_name = %s;
"""

# Waits neither for a standby that should confirm it nor for whoever else registers something: the watch must not stand still.
_ADOPT = r"""
BEGIN;
SET LOCAL synchronous_commit = local;
SET LOCAL lock_timeout = '300ms';
UPDATE repmgr.nodes SET upstream_node_id = %d WHERE node_id = %d AND type = 'witness';
COMMIT;
"""

_FORGET = """
SELECT 'forgotten', to_json(true) FROM repmgr.reset_voting_status();
"""
_NOTIFY = """
SELECT 'notified', to_json(true) FROM repmgr.notify_follow_primary(%d);
"""
# What libpq itself says of a server that it has not reached: in English here, unlike what a server says.
UNREACHED = ('Connection refused', 'No route to host', 'nreachable', 'timed out', 'timeout', 'could not translate', 'reset by peer', 'closed the connection')
# What a notification is sent, and served, within; in seconds.
SERVED = 5


def clock():
    """Seconds since the host's boot, in which it was suspended included. No change of the wall clock moves it. The same as in fuse.py."""
    if hasattr(time, 'clock_gettime'):
        return time.clock_gettime(7)  # CLOCK_BOOTTIME; Python has the name since 3.7.
    with open('/proc/uptime') as handle:
        return float(handle.read().split()[0])


def boot():
    """Tells this boot, of a container too, from any other. The same as in fuse.py."""
    with open('/proc/sys/kernel/random/boot_id') as handle:
        found = handle.read().strip()
    try:
        # A container knows the boot of its host.
        with open('/proc/1/stat') as handle:
            return '%s %s' % (found, handle.read().rpartition(')')[2].split()[19])
    except (IOError, OSError):
        # Hidden (hidepid).
        return found


def say(text):
    print(text)
    sys.stdout.flush()


# Why something is not done, or why a server is stopped. Decisions go by the code, and the text is for people; peers: names.
Problem = namedtuple('Problem', 'code text peers')


def next_command(playbook, target='', way='', dead=''):
    """What somebody types next; the name of the collection is valid in a checkout, too."""
    options = (('repmgr_target', target), ('repmgr_rejoin', way), ('repmgr_primary_is_dead', dead))
    # ansible-playbook splits NAME=VALUE at blanks and quotes once more, after the shell has.
    return ' '.join(['ansible-playbook pgfleet.repmgr.%s' % playbook] + [
        '-e ' + ('%s=%s' % (name, value) if quote(value) == value else quote(json.dumps({name: value}))) for name, value in options if value])


def upstream_conninfo(config, conninfo):
    """primary_conninfo of this node below a peer that is reached by that."""
    more = [('application_name', config['name'])] + ([('passfile', config['passfile'])] if config['passfile'] else [])
    # Of a keyword that is there twice libpq takes the last.
    return ' '.join([conninfo] + ["%s='%s'" % (keyword, value.replace('\\', '\\\\').replace("'", "\\'")) for keyword, value in more])


def session_name(config, purpose):
    """The application_name of this node's sessions: unique, and no longer and in no other characters than PostgreSQL keeps."""
    text = ''.join(char if ' ' <= char <= '~' else '?' for char in 'repmgr-guard %s %s' % (purpose, config['name']))
    end = '~%s' % config.get('node_id', '')
    return text if len(text) <= 63 and '?' not in text else text[:63 - len(end)] + end


def vote_name(timeline, node_id):
    """The slot that says that this node was to be promoted to that timeline."""
    return 'pgfleet_vote_%010d_%d' % (timeline, node_id)


def voted(answer):
    """(timeline, node id) of the last promotion that a server has voted for, or (0, None)."""
    found = re.match('pgfleet_vote_([0-9]+)_([0-9]+)$', answer.get('voted') or '')
    return (int(found.group(1)), int(found.group(2))) if found else (0, None)


def literal(text):
    """As SQL."""
    return "'%s'" % text.replace("'", "''")


# -- what is asked of servers -------------------------------------------------------------------------

class Server:
    """One server: a psql that stays connected, asked again and again and never waited for."""

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

    def ask(self, script=_QUESTION):
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
        """psql has ended by itself. Where a peer has refused a new connection at once, it is asked the same over one of another kind: all that clients may
        take can be taken, and a server without a free one would be a vote out of sight for everybody. A WAL sender that is connected to a database
        answers SQL like any other session, and has slots of its own (max_wal_senders, PostgreSQL 12 and later).
        """
        asked, script, number, spare = self._asked, self._script, self._number, self._spare
        self.close()
        # libpq gives up later than that what nobody answers.
        at_once = asked is not None and clock() - asked < self.config['connect_timeout'] / 2.0
        if at_once and number == 1 and not spare and self.node_id != self.config.get('node_id') and not any(word in self.error for word in UNREACHED):
            self._spare, self._spared = True, clock()
            self.ask(script)
            if self.waiting:
                self._asked = asked

    def close(self):
        """Ends the connection. A psql that hangs in a dead network does not end by itself."""
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
        """Whether it has answered a question that was asked no longer ago; before it could (since), it counts as seen."""
        moments = [moment for moment in (self.answered, since) if moment is not None]
        return bool(moments) and clock() - max(moments) <= seconds

    def ask_again(self):
        self._begun = None

    def tick(self, interval, patience, word=None):
        """Called often: asks when it is time, gives a question up that nobody answers. word: that of a running primary."""
        now = clock()
        if self._asked is not None and now - self._asked > patience:
            self.error = 'no answer within %d s' % patience
            self.close()
        if self._spare and self._asked is None and now - self._spared >= PATIENCE:
            # It is a row of pg_stat_replication for as long as it lasts.
            self.close()
            self._begun = None
        if self._asked is None and (self._begun is None or now - self._begun >= interval):
            self._begun = now
            self._promise = None if word is None else word['lease'] is None
            script = _SPEAK_AS % literal(session_name(self.config, 'watch' if word is None else 'primary')) + _QUESTION
            self.ask(script if word is None else script + _HOLDER + _WORD % json.dumps(word, sort_keys=True))


def merged(tags):
    """One answer of the parts that came."""
    answer = dict(tags['core'])
    for tag in ('repmgrd', 'nodes'):
        answer.update(tags.get(tag) or {})
    answer.update((tag, tags[tag]) for tag in ('holder', 'voted') if tag in tags)
    # A standby that has diverged has the history file of a timeline that it cannot follow: it knows of that one (newest), and has nothing of it. Where it
    # has received to, it has a file of the timeline that it has come there on.
    known = tags.get('history') or {}
    if answer.get('timeline'):
        answer['timeline'] = max(known.get('reached') or 0, answer['timeline'])
        answer['newest'] = max(known.get('history') or 0, answer['timeline'])
    return answer


def pump(servers, seconds):
    """Read what comes within that time; ends early when nobody is waited for."""
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


def ask_all(servers, seconds, script=_QUESTION, enough=None):
    """All at once. Whoever is not needed for the decision (enough) is waited for no longer than half a second."""
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


def let_go(process):
    """Ends a process, and does not wait for that: one that reads from a disk that hangs does not end before it comes back from there. The next one that is
    started here takes it out of the table of processes (subprocess does so by itself).
    """
    try:
        process.kill()
    except OSError:
        pass
    process.poll()


def outcome(process, seconds):
    """Its exit code; None where it does not end within that time."""
    deadline = clock() + seconds
    while process.poll() is None and clock() < deadline:
        time.sleep(0.02)
    return process.poll()


def hold(servers, seconds):
    """Keeps the locks that they have given, also after this program ends: a server notices so late that a client is gone."""
    for server in servers:
        try:
            server.process.stdin.write(('SELECT pg_catalog.pg_sleep(%d);\n' % seconds).encode('utf-8'))
            server.process.stdin.flush()
        except (AttributeError, IOError, OSError):
            pass
    # Each psql has to read it first.
    time.sleep(0.2 if servers else 0)


# -- what is so on this host --------------------------------------------------------------------------

def read_config(path=CONFIG):
    with open(path) as handle:
        return json.load(handle)


def peers_of(config, purpose):
    return [Server(config, peer['name'], peer['conninfo'], peer['node_id'], peer['vote'], peer['witness'], purpose) for peer in config['peers']]


def local_of(config, purpose):
    return Server(config, config['name'], 'port=%d dbname=%s user=%s' % (config['port'], config['database'], config['user']),
                  config['node_id'], True, False, purpose)


def data_is(directory):
    """What the server would start as: 'nothing', 'standby' or 'primary', which one is, too, that recovers from an archive first."""
    if not os.path.exists(os.path.join(directory, 'PG_VERSION')):
        return 'nothing'
    return 'standby' if is_standby(directory) else 'primary'


def is_standby(directory, aside=''):
    """Whether a server on this directory recovers until somebody promotes it. With recovery.signal alone, or a recovery.conf without standby_mode (before
    PostgreSQL 12), it recovers from an archive, and promotes itself when that is done. The same as in plugins/module_utils/_data_directory.py.
    """
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            old = int(handle.read().split('.')[0]) < 12
    except (IOError, OSError, ValueError):
        old = False
    if not old and os.path.exists(os.path.join(directory, 'standby.signal' + aside)):
        return True
    try:
        with open(os.path.join(directory, 'recovery.conf' + aside), 'rb') as handle:
            found = re.findall(br"(?im)^[ \t]*standby_mode[ \t]*=?[ \t]*'?[ \t]*([a-z0-9]+)", handle.read())
    except (IOError, OSError):
        return False
    # As PostgreSQL reads it: the last one counts, and a word may be shortened as long as it is one.
    word = found[-1].lower() if found else b''
    return word in (b'1', b'on') or word != b'' and (b'true'.startswith(word) or b'yes'.startswith(word))


def left_over(directory, pid, uptime):
    """The path of a recovery.signal that was there when the server on this directory was started, and that its promotion has not removed; else None.

    Where both files are there PostgreSQL takes standby.signal, and a promotion removes that alone (12 to 17). The next start, after a crash say, would recover
    from an archive, or end at once where there is none. One that was put there since is somebody's, who knows for which start.

    pid, uptime: of the server that has said that it takes writes. One that was started since, for a restore say, may have its own there.
    """
    path = os.path.join(directory, 'recovery.signal')
    try:
        with open(os.path.join(directory, 'postmaster.pid')) as handle:
            words = handle.read().split('\n')
        begun, now = int(words[2]), time.time()
        # Whole seconds. Where the wall clock was set back since nothing can be compared with the file's date.
        same = int(words[0]) == pid and begun <= now and uptime is not None and now - uptime >= begun - 1
        # By the change of the inode: a restored file may have any date.
        return path if same and not is_standby(directory) and os.stat(path).st_ctime < begun + 1 else None
    except (IOError, OSError, ValueError, IndexError):
        return None


def promotes_itself(directory):
    """Whether a server on this directory recovers, and then promotes itself: data that somebody restores."""
    return not is_standby(directory) and any(os.path.exists(os.path.join(directory, name)) for name in SIGNALS)


def claim(directory, control, state):
    """The timeline that a server which would start as a primary is to be measured by.

    Its own; what a rewind that was cut short has copied of history files does not count. Data that are restored are older than what they come to: there it
    counts also on which timeline this node was primary last, of which the guard's file tells.
    """
    timeline = own_timeline(control)
    return max(timeline, (state['reign'] or {}).get('timeline') or 0) if promotes_itself(directory) else timeline


def put_signals_back(directory):
    """A run of the collection that recovers a standby as a single user has moved its signal file aside, and may have been ended before it put it back. The
    same as in plugins/module_utils/_service.py.
    """
    left = [path for path in (os.path.join(directory, name) for name in SIGNALS) if os.path.exists(path + '.aside')]
    stays_one = is_standby(directory)
    for path in left:
        if stays_one:
            # Of an earlier rejoin, which has made it a standby since.
            os.unlink(path + '.aside')
        else:
            os.rename(path + '.aside', path)
            say('%s was moved aside by a rejoin that did not come to its end: is there again, and what starts is %s' % (path, starts_as(directory)))


def lost_its_signal(control, directory, restores=False):
    """Whether a server on this directory was a candidate that was killed while it was promoted: after its signal file was removed, and before it came on a
    timeline of its own. PostgreSQL removes the file first, and writes the history of the new timeline and its first record after that (12 to 17; before 12
    it renames recovery.conf).

    Started as it is it would go on as primary on the timeline on which it was a standby. What the old primary has written there beyond that no comparison
    of timelines tells from what is written here now, nor does pg_rewind. Nor may it be recovered before it is rewound: the checkpoint of that is beyond what
    it has received, and pg_rewind does not look for it where the new primary had received more. It is the standby again that it was: nobody has had an
    answer from it as primary.

    restores: whether what ran here last was data that somebody restores (is_restoring). Those end their recovery by a whole checkpoint on their new timeline;
    during that they look the same, and would go on as a standby beyond their recovery target. After it no timeline is left to come to, which a standby has
    always.
    """
    if restores or control.get('Database cluster state') != 'in archive recovery' or data_is(directory) != 'primary' or promotes_itself(directory):
        return False
    checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    if reached == '0':
        return False
    # A new timeline is in its control data as soon as its first record is. One that it had followed before its last restartpoint looks the same, unless it has
    # the history of a newer one.
    same = not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    # Of what pg_rewind has written, or a copy, the rest is up to whoever has begun that.
    begun = any(os.path.exists(os.path.join(directory, name + '.new')) for name in ('standby.signal', 'recovery.conf'))
    return (same or begun or newest_history(directory) > own_timeline(control)) and not os.path.exists(os.path.join(directory, 'backup_label'))


def make_standby(directory, control):
    """Give the signal file back to it, and take away what the promotion has begun, which PostgreSQL never finds on a standby.

    In the order that a kill in the middle does no harm: with the new file there lost_its_signal knows the rest of it.
    """
    if 0 < major_version(directory) < 12:
        done, signal_file = [os.path.join(directory, name) for name in ('recovery.done', 'recovery.conf')]
        if not os.path.exists(signal_file + '.new'):
            os.rename(done, signal_file + '.new')
    else:
        signal_file = os.path.join(directory, 'standby.signal')
        with open(signal_file + '.new', 'w') as handle:
            os.fsync(handle.fileno())
    keep_names(directory)
    forget_promotion(directory, own_timeline(control))
    os.rename(signal_file + '.new', signal_file)
    keep_names(directory)
    say('was killed while it was promoted, before it had a timeline of its own: is the standby again that it was (%s)' % directory)


def keep_names(directory):
    """What was made, renamed or removed there is so after a power failure, too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def forget_promotion(directory, timeline):
    """Remove the timeline that a promotion has begun, and that nobody is on: its history, its segment, and that those are to be archived.

    A standby would take it for the newest one and wait for ever, or diverge, because a history that is there is not fetched; and others that are told of it
    would not start. timeline: the newest in the control data. Before it removes the signal file a promotion makes the first segment of its timeline, the
    one after the newest history, and nothing makes another before the server takes writes. So it is the newest of which there is a segment; one with
    more segments is another's, and what was received of that may be nowhere else.
    """
    folder = os.path.join(directory, 'pg_wal')
    status = os.path.join(folder, 'archive_status')
    names = os.listdir(folder)
    numbers = [int(name[:8], 16) for name in names if re.match('[0-9A-F]{24}$', name)]
    newest_one = max(numbers or [0])
    if newest_one <= timeline or numbers.count(newest_one) != 1 or newest_history(directory) > newest_one:
        return
    found = re.compile('%08X([0-9A-F]{16}([.]partial)?|[.]history)([.]ready|[.]done)?$' % newest_one)
    # The segment last: by it the rest is found once more.
    for path in [os.path.join(place, name) for place in (status, folder) if os.path.isdir(place)
                 for name in sorted(os.listdir(place)) if found.match(name)]:
        os.unlink(path)
        keep_names(os.path.dirname(path))
        say('removes %s, which a promotion has left that did not come to its end' % path)


def starts_as(directory):
    """data_is in words."""
    return data_is(directory) + (', which recovers from an archive first and then promotes itself' if promotes_itself(directory) else '')


def named_pid(directory):
    """(process id, whether it is that of a server for a single user, whose number stands there as a negative one)."""
    with open(os.path.join(directory, 'postmaster.pid')) as handle:
        number = int(handle.readline())
    return abs(number), number < 0


def postmaster(directory):
    """Process id of the server that runs on this directory, or None. One for a single user, whom nobody connects to, is none (occupied)."""
    pid, single = owner(directory)
    return None if single else pid


def occupied(directory):
    """Whether a server for a single user is at work on this directory. It is waited for: nothing else may change the data meanwhile."""
    return owner(directory)[1]


def owner(directory):
    """(the process whose data directory this is, whether it is a server for a single user), or (None, False).

    After a crash of the host the number in postmaster.pid may be anybody's, also another cluster's server: a server's working directory
    is its data directory.
    """
    try:
        pid, single = named_pid(directory)
        with open('/proc/%d/cmdline' % pid, 'rb') as handle:
            program = os.path.basename(handle.read().split(b'\0')[0])
        runs = program in (b'postgres', b'postmaster') and os.readlink('/proc/%d/cwd' % pid) == os.path.realpath(directory)
        return (pid, single) if runs else (None, False)
    except (IOError, OSError, ValueError):
        return None, False


_reading = []


def control_data(config, seconds=None):
    """{label: value} as pg_controldata prints it; empty where it does not, or not within that time: as long as one that was given up has not come back from its
    disk no other is started.
    """
    if seconds is not None:
        _reading[:] = [process for process in _reading if process.poll() is None]
        if _reading:
            return {}
    process = subprocess.Popen([os.path.join(config['bin_dir'], 'pg_controldata'), '-D', config['data_directory']],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL='C'))
    # What it prints has room in the pipe.
    if seconds is not None and outcome(process, seconds) is None:
        process.stdout.close()
        let_go(process)
        _reading.append(process)
        return {}
    lines = process.communicate()[0].decode('utf-8', 'replace').splitlines()
    return dict((label.strip(), value.strip()) for label, dummy, value in (line.partition(':') for line in lines)) if process.returncode == 0 else {}


def own_timeline(control, directory=''):
    """The newest that the data directory knows: its control data follow a promotion at the next checkpoint only, a history file is written first."""
    numbers = [control.get(label, '0') for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    return max([int(number) for number in numbers if number.isdigit()] + [newest_history(directory)])


def newest_history(directory):
    try:
        names = os.listdir(os.path.join(directory, 'pg_wal'))
    except (IOError, OSError):
        return 0
    return max([0] + [int(name[:8], 16) for name in names if re.match('[0-9A-F]{8}[.]history$', name)])


def read_state(config):
    """What this node's guard has to know beyond a restart of its own and of the host.

    armed: it has seen a majority of votes once. primary: the node that was registered as primary when this one was a standby.
    reign: what is known since this node became primary, see Watch.remember; {'timeline', 'replaced', 'followed', 'limited'}. asked: see Memory.
    """
    empty = {'cluster': config.get('cluster'), 'node_id': config.get('node_id'), 'armed': False, 'primary': None, 'reign': None, 'asked': {}}
    try:
        with open(config['state']) as handle:
            found = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return empty
    # It may be of a time when this host was another node.
    same = isinstance(found, dict) and all(found.get(key) == empty[key] for key in ('cluster', 'node_id'))
    return dict(empty, **found) if same else empty


def write_state(config, state):
    path = config.get('state')
    if not path:
        return
    try:
        with open(path + '.new', 'w') as handle:
            json.dump(state, handle, sort_keys=True)
            handle.flush()
            # Empty after a power failure, it would say that this guard was never armed, and has replaced nobody.
            os.fsync(handle.fileno())
        os.rename(path + '.new', path)
    except (IOError, OSError) as exc:
        say('%s cannot be written: %s' % (path, exc))


def is_restoring(config):
    """Whether the data here are those that somebody has begun to restore, and that have not come to an end of it that anybody has seen (promotes_itself). The
    signal file tells only until that end begins.
    """
    return bool(config.get('state')) and os.path.exists(config['state'] + RESTORING)


def keep_restoring(config, restores):
    """In a file of its own: the start hook writes it, too."""
    if not config.get('state') or is_restoring(config) == restores:
        return
    try:
        if restores:
            with open(config['state'] + RESTORING, 'w') as handle:
                os.fsync(handle.fileno())
        else:
            os.unlink(config['state'] + RESTORING)
    except (IOError, OSError) as exc:
        say('%s cannot be %s: %s' % (config['state'] + RESTORING, 'written' if restores else 'removed', exc))


def read_stamp(config):
    """What this node's guard has told the fuse last, in this boot; or None. See Watch.stamp."""
    try:
        with open(SIGHT_FILE) as handle:
            found = json.load(handle)
        same = found['boot'] == boot() and all(found[key] == config.get(key) for key in ('cluster', 'node_id'))
        return found if same and 'limit' in found and 0 <= found['sight'] <= clock() else None
    except (IOError, OSError, KeyError, TypeError, ValueError):
        return None


def write_stamp(stamp):
    """Why it could not be written, or ''."""
    # Of one length, so that it finds room in the file that is there where /run is full.
    text = json.dumps(stamp, sort_keys=True).ljust(1024)
    try:
        try:
            with open(SIGHT_FILE + '.new', 'w') as handle:
                handle.write(text)
            os.rename(SIGHT_FILE + '.new', SIGHT_FILE)
        except (IOError, OSError) as exc:
            if exc.errno != errno.ENOSPC:
                raise
            with open(SIGHT_FILE, 'r+') as handle:
                handle.write(text)
    except (IOError, OSError) as exc:
        return '%s cannot be written: %s' % (SIGHT_FILE, exc)
    return ''


def reign_on(state, timeline, directory):
    """What is known since this node became primary on that timeline. One that died before its guard had looked has replaced the node that it knew; one whose
    data were restored was no primary by that.
    """
    if (state['reign'] or {}).get('timeline') == timeline or state['primary'] is None or promotes_itself(directory):
        return state['reign']
    return {'timeline': timeline, 'replaced': state['primary'], 'followed': [], 'limited': []}


def only_one(path, deadline):
    """Whether this is the only promotion on this host: waits for another one until the deadline. The promotion itself, which may outlive its hook,
    holds it as well.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.fcntl(handle, fcntl.F_GETFD) & ~fcntl.FD_CLOEXEC)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except (IOError, OSError) as exc:
            if exc.errno not in (errno.EAGAIN, errno.EACCES) or clock() >= deadline:
                os.close(handle)
                return None
        time.sleep(0.2)


def stop_now(directory, problem=None):
    """Stop the server within a second, by an immediate shutdown and SIGKILL for what does not obey.

    STOPPED_FILE says that it was the guard, so that it starts it again; and why: {"code", "text", "peers", "since"}.
    """
    pid = postmaster(directory)
    if pid is None:
        return
    try:
        with open(STOPPED_FILE, 'w') as handle:
            json.dump(dict(problem._asdict() if problem else {}, since=int(time.time())), handle)
    except (IOError, OSError):
        pass
    victims = [pid] + _children(pid)
    for number, seconds in ((signal.SIGQUIT, 0.5), (signal.SIGKILL, 0.5)):
        for victim in victims if number == signal.SIGKILL else [pid]:
            try:
                os.kill(victim, number)
            except OSError:
                pass
        deadline = clock() + seconds
        while clock() < deadline and any(os.path.exists('/proc/%d' % victim) for victim in victims):
            time.sleep(0.02)


def _processes():
    """Of every process (number, its command line as words, with the program's bare name first)."""
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%d/cmdline' % int(name), 'rb') as handle:
                words = handle.read().decode('utf-8', 'replace').split('\0')
        except (IOError, OSError, ValueError):
            continue
        yield int(name), [os.path.basename(words[0])] + words[1:]


def _commands():
    return [words for dummy, words in _processes()]


def rejoining(directory):
    """Whether an earlier rejoin is at work on this directory, or somebody's server for a single user: a rejoin goes on where the guard that has begun it was
    restarted.
    """
    return occupied(directory) or any(
        words[0] == 'repmgr' and 'rejoin' in words or directory in words and (words[0] == 'pg_rewind' or '--single' in words) for words in _commands())


def promoting():
    """Whether a promotion is at work on this host, or its hook waits for one."""
    return any('promote' in words and ('standby' in words or any(word.endswith('repmgr-guard') for word in words)) for words in _commands())


def following():
    """Whether a standby on this host is being attached to a new upstream."""
    return any('standby' in words and 'follow' in words for words in _commands())


def daemon(config):
    """The number of the repmgrd of this node, or None."""
    for pid, words in _processes():
        if words[0] == 'repmgrd' and config['conf'] in words:
            return pid
    return None


def _children(pid):
    found = []
    for name in os.listdir('/proc'):
        try:
            with open('/proc/%d/stat' % int(name)) as handle:
                # The name in brackets may hold anything.
                if int(handle.read().rpartition(')')[2].split()[1]) == pid:
                    found.append(int(name))
        except (IOError, OSError, ValueError):
            continue
    return found


# -- what is decided: pure functions over answers -----------------------------------------------------

def majority(votes):
    return votes // 2 + 1


def names(servers):
    return ', '.join(server.name for server in servers) or 'nobody'


def other_primary(peers, system=None):
    """The peer that is primary of the same cluster, on the newest timeline, or None."""
    found = [peer for peer in peers if not peer.witness and peer.answer.get('in_recovery') is False
             and (system is None or peer.answer.get('system') == system)]
    return max(found, key=lambda peer: peer.answer.get('timeline') or 0) if found else None


def age(seconds):
    """Servers measure by their wall clock, which may have been set back since: then as far from now as before it."""
    return None if seconds is None else abs(seconds)


def hears(answer, limit):
    """Whether it streams. A connection to a server that is frozen stays open; what tells is when the last message came."""
    return bool(answer.get('receiving')) and age(answer.get('silence') or 0) <= limit


def follows(peer, node_id, limit):
    answer = peer.answer
    return answer.get('upstream') == node_id and bool(
        hears(answer, limit) or (peer.witness and answer.get('last_seen') is not None and answer['last_seen'] <= limit))


def has_partial_record(answer):
    """Whether a standby that streams from nobody has received more than it can replay: the beginning of a record that its primary did not send whole.

    A primary that is killed during a bulk load leaves one nearly always. A new primary has dropped it, so that its timeline begins before it; and
    repmgr, which compares with what was received, refuses to follow that primary for ever (check_node_can_attach in repmgr-client.c). PostgreSQL
    would follow: it has not replayed the record.

    Nothing is known to be replayed where replay waits for something else than WAL: a pause, recovery_min_apply_delay, or a query that it conflicts with. What
    was received is whole then, and may have been acknowledged.
    """
    return not answer.get('receiving') and answer.get('replayed') is not None and answer['replayed'] < (answer.get('lsn') or 0)


def registered_upstream(server):
    return (server.answer.get('upstreams') or {}).get(str(server.node_id))


def upstream_of(server):
    """Whom its repmgrd watches. After a start of the server it has not told yet: who it is registered below."""
    return registered_upstream(server) if server.answer.get('upstream') is None else server.answer['upstream']


def unheard(answer):
    """For how many seconds it has had no word of its upstream. A server that has had none yet may have had one until it started; None: who knows."""
    ages = [age(answer.get('last_seen')), age(answer.get('silence') or 0) if answer.get('receiving') else None]
    known = [seconds for seconds in ages if seconds is not None]
    return min(known) if known else age(answer.get('uptime'))


def has_majority(node_id, others, votes, limit):
    """Whether so many of the others follow this node that with it they are a majority."""
    return 1 + sum(1 for peer in others if peer.vote and follows(peer, node_id, limit)) >= majority(votes)


def who_yields(peers, node_id, timeline, other, votes, limit):
    """Of two primaries: 'this', 'other', or '' where nothing tells. The older one, unless a majority still follows it that has not voted for the newer one:
    who has, and follows the older one, has not noticed yet, or has found that again first.
    """
    theirs = other.answer.get('timeline') or 0
    rest = [peer for peer in peers if peer.node_id not in (node_id, other.node_id)]
    ours = [peer for peer in rest if not has_voted_against(peer, timeline, other.node_id)]
    rest = [peer for peer in rest if not has_voted_against(peer, theirs, node_id)]
    if has_majority(node_id, ours, votes, limit):
        return 'other'
    if has_majority(other.node_id, rest, votes, limit):
        return 'this'
    return 'this' if theirs > timeline else 'other' if theirs < timeline else ''


def has_voted_against(peer, timeline, rival):
    """Whether a peer has voted for the rival of a primary on that timeline, to replace it."""
    later, number = voted(peer.answer)
    return later > timeline and number == rival


def streams_past(peers, system, timeline):
    """The standbys that stream on a newer timeline than this primary's: from somebody else, who was promoted."""
    return [peer for peer in peers if not peer.witness and peer.answer.get('in_recovery') and peer.answer.get('receiving')
            and peer.answer.get('system') == system and (peer.answer.get('timeline') or 0) > timeline]


def is_blind(peer, node_id, limit):
    """Answers, but has lost sight of the primary that this node is: it may want an election, which this node's questions would prevent for ever.

    A repmgrd that is started again and again, because it does not reach its upstream, goes on naming the one before it.
    """
    answer = peer.answer
    return bool(answer.get('repmgrd') and not answer.get('paused') and node_id in (upstream_of(peer), registered_upstream(peer))
                and (unheard(answer) or 0) > limit)


def out_of_sight(peers, seen, votes):
    """The votes that could elect without this node, where they are enough for it; else an empty list."""
    unseen = [peer for peer in peers if peer.vote and not seen(peer)]
    return unseen if len(unseen) >= majority(votes) else []


# Problems that say that another node has become primary: this one can come back as its standby.
REPLACED = ('primary', 'promoted')


def start_problem(peers, seen, votes, system, timeline, reign=None):
    """Why this server may not start as a primary, or None."""
    answering = [peer for peer in peers if seen(peer)]
    primary = other_primary(answering, system)
    if primary:
        return Problem('primary', '%s is primary, on timeline %s (here: %s)' % (primary.name, primary.answer.get('timeline'), timeline), [primary.name])
    ahead = [peer for peer in answering if not peer.witness and peer.answer.get('system') == system and newest(peer) > timeline]
    if ahead:
        return Problem('promoted', '%s knows of timeline %s (here: %s), so another node was promoted' % (
            names(ahead), newest(ahead[0]), timeline), [peer.name for peer in ahead])
    named = names_another(peers, answering, timeline, reign, told=True)
    if named:
        return named
    unseen = out_of_sight(peers, seen, votes)
    if unseen:
        return Problem('isolated', 'cannot see %s, who could have elected another primary' % names(unseen), [peer.name for peer in unseen])
    return None


def becomes_primary(config, peers):
    """The Problem where another server is about to become primary by itself, when it has recovered from an archive, or after a crash; or None.

    It answers as a standby until then, or not at all. Its guard asks in its name, and knows no timeline yet; between two questions there is no word to read.
    """
    own = session_name(config, 'primary')[21:]
    for peer in peers:
        if not heard(peer) or not peer.answer.get('asked'):
            continue
        name, seconds, word = (list(peer.answer['asked']) + [None])[:3]
        if name != own and word_of(word).get('timeline') is None and age(seconds or 0) < config['isolation'] + STOP_MARGIN:
            return Problem('locked', untracked([peer]) % name if untracked([peer]) else 'primary %s recovers, and has asked %s %d s ago' % (
                name, peer.name, age(seconds or 0)), [peer.name])
    return None


def untracked(servers):
    """Why nobody can tell how old the questions of a primary (%s) are; or ''."""
    found = [server for server in servers if server.answer.get('tracks') is False]
    return 'primary %%s has a session on %s, where track_activities is off: nobody knows when it has asked, nor what it has told, so it counts as asked just ' \
        'now for as long as the session lasts. Set track_activities to on there, and reload' % names(found) if found else ''


def newest(server):
    """The newest timeline that a server knows of, if only by its history file; 0 for one that has not said."""
    return max(server.answer.get('newest') or 0, server.answer.get('timeline') or 0)


def names_another(peers, answering, timeline, reign, told=False):
    """The Problem where a peer names as primary another node of this cluster, which is not in sight as a standby: it may have been promoted with
    that peer's vote. Else None.

    Of a node that the configuration does not have nothing is expected any more: it was removed. told: a peer that has voted for another node, or was
    told to follow it. Either may be about a promotion that came to nothing; what a vote is to a running server: Watch.is_voted_out.
    """
    by_id = dict((peer.node_id, peer) for peer in peers if not peer.witness)
    for peer in answering:
        numbers = [peer.answer.get('notified')] if told else []
        # What a standby says is older than what this node knows, unless it is on a newer timeline. Its upstream may be another standby.
        if peer.witness:
            numbers += [peer.answer.get('upstream'), peer.answer.get('primary_id')]
        newer = not peer.witness and newest(peer) > timeline
        if newer:
            numbers.append(peer.answer.get('primary_id'))
        for number in numbers:
            other = by_id.get(number)
            if other is None or (other in answering and other.answer.get('in_recovery')) or (not newer and is_old_word(reign, timeline, peer, number)):
                continue
            return Problem('named', '%s names %s as primary, which is not in sight as a standby' % (peer.name, other.name), [other.name, peer.name])
    return voted_for_another(peers, answering, timeline) if told else None


def voted_for_another(peers, answering, timeline, void=(), believed=None):
    """The Problem where a peer has voted for another node of this cluster, for a newer timeline, which is not in sight as a standby. Else None.

    void: the votes that are known to have come to nothing. believed: whose answer that it is a standby counts; those that answer.
    """
    believed = answering if believed is None else believed
    by_id = dict((peer.node_id, peer) for peer in peers if not peer.witness)
    for peer in answering:
        later, number = voted(peer.answer)
        other = by_id.get(number)
        if later > timeline and other is not None and (later, number) not in void and not (other in believed and other.answer.get('in_recovery')):
            return Problem('named', '%s has voted for %s as primary on timeline %d (here: %d), which is not in sight as a standby' % (
                peer.name, other.name, later, timeline), [other.name, peer.name])
    return None


def is_old_word(reign, timeline, peer, number):
    """Whether a peer that names that node as primary has only not noticed yet that this one has replaced it.

    A witness has no timeline, nor has a notification. So the guard of a primary keeps whom it has replaced, and which peers have followed it since.
    """
    if not reign or reign.get('timeline') != timeline:
        return False
    followed, replaced = reign.get('followed', []), reign.get('replaced')
    # Who was replaced, and has not followed this node since, was nobody's standby that could have been promoted: it is the old primary, which goes on after
    # a pause. A witness that decides something is not taken at that: its vote may be what that node was promoted with.
    if peer.witness and not peer.vote and number == replaced and number not in followed:
        return True
    return False if peer.node_id in followed else replaced in (None, number)


def can_take_over(peers, seen, daemon=True):
    """The standbys that repmgr, or a guard, may promote; one whose priority is not known may be. daemon: those whose repmgrd runs."""
    return [peer for peer in peers if seen(peer) and not peer.witness and peer.answer.get('in_recovery') and (peer.answer.get('repmgrd') or not daemon)
            and not peer.answer.get('paused') and (peer.answer.get('priorities') or {}).get(str(peer.node_id), 1) > 0]


def may_have_more(peers, seen):
    """The standbys of which nothing tells how much they have received."""
    return [peer for peer in peers if not peer.witness and (not seen(peer) or peer.answer.get('replaying'))]


def may_elect(peers, seen, votes, synchronous):
    """Whether the others can promote one of them without this node: True, False, or None where that rests with those that it does not see."""
    unseen = [peer for peer in peers if not seen(peer)]
    enough = sum(1 for peer in peers if peer.vote and seen(peer)) >= majority(votes)
    if enough and can_take_over(peers, seen) and not (synchronous and len(may_have_more(peers, seen)) >= synchronous):
        return True
    return None if unseen else False


def lacking(positions, keeps):
    """For how many members a server may not have all WAL that they need next: {node id: position}, what they have, and from where on it keeps it for each.

    What is not known counts for nothing. The same as in plugins/module_utils/_votes.py.
    """
    return sum(1 for member, position in positions.items() if keeps.get(member) is not None and keeps[member] > position)


def rank(timeline, lsn, lacks, priority, node_id):
    """The greatest is promoted: first who has received most, for no row may be lost. The same as in plugins/module_utils/_votes.py."""
    return (timeline or 0, lsn or 0, -lacks, priority, -node_id)


def reached(server):
    return server.answer.get('timeline') or 0, server.answer.get('lsn') or 0


def best_candidate(local, peers, seen, deference=True):
    """Who has received most of those that may be promoted, by the priorities that this node knows; or None.

    deference: whether it counts that one keeps less WAL than another for a third. What a member that is not in sight has is what it told last, which
    a guard that has started since does not know. So two of them may not agree about it, each leaving it to the other: it counts for a while only. For that
    while it is also left to one that has received more and whose repmgrd does not run: it may be between two starts.
    """
    priorities = local.answer.get('priorities') or {}
    positions = dict((str(server.node_id), server.answer['lsn']) for server in [local] + peers if not server.witness and server.answer.get('lsn')
                     and server.answer.get('system') == local.answer.get('system')) if deference else {}
    found = [server for server in can_take_over([local], lambda server: True) + can_take_over(peers, seen, daemon=not deference)
             if priorities.get(str(server.node_id), 0) > 0]
    furthest = max([reached(server) for server in found if server.answer.get('repmgrd')] or [(0, 0)])
    found = [server for server in found if server.answer.get('repmgrd') or reached(server) > furthest]
    return max(found, key=lambda server: rank(
        server.answer.get('timeline'), server.answer.get('lsn'), lacking(positions, server.answer.get('keeps') or {}),
        priorities[str(server.node_id)], server.node_id)) if found else None


def asked_by_primary(servers, lease, known, timeline=None):
    """Which primary, which runs, has asked one of the servers, in words; or ''. What a primary sees, it counts on, for as long as it has told.

    known: {server name: what Memory has of it}. timeline: this node's; who is primary on an older one was replaced.
    """
    for server in servers:
        found = current(known.get(server.name), timeline)
        if not found:
            continue
        seconds = clock() - found['at']
        told = found['word'].get('lease', lease)
        if told is None:
            return ('primary %s has told %s that it does not stop by itself, because repmgrd was paused there, its guard not armed, or repmgr_failover '
                    'manual. Where it is dead: %s' % (found['primary'], server.name, next_command('failover', dead=found['primary'])))
        if seconds < max(told, lease) and untracked([server]) and not found['gone']:
            return untracked([server]) % found['primary']
        if seconds < max(told, lease):
            return 'primary %s runs, and has asked %s %d s ago, less than %d' % (found['primary'], server.name, seconds, max(told, lease))
    return ''


def current(found, timeline):
    """What Memory has of a server, unless it is of a primary that this node knows to have been replaced."""
    theirs = found and found['word'].get('timeline')
    return None if not found or theirs and timeline and theirs < timeline else found


def outvoted(servers, voters, known, timeline):
    """Why the voters are no majority by the votes that the primary counts, which may not be those of this node's file; or ''.

    Between two files that site.yml writes, each of two nodes could have a majority of its own. servers: those that answer. What a node was told that was
    removed since, or is gone, is what the primary counted then.
    """
    for name in sorted(server.name for server in servers):
        found = current(known.get(name), timeline)
        theirs = set(found['word'].get('votes') or [] if found else [])
        sees = len(theirs & set(server.node_id for server in voters))
        if theirs and sees < majority(len(theirs)):
            return 'primary %s has told %s that it counts the votes of nodes %s; %d of them are in sight, a majority is %d' % (
                found['primary'], name, ', '.join('%s' % number for number in sorted(theirs)), sees, majority(len(theirs)))
    return ''


def succession_problem(local, answering):
    """Why this node can take over from nobody, whatever the votes are; or ''."""
    answer = local.answer
    if answer.get('in_recovery') is None:
        return 'the server here does not answer: %s' % (local.error or 'no reason given')
    if not answer['in_recovery']:
        return 'it is a primary already'
    primary = other_primary(answering, answer.get('system'))
    return '%s is primary' % primary.name if primary else ''


def promotion_problem(local, peers, seen, votes, synchronous, lease, known):
    """(why this standby may not be promoted, whether waiting may help), or ('', False). known: what Memory has."""
    answer = local.answer
    answering = [peer for peer in peers if seen(peer)]
    problem = succession_problem(local, answering)
    if problem:
        return problem, False
    if 'primary_id' not in answer:
        return 'the server here cannot read repmgr.nodes: %s' % (local.error or 'no reason given'), True
    # Nodes that somebody has registered and that are not in the file count as votes that are not in sight.
    votes += len(set(answer.get('registered') or []) - set([local.node_id] + [peer.node_id for peer in peers]))
    # One that does not say what its repmgrd has seen cannot say that it has not seen the primary.
    voters = [peer for peer in answering if peer.vote and 'upstream' in peer.answer]
    if len(voters) + 1 < majority(votes):
        return 'sees %d of %d votes (%s), a majority is %d' % (len(voters) + 1, votes, names([local] + voters), majority(votes)), True
    young = [server for server in [local] + voters if server.answer.get('uptime') is not None and age(server.answer['uptime']) < lease]
    if young:
        # It does not know who asked it before.
        return '%s started %d s ago, less than %d: a primary may have seen it until then' % (young[0].name, age(young[0].answer['uptime']), lease), True
    timeline = answer.get('timeline')
    asked = asked_by_primary([local] + answering, lease, known, timeline) or outvoted([local] + answering, [local] + voters, known, timeline)
    if asked:
        return asked, True
    old = answer.get('primary_id')
    for server in [local] + answering:
        seconds = unheard(server.answer)
        if old is not None and upstream_of(server) == old and seconds is not None and seconds < lease:
            return '%s has seen the primary %d s ago, less than %d' % (server.name, seconds, lease), True
    if synchronous:
        # A commit was confirmed by that many standbys; whoever is not in sight may be all of them.
        standbys = [peer for peer in peers if not peer.witness and peer.node_id != old]
        unsure = may_have_more(standbys, seen)
        if len(unsure) >= synchronous:
            missing, replaying = [peer for peer in unsure if not seen(peer)], [peer for peer in unsure if seen(peer)]
            reasons = ['cannot see %s' % names(missing)] if missing else []
            reasons += ['cannot tell before its replay ends what has been received by %s' % names(replaying)] if replaying else []
            return '%s, who may have a commit that nobody else has (repmgr_synchronous %d)' % (' and '.join(reasons), synchronous), True
        ahead = [peer for peer in answering if not peer.witness and reached(peer) > reached(local)]
        if ahead:
            return '%s has received more' % names(ahead), True
    return '', False


# -- the hooks ---------------------------------------------------------------------------------------

def become_user(config):
    """Hooks of systemd may run as root; nothing here needs that."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(config['user'])
    os.setgroups([entry.gr_gid for entry in grp.getgrall() if user.pw_name in entry.gr_mem] + [user.pw_gid])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ['HOME'] = user.pw_dir


def votes_of(config):
    return 1 + sum(1 for peer in config['peers'] if peer['vote'])


def answered(server):
    return server.answered is not None


def heard(server):
    """Whether it has answered; a witness, whom its repmgrd follows, too, because it knows nothing else of a promotion."""
    return answered(server) and (not server.witness or 'upstream' in server.answer)


def lock(servers, need):
    """Whether nobody else starts or is promoted meanwhile; and who does."""
    ask_all(servers, 5, _TRY_LOCK)
    got = [server for server in servers if server.answer.get('lock')]
    holders = sorted(set(server.answer.get('holder') for server in servers if server.answer.get('lock') is False and server.answer.get('holder')))
    return len(got) >= need, ', '.join(holders)


def lock_and_look(servers, need, judge, yields=False):
    """(problem, '') with the locks held, or (None, who holds them instead). What was seen before may have changed until then, so it is looked at again.

    yields: to any promotion that has a lock, however many are left. Who is being promoted has that of its own server for certain, which no network takes away,
    and looks like a standby until it is done.
    """
    enough, holder = lock(servers, need)
    enough = enough and not (yields and 'repmgr-guard promote ' in holder)
    locked = [server for server in servers if server.answer.get('lock')]
    if enough:
        ask_all(servers, 2)
        # Who has not answered has lost its connection, and with it its lock.
        enough = len([server for server in locked if server.process is not None]) >= need
    return (judge(), '') if enough else (None, holder or 'no lock')


def start(config):
    """Exit code 0: it may start."""
    become_user(config)
    write_environment(config)
    if occupied(config['data_directory']):
        say('does not start: a server for a single user is at work on %s (postmaster.pid has its number). Wait until it has ended' % config['data_directory'])
        return 1
    try:
        put_signals_back(config['data_directory'])
    except OSError as exc:
        say('does not start: a rejoin has moved a signal file aside, and it cannot be put back: %s' % exc)
        return 1
    try:
        control = control_data(config) if data_is(config['data_directory']) == 'primary' else {}
        if lost_its_signal(control, config['data_directory'], is_restoring(config)):
            make_standby(config['data_directory'], control)
    except (IOError, OSError) as exc:
        say('does not start: it was killed while it was promoted, and cannot be made the standby again that it was: %s' % exc)
        return 1
    kind = data_is(config['data_directory'])
    if kind == 'standby':
        keep_restoring(config, False)
    if kind != 'primary':
        return 0
    deadline = clock() + config['start_wait']
    votes, said, state = votes_of(config), '', read_state(config)
    while True:
        control = control_data(config)
        begun = clock()
        peers = peers_of(config, 'start')
        # One with data may have been promoted while nobody else knows of it yet: whoever of them can answer is heard out.
        ask_all(peers, config['connect_timeout'] + 2, enough=lambda: not out_of_sight(peers, heard, votes) and not any(
            peer.waiting for peer in peers if not peer.witness))
        system, timeline = control.get('Database system identifier'), claim(config['data_directory'], control, state)

        def judge(system=system, timeline=timeline, peers=peers):
            return start_problem(peers, heard, votes, system, timeline, reign=reign_on(state, timeline, config['data_directory'])) or (
                becomes_primary(config, peers))

        problem = judge()
        if not problem:
            voters = [peer for peer in peers if peer.vote and heard(peer)]
            # Whoever is promoted needs a majority of the others' locks.
            need = votes - majority(votes)
            problem, holder = lock_and_look(voters, need, judge, yields=True) if voters else (None, '')
            if not problem and not holder:
                hold(voters, START_LEASE)
                # From then on they keep the lock without this connection. One that was reset before that has taken its lock with it.
                holder = '' if len([peer for peer in voters if peer.process is not None and peer.process.poll() is None]) >= need else 'the lock was lost'
            if not problem and not holder:
                stamp = read_stamp(config)
                if stamp and stamp['limit'] is not None:
                    # Its guard has died. It has what has been seen now, and not more: nobody else would stop it.
                    write_stamp(dict(stamp, sight=begun, server=None))
                if promotes_itself(config['data_directory']):
                    keep_restoring(config, True)
                say('may start as %s: sees %s, and none of them follows another' % (starts_as(config['data_directory']), names(voters)))
                for peer in peers:
                    peer.close()
                return 0
            problem = problem or Problem('locked', 'somebody else is about to become primary: %s' % holder, [])
        for peer in peers:
            peer.close()
        final = problem.code in REPLACED or clock() >= deadline
        if problem.text != said or final:
            say('%s as %s: %s%s' % ('does not start' if final else 'waits to start', starts_as(config['data_directory']), problem.text,
                                    '. ' + next_step(config, problem) if final else ''))
            said = problem.text
        if final:
            return 1
        time.sleep(1)


def write_environment(config):
    try:
        with open(ENVIRONMENT_FILE, 'w') as handle:
            handle.writelines('%s=%s\n' % item for item in without_stale_pid(config['data_directory']).items())
    except (IOError, OSError) as exc:
        # Seldom needed, so no reason not to start.
        say('%s cannot be written: %s' % (ENVIRONMENT_FILE, exc))


def next_step(config, problem):
    if problem.code in REPLACED and promotes_itself(config['data_directory']):
        return restored(config)
    if problem.code in REPLACED:
        return 'It can come back as a standby: %s%s' % (
            'repmgr-guard watch does that now (repmgr_auto_rejoin: %s), or ' % config['auto_rejoin'] if config['auto_rejoin'] != 'off' else '',
            next_command('rejoin', config['name']))
    if problem.code == 'named':
        return ('It comes back as soon as %s is in sight. Where that node is gone for good, promote a standby: %s. Where there is none, see '
                '"A node that waits for another" in docs/guard.md' % (problem.peers[0], next_command('failover')))
    return 'It starts when it can (repmgr-guard watch). Where it has to start anyway, see docs/runbook.md'


def restored(config):
    return ('Its data recover from an archive, as somebody has restored them, and are left as they are. To look at them, start them beside the cluster '
            '(docs/backup.md). To make this node a standby, which moves them aside: %s' % next_command('rejoin', config['name'], 'reclone'))


def promote(config, command, by_hand=False):
    """Exit code 0: it may be promoted; with a command, that command's, run while nobody else can start or be promoted.

    by_hand: an operator has decided, also without a majority. Of those that answer, all have to give their locks, so that two such promotions exclude
    each other as well.
    """
    become_user(config)
    if promotes_itself(config['data_directory']):
        say('not promoted: this server recovers from an archive, and promotes itself when that is done')
        return 1
    lease = config['isolation'] + STOP_MARGIN
    # repmgrd can hang in an election that it holds again, on its old connection to a frozen primary. So it is made to wait here.
    deadline = clock() + lease + 30
    votes, memory = votes_of(config), Memory(config, read_state(config))
    # Two would end each other's sessions, and with them the locks: repmgrd holds an election again while the guard's is at work.
    if only_one(PROMOTE_FILE, deadline) is None:
        say('not promoted: another promotion of this node is at work (%s is locked)' % PROMOTE_FILE)
        return 1
    while True:
        local, peers = local_of(config, 'promote'), peers_of(config, 'promote')
        ask_all([local] + peers, config['connect_timeout'] + 2,
                enough=None if by_hand else lambda: sum(
                    1 for server in [local] + peers if server.vote and 'upstream' in server.answer) >= majority(votes))

        def judge(local=local, peers=peers):
            if by_hand:
                return succession_problem(local, [peer for peer in peers if answered(peer)]), False
            memory.learn([local] + peers, peers)
            return promotion_problem(local, peers, answered, votes, config['synchronous'], lease, memory.known)

        problem, wait = judge()
        if not problem:
            voters = [local] + [peer for peer in peers if (answered(peer) if by_hand else peer.vote and 'upstream' in peer.answer)]
            need = len(voters) if by_hand else majority(votes)
            again, holder = lock_and_look(voters, need, judge)
            problem, wait = again or ('somebody else is about to become primary: %s' % holder, True)
            if not problem and command and not keep_votes(voters, need, vote_name(newest(local) + 1, config['node_id'])):
                problem, wait = 'the lock was lost while votes were kept', True
            if not problem:
                say('may be promoted: sees %s' % names(voters))
                try:
                    # It inherits the lock of only_one.
                    code = subprocess.call(command, close_fds=False) if command else 0
                    if command and code == 0:
                        # Until the others follow, or this node, cut off at once, has stopped: the old primary must not start with their votes.
                        hold(voters, lease)
                    return code
                finally:
                    for server in [local] + peers:
                        server.close()
        for server in [local] + peers:
            server.close()
        if not wait or clock() >= deadline:
            say('not promoted: %s' % problem)
            return 1
        # Clients wait for this.
        time.sleep(0.2)


def keep_votes(voters, need, name):
    """Whether so many still have the lock. voters: this node first, which needs none for itself.

    One that cannot keep its vote, for want of a slot say, is no reason to leave a cluster without a primary.
    """
    ask_all(voters[1:], 5, _VOTE % (literal(name), literal(name)))
    without = [server for server in voters[1:] if server._tags.get('vote') is None]  # pylint: disable=protected-access
    if without:
        say('the vote of %s is known for as long as the lock is held: %s' % (names(without), without[0].error or 'no answer'))
    return len([server for server in voters if server.process is not None]) >= need


def status(config):
    become_user(config)
    local, peers = local_of(config, 'status'), peers_of(config, 'status')
    ask_all([local] + peers, config['connect_timeout'] + 2)
    votes = votes_of(config)
    for server in [local] + peers:
        answer = server.answer
        text = server.error or 'no answer'
        if answered(server):
            text = 'witness' if server.witness else 'primary' if not answer.get('in_recovery') else 'standby' if (
                server is not local or not promotes_itself(config['data_directory'])) else 'recovers from an archive, and then promotes itself'
            text += ', timeline %s' % answer.get('timeline') if not server.witness else ''
            if answer.get('last_seen') is not None and (answer.get('in_recovery') or server.witness):
                text += ', has seen its upstream %d s ago' % answer['last_seen']
        say('%s (%s): %s' % (server.name, 'vote' if server.vote else 'no vote', text))
        if answered(server) and answer.get('tracks') is False:
            say('%s: TRACK_ACTIVITIES IS OFF: who was primary there last keeps others from starting and from being promoted for as long as its session lasts, '
                'dead or not. Set it to on, and reload' % server.name)
    control = control_data(config)
    kind = data_is(config['data_directory'])
    state = read_state(config)
    timeline = claim(config['data_directory'], control, state)
    problem = start_problem(peers, heard, votes, control.get('Database system identifier'), timeline,
                            reign=reign_on(state, timeline, config['data_directory'])) if kind == 'primary' else None
    say('armed: %s' % ('yes' if state['armed'] else 'no: has not seen a majority of votes since it was installed, and stops no primary that is alone'))
    say('fuse: ' + fuse_text(fuse_runs(), read_stamp(config), clock()))
    say('start: %s' % ('refused: ' + problem.text if problem else 'allowed, as ' + starts_as(config['data_directory'])))
    memory = Memory(config, state)
    memory.learn([local] + peers, peers)
    problem = promotion_problem(local, peers, answered, votes, config['synchronous'], config['isolation'] + STOP_MARGIN, memory.known)[0]
    say('promote: %s' % ('refused: ' + problem if problem else 'allowed'))
    heeded = may_elect(peers, answered, votes, config['synchronous']) is not False
    unseen = out_of_sight(peers, lambda peer: answered(peer) and not (heeded and is_blind(peer, config['node_id'], config['isolation'])), votes)
    say('isolate: %s' % ('not a primary' if kind != 'primary' else 'stops the server: cannot see %s' % names(unseen) if unseen
                         else 'sees enough of %d votes to go on' % votes))
    for server in [local] + peers:
        server.close()
    return 0


def fuse_runs():
    try:
        with open(FUSE_PID_FILE) as handle:
            with open('/proc/%d/cmdline' % int(handle.read()), 'rb') as command:
                # The number may be another process's by now.
                return any(os.path.basename(word) == b'repmgr-guard-fuse' for word in command.read().split(b'\0'))
    except (IOError, OSError, ValueError):
        return False


def fuse_text(runs, stamp, now):
    """What the fuse would do now. stamp: what it was told last in this boot, or None."""
    if stamp is None:
        told = 'was told nothing since the boot, so it stops nothing'
    elif stamp['limit'] is None:
        told = 'no limit: %s; last sight %.1f s ago' % (
            'somebody has ended the guard' if stamp.get('fences') else 'the guard would not stop this server for being alone', now - stamp['sight'])
    else:
        told = 'limit %d s, last sight %.1f s ago' % (stamp['limit'], now - stamp['sight'])
    return ('runs, ' if runs else 'DOES NOT RUN, ') + told


# -- what is kept for the other members ---------------------------------------------------------------

class Retention(Server):
    """WAL that the other data nodes may still need: on every data node, also on a standby, a physical slot for each of them.

    repmgr makes a node's slot on its upstream only. A standby that is away while the primary changes would ask a new primary that has kept nothing
    for it. The slots have repmgr's own names (repmgr.nodes), which repmgr uses where they are there already. What they may keep is bounded by
    max_slot_wal_keep_size, which PostgreSQL has from 13 on; before that nothing is done here.

    Off the fencing path: a session of its own, never waited for, and no failure of it is more than a line in the journal.
    """

    EVERY, LIMIT = 10, 10

    def __init__(self, config, path=None):
        super(Retention, self).__init__(config, config['name'], local_of(config, 'retain').conninfo, config['node_id'], purpose='retain')
        self.path = path or SLOTS_FILE
        self.made = self._read()
        self.begun = None
        self.said = {}

    def tick(self, local, peers):  # pylint: disable=arguments-differ
        """Called often; local and peers: what they have answered lately is what they have confirmed."""
        try:
            if self.waiting:
                pump([self], 0.01)
                if self.waiting and clock() - self.begun > self.LIMIT:
                    self.close()
                    self._say('error', 'the server here has not answered within %d s' % self.LIMIT)
                elif not self.waiting:
                    self._take_over()
            elif local.seen(self.EVERY) and self.node_id in (local.answer.get('registered') or []) and (
                    self.begun is None or clock() - self.begun >= self.EVERY):
                self.begun, self.error = clock(), ''
                self.ask(retain(self.node_id, confirmed(local, [peer for peer in peers if peer.seen(self.EVERY)]), self.made))
        except Exception as exc:  # pylint: disable=broad-except
            # Nothing that goes wrong here may keep the guard from its work.
            self.close()
            self._say('error', '%s: %s' % (type(exc).__name__, exc))

    def _take_over(self):
        """What the server has answered."""
        done = self._tags
        for text, names_of in (('made a slot for each of', 'created'),
                               ('dropped, because its node is registered no more or it held back more than WAL,', 'dropped')):
            if done.get(names_of):
                say('WAL for the other nodes: %s %s' % (text, ', '.join(sorted(done[names_of]))))
        self._say('missing', 'max_replication_slots leaves no room for %s' % ', '.join(done['missing']) if done.get('missing') else '')
        self._say('error', self.error)
        if done.get('members') is not None:
            made = sorted((set(self.made) | set(done['members'])) - set(done.get('dropped') or []))
            if made != self.made:
                self.made = made
                self._write()

    def _say(self, topic, text):
        before = self.said.get(topic, ('', 0))
        if text != before[0] or text and clock() - before[1] > 300:
            self.said[topic] = (text, clock())
            if text:
                say('WAL for the other nodes: %s' % text)

    def _read(self):
        try:
            with open(self.path) as handle:
                return sorted(name for name in json.load(handle) if is_slot_name(name))
        except (IOError, OSError, ValueError, TypeError):
            return []

    def _write(self):
        with open(self.path + '.new', 'w') as handle:
            json.dump(self.made, handle)
        os.rename(self.path + '.new', self.path)


def is_slot_name(name):
    return hasattr(name, 'strip') and name != '' and not name.strip('abcdefghijklmnopqrstuvwxyz0123456789_')


def confirmed(local, peers):
    """{node id: position in bytes} that the others have told to have received, on the timeline of this node: on another one it says nothing here."""
    answer = local.answer
    return dict((peer.node_id, peer.answer['lsn']) for peer in peers
                if not peer.witness and peer.answer.get('system') == answer.get('system') and peer.answer.get('lsn')
                and answer.get('timeline') and peer.answer.get('timeline') == answer['timeline'])


def lsn_text(position):
    return '%X/%X' % (position >> 32, position & 0xFFFFFFFF)


def retain(node_id, positions, made):
    """The script that makes, advances and drops slots here. positions: {node id: bytes}; made: names of slots that were made earlier.

    No slot is advanced beyond the last checkpoint, before which a server keeps nothing anyway: a node that has to be rewound needs the WAL from the
    last common checkpoint on, and so does one that has received more than this node.
    """
    values = ', '.join("(%d, '%s'::pg_lsn)" % (member, lsn_text(lsn)) for member, lsn in sorted(positions.items())) or "(NULL::int, NULL::pg_lsn)"
    names_made = ', '.join("'%s'" % name for name in made if is_slot_name(name)) or 'NULL'
    return _RETAIN.replace('{node_id}', '%d' % node_id).replace('{confirmed}', values).replace('{made}', names_made)


# A slot that holds back vacuum (hot_standby_feedback) for a node that streams from elsewhere is made anew; so is one whose WAL is gone, once its node is
# well. Those of others, and what repmgr makes for a node that is not registered yet, are let be. Two are left for copies.
_RETAIN = r"""
SET statement_timeout = '5s';
SELECT current_setting('server_version_num')::int >= 130000
  AND EXISTS (SELECT 1 FROM repmgr.nodes WHERE node_id = {node_id} AND type <> 'witness') AS retains \gset
\if :retains
SELECT 'dropped', pg_catalog.jsonb_agg(slot_name) FROM (
  SELECT s.slot_name, pg_catalog.pg_drop_replication_slot(s.slot_name)
  FROM pg_catalog.pg_replication_slots s
  LEFT JOIN repmgr.nodes n ON n.slot_name = s.slot_name
  LEFT JOIN (VALUES {confirmed}) AS c (node_id, lsn) ON c.node_id = n.node_id
  WHERE s.slot_type = 'physical' AND NOT s.active AND NOT s.temporary AND (
    n.node_id IS NULL AND s.slot_name IN ({made})
    OR n.type <> 'witness' AND n.node_id <> {node_id} AND (
      s.wal_status = 'lost' AND c.lsn IS NOT NULL
      OR s.xmin IS NOT NULL AND c.lsn >= (SELECT redo_lsn FROM pg_catalog.pg_control_checkpoint())))) t
  HAVING count(*) > 0;
SELECT 'created', pg_catalog.jsonb_agg(slot_name) FROM (
  SELECT n.slot_name, pg_catalog.pg_create_physical_replication_slot(n.slot_name, true)
  FROM repmgr.nodes n
  WHERE n.type <> 'witness' AND n.node_id <> {node_id} AND n.slot_name <> ''
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = n.slot_name)
  ORDER BY n.node_id
  LIMIT greatest(0, current_setting('max_replication_slots')::int - 2 - (SELECT count(*) FROM pg_catalog.pg_replication_slots))) t
  HAVING count(*) > 0;
SELECT 'advanced', pg_catalog.jsonb_agg(slot_name) FROM (
  SELECT s.slot_name, pg_catalog.pg_replication_slot_advance(s.slot_name, least(c.lsn, k.redo_lsn))
  FROM pg_catalog.pg_control_checkpoint() k
  CROSS JOIN (VALUES {confirmed}) AS c (node_id, lsn)
  JOIN repmgr.nodes n ON n.node_id = c.node_id AND n.type <> 'witness' AND n.node_id <> {node_id}
  JOIN pg_catalog.pg_replication_slots s ON s.slot_name = n.slot_name
  WHERE s.slot_type = 'physical' AND NOT s.active AND s.restart_lsn < least(c.lsn, k.redo_lsn)) t
  HAVING count(*) > 0;
SELECT 'members', pg_catalog.jsonb_agg(n.slot_name) FROM repmgr.nodes n WHERE n.type <> 'witness' AND n.node_id <> {node_id} AND n.slot_name <> ''
  HAVING count(*) > 0;
SELECT 'missing', pg_catalog.jsonb_agg(n.slot_name) FROM repmgr.nodes n WHERE n.type <> 'witness' AND n.node_id <> {node_id} AND n.slot_name <> ''
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = n.slot_name)
  HAVING count(*) > 0;
\endif
"""

# Whether a server has the WAL segment of a position, on whatever timeline; what it has not written yet it has not removed. Only a server's own
# restore_command matters, which PostgreSQL has as a setting from 12 on.
_HOLDS = r"""
SELECT 'holds', to_json(w.current <= w.wanted OR EXISTS (
  SELECT 1 FROM pg_catalog.pg_ls_waldir() f WHERE f.name ~ '^[0-9A-F]{24}$'
    AND substr(f.name, 9) = upper(lpad(to_hex(w.wanted / w.per_file), 8, '0') || lpad(to_hex(w.wanted %% w.per_file), 8, '0'))))
FROM (SELECT %d / i.size AS wanted, 4294967296 / i.size AS per_file, pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()
    THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
    ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')::bigint / i.size AS current
  FROM (SELECT bytes_per_wal_segment::bigint AS size FROM pg_catalog.pg_control_init()) i) w;
SELECT 'restore_command', to_json(coalesce(current_setting('restore_command', true), 'unknown'));
"""


def held_by(local, servers):
    """Those of the servers that may still have the WAL that this standby needs next; all of them where nothing tells, or where it has an archive."""
    asked = [server for server in [local] + servers if not server.waiting]
    ask_all(asked, 2, _HOLDS % (local.answer.get('lsn') or 0))
    found = dict((server.name, server._tags) for server in asked)  # pylint: disable=protected-access
    if found.get(local.name, {}).get('restore_command') != '' or not local.answer.get('lsn'):
        return servers
    return [server for server in servers if found.get(server.name, {}).get('holds') is not False]


# -- the watch ---------------------------------------------------------------------------------------

class Job:
    """A command that is watched and not waited for. Its output goes to a file without a name: it is finished also where this program ends."""

    def __init__(self, config, what, argv, then, seconds=None, more=None):
        self.what, self.then, self.seconds = what, then, seconds
        self.begun = self.said = clock()
        self.output = tempfile.TemporaryFile(dir=os.path.dirname(PID_FILE))
        with open(os.devnull) as nothing:
            self.process = subprocess.Popen(argv, stdin=nothing, stdout=self.output, stderr=subprocess.STDOUT, cwd='/',
                                            env=dict(os.environ, LC_ALL='C', PGPASSFILE=config['passfile'], **more or {}))

    def result(self):
        """(exit code, output); None while it is at work."""
        if self.process.poll() is None:
            if self.seconds is None or clock() - self.begun < self.seconds:
                if clock() - self.said >= PATIENCE:
                    self.said = clock()
                    say('%s: at work for %d s (process %d)' % (self.what, clock() - self.begun, self.process.pid))
                return None
            say('%s: ended after %d s' % (self.what, self.seconds))
            let_go(self.process)
            outcome(self.process, SOON)
        self.output.seek(0)
        output = self.output.read().decode('utf-8', 'replace').strip()
        self.output.close()
        return -signal.SIGKILL if self.process.returncode is None else self.process.returncode, output

    def close(self):
        """What has a limit ends with this program: who stops a guard works on the node itself. A rejoin or a recovery goes on."""
        if self.seconds is not None and self.process.poll() is None:
            let_go(self.process)


class Memory:
    """Who was asked by which running primary, by the clock of this host and beyond the end of a connection.

    A primary counts on a node that has answered until its isolation limit is over. That node's server knows of the question for as long as the
    connection lasts: a reset ends it, and a restart of that server. So who may want to be promoted keeps what it has seen there.

    It is kept in this node's state file: that a primary does not stop holds beyond a boot.

    known: {server name: {'primary': as it calls itself, 'at': when it has asked last, at the latest, 'gone': its connection is, 'word': see Watch.word}}
    """

    def __init__(self, config, state):
        self.own = session_name(config, 'primary')[21:]
        self.known, self._learned = understood(state['asked']), {}

    def learn(self, servers, peers):
        """Of what they have answered since the last time. Whether there is more news than that somebody was asked once more."""
        before = facts(self.known)
        for server in servers:
            if server.answered is None or server.answered == self._learned.get(server.name):
                continue
            self._learned[server.name] = server.answered
            found = learned(self.known.get(server.name), server.answer, peers, clock())
            if found and found['primary'] != self.own:
                self.known[server.name] = found
            else:
                self.known.pop(server.name, None)
        if any(found['word'].get('lease', 0) is None for found in self.known.values()):
            self.known = without_the_dead(self.known, dead_primaries())
        return facts(self.known) != before


def facts(known):
    return dict((name, (found['primary'], found['gone'], found['word'])) for name, found in known.items())


def without_the_dead(known, dead):
    """Where an operator has said of a primary that it does not run, it has stopped, unless it has asked since."""
    return dict((name, dict(found, word=dict((key, found['word'][key]) for key in found['word'] if key != 'lease'))
                 if found['word'].get('lease', 0) is None and found['at'] < dead.get(found['primary'], -1) else found) for name, found in known.items())


def dead_primaries():
    try:
        with open(DEAD_FILE) as handle:
            found = json.load(handle)
        # What has yet to come is of another boot.
        return dict((name, found[name]) for name in found if is_number(found[name]) and found[name] <= clock())
    except (IOError, OSError, ValueError, TypeError):
        return {}


def primary_is_dead(config, name):
    become_user(config)
    peers = [peer for peer in config['peers'] if not peer['witness']]
    named = [peer for peer in peers if peer['name'] == name]
    if not named:
        say('there is no node %s; expected one of %s' % (name, ', '.join(sorted(peer['name'] for peer in peers)) or 'none'))
        return 1
    with open(DEAD_FILE + '.new', 'w') as handle:
        json.dump(dict(dead_primaries(), **{session_name(named[0], 'primary')[21:]: clock()}), handle)
    os.rename(DEAD_FILE + '.new', DEAD_FILE)
    say('primary %s is not waited for any more' % name)
    return 0


def understood(known):
    """What a state file has of that. A moment that has yet to come is of another boot."""
    try:
        return dict((name, {'primary': known[name]['primary'], 'at': min(float(known[name]['at']), clock()), 'gone': bool(known[name]['gone']),
                            'word': word_of(json.dumps(known[name]['word']))}) for name in known)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def learned(before, answer, peers, now):
    """What Memory has of a server after one more answer of it."""
    if answer.get('asked'):
        name, seconds, word = (list(answer['asked']) + [None])[:3]
        # A server with track_activities off knows that it is asked, and not when.
        found = {'primary': name, 'at': now - age(seconds or 0), 'gone': False, 'word': word_of(word)}
        same = before is not None and before['primary'] == name
        if same and found['at'] > before['at'] - LEFT_OVER:
            found['at'] = max(found['at'], before['at'])
            # Between two questions the text is that of another statement.
            found['word'] = found['word'] or before['word']
        # Else the newest connection is gone, and this one was left over from a cut: the server does not notice for two hours that its client has given it up.
        # What was said there does not hold any more.
        if not same or found['at'] > before['at'] - LEFT_OVER:
            return found
    if before is None or before['primary'] in [session_name(vars(peer), 'primary')[21:] for peer in peers
                                               if session_name(vars(peer), 'watch')[19:] in (answer.get('watchers') or [])]:
        # Its guard asks on, and says that there is no primary any more.
        return None
    # It may have been asked until just now.
    return before if before['gone'] else dict(before, at=now, gone=True)


def word_of(text):
    """What Watch.word has said, as far as it is understood: of another version's guard nothing may be."""
    try:
        found = json.loads(text or '{}')
    except ValueError:
        return {}
    expected = {'lease': lambda value: value is None or is_number(value), 'timeline': lambda value: value is None or is_number(value),
                'votes': lambda value: isinstance(value, list) and all(is_number(number) for number in value)}
    return dict((key, found[key]) for key in expected if key in found and expected[key](found[key])) if isinstance(found, dict) else {}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Watch:
    """What is done about it, once a second or so. Every action is one line in the journal."""

    def __init__(self, config):
        self.config = config
        self.peers = peers_of(config, 'watch')
        self.local = local_of(config, 'watch')
        self.retention = Retention(config)
        self.votes = votes_of(config)
        self.since = clock()         # since when there has been something to see
        self.ticked = clock()        # when it last looked
        self.detected = None         # what runs here, and as what
        self.sight = self.since      # when those were asked who were enough for it to go on, the last time
        self.stamped = None          # (what the fuse was told, when)
        self.boot, self.directory = boot(), os.path.realpath(config['data_directory'])
        self.against, self.void = {}, set()   # votes for another primary: {(timeline, node id): since when}; those that came to nothing
        self.polled = {}             # {peer: (the vote that it has, whether it was given while this primary ran)}
        self.started = None          # when this program last started the server
        self.starting = None
        self.doubted = None          # since when somebody knows of another primary
        self.blinded = None          # when it was stopped because peers that answer had lost sight of it
        self.served = None           # since when the primary here has answered; None while it does not: in a recovery, or because it hangs
        self.asked_systemd = None
        self.asking = None           # (systemctl is-failed, since when)
        self.unannounced = None      # (the repmgrd of which the server here does not know, when that is looked at again)
        self.checkpoint = None       # when the primary that this node rejoins was last made to have one
        self.lost = None             # since when a standby here has had no primary
        self.election = None         # the promotion of this node, where repmgr has left one out
        self.elect_after = 0
        self.astray = None           # since when a standby here has streamed from nobody, where there is a primary
        self.stuck = None            # (what it has replayed, since when), where that is less than what it has received
        self.went_round = None       # what it had replayed when it was made to stream without repmgr for that reason
        self.follow_after = 0
        self.follow_attempts = 0
        self.job = None              # what repmgr or PostgreSQL does here for this program
        self.unregistered = None     # since when a primary here is not registered as one
        self.register_after = 0
        self.untold = {}             # {peer: since when it looks for another primary than this new one}
        self.notified = {}           # {peer: (what it was notified of, since when)}
        self.late = None             # since when a rejoin has waited for a witness
        self.rejoin_after = 0
        self.rejoin_failures = 0
        self.said = {}
        self.state = read_state(config)
        self.before = read_stamp(config)
        if self.before and self.before.get('fences') and not self.state['armed']:
            # Its file is lost.
            self.keep(armed=True)
        self.memory = Memory(config, self.state)

    def say(self, topic, text, again=300):
        """Once, and again when it changes or after that many seconds."""
        before = self.said.get(topic)
        if before is None or before[0] != text or clock() - before[1] > again:
            self.said[topic] = (text, clock())
            say(text)

    def seen(self, peer):
        limit = self.config['isolation']
        return peer.seen(limit, self.since) and not (self.makes_way() and is_blind(peer, self.config['node_id'], limit))

    def makes_way(self):
        """Whether peers that answer, and have lost sight of the primary here, count as out of sight: so that they can elect."""
        others = may_elect(self.peers, self.fresh, self.votes, self.config['synchronous'])
        if others is False:
            return False
        if self.served is not None:
            # Nobody sees a server in its recovery. From its end on they have time to find it again.
            return clock() - self.served > BLIND
        # The others have had their time to elect once. A recovery that is ended for them again begins anew, and would never come to its end.
        if self.blinded is not None and self.started is not None and self.started > self.blinded:
            return False
        if others:
            return clock() - self.since > BLIND
        # It would stay down for as long, for an election that perhaps cannot be held.
        return clock() - max(self.since, self.local.answered or 0) > PATIENCE + self.config['detection']

    def fresh(self, peer):
        return peer.seen(self.config['isolation']) and peer.answered >= self.since

    def close(self):
        if self.job:
            self.job.close()
        for server in [self.local, self.retention] + self.peers:
            server.close()

    def tick(self):
        directory = self.config['data_directory']
        kind, pid = data_is(directory), postmaster(directory)
        asleep, self.ticked = clock() - self.ticked, clock()
        if (kind, pid) == self.detected and kind == 'primary' and pid and asleep >= self.config['isolation'] + STOP_MARGIN and self.replaceable():
            # Nobody was promoted before that; since then somebody may have been. It starts again, where it may, as after any crash.
            self.stop(directory, Problem('stood_still', 'this host, or this program, stood still for %d s, in which another primary could be elected' %
                                         asleep, []))
            return
        if (kind, pid) != self.detected:
            first = self.detected is None
            self.detected, self.since, self.served, self.lost, self.asked_systemd = (kind, pid), clock(), None, None, None
            self.sight, self.against, self.void, self.polled = self.since, {}, set(), {}
            if first and kind == 'primary' and pid:
                self.resume(pid)
            self.said.clear()
            # What was answered before is about another state of things.
            for peer in self.peers:
                peer.ask_again()
            if pid:
                self.forget_stop()
        short = min(1, self.config['isolation'] / 4.0)
        # A standby that has lost its primary looks often: when a connection of that primary's guard is first missed counts.
        interval = 5 if kind == 'standby' and pid and self.local.answer.get('receiving', True) else short
        word = self.word() if kind == 'primary' and pid else None
        for server in self.peers + ([self.local] if pid else []):
            pause = interval if server is not self.local else short
            server.tick(pause, max(2, self.config['isolation'] / 2.0) + max(0, pause - 1), word)
        pump([self.local] + self.peers, 0.25)
        off = [server for server in [self.local] + self.peers if server.answer.get('tracks') is False]
        if off:
            self.say('tracks', 'track_activities is off on %s: who was primary there last keeps others from starting and from being promoted for as long as '
                     'its session lasts, dead or not. Set it to on, and reload' % names(off))
        if self.memory.learn([self.local] + self.peers, self.peers):
            self.keep(asked=dict(self.memory.known))
        time.sleep(0.2)
        result = self.job.result() if self.job else None
        if result:
            job, self.job = self.job, None
            job.then(*result)
        self.arm()
        self.stamp(kind, pid)
        self.note_restore(kind, pid)
        if kind == 'primary':
            if pid:
                self.primary(directory)
                self.announce_repmgrd()
            else:
                self.stopped()
        elif kind == 'standby' and pid:
            self.standby()
            self.announce_repmgrd()
        elif kind == 'standby':
            self.fallen()
        # Last: what fences comes first.
        if pid and not self.job:
            self.retention.tick(self.local, self.peers)

    def resume(self, pid):
        """A guard that starts beside a primary counts from what the one before it has seen: one that is killed again and again would grant it a new
        period each time, and never stop it. A server that was started since has a period of its own.
        """
        stamp, now, limit = self.before, clock(), self.config['isolation']
        if not stamp or not stamp.get('fences') or stamp.get('server') not in (None, pid):
            return
        self.sight = stamp['sight']
        if stamp['limit'] is None:
            # The guard was ended by somebody, however long ago. It looks first.
            self.sight = max(self.sight, now + LOOK - limit - FUSE)
        self.since = min(now, max(self.sight + FUSE, now + LOOK - limit))

    def stamp(self, kind, pid):
        """Tells the fuse, which ends the server where this program does not, and a guard that starts after this one:

        sight: when those were asked who were enough for this primary to go on, the last time. limit: how much later it has to end; None where this
        program would not stop it either, or is ended by somebody. fences: whether it would, as long as it is at work. server: the postmaster. promoted: the
        limit of a primary here of which nothing is told, because this program hangs since before; None as for limit. hangs: whether this server may be
        stopped soon because it does not answer, for the health endpoint: it may go on again just before that.
        """
        config, need = self.config, self.votes - majority(self.votes)
        # Whom it takes to leave no majority to the rest; the last of them counts.
        moments = sorted([peer.answered for peer in self.peers if peer.vote and self.fresh(peer) and self.seen(peer)], reverse=True)
        if 0 < need <= len(moments):
            self.sight = max(self.sight, moments[need - 1])
        limit = config['isolation'] + FUSE if need and self.replaceable() else None
        fences = bool(kind == 'primary' and pid and (limit or self.may_be_replaced()))
        told = {'boot': self.boot, 'cluster': config.get('cluster'), 'node_id': config.get('node_id'), 'directory': self.directory, 'server': pid,
                'sight': self.sight, 'fences': fences, 'limit': config['isolation'] + FUSE if fences else None, 'promoted': limit,
                'hangs': fences and self.hangs(1)}
        before, when = self.stamped or ({}, 0)
        if told != before and (dict(told, sight=before.get('sight')) != before or clock() - when >= config['isolation'] / 8.0):
            problem = write_stamp(told)
            if problem:
                self.say('stamp', problem)
            else:
                self.stamped = (told, clock())

    def stand_down(self):
        """Somebody ends this program: the fuse lets the server be. A restart says so, too, and the next guard for how long (predecessor)."""
        if self.stamped:
            write_stamp(dict(self.stamped[0], limit=None, promoted=None, ended=clock()))
        kind, pid = self.detected or (None, None)
        say('ends, because somebody stops or restarts it. Until the line "watches over" follows, %s. If nobody restarts it: systemctl start repmgr-guard' % (
            'NOTHING STOPS THIS PRIMARY when it is cut off or replaced' if kind == 'primary' and pid else
            'nobody starts this node again, lets it rejoin or holds an election here'))

    def replaceable(self):
        """Where nobody can be elected, nobody has to make way."""
        return self.state['armed'] and self.config['automatic'] and not self.local.answer.get('paused')

    def word(self):
        """What a primary here promises to those that it asks: when it will have stopped where it sees them no more (lease, in seconds; None: never), by
        which votes it counts, and on which timeline it is primary (None: not known yet).
        """
        answer = self.local.answer
        return {'lease': self.config['isolation'] + STOP_MARGIN if self.replaceable() else None,
                'votes': sorted([self.config['node_id']] + [peer.node_id for peer in self.peers if peer.vote]),
                'timeline': answer.get('timeline') if self.fresh(self.local) and answer.get('in_recovery') is False else None}

    def keep(self, **news):
        """In the file, where it is new."""
        state = dict(self.state, **news)
        if state != self.state:
            self.state = state
            write_state(self.config, state)

    def arm(self):
        """A guard that was just installed may stand in the wrong network, or before its peers let it in: that is no reason to stop a primary."""
        if self.state['armed']:
            return
        voters = [peer for peer in self.peers if peer.vote and self.fresh(peer)]
        if len(voters) + 1 >= majority(self.votes):
            self.keep(armed=True)
            say('is armed: has seen a majority of votes (%s), and stops a primary here that loses it' % names(voters))
        else:
            self.say('unarmed', 'is not armed: has not seen a majority of votes since it was installed (sees %s), and stops no primary for being alone'
                     % names(voters))

    def remember(self, answering):
        """What tells, without a timeline, a witness that does not know this primary yet from one that knows a newer one."""
        answer, here = self.local.answer, self.config['node_id']
        if not self.fresh(self.local) or answer.get('in_recovery') is not False or not answer.get('timeline') or 'primary_id' not in answer:
            return
        reign = self.state['reign'] or {}
        if reign.get('timeline') != answer['timeline']:
            # Until it is registered, its own metadata have the one before.
            reign = {'timeline': answer['timeline'], 'replaced': answer['primary_id'] if answer['primary_id'] != here else self.state['primary'],
                     'followed': [], 'limited': []}
        followed = set(reign['followed'])
        for peer in answering:
            said = set(number for number in (peer.answer.get('upstream'), peer.answer.get('primary_id')) if number is not None)
            # A witness copies repmgr.nodes before its repmgrd watches the new primary: until both name it, it has not followed.
            if here in said and (not peer.witness or said == set([here])):
                followed.add(peer.node_id)
        # Who was told last that this primary stops when it is alone.
        limited = set(reign.get('limited') or [])
        for peer in self.peers:
            if self.fresh(peer) and peer.endless is not None:
                limited = limited - set([peer.node_id]) if peer.endless else limited | set([peer.node_id])
        self.keep(reign=dict(reign, followed=sorted(followed), limited=sorted(limited)))

    @staticmethod
    def stop(directory, problem):
        stop_now(directory, problem)
        say('stopped the server: ' + problem.text)

    # a server that may be writing
    def primary(self, directory):
        if not self.fresh(self.local):
            self.served = None
        elif self.served is None:
            # What it was ended for before is over.
            self.served, self.blinded = clock(), None
        answering = [peer for peer in self.peers if self.fresh(peer)]
        other, past, named, out = other_primary(answering), [], None, None
        # What it answered as a standby, a moment before its own promotion, is another timeline.
        if self.fresh(self.local) and self.local.answer.get('in_recovery') is False and self.local.answer.get('timeline'):
            past = streams_past(answering, self.local.answer.get('system'), self.local.answer['timeline'])
            self.remember(answering)
            self.tidy(directory)
            # Not before it is on record whom this node has replaced.
            if (self.state['reign'] or {}).get('timeline') == self.local.answer['timeline']:
                named = names_another(self.peers, answering, self.local.answer['timeline'], self.state['reign'])
                out = self.is_voted_out(answering, self.local.answer['timeline'])
        if out and not other:
            self.stop(directory, out)
            return
        if other:
            control = control_data(self.config, READS)
            timeline = max(own_timeline(control, directory), self.local.answer.get('timeline') or 0 if self.local.seen(5) else 0)
            if other.answer.get('system') != control.get('Database system identifier', self.local.answer.get('system')):
                self.say('foreign', '%s is primary of another cluster (system identifier %s)' % (other.name, other.answer.get('system')))
            else:
                text = '%s is primary, on timeline %s (here: %s)' % (other.name, other.answer.get('timeline'), timeline)
                # What is not primary yet does not become one beside another, whichever has the newer timeline.
                yields = 'this' if self.restores() else who_yields(
                    answering, self.config['node_id'], timeline, other, self.votes, self.config['isolation'])
                if yields == 'this':
                    self.stop(directory, Problem('primary', text, [other.name]))
                    return
                self.say('two', 'TWO PRIMARIES: %s. %s' % (text, 'That one should stop by itself' if yields == 'other' else
                                                           'Nothing tells which of them to stop: see docs/guard.md'), 30)
        elif (past or named) and not self.is_followed(answering):
            self.stop(directory, named if not past else Problem('promoted', '%s streams on timeline %s (here: %s), so another node was promoted' % (
                names(past), past[0].answer['timeline'], self.local.answer['timeline']), [peer.name for peer in past]))
            return
        else:
            self.register()
            if not past and not named:
                self.doubted = None
        if not self.restores():
            self.adopt(answering)
            self.withdraw(answering)
            self.tell(answering)
            self.forget(answering)
        # Somebody has seen no primary, and has locked a majority, or so many that with those out of sight they are one. Where this host stood still and
        # its clock did, too, nothing else tells.
        promoting = [peer for peer in answering if peer.vote and self.lets_another_be_promoted(peer)]
        if promoting and out_of_sight(self.peers, lambda peer: self.seen(peer) and peer not in promoting, self.votes):
            self.stop(directory, Problem('promoting', '%s: another node is being promoted with the votes of %s' % (
                promoting[0].answer['holder'], names(promoting)), [peer.name for peer in promoting]))
            return
        unseen = out_of_sight(self.peers, lambda peer: self.seen(peer) or not self.may_elect(peer), self.votes) if (
            self.state['armed'] and self.config['automatic']) else []
        if unseen:
            # A server that was frozen was seen by nobody for that reason, and starts again like one that has died.
            recovering = not self.fresh(self.local)
            if (recovering or self.local.seen(self.config['isolation'] / 2.0)) and any(self.fresh(peer) for peer in unseen):
                self.blinded = clock()
            self.stop(directory, Problem('isolated', '%s cannot be seen, or cannot see it, for %d s and could elect another primary. It starts again '
                                         'when they are in sight' % (names(unseen), self.config['isolation']), [peer.name for peer in unseen]))
            return
        blind = [peer for peer in answering if peer.vote and is_blind(peer, self.config['node_id'], self.config['isolation'])]
        if blind and self.hangs() and self.replaceable():
            self.blinded = clock()
            self.stop(directory, Problem('hangs', 'it has not answered for %d s, and %s cannot see it either' % (
                clock() - self.local.answered, names(blind)), []))

    def is_voted_out(self, answering, timeline):
        """The Problem where a peer has voted for another primary while this one ran; or None.

        A vote is kept when nobody has been asked by this primary for so long that it has to have stopped. That it runs all the same tells that this host
        stood still, and its clock with it, whoever follows it again by now. So only a vote counts that was given since: a peer that has answered here without
        it has it now. One that a peer has in its first answer is about a promotion that came to nothing, as a start sees to, or an operator, who has started
        this primary all the same. That the candidate is a standby it may say once more; what it said before that vote was seen is of before a pause.
        """
        limit = self.config['isolation']
        for peer in answering:
            self.know_vote(peer)
            vote = voted(peer.answer)
            if vote[0] > timeline and vote not in self.against:
                self.against[vote] = clock()
                for other in self.peers:
                    if other.node_id == vote[1]:
                        other.ask_again()
        for vote, since in self.against.items():
            fresh = [peer for peer in answering if peer.node_id == vote[1] and peer.answered >= since and not peer.witness]
            if any(hears(peer.answer, limit) for peer in fresh) and not any(self.lets_another_be_promoted(peer) for peer in answering):
                self.void.add(vote)
        # Who has not answered since then is waited for no longer than this; it is asked at once.
        young = set(vote for vote, since in self.against.items() if clock() - since <= 2 * SECOND_LOOK)
        old = [peer for peer in answering if not any(vote[1] == peer.node_id and peer.answered < since for vote, since in self.against.items())]
        new = [peer for peer in answering if self.polled.get(peer.name) == (voted(peer.answer), True)]
        return voted_for_another(self.peers, new, timeline, self.void | young, old) if self.replaceable() else None

    def know_vote(self, peer):
        """Which vote of a peer is no news. Of a question that it has not answered to its end the vote is that of an answer before."""
        if 'voted' not in peer.answer or peer.whole is None or peer.whole < self.since:
            return
        vote = voted(peer.answer)
        before, news = self.polled.get(peer.name, (vote, False))
        if vote != before:
            news = True
            # What is known of one of the same name is about another one.
            self.void.discard(vote)
            self.against.pop(vote, None)
        # While this primary cannot be replaced nobody counts on its stop.
        self.polled[peer.name] = (vote, news and self.replaceable())

    def tidy(self, directory):
        """The server here takes writes: what was left beside its standby.signal is about nothing any more."""
        uptime, pid = self.local.answer.get('uptime'), (self.detected or (None, None))[1]
        path = left_over(directory, pid, None if uptime is None else uptime + clock() - self.local.answered)
        if path:
            try:
                os.unlink(path)
                say('removes %s, which was there beside standby.signal, and which the next start would take for a restore' % path)
            except (IOError, OSError) as exc:
                self.say('tidy', '%s cannot be removed, and the next start would take it for a restore: %s' % (path, exc))

    def announce_repmgrd(self):
        """Restart a repmgrd that runs, and of which its server does not know: by ending it, for systemd starts it again.

        Where the server came back between two of its checks, after a crash say, repmgrd (5.3) connects anew, and does not write its number and its node into
        the shared memory, which is empty then. It cannot be paused, passes for one that does not run, and what others notify it of is lost. A server that
        came back later it tells (check_connection and monitor_streaming_primary in repmgrd-physical.c). Only while the primary is in sight, so that no
        election is at work.
        """
        here = self.local.answer if self.fresh(self.local) else {}
        if here.get('repmgrd') is not False or (here.get('in_recovery') and not here.get('receiving')) or (here.get('uptime') or 0) < UNANNOUNCED:
            self.unannounced = None
            return
        if self.unannounced is not None and clock() < self.unannounced[1]:
            return
        pid, known = daemon(self.config), self.unannounced
        self.unannounced = (pid, clock() + UNANNOUNCED)
        # One that has just been started has that time to tell.
        if pid is None or known is None or known[0] != pid or promoting() or following():
            return
        say('ends repmgrd (process %d), which systemd starts again: it has not told the server that it runs, since that was started' % pid)
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError as exc:
            say('repmgrd (process %d) cannot be ended: %s' % (pid, exc))

    def restores(self):
        """Whether the server here recovers from an archive, and is no primary before that is done. What a file says that was left beside standby.signal, and
        outlives a promotion (left_over), it says about the next start alone.
        """
        return promotes_itself(self.config['data_directory']) and not (self.fresh(self.local) and self.local.answer.get('in_recovery') is False)

    def note_restore(self, kind, pid):
        """Until the server takes writes, or the data are a standby's. Where there is no data directory nothing is known yet."""
        if kind == 'standby' or kind == 'primary' and pid and self.fresh(self.local) and self.local.answer.get('in_recovery') is False:
            keep_restoring(self.config, False)
        elif pid and self.restores():
            keep_restoring(self.config, True)

    def hangs(self, limits=2):
        """Whether the server here, which has answered since it started, neither answers nor refuses connections, as one that recovers does, for so many
        isolation limits.

        This guard goes on asking in its name, and not everybody who answers would notice: a standby below another standby knows nothing of its primary.
        """
        answered_last = self.local.answered or 0
        return answered_last >= self.since and clock() - max(answered_last, self.local.refused or 0) > limits * self.config['isolation']

    def may_elect(self, peer):
        """While repmgrd is paused here: whoever was told before that this primary stops. The others were told that it does not, or never asked, because an
        operator has promoted this node without them.
        """
        return not self.local.answer.get('paused') or peer.node_id in ((self.state['reign'] or {}).get('limited') or [])

    def may_be_replaced(self):
        """... whether they are a majority: before they were told of the pause it is none to them."""
        return bool(self.state['armed'] and self.config['automatic'] and self.local.answer.get('paused')) and len(
            [peer for peer in self.peers if peer.vote and self.may_elect(peer)]) >= majority(self.votes)

    def is_followed(self, answering):
        """Whether a majority follows this primary although somebody knows of another one. What was answered before that was known says so for a moment
        only: a host that stood still has old answers.
        """
        if self.doubted is None:
            self.doubted = clock()
            for peer in self.peers:
                peer.ask_again()
        if clock() - self.doubted > SECOND_LOOK:
            answering = [peer for peer in answering if peer.answered > self.doubted]
        return has_majority(self.config['node_id'], answering, self.votes, self.config['isolation'])

    def lets_another_be_promoted(self, peer):
        holder = peer.answer.get('holder') or ''
        return holder.startswith('repmgr-guard promote ') and holder != session_name(self.config, 'promote')

    def register(self):
        """Who was promoted by hand, or by a repmgr that was killed meanwhile, is not known as primary; and nobody can follow or rejoin it."""
        answer, here = self.local.answer, self.config['node_id']
        # Until it is registered at all it is somebody's first deployment.
        if not self.local.seen(5) or answer.get('in_recovery', True) or here not in (answer.get('registered') or []) or answer['primary_id'] == here:
            self.unregistered, self.register_after = None, 0
            return
        self.unregistered = self.unregistered or clock()
        if clock() - self.unregistered < SETTLED or clock() < self.register_after or self.job or answer.get('paused') or promoting():
            return
        self.register_after = clock() + PATIENCE
        say('registers this node as primary, which it has been for %d s without being registered' % (clock() - self.unregistered))
        self.job = Job(self.config, 'registration', self.repmgr('primary', 'register', '--force'), self.registered, seconds=PATIENCE)

    def registered(self, code, output):
        if code:
            self.say('register', 'could not register this node as primary: %s. Tries again in %d s; by hand: %s' % (
                why_not(output), PATIENCE, next_command('site')))

    def adopt(self, answering):
        """A witness that was away during a failover finds the new primary by itself, but stays registered below the old one."""
        here = self.config['node_id']
        strays = self.local.answer.get('strays') or []
        if self.local.waiting or not self.local.seen(5) or self.local.answer.get('primary_id') != here:
            return
        for peer in answering:
            if peer.witness and peer.node_id in strays and peer.answer.get('upstream') == here:
                self.say('adopt', 'registers %s below this node, which it follows' % peer.name)
                ask_all([self.local], 1, _ADOPT % (here, peer.node_id))

    def withdraw(self, answering):
        """Drop the votes that have served: where who gave one has followed, which it knows by its own data. And those for a promotion that came to nothing,
        once that node is a standby: should it be away later, a start here would wait for it. What it was before this host stood still does not count
        (is_voted_out).
        """
        here = self.local.answer
        if not self.fresh(self.local) or here.get('in_recovery') is not False or not here.get('timeline'):
            return
        followed = (self.state['reign'] or {}).get('followed') or []
        standbys = [peer.node_id for peer in answering if hears(peer.answer, self.config['isolation'])] if clock() - self.since >= PATIENCE else []
        served = []
        for peer in answering:
            later, number = voted(peer.answer)
            follows = peer.node_id in followed and (peer.witness or hears(peer.answer, self.config['isolation']) and (
                peer.answer.get('timeline') == here['timeline']))
            nothing = number in standbys and (later, number) in self.void
            if later and (nothing if later > here['timeline'] else follows) and not peer.answer.get('holder') and not peer.waiting:
                if later > here['timeline']:
                    say('withdraws the vote of %s for node %d on timeline %d: that node is a standby' % (peer.name, number, later))
                served.append(peer)
        if served:
            ask_all(served, 1, _VOTE % ("''", "''"))
            for peer in served:
                # Should the same node be promoted later, its vote has the same name, and is another one.
                self.void.discard(voted(peer.answer))
                self.against.pop(voted(peer.answer), None)
                peer.answer = dict(peer.answer, voted=None)

    def tell(self, answering):
        """Who has lost its primary waits a minute for the word of a repmgrd that has been promoted. Where another promotes, or repmgrd dies
        meanwhile, nobody gives it.
        """
        here, told = self.config['node_id'], []
        for peer in answering if clock() - self.since < PATIENCE else []:
            if upstream_of(peer) in (None, here) or peer.answer.get('receiving') or peer.answer.get('paused'):
                self.untold.pop(peer.name, None)
            elif clock() - self.untold.setdefault(peer.name, clock()) >= SERVED and self.local.answer.get('primary_id') == here and not peer.waiting:
                say('tells %s, which looks for node %s, to follow this node' % (peer.name, upstream_of(peer)))
                told.append(peer)
                # It keeps what it is told.
                self.untold[peer.name] = clock() + PATIENCE
        if told:
            # All at once: the watch must not stand still for each in turn.
            ask_all(told, 1, _NOTIFY % here)

    def forget(self, answering):
        """A notification that comes after a node has found the new primary by itself is kept, and taken for that of the next election: repmgr's
        witness then goes on asking a primary that is dead. So what is served is taken back.
        """
        served = []
        for peer in answering:
            notified, last_seen = peer.answer.get('notified'), peer.answer.get('last_seen')
            follows = peer.answer.get('upstream') == self.config['node_id'] and last_seen is not None and last_seen <= 2
            if notified is None or not follows:
                self.notified.pop(peer.name, None)
            elif self.notified.setdefault(peer.name, (notified, clock()))[0] != notified:
                self.notified[peer.name] = (notified, clock())
            # To follow this node it does already; of another one, it may be about to.
            elif clock() - self.notified[peer.name][1] >= (1 if notified == self.config['node_id'] else SERVED) and not peer.waiting:
                say('takes back what %s was notified of, and has not used: to follow node %s' % (peer.name, notified))
                served.append(peer)
                del self.notified[peer.name]
        if served:
            ask_all(served, 1, _FORGET)

    # a server that should run, and does not
    def stopped(self):
        if self.is_starting() or self.job or not self.wanted() or rejoining(self.config['data_directory']):
            return
        control = control_data(self.config, READS)
        if not control:
            # On which timeline it is nobody knows, nor what a rejoin would have to do.
            self.say('control', 'does not start or rejoin the server: pg_controldata does not tell about %s within %d s, or fails' % (
                self.config['data_directory'], READS))
            return
        if lost_its_signal(control, self.config['data_directory'], is_restoring(self.config)):
            try:
                make_standby(self.config['data_directory'], control)
            except (IOError, OSError) as exc:
                self.say('signal', 'cannot be made the standby again that it was before it was killed while it was promoted: %s' % exc)
            return
        system, timeline = control.get('Database system identifier'), own_timeline(control, self.config['data_directory'])
        primary = other_primary([peer for peer in self.peers if self.fresh(peer)], system)
        if promotes_itself(self.config['data_directory']):
            # Who has restored them knows when they are to be started.
            self.say('restored', 'does not rejoin %s, which is primary. %s' % (primary.name, restored(self.config)) if primary else (
                'does not start the server, whose data recover from an archive. To start it: systemctl start %s' % self.config['service']), float('inf'))
            return
        if primary and (primary.answer.get('timeline') or 0) < timeline:
            # What this node has acknowledged since would be lost.
            self.say('older', 'does not rejoin %s: it is primary on timeline %s, which is older than %s, the one here. Decide which data are right, then '
                     'look: %s --check' % (primary.name, primary.answer.get('timeline'), timeline, next_command('rejoin', self.config['name'])), float('inf'))
            return
        if primary and (primary.answer.get('timeline') or 0) == own_timeline(control) and not wrote_nothing(control):
            # Both were promoted to it, or somebody has taken a signal file away. repmgr would attach it, and pg_rewind find nothing to do.
            self.say('twice', 'does not rejoin %s: both have been primary on timeline %d, and neither PostgreSQL nor pg_rewind can tell what only one of them '
                     'has. To make this node a standby, which moves its data aside: %s' % (
                         primary.name, own_timeline(control), next_command('rejoin', self.config['name'], 'reclone')), float('inf'))
            return
        if primary:
            self.rejoin(primary, control)
            return
        # A rewind that was cut short has copied the newer history file already: what the control data say is what may start.
        problem = start_problem(self.peers, self.fresh, self.votes, system, own_timeline(control),
                                reign=reign_on(self.state, own_timeline(control), self.config['data_directory']))
        if problem:
            if clock() - self.since > 2:
                self.say('start', 'does not start the server: %s. %s' % (problem.text, next_step(self.config, problem) if problem.code == 'named'
                                                                         else 'It starts when it can'))
            return
        if self.started is not None and clock() - self.started < PATIENCE and can_take_over(self.peers, self.fresh):
            self.say('again', 'does not start the server: it was started less than %d s ago and is down again, so this is left to a failover '
                     'for a while' % PATIENCE)
            return
        # Until they have missed it, and elected.
        if self.blinded is not None and clock() - self.blinded < PATIENCE + self.config['detection'] and can_take_over(self.peers, self.fresh):
            self.say('again', 'does not start the server: others answer, but have not seen it, so this is left to a failover for a while')
            return
        self.start('starts the server again, in its place')

    def fallen(self):
        """A standby harms nobody; but one that falls again at once has a reason that somebody should see."""
        if self.is_starting() or self.job or not self.wanted() or rejoining(self.config['data_directory']):
            return
        if self.started is None or clock() - self.started > PATIENCE:
            self.start('starts the standby again')

    def start(self, text):
        self.started = clock()
        say(text)
        # Not waited for: a recovery may be long, and what goes on around it is watched meanwhile.
        self.starting = subprocess.Popen(['sudo', '-n', '/usr/bin/systemctl', 'start', self.config['service']])

    def is_starting(self):
        if self.starting is None:
            return False
        if self.starting.poll() is None:
            return True
        if self.starting.returncode:
            # What cannot start must not keep the others from being promoted.
            say('the server did not start: see journalctl -u %s' % self.config['service'])
            ask_all([peer for peer in self.peers if self.fresh(peer)], 2, _RELEASE % literal(session_name(self.config, 'start')))
        self.starting = None
        return False

    @staticmethod
    def forget_stop():
        try:
            os.unlink(STOPPED_FILE)
        except OSError:
            pass

    def wanted(self):
        """systemd has tried to run it, or the guard has stopped it. A server that somebody else has stopped or masked stays so."""
        if self.asking is not None:
            return self.has_failed()
        # Often while it may be a matter of seconds.
        if self.asked_systemd is not None and clock() - self.asked_systemd < (0.5 if clock() - self.since < PATIENCE else 5):
            return False
        self.asked_systemd = clock()
        for folder in ('/etc', '/run'):
            try:
                if os.readlink('%s/systemd/system/%s.service' % (folder, self.config['service'])) == '/dev/null':
                    return False
            except OSError:
                pass
        # To the unit of EL's packages, whose main process is the server, that is a clean end and no failure.
        if os.path.exists(STOPPED_FILE):
            return True
        with open(os.devnull, 'w') as null:
            self.asking = (subprocess.Popen(['sudo', '-n', '/usr/bin/systemctl', 'is-failed', self.config['service']], stdout=null, stderr=null), clock())
        return self.has_failed()

    def has_failed(self):
        """What systemd has answered. It is not waited for: sudo may wait for a directory service that is away, and meanwhile somebody may start the server,
        which the fuse would end where nothing is told of it. Nor is it asked once more: what hangs as root cannot be ended from here.
        """
        process, since = self.asking
        code = outcome(process, SOON if clock() - since < SOON else 0)
        if code is None:
            if clock() - since > PATIENCE:
                self.say('systemd', 'systemctl is-failed %s has not ended for %d s (process %d): until it does, nothing is started here' % (
                    self.config['service'], clock() - since, process.pid))
            return False
        self.asking = None
        # Of a time before: the server was started since.
        return code == 0 and since >= self.since

    def rejoin(self, primary, control):
        config = self.config
        if config['auto_rejoin'] == 'off':
            self.say('rejoin', '%s is primary; this node can come back as its standby: %s' % (
                primary.name, next_command('rejoin', config['name'])))
            return
        if clock() < self.rejoin_after:
            return
        late = [peer for peer in self.peers if peer.witness and self.fresh(peer) and peer.answer.get('upstream') == config['node_id']]
        self.late = (self.late or clock()) if late else None
        if late and clock() - self.late < SERVED:
            # repmgr's witness would take this node, back so soon, for the primary that it knows, and stay registered below it. One that has
            # not been told by then asks this node until it is back; the new primary's guard registers it anew.
            self.say('late', 'waits for %s to notice that %s is primary' % (names(late), primary.name))
            return
        rewind = config['auto_rejoin'] == 'rewind'
        if rewind and not has_checkpoint(primary):
            self.have_checkpoint(primary)
            return
        self.checkpoint = None
        if rewind and wrote_nothing(control) and (primary.answer.get('timeline') or 0) <= own_timeline(control):
            # Nothing to be rewound. A recovery would write a checkpoint that the primary does not have, and that pg_rewind does not look for on one timeline.
            rewind = False
        recovery = recovery_of(config, control) if rewind else None
        if recovery:
            say('recovers the crashed server before it is rewound')
            self.job = Job(config, 'recovery', recovery, lambda code, output: self.recovered(primary, code, output),
                           more=without_stale_pid(config['data_directory']))
            return
        say('rejoins %s as its standby (%s)' % (primary.name, 'rewind' if rewind else 'attach'))
        # Never ended: half of a rewind is lost data. A connection that is dead ends by what the primary's conninfo says.
        self.job = Job(config, 'rejoin', self.repmgr('-d', primary.conninfo, 'node', 'rejoin', *['--force-rewind'] if rewind else []),
                       lambda code, output: self.not_rejoined(primary, why_not(output)) if code else self.rejoined(primary))

    def recovered(self, primary, code, output):
        control = {} if code else control_data(self.config, READS)
        if control:
            self.rejoin(primary, control)
        else:
            # Of what nothing is known nothing tells how it is to be rejoined.
            self.not_rejoined(primary, output[-300:] if code else 'pg_controldata does not tell about %s' % self.config['data_directory'])

    def have_checkpoint(self, primary):
        """As a job: it may take a minute, in which somebody may start the server here."""
        config = self.config
        if self.checkpoint is None:
            self.job = Job(config, 'checkpoint', [os.path.join(config['bin_dir'], 'psql'), '-X', '-q', '-w', '-d', primary.conninfo, '-c', 'CHECKPOINT'],
                           lambda code, output: self.has_had_checkpoint(primary, code, output), seconds=CHECKPOINT_LIMIT,
                           more={'PGCONNECT_TIMEOUT': str(config['connect_timeout'])})
        elif primary.answered is not None and primary.answered > self.checkpoint:
            self.checkpoint = None
            self.not_rejoined(primary, '%s has had no checkpoint since its promotion' % primary.name)

    def has_had_checkpoint(self, primary, code, output):
        if code:
            self.not_rejoined(primary, '%s has had no checkpoint since its promotion: %s' % (primary.name, output[-300:]))
            return
        # What it has answered until now is of before.
        self.checkpoint = clock()
        primary.ask_again()

    def rejoined(self, primary):
        self.rejoin_failures = 0
        say('is a standby of %s again' % primary.name)

    def not_rejoined(self, primary, problem):
        self.rejoin_failures += 1
        # Right after a failover the metadata has yet to settle.
        pause = min(60, 2 ** self.rejoin_failures)
        self.rejoin_after = clock() + pause
        self.say('rejoin', 'could not rejoin %s: %s. Tries again in %d s; by hand: %s' % (
            primary.name, problem, pause, next_command('rejoin', self.config['name'])))

    def repmgr(self, *words):
        return [os.path.join(self.config['bin_dir'], 'repmgr'), '-f', self.config['conf']] + list(words)

    # a server that might have to take over: repmgr does not repeat an election whose promotion went wrong
    def standby(self):
        def seen(peer):
            return peer.seen(15)

        answer = self.local.answer
        if answer.get('in_recovery') and answer.get('primary_id') is not None:
            self.keep(primary=answer['primary_id'])
        primary = other_primary([peer for peer in self.peers if seen(peer)])
        if not seen(self.local) or hears(answer, 15) or primary:
            self.lost = None
            if seen(self.local) and not hears(answer, 15) and primary.answer.get('system') == answer.get('system'):
                self.left_behind(primary)
            elif seen(self.local):
                self.astray, self.follow_attempts, self.stuck = None, 0, None
                if self.went_round is not None and hears(answer, 15):
                    self.ends_detour()
            return
        self.astray, self.lost = None, self.lost or clock()
        # Until then repmgr is given the time to do it.
        if clock() - self.lost < self.config['detection']:
            return
        lease = self.config['isolation'] + STOP_MARGIN
        asked = asked_by_primary([self.local] + [peer for peer in self.peers if seen(peer)], lease, self.memory.known, answer.get('timeline'))
        if asked:
            self.say('alarm', 'is cut off from its primary: ' + asked, 60)
            return
        problem = promotion_problem(self.local, self.peers, seen, self.votes, self.config['synchronous'], lease, self.memory.known)[0]
        daemon = 'repmgrd is paused' if answer.get('paused') else '' if answer.get('repmgrd') else 'repmgrd does not run'
        deference = clock() - self.lost < self.config['detection'] + DEFERENCE
        if not daemon and not problem and self.config['automatic'] and best_candidate(self.local, self.peers, seen, deference) is self.local:
            self.elect()
            return
        self.say('alarm', 'NO PRIMARY: %s. Type: %s' % (
            '; '.join([text for text in (daemon, problem) if text]) or 'no standby was promoted', next_command('failover')), 60)

    def left_behind(self, primary):
        """A node that was away during a failover goes on asking the old primary, and a repmgrd that starts without its upstream ends at once."""
        config = self.config
        self.astray = self.astray or clock()
        # Nobody has paused repmgrd to do something by hand.
        if self.local.answer.get('paused') or primary.answer.get('paused'):
            return
        if self.goes_round(primary):
            return
        # repmgrd has had its time.
        if clock() - self.astray < LEFT_BEHIND:
            return
        if config['auto_rejoin'] == 'off':
            self.say('astray', '%s is primary, and this standby streams from nobody. Type: %s' % (primary.name, next_command('site')))
            return
        if clock() < self.follow_after or self.job or following():
            return
        pause = PATIENCE * 2 ** min(4, self.follow_attempts)
        holders = held_by(self.local, [primary] + [peer for peer in self.peers if peer is not primary and peer.seen(15) and not peer.witness
                                                   and hears(peer.answer, 15) and peer.answer.get('system') == primary.answer.get('system')])
        if not holders:
            self.follow_after = clock() + PATIENCE * 2 ** 4
            self.say('astray', 'streams from nobody, and %s has removed the WAL that it needs, from %s on; no other node that answers has it. It has to be '
                     'cloned again: %s' % (primary.name, lsn_text(self.local.answer['lsn']), next_command('rejoin', config['name'], 'reclone')))
            return
        # A standby that has what the primary has removed will do: from there it catches up.
        upstream = holders[0]
        self.follow_attempts += 1
        self.follow_after = clock() + pause
        say('streams from nobody for %d s: follows %s%s' % (clock() - self.astray, upstream.name, '' if upstream is primary else (
            ', because primary %s has removed the WAL that it needs' % primary.name)))
        self.job = Job(config, 'follow', self.repmgr('standby', 'follow', '--upstream-node-id', str(upstream.node_id)),
                       lambda code, output: code and self.say('astray', 'could not follow %s: %s. Tries again in %d s; by hand: %s' % (
                           upstream.name, why_not(output), pause, next_command('rejoin', config['name']))),
                       seconds=FOLLOW_LIMIT)

    def goes_round(self, primary):
        """Let this standby stream from the primary by PostgreSQL alone, where repmgr refuses it. Whether that is begun, or may be soon.

        repmgr's own command follows as soon as it streams (standby): it gives it its slot and its record.
        """
        answer = self.local.answer
        if not has_partial_record(answer) or self.went_round == answer['replayed'] or self.config['auto_rejoin'] == 'off' or (
                answer.get('version') or 0) < 130000 or (primary.answer.get('timeline') or 0) <= (answer.get('checkpoint_timeline') or 0):
            self.stuck = None
            return False
        if self.stuck is None or self.stuck[0] != answer['replayed']:
            # What it has received whole it goes on replaying.
            self.stuck = (answer['replayed'], clock())
        if clock() - self.stuck[1] < SERVED or self.job or following():
            return True
        self.stuck, self.went_round = None, answer['replayed']
        say('streams from nobody, and has the beginning of a record that %s does not have (%s to %s), so that repmgr would not follow: streams from it all '
            'the same' % (primary.name, lsn_text(answer['replayed']), lsn_text(answer['lsn'])))
        statements = ['ALTER SYSTEM SET primary_conninfo = %s' % literal(upstream_conninfo(self.config, primary.conninfo)),
                      "ALTER SYSTEM SET primary_slot_name = ''", 'SELECT pg_catalog.pg_reload_conf()']
        self.job = Job(self.config, 'new upstream',
                       [os.path.join(self.config['bin_dir'], 'psql'), '-X', '-q', '-w', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d',
                        'port=%d dbname=postgres user=%s' % (self.config['port'], self.config['user'])]
                       + [word for statement in statements for word in ('-c', statement)],
                       lambda code, output: code and self.say('astray', 'could not set primary_conninfo: %s. By hand: %s' % (
                           output[-300:], next_command('rejoin', self.config['name']))), seconds=30)
        return True

    def ends_detour(self):
        """Its slot and its record, which repmgr gives to a standby that it lets follow."""
        primary_id = self.local.answer.get('primary_id')
        if primary_id is not None and registered_upstream(self.local) == primary_id:
            # repmgrd was faster; asked again, repmgr would meet its own slot in use.
            self.went_round = None
            return
        upstream = [peer for peer in self.peers if peer.node_id == primary_id and peer.seen(15)]
        if not upstream or clock() < self.follow_after or self.job or following():
            return
        self.follow_after = clock() + PATIENCE
        self.job = Job(self.config, 'follow', self.repmgr('standby', 'follow', '--upstream-node-id', str(upstream[0].node_id)), self.went, seconds=FOLLOW_LIMIT)

    def went(self, code, output):
        if code:
            self.say('astray', 'streams, and repmgr could not follow: %s. Tries again in %d s' % (why_not(output), PATIENCE))
        else:
            self.went_round = None
            say('follows as before')

    def elect(self):
        """Another node's, begun at the same time, and this one exclude each other by their locks."""
        if clock() < self.elect_after or self.job or (self.election is not None and self.election.poll() is None) or promoting():
            return
        self.elect_after = clock() + PATIENCE
        say('NO PRIMARY, and repmgr has promoted nobody: promotes this node, which has received most')
        self.election = subprocess.Popen(
            [sys.executable, os.path.abspath(sys.argv[0]), 'promote', '--'] + self.repmgr('standby', 'promote', '--log-to-file'),
            env=dict(os.environ, PGPASSFILE=self.config['passfile']), cwd='/')


def why_not(output):
    """The reason in what `repmgr node rejoin` printed: pg_rewind's own where it is that which failed, for repmgr has none then."""
    lines = output.splitlines()
    rewind = [line for line in lines if line.startswith(('pg_rewind: error', 'pg_rewind: fatal'))]
    said = [line for line in lines if line.startswith(('ERROR', 'DETAIL', 'HINT')) and 'pg_rewind command is' not in line]
    return '; '.join(rewind[:2] or said[:3]) or output[-300:]


def has_checkpoint(primary):
    """Before PostgreSQL 16 pg_rewind believes the primary's control data, which know of a promotion after the next checkpoint only."""
    return primary.answer.get('checkpoint_timeline') == primary.answer.get('timeline')


def without_stale_pid(directory):
    """What PostgreSQL has to be told where postmaster.pid names a process that is no server of this directory.

    After a crash of the host the number may be that of repmgrd, or of this program: PostgreSQL does not start beside a process of its own user, except
    for the one that is named like this (CreateLockFile in miscinit.c; pg_ctl does the same). It still looks for shared memory that is in use.
    """
    try:
        return {'PG_GRANDPARENT_PID': str(named_pid(directory)[0])} if owner(directory)[0] is None else {}
    except (IOError, OSError, ValueError):
        return {}


def can_be_rewound(control, version):
    """Whether pg_rewind takes the data as they are, and gets the timeline of the server right: it has to be shut down, by itself or by a recovery for a single
    user. Whether it may at all (wal_log_hints or checksums), and has the WAL since the two have diverged, it looks at itself, before it changes anything.

    Before PostgreSQL 16 it takes the timeline of a standby from the last restartpoint. If a promotion came after that, it looks for WAL on a timeline that
    had already ended. The same as in plugins/module_utils/_rewind.py.
    """
    state = control.get('Database cluster state')
    if state == 'shut down in recovery':
        checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
        return version >= 16 or not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    return state == 'shut down'


def wrote_nothing(control):
    """Whether what was here last was a standby, or a candidate that did not come to its first write: it has nothing but what it has received."""
    return control.get('Database cluster state') in ('shut down in recovery', 'in archive recovery')


def major_version(directory):
    """0 where that cannot be read."""
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            return int(handle.read().split('.')[0])
    except (IOError, OSError, ValueError):
        return 0


def recovery_of(config, control):
    """The command that recovers a crashed server, so that it can be rewound; None for one that can be as it is."""
    if can_be_rewound(control, major_version(config['data_directory'])):
        return None
    # Where the configuration is not in the data directory, pg_rewind does not find it for the recovery of a crashed server.
    elsewhere = os.path.join(config['config_directory'], 'postgresql.conf')
    options = [] if os.path.exists(os.path.join(config['data_directory'], 'postgresql.conf')) else ['-c', 'config_file=' + elsewhere]
    return [os.path.join(config['bin_dir'], 'postgres'), '--single', '-F', '-D', config['data_directory']] + options + ['template1']


def tell_systemd(text):
    address = os.environ.get('NOTIFY_SOCKET')
    if address:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # A systemd that hangs, or starts anew, must not keep the guard from its work.
            notify.setblocking(False)
            notify.sendto(text.encode('ascii'), '\0' + address[1:] if address.startswith('@') else address)
        except (IOError, OSError):
            pass
        notify.close()


def predecessor(stamp, now):
    """What is known of the guard before this one. stamp: what it told the fuse last, in this boot."""
    if not stamp:
        return 'the first guard since the boot'
    if is_number(stamp.get('ended')):
        return 'the guard before it was ended %d s ago' % (now - stamp['ended'])
    return 'the guard before it was killed or has crashed'


def watch(config):
    become_user(config)

    def end(dummy_number, dummy_frame):
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    changed = os.stat(CONFIG).st_mtime
    watching = Watch(config)
    say('watches over %s: %d votes, %s a primary that is alone for %d s, auto_rejoin %s; %s' % (
        config['name'], watching.votes, 'stops' if watching.state['armed'] else 'is not armed yet, and once it is stops', config['isolation'],
        config['auto_rejoin'], predecessor(watching.before, clock())))
    try:
        with open(PID_FILE, 'w') as handle:
            handle.write('%d\n' % os.getpid())
    except (IOError, OSError) as exc:
        # Where /run is full status says that no guard runs, which is better than none.
        say('%s cannot be written: %s' % (PID_FILE, exc))
    tell_systemd('READY=1')
    try:
        while True:
            watching.tick()
            tell_systemd('WATCHDOG=1')
            try:
                written = os.stat(CONFIG).st_mtime
                # What is at work here goes on as it was begun.
                if written != changed and not watching.job:
                    changed = written
                    successor = Watch(read_config())
                    watching.close()
                    watching = successor
                    say('has read its configuration again: %d votes' % watching.votes)
            except (IOError, OSError, KeyError, TypeError, ValueError) as exc:
                # A guard that ended for that could not start again, and the fuse would end a server that is well.
                watching.say('config', '%s cannot be read, and what it said before counts: %s' % (CONFIG, exc))
    except SystemExit:
        # Whatever else ends this program leaves its last word, and the server, to the fuse.
        watching.stand_down()
        raise
    finally:
        watching.close()
        if os.path.exists(PID_FILE):
            os.unlink(PID_FILE)


def main(argv):
    verbs = {'start': start, 'watch': watch, 'status': status}
    verb = argv[1] if len(argv) > 1 else ''
    command = argv[3:] if len(argv) > 3 and argv[2] == '--' else []
    promotes, dead = verb in ('promote', 'promote-by-hand'), verb == 'primary-is-dead' and len(argv) == 3
    if (verb not in verbs and not promotes and not dead) or (len(argv) > 2 and not (promotes and command) and not dead) or (
            verb == 'promote-by-hand' and not command):
        print(__doc__)
        return 0 if verb in ('-h', '--help', 'help') else 2
    try:
        config = read_config()
    except (IOError, OSError, ValueError) as exc:
        # Not deployed yet, or taken away: nothing to be kept apart.
        say('%s cannot be read: %s' % (CONFIG, exc))
        return 0 if verb == 'start' and getattr(exc, 'errno', None) == errno.ENOENT else 1
    if dead:
        return primary_is_dead(config, argv[2])
    return promote(config, command, by_hand=verb == 'promote-by-hand') if promotes else verbs[verb](config)


if __name__ == '__main__':
    sys.exit(main(sys.argv))
