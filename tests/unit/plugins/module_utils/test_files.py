# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files


def test_the_state_that_is_wanted_is_the_state_that_is_seen_afterwards(tmpdir):
    path = str(tmpdir.join('x'))
    tmpdir.join('x').write_binary(u'\xe9\n'.encode('utf-8'))
    os.chmod(path, 0o640)
    mode, owner, group = _files.rights_of(path)
    entry = _files.wanted({'path': path, 'content': u'\xe9\n', 'mode': '0640', 'owner': owner, 'group': group})
    assert _files.wanted_state(dict(entry, content=u'\xe9\n'.encode('utf-8'))) == _files.wanted_state(entry)
    assert mode == '0640' and _files.state_of(path) == _files.wanted_state(entry)
    assert _files.state_of(path) != _files.wanted_state(dict(entry, content='e\n')) and _files.state_of(path) != _files.wanted_state(dict(entry, mode='0644'))
    assert _files.state_of(path, lambda content: b'') == _files.wanted_state(dict(entry, content=''))


def test_a_content_that_is_no_text():
    entry = _files.wanted({'path': '/x', 'content_base64': 'AAH/'})
    assert entry['content'] == b'\0\1\xff' and _files.wanted_state(entry) == _files.wanted_state(dict(entry, content=b'\0\1\xff'))


def test_the_state_of_a_directory_and_of_nothing(tmpdir):
    assert _files.state_of(str(tmpdir)) == 'folder ' + ' '.join(_files.rights_of(str(tmpdir)))
    assert _files.state_of(str(tmpdir.join('nothing'))) is None
    assert _files.wanted_state(_files.wanted({'path': '/x', 'state': 'absent'})) is None
    assert _files.wanted_state(_files.wanted({'path': '/x', 'state': 'directory', 'owner': 'postgres'})) == 'folder 0755 postgres postgres'
    assert _files.wanted_state(_files.wanted({'path': '/x', 'content': ''})).endswith(' 0644 root root')


@pytest.mark.parametrize('entry, expected', [
    ({'path': '/x', 'content': ''}, ''),
    ({'path': '/x', 'template': 'x.j2', 'mode': '0440', 'validate': 'visudo -cf %s', 'note': '/y'}, ''),
    ({'path': '/x', 'content': '', 'note': ''}, ''),
    ({'path': '/x', 'state': 'absent'}, ''),
    ({'content': ''}, "path is '', expected an absolute path"),
    ({'path': 'x', 'content': ''}, "path is 'x', expected an absolute path"),
    ({'path': '/x'}, '/x: expected one of template, content and content_base64, got none'),
    ({'path': '/x', 'content': '', 'template': 'x.j2'}, '/x: expected one of template, content and content_base64, got template and content'),
    ({'path': '/x', 'content': '', 'state': 'directory'}, '/x: state directory takes neither template, content, content_base64 nor validate'),
    ({'path': '/x', 'content_base64': u'AAE='}, ''),
    ({'path': '/x', 'content_base64': u'AAE=', 'content': ''}, '/x: expected one of template, content and content_base64, got content and content_base64'),
    ({'path': '/x', 'content_base64': u'AAE'}, '/x: content_base64 is no Base64'),
    ({'path': '/x', 'content_base64': u'AA\nE='}, '/x: content_base64 is no Base64'),
    ({'path': '/x', 'content_base64': u'\xe4AE='}, '/x: content_base64 is no Base64'),
    ({'path': '/x', 'content_base64': u'AAE=', 'state': 'directory'}, '/x: state directory takes neither template, content, content_base64 nor validate'),
    ({'path': '/x', 'content': '', 'mode': '644'}, "/x: mode is '644', expected four octal digits such as 0644"),
    ({'path': '/x', 'content': '', 'mode': 'u=rw'}, "/x: mode is 'u=rw', expected four octal digits such as 0644"),
    ({'path': '/x', 'content': '', 'note': 'y'}, "/x: note is 'y', expected an absolute path or nothing"),
    ({'path': '/x', 'content': '', 'validate': 'true'}, "/x: validate is 'true', expected a command with %s for the file"),
])
def test_what_is_refused(entry, expected):
    assert _files.refusal(entry) == expected
