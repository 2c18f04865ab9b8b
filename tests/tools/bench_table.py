"""The tables of docs/performance.md and the README from what `make bench` and `make bench-scale` have measured:

    bench_table.py DOCUMENT... RECORD...

A RECORD is .cache/bench.jsonl, or one of bench-clone, bench-hosts and bench-scale. What a DOCUMENT has between the two marks of a table is
written anew, where there is a record for it. A goal that is missed is named so, and the most expensive tasks of that run come with it.
"""
import collections
import json
import pathlib
import sys
import textwrap

MARK, END = "<!-- %s: written by tests/tools/bench_table.py -->", "<!-- %s: end -->"


def cell(text):
    return str(text).replace("|", "\\|")


def table(header, rows):
    lines = ["| %s |" % " | ".join(header), "|%s" % ("---|" * len(header))]
    return lines + ["| %s |" % " | ".join(cell(value) for value in row) for row in rows]


def outcome(line):
    return {None: "", True: "reached", False: "**missed**"}[line["reached"]]


def machine(lines, more=""):
    """On what, with what, when: a few lines of prose."""
    line = [line for line in lines if "machine" in line][-1]
    of = line["machine"]
    said = ["Measured on {date} at commit `{commit}`: {processors} cores ({processor}), {gib:.0f} GiB; ansible-core {ansible_core}, Python {python}"]
    if "hosts" in of:
        said.append("; on the hosts {hosts}, {postgresql}, {repmgr}, {hosts_python}")
    said.append(". Load of the machine when it began: {load:.1f}.")
    return textwrap.wrap("".join(said).format(gib=of["memory_mib"] / 1024.0, load=line["load"], **of) + more, 150, break_on_hyphens=False)


def figures(lines):
    return table(("", "measured", "goal", ""), [(line["figure"], line["text"], line["goal"], outcome(line)) for line in lines if "figure" in line])


def counts(lines):
    rows = []
    for line in lines:
        if "run" in line:
            started = sorted(line["processes"].values())
            rows.append((line["run"], "%.1f" % line["seconds"], line["tasks"] or "", "-".join("%d" % number for number in (started[:1] + started[-1:])),
                         line["round_trips"]))
    return table(("run", "seconds", "tasks a host", "processes started on a host", "SSH round trips"), rows)


def profiles(lines):
    """Why a goal is missed: the most expensive tasks of each run that missed one."""
    missed = [line["shown_by"] for line in lines if line.get("reached") is False]
    text = []
    for line in lines:
        if line.get("run") in missed:
            text += ["", "The most expensive tasks of %s, which misses its goal:" % line["run"], ""]
            text += table(("seconds", "task"), [("%.2f" % seconds, task) for seconds, task in line["slowest"]])
    return text


def scale(lines):
    runs = [line for line in lines if "clusters" in line]
    text = table(("playbook", "clusters", "hosts", "seconds", "a host", "seconds of processor", "a host", "MiB", "a host"), [
        (line["playbook"], line["clusters"], line["hosts"], "%.1f" % line["seconds"], "%.3f" % line["seconds_a_host"], "%.1f" % line["processor"],
         "%.3f" % line["processor_a_host"], "%.0f" % line["mebibytes"], "%.2f" % line["mebibytes_a_host"]) for line in runs])
    for playbook in sorted({line["shown_by"] for line in lines if line.get("reached") is False}):
        text += growth(playbook, sorted((line for line in runs if line["playbook"] == playbook), key=lambda line: line["clusters"]))
    return text


def growth(playbook, runs):
    """Why a goal is missed: what the tasks cost a host with the fewest clusters and with the most, those first that have grown most."""
    few, many = collections.Counter(), collections.Counter()
    for cost, line in ((few, runs[0]), (many, runs[-1])):
        for seconds, task in line["tasks"]:
            cost[task] += seconds / line["hosts"]
    rows = sorted(((task, few[task], many[task]) for task in many), key=lambda row: row[1] - row[2])[:5]
    return ["", "Seconds a host of the tasks of %s that have grown most, which misses its goal:" % playbook, ""] + table(
        ("task", "%d clusters" % runs[0]["clusters"], "%d clusters" % runs[-1]["clusters"]), [(task, "%.3f" % old, "%.3f" % new) for task, old, new in rows])


def rewritten(text, records):
    """records: {'bench': lines, 'bench-scale': lines}, or one of them."""
    written = {}
    if "bench" in records:
        lines = records["bench"]
        written["bench"] = machine(lines) + [""] + figures(lines)
        written["bench-runs"] = counts(lines) + profiles(lines)
    for name in ("bench-clone", "bench-hosts"):
        if name in records:
            written[name] = machine(records[name]) + [""] + figures(records[name])
    if "bench-scale" in records:
        lines = records["bench-scale"]
        nodes = [line["nodes"] for line in lines if "nodes" in line][-1]
        written["bench-scale"] = machine(lines, " Recorded and replayed: clusters of %d nodes." % nodes) + [""] + figures(lines) + [""] + scale(lines)
    for name, part in written.items():
        mark, end = MARK % name, END % name
        if mark in text:
            before, rest = text.split(mark)
            text = "%s%s\n\n%s\n\n%s%s" % (before, mark, "\n".join(part), end, rest.split(end)[1])
    return text


def main(*names):
    paths = [pathlib.Path(name) for name in names]
    records = {path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths if path.suffix == ".jsonl"}
    for path in paths:
        if path.suffix != ".jsonl":
            path.write_text(rewritten(path.read_text(encoding="utf-8"), records), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
