"""Rows of repmgr_node's table, provoked on a real standby: what the module says before, does, says afterwards, and what repmgr says then."""
import contextlib
import json

import pytest

import lab

HOST = lab.OTHER_STANDBY
STOP = "systemctl stop %s" % lab.UNIT
CONTROL = lab.BIN + "/pg_ctl -D %s -w " % lab.DATA


@pytest.fixture(scope="module", autouse=True)
def without_repmgrd():
    """Nobody but the test acts on the host; in the end the cluster is as it was."""
    # Earlier files made the hosts anew, for other clusters.
    lab.healthy_or_from_nothing()
    lab.ssh(HOST, "systemctl stop repmgr-guard repmgrd")
    yield
    lab.ssh(HOST, "systemctl start %s repmgrd repmgr-guard; rm -rf %s.*" % (lab.UNIT, lab.DATA))
    lab.healthy(within=60)


class Node(object):
    """repmgr_node, run on the host by a playbook of one task."""

    def __init__(self, folder):
        self.playbook = folder / "node.yml"

    def __call__(self, *options, **arguments):
        given = dict({
            "role": "standby", "config_file": "/etc/repmgr.conf", "bin_dir": lab.BIN, "passfile": "/var/lib/postgresql/.pgpass",
            "primary_conninfo": "host=%s user=repmgr dbname=repmgr" % lab.ADDRESS[lab.PRIMARY],
        }, **arguments)
        answer = self.task("pgfleet.repmgr.repmgr_node", given, *options)
        assert "rule" in answer, answer
        return answer

    def task(self, module, arguments, *options):
        self.playbook.write_text(json.dumps([{
            "name": "One row", "hosts": HOST, "gather_facts": False, "become": True, "become_user": "postgres",
            "tasks": [{"name": "The node", module: arguments}],
        }]))
        run = lab.playbook(str(self.playbook), *options)
        assert run.results, str(run)
        return run.results[-1][2]

    def info(self, **arguments):
        answer = self.task("pgfleet.repmgr.repmgr_cluster_info", dict({
            "config_file": "/etc/repmgr.conf", "bin_dir": lab.BIN, "passfile": "/var/lib/postgresql/.pgpass"}, **arguments))
        assert not answer.get("failed") and not answer["changed"], answer
        return answer

    def row(self, rule, actions, **arguments):
        """Check mode says what will happen and does nothing, the run does it, and then there is nothing left to do."""
        before = lab.fingerprint(HOST)
        planned = self("--check", **arguments)
        assert (planned["rule"]["id"], [step["action"] for step in planned["actions"]]) == (rule, actions), planned
        assert planned["changed"] and not planned.get("failed"), planned
        assert lab.fingerprint(HOST) == before, "check mode changed something"
        done = self(**arguments)
        assert not done.get("failed"), done
        assert (done["rule"]["id"], [step["action"] for step in done["actions"]]) == (rule, actions), done
        assert done["changed"]
        return planned, done

    def refused(self, rule, *said, **arguments):
        before = lab.fingerprint(HOST)
        for options in (["--check"], []):
            answer = self(*options, **arguments)
            assert answer.get("failed") and not answer.get("changed"), answer
            assert answer["rule"]["id"] == rule and answer["actions"] == [], answer
            for words in said:
                assert words in answer["msg"], answer["msg"]
        assert lab.fingerprint(HOST) == before

    def well(self):
        """The module has nothing to do, and repmgr has nothing to say against the node."""
        for options in (["--check"], []):
            answer = self(*options)
            assert (answer["rule"]["id"], answer["changed"], answer.get("failed", False)) == (535, False, False), answer

        def agreed():
            lab.as_postgres(HOST, lab.REPMGR + " node check --upstream && " + lab.REPMGR + " node check --role")
            # Exit code 25 would be: there are warnings.
            lab.as_postgres(HOST, lab.REPMGR + " cluster show")
            return True

        lab.wait_until("repmgr agrees", 30, agreed)
        known = lab.nodes(lab.PRIMARY)
        assert (known[HOST]["type"], known[HOST]["active"], known[HOST]["upstream"]) == ("standby", "t", known[lab.PRIMARY]["id"])
        assert lab.sql(HOST, "select status, sender_host from pg_stat_wal_receiver")[0][0] == "streaming"


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@contextlib.contextmanager
def data_kept():
    """The data directory is away for a moment and comes back."""
    lab.ssh(HOST, "%s && mv %s %s.kept" % (STOP, lab.DATA, lab.DATA))
    try:
        yield
    finally:
        lab.ssh(HOST, "rm -rf %s && mv %s.kept %s && systemctl start %s" % (lab.DATA, lab.DATA, lab.DATA, lab.UNIT))


def registered():
    return HOST in lab.nodes(lab.PRIMARY)


def test_as_it_should_be(node):
    node.well()


def test_what_repmgr_answers_is_understood(node):
    answers = node.info(ask=["cluster", "service", "event", "matrix", "crosscheck", "node_status", "node_check"])["answers"]
    for what, answer in answers.items():
        assert "error" not in answer and answer["rows"] and answer["unknown"] == [], (what, answer)
    assert len(answers["crosscheck"]["rows"]) == 16 and all(row["connects"] for row in answers["crosscheck"]["rows"])
    assert {row["node_name"]: row["repmgrd_running"] for row in answers["service"]["rows"]} == {
        host: 0 if host == HOST else 1 for host in lab.HOSTS}


