# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SQL of the modules. One psql process per connection; each statement returns a tag and one line of JSON."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import threading
import time
import uuid

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import LIMIT, BrokenInput, CommandError, ended_late, redacted

# JSON, because names and settings may contain any character. jsonb, because json_agg adds line breaks.
_PROLOGUE = r"""
SELECT current_setting('server_version_num')::int >= 110000 AS v11,
       EXISTS (SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'repmgr') AS has_repmgr,
       pg_catalog.pg_is_in_recovery() AS in_recovery \gset
"""

_IDENTITY = r"""
SELECT 'server', to_jsonb(t) FROM (SELECT
  pg_catalog.pg_is_in_recovery() AS in_recovery,
  pg_catalog.current_database() AS database,
  current_setting('server_version') AS version,
  current_setting('server_version_num')::int AS version_num,
  (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
  (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()) AS checkpoint_timeline,
  pg_catalog.pg_postmaster_start_time()::text AS started_at,
  extract(epoch FROM pg_catalog.pg_postmaster_start_time())::float8 AS started_epoch,
  extract(epoch FROM pg_catalog.pg_conf_load_time())::float8 AS loaded_at) t;
"""

_RECEIVER = r"""
SELECT 'receiver', to_jsonb(r) FROM pg_catalog.pg_stat_wal_receiver r;
"""

