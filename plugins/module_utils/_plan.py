# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: what to do with a node. One table of rules: the first rule that matches decides, and no match means refuse.

To read the table: `situate` condenses the desired and the observed state to the words of `Situation`, and a rule names the words that it requires.
Refusals that protect data come first in each section, so that the rules with actions below them need no exceptions.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Plan, Rule, Situation

_ALL = ('primary', 'standby', 'witness')
_CLONE = ('clone', 'start', 'register')
# check_space comes before everything else: a standby that lags is better than none.
_FIRST_COPY = ('check_space',) + _CLONE
_NEW_COPY = ('check_space', 'move_aside') + _CLONE
_REJOIN_ATTACH = ('register_if_absent', 'rejoin_attach', 'register_if_differs')
_REJOIN_REWIND = ('register_if_absent', 'rejoin_rewind', 'register_if_differs')
_ACTIVE = ('running',)
_CHANGE_ROLE = _steps.playbook('switchover', repmgr_target='{node_name}', reason='To change roles, type')
# Without usable data there is no identity, recovery state or upstream.
_NO_DATA = {'identity': ('none',), 'recovery': ('none',), 'upstream': ('none',)}


def _rule(number, role, why, actions=(), refuse=None, **when):
    """refuse: (what was expected, the next steps in the form of `_steps`); make_plan fills in {node_name} and the like."""
    return Rule(id=number, role=role if isinstance(role, tuple) else (role,), when=when, actions=tuple(actions), why=why, refuse=refuse)


