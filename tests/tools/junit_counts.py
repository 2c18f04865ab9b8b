"""Print "PASSED FAILED" for each JUnit report that is there; a skipped test counts as neither.

With --skipped as the first argument, print instead why tests were skipped, and which; with --failed those that failed, and what they said first.
"""

from __future__ import annotations

import os
import sys
from xml.etree import ElementTree

# Characters. As much of what a test said fits the last lines of a run; all of it stands where it ran.
SAID = 300


def counts(path):
    passed = failed = 0
    for case in ElementTree.parse(path).iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed += 1
        elif "skipped" not in outcomes:
            passed += 1
    yield "%d %d" % (passed, failed)


def skipped(path):
    names = {}
    for case in ElementTree.parse(path).iter("testcase"):
        for reason in case.iter("skipped"):
            names.setdefault(reason.get("message"), []).append(case.get("name"))
    for reason, tests in names.items():
        yield "%s (%s)" % (", ".join(sorted(tests)), reason)


def failed(path):
    for case in ElementTree.parse(path).iter("testcase"):
        for outcome in case:
            if outcome.tag in {"failure", "error"}:
                said = (outcome.get("message") or outcome.text or "").split()
                yield "%s: %s" % (case.get("name"), " ".join(said)[:SAID])


def main(report, paths):
    for path in filter(os.path.exists, paths):
        for line in report(path):
            print(line)


if __name__ == "__main__":
    reports = {"--skipped": skipped, "--failed": failed}
    if sys.argv[1] in reports:
        main(reports[sys.argv[1]], sys.argv[2:])
    else:
        main(counts, sys.argv[1:])
