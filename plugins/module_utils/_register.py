# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Register a node with repmgr, and unregister it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError


def register_primary(context, force=False):
    return context.repmgr.primary_register(force=force).to_dict()


def register(context, force=False, upstream=None):
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
    """Drop the slot that repmgr also creates on the source of the clone. It is not used there, because the standby streams from its upstream, and it would
    retain WAL.

    Wait until the standby streams: by then the slot that it needs is active, and an active slot is never dropped.
    """
    slot, cloned = context.desired.slot_name, [step for step in context.done if step['action'] == 'clone']
    if not slot or not cloned or context.clone_conninfo == context.upstream_conninfo or not _wait_until_it_streams(context):
        return
    try:
        context.psql.drop_slot(context.clone_conninfo, slot)
    except PsqlError as exc:
        context.warnings.append('Slot %s was left on the source of the clone, where it is not used and retains WAL (%s). Type in psql there: '
                                "SELECT pg_drop_replication_slot('%s')" % (slot, redacted('%s' % exc), slot))


def register_as_is(context):
    # `repmgr standby follow` needs a record, so register the node with the upstream that it has now.
    return register(context, force=True, upstream=context.actual_upstream_id)


def register_stopped(context, **options):
    # `repmgr node rejoin` needs a record as well.
    return context.repmgr.standby_register_stopped(context.primary_conninfo, context.wanted_upstream_id, **options)


def register_witness(context, force=False):
    # A witness that was unregistered still has its copy of the metadata, which repmgr overwrites only with --force.
    return context.repmgr.witness_register(context.primary_conninfo, force=force or context.has_rows).to_dict()


def unregister_standby(context):
    return context.repmgr.standby_unregister().to_dict()


def unregister_witness(context):
    return context.repmgr.witness_unregister().to_dict()


def unregister_primary(context):
    return context.repmgr.primary_unregister(force=True).to_dict()


def drop_slot(context):
    slot = context.desired.slot_name
    if not slot:
        return None
    dropped = context.psql.drop_slot(context.upstream_conninfo, slot)
    if not dropped:
        context.warnings.append(
            'Slot %s was not dropped: it is still in use, or not on the upstream. Stop this server and drop the slot there, '
            'otherwise the upstream retains WAL for it.' % slot)
    return {'slot': slot, 'dropped': dropped}
