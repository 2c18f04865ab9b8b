"""What runs cost, beside their goals: by hand against site.yml on the same empty hosts, site.yml with nothing to do, a switchover by the playbook
against the bare command while clients write, and status.

    make bench                          all of it, on hosts made anew
    tests/bench/bench.sh --strict       a missed goal is a failure, too

Each run is timed, and counted by three figures:

* tasks: what Ansible's recap calls ok, of the host that has most of them;
* processes: how far the process ids of a host went on meanwhile. Each container has its own, given out in sequence to processes and threads. So
  what the host's own daemons start is in it; the run "nothing for as long" says how much that is;
* round trips: starts of ssh, sftp and scp on this machine (count/ssh). Connections are kept open between them.

The figures are lines of JSON in .cache/bench.jsonl, of which tests/tools/bench_table.py makes the tables of docs/performance.md and the README.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/acceptance"))

import lab  # noqa: E402
import machine  # noqa: E402
import said  # noqa: E402
import writers  # noqa: E402

CACHE = ROOT / ".cache"
LOGS = CACHE / "bench"
RECORD = CACHE / "bench.jsonl"
COUNT = ROOT / "tests/bench/count"

GOAL_BY_HAND = 1.3          # times the walkthrough by hand
GOAL_AGAIN = 0.15           # of the first run
GOAL_AGAIN_SECONDS = 20
GOAL_AGAIN_TASKS = 60
GOAL_SWITCHOVER = 1.5, 5    # times the bare command, and seconds
GOAL_GAP = 0.1              # seconds more than with the bare command: less than a client can tell, who looks every 0.05 s
GOAL_STATUS_SECONDS = 5
SLOWEST = 10


def last_pids():
    """The process id that each host gave out last."""
    return {host: int(subprocess.check_output(["docker", "exec", host, "cat", "/proc/loadavg"]).split()[-1]) for host in lab.HOSTS}


def started(before, after):
    """How many were given out on each host in between; ids begin anew at the kernel's limit."""
    limit = int(pathlib.Path("/proc/sys/kernel/pid_max").read_text())
    return {host: (after[host] - before[host]) % limit for host in before}


def spread(values):
    """(median, 'median (lowest-highest)') of seconds."""
    middle = statistics.median(values)
    return middle, "%.2f s (%.2f-%.2f)" % (middle, min(values), max(values))


def run(title, argv, rc=0, count=True, **environment):
    """Run argv from the repository, its output to a log; what it took and its output. Another exit code than rc ends everything."""
    log = LOGS / ("%s.log" % re.sub(r"\W+", "-", title))
    trips = LOGS / "round-trips"
    trips.write_text("")
    print("%s ..." % title, end=" ", flush=True)
    before = last_pids() if count else {}
    begun = time.monotonic()
    with log.open("w") as stream:
        ended = subprocess.call(argv, cwd=str(ROOT), stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=dict(
            os.environ, PATH="%s:%s" % (COUNT, os.environ["PATH"]), BENCH_PATH=os.environ["PATH"], BENCH_ROUND_TRIPS=str(trips), **environment))
    seconds = time.monotonic() - begun
    processes = started(before, last_pids()) if count else {}
    print("%.1f s" % seconds, flush=True)
    output = log.read_text()
    if ended != rc:
        print(output[-6000:])
        sys.exit("bench: '%s' ended with %d, expected %d; all of its output is in %s" % (title, ended, rc, log))
    return {"run": title, "command": " ".join(argv), "seconds": seconds, "processes": processes, "round_trips": len(trips.read_text().split()),
            "tasks": None, "changed": None, "slowest": []}, output


def playbook(title, name, *options, inventory=lab.INVENTORY, **keywords):
    done, output = run(title, ["ansible-playbook", name, "-i", inventory] + list(options), ANSIBLE_CALLBACKS_ENABLED="ansible.posix.profile_tasks",
                       PROFILE_TASKS_TASK_OUTPUT_LIMIT=str(SLOWEST), ANSIBLE_NOCOLOR="1", **keywords)
    hosts = said.recap(output)
    done.update(slowest=said.slowest(output), tasks=max(counts["ok"] for counts in hosts.values()),
                changed=sum(counts["changed"] for counts in hosts.values()))
    return done


def nothing_for(seconds):
    """What the hosts start by themselves."""
    before = last_pids()
    time.sleep(seconds)
    return {"run": "nothing for as long", "command": "", "seconds": seconds, "processes": started(before, last_pids()), "round_trips": 0, "tasks": None,
            "changed": None, "slowest": []}


