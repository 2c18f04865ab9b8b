"""The primary dies. The standbys settle it among themselves, and no run afterwards makes a second primary."""
import json
import re

import lab

BOUND = 60
state = {}


def test_one_standby_takes_over(writers, figure, tmp_path):
    with writers:
        lab.load_in_bulk(lab.PRIMARY)
        lab.kill_for_good(lab.PRIMARY)
        took = lab.wait_until("a new primary", BOUND, lambda: len(lab.primaries()) == 1)
        writers.progress(seconds=30)
    new, = lab.primaries()
    follower, = [host for host in lab.DATA_HOSTS if host not in (lab.PRIMARY, new)]
    state.update(new=new, follower=follower)

    def settled():
        assert lab.sql(new, "select application_name, state from pg_stat_replication") == [[follower, "streaming"]]
        status = lab.service_status(new)
        assert [status[host]["type"] for host in (new, follower, lab.WITNESS)] == ["primary", "standby", "witness"]
        assert all(status[host]["running"] == "1" and status[host]["paused"] == "0" for host in (new, follower, lab.WITNESS))
        assert lab.nodes(lab.WITNESS)[lab.WITNESS]["upstream"] == lab.nodes(new)[new]["id"]
        # Its copy of the records, which it takes every 15 s; until then it would change under the tests that follow.
        assert lab.nodes(lab.WITNESS) == lab.nodes(new)
        return True

    lab.wait_until("the others follow", 45, settled)
    # The promotion's own takes minutes, and would change the timeline that the next tests compare.
    lab.sql(new, "checkpoint")
    lab.sql(new, "drop table bulk", "app")
    lab.replayed(new, [follower])
    assert writers.lost(follower) == writers.lost(new)
    # Asynchronous replication: what the dead primary had acknowledged and not yet sent is gone. Counted, not hidden.
    figure("kill -9 of the primary", "write gap %.1f s, new primary after %.1f s; %d rows acknowledged, %d lost (asynchronous)" % (
        writers.gap(), took, len(writers.acknowledged()), len(writers.lost(new))))
    lab.playbook("playbooks/status.yml", "-e", "repmgr_format=json", "-e", "repmgr_output=%s" % (tmp_path / "status.json"))
    events = json.loads((tmp_path / "status.json").read_text())["clusters"][0]["events"]
    gaps = [event["write_gap"] for event in events if event["event"] == "standby_promote"]
    # repmgr writes the event down when the promotion is done, which clients may have found out before.
    assert len(gaps) == 1 and 0 < gaps[0] < writers.gap() + 5, events


def test_site_does_not_start_the_old_primary():
    """The inventory still calls it primary; what lives says otherwise."""
    new, follower = state["new"], state["follower"]
    before = {host: lab.lives(host) for host in (new, follower, lab.WITNESS)}
    files = lab.fingerprints()
    run = lab.site()
    assert lab.primaries() == [new], str(run)
    assert lab.ssh(lab.PRIMARY, "systemctl is-active %s" % lab.UNIT, check=False).returncode != 0, "the old primary was started"
    assert {host: lab.lives(host) for host in before} == before
    assert lab.differences(files, lab.fingerprints()) == {}
    assert run.rc != 0 and lab.PRIMARY in run.message, str(run)


def test_switchover_does_not_run_on_half_a_cluster():
    before = lab.fingerprints()
    run = lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=%s" % state["follower"])
    assert run.rc != 0 and lab.PRIMARY in run.message, str(run)
    assert lab.differences(before, lab.fingerprints()) == {}
    assert lab.primaries() == [state["new"]]
    assert all(row["paused"] != "1" for row in lab.service_status(state["new"]).values())


def test_the_old_primary_does_not_start():
    """Not by systemd, and so not by repmgr either; nor does its host's boot make a second primary, but a standby."""
    done = lab.ssh(lab.PRIMARY, "systemctl start %s" % lab.UNIT, check=False)
    assert done.returncode != 0 and lab.primaries() == [state["new"]]
    said = lab.ssh(lab.PRIMARY, "journalctl -u %s -o cat --no-pager -n 20" % lab.UNIT)
    timelines = re.search(r"does not start as primary: %s is primary, on timeline (\d+) \(here: (\d+)\)" % state["new"], said)
    assert timelines and int(timelines.group(1)) == int(timelines.group(2)) + 1, said
    assert "ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=%s" % lab.PRIMARY in said


def test_site_refuses_two_primaries():
    """Started behind the guard's back, while its watch is off."""
    control = "%s/pg_ctl -D %s -w -o '-c config_file=/etc/postgresql/%s/main/postgresql.conf' " % (lab.BIN, lab.DATA, lab.VERSION)
    lab.as_postgres(lab.PRIMARY, control + "-l /tmp/alone.log start")
    assert sorted(lab.primaries()) == sorted([lab.PRIMARY, state["new"]])
    before = lab.fingerprints()
    run = lab.site()
    assert run.rc != 0, str(run)
    assert lab.PRIMARY in run.message and state["new"] in run.message and "primar" in run.message, run.message
    assert not any(run.count("changed").values()), str(run)
    assert lab.differences(before, lab.fingerprints()) == {}


def test_the_guard_ends_it(figure):
    """The one that a majority does not follow is stopped at once, and becomes a standby."""
    lab.ssh(lab.PRIMARY, "systemctl start repmgr-guard")
    took = lab.wait_until("one primary", 10, lambda: lab.primaries() == [state["new"]], pause=0.1)
    lab.wait_until("it is stopped for systemd too", 10, lambda: lab.ssh(lab.PRIMARY, "systemctl is-active " + lab.UNIT, check=False).returncode != 0)
    figure("a second primary, once the guard runs", "stopped after %.1f s" % took)
    said = lab.ssh(lab.PRIMARY, "journalctl -u repmgr-guard -o cat --no-pager -n 20")
    assert "stopped the server: %s is primary" % state["new"] in said, said


def test_the_old_primary_comes_back_by_itself(figure):
    lab.ssh(lab.PRIMARY, "systemctl start %s" % lab.UNIT, check=False)
    took = lab.healthy(primary=state["new"], within=60)
    figure("a refused start, until it is a standby", "%.1f s" % took)
    lab.site().assert_nothing_changed()
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    lab.healthy(within=30)
