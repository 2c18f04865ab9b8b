#!/usr/bin/env bash
# The lab's four hosts, base-centos-1..4 at 192.168.56.101-104:
#   lab.sh up              create what is missing, start what is stopped, and see that SSH answers
#   lab.sh down            remove the hosts and their network
#   lab.sh recreate NAME.. these hosts again, empty, with new host keys; the others are not touched
#   lab.sh reset           all four again, empty
#   lab.sh key             nothing but the key that opens hosts, where there is none yet
#   lab.sh attacker up     one more host in their network that is no node, empty: pgfleet-attacker at 192.168.56.110;
#   lab.sh attacker down   remove it.
#   lab.sh fifth up        one more host for the lab's cluster, empty: base-centos-5 at 192.168.56.111, in no inventory of the repository;
#   lab.sh fifth down      remove it. `down` and `reset` remove both of these, too.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
export PATH=$root/.venv/bin:$PATH
export ANSIBLE_HOME=${ANSIBLE_HOME:-$root/.ansible}
export ANSIBLE_COLLECTIONS_PATH=${ANSIBLE_COLLECTIONS_PATH:-$root/.ansible/collections}
export ANSIBLE_CONFIG=$root/ansible.cfg
export MOLECULE_PROJECT_DIRECTORY=$root

network=pgfleet-lab
subnet=192.168.56.0/24
gateway=192.168.56.1
hosts=(base-centos-1 base-centos-2 base-centos-3 base-centos-4)
addresses=(192.168.56.101 192.168.56.102 192.168.56.103 192.168.56.104)
# In no inventory: neither Ansible nor the hosts know its keys, and it is entered with `docker exec`.
attacker=pgfleet-attacker
attacker_address=192.168.56.110
fifth=base-centos-5
fifth_address=192.168.56.111
key=$root/.lab/id_ed25519
sockets=$HOME/.ansible/cp-lab

say() { printf 'lab: %s\n' "$*"; }
fail() { printf 'lab: %s\n' "$*" >&2; exit 1; }