_SERVER = _IDENTITY + r"""
SELECT 'checksums', to_jsonb(data_page_checksum_version > 0) FROM pg_catalog.pg_control_init();
\if :in_recovery
SELECT 'position', to_jsonb(t) FROM (SELECT
  pg_catalog.pg_last_wal_receive_lsn()::text AS received_lsn,
  pg_catalog.pg_last_wal_replay_lsn()::text AS replayed_lsn,
  pg_catalog.pg_is_wal_replay_paused() AS replay_paused,
  pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())::bigint AS lag_bytes,
  CASE WHEN pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() THEN 0
       ELSE round(extract(epoch FROM now() - pg_catalog.pg_last_xact_replay_timestamp())::numeric, 3) END AS lag_seconds) t;
\else
SELECT 'position', to_jsonb(t) FROM (SELECT
  pg_catalog.pg_current_wal_lsn()::text AS current_lsn,
  substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS wal_timeline) t;
\endif
SELECT 'settings', jsonb_object_agg(name, setting) FROM pg_catalog.pg_settings WHERE name IN (
  'archive_command', 'archive_mode', 'checkpoint_timeout', 'cluster_name', 'config_file', 'data_checksums',
  'data_directory', 'full_page_writes', 'hba_file', 'hot_standby', 'ident_file', 'listen_addresses', 'max_connections',
  'max_locks_per_transaction', 'max_prepared_transactions', 'max_replication_slots', 'max_slot_wal_keep_size', 'max_wal_senders',
  'max_worker_processes', 'port', 'primary_conninfo', 'primary_slot_name', 'restore_command',
  'shared_preload_libraries', 'ssl', 'ssl_cert_file', 'ssl_key_file', 'synchronous_commit', 'synchronous_standby_names', 'unix_socket_directories',
  'wal_keep_segments', 'wal_keep_size', 'wal_level', 'wal_log_hints', 'wal_receiver_timeout', 'wal_sender_timeout');
SELECT 'configured', coalesce(jsonb_object_agg(name, jsonb_build_object('setting', setting, 'unit', unit, 'default', boot_val, 'file', sourcefile)), '{}')
  FROM pg_catalog.pg_settings WHERE source = 'configuration file' AND name IN (
  'archive_command', 'archive_library', 'archive_mode', 'hot_standby', 'listen_addresses', 'max_replication_slots', 'max_slot_wal_keep_size',
  'max_wal_senders', 'password_encryption', 'shared_preload_libraries', 'ssl', 'ssl_cert_file', 'ssl_key_file', 'ssl_min_protocol_version',
  'wal_keep_segments', 'wal_keep_size', 'wal_level', 'wal_log_hints', 'wal_receiver_timeout', 'wal_sender_timeout');
SELECT 'pending_restart', coalesce(jsonb_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_settings WHERE pending_restart;
""" + _RECEIVER + r"""
SELECT 'replication', coalesce(jsonb_agg(to_jsonb(x)), '[]') FROM (
  SELECT r.*, pg_catalog.pg_wal_lsn_diff(
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn()
         ELSE pg_catalog.pg_current_wal_lsn() END, r.replay_lsn)::bigint AS lag_bytes
  FROM pg_catalog.pg_stat_replication r) x;
SELECT 'slots', coalesce(jsonb_agg(to_jsonb(x)), '[]') FROM (
  SELECT s.*, pg_catalog.pg_wal_lsn_diff(
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn()
         ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn)::bigint AS retained_bytes
  FROM pg_catalog.pg_replication_slots s) x;
-- The position from which the server has all WAL without a gap, regardless of the timeline.
SELECT 'oldest_wal', to_jsonb((min(number) * size)) FROM (
  SELECT number, size, current, number - row_number() OVER (ORDER BY number) AS run FROM (
    SELECT DISTINCT i.size, pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery()
        THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        ELSE pg_catalog.pg_current_wal_lsn() END, '0/1')::bigint / i.size AS current,
      ('x' || substr(f.name, 9, 8))::bit(32)::bigint * (4294967296 / i.size) + ('x' || substr(f.name, 17, 8))::bit(32)::bigint AS number
    FROM pg_catalog.pg_ls_waldir() f, (SELECT bytes_per_wal_segment::bigint AS size FROM pg_catalog.pg_control_init()) i
    WHERE f.name ~ '^[0-9A-F]{24}$') w) r
  GROUP BY size, current, run HAVING current BETWEEN min(number) AND max(number);
-- The timeline of a standby, even if its primary is gone. The control file has it only from the next restartpoint on, and history files exist also for
-- timelines that the standby cannot follow. But the WAL file at its last received position has the timeline that it is on in its name.
SELECT 'recovery_timeline', to_jsonb(max(('x' || substr(f.name, 1, 8))::bit(32)::int)) FROM pg_catalog.pg_ls_waldir() f, (
  SELECT bytes_per_wal_segment::bigint AS segment, pg_catalog.pg_wal_lsn_diff(
    greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()), '0/1')::bigint AS reached FROM pg_catalog.pg_control_init()) i
  WHERE pg_catalog.pg_is_in_recovery() AND CASE WHEN f.name ~ '^[0-9A-F]{24}$' THEN reached / segment
    = ('x' || substr(f.name, 9, 8))::bit(32)::bigint * (4294967296 / segment) + ('x' || substr(f.name, 17, 8))::bit(32)::bigint END;
SELECT 'archiver', to_jsonb(a) FROM (SELECT last_archived_wal, last_failed_wal, last_failed_time::timestamptz(0) AS failing_since,
  coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing FROM pg_catalog.pg_stat_archiver) a;
SELECT 'databases', coalesce(jsonb_agg(datname), '[]') FROM pg_catalog.pg_database;
SELECT 'role', to_jsonb(t) FROM (SELECT rolname, rolsuper, rolreplication FROM pg_catalog.pg_roles
  WHERE rolname = current_user) t;
"""

_RECORDS = r"""
SELECT 'extension', to_jsonb(extversion) FROM pg_catalog.pg_extension WHERE extname = 'repmgr';
SELECT 'nodes', coalesce(jsonb_agg(to_jsonb(n) ORDER BY n.node_id), '[]') FROM repmgr.nodes n;
SELECT 'repmgrd', to_jsonb(t) FROM (SELECT
  repmgr.repmgrd_is_running() AS running, repmgr.repmgrd_is_paused() AS paused, repmgr.get_repmgrd_pid() AS pid) t;
"""

