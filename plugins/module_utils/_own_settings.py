# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the server settings that the collection needs. _settings combines them with those that a server had before."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer


def own(nodes, observed, wanted):
    """[(name, value)] of the settings that the collection needs on a server, the same on every data node: a change of roles must not change them.

    nodes: what the hosts of the cluster have recorded. observed: of the server's host, or None. wanted: {version, port, libraries, archive_command,
    backup_command, synchronous, wal_sender_timeout, witness, tls_files, tls_last}; backup_command: the archive_command that makes backups, or '';
    tls_files: {certificate, key}, or {} without TLS; tls_last: whether clients have to change before a server with TLS (_changeover.changeover()).
    """
    major = integer(('%s' % wanted['version']).partition('.')[0]) or 0
    # Each standby streams, and needs two more connections while it is cloned. Rounded up to tens, so that a new node seldom needs restarts.
    connections = max(10, (len(nodes) * 2 + 9) // 10 * 10)
    seconds = '%ss' % wanted['wal_sender_timeout']
    found = [
        ('listen_addresses', '*'), ('port', '%s' % integer(wanted['port'])), ('shared_preload_libraries', ','.join(wanted['libraries'])),
        ('password_encryption', 'scram-sha-256'), ('wal_level', 'replica'),
        # pg_rewind needs this or checksums on a former primary.
        ('wal_log_hints', 'on'), ('archive_mode', 'on'),
        # A witness has a server of its own, which is not part of the backups.
        ('archive_command', wanted['archive_command'] if wanted['witness'] or not wanted['backup_command'] else wanted['backup_command']),
        ('max_wal_senders', '%d' % connections), ('max_replication_slots', '%d' % connections), ('hot_standby', 'on'),
        ('wal_sender_timeout', seconds), ('wal_receiver_timeout', seconds)]
    # pg_rewind needs the WAL since the timelines diverged. What the slot of a lost node retains is limited; a node that is lost for longer is cloned again.
    found += [('wal_keep_size', '512MB'), ('max_slot_wal_keep_size', '16GB')] if major >= 13 else [('wal_keep_segments', 32)]
    present = ((observed or {}).get('server') or {}).get('settings') or {}
    if wanted['tls_last'] and present.get('ssl') == 'on':
        # A server that others still verify keeps its certificate until the end of the run (role server, tls_last.yml).
        files = {'certificate': present['ssl_cert_file'], 'key': present['ssl_key_file']}
    else:
        files = wanted['tls_files']
    found += [('ssl', 'on'), ('ssl_cert_file', files['certificate']), ('ssl_key_file', files['key'])] if files else [('ssl', 'off')]
    found += [('ssl_min_protocol_version', 'TLSv1.2')] if files and major >= 12 else []
    if integer(wanted['synchronous']) and not wanted['witness']:
        # The same list on every data node: a node never waits for itself. A witness has no standby that could confirm a commit.
        names = [node['node_name'] for node in nodes if node['initial_role'] != 'witness']
        found.append(('synchronous_standby_names', 'ANY %s ("%s")' % (integer(wanted['synchronous']), '", "'.join(names))))
    return found
