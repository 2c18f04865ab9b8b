"""Scenario files, and whether one does what it says that it does."""
import json
import os

from simulation import scenario as scenarios

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'scenarios')


def read(path):
    with open(path) as handle:
        return json.load(handle)


def all_of(folder=FOLDER):
    """[(name, scenario)]"""
    return [(name[:-5], read(os.path.join(folder, name))) for name in sorted(os.listdir(folder)) if name.endswith('.json')]


def surprise(scenario, problems):
    """What is otherwise than the file expects, or ''. One that is known to fail and does not any more is a surprise, too."""
    expected, found = sorted(scenario.get('expect', {}).get('problems', [])), scenarios.kinds(problems)
    if found == expected:
        return ''
    if expected and not found:
        return 'passes now, and is marked as known to fail with %s' % ', '.join(expected)
    return '%s; expected %s' % ('; '.join(problems), ', '.join(expected) or 'nothing wrong')
