"""Deploy sets of options on hosts made for each of them: deploy, status, deploy again, write, switch over, deploy again, status.

    make options                    all sets of a seed that is printed
    make options SET=7 SEED=3       one of them
    make options SET='7 9' KEEP=1   the hosts of the last one stay

Each run of a playbook and each wait has its limit. What a set did is in .cache/options/set-N.log. The last lines name the sets that were left out.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/acceptance"), str(ROOT / ".ansible/collections")]

import lab  # noqa: E402
import psycopg2  # noqa: E402

import options  # noqa: E402

CACHE = ROOT / ".cache/options"
PREFIX = "options"
FIRST_ADDRESS = 151
MOST_HOSTS = 4
ROWS = 1000
A_DAY = 2


class Failed(Exception):
    """The set does not do what was asked of it."""


def command(*argv, **keywords):
    """Its output; a failure says what was run and what it said."""
    seconds, stdin = keywords.pop("seconds", 120), keywords.pop("stdin", "")
    done = subprocess.run(argv, cwd=str(ROOT), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          timeout=seconds, check=False, env=dict(os.environ, **keywords))
    if done.returncode != 0:
        raise Failed("'%s' ended with %d: %s" % (" ".join(argv)[:300], done.returncode, done.stdout[-3000:]))
    return done.stdout


class Set:
    """One set of options on its own hosts."""

    def __init__(self, number, choice, seconds):
        self.number, self.choice, self.seconds = number, choice, seconds
        self.folder = CACHE / ("set-%d" % number)
        self.inventory = self.folder / "inventory.json"
        self.hosts = options.hosts_of(choice, PREFIX, FIRST_ADDRESS)
        groups = options.groups_of(choice, self.hosts)
        self.data_hosts = groups["primary"] + groups["standby"]
        self.log = (CACHE / ("set-%d.log" % number)).open("w")
        self.variables = options.variables_of(choice)

    def say(self, text):
        print(text, file=self.log, flush=True)

    def step(self, title, function, *arguments):
        begun = time.monotonic()
        self.say("--- %s" % title)
        try:
            found = function(*arguments)
        except Exception as error:
            raise Failed("%s: %s" % (title, error))
        print("    %s, %.0f s" % (title, time.monotonic() - begun), flush=True)
        return found

    # --- hosts

    def make_hosts(self):
        """Empty ones; only this set's folder knows their keys."""
        shutil.rmtree(str(self.folder), ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name in ("id_ed25519", "id_ed25519.pub"):
            shutil.copy(str(lab.LAB / name), str(self.folder / name))
        remove_hosts()
        variables = json.loads(command("ansible-inventory", "-i", lab.INVENTORY, "--host", lab.PRIMARY))
        common = {name: value for name, value in variables.items()
                  if name not in ("ansible_host", "repmgr_cluster_name", "repmgr_node_id", "repmgr_package_source")}
        # A socket may not be shared with the hosts that had these addresses before.
        common.update(lab_dir=str(self.folder), ansible_control_path_dir="%s/cp-%d" % (os.path.expanduser("~/.ansible"), os.getpid()),
                      repmgr_package_source="distro")
        self.inventory.write_text(json.dumps(options.inventory(self.choice, PREFIX, FIRST_ADDRESS, **common), indent=1), encoding="utf-8")
        image = os.environ.get("LAB_IMAGE") or command("molecule/shared/image.sh", seconds=1200).splitlines()[-1]
        command("python3", "molecule/shared/recreate.py", *["%s=%s" % (name, own["ansible_host"]) for name, own in self.hosts.items()], LAB_IMAGE=image)
        self.say(command("ansible-playbook", "-i", str(self.inventory), "molecule/default/prepare.yml", "-e", "lab_hosts=%s-*" % PREFIX,
                         "-e", "lab_dir=%s" % self.folder, "--limit", "%s-*,localhost" % PREFIX))
        if self.variables.get("repmgr_tls") == "provided":
            self.give_certificates()

    def give_certificates(self):
        """An authority of the user's, and what it has issued for each host."""
        script = """set -e
            new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
            $new -x509 -days 60 -subj '/CN=the company' -keyout ca.key -out root.crt
            while read -r name address; do
                $new -subj /CN=$name -keyout $name.key -out $name.csr
                printf "subjectAltName=IP:$address,DNS:$name" >san
                openssl x509 -req -in $name.csr -CA root.crt -CAkey ca.key -CAcreateserial -days 60 -extfile san -out $name.crt
            done"""
        folder = self.folder / "authority"
        folder.mkdir()
        subprocess.run(["bash", "-c", script], cwd=str(folder), universal_newlines=True, check=True, stderr=subprocess.DEVNULL, timeout=60,
                       input="".join("%s %s\n" % (name, own["ansible_host"]) for name, own in self.hosts.items()))
        for host in self.hosts:
            # The server's user comes with the package, which prepares nothing here.
            self.on(host, "getent passwd postgres >/dev/null || adduser --system --quiet --home /var/lib/postgresql --no-create-home --group"
                          " --gecos 'PostgreSQL administrator' --shell /bin/bash postgres; install -d -m 755 " + options.OWN_FILES)
            for name, source, mode in (("root.crt", "root.crt", "644"), ("server.crt", host + ".crt", "644"), ("server.key", host + ".key", "600")):
                self.on(host, "cat >{0}/{1} && chown postgres: {0}/{1} && chmod {2} {0}/{1}".format(options.OWN_FILES, name, mode),
                        stdin=(folder / source).read_text())

    @staticmethod
    def on(host, shell, **keywords):
        return command("docker", "exec", "-i", host, "bash", "-c", shell, **keywords)

    def sql(self, host, statement, database="postgres"):
        return self.on(host, "cd / && PGOPTIONS='-c statement_timeout=30s' runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -p %d -d %s -f -" % (
            self.variables.get("repmgr_port", 5432), database), stdin=statement).strip()

    # --- what is done with it

    def playbook(self, name, *arguments):
        # A play's hosts are decided before the inventory's variables are read.
        hosts = self.variables.get("repmgr_hosts")
        done = lab.playbook(name, *(arguments + (("-e", "repmgr_hosts=%s" % hosts) if hosts else ())), inventory=self.inventory, seconds=self.seconds)
        self.say(str(done))
        return done

    def deploy(self):
        done = self.playbook("site.yml").assert_ok()
        if sorted(done.stats) != sorted(self.hosts):
            raise Failed("site.yml ran on %s, expected %s" % (", ".join(sorted(done.stats)) or "no host", ", ".join(sorted(self.hosts))))

    def deploy_again(self):
        self.playbook("site.yml").assert_nothing_changed(list(self.hosts))

    def healthy(self):
        """Seen by status, which ends with 0, within half a minute; the primary."""
        path = self.folder / "status.json"
        deadline = time.monotonic() + 30
        while True:
            done = self.playbook("playbooks/status.yml", "-e", "format=json", "-e", "output=%s" % path)
            if done.rc == 0 or time.monotonic() > deadline:
                break
        done.assert_ok()
        clusters = json.loads(path.read_text(encoding="utf-8"))["clusters"]
        nodes = {node["name"]: node["role"] for cluster in clusters for node in cluster["nodes"]}
        if sorted(nodes) != sorted(self.hosts):
            raise Failed("status knows %s, expected %s" % (sorted(nodes), sorted(self.hosts)))
        primaries = [name for name, role in nodes.items() if role == "primary"]
        if len(primaries) != 1:
            raise Failed("primaries are %s, expected one" % primaries)
        return primaries[0]

    def make_application(self, primary):
        self.sql(primary, "create role {0} login password '{1}'; create database {0} owner {0}".format(options.APPLICATION, lab.APP_PASSWORD))
        self.sql(primary, "create table ledger (number int primary key); alter table ledger owner to %s" % options.APPLICATION, options.APPLICATION)

    def write(self, primary, begin):
        """ROWS rows through the primary, as the application if it may come in; each data node has them in the end."""
        statement = "insert into ledger select generate_series(%d, %d)" % (begin, begin + ROWS - 1)
        if "repmgr_pg_hba_extra" in self.variables:
            connection = psycopg2.connect(
                host=self.hosts[primary]["ansible_host"], port=self.variables.get("repmgr_port", 5432), dbname=options.APPLICATION,
                user=options.APPLICATION, password=lab.APP_PASSWORD, connect_timeout=10, options="-c statement_timeout=30s")
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(statement)
            finally:
                connection.close()
        else:
            self.sql(primary, statement, options.APPLICATION)
        for host in self.data_hosts:
            lab.wait_until("%s has %d rows" % (host, begin + ROWS), 30, lambda host=host: self.sql(
                host, "select count(*) from ledger", options.APPLICATION) == str(begin + ROWS))

    def backed_up(self):
        """The repository has a backup, and gets what the primary writes."""
        witness = [host for host in self.hosts if host not in self.data_hosts][0]
        place = "/etc/pgfleet/backup/%s" % self.variables["repmgr_cluster_name"]

        def repository():
            return json.loads(self.on(witness, "runuser -u postgres -- pgbackrest --config={0}/repository.conf --stanza={1} info --output=json".format(
                place, self.variables["repmgr_cluster_name"])))[0]

        def archived(name):
            return repository()["archive"][-1]["max"] >= name

        if [backup["type"] for backup in repository()["backup"]][:1] != ["full"]:
            raise Failed("the repository has no full backup: %s" % repository())
        primary = self.healthy()
        name = self.sql(primary, "select pg_walfile_name(pg_current_wal_lsn())")
        self.sql(primary, "select pg_switch_wal()")
        lab.wait_until("%s is in the repository" % name, 60, lambda: archived(name))

    def switch_over(self, primary):
        # The one that the others do not have above them stays as it is.
        target = next(host for host in self.data_hosts if host != primary)
        self.playbook("playbooks/switchover.yml", "-e", "target=%s" % target).assert_ok()
        return target

    def last_words(self):
        """Of each host, before it is gone: Ansible writes what it runs into the journal, and a run that was ended says nothing itself."""
        for host in self.hosts:
            self.say("--- %s" % host)
            self.say(subprocess.run(
                ["docker", "exec", host, "sh", "-c", "journalctl --no-pager -n 30; ps axf -o pid,etime,user,args; tail -n 30 /var/log/postgresql/*.log"
                                                     " /var/log/repmgr/repmgr.log"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, errors="replace", timeout=60, check=False).stdout)

    def run(self):
        self.step("hosts", self.make_hosts)
        self.step("deploy", self.deploy)
        primary = self.step("status", self.healthy)
        self.step("deploy again, 0 changed", self.deploy_again)
        self.step("application", self.make_application, primary)
        self.step("write", self.write, primary, 0)
        target = self.step("switch over", self.switch_over, primary)
        self.step("deploy again, 0 changed", self.deploy_again)
        found = self.step("status", self.healthy)
        if found != target:
            raise Failed("status says that %s is primary, expected %s" % (found, target))
        self.step("write", self.write, target, ROWS)
        if "repmgr_backup" in self.variables:
            self.step("backed up", self.backed_up)


def remove_hosts():
    """Of any set: an interrupted run may have left them."""
    subprocess.run(["docker", "rm", "-f", "-v"] + ["%s-%d" % (PREFIX, number + 1) for number in range(MOST_HOSTS)],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180, check=False)


def of_the_day(total, day):
    """Which sets this day's `make test` deploys: all of them in turn."""
    return [(day.toordinal() * A_DAY + place) % total + 1 for place in range(A_DAY)]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="*", type=int, help="numbers, all without")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of-the-day", action="store_true", help="the %d sets of today" % A_DAY)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seconds", type=int, default=600, help="the limit of each run of a playbook")
    parser.add_argument("--keep", action="store_true", help="leave the last set's hosts")
    parser.add_argument("--results", type=pathlib.Path, default=CACHE / "results.jsonl")
    return parser.parse_args()


