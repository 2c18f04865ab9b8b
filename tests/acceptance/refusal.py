"""Wrong input on purpose, and what every refusal has in common."""
import contextlib
import shutil

import yaml

import lab


def inventory(folder, change, name="lab"):
    """One of the repository's inventories with one thing changed, in a folder of its own."""
    source = lab.ROOT / "inventories" / name
    hosts = yaml.safe_load((source / "hosts.yml").read_text())
    hosts["all"]["vars"]["lab_dir"] = str(lab.LAB)
    change(hosts["all"])
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    shutil.copytree(str(source / "group_vars"), str(folder / "group_vars"))
    return folder


def assert_refused(run, *said):
    """Non-zero, with a message that has every word of `said`, and changed nowhere."""
    assert run.rc != 0, str(run)
    assert run.failures, str(run)
    for word in said:
        assert word.lower() in run.message.lower(), "'%s' is not in:\n%s" % (word, run.message)
    assert "expected" in run.message or "must be one of" in run.message, "what would be right is not in:\n%s" % run.message
    assert "Traceback" not in run.message + run.stderr, str(run)
    assert not any(run.count("changed").values()), str(run)


@contextlib.contextmanager
def nothing_changes():
    before = lab.fingerprints()
    yield
    found = lab.differences(before, lab.fingerprints())
    assert not found, "hosts were changed: %s" % found
