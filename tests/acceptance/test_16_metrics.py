"""The metrics role: on each node a file that says what is so, for node_exporter; and no trace of it when it is not wanted any more."""
import json
import re
import shutil
import subprocess
import time

import pytest

import lab

ON = ["-e", json.dumps(dict(lab.APP_ACCESS, repmgr_metrics=True, repmgr_metrics_interval=2))]
OFF = ["-e", json.dumps(lab.APP_ACCESS)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.healthy_or_from_nothing()


@pytest.fixture(scope="module")
def role(tmp_path_factory):
    """The role by itself, as its README has it: role(*options)."""
    path = tmp_path_factory.mktemp("metrics") / "metrics.yml"
    path.write_text(json.dumps([{"name": "Metrics", "hosts": "primary:standby:witness", "become": True, "roles": ["pgfleet.repmgr.metrics"]}]))
    return lambda *options: lab.playbook(str(path), *options)


def said(host):
    """{'up': 1.0, 'role role=primary': 1.0, ...}: the samples of one node, without the labels that all of them have."""
    found = {}
    for line in lab.ssh(host, "cat " + lab.METRICS).splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.match(r"repmgr_(\w+)\{(.*)\} (\S+)$", line).groups()
        labels = labels.replace('"', "").split(",")
        assert labels[:2] == ["cluster=lab", "node=" + host], line
        found[" ".join([name] + labels[2:])] = float(value)
    return found


def becomes(host, within=15, **expected):
    """Wait until a node says so of itself."""
    def probe():
        now = said(host)
        assert {name: now.get(name) for name in expected} == expected
        return True

    return lab.wait_until("%s says %s" % (host, expected), within, probe, pause=0.2)


def test_every_node_says_what_is_so(role, figure):
    run = role(*ON).assert_ok()
    figure("the metrics role on four hosts", "%.1f s" % run.seconds)
    assert run.changed and {host: sorted(tasks) for host, tasks in run.changed.items()} == {host: sorted(run.changed[lab.PRIMARY]) for host in lab.HOSTS}
    timeline = lab.timeline(lab.PRIMARY)
    for host in lab.HOSTS:
        becomes(host, up=1, failover_ready=1, primaries=1, nodes_registered=4, nodes_answering=4, repmgrd_running=1, repmgrd_paused=0)
        now = said(host)
        kind = "primary" if host == lab.PRIMARY else "witness" if host == lab.WITNESS else "standby"
        assert {name: now["role role=" + name] for name in ("primary", "standby", "witness")} == {
            name: float(name == kind) for name in ("primary", "standby", "witness")}
        assert now.get("timeline") == (None if kind == "witness" else timeline)
        assert now.get("guard_running") == now.get("guard_fuse_running") == (None if kind == "witness" else 1)
        assert now.get("streaming") == (1 if kind == "standby" else None)
        for name in ("receive_lag_bytes", "replay_lag_bytes", "replay_lag_seconds"):
            assert (name in now and 0 <= now[name] < 2 ** 24) == (kind == "standby"), (name, now)
        slots = {row[0]: float(row[1]) for row in lab.sql(host, "select slot_name, active::int from pg_replication_slots")}
        assert {name.split("slot=")[1]: value for name, value in now.items() if name.startswith("slot_active ")} == slots
        assert all(now["slot_retained_bytes slot=" + slot] >= 0 for slot in slots)
        days = int(lab.ssh(host, "echo $((($(date -d \"$(openssl x509 -enddate -noout -in /etc/pgfleet/tls/server.crt | cut -d= -f2)\" +%s)"
                                 " - $(date +%s)) / 86400))"))
        assert (now["certificate_valid"], now["certificate_remaining_seconds"] // 86400) == (1, days)
        assert -1 <= time.time() - now["observed_timestamp_seconds"] < 10
        assert lab.ssh(host, "stat -c '%%a %%U' %s; ls /var/lib/prometheus/node-exporter" % lab.METRICS).split() == ["644", "root", "repmgr.prom"]
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=lab.ssh(lab.PRIMARY, "cat " + lab.METRICS), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, check=False)
        assert done.returncode == 0, done.stdout


def test_what_changes_is_seen():
    """A standby is stopped, and repmgrd is paused: on the node itself and on the others."""
    lab.as_postgres(lab.PRIMARY, lab.REPMGR + " service pause")
    try:
        lab.ssh(lab.OTHER_STANDBY, "systemctl stop %s" % lab.UNIT)
        try:
            becomes(lab.OTHER_STANDBY, up=0, streaming=None, **{"role role=standby": None})
            becomes(lab.PRIMARY, up=1, nodes_answering=3, repmgrd_paused=1, failover_ready=0, **{"slot_active slot=repmgr_slot_103": 0})
            becomes(lab.WITNESS, nodes_answering=3, primaries=1, repmgrd_paused=1)
        finally:
            lab.ssh(lab.OTHER_STANDBY, "systemctl start %s" % lab.UNIT)
    finally:
        lab.wait_until("everybody is back", 30, lambda: lab.answers(lab.OTHER_STANDBY))
        lab.wait_until("nobody is paused", 30, lambda: lab.as_postgres(lab.PRIMARY, lab.REPMGR + " service unpause", check=False).returncode == 0)
    becomes(lab.OTHER_STANDBY, within=30, up=1, streaming=1, failover_ready=1)
    becomes(lab.PRIMARY, within=30, nodes_answering=4, repmgrd_paused=0, failover_ready=1)
    # A few lines every few seconds would drown everything else.
    assert lab.ssh(lab.PRIMARY, "journalctl -q --no-pager --since '-20 s' _SYSTEMD_UNIT=repmgr-metrics.service + UNIT=repmgr-metrics.service") == ""


def test_the_main_job_finds_nothing_to_do():
    lab.site(*ON).assert_nothing_changed()


def test_switched_off_it_leaves_nothing(role):
    assert lab.ssh(lab.PRIMARY, lab.METRICS_TRACES).split()
    role(*OFF).assert_ok()
    for host in lab.HOSTS:
        assert lab.ssh(host, lab.METRICS_TRACES) == ""
    lab.healthy(within=20)
