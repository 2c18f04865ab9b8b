"""Loads the guard's program, unchanged, into a simulated world: what it imports of the system is replaced, what it decides is its own.

Its own remain: both hooks, the watch with its jobs, how servers are asked, waited for and given up, locks and how long they are held, the state file.
Replaced: the clock, `select` and `sleep`, processes, files, signals, /proc, pg_controldata; and left out: slots for the other members (Retention).
"""
import errno
import fcntl
import importlib
import importlib.machinery
import io
import os
import signal
import sys
import types

from simulation import clients
from simulation import scheduler
from simulation import waits

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'roles', 'guard', 'files')
PATH = os.path.join(FILES, 'guard', 'pgfleet_guard')
FUSE = os.path.join(FILES, 'fuse.py')
PROGRAM = '/usr/local/sbin/repmgr-guard'
_loaded = {}


class NoRetention:
    def __init__(self, config):
        pass

    def tick(self, local, peers):
        pass

    def close(self):
        pass


class File(io.StringIO):
    def __init__(self, text='', save=None):
        super().__init__(text)
        self.save = save

    def fileno(self):
        return 0

    def close(self):
        if self.save and not self.closed:
            self.save(self.getvalue())
        super().close()


class Path:
    join, basename, dirname, abspath, realpath = map(staticmethod, (
        os.path.join, os.path.basename, os.path.dirname, os.path.normpath, os.path.normpath))

    def __init__(self, guard):
        self.guard = guard

    def exists(self, path):
        host = self.guard.host
        if path.startswith('/data/'):
            return path[6:] in host.server.files() or path.endswith('/postgresql.conf')
        if path.startswith('/proc/'):
            return str(host.server.pid) == path[6:]
        return path in host.files


class System:
    """os, subprocess, select, fcntl, time and open, as one simulated host has them; which one is that of the process that runs."""

    environ, devnull, O_RDONLY, O_RDWR, O_CREAT, O_NONBLOCK = {}, '/dev/null', 0, 0, 0, 0

    def __init__(self, guard):
        self.guard, self.path = guard, Path(guard)

    @property
    def host(self):
        return self.guard.host

    # files
    def file(self, path, mode='r'):
        host = self.host
        if path == self.devnull:
            return File()
        if path.startswith('/data/') and 'w' in mode:
            return File(save=lambda text: host.server.written(path[6:]))
        if 'w' in mode:
            return File(save=lambda text: host.files.__setitem__(path, text))
        if path.startswith('/data/') and path[6:] in host.server.files():
            return File(host.server.files()[path[6:]])
        if path not in host.files:
            raise IOError(errno.ENOENT, 'No such file or directory', path)
        return File(host.files[path])

    def unlink(self, path):
        if path.startswith('/data/'):
            self.host.server.removed(path[6:])
            return
        if not self.guard.world.current.dead and self.host.files.pop(path, None) is None:
            raise OSError(errno.ENOENT, path)

    def rename(self, path, target):
        if target.startswith('/data/'):
            self.host.server.written(target[6:])
            return
        self.host.files[target] = self.host.files.pop(path)

    def readlink(self, path):
        raise OSError(errno.ENOENT, path)

    def stat(self, path):
        if path.startswith('/data/') and path[6:] in self.host.server.files():
            return types.SimpleNamespace(st_ctime=0)
        if path not in self.host.files:
            raise OSError(errno.ENOENT, path)
        return types.SimpleNamespace(st_mtime=self.host.files[path])

    def fsync(self, handle):
        pass

    def read(self, handle, size):
        raise OSError(errno.EAGAIN, 'the simulator reads no bytes')

    def open(self, path, *dummy):
        return types.SimpleNamespace(path=path, owners=[])

    def close(self, handle):
        pass

    def fcntl(self, *dummy):
        return 0

    def flock(self, handle, dummy_kind):
        before = self.host.flocks.get(handle.path)
        if before and any(not owner.done for owner in before.owners):
            raise OSError(errno.EAGAIN, 'locked')
        handle.owners = [self.guard.world.current]
        self.host.flocks[handle.path] = handle

    # processes
    def getpid(self):
        return self.guard.world.current.pid

    def kill(self, pid, number):
        self.host.server.signal(int(number), pid)

    def Popen(self, argv, env=None, stdout=None, **dummy):  # pylint: disable=invalid-name
        world, host = self.guard.world, self.host
        if argv[0].endswith('/psql') and '-c' not in argv:
            name, dummy_space, more = argv[-1].partition(' ')
            client = clients.Client(world, host, world.hosts.get(name, host), env['PGAPPNAME'], world.login, float(env['PGCONNECT_TIMEOUT']),
                                    more == 'replication=database', 'tcp_keepalives_idle' in env.get('PGOPTIONS', ''))
            world.current.clients.append(client)
            return client
        words = [os.path.basename(argv[0])] + list(argv[1:])
        return scheduler.Process(world, host, words, host.command(words, stdout))

    def call(self, argv, **dummy):
        """Waits for it."""
        world, host = self.guard.world, self.host
        words = [os.path.basename(argv[0])] + list(argv[1:])
        me, child = world.current, scheduler.Process(world, host, words, host.command(words, None))
        # It inherits what its parent has locked.
        for handle in host.flocks.values():
            if me in handle.owners:
                handle.owners.append(child)
        child.parent = me
        while not child.done:
            yield 30
        return child.returncode

    # time
    def select(self, handles, dummy_writes, dummy_errors, seconds):
        ready = [handle for handle in handles if handle.ready]
        if not ready:
            for handle in handles:
                handle.waiter = self.guard.world.current
            yield seconds
            for handle in handles:
                handle.waiter = None
            ready = [handle for handle in handles if handle.ready]
        return ready, [], []

    def sleep(self, seconds):
        yield seconds

    def time(self):
        return self.host.wall()


