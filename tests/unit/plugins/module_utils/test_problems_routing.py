# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Status shows where clients are sent, and says so where that disagrees with the primary; a change of the primary is no alarm."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _routes, _routing, _status
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils import status_cases as cases

ROUTING = {'wanted': True, 'port': '8008', 'tls': True, 'proxies': ['lb1', 'lb2'], 'rw_port': '5000', 'ro_port': 5001, 'stats_address': '127.0.0.1',
           'stats_port': '8404'}


def health(primary, **more):
    return dict({'installed': True, 'answers': primary is not None, 'primary': primary, 'settled': True, 'reason': '' if primary else 'it is a replica',
                 'error': 'connection refused on port 8008' if primary is None else ''}, **more)


def server(node, up, changed=1000, sessions=0):
    return {'node': node, 'up': up, 'status': 'UP' if up else 'DOWN', 'sessions': sessions, 'changed_seconds': changed,
            'check': 'L7OK 200' if up else 'L7STS 503'}


def answer(name, writes=('db1',), nodes=('db1', 'db2', 'db3'), cluster='orders', changed=1000, **more):
    backends = {cluster + '-primary': [server(node, node in writes, changed, 2) for node in nodes],
                cluster + '-replicas': [server(node, node not in writes, changed) for node in nodes]}
    return dict({'name': name, 'unreachable': False, 'state': 'answers', 'error': '', 'backends': backends, 'asked_after': 2.5}, **more)


def cluster_of(case=cases.healthy):
    cluster = case()
    for number in (1, 2, 3):
        cluster.observed[number].health = health(cluster.observed[number].server.in_recovery is False)
        cluster.observed[number].deployed = True
    return cluster


def view_of(cluster, answers=(), **routing):
    records = [dict(record, routing=dict(ROUTING, **routing), timing={'isolation': 5}) for record in cluster.records()]
    return _status.status(records, proxies=answers)['clusters'][0]


def problems(cluster, *proxies, **routing):
    return [(problem['code'], problem['nodes']) for problem in view_of(cluster, proxies or [answer('lb1'), answer('lb2')], **routing)['problems']]


def words(view):
    return '\n'.join(''.join(text for text, dummy in line).rstrip() for line in _status._details(view))


def test_it_is_shown_and_all_is_well():
    view = view_of(cluster_of(), [answer('lb1')])
    assert (view['healthy'], view['problems']) == (True, [])
    assert [(node['name'], node['health'] and node['health']['primary']) for node in view['nodes']] == [
        ('db1', True), ('db2', False), ('db3', False), ('db4', None)]
    first, second = view['proxies']
    assert (first['name'], first['state'], first['read_write']['port'], second['state']) == ('lb1', 'answers', 5000, 'not asked')
    assert [(row['node'], row['up'], row['sessions']) for row in first['read_write']['servers']] == [('db1', True, 2), ('db2', False, 2), ('db3', False, 2)]
    text = words(view)
    assert '\n'.join([
        'proxy  state      server  writes (port 5000)  reads (port 5001)',
        'lb1    answers    db1     up, 2 sessions      down',
        'lb1    answers    db2     down, 2 sessions    up',
        'lb1    answers    db3     down, 2 sessions    up',
        'lb2    not asked  -       -                   -']) in text
    assert [line.split()[-1] for line in text.splitlines() if line.startswith('node') and '/primary' in line] == ['slots']
    assert [line for line in text.splitlines() if line.startswith('db1') and '  200  ' in line]
    assert [line for line in text.splitlines() if line.startswith('db2') and '  503  ' in line]


def test_clusters_without_proxies_or_without_endpoints_are_as_before():
    view = view_of(cases.healthy(), [], proxies=[], wanted=False)
    assert view['healthy'] and view['proxies'] == []
    assert '/primary' not in words(view) and 'proxy' not in words(view)
    assert _status.text(_status.status(cases.healthy().records())).count('/primary') == 0


