# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start and stop the server of a node."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _postmaster, _repmgr, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._action_context import ApplyError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError

# Seconds that a server is given to end after its stop command, which usually returns when it has ended.
STOP_TIMEOUT = 60


def _run_service_command(context, verb):
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


def start(context):
    """Start the server and wait until it answers."""
    put_signals_back(context.place.data_directory)
    result = _run_service_command(context, 'start')
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


def stop(context):
    """Stop the server and wait until it has ended. systemctl does nothing and succeeds if the server was not started by its service."""
    result = _run_service_command(context, 'stop')
    deadline = time.time() + STOP_TIMEOUT
    while _postmaster.server_of(context.place.data_directory) is not None and time.time() < deadline:
        time.sleep(0.5)
    refuse_a_server(context, 'stop', '%d s after `%s` reported success' % (STOP_TIMEOUT, context.config.get('service_stop_command') or 'pg_ctl stop'))
    return result.to_dict()


def refuse_a_server(context, action, when):
    """Refuse to go on with an action that needs a stopped server. when: the words that say when it was seen."""
    place = context.place
    pid = _postmaster.server_of(place.data_directory)
    if pid is not None:
        stop_command = [os.path.join(place.bin_dir, 'pg_ctl'), '-D', place.data_directory, '-m', 'fast', 'stop']
        raise ApplyError(
            action, 'a server (process %d) runs on %s %s; expected it to be stopped. It may have been started by pg_ctl or pg_ctlcluster and not by its '
            'service' % (pid, place.data_directory, when), steps=[
                _steps.shell('runuser -u %s -- %s' % (place.user, ' '.join(_steps.quoted(word) for word in stop_command)),
                             host=context.desired.node_name, reason='Stop it'), _steps.text('Then run again.')])


def signal_files(data):
    """The paths of the signal files in a data directory."""
    return [path for path in (os.path.join(data, name) for name in _data_directory.SIGNALS) if os.path.exists(path)]


def put_signals_back(data):
    """Put back the signal files that a killed run left aside, so that a standby stays one. The same as in the guard (signal_files.py)."""
    left = [path for path in (os.path.join(data, name) for name in _data_directory.SIGNALS) if os.path.exists(path + _data_directory.ASIDE)]
    stays_one = _data_directory.is_standby(data)
    for path in left:
        if stays_one:
            os.unlink(path + _data_directory.ASIDE)
        else:
            os.rename(path + _data_directory.ASIDE, path)


class SignalsAside:
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
            # A start of the server in the meantime has put the file back.
            if os.path.exists(aside):
                os.rename(aside, path)
