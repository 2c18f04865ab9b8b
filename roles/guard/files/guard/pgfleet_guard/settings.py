# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths, limits and margins. Units: seconds."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

CONFIG = '/etc/pgfleet/guard.json'
# How long a start blocks promotions if its process dies before it can report success.
START_LEASE = 15
# A running server that refuses connections (it recovers, or has no connection slot left) does so within this time.
REFUSAL = 0.5
# How long the peers have to notice a server that has just started; much shorter than START_LEASE.
BLIND = 10
# The limit for `repmgr standby follow`, longer than its own timeouts.
FOLLOW_LIMIT = 120
# How long a node that lacks WAL for another one leaves an election to a node that keeps it.
DEFERENCE = 30
# After 100 s the lock of a host that has lost power is released; an idle session would otherwise be kept for two hours. It must not be shorter: during a
# partition a candidate may still be alive, and the queries of a running primary must not be forgotten before the others have elected.
KEEPALIVES = '-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=4 '
# How long repmgrd is given to let its standby follow a new primary.
LEFT_BEHIND = 30
# A server that needs to be started again sooner than this is left to a failover.
PATIENCE = 60
# How long the program that promoted a server has to register it as primary.
SETTLED = 10
# How long a primary waits for new answers of all peers after one of them has named another primary.
SECOND_LOOK = 1
# A connection whose last question is by so much older than the newest one is another connection; less is a matter of how fast an answer came.
LEFT_OVER = 5
# What a promotion waits beyond the time after which an isolated primary has begun to stop.
STOP_MARGIN = 3
# The additional time that the fuse (fuse.py) waits: by then the guard has had one second to stop the server, a guard that was killed has had the time to
# start again and to reach its peers (docs/guard.md, "The fuse"), and one second before a promotion is left for the fuse itself.
FUSE = 2
# How long a starting guard waits for its peers, however long no guard was running.
LOOK = 1.5
# How long the watch waits for a program that mostly ends at once: of what the fuse leaves it that is little in every profile.
SOON = 0.25
# How long a repmgrd that runs has to tell its server so. One that is started does it at once.
UNANNOUNCED = 10
# How long it waits for pg_controldata, which reads one block of a disk.
READS = 1
# A checkpoint of a new primary takes as long as what it has to write.
CHECKPOINT_LIMIT = 60
PID_FILE = '/run/postgresql/repmgr-guard.pid'
# As fuse.py writes it.
FUSE_PID_FILE = '/run/postgresql/repmgr-guard-fuse.pid'
# Exists while the server is down because the guard has stopped it; says why, see stop_now.
STOPPED_FILE = '/run/postgresql/repmgr-guard.stopped'
# The names of the slots that this guard keeps for the other members.
SLOTS_FILE = '/run/postgresql/repmgr-guard.slots'
# Read by the fuse, and by a guard that starts; see Watch.stamp.
SIGHT_FILE = '/run/postgresql/repmgr-guard.sight'
# Locked by the promotion that is at work on this host.
PROMOTE_FILE = '/run/postgresql/repmgr-guard.promote'
# {primary: when an operator has said that it does not run}, see primary_is_dead.
DEAD_FILE = '/run/postgresql/repmgr-guard.dead'
# Beside the state file; see is_restoring.
RESTORING = '.restoring'
# Read by units whose main process is the server; see start-hook.conf.j2.
ENVIRONMENT_FILE = '/run/postgresql/repmgr-guard.env'
# What a notification is sent, and served, within; in seconds.
SERVED = 5
