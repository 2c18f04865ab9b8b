# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a handler has not done, because its host failed or the run was ended before: the next run finds the file as it should be."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import getpass
import os

import yaml

from conftest import ROOT, inventory, playbook_run


def load(*path):
    with open(os.path.join(ROOT, 'roles', 'repmgr_install', *path)) as handle:
        return yaml.safe_load(handle)


def run(folder, stale, fails=False):
    """The tasks and handlers as they are, with a file instead of the template and of the reload."""
    tasks, handlers = load('tasks', 'conf.yml'), load('handlers', 'main.yml')
    write = tasks[1]['block'][1]
    write.pop('ansible.builtin.template')
    write['ansible.builtin.copy'] = {'content': 'new', 'dest': str(folder / 'repmgr.conf')}
    handlers[0].pop('ansible.builtin.systemd')
    handlers[0]['ansible.builtin.copy'] = {'content': '{{ lookup("file", "%s") }}' % (folder / 'repmgr.conf'), 'dest': str(folder / 'read')}
    marker = folder / 'marker'
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', '__repmgr_changes_over': False, '__repmgr_stale': stale,
        '__repmgr_os_user': getpass.getuser(), '__repmgr_conf': str(folder / 'repmgr.conf'), '__repmgr_watched': {'repmgrd to reload': str(marker)},
        '__repmgr_record': {'observed': {'files': {str(marker): 'x'} if marker.exists() else {}, 'repmgr': {'repmgrd': {'running': True}}}}})
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'handlers': handlers, 'tasks': tasks + (
        [{'ansible.builtin.fail': {'msg': 'broken'}}] if fails else [])}]))
    code, said = playbook_run(folder, 'play.yml', [])
    assert (code == 0) is not fails, said
    return said


def test_a_daemon_that_has_not_read_its_file_is_told_by_the_next_run(tmp_path):
    run(tmp_path, ['repmgr.conf'], fails=True)
    assert (tmp_path / 'repmgr.conf').read_text() == 'new' and not (tmp_path / 'read').exists()
    run(tmp_path, [])
    assert (tmp_path / 'read').read_text() == 'new' and not (tmp_path / 'marker').exists()
    said = run(tmp_path, [])
    assert 'changed=0' in said, said


def test_a_run_that_ends_well_leaves_nothing(tmp_path):
    run(tmp_path, ['repmgr.conf'])
    assert (tmp_path / 'read').read_text() == 'new' and not (tmp_path / 'marker').exists()
