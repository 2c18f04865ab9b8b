# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: how the inventory changes the connections between nodes, and whether the servers or their clients have to change first.

The two ends of a connection change in different tasks. In between, which may be for ever if a run fails there, a changed end must work with an unchanged
one. A client without sslmode connects to servers with and without TLS; a client that requires TLS connects only to servers with TLS; a client that
verifies accepts only certificates of the CAs in its file.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo

# The CA file of the nodes with repmgr_tls: managed. Role tls adds to it, but never to a file that the user provided.
MANAGED_ROOT = '/etc/pgfleet/tls/root.crt'


def verified_by(text):
    """The CA file that a client verifies servers with; '' if it requires TLS but accepts any certificate, None if it does not require TLS."""
    values = _conninfo.effective(_conninfo.parse_or_empty(text))
    root = values.get('sslrootcert') or ''
    if values['sslmode'] in ('verify-ca', 'verify-full'):
        return root or '~/.postgresql/root.crt'
    return root if values['sslmode'] == 'require' else None


def changeover(records):
    """{servers, roots, clients, begun, former, verified} of one cluster.

    servers: 'first' or 'last', whether the servers get the TLS settings of the inventory before or after the clients; '' if all clients have them
    already. roots: CA files other than the inventory's that clients verify with. clients: the hosts with a client that would reject servers configured
    according to the inventory. begun: whether a node connects with the TLS settings of the inventory already, so every host was ready for them.
    former: {host: [addresses other than its own that nodes use to connect to it]}, verified: those of them that its certificate has to name.

    records: {name, node_id, node_name, address, tls, conninfo, observed} of the hosts of the inventory, conninfo as in the inventory.
    """
    ids = dict(('%s' % record.get('node_id'), record) for record in records)
    wanted = [verified_by(record.get('conninfo')) for record in records][:1]
    wanted = wanted[0] if wanted and records[0].get('tls') else None
    plain, begun, roots, clients, former, verified = False, False, set(), set(), {}, {}
    for record in records:
        observed = record.get('observed') or {}
        for who, text in _conninfo.in_use(observed, ids):
            root = verified_by(text)
            if who == 'standby' and not (observed.get('server') or {}).get('in_recovery'):
                # Left over from the time when this primary was a standby.
                continue
            if root is not None and wanted is None or root and root != wanted:
                clients.add(record['name'])
            if wanted is not None and root and root != wanted:
                roots.add(root)
            # Before PostgreSQL 12 a standby keeps the settings that it was created with, which does no harm.
            plain = plain or root is None and who != 'standby'
            begun = begun or root == wanted and who in ('repmgr', 'repmgrd')
        for record_of, text in _connections(observed, ids):
            values = _conninfo.parse_or_empty(text)
            address = _conninfo.address(values)
            if address and record_of.get('address') not in (None, '', address):
                former.setdefault(record_of['name'], set()).add(address)
                if values.get('sslmode') == 'verify-full':
                    verified.setdefault(record_of['name'], set()).add(values.get('host') or address)
    if wanted is None or roots and records[0].get('tls') == 'managed':
        servers = 'last' if clients else ''
    else:
        servers = 'first' if plain or roots else ''
    return {'servers': servers, 'roots': sorted(roots), 'clients': sorted(clients), 'begun': bool(servers) and begun,
            'former': _lists(former), 'verified': _lists(verified)}


def _lists(found):
    return dict((name, sorted(values)) for name, values in found.items())


def _connections(observed, records):
    """[(record of the other node, connection string)] from the metadata and the guard's configuration of a node. records: {node id as text: record}."""
    rows = [row for row in (observed.get('repmgr') or {}).get('nodes') or [] if (
        records.get('%s' % row.get('node_id')) or {}).get('node_name') == row.get('node_name')]
    rows += [peer for peer in (observed.get('guard') or {}).get('peers') or [] if '%s' % peer.get('node_id') in records]
    return [(records['%s' % row.get('node_id')], row.get('conninfo')) for row in rows]


def addresses_of(records, name):
    """The IP addresses that the address of a host resolves to on any of the nodes: those that their pg_hba rules allow."""
    return set(address for record in records for entry in (record.get('observed') or {}).get('reach') or [] if entry.get('name') == name
               for address in entry.get('addresses') or [])


def taken(records, name, found):
    """(host, address) of the registered node whose address the inventory gives to another host, `name`, or None. found: the result of changeover().

    Nodes that do not have the new addresses yet would connect to the wrong one.
    """
    ours = [record for record in records if record['name'] == name]
    mine = set(['%s' % ours[0].get('address')]) | addresses_of(records, name)
    for record in records:
        theirs = set(found['former'].get(record['name']) or [])
        if record['name'] != name and mine & theirs and '%s' % record.get('port') == '%s' % ours[0].get('port'):
            return record['name'], sorted(mine & theirs)[0]
    return None


def sources_to(records, name):
    """The addresses that hosts connect to this one from and that are not theirs: its pg_hba rules are for their addresses."""
    found = set()
    for record in records:
        own = addresses_of(records, record['name'])
        for entry in (record.get('observed') or {}).get('reach') or []:
            if own and entry.get('name') == name and record['name'] != name:
                found.update(source for source in entry.get('sources') or [] if source not in own)
    return sorted(found)


def strangers(records, found):
    """[(host, peer, address)]: the source address of a connection from host to peer that the pg_hba rules of the peer would not allow.

    found: the result of changeover(). Checked only if one of the two changes its address: otherwise a rule in repmgr_pg_hba_extra may allow the connection.
    """
    result = []
    for record in records:
        own = addresses_of(records, record['name'])
        for entry in (record.get('observed') or {}).get('reach') or []:
            if entry.get('name') == record['name'] or not own or not set([record['name'], entry.get('name')]) & set(found['former']):
                continue
            result += [(record['name'], entry['name'], source) for source in entry.get('sources') or [] if source not in own]
    return result
