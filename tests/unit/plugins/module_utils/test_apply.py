# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _action_context, _apply, _clone, _data_directory, _move_aside, _place, _repmgr, _service
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Desired

PRIMARY = 'host=a user=repmgr dbname=repmgr'


class Runner:
    """Records what is run. `fails` maps a word of a command to the results of its first calls, the last one for all others."""

    def __init__(self):
        self.calls = []
        self.fails = {}
        self.cluster_state = 'shut down'
        self.timelines = ('1', '1')
        self.restore_command = ''

    def run(self, argv, accept=(0,), **options):
        if argv[0] == '/bin-dir/pg_controldata':
            return Result(argv, 0, "Database cluster state:   %s\nLatest checkpoint's TimeLineID: %s\nMin recovery ending loc's timeline: %s\n" % (
                (self.cluster_state,) + self.timelines), '')
        if argv[-2:] == ['-C', 'restore_command']:
            return Result(argv, 0, self.restore_command + '\n', '')
        if argv[1:] == ['--version']:
            return Result(argv, 0, 'repmgr 5.3.3\n', '')
        self.calls.append(' '.join(argv))
        result = Result(argv, 0, '', '')
        for word, results in self.fails.items():
            if word in argv:
                rc, stderr = results.pop(0) if len(results) > 1 else results[0]
                result = Result(argv, rc, '', stderr)
        if accept is not None and result.rc not in accept:
            raise CommandError('ended with exit code %s' % result.rc, result)
        return result


class Psql:
    def __init__(self):
        self.space = [{'name': 'pg_default', 'location': '', 'bytes': 1024}]
        self.dropped = []
        self.in_use = False
        self.silent = self.refuses = False
        self.tried = []
        self.streams_by = "user=repmgr host=a sslmode=prefer options='-c x=1'"
        self.local = []
        self.attached_after = 0
        self.checkpoints, self.needed, self.allowed = 0, 0, 1
        self.newest = 9
        self.versions = {'available': '5.3', 'installed': '5.3'}

    def extension_versions(self, conninfo):
        assert conninfo == PRIMARY
        return self.versions

    def timeline(self, conninfo):
        if self.newest is PsqlError:
            raise PsqlError('connection refused')
        return self.newest

    def knows_its_timeline(self, conninfo):
        return self.checkpoints >= self.needed

    def checkpoint(self, conninfo):
        self.checkpoints += self.allowed
        return bool(self.allowed)

    def basebackup_progress(self, conninfo):
        return (1, 2)

    def primary_conninfo(self, conninfo):
        self.local.append(conninfo)
        return self.streams_by

    def set_primary_conninfo(self, conninfo, value):
        self.local.append(conninfo)
        self.streams_by = value
        return not self.silent

    def streams(self, conninfo, node_name):
        assert (conninfo, node_name) == (PRIMARY, 'b')
        self.attached_after -= 1
        if self.attached_after == 1:
            raise PsqlError('timeout')
        return self.attached_after < 0

    def sizes(self, conninfo):
        return self.space

    def tags(self, conninfo, script, **options):
        if self.silent or self.refuses and 'replication=true' in conninfo:
            raise PsqlError('connection refused')
        self.tried.append(conninfo)
        return {'up': 1}

    def drop_slot(self, conninfo, name):
        self.dropped.append((conninfo, name))
        return not self.in_use


@pytest.fixture
def context(tmp_path, monkeypatch):
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'PG_VERSION').write_text(u'15')
    monkeypatch.setattr(_data_directory, 'marker_path', lambda path, user: str(tmp_path / 'notes' / 'clone.json'))
    monkeypatch.setattr(_service.time, 'sleep', lambda seconds: None)
    runner = Runner()
    place = _place.Place('b', '/etc/repmgr.conf', '/bin-dir', str(data))
    return _action_context.Context(
        runner, Psql(), _repmgr.Repmgr(runner, '/bin-dir', '/etc/repmgr.conf'), place,
        Desired(role='standby', node_id=2, node_name='b', conninfo='host=b', slot_name='repmgr_slot_2'),
        {'service_start_command': 'sudo /usr/bin/systemctl start pg', 'service_stop_command': 'sudo /usr/bin/systemctl stop pg'},
        primary_conninfo=PRIMARY, upstream_node_id=1, wanted_upstream_id=1, actual_upstream_id=3, data_state='partial')


