"""make simulate: random schedules, the scenario files, one of them, or the mutants."""
import argparse
import sys
import time

from simulation import adapter
from simulation import files
from simulation import known
from simulation import mutants
from simulation import report
from simulation import schedules
from simulation import scenario as scenarios
from simulation import shrink


def random_runs(first, count, minutes, folder):
    began, done, failures, found, virtual = time.monotonic(), 0, [], {}, 0.0
    limit = began + minutes * 60 if minutes else None
    seed = first
    while (count is None or done < count) and (limit is None or time.monotonic() < limit):
        case = schedules.scenario(seed)
        result = scenarios.play(case)
        done, seed, virtual = done + 1, seed + 1, virtual + result.ended
        if not result.problems:
            continue
        name = known.known(case, result, scenarios.kinds(result.problems))
        if name:
            found[name] = found.get(name, 0) + 1
            continue
        failures.append(case['seed'])
        case = shrink.shrunk(case)[0]
        path = '%s/simulated-%d.json' % (folder, case['seed'])
        with open(path, 'w') as handle:
            handle.write(report.as_file(case))
        print(report.failure(case, scenarios.play(case), path), flush=True)
    print(report.summary(done, time.monotonic() - began, first, len(failures), found, virtual))
    return 1 if failures else 0


def scenario_files():
    bad = 0
    for name, case in files.all_of():
        problem = files.surprise(case, scenarios.play(case).problems)
        bad += bool(problem)
        why = case['expect'].get('known')
        print('%-6s %s' % (name, 'FAILED: ' + problem if problem else 'known: ' + why if why else 'ok'))
    return 1 if bad else 0


def one(path):
    case = files.read(path)
    result = scenarios.play(case, listen=print)
    print('\n'.join(result.crashes))
    print('; '.join(result.problems) or 'nothing wrong')
    if 'expect' in case:
        problem = files.surprise(case, result.problems)
        print(problem or 'as expected')
        return 1 if problem else 0
    return 1 if result.problems else 0


def mutant_runs(first, count, only):
    sources, missed, given = adapter.sources_of(), [], files.all_of()
    began = time.monotonic()
    for name, text, replacement in mutants.MUTANTS:
        changed = mutants.mutated(sources, text, replacement)
        if only and only not in name:
            continue
        found = mutants.hunt(changed, first, count, given)
        missed += [] if found else [name]
        print('%-55s %s' % (name, 'NOT caught within %d schedules' % (len(given) + count) if not found else
                            'caught by %s, the %d. schedule: %s' % (found[1], found[0], found[2][0])), flush=True)
    print('%d of %d mutants not caught, %.0f s: %s' % (len(missed), len(mutants.MUTANTS), time.monotonic() - began, ', '.join(missed) or 'none'))
    return 1 if set(missed) - set(mutants.COVERED) else 0


def main():
    parser = argparse.ArgumentParser(prog='make simulate', description=__doc__)
    parser.add_argument('--schedules', type=int)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--minutes', type=float)
    parser.add_argument('--scenario')
    parser.add_argument('--mutants', action='store_true')
    parser.add_argument('--only', help='mutants whose name has this in it')
    parser.add_argument('--folder', default='.')
    found = parser.parse_args()
    first = 1 if found.seed is None else found.seed
    if found.scenario:
        return one(found.scenario)
    if found.mutants:
        return mutant_runs(first, found.schedules or 300, found.only)
    if found.seed is not None and found.schedules is None and not found.minutes:
        # One seed, line by line.
        case = schedules.scenario(first)
        print(report.as_file(case))
        result = scenarios.play(case, listen=print)
        print('\n'.join(result.crashes + result.problems) or 'nothing wrong')
        return 1 if result.problems and not known.known(case, result, scenarios.kinds(result.problems)) else 0
    failed = scenario_files()
    count = found.schedules if found.schedules is not None or found.minutes else 1000
    return random_runs(first, count, found.minutes, found.folder) or failed


if __name__ == '__main__':
    sys.exit(main())
