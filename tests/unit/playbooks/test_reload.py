# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A reload never starts a server that has ended since it was observed, as the systemd module does: it may be no primary any more."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os

import pytest
import yaml

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from playbook_runs import ROOT, inventory, playbook_run

RELOAD = os.path.join(ROOT, 'roles', 'server', 'tasks', 'reload.yml')
# Where each of these is run from, and how it names the file there.
PLACES = [
    ('server/handlers/main.yml', 'Reload PostgreSQL', '{{ role_path }}/tasks/reload.yml'),
    ('server/tasks/main.yml', 'Reload PostgreSQL with the new settings', 'reload.yml'),
    ('server/tasks/access_write.yml', 'Reload PostgreSQL with the new pg_hba rules', 'reload.yml'),
    ('server/tasks/access_left.yml', 'Reload PostgreSQL with the rules that an earlier run has left', 'reload.yml'),
    ('server/tasks/synchronous.yml', 'Reload PostgreSQL with synchronous_standby_names', 'reload.yml'),
    ('tls/tasks/managed.yml', 'Reload PostgreSQL with the new certificate', '{{ role_path }}/../server/tasks/reload.yml'),
]


def named(entries):
    for entry in entries or []:
        yield entry
        for key in ('tasks', 'pre_tasks', 'post_tasks', 'handlers', 'block', 'rescue', 'always'):
            for inner in named(entry.get(key)):
                yield inner


def load(path):
    with open(os.path.join(ROOT, path)) as handle:
        return yaml.safe_load(handle)


@pytest.mark.parametrize('path, name, included', PLACES, ids=[place[1] for place in PLACES])
def test_where_it_is_reloaded(path, name, included):
    task, = [entry for entry in named(load('roles/' + path)) if entry.get('name') == name]
    assert task['ansible.builtin.include_tasks'] == included
    folder = os.path.join(ROOT, 'roles', path.split('/')[0])
    there = included.replace('{{ role_path }}', folder) if 'role_path' in included else os.path.join(folder, 'tasks', included)
    assert os.path.realpath(there) == os.path.realpath(RELOAD)


def test_nothing_is_reloaded_by_a_module_that_starts_it():
    found = []
    for pattern in ('roles/*/tasks/*.yml', 'roles/*/handlers/*.yml', 'playbooks/*.yml'):
        for path in glob.glob(os.path.join(ROOT, pattern)):
            for entry in named(load(path)):
                for module in ('ansible.builtin.systemd', 'ansible.builtin.systemd_service', 'ansible.builtin.service'):
                    options = entry.get(module) or {}
                    if options.get('state') == 'reloaded' and '__repmgr_service' in options['name']:
                        found.append((path, entry['name']))
    assert found == []


def run(folder, *options, text='', code=0, handler=False):
    """What is said by a reload on host a1 with a systemctl that ends with a code; what that was called with."""
    (folder / 'bin').mkdir(exist_ok=True)
    (folder / 'bin' / 'systemctl').write_text('#!/bin/sh\necho "$@" >>%s/calls\necho "%s" >&2\nexit %d\n' % (folder, text, code))
    (folder / 'bin' / 'systemctl').chmod(0o755)
    inventory(folder, {'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', '__repmgr_service': 'postgresql@15-main',
                       '__repmgr_record': {'observed': {'server': {'state': 'running'}}}})
    play = {'hosts': 'a1', 'gather_facts': False, 'environment': {'PATH': '%s:/usr/bin:/bin' % (folder / 'bin')}}
    if handler:
        role = folder / 'roles' / 'server'
        (role / 'tasks').mkdir(parents=True)
        (role / 'handlers').symlink_to(os.path.join(ROOT, 'roles', 'server', 'handlers'))
        (role / 'tasks' / 'reload.yml').symlink_to(RELOAD)
        (role / 'tasks' / 'main.yml').write_text(yaml.safe_dump([
            {'ansible.builtin.command': {'argv': ['true']}, 'changed_when': True, 'check_mode': False, 'notify': 'Reload PostgreSQL'}]))
        play['roles'] = ['server']
    else:
        play['tasks'] = [{'ansible.builtin.include_tasks': RELOAD}]
    (folder / 'play.yml').write_text(yaml.safe_dump([play]))
    rc, said = playbook_run(folder, 'play.yml', options)
    calls = (folder / 'calls').read_text().splitlines() if (folder / 'calls').exists() else []
    return rc, ' '.join(said.split()), calls


@pytest.mark.parametrize('handler', [False, True])
def test_a_server_that_runs(tmp_path, handler):
    rc, said, calls = run(tmp_path, handler=handler)
    assert rc == 0 and calls == ['reload postgresql@15-main'] and 'changed=%d' % (1 + handler) in said, said


@pytest.mark.parametrize('handler', [False, True])
def test_a_server_that_has_ended(tmp_path, handler):
    rc, said, calls = run(tmp_path, handler=handler, code=1, text='postgresql@15-main.service is not active, cannot reload.')
    assert rc != 0 and calls == ['reload postgresql@15-main'] and 'changed=%d' % handler in said, said
    assert 'a1: PostgreSQL ran earlier in this run' in said and 'postgresql@15-main.service is not active, cannot reload.' in said, said
    assert 'Nothing was started.' in said and 'run again' in said, said


@pytest.mark.parametrize('handler', [False, True])
def test_check_mode(tmp_path, handler):
    rc, said, calls = run(tmp_path, '--check', handler=handler, code=1)
    assert rc == 0 and calls == [] and 'changed=%d' % (1 + handler) in said and 'would reload postgresql@15-main' in said, said


@pytest.mark.parametrize('role, state, started', [('primary', 'stopped', True), ('witness', 'stopped', True), ('standby', 'stopped', False),
                                                  ('primary', 'running', False), ('witness', 'running', False), ('standby', 'running', False)])
def test_a_server_that_ran_is_not_started_by_enabling_it(role, state, started):
    task, = [entry for entry in named(load('roles/server/tasks/main.yml')) if entry.get('name', '').startswith('Enable PostgreSQL at boot')]
    variables = {'omit': 'OMIT', '__repmgr_role': role, '__repmgr_record': {'observed': {'server': {'state': state}}}}
    found = Templar(loader=DataLoader(), variables=variables).template(task['ansible.builtin.systemd']['state'])
    assert found == ('started' if started else 'OMIT')
