# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role backup looks at before it changes anything: whether the host of the repository answers, its folder, and the cipher pass that it has."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import getpass
import os

import pytest
import yaml

from playbook_runs import ROOT, inventory, playbook_run

SECRET = 'a pass that nobody may see'


def run(folder, repository_host, files=('/node.json',), repository=None, os_user=None):
    """The tasks on cluster a, whose repository is on a fourth host."""
    place = folder / 'etc'
    place.mkdir(exist_ok=True)
    variables = {
        'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}',
        '__repmgr_record': {'initial_role': 'standby', 'name': '{{ inventory_hostname }}', 'observed': {'files': dict.fromkeys(files, '')}}}
    inventory(folder, variables)
    with (folder / 'hosts.yml').open('a') as handle:
        handle.write(yaml.safe_dump({'backup': {'hosts': {'r1': repository_host}}}))
    with open(os.path.join(ROOT, 'roles', 'backup', 'vars', 'main.yml')) as handle:
        given = yaml.safe_load(handle)
    given.update(
        __repmgr_backup_tool='pgbackrest', __repmgr_backup_hosts=['r1'], __repmgr_backup_dir=str(place), __repmgr_os_user=os_user or getpass.getuser(),
        __repmgr_files={'node.json': '/node.json'}, __repmgr_members=['a1', 'a2'], repmgr_backup_cipher_pass=SECRET,
        repmgr_backup_repository=repository or {'path': str(folder / 'repository')})
    (folder / 'play.yml').write_text(yaml.safe_dump([{'name': 'Check', 'hosts': 'a1:a2', 'gather_facts': False, 'vars': given, 'tasks': [
        {'name': 'Check the place', 'ansible.builtin.include_tasks': os.path.join(ROOT, 'roles', 'backup', 'tasks', 'check.yml')},
        {'name': 'Show that it goes on', 'ansible.builtin.debug': {'msg': 'goes on: {{ __repmgr_backup_answers | bool }}'}}]}]))
    code, text = playbook_run(folder, 'play.yml', ['-vvv'])
    # Nor the file that has it, as slurp returns it.
    for spelling in (SECRET, base64.b64encode(b'[global]\n').decode().rstrip('=')):
        assert spelling not in text, text
    return code, text


# Nobody listens there.
GONE = {'ansible_connection': 'ssh', 'ansible_host': '127.0.0.1', 'ansible_port': 1}


def test_what_is_set_up_goes_on_without_the_host_of_the_repository(tmp_path):
    code, text = run(tmp_path, GONE)
    assert code == 0 and text.count('goes on: False') == 2 and 'does not answer. What it has is left as it is' in text, text


def test_nothing_begins_without_the_host_of_the_repository(tmp_path):
    code, text = run(tmp_path, GONE, files=())
    assert code != 0 and 'goes on: ' not in text and 'are not set up yet on a1, a2' in text, text


@pytest.mark.parametrize('conf, refused', [(SECRET, False), ('another', True), (None, False)])
def test_another_pass_ends_it_on_all_nodes(tmp_path, conf, refused):
    (tmp_path / 'repository').mkdir()
    (tmp_path / 'etc').mkdir()
    if conf:
        (tmp_path / 'etc' / 'repository.conf').write_text('[global]\nrepo1-path=%s\nrepo1-cipher-pass=%s\n' % (tmp_path / 'repository', conf))
    code, text = run(tmp_path, {})
    assert (code != 0) is refused and text.count('r1: repmgr_backup_cipher_pass is another one') == 2 * refused and text.count('goes on: ') == 2 * (
        not refused), text


def test_a_folder_of_somebody_else_is_not_taken(tmp_path):
    (tmp_path / 'repository' / '.hidden').mkdir(parents=True)
    code, text = run(tmp_path, {}, os_user='nobody')
    assert code != 0 and 'belongs to %s and has .hidden' % getpass.getuser() in text and 'goes on: ' not in text, text


@pytest.mark.parametrize('code, ready', [(0, True), (1, False)])
def test_who_has_configured_the_repository_and_whether_it_is_ready(tmp_path, code, ready):
    """Both are asked of all hosts, most of which have nothing to say."""
    with open(os.path.join(ROOT, 'roles', 'backup', 'tasks', 'repository.yml')) as handle:
        task, = [task for task in yaml.safe_load(handle) if '__repmgr_backup_made_ready' in task.get('vars', {})]
    inventory(tmp_path, {'ansible_connection': 'local', '__repmgr_record': {'initial_role': 'standby', 'name': '{{ inventory_hostname }}'}})
    with open(os.path.join(ROOT, 'roles', 'backup', 'vars', 'main.yml')) as handle:
        given = dict(yaml.safe_load(handle), __repmgr_members=['a1', 'a2'])
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'name': 'Check', 'hosts': 'a1:a2', 'gather_facts': False, 'vars': given, 'tasks': [
        {'name': 'Set what only one has', 'ansible.builtin.set_fact': {'__repmgr_backup_host_keys': {}, '__repmgr_backup_created': {'rc': code}},
         'when': 'inventory_hostname == "a2"'},
        {'name': 'Show both', 'vars': task['vars'],
         'ansible.builtin.debug': {'msg': 'by {{ __repmgr_backup_spoke }}, ready {{ __repmgr_backup_made_ready | bool }}'}}]}]))
    done, text = playbook_run(tmp_path, 'play.yml', [])
    assert done == 0 and text.count('by a2, ready %s' % ready) == 2, text


@pytest.mark.parametrize('conf, refused', [(SECRET, False), ('another', True)])
def test_where_data_nodes_write_to_the_repository_each_looks_at_its_own_configuration(tmp_path, conf, refused):
    (tmp_path / 'etc').mkdir()
    (tmp_path / 'etc' / 'node.conf').write_text('[global]\nrepo1-path=/nfs/backup\nrepo1-cipher-pass=%s\n' % conf)
    code, text = run(tmp_path, GONE, repository={'type': 'directory', 'path': '/nfs/backup'})
    assert (code != 0) is refused and text.count('goes on: True') == 2 * (not refused), text
    for name in ('a1', 'a2'):
        assert ('%s: repmgr_backup_cipher_pass is another one' % name in text) is refused
