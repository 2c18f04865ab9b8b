# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: check the inventory before any host is changed, without considering whether a cluster exists."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _contract_cluster, _contract_host, _contract_settings, _contract_values


def contract_problems(hosts):
    """[message] of everything that is wrong in the inventory.

    hosts: one dictionary for each host of one cluster, in which undefined values are None or empty. roles/common/tasks/inventory.yml makes it.
    """
    problems = []
    for host in hosts:
        for check in _contract_host.CHECKS + _contract_settings.CHECKS:
            problems += check(host)
        # An unreachable host has no facts. That it is missing is a problem of the verdict.
        if not host.get('unreachable'):
            for check in _contract_host.CHECKS_OF_FACTS:
                problems += check(host)
    problems += _contract_cluster.check_unique(hosts, _contract_host.number_id, 'node id', 'Give each host its own repmgr_node_id.')
    problems += _contract_cluster.check_unique(hosts, lambda host: host.get('node_name') or None, 'node name', 'Give each host its own repmgr_node_name.')
    problems += _contract_cluster.check_unique(hosts, _endpoint, 'address and port', 'Set repmgr_address or repmgr_port so that each node has its own.')
    problems += _contract_cluster.check_one_version(hosts)
    problems += _contract_cluster.check_two_nodes(hosts)
    problems += _contract_cluster.check_electable(hosts)
    problems += _contract_cluster.check_connections(hosts)
    problems += _contract_cluster.check_same(hosts, 'user', 'repmgr_user')
    problems += _contract_cluster.check_same(hosts, 'database', 'repmgr_database')
    problems += _contract_cluster.check_same(hosts, 'tls', 'repmgr_tls')
    problems += _contract_cluster.check_same_backup(hosts)
    problems += _contract_cluster.check_synchronous(hosts)
    problems += _contract_cluster.check_one_lease(hosts)
    problems += _contract_cluster.check_upstreams(hosts)
    return problems


def _endpoint(host):
    """Address and port of a host as text, or None if it has no address."""
    return None if _contract_values.is_empty(host.get('address')) else '%s port %s' % (host.get('address'), host.get('port') or 5432)
