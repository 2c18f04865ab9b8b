# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of playbooks run them with. Not in conftest.py: each folder has one, and an import by that name finds any of them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PLAYBOOKS = os.path.join(ROOT, 'playbooks')
# Clusters a, b and c, in no order that anything could rely on.
HOSTS = {'primary': ['a1', 'b1', 'c1'], 'standby': ['c2', 'b2', 'a2'], 'witness': ['b3']}


def inventory(folder, variables, cluster=None):
    groups = {}
    for group, names in HOSTS.items():
        groups[group] = {'hosts': {name: {'repmgr_node_id': int(name[1]), 'repmgr_cluster_name': cluster if cluster and name[0] == 'a' else name[0]}
                                   for name in names}}
    (folder / 'hosts.yml').write_text(yaml.safe_dump({'all': {'vars': variables, 'children': groups}}))


def playbook_run(folder, path, options):
    (folder / 'ansible.cfg').write_text('')
    done = subprocess.run(
        ['ansible-playbook', '-i', 'hosts.yml', path] + list(options), cwd=str(folder), timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False,
        env=dict(os.environ, ANSIBLE_GATHERING='explicit', ANSIBLE_NOCOLOR='1', ANSIBLE_FORCE_COLOR='0', ANSIBLE_CONFIG='ansible.cfg',
                 ANSIBLE_STDOUT_CALLBACK='default', ANSIBLE_COLLECTIONS_PATH=os.path.join(ROOT, '.ansible', 'collections')))
    return done.returncode, done.stdout
