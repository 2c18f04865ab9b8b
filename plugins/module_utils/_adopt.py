# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the observations of nodes that somebody has built by hand -> their clusters as an inventory of this collection, and what stands in the way.

`adopt` takes records, one dictionary for each host: name, as it was given; connection, the variables by which Ansible connects to it; observed and by_hand,
as repmgr_cluster_info returned them, None where it did not answer, with the reason; places, where this collection has the files of a node of that version.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _contract_host, _contract_settings, _contract_values, _settings, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import HIDDEN
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed, Problem, integer
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import trust

# roles/common/defaults has them; a test compares the two.
DEFAULTS = {
    'repmgr_port': 5432, 'repmgr_user': 'repmgr', 'repmgr_database': 'repmgr', 'repmgr_priority': 100, 'repmgr_location': 'default',
    'repmgr_failover': 'automatic', 'repmgr_synchronous': 0, 'repmgr_upstream': '', 'repmgr_package_source': 'pgdg',
}
# The variables that tell how Ansible connects to a host.
CONNECTION = (
    'ansible_host', 'ansible_port', 'ansible_user', 'ansible_connection', 'ansible_ssh_private_key_file', 'ansible_ssh_common_args', 'ansible_ssh_extra_args',
    'ansible_ssh_executable', 'ansible_control_path_dir', 'ansible_python_interpreter', 'ansible_become', 'ansible_become_method', 'ansible_become_exe')
# What is written for each node, whether others of its cluster have the same or not.
_OWN = ('repmgr_node_id', 'repmgr_node_name', 'repmgr_address', 'repmgr_upstream')
# {code: (seen, expected, steps, whether the inventory is not whole because of it)}
PROBLEMS = {
    'unreachable': ('could not be looked at: {reason}', 'a host that Ansible logs in to and becomes root on', [
        'Correct the list of hosts, or make it reachable.'], True),
    'no_postgresql': ('has no PostgreSQL server with data', 'a node of a cluster', ['Take it out of the list of hosts; a new node is added later by add_node.'],
                      False),
    'no_configuration': ('runs PostgreSQL and has no repmgr.conf where one was looked for', 'a node that is registered with repmgr', [
        'Register it, or start its repmgrd with -f and the path of its repmgr.conf, or take it out of the list of hosts.'], True),
    'no_answer': ('its server runs and did not answer: {reason}', 'an answer over {conninfo}, or over its socket as postgres', [
        'Look at its log and at pg_hba.conf.'], True),
    'stopped': ('its server is stopped', 'a server that runs', [
        'What only a running server says is not in the inventory. site.yml starts a standby; a former primary is brought back by rejoin.'], False),
    'restoring': ('its server recovers from an archive, and promotes itself when that is done', 'a standby, or a primary', list(_steps.RESTORING), True),
    'several_nodes': ('has the configuration of several nodes: {files}', 'one node on each host', [
        'This collection deploys one. The inventory has the node of the first file.'], True),
    'not_registered': ('node {node_id} is not in repmgr.nodes of any cluster here', 'a registered node', [
        'Add a host of its cluster to the list, or register it. It is not in the inventory.'], True),
    'other_data': ('is registered in the cluster of {primary} and its data are of another one (system identifier {found}, not {wanted})',
                   'data of the cluster that it is registered in', ['It is not in the inventory: clone it again, or unregister it.'], True),
    'unlisted_node': ('node {node_id} is registered and is none of these hosts; its conninfo has host {host}', 'every registered node in the list of hosts', [
        'Add the host to the list, or unregister the node where it is gone for good: repmgr {type} unregister --node-id={node_id}.'], True),
    'several_primaries': ('are primaries of one cluster', 'one primary', ['Stop the one that is wrong before anything else.'], True),
    'no_primary': ('none of these hosts is a running primary of the cluster', 'one primary', [
        'Start it, or add it to the list of hosts.'], True),
    'other_node_id': ('repmgr.conf says node {node_id} and another host says the same: {other}', 'an id for one node', ['Correct repmgr.conf.'], True),
    'differs_from_record': ('repmgr.conf says {conf} and repmgr.nodes {record}', 'the same in both', [
        'The inventory has what repmgr.conf says; site.yml registers it anew.'], False),
    'other_places': ('has {what} in {found}, and this collection works with {wanted}', 'the places of the packages', [
        'site.yml refuses it or writes to its own place: move it, or adopt the cluster without it.'], True),
    'several_versions': ('run PostgreSQL {versions}', 'one major version in a cluster', ['Upgrade the older ones first.'], True),
    'own_certificate': ('serves the certificate {certificate} and no root certificate is known to its clients', 'sslrootcert in conninfo', [
        'Set repmgr_tls, to provided with its three files or to managed, in the inventory.'], True),
    'unknown_password': ('repmgr.conf has a password in {where}, which is not written anywhere here', 'the password in repmgr_password', [
        'Put it into the inventory as repmgr_password, from a vault.'], False),
    'other_passfile': ('repmgr.conf names the passfile {path}, which is not read here', 'the password of the repmgr role in ~postgres/.pgpass', [
        'Add its line there, or site.yml would make a new password.', 'Run again.'], True),
    'hidden_setting': ('repmgr.conf has a password in {names}, which is left out of the inventory', 'settings without passwords', [
        'Add {names} to repmgr_settings by hand, from a vault, or site.yml would write repmgr.conf without it.'], True),
    'refused_setting': ('{what}', 'what site.yml takes', ['Correct it in the inventory.'], True),
}


