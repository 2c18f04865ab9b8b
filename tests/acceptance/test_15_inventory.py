"""The inventory plugin: the observed state as groups, for a login with only the rights that the documentation names."""
import json
import os
import subprocess

import pytest
import yaml

import lab

MARKER = "m4rk3r-0f-th3-1nv3nt0ry"
# As the plugin's documentation has it.
LOGIN = "CREATE ROLE inventory LOGIN PASSWORD '%s'; GRANT USAGE ON SCHEMA repmgr TO inventory; GRANT SELECT ON repmgr.nodes TO inventory;" % MARKER
NO_LOGIN = "DROP OWNED BY inventory; DROP ROLE inventory;"
ALL = lab.HOSTS


class Live(object):
    """One *.repmgr.yml, and Ansible's own programs on it."""

    def __init__(self, folder):
        self.folder, self.path, self.said = folder, folder / "lab.repmgr.yml", []
        self.write()

    def write(self, password=MARKER, **options):
        ssh = "-o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes -o ConnectTimeout=5" % (lab.LAB / "known_hosts")
        self.path.write_text(yaml.safe_dump(dict({
            "plugin": "pgfleet.repmgr.repmgr",
            "clusters": {"lab": "host=%s,%s user=inventory password=%s dbname=repmgr sslmode=require" % (
                lab.ADDRESS[lab.WITNESS], lab.ADDRESS[lab.STANDBY], password)},
            "compose": {"ansible_user": "'root'", "ansible_ssh_private_key_file": "'%s'" % (lab.LAB / "id_ed25519"),
                        "ansible_ssh_common_args": "'%s'" % ssh},
        }, **options)))

    def run(self, *argv, **environment):
        done = subprocess.run(
            [argv[0], "-i", str(self.path)] + list(argv[1:]), cwd=str(lab.ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, ANSIBLE_NOCOLOR="1", PATH="%s:%s" % (lab.ROOT / ".venv/bin", os.environ["PATH"]), **environment),
            universal_newlines=True, timeout=60, check=False)
        self.said.append(done.stdout + done.stderr)
        return done

    def __call__(self, *options):
        done = self.run("ansible-inventory", "--list", *options)
        assert done.returncode == 0, done.stderr
        # With -v something else comes first.
        found = json.loads(done.stdout[done.stdout.index("{\n"):])
        # A group without hosts is named by its parent alone.
        names = set(found) - {"_meta"} | set(found["all"]["children"])
        return {name: sorted(found.get(name, {}).get("hosts", [])) for name in names}, found["_meta"]["hostvars"]


@pytest.fixture(scope="module", autouse=True)
def login():
    """A healthy cluster that has let the login in, which exists on the primary (and so on the standbys) and on the witness."""
    lab.healthy_or_from_nothing()
    for host in (lab.PRIMARY, lab.WITNESS):
        lab.sql(host, LOGIN, "repmgr")
    rule = lab.APP_ACCESS["repmgr_pg_hba_extra"][1]
    if any(not int(lab.value(host, "select count(*) from pg_hba_file_rules where user_name = '{inventory}' and type = 'hostssl' and auth_method = '%s'" % (
            rule["method"]))) for host in ALL):
        lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    lab.replayed(lab.PRIMARY, [lab.STANDBY, lab.OTHER_STANDBY])
    yield
    for host in lab.primaries() + [lab.WITNESS]:
        lab.sql(host, NO_LOGIN, "repmgr")


@pytest.fixture
def live(tmp_path):
    made = Live(tmp_path)
    yield made
    assert made.said and not [text for text in made.said if MARKER in text]


def said(done, words):
    """Ansible breaks lines anywhere, at hyphens, too."""
    return "".join(words.split()) in "".join(done.stderr.split())


def roles(groups):
    return tuple(groups[name] for name in ("primary", "standby", "witness", "unreachable"))


