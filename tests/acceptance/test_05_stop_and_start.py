"""The power goes, and comes back: nobody types anything."""
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
