# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a restore drill on real directories: whatever happens, the copy is gone afterwards, and nothing else is."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _private_server, _verify_work
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result

CONTROL = 'Bytes per WAL segment:                16777216\nData page checksum version:           1\n'
BACKUP = {'label': 'L', 'type': 'full', 'bytes': 5, 'timeline': 1, 'first_wal': '000000010000000000000004'}
SEEN = {'in_recovery': False, 'system_identifier': '7', 'timeline': 2, 'lsn': '0/5000100', 'stopped': '', 'tablespaces': 0, 'last_commit': 'then'}


class Runner:
    """What the programs do. fails: {word of a command: what it does instead}."""

    def __init__(self, **fails):
        self.fails = fails
        self.asked = []
        self.recovers = 't'
        self.files = ['000000010000000000000004-1.gz', '000000010000000000000005-1.gz']

    def run(self, argv, accept=(0,), stdin=None, **dummy):
        words = ' '.join(argv)
        self.asked.append(words if stdin is None else '%s < %s' % (words, stdin))
        for word, does in self.fails.items():
            if word in words or word in (stdin or ''):
                return does(argv)
        if 'restore' in argv:
            with open(os.path.join([word for word in argv if word.startswith('--pg1-path=')][0].split('=', 1)[1], 'copied'), 'w'):
                pass
        out = CONTROL if 'pg_controldata' in words else ''
        if 'repo-ls' in argv:
            out = '\n'.join(self.files) if '0000000100000000' in argv[-1] else '0000000100000000'
        elif stdin and 'pg_is_in_recovery' in stdin:
            out = self.recovers
        elif stdin and 'system_identifier' in stdin:
            out = '7'
        elif stdin and 'datname' in stdin:
            out = 'postgres\nshop'
        elif stdin and ('pg_database_size' in stdin or 'available' in stdin):
            out = '1'
        return Result(argv, 0, out, '')


def failing(message):
    def fails(argv):
        raise CommandError(message, Result(argv, 1, '', message))
    return fails


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / 'main').mkdir()
    (tmp_path / 'bin').mkdir()
    for name in ('pg_amcheck', 'pg_checksums'):
        (tmp_path / 'bin' / name).write_bytes(b'')
    monkeypatch.setattr(_verify_work.pwd, 'getpwuid', lambda dummy: type('User', (), {'pw_dir': str(tmp_path), 'pw_name': 'postgres'}))
    monkeypatch.setattr(_verify_work.Verification, 'SOCKETS', str(tmp_path / 'sockets'))
    monkeypatch.setattr(_verify_work.Verification, 'recover', lambda self, dummy, dummy2: dict(SEEN))
    monkeypatch.setattr(_verify_work.os, 'nice', lambda dummy: None)
    monkeypatch.setattr(_verify_work, '_ARRIVES', 0)
    monkeypatch.setattr(_verify_work, '_FLOOR', 0)
    return tmp_path


def drill(place, runner=None, **changes):
    return _verify_work.Verification(runner or Runner(), dict({
        'name': 'b', 'data_directory': str(place / 'main'), 'directory': str(place / 'main.verify'), 'bin_dir': str(place / 'bin'), 'conf': '/c',
        'cluster': 'main', 'port': 5432, 'socket_directory': '/s', 'target': {'latest': True}, 'timeline': 1, 'target_timeline': 1, 'backup': BACKUP,
        'archive': {'id': '15-1', 'max': '000000010000000000000005'}, 'history': '', 'queries': [], 'timeout': 60}, **changes))


def left(place):
    return sorted(path.name for path in place.iterdir() if path.name not in ('bin', 'main', '.repmgr_verify.json.lock'))


def ran(place, runner=None, **changes):
    one = drill(place, runner, **changes)
    assert one.run() is False and left(place) == []
    return one.result


def test_a_good_backup(place):
    runner = Runner()
    found = ran(place, runner, queries=[{'database': 'shop', 'query': 'SELECT 1', 'expected': None}])
    assert found['ok'] and found['problem'] == '' and found['newest_commit'] == 'then' and found['lsn'] == '0/5000100' and found['ended'] >= found['begun']
    assert found['checks'] == ['pg_amcheck of 2 databases', '1 queries', 'data checksums of all pages'] and set(found['seconds']) == {
        'copy', 'recovery', 'checks', 'total'}
    # The spool of the node's own server is not emptied, and no WAL is sent anywhere.
    copy, = [words for words in runner.asked if words.endswith(' restore')]
    assert '--spool-path=%s.spool' % (place / 'main.verify') in copy
    assert not [words for words in runner.asked if 'archive-push' in words]


