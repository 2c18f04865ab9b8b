"""What the tests of the operations of day two share."""
import json
import os

import lab

APP = ["-e", json.dumps(lab.APP_ACCESS)]
FIFTH = "base-centos-5"
DATA_LEFT = "ls -d %s.* 2>/dev/null || true" % lab.DATA


def books(name, *options, **keywords):
    return lab.playbook("playbooks/%s.yml" % name, *options, **keywords)


def site(*options, **keywords):
    return lab.site(*(APP + list(options)), **keywords)


def the_primary():
    found = lab.primaries()
    assert len(found) == 1, found
    return found[0]


def the_standbys():
    return [host for host in lab.DATA_HOSTS if host != the_primary()]


def no_row_is_lost(writers):
    primary = the_primary()
    standbys = [row[0] for row in lab.sql(primary, "select application_name from pg_stat_replication where state = 'streaming'")]
    assert standbys
    lab.replayed(primary, standbys)
    for host in [primary] + standbys:
        assert writers.lost(host) == set(), host


def begin():
    """A healthy cluster to which applications have access."""
    # Which files came before it depends on the day.
    make = lab.from_nothing if os.environ.get("LAB_ANEW") == "1" else lab.healthy_or_from_nothing
    make(*APP)


def home():
    """The walkthrough's primary is primary again."""
    if the_primary() != lab.PRIMARY:
        books("switchover", "-e", "repmgr_target=" + lab.PRIMARY).assert_ok()
    lab.healthy(within=30)


def fifth(hosts, **more):
    """The only host of the cluster whose figures are asked for."""
    hosts["children"]["standby"]["hosts"][FIFTH] = dict(
        {"ansible_host": lab.ADDRESS[FIFTH], "repmgr_node_id": 105, "repmgr_metrics": True, "repmgr_metrics_interval": 2}, **more)


# A newer version of the package that has the server: the same files, so that what the test sees is the upgrade and nothing else.
NEWER = r"""
set -e
rm -rf /srv/newer && mkdir -p /srv/newer && cd /srv/newer
deb=$(ls /var/cache/apt/archives/postgresql-%(version)s_*.deb | head -1)
dpkg-deb -R "$deb" tree
sed -i "s/^Version: .*/&+lab$(date +%%s)/" tree/DEBIAN/control
dpkg-deb -Znone -b tree postgresql.deb >/dev/null
sum=$(sha256sum postgresql.deb | cut -d' ' -f1)
{ cat tree/DEBIAN/control; printf 'Filename: ./postgresql.deb\nSize: %%s\nSHA256: %%s\n\n' "$(stat -c %%s postgresql.deb)" "$sum"; } >Packages
rm -r tree
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
apt-get -q update -o Dir::Etc::sourcelist=sources.list.d/newer.list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 >/dev/null
""" % {"version": lab.VERSION}


def installed(host):
    return lab.ssh(host, "dpkg-query -W -f '${Version}' postgresql-" + lab.VERSION)
