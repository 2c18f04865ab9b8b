# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: positions in the WAL."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

_LSN = re.compile(r'([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})\Z')


def position(lsn):
    """An LSN such as '16/B374D848' as a number of bytes, or None if it is not an LSN."""
    found = _LSN.match('%s' % (lsn,))
    return int(found.group(1), 16) * 2 ** 32 + int(found.group(2), 16) if found else None


def says_received(server):
    """Whether a standby reports how much WAL it has received.

    After a start it does not until it has replayed all local WAL and starts its WAL receiver: up to then it may have more WAL than it has replayed.
    """
    return position(server.received_lsn) is not None


def behind(written, has):
    """The lag in bytes: written position minus the position that the caller chose (received or replayed); None if either is unknown."""
    return None if written is None or has is None else max(0, written - has)


def lsn(number):
    """A number of bytes as an LSN in PostgreSQL's notation."""
    return '%X/%X' % (number >> 32, number & 0xFFFFFFFF)
