"""The failure scenarios that a cluster must survive while clients write, with figures for each. In names and options they are called rows.

    make chaos             every scenario, three times
    make chaos ROW=5       one scenario
    make chaos LAYOUT=2w   on two data nodes and a witness, which has a vote there

`make test` runs a few of them once. Between scenarios the cluster must recover by itself, by the rejoin of repmgr-guard; if it does not, the test fails.
Each scenario prints: acknowledged table rows that were lost, seconds in which two nodes accepted writes, the longest time without an acknowledged write,
and how long after the end of the fault the cluster was healthy again.
"""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lab

ROW = os.environ.get("CHAOS_ROW", "")
REPEAT = int(os.environ.get("CHAOS_REPEAT", "1"))
MORE = os.environ.get("TEST_ALL") == "1" or bool(ROW)
PROFILE = os.environ.get("CHAOS_PROFILE", "safe")
# The longest write gaps that each profile shall have, in seconds: a killed postmaster, a dead host, a primary that is cut off. Held to by
# `make chaos` alone; `make test` prints what it measures, because it runs on machines that are busy.
GOALS = {"fast": (4, 10, 12), "safe": (4, 20, 20), "wan": (4, None, None)}[PROFILE] if "CHAOS_REPEAT" in os.environ else (None, None, None)
# How long a new primary may take to appear, and the others to be at work below it; a host in `wan` is missed after a minute and a half.
PATIENCE = 180 if PROFILE == "wan" else 60
# Longer than an election takes, from the first attempt that fails.
ELECTION = 110 if PROFILE == "wan" else 45
POSTGRES = "pgrep -u postgres -x postgres"


def row(number, more=True, layouts=("3w", "2w"), why=""):
    """Mark a test as a scenario. more: not part of `make test`. why: the reason to skip it in a layout that it does not support."""
    def decorate(function):
        function = pytest.mark.parametrize("attempt", range(1, REPEAT + 1))(function)
        skip = (ROW and ROW != number) or (more and not MORE)
        function = pytest.mark.skipif(lab.LAYOUT not in layouts, reason=why)(function)
        return pytest.mark.skipif(bool(skip), reason="make chaos runs them")(function)
    return decorate


def deployed(**more):
    return ["-e", json.dumps(dict(lab.APP_ACCESS, repmgr_failover_profile=PROFILE, **more))]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    if lab.LAYOUT == "2w":
        lab.without_a_standby()
    lab.healthy_or_from_nothing(*deployed())
    make_pinned()


def from_nothing():
    lab.from_nothing(*deployed())
    make_pinned()


