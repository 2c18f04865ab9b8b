# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin against a psycopg2 that knows four servers; everything above the driver is real."""

from __future__ import annotations

import json
import re
import threading
import time

import psycopg2
import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.doc_fragments import constructed, inventory_cache
from ansible.utils.plugin_docs import merge_fragment
from ansible_collections.pgfleet.repmgr.plugins.inventory import repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _psql

SECRET = "m4rk3r-s3cr3t"
DSN = "host=db1,db2,db3 user=inventory password=%s dbname=repmgr target_session_attrs=read-write" % SECRET


def row(number, kind, upstream=1, **more):
    return dict({
        "node_id": number, "node_name": "node%d" % number, "type": kind, "upstream_node_id": None if kind == "primary" else upstream, "active": True,
        "priority": 100, "location": "default", "slot_name": None, "config_file": "/etc/repmgr.conf", "repluser": "repmgr",
        "conninfo": "host=db%d user=repmgr dbname=repmgr sslmode=verify-full sslrootcert=/not/here" % number}, **more)


ROWS = [row(1, "primary"), row(2, "standby"), row(3, "standby", location="far"), row(4, "witness")]


def server(recovers, rows=None, **more):
    """What a server answers, by tag."""
    found = {
        "server": {"in_recovery": recovers, "database": "repmgr", "version": "15.6 (Debian)", "system_identifier": "7000", "checkpoint_timeline": 1},
        "position": {"wal_timeline": None if recovers else "00000001", "bytes": 900 if recovers else 1000, "lag_seconds": 0 if recovers else None,
                     "replay_paused": False if recovers else None},
        "extension": "5.3", "nodes": ROWS if rows is None else rows, "repmgrd": {"running": True, "paused": False, "pid": 1}, "local_node_id": -1}
    if recovers:
        found["receiver"] = {"pid": 7, "status": "streaming", "sender_host": "db1", "sender_port": 5432, "received_tli": 1}
    for name, value in more.items():
        found[name] = dict(found[name], **value) if isinstance(value, dict) and isinstance(found.get(name), dict) else value
    return found


class Cursor:
    def __init__(self, answers):
        self.answers, self.row = answers, None

    def __enter__(self):
        return self

    def __exit__(self, *dummy):
        return False

    def execute(self, statement):
        tag = re.match(r"SELECT '(\w+)'", statement).group(1)
        answer = self.answers.get(tag)
        if isinstance(answer, Exception):
            raise answer
        if answer == "hangs":
            threading.Event().wait(30)
        self.row = None if answer is None else (tag, json.loads(json.dumps(answer)))

    def fetchone(self):
        return self.row


class Connection:
    def __init__(self, answers):
        self.answers, self.closed, self.autocommit = answers, 0, False

    def cursor(self):
        assert self.autocommit
        return Cursor(self.answers)

    def close(self):
        self.closed = 1


class World:
    """{host or (host, port): answers}; the rest of the world is silent."""

    def __init__(self):
        self.servers = {"db1": server(False), "db2": server(True), "db3": server(True), "db4": server(False, server={"system_identifier": "9000"})}
        self.asked = []

    def connect(self, **given):
        assert "," not in given["host"] + given.get("port", "")
        self.asked.append(given)
        answers = self.servers.get((given["host"], given.get("port", "5432"))) or self.servers.get(given["host"])
        if answers is None:
            raise psycopg2.OperationalError('connection to server at "%s" failed: password=%s\n\tis of no use' % (given["host"], SECRET))
        return Connection(answers)


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(psycopg2, "connect", made.connect)
    return made


NAME = "pgfleet.repmgr.repmgr"


def plugin():
    """The plugin with its documented options, as Ansible's own loader makes it; that one wants an installed collection."""
    documented = yaml.safe_load(repmgr.DOCUMENTATION)
    for fragment in (constructed, inventory_cache):
        merge_fragment(documented, yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION))
    constants.config.initialize_plugin_configuration_definitions("inventory", NAME, documented["options"])
    made = repmgr.InventoryModule()
    made._load_name, made._redirected_names = NAME, []
    return made


