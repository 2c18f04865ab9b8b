# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No two problems name each other's playbook: what is suggested is not stopped by what it cures, nor by something whose own cure it stops."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import ast
import glob
import os
import sys

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _failover, _problems_repmgrd, _removal, _steps, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import plain

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'plugins', 'module_utils'))
from test_verdict import WITNESS_ID, healthy, row, running, stopped  # noqa: E402  pylint: disable=wrong-import-position

hypothesis = pytest.importorskip('hypothesis')
st = pytest.importorskip('hypothesis.strategies')

# What only a person can do comes before the playbook, so that the problem is another one by then.
AFTER_SOMETHING_ELSE = {
    # One of the two servers is stopped first, and what it is then is a stopped ex-primary.
    ('split_brain', 'rejoin'),
    # Of a node that was removed: completes it, when rejoin has brought it back.
    ('stopped_ex_primary', 'add_node'),
    # The inventory gets another address first.
    ('changed_address', 'site'),
}
# Whose message leads with, or has beside the playbook, what always helps: to bring missing hosts back, because without a majority nobody is promoted,
# rejoins or leaves; and to set the old repmgr_password again until the cluster is healthy, which rotate_credentials wants.
BY_HAND = {'no_majority': 'Bring the missing hosts back.', 'changed_password': 'Until the cluster is healthy, set the old one again.'}


# -- what the problems say

def sources():
    """The sources that report problems."""
    texts = []
    for path in sorted(glob.glob(os.path.join(os.path.dirname(_verdict.__file__), '_*.py'))):
        with open(path) as handle:
            texts.append(handle.read())
    return [text for text in texts if 'cluster.problem(' in text]


def problems():
    """{code: (whether it may stop a run, [(playbook, arguments)])} of every cluster.problem()."""
    found = {}
    for tree in [ast.parse(text) for text in sources()]:
        assigned = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assigned.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'problem':
                values = dict(zip(('code', 'node', 'seen', 'expected', 'steps'), node.args))
                values.update((keyword.arg, keyword.value) for keyword in node.keywords)
                stop = values.get('stop', ast.Constant(True))
                stops, cures = found.setdefault(values['code'].value, ([], []))
                stops.append(not isinstance(stop, ast.Constant) or stop.value)
                cures += list(named(values.get('steps'), assigned))
    return {code: (any(stops), cures) for code, (stops, cures) in found.items()}


def named(node, assigned):
    for part in ast.walk(node) if node is not None else []:
        if isinstance(part, ast.Name) and len(assigned.get(part.id, [])) == 1:
            yield from named(assigned[part.id][0], {})
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == 'playbook':
            yield part.args[0].value, {keyword.arg: keyword.value.value if isinstance(keyword.value, ast.Constant) else None for keyword in part.keywords}
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == 'unpause':
            for by in ('failover', 'restart', 'maintenance', None):
                step = _steps.unpause(by)
                yield step['playbook'], step['arguments']


# -- what the playbooks say

LOOKS_ONLY = ('status', 'maintenance')


class Books:
    """What a playbook goes on beside, by its own YAML."""

    def __init__(self, host):
        self.host = host

    def play(self, playbook):
        return self.host.play(playbook)

    def _variable(self, play, name):
        found = [task['vars'][name] for task in play.get('tasks', []) if name in task.get('vars', {})]
        return (found or [play.get('vars', {}).get(name)])[0]

    def tolerated(self, playbook, arguments, members=('target', 'other'), removal=None):
        """The tolerated problems, as ['NODE CODE']."""
        text = self._variable(self.play(playbook), '__repmgr_tolerated') or []
        target = arguments.get('repmgr_target') or members[0]
        return self.host.rendered(
            text, __repmgr_members=list(members), __repmgr_given={'target': target, 'rejoin': arguments.get('repmgr_rejoin') or 'rewind'},
            __repmgr_removal=removal or {'tolerated': []}, repmgr_manage_firewall=False)

    def whole(self, playbook):
        """The codes that a playbook tolerates if it needs a healthy cluster; None if it does not need one."""
        if playbook not in ('rolling_restart', 'minor_upgrade', 'rotate_credentials'):
            return None
        own = self._variable(self.play(playbook), '__repmgr_no_hindrance')
        return (own or self.host.value('__repmgr_no_hindrance', __repmgr_paused_for_restart=False)) + (['old_repmgr'] if playbook == 'minor_upgrade' else [])

    def goes_on(self, playbook, arguments, code, stops, at='other', mends=''):
        """Whether it runs beside a problem of that code. mends: the code of the problem that it is run for."""
        if playbook in LOOKS_ONLY or code in DEPLOYS and playbook not in ('site', 'add_node', 'preflight'):
            return True
        if playbook == 'failover':
            return not stops or code in _failover._EXPECTED
        if playbook == 'remove_node':
            # _removal._tolerated
            return not stops or at == 'target' or code in ('login_failed', 'unlisted_node')
        if stops and not {'* ' + code, at + ' ' + code} & set(self.tolerated(playbook, arguments)):
            return False
        # Repmgr and its extension are brought together first, whatever else is wrong.
        if self.whole(playbook) is None or mends in _problems_repmgrd.OTHER_VERSIONS:
            return True
        return code in self.whole(playbook) or code == mends