RULES = (
    # 1xx: never act on an unknown state
    _rule(100, _ALL, 'cannot determine the state of the data directory', data=('unknown',),
          refuse=('a data directory that can be read and that nobody is writing to',
                  'Look at {data_directory} and run again.')),
    _rule(101, _ALL, 'cannot determine the state of the server', server=('unknown',),
          refuse=('a server that is either running or stopped', 'Look at the server\'s log and run again.')),
    _rule(102, _ALL, 'the server is starting or stopping', server=('starting',),
          refuse=('a server that is either running or stopped', 'Wait until it has settled and run again.')),
    _rule(103, _ALL, 'the server runs but does not answer', server=('silent',),
          refuse=('a server that answers over {conninfo}',
                  'As the postgres OS user, try: psql -d "{conninfo}" -c "select 1"')),
    _rule(104, _ALL, 'the data directory contains files that are not a PostgreSQL cluster', data=('unrecognised',), state=('present',),
          refuse=('an empty data directory or one of this cluster', 'Look at {data_directory}; move it away if nobody needs it.')),
    _rule(105, _ALL, 'cannot determine whether the running server is in recovery', server=_ACTIVE, recovery=('unknown', 'none'),
          refuse=('an answer from pg_is_in_recovery()', 'Look at the server\'s log and run again.')),
    _rule(106, _ALL, 'a server runs, but not with this data directory', data=('absent', 'partial', 'unrecognised'), server=_ACTIVE,
          refuse=('one server that uses this data directory', 'Compare data_directory in {config_file} with the running server.')),
    _rule(107, _ALL, 'the server recovers from an archive, and promotes itself when that is done', server=_ACTIVE, recovery=('restores',),
          refuse=('a standby, or a primary that is not in recovery',
                  _steps.RESTORING)),

    # 2xx: removal of a node
    _rule(200, _ALL, 'the metadata cannot be read, so nothing can be removed from it', state=('absent',), record=('unknown',),
          refuse=('a primary that answers', 'Give primary_conninfo of the live primary, or start it, and run again.')),
    _rule(201, _ALL, 'the node is not registered', state=('absent',), record=('absent',)),
    _rule(202, _ALL, 'its id or name is registered for another node', state=('absent',), record=('foreign',),
          refuse=('a record of this node', 'Compare node_id and node_name in {config_file} with `repmgr cluster show`.')),
    _rule(203, _ALL, 'a stopped server cannot unregister itself', state=('absent',), server=('stopped',),
          refuse=('a running server', 'Start it, or on another node type: repmgr {role} unregister --node-id={node_id}')),
    _rule(204, 'standby', 'the node leaves the cluster', ('unregister_standby', 'drop_slot'), state=('absent',), recovery=('yes',)),
    _rule(205, 'standby', 'the node is not a standby any more', state=('absent',), recovery=('no',),
          refuse=('a server in recovery', 'Look at `repmgr cluster show`; a primary can leave after a switchover.')),
    _rule(206, 'witness', 'the witness leaves the cluster', ('unregister_witness',), state=('absent',)),
    _rule(207, 'primary', 'the node is not a primary', state=('absent',), recovery=('yes',),
          refuse=('a primary', 'Set role to standby.')),
    _rule(208, 'primary', 'the cluster is dissolved', ('unregister_primary',), state=('absent',)),

    # 3xx: primary
    _rule(300, 'primary', 'the data directory is empty or a partial clone', data=('absent', 'partial'),
          refuse=('an initialised server', 'Initialise and start the server first.')),
    _rule(301, 'primary', 'the data belong to another cluster', identity=('other',),
          refuse=('system identifier {expected_identifier}', 'Check that the inventory names the right host.')),
    _rule(302, 'primary', 'another primary is running', primary=('live',),
          refuse=('this node to be the only primary', _CHANGE_ROLE)),
    _rule(303, 'primary', 'cannot determine whether another primary is running', primary=('silent', 'unknown', 'recovery'),
          refuse=('the registered primary to be this node, or to answer', 'Look at `repmgr cluster show` on every node.')),
    _rule(304, 'primary', 'the server is stopped, and this module does not decide whether it may start as primary',
          server=('stopped',), refuse=('a running primary', 'Look at `repmgr cluster show` on the other nodes, then start the server.')),
    _rule(305, 'primary', 'the server is in recovery', recovery=('yes',),
          refuse=('a server that is not in recovery', _CHANGE_ROLE)),
    _rule(306, 'primary', 'its id or name is registered for another node', record=('foreign',),
          refuse=('a record of this node', 'Compare node_id and node_name in {config_file} with `repmgr cluster show`.')),
    _rule(307, 'primary', 'the metadata cannot be read', record=('unknown',),
          refuse=('a repmgr database with the extension', 'Create role, database and extension, and run again.')),
    _rule(308, 'primary', 'the node is not registered', ('register_primary',), record=('absent',)),
    _rule(309, 'primary', 'its record differs from its configuration', ('register_primary_force',), record=('differs',)),
    _rule(310, 'primary', 'running, registered, record as configured', record=('same',)),

    # 4xx: witness
    _rule(400, 'witness', 'the witness has no server', data=('absent', 'partial'),
          refuse=('an initialised server', 'Initialise and start a separate server for the witness first.')),
    _rule(401, 'witness', 'the server is stopped', server=('stopped',),
          refuse=('a running server', 'Start the server of the witness first.')),
    _rule(402, 'witness', 'the server is a standby', recovery=('yes',),
          refuse=('a separate server, not in recovery', 'Move the host to the standby group, or give it a separate server.')),
    _rule(403, 'witness', 'it has the data of the cluster', identity=('same',),
          refuse=('a separate server', 'Move the host to the standby group, or give it a separate server.')),
    _rule(404, 'witness', 'the primary does not answer as primary', primary=('silent', 'unknown', 'recovery', 'none', 'self'),
          refuse=('a live primary at primary_conninfo', 'Look at `repmgr cluster show`; give primary_conninfo of the live primary.')),
    _rule(405, 'witness', 'its id or name is registered for another node', record=('foreign',),
          refuse=('a record of this node as witness', 'Compare node_id and node_name in {config_file} with `repmgr cluster show`.')),
    _rule(406, 'witness', 'the metadata cannot be read', record=('unknown',),
          refuse=('a primary with the repmgr extension', 'Register the primary first.')),
    _rule(407, 'witness', 'the witness is not registered', ('register_witness',), record=('absent',)),
    _rule(408, 'witness', 'its record differs from its configuration', ('register_witness_force',), record=('differs',)),
    _rule(409, 'witness', 'its upstream is not the live primary', ('register_witness_force',), upstream=('wrong', 'detached')),
    _rule(410, 'witness', 'cannot determine its upstream node', upstream=('unknown', 'none'),
          refuse=('a witness that reports its upstream', 'Look at `repmgr service status`.')),
    _rule(411, 'witness', 'running, registered, watching the live primary', record=('same',)),

    # 5xx: standby
    _rule(500, 'standby', 'the server is a primary', server=_ACTIVE, recovery=('no',),
          refuse=('a server in recovery',
                  [_steps.playbook('switchover', repmgr_target=None, only_if='another node shall be primary'),
                   _steps.playbook('rejoin', repmgr_target='{node_name}', only_if='another primary has the data to keep')])),
    _rule(501, 'standby', 'the primary does not answer as primary', primary=('silent', 'unknown', 'recovery', 'none', 'self'),
          refuse=('a live primary at primary_conninfo', 'Look at `repmgr cluster show`; give primary_conninfo of the live primary.')),
    _rule(502, 'standby', 'its id or name is registered for another node', record=('foreign',),
          refuse=('a record of this node as standby', 'Compare node_id and node_name in {config_file} with `repmgr cluster show`.')),
    _rule(503, 'standby', 'the metadata cannot be read', record=('unknown',),
          refuse=('a primary with the repmgr extension', 'Register the primary first.')),
    _rule(504, 'standby', 'the data directory is empty', _FIRST_COPY, data=('absent',), server=('stopped',), **_NO_DATA),
    _rule(505, 'standby', 'a clone was not finished, and a partial data directory is never started', _NEW_COPY,
          data=('partial',), server=('stopped',), **_NO_DATA),
    _rule(506, 'standby', 'the data belong to another cluster', data=('valid',), identity=('other',),
          refuse=('system identifier {expected_identifier}',
                  'Check that the inventory names the right host; move {data_directory} away if nobody needs it.')),
    _rule(507, 'standby', 'cannot determine which cluster the data belong to', data=('valid',), identity=('unknown', 'none'),
          refuse=('system identifier {expected_identifier}', 'Look at pg_controldata {data_directory}.')),
    _rule(508, 'standby', 'the server is stopped, would recover from an archive, and promote itself when that is done', data=('valid',), server=('stopped',),
          recovery=('restores',), rejoin=('never', 'attach', 'rewind'),
          refuse=('a standby', ['If its data were restored on purpose, start them beside the cluster.',
                                _steps.playbook('rejoin', repmgr_target='{node_name}', repmgr_rejoin='reclone',
                                                reason='If they are needed no more, move them aside and clone it again by')])),
    _rule(510, 'standby', 'the server is stopped, and cannot determine whether it was a standby', data=('valid',), server=('stopped',),
          recovery=('unknown', 'none'), refuse=('a standby', 'Look at pg_controldata {data_directory}.')),
    _rule(511, 'standby', 'the server is stopped and was a standby', ('start', 'register_if_differs'),
          data=('valid',), server=('stopped',), recovery=('yes',), identity=('same',), rejoin=('never',), upstream=('none',)),
    _rule(512, 'standby', 'the server is stopped and was a primary', data=('valid',), server=('stopped',), recovery=('no',),
          rejoin=('never',), refuse=('a standby, because another primary is running',
                                     _steps.playbook('rejoin', repmgr_target='{node_name}', reason='Bring it back by'))),
    _rule(513, 'standby', 'the server is stopped and may be attached to the live primary', _REJOIN_ATTACH,
          data=('valid',), server=('stopped',), identity=('same',), rejoin=('attach',), upstream=('none',)),
    _rule(514, 'standby', 'the server is stopped and may be rewound to the live primary', _REJOIN_REWIND,
          data=('valid',), server=('stopped',), identity=('same',), rejoin=('rewind',), upstream=('none',)),
    _rule(515, 'standby', 'the server is stopped and may be cloned again', _NEW_COPY,
          data=('valid',), server=('stopped',), identity=('same',), rejoin=('reclone',), upstream=('none',)),
    _rule(520, 'standby', 'it is not attached to its upstream and may be attached', ('stop',) + _REJOIN_ATTACH,
          server=_ACTIVE, upstream=('detached',), rejoin=('attach',)),
    _rule(521, 'standby', 'it is not attached to its upstream and may be rewound', ('stop',) + _REJOIN_REWIND,
          server=_ACTIVE, upstream=('detached',), rejoin=('rewind',)),
    _rule(522, 'standby', 'it is not attached to its upstream and may be cloned again', ('check_space', 'stop', 'move_aside') + _CLONE,
          server=_ACTIVE, upstream=('detached',), rejoin=('reclone',)),
    _rule(530, 'standby', 'the node is not registered and does not stream from the node that it should',
          ('register_as_is', 'follow'), server=_ACTIVE, record=('absent',), upstream=('wrong', 'detached')),
    _rule(531, 'standby', 'the node is not registered', ('register',), server=_ACTIVE, record=('absent',), upstream=('right',)),
    _rule(532, 'standby', 'it follows another node than it should', ('follow', 'register_if_differs'), server=_ACTIVE,
          record=('same', 'differs'), upstream=('wrong',)),
    _rule(533, 'standby', 'it is not attached to its upstream', ('follow', 'register_if_differs'), server=_ACTIVE,
          record=('same', 'differs'), upstream=('detached',)),
    _rule(534, 'standby', 'its record differs from its configuration', ('register_force',), server=_ACTIVE,
          record=('differs',), upstream=('right',)),
    _rule(535, 'standby', 'streaming from its upstream, registered, record as configured', server=_ACTIVE,
          record=('same',), upstream=('right',)),
    _rule(536, 'standby', 'cannot determine its upstream node', server=_ACTIVE, upstream=('unknown', 'none'),
          refuse=('a WAL receiver that reports its sender', 'Grant pg_monitor to the repmgr role, or look at pg_stat_wal_receiver.')),

    _rule(537, 'standby', 'the node is not registered, and streams with other TLS settings than those of its configuration, or a password in primary_conninfo',
          ('set_tls', 'register'), server=_ACTIVE, record=('absent',), upstream=('insecure',)),
    _rule(538, 'standby', 'it streams with other TLS settings than those of its configuration, or a password in primary_conninfo',
          ('set_tls', 'register_if_differs'), server=_ACTIVE, record=('same', 'differs'), upstream=('insecure',)),
    _rule(539, 'standby', 'the node is not registered, and streams from a former address of its upstream', ('set_address', 'register'), server=_ACTIVE,
          record=('absent',), upstream=('moved',)),
    _rule(540, 'standby', 'it streams from a former address of its upstream', ('set_address', 'register_if_differs'), server=_ACTIVE,
          record=('same', 'differs'), upstream=('moved',)),

    # 9xx: every situation has a rule
    _rule(900, _ALL, 'the observations contradict each other',
          refuse=('consistent observations', 'Run again; if this happens again, please report it with the situation in the result.')),
)


