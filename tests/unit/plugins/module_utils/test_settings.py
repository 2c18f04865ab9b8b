# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _problems_deploy, _settings
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Host, Observed, Server

CERTIFICATE, KEY = '/etc/pgfleet/tls/server.crt', '/etc/pgfleet/tls/server.key'
OWN = {
    'listen_addresses': '*', 'port': 5432, 'shared_preload_libraries': 'repmgr', 'password_encryption': 'scram-sha-256', 'wal_level': 'replica',
    'wal_log_hints': 'on', 'archive_mode': 'on', 'archive_command': '/bin/true', 'max_wal_senders': '10', 'max_replication_slots': 10,
    'hot_standby': 'on', 'wal_sender_timeout': '5s', 'wal_receiver_timeout': '5s', 'wal_keep_size': '512MB', 'max_slot_wal_keep_size': '16GB',
    'ssl': 'on', 'ssl_cert_file': CERTIFICATE, 'ssl_key_file': KEY, 'ssl_min_protocol_version': 'TLSv1.2'}
# boot_val and unit of pg_settings.
BOOT = {
    'archive_command': '', 'archive_library': '', 'archive_mode': 'off', 'hot_standby': 'on', 'listen_addresses': 'localhost',
    'max_replication_slots': '10', 'max_slot_wal_keep_size': '-1', 'max_wal_senders': '10', 'password_encryption': 'scram-sha-256',
    'shared_preload_libraries': '', 'ssl': 'off', 'ssl_cert_file': 'server.crt', 'ssl_key_file': 'server.key', 'ssl_min_protocol_version': 'TLSv1.2',
    'wal_keep_size': '0', 'wal_level': 'replica', 'wal_log_hints': 'off', 'wal_receiver_timeout': '60000', 'wal_sender_timeout': '60000', 'port': '5432'}
UNITS = {'wal_keep_size': 'MB', 'max_slot_wal_keep_size': 'MB', 'wal_sender_timeout': 'ms', 'wal_receiver_timeout': 'ms'}
MAIN = '/etc/postgresql/15/main/postgresql.conf'
# What pg_createcluster writes.
DEBIAN = {'port': '5432', 'ssl': 'on', 'ssl_cert_file': '/etc/ssl/certs/ssl-cert-snakeoil.pem', 'ssl_key_file': '/etc/ssl/private/ssl-cert-snakeoil.key'}


def configured(values, path=MAIN):
    return dict((name, {'setting': value, 'unit': UNITS.get(name), 'default': BOOT[name], 'file': path}) for name, value in values.items())


def node(name='a', values=None, role='primary', path=MAIN, kept=None, state='valid', **more):
    """A host whose server runs with these values of its own configuration; without values, one that has no server yet."""
    server = Server(state='stopped', kept=kept)
    if values is not None:
        settings = dict(BOOT, **values)
        server = Server(state='running', sql=True, settings=settings, configured=configured(dict(DEBIAN, **values), path), kept=kept)
    observed = Observed(server=server, data=Data(state=state if values is not None else 'missing'))
    return Host(**dict({'name': name, 'initial_role': role, 'tls': 'managed', 'settings': dict(OWN), 'observed': observed}, **more))


def lost(host, *others):
    return [item[0] for item in _settings.replaced(host, [host] + list(others))]


def kept(host, *others):
    return _settings.kept(host, [host] + list(others))


# What tests/bench/by-hand.sh writes, and the walkthrough.
BY_HAND = {'listen_addresses': '*', 'shared_preload_libraries': 'repmgr', 'wal_level': 'replica', 'archive_mode': 'on', 'max_wal_senders': '10',
           'hot_standby': 'on', 'archive_command': 'cp %p /var/lib/postgresql/15/archive/%f'}


