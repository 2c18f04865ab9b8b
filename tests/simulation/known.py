"""What random schedules find and is known: counted, and shown by name, but no failure of a run. Each has a scenario that shows it.

One entry: (scenario in scenarios/, the problems that it may lead to, whether these faults and what was seen are that case).
"""
from simulation import world
from simulation import ledger


def _freezes(scenario, clock):
    return any(fault['do'] == 'freeze' and (fault.get('clock') or not clock) for fault in scenario['faults'])


def _overlaps(result, seconds):
    """Whether there were two primaries so soon after one of them had stood still."""
    return any(age < seconds for dummy, dummy_length, age in result.two)


def _unwarned(dummy, result):
    """An old primary starts, because who has voted for its successor has neither followed it nor been told to when the lock ends."""
    return bool(result.unwarned)


def _thawed(scenario, result):
    """A virtual machine goes on while its successor is being promoted, and a witness or a standby that follows it still makes the newer one yield."""
    return _freezes(scenario, True) and _overlaps(result, ledger.AFTER_THAW)


def _thawed_alone(scenario, result):
    """... and goes on in a cut: it does not know how long it was away, and counts on everybody for the isolation limit. So may a standby that has voted."""
    return _freezes(scenario, True) and _overlaps(result, world.TIMINGS[scenario['profile']]['isolation'] + 1)


def _stood_still(scenario, result):
    """For the moment that its guard needs to stop it, a primary that stood still acknowledges what a standby receives that has not followed another yet."""
    return _freezes(scenario, False) and _overlaps(result, ledger.AFTER_THAW)


def _started(scenario, dummy):
    """A start goes by what it was told before its host stood still, and does not know that it did."""
    return _freezes(scenario, True)


def _waits(scenario, result):
    """Two former primaries wait for each other: a witness has followed the older one, for a moment, after the newer one."""
    def said(text):
        return any(text in line for line in result.lines)
    return _freezes(scenario, True) and said('which is not in sight as a standby') and said('so another node was promoted')


def _paused(dummy, result):
    """A primary whose repmgrd is paused does not stop, and a node that was started since the pause elects."""
    return result.paused


def _unarmed(scenario, result):
    """The guard's file was lost, and the guard was restarted in a cut: it is not armed."""
    return any(fault['do'] == 'lose_state' for fault in scenario['faults']) and any('is not armed' in line for line in result.lines)


KNOWN = [
    ('unarmed', {'two', 'streaming', 'primaries'}, _unarmed),
    ('F02a', {'two', 'streaming', 'primaries'}, _paused),
    ('vote', {'streaming', 'primaries', 'two'}, _unwarned),
    ('thaw_wait', {'primaries'}, _waits),
    ('thaw_start', {'started', 'two after a thaw'}, _started),
    ('thaw', {'streaming', 'primaries', 'two after a thaw'}, _thawed),
    ('thaw_cut_lost', {'two', 'two after a thaw', 'streaming', 'primaries', 'lost'}, _thawed_alone),
    ('thaw_lost', {'lost'}, _stood_still)]


def known(scenario, result, kinds):
    """The name of the scenario that shows it, or ''."""
    for name, allowed, is_it in KNOWN:
        if set(kinds) <= allowed and is_it(scenario, result):
            return name
    return ''
