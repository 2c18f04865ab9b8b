"""What is checked: how many servers take writes, what was acknowledged, and what is left of it."""

# Two servers that take writes for less than this are one event to a clock that is read twice.
OVERLAP = 0.005
# After a host has stood still, and its clock with it, its guard needs this long to stop a server that was replaced meanwhile (docs/guard.md, "What it
# cannot do").
AFTER_THAW = 2.5


class Ledger:
    def __init__(self, world):
        self.world = world
        self.writable = set()
        self.two_since, self.two_age, self.overlaps = None, 0.0, []
        self.acknowledged = {}       # {branch: position}: synchronous
        self.before_thaw = {}        # ... of that what was not acknowledged right after the primary had stood still, and its clock with it
        self.violations = []
        self.by_hand = set()         # branches of promotions that no guard was asked about
        self.stops = 0

    # -- one writable server
    def changed(self, server):
        if server.is_writable():
            self.writable.add(server.host.name)
        else:
            self.writable.discard(server.host.name)
        two, now = len(self.writable) > 1, self.world.now
        if two and self.two_since is None:
            self.two_since = now
            self.two_age = min(now - self.world.hosts[name].thawed for name in self.writable)
            self.world.note('!!! TWO PRIMARIES: %s' % ', '.join('%s (timeline %d)' % (
                name, self.world.hosts[name].server.branch.timeline) for name in sorted(self.writable)))
        elif not two and self.two_since is not None:
            self.overlaps.append((self.two_since, now - self.two_since, self.two_age))
            self.world.note('!!! one primary again after %.3f s' % (now - self.two_since))
            self.two_since = None

    def two(self):
        """[(when, how long, how many seconds after one of the two stood still)]"""
        return self.overlaps + ([(self.two_since, self.world.now - self.two_since, self.two_age)] if self.two_since is not None else [])

    # -- acknowledged rows
    def acknowledge(self, server):
        """Of a synchronous cluster: what so many standbys have."""
        needed = self.world.synchronous
        if needed and len(server.flushed) >= needed:
            position = sorted(server.flushed.values(), reverse=True)[needed - 1]
            if position > self.acknowledged.get(server.branch, -1):
                self.acknowledged[server.branch] = position
                if self.world.now - server.host.thawed >= self.world.timing['isolation'] + 1:
                    self.before_thaw[server.branch] = position

    def lost(self, server):
        """[(branch, how much of what was acknowledged there that server has not, whether only what was acknowledged after a thaw)]"""
        return [(branch, position, server.has(branch, self.before_thaw.get(branch, 0))) for branch, position in sorted(self.acknowledged.items())
                if not server.has(branch, position)]

    def starts(self, server):
        """The start hook has let a primary start. Where another has a newer timeline, one of those that it has seen has voted for that."""
        timeline, host = server.branch.timeline, server.host
        newer = [other for other in self.world.data_hosts() if other.server.kind == 'primary' and other.server.branch.timeline > timeline
                 and other.server.branch not in self.by_hand]
        if server.kind != 'primary' or not newer:
            return
        self.violations.append('started: %s on timeline %d, though %s is primary on a newer one' % (
            host.name, timeline, ', '.join(other.name for other in newer)))

    def rewound(self, server, primary):
        self.world.note('%s: REWOUND onto %s, timeline %d -> %d' % (server.host.name, primary.host.name, server.branch.timeline, primary.branch.timeline))
        if server.branch.timeline > primary.branch.timeline:
            self.violations.append('rewound: %s from timeline %d onto %d' % (server.host.name, server.branch.timeline, primary.branch.timeline))
        elif server.branch.timeline == primary.branch.timeline and not server.can_follow(primary):
            # pg_rewind finds nothing to do on one timeline.
            self.violations.append('corrupt: %s, which has another timeline %d than %s, is its standby' % (
                server.host.name, server.branch.timeline, primary.host.name))

    # -- at the end
    def unfinished(self):
        """Why the cluster is not whole, or ''."""
        world = self.world
        hosts = [host for host in world.hosts.values() if not host.removed]
        if len(self.writable) != 1:
            return 'primaries: %s' % (', '.join(sorted(self.writable)) or 'none')
        primary = world.hosts[list(self.writable)[0]]
        if primary.server.metadata.primary != primary.node_id:
            return 'unregistered: %s' % primary.name
        strays = primary.server.metadata.answer['strays'] or []
        if any(host.node_id in strays for host in hosts):
            return 'witness: it is not registered below %s' % primary.name
        for host in hosts:
            server = host.server
            if host is primary:
                continue
            if server.witness:
                if server.state != 'up' or host.daemon.watches != primary.node_id:
                    return 'witness: %s does not follow %s' % (host.name, primary.name)
            elif not (server.state == 'up' and server.receiving and server.branch == primary.server.branch):
                if self.left_to_people(server, primary.server):
                    continue
                return 'streaming: %s does not stream from %s' % (host.name, primary.name)
        return ''

    def left_to_people(self, server, primary):
        """What has diverged is rewound where somebody asks for it (docs/guard.md): a standby that has received more than who was promoted, and with
        `repmgr_auto_rejoin: attach` or `'off'` also an old primary. What is on the newer timeline of the two is another matter.
        """
        if server.restores is not None:
            # The data that somebody has restored.
            return server.state == 'down'
        if server.can_follow(primary) or server.branch.timeline > primary.branch.timeline:
            return False
        if server.kind == 'standby':
            return server.state == 'up'
        # Of two timelines of one number nothing tells what only one of them has.
        return server.state == 'down' and (self.world.auto_rejoin != 'rewind' or server.branch.timeline == primary.branch.timeline)

    def verdict(self, finished):
        """What is wrong, as ['code: text']."""
        found = list(self.violations)
        two = self.two()
        plain = [length for dummy, length, age in two if age >= AFTER_THAW]
        thaws = [length for dummy, length, age in two if age < AFTER_THAW]
        if sum(plain) > OVERLAP:
            found.append('two: %.3f s in total, %.3f s at the longest' % (sum(plain), max(plain)))
        if thaws and max(thaws) > AFTER_THAW:
            found.append('two after a thaw: %.3f s' % max(thaws))
        if not finished:
            found.append(self.unfinished() or 'restless: it does not come to rest')
        elif len(self.writable) == 1:
            for branch, position, thawed in self.lost(self.world.hosts[list(self.writable)[0]].server):
                found.append('%s: what was acknowledged on timeline %d up to %d' % ('lost after a thaw' if thawed else 'lost', branch.timeline, position))
        if self.world.crashes:
            found.append('crash: %s' % self.world.crashes[0].strip().splitlines()[-1])
        return found
