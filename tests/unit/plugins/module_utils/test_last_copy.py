# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster of which little is left: what is lost, whose data count, and which step is named to the operator."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import sys

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _failover, _removal, _status, _steps, _verdict

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_verdict import ID, OTHER_ID, ROWS, WITNESS_ID, codes, healthy, host, judge, row, running, stopped  # noqa: E402  pylint: disable=wrong-import-position

GUARD = {'running': True, 'enabled': True}
CONFIG = {'service_start_command': 'sudo systemctl start postgresql@15-main'}


def problem(answer, code):
    found = [each for each in answer['problems'] if each['code'] == code]
    assert len(found) == 1, codes(answer)
    return found[0]


def empty():
    return stopped('missing')


def lost(number, name, role):
    return host(name, number, role, unreachable=True)


def plan(hosts, **more):
    return _failover.failover_plan(_verdict.hosts_from(hosts), judge(hosts), **more)


def standby(rows):
    found = running(True, nodes=rows).replace(receiver=None)
    found.server.received_lsn = '0/5000000'
    return found


def commands(steps):
    return [_steps.render(step) for step in steps if 'text' not in step]


# -- no copy is left

def without_data():
    return [lost(1, 'a', 'primary')] + healthy(b=empty(), c=empty())[1:]


def test_no_data_says_what_is_lost_and_leads_to_no_playbook():
    found = problem(judge(without_data()), 'no_data')
    assert found['stop'] and found['nodes'] == ['b', 'c'] and 'a, which could not be observed, may have the only copy' in found['seen']
    assert commands(found['steps']) == ['ansible a -m ansible.builtin.ping'] and found['steps'][0] == {'text': 'Bring a back.'}
    texts = [step['text'] for step in found['steps'] if 'text' in step]
    assert any('after the last backup is lost' in text for text in texts) and any('Without a backup all data are lost' in text for text in texts)
    # Nothing else is to be done first, and failover, which could only refuse, is named nowhere.
    assert _status.status(without_data())['clusters'][0]['problems'][0]['code'] == 'no_data' and 'no_primary' not in codes(judge(without_data()))
    assert plan(without_data())['refuse'] == found['message'] and plan(without_data(), dead='a')['refuse'] == found['message']


@pytest.mark.parametrize('b', [stopped(signal=True), stopped('unknown'), stopped('unrecognised')])
def test_data_that_are_there_or_may_be_are_not_lost(b):
    assert 'no_data' not in codes(judge([lost(1, 'a', 'primary')] + healthy(b=b, c=empty())[1:]))


def test_a_new_cluster_has_lost_nothing():
    assert 'no_data' not in codes(judge([host(name, number, role, empty()) for number, name, role in ((1, 'a', 'primary'), (2, 'b', 'standby'))]))


# -- whose data count

def test_a_server_without_metadata_is_not_the_primary_where_only_a_witness_is_left():
    """The records of the witness have its number and its name, but no standby that was promoted lacks the metadata."""
    hosts = [lost(1, 'a', 'primary'), host('b', 2, 'standby', running(False, OTHER_ID, nodes=[])), host('w', 4, 'witness', running(False, WITNESS_ID))]
    answer = judge(hosts)
    assert answer['primary'] is None and problem(answer, 'foreign_data')['nodes'] == ['b'] and 'no_data' in codes(answer)
    # The same with the metadata is a standby that was promoted.
    hosts[1] = host('b', 2, 'standby', running(False, ID, timeline=2))
    assert judge(hosts)['primary'] == 'b'


def test_a_primary_whose_record_is_gone_is_known_by_the_data_of_a_stopped_one():
    rows = [each for each in ROWS if each['node_name'] in 'aw']
    hosts = [host('a', 1, 'primary', stopped()), host('b', 2, 'standby', running(False, nodes=rows, timeline=2)),
             host('w', 4, 'witness', running(False, WITNESS_ID, nodes=rows))]
    answer = judge(hosts)
    assert answer['primary'] == 'b' and commands(problem(answer, 'unregistered_primary')['steps']) == ['repmgr primary register --force']
    # With other data it is somebody else's.
    hosts[1] = host('b', 2, 'standby', running(False, OTHER_ID, nodes=[]))
    assert judge(hosts)['primary'] is None and 'foreign_data' in codes(judge(hosts))


