# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: repmgr
short_description: Hosts of running repmgr clusters, grouped by their current role
version_added: 0.1.0
author:
  - The pgfleet authors (@pgfleet)
description:
  - Queries running clusters for their registered nodes, and each node for its current role. C(hosts=primary) in a play is then the current
    primary, also right after a switchover or failover, without any change to a file.
  - The source is a YAML file whose name ends with C(.repmgr.yml) or C(.repmgr.yaml).
  - Queries all hosts of the given connection strings, and then all nodes registered in C(repmgr.nodes), in parallel. The role of a node comes
    from the node itself (whether it is in recovery), because the table is out of date while a failover takes place.
  - A node that does not answer is in the groups C(unreachable) and C(cluster_NAME), and in no group for a role. That is a warning, not an
    error, as long as at least one node answers.
  - Changes nothing and takes no locks that block others.
notes:
  - "The role that connects needs only these privileges. Create it once on the primary and once on each witness, which has its own database
    (here the database of repmgr is C(repmgr)):
    C(CREATE ROLE inventory LOGIN PASSWORD '...'; GRANT USAGE ON SCHEMA repmgr TO inventory; GRANT SELECT ON repmgr.nodes TO inventory;)"
  - "C(GRANT pg_monitor TO inventory;) adds C(repmgr_streams_from), and C(repmgr_timeline) of a standby right after a failover, which is
    otherwise known only after the next checkpoint of the standby. Nothing else needs it."
  - "Each node needs a pg_hba rule for this role. If the roles of this collection deploy the node, use C(repmgr_pg_hba_extra), for instance
    C({contype: hostssl, databases: repmgr, users: inventory, address: 192.168.56.1/32, method: scram-sha-256})."
  - Keep passwords in C(~/.pgpass) of the user who runs Ansible (or in the C(passfile) given in O(clusters)), in a vault or in a lookup. They
    are never printed or cached, and are not host variables.
  - This inventory is meant for ad-hoc commands and for your own playbooks, such as a backup from a standby. The playbooks of this collection
    need an inventory that lists every node, running or not; they refuse this one, because it does not define C(repmgr_cluster_name). To use
    both at once, set O(group_prefix) and O(vars_prefix) so that their names do not collide.
  - The following variables are set for each host, prefixed with O(vars_prefix). C(cluster) is the name from O(clusters). C(role) is
    V(primary), V(standby), V(witness), or V(unknown) if the node does not answer. C(state) is V(running), V(detached) for a standby that
    receives nothing, V(foreign) for a server with the data of another cluster, or V(unreachable); C(error) is the reason. C(node_id),
    C(type), C(active), C(priority), C(location), C(upstream_node_id) and C(upstream_name) are as registered. C(primary) is the name of the
    primary of the cluster, empty if there is none or more than one. C(address) and C(port) are those of the server; C(ansible_host) is the
    address as well. C(timeline), C(version), C(lag_bytes) (WAL that the primary has written and the node has not replayed), C(lag_seconds)
    (age of the last replayed transaction, 0 if everything received has been replayed), C(replay_paused), C(repmgrd) (V(running), V(paused)
    or V(stopped)) and C(streams_from) are V(none) if unknown.
