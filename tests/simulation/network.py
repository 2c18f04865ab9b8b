"""Links between hosts. Each direction of each pair is cut, slow or lossy by itself; a port can be shut to others, and connections reset."""


class Network:
    def __init__(self, world):
        self.world = world
        self.cuts = {}            # (from, to): how many faults cut it
        self.shut = {}            # (from, to): the server's port of `to` drops what `from` sends
        self.delays = {}          # (from, to): seconds more
        self.losses = {}          # (from, to): the part of packets that is lost
        self.rules = 0            # changes of any of these

    @staticmethod
    def _count(table, key, by):
        value = table.get(key, 0) + by
        if value > 1e-9:
            table[key] = value
        else:
            table.pop(key, None)

    def cut(self, ones, twos, by=1, both=True):
        for one in ones:
            for two in twos:
                if one != two:
                    self._count(self.cuts, (one, two), by)
                    if both:
                        self._count(self.cuts, (two, one), by)

    def shut_port(self, others, host, by=1):
        for other in others:
            if other != host:
                self._count(self.shut, (other, host), by)

    def slow(self, one, two, seconds):
        for key in ((one, two), (two, one)):
            self._count(self.delays, key, seconds)

    def lossy(self, one, two, part):
        for key in ((one, two), (two, one)):
            self._count(self.losses, key, part)

    def heal(self):
        for table in (self.cuts, self.shut, self.delays, self.losses):
            table.clear()

    def passes(self, one, two):
        """Whether a packet gets from one host to the other."""
        return one is two or not (self.cuts and (one.name, two.name) in self.cuts or one.off or two.off)

    def reaches(self, one, two):
        """Whether a client on `one` can talk to the server's port on `two`."""
        # pylint: disable-next=arguments-out-of-order
        return self.passes(one, two) and self.passes(two, one) and (one.name, two.name) not in self.shut

    def asks(self, one, two):
        """... whether what it says arrives."""
        return self.passes(one, two) and (one.name, two.name) not in self.shut

    def delay(self, one, two):
        """Of one packet that is not dropped; one that is lost is sent again."""
        if one is two:
            return 0.001
        seconds = 0.002 + self.world.random.random() * 0.002
        if self.delays:
            seconds += self.delays.get((one.name, two.name), 0)
        if self.losses:
            again, part = 0.2, self.losses.get((one.name, two.name), 0)
            while part and self.world.random.random() < part and again < 5:
                seconds += again
                again *= 2
        return seconds

    def reset(self, one, two):
        """Every connection between the two ends, on both sides. A server that sleeps for its client (pg_sleep) does not read from it, and goes on so long."""
        for host in (one, two):
            for session in list(host.server.sessions):
                if session.origin is not host and session.origin in (one, two):
                    if session.sleeps_until is None or session.sleeps_until <= self.world.now:
                        host.server.end_session(session)
                    else:
                        self.world.at(session.sleeps_until - self.world.now, host.server.end_session, session)
                    session.lost()
