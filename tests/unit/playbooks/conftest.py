# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

import pytest
import yaml

from playbook_runs import PLAYBOOKS, inventory, playbook_run


@pytest.fixture
def original(tmp_path):
    """original(playbook, *options, variables={}) -> (rc, output): run the unchanged playbook on hosts that cannot be connected to."""
    def runs(playbook, *options, variables=None):
        inventory(tmp_path, dict({'ansible_connection': 'ssh', 'ansible_ssh_executable': '/bin/false'}, **(variables or {})))
        return playbook_run(tmp_path, os.path.join(PLAYBOOKS, playbook + '.yml'), options)
    return runs


@pytest.fixture
def run(tmp_path):
    """run(playbook, *options, fails=regex, variables={}, serial=number, cluster=name of a) -> (rc, output, [hosts that worked, batch by batch])

    Runs the plays of the playbook, with their tasks replaced by one that fails on some hosts.
    """
    if os.path.isdir(os.path.join(PLAYBOOKS, 'callback_plugins')):
        (tmp_path / 'callback_plugins').symlink_to(os.path.join(PLAYBOOKS, 'callback_plugins'))

    def runs(playbook, *options, fails='-', variables=None, serial=None, cluster=None):
        inventory(tmp_path, dict({'ansible_connection': 'local', 'ansible_become': False}, **(variables or {})), cluster)
        with open(os.path.join(PLAYBOOKS, playbook + '.yml')) as handle:
            plays = [play for play in yaml.safe_load(handle) if play['name'] != 'Configure the proxies']
        play = plays[-1]
        for part in ('roles', 'post_tasks'):
            play.pop(part, None)
        arguments = [task for task in play['tasks'] if 'pgfleet.repmgr.repmgr_arguments' in task]
        play['tasks'] = arguments + [
            {'name': 'look', 'include_role': {'name': 'pgfleet.repmgr.common', 'tasks_from': 'inventory'}},
            {'name': 'worked', 'ansible.builtin.debug': {'msg': 'members {{ __repmgr_members | sort | join(" ") }};'}},
            {'name': 'broken', 'ansible.builtin.fail': {'msg': 'broken'}, 'when': "inventory_hostname is match('%s')" % fails},
        ]
        play['serial'] = serial or play.get('serial', [])
        (tmp_path / 'play.yml').write_text(yaml.safe_dump(plays))
        code, said = playbook_run(tmp_path, 'play.yml', options)
        worked = [sorted(re.findall(r'^ok: \[(\w+)\]', part.partition('\nTASK')[0], re.M)) for part in said.split('TASK [worked]')[1:]]
        return code, said, worked
    return runs
