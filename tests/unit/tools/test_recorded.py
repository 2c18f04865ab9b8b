"""The stand-in for SSH of `make bench-scale`: what a cluster of an inventory asks is what the recorded cluster was asked, and nothing else is answered."""
import base64
import importlib.util
import json
import pathlib

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recorded():
    return load(BENCH / "connection_plugins" / "recorded.py")


def payload(module, **arguments):
    """What ansible-core sends through a pipe, as far as it matters."""
    asked = json.dumps({"ANSIBLE_MODULE_ARGS": dict(arguments, _ansible_tmpdir="/tmp/x", _ansible_verbosity=0)})
    return ("    ANSIBALLZ_PARAMS = %r\n    runpy.run_module(mod_name='%s', init_globals=None)\n" % (asked, module)).encode()


@pytest.fixture
def folder(tmp_path, recorded):
    (tmp_path / "hosts.json").write_text(json.dumps({"cluster": "lab", "hosts": [["db-1", "10.0.0.1"], ["db-10", "10.0.0.2"]]}))
    answers = [
        (recorded.question("python", payload("m.info", name="db-10", peers=["db-1"], cluster="lab")), '{"seen": "db-1\\ndb-10"}'),
        (recorded.question("echo BECOME-SUCCESS-abc ; ls", None), "recorded"),
    ]
    (tmp_path / "10.0.0.2.jsonl").write_text("".join(
        json.dumps(list(asked) + [0, base64.b64encode(said.encode()).decode(), ""]) + "\n" for asked, said in answers))
    return str(tmp_path)


def test_names_are_those_of_the_cluster_that_asks(recorded, folder):
    asked = payload("m.info", name="c017-2", peers=["c017-1"], cluster="c017")
    assert recorded.replayed(folder, "c017-2", "python", asked) == (0, b'{"seen": "c017-1\\nc017-2"}', b"")


def test_a_command_is_the_same_whatever_mark_become_puts_into_it(recorded, folder):
    assert recorded.replayed(folder, "c000-2", "echo BECOME-SUCCESS-xyz ; ls", None)[1] == b"recorded"


def test_other_arguments_are_another_question(recorded, folder):
    assert recorded.replayed(folder, "c017-2", "python", payload("m.info", name="c017-2", peers=[], cluster="c017")) is None
    assert recorded.replayed(folder, "c017-2", "rm -rf /", None) is None


def test_what_cannot_be_read_is_no_command(recorded, folder):
    with pytest.raises(recorded.AnsibleConnectionFailure, match="cannot tell what is asked"):
        recorded.replayed(folder, "c017-2", "echo BECOME-SUCCESS-xyz ; ls", b"another way to send a module")


def test_a_file_is_written_without_a_change(recorded, folder):
    said = recorded.replayed(folder, "c017-2", "python", payload("ansible.modules.copy", dest="/etc/repmgr.conf", src="/x"))
    assert json.loads(said[1])["changed"] is False
    place = "/root/.ansible/tmp/ansible-tmp-1-2-3/"
    folder_for_files = ('/bin/sh -c \'( umask 77 && mkdir -p "` echo /root/.ansible/tmp `"&& mkdir "` echo /root/.ansible/tmp/ansible-tmp-1-2-3 `" && '
                        'echo ansible-tmp-1-2-3="` echo /root/.ansible/tmp/ansible-tmp-1-2-3 `" ) && sleep 0\'')
    assert recorded.replayed(folder, "c017-2", folder_for_files, None)[1] == b"ansible-tmp-1-2-3=/root/.ansible/tmp/ansible-tmp-1-2-3\n"
    for command in ("chmod u+x {0} {0}source".format(place), "rm -f -r " + place):
        assert recorded.replayed(folder, "c017-2", "/bin/sh -c '%s > /dev/null 2>&1 && sleep 0'" % command, None) == (0, b"", b"")


def test_an_inventory_of_many_clusters(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    scale = load(BENCH / "scale.py")
    recorded = [("db-1", "10.0.0.1", "primary", {"repmgr_node_id": 101}), ("db-2", "10.0.0.2", "witness", {"repmgr_node_id": 102})]
    made = scale.inventory_of(3, recorded)["all"]["children"]
    assert sorted(made["primary"]["hosts"]) == ["c000-1", "c001-1", "c002-1"] and made["standby"] == {"hosts": {}}
    assert made["witness"]["hosts"]["c002-2"] == {"repmgr_node_id": 102, "ansible_host": "c002-2", "repmgr_cluster_name": "c002"}


def test_growth_is_a_goal_that_can_be_missed(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    scale = load(BENCH / "scale.py")
    lines = [{"playbook": "site", "clusters": 100, "seconds_a_host": 1.3, "processor_a_host": 1.0, "mebibytes_a_host": 0.5},
             {"playbook": "site", "clusters": 10, "seconds_a_host": 1.0, "processor_a_host": 1.0, "mebibytes_a_host": 2.5}]
    assert [(line["text"], line["reached"]) for line in scale.verdicts(lines)] == [("1.30 times", False), ("1.00 times", True), ("0.20 times", True)]