# -- nobody is registered as primary

def nameless(**changes):
    rows = [dict(each, active=each['node_id'] != 1) for each in ROWS]
    found = dict(b=standby(rows), c=standby(rows), w=running(False, WITNESS_ID, nodes=rows))
    found.update(changes)
    return healthy(**found)


def test_without_a_record_of_the_primary_whoever_may_be_it_is_proven_dead():
    hosts = [lost(1, 'a', 'primary')] + nameless()[1:]
    refused = plan(hosts)['refuse']
    assert 'it may have been one of these: a cannot be reached' in refused and '-e repmgr_primary_is_dead=a' in refused
    found = plan(hosts, dead='a')
    assert (found['refuse'], found['old'], found['target']) == ('', ['a'], 'b')
    # One that is seen to be stopped is fenced; there is no need of a word.
    found = plan(nameless(a=stopped()))
    assert (found['refuse'], found['fence'], found['target']) == ('', ['a'], 'b')
    # Of two that are out of sight either may be it.
    two = [lost(1, 'a', 'primary'), hosts[1], lost(3, 'c', 'standby'), hosts[3]]
    refused = plan(two, dead='a')['refuse']
    assert 'c: no node is registered as primary' in refused and '-e repmgr_primary_is_dead=a,c' in refused
    assert plan(two, dead='a, c')['target'] == 'b'


# -- most nodes are gone

def test_two_records_of_a_primary_take_two_words():
    rows = [row(1, 'a', 'primary'), row(2, 'b', 'primary'), row(3, 'c', 'standby', 1), row(4, 'w', 'witness', 1)]
    hosts = [lost(1, 'a', 'primary'), lost(2, 'b', 'standby'), host('c', 3, 'standby', standby(rows)),
             host('w', 4, 'witness', running(False, WITNESS_ID, nodes=rows))]
    assert '-e repmgr_primary_is_dead=a,b' in plan(hosts)['refuse']
    refused = plan(hosts, dead='a')['refuse']
    assert refused.startswith('b: ') and '-e repmgr_primary_is_dead=a,b' in refused
    assert (plan(hosts, dead='a,b')['refuse'], plan(hosts, dead='a,b')['target']) == ('', 'c')


def most_are_gone(primary=None):
    rows = [row(1, 'a', 'primary' if primary is None else 'standby'), row(2, 'b', 'standby', 1), row(3, 'c', 'standby' if primary is None else 'primary', 1)]
    c = standby(rows) if primary is None else running(False, nodes=rows, timeline=2)
    hosts = [lost(1, 'a', 'primary'), lost(2, 'b', 'standby'), host('c', 3, 'standby', c)]
    return [dict(each, groups=[each['initial_role']], profile='safe') for each in hosts]


def test_what_is_left_of_a_cluster_can_go_on_upon_the_word_of_the_operator():
    hosts = most_are_gone()
    step = problem(judge(hosts), 'no_majority')['steps'][1]
    assert step['only_if'] and commands([step]) == ['ansible-playbook pgfleet.repmgr.failover -e repmgr_primary_is_dead=a,b']
    # One name is not enough: b could have been promoted.
    assert plan(hosts, dead='a')['refuse'] == problem(judge(hosts), 'no_majority')['message']
    found = plan(hosts, dead='a,b')
    assert (found['refuse'], found['target'], found['alone']) == ('', 'c', [])
    assert 'nobody: is not a node' in plan(hosts, dead='a,nobody')['refuse'] and 'c: is not the registered primary' in plan(hosts, dead='a,b,c')['refuse']


