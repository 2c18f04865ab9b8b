"""Maintenance, a death during it, failover and rejoin by hand while clients write: each with the manners of the main job, and a second time."""
import json
import re

import pytest

import lab
from operations import DATA_LEFT, begin, books, home, site, the_primary
from refusal import assert_refused, inventory, nothing_changes


@pytest.fixture(scope="module", autouse=True)
def cluster():
    begin()


def test_maintenance(figure):
    pause = ["-e", "repmgr_maintenance=pause", "-e", json.dumps({"repmgr_reason": "disk swap in rack 2"})]
    with nothing_changes():
        assert_refused(books("maintenance", "-e", "repmgr_maintenance=pause"), "reason")
    lab.killed("playbooks/maintenance.yml", "Record who paused repmgrd and why", *pause)
    run = books("maintenance", *pause).assert_ok()
    figure("maintenance.yml, pause", "%.1f s" % run.seconds)
    assert all(row["paused"] == "1" for row in lab.service_status(lab.PRIMARY).values())
    books("maintenance", *pause).assert_nothing_changed()
    status = books("status")
    assert status.rc != 0 and "(maintenance: disk swap in rack 2)" in status.text and "-e repmgr_maintenance=unpause" in status.text
    site().assert_nothing_changed()


def test_failover_is_not_for_a_primary_that_lives():
    with nothing_changes():
        books("failover").assert_nothing_changed()


@lab.longer
def test_a_host_that_is_off_needs_the_operators_word():
    lab.docker("stop", "-t", "30", lab.PRIMARY)
    try:
        before = lab.fingerprints(lab.HOSTS[1:])
        run = books("failover")
        assert run.rc != 0 and "-e repmgr_primary_is_dead=%s" % lab.PRIMARY in run.message, str(run)
        run = books("failover", "-e", "repmgr_primary_is_dead=" + lab.STANDBY)
        assert run.rc != 0 and "primary_is_dead=%s" % lab.PRIMARY in run.message, str(run)
        run = books("failover", "--check", "-e", "repmgr_primary_is_dead=" + lab.PRIMARY)
        assert "would become primary of cluster lab in place of %s" % lab.PRIMARY in run.text, str(run)
        assert lab.differences(before, lab.fingerprints(lab.HOSTS[1:])) == {}
        assert lab.primaries(lab.DATA_HOSTS[1:]) == []
    finally:
        lab.docker("start", lab.PRIMARY)
    lab.wait_until("the primary is back", 60, lambda: lab.primaries() == [lab.PRIMARY])


