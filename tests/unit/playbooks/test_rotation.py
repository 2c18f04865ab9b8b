# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order in which rotate_credentials decides and changes."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def included():
    """[(role, file, condition)] of what the playbook includes, in its order."""
    with open(os.path.join(ROOT, 'playbooks', 'rotate_credentials.yml')) as handle:
        tasks = yaml.safe_load(handle)[-1]['tasks']
    found = [(task.get('ansible.builtin.include_role'), task.get('when')) for task in tasks]
    return [(role['name'].rpartition('.')[2], role['tasks_from'], when) for role, when in found if role]


def test_a_password_that_is_not_new_is_refused_before_any_change():
    assert [found for found in included() if found[:2] != ('common', 'stop')][:2] == [
        ('common', 'settled', None), ('repmgr_install', 'next_password', "'password' in __repmgr_given.credentials")]
    with open(os.path.join(ROOT, 'roles', 'repmgr_install', 'tasks', 'next_password.yml')) as handle:
        assert 'ansible.builtin.assert' in yaml.safe_load(handle)[-1]


def test_check_mode_begins_no_rotation():
    """Each of its steps needs the files that the one before it has made."""
    rotations = [(role, when) for role, tasks, when in included() if tasks == 'rotate']
    assert [role for role, dummy in rotations] == ['ssh_mesh', 'tls', 'repmgr_install']
    assert [role for role, when in rotations if not when.endswith(' and not ansible_check_mode')] == []