def test_nobody_reaches_its_server_and_it_archives_nothing(place, monkeypatch):
    one = drill(place, Runner(SHOW=lambda argv: Result(argv, 0, '100', '')))
    os.mkdir(one.directory)
    (place / 'main.verify.log').write_bytes(b'')
    running = iter([None, 1])
    monkeypatch.setattr(_private_server._postmaster, 'server_of', lambda dummy: next(running))
    monkeypatch.setattr(one, 'is_writable', lambda: True)
    one.start([('recovery_target_timeline', '1')], 5)
    text = (place / 'sockets' / 'postgresql.conf').read_text()
    values = dict((name.strip(), value.strip().strip("'")) for name, value in [line.split('=', 1) for line in text.splitlines()])
    assert values['listen_addresses'] == '' and values['unix_socket_directories'] == str(place / 'sockets') and values['unix_socket_permissions'] == '0700'
    assert values['archive_mode'] == 'off' and values['archive_command'] == '' and 'primary_conninfo' not in values
    assert oct(os.stat(str(place / 'sockets')).st_mode & 0o777) == oct(0o700)


def test_without_amcheck_all_tables_are_read(place):
    (place / 'bin' / 'pg_amcheck').unlink()
    (place / 'bin' / 'pg_checksums').unlink()
    runner = Runner()
    assert ran(place, runner)['checks'] == ['pg_dump of 2 databases', 'data checksums not checked, because there is no pg_checksums']
    assert len([words for words in runner.asked if 'pg_dump' in words]) == 2


@pytest.mark.parametrize('fails, kind, said', [
    ({' restore': failing('ERROR: [029]: damaged')}, 'copy', '[029]: damaged'),
    ({'pg_amcheck': lambda argv: Result(argv, 2, 'heap table "x" is damaged', '')}, 'damage', 'heap table "x" is damaged'),
    ({'pg_checksums': lambda argv: Result(argv, 1, '', 'checksum verification failed in file "y"\nmore')}, 'damage', 'failed in file "y"'),
    ({'SELECT 5': failing('psql: no table')}, 'query', '"SELECT 5" in database shop: psql: no table'),
    ({'SELECT 5': lambda argv: Result(argv, 0, '6\n', '')}, 'query', 'returned "6", expected "5"'),
], ids=['restore', 'amcheck', 'checksums', 'query that fails', 'query with another result'])
def test_what_is_wrong_with_a_backup_is_a_result(place, fails, kind, said):
    found = ran(place, Runner(**fails), queries=[{'database': 'shop', 'query': 'SELECT 5', 'expected': '5'}] if kind == 'query' else [])
    assert not found['ok'] and found['kind'] == kind and said in found['problem']


def test_a_segment_that_lacks(place, monkeypatch):
    runner = Runner()
    runner.files = ['000000010000000000000004-1.gz', '000000010000000000000006-1.gz']
    archive = {'id': '15-1', 'max': '000000010000000000000006'}
    found = ran(place, runner, archive=archive)
    assert found['kind'] == 'gap' and 'lacks WAL segment 000000010000000000000005' in found['problem'] and found['lsn'] == '0/5000100'

    def recover(self, target, limit):
        raise _private_server.RestoreError('WAL ends before end of online backup', 'x')
    monkeypatch.setattr(_verify_work.Verification, 'recover', recover)
    found = ran(place, runner, archive=archive)
    assert found['kind'] == 'gap' and 'WAL ends before' in found['problem'] and '000000010000000000000005' in found['problem']


def test_on_a_node_that_becomes_primary_it_ends(place):
    runner = Runner()

    def promoted(argv):
        runner.recovers = 'f'
        return Result(argv, 0, '', '')
    runner.fails = {' restore': promoted}
    with pytest.raises(_verify_work.Ended) as exc:
        drill(place, runner).run()
    assert 'become primary' in exc.value.seen and left(place) == []
    # Named by somebody, it is on the primary from the beginning.
    runner.fails = {}
    assert ran(place, runner)['ok']


