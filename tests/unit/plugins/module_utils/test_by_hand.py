# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _by_hand, _place, _processes, _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed, Server


def put(root, path, text):
    target = root / path.lstrip('/')
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode('utf-8'))
    return str(target)


def conf(root, path, node_id=1, directory='/data', more=''):
    return put(root, path, "node_id=%s\nnode_name='n%s'\nconninfo='host=a user=repmgr dbname=repmgr'\ndata_directory='%s'\n%s" % (
        node_id, node_id, directory, more))


def process(root, pid, *words):
    folder = root / 'proc' / str(pid)
    (folder / 'ns').mkdir(parents=True)
    (folder / 'cmdline').write_bytes(b'\0'.join(word.encode() for word in words) + b'\0')
    return folder


def test_the_file_of_a_running_daemon_comes_first(tmp_path):
    packaged, other = conf(tmp_path, '/etc/repmgr.conf'), conf(tmp_path, '/srv/ha/node.conf', 2)
    assert _by_hand.configurations(str(tmp_path)) == [packaged]
    process(tmp_path, 20, '/usr/bin/repmgrd', '-f', other, '-d')
    process(tmp_path, 21, '/usr/bin/repmgr', '-f', '/nowhere')
    assert _by_hand.configurations(str(tmp_path)) == [other, packaged]


def test_a_relative_path_is_that_of_its_process(tmp_path):
    path = conf(tmp_path, '/srv/node.conf')
    (process(tmp_path, 20, 'repmgrd', '--config-file=node.conf') / 'cwd').symlink_to(tmp_path / 'srv')
    assert _by_hand.configurations(str(tmp_path)) == [path]


@pytest.mark.parametrize('path', ['/etc/repmgr/15/repmgr.conf', '/etc/repmgr/ha.conf', '/etc/repmgr-main.conf', '/etc/postgresql/15/main/repmgr.conf',
                                  '/var/lib/pgsql/repmgr.conf', '/var/lib/pgsql/13/data/repmgr.conf', '/opt/repmgr/repmgr.conf'])
def test_where_people_put_it(tmp_path, path):
    put(tmp_path, '/etc/repmgr/README.conf', '# nothing\n')
    there = conf(tmp_path, path)
    assert _by_hand.configurations(str(tmp_path)) == [there]


@pytest.mark.parametrize('text', ['10.0.0.1:5432:*:repmgr:se_cret\n', "password='se_cret\n"])
def test_what_is_no_repmgr_conf_ends_no_run_and_is_not_told(tmp_path, text):
    broken, path = put(tmp_path, '/etc/repmgr/a.conf', text), conf(tmp_path, '/etc/repmgr/b.conf')
    assert _by_hand.configurations(str(tmp_path)) == [path]
    place = _place.Place()
    _by_hand.locate(place, str(tmp_path))
    assert place.config_file == path and 'se_cret' not in repr(_by_hand.look(place, Observed(), None, str(tmp_path)))
    _by_hand.locate(_place.Place(config_file=broken), str(tmp_path))
    with pytest.raises(_repmgr.ConfigError) as raised:
        _place.read_config(broken)
    assert 'se_cret' not in '%s' % raised.value and 'line 1 ' in '%s' % raised.value


def test_the_programs_are_of_the_version_of_the_data(tmp_path):
    directory = os.path.dirname(put(tmp_path, '/data/PG_VERSION', '13\n'))
    conf(tmp_path, '/etc/repmgr.conf', directory=directory)
    for version in ('13', '15'):
        put(tmp_path, '/usr/lib/postgresql/%s/bin/postgres' % version, '')
    place = _place.Place()
    _by_hand.locate(place, str(tmp_path))
    assert place.bin_dir == str(tmp_path / 'usr/lib/postgresql/13/bin')


def looked(root, more='', hba='', passfile=None, **settings):
    path = conf(root, '/etc/repmgr.conf', more=more)
    place = _place.Place(config_file=path, data_directory='/data')
    settings = dict({'config_file': '/etc/postgresql/15/main/postgresql.conf', 'hba_file': put(root, '/hba', hba)}, **settings)
    return _by_hand.look(place, Observed(server=Server(settings=settings)), passfile, str(root))


def test_no_password_is_told(tmp_path):
    found = looked(tmp_path, more="conninfo='host=a user=repmgr password=se_cret'\nreplication_password=se_cret\n")
    assert 'se_cret' not in repr(found)
    assert found['password'] == {'in_conninfo': True, 'in_conf': ['replication_password'], 'in_passfile': None, 'other_passfile': None}


def test_a_passfile_counts_where_it_has_the_role(tmp_path):
    for text, has in (('*:*:*:repmgr:x\n', True), ('*:*:*:*:x\n', True), ('*:*:*:app:x\n', False), ('', False)):
        path = put(tmp_path, '/pgpass', text)
        assert looked(tmp_path, passfile=path)['password']['in_passfile'] == (path if has else None)
    assert looked(tmp_path, passfile='/nowhere')['password']['in_passfile'] is None


def test_another_passfile_is_named(tmp_path):
    own, other = put(tmp_path, '/pgpass', ''), put(tmp_path, '/other', '*:*:*:repmgr:x\n')
    for more, path in (("conninfo='host=a user=repmgr passfile=%s'" % other, other), ("passfile='%s'" % other, other),
                       ("passfile='%s'" % own, None), ('', None)):
        assert looked(tmp_path, more=more, passfile=own)['password']['other_passfile'] == path


def test_who_logs_in_without_a_password(tmp_path):
    found = looked(tmp_path, hba='local all all trust\nhost all all 127.0.0.1/32 trust\nhost repmgr repmgr 10.0.0.1 255.255.255.255 trust # x\n'
                                 'host all all 0.0.0.0/0 scram-sha-256\n# host all all all trust\n')
    assert found['trust'] == ['host repmgr repmgr 10.0.0.1/32 trust']
    assert found['config_directory'] == '/etc/postgresql/15/main'


def test_what_cron_starts(tmp_path):
    put(tmp_path, '/etc/cron.d/ha', '# repmgrd by hand\n@reboot postgres repmgrd -f /etc/repmgr.conf -d\n* * * * * root true\n')
    put(tmp_path, '/var/spool/cron/crontabs/postgres', '@reboot repmgr -f /etc/repmgr.conf daemon start\n')
    assert [(os.path.basename(entry['file']), entry['line'].split()[0]) for entry in looked(tmp_path)['cron']] == [('ha', '@reboot'), ('postgres', '@reboot')]


def test_the_configuration_of_another_node(tmp_path):
    other = conf(tmp_path, '/etc/repmgr/b.conf', 2, '/other')
    conf(tmp_path, '/etc/repmgr/a.conf', 1, '/data')
    assert looked(tmp_path)['other_configs'] == [other]


@pytest.mark.parametrize('service', ['cron', 'crond', 'sshd', 'ssh', 'atd', 'postgresql@15-main', 'postgresql-15'])
def test_who_has_only_started_it_is_not_its_unit(tmp_path, service):
    """site stops and disables the unit of another repmgrd: that of cron, sshd or the server itself would be gone with it."""
    path = put(tmp_path, '/cgroup', '0::/system.slice/%s.service\n' % service)
    assert _processes.unit(path) is None
    assert _processes.unit(put(tmp_path, '/cgroup', '0::/system.slice/system-repmgr.slice/repmgr@%s.service\n' % service)) is not None