def observation():
    """Medians of five: one call of repmgr_cluster_info for the whole cluster, and repmgr's two tables over SSH by hand."""
    module = ["ansible", lab.PRIMARY, "-i", lab.INVENTORY, "-b", "--become-user", "postgres",
              "-m", "pgfleet.repmgr.repmgr_cluster_info", "-a", json.dumps({
                  "config_file": "/etc/repmgr.conf", "bin_dir": lab.BIN, "observe_peers": True})]
    ssh = ["ssh", "-i", ".lab/id_ed25519", "-o", "UserKnownHostsFile=.lab/known_hosts", "-o", "StrictHostKeyChecking=yes",
           "root@" + lab.ADDRESS[lab.PRIMARY], "cd / && runuser -u postgres -- sh -c 'repmgr cluster show && repmgr service status'"]
    return [statistics.median(run("%s, %d" % (title, number + 1), argv, count=False)[0]["seconds"] for number in range(5))
            for title, argv in (("repmgr_cluster_info", module), ("cluster show and service status", ssh))]


def bare(target):
    """repmgr's own command as it is typed on the target."""
    return run("bare switchover to %s" % target, [
        "ssh"] + lab._ssh_options() + ["root@" + lab.ADDRESS[target], "cd / && runuser -u postgres -- %s standby switchover --siblings-follow" % lab.REPMGR])[0]


def by_playbook(target):
    return playbook("switchover.yml to %s" % target, "playbooks/switchover.yml", "-e", "repmgr_target=" + target)


def switchovers():
    """Each way in both directions, twice, while two clients write: ({way: runs}, {way: write gaps})."""
    runs, gaps = {bare: [], by_playbook: []}, {bare: [], by_playbook: []}
    for way, target in ((bare, lab.STANDBY), (by_playbook, lab.PRIMARY), (by_playbook, lab.STANDBY), (bare, lab.PRIMARY)) * 2:
        with tempfile.TemporaryDirectory() as folder:
            clients = writers.Writers(pathlib.Path(folder))
            with clients:
                runs[way].append(way(target))
                clients.progress()
            lab.healthy(primary=target)
            gaps[way].append(clients.gap())
    return runs, gaps


def with_a_host_off(times):
    lab.docker("kill", lab.OTHER_STANDBY)
    try:
        # Not before repmgrd of the others has noticed: status is asked when something is wrong, not in the moment of it.
        time.sleep(30)
        return [playbook("status.yml, one host of four is off", "playbooks/status.yml", rc=2, count=False) for dummy in range(times)]
    finally:
        lab.undo_faults()
        lab.healthy()


