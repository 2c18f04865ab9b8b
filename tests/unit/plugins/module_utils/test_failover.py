# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import itertools

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _failover, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Host, Observed, Server

ID, WITNESS_ID = '7000000000000000001', '7000000000000000004'


def rows(**changes):
    found = []
    for number, name, kind in ((1, 'a', 'primary'), (2, 'b', 'standby'), (3, 'c', 'standby'), (4, 'w', 'witness')):
        row = {'node_id': number, 'node_name': name, 'type': kind, 'upstream_node_id': None if number == 1 else 1, 'active': True,
               'priority': 100, 'location': 'default', 'conninfo': 'host=%s' % name}
        row.update(changes.get(name, {}))
        found.append(row)
    return found


def standby(lsn='0/5000000', timeline=1, nodes=None, **server):
    values = dict(state='running', sql=True, in_recovery=True, system_identifier=ID, timeline=timeline, received_lsn=lsn, replayed_lsn='0/1')
    values.update(server)
    return Observed(data=Data(path='/data', state='valid', system_identifier=ID, standby_signal=True), server=Server(**values),
                    repmgr={'nodes': nodes or rows(), 'repmgrd': {}})


def stopped():
    return Observed(data=Data(path='/data', state='valid', system_identifier=ID, cluster_state='shut down'), server=Server(state='stopped'),
                    repmgr={'nodes': None})


def silent():
    return stopped().replace(server=Server(state='running', sql=False, error='timeout expired'))


def witness():
    return Observed(data=Data(path='/data', state='valid', system_identifier=WITNESS_ID),
                    server=Server(state='running', sql=True, in_recovery=False, system_identifier=WITNESS_ID, timeline=1),
                    repmgr={'nodes': rows(), 'repmgrd': {}})


def primary(timeline=2):
    return standby().replace(server=Server(state='running', sql=True, in_recovery=False, system_identifier=ID, timeline=timeline),
                             data=Data(path='/data', state='valid', system_identifier=ID))


def cluster(**changes):
    """Primary a is dead, and its server was observed to be stopped. None stands for a host that cannot be reached."""
    found = {'a': stopped(), 'b': standby(), 'c': standby(), 'w': witness()}
    found.update(changes)
    return [Host(name=name, node_id=number, node_name=name, initial_role=role, observed=found[name], unreachable=found[name] is None)
            for name, number, role in (('a', 1, 'primary'), ('b', 2, 'standby'), ('c', 3, 'standby'), ('w', 4, 'witness'))]


def plan(hosts, **options):
    return _failover.failover_plan(hosts, _verdict.verdict(hosts), **options)


def test_the_most_advanced_standby():
    found = plan(cluster(c=standby('0/5000060')))
    assert found.pop('left')['steps']
    assert found == {'refuse': '', 'done': False, 'target': 'c', 'old': ['a'], 'fence': ['a'], 'loss_bytes': 0, 'unseen': [], 'alone': []}


@pytest.mark.parametrize('command, by_hand', [
    ('sudo systemctl start postgresql@15-main', ['systemctl unmask postgresql@15-main && systemctl enable --now postgresql@15-main']),
    ('/usr/bin/systemctl start postgresql-15', ['systemctl unmask postgresql-15 && systemctl enable --now postgresql-15']),
    ('pg_ctlcluster 15 main start', []),
    (None, []),
])
def test_what_a_run_that_fails_says_of_the_old_primary(command, by_hand):
    found = plan(cluster(a=stopped().replace(config={'service_start_command': command} if command else None)), target='b')['left']
    commands = [step['command'] for step in found['steps']]
    assert commands == [
        'ansible-playbook pgfleet.repmgr.failover -e repmgr_target=b', 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a'] + by_hand + [
            'ansible-playbook pgfleet.repmgr.failover']
    assert found['text'].startswith('a: this run has masked its server') and all(text in found['text'] for text in commands)


