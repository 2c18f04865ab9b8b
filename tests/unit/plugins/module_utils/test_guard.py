# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of role guard. It stands here because this folder's tests run on Python 2.7 and 3.6, too, as the program does."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import itertools
import json
import os
import subprocess
import sys
import time
import types

import pytest

from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.guard_program import FOLDER, guard

SYSTEM = '7000000000000000001'


@pytest.fixture(autouse=True)
def sight(monkeypatch, tmpdir):
    """Where a watch tells the fuse what it has seen: no test writes into /run."""
    monkeypatch.setattr(guard, 'SIGHT_FILE', str(tmpdir.join('sight')))
    return tmpdir.join('sight')


def server(name, vote=True, witness=False, **answer):
    found = guard.Server({'name': 'a'}, name, 'host=' + name, 'abcdefg'.index(name) + 1, vote, witness)
    if answer:
        found.answer = dict({'system': SYSTEM, 'timeline': 1, 'lsn': 100}, **answer)
        found.answered = guard.clock()
    return found


def standby(name, **answer):
    return server(name, **dict({'in_recovery': True, 'repmgrd': True, 'paused': False, 'upstream': 1, 'receiving': False, 'last_seen': 60,
                                'primary_id': 1, 'registered': [1, 2, 3]}, **answer))


def primary(name, **answer):
    return server(name, in_recovery=False, **answer)


def witness(name, vote=False, **answer):
    return server(name, vote=vote, witness=True, **dict({'in_recovery': False, 'system': 'other', 'upstream': 1, 'last_seen': 60, 'repmgrd': True}, **answer))


def silent(name, **more):
    return server(name, **more)


# -- votes

@pytest.mark.parametrize('votes', range(1, 9))
def test_who_goes_on_alone_leaves_no_majority_to_the_others(votes):
    """For every way to cut a cluster in two: the primary stops, or nobody on the other side can be promoted."""
    for size in range(votes):
        for cut in itertools.combinations(range(1, votes), size):
            peers = [server('abcdefg'[number - 1] if number < 8 else 'g') for number in range(1, votes)]
            unseen = [peer for number, peer in enumerate(peers, 1) if number in cut]
            stops = bool(guard.out_of_sight(peers, lambda peer, unseen=unseen: peer not in unseen, votes))
            assert stops == (len(cut) >= guard.majority(votes))


@pytest.mark.parametrize('votes', range(1, 9))
def test_a_start_and_a_promotion_cannot_both_have_their_locks(votes):
    """The starting server's own vote is not for the other side: its server is down."""
    others = votes - 1
    wanted_by_start = votes - guard.majority(votes)
    assert wanted_by_start <= others
    assert others - wanted_by_start < guard.majority(votes)


# -- start

def start(*peers, **more):
    return guard.start_problem(list(peers), guard.heard, more.get('votes', 3), SYSTEM, more.get('timeline', 1), more.get('reign'))


NAMED = 'd names b as primary, which is not in sight as a standby'


@pytest.mark.parametrize('peers, code, text', [
    ((standby('b'), standby('c')), None, ''),
    ((standby('b'), silent('c')), None, ''),
    ((silent('b'), silent('c')), 'isolated', 'cannot see b, c, who could have elected another primary'),
    ((primary('b', timeline=2), standby('c')), 'primary', 'b is primary, on timeline 2 (here: 1)'),
    ((primary('b', timeline=1), standby('c')), 'primary', 'b is primary, on timeline 1 (here: 1)'),
    ((primary('b', system='another'), standby('c')), None, ''),
    ((silent('b'), standby('c', timeline=2)), 'promoted', 'c knows of timeline 2 (here: 1), so another node was promoted'),
    ((standby('b'), silent('c'), witness('d')), None, ''),
    ((silent('b'), silent('c'), witness('d')), 'isolated', 'cannot see b, c, who could have elected another primary'),
    # A vote that somebody else has had.
    ((silent('b'), standby('c'), witness('d', upstream=2)), 'named', NAMED),
    ((silent('b'), standby('c'), witness('d', primary_id=2)), 'named', NAMED),
    # It is a standby by now, or a server that this node does not know any more.
    ((standby('b'), standby('c'), witness('d', upstream=2, primary_id=2)), None, ''),
    ((silent('b'), standby('c'), witness('d', upstream=9, primary_id=9)), None, ''),
    # It was told to follow b, cannot reach it, and may have voted for it.
    ((silent('b'), standby('c', notified=2)), 'named', 'c names b as primary, which is not in sight as a standby'),
    ((standby('b'), standby('c', notified=2)), None, ''),
    ((silent('b'), standby('c', notified=1)), None, ''),
    # What a standby on the same timeline says it may have replayed before another was promoted; its upstream may be a standby.
    ((silent('b'), standby('c', upstream=2, primary_id=2)), None, ''),
])
def test_start(peers, code, text):
    problem = start(*peers)
    assert (problem.code, problem.text) == (code, text) if code else problem is None


def test_start_where_the_witness_votes():
    assert start(standby('b'), silent('d', vote=True, witness=True)) is None
    assert start(silent('b'), witness('d', vote=True)) is None
    assert start(silent('b'), silent('d', vote=True, witness=True)).text.startswith('cannot see b, d')
    assert start(silent('b'), witness('d', vote=True, upstream=2)).peers == ['b', 'd']
    # It answers and does not say what it knows.
    mute = server('d', vote=True, witness=True, in_recovery=False, system='other')
    assert start(silent('b'), mute).code == 'isolated' and start(standby('b'), mute) is None


@pytest.mark.parametrize('reign, named', [
    # It has replaced b, and the witness has not noticed yet.
    ({'timeline': 1, 'replaced': 2, 'followed': [], 'limited': []}, False),
    # It has followed this node since, and follows b again.
    ({'timeline': 1, 'replaced': 2, 'followed': [4], 'limited': []}, True),
    ({'timeline': 1, 'replaced': None, 'followed': [4], 'limited': []}, True),
    ({'timeline': 1, 'replaced': None, 'followed': [], 'limited': []}, False),
    # Another one than was replaced, or of a time before.
    ({'timeline': 1, 'replaced': 3, 'followed': [], 'limited': []}, True),
    ({'timeline': 7, 'replaced': 2, 'followed': [], 'limited': []}, True),
    (None, True),
])
def test_start_where_a_witness_may_know_less(reign, named):
    assert (start(silent('b'), witness('d', vote=True, upstream=2, primary_id=2), reign=reign) is not None) is named


@pytest.mark.parametrize('reign, vote, named', [
    # An old primary that goes on after a pause, and has never followed this node: nobody can have promoted it since.
    ({'timeline': 1, 'replaced': 2, 'followed': [3, 4], 'limited': []}, False, False),
    # It was a standby of this node, and may have been promoted again, by hand and by nobody else's vote.
    ({'timeline': 1, 'replaced': 2, 'followed': [2, 3, 4], 'limited': []}, False, True),
    # Another one than was replaced.
    ({'timeline': 1, 'replaced': 3, 'followed': [3, 4], 'limited': []}, False, True),
    ({'timeline': 1, 'replaced': None, 'followed': [3, 4], 'limited': []}, False, True),
    ({'timeline': 7, 'replaced': 2, 'followed': [4], 'limited': []}, False, True),
    # A witness that decides something may have given its vote.
    ({'timeline': 1, 'replaced': 2, 'followed': [3, 4], 'limited': []}, True, True),
])
def test_start_where_a_witness_names_the_old_primary_again(reign, vote, named):
    for words in ({'upstream': 2}, {'primary_id': 2}, {'notified': 2}):
        assert (start(silent('b'), standby('c'), witness('d', vote=vote, **words), reign=reign) is not None) is named


def test_start_of_two_and_of_one():
    assert start(silent('b'), votes=2) is None
    assert start(votes=1) is None


# -- promotion

def promotion(local, *peers, **more):
    known = more.get('known')
    if known is None:
        memory = guard.Memory({'name': 'z'}, {'asked': {}})
        memory.learn((local,) + peers, peers)
        known = memory.known
    return guard.promotion_problem(local, list(peers), guard.answered, more.get('votes', 3), more.get('synchronous', 0), 7, known)


@pytest.mark.parametrize('local, peers, problem, wait', [
    (standby('b'), (silent('a'), standby('c')), '', False),
    (standby('b'), (silent('a'), silent('c')), 'sees 1 of 3 votes (b), a majority is 2', True),
    (standby('b'), (silent('a'), silent('c'), witness('d')), 'sees 1 of 3 votes (b), a majority is 2', True),
    (standby('b'), (primary('a'), standby('c')), 'a is primary', False),
    (standby('b', last_seen=3), (silent('a'), standby('c')), 'b has seen the primary 3 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c', last_seen=6)), 'c has seen the primary 6 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c', receiving=True)), 'c has seen the primary 0 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c', receiving=True, silence=6.5)), 'c has seen the primary 6 s ago, less than 7', True),
    # Streaming from a server that is frozen.
    (standby('b', receiving=True, silence=8), (silent('a'), standby('c', receiving=True, silence=7)), '', False),
    (standby('b'), (silent('a'), standby('c'), witness('d', last_seen=1)), 'd has seen the primary 1 s ago, less than 7', True),
    # Below another standby: what it receives says nothing about the primary.
    (standby('b'), (silent('a'), standby('c', receiving=True, upstream=2)), '', False),
    (standby('b', last_seen=None), (silent('a'), standby('c', last_seen=None)), '', False),
    # A server that has started knows neither whom its repmgrd watches nor when it saw it: it may have been a moment before.
    (standby('b'), (silent('a'), standby('c', last_seen=None, upstream=None, upstreams={'3': 1}, uptime=4.2)),
     'c started 4 s ago, less than 7: a primary may have seen it until then', True),
    (standby('b', last_seen=None, upstream=None, uptime=0.0), (silent('a'), standby('c')),
     'b started 0 s ago, less than 7: a primary may have seen it until then', True),
    # Without a vote it is none that a primary counts on; but it may have seen one.
    (standby('b'), (silent('a'), standby('c'), witness('d', last_seen=None, upstream=None, upstreams={'4': 1}, uptime=4)),
     'd has seen the primary 4 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c'), witness('d', last_seen=None, upstream=None, uptime=4)), '', False),
    (standby('b'), (silent('a'), standby('c', last_seen=None, upstream=None, upstreams={'3': 1}, uptime=8)), '', False),
    (standby('b'), (silent('a'), standby('c', last_seen=None, upstream=None, upstreams={'3': 1}, uptime=90, receiving=True, silence=1)),
     'c has seen the primary 1 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c', upstream=2, receiving=True, uptime=1)),
     'c started 1 s ago, less than 7: a primary may have seen it until then', True),
    # The primary counts on who answers it, whatever that one's repmgrd knows.
    (standby('b'), (silent('a'), standby('c', asked=['a', 1.5])), 'primary a runs, and has asked c 1 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c', upstream=2, receiving=True, asked=['a', 0.0])), 'primary a runs, and has asked c 0 s ago, less than 7', True),
    (standby('b'), (silent('a'), standby('c', asked=['a', 7.0])), '', False),
    (standby('b', in_recovery=False), (silent('a'), standby('c')), 'it is a primary already', False),
    (silent('b'), (silent('a'), standby('c')), 'the server here does not answer: no reason given', False),
    # Registered by somebody, and unknown to the file: two votes more.
    (standby('b', registered=[1, 2, 3, 8, 9]), (silent('a'), standby('c')), 'sees 2 of 5 votes (b, c), a majority is 3', True),
])
def test_promotion(local, peers, problem, wait):
    assert promotion(local, *peers) == (problem, wait)


@pytest.mark.parametrize('local, peers, synchronous, problem', [
    (standby('b'), (silent('a'), standby('c')), 1, ''),
    (standby('b'), (silent('a'), silent('c'), witness('d', vote=True)), 1, 'cannot see c, who may have a commit that nobody else has (repmgr_synchronous 1)'),
    (standby('b'), (silent('a'), silent('c'), witness('d', vote=True)), 2, ''),
    (standby('b'), (silent('a'), standby('c', lsn=101)), 1, 'c has received more'),
    (standby('b'), (silent('a'), standby('c', lsn=101)), 0, ''),
    (standby('b', timeline=2), (silent('a'), standby('c', lsn=101)), 1, ''),
    # It has started, and tells what it has replayed.
    (standby('b'), (silent('a'), standby('c', lsn=90, replaying=True)), 1,
     'cannot tell before its replay ends what has been received by c, who may have a commit that nobody else has (repmgr_synchronous 1)'),
    (standby('b'), (silent('a'), standby('c', lsn=90, replaying=True)), 0, ''),
    (standby('b'), (silent('a'), standby('c', lsn=90, replaying=True), standby('d')), 2, ''),
    (standby('b'), (silent('a'), standby('c', lsn=90, replaying=True), silent('d'), witness('e', vote=True)), 2,
     'cannot see d and cannot tell before its replay ends what has been received by c, who may have a commit that nobody else has (repmgr_synchronous 2)'),
    (standby('b'), (silent('a'), standby('c', lsn=101, replaying=True), standby('d')), 2, 'c has received more'),
    # What the candidate itself has, it replays before it takes writes.
    (standby('b', replaying=True), (silent('a'), standby('c')), 1, ''),
    # The old primary, as a standby again or not, is none of those that confirmed what it wrote.
    (standby('b'), (standby('a', replaying=True, lsn=90), standby('c')), 1, ''),
])
def test_promotion_where_commits_wait_for_standbys(local, peers, synchronous, problem):
    assert promotion(local, *peers, synchronous=synchronous)[0] == problem


# -- two primaries

@pytest.mark.parametrize('theirs, peers, answer', [
    # Replaced while it was cut off.
    (2, (standby('c', upstream=2, receiving=True),), 'this'),
    (2, (standby('c'),), 'this'),
    (2, (silent('c'),), 'this'),
    # Somebody promoted a standby behind everybody's back, and the others follow this node still.
    (2, (standby('c', upstream=1, receiving=True),), 'other'),
    (1, (standby('c'),), ''),
    (1, (standby('c', upstream=2, receiving=True),), 'this'),
])
def test_who_yields(theirs, peers, answer):
    other = primary('b', timeline=theirs)
    assert guard.who_yields([other] + list(peers), 1, 1, other, 3, 4) == answer


@pytest.mark.parametrize('vote, theirs, yields', [
    # It has voted for this one, and has found the older one again first.
    ('pgfleet_vote_0000000002_1', 1, 'other'),
    # For somebody else, for an older timeline, for nobody.
    ('pgfleet_vote_0000000002_3', 1, 'this'), ('pgfleet_vote_0000000001_1', 1, 'this'), (None, 1, 'this'),
])
def test_who_has_voted_against_a_primary_does_not_keep_it(vote, theirs, yields):
    """A majority of three, with a witness that still follows the older one. Both of them see it the same way."""
    follower = witness('d', vote=True, upstream=2, last_seen=0, voted=vote)
    assert guard.who_yields([primary('b', timeline=theirs), follower], 1, 2, primary('b', timeline=theirs), 3, 4) == yields
    assert guard.who_yields([primary('a', timeline=2), follower], 2, theirs, primary('a', timeline=2), 3, 4) == {'this': 'other', 'other': 'this'}[yields]


def test_both_sides_of_two_primaries_agree():
    older, newer = primary('a', timeline=1), primary('b', timeline=2)
    for upstream, receiving in itertools.product((1, 2), (True, False)):
        follower = standby('c', upstream=upstream, receiving=receiving)
        said = (guard.who_yields([newer, follower], 1, 1, newer, 3, 4), guard.who_yields([older, follower], 2, 2, older, 3, 4))
        assert said in (('this', 'other'), ('other', 'this'))


@pytest.mark.parametrize('answer, blind', [
    ({}, True), ({'receiving': True}, False), ({'receiving': True, 'silence': 5}, True), ({'last_seen': 2}, False),
    ({'last_seen': None}, False), ({'repmgrd': False}, False), ({'paused': True}, False), ({'upstream': 3}, False),
    # Its server has started, and repmgrd has told it nothing yet.
    ({'last_seen': None, 'upstream': None, 'upstreams': {'2': 1}, 'uptime': 3}, False),
    ({'last_seen': None, 'upstream': None, 'upstreams': {'2': 1}, 'uptime': 5}, True),
    ({'last_seen': None, 'upstream': None, 'upstreams': {'2': 1}, 'uptime': 5, 'receiving': True, 'silence': 1}, False),
    ({'last_seen': None, 'upstream': None, 'upstreams': {'2': 3}, 'uptime': 5}, False),
    # Its repmgrd has not reached this node since a switchover, and goes on naming the old primary.
    ({'upstream': 3, 'upstreams': {'2': 1}}, True), ({'upstream': 3, 'upstreams': {'2': 1}, 'last_seen': 2}, False),
    ({'upstream': 3, 'upstreams': {'2': 1}, 'receiving': True, 'silence': 1}, False), ({'upstream': 3, 'upstreams': {'2': 3}}, False),
])
def test_a_peer_that_answers_and_does_not_see_this_node(answer, blind):
    assert guard.is_blind(standby('b', **answer), 1, 4) is blind


# -- what is on the host

@pytest.mark.parametrize('output, reason', [
    ("NOTICE: x\nDETAIL: timeline 22 forked off\nDETAIL: pg_rewind command is \"p\"\nERROR: pg_rewind execution failed\n"
     "pg_rewind: servers diverged at WAL location 0/1\npg_rewind: error: could not write file: No space left on device",
     'pg_rewind: error: could not write file: No space left on device'),
    ('ERROR: cannot rejoin\nDETAIL: because\nHINT: do', 'ERROR: cannot rejoin; DETAIL: because; HINT: do'),
    ('sh: repmgr: not found', 'sh: repmgr: not found'),
])
def test_why_a_rejoin_failed(output, reason):
    assert guard.why_not(output) == reason


def test_what_a_server_would_start_as(tmpdir):
    assert guard.data_is(str(tmpdir)) == 'nothing'
    tmpdir.join('PG_VERSION').write('15')
    assert guard.data_is(str(tmpdir)) == 'primary'
    # Which files make a standby is compared with the modules (test_kind_of_data.py).
    tmpdir.join('recovery.signal').write('')
    assert guard.data_is(str(tmpdir)) == 'primary' and 'promotes itself' in guard.starts_as(str(tmpdir))
    tmpdir.join('standby.signal').write('')
    assert guard.data_is(str(tmpdir)) == guard.starts_as(str(tmpdir)) == 'standby'


def test_own_timeline():
    assert guard.own_timeline({"Latest checkpoint's TimeLineID": '2', "Min recovery ending loc's timeline": '3'}) == 3
    assert guard.own_timeline({}) == 0


@pytest.fixture
def run_server(tmpdir, monkeypatch):
    """Something that looks like the server on tmpdir/data; called with what differs from one."""
    monkeypatch.setattr(guard, 'STOPPED_FILE', str(tmpdir.join('stopped')))
    tmpdir.mkdir('data')
    started = []

    def start(name='postgres', cwd='data'):
        process = subprocess.Popen(['bash', '-c', 'exec -a %s sleep 60' % name], cwd=str(tmpdir.ensure(cwd, dir=True)))
        started.append(process)
        tmpdir.join('data', 'postmaster.pid').write('%d\n' % process.pid)
        wait_for(lambda: open('/proc/%d/cmdline' % process.pid).read().startswith(name + '\0'))
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(condition, seconds=5):
    deadline = time.time() + seconds
    while not condition() and time.time() < deadline:
        time.sleep(0.02)
    assert condition()


def test_a_frozen_server_is_ended(tmpdir, run_server):
    process, data = run_server(), str(tmpdir.join('data'))
    assert guard.postmaster(data) == process.pid
    os.kill(process.pid, 19)
    wait_for(lambda: ' T ' in open('/proc/%d/stat' % process.pid).read())
    guard.stop_now(data)
    assert process.wait() == -9
    assert guard.postmaster(data) is None


def test_a_data_directory_behind_a_link(tmpdir, run_server):
    process = run_server(name='/usr/lib/postgresql/15/bin/postgres')
    tmpdir.join('link').mksymlinkto(tmpdir.join('data'))
    assert guard.postmaster(str(tmpdir.join('link'))) == process.pid


# After a crash of the host a number in postmaster.pid may be anybody's.
@pytest.mark.parametrize('other', [{'cwd': 'another'}, {'name': 'repmgrd'}, {'name': 'postgres_exporter'}])
def test_a_stale_number_that_is_anothers_now(tmpdir, run_server, other):
    process = run_server(**other)
    assert guard.postmaster(str(tmpdir.join('data'))) is None
    guard.stop_now(str(tmpdir.join('data')))
    assert process.poll() is None
    assert guard.without_stale_pid(str(tmpdir.join('data'))) == {'PG_GRANDPARENT_PID': str(process.pid)}


def test_a_number_that_is_not_stale(tmpdir, run_server):
    assert guard.without_stale_pid(str(tmpdir.join('data'))) == {}
    run_server()
    assert guard.without_stale_pid(str(tmpdir.join('data'))) == {}


@pytest.mark.parametrize('signal', ['standby.signal', 'recovery.conf'])
def test_a_start_puts_a_signal_file_back_that_a_killed_rejoin_has_moved_aside(tmpdir, monkeypatch, signal):
    """Without it the server would come up as a primary, and with standbys in sight it might."""
    data, said = tmpdir.mkdir('data'), []
    data.join('PG_VERSION').write('15')
    data.join(signal + '.aside').write("standby_mode = 'on'")
    monkeypatch.setattr(guard, 'ENVIRONMENT_FILE', str(tmpdir.join('environment')))
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'say', said.append)
    config = dict(CONFIG, data_directory=str(data))
    assert guard.start(config) == 0 and data.join(signal).check() and not data.join(signal + '.aside').check() and 'the server starts as standby' in said[0]
    # One that is left of an earlier rejoin must not make a standby of it after its promotion.
    data.join(signal + '.aside').write('x')
    assert guard.start(config) == 0 and not data.join(signal + '.aside').check() and len(said) == 1


