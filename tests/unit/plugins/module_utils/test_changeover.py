# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which end of the nodes' connections has to change first, and what is refused because neither can."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _changeover, _problems_deploy, _verdict

MANAGED, PROVIDED = _changeover.MANAGED_ROOT, '/etc/ssl/own/root.crt'
FULL = 'sslmode=verify-full sslrootcert='
# How guard.json has it with a managed authority: whoever holds the password is the right one.
BOUND = 'sslmode=require channel_binding=require'
ADDRESSES = {'a': '10.0.0.1', 'b': '10.0.0.2', 'c': '10.0.0.3'}
IDS = {'a': 1, 'b': 2, 'c': 3}


def records(wanted, tls, rows='', guard='', config='', streams='', now=None, later=None, sources=None, names=(), port=5432):
    """Primary a and standbys b and c, where every connection string that a word names ends with its value.

    wanted: the inventory's. now: {host: registered address}, later: {host: address in the inventory}. sources: {host: where its connections come from}.
    """
    found, later = [], dict(ADDRESSES, **later or {})
    now = dict(ADDRESSES, **now or {})
    registered = [{'node_id': IDS[name], 'node_name': name, 'type': 'primary' if name == 'a' else 'standby', 'active': True,
                   'upstream_node_id': None if name == 'a' else 1, 'conninfo': 'host=%s user=repmgr %s' % (now[name], rows)} for name in 'abc']
    for name in 'abc':
        own = 'host=%s user=repmgr ' % now[name]
        reach = [{'name': other, 'address': later[other], 'addresses': [later[other]], 'sources': [(sources or {}).get(name, later[name])]} for other in 'abc']
        found.append({
            'name': name, 'node_name': name, 'node_id': '%d' % IDS[name], 'address': later[name], 'port': port, 'tls': tls, 'user': 'repmgr',
            'database': 'repmgr', 'initial_role': 'primary' if name == 'a' else 'standby',
            'conninfo': 'host=%s user=repmgr %s' % (later[name], wanted), 'observed': {
                'name': name, 'config': {'node_id': IDS[name], 'node_name': name, 'conninfo': own + config}, 'reach': reach, 'tls': {'names': list(names)},
                'guard': {'peers': [{'node_id': IDS[peer], 'conninfo': 'host=%s %s' % (now[peer], guard)} for peer in 'abc' if peer != name]},
                'receiver': None if name == 'a' else {'conninfo': 'host=%s %s' % (now['a'], streams), 'status': 'streaming'},
                'data': {'state': 'valid', 'system_identifier': '7'}, 'repmgr': {'nodes': registered},
                # A primary that was a standby once still has the setting.
                'server': {'state': 'running', 'sql': True, 'in_recovery': name != 'a', 'system_identifier': '7', 'settings': {
                    'port': '5432', 'primary_conninfo': 'host=x %s' % (streams if name != 'a' else FULL + '/left')}}}})
    return found


def everywhere(text, wanted=None, tls='managed', guard=None, **more):
    return records(text if wanted is None else wanted, tls, text, text if guard is None else guard, text, text, **more)


def test_nothing_changes():
    nothing = {'servers': '', 'roots': [], 'clients': [], 'begun': False, 'former': {}, 'verified': {}}
    assert _changeover.changeover(everywhere(FULL + MANAGED, guard=BOUND)) == nothing
    assert _changeover.changeover(everywhere(FULL + PROVIDED, tls='provided')) == nothing
    assert _changeover.changeover(everywhere('', tls='')) == nothing
    # Before PostgreSQL 12 nobody changes what a standby was made with.
    assert _changeover.changeover(records(FULL + MANAGED, 'managed', FULL + MANAGED, BOUND, FULL + MANAGED, '')) == nothing
    assert _changeover.changeover([]) == nothing
    fresh = everywhere('')
    for record in fresh:
        record['observed'] = None
    assert _changeover.changeover(fresh) == nothing


ON, OFF, TO_OWN, BACK = (FULL + MANAGED, 'managed'), ('', ''), (FULL + PROVIDED, 'provided'), (FULL + MANAGED, 'managed')