@pytest.mark.parametrize('config, identifier, state, proof', [
    ({'node_id': 1, 'node_name': 'a'}, None, 'missing', True), (None, ID, 'valid', True), (None, None, 'missing', False), (None, '9', 'valid', False),
    ({'node_id': 7, 'node_name': 'z'}, '9', 'valid', False),
])
def test_a_machine_that_was_set_up_anew_proves_nothing_of_the_old_primary(config, identifier, state, proof):
    machine = Observed(data=Data(path='/data', state=state, system_identifier=identifier), server=Server(state='stopped'), config=config,
                       repmgr={'nodes': None})
    found = plan(cluster(a=machine))
    assert (found['refuse'] == '') is proof, found['refuse']
    if proof:
        assert found['fence'] == ['a']
    elif config is None:
        assert found['refuse'].startswith('a: is the registered primary, and the host that answers has neither its repmgr.conf nor its data'), found['refuse']
        assert plan(cluster(a=machine), dead='a')['fence'] == []


def test_nothing_is_said_of_an_old_primary_that_was_not_touched():
    assert plan(cluster(a=None), dead='a')['left'] == plan(cluster(a=primary()))['left'] == {'text': '', 'steps': []}


def test_a_primary_that_its_guard_has_stopped_can_be_replaced_on_request():
    """Status advises against it; the operator may know that the host will be lost."""
    found = plan(cluster(a=stopped().replace(guard={'running': True, 'enabled': True, 'stopped': {'code': 'isolated', 'peers': ['b', 'c']}})))
    assert (found['refuse'], found['target'], found['fence']) == ('', 'b', ['a'])


def keeping(lsn, restart_lsn, oldest_wal=None, **more):
    """A standby with a slot for d, or, where that is None, without; '' is one that has lost its WAL."""
    slots = [] if restart_lsn is None else [{'slot_name': 'repmgr_slot_5', 'restart_lsn': restart_lsn or None}]
    return standby(lsn, oldest_wal=oldest_wal, **more).replace(slots=slots)


@pytest.mark.parametrize('b, c, d, target', [
    # b was rewound, and keeps less than d needs.
    (('0/5000000', '0/3000000'), ('0/5000000', '0/2000000'), '0/2800000', 'c'),
    (('0/5000000', '0/3000000'), ('0/5000000', '0/2000000'), '0/3000000', 'b'),
    # Never at the price of a row.
    (('0/5000001', '0/3000000'), ('0/5000000', '0/2000000'), '0/2800000', 'b'),
    # Somebody is promoted also where nobody keeps it.
    (('0/5000000', '0/3000000'), ('0/5000000', '0/3000000'), '0/2800000', 'b'),
    # Without a slot it is what there is now.
    (('0/5000000', None, 0x3000000), ('0/5000000', None, 0x2000000), '0/2800000', 'c'),
    (('0/5000000', None, None), ('0/5000000', '0/2000000'), '0/2800000', 'b'),
    # A slot that has lost its WAL keeps nothing.
    (('0/5000000', '', 0x3000000), ('0/5000000', '0/2000000', 0x3000000), '0/2800000', 'c'),
])
def test_of_equals_one_that_keeps_what_another_needs(b, c, d, target):
    nodes = rows() + [dict(rows()[1], node_id=5, node_name='d')]
    hosts = cluster(b=keeping(*b, nodes=nodes), c=keeping(*c, nodes=nodes))
    hosts.append(Host(name='d', node_id=5, node_name='d', initial_role='standby', observed=standby(d, nodes=nodes)))
    found = plan(hosts)
    assert (found['refuse'], found['target'], found['loss_bytes']) == ('', target, 0)


