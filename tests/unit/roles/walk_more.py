# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""More of what goes wrong, for test_walk.py: what is seen on a host or written in the inventory beside the state of the servers, and networks.

A flaw is only there to be seen: Member.flaws has what it changes in the observation and in the record of the host. What a text says takes it away, or a
playbook. CURES has the text.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from walk_world import NUMBERS

# {code: the text of the step that takes it away}
CURES = {
    'other_server': r'^Set repmgr_postgresql_version|^Correct repmgr_data_directory',
    'unresolved': r'^Set repmgr_address of',
    'ssh_unreachable': r'^Check firewall, sshd and repmgr_address',
    'postgresql_unreachable': r'^Check firewall, listen_addresses and repmgr_address',
    'port_taken': r'^Stop it, or set repmgr_port',
    'restore_unfinished': r'^Run the playbook restore again',
    'witness_is_copy': r'empty its data directory yourself',
    'config_of_other_node': r'^Hosts or ids may be swapped in the inventory',
    'swapped': r'^Compare repmgr_node_id in the inventory|^Hosts or ids may be swapped in the inventory',
    'witness_as_standby': r'^Put it into the witness group',
    'standby_as_witness': r'^Put it into the standby group|^Put the host into the standby group',
    'archive_failing': r'^Its errors are in the log of PostgreSQL',
    'changed_port': r'^Set repmgr_port: ',
    'changed_name': r'^Set repmgr_user: ',
    'changed_password': r'^Until the cluster is healthy, set the old one again',
    'other_hba_file': r'^Move what is in the first one there',
}
CURES = dict((code, re.compile(words)) for code, words in CURES.items())
# What a playbook takes away.
BY_PLAYBOOK = {'verify_backup': ('backup_verify_old', 'backup_verify_failed'), 'rotate_credentials': ('changed_password',)}


def cured(world, text):
    """Take away what a text says. Returns whether it says anything of a flaw."""
    codes = [code for code, words in CURES.items() if words.search(text)]
    for member in world.members.values():
        for code in codes:
            if code in member.flaws and code == 'witness_is_copy':
                member.data, member.server, member.repmgrd, member.rows = 'empty', 'stopped', False, {}
            if code == 'ssh_unreachable' or code == 'postgresql_unreachable':
                member.apart = False
            member.flaws.pop(code, None)
    return bool(codes)


def cured_by(world, playbook):
    for member in world.members.values():
        for code in BY_PLAYBOOK.get(playbook, ()):
            member.flaws.pop(code, None)


def flaw(member, code, observed=None, record=None):
    member.flaws[code] = {'observed': observed or {}, 'record': record or {}}


def reach(name, number, **states):
    return dict({'name': name, 'address': '10.0.0.%d' % number, 'ssh': 'open', 'postgresql': 'open', 'port': 5432, 'ssh_port': 22}, **states)


# -- faults: (world, draw) -> False where one does not apply

def host_apart(world, draw):
    """The other hosts do not reach it, nor it them; the controller does. A guard stops a primary for that, and the others elect."""
    member = world.any_of(world.members.values(), draw)
    if member is None or any(other.apart for other in world.members.values()):
        return False
    member.apart = True
    if member.writes() and member.guard:
        member.server, member.repmgrd = 'stopped', False
        member.mark = {'code': 'isolated', 'peers': [other.name for other in world.members.values() if other is not member], 'since': 1}


def way_is_closed(world, draw):
    one, other = draw.sample(sorted(world.members), 2)
    kind = draw.choice(['unresolved', 'ssh_unreachable', 'postgresql_unreachable'])
    states = {'unresolved': {'ssh': 'unresolved'}, 'ssh_unreachable': {'ssh': 'timeout'}, 'postgresql_unreachable': {'postgresql': 'timeout'}}[kind]
    flaw(world.members[one], kind, {'reach': [reach(other, NUMBERS[other], **states)]})


def port_taken(world, draw):
    member = world.any_of([member for member in world.members.values() if member.server == 'stopped'], draw)
    if member is None:
        return False
    flaw(member, 'port_taken', {'reach': [reach(member.name, member.number)]})


def other_server(world, draw):
    member = world.any_of(world.members.values(), draw)
    flaw(member, 'other_server', {'elsewhere': [{'file': '/etc/repmgr.conf', 'data_directory': '/old', 'node_id': member.number, 'major': '14'}]})


def restore_unfinished(world, draw):
    primary = world.primary()
    if primary is None:
        return False
    flaw(primary, 'restore_unfinished', {'restore': {'phase': draw.choice(['swapping', 'swapped']), 'target': 'a time'}})


