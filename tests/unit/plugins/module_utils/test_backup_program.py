# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of role backup. It stands here because this folder's tests run on Python 2.7 and 3.6, too, as the program does."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import types

import pytest

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), *('../../../../roles/backup/files/backup.py'.split('/')))
program = types.ModuleType('backup')
with open(PATH) as handle:
    exec(compile(handle.read(), PATH, 'exec', 0, True), program.__dict__)  # pylint: disable=exec-used

NODE = {'address': '10.0.0.1', 'ssh_port': 22, 'port': 5432, 'data_directory': '/data', 'socket_directory': '/run/postgresql'}
PRIMARY = {'in_recovery': False, 'timeline': 2}
STANDBY = {'in_recovery': True, 'timeline': 2, 'streaming': True, 'delay': 0, 'paused': False}
BACKUP = {'label': 'l', 'type': 'full', 'error': False, 'timestamp': {'start': 1, 'stop': 2}, 'archive': {'start': '000000020000000000000004'}, 'info': {}}


class Hosts:
    """What programs say: ssh by address, psql, and pgbackrest by its command."""

    def __init__(self, states, backups=(), code=0, failing=None, checkpointed=0, archive=()):
        self.checkpointed, self.checkpoints = checkpointed, []
        self.archive, self.listed = archive, []
        self.states, self.backups, self.code, self.failing, self.ran = states, list(backups), code, failing, []

    def run(self, words, limit):
        assert limit
        if words[-1] == 'repmgr-backup-state':
            state = self.states[words[-2].split('@')[1]]
            return (255, '', 'no route') if state is None else (0, json.dumps(state), '')
        if words[-1] in ('CHECKPOINT', program.CHECKPOINT):
            self.checkpoints.append(words[-2].split('@')[-1] if words[0] == 'ssh' else 'here')
            return self.checkpointed, 'true', ''
        if words[0] == 'psql':
            state = self.states['here']
            if state is None:
                return 2, '', 'refused'
            return 0, ('t' if state['in_recovery'] else 'f') if words[-1].endswith('recovery()') else json.dumps(state), ''
        if words[-1] == 'info':
            return 0, json.dumps([{'name': 'main', 'status': {'code': self.code if self.backups or self.code else 2}, 'backup': self.backups,
                                   'archive': [{'id': '15-0'}, {'id': '15-1'}]}]), ''
        if words[-2] == 'repo-ls':
            self.listed.append(words[-1])
            if self.archive is None:
                return 55, '', 'P00  ERROR: [055]: it is not there'
            folders = ['000000010000000000000000', '0000000200000000', 'archive.info', '0000000300000000']
            names = folders if words[-1] == 'archive/main/15-1' else self.archive.pop(0)
            return 0, '\n'.join(names), ''
        self.ran.append(words)
        if words[-1] == self.failing:
            return 82, '', 'P00  ERROR: [082]: not archived\n   HINT: look'
        self.backups.append(BACKUP)
        return 0, '', ''


@pytest.fixture
def hosts(monkeypatch, tmpdir):
    def make(states, central=True, ours='host /srv/backup', **more):
        found = Hosts(states, **more)
        monkeypatch.setattr(program, 'run', found.run)
        found.settings = {'cluster': 'main', 'conf': '/c', 'node_conf': '/n', 'os_user': 'postgres', 'ssh': 'ssh', 'lock': str(tmpdir.join('lock')),
                          'marker': str(tmpdir.join('ours')), 'place': 'host /srv/backup',
                          'side': 'repo' if central else 'pg', 'name': 'here', 'psql': 'psql', 'port': 5432, 'socket_directory': '/run/postgresql'}
        if ours:
            tmpdir.join('ours').write(ours + '\n')
        if central:
            found.settings['nodes'] = dict((name, dict(NODE, address=name)) for name in states)
        return found
    return make


def test_a_backup_is_made_from_a_standby(hosts):
    found = hosts({'a': STANDBY, 'b': PRIMARY, 'c': None})
    said = program.make(found.settings, 'full')
    assert (said['made'], said['from'], said['backup']['label']) == (True, 'a', 'l')
    assert len(found.ran) == 1 and '--pg1-host=b' in found.ran[0] and '--pg2-host=a' in found.ran[0] and '--pg3-host=c' not in found.ran[0]


@pytest.mark.parametrize('states', [{'a': STANDBY, 'b': None}, {'a': PRIMARY, 'b': PRIMARY}])
def test_without_one_primary_there_is_none(hosts, states):
    found = hosts(states)
    with pytest.raises(program.Failed) as failed:
        program.make(found.settings, 'full')
    assert 'expected one' in '%s' % failed.value and found.ran == []


