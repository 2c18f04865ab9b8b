#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_node
short_description: Bring one node of a repmgr cluster to its desired state
version_added: 0.1.0
description:
  - Registers, clones, starts, attaches, rejoins or unregisters a node, depending on its observed and its desired state.
  - A table of numbered rules decides what to do. The rule that matched is returned, in check mode as well.
  - This module does not change roles. If the cluster contradicts O(role), it refuses and says what to do instead.
  - Run it as the postgres OS user. C(repmgr) refuses to run as root.
  - The desired state is read from C(repmgr.conf), so that it is defined in one place.
extends_documentation_fragment:
  - pgfleet.repmgr.repmgr
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.state
  - pgfleet.repmgr.attributes.actiongroup_repmgr
author:
  - The pgfleet authors (@pgfleet)
options:
  role:
    description:
      - The role that the node has now, or the role of a new node.
    type: str
    choices: [primary, standby, witness]
    required: true
  state:
    description:
      - With V(absent), the node is unregistered and its slot is dropped. Its data are kept.
    type: str
    choices: [present, absent]
    default: present
  config_file:
    description:
      - The path of C(repmgr.conf).
    type: path
    required: true
  data_directory:
    description:
      - The data directory. Default is that of O(config_file).
    type: path
  primary_conninfo:
    description:
      - The connection string of the live primary. A standby or witness needs it, unless it is registered and can find the primary by itself.
    type: str
  upstream_conninfo:
    description:
      - The connection string of the node to clone from and to follow. Default is the live primary.
    type: str
  clone_conninfo:
    description:
      - The connection string of the node to clone from, if that is not the node to follow. To take load off the primary, clone from a standby.
      - Default is O(upstream_conninfo).
    type: str
  upstream_node_id:
    description:
      - The id of the node to follow. Default is that of the live primary.
    type: int
  progress:
    description:
      - Whether to display the progress of a clone or a rewind while it runs - bytes, rate and time left, as far as the source reports them.
      - The task then runs as a background job on the host, which goes on if the connection breaks.
    type: bool
    default: false
  rejoin:
    description:
      - What to do with a node that was a primary and is stopped, or that cannot follow its upstream any more.
      - V(never) refuses. V(attach) attaches it if its data did not diverge. V(rewind) uses C(pg_rewind) if they did.
      - V(reclone) moves the data directory aside, keeps it, and clones again.
    type: str
    choices: [never, attach, rewind, reclone]
    default: never
  clone_options:
    description:
      - Further options for C(repmgr standby clone).
    type: list
    elements: str
    default: []
  clone_timeout:
    description:
      - Seconds that a clone or a rejoin may take. After a rewind that was aborted, the node has to be cloned again.
    type: int
    default: 86400
  start_timeout:
    description:
      - Seconds to wait for a server to answer after its start, and for a standby to stream.
    type: int
    default: 60
  register_timeout:
    description:
      - Seconds to wait until the record of a new standby is replicated to it.
    type: int
    default: 60
  system_identifier:
    description:
      - The system identifier that the data must have. Default is that of the live primary.
    type: str
notes:
  - A clone that was interrupted leaves a marker in C(~/.repmgr_node) of the current user. At the next run the partial data directory is
    moved aside and cloned again; it is never started. If a server has run with it since, the marker is ignored.
seealso:
  - module: pgfleet.repmgr.repmgr_cluster_info
  - module: pgfleet.repmgr.repmgr_switchover
"""

EXAMPLES = r"""
- name: Register the primary
  pgfleet.repmgr.repmgr_node:
    role: primary
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
  become: true
  become_user: postgres

- name: Clone the standby, start and register it
  pgfleet.repmgr.repmgr_node:
    role: standby
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
    primary_conninfo: host=192.168.56.101 user=repmgr dbname=repmgr
    progress: true
  become: true
  become_user: postgres

- name: Rejoin a failed primary as a standby of the new one
  pgfleet.repmgr.repmgr_node:
    role: standby
    rejoin: rewind
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
    primary_conninfo: host=192.168.56.102 user=repmgr dbname=repmgr
  become: true
  become_user: postgres

