#!/usr/bin/env bash
# Images of hosts that install from PostgreSQL's own apt repository: builds what is missing and prints the host's image as its only line on standard
# output; the one of the host that serves the repository has the same name with -repository. As ../el/image.sh, with which it shares that host.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
el=$here/../el
cache=$(cd "$here/../../.." && pwd)/.cache
base=$("$here/../image.sh" bookworm)
recipe=$({ echo "$base"; cd "$here" && find . ../el/repository ../el/authority.sh -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } |
    sha256sum | cut -c1-10)
host=pgfleet-pgdg:$recipe
repository=pgfleet-pgdg-repository:$recipe

exists() { docker image inspect "$1" >/dev/null 2>&1; }

build() {
    local context target name log=$cache/image-pgdg.log
    context=$(mktemp -d "$cache/image.XXXXXX")
    cp -R "$here/." "$el/repository" "$el/authority.sh" "$context"
    cat /etc/ssl/certs/ca-certificates.crt >"$context/ca-certificates.crt" 2>/dev/null || true
    echo "image: building $host on $base" >&2
    : >"$log"
    for target in repository host; do
        name=${!target}
        if ! docker build --network host ${LAB_CPU_SHARES:+--cpu-shares "$LAB_CPU_SHARES"} --target "$target" --build-arg "BASE=$base" \
            --build-arg PG_VERSION=15 -t "$name" -t "${name%:*}:latest" "$context" >>"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -rf "$context"
            echo "image: docker build failed; its output is in $log" >&2
            exit 1
        fi
    done
    rm -rf "$context"
}

if ! exists "$host" || ! exists "$repository"; then
    mkdir -p "$cache"
    exec 9>"$cache/image-pgdg.lock"
    flock 9
    { exists "$host" && exists "$repository"; } || build
fi
echo "$host"
