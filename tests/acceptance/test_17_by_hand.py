"""A cluster that somebody built by hand and that is in use: host names in conninfo, trust, a superuser, repmgrd by the operator's own unit.

Its inventory is written from what runs; then site.yml takes it over, and at the end it leaves, as a plain repmgr cluster that fails over by itself.

Whatever task site.yml is ended at, the standbys stream and clients write: the new way in is proven before the old one is removed. In every run site.yml is
killed after a few tasks drawn at random (SEED=N draws the same again); TEST_ALL=1 kills it once after every task.
"""
import json
import os
import subprocess
import time

import pytest

import lab
from kills import Random, killed_after_one_of
from refusal import nothing_changes

SEED = int(os.environ.get("SEED") or time.time())
# Of the tasks of a run; a run has about a hundred.
SHARE = 1.0 if os.environ.get("TEST_ALL") == "1" else 0.01
# Longer than a guard takes to stop a primary that it believes to be isolated.
A_WHILE = 12


@pytest.fixture(scope="module", autouse=True)
def built_by_hand():
    lab.lab("reset")
    subprocess.run(["tests/bench/by-hand.sh"], cwd=str(lab.ROOT), env=dict(os.environ, REPMGRD="unit"), check=True, timeout=600)
    lab.wait_until("the witness has copied the metadata", 60, lambda: lab.nodes(lab.WITNESS) == lab.nodes(lab.PRIMARY))
    lab.sql(lab.PRIMARY, "create table kept (number int primary key)", "repmgr")


def streams_anew():
    """Both standbys stream, also after their connections were cut: what they log in with works now."""
    lab.sql(lab.PRIMARY, "select pg_terminate_backend(pid) from pg_stat_replication")
    lab.wait_until("both standbys stream again", 60, lambda: sorted(
        row[0] for row in lab.sql(lab.PRIMARY, "select application_name from pg_stat_replication where state = 'streaming'")) == lab.DATA_HOSTS[1:])