- name: Remove the witness from the cluster
  pgfleet.repmgr.repmgr_node:
    role: witness
    state: absent
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
    primary_conninfo: host=192.168.56.101 user=repmgr dbname=repmgr
  become: true
  become_user: postgres
"""

RETURN = r"""
rule:
  description: The rule that matched, with its C(id) and C(why).
  returned: always
  type: dict
  sample: {id: 504, why: the data directory is empty}
actions:
  description:
    - The actions that were carried out, or would be in check mode, in order, each with C(action) and C(text).
    - Except in check mode, each has C(seconds), the time that it took, and the C(result) of its program with C(cmd), C(rc), C(stdout) and C(stderr).
  returned: always
  type: list
  elements: dict
situation:
  description: The observed state, condensed to the words that the rules use.
  returned: always
  type: dict
differences:
  description: The fields that a registration changes, each with C(field), C(before) and C(after).
  returned: always
  type: list
  elements: dict
before:
  description: The state of the node before.
  returned: always
  type: dict
after:
  description: The state of the node afterwards, observed again. Not returned in check mode.
  returned: when something was done
  type: dict
refusal:
  description:
    - Why nothing was done, or why an action failed, with C(node), C(seen), C(expected) and C(steps). RV(ignore:msg) is rendered from these.
    - Each of C(steps) has C(text), or C(playbook) (of this collection) and its C(arguments), or C(shell) and the C(host) to run it on. A command
      may have C(reason) (the text before it), C(only_if) (the condition under which it applies) and C(check) (for C(--check)). An argument that is
      V(none) has to be chosen by the operator.
  returned: on a failure that the module foresees
  type: dict
  sample: {node: db1, seen: the server is stopped and was a primary, expected: "a standby, because another primary is running",
           steps: [{playbook: rejoin, arguments: {repmgr_target: db1}, reason: Bring it back by}]}
dry_run:
  description: The result of repmgr's own C(--dry-run) for the first action that has one. V(none) if there is no such action, and if the server
    would be stopped first.
  returned: in check mode
  type: dict
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _action_context, _apply, _by_hand, _clone, _place, _plan, _steps, _view
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Runner, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._conninfo import parse
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import Psql
from ansible_collections.pgfleet.repmgr.plugins.module_utils._repmgr import Repmgr, slot_name
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Desired, message, plain

ARGUMENTS = dict(
    role=dict(type='str', choices=['primary', 'standby', 'witness'], required=True),
    state=dict(type='str', choices=['present', 'absent'], default='present'),
    config_file=dict(type='path', required=True),
    bin_dir=dict(type='path', required=True),
    data_directory=dict(type='path'),
    primary_conninfo=dict(type='str'),
    upstream_conninfo=dict(type='str'),
    clone_conninfo=dict(type='str'),
    upstream_node_id=dict(type='int'),
    progress=dict(type='bool', default=False),
    rejoin=dict(type='str', choices=['never', 'attach', 'rewind', 'reclone'], default='never'),
    clone_options=dict(type='list', elements='str', default=[]),
    clone_timeout=dict(type='int', default=86400),
    start_timeout=dict(type='int', default=60),
    register_timeout=dict(type='int', default=60),
    system_identifier=dict(type='str'),
    passfile=dict(type='path', no_log=False),
    connect_timeout=dict(type='int', default=3),
)
# Seconds to wait for a standby to attach; until then it looks detached.
_SETTLE = 10


def desired_from(module, config):
    """The desired state: from repmgr.conf and the arguments of the task."""
    params = module.params
    role = params['role']
    slots = config.get('use_replication_slots', 'no').lower() in ('yes', 'true', 'on', '1', 't', 'y')
    return Desired(
        role=role,
        state=params['state'],
        node_id=config.get('node_id'),
        node_name=config.get('node_name', ''),
        conninfo=redacted(config.get('conninfo', '')),
        priority=int(config.get('priority', 100)),
        location=config.get('location', 'default'),
        repluser=config.get('replication_user') or parse(config.get('conninfo', '')).get('user', ''),
        slot_name=slot_name(config.get('node_id')) if slots else '',
        config_file=os.path.abspath(params['config_file']),
        data_directory=params['data_directory'] or config.get('data_directory', ''),
        upstream_node_id=params['upstream_node_id'],
        primary_conninfo=redacted(params['primary_conninfo'] or ''),
        upstream_conninfo=redacted(params['upstream_conninfo'] or ''),
        system_identifier=params['system_identifier'] or '',
        rejoin=params['rejoin'],
        knows_password=bool(params['passfile']) and _by_hand.has_line(params['passfile'], parse(config.get('conninfo', '')).get('user', '')),
    )


