# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is let through the firewall, and who no more."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64


def wanted(host, addresses, present, once, name='__repmgr_wanted'):
    reach = [{'name': name, 'addresses': found} for name, found in addresses.items()]
    return host.rendered(
        '{{ %s }}' % name, __repmgr_record={'observed': {'reach': reach}}, __repmgr_members=list(addresses), ansible_play_hosts=present,
        repmgr_port='5432', __repmgr_let_in={'content': base64.b64encode('\n'.join(once).encode()).decode()})


def test_a_peer_that_is_down_and_does_not_resolve_is_let_in_when_it_is_back(host):
    once = ['10.0.0.1 5432', '10.0.0.2 5432', '10.0.0.9 5432']
    assert wanted(host, {'a': ['10.0.0.1'], 'b': []}, ['a'], once) == once
    # All are seen: who is no member any more is shut out.
    assert wanted(host, {'a': ['10.0.0.1'], 'b': ['10.0.0.2', 'fe80::2']}, ['a', 'b'], once) == ['10.0.0.1 5432', '10.0.0.2 5432', 'fe80::2 5432']
    assert wanted(host, {'a': ['10.0.0.1'], 'b': ['10.0.0.2']}, ['a', 'b'], []) == ['10.0.0.1 5432', '10.0.0.2 5432']


def test_who_is_shut_out_at_the_end(host):
    once = ['10.0.0.1 5432', '10.0.0.9 5432']
    assert wanted(host, {'a': ['10.0.0.1'], 'b': ['10.0.0.2']}, ['a', 'b'], once, '__repmgr_shut_out') == ['10.0.0.9 5432']
    assert wanted(host, {'a': ['10.0.0.1'], 'b': []}, ['a'], once, '__repmgr_shut_out') == []


def test_proxies_are_let_in_to_the_server_and_its_endpoints(host):
    def by_proxies(groups=('standby',), **routing):
        return host.value('__repmgr_wanted_by_proxies', repmgr_port='5432', __repmgr_record={
            'groups': list(groups), 'routing': dict({'wanted': True, 'port': 8008, 'proxies': ['p', 'q']}, **routing)},
            hostvars={'p': {'ansible_host': '10.0.0.8'}, 'q': {'ansible_host': 'proxy.example.org'}})

    assert by_proxies() == ['10.0.0.8 5432', '10.0.0.8 8008']
    assert by_proxies(wanted=False) == by_proxies(proxies=[]) == by_proxies(['witness']) == []
