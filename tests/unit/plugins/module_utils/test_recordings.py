# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parsers with recorded output of repmgr, see tests/recordings/record.py, and with formats of old versions from their documentation."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import io
import json
import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'recordings')
RECORDED = ('5.2.0', '5.3.3', '5.5.0')
TROUBLES = (
    'errors', 'healthy', 'healthy_over_ssh', 'node_inactive', 'odd_characters', 'paused', 'primary_down', 'primary_down_over_ssh',
    'promoted', 'repmgrd_down', 'split_brain', 'standby_detached', 'standby_down', 'witness_stale')
PARSERS = {
    'service status': _repmgr.parse_service_status,
    'daemon status': _repmgr.parse_service_status,
    'cluster show': _repmgr.parse_cluster_show,
    'cluster event': _repmgr.parse_events,
    'cluster matrix': _repmgr.parse_matrix,
    'cluster crosscheck': _repmgr.parse_matrix,
    'node check': _repmgr.parse_node_check,
    'node status': _repmgr.parse_node_status,
}


def load(version, trouble):
    with io.open(os.path.join(FOLDER, version, trouble + '.json'), encoding='utf-8') as handle:
        return json.load(handle)


def everything():
    found = []
    for path in sorted(glob.glob(os.path.join(FOLDER, '*', '*.json'))):
        version, name = path.split(os.sep)[-2:]
        for number, call in enumerate(load(version, name[:-5])['calls']):
            words = ' '.join(call['argv'][3:5])
            if '--csv' in call['argv'] and words in PARSERS:
                title = '%s-%s-%d-%s' % (version, name[:-5], number, words.replace(' ', '_'))
                found.append(pytest.param(PARSERS[words], call, id=title))
    return found


def test_every_version_is_recorded_whole():
    """Of older ones there is the one file that differs."""
    whole = sorted(name for name in os.listdir(FOLDER) if os.path.exists(os.path.join(FOLDER, name, 'promoted.json')))
    assert whole == sorted(RECORDED)


def text(call):
    return '\n'.join(call['stdout'])


@pytest.mark.parametrize('parser, call', everything())
def test_every_line_is_understood(parser, call):
    rows, other = parser(text(call))
    assert other == []
    # A command that had nothing to say says why it had not.
    assert rows or call['rc'] not in (0, _repmgr.NODE_STATUS)
    assert call['rc'] in _repmgr.EXIT_CODES
    if parser is not _repmgr.parse_node_status:
        assert len(rows) == len(call['stdout'])


@pytest.mark.parametrize('parser, call', everything())
def test_a_line_of_another_kind_is_handed_back(parser, call):
    assert parser('something new\n%s' % text(call))[1] == ['something new']


@pytest.mark.parametrize('version', RECORDED)
def test_every_trouble_was_recorded(version):
    assert sorted(os.listdir(os.path.join(FOLDER, version))) == ['%s.json' % trouble for trouble in TROUBLES]
    for trouble in TROUBLES:
        recording = load(version, trouble)
        assert (recording['repmgr'], recording['trouble']) == (version, trouble) and 'by_hand' not in recording


def test_what_was_written_by_hand_says_so():
    for version in ('4.2', '4.3', '4.4', '5.0', '5.1'):
        assert load(version, 'documented')['by_hand']


# -- what each trouble looks like, the same in every version

def answers(version, trouble, words, node=None):
    found = []
    for call in load(version, trouble)['calls']:
        if ' '.join(call['argv'][3:6]) == words + ' --csv' and (node is None or call['argv'][2].endswith('/%d.conf' % node)):
            found.append(PARSERS[words](text(call))[0])
    assert found
    return found


def by_id(rows):
    return dict((row['node_id'], row) for row in rows)


