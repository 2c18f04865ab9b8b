# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print the status of clusters as plain text, not as the result of a task, and write it to files on the controller."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import tempfile
import time

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _status
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _report

display = Display()

_COLOURS = {'ok': C.COLOR_OK, 'warn': C.COLOR_CHANGED, 'bad': C.COLOR_ERROR, 'dim': C.COLOR_VERBOSE, 'bold': C.COLOR_HIGHLIGHT}


class ActionModule(ActionBase):

    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        del tmp
        dummy, args = self.validate_argument_spec({
            'nodes': {'type': 'list', 'elements': 'dict', 'required': True},
            'proxies': {'type': 'list', 'elements': 'dict', 'default': []},
            'format': {'type': 'str', 'choices': ['text', 'json'], 'default': 'text'},
            'output': {'type': 'path'},
            'report': {'type': 'path'},
        })
        found = _status.status(args['nodes'], time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), args['proxies'])
        said = json.dumps(found, indent=2, sort_keys=True) if args['format'] == 'json' else _status.text(found)
        # With a JSON callback the whole output is one document, and the result is part of it.
        if not C.DEFAULT_STDOUT_CALLBACK.rpartition('.')[2].startswith('json'):
            display.display(said if args['format'] == 'json' else coloured(found))
        if args['output']:
            write(args['output'], said + '\n')
        if args['report']:
            write(args['report'], _report.page(found))
        result.update(changed=False, msg=said, status=found, verdicts=_status.text(found).splitlines()[:max(1, len(found['clusters']))])
        return result


def coloured(found):
    """The status with colours, if stringc() finds them enabled."""
    return '\n'.join(''.join(
        stringc(words, _COLOURS[style]) if style in _COLOURS and words.strip() else words for words, style in line).rstrip()
        for line in _status.lines(found))


def write(path, text, rights=0o666):
    """Write atomically, so that a reader never sees a partial file. A pipe or a device is written to directly."""
    real, data = os.path.realpath(path), text.encode('utf-8')
    try:
        if os.path.exists(real) and not os.path.isfile(real):
            with open(real, 'wb') as stream:
                stream.write(data)
            return
        handle, name = tempfile.mkstemp(dir=os.path.dirname(real))
        try:
            with os.fdopen(handle, 'wb') as stream:
                stream.write(data)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, rights & ~umask)
            os.rename(name, real)
        except (IOError, OSError):
            os.unlink(name)
            raise
    except (IOError, OSError) as exc:
        raise AnsibleActionFail('cannot write %s: %s; expected a file in a writable directory of the controller.' % (path, exc.strerror))
