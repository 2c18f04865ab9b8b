"""What status says of real clusters in trouble: words, data, exit code, page. Each trouble is made by hand and taken back."""
import json
import os
import re
import subprocess
import time

import pytest

import lab

FAULTY = lab.OTHER_STANDBY


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.healthy_or_from_nothing()
    yield
    lab.undo_faults()
    lab.as_postgres(lab.WITNESS, lab.REPMGR + " service unpause", check=False)
    lab.healthy(within=60)


class Said:
    """One run of status as a person types it."""

    def __init__(self, folder, *options):
        self.page_file, started = folder / "report.html", time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "playbooks/status.yml", "-i", lab.INVENTORY, "-e", "repmgr_report=%s" % self.page_file] + list(options),
            cwd=str(lab.ROOT), env=dict(os.environ, ANSIBLE_NOCOLOR="1", PATH="%s:%s" % (lab.ROOT / ".venv/bin", os.environ["PATH"])),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=120, check=False)
        self.seconds, self.rc, self.text = time.monotonic() - started, done.returncode, done.stdout
        self.page = self.page_file.read_text(encoding="utf-8") if self.page_file.exists() else ""

    def __str__(self):
        return "ended with %d after %.1f s\n%s" % (self.rc, self.seconds, self.text)

    def node(self, name):
        """The cells of a node's line in the first table, by heading."""
        lines = self.text.splitlines()
        heading = [line for line in lines if re.match(r"node +role +state ", line)][0]
        line = [line for line in lines if line.startswith(name + " ")][0]
        starts = [(found.group(), found.start()) for found in re.finditer(r"\S+", heading)]
        return {word: line[start:following].strip() for (word, start), following in zip(starts, [at for dummy, at in starts[1:]] + [None])}

    def assert_says(self, status, primary, following, *words):
        """The verdict is the same in words, in the exit code and on the page."""
        assert self.rc == (0 if status == "healthy" else 2), str(self)
        assert re.search(r"^lab: %s: primary %s, \d of 4 hosts observed, " % (status, primary), self.text, re.MULTILINE), str(self)
        assert "\nnext: %s" % following in self.text, str(self)
        for word in words:
            assert word in self.text, str(self)
        title = {"no_primary": "no primary", "split_brain": "two primaries"}.get(status, status)
        assert "<h2>lab: %s</h2>" % title in self.page and "<script" not in self.page
        assert self.page.count("<rect ") == 4


@pytest.fixture
def status(tmp_path):
    # What the report would log in to is not what is tried here, but for the first time.
    return lambda *options: Said(tmp_path, "-e", "repmgr_logins=false", *options)


def data(said):
    """The one document that stands in what was printed."""
    return json.loads(re.search(r"^\{$.*?^\}$", said.text, re.MULTILINE | re.DOTALL).group())


def test_healthy(tmp_path, figure):
    said = Said(tmp_path)
    said.assert_says("healthy", lab.PRIMARY, "nothing to do", "failover: ready", "repmgr_slot_102 active")
    figure("status.yml with a report, every login tried", "%.1f s" % said.seconds)
    assert said.page.count("\u2713 ok") == 12
    assert said.node(lab.PRIMARY)["role"] == "primary" and said.node(lab.WITNESS)["upstream"] == lab.PRIMARY
    standby = said.node(lab.STANDBY)
    assert (standby["role"], standby["state"], standby["sync"], standby["repmgrd"], standby["guard"], standby["upstream"]) == (
        "standby", "streaming", "async", "running", "running", lab.PRIMARY)
    assert standby["timeline"] == str(int(lab.value(lab.PRIMARY, "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"), 16))
    assert re.match(r"^[0-9A-F]+/[0-9A-F]+$", standby["LSN"])


def test_one_task_goes_to_the_hosts(figure):
    run = lab.playbook("playbooks/status.yml").assert_nothing_changed()
    figure("status.yml", "%.1f s" % run.seconds)
    names = {name for name, dummy_host, result in run.results if not result.get("skipped")}
    # Three of them run once, whatever the number of hosts.
    assert len(names) <= 9, names
    assert "PLAY" not in run.stdout and "lab: healthy" in run.text


def test_as_data(status, tmp_path):
    said = status("-e", "repmgr_format=json", "-e", "repmgr_output=%s" % (tmp_path / "status.json"))
    found = data(said)
    assert said.rc == 0 and found["healthy"] is True, str(said)
    assert json.loads((tmp_path / "status.json").read_text()) == found
    view, = found["clusters"]
    assert (view["cluster"], view["status"], view["primary"], view["failover"]["ready"], view["problems"], view["next"]) == (
        "lab", "healthy", lab.PRIMARY, True, [], "")
    assert {node["name"]: node["role"] for node in view["nodes"]} == dict(
        {host: "standby" for host in lab.DATA_HOSTS[1:]}, **{lab.PRIMARY: "primary", lab.WITNESS: "witness"})
    # The last promotion is one more where it is not among the latest.
    assert len(view["events"]) in (5, 6) and all(node["disks"] and node["certificate_days"] > 0 for node in view["nodes"])
    refused = status("-e", "cluster=nobody", "-e", "repmgr_output=%s" % (tmp_path / "none.json"))
    assert refused.rc != 0 and "expected one or more of lab" in " ".join(refused.text.split()), str(refused)
    assert not (tmp_path / "none.json").exists()
    refused = status("-e", "repmgr_output=/no/such/folder/status.txt")
    assert refused.rc != 0 and "cannot write /no/such/folder/status.txt" in " ".join(refused.text.split()), str(refused)


