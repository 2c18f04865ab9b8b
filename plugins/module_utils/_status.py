# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the observations of all nodes -> the status of each cluster, as data and as text."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _problems_access, _problems_routing, _problems_servers, _routes, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _topology, _verdict, _verify
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import RENEWAL_DAYS
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import behind, position
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node

# The most important problems. All others follow in the order of the verdict.
_FIRST = ('split_brain', 'no_majority', 'no_data', 'no_primary', 'server_silent', 'server_starting', 'stopped_ex_primary', 'guard_down', 'fuse_down')
# Problems that the matrix of logins shows as well.
_UNREACHED = ('ssh_unreachable', 'postgresql_unreachable', 'login_failed')
_INTERVAL = re.compile(r"^(?:(-?\d+) days? )?(-?)(\d+):(\d+):(\d+(?:\.\d+)?)$")


def status(records, now=None, proxies=()):
    """All clusters of an inventory: {time, healthy, clusters}.

    records: one dictionary for each host, as the filter cluster_verdict takes them, of any number of clusters.
    now: the text that says when they were observed, or None. proxies: what proxies have answered, as _routes.routes takes it.
    """
    clusters = {}
    for record in records:
        clusters.setdefault('%s' % record.get('cluster', ''), []).append(record)
    views = [_view(name, _verdict.hosts_from(hosts), proxies) for name, hosts in sorted(clusters.items())]
    return {'time': now, 'healthy': bool(views) and all(view['healthy'] for view in views), 'clusters': views}


# -- data

class _Cluster:
    """The hosts of one cluster, their verdict, and the registered nodes."""

    def __init__(self, name, hosts, proxies):
        self.hosts = hosts
        self.routes = _routes.routes(name, hosts, proxies)
        self.verdict = _verdict.verdict(hosts, deploying=False, further=[lambda cluster: _problems_routing.check_routing(cluster, self.routes)])
        self.registry = dict((row['node_id'], Node.from_dict(row)) for row in self.verdict['registry'])
        self.by_id = dict((host.node_id, host) for host in hosts)

    def row(self, host):
        row = self.registry.get(host.node_id)
        return row if row is not None and row.node_name == host.node_name else None

    def name_of(self, node_id):
        """The inventory's name of a registered node, or the registered one; None where there is neither."""
        if node_id in self.by_id:
            return self.by_id[node_id].name
        return self.registry[node_id].node_name if node_id in self.registry else None

    def is_witness(self, host):
        row = self.row(host)
        return (row.type if row else host.initial_role) == 'witness'


def _seen(host):
    return host.observed is not None and not host.unreachable


def _view(name, hosts, proxies):
    cluster = _Cluster(name, hosts, proxies)
    verdict = cluster.verdict
    nodes = [_node(cluster, host) for host in hosts]
    problems = _problems(verdict['problems'])
    ready = verdict['failover_ready']
    view = {
        'cluster': name,
        'status': verdict['status'],
        'healthy': verdict['status'] == 'healthy',
        'primary': verdict['primary'],
        'summary': verdict['summary'],
        'counts': verdict['counts'],
        'failover': {
            'ready': ready['ready'], 'reasons': ready['reasons'], 'candidates': ready['candidates'],
            'steps': [_steps.shown(problem['steps']) for problem in ready['problems']]},
        'runs': _runs(hosts),
        'restore_drill': _verify.drill([host.observed.verified for host in hosts if _seen(host)]),
        'nodes': nodes,
        'proxies': cluster.routes,
        'slots': _slots(cluster),
        'events': _events(cluster),
        'problems': problems,
        'matrix': _matrix(hosts),
    }
    view['next_step'], view['next'] = _next(view, ready['problems'])
    return view


def _runs(hosts):
    """The runs of playbooks that are at work, as far as they change anything."""
    return [{'run': run, 'playbook': others[0]['playbook'], 'user': others[0]['user'], 'controller': others[0]['controller'], 'nodes': names,
             'for_seconds': max(other['for_seconds'] for other in others), 'text': _problems_servers.run_in_words(others)}
            for run, names, others in _problems_servers.other_runs([host for host in hosts if _seen(host)], 'seen')]


def _unit(found):
    return 'not installed' if not found else 'not running' if not found.get('running') else 'running' if found.get('enabled') else 'not enabled'


