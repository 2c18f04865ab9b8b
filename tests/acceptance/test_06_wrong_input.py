"""Wrong input on a running cluster stops the run with a reason before anything changes.

Wrong input that only a new cluster can have is in test_09_fresh_hosts.py.
"""
import contextlib
import json

import pytest

import lab
from refusal import assert_refused, inventory, nothing_changes


def _host(inventory_, group, name):
    return inventory_["children"][group]["hosts"][name]


def missing_node_id(hosts):
    del _host(hosts, "standby", "base-centos-3")["repmgr_node_id"]


def duplicate_node_id(hosts):
    _host(hosts, "standby", "base-centos-3")["repmgr_node_id"] = 102


def unusable_node_id(hosts):
    _host(hosts, "standby", "base-centos-3")["repmgr_node_id"] = "three"


def missing_cluster_name(hosts):
    del hosts["vars"]["repmgr_cluster_name"]


def unknown_profile(hosts):
    hosts["vars"]["repmgr_failover_profile"] = "quick"


def unsupported_version(hosts):
    hosts["vars"]["repmgr_postgresql_version"] = "9.3"


def other_version(hosts):
    hosts["vars"]["repmgr_postgresql_version"] = int(lab.VERSION) + 1


def other_directory(hosts):
    # As the advice for a port that is taken would have it.
    hosts["vars"].update(repmgr_data_directory="/srv/pg/data", repmgr_port=5433)


def witness_as_standby(hosts):
    children = hosts["children"]
    children["standby"]["hosts"]["base-centos-4"] = children["witness"]["hosts"].pop("base-centos-4")


def standby_as_witness(hosts):
    children = hosts["children"]
    children["witness"]["hosts"]["base-centos-3"] = children["standby"]["hosts"].pop("base-centos-3")


def host_in_two_roles(hosts):
    children = hosts["children"]
    children["witness"]["hosts"]["base-centos-3"] = children["standby"]["hosts"]["base-centos-3"]


def renumbered(hosts):
    _host(hosts, "standby", "base-centos-3")["repmgr_node_id"] = 113


@pytest.mark.parametrize("change,said", [
    (missing_node_id, ["base-centos-3", "repmgr_node_id"]),
    (duplicate_node_id, ["base-centos-2", "base-centos-3", "102", "repmgr_node_id"]),
    (unusable_node_id, ["base-centos-3", "repmgr_node_id", "three"]),
    (missing_cluster_name, ["base-centos-1", "repmgr_cluster_name"]),
    (unknown_profile, ["repmgr_failover_profile", "quick", "fast", "safe", "wan"]),
    (unsupported_version, ["9.3", "repmgr_postgresql_version"]),
    (other_version, ["repmgr.conf", lab.DATA, "repmgr_postgresql_version to " + lab.VERSION]),
    (other_directory, ["repmgr.conf", lab.DATA, "/srv/pg/data"]),
    (witness_as_standby, ["base-centos-4", "witness", "standby"]),
    (standby_as_witness, ["base-centos-3", "witness", "standby"]),
    (host_in_two_roles, ["base-centos-3", "standby", "witness"]),
    (renumbered, ["base-centos-3", "113", "103"]),
], ids=lambda item: getattr(item, "__name__", ""))
def test_inventory(tmp_path, change, said):
    with nothing_changes():
        assert_refused(lab.site(inventory=inventory(tmp_path, change)), *said)


def bad_cluster_name(hosts):
    hosts["vars"]["repmgr_cluster_name"] = "orders%i"


def long_node_name(hosts):
    _host(hosts, "standby", "base-centos-3")["repmgr_node_name"] = "n" * 64


@pytest.mark.parametrize("change,said", [
    (bad_cluster_name, ["repmgr_cluster_name", "orders%i", "letters"]),
    (long_node_name, ["base-centos-3", "repmgr_node_name", "63"]),
], ids=lambda item: getattr(item, "__name__", ""))
def test_names(tmp_path, change, said):
    with nothing_changes():
        assert_refused(lab.site(inventory=inventory(tmp_path, change)), *said)


TARGET = {"repmgr_target": lab.STANDBY}
WORDS = [
    ("switchover", {"repmgr_target": "typo"}, ["repmgr_target is 'typo'", lab.STANDBY]),
    ("switchover", dict(TARGET, target=lab.OTHER_STANDBY), ["one of the two"]),
    ("failover", {"target": "typo"}, ["target is 'typo'", lab.STANDBY]),
    ("failover", {"repmgr_accept_loss": "ture"}, ["repmgr_accept_loss is 'ture'", "true or false"]),
    ("failover", {"repmgr_primary_is_dead": "typo"}, ["typo: is not a node of this cluster", lab.PRIMARY]),
    ("rejoin", dict(TARGET, repmgr_rejoin="rewnd"), ["repmgr_rejoin is 'rewnd'", "attach, rewind, reclone"]),
    ("rejoin", {}, ["repmgr_target is not set"]),
    ("add_node", {"repmgr_target": ""}, ["repmgr_target is ''", lab.STANDBY]),
    ("remove_node", {"repmgr_target": "typo"}, ["typo: is neither in this inventory nor registered in its cluster", lab.STANDBY]),
    ("maintenance", {"repmgr_maintenance": "stop"}, ["pause, unpause"]),
    ("maintenance", {"repmgrd": "pause"}, ["repmgr_reason is not set"]),
    ("rotate_credentials", {"repmgr_credentials": "passwords"}, ["password, ssh, certificates"]),
    ("rolling_restart", {"repmgr_all": "x"}, ["true or false"]),
    ("rolling_restart", {"target": lab.STANDBY}, ["target is set", "repmgr_all"]),
    ("status", {"repmgr_format": "xml"}, ["text, json"]),
    ("site", {"repmgr_failover_profil": "fast"}, ["repmgr_failover_profile"]),
]


