"""A covering set: combinations of values in which each pair of values of two parameters that is allowed occurs at least once.

Libraries of this kind (allpairspy) end with the first combination that adds nothing, and where some combinations are excluded
that leaves pairs out. Here each combination begins with a pair that is still missing.
"""
import itertools
import random

ATTEMPTS = 20


def pairs_of(row):
    """All pairs of ((parameter, value), (parameter, value)) in a combination."""
    return set(itertools.combinations(sorted(row.items()), 2))


def allowed_pairs(parameters, allowed):
    """Each pair is judged in a combination that otherwise has the first value of each parameter."""
    base = {name: values[0] for name, values in parameters.items()}
    assert allowed(base), "the first values of all parameters must go together"
    for first, second in itertools.combinations(sorted(parameters), 2):
        for values in itertools.product(parameters[first], parameters[second]):
            pair = dict(zip((first, second), values))
            if allowed(dict(base, **pair)):
                yield tuple(sorted(pair.items()))


def covering_set(parameters, allowed, seed):
    """parameters: {name: [value, ...]}; allowed(combination) says whether it may be used. The same seed gives the same list."""
    choose = random.Random(seed)
    base = {name: values[0] for name, values in parameters.items()}
    missing = set(allowed_pairs(parameters, allowed))
    rows = []
    while missing:
        first = sorted(missing)
        attempts = [_row(parameters, allowed, base, dict(choose.choice(first)), missing, choose) for dummy in range(ATTEMPTS)]
        best = max(attempts, key=lambda row: len(pairs_of(row) & missing))
        rows.append(best)
        missing -= pairs_of(best)
    return rows


def _row(parameters, allowed, base, row, missing, choose):
    """Complete a combination, each parameter by the value that covers most. What base has always goes: it was judged with the row."""
    names = sorted(set(parameters) - set(row))
    choose.shuffle(names)
    for name in names:
        def covers(value, name=name):
            return sum(1 for other in row.items() if tuple(sorted([other, (name, value)])) in missing)

        values = list(parameters[name])
        choose.shuffle(values)
        values.sort(key=covers, reverse=True)
        row[name] = next(value for value in values if allowed(dict(base, **dict(row, **{name: value}))))
    return {name: row[name] for name in parameters}
