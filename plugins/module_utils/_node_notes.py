# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The notes that playbooks, the guard and a restore keep on a node."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import io
import json
import os
import pwd
import time

# In the home of the server's user: how far a restore of the cluster is, see _restore_work.
RESTORE_FILE = '.repmgr_restore.json'


def read_pause(user):
    """{by, reason} of whoever paused repmgrd by a playbook, or None."""
    try:
        with io.open(os.path.join(pwd.getpwnam(user).pw_dir, '.repmgr_pause.json'), encoding='utf-8') as handle:
            note = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return None
    return {'by': '%s' % note.get('by', ''), 'reason': '%s' % note.get('reason', '')} if isinstance(note, dict) else None


def read_restore(user):
    """{phase, target} of a restore of the cluster that has begun on this node and is not over, or None. The target is in words."""
    try:
        with io.open(os.path.join(pwd.getpwnam(user).pw_dir, RESTORE_FILE), encoding='utf-8') as handle:
            note = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return None
    return {'phase': '%s' % note.get('phase', ''), 'target': '%s' % note.get('words', '')} if isinstance(note, dict) else None


def is_deployed(root='/'):
    """Whether role repmgrd has been here. It comes after the clone of a standby, while repmgr.conf is written before it."""
    return os.path.exists(os.path.join(root, 'etc/systemd/system/repmgrd.service'))


def read_guard(root='/'):
    """{running, enabled, stopped, peers, fuse} of repmgr-guard as role guard installs it, or None.

    stopped: {code, peers, since} as the guard wrote them down when it stopped the server, as much of it as it did; None where it has not.
    peers: [{node_id, conninfo}], whom it connects to and how. fuse: {running, enabled, limit, sight_age} of its fuse, or None where that is not installed; see
    _read_sight.
    """
    guard, fuse = _guard_unit(root, 'repmgr-guard'), _guard_unit(root, 'repmgr-guard-fuse')
    fuse = fuse and dict(fuse, **_read_sight(os.path.join(root, 'run/postgresql/repmgr-guard.sight'), _since_boot()))
    return guard and dict(guard, stopped=_read_stop(os.path.join(root, 'run/postgresql/repmgr-guard.stopped')), fuse=fuse,
                          peers=_guard_peers(os.path.join(root, 'etc/pgfleet/guard.json')))


def _guard_unit(root, name):
    """{running, enabled} of a unit that writes its process id where the guard does, or None where it is not installed."""
    if not os.path.exists(os.path.join(root, 'etc/systemd/system/%s.service' % name)):
        return None
    try:
        with open(os.path.join(root, 'run/postgresql/%s.pid' % name)) as handle:
            with open(os.path.join(root, 'proc/%d/cmdline' % int(handle.read())), 'rb') as command:
                # After the number was used again it may be the other's.
                running = name in [os.path.basename(word) for word in command.read().decode('utf-8', 'replace').split('\0')]
    except (IOError, OSError, ValueError):
        running = False
    return {'running': running, 'enabled': os.path.lexists(os.path.join(root, 'etc/systemd/system/multi-user.target.wants/%s.service' % name))}


def _read_sight(path, now):
    """{limit, sight_age}: how many seconds after its guard's last sight of enough votes the fuse ends a primary (None: it would not), and how long ago that
    was (None: nobody has told it)."""
    try:
        with io.open(path, encoding='utf-8') as handle:
            found = json.load(handle)
        return {'limit': found['limit'], 'sight_age': round(max(0, now - found['sight']), 1)}
    except (IOError, OSError, ValueError, KeyError, TypeError):
        return {'limit': None, 'sight_age': None}


def _since_boot():
    """Seconds, by the clock of the guard (clock in guard.py)."""
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
            found = json.load(handle)
    except (IOError, OSError) as exc:
        # A mark that may not be read is a mark.
        return None if exc.errno == errno.ENOENT else {}
    except ValueError:
        # Empty, from an older guard or on a full disk.
        return {}
    if not isinstance(found, dict):
        return {}
    peers = found.get('peers')
    return {'code': found.get('code'), 'since': found.get('since'),
            'peers': ['%s' % peer for peer in peers] if isinstance(peers, list) else []}
