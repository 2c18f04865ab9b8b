# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _command, _psql, _repmgr


class Recorder:
    """A runner that keeps what it is asked, for the flags of versions that are not installed here."""

    def __init__(self, version='5.3.3'):
        self.version = version
        self.calls = []

    def run(self, argv, **kwargs):
        if argv[1:] == ['--version']:
            return _command.Result(argv, 0, 'repmgr %s\n' % self.version, '')
        self.calls.append((argv, kwargs))
        return _command.Result(argv, 0, '', '')


def call(method, *args, **kwargs):
    recorder = Recorder(kwargs.pop('version', '5.3.3'))
    getattr(_repmgr.Repmgr(recorder, '/bin-dir', '/etc/repmgr.conf', passfile='/pass'), method)(*args, **kwargs)
    argv, options = recorder.calls[-1]
    assert argv[:3] == ['/bin-dir/repmgr', '-f', '/etc/repmgr.conf']
    return argv[3:], options['env']


@pytest.mark.parametrize('method, args, kwargs, argv', [
    ('primary_register', (), {}, ['primary', 'register']),
    ('primary_register', (), {'force': True, 'dry_run': True}, ['primary', 'register', '--force', '--dry-run']),
    ('primary_unregister', (), {'force': True}, ['primary', 'unregister', '--force']),
    ('standby_clone', ('host=a',), {'upstream_node_id': 2, 'extra': ['--verify-backup']},
     ['-d', 'host=a', 'standby', 'clone', '--fast-checkpoint', '--upstream-node-id=2', '--verify-backup']),
    ('standby_register', (), {'force': True, 'upstream_node_id': 2, 'wait_sync': 30},
     ['standby', 'register', '--force', '--upstream-node-id=2', '--wait-sync=30']),
    ('standby_register', (), {'dry_run': True}, ['standby', 'register', '--dry-run']),
    ('standby_follow', (), {'upstream_node_id': 2}, ['standby', 'follow', '--upstream-node-id=2']),
    ('standby_unregister', (), {}, ['standby', 'unregister']),
    ('witness_register', ('host=a port=1 user=u dbname=d connect_timeout=2',), {'force': True},
     ['witness', 'register', '-h', 'a', '-p', '1', '-U', 'u', '-d', 'd', '--force']),
    ('witness_unregister', (), {}, ['witness', 'unregister']),
    ('node_rejoin', ('host=a',), {'rewind': True}, ['-d', 'host=a', 'node', 'rejoin', '--force-rewind']),
    ('standby_switchover', (), {'dry_run': True}, ['standby', 'switchover', '--siblings-follow', '--dry-run']),
    ('standby_switchover', (False,), {}, ['standby', 'switchover']),
    ('service', ('unpause',), {}, ['service', 'unpause']),
    ('service', ('unpause',), {'version': '4.4.0'}, ['daemon', 'unpause']),
    ('show', ('cluster',), {}, ['cluster', 'show']),
    ('show', ('event',), {}, ['cluster', 'event', '--limit=20']),
    ('show', ('service',), {'version': '5.0'}, ['service', 'status']),
    ('show', ('service',), {'version': '4.3'}, ['daemon', 'status']),
    ('show', ('crosscheck',), {}, ['cluster', 'crosscheck']),
])
def test_command_lines(method, args, kwargs, argv):
    assert call(method, *args, **kwargs)[0] == argv


@pytest.mark.parametrize('what, argv', [
    ('cluster', ['cluster', 'show', '--csv']), ('service', ['service', 'status', '--csv']),
    ('event', ['cluster', 'event', '--csv', '--limit=20']), ('matrix', ['cluster', 'matrix', '--csv']),
    ('crosscheck', ['cluster', 'crosscheck', '--csv']), ('node_status', ['node', 'status', '--csv']),
    ('node_check', ['node', 'check', '--csv'])])
def test_questions(what, argv):
    assert call('ask', what)[0] == argv


def test_an_answer_has_what_was_not_understood():
    class Answering(Recorder):
        def run(self, argv, **kwargs):
            assert kwargs['accept'] == (0, 25)
            return _command.Result(argv, 25, '1,0,0\nnew\n', 'INFO: x\nWARNING: y\n')

    answer = _repmgr.Repmgr(Answering(), '/bin-dir', '/etc/repmgr.conf').ask('cluster')
    assert answer == {'rows': [{'node_id': 1, 'available': True, 'in_recovery': False}], 'rc': 25, 'warnings': ['WARNING: y'],
                      'unknown': ['new']}


def test_a_password_is_never_an_argument():
    argv, env = call('witness_register', 'host=a password=secret sslmode=verify-full sslrootcert=/r')
    assert env == {'PGPASSFILE': '/pass', 'PGSSLMODE': 'verify-full', 'PGSSLROOTCERT': '/r'}
    argv, env = call('standby_clone', 'host=a password=secret')
    assert 'secret' not in ' '.join(argv)
    assert env == {'PGPASSFILE': '/pass', 'PGPASSWORD': 'secret'}


@pytest.mark.parametrize('text, values', [
    ('', {}),
    ('# comment\nnode_id=1\n', {'node_id': '1'}),
    ("node_name='it''s'\n", {'node_name': "it's"}),
    (r"node_name='it\'s'", {'node_name': "it's"}),
    ("conninfo='host=a dbname=repmgr' # comment", {'conninfo': 'host=a dbname=repmgr'}),
    ('  priority = 100  # comment', {'priority': '100'}),
    ('use_replication_slots yes', {'use_replication_slots': 'yes'}),
    ("log_file=''", {'log_file': ''}),
    ("service_start_command = 'pg_ctl -o \"-p 1\" start'", {'service_start_command': 'pg_ctl -o "-p 1" start'}),
    ('node_id=1\nnode_id=2', {'node_id': '2'}),
])
def test_config(text, values):
    assert _repmgr.parse_config(text) == values