@pytest.mark.parametrize('changes, target', [
    ({}, 'b'),
    # Replayed from the archive, and nothing received.
    (dict(c=standby(None, replayed_lsn='0/5000001')), 'c'),
    (dict(b=standby(timeline=1), c=standby('0/1', timeline=2)), 'c'),
    (dict(b=standby(nodes=rows(b={'priority': 50}))), 'c'),
    (dict(b=standby(nodes=rows(b={'priority': 0}))), 'c'),
    # Whether it is a standby it does not say.
    (dict(b=standby(in_recovery=None)), 'c'),
    (dict(b=stopped().replace(data=Data(state='valid', system_identifier=ID, standby_signal=True))), 'c'),
])
def test_who(changes, target):
    found = plan(cluster(**changes))
    assert (found['refuse'], found['target']) == ('', target)


@pytest.mark.parametrize('name, number', [('a', 1), ('c', 3)])
def test_a_node_whose_data_are_not_mounted_holds_up_no_failover(name, number):
    lost = Observed(data=Data(path='/data', state='missing'), server=Server(state='stopped'), repmgr={'nodes': None}, deployed=True,
                    config={'node_id': number, 'node_name': name})
    hosts = cluster(**{name: lost})
    assert 'vanished_data' in [problem['code'] for problem in _verdict.verdict(hosts)['problems'] if problem['stop']]
    found = plan(hosts)
    assert (found['refuse'], found['target']) == ('', 'b')


def test_a_primary_lives():
    found = plan(cluster(a=primary()))
    assert (found['done'], found['target'], found['refuse'], found['fence']) == (True, 'a', '', [])
    found = plan(cluster(a=stopped(), b=primary()))
    assert (found['done'], found['target']) == (True, 'b')


def test_the_guard_would_stop_a_primary_that_is_alone():
    guarded = standby().replace(guard={'running': True, 'enabled': True})
    assert plan(cluster(b=guarded))['alone'] == []
    assert plan(cluster(c=guarded, b=stopped().replace(data=Data(state='valid', system_identifier=ID, standby_signal=True))))['alone'] == ['a', 'b']
    # And where it is primary already, from an earlier run.
    assert plan(cluster(c=primary().replace(guard={'running': True, 'enabled': True}), b=stopped()))['alone'] == ['a', 'b']
    # Without the guard repmgr's own rules hold.
    assert plan(cluster(b=stopped().replace(data=Data(state='valid', system_identifier=ID, standby_signal=True))))['alone'] == []


def test_only_registered_nodes_vote():
    """As in guard.json: if c is only in the inventory, w has a vote; if c is only in the registry, w has none."""
    registered = [row for row in rows() if row['node_name'] != 'c']
    guarded = standby(nodes=registered).replace(guard={'running': True, 'enabled': True})
    hosts = cluster(b=guarded, c=stopped().replace(data=Data(state='empty')), w=witness().replace(repmgr={'nodes': registered}))
    assert plan(hosts)['alone'] == []
    hosts = [host for host in cluster(b=standby().replace(guard={'running': True, 'enabled': True})) if host.name != 'c']
    assert plan(hosts)['alone'] == ['a', 'c']


@pytest.mark.parametrize('changes, options, words', [
    (dict(a=None), {}, 'a: is the registered primary, and cannot be reached; expected proof that it is dead'),
    (dict(a=silent()), {}, 'its server is running and does not answer (timeout expired)'),
    (dict(a=None), dict(dead='b'), 'a: is the registered primary, and cannot be reached'),
    ({}, dict(dead='b'), 'b: is not the registered primary'),
    (dict(a=None), dict(dead='typo'), 'typo: is not a node of this cluster; expected one of a, b, c, w.'),
    # Also where a primary lives and nothing is left to do.
    (dict(a=primary()), dict(dead='typo'), 'typo: is not a node of this cluster; expected one of a, b, c, w.'),
    (dict(a=primary(1), b=primary(2)), {}, 'runs as primary on timeline'),
    (dict(a=None, w=None, c=None), dict(dead='a'), 'only 1 of 4 hosts'),
    (dict(b=standby(nodes=rows(b={'priority': 0}))), dict(target='b'), 'b: cannot be promoted (b: its priority is 0); expected one of c'),
    ({}, dict(target='w'), 'w: cannot be promoted'),
    (dict(c=standby('0/5000060')), dict(target='b'), 'b: has received 96 bytes less than c'),
    (dict(c=standby('0/1', timeline=2)), dict(target='b'), 'b: is on an older timeline than c'),
    # Only one that may not be promoted has it: the others would be rewound, and what it has would be gone.
    (dict(b=standby('0/5000060', nodes=rows(b={'priority': 0}))), {}, 'c: has received 96 bytes less than b, which cannot be promoted (its priority is 0)'),
    (dict(b=standby('0/5000060', nodes=rows(b={'priority': 0}))), {}, 'repmgr_accept_loss=true -e repmgr_target=c'),
    (dict(b=stopped(), c=stopped()), {}, 'no standby can be promoted: b: its server is stopped; c: its server is stopped'),
])
def test_refused(changes, options, words):
    found = plan(cluster(**changes), **options)
    assert words in found['refuse'] and found['target'] is None, found


