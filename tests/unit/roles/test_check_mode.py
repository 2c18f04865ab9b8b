# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode on a cluster that was built by hand: its servers run, and what the modules need is not installed."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest


def seen(missing, installed=True):
    return {'__repmgr_record': {'name': None, 'observed': {'repmgr_installed': installed, 'missing_packages': missing}}}


@pytest.mark.parametrize('hosts, without', [
    ({'a': seen([]), 'b': seen(['sudo'])}, ['b']),
    ({'a': seen(None, installed=False), 'b': seen(['sudo', 'acl'])}, ['a', 'b']),
    # Which packages are missing is not told everywhere.
    ({'a': seen(None), 'b': seen([])}, []),
])
@pytest.mark.parametrize('source', ['distro', 'none'])
def test_where_check_mode_ends(host, source, hosts, without):
    for name in hosts:
        hosts[name]['__repmgr_record']['name'] = name
    found = host.rendered(host.load('repmgr_install', 'vars', 'main.yml')['__repmgr_without_packages'], hostvars=hosts, __repmgr_present=sorted(hosts),
                          repmgr_package_source=source)
    assert found == (without if source != 'none' else [])


def test_the_whole_cluster_ends_there(host):
    tasks = [task for task in host.load('repmgr_install', 'tasks', 'end_of_check.yml') if task.get('ansible.builtin.include_tasks') == 'check_mode.yml']
    assert [task['when'] for task in tasks] == ['ansible_check_mode and __repmgr_without_packages | length > 0']
    assert host.load('repmgr_install', 'tasks', 'check_mode.yml')[-1]['ansible.builtin.meta'] == 'end_host'