def test_more_nodes_than_a_majority_are_removed_one_after_the_other():
    hosts = most_are_gone(primary='c')
    step = problem(judge(hosts), 'no_majority')['steps'][1]
    assert step['arguments'] == {'repmgr_target': None, 'repmgr_primary_is_dead': 'a,b'}
    assert 'a, b no_majority' not in _removal.removal_plan(hosts, 'a')['tolerated'] + _removal.removal_plan(hosts, 'a', 'a')['tolerated']
    assert 'a, b no_majority' in _removal.removal_plan(hosts, 'a', 'a,b')['tolerated']
    assert 'nobody: is not one of the other nodes' in _removal.removal_plan(hosts, 'a', 'nobody')['refuse']
    assert 'c: is not one of the other nodes' in _removal.removal_plan(hosts, 'a', 'b,c')['refuse']


def test_an_upstream_of_nodes_that_are_lost_as_well_is_removed_after_them():
    """It named site, which gives them another upstream and is stopped by no_majority, whose cure was this removal."""
    hosts = most_are_gone(primary='c')
    refused = _removal.removal_plan(hosts, 'a', 'a,b')['refuse']
    assert 'a: is the upstream of b, which cannot be reached' in refused and 'site' not in refused
    assert 'Only if b is gone for good, type: ansible-playbook pgfleet.repmgr.remove_node -e repmgr_primary_is_dead=a,b -e repmgr_target=b' in refused.replace(
        'only', 'Only')
    assert 'upstream' not in _removal.removal_plan(hosts, 'b', 'a,b')['refuse']


# -- a primary that its guard does not start

ALONE = ('rm -f /etc/systemd/system/postgresql@15-main.service.d/pgfleet-guard.conf && systemctl daemon-reload && systemctl disable --now repmgr-guard '
         'repmgr-guard-fuse && systemctl unmask postgresql@15-main && systemctl enable --now postgresql@15-main')


def former(**guard):
    found = stopped().replace(config=dict(CONFIG, node_id=1, node_name='a'), guard=dict(GUARD, **guard))
    found.data.started = True
    return found


@pytest.mark.parametrize('mark', [None, {'code': 'isolated', 'peers': ['b', 'c']}])
def test_the_only_copy_is_started_without_its_guard_where_no_majority_is_left(mark):
    hosts = [host('a', 1, 'primary', former(stopped=mark)), lost(2, 'b', 'standby'), host('c', 3, 'standby', empty())]
    step = problem(judge(hosts), 'no_primary')['steps'][-1]
    assert (step['shell'], step['host']) == (ALONE, 'a')
    assert step['only_if'] == 'a has the data to keep, and it is certain that b will not run again, so that it has to start without its guard'
    # It is for nobody who only follows what is said first.
    assert _steps.first_command(problem(judge(hosts), 'no_primary')['steps'])['shell' if mark else 'playbook'] in (
        'failover', 'ansible b:c -m ansible.builtin.ping')


@pytest.mark.parametrize('c', [stopped(signal=True), running(True)])
def test_a_guard_that_can_have_a_majority_is_left_where_it_is(c):
    hosts = [host('a', 1, 'primary', former(stopped={'code': 'isolated', 'peers': ['b', 'c']})), lost(2, 'b', 'standby'), host('c', 3, 'standby', c)]
    assert not any('pgfleet-guard.conf' in command for each in judge(hosts)['problems'] for command in commands(each['steps']))


# -- records of the standby that are wrong

def misrecorded(**of_b):
    rows = [row(1, 'a', 'primary')] + ([dict(row(2, 'b', 'standby', 1), **of_b)] if of_b else []) + [row(4, 'w', 'witness', 1)]
    b = standby(rows).replace(guard=GUARD)
    b.server.version_num = 150006
    return [lost(1, 'a', 'primary'), host('b', 2, 'standby', b), host('w', 4, 'witness', running(False, WITNESS_ID, nodes=rows))]


@pytest.mark.parametrize('active', [True, False])
def test_a_standby_that_is_recorded_as_a_primary_can_take_over(active):
    found = plan(misrecorded(type='primary', active=active), dead='a')
    assert (found['refuse'], found['old'], found['target']) == ('', ['a'], 'b')


