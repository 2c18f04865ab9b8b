"""One standby's host is lost whole and replaced by an empty one of the same name and address."""
import json
import re

import lab

LOST = lab.OTHER_STANDBY
OTHERS = [host for host in lab.HOSTS if host != LOST]
# A new host has new keys, and its peers must know them. Nothing else is theirs to change.
TRUST = re.compile(r"file /var/lib/postgresql/\.ssh(/authorized_keys|/known_hosts)? ")


def test_site_brings_it_back_and_touches_nobody_else(figure):
    before = {host: lab.lives(host) for host in OTHERS}
    files = lab.fingerprints(OTHERS)
    rows = lab.value(lab.PRIMARY, "select count(*) from pgbench_history", "app")

    lab.lab("recreate", LOST)
    assert lab.ssh(LOST, "test -e /var/lib/postgresql", check=False).returncode != 0, "the new host is not empty"

    # It may be elected later, and has to let the application in.
    run = lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    took = lab.healthy(within=30)
    figure("empty standby brought back", "%.1f s, healthy %.1f s later" % (run.seconds, took))

    assert {host: lab.lives(host) for host in OTHERS} == before, "a server or daemon of another host was touched"
    touched = {host: [line for line in lines if not TRUST.match(line)]
               for host, lines in lab.differences(files, lab.fingerprints(OTHERS)).items()}
    assert not any(touched.values()), touched
    assert all(len(run.changed.get(host, [])) <= 2 for host in OTHERS), str(run)

    lab.replayed(lab.PRIMARY, [lab.STANDBY, LOST])
    assert lab.value(LOST, "select count(*) from pgbench_history", "app") == rows


def test_then_nothing_is_left_to_do():
    lab.site().assert_nothing_changed()


@lab.longer
def test_a_boot_during_the_first_clone_starts_no_second_writable_server():
    """All data are there, and nothing in them says yet that they are a standby's: repmgr writes that after pg_basebackup has ended."""
    program, data = lab.BIN + "/pg_basebackup", lab.DATA
    lab.lab("recreate", LOST)
    lab.killed("site.yml", "Install the start hook before the clone", "-e", json.dumps(lab.APP_ACCESS))
    lab.ssh(LOST, "mv {0} {0}.real && cat > {0} && chmod 755 {0}".format(program),
            stdin='#!/bin/sh\n%s.real "$@" && touch /var/tmp/copied && sleep 600\n' % program)
    try:
        lab.killed("site.yml", "Clone or attach the standby and register it", "-e", json.dumps(lab.APP_ACCESS),
                   until=lambda: lab.ssh(LOST, "test -e /var/tmp/copied", check=False).returncode == 0)
        lab.ssh(LOST, "test -e %s/backup_label -a ! -e %s/standby.signal" % (data, data))
        lab.docker("kill", LOST)
        lab.docker("start", LOST)
        lab.wait_until("the host has booted", 90, lambda: lab.ssh(
            LOST, "systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"))
        assert lab.ssh(LOST, "systemctl start " + lab.UNIT, check=False).returncode != 0
        assert "does not start as primary" in lab.ssh(LOST, "journalctl --no-pager -b -u " + lab.UNIT)
        assert lab.primaries() == [lab.PRIMARY]
    finally:
        lab.ssh(LOST, "mv -f {0}.real {0}".format(program))
    lab.site("-e", json.dumps(lab.APP_ACCESS)).assert_ok()
    lab.healthy(within=60)
    lab.site().assert_nothing_changed()
