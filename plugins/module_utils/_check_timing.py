# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: when a primary is in doubt, and how often a proxy asks; both follow from the timings of the guard.

It imports nothing of the collection, so that the simulator of the guard (tests/simulation) goes by it as well.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

# What the guard waits between two questions, at most; what one of its looks takes; see Watch.tick in roles/guard/files/guard/pgfleet_guard/watch.py.
QUESTION, LOOK = 1.0, 0.45
# Nobody is promoted before the isolation limit and this (STOP_MARGIN there).
STOP_MARGIN = 3
# A second answer makes it certain; the first one brings a new primary into use.
FALL, RISE = 2, 1


def timing(profile):
    """profile: one of __repmgr_profiles. {doubt, inter, fastinter, timeout, fall, rise}: seconds for the health endpoints, milliseconds for HAProxy.

    doubt: how old the guard's word may be. In the middle between the oldest that a guard at work leaves, and the age at which it stops the server. What
    is left from there to the first promotion is divided so that a proxy has dropped the old primary by then, even where that answers nothing any more:
    the pause before a check and the one after it (half of it), and two checks that wait for as long as they may.
    """
    isolation = float(profile['isolation'])
    normal = min(QUESTION, isolation / 4) + LOOK + isolation / 8
    doubt = round((normal + isolation) / 2, 2)
    unit = (isolation + STOP_MARGIN - doubt) / 5
    inter, timeout = int(unit * 10) * 100, int(unit * 17.5) * 100
    return {'doubt': doubt, 'inter': inter, 'fastinter': inter // 2, 'timeout': timeout, 'fall': FALL, 'rise': RISE}


def drops_after(found):
    """How many milliseconds a proxy needs at worst to drop a node that answers nothing any more. found: of timing."""
    return found['inter'] + found['fastinter'] + found['fall'] * found['timeout']