_REPMGR = r"""
\if :has_repmgr
""" + _RECORDS + r"""
SELECT 'missing_rights', coalesce(jsonb_agg(what ORDER BY what), '[]') FROM (
  SELECT 'attribute REPLICATION' AS what FROM pg_catalog.pg_roles
    WHERE rolname = current_user AND NOT rolreplication AND NOT rolsuper
  UNION ALL SELECT 'usage of schema repmgr' WHERE NOT has_schema_privilege('repmgr', 'USAGE')
  UNION ALL SELECT 'all on repmgr.' || relname FROM pg_catalog.pg_class
    WHERE relnamespace = 'repmgr'::regnamespace AND relkind IN ('r', 'v')
      AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')
               AND has_table_privilege(oid, 'DELETE') AND has_table_privilege(oid, 'TRUNCATE'))
  UNION ALL SELECT 'membership of ' || rolname FROM pg_catalog.pg_roles
    WHERE rolname IN ('pg_monitor', 'pg_checkpoint') AND NOT pg_has_role(oid, 'USAGE')
  UNION ALL SELECT 'execute of ' || name FROM unnest(ARRAY[
      'pg_ls_dir(text,boolean,boolean)', 'pg_stat_file(text,boolean)', 'pg_read_binary_file(text)',
      'pg_read_binary_file(text,bigint,bigint,boolean)', 'pg_wal_replay_resume()', 'pg_promote(boolean,integer)']) AS name
    WHERE NOT has_function_privilege(to_regprocedure('pg_catalog.' || name), 'EXECUTE')) x;
SELECT 'upstream_last_seen', to_jsonb(repmgr.get_upstream_last_seen());
SELECT 'upstream_node_id', to_jsonb(repmgr.get_upstream_node_id());
{events}
\endif
"""

# A promoted primary keeps the timestamp of its last replayed transaction until it restarts: from then to the promotion no writes were accepted.
_EVENTS = r"""
SELECT 'events', coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.event_timestamp DESC), '[]') FROM (
  SELECT v.*, CASE WHEN v.event = 'standby_promote' AND v.successful AND NOT pg_catalog.pg_is_in_recovery()
      AND v.node_id IN (SELECT n.node_id FROM repmgr.nodes n WHERE n.type = 'primary' AND n.active)
      AND v.event_timestamp >= pg_catalog.pg_last_xact_replay_timestamp()
    THEN round(extract(epoch FROM v.event_timestamp - pg_catalog.pg_last_xact_replay_timestamp())::numeric, 1) END AS write_gap
  FROM (
    (SELECT * FROM repmgr.events ORDER BY event_timestamp DESC LIMIT {count})
    UNION (SELECT * FROM repmgr.events WHERE event = 'standby_promote' AND successful ORDER BY event_timestamp DESC LIMIT 1)) v) e;
"""

_SIZE = r"""
SELECT 'size', coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM (
  SELECT spcname AS name, pg_catalog.pg_tablespace_location(oid) AS location,
         pg_catalog.pg_tablespace_size(oid)::bigint AS bytes
  FROM pg_catalog.pg_tablespace) t;
"""

# A database driver does not know psql's \if, so this handles both cases in one statement.
_POSITION = r"""
SELECT 'position', to_jsonb(t) FROM (SELECT
  CASE WHEN NOT recovers THEN pg_catalog.pg_current_wal_lsn()::text END AS current_lsn,
  CASE WHEN NOT recovers THEN substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
    ELSE to_hex(greatest((SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver), (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
                         (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()))) END AS wal_timeline,
  CASE WHEN recovers THEN pg_catalog.pg_last_wal_receive_lsn()::text END AS received_lsn,
  CASE WHEN recovers THEN pg_catalog.pg_last_wal_replay_lsn()::text END AS replayed_lsn,
  pg_catalog.pg_wal_lsn_diff(CASE WHEN recovers THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')::bigint AS bytes,
  CASE WHEN recovers THEN pg_catalog.pg_is_wal_replay_paused() END AS replay_paused,
  CASE WHEN recovers THEN CASE WHEN pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn() THEN 0
    ELSE round(extract(epoch FROM now() - pg_catalog.pg_last_xact_replay_timestamp())::numeric, 3) END END AS lag_seconds
  FROM pg_catalog.pg_is_in_recovery() AS recovers) t;
"""