def test_a_server_as_the_packages_leave_it():
    for values in ({}, {'wal_level': 'replica', 'listen_addresses': 'localhost', 'archive_mode': 'off'}):
        assert (lost(node(values=values)), kept(node(values=values))) == ([], {})
    # EL has no certificate.
    host = node(values={})
    host.observed.server.configured = {}
    assert lost(host) == []


def test_a_cluster_built_by_hand_is_adopted_as_it_is():
    """Without a question, and it goes on archiving."""
    hosts = [node('a', BY_HAND), node('b', BY_HAND, 'standby'), node('c', BY_HAND, 'standby'), node('w', BY_HAND, 'witness')]
    for host in hosts:
        assert _settings.replaced(host, hosts) == []
        assert _settings.kept(host, hosts) == {'archive_command': BY_HAND['archive_command']}
    # A node of it that is down has no say.
    hosts[2].observed = Observed(server=Server(state='stopped'), data=Data(state='valid'))
    assert _settings.replaced(hosts[0], hosts) == []


def test_the_next_run_writes_the_same():
    first = [node('a', BY_HAND), node('b', BY_HAND, 'standby')]
    content = '# Ansible managed\n%s\n' % _settings.text(OWN, {}, _settings.kept(first[0], first))
    assert "archive_command = '/bin/true'" not in content
    assert content.endswith("%s\narchive_command = 'cp %%p /var/lib/postgresql/15/archive/%%f'\n" % _settings.KEPT)
    again = [node(name, BY_HAND, role, kept=_settings.kept_in(content)) for name, role in (('a', 'primary'), ('b', 'standby'))]
    # A node that is added gets it, too.
    again.append(node('c', None, 'standby'))
    assert [_settings.kept(host, again) for host in again] == [{'archive_command': BY_HAND['archive_command']}] * 3
    assert [_settings.replaced(host, again) for host in again] == [[]] * 3
    # It ends when the inventory says so, be it by the default's own value.
    again[0].named = ['repmgr_archive_command']
    assert _settings.kept(again[0], again) == {}
    # Ended half-way, one has its file and the other has not.
    again[1] = node('b', BY_HAND, 'standby')
    assert _settings.kept(again[1], again) == {'archive_command': BY_HAND['archive_command']} and lost(again[1], again[2]) == ['archive_command']


@pytest.mark.parametrize('others', [
    # Nobody knows whether it works on a host that is new, or on one that does not have it.
    [node('b', None, 'standby')], [node('b', {}, 'standby')], [node('b', {'archive_command': 'rsync %p elsewhere:/%f'}, 'standby')],
])
def test_an_archive_of_one_server_is_a_question(others):
    hosts = [node('a', BY_HAND)] + others
    assert _settings.replaced(hosts[0], hosts) == [('archive_command', BY_HAND['archive_command'], MAIN, '/bin/true')]
    assert _settings.kept(hosts[0], hosts) == {}


@pytest.mark.parametrize('command', ['', '/bin/true', 'true', ' /bin/true ', 'exit 0', ':', '(disabled)'])
def test_what_is_no_archive(command):
    assert (lost(node(values={'archive_command': command}), node('b', None, 'standby')), _settings.archives(command)) == ([], False)


def test_an_archive_library_is_a_question():
    assert lost(node(values={'archive_library': 'basic_archive'})) == ['archive_library']
    answered = node(values={'archive_library': 'basic_archive'}, server_settings={'archive_library': 'basic_archive'})
    assert lost(answered) == []
    answered = node(values={'archive_library': 'basic_archive'}, settings=dict(OWN, archive_command=''))
    assert lost(answered) == []


