# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plain records that every other file speaks in. No input, no output, no decisions."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps


def plain(value):
    """The value with every record in it turned into a dictionary."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, dict):
        return dict((key, plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def integer(value):
    """A number, or a text of one as inventories have it, as a number; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int('%s' % (value,))
    except ValueError:
        return None


class Record:
    """Fields with defaults, compared by value. A callable default makes a fresh value for each record."""

    FIELDS = ()
    NESTED = {}

    def __init__(self, **values):
        for name, default in self.FIELDS:
            value = values.pop(name) if name in values else (default() if callable(default) else default)
            setattr(self, name, value)
        if values:
            raise TypeError('%s has no field %s' % (type(self).__name__, ', '.join(sorted(values))))

    @classmethod
    def from_dict(cls, values):
        """From what to_dict gave, possibly of another version: unknown keys are left out, missing ones default."""
        known = {}
        for name, dummy in cls.FIELDS:
            if name in values:
                value = values[name]
                nested = cls.NESTED.get(name)
                if nested is not None and isinstance(value, dict):
                    value = nested.from_dict(value)
                elif nested is not None and value is None:
                    continue
                known[name] = value
        return cls(**known)

    def replace(self, **changes):
        values = dict((name, getattr(self, name)) for name, dummy in self.FIELDS)
        values.update(changes)
        return type(self)(**values)

    def to_dict(self):
        return dict((name, plain(getattr(self, name))) for name, dummy in self.FIELDS)

    def __eq__(self, other):
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __repr__(self):
        return '%s(%s)' % (type(self).__name__, ', '.join(
            '%s=%r' % (name, getattr(self, name)) for name, dummy in self.FIELDS))


class Node(Record):
    """A row of repmgr.nodes."""

    FIELDS = (
        ('node_id', None),
        ('node_name', ''),
        ('type', ''),
        ('upstream_node_id', None),
        ('active', None),
        ('priority', None),
        ('location', ''),
        ('conninfo', ''),
        ('repluser', ''),
        ('slot_name', ''),
        ('config_file', ''),
    )


class Data(Record):
    """A data directory: missing, empty, partial, valid, unrecognised, or unknown when it cannot be told."""

    FIELDS = (
        ('path', ''),
        ('state', 'unknown'),
        ('major', None),
        ('system_identifier', None),
        ('timeline', None),
        ('cluster_state', None),
        ('standby_signal', False),
        ('started', None),          # whether a server ever ran on it; initdb and a clone leave it unstarted
        ('clone_begun', False),     # of one that is missing or empty: whether a clone into it was begun and never finished
        ('wal_log_hints', None),
        ('checksums', None),
        ('reason', ''),
    )


class Server(Record):
    """A server: running, stopped, starting, or unknown; `sql` tells whether it answered."""

    FIELDS = (
        ('state', 'unknown'),
        ('sql', False),
        ('error', ''),
        ('pid', None),
        ('in_recovery', None),
        ('version', None),
        ('version_num', None),
        ('timeline', None),
        ('checkpoint_timeline', None),
        ('system_identifier', None),
        ('started_at', None),
        ('current_lsn', None),
        ('received_lsn', None),
        ('replayed_lsn', None),
        ('oldest_wal', None),       # from where on its WAL is there without a gap, in bytes
        ('replay_paused', None),
        ('lag_bytes', None),
        ('lag_seconds', None),
        ('restart_for', list),      # why only a restart would bring it up to date
        ('lowered', dict),          # of what a standby needs no less than its primary has, what the next start gives less of: {name: value}
        ('unread', list),           # files of its configuration that were written after it last read them
        ('archiver', dict),         # what archive_command has done: {last_archived_wal, last_failed_wal, failing, failing_since}
        ('settings', dict),
        ('configured', dict),       # of what the collection sets, what its files say: {name: {setting, unit, default, file}}
        ('kept', None),             # of its settings before the collection, what the collection's file keeps: {name: value}; None without such a file
    )


class Observed(Record):
    """What one node can see of itself and of its peers."""

    FIELDS = (
        ('name', ''),
        ('installed', None),
        ('repmgr_installed', None),
        ('deployed', None),         # whether this collection's unit of repmgrd is there, which a run writes once a node has its data
        ('repmgr_version', None),   # of the installed packages, as 'MAJOR.MINOR'; None where it cannot be told
        ('missing_packages', None),
        ('package_sources', list),  # those of PGDG, see _sources.parse
        ('files', dict),
        ('contents', dict),
        ('hba', dict),              # pg_hba.conf: the steps that it is due for, and another file that the server reads in its place
        ('config', None),
        ('elsewhere', list),        # configuration files of this host that are for another data directory: {file, data_directory, major, ...}
        ('data', Data),
        ('server', Server),
        ('receiver', None),
        ('replication', list),
        ('slots', list),
        ('repmgr', dict),
        ('guard', None),            # whether repmgr-guard and its fuse, where they are installed, run and start at boot
        ('daemons', list),          # every repmgrd of this node: {pid, unit}; unit is None where systemd runs it in none
        ('pause', None),            # who paused repmgrd, and why, as he wrote it down
        ('run_lock', None),         # of the run that works on this node, as _run_lock has it
        ('tls', None),
        ('backup', None),           # of a primary whose WAL is archived for backups: what its repository says, as _backup.problems takes it
        ('disks', list),            # the file systems of its data and of its WAL
        ('reach', list),
        ('logins', dict),
        ('peers', dict),
        ('events', list),
    )
    NESTED = {'data': Data, 'server': Server}

    @property
    def nodes(self):
        """The rows of repmgr.nodes, or None where they could not be read."""
        rows = (self.repmgr or {}).get('nodes')
        return None if rows is None else [Node.from_dict(row) for row in rows]

    @property
    def system_identifier(self):
        return self.server.system_identifier or self.data.system_identifier


