# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of several folders can be run at once: pytest tests/unit/playbooks tests/unit/roles."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import collections
import io
import os
import re

UNIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sources():
    for folder, dummy, names in os.walk(UNIT):
        for name in names:
            if name.endswith('.py'):
                yield folder, name


def test_nothing_is_imported_from_a_conftest():
    """Each folder has one of that name, and which of them an import finds depends on what else is run."""
    found = []
    for folder, name in sources():
        with io.open(os.path.join(folder, name), encoding='utf-8') as handle:
            if re.search('^ *(from|import) conftest', handle.read(), re.M):
                found.append(name)
    assert found == [], 'import from a module with a name of its own, such as playbook_runs.py'


def test_no_two_modules_have_the_same_name():
    names = collections.Counter(name for dummy, name in sources() if name not in ('conftest.py', '__init__.py'))
    assert [name for name, count in names.items() if count > 1] == []
