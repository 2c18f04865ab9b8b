# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server on a data directory starts as, by its signal files; and what the guard does with data that promote themselves."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _service
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.guard_program import guard

STANDBY, RESTORES, PLAIN = 'standby', 'restores', 'plain'


def kind(program, directory):
    standby, restores = program.is_standby(directory), program.promotes_itself(directory)
    assert not (standby and restores)
    return STANDBY if standby else RESTORES if restores else PLAIN


@pytest.mark.parametrize('version, files, expected', [
    ('15', {}, PLAIN),
    ('15', {'standby.signal': ''}, STANDBY),
    ('15', {'recovery.signal': ''}, RESTORES),
    # standby.signal wins.
    ('15', {'standby.signal': '', 'recovery.signal': ''}, STANDBY),
    ('12', {'recovery.signal': ''}, RESTORES),
    # No such server starts; what is none is not taken for a standby.
    ('12', {'recovery.conf': "restore_command = 'cp /a/%f %p'"}, RESTORES),
    ('11', {'recovery.conf': "standby_mode = 'on'\nprimary_conninfo = 'host=a'"}, STANDBY),
    ('9.6', {'recovery.conf': "restore_command = 'cp /a/%f %p'\n  Standby_Mode 'TRUE'"}, STANDBY),
    ('11', {'recovery.conf': 'standby_mode=on # always'}, STANDBY),
    ('11', {'recovery.conf': 'standby_mode = yes'}, STANDBY),
    ('11', {'recovery.conf': 'standby_mode = t'}, STANDBY),
    ('11', {'recovery.conf': 'standby_mode = 1\n'}, STANDBY),
    ('11', {'recovery.conf': b"primary_conninfo = 'application_name=\xc3\xa4'\r\nstandby_mode = on\r\n"}, STANDBY),
    ('11', {'recovery.conf': 'standby_mode = on\nstandby_mode = off'}, RESTORES),
    ('11', {'recovery.conf': "standby_mode = 'off'"}, RESTORES),
    ('11', {'recovery.conf': 'standby_mode = o'}, RESTORES),
    ('11', {'recovery.conf': "#standby_mode = 'on'\nrestore_command = 'cp /a/%f %p'"}, RESTORES),
    ('11', {'recovery.conf': ''}, RESTORES),
    # Which a server of that version does not look at.
    ('11', {'standby.signal': ''}, RESTORES),
    ('11', {'standby.signal': '', 'recovery.conf': "standby_mode = 'on'"}, STANDBY),
    ('15', {'recovery.done': "standby_mode = 'on'"}, PLAIN),
])
def test_by_its_files(tmpdir, version, files, expected):
    tmpdir.join('PG_VERSION').write(version + '\n')
    for name, text in files.items():
        tmpdir.join(name).write(text, mode='wb' if isinstance(text, bytes) else 'w')
    assert [kind(program, str(tmpdir)) for program in (_data_directory, guard)] == [expected] * 2
    # Neither may start where a primary may not.
    assert guard.data_is(str(tmpdir)) == ('standby' if expected == STANDBY else 'primary')


@pytest.mark.parametrize('program', [guard, _service])
def test_what_is_put_back(tmpdir, monkeypatch, program):
    """A standby that was moved aside is one again, also beside recovery.signal; what is one has no use for the rest."""
    monkeypatch.setattr(guard, 'say', lambda text: None)
    tmpdir.join('PG_VERSION').write('15')
    for name in ('standby.signal.aside', 'recovery.signal'):
        tmpdir.join(name).write('')
    program.put_signals_back(str(tmpdir))
    assert kind(_data_directory, str(tmpdir)) == STANDBY and not tmpdir.join('standby.signal.aside').check()
    tmpdir.join('recovery.signal').remove()
    tmpdir.join('recovery.signal.aside').write('')
    program.put_signals_back(str(tmpdir))
    assert sorted(path.basename for path in tmpdir.listdir()) == ['PG_VERSION', 'standby.signal']
    # What was restored is not made a primary that starts at once.
    tmpdir.join('standby.signal').remove()
    tmpdir.join('recovery.signal.aside').write('')
    program.put_signals_back(str(tmpdir))
    assert kind(_data_directory, str(tmpdir)) == RESTORES


