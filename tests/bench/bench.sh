#!/usr/bin/env bash
# What runs cost, beside their goals; figures in .cache/bench.jsonl.
# --strict: a missed goal is a failure, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
exec python tests/bench/bench.py "$@"
