# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract import contract_problems

OS = 'expected Enterprise Linux 7 or later, Debian 11 or later, or Ubuntu 20.04 or later. Remove the host from the inventory, or upgrade it.'
ID = 'expected a positive number that is unique in the cluster and never changes.'
GROUP = 'expected exactly one of the groups primary, standby and witness.'
NAME = 'expected a letter or _, followed by up to 62 letters, digits and any of _ . -.'
FOLDER = 'expected the absolute path of a folder, without blanks, quotes and ...'
OWN = 'expected settings that the collection does not rely on itself.'


TIMING = {'monitor_interval': '2', 'reconnect_attempts': 4, 'reconnect_interval': '2', 'attempt': 2, 'wal_sender_timeout': '5s', 'isolation': '4'}


WINDOW = 'reconnect_attempts 4 x 2 s + (4 - 1) x reconnect_interval 2 = 14 s'


def host(name, number, **changes):
    found = {
        'name': name, 'cluster': 'lab', 'node_id': str(number), 'node_name': name, 'address': '10.0.0.%d' % number, 'port': '5432',
        'groups': ['standby'], 'profile': 'safe', 'package_source': 'distro', 'os_family': 'Debian', 'distribution': 'Debian',
        'distribution_major': '12', 'postgresql_version': '15', 'service_mgr': 'systemd', 'priority': '100', 'location': 'default',
        'unreachable': False, 'failover': 'automatic',
    }
    found.update(changes)
    return found


@pytest.mark.parametrize('changes', [
    {},
    dict(port=5433, priority=0, node_id=7),
    dict(tls='managed', tls_files={}, insecure=[]),
    dict(tls='provided', tls_files={'certificate': '/c', 'key': '/k', 'root': '/r'}, insecure=['trust', 'superuser', 'unverified_hosts']),
    dict(port='', priority=None),
    dict(timing=TIMING, auto_rejoin='off'),
    dict(timing=dict(TIMING, wal_sender_timeout='5900'), allow_two_nodes=False),
    dict(upstream=''),
    dict(upstream='a'),
    dict(os_family='RedHat', distribution='CentOS', distribution_major='7'),
    dict(os_family='RedHat', distribution='Rocky', distribution_major='9.4'),
    dict(distribution='Ubuntu', distribution_major='20'),
    dict(distribution_major='n/a'),
    dict(clone={'from': 'primary', 'max_rate': '', 'compress': '', 'own_options': '-Xnone'}),
    dict(clone={'options': ['--fast-checkpoint', '--without-barman', '-c']}),
    dict(node_id=2147483647, priority=0, failover='automatic'),
    dict(user='_' + 'u' * 62, database='Fleet-Meta.1'),
    dict(data_directory='/srv/pg/data/', places=['/var/lib/postgresql', '/etc/pgfleet'],
         metrics={'wanted': True, 'directory': '/srv/pg/data2', 'interval': '1'}),
    dict(data_directory='/var/lib/postgresql/15/main', places=['/var/lib/postgresql']),
    dict(data_directory='/tmpfs/runs'),
    dict(metrics={'wanted': False, 'directory': 'x', 'interval': 0}),
    dict(peer={'ssh_port': '2222'}),
    dict(backup={}),
    dict(archive_command='', server_settings={'archive_mode': False}),
    dict(server_settings={'pg_stat_statements.max': 100, 'log_line_prefix': "%m 'x' \\t"}, repmgr_settings={'log_level': 'DEBUG'}),
    dict(libraries=['pg_stat_statements', 'repmgr'], password_lines='1', archive_command='/bin/true'),
    dict(repmgr_settings={'log_level': 'DEBUG', 'reconnect_attempts': 9}),
    dict(server_settings={'wal_level': 'logical', 'Hot_Standby': True, 'full_page_writes': 'on', 'max_wal_senders': 3, 'max_replication_slots': '2',
                          'password_encryption': 'scram-sha-256', 'listen_addresses': 'localhost, 10.0.0.2', 'archive_mode': 'on',
                          'shared_preload_libraries': 'auto_explain, repmgr', 'default_transaction_read_only': 'off'}),
    dict(clone={'from': 'standby', 'max_rate': 32, 'compress': 'gzip'}),
    dict(clone={'from': 'standby', 'max_rate': '1024M', 'compress': 'zstd'}),
    # Nothing is known of a host that cannot be reached; that it cannot is told elsewhere.
    dict(unreachable=True, os_family=None, distribution=None, distribution_major=None, service_mgr=None, package_source=None,
         postgresql_version=None),
])
def test_right(changes):
    assert contract_problems([host('a', 1), host('b', 2, **changes)]) == []


