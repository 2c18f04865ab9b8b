# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render the files of a role and send those to the host that are not there as they should be. See the module of the same name."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files


class ActionModule(ActionBase):

    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        del tmp
        files, observed = self._task.args.get('files'), self._task.args.get('observed')
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
            result.update(failed=True, msg='files: expected a list of dictionaries')
            return result
        refusals = [text for text in map(_files.refusal, files) if text]
        if refusals:
            result.update(failed=True, msg='; '.join(refusals))
            return result
        due, render = [], self._renderer(task_vars)
        for given in files:
            try:
                entry = render(given)
            except AnsibleError as exc:
                result.update(failed=True, msg='%s from template %s: %s; nothing was written' % (given['path'], given['template'], to_text(exc)))
                return result
            if self._is_due(entry, observed):
                due.append(entry)
        if not due:
            result.update(changed=False, written=[])
            return result
        result.update(self._execute_module(module_args={'files': due, 'reload_systemd': self._task.args.get('reload_systemd', False)}, task_vars=task_vars))
        # Shown with -vvv; the contents would fill the screen.
        result.pop('invocation', None)
        return result

    def _renderer(self, task_vars):
        lookup = lookup_loader.get('ansible.builtin.template', loader=self._loader, templar=self._templar)

        def render(entry):
            entry = dict(entry)
            name = entry.pop('template', None)
            if name is not None:
                entry['content'] = to_text(lookup.run([name], variables=task_vars, convert_data=False)[0])
            for name in ('content', 'content_base64'):
                if entry.get(name) is not None:
                    entry[name] = to_text(entry[name])
            return entry

        return render

    @staticmethod
    def _is_due(entry, observed):
        return observed is None or observed.get(entry['path']) != _files.wanted_state(_files.wanted(entry))