class Read:
    def __init__(self, inventory, warnings):
        self.inventory, self.warnings = inventory, warnings

    def group(self, name):
        return sorted(host.name for host in self.inventory.groups[name].hosts)

    def host(self, name):
        return self.inventory.hosts[name].get_vars()


@pytest.fixture
def read(tmp_path, monkeypatch):
    def one(cache=True, **options):
        path = tmp_path / "test.repmgr.yml"
        path.write_text(yaml.safe_dump(dict({"plugin": NAME, "clusters": {"orders": DSN}}, **options)))
        ours, warnings = plugin(), []
        assert ours.verify_file(str(path))
        monkeypatch.setattr(ours.display, "warning", lambda text, *dummy, **dummies: warnings.append(text))
        inventory = InventoryData()
        ours.parse(inventory, DataLoader(), str(path), cache)
        assert SECRET not in repr(warnings)
        assert SECRET not in repr([host.get_vars() for host in inventory.hosts.values()])
        return Read(inventory, warnings)

    return one


def test_a_healthy_cluster(world, read):
    found = read()
    assert {name: found.group(name) for name in repmgr.ROLES + repmgr.STATES + ("cluster_orders",)} == {
        "primary": ["node1"], "standby": ["node2", "node3"], "witness": ["node4"], "running": ["node1", "node2", "node3", "node4"],
        "detached": [], "foreign": [], "unreachable": [], "cluster_orders": ["node1", "node2", "node3", "node4"]}
    assert found.warnings == []
    host = found.host("node3")
    assert host["ansible_host"] == "db3"
    assert {name: host["repmgr_" + name] for name in (
        "cluster", "role", "type", "node_id", "upstream_name", "upstream_node_id", "primary", "priority", "location", "timeline", "lag_bytes",
        "lag_seconds", "address", "port", "version", "repmgrd", "streams_from", "state", "active", "error")} == {
        "cluster": "orders", "role": "standby", "type": "standby", "node_id": 3, "upstream_name": "node1", "upstream_node_id": 1, "primary": "node1",
        "priority": 100, "location": "far", "timeline": 1, "lag_bytes": 100, "lag_seconds": 0, "address": "db3", "port": 5432, "version": "15.6",
        "repmgrd": "running", "streams_from": "node1", "state": "running", "active": True, "error": ""}


def test_the_role_is_what_the_server_says_and_not_what_is_registered(world, read):
    """In the middle of a failover: node2 is promoted, nobody has recorded it yet, node1 is dead."""
    del world.servers["db1"]
    world.servers["db2"] = server(False, position={"wal_timeline": "00000002", "bytes": 5000})
    found = read()
    assert (found.group("primary"), found.group("standby"), found.group("unreachable")) == (["node2"], ["node3"], ["node1"])
    assert found.host("node1")["repmgr_role"] == "unknown" and found.host("node1")["repmgr_type"] == "primary"
    assert found.host("node3")["repmgr_lag_bytes"] == 4100
    assert found.warnings == ['orders: node1 does not answer: connection to server at "db1" failed: password=******** is of no use']


def test_one_of_the_given_hosts_is_enough_and_the_others_are_found(world, read):
    world.servers = {name: world.servers[name] for name in ("db3", "db4")}
    found = read(clusters={"orders": "host=db9,db3 user=inventory dbname=repmgr"})
    assert found.group("cluster_orders") == ["node1", "node2", "node3", "node4"]
    assert (found.group("unreachable"), found.group("standby"), found.group("primary")) == (["node1", "node2"], ["node3"], [])
    assert found.warnings[-1] == "orders: no node runs as primary; expected one primary"


def test_who_knows_of_newer_nodes_is_asked_until_all_are_known(world, read):
    """The given host is an old standby that has never heard of node5, nor of the new primary."""
    newer = [row(1, "primary", active=False), row(2, "primary"), row(3, "standby", 2), row(4, "witness", 2), row(5, "standby", 2)]
    world.servers["db1"] = None
    world.servers["db2"] = server(False, newer, position={"wal_timeline": "00000002"})
    world.servers["db5"] = server(True, newer)
    world.servers["db3"] = server(True, [row(1, "primary"), row(2, "standby"), row(3, "standby")])
    found = read(clusters={"orders": "host=db3 user=inventory dbname=repmgr"})
    assert found.group("cluster_orders") == ["node1", "node2", "node3", "node4", "node5"]
    assert found.group("primary") == ["node2"] and found.host("node1")["repmgr_active"] is False
    assert sorted(given["host"] for given in world.asked) == ["db1", "db2", "db3", "db4", "db5"], "everybody is asked once"


