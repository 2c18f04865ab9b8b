# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What /etc/pgfleet/guard.json says."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import grp
import json
import os
import pwd

from pgfleet_guard.session import Server
from pgfleet_guard.settings import CONFIG


def read_config(path=CONFIG):
    with open(path) as handle:
        return json.load(handle)


def peers_of(config, purpose):
    return [Server(config, peer['name'], peer['conninfo'], peer['node_id'], peer['vote'], peer['witness'], purpose) for peer in config['peers']]


def local_of(config, purpose):
    return Server(config, config['name'], 'port=%d dbname=%s user=%s' % (config['port'], config['database'], config['user']),
                  config['node_id'], True, False, purpose)


def become_user(config):
    """Hooks of systemd may run as root; nothing here needs that."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(config['user'])
    os.setgroups([entry.gr_gid for entry in grp.getgrall() if user.pw_name in entry.gr_mem] + [user.pw_gid])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ['HOME'] = user.pw_dir


def votes_of(config):
    return 1 + sum(1 for peer in config['peers'] if peer['vote'])
