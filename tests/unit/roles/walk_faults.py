# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong with the model of walk_world.py, and what a person does about it, for test_walk.py."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import copy
import re

import walk_more
from walk_world import CLUSTER, FOREIGN, LAYOUTS, MB, NEW, NUMBERS, World

FAULTS = {}


def fault(function):
    FAULTS[function.__name__.strip('_')] = function
    return function


def primary_of(world):
    return world.primary()


def standbys(world):
    return [member for member in world.data() if member.signal and member.data == 'valid']


any_of = World.any_of


# -- faults: each returns False where it does not apply

@fault
def server_stopped(world, draw):
    member = any_of([member for member in world.members.values() if member.server == 'running'], draw)
    if member is None:
        return False
    member.server, member.repmgrd, member.on_purpose = 'stopped', False, draw.random() < 0.5


@fault
def host_off(world, draw):
    member = any_of([member for member in world.members.values() if member.host == 'up'], draw)
    if member is None:
        return False
    member.power_off()


@fault
def host_lost(world, draw):
    """For good. The last host stays."""
    member = any_of([member for member in world.members.values() if member.host == 'up'], draw)
    if member is None or sum(1 for other in world.members.values() if other.host in ('up', 'cut')) < 2:
        return False
    member.power_off()
    member.host = 'lost'


@fault
def host_cut(world, draw):
    member = any_of([member for member in world.members.values() if member.host == 'up'], draw)
    if member is None:
        return False
    member.host = 'cut'


@fault
def failed_over(world, draw):
    """A standby was elected, and the old primary is stopped, with or without something that nobody else has."""
    primary, target = primary_of(world), any_of([member for member in standbys(world) if world.streams(member)], draw)
    if primary is None or target is None or primary.server != 'running':
        return False
    if draw.random() < 0.5:
        world.write(primary)
        primary.rewindable = draw.random() < 0.7
    primary.server, primary.repmgrd = 'stopped', False
    primary.masked = draw.random() < 0.3
    promoted(world, primary, target, follows=draw.random() < 0.8)


def promoted(world, primary, target, follows=True, registered=True):
    world.promote(target)
    if registered:
        target.rows[primary.number]['active'] = False
        target.rows[target.number] = world.row(target.name, 'primary', None)
    for other in world.members.values():
        row = target.rows.get(other.number)
        if follows and registered and other not in (primary, target) and row and other.runs():
            row['upstream_node_id'] = target.number
            other.upstream = target.name if other.signal else None
            if other.is_witness:
                other.rows = copy.deepcopy(target.rows)


@fault
def promotion_not_registered(world, draw):
    """`repmgr standby promote`, or pg_promote() by hand, was ended before the new primary was registered."""
    primary, target = primary_of(world), any_of([member for member in standbys(world) if world.streams(member)], draw)
    if primary is None or target is None:
        return False
    primary.server, primary.repmgrd, primary.masked = 'stopped', False, draw.random() < 0.5
    promoted(world, primary, target, follows=False, registered=False)


@fault
def failed_promotion(world, draw):
    """A run of failover has stopped and masked the old primary, and has failed before it promoted."""
    primary = primary_of(world)
    if primary is None or primary.host != 'up' or not standbys(world):
        return False
    primary.server, primary.masked, primary.repmgrd = 'stopped', True, False
    for member in world.members.values():
        if member.host == 'up':
            member.note = 'failover'
            member.paused = True


@fault
def two_primaries(world, draw):
    primary, target = primary_of(world), any_of([member for member in standbys(world) if world.streams(member)], draw)
    if primary is None or target is None:
        return False
    promoted(world, primary, target, follows=draw.random() < 0.5)
    world.write(primary)


