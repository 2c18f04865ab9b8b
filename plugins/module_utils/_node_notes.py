# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files in which playbooks, the guard and a restore record what they did on a node."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import io
import json
import os
import pwd
import time

# In the home of the postgres OS user: the progress of a restore of the cluster, see _restore_work.
RESTORE_FILE = '.repmgr_restore.json'


def read_pause(user):
    """{by, reason} of the playbook that paused repmgrd, or None."""
    try:
        with io.open(os.path.join(pwd.getpwnam(user).pw_dir, '.repmgr_pause.json'), encoding='utf-8') as handle:
            note = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return None
    return {'by': '%s' % note.get('by', ''), 'reason': '%s' % note.get('reason', '')} if isinstance(note, dict) else None


def read_restore(user):
    """{phase, target} of an unfinished restore of the cluster on this node, or None. target: a description of the point in time."""
    try:
        with io.open(os.path.join(pwd.getpwnam(user).pw_dir, RESTORE_FILE), encoding='utf-8') as handle:
            note = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return None
    return {'phase': '%s' % note.get('phase', ''), 'target': '%s' % note.get('words', '')} if isinstance(note, dict) else None


def is_deployed(root='/'):
    """Whether the role repmgrd was applied to this host. It runs after the clone of a standby, while repmgr.conf is written before it."""
    return os.path.exists(os.path.join(root, 'etc/systemd/system/repmgrd.service'))


def read_guard(root='/'):
    """{running, enabled, stopped, peers, fuse} of repmgr-guard, or None if it is not installed.

    stopped: {code, peers, since} as the guard recorded them when it stopped the server, with None for missing values; None if it has not stopped it.
    peers: [{node_id, conninfo}], the nodes that it connects to. fuse: {running, enabled, limit, sight_age}, see _read_sight, or None if it is not
    installed.
    """
    guard, fuse = _guard_unit(root, 'repmgr-guard'), _guard_unit(root, 'repmgr-guard-fuse')
    fuse = fuse and dict(fuse, **_read_sight(os.path.join(root, 'run/postgresql/repmgr-guard.sight'), _since_boot()))
    return guard and dict(guard, stopped=_read_stop(os.path.join(root, 'run/postgresql/repmgr-guard.stopped')), fuse=fuse,
                          peers=_guard_peers(os.path.join(root, 'etc/pgfleet/guard.json')))


def _guard_unit(root, name):
    """{running, enabled} of a unit with a pid file like the guard's, or None if it is not installed."""
    if not os.path.exists(os.path.join(root, 'etc/systemd/system/%s.service' % name)):
        return None
    try:
        with open(os.path.join(root, 'run/postgresql/%s.pid' % name)) as handle:
            with open(os.path.join(root, 'proc/%d/cmdline' % int(handle.read())), 'rb') as command:
                # The pid may have been reused by another process, including the other of the two.
                running = name in [os.path.basename(word) for word in command.read().decode('utf-8', 'replace').split('\0')]
    except (IOError, OSError, ValueError):
        running = False
    return {'running': running, 'enabled': os.path.lexists(os.path.join(root, 'etc/systemd/system/multi-user.target.wants/%s.service' % name))}


def _read_sight(path, now):
    """{limit, sight_age}, in seconds, of the fuse.

    limit: how long after the guard last reached a majority the fuse stops a primary, or None if it does not. sight_age: how long ago that was, or None
    if the guard has not recorded it.
    """
    try:
        with io.open(path, encoding='utf-8') as handle:
            sight = json.load(handle)
        return {'limit': sight['limit'], 'sight_age': round(max(0, now - sight['sight']), 1)}
    except (IOError, OSError, ValueError, KeyError, TypeError):
        return {'limit': None, 'sight_age': None}


def _since_boot():
    """Seconds since boot, by the clock that the guard uses (clock.py)."""
    if hasattr(time, 'clock_gettime'):
        return time.clock_gettime(7)  # CLOCK_BOOTTIME
    with open('/proc/uptime') as handle:
        return float(handle.read().split()[0])


def _guard_peers(path):
    try:
        with io.open(path, encoding='utf-8') as handle:
            return [{'node_id': peer['node_id'], 'conninfo': peer['conninfo']} for peer in json.load(handle)['peers']]
    except (IOError, OSError, ValueError, KeyError, TypeError):
        return []


def _read_stop(path):
    try:
        with io.open(path, encoding='utf-8') as handle:
            stop = json.load(handle)
    except (IOError, OSError) as exc:
        # A record that cannot be read still means that the guard stopped the server.
        return None if exc.errno == errno.ENOENT else {}
    except ValueError:
        # Empty, from an older guard or on a full disk.
        return {}
    if not isinstance(stop, dict):
        return {}
    peers = stop.get('peers')
    return {'code': stop.get('code'), 'since': stop.get('since'),
            'peers': ['%s' % peer for peer in peers] if isinstance(peers, list) else []}
