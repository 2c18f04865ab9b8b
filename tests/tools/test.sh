#!/usr/bin/env bash
# test.sh [check]: every check there is, or those that need no host; each part timed; the other parts run when one fails. The last
# lines say what was left out, what failed, and the totals.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
only=${1:-}
mkdir -p .cache/counts .cache/left-out .cache/failed
rm -rf .cache/counts/* .cache/left-out/* .cache/failed/*
begin=$SECONDS
rows=()
total_passed=0
total_failed=0
running=
image=
ahead=

# An interrupted run ends the part that is running, which then takes its lab down.
stop() {
    trap - INT TERM HUP
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" || true
    fi
    # It may have ended long ago, and its number be another's.
    [[ " $(jobs -rp | tr '\n' ' ') " != *" ${image:-none} "* ]] || kill "$image" 2>/dev/null || true
    [ -z "$ahead" ] || kill "$ahead" 2>/dev/null || true
    exit 130
}
trap stop INT TERM HUP

# run_part NAME MINUTES: the minutes are for a part that hangs; it should then still clean up.
run_part() {
    local name=$1 minutes=$2 start=$SECONDS rc=0 passed failed
    printf '\n=== %s\n' "$name"
    if [ "$name" = "$began_ahead" ]; then
        running=$ahead
        wait "$running" || rc=$?
        cat ".cache/$name.log"
        ahead=
    else
        timeout --kill-after=120 "${minutes}m" "tests/tools/$name.sh" </dev/null &
        running=$!
        wait "$running" || rc=$?
    fi
    running=
    touch ".cache/counts/$name"
    if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then echo "$name: ended after $minutes minutes" | tee -a ".cache/failed/$name"; fi
    read -r passed failed < <(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' ".cache/counts/$name")
    # what ended early or ran nothing has failed, whatever it counted until then
    if [ "$failed" = 0 ] && { [ "$rc" != 0 ] || [ "$passed" = 0 ]; }; then
        failed=1
        echo "$name: something outside of its tests; exit code $rc" >>".cache/failed/$name"
    fi
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    rows+=("$(printf '%-12s %-5s %6d s  %4d passed  %3d failed' "$name" \
        "$([ "$failed" = 0 ] && echo ok || echo FAIL)" $((SECONDS - start)) "$passed" "$failed")")
}

# begin_ahead NAME MINUTES: beside the parts before it; its output comes when it is its turn.
begin_ahead() {
    began_ahead=$1
    timeout --kill-after=120 "$2m" "tests/tools/$1.sh" >".cache/$1.log" 2>&1 </dev/null &
    ahead=$!
}

# Images are mostly downloads, the checks are mostly computing: they get on well together. The lab's comes first, and whoever needs one that
# is not there yet waits for it. A failure shows again, and is counted, where hosts are made. timeout ends what they have started, too.
if [ "$only" != check ]; then
    timeout 40m bash -c 'molecule/shared/engine.sh && molecule/shared/image.sh &&
        LAB_CPU_SHARES=64 nice -n 19 tests/tools/matrix.sh prepare '"$(matrix_families)" > .cache/image-ahead.log 2>&1 </dev/null &
    image=$!
fi

begin_ahead units 25
run_part lint 10
run_part docs-lint 10
run_part sanity 20
run_part units 25
if [ "$only" != check ]; then
    run_part test-lab 75
    run_part test-options "$([ "${TEST_ALL:-}" = 1 ] && echo 240 || echo 30)"
    run_part test-galaxy 15
    wait "$image" || tail -n 5 .cache/image-ahead.log
    image=
    run_part test-matrix 90
fi

printf '\n=== summary\n'
printf '%s\n' "${rows[@]}"
printf '%-12s %-5s %6d s\n' total "$([ "$total_failed" = 0 ] && echo ok || echo FAIL)" $((SECONDS - begin))
sort -u .cache/left-out/* | sed 's/^/left out: /'
sort -u .cache/failed/* | sed 's/^/failed: /'
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" = 0 ]
