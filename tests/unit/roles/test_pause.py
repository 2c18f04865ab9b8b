# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands by which roles/repmgrd pauses and resumes failover, for every version of repmgr."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

import pytest

from ansible.errors import AnsibleError

from ansible_collections.pgfleet.repmgr.plugins.filter.repmgr import repmgr_service

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def commands(host, verb):
    return [task['ansible.builtin.command'] for task in host.load('repmgrd', 'tasks', verb + '.yml') if 'ansible.builtin.command' in task]


def test_the_guards_are_told_first_that_a_primary_is_dead(host):
    """They remember that it does not stop; an election that is held before would be refused."""
    guards, elections = [command['argv'] for command in commands(host, 'unpause')]
    assert [host.rendered(word, __repmgr_guard='/sbin/guard', item='db1') for word in guards] == ['/sbin/guard', 'primary-is-dead', 'db1']
    assert "'unpause'" in elections


@pytest.mark.parametrize('version, word', [('4.4', 'daemon'), ('5.0', 'service'), ('5.3', 'service'), ('10.0', 'service'), (None, 'daemon'), ('', 'daemon')])
@pytest.mark.parametrize('verb', ['pause', 'unpause'])
def test_the_command(host, verb, version, word):
    command, = [command for command in commands(host, verb) if 'repmgr_service' in '%s' % command['argv']]
    record = {'groups': ['primary'], 'observed': {'repmgr_version': version}}
    assert host.rendered(command['argv'], __repmgr_record=record, __repmgr_bin_dir='/bin', __repmgr_conf='/etc/repmgr.conf') == [
        '/bin/repmgr', '-f', '/etc/repmgr.conf', word, verb]


def test_no_other_verb():
    with pytest.raises(AnsibleError):
        repmgr_service('5.3', 'kick')


def test_no_task_spells_it_out():
    """The words are in _repmgr.py alone."""
    found = []
    for folder in ('roles', 'playbooks'):
        for top, dummy, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith('.yml'):
                    with open(os.path.join(top, name)) as handle:
                        found += [name for line in handle if re.search(r'\b(service|daemon),? (un)?pause', line.partition('#')[0])]
    assert found == []