def _fuse(found):
    return {'state': _unit(found), 'limit': (found or {}).get('limit'), 'sight_age': (found or {}).get('sight_age')}


def _node(cluster, host):
    row = cluster.row(host)
    node = {
        'name': host.name, 'node_id': host.node_id, 'address': host.address, 'role': None, 'state': _state(host),
        'registered': None if row is None else {
            'role': row.type, 'active': row.active, 'upstream': cluster.name_of(row.upstream_node_id), 'priority': row.priority,
            'location': row.location},
        'timeline': None, 'current_lsn': None, 'received_lsn': None, 'replayed_lsn': None, 'lag_bytes': None, 'lag_seconds': None,
        'sync_state': None, 'upstream': None, 'repmgrd': None, 'guard': None, 'guard_stopped': None, 'fuse': None, 'health': None, 'pause': None,
        'version': None, 'certificate_days': None, 'disks': [],
    }
    if not _seen(host):
        return node
    observed = host.observed
    server = observed.server
    guard = observed.guard
    node.update(
        health=observed.health, pause=observed.pause, version=server.version, disks=observed.disks or [],
        certificate_days=_problems_access.certificate_days(observed.tls), guard_stopped=_problems_servers.guard_stop(host),
        guard=_unit(guard), fuse=_fuse((guard or {}).get('fuse')))
    if server.state != 'running':
        node['timeline'] = None if cluster.is_witness(host) else observed.data.timeline
        return node
    if server.in_recovery is not None:
        node['role'] = 'standby' if server.in_recovery else 'witness' if cluster.is_witness(host) else 'primary'
    if not server.sql:
        return node
    repmgrd = (observed.repmgr or {}).get('repmgrd') or {}
    if repmgrd.get('running') is not None:
        node['repmgrd'] = 'not running' if not repmgrd['running'] else 'paused' if repmgrd.get('paused') else 'running'
    node['upstream'] = _upstream(cluster, host)
    if node['role'] != 'witness':
        # A witness has a separate server; its WAL positions are unrelated to those of the cluster.
        node.update(timeline=server.timeline, current_lsn=server.current_lsn, received_lsn=server.received_lsn, replayed_lsn=server.replayed_lsn)
    if node['role'] == 'standby':
        node.update(_lag(cluster, host))
    return node


def _state(host):
    if not _seen(host):
        return 'unreachable' if host.unreachable else 'not observed'
    server, data = host.observed.server, host.observed.data
    if server.state == 'running':
        if not server.sql:
            return 'does not answer'
        if not server.in_recovery:
            return 'running'
        receiver = host.observed.receiver or {}
        state = 'streaming' if receiver.get('status') == 'streaming' else 'not streaming'
        return '%s, replay paused' % state if server.replay_paused else state
    if data.state in ('missing', 'empty', 'partial', 'unrecognised'):
        return 'no data' if data.state in ('missing', 'empty') else '%s data' % data.state
    return server.state


def _upstream(cluster, host):
    """The node that it actually streams from or, for a witness, watches; an address if that is not a node of the cluster."""
    observed = host.observed
    if cluster.is_witness(host):
        return cluster.name_of((observed.repmgr or {}).get('upstream_node_id'))
    receiver = observed.receiver or {}
    address = receiver.get('sender_host') or _conninfo.address(_conninfo.parse_or_empty(receiver.get('conninfo')))
    if not address or receiver.get('status') != 'streaming':
        return None
    port = receiver.get('sender_port')
    for other in cluster.hosts:
        if address in (other.address, other.name, other.node_name) and (not port or not other.port or '%s' % port == '%s' % other.port):
            return other.name
    return address


def _lag(cluster, host):
    """{lag_bytes, lag_seconds, sync_state} of a standby.

    Prefer the lag reported by the sender, which sees both positions at once; otherwise compute it from the primary's current LSN.
    """
    for other in cluster.hosts:
        for entry in (other.observed.replication or []) if _seen(other) else []:
            if entry.get('application_name') == host.node_name and entry.get('state') == 'streaming':
                return {'lag_bytes': entry.get('lag_bytes'), 'lag_seconds': seconds(entry.get('replay_lag')), 'sync_state': entry.get('sync_state')}
    found = {'lag_bytes': None, 'lag_seconds': None, 'sync_state': None}
    primary = [other for other in cluster.hosts if other.name == cluster.verdict['primary']]
    if primary:
        found['lag_bytes'] = behind(position(primary[0].observed.server.current_lsn), position(host.observed.server.replayed_lsn))
    return found


