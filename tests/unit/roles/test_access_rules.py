# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pg_hba.conf as roles/server/tasks/access_write.yml writes it, by Ansible itself; which hosts and when, by the expressions of roles/server/vars/main.yml."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import getpass
import os
import stat
import subprocess
import sys

import pytest
import yaml

SOCKET = 'local all postgres peer\n'
NODE = ''.join('hostssl %s repmgr 10.0.0.1/32 scram-sha-256\n' % database for database in ('repmgr', 'replication'))
OLD = 'host repmgr repmgr 10.0.0.9/32 trust\n'
# What a template, a text file or UTF-8 would make something else of.
BELOW = b"# {{ nothing }} {% if %} {# no end\r\n# \xe4\nlocal all all scram-sha-256\n\nhost all all 10.0.0.0/8 md5\nhost all all 10.0.0.0/8 reject"


def block(lines):
    return ('# BEGIN pgfleet.repmgr\n%s# END pgfleet.repmgr\n' % lines).encode()


def record(path, exists=True, due=()):
    hba = {'rights': '', 'os_user': 'postgres', 'user': 'repmgr', 'database': 'repmgr', 'tls': True, 'trust': False, 'extra': []}
    return {'groups': ['standby'], 'name': 'a', 'cluster': 'lab', 'hba': hba, 'observed': {
        'server': {'state': 'stopped'}, 'reach': [{'name': 'a', 'addresses': ['10.0.0.1']}], 'hba': {'file': str(path), 'exists': exists, 'due': list(due)}}}


@pytest.fixture
def write(host, tmp_path):
    """write(step, *options, exists=True, errors=None, fails=False, killed=False) -> what Ansible said, of a run on tmp_path/pg_hba.conf

    errors: what a server that runs cannot read; None for one that is stopped. killed: between the file and its check. A step None is the look after such a
    run.
    """
    def runs(step, *options, exists=True, errors=None, fails=False, killed=False):
        (tmp_path / 'ansible.cfg').write_text('')
        tasks = host.load('server', 'tasks', 'access_left.yml' if step is None else 'access_write.yml')
        if killed:
            place = [task['name'] for task in tasks].index('Check that the server can read the rules')
            tasks.insert(place, {'ansible.builtin.fail': {'msg': 'killed'}})
        if errors is not None:
            tasks = [task for task in tasks if task.get('ansible.builtin.include_tasks') != 'reload.yml']
            task, = host.load('server', 'tasks', 'access_check.yml')
            for name in ('environment', 'become', 'become_user', 'register', 'community.postgresql.postgresql_query'):
                task['block'][0].pop(name)
            task['block'][0]['ansible.builtin.set_fact'] = {'__repmgr_hba_errors': {'query_result': [{'said': said} for said in errors]}}
            (tmp_path / 'access_check.yml').write_text(yaml.safe_dump([task]))
        (tmp_path / 'play.yml').write_text(yaml.safe_dump([{
            'hosts': 'localhost', 'connection': 'local', 'gather_facts': False, 'tasks': (
                [] if errors is None else [{'ansible.builtin.set_fact': {'__repmgr_record': dict(record(tmp_path / 'pg_hba.conf', exists), observed=dict(
                    record(tmp_path / 'pg_hba.conf', exists)['observed'], server={'state': 'running'})), '__repmgr_cluster': {'exists': True}}}]) + tasks,
            'vars': {'__repmgr_record': record(tmp_path / 'pg_hba.conf', exists), '__repmgr_hba_step': step,
                     '__repmgr_hba_checked': host.load('server', 'vars', 'main.yml')['__repmgr_hba_checked'],
                     '__repmgr_watched': {'pg_hba.conf to check': str(tmp_path / 'note')}, '__repmgr_os_user': getpass.getuser(),
                     '__repmgr_looks': True, '__repmgr_service': 'none', '__repmgr_members': []}}]))
        done = subprocess.run(
            ['ansible-playbook', '-i', 'localhost,', 'play.yml', '-e', 'ansible_python_interpreter=' + sys.executable] + list(options), cwd=str(tmp_path),
            timeout=120, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            env=dict(os.environ, ANSIBLE_NOCOLOR='1', ANSIBLE_FORCE_COLOR='0', ANSIBLE_STDOUT_CALLBACK='default', ANSIBLE_CONFIG='ansible.cfg',
                     ANSIBLE_COLLECTIONS_PATH=os.path.join(os.path.dirname(__file__), '..', '..', '..', '.ansible', 'collections')))
        said = done.stdout.decode('utf-8', 'replace')
        assert (done.returncode == 0) is not fails, said
        return said
    return runs


def test_what_the_operator_wrote_stays_to_the_byte(write, tmp_path):
    path = tmp_path / 'pg_hba.conf'
    path.write_bytes(OLD.encode() + BELOW)
    path.chmod(0o600)
    before, old = path.stat().st_ino, path.open('rb')
    write('socket')
    assert path.read_bytes() == block(SOCKET) + OLD.encode() + BELOW
    write('add')
    assert path.read_bytes() == block(SOCKET + NODE) + OLD.encode() + BELOW
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write('remove')
    assert path.read_bytes() == block(SOCKET + NODE) + BELOW
    said = write('remove')
    assert 'changed=0' in said, said
    # Not written in place: whoever has it open, a backup also, has it whole.
    with old:
        assert path.stat().st_ino != before and old.read() == OLD.encode() + BELOW


def test_check_mode_shows_what_would_change(write, tmp_path):
    path = tmp_path / 'pg_hba.conf'
    path.write_bytes(b'local all all scram-sha-256\n')
    said = write('add', '--check', '--diff')
    assert '+' + SOCKET in said and '-local' not in said and path.read_bytes() == b'local all all scram-sha-256\n', said
    path.unlink()
    said = write('add', '--check', '--diff', exists=False)
    assert '+' + SOCKET in said and not path.exists(), said


