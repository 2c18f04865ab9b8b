"""`make lab` has run: what it made, looked at from outside."""
import itertools
import json
import re

import pytest
import testinfra

import lab

TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history")


@pytest.fixture(params=lab.HOSTS)
def name(request):
    return request.param


@pytest.fixture
def host(name):
    return testinfra.get_host("ssh://root@%s" % lab.ADDRESS[name], ssh_identity_file=str(lab.LAB / "id_ed25519"),
                              ssh_extra_args="-o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes" % (lab.LAB / "known_hosts"))


def test_four_nodes_run_four_daemons_run_none_is_paused(figure):
    took = lab.healthy(within=30)
    status = lab.service_status(lab.PRIMARY)
    assert {name: row["id"] for name, row in status.items()} == {
        "base-centos-1": "101", "base-centos-2": "102", "base-centos-3": "103", "base-centos-4": "104"}
    figure("healthy after make lab", "%.1f s" % took)


def test_an_application_is_let_in_by_a_reload(figure):
    before = {name: lab.lives(name)["server"] for name in lab.HOSTS}
    run = lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    assert {name: lab.lives(name)["server"] for name in lab.HOSTS} == before, "a server was restarted"
    for name in lab.DATA_HOSTS:
        assert ["{app}", "{app}", "scram-sha-256"] in lab.sql(
            name, "select database, user_name, auth_method from pg_hba_file_rules where error is null"), str(run)
    lab.healthy(within=10)


OWN_LINES = """# of the operator: {{ nothing }}, {# nothing
local all all scram-sha-256
host all bad 0.0.0.0/0 reject

host all all 10.99.0.0/16 scram-sha-256
host all all 10.99.0.0/16 md5  # a duplicate
host repmgr,app "repmgr" 10.99.0.1 255.255.255.255 scram-sha-256
"""


def test_lines_of_the_operator_stay():
    """In their order, below the block of the collection, which a run writes anew."""
    hba = "/etc/postgresql/%s/main/pg_hba.conf" % lab.VERSION
    before = lab.ssh(lab.PRIMARY, "cat " + hba)
    assert before.startswith("# BEGIN pgfleet.repmgr\nlocal all postgres peer\n")
    try:
        lab.ssh(lab.PRIMARY, "sed -i '/^# BEGIN pgfleet.repmgr/,/^# END pgfleet.repmgr/d' {0} && cat >>{0}".format(hba), stdin=OWN_LINES)
        lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
        assert lab.ssh(lab.PRIMARY, "cat " + hba) == before + OWN_LINES
        assert lab.value(lab.PRIMARY, "select count(*) from pg_hba_file_rules where error is not null") == "0"
        lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_nothing_changed()
    finally:
        lab.ssh(lab.PRIMARY, "cat >" + hba, stdin=before)
        lab.value(lab.PRIMARY, "select pg_reload_conf()")


def test_pgbench_data_is_the_same_on_all_three(figure):
    lab.make_application()
    lab.as_postgres(lab.PRIMARY, "%s/pgbench -c 4 -T 3 app 2>&1" % lab.BIN)
    lab.replayed(lab.PRIMARY, [lab.STANDBY, lab.OTHER_STANDBY])
    query = " union all ".join("select '%s', count(*) from %s" % (table, table) for table in TABLES)
    counts = dict(lab.sql(lab.PRIMARY, query, "app"))
    assert counts["pgbench_accounts"] == "1000000" and counts["pgbench_tellers"] == "100"
    assert int(counts["pgbench_history"]) > 0
    for name in (lab.STANDBY, lab.OTHER_STANDBY):
        assert dict(lab.sql(name, query, "app")) == counts, name
    size = lab.value(lab.PRIMARY, "select pg_size_pretty(pg_database_size('app'))")
    figure("pgbench, scale 10", "%s on each of three, %s rows of history" % (size, counts["pgbench_history"]))


