# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the guard's program comes to a host: by the entry of the role's task and the variable of role common, run by Ansible on this host."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import getpass
import grp
import os
import subprocess
import sys

import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files
from playbook_runs import ROOT, inventory, playbook_run


def load(*path):
    with open(os.path.join(ROOT, 'roles', *path)) as handle:
        return yaml.safe_load(handle)


def test_it_takes_the_place_of_another_program_once(tmp_path):
    there, common = tmp_path / 'repmgr-guard', load('common', 'vars', 'main.yml')
    there.write_text('#!/usr/bin/python3\n# Ansible managed\nan_earlier_program = 1\n')
    entry, = load('guard', 'tasks', 'install.yml')[0]['pgfleet.repmgr.repmgr_files']['files']
    entry.update(path=str(there), owner=getpass.getuser(), group=grp.getgrgid(os.getegid()).gr_name, note='')
    inventory(tmp_path, {'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}'})

    def run(*options):
        """What Ansible says. What the host has was looked at before."""
        (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
            'hosts': 'a1', 'gather_facts': False, 'tasks': [
                {'pgfleet.repmgr.repmgr_files': {'files': [entry], 'observed': {str(there): _files.state_of(str(there))}}}],
            'vars': {'role_path': os.path.join(ROOT, 'roles', 'guard'), '__repmgr_python': sys.executable,
                     '__repmgr_guard_program': common['__repmgr_guard_program']}}]))
        code, said = playbook_run(tmp_path, 'play.yml', list(options))
        assert code == 0, said
        return said

    said = run('--check', '--diff')
    assert 'changed=1' in said and 'no text, SHA-256 ' in said and 'an_earlier_program' not in said and 'pgfleet_guard' not in said
    assert 'an_earlier_program' in there.read_text()
    assert 'changed=1' in run() and os.access(str(there), os.X_OK)
    process = subprocess.run([str(there), 'help'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd='/', check=False)
    assert process.returncode == 0 and process.stdout.startswith(b'repmgr-guard: no second primary.')
    assert 'changed=0' in run('--diff') and 'changed=0' in run('--check')
