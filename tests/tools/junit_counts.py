"""Print "PASSED FAILED" for each JUnit report that is there; a skipped test counts as neither.

With --skipped as the first argument, print the skipped tests and why instead.
"""

from __future__ import annotations

import os
import sys
from xml.etree import ElementTree


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
    for case in ElementTree.parse(path).iter("testcase"):
        for reason in case.iter("skipped"):
            yield "%s (%s)" % (case.get("name"), reason.get("message"))


def main(report, paths):
    for path in filter(os.path.exists, paths):
        for line in report(path):
            print(line)


if __name__ == "__main__":
    if sys.argv[1] == "--skipped":
        main(skipped, sys.argv[2:])
    else:
        main(counts, sys.argv[1:])
