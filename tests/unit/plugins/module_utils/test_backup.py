# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup

NODES = dict(('n%d' % number, {'address': '10.0.0.%d' % number, 'ssh_port': 22, 'port': 5432, 'data_directory': '/data',
                               'socket_directory': '/var/run/postgresql'}) for number in (1, 2, 3))
SETTINGS = {
    'tool': 'pgbackrest', 'cluster': 'main', 'name': 'n1', 'directory': '/etc/pgfleet/backup/main', 'os_user': 'postgres', 'port': '5432',
    'socket_directory': '/var/run/postgresql', 'data_directory': '/data', 'psql': '/usr/bin/psql', 'repository': {'type': 'host'},
    'repository_address': '10.0.0.9', 'repository_ssh_port': '22', 'repository_conf': '/etc/pgfleet/backup/main/repository.conf',
    'ssh': '/etc/pgfleet/backup/main/ssh', 'cipher_pass': '', 'retention': {'full': 2}, 'processes': '2', 'archive_queue': '8GB', 'max_age': '48',
    'verify_max_age': '0',
    'log_path': '/var/log/pgbackrest', 'spool_path': '/var/spool/pgbackrest', 'nodes': [dict(node, name=name) for name, node in sorted(NODES.items())],
}
INPUT = {
    'tool': 'pgbackrest', 'group': 'backup', 'hosts': ['r'], 'data_hosts': ['n1', 'n2'], 'repository': {'type': 'host'}, 'schedule': {'full': 'Sun 02:00'},
    'retention': {'full': '2'}, 'processes': '2', 'archive_queue': '8GB', 'max_age': 48, 'verify_max_age': 0, 'cipher_lines': '1',
}
S3 = {'type': 's3', 'bucket': 'b', 'endpoint': 'e', 'region': 'r', 'key': 'k', 'key_secret': 'very secret'}
PRIMARY = {'in_recovery': False, 'timeline': 2}
STANDBY = {'in_recovery': True, 'timeline': 2, 'streaming': True, 'delay': 0, 'paused': False}

# pgBackRest 2.45 on Debian 12: after a backup from a standby, with another cipher pass, and with a repository host that is gone.
INFO = (
    '[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"000000030000000000000007","min":"000000010000000000000002"}],"ba'
    'ckup":[{"archive":{"start":"000000030000000000000007","stop":"000000030000000000000007"},"backrest":{"format":5,"version":"2.45"},'
    '"database":{"id":1,"repo-key":1},"error":false,"info":{"delta":30952579,"repository":{"delta":4489142,"size":4489142},"size":30952'
    '579},"label":"20261130-135007F","lsn":{"start":"0/7000060","stop":"0/7000170"},"prior":null,"reference":null,"timestamp":{"start":'
    '1796046607,"stop":1796046654},"type":"full"}],"cipher":"none","db":[{"id":1,"repo-key":1,"system-id":7713957215321599218,"version"'
    ':"15"}],"name":"backup","repo":[{"cipher":"none","key":1,"status":{"code":0,"message":"ok"}}],"status":{"code":0,"lock":{"backup":'
    '{"held":false}},"message":"ok"}}]'
)
OTHER_PASS = (
    '[{"archive":[],"backup":[],"cipher":"aes-256-cbc","db":[],"name":"backup","repo":[{"cipher":"aes-256-cbc","key":1,"status":{"code"'
    ':99,"message":"[CryptoError] unable to load info file \'/var/lib/pgbackrest/backup/backup/backup.info\' or \'/var/lib/pgbackrest/back'
    "up/backup/backup.info.copy':\\nCryptoError: cipher header invalid\\nHINT: is or was the repo encrypted?\\nCryptoError: cipher header "
    'invalid\\nHINT: is or was the repo encrypted?\\nHINT: backup.info cannot be opened and is required to perform a backup.\\nHINT: has a'
    ' stanza-create been performed?\\nHINT: use option --stanza if encryption settings are different for the stanza than the global sett'
    'ings."}}],"status":{"code":99,"lock":{"backup":{"held":false}},"message":"other"}}]'
)
GONE = (
    '[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"backup","repo":[{"cipher":"none","key":1,"status":{"code":99,"message":'
    '"[UnknownError] remote-0 process on \'192.168.56.250\' terminated unexpectedly [255]: ssh: connect to host 192.168.56.250 port 22: N'
    'o route to host"}}],"status":{"code":99,"lock":{"backup":{"held":false}},"message":"other"}}]'
)


