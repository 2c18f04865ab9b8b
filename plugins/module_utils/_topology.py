# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the replication topology of a cluster as text or as a Mermaid diagram."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type


def _ordered(nodes):
    """[(node, path)] from the top down. A node whose upstream is unknown, or that is its own upstream by a cycle, is at the top.

    path: for each level, whether the node, or its ancestor on this level, is the last child.
    """
    known = dict((node['node_id'], node) for node in nodes)
    below = {}
    for node in sorted(nodes, key=lambda item: item['node_id']):
        upstream = node.get('upstream_node_id')
        below.setdefault(upstream if upstream in known else None, []).append(node)
    ordered, seen = [], set()

    def visit(node, path):
        if node['node_id'] in seen:
            return
        seen.add(node['node_id'])
        ordered.append((node, path))
        children = below.get(node['node_id'], [])
        for index, child in enumerate(children):
            visit(child, path + (index == len(children) - 1,))

    for node in below.get(None, []):
        visit(node, ())
    for node in sorted(nodes, key=lambda item: item['node_id']):
        # The remaining nodes form cycles, which repmgr's metadata do not rule out.
        visit(node, ())
    return ordered


def placed(nodes):
    """[(node, column, row)] for a drawing from left to right: each node is in the middle of its children."""
    ordered = _ordered(nodes)
    rows, last = {}, -1
    # The descendants of a node are the deeper nodes that follow it, up to the first that is not deeper. Leaves get the rows, then parents, bottom up.
    for index in range(len(ordered)):
        follower = ordered[index + 1] if index + 1 < len(ordered) else None
        if follower is None or len(follower[1]) <= len(ordered[index][1]):
            last += 1
            rows[index] = last
    for index in reversed(range(len(ordered))):
        if index not in rows:
            depth, below = len(ordered[index][1]), []
            for other in range(index + 1, len(ordered)):
                if len(ordered[other][1]) <= depth:
                    break
                if len(ordered[other][1]) == depth + 1:
                    below.append(rows[other])
            rows[index] = (below[0] + below[-1]) / 2
    return [(node, len(path), rows[index]) for index, (node, path) in enumerate(ordered)]


def _words(node):
    """The description of a node, without its name."""
    words = [node.get('type') or 'unknown', 'id %s' % node['node_id']]
    if node.get('active') is False:
        words.append('inactive')
    if node.get('location') not in (None, '', 'default'):
        words.append('location %s' % node['location'])
    if node.get('priority') is not None and node.get('type') == 'standby' and node['priority'] <= 0:
        words.append('never promoted')
    return ', '.join(words)


def tree(nodes):
    """
    a (primary, id 1)
    |-- b (standby, id 2)
    `-- w (witness, id 4)
    """
    lines = []
    for node, path in _ordered(nodes):
        prefix = ''.join('    ' if last else '|   ' for last in path[:-1])
        branch = ('`-- ' if path[-1] else '|-- ') if path else ''
        lines.append('%s%s%s (%s)' % (prefix, branch, node['node_name'], _words(node)))
    return '\n'.join(lines)


_SHAPES = {'primary': ('[[', ']]'), 'witness': ('([', '])')}


def mermaid(nodes):
    """A flowchart: solid arrows are streaming replication, a dotted arrow points to a witness."""
    lines = ['flowchart TD']
    known = set(node['node_id'] for node in nodes)
    ordered = [node for node, dummy in _ordered(nodes)]
    for node in ordered:
        left, right = _SHAPES.get(node.get('type'), ('[', ']'))
        lines.append('    n%s%s"%s<br>%s"%s' % (node['node_id'], left, _escaped(node['node_name']), _escaped(_words(node)), right))
    for node in ordered:
        if node.get('upstream_node_id') in known:
            arrow = '-.->' if node.get('type') == 'witness' else '-->'
            lines.append('    n%s %s n%s' % (node['upstream_node_id'], arrow, node['node_id']))
    inactive = ['n%s' % node['node_id'] for node in ordered if node.get('active') is False]
    if inactive:
        lines.append('    classDef inactive stroke-dasharray: 4')
        lines.append('    class %s inactive' % ','.join(inactive))
    return '\n'.join(lines)


def login_matrix(table):
    """
    from \\ to  a             b
    a          -             ok
    b          no ssh, sql   -
    """
    names = sorted(set(table) | set(peer for row in table.values() for peer in row))
    rows = [['from \\ to'] + names]
    for name in names:
        row = table.get(name) or {}
        rows.append([name] + ['-' if peer == name else '?' if peer not in row else ', '.join(row[peer]) or 'ok' for peer in names])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _escaped(text):
    # Mermaid needs these characters as entities.
    for char, entity in (('#', '#35;'), ('"', '#quot;'), ('<', '#lt;'), ('>', '#gt;')):
        text = text.replace(char, entity)
    return text
