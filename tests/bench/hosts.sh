#!/usr/bin/env bash
# What more hosts cost; figures in .cache/bench-hosts.jsonl.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH=$PWD/.venv/bin:$PATH
exec python tests/bench/hosts.py "$@"