def test_a_signal_file_that_cannot_be_put_back_is_no_start(tmpdir, monkeypatch):
    def fails(path, target):
        raise OSError(30, 'Read-only file system')
    data, said = tmpdir.mkdir('data'), []
    data.join('PG_VERSION').write('15')
    data.join('standby.signal.aside').write('x')
    monkeypatch.setattr(guard, 'ENVIRONMENT_FILE', str(tmpdir.join('environment')))
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'say', said.append)
    monkeypatch.setattr(guard.os, 'rename', fails)
    assert guard.start(dict(CONFIG, data_directory=str(data))) == 1 and 'cannot be put back' in said[-1]


def test_a_unit_that_starts_postgres_itself_is_told_of_a_stale_number(tmpdir, monkeypatch, run_server):
    file, config = tmpdir.join('environment'), dict(CONFIG, data_directory=str(tmpdir.join('data')))
    monkeypatch.setattr(guard, 'ENVIRONMENT_FILE', str(file))
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    process = run_server(name='repmgrd')
    assert guard.start(config) == 0 and file.read() == 'PG_GRANDPARENT_PID=%d\n' % process.pid
    # What it was told once does not hold for the next start.
    tmpdir.join('data', 'postmaster.pid').remove()
    assert guard.start(config) == 0 and file.read() == ''
    # No reason to leave a server down.
    monkeypatch.setattr(guard, 'ENVIRONMENT_FILE', str(tmpdir.join('nowhere', 'environment')))
    assert guard.start(config) == 0


def alone(monkeypatch, process):
    """Whoever else is on this machine may be at work, too."""
    listdir = os.listdir
    monkeypatch.setattr(guard.os, 'listdir', lambda path: [str(process.pid)] if path == '/proc' else listdir(path))


@pytest.mark.parametrize('words, busy', [
    (['pg_rewind', '-D', 'DATA', '--source-server', 'host=b'], True), (['pg_rewind', '-D', '/another'], False), (['postgres', '--single', '-D', 'DATA'], True),
    (['postgres', '-D', 'DATA'], False), (['repmgr', '-f', '/etc/repmgr.conf', 'node', 'rejoin', '--force-rewind'], True),
    (['repmgr', '-f', '/etc/repmgr.conf', 'node', 'rejoin'], True), (['repmgr', '-f', '/etc/repmgr.conf', 'node', 'status'], False),
])
def test_a_rejoin_that_is_at_work(tmpdir, monkeypatch, words, busy):
    data = str(tmpdir.join('data'))
    words = [word.replace('DATA', data) for word in words]
    program = tmpdir.join(words[0])
    os.symlink(sys.executable, str(program))
    # Python takes what follows -c for arguments of its own program.
    process = subprocess.Popen([str(program), '-c', 'import time; time.sleep(60)'] + words[1:])
    alone(monkeypatch, process)
    try:
        deadline = time.time() + 2
        while guard.rejoining(data) is not busy and time.time() < deadline:
            time.sleep(0.02)
        assert guard.rejoining(data) is busy
    finally:
        process.kill()
        process.wait()


def psql(tmpdir, body):
    program = tmpdir.join('psql')
    program.write('#!%s\n%s' % (sys.executable, body))
    os.chmod(str(program), 0o755)
    return guard.Server({'bin_dir': str(tmpdir), 'passfile': '/nowhere', 'connect_timeout': 2, 'name': 'a'}, 'b', 'host=b')


ANSWERS = r"""
import sys
while True:
    line = sys.stdin.readline()
    if not line:
        break
    if line.startswith('\\echo end'):
        sys.stdout.write('noise\ncore\t{"in_recovery": true}\nrepmgrd\t{"last_seen": 3}\nnodes\t{"primary_id": 1}\n' + line[6:])
        sys.stdout.flush()
"""


def test_a_server_answers_again_and_again_on_one_connection(tmpdir):
    peer = psql(tmpdir, ANSWERS)
    for dummy in range(3):
        before = peer.answered
        # Python 2.7's clock has hundredths.
        time.sleep(0.03)
        guard.ask_all([peer], 5)
        assert peer.answer == {'in_recovery': True, 'last_seen': 3, 'primary_id': 1} and peer.answered != before and peer.seen(5)
    process = peer.process
    peer.close()
    assert peer.process is None
    wait_for(lambda: process.poll() is not None)


def test_a_server_that_hangs_is_given_up(tmpdir):
    peer = psql(tmpdir, 'import time\ntime.sleep(60)\n')
    begun = time.time()
    guard.ask_all([peer], 0.5)
    assert time.time() - begun < 3 and peer.answered is None and peer.process is None and 'no answer' in peer.error
    assert not peer.seen(5) and peer.seen(5, since=guard.clock())


FULL = """
import os, sys
with open(os.path.join(os.path.dirname(sys.argv[0]), 'log'), 'a') as log:
    log.write(sys.argv[-1] + '\\n')
if 'replication=database' not in sys.argv[-1]:
    print('psql: error: sorry, too many clients already')
    sys.exit(2)
""" + ANSWERS


def test_a_server_whose_clients_have_taken_every_connection(tmpdir):
    """A WAL sender answers like any other session, and has slots of its own."""
    peer = psql(tmpdir, FULL)
    peer.node_id, peer.config['connect_timeout'], before = 2, 20, guard.clock()
    peer.ask()
    asked = peer._asked
    guard.pump([peer], 10)
    try:
        # Of the question, and not of its second way.
        assert peer.answer['in_recovery'] and before <= asked == peer.answered
        # It stays connected.
        guard.ask_all([peer], 5)
        assert tmpdir.join('log').read().splitlines() == ['host=b', 'host=b replication=database']
        assert peer.answered > before
    finally:
        peer.close()
    # What is connected anew later is a client again.
    guard.ask_all([peer], 5)
    peer.close()
    assert tmpdir.join('log').read().splitlines() == ['host=b', 'host=b replication=database'] * 2


@pytest.mark.parametrize('node_id, body, tries', [
    # In whatever language the server says it.
    (2, "print('psql: error: FATAL: sorry, too many clients already')", ['host=b', 'host=b replication=database']),
    (2, "print('psql: error: FATAL: tut mir leid')", ['host=b', 'host=b replication=database']),
    # Nobody answers there at all.
    (2, "print('psql: error: Connection refused')", ['host=b']),
    (2, "print('psql: error: No route to host')", ['host=b']),
    (2, "print('psql: error: Network is unreachable')", ['host=b']),
    # What is not refused at once is no matter of slots; nor is the server here, which keeps some for its own user.
    (2, "import time; time.sleep(1.1)", ['host=b']),
    (1, "print('psql: error: the database system is starting up')", ['host=b']),
])
def test_when_a_connection_of_another_kind_is_tried(tmpdir, node_id, body, tries):
    peer = psql(tmpdir, FULL.partition('if ')[0] + body)
    peer.node_id, peer.config['node_id'] = node_id, 1
    if 'sleep' not in body:
        # On a busy machine this program begins late.
        peer.config['connect_timeout'] = 20
    guard.ask_all([peer], 10)
    assert tmpdir.join('log').read().splitlines() == tries and peer.answered is None and not peer.waiting


def test_a_connection_of_another_kind_is_left_again(monkeypatch):
    """It is a row of pg_stat_replication: replaced by a client's as soon as one is free, and never amid a question."""
    now, asked = [1000.0], []
    monkeypatch.setattr(guard, 'clock', lambda: now[0])
    peer = server('b')
    peer.process, peer._spare, peer._spared, peer._begun, peer._asked = None, True, 1000.0, 1000.0, None
    monkeypatch.setattr(peer, 'ask', lambda script: asked.append(peer._spare))
    for seconds, waiting in ((guard.PATIENCE - 1, None), (guard.PATIENCE, 1000.0 + guard.PATIENCE)):
        now[0], peer._asked = 1000.0 + seconds, waiting
        peer.tick(5, 10)
        assert peer._spare
    peer._asked, now[0] = None, now[0] + 1
    peer.tick(5, 10)
    assert not peer._spare and asked[-1] is False


def test_when_a_server_has_refused(tmpdir, monkeypatch):
    monkeypatch.setattr(guard, 'REFUSAL', 10)
    found = psql(tmpdir, "print('psql: error: the database system is starting up')")
    assert found.refused is None
    guard.ask_all([found], 9)
    assert guard.clock() - found.refused < 9
    monkeypatch.setattr(guard, 'REFUSAL', 0.5)
    # One that hangs: psql gives up by itself.
    found = psql(tmpdir, "import time; time.sleep(1); print('timeout expired')")
    guard.ask_all([found], 9)
    assert (found.refused, found.error) == (None, 'timeout expired')
    # One that has worked on this connection has ended it, and says nothing of others.
    found = psql(tmpdir, "input()")
    found._number = 1
    guard.ask_all([found], 9)
    assert found.refused is None


def test_a_server_that_refuses_says_why(tmpdir):
    peer = psql(tmpdir, 'print("psql: error: connection refused")\nraise SystemExit(2)\n')
    guard.ask_all([peer], 5)
    assert peer.answered is None and 'connection refused' in peer.error


def test_a_start_waits_for_the_word_of_every_node_with_data(tmpdir, monkeypatch):
    """The witness answers at once and is a majority with this node; the one that was promoted takes its time."""
    says = """
import sys, time
while True:
    line = sys.stdin.readline()
    if not line:
        break
    if line.startswith('\\\\echo end'):
        time.sleep(%s)
        sys.stdout.write('core\\t{"in_recovery": false, "system": "%s", "timeline": 2}\\n' + line[6:])
        sys.stdout.flush()
"""
    promoted, other = psql(tmpdir.mkdir('b'), says % (1.5, SYSTEM)), psql(tmpdir.mkdir('c'), says % (0, 'other'))
    promoted.vote = other.vote = other.witness = True
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'write_environment', lambda config: None)
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'primary')
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': SYSTEM, "Latest checkpoint's TimeLineID": '1'})
    monkeypatch.setattr(guard, 'peers_of', lambda config, purpose: [promoted, other])
    assert guard.start(dict(CONFIG, start_wait=20, peers=[{'vote': True}, {'vote': True}])) == 1


VOTER = r"""
import sys
script = ''
while True:
    line = sys.stdin.readline()
    if not line:
        break
    script += line
    if line.startswith('SELECT pg_catalog.pg_sleep(8)'):
        open(__file__ + '.held', 'w').close()
    if line.startswith('\\echo end'):
        if 'pg_try_advisory_lock' in script:
            sys.stdout.write('lock\ttrue\n')
        else:
            sys.stdout.write('core\t{"in_recovery": true, "system": "1", "timeline": 1}\nrepmgrd\t{"last_seen": 60, "upstream": 1}\n')
            sys.stdout.write('nodes\t{"primary_id": 1}\n')
        sys.stdout.write(line[6:])
        sys.stdout.flush()
        script = ''
"""


@pytest.mark.parametrize('command, code, held', [([], 0, False), (['true'], 0, True), (['false'], 1, False)])
def test_a_promotion_keeps_the_votes_for_a_while(tmpdir, monkeypatch, command, code, held):
    """Who has voted for it may not know of it yet when the old primary is started."""
    here, other = psql(tmpdir.mkdir('a'), VOTER), psql(tmpdir.mkdir('b'), VOTER)
    here.vote = other.vote = True
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'local_of', lambda config, purpose: here)
    monkeypatch.setattr(guard, 'peers_of', lambda config, purpose: [other])
    monkeypatch.setattr(guard, 'PROMOTE_FILE', str(tmpdir.join('promote')))
    assert guard.promote(dict(CONFIG, isolation=5, peers=[{'vote': True}]), command) == code
    for name in 'ab':
        assert tmpdir.join(name, 'psql.held').check() is held


def test_what_the_guard_has_stopped_it_starts_again(tmpdir, monkeypatch, run_server):
    """Also where its end is no failure to systemd; what somebody else has stopped stays so."""
    start = guard.subprocess.Popen
    monkeypatch.setattr(guard.subprocess, 'Popen', lambda argv, **more: start(['false']) if argv[0] == 'sudo' else start(argv, **more))
    watch = guard.Watch(CONFIG)
    assert not watch.wanted()
    process = run_server()
    guard.stop_now(str(tmpdir.join('data')))
    assert process.wait() in (-3, -9)
    watch.asked_systemd = None
    assert watch.wanted()
    watch.forget_stop()
    watch.asked_systemd = None
    assert not watch.wanted()


@pytest.mark.parametrize('failed', [True, False])
def test_nobody_waits_for_systemctl(monkeypatch, failed):
    """sudo may hang; meanwhile somebody may start the server, and the fuse would end it."""
    said, begun, start = [], [], guard.subprocess.Popen
    monkeypatch.setattr(guard, 'STOPPED_FILE', '/nonexistent')
    monkeypatch.setattr(guard, 'say', said.append)

    def popen(argv, **more):
        begun.append(start(['sh', '-c', 'read x; exit %d' % (0 if failed else 3)], stdin=subprocess.PIPE))
        return begun[-1]
    monkeypatch.setattr(guard.subprocess, 'Popen', popen)
    watch = guard.Watch(CONFIG)
    before = time.time()
    assert not any(watch.wanted() for dummy in range(20))
    # Nor is it asked again while it hangs.
    assert time.time() - before < 2 and len(begun) == 1 and said == []
    watch.asking = (watch.asking[0], watch.asking[1] - 61)
    assert not watch.wanted()
    assert 'systemctl is-failed postgresql@15-main has not ended for 61 s' in said[0]
    watch.since -= 100
    begun[0].communicate(b'x\n')
    assert watch.wanted() is failed
    # It is asked anew, and what was asked before the server was started and ended again is no answer.
    watch.asked_systemd = None
    assert not watch.wanted() and len(begun) == 2
    watch.since = guard.clock()
    begun[1].communicate(b'x\n')
    assert not watch.wanted()


def test_nobody_waits_for_a_disk(tmpdir, monkeypatch):
    """Neither for pg_controldata that reads from it, nor for a program that ends when it comes back from there."""
    program = tmpdir.join('pg_controldata')
    program.write('#!/bin/sh\nexec sleep 60\n')
    program.chmod(0o755)
    before = time.time()
    assert guard.control_data({'bin_dir': str(tmpdir), 'data_directory': '/data'}, 0.2) == {}
    # It was ended, which takes its moment.
    assert guard.outcome(guard._reading[0], 5) is not None
    program.write('#!/bin/sh\necho "Latest checkpoint\'s TimeLineID:       3"\n')
    assert guard.control_data({'bin_dir': str(tmpdir), 'data_directory': '/data'}, 10) == {"Latest checkpoint's TimeLineID": '3'}
    assert guard.control_data({'bin_dir': str(tmpdir), 'data_directory': '/data'}) == {"Latest checkpoint's TimeLineID": '3'}

    class Hangs:
        killed, returncode = False, -9

        def __init__(self):
            self.stdin = self.stdout = open(os.devnull)

        def communicate(self):
            return b'', None

        def kill(self):
            self.killed = True

        def poll(self):
            return None

        def wait(self):
            raise AssertionError('waits for it')
    # One that has not come back is the only one.
    monkeypatch.setattr(guard.subprocess, 'Popen', lambda argv, **more: begun.append(argv) or hanging)
    begun, hanging = [], Hangs()
    for dummy in range(3):
        assert guard.control_data({'bin_dir': '/bin', 'data_directory': '/data'}, 0.1) == {}
    assert len(begun) == 1 and hanging.killed
    hanging.poll = lambda: -9
    assert guard.control_data({'bin_dir': '/bin', 'data_directory': '/data'}, 0.1) == {} and len(begun) == 2
    peer = server('b')
    hangs = peer.process = Hangs()
    peer.close()
    assert hangs.killed and peer.process is None
    assert time.time() - before < 10


def test_nothing_is_done_to_data_of_which_nothing_is_known(monkeypatch):
    stage = Stage(monkeypatch, primary('b', timeline=2), standby('c'))
    monkeypatch.setattr(guard, 'control_data', lambda config, seconds: {})
    assert stage.stopped() == ['does not start or rejoin the server: pg_controldata gave no result for /data within 1 s, or failed']
    # A primary beside another is stopped all the same.
    stage.watch.local.answer['timeline'] = 1
    assert stage.primary() == ['stop']


# -- the watch

CONFIG = {'name': 'a', 'node_id': 1, 'isolation': 4, 'automatic': True, 'auto_rejoin': 'rewind', 'synchronous': 0, 'detection': 16, 'connect_timeout': 2,
          'port': 5432, 'database': 'repmgr', 'user': 'postgres', 'bin_dir': '/bin', 'conf': '/etc/repmgr.conf', 'passfile': '/pgpass',
          'data_directory': '/data', 'service': 'postgresql@15-main', 'peers': []}


class Work:
    """A Job that is at work until a test ends it."""

    def __init__(self, then, seconds):
        self.then, self.seconds = then, seconds


class Stage:
    """A Watch on a node that is or was primary, with peers that answer what a case says, and a record of what it does."""

    def __init__(self, monkeypatch, *peers, **config):
        self.now, self.done = 1000.0, []
        monkeypatch.setattr(guard, 'clock', lambda: self.now)
        self.problems = []
        monkeypatch.setattr(guard, 'stop_now', lambda directory, problem: (self.done.append('stop'), self.problems.append(problem)))
        monkeypatch.setattr(guard, 'say', self.done.append)
        # On a machine with a lab its processes are seen, too.
        monkeypatch.setattr(guard, 'rejoining', lambda directory: False)
        monkeypatch.setattr(guard, 'promoting', lambda: False)
        monkeypatch.setattr(guard, 'following', lambda: False)
        monkeypatch.setattr(guard, 'held_by', lambda local, servers: servers)
        monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {
            'Database system identifier': SYSTEM, "Latest checkpoint's TimeLineID": '1', 'Database cluster state': 'in production'})
        self.watch = guard.Watch(dict(CONFIG, **config))
        self.watch.peers, self.watch.votes = list(peers), 3
        self.watch.state['armed'] = True
        self.watch.local.answer, self.watch.local.answered = {'system': SYSTEM, 'timeline': 1, 'paused': False}, self.now
        self.watch.since = self.watch.served = self.now - 60
        for peer in peers:
            peer.answered = self.now if peer.answer else None
        monkeypatch.setattr(self.watch, 'wanted', lambda: True)
        monkeypatch.setattr(self.watch, 'rejoin', lambda primary, control: self.done.append('rejoin ' + primary.name))
        monkeypatch.setattr(guard.subprocess, 'Popen', lambda argv, **more: self.done.append(' '.join(argv)))
        monkeypatch.setattr(guard, 'Job', self.job)

    def job(self, config, what, argv, then, seconds=None, more=None):
        self.done.append(' '.join(argv))
        return Work(then, seconds)

    def end_job(self, code, output=''):
        job, self.watch.job = self.watch.job, None
        job.then(code, output)

    def primary(self):
        self.done[:] = []
        self.watch.primary('/data')
        return self.done[:1]

    def stopped(self):
        self.done[:] = []
        self.watch.stopped()
        return self.done[-1:]


def test_watch_over_a_primary_that_is_cut_off(monkeypatch):
    stage = Stage(monkeypatch, standby('b', receiving=True), standby('c', receiving=True))
    assert stage.primary() == []
    stage.now += 3.9
    assert stage.primary() == []
    stage.now += 0.2
    stage.watch.local.answered = stage.now
    assert stage.primary() == ['stop']
    stage.watch.peers[0].answered = stage.now
    assert stage.primary() == []
    stage.watch.peers[0].answer.update(receiving=False, last_seen=5)
    assert stage.primary() == ['stop']


@pytest.mark.parametrize('paused, told, automatic, done', [
    # Those that do not know yet that it is paused are no majority, or they are.
    (True, {'limited': [2]}, True, []), (True, {'limited': [2, 3]}, True, ['stop']),
    # Promoted by an operator, who has left it paused; and a primary that has yet to ask anybody.
    (True, {}, True, []), (True, None, True, []), (False, {}, True, ['stop']), (False, None, True, ['stop']), (False, None, False, []),
])
def test_watch_where_nobody_can_be_elected(monkeypatch, paused, told, automatic, done):
    stage = Stage(monkeypatch, silent('b'), silent('c'), automatic=automatic)
    stage.watch.local.answer['paused'] = paused
    stage.watch.state['reign'] = None if told is None else dict({'timeline': 1, 'replaced': None, 'followed': []}, **told)
    assert stage.primary() == done


@pytest.mark.parametrize('seconds, config, paused, done', [
    (6.9, {}, False, False), (7.1, {}, False, True), (7.1, {}, True, False), (7.1, {'automatic': False}, False, False),
])
def test_watch_that_stood_still(monkeypatch, seconds, config, paused, done):
    """Everything was frozen, with answers in the connections that say that all was well."""
    stage = Stage(monkeypatch, **config)
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'primary')
    monkeypatch.setattr(guard, 'postmaster', lambda directory: 77)
    monkeypatch.setattr(guard, 'pump', lambda servers, seconds: None)
    monkeypatch.setattr(guard.Server, 'tick', lambda self, interval, patience, word: None)
    stage.watch.votes = 1
    stage.watch.tick()
    assert stage.done == []
    stage.watch.local.answer['paused'] = paused
    stage.now += seconds
    stage.watch.tick()
    assert (stage.done[:1] == ['stop']) is done