def _problem(code, nodes, **words):
    seen, expected, steps, stop = PROBLEMS[code]
    nodes = [nodes] if hasattr(nodes, 'lower') else list(nodes)
    return Problem(code=code, node=', '.join(nodes), nodes=nodes, seen=seen.format(**words), expected=expected.format(**words),
                   steps=_steps.listed(_steps.filled(steps, words)), stop=stop)


class _Host:
    """A host with what was found on it."""

    def __init__(self, record):
        self.given = record['name']
        self.connection = dict(record.get('connection') or {})
        self.places = record.get('places') or {}
        self.reason = ' '.join(('%s' % (record.get('reason') or 'no reason was given')).split())
        # Templates of older cores make an empty text of none.
        self.observed = Observed.from_dict(record['observed']) if record.get('observed') else None
        self.found = record.get('by_hand') or {}
        self.conf = self.found.get('settings') or {}
        self.conninfo = _conninfo.effective(_conninfo.parse_or_empty(self.conf.get('conninfo')))
        self.node_id = integer(self.conf.get('node_id'))
        self.name = self.given
        self.row = None
        self.role = None

    @property
    def node_name(self):
        return '%s' % (self.conf.get('node_name') or self.given)

    @property
    def server(self):
        return self.observed.server

    @property
    def rows(self):
        return self.observed.nodes or []

    def setting(self, name):
        return ('%s' % (self.conf[name],)).strip() if name in self.conf else None


# -- which cluster a host belongs to

def adopt(records):
    """{clusters, problems, complete}. A cluster: {name, nodes, variables, comments, report}; a node: {name, group, variables, comments, seen, report}."""
    hosts, problems = _nodes([_Host(record) for record in records])
    groups, more = _grouped(hosts)
    problems += more
    names, clusters = [], []
    for members in groups:
        cluster, more = _cluster(members, list(names), len(groups) > 1)
        names.append(cluster['name'])
        problems += more
        clusters.append(cluster)
    _unique_names(clusters)
    return {'clusters': clusters, 'problems': [dict(problem.to_dict(), message=problem.message, command=problem.command) for problem in problems],
            'complete': bool(clusters) and not any(problem.stop for problem in problems)}


def _nodes(hosts):
    """Those that are nodes of some cluster, and what is wrong with the others."""
    found, problems = [], []
    for host in hosts:
        if host.observed is None:
            problems.append(_problem('unreachable', host.given, reason=host.reason))
        elif host.observed.data.state in ('missing', 'empty', 'unknown') and host.server.state != 'running':
            problems.append(_problem('no_postgresql', host.given))
        elif host.node_id is None:
            problems.append(_problem('no_configuration', host.given))
        else:
            found.append(host)
            if host.found.get('other_configs'):
                problems.append(_problem('several_nodes', host.given, files=', '.join([host.found['config_file']] + host.found['other_configs'])))
            if host.server.state == 'stopped':
                problems.append(_problem('stopped', host.given))
            elif host.server.in_recovery and host.observed.data.promotes_itself:
                problems.append(_problem('restoring', host.given))
            elif not host.server.sql:
                problems.append(_problem('no_answer', host.given, reason=' '.join((host.server.error or 'no reason is known').split()).rstrip('.'),
                                         conninfo=host.conf.get('conninfo') or 'its conninfo'))
    return found, problems


