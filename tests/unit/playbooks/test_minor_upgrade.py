# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr and its extension come before any server restarts. The order of the nodes is in tests/unit/plugins/module_utils/test_upgrade.py."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from playbook_runs import PLAYBOOKS, ROOT, inventory, playbook_run


def load(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        return yaml.safe_load(handle)


def test_the_extension_comes_before_the_restarts_and_the_nodes_are_observed_in_between():
    parts = [(task.get('ansible.builtin.include_role') or task.get('ansible.builtin.import_role') or {}).get('tasks_from')
             for task in load(PLAYBOOKS, 'minor_upgrade.yml')[-1]['tasks']]
    assert [part for part in parts if part] == ['look', 'decide', 'stop', 'extension', 'observe_again', 'rolling', 'observe_again', 'show']


def test_what_a_node_gets_in_its_turn():
    """As tests/unit/plugins/module_utils/test_upgrade.py goes by."""
    tasks = load('roles', 'server', 'tasks', 'extension_one.yml')
    modules = [[name for name in task if '.' in name][0].rpartition('.')[2] for task in tasks]
    assert modules == ['include_role', 'package', 'postgresql_ext', 'systemd', 'repmgr_cluster_info', 'assert']
    assert tasks[3]['ansible.builtin.systemd'] == {'name': 'repmgrd', 'state': 'restarted'} and 'when' not in tasks[3]
    assert tasks[2]['community.postgresql.postgresql_ext']['version'] == 'latest'


@pytest.mark.parametrize('codes, primary, goes_on', [
    ([], 'a1', True), (['not_streaming'], 'a1', False), (['restart_pending'], 'a1', True), (['old_extension'], 'a1', True),
    # What else is wrong keeps servers from being restarted, and nothing else.
    (['old_extension', 'stopped_ex_primary'], 'a1', True), (['stopped_ex_primary'], 'a1', False), (['old_extension'], None, False),
])
def test_a_cluster_that_is_not_whole(tmp_path, codes, primary, goes_on):
    play = load(PLAYBOOKS, 'minor_upgrade.yml')[-1]
    check, = [task for task in play['tasks'] if task['name'] == 'Stop if the cluster is not healthy']
    assert check.pop('ansible.builtin.include_role')['tasks_from'] == 'stop'
    check['ansible.builtin.fail'] = {'msg': '{{ __repmgr_stops }}'}
    check['vars']['__repmgr_mended'] = '{{ mended }}'
    inventory(tmp_path, {
        'ansible_connection': 'local', '__repmgr_no_hindrance': ['restart_pending'], 'mended': [code for code in codes if code == 'old_extension'],
        '__repmgr_cluster': {'primary': primary, 'summary': 'degraded', 'problems': [{'code': code, 'message': code} for code in codes]}})
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
        'hosts': 'a1', 'gather_facts': False, 'vars': {'__repmgr_hindrances': play['vars']['__repmgr_hindrances']}, 'tasks': [check]}]))
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert (code == 0) is goes_on, said


@pytest.mark.parametrize('family, rc, goes_on', [('Debian', 0, True), ('Debian', 100, False), ('RedHat', 0, True), ('RedHat', 100, True), ('RedHat', 1, False)])
def test_a_package_manager_that_fails_ends_the_run_before_any_change(tmp_path, family, rc, goes_on):
    """apt-get exits with 100 where packages are broken, and yum where there are newer ones."""
    play = load(PLAYBOOKS, 'minor_upgrade.yml')[-1]
    ask, = [task for task in play['tasks'] if task.get('register') == '__repmgr_newer']
    for name in ('apt-get', 'yum'):
        (tmp_path / name).write_text('#!/bin/sh\nexit %d\n' % rc)
        (tmp_path / name).chmod(0o755)
    ask = yaml.safe_load(yaml.safe_dump(ask).replace("ansible_facts[''os_family'']", 'family').replace("ansible_facts['os_family']", 'family'))
    ask['environment'] = {'PATH': '%s:/usr/bin:/bin' % tmp_path}
    inventory(tmp_path, {
        'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', 'family': family,
        '__repmgr_upgraded_packages': ['repmgr']})
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': [ask]}]))
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert (code == 0) is goes_on, said
