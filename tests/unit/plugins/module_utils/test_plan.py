# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import ast
import itertools
import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _apply, _plan, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Desired, Node, Observed, Server, Situation

WORDS = {
    'data': ('absent', 'partial', 'valid', 'unrecognised', 'unknown'),
    'server': ('running', 'silent', 'starting', 'stopped', 'unknown'),
    'recovery': ('yes', 'no', 'restores', 'unknown', 'none'),
    'identity': ('same', 'other', 'unknown', 'none'),
    'primary': ('live', 'self', 'recovery', 'silent', 'unknown', 'none'),
    'record': ('absent', 'same', 'differs', 'foreign', 'unknown'),
    'upstream': ('right', 'insecure', 'moved', 'wrong', 'detached', 'unknown', 'none'),
    'rejoin': ('never', 'attach', 'rewind', 'reclone'),
}
STANDBY = dict(role='standby', data='valid', server='running', recovery='yes', identity='same', primary='live', record='same',
               upstream='right')
STOPPED = dict(STANDBY, server='stopped', upstream='none')
EMPTY = dict(STANDBY, data='absent', server='stopped', recovery='none', identity='none', upstream='none', record='absent')
PRIMARY = dict(role='primary', data='valid', server='running', recovery='no', identity='unknown', primary='none', record='same',
               upstream='none')
WITNESS = dict(role='witness', data='valid', server='running', recovery='no', identity='other', primary='live', record='same',
               upstream='right')