@pytest.mark.parametrize('values, expected', [
    # Lowered, a server with a logical slot would not start again.
    ({'wal_level': 'logical'}, {'wal_level': 'logical'}),
    ({'wal_level': 'minimal'}, {}),
    ({'shared_preload_libraries': 'pg_stat_statements'}, {'shared_preload_libraries': 'pg_stat_statements,repmgr'}),
    ({'shared_preload_libraries': 'citus, repmgr ,"auto_explain"'}, {'shared_preload_libraries': 'citus,repmgr,auto_explain'}),
    ({'shared_preload_libraries': 'repmgr'}, {}),
    ({'max_wal_senders': '40', 'max_replication_slots': '5'}, {'max_wal_senders': '40'}),
    ({'max_wal_senders': '0'}, {}),
    ({'wal_keep_size': '1024'}, {'wal_keep_size': '1024MB'}),
    ({'wal_keep_size': '64'}, {}),
    ({'max_slot_wal_keep_size': '4096'}, {'max_slot_wal_keep_size': '4096MB'}),
    ({'max_slot_wal_keep_size': '65536'}, {'max_slot_wal_keep_size': '65536MB'}),
    ({'max_slot_wal_keep_size': '16384'}, {}),
    ({'archive_mode': 'always'}, {'archive_mode': 'always'}),
    ({'hot_standby': 'off'}, {}), ({'wal_log_hints': 'on'}, {}),
    ({'password_encryption': 'md5'}, {}),
    ({'listen_addresses': '0.0.0.0'}, {}), ({'listen_addresses': 'localhost,*'}, {}),
])
def test_both_are_had(values, expected):
    host, new = node(values=values), node('b', None, 'standby')
    assert (kept(host, new), lost(host, new)) == (expected, [])
    # Any of them may become primary; a witness has no part in it.
    assert kept(new, host) == expected
    assert kept(node('w', {}, 'witness'), host) == {}


def test_the_most_of_all_nodes():
    hosts = [node('a', {'max_wal_senders': '20', 'shared_preload_libraries': 'one'}),
             node('b', {'max_wal_senders': '30', 'wal_level': 'logical', 'shared_preload_libraries': 'two'}, 'standby')]
    for host in hosts:
        assert _settings.kept(host, hosts) == {'max_wal_senders': '30', 'wal_level': 'logical', 'shared_preload_libraries': 'two,one,repmgr'}
        assert _settings.replaced(host, hosts) == []


@pytest.mark.parametrize('values, names', [
    ({'listen_addresses': '10.0.0.1,localhost'}, ['listen_addresses']),
    ({'wal_sender_timeout': '0'}, ['wal_sender_timeout']),
    ({'wal_sender_timeout': '5000'}, []),
    ({'ssl_min_protocol_version': 'TLSv1.3'}, ['ssl_min_protocol_version']),
    # One question for certificate and key.
    ({'ssl_cert_file': '/etc/ssl/own.crt', 'ssl_key_file': '/etc/ssl/own.key'}, ['ssl_cert_file']),
    ({'ssl_key_file': '/etc/ssl/own.key'}, ['ssl_key_file']),
    ({'ssl_cert_file': CERTIFICATE, 'ssl_key_file': KEY}, []),
])
def test_only_one_can_be_had(values, names):
    assert lost(node(values=values)) == names
    # What is there by ALTER SYSTEM stays whatever the file says; and the collection's own file is nobody else's.
    assert lost(node(values=values, path='/var/lib/postgresql/15/main/postgresql.auto.conf')) == []
    assert lost(node(values=values, kept={})) == []


def test_a_certificate_of_its_own_where_it_is_looked_for_first():
    """server.crt in the data directory is the default's name, and the operator's file."""
    host = node(values={})
    host.observed.server.configured = configured({'ssl': 'on'})
    assert lost(host) == ['ssl_cert_file']


