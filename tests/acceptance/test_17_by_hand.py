"""A cluster that somebody built by hand and that is in use: host names in conninfo, trust, a superuser, repmgrd by the operator's own unit.

Whatever task site.yml is ended at, the standbys stream and clients write: the new way in is proven before the old one is removed. In every run site.yml is
killed after a few tasks drawn at random (SEED=N draws the same again); TEST_ALL=1 kills it once after every task.
"""
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
