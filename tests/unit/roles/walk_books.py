# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbooks do to the model of walk_world.py, for test_walk.py.

Whether a playbook goes on, and what it does to a node, is decided by the code of the collection: the verdict with the __repmgr_tolerated of the YAML,
failover_plan, removal_plan, rejoin_plan, leave_plan and the rules of _plan.py. Only the effects are modelled here, each with its source named.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import copy

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _action_context, _apply, _failover, _leave, _plan, _problems_deploy, _problems_repmgrd
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _rejoin, _removal, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node as Row, message

import walk_faults
import walk_more
from walk_world import attach

FILES = dict((name, '/etc/pgfleet/' + name) for name in _leave._ONLY_OURS)
FILES.update({'repmgrd.service': '/etc/systemd/system/repmgrd.service', 'settings.conf': '/etc/postgresql/15/main/conf.d/repmgr.conf'})
STATUS = _steps.playbook('status')


class Stopped(Exception):
    """A playbook did not go on: what it says, and its next steps as data."""

    def __init__(self, words, steps=(), problem=None, named=()):
        super(Stopped, self).__init__(words)
        self.words, self.steps, self.problem = words, _steps.listed(steps), problem
        # The hosts that the error names, and that are to be brought back where a step says to fix it.
        self.named = list(named)


class Remembered(object):
    """Keeps the steps of the messages that a plan makes: what it returns is their text."""

    def __init__(self, modules):
        self.steps = {}
        self.modules = modules

    def __call__(self, node, seen, expected, steps):
        said = message(node, seen, expected, steps)
        self.steps[said] = _steps.listed(steps)
        return said

    def of(self, text):
        return self.steps.get(text, [])


