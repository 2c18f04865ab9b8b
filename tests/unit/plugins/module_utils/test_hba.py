# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pg_hba.conf: the collection's rules at its top, and the operator's lines as they were."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _contract_settings, _files, _hba, _host_files

REACH = [{'name': 'a', 'addresses': ['10.0.0.1']}, {'name': 'b', 'addresses': ['fd00::2', '10.0.0.2']}]
APP = {'contype': 'host', 'databases': 'app', 'users': 'app', 'address': '10.0.0.0/8', 'method': 'scram-sha-256'}
SOCKET = 'local all postgres peer\n'
NODES = ''.join('hostssl %s repmgr %s scram-sha-256\n' % (database, address) for address in ('10.0.0.1/32', '10.0.0.2/32', 'fd00::2/128')
                for database in ('repmgr', 'replication'))
OPERATORS = u"""# The file of the operator: ä, {{ nothing }}, {# nothing
host all bad 0.0.0.0/0 reject
local   all             postgres                                md5
local all all scram-sha-256\t# for applications
host all all 10.0.0.0/8 scram-sha-256
host all all 10.0.0.0/8 md5

host  "all"  "replication"  10.0.0.0  255.0.0.0  ldap ldapserver=x ldapprefix="cn=" ldapsuffix=", dc=x"
host all, app @users,other .example.org \\
   cert map=x
include_if_exists /etc/more\r
host all all 10.0.0.9/32 scram-sha-256\r
hostssl all repmgr 10.0.0.9/32 scram-sha-256
host repmgr,app repmgr 10.0.0.9/32 scram-sha-256
host repmgr "repmgr" 10.0.0.9/32 scram-sha-256
host repmgr repmgr 0.0.0.0/0 reject
local repmgr repmgr peer
host repmgr other 10.0.0.9/32 trust"""


def hba(**more):
    return dict({'file': '/etc/pg_hba.conf', 'rights': '0640 me me', 'os_user': 'postgres', 'user': 'repmgr', 'database': 'repmgr', 'tls': True,
                 'trust': False, 'extra': []}, **more)


def block(lines):
    return _hba.BEGIN + '\n' + lines + _hba.END + '\n'


def text(present, step='add', reach=None, **more):
    return _hba.text(present, hba(**more), REACH if reach is None else reach, step)


@pytest.mark.parametrize('step, lines', [('socket', SOCKET), ('add', SOCKET + NODES), ('remove', SOCKET + NODES)])
@pytest.mark.parametrize('below', [OPERATORS, OPERATORS + '\n', '', '\n', '# END pgfleet.repmgr\n# BEGIN pgfleet.repmgr\n'])
def test_what_is_below_the_block_stays(below, step, lines):
    assert text(below, step) == block(lines) + below
    # Again, and after somebody has put a line above it.
    for again in (block(lines) + below, block(lines).replace('\n', '\r\n') + below):
        assert text(again, step) == block(lines) + below
    assert text('# above\n' + block(lines) + below, step) == block(lines) + '# above\n' + below


def test_only_what_was_asked_for_is_less():
    assert text('', tls=False, trust=True) == block(SOCKET + NODES.replace('hostssl', 'host').replace('scram-sha-256', 'trust'))


@pytest.mark.parametrize('rule, line', [
    (APP, 'host app app 10.0.0.0/8 scram-sha-256'),
    (dict(APP, address='10.0.0.0', netmask='255.0.0.0', comment=' it '), 'host app app 10.0.0.0/8 scram-sha-256 # it'),
    ({'contype': 'local', 'users': 'app', 'address': '', 'method': 'peer', 'options': {'map': 'x'}}, 'local all app peer map=x'),
    (dict(APP, contype='hostssl', method='cert'), 'hostssl app app 10.0.0.0/8 cert'),
    ({'contype': 'hostssl', 'users': '"A b",+c', 'options': 'map=x ldapsuffix=", dc=x"'}, 'hostssl all "A b",+c samehost md5 map=x ldapsuffix=", dc=x"'),
    (dict(APP, users='/^app\\d+$', options=['clientcert=verify-full', 'map=y']), 'host app /^app\\d+$ 10.0.0.0/8 scram-sha-256 clientcert=verify-full map=y'),
    (dict(APP, state='absent'), None),
])
def test_further_rules(rule, line):
    assert _hba.problem(rule) == ''
    expected = block(SOCKET + NODES + ('%s\n' % line if line else ''))
    assert text('', extra=[rule, rule]) == expected
    assert text(expected, extra=[rule]) == text(expected, 'remove', extra=[rule]) == expected