def make_pinned():
    lab.sql(lab.PRIMARY, "create table if not exists pinned (node text, at timestamptz); alter table pinned owner to app", "app")


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request):
    """Clean up, so that a failed scenario does not affect the next one or the lab."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        return
    lab.undo_faults()
    # Not before: a host that is frozen does not answer, and would stay so.
    for host in lab.DATA_HOSTS:
        print("%s:\n%s" % (host, lab.ssh(host, "journalctl -u repmgr-guard -o short-iso --no-pager -n 30", check=False).stdout))
    try:
        lab.wait_until("one primary", 60, lambda: len(lab.primaries()) == 1)
        lab.healthy(primary=lab.primaries()[0], within=60)
        home()
    except AssertionError:
        from_nothing()


class Clients:
    """Writers on the whole cluster, and one that is pinned to each node."""

    def __init__(self, writers, folder):
        self.writers, self.folder, self.pinned = writers, Path(str(folder)), {}

    def __enter__(self):
        lab.sql(self.writers.primary(), "truncate pinned", "app")
        self.writers.__enter__()
        for host in lab.DATA_HOSTS:
            dsn = "host=%s dbname=app user=app password=%s connect_timeout=2 tcp_user_timeout=3000" % (lab.ADDRESS[host], lab.APP_PASSWORD)
            self.pinned[host] = subprocess.Popen([
                sys.executable, str(Path(__file__).with_name("pinned.py")), dsn, host, str(self.folder / ("pinned-%s.log" % host))])
        return self

    def __exit__(self, *error):
        for process in self.pinned.values():
            # It may hang in a commit that nobody confirms.
            process.kill()
            process.wait(timeout=10)
        self.writers.__exit__(*error)

    def times(self, host):
        log = self.folder / ("pinned-%s.log" % host)
        return [float(line) for line in log.read_text().split() if line]

    def two_writers(self):
        """Seconds in which two nodes took writes: from the first common moment of their spells of writing to the last."""
        spells = [(host, begin, end) for host in lab.DATA_HOSTS for begin, end in self.spells(host)]
        return sum(max(0.0, min(one[2], two[2]) - max(one[1], two[1]))
                   for number, one in enumerate(spells) for two in spells[number + 1:] if one[0] != two[0])

    def spells(self, host):
        found = []
        for moment in self.times(host):
            if found and moment - found[-1][1] < 1:
                found[-1][1] = moment
            else:
                found.append([moment, moment])
        return found

    def last_write(self, host):
        return max(self.times(host) or [0])


def settled():
    """Wait until every repmgrd monitors the primary, which may be some seconds after a switchover."""
    watches = "select repmgr.get_upstream_node_id() = %s and repmgr.get_upstream_last_seen() between 0 and 10" % lab.nodes(lab.PRIMARY)[lab.PRIMARY]["id"]
    for host in lab.HOSTS:
        if host != lab.PRIMARY:
            lab.wait_until("repmgrd of %s watches" % host, 60, lambda host=host: lab.value(host, watches, "repmgr") == "t")


@pytest.fixture
def clients(writers, tmp_path):
    settled()
    return Clients(writers, tmp_path)


def another_primary(seconds=PATIENCE, besides=lab.PRIMARY):
    found = []

    def probe():
        found[:] = lab.primaries([host for host in lab.DATA_HOSTS if host != besides])
        return len(found) == 1

    lab.wait_until("a new primary", seconds, probe, pause=0.2)
    return found[0]


def story(name, clients, figure, primary, healed, lost=None, back=None):
    """Collect the figures of one scenario, and check what must be true at the end of each."""
    took = lab.healthy(primary=primary, within=PATIENCE + 30)
    whole = time.time() - healed
    lab.replayed(primary, [host for host in lab.DATA_HOSTS if host != primary])
    missing = clients.writers.lost(primary)
    both = clients.two_writers()
    gap = clients.writers.gap()
    if "CHAOS_REPEAT" in os.environ:
        outcome = dict(row=name.partition(" ")[0], fault=name.partition(" ")[2], lost=len(missing), acknowledged=len(clients.writers.acknowledged()),
                       both=both, gap=gap, back=back, whole=whole)
        with open(".cache/chaos-%s%s.jsonl" % (PROFILE, "" if lab.LAYOUT == "3w" else "-" + lab.LAYOUT), "a") as log:
            log.write(json.dumps(outcome) + "\n")
    figure(name, "%d of %d rows lost, %.1f s with two writers, write gap %.1f s, %swhole %.1f s after the fault" % (
        len(missing), len(clients.writers.acknowledged()), both, gap, "" if back is None else "old primary streams %.1f s, " % back, whole))
    assert both == 0, {host: clients.spells(host) for host in lab.DATA_HOSTS}
    if lost is not None:
        assert len(missing) <= lost
    assert took is not None
    return gap, whole


def streams(host):
    return lab.sql(host, "select status from pg_stat_wal_receiver") == [["streaming"]]


def streams_again(host, since):
    """Seconds until it is a standby at work."""
    lab.wait_until("%s streams" % host, PATIENCE, lambda: streams(host), pause=0.1)
    return time.time() - since


def home():
    primary, = lab.primaries()
    if primary != lab.PRIMARY:
        lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    lab.healthy(within=60)


def journal(host, unit="repmgr-guard", last=200):
    return lab.ssh(host, "journalctl -u %s -o cat --no-pager -n %d" % (unit, last))


class Cut:
    """While this context is active, all packets between a host and the other hosts are dropped, but not those of clients. on: the hosts that drop them,
    by default all.
    """

    def __init__(self, *sides, on=()):
        self.pairs = [(host, peer) for side in sides for host in side for other in sides if other is not side for peer in other if not on or host in on]

    def rules(self, verb):
        for host in sorted(set(host for host, dummy in self.pairs)):
            peers = [peer for one, peer in self.pairs if one == host]
            lab.ssh(host, "; ".join("iptables %s INPUT -s %s -j DROP; iptables %s OUTPUT -d %s -j DROP" % (
                verb, lab.ADDRESS[peer], verb, lab.ADDRESS[peer]) for peer in peers))

    def __enter__(self):
        self.rules("-A")

    def __exit__(self, *dummy):
        self.rules("-D")


# --- the primary's server ----------------------------------------------------------------------------

@row("1", more=False)
def test_row_1_the_postmaster_is_killed(clients, figure, attempt):
    """The guard restarts it, faster than any election. If it dies again within a minute, an election takes place."""
    lab.wait_until("the server has run for a minute", 70, lambda: lab.sql(
        lab.PRIMARY, "select now() - pg_postmaster_start_time() > '61 seconds'") == [["t"]], pause=2)
    with clients:
        lab.ssh(lab.PRIMARY, "systemctl kill -s KILL %s" % lab.UNIT)
        healed = time.time()
        clients.writers.progress()
    gap, dummy = story("1 kill -9 of the primary's postmaster", clients, figure, lab.PRIMARY, healed, lost=0)
    assert not GOALS[0] or gap < GOALS[0]


@row("1b")
def test_row_1b_and_cannot_start_again(clients, figure, attempt):
    with clients:
        lab.ssh(lab.PRIMARY, "mv %s/postgres %s/postgres.away && systemctl kill -s KILL %s" % (lab.BIN, lab.BIN, lab.UNIT))
        new = another_primary()
        clients.writers.progress(seconds=60)
        lab.ssh(lab.PRIMARY, "mv %s/postgres.away %s/postgres" % (lab.BIN, lab.BIN))
        healed = time.time()
        lab.healthy(primary=new, within=120)
    story("1b ... and its program is gone", clients, figure, new, healed)
    home()


@row("1l")
def test_row_1l_during_a_bulk_load(clients, figure, attempt):
    """The standbys have only the beginning of a WAL record: `repmgr standby follow` would refuse the promoted one."""
    with clients:
        lab.load_in_bulk(lab.PRIMARY)
        lab.kill_for_good(lab.PRIMARY)
        new = another_primary()
        clients.writers.progress(seconds=60)
        lab.ssh(lab.PRIMARY, "systemctl start repmgr-guard")
        healed = time.time()
        back = streams_again(lab.PRIMARY, healed)
        lab.healthy(primary=new, within=120)
        lab.sql(new, "drop table bulk", "app")
    story("1l kill -9 during a bulk load", clients, figure, new, healed, back=back)
    home()


@row("2")
def test_row_2_one_backend_is_killed(clients, figure, attempt):
    with clients:
        lab.ssh(lab.PRIMARY, "kill -9 $(pgrep -u postgres -f 'postgres:.* app app ' | head -1)")
        healed = time.time()
        clients.writers.progress()
    story("2 kill -9 of one backend", clients, figure, lab.PRIMARY, healed, lost=0)


@row("2s")
def test_row_2s_a_standby_is_killed(clients, figure, attempt):
    with clients:
        lab.ssh(lab.STANDBY, "systemctl kill -s KILL %s" % lab.UNIT)
        healed = time.time()
        lab.healthy(within=60)
    story("2s kill -9 of a standby's postmaster", clients, figure, lab.PRIMARY, healed, lost=0)


@row("3", more=False)
def test_row_3_the_server_is_frozen(clients, figure, attempt):
    """Its guard kills and restarts it before the others may elect; or they elect, and it comes back as a standby."""
    with clients:
        frozen = lab.ssh(lab.PRIMARY, POSTGRES).split()
        lab.ssh(lab.PRIMARY, "kill -STOP " + " ".join(frozen))
        clients.writers.progress(seconds=60)
        lab.ssh(lab.PRIMARY, "kill -CONT %s 2>/dev/null || true" % " ".join(frozen))
        healed = time.time()
        assert set(frozen) & set(lab.ssh(lab.PRIMARY, POSTGRES + " || true").split()) == set(), "it could have been thawed"
        new, = lab.primaries()
    story("3 the primary's processes are frozen, later thawed", clients, figure, new, healed)
    home()


# --- the primary's host ------------------------------------------------------------------------------

def away_and_back(name, clients, figure, leave, come):
    """The host of the primary fails, a standby is promoted, and the old primary comes back as a standby. Return the new primary and the write gap."""
    with clients:
        leave()
        new = another_primary()
        clients.writers.progress(seconds=60)
        come()
        healed = time.time()
        back = streams_again(lab.PRIMARY, healed)
        lab.healthy(primary=new, within=PATIENCE)
    return new, story(name, clients, figure, new, healed, back=back)[0]


@row("3p")
def test_row_3p_the_host_is_frozen(clients, figure, attempt):
    """Like a virtual machine that is paused: its guard stands still with its server, and both go on after another was promoted."""
    away_and_back("3p the primary's host is frozen, later thawed", clients, figure,
                  lambda: lab.docker("pause", lab.PRIMARY), lambda: lab.docker("unpause", lab.PRIMARY))
    home()


@row("4", more=False)
def test_row_4_the_host_is_off_and_on_again(clients, figure, attempt):
    new, gap = away_and_back("4 the primary's host is off, later on", clients, figure,
                             lambda: lab.docker("kill", lab.PRIMARY), lambda: lab.docker("start", lab.PRIMARY))
    assert "rejoins %s as its standby" % new in journal(lab.PRIMARY) or "is primary" in journal(lab.PRIMARY, lab.UNIT)
    assert not GOALS[1] or gap < GOALS[1]
    home()


@row("4p")
def test_row_4p_and_its_servers_number_is_anothers(clients, figure, attempt):
    """After a reboot postmaster.pid may contain the id of any process. If that belongs to the same user, PostgreSQL does not start."""
    def come():
        lab.docker("start", lab.PRIMARY)
        lab.wait_until("it has booted", PATIENCE, lambda: lab.ssh(lab.PRIMARY, "systemctl is-system-running", check=False).stdout.strip() in (
            "running", "degraded"))
        lab.stale_pid(lab.PRIMARY)
        lab.ssh(lab.PRIMARY, "systemctl -q enable --now repmgr-guard")

    lab.ssh(lab.PRIMARY, "systemctl -q disable repmgr-guard")
    away_and_back("4p ... and its server's number is another process's then", clients, figure, lambda: lab.docker("kill", lab.PRIMARY), come)
    assert "recovers the crashed server" in journal(lab.PRIMARY)
    lab.ssh(lab.PRIMARY, "systemctl stop stale-pid")
    home()


@row("4w")
def test_row_4w_right_after_a_switchover(clients, figure, attempt):
    """A repmgrd that has not connected to the new primary yet exits at each start, so the guards hold the election."""
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.STANDBY).assert_ok()
    home()
    away_and_back("4w ... right after a switchover", clients, figure, lambda: lab.docker("kill", lab.PRIMARY), lambda: lab.docker("start", lab.PRIMARY))
    home()


# --- a vote that was given -----------------------------------------------------------------------------

def replaced(clients):
    """Power off the host of the primary; wait until a standby is promoted, the others follow it, and it has accepted a write. Return its name."""
    lab.docker("kill", lab.PRIMARY)
    new = another_primary()
    clients.writers.progress(seconds=60)
    number = lab.nodes(new)[new]["id"]
    for host in lab.HOSTS:
        if host not in (lab.PRIMARY, new):
            lab.wait_until("%s follows %s" % (host, new), PATIENCE,
                           lambda host=host: lab.value(host, "select repmgr.get_upstream_node_id()", "repmgr") == number)
    lab.sql(new, "create table acknowledged ()", "app")
    return new


def kept(new):
    assert lab.value(new, "select to_regclass('acknowledged') is not null", "app") == "t"
    lab.sql(new, "drop table acknowledged", "app")


def refuses_to_start(host, why):
    lab.wait_until("%s says why it does not start" % host, PATIENCE, lambda: why in journal(host) + journal(host, lab.UNIT))
    assert lab.primaries([host]) == []


@row("4a")
def test_row_4a_the_old_primary_boots_and_does_not_reach_the_new_one(clients, figure, attempt):
    """It reaches the others, which have given their votes away."""
    with clients:
        new = replaced(clients)
        # Its own host is off.
        with Cut([lab.PRIMARY], [new], on=[new]):
            lab.docker("start", lab.PRIMARY)
            refuses_to_start(lab.PRIMARY, "names %s as primary" % new if lab.LAYOUT == "2w" else "so another node was promoted")
            time.sleep(20)
            assert lab.primaries() == [new]
        healed = time.time()
        back = streams_again(lab.PRIMARY, healed)
        kept(new)
        lab.healthy(primary=new, within=PATIENCE)
    story("4a host off, on again while the way to its successor is cut", clients, figure, new, healed, back=back)
    home()


@row("4b")
def test_row_4b_the_old_primary_boots_while_the_new_one_is_off(clients, figure, attempt):
    """What the new one has acknowledged is not lost, whichever boots first."""
    with clients:
        new = replaced(clients)
        lab.docker("kill", new)
        lab.docker("start", lab.PRIMARY)
        refuses_to_start(lab.PRIMARY, "names %s as primary" % new if lab.LAYOUT == "2w" else "so another node was promoted")
        time.sleep(20)
        assert lab.primaries([host for host in lab.DATA_HOSTS if host != new]) == []
        lab.docker("start", new)
        healed = time.time()
        clients.writers.progress(seconds=90)
        assert lab.primaries() == [new]
        back = streams_again(lab.PRIMARY, healed)
        kept(new)
        lab.healthy(primary=new, within=PATIENCE)
    story("4b host off, on again while its successor is off", clients, figure, new, healed, lost=None, back=back)
    home()


@row("4t", layouts=("3w",), why="needs a standby that has followed another")
def test_row_4t_a_standby_knows_the_newer_timeline(clients, figure, attempt):
    """It has the history file, but its control file will have the new timeline only minutes later. `failover` promotes it, and nothing is lost."""
    with clients:
        new = replaced(clients)
        other, = set(lab.DATA_HOSTS) - {lab.PRIMARY, new}
        lab.replayed(new, [other])
        lab.docker("kill", new)
        time.sleep(6)
        lab.docker("start", lab.PRIMARY)
        refuses_to_start(lab.PRIMARY, "so another node was promoted")
        time.sleep(20)
        assert lab.primaries([lab.PRIMARY, other]) == []
        lab.playbook("playbooks/failover.yml", "-e", "primary_is_dead=" + new).assert_ok()
        clients.writers.progress(seconds=60)
        lab.docker("start", new)
        healed = time.time()
        kept(other)
        lab.healthy(primary=other, within=PATIENCE)
    story("4t host off, on again while its successor is off and a standby knew it", clients, figure, other, healed)
    home()


# --- the network -------------------------------------------------------------------------------------

@row("5", more=False)
def test_row_5_the_primary_is_cut_off(clients, figure, attempt):
    """Its clients still reach it. It stops before the other side promotes, and comes back as a standby."""
    others = [host for host in lab.HOSTS if host != lab.PRIMARY]
    with clients:
        with Cut([lab.PRIMARY], others):
            new = another_primary()
            clients.writers.progress(seconds=60)
            stopped = clients.last_write(lab.PRIMARY)
            time.sleep(5)
            assert clients.last_write(lab.PRIMARY) == stopped and min(clients.times(new)) > stopped
        healed = time.time()
        back = streams_again(lab.PRIMARY, healed)
        lab.healthy(primary=new, within=PATIENCE)
    gap, dummy = story("5 the primary is cut off, its clients reach it", clients, figure, new, healed, back=back)
    assert "stopped the server" in journal(lab.PRIMARY)
    assert not GOALS[2] or gap < GOALS[2]
    home()


@row("5n")
def test_row_5n_the_primary_is_unplugged(clients, figure, attempt):
    """Nobody reaches it, clients included, and it runs on."""
    away_and_back("5n the primary is unplugged from the network", clients, figure,
                  lambda: lab.unplug(lab.PRIMARY), lambda: lab.plug_in(lab.PRIMARY))
    home()


@row("5p")
def test_row_5p_cut_off_while_repmgrd_is_paused(clients, figure, attempt):
    """Unpause refuses while the primary is unreachable: it would stay paused and keep running when the others elect a new primary."""
    others = [host for host in lab.HOSTS if host != lab.PRIMARY]
    with clients:
        lab.playbook("playbooks/maintenance.yml", "-e", "repmgrd=pause", "-e", json.dumps({"reason": "work on the network"})).assert_ok()
        lab.unplug(lab.PRIMARY)
        run = lab.playbook("playbooks/maintenance.yml", "-e", "repmgrd=unpause")
        assert run.rc != 0 and "-e repmgr_primary_is_dead=" + lab.PRIMARY in run.text, str(run)
        # Nor may they elect where somebody does so by hand: it has told them that it goes on.
        for host in others:
            lab.sql(host, "select repmgr.repmgrd_pause(false)", "repmgr")
        time.sleep(ELECTION)
        data = [host for host in others if host != lab.WITNESS]
        assert lab.primaries(data) == []
        for host in data:
            assert "has told %s that it does not stop by itself" % host in journal(host), host
        lab.plug_in(lab.PRIMARY)
        lab.wait_until("it answers", 30, lambda: lab.primaries() == [lab.PRIMARY])
        lab.playbook("playbooks/maintenance.yml", "-e", "repmgrd=unpause").assert_ok()
        healed = time.time()
        clients.writers.progress(seconds=60)
    story("5p unplugged while repmgrd is paused", clients, figure, lab.PRIMARY, healed)


class OneWay(Cut):
    """Nobody reaches the primary's port; it reaches theirs."""

    def rules(self, verb):
        lab.ssh(lab.PRIMARY, "; ".join("iptables %s INPUT -p tcp -s %s --dport 5432 -j DROP" % (verb, lab.ADDRESS[host])
                                       for host in lab.HOSTS if host != lab.PRIMARY))


