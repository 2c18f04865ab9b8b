"""Health endpoints on every node with data, and HAProxy on the witness's host: who is led where, while the primary changes and dies."""
import contextlib
import json
import socket
import ssl
import threading
import time

import pytest

import lab

PORT = 8008
SWITCHOVER = "playbooks/switchover.yml"
CHECK = "OPTIONS %s HTTP/1.0\r\n\r\n"
TRACES = ("ls /usr/local/sbin/repmgr-health /etc/pgfleet/health.json /etc/systemd/system/repmgr-health.service "
          "/etc/systemd/system/multi-user.target.wants/repmgr-health.service 2>/dev/null; true")
STATUS = "playbooks/status.yml"
OFF = ("systemctl disable --now repmgr-haproxy; rm -rf /etc/pgfleet/haproxy /etc/systemd/system/repmgr-haproxy.service; systemctl daemon-reload;"
       " apt-get purge -qq -y haproxy >/dev/null; rm -rf /etc/haproxy")


@pytest.fixture(scope="module")
def with_proxy(tmp_path_factory):
    path = tmp_path_factory.mktemp("routing") / "proxy.yml"
    path.write_text(json.dumps({"proxy": {"hosts": {lab.WITNESS: {}}}}))
    return ["-i", str(path), "-e", json.dumps(dict(lab.APP_ACCESS, repmgr_proxy_group="proxy"))]