exists() { docker container inspect "$1" >/dev/null 2>&1; }
runs() { [ "$(docker container inspect -f '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; }

# Its output only matters when it fails.
quietly() {
    local log=$root/.cache/lab.log
    mkdir -p "$root/.cache"
    "$@" >"$log" 2>&1 || { tail -n 40 "$log" >&2; fail "this failed: $*"; }
}

# Molecule finds the shared configuration by itself only in a git checkout.
scenario() { NO_COLOR=1 molecule -c .config/molecule/config.yml "$1" -s default; }

remembered() { grep -qs '^created: true' "$ANSIBLE_HOME"/tmp/molecule.*.default/state.yml; }

make_key() {
    [ -s "$key" ] && return
    install -d -m 0700 "$root/.lab"
    ssh-keygen -q -t ed25519 -N '' -C pgfleet-lab -f "$key"
}

# While the lab is not there, a run against it must fail at once, and must not reach a real network that
# happens to have these addresses. The route of the lab's own network, with its lower metric, wins while it is.
block_route() {
    command -v ip >/dev/null || return 0
    ip route replace unreachable "$subnet" metric 4096 2>/dev/null ||
        say "not allowed to add a route: while the lab is down, $subnet is whatever this machine's network makes of it"
}

make_network() {
    local found
    found=$(docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' "$network" 2>/dev/null) || found=
    if [ -z "$found" ]; then
        quietly docker network create --subnet "$subnet" --gateway "$gateway" "$network"
    elif [ "$found" != "$subnet" ]; then
        fail "there is a Docker network $network, but with $found instead of $subnet; remove it: docker network rm $network"
    fi
}

# A connection that is kept open to a host that is gone would hang the next run until it times out.
close_connections() {
    local name socket
    for name in "$@"; do
        # How Ansible names the socket of a connection.
        socket=$sockets/$(printf '%s-None-root' "$name" | sha1sum | cut -c1-10)
        [ -S "$socket" ] || continue
        ssh -o ControlPath="$socket" -O exit "$name" >/dev/null 2>&1 || true
        rm -f "$socket"
    done
}

address_of() {
    local i
    for i in "${!hosts[@]}"; do
        [ "${hosts[$i]}" != "$1" ] || { echo "${addresses[$i]}"; return; }
    done
    fail "there is no host $1; the lab's hosts are ${hosts[*]}"
}

use_image() {
    LAB_IMAGE=$("$here/image.sh" "${LAB_SUITE:-bookworm}")
    export LAB_IMAGE
}

prepare() { quietly ansible-playbook -i inventories/lab molecule/default/prepare.yml --limit "$(IFS=,; echo "$*"),localhost"; }

greet() { quietly ansible "$(IFS=,; echo "$*")" -i inventories/lab -m ansible.builtin.ping; }

up() {
    local name missing=()
    docker info >/dev/null 2>&1 || "$here/engine.sh"
    make_key
    use_image
    block_route
    make_network
    for name in "${hosts[@]}"; do
        exists "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} = ${#hosts[@]} ]; then
        close_connections "${addresses[@]}"
        # What Molecule remembers of hosts that are gone would keep it from making new ones.
        if remembered; then
            quietly scenario destroy
            make_network
        fi
        quietly scenario create
        greet "${hosts[@]}"
        say "${hosts[*]} answer over SSH"
        return
    elif [ ${#missing[@]} != 0 ]; then
        say "missing: ${missing[*]}"
        close_connections "${addresses[@]}"
        quietly python3 "$here/recreate.py" "${missing[@]}"
    fi
    for name in "${hosts[@]}"; do
        runs "$name" || quietly docker start "$name"
    done
    prepare "${hosts[@]}"
    greet "${hosts[@]}"
    say "${hosts[*]} answer over SSH"
}

recreate() {
    local name address
    [ $# != 0 ] || fail "usage: lab.sh recreate NAME..."
    for name in "$@"; do
        address=$(address_of "$name")
        close_connections "$address"
    done
    use_image
    quietly python3 "$here/recreate.py" "$@"
    prepare "$@"
    greet "$@"
    say "$* made again, empty"
}

attacker_up() {
    use_image
    quietly python3 "$here/recreate.py" "$attacker=$attacker_address"
    say "$attacker made, empty"
}

attacker_down() { ! exists "$attacker" || quietly docker rm -f -v "$attacker"; }

fifth_up() {
    local inventory=$root/.lab/fifth.yml
    use_image
    close_connections "$fifth_address"
    quietly python3 "$here/recreate.py" "$fifth=$fifth_address"
    printf 'all: {hosts: {%s: {ansible_host: %s}}}\n' "$fifth" "$fifth_address" >"$inventory"
    quietly ansible-playbook -i inventories/lab -i "$inventory" molecule/default/prepare.yml -e "lab_hosts=$fifth" --limit "$fifth,localhost"
    say "$fifth made, empty"
}

fifth_down() {
    close_connections "$fifth_address"
    ! exists "$fifth" || quietly docker rm -f -v "$fifth"
}

reset() {
    local name
    attacker_down
    fifth_down
    for name in "${hosts[@]}"; do
        # Only hosts that are there have a definition to be made again from.
        exists "$name" || { down; up; return; }
    done
    recreate "${hosts[@]}"
}

down() {
    local name
    close_connections "${addresses[@]}"
    block_route
    if ! docker info >/dev/null 2>&1; then
        say "no Docker engine answers, so there is no lab"
        return
    fi
    attacker_down
    fifth_down
    if remembered && command -v molecule >/dev/null; then
        quietly scenario destroy
    fi
    # Also where there is no environment with Molecule, or it does not remember these hosts.
    for name in "${hosts[@]}"; do
        ! exists "$name" || quietly docker rm -f -v "$name"
    done
    rm -f "$root/.lab/known_hosts"
    # Left in place while hosts that a test added still use it.
    if docker network inspect "$network" >/dev/null 2>&1; then
        docker network rm "$network" >/dev/null 2>&1 || say "the network $network is still in use and stays"
    fi
    say "removed"
}

case ${1:-} in
    up) up ;;
    down) down ;;
    key) make_key ;;
    recreate) shift; recreate "$@" ;;
    reset) reset ;;
    attacker)
        case ${2:-} in
            up) attacker_up ;;
            down) attacker_down ;;
            *) fail "usage: lab.sh attacker up|down" ;;
        esac
        ;;
    fifth)
        case ${2:-} in
            up) fifth_up ;;
            down) fifth_down ;;
            *) fail "usage: lab.sh fifth up|down" ;;
        esac
        ;;
    *) fail "usage: lab.sh up|down|recreate NAME...|reset|key|attacker up|attacker down|fifth up|fifth down" ;;
esac