@pytest.mark.parametrize('kind, pid, name', [('primary', 77, 'primary'), ('primary', None, 'watch'), ('standby', 77, 'watch')])
def test_whose_questions_a_peer_remembers(monkeypatch, kind, pid, name):
    """A primary's that runs, and no longer than it does."""
    stage = Stage(monkeypatch, standby('b'))
    monkeypatch.setattr(guard, 'data_is', lambda directory: kind)
    monkeypatch.setattr(guard, 'postmaster', lambda directory: pid)
    monkeypatch.setattr(guard, 'pump', lambda servers, seconds: None)
    asked = []
    monkeypatch.setattr(guard.Server, 'ask', lambda self, script: asked.append((self.name, script)))
    monkeypatch.setattr(guard.Watch, kind if pid else 'stopped', lambda *dummy: None)
    stage.watch.tick()
    word = '' if name == 'watch' else guard.HOLDER + guard.WORD % '{"lease": 7, "timeline": null, "votes": [1, 2]}'
    assert set(asked) == set((server, "SET application_name = 'repmgr-guard %s a';%s%s" % (name, guard.QUESTION, word)) for server in (
        ['a', 'b'] if pid else ['b']))


def test_watch_over_a_server_that_has_just_started(monkeypatch):
    stage = Stage(monkeypatch, silent('b'), silent('c'))
    stage.watch.since = stage.now
    assert stage.primary() == []
    stage.now += 5
    assert stage.primary() == ['stop']
    # The others have not seen it while it was down. Until they do they are held back by the lock of its start.
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    stage.watch.since = stage.watch.served = stage.now - 9
    assert stage.primary() == []
    stage.watch.since = stage.watch.served = stage.now - 11
    assert stage.primary() == ['stop']


@pytest.mark.parametrize('peers, local, done', [
    ((silent('b'), standby('c', upstream=2, receiving=True, timeline=2)), {}, ['stop']),
    # Most follow this node still: who strayed is for somebody to look at.
    ((standby('b', receiving=True), standby('c', upstream=2, receiving=True, timeline=2)), {}, []),
    # On a newer timeline, and from nobody.
    ((silent('b'), standby('c', upstream=2, timeline=2)), {}, []),
    ((silent('b'), standby('c', upstream=2, receiving=True, timeline=2, system='other')), {}, []),
    ((silent('b'), standby('c', upstream=1, receiving=True, timeline=1)), {}, []),
    # What the server here answered before its own promotion.
    ((silent('b'), standby('c', upstream=2, receiving=True, timeline=2)), {'in_recovery': True}, []),
])
def test_watch_over_a_primary_whose_standbys_stream_past_it(monkeypatch, peers, local, done):
    stage = Stage(monkeypatch, *peers)
    stage.watch.since = stage.now
    for server in [stage.watch.local] + [peer for peer in peers if peer.answer]:
        server.answered = stage.now
    stage.watch.local.answer.update(dict({'in_recovery': False}, **local))
    assert stage.primary() == done


def test_watch_over_a_primary_that_was_replaced(monkeypatch):
    stage = Stage(monkeypatch, primary('b', timeline=2), standby('c', upstream=2, receiving=True))
    assert stage.primary() == ['stop']
    stage = Stage(monkeypatch, primary('b', timeline=2), standby('c', receiving=True))
    assert stage.primary()[0].startswith('TWO PRIMARIES: b is primary, on timeline 2 (here: 1). That one')
    stage = Stage(monkeypatch, primary('b', timeline=2, system='another'), standby('c', receiving=True))
    assert stage.primary()[0].startswith('b is primary of another cluster')
    # What a peer said before this server became a primary is no word on now.
    stage = Stage(monkeypatch, primary('b', timeline=2), standby('c'))
    stage.watch.since = stage.now + 1
    assert stage.primary() == []


@pytest.mark.parametrize('local, seen, done', [
    ({}, {'upstream': 1, 'last_seen': 0}, []),
    ({'strays': [4]}, {'upstream': 1, 'last_seen': 0}, ['registers d below this node, which it follows']),
    ({'strays': [4]}, {'upstream': 2, 'last_seen': 0}, []),
    ({'strays': [4], 'primary_id': 2}, {'upstream': 1, 'last_seen': 0}, []),
    ({'strays': [3]}, {'upstream': 1, 'last_seen': 0}, []),
])
def test_watch_over_a_witness_that_was_away(monkeypatch, local, seen, done):
    asked = []
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.append((servers, script)))
    stage = Stage(monkeypatch, standby('b', receiving=True), standby('c', receiving=True), witness('d', **seen))
    stage.watch.local.answer.update(dict({'primary_id': 1}, **local))
    assert stage.primary() == done
    assert asked == ([([stage.watch.local], guard.ADOPT % (1, 4))] if done else [])


@pytest.mark.parametrize('seen, later, done', [
    ({'upstream': 1, 'last_seen': 0, 'notified': 1}, {}, ['takes back what d was notified of, and has not used: to follow node 1']),
    ({'upstream': 1, 'last_seen': 0, 'notified': 2}, {}, ['takes back what d was notified of, and has not used: to follow node 2']),
    # It may be about to be served: another one, an election, another primary.
    ({'upstream': 1, 'last_seen': 0, 'notified': 1}, {'notified': 2}, []),
    ({'upstream': 1, 'last_seen': 0, 'notified': 1}, {'notified': None}, []),
    ({'upstream': 1, 'last_seen': 0, 'notified': 2}, {'last_seen': 3}, []),
    ({'upstream': 1, 'last_seen': 0, 'notified': 2}, {'last_seen': None}, []),
    ({'upstream': 2, 'last_seen': 0, 'notified': 2}, {}, []),
    ({'upstream': 1, 'last_seen': 0}, {}, []),
])
def test_a_notification_that_came_too_late(monkeypatch, seen, later, done):
    asked = []
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.append((servers, script)))
    stage = Stage(monkeypatch, standby('b', receiving=True, notified=1), standby('c', receiving=True), witness('d', **seen))
    assert stage.primary() == [] and asked == []
    for seconds in (0.9, 0.1) if seen.get('notified') == 1 else (guard.SERVED - 0.1, 0.1):
        assert stage.primary() == [] and asked == []
        stage.now += seconds
        for peer in stage.watch.peers:
            peer.answered = stage.now
    stage.watch.peers[2].answer.update(later)
    assert stage.primary() == done
    assert asked == ([([stage.watch.peers[2]], guard.FORGET)] if done else [])


def test_notifications_are_taken_back_all_at_once(monkeypatch):
    """Each takes a second where a peer has just begun to hang."""
    asked = []
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.append((servers, seconds)))
    stage = Stage(monkeypatch, standby('b', receiving=True, notified=1, last_seen=0), standby('c', receiving=True, notified=1, last_seen=0))
    assert stage.primary() == [] and asked == []
    stage.now += 1
    for peer in stage.watch.peers:
        peer.answered = stage.now
    stage.primary()
    assert len(stage.done) == 2 and asked == [(stage.watch.peers, 1)]


TELL = ['tells d, which looks for node 2, to follow this node']


@pytest.mark.parametrize('seen, local, became, seconds, done', [
    ({}, {}, 0, 5, TELL),
    ({}, {}, 0, 4, []),
    # Until it is registered nobody can follow it; later than a minute nobody waits for a word.
    ({}, {'primary_id': 2}, 0, 5, []),
    ({}, {}, 56, 5, []),
    ({'upstream': 1}, {}, 0, 5, []),
    ({'upstream': None}, {}, 0, 5, []),
    # Its server has started: repmgrd goes on waiting, and has told it nothing.
    ({'upstream': None, 'upstreams': {'4': 2}}, {}, 0, 5, TELL),
    ({'upstream': None, 'upstreams': {'4': 1}}, {}, 0, 5, []),
    ({'paused': True}, {}, 0, 5, []),
    ({'receiving': True}, {}, 0, 5, []),
])
def test_watch_over_who_looks_for_another_primary(monkeypatch, seen, local, became, seconds, done):
    asked = []
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.append((servers, script)))
    stage = Stage(monkeypatch, standby('b', receiving=True), standby('c', receiving=True), witness('d', **dict({'upstream': 2}, **seen)))
    stage.watch.since = stage.now - became
    stage.watch.local.answer = primary('a', **dict({'primary_id': 1, 'registered': [1, 2, 3, 4], 'paused': False}, **local)).answer
    for passed in (0, seconds, 0):
        stage.now += passed
        for one in [stage.watch.local] + stage.watch.peers:
            one.answered = stage.now
        stage.watch.primary('/data')
        # Once, and not again.
        assert stage.done == (done if stage.now - 1000 >= seconds else [])
    assert asked == ([([stage.watch.peers[2]], guard.NOTIFY % 1)] if done else [])


def test_watch_over_a_server_that_died(monkeypatch):
    start_it = 'sudo -n /usr/bin/systemctl start postgresql@15-main'
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    assert stage.stopped() == [start_it]
    stage.watch.starting = None
    stage.now += 30
    for peer in stage.watch.peers:
        peer.answered = stage.now
    assert 'left to a failover' in stage.stopped()[0]
    # Nobody could take over, so nothing is waited for.
    for answer in ({'repmgrd': False}, {'repmgrd': True, 'priorities': {'2': 0, '3': 0}}):
        for peer in stage.watch.peers:
            peer.answer.update(answer)
        stage.watch.starting, stage.done[:] = None, []
        assert stage.stopped() == [start_it]


def test_watch_over_a_primary_that_others_have_lost_sight_of(monkeypatch):
    """It would be as blind again, and its start would hold the others up."""
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    assert stage.primary() == ['stop']
    assert stage.stopped() == ['does not start the server: others answer, but have not seen it, so this is left to a failover for a while']
    for seconds, done in ((guard.PATIENCE + CONFIG['detection'] - 1, []), (1, ['sudo -n /usr/bin/systemctl start postgresql@15-main'])):
        stage.now += seconds
        for peer in stage.watch.peers:
            peer.answered = stage.now
        assert stage.stopped() == done
    # A server that does not answer its own guard was seen by nobody for that reason.
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    stage.watch.local.answered = stage.now - 3
    assert stage.primary() == ['stop']
    assert stage.stopped() == ['sudo -n /usr/bin/systemctl start postgresql@15-main']
    # Who was simply alone starts again as soon as enough are in sight.
    stage = Stage(monkeypatch, standby('b', receiving=True), standby('c', receiving=True))
    stage.now += 5
    assert stage.primary() == ['stop']
    for peer in stage.watch.peers:
        peer.answered = stage.now
    assert stage.stopped() == ['sudo -n /usr/bin/systemctl start postgresql@15-main']


def test_watch_over_a_standby_that_died(monkeypatch):
    stage = Stage(monkeypatch, silent('b'), silent('c'))
    stage.watch.fallen()
    assert stage.done[-1] == 'sudo -n /usr/bin/systemctl start postgresql@15-main'
    stage.watch.starting, stage.done[:] = None, []
    stage.now += 30
    stage.watch.fallen()
    assert stage.done == []


@pytest.mark.parametrize('peers, what', [
    ((primary('b', timeline=2), standby('c', timeline=2)), 'rejoin b'),
    ((silent('b'), silent('c')), 'does not start the server: cannot see b, c, who could have elected another primary. It starts when it can'),
    ((silent('b'), standby('c', timeline=2)),
     'does not start the server: c knows of timeline 2 (here: 1), so another node was promoted. It starts when it can'),
])
def test_watch_over_a_server_that_may_not_start(monkeypatch, peers, what):
    assert Stage(monkeypatch, *peers).stopped() == [what]


PRIORITIES = {'1': 100, '2': 100, '3': 100}


@pytest.mark.parametrize('local, peers, best', [
    ({}, (standby('b'), standby('c')), 'a'),
    ({}, (standby('b', lsn=101), standby('c', lsn=102)), 'c'),
    ({}, (standby('b', timeline=2, lsn=7), standby('c', lsn=102)), 'b'),
    # Its repmgrd may be between two starts.
    ({}, (standby('b', lsn=101, repmgrd=False), standby('c', lsn=102, paused=True)), 'b'),
    ({'repmgrd': False}, (standby('b'), standby('c', lsn=99)), 'b'),
    ({'priorities': dict(PRIORITIES, **{'2': 200})}, (standby('b', repmgrd=False), standby('c')), 'a'),
    ({'priorities': dict(PRIORITIES, **{'2': 0})}, (standby('b', lsn=101, repmgrd=False), standby('c')), 'a'),
    ({'priorities': dict(PRIORITIES, **{'2': 200})}, (standby('b'), standby('c')), 'b'),
    ({'priorities': dict(PRIORITIES, **{'1': 0})}, (standby('b'), standby('c')), 'b'),
    ({'priorities': {'1': 0}}, (standby('b'), standby('c')), None),
    ({}, (silent('b'), witness('c')), 'a'),
])
def test_who_takes_over(local, peers, best):
    here = standby('a', **dict({'priorities': PRIORITIES}, **local))
    found = guard.best_candidate(here, list(peers), lambda peer: bool(peer.answer))
    assert (found.name if found else None) == best


def test_nobody_waits_for_ever_for_a_repmgrd_that_does_not_run():
    here, other = standby('a', priorities=PRIORITIES), standby('b', lsn=101, repmgrd=False)
    for deference, best in ((True, other), (False, here)):
        assert guard.best_candidate(here, [other], lambda peer: True, deference) is best


def gone(name, **answer):
    """Who is not in sight any more, and what it told last."""
    found = standby(name, **answer)
    found.answered = None
    return found


AWAY = {'1': 90, '2': 90, '3': 50}
REWOUND = dict(AWAY, **{'3': 70})


@pytest.mark.parametrize('local, peers, best', [
    # c was away while a was rewound, and needs what a does not keep for it.
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'b'),
    # Not a node of any id or priority more: without c's need the others go by these.
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY), gone('c', lsn=70)), 'a'),
    ({'keeps': REWOUND, 'priorities': {'1': 100, '2': 1, '3': 100}}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'b'),
    # Never at the price of a row.
    ({'keeps': REWOUND, 'lsn': 101}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'a'),
    ({'keeps': REWOUND, 'timeline': 2}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'a'),
    # Somebody is promoted also where nobody keeps it, or nobody else may be.
    ({'keeps': REWOUND}, (standby('b', keeps=REWOUND), gone('c', lsn=60)), 'a'),
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY, paused=True), gone('c', lsn=60)), 'a'),
    ({'keeps': REWOUND}, (gone('b', keeps=AWAY), gone('c', lsn=60)), 'a'),
    # One member that cannot be served is better than two.
    ({'keeps': {'2': 99, '3': 99, '4': 99}}, (standby('b', keeps={'3': 99, '4': 10}), gone('c', lsn=60), gone('d', lsn=60)), 'b'),
    # What is not known counts for nothing.
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY), silent('c')), 'a'),
    ({'keeps': {'2': 90}}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'a'),
    ({'keeps': {'3': None}}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'a'),
    ({'keeps': None}, (standby('b', keeps=AWAY), gone('c', lsn=60)), 'a'),
    # Another cluster's, and a witness, need nothing.
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY), gone('c', lsn=60, system='other')), 'a'),
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY), witness('c', lsn=60, system=SYSTEM)), 'a'),
    # A member that is in sight, and behind.
    ({'keeps': REWOUND}, (standby('b', keeps=AWAY), standby('c', lsn=60, keeps=AWAY)), 'b'),
])
def test_who_takes_over_where_a_member_needs_old_wal(local, peers, best):
    here = standby('a', **dict({'priorities': dict(PRIORITIES, **{'4': 100})}, **local))
    assert guard.best_candidate(here, list(peers), lambda peer: peer.answered is not None).name == best
    # For a while only: two that do not know the same of a third may each leave it to the other.
    plain = guard.best_candidate(here, list(peers), lambda peer: peer.answered is not None, deference=False)
    for server_ in [here] + list(peers):
        server_.answer.pop('keeps', None)
    assert plain is guard.best_candidate(here, list(peers), lambda peer: peer.answered is not None)


@pytest.mark.parametrize('seconds, promotes', [(16.1, False), (15 + guard.DEFERENCE, False), (16.1 + guard.DEFERENCE, True)])
def test_an_election_is_left_to_who_keeps_more_for_a_while(monkeypatch, seconds, promotes):
    stage = Stage(monkeypatch, standby('b', keeps=AWAY), gone('c', lsn=60))
    stage.watch.local.answer = standby('a', priorities=PRIORITIES, keeps=REWOUND).answer
    stage.watch.standby()
    stage.now += seconds
    for each in [stage.watch.local, stage.watch.peers[0]]:
        each.answered = stage.now
    stage.watch.standby()
    assert (' promote -- ' in stage.done[-1]) == promotes, stage.done


@pytest.mark.parametrize('peers, local, seconds, said', [
    ((standby('b'), silent('c')), {}, 15.9, None),
    ((standby('b'), silent('c')), {}, 16.1, ' promote -- '),
    ((standby('b', lsn=101), silent('c')), {}, 16.1, 'NO PRIMARY: no standby was promoted. Type'),
    ((standby('b', lsn=101, repmgrd=False), silent('c')), {}, 16.1, 'NO PRIMARY: no standby was promoted. Type'),
    ((standby('b', lsn=101, repmgrd=False), silent('c')), {}, 16.1 + guard.DEFERENCE, ' promote -- '),
    ((silent('b'), silent('c')), {}, 16.1, 'NO PRIMARY: sees 1 of 3 votes (a), a majority is 2. Type'),
    ((standby('b'), silent('c')), {'paused': True}, 16.1, 'NO PRIMARY: repmgrd is paused. Type'),
    ((standby('b'), silent('c')), {'repmgrd': False}, 16.1, 'NO PRIMARY: repmgrd does not run. Type'),
    ((standby('b', asked=['c', 1.2]), silent('c')), {}, 16.1, 'is cut off from its primary: primary c runs, and has asked b 1 s ago, less than 7'),
    ((standby('b', asked=['c', 8]), silent('c')), {}, 16.1, ' promote -- '),
    ((standby('b'), primary('c')), {}, 16.1, None),
    ((standby('b'), silent('c')), {'receiving': True}, 16.1, None),
])
def test_watch_over_a_standby_without_a_primary(monkeypatch, peers, local, seconds, said):
    stage = Stage(monkeypatch, *peers)
    stage.watch.local.answer = dict(standby('a', priorities=PRIORITIES).answer, **local)
    stage.watch.standby()
    assert stage.done == []
    stage.now += seconds
    for server in [stage.watch.local] + [peer for peer in stage.watch.peers if peer.answer]:
        server.answered = stage.now
    stage.watch.memory.learn(stage.watch.peers, stage.watch.peers)
    stage.watch.standby()
    assert said in stage.done[-1] if said else stage.done == []
    # Neither of them again at once.
    stage.done[:] = []
    stage.watch.election = None
    stage.watch.standby()
    assert stage.done == []


FOLLOW = '/bin/repmgr -f /etc/repmgr.conf standby follow --upstream-node-id 2'


# A primary that was killed during a bulk load has sent the beginning of a record only.
PARTIAL = {'replayed': 90, 'lsn': 100, 'version': 150000, 'timeline': 1, 'checkpoint_timeline': 1}
NEWER = {'timeline': 2}


def a_moment_later(stage, seconds, **local):
    stage.now += seconds
    stage.watch.local.answer = dict(stage.watch.local.answer, **local)
    for each in [stage.watch.local] + stage.watch.peers:
        each.answered = stage.now
    stage.watch.standby()


def with_a_partial_record(monkeypatch, local, peer, config):
    stage = Stage(monkeypatch, primary('b', **peer), standby('c', lsn=200), **config)
    stage.watch.peers[0].conninfo = 'host=b'
    stage.watch.local.answer = dict(standby('a', priorities=PRIORITIES).answer, **dict(PARTIAL, **local))
    return stage


@pytest.mark.parametrize('local, peer, config, seconds, begins', [
    ({}, NEWER, {}, 4.9, False),
    ({}, NEWER, {}, 5.1, True),
    # It has replayed all; it goes on streaming; an operator has paused the replay.
    ({'replayed': 100}, NEWER, {}, 5.1, False),
    ({'receiving': True, 'silence': 1}, NEWER, {}, 5.1, False),
    ({'replayed': None}, NEWER, {}, 5.1, False),
    # Not where repmgr follows, nor where a server has to be started again for it.
    ({}, {'timeline': 1}, {}, 5.1, False),
    ({'checkpoint_timeline': 2}, NEWER, {}, 5.1, False),
    ({'version': 120000}, NEWER, {}, 5.1, False),
    # Somebody works on it, or wants to.
    ({'paused': True}, NEWER, {}, 5.1, False),
    ({}, dict(NEWER, paused=True), {}, 5.1, False),
    ({}, NEWER, {'auto_rejoin': 'off'}, 5.1, False),
])
def test_when_a_standby_with_a_partial_record_streams_without_repmgr(monkeypatch, local, peer, config, seconds, begins):
    stage = with_a_partial_record(monkeypatch, local, peer, config)
    a_moment_later(stage, 0)
    a_moment_later(stage, seconds)
    assert bool([done for done in stage.done if done.startswith('/bin/psql ')]) == begins, stage.done
    assert [done for done in stage.done if 'standby follow' in done] == []


