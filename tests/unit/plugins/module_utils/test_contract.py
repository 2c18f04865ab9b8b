# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract import contract_problems

OS = 'expected Enterprise Linux 7 or later, Debian 11 or later, or Ubuntu 20.04 or later. Take the host out of the inventory, or upgrade it.'
ID = 'expected a positive number that is unique in the cluster and never changes.'
GROUP = 'expected exactly one of the groups primary, standby and witness.'


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
    dict(clone={'from': 'standby', 'max_rate': 32, 'compress': 'gzip'}),
    dict(clone={'from': 'standby', 'max_rate': '1024M', 'compress': 'zstd'}),
    # Nothing is known of a host that cannot be reached; that it cannot is told elsewhere.
    dict(unreachable=True, os_family=None, distribution=None, distribution_major=None, service_mgr=None, package_source=None,
         postgresql_version=None),
])
def test_right(changes):
    assert contract_problems([host('a', 1), host('b', 2, **changes)]) == []


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
    (dict(os_family='Suse', distribution='SLES', distribution_major='15'), 'b: runs SLES 15; %s' % OS),
    (dict(os_family='RedHat', distribution='CentOS', distribution_major='6'), 'b: runs CentOS 6; %s' % OS),
    (dict(distribution_major='10'), 'b: runs Debian 10; %s' % OS),
    (dict(distribution='Ubuntu', distribution_major='18'), 'b: runs Ubuntu 18; %s' % OS),
    (dict(os_family=None, distribution=None, distribution_major=None), 'b: runs unknown; %s' % OS),
    (dict(postgresql_version=''), 'b: repmgr_postgresql_version is ""; expected a major version from 10 to 18. '
                                  'Correct repmgr_postgresql_version.'),
    (dict(service_mgr='openrc'), 'b: services are managed by openrc; expected systemd. Take the host out of the inventory.'),
    (dict(postgresql_version='16'), 'a, b: different major versions of PostgreSQL: 15 on a; 16 on b; expected one version in the whole '
                                    'cluster. Set repmgr_postgresql_version once for the cluster.'),
    (dict(auto_rejoin='reclone'), 'b: repmgr_auto_rejoin is "reclone"; expected one of rewind, attach, off. Correct repmgr_auto_rejoin.'),
    (dict(clone={'from': 'witness'}), 'b: repmgr_clone_from is "witness"; expected one of primary, standby. Correct repmgr_clone_from.'),
    (dict(clone={'compress': 'bzip2'}), 'b: repmgr_clone_compress is "bzip2"; expected one of gzip, lz4, zstd. Correct repmgr_clone_compress.'),
    (dict(clone={'max_rate': '5M', 'own_options': '--max-rate=1M'}), 'b: repmgr_settings has pg_basebackup_options, which would replace '
     'repmgr_clone_max_rate and repmgr_clone_compress; expected one of the two. Put all of it into pg_basebackup_options, or leave it out.'),
    (dict(timing=dict(TIMING, isolation=14)), 'b: %s; expected at least 15 s, because a primary that is cut off stops after 14 s (profile safe). '
     'Correct repmgr_settings, or choose another repmgr_failover_profile.' % WINDOW),
    (dict(timing=dict(TIMING, reconnect_attempts='many')), 'b: reconnect_attempts is "many"; expected a number of 1 or more. Correct repmgr_settings.'),
    (dict(timing=dict(TIMING, monitor_interval=7)), 'b: %s; expected more than twice monitor_interval_secs 7, for which repmgrd takes a primary as '
     'seen. Correct repmgr_settings.' % WINDOW),
    (dict(timing=dict(TIMING, wal_sender_timeout='1min')), 'b: wal_sender_timeout is "1min"; expected less than %s, and not 0. '
     'Correct repmgr_postgresql_settings.' % WINDOW),
    (dict(timing=dict(TIMING, wal_sender_timeout='0')), 'b: wal_sender_timeout is "0"; expected less than %s, and not 0. '
     'Correct repmgr_postgresql_settings.' % WINDOW),
    (dict(synchronous=2), 'b: repmgr_synchronous is "2"; expected a number from 0 to 1, how many standbys there can be. Correct repmgr_synchronous.'),
    (dict(synchronous=1), 'a, b: repmgr_synchronous is 1 and None; expected the same on all nodes. Set repmgr_synchronous once for the cluster.'),
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
        'a: repmgr_clone_compress is "gzip" and PostgreSQL 14 does not compress what it sends; expected PostgreSQL 15 or later. '
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
        'a, b: two nodes and no witness: neither is a majority, so nobody can be promoted; expected a witness or a third node. '
        'Add one, or set repmgr_allow_two_nodes: true and promote by playbooks/failover.yml.']
    assert contract_problems([dict(entry, allow_two_nodes=True) for entry in two]) == []
    assert contract_problems(two + [host('w', 3, groups=['witness'])]) == []
    assert contract_problems(two + [host('c', 3)]) == []
    assert contract_problems(two[:1]) == []
