"""Nodes that come and go, on a cluster that clients write to: each with the manners of the main job, and a second time."""
import json
import re

import pytest

import lab
from operations import APP, DATA_LEFT, FIFTH, begin, books, fifth, no_row_is_lost, site
from refusal import assert_refused, inventory


@pytest.fixture(scope="module", autouse=True)
def cluster():
    lab.ADDRESS[FIFTH] = "192.168.56.111"
    begin()
    yield
    lab.lab("fifth", "down")
    del lab.ADDRESS[FIFTH]


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
