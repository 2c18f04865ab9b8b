# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The word to the fuse, and to the next guard: when enough votes were in sight last."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import json
import os

from pgfleet_guard.answers import is_number
from pgfleet_guard.clock import boot, clock
from pgfleet_guard.settings import SIGHT_FILE


def read_stamp(config):
    """The last stamp that this node's guard wrote for the fuse in this boot, or None. See Watch.stamp."""
    try:
        with open(SIGHT_FILE) as handle:
            found = json.load(handle)
        same = found['boot'] == boot() and all(found[key] == config.get(key) for key in ('cluster', 'node_id'))
        return found if same and 'limit' in found and 0 <= found['sight'] <= clock() else None
    except (IOError, OSError, KeyError, TypeError, ValueError):
        return None


def write_stamp(stamp):
    """Why it could not be written, or ''."""
    # Always the same length, so that it fits into the existing file if /run is full.
    text = json.dumps(stamp, sort_keys=True).ljust(1024)
    try:
        try:
            with open(SIGHT_FILE + '.new', 'w') as handle:
                handle.write(text)
            os.rename(SIGHT_FILE + '.new', SIGHT_FILE)
        except (IOError, OSError) as exc:
            if exc.errno != errno.ENOSPC:
                raise
            with open(SIGHT_FILE, 'r+') as handle:
                handle.write(text)
    except (IOError, OSError) as exc:
        return '%s cannot be written: %s' % (SIGHT_FILE, exc)
    return ''


def predecessor(stamp, now):
    """What is known of the guard before this one. stamp: what it told the fuse last, in this boot."""
    if not stamp:
        return 'the first guard since the boot'
    if is_number(stamp.get('ended')):
        return 'the guard before it was ended %d s ago' % (now - stamp['ended'])
    return 'the guard before it was killed or has crashed'
