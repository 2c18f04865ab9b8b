# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/etc/pgfleet/guard.json as its template and the filter guard_peers make it: who votes, the same as status and the failover playbook say."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import itertools
import json
import os
import re

import jinja2
import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _failover, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Host, Observed, Server
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils import guard_program

ID = '7000000000000000001'
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture
def written(host):
    """What the file says on host `me`. roles: {host: initial role}; all are registered.

    live: their types in repmgr.nodes, where they are others, None for a host that is not registered. joined: those that are, since that was read.
    unlisted: those that are in no inventory. node: what the module returned when it registered a host of `joined`.
    """
    def write(me, tls='managed', insecure=(), version='15', live=None, members=None, joined=(), unlisted=(), node=None, **roles):
        records = dict((name, {
            'name': name, 'node_name': name, 'node_id': str(number), 'address': '10.0.0.%d' % number, 'port': 5432, 'conninfo': 'verified',
            'initial_role': roles[name]}) for number, name in enumerate(sorted(roles), 1))
        types = dict(roles, **live or {})
        rows = [{'node_id': int(records[name]['node_id']), 'node_name': name, 'type': types[name], 'conninfo': 'host=%s port=5433 user=repmgr' % name}
                for name in sorted(roles) if types[name]]
        hostvars = dict((name, {'__repmgr_record': record}) for name, record in records.items())
        for name in joined:
            hostvars[name]['__repmgr_node' + {'standby': ''}.get(roles[name], '_' + roles[name])] = node or {'rule': {'id': 1}, 'failed': False}
            for other in ('', '_primary', '_witness'):
                hostvars[name].setdefault('__repmgr_node' + other, {'skipped': True})
        return json.loads(host.rendered(
            host.file('guard', 'templates', 'guard.json.j2'), inventory_hostname=me, repmgr_node_name=me, repmgr_node_id=records[me]['node_id'],
            __repmgr_members=members or [name for name in sorted(roles) if name not in unlisted], __repmgr_cluster={'registry': rows}, repmgr_tls=tls,
            repmgr_insecure=list(insecure), repmgr_postgresql_version=version, hostvars=hostvars,
            __repmgr_votes=host.load('guard', 'vars', 'main.yml')['__repmgr_votes']))
    return write


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
def test_who_votes(written, roles, others):
    assert votes(written('a', **roles)) == others


TWO = dict(a='primary', b='standby', w='witness')


def test_a_host_that_is_only_in_the_inventory_does_not_vote(written):
    """Nor does it take the witness's vote: while c is cloned, a would depend on b alone."""
    before = written('a', **TWO)['peers']
    found = written('a', live={'c': None}, c='standby', **TWO)['peers']
    assert [peer['name'] for peer in found] == ['b', 'w'] and [peer['vote'] for peer in found] == [peer['vote'] for peer in before] == [True, True]
    # A witness that is not registered answers no question.
    assert votes(written('a', live={'w': None}, **TWO)) == ['b']


def test_a_host_votes_as_soon_as_this_run_has_registered_it(written):
    for me in 'abc':
        assert votes(written(me, live={'c': None}, joined=['c'], c='standby', **TWO)) == [name for name in 'abc' if name != me]
    assert votes(written('a', live={'w': None}, joined=['w'], **TWO)) == ['b', 'w']


@pytest.mark.parametrize('node', [{'failed': True, 'msg': 'no'}, {'rule': {'id': 1}, 'failed': True}, {'skipped': True}])
def test_not_where_that_failed(written, node):
    assert votes(written('a', live={'c': None}, joined=['c'], node=node, c='standby', **TWO)) == ['b', 'w']


def test_all_hosts_of_a_first_deployment_vote(written):
    roles = dict(a='primary', b='standby', c='standby', w='witness')
    found = written('b', live=dict.fromkeys(roles), joined=sorted(roles), **roles)
    assert found == written('b', **roles) and votes(found) == ['a', 'c']


def test_a_registered_node_that_the_inventory_does_not_list_votes(written):
    """Connected to as its row says."""
    roles = dict(TWO, c='standby')
    assert votes(written('a', unlisted=['c'], **roles)) == ['b', 'c']
    assert written('a', unlisted=['c'], tls='off', **roles)['peers'][-1] == {
        'name': 'c', 'node_id': 3, 'conninfo': 'host=c port=5433 user=repmgr', 'witness': False, 'vote': True}
    assert written('a', unlisted=['c'], **roles)['peers'][-1]['conninfo'] == (
        'host=c port=5433 user=repmgr dbname=repmgr channel_binding=require connect_timeout=2 sslmode=require')


