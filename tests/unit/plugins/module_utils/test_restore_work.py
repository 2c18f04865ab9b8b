# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exchange of the directories, on real ones: ended at any point, it loses none, and the next run does the rest."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _node_notes, _restore_work
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Result

TARGET = {'latest': True}


class Runner:
    """pg_controldata: the old data are on that timeline."""

    def __init__(self, timeline=1):
        self.timeline = timeline

    def run(self, argv, **dummy):
        return Result(argv, 0, "Latest checkpoint's TimeLineID:       %d\n" % self.timeline, '')


class Ended(Exception):
    pass


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ('main', 'main.restore'):
        (tmp_path / name / 'pg_wal').mkdir(parents=True)
        (tmp_path / name / 'pg_tblspc').mkdir()
        (tmp_path / name / 'who').write_bytes(name.encode('ascii'))
    monkeypatch.setattr(_restore_work.pwd, 'getpwuid', lambda dummy: type('User', (), {'pw_dir': str(tmp_path), 'pw_name': 'postgres'}))
    return tmp_path


def work(place, **changes):
    return _restore_work.Work(changes.pop('runner', Runner()), dict({
        'data_directory': str(place / 'main'), 'bin_dir': '/bin', 'target': TARGET, 'timeline': 0, 'cluster': 'lab', 'conf': '/c', 'timeout': 1}, **changes))


def at(place, phase, **more):
    one = work(place)
    one.write(**dict({'phase': phase, 'target': one.target, 'words': 'x', 'data_directory': str(place / 'main'), 'directory': str(place / 'main.restore'),
                      'kept': str(place / 'main.before-restore-1'), 'result': {'timeline': 2}, 'live_timeline': 1, 'cluster': 'lab',
                      'inode': _restore_work.inode(str(place / 'main.restore'))}, **more))


def contents(place):
    return dict((path.name, (path / 'who').read_text()) for path in sorted(place.iterdir()) if path.is_dir())


EXCHANGED = {'main': 'main.restore', 'main.before-restore-1': 'main'}


def test_the_directories_are_exchanged_and_none_is_lost(place):
    at(place, 'swapping')
    assert work(place).swap() is True
    assert contents(place) == EXCHANGED and work(place).state['phase'] == 'swapped'
    assert work(place).swap() is False and contents(place) == EXCHANGED


@pytest.mark.parametrize('call', range(1, 5))
@pytest.mark.parametrize('after', [False, True])
def test_ended_at_any_rename_the_next_run_does_the_rest(place, monkeypatch, call, after):
    at(place, 'swapping')
    rename, calls = os.rename, []

    def ends(source, target):
        calls.append(source)
        if len(calls) == call and not after:
            raise Ended()
        rename(source, target)
        if len(calls) == call:
            raise Ended()

    monkeypatch.setattr(_restore_work.os, 'rename', ends)
    try:
        work(place).swap()
        ended = False
    except Ended:
        ended = True
    # The two directories, and the state file.
    assert ended == (call <= 3)
    assert sorted(contents(place).values()) == ['main', 'main.restore']
    monkeypatch.setattr(_restore_work.os, 'rename', rename)
    work(place).swap()
    assert contents(place) == EXCHANGED and work(place).state['phase'] == 'swapped'


@pytest.mark.parametrize('phase', ['restoring', 'proven'])
def test_nothing_is_exchanged_before_it_is_proven_and_adopted(place, phase):
    at(place, phase)
    with pytest.raises(_restore_work.RestoreError):
        work(place).swap()
    assert contents(place) == {'main': 'main', 'main.restore': 'main.restore'}


def test_nor_for_another_target(place):
    at(place, 'swapping')
    with pytest.raises(_restore_work.RestoreError):
        work(place, target={'immediate': True}).swap()
    assert contents(place) == {'main': 'main', 'main.restore': 'main.restore'}


def test_nor_under_a_server_that_runs(place, monkeypatch):
    at(place, 'swapping')
    for running in ('main', 'main.restore'):
        monkeypatch.setattr(_restore_work._postmaster, 'server_of', lambda path, name=running: 1 if path.endswith('/' + name) else None)
        with pytest.raises(_restore_work.RestoreError):
            work(place).swap()
    assert contents(place) == {'main': 'main', 'main.restore': 'main.restore'}


@pytest.mark.parametrize('timeline, history', [(2, ''), (3, ''), (1, '00000002.history')])
def test_nor_two_histories_with_one_number(place, timeline, history):
    at(place, 'swapping')
    if history:
        (place / 'main' / 'pg_wal' / history).write_bytes(b'')
    with pytest.raises(_restore_work.RestoreError) as exc:
        work(place, runner=Runner(timeline)).swap()
    assert 'meanwhile' in exc.value.seen and contents(place) == {'main': 'main', 'main.restore': 'main.restore'}


