# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: helpers and values that several files of checks of the inventory use."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

PROFILES = ('fast', 'safe', 'wan')
FAILOVER = ('automatic', 'manual')


def flaw(host, seen, expected, command):
    """[message] of one wrong value of a host."""
    return [message(host.get('name') or '(no name)', seen, expected, command)]


def is_empty(value):
    return value is None or '%s' % (value,) == ''


def one_of(values, key, variable, allowed, host=None):
    """[message] if values[key] is not allowed. variable: its name in the inventory. host: if `values` is not the host itself."""
    value = values.get(key)
    if value in allowed:
        return []
    return flaw(host or values, '%s is "%s"' % (variable, '' if value is None else value), 'one of %s' % ', '.join(allowed),
                'Correct %s.' % variable)


def data_nodes_of(hosts):
    """The hosts that are not in the witness group."""
    return [host for host in hosts if 'witness' not in (host.get('groups') or [])]


def lower_names(settings):
    """The settings with their names in lower case: PostgreSQL ignores case in them."""
    return dict((('%s' % (name,)).lower(), value) for name, value in (settings or {}).items())


def is_on(value):
    """Whether PostgreSQL takes a value for true. It accepts abbreviations."""
    return ('%s' % (value,)).strip().lower() not in ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0')
