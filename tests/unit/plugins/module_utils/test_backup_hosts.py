# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup_hosts

RECORD = {'name': 'a', 'address': '10.0.0.1', 'port': '5432', 'peer': {'ssh_port': '2222'}, 'observed': {'data': {'path': '/data'}, 'files': {'/n.json': 'x'}}}


def test_units_of_a_schedule():
    assert _backup_hosts.units('repmgr-backup-lab', {'full': 'Sun 02:00', 'differential': '', 'incremental': None}) == {
        'timers': {'watch': '*:0/5', 'full': 'Sun 02:00'},
        'files': {'/etc/systemd/system/repmgr-backup-lab@.service': ['backup.service', ''],
                  '/etc/systemd/system/repmgr-backup-lab-watch.timer': ['backup.timer', 'watch'],
                  '/etc/systemd/system/repmgr-backup-lab-full.timer': ['backup.timer', 'full']},
        'names': ['repmgr-backup-lab@.service', 'repmgr-backup-lab-watch.timer', 'repmgr-backup-lab-full.timer', 'repmgr-backup-lab-differential.timer',
                  'repmgr-backup-lab-incremental.timer'],
        'unscheduled': ['repmgr-backup-lab-differential.timer', 'repmgr-backup-lab-incremental.timer']}


def test_nodes_of_a_repository():
    assert _backup_hosts.data_nodes([RECORD]) == [{
        'name': 'a', 'address': '10.0.0.1', 'ssh_port': 2222, 'port': 5432, 'data_directory': '/data', 'socket_directory': '/var/run/postgresql'}]
    assert _backup_hosts.lacking([RECORD, dict(RECORD, name='b', observed={'files': {}})], '/n.json') == ['b']


def test_who_may_log_in_to_a_repository():
    nodes = [(RECORD, {'ssh_host_key_rsa_public': 'RRRR'}, 'ssh-ed25519 AAAA'), (dict(RECORD, name='b', address='b.example', peer={'ssh_port': 22}), {
        'ssh_host_key_rsa_public': 'SSSS', 'ssh_host_key_ed25519_public': 'EEEE'}, 'ssh-ed25519 BBBB')]
    assert _backup_hosts.access(nodes, 'prog conf remote') == {
        'known_hosts': '[10.0.0.1]:2222 ssh-rsa RRRR\nb.example ssh-ed25519 EEEE\nb.example ssh-rsa SSSS\n',
        'authorized_keys': 'restrict,command="prog conf remote" ssh-ed25519 AAAA a\nrestrict,command="prog conf remote" ssh-ed25519 BBBB b\n'}
