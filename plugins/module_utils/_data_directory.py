# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of a data directory, and whether a server on it would start as a primary or as a standby."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import json
import os
import pwd
import re
import struct

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _place, _postmaster, _processes
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data

# Entries that do not count as data.
_NO_DATA = frozenset(['lost+found'])
# The files that make a server recover before it accepts writes: as a standby, or from an archive until it promotes itself (see is_standby). ASIDE is
# appended to their names while a server in single-user mode recovers the data.
SIGNALS = ('standby.signal', 'recovery.signal', 'recovery.conf')
ASIDE = '.aside'


def marker_path(data_directory, user):
    """The path of the marker of a clone into this directory, or None if there is no such user. It is outside of the directory, which repmgr needs empty."""
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        return None
    return os.path.join(home, '.repmgr_node', 'clone-%s.json' % os.path.abspath(data_directory).strip('/').replace('/', '-'))


def read_marker(path):
    """The content of the marker of a clone, {} if it is damaged, None if there is none."""
    if not path:
        return None
    try:
        with open(path) as handle:
            marker = json.load(handle)
            return marker if isinstance(marker, dict) else {}
    except (IOError, OSError):
        return None
    except ValueError:
        return {}


def empty_locations(marker):
    """The tablespace locations in which there was nothing when a clone began. marker: the content of its marker, or None."""
    found = (marker or {}).get('tablespaces')
    return [path for path in found if hasattr(path, 'lower') and os.path.isabs(path)] if isinstance(found, list) else []


def is_standby(directory, aside=''):
    """Whether a server on this directory would start as a standby, which recovers until it is promoted. With recovery.signal alone, or a recovery.conf
    without standby_mode (before PostgreSQL 12), it recovers from an archive and then promotes itself. The guard, the fuse and the health endpoints have
    the same function.

    aside: a suffix of the signal files to look for.
    """
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            old = int(handle.read().split('.')[0]) < 12
    except (IOError, OSError, ValueError):
        old = False
    if not old and os.path.exists(os.path.join(directory, 'standby.signal' + aside)):
        return True
    try:
        with open(os.path.join(directory, 'recovery.conf' + aside), 'rb') as handle:
            found = re.findall(br"(?im)^[ \t]*standby_mode[ \t]*=?[ \t]*'?[ \t]*([a-z0-9]+)", handle.read())
    except (IOError, OSError):
        return False
    # As PostgreSQL reads it: the last one counts, and a word may be shortened as long as it is one.
    word = found[-1].lower() if found else b''
    return word in (b'1', b'on') or word != b'' and (b'true'.startswith(word) or b'yes'.startswith(word))


def promotes_itself(directory):
    """Whether a server on this directory would recover from an archive and then promote itself: data that are being restored."""
    return not is_standby(directory) and any(os.path.exists(os.path.join(directory, name)) for name in SIGNALS)


def observe_data(runner, place):
    """The observation of a data directory (Data)."""
    path = place.data_directory
    data = Data(path=path or '')
    if not path:
        data.reason = 'no data directory is configured'
        return data
    marker = read_marker(marker_path(path, place.user))
    try:
        names = [name for name in os.listdir(path) if name not in _NO_DATA]
    except (IOError, OSError) as exc:
        if exc.errno == errno.ENOENT:
            data.state = 'missing'
            data.clone_begun = marker is not None
        else:
            data.reason = 'cannot be read: %s' % os.strerror(exc.errno)
        return data
    if not names:
        data.clone_begun = marker is not None
        if marker is not None and _processes.cloning_process(path, marker):
            data.reason = 'process %d is cloning into it' % _processes.cloning_process(path, marker)
            return data
        data.state = 'empty'
        return data
    if marker is not None and not _postmaster.alive(os.path.join(path, 'postmaster.pid'), path):
        busy = _processes.cloning_process(path, marker)
        if busy:
            data.reason = 'process %d is still cloning into it' % busy
            return data
        if not _ran(names):
            data.state = 'partial'
            data.reason = _UNFINISHED
            return data
    has_version = 'PG_VERSION' in names
    control = os.path.join(path, 'global', 'pg_control')
    if has_version:
        try:
            with open(os.path.join(path, 'PG_VERSION')) as handle:
                data.major = handle.read().strip() or None
        except (IOError, OSError) as exc:
            data.reason = 'PG_VERSION cannot be read: %s' % os.strerror(exc.errno)
            return data
    if not os.path.exists(control):
        if has_version or 'backup_label' in names:
            data.state = 'partial'
            data.reason = 'has no global/pg_control'
        else:
            data.state = 'unrecognised'
            data.reason = 'holds %s but no PG_VERSION' % _some(names)
        return data
    if not has_version:
        data.state = 'partial'
        data.reason = 'has no PG_VERSION'
        return data
    if not _postmaster.alive(os.path.join(path, 'postmaster.pid'), path):
        # A rewind may outlive the task that started it. Until it ends, nothing else may change the files.
        busy = _processes.cloning_process(path, None)
        if busy:
            data.reason = 'process %d is still working on it' % busy
            return data
    data.state = 'valid'
    # Signal files that a killed rejoin left aside are put back before the next start.
    alive = _postmaster.alive(os.path.join(path, 'postmaster.pid'), path) and not _postmaster.is_single(os.path.join(path, 'postmaster.pid'))
    data.standby_signal = is_standby(path) or not alive and is_standby(path, ASIDE)
    data.promotes_itself = not data.standby_signal and promotes_itself(path)
    data.started = 'postmaster.opts' in names
    values = _read_control(runner, place, control, data)
    # The server was started, but did not reach the end of the base backup.
    if marker is not None and data.state == 'valid' and values.get('Backup start location', '').strip('0/') and not _postmaster.alive(
            os.path.join(path, 'postmaster.pid'), path):
        data.state = 'partial'
        data.reason = _UNFINISHED
    return data


