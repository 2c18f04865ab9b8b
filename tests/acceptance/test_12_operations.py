"""The operations of day two on a cluster that clients write to: each with the manners of the main job, and each a second time."""
import itertools
import json
import os
import re
import threading

import pytest

import lab
from refusal import assert_refused, inventory, nothing_changes

APP = ["-e", json.dumps(lab.APP_ACCESS)]
FIFTH = "base-centos-5"
DATA_LEFT = "ls -d %s.* 2>/dev/null || true" % lab.DATA


def books(name, *options, **keywords):
    return lab.playbook("playbooks/%s.yml" % name, *options, **keywords)


def site(*options, **keywords):
    return lab.site(*(APP + list(options)), **keywords)


def the_primary():
    found = lab.primaries()
    assert len(found) == 1, found
    return found[0]


def the_standbys():
    return [host for host in lab.DATA_HOSTS if host != the_primary()]


def no_row_is_lost(writers):
    primary = the_primary()
    standbys = [row[0] for row in lab.sql(primary, "select application_name from pg_stat_replication where state = 'streaming'")]
    assert standbys
    lab.replayed(primary, standbys)
    for host in [primary] + standbys:
        assert writers.lost(host) == set(), host


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.ADDRESS[FIFTH] = "192.168.56.111"
    # Which files came before it depends on the day.
    begin = lab.from_nothing if os.environ.get("LAB_ANEW") == "1" else lab.healthy_or_from_nothing
    begin(*APP)
    yield
    lab.lab("fifth", "down")
    del lab.ADDRESS[FIFTH]


