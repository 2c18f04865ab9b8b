#!/usr/bin/env bash
# A Docker engine that answers: `engine.sh` (or `engine.sh start`), `engine.sh stop`, `engine.sh status`.
# An engine that answers already is used as it is and never stopped from here; `stop` ends only the one
# that this script started.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=$root/.cache
pid_file=$cache/dockerd.pid
log_file=$cache/dockerd.log
wait_seconds=${ENGINE_WAIT:-60}

say() { printf 'engine: %s\n' "$*"; }
fail() { printf 'engine: %s\n' "$*" >&2; exit 1; }

answers() { command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; }
under_systemd() { [ -d /run/systemd/system ]; }

# dockerd by that process id: not another process that was given the number since, and not the remains of one
# that an init like a container's `sleep` never collects.
is_dockerd() {
    local name='' state=''
    { read -r name <"/proc/$1/comm" && state=$(awk '/^State:/ { print $2 }' "/proc/$1/status"); } 2>/dev/null || return 1
    [ "$name" = dockerd ] && [ "$state" != Z ]
}

install_engine() {
    local id_like packages=(docker.io iptables)
    # shellcheck source=/dev/null
    id_like=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}") || id_like=
    case " $id_like " in
        *" debian "* | *" ubuntu "*) ;;
        *) fail "no Docker engine answers and dockerd is not here. Install Docker Engine, start it, and run this again." ;;
    esac

    say "dockerd is not here: installing docker.io"
    # Newer releases ship the client apart from the engine; an older one must not replace a client that is here.
    apt-get update -q >"$cache/engine-apt.log" 2>&1 || { tail -n 5 "$cache/engine-apt.log" >&2; fail "apt-get update failed"; }
    if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then
        packages+=(docker-cli)
    fi
    # If the kernel uses AppArmor, containers do not start without apparmor_parser.
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
        packages+=(apparmor)
    fi
    # Without systemd the package's init script would start a daemon that nobody here could account for.
    under_systemd || export RUNLEVEL=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" \
        >>"$cache/engine-apt.log" 2>&1 || { tail -n 15 "$cache/engine-apt.log" >&2; fail "docker.io could not be installed"; }
    hash -r
}

wait_until_it_answers() {
    local pid=$1 deadline=$((SECONDS + wait_seconds))
    until answers; do
        if [ -n "$pid" ] && ! kill -0 "$pid" 2>/dev/null; then
            tail -n 15 "$log_file" >&2
            fail "dockerd ended again; the lines above are the end of $log_file"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            if [ -n "$pid" ]; then tail -n 15 "$log_file" >&2; else systemctl --no-pager status docker >&2 || true; fi
            fail "dockerd does not answer after $wait_seconds seconds; the lines above are its last"
        fi
        sleep 0.3
    done
}

start() {
    if answers; then
        say "answers"
        return
    fi
    if [ "$(id -u)" != 0 ]; then
        if command -v dockerd >/dev/null; then
            fail "no Docker engine answers to $(id -un). Start it as root ('systemctl start docker'), or add this user to the group docker."
        fi
        fail "no Docker engine answers and dockerd is not here. Install it as root (on Debian and Ubuntu: 'apt-get install docker.io'), let this user talk to it (group docker), and run this again."
    fi
    mkdir -p "$cache"
    # Two makes at once must not start two daemons.
    exec 9>"$cache/engine.lock"
    flock -w 300 9 || fail "another engine.sh has been busy for five minutes"
    if answers; then
        say "answers"
        return
    fi
    command -v dockerd >/dev/null || install_engine

    if under_systemd; then
        # Which the package may have done already.
        systemctl start docker || { systemctl --no-pager status docker >&2 || true; fail "systemctl start docker failed"; }
        echo systemd >"$pid_file"
        wait_until_it_answers ''
    else
        # Left by a daemon that was killed, the file would keep the next one from starting.
        if [ -e /var/run/docker.pid ] && ! is_dockerd "$(cat /var/run/docker.pid)"; then
            rm -f /var/run/docker.pid
        fi
        # In a session of its own and with nothing of the terminal, or it would end with make.
        setsid nohup dockerd >"$log_file" 2>&1 </dev/null 9>&- &
        echo $! >"$pid_file"
        wait_until_it_answers "$!"
    fi
    say "started, answers"
}

stop() {
    local pid
    if ! [ -e "$pid_file" ]; then
        say "not started from here, left alone"
        return
    fi
    pid=$(cat "$pid_file")
    if [ "$pid" = systemd ]; then
        systemctl stop docker.socket docker
    elif is_dockerd "$pid"; then
        kill "$pid"
        for _ in $(seq 150); do
            is_dockerd "$pid" || break
            sleep 0.2
        done
        ! is_dockerd "$pid" || fail "dockerd (process $pid) is still there after 30 seconds"
    fi
    rm -f "$pid_file"
    say "stopped"
}

case ${1:-start} in
    start) start ;;
    stop) stop ;;
    status) if answers; then say "answers"; else fail "does not answer"; fi ;;
    *) fail "usage: engine.sh [start|stop|status]" ;;
esac
