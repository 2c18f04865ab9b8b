"""What ansible-playbook says at the end of a run."""
import re

RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d+ .*)$", re.M)
# Dashes fill the line, so that there may be none where name and figure are long.
TASK = re.compile(r"^(?P<task>\S.*?) -* *(?P<seconds>\d+\.\d\d)s$", re.M)


def recap(output):
    """Per host: {'ok': 40, 'changed': 0, ...}, from the last PLAY RECAP."""
    tail = output[output.rindex("PLAY RECAP"):]
    return {
        match["host"]: {name: int(value) for name, value in (pair.split("=") for pair in match["counts"].split())}
        for match in RECAP.finditer(tail)
    }


def slowest(output):
    """[[seconds, task], ...] as the callback profile_tasks has listed them below its last ruler."""
    tail = output[output.rindex("\n======"):]
    return [[float(match["seconds"]), match["task"]] for match in TASK.finditer(tail)]
