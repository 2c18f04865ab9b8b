"""A default deployment as somebody who means it harm sees it: from a host of his own, and from a node that is not his.

Every refusal is looked at for its reason, and beside each stands a control: the same thing from where it is allowed.
"""
import json
import os
import pathlib
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile

import pytest

import attacker
import lab
import leaks
from refusal import nothing_changes

HOME = "/var/lib/postgresql"
KEY = HOME + "/.ssh/id_ed25519"
# Nothing of the caller's own configuration, and an answer at once.
SSH = "ssh -F none -o BatchMode=yes -o ConnectTimeout=5 -o IdentitiesOnly=yes -o IdentityAgent=none"
PEERS = [(lab.HOSTS[n], lab.HOSTS[n - 1]) for n in range(len(lab.HOSTS))]


MARKER = "Mk" + secrets.token_hex(12)
# What a shell, SQL and psycopg each would spell differently; the part that is searched for has none of it.
PASSWORD = MARKER + "'\"% $x"
# Goes the same way as the password, through the same file, and may be seen.
CANARY = "cn" + secrets.token_hex(12)
VARIABLES = {
    "repmgr_password": PASSWORD,
    "repmgr_pg_hba_extra": [{"contype": "local", "databases": CANARY, "users": CANARY, "address": "", "method": "peer"}],
    # As many do it in production; a password in a statement would be in the server's log.
    "repmgr_postgresql_settings": {"log_statement": "ddl"},
}


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """The variables, encrypted; the right vault password and a wrong one."""
    folder = tmp_path_factory.mktemp("vault")
    for name in ("right", "wrong"):
        (folder / name).write_text(secrets.token_hex(16) + "\n")
    subprocess.run([str(lab.ROOT / ".venv/bin/ansible-vault"), "encrypt", "--vault-password-file", str(folder / "right"),
                    "--output", str(folder / "vars.yml"), "-"], input=json.dumps(VARIABLES), universal_newlines=True, check=True,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (folder / "vars.yml").read_text().startswith("$ANSIBLE_VAULT;")
    return folder


@pytest.fixture(scope="module")
def empty():
    lab.lab("reset")


@pytest.fixture(scope="module")
def deployed(empty, vault, tmp_path_factory):
    """A deployment on empty hosts, watched; the folder has all that it left on this machine."""
    folder = tmp_path_factory.mktemp("controller")
    environment = leaks.environment(folder)
    with leaks.Samples(folder / "samples"):
        planted = [subprocess.Popen(["ssh"] + lab._ssh_options() + ["root@" + lab.ADDRESS[host], "sh -c 'sleep 2; true' " + CANARY],
                                    stdin=subprocess.DEVNULL) for host in lab.HOSTS]
        with open(str(folder / "output"), "w") as output:
            done = subprocess.run(
                ["ansible-playbook", "-vvv", "site.yml", "-i", lab.INVENTORY, "-e", "@%s" % (vault / "vars.yml"),
                 "--vault-password-file", str(vault / "right")],
                cwd=str(lab.ROOT), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=600, check=False)
        assert [process.wait(timeout=30) for process in planted] == [0] * len(planted)
    assert done.returncode == 0, (folder / "output").read_text()[-4000:]
    lab.healthy()
    return folder


on_the_cluster = pytest.mark.usefixtures("deployed")


@pytest.fixture(scope="module")
def attackers_host(deployed):
    with attacker.host():
        yield


@pytest.fixture(scope="module")
def secret(deployed):
    return PASSWORD


def connection(host, database="repmgr", user="repmgr", more=""):
    return shlex.quote("host=%s port=5432 dbname=%s user=%s connect_timeout=5 %s" % (lab.ADDRESS[host], database, user, more))


# --- before, and without, a deployment -------------------------------------------------------------

def test_another_controller():
    """Nothing but the repository and the way to the hosts: the nodes themselves know the password that was generated."""
    passfile = lab.ssh(lab.PRIMARY, "cat %s/.pgpass" % HOME)
    inventory = "inventories/two_clusters" if "pgfleet.repmgr alpha" in passfile else lab.INVENTORY
    home = pathlib.Path(tempfile.mkdtemp(prefix="other-"))
    try:
        copy = home / "copy"
        shutil.copytree(str(lab.ROOT), str(copy), symlinks=True, ignore=lambda folder, names: (
            {".ansible", ".cache", ".git", ".venv", "build"} & set(names) if folder == str(lab.ROOT) else set()))
        place = copy / ".ansible/collections/ansible_collections/pgfleet"
        place.mkdir(parents=True)
        (place / "repmgr").symlink_to(copy)
        environment = {
            "HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible"), "ANSIBLE_COLLECTIONS_PATH": str(copy / ".ansible/collections"),
            "PATH": "%s:%s" % (lab.ROOT / ".venv/bin", os.environ["PATH"]), "LANG": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(["ansible-playbook", "site.yml", "-i", inventory], cwd=str(copy), env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=600, check=False)
    finally:
        shutil.rmtree(str(home), ignore_errors=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.findall(r"^(\S+) +: .*changed=0 .*failed=0 ", done.stdout, re.M) == lab.HOSTS, done.stdout[-2000:]
    assert lab.ssh(lab.PRIMARY, "cat %s/.pgpass" % HOME) == passfile


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("inline", [False, True], ids=["file", "variable"])
def test_a_wrong_vault_password(vault, tmp_path, inline):
    extra = vault / "vars.yml"
    if inline:
        # Only decrypted when it is used, which must not be in the middle of a deployment.
        encrypted = subprocess.run([str(lab.ROOT / ".venv/bin/ansible-vault"), "encrypt_string", "--vault-password-file", str(vault / "right"),
                                    "--stdin-name", "repmgr_password"], input="of no use", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   universal_newlines=True, check=True).stdout
        extra = tmp_path / "vars.yml"
        extra.write_text(encrypted)
    with nothing_changes():
        run = lab.site("-e", "@%s" % extra, "--vault-password-file", str(vault / "wrong"))
        assert run.rc != 0 and not any(run.count("changed").values()), str(run)
        assert "Decryption failed" in run.message + run.stderr + run.stdout, str(run)


# --- secrets ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", lab.HOSTS)
def test_the_password_is_in_the_passfile_alone(deployed, name):
    assert leaks.on_host(name, MARKER) == {HOME + "/.pgpass"}
    assert MARKER in lab.ssh(name, "cat %s/.pgpass" % HOME)
    shown = lab.ssh(name, "cd / && runuser -u postgres -- psql -XAtq -d repmgr -f -",
                    stdin="select name, setting from pg_settings; select * from repmgr.nodes; select query from pg_stat_activity;"
                          "select rolpassword from pg_authid where rolname = 'repmgr';")
    assert "primary_conninfo|" in shown and "host=" + lab.ADDRESS[name] in shown and "SCRAM-SHA-256$" in shown
    assert not [word for word in leaks.spellings(MARKER).split() if word in shown]


def test_the_password_is_nowhere_on_the_controller(deployed):
    assert leaks.in_folders(MARKER, deployed, lab.ROOT / ".ansible", pathlib.Path.home() / ".ansible") == set()


def test_what_is_there_is_found(deployed):
    """The control of the two tests above: the canary came the same way."""
    found = {os.path.relpath(path, str(deployed)) for path in leaks.in_folders(CANARY, deployed)}
    assert found >= {"output", "ansible.log"} | {"samples/" + name for name in lab.HOSTS}, found
    assert any((deployed / "facts").iterdir()), "no facts were kept"
    hba = "/etc/postgresql/%s/main/pg_hba.conf" % lab.VERSION
    for name in lab.HOSTS:
        lab.ssh(name, "read -r word; echo \"xy$word:z\" | base64 -w0 >/var/tmp/planted; systemd-cat echo \"$word\"", stdin=CANARY + "\n")
        lab.wait_until("the journal has it", 10, lambda name=name: "journal" in leaks.on_host(name, CANARY))
        assert leaks.on_host(name, CANARY) >= {hba, "/var/tmp/planted", "journal"}
        lab.ssh(name, "rm /var/tmp/planted")
    # The statements that could have had it are in the log.
    assert "CREATE EXTENSION" in lab.ssh(lab.PRIMARY, "cat /var/log/postgresql/*.log")


# --- PostgreSQL -----------------------------------------------------------------------------------

NO_ENTRY = r'no pg_hba\.conf entry for %s"' + re.escape(attacker.ADDRESS) + '"'


@pytest.mark.parametrize("stolen", [False, True], ids=["no-password", "stolen-password"])
@pytest.mark.parametrize("name", lab.HOSTS)
def test_sql_from_a_strange_address(attackers_host, secret, name, stolen):
    password = "read -r PGPASSWORD; export PGPASSWORD; " if stolen else ""
    for user, database in (("repmgr", "repmgr"), ("repmgr", "postgres"), ("postgres", "postgres")):
        done = attacker.run(password + "psql -XAtwc 'select 1' %s" % connection(name, database, user), check=False, stdin=secret + "\n")
        attacker.refused(done, NO_ENTRY % "host ", 2)
    done = attacker.run(password + "psql -XAtwc IDENTIFY_SYSTEM %s" % connection(name, more="replication=1"), check=False, stdin=secret + "\n")
    attacker.refused(done, NO_ENTRY % "replication connection from host ", 2)
    done = attacker.run(password + "pg_basebackup -w -D /root/loot -d %s" % connection(name), check=False, stdin=secret + "\n")
    attacker.refused(done, NO_ENTRY % "replication connection from host ", 1)


@pytest.mark.parametrize("name,peer", PEERS)
def test_the_same_from_a_node(secret, name, peer):
    """The control of the test above, and a wrong password from the right address."""
    right = "read -r PGPASSWORD; export PGPASSWORD; psql -XAtw"
    for more, command in (("", "select 1"), ("replication=1", "IDENTIFY_SYSTEM")):
        query = "%s -c %s %s" % (right, shlex.quote(command), connection(peer, more=more))
        assert lab.ssh(name, query, stdin=secret + "\n").strip()
        attacker.refused(lab.ssh(name, query, check=False, stdin="x" + secret + "\n"), 'password authentication failed for user "repmgr"', 2)
        bare = "PGPASSFILE=/dev/null psql -XAtwc %s %s" % (shlex.quote(command), connection(peer, more=more))
        attacker.refused(lab.ssh(name, bare, check=False), "no password supplied", 2)
    # A node's address is good for repmgr alone, not for the superuser.
    attacker.refused(lab.ssh(name, right + "c 'select 1' " + connection(peer, "postgres", "postgres"), check=False, stdin=secret + "\n"),
                     r'no pg_hba\.conf entry for host "%s"' % re.escape(lab.ADDRESS[name]), 2)


@on_the_cluster
@pytest.mark.parametrize("name", lab.HOSTS)
def test_every_line_of_pg_hba(name):
    rules = lab.sql(name, "select type, auth_method, coalesce(address, ''), coalesce(netmask, ''), coalesce(error, '')"
                          " from pg_hba_file_rules")
    assert rules
    seen = set()
    for contype, method, address, netmask, error in rules:
        assert error == ""
        if contype == "local":
            assert method == "peer"
        else:
            assert contype in ("host", "hostssl") and method == "scram-sha-256"
            # Where the server was made by initdb, its own lines for the host itself are there, too.
            assert netmask == ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" if address == "::1" else "255.255.255.255")
            seen.add(address)
    assert seen - {"127.0.0.1", "::1"} == set(lab.ADDRESS.values())
    assert lab.value(name, "select bool_and(rolpassword like 'SCRAM-SHA-256$%') from pg_authid where rolpassword is not null") == "t"


# --- SSH ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,peer", PEERS)
def test_a_stolen_key(attackers_host, name, peer):
    """The key of `name` opens `peer` from `name`, and from nowhere else."""
    login = SSH + " -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -i %s postgres@" + lab.ADDRESS[peer] + " hostname"
    assert lab.as_postgres(name, login % KEY).strip() == peer
    key = lab.ssh(name, "cat " + KEY)
    thief = next(host for host in lab.HOSTS if host not in (name, peer))
    begin = lab.ssh(peer, "date +%s").strip()
    steal = "umask 077; d=$(mktemp -d); cat >$d/key; %s; rc=$?; rm -r $d; exit $rc" % (login % "$d/key")
    attacker.refused(attacker.run(steal, check=False, stdin=key), r"Permission denied \(publickey", 255)
    attacker.refused(lab.ssh(thief, steal, check=False, stdin=key), r"Permission denied \(publickey", 255)
    journal = lab.ssh(peer, "journalctl -q -o cat -u ssh --since @" + begin)
    for address in (attacker.ADDRESS, lab.ADDRESS[thief]):
        assert re.search(r"correct key but not from a permitted host \(host=\S+, ip=%s" % re.escape(address), journal), journal


FORWARDS = [
    ("stdio", "-W 127.0.0.1:22", "", "", r"administratively prohibited"),
    ("remote", "-o ExitOnForwardFailure=yes -R 127.0.0.1:15432:127.0.0.1:5432", "true", "", r"remote port forwarding failed"),
    ("terminal", "-tt", "tty", "", r"PTY allocation request failed"),
    ("agent", "-A", "'test -n \"$SSH_AUTH_SOCK\"'", "ssh-agent ", None),
]


@pytest.mark.parametrize("options,command,wrapper,reason", [row[1:] for row in FORWARDS], ids=[row[0] for row in FORWARDS])
def test_a_key_is_for_commands_alone(attackers_host, options, command, wrapper, reason):
    """A node's key in its peer's hands opens no tunnel; the attacker's own host, without `restrict`, shows that it could."""
    name, peer = lab.STANDBY, lab.PRIMARY
    attempt = "%s%s -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no %s -i %s postgres@%%s %s </dev/null" % (
        wrapper, SSH.replace(" -o IdentityAgent=none", "") if wrapper else SSH, options, KEY, command)
    done = lab.as_postgres(name, attempt % lab.ADDRESS[peer], check=False)
    if reason:
        attacker.refused(done, reason)
    else:
        assert done.returncode == 1, "%d: %s%s" % (done.returncode, done.stdout, done.stderr)
    with let_in(name, ""):
        done = lab.as_postgres(name, attempt % attacker.ADDRESS, check=False)
        assert done.returncode == 0, "%d: %s%s" % (done.returncode, done.stdout, done.stderr)


class let_in(object):
    """The attacker's host takes the key of a node, so that only the node's own caution is left."""

    def __init__(self, name, options):
        self.line = options + lab.ssh(name, "cat %s.pub" % KEY)

    def __enter__(self):
        attacker.run("install -d -o postgres -g postgres -m 700 {0}/.ssh && cat >{0}/.ssh/authorized_keys"
                     " && chown postgres: {0}/.ssh/authorized_keys && chmod 600 {0}/.ssh/authorized_keys".format(HOME), stdin=self.line)

    def __exit__(self, *dummy):
        attacker.run("rm %s/.ssh/authorized_keys" % HOME)


@pytest.mark.parametrize("name,peer", PEERS)
def test_a_man_in_the_middle_of_ssh(attackers_host, name, peer):
    """As repmgr calls it: with the options of repmgr.conf, but for the one that makes it silent."""
    options = re.search(r"^ssh_options='(.*)'$", lab.ssh(name, "cat /etc/repmgr.conf"), re.M).group(1)
    assert "StrictHostKeyChecking=yes" in options
    login = "ssh -o BatchMode=yes %%s %s %s hostname" % (re.sub(r"(^| )-q( |$)", " ", options), lab.ADDRESS[peer])
    assert lab.as_postgres(name, login % "").strip() == peer
    with let_in(name, ""), attacker.InTheMiddle(name, peer, 22):
        attacker.refused(lab.as_postgres(name, login % "", check=False), "Host key verification failed", 255)
        # The first of two values counts.
        careless = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null"
        assert lab.as_postgres(name, login % careless).strip() == attacker.NAME
    assert lab.as_postgres(name, login % "").strip() == peer


# --- what the server's user and the role may do ---------------------------------------------------

@on_the_cluster
@pytest.mark.parametrize("name", lab.HOSTS)
def test_sudo(name):
    listed = lab.as_postgres(name, "sudo -n -l")
    rules = re.findall(r"^\s+\(([^)]*)\) (.*)$", listed, re.M)
    commands = [command.strip() for dummy, line in rules for command in line.replace("NOPASSWD:", "").split(",")]
    assert {who for who, dummy in rules} == {"root"} and all(line.startswith("NOPASSWD:") for dummy, line in rules), listed
    assert sorted(commands) == sorted(
        ["/usr/bin/systemctl %s %s" % (verb, lab.UNIT) for verb in ("start", "stop", "restart", "reload")]
        + ["/usr/bin/systemctl %s repmgrd" % verb for verb in ("start", "stop")]
        + ([] if name == lab.WITNESS else ["/usr/bin/systemctl is-failed " + lab.UNIT])), listed
    lab.as_postgres(name, "sudo -n systemctl reload " + lab.UNIT)
    for command in ("systemctl stop ssh", "systemctl start '%s --foo'" % lab.UNIT, "systemctl start %s --foo" % lab.UNIT,
                    "systemctl restart %s ssh" % lab.UNIT, "bash", "-u root id"):
        attacker.refused(lab.as_postgres(name, "sudo -n " + command, check=False), "a password is required", 1)
    assert lab.ssh(name, "systemctl is-active ssh").strip() == "active"


@pytest.fixture
def application(deployed):
    lab.sql(lab.PRIMARY, "create role shop; create database shop owner shop")
    lab.sql(lab.PRIMARY, "create table orders (id int); insert into orders values (1); alter table orders owner to shop", "shop")
    yield
    lab.sql(lab.PRIMARY, "drop database shop with (force)")
    lab.sql(lab.PRIMARY, "drop role shop")


def test_least_rights(application):
    assert lab.sql(lab.PRIMARY, "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, rolcanlogin"
                                " from pg_roles where rolname = 'repmgr'") == [["f", "f", "f", "f", "t", "t"]]
    assert sorted(lab.sql(lab.PRIMARY, "select pg_get_userbyid(roleid) from pg_auth_members where member = 'repmgr'::regrole")) == [
        ["pg_checkpoint"], ["pg_monitor"]]
    for database, query, reason in (
            ("shop", "select * from orders", "permission denied for table orders"),
            ("shop", "create table public.mine ()", "permission denied for schema public"),
            ("repmgr", "create table public.mine ()", "permission denied for schema public"),
            ("repmgr", "copy (select 1) to program 'true'", "to COPY to or from an external program"),
            ("repmgr", "create role another", "permission denied to create role"),
            ("repmgr", "create database another", "permission denied to create database"),
            ("repmgr", "alter system set port = 1", "permission denied")):
        command = "cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d %s -f -" % database
        as_repmgr = lab.ssh(lab.PRIMARY, command, check=False, stdin="set session authorization repmgr; %s;" % query)
        attacker.refused(as_repmgr, reason, 3)
    assert lab.value(lab.PRIMARY, "set session authorization shop; select count(*) from orders", "shop") == "1"


@on_the_cluster
@pytest.mark.parametrize("name", lab.HOSTS)
def test_who_may_read_what(name):
    wanted = {
        HOME + "/.pgpass": "postgres 600", HOME + "/.ssh": "postgres 700", KEY: "postgres 600", HOME + "/.ssh/authorized_keys": "postgres 600",
        HOME + "/.ssh/known_hosts": "postgres 600", "/etc/repmgr.conf": "postgres 640", "/etc/sudoers.d/repmgr": "root 440",
        "/etc/postgresql/%s/main/pg_hba.conf" % lab.VERSION: "postgres 640", lab.DATA: "postgres 700",
    }
    found = dict(line.split(" ", 1) for line in lab.ssh(name, "stat -c '%n %U %a' " + " ".join(wanted)).splitlines())
    assert found == wanted


# --- TLS ------------------------------------------------------------------------------------------

ROOT_CERTIFICATE = "/etc/pgfleet/tls/root.crt"


def imposed_on(name, peer, root):
    """What a node gets from the attacker in its peer's place, when it trusts this root."""
    command = "psql -XAtwc 'select inet_server_addr()' " + connection(peer, more="sslmode=verify-full sslrootcert=" + root)
    with attacker.InTheMiddle(name, peer, 5432):
        return lab.as_postgres(name, command, check=False)


@pytest.mark.parametrize("name,peer", PEERS[:2])
def test_another_authoritys_certificate(attackers_host, name, peer):
    with attacker.server(peer) as root:
        attacker.refused(imposed_on(name, peer, ROOT_CERTIFICATE), "certificate verify failed", 2)
        lab.ssh(name, "umask 022; cat >/var/tmp/other.crt", stdin=root)
        try:
            done = imposed_on(name, peer, "/var/tmp/other.crt")
        finally:
            lab.ssh(name, "rm /var/tmp/other.crt")
        assert done.stdout.strip() == attacker.ADDRESS, done.stderr


@pytest.mark.parametrize("name,peer", PEERS)
def test_no_connection_without_tls(secret, name, peer):
    query = "read -r PGPASSWORD; export PGPASSWORD; psql -XAtwc 'select ssl from pg_stat_ssl where pid = pg_backend_pid()' "
    attacker.refused(lab.ssh(name, query + connection(peer, more="sslmode=disable"), check=False, stdin=secret + "\n"),
                     r"no pg_hba\.conf entry for host .*no encryption", 2)
    verified = connection(peer, more="sslmode=verify-full sslrootcert=" + ROOT_CERTIFICATE)
    assert lab.ssh(name, query + verified, stdin=secret + "\n").strip() == "t"
    remote = lab.sql(peer, "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null")
    assert remote and set(ssl for ssl, in remote) == {"t"}