def section(text, name):
    lines = text.split('[%s]\n' % name)[1].split('\n\n')[0].splitlines()
    return dict(line.split('=', 1) for line in lines)


# -- the inventory

QUERY = {'database': 'x', 'query': 'SELECT 1'}


@pytest.mark.parametrize('changes', [
    {}, {'tool': 'none', 'repository': None}, {'repository': {'path': '/srv/backup'}}, {'repository': S3, 'hosts': []},
    {'repository': {'type': 'directory', 'path': '/nfs/backup'}, 'hosts': []},
    {'verify_queries': [{'database': 'x', 'query': 'SELECT 1'}, {'database': 'x', 'query': 'y', 'expected': 5},
                        {'database': 'x', 'query': 'y', 'expected': ''}], 'verify_directory': '/srv/scratch', 'verify_max_age': '168'},
    {'schedule': {'full': 'weekly', 'differential': 'Mon..Sat 02:00', 'incremental': ''}}, {'retention': {'full': 1, 'differential': 3}},
])
def test_input_that_is_right(changes):
    assert _backup.input_problems(dict(INPUT, **changes)) == []


@pytest.mark.parametrize('changes, seen', [
    ({'tool': 'barman'}, 'repmgr_backup is "barman"'),
    ({'repository': 'nfs'}, 'repmgr_backup_repository is "nfs"'),
    ({'repository': {'type': 'tape'}}, 'repmgr_backup_repository is "tape"'),
    ({'repository': {'type': 'host', 'pth': '/x'}}, 'repmgr_backup_repository has pth'),
    ({'repository': {'type': 's3', 'bucket': 'b'}}, 'repmgr_backup_repository has no endpoint, key, key_secret, region'),
    ({'repository': dict(S3, uri_style='both')}, 'repmgr_backup_repository.uri_style is "both"'),
    ({'repository': dict(S3, bucket='b\nrepo1-path=/')}, 'repmgr_backup_repository.bucket has more than one line'),
    ({'repository': {'path': '/a/../b'}}, 'repmgr_backup_repository.path is "/a/../b"'),
    ({'repository': {'path': '/data/x'}, 'data_directory': '/data'}, 'repmgr_backup_repository.path is "/data/x", which is in repmgr_data_directory'),
    ({'repository': {'path': '/srv/'}}, 'repmgr_backup_repository.path is "/srv/", which the system uses'),
    ({'repository': {'type': 'directory', 'path': '/var/lib/.'}, 'hosts': []}, 'repmgr_backup_repository.path is "/var/lib/.", which the system uses'),
    ({'hosts': []}, 'group backup has no host for this cluster'),
    ({'hosts': ['a', 'b']}, 'group backup has a and b for this cluster'),
    ({'hosts': ['n2']}, 'the repository is on n2, a data node'),
    ({'archive_command_named': True}, 'repmgr_archive_command is set beside repmgr_backup'),
    ({'schedule': {'full': 'Sun 02:00', 'weekly': 'Sun'}}, 'repmgr_backup_schedule has "weekly"'),
    ({'schedule': {'full': 'every sunday'}}, 'repmgr_backup_schedule.full is "every sunday"'),
    ({'schedule': {'differential': 'daily'}}, 'repmgr_backup_schedule has no full backup'),
    ({'schedule': 'daily'}, 'repmgr_backup_schedule has "daily"'),
    ({'retention': {'full': 0}}, 'repmgr_backup_retention.full is "0"'),
    ({'retention': {'differential': 2}}, 'repmgr_backup_retention has no full'),
    ({'processes': 'many'}, 'repmgr_backup_processes is "many"'),
    ({'max_age': True}, 'repmgr_backup_max_age is "True"'),
    ({'archive_queue': '8'}, 'repmgr_backup_archive_queue is "8"'),
    ({'cipher_lines': '2'}, 'repmgr_backup_cipher_pass has more than one line'),
    ({'verify_max_age': '1 day'}, 'repmgr_verify_max_age is "1 day"'),
    ({'verify_directory': 'scratch'}, 'repmgr_verify_directory is "scratch"'),
    ({'verify_directory': '/a/../b'}, 'repmgr_verify_directory is "/a/../b"'),
    ({'verify_queries': {'database': 'x', 'query': 'y'}}, 'repmgr_verify_queries is no list'),
    ({'verify_queries': [QUERY, 'SELECT 1']}, 'query 2 of repmgr_verify_queries is no dictionary'),
    ({'verify_queries': [{'database': 'x'}]}, 'query 1 of repmgr_verify_queries has no query'),
    ({'verify_queries': [dict(QUERY, database='')]}, 'query 1 of repmgr_verify_queries has no database'),
    ({'verify_queries': [dict(QUERY, expect=1)]}, 'query 1 of repmgr_verify_queries has expect'),
    ({'verify_queries': [dict(QUERY, expected=True)]}, 'query 1 of repmgr_verify_queries expects True'),
    ({'verify_queries': [dict(QUERY, expected=1.5)]}, 'query 1 of repmgr_verify_queries expects 1.5'),
    ({'verify_queries': [dict(QUERY, expected=[1])]}, 'query 1 of repmgr_verify_queries expects [1]'),
])
def test_input_that_is_refused(changes, seen):
    found = _backup.input_problems(dict(INPUT, **changes))
    assert [problem[0] for problem in found] == [seen] and all(all(problem) for problem in found)