@pytest.fixture(scope="module", autouse=True)
def cluster(with_proxy):
    lab.healthy_or_from_nothing("-e", json.dumps(lab.APP_ACCESS))
    yield
    lab.undo_faults()
    lab.ssh(lab.WITNESS, OFF)
    if lab.primaries() != [lab.PRIMARY]:
        lab.playbook(SWITCHOVER, "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    lab.healthy(within=90)


def ask(host, path, method="OPTIONS", timeout=2):
    """(status code, body) of one request, or (0, b'')."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((lab.ADDRESS[host], PORT), timeout) as plain, context.wrap_socket(plain) as handle:
            handle.sendall(("%s %s HTTP/1.0\r\n\r\n" % (method, path)).encode())
            data = b""
            while True:
                more = handle.recv(65536)
                if not more:
                    break
                data += more
    except OSError:
        return 0, b""
    return int(data.split()[1]), data.partition(b"\r\n\r\n")[2]


def code(host, path):
    return ask(host, path)[0]


class Sampler:
    """Asks /primary of every node with data, each in its own thread, every 50 ms."""

    def __init__(self):
        self.end, self.answers = threading.Event(), {host: [] for host in lab.DATA_HOSTS}
        self.threads = [threading.Thread(target=self.run, args=(host,), daemon=True) for host in lab.DATA_HOSTS]

    def run(self, host):
        while not self.end.is_set():
            begun = time.monotonic()
            found = code(host, "/primary")
            # Not when it was answered, but that it was true at some moment in between.
            self.answers[host].append((begun, time.monotonic(), found))
            self.end.wait(max(0, begun + 0.05 - time.monotonic()))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *dummy):
        self.end.set()
        for thread in self.threads:
            thread.join(10)

    def two(self):
        """Requests of two nodes that cannot but have been answered 200 at the same time: each began before the other's end."""
        said = {host: [(begun, ended) for begun, ended, found in answers if found == 200] for host, answers in self.answers.items()}
        return [(one, two, first, second) for one in said for two in said if one < two for first in said[one] for second in said[two]
                if first[0] < second[1] and second[0] < first[1]]


class Client:
    """One row after the other through the proxy, each in a connection of its own, as an application without a driver that knows several hosts."""

    def __init__(self):
        self.end, self.written, self.thread = threading.Event(), [], threading.Thread(target=self.run, daemon=True)

    def run(self):
        import psycopg2  # pylint: disable=import-outside-toplevel
        while not self.end.is_set():
            with contextlib.suppress(psycopg2.Error):
                connection = psycopg2.connect(host=lab.ADDRESS[lab.WITNESS], port=5000, dbname="app", user="app", password=lab.APP_PASSWORD, connect_timeout=2)
                with contextlib.closing(connection), connection, connection.cursor() as cursor:
                    cursor.execute("insert into routed values (default)")
                self.written.append(time.monotonic())
            self.end.wait(0.05)

    def __enter__(self):
        self.thread.start()
        lab.wait_until("it writes through the proxy", 20, lambda: self.written)
        return self

    def __exit__(self, *dummy):
        self.end.set()
        self.thread.join(10)

    def gap(self):
        return max(after - before for before, after in zip(self.written, self.written[1:]))


def reads_from():
    """Where a client of 5001 comes to: [(address, in recovery)]."""
    import psycopg2  # pylint: disable=import-outside-toplevel
    with contextlib.closing(psycopg2.connect(host=lab.ADDRESS[lab.WITNESS], port=5001, dbname="app", user="app", password=lab.APP_PASSWORD,
                                             connect_timeout=2)) as connection, connection.cursor() as cursor:
        cursor.execute("select host(inet_server_addr()), pg_is_in_recovery()")
        return cursor.fetchone()


def test_a_group_of_that_name_alone_makes_no_proxy_and_an_unknown_one_is_refused(with_proxy):
    lab.site(*with_proxy[:2], "-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    assert not lab.ssh(lab.WITNESS, "ls /etc/pgfleet/haproxy 2>/dev/null; true")
    run = lab.site("-e", json.dumps(dict(lab.APP_ACCESS, repmgr_proxy_group="proxies")))
    assert run.rc != 0 and 'repmgr_proxy_group is "proxies"' in run.message, run.message


def test_it_is_deployed_and_a_second_run_changes_nothing(with_proxy, figure):
    figure("site with a proxy", "%.0f s" % lab.site(*with_proxy, seconds=1200).assert_ok().seconds)
    lab.site(*with_proxy).assert_nothing_changed()
    lab.healthy(within=30)


def test_each_node_answers_what_it_is():
    primaries = ("/", "/primary", "/read-write", "/leader", "/master")
    for host in lab.DATA_HOSTS:
        leads = host == lab.PRIMARY
        expected = dict.fromkeys(primaries, 200 if leads else 503)
        expected.update({"/replica": 503 if leads else 200, "/replica?lag=16MB&replication_state=streaming": 503 if leads else 200, "/read-only": 200,
                         "/async": 503 if leads else 200, "/sync": 503, "/health": 200, "/liveness": 200, "/readiness": 200, "/patroni": 200, "/cluster": 200,
                         "/no-such-path": 503, "/config": 404, "/replica?lag=much": 400})
        assert {path: code(host, path) for path in expected} == expected, host
        status = json.loads(ask(host, "/patroni", "GET")[1])
        assert (status["role"], status["state"], status["patroni"]["name"]) == ("primary" if leads else "replica", "running", host)
        members = json.loads(ask(host, "/cluster", "GET")[1])["members"]
        assert [(member["name"], member["role"]) for member in members] == [
            (name, "leader" if name == lab.PRIMARY else "replica") for name in lab.DATA_HOSTS]
    assert not lab.ssh(lab.WITNESS, TRACES)


def test_the_proxy_verifies_and_leads():
    # The name that the application's connections come to is the proxy's, and it is a replica that reads come to.
    lab.sql(lab.PRIMARY, "drop table if exists routed; create table routed (number bigserial primary key); alter table routed owner to app", "app")
    assert reads_from()[1] is True
    assert "verify required" in lab.ssh(lab.WITNESS, "cat /etc/pgfleet/haproxy/cluster-lab.cfg")
    assert lab.ssh(lab.WITNESS, "systemctl is-active repmgr-haproxy; systemctl is-enabled haproxy || true").split() == ["active", "disabled"]


@pytest.fixture
def status(with_proxy, tmp_path):
    """(data, page, exit code) of one run of status."""
    def asked():
        run = lab.playbook(STATUS, *with_proxy, "-e", "repmgr_format=json", "-e", "repmgr_output=%s" % (tmp_path / "status.json"),
                           "-e", "repmgr_report=%s" % (tmp_path / "status.html"))
        view, = json.loads((tmp_path / "status.json").read_text())["clusters"]
        return view, (tmp_path / "status.html").read_text(), run.rc
    return asked


def wait_for(status, *codes):
    """What status says once these are the problems."""
    found = []

    def there():
        found[:] = status()
        return [problem["code"] for problem in found[0]["problems"]] == list(codes)

    lab.wait_until("the problems are %s" % (codes,), 60, there)
    return found


def writes_to(view):
    route, = view["proxies"]
    return route["state"], [server["node"] for server in route["read_write"]["servers"] or [] if server["up"]]


def test_status_shows_where_clients_are_sent(status):
    view, page, rc = wait_for(status)
    assert rc == 0 and writes_to(view) == ("answers", [lab.PRIMARY])
    assert {node["name"]: node["health"] and node["health"]["primary"] for node in view["nodes"]} == dict(
        {host: host == lab.PRIMARY for host in lab.DATA_HOSTS}, **{lab.WITNESS: None})
    assert sorted(server["node"] for server in view["proxies"][0]["read_only"]["servers"] if server["up"]) == sorted(set(lab.DATA_HOSTS) - {lab.PRIMARY})
    assert "Where proxies send clients" in page and "writes (port 5000)" in page


def test_status_says_that_a_proxy_is_down_and_site_starts_it(status, with_proxy):
    lab.ssh(lab.WITNESS, "systemctl stop repmgr-haproxy")
    view, page, rc = status()
    problem, = view["problems"]
    assert (problem["code"], problem["nodes"], view["next_step"]["playbook"]) == ("proxy_down", [lab.WITNESS], "site")
    assert rc != 0 and "its HAProxy does not answer" in page
    lab.site(*with_proxy).assert_ok()
    assert wait_for(status)[2] == 0


def test_status_does_not_wait_for_a_proxy_that_hangs(status):
    lab.ssh(lab.WITNESS, "systemctl kill --signal=STOP repmgr-haproxy")
    try:
        begun = time.monotonic()
        view, dummy, rc = status()
        assert [problem["code"] for problem in view["problems"]] == ["proxy_down"] and rc != 0
        assert view["next"] == "on %s: systemctl restart repmgr-haproxy" % lab.WITNESS
        assert time.monotonic() - begun < 30
    finally:
        lab.ssh(lab.WITNESS, "systemctl kill --signal=CONT repmgr-haproxy")
    wait_for(status)


def test_status_says_that_an_endpoint_is_down(status):
    lab.ssh(lab.PRIMARY, "systemctl stop repmgr-health")
    view, dummy, rc = wait_for(status, "health_down", "proxy_no_primary")
    assert rc != 0 and view["problems"][0]["nodes"] == [lab.PRIMARY] and writes_to(view) == ("answers", [])
    assert view["next"] == "on %s: systemctl restart repmgr-health" % lab.PRIMARY
    lab.ssh(lab.PRIMARY, view["next_step"]["shell"])
    assert wait_for(status)[2] == 0


def test_status_right_after_a_switchover_is_no_alarm(status):
    for target in (lab.STANDBY, lab.PRIMARY):
        lab.playbook(SWITCHOVER, "-e", "repmgr_target=" + target).assert_ok()
        view = status()[0]
        # As in any first seconds, a standby may not stream yet.
        assert [problem for problem in view["problems"] if problem["code"].startswith(("health_", "proxy_"))] == []
        assert view["primary"] == target
        assert writes_to(wait_for(status)[0]) == ("answers", [target])


def test_a_switchover_under_a_client(with_proxy, figure):
    with Sampler() as sampler, Client() as client:
        lab.playbook(SWITCHOVER, "-e", "repmgr_target=" + lab.STANDBY).assert_ok()
        lab.wait_until("it writes again", 30, lambda: client.written[-1] > time.monotonic() - 1)
        assert code(lab.STANDBY, "/primary") == 200 and code(lab.PRIMARY, "/primary") == 503
        lab.playbook(SWITCHOVER, "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
        lab.wait_until("it writes again", 30, lambda: client.written[-1] > time.monotonic() - 1)
    assert sampler.two() == []
    figure("write gap of a switchover, through HAProxy", "%.1f s" % client.gap())
    lab.healthy(within=60)


def test_the_host_of_the_primary_dies_under_a_client(figure):
    with Sampler() as sampler, Client() as client:
        lab.docker("kill", lab.PRIMARY)
        died = time.monotonic()
        lab.wait_until("it writes to another", 90, lambda: client.written[-1] > died + 5 and client.written[-1] > time.monotonic() - 1)
        lab.docker("start", lab.PRIMARY)
        lab.wait_until("there is one primary again, with two standbys", 120, lambda: sorted(
            code(host, "/primary") for host in lab.DATA_HOSTS) == [200, 503, 503] and code(lab.PRIMARY, "/replica?replication_state=streaming") == 200)
    assert sampler.two() == []
    figure("write gap of a dead host, through HAProxy", "%.1f s" % client.gap())
    assert reads_from()[1] is True


def test_a_rotation_of_the_certificates_drops_nobody(with_proxy):
    """A proxy that does not trust the next CA in time takes the primary to be down, and ends its sessions."""
    import psycopg2  # pylint: disable=import-outside-toplevel
    before = lab.ssh(lab.WITNESS, "cat /etc/pgfleet/haproxy/cluster-lab.crt")
    with contextlib.closing(psycopg2.connect(host=lab.ADDRESS[lab.WITNESS], port=5000, dbname="app", user="app", password=lab.APP_PASSWORD,
                                             connect_timeout=2)) as connection, connection.cursor() as cursor, Client() as client:
        cursor.execute("select pg_backend_pid()")
        backend = cursor.fetchone()
        lab.playbook("playbooks/rotate_credentials.yml", *with_proxy, "-e", "repmgr_credentials=certificates").assert_ok()
        cursor.execute("select pg_backend_pid()")
        assert cursor.fetchone() == backend
    assert client.gap() < 5
    assert lab.ssh(lab.WITNESS, "cat /etc/pgfleet/haproxy/cluster-lab.crt") not in ("", before)


def test_a_port_of_another_program_is_refused(with_proxy):
    before = lab.ssh(lab.WITNESS, "cat /etc/pgfleet/haproxy/*")
    lab.ssh(lab.WITNESS, "systemd-run -q --collect --unit taken python3 -m http.server 6000")
    try:
        lab.wait_until("the port is taken", 10, lambda: ":6000" in lab.ssh(lab.WITNESS, "ss -Hltn"))
        run = lab.site(*with_proxy, "-e", "repmgr_rw_port=6000")
        assert run.rc != 0 and "repmgr_rw_port of cluster lab is 6000, and python3 listens on that port" in run.message, run.message
    finally:
        lab.ssh(lab.WITNESS, "systemctl stop taken")
    assert lab.ssh(lab.WITNESS, "cat /etc/pgfleet/haproxy/*") == before


def test_switched_off_it_leaves_nothing():
    lab.site("-e", json.dumps(dict(lab.APP_ACCESS, repmgr_health=False))).assert_ok()
    for host in lab.DATA_HOSTS:
        assert lab.ssh(host, TRACES) == "" and code(host, "/primary") == 0
    lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    assert [code(host, "/health") for host in lab.DATA_HOSTS] == [200] * 3
