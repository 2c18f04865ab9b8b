# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what `_adopt.adopt` found as the text of an inventory, and as a report for people."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps

GROUPS = ('primary', 'standby', 'witness')
# A scalar that no version of YAML takes for anything but this text.
_PLAIN = re.compile(r'[A-Za-z_/][A-Za-z0-9_./-]*\Z')
_WORDS = ('true', 'false', 'yes', 'no', 'on', 'off', 'null', 'y', 'n', 'none', 'nan', 'inf')
_FIRST = ('ansible_host', 'repmgr_cluster_name', 'repmgr_node_id', 'repmgr_node_name', 'repmgr_address', 'repmgr_upstream')


def scalar(value):
    """A value as YAML has it. What looks like a template is none."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (int, float)):
        return '%s' % value
    if isinstance(value, dict):
        return '{%s}' % ', '.join('%s: %s' % (scalar(name), scalar(value[name])) for name in sorted(value)) if value else '{}'
    if isinstance(value, (list, tuple)):
        return '[%s]' % ', '.join(scalar(item) for item in value)
    text = '%s' % (value,)
    if _PLAIN.match(text) and text.lower() not in _WORDS:
        return text
    found = re.sub(u'[\x7f-\xa0\u2028\u2029\ufeff]', lambda match: '\\u%04x' % ord(match.group()), json.dumps(text, ensure_ascii=False))
    return '!unsafe ' + found if re.search('{{|{%|{#', text) else found


def inventory(found):
    """The text of a file that ansible-inventory reads."""
    clusters = found['clusters']
    shared = _shared([node['connection'] for cluster in clusters for node in cluster['nodes']])
    lines = ['# Found by the playbook adopt on what was running. What is not here is as the collection has it by default: docs/variables.md.']
    lines += ['# PROBLEM %s' % _one_line(problem['message']) for problem in found['problems']]
    lines += ['all:']
    variables = dict(shared)
    comments = {}
    if len(clusters) == 1:
        variables.update(clusters[0]['variables'])
        comments = clusters[0]['comments']
    if variables:
        lines += ['  vars:'] + _variables(variables, comments, 4)
    lines += ['  children:']
    if len(clusters) > 1:
        for number, cluster in enumerate(clusters):
            # A group may not have the name of a host or of another group.
            lines += ['    cluster_%s_%d:' % (re.sub('[^A-Za-z0-9]', '_', cluster['name']), number + 1),
                      '      vars:'] + _variables(cluster['variables'], cluster['comments'], 8)
            lines += ['      hosts:'] + ['        %s:' % scalar(node['name']) for node in cluster['nodes']]
    for group in GROUPS:
        nodes = [node for cluster in clusters for node in cluster['nodes'] if node['group'] == group]
        if nodes:
            lines += ['    %s:' % group, '      hosts:']
        for node in nodes:
            own = dict((name, value) for name, value in node['connection'].items() if name not in shared)
            lines += ['        # %s' % _one_line(node['seen']), '        %s:' % scalar(node['name'])]
            lines += _variables(dict(own, **node['variables']), node['comments'], 10)
    return '\n'.join(lines) + '\n'


def _shared(connections):
    """The variables that all hosts have with the same value."""
    if not connections:
        return {}
    return dict((name, value) for name, value in connections[0].items()
                if name != 'ansible_host' and all(name in other and other[name] == value for other in connections))


def _variables(variables, comments, indent):
    lines = []
    for name in sorted(variables, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        if name in comments:
            lines.append('%s# %s' % (' ' * indent, _one_line(comments[name])))
        lines.append('%s%s: %s' % (' ' * indent, name, scalar(variables[name])))
    return lines


def _one_line(text):
    return re.sub(u'[\\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+', ' ', text)


def report(found):
    """What was found and what site.yml would do with it, in words."""
    lines = []
    for cluster in found['clusters']:
        lines.append('%s: primary %s, %d nodes' % (cluster['name'], cluster['primary'] or '(none)', len(cluster['nodes'])))
        said = {}
        for node in cluster['nodes']:
            lines.append('  %s: %s' % (node['name'], node['seen']))
            for entry in node['report']:
                said.setdefault((entry['what'], entry['seen'], entry['site']), []).append(node['name'])
        for (what, seen, site), names in said.items():
            lines.append('  %s (%s)' % (what, 'all nodes' if len(names) == len(cluster['nodes']) else ', '.join(names)))
            lines += ['    is:   %s' % _one_line(seen), '    site: %s' % site]
    if not found['clusters']:
        lines.append('no cluster was found')
    if found['problems']:
        lines += ['', 'problems'] + ['  %s' % problem['message'] for problem in found['problems']]
    return lines


def next_steps(path):
    """What to type after it, in order."""
    if not path:
        return ['next: write it to a file by -e repmgr_adopt_to=FILE, and look at what would change']
    return ['next: %s -i %s' % (_steps.render(_steps.playbook('preflight')), _steps.quoted(path)),
            'then: %s -i %s' % (_steps.render(dict(_steps.playbook('site', check=True))) + ' --diff', _steps.quoted(path))]
