# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation agrees with the code: the rendered pages are complete, and everything that hand-written pages name exists."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re
import sys

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _apply, _plan
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, 'docs'))
import pages  # noqa: E402  pylint: disable=wrong-import-position


def read(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        return handle.read()


def rows(text):
    return [[cell.strip() for cell in line.strip('| ').split(' | ')] for line in text.splitlines() if line.startswith('| ')]


def test_every_rule_has_its_row():
    numbers = [row[0] for row in rows(pages.rules()) if row[0] != 'rule']
    assert numbers == ['%d' % rule.id for rule in _plan.RULES]


def test_a_row_says_when_why_and_what():
    row = [row for row in rows(pages.rules()) if row[0] == '505'][0]
    assert row[1:] == [
        'standby', 'data: partial<br>identity: none<br>recovery: none<br>server: stopped<br>upstream: none',
        'a clone was not finished, and a partial data directory is never started',
        '`check_space` → `move_aside` → `clone` → `start` → `register`']


def test_a_refusal_says_what_was_expected():
    row = [row for row in rows(pages.rules()) if row[0] == '207'][0]
    assert row[-1] == '**refused**, expected a primary. Set role to standby.'
    row = [row for row in rows(pages.rules()) if row[0] == '512'][0]
    assert row[-1] == ('**refused**, expected a standby, because another primary is running. '
                       'Bring it back by: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=*node_name*')


def test_every_action_and_word_of_the_table_is_explained():
    text = read('docs', 'architecture.md')
    words = set(re.findall(r'`([a-z_]+)`', text)) | set(row[0] for row in rows(text))
    actions = set(action for rule in _plan.RULES for action in rule.actions)
    conditions = set(name for rule in _plan.RULES for name in rule.when)
    assert actions - words == set() and conditions - words == set()
    assert set(_apply.ACTIONS) - words == set(), 'an action that no rule has can still be in a plan'


def test_every_problem_has_its_row():
    codes = set(re.findall(r"cluster\.problem\(\s*'(\w+)'", ''.join(pages.problem_files())))
    assert len(codes) > 30
    assert set(row[0].strip('`') for row in rows(pages.problems())) - {'code'} == codes


def test_a_problem_says_whether_it_stops_a_run_and_what_to_type():
    found = dict((row[0], row[1:]) for row in rows(pages.problems()))
    assert found['`stopped_standby`'] == ['its server is stopped', 'no', 'Type: ansible-playbook pgfleet.repmgr.site']
    assert found['`unreachable`'][1] == 'while there is no cluster yet'
    assert found['`old_timeline`'][2] == 'Type: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=HOST'
    assert found['`repmgrd_down`'][2] == 'Type on …: systemctl start repmgrd'
    assert found['`fuse_down`'][2].endswith(' / Type on …: systemctl enable --now repmgr-guard-fuse')


def test_every_variable_is_there_once():
    options = yaml.safe_load(read('roles', 'common', 'meta', 'argument_specs.yml'))['argument_specs']['main']['options']
    assert sorted(re.findall(r'^### (\w+)$', pages.variables(), re.M)) == sorted(options)


def test_a_variable_has_type_default_choices_and_description():
    text = pages.variables()
    found = text[text.index('### repmgr_auto_rejoin'):text.index('### repmgr_synchronous')]
    assert "*str*, default `rewind`, one of `rewind`, `attach`, `'off'`" in found
    assert 'Example: `repmgr_auto_rejoin: attach`.' in found


@pytest.mark.parametrize('name', pages.playbook_names())
def test_a_playbook_has_a_page_with_text_command_and_steps(name):
    text = pages.playbook(name)
    title, dummy, about = text.splitlines()[:3]
    assert title == '# %s' % name and about
    assert re.search(r'^ansible-playbook pgfleet\.repmgr\.%s( |$)' % name, text, re.M)
    assert re.search(r'^1\. ', text, re.M)


@pytest.mark.parametrize('name', pages.playbook_names())
def test_the_readme_has_every_playbook(name):
    assert '| `pgfleet.repmgr.%s` |' % name in read('README.md')


def test_what_is_written_by_hand_has_its_playbook():
    by_hand = set(os.path.splitext(name)[0] for name in os.listdir(os.path.join(ROOT, 'docs', 'playbooks')))
    assert by_hand - {'index'} <= set(pages.playbook_names())


def test_what_is_passed_with_e_is_in_the_table_with_the_playbooks_that_take_it():
    table = rows(read('docs', 'playbooks', 'index.md'))[1:]
    found = dict((name, (alias, of)) for names, aliases, of, dummy in table
                 for name, alias in zip(re.findall(r'`(\w+)`', names), re.findall(r'`(\w+)`', aliases)))
    assert dict((name, alias) for name, (alias, dummy) in found.items()) == dict(
        (name, argument.alias) for name, argument in _arguments.ARGUMENTS.items())
    for name, (dummy, of) in found.items():
        takes = set(playbook for playbook, (names, dummy2) in _arguments.PLAYBOOKS.items() if name in names)
        named = set(re.findall(r'`(\w+)`', of)) & set(_arguments.PLAYBOOKS)
        assert takes == (set(_arguments.PLAYBOOKS) - named if of.startswith('all') else named), name


def test_the_recordings_are_those_of_the_readme():
    """repmgr's output is known from these versions."""
    folder = os.path.join(ROOT, 'tests', 'recordings')
    found = sorted(name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, 'promoted.json')))
    assert 'repmgr %s and %s (`tests/recordings`)' % (', '.join(found[:-1]), found[-1]) in read('README.md')


def test_the_platforms_are_those_of_the_readme():
    """The tables of platforms in the README and in docs/platforms.md have to be changed together."""
    readme = read('README.md')
    tried = readme[readme.index('## What was tried'):readme.index('## How fast')]
    ran, not_run = tried.split('\nNot run: ')
    found = rows(read('docs', 'platforms.md').partition('## The matrix')[0])[1:]
    assert len(found) > 3
    for platform, dummy, run in found:
        assert all(name.strip() in (not_run if run.startswith('not run') else ran) for name in platform.split(',')), platform


@pytest.mark.parametrize('name', sorted(name for name in os.listdir(os.path.join(ROOT, 'docs')) if name.endswith('.md')))
def test_variables_in_the_text_exist(name):
    options = yaml.safe_load(read('roles', 'common', 'meta', 'argument_specs.yml'))['argument_specs']['main']['options']
    named = set(re.findall(r'variables\.md#(\w+)', read('docs', name)))
    assert named - set(options) == set()


@pytest.mark.parametrize('name', sorted(name for name in os.listdir(os.path.join(ROOT, 'docs')) if name.endswith('.md') and name != 'index.md'))
def test_a_page_is_linked_and_in_the_contents(name):
    index = read('docs', 'index.md')
    assert '(%s)' % name in index or name == 'contributing.md'
    assert name[:-3] in index.splitlines()


def test_the_glossary_has_each_term_once_and_in_order():
    entries = read('docs', 'glossary.md').partition('\n* ')[2].split('\n* ')
    terms = [re.match(r'\*\*([^*]+)\*\*( \([^)]+\))?: ', entry).group(1).lower() for entry in entries]
    assert len(terms) > 30 and terms == sorted(set(terms))
