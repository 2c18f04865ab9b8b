# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program repmgr-guard: no second primary. See main.py, and docs/guard.md."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type
