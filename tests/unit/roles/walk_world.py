# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small model of a cluster, for test_walk.py: what is the case on each node, how that is observed, and what the servers do by themselves.

Modelled are: hosts (up, cut off from the controller, switched off, lost for good), the data directory, the server, WAL as a position on a timeline with its
forks, the WAL that is still kept, the upstream, each node's copy of repmgr.nodes, repmgrd and its pause, guard, fuse and the mark of a guard that has
stopped its primary, logins, certificates, versions, pending restarts, slots, the repository of backups and the run lock.

Not modelled: writes of clients, elections of repmgrd, locks and votes of the guard (it starts a stopped primary again when it sees a majority, and makes a
primary that was replaced a standby), ports, addresses and TLS settings that change, cascaded standbys, several runs at once, time.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import copy

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _lsn, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Desired, Node as Row, Observed, Server, plain
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority, voters

CLUSTER, WITNESS, FOREIGN = '7000000000000000001', '7000000000000000004', '7000000000000000099'
# The first one is the primary, and a name with a w is that of a witness.
LAYOUTS = {'2 data and a witness': 'abw', '3 data': 'abc', '3 data and a witness': 'abcw', 'names': ('DB-1', 'db02.East', '3-Db', 'Arbiter-w')}
NUMBERS = {'a': 1, 'b': 2, 'c': 3, 'w': 4, 'x': 9, 'n': 10, 'm': 11, 'o': 12, 'DB-1': 1, 'db02.East': 2, '3-Db': 3, 'Arbiter-w': 4}
NEW = 'nmo'
MB = 1024 ** 2


class Member:
    """What is the case on one node."""

    def __init__(self, name, group):
        self.name, self.number, self.group = name, NUMBERS[name], group
        self.host = 'up'                # up, cut: not reached from the controller, off, lost
        self.server = 'running'         # running, stopped, starting, silent
        self.data = 'valid'             # valid, missing, empty, partial, unknown, unrecognised
        self.signal = group == 'standby'
        self.identifier = WITNESS if group == 'witness' else CLUSTER
        self.timeline, self.lsn, self.oldest = 1, 100 * MB, 0
        self.rewindable = True          # whether its own WAL reaches back to where the two parted
        self.upstream = None
        self.rows = {}
        self.deployed, self.config, self.packages, self.clone_begun = True, True, True, False
        self.mount_is_missing = False   # its data are all there once it is mounted
        self.repmgrd, self.paused, self.note = True, False, ''
        self.guard, self.guard_enabled, self.fuse, self.mark = True, True, True, None
        self.masked, self.on_purpose = False, False
        self.hook = True                # of the guard, before the server starts
        self.apart = False              # whether the other hosts and it do not reach each other
        self.promotes_itself = False    # whether its data recover from an archive
        self.flaws = {}                 # {code: what is seen or written in the inventory beside all this}, see walk_more.py
        self.deaf_to = set()            # peers that it cannot log in to
        self.certificate, self.days, self.authority = '', 3000, 3000
        self.restart, self.lock = False, ''
        self.packages_version, self.extension = '5.5', '5.5'
        self.slots = set()              # of nodes that do not use them, with much WAL
        self.preloaded = True           # shared_preload_libraries
        self.priority = 100
        self.backup = ()

    @property
    def is_witness(self):
        return self.identifier == WITNESS

    def runs(self):
        return self.host in ('up', 'cut') and self.server == 'running'

    def writes(self):
        return self.runs() and not self.signal and not self.is_witness and not self.promotes_itself

    def power_off(self):
        self.host, self.server, self.repmgrd = 'off', 'stopped', False


