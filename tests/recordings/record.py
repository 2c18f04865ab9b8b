"""Record what repmgr really says: `python3 tests/recordings/record.py [bullseye|bookworm|trixie ...]`.

For each suite one container of the lab's image runs a whole cluster, four servers on four ports, is brought into each kind of
trouble, and repmgr is asked. What it answered is written to tests/recordings/VERSION/TROUBLE.json, which
tests/unit/plugins/module_utils/test_recordings.py reads. Takes two minutes per suite; the container is removed afterwards.
"""
import json
import pathlib
import shlex
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
POSTGRESQL = {"bullseye": "13", "bookworm": "15", "trixie": "17"}
NAMES = {1: "n1", 2: "n2", 3: "n3", 4: "w4"}
USUAL = [
    "cluster show --csv", "cluster show", "service status --csv", "service status", "node status --csv", "node check --csv",
    "cluster event --csv --limit=20",
]
OVER_SSH = ["cluster matrix --csv", "cluster matrix", "cluster crosscheck --csv", "cluster crosscheck"]


class Recorder:
    """One container with one cluster."""

    def __init__(self, suite):
        self.suite = suite
        self.name = "pgfleet-record-%s" % suite
        self.bin = "/usr/lib/postgresql/%s/bin" % POSTGRESQL[suite]
        self.version = None

    def __enter__(self):
        image = subprocess.run([str(ROOT / "molecule/shared/image.sh"), self.suite], check=True, stdout=subprocess.PIPE,
                               universal_newlines=True).stdout.strip()
        # No network: what is there is enough, and a cluster that trusts everybody has no business on one.
        subprocess.run(["docker", "run", "-d", "--init", "--network", "none", "--name", self.name, image, "sleep", "infinity"],
                       check=True, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *dummy):
        subprocess.run(["docker", "rm", "-f", "-v", self.name], check=True, stdout=subprocess.DEVNULL)

    def run(self, command, user="postgres", check=True):
        done = subprocess.run(["docker", "exec", "-i", "-u", user, "-e", "LC_ALL=C", "-w", "/", self.name, "bash", "-c", command],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False)
        if check and done.returncode != 0:
            raise SystemExit("%s: '%s' ended with %d\n%s" % (self.suite, command, done.returncode, (
                done.stdout + done.stderr).decode("utf-8", "replace")[-3000:]))
        return done

    # -- the cluster

    def install(self):
        self.run("mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf"
                 " && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-download postgresql-%s postgresql-%s-repmgr"
                 % ((POSTGRESQL[self.suite],) * 2), user="root")
        # Matrix and crosscheck ask each node over SSH, also where all of them are one machine.
        self.run("install -d -o postgres /srv/r && mkdir -p /run/sshd && ssh-keygen -A >/dev/null && /usr/sbin/sshd"
                 " && usermod -p '*' postgres", user="root")
        self.run("mkdir -pm 700 ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519 && cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys"
                 " && for name in localhost 127.0.0.1 ::1; do sed \"s/^/$name /;s/ root@.*//\" /etc/ssh/ssh_host_*_key.pub; done >~/.ssh/known_hosts")
        self.version = self.run(self.bin + "/repmgr --version").stdout.decode().split()[1]

    @staticmethod
    def conninfo(node):
        return "host=localhost port=550%d user=repmgr dbname=repmgr connect_timeout=2" % node

    def start(self, node):
        self.run("%s/pg_ctl -D /srv/r/%d -w -l /srv/r/%d.log -o '-p 550%d -k /tmp' start" % (self.bin, node, node, node))

    def stop(self, node):
        self.run("%s/pg_ctl -D /srv/r/%d -w -m fast stop" % (self.bin, node))

    def sql(self, node, query):
        return self.run("%s/psql -XAtq -v ON_ERROR_STOP=1 -d %s -c %s" % (
            self.bin, shlex.quote(self.conninfo(node)), shlex.quote(query))).stdout.decode().strip()

    def repmgr(self, node, words, check=True):
        return self.run("%s/repmgr -f /srv/r/%d.conf %s" % (self.bin, node, words), check=check)

    def daemon(self, node):
        self.run("%s/repmgrd -f /srv/r/%d.conf -p /srv/r/%d.pid -d >/dev/null 2>&1" % (self.bin, node, node))

    def make(self):
        for node, name in NAMES.items():
            # failover=manual: a trouble has to last until it is recorded.
            lines = {
                "node_id": node, "node_name": name, "conninfo": self.conninfo(node), "data_directory": "/srv/r/%d" % node,
                "pg_bindir": self.bin, "failover": "manual", "promote_command": "/bin/false", "follow_command": "/bin/false",
                "log_file": "/srv/r/%d.repmgr.log" % node, "use_replication_slots": "yes", "monitor_interval_secs": 1,
                "priority": 0 if node == 4 else 100,
                "service_start_command": "%s/pg_ctl -D /srv/r/%d -w -l /srv/r/%d.log -o \"-p 550%d -k /tmp\" start" % (
                    self.bin, node, node, node),
            }
            text = "".join("%s='%s'\n" % pair for pair in lines.items())
            self.run("printf %%s %s >/srv/r/%d.conf" % (shlex.quote(text), node))
        for node in (1, 4):
            self.run("%s/initdb -D /srv/r/%d -A trust -N -E UTF8 --locale C.UTF-8 >/dev/null && printf %%s %s >>/srv/r/%d/postgresql.conf" % (
                self.bin, node, shlex.quote("shared_preload_libraries = 'repmgr'\nwal_log_hints = on\nfsync = off\n"
                                            "listen_addresses = 'localhost'\nshared_buffers = 16MB\nunix_socket_directories = '/tmp'\n"), node))
            self.start(node)
            self.run("cd /tmp && %s/createuser -h /tmp -p 550%d -s repmgr && %s/createdb -h /tmp -p 550%d -O repmgr repmgr" % (
                self.bin, node, self.bin, node))
        self.repmgr(1, "primary register")
        for node in (2, 3):
            self.repmgr(node, "-h localhost -p 5501 -U repmgr -d repmgr standby clone --fast-checkpoint")
            self.start(node)
            self.repmgr(node, "standby register --wait-sync=30")
        self.repmgr(4, "-h localhost -p 5501 -U repmgr -d repmgr witness register")
        for node in NAMES:
            self.daemon(node)
        self.until(lambda: self.repmgr(1, "service status --csv").stdout.decode().count(",1,1,") == 4, "four daemons")

    def until(self, probe, what):
        for dummy in range(60):
            if probe():
                return
            time.sleep(0.5)
        raise SystemExit("%s: no %s within 30 s" % (self.suite, what))

    # -- recording

    def record(self, trouble, nodes, commands=()):
        calls = []
        for node in nodes:
            for command in commands or USUAL:
                done = self.repmgr(node, command, check=False)
                calls.append({
                    "argv": ["repmgr", "-f", "/srv/r/%d.conf" % node] + command.split(), "rc": done.returncode,
                    "stdout": done.stdout.decode("utf-8", "replace").splitlines(),
                    "stderr": done.stderr.decode("utf-8", "replace").splitlines(),
                })
        self.write(trouble, calls)

    def write(self, trouble, calls):
        folder = HERE / self.version
        folder.mkdir(exist_ok=True)
        document = {"repmgr": self.version, "postgresql": POSTGRESQL[self.suite], "suite": self.suite, "trouble": trouble, "calls": calls}
        (folder / (trouble + ".json")).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print("%s %s: %d answers, exit codes %s" % (
            self.version, trouble, len(calls), sorted(set(call["rc"] for call in calls))), flush=True)

    def troubles(self):
        self.record("healthy", [1, 2, 4])
        self.record("healthy_over_ssh", [1], OVER_SSH)

        self.repmgr(1, "service pause")
        self.record("paused", [1])
        self.repmgr(1, "service unpause")

        self.run("kill $(cat /srv/r/2.pid)")
        self.until(lambda: self.sql(2, "select repmgr.repmgrd_is_running()") == "f", "end of a daemon")
        self.record("repmgrd_down", [1, 2])
        self.daemon(2)

        self.sql(1, "insert into repmgr.events (node_id, event, successful, details) values"
                    " (1, 'odd_details', false, E'comma, \"quote\", ''single'', | bar, n\\u00e4me\\nand a second line')")
        self.sql(1, "update repmgr.nodes set node_name = E'n 3, \"the \\u00e4dd\" | one', location = 'a, b' where node_id = 3")
        time.sleep(1)
        self.record("odd_characters", [1])
        self.sql(1, "update repmgr.nodes set node_name = 'n3', location = 'default' where node_id = 3")

        self.sql(1, "update repmgr.nodes set active = false where node_id = 3")
        time.sleep(1)
        self.record("node_inactive", [1, 3])
        self.sql(1, "update repmgr.nodes set active = true where node_id = 3")

        source = self.sql(3, "show primary_conninfo")
        self.sql(3, "alter system set primary_conninfo = ''")
        self.sql(3, "select pg_reload_conf()")
        self.until(lambda: self.sql(1, "select count(*) from pg_stat_replication") == "1", "detached standby")
        self.record("standby_detached", [1, 3])
        self.sql(3, "alter system set primary_conninfo = '%s'" % source.replace("'", "''"))
        self.sql(3, "select pg_reload_conf()")
        self.until(lambda: self.sql(1, "select count(*) from pg_stat_replication") == "2", "attached standby")

        # A witness that was away while the primary changed: its daemon must not bring its copy up to date meanwhile.
        self.run("kill $(cat /srv/r/4.pid)")
        self.sql(4, "update repmgr.nodes set type = case node_id when 1 then 'standby' when 2 then 'primary' else type end,"
                    " upstream_node_id = case node_id when 2 then null when 4 then 2 else upstream_node_id end")
        self.record("witness_stale", [4])

        self.stop(3)
        self.record("standby_down", [1, 3])
        self.start(3)

        self.stop(1)
        self.record("primary_down", [2])
        self.record("primary_down_over_ssh", [2], OVER_SSH)
        self.errors()

        self.repmgr(2, "standby promote")
        self.record("promoted", [2, 3])
        self.start(1)
        self.record("split_brain", [1, 2, 3])

    def errors(self):
        """Exit codes that can be had while the primary is down, and without harm."""
        self.run("echo \"node_id='x\" >/srv/r/8.conf; sed \"s/^node_id=.*/node_id='9'/;s/n3/n9/\" /srv/r/3.conf >/srv/r/9.conf")
        calls = []
        for node, command in [
            (8, "cluster show --csv"), (9, "node status --csv"), (1, "cluster show --csv"), (1, "service status --csv"),
            (1, "primary register"), (2, "primary register"), (2, "standby follow"), (2, "standby switchover --dry-run"),
            (2, "standby register"), (2, "standby clone"), (3, "node rejoin -d 'host=localhost port=5501'"),
            (2, "node check --csv --upstream"), (3, "node check --csv --archive-ready --replication-lag"), (2, "service pause"),
            (2, "witness unregister"), (2, "cluster nonsense"),
        ]:
            done = self.repmgr(node, command, check=False)
            calls.append({
                "argv": ["repmgr", "-f", "/srv/r/%d.conf" % node] + shlex.split(command), "rc": done.returncode,
                "stdout": done.stdout.decode("utf-8", "replace").splitlines(),
                "stderr": done.stderr.decode("utf-8", "replace").splitlines(),
            })
        self.write("errors", calls)
        self.repmgr(2, "service unpause", check=False)


def main():
    for suite in sys.argv[1:] or sorted(POSTGRESQL):
        with Recorder(suite) as recorder:
            recorder.install()
            recorder.make()
            recorder.troubles()


if __name__ == "__main__":
    main()
