"""Certificates that run out, certificates of the user's own, and new credentials under a cluster that clients write to."""
import contextlib
import json
import shlex
import subprocess

import pytest

import lab
from refusal import assert_refused, nothing_changes

ROTATE = "playbooks/rotate_credentials.yml"
HOME = "/var/lib/postgresql"
TLS = "/etc/pgfleet/tls"
SSL = "select a.application_name, s.ssl from pg_stat_ssl s join pg_stat_activity a using (pid) where a.client_addr is not null"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """The lab as `make lab` makes it, with generated credentials, and an application on it."""
    lab.lab("reset")
    # Ended in the middle of the first deployment: between the authority's key and its certificate,
    lab.ssh(lab.PRIMARY, "install -d {0} && umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {0}/ca.key".format(TLS))
    # before there is a server, and after one is there.
    for task in ("Install PostgreSQL and repmgr (apt)", "Create the repmgr role with its password"):
        lab.killed("site.yml", task)
    lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    lab.healthy()
    lab.make_application()


def encrypted(host):
    rows = lab.sql(host, SSL)
    assert all(row[-1] == "t" for row in rows), "%s: %s" % (host, rows)
    return bool(rows)


def streams():
    """Since when which standby streams: a connection that failed would have begun anew."""
    return sorted(lab.sql(lab.PRIMARY, "select application_name, backend_start from pg_stat_replication"))


def lives():
    return {host: lab.lives(host) for host in lab.HOSTS}


# --- managed certificates --------------------------------------------------------------------------

def test_replication_and_daemons_are_encrypted():
    rows = dict((row[0], row[1]) for row in lab.sql(lab.PRIMARY, SSL))
    assert set(rows) >= {lab.STANDBY, lab.OTHER_STANDBY, "repmgr"} and set(rows.values()) == {"t"}
    for host in (lab.STANDBY, lab.OTHER_STANDBY):
        settings = lab.value(host, "select setting from pg_settings where name = 'primary_conninfo'")
        assert "sslmode='verify-full' sslrootcert='%s/root.crt'" % TLS in settings, settings


def sign(host, days, more=""):
    """The host's key, certified by the cluster's own authority for so many days."""
    lab.ssh(host, "cd {tls} && openssl req -new -key server.key -subj /CN=x -out /tmp/x.csr && printf 'subjectAltName=IP:{address},DNS:{name}' >/tmp/x.san"
                  " && openssl x509 -req -in /tmp/x.csr -CA root.crt -CAkey ca.key -CAcreateserial -CAserial /tmp/x.srl -days {days}"
                  " -extfile /tmp/x.san -out server.crt 2>/dev/null && systemctl reload {unit} {more}".format(
                      tls=TLS, address=lab.ADDRESS[host], name=host, days=days, unit=lab.UNIT, more=more))


@pytest.mark.parametrize("host,days", [(lab.PRIMARY, 29), (lab.STANDBY, -1)])
def test_a_certificate_that_runs_out_is_made_anew(host, days):
    """Also one that has run out already: what the collection made, a run puts right."""
    before, files = lives(), lab.fingerprints()
    sign(host, days)
    run = lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    assert sorted(name for name, count in run.count("changed").items() if count) == [host], str(run)
    assert lives() == before, "something was restarted"
    changed = {line.split(" ")[1] for lines in lab.differences(files, lab.fingerprints()).values() for line in lines
               if line.startswith("file ")}
    assert changed - {TLS} == {TLS + "/server.crt"}, changed
    left = lab.ssh(host, "openssl x509 -in %s/server.crt -noout -checkend $((1800 * 86400)) && openssl verify -CAfile %s/root.crt %s/server.crt"
                   % (TLS, TLS, TLS))
    assert "will not expire" in left
    shown = lab.ssh(host, "echo | openssl s_client -starttls postgres -connect %s:5432 2>/dev/null | openssl x509 -noout -checkend 8640000"
                    % lab.ADDRESS[host])
    assert "will not expire" in shown, "the server still shows the old one"
    lab.healthy(within=20)