def test_the_primary_dies_while_repmgrd_is_paused(writers, figure, tmp_path):
    """Nothing happens by itself, status says so, no playbook makes it worse, and failover finishes the job: not with priority 0."""
    def never(hosts):
        hosts["children"]["standby"]["hosts"][lab.STANDBY]["repmgr_priority"] = 0
    (tmp_path / "hosts").mkdir()
    never_inventory = str(inventory(tmp_path / "hosts", never))
    site(inventory=never_inventory).assert_ok()
    assert lab.value(lab.PRIMARY, "select priority from repmgr.nodes where node_id = 102", "repmgr") == "0"

    with writers:
        # The one that may become primary lacks the last rows that the other has.
        conninfo = lab.value(lab.OTHER_STANDBY, "select current_setting('primary_conninfo')")
        lab.sql(lab.OTHER_STANDBY, "alter system set primary_conninfo = ''; select pg_reload_conf();")
        lab.wait_until("it streams no more", 10, lambda: lab.value(lab.OTHER_STANDBY, "select count(*) from pg_stat_wal_receiver") == "0")
        writers.progress()
        lab.kill_for_good(lab.PRIMARY)
        lab.sql(lab.OTHER_STANDBY, "alter system set primary_conninfo = '%s'; select pg_reload_conf();" % conninfo.replace("'", "''"))
        lab.wait_until("the primary is dead", 20, lambda: lab.primaries() == [])
        status = books("status", inventory=never_inventory)
        assert status.rc != 0 and "no_primary" in status.text and "next: ansible-playbook playbooks/failover.yml" in status.text, str(status)
        before = lab.fingerprints()
        assert_refused(site(inventory=never_inventory), "failover.yml", lab.PRIMARY)
        assert lab.differences(before, lab.fingerprints()) == {} and lab.primaries() == []

        run = books("failover", "-e", "repmgr_target=" + lab.STANDBY, inventory=never_inventory)
        assert run.rc != 0 and "its priority is 0" in run.message and lab.primaries() == [], str(run)
        run = books("failover", inventory=never_inventory)
        assert run.rc != 0 and lab.primaries() == [], str(run)
        assert re.search("has received [1-9][0-9]* bytes less than %s, which cannot be promoted .its priority is 0" % lab.STANDBY, run.message), run.message
        accept = ["-e", "repmgr_target=" + lab.OTHER_STANDBY, "-e", "repmgr_accept_loss=true"]
        lab.killed("playbooks/failover.yml", "Wait for elections that began before the pause", *accept)
        assert lab.primaries() == []
        run = books("failover", *accept, inventory=never_inventory).assert_ok()
        writers.progress()
    assert lab.primaries() == [lab.OTHER_STANDBY]
    figure("failover.yml", "%.1f s; write gap %.1f s with everything this test did before it" % (run.seconds, writers.gap()))
    lost = writers.lost(lab.OTHER_STANDBY)
    assert lost
    figure("failover.yml, rows", "%d acknowledged, %d given up by the operator's word" % (len(writers.acknowledged()), len(lost)))
    # What it has more cannot be kept: it cannot follow, and is rewound.
    books("rejoin", "-e", "repmgr_target=" + lab.STANDBY, inventory=never_inventory).assert_ok()
    lab.wait_until("the other standby follows", 30, lambda: lab.sql(
        lab.OTHER_STANDBY, "select application_name, state from pg_stat_replication") == [[lab.STANDBY, "streaming"]])
    # The pause was somebody else's. What was restarted has forgotten it: it is in the server's shared memory.
    assert lab.service_status(lab.OTHER_STANDBY)[lab.OTHER_STANDBY]["paused"] == "1"
    books("failover", inventory=never_inventory).assert_nothing_changed()
    # Its host boots: there is no second primary.
    lab.docker("stop", "-t", "30", lab.PRIMARY)
    lab.docker("start", lab.PRIMARY)
    lab.wait_until("the old primary's host has booted", 60, lambda: lab.ssh(
        lab.PRIMARY, "systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"))
    assert lab.primaries() == [lab.OTHER_STANDBY]
    assert lab.ssh(lab.PRIMARY, "systemctl start %s" % lab.UNIT, check=False).returncode != 0
    assert lab.ssh(lab.PRIMARY, "systemctl is-enabled %s" % lab.UNIT, check=False).stdout.strip() == "masked"


