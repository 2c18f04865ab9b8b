# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registered node that is not in the inventory stops every playbook that would change the access, the keys or the votes of all nodes."""

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
    order = ['Compute the removal plan', 'Check that no other problem blocks this run', 'Stop if the removal is refused',
             'Remove the target from synchronous_standby_names', 'Stop and disable PostgreSQL and its daemons on the target',
             'Unregister the target', "Drop the target's replication slots", 'Add the missing pg_hba rules on the other nodes']
    assert [name for name in names if name in order] == order


def test_what_was_never_deployed_is_only_unregistered():
    """On a cluster that was built by hand the rules of remove_node would come before what site does for them."""
    play, = [play for play in yaml.safe_load(read('remove_node')) if play['name'] != 'Configure the proxies']
    assert "__repmgr_files['settings.conf'] in __repmgr_record.observed.files" in play['vars']['__repmgr_renewed']
    when = dict((task['name'], task.get('when', '')) for task in play['tasks'])
    for name in ('Update the SSH keys and host keys on the other nodes', 'Update the passfile on the other nodes',
                 'Add the missing pg_hba rules on the other nodes', 'Remove the pg_hba rules of the target from the other nodes'):
        assert when[name] == '__repmgr_renewed', name
    for name in ('Update the votes on the other standbys', 'Update the votes on the primary'):
        assert "__repmgr_files['guard.json'] in __repmgr_record.observed.files" in when[name], name


def test_a_slot_that_nothing_bounds_goes_before_its_node_is_forgotten():
    names = [task['name'] for task in yaml.safe_load(read('remove_node'))[0]['tasks']]
    assert names.index("Drop the target's slot first (before PostgreSQL 13)") < names.index('Unregister the target')
