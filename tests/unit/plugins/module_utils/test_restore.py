# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import subprocess

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _failover, _restore, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Host, Observed, Server
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.test_verdict import ID, healthy, judge, running

NOW = 1796057907 + 7200
AT = '2026-11-30 16:59:00+00'
INFO = json.dumps([{'name': 'lab', 'archive': [{'id': '15-1', 'min': '0' * 23 + '1', 'max': '000000020000000000000011'}], 'backup': [
    {'label': label, 'type': kind, 'error': error, 'archive': {'start': start + '0000000000000006'}, 'lsn': {'stop': stop},
     'timestamp': {'start': ended - 5, 'stop': ended}, 'info': {'size': 1000 * 1048576}} for label, kind, error, start, stop, ended in (
         ('20261130-165822F', 'full', False, '00000001', '0/6000138', 1796057907),
         ('20261130-170000F', 'full', True, '00000001', '0/7000000', 1796058005),
         ('20261130-165822F_20261130-171000I', 'incr', False, '00000001', '0/9000000', 1796058605),
         ('20261130-165822F_20261130-173000I', 'incr', False, '00000002', '0/A000000', 1796059805))]}])
BACKUPS = _backup.backups(INFO, 'lab')
FULL, OLD, NEW = [backup['label'] for backup in BACKUPS]
# The second timeline began after the first backup, and before the second one.
SECOND = _restore.history('1\t0/8000000\tbefore 2026-11-30 17:05:00+00\n')


def seen(problems):
    return [problem[0] for problem in problems]


@pytest.mark.parametrize('wanted', [
    {'time': AT}, {'time': '2026-11-30T16:59:00.123Z', 'exclusive': True}, {'xid': 775}, {'xid': '775', 'exclusive': False}, {'lsn': '0/6000138'},
    {'name': 'before the drop', 'set': FULL}, {'immediate': True, 'set': OLD}, {'latest': True, 'timeline': 2}], ids=str)
def test_what_may_be_asked_for(wanted):
    assert _restore.input_problems(wanted) == []
    # What two runs compare is of the same shape after JSON.
    assert json.loads(json.dumps(_restore.target(wanted))) == _restore.target(wanted)


@pytest.mark.parametrize('wanted, said', [
    ('2026', 'no dictionary'), ({}, 'no target'), ({'set': FULL}, 'no target'), ({'time': AT, 'xid': 5}, 'time and xid'), ({'tme': AT}, 'unknown: tme'),
    ({'time': '2026-11-30 16:59:00'}, 'time is'), ({'time': 'now'}, 'time is'), ({'time': '2026-02-30 16:59:00+00'}, 'time is'),
    ({'time': '2026-11-30 24:59:00+00'}, 'time is'), ({'time': AT + '\n; x'}, 'time is'), ({'xid': 2}, 'xid is'), ({'xid': True}, 'xid is'),
    ({'xid': '1 or 2'}, 'xid is'), ({'lsn': 'here'}, 'lsn is'), ({'name': "it's"}, 'name is'), ({'name': ''}, 'name is'), ({'name': 'x' * 64}, 'name is'),
    ({'latest': False}, 'latest is'), ({'immediate': 'yes'}, 'immediate is'), ({'name': 'x', 'exclusive': True}, 'exclusive is'),
    ({'time': AT, 'exclusive': 'no'}, 'exclusive is'), ({'latest': True, 'set': 'last'}, 'set is'), ({'latest': True, 'set': FULL + '/..'}, 'set is'),
    ({'latest': True, 'timeline': 0}, 'timeline is'), ({'latest': True, 'timeline': 'latest'}, 'timeline is')], ids=str)
def test_what_may_not(wanted, said):
    assert len(_restore.input_problems(wanted)) == 1 and said in seen(_restore.input_problems(wanted))[0]


# -- which backup

def choose(wanted, timeline=2, ancestors=None):
    return _restore.choose(BACKUPS, _restore.target(wanted), timeline, SECOND if ancestors is None else ancestors)


