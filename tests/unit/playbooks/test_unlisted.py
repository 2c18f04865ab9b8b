# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registered node that the inventory does not list stops whatever would change the access, the keys or the votes of all nodes."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def read(name):
    with open(os.path.join(ROOT, 'playbooks', name + '.yml')) as handle:
        return handle.read()


def test_what_changes_one_node_goes_on():
    names = [os.path.splitext(os.path.basename(path))[0] for path in glob.glob(os.path.join(ROOT, 'playbooks', '*.yml'))]
    # remove_node has its own list of what it tolerates, which depends on its target.
    assert sorted(name for name in names if 'unlisted_node' in read(name)) == ['rejoin', 'switchover']
    assert '__repmgr_tolerated: "{{ __repmgr_removal.tolerated }}"' in read('remove_node')


def test_a_node_leaves_after_everything_was_checked():
    names = [task['name'] for task in yaml.safe_load(read('remove_node'))[0]['tasks']]
    order = ['Decide whether the target may leave', 'Nothing else stands against going on', 'The target may leave',
             'Wait for no confirmation of the target any more', 'Daemon and server of the target are stopped',
             'The target is registered no more', 'Nobody keeps WAL for the target', 'Access of the others']
    assert [name for name in names if name in order] == order
