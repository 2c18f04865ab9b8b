# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the observed hosts of one cluster: which copy of the metadata is used, which host is the primary, and the problems found so far."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Problem, plain
from ansible_collections.pgfleet.repmgr.plugins.module_utils._votes import majority, trust, voters

# The codes of problems that say that a host which answers is not the node of the inventory, but for instance a machine that has been given its address.
ANOTHER_NODE = ('foreign_data', 'foreign_metadata', 'config_of_other_node')


class Cluster:
    """The hosts of one cluster and the conclusions so far.

    hosts: [Host]. seen: those that were observed. registry: {node id: Node}, the metadata that are used. primary: the Host that runs as primary, or None.
    system_identifier: text, None where it is ambiguous.
    """

    def __init__(self, hosts):
        self.hosts = hosts
        self.problems = []
        self.seen = [host for host in hosts if host.observed is not None and not host.unreachable]
        self.registry = {}
        self.primary = None
        self.exists = False
        self.system_identifier = None

    def problem(self, code, node, seen, expected, steps='', stop=True):
        """Record a problem. node: a name, or a list of them. steps: as _steps.listed takes them. stop: whether the problem stops a run."""
        nodes = node if isinstance(node, list) else [node]
        self.problems.append(Problem(code=code, node=', '.join(nodes), nodes=nodes, seen=seen, expected=expected, steps=_steps.listed(steps), stop=stop))

    def has_at(self, host, code):
        """Whether this problem was recorded for this host."""
        return any(problem.code == code and host.name in problem.nodes for problem in self.problems)

    def has(self, *codes):
        return any(problem.code in codes for problem in self.problems)

    def is_witness(self, host):
        row = self.registry.get(host.node_id)
        if row is not None and row.node_name == host.node_name:
            return row.type == 'witness'
        return host.initial_role == 'witness'

    @property
    def data_hosts(self):
        return [host for host in self.seen if not self.is_witness(host)]

    @property
    def unlisted(self):
        """[Node]: the registered nodes that are not in the inventory.

        Other problems report a node with the id or the name of a host (id_taken, name_taken), a node that a host's repmgr.conf names
        (config_of_other_node), and metadata without any host of this cluster (foreign_metadata).
        """
        ours = set((host.node_id, host.node_name) for host in self.hosts)
        rows = [row for dummy, row in sorted(self.registry.items())]
        if not any((row.node_id, row.node_name) in ours for row in rows):
            return []
        ids = set(host.node_id for host in self.hosts) | set((host.observed.config or {}).get('node_id') for host in self.seen)
        names = set(host.node_name for host in self.hosts)
        return [row for row in rows if row.node_id not in ids and row.node_name not in names]


def rows(host):
    return host.observed.nodes or []


def running(host):
    return host.observed.server.state == 'running'


def _writable(host):
    return running(host) and host.observed.server.in_recovery is False


def _recovering(host):
    observed = host.observed
    return bool(running(host) and observed.server.in_recovery) or bool(
        observed.data.state == 'valid' and observed.data.standby_signal)


def _was_node(host):
    """Whether this is a stopped server that ran as this node: the cluster exists, even if no running server has its metadata."""
    observed = host.observed
    return bool(observed.server.state == 'stopped' and observed.data.state == 'valid' and observed.data.started
                and host.node_id is not None and (observed.config or {}).get('node_id') == host.node_id)


def identifier(host):
    return host.observed.system_identifier


def is_alone(cluster, host):
    """Whether so many votes do not answer that they could elect another primary: then a guard stops this one."""
    votes = voters([row for dummy, row in sorted(cluster.registry.items())])
    answering = set(other.node_id for other in cluster.seen if other is host or running(other) and other.observed.server.sql)
    return len([row for row in votes if row.node_id not in answering]) >= majority(len(votes))


def is_foreign(cluster, host):
    """Whether the data of this host, which is not the primary, are those of another cluster."""
    found = identifier(host)
    if host.observed.data.state != 'valid' or found is None or host is cluster.primary:
        return False
    # A server that accepts writes without any metadata of repmgr is not of this cluster. One with metadata may have another id in the inventory.
    return found != cluster.system_identifier if cluster.system_identifier is not None else (
        cluster.primary is None and _writable(host) and not rows(host) and not cluster.has('split_brain'))


