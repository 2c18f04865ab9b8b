# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the extra variables of a playbook, on the controller and without a connection."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments

_SPECS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'roles', 'common', 'meta', 'argument_specs.yml')


class ActionModule(ActionBase):

    _requires_connection = False
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        del tmp
        dummy, args = self.validate_argument_spec({'playbook': {'type': 'str', 'required': True, 'choices': sorted(_arguments.PLAYBOOKS)}})
        names = [name for name in _arguments.ARGUMENTS if name in task_vars]
        given = dict((name, self._templar.template(task_vars[name])) for name in names)
        # Short names are taken from the command line only: an inventory may have variables with the same names.
        aliases = dict((argument.alias, name) for name, argument in _arguments.ARGUMENTS.items())
        extra = dict(('%s' % name, self._templar.template(value) if name in aliases else value) for name, value in load_extra_vars(self._loader).items())
        # The cluster name of each host is a template, so evaluate them only if an argument selects hosts.
        asks = any(_arguments.ARGUMENTS[aliases.get(name, name)].selects for name in list(given) + list(set(extra) & set(aliases)))
        hosts = dict((host, self._cluster(task_vars, host) if asks else '') for host in task_vars['ansible_play_hosts_all'])
        values, problems = _arguments.check(args['playbook'], given, extra, hosts, self._variables(extra))
        if problems:
            result.update(failed=True, msg='\n'.join(problems + ['Nothing was changed.']))
        else:
            result.update(values, changed=False)
        return result

    @staticmethod
    def _cluster(task_vars, host):
        """The name of the cluster as a string, also if it looks like a number, because arguments on the command line are strings."""
        name = task_vars['hostvars'][host].get('repmgr_cluster_name')
        return '' if name is None else '%s' % (name,)

    def _variables(self, extra):
        if not any(name.startswith('repmgr_') and name not in _arguments.ARGUMENTS for name in extra):
            return ()
        return sorted(self._loader.load_from_file(_SPECS)['argument_specs']['main']['options'])