def seconds(interval):
    """PostgreSQL's text of an interval of days and less -> seconds, or None."""
    found = _INTERVAL.match('%s' % (interval or ''))
    if not found:
        return None
    days, sign, hours, minutes, rest = found.groups()
    value = int(hours) * 3600 + int(minutes) * 60 + float(rest)
    return int(days or 0) * 86400 + (-value if sign else value)


def _slots(cluster):
    found = []
    for host in cluster.hosts:
        for slot in (host.observed.slots or []) if _seen(host) else []:
            found.append({
                'node': host.name, 'slot_name': slot.get('slot_name'), 'active': slot.get('active'), 'wal_status': slot.get('wal_status'),
                'retained_bytes': slot.get('retained_bytes')})
    return sorted(found, key=lambda slot: (slot['node'], '%s' % slot['slot_name']))


def _events(cluster):
    """The events of repmgr, newest first.

    They are replicated, so the node with the newest one has all of them. If several have it, prefer the primary, which observes write_gap.
    """
    newest = []
    for host in sorted(cluster.hosts, key=lambda host: host.name != cluster.verdict['primary']):
        rows = (host.observed.events or []) if _seen(host) else []
        if rows and (not newest or '%s' % rows[0].get('event_timestamp') > '%s' % newest[0].get('event_timestamp')):
            newest = rows
    return [{
        'time': row.get('event_timestamp'), 'node': cluster.name_of(row.get('node_id')) or 'node %s' % row.get('node_id'),
        'event': row.get('event'), 'successful': row.get('successful'), 'details': ' '.join(('%s' % (row.get('details') or '')).split()),
        'write_gap': row.get('write_gap'),
    } for row in newest]


def _problems(problems):
    """Problems with the same text are merged; the most important ones come first."""
    found, order = {}, []
    for problem in problems:
        key = (problem['code'], problem['seen'], problem['expected'], json.dumps([_kind(step) for step in problem['steps']], sort_keys=True))
        if key not in found:
            found[key] = {'code': problem['code'], 'nodes': [], 'seen': problem['seen'], 'expected': problem['expected'],
                          'steps': [], 'command': '', 'stop': problem['stop']}
            order.append(key)
        merged = found[key]
        # Steps that name a node are kept for each node.
        rest = [step for step in _steps.shown(problem['steps']) if step not in merged['steps']]
        if any('command' in step for step in rest) or not merged['steps']:
            merged['command'] += ('\n' if merged['command'] else '') + _steps.sentences(problem['steps'])
        merged['steps'] += rest
        merged['nodes'] += problem['nodes']
    listed = [found[key] for key in order]
    for problem in listed:
        problem['type'] = _typed(_steps.first_command(problem['steps']))
    return sorted(listed, key=lambda problem: (_FIRST.index(problem['code']) if problem['code'] in _FIRST else len(_FIRST), not problem['stop']))


def _kind(step):
    """A step without what may name the node that it is for."""
    if 'text' in step:
        return step
    return dict((name, value) for name, value in step.items() if name in ('playbook', 'reason')) or {'shell': True}


def _typed(step):
    return _steps.render(step) if step else None


def _next(view, obstacles):
    """(step, words) of the one thing to do now. The step is None where something has to be found out before; the words say what."""
    for problem in view['problems']:
        if problem['steps']:
            return _said(problem['steps'], problem['command'].splitlines()[0])
    for obstacle in obstacles if view['primary'] else []:
        return _said(obstacle['steps'], obstacle['message'])
    return None, ''


def _said(steps, words):
    step = _steps.first_command(steps)
    if step is None:
        return None, words
    return _steps.shown(step)[0], '%s%s' % ('on %s: ' % step['host'] if step.get('host') else '', _steps.render(step))


