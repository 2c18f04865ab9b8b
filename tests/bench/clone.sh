#!/usr/bin/env bash
# What a copy of the data costs; figures in .cache/bench-clone.jsonl.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
exec python tests/bench/clone.py "$@"
