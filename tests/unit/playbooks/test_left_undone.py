# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A handler that did not run, because its host failed or the run was interrupted, is made up for by the next run, which finds the file up to date."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import getpass
import grp
import os

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files
from playbook_runs import ROOT, inventory, playbook_run


def load(*path):
    with open(os.path.join(ROOT, 'roles', *path)) as handle:
        return yaml.safe_load(handle)


def written_by(tasks, path):
    """The task of those that writes a file, with that file alone."""
    for task in tasks:
        entries = [entry for entry in task.get('pgfleet.repmgr.repmgr_files', {}).get('files', []) if entry['path'] == path]
        if entries:
            task['pgfleet.repmgr.repmgr_files']['files'] = entries
            return task
    raise KeyError(path)


def of_repmgrd():
    tasks = load('repmgr_install', 'tasks', 'conf.yml')
    return tasks, written_by(tasks, '{{ __repmgr_conf }}'), load('repmgr_install', 'handlers', 'main.yml')


def of_the_guard():
    return installed('guard', [handler for handler in load('guard', 'handlers', 'main.yml') if 'fuse' not in handler['name']])


def of_the_fuse():
    return installed('fuse', [handler for handler in load('guard', 'handlers', 'main.yml') if 'fuse' in handler['name']])


def installed(program, handlers):
    tasks = load('guard', 'tasks', 'main.yml')
    write = written_by(tasks, '{{ __repmgr_%s }}' % program)
    return [write] + [task for task in tasks if task['name'] == 'Report that the %s has to be restarted with its new program' % program], write, handlers


@pytest.fixture(params=[of_repmgrd, of_the_guard, of_the_fuse], ids=['repmgrd', 'guard', 'fuse'])
def parts(request):
    return request.param


def run(folder, parts, fails=False):
    """The tasks and handlers as they are, with another content, and with a copy of it instead of the reload."""
    tasks, write, handlers = parts()
    conf, marker = folder / 'repmgr.conf', folder / 'marker'
    group = grp.getgrgid(os.getegid()).gr_name
    entry, = write['pgfleet.repmgr.repmgr_files']['files']
    for name in ('template', 'content_base64'):
        entry.pop(name, None)
    entry.update(path=str(conf), content='new', owner=getpass.getuser(), group=group)
    handlers[0].pop('ansible.builtin.systemd')
    handlers[0]['ansible.builtin.copy'] = {'content': '{{ lookup("file", "%s") }}' % conf, 'dest': str(folder / 'read')}
    seen = dict((str(path), _files.state_of(str(path))) for path in (conf, marker) if path.exists())
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', '__repmgr_changes_over': False,
        '__repmgr_os_user': getpass.getuser(), '__repmgr_conf': str(conf), '__repmgr_watched': {
            'repmgrd to reload': str(marker), 'guard to restart': str(marker), 'fuse to restart': str(marker)},
        '__repmgr_guard_seen': {'running': True}, '__repmgr_fuse_seen': {'running': True},
        '__repmgr_record': {'observed': {'files': seen, 'repmgr': {'repmgrd': {'running': True}}}}})
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'handlers': handlers, 'tasks': tasks + (
        [{'ansible.builtin.fail': {'msg': 'broken'}}] if fails else [])}]))
    code, said = playbook_run(folder, 'play.yml', [])
    assert (code == 0) is not fails, said
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason='the note belongs to root')
def test_a_daemon_that_has_not_read_its_file_is_told_by_the_next_run(tmp_path, parts):
    run(tmp_path, parts, fails=True)
    assert (tmp_path / 'repmgr.conf').read_text() == 'new' and not (tmp_path / 'read').exists()
    run(tmp_path, parts)
    assert (tmp_path / 'read').read_text() == 'new' and not (tmp_path / 'marker').exists()
    said = run(tmp_path, parts)
    assert 'changed=0' in said, said


@pytest.mark.skipif(os.geteuid() != 0, reason='the note belongs to root')
def test_a_run_that_ends_well_leaves_nothing(tmp_path, parts):
    run(tmp_path, parts)
    assert (tmp_path / 'read').read_text() == 'new' and not (tmp_path / 'marker').exists()
