# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: whether a standby may be promoted by the playbook failover now, and which one. The first reason to refuse is the answer."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import position, says_received
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node, message
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import lacking, majority, rank, voters

# Problems that a dead primary causes, or that a failover does not make worse. Any other problem that stops a run stops a failover as well.
_EXPECTED = ('no_primary', 'login_failed', 'stopped_ex_primary', 'vanished_data', 'old_repmgr', 'unlisted_node')
NOT_REGISTERED = 'is not registered as a standby'
_OF_THE_DEAD = ('server_silent', 'server_unknown', 'server_starting', 'data_unknown', 'unreachable', 'no_majority')


def failover_plan(hosts, answer, target='', dead='', accept_loss=False):
    """Return {refuse, done, target, old, fence, loss_bytes, unseen, alone, left}.

    hosts: [Host] of one cluster. answer: their verdict. target: the host to promote, '' for the most advanced standby. dead: the names of the hosts that
    the operator declares dead, separated by commas. accept_loss: whether the new primary may lack WAL that another standby has, or, with synchronous
    replication, might have.

    refuse: why no standby may be promoted, or ''. done: a primary is running already. old: the hosts of the registered primary. fence: the hosts whose
    server must be stopped and kept from starting first. unseen: the standbys that could have received more, but whose position is unknown. alone: the
    unreachable nodes with a vote, if they are a majority: then repmgr-guard would stop the new primary, because they could elect another one. left: for a
    run that fails after it has stopped the old primary, {text, steps}: the state of that node, and what brings it back.
    """
    plan = {'refuse': '', 'done': False, 'target': None, 'old': [], 'fence': [], 'loss_bytes': 0, 'unseen': [], 'alone': [],
            'left': {'text': '', 'steps': []}}
    by_name = dict((host.name, host) for host in hosts)
    others = [problem['message'] for problem in answer['problems'] if problem['code'] == 'other_run']
    if others:
        return dict(plan, refuse='\n'.join(others))
    if not answer['exists']:
        return dict(plan, refuse=_refusal(hosts, 'there is no cluster', 'a cluster whose primary has failed', _steps.playbook('site', reason='Deploy it by')))
    if answer['status'] == 'split_brain':
        return dict(plan, refuse='\n'.join(problem['message'] for problem in answer['problems'] if problem['code'] == 'split_brain'))
    # Also if a primary is running: a misspelt name is an error.
    given = names_in(dead)
    for name in given:
        if name not in _names(hosts):
            return dict(plan, refuse=message(name, 'is not a node of this cluster', 'one of %s' % ', '.join(_names(hosts)),
                                             'Run again with one of them, or without repmgr_primary_is_dead.'))
    if answer['primary']:
        return dict(plan, done=True, target=answer['primary'], alone=_alone(hosts, answer, answer['primary']))
    for problem in answer['problems']:
        if problem['code'] == 'no_data':
            return dict(plan, refuse=problem['message'])
    # Whoever was seen to run as a standby is no primary, whatever its record says.
    plan['old'] = old = [host.name for host in hosts if host.node_name in answer['registered_primary'] and not _is_standby(host)]
    strangers = [name for name in answer['registered_primary'] if name not in [host.node_name for host in hosts]]
    registered = bool(old or strangers)
    if not registered and answer['registry']:
        old, strangers = _may_have_been_primary(hosts, answer)
        plan['old'] = old
    elif not registered:
        return dict(plan, refuse=_refusal(hosts, 'no node is registered as primary', 'a record of the primary that has failed',
                                          'Look at `repmgr cluster show`; start the server of the last primary if you know which one it was.'))
    unproven = [name for name in old + strangers if _state(by_name.get(name)) != 'stopped' and name not in given]
    if unproven:
        return dict(plan, refuse=_unproven(unproven, by_name, given, registered))
    hidden = [name for problem in answer['problems'] if problem['code'] == 'no_majority' for name in problem['nodes']]
    wrong = [name for name in given if name not in old + strangers + hidden]
    if wrong:
        return dict(plan, refuse=message(', '.join(wrong), 'is not the registered primary', ' or '.join(old + strangers) or 'a standby that was observed',
                                         'Run again without repmgr_primary_is_dead, or with that name.'))
    for problem in answer['problems']:
        of_the_dead = problem['code'] in _OF_THE_DEAD and all(name in old + strangers + given for name in problem['nodes'])
        if problem['stop'] and problem['code'] not in _EXPECTED and not of_the_dead:
            return dict(plan, refuse=problem['message'])
    # These are reachable, so they can be fenced: nobody shall start the old primary beside the new one.
    plan['fence'] = [name for name in old if by_name[name].observed is not None and not by_name[name].unreachable]
    plan = _choose(plan, hosts, answer, target, accept_loss, given)
    again = dict((name, value) for name, value in (
        ('repmgr_target', target), ('repmgr_primary_is_dead', dead), ('repmgr_accept_loss', accept_loss)) if value)
    return dict(plan, left=_left([by_name[name] for name in plan['fence']], plan['target'], again)) if plan['fence'] and not plan['refuse'] else plan