def test_the_operators_word():
    found = plan(cluster(a=None), dead='a')
    assert (found['refuse'], found['target'], found['fence']) == ('', 'b', [])
    # What answers is stopped and kept from starting all the same.
    assert plan(cluster(a=silent()), dead='a')['fence'] == ['a']


def test_loss_is_named_and_may_be_accepted():
    found = plan(cluster(c=standby('0/5000060')), target='b', accept_loss=True)
    assert (found['refuse'], found['target'], found['loss_bytes']) == ('', 'b', 96)


def test_who_may_have_more_is_named():
    """A witness has no data, and a stopped standby does not say."""
    assert plan(cluster(c=None))['unseen'] == ['c']
    assert plan(cluster(w=None))['unseen'] == []
    assert plan(cluster(c=stopped()))['unseen'] == ['c']


@pytest.mark.parametrize('missing', [None, stopped()])
def test_a_commit_that_only_a_standby_out_of_sight_has_confirmed(missing):
    def found(number, c, **options):
        return plan([host.replace(synchronous=number) for host in cluster(c=c)], **options)

    refused = found(1, missing)
    assert refused['target'] is None and 'c: cannot be observed, and may hold acknowledged commits (repmgr_synchronous is 1)' in refused['refuse']
    assert 'repmgr_accept_loss=true -e repmgr_target=b' in refused['refuse']
    accepted = found(1, missing, accept_loss=True)
    assert (accepted['refuse'], accepted['target'], accepted['unseen']) == ('', 'b', ['c'])
    # A host that is yet to join has nothing.
    new = stopped().replace(data=Data(path='/data', state='missing'))
    hosts = [host.replace(synchronous=1) for host in cluster()] + [Host(name='d', node_id=5, node_name='d', initial_role='standby', observed=new)]
    assert (plan(hosts)['refuse'], plan(hosts)['unseen']) == ('', [])
    # Two standbys have every commit, and one of them is here.
    assert found(2, missing)['target'] == 'b'
    assert found(1, standby())['target'] == 'b'
    assert found(0, missing)['target'] == 'b'


def test_a_standby_that_has_yet_to_replay_what_it_has():
    """It reports less than it has received, and may be the only one that has confirmed a commit."""
    def found(number, changes, **options):
        return plan([host.replace(synchronous=number) for host in cluster(**changes)], **options)

    behind = standby(None, replayed_lsn='0/4000000')
    refused = found(1, {'c': behind})
    assert refused['target'] is None and refused['unseen'] == ['c']
    assert 'c: started, and is still replaying WAL that it had received, and may hold acknowledged commits' in refused['refuse']
    assert 'Wait until c has replayed it and run again' in refused['refuse'] and 'Bring them back' not in refused['refuse']
    accepted = found(1, {'c': behind}, accept_loss=True)
    assert (accepted['refuse'], accepted['target'], accepted['unseen']) == ('', 'b', ['c'])
    # Where commits wait for nobody, the most is taken of what they tell, and who may have more is named.
    assert (found(0, {'c': behind})['target'], found(0, {'c': behind})['unseen']) == ('b', ['c'])
    assert found(2, {'c': behind})['target'] == 'b'
    both = found(2, {'b': None, 'c': behind})
    assert (both['target'], both['unseen']) == ('c', ['b'])
    three = [host.replace(synchronous=2) for host in cluster(b=None)] + [Host(
        name='d', node_id=5, node_name='d', initial_role='standby', synchronous=2, observed=behind.replace(repmgr={'nodes': rows(), 'repmgrd': {}}))]
    assert 'b: cannot be observed; d started, and is still replaying WAL' in plan(three)['refuse']
    # It replays what it has before it takes writes.
    ahead = standby(None, replayed_lsn='0/6000000')
    assert (found(1, {'c': ahead})['target'], found(1, {'c': ahead})['unseen']) == ('c', [])