# Of deploy_problems(): only who deploys asks for them.
DEPLOYS = ('changed_port', 'changed_name', 'changed_password', 'unknown_password', 'dropped_setting', 'replaced_setting', 'other_hba_file',
           'unusable_source', 'changed_address', 'changed_tls', 'pending_address', 'pending_tls')
PROBLEMS = problems()
# It stops a run only where the operator provides it, and then no playbook is named.
PROBLEMS['certificate'] = (False, PROBLEMS['certificate'][1])
# It stops a run only of a new cluster, and then no playbook is named.
PROBLEMS['unreachable'] = (False, PROBLEMS['unreachable'][1])


@pytest.fixture
def books(host):
    return Books(host)


def test_the_table_is_read_as_it_is(books):
    assert PROBLEMS['stopped_ex_primary'] == (True, [
        ('rejoin', {'repmgr_target': None, 'repmgr_rejoin': 'reclone', 'only_if': 'the data that were restored there are not needed'}),
        ('rejoin', {'repmgr_target': None, 'reason': 'Bring it back by'}),
        ('add_node', {'repmgr_target': None, 'reason': 'It was removed from the cluster; when it is back, complete it by'})])
    assert PROBLEMS['old_extension'] == (False, [('minor_upgrade', {})]) and PROBLEMS['restart_pending'] == (False, [('rolling_restart', {})])
    assert PROBLEMS['foreign_data'] == (True, []) and [name for name, dummy in PROBLEMS['repmgrd_paused'][1]] == [
        'failover', 'rolling_restart', 'maintenance', 'maintenance']
    assert not books.goes_on('site', {}, 'stopped_ex_primary', True) and books.goes_on('site', {}, 'login_failed', True)
    assert books.goes_on('rejoin', {}, 'vanished_data', True) and not books.goes_on('rejoin', {}, 'vanished_data', True, at='target')
    assert not books.goes_on('rolling_restart', {}, 'not_streaming', False) and books.goes_on('rolling_restart', {}, 'restart_pending', False)


@pytest.mark.parametrize('code', sorted(code for code, (stops, cures) in PROBLEMS.items() if stops and cures))
def test_a_playbook_is_not_stopped_by_what_it_cures(books, code):
    for playbook, arguments in PROBLEMS[code][1]:
        if (code, playbook) not in AFTER_SOMETHING_ELSE and code != 'no_majority':
            assert books.goes_on(playbook, arguments, code, True, at='target', mends=code), 'Stopped by %s: %s %s' % (code, playbook, arguments)


def waits_for(books):
    """{code: codes that stop its cure}, of those that a playbook cures."""
    found = {}
    for code, (dummy, cures) in PROBLEMS.items():
        for playbook, arguments in [cure for cure in cures if (code, cure[0]) not in AFTER_SOMETHING_ELSE and code not in BY_HAND][:1]:
            found[code] = {other for other, (stops, more) in PROBLEMS.items()
                           if other != code and more and not books.goes_on(playbook, arguments, other, stops, mends=code)}
    return found


def circles(graph):
    """The codes that form cycles: those that remain after codes without dependencies are removed, repeatedly."""
    left = {code: set(others) & set(graph) for code, others in graph.items()}
    while True:
        free = [code for code, others in left.items() if not others]
        if not free:
            return left
        for code in free:
            del left[code]
        left = {code: others - set(free) for code, others in left.items()}


