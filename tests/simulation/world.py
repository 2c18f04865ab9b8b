"""A cluster in virtual time."""
from simulation import adapter
from simulation import endpoints
from simulation import hosts
from simulation import ledger
from simulation import network
from simulation import scheduler
from simulation import servers

# repmgr_failover_profile; see roles/common/vars/main.yml.
TIMINGS = {
    'fast': dict(isolation=2, gives_up=3, detection=5, connect_timeout=2, monitor_interval=1, receiver_timeout=2),
    'safe': dict(isolation=5, gives_up=10, detection=13, connect_timeout=2, monitor_interval=1, receiver_timeout=5),
    'wan': dict(isolation=20, gives_up=80, detection=90, connect_timeout=5, monitor_interval=5, receiver_timeout=30)}

# data: how many nodes with data; witness; below: {node: the standby that it streams from}
TOPOLOGIES = {
    '2w': dict(data='ab', witness='w'),
    '3': dict(data='abc', witness=None),
    '3w': dict(data='abc', witness='w'),
    '3c': dict(data='abc', witness='w', below={'c': 'b'}),
    '4w': dict(data='abcd', witness='w'),
    '5': dict(data='abcde', witness=None)}


class World(scheduler.Scheduler):
    login = 'repmgr'

    def __init__(self, topology='3w', profile='safe', synchronous=0, seed=0, auto_rejoin='rewind', guard=None, listen=None):
        super().__init__(seed, listen)
        shape = TOPOLOGIES[topology]
        self.timing, self.profile, self.synchronous, self.auto_rejoin = dict(TIMINGS[profile]), profile, synchronous, auto_rejoin
        self.network, self.ledger = network.Network(self), ledger.Ledger(self)
        self.guard = guard or adapter.load()
        self.guard.world = self
        self._branches = 0
        # For the systemd units of Enterprise Linux an immediate shutdown is a clean exit.
        self.clean_ends = self.random.random() < 0.5
        self.hosts = {}
        names = shape['data'] + (shape['witness'] or '')
        for number, name in enumerate(names, 1):
            self.hosts[name] = hosts.Host(self, name, number, name == shape['witness'])
        self._ids = dict((host.node_id, host) for host in self.hosts.values())
        self.endpoints = endpoints.Endpoints(self)
        self._begin(shape.get('below') or {})

    def _begin(self, below):
        first = self.hosts['a']
        upstreams = dict((host.node_id, self.hosts[below[host.name]].node_id if host.name in below else first.node_id) for host in self.hosts.values())
        upstreams[first.node_id] = None
        metadata = servers.Metadata(first.node_id, upstreams, frozenset(host.node_id for host in self.hosts.values() if host.witness))
        self.configure()
        for host in self.hosts.values():
            server = host.server
            # No two clocks agree, nor run alike.
            host.set_clock(1000 + self.random.random() * 1000, 1 + (self.random.random() - 0.5) * 4e-4)
            server.metadata = metadata
            server.kind = 'primary' if host is first else 'standby'
            server.upstream = self._ids.get(upstreams[host.node_id])
            # It has run for a while.
            server.pid, server.state, server.started = self.next_pid(), 'up', host.wall() - 1000
            server.settle()
            host.files[hosts.STATE] = '{"cluster": "sim", "node_id": %d, "armed": true, "primary": 1, "reign": null}' % host.node_id
            self.at(self.random.random(), host.systemd.start_guard)
            self.at(0.5, host.systemd.start_fuse)
            self.at(self.random.random(), host.systemd.start_repmgrd)

    def voters(self):
        data = [host for host in self.hosts.values() if not host.witness and not host.removed]
        even = len(data) % 2 == 0
        return [host for host in self.hosts.values() if not host.removed and (not host.witness or even)]

    def configure(self, only=None):
        """Write guard.json of all hosts, or of one."""
        voters = self.voters()
        for host in [only] if only else self.hosts.values():
            host.write_config({
                'cluster': 'sim', 'name': host.name, 'node_id': host.node_id, 'user': 'postgres', 'login': self.login, 'state': hosts.STATE, 'passfile': '',
                'bin_dir': '/usr/bin', 'data_directory': '/data', 'config_directory': '/etc/postgresql', 'conf': '/etc/repmgr.conf', 'service': 'server',
                'port': 5432, 'database': 'repmgr', 'automatic': True, 'auto_rejoin': self.auto_rejoin, 'synchronous': self.synchronous,
                'connect_timeout': self.timing['connect_timeout'], 'isolation': self.timing['isolation'], 'detection': self.timing['detection'],
                'start_wait': 20, 'peers': [
                    {'name': other.name, 'node_id': other.node_id, 'conninfo': other.name, 'vote': other in voters, 'witness': other.witness}
                    for other in self.hosts.values() if other is not host and not other.removed]})

    def by_id(self, node_id):
        return self._ids.get(node_id)

    def data_hosts(self):
        return [host for host in self.hosts.values() if not host.witness and not host.removed]

    def next_branch(self):
        self._branches += 1
        return self._branches

    def writable_changed(self, server):
        self.ledger.changed(server)

    def said(self, process, text):
        if 'stopped the server' in text:
            self.ledger.stops += 1
        self.note('%s: [%s] %s' % (process.host.name, ' '.join(process.argv[:2]), text))

    def settle(self, bound, quiet=8):
        """Run until there has been nothing to do for a while; return whether that was reached within the bound."""
        end, since = self.now + bound, None
        while self.now < end:
            self.run(self.now + 1)
            if self.ledger.unfinished():
                since = None
            elif since is None:
                since = self.now
            elif self.now - since >= quiet:
                return True
        return False
