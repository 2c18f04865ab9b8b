# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first task of each playbook checks the extra variables, without any connection to hosts."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PLAYBOOKS = sorted(glob.glob(os.path.join(ROOT, 'playbooks', '*.yml')))
# A dictionary cannot be given as NAME=VALUE: its own problem is said besides.
NEEDED = {'repmgr_target': 'a1', 'repmgr_maintenance': 'unpause', 'repmgr_leave': 'a', 'repmgr_restore': 'x'}


def name_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def needed(playbook):
    return ''.join(' %s=%s' % (name, NEEDED[name]) for name in _arguments.PLAYBOOKS[playbook][1])


@pytest.mark.parametrize('path', PLAYBOOKS, ids=name_of)
def test_it_is_the_first_task(path):
    with open(path) as handle:
        play = yaml.safe_load(handle)[0]
    task = (play.get('pre_tasks') or play['tasks'])[0]
    assert task['pgfleet.repmgr.repmgr_arguments'] == {'playbook': name_of(path)}
    assert (task['register'], task['run_once']) == ('__repmgr_given', True)
    assert 'pre_tasks' in play or 'roles' not in play


@pytest.mark.parametrize('path', [path for path in PLAYBOOKS if name_of(path) != 'adopt'], ids=name_of)
def test_a_misspelt_cluster_ends_the_run(original, path):
    code, said = original(name_of(path), '-e', 'repmgr_only=b,x%s' % needed(name_of(path)))
    assert code == 2, said
    assert "repmgr_only is 'b,x', expected one or more of a, b, c, separated by commas. Run again with -e repmgr_only=NAME." in said
    assert 'Nothing was changed.' in said and 'UNREACHABLE' not in said and said.count('TASK [') == 1, said


@pytest.mark.parametrize('playbook, options, words', [
    ('switchover', 'repmgr_target=typo', "repmgr_target is 'typo', expected one of a1, a2, b1, b2, b3, c1, c2."),
    ('failover', 'target=typo', "target is 'typo', expected one of a1, a2, b1, b2, b3, c1, c2."),
    ('remove_node', '', 'repmgr_target is not set, expected one of a1, a2, b1, b2, b3, c1, c2.'),
    ('site', 'repmgr_failover_profil=fast', 'repmgr_failover_profil is not a variable of this collection, expected repmgr_failover_profile.'),
])
def test_other_words(original, playbook, options, words):
    code, said = original(playbook, *(['-e', options] if options else []))
    assert code == 2 and words in said and 'UNREACHABLE' not in said, said


def test_no_file_is_overwritten_and_no_host_is_asked(original, tmp_path):
    (tmp_path / 'there.yml').write_text('old')
    code, said = original('adopt', '-e', 'repmgr_adopt_to=there.yml')
    assert code == 2 and 'which is there already; expected a new file' in ' '.join(said.split()) and 'UNREACHABLE' not in said, said
    assert (tmp_path / 'there.yml').read_text() == 'old'


def test_hosts_that_nobody_reaches_are_no_inventory(original, tmp_path):
    code, said = original('adopt', '-e', 'repmgr_adopt_to=new.yml')
    assert code == 2 and ' '.join(said.split()).count('could not be looked at') >= 7 and 'Traceback' not in said, said
    assert not (tmp_path / 'new.yml').exists()


def test_an_inventory_variable_with_a_short_name_has_no_effect(run, original):
    names = dict((argument.alias, 'prod') for argument in _arguments.ARGUMENTS.values())
    code, said, worked = run('site', variables=names)
    assert (code, worked) == (0, [['a1', 'a2', 'b1', 'b2', 'b3', 'c1', 'c2']]), said
    code, said = original('switchover', variables=names)
    assert code == 2 and 'repmgr_target is not set' in said, said


@pytest.mark.parametrize('options', ['cluster=b', 'repmgr_only=b', '{"repmgr_only": ["b"]}'])
def test_the_clusters_that_are_named_take_part(run, options):
    code, said, worked = run('site', '-e', options)
    assert (code, worked) == (0, [['b1', 'b2', 'b3']]), said


def test_a_target_means_its_cluster(run):
    code, said, worked = run('switchover', '-e', 'repmgr_target=c2')
    assert (code, worked) == (0, [['c1', 'c2']]), said


def test_a_number_is_a_name(run):
    code, said, worked = run('site', '-e', 'repmgr_only=15', cluster=15)
    assert (code, worked) == (0, [['a1', 'a2']]), said