REPMGR = '/bin-dir/repmgr -f /etc/repmgr.conf '
COMMANDS = [
    (['check_space', 'clone', 'start', 'register'], [
        REPMGR + '-d %s standby clone --fast-checkpoint --upstream-node-id=1' % PRIMARY,
        'sudo /usr/bin/systemctl start pg',
        REPMGR + 'standby register --upstream-node-id=1 --wait-sync=60']),
    (['start', 'register_force'], [
        'sudo /usr/bin/systemctl start pg', REPMGR + 'standby register --force --upstream-node-id=1 --wait-sync=60']),
    (['follow', 'register_force'], [
        REPMGR + 'standby follow --upstream-node-id=1', REPMGR + 'standby register --force --upstream-node-id=1 --wait-sync=60']),
    (['register_as_is', 'follow'], [
        REPMGR + 'standby register --force --upstream-node-id=3 --wait-sync=60', REPMGR + 'standby follow --upstream-node-id=1']),
    (['set_address'], []),
    (['register_stopped', 'rejoin_attach', 'register_force'], [
        REPMGR + 'standby register -h a -U repmgr -d repmgr --force --upstream-node-id=1', REPMGR + '-d %s node rejoin' % PRIMARY,
        REPMGR + 'standby register --force --upstream-node-id=1 --wait-sync=60']),
    (['set_tls', 'register_force'], [REPMGR + 'standby register --force --upstream-node-id=1 --wait-sync=60']),
    (['stop', 'rejoin_attach'], ['sudo /usr/bin/systemctl stop pg', REPMGR + '-d %s node rejoin' % PRIMARY]),
    (['stop', 'rejoin_rewind'], ['sudo /usr/bin/systemctl stop pg', REPMGR + '-d %s node rejoin --force-rewind' % PRIMARY]),
    (['register_primary'], [REPMGR + 'primary register']),
    (['register_primary_force'], [REPMGR + 'primary register --force']),
    (['register_witness'], [REPMGR + 'witness register -h a -U repmgr -d repmgr']),
    (['register_witness_force'], [REPMGR + 'witness register -h a -U repmgr -d repmgr --force']),
    (['unregister_standby', 'drop_slot'], [REPMGR + 'standby unregister']),
    (['unregister_witness'], [REPMGR + 'witness unregister']),
    (['unregister_primary'], [REPMGR + 'primary unregister --force']),
]


@pytest.mark.parametrize('actions, commands', COMMANDS, ids=['+'.join(case[0]) for case in COMMANDS])
def test_commands(context, actions, commands):
    _apply.apply(context, actions)
    assert context.runner.calls == commands
    assert [step['action'] for step in context.done] == actions


OLDER = 'the primary is on timeline %d, which is older than timeline %d of b'


@pytest.mark.parametrize('theirs, control, history, refused', [
    (2, ('1', '1'), (), ''), (None, ('3', '3'), (), ''),
    (1, ('1', '1'), (), 'both the primary and b have been primary on timeline 1'),
    (1, ('2', '1'), (), OLDER % (1, 2)),
    (1, ('1', '2'), (), OLDER % (1, 2)),
    # It was promoted a moment before it died: its control data do not know.
    (1, ('1', '1'), ('00000002.history',), OLDER % (1, 2)),
    (9, ('1', '1'), ('0000000A.history', '00000011.history.partial'), OLDER % (9, 10)),
    (PsqlError, ('1', '1'), (), 'connection refused'),
])
@pytest.mark.parametrize('actions', [['rejoin_rewind'], ['stop', 'rejoin_rewind']])
def test_no_rewind_onto_an_older_timeline(context, theirs, control, history, refused, actions):
    """Nor is the server stopped for it; a new copy beside the old data is asked for by name."""
    wal = os.path.join(context.place.data_directory, 'pg_wal')
    os.mkdir(wal)
    for name in history:
        open(os.path.join(wal, name), 'w').close()
    context.psql.newest, context.runner.timelines = theirs, control
    dry = _apply.dry_run(context, actions)
    assert dry is None or 'error' not in dry if not refused else refused in dry['error'] and not dry['ok']
    context.runner.calls[:] = []
    if not refused:
        _apply.apply(context, actions)
        return
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, actions)
    assert refused in found.value.text and context.runner.calls == [] and context.done == []
    _apply.apply(context, ['rejoin_attach'])


@pytest.mark.parametrize('state, signal, refused', [
    ('shut down', False, True), ('in production', False, True), ('in crash recovery', False, True),
    # A standby that is stopped; a standby without its signal, and what pg_rewind has written.
    ('shut down', True, False), ('shut down in recovery', False, False), ('in archive recovery', False, False),
])
def test_no_rewind_to_a_primary_on_the_same_timeline(context, state, signal, refused):
    context.psql.newest, context.runner.timelines, context.runner.cluster_state = 2, ('2', '0'), state
    if signal:
        for name in ('PG_VERSION', 'standby.signal'):
            with open(os.path.join(context.place.data_directory, name), 'w') as handle:
                handle.write('15' if name == 'PG_VERSION' else '')
    dry = _apply.dry_run(context, ['rejoin_rewind'])
    assert ('both the primary' in dry.get('error', '') and 'repmgr_rejoin=reclone' in dry['error']) is refused


def test_every_action_has_a_case():
    assert set(action for actions, dummy in COMMANDS for action in actions) | set(['move_aside']) == set(_apply.ACTIONS)


@pytest.mark.parametrize('upstream', [1, None])
def test_a_copy_from_another_node_than_the_one_to_follow(context, upstream):
    context.clone_conninfo, context.upstream_node_id = 'host=c user=repmgr dbname=repmgr', upstream
    _apply.apply(context, ['clone', 'register'])
    # Without the id repmgr would ask the source whom to follow.
    assert context.runner.calls == [REPMGR + '-d host=c user=repmgr dbname=repmgr standby clone --fast-checkpoint --upstream-node-id=1',
                                    REPMGR + 'standby register --upstream-node-id=1 --wait-sync=60']
    assert _apply.SIZES['clone'](context).endswith(' from c')
    # repmgr has made its slot there, too.
    assert context.psql.dropped == [('host=c user=repmgr dbname=repmgr', 'repmgr_slot_2')] and context.warnings == []


