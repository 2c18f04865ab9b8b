"""What /primary answers on each node, by the program of role health itself: who is promoted comes long after all others have said no.

One that is in doubt, and whose server is up, has said no for as long as a proxy may need to drop it, even where its checks hang until they give up; any
other for as long as a proxy needs whose checks are answered: its server is dead, or was stopped, so that what is sent there is refused, whatever becomes of
the checks. See docs/routing.md.
"""
import json
import os
import sys
import types

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
PATH = os.path.join(ROOT, 'roles', 'health', 'files', 'health.py')
TIMING = os.path.join(ROOT, 'plugins', 'module_utils', '_check_timing.py')
EVERY = 0.1
_loaded = {}
_timing = types.ModuleType('timing')
with open(TIMING) as source:
    exec(compile(source.read(), TIMING, 'exec'), _timing.__dict__)  # pylint: disable=exec-used


def load(fuse):
    """The program, which takes what the guard's word means from the fuse."""
    if fuse not in _loaded:
        before, sys.modules['fuse'] = sys.modules.get('fuse'), fuse
        try:
            module = types.ModuleType('health')
            with open(PATH) as handle:
                exec(compile(handle.read(), PATH, 'exec'), module.__dict__)  # pylint: disable=exec-used
        finally:
            sys.modules.pop('fuse')
            if before is not None:
                sys.modules['fuse'] = before
        _loaded.clear()
        _loaded[fuse] = module
    return _loaded[fuse]


class Endpoints:
    def __init__(self, world):
        self.world, self.health = world, load(world.guard.fuse)
        self.timing = _timing.timing(world.timing)
        self.unwatched = {}                  # {host: since when it is a primary of which its guard has told nothing}
        self.yes, self.doubts = {}, {}       # {host: when it last said that it is the primary}, {host: since when it has been in doubt}
        world.at(EVERY, self.look)

    def problem(self, host):
        world, server, guard = self.world, host.server, self.world.guard
        # A host that stands still, or is off, answers nobody.
        state = 'running' if server.state == 'up' and not server.stopped and not host.off and not host.frozen else 'unknown'
        text, stopped = host.files.get(guard.module.SIGHT_FILE), host.files.get(guard.module.STOPPED_FILE)
        now, here = host.clock(), guard.module.boot()
        word = world.guard.fuse.understood(text, now) if text else None
        since = None
        if state == 'running' and server.kind == 'primary' and world.guard.fuse.unwatched(word, here):
            since = self.unwatched.setdefault(host.name, now)
        else:
            self.unwatched.pop(host.name, None)
        return self.health.primary_problem(
            state, server.kind == 'standby', world.guard.fuse.counted(word, here, since), here, now,
            self.timing['doubt'], json.loads(stopped).get('since', host.wall()) if stopped else None, server.started)

    def look(self):
        self.world.at(EVERY, self.look)
        for host in self.world.data_hosts():
            self.note(host)

    def note(self, host):
        problem = self.problem(host)
        if problem is None:
            self.yes[host.name] = self.world.now
            self.doubts.pop(host.name, None)
        elif problem[0] == 'doubt':
            self.doubts.setdefault(host.name, self.world.now)

    def promoted(self, host):
        """Not where an operator has decided, nor after a host and its clock stood still, which nothing tells: it doubts as if no time had passed."""
        world, now = self.world, self.world.now
        if any('promote-by-hand' in process.argv for process in host.processes):
            return
        for other in world.data_hosts():
            if other is host or now - other.thawed < world.timing['isolation'] + _timing.STOP_MARGIN:
                continue
            self.note(other)
            said, checks = self.yes.get(other.name, -1000), (self.timing['inter'] + self.timing['fastinter']) / 1000.0
            if other.server.state == 'up' and other.name in self.doubts and said < self.doubts[other.name]:
                checks = _timing.drops_after(self.timing) / 1000.0
                said = self.doubts[other.name] - EVERY
            if now - said < checks:
                world.ledger.violations.append('primary: %s is promoted %.2f s after %s has answered 200 on /primary, before %.2f s' % (
                    host.name, now - said, other.name, checks))
