# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):

    # The options with which every module finds repmgr and the server.
    DOCUMENTATION = r"""
options:
  bin_dir:
    description:
      - The directory with the programs of PostgreSQL and repmgr.
    type: path
    required: true
  passfile:
    description:
      - The passfile for connections, instead of C(~/.pgpass) of the current user.
    type: path
  connect_timeout:
    description:
      - Seconds to wait for a connection.
    type: int
    default: 3
requirements:
  - psql, from PostgreSQL 10 or later
  - repmgr 4.4 or later
"""
