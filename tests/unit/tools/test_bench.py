"""The figures of `make bench`: how they are read from Ansible's output, and that a goal that is missed is not shown as reached."""
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS / "bench"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


said = load(TESTS / "bench" / "said.py")
bench = load(TESTS / "bench" / "bench.py")
bench_table = load(TESTS / "tools" / "bench_table.py")

OUTPUT = """
TASK [a task -------- 9.99s] ***
ok: [db1]

PLAY RECAP *********************************************************************
db1                        : ok=43   changed=0    unreachable=0    failed=0    skipped=12   rescued=0    ignored=0
db2                        : ok=40   changed=1    unreachable=0    failed=0    skipped=15   rescued=0    ignored=0

Wednesday 25 November 2026  17:25:32 +0000 (0:00:00.420)       0:00:18.123 ****
===============================================================================
pgfleet.repmgr.common : Gather the state of each node and its peers ---- 3.08s
pgfleet.repmgr.server : Settings (apt) -- or not ------------------------ 0.51s
pgfleet.repmgr.common : Record the inventory variables of each host - 111.36s
"""
VERSIONS = {"date": "2026-11-25", "commit": "abc", "processors": 2, "processor": "EPYC", "memory_mib": 24105, "ansible_core": "2.16.19", "python": "3.11.7"}
LINES = [
    {"machine": dict(VERSIONS, hosts="Debian 12", postgresql="postgres 15", repmgr="repmgr 5.3.3", hosts_python="Python 3.11"), "load": 0.3},
    {"figure": "site.yml, four empty hosts", "value": 1.7, "text": "62.0 s, 1.70 times by hand", "goal": "<= 1.3 times by hand", "reached": False,
     "shown_by": "site.yml"},
    {"figure": "status.yml, healthy", "value": 4.5, "text": "4.5 s", "goal": "< 5 s", "reached": True, "shown_by": "status.yml"},
    {"figure": "by hand", "value": 36, "text": "36.0 s", "goal": "", "reached": None, "shown_by": ""},
    {"run": "site.yml", "command": "", "seconds": 62.0, "processes": {"db1": 900, "db2": 700}, "round_trips": 210, "tasks": 60, "changed": 30,
     "slowest": [[34.0, "Packages"]]},
    {"run": "status.yml", "command": "", "seconds": 4.5, "processes": {}, "round_trips": 4, "tasks": 7, "changed": 0, "slowest": [[3.0, "Every node"]]},
]


def test_what_ansible_said():
    assert said.recap(OUTPUT)["db1"]["ok"] == 43 and said.recap(OUTPUT)["db2"]["changed"] == 1
    assert said.slowest(OUTPUT) == [
        [3.08, "pgfleet.repmgr.common : Gather the state of each node and its peers"], [0.51, "pgfleet.repmgr.server : Settings (apt) -- or not"],
        [111.36, "pgfleet.repmgr.common : Record the inventory variables of each host"]]


def test_processes_are_counted_across_the_end_of_their_ids(monkeypatch):
    monkeypatch.setattr(bench.pathlib.Path, "read_text", lambda path: "32768\n")
    assert bench.started({"db1": 100, "db2": 32760}, {"db1": 350, "db2": 310}) == {"db1": 250, "db2": 318}


def test_of_several_runs_the_one_in_the_middle():
    assert bench.middle([{"seconds": 9}, {"seconds": 2}, {"seconds": 4}]) == {"seconds": 4}
    assert bench.spread([0.75, 0.5, 0.6]) == (0.6, "0.60 s (0.50-0.75)")