ONE_LINE = 'expected one line. Write it in one line, in YAML without | or with >-.'


@pytest.mark.parametrize('changes, message', [
    (dict(cluster=''), 'b: repmgr_cluster_name is not set; expected the name of the cluster that the host belongs to. '
                       'Set repmgr_cluster_name for the host or its group.'),
    (dict(node_id=''), 'b: repmgr_node_id is not set; %s Set repmgr_node_id for the host.' % ID),
    (dict(node_id=None), 'b: repmgr_node_id is not set; %s Set repmgr_node_id for the host.' % ID),
    (dict(node_id='two'), 'b: repmgr_node_id is "two"; %s Correct repmgr_node_id of the host.' % ID),
    (dict(node_id=0), 'b: repmgr_node_id is "0"; %s Correct repmgr_node_id of the host.' % ID),
    (dict(node_id='-3'), 'b: repmgr_node_id is "-3"; %s Correct repmgr_node_id of the host.' % ID),
    (dict(node_id=1), 'a, b: node id 1 is used twice; expected a different one for each host. Give each host its own repmgr_node_id.'),
    (dict(node_name='a'), 'a, b: node name a is used twice; expected a different one for each host. '
                          'Give each host its own repmgr_node_name.'),
    (dict(address='10.0.0.1'), 'a, b: address and port 10.0.0.1 port 5432 is used twice; expected a different one for each host. '
                               'Set repmgr_address or repmgr_port so that each node has its own.'),
    (dict(groups=[]), 'b: is in no role group; %s Put the host into one of them.' % GROUP),
    (dict(groups=['standby', 'witness']), 'b: is in the groups standby and witness; %s Leave the host in one of them.' % GROUP),
    (dict(profile='quick'), 'b: repmgr_failover_profile is "quick"; expected one of fast, safe, wan. Correct repmgr_failover_profile.'),
    (dict(profile=None), 'b: repmgr_failover_profile is ""; expected one of fast, safe, wan. Correct repmgr_failover_profile.'),
    (dict(package_source='cdrom'), 'b: repmgr_package_source is "cdrom"; expected one of pgdg, distro, none. '
                                   'Correct repmgr_package_source.'),
    (dict(tls='maybe'), "b: repmgr_tls is \"maybe\"; expected one of managed, provided, 'off'. Correct repmgr_tls."),
    (dict(tls='provided', tls_files={'certificate': '/c', 'key': '', 'root': 'r'}),
     'b: repmgr_tls_key is ""; repmgr_tls_root is "r"; expected the path of a file on the host. Set it, or leave out repmgr_tls.'),
    (dict(insecure=['trust', 'all']), 'b: repmgr_insecure has all; expected nothing but trust, superuser, unverified_hosts. '
                                      'Correct repmgr_insecure, or leave it out.'),
    (dict(port='http'), 'b: repmgr_port is "http"; expected a number from 1 to 65535. Correct repmgr_port.'),
    (dict(port=70000), 'b: repmgr_port is "70000"; expected a number from 1 to 65535. Correct repmgr_port.'),
    (dict(upstream='b'), 'b: repmgr_upstream is "b"; expected another data node of its cluster (a), or nothing for the live primary. '
                         'Correct repmgr_upstream.'),
    (dict(upstream='c'), 'b: repmgr_upstream is "c"; expected another data node of its cluster (a), or nothing for the live primary. '
                         'Correct repmgr_upstream.'),
    (dict(priority='high'), 'b: repmgr_priority is "high"; expected a number, 0 for a node that is never promoted. '
                            'Correct repmgr_priority.'),
    (dict(priority=-1), 'b: repmgr_priority is "-1"; expected a number, 0 for a node that is never promoted. Correct repmgr_priority.'),
    (dict(peer={'ssh_port': '0'}), 'b: repmgr_ssh_port is "0"; expected a number from 1 to 65535. Correct repmgr_ssh_port.'),
    (dict(location='rack 2\n'), 'b: repmgr_location is "rack 2\n"; expected letters, digits, blanks and . _ : / + -, the first one a letter or a digit. '
                                'Correct repmgr_location.'),
    (dict(os_family='Suse', distribution='SLES', distribution_major='15'), 'b: runs SLES 15; %s' % OS),
    (dict(os_family='RedHat', distribution='CentOS', distribution_major='6'), 'b: runs CentOS 6; %s' % OS),
    (dict(distribution_major='10'), 'b: runs Debian 10; %s' % OS),
    (dict(distribution='Ubuntu', distribution_major='18'), 'b: runs Ubuntu 18; %s' % OS),
    (dict(os_family=None, distribution=None, distribution_major=None), 'b: runs unknown; %s' % OS),
    (dict(postgresql_version=''), 'b: repmgr_postgresql_version is ""; expected a major version from 10 to 18. '
                                  'Correct repmgr_postgresql_version.'),
    (dict(service_mgr='openrc'), 'b: services are managed by openrc; expected systemd. Remove the host from the inventory.'),
    (dict(postgresql_version='16'), 'a, b: different major versions of PostgreSQL: 15 on a; 16 on b; expected one version in the whole '
                                    'cluster. Set repmgr_postgresql_version once for the cluster.'),
    (dict(auto_rejoin='reclone'), 'b: repmgr_auto_rejoin is "reclone"; expected one of rewind, attach, off. Correct repmgr_auto_rejoin.'),
    (dict(clone={'from': 'witness'}), 'b: repmgr_clone_from is "witness"; expected one of primary, standby. Correct repmgr_clone_from.'),
    (dict(clone={'compress': 'bzip2'}), 'b: repmgr_clone_compress is "bzip2"; expected one of gzip, lz4, zstd. Correct repmgr_clone_compress.'),
    (dict(clone={'max_rate': '5M', 'own_options': '--max-rate=1M'}), 'b: repmgr_settings has pg_basebackup_options, which would replace '
     'repmgr_clone_max_rate and repmgr_clone_compress; expected one of the two. Put all of it into pg_basebackup_options, or leave it out.'),
    (dict(timing=dict(TIMING, isolation=14)), 'b: %s; expected at least 15 s, because an isolated primary stops after 14 s (profile safe). '
     'Correct repmgr_settings, or choose another repmgr_failover_profile.' % WINDOW),
    (dict(timing=dict(TIMING, reconnect_attempts='many')), 'b: reconnect_attempts is "many"; expected a number of 1 or more. Correct repmgr_settings.'),
    (dict(timing=dict(TIMING, monitor_interval=7)), 'b: %s; expected more than twice monitor_interval_secs 7, the time for which repmgrd treats a '
     'primary as seen. Correct repmgr_settings.' % WINDOW),
    (dict(timing=dict(TIMING, wal_sender_timeout='1min')), 'b: wal_sender_timeout is "1min"; expected less than %s, and not 0. '
     'Correct repmgr_postgresql_settings.' % WINDOW),
    (dict(timing=dict(TIMING, wal_sender_timeout='0')), 'b: wal_sender_timeout is "0"; expected less than %s, and not 0. '
     'Correct repmgr_postgresql_settings.' % WINDOW),
    (dict(synchronous=2), 'b: repmgr_synchronous is "2"; expected a number from 0 to 1, the number of possible standbys. Correct repmgr_synchronous.'),
    (dict(synchronous=1), 'a, b: repmgr_synchronous is 1 and None; expected the same on all nodes. Set repmgr_synchronous once for the cluster.'),
    (dict(node_id=2147483648), 'b: repmgr_node_id is 2147483648; expected a number up to 2147483647, which is what repmgr can store. '
                               'Correct repmgr_node_id of the host.'),
    (dict(user='postgres'), 'b: repmgr_user is "postgres"; expected a role of its own, because the collection sets its rights and who may use it. '
                            'Choose another repmgr_user.'),
    (dict(database='template1'), 'b: repmgr_database is "template1"; expected a database of its own, because the collection sets its rights and who '
                                 'may use it. Choose another repmgr_database.'),
    (dict(user=''), 'b: repmgr_user is ""; %s Correct repmgr_user.' % NAME),
    (dict(user='u' * 64), 'b: repmgr_user is "%s"; %s Correct repmgr_user.' % ('u' * 64, NAME)),
    (dict(database='a b'), 'b: repmgr_database is "a b"; %s Correct repmgr_database.' % NAME),
    (dict(database="a'"), "b: repmgr_database is \"a'\"; %s Correct repmgr_database." % NAME),
    (dict(database='a\n'), 'b: repmgr_database is "a\n"; %s Correct repmgr_database.' % NAME),
    (dict(data_directory='srv/pg'), 'b: repmgr_data_directory is "srv/pg"; %s Correct repmgr_data_directory, or leave it out.' % FOLDER),
    (dict(data_directory='/srv/../etc'), 'b: repmgr_data_directory is "/srv/../etc"; %s Correct repmgr_data_directory, or leave it out.' % FOLDER),
    (dict(data_directory='/srv/pg data'), 'b: repmgr_data_directory is "/srv/pg data"; %s Correct repmgr_data_directory, or leave it out.' % FOLDER),
    (dict(data_directory='/'), 'b: repmgr_data_directory is "/"; %s Correct repmgr_data_directory, or leave it out.' % FOLDER),
    (dict(data_directory='//', places=['/etc/pgfleet']), 'b: repmgr_data_directory is "//"; %s Correct repmgr_data_directory, or leave it out.' % FOLDER),
    (dict(data_directory='/var/lib//postgresql/', places=['/etc/pgfleet', '/var/lib/postgresql']),
     'b: repmgr_data_directory is "/var/lib//postgresql/", which contains /var/lib/postgresql; expected a folder of its own on a permanent file system. '
     'Correct repmgr_data_directory, or leave it out.'),
    (dict(data_directory='/tmp/pg'), 'b: repmgr_data_directory is "/tmp/pg"; expected a folder of its own on a permanent file system. '
                                     'Correct repmgr_data_directory, or leave it out.'),
    (dict(peer={'ssh_port': 'ssh'}), 'b: repmgr_ssh_port is "ssh"; expected a number from 1 to 65535. Correct repmgr_ssh_port.'),
    (dict(port=22, peer={'ssh_port': '22'}), 'b: repmgr_port and repmgr_ssh_port are 22; expected a port for each. Correct one of them.'),
    (dict(metrics={'wanted': True, 'directory': 'text', 'interval': 30}),
     'b: repmgr_metrics_directory is "text"; %s Correct repmgr_metrics_directory.' % FOLDER),
    (dict(data_directory='/srv/pg', metrics={'wanted': True, 'directory': '/srv/pg/text', 'interval': 30}),
     'b: repmgr_metrics_directory is "/srv/pg/text", which is in repmgr_data_directory; expected a folder outside of it, because a new clone replaces the '
     'data directory. Correct repmgr_metrics_directory.'),
    (dict(metrics={'wanted': True, 'directory': '/text', 'interval': 0}),
     'b: repmgr_metrics_interval is "0"; expected a number of 1 or more. Correct repmgr_metrics_interval.'),
    (dict(archive_command=' '), 'b: repmgr_archive_command is empty, so PostgreSQL would keep all WAL until the disk is full; expected a command. '
                                'Leave out repmgr_archive_command to archive nothing.'),
    (dict(archive_command='cp %p /archive/%f\n'), 'b: repmgr_archive_command has more than one line; %s' % ONE_LINE),
    (dict(server_settings={'restore_command': 'cp /archive/%f\n%p'}), 'b: repmgr_postgresql_settings.restore_command has more than one line; %s' % ONE_LINE),
    (dict(server_settings={'work mem': '4MB'}), 'b: repmgr_postgresql_settings has "work mem"; expected the name of a setting. '
                                                'Correct repmgr_postgresql_settings.'),
    (dict(repmgr_settings={'event_notification_command': 'mail \\\n root'}), 'b: repmgr_settings.event_notification_command has more than one line; %s'
     % ONE_LINE),
    (dict(repmgr_settings={"log_level='DEBUG'": 1}), 'b: repmgr_settings has "log_level=\'DEBUG\'"; expected the name of a setting. Correct repmgr_settings.'),
    (dict(libraries=['auto_explain']), 'b: repmgr_shared_preload_libraries is "auto_explain"; expected repmgr among them, without which repmgrd does '
                                       'not run. Add repmgr to repmgr_shared_preload_libraries.'),
    (dict(libraries=['repmgr'], server_settings={'shared_preload_libraries': 'auto_explain,my_repmgr'}),
     'b: repmgr_postgresql_settings.shared_preload_libraries is "auto_explain, my_repmgr"; expected repmgr among them, without which repmgrd does not '
     'run. Add repmgr to repmgr_postgresql_settings.shared_preload_libraries.'),
    (dict(password_lines=2), 'b: repmgr_password has 2 lines; expected one, because a passfile has a line for each server. Correct repmgr_password.'),
    (dict(clone={'options': ['--fast-checkpoint', '-F', '--pgdata=/x', '-D/x']}),
     'b: repmgr_clone_options has -F, --pgdata=/x, -D/x; expected options that do not change whether and where a clone is made. '
     'Leave it out of repmgr_clone_options.'),
    (dict(repmgr_settings={'failover': 'manual'}), 'b: repmgr_settings has failover; %s Set repmgr_failover instead.' % OWN),
    (dict(repmgr_settings={'promote_command': 'x'}), 'b: repmgr_settings has promote_command; %s Leave it out of repmgr_settings.' % OWN),
    (dict(server_settings={'Port': 5433}), 'b: repmgr_postgresql_settings has port; %s Set repmgr_port instead.' % OWN),
    (dict(server_settings={'ssl': False}), 'b: repmgr_postgresql_settings has ssl; %s Set repmgr_tls instead.' % OWN),
    (dict(server_settings={'synchronous_standby_names': '*'}),
     'b: repmgr_postgresql_settings has synchronous_standby_names; %s Set repmgr_synchronous instead.' % OWN),
    (dict(server_settings={'wal_level': 'minimal'}), 'b: repmgr_postgresql_settings.wal_level is "minimal"; expected replica or logical, which standbys '
                                                     'need. Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'hot_standby': False}), 'b: repmgr_postgresql_settings.hot_standby is "False"; expected on, because repmgr queries standbys. '
                                                   'Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'full_page_writes': 'off'}), 'b: repmgr_postgresql_settings.full_page_writes is "off"; expected on, because pg_rewind needs '
                                                        'it. Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'track_activities': 'off'}), 'b: repmgr_postgresql_settings.track_activities is "off"; expected on, because a server tells by it '
                                                        'which primary has asked it, and when. Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'default_transaction_read_only': 'on'}), 'b: repmgr_postgresql_settings.default_transaction_read_only is "on"; expected off, '
     'because repmgr writes its records on the primary. Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'password_encryption': 'md5'}), 'b: repmgr_postgresql_settings.password_encryption is "md5"; expected scram-sha-256, which '
                                                           'the pg_hba rules of the nodes require. Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'listen_addresses': 'localhost'}), 'b: repmgr_postgresql_settings.listen_addresses is "localhost"; expected an address that '
                                                              'the other nodes can reach. Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'max_wal_senders': 1}), 'b: repmgr_postgresql_settings.max_wal_senders is "1"; expected at least 2 for 2 data nodes. '
                                                   'Correct repmgr_postgresql_settings.'),
    (dict(server_settings={'max_replication_slots': 0}), 'b: repmgr_postgresql_settings.max_replication_slots is "0"; expected at least 2 for 2 data '
                                                         'nodes. Correct repmgr_postgresql_settings.'),
    (dict(profile='fast'), 'b, a: repmgr_failover_profile is fast on b; safe on a; expected the same on all nodes. '
                           'Set repmgr_failover_profile once for the cluster.'),
    (dict(failover='manual'), 'a, b: repmgr_failover is automatic on a; manual on b; expected the same on all nodes. '
                              'Set repmgr_failover once for the cluster.'),
    # A host that cannot be reached has its old settings, and the inventory is still one.
    (dict(failover='manual', unreachable=True), 'a, b: repmgr_failover is automatic on a; manual on b; expected the same on all nodes. '
                                                'Set repmgr_failover once for the cluster.'),
])
def test_wrong(changes, message):
    assert contract_problems([host('a', 1), host('b', 2, **changes)]) == [message]


