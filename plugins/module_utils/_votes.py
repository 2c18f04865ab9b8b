# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: which nodes vote on a promotion, and how many votes are a majority. repmgr-guard is told by guard.json, which `peers` makes."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type


def majority(votes):
    """How many of so many votes are more than half."""
    return votes // 2 + 1


def guard_voters(members, node_id, is_witness):
    """The members with a vote: every data node, and one witness if the number of data nodes is even.

    Of several witnesses it is the one with the lowest node id, so that every node and every report counts the same votes, in whatever order they
    have the members. node_id and is_witness take a member.
    """
    found = [member for member in members if not is_witness(member)]
    witnesses = sorted([member for member in members if is_witness(member)], key=node_id)
    return found + (witnesses[:1] if len(found) % 2 == 0 else [])


def peers(records, name, is_witness):
    """The peers of a host as guard.json lists them: [{name, node_id, conninfo, witness, vote}], in the order of records.

    records: {name, node_name, node_id, conninfo} of all members of the cluster. is_witness takes a record.
    """
    voters = guard_voters(records, lambda record: int(record['node_id']), is_witness)
    return [{
        'name': record['node_name'],
        'node_id': int(record['node_id']),
        'conninfo': record['conninfo'],
        'witness': is_witness(record),
        'vote': record in voters,
    } for record in records if record['name'] != name]
