# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.pgfleet.repmgr.plugins.filter.repmgr import FilterModule

FILTERS = FilterModule().filters()


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


def test_verdict_and_contract_take_what_the_roles_keep():
    host = {"name": "a", "node_id": "1", "cluster": "lab", "groups": ["primary"], "initial_role": "primary", "observed": None}
    assert FILTERS["cluster_verdict"]([host])["status"] == "absent"
    assert FILTERS["contract_problems"]([host])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("libpq_conninfo", "host=a"),
        ("parse_conninfo", "host"),
        ("multihost_dsn", "a"),
        ("contract_problems", {}),
        ("cluster_verdict", "a"),
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
