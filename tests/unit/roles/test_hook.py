# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that boots while it is being cloned asks the guard: nothing in its data says yet that they are a standby's."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type


def test_the_hook_is_there_before_the_first_clone(host):
    tasks = host.load('standby', 'tasks', 'main.yml')
    hook, = [number for number, task in enumerate(tasks)
             if task.get('ansible.builtin.include_role') == {'name': 'pgfleet.repmgr.guard', 'tasks_from': 'hook'}]
    clone, = [number for number, task in enumerate(tasks) if task.get('ansible.builtin.include_tasks') == 'level.yml']
    assert hook < clone and "observed.data.state != 'valid'" in tasks[hook]['when']


def test_the_hook_knows_the_peers_before_systemd_calls_it(host):
    task, = host.load('guard', 'tasks', 'hook.yml')
    write = task['pgfleet.repmgr.repmgr_files']
    assert [entry['template'] for entry in write['files']] == ['guard.json.j2', 'start-hook.conf.j2'] and write['reload_systemd'] is True
