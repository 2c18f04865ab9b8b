# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import grp
import hashlib
import json
import os
import pwd
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _data_directory, _host_files, _node_notes, _observe, _observe_sql, _place, _postmaster
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _processes, _reach, _view
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Node, Observed, Server


@pytest.fixture
def place(tmpdir):
    return _place.Place('a', bin_dir=str(tmpdir.join('bin')), data_directory=str(tmpdir.join('data')), user=_place.current_user())


def make(place, *names):
    for name in names:
        path = os.path.join(place.data_directory, name)
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'wb') as handle:
            handle.write({'PG_VERSION': b'15\n', 'global/pg_control': struct.pack('=QI', 7711470008436045090, 1300)}.get(name, b''))


def observe(place):
    return _data_directory.observe_data(None, place)


@pytest.mark.parametrize('names, state', [
    (['lost+found'], 'empty'),
    (['PG_VERSION'], 'partial'),
    (['backup_label', 'base'], 'partial'),
    (['global/pg_control'], 'partial'),
    (['notes.txt'], 'unrecognised'),
    (['PG_VERSION', 'global/pg_control'], 'valid'),
])
def test_data_directory(place, names, state):
    make(place, *names)
    assert observe(place).state == state


def test_missing_and_empty(place):
    assert observe(place).state == 'missing'
    os.mkdir(place.data_directory)
    assert observe(place).state == 'empty'
    place.data_directory = None
    assert observe(place).state == 'unknown'


def test_identifier_without_any_program(place):
    make(place, 'PG_VERSION', 'global/pg_control', 'standby.signal')
    data = observe(place)
    assert (data.system_identifier, data.major, data.standby_signal) == ('7711470008436045090', '15', True)


@pytest.mark.parametrize('alive', [False, True])
def test_a_standby_whose_signal_file_a_killed_rejoin_has_left_aside(place, monkeypatch, alive):
    make(place, 'PG_VERSION', 'global/pg_control', 'standby.signal.aside')
    monkeypatch.setattr(_postmaster, 'alive', lambda path, directory: alive)
    # A server that runs says itself what it is.
    assert observe(place).standby_signal is not alive


@pytest.mark.parametrize('bin_dir, control', [
    ('usr/lib/postgresql/15/bin', 'usr/share/postgresql/15/extension'),
    ('usr/pgsql-15/bin', 'usr/pgsql-15/share/extension'),
    ('usr/pgsql-15/bin/', 'usr/pgsql-15/share/extension'),
    ('opt/pg/bin', 'opt/pg/share/postgresql/extension'),
])
def test_version_of_the_installed_repmgr(tmpdir, bin_dir, control):
    root, programs = str(tmpdir), str(tmpdir.ensure(bin_dir, dir=True)) + ('/' if bin_dir.endswith('/') else '')
    assert _place.installed_repmgr(programs, root) is None
    file = tmpdir.ensure(control, 'repmgr.control')
    for text, version in (("# repmgr extension\ncomment = 'Replication manager for PostgreSQL'\ndefault_version = '5.3'\nrelocatable = false\n", '5.3'),
                          ("default_version='4.4.1'\n", '4.4'), ('default_version = \n', None), ('', None)):
        file.write(text)
        assert _place.installed_repmgr(programs, root) == version
    file.write_binary(b"\xff\xfe")
    assert _place.installed_repmgr(programs, root) is None


@pytest.fixture
def host(tmpdir):
    """host(bin_dir, data_directory, config_file) -> what of its configuration is for another directory."""
    def found(bin_dir, data_directory, config_file='etc/repmgr.conf'):
        place = _place.Place('b', str(tmpdir.join(config_file)), str(tmpdir.join(bin_dir)), str(tmpdir.join(data_directory)))
        return [dict(entry, file=os.path.relpath(entry['file'], str(tmpdir)), data_directory=os.path.relpath(entry['data_directory'], str(tmpdir)))
                for entry in _place.elsewhere(place, str(tmpdir))]

    return found


DEBIAN = ('usr/lib/postgresql/15/bin', 'var/lib/postgresql/15/main')


def repmgr_conf(tmpdir, path, directory):
    tmpdir.ensure(path).write("node_id=2\nnode_name='b'\ndata_directory='%s'\n" % tmpdir.join(directory))


def test_the_release_of_the_system_leads_to_another_version_than_repmgr_conf(tmpdir, host):
    repmgr_conf(tmpdir, 'etc/repmgr.conf', DEBIAN[1])
    tmpdir.ensure(DEBIAN[1], 'PG_VERSION').write('15\n')
    assert host(*DEBIAN) == []
    assert host('usr/lib/postgresql/17/bin', 'var/lib/postgresql/17/main') == [
        {'file': 'etc/repmgr.conf', 'data_directory': DEBIAN[1], 'major': '15', 'node_id': 2, 'version': None}]
    # The same directory by another name.
    tmpdir.ensure('srv', dir=True)
    os.symlink(str(tmpdir.join(DEBIAN[1])), str(tmpdir.join('srv', 'pg')))
    assert host(DEBIAN[0], 'srv/pg') == []


