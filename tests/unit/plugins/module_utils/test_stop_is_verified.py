# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that pg_ctl or pg_ctlcluster has started survives `systemctl stop`, which finds nothing to stop and reports success."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _action_context, _apply, _data_directory, _place, _postmaster, _service, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Desired


class Runner:
    """Records what is run. Nothing of it stops a server, unless `stops` does."""

    def __init__(self):
        self.calls = []
        self.stops = lambda: None

    def run(self, argv, **dummy):
        self.calls.append(argv)
        if argv[-2:] == ['stop', 'pg']:
            self.stops()
        return Result(argv, 0, '', '')


@pytest.fixture
def server(tmpdir):
    """A process that is a server by its name, its working directory and postmaster.pid."""
    data = tmpdir.mkdir('data')
    data.join('PG_VERSION').write('15')
    process = subprocess.Popen(['bash', '-c', 'exec -a postgres sleep 60'], cwd=str(data))
    data.join('postmaster.pid').write('%d\n%s\n' % (process.pid, data))
    deadline = time.time() + 10
    while _postmaster.server_of(str(data)) != process.pid and time.time() < deadline:
        time.sleep(0.02)
    assert _postmaster.server_of(str(data)) == process.pid
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.fixture
def context(tmpdir, monkeypatch):
    monkeypatch.setattr(_data_directory, 'marker_path', lambda path, user: str(tmpdir.join('notes', 'clone.json')))
    monkeypatch.setattr(_service, 'STOP_TIMEOUT', 0.2)
    place = _place.Place('b', '/etc/repmgr.conf', '/bin-dir', str(tmpdir.join('data')), user='postgres')
    return _action_context.Context(
        Runner(), None, None, place, Desired(role='standby', node_id=2, node_name='b', conninfo='host=b'),
        {'service_stop_command': 'sudo systemctl stop pg', 'service_start_command': 'sudo systemctl start pg'}, data_state='valid')


def test_a_server_that_goes_on_ends_the_run_with_its_data_in_place(context, server, tmpdir):
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, ['stop', 'move_aside', 'start'])
    assert found.value.action == 'stop' and [step['action'] for step in context.done] == ['stop']
    assert 'process %d' % server.pid in found.value.text and 'sudo systemctl stop pg' in found.value.text
    assert [path.basename for path in tmpdir.listdir()] == ['data'] and server.poll() is None
    steps = _apply.next_step(found.value, 'b')
    assert {'shell': 'runuser -u postgres -- /bin-dir/pg_ctl -D %s -m fast stop' % tmpdir.join('data'), 'host': 'b', 'reason': 'Stop it'} in steps
    assert _steps.sentences(steps).endswith('; then run again.')
    # It is stopped, and the next run goes on.
    server.kill()
    server.wait()
    _apply.apply(context, ['stop', 'move_aside'])
    assert os.listdir(str(tmpdir.join('data'))) == []


def test_a_server_that_takes_a_moment_to_end_is_waited_for(context, server, monkeypatch):
    """The command of a hand-built node may return before the server has ended."""
    monkeypatch.setattr(_service, 'STOP_TIMEOUT', 60)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            server.kill()
            server.wait()

    monkeypatch.setattr(_service.time, 'sleep', sleep)
    _apply.apply(context, ['stop'])
    assert len(slept) == 3


def test_a_server_that_is_stopped_is_not_waited_for(context, server, monkeypatch):
    def stops():
        if server.poll() is None:
            server.kill()
            server.wait()

    context.runner.stops = stops
    monkeypatch.setattr(_service.time, 'sleep', None)
    _apply.apply(context, ['stop'])
    # Where nothing of a server is left.
    os.unlink(os.path.join(context.place.data_directory, 'postmaster.pid'))
    _apply.apply(context, ['stop'])


def test_nothing_is_renamed_under_a_server_that_was_started_meanwhile(context, server, tmpdir):
    """The plan for a server that was stopped when it was looked at has no stop."""
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, ['move_aside'])
    assert found.value.action == 'move_aside' and 'process %d' % server.pid in found.value.text
    assert [path.basename for path in tmpdir.listdir()] == ['data'] and tmpdir.join('data', 'PG_VERSION').check()
    assert [step['shell'] for step in _apply.next_step(found.value, 'b') if 'shell' in step]


def test_the_recovery_of_a_killed_standby_ends_before_its_data_are_rewound(context, server, monkeypatch):
    for name, value in (('control_data', lambda context: {'Database cluster state': 'in archive recovery'}),
                        ('_rejoin_until_settled', lambda *dummy, **more: pytest.fail('a rejoin beside a server'))):
        monkeypatch.setattr('ansible_collections.pgfleet.repmgr.plugins.module_utils._rewind.' + name, value)
    monkeypatch.setattr(_service, 'wait_for_sql', lambda context: None)
    monkeypatch.setattr('ansible_collections.pgfleet.repmgr.plugins.module_utils._rewind.refuse_an_older_timeline', lambda *dummy: None)
    open(os.path.join(context.place.data_directory, 'standby.signal'), 'w').close()
    os.mkdir(os.path.dirname(_data_directory.marker_path('', '')))
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, ['rejoin_rewind'])
    assert found.value.action == 'stop' and 'process %d' % server.pid in found.value.text
