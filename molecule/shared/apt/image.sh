#!/usr/bin/env bash
# Images of Debian hosts whose packages come from a host that answers as apt.postgresql.org: `image.sh [suite]` builds what is missing and prints
# the host's image as its only line on standard output; that of the host that serves has the same name with -repository. LAB_CPU_SHARES as in
# ../image.sh.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=$root/.cache
suite=${1:-bookworm}

say() { printf 'image: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

base=$("$here/../image.sh" "$suite")
recipe=$({ echo "$base"; cd "$here/.." && find apt el/repository -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-10)
host=pgfleet-apt-$suite:$recipe
repository=pgfleet-apt-$suite-repository:$recipe

exists() { docker image inspect "$1" >/dev/null 2>&1; }

build() {
    local context target name log=$cache/image-apt-$suite.log
    context=$(mktemp -d "$cache/image.XXXXXX")
    cp -R "$here/." "$here/../el/repository" "$context"
    cat /etc/ssl/certs/ca-certificates.crt >"$context/ca-certificates.crt" 2>/dev/null || true
    say "building $host on $base"
    : >"$log"
    for target in repository host; do
        name=${!target}
        if ! docker build --network host ${LAB_CPU_SHARES:+--cpu-shares "$LAB_CPU_SHARES"} --target "$target" --build-arg "BASE=$base" \
            --build-arg "SUITE=$suite" -t "$name" -t "${name%:*}:latest" "$context" >>"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -rf "$context"
            fail "docker build failed; its output is in $log"
        fi
    done
    rm -rf "$context"
}

if ! exists "$host" || ! exists "$repository"; then
    mkdir -p "$cache"
    exec 9>"$cache/image-apt.lock"
    flock 9
    { exists "$host" && exists "$repository"; } || build
fi
echo "$host"
