# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One fact, one definition: patterns find code that would define a fact a second time, and copies that are unavoidable are compared."""

from __future__ import annotations

import ast
import itertools
import json
import pathlib
import re
import shlex
import types

import pytest
import yaml
from ansible.parsing.splitter import parse_kv

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _check_timing, _conninfo, _contract_host, _contract_values, _data_directory
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _limits, _lsn, _psql, _repmgr, _rewind, _steps, _votes
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.guard_program import guard

ROOT = pathlib.Path(__file__).resolve().parents[3]
UTILS = "plugins/module_utils/"
GUARD = "roles/guard/files/guard/pgfleet_guard/"
FUSE = "roles/guard/files/fuse.py"
SOURCES = {str(path.relative_to(ROOT)): path.read_text() for folder in ("plugins", "roles", "playbooks")
           for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".yml", ".j2") and path.is_file()}

GUARD_COPY = "the guard imports nothing of the collection; a test compares it"
# (fact, what code looks like that decides it, {file that may: why, where it is not the one place}). The first file is the one place.
FACTS = (
    ("a majority", r"// *2 *\+ *1|\b2 *\* *len\(|len\([^)]*\) *// *2\b", {UTILS + "_votes.py": "", GUARD + "votes.py": GUARD_COPY}),
    ("which witness votes", r"% *2 *== *0|\bis +(even|odd)\b", {UTILS + "_votes.py": ""}),
    ("who is the best candidate", r"-lacks\b|\[member\] > position", {UTILS + "_votes.py": "", GUARD + "promotion_rules.py": GUARD_COPY}),
    ("whose records of the nodes count", r"timeline or 0[^)\n]*\b(not )?(writable|_running)\b|writable and not witness|\bwitness'?, \w[\w.]*\.timeline or 0",
     {UTILS + "_votes.py": ""}),
    ("a position in the WAL", r"2 *\*\* *32|<< *32|split\('/'\)", {UTILS + "_lsn.py": ""}),
    ("a position as text", r"%X/%X", {UTILS + "_lsn.py": "", GUARD + "retention.py": GUARD_COPY}),
    ("how far a node is behind", r"\bwritten - \w+", {UTILS + "_lsn.py": ""}),
    ("whether a process is the server", r"/%[ds]/cwd", {
        UTILS + "_postmaster.py": "", GUARD + "processes.py": "the same; tests/unit/plugins/module_utils/test_liveness.py compares them",
        FUSE: "looks for all processes of the server, not for the one that postmaster.pid names"}),
    ("whether a server stays a standby", r"'(standby|recovery)\.signal' *[+,)]|standby_mode\[", {
        UTILS + "_data_directory.py": "", GUARD + "data_directory.py": GUARD_COPY, FUSE: "so does the fuse; a test compares it",
        GUARD + "signal_files.py": "makes one again where a promotion was killed",
        UTILS + "_private_server.py": "makes one, and looks at none"}),
    ("the newest timeline that a data directory knows", r"\[\.\]history", {
        UTILS + "_data_directory.py": "", GUARD + "data_directory.py": GUARD_COPY, GUARD + "questions.py": "asks a server, whose directory may be elsewhere",
        GUARD + "signal_files.py": "removes the files of one timeline"}),
    ("what pg_controldata prints", r"partition\(':'\) for line|name, colon, value = line\.partition", {
        UTILS + "_data_directory.py": "", GUARD + "data_directory.py": GUARD_COPY}),
    ("a text as SQL", r"""= '%s'[^\n]*replace\("'", "''"\)|return "'%s'" % text\.replace\("'", "''"\)|\w+_name\.replace\("'", "''"\)""",
     {UTILS + "_psql.py": "", GUARD + "questions.py": GUARD_COPY,
      UTILS + "_settings.py": "quotes for a file of PostgreSQL's settings, which is another thing than SQL"}),
    ("a value in a connection string", r"""replace\('\\\\', '\\\\\\\\'\)\.replace\("'", """, {UTILS + "_conninfo.py": "", GUARD + "questions.py": GUARD_COPY}),
    ("the name of a node's slot", r"repmgr_slot_('|%s|\{\{)", {
        UTILS + "_repmgr.py": "", "playbooks/remove_node.yml": "of a node that is in no inventory; a test compares the name"}),
    ("how repmgrd is paused", r"'daemon'|\b(service|daemon),? (un)?pause\]", {UTILS + "_repmgr.py": ""}),
    ("what a connection string says", r"conninfo\b[^\n]*\.split\(\)|startswith\('ssl|host=\(|\['host(addr)?'\] or |get\('hostaddr'\) or \w+\.get",
     {UTILS + "_conninfo.py": ""}),
    ("when a certificate is renewed", r"(?i)renewal_days *[=:] *[0-9]", {
        UTILS + "_limits.py": "", "roles/tls/vars/main.yml": "YAML cannot import; a test compares it"}),
    ("how far behind is too far", r"16 *\* *1024|16777216", {
        UTILS + "_limits.py": "", "plugins/modules/repmgr_switchover.py": "its documentation; a test compares it"}),
    ("after how long a primary that is cut off has stopped", r"isolation *\+ *[0-9]|STOP_MARGIN *= *[0-9]", {
        GUARD + "settings.py": "", "playbooks/preflight.yml": "YAML cannot import; a test compares it",
        UTILS + "_check_timing.py": "the guard is a program of its own; a test compares it"}),
    ("how long an isolation is", r"isolation: *[0-9]", {"roles/common/vars/main.yml": ""}),
    ("a number as inventories have it", r"def _?integer\(", {UTILS + "_state.py": ""}),
    ("what an operator can type next", r"ansible-playbook(', '| )pgfleet\.repmgr\.%s", {
        UTILS + "_steps.py": "", GUARD + "messages.py": GUARD_COPY}),
)