def test_a_standby_is_registered_when_its_upstream_sees_it(context, monkeypatch):
    monkeypatch.setattr(_service.time, 'sleep', lambda seconds: None)
    context.psql.attached_after = 3
    _apply.apply(context, ['register'])
    assert context.psql.attached_after == -1 and len(context.runner.calls) == 1
    # Who is never seen is asked about at repmgr's own word, which says why.
    context.psql.attached_after, context.register_timeout = 10 ** 9, 0
    _apply.apply(context, ['register'])
    assert context.psql.attached_after == 10 ** 9 and len(context.runner.calls) == 2
    _apply.apply(context, ['register_force'])
    assert context.psql.attached_after == 10 ** 9 and len(context.runner.calls) == 3


@pytest.mark.parametrize('register', ['register', 'register_force'])
def test_a_slot_is_dropped_where_the_copy_came_from_once_the_node_streams(context, register):
    context.clone_conninfo, context.register_timeout = 'host=c user=repmgr dbname=repmgr', 1
    _apply.apply(context, ['clone'])
    assert context.psql.dropped == []
    context.psql.attached_after = 10 ** 9
    _apply.apply(context, [register])
    assert context.psql.dropped == []
    context.psql.attached_after = 0
    _apply.apply(context, [register])
    assert context.psql.dropped == [('host=c user=repmgr dbname=repmgr', 'repmgr_slot_2')] and context.warnings == []


def test_a_slot_that_cannot_be_dropped_where_the_copy_came_from_is_warned_about(context):
    context.clone_conninfo = 'host=c user=repmgr dbname=repmgr'

    def fails(conninfo, name):
        raise PsqlError('server closed the connection')

    context.psql.drop_slot = fails
    _apply.apply(context, ['clone', 'register'])
    assert "SELECT pg_drop_replication_slot('repmgr_slot_2')" in context.warnings[0] and 'server closed' in context.warnings[0]


def test_who_was_not_cloned_leaves_every_slot(context):
    context.clone_conninfo = 'host=c user=repmgr dbname=repmgr'
    _apply.apply(context, ['register'])
    assert context.psql.dropped == []


def test_a_copy_comes_from_the_node_to_follow_where_nothing_is_said(context):
    assert context.clone_conninfo == PRIMARY
    context.upstream_node_id = None
    _apply.apply(context, ['clone', 'register'])
    assert context.runner.calls[0] == REPMGR + '-d %s standby clone --fast-checkpoint' % PRIMARY and context.psql.dropped == []


@pytest.mark.parametrize('failing, ran', [('clone', 1), ('start', 2), ('register', 3)])
def test_the_first_failure_ends_it(context, failing, ran):
    actions = ['check_space', 'clone', 'start', 'register', 'drop_slot']
    context.runner.fails = {failing: [(7, 'INFO: trying\nERROR: it is broken\nHINT: mend it\n')]}
    with pytest.raises(_action_context.ApplyError) as caught:
        _apply.apply(context, actions)
    assert (caught.value.action, caught.value.text) == (failing, 'ERROR: it is broken HINT: mend it')
    assert caught.value.result['rc'] == 7
    assert len(context.runner.calls) == ran
    assert [step['action'] for step in context.done] == actions[:actions.index(failing) + 1]
    assert context.psql.dropped == []


def test_a_clone_that_failed_leaves_its_note_and_one_that_worked_does_not(context):
    note = _data_directory.marker_path('', '')
    context.runner.fails = {'clone': [(14, 'ERROR: no')]}
    with pytest.raises(_action_context.ApplyError):
        _apply.apply(context, ['clone'])
    with open(note) as handle:
        assert json.load(handle)['pid'] == os.getpid()
    context.runner.fails = {}
    _apply.apply(context, ['clone'])
    assert not os.path.exists(note)


def test_no_space(context):
    context.psql.space = [{'name': 'pg_default', 'location': '', 'bytes': 2 ** 62}]
    with pytest.raises(_action_context.ApplyError) as caught:
        _apply.apply(context, ['check_space', 'clone'])
    assert 'a clone needs' in caught.value.text and context.runner.calls == []


def test_space_that_cannot_be_asked_is_a_warning(context):
    context.psql.space = None
    _apply.apply(context, ['check_space'])
    assert context.warnings == ['The size of the source could not be read, so free space was not checked.']


@pytest.mark.parametrize('state, word', [('partial', 'partial'), ('valid', 'old')])
def test_move_aside_keeps_everything(context, state, word):
    context.data_state = state
    os.chmod(context.place.data_directory, 0o750)
    _apply.apply(context, ['move_aside'])
    moved = context.done[0]['result']['to']
    assert moved.startswith('%s.%s-' % (context.place.data_directory, word))
    assert os.listdir(moved) == ['PG_VERSION'] and os.listdir(context.place.data_directory) == []
    assert os.stat(context.place.data_directory).st_mode & 0o777 == 0o750


def test_wal_in_a_place_of_its_own_is_moved_aside_too(context, tmpdir):
    wal, data = tmpdir.mkdir('wal').mkdir('pg_wal'), context.place.data_directory
    wal.join('segment').write('')
    os.symlink(str(wal), os.path.join(data, 'pg_wal'))
    context.data_state = 'valid'
    _apply.apply(context, ['move_aside'])
    moved = context.done[0]['result']['to']
    assert os.listdir(os.path.join(moved, 'pg_wal')) == ['segment']
    # What a clone makes anew.
    assert not wal.check() and os.listdir(data) == []


