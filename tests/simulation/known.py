"""What random schedules find and is known: counted, and shown by name, but no failure of a run. Each has a scenario that shows it.

One entry: (scenario in scenarios/, the problems that it may lead to, whether these faults and what was seen are that case).
"""
from simulation import world
from simulation import ledger


def _pauses(scenario):
    """Whether a host stands still, and its clock with it."""
    return any(fault['do'] == 'freeze' and fault.get('clock') for fault in scenario['faults'])


def _overlaps(result, seconds):
    """Whether there were two primaries so soon after one of them had stood still, and its clock with it."""
    return any(age < seconds for dummy, dummy_length, age in result.two)


def _unwarned(dummy, result):
    """An old primary starts, because who has voted for its successor has neither followed it nor been told to when the lock ends."""
    return bool(result.unwarned)


def _thawed(scenario, result):
    """A virtual machine goes on while its successor is being promoted, and a witness or a standby that follows it still makes the newer one yield."""
    return _pauses(scenario) and _overlaps(result, ledger.AFTER_THAW)


def _thawed_alone(scenario, result):
    """... and goes on in a cut: it does not know how long it was away, and counts on everybody for the isolation limit. So may a standby that has voted."""
    return _pauses(scenario) and _overlaps(result, world.TIMINGS[scenario['profile']]['isolation'] + 1)


def _started(scenario, dummy):
    """A start goes by what it was told before its host stood still, and does not know that it did."""
    return _pauses(scenario)


def _paused(dummy, result):
    """A primary whose repmgrd is paused does not stop, and a node that was started since the pause elects."""
    return result.paused


def _recovers(scenario, result):
    """A primary is ended in its recovery, or right after it, because who is left has not seen it; and nobody can be elected in its place."""
    return any(fault.get('recovery', 0) > 10 for fault in scenario['faults']) and any('left to a failover for a while' in line for line in result.lines)


KNOWN = [
    ('F02a', {'two', 'streaming', 'primaries'}, _paused),
    ('recovery', {'primaries'}, _recovers),
    ('vote', {'streaming', 'primaries', 'two'}, _unwarned),
    ('thaw_start', {'started', 'two after a thaw'}, _started),
    ('thaw', {'streaming', 'primaries', 'two after a thaw'}, _thawed),
    ('thaw_cut_lost', {'two', 'two after a thaw', 'streaming', 'primaries', 'lost'}, _thawed_alone)]


def known(scenario, result, kinds):
    """The name of the scenario that shows it, or ''."""
    for name, allowed, is_it in KNOWN:
        if set(kinds) <= allowed and is_it(scenario, result):
            return name
    return ''
