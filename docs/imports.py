# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Python file of the collection imports which: read from the source, nothing is imported. pages.py puts it on the site, a unit test holds it to LAYERS.

A file is named as from its folder's parent (`module_utils/_plan`, `action/repmgr_node`), what is installed on hosts by its role (`guard/fuse`,
`guard/votes`).
"""

from __future__ import annotations

import ast
import collections
import html
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "ansible_collections.pgfleet.repmgr.plugins"
# Of the files of one program: {package: role}
PROGRAMS = {"pgfleet_guard": "guard"}
FOLDERS = ("modules", "action", "filter", "inventory", "plugin_utils", "module_utils")

Layer = collections.namedtuple("Layer", "name about files may")

# From the lowest to the highest. A file imports files of its own layer, without going in circles, and of those in `may`: a layer, or one file of it.
# A new file has to be entered here. `module_utils/` is left out of the names of its files.
LAYERS = (
    Layer("foundation", "Knows nothing of clusters.", ("_archive", "_command", "_conninfo", "_http", "_limits", "_lsn", "_steps"), ()),
    Layer("records", "The shape of all data.", ("_state",), ("foundation",)),
    Layer("programs", "The only files that know SQL and the flags of repmgr.", ("_psql", "_repmgr"), ("foundation", "records")),
    Layer("files of a run", "What a run leaves on a host for others to read.", ("_files", "_progress", "_run_lock"), ("foundation",)),
    Layer("facts", "Pure: what more than one decision goes by, and texts of configuration.",
          ("_backup", "_changeover", "_check_timing", "_hba", "_own_settings", "_proxies", "_settings", "_sources", "_ssh", "_topology", "_votes"),
          ("foundation", "records", "_files")),
    Layer("decisions", "Pure: data in, an answer out. Neither observes nor changes a host; of repmgr they know names and versions.",
          ("_adopt", "_adopt_text", "_backup_hosts", "_cluster", "_contract", "_contract_cluster", "_contract_host", "_contract_settings", "_contract_values",
           "_failover", "_last_copy", "_leave", "_password", "_plan", "_problems_access", "_problems_data", "_problems_deploy", "_problems_metadata",
           "_problems_replication", "_problems_repmgrd", "_problems_routing", "_problems_servers", "_readiness", "_rejoin", "_removal", "_restore", "_rolling",
           "_routes", "_routing", "_run", "_status", "_upgrade", "_verdict", "_verify"),
          ("foundation", "records", "facts", "_repmgr")),
    Layer("observation", "Looks at a host and changes nothing.",
          ("_by_hand", "_data_directory", "_endpoint", "_host_files", "_login", "_node_notes", "_observe", "_observe_sql", "_place", "_postmaster",
           "_processes", "_reach", "_repmgr_output", "_tls", "_view"),
          ("foundation", "records", "programs", "facts", "_files")),
    Layer("changes", "Do what was decided, and decide nothing.",
          ("_action_context", "_apply", "_clone", "_move_aside", "_private_server", "_register", "_restore_work", "_rewind", "_service", "_switchover",
           "_upstream", "_verify_work"),
          ("foundation", "records", "programs", "files of a run", "observation", "_backup", "_restore", "_verify")),
    Layer("controller", "Is not copied to hosts: no module can import it.",
          tuple("plugin_utils/" + name for name in ("_arguments", "_reason", "_refusal", "_report", "_this_run")),
          ("foundation", "records", "facts", "files of a run", "decisions")),
    Layer("plugins", "What Ansible runs on the controller. They change no host.",
          tuple("action/" + name for name in ("repmgr_adopt", "repmgr_arguments", "repmgr_cluster_info", "repmgr_files", "repmgr_node", "repmgr_status",
                                              "repmgr_switchover"))
          + ("filter/repmgr", "filter/roles", "inventory/repmgr"),
          ("foundation", "records", "programs", "facts", "files of a run", "decisions", "observation", "controller")),
    Layer("modules", "What Ansible runs on hosts.",
          tuple("modules/" + name for name in ("repmgr_adopt", "repmgr_arguments", "repmgr_cluster_info", "repmgr_files", "repmgr_node",
                                               "repmgr_proxy_info", "repmgr_restore", "repmgr_status", "repmgr_switchover",
                                               "repmgr_verify_backup")),
          ("foundation", "records", "programs", "facts", "files of a run", "decisions", "observation", "changes")),
    Layer("metrics", "A program on hosts that observes with the files of the modules.", ("metrics/metrics",),
          ("foundation", "programs", "decisions", "observation")),
    Layer("backups", "A program on hosts that makes backups, with the decisions of the modules.", ("backup/backup",), ("facts",)),
    Layer("health", "A program on hosts that answers load balancers. The code of the fuse is installed in the same file.", ("health/health",), ()),
    Layer("fuse", "A program on hosts that works whatever else is broken. It imports nothing of the collection.", ("guard/fuse",), ()),
    # The guard works whatever else is broken, too: its files import each other alone.
    Layer("guard: host", "This host and its data directory, and sessions with servers.",
          tuple("guard/" + name for name in ("clock", "configuration", "data_directory", "messages", "processes", "questions", "session", "settings",
                                             "signal_files", "state")), ()),
    Layer("guard: rules", "Pure, but for the time: answers of servers in, a decision out.",
          tuple("guard/" + name for name in ("answers", "promotion_rules", "start_rules", "votes")), ("guard: host",)),
    Layer("guard: hooks", "What is asked before a start and a promotion, and what the watch goes by as well.",
          tuple("guard/" + name for name in ("jobs", "locks", "memory", "promote", "retention", "rewind", "sight", "start", "status")),
          ("guard: host", "guard: rules")),
    Layer("guard: watch", "What is done about it, in parts for each state of the server.",
          tuple("guard/" + name for name in ("__main__", "main", "watch", "watch_base", "watch_down", "watch_fuse", "watch_metadata", "watch_primary",
                                             "watch_rejoin", "watch_standby")), ("guard: host", "guard: rules", "guard: hooks")),
)


def short(name):
    return name.replace("module_utils/", "")


def sources():
    """{name: path} of every Python file that imports or is imported."""
    found = {"%s/%s" % (folder, path.stem): path for folder in FOLDERS for path in sorted((ROOT / "plugins" / folder).glob("*.py"))}
    found.update(("%s/%s" % (path.relative_to(ROOT).parts[1], path.stem), path) for path in sorted((ROOT / "roles").glob("*/files/**/*.py"))
                 if path.stem != "__init__")
    return {short(name): path for name, path in found.items()}


def imported(text):
    """The names of the files of the collection that this source imports, in functions and conditions too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE + "."):
            place = node.module[len(PACKAGE) + 1:].split(".")
            # from ...module_utils import _plan, and from ...module_utils._plan import RULES
            found.update("/".join((place + [alias.name])[:2]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PROGRAMS:
            package, dummy, name = node.module.partition(".")
            found.add("%s/%s" % (PROGRAMS[package], name))
        elif isinstance(node, ast.Import):
            found.update("/".join(alias.name[len(PACKAGE) + 1:].split(".")[:2]) for alias in node.names if alias.name.startswith(PACKAGE + "."))
    return {short(name) for name in found}


def graph():
    """{name: {names that it imports}}"""
    return {name: imported(path.read_text()) for name, path in sources().items()}


def cycle(edges):
    """The names of one cycle, in its order, or None."""
    done = set()

    def walk(name, path):
        if name in path:
            return path[path.index(name):] + [name]
        if name in done:
            return None
        for below in sorted(edges.get(name, ())):
            found = walk(below, path + [name])
            if found:
                return found
        done.add(name)
        return None
    return next(filter(None, (walk(name, []) for name in sorted(edges))), None)


def problems(edges, layers=LAYERS):
    """[text]: files that have no layer, or two, or that are gone, and imports that their layers do not allow."""
    listed = [name for layer in layers for name in layer.files]
    home = {name: layer for layer in layers for name in layer.files}
    found = ["%s is in no layer of docs/imports.py" % name for name in sorted(set(edges) - set(listed))]
    found += ["%s is in two layers" % name for name in sorted(set(listed)) if listed.count(name) > 1]
    found += ["%s is in a layer, and there is no such file" % name for name in sorted(set(listed) - set(edges))]
    for name in sorted(set(edges) & set(home)):
        for other in sorted(edges[name] & set(home)):
            layer = home[name]
            if home[other].name not in (layer.name,) + layer.may and other not in layer.may:
                found.append("%s (%s) imports %s (%s)" % (name, layer.name, other, home[other].name))
    return found


def purpose(path):
    """The first sentence of the docstring; of what Ansible documents, its short description."""
    text = path.read_text()
    about = ast.get_docstring(ast.parse(text))
    if not about:
        documented = re.search(r"^DOCUMENTATION = r?'''\n(.*?)^'''|^DOCUMENTATION = r?\"\"\"\n(.*?)^\"\"\"", text, re.M | re.S)
        about = yaml.safe_load(documented.group(1) or documented.group(2))["short_description"] if documented else ""
    first = " ".join(about.split("\n\n")[0].split())
    return re.match(r".*?[.](?= [A-Z]|$)|.*", first).group()


# -- for the site

def reduced(edges):
    """Without what follows from other imports: a and b where a imports b and c, and c imports b."""
    def below(name):
        return set().union(*({other} | below(other) for other in edges.get(name, ())))
    return {name: {other for other in others if not any(other in below(third) for third in others - {other})} for name, others in edges.items()}


WIDTH, HEIGHT, GAP, ACROSS = 150, 26, 58, 7


def drawing():
    """The graph as SVG, the highest layer at the top. Lines that follow from others are left out."""
    edges = graph()
    lines, rows = reduced(edges), []
    for layer in reversed(LAYERS):
        # What is imported most by the row above is drawn in the middle of its importers: fewer lines cross.
        above = {name: number for dummy, row in rows for number, name in enumerate(row)}
        places = {name: [above[other] for other in lines if name in lines[other] and other in above] for name in layer.files}
        files = sorted(layer.files, key=lambda name: (sum(places[name]) / len(places[name]) if places[name] else 0, name))
        rows += [(layer.name if start == 0 else "", files[start:start + ACROSS]) for start in range(0, len(files), ACROSS)]
    left, step = 130, WIDTH + 14
    at = {name: (left + step * number + (ACROSS - len(row)) * step // 2, 10 + number_of_row * (HEIGHT + GAP))
          for number_of_row, (dummy, row) in enumerate(rows) for number, name in enumerate(row)}
    size = left + ACROSS * step, 20 + len(rows) * (HEIGHT + GAP)
    text = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">' % size,
            "<title>Import graph of the collection</title>", '<rect width="100%" height="100%" fill="#fff"/>',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>']
    for name in sorted(lines):
        for other in sorted(lines[name]):
            (x1, y1), (x2, y2) = at[name], at[other]
            x1, x2 = x1 + WIDTH // 2, x2 + WIDTH // 2
            bend = GAP if y1 == y2 else 0
            y1, y2, pull = y1 + HEIGHT, y2 + (HEIGHT if bend else 0), 0.6 * bend or (y2 - y1) * 0.45
            text.append('<path d="M%d %dC%d %d %d %d %d %d" fill="none" stroke="#777" stroke-opacity=".65" marker-end="url(#head)"/>' % (
                x1, y1, x1, y1 + pull, x2, y2 + (pull if bend else -pull), x2, y2))
    for number, (title, row) in enumerate(rows):
        if title:
            text.append('<text x="4" y="%d" fill="#555" font-style="italic">%s</text>' % (10 + number * (HEIGHT + GAP) + 18, html.escape(title)))
        for name in row:
            x, y = at[name]
            text.append('<rect x="%d" y="%d" width="%d" height="%d" rx="4" fill="#e8eef7" stroke="#33557f"/>' % (x, y, WIDTH, HEIGHT))
            text.append('<text x="%d" y="%d" text-anchor="middle" font-size="%d">%s</text>' % (
                x + WIDTH // 2, y + 18, 13 if len(name) < 17 else 10, html.escape(name)))
    return "\n".join(text + ["</svg>", ""])


def tables(table):
    """A table of every layer. table: what makes lines of a header and rows."""
    edges, paths, lines = graph(), sources(), []
    for layer in reversed(LAYERS):
        may = ", ".join("`%s`" % name if name.startswith("_") else "*%s*" % name for name in layer.may)
        lines += ["", "### Layer: %s" % layer.name, "", "%s May import: %s." % (layer.about, may or "nothing of the collection"), ""]
        lines += table(("file", "what it is for", "imported by"), [
            ("`%s`" % paths[name].relative_to(ROOT), purpose(paths[name]),
             ", ".join("`%s`" % other for other in sorted(edges) if name in edges[other])) for name in sorted(layer.files)])
    return "\n".join(lines + [""])