@pytest.mark.parametrize('version', ['9', '19', '9.6'])
def test_version(version):
    message = 'a: repmgr_postgresql_version is "%s"; expected a major version from 10 to 18. Correct repmgr_postgresql_version.'
    assert contract_problems([host('a', 1, postgresql_version=version)]) == [message % version]


@pytest.mark.parametrize('rate', ['31', '31k', '1025M', '5G', '1.5M', 'fast', '-64', True])
def test_rates_that_pg_basebackup_would_refuse(rate):
    assert contract_problems([host('a', 1, clone={'max_rate': rate})]) == [
        'a: repmgr_clone_max_rate is "%s"; expected kilobytes a second with k or megabytes with M, from 32k to 1024M. '
        'Correct repmgr_clone_max_rate, or leave it out.' % rate]


def test_compression_where_the_server_has_none():
    assert contract_problems([host('a', 1, postgresql_version='14', clone={'compress': 'gzip'})]) == [
        'a: repmgr_clone_compress is "gzip" and PostgreSQL 14 cannot compress base backups in transit; expected PostgreSQL 15 or later. '
        'Leave out repmgr_clone_compress.']
    assert contract_problems([host('a', 1, postgresql_version=None, unreachable=True, clone={'compress': 'gzip'})]) == []


def test_three_of_a_kind():
    assert contract_problems([host('a', 1), host('b', 2, node_id='1'), host('c', 3, node_id=1)]) == [
        'a, b, c: node id 1 is used 3 times; expected a different one for each host. Give each host its own repmgr_node_id.']