@pytest.mark.parametrize('values, answer', [
    ({'ssl_cert_file': '/etc/ssl/own.crt'}, {'named': ['repmgr_tls']}),
    ({'ssl_cert_file': '/etc/ssl/own.crt'}, {'tls': 'provided'}),
    ({'ssl_cert_file': '/etc/ssl/own.crt'}, {'tls': '', 'settings': dict(OWN, ssl='off')}),
    ({'wal_sender_timeout': '0'}, {'server_settings': {'WAL_sender_timeout': '4s'}}),
    ({'wal_level': 'logical'}, {'server_settings': {'wal_level': 'replica'}}),
    ({'archive_command': 'cp %p /srv/%f'}, {'settings': dict(OWN, archive_command='wal-g wal-push %p')}),
    ({'archive_command': 'cp %p /srv/%f'}, {'named': ['repmgr_archive_command']}),
    ({'shared_preload_libraries': 'pg_cron'}, {'named': ['repmgr_shared_preload_libraries']}),
    ({'shared_preload_libraries': 'pg_cron'}, {'settings': dict(OWN, shared_preload_libraries='repmgr,auto_explain')}),
    ({'port': '5433'}, {}),
])
def test_what_the_inventory_says_is_done(values, answer):
    host = node(values=values, **answer)
    assert (lost(host), kept(host)) == ([], {})


@pytest.mark.parametrize('more', [{}, {'kept': {'archive_command': 'cp %p /srv/%f'}}])
def test_an_archive_of_their_own_is_not_replaced_by_that_of_backups(more):
    own = dict(settings=dict(OWN, archive_command='pgbackrest archive-push %p'), backup={'tool': 'pgbackrest'})
    host = node(values={'archive_command': 'cp %p /srv/%f'}, **dict(own, **more))
    assert (lost(host), kept(host)) == (['archive_command'], {})
    host.named = ['repmgr_archive_command']
    assert lost(host) == []
    # Neither where they archive nothing, nor where the collection archives already.
    assert lost(node(values={'archive_command': '/bin/true'}, **own)) == []
    assert lost(node(values={'archive_command': 'pgbackrest archive-push %p'}, kept={}, **own)) == []


def test_text():
    assert _settings.text({'a': "it's"}, {'b': True}, {}) in [
        "%s\n%s" % (_settings.OURS, '\n'.join(lines)) for lines in (["a = 'it''s'", "b = 'on'"], ["b = 'on'", "a = 'it''s'"])]
    assert _settings.text({'a': 1}, {'a': False}, {}) == "%s\na = 'off'" % _settings.OURS
    text = _settings.text({'a': 1}, {}, {'a': "don't", 'c': '5'})
    assert text == "%s\n%s\na = 'don''t'\nc = '5'" % (_settings.OURS, _settings.KEPT)
    assert _settings.kept_in('# Anything\n' + text) == {'a': "don't", 'c': '5'}


def test_a_backslash_is_kept():
    """PostgreSQL reads two backslashes in its configuration file as one."""
    command = r'''sh -c 'cp "%p" a\b' '''.strip()
    text = _settings.text({}, {}, {'archive_command': command})
    assert text.endswith(r'''archive_command = 'sh -c ''cp "%p" a\\b''' + "'''")
    assert _settings.kept_in(text) == {'archive_command': command}


def test_two_commands_that_were_kept_end_no_archive():
    """Somebody has corrected the file of one node."""
    hosts = [node(name, dict(BY_HAND, archive_command=command), role, kept={'archive_command': command})
             for name, role, command in (('a', 'primary', 'cp %p /a/%f'), ('b', 'standby', 'cp %p /nfs/%f'))]
    assert [[item[0] for item in _settings.replaced(host, hosts)] for host in hosts] == [['archive_command']] * 2
    hosts[0].named = hosts[1].named = ['repmgr_archive_command']
    assert [_settings.replaced(host, hosts) for host in hosts] == [[], []]


@pytest.mark.parametrize('content, expected', [
    (None, None), ('', None),
    # An operator's own file may have the same name.
    ("# mine\narchive_command = 'cp %p /srv/%f'\n", None),
    ("# Ansible managed\n%s\nwal_level = 'replica'\n" % _settings.OURS, {}),
])
def test_whose_file_it_is(content, expected):
    assert _settings.kept_in(content) == expected


