"""A host: its clocks, its power, its files, what systemd runs on it, and the commands that others start there."""
import json

from simulation import repmgrd
from simulation import scheduler
from simulation import servers

CONFIG = '/etc/pgfleet/guard.json'
STATE = '/var/lib/postgresql/.repmgr_guard.json'
# How long repmgr node rejoin, postgres --single, repmgr primary register and standby follow take: least, and a random part.
REWIND, RECOVERY, REGISTER, FOLLOW = (2.0, 4.0), (0.5, 2.0), (0.2, 0.5), (0.3, 1.0)


class Host:
    def __init__(self, world, name, node_id, witness):
        self.world, self.name, self.node_id, self.witness = world, name, node_id, witness
        self.rate, self._clock, self._since, self.wall_offset = 1.0, 1000.0, 0.0, 0.0
        self.off, self.frozen, self.removed = False, False, False
        self.thawed = -1000.0                      # when it last went on after its clock had stood still, too
        self._stands = False                       # its clock, too
        self.files, self.flocks, self.processes = {}, {}, []
        self.asks_systemd = 0.01                   # how long sudo and systemctl is-failed take
        self.promote_seconds = world.random.choice([0.05, 0.1, 0.4, 2])
        self.server = servers.Server(world, self, witness)
        self.systemd = Systemd(world, self)
        self.daemon = repmgrd.Repmgrd(world, self)
        phase = world.random.random() * servers.RECEIVES
        world.at(phase, self._receive)

    def _receive(self):
        if not self.off:
            self.server.receive()
        self.world.at(servers.RECEIVES, self._receive)

    # -- clocks
    def clock(self):
        """Monotonic, as far as the host knows."""
        return self._clock if self._stands else self._clock + (self.world.now - self._since) * self.rate

    def wall(self):
        return self.clock() + self.wall_offset

    def set_clock(self, clock, rate):
        """rate: its seconds in one of the world's."""
        self._clock, self._since, self.rate = clock, self.world.now, rate

    # -- power
    def power_off(self):
        if self.off:
            return
        self.server.settle()
        self.off = True
        self.thaw()
        for process in list(self.processes):
            process.then = process.parent = None
            process.kill()
        self.server.die(failed=False, silently=True)
        self.flocks.clear()
        for path in list(self.files):
            if path.startswith('/run/'):
                del self.files[path]

    def boot(self):
        if self.off and not self.removed:
            self.off = False
            self.systemd.boot()

    def freeze(self, clock_too=False):
        """Everything on it stands still; clock_too: a virtual machine that was paused."""
        if self.off or self.frozen:
            return
        self.server.settle()
        if clock_too:
            self._clock, self._stands = self.clock(), True
        self.frozen = True
        self.server.settle()

    def thaw(self):
        if not self.frozen:
            return
        self.server.settle()
        if self._stands:
            # Otherwise its fuse finds it out at once.
            self._stands, self._since, self.thawed = False, self.world.now, self.world.now
        self.frozen = False
        self.server.settle()
        for process in list(self.processes):
            process.thaw()

    # -- what is on disk
    def write_config(self, config):
        self.files[CONFIG] = json.dumps(config)

    def control_data(self):
        return {'Database system identifier': 'cluster', 'Database cluster state': self.server.control_state,
                "Latest checkpoint's TimeLineID": str(self.server.branch.timeline if self.server.kind == 'primary' else self.server.control_timeline)}

    # -- commands
    def takes(self, span):
        return span[0] + self.world.random.random() * span[1]

    def command(self, words, output):
        """The body of a process; see Process."""
        if 'is-failed' in words:
            return self._is_failed()
        if 'CHECKPOINT' in words:
            return self._checkpoint(words[words.index('-d') + 1])
        if 'systemctl' in words[-3]:
            return self.systemd.start_server()
        if '--single' in words:
            return self._recover()
        if words[0].startswith('python'):
            return self.world.guard.promote(words[4:])
        if 'rejoin' in words:
            return self._rejoin(words[words.index('-d') + 1], '--force-rewind' in words, output)
        if 'follow' in words:
            return self._follow(int(words[-1]))
        if 'register' in words:
            return self._register()
        if 'promote' in words:
            return self._promote()
        raise AssertionError('the simulator does not know the command %r' % (words,))

    def run(self, words, body, then=None):
        process = scheduler.Process(self.world, self, words, body)
        process.then = then
        return process

    def _is_failed(self):
        yield self.asks_systemd
        return 0 if self.systemd.failed else 1

    def _checkpoint(self, name):
        """Of another server's."""
        server = self.world.hosts[name].server
        yield 0.5
        if not self.reaches_server(server.host):
            return 2
        server.control_timeline = server.branch.timeline
        return 0

    def _recover(self):
        yield self.takes(RECOVERY)
        self.server.control_state = 'shut down'
        return 0

    def reaches_server(self, other):
        """Whether a new connection of repmgr's gets an answer."""
        server = other.server
        return server.state == 'up' and not server.stopped and not other.frozen and not (server.full and other is not self) and (
            other is self or self.world.network.reaches(self, other))

    def _rejoin(self, name, rewinds, output):
        server, primary = self.server, self.world.hosts[name].server
        yield self.takes(REWIND)
        problem = ''
        if not self.reaches_server(primary.host) or primary.kind != 'primary':
            problem = 'ERROR: no primary at %s' % name
        elif server.state != 'down':
            problem = 'ERROR: the server runs'
        elif primary.metadata.primary != primary.host.node_id:
            problem = 'ERROR: %s is not registered as primary' % name
        elif not rewinds and not primary.has(server.branch, server.position):
            problem = 'ERROR: this node has diverged'
        if problem:
            output.write(problem.encode())
            return 24
        self.world.ledger.rewound(server, primary)
        server.copy(primary)
        primary.metadata = server.metadata = primary.metadata.with_upstream(self.node_id, primary.host.node_id)
        return (yield from self.systemd.start_server())

    def _follow(self, node_id):
        yield self.takes(FOLLOW)
        return 0 if self.daemon.follow(self.world.by_id(node_id)) else 23

    def _register(self):
        yield self.takes(REGISTER)
        if self.server.state != 'up' or self.server.kind != 'primary':
            return 1
        self.server.metadata = self.server.metadata.with_primary(self.node_id)
        return 0

    def _promote(self):
        """repmgr standby promote"""
        server, world = self.server, self.world
        others = [other for other in world.data_hosts() if other is not self]
        if server.kind == 'primary' or server.state != 'up' or server.stopped or any(
                other.server.kind == 'primary' and self.reaches_server(other) for other in others):
            return 8
        pid = server.pid
        # First it replays what it has.
        yield self.promote_seconds + max(0, server.replayed - world.now)
        if server.pid != pid or server.stopped or server.kind == 'primary':
            return 8
        server.promote()
        if server.pid != pid:
            return 8
        yield 0.2
        if server.pid != pid:
            return 8
        server.metadata = server.metadata.with_primary(self.node_id)
        return 0


