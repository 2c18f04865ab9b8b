# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: repmgr
short_description: Hosts of running repmgr clusters, grouped by what they are right now
version_added: 0.1.0
author:
  - The pgfleet authors (@pgfleet)
description:
  - Asks running clusters who belongs to them, and every registered node itself what it is. C(hosts=primary) of a play is then the node that
    is primary now, also right after a switchover or failover, and without a change to any file.
  - The source is a YAML file whose name ends with C(.repmgr.yml) or C(.repmgr.yaml).
  - All hosts of all given connection strings are tried, and then every node that is registered in C(repmgr.nodes), all at the same time.
    What a node is, it says itself (is it in recovery?); the table alone would be behind for as long as a failover takes.
  - A node that does not answer is in the group C(unreachable), in that of its cluster, and in no group of a role. That is a warning and no
    error as long as one node answers.
  - Changes nothing, and asks nothing that locks anything.
notes:
  - "The login needs no more than this, run once on the primary and once on each witness, which has a database of its own (repmgr's database
    is C(repmgr) here):
    C(CREATE ROLE inventory LOGIN PASSWORD '...'; GRANT USAGE ON SCHEMA repmgr TO inventory; GRANT SELECT ON repmgr.nodes TO inventory;)"
  - "C(GRANT pg_monitor TO inventory;) adds two things: C(repmgr_streams_from), and C(repmgr_timeline) of a standby right after a failover, which
    without it is known only from the standby's next checkpoint on. Everything else is there without it."
  - "Each node has to let it in. Where the roles of this collection deploy it, that is C(repmgr_pg_hba_extra), for instance
    C({contype: hostssl, databases: repmgr, users: inventory, address: 192.168.56.1/32, method: scram-sha-256})."
  - Passwords are best kept in C(~/.pgpass) of the user who runs Ansible (or where O(clusters) says C(passfile)), or come from a vault or a
    lookup. They are never printed, nor cached, nor variables of a host.
  - It is meant for ad-hoc commands and for your own playbooks, such as a backup of a standby. The playbooks of this collection want the
    inventory in which each node stands whether it lives or not; they refuse this one, because it does not define C(repmgr_cluster_name).
    Where you use both at once, set O(group_prefix) and O(vars_prefix), so that the one does not overrule the other.
  - Variables of each host, with O(vars_prefix) in front. C(cluster) is the name from O(clusters). C(role) is V(primary), V(standby),
    V(witness), or V(unknown) for one that does not answer. C(state) is V(running), V(detached) for a standby that receives nothing,
    V(foreign) for a server that is no copy of its cluster, or V(unreachable); C(error) says why. C(node_id), C(type), C(active), C(priority),
    C(location), C(upstream_node_id) and C(upstream_name) are as registered. C(primary) is the name of the cluster's primary, empty where
    there is none or more than one. C(address) and C(port) are those of the server; the address is C(ansible_host), too. C(timeline),
    C(version), C(lag_bytes) (what the primary has written and the node has not replayed), C(lag_seconds) (age of the last replayed transaction,
    0 where all that was received is replayed), C(replay_paused), C(repmgrd) (V(running), V(paused) or V(stopped)) and C(streams_from) are V(none)
    where they are not known.
