# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has a vote: /etc/pgfleet/guard.json, as its template makes it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import re

import jinja2
import pytest

from ansible_collections.pgfleet.repmgr.plugins.filter import repmgr

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
NAMES = ('inventory_hostname', 'repmgr_cluster_name', 'repmgr_node_name', 'repmgr_node_id', 'repmgr_port', 'repmgr_user', 'repmgr_database', 'repmgr_failover',
         'repmgr_synchronous', 'ansible_managed', '__repmgr_os_user', '__repmgr_passfile', '__repmgr_bin_dir', '__repmgr_data_dir', '__repmgr_config_dir',
         '__repmgr_conf', '__repmgr_service', '__repmgr_auto_rejoin', '__repmgr_tls_mode', '__repmgr_detection',
         '__repmgr_guard_state')


def written(me, tls='managed', insecure=(), version='15', **roles):
    """What the file says on host `me`; roles: {host: initial role}."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters['pgfleet.repmgr.libpq_conninfo'] = repmgr.FilterModule().filters()['libpq_conninfo']
    environment.filters['combine'] = lambda one, two: dict(one, **two)
    environment.filters['extract'] = lambda key, where, more: where[key][more]
    environment.filters['to_nice_json'] = lambda value, **more: json.dumps(value)
    with open(os.path.join(ROOT, 'roles', 'guard', 'templates', 'guard.json.j2')) as handle:
        # Jinja2 by itself has no dots in the names of filters.
        text = handle.read().replace('pgfleet.repmgr.libpq_conninfo', 'libpq_conninfo')
    environment.filters['libpq_conninfo'] = environment.filters.pop('pgfleet.repmgr.libpq_conninfo')
    values = dict.fromkeys(NAMES, '1')
    members = sorted(roles)
    values.update(
        inventory_hostname=me, __repmgr_members=members, __repmgr_tls_mode=tls, repmgr_insecure=insecure, __repmgr_version=version,
        __repmgr_timing={'connect_timeout': 2, 'isolation': 5},
        hostvars=dict((name, {'__repmgr_record': {
            'name': name, 'node_name': name, 'node_id': str(number), 'address': '10.0.0.%d' % number, 'port': 5432, 'conninfo': 'verified',
            'initial_role': roles[name]}}) for number, name in enumerate(members, 1)))
    return json.loads(environment.from_string(text).render(values))


def votes(found):
    return [peer['name'] for peer in found['peers'] if peer['vote']]


@pytest.mark.parametrize('roles, others', [
    (dict(a='primary', b='standby', c='standby', w='witness'), ['b', 'c']),
    (dict(a='primary', b='standby', w='witness'), ['b', 'w']),
    (dict(a='primary', b='standby'), ['b']),
    (dict(a='primary', b='standby', c='standby'), ['b', 'c']),
    (dict(a='primary', b='standby', c='standby', d='standby', w='witness', x='witness'), ['b', 'c', 'd', 'w']),
    (dict(a='primary', w='witness'), []),
])
def test_who_votes(roles, others):
    assert votes(written('a', **roles)) == others


def test_nodes_agree_on_the_number_of_votes():
    roles = dict(a='primary', b='standby', w='witness')
    assert [len(votes(written(me, **roles))) for me in ('a', 'b')] == [2, 2]


def test_connections_outlive_certificates_where_the_password_proves_the_server():
    """And only there: a server in the middle would ask for the password in the clear, which channel binding refuses."""
    two = dict(a='primary', b='standby')
    peer, = written('a', **two)['peers']
    words = set(peer['conninfo'].split())
    assert words >= set(['sslmode=require', 'channel_binding=require']) and 'password' not in peer['conninfo']
    for more in (dict(tls='provided'), dict(tls='off'), dict(insecure=['trust']), dict(version='12')):
        assert written('a', **dict(two, **more))['peers'][0]['conninfo'] == 'verified'


def test_the_guard_finds_in_its_file_what_it_reads():
    """Among it the name under which the other guards log in, and where it keeps what it has to know beyond a boot."""
    with open(os.path.join(ROOT, 'roles', 'guard', 'files', 'guard.py')) as handle:
        read = set(re.findall(r"config(?:\[|\.get\()'(\w+)'", handle.read()))
    assert {'login', 'state', 'cluster'} <= read
    assert read - set(written('a', a='primary', b='standby')) == set()


def test_the_guard_is_there_before_the_server():
    """A crashed server's recovery may take longer than its start is locked for: the guard asks as a primary's meanwhile."""
    with open(os.path.join(ROOT, 'roles', 'guard', 'templates', 'repmgr-guard.service.j2')) as handle:
        lines = jinja2.Template(handle.read()).render(__repmgr_service='pg', repmgr_cluster_name='lab').splitlines()
    assert 'Before=pg.service' in lines
    assert [line for line in lines if line.startswith('After=')] == ['After=network-online.target']
