# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""conf.d/repmgr.conf as its template makes it, and what the observation then reads in it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import subprocess

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _settings

NAMES = ('base-centos-1', 'base-centos-2')
WRITTEN = """# Ansible managed
# Later lines win: repmgr_postgresql_settings overrides what the collection sets.
listen_addresses = '*'
port = '5432'
shared_preload_libraries = 'repmgr'
password_encryption = 'scram-sha-256'
wal_level = 'replica'
wal_log_hints = 'on'
archive_mode = 'on'
archive_command = '/bin/true'
max_wal_senders = '10'
max_replication_slots = '10'
hot_standby = 'on'
wal_sender_timeout = '5s'
wal_receiver_timeout = '5s'
wal_keep_segments = '32'
ssl = 'on'
ssl_cert_file = '/etc/pgfleet/tls/server.crt'
ssl_key_file = '/etc/pgfleet/tls/server.key'
"""


def written(host, server=None, **given):
    records = [{'name': name, 'node_id': '%d' % number, 'node_name': name, 'groups': [role], 'initial_role': role, 'tls': 'managed', 'named': [],
                'cluster': 'lab', 'observed': {'data': {'state': 'valid'}, 'server': dict({'state': 'running', 'sql': True}, **(server or {}))}}
               for number, (name, role) in enumerate(zip(NAMES, ('primary', 'standby')), 1)]
    variables = {
        '__repmgr_members': list(NAMES), '__repmgr_record': records[1], 'hostvars': dict((each['name'], {'__repmgr_record': each}) for each in records),
        '__repmgr_cluster': {'roles': {NAMES[0]: 'primary', NAMES[1]: 'standby'}}}
    return host.rendered(host.file('server', 'templates', 'settings.conf.j2'), **dict(variables, **given))


def test_by_default(host):
    assert written(host) == WRITTEN
    assert _settings.kept_in(WRITTEN) == {}


def test_what_the_inventory_adds(host):
    text = written(host, repmgr_postgresql_settings={'jit': False, 'wal_level': 'logical', 'search_path': "it's"}, repmgr_synchronous=1)
    assert text == WRITTEN.replace("'replica'", "'logical'") + (
        "synchronous_standby_names = 'ANY 1 (\"base-centos-1\", \"base-centos-2\")'\njit = 'off'\nsearch_path = 'it''s'\n")


def test_an_archive_for_backups_on_data_nodes_alone(host):
    ours = "archive_command = 'pgbackrest --config=/etc/pgfleet/backup/lab/node.conf --stanza=lab archive-push %p'\n"
    assert written(host, repmgr_backup='pgbackrest', repmgr_cluster_name='lab') == WRITTEN.replace("archive_command = '/bin/true'\n", ours)
    assert "archive_command = '/bin/true'\n" in written(host, repmgr_backup='pgbackrest', repmgr_cluster_name='lab',
                                                        __repmgr_cluster={'roles': dict((name, 'witness') for name in NAMES)})


def test_what_the_server_had(host):
    had = {'archive_command': {'setting': "cp %p '/srv/%f'", 'default': '', 'file': '/p.conf'}, 'wal_level': {'setting': 'logical', 'default': 'replica'}}
    text = written(host, {'configured': had})
    assert text == WRITTEN.replace("wal_level = 'replica'\n", '').replace("archive_command = '/bin/true'\n", '') + (
        "# Kept as the servers had it before; what the inventory names replaces it.\narchive_command = 'cp %p ''/srv/%f'''\nwal_level = 'logical'\n")
    assert _settings.kept_in(text) == {'archive_command': "cp %p '/srv/%f'", 'wal_level': 'logical'}
    # And the same the next time, when the server runs with the collection's file.
    assert written(host, {'configured': dict((name, dict(entry, file='/conf.d/repmgr.conf')) for name, entry in had.items()),
                          'kept': _settings.kept_in(text)}) == text


@pytest.mark.parametrize('line, good', [
    ('', True), ("pg_stat_statements.max = '100'\n", True), ("max_conections = '200'\n", False), ("work_mem = 'lots'\n", False),
    ("archive_command = 'cp\n'\n", False),
])
def test_the_server_is_asked_before_it_gets_its_settings(host, tmp_path, line, good):
    """A reload passes over a file with errors, and nothing starts with it: no node would survive its next restart."""
    task, = host.load('server', 'tasks', 'settings.yml')
    programs = sorted(glob.glob('/usr/lib/postgresql/*/bin/postgres'), key=lambda path: int(path.split('/')[4]))
    if not programs:
        pytest.skip('there is no PostgreSQL')
    (tmp_path / 'etc' / 'conf.d').mkdir(parents=True)
    path = tmp_path / 'source'
    path.write_text(WRITTEN.replace("wal_keep_segments = '32'", "wal_keep_size = '512MB'") + line)
    command = host.rendered(task['pgfleet.repmgr.repmgr_files']['files'][0]['validate'], __repmgr_bin_dir=programs[-1].rpartition('/')[0],
                            __repmgr_config_dir=str(tmp_path / 'etc'))
    # As the module does it: without a shell.
    done = subprocess.run((command % path).split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
    assert (done.returncode == 0) is good, done.stdout