def find_registry(cluster):
    """Choose the copy of the metadata to use, and decide whether the cluster exists."""
    with_rows = [host for host in cluster.seen if rows(host)]
    if with_rows:
        source = max(with_rows, key=lambda host: trust(host.initial_role == 'witness', _writable(host), host.observed.server.timeline))
        cluster.registry = dict((row.node_id, row) for row in rows(source))
    cluster.exists = bool(with_rows) or any(
        _recovering(host) or _was_node(host) for host in cluster.seen if host.initial_role != 'witness')


def find_primary(cluster):
    """Find the primary and the system identifier of the cluster. More than one primary is the problem split_brain."""
    writable = [host for host in cluster.data_hosts if _writable(host)]
    if not cluster.exists:
        # A server that runs before the cluster exists is adopted if it is on the host that is to become the primary.
        initial = [host for host in cluster.hosts if host.initial_role == 'primary']
        if len(initial) == 1 and initial[0] in writable:
            cluster.primary = initial[0]
        if len(initial) == 1 and initial[0] in cluster.seen:
            cluster.system_identifier = identifier(initial[0])
        return
    registered = [host for host in writable if cluster.registry.get(host.node_id) is not None
                  and cluster.registry[host.node_id].node_name == host.node_name]
    known = set(identifier(host) for host in cluster.data_hosts if _recovering(host) and identifier(host))
    # What a stopped server was tells where the data belong, too. A server that runs as primary does not testify for itself.
    others = set(identifier(host) for host in cluster.data_hosts
                 if (host.node_id in cluster.registry or not cluster.registry and _was_node(host)) and host not in writable and identifier(host))
    claimants = registered or [host for host in writable if identifier(host) in (known or others)]
    if claimants:
        # A host whose data were replaced by those of another cluster is not a candidate: no other node has its system identifier,
        # and it is not in its own metadata.
        of_cluster = [host for host in claimants if identifier(host) in known] or [
            host for host in claimants if any(row.node_id == host.node_id for row in rows(host)) or not (known or _differs(cluster, host))]
        # A writable server with the data of the cluster counts even if it is not registered.
        identifiers = set(identifier(host) for host in of_cluster)
        claimants = [host for host in writable if host in of_cluster or identifier(host) in identifiers]
        identifiers = identifiers or known
        cluster.system_identifier = sorted('%s' % item for item in identifiers)[0] if len(identifiers) == 1 else None
    elif known:
        cluster.system_identifier = sorted(known)[0] if len(known) == 1 else None
    else:
        cluster.system_identifier = sorted(others)[0] if len(others) == 1 else None
    if len(claimants) == 1:
        cluster.primary = claimants[0]
    elif len(claimants) > 1:
        names = [host.name for host in claimants]
        for host in claimants:
            server = host.observed.server
            others = ', '.join(name for name in names if name != host.name)
            cluster.problem(
                'split_brain', host.name,
                'runs as primary on timeline %s at %s, and so does %s' % (server.timeline, server.current_lsn, others),
                'one primary',
                ['Find out which one holds the data to keep, and stop the server of every other.',
                 _steps.playbook('rejoin', repmgr_target=None, reason='Bring each of those back by')])


def _differs(cluster, host):
    """Whether the host is not registered as the primary, and another registered node, such as a stopped primary, has the data of another cluster, or the host
    has no metadata of repmgr and no registered node has its data. A standby that was promoted has the metadata.
    """
    row = cluster.registry.get(host.node_id)
    if row is not None and row.type == 'primary' and row.active:
        return False
    others = [identifier(other) for other in cluster.data_hosts
              if other is not host and other.node_id in cluster.registry and other.observed.data.state == 'valid']
    return any(other != identifier(host) for other in others) or not others and not rows(host)


def pattern(names):
    """The host pattern of these hosts for the command `ansible`, quoted for a shell."""
    return _steps.quoted(':'.join(names))


def repmgrd_state(host):
    """The state of repmgrd on this host: 'down', 'unknown', 'paused' or 'running'."""
    repmgrd = (host.observed.repmgr or {}).get('repmgrd') or {}
    if repmgrd.get('running') is False:
        return 'down'
    if repmgrd.get('running') is None:
        return 'unknown'
    return 'paused' if repmgrd.get('paused') else 'running'


def streams(host):
    return (host.observed.receiver or {}).get('status') == 'streaming' and host.observed.server.in_recovery is True


def problem_dict(problem):
    return dict(plain(problem), message=problem.message, command=problem.command)
