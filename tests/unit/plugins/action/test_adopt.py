# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was found on nodes -> an inventory that says the same of them, and what is wrong as data."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import copy
import os
import re
import tempfile

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from hypothesis import HealthCheck, given, settings, strategies as st

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _adopt, _adopt_text, _conninfo, _contract_settings
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))
PLACES = {'os_family': 'Debian', 'default_version': '15', 'data_directory': '/var/lib/postgresql/15/main',
          'config_directory': '/etc/postgresql/15/main', 'config_file': '/etc/repmgr.conf', 'service': 'postgresql@15-main'}


def row(node_id, kind='standby', upstream=101, **more):
    return dict({'node_id': node_id, 'node_name': 'db-%d' % node_id, 'type': kind, 'upstream_node_id': None if kind == 'primary' else upstream,
                 'active': True, 'priority': 0 if kind == 'witness' else 100, 'location': 'default',
                 'conninfo': 'host=db-%d user=repmgr dbname=repmgr' % node_id}, **more)


ROWS = [row(101, 'primary'), row(102), row(103), row(104, 'witness')]


def record(own, rows=None, conf=None, found=None, server=None, observed=None, name=None, system='7001', connection=None, **more):
    """A host as the playbook puts it on record, by its row in repmgr.nodes."""
    primary, witness = own['type'] == 'primary', own['type'] == 'witness'
    settings = {'port': '5432', 'data_directory': '/var/lib/postgresql/15/main', 'config_file': '/etc/postgresql/15/main/postgresql.conf', 'ssl': 'on',
                'ssl_cert_file': '/etc/ssl/certs/ssl-cert-snakeoil.pem', 'ssl_key_file': '/etc/ssl/private/ssl-cert-snakeoil.key',
                'cluster_name': '15/main', 'synchronous_standby_names': ''}
    settings.update((server or {}).pop('settings', {}))
    return dict({
        'name': name or own['node_name'], 'connection': connection or {}, 'reason': '', 'places': PLACES,
        'observed': dict({
            'config': {}, 'package_sources': [{'file': 'x'}], 'repmgr_version': '5.3', 'daemons': [{'pid': 7, 'unit': None}],
            'data': {'state': 'valid', 'major': '15', 'system_identifier': system if not witness else 'w' + system},
            'server': dict({'state': 'running', 'sql': True, 'in_recovery': not primary and not witness, 'version': '15.4', 'version_num': 150004,
                            'timeline': 1, 'system_identifier': system if not witness else 'w' + system, 'settings': settings,
                            'configured': {'ssl': {'setting': 'on', 'default': 'off', 'file': '/etc/postgresql/15/main/postgresql.conf'}}}, **(server or {})),
            'repmgr': {'nodes': copy.deepcopy(ROWS if rows is None else rows), 'role': 'repmgr', 'superuser': True},
        }, **(observed or {})),
        'by_hand': dict({
            'config_file': '/etc/repmgr.conf', 'data_directory': '/var/lib/postgresql/15/main', 'config_directory': '/etc/postgresql/15/main',
            'other_configs': [], 'cron': [], 'trust': [], 'password': {'in_conninfo': False, 'in_conf': [], 'in_passfile': None},
            'settings': dict({
                'node_id': own['node_id'], 'node_name': own['node_name'], 'conninfo': own['conninfo'], 'failover': 'automatic',
                'data_directory': '/var/lib/postgresql/15/main', 'use_replication_slots': 'yes',
                'promote_command': 'repmgr standby promote -f /etc/repmgr.conf --siblings-follow --log-to-file',
                'follow_command': '/usr/bin/repmgr standby follow -f /etc/repmgr.conf --log-to-file --upstream-node-id=%n',
                'priority': own['priority'] or 100, 'location': own['location']}, **(conf or {})),
        }, **(found or {}))}, **more)


def cluster(**changes):
    """The walkthrough's four; changes: {node id as n101: what record() takes}."""
    return [record(own, **changes.get('n%d' % own['node_id'], {})) for own in ROWS]


