# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files, _ssh

PEER = {'name': 'b', 'address': '10.0.0.2', 'addresses': ['10.0.0.2'], 'port': 22, 'keys': ['ssh-ed25519 BBBB'], 'host_keys': ['ssh-ed25519 HHHH']}


def mesh(former=(), **changes):
    return _ssh.mesh([dict(PEER, **changes)], {'b': list(former)}, 'postgres')


def test_lines_for_a_peer():
    assert mesh() == {'authorized_keys': 'restrict,from="10.0.0.2" ssh-ed25519 BBBB postgres@b\n', 'known_hosts': 'b,10.0.0.2 ssh-ed25519 HHHH\n'}


def test_both_keys_while_they_are_rotated():
    assert mesh(keys=['k1', 'k2'])['authorized_keys'] == 'restrict,from="10.0.0.2" k1 postgres@b\nrestrict,from="10.0.0.2" k2 postgres@b\n'


def test_a_peer_without_keys_has_no_lines():
    assert mesh(keys=[], host_keys=[]) == {'authorized_keys': '', 'known_hosts': ''}


@pytest.mark.parametrize('former, sources, names', [
    (['10.0.0.9'], '10.0.0.2,10.0.0.9', 'b,10.0.0.2,10.0.0.9'),
    (['fe80::9'], '10.0.0.2,fe80::9', 'b,10.0.0.2,fe80::9'),
    # sshd compares no names.
    (['db.example.org'], '10.0.0.2', 'b,10.0.0.2,db.example.org'),
    (['1.example.org'], '10.0.0.2', 'b,10.0.0.2,1.example.org'),
    (['10.0.0.2', 'b'], '10.0.0.2', 'b,10.0.0.2'),
])
def test_former_addresses(former, sources, names):
    found = mesh(former)
    assert found['authorized_keys'].startswith('restrict,from="%s" ' % sources) and found['known_hosts'].startswith(names + ' ')


@pytest.mark.parametrize('port, names', [(22, 'b,10.0.0.2'), ('22', 'b,10.0.0.2'), ('2222', '[b]:2222,[10.0.0.2]:2222'), (2222, '[b]:2222,[10.0.0.2]:2222')])
def test_another_port_is_in_known_hosts(port, names):
    assert mesh(port=port)['known_hosts'] == names + ' ssh-ed25519 HHHH\n'


def test_host_keys_of_the_facts():
    facts = {'ssh_host_key_rsa_public': 'RRRR', 'ssh_host_key_ecdsa_public': 'EEEE', 'ssh_host_key_ecdsa_public_keytype': 'ecdsa-sha2-nistp256',
             'ssh_host_key_dsa_public': 'DDDD'}
    assert _ssh.host_keys(facts) == ['ecdsa-sha2-nistp256 EEEE', 'ssh-rsa RRRR']
    assert _ssh.bare_key('ssh-rsa RRRR root@b\n') == 'ssh-rsa RRRR'


def test_blocks_that_would_change():
    texts, places = {'authorized_keys': 'a\n', 'known_hosts': '\nk\n\n'}, {'authorized_keys': '/a', 'known_hosts': '/k'}
    # The module blockinfile takes newlines at the ends away.
    seen = {'/a': _files.state_of_text('a\n', '0600', 'postgres', 'postgres'), '/k': _files.state_of_text('k\n', '0600', 'postgres', 'postgres')}
    assert _ssh.stale_blocks(texts, places, 'postgres', seen) == []
    assert _ssh.stale_blocks(texts, places, 'pg', seen) == ['authorized_keys', 'known_hosts']
    assert _ssh.stale_blocks(texts, places, 'postgres', {'/a': seen['/a']}) == ['known_hosts']
