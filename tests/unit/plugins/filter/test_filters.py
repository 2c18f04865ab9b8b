# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.pgfleet.repmgr.plugins.filter import repmgr, roles

FILTERS = dict(repmgr.FilterModule().filters(), **roles.FilterModule().filters())


def test_conninfo():
    text = FILTERS["libpq_conninfo"]({"host": "a", "user": "repmgr", "port": 5432})
    assert text == "host=a port=5432 user=repmgr"
    assert FILTERS["parse_conninfo"](text) == {"host": "a", "port": "5432", "user": "repmgr"}


def test_multihost_dsn():
    hosts = [{"address": "192.168.56.101", "port": 5432}, {"address": "192.168.56.102", "port": 5432}]
    assert FILTERS["multihost_dsn"](hosts, dbname="app", connect_timeout=2) == (
        "host=192.168.56.101,192.168.56.102 port=5432,5432 dbname=app connect_timeout=2 target_session_attrs=read-write"
    )


def test_passfile_password():
    assert FILTERS["passfile_password"]("a:5432:repmgr:repmgr:x\\:y", "repmgr") == "x:y"
    assert FILTERS["passfile_password"]("a:5432:repmgr:repmgr:x\\:y", "repmgr", "lab") == ""


def test_hba_text():
    record = {"hba": {"os_user": "postgres", "user": "repmgr", "database": "repmgr", "tls": True, "trust": False, "extra": []}, "observed": {"reach": []}}
    assert FILTERS["hba_text"]("# mine", record, "add") == "# BEGIN pgfleet.repmgr\nlocal all postgres peer\n# END pgfleet.repmgr\n# mine"
    # A host connects from an address that is not its own.
    reach = [{"name": name, "addresses": [name + ".0.0.1"], "sources": ["3.0.0.1"]} for name in "12"]
    hosts = [{"name": name, "hba": record["hba"], "observed": {"reach": reach}} for name in "12"]
    line = "host repmgr repmgr 3.0.0.1/32 trust\n"
    assert line not in FILTERS["hba_text"](line, hosts[0], "remove") and line in FILTERS["hba_text"](line, hosts[0], "remove", iter(hosts))
    with pytest.raises(AnsibleFilterError, match="one of socket, add, remove"):
        FILTERS["hba_text"]("", record, "all")


def test_deploy_problems():
    host = {"name": "a", "node_id": "1", "port": "5433", "cluster": "lab", "initial_role": "primary", "observed": {
        "server": {"state": "running", "sql": True, "settings": {"port": "5432"}}}}
    assert [problem["code"] for problem in FILTERS["deploy_problems"]([host])] == ["changed_port"]


def test_plans_of_an_upgrade_and_of_a_rejoin_take_what_the_roles_keep():
    host = {"name": "a", "node_id": "1", "cluster": "lab", "initial_role": "primary", "observed": None}
    assert FILTERS["upgrade_plan"]([host], {}) == {"refuse": "", "order": [], "mended": []}
    assert FILTERS["rejoin_plan"]([host], "a") == {"lacks": [], "registered": True}
    with pytest.raises(AnsibleFilterError):
        FILTERS["upgrade_plan"]([host], "Inst repmgr")


def test_verdict_and_contract_take_what_the_roles_keep():
    host = {"name": "a", "node_id": "1", "cluster": "lab", "groups": ["primary"], "initial_role": "primary", "observed": None}
    assert FILTERS["cluster_verdict"]([host])["status"] == "absent"
    assert FILTERS["contract_problems"]([host])


def test_status_as_data_and_as_text():
    host = {"name": "a", "node_id": "1", "cluster": "lab", "initial_role": "primary", "observed": None, "unreachable": True}
    found = FILTERS["cluster_status"]([host, dict(host, cluster="moon")], "today")
    assert (found["time"], found["healthy"], [view["cluster"] for view in found["clusters"]]) == ("today", False, ["lab", "moon"])
    assert "lab: unknown" in FILTERS["status_html"](found)
    assert FILTERS["status_text"](found).startswith("lab: unknown: primary none, 0 of 1 hosts observed")