def test_what_cannot_be_renamed_stays_as_it_is(context, monkeypatch):
    before = os.listdir(context.place.data_directory)
    monkeypatch.setattr(os.path, 'ismount', lambda path: path == context.place.data_directory)
    with pytest.raises(_action_context.ApplyError, match='cannot be renamed to .*: it is a mount'):
        _apply.apply(context, ['stop', 'move_aside'])
    assert os.listdir(context.place.data_directory) == before
    # Nor is the server stopped for it.
    assert context.runner.calls == [] and context.done == []


@pytest.mark.parametrize('where', ['data', 'data in a link'])
def test_a_link_stays_and_the_new_copy_is_where_the_old_one_was(context, tmpdir, where):
    """The file system that it leads to is the one that has room."""
    disk = tmpdir.mkdir('disk')
    os.rename(context.place.data_directory, str(disk.join('pg')))
    os.symlink(str(disk.join('pg')), context.place.data_directory)
    context.data_state = 'valid'
    if where != 'data':
        os.symlink(context.place.data_directory, str(tmpdir.join('second')))
        context.place.data_directory = str(tmpdir.join('second'))
    _apply.apply(context, ['move_aside'])
    moved = context.done[0]['result']['to']
    assert os.path.dirname(moved) == str(disk) and os.listdir(moved) == ['PG_VERSION']
    assert os.path.islink(context.place.data_directory) and os.path.realpath(context.place.data_directory) == str(disk.join('pg'))
    assert os.listdir(context.place.data_directory) == []


def test_a_mount_behind_a_link_is_no_directory_to_rename(context, tmpdir, monkeypatch):
    disk = tmpdir.mkdir('disk')
    os.rename(context.place.data_directory, str(disk.join('pg')))
    os.symlink(str(disk.join('pg')), context.place.data_directory)
    monkeypatch.setattr(os.path, 'ismount', lambda path: path == str(disk.join('pg')))
    with pytest.raises(_action_context.ApplyError, match='cannot be renamed'):
        _apply.apply(context, ['move_aside'])
    assert os.listdir(str(disk)) == ['pg'] and os.listdir(str(disk.join('pg'))) == ['PG_VERSION']


def test_bind_mounts_of_one_file_system_are_different_mounts():
    with open('/proc/self/mountinfo') as handle:
        points = [line.split()[4] for line in handle]
    for point in points:
        if os.path.isdir(point) and os.path.realpath(point) == point:
            assert _move_aside.mount_of(point) == point
    assert _move_aside.mount_of('/nowhere/at/all') == '/'


def tablespace(context, tmpdir, oid, linked=True):
    """An own directory with the folder of a server in it, as CREATE TABLESPACE leaves one."""
    location = tmpdir.mkdir('space%s' % oid)
    location.mkdir('PG_15_202209061').join('file').write(oid)
    folder = os.path.join(context.place.data_directory, 'pg_tblspc')
    if not os.path.isdir(folder):
        os.mkdir(folder)
    if linked:
        os.symlink(str(location), os.path.join(folder, oid))
    return location


@pytest.mark.parametrize('state', ['valid', 'partial'])
def test_tablespaces_are_moved_aside_too(context, tmpdir, state):
    spaces = [tablespace(context, tmpdir, oid) for oid in ('16384', '16385')]
    # An in-place tablespace, as PostgreSQL's own tests create it, and an empty one, which pg_basebackup accepts as it is.
    os.mkdir(os.path.join(context.place.data_directory, 'pg_tblspc', '16386'))
    empty = tmpdir.mkdir('empty')
    os.symlink(str(empty), os.path.join(context.place.data_directory, 'pg_tblspc', '16387'))
    context.data_state = state
    _apply.apply(context, ['move_aside'])
    moved = context.done[0]['result']['to']
    for oid, space in zip(('16384', '16385'), spaces):
        # What a clone wants empty, and an old copy that is whole.
        assert space.check(dir=True) and space.listdir() == []
        with open(os.path.join(moved, 'pg_tblspc', oid, 'PG_15_202209061', 'file')) as handle:
            assert handle.read() == oid
        kept = os.path.realpath(os.path.join(moved, 'pg_tblspc', oid))
        assert kept.startswith('%s.%s-' % (space, 'old' if state == 'valid' else 'partial'))
    assert os.path.realpath(os.path.join(moved, 'pg_tblspc', '16387')) == str(empty)
    assert os.listdir(context.place.data_directory) == []


def test_a_tablespace_in_a_folder_of_root_is_kept_beside_the_data(context, tmpdir, monkeypatch):
    root = tmpdir.mkdir('srv')
    space = tablespace(context, root, '16384')
    context.data_state = 'valid'
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: path != str(root) and access(path, mode))
    _apply.apply(context, ['move_aside'])
    moved = context.done[0]['result']['to']
    kept = os.path.realpath(os.path.join(moved, 'pg_tblspc', '16384'))
    assert kept == moved + '.tablespace' + str(space).replace('/', '-') and os.listdir(kept) == ['PG_15_202209061']
    assert space.listdir() == []


@pytest.mark.parametrize('case', ['other file system', 'not only its own'])
def test_a_tablespace_that_cannot_be_moved_stops_everything(context, tmpdir, monkeypatch, case):
    first, second = [tablespace(context, tmpdir, oid) for oid in ('16384', '16385')]
    if case == 'other file system':
        monkeypatch.setattr(os.path, 'ismount', lambda path: path == str(second))
    else:
        second.mkdir('PG_14_202107181')
    with pytest.raises(_action_context.ApplyError, match='space16385') as found:
        _apply.apply(context, ['check_space', 'stop', 'move_aside', 'clone'])
    assert found.value.action == 'move_aside' and context.runner.calls == [] and context.done == []
    assert first.join('PG_15_202209061', 'file').check() and os.path.exists(os.path.join(context.place.data_directory, 'PG_VERSION'))
    assert 'run again' in _apply.next_step(found.value, 'b')


