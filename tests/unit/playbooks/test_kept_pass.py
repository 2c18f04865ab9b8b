# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The removal of backups keeps the cipher pass that the inventory does not have: the tasks of roles/backup/tasks that remove files, on this host."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup
from playbook_runs import ROOT, inventory, playbook_run

PASS = 'S3cret=of/mine'
SETTINGS = {'repository': {'type': 'directory', 'path': '/srv/backup'}, 'cipher_pass': PASS}
CONF = '[global]\n' + ''.join('%s=%s\n' % item for item in _backup._writes_to(SETTINGS['repository'], PASS))


@pytest.mark.parametrize('conf, given, other', [
    (CONF, '', True), (CONF, None, True), (CONF, 'another', True), (CONF, PASS, False), ('', '', False), (None, '', False),
    ('[global]\nrepo1-path=/srv\n', '', False), ('[global]\nrepo1-host=r\nrepo1-host-port=22\n', '', False)])
def test_whether_it_is_another_one(conf, given, other):
    assert _backup.has_other_pass(conf, given) is other


def tasks(name):
    with open(os.path.join(ROOT, 'roles', 'backup', 'tasks', name)) as handle:
        found = yaml.safe_load(handle)
    found = found[0]['block'] if 'block' in found[0] else found
    names = [task['name'] for task in found]
    return found[names.index('Look for a cipher pass that the inventory does not have'):]


@pytest.mark.parametrize('given, kept', [('', True), (PASS, False)])
@pytest.mark.parametrize('book, conf', [('remove.yml', 'node.conf'), ('remove_host.yml', 'repository.conf')])
def test_the_file_with_it(tmp_path, book, conf, given, kept):
    folder = tmp_path / 'backup'
    folder.mkdir()
    for name in (conf, 'node.json', 'ssh', 'known_hosts'):
        (folder / name).write_text(CONF if name == conf else '{}')
    (folder / conf).chmod(0o640)
    inventory(tmp_path, {
        'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}',
        '__repmgr_backup_dir': str(folder), 'repmgr_backup_cipher_pass': given,
        '__repmgr_backup_found': {'files': []}, '__repmgr_backup_found_there': {'files': []}, '__repmgr_backup_host': 'r',
        '__repmgr_backup_configured': {'files': []}, '__repmgr_backup_program': str(tmp_path / 'program'), '__repmgr_failed_because': '?'})
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': tasks(book)}]))
    for dummy in range(2):
        code, said = playbook_run(tmp_path, 'play.yml', ['-vvv'])
        assert code == 0 and 'S3cret' not in said and ('%s is kept' % conf in said) is kept, said
        assert (os.listdir(str(folder)) if folder.exists() else []) == ([conf] if kept else [])
        assert not kept or ((folder / conf).read_text() == CONF and (folder / conf).stat().st_mode & 0o777 == 0o600)
    assert 'changed=0' in said, said
