# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Move a data directory aside, with its WAL and tablespaces, and list the copies that are kept."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _place, _progress, _service
from ansible_collections.pgfleet.repmgr.plugins.module_utils._action_context import ApplyError


def nearest_directory(path):
    """The path itself if it is a directory, otherwise the nearest one above it."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


# The suffix that move_aside gives to a directory that it keeps.
_KEPT = re.compile('[.](old|partial)-[0-9]{8}T[0-9]{6}Z')


def kept_copies(context):
    """[{path, bytes}] of the data directories that were moved aside and still exist; `bytes` includes their WAL and tablespaces."""
    source = os.path.realpath(context.place.data_directory)
    folder, name = os.path.split(source)
    found = []
    for entry in sorted(_place.listdir(folder)):
        path = os.path.join(folder, entry)
        if entry.startswith(name) and _KEPT.sub('', entry[len(name):]) == '' and entry != name and os.path.isdir(path):
            links = [os.path.join(path, 'pg_wal')] + _links(path)
            found.append({'path': path, 'bytes': sum(_size_of(place) for place in [path] + [
                os.path.realpath(link) for link in links if os.path.islink(link) and _KEPT.search(os.path.realpath(link))])})
    return found


def kept_text(copies):
    """The end of a message that lists kept copies, or ''. copies: as kept_copies returns them."""
    if not copies:
        return ''
    return '. %d earlier cop%s %s, kept until somebody removes %s: %s' % (
        len(copies), 'y takes' if len(copies) == 1 else 'ies take', _progress.human(sum(copy['bytes'] for copy in copies)),
        'it' if len(copies) == 1 else 'them', ', '.join(copy['path'] for copy in copies))


def _links(data_directory):
    """The links to its tablespaces. An in-place tablespace (used to test PostgreSQL itself) is a directory and moves with the data directory."""
    folder = os.path.join(data_directory, 'pg_tblspc')
    return [path for path in [os.path.join(folder, name) for name in sorted(_place.listdir(folder))] if os.path.islink(path)]


def mount_of(path):
    """The mount point of a path. rename() fails between two bind mounts, even if they are of the same file system."""
    try:
        with open('/proc/self/mountinfo') as handle:
            lines = handle.read().splitlines()
    except (IOError, OSError):
        lines = []
    points = [re.sub(r'\\([0-7]{3})', lambda found: chr(int(found.group(1), 8)), line.split()[4]) for line in lines]
    path = os.path.realpath(path)
    while path not in points and not os.path.ismount(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


class _Move:
    """A directory to rename from `source` to `target`, and the link in the data directory to point to `turned` afterwards."""

    def __init__(self, source, target, link=None, turned=None):
        self.source = source
        self.target = target
        self.link = link
        self.turned = turned

    def obstacle(self, user):
        """Why it cannot be renamed, or ''."""
        parent, place = os.path.dirname(self.source), nearest_directory(os.path.dirname(self.target))
        if os.path.lexists(self.target):
            return '%s exists already' % self.target
        if mount_of(self.source) == self.source or mount_of(place) != mount_of(parent):
            return '%s cannot be renamed to %s: it is a mount, or the two are not on the same one' % (self.source, self.target)
        for folder in (parent, place):
            if not os.access(folder, os.W_OK):
                return '%s cannot be renamed: %s is not writable for %s' % (self.source, folder, user)
        return ''

    def do(self):
        if not os.path.isdir(os.path.dirname(self.target)):
            os.mkdir(os.path.dirname(self.target), 0o700)
        os.rename(self.source, self.target)
        if self.link:
            temporary = self.link + '.new'
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(self.turned, temporary)
            os.rename(temporary, self.link)


def _moves(context):
    """The renames that make room for a new clone: first WAL and tablespaces outside of the data directory, which a clone expects to be empty as well,
    then the data directory.

    Of a symbolic link, the target is renamed and the link stays, so that the new clone is in the same place. The links in the old data directory are
    changed to the new names, so that it remains complete.
    """
    source = os.path.realpath(context.place.data_directory)
    suffix = '.%s-%s' % ('partial' if context.data_state == 'partial' else 'old', time.strftime('%Y%m%dT%H%M%SZ', time.gmtime()))
    moves = []
    link = os.path.join(source, 'pg_wal')
    wal = os.path.realpath(link)
    # If an earlier move was interrupted, the WAL directory may have its new name already.
    if os.path.islink(link) and os.path.isdir(wal) and not _KEPT.search(wal):
        moves.append(_Move(wal, wal + suffix, link, wal + suffix))
    for location, link in sorted(_tablespaces(context, source).items()):
        names = os.listdir(location) if os.path.isdir(location) else []
        if not names or _KEPT.search(location):
            continue
        if len(names) > 1 or not names[0].startswith('PG_'):
            raise ApplyError('move_aside', 'tablespace %s contains more than the PG_* directory of this server, and a clone needs it empty: %s' % (
                location, ', '.join(sorted(names)[:4])))
        # Next to the tablespace if the postgres OS user may create a directory there, otherwise next to the data directory.
        kept = [location + suffix, source + suffix + '.tablespace' + location.replace('/', '-')]
        tried = [_Move(os.path.join(location, names[0]), os.path.join(folder, names[0]), link, folder) for folder in kept]
        moves.append(([move for move in tried if not move.obstacle(context.place.user)] or tried)[0])
    moves.append(_Move(source, source + suffix))
    for move in moves:
        obstacle = move.obstacle(context.place.user)
        if obstacle:
            raise ApplyError('move_aside', obstacle)
    return moves


def _tablespaces(context, source):
    """{location: the link in pg_tblspc that points to it, or None}.

    pg_basebackup copies the tablespaces first and creates these links last, so for an interrupted clone the locations are taken from its marker. They were
    empty when it began, so what is in them was written by that clone. A location that is not in the marker (the tablespace was created later, or the marker
    is of a version that recorded none) may be in use by another server of this host. The links were made by a pg_basebackup that had found their locations
    empty.
    """
    found = {}
    if context.data_state == 'partial':
        marker = _data_directory.read_marker(_data_directory.marker_path(context.place.data_directory, context.place.user))
        found.update((location, None) for location in _data_directory.empty_locations(marker))
    found.update((os.path.realpath(link), link) for link in _links(source))
    return found


def freed(context):
    """What move_aside will have made free: {moved: [directories that are renamed as a whole], emptied: [locations of tablespaces]}."""
    if context.data_state not in ('valid', 'partial'):
        return {'moved': [], 'emptied': []}
    source = os.path.realpath(context.place.data_directory)
    return {'moved': [source], 'emptied': [location for location in _tablespaces(context, source) if not _KEPT.search(location)]}


def refuse_what_cannot_be_moved(context, actions):
    """Check this before the server is stopped: a move that fails halfway would leave the node without data."""
    if 'move_aside' in actions:
        try:
            _moves(context)
        except (IOError, OSError) as exc:
            raise ApplyError('move_aside', '%s' % exc)


def move_aside(context):
    """Move the data directory aside and create an empty one with the same mode."""
    moves = _moves(context)
    moved = moves[-1]
    mode = os.stat(moved.source).st_mode & 0o7777
    # It may have been started after the observation. Renamed, its data would live on under the new name, and the port would stay taken.
    _service.refuse_a_server(context, 'move_aside', 'that is to be renamed')
    for move in moves:
        move.do()
    os.mkdir(moved.source, mode)
    kept = kept_copies(context)
    if len(kept) > 1:
        context.warnings.append('%d copies of %s that were moved aside use %s. They are kept until somebody removes them: %s' % (
            len(kept), context.place.data_directory, _progress.human(sum(copy['bytes'] for copy in kept)), ', '.join(copy['path'] for copy in kept)))
    return {'from': context.place.data_directory, 'to': moved.target, 'kept': kept,
            'moved': [{'from': move.source, 'to': move.target} for move in moves]}


def _size_of(directory):
    """The size of the files in a directory, in bytes."""
    total = 0
    for folder, dummy, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def size_of_data(context):
    """The size of the data directory, and the copies that are kept, as text."""
    return '%s in %s%s' % (_progress.human(_size_of(context.place.data_directory)), context.place.data_directory, kept_text(kept_copies(context)))