# -- from records to the words of the table

def situate(desired, observed, primary=None, upstream_id=None, streaming=False, metadata=None, moved=False):
    """The situation of a node.

    observed: the node's observation of itself. primary: the observation of the server at primary_conninfo, False if it does not answer, None if no
    primary_conninfo was given. upstream_id, streaming: the id of the node that it follows, if known, and whether it streams. metadata: the authoritative
    rows of repmgr.nodes, None if they cannot be read. moved: whether it streams from the right node, but by an address that is not registered.
    """
    server, data = observed.server, observed.data
    return Situation(
        role=desired.role,
        state=desired.state,
        data={'missing': 'absent', 'empty': 'absent'}.get(data.state, data.state),
        server='silent' if server.state == 'running' and not server.sql else server.state,
        recovery=_recovery(observed),
        identity=_identity(desired, observed, primary),
        primary=_primary(desired, observed, primary, metadata),
        record=_record(desired, metadata),
        upstream=_upstream(desired, observed, upstream_id, streaming, metadata, moved),
        rejoin=desired.rejoin,
    )


def _recovery(observed):
    if observed.data.promotes_itself and (observed.server.state != 'running' or observed.server.in_recovery):
        return 'restores'
    if observed.server.state == 'running':
        return _word(observed.server.in_recovery)
    if observed.data.state != 'valid':
        return 'none'
    # A stopped primary, cleanly or not, has no signal file. If the control file contradicts that, the state is unknown.
    if observed.data.standby_signal:
        return 'yes'
    if observed.data.cluster_state in ('in archive recovery', 'shut down in recovery'):
        return 'unknown'
    return 'no'


