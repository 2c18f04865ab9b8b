#!/usr/bin/env bash
# lock.sh: resolve each requirements/*.in into a lock with hashes beside it, for Python 3.11 and 3.12 (newest: 3.12 and later).
# Versions already locked stay; pass --upgrade or --upgrade-package NAME to move them.
set -euo pipefail
cd "$(dirname "$0")/../.."
mapfile -t options < <(.venv/bin/python tests/tools/pip_settings.py uv | sed '/^$/d')
for requirements in requirements/*.in; do
    python=3.11
    [ "$requirements" != requirements/newest.in ] || python=3.12
    .venv/bin/uv pip compile --quiet --universal --python-version "$python" --generate-hashes \
        --no-header --no-annotate "${options[@]}" "$@" -o "${requirements%.in}.txt" "$requirements"
done