def test_repmgr_follows_when_such_a_standby_streams(monkeypatch):
    stage = with_a_partial_record(monkeypatch, {}, NEWER, {})
    a_moment_later(stage, 0)
    a_moment_later(stage, 6)
    assert "ALTER SYSTEM SET primary_conninfo = 'host=b application_name=''a'' passfile=''/pgpass'''" in stage.done[-1]
    assert "ALTER SYSTEM SET primary_slot_name = '' " in stage.done[-1]
    # Once. What that does not mend is left to repmgr and an operator.
    stage.end_job(0)
    a_moment_later(stage, 1)
    a_moment_later(stage, 6)
    assert len([done for done in stage.done if done.startswith('/bin/psql ')]) == 1
    stage.done[:] = []
    a_moment_later(stage, 1, receiving=True, silence=1, primary_id=2)
    assert stage.done == [FOLLOW]
    stage.end_job(1)
    a_moment_later(stage, 1)
    assert FOLLOW not in stage.done[1:]
    a_moment_later(stage, guard.PATIENCE)
    assert stage.done[-1] == FOLLOW
    stage.end_job(0)
    stage.done[:] = []
    a_moment_later(stage, guard.PATIENCE)
    assert stage.done == []


def test_repmgr_is_not_asked_to_follow_again_where_repmgrd_has(monkeypatch):
    stage = with_a_partial_record(monkeypatch, {}, NEWER, {})
    a_moment_later(stage, 0)
    a_moment_later(stage, 6)
    stage.end_job(0)
    stage.done[:] = []
    for seconds in (1, guard.PATIENCE):
        a_moment_later(stage, seconds, receiving=True, silence=1, primary_id=2, upstreams={'1': 2})
    assert stage.done == [] and stage.watch.went_round is None


def test_a_standby_that_still_replays_is_given_its_time(monkeypatch):
    stage = with_a_partial_record(monkeypatch, {}, NEWER, {})
    for replayed in (10, 40, 70, 90):
        a_moment_later(stage, 4, replayed=replayed)
    assert stage.done == []


@pytest.mark.parametrize('name, passfile, text', [
    ('a', '', "host=b application_name='a'"),
    ("it's", '/home of/\\.pgpass', "host=b application_name='it\\'s' passfile='/home of/\\\\.pgpass'"),
])
def test_upstream_conninfo(name, passfile, text):
    assert guard.upstream_conninfo({'name': name, 'passfile': passfile}, 'host=b') == text


@pytest.mark.parametrize('local, peer, config, seconds, done', [
    ({}, {}, {}, 29, []),
    ({}, {}, {}, 31, ['streams from nobody for 31 s: follows b', FOLLOW]),
    ({'receiving': True, 'silence': 1}, {}, {}, 31, []),
    ({'paused': True}, {}, {}, 31, []),
    ({}, {'paused': True}, {}, 31, []),
    ({}, {'system': '4711'}, {}, 31, []),
    ({}, {}, {'auto_rejoin': 'off'}, 31, ['b is primary, and this standby streams from nobody. Type: ansible-playbook pgfleet.repmgr.site']),
])
def test_watch_over_a_standby_that_was_left_behind(monkeypatch, local, peer, config, seconds, done):
    stage = Stage(monkeypatch, primary('b', **peer), standby('c', lsn=200), **config)
    for passed in (0, seconds):
        stage.now += passed
        stage.watch.local.answer = dict(standby('a', priorities=PRIORITIES).answer, **local)
        for server in [stage.watch.local] + stage.watch.peers:
            server.answered = stage.now
        stage.watch.standby()
    assert stage.done == done
    # Not beside itself, nor again at once.
    stage.watch.follow_after = 0
    stage.watch.standby()
    assert stage.done == done
    if stage.watch.job:
        assert stage.watch.job.seconds == guard.FOLLOW_LIMIT
        stage.watch.follow_after = stage.now + 1
        stage.end_job(0)
        stage.watch.standby()
        assert stage.done == done


def test_a_standby_that_cannot_follow_says_why_and_tries_again(monkeypatch):
    stage = Stage(monkeypatch, primary('b'))
    stage.watch.local.answer = standby('a').answer
    for passed, attempts in ((0, 0), (61, 1), (30, 1), (31, 2), (61, 2), (61, 3), (961, 4), (961, 5), (961, 6), (961, 7)):
        stage.now += passed
        for server in [stage.watch.local] + stage.watch.peers:
            server.answered = stage.now
        stage.watch.standby()
        if stage.watch.job:
            stage.end_job(8, 'ERROR: this node cannot attach\nDETAIL: it is ahead')
        assert len([text for text in stage.done if text.startswith('streams from nobody')]) == attempts
    assert ('could not follow b: ERROR: this node cannot attach; DETAIL: it is ahead. Tries again in 60 s; by hand: ansible-playbook '
            'pgfleet.repmgr.rejoin -e repmgr_target=a') in stage.done


HELD_BY = guard.held_by


def holding(monkeypatch, holds, restore=''):
    """Servers that say whether they have a segment: {name: word}."""
    asked = []

    def ask_all(servers, seconds, script=guard.QUESTION, enough=None):
        asked.append(script)
        for one in servers:
            one._tags = {'restore_command': restore}
            if one.name in holds:
                one._tags['holds'] = holds[one.name]

    monkeypatch.setattr(guard, 'ask_all', ask_all)
    monkeypatch.setattr(guard, 'held_by', HELD_BY)
    return asked


@pytest.mark.parametrize('holds, restore, done', [
    ({'b': True, 'c': True}, '', FOLLOW),
    # Nothing tells.
    ({}, '', FOLLOW),
    # From its archive it gets what is gone.
    ({'b': False, 'c': False}, 'cp %f %p', FOLLOW),
    ({'b': False, 'c': False}, 'unknown', FOLLOW),
    ({'b': False, 'c': True}, '', FOLLOW.replace(' 2', ' 3')),
    ({'b': False, 'c': False}, '', None),
])
def test_a_standby_whose_primary_has_removed_the_wal_that_it_needs(monkeypatch, holds, restore, done):
    stage = Stage(monkeypatch, primary('b', lsn=3 << 32), standby('c', lsn=3 << 32, receiving=True, silence=1))
    stage.watch.local.answer = standby('a', priorities=PRIORITIES, lsn=(2 << 32) + 0x6000060).answer
    asked = holding(monkeypatch, holds, restore)
    stage.watch.astray = stage.now - 31
    stage.watch.standby()
    assert len(asked) == 1 and '%d / i.size' % ((2 << 32) + 0x6000060) in asked[0] and 'f.name, 9) = upper(' in asked[0] and ' % ' in asked[0]
    if done:
        assert stage.done[-1] == done
        assert ('because primary b has removed' in stage.done[0]) is (' 3' in done[-2:])
        return
    assert stage.done == ['streams from nobody, and b has removed the WAL that it needs, from 2/6000060 on; no other node that answers has it. It has to '
                          'be cloned again: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a -e repmgr_rejoin=reclone']
    # Not in vain every minute.
    for passed, times in ((950, 1), (20, 2)):
        stage.now += passed
        for one in [stage.watch.local] + stage.watch.peers:
            one.answered = stage.now
        stage.watch.standby()
        assert len(asked) == times


# -- what is kept for the other members

def retention(tmpdir, **more):
    return guard.Retention(dict(CONFIG, name='a', **more), str(tmpdir.join('slots')))


@pytest.mark.parametrize('peers, found', [
    ((standby('b', lsn=7), standby('c', lsn=9)), {2: 7, 3: 9}),
    ((primary('b', lsn=7), witness('c', lsn=9)), {2: 7}),
    # What is on another timeline, or in another cluster, is no word on what this node has.
    ((standby('b', lsn=7, timeline=2), standby('c', lsn=9, system='other')), {}),
    ((standby('b', lsn=None), silent('c')), {}),
])
def test_what_the_others_have_confirmed(peers, found):
    assert guard.confirmed(standby('a'), list(peers)) == found
    assert guard.confirmed(silent('a'), list(peers)) == {}


def test_what_is_asked_of_the_server_about_slots():
    script = guard.retain(1, {3: 0x500000060, 2: 7}, ['repmgr_slot_9', "x'; drop"])
    assert "VALUES (2, '0/7'::pg_lsn), (3, '5/60'::pg_lsn)" in script and "IN ('repmgr_slot_9')" in script and '{' not in script.replace('{24}', '')
    script = guard.retain(1, {}, [])
    assert 'VALUES (NULL::int, NULL::pg_lsn)' in script and 'IN (NULL)' in script


def test_slots_are_kept_off_the_fencing_path(tmpdir, monkeypatch):
    local, here = server('a', registered=[1, 2], in_recovery=False), retention(tmpdir)
    asked, said = [], []
    monkeypatch.setattr(guard, 'say', said.append)
    monkeypatch.setattr(guard.Server, 'ask', lambda self, script: asked.append(script))
    here.tick(local, [standby('b', lsn=7)])
    assert len(asked) == 1 and "(2, '0/7'::pg_lsn)" in asked[0]
    # Not again at once.
    here.tick(local, [standby('b', lsn=8)])
    assert len(asked) == 1
    here._tags = {'members': ['repmgr_slot_2', 'repmgr_slot_9'], 'created': ['repmgr_slot_2']}
    here._take_over()
    assert said == ['WAL for the other nodes: made a slot for each of repmgr_slot_2']
    # Remembered by the guard that is started next, until it is dropped.
    assert retention(tmpdir).made == ['repmgr_slot_2', 'repmgr_slot_9']
    here._tags = {'members': ['repmgr_slot_2'], 'dropped': ['repmgr_slot_9']}
    here._take_over()
    assert retention(tmpdir).made == ['repmgr_slot_2']

    def fail(self, script):
        raise ValueError('no')

    monkeypatch.setattr(guard.Server, 'ask', fail)
    here.begun = None
    here.tick(local, [])
    assert said[-1] == 'WAL for the other nodes: ValueError: no'


@pytest.mark.parametrize('local', [silent('a'), server('a'), server('a', registered=[2, 3])])
def test_no_slots_before_a_node_is_registered(tmpdir, monkeypatch, local):
    monkeypatch.setattr(guard.Server, 'ask', lambda self, script: pytest.fail('asked'))
    here = retention(tmpdir)
    here.tick(local, [])
    assert here.begun is None


def test_a_server_that_does_not_answer_about_slots_is_given_up(tmpdir, monkeypatch):
    psql(tmpdir, 'import time\ntime.sleep(60)\n')
    here, said = retention(tmpdir, bin_dir=str(tmpdir)), []
    monkeypatch.setattr(guard, 'say', said.append)
    local = server('a', registered=[1, 2])
    here.tick(local, [])
    assert here.waiting
    here.begun -= 11
    begun = time.time()
    here.tick(local, [])
    assert time.time() - begun < 2 and not here.waiting and here.process is None
    assert said == ['WAL for the other nodes: the server here has not answered within 10 s']


def test_what_the_server_answers_about_slots(tmpdir, monkeypatch):
    psql(tmpdir, ANSWERS.replace('core', 'created').replace('{"in_recovery": true}', '["repmgr_slot_2"]').replace('repmgrd\\t', 'missing\\t').replace(
        '{"last_seen": 3}', '["repmgr_slot_3"]'))
    here, said = retention(tmpdir, bin_dir=str(tmpdir)), []
    monkeypatch.setattr(guard, 'say', said.append)
    local = server('a', registered=[1, 2])
    here.tick(local, [])
    wait_for(lambda: here.tick(local, []) or not here.waiting)
    assert said[:2] == ['WAL for the other nodes: made a slot for each of repmgr_slot_2',
                        'WAL for the other nodes: max_replication_slots leaves no room for repmgr_slot_3']
    here.close()


def test_a_memory_of_slots_that_is_spoilt(tmpdir):
    for text in ('', '[1]', 'null', '["UPPER", ""]', '7'):
        tmpdir.join('slots').write(text)
        assert retention(tmpdir).made == []


def test_no_election_beside_what_is_at_work(monkeypatch):
    stage = Stage(monkeypatch, standby('b'), silent('c'))
    stage.watch.job = Work(None, None)
    stage.watch.elect()
    stage.watch.job = None
    monkeypatch.setattr(guard, 'promoting', lambda: True)
    stage.watch.elect()
    assert stage.done == []


def test_a_standby_does_not_follow_beside_what_is_at_work(monkeypatch):
    stage = Stage(monkeypatch, primary('b'))
    stage.watch.local.answer = standby('a').answer
    stage.watch.astray = stage.now - 31
    monkeypatch.setattr(guard, 'following', lambda: True)
    stage.watch.standby()
    assert stage.done == []
    monkeypatch.setattr(guard, 'following', lambda: False)
    stage.watch.standby()
    assert stage.done[-1] == FOLLOW


@pytest.mark.parametrize('words, busy', [
    (['repmgr', '-f', '/etc/repmgr.conf', 'standby', 'promote'], 'promoting'), (['repmgr-guard', 'promote', '--', 'repmgr'], 'promoting'),
    (['repmgr', 'standby', 'follow'], 'following'), (['repmgr-guard', 'watch'], ''),
])
def test_what_is_at_work(tmpdir, monkeypatch, words, busy):
    program = tmpdir.join(words[0])
    program.write('import time\ntime.sleep(60)\n')
    process = subprocess.Popen([sys.executable, str(program)] + words[1:])
    alone(monkeypatch, process)
    try:
        wait_for(lambda: str(program) in open('/proc/%d/cmdline' % process.pid).read())
        for name in ('promoting', 'following'):
            wait_for(lambda name=name: getattr(guard, name)() is (name == busy))
    finally:
        process.kill()
        process.wait()


REJOIN = '/bin/repmgr -f /etc/repmgr.conf -d host=b node rejoin --force-rewind'
RECOVERY = '/bin/postgres --single -F -D /data -c config_file=/config/postgresql.conf template1'
COULD_NOT = 'could not rejoin b: %s. Tries again in %d s; by hand: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a'


def rejoining(monkeypatch, *peers, **config):
    """A Stage whose Watch rejoins in earnest."""
    stage = Stage(monkeypatch, *peers, **dict({'config_directory': '/config'}, **config))
    monkeypatch.setattr(stage.watch, 'rejoin', types.MethodType(guard.Watch.rejoin, stage.watch))
    return stage


@pytest.mark.parametrize('noticed', [True, False])
def test_a_rejoin_waits_for_the_witness_and_not_long(monkeypatch, noticed):
    stage = rejoining(monkeypatch, primary('b', timeline=2), witness('d', upstream=1))
    for seconds in (0, 4.9):
        stage.now += seconds
        for peer in stage.watch.peers:
            peer.answered = stage.now
        stage.watch.rejoin(stage.watch.peers[0], {})
        assert stage.done == ['waits for d to notice that b is primary']
    if noticed:
        stage.watch.peers[1].answer['upstream'] = 2
    else:
        stage.now += 0.1
    stage.watch.rejoin(stage.watch.peers[0], {})
    assert stage.done[1:] == [CHECKPOINT]


CHECKPOINT = '/bin/psql -X -q -w -d host=b -c CHECKPOINT'
NO_CHECKPOINT = 'b has had no checkpoint since its promotion'


@pytest.mark.parametrize('code, after, done', [
    (0, 2, ['rejoins b as its standby (rewind)', REJOIN]),
    (0, 1, [COULD_NOT % (NO_CHECKPOINT, 2)]),
    (1, 1, [COULD_NOT % (NO_CHECKPOINT + ': permission denied', 2)]),
])
def test_a_primary_is_made_to_have_a_checkpoint_and_not_waited_for(monkeypatch, code, after, done):
    stage = rejoining(monkeypatch, primary('b', timeline=2, checkpoint_timeline=1))
    peer = stage.watch.peers[0]
    monkeypatch.setattr(guard, 'ask_all', None)

    def rejoin():
        stage.watch.stopped()
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': SYSTEM, 'Database cluster state': 'shut down'})
    rejoin()
    assert stage.done == [CHECKPOINT] and stage.watch.job.seconds == 60
    rejoin()
    assert stage.done == [CHECKPOINT]
    stage.now += 1
    stage.end_job(code, 'permission denied')
    if not code:
        # Its last answer is older than the checkpoint.
        rejoin()
        assert stage.done == [CHECKPOINT] and peer._begun is None
    peer.answer['checkpoint_timeline'], peer.answered = after, stage.now + 0.1
    rejoin()
    assert stage.done[1:] == done


def test_a_recovery_after_which_nothing_is_known_of_the_data(monkeypatch):
    stage = rejoining(monkeypatch, primary('b', timeline=2, checkpoint_timeline=2))
    stage.watch.stopped()
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {})
    stage.end_job(0)
    assert stage.done[2:] == [COULD_NOT % ('pg_controldata gave no result for /data', 2)] and stage.watch.job is None


def test_no_rejoin_where_it_is_off(monkeypatch):
    stage = rejoining(monkeypatch, primary('b', timeline=2), auto_rejoin='off')
    stage.watch.rejoin(stage.watch.peers[0], {})
    assert stage.done == ['b is primary; this node can come back as its standby: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a']


@pytest.mark.parametrize('state, config, done', [
    ('shut down', {}, ['rejoins b as its standby (rewind)', REJOIN]),
    ('in production', {}, ['recovers the crashed server before it is rewound', RECOVERY]),
    ('in production', {'auto_rejoin': 'attach'}, ['rejoins b as its standby (attach)', REJOIN.replace(' --force-rewind', '')]),
])
def test_a_rejoin(monkeypatch, state, config, done):
    stage = rejoining(monkeypatch, primary('b', timeline=2, checkpoint_timeline=2), **config)
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': SYSTEM, 'Database cluster state': state})
    stage.watch.stopped()
    assert stage.done == done
    # A rewind is never ended, and nothing is begun beside it.
    assert stage.watch.job.seconds is None
    stage.watch.stopped()
    stage.watch.fallen()
    assert stage.done == done
    if 'recovers' in done[0]:
        monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database cluster state': 'shut down'})
        stage.end_job(0)
        assert stage.done == done + ['rejoins b as its standby (rewind)', REJOIN]
    stage.end_job(0)
    assert stage.done[-1] == 'is a standby of b again'


@pytest.mark.parametrize('state, checkpoint, reached, done', [
    # A copy, or what pg_rewind has left (a candidate that was killed while promoting is a standby again). pg_rewind refuses what was not shut down.
    ('in archive recovery', 1, 1, ['recovers the crashed server before it is rewound', RECOVERY]),
    # Nobody has gone beyond it: it has nothing of its own, and a recovery would write a checkpoint that nobody else has.
    ('in archive recovery', 2, 2, ['rejoins b as its standby (attach)', REJOIN.replace(' --force-rewind', '')]),
    ('shut down in recovery', 1, 2, ['rejoins b as its standby (attach)', REJOIN.replace(' --force-rewind', '')]),
    ('shut down in recovery', 1, 1, ['rejoins b as its standby (rewind)', REJOIN]),
])
def test_a_rejoin_of_what_was_in_recovery(monkeypatch, state, checkpoint, reached, done):
    stage = rejoining(monkeypatch, primary('b', timeline=2, checkpoint_timeline=2))
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {
        'Database system identifier': SYSTEM, 'Database cluster state': state, "Latest checkpoint's TimeLineID": '%d' % checkpoint,
        "Min recovery ending loc's timeline": '%d' % reached})
    stage.watch.stopped()
    assert stage.done == done


def candidate(tmpdir, state='in archive recovery', checkpoint='1', reached='1', history=1, version='15', **files):
    """A data directory, and what pg_controldata says of it."""
    data = tmpdir.mkdir('data')
    data.join('PG_VERSION').write(version + '\n')
    data.mkdir('pg_wal')
    for number in range(2, history + 1):
        data.join('pg_wal', '%08X.history' % number).write('')
    for name, text in files.items():
        data.join(name).write(text)
    return str(data), {'Database system identifier': SYSTEM, 'Database cluster state': state, "Latest checkpoint's TimeLineID": checkpoint,
                       "Min recovery ending loc's timeline": reached}


KILLED = [
    ({}, True),
    # It has written the history of its new timeline, and nothing on it; before its last restartpoint it had followed another one.
    ({'history': 2}, True), ({'checkpoint': '1', 'reached': '2', 'history': 3}, True),
    # It has come on its timeline.
    ({'checkpoint': '1', 'reached': '2', 'history': 2}, False), ({'state': 'in production', 'history': 2}, False),
    ({'state': 'shut down in recovery'}, False), ({'state': 'in crash recovery'}, False), ({'state': 'shut down'}, False),
    # A restore whose recovery has come to its end, which is a checkpoint.
    ({'checkpoint': '2', 'reached': '0', 'history': 2}, False), ({'checkpoint': '1', 'reached': '0', 'history': 2}, False),
    # What is none, or has not come to its end: a standby, a restore, a copy, a rewind.
    ({'standby.signal': ''}, False), ({'recovery.signal': ''}, False), ({'backup_label': ''}, False), ({'version': ''}, True),
]


@pytest.mark.parametrize('what, done', KILLED)
def test_a_candidate_that_was_killed_before_it_had_a_timeline(tmpdir, monkeypatch, what, done):
    """Its guard and a start make it the standby again that it was."""
    data, control = candidate(tmpdir, **what)
    assert guard.lost_its_signal(control, data) is done
    if done:
        said = []
        monkeypatch.setattr(guard, 'become_user', lambda config: None)
        monkeypatch.setattr(guard, 'write_environment', lambda config: None)
        monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: control)
        monkeypatch.setattr(guard, 'say', said.append)
        assert guard.start({'data_directory': data}) == 0
        assert guard.data_is(data) == 'standby' and not guard.lost_its_signal(control, data)
        assert said == ['was killed during its promotion, before it had a timeline of its own: is a standby again (%s)' % data]


