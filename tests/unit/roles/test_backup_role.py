# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role backup where no host is needed: whose units it removes, and what it refuses before it changes anything."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch

import pytest


def of_the_role(host, **given):
    return dict(host.load('backup', 'vars', 'main.yml'), **given)


@pytest.fixture
def value(host):
    def work_out(name, **given):
        variables = of_the_role(host, **given)
        return host.rendered(variables[name], **variables)
    return work_out


def test_units_of_a_cluster_with_a_longer_name_are_not_taken_for_those_of_this_one(value):
    patterns = value('__repmgr_backup_unit_names')
    for other in ('lab2', 'lab-eu', 'lab-watch'):
        for name in value('__repmgr_backup_unit_names', repmgr_cluster_name=other):
            assert not [pattern for pattern in patterns if fnmatch.fnmatch(name, pattern)], name


def test_all_units_that_are_written_can_be_removed(value):
    schedule = dict((kind, 'daily') for kind in ('full', 'differential', 'incremental'))
    written = [path.rpartition('/')[2] for path in value('__repmgr_backup_units', repmgr_backup_schedule=schedule)]
    assert sorted(value('__repmgr_backup_unit_names')) == sorted(written) and len(written) == 5


@pytest.mark.parametrize('said, changed', [({'stdout': ''}, False), ({}, False), ({'stdout': '{"created": true}'}, True), ({'stdout': '{"created": false}'}, False)])
def test_a_repository_that_cannot_be_made_ready_is_reported_by_the_next_task(host, said, changed):
    task = host.load('backup', 'tasks', 'create.yml')[0]
    assert host.rendered('{{ %s }}' % task['changed_when'], __repmgr_backup_created=dict(said, rc=1)) is changed
