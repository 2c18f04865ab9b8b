# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers that more than one file uses. If YAML has to repeat one, tests/unit/plugins/test_one_definition.py compares the two."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

# A managed certificate is renewed when it has fewer days left than this; for a provided one there is a warning.
RENEWAL_DAYS = 30
# A managed CA can only be replaced by an operator, and only while the nodes can still connect, so the warning comes earlier.
AUTHORITY_DAYS = 90
# A failover loses what the best candidate has not received. More than a WAL segment is more than a momentary delay.
MAX_LAG = 16 * 1024 * 1024
# How long a run lock without a live SSH connection is valid after it was last renewed.
LOCK_SECONDS = 120


def span(seconds):
    """A number of seconds in readable form: 59 s, 2 min 5 s, 1 h 3 min."""
    seconds = int(round(seconds))
    if seconds < 60:
        return '%d s' % seconds
    if seconds < 3600:
        return '%d min %d s' % (seconds // 60, seconds % 60)
    return '%d h %d min' % (seconds // 3600, seconds % 3600 // 60)