@pytest.mark.parametrize('seconds, uptime, pid, files, old', [
    # The server was started after that, and in the same second; before that.
    (-5, 3, 77, ('recovery.signal',), False), (0, 0, 77, ('recovery.signal',), True),
    # Another was started since this tick began, or since the answer; nothing is known of that.
    (0, 0, 78, ('recovery.signal',), False), (0, 60, 77, ('recovery.signal',), False), (0, None, 77, ('recovery.signal',), False),
    # The wall clock was set back since the start.
    (3600, 0, 77, ('recovery.signal',), False),
    # It is a standby still; there is none.
    (0, 0, 77, ('recovery.signal', 'standby.signal'), False), (0, 0, 77, (), False), (None, 0, 77, ('recovery.signal',), False),
])
def test_a_signal_file_that_a_promotion_has_left(tmpdir, monkeypatch, seconds, uptime, pid, files, old):
    data, dummy = candidate(tmpdir, **dict((name, '') for name in files))
    if seconds is not None:
        tmpdir.join('data', 'postmaster.pid').write('77\n%s\n%d\n5432\n' % (data, int(time.time()) + seconds))
    path = os.path.join(data, 'recovery.signal')
    assert guard.left_over(data, pid, uptime) == (path if old else None)
    stage = Stage(monkeypatch, standby('b', receiving=True, silence=0), standby('c', receiving=True, silence=0), data_directory=data)
    stage.watch.detected = ('primary', pid)
    for recovers in (True, False):
        assert os.path.exists(path) is ('recovery.signal' in files)
        stage.watch.local.answer.update(in_recovery=recovers, primary_id=1, uptime=uptime)
        stage.watch.primary(data)
    assert os.path.exists(path) is ('recovery.signal' in files and not old)
    assert [text for text in stage.done if 'removes' in text] == (
        ['removes %s, which was there beside standby.signal, and which the next start would take for a restore' % path] if old else [])


def test_a_signal_file_of_before_the_start(tmpdir, monkeypatch):
    """It is compared with the start of the server, and not with now; the answer may be some seconds old."""
    data, dummy = candidate(tmpdir, **{'recovery.signal': ''})
    begun = int(time.time()) + 10
    tmpdir.join('data', 'postmaster.pid').write('77\n%s\n%d\n5432\n' % (data, begun))
    monkeypatch.setattr(guard.time, 'time', lambda: begun + 100.0)
    path = os.path.join(data, 'recovery.signal')
    assert guard.left_over(data, 77, 99.5) == guard.left_over(data, 77, 101) == path and guard.left_over(data, 77, 103) is None
    monkeypatch.setattr(guard.time, 'time', lambda: begun - 0.5)
    assert guard.left_over(data, 77, 0) is None
    monkeypatch.setattr(guard.time, 'time', lambda: begun + 100.0)
    stage = Stage(monkeypatch, standby('b', receiving=True, silence=0), data_directory=data)
    stage.watch.detected = ('primary', 77)
    stage.watch.local.answer['uptime'] = 98
    stage.now += 5
    stage.watch.tidy(data)
    assert os.path.exists(path)
    stage.now -= 3
    stage.watch.tidy(data)
    assert not os.path.exists(path)


def test_a_signal_file_that_cannot_be_removed(tmpdir, monkeypatch):
    stage = Stage(monkeypatch)
    monkeypatch.setattr(guard, 'left_over', lambda directory, pid, uptime: str(tmpdir))
    stage.watch.tidy('/data')
    assert 'cannot be removed' in stage.done[0]


def unannounced(monkeypatch, answer, pids, seconds=4 * guard.UNANNOUNCED, busy=()):
    """The processes that are ended, looked at each second, where the repmgrd of the node is pids(time)."""
    stage, ended = Stage(monkeypatch), []
    monkeypatch.setattr(guard, '_processes', lambda: [(1, ['init']), (3, ['repmgrd', '-f', '/etc/repmgr/other.conf'])] + [
        (pid, ['repmgrd', '-f', '/etc/repmgr.conf', '--daemonize=false', '']) for pid in [pids(stage.now - 1000)] if pid])
    monkeypatch.setattr(guard.os, 'kill', lambda pid, number: ended.append((pid, number)))
    for name in busy:
        monkeypatch.setattr(guard, name, lambda: True)
    for dummy in range(seconds):
        stage.now += 1
        stage.watch.local.answered = stage.now
        stage.watch.local.answer = dict({'in_recovery': False, 'repmgrd': False, 'uptime': stage.now - 1000}, **answer)
        stage.watch.announce_repmgrd()
    return ended


def test_a_repmgrd_that_its_server_does_not_know_is_restarted(monkeypatch):
    term = (7, guard.signal.SIGTERM)
    # Not at once, once until it had its time again, and the new one is given its time as well.
    assert unannounced(monkeypatch, {}, lambda now: 7, seconds=2 * guard.UNANNOUNCED - 1) == []
    assert unannounced(monkeypatch, {}, lambda now: 7, seconds=2 * guard.UNANNOUNCED + 5) == [term]
    assert unannounced(monkeypatch, {}, lambda now: 7 if now <= 2 * guard.UNANNOUNCED else 8)[:2] == [term, (8, guard.signal.SIGTERM)]
    assert unannounced(monkeypatch, {'in_recovery': True, 'receiving': True}, lambda now: 7)[0] == term


@pytest.mark.parametrize('answer, pids, busy', [
    ({'repmgrd': True}, lambda now: 7, ()), ({'repmgrd': None}, lambda now: 7, ()), ({}, lambda now: None, ()),
    # It has lost its primary, and may be about to elect; or is at work.
    ({'in_recovery': True, 'receiving': False}, lambda now: 7, ()), ({}, lambda now: 7, ('promoting',)), ({}, lambda now: 7, ('following',)),
    # systemd starts one after another, and none has had its time.
    ({}, lambda now: 100 + now, ()),
    ({'uptime': guard.UNANNOUNCED - 1}, lambda now: 7, ()),
])
def test_a_repmgrd_that_is_let_be(monkeypatch, answer, pids, busy):
    assert unannounced(monkeypatch, answer, pids, busy=busy) == []


def test_a_restore_that_was_killed_at_its_end_is_no_candidate(tmpdir, monkeypatch):
    """During the checkpoint of that it has the control data of one. The start and the watch keep what it was until it takes writes, or is a standby."""
    data, control = candidate(tmpdir, history=2, **{'recovery.signal': ''})
    config = {'data_directory': data, 'state': str(tmpdir.join('state')), 'peers': [], 'isolation': 4, 'start_wait': 0, 'connect_timeout': 2,
              'name': 'a', 'node_id': 1}
    for name in ('become_user', 'write_environment'):
        monkeypatch.setattr(guard, name, lambda config: None)
    said = []
    stage = Stage(monkeypatch, **config)
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: control)
    monkeypatch.setattr(guard, 'say', said.append)
    assert guard.start(config) == 0 and guard.is_restoring(config)
    os.unlink(os.path.join(data, 'recovery.signal'))
    assert guard.lost_its_signal(control, data)
    assert guard.start(config) == 0 and guard.data_is(data) == 'primary'
    stage.stopped()
    assert guard.data_is(data) == 'primary' and not [text for text in said if 'killed' in text]
    # Its own watch sees it, too, whoever has started it; and the end of it.
    watch, is_there = stage.watch, tmpdir.join('data', 'recovery.signal')
    monkeypatch.setattr(guard, 'pump', lambda servers, seconds: None)
    monkeypatch.setattr(guard.Server, 'tick', lambda self, interval, patience, word: None)
    for name in ('primary', 'stopped', 'standby', 'fallen', 'announce_repmgrd'):
        monkeypatch.setattr(watch, name, lambda *dummy: None)
    for kind, pid, signal_file, recovers, restores in (
            ('primary', 77, False, True, True), ('primary', None, False, False, True), ('primary', 77, False, False, False),
            ('primary', None, True, None, False), ('primary', 77, True, True, True), ('nothing', None, False, None, True),
            ('standby', None, False, None, False), ('primary', 77, True, None, True), ('primary', 77, True, False, False)):
        is_there.write('') if signal_file else is_there.check() and is_there.remove()
        watch.local.answer['in_recovery'] = recovers
        monkeypatch.setattr(guard, 'data_is', lambda directory: kind)  # pylint: disable=cell-var-from-loop
        monkeypatch.setattr(guard, 'postmaster', lambda directory: pid)  # pylint: disable=cell-var-from-loop
        stage.now += 0.1
        watch.tick()
        stage.now += 0.1
        watch.local.answered = stage.now
        watch.tick()
        assert guard.is_restoring(config) is restores, (kind, pid)
    # Where no watch is at work the start of a standby sees it.
    guard.keep_restoring(config, True)
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'standby')
    assert guard.start(config) == 0 and not guard.is_restoring(config)


UNTRACKED = ('primary y has a session on c, where track_activities is off: nobody knows when it has asked, nor what it has told, so it counts as asked just '
             'now for as long as the session lasts. Set track_activities to on there, and reload')


def test_a_server_that_does_not_track_its_sessions():
    """A host that is gone, and its session: what holds up a start and a promotion says why."""
    config = {'name': 'a', 'node_id': 1, 'isolation': 4}
    peers = [standby('b'), standby('c', tracks=False, asked=['y', None, '<insufficient>'])]
    assert guard.becomes_primary(config, peers) == guard.Problem('locked', UNTRACKED, ['c'])
    assert promotion(standby('b'), silent('a'), *peers[1:])[0] == UNTRACKED
    for tracks in (True, None):
        peers[1].answer.update(tracks=tracks, asked=['y', 1, None])
        assert guard.becomes_primary(config, peers).text == 'primary y recovers, and has asked c 1 s ago'
        assert promotion(standby('b'), silent('a'), *peers[1:])[0] == 'primary y runs, and has asked c 1 s ago, less than 7'
    # Its session is gone, and so it is known when it was asked last.
    known = {'c': {'primary': 'y', 'at': guard.clock(), 'gone': True, 'word': {}}}
    peers[1].answer.update(tracks=False, asked=None)
    assert promotion(standby('b'), silent('a'), peers[1], known=known)[0].startswith('primary y runs, and has asked c')


def test_the_watch_says_where_sessions_are_not_tracked(monkeypatch):
    stage = Stage(monkeypatch, standby('b', receiving=True, silence=0, tracks=False), standby('c', receiving=True, silence=0, tracks=True))
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'standby')
    monkeypatch.setattr(guard, 'postmaster', lambda directory: 77)
    monkeypatch.setattr(guard, 'pump', lambda servers, seconds: None)
    monkeypatch.setattr(guard.Server, 'tick', lambda self, interval, patience, word: None)
    monkeypatch.setattr(stage.watch, 'standby', lambda: None)
    for dummy in range(3):
        stage.watch.tick()
    assert [text for text in stage.done if 'track_activities' in text] == [
        'track_activities is off on b: who was primary there last keeps others from starting and from being promoted for as long as its session lasts, dead or '
        'not. Set it to on, and reload']


SEGMENT = '0000000000000007'
BEGUN = ['00000003' + SEGMENT, '00000003.history', 'archive_status/00000003.history.ready', 'archive_status/00000003' + SEGMENT + '.ready']
KEPT = ['00000001' + SEGMENT, '00000002' + SEGMENT, '00000002.history', 'archive_status/00000002.history.done', 'archive_status/00000001' + SEGMENT + '.done']


def with_wal(tmpdir, *names, **what):
    data, control = candidate(tmpdir, **what)
    os.mkdir(os.path.join(data, 'pg_wal', 'archive_status'))
    for name in names:
        open(os.path.join(data, 'pg_wal', name), 'w').close()
    return data, control


def wal_of(data):
    return sorted(os.path.relpath(os.path.join(folder, name), os.path.join(data, 'pg_wal'))
                  for folder, dummy, names in os.walk(os.path.join(data, 'pg_wal')) for name in names)


@pytest.mark.parametrize('names, left', [
    (KEPT + BEGUN, KEPT), (KEPT + BEGUN[:1], KEPT),
    # Nothing was begun; and what was received beyond the last restartpoint, which control data do not know of, is another's.
    (KEPT, KEPT), (KEPT + BEGUN + ['000000030000000000000008'], KEPT + BEGUN + ['000000030000000000000008']),
    (KEPT + BEGUN[:1] + ['00000004.history'], KEPT + BEGUN[:1] + ['00000004.history']),
])
def test_the_timeline_of_a_killed_promotion_is_nobodys(tmpdir, names, left):
    data, control = with_wal(tmpdir, *names, checkpoint='2', reached='2')
    guard.make_standby(data, control)
    assert wal_of(data) == sorted(left) and guard.data_is(data) == 'standby' and not os.path.exists(os.path.join(data, 'standby.signal.new'))


def test_each_step_to_a_standby_outlasts_a_power_failure_before_the_next(tmpdir, monkeypatch):
    data, control = with_wal(tmpdir, *(KEPT + BEGUN), checkpoint='2', reached='2')
    steps, unlink, rename = [], os.unlink, os.rename
    monkeypatch.setattr(guard, 'keep_names', lambda path: steps.append('keep ' + os.path.basename(path)))
    monkeypatch.setattr(guard.os, 'unlink', lambda path: (steps.append(os.path.basename(path)), unlink(path)))
    monkeypatch.setattr(guard.os, 'rename', lambda *paths: (steps.append('rename'), rename(*paths)))
    guard.make_standby(data, control)
    assert steps[:1] + steps[-5:] == [
        'keep data', 'keep pg_wal', '00000003' + SEGMENT, 'keep pg_wal', 'rename', 'keep data']
    monkeypatch.undo()
    kept = []
    monkeypatch.setattr(guard.os, 'fsync', lambda handle: kept.append(os.readlink('/proc/self/fd/%d' % handle)))
    guard.keep_names(data)
    assert kept == [os.path.realpath(data)]


def test_a_candidate_is_made_a_standby_by_whoever_is_not_killed_meanwhile(tmpdir, monkeypatch):
    """After any of the steps: it is known again, and what is left is done. It had followed another timeline since its last restartpoint."""
    class Killed(Exception):
        pass

    def dies(function, path, *more):
        if steps[0] == 0:
            raise Killed
        steps[0] -= 1
        return function(path, *more)
    unlink, rename = os.unlink, os.rename
    monkeypatch.setattr(guard.os, 'unlink', lambda path: dies(unlink, path))
    monkeypatch.setattr(guard.os, 'rename', lambda *paths: dies(rename, *paths))
    monkeypatch.setattr(guard, 'say', lambda text: None)
    for number in range(len(BEGUN) + 1):
        steps = [number]
        data, control = with_wal(tmpdir.mkdir('%d' % number), *(KEPT + BEGUN), checkpoint='1', reached='2')
        with pytest.raises(Killed):
            guard.make_standby(data, control)
        assert guard.data_is(data) == 'primary' and guard.lost_its_signal(control, data)
        steps[0] = -1
        guard.make_standby(data, control)
        assert wal_of(data) == sorted(KEPT) and guard.data_is(data) == 'standby'


def test_before_postgresql_12_it_has_another_name(tmpdir):
    data, control = candidate(tmpdir, version='10', **{'recovery.done': "standby_mode = 'on'\n"})
    assert guard.lost_its_signal(control, data)
    # It was killed while it was made one, once.
    os.rename(os.path.join(data, 'recovery.done'), os.path.join(data, 'recovery.conf.new'))
    assert guard.lost_its_signal(control, data)
    guard.make_standby(data, control)
    assert guard.data_is(data) == 'standby' and sorted(os.listdir(data)) == ['PG_VERSION', 'pg_wal', 'recovery.conf']


def test_watch_over_a_candidate_that_was_killed(tmpdir, monkeypatch):
    """Neither started as primary on the timeline of the old one, nor recovered and rewound."""
    for peers in ([standby('b'), standby('c')], [primary('b', timeline=2, checkpoint_timeline=2), standby('c')]):
        where = tmpdir.mkdir('with %d' % len(peers[0].answer))
        data, control = candidate(where)
        stage = rejoining(monkeypatch, *peers, data_directory=data)
        monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: control)  # pylint: disable=cell-var-from-loop
        stage.watch.stopped()
        assert len(stage.done) == 1 and 'is a standby again' in stage.done[0] and guard.data_is(data) == 'standby'
        stage.watch.fallen()
        assert stage.done[1:] == ['starts the standby again', 'sudo -n /usr/bin/systemctl start postgresql@15-main']
    os.unlink(os.path.join(data, 'standby.signal'))
    monkeypatch.setattr(guard, 'make_standby', lambda directory, control: open('/nonexistent/signal', 'w'))
    del stage.done[:]
    stage.watch.stopped()
    assert len(stage.done) == 1 and stage.done[0].startswith('cannot be made the standby again')


@pytest.mark.parametrize('checkpoint, reached, state, refused', [
    (2, 0, 'in production', True), (2, 0, 'shut down', True), (1, 2, 'in production', True), (1, 0, 'in production', False),
    # It has only received it.
    (2, 2, 'in archive recovery', False), (2, 2, 'shut down in recovery', False),
])
def test_no_rejoin_where_two_were_promoted_to_one_timeline(monkeypatch, checkpoint, reached, state, refused):
    stage = Stage(monkeypatch, primary('b', timeline=2))
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {
        'Database system identifier': SYSTEM, 'Database cluster state': state, "Latest checkpoint's TimeLineID": '%d' % checkpoint,
        "Min recovery ending loc's timeline": '%d' % reached})
    done, = stage.stopped()
    assert done == (
        'does not rejoin b: both have been primary on timeline 2, and neither PostgreSQL nor pg_rewind can tell what only one of them has. To make this node '
        'a standby, which moves its data aside: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a -e repmgr_rejoin=reclone' if refused else 'rejoin b')


def test_a_rejoin_that_fails(monkeypatch):
    stage = rejoining(monkeypatch, primary('b', timeline=2, checkpoint_timeline=2))
    stage.watch.stopped()
    stage.end_job(1, 'FATAL: cannot be recovered')
    assert stage.done[-1] == COULD_NOT % ('FATAL: cannot be recovered', 2)
    stage.done[:] = []
    stage.now += 1
    stage.watch.stopped()
    assert stage.done == []
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': SYSTEM, 'Database cluster state': 'shut down'})
    stage.now += 1
    stage.watch.peers[0].answered = stage.now
    stage.watch.stopped()
    stage.end_job(8, 'ERROR: cannot rejoin')
    assert stage.done == ['rejoins b as its standby (rewind)', REJOIN, COULD_NOT % ('ERROR: cannot rejoin', 4)]


REGISTER = ['registers this node as primary, which it has been for 11 s without being registered', '/bin/repmgr -f /etc/repmgr.conf primary register --force']


@pytest.mark.parametrize('local, seconds, done', [
    ({}, 11, REGISTER),
    # Nobody is registered as primary.
    ({'primary_id': None}, 11, REGISTER),
    # Whoever promotes it may be about to do that.
    ({}, 9, []),
    ({'primary_id': 1}, 11, []),
    ({'registered': [2, 3]}, 11, []),
    ({'registered': None}, 11, []),
    ({'in_recovery': True}, 11, []),
    ({'paused': True}, 11, []),
])
def test_watch_over_a_primary_that_is_not_registered(monkeypatch, local, seconds, done):
    stage = Stage(monkeypatch, standby('b', receiving=True), standby('c', receiving=True))
    for passed in (0, seconds):
        stage.now += passed
        stage.watch.local.answer = dict(primary('a', primary_id=2, registered=[1, 2, 3], paused=False).answer, **local)
        for one in [stage.watch.local] + stage.watch.peers:
            one.answered = stage.now
        stage.watch.primary('/data')
    assert stage.done == done
    # Neither beside itself, nor again at once.
    stage.watch.primary('/data')
    assert stage.done == done
    if done:
        stage.end_job(1, 'ERROR: no')
        stage.watch.primary('/data')
        assert stage.done[2:] == ['could not register this node as primary: ERROR: no. Tries again in 60 s; by hand: ansible-playbook pgfleet.repmgr.site']


@pytest.mark.parametrize('other, promoting', [(True, False), (False, True)])
def test_no_registration_beside_another_primary_or_a_promotion(monkeypatch, other, promoting):
    stage = Stage(monkeypatch, primary('b', timeline=1) if other else standby('b', receiving=True), standby('c', receiving=True))
    monkeypatch.setattr(guard, 'promoting', lambda: promoting)
    for dummy in range(2):
        stage.now += 20
        stage.watch.local.answer = primary('a', primary_id=2, registered=[1, 2, 3], paused=False).answer
        for one in [stage.watch.local] + stage.watch.peers:
            one.answered = stage.now
        stage.watch.primary('/data')
    assert [text for text in stage.done if 'register' in text] == []


@pytest.mark.parametrize('script, seconds, code, said, output', [
    ('echo one; echo two >&2; exit 3', None, 3, '', 'one\ntwo'),
    ('echo begun; exec sleep 60', 1, -9, 'follow: ended after 1 s', 'begun'),
    # What reads its input, as a server for a single user does, is at its end at once.
    ('cat', None, 0, '', ''),
])
def test_a_job(tmpdir, monkeypatch, script, seconds, code, said, output):
    done = []
    monkeypatch.setattr(guard, 'PID_FILE', str(tmpdir.join('pid')))
    monkeypatch.setattr(guard, 'say', done.append)
    job = guard.Job({'passfile': '/pgpass'}, 'follow', ['sh', '-c', script], None, seconds)
    found = []
    wait_for(lambda: any(found) or found.append(job.result()) or any(found))
    assert found[-1] == (code, output)
    assert ''.join(done) == said
    assert tmpdir.listdir() == []