@row("5o")
def test_row_5o_nobody_reaches_the_primary_but_it_reaches_them(clients, figure, attempt):
    """The others lose sight of it and could elect; it asks them what they see, and stops before that."""
    with clients:
        with OneWay():
            new = another_primary(seconds=PATIENCE + 30)
            clients.writers.progress(seconds=60)
        healed = time.time()
        lab.healthy(primary=new, within=PATIENCE)
    story("5o only the way to the primary's port is cut", clients, figure, new, healed)
    home()


@row("5k")
def test_row_5k_and_a_standby_has_just_been_killed(clients, figure, attempt):
    """After a restart its server does not know when repmgrd last saw the primary. Still no standby is promoted before the primary has stopped."""
    with clients:
        lab.ssh(lab.STANDBY, "systemctl kill -s KILL %s" % lab.UNIT)
        lab.wait_until("its server is back", 30, lambda: lab.value(lab.STANDBY, "select 1") == "1", pause=0.1)
        with OneWay():
            new = another_primary(seconds=PATIENCE + 30)
            clients.writers.progress(seconds=60)
        healed = time.time()
        # After its start the one that was killed says less of what it has received than it has: it can be left with more than the new primary.
        for standby in set(lab.DATA_HOSTS) - {new, lab.PRIMARY}:
            lab.wait_until("it follows, or says why not", PATIENCE, lambda: streams(standby) or "could not follow" in journal(standby, last=3))
            if not streams(standby):
                rejoined_as_said(standby, lab.site(*deployed()))
        lab.healthy(primary=new, within=PATIENCE)
    story("5k ... and a standby's server was killed a moment before", clients, figure, new, healed)
    home()