def _identity(row):
    return row.node_id, row.node_name, row.conninfo


def _registered(host, rows):
    """The row that is this host's, by its id and its name."""
    found = [row for row in rows if row.node_id == host.node_id and row.node_name == host.node_name]
    return found[0] if found else None


def _registry(members):
    """The rows of repmgr.nodes that count."""
    having = [host for host in members if host.rows]
    return max(having, key=lambda host: trust(host.role == 'witness', host.server.in_recovery is False, host.server.timeline)).rows if having else []


def _grouped(hosts):
    """([members of a cluster], problems). Data nodes belong together by their system identifier, a witness by the records that it has a copy of."""
    problems, groups, witnesses = [], {}, []
    order = []
    known = [row for host in hosts for row in host.rows]
    for host in hosts:
        own = _registered(host, host.rows) or _registered(host, known)
        if own is not None and own.type == 'witness':
            host.role = 'witness'
            witnesses.append(host)
        else:
            key = host.observed.system_identifier
            groups.setdefault(key, []).append(host)
            if key not in order:
                order.append(key)
    clusters = [key for key in order if _registry(groups[key])]
    for key in order:
        for host in [host for host in groups[key] if key not in clusters or _registered(host, _registry(groups[key])) is None]:
            elsewhere = [other for other in clusters if other != key and _registered(host, _registry(groups[other]))]
            if elsewhere:
                problems.append(_problem('other_data', host.given, primary=_first(groups[elsewhere[0]]).given, found=key or 'unknown', wanted=elsewhere[0]))
            else:
                problems.append(_problem('not_registered', host.given, node_id=host.node_id))
            groups[key].remove(host)
    for host in witnesses:
        own = _registered(host, host.rows) or _registered(host, known)
        at = [key for key in clusters if _registered(host, _registry(groups[key])) is not None
              and _identity(_registered(host, _registry(groups[key]))) == _identity(own)]
        if len(at) > 1 and host.rows:
            copied = set(map(_identity, host.rows))
            at = [key for key in at if set(map(_identity, _registry(groups[key]))) == copied] or at
        if len(at) != 1:
            problems.append(_problem('not_registered', host.given, node_id=host.node_id))
        else:
            groups[at[0]].append(host)
    return [groups[key] for key in clusters if groups[key]], problems


def _first(members):
    return sorted(members, key=lambda host: host.server.in_recovery is not False)[0]


def _unique_names(clusters):
    """Two clusters may use the same node names; then hosts keep the names by which they were given."""
    seen = {}
    for cluster in clusters:
        for node in cluster['nodes']:
            seen.setdefault(node['name'], []).append(node)
    for nodes in seen.values():
        if len(nodes) > 1:
            for node in nodes:
                old = node['name']
                node['name'] = node['given']
                if node['node_name'] != node['given']:
                    node['variables']['repmgr_node_name'] = node['node_name']
                for cluster in clusters:
                    for other in cluster['nodes'] if node in cluster['nodes'] else []:
                        if other['variables'].get('repmgr_upstream') == old:
                            other['variables']['repmgr_upstream'] = node['given']


# -- one cluster

