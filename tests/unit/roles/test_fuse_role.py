# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the fuse is deployed: whatever is renewed, one of guard and fuse is at work, and what it was told goes with the node."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

FUSE = '/usr/local/sbin/repmgr-guard-fuse'


def test_the_fuse_comes_before_the_guard(host):
    assert [task['name'] for task in host.load('guard', 'tasks', 'watch.yml')] == [
        'Start the fuse, now and at each boot', 'Start the guard and enable it at boot']
    assert [task['name'] for task in host.load('guard', 'tasks', 'main.yml')][1:3] == [
        'Install the guard, the fuse and their units', 'Start the guard and the fuse']
    handlers = [handler['name'] for handler in host.load('guard', 'handlers', 'main.yml')]
    assert handlers.index('Restart repmgr-guard-fuse') < handlers.index('Restart repmgr-guard')


@pytest.mark.parametrize('fuse, files, written, check, done', [
    # A new node, or one of before there was a fuse; in check mode its unit is not there.
    (None, {}, True, False, True),
    (None, {}, True, True, False),
    ({'running': True, 'enabled': True}, {'/etc/systemd/system/repmgr-guard-fuse.service': 'x'}, False, False, False),
    ({'running': False, 'enabled': True}, {'/etc/systemd/system/repmgr-guard-fuse.service': 'x'}, False, True, True),
    ({'running': True, 'enabled': False}, {'/etc/systemd/system/repmgr-guard-fuse.service': 'x'}, False, False, True),
    ({'running': True, 'enabled': True}, {'/etc/systemd/system/repmgr-guard-fuse.service': 'x'}, True, False, True),
])
def test_when_the_fuse_is_started(host, fuse, files, written, check, done):
    include, = [task for task in host.load('guard', 'tasks', 'main.yml') if task['name'] == 'Start the guard and the fuse']
    task = host.load('guard', 'tasks', 'watch.yml')[0]
    record = {'groups': ['primary'], 'observed': {'guard': {'running': True, 'enabled': True, 'fuse': fuse}, 'files': files}}
    given = dict(host.load('guard', 'vars', 'main.yml'), __repmgr_record=record, ansible_check_mode=check,
                 __repmgr_guard_written={'changed': written})
    assert (host.rendered('{{ %s }}' % include['when'], **given) and host.rendered('{{ %s }}' % task['when'], **given)) is done
    state = host.rendered(task['ansible.builtin.systemd']['state'], **given)
    assert state == ('started' if (fuse or {}).get('running') else 'restarted')


def test_both_programs_are_run_by_the_same_python(host):
    """Each compares the other's clock with its own."""
    fuse, guard = (host.load('common', 'vars', 'main.yml')['__repmgr_%s_program' % name] for name in ('fuse', 'guard'))
    assert fuse.replace('fuse.py', 'guard.py') == guard


def test_what_is_removed_with_a_node(host):
    """remove_node takes all of them away."""
    files = host.value('__repmgr_files', __repmgr_conf='c', __repmgr_config_dir='d', __repmgr_service='s')
    assert files['repmgr-guard-fuse'] == FUSE and files['repmgr-guard-fuse.service'] == '/etc/systemd/system/repmgr-guard-fuse.service'
    assert "SIGHT_FILE = '%s'" % host.value('__repmgr_guard_sight') in host.file('guard', 'files', 'guard.py')
    with open(__file__.partition('/tests/')[0] + '/playbooks/remove_node.yml') as handle:
        text = handle.read()
    assert '__repmgr_guard_sight]' in text and text.index("['repmgr-guard']") < text.index("['repmgr-guard-fuse']")
