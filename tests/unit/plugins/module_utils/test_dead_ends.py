# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""States in which the next step was no way out; the walk (tests/unit/roles/test_walk.py) has found them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _action_context, _apply, _failover, _removal, _steps, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import plain

from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.test_verdict import (
    OTHER_ID, ROWS, WITNESS_ID, codes, fresh, healthy, host, judge, row, running, stopped)

START = 'sudo systemctl start postgresql@15-main'


def config(number, name):
    return {'node_id': number, 'node_name': name, 'service_start_command': START}


def typed(answer, code):
    """The steps of the only problem with that code."""
    problem, = [problem for problem in answer['problems'] if problem['code'] == code]
    return [(step.get('only_if', ''), _steps.render(step, installed=True) or step['text']) for step in problem['steps']]


def hidden(hosts, name):
    return [dict(each, unreachable=True, observed=None) if each['name'] == name else each for each in hosts]


REMOVE = ('its host is gone for good', 'ansible-playbook pgfleet.repmgr.remove_node -e repmgr_target=%s')


def test_a_host_that_is_gone_for_good_is_removed():
    ping = ('', 'ansible c -m ansible.builtin.ping')
    assert typed(judge(hidden(healthy(), 'c')), 'unreachable') == [ping, (REMOVE[0], REMOVE[1] % 'c')]
    # No node leaves a cluster without a primary, and a new one has none to remove it from.
    assert typed(judge(hidden(healthy(a=stopped()), 'c')), 'unreachable') == [ping]
    assert typed(judge(hidden(fresh(), 'c')), 'unreachable') == [ping]


@pytest.mark.parametrize('number, there, condition, words', [
    (4, None, 'w does not stream from it', 'pg_drop_replication_slot'), (3, 'stopped', 'c is gone for good', 'remove_node -e repmgr_target=c')])
def test_a_slot_of_a_witness_is_dropped(number, there, condition, words):
    """The witness that is well is not removed because of the slot that the node before it has left."""
    hosts = healthy(**({'c': stopped(signal=True)} if there else {}))
    hosts[0]['observed']['slots'] = [{'slot_name': 'repmgr_slot_%d' % number, 'active': False, 'retained_bytes': 2 * 1024 ** 3}]
    (only_if, command), = typed(judge(hosts), 'stale_slot')
    assert only_if == condition and words in command


def test_a_standby_is_started_where_nobody_can_tell_who_was_primary():
    down = healthy(a=stopped(), b=stopped(signal=True).replace(config=config(2, 'b')), c=stopped(signal=True), w=stopped(identifier=WITNESS_ID))
    answer = judge(down)
    assert 'no node is registered as primary' in _failover.failover_plan(_verdict.hosts_from(down), answer)['refuse']
    steps = typed(answer, 'no_primary')
    assert steps[1:] == [('', START), ('', 'ansible-playbook pgfleet.repmgr.failover')]
    assert _steps.first_command([problem for problem in answer['problems'] if problem['code'] == 'no_primary'][0]['steps'])['host'] == 'b'
    # The witness, or a standby that runs, remembers it.
    known = judge(healthy(a=stopped(), b=stopped(signal=True).replace(config=config(2, 'b')), c=stopped(signal=True)))
    assert START not in [command for dummy, command in typed(known, 'no_primary')]


@pytest.mark.parametrize('state, deployed, commands', [
    ('missing', True, 'move its configuration directory away'), ('empty', True, 'move its configuration directory away'), ('valid', True, START)])
def test_a_witness_without_data_is_not_only_started(state, deployed, commands):
    answer = judge(healthy(w=stopped(state, identifier=WITNESS_ID).replace(config=config(4, 'w'))))
    found = ' '.join(command for dummy, command in typed(answer, 'witness_down'))
    assert commands in found and (START in found) == (state == 'valid')


def promoted(b, a=None, own=True):
    """b was promoted, and its records say what is given."""
    rows = [row(1, 'a', 'primary', **({'active': False} if a is False else {}))] + ([b] if own else []) + [row(3, 'c', 'standby', 1), row(4, 'w', 'witness', 1)]
    return healthy(a=stopped(), b=running(False, nodes=rows, timeline=2), c=running(True, nodes=rows), w=running(False, WITNESS_ID, nodes=rows))


