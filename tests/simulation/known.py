"""What random schedules find and is known: counted, and shown by name, but no failure of a run. Each has a scenario that shows it.

One entry: (scenario in scenarios/, the problems that it may lead to, whether these faults and what was seen are that case).
"""
from simulation import world


def _freezes(scenario):
    """A virtual machine was paused, with its clock."""
    return any(fault['do'] == 'freeze' and fault.get('clock') for fault in scenario['faults'])


def _overlaps(result, seconds):
    """Whether there were two primaries so soon after one of them had stood still, and its clock with it."""
    return any(age < seconds for dummy, dummy_length, age in result.two)


def _thawed_alone(scenario, result):
    """... and goes on in a cut: it does not know how long it was away, and counts on everybody for the isolation limit. So may a standby that has voted."""
    return _freezes(scenario) and _overlaps(result, world.TIMINGS[scenario['profile']]['isolation'] + 1)


def _confirmed(scenario, dummy_result):
    """... before its guard sees the new primary, or the locks of its promotion: a standby that has voted for that has found it again, and has confirmed."""
    return _freezes(scenario)


def _refound(scenario, result):
    """... and a witness that had followed its successor has found it again while that recovered: with it the old primary has a majority, and the newer
    one makes way.
    """
    return _freezes(scenario) and any('does not rejoin' in line and 'which is older than' in line for line in result.lines)


KNOWN = [
    ('thaw_refound', {'started', 'streaming', 'primaries'}, _refound),
    ('thaw_voted', {'lost after a thaw'}, _confirmed),
    ('thaw_cut_lost', {'two', 'two after a thaw', 'streaming', 'primaries', 'lost after a thaw'}, _thawed_alone)]


def known(scenario, result, kinds):
    """The name of the scenario that shows it, or ''."""
    for name, allowed, is_it in KNOWN:
        if set(kinds) <= allowed and is_it(scenario, result):
            return name
    return ''
