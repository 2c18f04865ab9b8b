# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the fuse is deployed: whatever is renewed, one of guard and fuse is at work, and what it was told goes with the node."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import hashlib
import io
import zipfile

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _archive

ROOT = __file__.partition('/tests/')[0]
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
    assert host.load('common', 'vars', 'main.yml')['__repmgr_fuse_program'].startswith('#!{{ __repmgr_python }}\n# Ansible managed\n')
    guard = host.value('__repmgr_guard_program', role_path=ROOT + '/roles/common')
    assert base64.b64decode(guard['base64']).startswith(b'#!%s\n# Ansible managed\nPK' % host.value('__repmgr_python').encode())
    assert host.value('__repmgr_python') == '/usr/bin/python2'


def test_the_program_that_is_installed(host):
    """The folder in the file, and nothing else; a host that has it is not asked, one that has another has an old one."""
    given = dict(role_path=ROOT + '/roles/guard')
    program = host.value('__repmgr_guard_program', **given)
    content = base64.b64decode(program['base64'])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = dict((name, archive.read(name)) for name in archive.namelist())
    assert files == _archive.sources(ROOT + '/roles/guard/files/guard') and 'pgfleet_guard/watch.py' in files
    assert host.value('__repmgr_guard_program', role_path=ROOT + '/roles/repmgrd') == program
    for book, number in (('main', 1), ('install', 0)):
        entry = host.load('guard', 'tasks', book + '.yml')[number]['pgfleet.repmgr.repmgr_files']['files'][0]
        assert host.rendered(entry['content_base64'], **given) == program['base64'] and entry['mode'] == '0755'
    for state, old in (('%s 0755 root root' % hashlib.sha256(content).hexdigest(), False), ('%064d 0755 root root' % 0, True), ('', True)):
        record = {'groups': ['standby'], 'observed': {'files': {'/usr/local/sbin/repmgr-guard': state} if state else {}}}
        assert host.value('__repmgr_guard_is_old', __repmgr_record=record, **given) is old


def test_what_is_removed_with_a_node(host):
    """remove_node takes all of them away."""
    files = host.value('__repmgr_files', __repmgr_conf='c', __repmgr_config_dir='d', __repmgr_service='s')
    assert files['repmgr-guard-fuse'] == FUSE and files['repmgr-guard-fuse.service'] == '/etc/systemd/system/repmgr-guard-fuse.service'
    assert "SIGHT_FILE = '%s'" % host.value('__repmgr_guard_sight') in host.file('guard', 'files', 'guard', 'pgfleet_guard', 'settings.py')
    with open(ROOT + '/playbooks/remove_node.yml') as handle:
        text = handle.read()
    assert '__repmgr_guard_sight]' in text and text.index("['repmgr-guard']") < text.index("['repmgr-guard-fuse']")
