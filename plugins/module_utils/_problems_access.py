# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems with the connections between nodes: ports, logins and certificates."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import AUTHORITY_DAYS, RENEWAL_DAYS


def check_reach(cluster):
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
                # Whatever listens there may be the server that the inventory leads past.
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
            # Nothing listens yet where a server does not run, and an adopted one may still listen on localhost alone.
            closed = state == 'refused' and _cluster.running(peer) and peer.node_id in cluster.registry
            if state in ('timeout', 'unreachable', 'error') or closed:
                cluster.problem(
                    'postgresql_unreachable', host.name, 'cannot reach PostgreSQL of %s at %s port %s: %s' % (
                        peer.name, entry.get('address'), entry.get('port', peer.port), state),
                    'an open port', 'Check firewall, listen_addresses and repmgr_address of %s.' % peer.name)


def check_logins(cluster):
    """Who cannot log in where: SSH, SQL, replication. Said once for each host that something is wrong with."""
    names = set(host.name for host in cluster.seen)
    for host in cluster.seen:
        failed = []
        for peer, ways in sorted((host.observed.logins or {}).items()):
            failed += ['%s by %s (%s)' % (peer, way, why) for way, why in sorted(ways.items()) if why and peer in names]
        if failed:
            cluster.problem(
                'login_failed', host.name, 'cannot log in to %s' % '; '.join(failed), 'every node to be let in by every other',
                _steps.playbook('site', reason='Keys, passwords, certificates and access lines are put right by'))


def check_certificates(cluster):
    for host in cluster.seen:
        tls = host.observed.tls
        if not tls or not host.tls:
            continue
        provided = host.tls == 'provided'
        renewal = 'Put it right in repmgr_tls_certificate, repmgr_tls_key and repmgr_tls_root of the host.' if provided else _steps.playbook('site')
        authority_days, authority_limit = tls.get('authority_days'), RENEWAL_DAYS if provided else AUTHORITY_DAYS
        if tls.get('error') and (provided or cluster.exists and host.node_id in cluster.registry):
            cluster.problem(
                'certificate', host.name, 'its peers would not accept its TLS certificate: %s' % tls.get('error'),
                'a certificate that they accept', renewal, stop=provided)
        elif not tls.get('error') and tls.get('days') is not None and tls['days'] < RENEWAL_DAYS:
            cluster.problem(
                'certificate_expires', host.name, 'its TLS certificate expires in %d days' % tls['days'],
                '%d days or more' % RENEWAL_DAYS, renewal, stop=False)
        # What site.yml signs by it ends with it.
        if authority_days is not None and authority_days < authority_limit:
            cluster.problem(
                'authority_expires', host.name, 'the authority of its TLS certificate %s, and nobody accepts the certificate after that' % (
                    'expires in %d days' % authority_days if authority_days >= 0 else 'has expired'), '%d days or more' % authority_limit,
                renewal if provided else _steps.playbook(
                    'rotate_credentials', repmgr_credentials='certificates', reason='A new authority and new certificates are made by'), stop=False)


def certificate_days(tls):
    """Whole days until peers no longer accept a server's certificate, by the observation of it; None where that is not known."""
    known = [days for days in ((tls or {}).get('days'), (tls or {}).get('authority_days')) if days is not None]
    return min(known) if known and tls.get('days') is not None else None


def logins(hosts):
    """{from: {to: ['no ssh', ...]}} of everybody who was tried, or {} where all of it worked."""
    table = dict((host.name, dict(
        (peer, ['no %s' % way for way in ('ssh', 'sql', 'replication') if ways.get(way)])
        for peer, ways in (host.observed.logins or {}).items())) for host in hosts if host.observed is not None and not host.unreachable)
    return table if any(failed for row in table.values() for failed in row.values()) else {}
