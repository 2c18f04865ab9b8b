# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The records that the other files exchange. No input, no output, no decisions."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps


def plain(value):
    """The value, with every record in it converted to a dictionary."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, dict):
        return dict((key, plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def integer(value):
    """The value as an int, also if an inventory has it as a string; None if it is not a number."""
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
        """A record from the result of to_dict, possibly of another version: unknown keys are ignored, missing ones get their default."""
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
    """A data directory: missing, empty, partial, valid, unrecognised, or unknown."""

    FIELDS = (
        ('path', ''),
        ('state', 'unknown'),
        ('major', None),
        ('system_identifier', None),
        ('timeline', None),
        ('cluster_state', None),
        ('standby_signal', False),
        ('promotes_itself', False),  # it recovers from an archive first: data that somebody restores
        ('started', None),          # whether a server ever ran with it; False after initdb and after a clone
        ('clone_begun', False),     # if it is missing or empty: whether a clone into it was begun and not finished
        ('wal_log_hints', None),
        ('checksums', None),
        ('reason', ''),
    )


class Server(Record):
    """A server: running, stopped, starting, or unknown. `sql` is whether it answered queries."""

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
        ('oldest_wal', None),       # position in bytes from which it has all WAL without a gap
        ('replay_paused', None),
        ('lag_bytes', None),
        ('lag_seconds', None),
        ('restart_for', list),      # the reasons why it needs a restart
        ('lowered', dict),          # settings that must not be lower on a standby than on its primary, and will be after a restart: {name: value}
        ('unread', list),           # configuration files that were written after it last read them
        ('archiver', dict),         # what archive_command has done: {last_archived_wal, last_failed_wal, failing, failing_since}
        ('settings', dict),
        ('configured', dict),       # settings of the collection that configuration files define: {name: {setting, unit, default, file}}
        ('kept', None),             # earlier settings that the collection's file keeps: {name: value}; None without such a file
        ('foreign', list),          # the names of the settings in that file if somebody else has written it
    )


class Observed(Record):
    """The observation of one node: the node itself, and its peers as seen from there."""

    FIELDS = (
        ('name', ''),
        ('installed', None),
        ('repmgr_installed', None),
        ('deployed', None),         # whether the collection's unit of repmgrd exists; a run writes it once the node has its data
        ('repmgr_version', None),   # of the installed packages, as 'MAJOR.MINOR'; None if unknown
        ('missing_packages', None),
        ('package_sources', list),  # those of PGDG, see _sources.parse
        ('files', dict),
        ('contents', dict),
        ('hba', dict),              # pg_hba.conf: the steps that would change it, and the path if the server reads another file
        ('knows_password', None),   # whether the passfile has a line for the repmgr role
        ('config', None),
        ('elsewhere', list),        # configuration files on this host for another data directory: {file, data_directory, major, ...}
        ('data', Data),
        ('server', Server),
        ('receiver', None),
        ('replication', list),
        ('slots', list),
        ('repmgr', dict),
        ('guard', None),            # repmgr-guard and its fuse, if installed: whether they run and are enabled
        ('health', None),           # what the health endpoint says about /primary, if it was asked; see _endpoint
        ('daemons', list),          # every repmgrd process of this node: {pid, unit}; unit is None if it does not belong to a systemd unit
        ('pause', None),            # the note of who paused repmgrd, and why
        ('restore', None),          # of a restore of the cluster that has begun here and is not over: its phase and target
        ('run_lock', None),         # of the run that is at work on this node, see _run_lock
        ('tls', None),
        ('backup', None),           # of a primary whose WAL is archived for backups: what its repository reports, for _backup.problems
        ('verified', None),         # of a data node with backups: what it remembers of restore drills, see _observe.read_verified
        ('disks', list),            # the file systems of the data directory and of the WAL
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
    """A host of the inventory, with its observation."""

    FIELDS = (
        ('name', ''),
        ('node_id', None),
        ('node_name', ''),
        ('cluster', ''),
        ('address', ''),
        ('port', 5432),
        ('conninfo', ''),           # the connection string that follows from the inventory
        ('initial_role', ''),
        ('upstream', ''),
        ('tls', ''),
        ('synchronous', 0),         # number of standbys that a commit waits for
        ('postgresql_version', ''),  # the major version that follows from the inventory, '' without facts
        ('package_source', ''),
        ('os_family', ''),
        ('distribution_major', ''),
        ('release', ''),            # code name of Debian or Ubuntu, such as bookworm
        ('architecture', ''),       # the kernel's name for it
        ('user', ''),
        ('database', ''),
        ('settings', dict),         # the PostgreSQL settings of the collection
        ('server_settings', dict),  # repmgr_postgresql_settings
        ('backup', dict),           # the settings for backups; empty if there are none
        ('routing', dict),          # the settings for health endpoints and proxies
        ('timing', dict),           # that of the failover profile
        ('named', list),            # variables for PostgreSQL settings that the inventory defines
        ('other_password', False),  # whether repmgr_password differs from the password that the node logs in with
        ('unknown_password', ''),   # why the password that the role has would be replaced by another one, see _password.unknown
        ('unreachable', False),
        ('observed', None),
    )
    NESTED = {'observed': Observed}


class Desired(Record):
    """The desired state of a node."""

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
        ('knows_password', False),  # whether the passfile has a line for the repmgr role
    )


class Situation(Record):
    """The observed and the desired state of a node, condensed to the words that the rules use."""

    FIELDS = (
        ('role', ''),
        ('state', 'present'),
        ('data', 'unknown'),        # absent, partial, valid, unrecognised, unknown
        ('server', 'unknown'),      # running, silent, starting, stopped, unknown
        ('recovery', 'unknown'),    # yes, no, restores: from an archive, and then promotes itself, unknown, none: no usable data
        ('identity', 'unknown'),    # whether the data belong to this cluster: same, other, unknown, none
        ('primary', 'unknown'),     # live, self, recovery, silent, unknown, none
        ('record', 'unknown'),      # absent, same, differs, foreign, unknown
        ('upstream', 'unknown'),    # right, insecure: a password or other TLS settings, moved: by a former address, wrong, detached, unknown, none
        ('rejoin', 'never'),        # never, attach, rewind, reclone
    )


class Rule(Record):
    """`when` maps fields of the situation to the values that match. Other fields may have any value."""

    FIELDS = (
        ('id', 0),
        ('role', ()),
        ('when', dict),
        ('actions', ()),
        ('why', ''),
        ('refuse', None),
    )


class Plan(Record):
    """The rule that matched, and what follows from it. A refusal has no actions, but next steps for the operator."""

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
    """Something that is wrong: the node, what was seen, what was expected, and the next steps in the form of `_steps`."""

    FIELDS = (
        ('code', ''),
        ('node', ''),               # as it is displayed: one name, or all of `nodes`
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
        """The steps as text."""
        return _steps.sentences(self.steps)


def message(node, seen, expected, steps):
    """The form of every refusal. steps: what `_steps.listed` accepts, strings included."""
    text = '%s: %s; expected %s.' % (node, seen, expected)
    return '%s %s' % (text, _steps.sentences(steps)) if steps else text
