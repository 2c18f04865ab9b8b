# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what an operator can do next, as data, and the only place that turns it into text.

A step is one of
    {'playbook': 'rejoin', 'arguments': {'repmgr_target': 'db1'}}   a playbook of this collection, run on the controller
    {'shell': 'systemctl start repmgrd', 'host': 'db1'}             a command; without `host` it is for the controller
    {'text': 'Look at its log.'}                                    what no command does
A command may have `reason`, the words before it, `only_if`, the condition under which it is right at all, and a playbook `check`, for --check.
An argument that is None has to be chosen by the operator.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import re

_COLLECTION = os.path.join('', 'ansible_collections', 'pgfleet', 'repmgr', '')
_PLAIN = re.compile(r'^[A-Za-z0-9_@%+=:,./-]+$')
# What stands for an argument that the operator has to choose.
_CHOSEN = {'repmgr_only': 'CLUSTER', 'repmgr_leave': 'CLUSTER', 'repmgr_reason': 'REASON'}


def is_installed(path):
    """Whether the file of this collection at `path` is in a folder of collections. A link from such a folder to a checkout does not count."""
    return os.path.join(os.sep, _COLLECTION) in os.path.realpath(path)


# On a host, and in a program that was put together from these files, nothing shows how the controller has it: then the name that an installed
# collection has, which ansible-playbook also knows in a checkout with this repository's ansible.cfg.
INSTALLED = is_installed(__file__) if '__file__' in globals() else True


# -- data

def playbook(name, reason='', only_if='', check=False, **arguments):
    return _with({'playbook': name, 'arguments': arguments}, reason=reason, only_if=only_if, check=check)


def shell(command, host='', reason='', only_if=''):
    return _with({'shell': command}, host=host, reason=reason, only_if=only_if)


def start(host, config, only_if=''):
    """The step that starts the server of a host, by the command of its repmgr.conf; None where that says none."""
    command = (config or {}).get('service_start_command')
    return shell(command, host=host, only_if=only_if) if command else None


def unpause(by):
    """The step that lifts a pause of repmgrd. by: the word in the note that a playbook leaves with its pause.

    The pause of a run keeps the others from electing while that run is at work, and the same run lifts it.
    """
    if by == 'failover':
        return playbook('failover', only_if='the run of failover that paused it has ended')
    if by == 'restart':
        return playbook('rolling_restart', only_if='the run of rolling_restart that paused it has ended')
    if by == 'leave':
        return playbook('leave', repmgr_leave=None, only_if='the run of leave that paused it has ended')
    # repmgr pauses without a note for as long as a switchover takes.
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
    """The first step that can be typed as it is: not on a condition only, and with nothing left to choose. None where there is none."""
    for step in listed(steps):
        if 'text' not in step and not step.get('only_if') and None not in (step.get('arguments') or {}).values():
            return step
    return None


# -- text

def quoted(word):
    """A word for a POSIX shell."""
    return word if _PLAIN.match(word) else "'%s'" % word.replace("'", "'\\''")


def render(step, installed=None):
    """The command of a step; '' where it has none. installed: whether ansible-playbook knows the playbook by the collection's name."""
    if 'shell' in step:
        return step['shell']
    if 'playbook' not in step:
        return ''
    if INSTALLED if installed is None else installed:
        words = ['ansible-playbook', 'pgfleet.repmgr.%s' % step['playbook']]
    else:
        # site.yml alone stands at the top of a checkout.
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
            # ansible-playbook splits NAME=VALUE at blanks and quotes once more, after the shell has.
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
    """The steps as a person reads them, in one line."""
    found = ''
    for step in listed(steps):
        words = sentence(step, installed)
        if found:
            # A full stop after a command would be taken for a part of it.
            found += ' ' if found[-1] in '.!?' else '; '
            words = words if found.endswith('. ') else words[:1].lower() + words[1:]
        found += words
    return found


def shown(steps, installed=None):
    """The steps as data, each command with its text."""
    return [dict(step) if 'text' in step else dict(step, command=render(step, installed)) for step in listed(steps)]