@pytest.mark.parametrize('version', RECORDED)
class TestTroubles:
    def test_healthy(self, version):
        for rows in answers(version, 'healthy', 'cluster show'):
            assert [(row['node_id'], row['available'], row['in_recovery']) for row in rows] == [
                (1, True, False), (2, True, True), (3, True, True), (4, True, False)]
        for rows in answers(version, 'healthy', 'service status'):
            assert [(row['node_name'], row['type']) for row in rows] == [
                ('n1', 'primary'), ('n2', 'standby'), ('n3', 'standby'), ('w4', 'witness')]
            for row in rows:
                assert (row['running'], row['repmgrd_running'], row['paused'], row['location']) == (1, 1, 0, 'default')
                assert row['repmgrd_pid'] > 1
        for values in answers(version, 'healthy', 'node status', 2):
            assert (values['Node name'], values['Role'], values['Upstream node']) == ('n2', 'standby', 'n1 (ID: 1)')
        for words in ('cluster matrix', 'cluster crosscheck'):
            for rows in answers(version, 'healthy_over_ssh', words):
                assert len(rows) == 16 and all(row['connects'] for row in rows)

    def test_paused(self, version):
        assert [row['paused'] for row in answers(version, 'paused', 'service status')[0]] == [1, 1, 1, 1]

    def test_repmgrd_down(self, version):
        for rows in answers(version, 'repmgrd_down', 'service status'):
            assert [row['repmgrd_running'] for row in rows] == [1, 0, 1, 1]

    def test_odd_characters(self, version):
        row = by_id(answers(version, 'odd_characters', 'service status')[0])[3]
        assert (row['node_name'], row['location'], row['type']) == (u'n 3, "the \xe4dd" | one', 'a, b', 'standby')
        assert u'n 3, "the \xe4dd" | one' in [row['node_name'] for row in answers(version, 'odd_characters', 'cluster event')[0][:20]]
        missing = [row for row in answers(version, 'odd_characters', 'node check', 1)[0] if row['check'] == 'Downstream servers']
        assert missing[0]['status'] == 'CRITICAL' and u'n 3, "the \xe4dd" | one (ID: 3)' in missing[0]['details']

    def test_standby_detached(self, version):
        values = answers(version, 'standby_detached', 'node status', 1)[0]
        assert (values['inactive_replication_slots'], values['inactive_replication_slots_names']) == ('1', 'repmgr_slot_3')
        calls = [call for call in load(version, 'standby_detached')['calls'] if call['argv'][3:] == ['cluster', 'show']]
        for call in calls:
            assert call['rc'] == _repmgr.NODE_STATUS
            assert '  - node "n3" (ID: 3) is not attached to its upstream node "n1" (ID: 1)' in _repmgr.warnings('\n'.join(call['stderr']))

    def test_a_node_that_is_down(self, version):
        assert [row['available'] for row in answers(version, 'standby_down', 'cluster show', 1)[0]] == [True, True, False, True]
        assert [row['running'] for row in answers(version, 'standby_down', 'service status', 1)[0]] == [1, 1, 0, 1]
        assert [row['available'] for row in answers(version, 'primary_down', 'cluster show')[0]] == [False, True, True, True]
        first = answers(version, 'primary_down', 'service status')[0][0]
        assert (first['running'], first['repmgrd_running']) == (0, -1)

    def test_primary_down_over_ssh(self, version):
        for words in ('cluster matrix', 'cluster crosscheck'):
            found = dict(((row['from_id'], row['to_id']), row['connects']) for row in answers(version, 'primary_down_over_ssh', words)[0])
            assert (found[2, 1], found[2, 3], found[1, 2]) == (False, True, None)

    def test_split_brain(self, version):
        for node in (1, 2):
            rows = by_id(answers(version, 'split_brain', 'cluster show', node)[0])
            assert [rows[number]['in_recovery'] for number in (1, 2)] == [False, False]

    def test_exit_codes(self, version):
        codes = [call['rc'] for call in load(version, 'errors')['calls']]
        assert set([1, 6]) <= set(codes) <= set(_repmgr.EXIT_CODES)
        for call in load(version, 'errors')['calls']:
            # Whatever went wrong, there is something to quote.
            assert call['rc'] != 0 and _repmgr.summary(text(call), '\n'.join(call['stderr']))
