# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems of the connections between nodes: ports, logins and certificates."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import AUTHORITY_DAYS, RENEWAL_DAYS


def check_reach(cluster):
    """Addresses that do not resolve, and ports that are closed or used by another program."""
    seen = dict((host.name, host) for host in cluster.seen)
    for host in cluster.seen:
        for entry in host.observed.reach or []:
            peer = seen.get(entry.get('name'))
            if peer is None:
                continue
            if entry.get('ssh') == 'unresolved':
                cluster.problem(
                    'unresolved', host.name, 'cannot resolve address %s of %s' % (entry.get('address'), peer.name),
                    'a name that every node resolves, or an address', 'Set repmgr_address of %s.' % peer.name)
                continue
            state = entry.get('postgresql')
            if peer is host:
                # The program that listens there may be the one of the problem other_server.
                if state == 'open' and host.observed.server.state == 'stopped' and not cluster.has_at(host, 'other_server'):
                    cluster.problem(
                        'port_taken', host.name, 'something listens on port %s, but not the server of %s' % (
                            entry.get('port', host.port), host.observed.data.path),
                        'a free port, or that server',
                        [_steps.shell('ss -ltnp', host=host.name, reason='Find it'), 'Stop it, or set repmgr_port or repmgr_data_directory.'])
                continue
            if entry.get('ssh') != 'open':
                cluster.problem(
                    'ssh_unreachable', host.name, 'cannot reach SSH of %s at %s port %s: %s' % (
                        peer.name, entry.get('address'), entry.get('ssh_port', 22), entry.get('ssh')),
                    'an open port', 'Check firewall, sshd and repmgr_address of %s.' % peer.name)
            # A closed port is normal for a stopped server, and for an adopted one, which may still listen on localhost only.
            closed = state == 'refused' and _cluster.running(peer) and peer.node_id in cluster.registry
            if state in ('timeout', 'unreachable', 'error') or closed:
                cluster.problem(
                    'postgresql_unreachable', host.name, 'cannot reach PostgreSQL of %s at %s port %s: %s' % (
                        peer.name, entry.get('address'), entry.get('port', peer.port), state),
                    'an open port', 'Check firewall, listen_addresses and repmgr_address of %s.' % peer.name)


def check_logins(cluster):
    """Failed logins by SSH, SQL and replication: one problem for each host that cannot log in to another."""
    names = set(host.name for host in cluster.seen)
    for host in cluster.seen:
        failed = []
        for peer, errors in sorted((host.observed.logins or {}).items()):
            failed += ['%s by %s (%s)' % (peer, way, error) for way, error in sorted(errors.items()) if error and peer in names]
        if failed:
            cluster.problem(
                'login_failed', host.name, 'cannot log in to %s' % '; '.join(failed), 'logins between all nodes',
                _steps.playbook('site', reason='Correct keys, passwords, certificates and pg_hba rules by'))


def check_certificates(cluster):
    """Certificates and CAs that peers do not accept, or that expire soon."""
    for host in cluster.seen:
        tls = host.observed.tls
        if not tls or not host.tls:
            continue
        provided = host.tls == 'provided'
        renewal = 'Correct repmgr_tls_certificate, repmgr_tls_key and repmgr_tls_root of the host.' if provided else _steps.playbook('site')
        authority_days, authority_limit = tls.get('authority_days'), RENEWAL_DAYS if provided else AUTHORITY_DAYS
        if tls.get('error') and (provided or cluster.exists and host.node_id in cluster.registry):
            cluster.problem(
                'certificate', host.name, 'its peers would not accept its TLS certificate: %s' % tls.get('error'),
                'a certificate that they accept', renewal, stop=provided)
        elif not tls.get('error') and tls.get('days') is not None and tls['days'] < RENEWAL_DAYS:
            cluster.problem(
                'certificate_expires', host.name, 'its TLS certificate expires in %d days' % tls['days'],
                '%d days or more' % RENEWAL_DAYS, renewal, stop=False)
        # The certificates that it signs are not valid for longer than the CA itself.
        if authority_days is not None and authority_days < authority_limit:
            cluster.problem(
                'authority_expires', host.name, 'the CA of its TLS certificate %s, and after that no node accepts the certificate' % (
                    'expires in %d days' % authority_days if authority_days >= 0 else 'has expired'), '%d days or more' % authority_limit,
                renewal if provided else _steps.playbook(
                    'rotate_credentials', repmgr_credentials='certificates', reason='Create a new CA and new certificates by'), stop=False)


def certificate_days(tls):
    """Whole days until peers no longer accept a server's certificate, from its observation (Observed.tls); None if unknown."""
    known = [days for days in ((tls or {}).get('days'), (tls or {}).get('authority_days')) if days is not None]
    return min(known) if known and tls.get('days') is not None else None


def logins(hosts):
    """{host name: {peer name: ['no ssh', 'no sql', 'no replication']}} of all logins that were tried, or {} if all succeeded."""
    table = dict((host.name, dict(
        (peer, ['no %s' % way for way in ('ssh', 'sql', 'replication') if errors.get(way)])
        for peer, errors in (host.observed.logins or {}).items())) for host in hosts if host.observed is not None and not host.unreachable)
    return table if any(failed for row in table.values() for failed in row.values()) else {}
