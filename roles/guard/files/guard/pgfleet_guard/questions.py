# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said to servers: the SQL, and the names that it goes by."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

# "repm" "guar": an advisory lock in repmgr's database.
LOCK = (1919250541, 1735745906)

# A standby's control data follow at the next restartpoint only; a history file is there as soon as it follows a newer timeline. In a statement of
# its own, like whatever else may fail: a peer that answers the first one is in sight. Under a lock on repmgr.nodes the last one ends by lock_timeout.
# Until a standby that has started has replayed all WAL that it had, and asks for more for the first time, it does not say what it has received: what it
# tells (lsn) is less. It asks also where its upstream is gone (RequestXLogStreaming in walreceiverfuncs.c, the same from 12 to 17).
QUESTION = r"""
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
SPEAK_AS = 'SET application_name = %s;'

HOLDER = r"""
SELECT 'holder', to_json((SELECT a.application_name FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
  WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %d AND l.objid = %d LIMIT 1));
""" % LOCK

TRY_LOCK = r"""
SELECT pg_catalog.pg_sleep(0.2) FROM (SELECT count(pg_catalog.pg_terminate_backend(pid)) AS ended FROM pg_catalog.pg_stat_activity
  WHERE application_name = left(current_setting('application_name'), 63) AND pid <> pg_catalog.pg_backend_pid()) t WHERE ended > 0;
SELECT 'lock', to_json(pg_catalog.pg_try_advisory_lock(%d, %d));
""" % LOCK + HOLDER

# What a running primary promises with each question, see Watch.word. It is the last statement, whose text pg_stat_activity keeps and shows to those who ask
# that server next; the application_name has no room for it.
WORD = """
SELECT 'word', to_json('pgfleet %s'::text);
"""

# A vote outlives the connection that it was given through, and a restart: it is an empty slot, which may be made on a standby, too, and keeps no WAL.
# There is room for it where the slots for members have left it (_RETAIN in retention.py). The name sorts by timeline.
VOTE = r"""
SELECT 'withdrawn', count(pg_catalog.pg_drop_replication_slot(slot_name)) FROM pg_catalog.pg_replication_slots
  WHERE slot_name LIKE 'pgfleet\_vote\_%%' AND slot_name <> %s AND NOT active;
SELECT 'vote', count(pg_catalog.pg_create_physical_replication_slot(name)) FROM (SELECT %s::name AS name) t
  WHERE name <> '' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = name);
"""

RELEASE = r"""
SELECT 'released', count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
  WHERE application_name = %s;
"""

# Do not wait for synchronous standbys or for the locks of other sessions: the watch loop must not block.
ADOPT = r"""
BEGIN;
SET LOCAL synchronous_commit = local;
SET LOCAL lock_timeout = '300ms';
UPDATE repmgr.nodes SET upstream_node_id = %d WHERE node_id = %d AND type = 'witness';
COMMIT;
"""

FORGET = """
SELECT 'forgotten', to_json(true) FROM repmgr.reset_voting_status();
"""

NOTIFY = """
SELECT 'notified', to_json(true) FROM repmgr.notify_follow_primary(%d);
"""


def upstream_conninfo(config, conninfo):
    """The primary_conninfo with which this node streams from the peer with this connection string."""
    more = [('application_name', config['name'])] + ([('passfile', config['passfile'])] if config['passfile'] else [])
    # If a keyword occurs twice, libpq uses the last one.
    return ' '.join([conninfo] + ["%s='%s'" % (keyword, value.replace('\\', '\\\\').replace("'", "\\'")) for keyword, value in more])


def session_name(config, purpose):
    """The application_name of this node's sessions: unique, and limited to the length and the characters that PostgreSQL keeps."""
    text = ''.join(char if ' ' <= char <= '~' else '?' for char in 'repmgr-guard %s %s' % (purpose, config['name']))
    end = '~%s' % config.get('node_id', '')
    return text if len(text) <= 63 and '?' not in text else text[:63 - len(end)] + end


def vote_name(timeline, node_id):
    """The name of the slot that records a vote for the promotion of this node to this timeline."""
    return 'pgfleet_vote_%010d_%d' % (timeline, node_id)


def voted(answer):
    """(timeline, node id) of the last promotion that a server has voted for, or (0, None)."""
    found = re.match('pgfleet_vote_([0-9]+)_([0-9]+)$', answer.get('voted') or '')
    return (int(found.group(1)), int(found.group(2))) if found else (0, None)


def literal(text):
    """Quoted as an SQL literal."""
    return "'%s'" % text.replace("'", "''")