def test_status_warns_of_it():
    sign(lab.OTHER_STANDBY, 12)
    run = lab.playbook("playbooks/status.yml")
    assert run.rc != 0 and "%s: its TLS certificate expires in 11 days" % lab.OTHER_STANDBY in run.text, str(run)
    lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()


# --- certificates of the user's own ---------------------------------------------------------------

OWN = "/etc/ssl/own"
PROVIDED = {"repmgr_tls": "provided", "repmgr_tls_certificate": OWN + "/server.crt", "repmgr_tls_key": OWN + "/server.key",
            "repmgr_tls_root": OWN + "/root.crt"}


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    """An authority of the user's, and what it has issued for each node."""
    folder = tmp_path_factory.mktemp("authority")
    script = """set -e
    new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    $new -x509 -days 60 -subj '/CN=the company' -keyout ca.key -out root.crt
    while read -r name address; do
        $new -subj /CN=$name -keyout $name.key -out $name.csr
        printf "subjectAltName=IP:$address" >san
        for kind in server:60 expired:-1; do
            openssl x509 -req -in $name.csr -CA root.crt -CAkey ca.key -CAcreateserial -days ${kind#*:} -extfile san -out $name.${kind%:*}.crt
        done
    done"""
    subprocess.run(["bash", "-c", script], cwd=str(folder), input="".join("%s %s\n" % item for item in sorted(lab.ADDRESS.items())),
                   universal_newlines=True, check=True, stderr=subprocess.DEVNULL)
    for host in lab.HOSTS:
        lab.ssh(host, "install -d -m 755 " + OWN)
        for name, source, mode in (("root.crt", "root.crt", "644"), ("server.crt", host + ".server.crt", "644"),
                                   ("expired.crt", host + ".expired.crt", "644"), ("server.key", host + ".key", "600")):
            lab.ssh(host, "cat >{0}/{1} && chown postgres: {0}/{1} && chmod {2} {0}/{1}".format(OWN, name, mode), stdin=(folder / source).read_text())
    yield
    for host in lab.HOSTS:
        lab.ssh(host, "rm -r " + OWN)


@contextlib.contextmanager
def unreadable_key():
    key = OWN + "/server.key"
    lab.ssh(lab.STANDBY, "chown root: " + key)
    yield {}
    lab.ssh(lab.STANDBY, "chown postgres: " + key)


@contextlib.contextmanager
def expired():
    yield {"repmgr_tls_certificate": OWN + "/expired.crt"}


@contextlib.contextmanager
def not_named():
    yield {"repmgr_tls_key": ""}


@contextlib.contextmanager
def another_authority():
    yield {"repmgr_tls_root": TLS + "/root.crt"}


@pytest.mark.parametrize("wrong,said", [
    (expired, ["certificate has expired", "repmgr_tls_certificate"]), (unreadable_key, [lab.STANDBY, OWN + "/server.key cannot be read by postgres"]),
    (not_named, ["repmgr_tls_key is"]), (another_authority, ["unable to get local issuer certificate"]),
], ids=lambda item: getattr(item, "__name__", ""))
def test_what_was_provided_is_refused_before_any_change(own_files, wrong, said):
    with wrong() as changes, nothing_changes():
        assert_refused(lab.site("-e", json.dumps(dict(PROVIDED, **changes))), *said)


@lab.longer
def test_provided_and_back(own_files, figure):
    before = {host: lab.lives(host)["server"] for host in lab.HOSTS}
    for values, root in ((PROVIDED, OWN), ({}, TLS)):
        values = dict(values, **lab.APP_ACCESS)
        run = lab.site("-e", json.dumps(values)).assert_ok()
        lab.healthy(within=30)
        assert {host: lab.lives(host)["server"] for host in lab.HOSTS} == before, "a server was restarted"
        assert encrypted(lab.PRIMARY) and [encrypted(host) for host in lab.HOSTS]
        assert root + "/root.crt" in lab.value(lab.STANDBY, "select setting from pg_settings where name = 'primary_conninfo'")
        lab.site("-e", json.dumps(values)).assert_nothing_changed()
        figure("other certificates, %s" % root, "%.1f s, nothing restarted" % run.seconds)