def _cluster(members, taken, several):
    registry, problems = _registry(members), []
    for host in members:
        host.row = _registered(host, registry)
        # A host that was given by its address is called by the name of its node.
        if _is_address(host.given) and not _is_address(host.node_name):
            host.name = host.node_name
    doubled = [host for host in members if [other for other in members if other is not host and other.node_id == host.node_id]]
    for host in doubled:
        problems.append(_problem('other_node_id', host.given, node_id=host.node_id,
                                 other=', '.join(other.given for other in doubled if other is not host and other.node_id == host.node_id)))
    ids = [host.node_id for host in members]
    for row in registry:
        if row.node_id not in ids:
            values = _conninfo.parse_or_empty(row.conninfo)
            problems.append(_problem('unlisted_node', row.node_name, node_id=row.node_id, type=row.type,
                                     host=_conninfo.address(values) or '(none)'))
    primary, more = _roles(members)
    problems += more
    versions = sorted(set(version for version in map(_major, members) if version))
    if len(versions) > 1:
        problems.append(_problem('several_versions', [host.given for host in members], versions=' and '.join(versions)))
    nodes = [_node(host, members, primary, registry) for host in members]
    for node in nodes:
        problems += node.pop('problems')
    name, why = _cluster_name(members, primary, taken)
    variables, comments = _common(nodes)
    variables['repmgr_cluster_name'], comments['repmgr_cluster_name'] = name, why
    data = [host for host in members if host.role != 'witness']
    if len(data) == 2 and len(members) == 2:
        variables['repmgr_allow_two_nodes'] = True
        comments['repmgr_allow_two_nodes'] = 'two nodes and no witness: nobody is promoted by itself'
    return {'name': name, 'primary': primary.name if primary else None, 'system_identifier': _first(data or members).observed.system_identifier,
            'variables': variables, 'comments': comments, 'nodes': nodes}, problems


