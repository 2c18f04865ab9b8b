# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _leave, _repmgr

GUARD = '/usr/local/sbin/repmgr-guard'
CONF = """# Ansible managed
node_id=101
node_name='base-centos-1'
conninfo='host=192.168.56.101 user=repmgr dbname=repmgr sslmode=verify-full sslrootcert=/etc/pgfleet/tls/root.crt'
service_start_command='sudo /usr/bin/systemctl start postgresql@15-main'
repmgrd_service_start_command='sudo /usr/bin/systemctl start repmgrd'
repmgrd_service_stop_command='sudo /usr/bin/systemctl stop repmgrd'
failover='automatic'
promote_command='/usr/local/sbin/repmgr-guard promote -- /usr/lib/postgresql/15/bin/repmgr standby promote -f /etc/repmgr.conf --log-to-file'
follow_command='/usr/lib/postgresql/15/bin/repmgr standby follow -f /etc/repmgr.conf --log-to-file --upstream-node-id=%n'
failover_validation_command='/usr/local/sbin/repmgr-guard promote'
event_notification_command='/opt/guard/repmgr-guard promote -- %n it''s'
"""


def test_only_what_needs_our_programs_changes():
    text = _leave.plain_conf(CONF, GUARD, 'repmgrd-plain')
    before, after = _repmgr.parse_config(CONF), _repmgr.parse_config(text)
    assert before.pop('failover_validation_command') and 'failover_validation_command' not in after
    changed = {name: after[name] for name in before if after[name] != before[name]}
    assert changed == {
        'promote_command': '/usr/lib/postgresql/15/bin/repmgr standby promote -f /etc/repmgr.conf --log-to-file',
        'repmgrd_service_start_command': 'sudo /usr/bin/systemctl start repmgrd-plain',
        'repmgrd_service_stop_command': 'sudo /usr/bin/systemctl stop repmgrd-plain'}
    assert GUARD not in text and 'Ansible managed' not in text and set(after) == set(before)
    assert _leave.plain_conf(text, GUARD, 'repmgrd-plain') == text


@pytest.mark.parametrize('line', ["promote_command='/opt/vip.sh up'", "failover_validation_command='/opt/ask.sh %n'",
                                  "repmgrd_service_start_command='sudo systemctl start repmgrd-15'", "# promote_command='%s promote -- x'" % GUARD])
def test_what_is_the_operators_stays(line):
    assert _leave.plain_conf(line + '\n', GUARD, 'repmgrd-plain') == line + '\n'


def observed(in_recovery=True, nodes=((101, None), (102, 101), (103, 101), (104, 103)), slots=(('repmgr_slot_101', False),)):
    return {'server': {'in_recovery': in_recovery}, 'slots': [{'slot_name': name, 'active': active} for name, active in slots],
            'repmgr': {'nodes': None if nodes is None else [{'node_id': number, 'upstream_node_id': above} for number, above in nodes]}}


@pytest.mark.parametrize('change, spare', [
    ({}, ['repmgr_slot_101']),
    ({'slots': [('repmgr_slot_102', False), ('repmgr_slot_104', False)]}, ['repmgr_slot_102']),
    ({'slots': [('repmgr_slot_102', True), ('backup', False), ('repmgr_slot_x', False)]}, []),
    # A vote that nobody counts any more, and the slot that the guard of a primary keeps for a node that streams from another standby.
    ({'slots': [('pgfleet_vote_0000000002_101', False)]}, ['pgfleet_vote_0000000002_101']), ({'slots': [('pgfleet_vote_mine', False)]}, []),
    ({'in_recovery': False}, []), ({'in_recovery': None}, []), ({'nodes': None}, []),
    ({'in_recovery': False, 'slots': [('repmgr_slot_102', False), ('repmgr_slot_104', True), ('repmgr_slot_105', False)]}, ['repmgr_slot_102']),
    ({'in_recovery': False, 'slots': [('repmgr_slot_104', False), ('pgfleet_vote_0000000002_101', False)]}, ['pgfleet_vote_0000000002_101']),
], ids=str)
def test_which_slots_nobody_would_use(change, spare):
    assert _leave.spare_slots(observed(**change), 103) == spare