def test_keys_of_the_servers_user(host, name):
    folder = host.file("/var/lib/postgresql/.ssh")
    assert folder.is_directory and (folder.user, folder.mode) == ("postgres", 0o700)
    key = host.file("/var/lib/postgresql/.ssh/id_ed25519")
    assert (key.user, key.mode) == ("postgres", 0o600)
    authorized = host.file("/var/lib/postgresql/.ssh/authorized_keys")
    assert (authorized.user, authorized.mode) == ("postgres", 0o600)
    lines = [line for line in authorized.content_string.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 4
    for line in lines:
        origin = re.match(r'restrict,from="([^"]+)" ssh-ed25519 \S+ postgres@(\S+)$', line)
        assert origin, line
        assert lab.ADDRESS[origin.group(2)] in origin.group(1).split(","), line
    known = host.file("/var/lib/postgresql/.ssh/known_hosts")
    assert (known.user, known.mode) == ("postgres", 0o600)


@pytest.mark.parametrize("name,peer", list(itertools.permutations(lab.HOSTS, 2)))
def test_ssh_between_the_servers_users(name, peer):
    for target in (peer, lab.ADDRESS[peer]):
        answer = lab.as_postgres(name, "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes %s hostname" % target)
        assert answer.strip() == peer


def test_passfile(host):
    passfile = host.file("/var/lib/postgresql/.pgpass")
    assert (passfile.user, passfile.group, passfile.mode) == ("postgres", "postgres", 0o600)
    for address in lab.ADDRESS.values():
        for database in ("repmgr", "replication"):
            assert "%s:5432:%s:repmgr:" % (address, database) in passfile.content_string


def test_repmgr_conf(host, name):
    conf = host.file("/etc/repmgr.conf")
    assert (conf.user, conf.mode) == ("postgres", 0o640)
    settings = dict(re.findall(r"^(\w+)='?(.*?)'?$", conf.content_string, re.M))
    assert settings["node_id"] == "10" + name[-1] and settings["node_name"] == name
    assert settings["data_directory"] == lab.DATA
    assert "--upstream-node-id=%n" in settings["follow_command"] and "standby follow" in settings["follow_command"]
    assert "standby promote" in settings["promote_command"]
    assert settings["failover"] == "automatic"
    assert int(settings["reconnect_attempts"]) * int(settings["reconnect_interval"]) > 0
    for verb in ("start", "stop", "restart", "reload"):
        assert settings["service_%s_command" % verb].endswith("systemctl %s %s" % (verb, lab.UNIT))
    assert "StrictHostKeyChecking=no" not in conf.content_string
    assert "password" not in conf.content_string.lower()


def test_no_password_where_others_could_read_it(host, name):
    secret = re.search(r":repmgr:repmgr:(\S+)$", host.file("/var/lib/postgresql/.pgpass").content_string, re.M).group(1)
    assert len(secret) >= 20
    holders = host.run("grep -rlF -- '%s' /etc /var/log /var/lib/postgresql /tmp /root 2>/dev/null", secret).stdout.split()
    assert [path for path in holders if not path.startswith(lab.DATA + "/pg_wal")] == ["/var/lib/postgresql/.pgpass"]
    assert secret not in host.run("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '").stdout
    assert secret not in host.run("journalctl --no-pager -o cat").stdout
    assert lab.value(name, "select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'repmgr'") == "t"


def test_sudoers(host, name):
    sudoers = host.file("/etc/sudoers.d/repmgr")
    assert (sudoers.user, sudoers.group, sudoers.mode) == ("root", "root", 0o440)
    assert host.run("visudo -c").rc == 0
    allowed = re.findall(r"NOPASSWD: (.*)", sudoers.content_string)
    assert sorted(allowed) == sorted(
        ["/usr/bin/systemctl %s %s" % (verb, lab.UNIT) for verb in ("start", "stop", "restart", "reload")]
        + ["/usr/bin/systemctl %s repmgrd" % verb for verb in ("start", "stop")] + ([] if name == lab.WITNESS else ["REPMGR_GUARD_LOOKS"]))
    assert host.run("runuser -u postgres -- sudo -n /usr/bin/systemctl reload %s", lab.UNIT).rc == 0
    assert host.run("runuser -u postgres -- sudo -n /usr/bin/systemctl stop ssh").rc != 0
    assert host.run("runuser -u postgres -- sudo -n /usr/bin/id").rc != 0


def test_units(host, name):
    for unit in (lab.UNIT, "repmgrd") + (() if name == lab.WITNESS else ("repmgr-guard", "repmgr-guard-fuse")):
        service = host.service(unit)
        assert service.is_running and service.is_enabled, unit
    assert host.run("systemctl show -p Restart --value repmgrd").stdout.strip() in ("on-failure", "always")
    assert host.run("systemctl show -p FragmentPath --value repmgrd").stdout.strip() == "/etc/systemd/system/repmgrd.service"
    assert host.run("systemctl --failed --no-legend --plain").stdout.strip() == ""


def test_repmgrd_is_back_when_it_is_killed(host):
    old = host.run("systemctl show -p MainPID --value repmgrd").stdout.strip()
    assert host.run("kill -9 %s", old).rc == 0

    def back():
        new = host.run("systemctl show -p MainPID --value repmgrd").stdout.strip()
        return new not in ("0", old) and host.service("repmgrd").is_running

    lab.wait_until("repmgrd runs again", 20, back)


def test_all_daemons_are_seen_again():
    lab.healthy(within=30)


def test_log_and_rotation(host):
    assert host.file("/var/log/repmgr/repmgr.log").user == "postgres"
    assert host.file("/var/log/repmgr/repmgr.log").size > 0
    debug = host.run("logrotate -d /etc/logrotate.d/repmgr-pgfleet")
    assert debug.rc == 0 and "error" not in debug.stderr.lower() and "/var/log/repmgr/repmgr.log" in debug.stderr
    # For real: repmgrd goes on writing to the file that it is told to write to.
    assert host.run("logrotate -f /etc/logrotate.d/repmgr-pgfleet").rc == 0
    assert host.file("/var/log/repmgr/repmgr.log.1").size > 0
    assert host.service("repmgrd").is_running


def test_server_settings(name):
    settings = dict(lab.sql(name, "select name, setting from pg_settings"))
    assert "repmgr" in settings["shared_preload_libraries"]
    assert settings["wal_level"] in ("replica", "logical")
    assert settings["archive_mode"] == "on" and settings["archive_command"]
    assert settings["hot_standby"] == "on" and settings["listen_addresses"] == "*"
    assert settings["wal_log_hints"] == "on" or settings["data_checksums"] == "on", "pg_rewind could not work"
    assert int(settings["max_wal_senders"]) >= 4 and int(settings["max_replication_slots"]) >= 4
    assert settings["password_encryption"] == "scram-sha-256"
    assert lab.sql(name, "select 1 from pg_settings where pending_restart") == []


def test_access_by_node_address_alone(name):
    rules = lab.sql(name, "select type, user_name, address, netmask, auth_method from pg_hba_file_rules"
                          " where database && '{repmgr,replication}' and type <> 'local'")
    nodes = [rule for rule in rules if rule[1] == "{repmgr}"]
    assert {rule[2] for rule in nodes} >= set(lab.ADDRESS.values())
    assert all(rule[3] == "255.255.255.255" or rule[3].startswith("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") for rule in nodes)
    assert all(rule[4] == "scram-sha-256" for rule in nodes)
    assert lab.sql(name, "select * from pg_hba_file_rules where auth_method = 'trust' or error is not null") == []


def test_the_repmgr_role_has_no_more_rights_than_it_needs(name):
    assert lab.sql(name, "select rolsuper, rolreplication, rolcreaterole, rolcreatedb, rolcanlogin from pg_roles"
                         " where rolname = 'repmgr'") == [["f", "t", "f", "f", "t"]]


def test_the_witness_has_a_database_of_its_own():
    assert lab.primaries([lab.WITNESS]) == [lab.WITNESS]
    system = {name: lab.value(name, "select system_identifier from pg_control_system()") for name in lab.HOSTS}
    assert len({system[name] for name in lab.DATA_HOSTS}) == 1
    assert system[lab.WITNESS] != system[lab.PRIMARY]
    assert lab.sql(lab.WITNESS, "select datname from pg_database where datname = 'app'") == []


def test_status_playbook_agrees():
    run = lab.playbook("playbooks/status.yml").assert_nothing_changed()
    for name in lab.HOSTS:
        assert name in run.text
    assert "lab: healthy: primary %s, 4 of 4 hosts observed" % lab.PRIMARY in run.text and "failover: ready" in run.text
