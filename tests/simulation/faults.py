"""What can happen to a cluster. A fault is {'at': second, 'do': name, ...}; one that ends has 'for': seconds, or goes on to the end of the scenario."""
import json

from simulation import hosts


def _names(world, text):
    return [name for name in text if name in world.hosts]


def _all_but(world, name):
    return [other for other in world.hosts if other != name]


# -- hosts and processes
def power(world, host, on=False, recovery=0.5):
    """off, then on again; the recovery of its server takes that long."""
    if on:
        world.hosts[host].server.recovery = recovery
        world.hosts[host].boot()
    else:
        world.hosts[host].power_off()


def freeze(world, host, on=False, clock=False):
    """Everything on it stands still; clock: as in a virtual machine that is paused, its clock, too."""
    if on:
        world.hosts[host].thaw()
    else:
        world.hosts[host].freeze(clock)


def kill_server(world, host, recovery=0.5):
    world.hosts[host].server.recovery = recovery
    world.hosts[host].server.die()


def crash_server(world, host, recovery=0.5):
    """SIGKILL to one of its backends."""
    world.hosts[host].server.recovery = recovery
    world.hosts[host].server.crash()


def stop_server(world, host, on=False):
    """SIGSTOP to all of its processes."""
    world.hosts[host].server.stop_process(not on)


def restart_server(world, host, seconds=1.0, recovery=0.5):
    """systemctl restart: a clean stop."""
    server, target = world.hosts[host].server, world.hosts[host]
    if server.state != 'up' or server.stopped or target.frozen or target.off:
        return

    def start():
        yield seconds
        yield from target.systemd.start_server()
    server.recovery = recovery
    server.die(failed=False, clean=True)
    target.run(['systemctl', 'restart', 'server'], start())


def restore(world, host, seconds=3.0):
    """Somebody stops its server, restores a backup in place (recovery.signal), and starts it by systemctl: it promotes itself when it has recovered."""
    server, target = world.hosts[host].server, world.hosts[host]
    if server.state != 'up' or server.stopped or target.frozen or target.off:
        return

    def start():
        yield 1.0
        yield from target.systemd.start_server()
    server.die(failed=False, clean=True)
    server.restore(seconds)
    target.run(['systemctl', 'start', 'server'], start())


def start_server(world, host):
    """systemctl start, by somebody."""
    world.hosts[host].run(['systemctl', 'start', 'server'], world.hosts[host].systemd.start_server())


def kill_guard(world, host):
    """systemd starts it again."""
    guard = world.hosts[host].systemd.guard
    if guard is not None:
        guard.kill()


def no_guard(world, host, on=False):
    """It is killed, and cannot start."""
    systemd = world.hosts[host].systemd
    systemd.guard_masked = not on
    if on:
        systemd.start_guard()
    elif systemd.guard is not None:
        systemd.guard.kill()


def end_guard(world, host, on=False):
    """systemctl stop: an orderly end."""
    systemd = world.hosts[host].systemd
    systemd.guard_masked = not on
    if on:
        systemd.start_guard()
    elif systemd.guard is not None:
        systemd.guard.terminate()


def kill_fuse(world, host):
    """systemd starts it again."""
    fuse = world.hosts[host].systemd.fuse
    if fuse is not None:
        fuse.kill()


def no_fuse(world, host, on=False):
    """It is killed, and cannot start."""
    systemd = world.hosts[host].systemd
    systemd.fuse_masked = not on
    if on:
        systemd.start_fuse()
    else:
        kill_fuse(world, host)


def stop_guard(world, host, on=False):
    """SIGSTOP to it alone."""
    guard = world.hosts[host].systemd.guard
    if guard is not None:
        guard.paused = not on
        if on:
            guard.thaw()


def kill_repmgrd(world, host):
    process = world.hosts[host].systemd.repmgrd
    if process is not None:
        process.kill()


def no_repmgrd(world, host):
    """It is killed, and does not come back before the end."""
    world.hosts[host].systemd.repmgrd_masked = True
    kill_repmgrd(world, host)


