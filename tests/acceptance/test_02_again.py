"""The main job again, at once and as often as one likes: nothing is left to do."""
import lab


def test_second_run_changes_nothing(figure):
    before = lab.fingerprints()
    run = lab.site().assert_nothing_changed()
    assert lab.differences(before, lab.fingerprints()) == {}
    figure("site.yml with nothing to do", "%.1f s, %d tasks a host" % (run.seconds, max(run.count("ok").values())))


def test_check_mode_on_a_finished_lab(figure):
    before = lab.fingerprints()
    run = lab.site("--check", "--diff").assert_nothing_changed()
    assert lab.differences(before, lab.fingerprints()) == {}
    figure("site.yml --check on a finished lab", "%.1f s" % run.seconds)


def test_preflight_alone():
    before = lab.fingerprints()
    lab.playbook("playbooks/preflight.yml").assert_nothing_changed()
    assert lab.differences(before, lab.fingerprints()) == {}
