# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clone a node from another one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _data_directory, _move_aside, _processes, _progress, _repmgr, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._action_context import ApplyError, progress_path, write_file
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError


def check_space(context):
    """Refuse a clone that does not fit on the disks, or in a tablespace location of the source. Return {needed: [{directory, bytes, free}]}, or None if the
    size of the source is unknown.
    """
    _check_source(context)
    sizes = context.psql.sizes(context.clone_conninfo)
    if sizes is None:
        context.warnings.append('The size of the source could not be read, so free space was not checked.')
        return None
    if not _relocates(context.config):
        freed = _move_aside.freed(context)
        for space in sizes:
            if os.path.isabs(space['location']):
                _check_location(context, space['location'], freed)
    needs = {}
    for space in sizes:
        place = os.path.join(context.place.data_directory, space['location'])
        directory = _move_aside.nearest_directory(place)
        # Tablespaces on the same file system share its free space.
        entry = needs.setdefault(os.stat(directory).st_dev, {'directory': directory, 'bytes': 0})
        entry['bytes'] += space['bytes']
    for entry in needs.values():
        # WAL that is written during the clone is copied as well.
        entry['bytes'] += max(64 * 1024 * 1024, entry['bytes'] // 20)
        stat = os.statvfs(entry['directory'])
        entry['free'] = stat.f_bavail * stat.f_frsize
        if entry['free'] < entry['bytes']:
            raise ApplyError('check_space', '%s has %d MB free; a clone needs %d MB%s' % (
                entry['directory'], entry['free'] // 1048576, entry['bytes'] // 1048576, _move_aside.kept_text(_move_aside.kept_copies(context))))
    return {'needed': list(needs.values())}


def _relocates(config):
    """Whether repmgr.conf has a clone put tablespaces elsewhere, or make it by other means than pg_basebackup."""
    options = _repmgr.split_command(config.get('pg_basebackup_options') or '')
    return bool(config.get('tablespace_mapping') or config.get('barman_host')
                or [word for word in options if word.startswith('-T') or word.startswith('--tablespace-mapping')])


def _check_location(context, location, freed):
    """Refuse a location that pg_basebackup would refuse, which it does only after the old data were moved. freed: as _move_aside.freed returns it."""
    if any(os.path.join(os.path.realpath(location), '').startswith(os.path.join(path, '')) for path in freed['moved']):
        return
    directory, user, flaw, step = _move_aside.nearest_directory(location), context.place.user, '', 'Correct this'
    if not os.access(directory, os.W_OK | os.X_OK):
        flaw = '%s is not writable for %s' % (directory, user)
    elif directory == location and not os.access(directory, os.R_OK):
        flaw = 'it is not readable for %s' % user
    elif directory == location and os.path.realpath(location) not in freed['emptied']:
        names = sorted(os.listdir(location))
        flaw = 'it is not empty (%s)' % ', '.join(names[:4]) if names else ''
        step = 'Find out whether another server uses it or an unfinished clone has left it, move away what nobody needs'
    elif directory != location and os.path.lexists(location):
        flaw = 'it is not a directory'
    if flaw:
        raise ApplyError(
            'check_space', 'tablespace %s of the source cannot be created here: %s; expected a directory that is missing or empty, and writable for %s' % (
                location, flaw, user), steps=_steps.listed('Nothing was stopped or moved. %s, and run again.' % step))


def _check_source(context):
    """Refuse early if the primary's extension is older than its packages: `repmgr standby clone` refuses that, but only after the old data were moved."""
    found = context.psql.extension_versions(context.primary_conninfo) or {}
    available, installed = [_repmgr.parse_version(found.get(name)) for name in ('available', 'installed')]
    if available and installed and available > installed:
        raise ApplyError('check_space', 'the primary has packages of repmgr %s, but the extension in its database is %s: repmgr refuses to clone it. %s' % (
            found['available'], found['installed'], _steps.sentences(_steps.playbook('minor_upgrade'))))


def clone(context):
    """Clone the node. While the marker exists, the data directory counts as incomplete."""
    marker = _data_directory.marker_path(context.place.data_directory, context.place.user)
    if marker is None:
        raise ApplyError('clone', 'there is no user %s' % context.place.user)
    directory = os.path.dirname(marker)
    if not os.path.isdir(directory):
        os.mkdir(directory, 0o700)
    content = _processes.process_identity()
    content['source'] = redacted(context.clone_conninfo)
    content['begun'] = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
    # Should this clone be interrupted, only these may be moved aside with what it has copied.
    content['tablespaces'] = [path for path in _locations(context) if _is_free(path)]
    write_file(marker, json.dumps(content))
    with _progress.Progress(progress_path(context), 'clone', lambda: _copied(context)):
        result = context.repmgr.standby_clone(
            context.clone_conninfo, upstream_node_id=cloned_for(context), extra=context.clone_options, timeout=context.clone_timeout)
    os.unlink(marker)
    return result.to_dict()


def _locations(context):
    """The tablespace locations of the source, without symbolic links. Empty if it does not tell."""
    try:
        sizes = context.psql.sizes(context.clone_conninfo)
    except PsqlError:
        sizes = None
    return [os.path.realpath(space['location']) for space in sizes or [] if os.path.isabs(space['location'])]


def _is_free(path):
    """Whether nothing has this name, or it is an empty directory."""
    try:
        return not os.path.lexists(path) or not os.listdir(path)
    except (IOError, OSError):
        return False


def forget_clone(place):
    """Remove the marker of a clone that was finished by hand. Otherwise the empty mount point of a data directory that is not mounted would be taken for an
    unfinished clone.
    """
    marker = _data_directory.marker_path(place.data_directory, place.user)
    if marker is not None and os.path.exists(marker):
        os.unlink(marker)


def cloned_for(context):
    """The id of the node that the clone will follow, or None if repmgr finds it by itself."""
    if context.upstream_node_id is None and context.clone_conninfo != context.upstream_conninfo:
        return context.wanted_upstream_id
    return context.upstream_node_id


def _copied(context):
    """(bytes copied, bytes in total) as reported by the source, or None."""
    try:
        return context.psql.basebackup_progress(context.clone_conninfo)
    except PsqlError:
        return None


def size_of_source(context):
    """The size and the host of the source of a clone as text, or ''."""
    try:
        sizes = context.psql.sizes(context.clone_conninfo)
    except PsqlError:
        sizes = None
    return '%s from %s' % (_progress.human(sum(space['bytes'] for space in sizes)), _conninfo.parse(context.clone_conninfo).get('host')) if sizes else ''