def names_in(dead):
    """[name] of repmgr_primary_is_dead."""
    return [name.strip() for name in (dead or '').split(',') if name.strip()]


def _may_have_been_primary(hosts, answer):
    """([host], [registered node that is not in the inventory]) where no record says which one the primary was: whoever was not observed to be a standby.

    A server whose data are gone cannot start as a primary.
    """
    found, foreign = [], [name for problem in answer['problems'] if problem['code'] == 'foreign_data' for name in problem['nodes']]
    for host in hosts:
        observed = host.observed
        hidden = observed is None or host.unreachable
        if answer['roles'].get(host.name) == 'witness' or _never_was(host, answer) or host.name in foreign or not hidden and (
                observed.data.standby_signal or observed.data.state in ('missing', 'empty', 'partial') and observed.server.state == 'stopped'):
            continue
        found.append(host.name)
    return found, [row['node_name'] for row in answer['unlisted'] if row['type'] != 'witness']


def _is_standby(host):
    return host.observed is not None and not host.unreachable and host.observed.server.state == 'running' and host.observed.server.in_recovery is True


def _unproven(names, by_name, given, registered):
    """Refuse because these, which are or may be the primary, may still run."""
    if registered and len(names) == 1:
        seen = 'is the registered primary, and %s' % _state(by_name.get(names[0]))
    else:
        states = ', '.join('%s %s' % (name, _state(by_name.get(name))) for name in names)
        seen = 'are registered as primary: %s' % states if registered else 'no node is registered as primary, and it may have been one of these: %s' % states
    return message(', '.join(names), seen, 'proof that it is dead: a stopped server, or your confirmation', [
        'Check the machine; cut its power or its network.',
        _steps.playbook('failover', repmgr_primary_is_dead=','.join(given + names), reason='Then confirm it')])


def _left(fenced, target, again):
    """What a failed promotion leaves behind: the old primary, stopped and kept from starting. Which server may be started again depends on whether there is a
    primary by then, so each step has its condition.
    """
    steps = [_steps.playbook('failover', reason='Fix the error reported there, and run the same again', **again)]
    for host in fenced:
        steps.append(_steps.playbook('rejoin', repmgr_target=host.name, only_if='%s has become primary after all' % target))
        unit = _steps.unit(host.observed.config)
        if unit:
            steps.append(_start_unit(host, unit, 'there is no primary and %s is to be it again' % host.name))
    # This lifts the pause that a failed run leaves, once there is a primary.
    steps.append(_steps.playbook('failover', reason='After that, to let repmgrd go on'))
    names = ', '.join(host.name for host in fenced)
    return {'text': message(names, 'this run has stopped its server, and masked it, so that it does not start at boot either; repmgrd is paused',
                            '%s as primary in its place' % target, steps), 'steps': _steps.shown(steps)}


def _start_standby(standbys):
    for host in standbys:
        if _state(host) == 'stopped' and host.observed.data.state == 'valid' and host.observed.data.standby_signal:
            start = _steps.start(host.name, host.observed.config)
            if start:
                return [dict(start, reason='Start one of them and run again')]
    return []


def _start_again(hosts, old):
    """Where nobody can take over, the old primary may have the only copy. An earlier run may have masked its server. The start hook of its guard still
    refuses a second primary.
    """
    found = []
    for host in [host for host in hosts if host.name in old and _state(host) == 'stopped' and host.observed.data.state == 'valid']:
        unit = _steps.unit(host.observed.config)
        if unit:
            found.append(_start_unit(host, unit, '%s is to be primary again' % host.name))
    return found