def test_a_standby_without_a_record_is_promoted_by_hand_under_the_locks_of_the_guard():
    refused = plan(misrecorded(), dead='a')['refuse']
    assert 'b: is not registered as a standby' in refused
    assert 'on b: repmgr-guard promote-by-hand -- psql -c "select pg_promote()"' in refused and 'it is certain that a does not run' in refused


def test_a_witness_that_is_all_that_could_be_observed_has_no_data():
    found = problem(judge([lost(1, 'a', 'primary'), lost(2, 'b', 'standby'), healthy()[3]]), 'no_data')
    # c is in no inventory.
    assert found['nodes'] == ['a', 'b', 'c'] and found['steps'][0] == {'text': 'Bring a, b, c back.'}
    assert commands(found['steps']) == ['ansible a:b -m ansible.builtin.ping']


# -- what is named next is not refused for want of what was said before

def test_the_word_that_a_host_is_dead_is_repeated_where_a_loss_has_to_be_accepted():
    hosts = [dict(each, synchronous='1') for each in most_are_gone()]
    refused = plan(hosts, dead='a,b')['refuse']
    assert '-e repmgr_accept_loss=true -e repmgr_primary_is_dead=a,b -e repmgr_target=c' in refused
    assert plan(hosts, dead='a,b', target='c', accept_loss=True)['target'] == 'c'


def promoted_last(timeline):
    """b was promoted in the place of a, and went down before the witness, which is all that runs, heard of it."""
    found = former().replace(config=dict(CONFIG, node_id=2, node_name='b'))
    found.data.timeline = timeline
    return found


def test_the_server_of_the_newest_timeline_is_started_whatever_an_old_record_says():
    a = former()
    a.data.timeline = 1
    hosts = [host('a', 1, 'primary', a), host('b', 2, 'standby', promoted_last(2)), host('c', 3, 'standby', stopped(signal=True)), healthy()[3]]
    first = problem(judge(hosts), 'no_primary')['steps'][0]
    assert (first['shell'], first['host']) == ('systemctl unmask postgresql@15-main && systemctl enable --now postgresql@15-main', 'b')
    # On the same timeline the record counts.
    hosts[1] = host('b', 2, 'standby', promoted_last(1))
    first = problem(judge(hosts), 'no_primary')['steps'][0]
    assert (first['shell'], first['host'], first['only_if']) == (CONFIG['service_start_command'], 'a', 'its server was stopped on purpose')
    # It is the one that is started without its guard, where too few are left, and not the one that it replaced.
    hosts = [host('a', 1, 'primary', a), host('b', 2, 'standby', promoted_last(2)), host('c', 3, 'standby', empty()), healthy()[3]]
    step = problem(judge(hosts), 'no_primary')['steps'][-1]
    assert (step['shell'], step['host']) == (ALONE, 'b')


@pytest.mark.parametrize('code, guard', [('guard_down', {'running': False, 'enabled': False}),
                                         ('fuse_down', {'running': True, 'enabled': True, 'fuse': {'running': False, 'enabled': False}})])
def test_no_guard_is_started_on_a_primary_that_it_would_stop(code, guard):
    hosts = [host('a', 1, 'primary', running(False, guard=guard)), lost(2, 'b', 'standby'), host('c', 3, 'standby', stopped(signal=True)), healthy()[3]]
    steps = problem(judge(hosts), code)['steps']
    assert _steps.first_command(steps) is None and 'would stop this primary' in steps[0]['text'] and steps[1]['only_if'] == 'a majority of the votes answers'
    hosts[2] = healthy()[2]
    assert _steps.first_command(problem(judge(hosts), code)['steps'])['host'] == 'a'


def test_nothing_is_called_lost_where_a_data_node_is_in_the_group_of_witnesses():
    """While no server runs nobody has records that would contradict the inventory."""
    hosts = [host('a', 1, 'primary', empty().replace(config={'node_id': 1, 'node_name': 'a'})), host('b', 2, 'standby', stopped('partial')),
             host('c', 3, 'witness', former())]
    hosts[1] = host('b', 2, 'standby', stopped(signal=True))
    assert 'no_data' not in codes(judge(hosts))
    found = problem(judge(hosts), 'witness_is_copy')
    assert found['nodes'] == ['c'] and found['steps'] == [{'text': 'Put the host into the standby group.'}]
    # Its data are known to be those of the cluster by a former primary as well.
    primary = former()
    hosts = [host('a', 1, 'primary', primary), host('b', 2, 'standby', empty()), host('c', 3, 'witness', former().replace(config={'node_id': 3}))]
    assert problem(judge(hosts), 'witness_is_copy')['nodes'] == ['c'] and 'no_data' not in codes(judge(hosts))


