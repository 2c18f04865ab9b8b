# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task that works with a secret says why it failed, and not the secret."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os

import pytest
import yaml

from playbook_runs import inventory, playbook_run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SECRET = 'S3cret:of\\mine'
VARIABLES = {'__repmgr_looks': True, '__repmgr_os_user': 'root', '__repmgr_primary': {'name': 'a1'}, '__repmgr_secret': SECRET,
             '__repmgr_members': ['a1'], '__repmgr_record': {'address': '10.0.0.1', 'port': 5432}}


def why(folder, tasks, variables):
    connection = {'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}'}
    inventory(folder, dict(connection, **variables))
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': tasks}]))
    code, said = playbook_run(folder, 'play.yml', ['-vvv'])
    assert code == 2, said
    for spelling in ('S3cret', 'UzNjcmV0'):
        assert spelling not in said, said
    return ' '.join(said.split())


def test_of_the_passfile(tmp_path):
    task = {'include_role': {'name': 'pgfleet.repmgr.repmgr_install', 'tasks_from': 'passfile'}}
    said = why(tmp_path, [task], dict(VARIABLES, __repmgr_passfile_path='/dev/null/.pgpass'))
    assert 'a1: "Write the passfile entries of the cluster" failed: ' in said.replace('\\"', '"') and 'Not a directory' in said, said


def test_where_the_reason_has_the_secret_in_it(tmp_path):
    task = {'include_role': {'name': 'pgfleet.repmgr.repmgr_install', 'tasks_from': 'passfile'}}
    variables = dict(VARIABLES, __repmgr_secret='S3cret', __repmgr_passfile_path='/dev/null/{{ __repmgr_secret }}')
    said = why(tmp_path, [task], variables)
    assert '/dev/null/********' in said, said


def hidden(tasks, rescued=False):
    """[(name, whether its failure says why)] of the tasks under no_log."""
    for task in tasks or []:
        if task.get('no_log'):
            yield task['name'], rescued
        says_why = any('__repmgr_failed_because' in str(each) for each in task.get('rescue') or [])
        for part in ('block', 'rescue', 'always', 'tasks', 'pre_tasks', 'post_tasks'):
            for found in hidden(task.get(part), rescued or says_why):
                yield found


def test_every_task_that_hides_its_result():
    found = []
    for path in glob.glob(os.path.join(ROOT, 'roles', '*', '*', '*.yml')) + glob.glob(os.path.join(ROOT, 'playbooks', '*.yml')):
        with open(path) as handle:
            content = yaml.safe_load(handle)
        found += hidden(content if isinstance(content, list) else [])
    assert len(found) > 10 and [name for name, rescued in found if not rescued] == []


@pytest.mark.parametrize('name', ['repmgr_password'])
def test_a_secret_is_marked_as_one(name):
    with open(os.path.join(ROOT, 'roles', 'common', 'meta', 'argument_specs.yml')) as handle:
        assert yaml.safe_load(handle)['argument_specs']['main']['options'][name]['no_log'] is True
