# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The processes of a host that matter to a node: every repmgrd, and what writes into a data directory without a server."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _place


def cloning_process(data_directory, marker):
    """The process that still writes into a directory, because it outlived the task that began the clone."""
    wanted = os.path.abspath(data_directory)
    for entry in _place.listdir('/proc'):
        if not entry.isdigit():
            continue
        # Root also sees the processes of containers, whose paths are not this host's.
        if works_on(_cmdline(int(entry)), wanted) and _same_namespace(os.path.join('/proc', entry), '/'):
            return int(entry)
    if marker and isinstance(marker.get('pid'), int) and marker['pid'] != os.getpid():
        if start_time(marker['pid']) == marker.get('started') and marker.get('started') is not None:
            return marker['pid']
    return None


def works_on(words, directory):
    """Whether this command line is one that changes a data directory without a server: a copy, a rewind, a recovery, or the rejoin that begins these."""
    program = os.path.basename(words[0]) if words else ''
    if program == 'repmgr':
        return 'node' in words and 'rejoin' in words and not _of_another_node(words, directory)
    return (program in ('pg_basebackup', 'pg_rewind') or program == 'postgres' and '--single' in words) and any(
        os.path.abspath(word.split('=', 1)[-1]) == directory for word in words[1:] if '/' in word)


def process_identity():
    """What tells this process from a later one with the same number."""
    return {'pid': os.getpid(), 'started': start_time(os.getpid())}


def _cmdline(pid):
    return _words('/proc/%d/cmdline' % pid)


def start_time(pid):
    try:
        with open('/proc/%d/stat' % pid) as handle:
            return int(handle.read().rpartition(')')[2].split()[19])
    except (IOError, OSError, IndexError, ValueError):
        return None


def daemons(data_directory, root='/'):
    """[{pid, unit}] of every repmgrd on this host that may watch the server of this directory. unit is that of systemd, None outside of any service.

    One whose configuration file names another data directory is another cluster's; one whose file cannot be told or read is not left out.
    """
    found = []
    for name in sorted(_place.listdir(os.path.join(root, 'proc'))):
        if not name.isdigit():
            continue
        folder = os.path.join(root, 'proc', name)
        words = _words(os.path.join(folder, 'cmdline'))
        if not words or os.path.basename(words[0]) != 'repmgrd' or not _same_namespace(folder, root):
            continue
        if _of_another_node(words, data_directory):
            continue
        found.append({'pid': int(name), 'unit': unit(os.path.join(folder, 'cgroup'))})
    return found


def config_of_daemon(folder, root='/'):
    """The configuration file that the command line of a repmgrd of this host names, by the process's folder in /proc; None for any other process."""
    words = _words(os.path.join(folder, 'cmdline'))
    if not words or os.path.basename(words[0]) != 'repmgrd' or not _same_namespace(folder, root):
        return None
    path = _option(words, '-f', '--config-file')
    if path and not path.startswith('/'):
        try:
            path = os.path.join(os.readlink(os.path.join(folder, 'cwd')), path)
        except OSError:
            return None
    return path


def _of_another_node(words, data_directory):
    """Whether a command line of repmgr or repmgrd names a configuration file with another data directory."""
    theirs = (_place.read_config(_option(words, '-f', '--config-file')) or {}).get('data_directory')
    return bool(data_directory and theirs and os.path.realpath(theirs) != os.path.realpath(data_directory))


def _words(path):
    try:
        with open(path, 'rb') as handle:
            return [word.decode('utf-8', 'replace') for word in handle.read().split(b'\0') if word]
    except (IOError, OSError):
        return []


def _same_namespace(folder, root):
    """Whether the process is of this host, and not of a container on it."""
    try:
        return os.readlink(os.path.join(folder, 'ns/pid')) == os.readlink(os.path.join(root, 'proc/self/ns/pid'))
    except OSError:
        return True


def _option(words, short, long):
    """The value of an option in a command line, or None."""
    for word, value in zip(words, words[1:] + [None]):
        if word in (short, long):
            return value
        if word.startswith(long + '='):
            return word[len(long) + 1:]
        if word.startswith(short) and not word.startswith('--') and word != short:
            return word[len(short):]
    return None


def unit(path):
    """The system service that a process is in, by its cgroups; None for one of a user's session."""
    try:
        with open(path) as handle:
            paths = [re.split('/+', line.rstrip('\n').split(':', 2)[-1]) for line in handle]
    except (IOError, OSError):
        return None
    for parts in paths:
        # In a container the path may begin with that of the container's own service.
        if 'system.slice' in parts:
            parts = parts[len(parts) - parts[::-1].index('system.slice'):]
        units = [part for part in parts if part.endswith('.service')]
        if units and not any(part.startswith('user@') for part in parts):
            return None if _STARTERS.match(units[-1]) else units[-1]
    return None


# They have started a repmgrd that stays in their service, and are not to be stopped with it.
_STARTERS = re.compile(r'(cron|crond|anacron|atd|ssh|sshd|ssh@.*|sshd@.*|postgresql.*|rc-local)\.service\Z')
