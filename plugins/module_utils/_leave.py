# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: whether a cluster may leave this collection now, in which order, and what a node keeps."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed, message

_HEADER = '# Left by the playbook leave of the Ansible collection pgfleet.repmgr, and yours from then on.'
# What does not matter to plain repmgr, and what this run itself puts right or takes away.
_NO_OBSTACLE = ('restart_pending', 'certificate_expires', 'authority_expires', 'stale_slot', 'guard_down', 'fuse_down', 'repmgrd_down',
                'backup_repository', 'backup_stanza', 'backup_missing', 'backup_old', 'backup_verify_failed', 'backup_verify_old',
                'archive_failing')
# What a run that was ended in its middle may leave besides: a node whose repmgrd has just been started anew.
_HALF_LEFT = ('inactive',)
# Files that nobody but this collection has. repmgrd.service and repmgr.conf may be the operator's.
_ONLY_OURS = ('guard.json', 'repmgr-guard', 'repmgr-guard.service', 'repmgr-guard-fuse', 'repmgr-guard-fuse.service', 'start-hook.conf', 'restart.conf',
              'repmgr-metrics', 'repmgr-metrics.service', 'repmgr-metrics.timer', 'repmgr-health', 'repmgr-health.service', 'health.json')


def _pause_by(observed):
    return (observed.pause or {}).get('by') or ''


def is_ours(observed, files, unit):
    """Whether this collection has deployed the node, or a run that was ended in its middle has begun to remove it there.

    files: {name: path} as on the host that asks. unit: the unit that runs repmgrd from then on.
    """
    # The drop-ins and settings.conf are in directories that depend on the operating system of each host; the ends of their paths do not.
    found = list(observed.files or {})
    names, only_ours = [os.path.basename(path) for path in found], [os.path.basename(files[name]) for name in _ONLY_OURS]
    settings = '/conf.d/' + os.path.basename(files['settings.conf'])
    if any(name in names for name in only_ours) or files['repmgrd.service'] in found and any(path.endswith(settings) for path in found):
        return True
    return _pause_by(observed) == 'leave' and any(entry.get('unit') == unit + '.service' for entry in observed.daemons or [])


def leave_plan(hosts, answer, files, unit):
    """Return {refuse, begun, ours, turns, unpaused}.

    hosts: [Host]; answer: their verdict. refuse: messages, why nothing may be removed now. begun: whether an earlier run has paused repmgrd. ours: the hosts
    that this collection has deployed, sorted. turns: all hosts in their order, the primary last. unpaused: those whose repmgrd may promote or be promoted.
    """
    seen = [host for host in hosts if host.observed is not None and not host.unreachable]
    begun = any(_pause_by(host.observed) == 'leave' for host in seen)
    tolerated = _NO_OBSTACLE + (_HALF_LEFT if begun else ())
    names = sorted(host.name for host in hosts)
    primary = answer['primary']
    refuse = [problem['message'] for problem in answer['problems'] if problem['code'] not in tolerated + ('repmgrd_paused',)]
    if primary is None:
        refuse.append(message(', '.join(names), 'no primary is known', 'one primary', _steps.playbook('status', reason='See')))
    # Not by the problems alone. A server that is down may be one that its start hook keeps from starting as a second primary.
    for host in hosts:
        state = _not_at_work(host, host.name == primary) if answer['roles'].get(host.name) != 'witness' else ''
        if state:
            refuse.append(message(host.name, state, 'every data node at work, because without the start hook of its guard nobody keeps a server from starting',
                                  _steps.playbook('status', reason='See')))
    for host in seen:
        if _paused(host) and _pause_by(host.observed) != 'leave':
            refuse.append(message(host.name, 'its repmgrd is paused, and not by leave%s' % (
                ' but by %s' % _pause_by(host.observed) if _pause_by(host.observed) else ''), 'a pause that ends with this run',
                _steps.unpause(_pause_by(host.observed))))
    return {
        'refuse': refuse, 'begun': begun, 'ours': sorted(host.name for host in seen if is_ours(host.observed, files, unit)),
        'turns': [name for name in names if name != primary] + ([primary] if primary else []),
        'unpaused': sorted(host.name for host in hosts if host not in seen or not _paused(host)),
    }


def _paused(host):
    return ((host.observed.repmgr or {}).get('repmgrd') or {}).get('paused') is True


def _not_at_work(host, is_primary):
    """What is wrong with the server of a data node, or ''."""
    if host.observed is None or host.unreachable:
        return 'could not be observed'
    server = host.observed.server
    if server.state != 'running' or not server.sql:
        return 'its server %s' % ('does not answer' if server.state == 'running' else 'is in state %s' % server.state)
    if not is_primary and server.in_recovery is not True:
        return 'its server is not in recovery'
    return ''


def plain_conf(text, guard, unit):
    """The text of repmgr.conf with repmgr's own commands where it has the guard's, and with the unit that runs repmgrd from now on. All else stays."""
    lines = []
    for line in text.splitlines():
        name = re.split(r'[\s=]', line.strip(), maxsplit=1)[0].lower()
        if line.strip() == '# Ansible managed':
            line = _HEADER
        elif name == 'failover_validation_command' and re.match(r"\s*\w+\s*=?\s*'?" + re.escape(guard) + r"(\s|'|\Z)", line):
            continue
        elif name == 'promote_command':
            line = re.sub(r"^(\s*\w+\s*=?\s*'?)" + re.escape(guard) + r'\s+promote\s+--\s+', r'\1', line)
        elif name in ('repmgrd_service_start_command', 'repmgrd_service_stop_command'):
            line = re.sub(r"(systemctl\s+(?:start|stop)\s+)repmgrd(?=\s|'|\Z)", lambda found: found.group(1) + unit, line)
        lines.append(line)
    return '\n'.join(lines) + '\n'


def spare_slots(observed, node_id):
    """The slots that only the guard moved on: its votes, and those for nodes that do not replicate from this one. What is in use stays.

    A primary keeps the slot of a node that no record says anything of.
    """
    seen = Observed.from_dict(observed)
    if seen.server.in_recovery is None or seen.nodes is None:
        return []
    below = [_repmgr.slot_name(row.node_id) for row in seen.nodes if row.upstream_node_id == node_id]
    elsewhere = [_repmgr.slot_name(row.node_id) for row in seen.nodes if row.upstream_node_id not in (None, node_id)]
    idle = [slot['slot_name'] for slot in seen.slots or [] if not slot.get('active')]
    return sorted(name for name in idle if re.match('pgfleet_vote_[0-9]+_[0-9]+$', name) or (
        _repmgr.is_slot_of_a_node(name) and name not in below and (seen.server.in_recovery or name in elsewhere)))
