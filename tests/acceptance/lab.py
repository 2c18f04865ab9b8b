"""Helpers of the acceptance tests for the hosts of the lab: observe them, load data, run playbooks, remove hosts.

Hosts are observed over SSH and with psql, not with the collection's own modules: a test must not
rely on the code that it tests.
"""
import csv
import json
import os
import pathlib
import shlex
import signal
import subprocess
import time

import pytest

# Minutes that every run cannot have: `make test-all`, or TEST_ALL=1.
longer = pytest.mark.skipif(os.environ.get("TEST_ALL") != "1", reason="make test-all runs it")

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / ".lab"
# 2w: two data nodes and a witness, whose vote counts there. Its inventory is the lab's without one standby.
LAYOUT = os.environ.get("LAB_LAYOUT", "3w")
INVENTORY = "inventories/lab" if LAYOUT == "3w" else ".cache/lab-2w/hosts.yml"

NETWORK = "pgfleet-lab"
ADDRESS = {"base-centos-%d" % n: "192.168.56.10%d" % n for n in (1, 2, 3, 4)}
HOSTS = sorted(ADDRESS)
PRIMARY, STANDBY, OTHER_STANDBY, WITNESS = HOSTS
if LAYOUT == "2w":
    HOSTS.remove(OTHER_STANDBY)
DATA_HOSTS = [host for host in HOSTS if host != WITNESS]
# Besides the primary and the standby.
OTHER_VOTER = OTHER_STANDBY if LAYOUT == "3w" else WITNESS

VERSION = "15"
BIN = "/usr/lib/postgresql/%s/bin" % VERSION
DATA = "/var/lib/postgresql/%s/main" % VERSION
UNIT = "postgresql@%s-main" % VERSION
REPMGR = BIN + "/repmgr -f /etc/repmgr.conf"
METRICS = "/var/lib/prometheus/node-exporter/repmgr.prom"
METRICS_TRACES = ("ls /usr/local/sbin/repmgr-metrics /etc/systemd/system/repmgr-metrics.* /etc/systemd/system/timers.target.wants/repmgr-* %s 2>/dev/null;"
                  " true" % METRICS)

APP_PASSWORD = "pgbench-of-the-lab"
# The lines that an application's clients, and the inventory plugin on this machine, get through the collection's own variable.
APP_ACCESS = {
    "repmgr_pg_hba_extra": [
        {"contype": "host", "databases": "app", "users": "app", "address": "192.168.56.0/24", "method": "scram-sha-256"},
        {"contype": "hostssl", "databases": "repmgr", "users": "inventory", "address": "192.168.56.1/32", "method": "scram-sha-256"},
    ],
}
APP_DSN = "host=%s dbname=app user=app password=%s target_session_attrs=read-write connect_timeout=2" % (
    ",".join(ADDRESS[host] for host in DATA_HOSTS), APP_PASSWORD)


def _ssh_options():
    return [
        "-i", str(LAB / "id_ed25519"), "-o", "UserKnownHostsFile=%s" % (LAB / "known_hosts"),
        "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR",
        "-o", "ControlMaster=auto", "-o", "ControlPersist=30s", "-o", "ControlPath=/tmp/.acceptance-%C",
    ]


