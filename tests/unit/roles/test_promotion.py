# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command by which failover promotes: under the locks of the guards, where there is one that knows how."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

GUARD = ['/usr/local/sbin/repmgr-guard', 'promote-by-hand', '--']
PROMOTE = ['/bin/repmgr', '-f', '/etc/repmgr.conf', 'standby', 'promote', '--siblings-follow']


@pytest.mark.parametrize('guard, old, configured, check, argv', [
    ({'running': True}, False, True, False, GUARD + PROMOTE),
    ({'running': False}, False, True, False, GUARD + PROMOTE),
    (None, False, True, False, PROMOTE),
    ({'running': True}, True, True, False, PROMOTE),
    ({'running': True}, False, False, False, PROMOTE),
    ({'running': True}, False, True, True, PROMOTE + ['--dry-run']),
])
def test_the_promotion(host, guard, old, configured, check, argv):
    task, = [task for task in host.load('primary', 'tasks', 'failover.yml') if 'standby' in str(task.get('ansible.builtin.command', ''))]
    record = {'groups': ['standby'], 'observed': {'guard': guard, 'files': {'/etc/pgfleet/guard.json': 'x'} if configured else {}}}
    given = dict(__repmgr_record=record, __repmgr_guard_is_old=old, ansible_check_mode=check, __repmgr_bin_dir='/bin', __repmgr_conf='/etc/repmgr.conf')
    assert host.rendered(task['ansible.builtin.command']['argv'], **dict(given, **task['vars'])) == argv
