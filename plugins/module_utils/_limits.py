# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers that more than one file goes by. Where YAML has to repeat one, tests/unit/plugins/test_one_definition.py compares them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

# A managed certificate is made anew when it has fewer days left; a provided one is warned of.
RENEWAL_DAYS = 30
# A managed authority is replaced by an operator alone, and while its nodes can still connect: said earlier.
AUTHORITY_DAYS = 90
# What is not on the best candidate is lost by a failover: more than a WAL segment is more than a moment's delay.
MAX_LAG = 16 * 1024 * 1024
# How long the lock of a run lives that no connection keeps alive.
LOCK_SECONDS = 120


def span(seconds):
    """A time in seconds as people say it: 59 s, 2 min 5 s, 1 h 3 min."""
    seconds = int(round(seconds))
    if seconds < 60:
        return '%d s' % seconds
    if seconds < 3600:
        return '%d min %d s' % (seconds // 60, seconds % 60)
    return '%d h %d min' % (seconds // 3600, seconds % 3600 // 60)