@pytest.mark.parametrize('what, seconds, goes_on', [('follow', 120, False), ('rejoin', None, True)])
def test_a_job_when_its_guard_is_stopped(tmpdir, monkeypatch, what, seconds, goes_on):
    monkeypatch.setattr(guard, 'PID_FILE', str(tmpdir.join('pid')))
    watch = guard.Watch(CONFIG)
    watch.job = guard.Job(CONFIG, what, ['sleep', '60'], None, seconds)
    process = watch.job.process
    try:
        watch.close()
        time.sleep(0.1)
        assert (process.poll() is None) == goes_on
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_job_that_takes_long_says_so(tmpdir, monkeypatch):
    stage = Stage(monkeypatch)
    monkeypatch.undo()
    done = []
    monkeypatch.setattr(guard, 'PID_FILE', str(tmpdir.join('pid')))
    monkeypatch.setattr(guard, 'clock', lambda: stage.now)
    monkeypatch.setattr(guard, 'say', done.append)
    job = guard.Job({'passfile': '/pgpass'}, 'rejoin', ['sleep', '60'], None)
    try:
        for passed, times in ((59, 0), (1, 1), (59, 1), (1, 2)):
            stage.now += passed
            assert job.result() is None
            assert done == ['rejoin: at work for %d s (process %d)' % (60 * number, job.process.pid) for number in range(1, times + 1)]
    finally:
        job.process.kill()
        job.process.wait()


# -- what a node knows of another primary

@pytest.mark.parametrize('peers, reign, code', [
    # The vote of a witness that has followed another node since.
    ((silent('b'), witness('d', vote=True, upstream=2, last_seen=0)), {'timeline': 1, 'replaced': None, 'followed': [4], 'limited': []}, 'named'),
    # Right after its own promotion: the witness asks the old primary still, and its copy of the metadata has it still.
    ((silent('b'), witness('d', vote=True, upstream=2, primary_id=2, last_seen=0)), {'timeline': 1, 'replaced': 2, 'followed': [], 'limited': []}, None),
    ((silent('b'), witness('d', vote=True, upstream=2, primary_id=2, last_seen=0)), None, None),
    # A switchover, and the old primary is a standby already.
    ((standby('b'), witness('d', vote=True, upstream=2, last_seen=0)), {'timeline': 1, 'replaced': None, 'followed': [4], 'limited': []}, None),
    # Not registered any more, or not in the configuration.
    ((silent('b'), witness('d', vote=True, upstream=9, primary_id=9, last_seen=0)), {'timeline': 1, 'replaced': None, 'followed': [4], 'limited': []}, None),
    # A majority follows this node all the same.
    ((silent('b'), standby('c', receiving=True), witness('d', upstream=2)), {'timeline': 1, 'replaced': None, 'followed': [4], 'limited': []}, None),
    # One without a vote that follows again whom this node has replaced, and who has never been its standby.
    ((silent('b'), standby('c'), witness('d', upstream=2)), {'timeline': 1, 'replaced': 2, 'followed': [3, 4], 'limited': []}, None),
    ((silent('b'), standby('c'), witness('d', upstream=2)), {'timeline': 1, 'replaced': 2, 'followed': [2, 3, 4], 'limited': []}, 'named'),
    # A standby that has been on a newer timeline, streams from nobody, and knows whose it was.
    ((silent('b'), standby('c', timeline=2, primary_id=2)), None, 'named'),
    ((silent('b'), standby('c', timeline=2, primary_id=1)), None, None),
    # A notification may be an old one, which is no reason to stop a primary that runs.
    ((silent('b'), standby('c', notified=2), witness('d', notified=2)), None, None),
    # A standby that lags behind has replayed neither the promotion nor its registration.
    ((silent('b'), standby('c', timeline=1, primary_id=2, upstream=2)), None, None),
])
def test_watch_over_a_primary_where_another_is_named(monkeypatch, peers, reign, code):
    stage = Stage(monkeypatch, *peers)
    stage.watch.since = stage.now
    for one in [stage.watch.local] + [peer for peer in peers if peer.answer]:
        one.answered = stage.now
    stage.watch.local.answer.update(in_recovery=False, primary_id=1)
    stage.watch.state['reign'] = reign
    assert stage.primary() == (['stop'] if code else [])
    assert [problem.code for problem in stage.problems] == ([code] if code else [])


def test_what_a_primary_remembers_of_its_witnesses(monkeypatch, tmpdir):
    """And its guard still knows after a restart, also one of the host."""
    path = str(tmpdir.join('state'))
    stage = Stage(monkeypatch, silent('b'), witness('d', vote=True, upstream=2, primary_id=2, last_seen=0), state=path)
    stage.watch.local.answer = standby('a', primary_id=2).answer
    stage.watch.local.answered = stage.now
    stage.watch.standby()
    assert guard.read_state(stage.watch.config)['primary'] == 2
    # It is promoted, and registered before its guard has looked.
    stage.watch.local.answer = primary('a', timeline=2, primary_id=1, registered=[1, 2]).answer
    assert stage.primary() == []
    assert guard.read_state(stage.watch.config)['reign'] == {'timeline': 2, 'replaced': 2, 'followed': [], 'limited': []}
    # It copies the metadata before its repmgrd watches the new primary, or the other way round: it has not followed until both say so.
    for change in ({'primary_id': 1}, {'primary_id': 2, 'upstream': 1}):
        stage.watch.peers[1].answer.update(change)
        assert stage.primary() == []
        assert guard.read_state(stage.watch.config)['reign'] == {'timeline': 2, 'replaced': 2, 'followed': [], 'limited': []}
        stage.watch.peers[1].answer.update(upstream=2, primary_id=2)
    stage.watch.peers[1].answer.update(upstream=1, primary_id=1)
    assert stage.primary() == []
    assert guard.read_state(stage.watch.config)['reign'] == {'timeline': 2, 'replaced': 2, 'followed': [4], 'limited': []}
    stage.watch.peers[1].answer.update(upstream=2)
    assert stage.primary() == ['stop']
    assert guard.Watch(stage.watch.config).state['reign'] == {'timeline': 2, 'replaced': 2, 'followed': [4], 'limited': []}


def test_what_a_primary_that_is_not_registered_has_replaced(monkeypatch):
    """Promoted by hand: its own metadata have the one before."""
    stage = Stage(monkeypatch, silent('b'), witness('d', vote=True, upstream=2, primary_id=2, last_seen=0))
    stage.watch.local.answer = primary('a', timeline=2, primary_id=2, registered=[1, 2]).answer
    assert stage.primary() == []
    assert stage.watch.state['reign'] == {'timeline': 2, 'replaced': 2, 'followed': [], 'limited': []}


@pytest.mark.parametrize('state, reign', [
    ({'reign': {'timeline': 2, 'replaced': 3, 'followed': [4], 'limited': []}, 'primary': 2}, {'timeline': 2, 'replaced': 3, 'followed': [4], 'limited': []}),
    # Promoted, and killed before its guard had looked.
    ({'reign': {'timeline': 1, 'replaced': 3, 'followed': [4], 'limited': []}, 'primary': 2}, {'timeline': 2, 'replaced': 2, 'followed': [], 'limited': []}),
    ({'reign': None, 'primary': 2}, {'timeline': 2, 'replaced': 2, 'followed': [], 'limited': []}),
    ({'reign': None, 'primary': None}, None),
])
def test_whom_a_node_has_replaced_that_died_at_once(monkeypatch, state, reign):
    assert guard.reign_on(state, 2, '/nowhere') == reign
    if reign and not reign['followed']:
        stage = Stage(monkeypatch, silent('b'), witness('d', vote=True, upstream=2, primary_id=2, last_seen=0))
        monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': SYSTEM, "Latest checkpoint's TimeLineID": '2'})
        stage.watch.state.update(state)
        assert stage.stopped() == ['sudo -n /usr/bin/systemctl start %s' % CONFIG['service']]
        stage.watch.starting = None
        stage.watch.state.update(reign=None, primary=None)
        assert stage.stopped()[0].startswith('does not start the server: d names b as primary')


def test_a_rewind_that_was_cut_short_is_no_primary(monkeypatch, tmpdir):
    """pg_rewind copies the newer history file before the pages and the control data: mixed data that must not start."""
    tmpdir.mkdir('pg_wal').join('00000002.history').write('')
    stage = Stage(monkeypatch, silent('b'), standby('c', timeline=2), data_directory=str(tmpdir))
    assert stage.stopped()[0].startswith('does not start the server: c knows of timeline 2 (here: 1), so another node was promoted')


def test_a_session_whose_lock_was_refused_is_no_lock(monkeypatch):
    servers = [server(name) for name in 'abcd']
    for number, one in enumerate(servers):
        one.process = object()
        one.answer['lock'] = number < 3
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script=None: None)
    assert guard.lock_and_look(servers, 3, lambda: 'judged') == ('judged', '')
    # The connection is gone, and the lock with it.
    servers[0].process = None
    assert guard.lock_and_look(servers, 3, lambda: 'judged') == (None, 'no lock')


def test_a_recovery_is_ended_once_for_an_election_and_then_let_finish(monkeypatch):
    """The others answer, and have not heard of the primary since before its host was booted; and nobody of them may be elected."""
    stage = Stage(monkeypatch, standby('b', receiving=False, repmgrd=True, upstream=1, last_seen=99),
                  standby('c', receiving=False, repmgrd=True, upstream=1, last_seen=99))
    stage.watch.local.answered = stage.watch.served = None
    stage.watch.since = stage.now - 9.9
    assert stage.primary() == []
    stage.watch.since = stage.now - 10.1
    assert stage.primary() == ['stop'] and stage.watch.blinded == stage.now
    stage.now += 100
    stage.watch.started = stage.watch.since = stage.now
    later(stage, 300)
    assert stage.primary() == []
    # From its end on they have time to find it again.
    later(stage, 1, stage.watch.local)
    assert stage.primary() == []
    later(stage, 9.9, stage.watch.local)
    assert stage.primary() == []
    # It takes writes: those that do not hear of it may elect.
    later(stage, 0.2, stage.watch.local)
    assert stage.primary() == ['stop']


def later(stage, seconds, *others):
    """All peers answer then, and so do the others."""
    stage.now += seconds
    for server_ in [peer for peer in stage.watch.peers if peer.answer] + list(others):
        server_.answered = stage.now


@pytest.mark.parametrize('served', [False, True])
def test_a_recovery_is_not_ended_at_once_for_those_who_may_not_be_able_to_elect(monkeypatch, served):
    """One standby is away. The other has lost sight of the primary, and with those that this node does not see it may have a majority, or not. served: a
    process of a server that has served has died, and it recovers in its place.
    """
    stage = Stage(monkeypatch, standby('b', receiving=False, upstream=1, last_seen=99))
    stage.watch.peers.append(silent('c'))
    if not served:
        stage.watch.local.answered, stage.watch.since, stage.watch.served = None, stage.now, None
    later(stage, guard.PATIENCE + CONFIG['detection'] - 0.1)
    stage.watch.local.refused = stage.now
    assert stage.primary() == [] and stage.watch.served is None
    later(stage, 0.2)
    assert stage.primary() == ['stop']


def test_who_was_ended_in_a_recovery_is_not_spared_for_ever(monkeypatch):
    """Its server hangs, a day later."""
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    stage.watch.blinded, stage.watch.started, stage.watch.since, stage.watch.served = stage.now - 200, stage.now - 100, stage.now - 100, None
    assert stage.primary() == [] and stage.watch.served == stage.now
    later(stage, 5)
    assert stage.primary() == ['stop']


@pytest.mark.parametrize('peers, synchronous, votes, can', [
    ([standby('b'), standby('c')], 0, 3, True),
    ([standby('b'), standby('c')], 1, 3, True),
    ([standby('b'), standby('c', repmgrd=False)], 0, 3, True),
    # Nobody may be promoted, whoever wants an election.
    ([standby('b', priorities={'2': 0}), standby('c', priorities={'3': 0, '2': 100})], 0, 3, False),
    ([standby('b', paused=True), standby('c', repmgrd=False)], 0, 3, False),
    ([standby('b', priorities={'2': 0}), standby('c')], 0, 3, True),
    ([standby('b'), witness('c', vote=True)], 0, 3, True),
    ([standby('b')], 0, 2, False),
    # That rests with those that this node does not see.
    ([standby('b'), silent('c')], 0, 3, None),
    ([standby('b', priorities={'2': 0}), standby('c', priorities={'3': 0}), silent('d')], 0, 3, None),
    ([standby('b'), standby('c'), silent('d', vote=False)], 0, 3, True),
    ([standby('b'), standby('c'), silent('d', vote=False)], 1, 3, None),
    ([standby('b'), standby('c'), silent('d', vote=False)], 2, 3, True),
    ([standby('b'), standby('c', replaying=True)], 1, 3, False),
    ([standby('b'), standby('c', replaying=True)], 2, 3, True),
])
def test_whether_the_others_can_elect(peers, synchronous, votes, can):
    assert guard.may_elect(peers, lambda peer: bool(peer.answer), votes, synchronous) is can


@pytest.mark.parametrize('priority, said', [
    (100, 'isolate: stops the server: cannot see b, c'), (0, 'isolate: sees enough of 3 votes to go on')])
def test_status_goes_by_the_same_rule(monkeypatch, priority, said):
    peers = [standby(name, priorities={'2': priority, '3': priority}) for name in 'bc']
    config = {'name': 'a', 'node_id': 1, 'connect_timeout': 2, 'isolation': 4, 'synchronous': 0, 'data_directory': '/data', 'peers': [{'vote': True}] * 2}
    done = []
    monkeypatch.setattr(guard, 'say', done.append)
    monkeypatch.setattr(guard, 'local_of', lambda config, purpose: primary('a'))
    monkeypatch.setattr(guard, 'peers_of', lambda config, purpose: peers)
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {})
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'primary')
    for name in ('become_user', 'ask_all'):
        monkeypatch.setattr(guard, name, lambda *dummy: None)
    assert guard.status(config) == 0 and done[-1] == said
    assert [line for line in done if line.startswith('fuse: ')] == ['fuse: DOES NOT RUN, was told nothing since the boot, so it stops nothing']


@pytest.mark.parametrize('runs, stamp, said', [
    (True, {'limit': 7, 'sight': 99.4, 'fences': True}, 'runs, limit 7 s, last sight 0.6 s ago'),
    (False, {'limit': 7, 'sight': 99.4, 'fences': True}, 'DOES NOT RUN, limit 7 s, last sight 0.6 s ago'),
    (True, {'limit': None, 'sight': 90, 'fences': True}, 'runs, no limit: somebody has ended the guard; last sight 10.0 s ago'),
    (True, {'limit': None, 'sight': 90, 'fences': False}, 'runs, no limit: the guard would not stop this server for being alone; last sight 10.0 s ago'),
    (True, None, 'runs, was told nothing since the boot, so it stops nothing'),
])
def test_what_status_says_of_the_fuse(runs, stamp, said):
    assert guard.fuse_text(runs, stamp, 100) == said


def test_whether_the_fuse_runs(monkeypatch, tmpdir):
    """Its number may be another process's: here, that of this test."""
    pid = tmpdir.join('pid')
    monkeypatch.setattr(guard, 'FUSE_PID_FILE', str(pid))
    assert guard.fuse_runs() is False
    pid.write('%d\n' % os.getpid())
    assert guard.fuse_runs() is False
    program = tmpdir.join('repmgr-guard-fuse')
    program.write('import time\ntime.sleep(60)\n')
    process = subprocess.Popen([sys.executable, str(program)])
    try:
        pid.write('%d\n' % process.pid)
        deadline = time.time() + 5
        while not guard.fuse_runs() and time.time() < deadline:
            time.sleep(0.01)
        assert guard.fuse_runs() is True
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize('peers, answered, refused, paused, done', [
    # A standby below b knows nothing of the primary, so the two that have lost sight of it are no majority.
    ((standby('b'), standby('c', upstream=2, receiving=True)), 8.1, None, False, ['stop']),
    ((standby('b'), standby('c', upstream=2, receiving=True)), 7.9, None, False, []),
    ((standby('b'), standby('c', upstream=None, repmgrd=False, last_seen=None)), 8.1, None, False, ['stop']),
    # Everybody still sees it: then it is the connection of this guard.
    ((standby('b', receiving=True), standby('c', upstream=2, receiving=True)), 8.1, None, False, []),
    ((standby('b', receiving=True), standby('c', upstream=2, receiving=True), witness('d')), 8.1, None, False, []),
    # It says that it recovers, or has no connection free.
    ((standby('b'), standby('c', upstream=2, receiving=True)), 60, 1, False, []),
    ((standby('b'), standby('c', upstream=2, receiving=True)), 60, 8.1, False, ['stop']),
    # It has not answered since it started: a recovery may take long.
    ((standby('b'), standby('c', upstream=2, receiving=True)), 60.1, None, False, []),
    ((standby('b'), standby('c', upstream=2, receiving=True)), None, None, False, []),
    ((standby('b'), standby('c', upstream=2, receiving=True)), 8.1, None, True, []),
])
def test_watch_over_a_primary_that_hangs(monkeypatch, peers, answered, refused, paused, done):
    stage = Stage(monkeypatch, *peers)
    stage.watch.local.answered = None if answered is None else stage.now - answered
    stage.watch.local.refused = None if refused is None else stage.now - refused
    stage.watch.local.answer['paused'] = paused
    assert stage.primary() == done
    if done:
        assert stage.problems[0].code == 'hangs'
        # What hangs may hang again: the others have their time to elect.
        assert 'left to a failover' in stage.stopped()[0]


@pytest.mark.parametrize('answered, refused, paused, kind, hangs', [
    # Before it may be stopped for it (above), for as long as a proxy needs to drop it.
    (3.9, None, False, 'primary', False), (4.1, None, False, 'primary', True), (8.1, None, False, 'primary', True),
    (8.1, 1, False, 'primary', False), (60.1, None, False, 'primary', False), (None, None, False, 'primary', False),
    # Nobody would stop it.
    (4.1, None, True, 'primary', False), (4.1, None, False, 'standby', False),
])
def test_who_asks_for_the_primary_is_told_that_it_hangs(monkeypatch, sight, answered, refused, paused, kind, hangs):
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    stage.watch.local.answered = None if answered is None else stage.now - answered
    stage.watch.local.refused = None if refused is None else stage.now - refused
    stage.watch.local.answer['paused'] = paused
    stage.watch.stamp(kind, 77)
    assert json.loads(sight.read())['hangs'] is hangs
    # Both are told at once when it answers.
    stage.watch.local.answered = stage.now
    stage.watch.stamp(kind, 77)
    assert json.loads(sight.read())['hangs'] is False


@pytest.mark.parametrize('paused, told, limit', [
    # Those that were told last that it stops are a majority, or not any more; it is not paused.
    (True, [2, 3], 6), (True, [2], None), (True, [], None), (True, None, None), (False, [], 6),
])
def test_the_fuse_of_a_primary_that_was_paused_just_now(monkeypatch, sight, paused, told, limit):
    stage = Stage(monkeypatch, standby('b'), standby('c'))
    stage.watch.local.answer['paused'] = paused
    stage.watch.state['reign'] = None if told is None else {'timeline': 1, 'replaced': None, 'followed': [], 'limited': told}
    stage.watch.stamp('primary', 77)
    found = json.loads(sight.read())
    assert (found['limit'], found['fences'], found['promoted']) == (limit, limit is not None, None if paused else 6)


def test_nobody_makes_way_where_nobody_may_be_promoted(monkeypatch):
    stage = Stage(monkeypatch, standby('b', priorities={'2': 0}), standby('c', priorities={'3': 0}))
    assert stage.primary() == []
    stage.watch.peers[0].answer['priorities'] = {'2': 1}
    assert stage.primary() == ['stop']


@pytest.mark.parametrize('text', ['', '{', '[]', '{"cluster": "other", "node_id": 1, "armed": true}', '{"cluster": "main", "node_id": 2, "armed": true}'])
def test_a_state_that_is_no_word_of_this_node(tmpdir, text):
    path = tmpdir.join('state')
    path.write(text)
    config = dict(CONFIG, cluster='main', state=str(path))
    assert guard.read_state(config) == {'cluster': 'main', 'node_id': 1, 'armed': False, 'primary': None, 'reign': None, 'asked': {}}
    guard.write_state(config, dict(guard.read_state(config), armed=True))
    assert guard.read_state(config)['armed'] and tmpdir.listdir() == [path]


@pytest.mark.parametrize('theirs, control, history, done', [
    (2, '1', (), 'rejoin b'),
    (3, '2', (), 'rejoin b'),
    (1, '2', (), 'older'),
    # Its promotion was a moment before it died: no checkpoint since.
    (1, '1', ('00000002.history',), 'older'),
    (2, '1', ('00000002.history', '00000003.history.tmp', '000000030000000000000001', '0000000A.history.done'), 'rejoin b'),
    (9, '1', ('0000000A.history',), 'older'),
])
def test_no_rewind_onto_an_older_timeline(monkeypatch, tmpdir, theirs, control, history, done):
    for name in history:
        tmpdir.ensure('pg_wal', name)
    stage = Stage(monkeypatch, primary('b', timeline=theirs), data_directory=str(tmpdir))
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': SYSTEM, "Latest checkpoint's TimeLineID": control})
    for dummy in range(3):
        stage.now += 3600
        stage.watch.peers[0].answered = stage.now
        stage.watch.stopped()
    if done != 'older':
        assert stage.done == [done] * 3
        return
    # Once: it is for somebody to decide.
    text, = stage.done
    assert text.startswith('does not rejoin b: it is primary on timeline %d, which is older than' % theirs)
    assert text.endswith('ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a --check')