def test_new_voters(host):
    records = dict((name, {'__repmgr_record': {'name': name, 'node_name': name}, '__repmgr_node': {'rule': {}} if name in 'ac' else {}}) for name in 'abc')
    assert host.rendered(host.load('guard', 'vars', 'main.yml')['__repmgr_votes'], hostvars=records, __repmgr_members=list('abc'), __repmgr_cluster={
        'registry': [{'node_name': 'a'}, {'node_name': 'b'}]}) == {'joined': ['a', 'c'], 'new_voters': ['c']}


def test_nodes_agree_on_the_number_of_votes(written):
    roles = dict(a='primary', b='standby', w='witness')
    assert [len(votes(written(me, **roles))) for me in ('a', 'b')] == [2, 2]


def test_the_file_of_a_cluster_with_one_witness(written):
    """What the guard reads. The same content as before the filter made it: an upgrade of the collection changes no file."""
    found = written('b', tls='off', a='primary', b='standby', w='witness')
    assert list(found)[-1] == 'peers'
    assert found['peers'] == [
        {'name': 'a', 'node_id': 1, 'conninfo': 'verified', 'witness': False, 'vote': True},
        {'name': 'w', 'node_id': 3, 'conninfo': 'verified', 'witness': True, 'vote': True}]
    assert [list(peer) for peer in found['peers']] == [['name', 'node_id', 'conninfo', 'witness', 'vote']] * 2


def test_connections_outlive_certificates_where_the_password_proves_the_server(written):
    """And only there: a server in the middle would ask for the password in the clear, which channel binding refuses."""
    two = dict(a='primary', b='standby')
    peer, = written('a', **two)['peers']
    assert peer['conninfo'] == 'host=10.0.0.2 port=5432 user=repmgr dbname=repmgr channel_binding=require connect_timeout=2 sslmode=require'
    for more in (dict(tls='provided'), dict(tls='off'), dict(insecure=['trust']), dict(version='12')):
        assert written('a', **dict(two, **more))['peers'][0]['conninfo'] == 'verified'


# -- two witnesses: one vote, and the same one everywhere

TWO_WITNESSES = dict(a='primary', b='standby', v='witness', w='witness')


def observed(kind, rows, silent=False):
    recovery, identifier = kind == 'standby', ID if kind != 'witness' else '7%s' % ID
    return Observed(
        guard=None if kind == 'witness' else {'running': True, 'enabled': True},
        data=Data(path='/data', state='valid', system_identifier=identifier, standby_signal=recovery),
        server=Server(state='stopped') if silent else Server(
            state='running', sql=True, in_recovery=recovery, system_identifier=identifier, timeline=1, current_lsn='0/5000000', received_lsn='0/5000000'),
        receiver={'status': 'streaming'} if recovery else None,
        repmgr={'nodes': rows, 'repmgrd': {'running': True, 'paused': False}})


def cluster(order, primary='a', silent=()):
    """[Host] in the order of the inventory, after `primary` became primary; the inventory's groups still name a."""
    def now(name):
        return {'a': 'standby', 'b': 'standby', primary: 'primary'}.get(name, 'witness')

    numbers = dict((name, number) for number, name in enumerate(sorted(TWO_WITNESSES), 1))
    rows = [{'node_id': numbers[name], 'node_name': name, 'type': now(name), 'active': True, 'priority': 100, 'location': 'default',
             'upstream_node_id': None if name == primary else numbers[primary]} for name in order]
    return [Host(name=name, node_id=numbers[name], node_name=name, initial_role=TWO_WITNESSES[name],
                 observed=observed(now(name), rows, name in silent)) for name in order]


@pytest.mark.parametrize('order', [list(order) for order in itertools.permutations('abvw')])
@pytest.mark.parametrize('primary, standby', [('a', 'b'), ('b', 'a')])
def test_verdict_failover_plan_and_file_count_the_same_witness(written, order, primary, standby):
    for away, enough in (('v', False), ('w', True)):
        hosts = cluster(order, primary, silent=[away])
        answer = _verdict.verdict(hosts)
        assert answer['primary'] == primary
        # The verdict: without the primary, would a majority of votes be left?
        assert [reason for reason in answer['failover_ready']['reasons'] if 'votes would be left' in reason] == [] if enough else [
            '%s: without it 1 of 3 votes would be left (%s); expected a majority, 2. Bring back the missing nodes, or add a node or a witness.' % (
                primary, standby)]
        # The plan: which votes are out of sight of the new primary?
        hosts = cluster(order, primary, silent=[away, standby])
        plan = _failover.failover_plan(hosts, _verdict.verdict(hosts))
        assert plan['done'] and sorted(plan['alone']) == ([] if enough else sorted([away, standby]))
        # The file on each data node.
        for me, other in ((primary, standby), (standby, primary)):
            found = written(me, members=order, live=dict((row['node_name'], row['type']) for row in answer['registry']), **TWO_WITNESSES)
            assert sorted(votes(found)) == sorted([other, 'v'])
            assert sorted(peer['name'] for peer in found['peers'] if peer['witness']) == ['v', 'w']