def test_data_in_the_group_of_witnesses_may_be_the_only_copy():
    hosts = [host('a', 1, 'primary', stopped('missing').replace(config={'node_id': 1, 'node_name': 'a'})), host('b', 2, 'standby', stopped('partial')),
             host('c', 3, 'witness', former())]
    assert 'no_data' not in codes(judge(hosts))


# -- while no server runs

def test_data_that_have_vanished_are_reported_while_nobody_knows_who_is_registered():
    hosts = [host('a', 1, 'primary', former()), host('b', 2, 'standby', empty().replace(config={'node_id': 2, 'node_name': 'b'}, deployed=True))]
    answer = judge(hosts)
    assert answer['exists'] and answer['registry'] == [] and 'not_registered' not in codes(answer)
    steps = problem(answer, 'vanished_data')['steps']
    assert steps[0] == {'text': 'Mount the file system of its data, and run again.'} and steps[1]['only_if'] == 'its data are lost'


def test_a_fenced_primary_that_was_replaced_meanwhile_does_not_wait_to_be_lost():
    """Its guard never starts it: c has a newer timeline. The primary of that one is gone."""
    a, c = former(stopped={'code': 'isolated', 'peers': ['b', 'c']}), running(True, timeline=2).replace(receiver=None)
    a.data.timeline = 1
    hosts = [host('a', 1, 'primary', a), lost(2, 'b', 'standby'), host('c', 3, 'standby', c)]
    step = problem(judge(hosts), 'no_primary')['steps'][-1]
    assert step['playbook'] == 'failover' and 'only_if' not in step and step['reason'].startswith('There is a newer timeline on c')
    c.server.timeline = 1
    hosts[2] = host('c', 3, 'standby', c)
    assert problem(judge(hosts), 'no_primary')['steps'][-1]['only_if'] == 'the host of a is lost'


def test_a_primary_with_another_id_in_the_inventory_is_of_no_other_cluster():
    """It was said that its data are of another cluster, and that no copy is left."""
    hosts = [host('a', 3, 'primary', running(False)), host('b', 2, 'standby', empty()), host('c', 1, 'standby', empty()), healthy()[3]]
    answer = judge(hosts)
    assert 'id_taken' in codes(answer) and not {'no_data', 'foreign_data'} & set(codes(answer))


def test_a_witness_without_a_record_in_the_group_of_standbys_is_told_by_its_own_metadata():
    rows = [each for each in ROWS if each['node_name'] != 'w']
    hosts = healthy(a=running(False, nodes=rows), b=running(True, nodes=rows), c=running(True, nodes=rows))
    hosts[3]['initial_role'] = 'standby'
    found = problem(judge(hosts), 'foreign_data')
    assert found['nodes'] == ['w'] and found['steps'][0]['text'].startswith('Put it into the witness group')


def test_old_records_of_a_witness_are_not_all_that_counts_for_a_majority():
    """They lack a, so that b and the witness seemed to be a majority of b, x and the witness; the guard of b has a, b and x."""
    rows = [row(2, 'b', 'primary'), row(4, 'w', 'witness', 2), row(9, 'x', 'standby', 2)]
    b = former(stopped={'code': 'isolated', 'peers': ['a']})
    hosts = [host('a', 1, 'primary', stopped()), host('b', 2, 'standby', b), host('w', 4, 'witness', running(False, WITNESS_ID, nodes=rows))]
    assert (problem(judge(hosts), 'no_primary')['steps'][-1]['shell'], problem(judge(hosts), 'no_primary')['steps'][-1]['host']) == (ALONE, 'b')
