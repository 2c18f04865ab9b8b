# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _check_timing, _contract_host, _routing
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils import guard_program


@pytest.mark.parametrize('isolation, doubt', [(2, 1.6), (5, 3.54), (20, 11.97)])
def test_a_proxy_has_dropped_the_old_primary_before_another_is_promoted(isolation, doubt):
    found = _check_timing.timing({'isolation': isolation})
    assert found['doubt'] == doubt
    normal = min(1, isolation / 4.0) + 0.45 + isolation / 8.0
    # Later than the word of a guard at work is old, sooner than it stops the server.
    assert normal + 0.3 < found['doubt'] <= isolation - 0.3
    assert found['doubt'] + _check_timing.drops_after(found) / 1000.0 <= isolation + _check_timing.STOP_MARGIN
    assert found['fastinter'] <= found['inter'] and found['timeout'] >= 1000


def test_the_margins_are_those_of_the_guard():
    text = guard_program.source()
    assert int(re.search(r'^STOP_MARGIN = (\d+)$', text, re.M).group(1)) == _check_timing.STOP_MARGIN
    assert "short = min(1, self.config['isolation'] / 4.0)" in text and _check_timing.QUESTION == 1
    assert "self.config['isolation'] / 8.0" in text.replace("config['isolation'] / 8.0", "self.config['isolation'] / 8.0")
    assert _check_timing.LOOK == 0.25 + 0.2 and 'pump([self.local] + self.peers, 0.25)\n' in text and 'time.sleep(0.2)\n' in text


def record(name, groups=('standby',), cluster='c', **more):
    routing = dict(wanted=True, port='8008', tls=True, proxies=['p'], rw_port='5000', ro_port=5001, ro_lag='16MB', ro_fallback=False,
                   connections=1000, stats_address='127.0.0.1', stats_port=8404)
    routing.update(more.pop('routing', {}))
    return dict(dict(name=name, node_name=name, cluster=cluster, address='10.0.0.1', port='5432', groups=list(groups), tls='managed', tls_files={},
                     timing={'isolation': 5}, peer={'ssh_port': 22}, routing=routing), **more)


def plan(proxy='p', **clusters):
    return _routing.proxy_plan(clusters or {'c': ('a', [record('a', ['primary']), record('b'), record('w', ['witness'])])}, proxy)


def test_what_a_proxy_serves():
    found, = plan()
    assert [node['name'] for node in found['nodes']] == ['a', 'b']
    assert (found['rw_port'], found['ro_port'], found['verify'], found['root'], found['here']) == (5000, 5001, 'node_name', None, [])
    assert found['nodes'][0] == {'name': 'a', 'node_name': 'a', 'address': '10.0.0.1', 'port': 5432, 'health_port': 8008}
    assert plan('another') == []
    provided = plan(c=('a', [record('a', tls='provided', tls_files={'root': '/r.crt'})]))[0]
    assert (provided['verify'], provided['root']) == ('address', '/r.crt')
    assert plan(c=('a', [record('a', tls='', routing={'tls': False})]))[0]['verify'] == ''


SS = '''LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))
LISTEN 0 4096 [::]:5001 [::]:* users:(("haproxy",pid=7,fd=6))
LISTEN 0 4096 *:5000 *:* users:(("java",pid=7,fd=6),("java",pid=8,fd=6))
LISTEN 0 4096 127.0.0.1:8404 0.0.0.0:*
'''


def test_who_listens():
    assert _routing.listeners(SS) == {22: ['sshd'], 5001: ['haproxy'], 5000: ['java', 'java'], 8404: []}
    assert _routing.bound('/etc/pgfleet/haproxy/cluster-a.b.cfg:    bind :5000\n/x/00-global.cfg:    bind 127.0.0.1:8404\n/x/y.cfg: bind [::1]:7\nrubbish') == {
        'cluster-a.b.cfg': [5000], '00-global.cfg': [8404], 'y.cfg': [7]}


def problems(found, listening='', installed=''):
    return _routing.proxy_problems(found, 'p', _routing.listeners(listening), _routing.bound(installed))


