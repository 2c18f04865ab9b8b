"""The figures of `make chaos` as the table that stands in docs/guard.md: chaos_table.py FILE

FILE has a line of JSON for each run of a row (tests/acceptance/test_13_failures.py writes it). Figures are the median, with the range
in brackets where there was more than one run; times are seconds.
"""
import json
import statistics
import sys


def spread(values, form="%.1f"):
    values = [value for value in values if value is not None]
    if not values:
        return ""
    if len(set(values)) == 1:
        return form % values[0]
    return (form + " (" + form + "-" + form + ")") % (statistics.median(values), min(values), max(values))


def rank(row):
    digits = "".join(letter for letter in row if letter.isdigit())
    return (int(digits) if digits else 99, row)


def table(outcomes):
    lines = ["| row | fault | runs | rows lost | of | two writers | write gap | old primary streams | whole again |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in sorted({outcome["row"] for outcome in outcomes}, key=rank):
        runs = [outcome for outcome in outcomes if outcome["row"] == row]
        cells = [row, runs[-1]["fault"], "%d" % len(runs), spread([run["lost"] for run in runs], "%d"),
                 spread([run["acknowledged"] for run in runs], "%d")]
        cells += [spread([run[name] for run in runs]) for name in ("both", "gap", "back", "whole")]
        lines.append("| %s |" % " | ".join(cells))
    return lines


if __name__ == "__main__":
    with open(sys.argv[1]) as log:
        print("\n".join(table([json.loads(line) for line in log])))