_LOCAL_NODE_ID = r"""
SELECT 'local_node_id', to_jsonb(repmgr.get_local_node_id());
"""

# The statements for a database driver, each with a tag and one value. They need only USAGE on schema repmgr and SELECT on repmgr.nodes. Without pg_monitor
# the row of the WAL receiver is visible, but its columns are NULL.
STATEMENTS = [statement.strip() for text in (_IDENTITY, _POSITION, _RECEIVER, _RECORDS, _LOCAL_NODE_ID)
              for statement in text.split(';\n') if statement.strip()]


class PsqlError(Exception):
    """The server did not answer. The message is that of psql."""


def literal(text):
    """The text as an SQL literal. The guard has a copy."""
    return "'%s'" % text.replace("'", "''")


class Psql:
    """How to connect to a server."""

    def __init__(self, runner, bin_dir, passfile=None, connect_timeout=3, run_as=None):
        self._runner = runner
        self._bin_dir = bin_dir
        self._passfile = passfile
        self._timeout = connect_timeout
        self._run_as = run_as

    def tags(self, conninfo, script, run_as=None, statement_timeout=15, application_name='repmgr_observe'):
        """{tag: value} of every statement that succeeded. PsqlError if the connection failed."""
        target, password = _conninfo.without_password(conninfo)
        env = {
            'PGCONNECT_TIMEOUT': str(self._timeout),
            'PGAPPNAME': application_name,
            # Do not wait for synchronous standbys: the caller may be about to repair one.
            'PGOPTIONS': '-c client_min_messages=error -c synchronous_commit=local -c lock_timeout=%d -c statement_timeout=%d' % (
                min(statement_timeout, 10) * 1000, statement_timeout * 1000),
        }
        if self._passfile:
            env['PGPASSFILE'] = self._passfile
        if password is not None:
            env['PGPASSWORD'] = password
        argv = [os.path.join(self._bin_dir, 'psql'), '-X', '-A', '-t', '-q', '-w', '-F', '\t', '-P', 'null=null', '-d', target]
        try:
            result = self._run(argv, script, env, run_as or self._run_as, max(LIMIT, statement_timeout + 60))
        except CommandError as exc:
            raise PsqlError(exc.message)
        if ended_late(result):
            raise PsqlError('psql did not end within %d s, connecting to %s' % (max(LIMIT, statement_timeout + 60), redacted(target)))
        # 2: the connection was lost or never made; 1: psql itself failed. A statement that fails leaves 0 or 3.
        if result.rc not in (0, 3):
            raise PsqlError(' '.join((result.stderr or result.stdout).split()) or 'psql ended with %s' % result.rc)
        return parse_tags(result.stdout)

    def _run(self, argv, script, env, run_as, limit):
        for dummy in range(3):
            try:
                return self._runner.run(argv, stdin=script, env=env, accept=None, run_as=run_as, timeout=limit)
            except BrokenInput as exc:
                # If psql cannot connect, it may exit before it reads the script, and its message is lost. Run it without a script to get the message.
                result = self._runner.run(argv + ['-c', 'SELECT 1'], env=env, accept=None, run_as=run_as)
                if result.rc not in (0, 3):
                    return result
                broken = exc
        raise PsqlError('%s' % broken)

    def observe(self, conninfo, events=0, run_as=None):
        script = _PROLOGUE + _SERVER + _REPMGR.replace('{events}', _EVENTS.replace('{count}', str(int(events))) if events else '')
        return self.tags(conninfo, script, run_as=run_as)

    def sizes(self, conninfo):
        """[{name, location, bytes}] of every tablespace, or None if the role may not query that."""
        return self.tags(conninfo, _SIZE, statement_timeout=120).get('size')

    def extension_versions(self, conninfo):
        """{available, installed}: the version of the repmgr extension in the server's packages, and in the database. None without an extension."""
        return self.tags(conninfo, "SELECT 'extension', to_jsonb(t) FROM (SELECT default_version AS available, installed_version AS installed "
                         "FROM pg_catalog.pg_available_extensions WHERE name = 'repmgr') t;\n").get('extension')

    def timeline(self, conninfo):
        """The timeline that a primary writes on, or None."""
        return self.tags(conninfo, "SELECT 'timeline', to_jsonb(('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))"
                         "::bit(32)::int);\n").get('timeline')

    def knows_its_timeline(self, conninfo):
        """Whether the control file of a primary has the timeline that it writes on; not so between a promotion and the next checkpoint."""
        return self.tags(conninfo, "SELECT 'same', to_jsonb(timeline_id = ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), "
                         "1, 8))::bit(32)::int) FROM pg_catalog.pg_control_checkpoint();\n").get('same')

    def basebackup_progress(self, conninfo):
        """(bytes sent, bytes in total or None) of the base backup that this host takes from a server, or None (before PostgreSQL 13)."""
        done = self.tags(conninfo, r"""
            SELECT current_setting('server_version_num')::int >= 130000 AS v13 \gset
            \if :v13
            SELECT 'progress', to_jsonb(t) FROM (
              SELECT p.backup_streamed AS done, p.backup_total AS total FROM pg_catalog.pg_stat_progress_basebackup p
              JOIN pg_catalog.pg_stat_activity a USING (pid)
              WHERE a.client_addr IS NOT DISTINCT FROM pg_catalog.inet_client_addr() LIMIT 1) t;
            \endif
            """).get('progress')
        return (done['done'], done['total']) if done and done.get('done') is not None else None

    def checkpoint(self, conninfo):
        """Request a checkpoint. Return whether the role may do so."""
        done = self.tags(conninfo, "CHECKPOINT;\nSELECT 'before', to_jsonb(1);\n"
                         "SELECT 'allowed', to_jsonb(CASE WHEN current_setting('server_version_num')::int >= 150000 "
                         "THEN pg_catalog.pg_has_role(oid, 'USAGE') ELSE false END) "
                         "FROM pg_catalog.pg_roles WHERE rolname = 'pg_checkpoint';\n"
                         "SELECT 'super', to_jsonb(rolsuper) FROM pg_catalog.pg_roles WHERE rolname = current_user;",
                         statement_timeout=600)
        return bool(done.get('allowed') or done.get('super'))

    def drop_slot(self, conninfo, slot_name):
        """Drop the slot if it is not active. Return True if it existed and was dropped."""
        done = self.tags(conninfo, "SELECT 'dropped', to_jsonb(true) FROM (SELECT pg_catalog.pg_drop_replication_slot(slot_name) "
                         "FROM pg_catalog.pg_replication_slots WHERE slot_name = %s AND NOT active) t;" % literal(slot_name))
        return bool(done.get('dropped'))

    def streams(self, conninfo, node_name):
        """Whether the upstream at conninfo reports that the standby has caught up and is streaming: what repmgr calls attached."""
        return self.tags(conninfo, "SELECT 'streams', to_jsonb(true) FROM pg_catalog.pg_stat_replication "
                                   "WHERE application_name = %s AND state = 'streaming' LIMIT 1;\n" % literal(node_name)).get('streams') is True

    def primary_conninfo(self, conninfo):
        """The current primary_conninfo of a standby, or None."""
        return self.tags(conninfo, "SELECT 'is', to_jsonb(current_setting('primary_conninfo'));\n").get('is')

    def set_primary_conninfo(self, conninfo, value):
        """Set primary_conninfo and return whether that worked. PostgreSQL 13 and later reconnects by itself, earlier versions at their next start."""
        done = self.tags(conninfo, "ALTER SYSTEM SET primary_conninfo = %s;\nSELECT 'reloaded', to_jsonb(pg_catalog.pg_reload_conf());\n"
                         "SELECT 'is', to_jsonb(setting) FROM pg_catalog.pg_file_settings WHERE name = 'primary_conninfo' "
                         "ORDER BY seqno DESC LIMIT 1;\n" % literal(value))
        return done.get('reloaded') is True and done.get('is') == value

    def archive_backlog(self, conninfo):
        """(whether the server archives its WAL, number of files that wait to be archived, or None if the role may not query that)"""
        done = self.tags(conninfo, r"""
            SELECT current_setting('server_version_num')::int >= 120000 AS v12 \gset
            SELECT 'archives', to_jsonb(current_setting('archive_mode') <> 'off' AND (
              current_setting('archive_command') NOT IN ('', '(disabled)')
              OR coalesce(current_setting('archive_library', true), '') <> ''));
            \if :v12
            SELECT 'ready', to_jsonb(count(*)) FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%.ready';
            \else
            SELECT 'ready', to_jsonb(count(*)) FROM pg_catalog.pg_ls_dir('pg_wal/archive_status', true, true) AS name
              WHERE name LIKE '%.ready';
            \endif
            """)
        return done.get('archives'), done.get('ready')


