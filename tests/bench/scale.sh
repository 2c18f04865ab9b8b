#!/usr/bin/env bash
# What many clusters cost the controller; figures in .cache/bench-scale.jsonl.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
exec python tests/bench/scale.py "$@"