# --- rotation -------------------------------------------------------------------------------------

def credentials(host):
    names = (HOME + "/.ssh/id_ed25519", TLS + "/root.crt", TLS + "/server.crt", TLS + "/server.key", TLS + "/ca.key")
    found = {name: lab.ssh(host, "cat " + name) for name in names}
    found["password"] = lab.ssh(host, "sed -n 's/.*:repmgr:repmgr://p' %s/.pgpass | sort -u" % HOME).strip()
    return found


def nothing_is_left_over():
    for host in lab.HOSTS:
        assert lab.ssh(host, "ls -A {0} {0}/.ssh {1} | grep next || true".format(HOME, TLS)) == "", host
        assert lab.ssh(host, "grep -c BEGIN %s/root.crt" % TLS).strip() == "1", host
        assert lab.ssh(host, "grep -c '^restrict' %s/.ssh/authorized_keys" % HOME).strip() == "4", host


def refused(done, words):
    assert done.returncode != 0 and words in done.stdout + done.stderr, "%d: %s%s" % (done.returncode, done.stdout, done.stderr)


def connect(host, peer, root, password):
    """SQL from one node to another, trusting only what is in `root`, with the password on standard input."""
    target = "host=%s dbname=repmgr user=repmgr sslmode=verify-full sslrootcert=%s connect_timeout=5" % (lab.ADDRESS[peer], root)
    return lab.ssh(host, "read -r PGPASSWORD; export PGPASSWORD; psql -XAtwc 'select 1' " + shlex.quote(target), check=False, stdin=password + "\n")


def test_new_credentials_while_clients_write(writers, figure):
    old = {host: credentials(host) for host in lab.HOSTS}
    before, streaming = lives(), streams()
    with writers:
        run = lab.playbook(ROTATE).assert_ok()
        writers.progress()
    assert lives() == before, "something was restarted, or failed over"
    assert streams() == streaming, "a standby had to connect again"
    lab.healthy(within=20)
    lab.replayed(lab.PRIMARY, [lab.STANDBY, lab.OTHER_STANDBY])
    for host in lab.DATA_HOSTS:
        assert writers.lost(host) == set()
    figure("new password, SSH keys and certificates", "%.1f s; write gap %.2f s, %d rows acknowledged, 0 lost" % (
        run.seconds, writers.gap(), len(writers.acknowledged())))

    new = {host: credentials(host) for host in lab.HOSTS}
    for host in lab.HOSTS:
        assert not [name for name in new[host] if new[host][name] == old[host][name]], host
    assert len({found["password"] for found in new.values()}) == 1
    nothing_is_left_over()

    for host, peer in zip(lab.HOSTS, lab.HOSTS[1:] + lab.HOSTS[:1]):
        assert connect(host, peer, TLS + "/root.crt", new[host]["password"]).stdout.strip() == "1"
        refused(connect(host, peer, TLS + "/root.crt", old[host]["password"]), "password authentication failed")
        lab.ssh(host, "umask 022; cat >/tmp/old.crt", stdin=old[host][TLS + "/root.crt"])
        refused(connect(host, peer, "/tmp/old.crt", new[host]["password"]), "certificate verify failed")
        login = "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -i %s postgres@" + lab.ADDRESS[peer] + " hostname"
        assert lab.as_postgres(host, login % (HOME + "/.ssh/id_ed25519")).strip() == peer
        lab.ssh(host, "cat >/tmp/old.key && chown postgres: /tmp/old.key && chmod 600 /tmp/old.key", stdin=old[host][HOME + "/.ssh/id_ed25519"])
        refused(lab.as_postgres(host, login % "/tmp/old.key", check=False), "Permission denied")
        lab.ssh(host, "cat >/tmp/old-server.crt", stdin=old[host][TLS + "/server.crt"])
        refused(lab.ssh(host, "openssl verify -CAfile %s/root.crt /tmp/old-server.crt" % TLS, check=False), "error")
    # And the main job finds that all is well.
    lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_nothing_changed()