@pytest.mark.parametrize('text', ["node_name='open", '= 1', '!'])
def test_config_refuses(text):
    with pytest.raises(_repmgr.ConfigError):
        _repmgr.parse_config(text)


@pytest.mark.parametrize('text, argv', [
    ('sudo /usr/bin/systemctl start postgresql@15-main', ['sudo', '/usr/bin/systemctl', 'start', 'postgresql@15-main']),
    ('pg_ctl -o "-p 1" start', ['pg_ctl', '-o', '-p 1', 'start']),
    ("a '' b", ['a', '', 'b']),
    ('kill `cat pid`', ['/bin/sh', '-c', 'kill `cat pid`']),
    ('a > b', ['/bin/sh', '-c', 'a > b']),
    (r'a\ b', ['/bin/sh', '-c', r'a\ b']),
])
def test_split_command(text, argv):
    assert _repmgr.split_command(text) == argv


@pytest.mark.parametrize('text, version', [
    ('repmgr 5.3.3\n', (5, 3, 3)), ('repmgr 4.0', (4, 0)), ('repmgr 5.5.0dev', (5, 5, 0)), ('nonsense', ()), ('', ())])
def test_version(text, version):
    assert _repmgr.parse_version(text) == version


def test_service_status_of_every_width():
    rows, other = _repmgr.parse_service_status(
        '101,base-centos-1,primary,1,1,2541,0,100,-1,default\n'
        '102,odd, name,standby,1,0,-1,-1,100,1,a, b\n'
        '103,c,standby,0,1,12,1,90,2\n'
        '104,w,witness,1,1,13,0\n'
        'WARNING: something\n')
    assert other == ['WARNING: something']
    assert [row['node_id'] for row in rows] == [101, 102, 103, 104]
    assert rows[0] == {'node_id': 101, 'node_name': 'base-centos-1', 'type': 'primary', 'running': 1, 'repmgrd_running': 1,
                       'repmgrd_pid': 2541, 'paused': 0, 'priority': 100, 'upstream_last_seen': -1, 'location': 'default'}
    assert (rows[1]['node_name'], rows[1]['location']) == ('odd, name', 'a, b')
    assert 'location' not in rows[2] and 'priority' not in rows[3]


def test_cluster_show():
    rows, other = _repmgr.parse_cluster_show('1,0,0\n2,0,1\n3,-1,-1\nWARNING: following issues were detected\n')
    assert rows == [
        {'node_id': 1, 'available': True, 'in_recovery': False},
        {'node_id': 2, 'available': True, 'in_recovery': True},
        {'node_id': 3, 'available': False, 'in_recovery': None}]
    assert other == ['WARNING: following issues were detected']


def test_events():
    rows, other = _repmgr.parse_events(
        '2,b,standby_promote,t,2026-11-23 20:00:00\n2,b,standby_follow,f,2026-11-23 20:00:01,a "detail", with comma\nodd\n')
    assert [row['successful'] for row in rows] == [True, False]
    assert 'with comma' in rows[1]['details']
    assert other == ['odd']


def test_node_check_with_quotes_that_are_not_escaped():
    rows, other = _repmgr.parse_node_check(
        '"Server role","OK"\n"Configured data directory","OK","configured "data_directory" is "/var/lib""\nodd\n')
    assert rows == [
        {'check': 'Server role', 'status': 'OK', 'details': ''},
        {'check': 'Configured data directory', 'status': 'OK', 'details': 'configured "data_directory" is "/var/lib"'}]
    assert other == ['odd']


def test_node_status():
    values, other = _repmgr.parse_node_status('"Node name","a"\n"Node ID",1\n"inactive",1,"slot_3"\nodd line\n')
    assert values == {'Node name': 'a', 'Node ID': '1', 'inactive': '1', 'inactive_names': 'slot_3'}
    assert other == ['odd line']


def test_summary_quotes_errors_with_their_hints():
    assert _repmgr.summary('', 'INFO: connecting\nERROR: no slot\nDETAIL: slot "x"\n  is gone\nHINT: make one\nNOTICE: end\n') == (
        'ERROR: no slot DETAIL: slot "x" is gone HINT: make one')
    assert _repmgr.summary('', 'INFO: first\nNOTICE: last\n') == 'last'
    assert _repmgr.summary('plain\n', '') == 'plain'
    assert _repmgr.summary('', '') == ''


def test_warnings_are_what_repmgr_wants_to_be_seen():
    assert _repmgr.warnings('INFO: connecting\nWARNING: following issues were detected\n  - node "c" is gone\nNOTICE: end\n') == [
        'WARNING: following issues were detected', '  - node "c" is gone']


def test_log_lines_with_a_time_before_them():
    assert _repmgr.parse_log('[2026-11-23 20:00:00] [NOTICE] starting\n') == [{'level': 'NOTICE', 'text': 'starting'}]


def test_tags():
    assert _psql.parse_tags('server\t{"a": "tab\\there"}\nNOTICE: odd\nempty\t\nlist\t[1, 2]\n') == {
        'server': {'a': 'tab\there'}, 'empty': None, 'list': [1, 2]}
