# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of role metrics. It stands here because this folder's tests run on Python 2.7 and 3.6, too, as the program does."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import argparse
import os
import re
import stat
import types

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), *('../../../../roles/metrics/files/metrics.py'.split('/')))
metrics = types.ModuleType('metrics')
with open(PATH) as handle:
    exec(compile(handle.read(), PATH, 'exec', 0, True), metrics.__dict__)  # pylint: disable=exec-used

SYSTEM = '7000000000000000001'
ROWS = [dict(node_id=1, node_name='n1', type='primary', upstream_node_id=None, active=True, priority=100, location='default', conninfo='host=n1'),
        dict(node_id=2, node_name='n2', type='standby', upstream_node_id=1, active=True, priority=100, location='default', conninfo='host=n2'),
        dict(node_id=3, node_name='w', type='witness', upstream_node_id=1, active=True, priority=0, location='default', conninfo='host=w')]


def node(name, number, recovers=False, config=False, **more):
    server = dict(state='running', sql=True, in_recovery=recovers, timeline=3, version_num=150000, system_identifier=SYSTEM,
                  settings={'max_wal_senders': '10', 'max_replication_slots': '10', 'wal_log_hints': 'on', 'full_page_writes': 'on'})
    if recovers:
        server.update(received_lsn='0/3000000', replayed_lsn='0/2FFFF00', lag_bytes=256, lag_seconds=1.5)
    else:
        server.update(current_lsn='0/3000100')
    server.update(more.pop('server', {}))
    values = dict(
        name=name, server=Server(**server), data=Data(state='valid', system_identifier=SYSTEM, standby_signal=recovers),
        receiver={'status': 'streaming'} if recovers else None,
        repmgr={'nodes': ROWS, 'extension': '5.3', 'database': True, 'repmgrd': {'running': True, 'paused': False, 'pid': 1}, 'missing_rights': []})
    if config:
        values['config'] = {'node_id': number, 'node_name': name, 'failover': 'automatic', 'location': 'default'}
    values.update(more)
    return Observed(**values)


BACKUP = {'settings': {'max_age': 2}, 'archiver': {'failing': False}, 'now': 5000,
          'judged': {'state': 'ok', 'reason': '', 'last': {'label': 'l', 'ended': 4000, 'bytes': 9}, 'oldest': None, 'count': 1}}


def primary(**more):
    return node('n1', 1, **more)


def standby(**more):
    return node('n2', 2, recovers=True, **more)


def witness(**more):
    return node('w', 3, **dict({'server': {'system_identifier': '9', 'timeline': 1}}, **more))


def said(observed):
    """{'family' or 'family label=value': value}"""
    found = {}
    for family, labels, value in metrics.samples(observed, _verdict.from_one_node(observed)):
        key = ' '.join([family] + ['%s=%s' % item for item in sorted(labels.items())])
        assert key not in found, key
        found[key] = value
    return found


def test_a_primary():
    slots = [{'slot_name': 'repmgr_slot_2', 'active': True, 'retained_bytes': 16}]
    guard = {'running': True, 'enabled': True, 'fuse': {'running': False, 'enabled': True}}
    found = said(primary(config=True, slots=slots, peers={'n2': standby(), 'w': witness()}, guard=guard, tls={'error': '', 'days': 300}))
    assert found == {
        'repmgr_up': True, 'repmgr_role role=primary': True, 'repmgr_role role=standby': False, 'repmgr_role role=witness': False, 'repmgr_timeline': 3,
        'repmgr_repmgrd_running': True, 'repmgr_repmgrd_paused': False, 'repmgr_guard_running': True, 'repmgr_guard_fuse_running': False,
        'repmgr_nodes_registered': 3,
        'repmgr_nodes_answering': 3, 'repmgr_primaries': 1, 'repmgr_failover_ready': True, 'repmgr_slot_active slot=repmgr_slot_2': True,
        'repmgr_slot_retained_bytes slot=repmgr_slot_2': 16, 'repmgr_certificate_valid': True, 'repmgr_certificate_remaining_seconds': 300 * 86400}


def test_a_standby():
    found = said(standby(config=True, peers={'n1': primary(), 'w': witness()}))
    assert found['repmgr_role role=standby'] is True and found['repmgr_role role=primary'] is False
    assert (found['repmgr_streaming'], found['repmgr_receive_lag_bytes'], found['repmgr_replay_lag_bytes'], found['repmgr_replay_lag_seconds']) == (
        True, 256, 256, 1.5)
    assert found['repmgr_failover_ready'] is True and 'repmgr_guard_running' not in found and 'repmgr_certificate_valid' not in found