NODES = [
    {"node_id": 4, "node_name": "w", "type": "witness", "upstream_node_id": 1, "active": True, "priority": 0, "location": "default"},
    {"node_id": 1, "node_name": "a", "type": "primary", "upstream_node_id": None, "active": True, "priority": 100, "location": "default"},
    {"node_id": 2, "node_name": "b", "type": "standby", "upstream_node_id": 1, "active": True, "priority": 0, "location": "moon"},
    {"node_id": 3, "node_name": 'c "#"', "type": "standby", "upstream_node_id": 2, "active": False, "priority": 100},
]


@pytest.mark.parametrize('name, arguments, command', [
    ('site', {}, 'ansible-playbook pgfleet.repmgr.site'),
    ('rejoin', {'repmgr_target': 'db1'}, 'ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=db1'),
    ('maintenance', {'repmgr_maintenance': 'pause', 'repmgr_reason': 'disk swap'},
     """ansible-playbook pgfleet.repmgr.maintenance -e repmgr_maintenance=pause -e '{"repmgr_reason": "disk swap"}'"""),
])
def test_playbook_command(name, arguments, command):
    assert FILTERS['playbook_command'](name, **arguments) == command


@pytest.mark.parametrize('name', [None, 7, '', 'playbooks/site.yml', 'site; reboot', ['site']])
def test_playbook_command_wants_a_playbook(name):
    with pytest.raises(AnsibleFilterError):
        FILTERS['playbook_command'](name)


def test_topology_tree():
    assert FILTERS["topology_tree"](NODES).splitlines() == [
        "a (primary, id 1)",
        "|-- b (standby, id 2, location moon, never promoted)",
        "|   `-- c \"#\" (standby, id 3, inactive)",
        "`-- w (witness, id 4)",
    ]


def test_topology_mermaid():
    assert FILTERS["topology_mermaid"](NODES).splitlines() == [
        "flowchart TD",
        '    n1[["a<br>primary, id 1"]]',
        '    n2["b<br>standby, id 2, location moon, never promoted"]',
        '    n3["c #quot;#35;#quot;<br>standby, id 3, inactive"]',
        '    n4(["w<br>witness, id 4"])',
        "    n1 --> n2",
        "    n2 --> n3",
        "    n1 -.-> n4",
        "    classDef inactive stroke-dasharray: 4",
        "    class n3 inactive",
    ]


def test_topology_takes_what_the_module_returned():
    assert FILTERS["topology_tree"]({"observed": {"repmgr": {"nodes": NODES[1:2]}}}) == "a (primary, id 1)"
    assert FILTERS["topology_tree"]([]) == ""


def test_topology_shows_every_node_once_whatever_the_metadata_say():
    circle = [dict(NODES[1], upstream_node_id=2), dict(NODES[2], upstream_node_id=1), dict(NODES[3], upstream_node_id=9)]
    assert len(FILTERS["topology_tree"](circle).splitlines()) == 3
    assert FILTERS["topology_mermaid"](circle).count("<br>") == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topology_tree", {"observed": {"repmgr": {"nodes": None}}}),
        ("topology_mermaid", ["a"]),
        ("libpq_conninfo", "host=a"),
        ("parse_conninfo", "host"),
        ("multihost_dsn", "a"),
        ("contract_problems", {}),
        ("cluster_verdict", "a"),
        ("cluster_status", {"a": 1}),
        ("status_text", []),
        ("status_html", []),
    ],
)
def test_wrong_input_is_refused(name, value):
    with pytest.raises(AnsibleFilterError):
        FILTERS[name](value)


def test_every_filter_has_its_documentation():
    folder = pathlib.Path(__file__).parents[4] / "plugins" / "filter"
    documented = {path.stem for path in folder.glob("*.yml")}
    assert documented == set(FILTERS)
    for name in documented:
        assert yaml.safe_load((folder / f"{name}.yml").read_text())["DOCUMENTATION"]["name"] == name


def test_what_status_asks_the_proxies():
    routing = {"proxies": ["lb1"], "stats_address": "*", "stats_port": "8404"}
    record = {"name": "a", "node_id": 1, "cluster": "c", "initial_role": "primary", "routing": routing, "unreachable": True, "observed": None}
    hosts = {"z": {}, "a": {"__repmgr_record": record, "__repmgr_run": "12.5", "__repmgr_given": {"connect_timeout": 7}}}
    assert FILTERS["proxy_looks"](hosts) == {
        "lb1": {"address": "127.0.0.1", "port": 8404, "expected": {}, "seconds": 0, "began": 12.5, "connect_timeout": 7}}
    assert FILTERS["proxy_looks"]({"z": {}}) == {}
