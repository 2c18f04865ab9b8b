# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The password that rejoin gives to its target: that of the primary, and never a new one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from playbook_runs import PLAYBOOKS, inventory, playbook_run

BLOCK = '# BEGIN pgfleet.repmgr a\na1:5432:repmgr:repmgr:%s\n# END pgfleet.repmgr a\n'


def settle(folder, passfile, role='repmgr', password=''):
    if passfile is not None:
        (folder / '.pgpass').write_text(passfile)
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}', 'repmgr_password': password,
        '__repmgr_os_home': str(folder), '__repmgr_looks': True, '__repmgr_members': ['a1', 'a2'], '__repmgr_primary': {'name': 'a1'},
        '__repmgr_given': {'target': 'a2'}, '__repmgr_rejoin': {'lacks': ['logins']}, '__repmgr_record': {'observed': {'repmgr': {'role': role}}}})
    tasks = [{'import_role': {'name': 'pgfleet.repmgr.repmgr_install', 'tasks_from': 'known_password'}},
             {'name': 'given', 'debug': {'msg': "given {{ hostvars['a1'].__repmgr_secret | hash('md5') }}"}}]
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1,a2', 'gather_facts': False, 'tasks': tasks}]))
    code, said = playbook_run(folder, 'play.yml', ['-vvv'])
    return code, ' '.join(said.split())


@pytest.mark.parametrize('passfile', [BLOCK % 'S3cret', 'other:5432:*:repmgr:Other\n' + BLOCK % 'S3cret', 'a1:5432:repmgr:repmgr:S3cret\n'],
                         ids=['block', 'beside', 'by hand'])
def test_what_the_primary_logs_in_with(tmp_path, passfile):
    code, said = settle(tmp_path, passfile, password='T0psecret')
    assert code == 0 and 'given 06bf3b78441d8642bb0607c993dc4a12' in said and 'S3cret' not in said and 'T0psecret' not in said, said


@pytest.mark.parametrize('passfile, role', [
    (None, 'repmgr'), ('', 'repmgr'), ('a1:5432:repmgr:somebody:S3cret\n', 'repmgr'),
    # It is there, and the server did not take it: the observation came in over the socket.
    (BLOCK % 'S3cret', 'postgres'), (BLOCK % 'S3cret', None)])
@pytest.mark.parametrize('password', ['', 'T0psecret'], ids=['none', 'other'])
def test_none_is_made(tmp_path, passfile, role, password):
    code, said = settle(tmp_path, passfile, role, password)
    assert code == 2 and 'Nothing was changed' in said and '.pgpass.next' in said and 'TASK [given]' not in said, said
    assert 'S3cret' not in said and 'T0psecret' not in said, said


def test_it_is_settled_before_anything_is_changed():
    with open(os.path.join(PLAYBOOKS, 'rejoin.yml')) as handle:
        tasks = yaml.safe_load(handle)[-1]['tasks']
    parts = [(task.get('ansible.builtin.include_role') or task.get('ansible.builtin.import_role') or {}).get('tasks_from') for task in tasks]
    parts = [part for part in parts if part not in (None, 'stop')]
    assert parts[:3] == ['look', 'decide', 'known_password'] and 'password' not in parts
    # What is repaired is repaired only where something lacks.
    for task in tasks:
        if task.get('ansible.builtin.include_role', {'tasks_from': 'stop'})['tasks_from'] not in ('stop', 'renew'):
            assert '__repmgr_rejoin.lacks | length > 0' in task['when'], task['name']
