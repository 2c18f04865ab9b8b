"""The table of docs/platforms.md from what `make matrix` has recorded: matrix_table.py DOCUMENT RECORD...

A RECORD is .cache/matrix/SCENARIO.jsonl, a line of JSON for each step of that scenario's last run. Its row in DOCUMENT, between the two
marks, is written anew; rows of scenarios without a record stay as they are.
"""
import json
import pathlib
import sys

BEGIN, END = "<!-- matrix: written by tests/tools/matrix_table.py -->", "<!-- matrix: end -->"
HEAD = ["| scenario | system | PostgreSQL | repmgr | target's Python | ansible-core | deploys | again | a host boots | switches over | fails over | again |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|"]
ORDER = ["el7", "el9", "bullseye", "bookworm", "bookworm_pgdg", "trixie", "sid", "choices"]


def outcome(step, form):
    """A cell: what form() makes of a step that succeeded, and the truth about every other."""
    if step is None:
        return "**not reached**"
    return form(step) if step["ok"] else "**failed**"


def row(scenario, lines):
    steps = {line["step"]: line for line in lines}
    seen = steps.get("verify") or {}
    cells = [scenario] + [seen.get(name, "?") for name in ("system", "postgresql", "repmgr", "python", "core")]
    # A step of the side effects that failed has no record of its own: theirs is the step around them.
    broken = "effects" in steps and not steps["effects"]["ok"]
    for name in ("boot", "switchover", "failover"):
        if name not in steps and broken:
            steps[name] = {"ok": False}
            break
    cells += [
        outcome(steps.get("deploy"), lambda step: "%d s" % step["seconds"]),
        outcome(steps.get("again"), lambda step: "0 changed"),
        outcome(steps.get("boot"), lambda step: "yes"),
        outcome(steps.get("switchover"), lambda step: "yes"),
        outcome(steps.get("failover"), lambda step: "after %.0f s (%s)" % (float(step["promoted"]), seen.get("profile", "?"))),
        outcome(steps.get("again at the end"), lambda step: "0 changed"),
    ]
    return "| %s |" % " | ".join(cells)


def rows_of(text):
    """{scenario: row} of the table that is there."""
    part = text.split(BEGIN)[1].split(END)[0]
    return {line.split("|")[1].strip(): line for line in part.splitlines() if line.startswith("| ") and line not in HEAD}


def rewritten(text, records):
    rows = rows_of(text)
    # A scenario without a deployment, like el9_broken, has no row.
    rows.update((scenario, row(scenario, lines)) for scenario, lines in records.items() if any(line["step"] == "deploy" for line in lines))
    ordered = [rows[name] for name in sorted(rows, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))]
    before, rest = text.split(BEGIN)
    return "%s%s\n\n%s\n\n%s%s" % (before, BEGIN, "\n".join(HEAD + ordered), END, rest.split(END)[1])


def main(document, *names):
    document = pathlib.Path(document)
    records = {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in map(pathlib.Path, names)
    }
    document.write_text(rewritten(document.read_text(encoding="utf-8"), records), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