@pytest.mark.parametrize('own', [True, False], ids=['as a standby', 'not at all'])
def test_a_primary_that_was_not_registered_is_registered_first(own):
    answer = judge(promoted(row(2, 'b', 'standby', 1), own=own))
    assert answer['primary'] == 'b' and 'not_registered' not in codes(answer)
    assert 'unregistered_primary' in codes(answer, stop=True)
    assert typed(answer, 'unregistered_primary') == [('', 'repmgr primary register --force')]
    problem, = answer['failover_ready']['problems']
    assert [_steps.render(step) for step in problem['steps']] == ['repmgr primary register --force']


def test_site_registers_a_primary_beside_no_other():
    answer = judge(promoted(row(2, 'b', 'standby', 1), a=False))
    problem, = answer['failover_ready']['problems']
    assert [step['playbook'] for step in problem['steps']] == ['site']
    assert 'unregistered_primary' not in codes(answer) and 'stale_record' in codes(answer, stop=False)
    assert typed(answer, 'stale_record') == [('', 'ansible-playbook pgfleet.repmgr.site')]
    assert 'unregistered_primary' not in codes(judge(healthy()))


@pytest.mark.parametrize('standby, command', [(running(True), 'repmgr standby register --force'), (stopped(), 'ansible-playbook pgfleet.repmgr.site')])
def test_a_standby_that_is_registered_as_a_second_primary(standby, command):
    rows = [row(1, 'a', 'primary'), row(2, 'b', 'primary'), row(3, 'c', 'standby', 1), row(4, 'w', 'witness', 1)]
    answer = judge(healthy(a=running(False, nodes=rows), b=standby))
    assert answer['primary'] == 'a' and typed(answer, 'stale_record') == [('', command)]


def test_who_streams_from_a_host_that_was_observed_proves_no_other_primary():
    """b is a cascaded standby of c, and a is gone."""
    hosts = hidden(healthy(c=running(True).replace(receiver=None)), 'a')
    said = 'ansible a -m ansible.builtin.ping'
    assert [command for dummy, command in typed(judge(hosts), 'no_primary')] == [said]
    hosts[2]['observed']['replication'] = [{'application_name': 'b', 'state': 'streaming'}]
    answer = judge(hosts)
    assert typed(answer, 'no_primary')[-1] == ('', 'ansible-playbook pgfleet.repmgr.failover')


def test_a_foreign_server_is_not_primary_in_the_place_of_one_that_is_stopped():
    """Beside two data nodes there is no standby that would show which one is the cluster's; what is moved away must not be its only data."""
    rows = [entry for entry in ROWS if entry['node_id'] != 3]
    names = healthy(a=stopped(), b=running(False, OTHER_ID, nodes=[]), w=running(False, WITNESS_ID, nodes=rows))
    answer = judge([each for each in names if each['name'] != 'c'])
    assert answer['primary'] is None and answer['status'] == 'no_primary'
    assert not [problem for problem in answer['problems'] if problem['code'] == 'foreign_data' and problem['node'] == 'a']
    # One that is registered as the primary is, even if it cannot read its own records.
    unread = judge([host('a', 1, 'primary', running(False, nodes=[])), host('b', 2, 'standby', stopped(identifier=OTHER_ID)), names[3]])
    assert unread['primary'] == 'a' and typed(unread, 'foreign_data')
    # One that knows itself as a node, or whose data are those of the others, is.
    for there in (running(False, OTHER_ID, nodes=rows), running(False, nodes=[])):
        assert judge([host('a', 1, 'primary', stopped()), host('b', 2, 'standby', there), names[3]])['primary'] == 'b'


