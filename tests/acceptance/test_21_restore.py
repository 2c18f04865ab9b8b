"""A cluster goes back to an earlier moment by one command, also where that is ended in its middle; the old data are kept."""
import json

import pytest

import lab
from test_20_backup import OFF, ON, archived, backups

MOVED = lab.DATA + ".before-restore-*"
STATE = "/var/lib/postgresql/.repmgr_restore.json"
COUNT = "select count(*) || ' ' || coalesce(md5(string_agg(n || text, ',' order by n)), '') from kept"
FIRST = {}


def restore(target, *options, **more):
    given = ["-e", json.dumps({"repmgr_restore": target})] + (["-e", "repmgr_restore_consent=lab"] if more.pop("consent", True) else [])
    return lab.playbook("playbooks/restore.yml", *(given + list(options) + ON))


def now():
    """The server's own time, after everything that was committed before."""
    lab.sql(lab.PRIMARY, "select pg_sleep(0.5)")
    return lab.value(lab.PRIMARY, "select (clock_timestamp() at time zone 'UTC')::text || '+00'")


def failover(*options):
    return lab.playbook("playbooks/failover.yml", "-e", "repmgr_target=" + lab.STANDBY, *options)


def contents():
    """{host: what it has}"""
    lab.replayed(lab.PRIMARY, [host for host in lab.DATA_HOSTS if host != lab.PRIMARY])
    return {host: lab.value(host, COUNT) for host in lab.DATA_HOSTS}


def kept():
    return {host: lab.ssh(host, "ls -d %s %s.old-* 2>/dev/null; true" % (MOVED, lab.DATA)).split() for host in lab.DATA_HOSTS}


def phase():
    said = lab.ssh(lab.PRIMARY, "cat %s 2>/dev/null; true" % STATE)
    return json.loads(said)["phase"] if said else ""


def is_back(expected, timeline):
    lab.healthy(within=60)
    assert lab.timeline(lab.PRIMARY) == timeline
    assert contents() == {host: expected for host in lab.DATA_HOSTS}
    assert phase() == ""
    assert lab.ssh(lab.PRIMARY, "ls -d %s.restore* 2>/dev/null; true" % lab.DATA) == ""


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.healthy_or_from_nothing()
    lab.site(*ON).assert_ok()
    lab.sql(lab.PRIMARY, "create table kept as select n, md5(n::text) as text from generate_series(1, 50000) n")
    yield
    lab.sql(lab.PRIMARY, "drop table if exists kept, archived, later")
    lab.site(*OFF).assert_ok()
    for host in lab.HOSTS:
        lab.ssh(host, "rm -rf /srv/backup; rm -rf %s %s.old-*" % (MOVED, lab.DATA))


def test_what_cannot_be_restored_is_refused():
    started = lab.value(lab.PRIMARY, "select pg_postmaster_start_time()")
    label = backups()[-1][0]
    moment = now()
    for target, said in (
            ({"tme": moment}, "unknown: tme"),
            ({"time": moment, "name": "x"}, "exactly one of"),
            ({"time": "2026-11-30 14:05:00"}, "time zone"),
            ({"time": "2099-01-01 00:00:00+00"}, "in the future"),
            ({"time": "2001-01-01 00:00:00+00"}, "before the end of the oldest backup, %s" % backups()[0][0]),
            ({"latest": True, "set": "20010101-000000F"}, "no backup 20010101-000000F"),
            ({"latest": True, "timeline": 77}, "there is no history of timeline 77")):
        run = restore(target)
        assert run.rc != 0 and said in run.message, (target, str(run))
    run = restore({"latest": True}, consent=False)
    assert run.rc != 0 and "-e repmgr_restore_consent=lab -e '{\"repmgr_restore\": {\"latest\": true}}'" in run.message, str(run)
    run = restore({"latest": True}, "--check", consent=False).assert_ok()
    assert label in run.text and "the archive has WAL from" in run.text, str(run)
    assert lab.value(lab.PRIMARY, "select pg_postmaster_start_time()") == started
    assert phase() == "" and lab.ssh(lab.PRIMARY, "ls -d %s.* 2>/dev/null; true" % lab.DATA) == ""


