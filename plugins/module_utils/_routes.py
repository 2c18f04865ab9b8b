# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: where the proxies of a cluster send its clients, as data and as words."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _check_timing, _proxies
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer

# What a round of checks may be late, and the module's own question, in seconds.
_SLACK = 2
# What a proxy needs at most in any profile.
_LONGEST = {'isolation': 20}


def settles(timing):
    """After how many seconds a proxy has found a new primary, and dropped the old one. timing: of the profile, as the inventory has it."""
    found = _check_timing.timing(timing if (timing or {}).get('isolation') else _LONGEST)
    return _check_timing.drops_after(found) / 1000.0 + _SLACK


def routes(name, hosts, proxies):
    """[{name, state, error, settles, read_write, read_only}] for each proxy of this cluster.

    name: of the cluster. hosts: [Host]. proxies: [{name, unreachable, asked_after, state, error, backends}], what those have answered that were asked.
    state: 'answers', 'does not answer', 'unreachable' or 'not asked'. settles: what has changed on the proxy less than so many seconds ago may be due to
    a change of the primary while all were asked. read_write and read_only: {port, servers}, where servers is None if the proxy does not have this cluster.
    """
    found, answers = [], dict((proxy['name'], proxy) for proxy in proxies)
    for host in hosts:
        for proxy in host.routing.get('proxies') or []:
            if any(route['name'] == proxy for route in found):
                continue
            answer, route = answers.get(proxy), {'name': proxy, 'state': 'not asked', 'kind': '', 'error': '', 'settles': None}
            if answer is None and any(other.name == proxy and other.unreachable for other in hosts):
                # Its host was not reached as a node, so it was not tried again.
                answer = {'unreachable': True}
            if answer is not None and answer.get('unreachable'):
                route['state'] = 'unreachable'
            elif answer is not None:
                route.update(state='answers' if answer['state'] == 'answers' else 'does not answer', kind=answer['state'], error=answer['error'],
                             settles=round(answer['asked_after'] + settles(host.timing), 1))
            backends = (answer or {}).get('backends') or {}
            for section, backend in _proxies.sections(name).items():
                route[section] = {'port': integer(host.routing.get('rw_port' if section == 'read_write' else 'ro_port')), 'servers': backends.get(backend)}
            found.append(route)
    return found


# -- words

def endpoint(node):
    """(words, style) of what the health endpoint of a node says about /primary."""
    health = node['health']
    if health is None or not health['installed']:
        return '-', ''
    if not health['answers']:
        return 'no answer', 'bad'
    return ('200', 'ok') if health['primary'] else ('503', 'warn' if node['role'] == 'primary' else '')


def columns(view):
    """A line for each proxy and node: [(heading, text, style)]."""
    lines = []
    for route in view['proxies']:
        sections = (('writes', route['read_write']), ('reads', route['read_only']))
        nodes = []
        for dummy, section in sections:
            nodes += [server['node'] for server in section['servers'] or [] if server['node'] not in nodes]
        words = route['state'] if route['state'] != 'answers' or nodes else 'does not have this cluster'
        style = {'answers': 'ok', 'not asked': ''}.get(words, 'bad')
        for node in nodes or [None]:
            line = [('proxy', route['name'], 'bold'), ('state', words, style), ('server', node or '-', '')]
            for label, section in sections:
                server = [server for server in section['servers'] or [] if server['node'] == node]
                line.append(('%s (port %s)' % (label, section['port']),) + (_server(server[0]) if server else ('-', '')))
            lines.append(line)
    return lines


def _server(server):
    return '%s%s' % ('up' if server['up'] else 'down', '' if not server['sessions'] else ', %d session%s' % (
        server['sessions'], '' if server['sessions'] == 1 else 's')), 'ok' if server['up'] else ''
