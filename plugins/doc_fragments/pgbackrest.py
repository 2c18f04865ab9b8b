# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):

    # Options of the modules that restore a backup on a data node.
    DOCUMENTATION = r"""
options:
  data_directory:
    description:
      - The data directory of the server.
    type: path
    required: true
  bin_dir:
    description:
      - The directory with the programs of PostgreSQL.
    type: path
    required: true
  conf:
    description:
      - The configuration file of pgBackRest on this node.
    type: path
    required: true
  cluster:
    description:
      - The name of the cluster, which is also the name of the stanza of pgBackRest.
    type: str
    required: true
  port:
    description:
      - The port of the server.
    type: int
    required: true
  socket_directory:
    description:
      - The directory of the server's socket.
    type: path
    default: /var/run/postgresql
  target_timeline:
    description:
      - The timeline that the recovery follows.
    type: int
    default: 0
"""
