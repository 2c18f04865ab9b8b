# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""examples/: what a user copies has to work as it stands."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import subprocess
import sys

import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
EXAMPLE = os.path.join(ROOT, 'examples', 'infrastructure')


def run(program, *arguments):
    """A program of Ansible in the example's folder, with the example's ansible.cfg and this checkout as the installed collection."""
    environment = dict((name, value) for name, value in os.environ.items() if not name.startswith('ANSIBLE_'))
    environment.update(ANSIBLE_COLLECTIONS_PATH=os.path.join(ROOT, '.ansible', 'collections'), ANSIBLE_HOME=os.path.join(ROOT, '.ansible'))
    return subprocess.run([os.path.join(os.path.dirname(sys.executable), program)] + list(arguments), cwd=EXAMPLE, env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)


def test_the_playbook_is_understood_with_its_inventory():
    done = run('ansible-playbook', 'playbooks/postgresql.yml', '--syntax-check')
    assert done.returncode == 0, done.stdout
    assert 'WARNING' not in done.stdout, done.stdout


def test_every_task_of_the_main_job_is_reached():
    done = run('ansible-playbook', 'playbooks/postgresql.yml', '--list-tasks')
    assert done.returncode == 0, done.stdout
    assert 'Create the database of the application' in done.stdout and 'pgfleet.repmgr.guard : Install the guard, the fuse and their units' in done.stdout


@pytest.fixture(scope='module')
def hostvars():
    done = run('ansible-inventory', '--list')
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)['_meta']['hostvars']


def test_every_variable_exists(hostvars):
    with open(os.path.join(ROOT, 'roles', 'common', 'defaults', 'main.yml')) as handle:
        defaults = yaml.safe_load(handle)
    used = set(name for values in hostvars.values() for name in values if name.startswith('repmgr_'))
    assert used - set(defaults) == set()


def test_the_inventory_names_one_whole_cluster(hostvars):
    assert set(values['repmgr_cluster_name'] for values in hostvars.values()) == {'orders'}
    assert sorted(values['repmgr_node_id'] for values in hostvars.values()) == [1, 2, 3]


def test_the_requirements_name_this_collection():
    with open(os.path.join(ROOT, 'galaxy.yml')) as handle:
        galaxy = yaml.safe_load(handle)
    with open(os.path.join(EXAMPLE, 'requirements.yml')) as handle:
        names = [entry['name'] for entry in yaml.safe_load(handle)['collections']]
    assert names == [galaxy['repository'] + '.git']
