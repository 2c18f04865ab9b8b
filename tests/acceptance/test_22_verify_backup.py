"""A restore drill says what a backup is worth, and whatever ends it, it leaves nothing on its node."""
import json
import os
import subprocess
import time

import pytest

import lab
from test_20_backup import OFF, ON, archived, backups

pytestmark = lab.longer

COPY = lab.DATA + ".verify"
TRACES = ("ls -d %s* /srv/scratch/* /var/run/postgresql/repmgr-verify /var/lib/postgresql/.repmgr_verify.json 2>/dev/null; "
          "pgrep -a 'postgres|pgbackrest' | grep verify; true" % COPY)
COUNT = {"database": "postgres", "query": "SELECT count(*) FROM kept", "expected": 5000}


def arguments(queries=(), **more):
    return ["-e", json.dumps(dict({"repmgr_target": lab.STANDBY, "repmgr_verify_queries": list(queries)}, **more))] + ON


def verify(queries=(), *options, **more):
    run = lab.playbook("playbooks/verify_backup.yml", *(arguments(queries, **more) + list(options)))
    for host in lab.DATA_HOSTS:
        assert lab.ssh(host, TRACES) == "", (host, str(run))
    return run


def status():
    """(text of the last drill, codes of problems)"""
    run = lab.playbook("playbooks/status.yml", "-e", "repmgr_format=json", "-e", "repmgr_output=/tmp/.acceptance-status.json", *ON)
    with open("/tmp/.acceptance-status.json") as handle:
        view = json.load(handle)["clusters"][0]
    assert (run.rc == 0) is view["healthy"], str(run)
    return view["restore_drill"]["text"], [problem["code"] for problem in view["problems"]]


def the_archive():
    """The folder of the WAL of the cluster, and its names."""
    folder = lab.ssh(lab.WITNESS, "ls -d /srv/backup/archive/*/15-1/00000001*").split()[0]
    return folder, lab.ssh(lab.WITNESS, "ls %s" % folder).split()


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.healthy_or_from_nothing()
    lab.site(*ON).assert_ok()
    lab.sql(lab.PRIMARY, "create table kept as select n from generate_series(1, 5000) n")
    archived(lab.PRIMARY)
    yield
    lab.sql(lab.PRIMARY, "drop table if exists kept, archived")
    lab.site(*OFF).assert_ok()
    for host in lab.HOSTS:
        lab.ssh(host, "rm -rf /srv/backup /srv/backup.good; umount /srv/scratch 2>/dev/null; rm -rf /srv/scratch")


def test_check_mode_says_what_it_would_do():
    run = verify((), "--check").assert_ok()
    assert "would restore backup %s" % backups()[-1][0] in run.text and "that needs" in run.text, str(run)
    assert status()[0] == "none was made"


def test_what_cannot_be_tried_is_refused():
    lab.ssh(lab.STANDBY, "mkdir -p /srv/scratch; mount -t tmpfs -o size=64m tmpfs /srv/scratch; chown postgres /srv/scratch")
    for more, said in (
            ({"repmgr_verify_directory": "/srv/scratch"}, "MB are free in /srv/scratch; expected"),
            ({"repmgr_verify_directory": "/srv/nowhere"}, "/srv/nowhere is no directory"),
            ({"repmgr_target": lab.WITNESS}, "it is a witness"),
            ({"repmgr_backup_set": "20010101-000000F"}, "no backup 20010101-000000F"),
            ({"repmgr_backup_set": "last"}, "the label of a backup"),
            ({"repmgr_backup_time": "2099-01-01 00:00:00+00"}, "is in the future"),
            ({"queries": [{"database": "postgres"}]}, "query 1 of repmgr_verify_queries has no query")):
        run = verify(**more)
        assert run.rc != 0 and said in run.message, (more, str(run))
    lab.ssh(lab.STANDBY, "umount /srv/scratch; mkdir %s; touch %s/mine" % (COPY, COPY))
    run = lab.playbook("playbooks/verify_backup.yml", *arguments())
    assert run.rc != 0 and "%s is there, and not of a restore drill" % COPY in run.message, str(run)
    assert lab.ssh(lab.STANDBY, "ls %s; rm -r %s" % (COPY, COPY)).strip() == "mine"
    assert status()[0] == "none was made"


def test_a_good_backup(figure):
    started = {host: lab.value(host, "select pg_postmaster_start_time()") for host in lab.DATA_HOSTS}
    run = verify([COUNT, {"database": "postgres", "query": "SELECT true"}]).assert_ok()
    figure("a restore drill of a small cluster", "%.1f s" % run.seconds)
    assert "pg_amcheck of" in run.text and "2 queries" in run.text and "newest commit" in run.text, str(run)
    assert {host: lab.value(host, "select pg_postmaster_start_time()") for host in lab.DATA_HOSTS} == started
    # Nothing of the timeline that it began has come into the archive.
    assert lab.ssh(lab.WITNESS, "ls /srv/backup/archive/*/15-1").split() == ["00000001" + "0" * 8]
    text, codes = status()
    assert "was restored and checked on %s" % lab.STANDBY in text and codes == []
    assert {json.loads(lab.ssh(host, "cat /etc/pgfleet/backup/*/verified.json"))["ok"] for host in lab.DATA_HOSTS} == {True}


