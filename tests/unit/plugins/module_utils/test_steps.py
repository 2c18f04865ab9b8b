# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import shlex

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Problem, message, plain

REJOIN = _steps.playbook('rejoin', repmgr_target='db1')


@pytest.mark.parametrize('step, installed, checkout', [
    (_steps.playbook('site'), 'ansible-playbook pgfleet.repmgr.site', 'ansible-playbook site.yml'),
    (REJOIN, 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1', 'ansible-playbook playbooks/rejoin.yml -e repmgr_target=db1'),
    (_steps.playbook('rejoin', check=True, repmgr_target='db1'), 'ansible-playbook pgfleet.repmgr.rejoin --check -e repmgr_target=db1',
     'ansible-playbook playbooks/rejoin.yml --check -e repmgr_target=db1'),
    (_steps.shell('systemctl start repmgrd', host='db1'), 'systemctl start repmgrd', 'systemctl start repmgrd'),
    (_steps.text('Look at its log.'), '', ''),
], ids=['site', 'rejoin', 'check', 'shell', 'text'])
def test_render(step, installed, checkout):
    assert (_steps.render(step, True), _steps.render(step, False)) == (installed, checkout)


@pytest.mark.parametrize('value', [
    'disk swap in rack 2', "it's late", 'a"b', '$(reboot)', 'x; reboot', '', u'h\xf6st', ['db1', 'db2'], 'a\nb', '{"a": 1}', '-v', '@file', '*'])
def test_an_argument_survives_the_shell_and_ansible(value):
    """As one word NAME=VALUE without blanks and quotes, or as JSON, both of which ansible-playbook takes as they are."""
    words = shlex.split(str(_steps.render(_steps.playbook('maintenance', repmgr_reason=value))))
    assert words[:3] == ['ansible-playbook', 'pgfleet.repmgr.maintenance', '-e'] and len(words) == 4
    if words[3].startswith('{'):
        assert json.loads(words[3]) == {'repmgr_reason': value}
    else:
        assert words[3] == 'repmgr_reason=%s' % value and not set(words[3]) & set(' \'"\n\\')


def test_arguments_are_in_order_and_what_has_to_be_chosen_is_in_capitals():
    assert _steps.render(_steps.playbook('failover', repmgr_target=None, repmgr_accept_loss=True, repmgr_only=None)) == (
        'ansible-playbook pgfleet.repmgr.failover -e repmgr_accept_loss=true -e repmgr_only=CLUSTER -e repmgr_target=HOST')


@pytest.mark.parametrize('steps, words', [
    ('', ''), (None, ''), ([], ''), ('Set it.', 'Set it.'),
    (REJOIN, 'Type: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1'),
    (_steps.shell('uptime', host='db1'), 'Type on db1: uptime'),
    (_steps.shell('uptime', host='db1', reason='Look'), 'Look on db1: uptime'),
    (_steps.shell('uptime', host='db1', only_if='it is up'), 'Only if it is up, type on db1: uptime'),
    (_steps.playbook('site', only_if='it is up'), 'Only if it is up, type: ansible-playbook pgfleet.repmgr.site'),
    (['Wait.', _steps.playbook('status', reason='Look at'), _steps.playbook('site')],
     'Wait. Look at: ansible-playbook pgfleet.repmgr.status; type: ansible-playbook pgfleet.repmgr.site'),
])
def test_sentences(steps, words):
    assert _steps.sentences(steps) == words


@pytest.mark.parametrize('steps, first', [
    ('', None), ('Look.', None), (REJOIN, REJOIN), (['Look.', REJOIN], REJOIN),
    (_steps.playbook('rejoin', repmgr_target=None), None),
    ([_steps.playbook('failover', only_if='its host is lost')], None),
    ([_steps.playbook('failover', only_if='its host is lost'), REJOIN], REJOIN),
])
def test_the_first_command(steps, first):
    assert _steps.first_command(steps) == first


@pytest.mark.parametrize('config', [None, {}, {'service_start_command': ''}, {'service_start_command': None}])
def test_a_server_whose_start_is_not_configured(config):
    assert _steps.start('db1', config) is None


def test_a_server_is_started_by_the_command_of_its_configuration():
    assert _steps.start('db1', {'service_start_command': 'sudo systemctl start pg'}) == {'shell': 'sudo systemctl start pg', 'host': 'db1'}


def test_steps_of_a_rule_are_filled_in():
    steps = [_steps.playbook('rejoin', check=True, repmgr_target='{node_name}', repmgr_accept_loss=None), 'Look at {path}.']
    found = _steps.filled(steps, {'node_name': 'db1', 'path': '/data'})
    assert found == [_steps.playbook('rejoin', check=True, repmgr_target='db1', repmgr_accept_loss=None), _steps.text('Look at /data.')]
    assert steps[0]['arguments']['repmgr_target'] == '{node_name}'


def test_shown_is_data_with_the_command():
    found = _steps.shown(['Look.', REJOIN])
    assert found == [{'text': 'Look.'}, dict(REJOIN, command='ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1')]
    assert json.loads(json.dumps(found)) == found and 'command' not in REJOIN


def test_a_problem_has_steps_and_words():
    problem = Problem(node='db1', seen='is stopped', expected='a server that runs', steps=[REJOIN])
    assert problem.message == message('db1', 'is stopped', 'a server that runs', REJOIN) == (
        'db1: is stopped; expected a server that runs. Type: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1')
    assert plain(problem)['steps'] == [{'playbook': 'rejoin', 'arguments': {'repmgr_target': 'db1'}}]


def test_a_link_to_a_checkout_is_no_installation(tmpdir):
    inside = tmpdir.ensure('collections', 'ansible_collections', 'pgfleet', 'repmgr', 'plugins', 'module_utils', '_steps.py')
    assert _steps.is_installed(str(inside))
    checkout = tmpdir.ensure('checkout', 'plugins', 'module_utils', '_steps.py')
    assert not _steps.is_installed(str(checkout))
    folder = tmpdir.ensure('linked', 'ansible_collections', 'pgfleet', dir=True)
    os.symlink(str(tmpdir.join('checkout')), str(folder.join('repmgr')))
    assert not _steps.is_installed(str(folder.join('repmgr', 'plugins', 'module_utils', '_steps.py')))


def test_inside_of_the_archive_that_is_sent_to_a_host_it_counts_as_installed():
    assert _steps.is_installed('/tmp/ansible_x_payload.zip/ansible_collections/pgfleet/repmgr/plugins/module_utils/_steps.py')
