# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths, limits and margins. Units: seconds."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

CONFIG = '/etc/pgfleet/guard.json'
# How long a start keeps promotions away when nobody is left to tell that it went well.
START_LEASE = 15
# A server that works, and takes no connections (it recovers, or has no slot free), says so within this time.
REFUSAL = 0.5
# How long a server that has just started is given to be seen again; well within that lease.
BLIND = 10
# What `repmgr standby follow` may take: it waits for less.
FOLLOW_LIMIT = 120
# How long a node that lacks WAL for another one leaves an election to a node that keeps it.
DEFERENCE = 30
# After 100 s a lock is free whose holder has lost power: idle, a session would be kept for two hours. Not sooner: in a cut a candidate may be on its way, and
# what a running primary has asked is not missed before the others have elected.
KEEPALIVES = '-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=4 '
# How long repmgrd is given to let its standby follow a new primary.
LEFT_BEHIND = 30
# A server that needs to be started again sooner than this is left to a failover.
PATIENCE = 60
# How long after its promotion a server is given to be registered as primary by whoever has promoted it.
SETTLED = 10
# How long a primary, of which somebody knows another one, gives all others to answer once more.
SECOND_LOOK = 1
# A connection whose last question is by so much older than the newest one is another connection; less is a matter of how fast an answer came.
LEFT_OVER = 5
# What a promotion waits beyond the time after which an isolated primary has begun to stop.
STOP_MARGIN = 3
# What the fuse (fuse.py) waits beyond that time: the guard has had its second to stop the server by then, one that was killed has had the time to
# start again and to see its peers (docs/guard.md, "The fuse"), and the last second before a promotion is left for the fuse's own work.
FUSE = 2
# How long a guard that starts gives its peers to answer, however long nobody has looked.
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
# What the fuse, and a guard that starts, go by; see Watch.stamp.
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