# -- the guard

CONFIG = {'cluster': 'x', 'name': 'a', 'node_id': 1, 'isolation': 4, 'automatic': True, 'auto_rejoin': 'rewind', 'synchronous': 0, 'detection': 16,
          'connect_timeout': 2, 'port': 5432, 'database': 'repmgr', 'user': 'postgres', 'bin_dir': '/bin', 'conf': '/etc/repmgr.conf', 'passfile': '/pgpass',
          'service': 'postgresql', 'start_wait': 0, 'config_directory': '/etc',
          'peers': [{'name': name, 'conninfo': name, 'node_id': number, 'vote': True, 'witness': False} for number, name in enumerate('bc', 2)]}


class Psql:
    """One that stays connected."""

    def poll(self):
        return None


class Restored:
    """Node a, whose data were restored; what b and c answer."""

    def __init__(self, monkeypatch, tmpdir):
        self.said, self.stops, self.control = [], [], {'Database system identifier': '7', "Latest checkpoint's TimeLineID": '1'}
        self.answers = dict((name, {'in_recovery': True, 'system': '7', 'timeline': 3, 'newest': 3}) for name in 'bc')
        self.data, self.state = tmpdir.mkdir('data'), {'armed': True, 'primary': None, 'reign': {'timeline': 3, 'replaced': 2}, 'asked': {}}
        self.data.join('PG_VERSION').write('15')
        self.data.join('recovery.signal').write('')
        self.config = dict(CONFIG, data_directory=str(self.data))
        for name, value in (
                ('say', self.said.append), ('become_user', lambda config: None), ('read_state', lambda config: self.state), ('hold', lambda *dummy: None),
                ('control_data', lambda config, *dummy: self.control), ('write_environment', lambda config: None), ('read_stamp', lambda config: None),
                ('ask_all', self.answer), ('lock_and_look', lambda servers, need, judge, yields: (judge(), '')), ('postmaster', lambda directory: None),
                ('stop_now', lambda directory, problem: self.stops.append(problem))):
            monkeypatch.setattr(guard, name, value)
        monkeypatch.setattr(guard.time, 'sleep', lambda seconds: None)

    def answer(self, servers, *dummy, **dummy_names):
        for server in servers:
            if server.name in self.answers:
                server.answer, server.answered = dict(self.answers[server.name]), guard.clock()
                server.process = Psql()

    def watch(self):
        watch = guard.Watch(self.config)
        self.answer(watch.peers)
        watch.since = guard.clock() - 1
        return watch


@pytest.fixture
def restored(monkeypatch, tmpdir):
    monkeypatch.setattr(guard.Server, 'close', lambda server: None)
    return Restored(monkeypatch, tmpdir)


def test_it_starts_where_this_node_was_the_last_primary(restored):
    """A backup from before a failover: its own timeline is an old one."""
    assert guard.start(restored.config) == 0
    assert 'may start as primary, which recovers from an archive first and then promotes itself' in restored.said[-1]


def test_it_does_not_start_where_another_was_promoted_since(restored):
    restored.answers['c'].update(newest=4)
    assert guard.start(restored.config) == 1
    assert restored.said[-1].startswith('does not start as primary, which recovers') and 'timeline 4' in restored.said[-1]


def test_it_does_not_start_beside_a_primary(restored):
    restored.answers['b'].update(in_recovery=False, timeline=1, newest=1)
    assert guard.start(restored.config) == 1
    assert 'b is primary' in restored.said[-1] and 'repmgr_rejoin=reclone' in restored.said[-1] and 'are left as they are' in restored.said[-1]


def test_it_does_not_start_alone(restored):
    restored.answers.clear()
    assert guard.start(restored.config) == 1 and 'cannot see b, c' in restored.said[-1]


def test_what_is_no_restore_is_measured_by_its_own_timeline(restored):
    restored.data.join('recovery.signal').remove()
    assert guard.start(restored.config) == 1 and 'timeline 3' in restored.said[-1]


