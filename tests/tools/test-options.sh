#!/usr/bin/env bash
# test-options.sh [--seed N] [SET...]: sets of options, each deployed on hosts of its own, one test each: those that are named, else the two of the day, or
# with TEST_ALL=1 all. The hosts are made like the lab's and beside them: where there is no lab, one is made for that and goes at the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-options
export PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH
results=.cache/options-results.jsonl
failed=
lab_is_ours=
runner=

ends() {
    trap '' INT TERM HUP
    if [ -n "$runner" ]; then kill "$runner" 2>/dev/null && wait "$runner"; fi
    [ -z "$lab_is_ours" ] || lab_ends
}
trap ends EXIT
trap 'exit 130' INT TERM HUP

if ! docker container inspect base-centos-1 >/dev/null 2>&1; then
    lab_is_ours=yes
    step "the lab's network and image" molecule/shared/lab.sh up || end_part
fi

which=()
if [ $# = 0 ] && [ "${TEST_ALL:-}" != 1 ]; then which=(--of-the-day); fi
rm -f "$results"
python tests/options/run.py --results "$results" ${KEEP:+--keep} "${which[@]}" "$@" > >(tee .cache/options.log) 2>&1 </dev/null &
runner=$!
wait "$runner" || failed=yes
runner=
touch "$results"
while IFS= read -r line; do
    case $line in
        passed) count 1 0 ;;
        *) count 0 1; has_failed "$line" ;;
    esac
done < <(python -c 'import json, sys
for line in open(sys.argv[1]):
    found = json.loads(line)
    print("passed" if found["failed"] is None else "%s: %s" % (found["again"], " ".join(found["failed"].split())[:300]))' "$results")
while IFS= read -r line; do left_out "${line#options: left out: }"; done < <(grep '^options: left out: ' .cache/options.log)
end_part "$failed"
