"""repmgrd: what it sees of its upstream, elections, and following whoever was promoted.

After repmgr 5.3: an election is cancelled where a sibling has just seen the primary, and not held again; where the hook refuses it, it is, every 3 s. Who
has lost it waits a minute for a notification. One that starts while its upstream is gone ends at once, and systemd starts it again.
"""
VISIBLE, RERUN, NOTIFIED, WITNESS_SYNC = 2, 3, 60, 5


class Repmgrd:
    def __init__(self, world, host):
        self.world, self.host = world, host
        self.watches = None          # the node id of its upstream, as the daemon itself knows
        self.known = True            # whether the server's shared memory knows of it; see server_started
        self.settled = None          # since when an election has ended for it without a new primary

    def server_started(self):
        """The shared memory of a server that starts anew knows nothing of a daemon that goes on; at times not until that follows somebody."""
        self.known = self.world.random.random() < 0.5

    def _tell(self):
        server = self.host.server
        if self.known:
            server.daemon, server.watches = True, self.watches

    def _sees(self, other):
        return self.host.reaches_server(other)

    def _primaries(self):
        return [other for other in self.world.data_hosts() if other is not self.host and other.server.kind == 'primary' and self._sees(other)
                and other.server.metadata.primary == other.node_id]

    def run(self):
        world, host, server = self.world, self.host, self.host.server
        interval = world.timing['monitor_interval']
        if server.state != 'up':
            return 1
        if server.kind == 'standby' or server.witness:
            self.watches = server.metadata.upstreams.get(host.node_id)
            above = world.by_id(self.watches)
            if above is None or not self._sees(above):
                return 1
        self.known, self.settled, lost, synced = True, None, None, world.now
        while True:
            self._tell()
            yield interval
            if server.state != 'up' or server.stopped:
                lost = None
                continue
            if server.kind == 'primary' and not server.witness:
                self.watches, lost, self.settled = None, None, None
                continue
            if self.watches is None:
                self.watches = server.metadata.upstreams.get(host.node_id)
            above = world.by_id(self.watches)
            if above is not None and self._sees(above) and (above.server.kind == 'primary' or not server.witness):
                if self.known:
                    server.last_seen = host.wall()
                lost = self.settled = None
                if server.witness and world.now - synced >= WITNESS_SYNC:
                    server.metadata, synced = above.server.metadata, world.now
                continue
            lost = host.clock() if lost is None else lost
            if host.clock() - lost < world.timing['gives_up'] or server.paused:
                continue
            told = world.by_id(server.notified)
            if told is not None:
                server.notified = None
                if self._sees(told) and told.server.kind == 'primary':
                    yield 0.3
                    if self.follow(told):
                        lost = None
                        continue
            primaries = self._primaries()
            if primaries:
                yield 0.3
                # A witness that finds it by itself does not register.
                if self.follow(max(primaries, key=lambda other: other.server.branch.timeline), registers=not server.witness):
                    lost = None
                continue
            if self.settled is not None or server.witness or above is None or above.node_id != server.metadata.primary:
                continue
            yield from self._elect(above)

    def _elect(self, above):
        world, host, server = self.world, self.host, self.host.server
        members = [other for other in world.hosts.values() if other is not host and other is not above and not other.removed
                   and server.metadata.upstreams.get(other.node_id) == above.node_id]
        siblings = [other for other in members if self._sees(other)]
        for other in siblings:
            seen = other.server.last_seen
            if seen is not None and other.server.watches == above.node_id and other.wall() - seen < VISIBLE * world.timing['monitor_interval']:
                self.settled = world.now
                return
        if 1 + len(siblings) <= (1 + len(members)) / 2.0:
            self.settled = world.now
            return
        candidates = [other for other in siblings if not other.witness and other.server.daemon] + [host]
        if max(candidates, key=lambda other: (other.server.position, -other.node_id)) is not host:
            waited = 0
            while waited < NOTIFIED and server.notified is None and server.state == 'up' and not self._primaries():
                yield 1
                waited += 1
            self.settled = world.now
            return
        world.note('%s: repmgrd elects this node' % host.name)
        hook = host.run(['repmgr-guard', 'promote'], world.guard.promote([]))
        if (yield from self._wait(hook)):
            yield RERUN
            return
        command = host.run(['repmgr-guard', 'promote', '--', 'repmgr', 'standby', 'promote'], world.guard.promote(['repmgr', 'standby', 'promote']))
        # It notifies the siblings as soon as its own server has left recovery, and is registered.
        while not command.done and not (server.kind == 'primary' and server.metadata.primary == host.node_id):
            yield 0.2
        if server.kind == 'primary' and server.state == 'up':
            for other in siblings:
                if self._sees(other):
                    other.server.has_been_notified(host.node_id)
        yield from self._wait(command)

    @staticmethod
    def _wait(process):
        while not process.done:
            yield 0.2
        return process.returncode

    def follow(self, other, registers=True):
        """repmgr standby follow, witness register"""
        server, above = self.host.server, other.server if other is not None else None
        if above is None or server.state != 'up' or server.stopped or (server.kind == 'primary' and not server.witness) or not self._sees(other):
            return False
        if not server.witness and not server.can_follow(above):
            return False
        registrar = self._registrar(above)
        if registrar is None:
            return False
        if registers:
            registrar.metadata = registrar.metadata.with_upstream(self.host.node_id, other.node_id)
        self.watches, server.upstream, self.known, self.settled = other.node_id, other, True, None
        server.receiving, server.connect_after = False, self.world.now
        server.metadata = registrar.metadata
        server.last_seen = self.host.wall()
        self._tell()
        self.world.note('%s: follows %s' % (self.host.name, other.name))
        return True

    def _registrar(self, above):
        """The primary, where the new upstream is written down."""
        if above.kind == 'primary':
            return above
        found = [other.server for other in self.world.data_hosts() if other.server.kind == 'primary' and self._sees(other)]
        return found[0] if found else None
