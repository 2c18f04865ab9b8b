# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tablespaces outside of the data directory: whose their content is, and whether a clone can be made there."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _action_context, _apply, _data_directory, _place
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Desired

FOLDER = 'PG_15_202209061'


class Psql:
    """A source with tablespaces at `locations`."""

    def __init__(self):
        self.locations = []
        self.errors = []

    def sizes(self, conninfo):
        for error in self.errors:
            raise error
        return [{'name': 'pg_default', 'location': '', 'bytes': 1}] + [{'name': 'x', 'location': '%s' % path, 'bytes': 1} for path in self.locations]

    def extension_versions(self, conninfo):
        return None

    def basebackup_progress(self, conninfo):
        return None


class Repmgr:
    """A clone that writes into the tablespaces and is killed before it has made their links."""

    def __init__(self, context):
        self.context = context
        self.writes = []

    def standby_clone(self, *dummy, **more):
        for location in self.writes:
            location.join(FOLDER).ensure(dir=True).join('file').write('of the clone')
        with open(os.path.join(self.context.place.data_directory, 'backup_label'), 'w'):
            pass
        raise CommandError('killed', Result(['repmgr'], 137, '', ''))


@pytest.fixture
def context(tmpdir, monkeypatch):
    monkeypatch.setattr(_data_directory, 'marker_path', lambda path, user: str(tmpdir.join('notes', 'clone.json')))
    place = _place.Place('b', '/etc/repmgr.conf', '/bin-dir', str(tmpdir.mkdir('data')), user='postgres')
    found = _action_context.Context(None, Psql(), None, place, Desired(role='standby', node_id=2, node_name='b', conninfo='host=b'), {},
                                    primary_conninfo='host=a', data_state='empty')
    found.repmgr = Repmgr(found)
    return found


def kill_a_clone(context):
    with pytest.raises(_action_context.ApplyError):
        _apply.apply(context, ['clone'])
    context.data_state = 'partial'


def test_what_a_killed_clone_has_written_is_moved_aside(context, tmpdir):
    context.psql.locations = [tmpdir.mkdir('empty'), tmpdir.join('missing')]
    context.repmgr.writes = list(context.psql.locations)
    kill_a_clone(context)
    _apply.apply(context, ['check_space', 'move_aside'])
    for location in context.psql.locations:
        assert location.listdir() == []
        kept, = [path for path in tmpdir.listdir() if path.basename.startswith(location.basename + '.partial-')]
        assert kept.join(FOLDER, 'file').read() == 'of the clone'


@pytest.mark.parametrize('when', ['the source got its tablespace later', 'it was there when the clone began', 'the source did not answer',
                                  'a marker of an earlier version', 'a damaged marker', 'a marker of strange content'])
def test_the_tablespace_of_another_server_of_the_host_stays(context, tmpdir, when):
    theirs = tmpdir.mkdir('srv')
    if when == 'it was there when the clone began':
        theirs.mkdir(FOLDER).join('file').write('of another server')
        context.psql.locations = [theirs]
    if when == 'the source did not answer':
        context.psql.errors = [PsqlError('timeout')]
    kill_a_clone(context)
    marker = tmpdir.join('notes', 'clone.json')
    if 'marker' in when:
        content = json.loads(marker.read())
        del content['tablespaces']
        marker.write({'a marker of an earlier version': json.dumps(content), 'a damaged marker': '{"tablespaces": ["/', 'a marker of strange content':
                      json.dumps({'tablespaces': [None, 1, '', 'srv', {}]})}[when])
    theirs.join(FOLDER).ensure(dir=True).join('file').write('of another server')
    context.psql.locations, context.psql.errors = [theirs], []
    _apply.apply(context, ['move_aside'])
    assert theirs.join(FOLDER, 'file').read() == 'of another server' and os.listdir(context.place.data_directory) == []


def test_a_marker_whose_tablespaces_are_no_list(context, tmpdir):
    kill_a_clone(context)
    tmpdir.join('notes', 'clone.json').write('{"tablespaces": 1}')
    _apply.apply(context, ['move_aside'])


def test_the_source_may_be_silent_when_a_partial_directory_is_moved(context, tmpdir):
    context.psql.locations = context.repmgr.writes = [tmpdir.mkdir('space')]
    kill_a_clone(context)
    context.psql.errors = [PsqlError('timeout')]
    _apply.apply(context, ['move_aside'])
    assert tmpdir.join('space').listdir() == []