def test_the_old_primary_comes_back(figure):
    """It wrote something by itself and died of it: diverged, and not shut down. The main job leaves it alone, rejoin rewinds it."""
    assert_refused(site(), lab.PRIMARY, "rejoin.yml")
    # The guard would not have it.
    lab.ssh(lab.PRIMARY, "systemctl stop repmgr-guard")
    control = lab.BIN + "/pg_ctl -D %s -w -o '-c config_file=/etc/postgresql/%s/main/postgresql.conf -p 5499 -c listen_addresses=' " % (lab.DATA, lab.VERSION)
    lab.as_postgres(lab.PRIMARY, control + "-l /tmp/alone.log start")
    lab.as_postgres(lab.PRIMARY, "psql -Xqp 5499 -c 'create table diverged as select generate_series(1, 100000)'")
    lab.ssh(lab.PRIMARY, "kill -9 $(head -1 %s/postmaster.pid)" % lab.DATA)
    lab.stale_pid(lab.PRIMARY)
    run = books("rejoin", "--check", "-e", "repmgr_target=" + lab.PRIMARY)
    assert lab.ssh(lab.PRIMARY, "systemctl is-active %s" % lab.UNIT, check=False).returncode != 0, str(run)
    assert lab.ssh(lab.PRIMARY, "systemctl is-enabled %s" % lab.UNIT, check=False).stdout.strip() == "masked", str(run)
    rewinds = "pidof pg_rewind || grep -aqs -- --single /proc/[0-9]*/cmdline"
    lab.killed("playbooks/rejoin.yml", "Attach or rewind the target", "-e", "repmgr_target=" + lab.PRIMARY,
               until=lambda: lab.ssh(lab.PRIMARY, rewinds, check=False).returncode == 0)
    # What was begun goes on on the host, and nobody else touches the same files meanwhile.
    lab.wait_until("it has ended", 60, lambda: lab.ssh(lab.PRIMARY, "pidof pg_rewind repmgr", check=False).returncode != 0)
    run = books("rejoin", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    figure("rejoin.yml, rewound after a crash and one that was killed", "%.1f s" % run.seconds)
    books("maintenance", "-e", "repmgr_maintenance=unpause").assert_ok()
    lab.healthy(primary=lab.OTHER_STANDBY, within=60)
    assert lab.ssh(lab.PRIMARY, "systemctl is-enabled %s" % lab.UNIT).strip() in ("enabled", "enabled-runtime")
    assert lab.value(lab.PRIMARY, "select to_regclass('diverged') is null") == "t"
    books("rejoin", "-e", "repmgr_target=" + lab.PRIMARY).assert_nothing_changed()
    books("maintenance", "-e", "repmgr_maintenance=unpause").assert_nothing_changed()
    # The inventory still calls it primary, and is right about everything else: only the priority goes back.
    site().assert_ok()
    site().assert_nothing_changed()
    assert lab.primaries() == [lab.OTHER_STANDBY]
    home()


@lab.longer
def test_the_ladder_ends_with_a_new_copy_only_when_asked():
    """A standby that was promoted behind everybody's back, and whose WAL a rewind would need is gone."""
    host = lab.STANDBY
    lab.ssh(host, "systemctl stop repmgr-guard repmgrd")
    lab.as_postgres(host, lab.BIN + "/pg_ctl -D %s -w promote" % lab.DATA)
    lab.sql(host, "create table diverged as select 1 as one")
    lab.sql(host, "checkpoint")
    lab.ssh(host, "systemctl stop %s && rm %s/pg_wal/0*" % (lab.UNIT, lab.DATA))
    lab.sql(lab.PRIMARY, "create table if not exists went_on as select 1 as one; checkpoint")
    # As `failover` leaves one behind. What is refused changes nothing of it.
    lab.ssh(host, "systemctl mask %s && systemctl start repmgr-guard" % lab.UNIT)
    run = books("rejoin", "-e", "repmgr_target=" + host)
    assert run.rc != 0 and "-e repmgr_rejoin=reclone" in run.message, str(run)
    assert lab.ssh(host, "systemctl is-active repmgr-guard; systemctl is-enabled %s || true" % lab.UNIT).split() == ["active", "masked"]
    assert lab.ssh(host, "pgrep -u postgres -x postgres || true") == ""
    reclone = ["-e", "repmgr_target=" + host, "-e", "repmgr_rejoin=reclone", "-e", "repmgr_clone_from=standby"]
    run = books("rejoin", "--check", *reclone).assert_ok()
    assert re.search(r"move the data directory aside and keep it \(\d+[.]\d MB in %s\); .* clone .*\(\d+[.]\d MB from %s\)" % (
        lab.DATA, re.escape(lab.ADDRESS[lab.OTHER_STANDBY])), run.text), run.text
    assert lab.ssh(host, DATA_LEFT) == "" and lab.primaries() == [lab.PRIMARY]
    # The copy comes from the other standby, which goes on keeping for it what it keeps for every member.
    books("rejoin", *reclone).assert_ok()
    lab.healthy(within=30)
    lab.wait_until("the other standby keeps WAL for the others", 30, lambda: lab.keeps_for_others(lab.OTHER_STANDBY))
    assert lab.DATA + ".old-" in lab.ssh(host, DATA_LEFT)
    lab.ssh(host, "rm -r %s.old-*" % lab.DATA)
    lab.sql(lab.PRIMARY, "drop table went_on")


@lab.longer
def test_an_old_primary_that_can_log_in_nowhere(figure):
    """Its passfile and its keys are gone: site.yml is stopped by what it was, and rejoin repairs it first. Not with a password that nobody has."""
    off = ["-e", "repmgr_auto_rejoin=off"]
    site(*off).assert_ok()
    old, passfile = the_primary(), "/var/lib/postgresql/.pgpass"
    lab.kill_for_good(old)
    lab.wait_until("another primary", 60, lambda: [host for host in lab.primaries() if host != old])
    new = the_primary()
    lab.ssh(old, "rm -rf %s /var/lib/postgresql/.ssh; systemctl start repmgr-guard" % passfile)
    assert_refused(site(*off), old, "rejoin.yml")
    lab.ssh(new, "mv %s %s.away" % (passfile, passfile))
    before = lab.fingerprints()
    run = books("rejoin", "-e", "repmgr_target=" + old, *off)
    assert run.rc != 0 and not any(run.count("changed").values()), str(run)
    assert lab.differences(before, lab.fingerprints()) == {}
    lab.ssh(new, "mv %s.away %s" % (passfile, passfile))
    run = books("rejoin", "-e", "repmgr_target=" + old, *off).assert_ok()
    figure("rejoin.yml of a node without passfile and keys", "%.1f s" % run.seconds)
    lab.healthy(primary=new, within=60)
    site().assert_ok()
    site().assert_nothing_changed()
    home()
