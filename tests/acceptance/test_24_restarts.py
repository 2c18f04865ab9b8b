"""Restarts, upgrades, and runs that are not alone, on a cluster that clients write to."""
import itertools
import json
import threading

import pytest

import lab
from operations import NEWER, begin, books, home, installed, no_row_is_lost, site, the_primary, the_standbys
from refusal import assert_refused


@pytest.fixture(scope="module", autouse=True)
def cluster():
    begin()


# --- restarts and upgrades ------------------------------------------------------------------------

@lab.longer
def test_rolling_restart(writers, figure):
    """A setting that needs a restart: announced by the main job, effective after a rolling restart, and clients wait for a switchover."""
    old = the_primary()
    more = dict(lab.APP_ACCESS, repmgr_postgresql_settings={"max_connections": 120})
    started = {host: lab.lives(host)["server"][0] for host in lab.HOSTS}
    run = lab.site("-e", json.dumps(more)).assert_ok()
    assert {host: lab.lives(host)["server"][0] for host in lab.HOSTS} == started
    assert "waits for a restart: max_connections has changed" in run.text and "rolling_restart.yml" in run.text, run.text
    status = books("status")
    assert status.rc != 0 and "max_connections has changed" in status.text
    run = books("rolling_restart", "--check").assert_ok()
    assert {host: lab.lives(host)["server"][0] for host in lab.HOSTS} == started
    with writers:
        lab.killed("playbooks/rolling_restart.yml", "Restart repmgrd after PostgreSQL")
        lab.wait_until("all run", 60, lambda: all(lab.sql(host, "select 1") for host in lab.HOSTS))
        run = books("rolling_restart").assert_ok()
        writers.progress()
    figure("rolling_restart.yml, after one that was killed", "%.1f s; write gap %.2f s" % (run.seconds, writers.gap()))
    new = the_primary()
    assert new != old
    lab.healthy(primary=new, within=30)
    no_row_is_lost(writers)
    assert {lab.value(host, "show max_connections") for host in lab.HOSTS} == {"120"}
    books("rolling_restart").assert_nothing_changed()
    lab.site("-e", json.dumps(more)).assert_nothing_changed()


@lab.longer
def test_a_setting_that_goes_down_again(writers, figure):
    """No standby starts with a smaller max_connections than its primary has: the primary restarts first, in its place."""
    primary = the_primary()
    started = {host: lab.lives(host)["server"][0] for host in lab.HOSTS}
    run = site().assert_ok()
    assert "waits for a restart: max_connections has changed" in run.text
    with writers:
        lab.killed("playbooks/rolling_restart.yml", "Restart repmgrd after PostgreSQL")
        lab.wait_until("all run", 60, lambda: all(lab.sql(host, "select 1") for host in lab.HOSTS))
        run = books("rolling_restart").assert_ok()
        writers.progress()
    figure("rolling_restart.yml, primary first, after one that was killed", "%.1f s; write gap %.2f s" % (run.seconds, writers.gap()))
    lab.healthy(primary=primary, within=30)
    no_row_is_lost(writers)
    assert {lab.value(host, "show max_connections") for host in lab.HOSTS} == {"100"}
    assert not [host for host in lab.HOSTS if lab.lives(host)["server"][0] == started[host]]
    assert not any(row["paused"] == "1" for row in lab.service_status(primary).values())
    books("rolling_restart").assert_nothing_changed()


@lab.longer
def test_the_main_job_restarts_where_it_may(figure):
    before = the_primary()
    more = dict(lab.APP_ACCESS, repmgr_postgresql_settings={"max_connections": 130}, repmgr_allow_restart=True)
    run = lab.site("-e", json.dumps(more)).assert_ok()
    figure("site.yml with a setting that needs a restart, allowed", "%.1f s" % run.seconds)
    new = the_primary()
    assert new != before
    lab.healthy(primary=new, within=30)
    assert {lab.value(host, "show max_connections") for host in lab.HOSTS} == {"130"}
    lab.site("-e", json.dumps(more)).assert_nothing_changed()
    site("-e", "repmgr_allow_restart=true").assert_ok()
    lab.healthy(primary=the_primary(), within=30)
    assert {lab.value(host, "show max_connections") for host in lab.HOSTS} == {"100"}


@lab.longer
def test_minor_upgrade(writers, figure):
    books("minor_upgrade").assert_nothing_changed()
    before = {host: installed(host) for host in lab.HOSTS}
    for host in lab.HOSTS:
        lab.ssh(host, NEWER)
    run = books("minor_upgrade", "--check").assert_ok()
    assert run.text.count("would be upgraded") == 4 and {host: installed(host) for host in lab.HOSTS} == before
    started = {host: lab.lives(host)["server"][0] for host in lab.HOSTS}
    with writers:
        lab.killed("playbooks/minor_upgrade.yml", "Upgrade the packages of PostgreSQL and repmgr")
        lab.wait_until("dpkg has ended", 60, lambda: all(lab.ssh(host, "pidof dpkg apt-get", check=False).returncode != 0 for host in lab.HOSTS))
        run = books("minor_upgrade").assert_ok()
        writers.progress()
    figure("minor_upgrade.yml", "%.1f s; write gap %.2f s" % (run.seconds, writers.gap()))
    new = the_primary()
    lab.healthy(primary=new, within=30)
    no_row_is_lost(writers)
    for host in lab.HOSTS:
        assert installed(host) != before[host] and "+lab" in installed(host), host
        assert lab.lives(host)["server"][0] != started[host], "%s runs what it ran before" % host
        assert lab.as_postgres(host, "readlink /proc/$(head -1 %s/postmaster.pid)/exe" % lab.DATA).strip().endswith("/postgres")
    books("minor_upgrade").assert_nothing_changed()