def test_a_new_file_lets_users_of_the_host_in_as_themselves(write, tmp_path):
    path = tmp_path / 'pg_hba.conf'
    write('add', exists=False)
    assert path.read_bytes() == block(SOCKET + NODE) + b'local all all peer\n'
    # An initdb came between.
    path.write_bytes(BELOW)
    write('add', exists=False)
    assert path.read_bytes() == block(SOCKET + NODE) + BELOW


def test_a_link_stays_one(write, tmp_path):
    (tmp_path / 'elsewhere').write_bytes(BELOW)
    (tmp_path / 'pg_hba.conf').symlink_to('elsewhere')
    write('add')
    assert (tmp_path / 'pg_hba.conf').is_symlink() and (tmp_path / 'elsewhere').read_bytes() == block(SOCKET + NODE) + BELOW


def test_what_the_server_cannot_read_is_taken_back(write, tmp_path):
    path = tmp_path / 'pg_hba.conf'
    path.write_bytes(OLD.encode() + BELOW)
    said = write('add', errors=['line 7: invalid authentication method "oauth"'], fails=True)
    assert 'line 7: invalid authentication method' in said and path.read_bytes() == OLD.encode() + BELOW, said
    write('add', errors=[])
    assert path.read_bytes() == block(SOCKET + NODE) + OLD.encode() + BELOW
    # That step is what lets the run ask.
    path.write_bytes(BELOW)
    write('socket', errors=['line 7'])
    assert path.read_bytes() == block(SOCKET) + BELOW


def test_what_an_ended_run_has_not_checked_is_checked_by_the_next(write, tmp_path):
    path, note = tmp_path / 'pg_hba.conf', tmp_path / 'note'
    path.write_bytes(OLD.encode() + BELOW)
    write('add', errors=[], killed=True, fails=True)
    assert path.read_bytes() == block(SOCKET + NODE) + OLD.encode() + BELOW and note.read_bytes() == OLD.encode() + BELOW
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    said = write(None, errors=['line 7: invalid authentication method "oauth"'], fails=True)
    assert 'line 7: invalid authentication method' in said and 'what was there before is in %s' % note in ' '.join(said.split()), said
    assert path.read_bytes() == block(SOCKET + NODE) + OLD.encode() + BELOW and note.exists()
    write(None, errors=[])
    assert path.read_bytes() == block(SOCKET + NODE) + OLD.encode() + BELOW and not note.exists()


@pytest.mark.parametrize('errors', [[], ['line 7']])
def test_a_run_that_checks_leaves_no_note(write, tmp_path, errors):
    (tmp_path / 'pg_hba.conf').write_bytes(OLD.encode() + BELOW)
    write('add', errors=errors, fails=bool(errors))
    assert not (tmp_path / 'note').exists()
    write('remove', errors=[])
    assert not (tmp_path / 'note').exists()


def test_what_was_left_is_checked_before_anything_is_written(host):
    names = [task['ansible.builtin.include_tasks'] for task in host.load('server', 'tasks', 'access.yml')]
    assert names == ['access_left.yml', 'access_changes.yml']


def test_who_lacks_rules(host):
    hostvars = {name: {'__repmgr_record': dict(record('x', due=due), name=name)} for name, due in (('a', ['remove']), ('b', ['socket', 'add']), ('c', []))}
    assert host.value('__repmgr_rules_missing', hostvars=hostvars, __repmgr_present=['a', 'b', 'c']) == ['b']


@pytest.mark.parametrize('due, content, stale', [
    ([], None, False), (['add'], None, False), (['remove'], None, True),
    # What this run has read is newer than what it has observed.
    ([], OLD, True), (['remove'], '', False), (['add'], 'local all all peer\n', False),
])
def test_when_there_is_something_to_remove(host, due, content, stale):
    read = {} if content is None else {'content': base64.b64encode(content.encode()).decode()}
    assert host.value('__repmgr_rules_stale', __repmgr_record=record('x', due=due), __repmgr_hba_read=read) is stale
    if content is None:
        assert host.value('__repmgr_rules_stale', __repmgr_record=record('x', due=due)) is stale


def test_what_stays_is_said(host):
    task = host.load('server', 'tasks', 'access_stale.yml')[-1]
    records = [{'name': name, 'hba': {'os_user': 'postgres', 'user': 'repmgr', 'database': 'repmgr', 'tls': True, 'trust': False, 'extra': []},
                'observed': {'reach': [{'name': peer, 'addresses': ['10.0.0.1%s' % peer], 'sources': ['10.0.0.112']} for peer in '12']}} for name in '12']
    line = 'host  replication repmgr 10.0.0.112/32 ldap ldapbindpasswd=S3cret\n'
    for found, kept in ((line + 'host repmgr repmgr 10.0.0.9/32 trust\n', ['host  replication repmgr 10.0.0.112/32']), ('', [])):
        assert host.rendered(task['vars']['__repmgr_kept_rules'], __repmgr_record=records[0], __repmgr_all=records, __repmgr_found=found) == kept


def test_old_rules_go_after_everything_else(host):
    names = [task['name'] for task in host.play('site')['post_tasks']]
    assert names.index('Verify logins between all nodes') < names.index('Remove obsolete pg_hba rules and reload PostgreSQL')
    steps = [task['vars']['__repmgr_hba_step'] for name in ('access_changes.yml', 'access_stale.yml') for task in host.load('server', 'tasks', name)
             if task.get('ansible.builtin.include_tasks') == 'access_write.yml']
    assert steps == ['socket', 'add', 'remove']