@pytest.mark.parametrize('text, right', [
    ('Sun 02:00', True), ('Mon..Sat 02:00', True), ('Mon,Tue,Wed,Thu,Fri,Sat 02:00', True), ('Mon,Wed 02:00:30', True), ('daily', True),
    ('*-*-* 0/6:30', True), ('2026-*-01 02:00 UTC', True),
    ('Sat 04:00 Europe/Berlin', True), ('', False), ('0 2 * * 0', False), ('tomorrow', False), ('02:00\nExecStart=/bin/sh', False), ('Sun 02:00; x', False),
    ('%i', False),
])
def test_calendar_events(text, right):
    assert _backup.is_calendar(text) is right


def test_records_have_no_secrets():
    shown = _backup.without_secrets(S3)
    assert 'very secret' not in json.dumps(shown) and set(shown) == set(S3) and shown['bucket'] == 'b'
    assert S3['key_secret'] == 'very secret' and _backup.without_secrets('text') == 'text'
    assert _backup.input_problems(dict(INPUT, repository=shown)) == []


# -- the place of the repository

WANTED = {'repository': {'type': 'host', 'path': '/srv/backup'}, 'cipher_pass': 'very secret', 'os_user': 'postgres'}


def configured(repository=None, cipher_pass='very secret'):
    files = _backup.files(dict(SETTINGS, repository=repository or WANTED['repository'], cipher_pass=cipher_pass))
    return files.get('repository.conf') or files['node.conf']


@pytest.mark.parametrize('folder, seen', [
    ({}, None), ({'exists': False}, None),
    ({'exists': True, 'directory': True, 'owner': 'root', 'entries': []}, None),
    ({'exists': True, 'directory': True, 'owner': 'root', 'entries': ['lost+found']}, None),
    ({'exists': True, 'directory': True, 'owner': 'postgres', 'entries': ['archive', 'backup']}, None),
    ({'exists': True, 'directory': True, 'owner': 'www', 'entries': ['d', 'c', 'b', 'a']}, '/srv/backup belongs to www and has a, b, c, ...'),
    ({'exists': True, 'directory': False, 'owner': 'postgres'}, '/srv/backup is no directory'),
])
def test_a_folder_of_somebody_else_is_not_taken(folder, seen):
    found = _backup.place_problems({'conf': '', 'folder': folder}, WANTED)
    assert [problem[0] for problem in found] == ([seen] if seen else []) and all(all(problem) for problem in found)


