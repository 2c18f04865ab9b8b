# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order in which rotate_credentials decides and changes, and which password is the next one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

import pytest
import yaml

from playbook_runs import inventory, playbook_run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def included():
    """[(role, file, condition)] of what the playbook includes, in its order."""
    with open(os.path.join(ROOT, 'playbooks', 'rotate_credentials.yml')) as handle:
        tasks = [play for play in yaml.safe_load(handle) if play['name'] != 'Configure the proxies'][-1]['tasks']
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


@pytest.mark.parametrize('given, begun, expected', [
    ('', None, '[A-Za-z0-9]{40}'), ('', 'other', 'other'), ('mine', 'other', 'mine'),
    # Ended after it had copied the file, and before it wrote another password into it.
    ('', 'old', '[A-Za-z0-9]{40}'),
])
def test_which_password_is_the_next_one(tmp_path, given, begun, expected):
    for name, password in (('passfile', 'old'), ('passfile.next', begun)):
        if password is not None:
            (tmp_path / name).write_text('10.0.0.1:5432:repmgr:repmgr:%s\n' % password)
    inventory(tmp_path, {
        'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', 'repmgr_password': given, 'repmgr_user': 'repmgr',
        '__repmgr_passfile': str(tmp_path / 'passfile'), '__repmgr_primary': {'name': 'a1'}, '__repmgr_cluster': {'logins': {}}})
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1:a2', 'gather_facts': False, 'tasks': [
        {'ansible.builtin.include_tasks': os.path.join(ROOT, 'roles', 'repmgr_install', 'tasks', 'next_password.yml')},
        {'ansible.builtin.debug': {'msg': '<{{ hostvars["a1"].__repmgr_secret }}>'}}]}]))
    code, said = playbook_run(tmp_path, 'play.yml', [])
    assert code == 0, said
    assert re.search('<%s>' % expected, said), said