def test_a_port_that_is_free_or_ours_is_no_problem():
    assert problems(plan()) == []
    ours = '/x/cluster-c.cfg: bind :5000\n/x/cluster-c.cfg: bind :5001\n/x/00-global.cfg: bind 127.0.0.1:8404\n'
    assert problems(plan(), SS.replace('java', 'haproxy'), ours) == []


def test_a_port_of_another_program():
    found = problems(plan(), SS)
    assert [text.split(',')[0] for text in found] == ['p: repmgr_rw_port of cluster c is 5000', 'p: repmgr_ro_port of cluster c is 5001',
                                                      'p: repmgr_proxy_stats_port is 8404']
    assert 'java listens on that port' in found[0] and 'haproxy listens' in found[1] and 'some program listens' in found[2]


def test_clusters_that_want_the_same_port():
    two = {'c': ('a', [record('a')]), 'd': ('x', [record('x', cluster='d', routing={'rw_port': 6000})])}
    assert problems(plan(**two)) == ['p: port 5001 is wanted by repmgr_ro_port of cluster c and by repmgr_ro_port of cluster d; expected a port for each. '
                                     'Correct one of these variables, and run again.']
    # One that this run has not looked at.
    assert 'cluster-d.cfg' in problems(plan(), '', '/x/cluster-d.cfg: bind :5001\n')[0]
    assert problems(plan(), '', '/x/cluster-c.cfg: bind :5001\n') == []


def test_a_node_and_a_proxy_on_one_host():
    on_it = plan('a', c=('a', [record('a', routing={'proxies': ['a'], 'rw_port': 5432}), record('b', routing={'proxies': ['a']})]))
    assert problems(on_it)[0].startswith('p: port 5432 is wanted by repmgr_port of cluster c, which has a node here and by repmgr_rw_port of cluster c')


def test_one_proxy_has_one_place_for_its_statistics():
    two = {'c': ('a', [record('a')]), 'd': ('x', [record('x', cluster='d', routing={'rw_port': 6000, 'ro_port': 6001, 'stats_port': 9000})])}
    assert 'different repmgr_proxy_stats_address' in problems(plan(**two))[0]


def test_the_addresses_of_proxies():
    assert _routing.proxy_addresses([{'repmgr_address': '10.0.0.9', 'ansible_host': 'x'}, {'ansible_host': 'fe80::1'}, {'inventory_hostname': 'p'}]) == [
        '10.0.0.9', 'fe80::1']


@pytest.mark.parametrize('more, seen', [
    ({}, None), ({'wanted': False, 'proxies': []}, None), ({'proxies': [], 'unknown_group': 'proxies'}, 'repmgr_proxy_group is "proxies"'),
    ({'port': 5432}, 'repmgr_port and repmgr_health_port are 5432'),
    ({'rw_port': 5001}, 'repmgr_rw_port and repmgr_ro_port are 5001'), ({'ro_port': 'x'}, 'repmgr_ro_port is "x"'), ({'port': ''}, 'repmgr_health_port is "0"'),
    ({'stats_port': 70000}, 'repmgr_proxy_stats_port is "70000"'), ({'rw_port': 'x', 'proxies': []}, None),
    ({'wanted': False}, 'repmgr_health is false, and the group of proxies has p'), ({'ro_lag': '16 apples'}, 'repmgr_ro_lag is "16 apples"'),
    ({'stats_address': 'all'}, 'repmgr_proxy_stats_address is "all"'), ({'connections': 0}, 'repmgr_proxy_connections is "0"')])
def test_what_is_refused_before_any_change(more, seen):
    found = _contract_host.check_routing(record('a', routing=more))  # pylint: disable=protected-access
    assert [text.split('; expected')[0] for text in found] == ([] if seen is None else ['a: ' + seen])


def test_what_a_node_opens_to_its_proxies():
    def opened(groups=('standby',), **routing):
        return _routing.firewall_entries({'groups': list(groups), 'routing': dict({'wanted': True, 'port': 8008}, **routing)},
                                         [{'ansible_host': '10.0.0.8'}, {'ansible_host': 'proxy.example.org'}, {'repmgr_address': '10.0.0.9'}], 5432)

    assert opened() == ['10.0.0.8 5432', '10.0.0.8 8008', '10.0.0.9 5432', '10.0.0.9 8008']
    assert opened(wanted=False) == opened(['witness']) == _routing.firewall_entries({}, [], 5432) == []
