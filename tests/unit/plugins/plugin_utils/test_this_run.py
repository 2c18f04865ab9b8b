# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run_lock
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _this_run


@pytest.fixture(autouse=True)
def typed(monkeypatch):
    monkeypatch.setattr(context, 'CLIARGS', ImmutableDict(args=('playbooks/site.yml', 'pgfleet.repmgr.switchover')))


def test_every_task_of_a_run_says_the_same():
    own = _this_run.this_run()
    forking = multiprocessing.get_context('fork')
    answers = forking.Queue()
    tasks = [forking.Process(target=lambda: answers.put(_this_run.this_run())) for dummy in range(2)]
    for task in tasks:
        task.start()
    assert [answers.get(timeout=30) for task in tasks] == [own, own]
    for task in tasks:
        task.join()
    assert re.match('r[0-9a-f]{10}$', own['run'])
    assert own['playbook'] == 'site.yml pgfleet.repmgr.switchover'
    assert own['process']['pid'] == os.getpid()


def test_another_process_is_another_run(monkeypatch):
    own = _this_run.this_run()
    monkeypatch.setattr(os, 'getpid', os.getppid)
    assert _this_run.this_run()['run'] != own['run']


def test_whether_a_run_of_this_controller_is_over():
    own = _this_run.this_run()
    other = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
    process = dict(own['process'], pid=other.pid, started=_run_lock.started(other.pid))
    assert not _this_run.is_over(dict(own, process=process), own)
    # Its number is another process's now.
    assert _this_run.is_over(dict(own, process=dict(process, started=process['started'] - 1)), own)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    # Dead, and its parent has not asked yet.
    assert _this_run.is_over(dict(own, process=process), own)
    other.communicate()
    assert _this_run.is_over(dict(own, process=process), own)


@pytest.mark.parametrize('place, controller, over', [
    # Its number says nothing here: the machine, the container or the word is another's.
    (dict(machine='m2', boot='b2', namespace='pid:[1]'), 'ops2', False),
    (dict(machine='m1', boot='b1', namespace='pid:[2]'), 'ops1', False),
    (dict(machine='m1', boot='b2', namespace='pid:[1]'), 'ops2', False),
    (dict(machine='', boot='b2', namespace='pid:[1]'), 'ops1', False),
    ({}, 'ops1', False),
    # This machine was booted since.
    (dict(machine='m1', boot='b2', namespace='pid:[1]'), 'ops1', True),
    (dict(machine='m1', boot='b1', namespace='pid:[1]'), 'ops1', True),
])
def test_what_a_process_number_says(place, controller, over):
    own = {'controller': 'ops1', 'process': dict(machine='m1', boot='b1', namespace='pid:[1]', pid=os.getpid(), started=1)}
    # No process has such a number.
    other = {'controller': controller, 'process': dict(place, pid=2 ** 30, started=1)}
    assert _this_run.is_over(other, own) is over
    assert not _this_run.is_over(dict(other, process=dict(other['process'], pid='x')), own)


@pytest.mark.parametrize('error, over', [(ProcessLookupError, True), (PermissionError, False), (None, False)])
def test_a_process_that_cannot_be_seen_may_live(monkeypatch, error, over):
    """Another user's, where /proc is mounted with hidepid."""
    own = _this_run.this_run()

    def kill(pid, number):
        assert (pid, number) == (2 ** 30, 0)
        if error:
            raise error()
    monkeypatch.setattr(os, 'kill', kill)
    assert _this_run.is_over(dict(own, process=dict(own['process'], pid=2 ** 30)), own) is over


def test_a_controller_that_says_nothing_of_itself():
    own = {'controller': 'ops1', 'process': dict(machine='', boot='', namespace='', pid=1, started=1)}
    other = {'controller': 'ops1', 'process': dict(machine='', boot='', namespace='', pid=2 ** 30, started=1)}
    assert not _this_run.is_over(other, own)


@pytest.mark.parametrize('content', [None, b'', b'\n', b'uninitialized\n', b'\xff' * 32, b'0' * 31, b'0' * 65])
def test_a_machine_without_an_id_is_none(tmp_path, content):
    """All containers of one image have the same empty file: what another one says of its boot would be taken for this one's."""
    path = tmp_path / 'machine-id'
    if content is not None:
        path.write_bytes(content)
    assert _this_run._machine(str(path)) == ''
    path.write_bytes(b'0123456789abcdef0123456789abcdef\n')
    assert re.match('[0-9a-f]{16}$', _this_run._machine(str(path)))


def test_a_controller_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(_run_lock, 'PROC', str(tmp_path))
    monkeypatch.setattr(_this_run, '_said', lambda *argv: {'sysctl': '{ sec = 1 }', 'ps': 'Mon Nov 30' if argv[-1] == '%d' % os.getpid() else ''}[argv[0]])
    own = _this_run.this_run()
    assert own['process'] == {'machine': '', 'boot': '{ sec = 1 }', 'namespace': '', 'pid': os.getpid(), 'started': 'Mon Nov 30'}
    assert not _this_run.is_over(own, own)
    assert _this_run.is_over(dict(own, process=dict(own['process'], pid=2 ** 30)), own)
