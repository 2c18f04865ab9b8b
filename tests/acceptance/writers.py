"""Clients that write while the cluster is changed, and what became of their rows."""
import pathlib
import signal
import subprocess
import sys
import time

import lab


class Writers(object):
    """Clients that write all the time, and what became of the rows that were acknowledged to them."""

    def __init__(self, folder, count=2):
        self.folder, self.count, self.processes = folder, count, []

    def __enter__(self):
        lab.sql(self.primary(), "truncate ledger", "app")
        for client in range(self.count):
            assert not self.log(client).exists(), "another writer has written here"
            self.processes.append(subprocess.Popen(
                [sys.executable, str(pathlib.Path(__file__).with_name("writer.py")), lab.APP_DSN, str(client), str(self.log(client))]))
        lab.wait_until("every client writes", 20, lambda: all(len(self.read(client)) > 20 for client in range(self.count)))
        return self

    def __exit__(self, *dummy):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            assert process.wait(timeout=30) == 0

    @staticmethod
    def primary():
        found = lab.primaries()
        assert len(found) == 1, found
        return found[0]

    def log(self, client):
        return self.folder / ("acknowledged-%d.log" % client)

    def read(self, client):
        if not self.log(client).exists():
            return []
        rows = [line.split() for line in self.log(client).read_text().splitlines()]
        return [(int(row[0]), float(row[1])) for row in rows if len(row) == 2]

    def progress(self, seconds=20):
        """Wait until every client has had further rows acknowledged: the cluster takes writes again."""
        before = [len(self.read(client)) for client in range(self.count)]
        lab.wait_until("every client goes on writing", seconds,
                       lambda: all(len(self.read(client)) > before[client] + 10 for client in range(self.count)), pause=0.1)
        time.sleep(0.5)

    def acknowledged(self):
        return {(client, number) for client in range(self.count) for number, dummy in self.read(client)}

    def lost(self, host):
        """Acknowledged rows that this host does not have."""
        there = {(int(client), int(number)) for client, number in lab.sql(host, "select client, number from ledger", "app")}
        return self.acknowledged() - there

    def gap(self):
        """The longest time, in seconds, in which no client had a row acknowledged."""
        times = sorted(moment for client in range(self.count) for dummy, moment in self.read(client))
        return max(later - earlier for earlier, later in zip(times, times[1:]))
