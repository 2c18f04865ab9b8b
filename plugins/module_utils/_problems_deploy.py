# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems that only a deployment has: changes of the inventory that site cannot make, and package sources that do not work."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _changeover, _cluster, _conninfo, _problems_servers, _settings, _sources, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer, plain


def deploy_problems(hosts):
    """[problem as a dictionary] that would make a deployment fail halfway, or cut off nodes.

    A deployment writes passwords, ports and names on all nodes long before the servers use them. hosts: [Host] of one cluster.
    """
    cluster = _cluster.Cluster(hosts)
    _problems_servers.check_runs(cluster)
    if cluster.has('other_run'):
        return []
    _cluster.find_registry(cluster)
    _cluster.find_primary(cluster)
    cluster.problems = []
    for host in cluster.seen:
        _check_port(cluster, host)
        _check_names(cluster, host)
        _check_hba_file(cluster, host)
        unusable = _sources.plan(host)['problem']
        if unusable:
            cluster.problem('unusable_source', host.name, 'the package source %s, %s' % (unusable['source'], unusable['seen']), unusable['expected'],
                            unusable['steps'])
    _check_password(cluster)
    _check_unknown_password(cluster)
    if cluster.exists:
        _check_changeover(cluster)
    _check_settings(cluster)
    return [_cluster.problem_dict(problem) for problem in cluster.problems]


def _registered(cluster, host):
    """{parameter: value} of the connection string that a node is registered with, with libpq's defaults; {} if it is not registered."""
    row = cluster.registry.get(host.node_id)
    if row is None or row.node_name != host.node_name or not row.conninfo:
        return {}
    return _conninfo.effective(_conninfo.parse_or_empty(row.conninfo))


def _check_hba_file(cluster, host):
    hba = host.observed.hba or {}
    if hba.get('other'):
        cluster.problem(
            'other_hba_file', host.name, 'its server reads %s, not %s' % (hba['other'], hba['file']),
            'the second one, to which the collection writes its rules',
            'Move what is in the first one there, set hba_file to it, and restart the server.')


def _check_port(cluster, host):
    registered = _registered(cluster, host)
    running = integer((host.observed.server.settings or {}).get('port')) if _cluster.running(host) else None
    port = running or integer(registered.get('port'))
    if port is not None and host.port is not None and port != host.port:
        cluster.problem(
            'changed_port', host.name, '%s port %d, and repmgr_port is %d' % ('its server listens on' if running else 'is registered with', port, host.port),
            'its present port, because the other nodes connect to it', 'Set repmgr_port: %d. No playbook changes the port of a server.' % port)


def _check_names(cluster, host):
    registered = _registered(cluster, host)
    for variable, key, value in (('repmgr_user', 'user', host.user), ('repmgr_database', 'dbname', host.database)):
        if registered.get(key) and value and registered[key] != value:
            cluster.problem(
                'changed_name', host.name, 'is registered with %s %s, and %s is %s' % (key, registered[key], variable, value),
                'the names that the cluster has, because the nodes log in with them', 'Set %s: %s. No playbook renames it.' % (variable, registered[key]))


def _check_password(cluster):
    """Only the primary counts: if a rotation is interrupted, its passfile is the last one with the old password."""
    if cluster.exists and cluster.primary is not None and cluster.primary.other_password:
        cluster.problem(
            'changed_password', cluster.primary.name, 'repmgr_password is not the password that the nodes log in with',
            'that password, because a new one is set on the servers before the nodes use it',
            # It wants a healthy cluster, which may take a run of site.
            ['Until the cluster is healthy, set the old one again.', _steps.playbook('rotate_credentials', only_if='the cluster is healthy')])


# {why: (seen, step)}, as _password.unknown returns it.
_UNKNOWN = {
    'unset': ('its role {user} has a password, which is neither in ~postgres/.pgpass nor in repmgr_password',
              'Set repmgr_password to it, from a vault, or add its line to ~postgres/.pgpass there; that of another node may have it.'),
    'given': ('its role {user} has another password than repmgr_password', 'Set repmgr_password to the one that the role has.'),
    'line': ('its role {user} has another password than the line in ~postgres/.pgpass', 'Correct that line, or set repmgr_password to the right one.'),
    'unseen': ('~postgres/.pgpass has no line for its role {user}, and whether the role has a password cannot be read',
               'Put the line "local all postgres peer" at the top of pg_hba.conf there, and reload it.'),
}


def _check_unknown_password(cluster):
    host = cluster.primary if cluster.exists else None
    if host is not None and host.unknown_password:
        seen, step = _UNKNOWN[host.unknown_password]
        cluster.problem(
            'unknown_password', host.name, seen.format(user=host.user),
            'a password that is known, because a new one would lock out whoever logs in with the present one', [step, 'Run again.'])