def test_a_witness_stays_one_whatever_the_groups_say(written):
    """Registered as witness, but moved to the standby group: it holds no copy of the data, so it is not one of the data nodes."""
    found = written('a', live={'w': 'witness'}, a='primary', b='standby', w='standby')
    assert [(peer['name'], peer['witness'], peer['vote']) for peer in found['peers']] == [('b', False, True), ('w', True, True)]


def test_the_guard_finds_in_its_file_what_it_reads(written):
    """Among it the name under which the other guards log in, and where it keeps what it has to know beyond a boot."""
    read = set(re.findall(r"config(?:\[|\.get\()'(\w+)'", guard_program.source()))
    assert {'login', 'state', 'cluster'} <= read
    assert read - set(written('a', a='primary', b='standby')) == set()


def test_the_guard_is_there_before_the_server():
    """A crashed server's recovery may take longer than its start is locked for: the guard asks as a primary's meanwhile."""
    with open(os.path.join(ROOT, 'roles', 'guard', 'templates', 'repmgr-guard.service.j2')) as handle:
        lines = jinja2.Template(handle.read()).render(__repmgr_service='pg', repmgr_cluster_name='lab').splitlines()
    assert 'Before=pg.service' in lines
    assert [line for line in lines if line.startswith('After=')] == ['After=network-online.target repmgr-guard-fuse.service']


def test_the_fuse_is_there_before_both_and_after_everything_else_is_gone():
    with open(os.path.join(ROOT, 'roles', 'guard', 'templates', 'repmgr-guard-fuse.service.j2')) as handle:
        lines = jinja2.Template(handle.read()).render(__repmgr_service='pg', repmgr_cluster_name='lab', __repmgr_os_user='postgres').splitlines()
    assert {'Before=pg.service', 'User=postgres', 'Restart=always', 'OOMScoreAdjust=-1000', 'LimitMEMLOCK=infinity'} <= set(lines)
    # Neither waits for a network, nor ends with the guard.
    assert not [line for line in lines if line.startswith(('After=', 'Requires=', 'BindsTo=', 'PartOf='))]


def test_the_watchdog_is_longer_than_what_the_guard_waits_for():
    with open(os.path.join(ROOT, 'roles', 'guard', 'templates', 'repmgr-guard.service.j2')) as handle:
        seconds, = re.findall(r'^WatchdogSec=(\d+)$', handle.read(), re.M)
    waits = [int(number) for number in re.findall(r"ask_all\([^\n]*?, (\d+), ", guard_program.source())]
    assert int(seconds) >= 2 * max(waits)


# A guard that has just been killed is back, and has seen its peers, before the fuse is through; and the fuse is through before anybody is promoted.
@pytest.mark.parametrize('profile', ['fast', 'safe', 'wan'])
def test_the_fuse_leaves_a_guard_the_time_to_start_again(host, profile):
    isolation = host.load('common', 'vars', 'main.yml')['__repmgr_profiles'][profile]['isolation']
    with open(os.path.join(ROOT, 'roles', 'guard', 'templates', 'repmgr-guard.service.j2')) as handle:
        restart, = re.findall(r'^RestartSec=(\d+)$', handle.read(), re.M)
    # The oldest that its last word can be: asked so long ago, looked at, written.
    age = min(1, isolation / 4.0) + 0.45 + isolation / 8.0
    # Python, connections, answers, the rest of its first look.
    start = 0.4 + 0.2 + 0.45
    assert age + int(restart) + start < isolation + guard_program.guard.FUSE
    assert isolation + guard_program.guard.FUSE + 0.5 < isolation + guard_program.guard.STOP_MARGIN


@pytest.mark.parametrize('path', sorted(glob.glob(os.path.join(ROOT, 'roles', '*', 'templates', '*.j2'))), ids=os.path.basename)
def test_no_file_changes_with_the_controller_or_the_day(path):
    """As it would by ansible_managed, where that is set to have a date or a host: each run would restart repmgrd, and the guards would connect anew."""
    with open(path) as handle:
        assert 'ansible_managed' not in handle.read()