@pytest.mark.parametrize('marked', [True, False])
def test_tablespaces_of_a_clone_that_was_killed_before_it_made_their_links(context, tmpdir, marked):
    """pg_basebackup copies the tablespaces first. Without the note that they were empty before, it is unknown whose they are."""
    space = tablespace(context, tmpdir, '16384', linked=False)
    context.psql.space.append({'name': 'fast', 'location': str(space), 'bytes': 1024})
    if marked:
        os.mkdir(os.path.dirname(_data_directory.marker_path('', '')))
        with open(_data_directory.marker_path('', ''), 'w') as handle:
            json.dump({'tablespaces': [str(space)]}, handle)
    _apply.apply(context, ['move_aside'])
    assert (space.listdir() == []) == marked
    if marked:
        assert [name.basename for name in tmpdir.listdir() if name.basename.startswith('space16384.partial-')] != []


def test_a_move_that_was_interrupted_goes_on(context, tmpdir):
    """WAL and a tablespace have got their new names already."""
    wal, space = tmpdir.mkdir('wal.old-20260101T000000Z'), tmpdir.mkdir('ts.old-20260101T000000Z')
    wal.join('segment').write('')
    space.mkdir('PG_15_202209061')
    os.symlink(str(wal), os.path.join(context.place.data_directory, 'pg_wal'))
    os.mkdir(os.path.join(context.place.data_directory, 'pg_tblspc'))
    os.symlink(str(space), os.path.join(context.place.data_directory, 'pg_tblspc', '1'))
    _apply.apply(context, ['move_aside'])
    moved = context.done[0]['result']['to']
    assert os.listdir(os.path.join(moved, 'pg_wal')) == ['segment'] and os.listdir(os.path.join(moved, 'pg_tblspc', '1')) == ['PG_15_202209061']


def test_copies_that_pile_up_are_named_with_their_size(context, tmpdir):
    context.data_state = 'valid'
    data = context.place.data_directory
    # Nothing but these names is a copy.
    for name in ('.old', '.old-20260101T000000Z.tablespace-srv', '2.old-20260101T000000Z'):
        os.mkdir(data + name)
    assert _move_aside.kept_copies(context) == []
    os.mkdir(data + '.partial-20260101T000000Z')
    wal = tmpdir.mkdir('wal.partial-20260101T000000Z')
    wal.join('segment').write('x' * 2048)
    os.symlink(str(wal), data + '.partial-20260101T000000Z/pg_wal')
    _apply.apply(context, ['move_aside'])
    result = context.done[0]['result']
    assert [copy['path'] for copy in result['kept']] == [result['to'], data + '.partial-20260101T000000Z']
    assert result['kept'][1]['bytes'] >= 2048
    assert '2 copies of %s that were moved aside use 2.' % data in context.warnings[0] and result['to'] in context.warnings[0]
    # And where they are what takes the room.
    context.psql.space = [{'name': 'pg_default', 'location': '', 'bytes': 2 ** 62}]
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, ['check_space', 'stop'])
    assert '2 earlier copies take 2.' in found.value.text and context.runner.calls == []
    assert 'Free some space' in _apply.next_step(found.value, 'b')


def test_one_copy_is_no_reason_to_warn(context):
    _apply.apply(context, ['move_aside'])
    assert context.warnings == [] and len(context.done[0]['result']['kept']) == 1


def test_a_tablespace_that_cannot_be_created_here(context, tmpdir, monkeypatch):
    context.psql.space.append({'name': 'fast', 'location': str(tmpdir.join('no', 'ts')), 'bytes': 1024})
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: path != str(tmpdir) and access(path, mode))
    with pytest.raises(_action_context.ApplyError, match='cannot be created here'):
        _apply.apply(context, ['check_space', 'stop'])
    assert context.runner.calls == []


@pytest.mark.parametrize('case', ['space', 'mount'])
def test_check_mode_says_what_would_stand_in_the_way(context, monkeypatch, case):
    if case == 'space':
        context.psql.space = [{'name': 'pg_default', 'location': '', 'bytes': 2 ** 62}]
    else:
        monkeypatch.setattr(os.path, 'ismount', lambda path: path == context.place.data_directory)
    answer = _apply.dry_run(context, ['check_space', 'stop', 'move_aside', 'clone'])
    assert not answer['ok'] and ('a clone needs' if case == 'space' else 'cannot be renamed') in answer['error']
    assert context.runner.calls == []


@pytest.mark.parametrize('before', ["user=repmgr host=a options='-c x=1'", "user=repmgr host=a sslmode=prefer sslrootcert=/x options='-c x=1'"])
def test_only_the_tls_settings_of_a_stream_are_changed(context, before):
    context.psql.streams_by = before
    context.settings = {'unix_socket_directories': '/run/pg, /tmp', 'port': '5433'}
    context.desired.conninfo = 'host=b sslmode=verify-full sslrootcert=/etc/root.crt'
    _apply.apply(context, ['set_tls'])
    assert context.psql.streams_by == "host=a user=repmgr options='-c x=1' sslmode=verify-full sslrootcert=/etc/root.crt"
    assert set(context.psql.local) == set(['host=/run/pg port=5433 user=postgres dbname=postgres'])
    # And back, where TLS was switched off.
    context.desired.conninfo = 'host=b'
    _apply.apply(context, ['set_tls'])
    assert context.psql.streams_by == "host=a user=repmgr options='-c x=1'"


