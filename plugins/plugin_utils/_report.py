# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the status of clusters -> one HTML page that needs no network and no script."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import math
import os

import jinja2
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _routes, _status, _topology

_TEMPLATE = os.path.join(os.path.dirname(__file__), 'report.html.j2')
# Width and height of a node and of the gaps between nodes in the drawing, in unscaled pixels.
_BOX = (196, 60)
_GAP = (52, 18)
# Maximal length of the name, and of the line below it.
_LETTERS = (19, 27)
# Signs, so that readers need not distinguish green from red.
_SIGNS = {'ok': u'\u2713', 'warn': '!', 'bad': u'\u2715', '': '?'}
_VERDICTS = {
    'healthy': ('ok', 'Healthy'), 'degraded': ('warn', 'Degraded'), 'no_primary': ('bad', 'No primary'), 'split_brain': ('bad', 'Two primaries'),
    'unknown': ('warn', 'Unknown'), 'absent': ('warn', 'No cluster yet')}


def page(found):
    """The result of cluster_status as a self-contained page. All text that comes from a server is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(level=_status.level, when=_status.when, size=_status.size)
    with open(_TEMPLATE, 'rb') as handle:
        template = environment.from_string(handle.read().decode('utf-8'))
    return template.render(found=found, clusters=[_cluster(view) for view in found['clusters']], signs=_SIGNS) + u'\n'


def _cluster(view):
    level, word = _VERDICTS.get(view['status'], ('warn', view['status']))
    return {
        'view': view, 'level': level, 'word': word, 'drawing': _drawing(view), 'nodes': [_row(view, node) for node in view['nodes']],
        'rest': view['counts'], 'proxies': _routes.columns(view),
        'tried': any(failed is not None for row in view['matrix'].values() for failed in row.values()),
    }


def _row(view, node):
    shown = [(heading, words, style if style != 'bold' else '') for heading, words, style in _status.columns(node)[1:]]
    days = node['certificate_days']
    asked = any(other['health'] for other in view['nodes'])
    return {
        'name': node['name'], 'level': _level(view, node), 'columns': shown + [
            ('server', node['version'] or '-', ''), ('certificate', '-' if days is None else '%d days' % days, ''), ('disk', _status.disk(node), '')]
        + ([('/primary',) + _routes.endpoint(node)] if asked else []),
        # A logarithmic scale: 1 GB fills the bar.
        'bar': min(100, round(math.log(node['lag_bytes'] + 1, 2) / 30 * 100)) if node['lag_bytes'] else 0,
    }


def _level(view, node):
    """The level of a node in one word: by its state, and if that is good, by repmgrd, the guard and its record."""
    if _status.level(node['state']) == 'bad' or any(
            node['name'] in problem['nodes'] for problem in view['problems'] if problem['code'] == 'split_brain'):
        return 'bad'
    levels = [_status.level(words or '?') for words in (node['state'], node['repmgrd'], node['guard'])]
    differs = '(' in _status.role(node) or '(' in _status.upstream(node)
    return 'warn' if differs or 'warn' in levels or 'bad' in levels else 'ok'


def _drawing(view):
    """The drawing of the replication topology, from left to right."""
    ids = dict((node['name'], node['node_id']) for node in view['nodes'])
    nodes = []
    for index, node in enumerate(view['nodes']):
        registered = (node['registered'] or {}).get('upstream')
        above = None if node['role'] == 'primary' else node['upstream'] or registered
        nodes.append({'node_id': index if node['node_id'] is None else node['node_id'], 'node_name': node['name'],
                      'upstream_node_id': ids.get(above), 'node': node})
    boxes, edges, at = [], [], {}
    for item, column, row in _topology.placed(nodes):
        left, top = 2 + column * (_BOX[0] + _GAP[0]), 2 + row * (_BOX[1] + _GAP[1])
        at[item['node_id']] = (left, top)
        boxes.append(_box(view, item['node'], left, top))
    for item in nodes:
        if item['upstream_node_id'] not in at:
            continue
        (left, top), (right, bottom) = at[item['upstream_node_id']], at[item['node_id']]
        begin, end = (left + _BOX[0], top + _BOX[1] / 2), (right, bottom + _BOX[1] / 2)
        if end[0] <= begin[0]:
            # The metadata have a cycle here, which cannot be drawn.
            continue
        half = (begin[0] + end[0]) / 2
        node = item['node']
        edges.append({
            'path': 'M%g %gC%g %g %g %g %g %g' % (begin + (half, begin[1], half, end[1]) + (end[0] - 7, end[1])),
            'tip': 'M%g %gl-9 -5v10z' % end, 'kind': 'broken' if not node['upstream'] else 'watches' if node['role'] == 'witness' else 'streams',
            'x': half, 'y': (begin[1] + end[1]) / 2})
    return {'boxes': boxes, 'edges': edges, 'width': max([box['left'] for box in boxes] or [0]) + _BOX[0] + 2,
            'height': max([box['top'] for box in boxes] or [0]) + _BOX[1] + 2, 'box': _BOX}


def _box(view, node, left, top):
    words = [node['role'] or (node['registered'] or {}).get('role') or 'node', node['state']]
    if words == ['primary', 'running']:
        words[1:] = ['timeline %s' % (node['timeline'] or '?')]
    elif words == ['standby', 'streaming']:
        words[1:] = [node['sync_state'] or 'streaming', _status.size(node['lag_bytes'])]
    return {'left': left, 'top': top, 'name': node['name'], 'short': _short(node['name'], _LETTERS[0]), 'level': _level(view, node),
            'words': _short(u' \u00b7 '.join(words), _LETTERS[1]), 'role': node['role'] or 'none'}


def _short(text, letters):
    return text if len(text) <= letters else text[:letters - 1] + u'\u2026'