def test_lines_of_an_earlier_version_are_moved():
    rules = [dict(APP, options='map=x clientcert=verify-full')]
    before = (u'# mine\nlocal\tall\tpostgres\tpeer\nlocal\tall\tall\tpeer\nhostssl\treplication\trepmgr\t10.0.0.1/32\tscram-sha-256\n'
              'hostssl\trepmgr\trepmgr\t10.0.0.1/32\tscram-sha-256\r\nhost\tapp\tapp\t10.0.0.0/8\tscram-sha-256\tclientcert=verify-full map=x\n'
              # As it wrote the operator's.
              'host\tall\tapp\t127.0.0.1/32\tscram-sha-256\n')
    after = block(SOCKET + NODES + 'host app app 10.0.0.0/8 scram-sha-256 map=x clientcert=verify-full\n') + (
        '# mine\nlocal\tall\tall\tpeer\nhost\tall\tapp\t127.0.0.1/32\tscram-sha-256\n')
    assert text(before, extra=rules) == after
    assert _hba.due(after, hba(extra=rules), REACH) == []


OLD = 'hostssl repmgr repmgr 10.0.0.9/32 scram-sha-256\n'


def test_the_rules_of_a_node_that_leaves_go_while_another_one_does_not_resolve():
    """Who cannot be resolved keeps the rules for whatever address it had."""
    theirs = ''.join('hostssl %s repmgr %s scram-sha-256\n' % (database, address) for address in ('10.0.0.8/32', 'fd00::8/128')
                     for database in ('repmgr', 'replication'))
    unresolved = 'hostssl repmgr repmgr 10.0.0.9/32 scram-sha-256\n'
    reach = REACH + [{'name': 'c', 'addresses': []}]
    present = block(SOCKET + NODES + theirs + unresolved) + 'host repmgr repmgr 10.0.0.8/32 reject\n'

    def after(leaving):
        return _hba.text(present, hba(), reach, 'remove', leaving)
    assert after([]) == present
    assert after(['10.0.0.8', 'fd00::8']) == block(SOCKET + NODES + unresolved) + 'host repmgr repmgr 10.0.0.8/32 reject\n'
    # What a node that stays needs is never taken away.
    assert after(['10.0.0.1']) == present


def test_rules_of_the_role_are_removed_last():
    for line in (OLD, OLD.replace('hostssl', 'host'), OLD.replace(' ', '\t'), OLD.replace('scram-sha-256', 'trust # old'), 'host replication repmgr all md5\n',
                 OLD.replace('/32', ' 255.255.255.255'), 'host \\\n repmgr repmgr 10.0.0.9/32 \\\r\n trust\n',
                 # Without TLS, where it is asked for, and what cannot match any more.
                 NODES.splitlines()[0].replace('hostssl', 'host') + '\n', NODES.splitlines()[0].replace('scram-sha-256', 'trust') + '\n'):
        for present in (block(SOCKET + NODES + line) + OPERATORS, block(SOCKET + NODES) + line + OPERATORS):
            assert text(present, 'socket') == text(present) == present
            assert text(present, 'remove') == block(SOCKET + NODES) + OPERATORS
            assert _hba.due(present, hba(), REACH) == ['remove']
        # The new line comes first, and all others are still there.
        assert text(block(line) + OPERATORS) == block(SOCKET + NODES + line) + OPERATORS


@pytest.mark.parametrize('line, stays', [
    ('host replication repmgr 10.0.0.112/32 scram-sha-256', True), ('host repmgr repmgr 10.0.0.112 255.255.255.255 trust', True),
    ('host repmgr repmgr 10.0.0.64/26 md5', True), ('host repmgr repmgr all md5', True), ('host repmgr repmgr b.example.org md5', True),
    ('host repmgr repmgr samenet md5', True), ('host repmgr repmgr fd01::/16 md5', True),
    ('host repmgr repmgr 10.0.0.113/32 trust', False), ('host repmgr repmgr 10.0.0.0/28 md5', False), ('host repmgr repmgr samehost trust', False),
    ('host repmgr repmgr fd00::/32 md5', False), ('host repmgr repmgr ::/128 md5', False)])
