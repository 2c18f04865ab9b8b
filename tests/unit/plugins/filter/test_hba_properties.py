# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pg_hba.conf with arbitrary contents. These tests are in the folder of the filters, because hypothesis is not available on Python 2.7."""

from __future__ import annotations

import ipaddress
import re

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _hba  # noqa: E402  pylint: disable=wrong-import-position

quickly = hypothesis.settings(max_examples=300, deadline=None, print_blob=True)
STEP = st.sampled_from(_hba.STEPS)
EXTRA = [{"contype": "host", "databases": "app", "users": "app", "address": "10.1.0.0/16", "method": "md5"}]
HBA = st.builds(
    lambda tls, trust, extra: {"os_user": "postgres", "user": "repmgr", "database": "repmgr", "tls": tls, "trust": trust, "extra": extra},
    st.booleans(), st.booleans(), st.sampled_from([[], EXTRA]))
ADDRESSES = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.1.0.3", "fd00::1"]), max_size=2)
REACH = st.lists(st.builds(lambda addresses: {"name": "a", "addresses": addresses}, ADDRESSES), max_size=3)

# One rule in one of the ways to write it.
RULE = st.builds(
    lambda kind, database, user, address, method, blank, end: blank.join(
        [kind, database, user] + ([] if kind == "local" else [address.replace("|", blank)]) + [method]) + end,
    st.sampled_from(["local", "host", "hostssl", "hostnossl"]), st.sampled_from(["all", "app", "repmgr", "replication", '"replication"', "app,repmgr"]),
    st.sampled_from(["all", "app", "bad", "postgres", "repmgr", '"all"', "bad,repmgr", "+group"]),
    st.sampled_from(["all", "10.0.0.1/32", "10.0.0.2|255.255.255.255", "10.0.0.0/8", "10.1.0.0/16", "fd00::1/128", "::/0"]),
    st.sampled_from(["scram-sha-256", "md5", "peer", "trust", "reject"]), st.sampled_from(["\t", " ", "   "]),
    st.sampled_from(["", "", "  # why", "\tmap=x", "\r"]))
# As the collection has written it, in this version and before.
OWN = st.sampled_from(["local all postgres peer", "local\tall\tpostgres\tpeer", "local all all peer", "hostssl repmgr repmgr 10.0.0.1/32 scram-sha-256",
                       "hostssl\treplication\trepmgr\t10.0.0.1/32\tscram-sha-256", "host\tapp\tapp\t10.1.0.0/16\tmd5", "host repmgr repmgr 10.0.0.9/32 trust"])
OTHER = st.sampled_from(["", "#", "# host all all all trust", "include more", "include_if_exists x", "include_dir d", 'host "', "# on \\", "hostssl \\", " \\",
                         "host all @file all md5", "host a, b all md5", _hba.BEGIN, _hba.END, "# BEGIN ANSIBLE MANAGED BLOCK"])
ANYTHING = st.text("\t\r \\\"#,=/ahost\x0b\x85\u2028\u00e4", max_size=20)
LINES = st.lists(RULE | OWN | OTHER | ANYTHING, max_size=12)
FILE = st.builds(lambda lines, end: "\n".join(lines) + end, LINES, st.sampled_from(["", "\n", "\n\n"]))
# What nobody could take for the collection's: no block, and no rule for its role.
OPERATORS = st.builds(
    lambda lines, end: "\n".join(line for line in lines if "repmgr" not in line and "\t" not in line) + end,
    st.lists(RULE | OTHER | ANYTHING, max_size=12), st.sampled_from(["", "\n", "\n\n"]))


def below(text):
    head, end, rest = text.partition(_hba.END + "\n")
    assert head.startswith(_hba.BEGIN + "\n") and end
    return rest


def is_subsequence(some, of):
    rest = iter(of)
    return all(line in rest for line in some)


@quickly
@hypothesis.given(OPERATORS, HBA, REACH, STEP)
def test_what_is_outside_of_the_block_is_unchanged(present, hba, reach, step):
    assert below(_hba.text(present, hba, reach, step)) == present


@quickly
@hypothesis.given(FILE, HBA, REACH, STEP)
def test_again_it_changes_nothing(present, hba, reach, step):
    once = _hba.text(present, hba, reach, step)
    assert _hba.text(once, hba, reach, step) == once
    done = _hba.text(_hba.text(present, hba, reach, "add"), hba, reach, "remove")
    assert done == _hba.text(present, hba, reach, "remove")
    assert _hba.due(done, hba, reach) == []


@quickly
@hypothesis.given(FILE, HBA, REACH, STEP)
def test_nothing_is_written_below_the_block_nor_sorted(present, hba, reach, step):
    assert is_subsequence(below(_hba.text(present, hba, reach, step)).split("\n")[:-1], present.split("\n"))


@quickly
@hypothesis.given(FILE, HBA, REACH, HBA, REACH)
def test_whoever_had_a_line_has_it_until_the_end(present, before, reach_before, after, reach_after):
    """For any change of the inventory, and wherever the run is interrupted before its last step, access is kept until the end."""
    first = _hba.text(present, before, reach_before, "add")
    second = _hba.text(_hba.text(first, after, reach_after, "socket"), after, reach_after, "add")

    def rules(text):
        return set(_hba._fields(line) for line in _hba._lines(text)) - {()}

    assert rules(present) <= rules(first) <= rules(second)


# -- which line decides

def plain_rules(text):
    """(fields, the line) of rules as PostgreSQL has them, quotes apart."""
    for line in text.split("\n"):
        words = re.findall(r'(?:"[^"]*"|[^\s"#])+', re.split("#", line)[0])
        if len(words) > 3 and words[0] != "local" and "." in words[4]:
            words[3:5] = ["%s/%s" % (words[3], words[4])]
        if len(words) > 3:
            yield words, line


def names(field, name, everybody=True):
    return any(word == name or (word == "all" and everybody) or word.strip('"') == name and word[:1] == '"' for word in field.split(","))


def decides(text, kind, database, user, address):
    for words, line in plain_rules(text):
        if kind == "local":
            if words[0] != "local":
                continue
        elif words[0] not in ("host", kind) or words[3] != "all" and (
                ipaddress.ip_address(address) not in ipaddress.ip_network(words[3], strict=False)):
            continue
        if names(words[1], database, database != "replication") and names(words[2], user):
            return line
    return None


CONNECTION = st.tuples(st.sampled_from(["local", "hostssl", "hostnossl"]), st.sampled_from(["app", "other", "repmgr", "replication"]),
                       st.sampled_from(["app", "bad", "somebody", "all"]), st.sampled_from(["10.0.0.1", "10.1.0.3", "192.168.0.1", "fd00::1"]))


@quickly
@hypothesis.given(st.lists(RULE, max_size=12), HBA, REACH, STEP, CONNECTION)
def test_for_everybody_else_the_same_line_decides(lines, hba, reach, step, connection):
    """For everyone except the repmgr role and the postgres OS user on the local socket, the first rule that matches is the same as before."""
    present = "\n".join(lines)
    after = _hba.text(present, dict(hba, extra=[]), reach, step)
    assert decides(after, *connection) == decides(present, *connection)
    if hba["extra"]:
        after = _hba.text(present, hba, reach, "remove")
        assert decides(after, *connection) == (decides("host app app 10.1.0.0/16 md5", *connection) or decides(present, *connection))
