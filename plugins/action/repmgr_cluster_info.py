# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of the same name. With `lock`, pass it the identity of this run, and override the lock of a run that this controller knows to be over."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import time

from ansible.plugins.action import ActionBase
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run_lock
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _this_run


class ActionModule(ActionBase):

    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        del tmp
        if isinstance(self._task.args.get('lock'), dict):
            result.update(self._locked(task_vars))
        else:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
        return result

    def _locked(self, task_vars):
        own = _this_run.this_run()
        override = list(self._task.args['lock'].get('override') or [])
        deadline = time.monotonic() + _run_lock.YOUNG
        while True:
            lock = dict(self._task.args['lock'], run=own, override=override)
            found = self._execute_module(module_args=dict(self._task.args, lock=lock), task_vars=task_vars, wrap_async=self._task.async_val)
            other = (found.get('observed') or {}).get('run_lock') or {}
            if other.get('state') not in ('refused', 'lost'):
                return found
            if other['state'] == 'refused' and other['run'] not in override and _this_run.is_over(other, own):
                override.append(other['run'])
            elif _run_lock.gives_way(other, own['run']) and time.monotonic() < deadline:
                time.sleep(1)
            else:
                return found
