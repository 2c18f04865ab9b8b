# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a data directory holds, and what a server on it would start as."""

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

# The directory of a file system's own is no data.
_NO_DATA = frozenset(['lost+found'])
# What makes a server recover before it takes writes: as a standby, or from an archive until it promotes itself (is_standby). ASIDE is appended to its name
# for as long as it is recovered by a server for a single user.
SIGNALS = ('standby.signal', 'recovery.signal', 'recovery.conf')
ASIDE = '.aside'


def marker_path(data_directory, user):
    """The file that says that a clone into this directory was begun. Outside of it: repmgr wants it empty."""
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        return None
    return os.path.join(home, '.repmgr_node', 'clone-%s.json' % os.path.abspath(data_directory).strip('/').replace('/', '-'))


def read_marker(path):
    if not path:
        return None
    try:
        with open(path) as handle:
            found = json.load(handle)
            return found if isinstance(found, dict) else {}
    except (IOError, OSError):
        return None
    except ValueError:
        return {}


def is_standby(directory, aside=''):
    """Whether a server on this directory recovers until somebody promotes it. With recovery.signal alone, or a recovery.conf without standby_mode (before
    PostgreSQL 12), it recovers from an archive, and promotes itself when that is done. The guard, the fuse and the health endpoints have the same.
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
    """Whether a server on this directory recovers, and then promotes itself: data that somebody restores."""
    return not is_standby(directory) and any(os.path.exists(os.path.join(directory, name)) for name in SIGNALS)


def observe_data(runner, place):
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
        # A rewind that outlived the task that began it: nobody else may touch its files meanwhile.
        busy = _processes.cloning_process(path, None)
        if busy:
            data.reason = 'process %d is still working on it' % busy
            return data
    data.state = 'valid'
    # One that a killed rejoin has left aside is back before the next start.
    alive = _postmaster.alive(os.path.join(path, 'postmaster.pid'), path) and not _postmaster.is_single(os.path.join(path, 'postmaster.pid'))
    data.standby_signal = is_standby(path) or not alive and is_standby(path, ASIDE)
    data.promotes_itself = not data.standby_signal and promotes_itself(path)
    data.started = 'postmaster.opts' in names
    values = _read_control(runner, place, control, data)
    # It was started, and did not come to where the backup ended.
    if marker is not None and data.state == 'valid' and values.get('Backup start location', '').strip('0/') and not _postmaster.alive(
            os.path.join(path, 'postmaster.pid'), path):
        data.state = 'partial'
        data.reason = _UNFINISHED
    return data


_UNFINISHED = 'a clone into it was begun and never finished'


def _ran(names):
    """Whether a server has run on what a clone left, so that its note is forgotten and not true any more: somebody has finished it by hand.

    postmaster.opts is written by every start of a server, by nothing else, and not copied by pg_basebackup; the start also takes backup_label away.
    """
    return 'postmaster.opts' in names and 'backup_label' not in names


def disks(path):
    """[{path, total_bytes, free_bytes}] of the file systems of a data directory and of its WAL. Free is what its owner may use."""
    found, devices = [], set()
    for name in [path, os.path.join(path, 'pg_wal')] if path else []:
        try:
            device, stat = os.stat(name).st_dev, os.statvfs(name)
        except OSError:
            continue
        if device not in devices:
            devices.add(device)
            found.append({'path': name, 'total_bytes': stat.f_blocks * stat.f_frsize, 'free_bytes': stat.f_bavail * stat.f_frsize})
    return found


def _some(names):
    shown = sorted(names)[:4]
    return ', '.join(shown) + (' and %d more' % (len(names) - 4) if len(names) > 4 else '')


def _read_control(runner, place, control, data):
    try:
        # The one field whose place never changed; enough when the programs of the server are not there.
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
    """The newest one in a data directory. control: what pg_controldata says of it.

    After a promotion the control file has it only from the next checkpoint on; a history file is earlier.
    """
    numbers = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    return max([0] + [int(number) for number in numbers if number.isdigit()] + [int(name[:8], 16) for name in history_files(directory)])
