# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one file that role metrics ships, as its template makes it, and the alerts that go with it."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
import types

import jinja2
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "metrics"
ALERTS = ROLE / "files" / "alerts.yml"
PARTS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__repmgr_metrics_parts"]

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on PATH (it is in Debian's package prometheus)")


def families():
    text = (ROLE / "files" / "metrics.py").read_text()
    return set(re.findall(r"^    \('(repmgr_[a-z_]+)', ", text, re.M))


@pytest.fixture
def program(tmp_path):
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(to_json=json.dumps, zip=lambda one, two: list(zip(one, two)))
    paths = [ROOT / "plugins" / "module_utils" / (name + ".py") for name in PARTS] + [ROLE / "files" / "metrics.py"]
    made = tmp_path / "repmgr-metrics"
    made.write_text(environment.from_string((ROLE / "templates" / "repmgr-metrics.j2").read_text()).render(
        ansible_facts={"python": {"version": {"major": 3}}}, __repmgr_metrics_parts=PARTS,
        __repmgr_metrics_paths=paths, query=lambda name, *given: [path.read_text() for path in given]))
    return made


def test_the_program_is_whole(program):
    """Each part comes after those that it needs, and none is missing: it runs where no Ansible and no collection is."""
    done = subprocess.run([sys.executable, "-I", str(program), "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          cwd="/", check=False)
    assert done.returncode == 0 and "usage: repmgr-metrics" in done.stdout, done.stderr


def test_a_server_that_is_not_there(program, tmp_path):
    """From the files alone, and as a user that may be any."""
    config = tmp_path / "repmgr.conf"
    config.write_text("node_id=7\nnode_name='n7'\nconninfo='host=127.0.0.1 port=1'\n")
    if subprocess.run(["id", "nobody"], stdout=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("no user nobody")
    for path in [tmp_path] + list(tmp_path.parents)[:2]:
        path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", str(program), "--cluster", "c", "--config", str(config), "--bin-dir", "/nowhere", "--data-directory", "/nowhere",
         "--passfile", "/nowhere", "--user", "nobody", "--output", str(tmp_path / "repmgr.prom")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = [line for line in (tmp_path / "repmgr.prom").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == 'repmgr_up{cluster="c",node="n7"} 0'
    assert [line.split("{")[0] for line in lines[1:]] == ["repmgr_observation_duration_seconds", "repmgr_observed_timestamp_seconds"]


def test_what_fails_leaves_the_file_as_it_was(program, tmp_path):
    if subprocess.run(["id", "-u"], stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.strip() != "0":
        pytest.skip("not root")
    output = tmp_path / "repmgr.prom"
    output.write_text("old")
    done = subprocess.run(
        [sys.executable, "-I", str(program), "--cluster", "c", "--config", "/nowhere", "--bin-dir", "/nowhere", "--data-directory", "/nowhere",
         "--passfile", "/nowhere", "--user", "nobody-of-that-name", "--output", str(output)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
    assert done.returncode == 1 and "repmgr-metrics: KeyError: " in done.stderr
    assert output.read_text() == "old"


def test_the_parts_stand_in_a_raw_string():
    for name in PARTS:
        assert "'''" not in (ROOT / "plugins" / "module_utils" / (name + ".py")).read_text()
    assert "'''" not in (ROLE / "files" / "metrics.py").read_text()


def test_alerts_speak_of_metrics_that_there_are():
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    used = set(re.findall(r"repmgr_[a-z_]+", " ".join(rule["expr"] for rule in rules)))
    assert used and used <= families()
    assert all(set(rule) >= {"alert", "expr", "labels", "annotations"} for rule in rules)


def test_every_alert_is_quiet_in_one_case_and_fires_in_another():
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    text = pathlib.Path(__file__).with_name("alerts_test.yml").read_text()
    cases = [case for test in yaml.safe_load(text)["tests"] for case in test.get("alert_rule_test") or []]
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} | set(re.findall(r'\{alertname="(\w+)"\}', text)) == alerts


def test_every_metric_is_documented():
    documented = set(re.findall(r"`(repmgr_[a-z_]+)", (ROOT / "docs" / "metrics.md").read_text()))
    variables = {"repmgr_metrics", "repmgr_metrics_directory", "repmgr_metrics_interval"}
    assert documented - variables == families()


@promtool
def test_promtool_accepts_the_alerts():
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout


@promtool
def test_the_alerts_fire_when_they_should_and_not_else(tmp_path):
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(pathlib.Path(__file__).with_name("alerts_test.yml"), tmp_path)
    done = subprocess.run(["promtool", "test", "rules", "alerts_test.yml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout


@promtool
def test_promtool_accepts_the_text(program):
    namespace = types.ModuleType("metrics")
    exec(compile((ROLE / "files" / "metrics.py").read_text(), "metrics.py", "exec"), namespace.__dict__)
    text = namespace.text([(name, {}, 1) for name in sorted(families())], cluster="c", node="n")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
