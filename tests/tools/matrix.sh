#!/usr/bin/env bash
# matrix.sh [prepare] [SCENARIO...]: Molecule scenarios that show the collection on other platforms than the lab's, one after the other, all of them
# where none is named. Each makes three hosts, deploys, deploys again and finds nothing to change, boots a host, switches over, fails over,
# and finds nothing to change again. Its results are .cache/matrix/SCENARIO.jsonl, from which matrix_table.py makes the table of
# docs/platforms.md. el9_broken and bookworm_broken show what a user reads when packages cannot be had, instead. With `prepare`: their images and
# environments only, after which several scenarios may run at once.
# KEEP_LAB=1 keeps the hosts; LAB_CPU_SHARES=64 leaves the machine to others, and wants MATRIX_PROFILE=wan where they use it.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
export ANSIBLE_HOME=$root/.ansible ANSIBLE_COLLECTIONS_PATH=$root/.ansible/collections MOLECULE_PROJECT_DIRECTORY=$root NO_COLOR=1
results=$root/.cache/matrix
mkdir -p "$results"

all=(el9 el7 bullseye bookworm bookworm_pgdg trixie sid choices el9_broken bookworm_broken)
# sid is whatever it is today.
may_fail=(sid)
# The controller's packages, where they are not those of .venv: ansible-core 2.16 is the last for EL 7, and what users of other systems have is newer.
declare -A requirements=([el9]=newest [el9_broken]=newest [trixie]=newest [sid]=newest [bookworm]=core219)

say() { printf 'matrix: %s\n' "$*"; }
is_one_of() { local word=$1; shift; [[ " $* " == *" $word "* ]]; }

record() { printf '%s\n' "$1" >>"$MATRIX_RECORD"; }

act() {
    nice -n 10 "$venv/bin/molecule" -c .config/molecule/config.yml -c molecule/shared/matrix/config.yml "$1" -s "$scenario"
}

# step NAME ACTION: Molecule's action, its output in a file, its time on record.
step() {
    local name=$1 begin=$SECONDS rc=0 log=$results/$scenario-$1.log
    act "$2" >"$log" 2>&1 </dev/null || rc=$?
    if [ "$rc" = 0 ]; then
        say "$scenario: $name, $((SECONDS - begin)) s"
        record "{\"step\": \"$name\", \"ok\": true, \"seconds\": $((SECONDS - begin))}"
    else
        say "$scenario: $name FAILED; the end of $log:"
        tail -n 40 "$log"
        record "{\"step\": \"$name\", \"ok\": false}"
        return 1
    fi
}

images() {
    case $scenario in
        el*) MATRIX_TAG=$(molecule/shared/el/image.sh "${scenario%_broken}") ;;
        bookworm_pgdg | bookworm_broken) MATRIX_TAG=$(molecule/shared/apt/image.sh) ;;
        choices) MATRIX_TAG=$(molecule/shared/image.sh bookworm) ;;
        *) MATRIX_TAG=$(molecule/shared/image.sh "$scenario") ;;
    esac
    MATRIX_TAG=${MATRIX_TAG#*:}
    export MATRIX_TAG
    [ -n "$MATRIX_TAG" ]
}

# As for the lab (lab.sh): a run against hosts that are not there fails at once, and reaches nobody else's.
block_route() {
    local subnet
    for subnet in $(sed -nE 's/.*ipv4_address: ([0-9.]+)\.[0-9]+.*/\1.0\/24/p;T;q' "molecule/$scenario/molecule.yml") \
        $(sed -nE 's/.*ipv6_address: "([0-9a-f:]+)::.*/\1::\/64/p;T;q' "molecule/$scenario/molecule.yml"); do
        ip route replace unreachable "$subnet" metric 4096 2>/dev/null || say "not allowed to add a route for $subnet"
    done
}

prepared() {
    scenario=$1
    venv=$root/.venv
    if [ -n "${requirements[$scenario]:-}" ]; then
        if tests/tools/venv.sh "$results/${requirements[$scenario]}" "requirements/${requirements[$scenario]}.txt"; then
            venv=$results/${requirements[$scenario]}
        else
            say "$scenario: requirements/${requirements[$scenario]}.txt cannot be had here, the ansible-core of .venv has to do"
        fi
    fi
    images && molecule/shared/lab.sh key
}

one() {
    prepared "$1" && block_route || return 1
    export PATH="$venv/bin:$path" MATRIX_RECORD=$results/$scenario.jsonl
    : >"$MATRIX_RECORD"
    act destroy >"$results/$scenario-destroy.log" 2>&1 </dev/null || true
    step create create && step prepare prepare || return 1
    # Its hosts are there to fail.
    if [[ $scenario = *_broken ]]; then step errors converge; return; fi
    step deploy converge && step again idempotence &&
        step effects side-effect && step "again at the end" idempotence && step verified verify && grep -q '"system"' "$MATRIX_RECORD"
}

# Hosts go after an interruption, too.
gone() {
    [ -z "${scenario:-}" ] || [ "${KEEP_LAB:-}" = 1 ] || act destroy >"$results/$scenario-destroy.log" 2>&1 </dev/null || true
    scenario=
}

main() {
    local begin name only=
    path=$PATH
    failed=()
    if [ "${1:-}" = prepare ]; then only=prepare; shift; fi
    if [ $# = 0 ]; then set -- "${all[@]}"; fi
    for name in "$@"; do
        is_one_of "$name" "${all[@]}" || { say "no scenario $name; there are ${all[*]}"; exit 2; }
    done
    if [ -n "$only" ]; then
        for name in "$@"; do prepared "$name"; done
        return
    fi
    trap gone EXIT
    trap 'exit 130' INT TERM HUP
    for name in "$@"; do
        begin=$SECONDS
        if one "$name"; then
            say "$name: passed, $((SECONDS - begin)) s"
        else
            say "$name: FAILED$(is_one_of "$name" "${may_fail[@]}" && echo ', which it may')"
            is_one_of "$name" "${may_fail[@]}" || failed+=("$name")
        fi
        gone
    done
    [ ${#failed[@]} = 0 ] || { say "failed: ${failed[*]}"; exit 1; }
}

# A function is read as a whole, and this takes long: the file may change meanwhile.
main "$@"; exit
