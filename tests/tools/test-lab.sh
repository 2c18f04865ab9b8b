#!/usr/bin/env bash
# test-lab.sh: `make lab` from nothing, then the acceptance tests on it. The lab goes at the end,
# after a failure, too, unless KEEP_LAB=1.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-lab
trap lab_ends EXIT
failed=

make_lab() {
    # not a part of the make that may have called this script
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory lab </dev/null 2>&1 | tee .cache/make-lab.log
}

molecule/shared/lab.sh down
SECONDS=0
if step "make lab, from nothing" make_lab; then
    echo "--- test-lab: make lab took $SECONDS s"
    rm -f .cache/acceptance.xml
    python -m pytest tests/acceptance -x -v -rs --durations=30 --durations-min=10 -p no:cacheprovider \
        --junit-xml .cache/acceptance.xml "$@" </dev/null || failed=yes
    [ -e .cache/acceptance.xml ] || failed=yes
    count_junit .cache/acceptance.xml
    left_out_junit .cache/acceptance.xml
else
    failed=yes
fi
[ -z "$failed" ] || lab_journal
end_part "$failed"