requirements:
  - psycopg2 on the controller (C(pip install psycopg2-binary), or the package python3-psycopg2)
  - PostgreSQL 10 or later, repmgr 4.2 or later
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Has to be V(pgfleet.repmgr.repmgr).
    type: str
    required: true
    choices: [pgfleet.repmgr.repmgr]
  clusters:
    description:
      - "A dictionary. The keys are names for the clusters, the values say how to reach them: a connection string of libpq (C(host=a,b
        user=...) or C(postgresql://...)), a dictionary of the same keywords, or a list of these, which are all tried."
      - Of several hosts every one is asked, so C(target_session_attrs) means nothing here. One that answers is enough to find all others.
      - Nodes are reached at the host and port of their C(conninfo) in C(repmgr.nodes), and with everything else (user, password, database,
        C(sslmode)) as in the connection string that has found them.
      - Values may be templates, and vaulted.
    type: raw
    required: true
  connect_timeout:
    description:
      - Seconds that a connection may take to be made, and then again that its answers may take. All nodes are asked at the same time, so
        a dead one costs this once (twice where only an answer has revealed it).
    type: int
    default: 3
  strict:
    description:
      - Fail where a registered node does not answer, where a cluster has no primary or two, and where an expression of O(compose), O(groups)
        or O(keyed_groups) is not valid. Otherwise the first two are warnings, and the last is skipped.
    type: bool
    default: false
  group_prefix:
    description: What the names of the groups C(primary), C(standby), C(witness), C(running), C(detached), C(foreign), C(unreachable) and
      C(cluster_NAME) begin with.
    type: str
    default: ""
  vars_prefix:
    description: What the names of the variables of a host begin with.
    type: str
    default: repmgr_
"""

EXAMPLES = r"""
# orders.repmgr.yml: one that answers is enough. The password is in ~/.pgpass.
#
#   ansible-inventory -i orders.repmgr.yml --graph
#   ansible -i orders.repmgr.yml primary -m ansible.builtin.ping
#   ansible -i orders.repmgr.yml 'standby:!detached' -m ansible.builtin.command -a uptime
plugin: pgfleet.repmgr.repmgr
clusters:
  orders: host=db1,db2,db3 user=inventory dbname=repmgr sslmode=verify-full sslrootcert=/etc/ssl/orders.crt

# Two clusters, a password from the environment, groups by location, hosts reached under another name than the servers:
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

# Beside an inventory of this collection: nothing of the same name. Kept for a minute:
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

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _observe
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
# Where, not as whom; and what would keep libpq from asking a node that is not what the application wants.
_PLACE = ('host', 'hostaddr', 'port')
_CHOICE = ('target_session_attrs', 'load_balance_hosts')


class Answer:
    """What one server said, or why it did not."""

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
        """What it has written, or as a standby replayed, in bytes; or None."""
        return (self.tags.get('position') or {}).get('bytes')

    def own_row(self, rows):
        """The registered node that this is: the one of this address, else the one that its repmgrd has told the server."""
        for row in rows:
            if place(target(row, self.values)) == place(self.values):
                return row
        local = self.tags.get('local_node_id')
        return next((row for row in rows if row.node_id == local), None)


# -- connection strings

def one_host_each(values):
    """libpq's keywords for several hosts -> [keywords for one]."""
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
    """How to reach a registered node as the same user as another one."""
    theirs = _conninfo.parse_or_empty(row.conninfo)
    there = dict((name, theirs[name]) for name in _PLACE if theirs.get(name))
    return dict(((name, value) for name, value in values.items() if name not in _PLACE), **there)


# -- asking

def ask(values, timeout):
    """One server's Answer."""
    options = '%s -c statement_timeout=%d' % (values.get('options') or '', timeout * 1000)
    given = dict({'application_name': 'repmgr_inventory', 'client_encoding': 'UTF8'}, **values)
    tags, errors = {}, []
    try:
        connection = psycopg2.connect(**dict(given, connect_timeout='%d' % timeout, options=options.strip()))
        try:
            # A statement that is not allowed is no reason to leave the others out.
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
    observed = Observed(repmgr=_observe.no_repmgr())
    _observe.take_sql(observed, tags, values.get('dbname') or values.get('user'))
    return Answer(values, observed, tags, errors[0] if errors else '')


def said(error, values):
    text = redacted(' '.join(('%s' % error).split()))
    password = values.get('password')
    return text.replace(password, '********') if password else text


def ask_all(targets, timeout):
    """[Answer] of all at once. Whoever stands still after a connection was made is not waited for."""
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
    """[Answer] of the given servers, and of every node that anybody of them, or of those, has on record."""
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
    """The records that count."""
    def rank(answer):
        row = answer.own_row(answer.rows)
        return trust(row is None or row.type == 'witness', answer.observed.server.in_recovery is False, answer.observed.server.timeline)

    having = [answer for answer in answers if answer.rows]
    return max(having, key=rank).rows if having else []


def cluster_of(name, answers):
    """[Answer] -> ({node name: facts}, [what is wrong])."""
    rows = registry(answers)
    if not rows:
        return {}, ['%s: %s' % (name, nothing(answers))]
    found = {}
    for row in rows:
        mine = [answer for answer in answers if answer.own_row(rows) is row]
        # An address of the connection string may be another one than the registered, and the only one that can be reached from here.
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
    return 'no node could be asked for its records: %s; expected one that answers, and a login that may read repmgr.nodes' % '; '.join(parts)


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
        replay_paused=server.replay_paused, streams_from=names.get(_observe.sender_node_id(observed, rows)[0]))
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
                # None yet, or too old.
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
        """{cluster: [keywords of one host]}. What was given is never shown: it may hold a password."""
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
        # What a parser or a template's error says may quote a password: it is dropped.
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
                "dictionary of its keywords (it is not shown here, because it may hold a password)" % name)
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
