# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the actions of a plan share: their input, and the error that ends them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _progress


class ApplyError(Exception):
    """An action failed. `result` has the output of the program, if the action ran one; `steps` what to do, if that is more than the action tells."""

    def __init__(self, action, text, result=None, steps=None):
        super(ApplyError, self).__init__(text)
        self.action = action
        self.text = text
        self.result = result
        self.steps = steps


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


def progress_path(context):
    """The path of the file from which the controller reads the progress of a long action."""
    return os.path.join(os.path.dirname(_data_directory.marker_path(context.place.data_directory, context.place.user)),
                        os.path.basename(_progress.PROGRESS_FILE))


def write_file(path, text):
    """Write a file atomically and durably."""
    temporary = path + '.new'
    with open(temporary, 'w') as handle:
        handle.write(text)
        handle.flush()
        # If the marker were lost in a power failure, a partial directory would be taken for a complete one.
        os.fsync(handle.fileno())
    os.rename(temporary, path)


def control_data(context):
    """The output of pg_controldata as {label: text}."""
    program = os.path.join(context.place.bin_dir, 'pg_controldata')
    return _data_directory.parse_controldata(context.runner.run([program, '-D', context.place.data_directory]).stdout)