def unknown_daemon(world, host):
    """Its server has restarted a moment ago under a repmgrd that goes on, which that server does not know."""
    server = world.hosts[host].server
    server.started, server.last_seen, server.watches, server.daemon, server.receiving = world.hosts[host].wall(), None, None, False, False
    world.hosts[host].daemon.known = False


def backlog(world, host, size):
    """It replays slower than it receives."""
    world.hosts[host].server.backlog = size


def dies_promoting(world, host):
    """Its server is killed by the next promotion of it, between its signal file and its timeline."""
    world.hosts[host].server.dies_promoting = True


def left_over(world, host):
    """Somebody has put a recovery.signal beside its standby.signal."""
    world.hosts[host].server.left_over = True


def slow_systemd(world, host, seconds):
    """What systemctl is-failed takes on it, behind sudo."""
    world.hosts[host].asks_systemd = seconds


def slow_promotion(world, host, seconds):
    world.hosts[host].promote_seconds = seconds


def hook(world, host, promotes=True):
    """What repmgrd, or a guard's own election, starts: the hook before a promotion, with or without the promotion."""
    world.hosts[host].run(['repmgr-guard', 'promote'], world.guard.promote(['repmgr', 'standby', 'promote'] if promotes else []))


def lose_state(world, host):
    """The guard's file is gone."""
    world.hosts[host].files.pop(hosts.STATE, None)


# -- clocks
def step(world, host, seconds):
    """Of the wall clock."""
    world.hosts[host].wall_offset += seconds


def drift(world, host, rate):
    world.hosts[host].set_clock(world.hosts[host].clock(), rate)


# -- servers
def full(world, host, on=False):
    """All connections of its server are taken; those that are there go on."""
    world.hosts[host].server.full = not on


def locked(world, host, on=False):
    """Somebody holds a lock on repmgr.nodes."""
    world.hosts[host].server.locked = not on


# -- the network
def cut(world, one, two, on=False):
    world.network.cut(_names(world, one), _names(world, two), -1 if on else 1)


def one_way(world, one, two, on=False):
    """What `one` sends does not reach `two`."""
    world.network.cut(_names(world, one), _names(world, two), -1 if on else 1, both=False)


def unplug(world, host, on=False):
    world.network.cut([host], _all_but(world, host), -1 if on else 1)


def shut_port(world, host, others='', on=False):
    """Others do not reach its server's port; it reaches theirs."""
    world.network.shut_port(_names(world, others) or _all_but(world, host), host, -1 if on else 1)


def slow(world, one, two, seconds, on=False):
    world.network.slow(one, two, -seconds if on else seconds)


def lossy(world, one, two, part, on=False):
    world.network.lossy(one, two, -part if on else part)


def reset(world, one, two):
    world.network.reset(world.hosts[one], world.hosts[two])


# -- operators
def pause(world, on=False, only=''):
    """repmgrd, on every node whose server answers; lifted on the primary first."""
    for host in sorted(world.hosts.values(), key=lambda host: host.server.kind != 'primary'):
        if host.server.state == 'up' and not host.server.stopped and not host.frozen and (not only or host.name in only):
            host.server.paused = not on


def dead(world, host):
    """playbooks/maintenance.yml with unpause and primary_is_dead: the word of an operator, which the guards of all that answer are told."""
    for other in world.data_hosts():
        if other.name != host and other.server.state == 'up' and not other.off and not other.frozen:
            other.run(['repmgr-guard', 'primary-is-dead', host], world.guard.primary_is_dead(host))


def promote_by_hand(world, host):
    """playbooks/failover.yml: where nobody writes, whoever is out of sight is off, and nobody in sight has received more."""
    target = world.hosts[host]
    if world.ledger.writable or target.server.state != 'up' or target.server.kind != 'standby' or target.frozen or target.off:
        return
    if any(other.server.kind == 'primary' and not other.off for other in world.data_hosts()) or any(
            not other.off and not target.reaches_server(other) for other in world.data_hosts()):
        return
    if any(not other.off and other.server.position > target.server.position for other in world.data_hosts()):
        return
    target.run(['repmgr-guard', 'promote-by-hand'], world.guard.promote(['repmgr', 'standby', 'promote'], by_hand=True))