# Which clusters there are is what adopt finds out.
@pytest.mark.parametrize("playbook", sorted(path.stem for path in (lab.ROOT / "playbooks").glob("*.yml") if path.stem != "adopt"))
def test_a_cluster_that_is_not_there(playbook):
    words = {"maintenance": {"repmgr_maintenance": "unpause"}}.get(
        playbook, TARGET if playbook in ("add_node", "rejoin", "remove_node", "switchover") else {})
    run = lab.playbook("playbooks/%s.yml" % playbook, "-e", json.dumps(dict(words, repmgr_only="ordres")))
    assert_refused(run, "repmgr_only is 'ordres'", "one or more of lab")
    assert max(run.count("ok").values()) == 0, str(run)


@pytest.mark.parametrize("rows", [pytest.param(WORDS[::4], id="some"), pytest.param(WORDS, marks=lab.longer, id="all")])
def test_words_of_an_operator(rows):
    with nothing_changes():
        for playbook, words, said in rows:
            assert_refused(lab.playbook("playbooks/%s.yml" % playbook, "-e", json.dumps(words)), *said)


def test_an_inventory_has_variables_of_its_own(tmp_path):
    def change(hosts):
        hosts["vars"].update(cluster="prod", target="blue", reason="none")

    hosts = inventory(tmp_path, change)
    run = lab.playbook("playbooks/status.yml", inventory=hosts).assert_ok()
    assert "lab: healthy" in run.text, str(run)
    assert_refused(lab.playbook("playbooks/switchover.yml", inventory=hosts), "repmgr_target is not set")


def test_part_of_a_cluster():
    with nothing_changes():
        assert_refused(lab.site("--limit", "base-centos-1,base-centos-2"), "base-centos-3", "base-centos-4", "--limit")


@contextlib.contextmanager
def alpine(host):
    """The host says that it is an Alpine Linux, in the files that say what a host is."""
    lab.ssh(host, "mkdir /root/kept && cp -a /etc/os-release /etc/debian_version /root/kept"
                  " && rm /etc/os-release /etc/debian_version && echo 3.20.1 >/etc/alpine-release && cat >/etc/os-release",
            stdin='NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME="Alpine Linux v3.20"\n')
    try:
        yield
    finally:
        lab.ssh(host, "rm /etc/alpine-release /etc/os-release && cp -a /root/kept/. /etc && rm -r /root/kept")


def test_unsupported_operating_system():
    with alpine(lab.OTHER_STANDBY), nothing_changes():
        assert_refused(lab.site(), lab.OTHER_STANDBY, "Alpine", "Debian")


@pytest.mark.parametrize("port,said", [
    pytest.param(22, "SSH", marks=lab.longer, id="ssh"), pytest.param(5432, "PostgreSQL", id="postgresql")])
def test_a_peer_that_cannot_be_reached(port, said):
    with lab.Wall(lab.OTHER_STANDBY, lab.STANDBY, port), nothing_changes():
        assert_refused(lab.site(), lab.OTHER_STANDBY, lab.STANDBY, said, str(port))
    lab.healthy(within=30)


def test_a_data_directory_of_another_cluster():
    host = lab.OTHER_STANDBY
    system = lab.value(lab.PRIMARY, "select system_identifier from pg_control_system()")
    lab.ssh(host, "systemctl stop repmgrd %s && mv %s %s.kept" % (lab.UNIT, lab.DATA, lab.DATA))
    try:
        lab.as_postgres(host, "%s/initdb -D %s >/dev/null" % (lab.BIN, lab.DATA))
        foreign = lab.as_postgres(
            host, "%s/pg_controldata %s | sed -n 's/^Database system identifier: *//p'" % (lab.BIN, lab.DATA)).strip()
        with nothing_changes():
            assert_refused(lab.site(), host, lab.DATA, foreign, system)
        assert foreign in lab.as_postgres(host, "%s/pg_controldata %s" % (lab.BIN, lab.DATA)), "the foreign data is gone"
    finally:
        lab.ssh(host, "rm -rf %s && mv %s.kept %s && systemctl start %s repmgrd" % (lab.DATA, lab.DATA, lab.DATA, lab.UNIT))
    lab.healthy(within=60)


@pytest.mark.parametrize("left", [
    pytest.param("", id="missing"), pytest.param(" && install -d -o postgres -g postgres -m 700 " + lab.DATA, marks=lab.longer, id="empty")])
def test_a_data_directory_that_is_not_mounted(left):
    host = lab.OTHER_STANDBY
    lab.ssh(host, "systemctl stop repmgrd %s && mv %s %s.kept%s" % (lab.UNIT, lab.DATA, lab.DATA, left))
    try:
        with nothing_changes():
            assert_refused(lab.site(), host, lab.DATA, "has been deployed", "Mount the file system", "repmgr_rejoin=reclone")
            assert_refused(lab.playbook("playbooks/rejoin.yml", "-e", "repmgr_target=" + host), host, "Mount the file system")
    finally:
        lab.ssh(host, "rm -rf %s && mv %s.kept %s && systemctl start %s repmgrd" % (lab.DATA, lab.DATA, lab.DATA, lab.UNIT))
    lab.healthy(within=60)