def _word(value):
    return 'unknown' if value is None else ('yes' if value else 'no')


def _identity(desired, observed, primary):
    if observed.data.state != 'valid' and not observed.server.sql:
        return 'none'
    expected = desired.system_identifier or (primary.system_identifier if primary else None)
    found = observed.system_identifier
    if not expected or not found:
        return 'unknown'
    return 'same' if '%s' % expected == '%s' % found else 'other'


def _primary(desired, observed, primary, metadata):
    if primary is None:
        rows = [row for row in metadata or [] if row.type == 'primary' and row.active and row.node_id != desired.node_id]
        # If another primary is registered, whether it is running has to be checked first.
        return 'unknown' if rows else 'none'
    if primary is False:
        return 'silent'
    if primary.server.in_recovery is None:
        return 'unknown'
    if same_server(observed, primary):
        return 'self'
    return 'recovery' if primary.server.in_recovery else 'live'


def same_server(one, other):
    """Whether two observations are of the same server. All servers of a cluster share the system identifier, but not the start time in microseconds."""
    return (one.server.started_at is not None and one.server.started_at == other.server.started_at
            and one.server.system_identifier == other.server.system_identifier)


def live_primary_id(metadata):
    """The id of the active primary in the metadata, or None if there is none or more than one."""
    rows = [row.node_id for row in metadata or [] if row.type == 'primary' and row.active]
    return rows[0] if len(rows) == 1 else None