@pytest.mark.parametrize('wanted, timeline, label', [
    ({'latest': True}, 2, NEW), ({'latest': True}, 1, OLD), ({'name': 'x'}, 2, NEW), ({'immediate': True, 'set': FULL}, 2, FULL),
    # Not the second one: it ended on what was given up.
    ({'time': '2026-11-30 17:20:00+00'}, 2, FULL), ({'time': '2026-11-30 17:20:00+00'}, 1, OLD), ({'time': '2026-11-30 17:40:00+00'}, 2, NEW),
    ({'lsn': '0/9500000'}, 2, FULL), ({'lsn': '0/A000000'}, 2, NEW), ({'lsn': '0/9500000'}, 1, OLD)], ids=str)
def test_the_newest_backup_that_leads_there(wanted, timeline, label):
    backup, problem = choose(wanted, timeline, None if timeline == 2 else [])
    assert problem is None and backup['label'] == label


@pytest.mark.parametrize('wanted, timeline, said', [
    ({'time': '2026-11-30 16:58:00+00'}, 2, 'before the end of the oldest backup, %s' % FULL), ({'lsn': '0/6000000'}, 2, 'before the end of the oldest'),
    ({'latest': True, 'set': '20200101-000000F'}, 2, 'has no backup 20200101-000000F'), ({'latest': True, 'set': OLD}, 2, '%s does not lead to' % OLD),
    ({'time': '2026-11-30 17:20:00+00', 'set': NEW}, 2, '%s does not lead to' % NEW), ({'latest': True}, 7, 'no backup from which timeline 7')], ids=str)
def test_no_backup_leads_there(wanted, timeline, said):
    backup, problem = choose(wanted, timeline, SECOND if timeline == 2 else [])
    assert backup is None and said in problem[0]


# -- the private server

def test_the_private_server_is_private_and_archives_nothing():
    options = dict(_restore.private_options('/run/x', {'wal_level': 'logical'}, {'max_connections': 300}))
    assert (options['listen_addresses'], options['archive_command'], options['archive_mode']) == ('', '/bin/false', 'on')
    assert options['unix_socket_permissions'] == '0700'
    for keeps_wal in (True, False):
        assert dict(_restore.private_options('/run/x', {}, {}, keeps_wal))['max_logical_replication_workers'] == '0'
    assert options['wal_level'] == 'logical' and options['max_connections'] == 300


@pytest.mark.parametrize('wanted, options', [
    ({'time': AT, 'exclusive': True}, {'recovery_target_time': AT, 'recovery_target_inclusive': 'off', 'recovery_target_action': 'promote'}),
    ({'xid': 7}, {'recovery_target_xid': '7', 'recovery_target_inclusive': 'on', 'recovery_target_action': 'promote'}),
    ({'immediate': True}, {'recovery_target': 'immediate', 'recovery_target_action': 'promote'}), ({'latest': True}, {})], ids=str)
def test_where_recovery_ends(wanted, options):
    found = dict(_restore.recovery_options(_restore.target(wanted), 3, _restore.get_command('/etc/c', 'lab', '/d')))
    assert found.pop('recovery_target_timeline') == '3'
    # The archiver of the cluster has the lock of asynchronous commands.
    assert found.pop('restore_command').startswith('pgbackrest --config=/etc/c --stanza=lab --no-archive-async --pg1-path=/d archive-get %f "%p"; ')
    assert found == options


@pytest.mark.parametrize('code, seen', [(0, 0), (1, 1), (2, 255), (55, 255), (103, 255), (127, 255)])
def test_a_repository_that_fails_is_no_end_of_the_archive(code, seen):
    # PostgreSQL stops for more than 125.
    command = dict(_restore.recovery_options(_restore.target({'latest': True}), 3, ['sh', '-c', '"exit %d"' % code]))['restore_command']
    assert subprocess.call(['sh', '-c', command.replace('%f', '0').replace('%p', 'x')]) == seen


