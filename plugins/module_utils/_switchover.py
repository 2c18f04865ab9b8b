# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a switchover: observe, preflight, dry run, perform, verify. repmgrd is never left paused."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import threading
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _observe, _place, _repmgr, _steps, _view
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError, SwitchoverLock
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

_UNPAUSE_ATTEMPTS = 3
# The timeout of one SSH command, in case repmgr's ssh_options set none.
_SSH_TIMEOUT = 30
# The settings of repmgr.conf with commands that start, stop and promote servers.
_SERVICE_COMMANDS = ('service_start_command', 'service_stop_command', 'service_restart_command', 'service_reload_command',
                     'service_promote_command', 'repmgrd_service_start_command', 'repmgrd_service_stop_command')
_DEAD_PRIMARY = _steps.playbook('failover', reason='Replace a dead primary by')


class SwitchoverError(Exception):
    def __init__(self, problems, expected, steps=''):
        super(SwitchoverError, self).__init__('; '.join(problems))
        self.problems = problems
        self.expected = expected
        self.steps = _steps.listed(steps)


class Switchover:
    def __init__(self, runner, psql, repmgr, place, params):
        self.runner = runner
        self.psql = psql
        self.repmgr = repmgr
        self.place = place
        self.params = params
        self.begun = False
        self.before = None
        self.target = None
        self.is_primary = False
        self.notes = []
        self._found = {}
        self._config = {}
        self._nodes = []
        self._peers = {}
        self._observed = None
        self._primary_conninfo = None
        self._seen = None

    def result(self):
        found = dict(self._found)
        found['before'] = self.before
        found.setdefault('problems', [])
        return found

    # -- observe

    def look(self):
        self._observed = observed = _observe.observe_local(self.runner, self.psql, self.place)
        config = observed.config
        self._config = _place.read_config(self.place.config_file) or {}
        self.target = {'node_id': config['node_id'], 'node_name': config['node_name']}
        if not observed.server.sql:
            raise SwitchoverError(
                ['the server is %s and does not answer (%s)' % (observed.server.state, observed.server.error or 'no SQL')],
                'a running standby', [_steps.start(config['node_name'], self._config) or 'Start it.', 'Then run again.'])
        self._nodes = observed.nodes or []
        own = [node for node in self._nodes if node.node_id == config['node_id']]
        if not own:
            raise SwitchoverError(['the node is not registered'], 'a registered standby', _steps.playbook('site'))
        if own[0].type == 'witness':
            raise SwitchoverError(['the node is the witness'], 'a standby', 'Choose another target.')
        primaries = [node for node in self._nodes if node.type == 'primary' and node.active]
        if len(primaries) == 1:
            self.before = {'node_id': primaries[0].node_id, 'node_name': primaries[0].node_name}
            self._primary_conninfo = _observe.usable(primaries[0].conninfo, self._config.get('conninfo'))
        self.is_primary = observed.server.in_recovery is False
        if self.is_primary:
            if self.before != self.target:
                raise SwitchoverError(
                    ['the server is not in recovery, but %s is registered as primary' % (self.before or {}).get('node_name', 'nobody')],
                    'one primary, registered', 'Look at `repmgr cluster show`.')
            # Nothing to do. If somebody paused repmgrd, leave that alone.
            return
        if len(primaries) != 1:
            raise SwitchoverError(['%d nodes are registered as active primary' % len(primaries)], 'one',
                                  'Look at `repmgr cluster show`.')

    def _look_at_peers(self):
        self._peers = _observe.observe_peers(
            self.psql, self._observed, self.place, [], self.params['connect_timeout'])

    # -- preflight

    def preflight(self):
        """Check everything that can be checked before the old primary is touched, and report all problems, not only the first."""
        self._look_at_peers()
        observed, problems = self._observed, []
        primary, error = self._peers.get(self.before['node_name'], (None, 'not observed'))
        if primary is None:
            raise SwitchoverError(
                ['primary %s does not answer (%s)' % (self.before['node_name'], error)], 'a live primary',
                _DEAD_PRIMARY)
        if primary.server.in_recovery:
            raise SwitchoverError(['registered primary %s is in recovery' % self.before['node_name']], 'a live primary',
                                  'Look at `repmgr cluster show`.')
        if primary.system_identifier != observed.system_identifier:
            raise SwitchoverError(['primary %s belongs to another cluster' % self.before['node_name']],
                                  'system identifier %s' % observed.system_identifier, 'Look at repmgr.conf.')
        upstream, streaming = _view.sender_node_id(observed, self._nodes)
        if not streaming or upstream != self.before['node_id']:
            problems.append('the node does not stream from primary %s' % self.before['node_name'])
        mine = [row for row in primary.replication if row.get('application_name') == self.target['node_name']]
        if mine and (mine[0].get('lag_bytes') or 0) > self.params['max_lag']:
            problems.append('the node lags %d bytes behind' % mine[0]['lag_bytes'])
        if observed.server.replay_paused:
            problems.append('replay is paused on the node')
        if not (observed.data.wal_log_hints or observed.data.checksums or observed.data.wal_log_hints is None):
            self._warn('neither wal_log_hints nor checksums: the old primary could not be rewound')
        problems += self._repmgrd_problems(primary)
        hosts = []
        for node in self._nodes:
            if not node.active:
                continue
            peer, why = self._peers.get(node.node_name, (None, 'not observed'))
            if peer is None and node.node_id != self.target['node_id']:
                problems.append('%s %s does not answer (%s)' % (node.type, node.node_name, why))
            elif node.node_id in (self.target['node_id'], self.before['node_id']) or (
                    self.params['siblings_follow'] and node.upstream_node_id == self.before['node_id']):
                hosts.append(node)
        self._found['preflight'] = {'ssh': {}, 'sudo': {}}
        problems += self._archive_problems() + self._room_problems() + self._host_problems(hosts)
        if problems:
            raise SwitchoverError(
                problems, 'a cluster that is ready for a switchover',
                ['Nothing was changed.', _steps.playbook('status', reason='See'), _steps.playbook('site', reason='To restore keys and sudo rules, type')])

    def _warn(self, text):
        self.notes.append(text)

    def _repmgrd_problems(self, primary):
        problems, running, paused = [], [], []
        everyone = [(self.target['node_name'], self._observed), (self.before['node_name'], primary)]
        everyone += [(name, found[0]) for name, found in sorted(self._peers.items())
                     if found[0] is not None and name != self.before['node_name']]
        for name, observed in everyone:
            repmgrd = observed.repmgr.get('repmgrd') or {}
            if repmgrd.get('paused'):
                paused.append(name)
            running.append((name, bool(repmgrd.get('running'))))
        if paused:
            problems.append('repmgrd is already paused on %s, by an operator or by another switchover' % ', '.join(paused))
        # If repmgrd runs nowhere, that is intended; if it runs on some nodes only, that is a fault.
        missing = [name for name, runs in running if not runs]
        if missing and len(missing) < len(running):
            problems.append('repmgrd is not running on %s' % ', '.join(missing))
        return problems

    def _archive_problems(self):
        """A primary archives all pending WAL files before it shuts down, and clients wait for that."""
        archives, ready = self.psql.archive_backlog(self._primary_conninfo)
        if not archives:
            return []
        self._found['preflight']['archive_ready'] = ready
        if ready is None:
            self._warn('the WAL files that wait to be archived on primary %s could not be counted; a long backlog makes its shutdown slow'
                       % self.before['node_name'])
        elif ready > self.params['max_archive_ready']:
            return ['%d WAL files wait to be archived on primary %s, more than max_archive_ready, %d; see pg_stat_archiver there' % (
                ready, self.before['node_name'], self.params['max_archive_ready'])]
        return []

    def _will_follow(self, node):
        """Whether this node is going to stream from the new primary."""
        if node.type == 'witness' or not node.active or node.node_id == self.target['node_id']:
            return False
        return node.node_id == self.before['node_id'] or (
            self.params['siblings_follow'] and node.upstream_node_id in (self.before['node_id'], self.target['node_id']))

    def _slots_of(self, nodes):
        if ('%s' % self._config.get('use_replication_slots', '')).lower() not in ('1', 'on', 't', 'true', 'y', 'yes'):
            return []
        return [node.slot_name for node in nodes if node.slot_name]

    def _room_problems(self):
        """Whether the target has enough WAL senders and slots for all nodes that are going to stream from it. Those that already do need no more."""
        problems, observed = [], self._observed
        followers = [node for node in self._nodes if self._will_follow(node)]
        for setting, wanted, there in (
                ('max_wal_senders', [node.node_name for node in followers], [row.get('application_name') for row in observed.replication]),
                ('max_replication_slots', self._slots_of(followers), [row.get('slot_name') for row in observed.slots])):
            limit = '%s' % observed.server.settings.get(setting)
            if not wanted or not limit.isdigit():
                continue
            free = int(limit) - len([name for name in there if name not in wanted])
            self._found['preflight'][setting] = {'free': free, 'needed': len(wanted)}
            if free < len(wanted):
                problems.append('%s of the node is %s, %d free, but %d nodes are going to stream from it' % (setting, limit, free, len(wanted)))
        return problems

    # -- preflight: SSH and sudo, as repmgr will use them

    def _host_problems(self, nodes):
        """Check in parallel what repmgr has to do on these nodes; return the problems."""
        found = {}

        def look(node):
            try:
                found[node.node_id] = self._look_at_host(node)
            except CommandError as exc:
                found[node.node_id] = ['%s: %s' % (node.node_name, exc.message)]

        threads = [threading.Thread(target=look, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [problem for node in nodes for problem in found[node.node_id]]

    def _look_at_host(self, node):
        """The problems of one node. It takes one process for the target, and two for another node, because its repmgr.conf is read first."""
        if node.node_id == self.target['node_id']:
            return self._check_host(node, '', self._config)
        ssh = _ssh(self._config, node)
        answer = self._shell(ssh, 'cat %s' % _steps.quoted(node.config_file))
        reached = answer.rc not in (124, 127, 137, 255)
        self._found['preflight']['ssh'][node.node_name] = reached
        if not reached:
            return ['no SSH as %s to %s %s: `%s true` ended with exit code %d' % (
                self.place.user, node.type, node.node_name, ssh, answer.rc)]
        try:
            config = _repmgr.parse_config(answer.stdout) if answer.rc == 0 else None
        except _repmgr.ConfigError:
            config = None
        if not config:
            return ['%s of %s %s cannot be read as %s by SSH' % (node.config_file, node.type, node.node_name, self.place.user)]
        return self._check_host(node, ssh, config)

    def _check_host(self, node, ssh, config):
        """Check what repmgr may need as the postgres OS user on a node: sudo for the service commands, and SSH back to the target."""
        checks = [] if node.type == 'witness' else _sudo_checks(config)
        if node.node_id == self.before['node_id']:
            back = _ssh(config, [row for row in self._nodes if row.node_id == self.target['node_id']][0])
            checks.append(('ssh_back', back, '%s true' % back))
        if not checks:
            return []
        answer = self._shell(ssh, '; '.join('%s </dev/null >/dev/null 2>&1 || echo %s' % (ask, what) for what, dummy, ask in checks))
        if answer.rc != 0:
            return ['the sudo and SSH checks on %s %s could not be run: exit code %d' % (node.type, node.node_name, answer.rc)]
        failed, problems = answer.stdout.split(), []
        for what, command, dummy in checks:
            if what == 'ssh_back':
                self._found['preflight'][what] = what not in failed
                text = 'no SSH as {user} from {name} back to the node: `{command} true` failed there'
            else:
                self._found['preflight']['sudo'].setdefault(node.node_name, {})[what] = what not in failed
                text = 'sudo on {name} does not let {user} run {what}: {command}'
            if what in failed:
                problems.append(text.format(
                    user=self.place.user, name='%s %s' % (node.type, node.node_name), what=what, command=command))
        return problems

    def _shell(self, ssh, script):
        """Run a script in a local shell, or over SSH. Like repmgr, this inserts ssh_options into a shell command."""
        if ssh:
            script = 'exec %s %s </dev/null' % (ssh, _steps.quoted(script))
        return self.runner.run(['/bin/sh', '-c', script], accept=None, timeout=_SSH_TIMEOUT)

    # -- dry run

    def _ask(self):
        """Run the preflight and repmgr's dry run in parallel: neither changes anything. The errors of the preflight are clearer, so they come first."""
        answers = []

        def ask():
            try:
                answers.append(self.repmgr.standby_switchover(self.params['siblings_follow'], dry_run=True, accept=None))
            except Exception as exc:
                answers.append(exc)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            self.preflight()
        finally:
            asking.join()
        if isinstance(answers[0], Exception):
            raise answers[0]
        self._judge(answers[0])

    def _judge(self, result):
        self._found['dry_run'] = _lines(result)
        if result.rc != 0:
            raise SwitchoverError(
                ['repmgr\'s dry run says: %s' % (_repmgr.summary(result.stdout, result.stderr) or 'exit code %s' % result.rc)],
                'a dry run without errors', 'Correct this and run again; nothing was changed.')

    # -- perform

    def run(self, check_mode=False):
        """Run all steps from the preflight to the verification; in check mode, up to the dry run."""
        lock = SwitchoverLock(self.psql, self._primary_conninfo)
        try:
            if check_mode:
                if lock.holders():
                    self._refuse_second()
                self._ask()
                return
            with lock:
                if not lock.held:
                    self._refuse_second()
                # Observe again: what was seen before the lock was taken may be the middle of another switchover.
                self.look()
                self._ask()
                self._checkpoint()
                self._switch()
        except PsqlError as exc:
            raise SwitchoverError(['primary %s does not answer (%s)' % (self.before['node_name'], redacted('%s' % exc))],
                                  'a live primary', _DEAD_PRIMARY)
        finally:
            if self.begun:
                self._unpause()
        self.verify()

    def _refuse_second(self):
        raise SwitchoverError(['another switchover is under way'], 'one switchover at a time', 'Wait for it to end.')

    def _checkpoint(self):
        # A checkpoint now makes the shutdown of the old primary shorter, and with it the time without writes.
        self._found['checkpoint'] = self.psql.checkpoint(self._primary_conninfo)

    def _switch(self):
        self.begun = True
        started = time.time()
        result = self.repmgr.standby_switchover(self.params['siblings_follow'], accept=None)
        self._found['duration'] = round(time.time() - started, 3)
        self._found['switchover'] = _lines(result)
        if result.rc not in (0, 22):
            raise SwitchoverError(
                ['repmgr standby switchover ended with exit code %s (%s): %s' % (
                    result.rc, _repmgr.EXIT_CODES.get(result.rc, 'unknown'), _repmgr.summary(result.stdout, result.stderr))],
                'a finished switchover', _steps.playbook('status', reason='See'))

    def _unpause(self):
        """repmgr itself unpauses repmgrd if the switchover succeeds. If not, nobody might notice that the cluster has no automatic failover."""
        self._found['unpaused'] = False
        error = ''
        for dummy in range(_UNPAUSE_ATTEMPTS):
            paused, silent = self._seen = self._paused()
            # A node that does not answer may still be paused after a restart, so unpause it as well.
            if not paused and not silent:
                return
            try:
                self.repmgr.service('unpause')
                self._found['unpaused'] = True
            except CommandError as exc:
                error = exc.message
            time.sleep(1)
        paused, silent = self._seen = self._paused()
        if paused or silent:
            self._warn(message(', '.join(paused + silent), 'repmgrd may still be paused%s' % (' (%s)' % error if error else ''), 'not paused',
                               _steps.playbook('maintenance', repmgr_maintenance='unpause')))

    def _paused(self):
        """(names of the nodes whose repmgrd is paused, names of the nodes that do not answer)"""
        paused, silent = [], []
        rows = self._nodes
        self._observed = _observe.observe_local(self.runner, self.psql, self.place)
        self._look_at_peers()
        found = dict((name, peer[0]) for name, peer in self._peers.items())
        found[self.target['node_name']] = self._observed if self._observed.server.sql else None
        for node in rows:
            observed = found.get(node.node_name)
            if observed is None:
                if node.active:
                    silent.append(node.node_name)
            elif (observed.repmgr.get('repmgrd') or {}).get('paused'):
                paused.append(node.node_name)
        return paused, silent

    # -- verify

    def verify(self):
        """Wait until all nodes follow the new primary. The last observation of `_unpause` is used first."""
        deadline = time.time() + self.params['timeout']
        while True:
            problems = self._open_points()
            if not problems:
                self._found['after'] = self.target
                self._look_for_slots()
                return
            if time.time() > deadline:
                raise SwitchoverError(problems, 'every node to follow the new primary within %d s' % self.params['timeout'],
                                      [_steps.playbook('status', reason='See'), _steps.playbook('site', reason='To make the standbys follow, type')])
            time.sleep(0.3)
            self._seen = self._paused()

    def _open_points(self):
        paused, dummy = self._seen
        problems = ['repmgrd of %s is paused' % name for name in paused]
        observed = self._observed
        if observed.server.in_recovery is not False:
            problems.append('the node is not primary')
            return problems
        rows = dict((node.node_id, node) for node in observed.nodes or [])
        streaming = set(row.get('application_name') for row in observed.replication if row.get('state') == 'streaming')
        slots = set(row.get('slot_name') for row in observed.slots if row.get('active'))
        for node in self._nodes:
            if node.node_id == self.target['node_id'] or not node.active:
                continue
            peer, why = self._peers.get(node.node_name, (None, 'not observed'))
            if peer is None:
                problems.append('%s does not answer (%s)' % (node.node_name, why))
            elif node.type == 'witness':
                row = rows.get(node.node_id)
                if self.params['siblings_follow'] and (row is None or row.upstream_node_id != self.target['node_id']):
                    problems.append('witness %s does not watch the new primary' % node.node_name)
            elif peer.server.in_recovery is not True:
                problems.append('%s is not in recovery' % node.node_name)
            elif self._will_follow(node):
                if node.node_name not in streaming:
                    problems.append('%s does not stream from the new primary' % node.node_name)
                problems += ['%s does not use its slot %s of the new primary' % (node.node_name, name)
                             for name in self._slots_of([node]) if name not in slots]
        primary = rows.get(self.target['node_id'])
        if primary is None or primary.type != 'primary' or not primary.active:
            problems.append('the node is not registered as active primary')
        return problems

    def _look_for_slots(self):
        """Report slots that repmgr could not drop: they retain WAL until the disk is full. With repmgr-guard every data node has a slot for every other
        node on purpose, and the guard advances them.
        """
        moved = self._slots_of([node for node in self._nodes if self._will_follow(node) or node.node_id == self.target['node_id']])
        self._found['slots_left'] = left = []
        if (self._observed.guard or {}).get('running'):
            return
        for name, (peer, dummy) in sorted(self._peers.items()):
            for row in peer.slots if peer is not None else []:
                if row.get('slot_name') in moved and not row.get('active'):
                    left.append({'node_name': name, 'slot_name': row['slot_name'], 'retained_bytes': row.get('retained_bytes')})
                    self._warn(message(
                        name, 'slot %s is left from before the switchover and retains WAL that nobody needs' % row['slot_name'], 'no such slot',
                        _steps.shell('psql -c "select pg_drop_replication_slot(\'%s\')"' % row['slot_name'], host=name)))


def _ssh(config, node):
    """The SSH command line of repmgr, without the remote command. Its default options are the same in all versions."""
    try:
        values = _conninfo.parse(node.conninfo)
    except ValueError:
        values = {}
    return 'ssh -o Batchmode=yes %s %s' % (
        config.get('ssh_options', '-q -o ConnectTimeout=10'), _steps.quoted(values.get('host') or values.get('hostaddr') or node.node_name))


def _sudo_checks(config):
    """[(setting, command, sudo command that checks whether it may be run)]. -l runs nothing; with -n sudo fails instead of asking for a password.

    This does not detect a rule without NOPASSWD if the user has another rule with it.
    """
    found = []
    for setting in _SERVICE_COMMANDS:
        # split_command turns a command with shell syntax into /bin/sh -c; it is left out because sudo cannot check parts of it.
        words = _repmgr.split_command(config.get(setting) or '')
        if words and os.path.basename(words[0]) == 'sudo':
            found.append((setting, config[setting], ' '.join(_steps.quoted(word) for word in words[:1] + ['-n', '-l'] + words[1:])))
    return found


def _lines(result):
    found = result.to_dict()
    found['stdout_lines'] = found.pop('stdout').splitlines()
    found['stderr_lines'] = found.pop('stderr').splitlines()
    return found
