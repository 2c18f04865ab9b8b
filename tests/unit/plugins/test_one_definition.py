# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One fact, one definition: patterns find code that would define a fact a second time, and copies that are unavoidable are compared."""

from __future__ import annotations

import ast
import itertools
import pathlib
import re
import types

import pytest
import yaml

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _contract, _limits, _votes

ROOT = pathlib.Path(__file__).resolve().parents[3]
UTILS = "plugins/module_utils/"
GUARD = "roles/guard/files/guard.py"
FUSE = "roles/guard/files/fuse.py"
SOURCES = {str(path.relative_to(ROOT)): path.read_text() for folder in ("plugins", "roles", "playbooks")
           for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".yml", ".j2") and path.is_file()}

guard = types.ModuleType("guard")
exec(compile(SOURCES[GUARD], GUARD, "exec"), guard.__dict__)  # pylint: disable=exec-used

# (fact, what code looks like that decides it, the files that may). The guard is one file without imports and has copies; tests compare them.
FACTS = (
    ("a majority", r"// *2 *\+ *1|\b2 *\* *len\(|len\([^)]*\) *// *2\b", {UTILS + "_votes.py", GUARD}),
    ("which witness votes", r"% *2 *== *0|\bis +(even|odd)\b", {UTILS + "_votes.py"}),
    ("who is the best candidate", r"-lacks\b|\[member\] > position", {UTILS + "_votes.py", GUARD}),
    ("a position in the WAL", r"2 *\*\* *32|<< *32|split\('/'\)", {UTILS + "_lsn.py"}),
    ("whether a process is the server", r"/%[ds]/cwd", {UTILS + "_observe.py", GUARD, FUSE}),
    ("how repmgrd is paused", r"'daemon'|\b(service|daemon),? (un)?pause\]", {UTILS + "_repmgr.py"}),
    ("what a connection string says", r"conninfo\b[^\n]*\.split\(\)|startswith\('ssl|host=\(|\['host(addr)?'\] or |get\('hostaddr'\) or \w+\.get",
     {UTILS + "_conninfo.py"}),
    ("when a certificate is renewed", r"(?i)renewal_days *[=:] *[0-9]", {UTILS + "_limits.py", "roles/tls/vars/main.yml"}),
    # The module's is its documentation.
    ("how far behind is too far", r"16 *\* *1024|16777216", {UTILS + "_limits.py", "plugins/modules/repmgr_switchover.py"}),
    ("a number as inventories have it", r"def _?integer\(", {UTILS + "_state.py"}),
)


def code(text):
    """Without comments, which may speak of anything."""
    return re.sub(r"(?m)^\s*#.*$|\{#.*?#\}", "", text)


@pytest.mark.parametrize("fact, looks, homes", FACTS, ids=[fact for fact, dummy, dummy2 in FACTS])
def test_no_second_definition(fact, looks, homes):
    found = {name for name, text in SOURCES.items() if re.search(looks, code(text))}
    # Equal, not only no more: a pattern that finds nothing any more protects nothing.
    assert found == homes, "%s is decided in %s; expected only %s" % (fact, sorted(found - homes) or "no file of its own", sorted(homes))


@pytest.mark.parametrize("line", [
    "needed = len(votes) // 2 + 1", "if 2 * len(visible) <= len(voters):", "if len(missing) > len(votes) // 2:",
    "{% set voting_witness = witnesses[:1] if (records | length) is even else [] %}",
    "return int(high, 16) * 2 ** 32 + int(low, 16)", "high, low = ('%s' % lsn).split('/')",
    """argv: ["{{ __repmgr_bin_dir }}/repmgr", -f, "{{ __repmgr_conf }}", service, pause]""",
    "for word in (conninfo or '').split() if word.startswith('ssl')", "RENEWAL_DAYS = 30", "_MAX_LAG = 16 * 1024 * 1024",
])
def test_the_second_definitions_that_there_were_would_be_found(line):
    assert any(re.search(looks, code(line)) for dummy, looks, dummy2 in FACTS)


# -- where one has to be repeated

def variables(name):
    return yaml.safe_load(SOURCES[name])


def test_the_clock_and_the_boot_of_the_fuse():
    """What one of them writes the other compares."""
    guards, fuses = (ast.parse(SOURCES[name]) for name in (GUARD, FUSE))
    for name in ("clock", "boot"):
        one, two = ([ast.dump(ast.Module(body=node.body[1:], type_ignores=[])) for node in tree.body if getattr(node, "name", "") == name]
                    for tree in (guards, fuses))
        assert one == two and len(one) == 1


def test_majority_of_the_guard():
    assert [guard.majority(votes) for votes in range(20)] == [_votes.majority(votes) for votes in range(20)]


def test_the_best_candidate_of_the_guard():
    places = (0, 5, 9)
    for mine, theirs in itertools.product(itertools.product(places, repeat=2), itertools.product((None,) + places, repeat=2)):
        words = dict(zip("ab", mine)), dict(zip("abc", theirs))
        assert guard.lacking(*words) == _votes.lacking(*words)
    for words in itertools.product((None, 1, 2), (None, 0, 7), (0, 1, 3), (1, 100), (1, 2)):
        assert guard.rank(*words) == _votes.rank(*words)


def test_renewal_of_certificates():
    assert variables("roles/tls/vars/main.yml")["__repmgr_tls_renewal_days"] == _limits.RENEWAL_DAYS


def test_what_a_promotion_waits_beyond_the_isolation():
    """preflight says the number, and so does the comment above the profiles."""
    assert [int(number) for number in re.findall(r"__repmgr_timing\.isolation \+ (\d+)", SOURCES["playbooks/preflight.yml"])] == [guard.STOP_MARGIN]
    assert "the guard promotes nobody before isolation + %d." % guard.STOP_MARGIN in SOURCES["roles/common/vars/main.yml"]


def test_lag_in_the_documentation():
    assert "default: %d\n" % _limits.MAX_LAG in SOURCES["plugins/modules/repmgr_switchover.py"]
    assert "> %d" % _limits.MAX_LAG in SOURCES["plugins/inventory/repmgr.py"]


@pytest.mark.parametrize("option, allowed", [
    ("repmgr_failover_profile", _contract.PROFILES), ("repmgr_package_source", _contract.PACKAGE_SOURCES), ("repmgr_insecure", _contract.INSECURE),
    ("repmgr_tls", [value or "off" for value in _contract.TLS]), ("repmgr_auto_rejoin", _contract.AUTO_REJOIN),
    ("repmgr_clone_from", _contract.CLONE_FROM), ("repmgr_clone_compress", ("",) + _contract.CLONE_COMPRESS),
])
def test_choices_of_a_variable(option, allowed):
    spec = variables("roles/common/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert set(spec[option]["choices"]) == set(allowed)


def test_profiles():
    assert set(variables("roles/common/vars/main.yml")["__repmgr_profiles"]) == set(_contract.PROFILES)
