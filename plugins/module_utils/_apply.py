# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out the actions of a plan, in order, until one fails. Nothing is decided here."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import re
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _data_directory, _place, _postmaster, _processes, _progress, _repmgr, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError

# Just after a promotion the new primary is not yet registered as primary everywhere.
_REJOIN_ATTEMPTS = 5
_REJOIN_PAUSE = 3
_REJOIN_FAIL = 24


class ApplyError(Exception):
    """An action failed. `result` has the output of the program, if the action ran one."""

    def __init__(self, action, text, result=None):
        super(ApplyError, self).__init__(text)
        self.action = action
        self.text = text
        self.result = result


class Context:
    """The input of the actions, and what they report: `done` and `warnings`."""

    def __init__(self, runner, psql, repmgr, place, desired, config, primary_conninfo='', upstream_conninfo='', clone_conninfo='',
                 upstream_node_id=None, wanted_upstream_id=None, actual_upstream_id=None, clone_options=(), clone_timeout=86400, start_timeout=60,
                 register_timeout=60, data_state='', has_rows=False, settings=None):
        self.runner = runner
        self.psql = psql
        self.repmgr = repmgr
        self.place = place
        self.desired = desired
        self.config = config
        self.primary_conninfo = primary_conninfo
        self.upstream_conninfo = upstream_conninfo or primary_conninfo
        self.clone_conninfo = clone_conninfo or self.upstream_conninfo
        self.upstream_node_id = upstream_node_id
        self.wanted_upstream_id = wanted_upstream_id
        self.actual_upstream_id = actual_upstream_id
        self.clone_options = list(clone_options)
        self.clone_timeout = clone_timeout
        self.start_timeout = start_timeout
        self.register_timeout = register_timeout
        self.data_state = data_state
        self.has_rows = has_rows
        self.settings = settings or {}
        self.done = []
        self.warnings = []


def apply(context, actions):
    """Carry out the actions. context.done lists the steps that were begun, also if an ApplyError ends the run early."""
    # Check before the first action, which may stop the server.
    _refuse_an_older_timeline(context, actions)
    _refuse_what_cannot_be_moved(context, actions)
    for action in actions:
        step = {'action': action}
        context.done.append(step)
        begun = time.time()
        try:
            found = ACTIONS[action](context)
        except CommandError as exc:
            step['result'] = exc.to_dict()
            raise ApplyError(action, _repmgr.summary(exc.result.stdout, exc.result.stderr) or exc.message, exc.to_dict())
        except PsqlError as exc:
            raise ApplyError(action, '%s' % exc)
        except (IOError, OSError) as exc:
            raise ApplyError(action, '%s' % exc)
        finally:
            step['seconds'] = round(time.time() - begun, 1)
        if found is not None:
            step['result'] = found