def test_no_two_problems_name_each_others_playbook(books):
    graph = waits_for(books)
    assert 'stopped_ex_primary' in graph['login_failed'] and len(graph) > 20
    left = circles(graph)
    assert left == {}, {code: sorted(others) for code, others in left.items()}
    text = ''.join(sources())
    assert all(words in text for words in BY_HAND.values())


# -- a walk from any state, by what is printed

def changed(observed, **changes):
    return observed.replace(**changes)


def versions(observed, installed):
    observed = observed.replace(repmgr_version=installed)
    observed.repmgr = dict(observed.repmgr, extension='5.3')
    return observed


def states(name, number, rows):
    """What a node may be like; the first is as it should be."""
    witness, recovery = name == 'w', name in 'bc'
    well = running(recovery, WITNESS_ID if witness else '7000000000000000001', nodes=rows)
    config = {'node_id': number, 'node_name': name}
    return [
        well, changed(well, logins={'a': {'sql': 'no password supplied'}, 'b': {'ssh': 'Permission denied'}}), versions(well, '5.4'), versions(well, '5.2'),
        versions(changed(well, repmgr=dict(well.repmgr, repmgrd={'running': False, 'paused': False})), '5.4'),
        changed(well, repmgr=dict(well.repmgr, repmgrd={'running': False, 'paused': False})),
        changed(well, repmgr=dict(well.repmgr, repmgrd={'running': True, 'paused': True})), changed(well, repmgr_version='4.3'),
        changed(well, server=well.server.replace(restart_for=['x has changed'])), changed(well, receiver=None),
        stopped(), changed(stopped(), config=config), changed(stopped(), config=None, logins={}), stopped(signal=True), stopped('missing'),
        changed(stopped('empty'), config=config, deployed=True), stopped('partial'), running(False, nodes=rows, timeline=2), None]


@st.composite
def clusters(draw):
    rows = [row(1, 'a', 'primary'), row(2, 'b', 'standby', 1), row(3, 'c', 'standby', 1), row(4, 'w', 'witness', 1)]
    rows = [entry for entry in rows if draw(st.integers(0, 9)) or entry['node_id'] == 1]
    rows += [row(9, 'x', 'standby', 1)] if draw(st.integers(0, 4)) == 4 else []
    hosts = healthy()
    for number, host in enumerate(hosts, 1):
        choices = states(host['name'], number, rows)
        observed = choices[draw(st.one_of(st.just(0), st.integers(0, len(choices) - 1)))]
        host.update(observed=None if observed is None else plain(observed), unreachable=observed is None)
    return hosts


def refused_by(books, hosts, answer, step):
    """The first problem that stops the playbook of a step, or None where it goes on and changes something."""
    playbook, arguments = step['playbook'], step['arguments']
    if playbook in LOOKS_ONLY:
        return None
    if playbook == 'failover':
        plan = _failover.failover_plan(_verdict.hosts_from(hosts), answer, dead=arguments.get('repmgr_primary_is_dead', ''))
        return [problem for problem in answer['problems'] if problem['message'] == plan['refuse']][0] if plan['refuse'] in [
            problem['message'] for problem in answer['problems']] else None
    removal = None
    if playbook == 'remove_node':
        removal = _removal.removal_plan([dict(host, groups=[]) for host in hosts], arguments['repmgr_target'])
    tolerated = books.tolerated(playbook, arguments, [host['name'] for host in hosts], removal)
    for problem in answer['problems']:
        if problem['stop'] and not {'* ' + problem['code'], problem['node'] + ' ' + problem['code']} & set(tolerated):
            return problem
    whole = books.whole(playbook)
    if whole is None or playbook == 'minor_upgrade' and any(problem['code'] in _problems_repmgrd.OTHER_VERSIONS for problem in answer['problems']):
        return None
    return ([problem for problem in answer['problems'] if problem['code'] not in whole] or [None])[0]


@hypothesis.settings(max_examples=150, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(hosts=clusters())
def test_whoever_does_what_is_printed_does_not_go_in_circles(books, hosts):
    """Follow the messages as an operator would: run the first command of the first problem; if its playbook stops, the first command of what stopped it."""
    answer = _verdict.from_inventory(hosts)
    for problem in answer['problems']:
        way, step = [], _steps.first_command(problem['steps'])
        while step is not None and 'playbook' in step:
            assert step not in way, (way, [(each['node'], each['code']) for each in answer['problems']])
            way.append(step)
            stopped_by = refused_by(books, hosts, answer, step)
            step = None if stopped_by is None else _steps.first_command(stopped_by['steps'])
