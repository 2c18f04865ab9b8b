"""The walkthrough's finale, there and back, while clients write."""
import contextlib
import re

import pytest

import lab
import refusal

SWITCHOVER = "playbooks/switchover.yml"


@pytest.mark.parametrize("target,said", [
    (None, ["target", "base-centos-2"]),
    ("base-centos-9", ["base-centos-9", "base-centos-2"]),
    (lab.WITNESS, [lab.WITNESS, "witness", "standby", "base-centos-2"]),
])
def test_a_target_that_cannot_be_primary_is_refused(target, said):
    before = lab.fingerprints()
    run = lab.playbook(SWITCHOVER, *(["-e", "repmgr_target=%s" % target] if target else []))
    assert run.rc != 0, str(run)
    for word in said:
        assert word in run.message, run.message
    assert not any(run.count("changed").values()), str(run)
    assert lab.differences(before, lab.fingerprints()) == {}


def test_check_mode_is_repmgrs_dry_run_and_changes_nothing():
    before = lab.fingerprints()
    run = lab.playbook(SWITCHOVER, "--check", "-e", "repmgr_target=%s" % lab.STANDBY).assert_ok()
    assert lab.differences(before, lab.fingerprints()) == {}
    # It says what would happen, and says so as repmgr's own check does.
    assert re.search(r"prerequisites for executing STANDBY SWITCHOVER are met", run.stdout), str(run)
    lab.healthy(within=5)


@contextlib.contextmanager
def without_line(host, path, words):
    """While it lasts, a file on a host lacks the one line that has these words."""
    kept = "/tmp/%s.kept" % path.rpartition("/")[2]
    assert lab.ssh(host, "grep -cF '%s' %s" % (words, path)).strip() == "1"
    lab.ssh(host, "cp -a {0} {1} && grep -vF '{2}' {1} > {0}".format(path, kept, words))
    try:
        yield
    finally:
        lab.ssh(host, "cp -a {1} {0} && rm {1}".format(path, kept))


def answers(run):
    """What the module itself said."""
    return [result for dummy, host, result in run.results if "preflight" in result and host == lab.STANDBY]


@pytest.mark.parametrize("host,path,words,said", [
    pytest.param(
        lab.PRIMARY, "/etc/sudoers.d/repmgr", "systemctl stop postgresql",
        ["sudo on primary %s does not let postgres run service_stop_command: sudo /usr/bin/systemctl stop %s" % (lab.PRIMARY, lab.UNIT)],
        id="sudo on the primary"),
    pytest.param(
        lab.STANDBY, "/var/lib/postgresql/.ssh/authorized_keys", "postgres@%s" % lab.PRIMARY,
        # Every playbook's look at all logins comes before the module's own at this one.
        ["%s: cannot log in to %s by ssh" % (lab.PRIMARY, lab.STANDBY), "site.yml"], marks=lab.longer, id="ssh back to the target"),
])
def test_what_repmgr_does_not_look_at_is_refused_before_any_change(host, path, words, said, figure):
    switchover = ["-e", "repmgr_target=%s" % lab.STANDBY]
    with without_line(host, path, words), refusal.nothing_changes():
        # repmgr's own dry run is content; the switchover would end half-way, or the way back would be closed.
        lab.as_postgres(lab.STANDBY, lab.REPMGR + " standby switchover --siblings-follow --dry-run")
        for options in (["--check"], []):
            run = lab.playbook(SWITCHOVER, *(options + switchover))
            refusal.assert_refused(run, lab.STANDBY, *said)
            assert all(len(answer["problems"]) == 1 and "dry_run" not in answer for answer in answers(run)), answers(run)
            assert len(answers(run)) == (1 if "sudo" in said[0] else 0)
        figure("refused, %s" % words, "%.1f s" % run.seconds)
        lab.healthy(within=5)
    lab.playbook(SWITCHOVER, "--check", *switchover).assert_ok()


@pytest.mark.parametrize("source,target", [(lab.PRIMARY, lab.STANDBY), (lab.STANDBY, lab.PRIMARY)])
def test_switchover_under_writes(source, target, writers, figure):
    others = [host for host in lab.DATA_HOSTS if host != target]
    third = lab.OTHER_STANDBY
    before = lab.lives(third)["server"][0]
    # repmgr takes the slots that the guards have made.
    for host in lab.DATA_HOSTS:
        lab.wait_until("%s keeps WAL for the others" % host, 60, lambda host=host: lab.keeps_for_others(host))
    with writers:
        run = lab.playbook(SWITCHOVER, "-e", "repmgr_target=%s" % target).assert_ok()
        writers.progress()
    took = lab.healthy(primary=target, within=30)

    module = [result for dummy, host, result in run.results if "preflight" in result and host == target][0]
    assert module["slots_left"] == [] and not any("pg_drop_replication_slot" in text for text in module.get("warnings", [])), module
    for host in lab.DATA_HOSTS:
        lab.wait_until("%s keeps WAL for the others" % host, 60, lambda host=host: lab.keeps_for_others(host))

    lab.replayed(target, others)
    for host in lab.DATA_HOSTS:
        assert writers.lost(host) == set(), "acknowledged rows that %s does not have" % host
    figure("switchover to %s" % target, "write gap %.2f s, command %.1f s, healthy %.1f s later; %d rows acknowledged, 0 lost" % (
        writers.gap(), run.seconds, took, len(writers.acknowledged())))

    # The third data node followed without a restart, and the operator saw it all in repmgr's own words.
    assert lab.lives(third)["server"][0] == before
    assert "standby_switchover" in run.text and "Connection string" in run.text, str(run)

    lab.playbook(SWITCHOVER, "-e", "target=%s" % target).assert_nothing_changed()
    # The live primary is adopted, whatever the inventory's groups say.
    lab.site().assert_nothing_changed()
    assert lab.primaries() == [target]
