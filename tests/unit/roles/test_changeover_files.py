# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What files say while nodes still connect as before: server settings, authorities, names of certificates, SSH."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _changeover

NOW = {'ssl': 'on', 'ssl_cert_file': '/etc/ssl/own/server.crt', 'ssl_key_file': '/etc/ssl/own/server.key'}
MANAGED = {'ssl': 'on', 'ssl_cert_file': '/etc/pgfleet/tls/server.crt', 'ssl_key_file': '/etc/pgfleet/tls/server.key'}
CLUSTER = {'__repmgr_members': [], '__repmgr_cluster': {'roles': {'base-centos-2': 'standby'}}, 'hostvars': {}}
OWN = {'repmgr_tls_certificate': '/o.crt', 'repmgr_tls_key': '/o.key', 'repmgr_tls_root': '/o.root'}


def over(**found):
    return dict({'servers': '', 'roots': [], 'clients': [], 'former': {}, 'verified': {}}, **found)


def tls_settings(host, mode, servers, now, **more):
    found = host.value('__repmgr_own_settings', repmgr_tls=mode, __repmgr_changeover=over(servers=servers), repmgr_postgresql_version='11',
                       __repmgr_record={'observed': {'server': {'settings': now}}}, **dict(CLUSTER, **more))
    return dict((name, value) for name, value in found.items() if name.startswith('ssl'))


@pytest.mark.parametrize('mode, servers, now, settings', [
    # Somebody still asks for TLS, or verifies by the former authority.
    ('off', 'last', NOW, NOW), ('managed', 'last', NOW, NOW),
    ('off', '', NOW, {'ssl': 'off'}), ('managed', '', NOW, MANAGED), ('managed', 'first', {'ssl': 'off'}, MANAGED),
    # Whose server is stopped, or has no TLS, has nothing that others rely on.
    ('off', 'last', {}, {'ssl': 'off'}), ('off', 'last', {'ssl': 'off'}, {'ssl': 'off'}), ('managed', 'last', {'ssl': 'off'}, MANAGED),
])
def test_a_server_keeps_what_others_rely_on(host, mode, servers, now, settings):
    assert tls_settings(host, mode, servers, now) == settings


def test_before_anything_was_observed(host):
    assert host.value('__repmgr_own_settings', __repmgr_record={'observed': None}, **CLUSTER)['ssl_cert_file'] == MANAGED['ssl_cert_file']


@pytest.mark.parametrize('mode, roots, also', [
    ('managed', ['/own'], ['/own']), ('managed', [], []), ('provided', [_changeover.MANAGED_ROOT], ['/o.root']),
    # A file that was provided before belongs to the user.
    ('provided', ['/own'], []), ('provided', [], []), ('off', [], []),
])
def test_which_authorities_are_added_to_the_managed_one(host, mode, roots, also):
    found = host.load('tls', 'vars', 'main.yml')
    values = dict(OWN, repmgr_tls=mode, __repmgr_changeover=over(roots=roots), __repmgr_tls_managed_root=found['__repmgr_tls_managed_root'])
    assert host.rendered(found['__repmgr_tls_also_trusted'], **values) == also


def test_one_place_of_the_managed_authority(host):
    assert host.rendered(host.load('tls', 'vars', 'main.yml')['__repmgr_tls_managed_root']) == _changeover.MANAGED_ROOT
    assert host.value('__repmgr_tls_files')['root'] == _changeover.MANAGED_ROOT


def test_a_new_certificate_names_the_former_address(host):
    names = host.load('tls', 'vars', 'main.yml')['__repmgr_tls_names']
    assert host.rendered(names, __repmgr_changeover=over(former={'base-centos-2': ['10.0.0.2', 'base-centos-2'], 'base-centos-1': ['10.0.0.1']})) == [
        '192.168.56.102', 'base-centos-2', '10.0.0.2']
    assert host.rendered(names) == ['192.168.56.102', 'base-centos-2']
    assert '__repmgr_tls_needed' not in host.file('tls', 'tasks', 'certificate.yml')


def lines(host, name, former):
    peer = {'name': 'b', 'address': '192.168.0.2', 'addresses': ['192.168.0.2']}
    return host.rendered(host.load('ssh_mesh', 'vars', 'main.yml')['__repmgr_ssh_lines'], __repmgr_changeover=over(former=former), __repmgr_record={
        'observed': {'reach': [peer], 'files': {}}}, hostvars={'b': {
            '__repmgr_key': {'public_key': 'ssh-ed25519 AAAA'}, '__repmgr_record': {'peer': {'ssh_port': 22}},
            'ansible_facts': {'ssh_host_key_ed25519_public': 'BBBB', 'ssh_host_key_ed25519_public_keytype': 'ssh-ed25519'}}})[name].strip()


def test_ssh_goes_on_by_the_former_address(host):
    assert lines(host, 'authorized_keys', {'b': ['10.0.0.2']}) == 'restrict,from="192.168.0.2,10.0.0.2" ssh-ed25519 AAAA postgres@b'
    assert lines(host, 'known_hosts', {'b': ['10.0.0.2']}) == 'b,192.168.0.2,10.0.0.2 ssh-ed25519 BBBB'
    # sshd compares addresses; a cluster that was built by hand may be registered by names.
    assert lines(host, 'authorized_keys', {'b': ['b']}) == lines(host, 'authorized_keys', {})
    assert lines(host, 'known_hosts', {'b': ['b']}) == lines(host, 'known_hosts', {})


def trusted(host, known, *others):
    """What the file of authorities then says, None where nothing is written."""
    task = host.load('tls', 'tasks', 'trust.yml')[-1]
    results = [{'content': base64.b64encode(text.encode()).decode()} for text in others]
    values = dict(task['vars'], __repmgr_primary={'name': 'a'}, hostvars={'a': {'__repmgr_other_authorities': {'results': results}}},
                  __repmgr_trusted_now={'content': base64.b64encode(known.encode()).decode()} if known else {'failed': True})
    wanted = host.rendered('{{ %s }}' % task['when'], **values)
    return host.rendered(task['ansible.builtin.copy']['content'], **values) if wanted else None


def test_the_file_of_authorities_while_both_are_in_use(host):
    assert trusted(host, 'ours\n', 'theirs\n') == 'ours\ntheirs\n'
    assert trusted(host, 'ours\ntheirs\n', 'theirs') is None
    # A node that is new.
    assert trusted(host, '', 'theirs') is None
