#!/usr/bin/env bash
# test-matrix.sh [SCENARIO...]: scenarios of matrix.sh as a part of the checks, one test each.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-matrix
scenarios=(el9)
if [ "${TEST_ALL:-}" = 1 ]; then
    scenarios=(el9 el9_broken el7 trixie bullseye)
else
    left_out "el7, el9_broken, trixie, bullseye (make matrix, or make test-all)"
fi
if [ $# != 0 ]; then scenarios=("$@"); fi
for scenario in "${scenarios[@]}"; do
    step "$scenario" tests/tools/matrix.sh "$scenario" || true
done
end_part
