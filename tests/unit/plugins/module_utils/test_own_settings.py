# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _own_settings

NODES = [{'node_name': name, 'initial_role': role} for name, role in (('a', 'primary'), ('b', 'standby'), ('w', 'witness'))]
FILES = {'certificate': '/s.crt', 'key': '/s.key', 'root': '/r.crt'}


def own(nodes=None, observed=None, **changes):
    return dict(_own_settings.own(NODES if nodes is None else nodes, observed, dict({
        'version': '15', 'port': 5433, 'libraries': ['repmgr', 'auto_explain'], 'archive_command': '/bin/true', 'backup_command': '', 'synchronous': 0,
        'wal_sender_timeout': 5, 'witness': False, 'tls_files': FILES, 'tls_last': False}, **changes)))


def test_all_of_them():
    assert own() == {
        'listen_addresses': '*', 'port': '5433', 'shared_preload_libraries': 'repmgr,auto_explain', 'password_encryption': 'scram-sha-256',
        'wal_level': 'replica', 'wal_log_hints': 'on', 'archive_mode': 'on', 'archive_command': '/bin/true', 'max_wal_senders': '10',
        'max_replication_slots': '10', 'hot_standby': 'on', 'wal_sender_timeout': '5s', 'wal_receiver_timeout': '5s', 'wal_keep_size': '512MB',
        'max_slot_wal_keep_size': '16GB', 'ssl': 'on', 'ssl_cert_file': '/s.crt', 'ssl_key_file': '/s.key', 'ssl_min_protocol_version': 'TLSv1.2'}


@pytest.mark.parametrize('version, wal, protocol', [
    ('9.6', 'wal_keep_segments', False), ('11', 'wal_keep_segments', False), ('12', 'wal_keep_segments', True), (13, 'wal_keep_size', True),
])
def test_by_version(version, wal, protocol):
    found = own(version=version)
    assert [name for name in found if name.startswith('wal_keep')] == [wal] and ('ssl_min_protocol_version' in found) is protocol


@pytest.mark.parametrize('number, connections', [(1, '10'), (5, '10'), (6, '20'), (10, '20'), (11, '30')])
def test_connections_are_rounded_up(number, connections):
    found = own(NODES[:1] * number)
    assert found['max_wal_senders'] == found['max_replication_slots'] == connections


@pytest.mark.parametrize('witness, backup, command', [
    (False, '', '/bin/true'), (False, 'push', 'push'), (True, 'push', '/bin/true'), (True, '', '/bin/true')])
def test_a_witness_is_not_part_of_the_backups(witness, backup, command):
    assert own(witness=witness, backup_command=backup)['archive_command'] == command


@pytest.mark.parametrize('synchronous, witness, names', [
    (0, False, None), ('0', False, None), (1, False, 'ANY 1 ("a", "b")'), ('2', False, 'ANY 2 ("a", "b")'), (1, True, None)])
def test_synchronous_standbys(synchronous, witness, names):
    assert own(synchronous=synchronous, witness=witness).get('synchronous_standby_names') == names


NOW = {'ssl': 'on', 'ssl_cert_file': '/now.crt', 'ssl_key_file': '/now.key'}


@pytest.mark.parametrize('files, last, settings, certificate', [
    (FILES, False, NOW, '/s.crt'), (FILES, True, NOW, '/now.crt'), ({}, True, NOW, '/now.crt'), ({}, False, NOW, None),
    (FILES, True, dict(NOW, ssl='off'), '/s.crt'), ({}, True, {}, None), (FILES, True, None, '/s.crt'),
])
def test_a_certificate_is_kept_while_clients_need_it(files, last, settings, certificate):
    found = own(observed={'server': {'settings': settings}} if settings is not None else None, tls_files=files, tls_last=last)
    assert found['ssl'] == ('on' if certificate else 'off') and found.get('ssl_cert_file') == certificate
    assert ('ssl_key_file' in found) is ('ssl_min_protocol_version' in found) is bool(certificate)
