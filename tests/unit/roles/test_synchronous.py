# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""remove_node changes one line of the settings, which site.yml then finds as it would write it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

MEMBERS = {'a': 'primary', 'b': 'standby', 'c': 'standby', 'w': 'witness'}


def given(members):
    return dict(
        repmgr_synchronous=1, repmgr_postgresql_version='15', inventory_hostname='a', __repmgr_cluster={'roles': MEMBERS}, __repmgr_members=members,
        __repmgr_record={'observed': None},
        hostvars=dict((name, {'__repmgr_record': {'name': name, 'node_name': name, 'initial_role': MEMBERS[name]}}) for name in MEMBERS))


def settings(host, members):
    return host.rendered(host.file('server', 'templates', 'settings.conf.j2'), **given(members)).splitlines()


def test_the_line_is_that_of_the_template(host):
    task = host.load('server', 'tasks', 'synchronous.yml')[0]['ansible.builtin.lineinfile']
    before, after = settings(host, list('abcw')), settings(host, list('abw'))
    found = [line for line in before if re.search(task['regexp'], line)]
    assert found == ["synchronous_standby_names = 'ANY 1 (\"a\", \"b\", \"c\")'"]
    line = host.rendered(task['line'], **given(list('abw')))
    assert [line if each in found else each for each in before] == after
    # Where site.yml has not written one yet, none is added.
    assert task['backrefs'] is True and '\\' not in line