def test_nodes_are_asked_as_the_user_of_the_dsn_at_their_own_address(world, read):
    world.servers["db2"] = None
    world.servers[("db2", "5433")] = server(True)
    rows = [ROWS[0], row(2, "standby", conninfo="host=db2 port=5433 user=repmgr password=theirs sslmode=verify-full dbname=other"), ROWS[2], ROWS[3]]
    world.servers["db1"] = server(False, rows)
    found = read(clusters={"orders": {"host": "db1", "user": "inventory", "password": SECRET, "dbname": "repmgr", "sslmode": "require"}})
    assert found.host("node2")["repmgr_port"] == 5433 and found.host("node2")["repmgr_state"] == "running"
    for given in world.asked:
        assert (given["user"], given["password"], given["dbname"], given["sslmode"]) == ("inventory", SECRET, "repmgr", "require")
        assert given["connect_timeout"] == "3" and "statement_timeout=3000" in given["options"]
        assert "sslrootcert" not in given and "target_session_attrs" not in given


def test_a_server_that_is_reached_another_way_is_known_by_its_repmgrd(world, read):
    """The registered addresses are not to be reached from here; what the connection string says is."""
    world.servers = {"outside1": server(False, local_node_id=1), "outside2": server(True, local_node_id=2)}
    found = read(clusters={"orders": "host=outside1,outside2 user=inventory dbname=repmgr"})
    assert (found.group("primary"), found.group("standby"), found.group("unreachable")) == (["node1"], ["node2"], ["node3", "node4"])
    assert found.host("node2")["ansible_host"] == "outside2"


def test_two_primaries_are_both_shown_and_said(world, read):
    world.servers["db2"] = server(False, position={"wal_timeline": "00000002"})
    found = read()
    assert found.group("primary") == ["node1", "node2"] and found.host("node3")["repmgr_primary"] == ""
    assert found.warnings == ["orders: node1 and node2 run as primary; expected one primary"]
    with pytest.raises(AnsibleParserError, match="node1 and node2 run as primary"):
        read(strict=True)


def test_a_standby_that_receives_nothing(world, read):
    world.servers["db2"] = server(True, receiver=None)
    world.servers["db3"] = server(True, receiver={"status": "waiting"})
    found = read()
    assert found.group("detached") == ["node2", "node3"] == found.group("standby")
    assert found.warnings == []


def test_a_login_without_pg_monitor_is_told_everything_but_the_sender(world, read):
    hidden = {"pid": 7, "status": None, "sender_host": None, "sender_port": None, "received_tli": None, "conninfo": None}
    world.servers["db2"] = server(True, receiver=hidden)
    host = read().host("node2")
    assert (host["repmgr_state"], host["repmgr_timeline"], host["repmgr_streams_from"]) == ("running", 1, None)


def test_a_foreign_server_at_the_address_of_a_node_is_no_standby(world, read):
    world.servers["db2"] = server(True, server={"system_identifier": "666"})
    found = read()
    assert (found.group("foreign"), found.group("standby")) == (["node2"], ["node3"])
    assert found.host("node2")["repmgr_error"] == "system identifier 666, its cluster has 7000"


@pytest.mark.parametrize("said, expected", [({"running": False, "paused": False}, "stopped"), ({"running": True, "paused": True}, "paused"),
                                            ({"running": None, "paused": None}, None)])
def test_repmgrd(world, read, said, expected):
    world.servers["db2"] = server(True, repmgrd=said)
    assert read().host("node2")["repmgr_repmgrd"] == expected


def test_a_server_that_stands_still_after_it_let_somebody_in_is_not_waited_for(world, read):
    world.servers["db2"] = dict(server(True), nodes="hangs")
    started = time.monotonic()
    found = read(connect_timeout=1)
    assert time.monotonic() - started < 4
    assert found.group("unreachable") == ["node2"] and found.host("node2")["repmgr_error"] == "no answer within 2 s"


