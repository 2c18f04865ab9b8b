"""The table of platforms: what was not reached or failed must not look like success."""
import importlib.util
import pathlib

TOOL = pathlib.Path(__file__).resolve().parents[3] / "tests" / "tools" / "matrix_table.py"
SPEC = importlib.util.spec_from_file_location("matrix_table", TOOL)
matrix_table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(matrix_table)

PASSED = [
    {"step": "deploy", "ok": True, "seconds": 61}, {"step": "again", "ok": True, "seconds": 20},
    {"step": "boot", "ok": True}, {"step": "switchover", "ok": True}, {"step": "failover", "ok": True, "promoted": "13.6"},
    {"step": "effects", "ok": True, "seconds": 90}, {"step": "again at the end", "ok": True, "seconds": 20},
    {"step": "verify", "ok": True, "system": "Rocky 9.4", "python": "3.11", "postgresql": "15.1", "repmgr": "5.3.3", "core": "2.21.5", "profile": "safe"},
    {"step": "verified", "ok": True, "seconds": 9},
]


def cells(lines):
    return [cell.strip() for cell in matrix_table.row("el9", lines).strip("|").split("|")]


def test_a_run_that_passed():
    assert cells(PASSED) == [
        "el9", "Rocky 9.4", "15.1", "5.3.3", "3.11", "2.21.5", "61 s", "0 changed", "yes", "yes", "after 14 s (safe)", "0 changed"]


def test_what_failed_and_what_was_not_reached():
    lines = PASSED[:3] + [{"step": "effects", "ok": False}]
    assert cells(lines)[6:] == ["61 s", "0 changed", "yes", "**failed**", "**not reached**", "**not reached**"]


def test_a_deployment_that_failed():
    assert cells([{"step": "deploy", "ok": False}])[6:] == ["**failed**"] + ["**not reached**"] * 5


def test_rows_without_a_record_stay():
    text = "before\n%s\n\n%s\n| trixie | kept |\n| el9 | old |\n\n%s\nafter\n" % (matrix_table.BEGIN, "\n".join(matrix_table.HEAD), matrix_table.END)
    new = matrix_table.rewritten(text, {"el9": PASSED})
    assert "| trixie | kept |" in new and "old" not in new and new.index("| el9 |") < new.index("| trixie |")
    assert new.startswith("before\n") and new.endswith("after\n")
    assert matrix_table.rewritten(new, {}) == new
    assert matrix_table.rewritten(new, {"el9_broken": [{"step": "errors", "ok": True, "seconds": 27}]}) == new
