# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that the collection writes: how their state is compared, and what the wanted state of one is.

The state of a file is one string, "SHA-256 mode owner group", with "folder" in place of the SHA-256 for a directory. An observation of a node has it for
each file that the collection manages, so a file that is up to date is neither rendered on the host nor sent to it.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import binascii
import grp
import hashlib
import os
import pwd

FOLDER = 'folder'
# The defaults of one file.
FILE_MODE, FOLDER_MODE, OWNER = '0644', '0755', 'root'
# One of the first lines of each file that the collection writes from a template.
MANAGED = b'# Ansible managed'
# What the name of the copy of somebody else's file ends with. Neither sudo, systemd, PostgreSQL nor the search for repmgr.conf reads such a file.
FORMER = '.before-pgfleet'


def text_of_state(digest, mode, owner, group):
    """mode: four octal digits as a string."""
    return '%s %s %s %s' % (digest, mode, owner, group)


def state_of_text(text, mode, owner, group):
    """The state of a file with this content; with Python 2 a module has its parameters as bytes."""
    return text_of_state(digest_of(text if isinstance(text, bytes) else text.encode('utf-8')), mode, owner, group)


def digest_of(content):
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def rights_of(path):
    """(mode, owner, group) of what is at path. Raises OSError, and KeyError for an owner or a group without a name."""
    stat = os.stat(path)
    return '%04o' % (stat.st_mode & 0o7777), pwd.getpwuid(stat.st_uid).pw_name, grp.getgrgid(stat.st_gid).gr_name


def state_of(path, part=None):
    """The state of what is at path now; None if there is nothing, or it cannot be read. part: a function that picks the bytes of a file that count."""
    try:
        digest = FOLDER
        if not os.path.isdir(path):
            with open(path, 'rb') as handle:
                content = handle.read()
            digest = digest_of(part(content) if part else content)
        return text_of_state(digest, *rights_of(path))
    except (IOError, OSError, KeyError):
        return None


def decoded(text):
    """The bytes that a text in Base64 stands for, or None where it is none."""
    try:
        content = base64.b64decode(text.encode('ascii'))
    except (TypeError, ValueError, binascii.Error):
        return None
    # What does not belong there is skipped without a word.
    return content if base64.b64encode(content).decode('ascii') == text else None


def wanted(entry):
    """An entry of the module's option `files`, with its defaults.

    It has path, state, content (text, bytes or None), mode, owner, group, validate, note, keep_other.
    """
    state = entry.get('state') or 'file'
    content = entry.get('content') if entry.get('content_base64') is None else decoded(entry['content_base64'])
    owner = entry.get('owner') or OWNER
    mode = entry.get('mode') or (FOLDER_MODE if state == 'directory' else FILE_MODE)
    return {'path': entry['path'], 'state': state, 'content': content, 'mode': mode, 'owner': owner, 'group': entry.get('group') or owner,
            'validate': entry.get('validate'), 'note': entry.get('note'), 'keep_other': bool(entry.get('keep_other'))}


def is_other(content):
    """Whether these bytes are a file that the collection has not written."""
    return bool(content.strip()) and MANAGED not in content.splitlines()[:2]


def wanted_state(entry):
    """The state that a wanted entry has once it is written; None for one that shall be absent."""
    if entry['state'] == 'absent':
        return None
    rights = (entry['mode'], entry['owner'], entry['group'])
    return text_of_state(FOLDER, *rights) if entry['state'] == 'directory' else state_of_text(entry['content'], *rights)


def refusal(entry):
    """What is wrong with an entry as it was given (with `template` in place of `content` on the controller), or ''."""
    sources = [name for name in ('template', 'content', 'content_base64') if entry.get(name) is not None]
    state = entry.get('state') or 'file'
    mode = None if entry.get('mode') is None else '%s' % (entry['mode'],)
    if not os.path.isabs(entry.get('path') or ''):
        return "path is '%s', expected an absolute path" % (entry.get('path') or '',)
    if state == 'file' and len(sources) != 1:
        return '%s: expected one of template, content and content_base64, got %s' % (entry['path'], ' and '.join(sources) or 'none')
    if state != 'file' and (sources or entry.get('validate')):
        return '%s: state %s takes neither template, content, content_base64 nor validate' % (entry['path'], state)
    if entry.get('content_base64') is not None and decoded(entry['content_base64']) is None:
        return '%s: content_base64 is no Base64' % entry['path']
    if mode is not None and not (len(mode) == 4 and set(mode) <= set('01234567')):
        return "%s: mode is '%s', expected four octal digits such as 0644" % (entry['path'], mode)
    if entry.get('note') and not os.path.isabs(entry['note']):
        return "%s: note is '%s', expected an absolute path or nothing" % (entry['path'], entry['note'])
    if entry.get('validate') and '%s' not in entry['validate']:
        return "%s: validate is '%s', expected a command with %%s for the file" % (entry['path'], entry['validate'])
    return ''