def refused(context, actions=('check_space', 'stop', 'move_aside', 'clone')):
    """The error of check_space. Nothing was run or moved, and check mode says the same."""
    before = sorted(os.listdir(context.place.data_directory))
    dry = _apply.dry_run(context, list(actions))
    with pytest.raises(_action_context.ApplyError) as found:
        _apply.apply(context, list(actions))
    assert found.value.action == 'check_space' and sorted(os.listdir(context.place.data_directory)) == before
    assert (dry['action'], dry['ok'], dry['error']) == ('check_space', False, found.value.text)
    steps = _apply.next_step(found.value, 'b')
    assert 'Nothing was stopped or moved' in '%s' % (steps,) and 'Free some space' not in '%s' % (steps,)
    return found.value.text


def link(context, location, oid='16384'):
    folder = os.path.join(context.place.data_directory, 'pg_tblspc')
    if not os.path.isdir(folder):
        os.mkdir(folder)
    os.symlink(str(location), os.path.join(folder, oid))


@pytest.mark.parametrize('state', ['valid', 'empty', 'missing', 'partial'])
@pytest.mark.parametrize('name', ['lost+found', '.hidden', FOLDER])
def test_no_clone_into_a_location_that_is_not_empty(context, tmpdir, state, name):
    """pg_basebackup refuses even a dot file, after the old data were moved."""
    context.data_state, context.psql.locations = state, [tmpdir.mkdir('srv')]
    tmpdir.join('srv').mkdir(name)
    text = refused(context, ('check_space', 'stop', 'move_aside', 'clone') if state in ('valid', 'partial') else ('check_space', 'clone'))
    assert name in text and str(tmpdir.join('srv')) in text


def test_no_clone_into_what_is_no_directory(context, tmpdir):
    tmpdir.join('file').write('')
    tmpdir.join('dangling').mksymlinkto('/nowhere/at/all')
    for name in ('file', 'dangling'):
        context.psql.locations = [tmpdir.join(name)]
        assert name in refused(context, ('check_space', 'clone'))


@pytest.mark.parametrize('linked', [True, False])
def test_no_clone_into_a_location_that_is_not_writable(context, tmpdir, monkeypatch, linked):
    context.data_state, context.psql.locations = 'valid', [tmpdir.mkdir('srv')]
    if linked:
        link(context, tmpdir.join('srv'))
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: not (path == str(tmpdir.join('srv')) and mode & os.W_OK) and access(path, mode))
    assert 'not writable for postgres' in refused(context)


@pytest.mark.parametrize('case', ['own', 'own by another path', 'own and moved already', 'empty', 'missing', 'behind a link', 'in the data directory'])
def test_a_clone_into_a_location_that_will_be_free(context, tmpdir, case):
    location, context.data_state = tmpdir.join('srv'), 'valid'
    if case not in ('missing', 'in the data directory'):
        location.mkdir()
    if case == 'behind a link':
        location = tmpdir.join('link')
        location.mksymlinkto(tmpdir.join('srv'))
    if case == 'in the data directory':
        location = tmpdir.join('data', 'srv').ensure(dir=True)
        location.mkdir(FOLDER)
    if case.startswith('own'):
        location.mkdir(FOLDER)
        link(context, location)
    if case == 'own by another path':
        tmpdir.join('way').mksymlinkto(tmpdir)
        location = tmpdir.join('way', 'srv')
    if case == 'own and moved already':
        kept = tmpdir.mkdir('srv.old-20260101T000000Z')
        location.join(FOLDER).move(kept.join(FOLDER))
        os.unlink(os.path.join(context.place.data_directory, 'pg_tblspc', '16384'))
        link(context, kept)
    context.psql.locations = [location]
    assert _apply.dry_run(context, ['check_space', 'stop', 'move_aside']) is None
    _apply.apply(context, ['check_space', 'move_aside'])
    assert not location.check() or location.listdir() == []


@pytest.mark.parametrize('config', [{'tablespace_mapping': '/a=/b'}, {'pg_basebackup_options': '-c fast -T /a=/b'}, {'barman_host': 'backup'},
                                    {'pg_basebackup_options': '--tablespace-mapping=/a=/b'}])
def test_locations_that_repmgr_conf_changes_are_not_known_here(context, tmpdir, config):
    context.psql.locations = [tmpdir.mkdir('srv')]
    tmpdir.join('srv').mkdir(FOLDER)
    refused(context, ('check_space', 'clone'))
    context.config = config
    _apply.apply(context, ['check_space'])
