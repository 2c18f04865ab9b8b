# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A handler that did not run, because its host failed or the run was interrupted, is made up for by the next run, which finds the file up to date."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import getpass
import os

import pytest
import yaml

from playbook_runs import ROOT, inventory, playbook_run


def load(*path):
    with open(os.path.join(ROOT, 'roles', *path)) as handle:
        return yaml.safe_load(handle)


def of_repmgrd():
    tasks = load('repmgr_install', 'tasks', 'conf.yml')
    return tasks, tasks[1]['block'][1], load('repmgr_install', 'handlers', 'main.yml')


def of_the_guard():
    install = load('guard', 'tasks', 'install.yml')
    for name in ('owner', 'group'):
        install[0]['ansible.builtin.copy'].pop(name)
    handlers = [handler for handler in load('guard', 'handlers', 'main.yml') if 'fuse' not in handler['name']]
    return install + noted('guard'), install[1], handlers


def of_the_fuse():
    install = [task for task in load('guard', 'tasks', 'watch.yml') if task['name'] in (
        'Record that the fuse runs an earlier program', 'Install the fuse')]
    for name in ('owner', 'group'):
        install[0]['ansible.builtin.copy'].pop(name)
    handlers = [handler for handler in load('guard', 'handlers', 'main.yml') if 'fuse' in handler['name']]
    return install + noted('fuse'), install[1], handlers


def noted(program):
    return [task for task in load('guard', 'tasks', 'main.yml') if task['name'] == 'Report that the %s runs an earlier program' % program]


@pytest.fixture(params=[of_repmgrd, of_the_guard, of_the_fuse], ids=['repmgrd', 'guard', 'fuse'])
def parts(request):
    return request.param


def run(folder, parts, stale, fails=False):
    """The tasks and handlers as they are, with a file instead of what they write and of the reload."""
    tasks, write, handlers = parts()
    for module in ('ansible.builtin.template', 'ansible.builtin.copy'):
        write.pop(module, None)
    write['ansible.builtin.copy'] = {'content': 'new', 'dest': str(folder / 'repmgr.conf')}
    handlers[0].pop('ansible.builtin.systemd')
    handlers[0]['ansible.builtin.copy'] = {'content': '{{ lookup("file", "%s") }}' % (folder / 'repmgr.conf'), 'dest': str(folder / 'read')}
    marker = folder / 'marker'
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', '__repmgr_changes_over': False, '__repmgr_stale': stale,
        '__repmgr_os_user': getpass.getuser(), '__repmgr_conf': str(folder / 'repmgr.conf'), '__repmgr_watched': {
            'repmgrd to reload': str(marker), 'guard to restart': str(marker), 'fuse to restart': str(marker)},
        '__repmgr_guard_is_old': bool(stale), '__repmgr_guard_seen': {'running': True},
        '__repmgr_fuse_is_old': bool(stale), '__repmgr_fuse_seen': {'running': True},
        '__repmgr_record': {'observed': {'files': {str(marker): 'x'} if marker.exists() else {}, 'repmgr': {'repmgrd': {'running': True}}}}})
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'handlers': handlers, 'tasks': tasks + (
        [{'ansible.builtin.fail': {'msg': 'broken'}}] if fails else [])}]))
    code, said = playbook_run(folder, 'play.yml', [])
    assert (code == 0) is not fails, said
    return said


def test_a_daemon_that_has_not_read_its_file_is_told_by_the_next_run(tmp_path, parts):
    run(tmp_path, parts, ['repmgr.conf'], fails=True)
    assert (tmp_path / 'repmgr.conf').read_text() == 'new' and not (tmp_path / 'read').exists()
    run(tmp_path, parts, [])
    assert (tmp_path / 'read').read_text() == 'new' and not (tmp_path / 'marker').exists()
    said = run(tmp_path, parts, [])
    assert 'changed=0' in said, said


def test_a_run_that_ends_well_leaves_nothing(tmp_path, parts):
    run(tmp_path, parts, ['repmgr.conf'])
    assert (tmp_path / 'read').read_text() == 'new' and not (tmp_path / 'marker').exists()
