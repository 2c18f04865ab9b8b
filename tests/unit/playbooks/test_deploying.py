# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only playbooks that deploy refuse: the tasks of roles/common/tasks/decide.yml, with an observation that is made up."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import getpass
import hashlib
import hmac
import os
import shlex

import pytest
import yaml

from playbook_runs import PLAYBOOKS, ROOT, inventory, playbook_run

BLOCK = '# BEGIN pgfleet.repmgr a\na1:5432:repmgr:repmgr:%s\n# END pgfleet.repmgr a\n'
REFUSED = 'repmgr_password is not the password that the nodes log in with'


def observed(role, configured=None, **more):
    rows = [{'node_id': 1, 'node_name': 'a1', 'type': 'primary', 'active': True, 'conninfo': 'host=a1 user=repmgr dbname=repmgr'}]
    return dict({'server': {'state': 'running', 'sql': True, 'in_recovery': False, 'settings': {'port': '5432'},
                            'configured': configured or {}},
                 'repmgr': {'nodes': rows, 'role': role, 'superuser': False}, 'config': None, 'knows_password': True, 'deployed': True}, **more)


def decide(folder, passfile, password, role='repmgr', deploys=True, configured=None, exists=True, **more):
    """(rc, output) of the decision on a cluster whose primary, a1, logged in as `role`."""
    if passfile is not None:
        (folder / '.pgpass').write_text(passfile)
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}',
        '__repmgr_looks': True, '__repmgr_deploys': deploys, '__repmgr_version': '15', '__repmgr_os_home': str(folder), '__repmgr_members': ['a1'],
        '__repmgr_cluster': {'primary': 'a1', 'exists': exists, 'problems': [], 'logins': [], 'roles': {'a1': 'primary'}}, 'repmgr_password': password,
        '__repmgr_record': {'name': 'a1', 'node_id': '1', 'node_name': 'a1', 'port': '5432', 'user': 'repmgr', 'database': 'repmgr', 'groups': ['primary'],
                            'tls': 'managed', 'named': [], 'observed': observed(role, configured, **more)},
        '__repmgr_bin_dir': str(folder)})
    tasks = [{'import_role': {'name': 'pgfleet.repmgr.common', 'tasks_from': 'decide'}}]
    (folder / 'play.yml').write_text(yaml.safe_dump([{
        'hosts': 'a1', 'gather_facts': False, 'tasks': tasks, 'environment': {'PATH': '%s:%s' % (folder, os.environ['PATH'])}}]))
    code, said = playbook_run(folder, 'play.yml', ['-vvv'])
    return code, ' '.join(said.split())


@pytest.fixture
def scram():
    """S3cret as PostgreSQL stores it."""
    salt = b'0123456789abcdef'
    salted = hashlib.pbkdf2_hmac('sha256', b'S3cret', salt, 4096)
    keys = [base64.b64encode(key).decode() for key in (
        salt, hashlib.sha256(hmac.new(salted, b'Client Key', hashlib.sha256).digest()).digest(), hmac.new(salted, b'Server Key', hashlib.sha256).digest())]
    return 'SCRAM-SHA-256$4096:%s$%s:%s' % tuple(keys)


def test_another_password_is_refused_and_not_shown(tmp_path):
    code, said = decide(tmp_path, BLOCK % 'S3cret', 'T0psecret')
    assert code == 2 and REFUSED in said and 'rotate_credentials' in said, said
    for secret in ('S3cret', 'T0psecret'):
        assert secret not in said, said


@pytest.mark.parametrize('passfile, password, role, deploys', [
    (BLOCK % 'S3cret', 'S3cret', 'repmgr', True),
    (BLOCK % 'S3cret', '', 'repmgr', True),
    # A cluster that was built by hand has a passfile of its own, or none.
    ('a1:5432:*:repmgr:S3cret\n', 'T0psecret', 'repmgr', True),
    (None, 'T0psecret', 'repmgr', True),
    # What nobody logs in with is not in use: a rotation was ended after the servers took the next password.
    (BLOCK % 'S3cret', 'T0psecret', 'postgres', True),
    # A failover must not wait for it.
    (BLOCK % 'S3cret', 'T0psecret', 'repmgr', False),
])
def test_goes_on(tmp_path, passfile, password, role, deploys):
    code, said = decide(tmp_path, passfile, password, role, deploys)
    assert code == 0, said


@pytest.mark.parametrize('deploys', [True, False])
def test_a_setting_that_would_be_replaced(tmp_path, deploys):
    configured = {'wal_sender_timeout': {'setting': '0', 'unit': 'ms', 'default': '60000', 'file': '/etc/postgresql/15/main/postgresql.conf'}}
    code, said = decide(tmp_path, None, '', deploys=deploys, configured=configured)
    assert (code, "a1: wal_sender_timeout is '0ms' in /etc/postgresql/15/main/postgresql.conf, and would become '5s'" in said) == (
        (2, True) if deploys else (0, False)), said


# Whether there is one.
STORED = 'stored'
HAND_LINE = 'a1:5432:*:repmgr:S3cret\n'


def psql(folder, says, code=0):
    """A psql that answers like this, and writes down what it was asked."""
    (folder / 'psql').write_text('#!/bin/sh\necho "$@" >>%s/asked; cat >>%s/asked; echo %s; exit %d\n' % (folder, folder, shlex.quote(says), code))
    # Which only root may call.
    (folder / 'runuser').write_text('#!/bin/sh\n[ "$1 $2 $3" = "-u postgres --" ] && shift 3 && exec "$@"\n')
    for name in ('psql', 'runuser'):
        (folder / name).chmod(0o755)


