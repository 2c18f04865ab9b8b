# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run


def test_hosts_by_cluster_in_their_order():
    records = [{'name': name, 'cluster': cluster} for name, cluster in (('b1', 'lab'), ('m1', 7), ('a1', 'lab'))]
    assert _run.clusters(records) == {'lab': ['b1', 'a1'], '7': ['m1']}
    assert _run.left_out([('x', 'lab'), ('y', 7), ('z', 'lab')]) == {'lab': ['x', 'z'], '7': ['y']}


PROBLEMS = [{'node': 'a', 'code': 'x', 'stop': True, 'message': '1'}, {'node': 'b', 'code': 'x', 'stop': True, 'message': '2'},
            {'node': 'a', 'code': 'y', 'stop': False, 'message': '3'}, {'node': 'a', 'code': 'z', 'stop': True, 'message': '4'}]


@pytest.mark.parametrize('tolerated, found', [
    ([], '124'), (['a x'], '24'), (['* x'], '4'), (['a *'], '2'), (['b z', 'b y', 'c *', 'x a'], '124'), (['* z', 'b *'], '1'), (['* *'], '124'),
])
def test_problems_that_stop_a_run(tolerated, found):
    assert ''.join(_run.stops(PROBLEMS, tolerated)) == found
