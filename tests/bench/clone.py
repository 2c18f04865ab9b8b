"""What a copy of the data costs: repmgr_node beside bare pg_basebackup, in one run, on the lab that is up and healthy.

    make bench-clone                        a database of 2 GB, three rounds
    tests/bench/clone.sh --gigabytes 8 --rounds 1

In each round one standby first takes a bare copy beside its data, then loses its data and is cloned by the module; what counts of the module's run is
the action that copies. Then both standbys are cloned at the same time, and one from the other. Figures are lines of JSON in .cache/bench-clone.jsonl.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/acceptance"))

import bench  # noqa: E402
import lab  # noqa: E402
import machine  # noqa: E402

RECORD = ROOT / ".cache/bench-clone.jsonl"
SCALES_PER_GIGABYTE = 68    # of pgbench, with its indexes
GOAL = 1.1                  # times the bare copy
BARE = "/var/lib/postgresql/bench-bare"
SETTINGS = "/tmp/repmgr-bench.conf"


def filled():
    """pgbench's exit code, once it has one."""
    return lab.ssh(lab.PRIMARY, "cat /tmp/bench-clone.rc", check=False).stdout.strip()


def fill(gigabytes):
    """A database of that size on the primary, and bytes of all of them."""
    lab.sql(lab.PRIMARY, "drop database if exists bench_clone")
    lab.sql(lab.PRIMARY, "create database bench_clone")
    # In the background: it takes longer than a command there may.
    lab.as_postgres(lab.PRIMARY, "(rm -f /tmp/bench-clone.rc; %s/pgbench -i -q -s %d bench_clone; echo $? >/tmp/bench-clone.rc) >/dev/null 2>&1 &" % (
        lab.BIN, round(gigabytes * SCALES_PER_GIGABYTE)))
    lab.wait_until("a database of %.1f GB" % gigabytes, 1800, filled, pause=2)
    if filled() != "0":
        sys.exit("bench-clone: pgbench could not fill a database")
    lab.sql(lab.PRIMARY, "checkpoint")
    lab.healthy(within=300)
    return int(lab.value(lab.PRIMARY, "select sum(pg_database_size(oid)) from pg_database"))


def conninfo(host):
    return lab.value(lab.PRIMARY, "select conninfo from repmgr.nodes where node_name = '%s'" % host, "repmgr")


def bare(host):
    """Seconds of a copy by pg_basebackup alone, with the options that repmgr gives it."""
    begun = time.monotonic()
    lab.as_postgres(host, "%s/pg_basebackup --checkpoint=fast -X stream -D %s -d '%s'" % (lab.BIN, BARE, conninfo(lab.PRIMARY)))
    seconds = time.monotonic() - begun
    lab.ssh(host, "rm -rf %s" % BARE)
    return seconds


def cloned(hosts, source="", basebackup_options=""):
    """{host: seconds that the clone took}. All hosts are cloned at the same time, from empty data directories, and are members again afterwards."""
    # Without a standby in sight, a primary stops itself, unless repmgrd is paused.
    lab.as_postgres(lab.PRIMARY, lab.REPMGR + " service pause")
    for host in hosts:
        lab.ssh(host, "systemctl stop repmgr-guard repmgrd %s && find %s -mindepth 1 -delete" % (lab.UNIT, lab.DATA))
        lab.ssh(host, "cp -p /etc/repmgr.conf %s; echo \"pg_basebackup_options='%s'\" >>%s" % (SETTINGS, basebackup_options, SETTINGS))
    arguments = {"role": "standby", "config_file": SETTINGS if basebackup_options else "/etc/repmgr.conf", "bin_dir": lab.BIN,
                 "primary_conninfo": conninfo(lab.PRIMARY)}
    if source:
        arguments["clone_conninfo"] = conninfo(source)
    said = subprocess.run(
        ["ansible", ",".join(hosts), "-i", lab.INVENTORY, "-b", "--become-user", "postgres", "-m", "pgfleet.repmgr.repmgr_node",
         "-a", json.dumps(arguments), "-o"], cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, universal_newlines=True, check=False)
    found = {}
    for line in said.stdout.splitlines():
        host, dummy, answer = line.partition(" | CHANGED => ")
        for action in json.loads(answer)["actions"] if answer else []:
            if action["action"] == "clone":
                found[host] = action["seconds"]
    if sorted(found) != sorted(hosts):
        sys.exit("bench-clone: not all of %s were cloned:\n%s" % (", ".join(hosts), said.stdout))
    for host in hosts:
        lab.ssh(host, "rm -f %s; systemctl start repmgrd repmgr-guard" % SETTINGS)
    lab.as_postgres(lab.PRIMARY, lab.REPMGR + " service unpause")
    lab.healthy(within=120)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2, help="size of the database (2)")
    parser.add_argument("--rounds", type=int, default=3, help="copies of each kind (3)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    record = bench.Record(RECORD)
    record.write(machine=dict(machine.versions(), **bench.lab_versions()), load=round(load, 1))
    lab.healthy()
    size = fill(arguments.gigabytes)
    try:
        copies, clones = [], []
        for dummy in range(arguments.rounds):
            copies.append(bare(lab.OTHER_STANDBY))
            clones.append(cloned([lab.OTHER_STANDBY])[lab.OTHER_STANDBY])
        both = cloned([lab.STANDBY, lab.OTHER_STANDBY])
        from_standby = cloned([lab.OTHER_STANDBY], source=lab.STANDBY)[lab.OTHER_STANDBY]
        compressed = {way: cloned([lab.OTHER_STANDBY], basebackup_options="--compress=server-%s" % way)[lab.OTHER_STANDBY] for way in ("lz4", "zstd", "gzip")}
    finally:
        lab.sql(lab.PRIMARY, "drop database if exists bench_clone")
        # What the module has registered, it registers again as the inventory says.
        lab.site().assert_ok()
    copy, text = bench.spread(copies)
    record.figure("bare pg_basebackup --checkpoint=fast, %.1f GB" % (size / 1e9), copy, text)
    clone, text = bench.spread(clones)
    record.figure("repmgr_node's copy of the same", clone, "%s, %.2f times the bare one" % (text, clone / copy), "<= %.1f times the bare one" % GOAL,
                  clone <= GOAL * copy)
    last = max(both.values())
    record.figure("two standbys at the same time", last, "%.1f s until the last has its copy" % last,
                  "less than one after the other: %.1f s" % (2 * clone), last < 2 * clone)
    record.figure("from a standby (repmgr_clone_from)", from_standby, "%.1f s" % from_standby)
    for way, seconds in compressed.items():
        record.figure("compressed by the server, %s (repmgr_clone_compress)" % way, seconds, "%.1f s" % seconds)
    record.show([])


if __name__ == "__main__":
    main()