class Node:
    """Observe a node and make a plan, repeatedly if necessary."""

    def __init__(self, module, runner, psql, place, desired):
        self.module = module
        self.runner = runner
        self.psql = psql
        self.place = place
        self.desired = desired

    def look(self):
        view = _view.view(
            self.runner, self.psql, self.place, self.desired.role, self.desired.node_id, self.module.params['primary_conninfo'],
            self.module.params['upstream_conninfo'])
        situation = _plan.situate(
            self.desired, view.observed, view.primary, view.upstream_id, view.streaming, view.metadata, view.moved)
        found = _plan.differences(self.desired, view.metadata or [])
        return view, _plan.make_plan(self.desired, situation, found)

    def look_until_settled(self, patience):
        """Observe until the server has started, or the standby has connected, or the time limit is reached."""
        started = time.time()
        while True:
            view, plan = self.look()
            server = plan.situation.server
            limit = self.module.params['start_timeout'] if server in ('starting', 'silent') else patience
            # No standby can stream from a primary that does not answer, so waiting would not help.
            waiting = server in ('starting', 'silent') or (
                server == 'running' and plan.situation.upstream == 'detached' and plan.situation.primary == 'live'
                and self.desired.role == 'standby')
            if not waiting or time.time() - started >= limit:
                return view, plan
            time.sleep(1)


def shown(actions):
    return [{'action': action, 'text': _apply.TEXTS[action]} for action in actions]


def priced(context, actions):
    """The same for check mode, with the size of what would be moved or copied."""
    found = shown(actions)
    for entry in found:
        size = _apply.SIZES.get(entry['action'], lambda dummy: '')(context)
        if size:
            entry['text'] += ' (%s)' % size
    return found


def merged(actions, done):
    texts = shown(actions)
    for entry, step in zip(texts, done):
        entry.update(step)
    return texts


def refusal(node, plan, view):
    seen = plan.seen
    if plan.situation.primary == 'silent' and view.primary_error:
        seen += ' (%s)' % view.primary_error
    elif plan.situation.server == 'silent' and view.observed.server.error:
        seen += ' (%s)' % view.observed.server.error
    elif plan.situation.data in ('unknown', 'unrecognised', 'partial') and view.observed.data.reason:
        seen += ' (%s)' % view.observed.data.reason
    elif plan.situation.identity == 'other':
        seen += ' (system identifier %s)' % view.observed.system_identifier
    expected = plan.expected.replace("the primary's", (view.primary.system_identifier or "the primary's") if view.primary else "the primary's")
    return _refusal(node.desired.node_name, seen, expected, plan.steps)