def _promote_by_hand(standbys, old):
    """Without its record repmgr neither promotes nor registers a standby. When it is primary, status says how to register it."""
    found = []
    for host in [host for host in standbys if host.observed is not None and _obstacle(host) == NOT_REGISTERED]:
        command = 'psql -c "select pg_promote()"' if (host.observed.server.version_num or 0) >= 120000 else 'pg_ctl -D %s promote' % host.observed.data.path
        # Under the locks of the guard, which excludes a second promotion.
        found.append(_steps.shell(('repmgr-guard promote-by-hand -- ' if host.observed.guard is not None else '') + command, host=host.name,
                                  only_if='it is to be primary%s' % (' and it is certain that %s does not run' % ', '.join(old) if old else '')))
    return found


def _start_unit(host, unit, only_if):
    return _steps.shell('systemctl unmask %s && systemctl enable --now %s' % (unit, unit), host=host.name, only_if=only_if)


def _names(hosts):
    """The names of the hosts, and of the registered nodes that are not in the inventory."""
    registered = set(row.node_name for host in hosts if host.observed is not None for row in host.observed.nodes or [])
    return [host.name for host in hosts] + sorted(registered - set(host.node_name for host in hosts))


def _refusal(hosts, seen, expected, steps):
    return message(', '.join(host.name for host in hosts), seen, expected, steps)


def _state(host):
    if host is None:
        return 'is not in this inventory'
    if host.unreachable or host.observed is None:
        return 'cannot be reached'
    server = host.observed.server
    return 'stopped' if server.state == 'stopped' else 'its server is %s and does not answer (%s)' % (server.state, server.error or 'no error reported')


def _choose(plan, hosts, answer, target, accept_loss, given):
    again = {'repmgr_primary_is_dead': ','.join(given)} if given else {}
    standbys = [host for host in hosts if host.name not in plan['old'] and answer['roles'].get(host.name) != 'witness']
    plan['unseen'] = unseen = [host.name for host in standbys if not _says(host) and not _never_was(host, answer)] + [
        row['node_name'] for row in answer['unlisted'] if row['type'] == 'standby']
    candidates = [host for host in standbys if not _obstacle(host)]
    passed_over = '; '.join('%s: %s' % (host.name, _obstacle(host)) for host in standbys if _obstacle(host))
    if not candidates:
        return dict(plan, refuse=_refusal(hosts, 'no standby can be promoted: %s' % (passed_over or 'there is none'),
                                          'one that is running, registered, and has a priority above 0',
                                          (_start_standby(standbys) or ['Start one of them and run again.']) + _start_again(hosts, plan['old'])
                                          + _promote_by_hand(standbys, plan['old'])))
    positions = dict((host.node_id, _reached(host)[1]) for host in standbys if _says(host))
    ranks = dict((host.name, _rank(host, positions)) for host in standbys if _says(host))
    best = max(candidates, key=lambda host: ranks[host.name])
    chosen = best
    if target:
        named = [host for host in candidates if host.name == target]
        if not named:
            return dict(plan, refuse=message(target, 'cannot be promoted (%s)' % (passed_over or 'it is not a standby of this cluster'),
                                             'one of %s' % ', '.join(host.name for host in candidates),
                                             'Run again with one of them, or without repmgr_target.'))
        chosen = named[0]
    # A standby that may not be promoted (priority 0) can be the only one that has received some of the WAL.
    furthest = max([host for host in standbys if _says(host)], key=lambda host: (_reached(host), not _obstacle(host), ranks[host.name]))
    plan['loss_bytes'] = _reached(furthest)[1] - _reached(chosen)[1] if _reached(furthest)[0] == _reached(chosen)[0] else None
    accept = _steps.playbook('failover', repmgr_target=chosen.name, repmgr_accept_loss=True, only_if='the loss is acceptable', **again)
    if _reached(chosen) < _reached(furthest) and not accept_loss:
        lacks = 'is on an older timeline than' if plan['loss_bytes'] is None else 'has received %d bytes less than' % plan['loss_bytes']
        obstacle = _obstacle(furthest)
        steps = [_steps.playbook('failover', repmgr_target=best.name, reason='Promote the most advanced candidate', **again)] if chosen is not best else []
        return dict(plan, refuse=message(
            chosen.name, '%s %s%s' % (lacks, furthest.name, ', which cannot be promoted (%s)' % obstacle if obstacle else ''),
            'the most advanced standby, because otherwise transactions would be lost', steps + [accept]))
    # The chosen standby itself does not count: it replays all that it has received before it accepts writes.
    replaying = [host.name for host in standbys if host is not chosen and _says(host) and not says_received(host.observed.server)]
    plan['unseen'] = unseen + replaying
    synchronous = max([host.synchronous or 0 for host in hosts])
    if synchronous and len(plan['unseen']) >= synchronous and not accept_loss:
        # Each commit was confirmed by `synchronous` standbys, which may all be among those whose position is unknown.
        seen = ['cannot be observed'] if unseen else []
        seen += ['%sstarted, and is still replaying WAL that it had received' % (', '.join(replaying) + ' ' if unseen else '')] if replaying else []
        return dict(plan, refuse=message(
            ', '.join(unseen or replaying), '%s, and may hold acknowledged commits (repmgr_synchronous is %d)' % ('; '.join(seen), synchronous),
            'every standby to report its position%s' % (', or all but %d' % (synchronous - 1) if synchronous > 1 else ''),
            (['Bring them back and run again.'] if unseen else []) + ([
                'Wait until %s has replayed it and run again; if replay does not advance, run `SELECT pg_wal_replay_resume()` there or set '
                'recovery_min_apply_delay to 0.' % ' and '.join(replaying)] if replaying else []) + [accept]))
    return dict(plan, target=chosen.name, alone=_alone(hosts, answer, chosen.name))


