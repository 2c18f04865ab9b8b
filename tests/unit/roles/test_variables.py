# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A variable is defined once (roles/common/defaults), described once (argument_specs), and both say the same."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import os
import re

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def load(*path):
    with open(os.path.join(ROOT, *path)) as handle:
        return yaml.safe_load(handle)


DEFAULTS = load('roles', 'common', 'defaults', 'main.yml')
OPTIONS = load('roles', 'common', 'meta', 'argument_specs.yml')['argument_specs']['main']['options']


def test_every_variable_is_described_and_every_description_has_its_variable():
    assert sorted(DEFAULTS) == sorted(OPTIONS)


@pytest.mark.parametrize('name', sorted(DEFAULTS))
def test_the_described_default_is_the_real_one(name):
    assert OPTIONS[name]['default'] == DEFAULTS[name]


@pytest.mark.parametrize('name', sorted(DEFAULTS))
def test_the_prefix_is_ours(name):
    assert name.startswith('repmgr_')


def test_no_other_role_defines_a_default():
    assert glob.glob(os.path.join(ROOT, 'roles', '*', 'defaults', '*')) == [
        os.path.join(ROOT, 'roles', 'common', 'defaults', 'main.yml')]


def test_every_variable_that_a_role_uses_is_defined():
    used = set()
    for pattern in ('roles/*/tasks/*.yml', 'roles/*/templates/*', 'roles/*/handlers/*.yml', 'roles/*/vars/*.yml', 'playbooks/*.yml'):
        for path in glob.glob(os.path.join(ROOT, pattern)):
            with open(path) as handle:
                # not inside __repmgr_..., pgfleet.repmgr.repmgr_node, or a task's text
                used.update(re.findall(r'(?<![\w.])repmgr_[a-z_]+', handle.read()))
    used -= set(os.path.basename(path) for path in glob.glob(os.path.join(ROOT, 'roles', '*')))
    # repmgr's own name for a node's slot
    used -= {'repmgr_slot_'}
    # the play's hosts are decided before any role, so these can only come from the command line
    assert used - set(DEFAULTS) - set(_arguments.ARGUMENTS) <= {'repmgr_hosts', 'repmgr_batch', 'repmgr_max_fail'}


def test_every_role_has_its_papers():
    for role in glob.glob(os.path.join(ROOT, 'roles', '*')):
        for paper in ('README.md', 'meta/main.yml', 'meta/argument_specs.yml', 'tasks/main.yml'):
            assert os.path.exists(os.path.join(role, paper)), '%s has no %s' % (role, paper)