def code(text):
    """Without comments, which may speak of anything."""
    return re.sub(r"(?m)^\s*#.*$|\{#.*?#\}", "", text)


@pytest.mark.parametrize("fact, looks, homes", FACTS, ids=[fact for fact, dummy, dummy2 in FACTS])
def test_no_second_definition(fact, looks, homes):
    found, homes = {name for name, text in SOURCES.items() if re.search(looks, code(text))}, set(homes)
    # Equal, not only no more: a pattern that finds nothing any more protects nothing.
    assert found == homes, "%s is decided in %s; expected only %s" % (fact, sorted(found - homes) or "no file of its own", sorted(homes))


@pytest.mark.parametrize("line", [
    "needed = len(votes) // 2 + 1", "if 2 * len(visible) <= len(voters):", "if len(missing) > len(votes) // 2:",
    "os.path.exists(os.path.join(config['data_directory'], name)) for name in ('standby.signal', 'recovery.signal', 'recovery.conf'))",
    "{% set voting_witness = witnesses[:1] if (records | length) is even else [] %}",
    "return int(high, 16) * 2 ** 32 + int(low, 16)", "high, low = ('%s' % lsn).split('/')",
    """argv: ["{{ __repmgr_bin_dir }}/repmgr", -f, "{{ __repmgr_conf }}", service, pause]""",
    "for word in (conninfo or '').split() if word.startswith('ssl')", "RENEWAL_DAYS = 30", "_MAX_LAG = 16 * 1024 * 1024",
    "return (_writable(host) and host.initial_role != 'witness', host.observed.server.timeline or 0, _running(host))",
    "return writable and row is not None and row.type != 'witness', answer.observed.server.timeline or 0, not writable",
    "lag_bytes=max(0, written - replayed) if written is not None and replayed is not None else None",
    """name = slot_name.replace("'", "''")""", """"WHERE application_name = '%s' LIMIT 1;\\n" % node_name.replace("'", "''")""",
])
def test_the_second_definitions_that_there_were_would_be_found(line):
    assert any(re.search(looks, code(line)) for dummy, looks, dummy2 in FACTS)