@lab.longer
@pytest.mark.parametrize("mode, task", [
    # Clients go first where TLS goes, servers where it comes.
    ("off", "Write repmgr.conf"), ("managed", "Write repmgr.conf"),
    ("off", "Restart repmgrd with the new connection strings"), ("managed", "Restart repmgrd with the new connection strings"),
])
def test_without_tls_and_back(mode, task, writers, figure):
    """Ended in the middle: whoever has to connect anew still can, and the same again finishes it."""
    options = json.dumps(dict(lab.APP_ACCESS, repmgr_tls=mode))
    with writers:
        lab.killed("site.yml", task, "-e", options)
        lab.sql(lab.PRIMARY, "select pg_terminate_backend(pid) from pg_stat_replication")
        lab.ssh(lab.PRIMARY, "systemctl restart repmgr-guard")
        lab.wait_until("both standbys stream again", 60, lambda: sorted(
            row[0] for row in lab.sql(lab.PRIMARY, "select application_name from pg_stat_replication where state = 'streaming'")) == lab.DATA_HOSTS[1:])
        run = lab.site("-e", options).assert_ok()
        writers.progress()
    figure("repmgr_tls: %s, after a run that was ended in '%.24s..'" % (mode, task), "%.1f s, write gap %.2f s" % (run.seconds, writers.gap()))
    assert lab.primaries() == [lab.PRIMARY]
    lab.healthy(within=30)
    lab.site("-e", options).assert_nothing_changed()
    # A connection that was there before stays as it was.
    assert {lab.value(host, "show ssl") for host in lab.HOSTS} == {"on" if mode == "managed" else "off"}


@pytest.mark.parametrize("task,again", [
    pytest.param("Put the next SSH key into use", ROTATE, marks=lab.longer),
    pytest.param("Put the next server key and certificate into use", "site.yml", marks=lab.longer),
    ("Put the next CA into use and trust no other", "site.yml"),
    pytest.param("Set the next password of the repmgr role", ROTATE, marks=lab.longer),
])
def test_ended_in_the_middle(task, again, figure):
    """By SIGKILL. The cluster goes on; the same again finishes it; and the main job alone brings all nodes to one word."""
    before, streaming = lives(), streams()
    lab.killed(ROTATE, task)
    assert lives() == before and streams() == streaming
    run = lab.playbook(again, "-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    assert lives() == before and streams() == streaming
    lab.healthy(within=20)
    lab.playbook("playbooks/preflight.yml").assert_nothing_changed()
    # Or the next node that needs a certificate, a new one also, could not have one.
    for host in lab.HOSTS:
        keys = lab.ssh(host, "cd %s && openssl x509 -in root.crt -noout -pubkey && echo ~~ && openssl pkey -in ca.key -pubout" % TLS)
        assert len(set(keys.split("~~\n"))) == 1, "%s: ca.key is not the key of root.crt:\n%s" % (host, keys)
    if again == ROTATE:
        nothing_is_left_over()
    figure("ended in '%.24s..'" % task, "%s, %.1f s" % (again, run.seconds))


@pytest.mark.parametrize("given,said", [
    # Written into every passfile, it would lock all nodes out until the servers have it.
    ({"repmgr_password": "another"}, ["repmgr_password is not the password", "rotate_credentials"]),
    ({"repmgr_port": 5433}, ["listens on port 5432", "Set repmgr_port: 5432"]),
    ({"repmgr_user": "another"}, ["Set repmgr_user: repmgr"]),
])
def test_site_does_not_replace_them(given, said):
    with nothing_changes():
        assert_refused(lab.site("-e", json.dumps(dict(lab.APP_ACCESS, **given))), *said)


def test_wrong_words():
    with nothing_changes():
        assert_refused(lab.playbook(ROTATE, "-e", "credentials=passwords"), "credentials is 'passwords'", "certificates")