# --- the fuse: a primary that is cut off, and whose guard is not at work --------------------------------

def without_guard(name, clients, figure, fault, undo, stopped_by=("repmgr-guard-fuse",)):
    """The guard of the primary is put out of action, and the primary cut off; its clients reach it. It ends before the other side promotes (no two writers,
    and no write of its own after the first of its successor), by one of stopped_by, stays down while its guard is not at work, and comes back as a standby.
    """
    others = [host for host in lab.HOSTS if host != lab.PRIMARY]
    began = time.time()
    with clients:
        try:
            fault()
            with Cut([lab.PRIMARY], others):
                new = another_primary()
                clients.writers.progress(seconds=60)
                stopped = clients.last_write(lab.PRIMARY)
                time.sleep(5)
                assert clients.last_write(lab.PRIMARY) == stopped and min(clients.times(new)) > stopped
                assert lab.ssh(lab.PRIMARY, POSTGRES + " || true") == ""
        finally:
            undo()
        healed = time.time()
        back = streams_again(lab.PRIMARY, healed)
        lab.healthy(primary=new, within=PATIENCE)
    story(name, clients, figure, new, healed, back=back)
    said = "".join(lab.ssh(lab.PRIMARY, "journalctl -u %s -o cat --no-pager --since @%d" % (unit, began)) for unit in stopped_by)
    assert "stopped the server: " in said, said
    home()


