# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode on a cluster that was built by hand: its servers run, and what the modules need is not installed."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest


@pytest.mark.parametrize('check, missing, without', [
    (True, ['python3-psycopg2', 'acl'], ['python3-psycopg2']),
    (True, ['acl'], []),
    (True, [], []),
    (True, None, []),
    (False, ['python3-psycopg2'], []),
])
def test_what_cannot_be_looked_at(host, check, missing, without):
    record = {'groups': ['primary'], 'cluster': 'lab', 'observed': {'missing_packages': missing}}
    assert host.value('__repmgr_without', ansible_check_mode=check, __repmgr_record=record) == without


def test_the_role_and_the_database_are_not_looked_at_then(host):
    tasks = [task for task in host.load('server', 'tasks', 'main.yml') if task.get('ansible.builtin.include_tasks') == 'database.yml']
    assert len(tasks) == 1 and '__repmgr_without | length == 0' in ' '.join(tasks[0]['when'])
