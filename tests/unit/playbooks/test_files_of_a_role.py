# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action and the module repmgr_files, run by Ansible on this host."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import getpass
import grp
import json
import os

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files
from playbook_runs import inventory, playbook_run

OWN = {'owner': getpass.getuser(), 'group': grp.getgrgid(os.getegid()).gr_name}


class Host:

    def __init__(self, folder):
        self.folder, self.there = folder, folder / 'there'
        self.there.mkdir()
        (folder / 'templates').mkdir()
        self.result = {}

    def entry(self, name, **more):
        return dict(OWN, path=str(self.there / name), **more)

    def run(self, *files, options=(), fails=False, **more):
        """What the module returns; `output` is all that Ansible has said."""
        inventory(self.folder, {'ansible_connection': 'local', 'ansible_python_interpreter': '{{ ansible_playbook_python }}', 'letter': 'b'})
        (self.folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': [
            {'pgfleet.repmgr.repmgr_files': dict(more, files=list(files)), 'register': 'found', 'ignore_errors': True},
            {'ansible.builtin.copy': {'content': '{{ found | to_json }}', 'dest': str(self.folder / 'found')}, 'check_mode': False, 'diff': False}]}]))
        code, output = playbook_run(self.folder, 'play.yml', options)
        assert code == 0, output
        found = dict(json.loads((self.folder / 'found').read_text()), output=output)
        assert found.get('failed', False) is fails, found
        return found

    def observed(self, *names):
        states = dict((str(self.there / name), _files.state_of(str(self.there / name))) for name in names)
        return dict((path, state) for path, state in states.items() if state)


@pytest.fixture(name='host')
def make_host(tmp_path):
    return Host(tmp_path)


def test_files_are_written_in_order_once(host):
    (host.folder / 'templates' / 'conf.j2').write_text('{% if true %}\na{{ letter }}\n{% endif %}\n')
    # A content that looks like data stays the text that it is.
    files = [host.entry('new/deep', state='directory', mode='0750'), host.entry('conf', template='conf.j2', mode='0640'),
             host.entry('json', content='{"b": 1,  "a": true}\n'), host.entry('gone', state='absent')]
    (host.there / 'gone').write_text('')
    first = host.run(*files)
    assert first['changed'] and first['written'] == [entry['path'] for entry in files]
    assert (host.there / 'conf').read_text() == 'ab\n' and (host.there / 'json').read_text() == '{"b": 1,  "a": true}\n'
    assert not (host.there / 'gone').exists() and _files.rights_of(str(host.there / 'new/deep'))[0] == '0750'
    again = host.run(*files)
    assert again['changed'] is False and again['written'] == []


def test_a_host_whose_files_are_known_to_be_right_is_not_asked(host):
    files = [host.entry('a', content='1'), host.entry('b', content='2'), host.entry('c', state='absent')]
    host.run(*files)
    seen = host.observed('a', 'b', 'c')
    # Only what was observed counts: the module would find this one changed.
    (host.there / 'a').write_text('other')
    assert host.run(*files, observed=seen)['written'] == []
    assert host.run(*files, observed=dict(seen, **{files[1]['path']: 'x 0644 root root'}))['written'] == []
    assert host.run(*files, observed={})['written'] == [files[0]['path']]


def test_rights_alone(host):
    (host.there / 'a').write_text('1')
    os.chmod(str(host.there / 'a'), 0o600)
    os.utime(str(host.there / 'a'), (1, 1))
    found = host.run(host.entry('a', content='1', mode='0640'))
    assert found['changed'] and _files.rights_of(str(host.there / 'a'))[0] == '0640' and os.stat(str(host.there / 'a')).st_mtime == 1


def test_check_mode_and_diff(host):
    (host.there / 'a').write_text('old\n')
    found = host.run(host.entry('a', content='new\n'), host.entry('b/c', content='x'), options=['--check', '--diff'])
    assert found['written'] == [str(host.there / 'a'), str(host.there / 'b/c')] and (host.there / 'a').read_text() == 'old\n'
    assert not (host.there / 'b').exists() and '-old' in found['output'] and '+new' in found['output']


