"""The walkthrough's finale, there and back, while clients write."""
import re

import pytest

import lab

SWITCHOVER = "playbooks/switchover.yml"


@pytest.mark.parametrize("target,said", [
    (None, ["target", "base-centos-2"]),
    ("base-centos-9", ["base-centos-9", "base-centos-2"]),
    (lab.WITNESS, [lab.WITNESS, "witness", "standby", "base-centos-2"]),
])
def test_a_target_that_cannot_be_primary_is_refused(target, said):
    before = lab.fingerprints()
    run = lab.playbook(SWITCHOVER, *(["-e", "target=%s" % target] if target else []))
    assert run.rc != 0, str(run)
    for word in said:
        assert word in run.message, run.message
    assert not any(run.count("changed").values()), str(run)
    assert lab.differences(before, lab.fingerprints()) == {}


def test_check_mode_is_repmgrs_dry_run_and_changes_nothing():
    before = lab.fingerprints()
    run = lab.playbook(SWITCHOVER, "--check", "-e", "target=%s" % lab.STANDBY).assert_ok()
    assert lab.differences(before, lab.fingerprints()) == {}
    # It says what would happen, and says so as repmgr's own check does.
    assert re.search(r"prerequisites for executing STANDBY SWITCHOVER are met", run.stdout), str(run)
    lab.healthy(within=5)


@pytest.mark.parametrize("source,target", [(lab.PRIMARY, lab.STANDBY), (lab.STANDBY, lab.PRIMARY)])
def test_switchover_under_writes(source, target, writers, figure):
    others = [host for host in lab.DATA_HOSTS if host != target]
    third = lab.OTHER_STANDBY
    before = lab.lives(third)["server"][0]
    with writers:
        run = lab.playbook(SWITCHOVER, "-e", "target=%s" % target).assert_ok()
        writers.progress()
    took = lab.healthy(primary=target, within=30)

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
