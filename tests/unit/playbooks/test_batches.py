# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""-e repmgr_batch: the plays of the playbooks, with their tasks replaced by one that may fail."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.filter import repmgr

PLAYBOOKS = ('site', 'minor_upgrade', 'rolling_restart', 'rotate_credentials', 'maintenance')


@pytest.mark.parametrize('playbook', PLAYBOOKS)
def test_no_cluster_is_cut_in_two(run, playbook):
    code, said, worked = run(playbook, '-e', 'repmgr_batch=2' + (' repmgr_maintenance=unpause' if playbook == 'maintenance' else ''))
    assert code == 0, said
    assert worked == [['a1', 'a2', 'b1', 'b2', 'b3'], ['c1', 'c2']]
    assert said.count('members a1 a2;') == 2 and said.count('members b1 b2 b3;') == 3
    assert 'done: a, b, c\nfailed: -\nnot begun: -\n' in said and 'next:' not in said


def test_limit_and_named_clusters_are_batched_too(run):
    code, said, worked = run('site', '-e', 'repmgr_batch=1', '--limit', 'c1,c2,a1,a2')
    assert (code, worked) == (0, [['a1', 'a2'], ['c1', 'c2']]), said
    code, said, worked = run('site', '-e', 'repmgr_batch=1 repmgr_only=c,b')
    assert (code, worked) == (0, [['b1', 'b2', 'b3'], ['c1', 'c2']]), said


@pytest.mark.parametrize('fails, options, batches, failed, rest', [
    # the whole first cluster, or a host of it
    ('a', (), 1, 'a', 'b, c'),
    ('a1', (), 1, 'a', 'b, c'),
    ('b2', (), 2, 'b', 'c'),
    ('[ab]1', ('-e', 'repmgr_max_fail=1'), 2, 'a, b', 'c'),
    ('a1', ('-e', 'repmgr_max_fail=1'), 3, 'a', '-'),
])
def test_a_bad_change_stops(run, fails, options, batches, failed, rest):
    code, said, worked = run('site', '-e', 'repmgr_batch=1', *options, fails=fails)
    assert code == 2, said
    assert len(worked) == batches, said
    assert 'failed: %s\nnot begun: %s\n' % (failed, rest) in said
    assert '-e repmgr_only=%s\n' % ','.join((failed + ', ' + rest).replace(', -', '').split(', ')) in said


def test_where_a_node_must_not_be_missed_a_failure_is_the_end(run):
    code, said, worked = run('minor_upgrade', '-e', 'repmgr_batch=2 repmgr_max_fail=5', fails='b1')
    assert (code, len(worked)) == (2, 1), said
    assert 'done: -\nfailed: b\nended in the middle: a\nnot begun: c\n' in said and '-e repmgr_only=a,b,c\n' in said


@pytest.mark.parametrize('options, text', [
    ('repmgr_batch=x', "repmgr_batch is 'x'; expected a number of clusters, 1 or more. Nothing was changed. Run again with -e repmgr_batch=1, or without"),
    ('repmgr_max_fail=1', "repmgr_batch is ''; expected a number of clusters, 1 or more."),
])
def test_what_means_nothing_is_refused_before_anything(run, options, text):
    code, said, worked = run('site', '-e', options)
    assert (code, worked) == (2, []), said
    assert '"msg": "%s' % text in ' '.join(said.split())


def test_from_the_inventory_it_would_come_too_late(run):
    code, said, worked = run('site', variables={'repmgr_batch': 2})
    assert (code, worked) == (2, []), said
    said = ' '.join(said.split())
    assert 'repmgr_batch is 2, but this run works on 3 clusters at once; expected repmgr_batch as an extra variable (-e)' in said
    # b2 and b3 leave it to b1, unless b1 has failed before their task begins: then the first of those that are left says it as well.
    assert 'Cluster b stops here; b1 says why.' in said or said.count('but this run works on 3 clusters at once') > 3


def hosts(*names, only=()):
    return [{'inventory_hostname': name, 'repmgr_cluster_name': name[0], '__repmgr_given': {'only': list(only)}} for name in names]


@pytest.mark.parametrize('size, only, batches', [
    (1, '', [['a1', 'a2'], ['b1'], ['c1']]),
    ('2', '', [['a1', 'a2', 'b1'], ['c1']]),
    (9, '', [['a1', 'a2', 'b1', 'c1']]),
    (1, 'ca', [['a1', 'a2'], ['c1']]),
])
def test_batches(size, only, batches):
    assert repmgr.cluster_batches(hosts('a1', 'b1', 'a2', 'c1', only=only), size) == batches


@pytest.mark.parametrize('name, size, limit', [
    ('repmgr_batch', value, 0) for value in ('0', 0, '-1', '1.5', '20%', '', True, None)
] + [('repmgr_max_fail', 1, value) for value in (-1, 'x', None)])
def test_no_number(name, size, limit):
    assert repmgr.batch_problem(1, size, limit).startswith("%s is '%s'; expected a number" % (name, size if name == 'repmgr_batch' else limit))
    if name == 'repmgr_batch':
        assert repmgr.cluster_batches(hosts('a1', 'b1', 'a2'), size) == [['a1', 'a2', 'b1']]


@pytest.mark.parametrize('at_once, size, right', [(2, 2, True), (1, '2', True), (3, '2', False)])
def test_how_many_at_once(at_once, size, right):
    assert (repmgr.batch_problem(at_once, size) == '') is right
