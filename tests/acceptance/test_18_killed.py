"""Every playbook that changes a cluster is killed after its tasks: after one part of the tasks per day, KILL_DAY=n for another part, KILL_ALL=1 for all.

After each kill one daemon and one host, chosen at random (SEED=n repeats a choice), are restarted while clients write. At no time may there be two
primaries, no acknowledged row may be missing, the primary must accept writes within the time of a failover, and the same command, run again, must
complete.
"""
import json
import os
import random
import threading
import time

import pytest

import lab
import operations
from kills import OfTheDay, killed_after_one_of
from refusal import inventory

pytestmark = lab.longer

SEED = int(os.environ.get("SEED") or time.time())
# One kill takes two to three minutes, and the playbooks have some four hundred tasks.
DAYS = 20
# Seconds: the time of a failover where a host is off, and that of a boot.
FAILOVER = 60
CHANCE = random.Random(SEED)

books, the_primary, FIFTH = operations.books, operations.the_primary, operations.FIFTH


@pytest.fixture(scope="module", autouse=True)
def cluster():
    print("SEED=%d" % SEED)
    lab.ADDRESS[FIFTH] = "192.168.56.111"
    lab.healthy_or_from_nothing(*operations.APP)
    operations.home()
    yield
    lab.lab("fifth", "down")
    del lab.ADDRESS[FIFTH]


class Watch:
    """While this context is active, check continuously which nodes accept writes."""

    def __init__(self, hosts):
        self.hosts, self.end, self.seen = hosts, threading.Event(), []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.end.wait(0.3):
            try:
                found = lab.primaries(self.hosts)
            except Exception:  # noqa: BLE001  a host that boots is not an answer
                continue
            # Asked one after the other, a switchover in between may show both: two looks in a row decide.
            if len(found) > 1 and set(lab.primaries(self.hosts)) >= set(found):
                self.seen.append(found)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *dummy):
        self.end.set()
        self.thread.join(timeout=60)


def restart_a_daemon_and_a_host(hosts):
    daemon = CHANCE.choice(["repmgrd", "repmgr-guard"])
    host = CHANCE.choice([one for one in hosts if daemon == "repmgrd" or one != lab.WITNESS])
    # Where it has not been installed yet, there is nothing to restart.
    lab.ssh(host, "! systemctl -q is-active %s || systemctl restart %s" % (daemon, daemon))
    boots = CHANCE.choice(hosts)
    lab.docker("restart", "-t", "30", boots)
    lab.wait_until("%s answers" % boots, 60, lambda: lab.answers(boots))
    return "%s of %s, host %s" % (daemon, host, boots)


def all_stream():
    """For a playbook that refuses a cluster of which a server is down."""
    primary = the_primary()
    lab.wait_until("all standbys stream and the witness answers", 90, lambda: lab.primaries([lab.WITNESS]) and len(lab.sql(
        primary, "select 1 from pg_stat_replication where state = 'streaming'")) == len(lab.DATA_HOSTS) - 1)


def until_it_is_done(writers, name, *options, writable=True, hosts=None, settled=None, **keywords):
    """The playbook, killed after the tasks of the day, and run to its end; how it went. writable: whether the cluster has a primary meanwhile. settled: what
    an operator waits for before the same command runs again.
    """
    draw, kills = OfTheDay(DAYS), []
    with writers, Watch(lab.DATA_HOSTS) as watch:
        while True:
            task = killed_after_one_of(draw, "playbooks/%s.yml" % name, *options, **keywords)
            if not task:
                break
            restarted = restart_a_daemon_and_a_host(hosts or lab.HOSTS)
            kills.append("%s (%s)" % (task, restarted))
            print("killed after " + kills[-1])
            if writable:
                writers.progress(FAILOVER)
            if settled:
                settled()
        writers.progress(FAILOVER)
    assert watch.seen == [], "two primaries: %s; killed after %s" % (watch.seen, kills)
    lab.wait_until("one primary", 60, lambda: len(lab.primaries()) == 1)
    operations.no_row_is_lost(writers)
    return kills


def whole(primary=None):
    """Healthy, and what a failover in between has left is brought back as an operator would."""
    try:
        lab.healthy(primary=primary or the_primary(), within=90)
    except AssertionError as error:
        print("not whole by itself: %s" % error)
        for host in [host for host in lab.DATA_HOSTS if host != the_primary()]:
            books("rejoin", "-e", "repmgr_target=" + host).assert_ok()
        lab.healthy(primary=the_primary(), within=60)


@pytest.fixture
def record(figure, request):
    def note(kills):
        figure(request.node.name, "killed %d times: %s" % (len(kills), "; ".join(kills) or "none of the day"))

    return note


