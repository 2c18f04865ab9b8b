# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What HAProxy says of itself: read, damaged or in other versions, and asked again while it disagrees."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _http, _proxies
from ansible_collections.pgfleet.repmgr.plugins.modules import repmgr_proxy_info

TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), *'../../../../roles/haproxy/templates/cluster.cfg.j2'.split('/'))

# The columns of HAProxy 1.8; later versions append others and have some of them between.
OLD = ('pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,'
       'qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,last_chk,addr,').split(',')
# With columns before those that are used, as any later version may have them.
NEW = ['pxname', 'svname', 'mode', 'proto'] + OLD[2:-1] + ['idle_conn_cur', 'agg_check_status', '']


def csv_of(rows, columns=OLD):
    lines = ['# ' + ','.join(columns)]
    for row in rows:
        values = dict(scur='0', status='OPEN', lastchg='100', type='0')
        values.update(row)
        lines.append(','.join(values.get(column, '') for column in columns))
    return '\n'.join(lines) + '\n\n'


def server(backend, name, status='UP', **more):
    return dict(dict(pxname=backend, svname=name, status=status, type='2', check_status='L7OK', check_code='200'), **more)


def whole(cluster='c', columns=OLD):
    return csv_of([
        dict(pxname='pgfleet-stats', svname='FRONTEND'), dict(pxname=cluster + '-rw', svname='FRONTEND', scur='7'),
        server(cluster + '-primary', 'db1', scur='3', lastchg='17'),
        server(cluster + '-primary', 'db2', 'DOWN', check_status='* L7STS', check_code='503', last_chk='"HTTP status ""503"", wanted 200"'),
        dict(pxname=cluster + '-primary', svname='BACKEND', type='1', status='UP'), server(cluster + '-replicas', 'db1', 'DOWN'),
        server(cluster + '-replicas', 'db2')], columns)


@pytest.mark.parametrize('columns', [OLD, NEW])
def test_servers_are_read_by_the_names_of_the_columns(columns):
    found = _proxies.parse(whole(columns=columns))
    assert sorted(found) == ['c-primary', 'c-replicas']
    assert found['c-primary'] == [
        {'node': 'db1', 'up': True, 'status': 'UP', 'sessions': 3, 'changed_seconds': 17, 'check': 'L7OK 200'},
        {'node': 'db2', 'up': False, 'status': 'DOWN', 'sessions': 0, 'changed_seconds': 100, 'check': 'L7STS 503'}]


@pytest.mark.parametrize('status, up', [
    ('UP', True), ('UP 1/2', True), ('no check', True), ('DOWN', False), ('DOWN 1/2', False), ('NOLB', False), ('MAINT', False), ('MAINT (via a/b)', False),
    ('DRAIN', False), ('', False), ('UPSIDE', False)])
def test_what_is_up(status, up):
    assert _proxies.parse(csv_of([server('c-primary', 'a', status)]))['c-primary'][0]['up'] is up


def test_names_are_data():
    names = ['BACKEND', 'FRONTEND', 'db-1.example.org', 'a_b', 'x']
    found = _proxies.parse(csv_of([server('c-primary', name) for name in names] + [dict(pxname='c-primary', svname='BACKEND', type='1')]))
    assert [each['node'] for each in found['c-primary']] == names
    quoted = csv_of([server('c-primary', '"a,b ""c"""')])
    assert _proxies.parse(quoted)['c-primary'][0]['node'] == 'a,b "c"'


def test_two_clusters_whose_names_are_alike_on_one_proxy():
    found = _proxies.parse(whole('c') + whole('c-primary').partition('\n')[2])
    assert sorted(found) == ['c-primary', 'c-primary-primary', 'c-primary-replicas', 'c-replicas']
    assert [found[_proxies.sections(name)['read_write']][0]['node'] for name in ('c', 'c-primary')] == ['db1', 'db1']