@pytest.mark.parametrize('value, number', [
    ('512MB', 524288), (512, 512), ('16 GB', 16777216), ('5s', 5000), ('5000ms', 5000), ('-1', -1), ('*', None), ('TLSv1.2', None), ('1 parsec', None)])
def test_amount(value, number):
    assert _settings.amount(value) == number


def test_the_refusal():
    """Said once for all hosts that have the same, with both values and the variable."""
    hosts = [node('a', {'wal_sender_timeout': '0'}), node('b', {'wal_sender_timeout': '0'}, 'standby'),
             node('c', {'ssl_cert_file': '/own.crt'}, 'standby')]
    found = _problems_deploy.deploy_problems(hosts)
    assert [(problem['code'], problem['nodes'], problem['stop']) for problem in found] == [
        ('replaced_setting', ['c'], True), ('replaced_setting', ['a', 'b'], True)]
    assert found[1]['message'] == (
        "a, b: wal_sender_timeout is '0ms' in %s, and would become '5s'; expected the inventory to decide about a setting that was there before. "
        'Name it there: repmgr_postgresql_settings.wal_sender_timeout.' % MAIN)
    assert 'repmgr_tls: provided with repmgr_tls_certificate' in found[0]['message']


def test_every_question_has_an_answer():
    """Nothing that is refused may also be refused in repmgr_postgresql_settings."""
    from ansible_collections.pgfleet.repmgr.plugins.module_utils import _contract_settings
    for name in set(OWN) - set(['port']):
        assert name not in _contract_settings.OWNED_BY_SERVER or not _settings.named_by(name).startswith('repmgr_postgresql_settings') or name == 'ssl', name


# -- a file of the operator's at the same place

FILE = (
    "# mine\n\nshared_buffers = '32GB'\n  Max_Connections 500\nwal_level=logical\nwork_mem='64MB' # a lot\n"
    "#jit = off\npg_stat_statements.max = 9\ninclude 'more'\n")


def test_what_somebody_else_has_in_it():
    assert _settings.foreign_in(FILE) == ['include', 'max_connections', 'pg_stat_statements.max', 'shared_buffers', 'wal_level', 'work_mem']
    assert [_settings.foreign_in(text) for text in (None, '', '# nothing\n')] == [[]] * 3
    # The second line has been the same from the first version on, the first one was the user's.
    for first in ('# Ansible managed', '# by hand or so'):
        assert _settings.foreign_in('%s\n%s\n' % (first, _settings.text(OWN, {'work_mem': '1GB'}, {}))) == []


def dropping(names, **more):
    host = node('a', BY_HAND, **more)
    host.observed.server.foreign = names
    cluster = _problems_deploy._cluster.Cluster([host, node('b', BY_HAND, 'standby')])
    _problems_deploy._check_settings(cluster)
    return [(problem.code, problem.message) for problem in cluster.problems]


def test_settings_that_nobody_would_set_any_more():
    (code, said), = dropping(_settings.foreign_in(FILE))
    assert code == 'dropped_setting' and said == (
        'a: conf.d/repmgr.conf was written by somebody else and sets include, max_connections, pg_stat_statements.max, shared_buffers, work_mem; the '
        'collection replaces that file; expected no settings there that would be lost. Move them to another file in conf.d, or name them in '
        'repmgr_postgresql_settings, and run again.')
    assert dropping(['max_connections', 'work_mem'], server_settings={'Max_Connections': 500, 'work_mem': '64MB'}) == []


@pytest.mark.parametrize('names', [
    # The walkthrough's file, and all that is kept or refused by its value.
    sorted(BY_HAND), [], sorted(OWN), ['archive_library', 'ssl', 'ssl_cert_file', 'ssl_min_protocol_version', 'wal_keep_segments', 'wal_keep_size']])
def test_a_file_that_loses_nothing(names):
    assert dropping(names) == []
    # A witness, or a cluster without TLS, sets less.
    assert dropping(names, settings={'port': '5432'}) == []