def test_a_healthy_cluster(live, figure):
    groups, facts = live("-vvv")
    assert roles(groups) == ([lab.PRIMARY], [lab.STANDBY, lab.OTHER_STANDBY], [lab.WITNESS], [])
    assert groups["cluster_lab"] == groups["running"] == ALL and groups["detached"] == groups["foreign"] == []
    known = lab.nodes(lab.PRIMARY)
    timeline = lab.timeline(lab.PRIMARY)
    for host in ALL:
        values = facts[host]
        assert (values["ansible_host"], values["repmgr_address"], values["repmgr_port"]) == (lab.ADDRESS[host], lab.ADDRESS[host], 5432)
        assert (values["repmgr_node_id"], values["repmgr_type"], values["repmgr_active"]) == (int(known[host]["id"]), known[host]["type"], True)
        assert (values["repmgr_primary"], values["repmgr_repmgrd"], values["repmgr_error"]) == (lab.PRIMARY, "running", "")
    for host in (lab.STANDBY, lab.OTHER_STANDBY):
        values = facts[host]
        assert values["repmgr_upstream_name"] == lab.PRIMARY and 0 <= values["repmgr_lag_bytes"] < 2 ** 20
        # Both want more rights than the login has.
        assert values["repmgr_streams_from"] is None and 1 <= values["repmgr_timeline"] <= timeline
    assert facts[lab.PRIMARY]["repmgr_timeline"] == timeline
    for host in (lab.PRIMARY, lab.WITNESS):
        lab.sql(host, "GRANT pg_monitor TO inventory;", "repmgr")
    lab.replayed(lab.PRIMARY, [lab.STANDBY])
    facts = live()[1][lab.STANDBY]
    assert (facts["repmgr_streams_from"], facts["repmgr_timeline"]) == (lab.PRIMARY, timeline)


def test_commands_reach_who_is_primary_now(live):
    done = live.run("ansible", "primary", "-m", "ansible.builtin.ping")
    assert done.returncode == 0 and "%s | SUCCESS" % lab.PRIMARY in done.stdout and done.stdout.count("SUCCESS") == 1, done.stdout + done.stderr


def test_a_standby_that_is_stopped_and_a_cache(live, tmp_path):
    live.write(cache=True, cache_plugin="jsonfile", cache_connection=str(tmp_path / "cache"), cache_timeout=600)
    before = live()
    lab.ssh(lab.OTHER_STANDBY, "systemctl stop %s" % lab.UNIT)
    try:
        assert live() == before, "it has not come from the cache"
        assert not [path for path in (tmp_path / "cache").iterdir() if MARKER in path.read_text()]
        (tmp_path / "who.yml").write_text("[{hosts: unreachable, tasks: []}]")
        done = live.run("ansible-playbook", str(tmp_path / "who.yml"), "--list-hosts", "--flush-cache")
        assert done.returncode == 0 and lab.OTHER_STANDBY in done.stdout and lab.STANDBY not in done.stdout, done.stdout + done.stderr
        assert "WARNING" in done.stderr and said(done, "%s does not answer" % lab.OTHER_STANDBY), done.stderr
        groups, facts = live()
        assert roles(groups) == ([lab.PRIMARY], [lab.STANDBY], [lab.WITNESS], [lab.OTHER_STANDBY])
        assert groups["cluster_lab"] == ALL and "refused" in facts[lab.OTHER_STANDBY]["repmgr_error"]
        live.write(strict=True)
        done = live.run("ansible-inventory", "--list", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="true")
        assert done.returncode != 0 and said(done, "%s does not answer" % lab.OTHER_STANDBY), done.stderr
    finally:
        lab.ssh(lab.OTHER_STANDBY, "systemctl start %s" % lab.UNIT)


def test_a_primary_that_is_away_for_a_moment(live):
    """Nobody is promoted meanwhile: what is registered as primary is not one."""
    lab.as_postgres(lab.WITNESS, lab.REPMGR + " service pause")
    try:
        lab.ssh(lab.PRIMARY, "systemctl stop %s" % lab.UNIT)
        try:
            groups, facts = live()
        finally:
            lab.ssh(lab.PRIMARY, "systemctl start %s" % lab.UNIT)
    finally:
        lab.as_postgres(lab.WITNESS, lab.REPMGR + " service unpause")
    assert roles(groups) == ([], [lab.STANDBY, lab.OTHER_STANDBY], [lab.WITNESS], [lab.PRIMARY])
    assert (facts[lab.PRIMARY]["repmgr_type"], facts[lab.PRIMARY]["repmgr_role"]) == ("primary", "unknown")
    assert facts[lab.STANDBY]["repmgr_repmgrd"] == "paused"
    lab.healthy(within=30)


def test_a_password_that_is_wrong_is_not_shown_either(live):
    live.write(password=MARKER + "-wrong")
    done = live.run("ansible-inventory", "--list", "-vvv")
    assert said(done, "password authentication failed"), done.stderr


@lab.longer
def test_groups_move_with_a_switchover(live):
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.STANDBY).assert_ok()
    assert roles(live()[0]) == ([lab.STANDBY], [lab.PRIMARY, lab.OTHER_STANDBY], [lab.WITNESS], [])
    lab.playbook("playbooks/switchover.yml", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    assert roles(live()[0]) == ([lab.PRIMARY], [lab.STANDBY, lab.OTHER_STANDBY], [lab.WITNESS], [])