def test_strict_fails_where_a_node_is_silent(world, read):
    del world.servers["db3"]
    assert read().group("unreachable") == ["node3"]
    with pytest.raises(AnsibleParserError, match="orders: node3 does not answer") as caught:
        read(strict=True)
    assert SECRET not in str(caught.value)


def test_nobody_answers(world, read):
    world.servers = {}
    with pytest.raises(AnsibleParserError, match="orders: repmgr.nodes could not be read from any node: db1:5432: .*; expected a node that answers") as caught:
        read()
    assert SECRET not in str(caught.value)


def test_one_of_two_clusters_is_away(world, read):
    found = read(clusters={"orders": DSN, "billing": "host=nowhere user=a"})
    assert found.group("cluster_billing") == [] and len(found.group("cluster_orders")) == 4
    assert [text.split(":")[0] for text in found.warnings] == ["billing"]


def test_a_login_that_may_not_read_the_records_is_told_so(world, read):
    world.servers = {"db1": server(False, nodes=psycopg2.ProgrammingError("permission denied for table nodes"))}
    with pytest.raises(AnsibleParserError, match="db1:5432: permission denied for table nodes.*may read repmgr.nodes"):
        read()


def test_a_database_without_repmgr(world, read):
    world.servers = {"db1": server(False, nodes=None, extension=None)}
    with pytest.raises(AnsibleParserError, match="there is no repmgr in database repmgr"):
        read()


@pytest.mark.parametrize("clusters", [
    DSN, [DSN], {}, {"orders": "password=a %s host=b" % SECRET}, {"orders": "postgresql://u:pa/%s@host/db" % SECRET},
    {"orders": "host=a password='%s" % SECRET}, {"orders": 5}, {"orders": SECRET},
    {"orders": "host=a password=%s{{ oops" % SECRET}, {"orders": {"host": "a", "password": SECRET + "{{ nobody_knows_this }}"}}, {"orders": [[DSN]]},
])
def test_what_cannot_be_read_is_not_shown(world, read, clusters):
    with pytest.raises(AnsibleParserError) as caught:
        read(clusters=clusters)
    assert SECRET not in str(caught.value) and "clusters" in str(caught.value)
    assert world.asked == []


def test_without_psycopg2(world, read, monkeypatch):
    monkeypatch.setattr(repmgr, "psycopg2", None)
    with pytest.raises(AnsibleParserError, match="needs the Python library psycopg2 on the controller"):
        read()


def test_passwords_from_templates_and_several_ways(world, read, monkeypatch):
    monkeypatch.setenv("INVENTORY_PASSWORD", SECRET)
    read(clusters={"orders": ["host=nowhere", {"host": "db1", "port": 5432, "password": "{{ lookup('env', 'INVENTORY_PASSWORD') }}"}]})
    assert {given.get("password") for given in world.asked if given["host"] != "nowhere"} == {SECRET}


def test_compose_groups_and_keyed_groups(world, read):
    found = read(compose={"ansible_host": "inventory_hostname ~ '.example.com'"}, groups={"lagging": "(repmgr_lag_bytes or 0) > 50"},
                 keyed_groups=[{"key": "repmgr_location", "prefix": "location"}])
    assert found.host("node2")["ansible_host"] == "node2.example.com"
    assert found.group("location_far") == ["node3"] and found.group("lagging") == ["node2", "node3"]
    with pytest.raises(AnsibleParserError):
        read(strict=True, groups={"odd": "nobody_knows_this > 1"})


def test_prefixes_keep_it_apart_from_another_inventory(world, read):
    found = read(group_prefix="live_", vars_prefix="live_")
    assert found.group("live_primary") == ["node1"] and "primary" not in found.inventory.groups
    assert not [name for name in found.host("node1") if name.startswith("repmgr_")]
    assert found.group("live_cluster_orders") == ["node1", "node2", "node3", "node4"]


def test_the_playbooks_of_the_collection_do_not_take_it_for_theirs(world, read):
    """A node that does not answer is in no group of a role: site.yml would take it for one that has left."""
    assert not {"repmgr_cluster_name"} & set(read().host("node1"))


def test_the_same_name_in_two_clusters(world, read):
    with pytest.raises(AnsibleParserError, match="node1 is a node of both billing and orders"):
        read(clusters={"orders": DSN, "billing": DSN})


