# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that do not end: every one has a limit, and the error says which one was waited for."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import subprocess
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _command
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import Psql, PsqlError


class Module:
    """run_command as an AnsibleModule has it."""

    def __init__(self):
        self.calls = []

    def run_command(self, cmd, data=None, **options):
        self.calls.append((cmd, options.get('environ_update')))
        process = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate((data or '').encode('utf-8'))
        return process.returncode, out, err


@pytest.fixture
def module():
    return Module()


def test_a_program_that_hangs_is_ended_and_named(module):
    begun = time.time()
    with pytest.raises(_command.CommandError) as caught:
        _command.Runner(module).run(['sleep', '30'], timeout=1)
    assert caught.value.message == 'sleep 30 did not end within 1 s'
    assert time.time() - begun < 15


def test_a_caller_that_accepts_any_exit_code_can_tell(module):
    assert _command.ended_late(_command.Runner(module).run(['sleep', '30'], timeout=1, accept=None))
    assert not _command.ended_late(_command.Runner(module).run(['sh', '-c', 'exit 3'], accept=None))


def test_every_program_has_a_limit(module):
    _command.Runner(module).run(['true'])
    assert module.calls[0][0] == ['timeout', '-k', '10', str(_command.LIMIT), 'true']


def test_no_password_is_in_the_error(module):
    with pytest.raises(_command.CommandError) as caught:
        _command.Runner(module).run(['sh', '-c', 'sleep 30', 'host=a password=secret'], timeout=1)
    assert 'secret' not in caught.value.message and 'host=a' in caught.value.message


def test_no_statement_waits_for_standbys_or_without_a_limit(module, tmp_path):
    program = tmp_path / 'psql'
    program.write_text(u'#!/bin/sh\ntrue\n')
    program.chmod(0o755)
    Psql(_command.Runner(module), str(tmp_path)).tags('host=a', 'SELECT 1;')
    options = module.calls[0][1]['PGOPTIONS']
    assert '-c synchronous_commit=local' in options
    assert '-c lock_timeout=10000' in options and '-c statement_timeout=15000' in options


def test_a_psql_that_hangs_is_named_with_its_server(module, tmp_path, monkeypatch):
    program = tmp_path / 'psql'
    program.write_text(u'#!/bin/sh\nsleep 30\n')
    program.chmod(0o755)
    monkeypatch.setattr('ansible_collections.pgfleet.repmgr.plugins.module_utils._psql.LIMIT', 1)
    with pytest.raises(PsqlError) as caught:
        Psql(_command.Runner(module), str(tmp_path)).tags('host=a password=secret', 'SELECT 1;', statement_timeout=-59)
    assert str(caught.value) == 'psql did not end within 1 s, connecting to host=a'
