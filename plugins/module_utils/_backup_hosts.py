# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what the role backup sets up on hosts: systemd units, the data nodes of a repository, and how the hosts log in to each other."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _ssh
from ansible_collections.pgfleet.repmgr.plugins.module_utils._backup import TYPES
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer

SOCKETS = '/var/run/postgresql'
_UNITS = '/etc/systemd/system/'


def units(unit, schedule):
    """{timers, files, names, unscheduled}.

    unit: the name that the units of the cluster begin with. schedule: {type of backup: calendar event, or '' for none}. timers: {name: calendar event}.
    files: {path: [template, type]}. names: the file names of all units that there may be, whatever the schedule; not a pattern, because the units of
    cluster NAME-eu on the same host begin with the name of cluster NAME. unscheduled: those of timers that the schedule does not have.
    """
    timers = {'watch': '*:0/5'}
    timers.update((kind, when) for kind, when in schedule.items() if when)
    files = {'%s%s@.service' % (_UNITS, unit): ['backup.service', '']}
    files.update(('%s%s-%s.timer' % (_UNITS, unit, kind), ['backup.timer', kind]) for kind in timers)
    return {'timers': timers, 'files': files, 'names': ['%s@.service' % unit] + ['%s-%s.timer' % (unit, kind) for kind in ('watch',) + TYPES],
            'unscheduled': ['%s-%s.timer' % (unit, kind) for kind in TYPES if kind not in timers]}


def data_nodes(records):
    """The data nodes as the repository's configuration needs them. records: what their hosts have recorded."""
    return [{'name': record['name'], 'address': record['address'], 'ssh_port': integer(record['peer']['ssh_port']), 'port': integer(record['port']),
             'data_directory': record['observed']['data']['path'], 'socket_directory': SOCKETS} for record in records]


def lacking(records, path):
    """The names of the hosts on which backups are not set up. path: the file that is there if they are."""
    return [record['name'] for record in records if path not in record['observed']['files']]


def authorized_key(command, key, name):
    """A line of authorized_keys with which the key starts one program, and nothing else."""
    return 'restrict,command="%s" %s %s' % (command, key, name)


def access(nodes, command):
    """{known_hosts, authorized_keys} of the host of the repository. nodes: [(record, facts, public key)] of the data nodes."""
    return {
        'known_hosts': _ssh.lines(line for record, facts, dummy in nodes for line in _ssh.known_hosts(
            [record['address']], record['peer']['ssh_port'], _ssh.host_keys(facts))),
        'authorized_keys': _ssh.lines(authorized_key(command, key, record['name']) for record, dummy, key in nodes)}