@pytest.mark.parametrize('proxy, code', [
    (answer('lb1', unreachable=True), 'proxy_unreachable'),
    (answer('lb1', state='refused', error='connection refused', backends={}), 'proxy_down'),
    (answer('lb1', state='silent', error='no answer within 2 s', backends={}), 'proxy_down'),
    (answer('lb1', state='other', error='an answer (200) that is not the statistics of HAProxy', backends={}), 'proxy_down'),
    (answer('lb1', cluster='billing'), 'proxy_outdated'),
    (answer('lb1', nodes=('db1', 'db2')), 'proxy_outdated'),
    (answer('lb1', nodes=('db1', 'db2', 'db3', 'db9')), 'proxy_outdated'),
    (answer('lb1', writes=('db1', 'db2')), 'proxy_wrong_primary'),
    (answer('lb1', writes=('db2',)), 'proxy_wrong_primary'),
    (answer('lb1', writes=()), 'proxy_no_primary')])
def test_a_proxy_that_does_not_agree(proxy, code):
    view = view_of(cluster_of(), [proxy, answer('lb2')])
    problem, = view['problems']
    assert (problem['code'], problem['nodes'], problem['stop'], view['status'], view['healthy']) == (code, ['lb1'], False, 'degraded', False)
    assert problem['seen'] and problem['expected'] and view['next']


@pytest.mark.parametrize('proxy, seen, follows', [
    (answer('lb1', state='silent', error='no answer within 2 s', backends={}), 'its HAProxy does not answer: no answer within 2 s',
     'on lb1: systemctl restart repmgr-haproxy'),
    (answer('lb1', state='refused', error='connection refused', backends={}), 'its HAProxy does not answer: connection refused',
     'ansible-playbook pgfleet.repmgr.site'),
    (answer('lb1', nodes=('db1', 'db3', 'db9')), 'the configuration of its HAProxy lacks db2 and has db9, which is no node with data',
     'ansible-playbook pgfleet.repmgr.site'),
    (answer('lb1', cluster='orders-primary'), 'the configuration of its HAProxy does not have this cluster', 'ansible-playbook pgfleet.repmgr.site'),
    (answer('lb1', writes=('db3', 'db2')), 'it sends writes to db2, db3, but db1 is the primary', 'ansible-playbook pgfleet.repmgr.site'),
    (answer('lb1', writes=()), 'it sends writes to no node, although db1 is the primary: its check says L7STS 503', 'ansible-playbook pgfleet.repmgr.site'),
    (answer('lb1', unreachable=True), 'it is a proxy and cannot be reached, so it is unknown where it sends clients',
     'ansible lb1 -m ansible.builtin.ping')])
def test_what_is_said_and_what_to_type(proxy, seen, follows):
    view = view_of(cluster_of(), [proxy, answer('lb2')])
    assert (view['problems'][0]['seen'], view['next']) == (seen, follows)


def test_two_clusters_on_one_proxy_are_told_apart():
    one, other = cluster_of(), cluster_of()
    other.name = 'orders-primary'
    proxy = answer('lb1')
    proxy['backends'].update(answer('lb1', writes=(), cluster='orders-primary')['backends'])
    records = [dict(record, routing=dict(ROUTING, proxies=['lb1']), timing={'isolation': 5}) for cluster in (one, other) for record in cluster.records()]
    found = dict((view['cluster'], [problem['code'] for problem in view['problems']]) for view in _status.status(records, proxies=[proxy])['clusters'])
    assert found == {'orders': [], 'orders-primary': ['proxy_no_primary']}


@pytest.mark.parametrize('isolation, settles', [(2, 7.6), (5, 8.7), (20, 15.4)])
def test_a_change_of_the_primary_is_no_alarm(isolation, settles):
    """What a proxy has changed since the nodes were observed, and what it needs to notice that the primary has changed before that, is under way."""
    cluster = cluster_of()
    routing = dict(ROUTING, proxies=['lb1'])
    for writes in ((), ('db2',), ('db1', 'db2', 'db3')):
        for changed, quiet in ((settles - 0.2, True), (settles + 0.2, False), (None, False)):
            records = [dict(record, routing=routing, timing={'isolation': isolation}) for record in cluster.records()]
            view = _status.status(records, proxies=[answer('lb1', writes=writes, changed=changed)])['clusters'][0]
            assert (view['problems'] == []) is quiet, (writes, changed, view['proxies'][0]['settles'])


def test_without_a_known_primary_nothing_is_said_of_writes():
    for case in (cases.two_primaries, cases.paused_and_primary_down, cases.nobody_reached):
        found = problems(cluster_of(case), answer('lb1', writes=('db3',)), answer('lb2', writes=()))
        assert not [code for code, dummy in found if code.startswith(('proxy_', 'health_'))], case.__name__


