# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Observed clusters for the tests of what status says: primary db1, standbys db2 and db3, witness db4."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server, plain

ID = '7000000000000000001'
NAMES = ('db1', 'db2', 'db3', 'db4')
GB = 1024 ** 3


class Cluster:
    """A healthy one; a case changes what it is about."""

    def __init__(self, name='orders', names=NAMES):
        self.name, self.names = name, names
        self.rows = [dict(
            node_id=number, node_name=node, type='primary' if number == 1 else 'witness' if number == 4 else 'standby', active=True,
            upstream_node_id=None if number == 1 else 1, priority=0 if number == 4 else 100, location='default',
            slot_name='repmgr_slot_%d' % number) for number, node in enumerate(names, 1)]
        self.observed = dict((number, self._observed(number)) for number in (1, 2, 3, 4))
        self.gone = []
        self.events([(1, 'primary_register', True, ''), (2, 'standby_register', True, 'standby registration succeeded'),
                     (4, 'witness_register', True, 'witness registration succeeded; upstream node ID is 1')])

    def _observed(self, number):
        recovery = number in (2, 3)
        return Observed(
            name=self.names[number - 1], installed=True, repmgr_installed=True, guard=None if number == 4 else {'running': True, 'enabled': True},
            config={'node_id': number, 'node_name': self.names[number - 1], 'failover': 'automatic'},
            data=Data(path='/data', state='valid', system_identifier='7000000000000000004' if number == 4 else ID, standby_signal=recovery,
                      timeline=1, started=True, cluster_state='in archive recovery' if recovery else 'in production'),
            server=Server(
                state='running', sql=True, in_recovery=recovery, version='15.6', version_num=150006, timeline=1,
                system_identifier='7000000000000000004' if number == 4 else ID, current_lsn=None if recovery else '0/5000060',
                received_lsn='0/5000060' if recovery else None, replayed_lsn='0/5000060' if recovery else None,
                settings={'wal_log_hints': 'on', 'full_page_writes': 'on', 'max_wal_senders': '10', 'max_replication_slots': '10'}),
            receiver=self._receiver(1) if recovery else None,
            replication=[self._sends(2), self._sends(3)] if number == 1 else [],
            slots=[dict(slot_name='repmgr_slot_%d' % other, active=True, wal_status='reserved', retained_bytes=0) for other in (2, 3)]
            if number == 1 else [],
            repmgr={'database': True, 'repmgrd': {'running': True, 'paused': False, 'pid': 7},
                    'upstream_node_id': None if number == 1 else 1},
            tls={'error': '', 'days': 3649, 'names': []},
            disks=[{'path': '/data', 'free_bytes': 12 * GB, 'total_bytes': 40 * GB}],
            reach=[{'name': other, 'address': '10.0.0.%d' % index, 'port': 5432, 'ssh_port': 22, 'ssh': 'open', 'postgresql': 'open'}
                   for index, other in enumerate(self.names, 1)])

    def _receiver(self, upstream):
        return {'status': 'streaming', 'received_tli': 1, 'sender_host': '10.0.0.%d' % upstream, 'sender_port': 5432}

    def _sends(self, number, **more):
        return dict(dict(application_name=self.names[number - 1], state='streaming', sync_state='async', lag_bytes=0, replay_lag=None,
                         flush_lsn='0/5000060'), **more)

    def events(self, rows):
        """The same on every node, the oldest first; the newest is the last that is given."""
        found = [dict(node_id=node, event=event, successful=successful, details=details,
                      event_timestamp='2026-03-0%dT04:05:06.789+00:00' % day) for day, (node, event, successful, details) in enumerate(rows, 1)]
        for observed in self.observed.values():
            observed.events = list(reversed(found))

    def replies(self, number, **changes):
        observed = self.observed[number]
        self.observed[number] = observed.replace(server=observed.server.replace(**changes))
        return self.observed[number]

    def stop(self, number):
        observed = self.observed[number]
        self.observed[number] = observed.replace(
            server=Server(state='stopped'), receiver=None, replication=[], slots=[], events=[],
            repmgr={'nodes': None, 'repmgrd': {'running': None, 'paused': None, 'pid': None}},
            data=observed.data.replace(cluster_state='shut down in recovery' if observed.data.standby_signal else 'shut down'))
        for other in self.observed.values():
            for entry in other.reach:
                if entry['name'] == self.names[number - 1]:
                    entry['postgresql'] = 'refused'

    def vanish(self, number):
        self.gone.append(number)
        for other in self.observed.values():
            for entry in other.reach:
                if entry['name'] == self.names[number - 1]:
                    entry.update(ssh='timeout', postgresql='timeout')

    def detach(self, number):
        self.observed[number].receiver = None
        self.observed[1].replication = [entry for entry in self.observed[1].replication if entry['application_name'] != self.names[number - 1]]
        for slot in self.observed[1].slots:
            if slot['slot_name'] == 'repmgr_slot_%d' % number:
                slot.update(active=False, retained_bytes=48 * 1024 ** 2)

    def pause(self, reason='disk swap in rack 2'):
        for observed in self.observed.values():
            if observed.repmgr['repmgrd']['running']:
                observed.repmgr['repmgrd'] = {'running': True, 'paused': True, 'pid': 7}
            observed.pause = {'by': 'maintenance', 'reason': reason}

    def records(self):
        found = []
        for number, node in enumerate(self.names, 1):
            observed = self.observed[number]
            if observed.server.sql:
                observed.repmgr.setdefault('nodes', self.rows)
            found.append({
                'name': node, 'node_id': '%d' % number, 'node_name': node, 'cluster': self.name, 'address': '10.0.0.%d' % number, 'port': '5432',
                'initial_role': 'primary' if number == 1 else 'witness' if number == 4 else 'standby', 'upstream': '', 'tls': 'managed',
                'unreachable': number in self.gone, 'observed': None if number in self.gone else plain(observed)})
        return found


