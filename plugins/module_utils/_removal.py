# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: whether a node may be removed from its cluster now. The first reason to refuse is the answer."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _conninfo, _contract, _failover, _hba, _settings, _steps, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority

_MAY_LEAVE = 'a standby that is not an upstream, or the witness'


def removal_plan(records, target, dead=''):
    """Return {refuse, node_id, listed, unlisted, tolerated, gone, left}.

    records: one dictionary for each host of one cluster, as the filter cluster_verdict takes them. target: the name of one of them, or of a registered
    node that is not in the inventory. dead: the names of other nodes that the operator declares dead, separated by commas. refuse: why it may not be removed,
    or ''. listed: whether it is in the inventory. unlisted: the other registered nodes that are not in the inventory, whose access must be kept.
    tolerated: the problems of the verdict that do not prevent the removal, as 'NODE CODE'. gone: {node: [addresses that only the target has there]}.
    left: messages about nodes that cannot tell its pg_hba rules from those of other nodes.
    """
    hosts = _verdict.hosts_from(records)
    answer = _verdict.verdict(hosts)
    listed = [host for host in hosts if host.name == target]
    unlisted = [row for row in answer['unlisted'] if row['node_name'] == target]
    plan = {
        'refuse': '', 'node_id': None, 'listed': bool(listed), 'tolerated': _tolerated(hosts, answer, target, _failover.names_in(dead)),
        'unlisted': [row['node_name'] for row in answer['unlisted'] if row not in unlisted], 'gone': {}, 'left': []}
    known = [host.name for host in hosts] + [row['node_name'] for row in answer['unlisted']]
    wrong = [name for name in _failover.names_in(dead) if name not in known or name == answer['primary']]
    if wrong:
        return dict(plan, refuse=message(
            ', '.join(wrong), 'is not one of the other nodes of this cluster', ' or '.join(name for name in known if name != answer['primary']),
            'Run again without repmgr_primary_is_dead, or with some of these names.'))
    if listed and unlisted:
        return dict(plan, refuse=message(
            target, 'is a host of this inventory, but node %d, which is not in it, is registered under the same name' % unlisted[0]['node_id'],
            'a name that only one node has',
            'Add node %d to the inventory under another host name, with repmgr_node_name set to this name.' % unlisted[0]['node_id']))
    if not listed and not unlisted:
        return dict(plan, refuse=message(target, 'is neither in this inventory nor registered in its cluster', 'one of %s' % ', '.join(known),
                                         'Run again with one of them.'))
    if listed:
        plan.update(node_id=listed[0].node_id)
        row, name, reachable = _row(answer, listed[0].node_id), listed[0].node_name, _seen(listed[0])
    else:
        plan.update(node_id=unlisted[0]['node_id'])
        row, name, reachable = unlisted[0], target, False
    plan.update(_rules_of(hosts, target, row, [other for other in answer['registry'] if other['node_id'] != plan['node_id']]))
    return dict(plan, refuse=_is_another(answer, target) or _leaves(hosts, target, row, answer, dead) or _streams_on(hosts, target, name, reachable)
                or _commits(hosts, answer, target, name) or _remaining(records, target))


def _registered_address(row):
    """The address in the connection string of a row of repmgr.nodes, as a list. A name there is no address of a rule."""
    address = _conninfo.address(_conninfo.parse_or_empty((row or {}).get('conninfo') or ''))
    return [address] if address and _hba.is_address(address) else []


def _rules_of(hosts, target, row, others):
    """{gone, left} of removal_plan. others: the other rows of repmgr.nodes."""
    gone, unknown = {}, {}
    # Also of a node whose name does not resolve now.
    kept = [address for other in others for address in _registered_address(other)]
    for host in [host for host in hosts if _seen(host) and host.name != target]:
        entries = host.observed.reach or []
        addresses = dict((entry['name'], entry.get('addresses') or []) for entry in entries)
        found = addresses.pop(target, []) + _registered_address(row)
        gone[host.name] = sorted(set(found) - set(address for known in addresses.values() for address in known) - set(kept))
        unresolved = sorted(name for name in addresses if not addresses[name])
        if unresolved and not found:
            unknown[host.name] = unresolved
    if not unknown:
        return {'gone': gone, 'left': []}
    names = sorted(set(name for found in unknown.values() for name in found))
    return {'gone': gone, 'left': [message(
        ', '.join(sorted(unknown)), 'keeps the pg_hba rules of %s, because neither its address nor that of %s is known there now' % (target, ', '.join(names)),
        'names that resolve', ['Mend the name of %s.' % ', '.join(names), _steps.playbook('site', reason='Then type')])]}


def _seen(host):
    return host.observed is not None and not host.unreachable


def _row(answer, node_id):
    rows = [row for row in answer['registry'] if row['node_id'] == node_id]
    return rows[0] if rows else None


