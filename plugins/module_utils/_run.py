# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the clusters that a run works on, and the problems that stop it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type


def clusters(records):
    """{cluster: [its hosts]}, both in the order of records."""
    found = {}
    for record in records:
        found.setdefault('%s' % record['cluster'], []).append(record['name'])
    return found


def left_out(hosts):
    """{cluster: [its hosts]} of the hosts that this run does not have. hosts: [(name, its repmgr_cluster_name)]."""
    found = {}
    for name, cluster in hosts:
        found.setdefault('%s' % (cluster,), []).append(name)
    return found


def stops(problems, tolerated):
    """The messages of the problems that stop a run. tolerated: 'NODE CODE', '* CODE' or 'NODE *' of the problems that it repairs."""
    return [problem['message'] for problem in problems if problem['stop'] and not set(tolerated) & set([
        '%s %s' % (problem['node'], problem['code']), '* %s' % problem['code'], '%s *' % problem['node']])]
