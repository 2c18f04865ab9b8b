# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _removal
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server, plain

ID, WITNESS_ID = '7000000000000000001', '7000000000000000004'
ROLES = {'a': 'primary', 'b': 'standby', 'c': 'standby', 'd': 'standby', 'w': 'witness'}
NUMBERS = {'a': 1, 'b': 2, 'c': 3, 'w': 4, 'd': 5}


class Cluster:
    """Primary a, its standbys and witness w, all registered and in the inventory; a case changes what it is about."""

    def __init__(self, names='abcw'):
        self.listed, self.hidden, self.down, self.host = list(names), [], [], {}
        self.rows = dict((name, {
            'node_id': NUMBERS[name], 'node_name': name, 'type': ROLES[name], 'upstream_node_id': None if name == 'a' else 1, 'active': True,
            'priority': 100, 'location': 'default', 'conninfo': 'host=10.0.0.%d' % NUMBERS[name]}) for name in names)
        self.synchronous = ''

    def unlist(self, *names):
        """In the registry, and not in the inventory."""
        self.listed = [name for name in self.listed if name not in names]
        return self

    def hide(self, *names):
        self.hidden += names
        self.down += names
        return self

    def observed(self, name):
        role, identifier = ROLES[name], WITNESS_ID if name == 'w' else ID
        streaming = [{'application_name': other, 'state': 'streaming'} for other in sorted(self.rows) if ROLES[other] == 'standby' and other not in self.down]
        return Observed(
            data=Data(path='/data', state='valid', system_identifier=identifier, standby_signal=role == 'standby'),
            server=Server(state='running', sql=True, in_recovery=role == 'standby', system_identifier=identifier, timeline=1,
                          settings={'synchronous_standby_names': self.synchronous}),
            receiver={'status': 'streaming'} if role == 'standby' else None, replication=streaming if role == 'primary' else [],
            repmgr={'nodes': [self.rows[other] for other in sorted(self.rows)], 'repmgrd': {'running': True}})

    def records(self):
        return [dict({
            'name': name, 'node_id': '%d' % NUMBERS[name], 'node_name': name, 'cluster': 'lab', 'address': '10.0.0.%d' % NUMBERS[name], 'port': '5432',
            'initial_role': ROLES[name], 'groups': [ROLES[name]], 'upstream': '', 'priority': 100, 'profile': 'safe', 'failover': 'automatic',
            'package_source': 'pgdg', 'os_family': 'Debian', 'distribution': 'Debian', 'distribution_major': '12', 'service_mgr': 'systemd',
            'postgresql_version': '15', 'synchronous': '0', 'allow_two_nodes': False, 'unreachable': name in self.hidden,
            'observed': None if name in self.hidden else plain(self.observed(name))}, **self.host) for name in self.listed]

    def plan(self, target):
        return _removal.removal_plan(self.records(), target)


@pytest.mark.parametrize('cluster, target, node_id', [
    (Cluster('abcw'), 'c', 3), (Cluster('abcw'), 'w', 4), (Cluster('abw').hide('b'), 'b', 2), (Cluster('abcdw').hide('d'), 'd', 5),
    (Cluster('abcw').hide('c'), 'c', 3),
])
def test_a_host_of_the_inventory(cluster, target, node_id):
    found = cluster.plan(target)
    assert (found['refuse'], found['node_id'], found['listed'], found['unlisted']) == ('', node_id, True, [])


def test_a_registered_node_that_the_inventory_does_not_list():
    cluster = Cluster('abcdw').hide('d').unlist('d')
    assert cluster.plan('d') == {'refuse': '', 'node_id': 5, 'listed': False, 'unlisted': [], 'tolerated': ['d unlisted_node'],
                                 'gone': dict((name, ['10.0.0.5']) for name in 'abcw'), 'left': []}
    # What is left of it is refused by its id where the name says nothing.
    assert cluster.plan('5')['refuse'] == (
        '5: is neither in this inventory nor registered in its cluster; expected one of a, b, c, w, d. Run again with one of them.')


@pytest.mark.parametrize('config, identifier, metadata, seen', [
    ({'node_id': 7, 'node_name': 'z'}, '999', True, ['repmgr.conf is that of node z', 'contains another cluster', 'metadata are those of another cluster']),
    ({'node_id': 2, 'node_name': 'b'}, ID, False, ['repmgr.conf is that of node b']),
    (None, '999', False, ['contains another cluster']),
])
def test_the_machine_of_another_node_is_left_alone(config, identifier, metadata, seen):
    """c is gone, and its address belongs to another machine now; or its ansible_host is wrong."""
    records = Cluster('abcw').records()
    record, = [record for record in records if record['name'] == 'c']
    record['observed']['config'] = config
    record['observed']['data']['system_identifier'] = record['observed']['server']['system_identifier'] = identifier
    if metadata:
        record['observed']['repmgr']['nodes'] = [{'node_id': 7, 'node_name': 'z', 'type': 'standby', 'upstream_node_id': 8, 'active': True, 'priority': 100,
                                                  'location': 'default', 'conninfo': 'host=z'}]
    refused = _removal.removal_plan(records, 'c')['refuse']
    assert refused.startswith('c: answers, but is another node: ') and all(text in refused for text in seen), refused


