# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the next steps for an operator, as data, and the only place that turns them into text.

A step is one of
    {'playbook': 'rejoin', 'arguments': {'repmgr_target': 'db1'}}   a playbook of this collection, run on the controller
    {'shell': 'systemctl start repmgrd', 'host': 'db1'}             a command; without `host` it is for the controller
    {'text': 'Look at its log.'}                                    anything that is not a command
A command may have `reason`, the text before it, and `only_if`, the condition under which it applies; a playbook may have `check`, for --check.
An argument that is None has to be chosen by the operator.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import posixpath
import re

_COLLECTION = os.path.join('', 'ansible_collections', 'pgfleet', 'repmgr', '')
_PLAIN = re.compile(r'^[A-Za-z0-9_@%+=:,./-]+$')
# The placeholders of arguments that the operator has to choose.
_CHOSEN = {'repmgr_only': 'CLUSTER', 'repmgr_leave': 'CLUSTER', 'repmgr_reason': 'REASON'}


def is_installed(path):
    """Whether `path`, a file of this collection, is in a collections directory. A symbolic link from there to a checkout does not count."""
    return os.path.join(os.sep, _COLLECTION) in os.path.realpath(path)


# A module on a host, or a program built from these files, cannot know whether the controller has the collection installed. Then use the names of an
# installed collection, which also work in a checkout with the ansible.cfg of this repository.
INSTALLED = is_installed(__file__) if '__file__' in globals() else True


# -- data

def playbook(name, reason='', only_if='', check=False, **arguments):
    return _with({'playbook': name, 'arguments': arguments}, reason=reason, only_if=only_if, check=check)


def shell(command, host='', reason='', only_if=''):
    return _with({'shell': command}, host=host, reason=reason, only_if=only_if)


def start(host, config, only_if=''):
    """The step that starts the server of a host by the command in its repmgr.conf; None if there is none."""
    command = (config or {}).get('service_start_command')
    return shell(command, host=host, only_if=only_if) if command else None


def unit(config):
    """The systemd unit of the server, from its repmgr.conf, or ''."""
    words = ((config or {}).get('service_start_command') or '').strip().strip("'").split()
    return words[-1] if len(words) > 2 and words[-2] == 'start' and posixpath.basename(words[-3]) == 'systemctl' else ''


# Where a running server recovers from an archive.
RESTORING = (
    'If its data were restored on purpose, wait until it is primary, and run again.',
    'If it was to be a standby, stop its server, and make its data say so (standby.signal; before PostgreSQL 12, standby_mode in recovery.conf).')


def unpause(by):
    """The step that unpauses repmgrd. by: the key in the note that a playbook writes when it pauses repmgrd.

    A playbook pauses repmgrd to prevent an election while it is at work, and the same run unpauses it.
    """
    if by == 'failover':
        return playbook('failover', only_if='the run of failover that paused it has ended')
    if by == 'restart':
        return playbook('rolling_restart', only_if='the run of rolling_restart that paused it has ended')
    if by == 'leave':
        return playbook('leave', repmgr_leave=None, only_if='the run of leave that paused it has ended')
    # During a switchover repmgr itself pauses repmgrd, without a note.
    return playbook('maintenance', repmgr_maintenance='unpause', only_if='' if by else 'no switchover is at work')


def text(words):
    return {'text': words}


def _with(step, **more):
    step.update((name, value) for name, value in more.items() if value)
    return step


def listed(steps):
    """A list of steps, from such a list, a single step, or text; a list may have text in it."""
    if not steps:
        return []
    found = steps if isinstance(steps, (list, tuple)) else [steps]
    return [step if isinstance(step, dict) else text(step) for step in found]


def filled(steps, words):
    """The same steps with {name} in their text, command and arguments replaced."""
    def fill(value):
        return value.format(**words) if hasattr(value, 'format') else value

    found = []
    for step in listed(steps):
        step = dict((name, fill(value)) for name, value in step.items())
        if 'arguments' in step:
            step['arguments'] = dict((name, fill(value)) for name, value in step['arguments'].items())
        found.append(step)
    return found


def first_command(steps):
    """The first command without a condition and without arguments to choose, or None."""
    for step in listed(steps):
        if 'text' not in step and not step.get('only_if') and None not in (step.get('arguments') or {}).values():
            return step
    return None


# -- text

def quoted(word):
    """A word, quoted for a POSIX shell if necessary."""
    return word if _PLAIN.match(word) else "'%s'" % word.replace("'", "'\\''")


def render(step, installed=None):
    """The command of a step, '' if it has none. installed: whether to use the name of the playbook in an installed collection."""
    if 'shell' in step:
        return step['shell']
    if 'playbook' not in step:
        return ''
    if INSTALLED if installed is None else installed:
        words = ['ansible-playbook', 'pgfleet.repmgr.%s' % step['playbook']]
    else:
        # In a checkout only site.yml is at the top.
        words = ['ansible-playbook', '%s%s.yml' % ('' if step['playbook'] == 'site' else 'playbooks/', step['playbook'])]
    if step.get('check'):
        words.append('--check')
    structured = {}
    for name, value in sorted((step.get('arguments') or {}).items()):
        if value is None:
            value = _CHOSEN.get(name, 'HOST')
        elif isinstance(value, bool):
            value = 'true' if value else 'false'
        elif isinstance(value, int):
            value = '%d' % value
        if hasattr(value, 'lower') and _PLAIN.match(value):
            words += ['-e', '%s=%s' % (name, value)]
        else:
            # After the shell, ansible-playbook splits NAME=VALUE at blanks and interprets quotes once more.
            structured[name] = value
    if structured:
        words += ['-e', quoted(json.dumps(structured, sort_keys=True))]
    return ' '.join(words)


def sentence(step, installed=None):
    if 'text' in step:
        return step['text']
    where = ' on %s' % step['host'] if step.get('host') else ''
    if step.get('only_if'):
        return 'Only if %s, type%s: %s' % (step['only_if'], where, render(step, installed))
    return '%s%s: %s' % (step.get('reason') or 'Type', where, render(step, installed))


def sentences(steps, installed=None):
    """The steps as text, in one line."""
    found = ''
    for step in listed(steps):
        words = sentence(step, installed)
        if found:
            # No full stop after a command: it would look like a part of it.
            found += ' ' if found[-1] in '.!?' else '; '
            words = words if found.endswith('. ') else words[:1].lower() + words[1:]
        found += words
    return found


def shown(steps, installed=None):
    """The steps as data, commands with their rendered text."""
    return [dict(step) if 'text' in step else dict(step, command=render(step, installed)) for step in listed(steps)]
