#!/usr/bin/env bash
# test-matrix.sh [SCENARIO...]: scenarios of matrix.sh as a part of the checks, one test each.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-matrix
if [ $# = 0 ]; then set -- el9 el9_broken el7 trixie bullseye bookworm_pgdg choices; fi
for scenario in "$@"; do
    step "$scenario" tests/tools/matrix.sh "$scenario" || true
done
end_part
