# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn a former primary or a diverged standby into a standby of the primary: repmgr node rejoin, with pg_rewind if necessary."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _postmaster, _progress, _repmgr, _service, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._action_context import ApplyError, control_data, progress_path, write_file
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError

# Just after a promotion the new primary is not yet registered as primary everywhere.
_REJOIN_ATTEMPTS = 5
_REJOIN_PAUSE = 3
_REJOIN_FAIL = 24


def own_timeline(context):
    """The newest timeline in the data directory."""
    return _data_directory.newest_timeline(control_data(context), context.place.data_directory)


def refuse_an_older_timeline(context, actions):
    """Refuse a rewind to a primary on an older timeline, which `repmgr node rejoin --force-rewind` would do, and one to a primary on the timeline on which
    this node has been primary itself, where pg_rewind finds nothing to do and would leave a server with other data than its primary.
    """
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
    control = control_data(context)
    # A server that pg_rewind has written, or that was a standby at its last stop, is `in archive recovery` or `shut down in recovery`.
    was_primary = 'recovery' not in control.get('Database cluster state', '').replace('in crash recovery', '') and not _data_directory.is_standby(
        context.place.data_directory)
    if was_primary and '%s' % theirs == control.get("Latest checkpoint's TimeLineID"):
        raise ApplyError('rejoin_rewind', 'both the primary and %s have been primary on timeline %d, and neither PostgreSQL nor pg_rewind can tell what only '
                         'one of them has; expected a primary on a newer timeline. Find out which of the two has the data to keep; a new copy of the '
                         'primary, beside the old data, is made by: %s' % (context.desired.node_name, theirs, _steps.sentences(_steps.playbook(
                             'rejoin', repmgr_target=context.desired.node_name, repmgr_rejoin='reclone'))))


def _prepare_rewind(context):
    """Do what pg_rewind cannot do by itself if the configuration is outside of the data directory, as on Debian.

    A server that was not shut down cleanly, and a standby that pg_rewind would place on an older timeline, is recovered first. If the server can restore
    WAL from an archive, pg_rewind is told to do so.

    Return the value of `rewind` for `node_rejoin`: the path of a wrapper of pg_rewind that restores WAL, True for the plain pg_rewind, False if no
    rewind is needed.
    """
    data, bin_dir = context.place.data_directory, context.place.bin_dir
    _service.put_signals_back(data)
    signals = _service.signal_files(data)
    standby = _data_directory.is_standby(data)
    if standby:
        if control_data(context).get('Database cluster state') == 'in archive recovery':
            # The standby was killed. After a start and a clean stop its control file says how far it had replayed.
            _service.start(context)
            _service.stop(context)
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
    if not can_be_rewound(control_data(context), version):
        if standby:
            # Check first: recovery in single-user mode writes WAL, and if nothing had to be rewound, the node would stay ahead of the primary for ever.
            _rejoin_until_settled(context, True, dry_run=True)
        # pg_rewind and repmgr do the same, but do not find the configuration.
        with _service.SignalsAside(signals):
            context.runner.run([server, '--single', '-F', '-D', data] + options + ['template1'], stdin='', timeout=context.clone_timeout,
                               env=_postmaster.without_stale_pid(data))
    if version < 13 or (options and version < 14):
        return True
    if not context.runner.run([server, '-D', data] + options + ['-C', 'restore_command'], accept=None).stdout.strip():
        return True
    program = os.path.join(os.path.dirname(_data_directory.marker_path(data, context.place.user)), 'pg_rewind')
    words = [os.path.join(bin_dir, 'pg_rewind'), '--restore-target-wal'] + (['--config-file=' + elsewhere] if options else [])
    write_file(program, '#!/bin/sh\nexec %s "$@"\n' % ' '.join("'%s'" % word.replace("'", "'\\''") for word in words))
    os.chmod(program, 0o700)
    return program


def can_be_rewound(control, version):
    """Whether pg_rewind gets the timeline of the server right.

    Before PostgreSQL 16 it takes the timeline of a standby from the last restartpoint. If a promotion came after that, it looks for WAL on a timeline that
    had already ended.
    """
    state = control.get('Database cluster state')
    if state == 'shut down in recovery':
        checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
        return version >= 16 or not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    return state == 'shut down'


def rejoin(context, rewind):
    """Run `repmgr node rejoin`. rewind: whether the data may be rewound."""
    if rewind:
        directory = os.path.dirname(progress_path(context))
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)
        with _progress.Progress(progress_path(context), 'rewind'):
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
