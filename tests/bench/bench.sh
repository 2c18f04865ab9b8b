#!/usr/bin/env bash
# The walkthrough by hand against site.yml, in one run on the same image; figures in .cache/bench.json.
# --strict: a missed goal is a failure, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
exec python tests/bench/bench.py "$@"