@pytest.mark.parametrize('conf, wanted, refused', [
    ('', {}, False), (configured(), {}, False), (configured(cipher_pass=''), {'cipher_pass': ''}, False),
    (configured(), {'cipher_pass': ''}, True), (configured(), {'cipher_pass': 'other'}, True), (configured(cipher_pass=''), {}, True),
    (configured(cipher_pass='a=b'), {'cipher_pass': 'a=c'}, True), (configured(cipher_pass='123'), {'cipher_pass': 123}, False),
    # Another repository may have another pass.
    (configured(), {'cipher_pass': 'other', 'repository': {'path': '/srv/new'}}, False),
    (configured(S3), {'cipher_pass': 'other', 'repository': S3}, True),
    (configured(S3), {'cipher_pass': 'other', 'repository': dict(S3, key_secret='renewed', endpoint='e2')}, True),
    (configured(S3), {'cipher_pass': 'other', 'repository': dict(S3, bucket='c')}, False),
    # A data node of a repository on a host has neither a path nor a pass.
    (_backup.files(SETTINGS)['node.conf'], {'cipher_pass': 'other', 'repository': {'type': 'directory', 'path': '/var/lib/pgbackrest'}}, False),
])
def test_another_cipher_pass_is_not_written_over_the_good_one(conf, wanted, refused):
    found = _backup.place_problems({'conf': conf}, dict(WANTED, **wanted))
    assert len(found) == refused and all(all(problem) for problem in found)
    assert 'very secret' not in '%s' % found and 'other' not in '%s' % [problem[0].replace('another', '') for problem in found]


# -- configuration

def test_a_data_node_knows_the_host_of_the_repository_and_no_secret():
    text = _backup.files(dict(SETTINGS, cipher_pass='secret'))['node.conf']
    assert section(text, 'main') == {'pg1-path': '/data', 'pg1-port': '5432', 'pg1-socket-path': '/var/run/postgresql'}
    assert section(text, 'global:archive-push') == {'archive-timeout': '5'}
    common = section(text, 'global')
    assert (common['repo1-host'], common['repo1-host-user'], common['repo1-host-config'], common['cmd-ssh']) == (
        '10.0.0.9', 'postgres', '/etc/pgfleet/backup/main/repository.conf', '/etc/pgfleet/backup/main/ssh')
    assert (common['archive-async'], common['archive-push-queue-max']) == ('y', '8GB')
    assert 'secret' not in text and 'repo1-path' not in text and 'retention' not in text


def test_the_host_of_the_repository_keeps_it_and_names_no_primary():
    files = _backup.files(dict(SETTINGS, cipher_pass='secret', retention={'full': 2, 'differential': 5}))
    common = section(files['repository.conf'], 'global')
    assert (common['repo1-path'], common['repo1-cipher-type'], common['repo1-cipher-pass']) == ('/var/lib/pgbackrest', 'aes-256-cbc', 'secret')
    assert (common['repo1-retention-full'], common['repo1-retention-diff']) == ('2', '5')
    assert 'pg1-host' not in files['repository.conf']
    assert json.loads(files['repository.json'])['nodes'] == NODES and 'secret' not in files['repository.json']


@pytest.mark.parametrize('repository, expected', [
    ({'type': 'directory', 'path': '/nfs'}, {'repo1-path': '/nfs'}),
    (S3, {'repo1-type': 's3', 'repo1-path': '/pgbackrest', 'repo1-s3-bucket': 'b', 'repo1-s3-endpoint': 'e', 'repo1-s3-region': 'r', 'repo1-s3-key': 'k',
          'repo1-s3-key-secret': 'very secret', 'repo1-s3-uri-style': 'host'}),
    ({'type': 'azure', 'account': 'a', 'container': 'c', 'key': 'k'},
     {'repo1-type': 'azure', 'repo1-path': '/pgbackrest', 'repo1-azure-account': 'a', 'repo1-azure-container': 'c', 'repo1-azure-key': 'k'}),
    ({'type': 'gcs', 'bucket': 'b', 'key_file': '/k'}, {'repo1-type': 'gcs', 'repo1-path': '/pgbackrest', 'repo1-gcs-bucket': 'b', 'repo1-gcs-key': '/k'}),
])
def test_a_repository_that_all_data_nodes_reach(repository, expected):
    files = _backup.files(dict(SETTINGS, repository=repository))
    common = section(files['node.conf'], 'global')
    assert dict((key, value) for key, value in common.items() if key.startswith('repo1-') and 'retention' not in key) == expected
    assert common['repo1-retention-full'] == '2' and sorted(files) == ['node.conf', 'node.json']
    assert json.loads(files['node.json'])['makes'] is True