@pytest.mark.parametrize('timeline', [1, 3, 9])
def test_one_that_runs_beside_a_primary_is_stopped(restored, timeline):
    """Also where nothing would tell which of two primaries to stop, or that one's timeline is older."""
    restored.control["Latest checkpoint's TimeLineID"] = '3'
    restored.answers['b'].update(in_recovery=False, timeline=timeline, newest=timeline)
    watch = restored.watch()
    watch.local.answer, watch.local.answered = {'in_recovery': True, 'system': '7', 'timeline': 3}, guard.clock()
    watch.primary(str(restored.data))
    assert [problem.code for problem in restored.stops] == ['primary']
    # A file that was left beside standby.signal says nothing of who was promoted since.
    del restored.stops[:]
    watch.local.answer = dict(watch.local.answer, in_recovery=False)
    watch.primary(str(restored.data))
    assert bool(restored.stops) == (timeline == 9)


def test_it_is_not_rewound_by_itself(restored, monkeypatch):
    restored.answers['b'].update(in_recovery=False, timeline=5, newest=5)
    watch = restored.watch()
    monkeypatch.setattr(guard.Watch, 'wanted', lambda self: True)
    monkeypatch.setattr(guard, 'rejoining', lambda directory: False)
    jobs = []
    monkeypatch.setattr(guard.Watch, 'rejoin', lambda *words: jobs.append(words))
    watch.stopped()
    assert not jobs and 'does not rejoin b' in restored.said[-1] and 'reclone' in restored.said[-1]
    # Nor started: who has restored them does that.
    watch.peers[0].answer['in_recovery'] = True
    monkeypatch.setattr(guard.Watch, 'start', lambda *words: jobs.append(words))
    watch.stopped()
    assert not jobs and 'does not start the server, whose data recover from an archive. To start it: systemctl start postgresql' in restored.said[-1]
    watch.peers[0].answer['in_recovery'] = False
    restored.data.join('recovery.signal').remove()
    watch.stopped()
    assert len(jobs) == 1


def test_a_restore_has_replaced_nobody(restored):
    """What names another primary is not taken for an old word, as it is for a candidate that died right after its promotion."""
    restored.state.update(primary=2, reign=None)
    restored.answers = {'c': {'in_recovery': False, 'upstream': 2, 'primary_id': 2}}
    restored.config['peers'] = [dict(peer, witness=peer['name'] == 'c') for peer in CONFIG['peers']]
    assert guard.start(restored.config) == 1 and 'c names b as primary' in restored.said[-1]
    restored.data.join('recovery.signal').remove()
    assert guard.start(restored.config) == 0


@pytest.mark.parametrize('by_hand', [True, False])
def test_it_is_not_promoted_by_others(restored, by_hand):
    assert guard.promote(restored.config, ['true'], by_hand) == 1 and 'promotes itself when that is done' in restored.said[-1]


# -- another server that is not primary yet

@pytest.mark.parametrize('asked, waits', [
    (None, False),
    (['b', 1.0, '{"lease": 7, "timeline": null, "votes": [1, 2, 3]}'], True),
    # Between two questions; and of a host whose clock was set back.
    (['b', 1.0], True), (['b', None, None], True), (['b', -1.0, None], True),
    # It has not asked for as long as it takes to stop.
    (['b', 7.1, '{"lease": 7, "timeline": null}'], False),
    # Who is primary is judged by its timeline.
    (['b', 1.0, '{"lease": 7, "timeline": 2}'], False),
    # This node's own guard, before the server here went down.
    (['a', 1.0, '{"lease": 7, "timeline": null}'], False),
])
def test_a_start_waits_for_one_that_recovers(restored, asked, waits):
    restored.answers['c'].update(asked=asked)
    assert guard.start(restored.config) == (1 if waits else 0)
    assert ('primary b recovers, and has asked c' in restored.said[-1]) is waits
    # Who does not answer any more says nothing.
    restored.answers['c'].clear()
    del restored.answers['c']
    assert guard.start(restored.config) == 0