def test_everything_undefined_is_said_and_does_not_raise():
    assert len(contract_problems([{}, {}])) > 10


def test_two_nodes_without_a_witness_have_to_be_asked_for():
    two = [host('a', 1, allow_two_nodes=False), host('b', 2, allow_two_nodes=False)]
    assert contract_problems(two) == [
        'a, b: two nodes and no witness: one node is not a majority, so no standby can be promoted; expected a witness or a third node. '
        'Add one, or set repmgr_allow_two_nodes: true. Without it, promote a node by: ansible-playbook pgfleet.repmgr.failover']
    assert contract_problems([dict(entry, allow_two_nodes=True) for entry in two]) == []
    assert contract_problems(two + [host('w', 3, groups=['witness'])]) == []
    assert contract_problems(two + [host('c', 3)]) == []
    assert contract_problems(two[:1]) == []


@pytest.mark.parametrize('key, variable, longest', [('node_name', 'repmgr_node_name', 63), ('cluster', 'repmgr_cluster_name', 49)])
def test_names(key, variable, longest):
    for value in ('a', '7', 15, 'db-1.example_x', 'n' * longest):
        assert contract_problems([host('a', 1, **{key: value})]) == [], value
    for value in ('n' * (longest + 1), '-a', '.a', 'a b', 'a%i', "a'b", 'a"', 'a$b', 'a\n', 'a\nb', '\u00e4', 'a,b', 'a/b', ' ', '\\'):
        assert contract_problems([host('a', 1, **{key: value})]) == [
            'a: %s is "%s"; expected letters, digits, dots, dashes and underscores, the first one a letter or a digit, and no more than %d of them. '
            'Correct %s.' % (variable, value, longest, variable)], value