def test_two_data_nodes_and_a_witness_with_synchronous_commits():
    """What the one standby has confirmed is all there is. Where it is down, too, nobody can be promoted."""
    rows_of_two = [row for row in rows() if row['node_name'] != 'c']
    for b, target in ((standby(nodes=rows_of_two), 'b'), (stopped(), None)):
        hosts = [host.replace(synchronous=1) for host in cluster(b=b, w=witness().replace(repmgr={'nodes': rows_of_two, 'repmgrd': {}})) if host.name != 'c']
        found = plan(hosts)
        assert (found['target'], found['unseen']) == (target, [] if target else ['b']), found


def test_two_nodes_of_which_one_is_gone():
    hosts = [host for host in cluster(a=None, b=standby(nodes=rows()[:2])) if host.name in 'ab']
    assert 'cannot be reached' in plan(hosts)['refuse']
    assert plan(hosts, dead='a')['target'] == 'b'


def without(*names, **changes):
    """Of nodes that are registered and in no inventory."""
    return [host for host in cluster(**changes) if host.name not in names]


def test_a_registered_primary_that_is_in_no_inventory():
    assert 'a: is the registered primary, and is not in this inventory' in plan(without('a'))['refuse']
    assert (plan(without('a'), dead='a')['target'], plan(without('a'), dead='a')['unseen']) == ('b', [])
    # It counts for the majority, and where it is dead nobody else is missing.
    assert plan([host for host in without('a', b=standby(nodes=rows()[:2])) if host.name == 'b'], dead='a')['target'] == 'b'


def test_other_nodes_that_are_in_no_inventory():
    """They do not prevent a promotion, but they may have received more, or be the primary of a majority that was not observed."""
    found = plan(without('c'))
    assert (found['refuse'], found['target'], found['unseen']) == ('', 'b', ['c'])
    assert plan(without('w'))['unseen'] == []
    assert 'c, w: only 2 of 4 hosts' in plan(without('c', 'w'))['refuse']


def test_nobody_is_ever_promoted_beside_a_primary_that_may_live():
    """For all combinations of host states: a standby is promoted only if a is observed or declared to be dead, and if it is the best candidate."""
    looks = {'a': [stopped(), silent(), None, primary(1)], 'b': [standby(), standby('0/6000000'), stopped(), silent(), None, primary(2)],
             'c': [standby(), None, silent()], 'w': [witness(), None]}
    count = 0
    for a, b, c, w in itertools.product(*[looks[name] for name in 'abcw']):
        for dead in ('', 'a'):
            hosts = cluster(a=a, b=b, c=c, w=w)
            found = plan(hosts, dead=dead)
            assert bool(found['refuse']) + (found['target'] is not None) == 1, found
            if found['target'] is None or found['done']:
                continue
            count += 1
            assert dead == 'a' or a is looks['a'][0]
            assert not any(host.observed is not None and host.observed.server.in_recovery is False and host.name in 'abc' for host in hosts)
            assert found['target'] in 'bc' and len([host for host in hosts if not host.unreachable or host.name == 'a']) > 2
    assert count > 10
