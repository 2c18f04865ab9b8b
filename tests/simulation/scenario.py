"""Runs one scenario: {'topology', 'profile', 'synchronous', 'auto_rejoin', 'seed', 'faults'}; JSON in scenarios/, and what a failing seed is printed as."""
import gc
from collections import namedtuple

from simulation import faults
from simulation import world as worlds

# How long a cluster is given to be whole again after everything has ended: a standby that could not follow is let try again after minutes.
BOUND = {'fast': 420, 'safe': 420, 'wan': 600}
SETTINGS = ('topology', 'profile', 'synchronous', 'auto_rejoin', 'seed')

Result = namedtuple('Result', 'problems lines two stops ended crashes')


def kinds(problems):
    return sorted(set(problem.split(':')[0] for problem in problems))


def play(scenario, guard=None, listen=None):
    gc.disable()
    try:
        return _play(scenario, guard, listen)
    finally:
        gc.enable()


def _play(scenario, guard, listen):
    world = worlds.World(guard=guard, listen=listen, **dict((key, scenario[key]) for key in SETTINGS if key in scenario))
    try:
        return _run(world, scenario)
    finally:
        world.end()


def _run(world, scenario):
    for when, dummy, dummy_number, fault, ends in faults.events(scenario['faults']):
        world.run(when)
        faults.inflict(world, fault, ends)
    last = scenario.get('until')
    if last:
        world.run(last)
    # Everything has an end.
    heal(world)
    finished = world.settle(BOUND[world.profile]) if scenario['faults'] else not (world.run(90) or world.ledger.unfinished())
    problems = world.ledger.verdict(finished)
    if not scenario['faults'] and world.ledger.stops:
        problems.append('stopped: a primary, where nothing had happened')
    return Result(problems, world.lines, world.ledger.two(), world.ledger.stops, world.now, world.crashes)


def heal(world):
    world.note('everything is mended')
    world.network.heal()
    for host in world.hosts.values():
        server = host.server
        host.thaw()
        if host.off and not host.removed:
            host.boot()
        server.full = server.locked = False
        server.stop_process(False)
        server.paused = False
        host.systemd.guard_masked = host.systemd.repmgrd_masked = host.systemd.fuse_masked = False
        faults.stop_guard(world, host.name, on=True)
        host.systemd.start_guard()
        host.systemd.start_fuse()
        host.systemd.start_repmgrd()
