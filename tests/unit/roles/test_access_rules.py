# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may connect as the repmgr role, and which lines of pg_hba.conf are taken away: the expressions of roles/server/vars/main.yml."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

RECORD = {'groups': ['standby'], 'cluster': 'lab', 'observed': {'reach': [
    {'name': 'a', 'addresses': ['10.0.0.1']}, {'name': 'b', 'addresses': ['10.0.0.2', 'fd00::2']}]}}


def line(src, kind='hostssl', db='repmgr', usr='repmgr', method='scram-sha-256', **more):
    return dict(type=kind, db=db, usr=usr, src=src, method=method, **more)


def wanted(rules):
    return [(rule['contype'], rule['databases'], rule['users'], rule['address'], rule['method']) for rule in rules]


def test_each_address_of_each_node_and_nobody_else(host):
    assert wanted(host.value('__repmgr_node_rules', __repmgr_record=RECORD)) == [
        ('hostssl', database, 'repmgr', address, 'scram-sha-256')
        for address in ('10.0.0.1/32', '10.0.0.2/32', 'fd00::2/128') for database in ('repmgr', 'replication')]


def test_only_what_was_asked_for_is_less(host):
    rules = host.value('__repmgr_node_rules', __repmgr_record=RECORD, repmgr_tls='off', repmgr_insecure=['trust'])
    assert {(rule['contype'], rule['method']) for rule in rules} == {('host', 'trust')}


@pytest.mark.parametrize('there', [
    line('10.0.0.1/32'), line('10.0.0.1', mask='32'), line('fd00::2/128', db='replication'),
    # as the inventory asks
    line('10.0.9.0/24'),
    # not of the repmgr role, or not to its database, or not from a network: none of ours
    line('10.0.0.9/32', usr='app'), line('10.0.0.9/32', db='app'), line('', kind='local'),
])
def test_stays(host, there):
    extra = [{'contype': 'hostssl', 'databases': 'repmgr', 'users': 'repmgr', 'address': '10.0.9.0/24'}, {'contype': 'local', 'databases': 'all'}]
    assert host.value('__repmgr_stale_rules', __repmgr_record=RECORD, __repmgr_hba={'pg_hba': [there]}, repmgr_pg_hba_extra=extra) == []


@pytest.mark.parametrize('there, address', [
    (line('10.0.0.9/32'), '10.0.0.9/32'), (line('10.0.0.9', mask='255.255.255.255'), '10.0.0.9/255.255.255.255'),
    # without TLS, where it is asked for
    (line('10.0.0.1/32', kind='host'), '10.0.0.1/32'),
])
def test_is_taken_away(host, there, address):
    found = host.value('__repmgr_stale_rules', __repmgr_record=RECORD, __repmgr_hba={'pg_hba': [line('10.0.0.1/32'), there]})
    assert wanted(found) == [(there['type'], 'repmgr', 'repmgr', address, 'scram-sha-256')] and found[0]['state'] == 'absent'
