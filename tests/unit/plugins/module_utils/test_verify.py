# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore drill: where, from what, and what its findings mean."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _restore, _verdict, _verify
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.test_restore import BACKUPS, FULL, NEW, NOW
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.test_verdict import ID, healthy, judge, running

SIZE = 16 * 1048576
GB = 1024 ** 3
NODE_JSON = {'/etc/pgfleet/backup/main/node.json': 'x 0644 root postgres'}


def data_node(recovers, free=10 * GB, **more):
    one = running(recovers)
    one.files, one.disks = NODE_JSON, [{'path': '/d', 'total_bytes': 100 * GB, 'free_bytes': free}]
    return one.replace(**more)


def cluster(**nodes):
    return healthy(**dict({'a': data_node(False), 'b': data_node(True, 20 * GB), 'c': data_node(True, 30 * GB)}, **nodes))


def look(**changes):
    return dict({'obstacle': '', 'left': False, 'free': 10 * GB, 'size': 100, 'reserve': GB, 'now': NOW, 'parent': '/d', 'directory': '/d/x.verify',
                 'backups': BACKUPS, 'history': '', 'archive': {'id': '15-1', 'min': '0' * 23 + '1', 'max': '000000010000000000000011'},
                 'tablespaces': []}, **changes)


def plan(hosts=None, looks=None, **asked):
    hosts = cluster() if hosts is None else hosts
    return _verify.verify_plan(_verdict.hosts_from(hosts), judge(hosts), {} if looks is None else looks, dict(
        {'cluster': 'main', 'tool': 'pgbackrest', 'target': '', 'set': '', 'time': ''}, **asked))


# -- where

def test_it_is_on_the_standby_with_the_most_room():
    assert plan()['place'] == 'c' and plan()['refuse'] == []
    assert plan(cluster(b=data_node(True, 40 * GB)))['place'] == 'b'


def test_rather_not_on_one_that_commits_wait_for():
    assert plan(cluster(a=data_node(False, replication=[{'application_name': 'c', 'sync_state': 'sync', 'state': 'streaming'}])))['place'] == 'b'


@pytest.mark.parametrize('hosts, asked, said', [
    ({}, {'tool': 'none'}, 'repmgr_backup is none'),
    ({}, {'target': 'w'}, 'it is a witness'),
    ({}, {'target': 'z'}, 'it is no node of cluster main'),
    ({'b': running(True)}, {'target': 'b'}, 'its backups are not set up'),
    ({'b': None}, {'target': 'b'}, 'it cannot be observed'),
    ({'b': running(True), 'c': running(True)}, {}, 'there is no standby that runs and whose backups are set up'),
    ({'a': data_node(False, restore={'phase': 'swapping', 'target': 'x'})}, {}, 'a restore to x is in its middle'),
    ({'a': running(True)}, {}, 'expected one primary, because'),
], ids=str)
def test_where_it_cannot_be(hosts, asked, said):
    found = plan(cluster(**hosts), **asked)
    assert found['refuse'] and said in found['refuse'][0], found['refuse']


def test_the_primary_is_taken_if_it_is_named():
    assert plan(target='a')['place'] == 'a' and plan(target='a')['refuse'] == []


# -- from what

def test_what_is_restored():
    found = plan(looks={'c': look(size=GB), 'b': look(left=True), 'a': look()})
    assert found['refuse'] == [] and found['backup']['label'] == BACKUPS[1]['label'] and found['timeline'] == 1 and found['directory'] == '/d/x.verify'
    # As much as the data have now, a tenth more, and the WAL.
    assert found['needed'] == int(1.1 * GB) + GB and found['free'] == 10 * GB and found['discard'] == ['b']
    assert plan(looks={'c': look()}, set=FULL)['backup']['label'] == FULL
    assert plan(looks={'c': look()}, time='2026-11-30 17:01:00+00')['backup']['label'] == FULL


