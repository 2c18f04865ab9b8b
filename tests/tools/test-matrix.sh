#!/usr/bin/env bash
# test-matrix.sh [SCENARIO...]: scenarios of matrix.sh as a part of the checks, one test each. Without arguments those of the families of the
# day (lib.sh) at once, with the patience of the profile `wan` for one another's load; and with TEST_ALL=1 the others, one after the other.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-matrix
read -ra families < <(matrix_families)
others=(el9_broken bookworm_broken bullseye bookworm bookworm_pgdg choices)
declare -A running

trap 'kill "${running[@]}" 2>/dev/null; wait; exit 130' INT TERM HUP

has_ended() {
    local rc=0 line
    wait "${running[$1]}" || rc=$?
    unset "running[$1]"
    cat ".cache/matrix/$1.log"
    # Another ansible-core than the scenario's own is not what was asked for.
    while IFS= read -r line; do left_out "${line#matrix: }"; done < <(grep ' has to do$' ".cache/matrix/$1.log")
    [ "$rc" = 0 ] || while IFS= read -r line; do has_failed "$1: ${line:0:300}"; done < <(grep -E '^ *(fatal|msg|stderr): ' ".cache/matrix/$1.log")
    return "$rc"
}

if [ $# = 0 ]; then
    step "images and environments" tests/tools/matrix.sh prepare "${families[@]}" || end_part
    for scenario in "${families[@]}"; do
        MATRIX_PROFILE=wan tests/tools/matrix.sh "$scenario" >".cache/matrix/$scenario.log" 2>&1 </dev/null &
        running[$scenario]=$!
    done
    for scenario in "${families[@]}"; do step "$scenario" has_ended "$scenario" || true; done
    if [ "${TEST_ALL:-}" = 1 ]; then
        set -- "${others[@]}"
    else
        for scenario in el9 trixie; do [[ " ${families[*]} " == *" $scenario "* ]] || others+=("$scenario"); done
        left_out "${others[*]} (make matrix, or make test-all)"
    fi
fi
for scenario in "$@"; do
    step "$scenario" tests/tools/matrix.sh "$scenario" || true
done
end_part