def test_locations():
    for value in ('default', 'rack 2', 'eu-west-1/a', 2):
        assert contract_problems([host('a', 1, location=value)]) == [], value
    for value in ('', "a'b", 'a\\', 'a"', 'a#', '%n', ' a'):
        assert len(contract_problems([host('a', 1, location=value)])) == 1, value


@pytest.mark.parametrize('key, name', [
    ('user', 'Public'), ('user', 'pg_monitor'), ('user', 'replication'), ('user', 'CURRENT_USER'), ('database', 'all'), ('database', 'postgres')])
def test_names_that_mean_something_else(key, name):
    found = contract_problems([host('a', 1, **{key: name})])
    assert len(found) == 1 and found[0].startswith('a: repmgr_%s is "%s"; expected a ' % (key, name))


def test_a_witness_has_no_upstream():
    assert contract_problems([host('a', 1), host('b', 2), host('w', 3, groups=['witness'], upstream='a')]) == [
        'w: is a witness and repmgr_upstream is "a"; expected nothing, because a witness does not replicate. Set repmgr_upstream of standbys only.']


@pytest.mark.parametrize('number, upstreams, expected', [
    (2, {'c': 'b'}, 'a: repmgr_synchronous is 2, and while it is the primary only 1 standby would replicate from it directly (repmgr_upstream of c is another '
                    'node); expected at most 1'),
    (1, {'b': 'a', 'c': 'b'}, 'c: repmgr_synchronous is 1, and while it is the primary only 1 standby'),
    (1, {'c': 'b'}, ''),
    (2, {}, ''),
    (0, {'c': 'b'}, ''),
    ('', {'c': 'b'}, ''),
])
def test_enough_standbys_replicate_from_the_primary_directly(number, upstreams, expected):
    hosts = [host(name, place, synchronous=number, upstream=upstreams.get(name)) for place, name in enumerate('abc', 1)]
    found = contract_problems(hosts + [host('w', 4, groups=['witness'])])
    assert [text for text in found if expected and text.startswith(expected)] == found


