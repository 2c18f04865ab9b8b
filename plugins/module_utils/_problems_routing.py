# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems of where clients are sent: health endpoints, and proxies that do not agree with the primary. Only status looks for them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _steps


def check_routing(cluster, routes):
    """routes: of _routes.routes."""
    if not cluster.exists:
        return
    check_endpoints(cluster)
    for route in routes:
        check_proxy(cluster, route)


def _known_primary(cluster):
    return None if cluster.has('split_brain') else cluster.primary


def check_endpoints(cluster):
    primary = _known_primary(cluster)
    for host in cluster.data_hosts:
        health = host.observed.health
        if health is None or not health['settled']:
            # It was not asked, or its answer has changed while its server was asked.
            continue
        if not health['answers']:
            # A node that is not deployed, or whose server is down, has other problems.
            if host.observed.deployed and _cluster.running(host):
                cluster.problem(
                    'health_down', host.name, 'its health endpoint does not answer: %s' % health['error'],
                    'an answer, without which load balancers send nobody to this node',
                    _steps.shell('systemctl restart repmgr-health', host=host.name) if health['installed'] else _steps.playbook('site'), stop=False)
        elif primary is not None and health['primary'] and host is not primary:
            cluster.problem(
                'health_wrong', host.name, 'its health endpoint answers /primary with 200, but %s is the primary' % primary.name, '503',
                [_steps.shell('systemctl restart repmgr-health', host=host.name), _steps.playbook('status', reason='Then look again')], stop=False)
        elif host is primary and not health['primary']:
            cluster.problem(
                'health_refuses', host.name, 'it is the primary, but its health endpoint answers /primary with 503: %s' % health['reason'],
                '200, without which load balancers send nobody to it',
                _steps.shell('journalctl --unit=repmgr-guard --unit=repmgr-health --lines=20', host=host.name, reason='Find out why'), stop=False)


def check_proxy(cluster, route):
    name, primary = route['name'], _known_primary(cluster)
    if route['state'] == 'unreachable':
        if not any(host.name == name and host not in cluster.seen for host in cluster.hosts):
            cluster.problem(
                'proxy_unreachable', name, 'it is a proxy and cannot be reached, so it is unknown where it sends clients', 'all proxies to be reachable',
                _steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern([name]), reason='Try'), stop=False)
    elif route['state'] == 'does not answer':
        cluster.problem(
            'proxy_down', name, 'its HAProxy does not answer: %s' % route['error'], 'a proxy that serves clients',
            # A process that hangs is one that runs, for a playbook.
            _steps.shell('systemctl restart repmgr-haproxy', host=name) if route['kind'] == 'silent' else _steps.playbook('site'), stop=False)
    elif route['state'] == 'answers':
        check_nodes(cluster, route)
        if primary is not None and route['read_write']['servers']:
            check_writes(cluster, route, primary)


def check_nodes(cluster, route):
    """The nodes in the configuration of a proxy: a run that was limited or interrupted may not have come to it."""
    wanted = set(host.node_name for host in cluster.hosts if host.initial_role != 'witness')
    for section in ('read_write', 'read_only'):
        servers = route[section]['servers']
        present = set(server['node'] for server in servers or [])
        words = ['lacks %s' % ', '.join(sorted(wanted - present))] if wanted - present else []
        words += ['has %s, which is no node with data' % ', '.join(sorted(present - wanted))] if present - wanted else []
        if words:
            cluster.problem(
                'proxy_outdated', route['name'], 'the configuration of its HAProxy %s' % (
                    ' and '.join(words) if servers is not None else 'does not have this cluster'),
                'the nodes of the inventory', _steps.playbook('site'), stop=False)
            break


def check_writes(cluster, route, primary):
    servers = route['read_write']['servers']

    def settled(server):
        """Whether this is for longer than a change of the primary would take to be noticed."""
        return server['changed_seconds'] is None or server['changed_seconds'] > route['settles']

    wrong = [server['node'] for server in servers if server['up'] and server['node'] != primary.node_name and settled(server)]
    if wrong:
        cluster.problem(
            'proxy_wrong_primary', route['name'], 'it sends writes to %s, but %s is the primary' % (', '.join(sorted(wrong)), primary.name),
            'the primary alone', _steps.playbook('site'), stop=False)
    dropped = [server for server in servers if server['node'] == primary.node_name and not server['up'] and settled(server)]
    # What takes the place of a former primary is another problem.
    if dropped and not wrong:
        cluster.problem(
            'proxy_no_primary', route['name'], 'it sends writes to no node, although %s is the primary: its check says %s' % (
                primary.name, dropped[0]['check'] or dropped[0]['status']),
            'a check that the primary answers',
            ['Solve the problem of the health endpoint on %s.' % primary.name, _steps.playbook('status', reason='Then look again')]
            if cluster.has_at(primary, 'health_down') or cluster.has_at(primary, 'health_refuses') else _steps.playbook('site'), stop=False)