@pytest.mark.parametrize('changes, asked, said', [
    ({'obstacle': '/d.verify is there'}, {}, 'c: /d.verify is there'),
    ({'error': 'the backup repository does not answer: no route'}, {}, 'does not answer: no route'),
    ({'backups': []}, {}, 'has no backup of the cluster; expected one or more. Type: ansible-playbook'),
    ({'history': None}, {}, 'no history of timeline 1'),
    ({'free': 10}, {}, '0 MB are free in /d; expected 2125 MB'),
    ({'tablespaces': ['/t']}, {}, 'has tablespaces: /t'),
    ({}, {'set': NEW}, 'does not lead to'),
    ({}, {'set': '20010101-000000F'}, 'has no backup 20010101-000000F'),
    ({}, {'time': '2099-01-01 00:00:00+00'}, 'is in the future'),
    ({}, {'time': '2001-01-01 00:00:00+00'}, 'is before the end of the oldest backup'),
], ids=str)
def test_what_cannot_be_restored(changes, asked, said):
    found = plan(looks={'c': look(**changes)}, **asked)
    assert len(found['refuse']) == 1 and said in found['refuse'][0], found['refuse']


# -- what it finds

def names(timeline, numbers):
    return ['%08X%08X%08X-0123.gz' % (timeline, 0, number) for number in numbers]


def test_wal_that_lacks():
    backup = {'timeline': 1, 'first_wal': '000000010000000000000004'}
    assert _verify.missing_wal(names(1, [2, 4, 5, 7]), backup, 1, [], SIZE) == ['000000010000000000000006']
    assert _verify.missing_wal(names(1, [4, 5, 6, 7]), backup, 1, [], SIZE) == []
    # Up to where the first timeline ended, and from there on along the second one.
    ended = [(1, 7 * SIZE + 100)]
    assert _verify.missing_wal(names(1, [4, 5, 6]) + names(2, [7, 8]), backup, 2, ended, SIZE) == []
    assert _verify.missing_wal(names(1, [4, 5]) + names(2, [7, 9]), backup, 2, ended, SIZE) == ['000000010000000000000006', '000000020000000000000008']
    # What the old primary archived after it was replaced is not missed.
    assert _verify.missing_wal(names(1, [4, 5, 6, 9]) + names(2, [7]), backup, 2, ended, SIZE) == []
    assert _verify.missing_wal(names(3, [9]) + names(1, [4, 5, 6]), backup, 3, ended + [(2, 9 * SIZE)], SIZE) == [
        '000000020000000000000007', '000000020000000000000008']


def test_folders_of_the_archive():
    backup = {'timeline': 2, 'first_wal': '000000020000000100000004'}
    assert _verify.wal_folders(['0000000100000009', '0000000200000000', '0000000200000001', '0000000300000000', '00000003.history'], backup) == [
        '0000000200000001', '0000000300000000']


def recovered(target=None, missing=(), **seen):
    return _verify.recovery_problem(_restore.target(target or {'latest': True}), dict(
        {'in_recovery': False, 'system_identifier': ID, 'timeline': 2, 'lsn': '0/11000100', 'stopped': '', 'tablespaces': 0}, **seen),
        {'system_identifier': ID, 'timeline': 1, 'archive': {'max': '000000010000000000000011'}, 'missing': list(missing), 'size': SIZE})


def test_recovery_to_the_end():
    assert recovered() is None
    assert recovered(lsn='0/10FFFFFF') == ('recovery', 'recovery ended at 0/10FFFFFF, and the archive goes on to 000000010000000000000011')
    kind, said = recovered(lsn='0/6000000', missing=['000000010000000000000006', '000000010000000000000008'])
    assert kind == 'gap' and 'the archive lacks WAL segment 000000010000000000000006 and 1 more' in said
    # It was still being archived when it was looked for.
    assert recovered(missing=['000000010000000000000006']) is None
    assert recovered(system_identifier='1')[0] == 'recovery' and recovered(timeline=1)[0] == 'recovery'
    moment = {'time': '2026-11-30 16:59:00+00'}
    assert 'before it reached' in recovered(moment, lsn='0/5000000')[1]
    assert recovered(moment, lsn='0/5000000', stopped='recovery stopping before commit') is None


@pytest.mark.parametrize('expected, returned, wrong', [
    (5, '5', False), ('5', '5', False), ('t', 't', False), (5, '6', True), ('', 'x', True), (None, 'x', False)])