@row("5f")
def test_row_5f_the_guard_of_the_primary_is_frozen(clients, figure, attempt):
    """It stops nobody, and systemd's watchdog ends it after two minutes only."""
    guard = lab.ssh(lab.PRIMARY, "systemctl show -p MainPID --value repmgr-guard").strip()
    assert int(guard) > 1
    without_guard("5f the primary's guard is frozen, then the primary is cut off", clients, figure,
                  lambda: lab.ssh(lab.PRIMARY, "kill -STOP " + guard), lambda: lab.ssh(lab.PRIMARY, "kill -CONT %s 2>/dev/null || true" % guard))


@row("5g")
def test_row_5g_the_guard_of_the_primary_is_killed_again_and_again(clients, figure, attempt):
    """Each one counts from what the one before it has seen: which of the two comes first is left to chance. Nobody starts the server meanwhile."""
    def fault():
        lab.ssh(lab.PRIMARY, "systemd-run -q --collect --unit guard-killer sh -c "
                             "'while :; do systemctl kill -s KILL --kill-who=main repmgr-guard; sleep 0.3; done'")

    without_guard("5g the primary's guard is killed again and again, and the primary is cut off", clients, figure, fault,
                  lambda: lab.ssh(lab.PRIMARY, "systemctl -q stop guard-killer; systemctl reset-failed repmgr-guard 2>/dev/null; systemctl start repmgr-guard"),
                  stopped_by=("repmgr-guard-fuse", "repmgr-guard"))


@row("5m")
def test_row_5m_the_guard_of_the_primary_cannot_start(clients, figure, attempt):
    """It has been killed, and whatever systemd tries comes to nothing. Its unit is in /etc, so that it cannot be masked; a drop-in has the same effect."""
    drop_in = "/run/systemd/system/repmgr-guard.service.d"
    without_guard("5m the primary's guard is killed and cannot start, and the primary is cut off", clients, figure,
                  lambda: lab.ssh(lab.PRIMARY, "mkdir -p {0} && printf '[Service]\\nExecStartPre=/bin/false\\n' >{0}/fault.conf && systemctl daemon-reload && "
                                               "systemctl kill -s KILL --kill-who=main repmgr-guard".format(drop_in)),
                  lambda: lab.ssh(lab.PRIMARY, "rm -rf %s; systemctl daemon-reload; systemctl reset-failed repmgr-guard 2>/dev/null; "
                                               "systemctl restart repmgr-guard" % drop_in))


@row("6")
def test_row_6_primary_and_witness_against_two_standbys(clients, figure, attempt):
    """With three data nodes the witness has no vote, so the two standbys go on. With two, it has one, and the primary goes on."""
    standbys = [host for host in lab.DATA_HOSTS if host != lab.PRIMARY]
    with clients:
        with Cut([lab.PRIMARY, lab.WITNESS], standbys):
            if lab.LAYOUT == "2w":
                time.sleep(ELECTION)
                assert lab.primaries() == [lab.PRIMARY]
                new = lab.PRIMARY
            else:
                new = another_primary()
            clients.writers.progress(seconds=60)
        healed = time.time()
        lab.healthy(primary=new, within=PATIENCE)
    story("6 primary and witness on one side, both standbys on the other", clients, figure, new, healed)
    home()


@row("7")
def test_row_7_a_standby_is_cut_off_while_the_other_is_stopped(clients, figure, attempt):
    """It never promotes itself; the primary, which cannot reach any vote, stops until one is back."""
    with clients:
        lab.ssh(lab.OTHER_VOTER, "systemctl stop %s" % lab.UNIT)
        with Cut([lab.STANDBY], [host for host in lab.HOSTS if host != lab.STANDBY]):
            time.sleep(ELECTION)
            assert lab.primaries([lab.STANDBY]) == []
        lab.ssh(lab.OTHER_VOTER, "systemctl start %s" % lab.UNIT)
        healed = time.time()
        lab.healthy(within=60)
        clients.writers.progress()
    story("7 one standby cut off, the other stopped", clients, figure, lab.PRIMARY, healed, lost=0)


@row("8")
def test_row_8_one_standby_does_not_see_the_primary(clients, figure, attempt):
    with clients:
        with Cut([lab.STANDBY], [lab.PRIMARY]):
            time.sleep(ELECTION)
            assert lab.primaries() == [lab.PRIMARY]
            status = lab.playbook("playbooks/status.yml")
            assert status.rc != 0 and "  %s: is not streaming" % lab.STANDBY in status.text
        healed = time.time()
        lab.healthy(within=60)
    story("8 a standby does not see the primary, the others do", clients, figure, lab.PRIMARY, healed, lost=0)


@row("8c", layouts=("3w",), why="needs a standby below another")
def test_row_8c_a_standby_below_the_one_that_is_cut_off(clients, figure, attempt):
    """Both sides can reach it, but only one may count its vote: the primary, which queries it. So no standby is promoted."""
    def follow(upstream):
        number = lab.value(lab.PRIMARY, "select node_id from repmgr.nodes where node_name = '%s'" % upstream, "repmgr")
        lab.as_postgres(lab.OTHER_STANDBY, lab.REPMGR + " standby follow --upstream-node-id " + number)

    follow(lab.STANDBY)
    try:
        with clients:
            with Cut([lab.PRIMARY], [lab.STANDBY, lab.WITNESS]):
                lab.wait_until("the guard refuses", PATIENCE + 30, lambda: (
                    "primary %s runs, and has asked" % lab.PRIMARY in lab.ssh(lab.STANDBY, "repmgr-guard status")))
                time.sleep(ELECTION)
                assert lab.primaries([lab.STANDBY, lab.OTHER_STANDBY]) == []
                clients.writers.progress()
            healed = time.time()
            lab.wait_until("it follows again", PATIENCE, lambda: streams(lab.STANDBY))
    finally:
        follow(lab.PRIMARY)
    story("8c the primary and a standby below another, which is cut off", clients, figure, lab.PRIMARY, healed, lost=0)


@row("9", layouts=("3w",), why="two of three votes are out of sight without a second standby: row 11")
def test_row_9_the_witness_is_lost_and_then_the_primary(clients, figure, attempt):
    with clients:
        lab.docker("kill", lab.WITNESS)
        time.sleep(5)
        lab.docker("kill", lab.PRIMARY)
        new = another_primary()
        clients.writers.progress(seconds=60)
        lab.docker("start", lab.PRIMARY, lab.WITNESS)
        healed = time.time()
        lab.healthy(primary=new, within=90)
    story("9 the witness is lost, then the primary", clients, figure, new, healed)
    home()