def test_only_what_is_ours_is_removed(place):
    with pytest.raises(_restore_work.RestoreError):
        work(place).clear()
    assert 'not of a restore by this collection' in work(place).obstacle() and (place / 'main.restore').exists()
    at(place, 'restoring')
    assert work(place).obstacle() == ''
    work(place).discard()
    assert contents(place) == {'main': 'main'} and work(place).state is None


def test_a_directory_of_somebody_else_stays(place):
    """Made where ours was to be, or after ours was removed."""
    at(place, 'restoring', inode=[1, 2])
    assert 'not of a restore by this collection' in work(place).obstacle()
    with pytest.raises(_restore_work.RestoreError):
        work(place).discard()
    assert contents(place) == {'main': 'main', 'main.restore': 'main.restore'}
    for name in ('who', 'pg_wal', 'pg_tblspc'):
        path = place / 'main.restore' / name
        (path.unlink if path.is_file() else path.rmdir)()
    work(place).discard()
    assert contents(place) == {'main': 'main'}


def test_what_the_configuration_names_is_there_after_the_exchange(place, monkeypatch):
    one = work(place)
    monkeypatch.setattr(one, 'live', lambda query: '\n'.join(['server.crt', str(place / 'main' / 'include' / 'x.conf'), '/etc/ssl/own.crt', '']))
    assert sorted(one.named()) == ['include/x.conf', 'server.crt']
    _restore_work._make_folders(str(place / 'main.restore'), 'include/deep')
    assert (place / 'main.restore' / 'include' / 'deep').is_dir()


def test_beside_a_clone_that_was_ended_it_can_look(place):
    """Which leaves an empty data directory."""
    for name in ('who', 'pg_wal', 'pg_tblspc'):
        path = place / 'main' / name
        (path.unlink if path.is_file() else path.rmdir)()
    at(place, 'restoring')
    assert work(place).obstacle() == ''


@pytest.mark.parametrize('timeline', [1, 2])
def test_what_would_be_refused_is_refused_before_the_server_is_stopped(place, timeline):
    at(place, 'swapping')
    one = work(place, runner=Runner(timeline))
    if timeline == 1:
        assert one.ready() is False
    else:
        with pytest.raises(_restore_work.RestoreError):
            one.ready()
    at(place, 'swapped')
    assert work(place, runner=Runner(timeline)).ready() is False


@pytest.mark.parametrize('phase', ['swapping', 'swapped'])
def test_what_is_in_its_middle_is_not_discarded(place, phase):
    at(place, phase)
    assert work(place).discard() is False and (place / 'main.restore').exists()


def test_what_cannot_be_exchanged_is_told_before(place):
    at(place, 'restoring')
    (place / 'main' / 'pg_tblspc' / '16400').mkdir()
    assert 'tablespaces' in work(place).obstacle()
    (place / 'main' / 'pg_tblspc' / '16400').rmdir()
    (place / 'main' / 'pg_wal').rmdir()
    (place / 'main' / 'pg_wal').symlink_to('/elsewhere')
    assert 'pg_wal is a link' in work(place).obstacle()


def test_the_end_keeps_the_old_data(place):
    at(place, 'swapping')
    work(place).swap()
    assert work(place).end() is True and work(place).end() is False
    assert contents(place) == EXCHANGED and not (place / _node_notes.RESTORE_FILE).exists()


def test_the_history_of_a_timeline_that_is_older_than_the_archive(place):
    """Of a cluster whose backups were set up after its last failover."""
    class Asked(Runner):
        def run(self, argv, **dummy):
            return Result(argv, 1, '', '')

    (place / 'main' / 'pg_wal' / '0000000A.history').write_bytes(b'1\t0/5000000\tx\n')
    assert work(place, runner=Asked()).history(10) == '1\t0/5000000\tx\n'
    assert (work(place, runner=Asked()).history(1), work(place, runner=Asked()).history(11)) == ('', None)


def test_files_and_folders_are_as_in_the_running_server(place):
    old, new = place / 'main', place / 'main.restore'
    (old / 'conf.d').mkdir()
    (old / 'conf.d' / 'repmgr.conf').write_bytes(b'now')
    (new / 'conf.d').mkdir()
    (new / 'conf.d' / 'gone.conf').write_bytes(b'then')
    (new / 'pg_ident.conf').write_bytes(b'then')
    (old / 'pg_hba.conf').write_bytes(b'now')
    for name in ('conf.d', 'pg_ident.conf', 'pg_hba.conf'):
        _restore_work._replace(str(old / name), str(new / name))
    assert [path.name for path in (new / 'conf.d').iterdir()] == ['repmgr.conf']
    assert not (new / 'pg_ident.conf').exists() and (new / 'pg_hba.conf').read_text() == 'now'
