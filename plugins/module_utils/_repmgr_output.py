# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The output of repmgr's own commands, as text or as data, without passwords."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._repmgr import warnings


def texts(repmgr, commands, warn):
    """{command: text} as a person sees it. repmgr: a Repmgr. warn: a function that is called with the text of each warning."""
    outputs = {}
    for command in commands:
        try:
            result = repmgr.show(command)
            # Keep repmgr's warnings with its table: "node is not attached" is not in the table itself.
            outputs[command] = redacted('\n'.join([result.stdout.rstrip()] + warnings(result.stderr)) + '\n')
        except CommandError as exc:
            outputs[command] = redacted(exc.result.stderr or exc.message)
            warn('repmgr could not show "%s": %s' % (command, exc.message))
    return outputs


def answers(repmgr, commands, warn):
    """{command: data as Repmgr.ask returns it, or {error}}."""
    outputs = {}
    for command in commands:
        try:
            outputs[command] = _redacted(repmgr.ask(command))
        except CommandError as exc:
            outputs[command] = {'error': redacted(exc.result.stderr or exc.message)}
            warn('repmgr could not answer "%s": %s' % (command, exc.message))
            continue
        for line in outputs[command]['unknown']:
            warn('repmgr answered "%s" with a line that is not understood: %s' % (command, line))
    return outputs


def _redacted(value):
    """The same data with passwords removed from all texts in them."""
    if isinstance(value, dict):
        return dict((key, _redacted(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return redacted(value) if hasattr(value, 'lower') else value
