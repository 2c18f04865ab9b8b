# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The identity of this run, and whether another run of this controller is over. A run is one process of ansible-playbook with all its plays."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import getpass
import hashlib
import json
import multiprocessing
import os
import re
import socket
import subprocess

from ansible import context
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run_lock

_LONGEST_NAME = 80


def this_run():
    """{run, playbook, user, controller, process}. It is computed anew in each task, with the same result."""
    # Each task runs in a child of the ansible-playbook process.
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent is not None else os.getpid()
    process = dict(_place(), pid=pid, started=_started(pid))
    controller = socket.gethostname()
    digest = hashlib.sha256(json.dumps([controller, process], sort_keys=True).encode('utf-8')).hexdigest()
    return {
        # Starts with a letter, so that YAML does not parse it as a number.
        'run': 'r' + digest[:10], 'playbook': _playbook(context.CLIARGS.get('args') or ()), 'user': _user(), 'controller': controller, 'process': process}


def is_over(other, own):
    """Whether a run (a result of _run_lock.told) is known to be over: its process on this machine has ended, or this machine was rebooted since."""
    theirs, ours = other['process'], own['process']
    if not ours['boot'] or not isinstance(theirs.get('pid'), int):
        return False
    if (theirs.get('boot'), theirs.get('namespace')) == (ours['boot'], ours['namespace']):
        return _has_ended(theirs['pid'], theirs.get('started'))
    # Containers of one image may have the same machine id, but then their host names differ.
    same_machine = bool(ours['machine']) and (theirs.get('machine'), other['controller']) == (ours['machine'], own['controller'])
    return same_machine and theirs.get('boot') != ours['boot']


def _playbook(args):
    """The playbooks of the command line, without their directories."""
    return ' '.join(os.path.basename('%s' % arg) for arg in args)[:_LONGEST_NAME] or 'a playbook'


def _user():
    try:
        return os.environ.get('SUDO_USER') or getpass.getuser()
    except (KeyError, ImportError, OSError):
        # In a container the user may have no name.
        return '%d' % os.getuid()


def _place():
    """The scope in which a process id is unique: machine, boot, and PID namespace."""
    if not os.path.isdir(os.path.join(_run_lock.PROC, 'self')):
        # macOS has no /proc.
        return {'machine': '', 'boot': _said('sysctl', '-n', 'kern.boottime'), 'namespace': ''}
    try:
        namespace = os.readlink(os.path.join(_run_lock.PROC, 'self/ns/pid'))
    except OSError:
        namespace = ''
    return {'machine': _machine(), 'boot': _run_lock.boot(), 'namespace': namespace}


def _machine(path='/etc/machine-id'):
    """A hash of the machine id, or ''. In images of containers and machines the file is missing, empty, or contains `uninitialized`."""
    try:
        with open(path, 'rb') as handle:
            found = handle.read(64).strip()
    except OSError:
        return ''
    # machine-id(5) says that the id itself must not be exposed.
    return hashlib.sha256(b'pgfleet.repmgr ' + found).hexdigest()[:16] if re.match(b'[0-9a-f]{32}$', found) else ''


def _has_ended(pid, began):
    found = _started(pid)
    if found is not None:
        return found != began
    if os.path.exists(os.path.join(_run_lock.PROC, '%d' % pid)):
        # A zombie: it has ended, but has not been reaped.
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        # The process of another user, with /proc mounted with hidepid.
        pass
    return False


def _started(pid):
    if os.path.isdir(os.path.join(_run_lock.PROC, 'self')):
        return _run_lock.started(pid)
    return _said('ps', '-o', 'lstart=', '-p', '%d' % pid) or None


def _said(*argv):
    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ''