requirements:
  - psycopg2 on the controller (C(pip install psycopg2-binary), or the package python3-psycopg2)
  - PostgreSQL 10 or later, repmgr 4.2 or later
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Must be V(pgfleet.repmgr.repmgr).
    type: str
    required: true
    choices: [pgfleet.repmgr.repmgr]
  clusters:
    description:
      - "A dictionary from the name of a cluster to the connection to it: a connection string of libpq (C(host=a,b
        user=...) or C(postgresql://...)), a dictionary of the same keywords, or a list of these, all of which are tried."
      - All hosts in a connection string are queried, so C(target_session_attrs) has no effect. One that answers is enough to find all others.
      - For further nodes, host and port come from their C(conninfo) in C(repmgr.nodes), and all other parameters (user, password, database,
        C(sslmode)) from the connection string by which they were found.
      - Values may be templates and may be vaulted.
    type: raw
    required: true
  connect_timeout:
    description:
      - Seconds to wait for a connection, and then again for the answers. All nodes are queried in parallel, so any number of dead nodes costs
        this time once (twice if they are found only through another node).
    type: int
    default: 3
  strict:
    description:
      - Fail if a registered node does not answer, if a cluster has no primary or more than one, or if an expression of O(compose), O(groups)
        or O(keyed_groups) is invalid. Otherwise the first two are warnings, and an invalid expression is skipped.
    type: bool
    default: false
  group_prefix:
    description: Prefix of the names of the groups C(primary), C(standby), C(witness), C(running), C(detached), C(foreign), C(unreachable)
      and C(cluster_NAME).
    type: str
    default: ""
  vars_prefix:
    description: Prefix of the names of the host variables.
    type: str
    default: repmgr_
"""

EXAMPLES = r"""
# orders.repmgr.yml: one host that answers is enough. The password is in ~/.pgpass.
#
#   ansible-inventory -i orders.repmgr.yml --graph
#   ansible -i orders.repmgr.yml primary -m ansible.builtin.ping
#   ansible -i orders.repmgr.yml 'standby:!detached' -m ansible.builtin.command -a uptime
plugin: pgfleet.repmgr.repmgr
clusters:
  orders: host=db1,db2,db3 user=inventory dbname=repmgr sslmode=verify-full sslrootcert=/etc/ssl/orders.crt

# Two clusters, a password from the environment, groups by location, SSH to other host names than those of the servers:
#
# plugin: pgfleet.repmgr.repmgr
# clusters:
#   orders:
#     host: db1,db2
#     user: inventory
#     password: "{{ lookup('env', 'INVENTORY_PASSWORD') }}"
#     dbname: repmgr
#     sslmode: require
#   billing: postgresql://inventory@billing1:5432,billing2:5433/repmgr?sslmode=require
# keyed_groups:
#   - key: repmgr_location
#     prefix: location
# groups:
#   lagging: (repmgr_lag_bytes or 0) > 16777216
#   backup: repmgr_role == 'standby' and repmgr_state == 'running'
# compose:
#   ansible_host: inventory_hostname ~ '.example.com'

# Together with an inventory of this collection: prefixes avoid equal names. Cached for a minute:
#
# plugin: pgfleet.repmgr.repmgr
# clusters:
#   lab: host=192.168.56.101,192.168.56.102 user=inventory dbname=repmgr sslmode=require
# group_prefix: live_
# vars_prefix: live_
# cache: true
# cache_plugin: ansible.builtin.jsonfile
# cache_connection: ~/.ansible/repmgr
# cache_timeout: 60
"""

import threading
import time

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _observe_sql, _view
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import behind
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import STATEMENTS
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import trust

try:
    import psycopg2
except ImportError:
    psycopg2 = None

ROLES = ('primary', 'standby', 'witness')
STATES = ('running', 'detached', 'foreign', 'unreachable')
# Keywords for the address of a server, and keywords that would make libpq skip servers with the wrong role.
_PLACE = ('host', 'hostaddr', 'port')
_CHOICE = ('target_session_attrs', 'load_balance_hosts')


class Answer:
    """The answer of one server, or the error."""

    def __init__(self, values, observed=None, tags=None, error=''):
        self.values = values        # libpq's keywords, one host
        self.observed = observed
        self.tags = tags or {}
        self.error = error

    @property
    def rows(self):
        return (self.observed.nodes if self.observed else None) or []

    @property
    def position(self):
        """The position that the server has written, or as a standby replayed, in bytes; or None."""
        return (self.tags.get('position') or {}).get('bytes')

    def own_row(self, rows):
        """The registered node of this server: the one with its address, or otherwise the one with the node id that repmgrd has set in the server."""
        for row in rows:
            if place(target(row, self.values)) == place(self.values):
                return row
        local = self.tags.get('local_node_id')
        return next((row for row in rows if row.node_id == local), None)


# -- connection strings

def one_host_each(values):
    """libpq's keywords for several hosts -> [keywords for each host]."""
    values = dict((name, value) for name, value in values.items() if name not in _CHOICE)
    lists = dict((name, values[name].split(',')) for name in _PLACE if values.get(name))
    count = max([len(items) for name, items in lists.items() if name != 'port'] or [1])
    found = []
    for number in range(count):
        one = dict((name, value) for name, value in values.items() if name not in _PLACE)
        for name, items in lists.items():
            item = items[number] if number < len(items) else items[-1] if name == 'port' else ''
            if item:
                one[name] = item
        found.append(one)
    return found


def place(values):
    return _conninfo.address(values) or '', '%s' % (values.get('port') or 5432)


def target(row, values):
    """The keywords to connect to a registered node, with user, password and so on from `values`."""
    theirs = _conninfo.parse_or_empty(row.conninfo)
    there = dict((name, theirs[name]) for name in _PLACE if theirs.get(name))
    return dict(((name, value) for name, value in values.items() if name not in _PLACE), **there)


# -- asking

def ask(values, timeout):
    """Query one server; return its Answer."""
    options = '%s -c statement_timeout=%d' % (values.get('options') or '', timeout * 1000)
    given = dict({'application_name': 'repmgr_inventory', 'client_encoding': 'UTF8'}, **values)
    tags, errors = {}, []
    try:
        connection = psycopg2.connect(**dict(given, connect_timeout='%d' % timeout, options=options.strip()))
        try:
            # With autocommit, the other statements still work after one fails for lack of privileges.
            connection.autocommit = True
            for statement in STATEMENTS:
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(statement)
                        row = cursor.fetchone()
                        if row:
                            tags[row[0]] = row[1]
                except psycopg2.Error as exc:
                    if connection.closed:
                        raise
                    errors.append(said(exc, values))
        finally:
            connection.close()
    except (psycopg2.Error, UnicodeError) as exc:
        return Answer(values, error=said(exc, values))
    if not tags.get('server'):
        return Answer(values, error=errors[0] if errors else 'the server answered with nothing')
    observed = Observed(repmgr=_observe_sql.no_repmgr())
    _observe_sql.take_sql(observed, tags, values.get('dbname') or values.get('user'))
    return Answer(values, observed, tags, errors[0] if errors else '')


def said(error, values):
    text = redacted(' '.join(('%s' % error).split()))
    password = values.get('password')
    return text.replace(password, '********') if password else text


def ask_all(targets, timeout):
    """Query all servers in parallel; return [Answer]. A server that hangs after the connection was made is given up after 2 * timeout."""
    answers = {}

    def one(number, values):
        answers[number] = ask(values, timeout)

    threads = [threading.Thread(target=one, args=item) for item in enumerate(targets)]
    for thread in threads:
        thread.daemon = True
        thread.start()
    deadline = time.time() + 2 * timeout
    for thread in threads:
        thread.join(max(0, deadline - time.time()))
    return [answers.get(number) or Answer(values, error='no answer within %d s' % (2 * timeout)) for number, values in enumerate(targets)]


def discover(targets, timeout):
    """[Answer] of the given servers, and of all nodes that are registered there, transitively."""
    asked, waiting = {}, dict((place(values), values) for values in reversed(targets))
    while waiting:
        answers = ask_all(list(waiting.values()), timeout)
        asked.update((place(answer.values), answer) for answer in answers)
        waiting = {}
        for answer in answers:
            for row in answer.rows:
                values = target(row, answer.values)
                if place(values) not in asked:
                    waiting[place(values)] = values
    return list(asked.values())


# -- what follows from the answers

def registry(answers):
    """The authoritative rows of repmgr.nodes: see trust."""
    def rank(answer):
        row = answer.own_row(answer.rows)
        return trust(row is None or row.type == 'witness', answer.observed.server.in_recovery is False, answer.observed.server.timeline)

    having = [answer for answer in answers if answer.rows]
    return max(having, key=rank).rows if having else []


def cluster_of(name, answers):
    """[Answer] -> ({node name: facts}, [problems])."""
    rows = registry(answers)
    if not rows:
        return {}, ['%s: %s' % (name, nothing(answers))]
    found = {}
    for row in rows:
        mine = [answer for answer in answers if answer.own_row(rows) is row]
        # The address in the connection string may differ from the registered one, and may be the only one that is reachable from here.
        mine.sort(key=lambda answer: (answer.observed is None, place(answer.values) != place(target(row, answer.values))))
        found[row.node_name] = (row, mine[0] if mine else None)
    primaries = [node for node, (row, answer) in found.items()
                 if row.type != 'witness' and answer and answer.observed and answer.observed.server.in_recovery is False]
    reference = found[primaries[0]][1] if len(primaries) == 1 else None
    facts = dict((node, facts_of(row, answer, rows, reference)) for node, (row, answer) in found.items())
    for values in facts.values():
        values.update(cluster=name, primary=primaries[0] if len(primaries) == 1 else '')
    problems = ['%s: %s does not answer: %s' % (name, node, values['error'])
                for node, values in sorted(facts.items()) if values['state'] == 'unreachable']
    if len(primaries) != 1:
        problems.append('%s: %s; expected one primary' % (
            name, '%s run as primary' % ' and '.join(sorted(primaries)) if primaries else 'no node runs as primary'))
    return facts, problems


def nothing(answers):
    """Why a cluster could not be read at all."""
    parts = []
    for answer in sorted(answers, key=lambda answer: place(answer.values)):
        why = answer.error or ('repmgr.nodes is empty' if (answer.observed.repmgr or {}).get('extension')
                               else 'there is no repmgr in database %s' % (answer.values.get('dbname') or answer.values.get('user')))
        parts.append('%s:%s: %s' % (place(answer.values) + (why,)))
    return 'repmgr.nodes could not be read from any node: %s; expected a node that answers, and a role that may read repmgr.nodes' % '; '.join(parts)


def facts_of(row, answer, rows, primary):
    """primary: the Answer of the one primary, or None."""
    names = dict((other.node_id, other.node_name) for other in rows)
    address, port = place(answer.values if answer else target(row, {}))
    facts = {
        'node_id': row.node_id, 'type': row.type, 'active': row.active, 'priority': row.priority, 'location': row.location,
        'upstream_node_id': row.upstream_node_id, 'upstream_name': names.get(row.upstream_node_id, ''),
        'address': address, 'port': int(port) if port.isdigit() else port, 'role': 'unknown', 'state': 'unreachable',
        'error': answer.error if answer else 'no address is registered', 'timeline': None, 'version': None, 'lag_bytes': None,
        'lag_seconds': None, 'replay_paused': None, 'repmgrd': None, 'streams_from': None,
    }
    if answer is None or answer.observed is None:
        return facts
    observed = answer.observed
    server, repmgrd = observed.server, observed.repmgr['repmgrd']
    facts.update(
        state='running', error='', timeline=server.timeline, version=server.version,
        repmgrd=None if repmgrd['running'] is None else 'stopped' if not repmgrd['running'] else 'paused' if repmgrd['paused'] else 'running')
    if row.type == 'witness':
        facts['role'] = 'witness'
        return facts
    if primary and primary.observed.system_identifier != observed.system_identifier:
        facts.update(state='foreign', error='system identifier %s, its cluster has %s' % (
            observed.system_identifier, primary.observed.system_identifier))
        return facts
    facts['role'] = 'standby' if server.in_recovery else 'primary'
    if not server.in_recovery:
        return facts
    receiver = answer.tags.get('receiver')
    if receiver is None or receiver.get('status') not in (None, 'streaming'):
        facts.update(state='detached', error='it receives nothing')
    facts.update(
        lag_bytes=behind(primary.position if primary else None, answer.position), lag_seconds=server.lag_seconds,
        replay_paused=server.replay_paused, streams_from=names.get(_view.sender_node_id(observed, rows)[0]))
    return facts


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):

    NAME = 'pgfleet.repmgr.repmgr'

    def verify_file(self, path):
        return super(InventoryModule, self).verify_file(path) and path.endswith(('.repmgr.yml', '.repmgr.yaml'))

    def parse(self, inventory, loader, path, cache=True):
        super(InventoryModule, self).parse(inventory, loader, path, cache)
        self._read_config_data(path)
        self.load_cache_plugin()
        key, wanted = self.get_cache_key(path), self.get_option('cache')
        found = None
        if wanted and cache:
            try:
                found = self._cache[key]
            except KeyError:
                # Not cached, or expired.
                pass
        if found is None:
            found = self._look()
            if wanted:
                self._cache[key] = found
        for problem in found['problems']:
            self.display.warning(problem)
        self._populate(found['clusters'])

    def _look(self):
        if psycopg2 is None:
            raise AnsibleParserError(
                'The inventory plugin pgfleet.repmgr.repmgr needs the Python library psycopg2 on the controller, in the environment of Ansible '
                'itself. Type: python3 -m pip install psycopg2-binary')
        timeout = self.get_option('connect_timeout')
        clusters, problems = {}, []
        for name, targets in sorted(self._targets().items()):
            clusters[name], wrong = cluster_of(name, discover(targets, timeout))
            problems += wrong
        if problems and (self.get_option('strict') or not any(clusters.values())):
            raise AnsibleParserError('. '.join(problems))
        return {'clusters': clusters, 'problems': problems}

    def _targets(self):
        """{cluster: [keywords for each host]}. Errors never show the input, which may contain a password."""
        given = self.get_option('clusters')
        if not isinstance(given, dict) or not given:
            raise AnsibleParserError('clusters is %s, expected a dictionary of names and connection strings' % type(given).__name__)
        targets = {}
        for name, ways in given.items():
            targets['%s' % name] = []
            for way in ways if isinstance(ways, list) else [ways]:
                targets['%s' % name] += one_host_each(self._keywords(name, way))
        return targets

    def _keywords(self, name, way):
        # The messages of these exceptions are dropped, because they may quote a password.
        values = {}
        try:
            way = self.templar.template(way)
            if isinstance(way, dict):
                values = dict(('%s' % keyword, '%s' % value) for keyword, value in way.items() if value is not None and '%s' % value)
            elif not isinstance(way, (list, int, float)):
                values = _conninfo.parse('%s' % way)
        except (AnsibleError, ValueError):
            pass
        if not values:
            raise AnsibleParserError(
                "clusters.%s cannot be read; expected a connection string of libpq such as 'host=db1,db2 user=inventory dbname=repmgr', or a "
                "dictionary of its keywords (the value is not shown here, because it may contain a password)" % name)
        return values

    def _populate(self, clusters):
        strict, before, prefix = self.get_option('strict'), self.get_option('vars_prefix'), self.get_option('group_prefix')
        for group in ROLES + STATES:
            self.inventory.add_group(prefix + group)
        homes = {}
        for cluster, nodes in sorted(clusters.items()):
            group = self.inventory.add_group(self._sanitize_group_name('%scluster_%s' % (prefix, cluster)))
            for host, facts in sorted(nodes.items()):
                if homes.setdefault(host, cluster) != cluster:
                    raise AnsibleParserError('%s is a node of both %s and %s; expected different names, or one file and one run for each cluster' % (
                        host, homes[host], cluster))
                self.inventory.add_host(host, group)
                for member in (facts['role'], facts['state']):
                    if member in ROLES + STATES:
                        self.inventory.add_host(host, prefix + member)
                for name, value in facts.items():
                    self.inventory.set_variable(host, before + name, value)
                if facts['address'] and not facts['address'].startswith('/'):
                    self.inventory.set_variable(host, 'ansible_host', facts['address'])
                known = self.inventory.get_host(host).get_vars()
                self._set_composite_vars(self.get_option('compose'), known, host, strict=strict)
                known = self.inventory.get_host(host).get_vars()
                self._add_host_to_composed_groups(self.get_option('groups'), known, host, strict=strict)
                self._add_host_to_keyed_groups(self.get_option('keyed_groups'), known, host, strict=strict)