_UNFINISHED = 'a clone into it was begun and never finished'


def _ran(names):
    """Whether a server has run on the result of a clone. Then the clone was finished by hand, and its marker is obsolete.

    Only a start of a server writes postmaster.opts, pg_basebackup does not copy it, and the start removes backup_label.
    """
    return 'postmaster.opts' in names and 'backup_label' not in names


def disks(path):
    """[{path, total_bytes, free_bytes}] of the file systems of a data directory and of its WAL. free_bytes: available to users other than root."""
    file_systems, devices = [], set()
    for name in [path, os.path.join(path, 'pg_wal')] if path else []:
        try:
            device, stat = os.stat(name).st_dev, os.statvfs(name)
        except OSError:
            continue
        if device not in devices:
            devices.add(device)
            file_systems.append({'path': name, 'total_bytes': stat.f_blocks * stat.f_frsize, 'free_bytes': stat.f_bavail * stat.f_frsize})
    return file_systems


def _some(names):
    shown = sorted(names)[:4]
    return ', '.join(shown) + (' and %d more' % (len(names) - 4) if len(names) > 4 else '')


def _read_control(runner, place, control, data):
    """Read pg_control into `data`; return the output of pg_controldata as {label: text}."""
    try:
        # The position of this field is the same in all versions. It is enough if PostgreSQL is not installed.
        with open(control, 'rb') as handle:
            data.system_identifier = str(struct.unpack('=Q', handle.read(8))[0])
    except (IOError, OSError, struct.error) as exc:
        data.state = 'unknown'
        data.reason = 'global/pg_control cannot be read: %s' % exc
        return {}
    program = os.path.join(place.bin_dir or '', 'pg_controldata')
    if not os.path.exists(program):
        return {}
    try:
        values = parse_controldata(runner.run([program, '-D', place.data_directory]).stdout)
    except CommandError as exc:
        data.state = 'unknown'
        data.reason = exc.message
        return {}
    data.system_identifier = values.get('Database system identifier', data.system_identifier)
    data.cluster_state = values.get('Database cluster state')
    timeline = values.get("Latest checkpoint's TimeLineID", '')
    data.timeline = int(timeline) if timeline.isdigit() else None
    if 'wal_log_hints setting' in values:
        data.wal_log_hints = values['wal_log_hints setting'] == 'on'
    if 'Data page checksum version' in values:
        data.checksums = values['Data page checksum version'] != '0'
    return values


def parse_controldata(text):
    """{label: text} from the output of pg_controldata."""
    values = {}
    for line in text.splitlines():
        name, colon, value = line.partition(':')
        if colon:
            values[name.strip()] = value.strip()
    return values


def history_files(directory):
    """Names of the timeline history files in a data directory."""
    return [name for name in _place.listdir(os.path.join(directory, 'pg_wal')) if re.match('[0-9A-F]{8}[.]history$', name)]


def newest_timeline(control, directory):
    """The number of the newest timeline in a data directory. control: as parse_controldata returns it.

    After a promotion the control file has the new timeline only after the next checkpoint, while its history file exists at once.
    """
    numbers = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    return max([0] + [int(number) for number in numbers if number.isdigit()] + [int(name[:8], 16) for name in history_files(directory)])
