# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time, and the boot in which it counts."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import time


def clock():
    """Seconds since the boot of the host, including suspended time and independent of the wall clock. The same as in fuse.py."""
    if hasattr(time, 'clock_gettime'):
        return time.clock_gettime(7)  # CLOCK_BOOTTIME; Python has the name since 3.7.
    with open('/proc/uptime') as handle:
        return float(handle.read().split()[0])


def boot():
    """An identifier of this boot, also that of a container. The same as in fuse.py."""
    with open('/proc/sys/kernel/random/boot_id') as handle:
        found = handle.read().strip()
    try:
        # In a container, boot_id is that of the host.
        with open('/proc/1/stat') as handle:
            return '%s %s' % (found, handle.read().rpartition(')')[2].split()[19])
    except (IOError, OSError):
        # Hidden (hidepid).
        return found
