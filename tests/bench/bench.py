"""Time the walkthrough by hand, site.yml on the same empty hosts, site.yml with nothing to do, and one observation."""
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
LOGS = CACHE / "bench"

GOAL_RATIO = 1.3
GOAL_NO_CHANGE_SECONDS = 20
GOAL_NO_CHANGE_TASKS = 60

RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d+ .*)$", re.M)
TASK = re.compile(r"^(?P<task>\S.*?) -{2,} +(?P<seconds>[\d.]+)s$", re.M)


def run(title, argv, **environment):
    """Run argv from the repository, its output to a log, and return seconds and output; stop when it fails."""
    log = LOGS / ("%s.log" % title.replace(" ", "-"))
    print("%s ..." % title, end=" ", flush=True)
    started = time.monotonic()
    with log.open("w") as stream:
        rc = subprocess.call(argv, cwd=str(ROOT), stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             env=dict(os.environ, **environment))
    seconds = time.monotonic() - started
    print("%.1f s" % seconds, flush=True)
    output = log.read_text()
    if rc:
        print(output[-6000:])
        sys.exit("bench: '%s' ended with %d; all of its output is in %s" % (title, rc, log))
    return seconds, output


def recap(output):
    """Per host: {'ok': 40, 'changed': 0, ...}, from the last PLAY RECAP."""
    tail = output[output.rindex("PLAY RECAP"):]
    return {
        match["host"]: {name: int(value) for name, value in (pair.split("=") for pair in match["counts"].split())}
        for match in RECAP.finditer(tail)
    }


def slowest(output):
    tail = output[output.rindex("PLAY RECAP"):]
    return [(float(match["seconds"]), match["task"]) for match in TASK.finditer(tail)]


def site(title):
    seconds, output = run(
        title, ["ansible-playbook", "site.yml", "-i", "inventories/lab"],
        ANSIBLE_CALLBACKS_ENABLED="ansible.posix.profile_tasks",
        PROFILE_TASKS_TASK_OUTPUT_LIMIT="10", ANSIBLE_NOCOLOR="1",
    )
    return seconds, recap(output), slowest(output)


def observation():
    """Medians of five: one call of repmgr_cluster_info for the whole cluster, and repmgr's two tables over SSH by hand."""
    module = ["ansible", "base-centos-1", "-i", "inventories/lab", "-b", "--become-user", "postgres",
              "-m", "pgfleet.repmgr.repmgr_cluster_info", "-a", json.dumps({
                  "config_file": "/etc/repmgr.conf", "bin_dir": "/usr/lib/postgresql/15/bin", "observe_peers": True})]
    ssh = ["ssh", "-i", ".lab/id_ed25519", "-o", "UserKnownHostsFile=.lab/known_hosts", "-o", "StrictHostKeyChecking=yes",
           "root@192.168.56.101", "cd / && runuser -u postgres -- sh -c 'repmgr cluster show && repmgr service status'"]
    return [sorted(run("%s, %d" % (title, number + 1), argv)[0] for number in range(5))[2]
            for title, argv in (("repmgr_cluster_info", module), ("cluster show and service status", ssh))]


def main():
    LOGS.mkdir(parents=True, exist_ok=True)
    fresh = ["bash", "-c", "molecule/shared/lab.sh down && molecule/shared/lab.sh up"]

    run("fresh hosts", fresh)
    by_hand, dummy = run("by hand", ["tests/bench/by-hand.sh"])
    run("fresh hosts again", fresh)
    deploy, dummy, deploy_tasks = site("site.yml")
    no_change, hosts, no_change_tasks = site("site.yml again")
    observed, shown = observation()

    figures = {
        "by_hand_seconds": round(by_hand, 1),
        "site_seconds": round(deploy, 1),
        "ratio": round(deploy / by_hand, 2),
        "no_change_seconds": round(no_change, 1),
        "no_change_tasks": {host: counts["ok"] for host, counts in hosts.items()},
        "no_change_changed": {host: counts["changed"] for host, counts in hosts.items()},
        "repmgr_cluster_info_seconds": round(observed, 2),
        "cluster_show_and_service_status_seconds": round(shown, 2),
        "slowest_tasks": deploy_tasks,
        "slowest_tasks_no_change": no_change_tasks,
        "processors": os.cpu_count(),
    }
    (CACHE / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")

    tasks = max(figures["no_change_tasks"].values())
    missed = []

    def row(what, value, goal, reached):
        print("  %-38s %8s   %-14s %s" % (what, value, goal, "" if reached is None else "reached" if reached else "MISSED"))
        if reached is False:
            missed.append(what)

    for title, listing in (("site.yml", deploy_tasks), ("site.yml again", no_change_tasks)):
        print("\nMost expensive tasks, %s" % title)
        for seconds, task in listing:
            print("  %7.2f s  %s" % (seconds, task))
    print("\nFigures (%d processors)                              goal" % figures["processors"])
    row("by hand, four empty hosts", "%.1f s" % by_hand, "", None)
    row("site.yml, four empty hosts", "%.1f s" % deploy, "", None)
    row("ratio", "%.2f" % figures["ratio"], "<= %.1f" % GOAL_RATIO, figures["ratio"] <= GOAL_RATIO)
    row("site.yml again, nothing to do", "%.1f s" % no_change, "< %d s" % GOAL_NO_CHANGE_SECONDS,
        no_change < GOAL_NO_CHANGE_SECONDS)
    row("tasks a host in that run, at most", tasks, "< %d" % GOAL_NO_CHANGE_TASKS, tasks < GOAL_NO_CHANGE_TASKS)
    row("repmgr_cluster_info, whole cluster", "%.2f s" % observed, "", None)
    row("cluster show + service status, by hand", "%.2f s" % shown, "", None)
    print("  also in .cache/bench.json; logs in .cache/bench/")

    if any(figures["no_change_changed"].values()):
        sys.exit("bench: the second run of site.yml changed something: %s" % figures["no_change_changed"])
    if missed and "--strict" in sys.argv[1:]:
        sys.exit("bench: goals missed: %s" % ", ".join(missed))


if __name__ == "__main__":
    main()
