# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this node has to know beyond a restart."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

from pgfleet_guard.data_directory import promotes_itself
from pgfleet_guard.messages import say
from pgfleet_guard.settings import RESTORING


def read_state(config):
    """What this node's guard has to know beyond a restart of its own and of the host.

    armed: it has seen a majority of votes once. primary: the node that was registered as primary when this one was a standby.
    reign: what is known since this node became primary, see Watch.remember; {'timeline', 'replaced', 'followed', 'limited'}. asked: see Memory.
    """
    empty = {'cluster': config.get('cluster'), 'node_id': config.get('node_id'), 'armed': False, 'primary': None, 'reign': None, 'asked': {}}
    try:
        with open(config['state']) as handle:
            found = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return empty
    # It may be from a time when this host was a different node.
    same = isinstance(found, dict) and all(found.get(key) == empty[key] for key in ('cluster', 'node_id'))
    return dict(empty, **found) if same else empty


def write_state(config, state):
    path = config.get('state')
    if not path:
        return
    try:
        with open(path + '.new', 'w') as handle:
            json.dump(state, handle, sort_keys=True)
            handle.flush()
            # An empty file after a power failure would mean that this guard was never armed and has not replaced another primary.
            os.fsync(handle.fileno())
        os.rename(path + '.new', path)
    except (IOError, OSError) as exc:
        say('%s cannot be written: %s' % (path, exc))


def is_restoring(config):
    """Whether the data here are those that somebody has begun to restore, and that have not come to an end of it that anybody has seen (promotes_itself). The
    signal file tells only until that end begins.
    """
    return bool(config.get('state')) and os.path.exists(config['state'] + RESTORING)


def keep_restoring(config, restores):
    """In a file of its own: the start hook writes it, too."""
    if not config.get('state') or is_restoring(config) == restores:
        return
    try:
        if restores:
            with open(config['state'] + RESTORING, 'w') as handle:
                os.fsync(handle.fileno())
        else:
            os.unlink(config['state'] + RESTORING)
    except (IOError, OSError) as exc:
        say('%s cannot be %s: %s' % (config['state'] + RESTORING, 'written' if restores else 'removed', exc))


def reign_on(state, timeline, directory):
    """What is known since this node became primary on that timeline. One that died before its guard had looked has replaced the node that it knew; one whose
    data were restored was no primary by that.
    """
    if (state['reign'] or {}).get('timeline') == timeline or state['primary'] is None or promotes_itself(directory):
        return state['reign']
    return {'timeline': timeline, 'replaced': state['primary'], 'followed': [], 'limited': []}
