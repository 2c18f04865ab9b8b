#!/usr/bin/env bash
# venv.sh DIR LOCK: the locked Python environment. Running it again brings DIR to the lock.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${1:?usage: venv.sh DIR LOCK}
lock=${2:?usage: venv.sh DIR LOCK}

# ansible-core 2.16 wants 3.10-3.12 on the controller, the newest 3.12 and later: the lock is made for these two.
lowest=11 highest=12
if [ "$lock" = requirements/newest.txt ]; then lowest=12 highest=13; fi
good="import sys; sys.exit(not (3, $lowest) <= sys.version_info[:2] <= (3, $highest))"

find_python() {
    local candidate root
    # A pyenv shim may stand on PATH without a version behind it, so every candidate is run.
    for candidate in "python3.$lowest" "python3.$highest" python3; do
        if "$candidate" -c "$good" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    if root=$(pyenv root 2>/dev/null); then
        for candidate in "$root/versions/3.$lowest."*/bin/python "$root/versions/3.$highest."*/bin/python; do
            if "$candidate" -c "$good" 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done
    fi
    echo "venv.sh: no Python 3.$lowest or 3.$highest found on PATH or in pyenv; install one (Debian 12 has 3.11: apt-get install python3 python3-venv)" >&2
    return 1
}

make_venv() {
    local python version
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian splits venv off into a package of its own
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -q
            DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "python$version-venv"
        else
            echo "venv.sh: $python cannot make virtual environments; install python$version-venv" >&2
            return 1
        fi
    fi
    "$python" -m venv --clear "$dir"
}

if ! { "$dir/bin/python" -c "$good" && "$dir/bin/python" -m pip --version; } >/dev/null 2>&1; then
    make_venv
fi
dir=$(cd "$dir" && pwd)

# uv installs the set in seconds where pip takes a minute; where there is no uv, pip does.
uv=$(sed -nE 's/^(uv==[^ ;]+).*/\1/p' "$lock")
if ! "$dir/bin/uv" --version 2>/dev/null | grep -qxE "uv ${uv#uv==}( .*)?"; then
    "$dir/bin/python" -m pip install -qq "$uv" || true
fi
if "$dir/bin/uv" --version >/dev/null 2>&1; then
    mapfile -t options < <("$dir/bin/python" tests/tools/pip_settings.py uv | sed '/^$/d')
    if "$dir/bin/uv" pip sync --quiet --python "$dir/bin/python" --require-hashes "${options[@]}" "$lock"; then
        exit 0
    fi
    echo "venv.sh: uv could not install the lock, trying pip" >&2
fi
"$dir/bin/python" -m pip install -qq --require-hashes -r "$lock"
