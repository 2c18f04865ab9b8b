# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a new standby gets its copy, and with which options: the expressions of roles/common/vars/main.yml."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def node(name, status=None, recovery=True, location='here', **changes):
    found = {'name': name, 'location': location, 'conninfo': 'host=' + name,
             'observed': {'receiver': {'status': status} if status else None, 'server': {'in_recovery': recovery, 'sql': True}}}
    return dict(found, **changes)


NODES = (node('p', recovery=False), node('far', 'streaming', location='there'), node('near', 'streaming'), node('behind', 'waiting'),
         node('new', recovery=None), node('gone', observed={'receiver': None, 'server': {'in_recovery': None}}))


def value(variable, nodes=NODES, **given):
    with open(os.path.join(ROOT, 'roles', 'common', 'vars', 'main.yml')) as handle:
        variables = yaml.safe_load(handle)
    variables.update(repmgr_clone_from='standby', repmgr_location='here', repmgr_clone_max_rate='', repmgr_clone_compress='',
                     hostvars=dict((entry['name'], {'__repmgr_record': entry}) for entry in nodes), inventory_hostname='new',
                     ansible_play_hosts=[entry['name'] for entry in nodes], __repmgr_members=[entry['name'] for entry in nodes])
    variables.update(given)
    return Templar(loader=DataLoader(), variables=variables).template(variables[variable])


@pytest.mark.parametrize('given, source', [
    (dict(repmgr_clone_from='primary'), ''),
    ({}, 'host=near'),
    (dict(repmgr_location='there'), 'host=far'),
    (dict(repmgr_location='elsewhere'), 'host=far'),
    # nobody copies from itself
    (dict(inventory_hostname='near'), 'host=far'),
    # nor from a node that has failed in this run
    (dict(ansible_play_hosts=['p', 'far', 'new']), 'host=far'),
    # nothing streams yet
    (dict(nodes=NODES[:1] + NODES[3:]), ''),
])
def test_source(given, source):
    assert value('__repmgr_clone_conninfo', **given) == source


@pytest.mark.parametrize('given, options', [
    ({}, []),
    (dict(repmgr_clone_max_rate='50M'), ['--max-rate=50M']),
    (dict(repmgr_clone_max_rate=4096, repmgr_clone_compress='lz4'), ['--max-rate=4096', '--compress=server-lz4']),
])
def test_options(given, options):
    assert value('__repmgr_basebackup_options', **given) == options