def test_a_witness_is_no_upstream():
    assert contract_problems([host('a', 1), host('b', 2, upstream='w'), host('w', 3, groups=['witness'])]) == [
        'b: repmgr_upstream is "w"; expected another data node of its cluster (a), or nothing for the live primary. Correct repmgr_upstream.']


def test_somebody_may_be_promoted_where_failover_is_automatic():
    nodes = [host('a', 1, failover='automatic', priority='0'), host('b', 2, failover='automatic', priority=0)]
    witness = host('w', 3, groups=['witness'], failover='automatic')
    assert contract_problems(nodes + [witness]) == [
        'a, b: repmgr_failover is automatic and repmgr_priority is 0 on all data nodes; expected a node that may be promoted. '
        'Correct repmgr_priority, or set repmgr_failover: manual.']
    assert contract_problems([dict(node, failover='manual') for node in nodes + [witness]]) == []
    assert contract_problems([nodes[0], dict(nodes[1], priority=1), witness]) == []
    assert contract_problems(nodes[:1]) == []


@pytest.mark.parametrize('key, variable, values, shown', [
    ('user', 'repmgr_user', ('repmgr', 'fleet'), 'fleet and repmgr'),
    ('database', 'repmgr_database', ('repmgr', 'fleet'), 'fleet and repmgr'),
    ('tls', 'repmgr_tls', ('managed', ''), 'off and managed'),
])
def test_what_the_nodes_say_to_each_other_is_the_same(key, variable, values, shown):
    assert contract_problems([host('a', 1, **{key: values[0]}), host('b', 2, **{key: values[1]})]) == [
        'a, b: %s is %s; expected the same on all nodes. Set %s once for the cluster.' % (variable, shown, variable)]
    assert contract_problems([host('a', 1, **{key: values[0]}), host('b', 2, **{key: values[0]})]) == []


