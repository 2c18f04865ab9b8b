"""Four empty hosts: check mode, wrong input that only a new cluster can have, then two clusters in one run."""
import pytest

import lab
from refusal import assert_refused, inventory, nothing_changes

TWO = "inventories/two_clusters"
ALPHA, BETA = lab.HOSTS[:2], lab.HOSTS[2:]


@pytest.fixture(scope="module", autouse=True)
def empty_hosts():
    lab.lab("reset")
    for host in lab.HOSTS:
        assert lab.ssh(host, "dpkg-query -W postgresql-common", check=False).returncode != 0, "%s is not empty" % host


def test_check_mode_on_empty_hosts(figure):
    with nothing_changes():
        run = lab.site("--check", "--diff").assert_ok()
    assert sorted(run.stats) == lab.HOSTS
    figure("site.yml --check on empty hosts", "%.1f s" % run.seconds)


def no_primary(hosts):
    hosts["children"]["standby"]["hosts"].update(hosts["children"]["primary"]["hosts"])
    hosts["children"]["primary"]["hosts"] = {}


def two_primaries(hosts):
    children = hosts["children"]
    children["primary"]["hosts"]["base-centos-3"] = children["standby"]["hosts"].pop("base-centos-3")


@pytest.mark.parametrize("change,said", [
    (no_primary, ["primary", "lab"]),
    (two_primaries, ["base-centos-1", "base-centos-3", "primary"]),
], ids=lambda item: getattr(item, "__name__", ""))
def test_a_new_cluster_has_exactly_one_primary(tmp_path, change, said):
    with nothing_changes():
        assert_refused(lab.site(inventory=inventory(tmp_path, change)), *said)


@pytest.mark.parametrize("port,said", [
    pytest.param(22, "SSH", id="ssh"), pytest.param(5432, "PostgreSQL", marks=lab.longer, id="postgresql")])
def test_a_peer_that_cannot_be_reached(port, said):
    with lab.Wall(lab.STANDBY, lab.PRIMARY, port), nothing_changes():
        assert_refused(lab.site(), lab.STANDBY, lab.PRIMARY, said, str(port))


def test_a_data_directory_with_something_in_it():
    lab.ssh(lab.STANDBY, "mkdir -p %s && echo precious >%s/notes" % (lab.DATA, lab.DATA))
    try:
        with nothing_changes():
            assert_refused(lab.site(), lab.STANDBY, lab.DATA)
        assert lab.ssh(lab.STANDBY, "cat %s/notes" % lab.DATA) == "precious\n"
    finally:
        lab.ssh(lab.STANDBY, "rm -r /var/lib/postgresql")


def assert_both_healthy():
    lab.assert_healthy(ALPHA[0], ALPHA[1:], None)
    lab.assert_healthy(BETA[0], BETA[1:], None)
    return True


def test_two_clusters_in_one_run(figure):
    run = lab.site(inventory=TWO).assert_ok()
    took = lab.wait_until("two healthy clusters", 30, assert_both_healthy)
    figure("two clusters of two nodes, one run", "%.1f s, healthy %.1f s later" % (run.seconds, took))

    # Alpha was deployed with commits that wait for its standby, before there was one.
    assert {lab.value(host, "show synchronous_standby_names") for host in ALPHA} == {'ANY 1 ("%s", "%s")' % tuple(ALPHA)}
    assert lab.value(ALPHA[0], "select sync_state from pg_stat_replication") == "quorum"
    lab.sql(ALPHA[0], "create table waits (id int); drop table waits")
    assert {lab.value(host, "select current_setting('synchronous_standby_names') = ''") for host in BETA} == {"t"}

    systems = [{lab.value(host, "select system_identifier from pg_control_system()") for host in cluster} for cluster in (ALPHA, BETA)]
    assert [len(system) for system in systems] == [1, 1] and systems[0] != systems[1]
    # Neighbours in one inventory are strangers: no key, no access line, no password in common.
    for cluster, others in ((ALPHA, BETA), (BETA, ALPHA)):
        for host in cluster:
            for file in ("/var/lib/postgresql/.ssh/authorized_keys", "/var/lib/postgresql/.ssh/known_hosts",
                         "/var/lib/postgresql/.pgpass", "/etc/postgresql/%s/main/pg_hba.conf" % lab.VERSION):
                content = lab.ssh(host, "cat " + file)
                assert lab.ADDRESS[host] in content
                assert not any(lab.ADDRESS[other] in content or other in content for other in others), "%s: %s" % (host, file)
    secrets = [set(lab.ssh(host, "sed -n 's/.*:repmgr:repmgr://p' /var/lib/postgresql/.pgpass").split()) for host in (ALPHA[0], BETA[0])]
    assert [len(secret) for secret in secrets] == [1, 1] and secrets[0] != secrets[1]


def test_again():
    lab.site(inventory=TWO).assert_nothing_changed()


def test_switchover_in_one_leaves_the_other_alone():
    before = lab.fingerprints(BETA)
    lives = {host: lab.lives(host) for host in BETA}
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=%s" % ALPHA[1], inventory=TWO).assert_ok()
    lab.wait_until("alpha is healthy the other way round", 30, lambda: lab.assert_healthy(ALPHA[1], ALPHA[:1], None) is None)
    lab.assert_healthy(BETA[0], BETA[1:], None)
    assert lab.differences(before, lab.fingerprints(BETA)) == {}
    assert {host: lab.lives(host) for host in BETA} == lives
    lab.site(inventory=TWO).assert_nothing_changed()


def test_one_of_two_clusters():
    def paused(cluster):
        return {row["paused"] for row in lab.service_status(cluster[0]).values()}

    before = lab.fingerprints(ALPHA)
    for verb, expected in (("pause", {"1"}), ("unpause", {"0"})):
        lab.playbook("playbooks/maintenance.yml", "-e", "cluster=beta", "-e", "repmgrd=%s reason=drill" % verb, inventory=TWO).assert_ok()
        assert (paused(ALPHA), paused(BETA)) == ({"0"}, expected)
    assert lab.differences(before, lab.fingerprints(ALPHA)) == {}


def test_a_node_of_one_cluster_is_not_taken_for_the_other(tmp_path):
    def swapped(hosts):
        alpha, beta = hosts["children"]["alpha"]["hosts"], hosts["children"]["beta"]["hosts"]
        alpha["base-centos-4"], beta["base-centos-2"] = beta.pop("base-centos-4"), alpha.pop("base-centos-2")

    with nothing_changes():
        run = lab.site(inventory=inventory(tmp_path, swapped, "two_clusters"))
        assert_refused(run, "base-centos-2", "base-centos-4")


@lab.longer
def test_the_last_one_that_remembers_is_not_started_unasked():
    """Alpha's other node is an empty host now, and its last primary is stopped: by whom and why, only the operator knows."""
    lost, last = ALPHA
    lab.ssh(last, "systemctl stop %s repmgrd" % lab.UNIT)
    lab.lab("recreate", lost)
    before = lab.fingerprints(ALPHA)
    run = lab.playbook("site.yml", "--limit", ",".join(ALPHA), inventory=TWO)
    assert_refused(run, last, "primary", "start the server")
    assert lab.differences(before, lab.fingerprints(ALPHA)) == {}
    # His word is all that it takes: the data are still there, and the empty host gets a copy of them.
    lab.ssh(last, "systemctl start %s" % lab.UNIT)
    lab.site("--limit", ",".join(ALPHA), inventory=TWO).assert_ok()
    lab.wait_until("alpha is whole again", 30, lambda: lab.assert_healthy(last, [lost], None) is None)
