# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what the checks of the inventory share."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

PROFILES = ('fast', 'safe', 'wan')
FAILOVER = ('automatic', 'manual')


def flaw(host, seen, expected, command):
    return [message(host.get('name') or '(no name)', seen, expected, command)]


def is_empty(value):
    return value is None or '%s' % (value,) == ''


def one_of(values, key, variable, allowed, host=None):
    value = values.get(key)
    if value in allowed:
        return []
    return flaw(host or values, '%s is "%s"' % (variable, '' if value is None else value), 'one of %s' % ', '.join(allowed),
                'Correct %s.' % variable)


def data_nodes_of(hosts):
    return [host for host in hosts if 'witness' not in (host.get('groups') or [])]


def lower_names(settings):
    """PostgreSQL does not tell upper case from lower in names of settings."""
    return dict((('%s' % (name,)).lower(), value) for name, value in (settings or {}).items())


def is_on(value):
    return ('%s' % (value,)).strip().lower() not in ('off', 'of', 'false', 'fals', 'fal', 'fa', 'f', 'no', 'n', '0')
