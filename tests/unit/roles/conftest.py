# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.pgfleet.repmgr.plugins.filter import repmgr, roles

FILTERS = dict(repmgr.FilterModule().filters(), **roles.FilterModule().filters())
ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))), 'roles')


class Host:
    """A CentOS 7 host of the walkthrough with the roles' own variables, and others where a test gives them."""

    FACTS = {'os_family': 'RedHat', 'distribution': 'CentOS', 'distribution_major_version': '7', 'architecture': 'x86_64',
             'python': {'version': {'major': 2}}}

    @staticmethod
    def file(*path):
        with open(os.path.join(ROLES, *path)) as handle:
            return handle.read()

    def load(self, *path):
        return yaml.safe_load(self.file(*path))

    def play(self, playbook):
        """Of the cluster; the one of its proxies comes after it."""
        return [play for play in self.load('..', 'playbooks', playbook + '.yml') if play['name'] != 'Configure the proxies'][-1]

    def variables(self, given):
        variables = dict(self.load('common', 'defaults', 'main.yml'), **self.load('common', 'vars', 'RedHat.yml'))
        variables.update(self.load('common', 'vars', 'main.yml'), **self.load('server', 'vars', 'main.yml'))
        variables.update(
            ansible_facts=self.FACTS, inventory_hostname='base-centos-2', repmgr_cluster_name='lab', repmgr_node_id=102, repmgr_address='192.168.56.102',
            repmgr_node_name='base-centos-2', __repmgr_record={'groups': ['standby'], 'cluster': 'lab'})
        return dict(variables, **given)

    def rendered(self, text, **given):
        templar = Templar(loader=DataLoader(), variables=self.variables(given))
        # Outside of a run Ansible finds no filters of a collection by name.
        templar.environment.filters.update(('pgfleet.repmgr.' + name, function) for name, function in FILTERS.items())
        return templar.template(text, preserve_trailing_newlines=True)

    def value(self, variable, **given):
        return self.rendered(self.variables(given)[variable], **given)


@pytest.fixture
def host():
    return Host()