class Importer:
    """Imports the files of one program, every wait of them a `yield from`. Each program has its own: a mutant is another one."""

    def __init__(self, sources):
        self.trees, self.modules = waits.generators(sources), {}

    def find_spec(self, name, dummy_path=None, dummy_target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=name == 'pgfleet_guard') if name in self.trees else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.trees[module.__name__], module.__name__, 'exec'), module.__dict__)  # pylint: disable=exec-used
        self.modules[module.__name__] = module

    def load(self):
        """What else is loaded by these names, another program or the one as it is, is let be."""
        before = dict((name, sys.modules.pop(name)) for name in self.trees if name in sys.modules)
        sys.meta_path.insert(0, self)
        try:
            for name in sorted(self.trees):
                importlib.import_module(name)
        finally:
            sys.meta_path.remove(self)
            for name in self.trees:
                sys.modules.pop(name, None)
            sys.modules.update(before)
        return [self.modules[name] for name in sorted(self.trees)]


class Guard:
    """The program, as it was loaded. world: where it is at work."""

    def __init__(self, sources):
        self.world = None
        modules = Importer(sources).load()
        self.module, self.fuse = types.SimpleNamespace(), types.ModuleType('fuse')
        with open(FUSE) as handle:
            exec(compile(handle.read(), FUSE, 'exec'), self.fuse.__dict__)  # pylint: disable=exec-used
        system = self.system = System(self)
        names = {waits.HELPER: waits.helper}
        names['os'] = names['subprocess'] = names['time'] = system
        system.PIPE, system.STDOUT = -1, -2
        names['select'] = types.SimpleNamespace(select=system.select, error=OSError)
        names['open'] = system.file
        names['fcntl'] = types.SimpleNamespace(fcntl=system.fcntl, flock=system.flock, F_SETFL=0, F_GETFL=0, F_SETFD=0, F_GETFD=0, FD_CLOEXEC=0,
                                               LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB)
        names['signal'] = types.SimpleNamespace(SIGQUIT=signal.SIGQUIT, SIGKILL=signal.SIGKILL, SIGTERM=signal.SIGTERM, signal=lambda *dummy: None)
        names['sys'] = types.SimpleNamespace(executable='python3', argv=[PROGRAM, 'watch'])
        names['tempfile'] = types.SimpleNamespace(TemporaryFile=lambda dir: io.BytesIO())  # pylint: disable=redefined-builtin
        names['boot'] = lambda: 'this boot'
        names['clock'] = lambda: self.world.current.host.clock()  # pylint: disable=unnecessary-lambda
        names['say'] = lambda text: self.world.said(self.world.current, text)
        names['Retention'] = NoRetention
        names['become_user'] = names['write_environment'] = lambda config: None
        names['postmaster'] = lambda directory: self.host.server.pid
        names['newest_history'] = lambda directory: self.host.server.newest_history if directory else 0
        names['forget_promotion'] = lambda directory, timeline: self.host.server.forget_promotion()
        names['control_data'] = lambda config, *dummy: self.host.control_data()
        names['without_stale_pid'] = lambda directory: {}
        names['_children'] = lambda pid: []
        names['_processes'] = lambda: [(process.pid, process.argv) for process in self.host.processes]

        def read(server):
            """What has come: whole answers."""
            process = server.process
            for tags in process.replies:
                server._tags.update(tags)  # pylint: disable=protected-access
                server._take('end %d' % server._number)  # pylint: disable=protected-access
            process.replies, process.ready = [], process.broken
            if process.broken and server._asked is not None:  # pylint: disable=protected-access
                server.error = process.error
                server.ended()
        for module in modules:
            vars(module).update(names)
            vars(self.module).update((name, value) for name, value in vars(module).items() if not name.startswith('__'))
        self.module.Server.read = read

    @property
    def host(self):
        return self.world.current.host

    # Bodies of processes: which host's configuration they read is known once they run.
    def primary_is_dead(self, name):
        yield 0.1
        return self.module.primary_is_dead(self.module.read_config(), name)

    def watch(self):
        return (yield from self.module.watch(self.module.read_config()))

    def start(self):
        return (yield from self.module.start(self.module.read_config()))

    def promote(self, command, by_hand=False):
        return (yield from self.module.promote(self.module.read_config(), command, by_hand))


def sources_of(path=PATH):
    """{module: text}"""
    texts = {}
    for name in sorted(os.listdir(path)):
        if name.endswith('.py'):
            with open(os.path.join(path, name)) as handle:
                texts['pgfleet_guard' if name == '__init__.py' else 'pgfleet_guard.' + name[:-3]] = handle.read()
    return texts


def load(sources=None):
    """Loaded once for each text."""
    sources = sources_of() if sources is None else sources
    key = tuple(sorted(sources.items()))
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = Guard(sources)
    return _loaded[key]