def test_a_standby_is_on_the_timeline_that_it_has_followed():
    core = {'in_recovery': True, 'timeline': 1}
    assert guard.merged({'core': core})['timeline'] == 1
    assert guard.merged({'core': core, 'history': {'history': None}})['timeline'] == 1
    assert guard.merged({'core': core, 'history': {'history': 2, 'reached': 2}, 'repmgrd': {'upstream': 2}, 'nodes': {'primary_id': 2}}) == {
        'in_recovery': True, 'timeline': 2, 'newest': 2, 'upstream': 2, 'primary_id': 2}
    for history in ({'history': 2, 'reached': 1}, {'history': None, 'reached': 3}):
        found = guard.merged({'core': dict(core, timeline=3), 'history': history})
        assert (found['timeline'], found['newest']) == (3, 3)


def test_a_standby_that_cannot_follow_a_timeline_is_not_on_it():
    """It has fetched the history file. Another, which has less and is on it, is promoted; a start waits for either."""
    found = guard.merged({'core': standby('b', lsn=200).answer, 'history': {'history': 2, 'reached': 1}})
    diverged, right = standby('b', **found), standby('c', timeline=2, lsn=150)
    priorities = {'2': 100, '3': 100}
    for one, other in ((diverged, right), (right, diverged)):
        one.answer['priorities'] = other.answer['priorities'] = priorities
        assert guard.best_candidate(one, [other], guard.answered) is right
    assert promotion(right, diverged, silent('a'), synchronous=1)[0] == ''
    assert promotion(diverged, right, silent('a'), synchronous=1)[0] == 'c has received more'
    assert start(diverged, silent('c')).code == 'promoted'


# -- an armed guard, and one that was just installed

def ticking(monkeypatch, stage, kind='primary', pid=77):
    monkeypatch.setattr(guard, 'data_is', lambda directory: kind)
    monkeypatch.setattr(guard, 'postmaster', lambda directory: pid)
    monkeypatch.setattr(guard, 'pump', lambda servers, seconds: None)
    monkeypatch.setattr(guard.time, 'sleep', lambda seconds: None)
    monkeypatch.setattr(guard.Server, 'tick', lambda self, interval, patience, speak_as: None)
    stage.watch.detected, stage.watch.ticked = (kind, pid), stage.now


def test_a_guard_that_was_just_installed(monkeypatch, tmpdir):
    stage = Stage(monkeypatch, silent('b'), silent('c'), state=str(tmpdir.join('state')))
    stage.watch.state['armed'] = False
    ticking(monkeypatch, stage)
    for dummy in range(3):
        stage.now += 6
        stage.watch.ticked = stage.now
        stage.watch.tick()
    assert stage.done == ['is not armed: has not seen a majority of votes since it was installed (sees nobody), and stops no primary for being alone']
    # Two primaries that it sees are another matter.
    stage.watch.peers[0].answer = primary('b', timeline=2).answer
    stage.watch.peers[0].vote, stage.watch.peers[0].answered = False, stage.now
    assert stage.primary() == ['stop']
    stage.watch.peers[0].vote, stage.watch.peers[0].answer, stage.done[:] = True, standby('b').answer, []
    stage.watch.tick()
    assert stage.done[0] == 'is armed: has reached a majority of the votes (b), and stops a primary on this node that loses it'
    # It stays so when the guard, or the host, has started anew.
    again = guard.Watch(stage.watch.config)
    assert again.state['armed'] and guard.read_state(stage.watch.config)['armed']
    stage.now += 20
    stage.watch.local.answered = stage.now
    assert stage.primary() == ['stop']


@pytest.mark.parametrize('kind, pid', [('standby', 77), ('primary', None)])
def test_a_guard_is_armed_in_every_role(monkeypatch, kind, pid):
    stage = Stage(monkeypatch, standby('b', receiving=True), silent('c'))
    stage.watch.state['armed'] = False
    ticking(monkeypatch, stage, kind, pid)
    stage.watch.tick()
    assert stage.watch.state['armed']


def test_a_guard_of_a_node_alone_is_armed_by_its_peer(monkeypatch):
    """Two nodes without a witness: one of them is no majority."""
    stage = Stage(monkeypatch, silent('b'))
    stage.watch.votes, stage.watch.state['armed'] = 2, False
    stage.watch.arm()
    assert not stage.watch.state['armed']


def test_why_the_guard_has_stopped_a_server(tmpdir, monkeypatch, run_server):
    run_server()
    stopped = tmpdir.join('why')
    monkeypatch.setattr(guard, 'STOPPED_FILE', str(stopped))
    monkeypatch.setattr(guard, 'say', lambda text: None)
    before = int(time.time())
    guard.Watch.stop(str(tmpdir.join('data')), guard.Problem('isolated', 'cannot see b', ['b']))
    found = json.loads(stopped.read())
    assert before <= found.pop('since') <= time.time()
    assert found == {'code': 'isolated', 'text': 'cannot see b', 'peers': ['b']}


# -- one promotion at a time

def test_one_promotion_at_a_time(tmpdir, monkeypatch):
    """The command holds the lock, too: its hook may be killed, and the promotion goes on."""
    path, done = str(tmpdir.join('promote')), []
    monkeypatch.setattr(guard, 'PROMOTE_FILE', path)
    handle = guard.only_one(path, guard.clock() + 5)
    assert handle is not None
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    begun = guard.clock()
    assert guard.only_one(path, begun + 0.5) is None and guard.clock() - begun >= 0.5
    child = subprocess.Popen(['sleep', '60'], close_fds=False)
    os.close(handle)
    try:
        assert guard.only_one(path, guard.clock()) is None
        monkeypatch.setattr(guard, 'become_user', lambda config: None)
        monkeypatch.setattr(guard, 'say', done.append)
        monkeypatch.setattr(guard, 'local_of', None)
        monkeypatch.setattr(guard, 'only_one', lambda path, deadline, real=guard.only_one: real(path, guard.clock()))
        assert guard.promote(dict(CONFIG, peers=[]), ['true']) == 1
        assert done == ['not promoted: another promotion of this node is at work (%s is locked)' % path]
    finally:
        child.kill()
        child.wait()
    # The killed process has released its lock.
    again = guard.only_one(path, guard.clock() + 5)
    assert again is not None
    os.close(again)


# -- wall clocks, and what is not known

@pytest.mark.parametrize('more, problem', [
    # Set back after its server had started, or after the primary had asked.
    ({'uptime': -3000}, ''), ({'asked': ['a', -3000]}, ''), ({'receiving': True, 'silence': -3000}, ''), ({'last_seen': -50}, ''),
    ({'uptime': -3}, 'c started 3 s ago, less than 7: a primary may have seen it until then'),
    ({'asked': ['a', -3]}, 'primary a runs, and has asked c 3 s ago, less than 7'),
    # track_activities is off.
    ({'asked': ['a', None]}, 'primary a runs, and has asked c 0 s ago, less than 7'),
])
def test_a_promotion_and_ages_that_are_odd(more, problem):
    assert promotion(standby('b'), silent('a'), standby('c', **more))[0] == problem


def test_a_promotion_without_the_word_of_repmgr():
    """A lock on repmgr.nodes, say: what nobody has said is not that nobody has seen the primary."""
    local = standby('b')
    del local.answer['primary_id']
    assert promotion(local, silent('a'), standby('c')) == ('the server here cannot read repmgr.nodes: no reason given', True)
    peer = server('c', in_recovery=True)
    assert promotion(standby('b'), silent('a'), peer) == ('sees 1 of 3 votes (b), a majority is 2', True)


SLOW = r"""
import sys, time
number = 0
while True:
    line = sys.stdin.readline()
    if not line:
        break
    if line.startswith('\\echo end'):
        number += 1
        sys.stdout.write('core\t{"in_recovery": true, "lsn": %d}\n' % number)
        sys.stdout.flush()
        if number > 1:
            time.sleep(60)
        sys.stdout.write('repmgrd\t{"upstream": 1}\n' + line[6:])
        sys.stdout.flush()
"""


def test_a_server_is_in_sight_although_repmgrs_part_hangs(tmpdir):
    peer = psql(tmpdir, SLOW)
    guard.ask_all([peer], 5)
    before = peer.answered
    time.sleep(0.05)
    peer.ask()
    guard.pump([peer], 0.5)
    assert peer.answered > before and peer.waiting
    # The last word of repmgrd stands until there is another.
    assert peer.answer == {'in_recovery': True, 'lsn': 2, 'upstream': 1}
    peer.close()


def test_every_part_of_the_question_ends_by_itself():
    """And what a role may not ask, or what is locked, takes nothing but its own part away."""
    statements = [text for text in guard.QUESTION.split(';\n') if text.strip()]
    assert [text.split("'")[1] for text in statements] == ['core', 'history', 'voted', 'repmgrd', 'nodes']
    assert [index for index, text in enumerate(statements) if 'repmgr.nodes' in text] == [4]
    assert [index for index, text in enumerate(statements) if 'pg_ls_waldir' in text] == [1]
    # No vote is an answer, too: json.loads takes nothing of NULL.
    assert "coalesce(max(slot_name::text), '')" in statements[2]


def test_a_replay_that_waits_for_anything_but_wal_leaves_no_partial_record():
    """As with recovery_min_apply_delay, or a query in its way: what the standby has received is whole, and another timeline would drop it."""
    replayed = guard.QUESTION.split(' AS replayed')[0].rpartition('AS lsn')[2]
    assert 'NOT pg_catalog.pg_is_wal_replay_paused()' in replayed
    assert "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity WHERE backend_type = 'startup' AND wait_event NOT IN (" \
        "'RecoveryRetrieveRetryInterval', 'RecoveryWalStream'))" in ' '.join(replayed.split()).replace('( SELECT', '(SELECT')
    answer = {'receiving': False, 'lsn': 2, 'replayed': 1}
    assert guard.has_partial_record(answer) and not guard.has_partial_record(dict(answer, replayed=None))


CONNECTS = r"""
import json, os, sys
json.dump({'options': os.environ['PGOPTIONS'], 'name': os.environ['PGAPPNAME'], 'files': os.listdir('/proc/self/fd')}, open(__file__ + '.seen', 'w'))
"""


def test_how_a_guard_connects(tmpdir):
    peer = psql(tmpdir, CONNECTS)
    peer.config.update(login='rep mgr\\x', node_id=1)
    handle = os.open(str(tmpdir), os.O_RDONLY)
    if hasattr(os, 'set_inheritable'):
        os.set_inheritable(handle, True)
    try:
        guard.ask_all([peer], 5)
    finally:
        os.close(handle)
    seen = json.loads(tmpdir.join('psql.seen').read())
    assert seen['options'].endswith(' -c lock_timeout=500ms -c pgfleet.login=rep\\ mgr\\\\x')
    assert seen['name'] == 'repmgr-guard status a' and str(handle) not in seen['files']
    assert 'keepalives' not in seen['options']


@pytest.mark.parametrize('purpose, ends', [('start', True), ('promote', True), ('watch', False)])
def test_a_lock_does_not_outlive_a_host_that_has_lost_power(tmpdir, purpose, ends):
    """By the kernel's own keepalives it would for two hours."""
    peer = psql(tmpdir, CONNECTS)
    peer.config['node_id'], peer.purpose = 1, purpose
    guard.ask_all([peer], 5)
    options = json.loads(tmpdir.join('psql.seen').read())['options']
    assert options.startswith('-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=4 -c client_min_messages') is ends
    assert ('keepalives' in options) is ends


# -- names

@pytest.mark.parametrize('name, purpose, application_name', [
    ('a', 'start', 'repmgr-guard start a'),
    ("o'brien", 'primary', "repmgr-guard primary o'brien"),
    ('n' * 42, 'promote', 'repmgr-guard promote ' + 'n' * 42),
    ('n' * 43, 'promote', 'repmgr-guard promote ' + 'n' * 39 + '~17'),
    ('n' * 63, 'primary', 'repmgr-guard primary ' + 'n' * 39 + '~17'),
    (u'k\xf6ln', 'start', 'repmgr-guard start k?ln~17'),
])
def test_the_name_of_a_session(name, purpose, application_name):
    """PostgreSQL keeps 63 bytes of ASCII; whose sessions are ended, and whose are looked for, goes by it."""
    assert guard.session_name({'name': name, 'node_id': 17}, purpose) == application_name
    assert len(application_name) <= 63


def test_names_are_quoted(monkeypatch):
    asked = []
    stage = Stage(monkeypatch, standby('b'), name="o'brien")
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.append(script))
    stage.watch.starting = type('Failed', (), {'poll': lambda self: 1, 'returncode': 1})()
    assert not stage.watch.is_starting()
    assert "application_name = 'repmgr-guard start o''brien';" in asked[0]


@pytest.mark.parametrize('playbook, target, text', [
    ('rejoin', 'db1', 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1'),
    ('rejoin', "o'brien", 'ansible-playbook pgfleet.repmgr.rejoin -e \'{"repmgr_target": "o\'"\'"\'brien"}\''),
    ('site', '', 'ansible-playbook pgfleet.repmgr.site'),
    ('failover', '', 'ansible-playbook pgfleet.repmgr.failover'),
])
def test_what_somebody_types_next(playbook, target, text):
    assert guard.next_command(playbook, target) == text
    assert os.path.exists(os.path.join(FOLDER, '../../../../playbooks/%s.yml' % playbook))


@pytest.mark.parametrize('code, auto_rejoin, text', [
    ('primary', 'rewind', 'It can come back as a standby: repmgr-guard watch does that now (repmgr_auto_rejoin: rewind), or ansible-playbook '
     'pgfleet.repmgr.rejoin -e repmgr_target=a'),
    ('promoted', 'off', 'It can come back as a standby: ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=a'),
    ('named', 'rewind', 'It comes back as soon as b is in sight. Where that node is gone for good, promote a standby: ansible-playbook '
     'pgfleet.repmgr.failover. Where there is none, see "A node that waits for another" in docs/guard.md'),
    ('isolated', 'rewind', 'It starts when it can (repmgr-guard watch). Where it has to start anyway, see docs/runbook.md'),
])
def test_what_follows_from_a_problem(code, auto_rejoin, text):
    """By its code: a text may say anything."""
    assert guard.next_step(dict(CONFIG, auto_rejoin=auto_rejoin), guard.Problem(code, 'b is primary, on a ship; c was promoted', ['b'])) == text


CHANGES = r"""
import sys
script, locked = '', False
while True:
    line = sys.stdin.readline()
    if not line:
        break
    script += line
    if line.startswith('\\echo end'):
        if 'pg_try_advisory_lock' in script:
            locked = True
            sys.stdout.write('lock\ttrue\n')
        elif locked and '%(mode)s' == 'ends':
            break
        else:
            more = ', "notified": 2' if locked and '%(mode)s' == 'told' else ''
            sys.stdout.write('core\t{"in_recovery": %(recovers)s, "system": "1", "timeline": 1}\nrepmgrd\t{"last_seen": 60, "upstream": 1%%s}\n' %% more)
            sys.stdout.write('nodes\t{"primary_id": 1}\n')
        sys.stdout.write(line[6:])
        sys.stdout.flush()
        script = ''
"""


@pytest.mark.parametrize('mode, code', [('stays', 0), ('told', 1), ('ends', 1)])
def test_a_start_looks_again_when_it_has_the_locks(tmpdir, monkeypatch, mode, code):
    """A peer that is out of reach takes seconds, in which another may have had the votes, and given the lock back."""
    done = []
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'write_environment', lambda config: None)
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'primary')
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': '1', "Latest checkpoint's TimeLineID": '1'})
    monkeypatch.setattr(guard, 'say', done.append)

    def peers_of(config, purpose):
        peer = psql(tmpdir, CHANGES % {'mode': mode, 'recovers': 'true'})
        peer.name, peer.node_id, peer.vote = 'c', 3, True
        return [peer, guard.Server({'bin_dir': '/nowhere', 'passfile': '', 'connect_timeout': 2, 'name': 'a'}, 'b', 'host=b', 2, True)]

    monkeypatch.setattr(guard, 'peers_of', peers_of)
    assert guard.start(dict(CONFIG, start_wait=0, peers=[{'vote': True}, {'vote': True}])) == code
    said = {'stays': 'may start as primary: sees c', 'told': 'c names b as primary', 'ends': 'somebody else is about to become primary: no lock'}
    assert said[mode] in done[-1]


@pytest.mark.parametrize('mode, said', [
    ('stays', 'may start as primary: sees c, d'), ('resets', 'somebody else is about to become primary: the lock was lost'),
    ('promotes', 'somebody else is about to become primary: repmgr-guard promote b'),
    # Another start: one of the locks is enough.
    ('starts', 'may start as primary: sees c, d'),
])
def test_a_start_and_what_becomes_of_its_locks(tmpdir, monkeypatch, mode, said):
    """Of three votes it needs one lock."""
    done = []
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'write_environment', lambda config: None)
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'primary')
    monkeypatch.setattr(guard, 'control_data', lambda config, *dummy: {'Database system identifier': '1', "Latest checkpoint's TimeLineID": '1'})
    monkeypatch.setattr(guard, 'say', done.append)
    holder = {'promotes': 'repmgr-guard promote b', 'starts': 'repmgr-guard start b'}.get(mode)

    def peers_of(config, purpose):
        found = []
        for name, number in (('c', 3), ('d', 4)):
            text = CHANGES % {'mode': 'stays', 'recovers': 'true'}
            if mode == 'resets':
                # It ends when it is told to sleep.
                text = text.replace("    script += line\n", "    script += line\n    if 'pg_sleep(15)' in line:\n        break\n")
            if holder and name == 'd':
                text = text.replace("lock\\ttrue\\n", "lock\\tfalse\\nholder\\t\"%s\"\\n" % holder)
            peer = psql(tmpdir.join(name).ensure(dir=True), text)
            peer.name, peer.node_id, peer.vote = name, number, True
            found.append(peer)
        return found

    monkeypatch.setattr(guard, 'peers_of', peers_of)
    assert guard.start(dict(CONFIG, start_wait=0, peers=[{'vote': True}, {'vote': True}])) == (0 if said.startswith('may') else 1)
    assert said in done[-1]


def test_a_promotion_looks_again_when_it_has_the_locks(tmpdir, monkeypatch):
    done = []
    here, other = psql(tmpdir.mkdir('a'), VOTER), psql(tmpdir.mkdir('c'), VOTER)
    here.vote = other.vote = True
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    monkeypatch.setattr(guard, 'local_of', lambda config, purpose: here)
    monkeypatch.setattr(guard, 'peers_of', lambda config, purpose: [other])
    monkeypatch.setattr(guard, 'PROMOTE_FILE', str(tmpdir.join('promote')))
    monkeypatch.setattr(guard, 'say', done.append)
    answers = [('', False), ('a is primary', False)]
    monkeypatch.setattr(guard, 'promotion_problem', lambda *dummy: answers.pop(0))
    assert guard.promote(dict(CONFIG, isolation=5, peers=[{'vote': True}]), ['touch', str(tmpdir.join('promoted'))]) == 1
    assert done == ['not promoted: a is primary'] and not tmpdir.join('promoted').check()


# -- a promotion that an operator has decided

@pytest.fixture
def by_hand(tmpdir, monkeypatch):
    """by_hand(a, b, command) -> (exit code, what it said): on node a, which has one peer, b, that has no vote. Of each: psql, as a program."""
    def run(one, two, command):
        said = []
        here, other = psql(tmpdir.mkdir('a'), one), psql(tmpdir.mkdir('b'), two)
        here.vote, other.vote = True, False
        monkeypatch.setattr(guard, 'become_user', lambda config: None)
        monkeypatch.setattr(guard, 'local_of', lambda config, purpose: here)
        monkeypatch.setattr(guard, 'peers_of', lambda config, purpose: [other])
        monkeypatch.setattr(guard, 'PROMOTE_FILE', str(tmpdir.join('promote')))
        monkeypatch.setattr(guard, 'say', said.append)
        # One try: what it waits for does not come.
        monkeypatch.setattr(guard, 'STOP_MARGIN', -35)
        return guard.promote(dict(CONFIG, isolation=5, peers=[{'vote': True}] * 4), command, by_hand=True), said
    return run


@pytest.mark.parametrize('changed, code, words', [
    # One of five votes in sight, and its own: the operator knows better. The command's own exit code counts.
    (('', ''), 7, 'may be promoted: sees b, b'),
    # Another promotion has the lock of a peer, voter or not.
    (('lock\\ttrue', 'lock\\tfalse'), 1, 'somebody else is about to become primary'),
    # It was quicker.
    (('"in_recovery": true', '"in_recovery": false'), 1, 'is primary'),
])
def test_a_promotion_by_hand(by_hand, changed, code, words):
    found, said = by_hand(VOTER, VOTER.replace(*changed), ['sh', '-c', 'exit 7'])
    assert (found, words in said[-1]) == (code, True), said


@pytest.mark.parametrize('words', [['promote-by-hand'], ['promote-by-hand', '--'], ['promote-by-hand', 'x'], ['watch', '--', 'x']])
def test_it_wants_a_command(words, capsys):
    assert guard.main(['repmgr-guard'] + words) == 2 and 'promote-by-hand -- COMMAND' in capsys.readouterr().out


# -- what is known of who was asked

SAYS = '{"lease": 8, "timeline": 1, "votes": [1, 2, 3]}'
SAID = {'lease': 8, 'timeline': 1, 'votes': [1, 2, 3]}


def entry(primary='a', at=990.0, gone=False, **word):
    return {'primary': primary, 'at': at, 'gone': gone, 'word': dict(SAID, **word)}