def test_what_tells_a_repository_from_another_one():
    assert _backup.place({'type': 'host'}) == 'host /var/lib/pgbackrest' and _backup.place(S3) == 's3 b /pgbackrest'
    for files in (_backup.files(SETTINGS), _backup.files(dict(SETTINGS, repository=S3))):
        for name in [name for name in files if name.endswith('.json')]:
            told = json.loads(files[name])
            assert told['marker'] == '/etc/pgfleet/backup/main/ours' and told['place'] in ('host /var/lib/pgbackrest', 's3 b /pgbackrest')


# -- who makes a backup

@pytest.mark.parametrize('states, primary, standby', [
    ({'a': PRIMARY, 'b': STANDBY, 'c': STANDBY}, 'a', 'b'),
    ({'a': None, 'b': PRIMARY, 'c': STANDBY}, 'b', 'c'),
    ({'a': PRIMARY, 'b': dict(STANDBY, delay=60000)}, 'a', ''),
    ({'a': PRIMARY, 'b': dict(STANDBY, delay=None)}, 'a', ''),
    ({'a': PRIMARY, 'b': dict(STANDBY, paused=True)}, 'a', ''),
    ({'a': PRIMARY, 'b': dict(STANDBY, streaming=False)}, 'a', ''),
    ({'a': PRIMARY, 'b': dict(STANDBY, timeline=1)}, 'a', ''),
    ({'a': PRIMARY, 'b': dict(PRIMARY, timeline=1)}, '', ''),
    ({'a': None, 'b': STANDBY}, '', ''),
    ({}, '', ''),
])
def test_who_is_read_from(states, primary, standby):
    chosen = _backup.choose(states)
    assert (chosen['primary'], chosen['standby'], bool(chosen['refused'])) == (primary, standby, not primary)


def test_the_words_of_a_backup():
    settings = json.loads(_backup.files(SETTINGS)['repository.json'])
    words = _backup.backup_command(settings, NODES, {'primary': 'n2', 'standby': 'n3'}, 'differential')
    assert words[:4] == ['pgbackrest', '--config=/etc/pgfleet/backup/main/repository.conf', '--stanza=main', '--type=diff'] and words[-1] == 'backup'
    assert '--pg1-host=10.0.0.2' in words and '--pg2-host=10.0.0.3' in words and '--backup-standby' in words
    words = _backup.backup_command(settings, NODES, {'primary': 'n2', 'standby': ''}, 'full')
    assert '--backup-standby' not in words and not [word for word in words if word.startswith('--pg2')]
    assert _backup.backup_command(settings, {}, {'primary': 'n2', 'standby': ''}, 'full')[3:] == ['--type=full', 'backup']


REMOTE = ['pgbackrest', '--config=/c', '--exec-id=1-2', '--log-level-console=off', '--process=0', '--remote-type=repo', '--stanza=main', 'archive-push:remote']


