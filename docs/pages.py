# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages that are rendered from the code: pages.py DIRECTORY

DIRECTORY is a copy of docs/. Into it go `generated/rules.md` (the table of `_plan.py`), `generated/problems.md` (every problem that
`_problems_*.py` can find), `variables.md` (roles/common/meta/argument_specs.yml, in the order and under the headings of its defaults) and
`playbooks/NAME.md` for every playbook: its header comment, what is written by hand in docs/playbooks/NAME.md, and its tasks. And, by imports.py,
`generated/imports.svg` and `generated/imports.md`: which Python file imports which.
Each function here returns the text of a page as MyST Markdown.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys

import ansible_collections
import imports
import yaml
from antsibull_docs_parser import dom
from antsibull_docs_parser.md import to_md
from antsibull_docs_parser.parser import Context, parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The ansible package brings a package of that name, which would hide ours.
ansible_collections.__path__ = [str(ROOT / ".ansible" / "collections" / "ansible_collections")] + list(ansible_collections.__path__)

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _plan, _steps  # noqa: E402  pylint: disable=wrong-import-position

FQCN = "pgfleet.repmgr"
# What a problem's stop= says where it depends on something.
CONDITIONS = {"not cluster.exists": "while there is no cluster yet", "provided": "with `repmgr_tls: provided`"}


def load(*path):
    return yaml.safe_load(ROOT.joinpath(*path).read_text())


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def table(header, rows):
    lines = ["| %s |" % " | ".join(header), "|%s" % ("---|" * len(header))]
    return lines + ["| %s |" % " | ".join(cell(value) for value in row) for row in rows]


# -- the decision table