@pytest.mark.parametrize('stored, passfile, password, said', [
    (STORED, None, '', 'its role repmgr has a password, which is neither in ~postgres/.pgpass nor in repmgr_password; expected'),
    (STORED, HAND_LINE, 'T0psecret', 'its role repmgr has another password than repmgr_password'),
    (STORED, HAND_LINE.replace('S3', 'T0ps'), '', 'its role repmgr has another password than the line in ~postgres/.pgpass'),
    (None, None, 'S3cret', 'and whether the role has a password cannot be read'),
])
def test_a_password_that_nobody_knows_is_not_replaced(tmp_path, scram, stored, passfile, password, said):
    psql(tmp_path, scram if stored else '', 0 if stored else 2)
    code, text = decide(tmp_path, passfile, password, knows_password=passfile is not None, deployed=False)
    assert code == 2 and 'a1: ' in text and said in text and 'expected a password that is known' in text, text
    for secret in ('S3cret', 'T0psecret', scram.split('$')[2]):
        assert secret not in text, text


@pytest.mark.parametrize('stored, passfile, password, more', [
    # The walkthrough: trust, and a role that never had a password, which a run may have been killed at.
    ('', None, '', {}), (STORED, None, 'S3cret', {}), (STORED, BLOCK % 'S3cret', '', {}),
    # Nobody may ask, and the nodes log in with what is there.
    (None, HAND_LINE, '', {}),
    # A rotation was killed when the servers had the next one; the passfile of a cluster of ours says what the nodes go back to.
    (STORED, BLOCK % 'T0psecret', '', {'deployed': True}),
    # Before there is a cluster, there is nobody to lock out.
    (STORED, None, '', {'exists': False}),
])
def test_a_password_that_is_known_or_not_there(tmp_path, scram, stored, passfile, password, more):
    psql(tmp_path, scram if stored else '', 2 if stored is None else 0)
    code, text = decide(tmp_path, passfile, password, **dict({'knows_password': passfile is not None, 'deployed': False}, **more))
    assert code == 0, text


def test_the_line_of_a_deployed_cluster_was_lost(tmp_path, scram):
    psql(tmp_path, scram)
    code, text = decide(tmp_path, '', '', role='postgres', knows_password=False)
    assert code == 2 and 'that of another node may have it' in text, text


def test_a_run_on_a_cluster_in_order_does_not_ask(tmp_path):
    psql(tmp_path, '')
    for password in ('', 'S3cret'):
        code, text = decide(tmp_path, BLOCK % 'S3cret', password)
        assert code == 0 and not (tmp_path / 'asked').exists(), text
    assert decide(tmp_path, None, '', knows_password=False)[0] == 0
    assert (tmp_path / 'asked').read_text().splitlines() == [
        '-XAtqw -v ON_ERROR_STOP=1 -v name=repmgr -d dbname=postgres port=5432', "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = :'name';"]


def given(folder, passfile, exists, **record):
    """(rc, output) of the distribution of the password, by the primary alone, on a host without a repmgr.conf."""
    if passfile is not None:
        (folder / '.pgpass').write_text(passfile)
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}', 'repmgr_password': '',
        '__repmgr_os_home': str(folder), '__repmgr_os_user': getpass.getuser(), '__repmgr_looks': True, '__repmgr_members': ['a1'],
        '__repmgr_primary': {'name': 'a1'}, '__repmgr_cluster': {'exists': exists},
        '__repmgr_record': dict({'name': 'a1', 'address': '10.0.0.1', 'port': 5432, 'observed': {'config': None}}, **record)})
    tasks = [{'import_role': {'name': 'pgfleet.repmgr.repmgr_install', 'tasks_from': 'password'}}]
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': tasks}]))
    code, said = playbook_run(folder, 'play.yml', ['-vvv'])
    return code, ' '.join(said.split())


@pytest.mark.parametrize('exists, record, code', [
    (False, {}, 0), (True, {'unknown_password': ''}, 0),
    # Nobody has asked, because the line was there when the run began.
    (True, {}, 2)])
def test_when_a_new_password_is_made(tmp_path, exists, record, code):
    found, said = given(tmp_path, None, exists, **record)
    assert found == code and (tmp_path / '.pgpass').exists() is (code == 0), said
    if code:
        assert 'has none now; expected the password that the nodes log in with' in said, said


def test_the_passfile_counts_where_repmgr_conf_was_lost(tmp_path):
    code, said = given(tmp_path, BLOCK % 'S3cret', True)
    assert code == 0 and ':repmgr:repmgr:S3cret' in (tmp_path / '.pgpass').read_text(), said


def test_which_playbooks_deploy():
    """Those that write repmgr_password, and preflight, which says what site would."""
    found = []
    for name in os.listdir(PLAYBOOKS):
        if name.endswith('.yml'):
            with open(os.path.join(PLAYBOOKS, name)) as handle:
                play = [play for play in yaml.safe_load(handle) if play['name'] != 'Configure the proxies'][-1]
            if play.get('vars', {}).get('__repmgr_deploys') or {'role': 'pgfleet.repmgr.common'} in play.get('roles', []):
                found.append(name)
    assert sorted(found) == ['add_node.yml', 'preflight.yml', 'site.yml']
    with open(os.path.join(ROOT, 'roles', 'common', 'tasks', 'main.yml')) as handle:
        assert yaml.safe_load(handle)[-1]['vars'] == {'__repmgr_deploys': True}
