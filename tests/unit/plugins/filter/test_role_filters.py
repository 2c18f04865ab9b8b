# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the filters of the roles take from hostvars; what they return is decided in module_utils, which has tests of its own."""

from __future__ import annotations

import base64

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pgfleet.repmgr.plugins.filter import repmgr, roles
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _archive, _files

FILTERS = roles.FilterModule().filters()


def hosts(**more):
    """Variables of the hosts a and b, with those that are given by host."""
    def own(name):
        observed = {"contents": {"/id.pub": "ssh-rsa SEEN" + name + " me"}, "data": {"path": "/data"}, "files": {}, "reach": []}
        record = {"name": name, "cluster": "lab", "node_name": name, "address": "10.0.0." + name, "port": 5432, "peer": {"ssh_port": 22}, "observed": observed}
        return {"inventory_hostname": name, "repmgr_cluster_name": "lab", "__repmgr_record": record}

    return {name: dict(own(name), **more.get(name, {})) for name in ("a", "b")}


def test_no_filter_is_defined_twice():
    assert not set(FILTERS) & set(repmgr.FilterModule().filters())


def test_hosts_without_a_record_are_left_out():
    found = dict(hosts(), c={"repmgr_cluster_name": "lab"}, d={"repmgr_cluster_name": 7}, e={})
    assert FILTERS["run_clusters"](found, ["a", "b", "c"], ["a", "b", "c", "e"], ["d"]) == {
        "clusters": {"lab": ["a", "b"]}, "left_out": {"7": ["d"], "lab": ["c"]}}
    # Of a batch: hosts of later batches need no record yet.
    assert FILTERS["run_clusters"](found, ["a"], [], ["d"]) == {"clusters": {"lab": ["a"]}, "left_out": {"7": ["d"]}}


def test_connection_variables():
    assert FILTERS["connection_variables"]({"ansible_host": "x", "ansible_become": True, "repmgr_port": 1}) == {"ansible_host": "x", "ansible_become": True}


@pytest.mark.parametrize("b, registered, keys", [
    ({}, ["__repmgr_key"], ["ssh-rsa SEENb"]), ({"__repmgr_key": {"skipped": True}}, ["__repmgr_key"], ["ssh-rsa SEENb"]),
    ({"__repmgr_key": {"public_key": "K"}}, ["__repmgr_key"], ["K"]), ({"__repmgr_key": {"public_key": "K"}}, ["__repmgr_next_key"], ["ssh-rsa SEENb"]),
    ({"__repmgr_key": {"public_key": "K"}, "__repmgr_next_key": {"public_key": "L"}}, ["__repmgr_key", "__repmgr_next_key"], ["K", "L"]),
])
def test_the_keys_of_a_peer(b, registered, keys):
    places = {"authorized_keys": "/a", "known_hosts": "/k"}
    record = {"observed": {"reach": [{"name": "b", "address": "10.0.0.2", "addresses": []}], "files": {}}}
    found = FILTERS["ssh_lines"](hosts(b=b), record, {}, places, "postgres", registered)
    assert [line.partition('" ')[2] for line in found["authorized_keys"].splitlines()] == ["%s postgres@b" % key for key in keys]
    assert found["known_hosts"] == "" and found["stale"] == ["authorized_keys", "known_hosts"]
    seen = {places[name]: _files.state_of_text(found[name].strip() + "\n", "0600", "postgres", "postgres") for name in places}
    record["observed"]["files"] = seen
    assert FILTERS["ssh_lines"](hosts(b=b), record, {}, places, "postgres", registered)["stale"] == []


def test_known_hosts():
    assert FILTERS["known_hosts"](["ssh-rsa R root@h", "ssh-ed25519 E"], "h", 2222) == "[h]:2222 ssh-rsa R\n[h]:2222 ssh-ed25519 E\n"
    with pytest.raises(AnsibleFilterError):
        FILTERS["known_hosts"]("ssh-rsa R", "h", 22)