class World:
    def __init__(self, names='abcw'):
        groups = dict((name, 'primary' if name == names[0] else 'witness' if 'w' in name else 'standby') for name in names)
        self.members = dict((name, Member(name, groups[name])) for name in names)
        self.synchronous = 0
        self.listed = list(names)       # the inventory
        self.forks = {1: (None, 0)}     # {timeline: (the one that it comes from, where)}
        self.left = False               # whether it has left the collection
        rows = dict((NUMBERS[name], self.row(name, groups[name], 1)) for name in names)
        for member in self.members.values():
            member.rows = copy.deepcopy(rows)
            member.upstream = names[0] if member.signal else None

    def add(self, name, group):
        """A new host, which is empty."""
        member = self.members[name] = Member(name, group)
        member.server, member.data, member.deployed, member.config, member.packages = 'stopped', 'missing', False, False, False
        member.repmgrd = member.guard = member.guard_enabled = member.fuse = False
        self.listed.append(name)

    def row(self, name, kind, upstream, active=True):
        member = self.members.get(name)
        return {'node_id': NUMBERS[name], 'node_name': name, 'type': kind, 'upstream_node_id': None if kind == 'primary' else upstream, 'active': active,
                'priority': member.priority if member else 100, 'location': 'default', 'conninfo': conninfo(name), 'repluser': 'repmgr',
                'slot_name': 'repmgr_slot_%d' % NUMBERS[name], 'config_file': '/etc/repmgr.conf'}

    def copy(self):
        return copy.deepcopy(self)

    def key(self):
        """What makes two states the same."""
        return repr([sorted((name, value) for name, value in vars(member).items()) for dummy, member in sorted(self.members.items())]
                    + [self.listed, sorted(self.forks), self.left, self.synchronous])

    def data(self):
        return [member for dummy, member in sorted(self.members.items()) if member.group != 'witness']

    def is_gone(self):
        """Whether no copy of the data is left anywhere."""
        return not any(member.host != 'lost' and (member.data in ('valid', 'unknown') and member.identifier == CLUSTER or member.mount_is_missing)
                       for member in self.data())

    def writers(self):
        """Who may take writes, also if it does not answer a run."""
        return [member.name for member in self.data() if member.host in ('up', 'cut') and member.server != 'stopped' and not member.signal
                and member.identifier == CLUSTER and not member.promotes_itself]

    def primary(self):
        return ([member for member in self.data() if member.writes() and member.identifier == CLUSTER] or [None])[0]

    @staticmethod
    def any_of(members, draw):
        members = sorted(members, key=lambda member: member.name)
        return draw.choice(members) if members else None

    # -- WAL

    def contains(self, upstream, member):
        """Whether what the member has is part of the history of the upstream."""
        timeline, limit = upstream.timeline, upstream.lsn
        while timeline is not None and timeline != member.timeline:
            timeline, fork = self.forks[timeline]
            limit = min(limit, fork)
        return timeline is not None and member.lsn <= limit and upstream.identifier == member.identifier

    def streams(self, member):
        up = self.members.get(member.upstream)
        return bool(up and up is not member and not up.apart and not member.apart and member.runs() and member.signal and up.runs()
                    and up.data == 'valid' and self.contains(up, member)
                    and (up.oldest <= member.lsn or member.lsn == up.lsn) and self.reaches_primary(member))

    def reaches_primary(self, member):
        seen = []
        while member is not None and member.signal and member.name not in seen:
            seen.append(member.name)
            member = self.members.get(member.upstream)
        return member is not None and not member.signal

    def promote(self, member):
        timeline = max(self.forks) + 1
        self.forks[timeline] = (member.timeline, member.lsn)
        member.timeline, member.signal, member.upstream = timeline, False, None
        member.lsn += MB

    def write(self, member, size=MB):
        member.lsn += size

    def settle(self):
        """What happens without anybody: replication, and the guard of a stopped primary."""
        before = None
        while before != self.key():
            before = self.key()
            for member in self.data():
                if self.streams(member):
                    up = self.members[member.upstream]
                    member.timeline, member.lsn, member.rows, member.extension = up.timeline, up.lsn, copy.deepcopy(up.rows), up.extension
                self._guard(member)
            for member in self.members.values():
                if member.is_witness and member.runs():
                    # A repmgrd that runs copies the rows from the primary that it watches, or finds the new one by them.
                    up = [other for other in self.data() if other.writes() and other.rows.get(member.number, {}).get('upstream_node_id') == other.number]
                    if up and member.repmgrd and not member.paused:
                        member.rows = copy.deepcopy(up[0].rows)
                if not member.runs():
                    member.repmgrd = False
                if member.packages_version != member.extension and member.runs() and not member.repmgrd:
                    member.repmgrd = False

    def sees_majority(self, member):
        votes = voters([Row.from_dict(row) for row in member.rows.values()])
        # out_of_sight() of the guard: those that could elect another one.
        unseen = [row for row in votes if row.node_name != member.name and not (
            row.node_name in self.members and self.members[row.node_name].runs() and not self.members[row.node_name].apart and not member.apart)]
        return len(unseen) < majority(len(votes))

    def _guard(self, member):
        """The guard's stop of a primary that is alone; start() and rejoin() of one that it has stopped (repmgr_auto_rejoin)."""
        if member.writes() and member.guard and not member.paused and member.identifier == CLUSTER and member.deployed and not self.sees_majority(member):
            member.server, member.repmgrd = 'stopped', False
            member.mark = {'code': 'isolated', 'since': 1, 'peers': [other.name for other in self.members.values() if other is not member and not other.runs()]}
        if not (member.host in ('up', 'cut') and member.guard and member.mark and member.server == 'stopped' and member.data == 'valid') or member.masked:
            return
        if not self.sees_majority(member):
            return
        others = [other for other in self.data() if other.writes() and not other.apart and other.identifier == member.identifier]
        newer = [other for other in self.data() if other.runs() and not other.apart and other.identifier == member.identifier
                 and other.timeline > member.timeline]
        if not others and not newer:
            member.server, member.mark, member.repmgrd = 'running', None, True
        elif others and (self.contains(others[0], member) or member.rewindable):
            attach(self, member, others[0])
            member.mark = None

    # -- what a run sees of it

    def reachable(self, member):
        return member.host == 'up'

    def observed(self, member):
        running, sql = member.server == 'running', member.server == 'running'
        recovers = member.signal or member.promotes_itself
        identifier = CLUSTER if 'witness_is_copy' in member.flaws else member.identifier
        state = {'silent': 'running'}.get(member.server, member.server)
        up = self.members.get(member.upstream)
        streaming = self.streams(member)
        found = Observed(
            name=member.name, installed=member.packages, repmgr_installed=member.packages, deployed=member.deployed, missing_packages=[],
            repmgr_version=member.packages_version,
            config={'node_id': member.number, 'node_name': member.name, 'failover': 'automatic',
                    'service_start_command': 'sudo systemctl start postgresql'} if member.config else None,
            data=Data(path='/data', state=member.data, system_identifier=identifier if member.data == 'valid' else None, timeline=member.timeline,
                      standby_signal=member.signal and member.data == 'valid', started=member.data == 'valid', clone_begun=member.clone_begun,
                      promotes_itself=member.promotes_itself,
                      cluster_state=('in archive recovery' if recovers else 'in production') if running else 'shut down'),
            server=Server(
                state=state, sql=sql, in_recovery=recovers if sql else None, version='15.6', version_num=150006,
                timeline=member.timeline if sql else None, checkpoint_timeline=member.timeline if sql else None,
                system_identifier=identifier if sql else None, started_at='%s' % member.number,
                current_lsn=_lsn.lsn(member.lsn) if sql and not recovers else None,
                received_lsn=_lsn.lsn(member.lsn) if sql and recovers else None, replayed_lsn=_lsn.lsn(member.lsn) if sql and recovers else None,
                oldest_wal=member.oldest, restart_for=['max_connections has changed'] if member.restart and sql else [],
                settings={'wal_log_hints': 'on', 'full_page_writes': 'on', 'max_wal_senders': '10', 'max_replication_slots': '10',
                          'primary_conninfo': conninfo(up.name) if member.signal and up else '',
                          'synchronous_standby_names': 'ANY %d (*)' % self.synchronous if self.synchronous else ''} if sql else {}),
            receiver={'status': 'streaming', 'received_tli': member.timeline} if streaming else None,
            replication=[{'application_name': other.name, 'state': 'streaming', 'flush_lsn': _lsn.lsn(other.lsn),
                          'sync_state': 'quorum' if self.synchronous else 'async'} for other in self.data()
                         if other.upstream == member.name and self.streams(other)] if sql else [],
            slots=[{'slot_name': 'repmgr_slot_%d' % NUMBERS[name], 'active': False, 'retained_bytes': 2048 * MB, 'restart_lsn': None}
                   for name in sorted(member.slots)] if sql else [],
            repmgr={'database': True, 'nodes': [member.rows[number] for number in sorted(member.rows)] if sql else None, 'extension': member.extension,
                    'role': 'repmgr', 'missing_rights': [],
                    'repmgrd': {'running': member.repmgrd if member.preloaded else None, 'paused': member.paused, 'pid': 7 if member.repmgrd else None}
                    if sql else None},
            guard=None if member.is_witness or not member.deployed else {
                'running': member.guard, 'enabled': member.guard_enabled, 'stopped': member.mark, 'fuse': {'running': member.fuse, 'enabled': member.fuse}},
            pause={'by': member.note, 'reason': 'a reason'} if member.note else None,
            run_lock={'state': 'refused', 'run': member.lock, 'playbook': 'site', 'user': 'u', 'controller': 'c', 'for_seconds': 60, 'renewed_seconds': 5,
                      'connected': False} if member.lock else None,
            tls={'error': member.certificate, 'days': None if member.certificate else member.days, 'authority_days': member.authority, 'names': []},
            backup=dict(member.backup) if member.backup and member.writes() else None,
            reach=[{'name': name, 'address': '10.0.0.%d' % NUMBERS[name], 'port': 5432, 'ssh_port': 22, 'ssh': 'timeout', 'postgresql': 'timeout'}
                   for name in self.listed if name != member.name and (member.apart or self.members[name].apart)],
            logins=dict((peer, {'sql': 'no password supplied', 'ssh': '', 'replication': ''}) for peer in sorted(member.deaf_to) if peer in self.listed))
        for flaw in member.flaws.values():
            found = found.replace(**flaw['observed'])
        return found

    def records(self):
        found = []
        for name in self.listed:
            member = self.members[name]
            seen = self.reachable(member)
            found.append({
                'name': name, 'node_id': '%d' % member.number, 'node_name': name, 'cluster': 'lab', 'address': '10.0.0.%d' % member.number, 'port': '5432',
                'initial_role': member.group, 'groups': [member.group], 'upstream': '', 'priority': 100, 'profile': 'safe', 'failover': 'automatic',
                'package_source': 'pgdg', 'os_family': 'Debian', 'distribution': 'Debian', 'distribution_major': '12', 'service_mgr': 'systemd',
                'postgresql_version': '15', 'synchronous': '0', 'allow_two_nodes': False, 'tls': 'managed', 'conninfo': conninfo(name),
                'unreachable': not seen, 'observed': plain(self.observed(member)) if seen else None})
            found[-1].update(synchronous='%d' % self.synchronous)
            for flaw in member.flaws.values():
                found[-1].update(flaw['record'])
        return found

    def judge(self):
        hosts = _verdict.hosts_from(self.records())
        return hosts, _verdict.verdict(hosts)

    def desired(self, member, role, rejoin='never'):
        return Desired(role=role, node_id=member.number, node_name=member.name, conninfo=conninfo(member.name), priority=member.priority, location='default',
                       repluser='repmgr', slot_name='repmgr_slot_%d' % member.number, config_file='/etc/repmgr.conf', data_directory='/data',
                       system_identifier=CLUSTER if role == 'standby' else '', rejoin=rejoin)


def conninfo(name):
    return 'host=10.0.0.%d port=5432 user=repmgr dbname=repmgr' % NUMBERS[name]


def attach(world, member, primary):
    """What `repmgr node rejoin` and a clone leave: a standby of the primary."""
    if not world.contains(primary, member):
        member.timeline, member.lsn = primary.timeline, primary.lsn
    member.signal, member.upstream, member.server, member.repmgrd = True, primary.name, 'running', member.packages_version == member.extension
    member.paused = member.promotes_itself = False
    if member.number in primary.rows:
        primary.rows[member.number].update(type='standby', active=True, upstream_node_id=primary.number)
