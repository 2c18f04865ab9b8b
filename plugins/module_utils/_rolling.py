# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the order of a rolling restart or upgrade, and who takes over from the primary meanwhile."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer


def rolling_plan(hosts, answer, wanted):
    """{order, successor, primary_first, too_low}.

    hosts: [Host] of a cluster. answer: their verdict, with a primary. wanted: the names of the hosts to restart.
    order: the standbys and witnesses, one after the other. primary_first: whether the primary restarts before them and in place; if not, `successor`
    becomes primary after them, '' if there is none or the primary does not restart. too_low: ['why a standby would not start'].

    A standby does not start with lower max_connections etc. than its primary; therefore the primary restarts first if it gets lower ones.
    https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
    """
    primary = answer['primary']
    server = [host.observed.server for host in hosts if host.name == primary][0]
    order = sorted([host.name for host in hosts if host.name in wanted and host.name != primary], reverse=True)
    first = primary in wanted and bool(server.lowered)
    at_least = dict(server.settings)
    at_least.update(server.lowered)
    return {
        'order': order, 'primary_first': first, 'successor': '' if primary not in wanted or first else answer['successor'],
        'too_low': [
            '%s would start with %s %s, primary %s with %s' % (host.name, name, value, primary, at_least[name])
            for host in hosts if host.name in order and answer['roles'][host.name] == 'standby'
            for name, value in host.observed.server.lowered.items() if (integer(value) or 0) < (integer(at_least.get(name)) or 0)]}