@pytest.mark.parametrize('state, made', [(PRIMARY, True), (STANDBY, False)])
def test_where_each_node_has_the_timers_the_primary_makes_it(hosts, state, made):
    found = hosts({'here': state}, central=False)
    assert program.make(found.settings, 'full')['made'] is made and len(found.ran) == made


@pytest.mark.parametrize('central', [True, False])
@pytest.mark.parametrize('at, wanted', [(1, True), (2, False), (None, False)])
def test_a_primary_that_was_just_promoted_makes_a_checkpoint_first(hosts, central, at, wanted):
    # None: a node whose program is older.
    found = hosts({'here': dict(PRIMARY, checkpoint_timeline=at)}, central=central)
    assert program.make(found.settings, 'full')['made'] is True
    assert found.checkpoints == (['here'] if wanted else [])


def test_a_checkpoint_that_fails_leaves_the_decision_to_pgbackrest(hosts, capsys):
    found = hosts({'a': dict(PRIMARY, checkpoint_timeline=1)}, checkpointed=1)
    assert program.make(found.settings, 'full')['made'] is True and 'has made no checkpoint' in capsys.readouterr().err


@pytest.mark.parametrize('code', [0, 1])
def test_a_peer_may_ask_a_data_node_for_a_checkpoint(hosts, monkeypatch, code):
    monkeypatch.setenv('SSH_ORIGINAL_COMMAND', program.CHECKPOINT)
    found = hosts({'here': PRIMARY}, central=False, checkpointed=code)
    assert program.remote(found.settings) is (code == 0) and found.checkpoints == ['here']


def test_a_server_that_does_not_answer_is_no_standby(hosts):
    with pytest.raises(program.Failed):
        program.make(hosts({'here': None}, central=False).settings, 'full')


def test_one_at_a_time(hosts):
    found = hosts({'a': PRIMARY})
    with program.Lock(found.settings):
        with pytest.raises(program.Failed) as failed:
            program.make(found.settings, 'full')
    assert failed.value.code == program.BUSY and found.ran == []
    assert program.make(found.settings, 'full')['made'] is True


@pytest.mark.parametrize('ends_after, made', [(1, True), (1800, True), (7200, False)])
def test_a_backup_of_the_schedule_waits_for_another_one(hosts, monkeypatch, ends_after, made):
    found, slept = hosts({'a': PRIMARY}), []
    held = program.Lock(found.settings)
    held.__enter__()

    def sleep(seconds):
        slept.append(seconds)
        if sum(slept) >= ends_after and sum(slept) - seconds < ends_after:
            held.__exit__()
    monkeypatch.setattr(program.time, 'sleep', sleep)
    monkeypatch.setattr(program.sys, 'argv', ['repmgr-backup', '/f', 'full'])
    monkeypatch.setattr(program.json, 'load', lambda handle: found.settings)
    monkeypatch.setitem(program.__dict__, 'open', lambda path: open(os.devnull if path == '/f' else path))
    assert (program.main() == 0) is made and len(found.ran) == made and sum(slept) <= program.WAIT


def test_the_watch_does_not_wait(hosts, monkeypatch):
    found = hosts({'a': PRIMARY})
    monkeypatch.setattr(program.time, 'sleep', lambda seconds: pytest.fail('it waited'))
    with program.Lock(found.settings):
        with pytest.raises(program.Failed) as failed:
            program.watch(found.settings)
    assert failed.value.code == program.BUSY


@pytest.mark.parametrize('backups, timeline, kind', [([], 2, '--type=full'), ([BACKUP], 2, None), ([BACKUP], 3, '--type=incr')])
def test_what_the_watch_makes(hosts, backups, timeline, kind):
    found = hosts({'a': dict(PRIMARY, timeline=timeline)}, backups=backups)
    assert program.watch(found.settings)['made'] is bool(kind)
    assert [words[3] for words in found.ran] == ([kind] if kind else [])


WAL = ['00000002000000000000000%d-%s.gz' % (number, 40 * 'a') for number in range(10)]