@pytest.mark.parametrize('text', [
    '', '\n', '<html>no</html>\n', '# pxname,svname\n', '# pxname,svname\nx,y\n', whole().replace(',lastchg,', ',other,'), whole().rstrip('\n'),
    whole()[:len(whole()) // 2], whole() + 'c-primary,db3\n', whole().replace('# pxname', 'pxname')])
def test_what_is_damaged_is_not_taken_for_an_answer(text):
    assert _proxies.parse(text) is None


def test_numbers_that_are_none():
    found = _proxies.parse(csv_of([server('c-primary', 'a', scur='', lastchg='-')]))['c-primary'][0]
    assert (found['sessions'], found['changed_seconds']) == (None, None)
    assert _proxies.parse(csv_of([])) == {}


def test_the_names_are_those_of_the_template():
    with open(TEMPLATE) as handle:
        text = handle.read()
    for backend in _proxies.sections('{{ item.cluster }}').values():
        assert '\nbackend %s\n' % backend in text


@pytest.mark.parametrize('given, asked', [('127.0.0.1', '127.0.0.1'), ('0.0.0.0', '127.0.0.1'), ('*', '127.0.0.1'), ('::', '::1'), ('10.0.0.9', '10.0.0.9'),
                                          ('fd00::9', 'fd00::9')])
def test_where_it_answers(given, asked):
    assert _proxies.address_of(given) == asked


@pytest.mark.parametrize('expected, agrees', [
    ({}, True), ({'c-primary': ['db1']}, True), ({'c-primary': ['db2']}, False), ({'c-primary': ['db1', 'db2']}, False), ({'c-primary': []}, False),
    ({'other-primary': ['x']}, True)])
def test_whether_it_agrees(expected, agrees):
    assert _proxies.agrees(_proxies.parse(whole()), expected) is agrees


# -- the module

class Time:
    def __init__(self):
        self.now = 0

    def sleep(self, seconds):
        self.now += seconds

    def clock(self):
        return self.now


@pytest.mark.parametrize('changes_at, expected, waits', [(0, ['b'], 0), (2, ['b'], 2), (99, ['b'], 5), (99, ['a'], 0)])
def test_it_asks_again_while_the_proxy_disagrees(changes_at, expected, waits):
    time = Time()

    def once(dummy_address, dummy_port):
        up = 'b' if time.now >= changes_at else 'a'
        return {'state': 'answers', 'backends': {'c-primary': [{'node': name, 'up': name == up} for name in 'ab']}}

    found = repmgr_proxy_info.look('127.0.0.1', 8404, {'c-primary': expected}, 5, once, time.clock, time.sleep)
    assert time.now == waits
    assert [row['up'] for row in found['backends']['c-primary']] == ([False, True] if changes_at <= waits else [True, False])


def test_one_that_does_not_answer_is_asked_once():
    asked = []

    def once(*where):
        asked.append(where)
        return {'state': 'silent', 'error': 'x', 'backends': {}}

    assert repmgr_proxy_info.look('::1', 8404, {'c-primary': ['a']}, 5, once)['state'] == 'silent'
    assert asked == [('::1', 8404)]


def refused(*dummy):
    raise _http.HttpError('refused', 'connection refused')


@pytest.mark.parametrize('get, state, error', [
    (lambda *dummy: (200, whole()), 'answers', ''),
    (lambda *dummy: (200, '<html>'), 'other', 'an answer (200) that is not the statistics of HAProxy at [::1]:8404'),
    (lambda *dummy: (404, whole()), 'other', 'an answer (404) that is not the statistics of HAProxy at [::1]:8404'),
    (refused, 'refused', 'connection refused at [::1]:8404')])
def test_answers_and_what_are_none(get, state, error):
    found = repmgr_proxy_info.ask('::1', 8404, get)
    assert (found['state'], found['error'], bool(found['backends'])) == (state, error, state == 'answers')
