# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: may a node leave its cluster now. The first reason against it is the answer."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _contract, _steps, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority

_MAY_LEAVE = 'a standby without standbys of its own, or the witness'


def removal_plan(records, target):
    """records: one dictionary for each host of one cluster, as the filter cluster_verdict takes them. target: the name of one of them, or of a
    registered node that the inventory does not list.

    {refuse, node_id, listed, unlisted, tolerated}: refuse is the reason why not. unlisted are the other registered nodes that the inventory does not
    list, whose access has to stay as it is. tolerated are the problems of the verdict that are no reason against it, as 'NODE CODE'.
    """
    hosts = _verdict.hosts_from(records)
    answer = _verdict.verdict(hosts)
    listed = [host for host in hosts if host.name == target]
    unlisted = [row for row in answer['unlisted'] if row['node_name'] == target]
    plan = {
        'refuse': '', 'node_id': None, 'listed': bool(listed), 'tolerated': _tolerated(hosts, answer, target),
        'unlisted': [row['node_name'] for row in answer['unlisted'] if row not in unlisted]}
    if listed and unlisted:
        return dict(plan, refuse=message(
            target, 'is a host of this inventory, and node %d, which is not in it, is registered under the same name' % unlisted[0]['node_id'],
            'a name for one node', 'Put node %d into the inventory under another host name and that repmgr_node_name.' % unlisted[0]['node_id']))
    if not listed and not unlisted:
        known = [host.name for host in hosts] + [row['node_name'] for row in answer['unlisted']]
        return dict(plan, refuse=message(target, 'is neither in this inventory nor registered in its cluster', 'one of %s' % ', '.join(known),
                                         'Run again with one of them.'))
    if listed:
        plan.update(node_id=listed[0].node_id)
        row, name, reachable = _row(answer, listed[0].node_id), listed[0].node_name, _seen(listed[0])
    else:
        plan.update(node_id=unlisted[0]['node_id'])
        row, name, reachable = unlisted[0], target, False
    return dict(plan, refuse=_leaves(target, row, answer, bool(listed)) or _streams_on(hosts, target, name, reachable)
                or _commits(hosts, answer, target, name) or _remaining(records, target))


def _seen(host):
    return host.observed is not None and not host.unreachable


def _row(answer, node_id):
    rows = [row for row in answer['registry'] if row['node_id'] == node_id]
    return rows[0] if rows else None


def _tolerated(hosts, answer, target):
    """What is wrong with the target is no reason to keep it."""
    found = []
    listed = any(host.name == target for host in hosts)
    others = [host for host in hosts if _seen(host) and host.name != target]
    for problem in [problem for problem in answer['problems'] if problem['stop']]:
        if problem['code'] == 'other_run':
            tolerated = False
        elif problem['code'] == 'login_failed' or problem['nodes'] == [target]:
            tolerated = True
        elif problem['code'] == 'no_majority':
            tolerated = target in problem['nodes'] and len(others) >= majority(len(hosts) + len(answer['unlisted']) - 1)
        else:
            # Where a host of the inventory leaves, the access of all others is written anew, and that of an unlisted node would be lost.
            tolerated = problem['code'] == 'unlisted_node' and not listed
        if tolerated:
            found.append('%s %s' % (problem['node'], problem['code']))
    return found


def _leaves(target, row, answer, listed):
    primary = answer['primary']
    if primary is None:
        return message(target, 'is in a cluster without a primary', _MAY_LEAVE, _steps.playbook('status', reason='Look at'))
    if target == primary:
        return message(target, 'is the primary', _MAY_LEAVE, _steps.playbook('switchover', repmgr_target=None, reason='First'))
    if row is None:
        return ''
    below = [other['node_name'] for other in answer['registry'] if other['upstream_node_id'] == row['node_id']]
    if below:
        return message(target, 'is the upstream of %s' % ', '.join(below), _MAY_LEAVE, [
            'First %sset another repmgr_upstream for them.' % ('' if listed else 'put it into the inventory again, and '),
            _steps.playbook('site', reason='Then type')])
    if row['type'] == 'primary' and row['active']:
        return message(target, 'is registered as the active primary, while %s runs as primary' % primary, _MAY_LEAVE,
                       _steps.shell('repmgr primary register --force', host=primary, reason='First type'))
    return ''


def _streams_on(hosts, target, name, reachable):
    """A server that is not stopped here would go on, without its slot."""
    senders = [host.name for host in hosts if _seen(host) and any(entry.get('application_name') == name for entry in host.observed.replication or [])]
    if reachable or not senders:
        return ''
    return message(target, 'still streams from %s, and this run cannot stop its server' % ', '.join(senders), 'a node whose server is stopped',
                   'Put it into the inventory and make it reachable, or stop its server and repmgrd.')


def confirmations(names):
    """For how many standbys a commit waits, by the value of synchronous_standby_names."""
    found = re.match(r'\s*(?:any\s+|first\s+)?(\d+)\s*\(', names or '', re.I)
    return int(found.group(1)) if found else int(bool((names or '').strip()))


def _commits(hosts, answer, target, name):
    """Whether the standbys that stay are enough for every commit to be confirmed."""
    primary = [host for host in hosts if host.name == answer['primary']][0]
    needed = confirmations((primary.observed.server.settings or {}).get('synchronous_standby_names'))
    registered = set(row['node_name'] for row in answer['registry'])
    streaming = set(entry.get('application_name') for entry in primary.observed.replication or [] if entry.get('state') == 'streaming')
    left = sorted((streaming & registered) - set([name]))
    if name not in streaming or len(left) >= needed:
        return ''
    return message(
        target, 'a commit on %s waits for %d standby%s, and without it %s' % (
            primary.name, needed, '' if needed == 1 else 's', 'only %s would stream' % ', '.join(left) if left else 'none would stream'),
        'as many standbys that stay and stream', ['Bring the others back, or lower repmgr_synchronous.', _steps.playbook('site', reason='Then type')])


def _remaining(records, target):
    """The inventory as it will be without the target."""
    problems = _contract.contract_problems([record for record in records if record['name'] != target])
    if not problems:
        return ''
    return '\n'.join([message(target, 'cannot leave yet, because of what follows', 'an inventory that is right without it', [
        'Change it.', _steps.playbook('site', reason='Then type'),
        _steps.playbook('remove_node', repmgr_target=target, reason='And again')])] + problems)