def next_step(error, node_name, rejoin='never', config=None):
    """The next step after a failed action. `repmgr standby follow` refuses an upstream that has received less WAL than the node itself."""
    if error.action == 'follow' and re.search('cannot attach|ahead of the', json.dumps(error.result or {})):
        found = ['The node may have received WAL that its upstream never had.']
        if rejoin == 'never':
            return found + [_steps.playbook('rejoin', check=True, repmgr_target=node_name, reason='See what a rejoin would do')]
        # It streams, from a node with the same WAL, and so it is not rewound; stopped, it is.
        stop = (config or {}).get('service_stop_command')
        return found + [_steps.shell(stop, host=node_name, reason='Stop its server') if stop else 'Stop its server.',
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
        _refuse_an_older_timeline(context, actions)
        _refuse_what_cannot_be_moved(context, actions)
        if 'check_space' in actions:
            _check_space(context)
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


# -- actions

def _check_space(context):
    _check_source(context)
    sizes = context.psql.sizes(context.clone_conninfo)
    if sizes is None:
        context.warnings.append('The size of the source could not be read, so free space was not checked.')
        return None
    needs = {}
    for space in sizes:
        place = os.path.join(context.place.data_directory, space['location'])
        directory = _existing(place)
        if directory != place and os.path.isabs(space['location']) and not os.access(directory, os.W_OK):
            raise ApplyError('check_space', 'tablespace %s of the source cannot be created here: %s is not writable for %s' % (
                place, directory, context.place.user))
        # Tablespaces on the same file system share its free space.
        entry = needs.setdefault(os.stat(directory).st_dev, {'directory': directory, 'bytes': 0})
        entry['bytes'] += space['bytes']
    for entry in needs.values():
        # WAL that is written meanwhile is copied too.
        entry['bytes'] += max(64 * 1024 * 1024, entry['bytes'] // 20)
        stat = os.statvfs(entry['directory'])
        entry['free'] = stat.f_bavail * stat.f_frsize
        if entry['free'] < entry['bytes']:
            raise ApplyError('check_space', '%s has %d MB free; a clone needs %d MB%s' % (
                entry['directory'], entry['free'] // 1048576, entry['bytes'] // 1048576, _kept_text(kept_copies(context))))
    return {'needed': list(needs.values())}


def _check_source(context):
    """Refuse early if the primary's extension is older than its packages: `repmgr standby clone` refuses that, but only after the old data were moved."""
    found = context.psql.extension_versions(context.primary_conninfo) or {}
    available, installed = [_repmgr.parse_version(found.get(name)) for name in ('available', 'installed')]
    if available and installed and available > installed:
        raise ApplyError('check_space', 'the primary has packages of repmgr %s, but the extension in its database is %s: repmgr refuses to clone it. %s' % (
            found['available'], found['installed'], _steps.sentences(_steps.playbook('minor_upgrade'))))


def _existing(path):
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


# The suffix that move_aside gives to a directory that it keeps.
_KEPT = re.compile('[.](old|partial)-[0-9]{8}T[0-9]{6}Z')


def kept_copies(context):
    """[{path, bytes}] of the data directories that were moved aside and still exist; `bytes` includes their WAL and tablespaces."""
    source = os.path.realpath(context.place.data_directory)
    folder, name = os.path.split(source)
    found = []
    for entry in sorted(_place.listdir(folder)):
        path = os.path.join(folder, entry)
        if entry.startswith(name) and _KEPT.sub('', entry[len(name):]) == '' and entry != name and os.path.isdir(path):
            links = [os.path.join(path, 'pg_wal')] + _links(path)
            found.append({'path': path, 'bytes': sum(_size_of(place) for place in [path] + [
                os.path.realpath(link) for link in links if os.path.islink(link) and _KEPT.search(os.path.realpath(link))])})
    return found


def _kept_text(copies):
    if not copies:
        return ''
    return '. %d earlier cop%s %s, kept until somebody removes %s: %s' % (
        len(copies), 'y takes' if len(copies) == 1 else 'ies take', _progress.human(sum(copy['bytes'] for copy in copies)),
        'it' if len(copies) == 1 else 'them', ', '.join(copy['path'] for copy in copies))


def _links(data_directory):
    """The links to its tablespaces. An in-place tablespace (used to test PostgreSQL itself) is a directory and moves with the data directory."""
    folder = os.path.join(data_directory, 'pg_tblspc')
    return [path for path in [os.path.join(folder, name) for name in sorted(_place.listdir(folder))] if os.path.islink(path)]


def _mount_of(path):
    """The mount point of a path. rename() fails between two bind mounts, even if they are of the same file system."""
    try:
        with open('/proc/self/mountinfo') as handle:
            lines = handle.read().splitlines()
    except (IOError, OSError):
        lines = []
    points = [re.sub(r'\\([0-7]{3})', lambda found: chr(int(found.group(1), 8)), line.split()[4]) for line in lines]
    path = os.path.realpath(path)
    while path not in points and not os.path.ismount(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


class _Move:
    """A directory to rename from `source` to `target`, and the link in the data directory to point to `turned` afterwards."""

    def __init__(self, source, target, link=None, turned=None):
        self.source = source
        self.target = target
        self.link = link
        self.turned = turned

    def obstacle(self, user):
        """Why it cannot be renamed, or ''."""
        parent, place = os.path.dirname(self.source), _existing(os.path.dirname(self.target))
        if os.path.lexists(self.target):
            return '%s exists already' % self.target
        if _mount_of(self.source) == self.source or _mount_of(place) != _mount_of(parent):
            return '%s cannot be renamed to %s: it is a mount, or the two are not on the same one' % (self.source, self.target)
        for folder in (parent, place):
            if not os.access(folder, os.W_OK):
                return '%s cannot be renamed: %s is not writable for %s' % (self.source, folder, user)
        return ''

    def do(self):
        if not os.path.isdir(os.path.dirname(self.target)):
            os.mkdir(os.path.dirname(self.target), 0o700)
        os.rename(self.source, self.target)
        if self.link:
            temporary = self.link + '.new'
            if os.path.lexists(temporary):
                os.unlink(temporary)
            os.symlink(self.turned, temporary)
            os.rename(temporary, self.link)


def _moves(context):
    """The renames that make room for a new clone: first WAL and tablespaces outside of the data directory, which a clone expects to be empty as well,
    then the data directory.

    Of a symbolic link, the target is renamed and the link stays, so that the new clone is in the same place. The links in the old data directory are
    changed to the new names, so that it remains complete.
    """
    source = os.path.realpath(context.place.data_directory)
    suffix = '.%s-%s' % ('partial' if context.data_state == 'partial' else 'old', time.strftime('%Y%m%dT%H%M%SZ', time.gmtime()))
    moves = []
    link = os.path.join(source, 'pg_wal')
    wal = os.path.realpath(link)
    # If an earlier move was interrupted, the WAL directory may have its new name already.
    if os.path.islink(link) and os.path.isdir(wal) and not _KEPT.search(wal):
        moves.append(_Move(wal, wal + suffix, link, wal + suffix))
    for location, link in sorted(_tablespaces(context, source).items()):
        names = os.listdir(location) if os.path.isdir(location) else []
        if not names or _KEPT.search(location):
            continue
        if len(names) > 1 or not names[0].startswith('PG_'):
            raise ApplyError('move_aside', 'tablespace %s contains more than the PG_* directory of this server, and a clone needs it empty: %s' % (
                location, ', '.join(sorted(names)[:4])))
        # Next to the tablespace if the postgres OS user may create a directory there, otherwise next to the data directory.
        kept = [location + suffix, source + suffix + '.tablespace' + location.replace('/', '-')]
        tried = [_Move(os.path.join(location, names[0]), os.path.join(folder, names[0]), link, folder) for folder in kept]
        moves.append(([move for move in tried if not move.obstacle(context.place.user)] or tried)[0])
    moves.append(_Move(source, source + suffix))
    for move in moves:
        obstacle = move.obstacle(context.place.user)
        if obstacle:
            raise ApplyError('move_aside', obstacle)
    return moves


def _tablespaces(context, source):
    """{location: the link in pg_tblspc that points to it, or None}.

    pg_basebackup copies the tablespaces first and creates these links last, so for an interrupted clone the locations are taken from its source.
    pg_basebackup requires them to be empty when it starts, so anything in them was written by that clone.
    """
    found = {}
    if context.data_state == 'partial' and _data_directory.read_marker(_data_directory.marker_path(context.place.data_directory, context.place.user)) is not None:
        for space in context.psql.sizes(context.clone_conninfo) or []:
            if os.path.isabs(space['location']):
                found[os.path.realpath(space['location'])] = None
    found.update((os.path.realpath(link), link) for link in _links(source))
    return found


def _refuse_what_cannot_be_moved(context, actions):
    """Check this before the server is stopped: a move that fails halfway would leave the node without data."""
    if 'move_aside' in actions:
        try:
            _moves(context)
        except (PsqlError, IOError, OSError) as exc:
            raise ApplyError('move_aside', '%s' % exc)


def _move_aside(context):
    moves = _moves(context)
    moved = moves[-1]
    mode = os.stat(moved.source).st_mode & 0o7777
    for move in moves:
        move.do()
    os.mkdir(moved.source, mode)
    kept = kept_copies(context)
    if len(kept) > 1:
        context.warnings.append('%d copies of %s that were moved aside use %s. They are kept until somebody removes them: %s' % (
            len(kept), context.place.data_directory, _progress.human(sum(copy['bytes'] for copy in kept)), ', '.join(copy['path'] for copy in kept)))
    return {'from': context.place.data_directory, 'to': moved.target, 'kept': kept,
            'moved': [{'from': move.source, 'to': move.target} for move in moves]}


def _clone(context):
    marker = _data_directory.marker_path(context.place.data_directory, context.place.user)
    if marker is None:
        raise ApplyError('clone', 'there is no user %s' % context.place.user)
    directory = os.path.dirname(marker)
    if not os.path.isdir(directory):
        os.mkdir(directory, 0o700)
    content = _processes.process_identity()
    content['source'] = redacted(context.clone_conninfo)
    content['begun'] = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
    _write(marker, json.dumps(content))
    with _progress.Progress(_progress_path(context), 'clone', lambda: _copied(context)):
        result = context.repmgr.standby_clone(
            context.clone_conninfo, upstream_node_id=_cloned_for(context), extra=context.clone_options, timeout=context.clone_timeout)
    os.unlink(marker)
    return result.to_dict()


def forget_clone(place):
    """Remove the marker of a clone that somebody finished by hand. Otherwise an empty mount point, on a day when the data directory is not mounted, would
    be taken for an unfinished clone.
    """
    marker = _data_directory.marker_path(place.data_directory, place.user)
    if marker is not None and os.path.exists(marker):
        os.unlink(marker)


def _cloned_for(context):
    """The id of the node that the clone will follow, or None if repmgr finds it by itself."""
    if context.upstream_node_id is None and context.clone_conninfo != context.upstream_conninfo:
        return context.wanted_upstream_id
    return context.upstream_node_id


def _progress_path(context):
    return os.path.join(os.path.dirname(_data_directory.marker_path(context.place.data_directory, context.place.user)),
                        os.path.basename(_progress.PROGRESS_FILE))


def _copied(context):
    """(bytes copied, bytes in total) as reported by the source, or None."""
    try:
        return context.psql.basebackup_progress(context.clone_conninfo)
    except PsqlError:
        return None


def _write(path, text):
    temporary = path + '.new'
    with open(temporary, 'w') as handle:
        handle.write(text)
        handle.flush()
        # If the marker were lost in a power failure, a partial directory would be taken for a complete one.
        os.fsync(handle.fileno())
    os.rename(temporary, path)


def _service(context, verb):
    command = context.config.get('service_%s_command' % verb)
    if command:
        return context.runner.run(_repmgr.split_command(command))
    argv = [os.path.join(context.place.bin_dir, 'pg_ctl'), '-D', context.place.data_directory, '-w']
    if verb == 'start':
        # Without a log file the server would keep the stdout of this task open.
        argv += ['-t', str(context.start_timeout), '-l', os.path.join(context.place.data_directory, 'pg_ctl.log')]
        options = context.config.get('pg_ctl_options')
        if options:
            argv += _repmgr.split_command(options)
    else:
        argv += ['-m', 'fast']
    return context.runner.run(argv + [verb])


def _start(context):
    put_signals_back(context.place.data_directory)
    result = _service(context, 'start')
    wait_for_sql(context)
    return result.to_dict()


def wait_for_sql(context):
    """Wait until the server answers: a start command may return earlier."""
    deadline = time.time() + context.start_timeout
    while True:
        try:
            return context.psql.tags(context.desired.conninfo, "SELECT 'up', to_jsonb(1);\n")
        except PsqlError as exc:
            if time.time() > deadline:
                raise ApplyError('start', 'the server does not answer %d s after its start: %s' % (
                    context.start_timeout, redacted('%s' % exc)))
        time.sleep(0.5)


def _stop(context):
    return _service(context, 'stop').to_dict()


def _register_primary(context, force=False):
    return context.repmgr.primary_register(force=force).to_dict()


def _register(context, force=False, upstream=None):
    if not force:
        _wait_until_it_streams(context)
    result = context.repmgr.standby_register(
        force=force, upstream_node_id=upstream or context.wanted_upstream_id, wait_sync=context.register_timeout)
    _leave_source(context)
    return result.to_dict()


def _wait_until_it_streams(context):
    """Wait until the standby streams; return False if it does not in time.

    repmgr refuses to register a standby that has not yet connected to its upstream or has not caught up. With many new standbys this takes some seconds.
    """
    deadline = time.time() + context.register_timeout
    while time.time() < deadline:
        try:
            if context.psql.streams(context.upstream_conninfo, context.desired.node_name):
                return True
        except PsqlError:
            pass
        time.sleep(0.5)
    return False


def _leave_source(context):
    """Drop the slot that repmgr also creates on the node that was cloned from. Nobody uses it there, because the standby streams from its upstream, and it
    would retain WAL.

    Wait until the standby streams: by then the slot that it needs is active, and an active slot is never dropped.
    """
    slot, cloned = context.desired.slot_name, [step for step in context.done if step['action'] == 'clone']
    if not slot or not cloned or context.clone_conninfo == context.upstream_conninfo or not _wait_until_it_streams(context):
        return
    try:
        context.psql.drop_slot(context.clone_conninfo, slot)
    except PsqlError as exc:
        context.warnings.append('Slot %s was left on the node that was cloned from, where it retains WAL and nobody uses it (%s). Type in psql there: '
                                "SELECT pg_drop_replication_slot('%s')" % (slot, redacted('%s' % exc), slot))


def _register_as_is(context):
    # `repmgr standby follow` needs a record, so register the node with the upstream that it has now.
    return _register(context, force=True, upstream=context.actual_upstream_id)


def _register_stopped(context, **options):
    # `repmgr node rejoin` needs a record as well.
    return context.repmgr.standby_register_stopped(context.primary_conninfo, context.wanted_upstream_id, **options)


def _follow(context):
    return context.repmgr.standby_follow(upstream_node_id=context.wanted_upstream_id).to_dict()


def _set_primary_conninfo(context, action):
    # `repmgr standby follow` refuses the current upstream because its slot is in use, so primary_conninfo is set here. That takes a superuser: the
    # postgres OS user, over the local socket.
    sockets = (context.settings.get('unix_socket_directories') or '').split(',')[0].strip()
    local = _conninfo.build(dict(
        {'host': sockets} if sockets else {}, port=context.settings.get('port') or '5432', user=context.place.user, dbname='postgres'))
    before = context.psql.primary_conninfo(local)
    if not before:
        raise ApplyError(action, 'primary_conninfo cannot be read as %s' % context.place.user)
    values, wanted = _conninfo.parse(before), _conninfo.parse(context.desired.conninfo)
    for name in ('sslmode', 'sslrootcert'):
        values.pop(name, None)
        if name in wanted:
            values[name] = wanted[name]
    # Certificates are issued for the addresses of the inventory, and a cluster that was built by hand may use others.
    upstream = _conninfo.parse(context.upstream_conninfo)
    if upstream.get('host'):
        values.pop('hostaddr', None)
        values.update((name, upstream[name]) for name in ('host', 'port') if upstream.get(name))
    after = _conninfo.build(values)
    try:
        # The standby streams with its present settings. Write new ones only after a connection with them has worked.
        context.psql.tags(_conninfo.build(dict(values, dbname='replication', replication='true')), 'IDENTIFY_SYSTEM;\n')
    except PsqlError as exc:
        raise ApplyError(action, 'cannot connect to its upstream with %s: %s. It keeps streaming as before' % (redacted(after), redacted('%s' % exc)))
    if not context.psql.set_primary_conninfo(local, after):
        raise ApplyError(action, 'primary_conninfo could not be set as %s' % context.place.user)
    return {'before': redacted(before), 'after': redacted(after)}


def own_timeline(context):
    """The newest timeline in the data directory."""
    return _data_directory.newest_timeline(_control_data(context), context.place.data_directory)


def _refuse_an_older_timeline(context, actions):
    """`repmgr node rejoin --force-rewind` itself would also rewind to an older timeline."""
    if 'rejoin_rewind' not in actions:
        return
    try:
        theirs, own = context.psql.timeline(context.primary_conninfo), own_timeline(context)
    except (CommandError, PsqlError) as exc:
        raise ApplyError('rejoin_rewind', '%s' % exc)
    if theirs is not None and theirs < own:
        raise ApplyError('rejoin_rewind', 'the primary is on timeline %d, which is older than timeline %d of %s: all commits since the promotion of the '
                         'latter would be lost; expected a primary on the same timeline or a newer one. Find out which of the two has the data to keep' % (
                             theirs, own, context.desired.node_name))


def _prepare_rewind(context):
    """Do what pg_rewind cannot do by itself if the configuration is outside of the data directory, as on Debian.

    A server that was not shut down cleanly, and a standby that pg_rewind would place on an older timeline, is recovered first. If the server can restore
    WAL from an archive, pg_rewind is told to do so.

    Return the value of `rewind` for `node_rejoin`: the path of a wrapper of pg_rewind that restores WAL, True for the plain pg_rewind, False if no
    rewind is needed.
    """
    data, bin_dir = context.place.data_directory, context.place.bin_dir
    put_signals_back(data)
    signals = _signals(data)
    standby = _data_directory.is_standby(data)
    if standby:
        if _control_data(context).get('Database cluster state') == 'in archive recovery':
            # The standby was killed. After a start and a clean stop its control file says how far it had replayed.
            _start(context)
            _stop(context)
        if _rejoin_until_settled(context, False, dry_run=True, accept=(0, _REJOIN_FAIL)).rc == 0:
            return False
    # Before PostgreSQL 16 pg_rewind relies on the control files alone. If those of the primary are from before its promotion, pg_rewind finds the same
    # timeline on both sides and reports that no rewind is required, and a diverged server would be started.
    if context.psql.knows_its_timeline(context.primary_conninfo) is False:
        context.psql.checkpoint(context.primary_conninfo)
        if context.psql.knows_its_timeline(context.primary_conninfo) is False:
            raise ApplyError('rejoin_rewind', 'the primary has had no checkpoint since its promotion, and pg_rewind would find nothing to do; '
                             'as a superuser, type on it: psql -c CHECKPOINT')
    elsewhere = os.path.join(context.config.get('config_directory') or '', 'postgresql.conf')
    options = [] if os.path.exists(os.path.join(data, 'postgresql.conf')) or not os.path.exists(elsewhere) else ['-c', 'config_file=' + elsewhere]
    server = os.path.join(bin_dir, 'postgres')
    with open(os.path.join(data, 'PG_VERSION')) as handle:
        version = int(handle.read().strip().split('.')[0])
    if not _can_be_rewound(_control_data(context), version):
        if standby:
            # Check first: recovery in single-user mode writes WAL, and if nothing had to be rewound, the node would stay ahead of the primary for ever.
            _rejoin_until_settled(context, True, dry_run=True)
        # pg_rewind and repmgr do the same, but do not find the configuration.
        with _Aside(signals):
            context.runner.run([server, '--single', '-F', '-D', data] + options + ['template1'], stdin='', timeout=context.clone_timeout,
                               env=_postmaster.without_stale_pid(data))
    if version < 13 or (options and version < 14):
        return True
    if not context.runner.run([server, '-D', data] + options + ['-C', 'restore_command'], accept=None).stdout.strip():
        return True
    program = os.path.join(os.path.dirname(_data_directory.marker_path(data, context.place.user)), 'pg_rewind')
    words = [os.path.join(bin_dir, 'pg_rewind'), '--restore-target-wal'] + (['--config-file=' + elsewhere] if options else [])
    _write(program, '#!/bin/sh\nexec %s "$@"\n' % ' '.join("'%s'" % word.replace("'", "'\\''") for word in words))
    os.chmod(program, 0o700)
    return program


def _control_data(context):
    program = os.path.join(context.place.bin_dir, 'pg_controldata')
    return _data_directory.parse_controldata(context.runner.run([program, '-D', context.place.data_directory]).stdout)


def _can_be_rewound(control, version):
    """Whether pg_rewind gets the timeline of the server right.

    Before PostgreSQL 16 it takes the timeline of a standby from the last restartpoint. If a promotion came after that, it looks for WAL on a timeline that
    had already ended.
    """
    state = control.get('Database cluster state')
    if state == 'shut down in recovery':
        checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
        return version >= 16 or not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    return state == 'shut down'


def _signals(data):
    return [path for path in (os.path.join(data, name) for name in _data_directory.SIGNALS) if os.path.exists(path)]


def put_signals_back(data):
    """What a run that was ended meanwhile has left aside. The same as in roles/guard/files/guard.py."""
    left = [path for path in (os.path.join(data, name) for name in _data_directory.SIGNALS) if os.path.exists(path + _data_directory.ASIDE)]
    stays_one = _data_directory.is_standby(data)
    for path in left:
        if stays_one:
            os.unlink(path + _data_directory.ASIDE)
        else:
            os.rename(path + _data_directory.ASIDE, path)


class _Aside:
    """Move the signal files of a standby aside, because `postgres --single` refuses to start with them. They are restored before anything else is done, so
    that this node is never started as a primary, even if the rejoin fails. If this process is killed or the host goes down, they are restored before the
    next start of the server, by the start hook of the guard or by the next run.
    """

    def __init__(self, paths):
        self.moved = [(path, path + _data_directory.ASIDE) for path in paths]

    def __enter__(self):
        for path, aside in self.moved:
            os.rename(path, aside)

    def __exit__(self, *dummy):
        for path, aside in self.moved:
            # A start that was asked for meanwhile has put it back.
            if os.path.exists(aside):
                os.rename(aside, path)


def _rejoin(context, rewind):
    if rewind:
        directory = os.path.dirname(_progress_path(context))
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)
        with _progress.Progress(_progress_path(context), 'rewind'):
            return _rejoin_until_settled(context, _prepare_rewind(context)).to_dict()
    return _rejoin_until_settled(context, False).to_dict()


def _rejoin_until_settled(context, rewind, dry_run=False, accept=(0,)):
    """Run `repmgr node rejoin` until it ends with an exit code in `accept`; return the result."""
    for attempts_left in reversed(range(_REJOIN_ATTEMPTS)):
        result = context.repmgr.node_rejoin(
            context.primary_conninfo, rewind=rewind, dry_run=dry_run, accept=None, timeout=context.clone_timeout)
        if result.rc in accept:
            return result
        if not attempts_left or not ('not registered as primary' in result.stderr or result.rc in (6, 7)):
            raise CommandError('repmgr node rejoin ended with exit code %s (%s)' % (
                result.rc, _repmgr.EXIT_CODES.get(result.rc, 'unknown')), result)
        time.sleep(_REJOIN_PAUSE)


def _register_witness(context, force=False):
    # A witness that was unregistered still has its copy of the metadata, which repmgr overwrites only with --force.
    return context.repmgr.witness_register(context.primary_conninfo, force=force or context.has_rows).to_dict()


def _unregister_standby(context):
    return context.repmgr.standby_unregister().to_dict()


def _unregister_witness(context):
    return context.repmgr.witness_unregister().to_dict()


def _unregister_primary(context):
    return context.repmgr.primary_unregister(force=True).to_dict()


def _drop_slot(context):
    slot = context.desired.slot_name
    if not slot:
        return None
    dropped = context.psql.drop_slot(context.upstream_conninfo, slot)
    if not dropped:
        context.warnings.append(
            'Slot %s was not dropped: it is still in use, or not on the upstream. Stop this server and drop the slot there, '
            'otherwise the upstream retains WAL for it.' % slot)
    return {'slot': slot, 'dropped': dropped}


ACTIONS = {
    'check_space': _check_space,
    'move_aside': _move_aside,
    'clone': _clone,
    'start': _start,
    'stop': _stop,
    'register_primary': _register_primary,
    'register_primary_force': lambda context: _register_primary(context, force=True),
    'register': _register,
    'register_force': lambda context: _register(context, force=True),
    'register_as_is': _register_as_is,
    'register_stopped': lambda context: _register_stopped(context).to_dict(),
    'follow': _follow,
    'set_tls': lambda context: _set_primary_conninfo(context, 'set_tls'),
    'set_address': lambda context: _set_primary_conninfo(context, 'set_address'),
    'rejoin_attach': lambda context: _rejoin(context, rewind=False),
    'rejoin_rewind': lambda context: _rejoin(context, rewind=True),
    'register_witness': _register_witness,
    'register_witness_force': lambda context: _register_witness(context, force=True),
    'unregister_standby': _unregister_standby,
    'unregister_witness': _unregister_witness,
    'unregister_primary': _unregister_primary,
    'drop_slot': _drop_slot,
}

_TRY = {'dry_run': True, 'accept': None}

DRY_RUNS = {
    'clone': lambda context: context.repmgr.standby_clone(
        context.clone_conninfo, upstream_node_id=_cloned_for(context), extra=context.clone_options, **_TRY),
    'register_primary': lambda context: context.repmgr.primary_register(**_TRY),
    'register_primary_force': lambda context: context.repmgr.primary_register(force=True, **_TRY),
    'register': lambda context: context.repmgr.standby_register(upstream_node_id=context.wanted_upstream_id, **_TRY),
    'register_force': lambda context: context.repmgr.standby_register(
        force=True, upstream_node_id=context.wanted_upstream_id, **_TRY),
    'register_stopped': lambda context: _register_stopped(context, **_TRY),
    'follow': lambda context: context.repmgr.standby_follow(upstream_node_id=context.wanted_upstream_id, **_TRY),
    'rejoin_attach': lambda context: context.repmgr.node_rejoin(context.primary_conninfo, **_TRY),
    'rejoin_rewind': lambda context: context.repmgr.node_rejoin(context.primary_conninfo, rewind=True, **_TRY),
    'register_witness': lambda context: context.repmgr.witness_register(context.primary_conninfo, force=context.has_rows, **_TRY),
    'register_witness_force': lambda context: context.repmgr.witness_register(context.primary_conninfo, force=True, **_TRY),
    'unregister_witness': lambda context: context.repmgr.witness_unregister(**_TRY),
    'unregister_primary': lambda context: context.repmgr.primary_unregister(force=True, **_TRY),
}


def _size_of(directory):
    total = 0
    for folder, dummy, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def _size_of_data(context):
    return '%s in %s%s' % (_progress.human(_size_of(context.place.data_directory)), context.place.data_directory, _kept_text(kept_copies(context)))


def _size_of_source(context):
    try:
        sizes = context.psql.sizes(context.clone_conninfo)
    except PsqlError:
        sizes = None
    return '%s from %s' % (_progress.human(sum(space['bytes'] for space in sizes)), _conninfo.parse(context.clone_conninfo).get('host')) if sizes else ''


# How much an action would move or copy, shown in check mode.
SIZES = {'move_aside': _size_of_data, 'clone': _size_of_source}

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