def _says(host):
    """Whether the position of the standby is known."""
    return host.observed is not None and not host.unreachable and host.observed.server.sql and _reached(host)[1] >= 0


def _never_was(host, answer):
    """Whether the host was observed and has never been a node of the cluster."""
    return (host.observed is not None and not host.unreachable and host.observed.data.state in ('missing', 'empty')
            and host.node_id not in [row['node_id'] for row in answer['registry']])


def _rank(host, positions):
    timeline, reached = _reached(host)
    return rank(timeline, reached, lacking(positions, _keeps(host, positions)), _priority(host), host.node_id or 0)


def _keeps(host, members):
    """{node id: position from which the host has all WAL for that node}: that of its slot, or without a slot, of the oldest WAL at present."""
    slots = dict((slot.get('slot_name'), position(slot.get('restart_lsn'))) for slot in host.observed.slots or [])
    oldest = host.observed.server.oldest_wal
    return dict((member, slots.get(_repmgr.slot_name(member)) or oldest) for member in members if member != host.node_id)


def _alone(hosts, answer, primary):
    if not any(host.observed is not None and host.observed.guard for host in hosts):
        return []
    votes = voters([Node.from_dict(row) for row in answer['registry']])
    by_id = dict((host.node_id, host) for host in hosts)
    names = dict((row.node_id, by_id[row.node_id].name if row.node_id in by_id else row.node_name) for row in votes)
    missing = [names[row.node_id] for row in votes if names[row.node_id] != primary and not _answers(by_id.get(row.node_id))]
    return missing if len(missing) >= majority(len(votes)) else []


def _answers(host):
    return host is not None and not host.unreachable and host.observed is not None and host.observed.server.sql


def _obstacle(host):
    if host.unreachable or host.observed is None:
        return 'cannot be reached'
    server = host.observed.server
    if server.state != 'running' or not server.sql:
        return 'its server is %s' % ('silent' if server.state == 'running' else server.state)
    if server.in_recovery is not True:
        return 'is not in recovery'
    if _row(host) is None:
        return NOT_REGISTERED
    if _priority(host) <= 0:
        return 'its priority is 0'
    if not _says(host):
        return 'does not report how much WAL it has received'
    return ''


def _row(host):
    for row in host.observed.nodes or []:
        # What once was the primary may be recorded as such, inactive or not: repmgr promotes it all the same.
        if row.node_id == host.node_id and row.type != 'witness':
            return row
    return None


def _priority(host):
    return (_row(host).priority or 0) if _row(host) is not None else 0


def _reached(host):
    """(timeline, position) of the last WAL that was received or replayed, whichever is further."""
    server = host.observed.server
    known = [found for found in (position(server.received_lsn), position(server.replayed_lsn)) if found is not None]
    # An unknown position sorts before every known one.
    return (server.timeline or 0, max(known or [-1]))
