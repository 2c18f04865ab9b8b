#!/usr/bin/env bash
# test-lab.sh [PYTEST'S ARGUMENTS]: `make lab` from nothing, then the acceptance tests on it. The lab goes at the end, after a failure, too, unless
# KEEP_LAB=1. An hour and more for all of them is too long for every run: some files take turns by the day (TEST_TURN=0 to 8 for another), and run
# all with TEST_ALL=1.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-lab
trap lab_ends EXIT
failed=
export LAB_ANEW=1

make_lab() {
    # not a part of the make that may have called this script
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory lab </dev/null 2>&1 | tee .cache/make-lab.log
}

# In this order: files that go on with the cluster that is there come before those that make one of their own.
# An odd number of turns, so that each meets both families of test-matrix.sh.
by_turns=("12" "11" "23 24" "13 10" "14 17" "21" "15 16 19" "20" "09")
turn=${TEST_TURN:-$(($(date -u +%s) / 86400 % ${#by_turns[@]}))}
files=(tests/acceptance)
if [ "${TEST_ALL:-}" != 1 ] && [ $# = 0 ]; then
    files=()
    for number in 01 02 03 04 05 06 07 08 ${by_turns[$turn]}; do files+=(tests/acceptance/test_"$number"_*.py); done
    for other in "${!by_turns[@]}"; do
        [ "$other" != "$turn" ] || continue
        for number in ${by_turns[$other]}; do
            for file in tests/acceptance/test_"$number"_*.py; do left_out "${file##*/} (it is not its turn: TEST_TURN=$other, or make test-all)"; done
        done
    done
    for number in 18 22; do for file in tests/acceptance/test_"$number"_*.py; do left_out "${file##*/} (make test-all)"; done; done
fi

molecule/shared/lab.sh down
SECONDS=0
if step "make lab, from nothing" make_lab; then
    echo "--- test-lab: make lab took $SECONDS s"
    rm -f .cache/acceptance.xml
    python -m pytest "${files[@]}" -x -v -rs --durations=30 --durations-min=10 -p no:cacheprovider \
        --junit-xml .cache/acceptance.xml "$@" </dev/null || failed=yes
    [ -e .cache/acceptance.xml ] || failed=yes
    count_junit .cache/acceptance.xml
    left_out_junit .cache/acceptance.xml
else
    failed=yes
fi
[ -z "$failed" ] || lab_journal
end_part "$failed"
