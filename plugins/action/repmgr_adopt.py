# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints what was found on nodes that were built by hand, and prints their inventory or writes it to a file on the controller."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgfleet.repmgr.plugins.action.repmgr_status import write
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _adopt, _adopt_text

display = Display()


class ActionModule(ActionBase):

    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        del tmp
        dummy, args = self.validate_argument_spec({
            'nodes': {'type': 'list', 'elements': 'dict', 'required': True},
            'to': {'type': 'path'},
            'overwrite': {'type': 'bool', 'default': False},
        })
        path = args['to']
        # Before the work, and once more by the check of the playbook's arguments before the hosts are asked.
        refuse(path, args['overwrite'])
        found = _adopt.adopt(args['nodes'])
        text = _adopt_text.inventory(found) if found['clusters'] else ''
        lines = _adopt_text.report(found)
        if path and text and not self._task.check_mode:
            # An operator may add a password to the file later, so nobody else may read it.
            write(path, text, 0o600)
            lines += ['', 'written: %s' % path]
        elif text:
            lines += ['', text.rstrip('\n'), '']
        lines += _adopt_text.next_steps(path) if text else []
        # Where the whole run is one document, the result in it says everything.
        if not C.DEFAULT_STDOUT_CALLBACK.rpartition('.')[2].startswith('json'):
            display.display('\n'.join(lines))
        result.update(found, changed=False, msg='\n'.join(lines), inventory=text)
        return result


def refuse(path, overwrite):
    if path and os.path.lexists(path) and not overwrite:
        raise AnsibleActionFail('repmgr_adopt_to is %s, which is there already; expected a new file. Nothing was written. '
                                'Name another one, or run again with -e repmgr_adopt_overwrite=true.' % path)
