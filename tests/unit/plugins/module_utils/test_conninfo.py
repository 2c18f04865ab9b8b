# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _command, _conninfo


@pytest.mark.parametrize('values, text', [
    ({}, ''),
    ({'dbname': 'repmgr', 'user': 'repmgr', 'port': 5432, 'host': 'a'}, 'host=a port=5432 user=repmgr dbname=repmgr'),
    ({'host': 'a', 'connect_timeout': 2, 'application_name': 'x'}, 'host=a application_name=x connect_timeout=2'),
    ({'password': "it's"}, r"password='it\'s'"),
    ({'password': 'a b\\c'}, r"password='a b\\c'"),
    ({'password': ''}, "password=''"),
    ({'options': '-c x=y'}, "options='-c x=y'"),
    ({'host': None, 'port': 1}, 'port=1'),
])
def test_build(values, text):
    assert _conninfo.build(values) == text
    assert _conninfo.parse(text) == dict((name, '%s' % value) for name, value in values.items() if value is not None)


@pytest.mark.parametrize('text, values', [
    ("  host = a   port= 1 ", {'host': 'a', 'port': '1'}),
    (r"password=a\ b", {'password': 'a b'}),
    ('postgresql://u:p%40ss@h:5433/db?sslmode=require', {
        'user': 'u', 'password': 'p@ss', 'host': 'h', 'port': '5433', 'dbname': 'db', 'sslmode': 'require'}),
    ('postgres://h1:1,h2:2/db?target_session_attrs=read-write', {
        'host': 'h1,h2', 'port': '1,2', 'dbname': 'db', 'target_session_attrs': 'read-write'}),
    ('postgresql://[::1]:5432/', {'host': '::1', 'port': '5432'}),
    (None, {}),
])
def test_parse(text, values):
    assert _conninfo.parse(text) == values


@pytest.mark.parametrize('text', ['host', "host='a", 'host=a port'])
def test_parse_refuses(text):
    with pytest.raises(ValueError):
        _conninfo.parse(text)


@pytest.mark.parametrize('one, other', [
    ("host=a port='5432'", 'port=5432 host=a password=x'),
    ('host=a', 'host=a port=5432 sslmode=prefer'),
    ('host=a', "host=a port='' application_name=''"),
    ('host=a user=u', 'host=a dbname=u user=u'),
    ('host=a', 'host=a fallback_application_name=walreceiver'),
    ('host=a port=5432 user=u dbname=d sslmode=require', 'postgresql://u@a/d?ssl=true'),
    (r"host=a options='-c a=b\\ c'", r'host=a options=-c\ a=b\\\ c'),
    ('host=b host=a', 'host=a'),
    ('', None),
    ('no connection string', 'no connection string'),
])
def test_same(one, other):
    assert all(_conninfo.same(*pair) for pair in ((one, other), (other, one)))


@pytest.mark.parametrize('one, other', [
    ('host=a', 'host=b'),
    ('host=a', 'host=a port=5433'),
    ('host=a', 'host=a application_name=x'),
    ('host=a', 'hostaddr=a'),
    ('host=a user=u', 'host=a user=u dbname=other'),
    ("options='-c a=b -c c=d'", "options='-c c=d -c a=b'"),
    ("sslrootcert='/r r'", "sslrootcert='/r  r'"),
    ("application_name='x sslmode=require'", 'application_name=x sslmode=require'),
    ('no connection string', 'host=a'),
    ("host='a", 'host=a'),
])
def test_not_the_same(one, other):
    assert not any(_conninfo.same(*pair) for pair in ((one, other), (other, one)))


def test_address():
    assert [_conninfo.address(_conninfo.parse_or_empty(text)) for text in ('host=a', 'host=a hostaddr=1.2.3.4', 'port=1', "host='a", None)] == [
        'a', '1.2.3.4', None, None, None]


def test_a_value_that_ends_with_a_line_break_is_quoted():
    assert _conninfo.build({'user': 'a\n'}) == "user='a\n'"


def test_without_password():
    assert _conninfo.without_password("host=a password='x y' port=1") == ('host=a port=1', 'x y')
    assert _conninfo.without_password('host=a') == ('host=a', None)


def test_multihost():
    hosts = [{'address': '10.0.0.1', 'port': 5432}, {'address': 'b'}]
    assert _conninfo.multihost(hosts, dbname='app', target_session_attrs='read-write', user=None) == (
        'host=10.0.0.1,b port=5432,5432 dbname=app target_session_attrs=read-write')


