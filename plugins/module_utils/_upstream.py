# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make a standby follow its upstream, or change the connection to it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo
from ansible_collections.pgfleet.repmgr.plugins.module_utils._action_context import ApplyError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError


def follow(context):
    return context.repmgr.standby_follow(upstream_node_id=context.wanted_upstream_id).to_dict()


def set_primary_conninfo(context, action):
    """Set TLS settings and address of the upstream in primary_conninfo, and leave the password to the passfile. action: the name of the action, for errors."""
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
    if context.desired.knows_password and _conninfo.has_own_password(before, context.desired.conninfo):
        # Once the password is another one, the standby could not connect any more.
        values.pop('password')
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