# One named case for every rule: what the situation differs in, the rule, the actions.
CASES = [
    ('directory unreadable', dict(STANDBY, data='unknown'), 100, []),
    ('clone still running', dict(EMPTY, data='unknown'), 100, []),
    ('server state unknown', dict(STANDBY, server='unknown'), 101, []),
    ('server starting', dict(STANDBY, server='starting'), 102, []),
    ('server does not answer', dict(STANDBY, server='silent'), 103, []),
    ('directory of something else', dict(EMPTY, data='unrecognised'), 104, []),
    ('recovery unknown', dict(STANDBY, recovery='unknown'), 105, []),
    ('server without its directory', dict(STANDBY, data='absent'), 106, []),
    ('recovers from an archive', dict(STANDBY, recovery='restores'), 107, []),
    ('recovers from an archive, on a node that leaves', dict(STANDBY, state='absent', recovery='restores'), 107, []),
    ('recovers from an archive, and is to be primary', dict(PRIMARY, recovery='restores'), 107, []),
    ('leave: metadata unreadable', dict(STANDBY, state='absent', record='unknown'), 200, []),
    ('leave: not registered', dict(STANDBY, state='absent', record='absent'), 201, []),
    ('leave: record of another node', dict(STANDBY, state='absent', record='foreign'), 202, []),
    ('leave: server stopped', dict(STOPPED, state='absent'), 203, []),
    ('leave: its directory holds something else', dict(STOPPED, state='absent', data='unrecognised', identity='none'), 203, []),
    ('leave: standby', dict(STANDBY, state='absent'), 204, ['unregister_standby', 'drop_slot']),
    ('leave: standby was promoted', dict(STANDBY, state='absent', recovery='no'), 205, []),
    ('leave: witness', dict(WITNESS, state='absent'), 206, ['unregister_witness']),
    ('leave: primary is a standby', dict(PRIMARY, state='absent', recovery='yes'), 207, []),
    ('leave: primary', dict(PRIMARY, state='absent'), 208, ['unregister_primary']),
    ('primary: no data', dict(PRIMARY, data='absent', server='stopped', recovery='none'), 300, []),
    ('primary: another cluster', dict(PRIMARY, identity='other'), 301, []),
    ('primary: another one lives', dict(PRIMARY, primary='live'), 302, []),
    ('primary: the registered one does not answer', dict(PRIMARY, primary='silent'), 303, []),
    ('primary: stopped', dict(PRIMARY, server='stopped'), 304, []),
    ('primary: in recovery', dict(PRIMARY, recovery='yes'), 305, []),
    ('primary: record of another node', dict(PRIMARY, record='foreign'), 306, []),
    ('primary: metadata unreadable', dict(PRIMARY, record='unknown'), 307, []),
    ('primary: new', dict(PRIMARY, record='absent'), 308, ['register_primary']),
    ('primary: stale record', dict(PRIMARY, record='differs'), 309, ['register_primary_force']),
    ('primary: as it should be', PRIMARY, 310, []),
    ('primary: as it should be, told of itself', dict(PRIMARY, primary='self', identity='same'), 310, []),
    ('witness: no server', dict(WITNESS, data='absent', server='stopped', recovery='none'), 400, []),
    ('witness: stopped', dict(WITNESS, server='stopped', upstream='none'), 401, []),
    ('witness: is a standby', dict(WITNESS, recovery='yes'), 402, []),
    ('witness: holds the cluster', dict(WITNESS, identity='same'), 403, []),
    ('witness: no primary', dict(WITNESS, primary='silent'), 404, []),
    ('witness: record of another node', dict(WITNESS, record='foreign'), 405, []),
    ('witness: metadata unreadable', dict(WITNESS, record='unknown'), 406, []),
    ('witness: new', dict(WITNESS, record='absent', upstream='detached'), 407, ['register_witness']),
    ('witness: stale record', dict(WITNESS, record='differs', upstream='wrong'), 408, ['register_witness_force']),
    ('witness: watches the old primary', dict(WITNESS, upstream='wrong'), 409, ['register_witness_force']),
    ('witness: watches nobody knows whom', dict(WITNESS, upstream='unknown'), 410, []),
    ('witness: as it should be', WITNESS, 411, []),
    ('standby: is a primary', dict(STANDBY, recovery='no'), 500, []),
    ('standby: primary dead', dict(STANDBY, primary='silent'), 501, []),
    ('standby: primary_conninfo leads to a standby', dict(STANDBY, primary='recovery'), 501, []),
    ('standby: record of another node', dict(STANDBY, record='foreign'), 502, []),
    ('standby: metadata unreadable', dict(STANDBY, record='unknown'), 503, []),
    ('standby: empty directory', EMPTY, 504, ['check_space', 'clone', 'start', 'register']),
    ('standby: empty directory, registered before', dict(EMPTY, record='same'), 504,
     ['check_space', 'clone', 'start', 'register_force']),
    ('standby: partial directory', dict(EMPTY, data='partial'), 505, ['check_space', 'move_aside', 'clone', 'start', 'register']),
    ('standby: foreign directory', dict(STOPPED, identity='other'), 506, []),
    ('standby: foreign directory, reclone asked for', dict(STOPPED, identity='other', rejoin='reclone'), 506, []),
    ('standby: identifier unknown', dict(STOPPED, identity='unknown', rejoin='reclone'), 507, []),
    ('standby: stopped, was restored', dict(STOPPED, recovery='restores'), 508, []),
    ('standby: stopped, was restored, attach', dict(STOPPED, recovery='restores', rejoin='attach'), 508, []),
    ('standby: stopped, was restored, rewind', dict(STOPPED, recovery='restores', rejoin='rewind'), 508, []),
    ('standby: stopped, was restored, reclone', dict(STOPPED, recovery='restores', rejoin='reclone'), 515,
     ['check_space', 'move_aside', 'clone', 'start', 'register_force']),
    ('standby: stopped, role unknown', dict(STOPPED, recovery='unknown', rejoin='rewind'), 510, []),
    ('standby: stopped', STOPPED, 511, ['start']),
    ('standby: stopped, stale record', dict(STOPPED, record='differs'), 511, ['start', 'register_force']),
    ('standby: stopped, not registered', dict(STOPPED, record='absent'), 511, ['start', 'register']),
    ('standby: stopped ex-primary', dict(STOPPED, recovery='no'), 512, []),
    ('standby: ex-primary, attach', dict(STOPPED, recovery='no', rejoin='attach'), 513, ['rejoin_attach']),
    ('standby: ex-primary, rewind', dict(STOPPED, recovery='no', rejoin='rewind'), 514, ['rejoin_rewind']),
    ('standby: ex-primary that was removed, attach', dict(STOPPED, recovery='no', record='absent', rejoin='attach'), 513,
     ['register_stopped', 'rejoin_attach', 'register_force']),
    ('standby: ex-primary that was removed, rewind', dict(STOPPED, recovery='no', record='absent', rejoin='rewind'), 514,
     ['register_stopped', 'rejoin_rewind', 'register_force']),
    ('standby: detached and not registered, rewind', dict(STANDBY, upstream='detached', record='absent', rejoin='rewind'), 521,
     ['stop', 'register_stopped', 'rejoin_rewind', 'register_force']),
    ('standby: ex-primary, reclone', dict(STOPPED, recovery='no', rejoin='reclone'), 515,
     ['check_space', 'move_aside', 'clone', 'start', 'register_force']),
    ('standby: detached, attach', dict(STANDBY, upstream='detached', rejoin='attach'), 520, ['stop', 'rejoin_attach']),
    ('standby: detached, rewind', dict(STANDBY, upstream='detached', rejoin='rewind'), 521, ['stop', 'rejoin_rewind']),
    ('standby: detached, reclone', dict(STANDBY, upstream='detached', rejoin='reclone'), 522,
     ['check_space', 'stop', 'move_aside', 'clone', 'start', 'register_force']),
    ('standby: new, elsewhere', dict(STANDBY, record='absent', upstream='wrong'), 530, ['register_as_is', 'follow']),
    ('standby: new', dict(STANDBY, record='absent'), 531, ['register']),
    ('standby: wrong upstream', dict(STANDBY, record='differs', upstream='wrong'), 532, ['follow', 'register_force']),
    ('standby: detached', dict(STANDBY, upstream='detached'), 533, ['follow']),
    ('standby: stale record', dict(STANDBY, record='differs'), 534, ['register_force']),
    ('standby: as it should be', STANDBY, 535, []),
    ('standby: well, so permission to attach changes nothing', dict(STANDBY, rejoin='attach'), 535, []),
    ('standby: well, so permission to rewind changes nothing', dict(STANDBY, rejoin='rewind'), 535, []),
    ('standby: well, so permission to reclone changes nothing', dict(STANDBY, rejoin='reclone'), 535, []),
    ('standby: follows nobody knows whom', dict(STANDBY, upstream='unknown'), 536, []),
    ('standby: TLS was switched on', dict(STANDBY, record='differs', upstream='insecure'), 538, ['set_tls', 'register_force']),
    ('standby: streams without TLS', dict(STANDBY, upstream='insecure'), 538, ['set_tls']),
    ('standby: new, streams without TLS', dict(STANDBY, record='absent', upstream='insecure'), 537, ['set_tls', 'register']),
    ('standby: new, and its upstream has another address now', dict(STANDBY, record='absent', upstream='moved'), 539, ['set_address', 'register']),
    ('standby: its upstream has another address now', dict(STANDBY, upstream='moved'), 540, ['set_address']),
    ('standby: it and its upstream have', dict(STANDBY, record='differs', upstream='moved'), 540, ['set_address', 'register_force']),
    ('nonsense', dict(EMPTY, recovery='yes'), 900, []),
]
DESIRED = Desired(role='standby', node_id=2, node_name='b', data_directory='/data', config_file='/etc/repmgr.conf')
STALE = [('priority', 100, 90)]