def test_a_rule_by_which_a_member_comes_from_another_address_stays(line, stays):
    sources = ['10.0.0.112', 'fd01::112']
    for present in (block(SOCKET + NODES + line + '\n'), block(SOCKET + NODES) + line + '\n'):
        removed = block(SOCKET + NODES)
        assert _hba.text(present, hba(), REACH, 'remove') == removed
        kept = _hba.text(present, hba(), REACH, 'remove', sources=sources)
        assert kept == (present if stays else removed) and _hba.text(kept, hba(), REACH, 'remove', sources=sources) == kept
        # Not that of a node that leaves, nor what the inventory allows as well.
        gone = _hba.text(present, hba(), REACH, 'remove', ['10.0.0.112'], sources)
        assert (gone == present) is (stays and '10.0.0.112/32' not in line and '255.255' not in line)


@pytest.mark.parametrize('database, rule, stays', [
    ('repmgr', {'databases': 'all'}, False), ('repmgr', {'databases': 'repmgr', 'users': 'repmgr'}, False),
    ('replication', {'databases': 'replication'}, False),
    ('replication', {'databases': 'all'}, True), ('repmgr', {'databases': 'app'}, True), ('repmgr', {'users': 'app'}, True),
    ('repmgr', {'method': 'reject'}, True), ('repmgr', {'address': '10.0.0.1/32'}, True), ('repmgr', {'address': 'samenet'}, True)])
def test_unless_the_inventory_allows_it(database, rule, stays):
    line = 'host %s repmgr 10.0.0.112/32 trust\n' % database
    extra = [dict({'contype': 'host', 'address': '10.0.0.0/24', 'method': 'scram-sha-256'}, **rule)]
    found = _hba.text(block(SOCKET) + line, hba(extra=extra), REACH, 'remove', sources=['10.0.0.112'])
    assert found.endswith(line) is stays, found


def test_the_same_rule_in_other_words_stays():
    same = 'hostssl  repmgr repmgr 10.0.0.1 255.255.255.255 scram-sha-256\n'
    assert text(same, 'remove') == block(SOCKET + NODES) + same


def test_a_member_that_does_not_resolve_keeps_its_rules():
    present = block(SOCKET + NODES + OLD) + OLD + 'local all all peer\n'
    reach = REACH[:1] + [{'name': 'b', 'addresses': []}]
    first, rest = NODES.splitlines(True)[:2], NODES.splitlines(True)[2:]
    assert text(present, reach=reach) == text(present, 'remove', reach=reach) == (
        block(SOCKET + ''.join(first + rest) + OLD) + OLD + 'local all all peer\n')
    assert _hba.due(present, hba(), reach) == []


def test_an_earlier_block_had_a_line_for_everybody():
    """It was above the operator's own, on hosts with Python 2."""
    present = block(SOCKET + 'local all all peer\n' + NODES) + 'local all all scram-sha-256\n'
    assert text(present) == block(SOCKET + NODES + 'local all all peer\n') + 'local all all scram-sha-256\n'
    assert text(present, 'remove') == block(SOCKET + NODES) + 'local all all scram-sha-256\n'
    asked = [{'contype': 'local', 'method': 'peer'}]
    assert text(present, 'remove', extra=asked) == block(SOCKET + NODES + 'local all all peer\n') + 'local all all scram-sha-256\n'


def test_what_an_application_has_stays_until_it_is_named_as_absent():
    line = 'host app app 10.0.0.0/8 scram-sha-256\n'
    present = block(SOCKET + NODES + line) + line.replace('scram-sha-256', 'md5') + OPERATORS
    assert text(present) == text(present, 'remove') == present
    assert text(present, extra=[dict(APP, state='absent')]) == present
    assert text(present, 'remove', extra=[dict(APP, state='absent', method='md5')]) == block(SOCKET + NODES) + OPERATORS


def test_what_is_due():
    assert _hba.due(None, hba(), REACH) == ['add']
    assert _hba.due('', hba(), REACH) == _hba.due(OPERATORS, hba(), REACH) == ['socket', 'add']
    assert _hba.due(block(SOCKET), hba(), REACH) == ['add']
    assert _hba.due(OLD, hba(), REACH) == ['socket', 'add', 'remove']
    assert _hba.due(block(SOCKET + NODES) + OPERATORS, hba(), REACH) == []


