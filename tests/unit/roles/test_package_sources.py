# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role pgdg_repo does what the plan says: each of its words has a task, and no task adds a source without one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

OURS = 'deb [signed-by=/etc/apt/keyrings/pgdg.asc] https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main'


def record(sources, missing, **more):
    return dict({'name': 'db1', 'package_source': 'pgdg', 'os_family': 'Debian', 'release': 'bookworm', 'architecture': 'x86_64',
                 'postgresql_version': '15', 'observed': {'package_sources': sources, 'missing_packages': missing}}, **more)


def tasks(host, name, found, **facts):
    """The names of the tasks that would run."""
    given = dict(host.load('pgdg_repo', 'vars', 'main.yml'), __repmgr_record=found, ansible_facts=dict(host.FACTS, **facts))
    if not host.rendered('{{ %s }}' % host.load('pgdg_repo', 'tasks', 'main.yml')[0]['when'], **given):
        return []
    ran = []
    for task in host.load('pgdg_repo', 'tasks', name):
        if host.rendered('{{ %s }}' % task.get('when', 'true'), **given) and host.rendered(task.get('loop', [1]), **given):
            ran += [each['name'] for each in task.get('block', [task])]
    return ran


def test_a_host_without_a_source(host):
    ran = tasks(host, 'Debian.yml', record([], ['postgresql-15']))
    assert ran == ['Install ca-certificates', 'Create the keyring directory', 'Download the PGDG signing key',
                   'Add the PGDG apt source']
    block = host.load('pgdg_repo', 'tasks', 'Debian.yml')[1]['block']
    given = dict(host.load('pgdg_repo', 'vars', 'main.yml'), __repmgr_record=record([], ['postgresql-15']))
    assert host.rendered(block[2]['ansible.builtin.get_url'], **given)['dest'] == '/etc/apt/keyrings/pgdg.asc'
    added = host.rendered(block[3]['ansible.builtin.apt_repository'], **given)
    assert (added['repo'], added['filename']) == (OURS, 'pgdg')


@pytest.mark.parametrize('missing, ran', [([], []), (['postgresql-15'], ["Update the package lists for the host's own PGDG source"])])
def test_a_host_with_a_source_of_its_own(host, missing, ran):
    own = {'file': '/etc/apt/sources.list', 'line': 1, 'uris': ['http://m'], 'suites': ['bookworm-pgdg'], 'components': ['main'], 'architectures': [],
           'signed': False, 'keys': [], 'missing_keys': [], 'enabled': True, 'ours': False}
    assert tasks(host, 'Debian.yml', record([own], missing)) == ran
    # And one of ours that was added beside it.
    url = 'https://apt.postgresql.org/pub/repos/apt'
    both = [dict(own, uris=[url], signed=True, keys=['/k']), dict(own, uris=[url], signed=True, keys=['/etc/apt/keyrings/pgdg.asc'], ours=True)]
    assert tasks(host, 'Debian.yml', record(both, missing)) == ['Remove obsolete PGDG sources of the collection'] + ran


@pytest.mark.parametrize('major, sources, ran', [
    ('9', [], ['Import the PGDG signing key', 'Install the PGDG repository package', "Disable the distribution's PostgreSQL module"]),
    ('7', [], ['Import the PGDG signing key', 'Install the PGDG repository package',
               'Add the PGDG archive repository for end-of-life versions']),
    ('9', [{'file': '/etc/yum.repos.d/own.repo', 'line': 1, 'id': 'pgdg15', 'urls': [], 'enabled': True, 'ours': False}],
     ["Disable the distribution's PostgreSQL module"]),
])
def test_hosts_of_el(host, major, sources, ran):
    found = record(sources, ['postgresql15-server'], os_family='RedHat', distribution_major=major)
    assert tasks(host, 'RedHat.yml', found, distribution_major_version=major) == ran
