"""Kill playbooks after tasks that are chosen at random, or by the date.

After each kill the same command runs again and is killed after another chosen task, until it completes: each run starts from the state that the
previous one left.
"""
import datetime
import os
import random
import signal
import subprocess
import zlib

import lab


class Random:
    """Choose each task once with probability `share`. Tasks whose names end with one of `always` are always chosen."""

    def __init__(self, seed, share, always=()):
        self.random, self.share, self.always, self.seen = random.Random(seed), share, tuple(always), set()

    def __call__(self, title):
        new = title not in self.seen
        self.seen.add(title)
        return new and (self.random.random() < self.share or title.endswith(self.always))


class OfTheDay:
    """Choose one of `days` parts of all tasks, by their names, so that each is chosen once in as many days. KILL_ALL=1 chooses every task."""

    def __init__(self, days, day=None):
        self.days, self.seen = 1 if os.environ.get("KILL_ALL") == "1" else days, set()
        self.day = int(os.environ.get("KILL_DAY") or datetime.date.today().toordinal()) if day is None else day

    def __call__(self, title):
        new = title not in self.seen
        self.seen.add(title)
        return new and (zlib.crc32(title.encode()) + self.day) % self.days == 0


def killed_after_one_of(tasks, name, *options, inventory=None, seconds=900):
    """Run a playbook and kill it, with all its child processes, when the task after a chosen one begins. Return the name of the chosen task, or '' if the
    playbook completed.
    """
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
