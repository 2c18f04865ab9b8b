# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every playbook that this collection suggests to an operator, with the extra variables that it suggests for it.

Without arguments: print the words of one ansible-playbook call with all of them, for --syntax-check. Read are

* calls of playbook() of plugins/module_utils/_steps.py in plugins,
* uses of the filter playbook_command in roles and playbooks,
* commands that are written out there, as in the alerts, and those of the guard's journal.
"""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What _steps.playbook() has besides the arguments of the playbook.
NO_ARGUMENTS = ("reason", "only_if", "check")
# Where a playbook's name is whatever the caller gave.
NO_SUGGESTIONS = ("plugins/module_utils/_steps.py", "plugins/filter/repmgr.py")
FILTER = re.compile(r"""['"]?(\w+)['"]?\s*\|\s*pgfleet\.repmgr\.playbook_command(?:\(([^()]*(?:\([^()]*\)[^()]*)*)\))?""")
WRITTEN = re.compile(r"ansible-playbook\s+pgfleet\.repmgr\.(\w+)((?:\s+(?:--check|-e\s+['\"]?\w+=\S+))*)")
# The guard stands alone on its host and has a function of its own: next_command(playbook, target).
GUARD = re.compile(r"""next_command\(['"](\w+)['"](\s*,)?""")


def in_python(path):
    """[(playbook, {argument: literal value or None}, line)] of a file's calls of _steps.playbook()."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "playbook" and (
                isinstance(node.func.value, ast.Name) and node.func.value.id == "_steps"):
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            arguments = {word.arg: word.value.value if isinstance(word.value, ast.Constant) else None
                         for word in node.keywords if word.arg and word.arg not in NO_ARGUMENTS}
            found.append((name, arguments, node.lineno))
    return found


def in_text(text):
    """The same of a file that is read as text: playbooks, tasks, templates, the programs on the hosts."""
    found = []
    for match in FILTER.finditer(text):
        arguments = re.findall(r"(?:^|,)\s*(\w+)\s*=\s*(?:'([^']*)')?", match.group(2) or "")
        found.append((match.group(1), {name: value or None for name, value in arguments}, text.count("\n", 0, match.start()) + 1))
    for match in GUARD.finditer(text):
        found.append((match.group(1), {"repmgr_target": None} if match.group(2) else {}, text.count("\n", 0, match.start()) + 1))
    for match in WRITTEN.finditer(text):
        found.append((match.group(1), {name: None for name in re.findall(r"-e\s+['\"]?(\w+)=", match.group(2))},
                      text.count("\n", 0, match.start()) + 1))
    return found


def without_comments(text):
    return re.sub(r"^\s*#.*$", "", text, flags=re.M)


def files(*folders):
    for folder in folders:
        for path in sorted(ROOT.joinpath(folder).rglob("*")):
            if path.is_file() and path.suffix in (".py", ".yml", ".j2") and "__pycache__" not in path.parts:
                yield path


def suggested():
    """[(file, line, playbook, arguments)]"""
    found = []
    for path in files("plugins", "roles", "playbooks"):
        place = str(path.relative_to(ROOT))
        if place in NO_SUGGESTIONS:
            continue
        here = in_python(path) if place.startswith("plugins/") and path.suffix == ".py" else in_text(without_comments(path.read_text()))
        found += [(place, line, name, arguments) for name, arguments, line in here]
    return found


def words():
    playbooks, values = set(), {}
    for dummy, dummy2, name, arguments in suggested():
        playbooks.add(name)
        for argument, value in arguments.items():
            # {node_name} and the like are filled in when a plan is made.
            if argument not in values or value is not None and "{" not in str(value):
                values[argument] = value
    found = ["pgfleet.repmgr.%s" % name for name in sorted(playbooks)]
    for argument, value in sorted(values.items()):
        found += ["-e", "%s=%s" % (argument, "db1" if value is None or "{" in str(value) else str(value).lower() if isinstance(value, bool) else value)]
    return found


if __name__ == "__main__":
    print("\n".join(words()))
