# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of another run that is at work on the cluster, and that nothing goes on beside it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _failover, _problems_deploy, _removal, _status, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._run_lock import _NOBODY
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server, plain

ROWS = [{'node_id': 1, 'node_name': 'db1', 'type': 'primary', 'active': True},
        {'node_id': 2, 'node_name': 'db2', 'type': 'standby', 'active': True, 'upstream_node_id': 1}]


def lock(state='refused', **changes):
    return dict({'state': state, 'run': 'r0123456789', 'playbook': 'site.yml', 'user': 'alice', 'controller': 'ops1', 'process': {}, 'for_seconds': 723,
                 'renewed_seconds': 25, 'connected': False, 'displaced': ''}, **changes)


def record(number, observed=None):
    return {'name': 'db%d' % number, 'node_id': number, 'node_name': 'db%d' % number, 'cluster': 'lab', 'address': '', 'initial_role': 'primary' if
            number == 1 else 'standby', 'unreachable': observed is None, 'observed': None if observed is None else plain(observed)}


def works(number, found=None):
    return record(number, Observed(
        run_lock=found, data=Data(state='valid', system_identifier='7'), repmgr={'nodes': ROWS, 'repmgrd': {'running': True}},
        server=Server(state='running', sql=True, in_recovery=number > 1, system_identifier='7', timeline=1)))


def refuses(number, **changes):
    """Nothing else is observed then."""
    return record(number, Observed(run_lock=lock(**changes)))


def said(records):
    return [(problem['code'], problem['stop'], problem['message']) for problem in _verdict.from_inventory(records)['problems']]


END = 'Only if you are sure that it has ended, run again with -e repmgr_override_run=r0123456789.'


def test_who_is_at_work_and_what_can_be_done():
    records = [works(1, {'state': 'held', 'run': 'r2', 'boot': 'b'}), refuses(2), refuses(3, renewed_seconds=40)]
    assert said(records) == [(
        'other_run', True,
        'db2, db3: another run is at work: `ansible-playbook site.yml` by alice on ops1, for 12 min 3 s, last active 25 s ago; expected one run at a time. '
        'Wait for it to end. If it was killed, its lock ends in 1 min 35 s. ' + END)]


def test_a_connection_that_is_open():
    (dummy, dummy, message), = said([refuses(1), refuses(2, connected=True)])
    assert 'its lock ends with its SSH connection' in message and message.endswith(END)


def test_two_other_runs():
    assert len(said([refuses(1), refuses(2, run='r9')])) == 2


@pytest.mark.parametrize('changes, seen', [
    ({}, 'in the meantime: `ansible-playbook site.yml` by alice on ops1'),
    (_NOBODY, 'in the meantime; expected')])
def test_a_lock_that_was_lost(changes, seen):
    (code, stop, message), = said([works(1), refuses(2, **dict(changes, state='lost'))])
    assert (code, stop) == ('other_run', True) and message.startswith('db2: this run has lost its lock') and seen in message


@pytest.mark.parametrize('found', [None, {'state': 'held', 'run': 'r1', 'boot': 'b'}, {'state': 'unavailable', 'reason': 'no room'}, lock('seen')])
def test_what_stops_nobody(found):
    assert 'other_run' not in [code for code, dummy, dummy in said([works(1, found), works(2, found)])]


def test_no_playbook_goes_on():
    records = [works(1), refuses(2)]
    hosts = _verdict.hosts_from(records)
    assert _failover.failover_plan(hosts, _verdict.verdict(hosts))['refuse'].endswith(END)
    # Nobody needs it to promote a standby.
    hosts = _verdict.hosts_from([record(1), refuses(2)])
    assert _failover.failover_plan(hosts, _verdict.verdict(hosts), dead='db1')['refuse'].endswith(END)
    assert _removal.removal_plan(records, 'db2')['tolerated'] == []
    assert _problems_deploy.deploy_problems(_verdict.hosts_from(records)) == []


def test_status_tells_and_minds_nothing():
    found = _status.status([works(1, lock('seen')), works(2, lock('seen', for_seconds=60))])
    assert found['clusters'][0]['runs'] == [{
        'run': 'r0123456789', 'playbook': 'site.yml', 'user': 'alice', 'controller': 'ops1', 'nodes': ['db1', 'db2'], 'for_seconds': 723,
        'text': '`ansible-playbook site.yml` by alice on ops1, for 12 min 3 s, last active 25 s ago'}]
    assert 'run: `ansible-playbook site.yml` by alice on ops1, for 12 min 3 s, last' in _status.text(found)
    assert 'run:' not in _status.text(_status.status([works(1), works(2)]))
