# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out the actions of a plan, in order, until one fails. Nothing is decided here."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import re
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _clone, _move_aside, _register, _repmgr, _rewind, _service, _steps, _upstream
from ansible_collections.pgfleet.repmgr.plugins.module_utils._action_context import ApplyError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError


def apply(context, actions):
    """Carry out the actions. context.done lists the steps that were begun, also if an ApplyError ends the run early."""
    # Check before the first action, which may stop the server.
    _rewind.refuse_an_older_timeline(context, actions)
    _move_aside.refuse_what_cannot_be_moved(context, actions)
    for action in actions:
        step = {'action': action}
        context.done.append(step)
        begun = time.time()
        try:
            result = ACTIONS[action](context)
        except CommandError as exc:
            step['result'] = exc.to_dict()
            raise ApplyError(action, _repmgr.summary(exc.result.stdout, exc.result.stderr) or exc.message, exc.to_dict())
        except PsqlError as exc:
            raise ApplyError(action, '%s' % exc)
        except (IOError, OSError) as exc:
            raise ApplyError(action, '%s' % exc)
        finally:
            step['seconds'] = round(time.time() - begun, 1)
        if result is not None:
            step['result'] = result


def next_step(error, node_name, rejoin='never', config=None):
    """The next step after a failed action. `repmgr standby follow` refuses an upstream that has received less WAL than the node itself."""
    if error.steps:
        return error.steps
    if error.action == 'follow' and re.search('cannot attach|ahead of the', json.dumps(error.result or {})):
        steps = ['The node may have received WAL that its upstream never had.']
        if rejoin == 'never':
            return steps + [_steps.playbook('rejoin', check=True, repmgr_target=node_name, reason='See what a rejoin would do')]
        # A node that streams is not rewound, so it has to be stopped first.
        stop = (config or {}).get('service_stop_command')
        return steps + [_steps.shell(stop, host=node_name, reason='Stop its server') if stop else 'Stop its server.',
                        _steps.playbook('rejoin', repmgr_target=node_name, reason='Then type')]
    if error.action == 'check_space':
        return 'Nothing was stopped or moved. Free some space there and run again.'
    if error.action == 'move_aside':
        return 'Correct this, or stop the server and move the directory away by hand, and run again.'
    return 'See `actions` in the result for the complete output.'


def dry_run(context, actions):
    """Return repmgr's own answer for the first action that has a dry run. The later actions depend on its effect.

    None if the server would be stopped first: repmgr would only complain that it is running.
    """
    try:
        _rewind.refuse_an_older_timeline(context, actions)
        _move_aside.refuse_what_cannot_be_moved(context, actions)
        if 'check_space' in actions:
            _clone.check_space(context)
    except ApplyError as exc:
        return {'action': exc.action, 'ok': False, 'error': exc.text}
    except (PsqlError, IOError, OSError) as exc:
        return {'action': 'check_space', 'ok': False, 'error': '%s' % exc}
    for action in actions:
        if action == 'stop':
            return None
        command = DRY_RUNS.get(action)
        if command is None:
            continue
        try:
            result = command(context)
        except (CommandError, IOError, OSError) as exc:
            return {'action': action, 'ok': False, 'error': '%s' % exc}
        answer = result.to_dict()
        answer.update(action=action, ok=result.rc == 0)
        return answer
    return None


ACTIONS = {
    'check_space': _clone.check_space,
    'move_aside': _move_aside.move_aside,
    'clone': _clone.clone,
    'start': _service.start,
    'stop': _service.stop,
    'register_primary': _register.register_primary,
    'register_primary_force': lambda context: _register.register_primary(context, force=True),
    'register': _register.register,
    'register_force': lambda context: _register.register(context, force=True),
    'register_as_is': _register.register_as_is,
    'register_stopped': lambda context: _register.register_stopped(context).to_dict(),
    'follow': _upstream.follow,
    'set_tls': lambda context: _upstream.set_primary_conninfo(context, 'set_tls'),
    'set_address': lambda context: _upstream.set_primary_conninfo(context, 'set_address'),
    'rejoin_attach': lambda context: _rewind.rejoin(context, rewind=False),
    'rejoin_rewind': lambda context: _rewind.rejoin(context, rewind=True),
    'register_witness': _register.register_witness,
    'register_witness_force': lambda context: _register.register_witness(context, force=True),
    'unregister_standby': _register.unregister_standby,
    'unregister_witness': _register.unregister_witness,
    'unregister_primary': _register.unregister_primary,
    'drop_slot': _register.drop_slot,
}

_TRY = {'dry_run': True, 'accept': None}

DRY_RUNS = {
    'clone': lambda context: context.repmgr.standby_clone(
        context.clone_conninfo, upstream_node_id=_clone.cloned_for(context), extra=context.clone_options, **_TRY),
    'register_primary': lambda context: context.repmgr.primary_register(**_TRY),
    'register_primary_force': lambda context: context.repmgr.primary_register(force=True, **_TRY),
    'register': lambda context: context.repmgr.standby_register(upstream_node_id=context.wanted_upstream_id, **_TRY),
    'register_force': lambda context: context.repmgr.standby_register(
        force=True, upstream_node_id=context.wanted_upstream_id, **_TRY),
    'register_stopped': lambda context: _register.register_stopped(context, **_TRY),
    'follow': lambda context: context.repmgr.standby_follow(upstream_node_id=context.wanted_upstream_id, **_TRY),
    'rejoin_attach': lambda context: context.repmgr.node_rejoin(context.primary_conninfo, **_TRY),
    'rejoin_rewind': lambda context: context.repmgr.node_rejoin(context.primary_conninfo, rewind=True, **_TRY),
    'register_witness': lambda context: context.repmgr.witness_register(context.primary_conninfo, force=context.has_rows, **_TRY),
    'register_witness_force': lambda context: context.repmgr.witness_register(context.primary_conninfo, force=True, **_TRY),
    'unregister_witness': lambda context: context.repmgr.witness_unregister(**_TRY),
    'unregister_primary': lambda context: context.repmgr.primary_unregister(force=True, **_TRY),
}

# How much an action would move or copy, shown in check mode.
SIZES = {'move_aside': _move_aside.size_of_data, 'clone': _clone.size_of_source}

# The text of each action, shown in check mode.
TEXTS = {
    'check_space': 'check that there is enough free space for a clone',
    'move_aside': 'move the data directory aside and keep it',
    'clone': 'repmgr standby clone --fast-checkpoint',
    'start': 'start the server and wait until it answers',
    'stop': 'stop the server',
    'register_primary': 'repmgr primary register',
    'register_primary_force': 'repmgr primary register --force',
    'register': 'repmgr standby register --wait-sync',
    'register_force': 'repmgr standby register --force --wait-sync',
    'register_as_is': 'repmgr standby register --force --wait-sync, with its current upstream',
    'register_stopped': 'repmgr standby register --force, with the server stopped',
    'follow': 'repmgr standby follow',
    'set_tls': 'set sslmode and sslrootcert in primary_conninfo',
    'set_address': 'set host and port in primary_conninfo',
    'rejoin_attach': 'repmgr node rejoin',
    'rejoin_rewind': 'repmgr node rejoin --force-rewind',
    'register_witness': 'repmgr witness register',
    'register_witness_force': 'repmgr witness register --force',
    'unregister_standby': 'repmgr standby unregister',
    'unregister_witness': 'repmgr witness unregister',
    'unregister_primary': 'repmgr primary unregister --force',
    'drop_slot': 'drop its slot on the upstream if the slot is not in use',
}