def test_standby_detached(status):
    was = lab.value(FAULTY, "show primary_conninfo")
    lab.sql(FAULTY, "alter system set primary_conninfo = ''")
    lab.sql(FAULTY, "select pg_reload_conf()")
    try:
        lab.wait_until("detached", 10, lambda: lab.sql(FAULTY, "select 1 from pg_stat_wal_receiver") == [])
        said = status()
        said.assert_says("degraded", lab.PRIMARY, "ansible-playbook site.yml", "failover: ready, %s first" % lab.STANDBY,
                         "repmgr_slot_103 inactive", "  %s: is not streaming (no WAL receiver)" % FAULTY)
        assert said.node(FAULTY)["state"] == "not streaming"
        assert said.node(FAULTY)["upstream"].startswith("- (registered")
        assert 'class="broken"' in said.page
    finally:
        lab.sql(FAULTY, "alter system set primary_conninfo = '%s'" % was.replace("'", "''"))
        lab.sql(FAULTY, "select pg_reload_conf()")
    lab.healthy(within=30)


def test_standby_stopped(status):
    lab.ssh(FAULTY, "systemctl stop repmgr-guard %s" % lab.UNIT)
    try:
        said = status()
        said.assert_says("degraded", lab.PRIMARY, "ansible-playbook site.yml", "  %s: its server is stopped" % FAULTY)
        assert said.node(FAULTY)["role"] == "- (registered standby)"
        assert (said.node(FAULTY)["state"], said.node(FAULTY)["guard"]) == ("stopped", "not running")
    finally:
        lab.ssh(FAULTY, "systemctl start repmgr-guard %s" % lab.UNIT)
    lab.healthy(within=60)


def test_primary_down_while_paused(status, figure):
    """Its server first, then its host: what cannot be reached must not make anybody wait."""
    lab.as_postgres(lab.PRIMARY, lab.REPMGR + " service pause")
    try:
        lab.kill_for_good(lab.PRIMARY)
        lab.wait_until("the primary is dead", 20, lambda: lab.primaries() == [])
        said = status()
        said.assert_says("no_primary", "none", "ansible-playbook playbooks/failover.yml", "failover: not ready",
                         "repmgrd is paused: no automatic failover", "-e repmgr_maintenance=unpause")
        assert (said.node(lab.PRIMARY)["role"], said.node(lab.PRIMARY)["state"]) == ("- (registered primary)", "stopped")
        assert said.node(lab.STANDBY)["repmgrd"] == "paused"

        lab.docker("kill", lab.PRIMARY)
        said = status()
        said.assert_says("no_primary", "none", "ansible-playbook playbooks/failover.yml", "  %s: cannot be reached" % lab.PRIMARY)
        assert (said.node(lab.PRIMARY)["state"], said.node(lab.PRIMARY)["guard"]) == ("unreachable", "?")
        figure("status.yml, one host of four is off", "%.1f s" % said.seconds)
        assert said.seconds < 15, str(said)
    finally:
        lab.undo_faults()
    lab.wait_until("the primary is back", 60, lambda: lab.primaries() == [lab.PRIMARY])
    lab.as_postgres(lab.WITNESS, lab.REPMGR + " service unpause")
    lab.healthy(within=60)


def test_two_primaries(status):
    """A standby that somebody promotes behind everybody's back, where no guard could stop it."""
    lab.ssh(lab.STANDBY, "systemctl stop repmgr-guard repmgrd")
    try:
        lab.as_postgres(lab.STANDBY, lab.BIN + "/pg_ctl -D %s -w promote" % lab.DATA)
        said = status()
        said.assert_says("split_brain", "none", "Find out which one holds the data to keep", "and so does %s" % lab.STANDBY)
        assert said.node(lab.STANDBY)["role"] == "primary (registered standby)"
        assert int(said.node(lab.STANDBY)["timeline"]) == int(said.node(lab.PRIMARY)["timeline"]) + 1
        found = data(status("-e", "repmgr_format=json"))
        assert found["healthy"] is False and [problem["code"] for problem in found["clusters"][0]["problems"]][:2] == ["split_brain"] * 2
    finally:
        lab.ssh(lab.STANDBY, "systemctl stop %s" % lab.UNIT)
        # What it has is on a newer timeline, which nobody rewinds.
        lab.playbook("playbooks/rejoin.yml", "-e", "repmgr_target=" + lab.STANDBY, "-e", "repmgr_rejoin=reclone").assert_ok()
        lab.ssh(lab.STANDBY, "rm -r %s.old-*" % lab.DATA)
    lab.healthy(within=60)