def test_a_proxy_whose_host_was_not_reached_as_a_node_is_not_said_twice():
    cluster = cluster_of()
    cluster.vanish(4)
    found = problems(cluster, answer('lb1'), proxies=['lb1', 'db4'])
    assert found == [('unreachable', ['db4'])]
    assert [route['state'] for route in view_of(cluster, [answer('lb1')], proxies=['lb1', 'db4'])['proxies']] == ['answers', 'unreachable']


def test_another_run_is_at_work():
    cluster = cluster_of()
    cluster.observed[1].run_lock = {
        'state': 'refused', 'run': 'r0123456789', 'playbook': 'site', 'user': 'u', 'controller': 'c', 'for_seconds': 1, 'renewed_seconds': 1, 'connected': True}
    assert [code for code, dummy in problems(cluster, answer('lb1', writes=()))] == ['other_run']


# -- endpoints

@pytest.mark.parametrize('number, found, code, follows', [
    (1, health(None), 'health_down', 'on db1: systemctl restart repmgr-health'),
    (2, health(None), 'health_down', 'on db2: systemctl restart repmgr-health'),
    (2, health(None, installed=False), 'health_down', 'ansible-playbook pgfleet.repmgr.site'),
    (2, health(True), 'health_wrong', 'on db2: systemctl restart repmgr-health'),
    (1, health(False, reason='the guard hangs'), 'health_refuses', 'on db1: journalctl --unit=repmgr-guard --unit=repmgr-health --lines=20')])
def test_an_endpoint_that_does_not_agree(number, found, code, follows):
    cluster = cluster_of()
    cluster.observed[number].health = found
    view = view_of(cluster, [answer('lb1'), answer('lb2')])
    assert [(problem['code'], problem['nodes']) for problem in view['problems']] == [(code, ['db%d' % number])]
    assert (view['next'], view['healthy']) == (follows, False)
    assert found['reason'] in view['problems'][0]['seen'] or code != 'health_refuses'
    # One whose answer has changed while its server was asked says nothing.
    cluster.observed[number].health = dict(found, settled=False)
    assert problems(cluster) == []


def test_the_cause_comes_before_what_follows_from_it():
    cluster = cluster_of()
    cluster.observed[1].health = health(None)
    view = view_of(cluster, [answer('lb1', writes=()), answer('lb2', writes=())])
    assert [problem['code'] for problem in view['problems']] == ['health_down', 'proxy_no_primary']
    assert view['problems'][1]['nodes'] == ['lb1', 'lb2'] and 'Solve the problem of the health endpoint on db1' in view['problems'][1]['command']
    assert view['next'] == 'on db1: systemctl restart repmgr-health'


def test_a_node_that_is_down_or_not_deployed_has_other_problems():
    cluster = cluster_of(cases.standby_stopped)
    cluster.observed[3].health = health(None)
    without = _status.status(cases.standby_stopped().records())['clusters'][0]
    assert [code for code, dummy in problems(cluster)] == [problem['code'] for problem in without['problems']]
    cluster = cluster_of()
    cluster.observed[3].health, cluster.observed[3].deployed = health(None, installed=False), False
    assert problems(cluster) == []


# -- what is asked

def looks(*clusters, **routing):
    return _routing.proxy_looks([
        dict(record, routing=dict(ROUTING, **routing), timing={'isolation': 5}) for cluster in clusters for record in cluster.records()], 100.5, None)


def test_what_the_proxies_are_asked():
    found = looks(cases.healthy())
    assert sorted(found) == ['lb1', 'lb2']
    assert found['lb1'] == {'address': '127.0.0.1', 'port': 8404, 'expected': {'orders-primary': ['db1']}, 'seconds': _routes.settles({'isolation': 5}),
                            'began': 100.5, 'connect_timeout': None}
    other = cases.primary_gone()
    other.name = 'billing'
    found = looks(cases.healthy(), other, proxies=['lb1', 'db1'], stats_address='::')
    # db1 of the other cluster was not reached, and it is no use to wait for it again.
    assert sorted(found) == ['lb1'] and found['lb1']['address'] == '::1'
    assert found['lb1']['expected'] == {'orders-primary': ['db1'], 'billing-primary': ['db2']}


def test_nothing_is_waited_for_without_a_primary():
    found = looks(cases.two_primaries())
    assert (found['lb1']['expected'], found['lb1']['seconds']) == ({}, 0)
    assert looks(cases.healthy(), proxies=[]) == {}