def test_what_fails_because_the_server_of_the_node_is_down_says_nothing_of_the_backup(place):
    runner = Runner()

    def down(argv):
        runner.fails['pg_is_in_recovery'] = failing('no server')
        raise CommandError('psql: no server', Result(argv, 2, '', ''))
    runner.fails = {'pg_amcheck': down}
    with pytest.raises(_verify_work.Ended) as exc:
        drill(place, runner).run()
    assert 'does not answer any more' in exc.value.seen and left(place) == []


def test_it_has_a_limit(place):
    def late(argv):
        time.sleep(1.1)
        raise CommandError('pgbackrest did not end within 1 s', Result(argv, 124, '', ''))
    with pytest.raises(_verify_work.Ended) as exc:
        drill(place, Runner(**{' restore': late}), timeout=2).run()
    assert 'after 2 s' in exc.value.seen and left(place) == []


def test_it_leaves_room_for_the_server_of_the_node(place, monkeypatch):
    monkeypatch.setattr(_verify_work, '_FLOOR', 1 << 62)
    with pytest.raises(_verify_work.Ended):
        drill(place).run()
    assert left(place) == []


def killed(place):
    """As SIGKILL leaves it."""
    one = drill(place)
    one.write(directory=one.directory, data_directory=one.data)
    os.mkdir(one.directory)
    one.write(inode=_private_server.inode(one.directory))
    (place / 'main.verify' / 'PG_VERSION').write_bytes(b'15')


def test_what_a_killed_one_has_left_is_removed(place):
    killed(place)
    assert drill(place, timeline=0).look()['left'] and drill(place, timeline=0).look()['obstacle'] == ''
    assert ran(place)['ok']
    killed(place)
    assert drill(place).clean() is True and left(place) == []
    assert drill(place).clean() is False


def test_so_is_what_one_has_left_elsewhere(place):
    killed(place)
    assert ran(place, directory=str(place / 'other.verify'))['ok']
    killed(place)
    # By what the file says, and nothing else.
    (place / 'other.verify').mkdir()
    (place / 'other.verify' / 'mine').write_bytes(b'x')
    with pytest.raises(_private_server.RestoreError):
        drill(place, directory=str(place / 'other.verify')).run()
    assert (place / 'other.verify' / 'mine').exists()


def test_so_is_the_copy_that_goes_on(place):
    killed(place)
    process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '--pg1-path=%s' % (place / 'main.verify')])
    other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '--pg1-path=%s' % (place / 'main')])
    try:
        deadline = time.time() + 10
        while not _verify_work._processes.processes_with('--pg1-path=%s' % (place / 'main.verify')) and time.time() < deadline:
            time.sleep(0.05)
        waiting = threading.Thread(target=process.wait)
        waiting.start()
        drill(place).clean()
        waiting.join(10)
        assert process.returncode == -15 and other.poll() is None and left(place) == []
    finally:
        for each in (process, other):
            if each.poll() is None:
                each.kill()
                each.wait()


def test_what_is_not_of_a_drill_is_never_touched(place):
    (place / 'main.verify').mkdir()
    (place / 'main.verify' / 'mine').write_bytes(b'x')
    assert 'is there, and not of a restore drill' in drill(place, timeline=0).look()['obstacle']
    with pytest.raises(_private_server.RestoreError):
        drill(place).run()
    assert (place / 'main.verify' / 'mine').exists()
    # Not either where a file says that one was there of that name.
    killed_elsewhere = drill(place)
    killed_elsewhere.write(directory=killed_elsewhere.directory, data_directory=killed_elsewhere.data, inode=[1, 1])
    with pytest.raises(_private_server.RestoreError):
        drill(place).run()
    assert (place / 'main.verify' / 'mine').exists()


def test_one_at_a_time(place):
    killed(place)
    with _private_server.Alone(str(place / '.repmgr_verify.json.lock'), 1):
        with pytest.raises(_private_server.Busy):
            drill(place, timeout=1).run()
        # Of another run, and so not to be removed.
        assert drill(place).clean() is False
    assert (place / 'main.verify' / 'PG_VERSION').exists()


def test_the_copy_is_beside_the_data_themselves(place):
    os.symlink(str(place / 'main'), str(place / 'link'))
    assert drill(place, data_directory=str(place / 'link'), directory='').directory == os.path.realpath(str(place / 'main')) + '.verify'


def test_a_directory_that_is_not_there(place):
    found = drill(place, timeline=0, directory=str(place / 'nowhere' / 'x')).look()
    assert 'nowhere is no directory' in found['obstacle']