class Host(Record):
    """A host as the inventory has it, with its observation."""

    FIELDS = (
        ('name', ''),
        ('node_id', None),
        ('node_name', ''),
        ('cluster', ''),
        ('address', ''),
        ('port', 5432),
        ('conninfo', ''),           # how the inventory wants it to be connected to
        ('initial_role', ''),
        ('upstream', ''),
        ('tls', ''),
        ('synchronous', 0),         # for how many standbys a commit waits
        ('postgresql_version', ''),  # the major version that the inventory leads to, '' where facts were not gathered
        ('package_source', ''),
        ('os_family', ''),
        ('distribution_major', ''),
        ('release', ''),            # of Debian and Ubuntu, as bookworm
        ('architecture', ''),       # as the kernel names it
        ('user', ''),
        ('database', ''),
        ('settings', dict),         # what the collection sets in PostgreSQL
        ('server_settings', dict),  # what repmgr_postgresql_settings does
        ('backup', dict),           # what it says of backups; empty where there are none
        ('named', list),            # variables of settings that the inventory itself defines
        ('other_password', False),  # whether repmgr_password is another than the one that the node logs in with
        ('unreachable', False),
        ('observed', None),
    )
    NESTED = {'observed': Observed}


class Desired(Record):
    """What a node shall be."""

    FIELDS = (
        ('role', ''),
        ('state', 'present'),
        ('node_id', None),
        ('node_name', ''),
        ('conninfo', ''),
        ('priority', 100),
        ('location', 'default'),
        ('repluser', ''),
        ('slot_name', ''),
        ('config_file', ''),
        ('data_directory', ''),
        ('upstream_node_id', None),
        ('primary_conninfo', ''),
        ('upstream_conninfo', ''),
        ('system_identifier', ''),
        ('rejoin', 'never'),
    )


class Situation(Record):
    """A node and what it shall be, condensed to the few words that the rules are written in."""

    FIELDS = (
        ('role', ''),
        ('state', 'present'),
        ('data', 'unknown'),        # absent, partial, valid, unrecognised, unknown
        ('server', 'unknown'),      # running, silent, starting, stopped, unknown
        ('recovery', 'unknown'),    # yes, no, unknown, none: there is nothing that could be
        ('identity', 'unknown'),    # same, other, unknown, none: the data's, against the cluster's
        ('primary', 'unknown'),     # live, self, recovery, silent, unknown, none
        ('record', 'unknown'),      # absent, same, differs, foreign, unknown
        ('upstream', 'unknown'),    # right, insecure: not as its conninfo says, moved: by a former address, wrong, detached, unknown, none
        ('rejoin', 'never'),        # never, attach, rewind, reclone
    )


class Rule(Record):
    """`when` maps a field of the situation to the values it may have; a field that is not named may have any."""

    FIELDS = (
        ('id', 0),
        ('role', ()),
        ('when', dict),
        ('actions', ()),
        ('why', ''),
        ('refuse', None),
    )


class Plan(Record):
    """The rule that fired and what follows from it. A refusal has no actions and says what to do instead."""

    FIELDS = (
        ('rule', 0),
        ('why', ''),
        ('actions', list),
        ('refused', False),
        ('seen', ''),
        ('expected', ''),
        ('steps', list),
        ('situation', None),
        ('differences', list),
    )


class Problem(Record):
    """Something that is wrong: on which node, what was seen, what was expected, and the next steps as `_steps` has them."""

    FIELDS = (
        ('code', ''),
        ('node', ''),               # as it is shown: one name, or all of `nodes`
        ('nodes', list),
        ('seen', ''),
        ('expected', ''),
        ('steps', list),
        ('stop', False),
    )

    @property
    def message(self):
        return message(self.node, self.seen, self.expected, self.steps)

    @property
    def command(self):
        """The steps in words."""
        return _steps.sentences(self.steps)


def message(node, seen, expected, steps):
    """The one form that every refusal has. steps: as `_steps.listed` takes them, text included."""
    text = '%s: %s; expected %s.' % (node, seen, expected)
    return '%s %s' % (text, _steps.sentences(steps)) if steps else text
