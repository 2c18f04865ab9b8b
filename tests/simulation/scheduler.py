"""Virtual time: a heap of events, and processes that are generators. A process yields the seconds (of its host's clock) that it waits."""
import heapq
import random
import traceback


class Process:
    """What runs on a host; also what subprocess.Popen returns there."""

    def __init__(self, world, host, argv, body):
        self.world, self.host, self.argv, self.body = world, host, argv, body
        self.pid = world.next_pid()
        self.done, self.dead, self.returncode = False, False, None
        self.token, self.deadline, self.pending, self.paused = 0, 0.0, False, False
        # What ends with it: its psqls. then: what systemd does about its end; parent: who waits for it.
        self.clients, self.then, self.parent = [], None, None
        host.processes.append(self)
        world.at(0, self._go, 0)

    def _go(self, token):
        """Run until it waits again. An event that is out of date has another token."""
        if self.done or token != self.token:
            return
        host = self.host
        if host.frozen or self.paused:
            self.pending = True
            return
        world = self.world
        before, world.current = world.current, self
        try:
            seconds = next(self.body)
        except StopIteration as end:
            self._end(end.value or 0)
        except SystemExit as end:
            self._end(end.code or 0)
        except Exception as exc:  # pylint: disable=broad-except
            world.note('%s: CRASH of %s: %r' % (host.name, ' '.join(self.argv), exc))
            world.crashes.append(traceback.format_exc())
            self._end(1)
        else:
            self.token += 1
            self.deadline = host.clock() + seconds
            world.at(seconds / host.rate if seconds > 0 else 0, self._go, self.token)
        finally:
            world.current = before

    def _end(self, code):
        self.done, self.returncode = True, code
        self.host.processes.remove(self)
        for client in self.clients:
            client.kill()
        if self.parent is not None:
            self.parent.wake()
        if self.then is not None:
            self.then()

    def wake(self):
        """Before its time."""
        if not self.done:
            self.world.at(0, self._go, self.token)

    def thaw(self):
        """After its host, or this process, stood still: a clock that stood still, too, has not come closer to the deadline."""
        if self.pending and not self.done:
            self.pending = False
            self.world.at(max(0, (self.deadline - self.host.clock()) / self.host.rate), self._go, self.token)

    def poll(self):
        return self.returncode

    def kill(self):
        # What a process that is being killed would do in its `finally` clauses does not count.
        if self.done or self.dead or (self.world.current is not None and self.world.current.dead):
            return
        self.dead = True
        before, self.world.current = self.world.current, self
        try:
            self.body.close()
        finally:
            self.world.current = before
        self._end(-9)

    def terminate(self):
        """SIGTERM, of which the program makes a SystemExit."""
        if self.done or self.dead:
            return
        before, self.world.current = self.world.current, self
        try:
            self.body.throw(SystemExit(0))
        except SystemExit:
            pass
        finally:
            self.world.current = before
        self._end(0)

    def wait(self):
        return self.returncode


class Scheduler:
    def __init__(self, seed, listen=None):
        self.now, self.current, self.random = 0.0, None, random.Random(seed)
        self.lines, self.crashes, self.listen = [], [], listen
        self._heap, self._number, self._pid = [], 0, 1000

    def next_pid(self):
        self._pid += 1
        return self._pid

    def at(self, delay, function, *arguments):
        self._number += 1
        heapq.heappush(self._heap, (self.now + delay, self._number, function, arguments))

    def run(self, until):
        heap, check = self._heap, self.check
        while heap and heap[0][0] <= until:
            self.now, dummy, function, arguments = heapq.heappop(heap)
            function(*arguments)
            check()
        self.now = until

    def check(self):
        """After every event."""

    def note(self, text):
        line = '%8.3f %s' % (self.now, text)
        self.lines.append(line)
        if self.listen:
            self.listen(line)

    def end(self):
        """No process goes on."""
        self._heap.clear()
        for host in self.hosts.values():  # pylint: disable=no-member
            for process in list(host.processes):
                process.then = process.parent = None
                process.kill()
