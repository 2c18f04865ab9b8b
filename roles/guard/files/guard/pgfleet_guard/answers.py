# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one answer of a server says. Pure functions."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json


def names(servers):
    return ', '.join(server.name for server in servers) or 'nobody'


def other_primary(peers, system=None):
    """The peer that is primary of the same cluster, on the newest timeline, or None."""
    found = [peer for peer in peers if not peer.witness and peer.answer.get('in_recovery') is False
             and (system is None or peer.answer.get('system') == system)]
    return max(found, key=lambda peer: peer.answer.get('timeline') or 0) if found else None


def age(seconds):
    """The absolute age: servers use their wall clock, and if that was set back, an age may be negative."""
    return None if seconds is None else abs(seconds)


def hears(answer, limit):
    """Whether it is streaming. A connection to a frozen server stays open, so the time of the last message decides."""
    return bool(answer.get('receiving')) and age(answer.get('silence') or 0) <= limit


def follows(peer, node_id, limit):
    answer = peer.answer
    return answer.get('upstream') == node_id and bool(
        hears(answer, limit) or (peer.witness and answer.get('last_seen') is not None and answer['last_seen'] <= limit))


def has_partial_record(answer):
    """Whether a standby that does not stream has received more than it can replay: the beginning of a record that its primary did not send completely.

    A primary that is killed during a bulk load nearly always leaves one. The timeline of a new primary begins before it; and repmgr, which compares that
    with the received position, refuses forever to follow that primary (check_node_can_attach in repmgr-client.c). PostgreSQL would follow, because it has
    not replayed the record.

    `replayed` is None if replay waits for something other than WAL: a pause, recovery_min_apply_delay, or a conflicting query. Then the received WAL is
    complete, and may have been acknowledged.
    """
    return not answer.get('receiving') and answer.get('replayed') is not None and answer['replayed'] < (answer.get('lsn') or 0)


def registered_upstream(server):
    return (server.answer.get('upstreams') or {}).get(str(server.node_id))


def upstream_of(server):
    """The node id that its repmgrd watches. After a restart of the server this is not known at first; then the registered upstream."""
    return registered_upstream(server) if server.answer.get('upstream') is None else server.answer['upstream']


def unheard(answer):
    """Seconds since its last contact with its upstream. Without any contact since its start, contact until the start is assumed; None if unknown."""
    ages = [age(answer.get('last_seen')), age(answer.get('silence') or 0) if answer.get('receiving') else None]
    known = [seconds for seconds in ages if seconds is not None]
    return min(known) if known else age(answer.get('uptime'))


def streams_past(peers, system, timeline):
    """The standbys that stream on a newer timeline than this primary's, that is, from a node that was promoted."""
    return [peer for peer in peers if not peer.witness and peer.answer.get('in_recovery') and peer.answer.get('receiving')
            and peer.answer.get('system') == system and (peer.answer.get('timeline') or 0) > timeline]


def is_blind(peer, node_id, limit):
    """Whether a peer answers, but has lost contact with the primary on this node: it may want an election, which the queries of this node would prevent.

    A repmgrd that keeps restarting because it cannot reach its upstream still names that upstream.
    """
    answer = peer.answer
    return bool(answer.get('repmgrd') and not answer.get('paused') and node_id in (upstream_of(peer), registered_upstream(peer))
                and (unheard(answer) or 0) > limit)


def untracked(servers):
    """Why the age of a primary's (%s) queries cannot be determined, or ''."""
    found = [server for server in servers if server.answer.get('tracks') is False]
    return 'primary %%s has a session on %s, where track_activities is off: nobody knows when it has asked, nor what it has told, so it counts as asked just ' \
        'now for as long as the session lasts. Set track_activities to on there, and reload' % names(found) if found else ''


def newest(server):
    """The newest timeline that a server knows, even if only from a history file; 0 if it has not reported one."""
    return max(server.answer.get('newest') or 0, server.answer.get('timeline') or 0)


def reached(server):
    return server.answer.get('timeline') or 0, server.answer.get('lsn') or 0


def answered(server):
    return server.answered is not None


def heard(server):
    """Whether it has answered; a witness must also report its upstream, which is all that it knows about a promotion."""
    return answered(server) and (not server.witness or 'upstream' in server.answer)


def word_of(text):
    """The promise of Watch.word as far as it is understood; that of a guard of another version may not be."""
    try:
        found = json.loads(text or '{}')
    except ValueError:
        return {}
    expected = {'lease': lambda value: value is None or is_number(value), 'timeline': lambda value: value is None or is_number(value),
                'votes': lambda value: isinstance(value, list) and all(is_number(number) for number in value)}
    return dict((key, found[key]) for key in expected if key in found and expected[key](found[key])) if isinstance(found, dict) else {}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def has_checkpoint(primary):
    """Before PostgreSQL 16 pg_rewind believes the primary's control data, which know of a promotion after the next checkpoint only."""
    return primary.answer.get('checkpoint_timeline') == primary.answer.get('timeline')