def test_the_password_of_a_stream_is_left_to_the_passfile(context):
    before = 'host=a user=repmgr password=S3cret application_name=b'
    context.psql.streams_by = before
    _apply.apply(context, ['set_tls'])
    assert 'password=S3cret' in context.psql.streams_by
    # Only where it has a line, and once a login by it has worked.
    context.psql.streams_by, context.psql.refuses, context.desired.knows_password = before, True, True
    with pytest.raises(_action_context.ApplyError, match='cannot connect to its upstream'):
        _apply.apply(context, ['set_tls'])
    assert context.psql.streams_by == before
    context.psql.refuses = False
    _apply.apply(context, ['set_tls'])
    assert context.psql.streams_by == 'host=a user=repmgr application_name=b' and 'password' not in context.psql.tried[-1]
    context.psql.streams_by, context.desired.conninfo = before, 'host=b password=S3cret'
    _apply.apply(context, ['set_tls'])
    assert 'password=S3cret' in context.psql.streams_by


def test_the_address_of_a_stream_is_changed_where_the_upstream_has_another(context):
    context.psql.streams_by = 'host=192.0.2.1 port=5432 user=repmgr application_name=b'
    context.desired.conninfo = 'host=b'
    _apply.apply(context, ['set_address'])
    assert context.psql.streams_by.startswith('host=a ') and context.psql.streams_by.endswith('user=repmgr application_name=b')
    context.psql.refuses = True
    with pytest.raises(_action_context.ApplyError, match='cannot connect to its upstream') as caught:
        _apply.apply(context, ['set_address'])
    assert caught.value.action == 'set_address'


def test_a_stream_is_changed_only_to_what_its_upstream_lets_in(context):
    context.psql.streams_by, context.psql.refuses = 'user=repmgr host=ox hostaddr=192.0.2.9', True
    context.desired.conninfo = 'host=b sslmode=verify-full sslrootcert=/etc/root.crt'
    with pytest.raises(_action_context.ApplyError, match='cannot connect to its upstream with host=a user=repmgr .*: connection refused'):
        _apply.apply(context, ['set_tls'])
    assert context.psql.streams_by == 'user=repmgr host=ox hostaddr=192.0.2.9'
    context.psql.refuses = False
    _apply.apply(context, ['set_tls'])
    assert context.psql.streams_by == 'host=a user=repmgr sslmode=verify-full sslrootcert=/etc/root.crt'
    assert 'host=a user=repmgr dbname=replication' in context.psql.tried[-1] and 'replication=true' in context.psql.tried[-1]


@pytest.mark.parametrize('before, silent, text', [(None, False, 'cannot be read'), ('host=a', True, 'could not be set')])
def test_tls_settings_that_only_a_superuser_may_change(context, before, silent, text):
    context.psql.streams_by = before
    if silent:
        context.psql.set_primary_conninfo = lambda conninfo, value: False
    with pytest.raises(_action_context.ApplyError, match=text):
        _apply.apply(context, ['set_tls'])


def test_a_server_that_does_not_answer(context):
    context.psql.silent, context.start_timeout = True, -1
    with pytest.raises(_action_context.ApplyError) as caught:
        _apply.apply(context, ['start', 'register'])
    assert caught.value.text == 'the server does not answer -1 s after its start: connection refused'
    assert context.runner.calls == ['sudo /usr/bin/systemctl start pg']


def test_without_service_commands_pg_ctl_is_used(context):
    context.config = {'pg_ctl_options': '-o "-p 5433"'}
    _apply.apply(context, ['stop', 'start'])
    data = context.place.data_directory
    assert context.runner.calls == [
        '/bin-dir/pg_ctl -D %s -w -m fast stop' % data,
        '/bin-dir/pg_ctl -D %s -w -t 60 -l %s/pg_ctl.log -o -p 5433 start' % (data, data)]


SETTLING = (24, 'ERROR: node "a" (ID: 1) is not registered as primary')


@pytest.mark.parametrize('results, calls, text', [
    ([SETTLING, SETTLING, (0, '')], 3, None),
    ([(6, 'ERROR: no connection'), (0, '')], 2, None),
    ([SETTLING], 5, 'ERROR: node "a" (ID: 1) is not registered as primary'),
    ([(24, 'ERROR: this node has diverged')], 1, 'ERROR: this node has diverged'),
])
def test_a_rejoin_waits_for_metadata_that_settle_and_for_nothing_else(context, results, calls, text):
    context.runner.fails = {'rejoin': list(results)}
    if text:
        with pytest.raises(_action_context.ApplyError) as caught:
            _apply.apply(context, ['rejoin_attach'])
        assert caught.value.text == text
    else:
        _apply.apply(context, ['rejoin_attach'])
        assert context.done[0]['result']['rc'] == 0
    assert len(context.runner.calls) == calls


