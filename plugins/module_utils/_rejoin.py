# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what has to be repaired before a node can rejoin its cluster."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type


def rejoin_plan(hosts, answer, target):
    """Return {lacks, registered}.

    hosts: [Host] of one cluster. answer: their verdict. target: the name of the host that rejoins. lacks: what has to be repaired first, on the target or
    on the other hosts: packages, repmgr.conf, certificate, logins. registered: whether the node is still registered in the cluster.
    """
    host = [each for each in hosts if each.name == target]
    if not host or not _seen(host[0]):
        return {'lacks': [], 'registered': True}
    observed, lacks = host[0].observed, []
    if not observed.installed or not observed.repmgr_installed or observed.missing_packages:
        lacks.append('packages')
    if observed.config is None:
        lacks.append('repmgr.conf')
    if host[0].tls == 'managed' and (observed.tls or {}).get('error'):
        lacks.append('certificate')
    if any(problem['code'] in ('login_failed', 'postgresql_unreachable') and target in problem['nodes'] for problem in answer['problems']) or any(
            why for other in hosts if _seen(other) for why in (other.observed.logins or {}).get(target, {}).values()):
        lacks.append('logins')
    return {'lacks': lacks, 'registered': any(row['node_id'] == host[0].node_id for row in answer['registry'])}


def _seen(host):
    return host.observed is not None and not host.unreachable
