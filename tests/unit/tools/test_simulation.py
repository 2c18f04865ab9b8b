"""The simulator of the guard (tests/simulation): that it is deterministic, drives the program that is shipped, and finds what is wrong in a broken one."""
import ast
import inspect
import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _archive  # noqa: E402

from simulation import adapter, endpoints, faults, files, known, mutants, report, scenario, schedules, shrink, waits, world  # noqa: E402

SCENARIOS = files.all_of()


def test_the_guard_is_what_is_shipped():
    """All files, but for what calls main."""
    shipped = _archive.sources(str(ROOT / "roles/guard/files/guard"))
    assert sorted(text.encode() for text in adapter.sources_of().values()) == sorted(shipped[name] for name in set(shipped) - {"__main__.py"})


def test_only_waits_are_added():
    """What runs is the program as it is written: without the `yield from`s the trees are those of its files."""
    sources = adapter.sources_of()
    changed = waits.generators(sources)
    assert set(changed) == set(sources)
    assert {name for name in sources if ast.dump(changed[name]) != ast.dump(ast.parse(sources[name]))} > {
        "pgfleet_guard.watch", "pgfleet_guard.start", "pgfleet_guard.session", "pgfleet_guard.processes"}
    for name, source in sources.items():
        assert ast.dump(waits.plain(changed[name])) == ast.dump(ast.parse(source))


def test_whatever_waits_is_known():
    names = waits.waiting([ast.parse(source) for source in adapter.sources_of().values()])
    assert {"pump", "ask_all", "hold", "lock", "start", "promote", "watch", "tick", "stop_now", "wanted", "control_data"} <= names
    assert not names & {"start_problem", "promotion_problem", "clock", "say", "seen", "majority"}


@pytest.mark.parametrize("seed", [3, 2911])
def test_a_seed_is_one_trace(seed):
    case = schedules.scenario(seed)
    assert case == schedules.scenario(seed)
    first = scenario.play(case)
    scenario.play(schedules.scenario(seed + 1))
    assert scenario.play(case).lines == first.lines


@pytest.mark.parametrize("name, case", SCENARIOS, ids=[name for name, dummy in SCENARIOS])
def test_a_scenario_does_what_its_file_says(name, case):
    assert files.surprise(case, scenario.play(case).problems) == ""


def test_each_known_case_has_its_scenario():
    names = dict(SCENARIOS)
    for name, problems, dummy in known.KNOWN:
        assert names[name]["expect"]["known"], name
        assert problems & set(names[name]["expect"]["problems"]), name


def test_a_known_failure_that_passes_is_a_surprise():
    assert files.surprise({"expect": {"problems": ["two"]}}, []).startswith("passes now")
    assert files.surprise({"expect": {"problems": ["two"]}}, ["lost: x"]) == "lost: x; expected two"
    assert files.surprise({"expect": {"problems": []}}, ["two: 1 s"]) == "two: 1 s; expected nothing wrong"


@pytest.mark.parametrize("first", range(1, 60, 12))
def test_random_schedules_find_nothing_new(first):
    for seed in range(first, first + 12):
        case = schedules.scenario(seed)
        result = scenario.play(case)
        assert not result.problems or known.known(case, result, scenario.kinds(result.problems)), (seed, result.problems)


@pytest.mark.parametrize("seed", [7, 3286])
def test_who_is_writable_is_known_after_every_event(seed, monkeypatch):
    """The ledger is told of changes; this looks itself."""
    def check(self):
        assert self.ledger.writable == set(host.name for host in self.hosts.values() if host.server.is_writable())
    monkeypatch.setattr(world.World, "check", check)
    scenario.play(schedules.scenario(seed))


CUT = {"topology": "3w", "profile": "fast", "seed": 1, "faults": [{"at": 11, "do": "cut", "one": "a", "two": "bcw", "for": 60}]}


def test_a_primary_that_is_cut_off_says_no_before_it_is_stopped(monkeypatch):
    """By the program of role health, at every tenth of a second."""
    answers, note = [], endpoints.Endpoints.note

    def noted(self, host):
        note(self, host)
        problem = self.problem(host)
        if host.name == "a" and self.world.now > 11 and (not answers or answers[-1][1] != (problem and problem[0])):
            answers.append((self.world.now, problem and problem[0]))

    monkeypatch.setattr(endpoints.Endpoints, "note", noted)
    assert not scenario.play(CUT).problems
    (first, yes), (doubts, why), (stopped, then) = answers[:3]
    assert (yes, why, then) == (None, "doubt", "not_running")
    assert doubts - 11 < 1.6 + 0.2 and stopped - doubts > 0.2


def test_an_endpoint_that_goes_on_saying_yes_is_found(monkeypatch):
    monkeypatch.setattr(endpoints.Endpoints, "problem", lambda self, host: None if host.server.kind == "primary" else ("replica", ""))
    assert "primary" in scenario.kinds(scenario.play(CUT).problems)


def test_nothing_is_stopped_where_nothing_happens():
    for topology in world.TOPOLOGIES:
        result = scenario.play({"topology": topology, "profile": "fast", "seed": 5, "faults": []})
        assert (result.problems, result.stops) == ([], 0)


def test_every_mutation_applies():
    sources = adapter.sources_of()
    for name, text, replacement in mutants.MUTANTS:
        changed, = set(mutants.mutated(sources, text, replacement).items()) - set(sources.items())
        ast.parse(changed[1], name)
    with pytest.raises(ValueError):
        mutants.mutated(sources, "no such text", "")


@pytest.mark.parametrize("name", ["no margin between stop and promotion", "promotes though the primary has asked"])
def test_a_mutant_is_caught(name):
    (text, replacement), = [mutant[1:] for mutant in mutants.MUTANTS if mutant[0] == name]
    assert mutants.hunt(mutants.mutated(adapter.sources_of(), text, replacement), 1, 20, SCENARIOS)


def test_a_failing_seed_is_shrunk_to_what_matters():
    """Two faults that do nothing are left out; what is left is what is wrong, and can be read again."""
    case = {"topology": "3w", "profile": "safe", "seed": 1, "faults": [
        {"at": 11, "do": "step", "host": "c", "seconds": 1}, {"at": 12, "do": "no_fuse", "host": "a", "for": 80},
        {"at": 12, "do": "no_guard", "host": "a", "for": 80},
        {"at": 13, "do": "lossy", "one": "b", "two": "c", "part": 0.1, "for": 5}, {"at": 17, "do": "cut", "one": "a", "two": "bcw", "for": 60}]}
    small = shrink.shrunk(case)[0]
    assert [fault["do"] for fault in small["faults"]] == ["no_fuse", "no_guard", "cut"]
    again = json.loads(report.as_file(small))
    assert again == small
    assert scenario.kinds(scenario.play(again).problems) == ["two"]


def test_each_fault_can_be_inflicted_and_ends():
    values = {"host": "b", "one": "b", "two": "cw", "seconds": 0.1, "part": 0.2, "rate": 1.0001, "size": 10, "primary": "a"}
    for name in sorted(set(faults.FAULTS) - {"change", "pg_promote"}):
        given = dict((key, value) for key, value in values.items() if key in inspect.signature(faults.FAULTS[name]).parameters)
        if name in ("reset", "slow", "lossy"):
            given["two"] = "c"
        fault = dict(given, at=11, do=name)
        if name in faults.LAST:
            fault["for"] = 3
        result = scenario.play({"topology": "3w", "profile": "fast", "seed": 2, "faults": [fault]})
        assert result.problems == [], name
