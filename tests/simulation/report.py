"""What a run prints."""
import json

LAST = 25


def as_file(scenario):
    """The text of a scenario file: one fault on a line."""
    rest = dict((key, value) for key, value in scenario.items() if key not in ('faults', 'expect'))
    lines = ',\n'.join('  ' + json.dumps(fault) for fault in scenario['faults'])
    return '%s,\n "faults": [\n%s]%s}\n' % (json.dumps(rest)[:-1], lines, ',\n "expect": ' + json.dumps(scenario['expect']) if 'expect' in scenario else '')


def failure(scenario, result, path):
    """One that is wrong: what, with which faults, and how to see it again."""
    return '\n'.join(['seed %d: %s' % (scenario['seed'], '; '.join(result.problems)), as_file(scenario).rstrip()]
                     + ['    ' + line for line in result.lines[-LAST:]] + result.crashes[:1] + ['  again: make simulate SCENARIO=%s' % path])


def summary(count, seconds, first, bad, found, hosts_seconds):
    texts = ['%d schedules from seed %d on in %.0f s, %.1f a second, %.1f hours of virtual time: %d failed' % (
        count, first, seconds, count / max(seconds, 0.001), hosts_seconds / 3600.0, bad)]
    for name, number in sorted(found.items()):
        texts.append('%d of them as in scenarios/%s.json, which is known' % (number, name))
    return '\n'.join(texts)