def remove(world, host):
    """playbooks/remove_node.yml, of a standby that nobody streams from: unregistered, its host taken away, the files of the others written, that of
    the primary last."""
    target = world.hosts[host]
    primaries = [world.hosts[name] for name in world.ledger.writable]
    if target.witness or target.server.kind != 'standby' or len(primaries) != 1 or len(world.data_hosts()) < 3 or any(
            other.server.upstream is target for other in world.data_hosts()) or any(
                other.off or other.frozen or other.server.state != 'up' or not primaries[0].reaches_server(other) for other in world.hosts.values()):
        return
    primary = primaries[0]
    primary.server.metadata = primary.server.metadata.without(target.node_id)
    target.power_off()
    target.removed = True
    # A vote that is new (the witness's) is written to the primary first; one that is gone, there last.
    for pause_before, other in enumerate(sorted(world.hosts.values(), key=lambda other: other is primary)):
        world.at(pause_before * 0.5, world.configure, other)


def expect(world, primary):
    """No fault: one of these, and no other, takes writes at that moment; '' for nobody."""
    found = ''.join(sorted(world.ledger.writable))
    if found not in (list(primary) or ['']):
        world.ledger.violations.append('expected: %s as primary at %d s, not %s' % (' or '.join(primary) or 'nobody', world.now, found or 'nobody'))


def streams(world, host):
    """No fault: it has to stream at that moment."""
    if not world.hosts[host].server.receiving:
        world.ledger.violations.append('expected: %s to stream at %d s' % (host, world.now))


def pg_promote(world, host):
    """By hand, where nobody writes: of that repmgr knows nothing."""
    server = world.hosts[host].server
    if not world.ledger.writable and server.state == 'up' and server.kind == 'standby' and not server.stopped and not world.hosts[host].frozen:
        server.promote()
        world.ledger.by_hand.add(server.branch)


def change(world, **values):
    """Change a setting that all guards share, on one host only: {'host': ..., 'isolation': ...}"""
    target = world.hosts[values.pop('host')]
    config = json.loads(target.files[hosts.CONFIG])
    config.update(values)
    target.write_config(config)


FAULTS = dict((function.__name__, function) for function in (
    power, freeze, kill_server, crash_server, stop_server, restart_server, kill_guard, no_guard, stop_guard, kill_repmgrd, lose_state, step, drift, full,
    locked, cut, one_way, unplug, shut_port, slow, lossy, reset, pause, dead, promote_by_hand, remove, no_repmgrd, unknown_daemon, backlog,
    slow_promotion, slow_systemd, dies_promoting, left_over, hook, start_server, restore, end_guard, kill_fuse, no_fuse, expect, streams, pg_promote, change))
# Those that end when their time is over.
LAST = ('power', 'freeze', 'stop_server', 'no_guard', 'end_guard', 'no_fuse', 'stop_guard', 'full', 'locked', 'cut', 'one_way', 'unplug', 'shut_port', 'slow',
        'lossy', 'pause')


def events(faults):
    """[(when, order, fault, whether it ends)]"""
    found = []
    for number, fault in enumerate(faults):
        found.append((fault['at'], 0, number, fault, False))
        if fault['do'] in LAST and fault.get('for') is not None:
            found.append((round(fault['at'] + fault['for'], 3), 1, number, fault, True))
    return sorted(found, key=lambda event: event[:3])


def inflict(world, fault, ends):
    name = fault['do']
    values = dict((key, value) for key, value in fault.items() if key not in ('at', 'for', 'do'))
    if ends:
        values['on'] = True
    world.note('%s %s %s' % ('end of fault' if ends else 'fault', name, ', '.join('%s=%s' % pair for pair in sorted(values.items()) if pair[0] != 'on')))
    FAULTS[name](world, **values)
