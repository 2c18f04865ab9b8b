"""psql as the guard starts it: a connection, what is sent over it, and what a server does with that."""
import re

_NAME = re.compile(rb"SET application_name = '([^']*)'")
_WORD = re.compile(rb"to_json\('pgfleet ([^']*)'::text\)")
_VOTE = re.compile(rb"SELECT '([^']*)'::name AS name")
_SLEEP = re.compile(rb'^SELECT pg_catalog.pg_sleep\((-?\d+)\);')
_ADOPT = re.compile(rb'SET upstream_node_id = (\d+) WHERE node_id = (\d+)')
_NOTIFY = re.compile(rb'notify_follow_primary\((\d+)\)')
_RELEASE = re.compile(rb"WHERE application_name = '([^']*)'")


class Session:
    """The server's side."""

    def __init__(self, name, role, origin, client):
        self.name, self.role, self.origin, self.client = name, role, origin, client
        self.active, self.alive, self.sleeps_until = None, True, None
        # The text of the last statement, where it is that of a running primary.
        self.word = None

    def lost(self):
        if self.client is not None:
            self.client.lost(self)


class Stream:
    """stdin or stdout of that psql; as a handle it is the psql itself."""

    def __init__(self, client):
        self.client = client

    def fileno(self):
        return self.client

    def write(self, script):
        self.client.send(script)

    def flush(self):
        pass

    def close(self):
        pass