def parsed(text):
    """({host: its variables}, {group: hosts}) as Ansible reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'hosts.yml')
        with open(path, 'wb') as handle:
            handle.write(text.encode('utf-8'))
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[path])
        variables = VariableManager(loader=loader, inventory=inventory)
        hosts = {host.name: {name: value for name, value in variables.get_vars(host=host, include_hostvars=False).items()
                             if name.startswith(('repmgr_', 'ansible_'))} for host in inventory.get_hosts()}
        return hosts, {name: sorted(host.name for host in group.get_hosts()) for name, group in inventory.groups.items()}


def codes(found):
    return sorted((problem['code'], problem['node'], problem['stop']) for problem in found['problems'])


def test_the_walkthrough_needs_next_to_nothing():
    found = _adopt.adopt(cluster())
    assert found['problems'] == [] and found['complete']
    hosts, groups = parsed(_adopt_text.inventory(found))
    assert {name: groups[name] for name in ('primary', 'standby', 'witness')} == {
        'primary': ['db-101'], 'standby': ['db-102', 'db-103'], 'witness': ['db-104']}
    assert {name: {key: value for key, value in own.items() if key.startswith('repmgr_')} for name, own in hosts.items()} == {
        'db-%d' % number: {'repmgr_cluster_name': 'db', 'repmgr_node_id': number} for number in (101, 102, 103, 104)}


def test_the_defaults_are_those_of_the_role():
    with open(os.path.join(ROOT, 'roles', 'common', 'defaults', 'main.yml')) as handle:
        defaults = yaml.safe_load(handle)
    assert _adopt.DEFAULTS == {name: defaults[name] for name in _adopt.DEFAULTS}


def test_what_the_collection_writes_into_repmgr_conf_is_no_setting_of_the_operators():
    with open(os.path.join(ROOT, 'roles', 'repmgr_install', 'templates', 'repmgr.conf.j2')) as handle:
        names = set(re.findall(r"^ *'([a-z_]+)':|{'([a-z_]+)':", handle.read(), re.M))
    names = set(one or other for one, other in names) | {'failover_validation_command', 'election_rerun_interval', 'witness_sync_interval'}
    names -= {'host', 'pg_basebackup_options', 'connect_timeout', 'keepalives_idle'}
    assert names <= set(_adopt.WRITTEN) | set(_contract_settings.OWNED_BY_REPMGR_CONF) | set(_adopt._VALUES)


@pytest.mark.parametrize('change, host, expected', [
    (dict(n102=dict(conf={'priority': '50'})), 'db-102', {'repmgr_priority': 50}),
    (dict(n102=dict(conf={'location': 'dc 2'})), 'db-102', {'repmgr_location': 'dc 2'}),
    (dict(n101=dict(conf={'failover': 'manual'})), 'db-101', {'repmgr_failover': 'manual'}),
    (dict(n102=dict(conf={'conninfo': 'postgresql://ha@10.0.0.2:6432/meta'}, server={'settings': {'port': '6432'}})), 'db-102',
     {'repmgr_user': 'ha', 'repmgr_database': 'meta', 'repmgr_port': 6432, 'repmgr_address': '10.0.0.2'}),
    (dict(n103=dict(conf={'event_notification_command': "/opt/vip.sh '%e' {{ x }}"})), 'db-103',
     {'repmgr_settings': {'event_notification_command': "/opt/vip.sh '%e' {{ x }}"}}),
    (dict(n103=dict(conf={'monitoring_history': 'yes', 'log_level': 'INFO', 'reconnect_attempts': '3', 'ssh_options': '-q'})), 'db-103',
     {'repmgr_settings': {'monitoring_history': 'yes'}}),
    (dict(n102=dict(server={'settings': {'data_directory': '/data/pg'}})), 'db-102', {'repmgr_data_directory': '/data/pg'}),
    (dict(n102=dict(observed={'package_sources': []})), 'db-102', {'repmgr_package_source': 'distro'}),
    (dict(n101=dict(server={'settings': {'synchronous_standby_names': 'ANY 1 (a, b)'}})), 'db-103', {'repmgr_synchronous': 1}),
    (dict(n101=dict(server={'settings': {'cluster_name': 'orders'}})), 'db-101', {'repmgr_cluster_name': 'orders'}),
], ids=str)
def test_what_differs_becomes_a_variable(change, host, expected):
    text = _adopt_text.inventory(_adopt.adopt(cluster(**change)))
    hosts, dummy = parsed(text)
    standard = {'repmgr_cluster_name': 'db', 'repmgr_node_id': int(host[3:])}
    assert {name: value for name, value in hosts[host].items() if name.startswith('repmgr_')} == dict(standard, **expected)
    # Each with the word of where it is from.
    for name in expected:
        assert re.search(r'# \S.*\n *%s:' % name, text), text


def test_a_password_that_was_hidden_is_not_written_as_stars():
    conf = {'event_notification_command': redacted('PGPASSWORD=se_cret /opt/vip.sh'), 'monitoring_history': 'yes',
            'child_nodes_disconnect_command': redacted('x postgresql://u:se_cret@h/d')}
    found = _adopt.adopt(cluster(n103=dict(conf=conf)))
    hosts, dummy = parsed(_adopt_text.inventory(found))
    assert hosts['db-103']['repmgr_settings'] == {'monitoring_history': 'yes'}
    assert 'child_nodes_disconnect_command, event_notification_command' in found['problems'][0]['message']
    assert 'by hand' in [entry['site'] for entry in found['clusters'][0]['nodes'][2]['report'] if entry['what'] == 'event_notification_command'][0]


def test_what_all_have_is_said_once():
    conf = {'conninfo': 'host=x user=ha dbname=repmgr', 'failover': 'manual'}
    found = _adopt.adopt(cluster(**{'n%d' % number: dict(conf=dict(conf, conninfo='host=db-%d user=ha dbname=repmgr' % number)) for number in range(101, 105)}))
    assert found['clusters'][0]['variables'] == {'repmgr_cluster_name': 'db', 'repmgr_user': 'ha', 'repmgr_failover': 'manual'}
    # A witness promotes nobody, and says nothing of it.
    assert [node['variables'].get('repmgr_failover') for node in found['clusters'][0]['nodes']] == [None] * 4


def test_a_missing_failover_is_manual():
    records = cluster()
    for entry in records:
        del entry['by_hand']['settings']['failover']
    assert _adopt.adopt(records)['clusters'][0]['variables']['repmgr_failover'] == 'manual'


def test_after_a_switchover_the_groups_follow():
    rows = [row(101, upstream=102), row(102, 'primary'), row(103, upstream=102), row(104, 'witness', 102)]
    found = _adopt.adopt([record(own, rows) for own in rows])
    assert {node['name']: node['group'] for node in found['clusters'][0]['nodes']} == {
        'db-101': 'standby', 'db-102': 'primary', 'db-103': 'standby', 'db-104': 'witness'}
    assert found['problems'] == []


def test_a_cascaded_standby_has_its_upstream():
    rows = [row(101, 'primary'), row(102), row(103, upstream=102)]
    hosts, dummy = parsed(_adopt_text.inventory(_adopt.adopt([record(own, rows) for own in rows])))
    assert [hosts['db-%d' % number].get('repmgr_upstream') for number in (101, 102, 103)] == [None, None, 'db-102']


def test_two_nodes_without_a_witness():
    rows = [row(101, 'primary'), row(102)]
    found = _adopt.adopt([record(own, rows) for own in rows])
    assert found['clusters'][0]['variables']['repmgr_allow_two_nodes'] is True and found['problems'] == []


def test_hosts_that_were_given_by_address_are_called_by_their_nodes():
    hosts, dummy = parsed(_adopt_text.inventory(_adopt.adopt([record(own, name='10.0.0.%d' % own['node_id']) for own in ROWS])))
    assert hosts['db-102']['ansible_host'] == '10.0.0.102' and hosts['db-102']['repmgr_address'] == 'db-102'
    assert 'repmgr_node_name' not in hosts['db-102']


def test_how_ansible_connects_goes_on():
    hosts, dummy = parsed(_adopt_text.inventory(_adopt.adopt([record(own, connection={
        'ansible_user': 'admin', 'ansible_host': '10.0.0.%d' % own['node_id'], 'ansible_ssh_common_args': "-o 'X {# y'"}) for own in ROWS])))
    assert [hosts['db-101'][name] for name in ('ansible_user', 'ansible_host', 'ansible_ssh_common_args')] == ['admin', '10.0.0.101', "-o 'X {# y'"]
    assert hosts['db-101']['repmgr_address'] == 'db-101'


STOPPED = dict(server={'state': 'stopped', 'sql': False, 'in_recovery': None, 'version_num': None, 'settings': {}},
               observed={'repmgr': {'nodes': None}})


@pytest.mark.parametrize('records, expected, complete', [
    (lambda: cluster(n103=copy.deepcopy(STOPPED)), [('stopped', 'db-103', False)], True),
    (lambda: cluster(n103=dict(observed={'data': {'state': 'valid', 'major': '15', 'system_identifier': '7001', 'promotes_itself': True}})),
     [('restoring', 'db-103', True)], False),
    (lambda: cluster()[:3], [('unlisted_node', 'db-104', True)], False),
    (lambda: cluster(n103=dict(conf={'priority': '7'}))[:], [('differs_from_record', 'db-103', False)], True),
    (lambda: cluster(n103=dict(found={'other_configs': ['/etc/repmgr/b.conf']})), [('several_nodes', 'db-103', True)], False),
    (lambda: cluster(n103=dict(server={'sql': False, 'error': 'no pg_hba.conf entry'}, observed={'repmgr': {'nodes': None}})),
     [('no_answer', 'db-103', True)], False),
    (lambda: cluster(n103=dict(found={'password': {'in_conninfo': True, 'in_conf': [], 'in_passfile': None}})), [('unknown_password', 'db-103', False)], True),
    (lambda: cluster(n103=dict(found={'password': {'in_conninfo': False, 'in_conf': [], 'in_passfile': None, 'other_passfile': '/srv/pgpass'}})),
     [('other_passfile', 'db-103', True)], False),
    (lambda: cluster(n103=dict(found={'password': {'in_conninfo': False, 'in_conf': [], 'in_passfile': '/home/.pgpass', 'other_passfile': '/srv/pgpass'}})),
     [], True),
    (lambda: cluster(n103=dict(conf={'event_notification_command': 'PGPASSWORD=******** /opt/vip.sh'})), [('hidden_setting', 'db-103', True)], False),
    (lambda: cluster(n103=dict(found={'config_directory': '/etc/postgresql/15/other'})), [('other_places', 'db-103', True)], False),
    (lambda: cluster(n103=dict(server={'version_num': 140009})), [('several_versions', 'db-101, db-102, db-103, db-104', True)], False),
    (lambda: cluster(n103=dict(system='7009', rows=[])), [('other_data', 'db-103', True), ('unlisted_node', 'db-103', True)], False),
    (lambda: cluster(n102=dict(server={'in_recovery': False})), [('several_primaries', 'db-101, db-102', True)], False),
    (lambda: cluster(n101=copy.deepcopy(STOPPED)), [('no_primary', 'db-101, db-102, db-103, db-104', True), ('stopped', 'db-101', False)], False),
    (lambda: cluster(n103=dict(server={'settings': {'ssl_cert_file': 'server.crt', 'ssl_key_file': 'server.key'}})),
     [('own_certificate', 'db-103', True)], False),
    (lambda: cluster(n103=dict(conf={'node_id': 102, 'node_name': 'db-102', 'conninfo': ROWS[1]['conninfo']})),
     [('other_node_id', 'db-102', True), ('other_node_id', 'db-103', True), ('unlisted_node', 'db-103', True)], False),
    (lambda: cluster(n103=dict(conf={'failover': 'perhaps'})), [('refused_setting', 'db-103', True)], False),
    (lambda: cluster() + [record(row(9), rows=[], system='8')], [('not_registered', 'db-9', True)], False),
    (lambda: cluster() + [record(row(9), conf={'node_id': None})], [('no_configuration', 'db-9', True)], False),
    (lambda: cluster() + [record(row(9), server={'state': 'stopped', 'sql': False}, observed={'data': {'state': 'missing'}})],
     [('no_postgresql', 'db-9', False)], True),
    (lambda: cluster() + [{'name': 'gone', 'observed': None, 'by_hand': None, 'reason': 'Failed to connect\nto the host'}],
     [('unreachable', 'gone', True)], False),
    (lambda: [{'name': 'gone', 'observed': '', 'by_hand': ''}], [('unreachable', 'gone', True)], False),
    (lambda: [], [], False),
])
def test_what_is_wrong_is_said_as_data(records, expected, complete):
    found = _adopt.adopt(records())
    assert codes(found) == sorted(expected) and found['complete'] is complete
    for problem in found['problems']:
        assert '{' not in problem['message'] and problem['steps'] and '\n' not in problem['message']
    if found['clusters']:
        parsed(_adopt_text.inventory(found))


def test_every_problem_is_in_the_documentation():
    with open(os.path.join(ROOT, 'docs', 'playbooks', 'adopt.md')) as handle:
        listed = re.findall(r'^\| `(\w+)` \|', handle.read().partition('## Problems')[2], re.M)
    assert sorted(listed) == sorted(_adopt.PROBLEMS)


@pytest.mark.parametrize('timeline', [1, 9])
def test_the_copy_of_a_witness_counts_last(timeline):
    """It is a server of its own, so its timeline says nothing, and it copies the rows only now and then."""
    older = [entry for entry in ROWS if entry['node_id'] != 103] + [row(109)]
    records = cluster(n104=dict(rows=older, server={'timeline': timeline}))
    for order in (records, records[::-1]):
        assert codes(_adopt.adopt(copy.deepcopy(order))) == []


def test_an_unlisted_node_is_named_with_its_host():
    found = _adopt.adopt(cluster()[:3])
    assert 'its conninfo has host db-104' in found['problems'][0]['message'] and '104' in found['problems'][0]['seen']
    assert '# PROBLEM db-104: ' in _adopt_text.inventory(found)


def test_a_stopped_standby_is_in_the_inventory():
    hosts, groups = parsed(_adopt_text.inventory(_adopt.adopt(cluster(n103=copy.deepcopy(STOPPED)))))
    assert groups['standby'] == ['db-102', 'db-103'] and hosts['db-103']['repmgr_node_id'] == 103


def test_a_stopped_witness_is_known_by_the_others():
    found = _adopt.adopt(cluster(n104=copy.deepcopy(STOPPED)))
    assert codes(found) == [('stopped', 'db-104', False)] and found['clusters'][0]['nodes'][3]['group'] == 'witness'


def test_two_clusters_are_both_written():
    """With the same ids and names, and each with a witness: what it has a copy of says whose it is."""
    def named(host):
        return [dict(entry, conninfo=entry['conninfo'].replace('db-', host + '-')) for entry in ROWS]

    records = [record(own, rows, system=system, name='%s-%d' % (host, own['node_id']))
               for host, system in (('x', '1'), ('y', '2')) for rows in [named(host)] for own in rows]
    found = _adopt.adopt(records)
    assert found['problems'] == [] and [entry['name'] for entry in found['clusters']] == ['db', 'db-2']
    hosts, groups = parsed(_adopt_text.inventory(found))
    assert sorted(hosts) == sorted(entry['name'] for entry in records)
    for host, name in (('x', 'db'), ('y', 'db-2')):
        for number in (101, 102, 103, 104):
            own = hosts['%s-%d' % (host, number)]
            assert (own['repmgr_cluster_name'], own['repmgr_node_id'], own['repmgr_node_name']) == (name, number, 'db-%d' % number)
    assert groups['primary'] == ['x-101', 'y-101'] and groups['witness'] == ['x-104', 'y-104']


@pytest.mark.parametrize('name, value, what, site', [
    ('promote_command', '/opt/vip.sh && repmgr standby promote -f /etc/repmgr.conf', 'promote_command', 'replaces it'),
    ('follow_command', 'repmgr standby follow; /opt/proxy.sh', 'follow_command', 'replaces it'),
    ('failover_validation_command', '/opt/ask.sh %n', 'failover_validation_command', 'replaces it'),
    ('event_notification_command', '/opt/vip.sh %e', 'event_notification_command', 'goes on'),
    ('use_replication_slots', 'false', 'slots', 'gives every standby a slot'),
])
def test_what_is_the_operators_own_is_shown(name, value, what, site):
    found = _adopt.adopt(cluster(n102=dict(conf={name: value})))
    entry, = [entry for entry in found['clusters'][0]['nodes'][1]['report'] if entry['what'] == what]
    assert entry['site'].startswith(site)
    assert value in entry['seen'] or what == 'slots'
    assert any('%s (db-102)' % what in line for line in _adopt_text.report(found))
    plain, = [node['report'] for node in found['clusters'][0]['nodes'] if node['name'] == 'db-103']
    assert what not in [entry['what'] for entry in plain]


@pytest.mark.parametrize('daemons, cron, words', [
    ([], [], 'does not run'), ([{'pid': 1, 'unit': None}], [], 'by hand'),
    ([{'pid': 1, 'unit': None}], [{'file': '/etc/crontab', 'line': '@reboot x'}], 'cron'),
    ([{'pid': 1, 'unit': 'repmgrd.service'}], [], 'of a package'), ([{'pid': 1, 'unit': 'repmgr-15.service'}], [], 'of a package'),
    ([{'pid': 1, 'unit': 'pg-failover.service'}], [], "the operator's unit pg-failover.service"),
])
def test_what_runs_repmgrd(daemons, cron, words):
    found = _adopt.adopt(cluster(n102=dict(observed={'daemons': daemons}, found={'cron': cron})))
    report = found['clusters'][0]['nodes'][1]['report']
    assert words in report[0]['seen'] and (len([entry for entry in report if entry['what'] == 'cron']) == len(cron))


# -- whatever it was, Ansible reads it back

TEXT = st.text(st.characters(blacklist_categories=('Cs', 'Cc', 'Zl', 'Zp')), min_size=1, max_size=12).map(lambda text: text.strip()).filter(bool)
NAME = st.from_regex(r'[A-Za-z0-9][A-Za-z0-9._-]{0,8}', fullmatch=True)
WORD = st.from_regex(r'[a-z_][a-z0-9_]{0,8}', fullmatch=True)


def spelled(values, uri):
    if uri:
        return 'postgresql://%s@%s:%s/%s' % (values['user'], values['host'], values['port'], values['dbname'])
    return _conninfo.build(values)


@st.composite
def clusters(draw):
    """(records, {name: what its inventory has to say})"""
    count = draw(st.integers(1, 4))
    names = draw(st.lists(NAME, min_size=count, max_size=count, unique=True))
    ids = draw(st.lists(st.integers(0, 2147483647), min_size=count, max_size=count, unique=True))
    shared = {'user': draw(WORD), 'dbname': draw(WORD)}
    primary = draw(st.integers(0, count - 1))
    rows, expected, settings_of = [], {}, {}
    for number, (name, node_id) in enumerate(zip(names, ids)):
        values = dict(shared, host=draw(NAME), port=str(draw(st.integers(1, 65535))))
        priority, location = draw(st.integers(0, 1000)), draw(st.one_of(st.just('default'), WORD))
        others = [ids[other] for other in range(number) if other != primary]
        upstream = draw(st.sampled_from([ids[primary]] + others))
        rows.append(row(node_id, 'primary' if number == primary else 'standby', upstream, node_name=name, priority=priority, location=location,
                        conninfo=spelled(values, draw(st.booleans()))))
        settings_of[name] = draw(st.dictionaries(st.sampled_from(['event_notification_command', 'child_nodes_disconnect_command']), TEXT, max_size=2))
        expected[name] = dict(
            group='primary' if number == primary else 'standby', repmgr_node_id=node_id, repmgr_priority=priority, repmgr_location=location,
            repmgr_address=values['host'], repmgr_port=int(values['port']), repmgr_user=shared['user'], repmgr_database=shared['dbname'],
            repmgr_settings=settings_of[name], repmgr_upstream=names[ids.index(upstream)] if number != primary and upstream != ids[primary] else '')
    records = [record(own, rows, conf=dict(settings_of[own['node_name']], priority='%d' % own['priority']),
                      server={'settings': {'port': '%d' % expected[own['node_name']]['repmgr_port']}}) for own in rows]
    return draw(st.permutations(records)), expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(clusters())
def test_ansible_reads_back_what_was_found(drawn):
    records, expected = drawn
    found = _adopt.adopt(records)
    assert found['problems'] == []
    hosts, groups = parsed(_adopt_text.inventory(found))
    assert set(hosts) == set(expected)
    for name, own in expected.items():
        assert name in groups[own.pop('group')]
        for variable, value in own.items():
            default = name if variable == 'repmgr_address' else dict(_adopt.DEFAULTS, repmgr_settings={}).get(variable)
            assert hosts[name].get(variable, default) == value, (name, variable)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=20).filter(lambda text: not re.search(u'[\ud800-\udfff]', text)), st.integers(), st.booleans(), st.lists(WORD, max_size=3),
                 st.dictionaries(WORD, TEXT, max_size=3)))
def test_a_value_is_read_back(value):
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor('!unsafe', lambda loader, node: node.value)
    assert yaml.load(_adopt_text.scalar(value), Loader) == value
