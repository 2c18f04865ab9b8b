# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is kept for the other members."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

from pgfleet_guard.clock import clock
from pgfleet_guard.configuration import local_of
from pgfleet_guard.messages import say
from pgfleet_guard.session import Server, ask_all, pump
from pgfleet_guard.settings import SLOTS_FILE


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


# Dropped and created again are slots that hold back vacuum (hot_standby_feedback) for a node that streams from elsewhere, and slots whose WAL is gone, once
# their node is well. Slots of others, and those that repmgr creates for a node that is not registered yet, are left alone. Two stay free for clones.
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