def test_a_standby_without_its_primary():
    """What is not known is not there: no lag of 0 bytes behind a primary that nobody sees."""
    found = said(standby(config=True, receiver=None, peers={'n1': None, 'w': witness()}))
    assert found['repmgr_streaming'] is False and found['repmgr_failover_ready'] is False
    assert found['repmgr_primaries'] == 0 and found['repmgr_nodes_answering'] == 2
    assert 'repmgr_receive_lag_bytes' not in found


def test_a_witness_is_writable_and_no_primary():
    found = said(witness(config=True, peers={'n1': primary(), 'n2': standby()}))
    assert found['repmgr_role role=witness'] is True and found['repmgr_primaries'] == 1 and 'repmgr_timeline' not in found
    assert found['repmgr_failover_ready'] is True


def test_two_primaries():
    found = said(primary(config=True, peers={'n2': node('n2', 2), 'w': witness()}))
    assert found['repmgr_primaries'] == 2 and found['repmgr_failover_ready'] is False


@pytest.mark.parametrize('changes, expected', [
    ({}, {'repository_up': True, 'last_timestamp_seconds': 4000, 'last_size_bytes': 9}),
    ({'state': 'no_backup', 'last': None}, {'repository_up': True, 'last_timestamp_seconds': 0}),
    ({'state': 'unreachable', 'last': None}, {'repository_up': False}), ({'state': 'no_stanza', 'last': None}, {'repository_up': False})])
def test_backups(changes, expected):
    found = said(primary(config=True, backup=dict(BACKUP, judged=dict(BACKUP['judged'], **changes))))
    assert dict((name[len('repmgr_backup_'):], value) for name, value in found.items() if name.startswith('repmgr_backup')) == dict(
        expected, max_age_seconds=7200)
    assert found['repmgr_archive_failing'] is False and 'repmgr_archive_failing' not in said(primary(config=True))


@pytest.mark.parametrize('verified, expected', [
    (None, {}), ({'max_age': 2, 'now': 9, 'last': None}, {'timestamp_seconds': 0, 'max_age_seconds': 7200}),
    ({'max_age': 0, 'now': 9, 'last': {'ok': False, 'ended': 5}}, {'timestamp_seconds': 5, 'ok': False, 'max_age_seconds': 0})])
def test_restore_drills(verified, expected):
    found = said(standby(config=True, verified=verified))
    assert dict((name[len('repmgr_backup_verify_'):], value) for name, value in found.items() if name.startswith('repmgr_backup_verify')) == expected


@pytest.mark.parametrize('repmgrd, running, paused', [({'running': False, 'paused': None}, False, None), ({'running': True, 'paused': True}, True, True)])
def test_repmgrd(repmgrd, running, paused):
    observed = standby(config=True, peers={'n1': primary(), 'w': witness()})
    observed.repmgr['repmgrd'] = repmgrd
    found = said(observed)
    assert (found.get('repmgr_repmgrd_running'), found.get('repmgr_repmgrd_paused'), found['repmgr_failover_ready']) == (running, paused, False)


def test_a_server_that_is_down():
    observed = Observed(name='n1', server=Server(state='stopped'), config={'node_id': 1, 'node_name': 'n1'}, guard={'running': False, 'enabled': True},
                        tls={'error': 'expired', 'days': None})
    assert said(observed) == {'repmgr_up': False, 'repmgr_guard_running': False, 'repmgr_certificate_valid': False}


def test_every_sample_has_a_family_and_every_family_says_what_it_is():
    names = [name for name, dummy in metrics.FAMILIES]
    assert len(names) == len(set(names))
    everything = [standby(config=True, peers={'n1': primary(), 'w': witness()}, slots=[{'slot_name': 'a', 'active': False, 'retained_bytes': 1}],
                          guard={'running': True, 'fuse': {'running': True}}, tls={'error': '', 'days': 1}),
                  primary(config=True, backup=BACKUP, verified={'max_age': 1, 'now': 9, 'last': {'ok': True, 'ended': 5}})]
    found = set(key.split()[0] for observed in everything for key in said(observed))
    assert set(names) - found == set(['repmgr_observation_duration_seconds', 'repmgr_observed_timestamp_seconds'])
    assert found <= set(names)
    with open(PATH) as source:
        # Without its family a sample would never be written.
        assert set(re.findall(r"'(repmgr_[a-z_]+)'", source.read())) == set(names)