@pytest.mark.parametrize('words, allowed', [
    (REMOTE, True),
    (['/usr/bin/pgbackrest'] + REMOTE[1:], True),
    (['/tmp/pgbackrest'] + REMOTE[1:], False),
    ([], False),
    (REMOTE[:-1] + ['archive-push'], False),
    (REMOTE[:-1] + ['stanza-delete:remote'], False),
    (REMOTE[:-1] + ['expire:remote'], False),
    ([word.replace('main', 'other') for word in REMOTE], False),
    ([word.replace('/c', '/other') for word in REMOTE], False),
    ([word for word in REMOTE if not word.startswith('--config')], False),
    ([word.replace('=repo', '=pg') for word in REMOTE], False),
    (REMOTE[:1] + ['--config-path=/tmp'] + REMOTE[1:], False),
    (REMOTE[:1] + ['--repo1-path=/tmp'] + REMOTE[1:], False),
    (REMOTE[:1] + ['--cmd-ssh=/tmp/x'] + REMOTE[1:], False),
    (REMOTE[:1] + ['--no-config'] + REMOTE[1:], False),
    (REMOTE[:1] + ['--repo2-path=/tmp'] + REMOTE[1:], False),
    (REMOTE[:1] + ['--reset-repo1-cipher-type'] + REMOTE[1:], False),
    (REMOTE[:1] + ['--repo=1'] + REMOTE[1:], True),
    (REMOTE[:1] + ['--config=/c'] + REMOTE[1:], False),
    (REMOTE[:1] + ['sh'] + REMOTE[1:], False),
])
def test_what_a_peer_may_start(words, allowed):
    assert _backup.is_allowed(words, 'repo', {'conf': '/c', 'cluster': 'main'}) is allowed


# -- what the repository has

def recorded(code=0, message='ok', backups=(), repo=None):
    return json.dumps([{'name': 'main', 'status': {'code': code, 'message': message}, 'backup': list(backups), 'repo': [{'status': repo or {}}]}])


def backup(label='20261130-010000F', stop=1000, start='000000020000000000000004', **more):
    return dict({'label': label, 'type': 'full', 'error': False, 'timestamp': {'start': stop - 10, 'stop': stop}, 'archive': {'start': start, 'stop': start},
                 'info': {'size': 500, 'repository': {'delta': 50}}}, **more)


@pytest.mark.parametrize('text, state, reason', [
    ('[]', 'no_stanza', ''), ('', 'unreachable', 'the repository says nothing that can be read'), ('{"a": 1}', 'unreachable', None),
    (recorded(1, 'missing stanza path'), 'no_stanza', 'missing stanza path'), (recorded(3, 'missing stanza data'), 'no_stanza', None),
    (recorded(2, 'no valid backups'), 'no_backup', ''),
    (recorded(99, 'other', repo={'code': 99, 'message': '[CipherError] x\n  y'}), 'unreachable', '[CipherError] x'),
    (recorded(0, backups=[backup(error=True)]), 'no_backup', ''),
])
def test_a_repository_without_a_backup(text, state, reason):
    judged = _backup.judge(text, 'main')
    assert (judged['state'], judged['last']) == (state, None) and reason in (None, judged['reason'])


def test_the_last_good_backup_counts():
    judged = _backup.judge(recorded(backups=[backup(), backup('x', 2000, type='diff'), backup('bad', 3000, error=True)]), 'main')
    assert (judged['state'], judged['count'], judged['oldest']['label']) == ('ok', 2, '20261130-010000F')
    assert judged['last'] == {'label': 'x', 'type': 'differential', 'started': 1990, 'ended': 2000, 'seconds': 10, 'bytes': 500, 'repository_bytes': 50,
                              'timeline': 2, 'first_wal': '000000020000000000000004'}


@pytest.mark.parametrize('code, err, reason', [(124, '', 'no answer in time'), (127, 'P00 ERROR: no route\nmore', 'P00 ERROR: no route')])
def test_a_repository_that_does_not_answer(code, err, reason):
    judged = _backup.answered(code, recorded(backups=[backup()]), err, 'main')
    assert (judged['state'], judged['reason'], judged['last']) == ('unreachable', reason, None)
    assert _backup.answered(0, recorded(backups=[backup()]), 'a warning', 'main')['state'] == 'ok'


MB = 1024 * 1024