@pytest.mark.parametrize('before, answer, after', [
    (None, {}, None),
    (None, {'asked': ['a', 2.0, SAYS]}, entry(at=998.0)),
    # Of a guard that has no word yet, and of one that speaks otherwise.
    (None, {'asked': ['a', 2.0]}, {'primary': 'a', 'at': 998.0, 'gone': False, 'word': {}}),
    (None, {'asked': ['a', None, '[7']}, {'primary': 'a', 'at': 1000.0, 'gone': False, 'word': {}}),
    (None, {'asked': ['a', 0, '{"lease": "soon", "votes": ["b"], "timeline": true, "more": 1}']}, {'primary': 'a', 'at': 1000.0, 'gone': False, 'word': {}}),
    # While it is asking the text is that of another statement; what a server says of the time may be less than what is known.
    (entry(at=995.0), {'asked': ['a', 7.0, None]}, entry(at=995.0)),
    # A connection of a while ago that was left over from a cut, by which it had said something else. The newest one is gone, or its guard asks on.
    (entry(at=995.0), {'asked': ['a', 60.0, '{"lease": null}']}, entry(at=1000.0, gone=True)),
    (entry(at=995.0, gone=True), {'asked': ['a', 60.0, '{"lease": null}']}, entry(at=995.0, gone=True)),
    (entry(at=995.0), {'asked': ['a', 60.0, '{"lease": null}'], 'watchers': ['a']}, None),
    (entry(), {'asked': ['b', 1.0, SAYS]}, entry('b', 999.0)),
    # Its connection is gone: it may have been asked until just now. Once.
    (entry(), {}, entry(at=1000.0, gone=True)),
    (entry(at=995.0, gone=True), {'watchers': ['c']}, entry(at=995.0, gone=True)),
    # The same guard asks on, and has no primary any more.
    (entry(), {'watchers': ['c', 'a']}, None),
    (entry('z'), {'watchers': ['c', 'a']}, entry('z', 1000.0, gone=True)),
])
def test_what_is_known_of_who_was_asked(before, answer, after):
    assert guard.learned(before, answer, [silent('a'), standby('c')], 1000.0) == after


def test_how_a_long_name_is_known_again():
    """It is cut in another place, as the purpose is longer."""
    peer = silent('a')
    peer.name = 'a-primary-with-a-name-of-more-than-sixty-three-characters-in-the-rack-2'
    said = guard.session_name(vars(peer), 'primary')[21:]
    assert guard.learned(entry(said), {'watchers': [guard.session_name(vars(peer), 'watch')[19:]]}, [peer], 1000.0) is None


@pytest.mark.parametrize('found, timeline, problem', [
    (entry(at=995.0), 1, 'primary a runs, and has asked c 5 s ago, less than 8'),
    (entry(at=991.0), 1, ''),
    # Its own limit is longer than this node's, or this node's is.
    (entry(at=980.0, lease=23), 1, 'primary a runs, and has asked c 20 s ago, less than 23'),
    (entry(at=994.0, lease=5), 1, 'primary a runs, and has asked c 6 s ago, less than 7'),
    (entry(at=1.0, gone=True, lease=None), 1, 'primary a has told c that it does not stop by itself'),
    (entry(at=1.0, lease=None, timeline=None), 2, 'primary a has told c that it does not stop by itself'),
    # It was replaced since.
    (entry(at=999.0, lease=None), 2, ''),
    (entry(at=999.0), 2, ''),
    (None, 1, ''),
])
def test_whether_a_primary_counts_on_a_node(monkeypatch, found, timeline, problem):
    monkeypatch.setattr(guard, 'clock', lambda: 1000.0)
    known = {'c': found} if found else {}
    assert guard.asked_by_primary([standby('b'), standby('c')], 7, known, timeline).startswith(problem)
    assert (guard.asked_by_primary([standby('b'), standby('c')], 7, known, timeline) == '') == (problem == '')
    # Who does not answer votes for nobody.
    assert guard.asked_by_primary([standby('b')], 7, known, timeline) == ''


@pytest.mark.parametrize('theirs, ours, problem', [
    ([1, 2, 3], 'bc', ''),
    # Two were added; the primary does not know yet, or already.
    ([1, 2, 3], 'bde', 'primary a has told d that it counts the votes of nodes 1, 2, 3; 1 of them are in sight, a majority is 2'),
    ([1, 2, 3, 4, 5], 'bc', 'primary a has told d that it counts the votes of nodes 1, 2, 3, 4, 5; 2 of them are in sight, a majority is 3'),
    ([1, 2, 3, 4, 5], 'bcd', ''),
    ([], 'b', ''),
])
def test_a_majority_by_the_votes_that_the_primary_counts(theirs, ours, problem):
    voters, known = [standby(name) for name in ours], {'d': entry(votes=theirs)}
    assert guard.outvoted(voters + [witness('d')], voters, known, 1) == problem
    assert guard.outvoted(voters + [witness('d')], voters, known, 2) == ''
    # It was removed since, or does not answer.
    assert 'd' in ours or guard.outvoted(voters, voters, known, 1) == ''


@pytest.mark.parametrize('votes', range(1, 8))
def test_two_files_and_two_majorities(votes):
    """Whichever votes each of the two counts: the primary goes on, or the other is not promoted."""
    nodes = [standby(name) for name in 'abcdefg']
    for size in range(1, 8):
        theirs = set(range(1, votes + 1))
        for seen in itertools.combinations(nodes[1:], size - 1):
            ours = [nodes[1]] + [node for node in seen if node is not nodes[1]]
            # Who is in this node's sight was not asked for longer than the lease.
            out = len(theirs & set(node.node_id for node in ours))
            goes_on = out < guard.majority(votes)
            assert not goes_on or guard.outvoted(ours, ours, {'b': entry(votes=sorted(theirs))}, 1)


def test_what_is_kept_beyond_a_restart(monkeypatch, tmpdir):
    """Not how often it was asked, which would be a write each time; and not what somebody else has put there."""
    path = tmpdir.join('state')
    stage = Stage(monkeypatch, standby('b', asked=['c', 1.0, SAYS]), state=str(path), cluster='main')
    monkeypatch.setattr(guard, 'data_is', lambda directory: 'standby')
    monkeypatch.setattr(guard, 'postmaster', lambda directory: 77)
    monkeypatch.setattr(guard, 'pump', lambda servers, seconds: None)
    monkeypatch.setattr(guard.Server, 'tick', lambda self, interval, patience, word: None)
    monkeypatch.setattr(guard.time, 'sleep', lambda seconds: None)

    def tick(**answer):
        stage.now += 5
        stage.watch.peers[0].answered = stage.now
        stage.watch.peers[0].answer.update(answer)
        if path.check():
            path.remove()
        stage.watch.tick()
        return guard.read_state(stage.watch.config)['asked'] if path.check() else None
    first = tick()
    assert first == {'b': dict(entry('c', stage.now - 1.0))}
    assert tick() is None
    assert tick(asked=['c', 0.5, SAYS.replace('8', 'null')])['b']['word']['lease'] is None
    assert tick(asked=None)['b']['gone']
    again = guard.Watch(stage.watch.config)
    assert again.memory.known['b']['word']['lease'] is None
    for odd in ('{"b": 1}', '{"b": {"primary": "c", "at": "then", "gone": false, "word": {}}}', '[]', 'null', '{"b": {"primary": "c"}}'):
        path.write(json.dumps({'cluster': 'main', 'node_id': 1, 'asked': json.loads(odd)}))
        assert guard.Memory(stage.watch.config, guard.read_state(stage.watch.config)).known == {}


def test_its_own_questions_are_not_those_of_another():
    memory = guard.Memory({'name': 'a'}, {'asked': {}})
    peer = standby('b', asked=['a', 0.1, SAYS])
    assert not memory.learn([peer], [peer]) and memory.known == {}


def test_the_word_of_an_operator(monkeypatch, tmpdir, capsys):
    """It is believed until that primary asks again."""
    monkeypatch.setattr(guard, 'DEAD_FILE', str(tmpdir.join('dead')))
    monkeypatch.setattr(guard, 'become_user', lambda config: None)
    now = [1000.0]
    monkeypatch.setattr(guard, 'clock', lambda: now[0])
    config = {'name': 'b', 'peers': [{'name': 'a', 'node_id': 1, 'witness': False}, {'name': 'w', 'node_id': 4, 'witness': True}]}
    for name in ('x', 'w'):
        assert guard.primary_is_dead(config, name) == 1
    assert capsys.readouterr().out.splitlines()[0] == 'there is no node x; expected one of a' and not tmpdir.listdir()
    assert guard.primary_is_dead(config, 'a') == 0 and tmpdir.listdir() == [tmpdir.join('dead')]
    now[0] = 1010.0
    memory = guard.Memory({'name': 'b'}, {'asked': {'c': entry(lease=None), 'd': entry('e', lease=None), 'f': entry(lease=20)}})
    assert memory.learn([], [])
    assert [memory.known[name]['word'].get('lease', '') for name in 'cdf'] == ['', None, 20]
    # It has asked since.
    memory.known['c'] = entry(at=1001.0, lease=None)
    assert not memory.learn([], []) and memory.known['c']['word']['lease'] is None
    # Of the boot before.
    now[0] = 900.0
    assert guard.dead_primaries() == {}
    for odd in ('', '[]', '{"a": "x"}'):
        tmpdir.join('dead').write(odd)
        assert guard.dead_primaries() == {}


@pytest.mark.parametrize('words', [['primary-is-dead'], ['primary-is-dead', 'a', 'b']])
def test_it_wants_one_name(words, capsys):
    assert guard.main(['repmgr-guard'] + words) == 2 and 'primary-is-dead NAME' in capsys.readouterr().out


# -- votes that are kept

@pytest.mark.parametrize('name, found', [
    ('pgfleet_vote_0000000002_3', (2, 3)), ('pgfleet_vote_0000000012_7', (12, 7)), (None, (0, None)), ('pgfleet_vote_x', (0, None)),
])
def test_who_was_voted_for(name, found):
    assert guard.voted({'voted': name}) == found
    assert found == (0, None) or guard.vote_name(*found) == name


@pytest.mark.parametrize('peers, named', [
    ((silent('b'), standby('c', voted='pgfleet_vote_0000000002_2')), True),
    ((silent('b'), witness('d', vote=True, voted='pgfleet_vote_0000000002_2')), True),
    # It is a standby; or was voted for before this node was.
    ((standby('b'), standby('c', voted='pgfleet_vote_0000000002_2')), False),
    ((silent('b'), standby('c', voted='pgfleet_vote_0000000001_2')), False),
    # This node itself, and one that was removed.
    ((silent('b'), standby('c', voted='pgfleet_vote_0000000002_1')), False),
    ((silent('b'), standby('c', voted='pgfleet_vote_0000000002_9')), False),
])
def test_start_where_somebody_was_voted_for(peers, named):
    problem = start(*peers)
    assert (problem is not None) is named
    if named:
        assert problem.code == 'named' and problem.peers == ['b', peers[1].name]
        assert problem.text == '%s has voted for b as primary on timeline 2 (here: 1), which is not in sight as a standby' % peers[1].name


def test_a_vote_that_came_to_nothing_is_withdrawn(monkeypatch):
    """Where the node is a standby, and nobody is about to be promoted."""
    vote = 'pgfleet_vote_0000000002_2'
    stage = Stage(monkeypatch, standby('b', receiving=True, silence=0, voted=vote), standby('c', receiving=True, silence=0, voted=vote))
    stage.watch.local.answer.update(in_recovery=False)
    asked = []
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.extend((one.name, script) for one in servers))
    stage.watch.since = stage.now - guard.PATIENCE
    stage.watch.withdraw(stage.watch.peers)
    # What it has answered may be of before a pause of this host (is_voted_out).
    assert asked == []
    stage.watch.void = set([(2, 2)])
    stage.watch.since = stage.now - guard.PATIENCE + 1
    stage.watch.withdraw(stage.watch.peers)
    assert asked == []
    stage.watch.since = stage.now - guard.PATIENCE
    stage.watch.peers[1].answer['holder'] = 'repmgr-guard promote b'
    stage.watch.withdraw(stage.watch.peers)
    assert [name for name, dummy in asked] == ['b'] and asked[0][1] == guard.VOTE % ("''", "''")
    stage.watch.peers[1].answer['holder'] = None
    assert stage.watch.void == set()
    stage.watch.void = set([(2, 2)])
    for dummy in range(2):
        stage.watch.withdraw(stage.watch.peers)
    assert [name for name, dummy in asked] == ['b', 'c']
    stage.watch.void = set([(2, 2)])
    # It does not stream: it may be primary.
    stage.watch.peers[1].answer['voted'], stage.watch.peers[0].answer['receiving'] = vote, False
    stage.watch.withdraw(stage.watch.peers)
    assert len(asked) == 2


def test_a_promotion_that_loses_its_locks_while_votes_are_kept(monkeypatch):
    said, servers = [], [server(name) for name in 'abc']
    monkeypatch.setattr(guard, 'say', said.append)

    def ask_all(found, dummy_seconds, script):
        assert script == guard.VOTE % ("'pgfleet_vote_0000000002_1'", "'pgfleet_vote_0000000002_1'")
        for one in found[1:]:
            one._tags, one.process = {'vote': 1}, object()
        found[0].error = 'all replication slots are in use'
    monkeypatch.setattr(guard, 'ask_all', ask_all)
    servers[0].process = object()
    assert guard.keep_votes(servers, 2, guard.vote_name(2, 1)) and not guard.keep_votes(servers, 3, guard.vote_name(2, 1))
    assert said[0] == 'the vote of b is known for as long as the lock is held: all replication slots are in use'


def test_a_vote_that_has_served_is_dropped(monkeypatch):
    """At once, where who gave it has followed: monitoring takes an inactive slot for an error."""
    vote = 'pgfleet_vote_0000000002_1'
    peers = (standby('b', receiving=True, silence=0, timeline=2, voted=vote), standby('c', receiving=True, silence=0, timeline=1, voted=vote),
             standby('e', receiving=False, timeline=2, voted=vote), witness('d', vote=True, voted=vote), witness('f', voted=vote))
    stage = Stage(monkeypatch, *peers)
    stage.watch.since = stage.now
    stage.watch.local.answer.update(in_recovery=False, timeline=2)
    stage.watch.state['reign'] = {'timeline': 2, 'replaced': 2, 'followed': [2, 3, 4, 5]}
    asked = []
    monkeypatch.setattr(guard, 'ask_all', lambda servers, seconds, script: asked.extend(one.name for one in servers))
    for dummy in range(2):
        stage.watch.withdraw(peers)
    assert asked == ['b', 'd'] and stage.done == []


# -- a primary that somebody else is promoted instead of

VOTE = 'pgfleet_vote_0000000002_2'


def voted_out(monkeypatch, *peers, **local):
    stage = Stage(monkeypatch, *peers)
    stage.watch.local.answer.update(dict({'in_recovery': False, 'timeline': 1, 'primary_id': 1, 'paused': False}, **local))
    stage.watch.state['reign'] = {'timeline': 1, 'replaced': None, 'followed': [2, 4], 'limited': []}
    # Votes are withdrawn later.
    stage.watch.since = stage.now - 10
    monkeypatch.setattr(guard, 'ask_all', lambda *dummy: None)
    return stage


def passes(stage, seconds, *answering):
    stage.now += seconds
    for one in [stage.watch.local] + list(answering):
        one.answered = one.whole = stage.now
    return stage.primary()


def test_a_primary_that_was_voted_out_while_it_stood_still(monkeypatch):
    """The witness still follows it, and what the other one answered before the pause, and its clock, say that all is well."""
    stage = voted_out(monkeypatch, standby('b', receiving=True, silence=0), witness('d', vote=True, last_seen=0, voted=''))
    b, d = stage.watch.peers
    assert passes(stage, 1, b, d) == []
    d.answer['voted'] = VOTE
    assert passes(stage, 0.1, d) == []
    assert b._begun is None
    assert passes(stage, 1.8, d) == []
    assert passes(stage, 0.3, d) == ['stop']
    assert stage.problems[0].code == 'named' and stage.problems[0].text.startswith('d has voted for b as primary on timeline 2 (here: 1)')


def test_a_vote_that_came_to_nothing_stops_nobody(monkeypatch):
    """It was there when this primary was started, and its candidate is a standby; later that may be away."""
    stage = voted_out(monkeypatch, standby('b', receiving=True, silence=0), witness('d', vote=True, last_seen=0, voted=VOTE))
    b, d = stage.watch.peers
    assert passes(stage, 0.1, b, d) == []
    assert passes(stage, 0.5, b, d) == []
    for dummy in range(20):
        assert passes(stage, 0.9, d) == []
    assert stage.watch.void == set([(2, 2)])


@pytest.mark.parametrize('before, voted, local, done', [
    ('', VOTE, {}, ['stop']), ('', VOTE, {'paused': True}, []),
    # Whatever it had voted for before.
    ('pgfleet_vote_0000000001_2', VOTE, {}, ['stop']), (VOTE, 'pgfleet_vote_0000000003_2', {}, ['stop']),
    # It was there when this one was started, or its guard: a voter comes back with a vote for a promotion that failed long ago.
    (VOTE, VOTE, {}, []),
    # For a timeline that there is already, and for a node that was removed.
    ('', 'pgfleet_vote_0000000001_2', {}, []), ('', 'pgfleet_vote_0000000002_9', {}, []),
])
def test_whose_vote_stops_a_primary(monkeypatch, before, voted, local, done):
    stage = voted_out(monkeypatch, silent('b'), witness('d', vote=True, last_seen=0, voted=before), **local)
    d = stage.watch.peers[1]
    assert passes(stage, 0.1, d) == []
    d.answer['voted'] = voted
    assert passes(stage, 0.1, d) == []
    assert passes(stage, 2.1, d) == done


def test_a_vote_that_a_part_of_an_answer_does_not_tell_is_no_news(monkeypatch):
    """What came first is of before this server was started, or has nothing of votes yet."""
    for early in ({}, {'voted': ''}):
        stage = voted_out(monkeypatch, silent('b'), witness('d', vote=True, last_seen=0, **early))
        d = stage.watch.peers[1]
        d.whole = stage.watch.since - 1
        d.answered = stage.watch.local.answered = stage.now
        assert stage.primary() == []
        d.answer['voted'] = VOTE
        assert passes(stage, 0.1, d) == [] and passes(stage, 2.1, d) == []


def test_a_voter_that_was_away_comes_back_with_a_new_vote(monkeypatch):
    stage = voted_out(monkeypatch, standby('b', receiving=False, last_seen=0), witness('d', vote=True, last_seen=0, voted=''))
    b, d = stage.watch.peers
    assert passes(stage, 0.1, b, d) == []
    for dummy in range(9):
        assert passes(stage, 0.9, b) == []
    d.answer['voted'] = VOTE
    assert passes(stage, 0.1, d) == [] and passes(stage, 2.1, d) == ['stop']


def test_a_vote_of_a_pause_is_none_when_that_is_over(monkeypatch):
    """Whoever was promoted then was so by an operator, who has seen to it that this primary may go on."""
    stage = voted_out(monkeypatch, silent('b'), witness('d', vote=True, last_seen=0, voted=''))
    d = stage.watch.peers[1]
    assert passes(stage, 0.1, d) == []
    stage.watch.local.answer['paused'], d.answer['voted'] = True, VOTE
    assert passes(stage, 0.1, d) == []
    stage.watch.local.answer['paused'] = False
    assert passes(stage, 2.1, d) == [] and passes(stage, 2.1, d) == []
    # The same vote is another one when it was withdrawn before.
    d.answer['voted'] = ''
    assert passes(stage, 0.1, d) == []
    d.answer['voted'] = VOTE
    assert passes(stage, 0.1, d) == [] and passes(stage, 2.1, d) == ['stop']


def test_a_candidate_that_is_being_promoted_is_no_standby(monkeypatch):
    stage = voted_out(monkeypatch, standby('b', receiving=True, silence=0, holder='repmgr-guard promote b'),
                      witness('d', vote=True, last_seen=0, voted=VOTE))
    b, d = stage.watch.peers
    passes(stage, 0.1, b, d)
    passes(stage, 0.5, b, d)
    assert stage.watch.void == set()


@pytest.mark.parametrize('holders, done', [
    (('repmgr-guard promote b', None), []),
    (('repmgr-guard promote b', 'repmgr-guard promote b'), ['stop']),
    # Its own promotion, a moment ago; and a start.
    (('repmgr-guard promote a', 'repmgr-guard promote a'), []),
    (('repmgr-guard start b', 'repmgr-guard start b'), []),
])
def test_a_primary_and_the_locks_of_another_promotion(monkeypatch, holders, done):
    stage = Stage(monkeypatch, standby('b', receiving=True, silence=0, holder=holders[0]), standby('c', receiving=True, silence=0, holder=holders[1]))
    assert stage.primary() == done
    if done:
        assert stage.problems[0].code == 'promoting' and stage.problems[0].peers == ['b', 'c']
    # With one that is out of sight it is a majority, too.
    stage.watch.peers[1].answered = stage.now - 100
    stage.watch.since = stage.now - 60
    assert stage.primary() == (['stop'] if 'promote b' in holders[0] else [])


def test_answers_of_before_a_pause_say_less(monkeypatch):
    """A primary that somebody knows another one of goes by what is answered after that."""
    stage = Stage(monkeypatch, standby('b', receiving=True, silence=0), standby('c', receiving=True, silence=0, timeline=2, upstream=2))
    stage.watch.local.answer.update(in_recovery=False, primary_id=1, registered=[1, 2, 3])
    assert stage.primary() == []
    assert all(peer._begun is None for peer in stage.watch.peers)
    stage.now += guard.SECOND_LOOK + 0.1
    stage.watch.local.answered = stage.watch.peers[1].answered = stage.now
    assert stage.primary() == ['stop'] and stage.problems[0].code == 'promoted'
    # It has answered again, and follows.
    stage.watch.peers[0].answered = stage.now
    assert stage.primary() == []
