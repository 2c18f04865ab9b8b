"""Playbooks that are killed after tasks which are drawn at random, or by the date.

The same command runs again after each kill and is killed after a task that has not been drawn before, until it comes to its end: each start
is a rerun on what the one before it has left.
"""
import datetime
import os
import random
import signal
import subprocess
import zlib

import lab


class Random:
    """Each task once with a chance of `share`; `always` ends the names of tasks that are drawn in any case."""

    def __init__(self, seed, share, always=()):
        self.random, self.share, self.always, self.seen = random.Random(seed), share, tuple(always), set()

    def __call__(self, title):
        new = title not in self.seen
        self.seen.add(title)
        return new and (self.random.random() < self.share or title.endswith(self.always))


class OfTheDay:
    """One of `days` parts of all tasks, by their names: on as many days in a row, each of them once. KILL_ALL=1 draws every task."""

    def __init__(self, days, day=None):
        self.days, self.seen = 1 if os.environ.get("KILL_ALL") == "1" else days, set()
        self.day = int(os.environ.get("KILL_DAY") or datetime.date.today().toordinal()) if day is None else day

    def __call__(self, title):
        new = title not in self.seen
        self.seen.add(title)
        return new and (zlib.crc32(title.encode()) + self.day) % self.days == 0


def killed_after_one_of(tasks, name, *options, inventory=None, seconds=900):
    """The playbook, killed with all that it has started when the task after one of those begins; the name of that task, '' if it came to its end."""
    process = subprocess.Popen(
        ["timeout", str(seconds), "ansible-playbook", name, "-i", str(inventory or lab.INVENTORY)] + list(options), cwd=str(lab.ROOT),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, start_new_session=True,
        env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_DISPLAY_SKIPPED_HOSTS="false", PATH="%s:%s" % (lab.ROOT / ".venv/bin", os.environ["PATH"])))
    said, drawn = [], ""
    for line in process.stdout:
        said.append(line)
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            if drawn:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=30)
                return drawn
            title = line[line.index("[") + 1:line.rindex("]")]
            drawn = title if tasks(title) else ""
    assert process.wait(timeout=30) == 0, "".join(said)[-6000:]
    return ""