def test_a_failover_would_succeed_but_for_the_daemon_that_is_stopped(node):
    answer = node.info(observe_peers=True)["cluster"]
    assert (answer["status"], answer["primary"]) == ("degraded", lab.PRIMARY)
    assert answer["failover_ready"]["reasons"] == [
        "%s: repmgrd is not running: it would not follow the new primary; expected a running repmgrd, not paused. "
        "Type on %s: systemctl start repmgrd" % (HOST, HOST)]
    assert [(item["name"], item["obstacles"]) for item in answer["failover_ready"]["candidates"]] == [
        (lab.STANDBY, []), (HOST, ["repmgrd is not running"])]


def test_leaves_and_comes_back(node):
    node.row(204, ["unregister_standby", "drop_slot"], state="absent")
    assert not registered()
    planned, dummy = node.row(531, ["register"])
    assert planned["dry_run"]["ok"], planned["dry_run"]
    node.well()


def test_stale_record(node):
    lab.sql(lab.PRIMARY, "update repmgr.nodes set priority = 50 where node_name = '%s'" % HOST, "repmgr")
    planned, dummy = node.row(534, ["register_force"])
    assert planned["differences"] == [{"field": "priority", "before": 50, "after": 100}]
    assert lab.value(lab.PRIMARY, "select priority from repmgr.nodes where node_name = '%s'" % HOST, "repmgr") == "100"
    node.well()


def test_wrong_upstream(node):
    lab.as_postgres(HOST, lab.REPMGR + " standby follow --upstream-node-id=102")
    node.row(532, ["follow"])
    node.well()
    assert lab.sql(lab.STANDBY, "select slot_name from pg_replication_slots where active") == []


def test_detached(node):
    lab.sql(HOST, "alter system set primary_conninfo = ''")
    lab.sql(HOST, "select pg_reload_conf()")
    lab.wait_until("detached", 10, lambda: lab.sql(HOST, "select status from pg_stat_wal_receiver") == [])
    node.row(533, ["follow"])
    node.well()


def test_stopped(node):
    lab.ssh(HOST, STOP)
    planned, dummy = node.row(511, ["start"])
    assert planned["situation"]["server"] == "stopped"
    node.well()


def test_empty_directory(node):
    lab.ssh(HOST, "%s && mv %s %s.old && install -d -o postgres -g postgres -m 700 %s" % (STOP, lab.DATA, lab.DATA, lab.DATA))
    planned, dummy = node.row(504, ["check_space", "clone", "start", "register_force"])
    assert planned["dry_run"]["ok"] and planned["dry_run"]["action"] == "clone", planned["dry_run"]
    node.well()


def test_partial_directory(node):
    lab.ssh(HOST, "%s && rm %s/global/pg_control" % (STOP, lab.DATA))
    dummy, done = node.row(505, ["check_space", "move_aside", "clone", "start", "register_force"])
    # Nothing is ever removed.
    moved = done["actions"][1]["result"]["to"]
    assert lab.ssh(HOST, "test -e %s/PG_VERSION && test ! -e %s/global/pg_control && echo kept" % (moved, moved)).strip() == "kept"
    node.well()


def test_foreign_directory(node):
    with data_kept():
        lab.as_postgres(HOST, "%s/initdb -D %s >/dev/null" % (lab.BIN, lab.DATA))
        node.refused(506, "system identifier", HOST)
        node.refused(506, "system identifier", HOST, rejoin="reclone")
    node.well()


def test_stopped_ex_primary_is_refused_and_never_rewound_onto_an_older_timeline(node):
    """The standby was promoted behind everybody's back, wrote something, and was stopped: it has diverged."""
    # pg_rewind needs the WAL since the last checkpoint that both have, which later checkpoints on the host may recycle.
    lab.sql(lab.PRIMARY, "checkpoint")
    lab.replayed(lab.PRIMARY, [HOST])
    lab.as_postgres(HOST, CONTROL + "promote")
    lab.sql(HOST, "create table diverged as select 1 as one")
    node.refused(500, HOST)
    lab.ssh(HOST, STOP)
    lab.sql(lab.PRIMARY, "drop table if exists went_on; create table went_on as select 1 as one; checkpoint")
    node.refused(512, HOST, "rejoin")

    answer = node("--check", rejoin="attach")
    assert answer["rule"]["id"] == 513 and not answer["dry_run"]["ok"], "repmgr does not know that it cannot attach: %s" % answer
    # Its timeline is newer than the primary's: whoever asks for a rewind may not know that. A new copy keeps the old data.
    before = lab.fingerprint(HOST)
    answer = node(rejoin="rewind")
    assert answer.get("failed") and "which is older than" in answer["msg"], answer
    assert lab.fingerprint(HOST) == before
    node.row(515, ["check_space", "move_aside", "clone", "start", "register_force"], rejoin="reclone")
    lab.ssh(HOST, "rm -r %s.old-*" % lab.DATA)
    lab.replayed(lab.PRIMARY, [HOST])
    assert lab.value(HOST, "select to_regclass('diverged') is null and to_regclass('went_on') is not null") == "t"
    node.well()
    lab.sql(lab.PRIMARY, "drop table went_on")