class Client:
    """The psql. ready: it has something to read; waiter: the process that select()s for that."""

    def __init__(self, world, host, target, name, role, timeout, sender=False, keepalives=False):
        self.world, self.host, self.target, self.name, self.role = world, host, target, name, role
        self.sender = sender         # a WAL sender, which has slots of its own
        self.keepalives = keepalives   # those of the server's end
        self.session, self.closed, self.broken, self.error = None, False, False, ''
        self.ready, self.waiter, self.replies, self.queue, self.busy = False, None, [], [], False
        self.stdin = self.stdout = Stream(self)
        if timeout:
            world.at(timeout / host.rate, self._give_up)

    # as a process
    def kill(self):
        """The kernel closes the connection; the server notices where it is told, and where it is not asleep."""
        if self.closed:
            return
        self.closed, session = True, self.session
        if session is not None:
            session.client = None
            self.world.at(0.003, self._finish, session)

    def poll(self):
        return 0 if self.closed or self.broken and self.ready else None

    def wait(self):
        return 0

    def _finish(self, session, again=0.4):
        server = self.target.server
        if not session.alive:
            return
        if session.sleeps_until is not None and session.sleeps_until > self.world.now:
            self.world.at(session.sleeps_until - self.world.now, self._finish, session)
        elif not self.world.network.asks(self.host, self.target) or server.stopped or self.target.frozen:
            # A host that is gone, or a way that is cut for long, is given up by TCP; at the server's end only where that asks for it.
            if again < 60:
                self.world.at(again, self._finish, session, again * 2)
            elif self.keepalives:
                server.end_session(session)
        else:
            server.end_session(session)

    def _give_up(self):
        if self.session is None and not self.closed:
            self._fail('timeout expired')

    def lost(self, session):
        """The server's end is gone. psql notices when it has something to say."""
        if session is self.session and not self.closed:
            self.broken = True
            if self.busy:
                self._fail('server closed the connection unexpectedly')

    def _fail(self, error):
        self.error, self.broken, self.ready = error, True, True
        self._tell()

    def _tell(self):
        if self.waiter is not None:
            self.waiter.wake()

    # what it says
    def send(self, script):
        if self.closed or (self.broken and self.ready):
            raise BrokenPipeError('Broken pipe')
        self.queue.append(script)
        if not self.busy:
            self._next()

    def _next(self):
        if self.queue:
            self.busy = True
            script = self.queue.pop(0)
            extra = 0.02 if self.session is None else 0
            self.world.at(self.world.network.delay(self.host, self.target) + extra, self._arrive, script, 0.2)

    def _again(self, function, argument, pause):
        """TCP sends again, after twice the time."""
        self.world.at(pause, function, argument, min(3.2, pause * 2))

    def _arrive(self, script, pause):
        world, server, network = self.world, self.target.server, self.world.network
        if self.closed or self.broken and self.ready:
            return
        if not network.asks(self.host, self.target) or (self.session is None and not network.passes(self.target, self.host)):
            self._again(self._arrive, script, pause)
            return
        if self.session is not None and not self.session.alive:
            # RST
            self._fail('connection lost')
            return
        if self.target.frozen or server.stopped:
            world.at(0.25, self._arrive, script, 0.2)
            return
        if self.session is None:
            local = self.host is self.target
            if server.state != 'up' or (server.full and not local and not self.sender):
                self._fail('connection refused' if server.state == 'down' else 'the database system is starting up' if server.state == 'starting'
                           else 'sorry, too many clients already')
                return
            self.session = Session(self.name, 'postgres' if local else self.role, self.host, self)
            server.sessions.append(self.session)
        self._execute(server, self.session, script)

    def _execute(self, server, session, script):
        tags, seconds = {}, 0.001
        session.active = self.target.wall()
        if script.startswith(b'SET application_name'):
            session.name = _NAME.match(script).group(1).decode()
            tags = server.answer(session)
            word = _WORD.search(script)
            session.word = word and word.group(1).decode()
            if word:
                tags['holder'] = server.lock.name if server.lock is not None and server.lock.alive else None
            # It waits for its lock_timeout.
            seconds = 1.0 if server.locked else 0.001
        elif b'pg_try_advisory_lock' in script:
            others = [other for other in server.sessions if other is not session and other.name == session.name]
            for other in others:
                server.end_session(other)
                other.lost()
            self.world.at(0.2 if others else 0.001, self._lock, server, session)
            return
        elif script.startswith(b'SELECT pg_catalog.pg_sleep'):
            seconds = max(0, int(_SLEEP.match(script).group(1)))
            session.sleeps_until = self.world.now + seconds
        elif b'pg_is_in_recovery() AS in_recovery' in script:
            tags = server.answer(session)
        elif b'notify_follow_primary' in script:
            server.has_been_notified(int(_NOTIFY.search(script).group(1)))
        elif b'reset_voting_status' in script:
            server.has_been_notified(None)
        elif b'UPDATE repmgr.nodes' in script:
            upstream, node_id = _ADOPT.search(script).groups()
            if server.kind == 'primary' and int(node_id) in server.metadata.upstreams:
                server.metadata = server.metadata.with_upstream(int(node_id), int(upstream))
        elif b"SELECT 'vote'" in script:
            server.voted = _VOTE.search(script).group(1).decode() or None
            tags = {'vote': 1}
        elif b"SELECT 'released'" in script:
            name = _RELEASE.search(script).group(1).decode()
            for other in [other for other in server.sessions if other.name == name]:
                server.end_session(other)
                other.lost()
        elif b"SELECT 'holds'" in script:
            tags = {'holds': True, 'restore_command': ''}
        else:
            raise AssertionError('the simulator does not know what to answer to %r' % script[:200])
        self.world.at(seconds, self._answered, session, tags)

    def _lock(self, server, session):
        if session.alive:
            got, holder = server.try_lock(session)
            self._answered(session, {'lock': got, 'holder': holder})

    def _answered(self, session, tags):
        if session.alive and session.client is not None:
            self.world.at(self.world.network.delay(self.target, self.host), self._hear, tags, 0.2)

    def _hear(self, tags, pause):
        if self.closed or self.broken and self.ready:
            return
        if not self.world.network.passes(self.target, self.host):
            self._again(self._hear, tags, pause)
            return
        self.replies.append(tags)
        self.busy, self.ready = False, True
        if not self.broken:
            self._next()
        self._tell()