def _matrix(hosts):
    """{from: {to: [failed ways], or None if not tried}} for all pairs of nodes."""
    table = {}
    for host in hosts:
        table[host.name] = dict((other.name, None) for other in hosts if other is not host)
        if not _seen(host):
            continue
        for entry in host.observed.reach or []:
            if entry.get('name') in table[host.name]:
                table[host.name][entry['name']] = [
                    '%s %s' % (label, entry.get(port)) for label, port in (('SSH', 'ssh'), ('PostgreSQL', 'postgresql')) if entry.get(port) != 'open']
        for peer, ways in (host.observed.logins or {}).items():
            if peer in table[host.name]:
                table[host.name][peer] = (table[host.name][peer] or []) + ['no %s' % way for way in sorted(ways) if ways[way]]
    return table


# -- words

def size(count):
    """A size in bytes as text with a unit, as of pg_size_pretty(), with one decimal."""
    if count is None:
        return '?'
    value = float(count)
    for unit in ('bytes', 'kB', 'MB', 'GB', 'TB'):
        if abs(value) < 1024 or unit == 'TB':
            break
        value /= 1024
    return '%d %s' % (value, unit) if unit == 'bytes' or value >= 100 else '%.1f %s' % (value, unit)


def role(node):
    """standby, or standby (registered primary)"""
    live, registered = node['role'], node['registered']
    if registered is None:
        return '%s (not registered)' % live if live else '-'
    if live == registered['role']:
        return live if registered['active'] is not False else '%s (registered inactive)' % live
    return '%s (registered %s)' % (live or '-', registered['role'])


def upstream(node):
    """The live one, or with the registered one where they differ. A node that is not running has none."""
    registered = (node['registered'] or {}).get('upstream')
    if node['role'] not in ('standby', 'witness') or node['upstream'] == registered:
        return node['upstream'] or '-'
    return '%s (registered %s)' % (node['upstream'] or '-', registered or '-')


def lag(node):
    if node['role'] != 'standby':
        return '-'
    if node['lag_bytes'] is None:
        return '?'
    return size(node['lag_bytes']) + (', %.1f s' % node['lag_seconds'] if (node['lag_seconds'] or 0) >= 0.1 else '')


def lsn(node):
    return node['current_lsn'] or node['replayed_lsn'] or node['received_lsn'] or '-'


def disk(node):
    """The fullest file system of the node's data."""
    if not node['disks']:
        return '-'
    worst = min(node['disks'], key=lambda entry: entry['free_bytes'] / max(1, entry['total_bytes']))
    return '%s free of %s' % (size(worst['free_bytes']), size(worst['total_bytes']))


def failover(view):
    ready = view['failover']
    if not ready['ready']:
        return 'failover: not ready'
    return 'failover: ready%s' % (', %s first' % ready['candidates'][0]['name'] if ready['candidates'] else '')


def when(stamp):
    """To the second, with the zone."""
    found = re.match(r'^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?(.*)$', '%s' % (stamp or ''))
    return '%s %s%s' % (found.group(1), found.group(2), {'+00:00': ' UTC', '+00': ' UTC', 'Z': ' UTC'}.get(found.group(3), found.group(3))) if found else '?'


# -- text: each line is a list of (words, style); styles are ok, bad, warn, dim, bold or ''

_GOOD = {'healthy': 'ok', 'degraded': 'warn', 'unknown': 'warn', 'absent': 'warn'}
_FINE = ('running', 'streaming', 'active')


def level(text):
    """How good a word of a table is."""
    if text in _FINE:
        return 'ok'
    if text in ('-', '?', 'not installed'):
        return ''
    if text in ('paused', 'not enabled', 'unknown', 'starting', 'inactive') or 'replay paused' in text:
        return 'warn'
    return 'bad'


def columns(node):
    """[(heading, text, style)] of the main table's line for a node."""
    roles, upstreams = role(node), upstream(node)
    return [
        ('node', node['name'], 'bold'),
        ('role', roles, 'warn' if '(' in roles and node['role'] else ''),
        ('state', node['state'], level(node['state'])),
        ('timeline', '%s' % (node['timeline'] or '-'), ''),
        ('LSN', lsn(node), ''),
        ('lag', lag(node), ''),
        ('sync', node['sync_state'] or '-', ''),
        ('repmgrd', node['repmgrd'] or '?', level(node['repmgrd'] or '?')),
        ('guard', '-' if node['guard'] == 'not installed' else node['guard'] or '?', level(node['guard'] or '?')),
        ('upstream', upstreams, 'warn' if '(' in upstreams else ''),
    ]


