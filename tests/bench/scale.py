"""What many clusters cost the controller: seconds, seconds of processor and memory per host of runs that have nothing to do.

    make bench-scale                                  on the lab that is up and healthy
    tests/bench/scale.sh --inventory DIR -e a=b 10 30 another cluster, variables for its runs, other numbers of clusters

One run of each playbook on one real cluster is written down (connection_plugins/recorded.py). Then inventories of many such clusters answer with
it: the same nodes, each cluster with a name of its own and names of its own for its hosts. So nothing is measured but the controller: Ansible, the
roles' variables and templates, and the filters; there is no host and no network in it. What was recorded had nothing to change; where a file's
contents have the hosts' names, the replayed run goes through writing it, which a real run would not.

Goal: what a host costs stays within 1.2 times from the fewest clusters to the most. Figures are lines of JSON in .cache/bench-scale.jsonl.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import machine
import said

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache/bench-scale"
RECORD = ROOT / ".cache/bench-scale.jsonl"
GROUPS = ("primary", "standby", "witness")
# What the playbooks see of a host besides its own variables.
SEEN = ("ansible_user", "ansible_python_interpreter")
# Lines of SSH's files have names in them: their digests differ from the recorded ones, and what would write them asks more than files.
REPLAYED = ("-e", json.dumps({"__repmgr_keys_are_old": False}))
GOAL = 1.2
COSTS = (("seconds", "seconds_a_host"), ("seconds of processor", "processor_a_host"), ("memory", "mebibytes_a_host"))


def run(title, playbook, inventory, options=(), **environment):
    """(seconds, seconds of processor, MiB of the largest process, [[seconds, task], ...]) of one ansible-playbook."""
    log = FOLDER / ("%s.log" % title)
    argv = ["ansible-playbook", "playbooks/%s.yml" % playbook, "-i", str(inventory), "-e", "ansible_connection=recorded"] + list(options)
    begun = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(argv, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=dict(
            os.environ, ANSIBLE_CONNECTION_PLUGINS=str(ROOT / "tests/bench/connection_plugins"), ANSIBLE_NOCOLOR="1",
            ANSIBLE_CALLBACKS_ENABLED="ansible.posix.profile_tasks", PROFILE_TASKS_TASK_OUTPUT_LIMIT="all", **environment))
        dummy, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    output = log.read_text(encoding="utf-8")
    if status:
        sys.exit("bench-scale: '%s' failed; its output is in %s:\n%s" % (title, log, output[-4000:]))
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024.0, said.slowest(output)


def nodes(inventory):
    """The recorded hosts: [(name, address, group, its variables)]."""
    listed = json.loads(subprocess.check_output(["ansible-inventory", "-i", str(inventory), "--list"], cwd=str(ROOT)))
    found = []
    for group in GROUPS:
        for name in listed.get(group, {}).get("hosts", []):
            variables = listed["_meta"]["hostvars"][name]
            address = variables.get("ansible_host", name)
            kept = {key: value for key, value in variables.items() if key.startswith("repmgr_") or key in SEEN}
            found.append((name, address, group, dict({"repmgr_address": address}, **kept)))
    return found


def inventory_of(clusters, recorded):
    """An inventory of that many clusters, each like the recorded one."""
    groups = {group: {} for group in GROUPS}
    for cluster in range(clusters):
        for place, (dummy, dummy, group, variables) in enumerate(recorded):
            name = "c%03d-%d" % (cluster, place + 1)
            groups[group][name] = dict(variables, ansible_host=name, repmgr_cluster_name="c%03d" % cluster)
    return {"all": {"children": {group: {"hosts": hosts} for group, hosts in groups.items()}}}


def record(playbook, inventory, recorded, recording, options):
    shutil.rmtree(recording, ignore_errors=True)
    recording.mkdir(parents=True)
    (recording / "hosts.json").write_text(json.dumps(
        {"cluster": recorded[0][3]["repmgr_cluster_name"], "hosts": [node[:2] for node in recorded]}), encoding="utf-8")
    run("%s, recorded" % playbook, playbook, inventory, options, BENCH_RECORD=str(recording))


def measured(playbook, numbers, recorded, recording, options):
    lines = []
    for clusters in numbers:
        inventory = FOLDER / ("%d-clusters.json" % clusters)
        inventory.write_text(json.dumps(inventory_of(clusters, recorded)), encoding="utf-8")
        seconds, processor, mebibytes, tasks = run("%s, %d clusters" % (playbook, clusters), playbook, inventory, list(REPLAYED) + options,
                                                   BENCH_REPLAY=str(recording))
        hosts = clusters * len(recorded)
        lines.append({"playbook": playbook, "clusters": clusters, "hosts": hosts, "seconds": seconds, "processor": processor, "mebibytes": mebibytes,
                      "seconds_a_host": seconds / hosts, "processor_a_host": processor / hosts, "mebibytes_a_host": mebibytes / hosts,
                      "tasks": tasks})
        print("%-10s %4d clusters, %4d hosts: %7.1f s, %7.1f s of processor, %5.0f MiB; a host: %.3f s, %.3f s of processor, %.2f MiB" % (
            playbook, clusters, hosts, seconds, processor, mebibytes, seconds / hosts, processor / hosts, mebibytes / hosts), flush=True)
    return lines


def verdicts(lines):
    """Whether each cost of a host stays as it is, from the fewest clusters to the most."""
    few, many = min(lines, key=lambda line: line["clusters"]), max(lines, key=lambda line: line["clusters"])
    for what, key in COSTS:
        ratio = many[key] / few[key]
        yield {"figure": "%s: %s a host, %d clusters against %d" % (few["playbook"], what, many["clusters"], few["clusters"]), "value": round(ratio, 3),
               "text": "%.2f times" % ratio, "goal": "<= %.1f times" % GOAL, "reached": ratio <= GOAL, "shown_by": few["playbook"]}


def write(lines):
    with RECORD.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inventory", default="inventories/lab", help="the cluster that is recorded")
    parser.add_argument("--playbooks", default="status,site", help="names of playbooks that change nothing there")
    parser.add_argument("-e", dest="extra", action="append", default=[], help="variables for the recorded and the replayed runs")
    parser.add_argument("--replay", action="store_true", help="with what an earlier call has recorded; no host is needed")
    parser.add_argument("clusters", nargs="*", type=int, default=[10, 30, 100], metavar="CLUSTERS", help="numbers of clusters (10 30 100)")
    arguments = parser.parse_args()
    options = [word for extra in arguments.extra for word in ("-e", extra)]
    known = FOLDER / "nodes.json"
    if arguments.replay:
        recorded = json.loads(known.read_text(encoding="utf-8"))
    else:
        recorded = nodes(arguments.inventory)
        FOLDER.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(recorded), encoding="utf-8")
    RECORD.write_text("", encoding="utf-8")
    write([{"machine": machine.versions(), "load": round(os.getloadavg()[0], 1), "nodes": len(recorded)}])
    for playbook in arguments.playbooks.split(","):
        recording = FOLDER / playbook
        if not arguments.replay:
            record(playbook, arguments.inventory, recorded, recording, options)
        lines = measured(playbook, arguments.clusters, recorded, recording, options)
        found = list(verdicts(lines))
        write(lines + found)
        for line in found:
            print("%-70s %-12s %s %s" % (line["figure"], line["text"], line["goal"], "reached" if line["reached"] else "MISSED"), flush=True)
    print("also in %s; logs in %s" % (RECORD, FOLDER))


if __name__ == "__main__":
    main()