def reach(**addresses):
    return [{'name': name, 'addresses': addresses[name]} for name in sorted(addresses)]


@pytest.mark.parametrize('listed, host, seen, gone, left', [
    ('abcw', 'host=c', reach(a=['10.0.0.1'], b=['10.0.0.2'], c=['10.0.0.3', 'fd00::3'], w=['10.0.0.4']), ['10.0.0.3', 'fd00::3'], False),
    # Its own name does not resolve, and that of b neither: what the registry says is as good.
    ('abcw', 'host=10.0.0.3', reach(a=['10.0.0.1'], b=[], c=[], w=['10.0.0.4']), ['10.0.0.3'], False),
    ('abcw', 'host=c', reach(a=['10.0.0.1'], b=[], c=[], w=['10.0.0.4']), [], True),
    ('abcw', 'no conninfo', reach(a=['10.0.0.1'], b=[], c=[], w=['10.0.0.4']), [], True),
    # All others resolve, so whatever else is there is nobody's.
    ('abcw', 'host=c', reach(a=['10.0.0.1'], b=['10.0.0.2'], c=[], w=['10.0.0.4']), [], False),
    # An address that another node has, too.
    ('abcw', 'host=10.0.0.3', reach(a=['10.0.0.1'], b=['10.0.0.2', '10.0.0.3'], c=['10.0.0.3'], w=[]), [], False),
    ('abw', 'host=10.0.0.3', reach(a=['10.0.0.1'], b=[], w=['10.0.0.4']), ['10.0.0.3'], False),
    ('abw', 'host=c', reach(a=['10.0.0.1'], b=[], w=['10.0.0.4']), [], True),
], ids=['resolved', 'by the registry', 'unknown', 'no registry', 'all others known', 'shared', 'unlisted', 'unlisted unknown'])
def test_by_what_its_rules_are_known(listed, host, seen, gone, left):
    cluster = Cluster('abcw').hide('c')
    cluster.rows['c']['conninfo'] = host
    if 'c' not in listed:
        cluster.unlist('c')
    records = cluster.records()
    for record in records:
        if record['observed']:
            record['observed']['reach'] = seen
    found = _removal.removal_plan(records, 'c')
    assert found['gone'] == dict((name, gone) for name in 'abw')
    assert found['left'] == ([
        'a, b, w: keeps the pg_hba rules of c, because neither its address nor that of b is known there now; expected names that resolve. Mend the name of b. '
        'Then type: ansible-playbook pgfleet.repmgr.site'] if left else [])


@pytest.mark.parametrize('hidden', ['', 'b'])
def test_the_address_of_a_node_whose_name_does_not_resolve_is_kept(hidden):
    """b has taken over the address that the name of c still leads to."""
    cluster = Cluster('abcw').hide('c', *hidden)
    cluster.rows['b']['conninfo'] = 'host=10.0.0.9'
    records = cluster.records()
    for record in records:
        if record['observed']:
            record['observed']['reach'] = reach(a=['10.0.0.1'], b=[], c=['10.0.0.3', '10.0.0.9'], w=['10.0.0.4'])
    gone = _removal.removal_plan(records, 'c')['gone']
    assert gone == dict((name, ['10.0.0.3']) for name in 'abw' if name not in hidden)


def test_two_of_them_leave_one_after_the_other():
    """The access of the second one stays meanwhile; the removal of a host that is listed would take it away."""
    cluster = Cluster('abcdw').hide('c', 'd').unlist('c', 'd')
    for target, other in (('c', 'd'), ('d', 'c')):
        found = cluster.plan(target)
        assert (found['refuse'], found['unlisted']) == ('', [other])
        assert set(found['tolerated']) == set(['c unlisted_node', 'd unlisted_node'])
    found = cluster.plan('b')
    assert found['tolerated'] == []


def test_a_server_that_this_run_cannot_stop_is_not_cut_off():
    said = Cluster('abcdw').unlist('d').plan('d')['refuse']
    assert said == ('d: still streams from a, and this run cannot stop its server; expected a node whose server is stopped. '
                    'Add it to the inventory and make it reachable, or stop its server and repmgrd.')
    cluster = Cluster('abcw').hide('c')
    cluster.down = []
    assert 'c: still streams from a' in cluster.plan('c')['refuse']


def test_without_a_majority_the_rest_has_to_have_one():
    cluster = Cluster('abcw').hide('b', 'c')
    assert cluster.plan('b')['tolerated'] == ['b, c no_majority'] and cluster.plan('b')['refuse'] == ''
    # Of a node that is in sight nobody has said that what is not in sight is dead.
    assert cluster.plan('w')['tolerated'] == []
    assert Cluster('abcdw').hide('b', 'c', 'd').plan('b')['tolerated'] == []
    assert Cluster('abcdw').hide('b', 'c', 'd').unlist('b', 'c', 'd').plan('b')['tolerated'] == ['%s unlisted_node' % name for name in 'bcd']
    assert Cluster('abcw').hide('b', 'c').unlist('c').plan('c')['tolerated'] == ['b, c no_majority', 'c unlisted_node']


