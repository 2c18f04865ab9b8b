#!/usr/bin/env bash
# Images of hosts that answer as Enterprise Linux: `image.sh el9` (or el7) builds what is missing and prints the host's image as its only line
# on standard output; the one of the host that serves its packages has the same name with -repository. Made from the lab's image, and like
# it named by a hash of the recipe. LAB_CPU_SHARES as there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=$root/.cache
flavour=${1:-el9}

say() { printf 'image: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

case $flavour in
    el7) suite=bullseye pg_version=13 ;;
    el9) suite=bookworm pg_version=15 ;;
    *) fail "no recipe for '$flavour'; there is one for el7 and el9" ;;
esac

base=$("$here/../image.sh" "$suite")
recipe=$({ echo "$base"; cd "$here" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-10)
host=pgfleet-$flavour:$recipe
repository=pgfleet-$flavour-repository:$recipe

exists() { docker image inspect "$1" >/dev/null 2>&1; }

build() {
    local context target name log=$cache/image-$flavour.log
    context=$(mktemp -d "$cache/image.XXXXXX")
    cp -R "$here/." "$context"
    mkdir "$context/wheels"
    if [ "$flavour" = el7 ]; then
        "$root/.venv/bin/python" -m pip download -q --no-deps --require-hashes --only-binary :all: -d "$context/wheels" -r "$here/wheels.txt" \
            --python-version 2.7 --implementation cp --abi cp27mu --abi none --platform manylinux1_x86_64 --platform any
    fi
    cat /etc/ssl/certs/ca-certificates.crt >"$context/ca-certificates.crt" 2>/dev/null || true
    say "building $host on $base"
    : >"$log"
    for target in repository host; do
        name=${!target}
        # Stages that both need are built once.
        if ! docker build --network host ${LAB_CPU_SHARES:+--cpu-shares "$LAB_CPU_SHARES"} --target "$target" --build-arg "BASE=$base" \
            --build-arg "PG_VERSION=$pg_version" --build-arg "EL_VERSION=${flavour#el}" -t "$name" -t "${name%:*}:latest" "$context" >>"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -rf "$context"
            fail "docker build failed; its output is in $log"
        fi
    done
    rm -rf "$context"
}

if ! exists "$host" || ! exists "$repository"; then
    mkdir -p "$cache"
    exec 9>"$cache/image-el.lock"
    flock 9
    { exists "$host" && exists "$repository"; } || build
fi
echo "$host"
