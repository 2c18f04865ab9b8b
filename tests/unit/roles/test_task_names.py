# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays, tasks and handlers have names that say what they do: an imperative verb first."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os

import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PATTERNS = ('site.yml', 'playbooks/*.yml', 'roles/*/tasks/*.yml', 'roles/*/handlers/*.yml', 'examples/*/playbooks/*.yml', 'molecule/*/*.yml',
            'molecule/*/*/*.yml')
FILES = sorted(os.path.relpath(path, ROOT) for pattern in PATTERNS for path in glob.glob(os.path.join(ROOT, pattern)))
INNER = ('pre_tasks', 'tasks', 'post_tasks', 'handlers', 'block', 'rescue', 'always')
LONGEST = 80

# A new verb is welcome here. A noun is not, nor a participle: "Server restarted" is no task.
VERBS = frozenset('''
    Add Allow Attach Authorize Break Bring Change Check Choose Clone Combine Compare Compute Configure Copy Create Delete Deploy Determine Disable Distribute
    Download Drop Enable End Exchange Explain Fail Fetch Find Gather Generate Get Grant Group Import Include Initialize Install Issue Kill List Load Look
    Make Mask Merge Move Open Pause Prepare Promote Put Query Read Reboot Reconnect Record Register Rejoin Release Reload Remove Rename Renew Repair Replace
    Report Restart Restore Resume Revoke Rewind Rotate Run Set Show Sign Skip Start Stop Switch Tell Test Trust Unmask Unpause Unregister Update Upgrade Use
    Validate Verify Wait Warn Work Write
'''.split())


def named(entries):
    """Everything that is a play or a task, those of blocks and plays included."""
    for entry in entries:
        yield entry
        for key in INNER:
            for inner in named(entry.get(key) or []):
                yield inner


def problem(entry):
    """What is wrong with the name of a play or task, or ''."""
    name = entry.get('name')
    if name is None:
        return '' if 'block' in entry else 'has no name: %s' % ', '.join(sorted(entry))
    first = name.split()[0].rstrip(',')
    if first not in VERBS:
        return '"%s" does not begin with a verb of the list' % name
    return '"%s" is longer than %d characters' % (name, LONGEST) if len(name) > LONGEST else ''


def read(path):
    with open(os.path.join(ROOT, path)) as handle:
        return yaml.safe_load(handle)


def test_names_begin_with_a_verb():
    found = []
    for path in FILES:
        entries = read(path)
        # molecule/ has inventories and configuration, too.
        if isinstance(entries, list):
            found += ['%s: %s' % (path, wrong) for wrong in map(problem, named(entries)) if wrong]
    assert found == [], '\n'.join(found)


def examples():
    """(path, YAML) of the examples in the documentation of modules and filters."""
    for path in sorted(glob.glob(os.path.join(ROOT, 'plugins', 'modules', '*.py'))):
        with open(path) as handle:
            yield os.path.relpath(path, ROOT), handle.read().partition('EXAMPLES = r"""')[2].partition('"""')[0]
    for path in sorted(glob.glob(os.path.join(ROOT, 'plugins', 'filter', '*.yml'))):
        yield os.path.relpath(path, ROOT), read(path)['EXAMPLES']


def test_names_of_examples_begin_with_a_verb():
    found = []
    for path, text in examples():
        entries = list(named(yaml.safe_load(text)))
        assert entries, path
        found += ['%s: %s' % (path, wrong) for wrong in map(problem, entries) if wrong]
    assert found == [], '\n'.join(found)


def test_all_kinds_of_files_are_looked_at():
    for pattern in PATTERNS:
        assert glob.glob(os.path.join(ROOT, pattern)), pattern


@pytest.mark.parametrize('entry, wrong', [
    ({'name': 'Install the guard'}, ''),
    ({'name': 'Install, configure and start the guard'}, ''),
    ({'block': []}, ''),
    ({'name': 'The guard watches'}, 'does not begin with a verb'),
    ({'name': 'Switchover'}, 'does not begin with a verb'),
    ({'name': 'restart the guard'}, 'does not begin with a verb'),
    ({'name': 'Restart ' + 'x' * LONGEST}, 'is longer'),
    ({'ansible.builtin.meta': 'end_host'}, 'has no name: ansible.builtin.meta'),
    ({'block': [], 'name': 'Certificates'}, 'does not begin with a verb'),
])
def test_what_is_wrong_with_a_name(entry, wrong):
    assert wrong in problem(entry) and bool(wrong) == bool(problem(entry))


def test_tasks_inside_of_plays_and_blocks_count():
    plays = [{'name': 'Deploy', 'tasks': [{'name': 'a', 'block': [{'name': 'b'}], 'rescue': [{'name': 'c'}], 'always': [{'name': 'd'}]}],
              'handlers': [{'name': 'e'}]}]
    assert sorted(entry['name'] for entry in named(plays)) == ['Deploy', 'a', 'b', 'c', 'd', 'e']