def test_connections_for_all_data_nodes():
    nodes = [host(name, number, server_settings={'max_wal_senders': 2}) for number, name in enumerate('abc', 1)]
    assert len(contract_problems(nodes)) == 3
    assert contract_problems(nodes[:2] + [host('w', 3, groups=['witness'], server_settings={
        'max_wal_senders': 0, 'wal_level': 'minimal'})]) == []


@pytest.mark.parametrize('settings', [
    {'wal_level': 'LOGICAL', 'password_encryption': 'SCRAM-SHA-256'}, {'wal_level': 'hot_standby'}, {'shared_preload_libraries': '$libdir/repmgr'},
    {'archive_library': 'basic_archive'}, {'archive_command': 'cp %p /archive'}])
def test_other_spellings_that_postgresql_takes(settings):
    more = {'archive_command': ''} if 'archive_library' in settings or 'archive_command' in settings else {}
    assert contract_problems([host('a', 1, server_settings=settings, **more)]) == []


BACKUP = {'tool': 'pgbackrest', 'group': 'backup', 'hosts': ['r'], 'data_hosts': ['a', 'b'], 'repository': {'type': 'host'}, 'schedule': {'full': 'daily'},
          'retention': {'full': 2}, 'processes': 2, 'archive_queue': '8GB', 'max_age': 48, 'archive_command': '/bin/true'}