def own_record(desired, metadata):
    for row in metadata or []:
        if row.node_id == desired.node_id:
            return row
    return None


def _record(desired, metadata):
    if metadata is None:
        return 'unknown'
    own = own_record(desired, metadata)
    for row in metadata:
        if row.node_name == desired.node_name and row.node_id != desired.node_id:
            return 'foreign'
    if own is None:
        return 'absent'
    if own.node_name != desired.node_name or (own.type == 'witness') != (desired.role == 'witness'):
        return 'foreign'
    return 'differs' if differences(desired, metadata) else 'same'


def wanted_upstream(desired, metadata):
    if desired.role == 'primary':
        return None
    return desired.upstream_node_id if desired.upstream_node_id is not None else live_primary_id(metadata)


def differences(desired, metadata):
    """[(field, recorded, wanted)] that a registration would change."""
    own = own_record(desired, metadata)
    if own is None:
        return []
    found = []
    if own.type != desired.role:
        found.append(('type', own.type, desired.role))
    if not _conninfo.same(own.conninfo, desired.conninfo):
        found.append(('conninfo', own.conninfo, desired.conninfo))
    for name in ('priority', 'location', 'repluser', 'slot_name', 'config_file'):
        recorded, wanted = getattr(own, name), getattr(desired, name)
        if desired.role == 'witness' and name in ('priority', 'slot_name', 'repluser'):
            continue
        if wanted not in (None, '') and recorded != wanted:
            found.append((name, recorded, wanted))
    if own.active is False:
        found.append(('active', False, True))
    upstream = wanted_upstream(desired, metadata)
    if own.upstream_node_id != upstream and (desired.role == 'primary' or upstream is not None):
        found.append(('upstream_node_id', own.upstream_node_id, upstream))
    return found


