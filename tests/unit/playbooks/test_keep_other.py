# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file of the operator's at a place where the collection writes one is kept as a copy, and one of the collection's own is not."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import getpass
import glob
import grp
import os

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files
from playbook_runs import ROOT, inventory, playbook_run


@pytest.mark.parametrize('content, other', [
    (b'# Ansible managed\nDefaults x\n', False), (b'#!/usr/bin/python3\n# Ansible managed\n', False), (b'', False), (b' \n', False),
    (b'Defaults x\n', True), (b'a\nb\n# Ansible managed\n', True), (b'# Ansible managed by hand\n', True), (b'\xff\xfe', True)])
def test_is_other(content, other):
    assert _files.is_other(content) is other


def entries():
    """{template: whether its file is kept} of the files that may have the name of one of the operator's."""
    found = {}
    for path in glob.glob(os.path.join(ROOT, 'roles', '*', 'tasks', '*.yml')):
        with open(path) as handle:
            for task in yaml.safe_load(handle) or []:
                for entry in (task.get('pgfleet.repmgr.repmgr_files') or {}).get('files') or []:
                    if isinstance(entry, dict) and entry.get('template'):
                        found[entry['template']] = (
                            entry.get('keep_other'), os.path.join(os.path.dirname(os.path.dirname(path)), 'templates', entry['template']))
    return found


def test_which_are_kept():
    found = entries()
    kept = [name for name, (keeps, dummy) in found.items() if keeps]
    assert sorted(kept) == ['repmgr.conf.j2', 'repmgrd.service.j2', 'settings.conf.j2', 'sudoers.j2']
    for name in kept:
        with open(found[name][1], 'rb') as handle:
            assert not _files.is_other(handle.read()), name


def test_before_it_is_replaced(tmp_path):
    names = ('theirs', 'ours', 'new', 'unasked')
    (tmp_path / 'theirs').write_text('postgres ALL=(root) NOPASSWD: ALL\n')
    (tmp_path / 'theirs').chmod(0o440)
    (tmp_path / 'ours').write_text('# Ansible managed\nold\n')
    (tmp_path / 'unasked').write_text('theirs\n')
    inventory(tmp_path, {'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}'})
    files = [{'path': str(tmp_path / name), 'content': '# Ansible managed\nnew\n', 'owner': getpass.getuser(),
              'group': grp.getgrgid(os.getgid()).gr_name, 'keep_other': name != 'unasked'} for name in names]
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': [{'pgfleet.repmgr.repmgr_files': {'files': files}}]}]))
    assert playbook_run(tmp_path, 'play.yml', ['--check'])[0] == 0 and not glob.glob(str(tmp_path / '*.before-pgfleet'))
    for changed in ('changed=1', 'changed=0'):
        code, said = playbook_run(tmp_path, 'play.yml', [])
        assert code == 0 and changed in said, said
        assert [name for name in sorted(os.listdir(str(tmp_path))) if 'before' in name] == ['theirs.before-pgfleet']
        copy = tmp_path / 'theirs.before-pgfleet'
        assert copy.read_text() == 'postgres ALL=(root) NOPASSWD: ALL\n' and copy.stat().st_mode & 0o777 == 0o440
        assert all((tmp_path / name).read_text() == '# Ansible managed\nnew\n' for name in names)