def ssh(host, command, check=True, stdin=""):
    """Run a shell command as root on a host; its standard output, or with check=False the finished process."""
    done = subprocess.run(
        ["ssh"] + _ssh_options() + ["root@" + ADDRESS[host], command],
        input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=180, check=False,
    )
    if not check:
        return done
    assert done.returncode == 0, "%s: '%.200s' ended with %d\n%s%s" % (host, command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def as_postgres(host, command, check=True):
    return ssh(host, "cd / && runuser -u postgres -- sh -c %s" % shlex.quote(command), check=check)


def sql(host, query, database="postgres"):
    """All rows of a query as lists of strings, as the superuser on the host itself."""
    separator = "\x1f"
    output = ssh(host, "cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -F %s -d %s -f -" % (
        shlex.quote(separator), database), stdin=query)
    return [line.split(separator) for line in output.splitlines() if line]


def value(host, query, database="postgres"):
    rows = sql(host, query, database)
    assert len(rows) == 1 and len(rows[0]) == 1, "%s: expected one value of '%s', got %s" % (host, query, rows)
    return rows[0][0]


def wait_until(what, seconds, probe, pause=0.5):
    """Wait until probe() is true and return how long that took; a probe that raises counts as false."""
    started = time.monotonic()
    last = None
    while True:
        try:
            last = probe()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            last = error
        else:
            if last:
                return time.monotonic() - started
        assert time.monotonic() - started < seconds, "%s: not within %d s; seen last: %s" % (what, seconds, last)
        time.sleep(pause)


# --- running servers -----------------------------------------------------------------------------------

def service_status(host):
    """The output of `repmgr service status` on one node: {name: {'type': ..., 'running': '1', 'repmgrd': '1', 'paused': '0'}}."""
    output = as_postgres(host, REPMGR + " service status --csv 2>/dev/null")
    names = ("id", "name", "type", "running", "repmgrd", "pid", "paused", "priority", "upstream_last_seen", "location")
    return {row[1]: dict(zip(names, row)) for row in csv.reader(output.splitlines()) if len(row) == len(names)}


def nodes(host):
    """repmgr.nodes on one node: {name: {...}}."""
    rows = sql(host, "select node_name, node_id, type, active, coalesce(upstream_node_id, 0) from repmgr.nodes", "repmgr")
    return {row[0]: {"id": row[1], "type": row[2], "active": row[3], "upstream": row[4]} for row in rows}


def primaries(hosts=None):
    """Hosts of a cluster's data nodes that accept writes right now."""
    found = []
    for host in hosts or DATA_HOSTS:
        answer = ssh(host, "cd / && runuser -u postgres -- psql -XAtqc 'select pg_is_in_recovery()'", check=False)
        if answer.returncode == 0 and answer.stdout.strip() == "f":
            found.append(host)
    return found


def assert_healthy(primary, standbys, witness):
    """Assert that every node sees one primary, all standbys streaming, and four daemons running."""
    members = [primary] + standbys + ([witness] if witness else [])
    for host in members:
        status = service_status(host)
        assert sorted(status) == sorted(members), "%s sees %s" % (host, sorted(status))
        for name, row in status.items():
            expected = "primary" if name == primary else "witness" if name == witness else "standby"
            assert row["type"] == expected, "%s sees %s as %s, expected %s" % (host, name, row["type"], expected)
            assert (row["running"], row["repmgrd"], row["paused"]) == ("1", "1", "0"), "%s sees %s" % (host, row)
    assert primaries([primary] + standbys) == [primary]

    streaming = sql(primary, "select application_name, state from pg_stat_replication")
    assert sorted(streaming) == sorted([name, "streaming"] for name in standbys)
    for host in standbys:
        receiving = sql(host, "select status, sender_host from pg_stat_wal_receiver")
        assert receiving in ([["streaming", ADDRESS[primary]]], [["streaming", primary]]), "%s: %s" % (host, receiving)
    assert sql(primary, "select active from pg_replication_slots") == [["t"]] * len(standbys)
    for host in standbys:
        assert sql(host, "select slot_name from pg_replication_slots where active") == []

    # Registered once by the primary, and the witness's own copy agrees with it.
    known = nodes(primary)
    for host in members:
        assert nodes(host) == known, "%s knows %s, expected %s" % (host, nodes(host), known)
        assert known[host]["active"] == "t"
        assert known[host]["upstream"] == ("0" if host == primary else known[primary]["id"])


def keeps_for_others(host):
    """Whether a data node has exactly one slot for each other data node."""
    rows = sql(host, "select array(select slot_name::text from pg_replication_slots order by 1) ="
                     " array(select slot_name from repmgr.nodes where type <> 'witness' and node_name <> '%s' order by 1)" % host, "repmgr")
    return rows == [["t"]]


def healthy(primary=PRIMARY, standbys=None, witness=WITNESS, within=60):
    """Wait for a healthy cluster; return how long it took."""
    if standbys is None:
        standbys = [host for host in DATA_HOSTS if host != primary]

    def probe():
        assert_healthy(primary, standbys, witness)
        return True

    return wait_until("healthy cluster with primary %s" % primary, within, probe)


def timeline(primary):
    """The timeline that it writes on. After a promotion the control file has it only from the next checkpoint on."""
    return int(value(primary, "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"))


def replayed(primary, standbys, seconds=60):
    """Wait until the standbys have replayed everything that the primary has written by now."""
    position = value(primary, "select pg_current_wal_lsn()")
    for host in standbys:
        wait_until("%s has replayed %s" % (host, position), seconds,
                   lambda host=host: value(host, "select pg_last_wal_replay_lsn() >= '%s'" % position) == "t", pause=0.1)


def make_application():
    """The database that Writers write to, with pgbench's tables in it."""
    sql(PRIMARY, "create role app login password '%s'; create database app owner app" % APP_PASSWORD)
    as_postgres(PRIMARY, "%s/pgbench -i -q -s 10 app 2>&1" % BIN)
    sql(PRIMARY, "create table ledger (client int, number int, primary key (client, number));"
                 "alter table ledger owner to app; grant all on all tables in schema public to app", "app")


def without_a_standby():
    """Remove one data node from the running cluster; return the inventory of the two others and the witness."""
    folder = (ROOT / INVENTORY).parent
    folder.mkdir(parents=True, exist_ok=True)
    source = ROOT / "inventories/lab"
    text = (source / "hosts.yml").read_text()
    entry = "        %s:\n          ansible_host: %s\n          repmgr_node_id: 103\n" % (OTHER_STANDBY, ADDRESS[OTHER_STANDBY])
    assert text.count(entry) == 1
    (ROOT / INVENTORY).write_text(text.replace(entry, ""))
    if not (folder / "group_vars").exists():
        (folder / "group_vars").symlink_to(source / "group_vars")
    try:
        registered = OTHER_STANDBY in nodes(PRIMARY)
    except (AssertionError, subprocess.TimeoutExpired):
        return
    if registered:
        playbook("playbooks/remove_node.yml", "-e", "target=" + OTHER_STANDBY, inventory="inventories/lab").assert_ok()


def from_nothing(*options):
    """Create empty hosts, deploy them (with `options`, by default with the pg_hba rules of the application), and create the application."""
    lab("reset")
    site(*(options or ("-e", json.dumps(APP_ACCESS)))).assert_ok()
    healthy(within=60)
    make_application()


def healthy_or_from_nothing(*options):
    """The start of a test file: use the cluster that earlier files left, or create a new one; with options, also the application."""
    try:
        healthy(within=10)
        if options:
            assert sql(PRIMARY, "select 1 from pg_database where datname = 'app'")
            site(*options).assert_ok()
    except AssertionError:
        from_nothing(*options)


def stale_pid(host):
    """Make postmaster.pid of a dead server contain the id of another process of the same user, as may happen after a reboot."""
    ssh(host, "systemctl -q stop stale-pid; systemd-run -q --collect --uid postgres --unit stale-pid sleep 600"
              " && sed -i \"1s/.*/$(systemctl show -p MainPID --value stale-pid)/\" %s/postmaster.pid" % DATA)


def load_in_bulk(host):
    """Run one long transaction. A server that is killed meanwhile has sent its standbys only the beginning of a WAL record."""
    sql(host, "drop table if exists bulk; create table bulk (number int, text text)", "app")
    begin = value(host, "select pg_current_wal_lsn()")
    insert = "insert into bulk select n, repeat(md5(n::text), 8) from generate_series(1, 3000000) n"
    ssh(host, "systemd-run -q --collect --uid postgres psql -Xqd app -c \"%s\"" % insert)
    wait_until("it writes in bulk", 30, lambda: value(host, "select pg_current_wal_lsn() - '%s'::pg_lsn > 30000000" % begin) == "t", pause=0.1)


def kill_for_good(host):
    """kill -9 of the postmaster without a restart: the guard stays stopped until its host reboots or it is started."""
    ssh(host, "systemctl stop repmgr-guard && systemctl kill -s KILL " + UNIT)


def undo_faults():
    """Undo the faults of a test: hosts run, are connected, have no firewall rules of a test, and their services are started."""
    for host in HOSTS:
        state = subprocess.run(["docker", "container", "inspect", "-f", "{{.State.Status}} {{len .NetworkSettings.Networks}}", host],
                               stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.split()
        if state[0] == "paused":
            docker("unpause", host)
        elif state[0] != "running":
            docker("start", host)
        if state[1] == "0":
            plug_in(host)
        wait_until("%s answers" % host, 30, lambda host=host: answers(host))
        ssh(host, "iptables -F INPUT; iptables -F OUTPUT; systemctl reset-failed")
        if host in DATA_HOSTS:
            # A guard that is frozen, killed or kept from its start by a row of the fuse.
            ssh(host, "systemctl -q stop guard-killer; rm -rf /run/systemd/system/repmgr-guard.service.d; systemctl daemon-reload; "
                      "systemctl kill -s CONT repmgr-guard; true", check=False)
            ssh(host, "systemctl start repmgr-guard; systemctl start --no-block %s" % UNIT)


def lives(host):
    """The state that must not change on a host that is not touched: start of the server, its timeline, its daemon."""
    # The control file learns of a new timeline with the next checkpoint only, the WAL at once.
    row = sql(host, "select pg_postmaster_start_time(), case when pg_is_in_recovery() then (select received_tli::text from pg_stat_wal_receiver)"
                    " else left(pg_walfile_name(pg_current_wal_lsn()), 8) end, system_identifier from pg_control_system()")[0]
    since = ssh(host, "systemctl show -p MainPID -p ActiveEnterTimestampMonotonic repmgrd").split()
    created = ssh(host, "stat -c '%%i %%Y' %s/PG_VERSION" % DATA).split()
    return {"server": row, "repmgrd": since, "data": created}


# What a run could leave behind: packages, units, files of the system and of the server's user. The contents of
# a data directory change all the time; who wrote its configuration does not. apt's own log of a dry run does not count, nor does the guard's file, which
# it writes whenever it learns something, beside whatever is done to the host.
_FINGERPRINT = r"""
find /etc /usr/local /var/lib/postgresql /var/lib/repmgr /var/spool /root -xdev \
    \( -path '%(data)s/*' -o -path /root/.ansible -o -path /var/lib/postgresql/.ansible -o -path '/var/lib/postgresql/.repmgr_guard.json*' \) -prune \
    -o -path /var/lib/postgresql -printf 'file %%p %%y %%m %%u:%%g\n' -o -printf 'file %%p %%y %%m %%u:%%g %%T@ %%l\n' 2>/dev/null
find /var/log -xdev ! -path /var/log/apt/eipp.log.xz -printf 'log %%p %%m %%u:%%g\n'
sha256sum %(data)s/postgresql.auto.conf %(data)s/standby.signal %(data)s/PG_VERSION 2>/dev/null | sed 's/^/data /'
dpkg-query -W -f 'package ${Package} ${Version} ${Status}\n'
systemctl show -p Id -p MainPID -p UnitFileState %(unit)s repmgrd ssh | xargs -n 3 echo unit
cut -d: -f1,3,7 /etc/passwd | sed 's/^/user /'
runuser -u postgres -- psql -XAtq -d repmgr -c "select 'node', * from repmgr.nodes order by node_id" 2>/dev/null
true
""" % {"data": DATA, "unit": UNIT}


def fingerprint(host):
    """The state of a host as lines of text, to find changes by comparing two of them."""
    return set(ssh(host, _FINGERPRINT).splitlines())


def fingerprints(hosts=None):
    return {host: fingerprint(host) for host in hosts or HOSTS}


def differences(before, after):
    """{host: lines} that have changed."""
    return {host: sorted(before[host] ^ after[host]) for host in before if before[host] != after[host]}


# --- playbooks ------------------------------------------------------------------------------------

class Run(object):
    """The result of one run of ansible-playbook: output, changes, duration."""

    def __init__(self, argv, rc, stdout, stderr, seconds):
        self.argv, self.rc, self.stdout, self.stderr, self.seconds = argv, rc, stdout, stderr, seconds
        start = stdout.find("{\n")
        report = json.loads(stdout[start:]) if start >= 0 else {"stats": {}, "plays": []}
        self.stats = report["stats"]
        self.results = [
            (task["task"]["name"], host, result)
            for play in report["plays"] for task in play["tasks"] for host, result in task["hosts"].items()
        ]

    def count(self, what):
        return {host: numbers[what] for host, numbers in self.stats.items()}

    @property
    def changed(self):
        """{host: names of the tasks that changed it}."""
        changed = {}
        for name, host, result in self.results:
            if result.get("changed"):
                changed.setdefault(host, []).append(name)
        return changed

    @property
    def failures(self):
        """Every message of a task that failed or of a host that could not be reached."""
        return [
            (host, name, str(result.get("msg", "")))
            for name, host, result in self.results
            if (result.get("failed") and not result.get("ignored")) or result.get("unreachable")
        ]

    @property
    def message(self):
        return "\n".join(message for _host, _name, message in self.failures) or self.stderr

    @property
    def text(self):
        return "\n".join("%s" % result.get("msg", "") for _name, _host, result in self.results)

    def __str__(self):
        lines = ["'%s' ended with %d after %.1f s" % (" ".join(self.argv), self.rc, self.seconds)]
        lines += ["%s: %s" % pair for pair in sorted(self.stats.items())]
        lines += ["changed %s: %s" % pair for pair in sorted(self.changed.items())]
        for host, name, message in self.failures:
            lines.append("failed %s, %s: %s" % (host, name, message))
            details = [r for n, h, r in self.results if (n, h) == (name, host)][-1]
            lines += ["    %s" % str(details[key])[-3000:] for key in ("stdout", "stderr", "module_stderr") if details.get(key)]
        if not self.stats:
            lines.append(self.stdout[-3000:])
        lines.append(self.stderr[-3000:])
        return "\n".join(lines)

    def assert_ok(self):
        assert self.rc == 0, str(self)
        return self

    def assert_nothing_changed(self, hosts=None):
        self.assert_ok()
        assert sorted(self.stats) == sorted(hosts or HOSTS), str(self)
        assert not any(self.count("changed").values()), str(self)
        return self


def playbook(name, *options, **keywords):
    """ansible-playbook from the repository, as the README types it, with a machine-readable report."""
    argv = ["ansible-playbook", name, "-i", str(keywords.pop("inventory", INVENTORY))] + list(options)
    seconds = keywords.pop("seconds", 600)
    assert not keywords, keywords
    environment = dict(
        os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json", ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="false",
        PATH="%s:%s" % (ROOT / ".venv/bin", os.environ["PATH"]),
    )
    started = time.monotonic()
    done = subprocess.run(
        argv, cwd=str(ROOT), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, timeout=seconds, check=False,
    )
    return Run(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def site(*options, **keywords):
    return playbook("site.yml", *options, **keywords)


def killed(name, task, *options, **keywords):
    """Run a playbook and kill it, with all its child processes, when a task has its first result; return its output.

    until: a condition to wait for instead, to kill the run in the middle of a task.
    """
    until = keywords.pop("until", None)
    assert not keywords, keywords
    process = subprocess.Popen(
        ["ansible-playbook", name, "-i", INVENTORY] + list(options), cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, universal_newlines=True, start_new_session=True,
        # A task is named when it begins only where it would be if it were skipped.
        env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_DISPLAY_SKIPPED_HOSTS="true" if until else "false",
                 PATH="%s:%s" % (ROOT / ".venv/bin", os.environ["PATH"])))
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("TASK [") and task in line:
            # In the middle of it, not before it.
            if until:
                wait_until("'%s' is in its middle" % task, 30, until)
            else:
                time.sleep(0.5)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
            return "".join(said)
    process.wait(timeout=30)
    text = "".join(said)
    # Of several hosts the one that failed may have done so long before the end.
    raise AssertionError("'%s' never came to '%s':\n%s\n...\n%s" % (name, task, text[text.find("fatal: "):][:3000], text[-3000:]))


# --- hosts ----------------------------------------------------------------------------------------

def lab(*arguments):
    """Call molecule/shared/lab.sh, which creates and removes hosts."""
    done = subprocess.run(
        [str(ROOT / "molecule/shared/lab.sh")] + list(arguments), cwd=str(ROOT), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=600, check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def docker(*arguments):
    """The Docker client, on containers of this lab alone."""
    assert set(argument for argument in arguments[1:] if not argument.startswith("-") and not argument.isdigit()) <= set(HOSTS)
    _docker(arguments)


def unplug(host):
    """Out of the network, for its clients, too."""
    _docker(("network", "disconnect", NETWORK, host))


def plug_in(host):
    _docker(("network", "connect", "--ip", ADDRESS[host], NETWORK, host))


def _docker(arguments):
    done = subprocess.run(["docker"] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout


def answers(host):
    return ssh(host, "true", check=False).returncode == 0


class Wall(object):
    """While this context is active, `host` cannot reach one port of a peer; the packets are dropped, as by a firewall."""

    def __init__(self, host, peer, port):
        self.host = host
        self.rule = "OUTPUT -p tcp -d %s --dport %d -j DROP" % (ADDRESS[peer], port)

    def __enter__(self):
        ssh(self.host, "iptables -A " + self.rule)

    def __exit__(self, *dummy):
        ssh(self.host, "iptables -D " + self.rule)