class Systemd:
    """The three units of a host: the guard, the server behind its start hook, repmgrd."""

    def __init__(self, world, host):
        self.world, self.host = world, host
        self.failed, self._starting, self.guard_masked, self.repmgrd_masked, self.fuse_masked = False, False, False, False, False
        self.guard = self.repmgrd = self.fuse = None

    def boot(self, server=True):
        self.failed = self._starting = False
        if not self.host.witness:
            self.world.at(0.2, self.start_guard)
            self.world.at(0.2, self.start_fuse)
        self.host.run(['systemctl', 'start', 'server'], self._boot() if server else iter(()))

    def _boot(self):
        yield 0.6
        yield from self.start_server()
        self.start_repmgrd()

    def start_guard(self):
        if self.host.off or self.host.witness or self.guard_masked or (self.guard is not None and not self.guard.done):
            return
        self.guard = self.host.run(['repmgr-guard', 'watch'], self._watch(), then=lambda: self.world.at(1.0, self.start_guard))

    def _watch(self):
        # Python starts.
        yield 0.15
        yield from self.world.guard.watch()

    def start_fuse(self):
        if self.host.off or self.host.witness or self.fuse_masked or (self.fuse is not None and not self.fuse.done):
            return
        self.fuse = self.host.run(['repmgr-guard-fuse'], self._burn(), then=lambda: self.world.at(0.1, self.start_fuse))

    def _burn(self):
        """The fuse, but that it looks when it may have something to do, and not twenty times a second. What it decides is its own."""
        host, fuse, path = self.host, self.world.guard.fuse, self.world.guard.module.SIGHT_FILE
        here = self.world.guard.module.boot()
        stamp = blown = seen = since = None
        while True:
            text, now = host.files.get(path), host.clock()
            stamp = fuse.understood(text, now) if text else None
            watched = not fuse.unwatched(stamp, here)
            primary = None if watched or 'standby.signal' in host.server.files() else host.server.pid
            if primary != seen:
                seen, since = primary, now
            if stamp is None or stamp == blown or stamp['limit'] is None and primary is None:
                yield 0.2
                continue
            if fuse.expired(stamp, here, now, since if primary else None):
                blown = stamp if watched else None
                if host.server.pid:
                    host.files[self.world.guard.module.STOPPED_FILE] = '{"code": "fuse"}'
                    host.server.signal(9, host.server.pid)
                    self.world.said(self.fuse, 'stopped the server')
                yield fuse.EVERY
            else:
                yield 0.2 if not watched else stamp['sight'] + stamp['limit'] - now + fuse.EVERY

    def start_repmgrd(self):
        if self.host.off or self.repmgrd_masked or (self.repmgrd is not None and not self.repmgrd.done):
            return
        self.repmgrd = self.host.run(['repmgrd'], self.host.daemon.run(), then=self._repmgrd_ended)

    def _repmgrd_ended(self):
        # The server looks whether the process that it was told of is there.
        self.host.server.daemon = False
        self.world.at(2.0, self.start_repmgrd)

    def start_server(self):
        """Process: `systemctl start`. Two are one job."""
        server = self.host.server
        if self._starting:
            while self._starting:
                yield 0.1
            return 0 if server.state == 'up' else 1
        if server.state != 'down':
            return 0
        self._starting, self.failed = True, False
        try:
            if not self.host.witness:
                code = yield from self.world.guard.start()
                if code:
                    self.failed = True
                    return 1
            return (yield from server.begin())
        finally:
            self._starting = False