@pytest.mark.parametrize('name, words, rule, actions', CASES, ids=[case[0] for case in CASES])
def test_case(name, words, rule, actions):
    plan = _plan.make_plan(DESIRED.replace(role=words['role']), Situation(**words), STALE if words['record'] == 'differs' else [])
    assert (plan.rule, plan.actions) == (rule, actions)
    assert plan.why
    assert plan.refused == (_plan.match(Situation(**words)).refuse is not None)
    if plan.refused:
        assert plan.expected and plan.steps and '{' not in plan.expected + _steps.sentences(plan.steps)


def test_every_rule_has_a_named_case():
    assert set(rule.id for rule in _plan.RULES) == set(case[2] for case in CASES)


def test_ids_are_strictly_increasing():
    ids = [rule.id for rule in _plan.RULES]
    assert ids == sorted(set(ids))


def test_rules_speak_in_known_words():
    for rule in _plan.RULES:
        assert set(rule.role) <= set(['primary', 'standby', 'witness'])
        for name, values in rule.when.items():
            assert set(values) <= set(WORDS.get(name, ('present', 'absent'))), rule.id


def test_every_action_can_be_carried_out_and_explained():
    named = set(action for rule in _plan.RULES for action in rule.actions) - set(['register_if_differs', 'register_if_absent'])
    named.update(['register_force', 'register_stopped'])
    assert named == set(_apply.ACTIONS) == set(_apply.TEXTS)


