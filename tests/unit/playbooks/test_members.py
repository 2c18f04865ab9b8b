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
    code, said, worked = run('site', '-e', 'repmgr_only=b')
    assert (code, worked) == (0, [['b1', 'b2', 'b3']]), said
    assert said.count('members b1 b2 b3;') == 3


def test_part_of_a_cluster_is_refused_and_the_others_are_not(run):
    code, said, worked = run('site', '--limit', 'a1,b1,b3,c1,c2')
    assert (code, worked) == (2, [['c1', 'c2']]), said
    said = ' '.join(said.split())
    assert 'a1: cluster a is only partly in this run: a2 left out or failed before this, expected all of its hosts' in said
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


@pytest.mark.parametrize('path', sorted(glob.glob(os.path.join(ROOT, 'playbooks', '*.yml'))))
def test_no_playbook_asks_a_host_before_all_are_on_record(path):
    """If Ansible gathered facts first, a host that does not answer would be missing from its cluster."""
    with open(path) as handle:
        assert all(play.get('gather_facts') is False for play in yaml.safe_load(handle))


def test_who_failed_before_is_no_stranger(run):
    code, said, worked = run('site', variables={'repmgr_address': "{{ nobody if inventory_hostname == 'b2' else 'x' }}"})
    assert (code, worked) == (2, [['a1', 'a2', 'c1', 'c2']]), said
    assert 'b1: cluster b is only partly in this run: b2 left out or failed before this' in ' '.join(said.split())


def test_a_serial_of_somebody_else_does_not_make_small_clusters(run):
    code, said, worked = run('site', serial=3)
    assert (code, worked) == (2, []), said
    assert 'a1: cluster a is only partly in this run: a2 left out' in ' '.join(said.split())


@pytest.mark.parametrize('playbook', ['add_node', 'remove_node'])
def test_the_firewalls_change_with_the_pg_hba_rules(playbook):
    """If the collection manages firewalls, they and pg_hba.conf must allow the same nodes at the same time."""
    with open(os.path.join(ROOT, 'playbooks', playbook + '.yml')) as handle:
        play, = [play for play in yaml.safe_load(handle) if play['name'] != 'Configure the proxies']
    included = dict((name, task['when']) for task in play['tasks'] if task.get('ansible.builtin.include_role', {}).get('name') == 'pgfleet.repmgr.server'
                    for name in task.get('loop') or [task['ansible.builtin.include_role']['tasks_from']])
    assert included['access'] in ('inventory_hostname != __repmgr_given.target', '__repmgr_renewed')
    assert included['firewall'] == 'repmgr_manage_firewall | bool and ' + included['access']
    # Who is added shuts nobody out.
    assert included.get('firewall_stale') == (included['firewall'] if playbook == 'remove_node' else None)


def test_add_node_tolerates_what_it_repairs():
    """Logins, and with repmgr_manage_firewall a port that a firewall closes. site.yml, and preflight for it, more."""
    tolerated = {}
    for playbook in ('add_node', 'site', 'preflight'):
        with open(os.path.join(ROOT, 'playbooks', playbook + '.yml')) as handle:
            plays = [play for play in yaml.safe_load(handle) if play['name'] != 'Configure the proxies']
            tolerated[playbook] = plays[-1]['vars']['__repmgr_tolerated']
    assert tolerated == {'add_node': '{{ __repmgr_repaired }}', 'site': '{{ __repmgr_applied }}', 'preflight': '{{ __repmgr_applied }}'}