@row("10")
def test_row_10_both_standbys_are_lost(clients, figure, attempt):
    """They could be electing: the primary stops, says so, and goes on when one is back."""
    with clients:
        lab.docker("kill", lab.STANDBY, lab.OTHER_VOTER)
        lab.wait_until("the primary has stopped", 30, lambda: lab.primaries([lab.PRIMARY]) == [])
        assert "could elect another primary" in journal(lab.PRIMARY)
        lab.docker("start", lab.STANDBY)
        clients.writers.progress(seconds=60)
        lab.docker("start", lab.OTHER_VOTER)
        healed = time.time()
        lab.healthy(within=90)
    story("10 both standbys are lost", clients, figure, lab.PRIMARY, healed, lost=0)


@row("11")
def test_row_11_the_primary_a_standby_and_the_witness_are_lost(clients, figure, attempt):
    """One vote of three is not enough for a promotion. When the others come back, the old primary is primary again."""
    left = lab.DATA_HOSTS[-1]
    gone = [host for host in lab.HOSTS if host != left]
    with clients:
        lab.docker("kill", *gone)
        time.sleep(ELECTION)
        assert lab.primaries([left]) == []
        assert "NO PRIMARY" in journal(left)
        lab.docker("start", *gone)
        healed = time.time()
        clients.writers.progress(seconds=90)
    primary, = lab.primaries()
    story("11 primary, one standby and witness are lost", clients, figure, primary, healed, lost=0)
    home()


@row("power")
def test_row_power_the_whole_site(clients, figure, attempt):
    """Power cycle in the worst order: the primary first, the witness last."""
    with clients:
        lab.docker("kill", *lab.HOSTS)
        lab.docker("start", *lab.HOSTS)
        healed = time.time()
        clients.writers.progress(seconds=90)
    primary, = lab.primaries()
    story("power all hosts off and on", clients, figure, primary, healed, lost=0)
    home()


def assassinate(host, before="true"):
    """A standby's server is killed when it is about to be promoted."""
    # By repmgrd, or by the guard, who has a configuration file among the words.
    promoting = "pgrep -u postgres -f 'repmgr .*standby promote'"
    run = "cat >/root/assassin && chmod 700 /root/assassin && systemd-run -q --collect --unit assassin /root/assassin"
    lab.ssh(host, "%s; systemctl -q stop assassin; %s" % (before, run),
            stdin="#!/bin/sh\nuntil %s; do sleep 0.02; done\nkill -9 $(head -1 %s/postmaster.pid)\n" % (promoting, lab.DATA))


@row("12", layouts=("3w",), why="needs a second standby")
def test_row_12_the_candidate_is_killed_while_promoting(clients, figure, attempt):
    """One standby is left, with one vote of three: nobody is promoted, the guards say so, and `failover` finishes the job."""
    with clients:
        # The candidate is the one that has received more when the host dies, which is random.
        standbys = [lab.STANDBY, lab.OTHER_STANDBY]
        for host in standbys:
            assassinate(host, "systemctl stop repmgr-guard")
        lab.docker("kill", lab.PRIMARY)
        # Its unit may have removed the pid file.
        lab.wait_until("the candidate is dead", PATIENCE, lambda: any(lab.ssh(host, POSTGRES + " || true") == "" for host in standbys), pause=0.1)
        candidate, = [host for host in standbys if lab.ssh(host, POSTGRES + " || true") == ""]
        survivor, = set(standbys) - {candidate}
        lab.ssh(survivor, "systemctl -q stop assassin; systemctl start repmgr-guard")
        time.sleep(20)
        assert lab.primaries(lab.DATA_HOSTS[1:]) == []
        run = lab.playbook("playbooks/failover.yml", "-e", "repmgr_primary_is_dead=" + lab.PRIMARY)
        assert "repmgrd stays paused" in run.text, str(run)
        clients.writers.progress(seconds=60)
        lab.ssh(candidate, "systemctl reset-failed; systemctl start repmgr-guard " + lab.UNIT)
        lab.docker("start", lab.PRIMARY)
        healed = time.time()
        lab.wait_until("the old primary streams", 60, lambda: lab.value(lab.PRIMARY, "select count(*) from pg_stat_wal_receiver") == "1")
        lab.playbook("playbooks/failover.yml").assert_ok()
        # The survivor may have received less.
        run = lab.site(*deployed())
        if run.rc:
            rejoined_as_said(candidate, run)
            lab.site(*deployed()).assert_ok()
        lab.healthy(primary=survivor, within=60)
    story("12 the candidate is killed while promoting", clients, figure, survivor, healed)
    home()


@row("12a", layouts=("3w",), why="needs a second standby")
def test_row_12a_another_was_promoted_with_less(clients, figure, attempt):
    """A standby that has received WAL that the new primary never had cannot follow it: it is rewound on request."""
    with clients:
        lab.playbook("playbooks/maintenance.yml", "-e", "repmgr_maintenance=pause", "-e", json.dumps({"repmgr_reason": "a promotion by hand"})).assert_ok()
        with_less, rule = lab.OTHER_STANDBY, "INPUT -s {0} -j DROP; iptables {1} OUTPUT -d {0} -j DROP"
        lab.ssh(lab.PRIMARY, "iptables -A " + rule.format(lab.ADDRESS[with_less], "-A"))
        lab.sql(lab.PRIMARY, "create table ahead ()", "app")
        lab.wait_until("one standby is ahead", 30, lambda: lab.value(lab.STANDBY, "select to_regclass('ahead') is not null", "app") == "t")
        lab.docker("kill", lab.PRIMARY)
        assert lab.value(with_less, "select pg_promote()") == "t"
        run = lab.playbook("playbooks/maintenance.yml", "-e", "repmgr_maintenance=unpause")
        assert {host for host, dummy, dummy2 in run.failures} == {lab.PRIMARY}, str(run)
        clients.writers.progress(seconds=60)
        lab.docker("start", lab.PRIMARY)
        healed = time.time()
        streams_again(lab.PRIMARY, healed)
        started = lab.value(lab.STANDBY, "select pg_postmaster_start_time()")
        run = lab.site(*deployed())
        assert lab.value(lab.STANDBY, "select pg_postmaster_start_time()") == started
        rejoined_as_said(lab.STANDBY, run)
        lab.healthy(primary=with_less, within=PATIENCE)
    story("12a another was promoted with less", clients, figure, with_less, healed)
    assert lab.value(lab.STANDBY, "select to_regclass('ahead') is null", "app") == "t"
    home()


