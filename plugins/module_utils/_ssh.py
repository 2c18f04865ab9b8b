# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: lines of authorized_keys and known_hosts."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer

_HOST_KEYS = ('ed25519', 'ecdsa', 'rsa')
# With `UseDNS no`, sshd compares only IP addresses with from=.
_ADDRESS = re.compile(r'[0-9.]+$|.*:')


def lines(found):
    return ''.join(line + '\n' for line in found)


def bare_key(text):
    """'type key' of a public key, without its comment."""
    return ' '.join(text.split()[:2])


def host_keys(facts):
    """['type key'] from the facts of a host. Ansible gathers them over the connection that it has verified; ssh-keyscan would trust the network."""
    names = [(kind, 'ssh_host_key_%s_public' % kind) for kind in _HOST_KEYS]
    return ['%s %s' % (facts.get(name + '_keytype') or 'ssh-' + kind, facts[name]) for kind, name in names if facts.get(name) is not None]


def known_hosts(names, port, keys):
    """The lines of known_hosts for one host. names: its names and addresses. keys: its host keys, ['type key']."""
    port = integer(port)
    pattern = ','.join(name if port == 22 else '[%s]:%s' % (name, port) for name in names)
    return ['%s %s' % (pattern, key) for key in keys]


def mesh(peers, former, user):
    """{authorized_keys, known_hosts}: the lines that let the nodes of a cluster log in to each other as `user`.

    peers: [{name, address, addresses, port, keys, host_keys}]. former: {name: [other addresses that nodes use for it for now]}.
    """
    authorized, known = [], []
    for peer in peers:
        others = former.get(peer['name']) or []
        sources = _unique([peer['address']] + peer['addresses'] + [address for address in others if _ADDRESS.match(address)])
        authorized += ['restrict,from="%s" %s %s@%s' % (','.join(sources), key, user, peer['name']) for key in peer['keys']]
        known += known_hosts(_unique([peer['name'], peer['address']] + peer['addresses'] + others), peer['port'], peer['host_keys'])
    return {'authorized_keys': lines(authorized), 'known_hosts': lines(known)}


def stale_blocks(texts, places, user, seen):
    """The names of the marked blocks that would change. texts: the result of mesh(). places: {name: path}. seen: {path: what the observation reports}."""
    return [name for name in sorted(texts) if seen.get(places[name]) != _files.state_of_text(texts[name].strip() + '\n', '0600', user, user)]


def _unique(found):
    return [value for index, value in enumerate(found) if value not in found[:index]]