def consistent(words):
    """Whether `situate` can say this."""
    no_data = words['data'] in ('absent', 'partial', 'unrecognised', 'unknown')
    up = words['server'] in ('running', 'silent')
    if no_data and up:
        return False
    if (words['recovery'] == 'none') != (no_data and not up) or (words['identity'] == 'none') != no_data:
        return False
    return (words['upstream'] == 'none') == (words['server'] != 'running' or words['role'] == 'primary')


def situations(role, state):
    names = sorted(WORDS)
    if state == 'absent':
        names.remove('rejoin')
    for values in itertools.product(*[WORDS[name] for name in names]):
        words = dict(zip(names, values), role=role, state=state)
        yield words, Situation(**words)


@pytest.mark.parametrize('state', ['present', 'absent'])
@pytest.mark.parametrize('role', ['primary', 'standby', 'witness'])
def test_full_product(role, state):
    """Every situation matches a rule, every possible situation one other than 900, and no data are replaced while anything is unknown."""
    for words, situation in situations(role, state):
        rule = _plan.match(situation)
        assert rule is not None, words
        if consistent(words):
            assert rule.id != 900, words
        if not rule.actions:
            continue
        assert rule.refuse is None
        assert words['server'] in ('running', 'stopped') and words['data'] not in ('unknown', 'unrecognised'), words
        assert words['record'] not in ('unknown', 'foreign'), words
        # Those that replace or rewrite the contents of a data directory.
        if set(rule.actions) & set(['clone', 'rejoin_rewind', 'move_aside']):
            assert 'unknown' not in words.values(), words
            assert words['primary'] == 'live' and role == 'standby' and state == 'present', words
            # What another cluster wrote, or a running primary, is nobody's to replace.
            assert words['identity'] != 'other', words
            assert not (words['server'] == 'running' and words['recovery'] == 'no'), words
            if words['data'] == 'valid':
                assert words['rejoin'] in ('rewind', 'reclone'), words
        if 'start' in rule.actions and 'clone' not in rule.actions:
            assert words['recovery'] == 'yes' and words['data'] == 'valid', words


PACKAGE = 'ansible_collections.pgfleet.repmgr.plugins.module_utils'
PURE = ('_plan', '_verdict', '_failover', '_removal', '_contract', '_conninfo', '_topology', '_votes', '_lsn', '_limits', '_settings', '_changeover',
        '_hba', '_sources', '_backup', '_restore', '_verify', '_cluster', '_problems_access', '_problems_data', '_problems_deploy', '_problems_metadata',
        '_problems_replication', '_problems_repmgrd', '_problems_servers', '_readiness', '_contract_cluster', '_contract_host',
        '_contract_settings', '_contract_values', '_check_timing', '_problems_routing', '_proxies', '_routes', '_last_copy')


