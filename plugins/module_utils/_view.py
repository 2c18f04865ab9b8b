# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The input of a plan for one node: its observation, the live primary, the metadata to use, and its upstream."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _observe, _place, _reach
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError


def sender_node_id(observed, nodes, resolve_timeout=2):
    """(id or None, whether it streams): the registered node that this standby streams from, or is configured to stream from.

    Addresses are compared as text first, and then by what they resolve to, because host names and IP addresses may be mixed. resolve_timeout: seconds.
    """
    receiver = observed.receiver or {}
    streaming = receiver.get('status') == 'streaming'
    values = _conninfo.parse_or_empty(receiver.get('conninfo') or observed.server.settings.get('primary_conninfo') or '')
    host = receiver.get('sender_host') or _conninfo.address(values)
    port = str(receiver.get('sender_port') or values.get('port') or '5432')
    if not host:
        return None, streaming
    candidates = []
    for node in nodes:
        target = _conninfo.parse_or_empty(node.conninfo)
        if str(target.get('port') or '5432') == port:
            candidates.append((node.node_id, _conninfo.address(target) or ''))
    for node_id, address in candidates:
        if address == host:
            return node_id, streaming
    resolved = _reach.resolve([host] + [address for dummy, address in candidates if address], resolve_timeout)
    wanted = set(resolved[host][0])
    for node_id, address in candidates:
        if address and wanted & set(resolved[address][0]):
            return node_id, streaming
    return None, streaming


class View:
    """The input of a plan for one node."""

    def __init__(self, observed, primary, primary_error, metadata, upstream_id, streaming, primary_conninfo, moved=False):
        self.observed = observed
        self.primary = primary
        self.primary_error = primary_error
        self.metadata = metadata
        self.upstream_id = upstream_id
        self.streaming = streaming
        self.primary_conninfo = primary_conninfo
        self.moved = moved          # whether it streams from the right node by an address that is no longer registered

    def summary(self, node_id):
        """The state of the node, for the values `before` and `after` of the result."""
        server = self.observed.server
        own = [row for row in self.metadata or [] if row.node_id == node_id]
        return {
            'data': self.observed.data.state,
            'server': server.state,
            'in_recovery': server.in_recovery,
            'timeline': server.timeline,
            'system_identifier': self.observed.system_identifier,
            'streaming_from': self.upstream_id if self.streaming else None,
            'record': own[0].to_dict() if own else None,
        }


def view(runner, psql, place, role, node_id, primary_conninfo=None, upstream_conninfo=None):
    """Observe a node and the live primary, and choose the metadata to use (View)."""
    observed = _observe.observe_local(runner, psql, place)
    own = (_place.read_config(place.config_file) or {}).get('conninfo') or ''
    rows = observed.nodes
    if not primary_conninfo:
        known = [row for row in rows or [] if row.type == 'primary' and row.active and row.node_id != node_id]
        if known:
            primary_conninfo = _observe.usable(known[0].conninfo, own)
    primary, error = None, ''
    if primary_conninfo:
        primary, error = _observe.observe_remote(psql, 'primary', primary_conninfo)
        if primary is None:
            primary = False
    metadata = rows
    if role != 'primary':
        metadata = primary.nodes if primary else rows
    upstream_id, streaming = None, False
    if observed.server.sql and observed.server.in_recovery:
        upstream_id, streaming = sender_node_id(observed, metadata or [])
    moved = streaming and upstream_id is None and _sends(psql, upstream_conninfo or primary_conninfo, place.name)
    return View(observed, primary, error, metadata, upstream_id, streaming, primary_conninfo, moved)


def _sends(psql, conninfo, node_name):
    """Whether the upstream at `conninfo` reports that it sends WAL to this node."""
    try:
        return bool(conninfo) and psql.streams(conninfo, node_name)
    except PsqlError:
        return False