class SwitchoverLock:
    """An advisory lock on the primary. A separate session holds it, which ends with the shutdown of the primary."""

    KEY = (1919249773, 1936159603)

    def __init__(self, psql, conninfo):
        self._psql = psql
        self._conninfo = conninfo
        self._name = 'repmgr_switchover_%s' % uuid.uuid4().hex[:16]
        self._thread = None
        self.held = False

    def holders(self):
        """The application names of the sessions that hold the lock."""
        return self._psql.tags(self._conninfo, """
            SELECT 'holders', coalesce(jsonb_agg(coalesce(a.application_name, '')), '[]')
            FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %d AND l.objid = %d AND l.objsubid = 2
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());
            """ % self.KEY).get('holders')

    def __enter__(self):
        self._thread = threading.Thread(target=self._hold)
        self._thread.daemon = True
        self._thread.start()
        deadline = time.time() + 15
        while time.time() < deadline:
            holders = self.holders() or []
            if holders:
                self.held = self._name in holders
                return self
            if not self._thread.is_alive():
                return self
            time.sleep(0.1)
        return self

    def _hold(self):
        try:
            self._psql.tags(
                self._conninfo,
                "SELECT pg_catalog.pg_try_advisory_lock(%d, %d) AS held \\gset\n\\if :held\nSELECT pg_catalog.pg_sleep(3600);\n\\endif\n"
                % self.KEY, statement_timeout=3600, application_name=self._name)
        except PsqlError:
            # This is how it normally ends: the old primary was shut down.
            pass

    def __exit__(self, *dummy):
        try:
            self._psql.tags(self._conninfo, "SELECT 'ended', to_jsonb(count(pg_catalog.pg_terminate_backend(pid))) "
                            "FROM pg_catalog.pg_stat_activity WHERE application_name = %s;\n" % literal(self._name))
        except PsqlError:
            pass
        self._thread.join(5)
        return False


def parse_tags(text):
    """Lines "tag<TAB>json" -> dictionary. Other lines are ignored."""
    found = {}
    for line in text.splitlines():
        tag, tab, value = line.partition('\t')
        if not tab:
            continue
        try:
            found[tag] = json.loads(value)
        except ValueError:
            found[tag] = None
    return found
