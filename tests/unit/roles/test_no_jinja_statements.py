# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions are functions in plugins/, where they have tests of their own: no YAML has statements of Jinja, only expressions."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def statements(text):
    """The numbers of the lines with a statement."""
    return [number for number, line in enumerate(text.splitlines(), 1) if '{%' in line]


def test_yaml_has_expressions_alone():
    paths = [os.path.join(folder, name) for top in ('roles', 'playbooks') for folder, dummy, names in os.walk(os.path.join(ROOT, top))
             for name in names if name.endswith('.yml')] + glob.glob(os.path.join(ROOT, '*.yml'))
    assert len(paths) > 150
    found = []
    for path in sorted(paths):
        with open(path) as handle:
            found += ['%s:%d' % (os.path.relpath(path, ROOT), number) for number in statements(handle.read())]
    assert found == []


@pytest.mark.parametrize('text, found', [
    ('a: "{{ b }}"', []), ('a: >-\n  {% for b in c %}\n  {{ b }}\n  {%- endfor %}', [2, 4]), ('# {% set a = 1 %}', [1]), ("a: {b: '%'}", []),
])
def test_statements_are_found(text, found):
    assert statements(text) == found
