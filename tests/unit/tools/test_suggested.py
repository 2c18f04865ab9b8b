# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is suggested to an operator exists: the playbook, its extra variables, and no path that only a checkout has."""
import ast
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("suggested", ROOT / "tests" / "tools" / "suggested.py")
suggested = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(suggested)

# A path of a checkout. The name of an installed playbook, pgfleet.repmgr.site, is none.
ONLY_IN_A_CHECKOUT = re.compile(r"ansible-playbook\s+(?:--?\S+\s+)*(?:playbooks/|site\.yml)")
DOCUMENTATION = ("DOCUMENTATION", "EXAMPLES", "RETURN")


def test_suggestions_are_found():
    found = suggested.suggested()
    assert {"site", "rejoin", "failover", "maintenance", "status", "switchover", "rolling_restart"} <= {name for dummy, dummy2, name, dummy3 in found}
    assert len(found) > 30


@pytest.mark.parametrize("text, found", [
    ("\"Type: {{ 'rejoin' | pgfleet.repmgr.playbook_command(repmgr_target=inventory_hostname) }}\"", [("rejoin", {"repmgr_target": None}, 1)]),
    ("{{ 'maintenance' | pgfleet.repmgr.playbook_command(repmgr_maintenance='unpause') }}", [("maintenance", {"repmgr_maintenance": "unpause"}, 1)]),
    ("{{ 'rejoin' | pgfleet.repmgr.playbook_command(repmgr_target=(hosts | first), repmgr_rejoin='attach') }}",
     [("rejoin", {"repmgr_target": None, "repmgr_rejoin": "attach"}, 1)]),
    ("\n{{ 'site' | pgfleet.repmgr.playbook_command }}", [("site", {}, 2)]),
    ("next_command('rejoin', config['name'])", [("rejoin", {"repmgr_target": None}, 1)]),
    ("next_command('failover')", [("failover", {}, 1)]),
    ("ansible-playbook pgfleet.repmgr.rejoin -e repmgr_target=%s", [("rejoin", {"repmgr_target": None}, 1)]),
    ("ansible-playbook pgfleet.repmgr.rejoin --check -e repmgr_target=%s -e repmgr_rejoin=attach.",
     [("rejoin", {"repmgr_target": None, "repmgr_rejoin": None}, 1)]),
])
def test_suggestions_in_text(text, found):
    assert suggested.in_text(text) == found


@pytest.mark.parametrize("place, name, arguments", sorted({
    ("%s" % place, "%s" % name, ",".join(sorted(arguments))) for place, dummy, name, arguments in suggested.suggested()}))
def test_a_suggested_playbook_exists_and_knows_its_variables(place, name, arguments):
    path = ROOT / "playbooks" / ("%s.yml" % name)
    assert path.is_file(), "%s suggests %s" % (place, name)
    text = path.read_text()
    unknown = [argument for argument in arguments.split(",") if argument and not re.search(r"\b%s\b" % argument, text)]
    assert unknown == [], "%s suggests them for %s" % (place, name)


def strings(path):
    """[(line, text)] of the strings of a file that users may see: without comments, docstrings and the documentation of plugins."""
    if path.suffix != ".py":
        return [(1, suggested.without_comments(path.read_text()))]
    tree = ast.parse(path.read_text())
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body and isinstance(node.body[0], ast.Expr):
            left_out.add(id(node.body[0].value))
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in DOCUMENTATION:
            left_out.add(id(node.value))
    return [(node.lineno, node.value) for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out]


@pytest.mark.parametrize("path", [
    path for path in suggested.files("plugins", "roles", "playbooks")
    if path.name != "_steps.py" and not (path.suffix == ".yml" and path.parent.parent.name == "plugins")
], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_that_only_a_checkout_has(path):
    found = ["line %d: %s" % (line, match.group()) for line, text in strings(path) for match in ONLY_IN_A_CHECKOUT.finditer(text)]
    assert found == []