# -- where one has to be repeated

def variables(name):
    return yaml.safe_load(SOURCES[name])


OPTIONS = variables("roles/common/meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_the_clock_and_the_boot_of_the_fuse():
    """What one of them writes the other compares."""
    guards, fuses = (ast.parse(SOURCES[name]) for name in (GUARD + "clock.py", FUSE))
    for name in ("clock", "boot"):
        one, two = ([ast.dump(ast.Module(body=node.body[1:], type_ignores=[])) for node in tree.body if getattr(node, "name", "") == name]
                    for tree in (guards, fuses))
        assert one == two and len(one) == 1


def test_what_a_server_starts_as():
    found = []
    for name in (UTILS + "_data_directory.py", GUARD + "data_directory.py", FUSE):
        found += [ast.dump(ast.Module(body=node.body[1:], type_ignores=[])) for node in ast.parse(SOURCES[name]).body
                  if getattr(node, "name", "") == "is_standby"]
    assert len(found) == 3 and len(set(found)) == 1
    assert guard.SIGNALS == _data_directory.SIGNALS


def test_majority_of_the_guard():
    assert [guard.majority(votes) for votes in range(20)] == [_votes.majority(votes) for votes in range(20)]


def test_the_best_candidate_of_the_guard():
    places = (0, 5, 9)
    for mine, theirs in itertools.product(itertools.product(places, repeat=2), itertools.product((None,) + places, repeat=2)):
        words = dict(zip("ab", mine)), dict(zip("abc", theirs))
        assert guard.lacking(*words) == _votes.lacking(*words)
    for words in itertools.product((None, 1, 2), (None, 0, 7), (0, 1, 3), (1, 100), (1, 2)):
        assert guard.rank(*words) == _votes.rank(*words)


def test_the_order_of_copies_of_the_records():
    """A primary's, of two the newer one's; a standby's; a witness's, however new its own timeline is."""
    copies = [(False, True, 3), (False, True, 2), (False, False, 2), (False, False, None), (True, True, 9), (True, False, None)]
    assert sorted(copies, key=lambda words: _votes.trust(*words), reverse=True) == copies


@pytest.mark.parametrize("written, has, expected", [(9, 4, 5), (4, 9, 0), (None, 4, None), (4, None, None), (0, 0, 0)])
def test_how_far_behind(written, has, expected):
    assert _lsn.behind(written, has) == expected


def test_positions_of_the_guard():
    for number in (0, 1, 2 ** 24, 2 ** 32 - 1, 2 ** 32, 0x16B374D848, 2 ** 64 - 1):
        assert guard.lsn_text(number) == _lsn.lsn(number) and _lsn.position(guard.lsn_text(number)) == number


@pytest.mark.parametrize("text", ["node1", "O'Brien", "''", "a\\b", "x' OR '1'='1", ""])
def test_texts_of_the_guard(text):
    assert guard.literal(text) == _psql.literal(text)
    found = _conninfo.parse(guard.upstream_conninfo({"name": text, "passfile": "/var/lib/%s/.pgpass" % text}, "host=b application_name=other"))
    assert found == {"host": "b", "application_name": text, "passfile": "/var/lib/%s/.pgpass" % text}


def extra_vars(command):
    """(what is run, {variable: value}) as a shell and then ansible-playbook understand a command."""
    words = shlex.split(command)
    given = [word for word, before in zip(words[1:], words) if before == "-e"]
    values = {}
    for word in given:
        values.update(json.loads(word) if word.startswith("{") else parse_kv(word))
    return [word for word in words if word not in given], values


@pytest.mark.parametrize("name", ["node1", "pg.example.com", "my node", "it's", 'a"b', "a=b", "$(x)"])
def test_commands_of_the_guard(name):
    for playbook, words, meant in (("rejoin", {"target": name}, {"repmgr_target": name}), ("failover", {"dead": name}, {"repmgr_primary_is_dead": name})):
        found = extra_vars(guard.next_command(playbook, **words))
        assert found == extra_vars(_steps.render(_steps.playbook(playbook, **meant), installed=True)) and found[1] == meant


def test_control_data_of_the_guard(tmp_path):
    text = "pg_control version number:            1300\nDatabase cluster state:               shut down\nMin: a:b\n"
    program = tmp_path / "pg_controldata"
    program.write_text("#!/bin/sh\ncat <<'end'\n%send\n" % text)
    program.chmod(0o755)
    found = guard.control_data({"bin_dir": str(tmp_path), "data_directory": "/nowhere"})
    assert found == _data_directory.parse_controldata(text) and found["Database cluster state"] == "shut down" and len(found) == 3


@pytest.mark.parametrize("control", [
    {}, {"Latest checkpoint's TimeLineID": "2"}, {"Latest checkpoint's TimeLineID": "2", "Min recovery ending loc's timeline": "0"},
    {"Latest checkpoint's TimeLineID": "2", "Min recovery ending loc's timeline": "4"}, {"Latest checkpoint's TimeLineID": "??"},
])
@pytest.mark.parametrize("names", [(), ("00000003.history",), ("00000003.history", "0000000A.history", "0000000F.history.partial", "1.history")])
def test_own_timeline_of_the_guard(tmp_path, monkeypatch, control, names):
    (tmp_path / "pg_wal").mkdir()
    for name in names:
        (tmp_path / "pg_wal" / name).write_text("")
    monkeypatch.setattr(_rewind, "control_data", lambda context: control)
    context = types.SimpleNamespace(place=types.SimpleNamespace(data_directory=str(tmp_path)))
    assert guard.own_timeline(control, str(tmp_path)) == _rewind.own_timeline(context)


# All that pg_control can say (dbState in pg_controldata.c).
STATES = ("starting up", "shut down", "shut down in recovery", "shutting down", "in crash recovery", "in archive recovery", "in production",
          "unrecognized", None)


@pytest.mark.parametrize("version", ["9.6", "12", "13", "15", "16", "17"])
def test_what_is_recovered_before_it_is_rewound(tmp_path, version):
    """pg_rewind refuses what was not shut down; and before 16 it takes the timeline of a standby from the last restartpoint."""
    (tmp_path / "PG_VERSION").write_text(version + "\n")
    config, major = {"config_directory": "/etc", "data_directory": str(tmp_path), "bin_dir": "/bin"}, int(version.split(".")[0])
    timelines = (None, "??", "0", "1", "2", "10")
    for state, checkpoint, reached in itertools.product(STATES, timelines, timelines):
        control = {"Database cluster state": state, "Latest checkpoint's TimeLineID": checkpoint, "Min recovery ending loc's timeline": reached}
        control = {label: value for label, value in control.items() if value is not None}
        by_guard = guard.recovery_of(config, control) is not None
        assert by_guard != _rewind.can_be_rewound(control, major), control
        behind = checkpoint in ("0", "1", "2") and reached in ("1", "2", "10") and int(reached) > int(checkpoint)
        assert by_guard == (state not in ("shut down", "shut down in recovery") or state == "shut down in recovery" and behind and major < 16), control


def test_the_slot_of_a_node_that_leaves():
    found = re.findall(r"repmgr_slot_(?:' ~ |\{\{)", SOURCES["playbooks/remove_node.yml"])
    assert len(found) == 3 and _repmgr.slot_name(7) == "repmgr_slot_7"


def test_the_files_between_guard_and_fuse():
    fuse = types.ModuleType("fuse")
    exec(compile(SOURCES[FUSE], FUSE, "exec"), fuse.__dict__)  # pylint: disable=exec-used
    assert fuse.SIGHT_FILE == guard.SIGHT_FILE == variables("roles/common/vars/main.yml")["__repmgr_guard_sight"]
    assert fuse.STOPPED_FILE == guard.STOPPED_FILE and "'%s'" % guard.STOPPED_FILE.lstrip("/") in SOURCES[UTILS + "_node_notes.py"]


def test_the_file_of_a_restore_beside_the_guards_state():
    """It is removed with that."""
    assert variables("roles/common/vars/main.yml")["__repmgr_guard_restoring"] == "{{ __repmgr_guard_state }}" + guard.RESTORING
    for path in ("playbooks/remove_node.yml", "roles/repmgrd/tasks/leave.yml"):
        assert "__repmgr_guard_state, __repmgr_guard_restoring" in SOURCES[path]


def test_renewal_of_certificates():
    assert variables("roles/tls/vars/main.yml")["__repmgr_tls_renewal_days"] == _limits.RENEWAL_DAYS


def test_what_a_promotion_waits_beyond_the_isolation():
    """preflight says the number, and so does the comment above the profiles."""
    assert [int(number) for number in re.findall(r"__repmgr_timing\.isolation \+ (\d+)", SOURCES["playbooks/preflight.yml"])] == [guard.STOP_MARGIN]
    assert "the guard promotes nobody before isolation + %d." % guard.STOP_MARGIN in SOURCES["roles/common/vars/main.yml"]


def test_margin_of_the_checks():
    assert _check_timing.STOP_MARGIN == guard.STOP_MARGIN


def test_lag_in_the_documentation():
    assert "default: %d\n" % _limits.MAX_LAG in SOURCES["plugins/modules/repmgr_switchover.py"]
    assert "> %d" % _limits.MAX_LAG in SOURCES["plugins/inventory/repmgr.py"]


@pytest.mark.parametrize("option, allowed", [
    ("repmgr_failover_profile", _contract_values.PROFILES), ("repmgr_package_source", _contract_host.PACKAGE_SOURCES),
    ("repmgr_insecure", _contract_host.INSECURE),
    ("repmgr_tls", [value or "off" for value in _contract_host.TLS]), ("repmgr_auto_rejoin", _contract_host.AUTO_REJOIN),
    ("repmgr_clone_from", _contract_host.CLONE_FROM), ("repmgr_clone_compress", ("",) + _contract_host.CLONE_COMPRESS),
    ("repmgr_failover", _contract_values.FAILOVER),
    ("repmgr_backup", _backup.TOOLS),
])
def test_choices_of_a_variable(option, allowed):
    assert set(OPTIONS[option]["choices"]) == set(allowed)


def test_choices_that_are_not_compared():
    compared = test_choices_of_a_variable.pytestmark[0].args[1]
    # Ansible alone checks this one.
    assert {name for name, option in OPTIONS.items() if "choices" in option} - {option for option, dummy in compared} == {"repmgr_ssh_key_type"}


def test_profiles():
    assert set(variables("roles/common/vars/main.yml")["__repmgr_profiles"]) == set(_contract_values.PROFILES)


# -- the files that the roles write, and those that are looked at

def tasks(found):
    for task in found if isinstance(found, list) else []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part))


def test_each_file_of_a_role_is_looked_at():
    """One that is not would be sent again by each run, and never be removed: repmgr_files takes it to be absent."""
    common = variables("roles/common/vars/main.yml")
    looked_at = {"{{ __repmgr_files%s }}" % (".%s" if name.isalnum() else "['%s']") % name for name in common["__repmgr_files"]}
    looked_at |= {value for names in ("__repmgr_files", "__repmgr_watched") for value in common[names].values()}
    paths = [entry["path"] for name, text in SOURCES.items() if re.match(r"roles/\w+/tasks/", name) for task in tasks(yaml.safe_load(text))
             for entry in (task.get("pgfleet.repmgr.repmgr_files") or {}).get("files", [])]
    assert len(paths) > 15 and not set(paths) - looked_at