@pytest.mark.parametrize('name', PURE)
def test_pure_files_import_nothing_but_pure_ones(name):
    path = os.path.join(os.path.dirname(_plan.__file__), name + '.py')
    with open(path) as handle:
        tree = ast.parse(handle.read())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            found.update('%s.%s' % (PACKAGE, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    # _repmgr reads texts, and calls only the runner that it is given.
    allowed = set(['__future__', 'calendar', 'csv', 'json', 'posixpath', 're', 'socket', 'urllib', 'urllib.parse']
                  + [PACKAGE + '._state', PACKAGE + '._repmgr', PACKAGE + '._steps'] + ['%s.%s' % (PACKAGE, other) for other in PURE])
    assert found <= allowed


# -- from records to words

NODES = [
    Node(node_id=1, node_name='a', type='primary', active=True, priority=100, location='default', conninfo='host=a dbname=repmgr'),
    Node(node_id=2, node_name='b', type='standby', active=True, priority=100, location='default', conninfo='host=b dbname=repmgr',
         upstream_node_id=1, slot_name='repmgr_slot_2'),
    Node(node_id=4, node_name='w', type='witness', active=True, priority=0, location='default', conninfo='host=w', upstream_node_id=1),
]
WANTED = Desired(role='standby', node_id=2, node_name='b', conninfo='dbname=repmgr host=b', slot_name='repmgr_slot_2')
UP = Server(state='running', sql=True, in_recovery=True, system_identifier='7', started_at='t2')
LIVE = Observed(data=Data(state='valid', system_identifier='7'),
                server=Server(state='running', sql=True, in_recovery=False, system_identifier='7', started_at='t1'))


def standby(**changes):
    return Observed(data=Data(state='valid', system_identifier='7', standby_signal=True), server=UP).replace(**changes)


def streams(by):
    return standby(server=UP.replace(settings={'primary_conninfo': by}))


TLS = WANTED.replace(conninfo='dbname=repmgr host=b sslmode=verify-full sslrootcert=/r')


def situate(desired=WANTED, observed=None, primary=LIVE, upstream_id=1, streaming=True, metadata=tuple(NODES), moved=False):
    return _plan.situate(desired, observed or standby(), primary, upstream_id, streaming,
                         None if metadata is None else list(metadata), moved)


def test_healthy_standby():
    found = situate()
    assert found == Situation(role='standby', data='valid', server='running', recovery='yes', identity='same', primary='live',
                              record='same', upstream='right', rejoin='never')


@pytest.mark.parametrize('changes, name, word', [
    (dict(metadata=None), 'record', 'unknown'),
    (dict(metadata=()), 'record', 'absent'),
    (dict(desired=WANTED.replace(priority=50)), 'record', 'differs'),
    (dict(desired=WANTED.replace(location='x')), 'record', 'differs'),
    (dict(desired=WANTED.replace(conninfo='host=other')), 'record', 'differs'),
    (dict(desired=WANTED.replace(conninfo="host='b' dbname=repmgr")), 'record', 'same'),
    (dict(desired=WANTED.replace(conninfo='postgresql://b:5432/repmgr')), 'record', 'same'),
    (dict(desired=WANTED.replace(conninfo='host=b port=5433 dbname=repmgr')), 'record', 'differs'),
    # The words are the same, the values are not.
    (dict(desired=WANTED.replace(conninfo="dbname=repmgr host=b options='-c a=b -c c=d'"),
          metadata=[NODES[0], NODES[1].replace(conninfo="dbname=repmgr host=b options='-c c=d -c a=b'")]), 'record', 'differs'),
    (dict(desired=WANTED.replace(conninfo='host=b dbname=repmgr'), metadata=[NODES[0], NODES[1].replace(conninfo='host=b dbname=')]), 'record', 'differs'),
    (dict(desired=WANTED.replace(slot_name='')), 'record', 'same'),
    (dict(desired=WANTED.replace(node_name='c')), 'record', 'foreign'),
    (dict(desired=WANTED.replace(node_id=9)), 'record', 'foreign'),
    (dict(desired=WANTED.replace(role='witness')), 'record', 'foreign'),
    (dict(metadata=[NODES[0], NODES[1].replace(active=False)]), 'record', 'differs'),
    (dict(metadata=[NODES[0], NODES[1].replace(upstream_node_id=4)]), 'record', 'differs'),
    (dict(upstream_id=4), 'upstream', 'wrong'),
    (dict(upstream_id=4, streaming=False), 'upstream', 'detached'),
    (dict(streaming=False), 'upstream', 'detached'),
    (dict(upstream_id=None), 'upstream', 'wrong'),
    # By the word of the node that it should follow; repmgr would not follow that one once more, because its slot is in use.
    (dict(upstream_id=None, moved=True, observed=streams('host=former')), 'upstream', 'moved'),
    (dict(upstream_id=None, moved=True, observed=streams(None)), 'upstream', 'right'),
    (dict(upstream_id=None, streaming=False), 'upstream', 'detached'),
    (dict(upstream_id=4, desired=WANTED.replace(upstream_node_id=4)), 'upstream', 'right'),
    (dict(observed=streams('host=a sslmode=prefer')), 'upstream', 'right'),
    (dict(observed=streams('host=a sslmode=verify-full sslrootcert=/r')), 'upstream', 'insecure'),
    (dict(observed=streams('host=a'), desired=TLS), 'upstream', 'insecure'),
    # As the observation hides it. Without a line in the passfile the standby needs it.
    (dict(observed=streams('host=a password=********'), desired=WANTED.replace(knows_password=True)), 'upstream', 'insecure'),
    (dict(observed=streams('host=a password=********')), 'upstream', 'right'),
    (dict(observed=streams('host=a'), desired=WANTED.replace(knows_password=True)), 'upstream', 'right'),
    (dict(observed=streams('host=a passfile=/x'), desired=WANTED.replace(knows_password=True)), 'upstream', 'right'),
    (dict(observed=streams('host=a password=********'), desired=WANTED.replace(
        knows_password=True, conninfo='host=b dbname=repmgr password=********')), 'upstream', 'right'),
    (dict(observed=streams("host=a sslmode=verify-full sslrootcert='/r'"), desired=TLS.replace(conninfo='host=b')), 'upstream', 'insecure'),
    (dict(observed=streams("host=a sslmode=verify-full sslrootcert='/r'"), desired=TLS), 'upstream', 'right'),
    (dict(observed=streams('host=a sslmode=verify-full sslrootcert=/q'), desired=TLS), 'upstream', 'insecure'),
    (dict(observed=streams('host=a sslmode = verify-full sslrootcert=/r'), desired=TLS), 'upstream', 'right'),
    (dict(observed=streams("host=a sslmode=verify-full sslrootcert='/r r'"), desired=TLS.replace(
        conninfo="host=b dbname=repmgr sslmode=verify-full sslrootcert='/r  r'")), 'upstream', 'insecure'),
    (dict(observed=streams("host=a application_name='x sslmode=verify-full sslrootcert=/r'"), desired=TLS), 'upstream', 'insecure'),
    (dict(observed=streams('postgresql://a/?sslmode=verify-full&sslrootcert=%2Fr'), desired=TLS), 'upstream', 'right'),
    (dict(observed=streams('host=a'), desired=TLS, streaming=False), 'upstream', 'detached'),
    (dict(metadata=[NODES[1]]), 'upstream', 'unknown'),
    (dict(primary=False), 'primary', 'silent'),
    (dict(primary=None), 'primary', 'unknown'),
    (dict(primary=None, metadata=()), 'primary', 'none'),
    (dict(primary=standby(server=UP.replace(started_at='t3'))), 'primary', 'recovery'),
    (dict(primary=standby()), 'primary', 'self'),
    (dict(primary=LIVE.replace(server=LIVE.server.replace(in_recovery=None))), 'primary', 'unknown'),
    (dict(desired=WANTED.replace(system_identifier='8')), 'identity', 'other'),
    (dict(observed=standby(data=Data(state='missing'), server=Server(state='stopped'))), 'identity', 'none'),
    (dict(observed=standby(data=Data(state='missing'), server=Server(state='stopped'))), 'recovery', 'none'),
    (dict(observed=standby(data=Data(state='empty'), server=Server(state='stopped'))), 'data', 'absent'),
    (dict(observed=standby(server=Server(state='stopped'))), 'recovery', 'yes'),
    (dict(observed=standby(data=Data(state='valid', cluster_state='shut down'), server=Server(state='stopped'))), 'recovery', 'no'),
    (dict(observed=standby(data=Data(state='valid', cluster_state='in production'), server=Server(state='stopped'))), 'recovery', 'no'),
    (dict(observed=standby(data=Data(state='valid', cluster_state='shut down in recovery'), server=Server(state='stopped'))),
     'recovery', 'unknown'),
    (dict(observed=standby(server=Server(state='running', sql=False))), 'server', 'silent'),
    (dict(observed=standby(server=UP.replace(in_recovery=None))), 'recovery', 'unknown'),
    (dict(observed=standby(data=Data(state='valid', promotes_itself=True))), 'recovery', 'restores'),
    (dict(observed=standby(data=Data(state='valid', promotes_itself=True, cluster_state='in archive recovery'), server=Server(state='stopped'))),
     'recovery', 'restores'),
    # Left beside standby.signal, and the node was promoted since.
    (dict(observed=standby(data=Data(state='valid', promotes_itself=True), server=UP.replace(in_recovery=False))), 'recovery', 'no'),
])
def test_words(changes, name, word):
    assert getattr(situate(**changes), name) == word


def test_differences_are_named():
    assert _plan.differences(WANTED.replace(priority=50, location='x'), NODES) == [
        ('priority', 100, 50), ('location', 'default', 'x')]


def test_two_active_primaries_are_no_upstream():
    rows = NODES + [NODES[0].replace(node_id=3, node_name='c')]
    assert _plan.live_primary_id(rows) is None
    assert situate(metadata=rows).upstream == 'unknown'


def test_primary_that_another_record_contradicts():
    rows = [NODES[0].replace(node_id=2, node_name='b'), NODES[0]]
    wanted = WANTED.replace(role='primary')
    assert situate(desired=wanted, observed=LIVE, primary=None, metadata=rows).primary == 'unknown'