def restores_itself(world, draw):
    """Somebody has restored data there, to look at them, or to make the node what it was."""
    member = world.any_of([member for member in world.data() if member.signal and member.data == 'valid'], draw)
    if member is None:
        return False
    member.signal, member.upstream, member.promotes_itself, member.repmgrd = False, None, True, False
    member.server = draw.choice(['running', 'stopped'])


def unrecognised_data(world, draw):
    member = world.any_of([member for member in world.data() if member.signal], draw)
    if member is None:
        return False
    member.data, member.server, member.repmgrd, member.deployed = 'unrecognised', 'stopped', False, False


def old_repmgr(world, draw):
    for member in world.members.values():
        member.packages_version = member.extension = '4.3'


def witness_is_copy(world, draw):
    found = [member for member in world.members.values() if member.group == 'witness']
    if not found:
        return False
    flaw(found[0], 'witness_is_copy')


def config_of_other_node(world, draw):
    flaw(world.any_of(world.members.values(), draw), 'config_of_other_node', {'config': {'node_id': 77, 'node_name': 'other', 'failover': 'automatic'}})


def ids_swapped(world, draw):
    one, other = [world.members[name] for name in draw.sample(sorted(world.members), 2)]
    flaw(one, 'swapped', record={'node_id': '%d' % other.number})
    flaw(other, 'swapped', record={'node_id': '%d' % one.number})


def wrong_group(world, draw):
    member = world.any_of([member for member in world.members.values() if member.group != 'primary'], draw)
    if any('groups' in each['record'] for other in world.members.values() for each in other.flaws.values()):
        # Where no server runs, two that are exchanged would look as they should.
        return False
    code, group = ('witness_as_standby', 'standby') if member.group == 'witness' else ('standby_as_witness', 'witness')
    flaw(member, code, record={'initial_role': group, 'groups': [group]})


def witness_copy_is_old(world, draw):
    found, primary = [member for member in world.members.values() if member.is_witness], world.primary()
    if not found or primary is None:
        return False
    found[0].rows.pop(primary.number, None)
    found[0].repmgrd = False


def archive_failing(world, draw):
    primary = world.primary()
    if primary is None:
        return False
    flaw(primary, 'archive_failing', {'backup': {
        'settings': {'max_age': 30}, 'now': 100, 'judged': {'state': 'ok', 'last': {'label': 'x', 'ended': 10}},
        'archiver': {'failing': True, 'last_failed_wal': '000000010000000000000003'}}})


def restore_drill(world, draw):
    primary = world.primary()
    if primary is None:
        return False
    failed = draw.random() < 0.5
    flaw(primary, 'backup_verify_failed' if failed else 'backup_verify_old', {'verified': {
        'now': 10 ** 6, 'max_age': 24,
        'last': {'ok': not failed, 'ended': 10, 'label': 'x', 'node': 'b', 'problem': 'a checksum is wrong', 'seconds': {},
                 'kind': draw.choice(['query', 'data'])}}})


def inventory_changed(world, draw):
    """What site refuses to change. Only a deployment looks for it."""
    code = draw.choice(['changed_port', 'changed_name', 'changed_password', 'other_hba_file'])
    change = {'changed_port': {'port': '5433'}, 'changed_name': {'user': 'other', 'database': 'repmgr'}, 'changed_password': {'other_password': True},
              'other_hba_file': {}}[code]
    seen = {'hba': {'other': '/etc/pg_hba.conf', 'file': '/data/pg_hba.conf'}} if code == 'other_hba_file' else {}
    for member in world.members.values():
        flaw(member, code, seen, change)


FAULTS = dict((function.__name__, function) for function in (
    host_apart, way_is_closed, port_taken, other_server, restore_unfinished, restores_itself, unrecognised_data, old_repmgr, witness_is_copy,
    config_of_other_node, ids_swapped, wrong_group, witness_copy_is_old, archive_failing, restore_drill, inventory_changed))


# -- a failover between two looks

def elected(world, draw):
    """The primary dies while somebody follows a step, and a standby is elected. Returns whether that was possible."""
    primary = world.primary()
    if primary is None or primary.host not in ('up', 'cut') or primary.server != 'running':
        return None
    votes = [member for member in world.members.values() if member is not primary and member.runs() and not member.apart]
    able = [member for member in votes if world.streams(member) and member.repmgrd and not member.paused and member.upstream == primary.name
            and primary.rows.get(member.number, {}).get('type') == 'standby']
    if not able or any(member.paused for member in votes) or 2 * len([member for member in votes if member.repmgrd]) <= len(primary.rows):
        return None
    target = max(able, key=lambda member: (member.lsn, -member.number))
    primary.server, primary.repmgrd = 'stopped', False
    if draw.random() < 0.3:
        primary.power_off()
    return primary, target
