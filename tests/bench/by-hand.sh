#!/usr/bin/env bash
# The manual procedure that this collection automates, as a careful person types it on four empty Debian
# hosts: what hosts can do at the same time, they do at the same time. It is what `make bench` measures
# site.yml against, so it does what the procedure does and not more: trust in pg_hba, a superuser as
# repmgr's role, host keys not checked, repmgrd as a plain daemon.
#
#   tests/bench/by-hand.sh          # on the lab's hosts, freshly made (molecule/shared/lab.sh reset)
#   REPMGRD=unit tests/bench/by-hand.sh   # repmgrd by a unit of the operator's own, pg-failover.service
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=192.168.56.10
primary=1 standbys=(2 3) witness=4
hosts=("$primary" "${standbys[@]}" "$witness")
daemon="su - postgres -c 'repmgr daemon start'"
if [ "${REPMGRD:-}" = unit ]; then
    daemon="printf '[Service]\nUser=postgres\nExecStart=/usr/lib/postgresql/15/bin/repmgrd -f /etc/repmgr.conf --daemonize=false\nRestart=always\n[Install]\nWantedBy=multi-user.target\n' \
        >/etc/systemd/system/pg-failover.service; systemctl enable --now pg-failover"
fi
work=$(mktemp -d)
trap 'for h in "${hosts[@]}"; do ssh -o "ControlPath=$work/cp-$h" -O exit "root@$prefix$h" 2>/dev/null || true; done; rm -rf "$work"' EXIT

# on 2: what comes on standard input runs as root on the second host, over one connection that stays open
# as a terminal would. The script is read to its end first: commands in it must not eat the rest of it.
on() {
    ssh -q -i .lab/id_ed25519 -o UserKnownHostsFile=.lab/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes \
        -o ConnectTimeout=5 -o ControlMaster=auto -o ControlPersist=60s -o "ControlPath=$work/cp-$1" \
        "root@$prefix$1" "script=\$(cat); N=$1 exec bash --norc -euo pipefail -c \"\$script\" </dev/null"
}

# each 2 3 <<'X': the same on several hosts at once; their output only when one fails.
each() {
    local h failed=0 script pids=()
    script=$(cat)
    for h in "$@"; do
        on "$h" <<<"$script" >"$work/out-$h" 2>&1 &
        pids+=("$!")
    done
    for h in "$@"; do
        wait "${pids[0]}" || { failed=1; sed "s/^/base-centos-$h: /" "$work/out-$h" >&2; }
        pids=("${pids[@]:1}")
    done
    return "$failed"
}

started=$(date +%s.%N)
step() {
    local now
    now=$(date +%s.%N)
    awk -v a="$started" -v b="$now" -v s="$*" 'BEGIN { printf "%7.1f s  %s\n", b - a, s }'
}

step "packages, repmgr.conf, access and server configuration, on all four"
each "${hosts[@]}" <<'X'
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -q --no-install-recommends postgresql-15 postgresql-15-repmgr
for n in 1 2 3 4; do
    getent hosts "base-centos-$n" >/dev/null || echo "192.168.56.10$n base-centos-$n" >>/etc/hosts
done
su - postgres -c 'mkdir -p -m 700 ~/.ssh && ssh-keygen -q -t rsa -N "" -f ~/.ssh/id_rsa'
cat >/etc/repmgr.conf <<C
node_id=10$N
node_name='base-centos-$N'
conninfo='host=base-centos-$N dbname=repmgr user=repmgr'
data_directory='/var/lib/postgresql/15/main'
use_replication_slots=yes
pg_bindir='/usr/lib/postgresql/15/bin'
log_file='/var/log/repmgr.log'
service_start_command='pg_ctlcluster 15 main start'
service_stop_command='pg_ctlcluster 15 main stop -m fast'
service_restart_command='pg_ctlcluster 15 main restart'
service_reload_command='pg_ctlcluster 15 main reload'
service_promote_command='pg_ctlcluster 15 main promote'
repmgrd_service_start_command='/usr/lib/postgresql/15/bin/repmgrd -f /etc/repmgr.conf -d'
repmgrd_service_stop_command='kill \$(/usr/lib/postgresql/15/bin/repmgrd -f /etc/repmgr.conf --show-pid-file | xargs cat)'
promote_command='repmgr standby promote -f /etc/repmgr.conf --siblings-follow --log-to-file'
follow_command='repmgr standby follow -f /etc/repmgr.conf --log-to-file --upstream-node-id=%n'
failover=automatic
reconnect_attempts=3
reconnect_interval=5
ssh_options='-q -o StrictHostKeyChecking=no -o ConnectTimeout=10'
C
install -o postgres -g postgres -m 640 /dev/null /var/log/repmgr.log
for n in 1 2 3 4; do
    echo "host replication repmgr 192.168.56.10$n/32 trust"
    echo "host repmgr repmgr 192.168.56.10$n/32 trust"
done >>/etc/postgresql/15/main/pg_hba.conf
su - postgres -c 'mkdir -p /var/lib/postgresql/15/archive'
cat >/etc/postgresql/15/main/conf.d/repmgr.conf <<C
listen_addresses = '*'
shared_preload_libraries = 'repmgr'
wal_level = replica
archive_mode = on
max_wal_senders = 10
hot_standby = on
archive_command = 'cp %p /var/lib/postgresql/15/archive/%f'
C
X

step "every public key to every host; role and database on primary and witness; standbys emptied"
for h in "${hosts[@]}"; do
    on "$h" <<<'cat ~postgres/.ssh/id_rsa.pub' >"$work/key-$h" &
done
wait
keys=$(cat "$work"/key-*)
each "${hosts[@]}" <<X
su - postgres -c 'umask 077; cat >~/.ssh/authorized_keys' <<'K'
$keys
K
case \$N in
    $primary | $witness)
        systemctl restart postgresql@15-main
        su - postgres -c 'createuser --replication --createdb --createrole --superuser repmgr'
        su - postgres -c "psql -qc 'ALTER USER repmgr SET search_path TO repmgr, \"\\\$user\", public;'"
        su - postgres -c 'createdb repmgr --owner=repmgr'
        ;;
    *)
        systemctl stop postgresql@15-main
        rm -rf /var/lib/postgresql/15/main/*
        ;;
esac
X

step "primary registered"
on "$primary" <<X >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
su - postgres -c 'repmgr primary register'
$daemon
X

step "standbys cloned, started and registered, both at once; witness registered beside them"
each "${standbys[@]}" "$witness" <<X
case \$N in
    $witness) su - postgres -c 'repmgr witness register -h base-centos-$primary -U repmgr -d repmgr' ;;
    *)
        su - postgres -c 'repmgr -h base-centos-$primary -U repmgr -d repmgr standby clone --fast-checkpoint'
        systemctl start postgresql@15-main
        su - postgres -c 'repmgr standby register -h base-centos-$primary -U repmgr'
        ;;
esac
$daemon
X

step "status"
on "$primary" <<'X'
su - postgres -c 'repmgr service status'
su - postgres -c 'psql -c "select client_addr, state, sync_state from pg_stat_replication"'
for h in 2 3 4; do su - postgres -c "ssh -q -o BatchMode=yes -o StrictHostKeyChecking=no base-centos-$h true"; done
test "$(su - postgres -c 'repmgr service status --csv' | awk -F, '$4 == 1 && $5 == 1' | wc -l)" = 4
test "$(su - postgres -c "psql -XAtc \"select count(*) from pg_stat_replication where state = 'streaming'\"")" = 2
X
step "done"
