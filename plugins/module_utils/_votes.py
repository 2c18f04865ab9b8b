# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: which nodes vote on a promotion, how many votes are a majority, who is the best candidate, and whose records of the nodes count.

repmgr-guard is told of votes by guard.json, which `peers` makes, and has copies of the rest; tests/unit/plugins/test_one_definition.py compares them.

Only a registered node votes. A host that the inventory merely lists would be a vote that nobody sees, for as long as its clone takes or for ever, and
as a third data node it would take the witness's vote away. A registered node that the inventory does not list votes: it may be alive, and a majority
of fewer votes than there are could be there twice.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node


def majority(votes):
    """How many of so many votes are more than half."""
    return votes // 2 + 1


def lacking(positions, keeps):
    """For how many members a server may not have all WAL that they need next: {node id: position}, what they have, and from where on it keeps it for each.

    What is not known counts for nothing.
    """
    return sum(1 for member, position in positions.items() if keeps.get(member) is not None and keeps[member] > position)


def rank(timeline, lsn, lacks, priority, node_id):
    """The greatest is promoted: first who has received most, for no row may be lost; of equals one that `lacks` WAL for fewer members."""
    return (timeline or 0, lsn or 0, -lacks, priority, -node_id)


def voters(rows):
    """The registered nodes with a vote: every data node, and one witness if the number of data nodes is even.

    rows: [Node], the rows of repmgr.nodes, active or not. Of several witnesses it is the one with the lowest node id, so that every node and every
    report counts the same votes, in whatever order they have the rows.
    """
    found = [row for row in rows if row.type != 'witness']
    witnesses = sorted([row for row in rows if row.type == 'witness'], key=lambda row: row.node_id)
    return found + (witnesses[:1] if len(found) % 2 == 0 else [])


def trust(witness, writable, timeline):
    """Of several copies of repmgr.nodes that with the greatest counts: a primary's, on the newest timeline, then a standby's.

    A witness's comes last. It is a server of its own, whose timeline says nothing of the cluster's, and it copies the rows now and then only.
    """
    return (writable and not witness, not witness, timeline or 0)


def registered(rows, records, joined):
    """[Node]: the rows, and a row for each host that was registered after they were read, in the order of records; then those that have no record.

    records: {name, node_name, node_id, initial_role} of the hosts of the inventory. joined: the names of those hosts.
    """
    known = dict((row.node_id, row) for row in rows)
    found = []
    for record in records:
        row = known.pop(int(record['node_id']), None)
        if row is None and record['name'] in joined:
            row = Node(node_id=int(record['node_id']), node_name=record['node_name'],
                       type='witness' if record['initial_role'] == 'witness' else 'standby')
        found += [] if row is None else [row]
    return found + [row for dummy, row in sorted(known.items())]


def peers(rows, records, name, keywords=None):
    """The peers of a host as guard.json lists them: [{name, node_id, conninfo, witness, vote}], in the order of rows.

    rows: what `registered` returns. records: {name, node_id, address, port, conninfo} of the hosts of the inventory. name: the host's. keywords: how
    to connect to every peer, apart from its address and port; empty for the conninfo of its record, or of its row where it has none.
    """
    listed = dict((int(record['node_id']), record) for record in records)
    own = [int(record['node_id']) for record in records if record['name'] == name]
    votes = voters(rows)
    found = []
    for row in rows:
        record = listed.get(row.node_id)
        conninfo = record['conninfo'] if record else row.conninfo
        if keywords:
            there = _conninfo.parse_or_empty(row.conninfo)
            conninfo = _conninfo.build(dict(
                keywords, host=record['address'] if record else _conninfo.address(there), port=record['port'] if record else there.get('port')))
        found.append({'name': row.node_name, 'node_id': row.node_id, 'conninfo': conninfo, 'witness': row.type == 'witness', 'vote': row in votes})
    return [peer for peer in found if peer['node_id'] not in own]
