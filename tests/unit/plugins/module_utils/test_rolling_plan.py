# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _rolling
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Host, Observed, Server

ROLES = {'a': 'primary', 'b': 'standby', 'c': 'standby', 'w': 'witness'}


def plan(wanted, successor='b', **lowered):
    hosts = [Host(name=name, observed=Observed(server=Server(
        settings={'max_connections': '200', 'max_wal_senders': '10'}, lowered=lowered.get(name) or {}))) for name in sorted(ROLES)]
    return _rolling.rolling_plan(hosts, {'primary': 'a', 'roles': ROLES, 'successor': successor}, wanted)


@pytest.mark.parametrize('wanted, order, successor', [
    (['a', 'b', 'c', 'w'], ['w', 'c', 'b'], 'b'), (['c', 'b'], ['c', 'b'], ''), (['a'], [], 'b'), ([], [], ''),
])
def test_the_primary_is_replaced_after_all_others(wanted, order, successor):
    assert plan(wanted) == {'order': order, 'successor': successor, 'primary_first': False, 'too_low': []}


def test_without_a_successor():
    assert plan(['a', 'b'], successor='')['successor'] == ''


def test_a_primary_with_lower_settings_restarts_in_place():
    found = plan(['a', 'b'], a={'max_connections': 100})
    assert (found['primary_first'], found['successor'], found['order']) == (True, '', ['b'])
    # It is not to be restarted.
    assert plan(['b'], a={'max_connections': 100})['primary_first'] is False


@pytest.mark.parametrize('wanted, primary, lowered, found', [
    (['b'], {}, {'max_connections': 100}, ['b would start with max_connections 100, primary a with 200']),
    (['b'], {}, {'max_connections': '100'}, ['b would start with max_connections 100, primary a with 200']),
    # The primary gets the same, or still less.
    (['a', 'b'], {'max_connections': 100}, {'max_connections': 100}, []), (['a', 'b'], {'max_connections': 90}, {'max_connections': 100}, []),
    (['a', 'b'], {'max_connections': 150}, {'max_connections': 100}, ['b would start with max_connections 100, primary a with 150']),
    # Not restarted; and a setting that the primary does not report.
    (['c'], {}, {'max_connections': 100}, []), (['b'], {}, {'max_prepared_transactions': 1}, []),
])
def test_standbys_that_would_not_start(wanted, primary, lowered, found):
    assert plan(wanted, a=primary, b=lowered)['too_low'] == found


def test_a_witness_may_have_less():
    assert plan(['w'], w={'max_connections': 10})['too_low'] == []
