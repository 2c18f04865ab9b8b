# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: checks of the settings, pg_hba rules, libraries and archiving of one host."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import posixpath
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _hba, _settings
from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract_values import flaw, is_on, lower_names

# A name with a dot is a setting of an extension.
SETTING = re.compile(r'^[A-Za-z_][A-Za-z0-9_$]*([.][A-Za-z_][A-Za-z0-9_$]*)*\Z')

# {setting of repmgr.conf: the variable to set instead, or None}. The nodes, the guard and the playbooks rely on the collection's own values.
OWNED_BY_REPMGR_CONF = {
    'node_id': 'repmgr_node_id', 'node_name': 'repmgr_node_name', 'conninfo': 'repmgr_address, repmgr_port, repmgr_user or repmgr_database',
    'data_directory': 'repmgr_data_directory', 'config_directory': None, 'pg_bindir': 'repmgr_postgresql_version', 'replication_user': 'repmgr_user',
    'use_replication_slots': None, 'location': 'repmgr_location', 'priority': 'repmgr_priority', 'failover': 'repmgr_failover',
    'promote_command': None, 'follow_command': None, 'failover_validation_command': None,
}
# The same for settings of the server.
OWNED_BY_SERVER = {
    'data_directory': 'repmgr_data_directory', 'config_file': None, 'hba_file': None, 'port': 'repmgr_port', 'ssl': 'repmgr_tls',
    'ssl_cert_file': 'repmgr_tls_certificate', 'ssl_key_file': 'repmgr_tls_key', 'synchronous_standby_names': 'repmgr_synchronous',
    'primary_conninfo': None, 'primary_slot_name': None,
}


def check_backups(host):
    """The variables of backups, and settings that conflict with them, because a server has one archive."""
    backup = host.get('backup')
    if not backup:
        return []
    settings = lower_names(host.get('server_settings'))
    taken = sorted(name for name in ('archive_command', 'archive_library', 'archive_mode') if name in settings)
    problems = _backup.input_problems(dict(backup, archive_command_named=_settings.archives(backup.get('archive_command'))))
    if taken:
        problems.append(('repmgr_postgresql_settings has %s beside repmgr_backup' % ', '.join(taken), 'one of the two, because a server has one archive',
                         'Leave it out of repmgr_postgresql_settings.'))
    return [problem for each in problems for problem in flaw(host, *each)]


def check_archive(host):
    settings = lower_names(host.get('server_settings'))
    command = settings.get('archive_command', host.get('archive_command'))
    if re.search('[\r\n]', '%s' % (host.get('archive_command') or '',)):
        return flaw(host, 'repmgr_archive_command has more than one line', 'one line', 'Write it in one line, in YAML without | or with >-.')
    if command is None or settings.get('archive_library') or not is_on(settings.get('archive_mode', True)) or ('%s' % (command,)).strip():
        return []
    return flaw(host, 'repmgr_archive_command is empty, so PostgreSQL would keep all WAL until the disk is full', 'a command',
                'Leave out repmgr_archive_command to archive nothing.')


def check_libraries(host):
    own = lower_names(host.get('server_settings')).get('shared_preload_libraries')
    variable = 'repmgr_postgresql_settings.shared_preload_libraries' if own is not None else 'repmgr_shared_preload_libraries'
    libraries = own if own is not None else host.get('libraries')
    if libraries is None:
        return []
    names = libraries if isinstance(libraries, (list, tuple)) else ('%s' % (libraries,)).split(',')
    if 'repmgr' in [posixpath.basename(('%s' % (name,)).strip().strip('"')) for name in names]:
        return []
    return flaw(host, '%s is "%s"' % (variable, ', '.join('%s' % (name,) for name in names)), 'repmgr among them, without which repmgrd does not run',
                'Add repmgr to %s.' % variable)


def _owned(host, settings, owned, variable):
    problems = []
    for name in sorted(set(settings) & set(owned)):
        problems += flaw(host, '%s has %s' % (variable, name), 'settings that the collection does not rely on itself',
                         'Set %s instead.' % owned[name] if owned[name] else 'Leave it out of %s.' % variable)
    return problems


def _lines(host, settings, variable):
    """Names and values that would break a configuration file, in which each setting is one line, so that the program could not start."""
    problems = []
    for name, value in sorted(settings.items()):
        if not SETTING.match('%s' % (name,)):
            problems += flaw(host, '%s has "%s"' % (variable, name), 'the name of a setting', 'Correct %s.' % variable)
        elif re.search('[\r\n\0]', '%s' % (value,)):
            problems += flaw(host, '%s.%s has more than one line' % (variable, name), 'one line', 'Write it in one line, in YAML without | or with >-.')
    return problems


def check_repmgr_settings(host):
    settings = host.get('repmgr_settings') or {}
    return _owned(host, settings, OWNED_BY_REPMGR_CONF, 'repmgr_settings') + _lines(host, settings, 'repmgr_settings')


def check_server_settings(host):
    """Settings with which a server could not be a standby, or the nodes could not connect to it."""
    settings = lower_names(host.get('server_settings'))
    problems = _owned(host, settings, OWNED_BY_SERVER, 'repmgr_postgresql_settings') + _lines(host, settings, 'repmgr_postgresql_settings')

    def wrong(name, expected):
        return flaw(host, 'repmgr_postgresql_settings.%s is "%s"' % (name, settings[name]), expected, 'Correct repmgr_postgresql_settings.')

    # A witness has no standbys.
    replicates = 'witness' not in (host.get('groups') or [])
    # PostgreSQL still accepts hot_standby and archive, the names before 9.6, for replica.
    if replicates and 'wal_level' in settings and ('%s' % settings['wal_level']).lower() not in ('replica', 'logical', 'hot_standby', 'archive'):
        problems += wrong('wal_level', 'replica or logical, which standbys need')
    for name, reason in (('hot_standby', 'on, because repmgr queries standbys'), ('full_page_writes', 'on, because pg_rewind needs it')):
        if replicates and name in settings and not is_on(settings[name]):
            problems += wrong(name, reason)
    if 'track_activities' in settings and not is_on(settings['track_activities']):
        problems += wrong('track_activities', 'on, because a server tells by it which primary has asked it, and when')
    if is_on(settings.get('default_transaction_read_only', False)):
        problems += wrong('default_transaction_read_only', 'off, because repmgr writes its records on the primary')
    if 'password_encryption' in settings and ('%s' % settings['password_encryption']).lower() != 'scram-sha-256':
        problems += wrong('password_encryption', 'scram-sha-256, which the pg_hba rules of the nodes require')
    if 'listen_addresses' in settings and not [word for word in ('%s' % settings['listen_addresses']).split(',') if word.strip() not in (
            '', 'localhost', '127.0.0.1', '::1')]:
        problems += wrong('listen_addresses', 'an address that the other nodes can reach')
    return problems


def check_rules(host):
    problems = []
    for rule in (host.get('hba') or {}).get('extra') or []:
        problem = _hba.problem(rule)
        if problem:
            problems += flaw(host, 'an entry of repmgr_pg_hba_extra %s' % problem, 'rules that PostgreSQL can read, because otherwise it does not start',
                             'Correct repmgr_pg_hba_extra.')
    return problems


# In the order of their messages.
CHECKS = (check_backups, check_archive, check_libraries, check_repmgr_settings, check_server_settings, check_rules)