@pytest.mark.parametrize('change, said', [
    ({}, ''), ({'in_recovery': True}, 'in recovery'), ({'system_identifier': 2}, 'system identifier'), ({'timeline': 3}, 'timeline 3, and the cluster on 3'),
    ({'stopped': ''}, 'before it reached'), ({'tablespaces': 1}, 'tablespaces')], ids=str)
def test_what_is_proven(change, said):
    found = dict({'in_recovery': False, 'system_identifier': 1, 'timeline': 4, 'stopped': 'recovery stopping before x', 'tablespaces': 0}, **change)
    problem = _restore.proof_problem(_restore.target({'time': AT}), found, {'system_identifier': '1', 'live_timeline': 3, 'reached': '0/9000000'})
    assert said in problem and bool(said) == bool(problem)


@pytest.mark.parametrize('ended, reached, said', [
    ('0/8FFFFFF', '0/9000000', 'recovery ended at 0/8FFFFFF, and the archive goes on to 0/9000000'), ('0/9000000', '0/9000000', ''), ('0/1', '', '')])
def test_the_end_of_the_archive_was_reached(ended, reached, said):
    found = {'in_recovery': False, 'system_identifier': 1, 'timeline': 4, 'stopped': '', 'tablespaces': 0, 'lsn': ended}
    assert _restore.proof_problem(_restore.target({'latest': True}), found, {'system_identifier': '1', 'live_timeline': 3, 'reached': reached}) == said


def test_the_log_says_where_recovery_stopped():
    log = '2026 LOG:  starting\n2026 LOG:  recovery stopping before commit of transaction 775, time 2026-11-30 17:08:03+00\n2026 LOG:  redo done\n'
    assert _restore.stopped_at(log) == 'recovery stopping before commit of transaction 775, time 2026-11-30 17:08:03+00'
    assert _restore.stopped_at('recovery ended') == ''


# -- what a run would do

def look(**changes):
    return dict({'state': None, 'obstacle': '', 'free': 2000 * 1048576, 'now': NOW, 'archive': None, 'history': '', 'backups': BACKUPS,
                 'tablespaces': []}, **changes)


def plan(wanted=None, hosts=None, looks=None, **asked):
    found = _verdict.hosts_from(hosts or healthy())
    return _restore.restore_plan(found, _verdict.verdict(found), dict({'a': look(), 'b': look(), 'c': look()}, **(looks or {})), dict(
        {'given': wanted or {'time': AT}, 'consent': 'lab', 'cluster': 'lab', 'clusters': ['lab'], 'tool': 'pgbackrest', 'look_only': False,
         'begun': ''}, **asked))


def state(phase, wanted=None, live=1):
    return {'phase': phase, 'target': _restore.target(wanted or {'time': AT}), 'data_directory': '/d', 'directory': '/d.restore', 'kept': '',
            'live_timeline': live, 'timeline': 1, 'backup': BACKUPS[0], 'cluster': 'lab', 'begun': 'then', 'result': {'timeline': 2}}


def test_a_plan():
    found = plan()
    assert (found['refuse'], found['place'], found['phase'], found['backup']['label'], found['timeline']) == ([], 'a', '', FULL, 1)


@pytest.mark.parametrize('changes, said', [
    ({'consent': ''}, 'consent is not set'), ({'consent': 'other'}, 'consent is "other"'), ({'clusters': ['lab', 'b']}, 'the clusters b, lab'),
    ({'tool': 'none'}, 'repmgr_backup is none'), ({'looks': {'a': look(now=1796057900)}}, 'in the future'),
    ({'looks': {'b': look(free=1)}}, 'b: 0 MB are free'),
    ({'looks': {'a': look(free=1050 * 1048576)}}, 'a: 1050 MB are free'),
    # The data have grown since the backup.
    ({'looks': {'a': look(size=5000 * 1048576), 'b': look(free=9000 * 1048576), 'c': look(free=9000 * 1048576)}}, 'a: 2000 MB are free'),
    ({'looks': {'c': look(obstacle='/d is a mount')}}, '/d is a mount'),
    ({'looks': {'a': look(error='no answer')}}, 'no answer'), ({'looks': {'a': look(history=None)}}, 'no history of timeline 1'),
    ({'looks': {'a': look(tablespaces=['/ts'])}}, 'has tablespaces: /ts'), ({'wanted': {'time': 'x'}}, 'time zone')], ids=str)
