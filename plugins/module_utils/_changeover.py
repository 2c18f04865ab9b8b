# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what the inventory changes about how the nodes connect to each other, and whether the servers or their clients have to change first.

A connection has two ends, which change in different tasks. In between, and for ever where a run ends there, the end that has changed must get on with
the one that has not. A client without sslmode takes a server with TLS and one without; one that asks for TLS takes only the former, and one that verifies
takes only certificates of the authorities in its file.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo

# Where role tls keeps what the nodes trust with repmgr_tls: managed. The role adds to it; a file that was provided belongs to the user.
MANAGED_ROOT = '/etc/pgfleet/tls/root.crt'


def verified_by(text):
    """The file of authorities that a client verifies a server by; '' where it asks for TLS and takes any certificate, None where it does without TLS."""
    values = _conninfo.effective(_conninfo.parse_or_empty(text))
    root = values.get('sslrootcert') or ''
    if values['sslmode'] in ('verify-ca', 'verify-full'):
        return root or '~/.postgresql/root.crt'
    return root if values['sslmode'] == 'require' else None


def changeover(records):
    """{servers, roots, clients, begun, former, verified} of one cluster.

    servers: 'first' or 'last', when its servers get the TLS settings of the inventory; '' where all clients have them already. roots: files of other
    authorities than the inventory's by which clients verify. clients: the hosts with a client that would not take the servers of the inventory.
    begun: whether some node connects with the TLS settings of the inventory already, so that every host was ready for them.
    former: {host: [other addresses than its own that nodes connect to it by]}, verified: those of them that its certificate has to name.

    records: {name, node_id, node_name, address, tls, conninfo, observed} of the hosts of the inventory, conninfo as the inventory has it.
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
                # What is left of the time when a primary was a standby.
                continue
            if root is not None and wanted is None or root and root != wanted:
                clients.add(record['name'])
            if wanted is not None and root and root != wanted:
                roots.add(root)
            # Before PostgreSQL 12 a standby keeps what it was made with, which does no harm.
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
    """[(record, connection string)] of what a node knows and its guard has of other nodes. records: {node id as text: record}."""
    rows = [row for row in (observed.get('repmgr') or {}).get('nodes') or [] if (
        records.get('%s' % row.get('node_id')) or {}).get('node_name') == row.get('node_name')]
    rows += [peer for peer in (observed.get('guard') or {}).get('peers') or [] if '%s' % peer.get('node_id') in records]
    return [(records['%s' % row.get('node_id')], row.get('conninfo')) for row in rows]


def addresses_of(records, name):
    """What the address of a host resolves to on any of the nodes, which is what their pg_hba.conf lets in."""
    return set(address for record in records for entry in (record.get('observed') or {}).get('reach') or [] if entry.get('name') == name
               for address in entry.get('addresses') or [])


def taken(records, name, found):
    """The registered node whose address a host would get, as (host, address), or None. found: what changeover() returned.

    Nodes that have not changed over yet would take the one for the other.
    """
    ours = [record for record in records if record['name'] == name]
    mine = set(['%s' % ours[0].get('address')]) | addresses_of(records, name)
    for record in records:
        theirs = set(found['former'].get(record['name']) or [])
        if record['name'] != name and mine & theirs and '%s' % record.get('port') == '%s' % ours[0].get('port'):
            return record['name'], sorted(mine & theirs)[0]
    return None


def strangers(records, found):
    """[(host, peer, address)]: by which address a host would come to a peer that lets in others only. found: what changeover() returned.

    Asked only where one of the two changes its address: as long as nothing changes, a rule of the inventory's own may let it in.
    """
    result = []
    for record in records:
        own = addresses_of(records, record['name'])
        for entry in (record.get('observed') or {}).get('reach') or []:
            if entry.get('name') == record['name'] or not own or not set([record['name'], entry.get('name')]) & set(found['former']):
                continue
            result += [(record['name'], entry['name'], source) for source in entry.get('sources') or [] if source not in own]
    return result