def _refusal(node_name, seen, expected, steps):
    """Arguments for fail_json(): the message, and the data from which the controller renders it again."""
    found = dict(node=node_name, seen=seen, expected=expected, steps=_steps.listed(steps))
    return dict(msg=message(**found), refusal=found)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    for name in ('primary_conninfo', 'upstream_conninfo', 'clone_conninfo'):
        _hide_password(module, params[name])
    config = _place.read_config(params['config_file'])
    if not config or not config.get('conninfo') or not isinstance(config.get('node_id'), int):
        module.fail_json(msg='%s has no node_id and conninfo that can be read' % params['config_file'])
    _hide_password(module, config['conninfo'])
    try:
        desired = desired_from(module, config)
    except ValueError as exc:
        module.fail_json(msg='%s: %s' % (params['config_file'], exc))
    runner = Runner(module)
    psql = Psql(runner, params['bin_dir'], params['passfile'], params['connect_timeout'])
    place = _place.Place(
        desired.node_name, params['config_file'], params['bin_dir'], desired.data_directory, user=_place.current_user())
    node = Node(module, runner, psql, place, desired)

    view, plan = node.look_until_settled(_SETTLE)
    result = {
        'changed': bool(plan.actions),
        'rule': {'id': plan.rule, 'why': plan.why},
        'situation': plain(plan.situation),
        'differences': plan.differences,
        'actions': shown(plan.actions),
        'before': view.summary(desired.node_id),
    }
    if plan.refused:
        result['changed'] = False
        result.update(refusal(node, plan, view))
        module.fail_json(**result)

    context = _action_context.Context(
        runner, psql, Repmgr(runner, params['bin_dir'], params['config_file'], params['passfile']), place, desired, config,
        primary_conninfo=view.primary_conninfo, upstream_conninfo=params['upstream_conninfo'], clone_conninfo=params['clone_conninfo'],
        upstream_node_id=desired.upstream_node_id, wanted_upstream_id=_plan.wanted_upstream(desired, view.metadata),
        actual_upstream_id=view.upstream_id, clone_options=params['clone_options'], clone_timeout=params['clone_timeout'],
        start_timeout=params['start_timeout'], register_timeout=params['register_timeout'],
        data_state=view.observed.data.state, has_rows=bool(view.observed.nodes), settings=view.observed.server.settings)
    if module.check_mode:
        result['actions'] = priced(context, plan.actions)
        result['dry_run'] = _apply.dry_run(context, plan.actions)
        if result['dry_run'] and not result['dry_run']['ok']:
            module.warn('repmgr --dry-run does not agree with %s: %s' % (
                result['dry_run']['action'], result['dry_run'].get('stderr') or result['dry_run'].get('error')))
        result['diff'] = _diff(result['before'], plan, desired)
        module.exit_json(**result)
    if view.observed.data.state == 'valid' and view.observed.server.state == 'running':
        _clone.forget_clone(place)
    if not plan.actions:
        module.exit_json(diff=_diff(result['before'], plan, desired), **result)

    try:
        _apply.apply(context, plan.actions)
    except _action_context.ApplyError as exc:
        for warning in context.warnings:
            module.warn(warning)
        result['actions'] = merged(plan.actions, context.done)
        result.update(_refusal(
            desired.node_name, 'rule %s (%s): %s failed: %s' % (plan.rule, plan.why, exc.action, exc.text),
            _apply.TEXTS[exc.action], _apply.next_step(exc, desired.node_name, desired.rejoin, config)))
        module.fail_json(result=exc.result, **result)
    view, rest = node.look_until_settled(params['start_timeout'])
    result['actions'] = merged(plan.actions, context.done)
    result['after'] = view.summary(desired.node_id)
    result['diff'] = {'before': result['before'], 'after': result['after']}
    for warning in context.warnings:
        module.warn(warning)
    if rest.actions or rest.refused:
        result['remaining'] = {'rule': rest.rule, 'why': rest.why, 'actions': rest.actions, 'situation': plain(rest.situation)}
        result.update(_refusal(
            desired.node_name, 'rule %s (%s) was applied, but then rule %s applies: %s' % (plan.rule, plan.why, rest.rule, rest.why),
            'nothing left to do', 'Look at `repmgr cluster show` and at the server\'s log.'))
        module.fail_json(**result)
    module.exit_json(**result)


def _diff(before, plan, desired):
    after = dict(before)
    if plan.actions:
        after['planned'] = [_apply.TEXTS[action] for action in plan.actions]
        if desired.state == 'absent':
            after['record'] = None
        elif before['record'] is not None:
            after['record'] = dict(before['record'])
            for entry in plan.differences:
                after['record'][entry['field']] = entry['after']
    return {'before': before, 'after': after}


def _hide_password(module, conninfo):
    try:
        password = parse(conninfo or '').get('password')
    except ValueError:
        return
    if password:
        module.no_log_values.add(password)


if __name__ == '__main__':
    main()