def test_a_dropped_table_is_back(figure):
    before, timeline = lab.value(lab.PRIMARY, COUNT), lab.timeline(lab.PRIMARY)
    moment = now()
    lab.sql(lab.PRIMARY, "drop table kept; create table later (n int)")
    FIRST.update(moment=now(), timeline=timeline)
    run = restore({"time": moment}).assert_ok()
    figure("a cluster of three nodes taken back to a moment", "%.1f s" % run.seconds)
    is_back(before, timeline + 1)
    assert lab.value(lab.PRIMARY, "select to_regclass('later') is null") == "t"
    assert [len(paths) for paths in kept().values()] == [1] * len(lab.DATA_HOSTS)


def test_afterwards_all_goes_on():
    lab.site(*ON).assert_nothing_changed()
    archived(lab.PRIMARY)
    lab.ssh(lab.WITNESS, "systemctl start repmgr-backup-lab@watch")
    assert backups()[-1][2] == "%08X" % lab.timeline(lab.PRIMARY)


def test_a_moment_of_the_history_that_was_given_up():
    timeline = lab.timeline(lab.PRIMARY)
    restore({"time": FIRST["moment"], "timeline": FIRST["timeline"]}).assert_ok()
    lab.healthy(within=60)
    assert lab.timeline(lab.PRIMARY) == timeline + 1
    for host in lab.DATA_HOSTS:
        assert lab.value(host, "select to_regclass('later') is not null and to_regclass('kept') is null") == "t", host


def test_ended_at_any_point_it_goes_on():
    lab.sql(lab.PRIMARY, "create table kept as select n, md5(n::text) as text from generate_series(1, 20000) n")
    before, timeline = lab.value(lab.PRIMARY, COUNT), lab.timeline(lab.PRIMARY)
    # Nobody knows when a restore point was; a later backup would be too late.
    lab.ssh(lab.WITNESS, "systemctl start repmgr-backup-lab@watch")
    label, known = backups()[-1][0], kept()
    lab.sql(lab.PRIMARY, "select pg_create_restore_point('before the drop')")
    lab.sql(lab.PRIMARY, "drop table kept")
    given = ["-e", json.dumps({"repmgr_restore": {"name": "before the drop", "set": label}}), "-e", "repmgr_restore_consent=lab"] + ON
    refused = set()
    for task, until, then in (
            ("Restore and prove the data", lambda: phase() == "restoring", ("", "restoring", "proven")),
            ("Copy the present configuration and records", lambda: True, ("proven", "swapping")),
            ("Stop the primary", lambda: not lab.primaries(), ("swapping", "swapped")),
            ("Move the old data aside", lambda: True, ("swapping", "swapped")),
            ("Start the restored primary", lambda: True, ("swapped",)),
            ("Clone the standby again", lambda: True, ("swapped",))):
        lab.killed("playbooks/restore.yml", task, *given, until=until)
        assert phase() in then, (task, phase())
        assert len(lab.primaries()) <= 1, task
        # Where the restored primary runs, there is nothing for a failover to do.
        runs = [lab.site] if phase() in ("swapping", "swapped") and phase() not in refused else []
        runs += [failover] if runs and not lab.primaries() else []
        refused.add(phase())
        for run in [run(*ON) for run in runs]:
            assert run.rc != 0 and "a restore to restore point before the drop is in its middle" in run.message, (task, str(run))
        for host in lab.DATA_HOSTS:
            assert set(known[host]) <= set(kept()[host]), (task, host)
    other = restore({"latest": True})
    assert other.rc != 0 and "it can only go on" in other.message, str(other)
    lab.playbook("playbooks/restore.yml", *given).assert_ok()
    is_back(before, timeline + 1)
    assert all(len(paths) > len(known[host]) for host, paths in kept().items())
    lab.site(*ON).assert_nothing_changed()
