# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the lock of a run is taken, renewed, minded and released."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os
import re

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run_lock, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
CHANGING = sorted(set(_arguments.PLAYBOOKS) - set(['adopt', 'status', 'preflight', 'backup', 'verify_backup']))
HELD = {'state': 'held', 'run': 'r1', 'boot': 'b'}
LOCK = {'run': 'r2', 'playbook': 'site.yml', 'user': 'alice', 'controller': 'ops1', 'process': {}, 'since': 1, 'renewed': 2}


def tasks(host, playbook):
    play = host.play(playbook)
    return play['tasks'] + play.get('post_tasks', [])


def part_of_common(task):
    role = task.get('ansible.builtin.import_role') or task.get('ansible.builtin.include_role') or {}
    return role.get('tasks_from') if role.get('name') == 'pgfleet.repmgr.common' else None


@pytest.mark.parametrize('observed, given, lock', [
    (None, {}, {'override': [], 'before': ''}),
    (None, {'override_run': ['r2']}, {'override': ['r2'], 'before': ''}),
    ({'run_lock': None}, {}, {'override': [], 'before': ''}),
    ({'run_lock': HELD}, {}, {'override': [], 'before': 'b'}),
    ({'run_lock': {'state': 'unavailable', 'reason': 'no room'}}, {}, {'override': [], 'before': ''}),
    ({}, {}, {'override': [], 'before': ''}),
])
def test_what_an_observation_asks_for(host, observed, given, lock):
    text = host.load('common', 'tasks', 'observe.yml')[0]['pgfleet.repmgr.repmgr_cluster_info']['lock']
    assert host.rendered(text, omit='OMIT', __repmgr_given=given, __repmgr_record={'observed': observed}) == lock
    assert host.rendered(text, omit='OMIT', __repmgr_record={'observed': observed}, __repmgr_takes_lock=False) == 'OMIT'


def test_who_changes_nothing_takes_none(host):
    taking = [name for name in _arguments.PLAYBOOKS if host.play(name).get('vars', {}).get('__repmgr_takes_lock', True)]
    assert sorted(set(taking) - set(CHANGING)) == ['status']
    assert not set(map(part_of_common, tasks(host, 'status'))) & set(['look', 'observe', 'observe_again'])


@pytest.mark.parametrize('playbook', sorted(set(CHANGING) - set(['site'])))
def test_nothing_is_done_beside_another_run(host, playbook):
    found = tasks(host, playbook)
    parts = [part_of_common(task) for task in found]
    after = found[parts.index('look') + 1:]
    if playbook in ('failover', 'rejoin', 'remove_node'):
        # It is decided first, by a filter that knows of other runs.
        assert list(after.pop(0))[-1] == 'ansible.builtin.set_fact'
    assert part_of_common(after[0]) == {'failover': 'stop', 'maintenance': 'other_run', 'restore': 'other_run'}.get(playbook, 'decide')


def test_site_looks_and_decides_in_its_role(host):
    assert [task['ansible.builtin.include_tasks'] for task in host.load('common', 'tasks', 'main.yml')] == ['look.yml', 'decide.yml']


@pytest.mark.parametrize('playbook', CHANGING)
def test_every_run_ends_by_releasing_it(host, playbook):
    last = [task for task in tasks(host, playbook) if 'ansible.builtin.debug' not in task][-1]
    assert part_of_common(last) == 'show'
    show = host.load('common', 'tasks', 'show.yml')[0]
    assert show['pgfleet.repmgr.repmgr_cluster_info']['lock'] == {'release': 'end'}
    assert show['when'] == '__repmgr_speaks or __repmgr_has_lock'


# A switchover is one long task, during which test_24_restarts.py kills it. A restore needs backups: test_21_restore.py.
@pytest.mark.parametrize('playbook', sorted(set(CHANGING) - set(['switchover', 'restore'])))
def test_every_playbook_that_changes_something_is_killed_by_an_acceptance_test(playbook):
    with open(os.path.join(ROOT, 'tests', 'acceptance', 'test_18_killed.py')) as handle:
        assert re.search(r'["/]%s(\.yml)?["\s]' % playbook, handle.read())


def test_who_looks_again_minds_what_happened_meanwhile():
    for path in glob.glob(os.path.join(ROOT, 'roles', '*', 'tasks', '*.yml')) + glob.glob(os.path.join(ROOT, 'playbooks', '*.yml')):
        with open(path) as handle:
            assert 'tasks_from: observe\n' not in handle.read(), path


