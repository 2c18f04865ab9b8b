# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who was asked by which running primary, and what an operator has said of a dead one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

from pgfleet_guard.answers import age, is_number, word_of
from pgfleet_guard.clock import clock
from pgfleet_guard.configuration import become_user
from pgfleet_guard.messages import say
from pgfleet_guard.questions import session_name
from pgfleet_guard.settings import DEAD_FILE, LEFT_OVER


class Memory:
    """Who was asked by which running primary, by the clock of this host and beyond the end of a connection.

    A primary counts on a node that has answered until its isolation limit is over. That node's server knows of the question for as long as the
    connection lasts: a reset ends it, and a restart of that server. So who may want to be promoted keeps what it has seen there.

    It is kept in this node's state file: that a primary does not stop holds beyond a boot.

    known: {server name: {'primary': as it calls itself, 'at': when it has asked last, at the latest, 'gone': its connection is, 'word': see Watch.word}}
    """

    def __init__(self, config, state):
        self.own = session_name(config, 'primary')[21:]
        self.known, self._learned = understood(state['asked']), {}

    def learn(self, servers, peers):
        """Of what they have answered since the last time. Whether there is more news than that somebody was asked once more."""
        before = facts(self.known)
        for server in servers:
            if server.answered is None or server.answered == self._learned.get(server.name):
                continue
            self._learned[server.name] = server.answered
            found = learned(self.known.get(server.name), server.answer, peers, clock())
            if found and found['primary'] != self.own:
                self.known[server.name] = found
            else:
                self.known.pop(server.name, None)
        if any(found['word'].get('lease', 0) is None for found in self.known.values()):
            self.known = without_the_dead(self.known, dead_primaries())
        return facts(self.known) != before


def facts(known):
    return dict((name, (found['primary'], found['gone'], found['word'])) for name, found in known.items())


def without_the_dead(known, dead):
    """Where an operator has said of a primary that it does not run, it has stopped, unless it has asked since."""
    return dict((name, dict(found, word=dict((key, found['word'][key]) for key in found['word'] if key != 'lease'))
                 if found['word'].get('lease', 0) is None and found['at'] < dead.get(found['primary'], -1) else found) for name, found in known.items())


def dead_primaries():
    try:
        with open(DEAD_FILE) as handle:
            found = json.load(handle)
        # What has yet to come is of another boot.
        return dict((name, found[name]) for name in found if is_number(found[name]) and found[name] <= clock())
    except (IOError, OSError, ValueError, TypeError):
        return {}


def primary_is_dead(config, name):
    become_user(config)
    peers = [peer for peer in config['peers'] if not peer['witness']]
    named = [peer for peer in peers if peer['name'] == name]
    if not named:
        say('there is no node %s; expected one of %s' % (name, ', '.join(sorted(peer['name'] for peer in peers)) or 'none'))
        return 1
    with open(DEAD_FILE + '.new', 'w') as handle:
        json.dump(dict(dead_primaries(), **{session_name(named[0], 'primary')[21:]: clock()}), handle)
    os.rename(DEAD_FILE + '.new', DEAD_FILE)
    say('primary %s is not waited for any more' % name)
    return 0


def understood(known):
    """The valid entries of a state file. A time in the future is from another boot."""
    try:
        return dict((name, {'primary': known[name]['primary'], 'at': min(float(known[name]['at']), clock()), 'gone': bool(known[name]['gone']),
                            'word': word_of(json.dumps(known[name]['word']))}) for name in known)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def learned(before, answer, peers, now):
    """The entry of a server in Memory after one more answer."""
    if answer.get('asked'):
        name, seconds, word = (list(answer['asked']) + [None])[:3]
        # A server with track_activities off knows that it is asked, and not when.
        found = {'primary': name, 'at': now - age(seconds or 0), 'gone': False, 'word': word_of(word)}
        same = before is not None and before['primary'] == name
        # If it is older, the newest connection is gone, and this one was left behind in a long cut: a server notices only after two hours that its client has
        # given it up. What was said through it does not hold any more.
        left_over = same and found['at'] <= before['at'] - LEFT_OVER
        if same and not left_over:
            found['at'] = max(found['at'], before['at'])
            # Between two questions the text is that of another statement.
            found['word'] = found['word'] or before['word']
        if not left_over:
            return found
    if before is None or before['primary'] in [session_name(vars(peer), 'primary')[21:] for peer in peers
                                               if session_name(vars(peer), 'watch')[19:] in (answer.get('watchers') or [])]:
        # Its guard asks on, and says that there is no primary any more.
        return None
    # It may have been asked until just now.
    return before if before['gone'] else dict(before, at=now, gone=True)
