# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role backup where no host is needed: whose units it removes, and what it refuses before it changes anything."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup


def of_the_role(host, **given):
    return dict(host.load('backup', 'vars', 'main.yml'), **given)


@pytest.fixture
def value(host):
    def work_out(name, **given):
        variables = of_the_role(host, **given)
        return host.rendered(variables[name], **variables)
    return work_out


def test_units_of_a_cluster_with_a_longer_name_are_not_taken_for_those_of_this_one(value):
    patterns = value('__repmgr_backup_units')['names']
    for other in ('lab2', 'lab-eu', 'lab-watch'):
        for name in value('__repmgr_backup_units', repmgr_cluster_name=other)['names']:
            assert not [pattern for pattern in patterns if fnmatch.fnmatch(name, pattern)], name


def test_all_units_that_are_written_can_be_removed(value):
    schedule = dict((kind, 'daily') for kind in ('full', 'differential', 'incremental'))
    written = [path.rpartition('/')[2] for path in value('__repmgr_backup_units', repmgr_backup_schedule=schedule)['files']]
    assert sorted(value('__repmgr_backup_units')['names']) == sorted(written) and len(written) == 5


@pytest.mark.parametrize('said, changed', [
    ({'stdout': ''}, False), ({}, False), ({'stdout': '{"created": true}'}, True), ({'stdout': '{"created": false}'}, False),
])
def test_a_repository_that_cannot_be_made_ready_is_reported_by_the_next_task(host, said, changed):
    task = host.load('backup', 'tasks', 'create.yml')[0]
    assert host.rendered('{{ %s }}' % task['changed_when'], __repmgr_backup_created=dict(said, rc=1)) is changed


@pytest.mark.parametrize('other, kept', [([], False), (['/etc/pgfleet/backup/lab/node.json'], False), (['/etc/pgfleet/backup/lab-eu/repository.json'], True)])
def test_the_program_stays_as_long_as_another_cluster_needs_it(host, other, kept):
    task, = [task for task in host.load('backup', 'tasks', 'remove.yml') if task['name'].startswith('Remove the backup program')]
    given = of_the_role(host, __repmgr_backup_host='r', __repmgr_backup_found={'files': []}, __repmgr_backup_keeps=False,
                        __repmgr_backup_configured={'files': [{'path': path} for path in other]})
    files = host.rendered(task['loop'], **dict(given, **task['vars']))
    assert ('/usr/local/sbin/repmgr-backup' not in files) is kept and files[-1] == '/etc/pgfleet/backup/lab/node.json'


def test_a_node_is_removed_without_the_host_of_the_repository(host):
    """Votes first; and the program stays on a witness that keeps the repository."""
    tasks = host.play('remove_node')['tasks']
    names = [task['name'] for task in tasks]
    assert names.index('Update the votes on the primary') < names.index('Remove the target from the backup repository') < names.index('Show the cluster status')
    task = tasks[names.index("Remove the collection's files from the target")]
    places = dict.fromkeys(('__repmgr_conf', '__repmgr_config_dir', '__repmgr_service'), 'x')
    files = host.rendered(task['loop'], **places)
    assert '/usr/local/sbin/repmgr-backup' not in files and '/usr/local/sbin/repmgr-guard' in files


def test_the_schedule_is_understood_by_the_systemd_of_centos_7(host):
    """Version 219 has no ranges of days."""
    schedule = host.load('common', 'defaults', 'main.yml')['repmgr_backup_schedule']
    assert schedule == host.load('common', 'meta', 'argument_specs.yml')['argument_specs']['main']['options']['repmgr_backup_schedule']['default']
    assert not [value for value in schedule.values() if '..' in value or not _backup.is_calendar(value)]


@pytest.mark.parametrize('members, spoke, refused', [
    ({'a': {}, 'b': {'__repmgr_backup_host_keys': {}, '__repmgr_backup_host_version': {'stdout': 'pgBackRest 2.45'}}}, 'b', False),
    ({'a': {}, 'b': {'__repmgr_backup_host_keys': {}, '__repmgr_backup_host_version': {'stdout': 'pgBackRest 2.50'}}}, 'b', True),
    ({'a': {}, 'b': {}}, '', None),
])
def test_every_data_node_compares_its_version(host, members, spoke, refused):
    """Not only the one that has configured the host of the repository."""
    given = of_the_role(host, __repmgr_members=['a', 'b'], hostvars=dict((name, dict(more, inventory_hostname=name)) for name, more in members.items()),
                        __repmgr_backup_node_version={'stdout': 'pgBackRest 2.45'})
    configured, same = [task['ansible.builtin.assert']['that'] for task in host.load('backup', 'tasks', 'access.yml')[:2]]
    assert host.rendered(given['__repmgr_backup_spoke'], **given) == spoke
    assert host.rendered('{{ %s }}' % configured, **given) is bool(spoke)
    assert refused is None or host.rendered('{{ %s }}' % same, **given) is not refused