@fault
def guard_stopped_primary(world, draw):
    primary = primary_of(world)
    if primary is None:
        return False
    others = [member for member in world.members.values() if member is not primary]
    for other in others[:len(others) // 2 + 1]:
        if other.host == 'up':
            other.power_off()
    primary.server, primary.repmgrd = 'stopped', False
    primary.mark = {'code': draw.choice(['isolated', 'stood_still', 'fuse']), 'peers': [other.name for other in others if other.host == 'off'], 'since': 1}
    primary.guard = draw.random() < 0.7


@fault
def detached(world, draw):
    member = any_of(standbys(world), draw)
    if member is None:
        return False
    member.upstream = None


@fault
def wrong_upstream(world, draw):
    found = standbys(world)
    member = any_of(found, draw)
    other = any_of([each for each in found if each is not member and each.upstream != member.name], draw) if member else None
    if other is None:
        return False
    member.upstream = other.name


@fault
def diverged(world, draw):
    """A standby has what its primary never had."""
    member = any_of(list(standbys(world)), draw)
    if member is None:
        return False
    world.write(member, 2 * MB)
    member.rewindable = draw.random() < 0.7


@fault
def wal_lost(world, draw):
    primary, member = primary_of(world), any_of([each for each in standbys(world) if each.server == 'running'], draw)
    if primary is None or member is None:
        return False
    world.write(primary, 50 * MB)
    primary.oldest = primary.lsn - 10 * MB
    for other in standbys(world):
        if other is not member and other.lsn < primary.oldest and world.contains(primary, other):
            other.timeline, other.lsn = primary.timeline, primary.lsn


@fault
def slot_stale(world, draw):
    member = primary_of(world)
    if member is None:
        return False
    member.slots.add(draw.choice([name for name in world.members if name != member.name] + ['x']))


@fault
def repmgrd_down(world, draw):
    any_of(world.members.values(), draw).repmgrd = False


@fault
def repmgrd_paused(world, draw):
    by = draw.choice(['', 'failover', 'restart', 'maintenance', 'leave'])
    for member in world.members.values():
        if draw.random() < 0.8:
            member.paused, member.note = True, by


@fault
def not_preloaded(world, draw):
    member = any_of(world.members.values(), draw)
    member.preloaded = member.repmgrd = False


@fault
def guard_down(world, draw):
    member = any_of(world.data(), draw)
    member.guard, member.guard_enabled = draw.choice([(False, True), (False, False), (True, False)])


@fault
def fuse_down(world, draw):
    any_of(world.data(), draw).fuse = False


@fault
def record_changed(world, draw):
    """A record that is gone, inactive or of the wrong type or upstream."""
    primary = primary_of(world)
    if primary is None:
        return False
    name = draw.choice([name for name in world.members if name != primary.name])
    row = primary.rows.get(NUMBERS[name])
    if row is None:
        return False
    kind = draw.choice(['gone', 'inactive', 'primary', 'upstream'])
    if kind == 'gone':
        del primary.rows[NUMBERS[name]]
    else:
        row.update({'inactive': {'active': False}, 'primary': {'type': 'primary', 'active': draw.random() < 0.5, 'upstream_node_id': None},
                    'upstream': {'upstream_node_id': 9}}[kind])
        if row['type'] == 'primary' and world.members[name].is_witness:
            row['type'] = 'witness'


@fault
def own_record_changed(world, draw):
    primary = primary_of(world)
    if primary is None or primary.number not in primary.rows:
        return False
    primary.rows[primary.number].update(draw.choice([{'active': False}, {'type': 'standby', 'upstream_node_id': None}]))


@fault
def unlisted_node(world, draw):
    for member in world.members.values():
        member.rows[9] = dict(member.rows.get(member.number, {}), node_id=9, node_name='x', type='standby', upstream_node_id=1, active=draw.random() < 0.5,
                              conninfo='host=10.0.0.9 port=5432 user=repmgr dbname=repmgr')


@fault
def data_vanished(world, draw):
    """Its file system is not mounted, or they are lost; the server went down with them."""
    member = any_of([member for member in world.members.values() if member.data == 'valid' and not member.writes()], draw)
    if member is None:
        return False
    member.server, member.repmgrd, member.data = 'stopped', False, draw.choice(['missing', 'empty'])
    member.deployed = draw.random() < 0.8
    member.mount_is_missing = member.deployed and draw.random() < 0.6
    member.config = member.deployed


@fault
def clone_interrupted(world, draw):
    member = any_of(list(standbys(world)), draw)
    if member is None:
        return False
    member.server, member.repmgrd, member.data, member.clone_begun = 'stopped', False, draw.choice(['partial', 'missing']), True


@fault
def data_unknown(world, draw):
    member = any_of([member for member in standbys(world) if member.server == 'stopped'], draw)
    if member is None:
        return False
    member.data = 'unknown'


@fault
def server_silent(world, draw):
    member = any_of([member for member in world.members.values() if member.server == 'running'], draw)
    if member is None:
        return False
    member.server = draw.choice(['silent', 'starting', 'unknown'])


@fault
def foreign_data(world, draw):
    member = any_of(list(standbys(world)), draw)
    if member is None:
        return False
    member.identifier, member.signal, member.upstream = FOREIGN, False, None
    member.server, member.repmgrd = draw.choice(['stopped', 'running']), False
    member.rows = {} if draw.random() < 0.5 else {50: dict(world.row(member.name, 'primary', None), node_id=50, node_name='elsewhere')}


@fault
def logins_failed(world, draw):
    names = sorted(world.members)
    one, other = draw.sample(names, 2)
    world.members[one].deaf_to.add(other)


@fault
def certificate(world, draw):
    member = any_of(world.members.values(), draw)
    kind = draw.choice(['error', 'days', 'authority'])
    if kind == 'error':
        member.certificate = 'has expired'
    elif kind == 'days':
        member.days = 3
    else:
        for each in world.members.values():
            each.authority = 20


@fault
def restart_pending(world, draw):
    any_of(world.members.values(), draw).restart = True


@fault
def other_version(world, draw):
    newer = draw.random() < 0.5
    for member in world.members.values():
        if draw.random() < 0.6:
            member.packages_version = '5.5' if newer else '5.4'
        if newer:
            member.extension = '5.4'
        if draw.random() < 0.5 and member.packages_version != member.extension:
            member.repmgrd = False


@fault
def uninstalled(world, draw):
    member = any_of([member for member in world.members.values() if member.server == 'stopped'], draw)
    if member is None:
        return False
    member.packages = False


@fault
def backup_state(world, draw):
    primary = primary_of(world)
    if primary is None:
        return False
    primary.backup = {'settings': {'max_age': 30}, 'now': 10 ** 6, 'archiver': {}, 'judged': dict(
        draw.choice([{'state': 'unreachable', 'reason': 'timeout'}, {'state': 'no_stanza'}, {'state': 'no_backup'},
                     {'state': 'ok', 'last': {'label': 'x', 'ended': 10}}]))}


@fault
def other_run(world, draw):
    any_of(list(world.members.values()), draw).lock = 'r0123456789'


def random_world(draw):
    """(layout, [the faults], world)"""
    layout = draw.choice(sorted(LAYOUTS))
    world, done, faults = World(LAYOUTS[layout]), [], dict(FAULTS, **walk_more.FAULTS)
    # As many as standbys at most, and for one in three clusters.
    world.synchronous = draw.choice([0, 0, 0, 0, 1, len(world.data()) - 1])
    for dummy in range(draw.choice([1, 1, 2, 2, 3, 4])):
        name = draw.choice(sorted(faults))
        if faults[name](world, draw) is not False:
            done.append(name)
        world.settle()
    return layout, done, world


# -- what a person does. The walk does it only where the text of a step names it.

def bring_back(world, names, start=False):
    for name in names:
        member = world.members.get(name)
        if member is None or member.host == 'lost':
            continue
        if member.host == 'off':
            member.host = 'up'
            boots(world, member)
        member.host = 'up'
        if start and member.server == 'stopped':
            boots(world, member)


def boots(world, member):
    """systemd starts what is enabled, and the hook of the guard keeps one from starting that could be a second primary."""
    if not member.masked and member.data == 'valid':
        starts(world, member)
    member.guard = member.fuse = member.guard_enabled
    if member.runs():
        member.repmgrd = member.preloaded and member.packages_version == member.extension


def starts(world, member):
    """`systemctl start postgresql`, with the hook of the guard (start_problem)."""
    if member.masked or member.data != 'valid' or member.host not in ('up', 'cut'):
        return False
    if not member.signal and not member.is_witness and member.deployed and member.hook:
        peers = [other for other in world.data() if other is not member and other.runs() and not other.apart and not member.apart
                 and other.identifier == member.identifier]
        if any(other.writes() or other.timeline > member.timeline for other in peers) or not world.sees_majority(member):
            return False
    member.server, member.mark, member.on_purpose = 'running', None, False
    return True


def _back(world, problem, match):
    bring_back(world, [name for name in re.split(r', |:', match.group(1)) if name])


def _start_them(world, problem, match):
    bring_back(world, match.group(1).split(', '), start=True)


def _cut_off(world, problem, match):
    """Whoever confirms that a primary is dead has made sure of it."""
    for member in world.data():
        if member.host == 'cut' and not member.signal:
            member.power_off()


def _nodes_back(world, problem, match):
    bring_back(world, problem['nodes'])


def _stop_the_others(world, problem, match):
    writers = [member for member in world.data() if member.writes()]
    keep = max(writers, key=lambda member: (member.identifier == CLUSTER, member.timeline, member.lsn))
    for member in writers:
        if member is not keep:
            member.server, member.repmgrd, member.guard = 'stopped', False, True


def _at(**changes):
    def act(world, problem, match):
        for name in problem['nodes']:
            if name in world.members:
                for field, value in changes.items():
                    setattr(world.members[name], field, value)
    return act


def _settles(world, problem, match):
    for name in problem['nodes']:
        if world.members[name].server in ('starting', 'silent', 'unknown'):
            world.members[name].server = 'running'


def _no_run(world, problem, match):
    for member in world.members.values():
        member.lock = ''


def _mount(world, problem, match):
    for name in problem['nodes']:
        member = world.members[name]
        if member.mount_is_missing:
            member.data, member.mount_is_missing = 'valid', False
            starts(world, member)


def _moved_away(world, problem, match):
    for name in problem['nodes']:
        member = world.members[name]
        member.promotes_itself = False
        if member.identifier == FOREIGN or member.data in ('unrecognised', 'partial'):
            member.server, member.data, member.identifier, member.signal, member.deployed = 'stopped', 'empty', CLUSTER, True, False


def _last_primary(world, problem, match):
    for member in world.data():
        if member.server == 'stopped' and not member.signal and member.on_purpose:
            starts(world, member)


def _listed_again(world, problem, match):
    for name in problem['nodes']:
        if name not in world.members:
            world.add(name, 'standby')
            world.members[name].host = 'lost'


def _any_last_primary(world, problem, match):
    found = [member for member in world.data() if member.server == 'stopped' and not member.signal and member.data == 'valid' and member.host == 'up']
    if found:
        last = max(found, key=lambda member: (member.timeline, member.lsn))
        last.masked = False
        starts(world, last)


def _readable(world, problem, match):
    for name in problem['nodes']:
        if world.members[name].data == 'unknown':
            world.members[name].data = 'valid'


def _repository(world, problem, match):
    for name in problem['nodes']:
        world.members[name].backup = ()


def _one_more(world, problem, match):
    """What makes an inventory valid without a host that is lost: another one in its place."""
    there = [world.members[name].group for name in world.listed if world.members[name].host != 'lost']
    world.synchronous = min(world.synchronous, max(0, len(there) - there.count('witness') - 1))
    free = [name for name in NEW if name not in world.members]
    if free and len(there) < 3:
        world.add(free[0], 'witness' if len(there) == 2 and 'witness' not in there else 'standby')


def _upgraded(world, problem, match):
    for member in world.members.values():
        member.packages_version = member.extension = '5.5'


def _all_back(world, problem, match):
    bring_back(world, list(world.members))


def _fewer(world, problem, match):
    _all_back(world, problem, match)
    world.synchronous = 0


# (what a text says, what is done)
HANDS = [(re.compile(words), act) for words, act in (
    (r'^ansible (\S+) -m ansible\.builtin\.ping$', _back),
    (r'^Bring the missing hosts back\.$', _nodes_back),
    (r'^Stop its server: beside .+ it would be a second primary\.$', _at(server='stopped', repmgrd=False)),
    (r'^If it was to be a standby, stop its server, and make its data say so', _at(server='stopped', repmgrd=False, promotes_itself=False, signal=True)),
    (r'^Upgrade its packages on every node of the cluster, and its extension by', _upgraded),
    (r'^(Bring the others back|Bring them back), or lower repmgr_synchronous\.$', _fewer),
    (r'^Bring them back and run again\.$', _all_back),
    (r'^Bring (.+) back\.$', _back),
    (r'^Mount the file systems of the data, if only these are missing\.$', _mount),
    (r'^Start (.+?) again, or repair the network between', _start_them),
    (r'^Check the machine; cut its power or its network\.$', _cut_off),
    (r'^Make sure that it is down\.$', _cut_off),
    (r'^Find out which one holds the data to keep, and stop the server of every other\.$', _stop_the_others),
    (r'^Wait for it to end\.$', _no_run),
    (r'^Wait, look at its log, and run again\.$', _settles),
    (r'^Look at its log and pg_hba\.conf\.$', _settles),
    (r'^Mount the file system of its data, and (run again|start its server)\.$', _mount),
    (r'^If they are lost, a new server replaces them, because a witness only has copies', lambda world, problem, match: None),
    (r'^Look at its processes and its log, and run again\.$', _settles),
    (r'^Look at the directory and at the program that writes to it, and run again\.$', _readable),
    (r'start the server of the last primary if you know which one it was\.$', _any_last_primary),
    (r'^A deployment never clears a directory: move it away if it is not needed', _moved_away),
    (r'^Look at it; move it away if it is not needed', _moved_away),
    (r'^Start the server of the last primary if it was stopped on purpose\.$', _last_primary),
    (r'^Add repmgr to shared_preload_libraries and restart the server\.$', _at(preloaded=True, repmgrd=True)),
    (r'^Look at its host and its disk\. Until then WAL accumulates on the primary', _repository),
    (r'^Correct it\.$', _one_more),
    (r'^First add it to the inventory again', _listed_again),
    (r'^Restart it by hand when that is acceptable: systemctl restart postgresql$', _at(restart=False)),
)]


def by_hand(world, text, problem):
    """Do what a text says. Returns whether anybody knows what that is."""
    if walk_more.cured(world, text):
        return True
    for pattern, act in HANDS:
        match = pattern.search(text)
        if match:
            act(world, problem, match)
            return True
    return False


# (a condition, whether it holds)
CONDITIONS = [(re.compile(words), holds) for words, holds in (
    (r'^its server was stopped on purpose$', lambda world, problem, match: any(
        member.on_purpose and member.server == 'stopped' and not member.signal for member in world.data())),
    (r'^(\S+) is to be primary again$', lambda world, problem, match: world.members[match.group(1)].host == 'up'),
    (r'^there is no primary and (\S+) is to be it again$', lambda world, problem, match: not world.writers()),
    (r'^(\S+) has become primary after all$', lambda world, problem, match: world.members[match.group(1)].writes()),
    (r'^a majority of the votes answers$', lambda world, problem, match: world.sees_majority(world.members[problem['node']])),
    (r'^the cluster is healthy$', lambda world, problem, match: world.judge()[1]['status'] == 'healthy'),
    (r'^the data that were restored there are not needed$', lambda world, problem, match: True),
    (r'^its data are lost$', lambda world, problem, match: not any(world.members[name].mount_is_missing for name in problem['nodes'])),
    (r'^the host of (\S+) is lost$', lambda world, problem, match: world.members[match.group(1)].host == 'lost'),
    (r'^one of them is gone for good$', lambda world, problem, match: any(
        name not in world.members or world.members[name].host == 'lost' for name in problem['nodes'])),
    (r'^its host is gone for good$', lambda world, problem, match: any(world.members[name].host == 'lost' for name in problem['nodes'])),
    (r'^(\S+) is gone for good$', lambda world, problem, match: match.group(1) not in world.members or world.members[match.group(1)].host == 'lost'),
    (r'^it is to be primary(?: and it is certain that (.+) does not run)?$', lambda world, problem, match: not world.writers()),
    (r'^all of them are gone for good$', lambda world, problem, match: all(
        name not in world.members or world.members[name].host == 'lost' for name in problem['nodes'])),
    (r'^it is certain that (.+) does not run$', lambda world, problem, match: all(
        name not in world.members or world.members[name].server == 'stopped' or world.members[name].signal for name in match.group(1).split(', '))),
    (r'^(\S+) has the data to keep(?:, and it is certain that (.+) will not run again)?, so that it has to start without its guard$',
     lambda world, problem, match: not world.writers() and world.members[match.group(1)].identifier == CLUSTER and all(
         name not in world.members or world.members[name].host == 'lost' for name in (match.group(2) or '').split(', ') if name) and not any(
             member.mount_is_missing and member.host != 'lost' for member in world.data())),
    (r'^its node is gone for good$', lambda world, problem, match: True),
    (r'^(\S+) does not stream from it$', lambda world, problem, match: True),
    (r'^the run of \w+ that paused it has ended$', lambda world, problem, match: True),
    (r'^no switchover is at work$', lambda world, problem, match: True),
    (r'^it is to leave the cluster$', lambda world, problem, match: True),
    (r'^the loss is acceptable$', lambda world, problem, match: True),
    (r'^another node shall be primary$', lambda world, problem, match: False),
    (r'^another primary has the data to keep$', lambda world, problem, match: True),
    (r'^it is (to become a witness|no longer to be a witness)$', lambda world, problem, match: True),
)]


def holds(world, condition, problem):
    for pattern, judge in CONDITIONS:
        match = pattern.search(condition)
        if match:
            return judge(world, problem, match)
    raise AssertionError('The model does not know whether this holds: %s' % condition)


# -- commands on hosts

def _start_repmgrd(world, member, match):
    if member.runs():
        member.repmgrd = member.preloaded and member.packages_version == member.extension


def _enable(world, member, match):
    if match.group(1) == 'repmgr-guard':
        member.guard = member.guard_enabled = True
    else:
        member.fuse = True


def _drop_slot(world, member, match):
    member.slots = set(name for name in member.slots if NUMBERS[name] != int(match.group(1)))


def _register_standby(world, member, match):
    for other in world.data():
        if other.writes() and member.signal and member.runs():
            other.rows[member.number] = world.row(member.name, 'standby', other.number)


def _unmask(world, member, match):
    member.masked = False
    starts(world, member)


def _stop(world, member, match):
    member.server, member.repmgrd = 'stopped', False


def _unregister(world, member, match):
    for other in world.data():
        if other.writes():
            other.rows.pop(member.number, None)


def _register_primary(world, member, match):
    others = [row for row in member.rows.values() if row['type'] == 'primary' and row['active'] and row['node_id'] != member.number]
    if any(row['node_name'] in world.members and world.members[row['node_name']].writes() for row in others) or not member.writes():
        # repmgr refuses that, also with --force.
        return
    for row in member.rows.values():
        if row['type'] == 'primary':
            row['active'] = False
    member.rows[member.number] = world.row(member.name, 'primary', None)


def _without_guard(world, member, match):
    member.guard = member.guard_enabled = member.fuse = member.masked = False
    if member.data == 'valid':
        member.server, member.mark, member.on_purpose, member.hook = 'running', None, False, False


SHELL = [(re.compile(words), act) for words, act in (
    (r'^rm -f /etc/systemd/system/postgresql\.service\.d/pgfleet-guard\.conf && ', _without_guard),
    (r'^systemctl start repmgrd$', _start_repmgrd),
    (r'^systemctl enable --now (repmgr-guard|repmgr-guard-fuse)$', _enable),
    (r'^systemctl unmask postgresql && systemctl enable --now postgresql$', _unmask),
    (r'^sudo systemctl start postgresql$', lambda world, member, match: starts(world, member)),
    (r"^psql -c .*select pg_drop_replication_slot\('repmgr_slot_(\d+)'\)", _drop_slot),
    (r'^repmgr (?:standby|witness) unregister$', _unregister),
    (r'^repmgr primary register --force$', _register_primary),
    (r'^repmgr-guard promote-by-hand -- psql -c "select pg_promote\(\)"$', lambda world, member, match: world.promote(member)),
    (r'^repmgr standby register --force$', _register_standby),
    (r'^sudo systemctl stop postgresql$', _stop),
    (r'^ss -ltnp$', lambda world, member, match: None),
)]


def type_on_host(world, step):
    member = world.members[step['host']]
    for pattern, act in SHELL:
        match = pattern.search(step['shell'])
        if match:
            if member.host == 'up':
                act(world, member, match)
            return
    raise AssertionError('The model does not know what this does: %s' % step['shell'])