def rejoined_as_said(standby, run):
    """site.yml does not change a standby that is ahead, and its message names the playbook that brings it back."""
    assert run.rc != 0 and "playbooks/rejoin.yml --check -e repmgr_target=" + standby in run.text, str(run)
    look = lab.playbook("playbooks/rejoin.yml", "--check", "-e", "repmgr_target=" + standby)
    assert look.rc == 0 and "would stop the server; repmgr node rejoin --force-rewind" in look.text, str(look)
    assert "does not agree" not in look.stdout
    lab.playbook("playbooks/rejoin.yml", "-e", "repmgr_target=" + standby).assert_ok()


@row("12g")
def test_row_12g_and_is_started_again(clients, figure, attempt):
    """repmgr holds no second election; the guards do."""
    with clients:
        assassinate(lab.STANDBY)
        lab.docker("kill", lab.PRIMARY)
        lab.wait_until("the candidate was killed", PATIENCE, lambda: "SIGKILL" in journal(lab.STANDBY, lab.UNIT) or "starts the" in journal(lab.STANDBY))
        new = another_primary(seconds=PATIENCE + 60)
        clients.writers.progress(seconds=60)
        lab.docker("start", lab.PRIMARY)
        healed = time.time()
        lab.healthy(primary=new, within=90)
    story("12g the candidate is killed while promoting and comes back", clients, figure, new, healed)
    home()


@row("12r")
def test_row_12r_a_promotion_is_not_registered(clients, figure, attempt):
    """A standby is promoted by hand, or repmgr dies before it registers the promotion: the others follow it only after its guard has registered it."""
    with clients:
        lab.docker("kill", lab.PRIMARY)
        assert lab.value(lab.STANDBY, "select pg_promote()") == "t"
        registered = "select node_name from repmgr.nodes where type = 'primary' and active"
        assert lab.sql(lab.STANDBY, registered, "repmgr") == [[lab.PRIMARY]]
        lab.wait_until("it is registered", 30, lambda: lab.sql(lab.STANDBY, registered, "repmgr") == [[lab.STANDBY]])
        assert "registers this node as primary" in journal(lab.STANDBY)
        clients.writers.progress(seconds=60)
        lab.docker("start", lab.PRIMARY)
        healed = time.time()
        lab.healthy(primary=lab.STANDBY, within=PATIENCE)
    story("12r a promotion is not registered", clients, figure, lab.STANDBY, healed)
    home()


@row("15")
def test_row_15_no_space_for_wal(clients, figure, attempt):
    """The primary can neither write nor restart, so a standby is promoted. When there is space, the old primary comes back as a standby."""
    # The volume has room for the new primary's WAL, which a rewind copies.
    wal, volume = lab.DATA + "/pg_wal", "/mnt/wal"
    lab.sql(lab.PRIMARY, "drop table if exists filler; create table filler (number int)", "app")
    pause = ["-e", "repmgr_maintenance=pause", "-e", json.dumps({"repmgr_reason": "a small volume for WAL"})]
    lab.playbook("playbooks/maintenance.yml", *pause).assert_ok()
    lab.ssh(lab.PRIMARY, "systemctl stop {0}; mkdir -p {2}; mount -t tmpfs -o size=$(($(du -sm {1} | cut -f1) + 1200))m tmpfs {2} &&"
                         " cp -a {1}/. {2}/ && mv {1} {1}.kept && ln -s {2} {1} && chown -R postgres: {2} && chmod 700 {2} &&"
                         " systemctl start {0}".format(lab.UNIT, wal, volume))
    lab.playbook("playbooks/maintenance.yml", "-e", "repmgr_maintenance=unpause").assert_ok()
    lab.healthy(within=60)
    try:
        with clients:
            lab.ssh(lab.PRIMARY, "fallocate -l $(($(df --output=avail -B1 {0} | tail -1) - 8388608)) {0}/filler".format(volume))
            # What was recycled has room for some of it.
            lab.as_postgres(lab.PRIMARY, "for n in $(seq 40); do psql -Xqc 'insert into filler select generate_series(1, 1000000)' app || exit 0; done; exit 1")
            new = another_primary(seconds=PATIENCE + 30)
            clients.writers.progress(seconds=60)
            lab.ssh(lab.PRIMARY, "rm " + volume + "/filler")
            healed = time.time()
            back = streams_again(lab.PRIMARY, healed)
            lab.healthy(primary=new, within=90)
        story("15 no space for WAL on the primary", clients, figure, new, healed, back=back)
    finally:
        lab.ssh(lab.PRIMARY, "systemctl stop {0}; if [ -L {1} ]; then rm -rf {1}.kept {1} && mkdir -m 700 {1} && cp -a {2}/. {1}/ &&"
                             " chown -R postgres: {1}; umount {2}; fi; systemctl start {0} || true".format(lab.UNIT, wal, volume))
        lab.sql(lab.primaries()[0], "drop table filler", "app")
    home()


@row("16")
def test_row_16_a_standbys_daemon_and_the_guard_are_killed(clients, figure, attempt):
    with clients:
        lab.ssh(lab.STANDBY, "kill -9 $(systemctl show -p MainPID --value repmgrd repmgr-guard)")
        lab.ssh(lab.PRIMARY, "kill -9 $(systemctl show -p MainPID --value repmgr-guard)")
        healed = time.time()
        lab.wait_until("they run again", 20, lambda: all(
            lab.ssh(host, "systemctl is-active repmgrd repmgr-guard").split() == ["active"] * 2 for host in (lab.PRIMARY, lab.STANDBY)))
    story("16 repmgrd and repmgr-guard are killed", clients, figure, lab.PRIMARY, healed, lost=0)


