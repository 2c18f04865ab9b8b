"""The sets of options that `make options` deploys: every allowed pair occurs, what the contract refuses does not, and no documented option is forgotten."""
import datetime
import itertools
import pathlib
import sys

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract import contract_problems

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/options"), str(ROOT / "tests/acceptance")]

import covering  # noqa: E402
import options  # noqa: E402
import run  # noqa: E402

SMALL = {"a": ["1", "2", "3"], "b": ["1", "2"], "c": ["1", "2", "3"], "d": ["1", "2"]}
BASE = {name: next(iter(values)) for name, values in options.PARAMETERS.items()}


def pairs(parameters):
    for first, second in itertools.combinations(sorted(parameters), 2):
        for values in itertools.product(parameters[first], parameters[second]):
            yield tuple(zip((first, second), values))


@pytest.fixture(scope="module")
def allowed():
    return options.judge()


@pytest.mark.parametrize("seed", range(20))
def test_every_allowed_pair_occurs_and_no_other(seed):
    def judge(row):
        # a pair, and a triple that greedy choices run into
        return not (row["a"] == "2" and row["b"] == "2") and not (row["a"] == "3" and row["c"] == "3" and row["d"] == "2")

    rows = covering.covering_set(SMALL, judge, seed)
    seen = set().union(*[covering.pairs_of(row) for row in rows])
    assert seen == set(pairs(SMALL)) - {(("a", "2"), ("b", "2"))}
    assert all(judge(row) and list(row) == list(SMALL) for row in rows)
    assert 8 <= len(rows) <= 13


def test_a_seed_is_a_list():
    first, again, other = (covering.covering_set(SMALL, lambda row: True, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_first_values_have_to_go_together():
    with pytest.raises(AssertionError, match="first values"):
        covering.covering_set(SMALL, lambda row: row["a"] != "1", 1)


def test_every_documented_option_is_varied_or_left_out_for_a_reason():
    specs = yaml.safe_load((ROOT / "roles/common/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    varied = {name for values in options.PARAMETERS.values() for variables in values.values() for name in variables} | {"repmgr_upstream"}
    assert varied - {"repmgr_hosts"} | set(options.FIXED) == set(specs)
    assert not varied & set(options.FIXED)
    for name, spec in specs.items():
        if name in varied and spec.get("choices") and name != "repmgr_insecure":
            values = {variables[name] for values in options.PARAMETERS.values() for variables in values.values() if name in variables}
            assert values | {spec["default"]} == set(spec["choices"]), name


def test_values_go_with_the_defaults(allowed):
    """Otherwise a pair would be taken for contradictory because of a third value."""
    assert all(allowed(dict(BASE, **{name: value})) for name, values in options.PARAMETERS.items() for value in values)


@pytest.mark.parametrize("refused", [
    {"layout": "2 data", "synchronous": "2"}, {"layout": "2 data + witness", "synchronous": "2"},
    {"layout": "3 data", "backup": "on the witness"}, {"archive": "copied", "backup": "on the witness"},
])
def test_the_contract_says_what_does_not_go_together(allowed, refused):
    assert not allowed(dict(BASE, **refused))


def test_sets(allowed):
    """The real ones, with what the contract refuses, and nothing else, left out."""
    found = options.sets(1)
    seen = set().union(*[covering.pairs_of(choice) for choice in found])
    missing = set(pairs(options.PARAMETERS)) - seen
    assert all(not allowed(dict(BASE, **dict(pair))) for pair in missing)
    records = options.Records()
    assert [contract_problems(records.of(choice)) for choice in found] == [[]] * len(found)
    assert len(found) <= 35


def test_the_record_is_the_roles(allowed):
    """It is rendered from the role's own tasks, so that a rule about a new variable is heeded here, too."""
    choice = dict(BASE, layout="2 data + witness", node_ids="greatest", node_names="own", groups="own", upstream="named", tls="off", database="longest")
    first, second, witness = options.Records().of(choice)
    assert (first["name"], first["node_id"], first["node_name"], first["groups"]) == ("options-1", "2147483641", "Node.2147483641-x", ["primary"])
    assert (second["upstream"], second["tls"], second["user"]) == ("options-1", "", "u" * 63)
    assert (witness["groups"], witness["postgresql_version"], witness["upstream"]) == (["witness"], "15", "")


def test_an_inventory():
    choice = dict(BASE, layout="3 data + witness", upstream="named", groups="own")
    found = options.inventory(choice, "x", 11, lab_dir="/lab")["all"]
    assert found["vars"]["lab_dir"] == "/lab" and found["vars"]["repmgr_hosts"] == "pg_first:pg_more:pg_votes"
    assert {group: list(members["hosts"]) for group, members in found["children"].items()} == {
        "pg_first": ["x-1"], "pg_more": ["x-2", "x-3"], "pg_votes": ["x-4"]}
    assert found["children"]["pg_more"]["hosts"]["x-3"] == {"ansible_host": "192.168.56.13", "number": 3, "repmgr_upstream": "x-2"}


def test_days_take_turns():
    """Every set has its day, and a day has two."""
    begin = datetime.date(2026, 11, 29)
    for total in (27, 28):
        days = [run.of_the_day(total, begin + datetime.timedelta(days=number)) for number in range(total)]
        assert set(number for day in days for number in day) == set(range(1, total + 1))
        assert all(len(set(day)) == 2 for day in days)
