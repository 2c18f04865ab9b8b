# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Problems that stop every other run, and not the playbook that solves them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest


ALWAYS = ['* login_failed', '* stopped_ex_primary', '* unlisted_node']


@pytest.mark.parametrize('way, firewall, more', [
    # Another node that waits for its own rejoin is in nobody's way.
    ('attach', False, ['db1 vanished_data']), ('rewind', False, ['db1 vanished_data']), ('reclone', False, ['db1 vanished_data', 'db2 vanished_data']),
    ('attach', True, ['* postgresql_unreachable', 'db1 vanished_data'])])
def test_data_that_are_not_there_are_replaced_only_where_a_new_copy_is_asked_for(host, way, firewall, more):
    task, = [task for task in host.load('..', 'playbooks', 'rejoin.yml')[0]['tasks'] if '__repmgr_tolerated' in task.get('vars', {})]
    found = host.rendered(task['vars']['__repmgr_tolerated'], __repmgr_members=['db1', 'db2'], __repmgr_given={'target': 'db2', 'rejoin': way},
                          repmgr_manage_firewall=firewall)
    assert sorted(found) == sorted(ALWAYS + more)