def _major(host):
    number = host.server.version_num
    if number:
        return '%d' % (number // 10000)
    return host.observed.data.major


def _roles(members):
    """Gives each host its role; the primary, and what is wrong with it."""
    for host in members:
        host.role = 'witness' if host.row is not None and host.row.type == 'witness' else 'standby'
    data = [host for host in members if host.role != 'witness']
    live = sorted([host for host in data if host.server.sql and host.server.in_recovery is False], key=lambda host: -(host.server.timeline or 0))
    recorded = [host for host in data if host.row is not None and host.row.type == 'primary' and host.row.active]
    primary = (live + recorded + [None])[0]
    if primary is not None:
        primary.role = 'primary'
    problems = []
    if len(live) > 1:
        problems.append(_problem('several_primaries', [host.given for host in live]))
    if not live:
        problems.append(_problem('no_primary', [host.given for host in members]))
    return primary, problems


def _is_address(name):
    return bool(re.match(r'(\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)\Z', name))


def _cluster_name(members, primary, taken):
    """(name, where it is from). Nothing of repmgr has one; the server may."""
    source = primary or members[0]
    name = (source.server.settings or {}).get('cluster_name') or ''
    why = 'cluster_name of the server'
    # Debian writes VERSION/NAME there.
    if not name or re.match(r'\d+/', name) or name in [host.node_name for host in members]:
        name, why = _common_part([host.node_name for host in members]), 'what the names of its nodes have in common; change it if you like'
    name = re.sub('[^A-Za-z0-9._-]', '-', name)[:_contract_host.CLUSTER_NAME_LENGTH - 3].strip('._-') or ''
    if not name:
        name, why = 'cluster', 'no name was found; change it if you like'
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = '%s-%d' % (name, number)
    return chosen, why


def _common_part(names):
    shortest = min(names, key=len)
    length = 0
    while length < len(shortest) and all(name.startswith(shortest[:length + 1]) for name in names):
        length += 1
    return re.sub(r'[0-9._-]+\Z', '', shortest[:length])


def _common(nodes):
    """What all nodes of a cluster have goes to the cluster; what a part has stays with each."""
    variables, comments = {}, {}
    for name in sorted(set(name for node in nodes for name in node['variables'])):
        values = [node['variables'].get(name) for node in nodes if node['group'] != 'witness' or name not in _NOT_OF_A_WITNESS]
        if name in _OWN or not values or any(value != values[0] for value in values):
            continue
        variables[name] = values[0]
        comments[name] = [node['comments'][name] for node in nodes if name in node['variables']][0]
        for node in nodes:
            node['variables'].pop(name, None)
            node['comments'].pop(name, None)
    return variables, comments


# -- one node

# Nothing is promoted there and nothing replicates, so that it says nothing of the others.
_NOT_OF_A_WITNESS = ('repmgr_priority', 'repmgr_synchronous', 'repmgr_failover')
_PLAIN_COMMAND = r'(\S*/)?repmgr(\s+-\S+(\s+[^-\s]\S*)?)*\s+standby\s+%s(\s+[^;&|<>`$()]*)?\Z'
_OURS = r'/usr/local/sbin/repmgr-guard(\s|\Z)'
# repmgr.conf: what the collection writes itself, besides what it does not leave to anybody (_contract_settings.OWNED_BY_REPMGR_CONF).
WRITTEN = ('ssh_options', 'service_start_command', 'service_stop_command', 'service_restart_command', 'service_reload_command', 'service_promote_command',
           'repmgrd_service_start_command', 'repmgrd_service_stop_command', 'monitor_interval_secs', 'reconnect_attempts', 'reconnect_interval',
           'primary_visibility_consensus', 'log_file', 'log_facility', 'log_status_interval', 'election_rerun_interval', 'witness_sync_interval',
           'repmgrd_pid_file', 'repmgr_bindir', 'include', 'include_dir', 'include_if_exists')
# What it writes and what may be another's by repmgr_settings.
_VALUES = {'monitoring_history': ('no', 'false', 'off', '0'), 'log_level': ('INFO', 'info')}


def _node(host, members, primary, registry):
    variables, comments, problems = {'repmgr_node_id': host.node_id}, {}, []
    places, conf = host.places, host.conf

    def differs(name, value, seen, default=None):
        if value is not None and value != (DEFAULTS.get(name) if default is None else default):
            variables[name], comments[name] = value, seen

    if host.name != host.given:
        host.connection.setdefault('ansible_host', host.given)
    differs('repmgr_node_name', host.node_name, 'repmgr.conf: node_name=%s' % host.node_name, host.name)
    address = _conninfo.address(host.conninfo)
    differs('repmgr_address', address, 'repmgr.conf: conninfo has host %s' % address, '%s' % (host.connection.get('ansible_host') or host.name))
    port = integer((host.server.settings or {}).get('port')) or integer(host.conninfo.get('port'))
    differs('repmgr_port', port, 'the server listens on port %s' % port)
    for name, keyword in (('repmgr_user', 'user'), ('repmgr_database', 'dbname')):
        differs(name, host.conninfo.get(keyword), 'repmgr.conf: conninfo has %s=%s' % (keyword, host.conninfo.get(keyword)))
    major = _major(host)
    differs('repmgr_postgresql_version', major, 'PostgreSQL %s' % (host.server.version or major), places.get('default_version'))
    directory = (host.server.settings or {}).get('data_directory') or host.found.get('data_directory')
    differs('repmgr_data_directory', directory, 'the data directory', places.get('data_directory') or directory)
    if not host.observed.package_sources and places.get('os_family'):
        differs('repmgr_package_source', 'distro', 'no package source of PGDG on the host')
    if host.role != 'witness':
        priority = integer(conf.get('priority', 100))
        differs('repmgr_priority', priority, 'repmgr.conf: priority=%s' % conf.get('priority'))
        # repmgr's own default is manual.
        failover = (host.setting('failover') or 'manual').lower()
        differs('repmgr_failover', failover, 'repmgr.conf: %s' % ('failover=%s' % failover if 'failover' in conf else 'no failover, which is manual'))
        names = (host.server.settings or {}).get('synchronous_standby_names') if host.server.sql else None
        if primary is not None and primary.server.sql:
            names = (primary.server.settings or {}).get('synchronous_standby_names')
        differs('repmgr_synchronous', _settings.confirmations(names), 'synchronous_standby_names = %s' % names)
    location = host.setting('location') or 'default'
    differs('repmgr_location', location, 'repmgr.conf: location=%s' % location)
    upstream = _upstream(host, members, primary)
    differs('repmgr_upstream', upstream, 'repmgr.nodes: its upstream is node %s' % (host.row.upstream_node_id if host.row is not None else ''))
    settings = _kept_settings(conf)
    hidden = sorted(name for name in settings if HIDDEN in '%s' % (settings[name],))
    if hidden:
        settings = dict((name, value) for name, value in settings.items() if name not in hidden)
        problems.append(_problem('hidden_setting', host.given, names=', '.join(hidden)))
    if settings:
        variables['repmgr_settings'], comments['repmgr_settings'] = settings, 'repmgr.conf: %s' % ', '.join(sorted(settings))
    problems += _certificate(host, differs)
    problems += _own_problems(host, directory)
    return {
        'name': host.name, 'given': host.given, 'node_id': host.node_id, 'node_name': host.node_name, 'group': host.role, 'connection': host.connection,
        'variables': variables, 'comments': comments, 'problems': problems, 'seen': _seen(host, major), 'report': _report(host, members, primary)}


def _upstream(host, members, primary):
    """The data node that a cascaded standby follows; nothing where that is the primary."""
    if host.role != 'standby' or host.row is None or primary is None or host.row.upstream_node_id in (None, primary.node_id):
        return ''
    above = [other.name for other in members if other.node_id == host.row.upstream_node_id and other.role == 'standby']
    return (above + [''])[0]


def _kept_settings(conf):
    """What the collection does not write goes on as repmgr_settings."""
    found = {}
    for name, value in conf.items():
        if name in _contract_settings.OWNED_BY_REPMGR_CONF or name in WRITTEN or not _contract_settings.SETTING.match(name) or not '%s' % (value,):
            continue
        if name in _VALUES and '%s' % (value,) in _VALUES[name]:
            continue
        found[name] = value
    return found


def _certificate(host, differs):
    """A certificate of the operator's own is used on; that of a package or of this collection is not his."""
    settings, own = host.server.settings or {}, _settings.found(host.server)
    certificate, key = own.get('ssl_cert_file') or '', settings.get('ssl_key_file') or ''
    if settings.get('ssl') != 'on' or not certificate or certificate.startswith('/etc/pgfleet/'):
        return []
    directory = settings.get('data_directory') or ''
    root = host.conninfo.get('sslrootcert')
    if not root:
        return [_problem('own_certificate', host.given, certificate=certificate)]
    differs('repmgr_tls', 'provided', 'the server has a certificate of its own')
    for name, path in (('repmgr_tls_certificate', certificate), ('repmgr_tls_key', key), ('repmgr_tls_root', root)):
        differs(name, path if path.startswith('/') else '%s/%s' % (directory, path), 'the file in use')
    return []


def _own_problems(host, directory):
    problems, conf, places = [], host.conf, host.places
    if places.get('config_directory') and host.found.get('config_directory') not in (None, places['config_directory'], directory):
        problems.append(_problem('other_places', host.given, what='postgresql.conf', found=host.found['config_directory'], wanted=places['config_directory']))
    if host.row is not None:
        for name, own, record in (('priority', integer(conf.get('priority', 100)), host.row.priority),
                                  ('location', host.setting('location') or 'default', host.row.location)):
            # A witness is registered with priority 0 whatever its file says.
            if own != record and not (name == 'priority' and host.role == 'witness'):
                problems.append(_problem('differs_from_record', host.given, conf='%s=%s' % (name, own), record='%s' % (record,)))
        if not _conninfo.same(host.conf.get('conninfo') or '', host.row.conninfo):
            problems.append(_problem('differs_from_record', host.given, conf='conninfo %s' % host.conf.get('conninfo'), record=host.row.conninfo))
    password = host.found.get('password') or {}
    where = (['conninfo'] if password.get('in_conninfo') else []) + list(password.get('in_conf') or [])
    if where and not password.get('in_passfile'):
        problems.append(_problem('unknown_password', host.given, where=', '.join(where)))
    if password.get('other_passfile') and not password.get('in_passfile'):
        problems.append(_problem('other_passfile', host.given, path=password['other_passfile']))
    failover = (host.setting('failover') or 'manual').lower()
    if failover not in _contract_values.FAILOVER:
        problems.append(_problem('refused_setting', host.given, what='repmgr.conf has failover=%s' % failover))
    return problems


def _seen(host, major):
    """One line of what the node is."""
    words = ['node %s "%s"' % (host.node_id, host.node_name), host.role if host.server.state == 'running' else '%s, stopped' % host.role,
             'PostgreSQL %s' % (host.server.version or major or '?')]
    if host.observed.repmgr_version:
        words.append('repmgr %s' % host.observed.repmgr_version)
    return ', '.join(words + ['%s' % host.found.get('config_file'), '%s' % host.found.get('data_directory')])


# -- the report

def _report(host, members, primary):
    """[{what, seen, site}]: what the node has that this collection does in its own way, and what site.yml does with it."""
    found, conf, repmgr = [], host.conf, host.observed.repmgr or {}

    def say(what, seen, site):
        found.append({'what': what, 'seen': seen, 'site': site})

    runs, becomes = _daemon(host)
    say('repmgrd', runs, becomes)
    for entry in host.found.get('cron') or []:
        say('cron', '%s: %s' % (entry['file'], entry['line']), 'stays: remove the line, or two repmgrd watch this node')
    if host.found.get('trust'):
        say('pg_hba.conf', '%d lines with trust: %s' % (len(host.found['trust']), '; '.join(host.found['trust'][:3]) + (
            ' ...' if len(host.found['trust']) > 3 else '')), 'those for the repmgr role alone are replaced by hostssl with SCRAM; the others stay')
    if repmgr.get('superuser') and repmgr.get('role') == host.conninfo.get('user'):
        say('role %s' % repmgr['role'], 'is a superuser', 'takes that right away at the end (repmgr_insecure: [superuser] leaves it)')
    tls = (host.server.settings or {}).get('ssl')
    if tls is not None and host.conninfo.get('sslmode') not in ('require', 'verify-ca', 'verify-full'):
        say('TLS', 'the server has it %s, and conninfo does not ask for it' % tls, 'certificates of an authority of its own, and sslmode=verify-full')
    password = host.found.get('password') or {}
    where = (['conninfo'] if password.get('in_conninfo') else []) + list(password.get('in_conf') or []) + (
        [password['in_passfile']] if password.get('in_passfile') else []) + ([password['other_passfile']] if password.get('other_passfile') else [])
    say('password', 'in %s' % ', '.join(where) if where else 'none', 'goes on' if password.get('in_passfile') else
        'set repmgr_password to keep it' if where else 'makes one, and every node gets it')
    for name, plain in (('promote_command', 'promote'), ('follow_command', 'follow'), ('failover_validation_command', None),
                        ('event_notification_command', None)):
        _command(host, name, plain, say)
    if host.role != 'witness':
        slots = (host.setting('use_replication_slots') or 'no').lower() in ('yes', 'true', 'on', '1')
        if not slots:
            say('slots', 'use_replication_slots is off', 'gives every standby a slot')
    if host.places.get('config_file') and host.found.get('config_file') not in (None, host.places['config_file']):
        say('repmgr.conf', host.found['config_file'], 'writes %s; the old file stays and is not used any more' % host.places['config_file'])
    timings = [name for name in ('monitor_interval_secs', 'reconnect_attempts', 'reconnect_interval') if name in conf]
    if timings:
        say('timings', ', '.join('%s=%s' % (name, conf[name]) for name in timings), 'those of repmgr_failover_profile, safe')
    if host.role != 'witness' and host.observed.guard is None:
        say('guard', 'none', 'installs it: a primary that loses the majority stops')
    return found


def _daemon(host):
    """What runs repmgrd, and what site.yml does with it."""
    daemons = host.observed.daemons or []
    if not daemons:
        return 'does not run', 'starts it by its unit'
    units = sorted(set(entry['unit'] or '' for entry in daemons))
    if units == ['repmgrd.service'] and host.observed.deployed:
        return 'the unit of this collection', 'goes on'
    words = []
    for unit in units:
        if unit:
            packaged = re.match(r'repmgrd?[-_]?\d*\.service\Z', unit)
            words.append('%s %s' % ('the unit of a package,' if packaged else "the operator's unit", unit))
        else:
            words.append('cron, as a daemon' if host.found.get('cron') else 'no unit: by hand or by a script')
    return ' and '.join(words), 'stops and disables it, and starts its own unit'


def _command(host, name, plain, say):
    value = host.setting(name)
    if not value or re.match(_OURS, value) or (plain and re.match(_PLAIN_COMMAND % plain, value)):
        return
    site = {
        'event_notification_command': 'goes on, as repmgr_settings' if HIDDEN not in value else 'goes on if it is added to repmgr_settings by hand',
        'failover_validation_command': 'replaces it: the guard has to be asked there',
    }.get(name, 'replaces it by repmgr\'s own command: what it does besides (a VIP, a proxy) has to move, for instance to event_notification_command')
    say(name, value, site)
