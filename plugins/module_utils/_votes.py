# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: which nodes have a vote on a promotion, how many votes are a majority, which standby is the best candidate, and which copy of repmgr.nodes counts.

repmgr-guard reads the votes from guard.json, which `peers` produces, and has its own copies of the other functions;
tests/unit/plugins/test_one_definition.py compares them.

Only registered nodes have a vote. A host that is only in the inventory could not vote until it is cloned, which may be never, and as a third data node it
would take the witness's vote away. A registered node that is not in the inventory does have a vote: it may be running, and if votes were left out, two
groups of nodes could each have a majority.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node


def majority(votes):
    """The smallest number of votes that is more than half."""
    return votes // 2 + 1


def lacking(positions, keeps):
    """The number of members for which a server may not have all WAL that they need next. Unknown values do not count.

    positions: {node id: position that the member has reached}. keeps: {node id: position from which the server has WAL for the member}.
    """
    return sum(1 for member, position in positions.items() if keeps.get(member) is not None and keeps[member] > position)


def rank(timeline, lsn, lacks, priority, node_id):
    """The sort key of a candidate; the greatest is promoted. What it has received comes first, so that no transaction is lost; then, fewest members that it
    `lacks` WAL for.
    """
    return (timeline or 0, lsn or 0, -lacks, priority, -node_id)


def voters(rows):
    """The registered nodes with a vote: every data node, and one witness if the number of data nodes is even.

    rows: [Node], the rows of repmgr.nodes, active or not. Of several witnesses the one with the lowest node id votes, so that the result does not depend
    on the order of the rows.
    """
    found = [row for row in rows if row.type != 'witness']
    witnesses = sorted([row for row in rows if row.type == 'witness'], key=lambda row: row.node_id)
    return found + (witnesses[:1] if len(found) % 2 == 0 else [])


def trust(witness, writable, timeline):
    """Sort key for copies of repmgr.nodes: the greatest one counts. That is a primary's on the newest timeline, then a standby's.

    A witness's copy comes last: its timeline is unrelated to that of the cluster, and it copies the rows only now and then.
    """
    return (writable and not witness, not witness, timeline or 0)


def registered(rows, records, joined):
    """[Node] in the order of records, including a row for each host that was registered after the rows were read; then the rows without a record.

    records: {name, node_name, node_id, initial_role} of the hosts of the inventory. joined: the names of the hosts that were registered later.
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

    rows: the result of `registered`. records: {name, node_id, address, port, conninfo} of the hosts of the inventory. name: the name of the host.
    keywords: the connection parameters for every peer except for its address and port; empty to use the conninfo of its record, or without a record, of
    its row.
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


def joined(results, records, registry):
    """{joined, new_voters}: the hosts that this run has registered, and those of them that are not in the registry that it has read before.

    results: {host: [the results of the module repmgr_node in this run]}. records: {name, node_name} of the hosts. registry: the rows of repmgr.nodes.
    """
    found = [record for record in records if any('rule' in result and not result.get('failed') for result in results[record['name']])]
    known = set(row['node_name'] for row in registry)
    return {'joined': [record['name'] for record in found], 'new_voters': [record['name'] for record in found if record['node_name'] not in known]}