def main():
    # What is begun is undone after an interruption, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *dummy: sys.exit(130))
    given = arguments()
    CACHE.mkdir(parents=True, exist_ok=True)
    found = dict(enumerate(options.sets(given.seed), 1))
    if given.list:
        for number, choice in found.items():
            print("%d: %s" % (number, options.described(choice)))
        return
    chosen = of_the_day(len(found), datetime.date.today()) if given.of_the_day else given.sets or list(found)
    if set(chosen) - set(found):
        sys.exit("options: there is no set %s, seed %d has 1 to %d" % (", ".join(str(number) for number in sorted(set(chosen) - set(found))), given.seed,
                                                                       len(found)))
    print("options: seed %d has %d sets, of which %s run now" % (given.seed, len(found), ", ".join(str(number) for number in chosen)), flush=True)
    failed = []
    given.results.write_text("")
    try:
        for number in chosen:
            again = "make options SET=%d SEED=%d" % (number, given.seed)
            print("--- options: set %d (%s): %s" % (number, again, options.described(found[number])), flush=True)
            one, why = Set(number, found[number], given.seconds), None
            try:
                one.run()
            except Exception as error:  # the sets after it run all the same
                why = str(error)
                one.say(traceback.format_exc())
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.last_words()
                failed.append(number)
                print("%s\n--- options: set %d FAILED; to run it again: %s; all of its output is in %s" % (why[-6000:], number, again, one.log.name),
                      flush=True)
            with given.results.open("a") as stream:
                print(json.dumps({"set": number, "again": again, "failed": why}), file=stream)
    finally:
        if not given.keep:
            remove_hosts()
    left_out = sorted(set(found) - set(chosen))
    if left_out:
        print("options: left out: sets %s of seed %d" % (", ".join(str(number) for number in left_out), given.seed))
    if failed:
        sys.exit("options: failed: sets %s of seed %d" % (", ".join(str(number) for number in failed), given.seed))


if __name__ == "__main__":
    main()