def test_a_guard_is_not_waited_for_where_the_data_are_gone():
    old = stopped('missing').replace(guard={'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['b'], 'since': 1}})
    hosts = healthy(a=old)
    assert typed(judge(hosts), 'no_primary')[-1] == ('', 'ansible-playbook pgfleet.repmgr.failover')
    old.data.state = 'valid'
    assert typed(judge(healthy(a=old)), 'no_primary')[-1] == ('the host of a is lost', 'ansible-playbook pgfleet.repmgr.failover')


def test_a_registered_node_with_a_partial_copy_is_not_well():
    answer = judge(healthy(c=stopped('partial', reason='is a clone that was not finished')))
    assert (answer['status'], codes(answer)) == ('degraded', ['missing_data'])
    assert typed(answer, 'missing_data') == [('', 'ansible-playbook pgfleet.repmgr.site')]


def test_who_looks_knows_at_what():
    unknown = running(True)
    unknown.server.state = 'unknown'
    assert typed(judge(healthy(c=unknown)), 'server_unknown') == [('', 'Look at its processes and its log, and run again.')]
    assert typed(judge(healthy(c=stopped('unknown'))), 'data_unknown') == [('', 'Look at the directory and at the program that writes to it, and run again.')]


@pytest.mark.parametrize('old, found', [
    (stopped().replace(config=config(1, 'a')), True), (stopped('missing').replace(config=config(1, 'a')), False), (stopped(), False)])
def test_the_old_primary_is_started_again_where_no_standby_can_be_promoted(old, found):
    """A failed failover has masked it."""
    hosts = healthy(a=old, b=stopped(signal=True), c=stopped('missing'))
    plan = _failover.failover_plan(_verdict.hosts_from(hosts), judge(hosts))
    assert 'no standby can be promoted' in plan['refuse']
    said = 'Only if a is to be primary again, type on a: systemctl unmask postgresql@15-main && systemctl enable --now postgresql@15-main'
    assert (said in plan['refuse']) == found


@pytest.mark.parametrize('standby, found', [
    (stopped(signal=True).replace(config=config(2, 'b')), True), (stopped(signal=True), False), (stopped('missing').replace(config=config(2, 'b')), False),
    # A former primary is not started by its command: rejoin brings it back.
    (stopped().replace(config=config(2, 'b')), False)])
def test_the_start_of_a_standby_that_could_be_promoted_is_a_command(standby, found):
    hosts = healthy(a=stopped(), b=standby, c=stopped('missing'))
    refuse = _failover.failover_plan(_verdict.hosts_from(hosts), judge(hosts))['refuse']
    assert 'no standby can be promoted' in refuse
    assert refuse.endswith('Start one of them and run again on b: %s' % START if found else 'Start one of them and run again.')


def test_a_node_leaves_beside_a_stopped_ex_primary_where_its_rejoin_waits_for_that():
    rows = [row(1, 'a', 'primary', active=False), row(2, 'b', 'primary'), row(3, 'c', 'standby', 2), row(4, 'w', 'witness', 2)]
    hosts = [dict(each, groups=[each['initial_role']]) for each in healthy(a=stopped(), b=running(False, nodes=rows, timeline=2))]
    alone = hidden(hidden(hosts, 'c'), 'w')
    assert codes(judge(alone), stop=True) == ['no_majority', 'stopped_ex_primary']
    assert sorted(_removal.removal_plan(alone, 'c')['tolerated']) == ['a stopped_ex_primary', 'c, w no_majority']
    # Where the others are a majority, it comes back first; and a node that is in sight is not what its rejoin waits for.
    assert _removal.removal_plan(hidden(hosts, 'c'), 'c')['tolerated'] == _removal.removal_plan(alone, 'b')['tolerated'] == []


def test_a_rejoin_that_could_not_follow_does_not_name_itself():
    error = _action_context.ApplyError('follow', 'x', {'stderr': 'this node is ahead of the follow target'})
    assert [step['playbook'] for step in _apply.next_step(error, 'b') if 'playbook' in step] == ['rejoin']
    steps = _apply.next_step(error, 'b', 'rewind', {'service_stop_command': 'sudo systemctl stop x'})
    assert [_steps.render(step, installed=True) for step in steps[1:]] == ['sudo systemctl stop x', 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=b']
    assert _apply.next_step(error, 'b', 'rewind')[1] == 'Stop its server.'
    assert plain(error.result)


def test_one_that_was_not_seen_may_be_the_primary():
    """repmgr asks it only if it reaches it from there."""
    answer = judge(hidden(promoted(row(2, 'b', 'standby', 1)), 'a'))
    assert typed(answer, 'unregistered_primary') == [('it is certain that a does not run', 'repmgr primary register --force')]


def test_a_number_that_was_changed_is_no_other_primary():
    hosts = healthy()
    assert 'unregistered_primary' not in codes(judge([dict(each, node_id=11) if each['name'] == 'a' else each for each in hosts]))


def restored(server):
    server.data.promotes_itself, server.data.standby_signal = True, False
    return server


def test_beside_a_primary_nobody_waits_for_another_one():
    found = typed(judge(healthy(b=restored(running(True)))), 'restoring')
    assert [text for dummy, text in found] == ['Stop its server: beside a it would be a second primary.',
                                               'ansible-playbook pgfleet.repmgr.status']


def test_restored_data_are_moved_aside_and_not_rewound():
    found = typed(judge(healthy(b=restored(stopped()))), 'stopped_ex_primary')
    assert found == [('the data that were restored there are not needed', 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_rejoin=reclone -e repmgr_target=b')]