@pytest.mark.parametrize('to, used, servers, roots', [
    # off -> managed: servers first, then whoever connects, in the order of site.yml: a run may end after any of them.
    (ON, ['', '', '', ''], 'first', []),
    (ON, ['', '', FULL + MANAGED, ''], 'first', []),
    (ON, [FULL + MANAGED, '', FULL + MANAGED, ''], 'first', []),
    (ON, [FULL + MANAGED, '', FULL + MANAGED, FULL + MANAGED], 'first', []),
    # managed -> off: servers last, and not before the guards and the WAL receivers.
    (OFF, [FULL + MANAGED, BOUND, FULL + MANAGED, FULL + MANAGED], 'last', []),
    (OFF, ['', BOUND, '', FULL + MANAGED], 'last', []),
    (OFF, ['', BOUND, '', ''], 'last', []),
    (OFF, ['', '', '', FULL + MANAGED], 'last', []),
    # managed -> provided: our file gets the other authority, so the servers can be first.
    (TO_OWN, [FULL + MANAGED, BOUND, FULL + MANAGED, FULL + MANAGED], 'first', [MANAGED]),
    (TO_OWN, [FULL + PROVIDED, BOUND, FULL + PROVIDED, FULL + MANAGED], 'first', [MANAGED]),
    # provided -> managed: their file stays as it is, so who has it must not see a new certificate.
    (BACK, [FULL + PROVIDED] * 4, 'last', [PROVIDED]),
    (BACK, [FULL + MANAGED, FULL + PROVIDED, FULL + MANAGED, FULL + MANAGED], 'last', [PROVIDED]),
    (BACK, [FULL + MANAGED, BOUND, FULL + MANAGED, FULL + PROVIDED], 'last', [PROVIDED]),
    # off -> managed, begun, and then the other way.
    (OFF, [FULL + MANAGED, '', FULL + MANAGED, ''], 'last', []),
])
def test_who_changes_first(to, used, servers, roots):
    rows, guard, config, streams = used
    found = _changeover.changeover(records(to[0], to[1], rows, guard, config, streams))
    assert (found['servers'], found['roots']) == (servers, roots)


def test_who_would_not_take_a_server_without_tls():
    some = records('', '', guard='', streams=FULL + MANAGED)
    assert _changeover.changeover(some)['clients'] == ['b', 'c']


@pytest.mark.parametrize('text, root', [
    ('', None), ('sslmode=prefer', None), ('sslmode=allow', None), ('sslmode=disable sslrootcert=/r', None), ('sslmode=require', ''),
    ('sslmode=require sslrootcert=/r', '/r'), ('sslmode=verify-ca', '~/.postgresql/root.crt'), ('sslmode=verify-full sslrootcert=/r', '/r'), ("host='", None),
])
def test_what_a_client_asks_for(text, root):
    assert _changeover.verified_by(text) == root


def test_former_addresses():
    found = _changeover.changeover(everywhere(FULL + MANAGED, guard=BOUND, later={'b': '192.168.0.2'}))
    assert (found['former'], found['verified'], found['servers']) == ({'b': ['10.0.0.2']}, {'b': ['10.0.0.2']}, '')
    # Ended after the registration, when the guards still have the former one.
    ended = everywhere('', tls='', later={'b': '192.168.0.2'}, now={'b': '192.168.0.2'})
    assert _changeover.changeover(ended)['former'] == {}
    ended[0]['observed']['guard']['peers'][0]['conninfo'] = 'host=10.0.0.2'
    found = _changeover.changeover(ended)
    assert (found['former'], found['verified']) == ({'b': ['10.0.0.2']}, {})
    # A row with the id of this host and the name of another says nothing of it.
    other = everywhere('', tls='', later={'b': '192.168.0.2'}, guard='')
    for record in other:
        record['observed']['guard'] = None
        record['observed']['repmgr']['nodes'] = [dict(row, node_name='old') for row in record['observed']['repmgr']['nodes']]
    assert _changeover.changeover(other)['former'] == {}


# -- what is refused, and what only site.yml does

def refused(found, unreachable=()):
    for record in found:
        if record['name'] in unreachable:
            record.update(observed=None, unreachable=True)
    problems = _problems_deploy.deploy_problems(_verdict.hosts_from(found))
    assert all(problem['stop'] for problem in problems)
    return [problem['code'] for problem in problems], ' '.join(problem['message'] for problem in problems)


def test_what_site_changes_stops_others():
    codes, said = refused(everywhere('', FULL + MANAGED))
    assert codes == ['pending_tls'] and 'nodes connect without TLS, and repmgr_tls is managed' in said and 'site' in said
    codes, said = refused(everywhere(FULL + MANAGED, '', '', guard=BOUND))
    assert codes == ['pending_tls'] and 'a, b, c: nodes connect with TLS, and repmgr_tls is off' in said
    codes, said = refused(everywhere(FULL + PROVIDED, FULL + MANAGED))
    assert codes == ['pending_tls'] and 'nodes connect with certificates of /etc/ssl/own/root.crt, and repmgr_tls is managed' in said
    codes, said = refused(everywhere(FULL + MANAGED, guard=BOUND, later={'b': '192.168.0.2'}))
    assert codes == ['pending_address'] and 'b: is connected to by 10.0.0.2, and its repmgr_address is 192.168.0.2; expected' in said
    assert refused(everywhere(FULL + MANAGED, guard=BOUND)) == ([], '')


@pytest.mark.parametrize('changes, code, said', [
    (dict(wanted=FULL + MANAGED, text=''), 'changed_tls', 'c: cannot be reached, while nodes still connect without TLS, and repmgr_tls is managed; expected'),
    (dict(text='', tls='', later={'b': '192.168.0.2'}), 'changed_address',
     'c: cannot be reached, while nodes still connect to b by 10.0.0.2, and its repmgr_address is 192.168.0.2; expected'),
])
def test_a_host_that_would_be_left_behind(changes, code, said):
    codes, text = refused(everywhere(**changes), unreachable=['c'])
    assert codes == [code] and said in text and 'remove_node' in text, text


