"""The fewest and shortest faults that still lead to a problem of the same kind."""
import copy

from simulation import scenario as scenarios


def shrunk(scenario, guard=None, tries=200):
    """(scenario, runs)"""
    wanted = scenarios.kinds(scenarios.play(scenario, guard).problems)
    runs = [1]

    def fails(candidate):
        if runs[0] >= tries:
            return False
        runs[0] += 1
        return wanted == scenarios.kinds(scenarios.play(candidate, guard).problems)

    best, smaller = copy.deepcopy(scenario), True
    while smaller:
        smaller = False
        for candidate in simpler(best):
            if fails(candidate):
                best, smaller = candidate, True
                break
    return best, runs[0]


def simpler(scenario):
    """Without one fault; then with one that is shorter; then without one host in a list of them."""
    faults = scenario['faults']
    for number in range(len(faults)):
        yield dict(scenario, faults=faults[:number] + faults[number + 1:])
    for number, fault in enumerate(faults):
        for key in ('one', 'two', 'others'):
            for name in fault.get(key, '') if len(fault.get(key, '')) > 1 else '':
                yield _changed(scenario, number, key, fault[key].replace(name, ''))
        if fault.get('for', 0) > 2:
            yield _changed(scenario, number, 'for', round(fault['for'] / 2, 2))


def _changed(scenario, number, key, value):
    faults = [dict(fault) for fault in scenario['faults']]
    faults[number][key] = value
    return dict(scenario, faults=faults)
