# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server runs with a data directory: the modules and the guard cannot share code for this, so they must give the same answers."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess
import time
import types

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _observe

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), *('../../../../roles/guard/files/guard.py'.split('/')))
guard = types.ModuleType('guard')
with open(PATH) as handle:
    exec(compile(handle.read(), PATH, 'exec'), guard.__dict__)  # pylint: disable=exec-used


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
    return [_observe._alive(os.path.join(directory, 'postmaster.pid'), directory), guard.postmaster(directory)]


@pytest.mark.parametrize('name', ['postgres', '/usr/lib/postgresql/15/bin/postgres', '/usr/pgsql-10/bin/postmaster'])
def test_a_server(tmpdir, run, name):
    process = run(name)
    assert answers(tmpdir.join('data')) == [process.pid] * 2
    tmpdir.join('link').mksymlinkto(tmpdir.join('data'))
    assert answers(tmpdir.join('link')) == [process.pid] * 2
    assert _observe.without_stale_pid(str(tmpdir.join('data'))) == guard.without_stale_pid(str(tmpdir.join('data'))) == {}


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
    assert _observe.without_stale_pid(str(tmpdir.join('data'))) == guard.without_stale_pid(str(tmpdir.join('data'))) == stale


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