def rules():
    """plugins/module_utils/_plan.py, under the headings of its comments."""
    source = ROOT.joinpath("plugins", "module_utils", "_plan.py").read_text()
    parts = dict(re.findall(r"^ +# (\d)xx: (.*)$", source, re.M))
    lines = []
    for part in sorted({rule.id // 100 for rule in _plan.RULES}):
        title = parts[str(part)]
        lines += ["", "### %dxx: %s" % (part, title), ""]
        lines += table(("rule", "role", "when", "why", "what follows"),
                       [rule_row(rule) for rule in _plan.RULES if rule.id // 100 == part])
    return "\n".join(lines + [""])


def rule_row(rule):
    role = "any" if len(rule.role) == 3 else ", ".join(rule.role)
    when = "<br>".join("%s: %s" % (name, " / ".join(values)) for name, values in sorted(rule.when.items()))
    if rule.refuse is not None:
        # {config_file} and the like are filled in by the module
        names = re.findall(r"\{(\w+)\}", str(rule.refuse))
        words = _steps.sentences(_steps.filled(rule.refuse[1], {name: "@%s@" % name for name in names}), installed=True)
        follows = "**refused**, expected %s. %s" % (
            re.sub(r"\{(\w+)\}", r"*\1*", rule.refuse[0]), re.sub(r"@(\w+)@", r"*\1*", words))
    else:
        follows = " → ".join("`%s`" % action for action in rule.actions) or "nothing to do"
    return "%d" % rule.id, role, when or "anything else", rule.why, follows


# -- the problems that status prints

def problem_files():
    """The sources that report problems: most are plugins/module_utils/_problems_*.py."""
    sources = [path.read_text() for path in sorted(ROOT.joinpath("plugins", "module_utils").glob("_*.py"))]
    return [source for source in sources if "cluster.problem(" in source]


def problems():
    """Every cluster.problem(...) of the collection: code, what is seen, whether it stops a run, what to type."""
    found = [row for source in problem_files() for row in problems_of(ast.parse(source))]
    return "\n".join(table(("code", "what is seen", "stops a run", "what to do"), list(dict.fromkeys(found))) + [""])


def problems_of(tree):
    """The rows of one file, in its order."""
    assigned = [(node.targets[0].id, node.value) for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    names = [name for name, value in assigned]
    constants = {name: value for name, value in assigned if names.count(name) == 1}
    found = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "problem"):
            continue
        values = dict(zip(("code", "node", "seen", "expected", "steps"), node.args))
        values.update((keyword.arg, keyword.value) for keyword in node.keywords)
        stop = values.get("stop", ast.Constant(True))
        if isinstance(stop, ast.Constant):
            stops = "yes" if stop.value else "no"
        else:
            stops = CONDITIONS.get(ast.unparse(stop), "if `%s`" % ast.unparse(stop))
        row = ("`%s`" % wording(values["code"], constants), wording(values["seen"], constants), stops,
               suggestion(values.get("steps"), constants))
        found.setdefault(row, node.lineno)
    return sorted(found, key=found.get)


def suggestion(node, constants):
    """The same of the steps of a problem, which are text, a call that makes a step, or a list of both."""
    if isinstance(node, ast.Name) and node.id in constants:
        return suggestion(constants[node.id], constants)
    if isinstance(node, ast.IfExp):
        return "%s / %s" % (suggestion(node.body, constants), suggestion(node.orelse, constants))
    return _steps.sentences(stepped(node, constants), installed=True)


def stepped(node, constants):
    """[step] with … for what is only known at run time."""
    if isinstance(node, ast.List):
        return [step for part in node.elts for step in stepped(part, constants)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return stepped(node.left, constants) + stepped(node.right, constants)
    if isinstance(node, ast.IfExp):
        return stepped(node.body, constants) + stepped(node.orelse, constants)
    if isinstance(node, ast.BoolOp):
        # What a host says of itself, or else this.
        return stepped(node.values[-1], constants)
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_steps":
        return _steps.listed(getattr(_steps, node.attr))
    if not isinstance(node, ast.Call):
        return _steps.listed(wording(node, constants))
    # A host's name stands for any: HOST, as where it has to be chosen.
    values = {part.arg: part.value.value if isinstance(part.value, ast.Constant) else wording(part.value, constants) for part in node.keywords}
    return [getattr(_steps, node.func.attr)(*[wording(part, constants) for part in node.args], **{
        name: None if value == "…" and name.startswith("repmgr_") else value for name, value in values.items()})]


def wording(node, constants):
    """The text of an expression, with … for what is only known at run time. constants: {name: expression}."""
    if node is None:
        return ""
    if isinstance(node, ast.Constant):
        return re.sub(r"%[sd]", "…", str(node.value))
    if isinstance(node, ast.BinOp):
        left = wording(node.left, constants)
        return left if isinstance(node.op, ast.Mod) else left + wording(node.right, constants)
    if isinstance(node, ast.IfExp):
        return "%s / %s" % (wording(node.body, constants), wording(node.orelse, constants))
    if isinstance(node, ast.Name) and node.id in constants:
        return wording(constants[node.id], constants)
    return "…"


# -- variables

def variables():
    """roles/common/meta/argument_specs.yml, in the order and under the headings of roles/common/defaults/main.yml."""
    options = load("roles", "common", "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    lines = [
        "# Variables",
        "",
        "Every variable of the collection, from `roles/common/meta/argument_specs.yml`; `ansible-doc -t role %s.common` prints the same."
        % FQCN,
        "Set them in the inventory, for a whole cluster (`group_vars`) or a host.",
    ]
    comment = []
    for line in ROOT.joinpath("roles", "common", "defaults", "main.yml").read_text().splitlines():
        name = re.match(r"repmgr_\w+(?=:)", line)
        if name:
            if comment:
                lines += ["", "## %s" % re.split(r"[.,;(]", " ".join(comment))[0].strip()]
            comment = []
            lines += variable(name.group(), options[name.group()])
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            # a comment that no variable follows is not a heading
            comment = []
    return "\n".join(lines + [""])


def variable(name, option):
    kind = option["type"] if option["type"] != "list" else "list of %s" % option["elements"]
    facts = ["any scalar" if kind == "raw" else kind, "default %s" % written(option["default"])]
    if "choices" in option:
        facts.append("one of %s" % ", ".join(written(choice) for choice in option["choices"]))
    description = option["description"]
    lines = ["", "(%s)=" % name, "### %s" % name, "", "*%s*" % facts[0] + "".join(", " + fact for fact in facts[1:]), ""]
    for paragraph in [description] if isinstance(description, str) else description:
        lines += [markup(paragraph), ""]
    return lines[:-1]


def written(value):
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()
    return "`%s`" % text


def markup(text):
    """Ansible's markup for code, options and values is all code here."""
    words = []
    for part in parse(text, Context())[0]:
        if isinstance(part, dom.CodePart):
            words.append("`%s`" % part.text)
        elif isinstance(part, dom.OptionValuePart):
            words.append("`%s`" % part.value)
        elif isinstance(part, dom.OptionNamePart):
            words.append("`%s%s`" % (part.name, "" if part.value is None else ": %s" % part.value))
        elif isinstance(part, dom.TextPart):
            words.append(part.text)
        else:
            words.append(to_md([[part]]))
    return "".join(words)


# -- playbooks

def playbook_names():
    return sorted(path.stem for path in ROOT.joinpath("playbooks").glob("*.yml"))


def playbook(name):
    """The header comment (commands as they stand, the rest as text), the page written by hand, and the tasks in their order."""
    path = ROOT / "playbooks" / ("%s.yml" % name)
    commands, text = header(path)
    lines = ["# %s" % name, "", " ".join(text), "", "```"]
    lines += [command.replace("playbooks/%s.yml" % name, "%s.%s" % (FQCN, name)) for command in commands]
    lines += ["```", "", "From a checkout it is `%s`." % (
        "site.yml" if name == "site" else "playbooks/%s.yml" % name), ""]
    by_hand = ROOT / "docs" / "playbooks" / ("%s.md" % name)
    if by_hand.exists():
        # its title is there for those who read it where it lies
        lines += by_hand.read_text().splitlines()[1:] + [""]
    lines += ["## Steps", "", "What it does on every node of the cluster, in this order:", ""]
    return "\n".join(lines + steps(load("playbooks", path.name)) + [""])


def header(path):
    """([command], [line of text]) of the comment at the top; a playbook that shows no command is run by its bare name."""
    commands, text = [], []
    for line in path.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        (commands if line.startswith("# ansible-playbook ") else text).append(line[2:])
    return commands or ["ansible-playbook %s.%s" % (FQCN, path.stem)], text


def steps(plays):
    lines = []
    for play in plays:
        for role in play.get("roles", []):
            name = role["role"].rpartition(".")[2]
            about = load("roles", name, "meta", "main.yml")["galaxy_info"]["description"]
            lines.append("1. Role [%s](../collection/%s_role.rst): %s" % (name, name, about))
        for task in play.get("tasks", []) + play.get("post_tasks", []):
            lines.append("1. %s" % task["name"])
    return lines


def main(where):
    pages = {"generated/rules.md": rules(), "generated/problems.md": problems(), "variables.md": variables(),
             "generated/imports.svg": imports.drawing(), "generated/imports.md": imports.tables(table)}
    pages.update(("playbooks/%s.md" % name, playbook(name)) for name in playbook_names())
    for name, text in pages.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print("%d pages from the code" % len(pages))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
