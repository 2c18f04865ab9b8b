# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a former primary can be rewound as it is."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from pgfleet_guard.data_directory import major_version


def can_be_rewound(control, version):
    """Whether pg_rewind takes the data as they are, and gets the timeline of the server right: it has to be shut down, by itself or by a recovery for a single
    user. Whether it may at all (wal_log_hints or checksums), and has the WAL since the two have diverged, it looks at itself, before it changes anything.

    Before PostgreSQL 16 it takes the timeline of a standby from the last restartpoint. If a promotion came after that, it looks for WAL on a timeline that
    had already ended. The same as in plugins/module_utils/_rewind.py.
    """
    state = control.get('Database cluster state')
    if state == 'shut down in recovery':
        checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
        return version >= 16 or not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    return state == 'shut down'


def recovery_of(config, control):
    """The command that recovers a crashed server, so that it can be rewound; None for one that can be as it is."""
    if can_be_rewound(control, major_version(config['data_directory'])):
        return None
    # Where the configuration is not in the data directory, pg_rewind does not find it for the recovery of a crashed server.
    elsewhere = os.path.join(config['config_directory'], 'postgresql.conf')
    options = [] if os.path.exists(os.path.join(config['data_directory'], 'postgresql.conf')) else ['-c', 'config_file=' + elsewhere]
    return [os.path.join(config['bin_dir'], 'postgres'), '--single', '-F', '-D', config['data_directory']] + options + ['template1']
