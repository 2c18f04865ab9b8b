#!/usr/bin/env bash
# The lab's base image: `image.sh [suite]` builds what is missing and prints the image's name as its only
# line on standard output. The name holds a hash of the recipe, so an image is reused until the recipe changes.
# LAB_CPU_SHARES (the engine's --cpu-shares, whose default is 1024) leaves the machine to others while it builds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache
suite=${1:-bookworm}
pull_seconds=${LAB_PULL_SECONDS:-10}

say() { printf 'image: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

case $suite in
    bullseye) pg_version=13 ;;
    bookworm) pg_version=15 ;;
    trixie) pg_version=17 ;;
    sid) pg_version=18 ;;
    *) fail "no recipe for '$suite'; there is one for bullseye, bookworm, trixie and sid" ;;
esac

recipe=$(cd "$here" && find image image.sh -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-10)
name=pgfleet-lab:$suite-$recipe

exists() { docker image inspect "$1" >/dev/null 2>&1; }

as_root() { # debootstrap needs root; a member of the group docker may have sudo.
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The machine's own Debian sources, whichever file and format they are in, as one-line entries for the suite.
# What is configured to reach an archive from here (mirror, proxy) is what reaches it from an image.
machine_sources() {
    local codename
    command -v apt-get >/dev/null || return 0
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # the format is apt's, not the shell's
    apt-get indextargets --format '$(RELEASE) $(REPO_URI) $(COMPONENT) $(ORIGIN)' 'Identifier: Packages' 2>/dev/null |
        awk -v codename="$codename" -v suite="$suite" '
            # Before the first apt-get update the origin is unknown, and the usual path has to do.
            $3 != "main" || !($4 == "Debian" || $2 ~ /\/debian(-security)?\/?$/) { next }
            # sid has neither updates nor a security archive of its own.
            suite == "sid" && $1 != codename { next }
            $1 == codename || $1 == codename "-updates" || $1 == codename "-security" {
                line = "deb " $2 " " suite substr($1, length(codename) + 1) " main"
                if (!seen[line]++) print line
            }'
}

# Proxy, retries, checks of dates: what this machine needs to reach its archive, an image needs as well.
machine_apt_conf() {
    command -v apt-config >/dev/null || return 0
    apt-config dump Acquire::http Acquire::https Acquire::Retries Acquire::Check-Valid-Until Acquire::Check-Date 2>/dev/null || true
}

# What debootstrap was ended in still has /proc mounted, and nobody's `rm -r` shall walk into that.
debootstrap_ends() {
    ! mountpoint -q "$1/proc" || as_root umount "$1/proc"
    ! mountpoint -q "$1/sys" || as_root umount "$1/sys"
    as_root rm -rf --one-file-system "$1"
}

debootstrap_base() {
    local tarball=$cache/debootstrap-$suite.tar dir mirror
    mirror=$(machine_sources | awk -v suite="$suite" '$3 == suite { print $2; exit }')
    if ! [ -s "$tarball" ]; then
        if ! command -v debootstrap >/dev/null; then
            command -v apt-get >/dev/null ||
                fail "debian:$suite cannot be pulled within $pull_seconds s and debootstrap is not here: install it, or load an image named debian:$suite"
            say "installing debootstrap"
            as_root apt-get update -q >"$cache/image-apt.log" 2>&1 || say "apt-get update failed, going on: $cache/image-apt.log"
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap \
                >>"$cache/image-apt.log" 2>&1 || { tail -n 5 "$cache/image-apt.log" >&2; fail "debootstrap could not be installed"; }
        fi
        say "debootstrap $suite${mirror:+ from $mirror} (a minute, once)"
        dir=$(mktemp -d "$cache/debootstrap.XXXXXX")
        # shellcheck disable=SC2064 # this directory
        trap "debootstrap_ends '$dir'; exit 130" INT TERM HUP
        # Without a Debian source of the machine's own debootstrap takes its default mirror.
        if ! as_root debootstrap --variant=minbase --include=ca-certificates \
            "$suite" "$dir" ${mirror:+"$mirror"} >"$cache/debootstrap-$suite.log" 2>&1; then
            tail -n 5 "$cache/debootstrap-$suite.log" >&2
            debootstrap_ends "$dir"
            fail "debootstrap failed; its output is in $cache/debootstrap-$suite.log"
        fi
        as_root tar -C "$dir" --numeric-owner --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' \
            --one-file-system -cf - . >"$tarball.part"
        mv "$tarball.part" "$tarball"
        debootstrap_ends "$dir"
        trap - INT TERM HUP
    fi
    docker import "$tarball" "pgfleet-lab-base:$suite" >/dev/null
}

build() {
    local base=debian:$suite context
    if ! exists "$base" && ! timeout "$pull_seconds" docker pull -q "$base" >"$cache/pull.log" 2>&1; then
        say "$base cannot be pulled within $pull_seconds s: $(tail -n 1 "$cache/pull.log")"
        base=pgfleet-lab-base:$suite
        exists "$base" || debootstrap_base
    fi

    context=$(mktemp -d "$cache/image.XXXXXX")
    cp -R "$here/image/." "$context"
    # Empty where this is not a Debian machine: the base image knows its own archive.
    machine_sources >"$context/sources.list"
    machine_apt_conf >"$context/machine-apt.conf"
    cat /etc/ssl/certs/ca-certificates.crt >"$context/ca-certificates.crt" 2>/dev/null || true

    say "building $name on $base"
    # The host's network: an archive that only this machine's resolver or proxy knows is reached the same way.
    if ! docker build --network host ${LAB_CPU_SHARES:+--cpu-shares "$LAB_CPU_SHARES"} --build-arg "BASE=$base" --build-arg "SUITE=$suite" \
        --build-arg "PG_VERSION=$pg_version" -t "$name" "$context" >"$cache/image-$suite.log" 2>&1; then
        tail -n 20 "$cache/image-$suite.log" >&2
        rm -rf "$context"
        fail "docker build failed; its output is in $cache/image-$suite.log"
    fi
    rm -rf "$context"
    # What `molecule create` takes when it is run by itself.
    docker tag "$name" "pgfleet-lab:$suite"
}

if ! exists "$name"; then
    mkdir -p "$cache"
    exec 9>"$cache/image.lock"
    flock 9
    exists "$name" || build
fi
echo "$name"