@pytest.mark.parametrize('looks, waiting, made', [
    ([WAL[4:8]], [], False),
    # Lost; one that was being sent beside the next; one that PostgreSQL still has to archive.
    ([WAL[4:5] + WAL[6:8], WAL[4:5] + WAL[6:8]], [], True),
    ([WAL[4:5] + WAL[6:8], WAL[4:8]], [], False),
    ([WAL[4:5] + WAL[6:8], WAL[4:5] + WAL[6:8]], ['000000020000000000000005'], False),
])
def test_the_watch_makes_one_after_wal_was_lost(hosts, capsys, looks, waiting, made):
    found = hosts({'a': dict(PRIMARY, wal_size=16 * 1024 * 1024, waiting=waiting)}, backups=[BACKUP], archive=looks)
    assert program.watch(found.settings)['made'] is made
    assert [words[3] for words in found.ran] == (['--type=incr'] if made else []) and found.archive == []
    assert ('will not come, the first one 000000020000000000000005' in capsys.readouterr().err) is made
    assert set(found.listed) == set(['archive/main/15-1', 'archive/main/15-1/0000000200000000'])


def test_the_watch_says_that_it_cannot_look_for_lost_wal(hosts):
    found = hosts({'a': dict(PRIMARY, wal_size=16 * 1024 * 1024)}, backups=[BACKUP], archive=None)
    with pytest.raises(program.Failed) as failed:
        program.watch(found.settings)
    assert '[055]' in '%s' % failed.value and found.ran == []


@pytest.mark.parametrize('code, created', [(1, True), (2, False), (0, False)])
def test_the_repository_learns_of_the_cluster_once(hosts, code, created):
    found = hosts({'a': PRIMARY}, code=code, backups=[BACKUP] if code == 0 else [])
    assert program.create(found.settings) == {'created': created, 'lacks_backup': code != 0}
    assert [words[-1] for words in found.ran] == (['stanza-create'] if created else [])


@pytest.mark.parametrize('ours, code, backups, take_over, refused', [
    # Nothing to lose; a run that was killed before it was recorded leaves the second one.
    ('', 1, [], False, False), ('', 2, [], False, False),
    ('', 0, [BACKUP], False, True), ('', 0, [BACKUP], True, False), ('host /srv/backup', 0, [BACKUP], False, False),
    # Another path, where somebody else has a repository.
    ('host /srv/other', 0, [BACKUP], False, True),
])
def test_backups_that_somebody_else_made_are_not_taken_over(hosts, ours, code, backups, take_over, refused):
    found = hosts({'a': PRIMARY}, code=code, backups=backups, ours=ours)
    if refused:
        with pytest.raises(program.Failed) as failed:
            program.create(found.settings, take_over)
        assert 'repmgr_backup_take_over: true' in '%s' % failed.value and found.ran == []
    else:
        program.create(found.settings, take_over)


def test_a_standby_does_not_say_whose_the_repository_is(hosts):
    found = hosts({'here': STANDBY}, central=False, backups=[BACKUP], ours='')
    with pytest.raises(program.Failed):
        program.create(found.settings)
    assert found.ran == []


@pytest.mark.parametrize('ours', ['', 'host /srv/other'])
def test_no_backup_is_made_before_it_is_recorded_whose_repository_it_is(hosts, ours):
    found = hosts({'a': PRIMARY}, ours=ours)
    for made in (lambda: program.make(found.settings, 'full'), lambda: program.watch(found.settings)):
        with pytest.raises(program.Failed) as failed:
            made()
        assert found.settings['marker'] in '%s' % failed.value and found.ran == []


def test_a_failure_says_the_error_and_not_the_last_hint(hosts, capsys):
    with pytest.raises(program.Failed) as failed:
        program.make(hosts({'a': PRIMARY}, failing='backup').settings, 'full')
    assert '%s' % failed.value == 'backup ended with exit code 82: P00  ERROR: [082]: not archived' and 'HINT' in capsys.readouterr().err


@pytest.mark.parametrize('asked', ['', 'id', 'pgbackrest --config=/c --stanza=other --remote-type=repo info:remote', 'repmgr-backup-state',
                                   'repmgr-backup-checkpoint', 'pgbackrest --config=/c --stanza=main --remote-type=repo info:remote; id'])
def test_a_peer_gets_no_shell(hosts, monkeypatch, asked):
    monkeypatch.setenv('SSH_ORIGINAL_COMMAND', asked)
    monkeypatch.setattr(os, 'execvp', lambda *words: pytest.fail('%s' % (words,)))
    with pytest.raises(program.Failed):
        program.remote(hosts({'a': PRIMARY}).settings)


def test_a_peer_gets_the_other_half(hosts, monkeypatch):
    started = []
    monkeypatch.setenv('SSH_ORIGINAL_COMMAND', 'pgbackrest --config=/c --stanza=main --remote-type=repo archive-push:remote')
    monkeypatch.setattr(os, 'execvp', lambda name, words: started.append((name, words[-1])))
    program.remote(hosts({'a': PRIMARY}).settings)
    assert started == [('pgbackrest', 'archive-push:remote')]
