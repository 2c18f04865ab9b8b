"""Backups: they are made from whoever is right for that, go on after a failover without a run, and leave no trace when they are not wanted any more."""
import json

import pytest

import lab

# The witness keeps the repository, so that the lab's four hosts are enough.
ON = ["-e", json.dumps(dict(lab.APP_ACCESS, repmgr_backup="pgbackrest", repmgr_backup_group="witness", repmgr_backup_repository={"path": "/srv/backup"}))]
OFF = ["-e", json.dumps(dict(lab.APP_ACCESS, repmgr_backup_group="witness"))]
PLACE = "/etc/pgfleet/backup/lab"
TRACES = "ls -d /etc/pgfleet/backup/lab /etc/systemd/system/repmgr-backup-lab* /etc/systemd/system/timers.target.wants/repmgr-backup* 2>/dev/null; true"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.healthy_or_from_nothing()
    yield
    for host in lab.HOSTS:
        lab.ssh(host, "rm -rf /srv/backup")


def repository():
    """What pgBackRest itself says of the repository."""
    command = "pgbackrest --config=%s/repository.conf --stanza=lab info --output=json" % PLACE
    return json.loads(lab.as_postgres(lab.WITNESS, command))[0]


def backups():
    return [(each["label"], each["type"], each["archive"]["start"][:8]) for each in repository()["backup"]]


def archived(host):
    """Wait until the WAL that a primary writes now is in the repository."""
    name = lab.value(host, "select pg_walfile_name(pg_current_wal_lsn())")
    lab.sql(host, "create table if not exists archived (n int); insert into archived values (1); select pg_switch_wal()")
    lab.wait_until("%s is in the repository" % name, 60, lambda: repository()["archive"][0]["max"] >= name)


def test_it_is_set_up_on_a_cluster_that_runs(figure):
    started = lab.value(lab.PRIMARY, "select pg_postmaster_start_time()")
    run = lab.site(*ON).assert_ok()
    figure("backups set up on four hosts, first full backup included", "%.1f s" % run.seconds)
    assert lab.value(lab.PRIMARY, "select pg_postmaster_start_time()") == started
    assert [kind for _label, kind, _timeline in backups()] == ["full"]
    for host in lab.DATA_HOSTS:
        assert "pgbackrest" in lab.value(host, "show archive_command"), host
    # It has a server of its own, of which there are no backups.
    assert lab.value(lab.WITNESS, "show archive_command") == "/bin/true"
    archived(lab.PRIMARY)


def test_again_nothing_is_changed():
    lab.site(*ON).assert_nothing_changed()


def test_a_key_opens_nothing_else():
    for host, other in ((lab.STANDBY, lab.WITNESS), (lab.WITNESS, lab.STANDBY)):
        done = lab.as_postgres(host, "%s/ssh postgres@%s id" % (PLACE, lab.ADDRESS[other]), check=False)
        assert done.returncode != 0 and "uid=" not in done.stdout and "refused" in done.stderr, (done.stdout, done.stderr)


def test_a_backup_on_demand_comes_from_a_standby(figure):
    before = backups()
    run = lab.playbook("playbooks/backup.yml", "-e", "repmgr_backup_type=differential", *ON).assert_ok()
    figure("the playbook backup", "%.1f s" % run.seconds)
    new = [each for each in backups() if each not in before]
    assert [kind for _label, kind, _timeline in new] == ["diff"] and new[0][0] in run.text
    said = lab.ssh(lab.WITNESS, "journalctl -q --no-pager -o cat -u 'repmgr-backup-lab@differential'")
    assert '"from": "%s"' % lab.PRIMARY not in said and '"made": true' in said


def test_wal_that_is_lost_brings_a_backup():
    """As pgBackRest drops it where the repository does not answer for long."""
    lost = lab.value(lab.PRIMARY, "select pg_walfile_name(pg_current_wal_lsn())")
    for _time in range(2):
        archived(lab.PRIMARY)
    # What PostgreSQL still has to archive is not lost yet, even if pgBackRest has sent it already.
    lab.wait_until("PostgreSQL has archived what there is", 60, lambda: lab.value(
        lab.PRIMARY, "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'") == "0")
    before = backups()
    lab.ssh(lab.WITNESS, "rm /srv/backup/archive/lab/*/*/%s-*" % lost)
    for made in (["incr"], []):
        lab.ssh(lab.WITNESS, "systemctl start repmgr-backup-lab@watch")
        assert [kind for label, kind, _timeline in backups() if label not in [each[0] for each in before]] == made
        before = backups()
    assert "the first one %s; making a backup" % lost in lab.ssh(lab.WITNESS, "journalctl -q --no-pager -o cat -u 'repmgr-backup-lab@watch'")


def test_after_a_failover_it_goes_on_without_a_run():
    lab.kill_for_good(lab.PRIMARY)
    try:
        lab.wait_until("another primary", 90, lambda: [host for host in lab.primaries() if host != lab.PRIMARY])
        new = lab.primaries()[0]
        archived(new)
        timeline = "%08X" % lab.timeline(new)
        lab.ssh(lab.WITNESS, "systemctl start repmgr-backup-lab@watch")
        assert backups()[-1][2] == timeline
    finally:
        lab.ssh(lab.PRIMARY, "systemctl start repmgr-guard; systemctl start --no-block %s" % lab.UNIT)
    others = [host for host in lab.DATA_HOSTS if host != new]
    lab.healthy(primary=new, standbys=others, within=90)
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.PRIMARY, *ON).assert_ok()
    lab.healthy(within=60)
    archived(lab.PRIMARY)


def test_without_its_repository_commits_go_on_and_status_says_so():
    lab.ssh(lab.WITNESS, "mv /srv/backup /srv/away; touch /srv/backup")
    try:
        lab.sql(lab.PRIMARY, "insert into archived values (2); select pg_switch_wal()")
        lab.wait_until("archiving fails", 60, lambda: lab.value(lab.PRIMARY, "select failed_count > 0 from pg_stat_archiver") == "t")
        run = lab.playbook("playbooks/status.yml", *ON)
        assert run.rc != 0 and "repository" in run.text + run.message
    finally:
        lab.ssh(lab.WITNESS, "rm -f /srv/backup; mv /srv/away /srv/backup")
    archived(lab.PRIMARY)


def test_switched_off_it_leaves_the_backups_alone():
    kept = lab.ssh(lab.WITNESS, "ls /srv/backup/backup/lab").split()
    lab.sql(lab.PRIMARY, "drop table archived")
    lab.site(*OFF).assert_ok()
    for host in lab.HOSTS:
        assert lab.ssh(host, TRACES) == "", host
        assert lab.value(host, "show archive_command") == "/bin/true"
        assert "backup of lab" not in lab.ssh(host, "cat /var/lib/postgresql/.ssh/authorized_keys")
    assert lab.ssh(lab.WITNESS, "ls /srv/backup/backup/lab").split() == kept
    lab.site(*OFF).assert_nothing_changed()
    lab.healthy(within=20)
