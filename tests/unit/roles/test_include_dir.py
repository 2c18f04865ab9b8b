# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postgresql.conf on Enterprise Linux, as conf_d.yml changes it, by Ansible itself."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess
import sys

import pytest
import yaml

OURS = "include_dir = 'conf.d'\n"


@pytest.mark.parametrize('before, after', [
    ("port = 1\n#include_dir = '...'\t\t# comment\n#include = ''\n", "port = 1\n#include_dir = '...'\t\t# comment\n" + OURS + "#include = ''\n"),
    ("include_dir = 'mine.d'\nport = 1\n", "include_dir = 'mine.d'\nport = 1\n" + OURS),
    ("include_dir 'mine.d'\n#include_dir = '...'\n", "include_dir 'mine.d'\n#include_dir = '...'\n" + OURS),
    ('port = 1\n' + OURS + 'port = 2\n', 'port = 1\n' + OURS + 'port = 2\n'),
])
def test_an_include_dir_of_ones_own_stays(host, tmp_path, before, after):
    task, = [task for task in host.load('server', 'tasks', 'conf_d.yml') if 'ansible.builtin.lineinfile' in task]
    task.pop('notify')
    (tmp_path / 'postgresql.conf').write_text(before)
    (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
        'hosts': 'localhost', 'connection': 'local', 'gather_facts': False, 'vars': {'__repmgr_config_dir': str(tmp_path)}, 'tasks': [task]}]))
    done = subprocess.run(
        ['ansible-playbook', '-i', 'localhost,', 'play.yml', '-e', 'ansible_python_interpreter=' + sys.executable], cwd=str(tmp_path), timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False,
        env=dict(os.environ, ANSIBLE_NOCOLOR='1', ANSIBLE_STDOUT_CALLBACK='default'))
    assert done.returncode == 0, done.stdout
    assert (tmp_path / 'postgresql.conf').read_text() == after