def _tolerated(hosts, answer, target, dead):
    """The problems that do not prevent the removal: mainly those of the target itself."""
    found = []
    listed = any(host.name == target for host in hosts)
    others = [host for host in hosts if _seen(host) and host.name != target]
    for problem in [problem for problem in answer['problems'] if problem['stop']]:
        if problem['code'] == 'other_run':
            tolerated = False
        elif problem['code'] == 'login_failed' or problem['nodes'] == [target]:
            tolerated = True
        elif problem['code'] == 'no_majority':
            # Who was not observed may be the primary, unless the operator knows better.
            tolerated = target in problem['nodes'] and (
                len(others) >= majority(len(hosts) + len(answer['unlisted']) - 1) or set(problem['nodes']) <= set(dead + [target]))
        elif problem['code'] == 'stopped_ex_primary':
            # Its rejoin waits for a majority, and so for this removal. It is stopped, and stays so.
            tolerated = any(other['code'] == 'no_majority' and target in other['nodes'] for other in answer['problems'])
        else:
            # When a host of the inventory is removed, the access rules on all others are rewritten, and an unlisted node would lose its access.
            tolerated = problem['code'] == 'unlisted_node' and not listed
        if tolerated:
            found.append('%s %s' % (problem['node'], problem['code']))
    return found


def _is_another(answer, target):
    """Refuse if the host that answers is another node: the run would stop the server of that one, and remove its files."""
    seen = [problem['seen'] for problem in answer['problems'] if problem['code'] in _cluster.ANOTHER_NODE and problem['nodes'] == [target]]
    if not seen:
        return ''
    return message(target, 'answers, but is another node: %s' % '; '.join(seen), 'the node %s itself, or no answer' % target, [
        'Correct its ansible_host. If that machine is not %s any more, take %s out of the inventory.' % (target, target),
        _steps.playbook('remove_node', repmgr_target=target, reason='Then type')])


def _leaves(hosts, target, row, answer, dead):
    primary = answer['primary']
    if primary is None:
        return message(target, 'is in a cluster without a primary', _MAY_LEAVE, _steps.playbook('status', reason='See'))
    if target == primary:
        return message(target, 'is the primary', _MAY_LEAVE, _steps.playbook('switchover', repmgr_target=None, reason='First'))
    if row is None:
        return ''
    below = [other['node_name'] for other in answer['registry'] if other['upstream_node_id'] == row['node_id']]
    listed = dict((host.node_name, host) for host in hosts)
    hidden = [name for name in below if name not in listed or not _seen(listed[name])]
    if hidden:
        # Nobody gives a node that cannot be reached another upstream.
        first = listed[hidden[0]].name if hidden[0] in listed else hidden[0]
        more = {'repmgr_primary_is_dead': dead} if dead else {}
        return message(target, 'is the upstream of %s, which cannot be reached' % ', '.join(hidden), _MAY_LEAVE, [
            'Bring %s back.' % ', '.join(hidden), _steps.playbook('remove_node', repmgr_target=first, only_if='%s is gone for good' % first, **more),
            _steps.playbook('remove_node', repmgr_target=target, reason='And then again', **more)])
    if below:
        return message(target, 'is the upstream of %s' % ', '.join(below), _MAY_LEAVE, [
            'First %sset another repmgr_upstream for them.' % ('' if target in [host.name for host in hosts] else 'add it to the inventory again and '),
            _steps.playbook('site', reason='Then type')])
    if row['type'] == 'primary' and row['active']:
        return message(target, 'is registered as the active primary, while %s runs as primary' % primary, _MAY_LEAVE,
                       _steps.shell('repmgr primary register --force', host=primary, reason='First type'))
    return ''


def _streams_on(hosts, target, name, reachable):
    """Refuse if the target still streams but cannot be reached: its server could not be stopped, and would go on without its slot."""
    senders = [host.name for host in hosts if _seen(host) and any(entry.get('application_name') == name for entry in host.observed.replication or [])]
    if reachable or not senders:
        return ''
    return message(target, 'still streams from %s, and this run cannot stop its server' % ', '.join(senders), 'a node whose server is stopped',
                   'Add it to the inventory and make it reachable, or stop its server and repmgrd.')


def _commits(hosts, answer, target, name):
    """Refuse if too few standbys would remain to confirm commits."""
    primary = [host for host in hosts if host.name == answer['primary']][0]
    needed = _settings.confirmations((primary.observed.server.settings or {}).get('synchronous_standby_names'))
    registered = set(row['node_name'] for row in answer['registry'])
    streaming = set(entry.get('application_name') for entry in primary.observed.replication or [] if entry.get('state') == 'streaming')
    left = sorted((streaming & registered) - set([name]))
    if name not in streaming or len(left) >= needed:
        return ''
    return message(
        target, 'a commit on %s waits for %d standby%s, and without it %s' % (
            primary.name, needed, '' if needed == 1 else 's', 'only %s would stream' % ', '.join(left) if left else 'none would stream'),
        'as many other standbys that stream', ['Bring the others back, or lower repmgr_synchronous.', _steps.playbook('site', reason='Then type')])


def _remaining(records, target):
    """Refuse if the inventory without the target would be invalid."""
    problems = _contract.contract_problems([record for record in records if record['name'] != target])
    if not problems:
        return ''
    return '\n'.join([message(target, 'cannot be removed yet, because of the problems below', 'an inventory that is valid without it', [
        'Correct it.', _steps.playbook('site', reason='Then type'),
        _steps.playbook('remove_node', repmgr_target=target, reason='And then again')])] + problems)
