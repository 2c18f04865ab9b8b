# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What CentOS 7 gets by default, which no test runs: PostgreSQL 10 and repmgr 4 of PGDG's archive, at the places where a manual installation has them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest


@pytest.mark.parametrize('variable, expected', [
    ('__repmgr_version', '10'),
    ('__repmgr_bin_dir', '/usr/pgsql-10/bin'),
    ('__repmgr_data_dir', '/var/lib/pgsql/10/data'),
    ('__repmgr_config_dir', '/var/lib/pgsql/10/data'),
    ('__repmgr_conf', '/etc/repmgr/10/repmgr.conf'),
    ('__repmgr_service', 'postgresql-10'),
    ('__repmgr_passfile', '/var/lib/pgsql/.pgpass'),
    ('__repmgr_packages', ['postgresql10-server', 'postgresql10-contrib', 'repmgr10', 'sudo', 'logrotate', 'python-psycopg2', 'python-ipaddress',
                           'python2-cryptography']),
    # libpq has tcp_user_timeout from PostgreSQL 12 on.
    ('__repmgr_gives_up', {}),
])
def test_places(host, variable, expected):
    assert host.value(variable, repmgr_failover_profile='fast') == expected


def test_settings_that_a_server_of_that_age_knows(host):
    """Others would keep it from starting; tests/unit/roles/test_server_settings.py has all that are written."""
    found = host.value('__repmgr_own_settings', __repmgr_members=[], hostvars={}, __repmgr_record={'observed': None}, __repmgr_cluster={
        'roles': {'base-centos-2': 'standby'}})
    assert found['wal_keep_segments'] == 32 and not set(found) & {'wal_keep_size', 'max_slot_wal_keep_size', 'ssl_min_protocol_version'}


def test_repository(host):
    tasks = host.load('pgdg_repo', 'tasks', 'RedHat.yml')
    used = host.rendered([
        tasks[0]['ansible.builtin.rpm_key']['key'], tasks[1]['ansible.builtin.package']['name'],
        tasks[2]['ansible.builtin.yum_repository']['baseurl'], tasks[2]['ansible.builtin.yum_repository']['gpgkey']])
    assert used == [
        'https://download.postgresql.org/pub/repos/yum/keys/PGDG-RPM-GPG-KEY-RHEL7',
        'https://download.postgresql.org/pub/repos/yum/reporpms/EL-7-x86_64/pgdg-redhat-repo-latest.noarch.rpm',
        'https://yum-archive.postgresql.org/10/redhat/rhel-7-x86_64',
        'https://download.postgresql.org/pub/repos/yum/keys/PGDG-RPM-GPG-KEY-RHEL7']


# The walkthrough's options and those that make more of them; none is newer than repmgr 4.4.
REPMGR_CONF = """# Ansible managed
node_id=102
node_name='base-centos-2'
conninfo='{"host": "192.168.56.102", "port": 5432, "user": "repmgr", "dbname": "repmgr", "connect_timeout": 2, "keepalives_idle": 5, \
"keepalives_interval": 2, "keepalives_count": 3, "sslmode": "verify-full", "sslrootcert": "/etc/pgfleet/tls/root.crt"}'
data_directory='/var/lib/pgsql/10/data'
config_directory='/var/lib/pgsql/10/data'
pg_bindir='/usr/pgsql-10/bin'
replication_user='repmgr'
use_replication_slots='yes'
location='default'
priority=100
ssh_options='-q -o ConnectTimeout=10 -o StrictHostKeyChecking=yes'
service_start_command='sudo /usr/bin/systemctl start postgresql-10'
service_stop_command='sudo /usr/bin/systemctl stop postgresql-10'
service_restart_command='sudo /usr/bin/systemctl restart postgresql-10'
service_reload_command='sudo /usr/bin/systemctl reload postgresql-10'
repmgrd_service_start_command='sudo /usr/bin/systemctl start repmgrd'
repmgrd_service_stop_command='sudo /usr/bin/systemctl stop repmgrd'
failover='automatic'
promote_command='/usr/local/sbin/repmgr-guard promote -- /usr/pgsql-10/bin/repmgr standby promote -f /etc/repmgr/10/repmgr.conf --log-to-file'
follow_command='/usr/pgsql-10/bin/repmgr standby follow -f /etc/repmgr/10/repmgr.conf --log-to-file --upstream-node-id=%n'
monitor_interval_secs=1
reconnect_attempts=2
reconnect_interval=6
primary_visibility_consensus='true'
monitoring_history='no'
log_level='INFO'
log_file='/var/log/repmgr/repmgr.log'
log_status_interval=300
failover_validation_command='/usr/local/sbin/repmgr-guard promote'
election_rerun_interval=3
"""


def test_repmgr_conf(host):
    # The filter is the collection's own, and is tested where it is.
    text = host.file('repmgr_install', 'templates', 'repmgr.conf.j2').replace('pgfleet.repmgr.libpq_conninfo', 'to_json')
    assert host.rendered(text) == REPMGR_CONF