def test_a_crashed_server_is_recovered_before_it_is_rewound(context, tmp_path):
    """Where Debian has its configuration, pg_rewind does not find it."""
    data = context.place.data_directory
    context.runner.cluster_state = 'in production'
    _apply.apply(context, ['rejoin_rewind'])
    assert context.runner.calls[0] == '/bin-dir/postgres --single -F -D %s template1' % data
    elsewhere = tmp_path / 'etc'
    elsewhere.mkdir()
    (elsewhere / 'postgresql.conf').write_text(u'')
    context.config['config_directory'] = str(elsewhere)
    context.runner.calls = []
    _apply.apply(context, ['rejoin_rewind'])
    assert context.runner.calls[0] == '/bin-dir/postgres --single -F -D %s -c config_file=%s/postgresql.conf template1' % (data, elsewhere)
    assert context.runner.calls[1].endswith('node rejoin --force-rewind')
    context.runner.calls, context.runner.cluster_state = [], 'shut down'
    _apply.apply(context, ['rejoin_rewind'])
    assert len(context.runner.calls) == 1


@pytest.mark.parametrize('signal', ['standby.signal', 'recovery.conf'])
@pytest.mark.parametrize('version, state, timelines, calls', [
    # What has received nothing that the primary never had is attached as it is.
    ('15', 'shut down in recovery', ('2', '3'), ['try', 'rejoin']),
    ('15', 'in archive recovery', ('2', '3'), ['start', 'stop', 'try', 'rejoin']),
    ('15', 'shut down in recovery', ('2', '3'), ['try no', 'try rewind', 'recover', 'rewind']),
    ('15', 'shut down in recovery', ('2', '3'), ['try no', 'try rewind no']),
    ('15', 'shut down in recovery', ('2', '3'), ['try no', 'try rewind', 'recover no']),
    ('15', 'shut down in recovery', ('3', '3'), ['try no', 'rewind']),
    ('15', 'shut down in recovery', ('1', '0'), ['try no', 'rewind']),
    ('16', 'shut down in recovery', ('2', '3'), ['try no', 'rewind']),
])
def test_a_standby_is_attached_or_made_ready_for_pg_rewind(context, tmp_path, version, state, timelines, calls, signal):
    data, said = tmp_path / 'data', []
    (data / 'PG_VERSION').write_text(u'%s' % version)
    (data / signal).write_text(u'standby_mode = on')
    context.runner.cluster_state, context.runner.timelines = state, timelines
    run = context.runner.run

    def told(argv, accept=(0,), **options):
        words = [('start', 'start'), ('stop', 'stop'), ('--single', 'recover'), ('--dry-run', 'try'), ('--force-rewind', 'rewind')]
        found = [name for word, name in words if word in argv] or [word for word in argv if word == 'rejoin']
        if not found:
            return run(argv, accept=accept, **options)
        said.append(' '.join(found))
        if found == ['start']:
            context.runner.cluster_state = 'shut down in recovery'
        if said[-1] + ' no' == calls[len(said) - 1]:
            said[-1] += ' no'
            result = Result(argv, 24 if 'rejoin' in argv else 1, '', 'ERROR: no')
            if accept is not None and result.rc not in accept:
                raise CommandError('no', result)
            return result
        # Whatever becomes of it afterwards, it starts as a standby.
        assert ('recover' in found) == (not (data / signal).exists())
        return Result(argv, 0, '', '')

    context.runner.run = told
    if calls[-1].endswith(' no'):
        with pytest.raises(_action_context.ApplyError, match='ERROR: no'):
            _apply.apply(context, ['rejoin_rewind'])
    else:
        _apply.apply(context, ['rejoin_rewind'])
    assert said == calls
    assert sorted(path.name for path in data.iterdir()) == sorted(['PG_VERSION', signal])


@pytest.mark.parametrize('signal', ['standby.signal', 'recovery.signal', 'recovery.conf'])
def test_a_run_that_was_killed_during_the_recovery_leaves_a_standby(context, tmp_path, monkeypatch, signal):
    """Whatever comes next, the server's start or another rejoin, puts the file back first."""
    data = tmp_path / 'data'
    (data / 'PG_VERSION').write_text(u'15')
    (data / signal).write_text(u'x')
    aside = _service.SignalsAside([str(data / signal)])
    aside.__enter__()
    names = set(path.name for path in data.iterdir())
    assert signal not in names and signal + '.aside' in names
    started = []
    monkeypatch.setattr(_service, '_run_service_command', lambda context, action: started.append((data / signal).exists()) or Result([action], 0, '', ''))
    monkeypatch.setattr(_service, 'wait_for_sql', lambda context: None)
    _service.start(context)
    assert started == [True] and not (data / (signal + '.aside')).exists()
    # The one that has moved it finds it back.
    aside.__exit__()
    assert (data / signal).exists()


def test_what_an_earlier_rejoin_has_left_aside_does_not_come_back_later(context, tmp_path):
    data = tmp_path / 'data'
    (data / 'standby.signal.aside').write_text(u'x')
    (data / 'standby.signal').write_text(u'x')
    _service.put_signals_back(str(data))
    assert sorted(path.name for path in data.iterdir()) == ['PG_VERSION', 'standby.signal']


def test_a_primary_that_was_promoted_a_moment_ago_gets_a_checkpoint_before_a_rewind(context):
    context.psql.needed = 1
    _apply.apply(context, ['rejoin_rewind'])
    assert context.psql.checkpoints == 1 and len(context.runner.calls) == 1
    context.psql.checkpoints = context.psql.allowed = 0
    with pytest.raises(_action_context.ApplyError, match='psql -c CHECKPOINT'):
        _apply.apply(context, ['rejoin_rewind'])
    assert len(context.runner.calls) == 1