def test_why_not(changes, said):
    found = plan(**changes)
    assert len(found['refuse']) == 1 and said in found['refuse'][0] and '; expected ' in found['refuse'][0], found['refuse']


def test_without_consent_the_command_is_said_and_check_mode_needs_none():
    refusal = plan(consent='')['refuse'][0]
    assert '-e repmgr_restore_consent=lab -e \'{"repmgr_restore": {"time": "%s"}}\'' % AT in refusal and '--check' in refusal
    assert plan(consent='', look_only=True)['refuse'] == []


def test_a_data_node_that_is_away_is_a_reason_against_it():
    hosts = healthy()
    hosts[1].update(observed=None, unreachable=True)
    found = _verdict.hosts_from(hosts)
    refuse = _restore.restore_plan(found, _verdict.verdict(found), {'a': look(), 'c': look()}, {
        'given': {'time': AT}, 'consent': 'lab', 'cluster': 'lab', 'clusters': ['lab'], 'tool': 'pgbackrest', 'look_only': False, 'begun': ''})['refuse']
    assert any(text.startswith('b: cannot be observed') for text in refuse)


@pytest.mark.parametrize('left, phase, discard', [
    (state('restoring'), 'restoring', []), (state('proven'), 'proven', []),
    # Of another target, or of a cluster that has a newer timeline since, which may be the number of the restored data.
    (state('proven', {'latest': True}), '', ['a']), (state('proven', live=7), '', ['a']),
    # What a host has left that was another cluster's.
    (dict(state('proven'), cluster='other'), '', ['a'])], ids=['restoring', 'proven', 'other target', 'other timeline', 'other cluster'])
def test_it_goes_on_where_it_was(left, phase, discard):
    found = plan(looks={'a': look(state=left)})
    assert (found['refuse'], found['phase'], found['discard']) == ([], phase, discard)


@pytest.mark.parametrize('target', [{'latest': True}, {'immediate': True}], ids=str)
def test_the_end_of_the_archive_is_another_one_in_each_run(target):
    left = state('proven', target)
    assert (plan(target, looks={'a': look(state=left)})['phase'], plan(target, looks={'a': look(state=left)}, begun='then')['phase']) == ('', 'proven')


def test_what_another_node_has_left_is_discarded():
    assert plan(looks={'b': look(state=state('proven'))})['discard'] == ['b']


@pytest.mark.parametrize('phase', _restore.UNDER_WAY)
def test_in_the_middle_of_the_exchange_it_goes_on_whatever_the_cluster_is(phase):
    left = state(phase)
    hosts = healthy(a=None)
    hosts[0]['observed'] = healthy()[0]['observed']
    hosts[0]['observed']['server'].update(state='stopped', sql=False)
    found = plan(hosts=hosts, looks={'a': look(state=left)})
    assert (found['refuse'], found['place'], found['phase']) == ([], 'a', phase)
    assert 'the same target, because it can only go on' in plan({'latest': True}, looks={'a': look(state=left)})['refuse'][0]
    assert 'consent' in plan(looks={'a': look(state=left)}, consent='')['refuse'][0]
    assert 'of cluster other is in its middle' in plan(looks={'a': look(state=dict(left, cluster='other'))})['refuse'][0]
    assert 'each is in the middle' in plan(looks={'a': look(state=left), 'b': look(state=left)})['refuse'][0]


