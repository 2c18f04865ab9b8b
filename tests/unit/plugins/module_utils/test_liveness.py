# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server runs with a data directory: the modules and the guard cannot share code for this, so they must give the same answers."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _place, _postmaster
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.guard_program import guard


@pytest.fixture
def run(tmpdir):
    """Runs a process under a name, in a directory; postmaster.pid of tmpdir/data names it."""
    tmpdir.mkdir('data')
    started = []

    def start(name, cwd='data'):
        process = subprocess.Popen(['bash', '-c', 'exec -a "%s" sleep 60' % name], cwd=str(tmpdir.ensure(cwd, dir=True)))
        started.append(process)
        tmpdir.join('data', 'postmaster.pid').write('%d\n%s\n' % (process.pid, tmpdir.join('data')))
        deadline = time.time() + 10
        while not _cmdline(process.pid).startswith(name + '\0') and time.time() < deadline:
            time.sleep(0.02)
        assert _cmdline(process.pid).startswith(name + '\0')
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _cmdline(pid):
    with open('/proc/%d/cmdline' % pid) as handle:
        return handle.read()


def answers(directory):
    """What the modules say, and what the guard says: the server's process id or None."""
    directory = str(directory)
    assert guard.postmaster(directory) == guard.owner(directory)[0] or guard.occupied(directory)
    return [_postmaster.alive(os.path.join(directory, 'postmaster.pid'), directory), guard.owner(directory)[0]]


@pytest.mark.parametrize('name', ['postgres', '/usr/lib/postgresql/15/bin/postgres', '/usr/pgsql-10/bin/postmaster'])
def test_a_server(tmpdir, run, name):
    process = run(name)
    assert answers(tmpdir.join('data')) == [process.pid] * 2
    tmpdir.join('link').mksymlinkto(tmpdir.join('data'))
    assert answers(tmpdir.join('link')) == [process.pid] * 2
    assert _postmaster.without_stale_pid(str(tmpdir.join('data'))) == guard.without_stale_pid(str(tmpdir.join('data'))) == {}


@pytest.mark.parametrize('name, cwd', [
    ('bash', 'data'),                   # an operator's shell that stands in the data directory
    ('tail', 'data'),
    ('postgres_exporter', 'data'),
    ('postgres_exporter', 'elsewhere'),
    ('postgres: walwriter', 'data'),    # a child that outlived its server
    ('repmgrd', 'elsewhere'),
    ('postgres', 'another_cluster'),
    ('postgres', 'data/base'),
])
def test_what_is_no_server_of_this_directory(tmpdir, run, name, cwd):
    process = run(name, cwd)
    assert answers(tmpdir.join('data')) == [None, None]
    stale = {'PG_GRANDPARENT_PID': str(process.pid)}
    assert _postmaster.without_stale_pid(str(tmpdir.join('data'))) == guard.without_stale_pid(str(tmpdir.join('data'))) == stale


def test_no_process(tmpdir, run):
    assert answers(tmpdir.join('data')) == [None, None]
    process = run('postgres')
    process.kill()
    # Until its parent has waited for it, it is there, but runs nothing.
    deadline = time.time() + 10
    while _cmdline(process.pid) and time.time() < deadline:
        time.sleep(0.02)
    assert answers(tmpdir.join('data')) == [None, None]
    process.wait()
    assert answers(tmpdir.join('data')) == [None, None]
    for text in ('', 'text\n', '\n'):
        tmpdir.join('data', 'postmaster.pid').write(text)
        assert answers(tmpdir.join('data')) == [None, None]


@pytest.mark.parametrize('name, cwd', [('postgres', 'data'), ('postgres', 'elsewhere'), ('repmgrd', 'data')])
def test_a_server_for_a_single_user(tmpdir, run, monkeypatch, name, cwd):
    """Its number is a negative one. It owns the directory, and nobody connects to it: it is neither a server nor none."""
    process, data, said = run(name, cwd), str(tmpdir.join('data')), []
    tmpdir.join('data', 'postmaster.pid').write('-%d\n%s\n1700000000\n' % (process.pid, data))
    runs = (name, cwd) == ('postgres', 'data')
    assert answers(data) == [process.pid if runs else None] * 2
    assert guard.occupied(data) is guard.rejoining(data) is runs and guard.postmaster(data) is None
    # PostgreSQL compares without the sign, too.
    stale = {} if runs else {'PG_GRANDPARENT_PID': str(process.pid)}
    assert _postmaster.without_stale_pid(data) == guard.without_stale_pid(data) == stale
    # The modules refuse to do anything to it, and wait.
    server, sockets = _postmaster.observe_server(_place.Place(data_directory=data), Data(path=data, state='valid'))
    assert (server.state, server.pid, sockets) == (('starting', process.pid, None) if runs else ('stopped', None, None))
    assert not runs or server.error == 'is in single-user mode (process %d)' % process.pid
    # The guard starts nothing beside it, and does not put back what it was begun without.
    tmpdir.join('data', 'PG_VERSION').write('15')
    tmpdir.join('data', 'standby.signal.aside').write('')
    for function, value in (('become_user', lambda config: None), ('write_environment', lambda config: None), ('say', said.append)):
        monkeypatch.setattr(guard, function, value)
    assert guard.start({'data_directory': data}) == (1 if runs else 0)
    assert tmpdir.join('data', 'standby.signal.aside').check() is runs and ('single user' in said[0]) is runs
    guard.stop_now(data)
    assert process.poll() is None


@pytest.mark.parametrize('kind', ['primary', 'standby'])
def test_the_guard_waits_for_it(tmpdir, run, monkeypatch, kind):
    process, data, done = run('postgres'), str(tmpdir.join('data')), []
    monkeypatch.setattr(guard, '_commands', lambda: [])
    watch = guard.Watch({'cluster': 'x', 'name': 'a', 'node_id': 1, 'isolation': 4, 'port': 5432, 'database': 'repmgr', 'user': 'postgres', 'peers': [],
                         'data_directory': data, 'bin_dir': '/nowhere', 'service': 'postgresql'})
    monkeypatch.setattr(watch, 'wanted', lambda: True)
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database cluster state': 'in production'})
    monkeypatch.setattr(watch, 'start', done.append)
    look = watch.stopped if kind == 'primary' else watch.fallen
    tmpdir.join('data', 'postmaster.pid').write('-%d\n' % process.pid)
    look()
    assert not done
    tmpdir.join('data', 'postmaster.pid').write('-999999999\n')
    look()
    assert len(done) == 1
