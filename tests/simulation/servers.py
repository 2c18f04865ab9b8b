"""PostgreSQL: what it is, what it has received, who is connected to it, and what it answers to the guards' questions.

A position is a branch (one promotion, and what was written since), and bytes. `history` are the branches that this one has come from, each with its end.
"""
from collections import namedtuple

# Bytes a second that clients write; only their order counts.
WRITES = 1000.0
# Bytes a second that a standby replays of what it had when it was started.
REPLAYS = 2000.0
# How often a standby's receiver is looked at.
RECEIVES = 0.5

Branch = namedtuple('Branch', 'number timeline')


class Metadata:
    """One state of repmgr.nodes; never changed, but replaced."""

    def __init__(self, primary, upstreams, witnesses):
        self.primary, self.upstreams, self.witnesses = primary, upstreams, witnesses
        ids = sorted(upstreams)
        strays = [number for number in ids if number in witnesses and upstreams[number] != primary]
        self.answer = {
            'primary_id': primary, 'registered': [number for number in ids if number not in witnesses], 'strays': strays or None,
            'priorities': dict((str(number), 0 if number in witnesses else 100) for number in ids),
            'upstreams': dict((str(number), upstreams[number]) for number in ids)}

    def with_upstream(self, node_id, upstream):
        return Metadata(self.primary, self.upstreams | {node_id: upstream}, self.witnesses)

    def with_primary(self, node_id):
        return Metadata(node_id, self.upstreams | {node_id: None}, self.witnesses)

    def without(self, node_id):
        return Metadata(self.primary, dict((key, value) for key, value in self.upstreams.items() if key != node_id), self.witnesses)


