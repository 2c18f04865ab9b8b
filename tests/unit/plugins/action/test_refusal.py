# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils._refusal import say_refusal

REFUSAL = {"node": "db1", "seen": "is stopped", "expected": "a standby", "steps": [_steps.playbook("rejoin", repmgr_target="db1")]}


@pytest.mark.parametrize("installed, command", [
    (True, "ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1"),
    (False, "ansible-playbook playbooks/rejoin.yml -e repmgr_target=db1"),
])
def test_a_refusal_is_said_as_the_controller_has_the_playbooks(monkeypatch, installed, command):
    monkeypatch.setattr(_steps, "INSTALLED", installed)
    result = say_refusal({"failed": True, "msg": "as the host says it", "refusal": REFUSAL})
    assert result["msg"] == "db1: is stopped; expected a standby. Type: %s" % command


@pytest.mark.parametrize("result", [
    {"changed": True}, {"failed": True, "msg": "no route"}, {"changed": False, "msg": "", "refusal": REFUSAL}, {"failed": True, "msg": "m", "refusal": None}])
def test_everything_else_stays_as_it_is(result):
    assert say_refusal(dict(result)) == result