def test_a_host_that_was_ready_before_it_went_down():
    """Nobody connects in a new way before all are ready: the others may finish, or a change that was begun could go neither on nor back."""
    assert refused(records(FULL + MANAGED, 'managed', '', '', FULL + MANAGED, ''), unreachable=['c'])[0] == ['pending_tls']
    assert refused(records('', '', FULL + MANAGED, BOUND, '', FULL + MANAGED), unreachable=['c'])[0] == ['pending_tls']
    moved = everywhere('', tls='', later={'b': '192.168.0.2'})
    moved[1]['observed']['config']['conninfo'] = 'host=192.168.0.2'
    assert refused(moved, unreachable=['c'])[0] == ['pending_address']


def test_a_host_that_is_down_is_no_matter_where_nothing_changes():
    assert refused(everywhere(FULL + MANAGED, guard=BOUND), unreachable=['c']) == ([], '')


def test_another_file_of_authorities():
    codes, said = refused(everywhere(FULL + '/etc/ssl/old.crt', FULL + PROVIDED, 'provided'))
    assert codes == ['changed_tls'] and said.startswith(
        'a, b, c: nodes verify each other by /etc/ssl/old.crt, and repmgr_tls_root is /etc/ssl/own/root.crt; expected the same path'), said
    assert 'Add the content of /etc/ssl/own/root.crt to /etc/ssl/old.crt on every node, and set repmgr_tls_root: /etc/ssl/old.crt.' in said


@pytest.mark.parametrize('later, node, other, address', [
    ({'b': '10.0.0.3', 'c': '10.0.0.2'}, 'b', 'c', '10.0.0.3'),
    # Only one of the two takes the other's.
    ({'b': '10.0.0.3', 'c': '10.0.0.4'}, 'b', 'c', '10.0.0.3'),
])
def test_an_address_that_another_node_had(later, node, other, address):
    codes, said = refused(everywhere('', tls='', later=later))
    assert codes[0] == 'changed_address' and (
        '%s: is connected to by 10.0.0.2, and its repmgr_address %s is %s, by which nodes still connect to %s; expected' % (
            node, later[node], address, other)) in said, said


def test_a_name_of_the_address_of_another_node():
    found = everywhere('', tls='', later={'b': 'bee', 'c': '10.0.0.4'})
    for record in found:
        record['observed']['reach'][1]['addresses'] = ['10.0.0.3']
        record['observed']['reach'][1]['sources'] = record['observed']['reach'][2]['sources'] = []
    found[1]['observed']['reach'] = []
    codes, said = refused(found)
    assert 'its repmgr_address bee is 10.0.0.3, by which nodes still connect to c' in said, said
    # On another port it is another server.
    found[1]['port'] = 5433
    assert 'by which nodes still connect to c' not in refused(found)[1]


def test_a_certificate_that_names_the_new_address_alone():
    codes, said = refused(everywhere(FULL + PROVIDED, tls='provided', later={'b': '192.168.0.2'}, names=['192.168.0.2']))
    assert codes == ['changed_address'] and 'its certificate is valid for 192.168.0.2; expected a certificate for both' in said, said
    assert refused(everywhere(FULL + PROVIDED, tls='provided', later={'b': '192.168.0.2'}, names=['192.168.0.2', '10.0.0.2']))[0] == ['pending_address']
    # Where nobody verifies the former name, nobody misses it.
    by_hand = records(FULL + PROVIDED, 'provided', later={'b': '192.168.0.2'}, names=['192.168.0.2'])
    assert 'changed_address' not in refused(by_hand)[0]


def test_a_second_network_that_is_not_the_one_that_connections_come_from():
    moved = {'b': '192.168.0.2'}
    codes, said = refused(everywhere('', tls='', later=moved, sources={'b': '10.0.0.2'}))
    assert codes == ['pending_address', 'changed_address', 'changed_address'], codes
    assert 'b: connects to a from 10.0.0.2, which is not its repmgr_address; expected' in said and 'addresses of the same network' in said
    # The others come to it by their own second network.
    codes, said = refused(everywhere('', tls='', later=moved, sources={'a': '192.168.0.1', 'c': '10.0.0.3'}))
    assert codes == ['pending_address', 'changed_address'] and 'a: connects to b from 192.168.0.1' in said
    # As long as nothing changes, rules of the inventory's own let them in.
    assert refused(everywhere('', tls='', sources={'b': '172.16.0.2'})) == ([], '')


def seen(name, sources):
    """A record of a host that resolves a to .1 and b to .2, and connects from these addresses."""
    return {'name': name, 'observed': {'reach': [
        {'name': peer, 'addresses': ['10.0.0.%d' % number], 'sources': sources} for number, peer in ((1, 'a'), (2, 'b'))]}}


def test_the_addresses_that_others_connect_from():
    records = [seen('a', ['10.0.0.1']), seen('b', ['10.0.0.2', '10.0.0.112']), {'name': 'c', 'observed': None}]
    assert [_changeover.sources_to(records, name) for name in 'abc'] == [['10.0.0.112'], [], []]
    # Whose own addresses nobody knows: its rules are left alone anyway.
    records[1]['name'] = 'd'
    assert _changeover.sources_to(records, 'a') == []
