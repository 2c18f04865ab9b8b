# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who belongs to which cluster, in an inventory of several."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import json
import os
import re

import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def test_members_are_those_of_the_own_cluster(run):
    code, said, worked = run('site')
    assert (code, worked) == (0, [['a1', 'a2', 'b1', 'b2', 'b3', 'c1', 'c2']]), said
    assert said.count('members a1 a2;') == 2 and said.count('members b1 b2 b3;') == 3 and said.count('members c1 c2;') == 2


def test_a_cluster_that_is_named_is_whole(run):
    code, said, worked = run('site', '-e', 'cluster=b')
    assert (code, worked) == (0, [['b1', 'b2', 'b3']]), said
    assert said.count('members b1 b2 b3;') == 3


def test_part_of_a_cluster_is_refused_and_the_others_are_not(run):
    code, said, worked = run('site', '--limit', 'a1,b1,b3,c1,c2')
    assert (code, worked) == (2, [['c1', 'c2']]), said
    said = ' '.join(said.split())
    assert 'a1: cluster a is only partly in this run: a2 left out, expected all of its hosts' in said
    assert "b3: cluster b is only partly in this run: b2 left out" in said and "--limit 'b1,b3,b2'" in said


def tasks(value):
    """Every task of a file, those in blocks too."""
    for task in value or []:
        yield task
        for part in ('block', 'rescue', 'always', 'tasks', 'pre_tasks', 'post_tasks'):
            for found in tasks(task.get(part)):
                yield found


@pytest.mark.parametrize('path', sorted(glob.glob(os.path.join(ROOT, 'roles', '*', 'tasks', '*.yml'))))
def test_no_host_walks_over_the_hosts_of_all_clusters(path):
    with open(path) as handle:
        for task in tasks(yaml.safe_load(handle)):
            if not task.get('run_once'):
                assert not re.search(r"(ansible_play_(hosts|hosts_all|batch)|groups\b)[^}]*'extract'", json.dumps(task, default=str)), task['name']