def test_site(writers, record):
    more = dict(lab.APP_ACCESS, repmgr_postgresql_settings={"log_min_duration_statement": CHANCE.randrange(1000, 9000)}, repmgr_metrics=True)
    record(until_it_is_done(writers, "site", "-e", json.dumps(more)))
    whole()
    lab.site("-e", json.dumps(more)).assert_nothing_changed()
    operations.site().assert_ok()


def test_a_node_comes_and_goes(writers, record, tmp_path):
    lab.lab("fifth", "up")
    (tmp_path / "hosts").mkdir()
    hosts = inventory(tmp_path / "hosts", operations.fifth)
    options = ["-e", "repmgr_target=" + FIFTH] + operations.APP
    kills = until_it_is_done(writers, "add_node", *options, inventory=hosts)
    lab.wait_until("five nodes", 60, lambda: lab.assert_healthy(
        the_primary(), [host for host in lab.DATA_HOSTS + [FIFTH] if host != the_primary()], lab.WITNESS) is None)
    for log in tmp_path.glob("acknowledged-*"):
        log.unlink()
    kills += until_it_is_done(writers.__class__(tmp_path), "remove_node", *options, inventory=hosts)
    record(kills)
    whole()
    operations.site().assert_nothing_changed()
    lab.lab("fifth", "down")


def test_rotate_credentials(writers, record):
    record(until_it_is_done(writers, "rotate_credentials", *operations.APP))
    whole()
    operations.site().assert_nothing_changed()


def test_rolling_restart(writers, record):
    more = dict(lab.APP_ACCESS, repmgr_postgresql_settings={"max_connections": 120})
    lab.site("-e", json.dumps(more)).assert_ok()
    record(until_it_is_done(writers, "rolling_restart"))
    whole()
    assert {lab.value(host, "show max_connections") for host in lab.HOSTS} == {"120"}
    operations.site("-e", "repmgr_allow_restart=true").assert_ok()
    whole()


def test_minor_upgrade(writers, record):
    before = {host: operations.installed(host) for host in lab.HOSTS}
    for host in lab.HOSTS:
        lab.ssh(host, operations.NEWER)
    record(until_it_is_done(writers, "minor_upgrade"))
    whole()
    for host in lab.HOSTS:
        assert operations.installed(host) != before[host], host


def test_failover_and_rejoin(writers, record, tmp_path):
    """The primary's server dies while repmgrd is paused, so that an operator has to fail over; the host of any node may restart meanwhile."""
    operations.home()
    old = the_primary()
    books("maintenance", "-e", "repmgr_maintenance=pause", "-e", json.dumps({"repmgr_reason": "a test"})).assert_ok()
    draw, kills = OfTheDay(DAYS), []
    with writers, Watch(lab.DATA_HOSTS) as watch:
        lab.kill_for_good(old)
        lab.wait_until("the primary is dead", 20, lambda: lab.primaries() == [])
        while True:
            task = killed_after_one_of(draw, "playbooks/failover.yml")
            if not task:
                break
            # Not the old primary: by its boot it would be primary again, and there were nothing to fail over.
            kills.append("failover: %s (%s)" % (task, restart_a_daemon_and_a_host([host for host in lab.HOSTS if host != old])))
        writers.progress(FAILOVER)
    new = the_primary()
    assert watch.seen == [] and new != old
    # Asynchronous: what the dead primary had not sent when it was killed is all that may be missing.
    assert len(writers.lost(new)) <= 4, writers.lost(new)
    books("maintenance", "-e", "repmgr_maintenance=unpause")
    for log in tmp_path.glob("acknowledged-*"):
        log.unlink()
    kills += ["rejoin: " + kill for kill in until_it_is_done(
        writers.__class__(tmp_path), "rejoin", "-e", "repmgr_target=" + old, hosts=[host for host in lab.HOSTS if host != new])]
    record(kills)
    books("maintenance", "-e", "repmgr_maintenance=unpause").assert_ok()
    whole()


def test_leave_and_be_taken_over_again(writers, record):
    """The host of a node without a guard starts its server at boot: no other is promoted meanwhile, because repmgrd is paused."""
    operations.home()
    # A paused cluster has no failover, so the primary's host is not restarted: its standbys' and the witness's are.
    record(until_it_is_done(writers, "leave", "-e", "repmgr_leave=lab", hosts=[host for host in lab.HOSTS if host != the_primary()], settled=all_stream))
    for host in lab.HOSTS:
        assert lab.ssh(host, "systemctl is-active repmgrd-plain", check=False).stdout.strip() == "active", host
        assert lab.ssh(host, "test ! -e /usr/local/sbin/repmgr-guard && test ! -e /usr/local/sbin/repmgr-health", check=False).returncode == 0, host
    operations.site().assert_ok()
    whole()
    operations.site().assert_nothing_changed()
