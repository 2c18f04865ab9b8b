"""A host in the lab's network that is not a node, and the attacks that are possible from it.

lab.sh creates and removes it, also with `down` and `reset` after an interrupted test. It is entered with
`docker exec`: no host of the lab has a key of this host, nor this host one of theirs.
"""
import contextlib
import re
import subprocess

import lab

NAME = "pgfleet-attacker"
ADDRESS = "192.168.56.110"

_SOFTWARE = """
set -e
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends postgresql-%s openssh-client >/root/apt.log 2>&1 || {
    tail -n 5 /root/apt.log >&2; exit 1; }
""" % lab.VERSION


def run(command, check=True, stdin=""):
    """A shell command as root on the attacker's host; like lab.ssh()."""
    done = subprocess.run(["docker", "exec", "-i", NAME, "bash", "-c", command], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=180, check=False)
    if not check:
        return done
    assert done.returncode == 0, "%s: '%.200s' ended with %d\n%s%s" % (NAME, command, done.returncode, done.stdout, done.stderr)
    return done.stdout


@contextlib.contextmanager
def host():
    """The attacker's host, with the clients that he needs, and a server's user like that of the nodes."""
    lab.lab("attacker", "up")
    try:
        run(_SOFTWARE)
        lab.wait_until("the attacker's sshd answers", 30, lambda: run("systemctl is-active ssh", check=False).returncode == 0)
        yield
    finally:
        lab.lab("attacker", "down")


class InTheMiddle(object):
    """While it stands, what `victim` sends to one port of `peer` arrives at another host, the attacker's own unless told."""

    def __init__(self, victim, peer, port, address=ADDRESS):
        self.victim = victim
        self.rule = "OUTPUT -p tcp -d %s --dport %d -j DNAT --to-destination %s:%d" % (lab.ADDRESS[peer], port, address, port)

    def __enter__(self):
        lab.ssh(self.victim, "iptables -t nat -A " + self.rule)

    def __exit__(self, *dummy):
        lab.ssh(self.victim, "iptables -t nat -D " + self.rule)


_SERVER = """
set -e
rm -rf /root/pki && mkdir -m 755 /root/pki && cd /root/pki
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=another cluster' -keyout ca.key -out ca.crt 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN={name}' -keyout server.key -out server.csr 2>/dev/null
printf 'subjectAltName=DNS:{name},IP:{address}' >san
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt 2>/dev/null
pg_createcluster {version} {cluster} -p 5432 >/dev/null
conf=/etc/postgresql/{version}/{cluster}
install -o postgres -g postgres -m 600 server.key server.crt $conf
echo 'hostssl all all 0.0.0.0/0 trust' >>$conf/pg_hba.conf
printf "listen_addresses = '*'\nssl = on\nssl_cert_file = '$conf/server.crt'\nssl_key_file = '$conf/server.key'\n" >>$conf/postgresql.conf
pg_ctlcluster {version} {cluster} start
cd / && runuser -u postgres -- psql -Xqc 'create role repmgr login' -c 'create database repmgr'
"""


@contextlib.contextmanager
def server(peer):
    """A server that lets everybody in, with a certificate for the peer's name and address from another authority: its root."""
    cluster = "imposter"
    try:
        run(_SERVER.format(name=peer, address=lab.ADDRESS[peer], version=lab.VERSION, cluster=cluster))
        yield run("cat /root/pki/ca.crt")
    finally:
        run("pg_dropcluster --stop %s %s" % (lab.VERSION, cluster), check=False)


def refused(done, pattern, code=None):
    """The command failed, with this exit code, and for this reason."""
    said = done.stdout + done.stderr
    assert done.returncode != 0, "not refused: %s" % said
    assert code is None or done.returncode == code, "exit code %d, expected %d: %s" % (done.returncode, code, said)
    assert re.search(pattern, said), "refused, but not for '%s': %s" % (pattern, said)