class Playbooks(object):
    def __init__(self, books):
        self.books, self.cache = books, {}
        # The files of the collection do not change meanwhile, and to parse them again for each question takes most of the time.
        files, load = {}, books.host.load
        books.host.load = lambda *path: files[path] if path in files else files.setdefault(path, load(*path))
        self.said = Remembered(None)
        self.surprise = None            # what happens once, between the decision of a playbook and what it does

    def install(self, monkeypatch):
        for module in (_failover, _removal, _leave):
            monkeypatch.setattr(module, 'message', self.said)

    def run(self, world, step):
        """Do what a step with a playbook does; Stopped where it does not go on, or fails."""
        arguments = dict((name, value) for name, value in step['arguments'].items())
        getattr(self, '_' + step['playbook'])(world, **arguments)
        walk_more.cured_by(world, step['playbook'])

    def _tolerated(self, playbook, arguments, members=(), removal=None):
        key = repr((playbook, sorted(arguments.items()), list(members), (removal or {}).get('tolerated')))
        if key not in self.cache:
            self.cache[key] = self.books.tolerated(playbook, arguments, list(members) or ['target', 'other'], removal)
        return self.cache[key]

    def _whole(self, playbook):
        if 'whole ' + playbook not in self.cache:
            self.cache['whole ' + playbook] = self.books.whole(playbook)
        return self.cache['whole ' + playbook]

    def _decide(self, world, playbook, arguments=None, removal=None, deploys=False):
        """roles/common/tasks/decide.yml"""
        hosts, answer = world.judge()
        tolerated = self._tolerated(playbook, arguments or {}, world.listed, removal)
        more = _problems_deploy.deploy_problems(hosts) if deploys else []
        for problem in more + answer['problems']:
            if problem['stop'] and not {'* ' + problem['code'], problem['node'] + ' ' + problem['code'], problem['node'] + ' *'} & set(tolerated):
                raise Stopped(problem['message'], problem['steps'], problem)
        if self.surprise:
            self.surprise, surprise = None, self.surprise
            surprise()
        return hosts, answer

    def _refused(self, answer, text, more=''):
        """The steps of a refusal of a plan: its own, or those of the problem that it passes on."""
        for problem in answer['problems']:
            if text == problem['message'] or text.startswith(problem['message']):
                raise Stopped(text, problem['steps'], problem)
        raise Stopped(text + more, self.said.of(text.splitlines()[0]) or self.said.of(text))

    # -- what roles do to a node

    @staticmethod
    def _rows_of(world, name):
        return [Row.from_dict(row) for dummy, row in sorted(world.members[name].rows.items())]

    def _plan(self, world, member, role, primary, rejoin='never'):
        """The plan of the module repmgr_node for the node, see Node.look there."""
        observed = world.observed(member)
        if role == 'primary':
            # _observe.view: it looks for the other one that is registered.
            other = [row for row in self._rows_of(world, member.name) if row.type == 'primary' and row.active and row.node_id != member.number]
            seen, metadata = None, observed.nodes
            if other:
                there = world.members.get(other[0].node_name)
                seen = world.observed(there) if there is not None and there.runs() else False
        else:
            seen, metadata = world.observed(primary), self._rows_of(world, primary.name)
        up = world.members.get(member.upstream)
        streaming = world.streams(member)
        desired = world.desired(member, role, rejoin)
        situation = _plan.situate(desired, observed, seen, up.number if up and streaming else None, streaming, metadata)
        return _plan.make_plan(desired, situation, _plan.differences(desired, metadata or []))

    def _node(self, world, member, role, primary, rejoin='never'):
        """The module repmgr_node: carry out a plan, and look whether anything is left to do."""
        plan = self._plan(world, member, role, primary, rejoin)
        if plan.refused:
            raise Stopped('%s: %s' % (member.name, plan.seen), plan.steps)
        for action in plan.actions:
            self._act(world, member, primary, action, rejoin)
        world.settle()
        if plan.actions:
            rest = self._plan(world, member, role, primary, rejoin)
            if rest.refused or rest.actions:
                raise Stopped('%s: rule %s was applied, but then rule %s applies' % (member.name, plan.rule, rest.rule),
                              'Look at `repmgr cluster show` and at the server\'s log.')

    def _act(self, world, member, primary, action, rejoin):
        """_apply.ACTIONS"""
        rows = primary.rows
        if action == 'move_aside':
            assert member.data == 'partial' or rejoin == 'reclone', 'A data directory is moved aside, and nobody has asked for that.'
            member.data, member.promotes_itself = 'empty', False
        elif action == 'clone':
            assert member.data in ('missing', 'empty')
            member.data, member.clone_begun, member.identifier, member.mark, member.mount_is_missing = 'valid', False, primary.identifier, None, False
            member.timeline, member.lsn, member.oldest, member.rewindable = primary.timeline, primary.lsn, primary.lsn, True
            member.signal, member.upstream, member.rows = True, primary.name, copy.deepcopy(rows)
        elif action == 'start':
            if not walk_faults.starts(world, member):
                raise Stopped('%s: its unit is masked, or the hook of its guard does not let it start' % member.name, STATUS)
        elif action == 'stop':
            member.server = 'stopped'
        elif action in ('register_primary', 'register_primary_force'):
            for row in rows.values():
                if row['type'] == 'primary':
                    row['active'] = False
            rows[member.number] = world.row(member.name, 'primary', None)
        elif action in ('register', 'register_force', 'register_as_is', 'register_stopped'):
            if action == 'register' and not world.streams(member):
                # repmgr registers no standby that is not attached.
                raise Stopped('%s: register failed' % member.name, 'See `actions` in the result for the complete output.')
            up = world.members.get(member.upstream)
            rows[member.number] = world.row(member.name, 'standby', up.number if action == 'register_as_is' and up else primary.number)
        elif action == 'follow':
            if not world.contains(primary, member):
                error = _action_context.ApplyError('follow', 'this node is ahead of the follow target', {'stderr': 'cannot attach'})
                raise Stopped('%s: follow failed' % member.name, _apply.next_step(
                    error, member.name, rejoin, {'service_stop_command': 'sudo systemctl stop postgresql'}))
            member.upstream = primary.name
            rows[member.number].update(type='standby', active=True, upstream_node_id=primary.number)
        elif action in ('rejoin_attach', 'rejoin_rewind'):
            self._rejoin_by_repmgr(world, member, primary, action == 'rejoin_rewind')
        elif action in ('register_witness', 'register_witness_force'):
            rows[member.number] = world.row(member.name, 'witness', primary.number)
            member.rows = copy.deepcopy(rows)
        elif action != 'check_space':
            raise AssertionError('The action %s is not modelled.' % action)

    @staticmethod
    def _rejoin_by_repmgr(world, member, primary, rewind):
        failed = 'See `actions` in the result for the complete output.'
        record = primary.rows.get(primary.number) or {}
        if record.get('type') != 'primary':
            raise Stopped('%s: the node to follow is not registered as primary' % member.name, failed)
        fits = world.contains(primary, member) and (primary.oldest <= member.lsn)
        if not fits and not rewind:
            raise Stopped('%s: cannot be attached' % member.name, failed)
        if not fits and primary.timeline < member.timeline:
            # _refuse_an_older_timeline
            raise Stopped('%s: is on a newer timeline than the primary' % member.name, failed)
        if not fits and (not member.rewindable or primary.oldest > member.lsn and world.contains(primary, member)):
            raise Stopped('%s: cannot be rewound' % member.name, failed)
        attach(world, member, primary)

    @staticmethod
    def _start_repmgrd(member):
        if not member.runs():
            return
        if member.packages_version != member.extension:
            raise Stopped('%s: repmgrd does not start beside an extension of another version' % member.name)
        member.repmgrd = member.preloaded

    # -- the playbooks

    def _status(self, world):
        """It changes nothing."""

    def _site(self, world):
        hosts, answer = self._decide(world, 'site', deploys=True)
        primary, failed = world.members[answer['primary']], []
        there = [world.members[name] for name in world.listed if world.members[name].host == 'up']
        for member in there:
            # Packages, keys, passwords, certificates, repmgr.conf and access lines of who can be reached.
            member.packages = member.config = True
            member.deaf_to -= set(other.name for other in there)
            member.certificate, member.days = '', 3000
            role = answer['roles'][member.name]
            # roles/server/tasks/main.yml: unmasked except where it was a primary; a standby is started by its own role.
            if not (member.data == 'valid' and not member.signal):
                member.masked = False
            if role != 'standby' and member.server == 'stopped':
                if role == 'witness' and member.data in ('missing', 'empty'):
                    member.data, member.rows, member.signal = 'valid', {}, False
                if not walk_faults.starts(world, member):
                    raise Stopped('%s: the hook of its guard does not let it start' % member.name, STATUS)
                if role == 'witness':
                    member.extension = member.packages_version
        for role in ('primary', 'standby', 'witness'):
            for member in [member for member in there if answer['roles'][member.name] == role]:
                try:
                    self._node(world, member, role, primary)
                    # roles/repmgrd, then roles/guard
                    member.deployed = True
                    self._start_repmgrd(member)
                    member.guard = member.guard_enabled = member.fuse = member.hook = True
                except Stopped as exc:
                    failed.append(exc)
        if answer['primary'] and primary.backup:
            primary.backup = () if dict(primary.backup)['judged']['state'] == 'no_stanza' else primary.backup
        if failed:
            raise failed[0]

    def _add_node(self, world, repmgr_target):
        hosts, answer = self._decide(world, 'add_node', {'repmgr_target': repmgr_target}, deploys=True)
        if answer['primary'] is None or any(host.unreachable for host in hosts):
            raise Stopped('expected a running cluster whose nodes all answer', STATUS)
        self._site(world)

    def _rejoin(self, world, repmgr_target, repmgr_rejoin='rewind'):
        arguments = {'repmgr_target': repmgr_target, 'repmgr_rejoin': repmgr_rejoin}
        hosts, answer = self._decide(world, 'rejoin', arguments)
        member = world.members[repmgr_target]
        if answer['primary'] in (None, repmgr_target):
            raise Stopped('%s has no primary to follow' % repmgr_target, STATUS)
        if member.host != 'up':
            return
        primary = world.members[answer['primary']]
        if _rejoin.rejoin_plan(hosts, answer, repmgr_target)['lacks']:
            member.packages = member.config = True
            member.certificate, member.days = '', 3000
            member.deaf_to = set()
            for other in world.members.values():
                other.deaf_to -= {repmgr_target}
        masked, member.masked = member.masked, False
        way = 'attach' if repmgr_rejoin == 'attach' else 'rewind'
        saved = member.server
        try:
            try:
                self._node(world, member, 'standby', primary, way)
            except Stopped as exc:
                if repmgr_rejoin != 'reclone':
                    again = _steps.playbook('rejoin', repmgr_target=repmgr_target, repmgr_rejoin='reclone', reason='Where a new copy is acceptable')
                    raise Stopped(exc.words, exc.steps + [again])
                self._node(world, member, 'standby', primary, 'reclone')
        except Stopped:
            if masked and saved != 'running':
                member.server, member.masked = 'stopped', True
            raise
        member.deployed = True
        member.mark = None
        member.guard = True
        self._start_repmgrd(member)

    def _failover(self, world, repmgr_target='', repmgr_primary_is_dead='', repmgr_accept_loss=False):
        hosts, answer = world.judge()
        plan = _failover.failover_plan(hosts, answer, repmgr_target, repmgr_primary_is_dead, repmgr_accept_loss)
        if plan['refuse']:
            self._refused(answer, plan['refuse'])
        if not plan['done']:
            # roles/primary/tasks/failover.yml
            for name in plan['fence']:
                world.members[name].server, world.members[name].masked = 'stopped', True
            # roles/repmgrd/tasks/pause.yml: a pause that is there already stays whose it is.
            there = [member for member in world.members.values() if member.host == 'up']
            theirs = any(member.paused and member.runs() and member.note != 'failover' for member in there)
            for member in there:
                member.paused, member.note = member.runs() or member.paused, member.note if theirs else 'failover'
            target = world.members[plan['target']]
            seen = [other for other in world.data() if other is not target and other.writes() and other.identifier == target.identifier]
            if seen:
                # The guard's promote(), which asks the peers, also where the controller does not reach them.
                raise Stopped('not promoted: %s is primary. %s' % (seen[0].name, plan['left']['text']), plan['left']['steps'], named=[seen[0].name])
            world.promote(target)
            for row in target.rows.values():
                if row['type'] == 'primary':
                    row['active'] = False
            target.rows[target.number] = world.row(target.name, 'primary', None)
            for other in world.members.values():
                row = target.rows.get(other.number)
                # --siblings-follow
                if other is not target and other.runs() and row and other.host == 'up' and row['active']:
                    if other.is_witness:
                        row['upstream_node_id'] = target.number
                        other.rows = copy.deepcopy(target.rows)
                    elif other.signal and world.contains(target, other):
                        other.upstream, row['upstream_node_id'] = target.name, target.number
            self._node(world, target, 'primary', None)
        if not plan['alone']:
            self._unpause(world, 'failover', repmgr_primary_is_dead)

    @staticmethod
    def _unpause(world, by, dead=''):
        """roles/repmgrd/tasks/unpause.yml"""
        answer = world.judge()[1]
        there = [world.members[name] for name in world.listed if world.members[name].host == 'up' and world.members[name].server == 'running']
        mine = [member for member in there if member.paused and (by == '' or member.note == by)]
        gone = [name for name in answer['missing_primary'] if name not in dead.split(',')]
        if mine and gone:
            raise Stopped('%s: is registered as primary and did not answer' % ', '.join(gone), [
                'Make sure that it is down.', _steps.playbook(
                    'failover' if by == 'failover' else 'maintenance', repmgr_primary_is_dead=','.join(gone),
                    **({} if by == 'failover' else {'repmgr_maintenance': 'unpause'}))])
        if mine:
            for member in there:
                member.paused = False
        for name in world.listed:
            member = world.members[name]
            if member.host == 'up' and (by == '' or member.note == by):
                member.note = ''

    def _maintenance(self, world, repmgr_maintenance, repmgr_primary_is_dead=''):
        assert repmgr_maintenance == 'unpause'
        answer = world.judge()[1]
        for problem in answer['problems']:
            if problem['code'] == 'other_run':
                raise Stopped(problem['message'], problem['steps'], problem)
        self._unpause(world, '', repmgr_primary_is_dead)

    def _healthy(self, answer, playbook, more=()):
        for problem in answer['problems']:
            if problem['code'] not in self._whole(playbook) and problem['code'] not in more:
                raise Stopped(problem['message'], problem['steps'], problem)

    def _rolling_restart(self, world):
        dummy, answer = self._decide(world, 'rolling_restart')
        listed = [world.members[name] for name in world.listed]
        by_restart = any(member.note == 'restart' for member in listed if member.host == 'up')
        self._healthy(answer, 'rolling_restart', ['repmgrd_paused'] if by_restart else [])
        primary, due = world.members[answer['primary']], [member for member in listed if member.restart]
        if primary in due:
            if not answer['successor']:
                # roles/server/tasks/rolling.yml
                raise Stopped('%s has to restart, and no standby could take over' % primary.name, [
                    'Restart it by hand when that is acceptable: systemctl restart postgresql'])
            self._switch(world, primary, world.members[answer['successor']])
        for member in due:
            member.restart = False
        if by_restart:
            self._unpause(world, 'restart')

    @staticmethod
    def _switch(world, primary, target):
        world.promote(target)
        target.rows[target.number] = world.row(target.name, 'primary', None)
        target.rows[primary.number] = world.row(primary.name, 'standby', target.number)
        attach(world, primary, target)
        for other in world.members.values():
            row = target.rows.get(other.number)
            if other not in (primary, target) and row and other.runs() and row['active']:
                row['upstream_node_id'] = target.number
                other.upstream = target.name if other.signal else None
        for other in world.members.values():
            if other.is_witness and other.runs():
                other.rows = copy.deepcopy(target.rows)
        world.settle()

    def _minor_upgrade(self, world):
        dummy, answer = self._decide(world, 'minor_upgrade')
        mended = any(problem['code'] in _problems_repmgrd.OTHER_VERSIONS for problem in answer['problems'])
        if answer['primary'] is None:
            raise Stopped('expected a healthy cluster', STATUS)
        if not mended:
            self._healthy(answer, 'minor_upgrade')
        order = [world.members[name] for name in world.listed if world.members[name].host == 'up' and world.members[name].runs()]
        newest = max([member.packages_version for member in order] + [member.extension for member in order])
        for member in order:
            member.packages_version = member.extension = newest
            member.repmgrd = True

    def _rotate_credentials(self, world, repmgr_credentials='password,ssh,certificates'):
        hosts, answer = self._decide(world, 'rotate_credentials')
        if any(host.unreachable for host in hosts):
            raise Stopped('expected a healthy cluster with all of its nodes', STATUS)
        self._healthy(answer, 'rotate_credentials')
        for member in world.members.values():
            member.deaf_to = set()
            if 'certificates' in repmgr_credentials:
                member.authority, member.days, member.certificate = 3000, 3000, ''

    def _verify_backup(self, world):
        """It restores a backup beside the cluster."""

    def _backup(self, world, repmgr_backup_type='incremental'):
        answer = world.judge()[1]
        if answer['primary'] is None:
            raise Stopped(answer['summary'], _steps.playbook('site'))
        primary = world.members[answer['primary']]
        if primary.backup and dict(primary.backup)['judged']['state'] in ('no_backup', 'ok'):
            primary.backup = ()

    def _switchover(self, world, repmgr_target):
        dummy, answer = self._decide(world, 'switchover', {'repmgr_target': repmgr_target})
        if repmgr_target != answer['primary']:
            self._switch(world, world.members[answer['primary']], world.members[repmgr_target])

    def _remove_node(self, world, repmgr_target, repmgr_primary_is_dead=''):
        hosts, answer = world.judge()
        plan = _removal.removal_plan(world.records(), repmgr_target, repmgr_primary_is_dead)
        self._decide(world, 'remove_node', {'repmgr_target': repmgr_target}, plan)
        if plan['refuse']:
            self._refused(answer, plan['refuse'], ' Nothing was changed.')
        number = plan['node_id']
        for member in world.members.values():
            if member.name != repmgr_target and member.runs():
                member.rows.pop(number, None)
                member.slots.discard(repmgr_target)
        target = world.members.get(repmgr_target)
        if target is not None and repmgr_target in world.listed:
            if target.host == 'up':
                target.server, target.masked, target.repmgrd, target.guard, target.config, target.deployed = 'stopped', True, False, False, False, False
            # 'Take it out of the inventory, or the next run of site brings it back.'
            world.listed.remove(repmgr_target)

    def _leave(self, world, repmgr_leave):
        hosts, answer = world.judge()
        plan = _leave.leave_plan(hosts, answer, FILES, 'repmgrd-plain')
        if plan['refuse']:
            self._refused(answer, plan['refuse'][0])
        for member in world.members.values():
            member.paused, member.note, member.repmgrd = False, '', member.runs()
        world.left = True