@pytest.mark.parametrize("program", ["ssh", "sftp", "scp"])
def test_a_round_trip_is_a_start_of_ssh(tmp_path, program):
    real = tmp_path / "bin"
    real.mkdir()
    (real / program).write_text('#!/bin/sh\necho "$#" "$@"\n')
    (real / program).chmod(0o755)
    trips = tmp_path / "trips"
    path = "%s:%s" % (real, os.environ["PATH"])
    environment = dict(os.environ, PATH="%s:%s" % (bench.COUNT, path), BENCH_PATH=path, BENCH_ROUND_TRIPS=str(trips))
    said = subprocess.check_output([program, "-o", "A=b", "db1", "two  words"], env=environment, universal_newlines=True)
    assert said == "4 -o A=b db1 two  words\n"
    subprocess.check_call([program, "-O", "exit", "db1"], env=environment)
    assert trips.read_text() == program + "\n"


def document(name, was):
    return "before\n%s\n%s\n%s\nafter\n" % (bench_table.MARK % name, was, bench_table.END % name)


def test_figures_beside_their_goals():
    text = bench_table.rewritten(document("bench", "old"), {"bench": LINES})
    assert "| site.yml, four empty hosts | 62.0 s, 1.70 times by hand | <= 1.3 times by hand | **missed** |" in text
    assert "| status.yml, healthy | 4.5 s | < 5 s | reached |" in text and "| by hand | 36.0 s |  |  |" in text
    words = " ".join(text.split())
    assert "2 cores (EPYC), 24 GiB; ansible-core 2.16.19" in words and "repmgr 5.3.3" in words
    assert "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    assert bench_table.rewritten(text, {"bench": LINES}) == text


def test_only_a_missed_goal_is_explained_by_its_tasks():
    text = bench_table.rewritten(document("bench-runs", ""), {"bench": LINES})
    assert "| site.yml | 62.0 | 60 | 700-900 | 210 |" in text and "| status.yml | 4.5 | 7 |  | 4 |" in text
    assert "| 34.00 | Packages |" in text and "Every node" not in text


def test_a_table_without_a_record_stays():
    text = document("bench", "kept")
    assert bench_table.rewritten(text, {}) == text
    assert bench_table.rewritten(text, {"bench-scale": [{"machine": VERSIONS, "load": 0, "nodes": 4}]}) == text


def grown(clusters, seconds, tasks):
    hosts = clusters * 4
    return {"playbook": "status", "clusters": clusters, "hosts": hosts, "seconds": seconds, "processor": seconds, "mebibytes": 60,
            "seconds_a_host": seconds / hosts, "processor_a_host": seconds / hosts, "mebibytes_a_host": 60 / hosts, "tasks": tasks}


@pytest.mark.parametrize("reached", [True, False])
def test_a_cost_that_grows_is_explained_by_the_tasks_that_grow(reached):
    lines = [{"machine": VERSIONS, "load": 9.0, "nodes": 4},
             grown(100, 800, [[600.0, "Set the members of this cluster"],
                              [150.0, "Gather the state of each node"], [50.0, "Gather the state of each node"]]),
             grown(10, 24, [[4.0, "Set the members of this cluster"], [20.0, "Gather the state of each node"]]),
             {"figure": "status: seconds a host", "text": "3.33 times", "goal": "<= 1.2 times", "reached": reached, "shown_by": "status"}]
    text = bench_table.rewritten(document("bench-scale", "old"), {"bench-scale": lines})
    assert "| status | 100 | 400 | 800.0 | 2.000 | 800.0 | 2.000 | 60 | 0.15 |" in text and "clusters of 4 nodes" in " ".join(text.split())
    assert ("| Set the members of this cluster | 0.100 | 1.500 |" in text) is not reached
    assert ("| Gather the state of each node | 0.500 | 0.500 |" in text) is not reached


@pytest.mark.parametrize("name", ["bench-clone", "bench-hosts"])
def test_figures_of_the_other_benches(name):
    text = bench_table.rewritten(document(name, "old"), {name: LINES})
    assert "| site.yml, four empty hosts | 62.0 s, 1.70 times by hand | <= 1.3 times by hand | **missed** |" in text and "old" not in text
    assert bench_table.rewritten(document("bench", "kept"), {name: LINES}) == document("bench", "kept")
