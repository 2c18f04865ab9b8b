"""What more hosts cost: site.yml on empty containers and again with nothing to do, and status, for one cluster of 4, 8 and 16 nodes and for 4 clusters of 4.

    make bench-hosts                        all four, beside the lab that is up; half an hour
    tests/bench/hosts.sh 1x8 4x4            clusters x nodes

All containers, and the controller, share this machine: packages are unpacked and data is copied by the same few cores, so that seconds a host are what
counts, and they should not grow. Figures are lines of JSON in .cache/bench-hosts.jsonl.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/acceptance"))

import bench  # noqa: E402
import lab  # noqa: E402
import machine  # noqa: E402

RECORD = ROOT / ".cache/bench-hosts.jsonl"
INVENTORY = ROOT / ".cache/bench-hosts.json"
FIRST_ADDRESS = 121
GOAL = 1.2                  # times what a host of the smallest layout costs


def inventory_of(clusters, nodes):
    """Each cluster with one primary, one witness, and standbys."""
    groups = {group: {"hosts": {}} for group in ("primary", "standby", "witness")}
    for number in range(clusters * nodes):
        cluster, place = divmod(number, nodes)
        group = "primary" if place == 0 else "witness" if place == nodes - 1 else "standby"
        groups[group]["hosts"]["bench-%d" % (number + 1)] = {
            "ansible_host": "192.168.56.%d" % (FIRST_ADDRESS + number), "repmgr_cluster_name": "bench%d" % (cluster + 1), "repmgr_node_id": place + 1}
    variables = json.loads(subprocess.check_output(["ansible-inventory", "-i", lab.INVENTORY, "--host", lab.PRIMARY], cwd=str(ROOT)))
    kept = {name: value for name, value in variables.items() if name not in ("ansible_host", "repmgr_cluster_name", "repmgr_node_id")}
    # Where two cores are shared by sixteen servers, one that does not answer for seconds is no dead one.
    return {"all": {"vars": dict(kept, lab_dir=str(lab.LAB), repmgr_failover_profile="wan"), "children": groups}}


def hosts_of(inventory):
    return {host: values["ansible_host"] for group in inventory["all"]["children"].values() for host, values in group["hosts"].items()}


def make(hosts):
    """Empty, like the lab's; this machine knows their keys."""
    bench.run("%d fresh hosts" % len(hosts), ["bash", "-euc", (
        "export LAB_IMAGE=$(molecule/shared/image.sh); python3 molecule/shared/recreate.py %s;"
        "ansible-playbook -i %s molecule/default/prepare.yml -e lab_hosts=bench-* --limit 'bench-*,localhost'") % (
            " ".join("%s=%s" % host for host in hosts.items()), INVENTORY)], count=False)


def remove(hosts):
    subprocess.call(["docker", "rm", "-f", "-v"] + list(hosts), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measured(clusters, nodes):
    """{run: what it took} of a layout, made for it and removed."""
    title = "%d x %d" % (clusters, nodes)
    inventory = inventory_of(clusters, nodes)
    INVENTORY.write_text(json.dumps(inventory), encoding="utf-8")
    hosts = hosts_of(inventory)
    found = {}
    try:
        make(hosts)
        for run, playbook in (("site.yml", "site.yml"), ("site.yml again", "site.yml"), ("status.yml", "playbooks/status.yml")):
            found[run] = bench.playbook("%s, %s" % (run, title), playbook, count=False, inventory=str(INVENTORY))
    finally:
        remove(hosts)
    if found["site.yml again"]["changed"]:
        sys.exit("bench-hosts: site.yml with nothing to do changed something; its output is in %s" % bench.LOGS)
    return found


def main():
    layouts = [tuple(int(number) for number in word.split("x")) for word in sys.argv[1:] or ("1x4", "1x8", "1x16", "4x4")]
    bench.LOGS.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    record = bench.Record(RECORD)
    record.write(machine=dict(machine.versions(), **bench.lab_versions()), load=round(load, 1))
    first = {}
    for clusters, nodes in layouts:
        for run, done in measured(clusters, nodes).items():
            a_host = done["seconds"] / (clusters * nodes)
            ratio = a_host / first.setdefault(run, a_host)
            text = "%.1f s, %.2f s a host, %.2f times the first" % (done["seconds"], a_host, ratio)
            record.figure("%s, %d x %d nodes" % (run, clusters, nodes), a_host, text, "<= %.1f times the first" % GOAL, ratio <= GOAL)
    record.show([])


if __name__ == "__main__":
    main()
