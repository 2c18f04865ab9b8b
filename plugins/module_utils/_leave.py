# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what a node keeps when its cluster leaves this collection."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed

_HEADER = '# Left by the playbook leave of the Ansible collection pgfleet.repmgr, and yours from then on.'


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