@pytest.mark.parametrize('version, outside, used', [('15', True, True), ('13', True, False), ('13', False, True), ('12', False, False)])
def test_wal_is_restored_from_an_archive_where_pg_rewind_can(context, tmp_path, version, outside, used):
    context.runner.restore_command = "cp /archive/%f %p"
    (tmp_path / 'data' / 'PG_VERSION').write_text(u'%s' % version)
    if outside:
        (tmp_path / "it's").mkdir()
        (tmp_path / "it's" / 'postgresql.conf').write_text(u'')
        context.config['config_directory'] = str(tmp_path / "it's")
    _apply.apply(context, ['rejoin_rewind'])
    program = str(tmp_path / 'notes' / 'pg_rewind')
    assert context.runner.calls[-1].endswith('--force-rewind=%s' % program if used else '--force-rewind')
    if used:
        text = (tmp_path / 'notes' / 'pg_rewind').read_text()
        wanted = "exec '/bin-dir/pg_rewind' '--restore-target-wal'"
        if outside:
            wanted += " '--config-file=%s/it'\\''s/postgresql.conf'" % tmp_path
        assert text == '#!/bin/sh\n%s "$@"\n' % wanted


def test_what_would_be_moved_and_copied(context):
    data = context.place.data_directory
    os.mkdir(os.path.join(data, 'base'))
    with open(os.path.join(data, 'base', '1'), 'w') as handle:
        handle.write('x' * 3070)
    assert _apply.SIZES['move_aside'](context) == '3.0 kB in %s' % data
    assert _apply.SIZES['clone'](context) == '1.0 kB from a'
    context.psql.space = None
    assert _apply.SIZES['clone'](context) == ''


def test_slots(context):
    _apply.apply(context, ['drop_slot'])
    assert context.psql.dropped == [(PRIMARY, 'repmgr_slot_2')] and context.warnings == []
    context.psql.in_use = True
    _apply.apply(context, ['drop_slot'])
    assert 'Slot repmgr_slot_2 was not dropped' in context.warnings[0]
    context.desired = context.desired.replace(slot_name='')
    _apply.apply(context, ['drop_slot'])
    assert len(context.psql.dropped) == 2


def test_a_witness_with_an_old_copy_is_told_to_overwrite_it(context):
    context.has_rows = True
    _apply.apply(context, ['register_witness'])
    assert context.runner.calls[0].endswith('--force')


@pytest.mark.parametrize('name', sorted(_apply.DRY_RUNS))
def test_a_dry_run_is_a_dry_run(context, name):
    answer = _apply.dry_run(context, ['check_space', 'move_aside', name, 'drop_slot'])
    assert (answer['action'], answer['ok']) == (name, True)
    assert len(context.runner.calls) == 1 and context.runner.calls[0].endswith(' --dry-run')
    assert context.done == [] and context.psql.dropped == []
    context.runner.fails = {'--dry-run': [(1, 'ERROR: no')]}
    assert _apply.dry_run(context, [name])['ok'] is False


def test_actions_without_a_dry_run_are_not_run(context):
    assert _apply.dry_run(context, ['start', 'stop', 'unregister_standby', 'drop_slot', 'move_aside']) is None
    # repmgr would refuse it, because the server runs.
    assert _apply.dry_run(context, ['stop', 'rejoin_rewind']) is None
    assert context.runner.calls == []


@pytest.mark.parametrize('action, stderr, words', [
    ('follow', 'ERROR: this node cannot attach to follow target node "a" (ID 1)', 'ansible-playbook pgfleet.repmgr.rejoin --check -e repmgr_target=b'),
    ('follow', 'ERROR: unable to connect', 'See `actions`'),
    ('follow', None, 'See `actions`'),
    ('start', 'cannot attach', 'See `actions`'),
])
def test_what_to_type_after_a_failure(action, stderr, words):
    result = None if stderr is None else Result(['repmgr'], 1, '', stderr).to_dict()
    assert words in _steps.sentences(_apply.next_step(_action_context.ApplyError(action, 'x', result), 'b'))


def test_the_note_of_a_clone_that_was_finished_by_hand_goes(tmp_path, monkeypatch):
    note = tmp_path / 'clone.json'
    monkeypatch.setattr(_data_directory, 'marker_path', lambda path, user: str(note) if user else None)
    note.write_text(u'{}')
    place = _place.Place('b', '/etc/repmgr.conf', '/bin-dir', '/data')
    for user in ('postgres', 'postgres', ''):
        place.user = user
        _clone.forget_clone(place)
        assert not note.exists()


@pytest.mark.parametrize('versions, refused', [
    ({'available': '5.4', 'installed': '5.3'}, True), ({'available': '5.10', 'installed': '5.9'}, True), ({'available': '5.3', 'installed': '5.4'}, False),
    ({'available': '5.3', 'installed': None}, False), (None, False)])
def test_a_source_that_repmgr_would_not_copy_keeps_the_old_data_where_they_are(context, versions, refused):
    context.psql.versions = versions
    context.psql.space = []
    if not refused:
        _apply.apply(context, ['check_space'])
        return
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, ['check_space', 'stop', 'move_aside', 'clone'])
    assert 'minor_upgrade' in found.value.text and context.runner.calls == [] and os.path.isdir(context.place.data_directory)