def test_text():
    found = [('repmgr_slot_retained_bytes', {'slot': 'b"\\\n'}, 2 ** 40), ('repmgr_up', {}, True), ('repmgr_slot_retained_bytes', {'slot': 'a'}, 0),
             ('repmgr_replay_lag_seconds', {}, 0.25)]
    assert metrics.text(found, cluster='c', node=u'n\u00e9') == u'''\
# HELP repmgr_up Whether the PostgreSQL server of this node answers.
# TYPE repmgr_up gauge
repmgr_up{cluster="c",node="n\u00e9"} 1
# HELP repmgr_replay_lag_seconds Age of the last transaction that this standby has replayed; 0 if everything received has been replayed.
# TYPE repmgr_replay_lag_seconds gauge
repmgr_replay_lag_seconds{cluster="c",node="n\u00e9"} 0.25
# HELP repmgr_slot_retained_bytes WAL that is retained for this replication slot.
# TYPE repmgr_slot_retained_bytes gauge
repmgr_slot_retained_bytes{cluster="c",node="n\u00e9",slot="b\\"\\\\\\n"} 1099511627776
repmgr_slot_retained_bytes{cluster="c",node="n\u00e9",slot="a"} 0
'''


def test_a_file_is_replaced_as_a_whole(tmpdir):
    path = tmpdir.join('repmgr.prom')
    path.write('old')
    os.chmod(str(path), 0o600)
    elsewhere = tmpdir.join('elsewhere')
    elsewhere.write('untouched')
    # What an ended run, or somebody who may write to the folder, has left there.
    os.symlink(str(elsewhere), str(tmpdir.join('repmgr.prom.tmp')))
    inode = os.stat(str(path)).st_ino
    metrics.write(str(path), b'new\n')
    assert path.read() == 'new\n' and elsewhere.read() == 'untouched'
    assert os.stat(str(path)).st_ino != inode and stat.S_IMODE(os.stat(str(path)).st_mode) == 0o644
    assert sorted(each.basename for each in tmpdir.listdir()) == ['elsewhere', 'repmgr.prom']


def test_what_cannot_be_written_leaves_the_old_file(tmpdir):
    with pytest.raises((IOError, OSError)):
        metrics.write(str(tmpdir.join('nowhere', 'repmgr.prom')), b'new\n')


def test_programs_get_input_and_environment():
    code, out, err = metrics.Programs().run_command(
        ['sh', '-c', 'cat; echo "$WORD" >&2; exit 3'], data=u'n\u00e9', binary_data=True, environ_update={'WORD': 'given'}, encoding=None, cwd='/')
    assert (code, out, err) == (3, u'n\u00e9'.encode('utf-8'), b'given\n')


@pytest.fixture(name='repository')
def asked_repository(monkeypatch, tmpdir):
    """ask(): what is observed, after how many questions to the repository; at clock[0]."""
    clock, asked = [1000.0], []

    def observe_backup(dummy, observed, dummy_user, judged=None):
        if observed is None:
            return None
        if judged is None:
            asked.append(clock[0])
            judged = {'state': 'ok', 'number': len(asked)}
        return {'judged': judged}

    monkeypatch.setattr(metrics._observe, 'observe_backup', observe_backup)
    monkeypatch.setattr(metrics.time, 'time', lambda: clock[0])
    path = tmpdir.join('answer')

    def ask(observed='primary', cluster='lab', keeps=True):
        options = argparse.Namespace(user='postgres', cluster=cluster, repository_answer=str(path) if keeps else None)
        return metrics.observe_backup(None, observed, options), len(asked)

    return ask, clock, path


def test_the_repository_is_asked_once_a_minute(repository):
    ask, clock, path = repository
    first = {'judged': {'state': 'ok', 'number': 1}}
    assert ask() == (first, 1)
    clock[0] += 59
    assert ask() == (first, 1) and ask(observed=None) == (None, 1)
    clock[0] += 1
    assert ask() == ({'judged': {'state': 'ok', 'number': 2}}, 2)
    # Of another cluster on this host, with a clock that was set back, or not readable.
    assert ask(cluster='other')[1] == 3
    clock[0] -= 7
    assert ask(cluster='other')[1] == 4
    path.write('{')
    assert ask()[1] == 5 and ask()[1] == 5
    assert ask(keeps=False)[1] == 6


def test_a_file_that_cannot_be_written_is_no_reason_to_know_nothing(repository, capsys):
    ask, dummy, path = repository
    path.mkdir()
    assert ask()[0]['judged']['state'] == 'ok' and str(path) in capsys.readouterr().err