def healthy():
    return Cluster()


def standby_detached():
    cluster = Cluster()
    cluster.detach(3)
    cluster.replies(1, current_lsn='0/8000060')
    return cluster


def standby_stopped():
    cluster = Cluster()
    cluster.detach(3)
    cluster.stop(3)
    return cluster


def primary_gone():
    """The host of the old primary is off, and db2 has replaced it."""
    cluster = Cluster()
    cluster.rows = [dict(cluster.rows[0], active=False), dict(cluster.rows[1], type='primary', upstream_node_id=None),
                    dict(cluster.rows[2], upstream_node_id=2), dict(cluster.rows[3], upstream_node_id=2)]
    cluster.vanish(1)
    cluster.replies(2, in_recovery=False, timeline=2, current_lsn='0/6000148', received_lsn=None, replayed_lsn=None)
    cluster.observed[2].receiver = None
    cluster.observed[2].replication = [cluster._sends(3, lag_bytes=2048, replay_lag='00:00:01.5', flush_lsn='0/6000148')]
    cluster.observed[2].slots = [dict(slot_name='repmgr_slot_3', active=True, wal_status='reserved', retained_bytes=2048)]
    cluster.replies(3, timeline=2, received_lsn='0/6000148', replayed_lsn='0/6000100')
    cluster.observed[3].receiver = cluster._receiver(2)
    cluster.observed[4].repmgr['upstream_node_id'] = 2
    cluster.events([(1, 'primary_register', True, ''), (2, 'repmgrd_failover_promote', True, 'node 2 promoted to primary; old primary 1 marked as failed'),
                    (3, 'repmgrd_failover_follow', True, 'node 3 now following new upstream node 2')])
    return cluster


def primary_out_of_reach():
    """The controller cannot log in to its host; the standbys stream from it all the same."""
    cluster = Cluster()
    cluster.gone.append(1)
    return cluster


def paused_and_primary_down():
    cluster = Cluster()
    cluster.stop(1)
    for number in (2, 3):
        cluster.observed[number].receiver = None
    cluster.pause()
    return cluster


def two_primaries():
    cluster = Cluster()
    cluster.replies(2, in_recovery=False, timeline=2, current_lsn='0/5000200', received_lsn=None, replayed_lsn=None)
    cluster.observed[2].receiver = None
    cluster.detach(2)
    for number in (1, 2):
        cluster.observed[number].guard = {'running': False, 'enabled': True}
    return cluster


def nobody_reached():
    cluster = Cluster()
    for number in (1, 2, 3, 4):
        cluster.vanish(number)
    return cluster


CASES = dict((case.__name__, case) for case in (
    healthy, standby_detached, standby_stopped, primary_gone, primary_out_of_reach, paused_and_primary_down, two_primaries, nobody_reached))