def middle(runs):
    """Of several runs of the same the one of median length."""
    return sorted(runs, key=lambda done: done["seconds"])[len(runs) // 2]


class Record:
    """What was measured, as a line on the terminal when all is done and as a line of JSON at once."""

    def __init__(self, path):
        self.path, self.rows = path, []
        path.write_text("")

    def write(self, **line):
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def figure(self, what, value, text, goal="", reached=None, shown_by=""):
        """shown_by: the run whose most expensive tasks say why, where the goal is missed."""
        self.rows.append((what, text, goal, reached))
        self.write(figure=what, value=round(value, 3), text=text, goal=goal, reached=reached, shown_by=shown_by)

    def run(self, done):
        self.write(**dict(done, seconds=round(done["seconds"], 2)))

    def show(self, runs):
        for done in runs:
            print("\n%s: %.1f s, %s tasks a host, %s processes started on a host, %d SSH round trips" % (
                done["run"], done["seconds"], done["tasks"] or "no", max(done["processes"].values(), default="?"), done["round_trips"]))
            for seconds, task in done["slowest"]:
                print("  %7.2f s  %s" % (seconds, task))
        print("\n  %-48s %-22s %-34s" % ("figures", "", "goal"))
        for what, text, goal, reached in self.rows:
            print("  %-48s %-22s %-34s %s" % (what, text, goal, {None: "", True: "reached", False: "MISSED"}[reached]))
        print("  also in %s; logs in %s" % (self.path, LOGS))


def main():
    LOGS.mkdir(parents=True, exist_ok=True)
    record = Record(RECORD)
    fresh = ["bash", "-c", "molecule/shared/lab.sh down && molecule/shared/lab.sh up"]
    load = os.getloadavg()[0]

    run("fresh hosts", fresh, count=False)
    by_hand = run("by hand", ["tests/bench/by-hand.sh"])[0]
    run("fresh hosts again", fresh, count=False)
    first = playbook("site.yml", "site.yml")
    agains = [playbook("site.yml again", "site.yml") for dummy in range(3)]
    again = middle(agains)
    idle = nothing_for(again["seconds"])
    observed, shown = observation()
    healthy = middle([playbook("status.yml", "playbooks/status.yml") for dummy in range(3)])
    run("an application is let in", ["ansible-playbook", "site.yml", "-i", lab.INVENTORY, "-e", json.dumps(lab.APP_ACCESS)], count=False)
    lab.make_application()
    runs, gaps = switchovers()
    degraded = middle(with_a_host_off(3))

    record.write(machine=dict(machine.versions(), **lab_versions()), load=round(load, 1))
    record.figure("by hand, four empty hosts", by_hand["seconds"], "%.1f s" % by_hand["seconds"])
    ratio = first["seconds"] / by_hand["seconds"]
    record.figure("site.yml, four empty hosts", ratio, "%.1f s, %.2f times by hand" % (first["seconds"], ratio), "<= %.1f times by hand" % GOAL_BY_HAND,
                  ratio <= GOAL_BY_HAND, "site.yml")
    share = again["seconds"] / first["seconds"]
    record.figure("site.yml again, nothing to do", share, "%.1f s, %.2f of the first" % (again["seconds"], share),
                  "< %.2f of the first run" % GOAL_AGAIN, share < GOAL_AGAIN, "site.yml again")
    record.figure("the same, in seconds", again["seconds"], "%.1f s" % again["seconds"], "< %d s" % GOAL_AGAIN_SECONDS,
                  again["seconds"] < GOAL_AGAIN_SECONDS, "site.yml again")
    record.figure("tasks a host in that run", again["tasks"], "%d" % again["tasks"], "< %d" % GOAL_AGAIN_TASKS, again["tasks"] < GOAL_AGAIN_TASKS,
                  "site.yml again")
    bare_seconds, text = spread([done["seconds"] for done in runs[bare]])
    record.figure("bare repmgr standby switchover", bare_seconds, text)
    seconds, text = spread([done["seconds"] for done in runs[by_playbook]])
    times, more = GOAL_SWITCHOVER
    record.figure("switchover.yml", seconds, text, "< %.1f times the bare command + %d s: %.1f s" % (times, more, times * bare_seconds + more),
                  seconds < times * bare_seconds + more, "switchover.yml")
    bare_gap, text = spread(gaps[bare])
    record.figure("write gap that clients see, bare command", bare_gap, text)
    gap, text = spread(gaps[by_playbook])
    record.figure("write gap that clients see, switchover.yml", gap, text, "no longer: %.2f s, +- %.1f" % (bare_gap, GOAL_GAP), gap <= bare_gap + GOAL_GAP,
                  "switchover.yml")
    for what, done in (("status.yml, healthy", healthy), ("status.yml, one host of four is off", degraded)):
        record.figure(what, done["seconds"], "%.1f s" % done["seconds"], "< %d s" % GOAL_STATUS_SECONDS, done["seconds"] < GOAL_STATUS_SECONDS, done["run"])
    record.figure("repmgr_cluster_info, whole cluster", observed, "%.2f s" % observed)
    record.figure("cluster show + service status, by hand", shown, "%.2f s" % shown)

    kept = [by_hand, first, again, idle, dict(middle(runs[bare]), run="bare switchover"), dict(middle(runs[by_playbook]), run="switchover.yml"), healthy,
            degraded]
    for done in kept:
        record.run(done)
    record.show(kept)

    if any(done["changed"] for done in agains):
        sys.exit("bench: site.yml with nothing to do changed something; the output of the last of its three runs is in %s" % LOGS)
    missed = [what for what, dummy, goal, reached in record.rows if reached is False]
    if missed and "--strict" in sys.argv[1:]:
        sys.exit("bench: goals missed: %s" % ", ".join(missed))


def lab_versions():
    """What runs on the hosts."""
    answer = lab.ssh(lab.PRIMARY, ". /etc/os-release; echo $PRETTY_NAME; %s/postgres --version; %s/repmgr --version; python3 --version" % (lab.BIN, lab.BIN))
    return dict(zip(("hosts", "postgresql", "repmgr", "hosts_python"), answer.splitlines()))


if __name__ == "__main__":
    main()