class Server:
    """One data directory, and the server on it when there is one."""

    def __init__(self, world, host, witness):
        self.world, self.host, self.witness = world, host, witness
        self.state, self.pid, self.stopped = 'down', None, False      # down, starting, up; stopped: SIGSTOP
        self.kind, self.branch, self.history = 'standby', Branch(0, 1), ()
        self.newest_history = 0          # the newest history file in pg_wal
        self.control_timeline = 1        # of the last checkpoint or restartpoint
        self.control_state = 'in production'
        self.position_then, self.writing_since = 0.0, None
        self.recovery = 0.5              # how long the next start takes
        self.dies_promoting = False      # killed when its signal file is removed, and it has no timeline of its own yet
        self.orphan = None               # the timeline that it had begun then: there is its history here, and nothing on it
        self.left_over = False           # there is a recovery.signal beside the standby.signal, which a promotion leaves
        self.restores = None             # it has recovery.signal: how long it recovers from the archive, before it promotes itself
        self.backlog = 0                 # bytes that it has, and has yet to replay when it starts
        self.replayed = 0.0              # when it has replayed them
        self.full = False                # no connection is free but for superusers
        self.locked = False              # somebody holds a lock on repmgr.nodes
        self.sessions, self.lock = [], None
        self.started = 0.0               # by the wall clock
        self.upstream = None             # a host
        self.receiving, self.last_message, self.connect_after = False, None, 0.0
        self.voted = None                # the slot that keeps its vote
        self.flushed = {}                # of standbys that stream from here: {host name: position}
        self.metadata = None
        # repmgr's shared memory
        self.last_seen = self.watches = self.notified = None
        self.daemon, self.paused = False, False

    # -- what it is
    def files(self):
        """The files of its data directory, including its configuration, that determine what it starts as."""
        found = {'PG_VERSION': '15\n'}
        if self.kind == 'standby':
            found['standby.signal' if self.restores is None else 'recovery.signal'] = ''
        if self.left_over:
            found['recovery.signal'] = ''
        if self.state == 'up':
            found['postmaster.pid'] = '%d\n/data\n%d\n' % (self.pid, self.started)
        return found

    def removed(self, name):
        self.left_over = self.left_over and name != 'recovery.signal'

    def written(self, name):
        """A file of those, by the guard."""
        if name == 'standby.signal' and self.state == 'down':
            self.kind, self.control_state = 'standby', 'in archive recovery'

    def forget_promotion(self):
        if self.orphan is not None and self.newest_history == self.orphan[1]:
            self.newest_history = self.orphan[0]
        self.orphan = None

    def restore(self, seconds):
        """Somebody has stopped it, and put a backup in its place: of an earlier time, and of the first timeline."""
        self.kind, self.upstream, self.restores, self.control_timeline, self.newest_history = 'standby', None, seconds, 1, 0
        self.position_then, self.control_state, self.orphan = self.position_then / 2, 'in production', None

    def is_writable(self):
        return self.state == 'up' and self.kind == 'primary' and not self.stopped and not self.witness and not self.host.frozen

    def settle(self):
        """Called before and after whatever decides about writes."""
        now = self.world.now
        if self.writing_since is not None:
            self.position_then += (now - self.writing_since) * WRITES
        self.writing_since = now if self.is_writable() else None
        self.world.writable_changed(self)

    @property
    def position(self):
        return self.position_then + ((self.world.now - self.writing_since) * WRITES if self.writing_since is not None else 0)

    def has(self, branch, position):
        """Whether it has all of that branch up to there."""
        if branch == self.branch:
            return self.position >= position - 0.01
        return any(old == branch and end >= position - 0.01 for old, end in self.history)

    def can_follow(self, above):
        """What it has is a part of what the other has."""
        return above.has(self.branch, self.position)

    # -- its process
    def begin(self):
        """Process: until it takes connections. The exit code."""
        if self.state != 'down':
            return 0
        if self.left_over and self.kind == 'primary':
            # It has no restore_command.
            return 1
        self.world.ledger.starts(self)
        self.pid, self.state, self.stopped = self.world.next_pid(), 'starting', False
        pid = self.pid
        yield 0.1 + self.recovery
        if self.pid != pid or self.host.off:
            return 1
        self._is_up()
        return 0

    def _is_up(self):
        if self.kind == 'primary' and self.control_state == 'in archive recovery':
            # It goes on where it was a standby, with what nobody else has there.
            self.history += ((self.branch, self.position),)
            self.branch = Branch(self.world.next_branch(), self.branch.timeline)
        self.state, self.started, self.control_state = 'up', self.host.wall(), 'in production'
        self.sessions, self.lock, self.flushed = [], None, {}
        self.last_seen = self.watches = self.notified = None
        self.replayed = self.world.now + self.backlog / REPLAYS
        self.receiving, self.connect_after = False, self.replayed
        self.host.daemon.server_started()
        self.settle()
        self.world.note('%s: server up as %s, timeline %d' % (self.host.name, self.kind, self.branch.timeline))
        if self.restores is not None:
            self.world.at(self.restores, self._restored, self.pid)

    def _restored(self, pid):
        """As far as the archive goes. One that is stopped (SIGSTOP) or frozen goes on with it later."""
        if self.pid == pid and self.state == 'up' and self.restores is not None:
            if self.stopped or self.host.frozen:
                self.world.at(0.5, self._restored, pid)
            else:
                self.promote()

    def crash(self):
        """One of its processes has died: it recovers, and stays the same process to others."""
        pid = self.pid
        if self.state == 'up':
            self.die(failed=False)
            self.pid, self.state = pid, 'starting'
            self.world.at(0.1 + self.recovery, self._recovered, pid)

    def _recovered(self, pid):
        if self.pid == pid and self.state == 'starting' and not self.host.off:
            self._is_up()

    def die(self, failed=True, clean=False, silently=False):
        """failed: as systemd sees it. silently: its host is gone with it, and nobody is told."""
        if self.state == 'down':
            return
        self.state, self.pid, self.stopped, self.receiving, self.paused, self.daemon = 'down', None, False, False, False, False
        self.control_state = 'shut down' if clean else 'in production'
        self.settle()
        self.host.systemd.failed = failed
        sessions, self.sessions, self.lock, self.flushed = self.sessions, [], None, {}
        for session in sessions:
            session.alive = False
            if not silently and session.client is not None and self.world.network.passes(self.host, session.origin):
                self.world.at(0.003, session.lost)

    def signal(self, number, pid):
        """SIGQUIT waits for a process that is stopped; SIGKILL does not."""
        if pid != self.pid:
            raise ProcessLookupError()
        if number == 3 and not self.stopped:
            # Mostly at once; a slow disk, or many backends, can take longer than the guard waits before SIGKILL.
            self.world.at(self.world.random.choice([0.02, 0.03, 0.05, 0.6]) * (0.5 + self.world.random.random()), self._die_as, pid,
                          not self.world.clean_ends)
        elif number == 9:
            self.world.at(0.001, self._die_as, pid)

    def _die_as(self, pid, failed=True):
        if self.pid == pid:
            self.die(failed)

    def stop_process(self, stopped):
        """SIGSTOP, SIGCONT."""
        if self.state == 'down':
            return
        self.stopped = stopped
        self.settle()

    # -- replication
    def promote(self):
        self.world.endpoints.promoted(self.host)
        self.settle()
        if self.dies_promoting:
            self.world.note('%s: is killed while it is promoted' % self.host.name)
            self.dies_promoting = False
            self.die()
            self.orphan = (self.newest_history, max(self.branch.timeline, self.newest_history) + 1)
            self.kind, self.control_state, self.newest_history = 'primary', 'in archive recovery', self.orphan[1]
            return
        end, self.orphan = self.position, None
        timeline = max(self.branch.timeline, self.newest_history) + 1
        self.history += ((self.branch, end),)
        self.branch = Branch(self.world.next_branch(), timeline)
        self.kind, self.receiving, self.upstream, self.newest_history, self.restores = 'primary', False, None, timeline, None
        self.settle()
        self.world.note('%s: PROMOTED, timeline %d' % (self.host.name, timeline))
        self.world.at(3 + self.world.random.random() * 20, self._checkpoint, self.branch)

    def _checkpoint(self, branch):
        if self.state == 'up' and self.branch == branch:
            self.control_timeline = branch.timeline

    def copy(self, primary):
        """pg_rewind: what the other has, on its branch."""
        self.kind, self.upstream, self.restores, self.orphan = 'standby', primary.host, None, None
        self.branch, self.history, self.position_then = primary.branch, primary.history, primary.position
        self.control_timeline, self.newest_history = primary.control_timeline, primary.newest_history
        self.metadata, self.control_state = primary.metadata, 'in archive recovery'

    def receive(self):
        """The walreceiver, which connects, streams, or gives up."""
        world, host = self.world, self.host
        if self.kind != 'standby' or self.state != 'up' or self.stopped or host.frozen or self.upstream is None or self.witness:
            return
        if self.orphan is not None:
            # It looks for a timeline that nobody has.
            return
        above, now = self.upstream.server, world.now
        answers = above.state == 'up' and not above.stopped and not above.host.frozen
        if not self.receiving:
            if now < self.connect_after or not answers or not world.network.reaches(host, above.host):
                return
            if not self.can_follow(above):
                # It asks for the history first, and keeps it.
                self.newest_history = max(self.newest_history, above.branch.timeline)
                return
            self.receiving = True
        elif above.state != 'up' and world.network.passes(above.host, host) or answers and not self.can_follow(above):
            self._stop_receiving(above)
            return
        if answers and world.network.asks(host, above.host) and world.network.passes(above.host, host):
            # A standby above that has nothing new says so.
            self.last_message = now
            if above.branch != self.branch:
                self.newest_history = above.branch.timeline
            self.branch, self.history, self.position_then, self.metadata = above.branch, above.history, above.position, above.metadata
            above.confirm(self)
        elif now - self.last_message > world.timing['receiver_timeout']:
            self._stop_receiving(above)

    def _stop_receiving(self, above):
        self.receiving = False
        above.flushed.pop(self.host.name, None)
        self.connect_after = self.world.now + 0.5 + self.world.random.random() * 4.5

    def confirm(self, standby):
        """What a standby has written is acknowledged to clients."""
        self.flushed[standby.host.name] = standby.position_then
        if self.is_writable():
            self.world.ledger.acknowledge(self)

    # -- sessions
    def end_session(self, session):
        session.alive = False
        if session in self.sessions:
            self.sessions.remove(session)
        if self.lock is session:
            self.lock = None

    def has_been_notified(self, node_id):
        self.notified = node_id

    def try_lock(self, session):
        holder = self.lock
        if holder is None or not holder.alive:
            self.lock = session
        return self.lock is session, self.lock.name

    def answer(self, session):
        """To QUESTION, by statement."""
        wall = self.host.wall()
        asked = None
        for other in self.sessions:
            if other.active is not None and other.role == self.world.login and other.name.startswith('repmgr-guard primary ') and not any(
                    later.name == 'repmgr-guard watch ' + other.name[21:] and later.role == other.role and later.active is not None
                    and later.active > other.active for later in self.sessions):
                if asked is None or other.active > asked.active:
                    asked = other
        recovers = self.kind == 'standby' and not self.witness
        timeline = self.branch.timeline
        if recovers and not self.receiving:
            timeline = self.control_timeline
        replaying = recovers and self.world.now < self.replayed
        tags = {'core': {
            'in_recovery': recovers, 'system': 'witness' if self.witness else 'cluster', 'timeline': timeline,
            'checkpoint_timeline': self.control_timeline,
            # What a standby has received before it was started it tells again when it has replayed that; until then, what it has replayed.
            'lsn': int(self.position) - (self.backlog if replaying else 0), 'replaying': replaying, 'receiving': self.receiving,
            'silence': self.world.now - self.last_message if self.receiving else None, 'uptime': wall - self.started,
            'asked': [asked.name[21:], wall - asked.active, asked.word] if asked else None,
            'watchers': [other.name[19:] for other in self.sessions if other.name.startswith('repmgr-guard watch ')] or None}}
        if recovers:
            tags['history'] = {'history': self.newest_history or None, 'reached': self.branch.timeline}
        if not self.locked:
            tags['repmgrd'] = {
                'last_seen': max(0, int(wall - self.last_seen)) if self.last_seen is not None else None, 'upstream': self.watches,
                'notified': self.notified, 'repmgrd': self.daemon, 'paused': self.paused}
            tags['nodes'] = self.metadata.answer
        tags['voted'] = self.voted
        return tags
