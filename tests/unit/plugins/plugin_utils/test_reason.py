# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import json

import pytest

from ansible_collections.pgfleet.repmgr.plugins.plugin_utils._reason import reason

SECRET = 's:cr\\e"t\''


@pytest.mark.parametrize('result, said', [
    ({'msg': 'Permission denied: /x'}, 'Permission denied: /x'),
    ({'msg': ' '}, 'no reason was given'),
    ({}, 'no reason was given'),
    ({'msg': '', 'stderr': 'a\nb\n'}, 'b'),
    ({'msg': 'MODULE FAILURE\nSee stdout/stderr for the exact error', 'module_stderr': 'Traceback\n  x\nOSError: [Errno 28] No space left on device\n'},
     'MODULE FAILURE: OSError: [Errno 28] No space left on device'),
    ({'msg': 'MODULE FAILURE'}, 'MODULE FAILURE'),
    # Of a loop those items that failed, and each of their messages once.
    ({'msg': 'One or more items failed', 'results': [{'msg': 'fine', 'item': SECRET}, {'failed': True, 'msg': 'a'}, {'failed': True, 'msg': 'b'},
                                                     {'failed': True, 'msg': 'a', 'content': SECRET}]}, 'a; b'),
    ({'msg': 'bad\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nend'}, 'bad\n********\nend'),
    ({'msg': 'cut -----BEGIN RSA PRIVATE KEY-----\nMIIB'}, 'cut ********'),
])
def test_reasons(result, said):
    assert reason(result, [SECRET, '', None]) == said


@pytest.mark.parametrize('spelling', [
    SECRET, json.dumps(SECRET), repr(SECRET), SECRET.replace("'", "''"), 's\\:cr\\\\e"t\'', base64.b64encode(SECRET.encode()).decode()])
def test_the_secret_is_hidden(spelling):
    said = reason({'msg': 'ERROR: near %s here' % spelling}, [SECRET])
    assert '********' in said and 'cr' not in said and said.startswith('ERROR: near ') and said.endswith(' here')
    assert base64.b64encode(SECRET.encode()).decode() not in said


def test_a_secret_within_another():
    assert reason({'msg': 'x abcdef y abc'}, ['abc', 'abcdef']) == 'x ******** y ********'
