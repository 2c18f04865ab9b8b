# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes on a host, from /proc: every repmgrd, and programs that write into a data directory while no server runs."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _place


def cloning_process(data_directory, marker):
    """The pid of a process that still writes into a data directory, because it outlived the task that started it, or None.

    marker: the content of the marker of a clone (_data_directory.read_marker), or None.
    """
    wanted = os.path.abspath(data_directory)
    for entry in _place.listdir('/proc'):
        if not entry.isdigit():
            continue
        # Root also sees processes in containers, whose paths are not those of this host.
        if works_on(_cmdline(int(entry)), wanted) and _same_namespace(os.path.join('/proc', entry), '/'):
            return int(entry)
    if marker and isinstance(marker.get('pid'), int) and marker['pid'] != os.getpid():
        if start_time(marker['pid']) == marker.get('started') and marker.get('started') is not None:
            return marker['pid']
    return None


def processes_with(word):
    """The numbers of the processes of this host that have a word on their command lines."""
    return [int(entry) for entry in _place.listdir('/proc') if entry.isdigit() and word in _cmdline(int(entry))
            and _same_namespace(os.path.join('/proc', entry), '/')]


def works_on(words, directory):
    """Whether a command line is of a program that changes a data directory without a server: a clone, a rewind, a recovery, or a rejoin.

    words: the command line, split. directory: an absolute path.
    """
    program = os.path.basename(words[0]) if words else ''
    if program == 'repmgr':
        return 'node' in words and 'rejoin' in words and not _of_another_node(words, directory)
    return (program in ('pg_basebackup', 'pg_rewind') or program == 'postgres' and '--single' in words) and any(
        os.path.abspath(word.split('=', 1)[-1]) == directory for word in words[1:] if '/' in word)


def process_identity():
    """{pid, started} of this process; the start time distinguishes it from a later process with the same pid."""
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
    """[{pid, unit}] of every repmgrd on this host that may monitor the server of this directory. unit: its systemd service, or None.

    A repmgrd is left out only if its configuration file can be read and names another data directory.
    """
    repmgrds = []
    for name in sorted(_place.listdir(os.path.join(root, 'proc'))):
        if not name.isdigit():
            continue
        folder = os.path.join(root, 'proc', name)
        words = _words(os.path.join(folder, 'cmdline'))
        if not words or os.path.basename(words[0]) != 'repmgrd' or not _same_namespace(folder, root):
            continue
        if _of_another_node(words, data_directory):
            continue
        repmgrds.append({'pid': int(name), 'unit': unit(os.path.join(folder, 'cgroup'))})
    return repmgrds


def config_of_daemon(folder, root='/'):
    """The configuration file in the command line of a repmgrd of this host, by its folder in /proc; None for any other process."""
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
    """Whether a command line of repmgr or repmgrd has a configuration file with another data directory."""
    theirs = (_place.read_config(_option(words, '-f', '--config-file')) or {}).get('data_directory')
    return bool(data_directory and theirs and os.path.realpath(theirs) != os.path.realpath(data_directory))


def _words(path):
    """The command line in this file of /proc, split."""
    try:
        with open(path, 'rb') as handle:
            return [word.decode('utf-8', 'replace') for word in handle.read().split(b'\0') if word]
    except (IOError, OSError):
        return []


def _same_namespace(folder, root):
    """Whether the process runs on this host itself, and not in a container on it."""
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
    """The system service of a process, from its cgroup file; None for a process of a user session."""
    try:
        with open(path) as handle:
            paths = [re.split('/+', line.rstrip('\n').split(':', 2)[-1]) for line in handle]
    except (IOError, OSError):
        return None
    for parts in paths:
        # In a container the path may begin with the path of the container's own service.
        if 'system.slice' in parts:
            parts = parts[len(parts) - parts[::-1].index('system.slice'):]
        units = [part for part in parts if part.endswith('.service')]
        if units and not any(part.startswith('user@') for part in parts):
            return None if _STARTERS.match(units[-1]) else units[-1]
    return None


# A repmgrd that was started by one of these services is in its cgroup, and the service must not be stopped with it.
_STARTERS = re.compile(r'(cron|crond|anacron|atd|ssh|sshd|ssh@.*|sshd@.*|postgresql.*|rc-local)\.service\Z')
