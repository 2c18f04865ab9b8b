# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of the same name. With `progress`, display the progress of a clone or a rewind while it runs."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import time

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgfleet.repmgr.plugins.module_utils._progress import PROGRESS_FILE, line
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils._refusal import say_refusal

display = Display()

# The time limit of the background job in seconds.
_LONGEST = 30 * 86400
_ASK_SECONDS = 1
# Seconds until the first line of progress, and between further lines.
_SAY_SECONDS = (5, 10)


class ActionModule(ActionBase):

    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        del tmp
        task_vars = task_vars or {}
        watched = boolean(self._task.args.get('progress', False), strict=False) and not self._task.check_mode and not self._task.async_val
        result.update(self._watch(task_vars) if watched else self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
        return say_refusal(result)

    def _watch(self, task_vars):
        self._task.async_val = _LONGEST
        try:
            job = self._execute_module(task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0
        if job.get('failed') or not job.get('ansible_job_id'):
            return job
        begun = said = time.time()
        while True:
            time.sleep(_ASK_SECONDS)
            found = self._status(job, 'status', task_vars)
            if found.get('finished') or found.get('failed'):
                self._status(job, 'cleanup', task_vars)
                for name in ('ansible_job_id', 'started', 'finished', 'results_file', 'stdout', 'stderr', 'stdout_lines', 'stderr_lines'):
                    found.pop(name, None)
                return found
            now = time.time()
            if now - said >= (_SAY_SECONDS[0] if said == begun else _SAY_SECONDS[1]):
                said = now
                text = self._progress()
                if text:
                    display.display('%s: %s' % (task_vars.get('inventory_hostname', self._play_context.remote_addr), text))

    def _status(self, job, mode, task_vars):
        try:
            return self._execute_module(
                module_name='ansible.builtin.async_status', task_vars=task_vars,
                module_args={'jid': job['ansible_job_id'], 'mode': mode, '_async_dir': self.get_shell_option('async_dir', default='~/.ansible_async')})
        except AnsibleActionFail as exc:
            return {'failed': True, 'msg': '%s' % exc}

    def _progress(self):
        answer = self._low_level_execute_command('cat ~/%s' % PROGRESS_FILE, sudoable=True)
        try:
            return line(json.loads(answer.get('stdout') or ''))
        except ValueError:
            return ''