@pytest.mark.parametrize('path, work', [
    (('server', 'tasks', 'extension_one.yml'), 'ansible.builtin.package'), (('server', 'tasks', 'upgrade_one.yml'), 'ansible.builtin.command'),
    (('standby', 'tasks', 'node.yml'), 'pgfleet.repmgr.repmgr_node'), (('..', 'playbooks', 'rejoin.yml'), 'block'),
    (('repmgr_install', 'tasks', 'packages.yml'), 'ansible.builtin.apt'), (('pgdg_repo', 'tasks', 'main.yml'), 'ansible.builtin.include_tasks'),
], ids=lambda value: value[-1] if isinstance(value, tuple) else value)
def test_a_node_that_has_waited_renews_its_lock_before_long_work(host, path, work):
    """SSH has closed by then the connection that it was taken through, and without one it would end during the work."""
    found = host.load(*path)
    found = found[-1]['tasks'] if 'tasks' in found[-1] else found
    first, = [number for number, task in enumerate(found) if part_of_common(task) == 'renew']
    assert work in found[first + 1]


def test_no_package_is_installed_without_a_lock_that_is_new(host):
    """A mirror may be slower than LOCK_SECONDS. In a file that is included on its own the renewal is there, or whoever includes it has done so."""
    unrenewed = []
    for path in glob.glob(os.path.join(ROOT, 'roles', '*', 'tasks', '*.yml')):
        role, name = path.split(os.sep)[-3], os.path.basename(path)
        found = host.load(role, 'tasks', name) or []
        flat = [inner for task in found for inner in [task] + (task.get('block') or [])]
        if any(module in task for task in flat for module in ('ansible.builtin.apt', 'ansible.builtin.package', 'ansible.builtin.dnf', 'ansible.builtin.yum')):
            if 'renew' not in map(part_of_common, flat):
                unrenewed.append((role, name))
    # The play of proxies begins when the cluster's has ended. main.yml of pgdg_repo does it for both of its files.
    assert sorted(unrenewed) == [('haproxy', 'install.yml'), ('pgdg_repo', 'Debian.yml'), ('pgdg_repo', 'RedHat.yml')]


def test_who_has_waited_for_the_packages_of_another_renews_its_lock(host):
    found = host.load('repmgr_install', 'tasks', 'main.yml')
    after = found[1]
    assert found[0]['ansible.builtin.include_tasks'] == 'packages.yml' and part_of_common(after) == 'renew'
    for without, check, renews in ((['a'], False, True), ([], False, False), (['a'], True, False)):
        assert host.rendered('{{ %s }}' % after['when'], __repmgr_without_packages=without, ansible_check_mode=check) is renews


@pytest.mark.parametrize('path, register', [
    (('common', 'tasks', 'renew.yml'), '__repmgr_renewed'), (('server', 'tasks', 'role_unchanged.yml'), '__repmgr_now')],
    ids=lambda value: value[-1] if isinstance(value, tuple) else '')
@pytest.mark.parametrize('state, goes_on', [('held', True), ('unavailable', True), ('refused', False), ('lost', False)])
def test_whoever_has_lost_it_does_not_begin(host, path, register, state, goes_on):
    found = host.load(*path)
    asked, = [number for number, task in enumerate(found) if task.get('register') == register]
    record = {'observed': {'run_lock': HELD}}
    lock = found[asked]['pgfleet.repmgr.repmgr_cluster_info']['lock']
    assert host.rendered(lock, omit='OMIT', __repmgr_record=record) == {'override': [], 'before': 'b'}
    # Who has none takes none in the middle of a run: nobody would release it.
    for condition in [task['when'] for task in found[asked:asked + 1] if 'when' in task] or ["__repmgr_lock if __repmgr_has_lock else omit"]:
        assert host.rendered('{{ %s }}' % condition, omit=False, __repmgr_record={'observed': {'run_lock': None}}) is False
    run_lock = dict(_run_lock.told(LOCK, {'uptime': 9, 'connected': True}), state=state) if state != 'unavailable' else {'state': state, 'reason': 'no room'}
    answer = _verdict.from_one_node(Observed(name='db1', run_lock=run_lock))
    condition = found[asked + 1]['ansible.builtin.assert']['that']
    taken_over = host.rendered(found[asked + 1]['vars']['__repmgr_taken_over'], **{register: {'cluster': answer}})
    assert host.rendered('{{ %s }}' % condition, __repmgr_taken_over=taken_over) is goes_on and len(taken_over) == (not goes_on)
