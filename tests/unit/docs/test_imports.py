# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which file imports which: by the layers of docs/imports.py, and in no circle."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import sys
from xml.etree import ElementTree

import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, 'docs'))
import imports  # noqa: E402  pylint: disable=wrong-import-position
import pages  # noqa: E402  pylint: disable=wrong-import-position

EDGES = imports.graph()
TABLES = imports.tables(pages.table).splitlines()
UTILS = 'ansible_collections.pgfleet.repmgr.plugins.module_utils'


def test_the_graph_is_there():
    assert {'_cluster', '_readiness', '_state'} <= EDGES['_verdict'] and EDGES['guard/fuse'] == set()
    assert {'guard/answers', 'guard/questions'} <= EDGES['guard/votes'] and EDGES['guard/__main__'] == {'guard/main'}
    assert len(EDGES) > 45 and sum(len(found) for found in EDGES.values()) > 120


def test_every_file_has_a_layer_and_imports_what_its_layer_may():
    assert imports.problems(EDGES) == []


def test_nothing_is_imported_in_a_circle():
    assert imports.cycle(EDGES) is None


def test_a_layer_may_import_lower_ones_only():
    names = [layer.name for layer in imports.LAYERS]
    home = dict((name, layer.name) for layer in imports.LAYERS for name in layer.files)
    for number, layer in enumerate(imports.LAYERS):
        assert set(home.get(word, word) for word in layer.may) <= set(names[:number]), layer.name


@pytest.mark.parametrize('text, found', [
    ('from %s import _plan, _steps\n' % UTILS, {'_plan', '_steps'}),
    ('from %s._plan import RULES\n' % UTILS, {'_plan'}),
    ('def late():\n    from %s import _verdict\n' % UTILS, {'_verdict'}),
    ('try:\n    import %s._lsn\nexcept ImportError:\n    pass\n' % UTILS, {'_lsn'}),
    ('from %s import _report\n' % UTILS.replace('module_utils', 'plugin_utils'), {'plugin_utils/_report'}),
    ('from pgfleet_guard.votes import majority, names\ndef late():\n    from pgfleet_guard.watch import watch\n', {'guard/votes', 'guard/watch'}),
    ('import json\nfrom ansible.module_utils.basic import AnsibleModule\n', set()),
])
def test_how_imports_are_found(text, found):
    assert imports.imported(text) == found


@pytest.mark.parametrize('name, other', [
    ('_limits', '_state'), ('_lsn', '_verdict'), ('_conninfo', '_votes'), ('_votes', '_verdict'), ('_steps', '_state'), ('_command', '_psql'),
    ('_plan', '_observe'), ('_verdict', '_psql'), ('_apply', '_verdict'), ('modules/repmgr_node', 'plugin_utils/_refusal'), ('guard/votes', '_votes'),
    ('guard/votes', 'guard/locks'), ('action/repmgr_node', '_apply'),
])
def test_an_import_that_is_not_allowed_is_found(name, other):
    found = imports.problems(dict(EDGES, **{name: EDGES[name] | {other}}))
    assert len(found) == 1 and found[0].startswith('%s (' % name) and ' imports %s (' % other in found[0]


def test_a_circle_is_found():
    assert imports.cycle(dict(EDGES, _verdict=EDGES['_verdict'] | {'_removal'})) == ['_removal', '_verdict', '_removal']
    assert imports.cycle(dict(EDGES, _lsn={'_lsn'})) == ['_lsn', '_lsn']


def test_a_file_without_a_layer_is_found():
    assert imports.problems(dict(EDGES, _new=set())) == ['_new is in no layer of docs/imports.py']


def test_the_metrics_program_is_given_all_that_it_imports():
    with open(os.path.join(ROOT, 'roles', 'metrics', 'vars', 'main.yml')) as handle:
        parts = yaml.safe_load(handle)['__repmgr_metrics_parts']
    needed, more = set(), set(EDGES['metrics/metrics'])
    while more:
        needed |= more
        more = set().union(*(EDGES[name] for name in more)) - needed
    assert sorted(parts) == sorted(needed)
    assert all(parts.index(other) < parts.index(name) for name in parts for other in EDGES[name]), 'each after those that it needs'


def test_what_is_left_out_of_the_picture_follows_from_what_is_in_it():
    def below(name, edges):
        return set().union(*(set([other]) | below(other, edges) for other in edges[name]))
    lines = imports.reduced(EDGES)
    assert all(below(name, lines) == below(name, EDGES) for name in EDGES)
    assert sum(len(found) for found in lines.values()) < sum(len(found) for found in EDGES.values())


def test_the_picture_has_every_file_and_every_line():
    tree = ElementTree.fromstring(imports.drawing())
    space = '{http://www.w3.org/2000/svg}'
    assert set(EDGES) <= set(node.text for node in tree.iter(space + 'text'))
    lines = [node for node in tree.iter(space + 'path') if node.get('marker-end')]
    assert len(lines) == sum(len(found) for found in imports.reduced(EDGES).values())


@pytest.mark.parametrize('name', sorted(EDGES))
def test_every_file_says_what_it_is_for(name):
    about = imports.purpose(imports.sources()[name])
    path = os.path.relpath(str(imports.sources()[name]), ROOT)
    assert len(about) > 15
    row, = [line for line in TABLES if line.startswith('| `%s` |' % path)]
    assert about[:40].split('|')[0] in row
    assert all('`%s`' % other in row for other in EDGES if name in EDGES[other])
