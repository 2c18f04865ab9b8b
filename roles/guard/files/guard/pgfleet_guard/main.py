# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""repmgr-guard: no second primary.

repmgr elects a new primary, but nothing keeps the old one from accepting writes. This program does, on every data node:

  repmgr-guard start                 before the server starts (systemd): may it start in the role that its data directory defines?
  repmgr-guard promote [-- COMMAND]  before a promotion (failover_validation_command, promote_command): is it safe?
  repmgr-guard promote-by-hand -- COMMAND
                                     before a promotion that an operator has decided: is there still no primary, and is no other node about to become one?
  repmgr-guard primary-is-dead NAME  an operator confirms that a primary whose repmgrd was paused does not run: it is not waited for any more
  repmgr-guard watch                 permanently (systemd): stops a primary that the others may replace, restarts a crashed one, turns a replaced one into
                                     a standby, and holds an election if that of repmgr has failed
  repmgr-guard status                what each of them would answer now

Why this is sufficient. Every data node has a vote; a witness has one if the data nodes are an even number. A promotion needs a majority of the votes
and a lock on each of these nodes, none of which may have seen the primary, or have been queried by the primary's guard, for a while (the lease). A
primary that cannot reach enough votes to rule out such a majority stops before the lease ends, without waiting for any other node. It has queried all
nodes that it reaches, so it and a promotion exclude each other, whatever repmgrd knows. A start has the same conditions, and takes the same lock for its
first seconds, so a start and a promotion at the same time exclude each other.

Standard library only, Python 2.7 and 3. Everything it knows is in one file: /etc/pgfleet/guard.json (units: seconds).
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno

from pgfleet_guard.configuration import read_config
from pgfleet_guard.messages import say
from pgfleet_guard.settings import CONFIG


def main(argv):
    verbs = ('start', 'watch', 'status')
    verb = argv[1] if len(argv) > 1 else ''
    command = argv[3:] if len(argv) > 3 and argv[2] == '--' else []
    promotes, dead = verb in ('promote', 'promote-by-hand'), verb == 'primary-is-dead' and len(argv) == 3
    if (verb not in verbs and not promotes and not dead) or (len(argv) > 2 and not (promotes and command) and not dead) or (
            verb == 'promote-by-hand' and not command):
        print(__doc__)
        return 0 if verb in ('-h', '--help', 'help') else 2
    try:
        config = read_config()
    except (IOError, OSError, ValueError) as exc:
        # Not deployed yet, or taken away: nothing to be kept apart.
        say('%s cannot be read: %s' % (CONFIG, exc))
        return 0 if verb == 'start' and getattr(exc, 'errno', None) == errno.ENOENT else 1
    # Each reads only the files that it needs: a server waits for its start, and clients for a promotion.
    if dead:
        from pgfleet_guard.memory import primary_is_dead
        return primary_is_dead(config, argv[2])
    if promotes:
        from pgfleet_guard.promote import promote
        return promote(config, command, by_hand=verb == 'promote-by-hand')
    if verb == 'start':
        from pgfleet_guard.start import start
        return start(config)
    if verb == 'status':
        from pgfleet_guard.status import status
        return status(config)
    from pgfleet_guard.watch import watch
    return watch(config)