@pytest.mark.parametrize('text, password', [
    ('', ''),
    (None, ''),
    ('# note\nh:5432:db:other:x\nh:5432:db:repmgr:secret\nh:5432:db:repmgr:second\n', 'secret'),
    ('h:5432:db:repmgr:a\\:b\\\\c', 'a:b\\c'),
    ('fe80\\:\\:1:5432:db:repmgr:x', 'x'),
    ('h:5432:db:*:any', 'any'),
    ('backup:5432:*:*:other\nh:5432:db:repmgr:secret\n', 'secret'),
    ('h:5432:db', ''),
])
def test_passfile(text, password):
    assert _conninfo.passfile_password(text, 'repmgr') == password


@pytest.mark.parametrize('cluster, password', [('lab', 'ours'), ('moon', ''), ('la', '')])
def test_passfile_of_one_cluster(cluster, password):
    text = 'h:5432:db:repmgr:theirs\n# BEGIN pgfleet.repmgr lab\nh:5432:db:repmgr:ours\n# END pgfleet.repmgr lab\n# BEGIN pgfleet.repmgr moon\n'
    assert _conninfo.passfile_password(text, 'repmgr', cluster) == password


@pytest.mark.parametrize('text, shown', [
    ('host=a password=secret port=1', 'host=a password=******** port=1'),
    (r"password='it\'s secret' port=1", 'password=******** port=1'),
    ('postgresql://u:secret@h/db', 'postgresql://u:********@h/db'),
    ('no secrets', 'no secrets'),
    (None, None),
    ('', ''),
])
def test_redacted(text, shown):
    assert _command.redacted(text) == shown


def hosts_of(lines):
    return [_conninfo.passfile_fields(line)[:3] for line in lines]


def test_passfile_lines_name_each_member_as_every_connection_in_use_does():
    members = [
        {'name': 'ox', 'node_name': 'node1', 'node_id': '1', 'address': '192.0.2.1', 'port': 5432, 'observed': {
            'repmgr': {'nodes': [{'node_id': 1, 'conninfo': "host=ox.farm port=5433 user=repmgr dbname='repmgr'"}, {'node_id': 1, 'conninfo': None},
                                 {'node_id': 1, 'conninfo': 'host='}, {'node_id': 9, 'conninfo': 'host=removed'}]},
            'server': {'settings': {}}}},
        {'name': 'hen', 'node_name': 'hen', 'address': 'fe80::2', 'port': '5432', 'observed': {
            'repmgr': {'nodes': None}, 'server': {'settings': {'primary_conninfo': "host=/run/postgresql,barn hostaddr=192.0.2.9 user=repmgr"}},
            # A run that changed the address of ox was ended before it told the guard and wrote repmgr.conf.
            'config': {'conninfo': 'host=hen.farm'}, 'guard': {'peers': [
                {'node_id': 1, 'conninfo': 'host=192.0.2.7'}, {'node_id': 1, 'conninfo': "host='"}, {'node_id': 9, 'conninfo': 'host=removed'}]}}},
        {'name': 'cat', 'address': None, 'port': None, 'observed': None},
    ]
    lines = _conninfo.passfile_lines(members, 'repmgr', 'repmgr', 'p:w\\d')
    assert all(_conninfo.passfile_fields(line)[3:] == ['repmgr', 'p:w\\d'] for line in lines)
    found = hosts_of(lines)
    assert [row[:2] for row in found if row[2] == 'repmgr'] == [
        ['192.0.2.1', '5432'], ['fe80::2', '5432'], ['node1', '5432'], ['ox', '5432'], ['hen', '5432'], ['cat', '5432'], ['ox.farm', '5433'],
        ['barn', '5432'], ['192.0.2.9', '5432'], ['hen.farm', '5432'], ['192.0.2.7', '5432']]
    assert [row[:2] for row in found if row[2] == 'replication'] == [row[:2] for row in found if row[2] == 'repmgr']


def test_passfile_lines_of_several_hosts_in_one_string():
    member = {'name': 'a', 'node_id': 1, 'address': 'a', 'observed': {'repmgr': {'nodes': [
        {'node_id': 1, 'conninfo': 'host=b,c port=1,2'}, {'node_id': 1, 'conninfo': 'host=d,e port=3'}]}}}
    assert [row[:2] for row in hosts_of(_conninfo.passfile_lines([member], 'x', 'y', 'z'))][::2] == [
        ['a', '5432'], ['b', '1'], ['c', '2'], ['d', '3'], ['e', '3']]
