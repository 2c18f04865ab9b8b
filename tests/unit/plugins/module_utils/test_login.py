# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _login
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result

CONFIG = {'conninfo': 'host=10.0.0.1 user=repmgr dbname=repmgr sslmode=verify-full', 'ssh_options': "-q -o ConnectTimeout=10 -p 2222"}


def entry(name, ssh='open', postgresql='open'):
    return {'name': name, 'address': '10.0.0.%d' % (ord(name) - 96), 'port': 5433, 'ssh': ssh, 'postgresql': postgresql}


class Runner:
    def __init__(self, answers=None):
        self.calls, self.answers = [], answers or {}

    def run(self, argv, env=None, accept=(0,), timeout=None, run_as=None):
        self.calls.append((argv, env, run_as))
        assert accept is None and timeout == 30
        answer = self.answers.get(argv[0] if argv[0] == 'ssh' else argv[3], (0, ''))
        if answer is None:
            raise CommandError('%s cannot be run: No such file or directory' % argv[0], Result(argv, 127, '', ''))
        return Result(argv, answer[0], '', answer[1])


def log_in(runner, reach, config=None):
    return _login.log_in(runner, reach, 'a', CONFIG if config is None else config, '/home/.pgpass', '/bin-dir', 'postgres')


def test_every_way_to_every_peer_but_oneself():
    runner = Runner()
    assert log_in(runner, [entry('a'), entry('b'), entry('c')]) == {
        name: {'ssh': '', 'sql': '', 'replication': ''} for name in 'bc'}
    assert len(runner.calls) == 6 and all(call[2] == 'postgres' for call in runner.calls)
    commands = [' '.join(call[0]) for call in runner.calls]
    assert 'ssh -o Batchmode=yes -o ConnectTimeout=10 -p 2222 10.0.0.2 true' in commands
    assert ('/bin-dir/psql -XAtqw -c IDENTIFY_SYSTEM -d host=10.0.0.3 port=5433 user=repmgr dbname=repmgr connect_timeout=15 '
            'replication=true sslmode=verify-full') in commands
    assert {'PGAPPNAME': 'repmgr_preflight', 'PGPASSFILE': '/home/.pgpass'} in [call[1] for call in runner.calls]


def test_six_nodes_try_everybody():
    names = list('abcdef')
    assert all(set(_login.whom(names, name)) == set(names) - set([name]) for name in names)


def test_of_more_nodes_everybody_tries_five_and_is_tried_by_five():
    names = ['db%d' % number for number in range(1, 17)]
    tried = [peer for name in names for peer in _login.whom(names, name)]
    assert all(len(set(_login.whom(names, name)) - set([name])) == 5 for name in names)
    assert all(tried.count(name) == 5 for name in names)


def test_only_those_are_logged_in_to():
    runner = Runner()
    found = log_in(runner, [entry(name) for name in 'hgfedcba'])
    assert sorted(found) == list('bcdef') and len(runner.calls) == 15


def test_the_last_words_are_the_reason():
    found = log_in(Runner({'ssh': (255, 'banner\nPermission denied (publickey).\n'), 'IDENTIFY_SYSTEM': (2, ''), 'SELECT 1': None}), [entry('b')])
    assert found == {'b': {'ssh': 'Permission denied (publickey).', 'replication': 'exit code 2',
                           'sql': '/bin-dir/psql cannot be run: No such file or directory'}}


def test_a_closed_port_is_another_matter():
    assert log_in(Runner(), [entry('b', ssh='timeout'), entry('c', postgresql='refused')]) == {
        'b': {'sql': '', 'replication': ''}, 'c': {'ssh': ''}}


def test_without_a_configuration_there_are_no_credentials():
    for config in ({}, {'conninfo': "host='x"}):
        runner = Runner()
        assert log_in(runner, [entry('b')], config) == {} and runner.calls == []


def test_a_password_in_conninfo_is_not_on_the_command_line():
    runner = Runner()
    log_in(runner, [entry('b')], {'conninfo': 'host=a password=secret'})
    assert 'secret' not in ' '.join(' '.join(call[0]) for call in runner.calls)
    assert [call[1]['PGPASSWORD'] for call in runner.calls if call[1]] == ['secret', 'secret']


@pytest.mark.parametrize('options, written', [
    ('-q -o StrictHostKeyChecking=no -o ConnectTimeout=10', False), ('-oStrictHostKeyChecking=off', False), ('-o StrictHostKeyChecking=yes', True),
    ('-o StrictHostKeyChecking=accept-new', True), ('', True)])
def test_a_look_writes_down_no_host_key(options, written):
    argv = _login._ssh({'ssh_options': options}, '10.0.0.2')
    assert ('UserKnownHostsFile=/dev/null' not in argv) == written
    assert argv[-2:] == ['10.0.0.2', 'true'] and '-q' not in argv


def test_failures_in_words():
    observed = {'reach': [entry('b', ssh='timeout'), entry('c', postgresql='refused'), entry('d', ssh='timeout')],
                'logins': {'b': {'sql': '', 'replication': 'no pg_hba.conf entry'}, 'd': {}}}
    assert _login.failures(observed, ['a', 'b', 'c']) == [
        'b, its ssh port: timeout', 'c, its postgresql port: refused', 'b by replication (no pg_hba.conf entry)']
