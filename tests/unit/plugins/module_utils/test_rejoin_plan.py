# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _rejoin, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import plain

from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.test_verdict import codes, healthy, judge, row, running, stopped

CONFIG = {'node_id': 1, 'node_name': 'a'}
ROWS_AFTER = [row(1, 'a', 'primary', active=False), row(2, 'b', 'primary'), row(3, 'c', 'standby', 2), row(4, 'w', 'witness', 2)]


def failed_over(rows=None, peer=None, **target):
    """b took over, and a is stopped, as far as it is not said otherwise."""
    rows = rows or ROWS_AFTER
    there = stopped()
    for name, value in dict({'config': CONFIG, 'missing_packages': []}, **target).items():
        setattr(there, name, value)
    hosts = healthy(a=there, b=running(False, nodes=rows, timeline=2), c=running(True, nodes=rows, timeline=2))
    hosts[3]['observed']['repmgr']['nodes'] = plain(rows)
    hosts[0]['tls'] = 'managed'
    for name, ways in (peer or {}).items():
        hosts['abcw'.index(name)]['observed']['logins'] = ways
    return hosts


def plan(hosts, target='a'):
    return _rejoin.rejoin_plan(_verdict.hosts_from(hosts), judge(hosts), target)


@pytest.mark.parametrize('changes, lacks', [
    ({}, []), ({'installed': False}, ['packages']), ({'repmgr_installed': False}, ['packages']), ({'missing_packages': ['sudo']}, ['packages']),
    ({'missing_packages': None}, []), ({'config': None}, ['repmgr.conf']), ({'tls': {'error': 'root.crt is missing'}}, ['certificate']),
    ({'logins': {'b': {'sql': 'fe_sendauth: no password supplied', 'ssh': ''}}}, ['logins']), ({'logins': {'b': {'sql': '', 'ssh': ''}}}, []),
    # What the target has to let in.
    ({'peer': {'c': {'a': {'ssh': 'Permission denied'}}}}, ['logins']), ({'peer': {'c': {'b': {'ssh': 'Permission denied'}}}}, []),
    ({'reach': [{'name': 'b', 'postgresql': 'timeout', 'ssh': 'open'}]}, ['logins']),
    ({'config': None, 'tls': {'error': 'x'}, 'installed': False}, ['packages', 'repmgr.conf', 'certificate']),
])
def test_what_it_lacks(changes, lacks):
    hosts = failed_over(**changes)
    assert codes(judge(hosts), stop=True)[-1] == 'stopped_ex_primary'
    assert plan(hosts) == {'lacks': lacks, 'registered': True}


def test_a_certificate_that_the_operator_provides_is_not_made():
    hosts = failed_over(tls={'error': 'x'})
    hosts[0]['tls'] = 'provided'
    assert plan(hosts)['lacks'] == []


def test_a_host_that_cannot_be_reached_is_left_to_the_refusals():
    hosts = failed_over()
    hosts[0].update(unreachable=True, observed=None)
    assert plan(hosts) == plan(hosts, 'nobody') == {'lacks': [], 'registered': True}


def test_one_that_was_removed_comes_back_by_rejoin_and_is_completed_by_add_node():
    hosts = failed_over(rows=[dict(entry) for entry in ROWS_AFTER[1:]], config=None)
    assert plan(hosts) == {'lacks': ['repmgr.conf'], 'registered': False}
    problem, = [problem for problem in judge(hosts)['problems'] if problem['code'] == 'stopped_ex_primary']
    assert [(step['playbook'], step['arguments']) for step in problem['steps']] == [
        ('rejoin', {'repmgr_target': 'a'}), ('add_node', {'repmgr_target': 'a'})]
    problem, = [problem for problem in judge(failed_over())['problems'] if problem['code'] == 'stopped_ex_primary']
    assert [step['playbook'] for step in problem['steps']] == ['rejoin']


def test_a_healthy_node_lacks_nothing():
    hosts = healthy()
    for host in hosts:
        host['observed']['config'] = {'node_id': int(host['node_id']), 'node_name': host['name']}
    assert plan(hosts) == {'lacks': [], 'registered': True}