def test_where_the_path_of_repmgr_conf_has_the_version_in_it(tmpdir, host):
    repmgr_conf(tmpdir, 'etc/repmgr/15/repmgr.conf', 'var/lib/pgsql/15/data')
    assert host('usr/pgsql-16/bin', 'var/lib/pgsql/16/data', 'etc/repmgr/16/repmgr.conf') == [
        {'file': 'etc/repmgr/15/repmgr.conf', 'data_directory': 'var/lib/pgsql/15/data', 'major': None, 'node_id': 2, 'version': None}]
    assert host('usr/pgsql-15/bin', 'var/lib/pgsql/15/data', 'etc/repmgr/15/repmgr.conf') == []
    # What an older version left behind is nobody's once there is a new one.
    repmgr_conf(tmpdir, 'etc/repmgr/16/repmgr.conf', 'var/lib/pgsql/16/data')
    assert host('usr/pgsql-16/bin', 'var/lib/pgsql/16/data', 'etc/repmgr/16/repmgr.conf') == []


@pytest.mark.parametrize('line, other', [
    ("data_directory = '%s'\t\t# use data in another directory", True), ("data_directory '%s'", True), ("  data_directory='%s'", True),
    ("#data_directory = '%s'", False), ("data_directory_mode = '%s'", False), ("data_directory = 'x'\ndata_directory = '%s'", True), ('', False),
])
def test_the_distribution_has_made_a_cluster_of_its_own(tmpdir, host, line, other):
    path = 'etc/postgresql/15/main/postgresql.conf'
    tmpdir.ensure(path).write(line % tmpdir.join(DEBIAN[1]) if '%' in line else line)
    expected = {'file': path, 'data_directory': DEBIAN[1], 'major': None, 'node_id': None, 'version': '15'}
    assert host(DEBIAN[0], 'srv/pg/data') == ([expected] if other else [])
    assert host(*DEBIAN) == []
    # That of another version is none of this node's.
    assert host('usr/lib/postgresql/16/bin', 'srv/pg/data') == []


def test_nothing_is_elsewhere_where_nothing_was_looked_for(tmpdir):
    assert _place.elsewhere(_place.Place('b'), str(tmpdir)) == []


def test_no_programs_no_version():
    assert _place.installed_repmgr(None) is None and _place.installed_repmgr('') is None


def test_unrecognised_names_what_is_there(place):
    make(place, 'a', 'b', 'c', 'd', 'e', 'f')
    assert observe(place).reason == 'holds a, b, c, d and 2 more but no PG_VERSION'


@pytest.fixture
def marker(place, tmpdir, monkeypatch):
    path = str(tmpdir.join('marker.json'))
    monkeypatch.setattr(_data_directory, 'marker_path', lambda *dummy: path)

    def write(**content):
        with open(path, 'w') as handle:
            json.dump(content, handle)
    return write


def test_clone_that_was_never_finished(place, marker):
    marker(pid=2 ** 22 + 1, started=1)
    make(place, 'PG_VERSION', 'global/pg_control')
    assert observe(place).state == 'partial'


@pytest.mark.parametrize('names, backup, state', [
    # Somebody added standby.signal and started it; the note of the run that was killed stayed.
    (['postmaster.opts', 'backup_label.old', 'standby.signal'], '0/0', 'valid'),
    (['postmaster.opts'], '0/00000000', 'valid'),
    # The start went no further than its first lines.
    (['postmaster.opts', 'backup_label'], '0/0', 'partial'),
    # Or it ended before the end of the backup.
    (['postmaster.opts', 'backup_label.old'], '0/2000028', 'partial'),
    (['backup_label'], '0/0', 'partial'),
    ([], '0/0', 'partial'),
])
def test_a_forgotten_marker_beside_data_that_ran_since(place, marker, tmpdir, names, backup, state):
    class Runner:
        def run(self, argv):
            return Result(argv, 0, 'Database cluster state:   shut down in recovery\nBackup start location:  %s\n' % backup, '')

    marker(pid=2 ** 22 + 1, started=1)
    make(place, 'PG_VERSION', 'global/pg_control', *names)
    tmpdir.ensure('bin', 'pg_controldata')
    assert _data_directory.observe_data(Runner(), place).state == state


def test_without_a_marker_the_control_data_of_a_backup_are_no_reason(place, tmpdir):
    class Runner:
        def run(self, argv):
            return Result(argv, 0, 'Backup start location:  0/2000028\n', '')

    make(place, 'PG_VERSION', 'global/pg_control')
    tmpdir.ensure('bin', 'pg_controldata')
    assert _data_directory.observe_data(Runner(), place).state == 'valid'


def test_clone_that_another_task_is_making(place, marker):
    marker(pid=os.getppid(), started=_processes.start_time(os.getppid()))
    make(place, 'PG_VERSION', 'global/pg_control')
    data = observe(place)
    assert data.state == 'unknown' and data.reason == 'process %d is still cloning into it' % os.getppid()