@pytest.mark.parametrize('size, there, first, lacks', [
    (16 * MB, ['000000020000000000000004', '000000020000000000000005'], '000000020000000000000004', []),
    (16 * MB, ['000000020000000000000004', '000000020000000000000007'], '000000020000000000000004',
     ['000000020000000000000005', '000000020000000000000006']),
    # The first one itself; nothing there yet; only older ones.
    (16 * MB, ['000000020000000000000005'], '000000020000000000000004', ['000000020000000000000004']),
    (16 * MB, [], '000000020000000000000004', []),
    (16 * MB, ['000000020000000000000003'], '000000020000000000000004', []),
    # From one number to the next: 256 files of 16 MB, 4 of 1 GB.
    (16 * MB, ['0000000200000000000000FE', '000000020000000100000001'], '0000000200000000000000FE',
     ['0000000200000000000000FF', '000000020000000100000000']),
    (1024 * MB, ['000000020000000000000002', '000000020000000100000001'], '000000020000000000000002',
     ['000000020000000000000003', '000000020000000100000000']),
    # Other timelines have WAL of their own.
    (16 * MB, ['000000020000000000000004', '000000030000000000000009', '000000010000000000000009'], '000000020000000000000004', []),
])
def test_wal_that_lacks(size, there, first, lacks):
    names = ['%s-%s.gz' % (name, 40 * 'a') for name in there]
    names += ['00000002.history', '000000020000000000000009.00000028.backup', '00000002000000000000000A.partial-%s.gz' % (40 * 'b')]
    assert _backup.missing_wal(names, (first, size)) == lacks


@pytest.mark.parametrize('before, waiting, after, lost', [
    (['5', '6'], ['6'], ['5', '6'], ['5']), (['5'], None, ['5'], ['5']), (['5'], [], [], []), (['5'], [], ['6'], []), (['5'], ['5'], ['5'], []),
])
def test_wal_that_is_lost(before, waiting, after, lost):
    assert _backup.lost_wal(before, {'waiting': waiting}, after) == lost


@pytest.mark.parametrize('text, timeline, kind', [
    (recorded(2, 'no valid backups'), 1, 'full'), (recorded(backups=[backup()]), 2, ''), (recorded(backups=[backup()]), 3, 'incremental'),
    (recorded(backups=[backup(start='0000000A0000000000000001')]), 10, ''), ('[]', 1, ''), ('', 1, ''), (recorded(backups=[backup()]), None, ''),
])
def test_what_is_due_whatever_the_schedule_says(text, timeline, kind):
    assert _backup.due(_backup.judge(text, 'main'), timeline) == kind


@pytest.mark.parametrize('text, now, archiver, codes', [
    (recorded(backups=[backup()]), 1000 + 48 * 3600, {}, []),
    (recorded(backups=[backup()]), 1001 + 48 * 3600, {}, ['backup_old']),
    (recorded(2), 0, {}, ['backup_missing']), ('[]', 0, {}, ['backup_stanza']), ('', 0, {}, ['backup_repository']),
    (recorded(backups=[backup()]), 1000, {'failing': True, 'last_failed_wal': 'X', 'failing_since': 'noon'}, ['archive_failing']),
    ('', 0, {'failing': True}, ['backup_repository', 'archive_failing']),
])
def test_problems(text, now, archiver, codes):
    found = _backup.problems({'settings': {'max_age': 48, 'verify_max_age': 0}, 'judged': _backup.judge(text, 'main'), 'archiver': archiver, 'now': now})
    assert [problem[0] for problem in found] == codes and all(all(problem) for problem in found)


def test_what_pgbackrest_itself_has_said():
    judged = _backup.judge(INFO, 'backup')
    assert (judged['state'], judged['count'], judged['last']['label'], judged['last']['type'], judged['last']['timeline']) == (
        'ok', 1, '20261130-135007F', 'full', 3)
    assert (judged['last']['seconds'], judged['last']['bytes'], judged['last']['repository_bytes']) == (47, 30952579, 4489142)
    assert _backup.judge(INFO, 'other')['state'] == 'no_stanza'
    for text, words in ((OTHER_PASS, 'Crypto'), (GONE, 'No route to host')):
        judged = _backup.judge(text, 'backup')
        assert (judged['state'], judged['last']) == ('unreachable', None) and words in judged['reason'], judged