def home():
    """The walkthrough's primary is primary again."""
    if the_primary() != lab.PRIMARY:
        books("switchover", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    lab.healthy(within=30)


# --- maintenance, a death during it, failover by hand ----------------------------------------------

def test_maintenance(figure):
    pause = ["-e", "repmgr_maintenance=pause", "-e", json.dumps({"repmgr_reason": "disk swap in rack 2"})]
    with nothing_changes():
        assert_refused(books("maintenance", "-e", "repmgr_maintenance=pause"), "reason")
    lab.killed("playbooks/maintenance.yml", "Record who paused repmgrd and why", *pause)
    run = books("maintenance", *pause).assert_ok()
    figure("maintenance.yml, pause", "%.1f s" % run.seconds)
    assert all(row["paused"] == "1" for row in lab.service_status(lab.PRIMARY).values())
    books("maintenance", *pause).assert_nothing_changed()
    status = books("status")
    assert status.rc != 0 and "(maintenance: disk swap in rack 2)" in status.text and "-e repmgr_maintenance=unpause" in status.text
    site().assert_nothing_changed()


def test_failover_is_not_for_a_primary_that_lives():
    with nothing_changes():
        books("failover").assert_nothing_changed()


@lab.longer
def test_a_host_that_is_off_needs_the_operators_word():
    lab.docker("stop", "-t", "30", lab.PRIMARY)
    try:
        before = lab.fingerprints(lab.HOSTS[1:])
        run = books("failover")
        assert run.rc != 0 and "-e repmgr_primary_is_dead=%s" % lab.PRIMARY in run.message, str(run)
        run = books("failover", "-e", "repmgr_primary_is_dead=" + lab.STANDBY)
        assert run.rc != 0 and "primary_is_dead=%s" % lab.PRIMARY in run.message, str(run)
        run = books("failover", "--check", "-e", "repmgr_primary_is_dead=" + lab.PRIMARY)
        assert "would become primary of cluster lab in place of %s" % lab.PRIMARY in run.text, str(run)
        assert lab.differences(before, lab.fingerprints(lab.HOSTS[1:])) == {}
        assert lab.primaries(lab.DATA_HOSTS[1:]) == []
    finally:
        lab.docker("start", lab.PRIMARY)
    lab.wait_until("the primary is back", 60, lambda: lab.primaries() == [lab.PRIMARY])


def test_the_primary_dies_while_repmgrd_is_paused(writers, figure, tmp_path):
    """Nothing happens by itself, status says so, no playbook makes it worse, and failover finishes the job: not with priority 0."""
    def never(hosts):
        hosts["children"]["standby"]["hosts"][lab.STANDBY]["repmgr_priority"] = 0
    (tmp_path / "hosts").mkdir()
    never_inventory = str(inventory(tmp_path / "hosts", never))
    site(inventory=never_inventory).assert_ok()
    assert lab.value(lab.PRIMARY, "select priority from repmgr.nodes where node_id = 102", "repmgr") == "0"

    with writers:
        # The one that may become primary lacks the last rows that the other has.
        conninfo = lab.value(lab.OTHER_STANDBY, "select current_setting('primary_conninfo')")
        lab.sql(lab.OTHER_STANDBY, "alter system set primary_conninfo = ''; select pg_reload_conf();")
        lab.wait_until("it streams no more", 10, lambda: lab.value(lab.OTHER_STANDBY, "select count(*) from pg_stat_wal_receiver") == "0")
        writers.progress()
        lab.kill_for_good(lab.PRIMARY)
        lab.sql(lab.OTHER_STANDBY, "alter system set primary_conninfo = '%s'; select pg_reload_conf();" % conninfo.replace("'", "''"))
        lab.wait_until("the primary is dead", 20, lambda: lab.primaries() == [])
        status = books("status", inventory=never_inventory)
        assert status.rc != 0 and "no_primary" in status.text and "next: ansible-playbook playbooks/failover.yml" in status.text, str(status)
        before = lab.fingerprints()
        assert_refused(site(inventory=never_inventory), "failover.yml", lab.PRIMARY)
        assert lab.differences(before, lab.fingerprints()) == {} and lab.primaries() == []

        run = books("failover", "-e", "repmgr_target=" + lab.STANDBY, inventory=never_inventory)
        assert run.rc != 0 and "its priority is 0" in run.message and lab.primaries() == [], str(run)
        run = books("failover", inventory=never_inventory)
        assert run.rc != 0 and lab.primaries() == [], str(run)
        assert re.search("has received [1-9][0-9]* bytes less than %s, which cannot be promoted .its priority is 0" % lab.STANDBY, run.message), run.message
        accept = ["-e", "repmgr_target=" + lab.OTHER_STANDBY, "-e", "repmgr_accept_loss=true"]
        lab.killed("playbooks/failover.yml", "Wait for elections that began before the pause", *accept)
        assert lab.primaries() == []
        run = books("failover", *accept, inventory=never_inventory).assert_ok()
        writers.progress()
    assert lab.primaries() == [lab.OTHER_STANDBY]
    figure("failover.yml", "%.1f s; write gap %.1f s with everything this test did before it" % (run.seconds, writers.gap()))
    lost = writers.lost(lab.OTHER_STANDBY)
    assert lost
    figure("failover.yml, rows", "%d acknowledged, %d given up by the operator's word" % (len(writers.acknowledged()), len(lost)))
    # What it has more cannot be kept: it cannot follow, and is rewound.
    books("rejoin", "-e", "repmgr_target=" + lab.STANDBY, inventory=never_inventory).assert_ok()
    lab.wait_until("the other standby follows", 30, lambda: lab.sql(
        lab.OTHER_STANDBY, "select application_name, state from pg_stat_replication") == [[lab.STANDBY, "streaming"]])
    # The pause was somebody else's. What was restarted has forgotten it: it is in the server's shared memory.
    assert lab.service_status(lab.OTHER_STANDBY)[lab.OTHER_STANDBY]["paused"] == "1"
    books("failover", inventory=never_inventory).assert_nothing_changed()
    # Its host boots: there is no second primary.
    lab.docker("stop", "-t", "30", lab.PRIMARY)
    lab.docker("start", lab.PRIMARY)
    lab.wait_until("the old primary's host has booted", 60, lambda: lab.ssh(
        lab.PRIMARY, "systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"))
    assert lab.primaries() == [lab.OTHER_STANDBY]
    assert lab.ssh(lab.PRIMARY, "systemctl start %s" % lab.UNIT, check=False).returncode != 0
    assert lab.ssh(lab.PRIMARY, "systemctl is-enabled %s" % lab.UNIT, check=False).stdout.strip() == "masked"


def test_the_old_primary_comes_back(figure):
    """It wrote something by itself and died of it: diverged, and not shut down. The main job leaves it alone, rejoin rewinds it."""
    assert_refused(site(), lab.PRIMARY, "rejoin.yml")
    # The guard would not have it.
    lab.ssh(lab.PRIMARY, "systemctl stop repmgr-guard")
    control = lab.BIN + "/pg_ctl -D %s -w -o '-c config_file=/etc/postgresql/%s/main/postgresql.conf -p 5499 -c listen_addresses=' " % (lab.DATA, lab.VERSION)
    lab.as_postgres(lab.PRIMARY, control + "-l /tmp/alone.log start")
    lab.as_postgres(lab.PRIMARY, "psql -Xqp 5499 -c 'create table diverged as select generate_series(1, 100000)'")
    lab.ssh(lab.PRIMARY, "kill -9 $(head -1 %s/postmaster.pid)" % lab.DATA)
    lab.stale_pid(lab.PRIMARY)
    run = books("rejoin", "--check", "-e", "repmgr_target=" + lab.PRIMARY)
    assert lab.ssh(lab.PRIMARY, "systemctl is-active %s" % lab.UNIT, check=False).returncode != 0, str(run)
    assert lab.ssh(lab.PRIMARY, "systemctl is-enabled %s" % lab.UNIT, check=False).stdout.strip() == "masked", str(run)
    rewinds = "pidof pg_rewind || grep -aqs -- --single /proc/[0-9]*/cmdline"
    lab.killed("playbooks/rejoin.yml", "Attach or rewind the target", "-e", "repmgr_target=" + lab.PRIMARY,
               until=lambda: lab.ssh(lab.PRIMARY, rewinds, check=False).returncode == 0)
    # What was begun goes on on the host, and nobody else touches the same files meanwhile.
    lab.wait_until("it has ended", 60, lambda: lab.ssh(lab.PRIMARY, "pidof pg_rewind repmgr", check=False).returncode != 0)
    run = books("rejoin", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    figure("rejoin.yml, rewound after a crash and one that was killed", "%.1f s" % run.seconds)
    books("maintenance", "-e", "repmgr_maintenance=unpause").assert_ok()
    lab.healthy(primary=lab.OTHER_STANDBY, within=60)
    assert lab.ssh(lab.PRIMARY, "systemctl is-enabled %s" % lab.UNIT).strip() in ("enabled", "enabled-runtime")
    assert lab.value(lab.PRIMARY, "select to_regclass('diverged') is null") == "t"
    books("rejoin", "-e", "repmgr_target=" + lab.PRIMARY).assert_nothing_changed()
    books("maintenance", "-e", "repmgr_maintenance=unpause").assert_nothing_changed()
    # The inventory still calls it primary, and is right about everything else: only the priority goes back.
    site().assert_ok()
    site().assert_nothing_changed()
    assert lab.primaries() == [lab.OTHER_STANDBY]
    home()


@lab.longer
def test_the_ladder_ends_with_a_new_copy_only_when_asked():
    """A standby that was promoted behind everybody's back, and whose WAL a rewind would need is gone."""
    host = lab.STANDBY
    lab.ssh(host, "systemctl stop repmgr-guard repmgrd")
    lab.as_postgres(host, lab.BIN + "/pg_ctl -D %s -w promote" % lab.DATA)
    lab.sql(host, "create table diverged as select 1 as one")
    lab.sql(host, "checkpoint")
    lab.ssh(host, "systemctl stop %s && rm %s/pg_wal/0*" % (lab.UNIT, lab.DATA))
    lab.sql(lab.PRIMARY, "create table if not exists went_on as select 1 as one; checkpoint")
    # As `failover` leaves one behind. What is refused changes nothing of it.
    lab.ssh(host, "systemctl mask %s && systemctl start repmgr-guard" % lab.UNIT)
    run = books("rejoin", "-e", "repmgr_target=" + host)
    assert run.rc != 0 and "-e repmgr_rejoin=reclone" in run.message, str(run)
    assert lab.ssh(host, "systemctl is-active repmgr-guard; systemctl is-enabled %s || true" % lab.UNIT).split() == ["active", "masked"]
    assert lab.ssh(host, "pgrep -u postgres -x postgres || true") == ""
    reclone = ["-e", "repmgr_target=" + host, "-e", "repmgr_rejoin=reclone", "-e", "repmgr_clone_from=standby"]
    run = books("rejoin", "--check", *reclone).assert_ok()
    assert re.search(r"move the data directory aside and keep it \(\d+[.]\d MB in %s\); .* clone .*\(\d+[.]\d MB from %s\)" % (
        lab.DATA, re.escape(lab.ADDRESS[lab.OTHER_STANDBY])), run.text), run.text
    assert lab.ssh(host, DATA_LEFT) == "" and lab.primaries() == [lab.PRIMARY]
    # The copy comes from the other standby, which goes on keeping for it what it keeps for every member.
    books("rejoin", *reclone).assert_ok()
    lab.healthy(within=30)
    lab.wait_until("the other standby keeps WAL for the others", 30, lambda: lab.keeps_for_others(lab.OTHER_STANDBY))
    assert lab.DATA + ".old-" in lab.ssh(host, DATA_LEFT)
    lab.ssh(host, "rm -r %s.old-*" % lab.DATA)
    lab.sql(lab.PRIMARY, "drop table went_on")


@lab.longer
def test_an_old_primary_that_can_log_in_nowhere(figure):
    """Its passfile and its keys are gone: site.yml is stopped by what it was, and rejoin repairs it first. Not with a password that nobody has."""
    off = ["-e", "repmgr_auto_rejoin=off"]
    site(*off).assert_ok()
    old, passfile = the_primary(), "/var/lib/postgresql/.pgpass"
    lab.kill_for_good(old)
    lab.wait_until("another primary", 60, lambda: [host for host in lab.primaries() if host != old])
    new = the_primary()
    lab.ssh(old, "rm -rf %s /var/lib/postgresql/.ssh; systemctl start repmgr-guard" % passfile)
    assert_refused(site(*off), old, "rejoin.yml")
    lab.ssh(new, "mv %s %s.away" % (passfile, passfile))
    before = lab.fingerprints()
    run = books("rejoin", "-e", "repmgr_target=" + old, *off)
    assert run.rc != 0 and not any(run.count("changed").values()), str(run)
    assert lab.differences(before, lab.fingerprints()) == {}
    lab.ssh(new, "mv %s.away %s" % (passfile, passfile))
    run = books("rejoin", "-e", "repmgr_target=" + old, *off).assert_ok()
    figure("rejoin.yml of a node without passfile and keys", "%.1f s" % run.seconds)
    lab.healthy(primary=new, within=60)
    site().assert_ok()
    site().assert_nothing_changed()
    home()


# --- nodes come and go ----------------------------------------------------------------------------

def fifth(hosts, **more):
    """The only host of the cluster whose figures are asked for."""
    hosts["children"]["standby"]["hosts"][FIFTH] = dict(
        {"ansible_host": lab.ADDRESS[FIFTH], "repmgr_node_id": 105, "repmgr_metrics": True, "repmgr_metrics_interval": 2}, **more)


def slowly(*options):
    return ["-e", json.dumps({"repmgr_settings": {"pg_basebackup_options": "--max-rate=10M"}})] + list(options)


def test_a_third_standby(writers, figure, tmp_path):
    lab.lab("fifth", "up")
    (tmp_path / "hosts").mkdir()
    hosts = str(inventory(tmp_path / "hosts", fifth))
    before = {host: lab.lives(host) for host in lab.HOSTS}
    with writers:
        # Ended in the middle of its clone, and its clone with it.
        said = lab.killed("playbooks/add_node.yml", "Clone or attach the standby and register it", "-i", hosts, "-e", "repmgr_target=" + FIFTH, *slowly(),
                          until=lambda: lab.ssh(FIFTH, "pidof pg_basebackup && test -e %s/PG_VERSION" % lab.DATA, check=False).returncode == 0)
        lab.ssh(FIFTH, "kill -9 $(pidof pg_basebackup repmgr)")
        lab.wait_until("it is gone", 20, lambda: lab.ssh(FIFTH, "pidof pg_basebackup repmgr", check=False).returncode != 0)
        assert lab.ssh(FIFTH, "test -e %s/PG_VERSION && echo partial" % lab.DATA).strip() == "partial", said
        run = books("add_node", "-e", "repmgr_target=" + FIFTH, *(APP + slowly()), inventory=hosts).assert_ok()
        writers.progress()
    shown = re.findall(r"^base-centos-5: clone: (\S+ MB) of (\S+ MB), \S+ MB/s, \d+ s left$", run.stdout, re.M)
    assert shown, "no progress in:\n%s" % run.stdout[:2000]
    figure("add_node.yml, after one that was killed", "%.1f s" % run.seconds)
    lab.wait_until("five nodes", 30, lambda: lab.assert_healthy(lab.PRIMARY, lab.DATA_HOSTS[1:] + [FIFTH], lab.WITNESS) is None)
    no_row_is_lost(writers)
    assert ".partial-" in lab.ssh(FIFTH, DATA_LEFT)
    for host in lab.HOSTS:
        assert lab.lives(host) == before[host], host
    assert set(lab.ssh(FIFTH, "systemctl is-enabled %s repmgrd" % lab.UNIT).split()) <= {"enabled", "enabled-runtime"}
    lab.wait_until("its figures are there", 15, lambda: re.search(
        r'^repmgr_streaming{cluster="lab",node="%s"} 1$' % FIFTH, lab.ssh(FIFTH, "cat " + lab.METRICS), re.M))
    assert {host: lab.ssh(host, lab.METRICS_TRACES) for host in lab.HOSTS} == dict.fromkeys(lab.HOSTS, "")
    books("add_node", "-e", "repmgr_target=" + FIFTH, *(APP + slowly()), inventory=hosts).assert_nothing_changed(lab.HOSTS + [FIFTH])


@lab.longer
def test_cascade(tmp_path):
    """The third standby follows another standby, and then the primary again."""
    def below(hosts):
        fifth(hosts, repmgr_upstream=lab.STANDBY)
    (tmp_path / "below").mkdir()
    (tmp_path / "flat").mkdir()
    for change, upstream in ((below, lab.STANDBY), (fifth, lab.PRIMARY)):
        hosts = str(inventory(tmp_path / ("below" if change is below else "flat"), change))
        site(inventory=hosts).assert_ok()
        lab.wait_until("it streams from " + upstream, 30, lambda upstream=upstream: [FIFTH, "streaming"] in lab.sql(
            upstream, "select application_name, state from pg_stat_replication"))
        assert lab.nodes(lab.PRIMARY)[FIFTH]["upstream"] == lab.nodes(lab.PRIMARY)[upstream]["id"]
        if change is below:
            run = books("remove_node", "-e", "repmgr_target=" + lab.STANDBY, inventory=hosts)
            assert_refused(run, "is the upstream of " + FIFTH)
        site(inventory=hosts).assert_nothing_changed(lab.HOSTS + [FIFTH])


def test_it_leaves(tmp_path, figure):
    hosts = str(inventory(tmp_path, fifth))
    run = books("remove_node", "-e", "repmgr_target=" + lab.PRIMARY, inventory=hosts)
    assert_refused(run, "is the primary", "switchover.yml")
    before = {host: lab.lives(host) for host in lab.HOSTS}
    lab.killed("playbooks/remove_node.yml", "Unregister the target", "-i", hosts, "-e", "repmgr_target=" + FIFTH)
    run = books("remove_node", "-e", "repmgr_target=" + FIFTH, *APP, inventory=hosts).assert_ok()
    figure("remove_node.yml", "%.1f s" % run.seconds)
    assert FIFTH in run.text and "out of the inventory" in run.text
    lab.healthy(within=30)
    for host in lab.HOSTS:
        assert lab.lives(host) == before[host], host
        found = lab.ssh(host, "grep -rls -e '%s' -e '%s' /var/lib/postgresql/.ssh /var/lib/postgresql/.pgpass /etc/postgresql /etc/repmgr.conf"
                              " || true" % (FIFTH, lab.ADDRESS[FIFTH].replace(".", "[.]")))
        assert found == "", "%s still knows it: %s" % (host, found)
    assert lab.sql(lab.PRIMARY, "select slot_name from pg_replication_slots where not active") == []
    for host in lab.DATA_HOSTS:
        lab.wait_until("%s keeps nothing for the one that has left" % host, 30, lambda host=host: lab.keeps_for_others(host))
    for address in lab.ADDRESS.values():
        if address != lab.ADDRESS[FIFTH]:
            found = lab.ssh(FIFTH, "grep -rls '%s' /var/lib/postgresql/.ssh /var/lib/postgresql/.pgpass /etc/repmgr.conf || true" % address)
            assert found == "", found
    assert lab.ssh(FIFTH, "cat %s/PG_VERSION; ls %s 2>&1 | wc -l" % (lab.DATA, "/etc/pgfleet/tls")).split()[0] == lab.VERSION
    assert lab.ssh(FIFTH, "systemctl is-active %s repmgrd repmgr-metrics.timer" % lab.UNIT, check=False).stdout.split() == ["inactive"] * 3
    assert lab.ssh(FIFTH, lab.METRICS_TRACES) == ""
    assert "shut down in recovery" in lab.as_postgres(FIFTH, "%s/pg_controldata %s" % (lab.BIN, lab.DATA))
    assert lab.ssh(FIFTH, "systemctl is-enabled %s" % lab.UNIT, check=False).stdout.strip() == "masked"
    books("remove_node", "-e", "repmgr_target=" + FIFTH, *APP, inventory=hosts).assert_nothing_changed(lab.HOSTS + [FIFTH])
    site().assert_nothing_changed()
    lab.lab("fifth", "down")


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


# A newer version of the package that has the server: the same files, so that what the test sees is the upgrade and nothing else.
_NEWER = r"""
set -e
rm -rf /srv/newer && mkdir -p /srv/newer && cd /srv/newer
deb=$(ls /var/cache/apt/archives/postgresql-%(version)s_*.deb | head -1)
dpkg-deb -R "$deb" tree
sed -i "s/^Version: .*/&+lab$(date +%%s)/" tree/DEBIAN/control
dpkg-deb -Znone -b tree postgresql.deb >/dev/null
sum=$(sha256sum postgresql.deb | cut -d' ' -f1)
{ cat tree/DEBIAN/control; printf 'Filename: ./postgresql.deb\nSize: %%s\nSHA256: %%s\n\n' "$(stat -c %%s postgresql.deb)" "$sum"; } >Packages
rm -r tree
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
apt-get -q update -o Dir::Etc::sourcelist=sources.list.d/newer.list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 >/dev/null
""" % {"version": lab.VERSION}


def installed(host):
    return lab.ssh(host, "dpkg-query -W -f '${Version}' postgresql-" + lab.VERSION)


@lab.longer
def test_minor_upgrade(writers, figure):
    books("minor_upgrade").assert_nothing_changed()
    before = {host: installed(host) for host in lab.HOSTS}
    for host in lab.HOSTS:
        lab.ssh(host, _NEWER)
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