@row("16m", layouts=("3w",), why="needs a second standby")
def test_row_16m_a_standbys_daemons_miss_a_failover(clients, figure, attempt):
    """Its repmgrd exits at each start, because its upstream, the old primary, is gone: the guard makes it follow the new one."""
    with clients:
        lab.ssh(lab.STANDBY, "systemctl stop repmgrd repmgr-guard")
        lab.docker("kill", lab.PRIMARY)
        new = another_primary(seconds=PATIENCE + 60)
        assert new == lab.OTHER_STANDBY
        lab.ssh(lab.STANDBY, "systemctl start repmgr-guard; systemctl start --no-block repmgrd")
        healed = time.time()
        lab.wait_until("the standby follows", PATIENCE + 60, lambda: lab.sql(
            lab.STANDBY, "select sender_host from pg_stat_wal_receiver") == [[lab.ADDRESS[new]]])
        assert "follows %s" % new in journal(lab.STANDBY)
        lab.docker("start", lab.PRIMARY)
        lab.healthy(primary=new, within=PATIENCE)
    story("16m a standby's daemons miss a failover", clients, figure, new, healed)
    home()


@row("16w", layouts=("3w",), why="needs a second standby")
def test_row_16w_a_standby_misses_a_failover_and_the_wal_goes_on(clients, figure, attempt):
    """Its host is off while the rewound old primary becomes primary again. The checkpoints in between, and a wal_keep_size of nothing,
    remove all WAL that no slot keeps.
    """
    def set_keep_size(how):
        for host in lab.DATA_HOSTS:
            lab.sql(host, "alter system %s" % how)
            lab.sql(host, "select pg_reload_conf()")

    def wal_goes_on(primary, standby):
        for dummy in range(4):
            lab.sql(primary, "select pg_switch_wal()")
            lab.sql(primary, "checkpoint")
        lab.replayed(primary, [standby])
        lab.sql(standby, "checkpoint")

    set_keep_size("set wal_keep_size = 0")
    try:
        with clients:
            lab.docker("kill", lab.PRIMARY)
            new = another_primary()
            lab.docker("start", lab.PRIMARY)
            lab.healthy(primary=new, within=PATIENCE + 30)
            for host in lab.DATA_HOSTS:
                lab.wait_until("%s keeps WAL for the others" % host, 60, lambda host=host: lab.keeps_for_others(host))
            away = [host for host in lab.DATA_HOSTS if host not in (new, lab.PRIMARY)][0]
            lab.docker("kill", away)
            wal_goes_on(new, lab.PRIMARY)
            lab.playbook("playbooks/switchover.yml", "-e", "target=" + lab.PRIMARY)
            assert lab.primaries([lab.PRIMARY, new]) == [lab.PRIMARY]
            wal_goes_on(lab.PRIMARY, new)
            # It knows the way to the one that is a standby again; the WAL shall come from the primary.
            lab.ssh(new, "iptables -A INPUT -s %s -j DROP" % lab.ADDRESS[away])
            lab.docker("start", away)
            healed = time.time()
            lab.wait_until("%s streams from the primary" % away, PATIENCE + 60, lambda: lab.sql(
                away, "select status, sender_host from pg_stat_wal_receiver") == [["streaming", lab.ADDRESS[lab.PRIMARY]]])
            back = time.time() - healed
            lab.ssh(new, "iptables -D INPUT -s %s -j DROP" % lab.ADDRESS[away])
        story("16w a standby misses a failover, and the WAL goes on", clients, figure, lab.PRIMARY, healed, back=back)
    finally:
        set_keep_size("reset wal_keep_size")


@row("17")
def test_row_17_all_connections_are_taken(clients, figure, attempt):
    """Applications take what is there; superusers and the guard's open connections stay."""
    with clients:
        hogs = [subprocess.Popen([sys.executable, "-c", "import psycopg2, time\nc = psycopg2.connect(%r)\ntime.sleep(20)" % (
            lab.APP_DSN.replace("target_session_attrs=read-write", ""))], stderr=subprocess.DEVNULL) for dummy in range(100)]
        time.sleep(15)
        assert lab.primaries() == [lab.PRIMARY]
        for hog in hogs:
            hog.wait(timeout=60)
        healed = time.time()
        clients.writers.progress()
    story("17 all connections are taken", clients, figure, lab.PRIMARY, healed, lost=0)


@row("27")
def test_row_27_a_network_that_flaps(clients, figure, attempt):
    """Cuts of two seconds, or of one with an isolation limit of two: no standby is promoted, and no server is stopped."""
    with clients:
        started = lab.lives(lab.PRIMARY)["server"]
        for dummy in range(6):
            with Cut([lab.PRIMARY], [host for host in lab.HOSTS if host != lab.PRIMARY]):
                time.sleep(1 if PROFILE == "fast" else 2)
            time.sleep(4)
        healed = time.time()
        lab.healthy(within=60)
        assert lab.lives(lab.PRIMARY)["server"] == started
    story("27 the network flaps", clients, figure, lab.PRIMARY, healed, lost=0)


# --- no acknowledged row is lost where commits wait ----------------------------------------------------

@pytest.fixture(scope="module")
def synchronous():
    lab.site(*deployed(repmgr_synchronous=1)).assert_ok()
    assert {lab.value(host, "show synchronous_standby_names") for host in lab.DATA_HOSTS} == {
        "ANY 1 (%s)" % ", ".join('"%s"' % host for host in lab.DATA_HOSTS)}
    yield
    lab.site(*deployed()).assert_ok()


def progress_if_confirmed(clients):
    """Where there is no third data node, commits wait until the old primary is a standby."""
    if lab.LAYOUT != "2w":
        clients.writers.progress(seconds=60)


@row("4s")
def test_row_4s_the_host_is_off_and_commits_wait_for_a_standby(synchronous, clients, figure, attempt):
    with clients:
        lab.docker("kill", lab.PRIMARY)
        new = another_primary()
        progress_if_confirmed(clients)
        lab.docker("start", lab.PRIMARY)
        healed = time.time()
        lab.healthy(primary=new, within=PATIENCE)
        clients.writers.progress(seconds=60)
    story("4s host off, repmgr_synchronous 1", clients, figure, new, healed, lost=0)
    home()


@row("5s")
def test_row_5s_cut_off_and_commits_wait_for_a_standby(synchronous, clients, figure, attempt):
    with clients:
        with Cut([lab.PRIMARY], [host for host in lab.HOSTS if host != lab.PRIMARY]):
            new = another_primary()
            progress_if_confirmed(clients)
        healed = time.time()
        lab.healthy(primary=new, within=PATIENCE)
        clients.writers.progress(seconds=60)
    story("5s cut off, repmgr_synchronous 1", clients, figure, new, healed, lost=0)
    home()