def test_marker_without_data_is_no_clone(place, marker):
    assert not observe(place).clone_begun
    marker(pid=2 ** 22 + 1, started=1)
    assert observe(place).state == 'missing' and observe(place).clone_begun
    os.mkdir(place.data_directory)
    assert observe(place).state == 'empty' and observe(place).clone_begun


def test_a_node_is_deployed_once_it_has_its_daemon(tmpdir):
    assert _node_notes.is_deployed(str(tmpdir)) is False
    tmpdir.ensure('etc/systemd/system/repmgrd.service')
    assert _node_notes.is_deployed(str(tmpdir)) is True


def test_stale_postmaster_pid(place):
    make(place, 'PG_VERSION', 'global/pg_control')
    with open(os.path.join(place.data_directory, 'postmaster.pid'), 'w') as handle:
        # Alive, but not that server.
        handle.write('%d\n' % os.getppid())
    server, sockets = _postmaster.observe_server(place, observe(place))
    assert (server.state, sockets) == ('stopped', None)
    assert _postmaster.without_stale_pid(place.data_directory) == {'PG_GRANDPARENT_PID': str(os.getppid())}


@pytest.mark.parametrize('program, state', [('sleep', 'stopped'), ('postgres_exporter', 'stopped'), ('postgres', 'running')])
def test_a_process_that_is_known_by_its_name_alone(place, tmpdir, program, state, monkeypatch):
    """Root in a container may not see where other users' processes are."""
    def denied(path):
        raise OSError(errno.EACCES, 'Permission denied', path)

    make(place, 'PG_VERSION', 'global/pg_control')
    os.symlink(sys.executable, str(tmpdir.join(program)))
    # The kernel closes the files of the process that was forked, and so lets Popen return, before it names the program that runs in it.
    process = subprocess.Popen([str(tmpdir.join(program)), '-c', 'import os, time; os.write(1, b"."); time.sleep(60)'], stdout=subprocess.PIPE)
    process.stdout.read(1)
    monkeypatch.setattr(_postmaster.os, 'readlink', denied)
    try:
        with open(os.path.join(place.data_directory, 'postmaster.pid'), 'w') as handle:
            handle.write('%d\n' % process.pid)
        assert _postmaster.observe_server(place, observe(place))[0].state == state
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize('word, state', [('ready', 'running'), ('standby', 'running'), ('starting', 'starting'), ('stopping', 'starting')])
@pytest.mark.parametrize('program', ['postgres', 'bash'])
def test_postmaster_state(place, word, state, program):
    """The file's word counts as long as the server runs: a shell in its directory that has its number by now is none."""
    make(place, 'PG_VERSION', 'global/pg_control')
    process = subprocess.Popen(['bash', '-c', 'exec -a %s sh -c "echo .; read line"' % program],
                               cwd=place.data_directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.read(1)
    try:
        with open(os.path.join(place.data_directory, 'postmaster.pid'), 'w') as handle:
            handle.write('%d\n%s\n1\n5432\n/run/postgresql\n*\n0 0\n%s   \n' % (process.pid, place.data_directory, word))
        server, sockets = _postmaster.observe_server(place, observe(place))
        if program == 'postgres':
            assert (server.state, server.pid, sockets) == (state, process.pid, {'host': '/run/postgresql', 'port': '5432'})
            assert _postmaster.without_stale_pid(place.data_directory) == {}
        else:
            assert (server.state, server.pid, sockets) == ('stopped', None, None)
            assert _postmaster.without_stale_pid(place.data_directory) == {'PG_GRANDPARENT_PID': str(process.pid)}
    finally:
        process.kill()
        process.communicate()


def test_controldata():
    assert _data_directory.parse_controldata('Database cluster state:               in production\nodd\nTime:  10:00:01\n') == {
        'Database cluster state': 'in production', 'Time': '10:00:01'}


TAGS = {
    'server': {'in_recovery': False, 'version': '15.13 (Debian 15.13-1)', 'version_num': 150013, 'system_identifier': '7',
               'checkpoint_timeline': 1, 'started_at': 't', 'database': 'repmgr'},
    'position': {'current_lsn': '0/5', 'wal_timeline': '0000000A'},
    'settings': {'primary_conninfo': 'host=a password=secret'},
    'databases': ['postgres', 'repmgr'],
}


def test_timeline_of_the_wal_comes_before_that_of_the_checkpoint():
    observed = Observed()
    _observe_sql.take_sql(observed, TAGS, 'repmgr')
    assert (observed.server.timeline, observed.server.checkpoint_timeline, observed.server.version) == (10, 1, '15.13')
    assert observed.server.settings['primary_conninfo'] == 'host=a password=********'


@pytest.mark.parametrize('checkpoint, received, recovery, timeline', [
    (1, 2, 2, 2), (1, 2, None, 2), (None, None, None, None), (2, None, None, 2),
    # Its primary is gone, and it has had no restartpoint since the promotion before: it was taken for one on the older timeline, and another one with less
    # for the one that has most.
    (1, None, 2, 2),
])
def test_timeline_of_a_standby(checkpoint, received, recovery, timeline):
    observed = Observed()
    _observe_sql.take_sql(observed, {
        'server': {'in_recovery': True, 'checkpoint_timeline': checkpoint}, 'position': {'received_lsn': '0/5'}, 'recovery_timeline': recovery,
        'receiver': {'status': 'streaming', 'received_tli': received} if received else None}, 'repmgr')
    assert observed.server.timeline == timeline


@pytest.mark.parametrize('changes, nodes', [
    # No extension in the database: nothing is registered, and that is known.
    ({}, []),
    ({'databases': ['postgres']}, []),
    # Another database than repmgr's was reached, or repmgr's may not be read: nothing is known.
    ({'server': dict(TAGS['server'], database='postgres')}, None),
    ({'extension': '5.3'}, None),
    ({'extension': '5.3', 'nodes': []}, []),
])
def test_registered_nodes(changes, nodes):
    observed = Observed()
    _observe_sql.take_sql(observed, dict(TAGS, **changes), 'repmgr')
    assert observed.repmgr['nodes'] == nodes


def test_no_row_shows_a_password():
    observed = Observed()
    _observe_sql.take_sql(observed, dict(TAGS, extension='5.3', nodes=[{'node_id': 1, 'conninfo': 'host=a password=x'}]), 'repmgr')
    assert observed.repmgr['nodes'] == [{'node_id': 1, 'conninfo': 'host=a password=********'}]
    assert _observe.usable(observed.repmgr['nodes'][0]['conninfo'], 'host=b password=mine') == 'host=a password=mine'


@pytest.mark.parametrize('receiver, settings, answer', [
    ({'status': 'streaming', 'sender_host': '10.0.0.1', 'sender_port': 5432}, {}, (1, True)),
    ({'status': 'streaming', 'sender_host': '10.0.0.2', 'sender_port': 5433}, {}, (2, True)),
    ({'status': 'streaming', 'sender_host': '10.0.0.9', 'sender_port': 5432}, {}, (None, True)),
    ({'status': 'streaming', 'conninfo': 'host=10.0.0.1 port=5432'}, {}, (1, True)),
    (None, {'primary_conninfo': "host='10.0.0.1' user=repmgr"}, (1, False)),
    (None, {}, (None, False)),
])
def test_sender(receiver, settings, answer):
    nodes = [Node(node_id=1, conninfo='host=10.0.0.1'), Node(node_id=2, conninfo='host=10.0.0.2 port=5433')]
    assert _view.sender_node_id(Observed(receiver=receiver, server=Server(settings=settings)), nodes) == answer


def test_sender_by_name_and_by_address():
    nodes = [Node(node_id=1, conninfo='host=localhost')]
    receiver = {'status': 'streaming', 'sender_host': '127.0.0.1', 'sender_port': 5432}
    assert _view.sender_node_id(Observed(receiver=receiver), nodes) == (1, True)


@pytest.mark.parametrize('sender, says, moved', [
    ('10.0.0.9', True, True), ('10.0.0.9', False, False), ('10.0.0.9', PsqlError('connection refused'), False),
    # Nobody has to be asked.
    ('10.0.0.1', AssertionError('asked'), False),
])
def test_a_standby_that_streams_from_a_former_address(monkeypatch, sender, says, moved):
    """By the word of the node that it should follow, under that one's address of now."""
    class Asked:
        def streams(self, conninfo, node_name):
            assert (conninfo, node_name) == ('host=10.0.0.1', 'b')
            if isinstance(says, Exception):
                raise says
            return says

    node = Observed(receiver={'status': 'streaming', 'sender_host': sender, 'sender_port': 5432}, server=Server(state='running', sql=True, in_recovery=True),
                    repmgr={'nodes': [{'node_id': 1, 'node_name': 'a', 'type': 'primary', 'active': True, 'conninfo': 'host=10.0.0.1'}]})
    monkeypatch.setattr(_observe, 'observe_local', lambda *dummy: node)
    monkeypatch.setattr(_observe, 'observe_remote', lambda *dummy: (node, ''))
    found = _view.view(None, Asked(), _place.Place('b'), 'standby', 2, 'host=a', 'host=10.0.0.1')
    assert (found.moved, found.upstream_id, found.streaming) == (moved, 1 if sender == '10.0.0.1' else None, True)


def test_config_is_shown_without_passwords(tmpdir):
    path = tmpdir.join('repmgr.conf')
    path.write("node_id=7\nnode_name='a'\nconninfo='host=a password=secret'\n")
    shown = _place.public_config(_place.read_config(str(path)))
    assert (shown['node_id'], shown['priority'], shown['location'], shown['conninfo']) == (7, 100, 'default', 'host=a password=********')
    assert _place.read_config(str(tmpdir.join('none'))) is None


def test_records_survive_a_round_trip():
    observed = Observed(data=Data(state='valid'), server=Server(state='running'), repmgr={'nodes': [{'node_id': 1, 'odd': 2}]})
    again = Observed.from_dict(dict(observed.to_dict(), unknown_key=1))
    assert again == observed
    assert again.nodes[0].node_id == 1


# -- reach

def peer(name, address, port):
    return {'name': name, 'address': address, 'port': port, 'ssh_port': port}


def test_reach():
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(5)
    closed = socket.socket()
    closed.bind(('127.0.0.1', 0))
    try:
        started = time.time()
        entries = _reach.reach([
            peer('open', '127.0.0.1', listener.getsockname()[1]),
            peer('closed', '127.0.0.1', closed.getsockname()[1]),
            peer('name', 'localhost', listener.getsockname()[1]),
            peer('nobody', 'host.invalid', 1),
        ], 3)
        assert time.time() - started < 7
    finally:
        listener.close()
        closed.close()
    assert [(entry['name'], entry['ssh'], entry['postgresql']) for entry in entries] == [
        ('open', 'open', 'open'), ('closed', 'refused', 'refused'), ('name', 'open', 'open'), ('nobody', 'unresolved', 'unresolved')]
    assert entries[0]['addresses'] == ['127.0.0.1'] and entries[0]['error'] == ''
    # Where it would see this host come from.
    assert entries[0]['sources'] == ['127.0.0.1'] and entries[3]['sources'] == []
    assert entries[3]['addresses'] == [] and entries[3]['error']


@pytest.fixture
def full():
    """A listening socket that takes no connection until somebody accepts those that wait."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(0)
    clients = []
    for dummy in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    yield listener
    for client in clients + [listener]:
        client.close()


def test_a_full_backlog_costs_the_timeout_once(full):
    """Peers that take no connection: many of them cost what one costs."""
    started = time.time()
    entries = _reach.reach([peer('p%d' % number, '127.0.0.1', full.getsockname()[1]) for number in range(8)], 1)
    assert time.time() - started < 3
    assert set((entry['ssh'], entry['error']) for entry in entries) == set([('timeout', 'ssh port %d: no answer within 1 s' % full.getsockname()[1])])


def test_a_packet_that_was_lost(full):
    """The kernel sends it again after a second; somebody who answers half a second late is reached within one, all the same."""
    def accept():
        time.sleep(0.3)
        full.settimeout(1)
        try:
            while True:
                full.accept()[0].close()
        except socket.timeout:
            pass

    late = threading.Thread(target=accept)
    late.start()
    try:
        assert _reach.reach([peer('late', '127.0.0.1', full.getsockname()[1])], 1)[0]['ssh'] == 'open'
    finally:
        late.join()


def test_a_rewind_that_another_task_has_begun(place, monkeypatch):
    make(place, 'PG_VERSION', 'global/pg_control')
    monkeypatch.setattr(_processes, 'cloning_process', lambda path, marker: 4711)
    data = _data_directory.observe_data(None, place)
    assert (data.state, data.reason) == ('unknown', 'process 4711 is still working on it')
    monkeypatch.setattr(_postmaster, 'alive', lambda pidfile, path: 1)
    assert _data_directory.observe_data(None, place).state == 'valid'


@pytest.mark.parametrize('words, busy', [
    (['/usr/bin/repmgr', '-f', '/etc/repmgr/repmgr.conf', '-d', 'host=b', 'node', 'rejoin', '--force-rewind'], True),
    (['/usr/bin/repmgr', '-f', '/etc/repmgr/repmgr.conf', 'node', 'check'], False),
    (['/usr/bin/repmgr', '-f', '/etc/repmgr/repmgr.conf', 'standby', 'follow'], False),
    (['/usr/bin/pg_rewind', '-D', '/data/main', '--source-server', 'host=b'], True),
    (['/usr/bin/pg_rewind', '--target-pgdata=/data/main/'], True),
    (['/usr/bin/pg_basebackup', '-D', '/data/other'], False),
    (['/usr/bin/postgres', '--single', '-D', '/data/main'], True),
    (['/usr/bin/postgres', '-D', '/data/main'], False),
    ([], False),
])
def test_what_changes_a_data_directory_without_a_server(words, busy):
    assert _processes.works_on(words, '/data/main') is busy


@pytest.mark.parametrize('ours', [True, False])
def test_a_rejoin_in_a_container_on_this_host(monkeypatch, ours):
    monkeypatch.setattr(_place, 'listdir', lambda path: ['self', '4711'])
    monkeypatch.setattr(_processes, '_cmdline', lambda pid: ['repmgr', '-f', '/nowhere/repmgr.conf', 'node', 'rejoin'])
    monkeypatch.setattr(_processes, '_same_namespace', lambda folder, root: ours)
    assert _processes.cloning_process('/data/main', None) == (4711 if ours else None)


@pytest.mark.parametrize('directory, busy', [('/data/main', True), ('/data/other', False)])
def test_a_rejoin_of_another_node(tmpdir, directory, busy):
    conf = tmpdir.join('repmgr.conf')
    conf.write("data_directory='%s'\n" % directory)
    assert _processes.works_on(['repmgr', '-f', '%s' % conf, '-d', 'host=b', 'node', 'rejoin'], '/data/main') is busy


def test_programs_that_were_replaced_under_a_running_server(tmpdir, monkeypatch):
    program = tmpdir.join('postgres')
    program.write('')
    assert _postmaster.replaced_programs(os.getpid(), str(program), None) == []
    links = {'exe': '/usr/lib/postgresql/15/bin/postgres (deleted)'}
    monkeypatch.setattr(_postmaster.os, 'readlink', lambda path: links['exe'])
    assert _postmaster.replaced_programs(os.getpid(), str(program), None) == ['postgres was replaced by another version']

    def denied(path):
        raise OSError(13, 'Permission denied')

    monkeypatch.setattr(_postmaster.os, 'readlink', denied)
    now = os.stat(str(program)).st_ctime
    assert _postmaster.replaced_programs(os.getpid(), str(program), now - 60) == ['postgres was replaced by another version']
    assert _postmaster.replaced_programs(os.getpid(), str(program), now + 60) == []
    assert _postmaster.replaced_programs(os.getpid(), str(tmpdir.join('none')), now) == []


def test_files(tmpdir):
    path = tmpdir.join('a')
    path.write('x')
    os.chmod(str(path), 0o440)
    folder = tmpdir.mkdir('b')
    os.chmod(str(folder), 0o755)
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.stat(str(path)).st_gid).gr_name
    assert _host_files.files([str(path), str(folder), str(tmpdir.join('none'))]) == {
        str(path): '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 0440 %s %s' % (user, group),
        str(folder): 'folder 0755 %s %s' % (user, group)}


@pytest.mark.parametrize('content, block', [
    (u'# BEGIN pgfleet.repmgr lab\na\nb\n# END pgfleet.repmgr lab\n', u'a\nb\n'),
    (u'mine\n# BEGIN pgfleet.repmgr lab\na\nb\n# END pgfleet.repmgr lab\nmine\n', u'a\nb\n'),
    (u'# BEGIN pgfleet.repmgr other\na\n# END pgfleet.repmgr other\n', u''),
    (u'# BEGIN pgfleet.repmgr lab\na\n', u''),
    (u'# END pgfleet.repmgr lab\na\n# BEGIN pgfleet.repmgr lab\n', u''),
])
def test_a_marked_block_counts_and_not_what_others_have_in_the_file(tmpdir, content, block):
    path = tmpdir.join('authorized_keys')
    path.write(content)
    digest = _host_files.files([], {str(path): 'pgfleet.repmgr lab', str(tmpdir.join('none')): 'x'})[str(path)].split()[0]
    assert digest == hashlib.sha256(block.encode('utf-8')).hexdigest()


def test_contents(tmpdir):
    path = tmpdir.join('id_ed25519.pub')
    path.write('ssh-ed25519 AAAA me\n')
    binary = tmpdir.join('binary')
    binary.write_binary(b'\xff\xfe')
    assert _host_files.contents([str(path), str(binary), str(tmpdir.join('none'))]) == {str(path): 'ssh-ed25519 AAAA me\n'}


def test_what_the_server_was_never_told_to_read(tmpdir):
    conf = tmpdir.mkdir('conf.d').join('repmgr.conf')
    hba = tmpdir.join('pg_hba.conf')
    key = tmpdir.join('server.key')
    for path, written in ((conf, 1000), (hba, 1000.5), (key, 1001.5)):
        path.write('')
        os.utime(str(path), (written, written))
    settings = {'config_file': str(tmpdir.join('postgresql.conf')), 'hba_file': str(hba), 'ssl_key_file': 'server.key',
                'ssl_cert_file': '/nowhere/server.crt'}
    assert _observe._unread(settings, 1000.0) == [str(key)]
    assert _observe._unread(settings, 998.0) == [str(conf), str(hba), str(key)]
    assert _observe._unread(settings, None) == []
    assert _observe._unread({}, 1000.0) == []


def test_what_the_next_start_gives_less_of(place):
    asked = []

    class Runner:
        def run(self, argv, accept=(0,), run_as=None):
            asked.append((argv, run_as))
            return Result(argv, 0, '100\n', '')

    settings = {'data_directory': '/data', 'config_file': '/etc/p.conf', 'max_connections': '120', 'max_wal_senders': '100'}
    assert _observe._lowered(Runner(), place, settings, ['max_connections', 'max_wal_senders', 'shared_buffers']) == {'max_connections': 100}
    command = [os.path.join(place.bin_dir, 'postgres'), '-D', '/data', '-c', 'config_file=/etc/p.conf', '-C']
    assert asked == [(command + [name], place.user) for name in ('max_connections', 'max_wal_senders')]


def test_the_guard(tmpdir):
    assert _node_notes.read_guard(str(tmpdir)) is None
    unit = tmpdir.mkdir('etc').mkdir('systemd').mkdir('system')
    unit.join('repmgr-guard.service').write('')
    assert _node_notes.read_guard(str(tmpdir)) == {'running': False, 'enabled': False, 'stopped': None, 'peers': [], 'fuse': None}
    os.symlink('../repmgr-guard.service', str(unit.mkdir('multi-user.target.wants').join('repmgr-guard.service')))
    tmpdir.mkdir('run').mkdir('postgresql').join('repmgr-guard.pid').write('7\n')
    tmpdir.mkdir('proc').mkdir('7').join('cmdline').write('python3\0/usr/local/sbin/repmgr-guard\0watch\0')
    assert _node_notes.read_guard(str(tmpdir)) == {'running': True, 'enabled': True, 'stopped': None, 'peers': [], 'fuse': None}
    # The fuse has a unit of its own, and may have got a number that was the guard's.
    unit.join('repmgr-guard-fuse.service').write('')
    assert _node_notes.read_guard(str(tmpdir))['fuse'] == {'running': False, 'enabled': False, 'limit': None, 'sight_age': None}
    tmpdir.join('run', 'postgresql', 'repmgr-guard-fuse.pid').write('7\n')
    assert _node_notes.read_guard(str(tmpdir))['fuse']['running'] is False
    tmpdir.join('proc', '7', 'cmdline').write('python3\0/usr/local/sbin/repmgr-guard-fuse\0')
    found = _node_notes.read_guard(str(tmpdir))
    assert (found['running'], found['fuse']['running'], found['fuse']['enabled']) == (False, True, False)


@pytest.mark.parametrize('text, found', [
    ('{"limit": 7, "sight": 99.45}', {'limit': 7, 'sight_age': 0.6}),
    ('{"limit": null, "sight": 40}', {'limit': None, 'sight_age': 60.0}),
    ('{"limit": 7, "sight": 100.2}', {'limit': 7, 'sight_age': 0}),
    ('{"limit": 7, "si', {'limit': None, 'sight_age': None}),
    ('{"limit": 7}', {'limit': None, 'sight_age': None}),
    ('[]', {'limit': None, 'sight_age': None}),
])
def test_what_the_fuse_was_told(tmpdir, monkeypatch, text, found):
    monkeypatch.setattr(_node_notes, '_since_boot', lambda: 100.05)
    for name in ('repmgr-guard', 'repmgr-guard-fuse'):
        tmpdir.ensure('etc', 'systemd', 'system', name + '.service')
    tmpdir.ensure('run', 'postgresql', 'repmgr-guard.sight').write(text)
    assert _node_notes.read_guard(str(tmpdir))['fuse'] == dict({'running': False, 'enabled': False}, **found)


@pytest.mark.parametrize('text, found', [
    ('{"peers": [{"name": "b", "node_id": 2, "conninfo": "host=b sslmode=require", "vote": true}]}',
     [{'node_id': 2, 'conninfo': 'host=b sslmode=require'}]),
    # Written half, or by another version.
    ('{"peers": [{"na', []), ('{}', []), ('{"peers": [{"name": "b"}]}', []), ('[]', []),
])
def test_how_the_guard_connects(tmpdir, text, found):
    tmpdir.ensure('etc', 'systemd', 'system', 'repmgr-guard.service')
    tmpdir.ensure('etc', 'pgfleet', 'guard.json').write(text)
    assert _node_notes.read_guard(str(tmpdir))['peers'] == found


@pytest.mark.parametrize('written, stopped', [
    (None, None),
    ('', {}),
    ('{"code": "isol', {}),
    ('[1]', {}),
    ('{}', {'code': None, 'peers': [], 'since': None}),
    ('{"code": "isolated", "peers": ["b", "w"], "since": 1764450000}', {'code': 'isolated', 'peers': ['b', 'w'], 'since': 1764450000}),
    ('{"code": "isolated", "peers": "b", "since": null}', {'code': 'isolated', 'peers': [], 'since': None}),
], ids=['no file', 'empty', 'half', 'no dictionary', 'nothing in it', 'whole', 'odd'])
def test_why_the_guard_stopped_the_server(tmpdir, written, stopped):
    tmpdir.ensure('etc', 'systemd', 'system', 'repmgr-guard.service')
    if written is not None:
        tmpdir.ensure('run', 'postgresql', 'repmgr-guard.stopped').write(written)
    assert _node_notes.read_guard(str(tmpdir))['stopped'] == stopped


# -- what nobody said

def test_places_are_found_by_repmgr_conf(tmpdir):
    root = tmpdir
    for version in (9, 15, 16):
        root.ensure('usr', 'lib', 'postgresql', str(version), 'bin', dir=True)
        root.ensure('var', 'lib', 'postgresql', str(version), 'main', dir=True)
    place = _place.Place()
    _place.find(place, str(root))
    assert (place.config_file, place.bin_dir, place.data_directory) == (
        None, str(root.join('usr/lib/postgresql/16/bin')), str(root.join('var/lib/postgresql/16/main')))
    for version in (9, 15):
        root.ensure('etc', 'repmgr', str(version), 'repmgr.conf').write("node_id=1\npg_bindir='/opt/%d'\ndata_directory='/data/%d'\n" % (version, version))
    place = _place.Place()
    _place.find(place, str(root))
    assert (place.config_file, place.bin_dir, place.data_directory) == (str(root.join('etc/repmgr/15/repmgr.conf')), '/opt/15', '/data/15')
    place = _place.Place(bin_dir='/mine', data_directory='/own', config_file='/no/such')
    _place.find(place, str(root))
    assert (place.config_file, place.bin_dir, place.data_directory) == ('/no/such', '/mine', '/own')


@pytest.mark.parametrize('file, pattern', [('etc/debian_version', 'var/lib/postgresql/*/main'), ('etc/redhat-release', 'var/lib/pgsql/*/data')])
def test_a_host_with_nothing_has_no_data(tmpdir, file, pattern):
    tmpdir.ensure(*file.split('/'))
    place = _place.Place()
    _place.find(place, str(tmpdir))
    assert place.data_directory == str(tmpdir.join(pattern))
    assert _data_directory.observe_data(None, place).state == 'missing'


def test_disks(tmpdir):
    tmpdir.ensure('pg_wal', dir=True)
    found, = _data_directory.disks(str(tmpdir))
    assert found['path'] == str(tmpdir) and 0 <= found['free_bytes'] <= found['total_bytes'] and found['total_bytes'] > 0
    assert _data_directory.disks(None) == _data_directory.disks(str(tmpdir.join('none'))) == []


def process(root, number, words, cgroup='', config=None):
    folder = root / 'proc' / str(number)
    folder.mkdir(parents=True)
    (folder / 'cmdline').write_bytes(b'\0'.join(word.encode('utf-8') for word in words) + b'\0')
    (folder / 'cgroup').write_text(u'%s' % cgroup)


def test_every_repmgrd_of_this_node_is_seen_with_its_unit(tmp_path):
    ours, theirs = tmp_path / 'ours.conf', tmp_path / 'theirs.conf'
    ours.write_text(u"node_id=1\ndata_directory='%s/data/'\n" % tmp_path)
    theirs.write_text(u"node_id=1\ndata_directory='/elsewhere'\n")
    process(tmp_path, 10, ['/usr/bin/repmgrd', '-f', str(ours)], u'1:name=systemd:/docker/abc/system.slice/pg-failover.service\n')
    process(tmp_path, 11, ['repmgrd', '--config-file=%s' % ours, '-d'], u'0::/user.slice/user-0.slice/session-3.scope\n')
    process(tmp_path, 12, ['repmgrd', '-f%s' % ours], u'0::/system.slice/system-repmgr.slice/repmgr@1.service\n')
    process(tmp_path, 13, ['repmgrd', '-f', str(theirs)], u'0::/system.slice/other.service\n')
    process(tmp_path, 14, ['repmgrd', '-f', str(tmp_path / 'gone')], u'0::/system.slice/x.service\n')
    process(tmp_path, 15, ['sh', '-c', 'repmgrd'], u'0::/\n')
    process(tmp_path, 16, ['vi', 'repmgrd'], u'0::/\n')
    (tmp_path / 'proc' / 'sys').mkdir()
    assert _processes.daemons(str(tmp_path / 'data'), str(tmp_path)) == [
        {'pid': 10, 'unit': 'pg-failover.service'}, {'pid': 11, 'unit': None}, {'pid': 12, 'unit': 'repmgr@1.service'},
        {'pid': 14, 'unit': 'x.service'}]


@pytest.mark.parametrize('text, unit', [
    (u'0::/system.slice/repmgrd.service\n', 'repmgrd.service'),
    # By a drop-in with a slice of the operator's own.
    (u'0::/postgresql.slice/repmgrd.service\n', 'repmgrd.service'), (u'0::/repmgrd.service\n', 'repmgrd.service'),
    (u'0::/system.slice/docker.service/docker/x/system.slice/repmgrd.service\n', 'repmgrd.service'),
    (u'5:cpu:/\n1:name=systemd:/system.slice/repmgrd.service/worker\n', 'repmgrd.service'),
    (u'0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n', None), (u'0::/user.slice/user-0.slice/session-1.scope\n', None),
    (u'0::/\n', None), (u'', None),
])
def test_the_unit_of_a_process(tmp_path, text, unit):
    (tmp_path / 'cgroup').write_text(text)
    assert _processes.unit(str(tmp_path / 'cgroup')) == unit
    assert _processes.unit(str(tmp_path / 'gone')) is None


VERIFIED = {'ok': False, 'ended': 5, 'seconds': {}, 'label': 'L', 'node': 'b', 'problem': 'x'}


@pytest.mark.parametrize('text, known', [
    (None, False), (json.dumps(VERIFIED), True), ('{', False), ('[]', False), (json.dumps(dict(VERIFIED, ended='5')), False),
    (json.dumps(dict(VERIFIED, node=None)), False), (json.dumps(dict((key, VERIFIED[key]) for key in VERIFIED if key != 'ok')), False)])
def test_the_last_restore_drill(tmpdir, text, known):
    """What makes no sense is no result, and status goes on."""
    assert _observe.read_verified(str(tmpdir)) is None
    folder = tmpdir.mkdir('etc').mkdir('pgfleet').mkdir('backup').mkdir('main')
    folder.join('node.json').write(json.dumps({'verify_max_age': 48}))
    if text is not None:
        folder.join('verified.json').write(text)
    found = _observe.read_verified(str(tmpdir))
    assert found['max_age'] == 48 and found['last'] == (VERIFIED if known else None) and abs(found['now'] - time.time()) < 60
