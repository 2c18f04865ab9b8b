"""Random scenarios: a cluster, and one to five faults, many of them at moments near the constants of the protocol."""
import random

from simulation import world as worlds

TOPOLOGY = ['2w'] * 4 + ['3w'] * 4 + ['3c'] * 4 + ['3'] * 2 + ['4w', '5']
PROFILE = ['safe'] * 9 + ['fast'] * 9 + ['wan']
# What takes a primary away from the others, or them from it; and everything else.
BREAKS = ['power'] * 5 + ['unplug'] * 3 + ['cut'] * 6 + ['one_way'] * 2 + ['shut_port'] * 3 + ['freeze'] * 3 + ['kill_server'] * 3 + ['stop_server'] * 3
TROUBLE = ['kill_guard'] * 3 + ['reset'] * 3 + ['restart_server'] * 2 + [
    'kill_repmgrd', 'slow', 'lossy', 'step', 'lose_state', 'full', 'locked', 'stop_guard', 'promote_by_hand', 'pause', 'remove']
LONG = ('power', 'freeze', 'stop_server', 'full', 'locked', 'stop_guard')


class Draw:
    """One scenario's dice."""

    def __init__(self, seed):
        chance = self.chance = random.Random(seed)
        self.topology, self.profile = chance.choice(TOPOLOGY), chance.choice(PROFILE)
        shape, self.timing = worlds.TOPOLOGIES[self.topology], worlds.TIMINGS[self.profile]
        self.data = shape['data']
        self.names = self.data + (shape['witness'] or '')
        timing = self.timing
        self.moments = [timing['isolation'], timing['isolation'] + 3, timing['gives_up'], timing['detection'], 15, 3]

    def near(self):
        """A moment that the protocol knows."""
        return self.chance.choice(self.moments) + self.chance.random() * 0.8 - 0.4

    def length(self):
        return round(self.near() if self.chance.random() < 0.4 else self.chance.choice([1, 6, 15, 30]) * (0.5 + self.chance.random()), 2)

    def pause(self):
        return self.near() if self.chance.random() < 0.35 else self.chance.choice([0.3, 1, 3, 7, 15]) * (0.5 + self.chance.random())

    def some(self, without):
        return ''.join(name for name in self.names if name not in without and self.chance.random() < 0.6) or self.other(without)

    def other(self, without):
        return self.chance.choice([name for name in self.names if name not in without])

    def sides(self, host):
        """Two parts of the cluster; those that are in neither see both."""
        if self.chance.random() < 0.4:
            return host, self.some(host)
        ones = host + ''.join(name for name in self.names if name != host and self.chance.random() < 0.3)
        rest = [name for name in self.names if name not in ones]
        return (ones, ''.join(name for name in rest if self.chance.random() < 0.8) or rest[0]) if rest else (host, self.some(host))

    def fault(self, name, when):
        chance = self.chance
        # The primary of the beginning more often than others.
        host = chance.choice(self.data + 'a' * len(self.data))
        fault = {'at': round(when, 2), 'do': name}
        if name == 'cut':
            fault['one'], fault['two'] = self.sides(host)
        elif name == 'one_way':
            fault['one'], fault['two'] = host, self.some(host)
            if chance.random() < 0.5:
                fault.update(one=fault['two'], two=fault['one'])
        elif name in ('slow', 'lossy', 'reset'):
            fault.update(one=host, two=self.other(host))
        elif name != 'pause':
            fault['host'] = host
        if name in LONG + ('cut', 'one_way', 'unplug', 'shut_port', 'slow', 'lossy', 'pause'):
            fault['for'] = round(0.2 + chance.random() * 2, 2) if name == 'stop_guard' else self.length()
        if name == 'shut_port' and chance.random() < 0.3:
            fault['others'] = self.some(host)
        more = {'slow': ('seconds', [0.1, 0.4, 1.5]), 'lossy': ('part', [0.1, 0.3, 0.6]), 'power': ('recovery', [0.5, 0.5, 3, 8, 25]),
                'kill_server': ('recovery', [0.5, 0.5, 3, 8, 25]), 'freeze': ('clock', [False, True]), 'step': ('seconds', [-3600, -5, 1, 1.5])}.get(name)
        if more:
            fault[more[0]] = chance.choice(more[1])
        return fault


def scenario(seed):
    """The same for the same seed, also on another Python: nothing in it rests on hashes. Every fortieth has no fault."""
    draw = Draw(seed)
    chance = draw.chance
    synchronous = chance.choice([0, 0, 1, 2]) if len(draw.data) > 2 else chance.choice([0, 0, 0, 1])
    rejoin = chance.choice(['rewind', 'rewind', 'rewind', 'attach'])
    when, faults = 10 + chance.random() * 2, []
    for dummy in range(chance.choice([1, 2, 2, 3, 3, 4, 5]) if seed % 40 else 0):
        faults.append(draw.fault(chance.choice(BREAKS if chance.random() < 0.65 else TROUBLE), when))
        when += draw.pause()
    return {'topology': draw.topology, 'profile': draw.profile, 'synchronous': synchronous, 'auto_rejoin': rejoin, 'seed': seed, 'faults': faults}