def said_by(inventory):
    """({host: its own variables}, {group: hosts}) of an inventory, as Ansible reads it."""
    done = subprocess.run([str(lab.ROOT / ".venv/bin/ansible-inventory"), "-i", str(inventory), "--list"], cwd=str(lab.ROOT), stdout=subprocess.PIPE,
                          universal_newlines=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    return found["_meta"]["hostvars"], {group: found.get(group, {}).get("hosts", []) for group in ("primary", "standby", "witness")}


def test_its_inventory_is_written_from_what_runs(tmp_path):
    path = tmp_path / "hosts.yml"
    with nothing_changes():
        lab.playbook("playbooks/adopt.yml", "-e", "repmgr_adopt_to=%s" % path).assert_ok()
    hosts, groups = said_by(path)
    wanted, wanted_groups = said_by(lab.INVENTORY)
    assert groups == wanted_groups
    for host in lab.HOSTS:
        own = {name: value for name, value in hosts[host].items() if name.startswith("repmgr_")}
        # The nodes go on by the names that they connect by, and what their packages came from; all else is as the collection has it.
        assert own == {"repmgr_cluster_name": "base-centos", "repmgr_node_id": wanted[host]["repmgr_node_id"], "repmgr_address": host,
                       "repmgr_package_source": "distro"}, host
        assert hosts[host]["ansible_host"] == wanted[host]["ansible_host"]
    with nothing_changes():
        lab.playbook("playbooks/preflight.yml", inventory=path).assert_ok()
    # Nobody's file is replaced.
    again = lab.playbook("playbooks/adopt.yml", "-e", "repmgr_adopt_to=%s" % path)
    assert again.rc != 0 and "is there already" in again.message, str(again)


def test_preflight_and_check_mode_look_at_it_and_change_nothing():
    with nothing_changes():
        lab.playbook("playbooks/preflight.yml").assert_ok()
        lab.site("--check").assert_ok()


@pytest.mark.usefixtures("built_by_hand")
def test_a_run_that_is_killed_leaves_every_standby_streaming(figure):
    print("SEED=%d" % SEED)
    draw, kills = Random(SEED, SHARE, always=[": Add the other pg_hba rules"]), []
    while True:
        name = killed_after_one_of(draw, "site.yml")
        if not name:
            break
        kills.append(name)
        lab.sql(lab.PRIMARY, "insert into kept values (%d)" % len(kills), "repmgr")
        streams_anew()
        time.sleep(A_WHILE)
        assert lab.primaries() == [lab.PRIMARY], "after '%s'" % name
        lab.sql(lab.PRIMARY, "insert into kept values (%d)" % -len(kills), "repmgr")
    figure("site.yml killed on a cluster built by hand", "after %d tasks: %s" % (len(kills), "; ".join(kills)))
    assert kills
    assert lab.value(lab.PRIMARY, "select count(*) from kept", "repmgr") == "%d" % (2 * len(kills))


def test_then_it_is_a_cluster_like_any_other():
    lab.healthy()
    for host in lab.HOSTS:
        # It goes on archiving as it did.
        assert lab.value(host, "show archive_command") == "cp %p /var/lib/postgresql/15/archive/%f", host
    lab.site().assert_nothing_changed()
    for host in lab.HOSTS:
        assert lab.ssh(host, "pgrep -cx repmgrd").strip() == "1", host
        assert lab.ssh(host, "systemctl is-enabled pg-failover", check=False).stdout.strip() == "disabled"
    for host in lab.HOSTS:
        assert "trust" not in lab.ssh(host, "grep -v '^#' /etc/postgresql/15/main/pg_hba.conf"), host
    assert lab.value(lab.PRIMARY, "select rolsuper from pg_roles where rolname = 'repmgr'") == "f"
    streams_anew()


LEAVE = ("playbooks/leave.yml", "-e", "repmgr_leave=lab")
LEFT = ("ls /usr/local/sbin/repmgr-* /etc/systemd/system/repmgr-* /etc/systemd/system/repmgrd.service /etc/systemd/system/postgresql@*.service.d/pgfleet-*"
        " /etc/pgfleet/guard.json /run/postgresql/repmgr-guard.sight 2>/dev/null; pgrep -lf 'sbin/[r]epmgr-(guard|health|metrics)'; true")


def started():
    return {host: lab.value(host, "select pg_postmaster_start_time()") for host in lab.HOSTS}


def test_it_leaves_without_a_server_being_stopped(figure):
    before, draw, kills = started(), Random(SEED, 3 * SHARE, always=["Stop and disable the guard, and then its fuse"]), []
    with nothing_changes():
        lab.playbook(*LEAVE, "--check").assert_ok()
    while True:
        name = killed_after_one_of(draw, *LEAVE)
        if not name:
            break
        kills.append(name)
        assert lab.primaries() == [lab.PRIMARY], "after '%s'" % name
        lab.sql(lab.PRIMARY, "insert into kept values (%d)" % (1000 + len(kills)), "repmgr")
    figure("leave.yml killed", "after %d tasks: %s" % (len(kills), "; ".join(kills)))
    assert kills and started() == before
    lab.playbook(*LEAVE).assert_nothing_changed()
    for host in lab.HOSTS:
        assert lab.ssh(host, LEFT) == "", host
        assert lab.ssh(host, "pgrep -cx repmgrd").strip() == "1", host
        assert lab.ssh(host, "systemctl is-enabled repmgrd-plain").strip() == "enabled", host
        assert "repmgr-guard" not in lab.ssh(host, "cat /etc/repmgr.conf /etc/sudoers.d/repmgr"), host
    lab.healthy()
    lab.as_postgres(lab.STANDBY, lab.REPMGR + " cluster show")
    streams_anew()


def test_and_site_takes_it_over_again():
    lab.site().assert_ok()
    lab.healthy()
    lab.site().assert_nothing_changed()
    for host in lab.HOSTS:
        assert lab.ssh(host, "pgrep -cx repmgrd").strip() == "1", host
        assert lab.ssh(host, "systemctl is-enabled repmgrd-plain", check=False).stdout.strip() == "disabled", host


def test_plain_repmgrd_fails_over(figure):
    lab.playbook(*LEAVE).assert_ok()
    lab.sql(lab.PRIMARY, "insert into kept values (2000)", "repmgr")
    streams_anew()
    lab.ssh(lab.PRIMARY, "systemctl stop " + lab.UNIT)
    figure("failover by plain repmgrd after leave.yml", "%.1f s" % lab.wait_until(
        "plain repmgrd has promoted a standby", 120, lambda: len(lab.primaries(lab.DATA_HOSTS[1:])) == 1))
    primary, = lab.primaries(lab.DATA_HOSTS[1:])
    other, = set(lab.DATA_HOSTS[1:]) - {primary}
    assert lab.value(primary, "select count(*) from kept where number = 2000", "repmgr") == "1"
    lab.wait_until("the other standby follows it", 120, lambda: lab.sql(
        primary, "select application_name from pg_stat_replication where state = 'streaming'") == [[other]])
