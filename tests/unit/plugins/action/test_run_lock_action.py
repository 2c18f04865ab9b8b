# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller does if another run has the lock. The answers of the nodes are fake."""

from __future__ import annotations

import types

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.pgfleet.repmgr.plugins.action import repmgr_cluster_info
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _this_run

OWN = {'run': 'r1', 'playbook': 'site.yml', 'user': 'bob', 'controller': 'ops2', 'process': {}}
HELD = {'state': 'held', 'run': 'r1', 'boot': 'b'}


def other(state='refused', run='r0', **changes):
    return dict(OWN, state=state, run=run, for_seconds=99, renewed_seconds=5, connected=True, displaced='', **changes)


@pytest.fixture
def asked(monkeypatch):
    """asked(args, answers, dead) -> (last answer, [lock of each question], seconds waited)"""
    def asks(args, answers, dead=()):
        locks, waited = [], []

        def execute(self, module_args=None, task_vars=None, wrap_async=None):
            locks.append((module_args or args).get('lock'))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            return {'observed': {'run_lock': answer}}
        monkeypatch.setattr(ActionBase, 'run', lambda self, tmp=None, task_vars=None: {})
        monkeypatch.setattr(ActionBase, '_execute_module', execute)
        monkeypatch.setattr(_this_run, 'this_run', lambda: OWN)
        monkeypatch.setattr(_this_run, 'is_over', lambda found, own: found['run'] in dead)
        monkeypatch.setattr(repmgr_cluster_info, 'time', types.SimpleNamespace(monotonic=lambda: float(sum(waited)), sleep=waited.append))
        action = object.__new__(repmgr_cluster_info.ActionModule)
        action._task = types.SimpleNamespace(args=args, async_val=0)
        return action.run()['observed']['run_lock'], locks, sum(waited)
    return asks


def test_without_a_lock_nothing_is_added(asked):
    assert asked({'name': 'db1'}, [None]) == (None, [None], 0)


def test_taken_at_once(asked):
    found, locks, waited = asked({'lock': {'before': 'b'}}, [HELD])
    assert (found, waited) == (HELD, 0)
    assert locks == [{'before': 'b', 'run': OWN, 'override': []}]


def test_another_run_that_lives(asked):
    found, locks, waited = asked({'lock': {}}, [other()])
    assert (found['state'], len(locks), waited) == ('refused', 1, 0)


def test_a_dead_run_of_this_controller_is_not_waited_for(asked):
    found, locks, waited = asked({'lock': {'override': ['r7']}}, [other(run='r5', **{'playbook': 'x'}), HELD], dead=['r5'])
    assert (found, waited) == (HELD, 0)
    assert [lock['override'] for lock in locks][-1] == ['r7', 'r5']


def test_a_lock_that_cannot_be_taken_from_the_dead(asked):
    found, locks, waited = asked({'lock': {}}, [other()], dead=['r0'])
    assert (found['state'], len(locks), waited) == ('refused', 2, 0)


def test_who_gives_way_is_waited_for(asked):
    young = dict(other(run='r2'), for_seconds=1)
    assert asked({'lock': {}}, [young, young, HELD])[::2] == (HELD, 2)
    # And no longer than it takes to give way.
    found, dummy, waited = asked({'lock': {}}, [young])
    assert (found['state'], waited) == ('refused', 30)
    assert asked({'lock': {}}, [dict(other(run='r0'), for_seconds=1)])[2] == 0


def test_who_has_taken_it_for_dead_is_waited_for(asked):
    lost = dict(other('lost', 'r0'), displaced='r1')
    assert asked({'lock': {'before': 'b'}}, [lost, HELD])[::2] == (HELD, 1)
    assert asked({'lock': {'before': 'b'}}, [other('lost', 'r0')], dead=['r0'])[::2] == (other('lost', 'r0'), 0)