@pytest.mark.parametrize('phase', _restore.UNDER_WAY)
def test_the_machine_of_another_cluster_at_the_address_of_a_standby_is_not_stopped(phase):
    hosts = healthy()
    hosts[1]['observed']['config'] = {'node_id': 7, 'node_name': 'z'}
    refuse = plan(hosts=hosts, looks={'a': look(state=state(phase))})['refuse']
    assert len(refuse) == 1 and 'repmgr.conf is that of node z' in refuse[0]


@pytest.mark.parametrize('phase', _restore.UNDER_WAY)
def test_beside_another_primary_it_does_not_go_on(phase):
    """Which may have the number of the restored timeline."""
    refuse = plan(looks={'b': look(state=state(phase))})['refuse']
    assert len(refuse) == 1 and 'a has become primary' in refuse[0] and '-e repmgr_rejoin=reclone -e repmgr_target=b' in refuse[0]


def test_beside_a_primary_that_goes_on_the_end_of_the_archive_is_restored_anew():
    left = state('swapping', {'latest': True})
    assert 'goes on since' in plan({'latest': True}, looks={'a': look(state=left)})['refuse'][0]
    assert plan({'latest': True}, looks={'a': look(state=dict(left, phase='swapped'))})['refuse'] == []


@pytest.mark.parametrize('left', [None, 3, {}, {'phase': 'x'}, dict(state('proven'), target=None), dict(state('proven'), directory=None)], ids=str)
def test_a_state_file_that_makes_no_sense_is_none(left):
    assert _restore.valid_state(left) is None
    assert _restore.valid_state(state('proven')) == state('proven')


# -- other playbooks

def test_in_the_middle_of_a_restore_nothing_else_is_done():
    between = running(False)
    between.restore = {'phase': 'swapped', 'target': 'restore point x'}
    found = [problem for problem in judge(healthy(a=between))['problems'] if problem['code'] == 'restore_unfinished']
    assert len(found) == 1 and found[0]['stop'] and 'restore point x' in found[0]['message']
    between.restore['phase'] = 'proven'
    assert 'restore_unfinished' not in [problem['code'] for problem in judge(healthy(a=between))['problems']]


def test_nobody_is_promoted_in_the_middle_of_a_restore():
    """On the old history, with the number of the restored one."""
    hosts = healthy()
    hosts[0]['observed']['server'].update(state='stopped', sql=False)
    hosts[0]['observed']['data'].update(cluster_state='shut down')
    assert 'is in its middle' not in _failover.failover_plan(_verdict.hosts_from(hosts), judge(hosts), 'b')['refuse']
    hosts[0]['observed']['restore'] = {'phase': 'swapping', 'target': 'x'}
    assert 'is in its middle' in _failover.failover_plan(_verdict.hosts_from(hosts), judge(hosts), 'b')['refuse']


def test_what_is_wrong_afterwards():
    answer = judge(healthy())
    assert _restore.result_problems(answer, {'a': 2, 'b': 2, 'c': 2}, 'a', 2) == []
    assert _restore.result_problems(answer, {'a': 2, 'b': 1, 'c': None}, 'a', 2) == ['not on timeline 2: b (1), c (None)']
    assert 'a is primary, expected b' in _restore.result_problems(answer, {'a': 2}, 'b', 2)
    assert answer['system_identifier'] == ID


def test_who_could_still_promote():
    def host(name, state='running', **repmgr):
        return Host(name=name, observed=Observed(server=Server(state=state), repmgr=repmgr))

    hosts = [host('a', repmgrd={'paused': True}), host('b', repmgrd={'paused': False}), host('c', repmgrd={'paused': None}), host('d', repmgrd=None),
             host('e'), host('f', 'stopped', repmgrd={'paused': False}), Host(name='g')]
    assert _restore.unpaused(hosts) == ['b', 'c', 'd', 'e', 'g']


def test_former_data_directories():
    moved = {'actions': [{'action': 'stop'}, {'action': 'move_aside', 'result': {'to': '/data.old-1'}}]}
    assert _restore.kept_copies([('a', {}), ('b', moved), ('c', {'skipped': True}), ('d', {'actions': []})]) == ['b /data.old-1']