def _check_changeover(cluster):
    """Changes of TLS settings and addresses: site makes them in an order in which replication continues, and refuses those without such an order.

    A host that became unreachable after such a change was begun does not stop the change, because the host was prepared before.
    """
    records = [plain(host) for host in cluster.hosts]
    change = _changeover.changeover(records)
    hidden = [host.name for host in cluster.hosts if host not in cluster.seen]
    if change['servers']:
        _check_changed_tls(cluster, change, [] if change['begun'] else hidden)
    for host in cluster.seen:
        former = change['former'].get(host.name)
        if former:
            begun = _conninfo.address(_conninfo.parse_or_empty((host.observed.config or {}).get('conninfo'))) == host.address
            _check_changed_address(cluster, host, ', '.join(former), change['verified'].get(host.name, []), [] if begun else hidden,
                                   _changeover.taken(records, host.name, change))
    for name, peer, address in _changeover.strangers(records, change):
        cluster.problem(
            'changed_address', name, 'connects to %s from %s, which is not its repmgr_address' % (peer, address),
            'nodes that connect to each other from the addresses in their pg_hba rules',
            'Set repmgr_address of all nodes to addresses of the same network, or leave it as it was.')


def _check_changed_tls(cluster, change, hidden):
    mode, root = cluster.hosts[0].tls or 'off', _changeover.verified_by(cluster.hosts[0].conninfo)
    used = 'with certificates of %s' % ', '.join(change['roots']) if change['roots'] else 'with TLS' if mode == 'off' else 'without TLS'
    foreign = [path for path in change['roots'] if path not in (_changeover.MANAGED_ROOT, root)]
    if hidden:
        cluster.problem(
            'changed_tls', hidden, 'cannot be reached, while nodes still connect %s, and repmgr_tls is %s' % (used, mode),
            'all hosts to be reachable, because the others would reject a host that is left out',
            ['Leave repmgr_tls as it was until then.', _steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern(hidden), reason='Try'),
             _steps.playbook('remove_node', repmgr_target=None, only_if='one of them is gone for good')])
    elif mode == 'provided' and foreign:
        cluster.problem(
            'changed_tls', [host.name for host in cluster.hosts], 'nodes verify each other by %s, and repmgr_tls_root is %s' % (', '.join(foreign), root),
            'the same path, because each node has to accept both CAs until all nodes use the new one',
            'Add the content of %s to %s on every node, and set repmgr_tls_root: %s.' % (root, foreign[0], foreign[0]))
    else:
        cluster.problem(
            'pending_tls', change['clients'] or [host.name for host in cluster.seen], 'nodes connect %s, and repmgr_tls is %s' % (used, mode),
            'nodes that connect as the inventory says', _steps.playbook('site'))


def _check_changed_address(cluster, host, former, verified, hidden, taken):
    names = (host.observed.tls or {}).get('names') or []
    if taken is not None:
        cluster.problem(
            'changed_address', host.name, 'is connected to by %s, and its repmgr_address %s is %s, by which nodes still connect to %s' % (
                former, host.address, taken[1], taken[0]),
            'an address that no other node has, because nodes would confuse the two',
            ['Give %s an address that neither node has had, and leave that of %s.' % (taken[0], host.name), _steps.playbook('site', reason='Then type'),
             'Change the other after that.'])
    elif hidden:
        cluster.problem(
            'changed_address', hidden, 'cannot be reached, while nodes still connect to %s by %s, and its repmgr_address is %s' % (
                host.name, former, host.address),
            'all hosts to be reachable, because a host that is left out would not know the new address',
            ['Leave repmgr_address as it was until then.', _steps.shell('ansible %s -m ansible.builtin.ping' % _cluster.pattern(hidden), reason='Try'),
             _steps.playbook('remove_node', repmgr_target=None, only_if='one of them is gone for good')])
    elif host.tls == 'provided' and not set(verified) <= set(names):
        cluster.problem(
            'changed_address', host.name, 'is connected to by %s, its repmgr_address is %s, and its certificate is valid for %s' % (
                former, host.address, ', '.join(names) or 'neither'),
            'a certificate for both, until all nodes use the new address',
            'Set repmgr_tls_certificate of the host to one that is valid for both; the next one can leave out the former name.')
    else:
        cluster.problem(
            'pending_address', host.name, 'is connected to by %s, and its repmgr_address is %s' % (former, host.address),
            'nodes that connect to it as the inventory says', _steps.playbook('site'))


def _check_settings(cluster):
    """Settings that a deployment would replace. Once the collection's own file exists, it contains the settings that were kept."""
    lost = {}
    for host in cluster.seen:
        for item in _settings.replaced(host, cluster.hosts):
            lost.setdefault(item, []).append(host.name)
    for (name, theirs, path, own), names in sorted(lost.items()):
        cluster.problem(
            'replaced_setting', names, "%s is '%s' in %s, and would become '%s'" % (name, theirs, path, own),
            'the inventory to decide about a setting that was there before', 'Name it there: %s.' % _settings.named_by(name))
    dropped = {}
    for host in cluster.seen:
        names = _settings.dropped(host, cluster.hosts)
        if names:
            dropped.setdefault(', '.join(names), []).append(host.name)
    for names, hosts in sorted(dropped.items()):
        cluster.problem(
            'dropped_setting', hosts, 'conf.d/repmgr.conf was written by somebody else and sets %s; the collection replaces that file' % names,
            'no settings there that would be lost', 'Move them to another file in conf.d, or name them in repmgr_postgresql_settings, and run again.')