def lines(found):
    """What status() found, for a terminal."""
    if not found['clusters']:
        return [[('no cluster is in this inventory, or none was named', 'bad')]]
    said = []
    for view in found['clusters']:
        said.append([(view['cluster'], 'bold'), (': ', ''), (view['status'], _GOOD.get(view['status'], 'bad')), (': %s' % view['counts'], '')])
    for view in found['clusters']:
        if len(found['clusters']) > 1:
            said += [[], [('== %s' % view['cluster'], 'bold')]]
        said += _details(view)
    return said


def text(found):
    return '\n'.join(''.join(words for words, dummy in line).rstrip() for line in lines(found))


def _details(view):
    said = [[(failover(view), 'ok' if view['failover']['ready'] else 'warn')]]
    said += [[('  %s' % reason, '')] for reason in view['failover']['reasons']]
    said += [[('run: ', 'dim'), (run['text'], 'warn')] for run in view['runs']]
    if view['restore_drill']:
        said += [[('restore drill: ', 'dim'), (view['restore_drill']['text'], 'warn' if view['restore_drill']['ok'] is False else '')]]
    said += [[]] + _table([columns(node) for node in view['nodes']])
    more = _table([[
        ('node', node['name'], 'bold'),
        ('server', node['version'] or '-', ''),
        ('certificate', '-' if node['certificate_days'] is None else '%d days' % node['certificate_days'],
         'warn' if (node['certificate_days'] or 0) < RENEWAL_DAYS and node['certificate_days'] is not None else ''),
        ('disk', disk(node), ''),
        ('/primary',) + _routes.endpoint(node),
        ('slots', ', '.join(_slot(slot) for slot in view['slots'] if slot['node'] == node['name']) or '-', ''),
    ] for node in view['nodes']])
    said += [[]] + more if more else []
    said += [[]] + _table(_routes.columns(view)) if view['proxies'] else []
    if any(problem['code'] in _UNREACHED for problem in view['problems']):
        said += [[]] + [[(line, '')] for line in _topology.login_matrix(dict(
            (name, dict((peer, failed) for peer, failed in row.items() if failed is not None)) for name, row in view['matrix'].items())).splitlines()]
    if view['events']:
        said += [[], [('events', 'dim')]] + [[
            ('  %s  %s  ' % (when(event['time']), event['node']), ''), (event['event'], '' if event['successful'] else 'bad'),
            ('%s%s' % ('' if event['successful'] else ' failed', ': %s' % event['details'] if event['details'] else ''), 'dim'),
            ('' if event['write_gap'] is None else '; %.1f s after the last transaction from before' % event['write_gap'], ''),
        ] for event in view['events']]
    if view['problems']:
        said += [[], [('problems', 'dim')]]
    for problem, follower in zip(view['problems'], view['problems'][1:] + [{}]):
        said.append([('  %s: ' % ', '.join(problem['nodes']), 'bold'), (problem['seen'], 'bad' if problem['stop'] else 'warn'),
                     ('; expected %s.' % problem['expected'], '')])
        # If consecutive problems have the same steps, print these once, below the last of them.
        said += [[('    %s' % line, '')] for line in problem['command'].splitlines() if problem['steps'] != follower.get('steps')]
    said += [[], [('next: ', 'dim'), (view['next'] or 'nothing to do', 'bold' if view['next'] else 'ok')]]
    return said


def _slot(slot):
    return '%s %s, keeps %s%s' % (
        slot['slot_name'], 'active' if slot['active'] else 'inactive', size(slot['retained_bytes']),
        '' if slot['wal_status'] in (None, 'reserved') else ' (%s)' % slot['wal_status'])


def _table(rows):
    """Columns in which no line has anything are left out."""
    used = [index for index in range(len(rows[0])) if index == 0 or any(row[index][1] != '-' for row in rows)]
    if len(used) == 1:
        return []
    widths = dict((index, max(len(row[index][1]) for row in rows + [[cell[:1] * 2 for cell in rows[0]]])) for index in used)
    found = [[('%s  ' % rows[0][index][0].ljust(widths[index]), 'dim') for index in used]]
    for row in rows:
        line = []
        for index in used:
            line += [(row[index][1], row[index][2]), (' ' * (widths[index] - len(row[index][1]) + 2), '')]
        found.append(line)
    return found