def test_backups():
    found = hosts(a={"ansible_facts": {"ssh_host_key_rsa_public": "R"}, "__repmgr_backup_node_key": {"public_key": "K"}})
    assert FILTERS["backup_access"](["a"], found, "run") == {"known_hosts": "10.0.0.a ssh-rsa R\n", "authorized_keys": 'restrict,command="run" K a\n'}
    assert [node["name"] for node in FILTERS["backup_nodes"](["b", "a"], found)] == ["b", "a"]
    assert FILTERS["backup_lacking"](["b", "a"], found, "/n.json") == ["b", "a"]


def test_results_of_a_restore():
    found = hosts(a={"__repmgr_restore_look": {"look": {"free": 1}}, "__repmgr_recloned": {"actions": [{"action": "move_aside", "result": {"to": "/old"}}]}},
                  b={"__repmgr_restore_look": {"skipped": True}})
    assert FILTERS["step_looks"](["a", "b"], found, "__repmgr_restore_look") == {"a": {"free": 1}}
    assert FILTERS["restore_kept"](["a", "b"], found) == ["a /old"]


@pytest.mark.parametrize("variable", ["__repmgr_node", "__repmgr_node_primary", "__repmgr_node_witness"])
@pytest.mark.parametrize("result, joined", [
    ({"rule": {"id": 1}}, ["a"]), ({"rule": {"id": 1}, "failed": False}, ["a"]), ({"rule": {"id": 1}, "failed": True}, []), ({"skipped": True}, []),
])
def test_hosts_that_were_registered(variable, result, joined):
    found = hosts(a={variable: result})
    assert FILTERS["guard_votes"](["a", "b"], found, []) == {"joined": joined, "new_voters": joined}
    assert FILTERS["guard_votes"](["a", "b"], found, [{"node_name": "a"}]) == {"joined": joined, "new_voters": []}


def test_messages_about_the_place_of_a_repository():
    seen = {"folder": {"exists": True, "directory": False}}
    wanted = {"repository": {"path": "/b"}, "cipher_pass": "", "os_user": "postgres"}
    assert repmgr.FilterModule().filters()["backup_place_problems"](seen, wanted, "r1") == [
        "r1: /b is no directory; expected a directory, or nothing. Set another repmgr_backup_repository.path, or move it away."]


@pytest.mark.parametrize("name, values", [
    ("run_clusters", ([], [], [], [])), ("run_stops", ({},)), ("failed_logins", ([], [])), ("backup_nodes", ("a", {})),
    ("backup_units", ("x", [])), ("rolling_plan", ("a", {}, [])), ("guard_votes", ({}, {}, [])), ("firewall_entries", ([], [], 5432)),
])
def test_wrong_input_is_refused(name, values):
    with pytest.raises(AnsibleFilterError):
        FILTERS[name](*values)


@pytest.mark.parametrize("seen, present, counts", [
    ({"observed": "new"}, ["a", "b"], True),
    # It has failed meanwhile, or was skipped.
    ({"observed": "new"}, ["a"], False), ({"observed": "new", "failed": True}, ["a", "b"], False), ({"skipped": True}, ["a", "b"], False),
    (None, ["a", "b"], False),
])
def test_the_newest_observation_counts_of_those_who_were_observed(monkeypatch, seen, present, counts):
    monkeypatch.setattr(roles._verdict, "from_inventory", lambda records: [(record["name"], record["observed"]) for record in records])
    found = hosts(b={"__repmgr_seen": seen} if seen else {})
    before = [(name, found[name]["__repmgr_record"]["observed"]) for name in ("a", "b")]
    assert FILTERS["observed_verdict"](["a", "b"], found, present) == (before[:1] + [("b", "new")] if counts else before)
    assert found["b"]["__repmgr_record"]["observed"] == before[1][1]


def test_python_program(tmp_path):
    with pytest.raises(AnsibleFilterError, match="has no __main__.py"):
        FILTERS["python_program"](str(tmp_path), "/usr/bin/python3")
    (tmp_path / "__main__.py").write_text("pass\n")
    found = FILTERS["python_program"](str(tmp_path), "/usr/bin/python3")
    content = base64.b64decode(found["base64"])
    assert content == _archive.program({"__main__.py": b"pass\n"}, "/usr/bin/python3") and found["sha256"] == _files.digest_of(content)
    assert FILTERS["python_program"](str(tmp_path), "/usr/bin/python2")["sha256"] != found["sha256"]