def test_backups():
    assert contract_problems([host('a', 1, backup=BACKUP), host('b', 2, backup=BACKUP)]) == []


@pytest.mark.parametrize('changes, more, seen', [
    ({'archive_command': 'cp %p /srv/%f'}, {}, 'repmgr_archive_command is set beside repmgr_backup'),
    ({}, {'server_settings': {'Archive_Command': 'x'}}, 'repmgr_postgresql_settings has archive_command beside repmgr_backup'),
    ({'schedule': {'full': 'sometimes'}}, {}, 'repmgr_backup_schedule.full is "sometimes"'),
])
def test_backups_that_are_refused(changes, more, seen):
    hosts = [host(name, number, backup=dict(BACKUP, **changes), **more) for number, name in enumerate('ab', 1)]
    found = contract_problems(hosts)
    assert len(found) == 2 and all(text.startswith('%s: %s' % (name, seen)) for name, text in zip('ab', found)), found


@pytest.mark.parametrize('other, seen', [
    ({}, 'repmgr_backup is not'), (dict(BACKUP, repository={'type': 'host', 'path': '/srv/backup'}), 'repmgr_backup_repository is not')])
def test_backups_are_those_of_the_cluster(other, seen):
    found = contract_problems([host('a', 1, backup=BACKUP), host('b', 2, backup=other)])
    assert len(found) == 1 and found[0].startswith('a, b: %s the same' % seen), found
