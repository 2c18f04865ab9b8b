# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which run this is, and whether another one of this controller is over. A run is a process of ansible-playbook, with all plays and playbooks in it."""

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
    """{run, playbook, user, controller, process}. The same in every task: nothing has to be kept from one to the next."""
    # A task runs in a process of its own, below the one that is the run.
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent is not None else os.getpid()
    process = dict(_place(), pid=pid, started=_started(pid))
    controller = socket.gethostname()
    digest = hashlib.sha256(json.dumps([controller, process], sort_keys=True).encode('utf-8')).hexdigest()
    return {
        # Begins with a letter, or YAML might take it for a number.
        'run': 'r' + digest[:10], 'playbook': _playbook(context.CLIARGS.get('args') or ()), 'user': _user(), 'controller': controller, 'process': process}


def is_over(other, own):
    """Whether a run, as _run_lock.told has it, is known to be over: its process is gone from this machine, or this machine was booted since."""
    theirs, ours = other['process'], own['process']
    if not ours['boot'] or not isinstance(theirs.get('pid'), int):
        return False
    if (theirs.get('boot'), theirs.get('namespace')) == (ours['boot'], ours['namespace']):
        return _has_ended(theirs['pid'], theirs.get('started'))
    # Containers of one image may have the same id, and then not the same name.
    same_machine = bool(ours['machine']) and (theirs.get('machine'), other['controller']) == (ours['machine'], own['controller'])
    return same_machine and theirs.get('boot') != ours['boot']


def _playbook(args):
    """As it was typed, without the folders."""
    return ' '.join(os.path.basename('%s' % arg) for arg in args)[:_LONGEST_NAME] or 'a playbook'


def _user():
    try:
        return os.environ.get('SUDO_USER') or getpass.getuser()
    except (KeyError, ImportError, OSError):
        # A container whose user has no name.
        return '%d' % os.getuid()


def _place():
    """Where a process id means one process: which machine since which boot, and which of its containers."""
    if not os.path.isdir(os.path.join(_run_lock.PROC, 'self')):
        # A controller with macOS.
        return {'machine': '', 'boot': _said('sysctl', '-n', 'kern.boottime'), 'namespace': ''}
    try:
        namespace = os.readlink(os.path.join(_run_lock.PROC, 'self/ns/pid'))
    except OSError:
        namespace = ''
    return {'machine': _machine(), 'boot': _run_lock.boot(), 'namespace': namespace}


def _machine(path='/etc/machine-id'):
    """Empty where the file is not there or says nothing: images of containers and machines come with an empty one, or with `uninitialized`."""
    try:
        with open(path, 'rb') as handle:
            found = handle.read(64).strip()
    except OSError:
        return ''
    # Not to be shown to others as it is (machine-id(5)).
    return hashlib.sha256(b'pgfleet.repmgr ' + found).hexdigest()[:16] if re.match(b'[0-9a-f]{32}$', found) else ''


def _has_ended(pid, began):
    found = _started(pid)
    if found is not None:
        return found != began
    if os.path.exists(os.path.join(_run_lock.PROC, '%d' % pid)):
        # It only has not been reaped.
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        # Another user's, and /proc is mounted with hidepid.
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