def test_another_answer_is_a_failed_drill():
    run = verify([dict(COUNT, expected=5001)])
    assert run.rc != 0 and 'returned "5000", expected "5001"' in run.message, str(run)
    text, codes = status()
    assert "failed" in text and codes == ["backup_verify_failed"]
    # Whoever is asked to be up to date has no reason to stop.
    lab.site(*ON).assert_nothing_changed()
    verify([COUNT]).assert_ok()
    assert status()[1] == []


def test_wal_that_lacks_is_named():
    lab.ssh(lab.WITNESS, "systemctl stop 'repmgr-backup-*.timer'")
    for _number in range(3):
        archived(lab.PRIMARY)
    folder, names = the_archive()
    lacks = sorted(name for name in names if name.endswith(".gz"))[-2]
    lab.ssh(lab.WITNESS, "mv %s/%s /srv/" % (folder, lacks))
    try:
        run = verify()
        assert run.rc != 0 and "lacks WAL segment %s" % lacks[:24] in run.message, str(run)
        assert "backup_verify_failed" in status()[1]
    finally:
        lab.ssh(lab.WITNESS, "mv /srv/%s %s/; systemctl start 'repmgr-backup-*.timer' --all" % (lacks, folder))


def test_a_damaged_backup():
    lab.ssh(lab.WITNESS, "cp -a /srv/backup /srv/backup.good; for f in $(find /srv/backup/backup -path '*F/pg_data/base/*' -size +8k); do "
            "printf Z | dd of=$f bs=1 seek=4000 conv=notrunc 2>/dev/null; done")
    try:
        run = verify(repmgr_backup_set=backups()[0][0])
        assert run.rc != 0 and "the restore drill failed" in run.message, str(run)
    finally:
        lab.ssh(lab.WITNESS, "rm -rf /srv/backup; mv /srv/backup.good /srv/backup")


def test_what_a_killed_one_has_left_is_removed():
    # Of the run alone: the drill goes on, and the next one waits for it. Then of the drill itself, while it copies and while its server runs.
    module = "ps -eo ppid,args | sed -n 's/ *\\([0-9]*\\) [t]imeout -k 10 .*verify.*/\\1/p' | head -1"
    for then in ("true", "for n in $(seq 100); do p=$(%s); [ -z \"$p\" ] || break; sleep 0.1; done; kill -9 $p" % module):
        for until in ("ls %s/base" % COPY, "ls %s/recovery.signal" % COPY):
            lab.killed("playbooks/verify_backup.yml", "Restore and check the backup", *arguments(),
                       until=lambda until=until: lab.ssh(lab.STANDBY, "%s 2>/dev/null; true" % until) != "")
            lab.ssh(lab.STANDBY, then)
            lab.healthy(within=20)
            verify([COUNT]).assert_ok()


def test_on_a_node_that_becomes_primary_it_ends():
    verify([COUNT]).assert_ok()
    before = json.loads(lab.ssh(lab.STANDBY, "cat /etc/pgfleet/backup/*/verified.json"))
    process = subprocess.Popen(
        ["ansible-playbook", "playbooks/verify_backup.yml", "-i", str(lab.INVENTORY)] + arguments([{"database": "postgres", "query": "SELECT pg_sleep(120)"}]),
        cwd=str(lab.ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
        env=dict(os.environ, ANSIBLE_NOCOLOR="1"))
    try:
        lab.wait_until("the private server is asked", 120, lambda: "1" in lab.as_postgres(
            lab.STANDBY, "psql -XAt -h /var/run/postgresql/repmgr-verify -p 5432 -c \"select count(*) from pg_stat_activity where query like '%pg_sleep(120)%' "
            "and pid <> pg_backend_pid()\"", check=False).stdout)
        lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.STANDBY, *ON).assert_ok()
        said = process.communicate(timeout=300)[0]
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode != 0 and "it has become primary meanwhile" in " ".join(said.split()), said[-3000:]
    assert lab.ssh(lab.STANDBY, TRACES) == ""
    assert json.loads(lab.ssh(lab.STANDBY, "cat /etc/pgfleet/backup/*/verified.json")) == before
    # A promoted node answers for the drill of before, and the next one is on the other node.
    assert status()[1] == []
    time.sleep(1)
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.PRIMARY, *ON).assert_ok()
    lab.healthy(within=60)
    archived(lab.PRIMARY)
    lab.ssh(lab.WITNESS, "systemctl start repmgr-backup-lab@watch")
    verify([COUNT]).assert_ok()