@pytest.mark.parametrize('rule, said', [
    ('host all all all md5', 'is not a dictionary'),
    (dict(APP, adress='x'), 'has adress'),
    ({'users': 'app'}, 'has contype ""'), (dict(APP, contype='hots'), 'has contype "hots"'), (dict(APP, method='scram'), 'has method "scram"'),
    # What PostgreSQL takes for an error of the whole file.
    (dict(APP, method='sspi'), 'has method "sspi"'), (dict(APP, method='peer'), 'is host and has method "peer"'),
    (dict(APP, method='cert'), 'is host and has method "cert"'), ({'contype': 'local', 'method': 'gss'}, 'is local and has method "gss"'),
    (dict(APP, state='gone'), 'has state "gone"'), (dict(APP, users='a b'), 'has users "a b"'), (dict(APP, users='a, b'), 'has users "a, b"'),
    (dict(APP, users='a\nhost'), 'has users'), (dict(APP, users=['a']), 'has users'), (dict(APP, databases='a#'), 'has databases "a#"'),
    (dict(APP, databases='"a'), 'has databases'), (dict(APP, options='x'), 'has options "x"'), (dict(APP, options={'a': 'b c'}), 'has options "a=b c"'),
    (dict(APP, options=['a="b\nc"']), 'has options'), (dict(APP, options='a=\\'), 'has options'), (dict(APP, comment='a\nhost'), 'has comment'),
    (dict(APP, comment='a\\'), 'has comment'), (dict(APP, address='10.0.0.1'), 'has address "10.0.0.1"'),
    (dict(APP, address='10.0.0.0/33'), 'has address'), (dict(APP, address='a/8'), 'has address'),
    (dict(APP, netmask='255.0.0.0'), 'has address "10.0.0.0/8 255.0.0.0"'), (dict(APP, address='10.0.0.0', netmask='255.0.255.0'), 'has address'),
    (dict(APP, address='10.0.0.0', netmask='ff00::'), 'has address'), (dict(APP, address='host.example.org', netmask='255.0.0.0'), 'has address'),
    (dict(APP, contype='local'), 'is local and has an address'),
])
def test_what_postgresql_cannot_read_is_refused(rule, said):
    assert _hba.problem(rule).startswith(said)
    found = _contract_settings.check_rules({'name': 'a', 'hba': hba(extra=[APP, rule])})
    assert len(found) == 1 and 'repmgr_pg_hba_extra ' + said in found[0]
    # The observation comes through all the same.
    assert text('', extra=[rule]) == block(SOCKET + NODES)


@pytest.mark.parametrize('address', ['all', 'samehost', 'samenet', '.example.org', 'host.example.org', '::/0', 'fd00::/8', '0.0.0.0/0'])
def test_addresses(address):
    assert _hba.problem(dict(APP, address=address)) == '' and _contract_settings.check_rules({'hba': hba(extra=[dict(APP, address=address)])}) == []


def observed(path, used=None):
    path.chmod(0o640)
    mine = ' '.join(_files.rights_of(str(path))[1:])
    return _host_files.hba(hba(file=str(path), rights='0640 ' + mine), REACH, used), _host_files.hba(hba(file=str(path), rights='0600 ' + mine), REACH, used)


def test_observation(tmpdir):
    path = tmpdir.join('pg_hba.conf')
    assert _host_files.hba(hba(file=str(path)), REACH, None) == {'file': str(path), 'exists': False, 'due': ['add'], 'other': None}
    for below in (OPERATORS.encode('utf-8'), b'# \xe4, which is no UTF-8\n'):
        path.write_binary(block(SOCKET + NODES).encode('utf-8') + below)
        right, wrong = observed(path)
        assert (right['exists'], right['due'], wrong['due']) == (True, [], ['add'])
    path.write_binary(block(SOCKET + NODES).encode('utf-8') + OLD.encode('utf-8'))
    assert observed(path)[0]['due'] == ['remove']


def test_the_server_reads_another_file(tmpdir):
    path, link = tmpdir.join('pg_hba.conf'), tmpdir.join('link.conf')
    path.write('')
    link.mksymlinkto(path)
    assert [observed(path, used)[0]['other'] for used in (None, str(path), str(link), '/etc/other.conf')] == [None, None, None, '/etc/other.conf']