def test_a_cached_answer_asks_nobody_and_holds_no_password(world, tmp_path):
    path = tmp_path / "test.repmgr.yml"
    path.write_text(yaml.safe_dump({
        "plugin": NAME, "clusters": {"orders": DSN}, "cache": True, "cache_plugin": "jsonfile",
        "cache_connection": str(tmp_path / "cache"), "cache_timeout": 60}))

    def hosts(cache=True):
        ours, inventory = plugin(), InventoryData()
        ours.parse(inventory, DataLoader(), str(path), cache)
        ours.update_cache_if_changed()
        return {name: host.get_vars() for name, host in inventory.hosts.items()}, sorted(host.name for host in inventory.groups["primary"].hosts)

    first = hosts()
    asked = len(world.asked)
    assert asked == 4
    world.servers["db1"], world.servers["db2"] = server(True), server(False)
    assert hosts() == first and len(world.asked) == asked
    # ansible.builtin.meta: refresh_inventory, or --flush-cache
    assert hosts(cache=False)[1] == ["node2"] and len(world.asked) == 2 * asked
    assert hosts()[1] == ["node2"]
    files = list((tmp_path / "cache").iterdir())
    assert files and not any(SECRET in each.read_text() for each in files)


def test_every_example_does_what_it_says(world, read, tmp_path, monkeypatch):
    monkeypatch.setenv("INVENTORY_PASSWORD", SECRET)
    world.servers.update({
        ("billing2", "5433"): server(False, [row(1, "primary", node_name="billing", conninfo="host=billing2 port=5433")]),
        "192.168.56.102": world.servers["db2"]})
    blocks = re.split(r"\n\n", repmgr.EXAMPLES.strip())
    examples = [yaml.safe_load(re.sub(r"(?m)^# ?", "", block.partition(":\n#\n")[2]) if block.count("\n# plugin:") else block) for block in blocks]
    assert len(examples) == 3
    plain = read(**examples[0])
    assert plain.group("primary") == ["node1"]
    two = read(**examples[1])
    assert two.group("backup") == ["node2", "node3"] and two.group("location_far") == ["node3"] and two.group("cluster_billing") == ["billing"]
    assert two.host("billing")["ansible_host"] == "billing.example.com" and "lagging" not in two.inventory.groups
    assert {given.get("password") for given in world.asked if given["host"] in ("db3", "db4")} == {None, SECRET}
    examples[2].update(cache_plugin="jsonfile", cache_connection=str(tmp_path / "cache"))
    assert read(**examples[2]).group("live_standby") == ["node2", "node3"]


@pytest.mark.parametrize("name, ours", [("orders.repmgr.yml", True), ("a.repmgr.yaml", True), ("repmgr.yml", False), ("hosts.yml", False)])
def test_which_files_are_ours(tmp_path, name, ours):
    path = tmp_path / name
    path.write_text("plugin: pgfleet.repmgr.repmgr\n")
    assert plugin().verify_file(str(path)) is ours


@pytest.mark.parametrize("values, expected", [
    ({"host": "a,b", "port": "1,2"}, [{"host": "a", "port": "1"}, {"host": "b", "port": "2"}]),
    ({"host": "a,b", "port": "1", "user": "u"}, [{"host": "a", "port": "1", "user": "u"}, {"host": "b", "port": "1", "user": "u"}]),
    ({"host": "a,b", "hostaddr": "1.1.1.1,"}, [{"host": "a", "hostaddr": "1.1.1.1"}, {"host": "b"}]),
    ({"host": "a,b", "port": ",2"}, [{"host": "a"}, {"host": "b", "port": "2"}]),
    ({"service": "orders"}, [{"service": "orders"}]),
])
def test_one_host_each(values, expected):
    assert repmgr.one_host_each(values) == expected


def test_every_statement_stands_alone_and_has_a_tag():
    tags = [re.match(r"SELECT '(\w+)', ", statement).group(1) for statement in _psql.STATEMENTS]
    assert tags == ["server", "position", "receiver", "extension", "nodes", "repmgrd", "local_node_id"]
    assert not any(";" in statement or "\\" in statement for statement in _psql.STATEMENTS)
