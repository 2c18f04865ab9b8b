# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node that rejoin brings back is made from the same variables as by site."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
NODE = 'pgfleet.repmgr.repmgr_node'


def loaded(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        return yaml.safe_load(handle)


def nodes(tasks, defaults=None):
    """The parameters of every task of repmgr_node, with those of its block."""
    for task in tasks:
        own = dict(defaults or {}, **task.get('module_defaults', {}).get(NODE, {}))
        if NODE in task:
            yield dict(own, **task[NODE])
        for part in ('block', 'rescue', 'always'):
            for found in nodes(task.get(part, []), own):
                yield found


def test_a_new_copy_is_made_with_the_options_of_site():
    site, = nodes(loaded('roles', 'standby', 'tasks', 'node.yml'))
    copies = [found for found in nodes(loaded('playbooks', 'rejoin.yml')[0]['tasks']) if found.get('rejoin') == 'reclone']
    assert len(copies) == 2
    for name in ('clone_options', 'clone_conninfo', 'primary_conninfo'):
        assert [found.get(name) for found in copies] == [site[name]] * 2, name


def test_in_the_end_it_follows_its_own_upstream():
    last = list(nodes(loaded('playbooks', 'rejoin.yml')[0]['tasks']))[-1]
    assert set(last) >= {'upstream_conninfo', 'upstream_node_id'} and 'rejoin' not in last