def test_a_file_that_is_no_text(host):
    """As a program that takes the place of one that is text: neither is shown."""
    content = b'#!/usr/bin/python3\nPK\x03\x04\x00\xff\r\n'
    entry = host.entry('a', content_base64=base64.b64encode(content).decode('ascii'), mode='0755')
    (host.there / 'a').write_text('the old text\n')
    found = host.run(entry, options=['--check', '--diff'])
    assert found['written'] == [entry['path']] and (host.there / 'a').read_text() == 'the old text\n'
    assert '+no text, SHA-256 %s\n' % _files.digest_of(content) in found['output'] and '-no text, SHA-256 %s\n' % _files.digest_of(
        b'the old text\n') in found['output'] and 'the old text' not in found['output'] and 'PK' not in found['output']
    assert host.run(entry)['written'] == [entry['path']] and (host.there / 'a').read_bytes() == content
    # Known to be right, and looked at.
    assert host.run(entry, observed=host.observed('a'))['changed'] is False and host.run(entry)['changed'] is False
    assert host.run(dict(entry, mode='0700'), options=['--diff'])['output'].count('no text, SHA-256 %s\n' % _files.digest_of(content)) in (1, 2)


def test_what_a_command_refuses_is_not_written_nor_what_comes_after(host):
    (host.there / 'a').write_text('old')
    found = host.run(host.entry('first', content='1'), host.entry('a', content='new', validate='grep -q old %s'), host.entry('z', content='3'), fails=True)
    assert "'grep -q old " in found['msg'] and 'it was not changed' in found['msg'] and 'expected 0' in found['msg']
    assert (host.there / 'first').exists() and (host.there / 'a').read_text() == 'old' and not (host.there / 'z').exists()


def test_a_note_is_left_only_where_something_changes(host):
    note = str(host.there / 'note')
    if os.geteuid() != 0:
        pytest.skip('the note belongs to root')
    entry = host.entry('a', content='1', note=note)
    assert host.run(entry)['written'] == [note, entry['path']] and os.path.exists(note)
    os.unlink(note)
    assert host.run(entry)['written'] == [] and not os.path.exists(note)
    assert host.run(dict(entry, content='2', note=''))['written'] == [entry['path']] and not os.path.exists(note)


def test_what_is_there_and_no_file_is_let_be(host):
    (host.there / 'a').mkdir()
    (host.there / 'b').write_text('')
    os.symlink('/nowhere', str(host.there / 'link'))
    for entry, expected in ((host.entry('a', content='1'), 'is a directory, expected a file'), (host.entry('a', state='absent'), 'is a directory, expected a'),
                            (host.entry('b', state='directory'), 'expected a directory')):
        assert expected in host.run(entry, fails=True)['msg']
    # A link is replaced, as ansible.builtin.template does it, and its target stays as it is.
    assert host.run(host.entry('link', content='1'))['changed'] and not os.path.islink(str(host.there / 'link')) and not os.path.exists('/nowhere')


def test_a_template_that_fails_or_is_missing_changes_nothing(host):
    (host.folder / 'templates' / 'bad.j2').write_text('{{ nothing_of_that_name }}')
    for name in ('bad.j2', 'missing.j2'):
        message = host.run(host.entry('first', content='1'), host.entry('a', template=name), fails=True)['msg']
        assert '/there/a from template %s: ' % name in message and message.endswith('; nothing was written')
        assert not (host.there / 'first').exists()
    assert 'expected one of template, content and content_base64' in host.run(host.entry('a'), fails=True)['msg']


def test_nothing_of_the_content_is_shown_with_vvv(host):
    assert 'a-secret' not in host.run(host.entry('a', content='a-secret'), options=['-v'])['output']
