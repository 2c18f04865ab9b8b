"""The power goes, and comes back: nobody types anything."""
import time

import pytest

import lab

BOUND = 120


def test_the_cluster_comes_back_by_itself(figure):
    rows = lab.value(lab.PRIMARY, "select count(*) from pgbench_history", "app")
    lab.docker("stop", "-t", "30", *lab.HOSTS)
    assert not any(lab.answers(host) for host in lab.HOSTS)
    # The primary last: whoever comes first has to wait for it, not to give up.
    lab.docker("start", *reversed(lab.HOSTS))
    took = lab.healthy(within=BOUND)
    figure("all four stopped and started", "healthy %.1f s after docker start" % took)
    for host in lab.DATA_HOSTS:
        assert lab.value(host, "select count(*) from pgbench_history", "app") == rows
    lab.site().assert_nothing_changed()


def test_a_witness_whose_server_is_killed_comes_back(figure):
    """Two data nodes without its vote would not survive the next failure; nobody is there to start it but systemd."""
    started = "select pg_postmaster_start_time()"
    before = lab.value(lab.WITNESS, started)
    lab.ssh(lab.WITNESS, "systemctl kill -s KILL " + lab.UNIT)
    took = lab.wait_until("the witness's server runs again", 20, lambda: lab.value(lab.WITNESS, started) != before, pause=0.1)
    figure("witness killed", "its server answers again after %.1f s" % took)
    lab.healthy(within=60)


@pytest.mark.parametrize("stop, state", [("systemctl stop " + lab.UNIT, "inactive"),
                                         ("runuser -u postgres -- pg_ctlcluster %s main stop" % lab.VERSION, "inactive")])
def test_a_witness_that_somebody_stops_stays_so(stop, state):
    # It answers before systemd has done with its start.
    lab.wait_until("the start has ended", 30, lambda: lab.ssh(lab.WITNESS, "systemctl is-active %s || true" % lab.UNIT).strip() == "active")
    lab.ssh(lab.WITNESS, "cd / && " + stop)
    try:
        # Longer than systemd waits before a restart.
        time.sleep(5)
        assert lab.ssh(lab.WITNESS, "systemctl is-active %s || true" % lab.UNIT).strip() == state
    finally:
        lab.ssh(lab.WITNESS, "systemctl start " + lab.UNIT)
    lab.healthy(within=60)