@pytest.mark.parametrize('target, said', [
    ('a', 'a: is the primary; expected a standby that is not an upstream, or the witness. First: ansible-playbook pgfleet.repmgr.switchover '
          '-e repmgr_target=HOST'),
    ('typo', 'typo: is neither in this inventory nor registered in its cluster; expected one of a, b, c, w. Run again with one of them.'),
])
def test_refused(target, said):
    assert Cluster().plan(target)['refuse'] == said


def test_a_node_with_standbys_of_its_own():
    cluster = Cluster('abcdw')
    cluster.rows['c']['upstream_node_id'] = 5
    assert cluster.plan('d')['refuse'] == (
        'd: is the upstream of c; expected a standby that is not an upstream, or the witness. First set another repmgr_upstream for them. '
        'Then type: ansible-playbook pgfleet.repmgr.site')
    # The main job would refuse while it is registered and not listed.
    assert 'First add it to the inventory again and set another' in cluster.hide('d').unlist('d').plan('d')['refuse']


def test_without_a_primary():
    cluster = Cluster().hide('a')
    assert 'c: is in a cluster without a primary' in cluster.plan('c')['refuse'] and 'status' in cluster.plan('c')['refuse']


def test_a_record_of_an_active_primary_is_not_removed():
    cluster = Cluster('abcdw').hide('d').unlist('d')
    cluster.rows['d'].update(type='primary', upstream_node_id=None)
    assert 'is registered as the active primary, while a runs as primary' in cluster.plan('d')['refuse']
    cluster.rows['d'].update(active=False)
    assert cluster.plan('d')['refuse'] == ''


def test_one_name_for_two_nodes():
    cluster = Cluster('abcdw').hide('d').unlist('d')
    cluster.rows['c']['node_name'] = 'pg3'
    records = cluster.records()
    [record for record in records if record['name'] == 'c'][0].update(name='d', node_name='pg3')
    assert 'd: is a host of this inventory, but node 5' in _removal.removal_plan(records, 'd')['refuse']


# -- what stays has to be right without it

def test_fewer_standbys_than_have_to_confirm_a_commit():
    cluster = Cluster('abcw')
    cluster.host = {'synchronous': '2'}
    said = cluster.plan('c')['refuse'].splitlines()
    assert said == [
        'c: cannot be removed yet, because of the problems below; expected an inventory that is valid without it. Correct it. '
        'Then type: ansible-playbook pgfleet.repmgr.site; and then again: ansible-playbook pgfleet.repmgr.remove_node -e repmgr_target=c',
        'a: repmgr_synchronous is "2"; expected a number from 0 to 1, the number of possible standbys. Correct repmgr_synchronous.',
        'b: repmgr_synchronous is "2"; expected a number from 0 to 1, the number of possible standbys. Correct repmgr_synchronous.']
    cluster.host = {'synchronous': '1'}
    assert cluster.plan('c')['refuse'] == ''


@pytest.mark.parametrize('names, target, words', [
    ('abw', 'w', 'a, b: two nodes and no witness'), ('abc', 'c', 'a, b: two nodes and no witness'),
])
def test_two_nodes_that_would_elect_nobody(names, target, words):
    cluster = Cluster(names)
    assert words in cluster.plan(target)['refuse'] and 'repmgr_allow_two_nodes' in cluster.plan(target)['refuse']
    cluster.host = {'allow_two_nodes': True}
    assert cluster.plan(target)['refuse'] == ''


@pytest.mark.parametrize('setting, down, target, words', [
    ('ANY 1 ("a", "b", "c")', [], 'c', ''),
    ('ANY 1 ("a", "b", "c")', ['b'], 'c', 'c: a commit on a waits for 1 standby, and without it none would stream; expected as many other standbys '
                                          'that stream. Bring the others back, or lower repmgr_synchronous. Then type: '),
    # What the server runs with counts, whatever the inventory says by now.
    ('ANY 2 ("a", "b", "c")', [], 'c', 'waits for 2 standbys, and without it only b would stream'),
    ('FIRST 2 (b, c)', [], 'c', 'waits for 2 standbys'), ('2 (b, c)', [], 'c', 'waits for 2 standbys'), ('*', ['b'], 'c', 'waits for 1 standby,'),
    ('', ['b'], 'c', ''), (None, ['b'], 'c', ''),
    # It confirms nothing as it is.
    ('ANY 2 ("a", "b", "c")', ['c'], 'c', ''), ('ANY 2 ("a", "b", "c")', [], 'w', ''),
])
def test_commits_go_on(setting, down, target, words):
    cluster = Cluster('abcw')
    cluster.synchronous, cluster.down = setting, down
    cluster.host = {'allow_two_nodes': True}
    said = cluster.plan(target)['refuse']
    assert words in said and bool(said) is bool(words)