def test_answers_of_queries(expected, returned, wrong):
    said = _verify.query_problem({'database': 'shop', 'query': 'SELECT\n  1', 'expected': expected}, returned)
    assert bool(said) is wrong
    assert not wrong or '"SELECT 1" in database shop returned "%s", expected "%s"' % (returned, expected) == said


def test_why_the_server_ended():
    log = ('2026-11-30 21:00:00 UTC LOG:  starting\n2026-11-30 21:00:01 P00  ERROR: [103]: unable to find a valid repository:\n       repo1: no route\n'
           'psql: FATAL:  the database system is not accepting connections\n'
           '2026-11-30 21:00:02 UTC FATAL:  could not restore file "x" from archive\n')
    assert _verify.fatal_of(log) == 'could not restore file "x" from archive; [103]: unable to find a valid repository:'
    assert _verify.fatal_of('ERROR: [029]: raised from local-1 protocol\n [FormatError] on retry') == '[029]: raised from local-1 protocol'
    assert _verify.fatal_of('all is well') == ''


# -- the last one

def note(ok=True, ended=NOW - 7000, **more):
    return dict({'ok': ok, 'ended': ended, 'label': 'L', 'node': 'b', 'problem': '' if ok else 'it is damaged', 'kind': '' if ok else 'damage',
                 'seconds': {'total': 9.5}, 'newest_commit': 'then'}, **more)


def remembers(last, max_age=0):
    return {'max_age': max_age, 'now': NOW, 'last': last}


def problems(a, b=None):
    answer = judge(healthy(a=running(False).replace(verified=a), b=running(True).replace(verified=b)))
    return [(problem['code'], problem['stop'], problem['message']) for problem in answer['problems']]


def test_a_drill_that_failed_is_a_problem():
    (code, stop, said), = problems(remembers(note(ok=False)))
    assert (code, stop) == ('backup_verify_failed', False) and 'it is damaged' in said
    assert 'pgfleet.repmgr.backup -e repmgr_backup_type=full; then try it by: ansible-playbook pgfleet.repmgr.verify_backup' in said
    assert 'repmgr_verify_queries' in problems(remembers(note(ok=False, kind='query')))[0][2]
    assert problems(remembers(note())) == [] and problems(None) == []


def test_the_newest_one_counts_whoever_knows_of_it():
    assert problems(remembers(note(ok=False)), remembers(note(ended=NOW - 10))) == []
    assert problems(remembers(note(ended=NOW - 10)), remembers(note(ok=False))) == []
    assert problems(remembers(note()), remembers(note(ok=False, ended=NOW - 10)))[0][0] == 'backup_verify_failed'


@pytest.mark.parametrize('last, max_age, said', [
    (None, 0, None), (None, 1, 'no restore drill was made'), (note(), 2, None), (note(), 1, 'the last restore drill was 116 minutes ago'),
    (note(ended=NOW - 300000), 24, 'was 3 days ago; expected one within 24 hours')])
def test_a_drill_that_is_too_long_ago(last, max_age, said):
    found = problems(remembers(last, max_age))
    assert [problem[:2] for problem in found] == ([('backup_verify_old', False)] if said else [])
    assert not said or said in found[0][2]


def test_what_status_shows():
    assert _verify.drill([None, None]) is None
    assert _verify.drill([remembers(None)])['text'] == 'none was made'
    shown = _verify.drill([None, remembers(note())])
    assert shown['ok'] is True and shown['age_seconds'] == 7000
    assert shown['text'] == '116 minutes ago: backup L was restored and checked on b in 9 s; newest commit then'
    assert _verify.summary(note(newest_commit=None)).endswith('no commit came after the backup')
    assert _verify.drill([remembers(note(ok=False))])['text'] == '116 minutes ago, failed: backup L, on b: it is damaged'


def test_files_of_other_drills():
    assert _verify.valid_state({'directory': '/d.verify', 'data_directory': '/d'})
    assert _verify.valid_state(None) is None and _verify.valid_state({'directory': 5, 'data_directory': '/d'}) is None