# --- runs that are not alone -----------------------------------------------------------------------

def test_two_runs_at_once():
    """Never both at work: one says so and changes nothing, or has waited for the other. Nobody's lock is left; the next run waits for nothing."""
    runs, seen, over = [], [], threading.Event()

    def look():
        while not over.is_set():
            for host in lab.HOSTS:
                found = lab.ssh(host, "cat /run/pgfleet/run.json", check=False).stdout
                seen.append((host, json.loads(found)["run"] if found else ""))

    watch = threading.Thread(target=look)
    watch.start()
    threads = [threading.Thread(target=lambda: runs.append(site())) for _dummy in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    watch.join()
    # Where both have taken a part of the nodes, both may have to go. One that was not refused anywhere has waited.
    refused = [run for run in runs if run.rc != 0]
    for run in refused:
        assert_refused(run, "another run is at work: `ansible-playbook site.yml`", "repmgr_override_run=")
    ids = [run for _host, run in seen if run]
    assert ids, "no lock was ever seen"
    for host in lab.HOSTS:
        turns = [run for run, _same in itertools.groupby(run for where, run in seen if where == host and run)]
        assert len(turns) == len(set(turns)), (host, turns)
    if not refused:
        turns = [run for run, _same in itertools.groupby(ids)]
        assert len(turns) == 2, turns
    for host in lab.HOSTS:
        assert lab.ssh(host, "ls /run/pgfleet").split() == ["run.lock"], host
    site().assert_nothing_changed()


@lab.longer
def test_two_switchovers_at_once():
    runs = {}

    def run(target):
        runs[target] = books("switchover", "-e", "repmgr_target=" + target)

    threads = [threading.Thread(target=run, args=(target,)) for target in the_standbys()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One is refused, or it has waited for the other and then moved the primary on.
    won = [target for target in runs if runs[target].rc == 0]
    assert won, "\n".join(str(one) for one in runs.values())
    assert the_primary() in won
    lab.healthy(primary=the_primary(), within=60)


@lab.longer
def test_a_shutdown_that_takes_too_long(figure):
    """The checkpoint of the old primary's shutdown does not end. Reported; afterwards one primary, and nobody is left paused."""
    old, target = the_primary(), the_standbys()[0]
    lab.ssh(old, "kill -STOP $(pgrep -u postgres -f 'postgres: .*checkpointer')")
    run = books("switchover", "-e", "repmgr_target=" + target)
    assert run.rc != 0 and "Traceback" not in run.message + run.stderr, str(run)
    figure("switchover.yml whose shutdown hangs", "%.1f s" % run.seconds)
    lab.ssh(old, "kill -CONT $(pgrep -u postgres -f 'postgres: .*checkpointer') 2>/dev/null || true")
    lab.wait_until("it is down", 60, lambda: lab.ssh(old, "pgrep -u postgres -x postgres", check=False).returncode != 0)
    lab.ssh(old, "systemctl start %s" % lab.UNIT, check=False)
    lab.wait_until("one primary", 60, lambda: len(lab.primaries()) == 1)
    lab.healthy(primary=the_primary(), within=60)


@lab.longer
def test_the_target_dies_in_a_switchover(figure):
    """The old primary is down already, and the new one will not come: reported, and failover and rejoin finish the job."""
    old, (target, other) = the_primary(), the_standbys()
    # As soon as the old primary is down, and before its successor can be promoted. Its guard would start it again.
    lab.ssh(target, "systemctl stop repmgr-guard")
    lab.ssh(target, "cat >/root/assassin && chmod 700 /root/assassin && systemd-run -q --unit assassin /root/assassin", stdin="""#!/bin/sh
while %s/pg_isready -q -t 1 -h %s; do sleep 0.05; done
kill -9 $(head -1 %s/postmaster.pid)
""" % (lab.BIN, lab.ADDRESS[old], lab.DATA))
    run = books("switchover", "-e", "repmgr_target=" + target)
    assert run.rc != 0 and "Traceback" not in run.message + run.stderr, str(run)
    assert lab.primaries() == [], str(run)
    run = books("failover").assert_ok()
    figure("failover.yml after a switchover whose target died", "%.1f s" % run.seconds)
    assert lab.primaries() == [other]
    lab.ssh(target, "systemctl reset-failed; systemctl start %s repmgr-guard" % lab.UNIT)
    site()
    books("rejoin", "-e", "repmgr_target=" + old).assert_ok()
    site().assert_ok()
    books("maintenance", "-e", "repmgr_maintenance=unpause").assert_ok()
    lab.healthy(primary=other, within=60)


def test_a_switchover_that_is_killed():
    """Its module goes on by itself on the target; nothing is left paused, and the same again finds nothing to do or finishes."""
    target = the_standbys()[0]
    lab.killed("playbooks/switchover.yml", "Switch over to the target", "-e", "repmgr_target=" + target)
    lab.wait_until("one primary", 60, lambda: len(lab.primaries()) == 1)
    books("switchover", "-e", "repmgr_target=" + target)
    lab.healthy(primary=target, within=60)
    site().assert_nothing_changed()
    home()