def _upstream(desired, observed, upstream_id, streaming, metadata, moved):
    if desired.role == 'primary' or observed.server.state != 'running' or not observed.server.sql:
        return 'none'
    wanted = wanted_upstream(desired, metadata)
    if desired.role == 'witness':
        own = own_record(desired, metadata)
        if own is None:
            return 'detached'
        if wanted is None:
            return 'unknown'
        return 'right' if own.upstream_node_id == wanted else 'wrong'
    if wanted is None:
        return 'unknown'
    if not streaming:
        # Regardless of the upstream that is configured: the node may be ahead of it, and then `standby follow` does not help.
        return 'detached'
    if moved:
        # Before PostgreSQL 12 primary_conninfo is not a setting that could be changed.
        return 'moved' if observed.server.settings.get('primary_conninfo') else 'right'
    if upstream_id != wanted:
        # It may also stream from a server that is not registered, or by an unknown address.
        return 'wrong'
    actual = observed.server.settings.get('primary_conninfo')
    own_password = desired.knows_password and _conninfo.has_own_password(actual, desired.conninfo)
    return 'insecure' if own_password or not same_tls(actual, desired.conninfo) else 'right'


def same_tls(actual, wanted):
    """Whether a standby streams with the TLS settings of its configuration, which are the same in the whole cluster."""
    if not actual:
        # Before PostgreSQL 12 primary_conninfo is not a setting that could be queried.
        return True
    one, other = [_conninfo.effective(_conninfo.parse_or_empty(text)) for text in (actual, wanted)]
    return all(one.get(name) == other.get(name) for name in ('sslmode', 'sslrootcert'))


# -- from the table to a plan

def match(situation, rules=RULES):
    """The first rule that matches, or None."""
    for rule in rules:
        if situation.role not in rule.role:
            continue
        if all(getattr(situation, name) in values for name, values in rule.when.items()):
            return rule
    return None


def make_plan(desired, situation, found, rules=RULES):
    """The plan for a situation. found: the result of `differences`."""
    rule = match(situation, rules)
    shown = [{'field': name, 'before': before, 'after': after} for name, before, after in found]
    if rule is None:
        return Plan(
            rule=0, why='no rule covers this situation', refused=True, seen=describe(situation),
            expected='a situation that a rule covers', steps=_steps.listed('Please report this.'), situation=situation, differences=shown)
    if rule.refuse is not None:
        words = {
            'node_name': desired.node_name, 'node_id': desired.node_id, 'role': desired.role, 'conninfo': desired.conninfo,
            'config_file': desired.config_file, 'data_directory': desired.data_directory,
            'expected_identifier': desired.system_identifier or "the primary's",
        }
        return Plan(
            rule=rule.id, why=rule.why, refused=True, seen=rule.why, expected=rule.refuse[0].format(**words),
            steps=_steps.filled(rule.refuse[1], words), situation=situation, differences=shown)
    actions = []
    for action in rule.actions:
        if action == 'register_if_absent':
            # `repmgr node rejoin` needs a record.
            actions += ['register_stopped'] if situation.record == 'absent' else []
        elif action == 'register_if_differs':
            # `follow` and `rejoin` update the upstream by themselves, and a start sets the record to active.
            rest = [name for name, dummy, dummy2 in found if name not in ('upstream_node_id', 'active', 'type')]
            if situation.record == 'absent':
                actions.append('register_force' if 'register_stopped' in actions else 'register')
            elif rest or (situation.record == 'differs' and 'start' in rule.actions):
                actions.append('register_force')
        elif action == 'register' and situation.record != 'absent':
            actions.append('register_force')
        else:
            actions.append(action)
    return Plan(rule=rule.id, why=rule.why, actions=actions, situation=situation, differences=shown)


def describe(situation):
    return ', '.join('%s %s' % (name, getattr(situation, name)) for name, dummy in Situation.FIELDS)
