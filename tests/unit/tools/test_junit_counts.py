"""The last lines of a run: which tests failed and what they said, which were left out and why."""

from __future__ import annotations

import subprocess
import sys

from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "junit_counts.py"
REPORT = """<testsuites><testsuite>
<testcase name="test_passes"/>
<testcase name="test_row_5"><skipped message="make chaos runs them"/></testcase>
<testcase name="test_row_4"><skipped message="make chaos runs them"/></testcase>
<testcase name="test_alerts"><skipped message="no promtool"/></testcase>
<testcase name="test_breaks"><failure message="AssertionError: assert 'stopped'&#10;  == 'running'">a long
trace</failure></testcase>
<testcase name="test_is_not_set_up"><error>ssh: no route</error></testcase>
</testsuite></testsuites>
"""


@pytest.mark.parametrize("asked, said", [
    ([], ["1 2"]),
    (["--skipped"], ["test_row_4, test_row_5 (make chaos runs them)", "test_alerts (no promtool)"]),
    (["--failed"], ["test_breaks: AssertionError: assert 'stopped' == 'running'", "test_is_not_set_up: ssh: no route"]),
])
def test_one_report_and_one_that_is_not_there(tmp_path, asked, said):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert subprocess.check_output([sys.executable, TOOL, *asked, report, tmp_path / "none.xml"], text=True).splitlines() == said


def test_a_long_message_is_cut(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text('<testsuite><testcase name="t"><failure message="%s"/></testcase></testsuite>' % ("x" * 5000))
    assert len(subprocess.check_output([sys.executable, TOOL, "--failed", report], text=True)) < 320
