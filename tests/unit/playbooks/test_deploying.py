# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only playbooks that deploy refuse: the tasks of roles/common/tasks/decide.yml, with an observation that is made up."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
import yaml

from playbook_runs import PLAYBOOKS, ROOT, inventory, playbook_run

BLOCK = '# BEGIN pgfleet.repmgr a\na1:5432:repmgr:repmgr:%s\n# END pgfleet.repmgr a\n'
REFUSED = 'repmgr_password is not the password that the nodes log in with'


def observed(role, configured=None):
    rows = [{'node_id': 1, 'node_name': 'a1', 'type': 'primary', 'active': True, 'conninfo': 'host=a1 user=repmgr dbname=repmgr'}]
    return {'server': {'state': 'running', 'sql': True, 'in_recovery': False, 'settings': {'port': '5432'},
                       'configured': configured or {}},
            'repmgr': {'nodes': rows, 'role': role}}


def decide(folder, passfile, password, role='repmgr', deploys=True, configured=None):
    """(rc, output) of the decision on a cluster whose primary, a1, logged in as `role`."""
    if passfile is not None:
        (folder / '.pgpass').write_text(passfile)
    inventory(folder, {
        'ansible_connection': 'local', 'ansible_become': False, 'ansible_python_interpreter': '{{ ansible_playbook_python }}',
        '__repmgr_looks': True, '__repmgr_deploys': deploys, '__repmgr_version': '15', '__repmgr_os_home': str(folder), '__repmgr_members': ['a1'],
        '__repmgr_cluster': {'primary': 'a1', 'problems': [], 'logins': [], 'roles': {'a1': 'primary'}}, 'repmgr_password': password,
        '__repmgr_record': {'name': 'a1', 'node_id': '1', 'node_name': 'a1', 'port': '5432', 'user': 'repmgr', 'database': 'repmgr', 'groups': ['primary'],
                            'tls': 'managed', 'named': [], 'observed': observed(role, configured)}})
    tasks = [{'import_role': {'name': 'pgfleet.repmgr.common', 'tasks_from': 'decide'}}]
    (folder / 'play.yml').write_text(yaml.safe_dump([{'hosts': 'a1', 'gather_facts': False, 'tasks': tasks}]))
    code, said = playbook_run(folder, 'play.yml', ['-vvv'])
    return code, ' '.join(said.split())


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
