# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command by which failover promotes: under the locks of the guards, where there is one that knows how."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

GUARD = ['/usr/local/sbin/repmgr-guard', 'promote-by-hand', '--']
PROMOTE = ['/bin/repmgr', '-f', '/etc/repmgr.conf', 'standby', 'promote', '--siblings-follow']


def guarded(host):
    """What is done once the old primary cannot start any more."""
    return host.load('primary', 'tasks', 'failover.yml')[-1]


def test_whatever_fails_after_the_old_primary_was_fenced_says_so(host):
    tasks = host.load('primary', 'tasks', 'failover.yml')
    names = [task['name'] for task in tasks]
    assert names.index('Mask PostgreSQL on the old primary') == len(tasks) - 2 and 'rescue' in tasks[-1]
    assert 'Promote the standby and let its siblings follow' in [task['name'] for task in tasks[-1]['block']]


def test_a_server_that_was_stopped_is_masked_and_not_stopped_again(host):
    """Its guard may have started it since, and clients may write to it: the second observation finds that."""
    stop, = [task for task in host.load('primary', 'tasks', 'failover.yml') if task.get('ansible.builtin.systemd', {}).get('state') == 'stopped']
    for state, stopped in (('stopped', False), ('running', True)):
        given = {'__repmgr_failover': {'fence': ['base-centos-1']}, 'inventory_hostname': 'base-centos-1',
                 '__repmgr_record': {'observed': {'server': {'state': state}}}}
        assert host.rendered('{{ %s }}' % stop['when'], **given) is stopped


@pytest.mark.parametrize('failed, name, check, said', [
    ({'msg': 'non-zero return code', 'stderr': 'ERROR: no\n'}, 'base-centos-2', False, 'ERROR: no a: masked'),
    ({'msg': 'things have changed. Nobody was promoted; repmgrd is paused.'}, 'base-centos-1', False,
     'things have changed. Nobody was promoted; repmgrd is paused. a: masked'),
    ({'msg': 'see there.'}, 'base-centos-3', False, 'see there. Fix the error reported there, and run again.'),
    ({'msg': 'no'}, 'base-centos-2', True, 'no Fix the error reported there, and run again.'),
])
def test_what_a_failover_that_fails_says(host, failed, name, check, said):
    task, = guarded(host)['rescue']
    given = {'ansible_failed_result': failed, 'inventory_hostname': name, 'ansible_check_mode': check, '__repmgr_says_why': name == 'base-centos-1',
             '__repmgr_failover': {'target': 'base-centos-2', 'left': {'text': 'a: masked', 'steps': []}}}
    assert host.rendered(task['ansible.builtin.fail']['msg'], **dict(given, **task['vars'])) == said


@pytest.mark.parametrize('guard, old, configured, check, argv', [
    ({'running': True}, False, True, False, GUARD + PROMOTE),
    ({'running': False}, False, True, False, GUARD + PROMOTE),
    (None, False, True, False, PROMOTE),
    ({'running': True}, True, True, False, PROMOTE),
    ({'running': True}, False, False, False, PROMOTE),
    ({'running': True}, False, True, True, PROMOTE + ['--dry-run']),
])
def test_the_promotion(host, guard, old, configured, check, argv):
    task, = [task for task in guarded(host)['block'] if 'standby' in str(task.get('ansible.builtin.command', ''))]
    record = {'groups': ['standby'], 'observed': {'guard': guard, 'files': {'/etc/pgfleet/guard.json': 'x'} if configured else {}}}
    given = dict(__repmgr_record=record, __repmgr_guard_is_old=old, ansible_check_mode=check, __repmgr_bin_dir='/bin', __repmgr_conf='/etc/repmgr.conf')
    assert host.rendered(task['ansible.builtin.command']['argv'], **dict(given, **task['vars'])) == argv
