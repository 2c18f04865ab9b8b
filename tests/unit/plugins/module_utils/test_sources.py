# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Package sources of PGDG that a host has before the collection, as its wiki, its script and administrators write them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _host_files, _problems_deploy, _sources, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Host, Observed

WIKI = 'deb [signed-by=/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc] https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'
OURS = 'deb [signed-by=/etc/apt/keyrings/pgdg.asc] https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'
# What apt.postgresql.org.sh writes.
SCRIPT = u'''Types: deb
URIs: https://apt.postgresql.org/pub/repos/apt
Suites: bookworm-pgdg
Architectures: amd64
Components: main
Signed-By: /usr/share/postgresql-common/pgdg/apt.postgresql.org.gpg
'''
WIKI_KEY = '/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc'
SCRIPT_KEY = '/usr/share/postgresql-common/pgdg/apt.postgresql.org.gpg'
MISSING = ['postgresql-15', 'postgresql-15-repmgr']
LIST, SOURCES = '/etc/apt/sources.list.d/pgdg.list', '/etc/apt/sources.list.d/pgdg.sources'


def read(tmpdir, files, keys=()):
    for path, text in files.items():
        tmpdir.join(path.lstrip('/')).write_text(text if hasattr(text, 'isidentifier') else text.decode('utf-8'), encoding='utf-8', ensure=True)
    for path in keys:
        tmpdir.join(path.lstrip('/')).write('key', ensure=True)
    return _host_files.package_sources(str(tmpdir))


def host(sources, missing=tuple(MISSING), **more):
    values = dict(name='db1', package_source='pgdg', os_family='Debian', release='bookworm', architecture='x86_64', postgresql_version='15',
                  observed=Observed(package_sources=sources, missing_packages=list(missing)))
    return Host(**dict(values, **more))


def planned(tmpdir, files, keys=(WIKI_KEY, SCRIPT_KEY, _sources.KEY), **more):
    return _sources.plan(host(read(tmpdir, files, keys), **more))


def outcome(plan):
    """In one word: who would provide the packages."""
    return 'refused' if plan['problem'] else 'ours' if 'source' in plan['does'] else 'theirs' if 'lists' in plan['does'] else 'done'


# -- reading

@pytest.mark.parametrize('text, expected', [
    (WIKI, dict(uris=['https://apt.postgresql.org/pub/repos/apt'], suites=['bookworm-pgdg'], components=['main'], keys=[WIKI_KEY], enabled=True, ours=False,
                signed=True, architectures=[], line=1)),
    (OURS, dict(keys=['/etc/apt/keyrings/pgdg.asc'], ours=True)),
    # Ours, with something changed, is the administrator's.
    (OURS.replace('main', 'main 15'), dict(ours=False, components=['main', '15'])),
    ('\n# PGDG\n  deb\thttp://apt.postgresql.org/pub/repos/apt/   bookworm-pgdg   main 15  # ours\n',
     dict(line=3, components=['main', '15'], signed=False, keys=[], enabled=True)),
    ('deb [ arch=amd64,arm64 signed-by="/k/a.asc" ] http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n',
     dict(architectures=['amd64', 'arm64'], keys=['/k/a.asc'])),
    ('deb [arch-=i386 trusted=yes] http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n', dict(architectures=[], signed=False)),
    ('#deb http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n', dict(enabled=False)),
    ('# deb http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main # disabled on upgrade\n', dict(enabled=False, components=['main'])),
    ('deb [signed-by=0123456789ABCDEF0123456789ABCDEF01234567] https://m/pgdg bookworm-pgdg main\n', dict(keys=[], signed=True)),
    # A mirror, with the password of whoever may read it.
    ('deb https://user:secret@mirror.example/apt bookworm-pgdg main\n', dict(uris=['https://mirror.example/apt'])),
    ('deb https://apt-archive.postgresql.org/pub/repos/apt bookworm-pgdg-archive main\n', dict(suites=['bookworm-pgdg-archive'])),
])
def test_one_line_sources(text, expected):
    found = _sources.parse(LIST, text)
    assert len(found) == 1 and dict((name, found[0][name]) for name in expected) == expected


@pytest.mark.parametrize('text', [
    'deb http://archive.example.com/debian bookworm main\n', 'deb-src http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n',
    'deb cdrom:[Debian GNU/Linux]/ bookworm main\n', '# PGDG is at apt.postgresql.org\n', 'deb\n', '',
    'deb https://apt.postgresql.org.example/debian bookworm main\n',
])
def test_other_lines(text):
    assert _sources.parse(LIST, text) == []


def test_deb822():
    text = (u'# Packages\nTypes: deb\nURIs: http://archive.example.com/debian\nSuites: bookworm\nComponents: main\n \n' + SCRIPT
            + u'\n\ntypes: deb deb-src\nURIs:\n http://a/apt\n http://b/apt\nSuites: bookworm-pgdg bookworm-pgdg-testing\nComponents: main\n 15\nEnabled: no\n'
              u'Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS\n /abc\n'
            + u'\n# Types: deb\n# URIs: https://apt.postgresql.org/pub/repos/apt\n# Suites: bookworm-pgdg\n# Components: main\n'
            + u'\nTypes: deb-src\nURIs: https://apt.postgresql.org/pub/repos/apt\nSuites: bookworm-pgdg\n')
    first, second, third = _sources.parse(SOURCES, text)
    assert (first['line'], first['keys'], first['architectures'], first['enabled']) == (7, [SCRIPT_KEY], ['amd64'], True)
    assert (second['uris'], second['suites'], second['components'], second['enabled'], second['signed']) == (
        ['http://a/apt', 'http://b/apt'], ['bookworm-pgdg', 'bookworm-pgdg-testing'], ['main', '15'], False, True)
    # A line of the key itself may look like a path.
    assert second['keys'] == []
    assert (third['enabled'], third['suites']) == (False, ['bookworm-pgdg'])


def test_files_that_apt_reads(tmpdir):
    found = read(tmpdir, {
        '/etc/apt/sources.list': WIKI, LIST: WIKI, '/etc/apt/sources.list.d/pgdg.list.save': WIKI, '/etc/apt/sources.list.d/a b.list': WIKI,
        '/etc/apt/sources.list.d/.hidden.list': WIKI, SOURCES: SCRIPT, '/etc/apt/sources.list.d/notes.txt': WIKI}, [SCRIPT_KEY])
    assert [(source['file'], source['missing_keys']) for source in found] == [
        ('/etc/apt/sources.list', [WIKI_KEY]), (LIST, [WIKI_KEY]), (SOURCES, [])]


def test_a_comment_in_another_encoding(tmpdir):
    """A source that is overlooked would get a second one beside it, and apt refuses both."""
    tmpdir.join(LIST.lstrip('/')).write_binary(b'# M\xfcller\n' + WIKI.encode('utf-8'), ensure=True)
    assert [(source['file'], source['line']) for source in _host_files.package_sources(str(tmpdir))] == [(LIST, 2)]


def test_a_host_without_any(tmpdir):
    assert _host_files.package_sources(str(tmpdir)) == []


# -- deciding, on Debian

@pytest.mark.parametrize('files, expected', [
    ({}, 'ours'),
    ({LIST: OURS}, 'ours'),
    ({LIST: WIKI}, 'theirs'),
    ({'/etc/apt/sources.list': WIKI}, 'theirs'),
    ({SOURCES: SCRIPT}, 'theirs'),
    ({LIST: 'deb http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'}, 'theirs'),
    ({LIST: 'deb [arch=amd64] https://mirror.example/pgdg bookworm-pgdg main 15\n'}, 'theirs'),
    ({LIST: 'deb https://apt-archive.postgresql.org/pub/repos/apt bookworm-pgdg-archive main\n'}, 'theirs'),
    ({LIST: WIKI + WIKI.replace('bookworm-pgdg', 'bookworm-pgdg-testing')}, 'theirs'),
    ({LIST: '# ' + WIKI, SOURCES: SCRIPT}, 'theirs'),
    # One that the upgrade to this system has disabled.
    ({LIST: '# ' + WIKI.replace('bookworm', 'bullseye')}, 'ours'),
    ({LIST: '# ' + WIKI}, 'refused'),
    ({SOURCES: SCRIPT + u'Enabled: no\n'}, 'refused'),
    ({LIST: WIKI.replace('bookworm', 'bullseye')}, 'refused'),
    ({LIST: WIKI.replace('bookworm-pgdg', 'bookworm-pgdg-testing')}, 'refused'),
    ({LIST: WIKI.replace('main', '15')}, 'refused'),
    ({LIST: 'deb [arch=arm64] https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'}, 'refused'),
    # Ours from before the other was disabled goes on.
    ({LIST: OURS, SOURCES: SCRIPT + u'Enabled: no\n'}, 'ours'),
    ({LIST: OURS + WIKI.replace('bookworm-pgdg', 'bookworm-pgdg-testing')}, 'ours'),
])
def test_whose_source_is_used(tmpdir, files, expected):
    plan = planned(tmpdir, files)
    assert outcome(plan) == expected, plan


def test_a_host_that_has_its_packages_is_left_alone(tmpdir):
    for number, files in enumerate(({LIST: OURS}, {LIST: WIKI}, {LIST: '# ' + WIKI}, {LIST: WIKI.replace('bookworm', 'bullseye')}, {SOURCES: SCRIPT})):
        plan = planned(tmpdir.join(str(number)), files, missing=[])
        assert (plan['does'], plan['problem']) == ([], None), files
    # Not everything that is missing comes from there.
    assert planned(tmpdir.join('sudo'), {LIST: '# ' + WIKI}, missing=['sudo'])['problem'] is None


@pytest.mark.parametrize('keys, expected', [([_sources.KEY], []), ([], ['source'])])
def test_the_key_of_ours_is_fetched_again(tmpdir, keys, expected):
    assert planned(tmpdir, {LIST: OURS}, keys, missing=[])['does'] == expected


def test_ours_of_an_earlier_system_is_replaced(tmpdir):
    plan = planned(tmpdir, {LIST: OURS.replace('bookworm', 'bullseye')}, missing=[])
    assert (plan['does'], plan['stale'], plan['line']) == (['stale', 'source'], [OURS.replace('bookworm', 'bullseye').strip()], OURS.strip())


@pytest.mark.parametrize('missing, does', [([], ['stale']), (MISSING, ['stale', 'lists'])])
@pytest.mark.parametrize('files', [
    {LIST: WIKI + OURS}, {LIST: OURS, SOURCES: SCRIPT}, {LIST: OURS + WIKI.replace('apt bookworm', 'apt/ bookworm')},
    {LIST: OURS + WIKI.replace('https', 'http')},
    # Without a key, after one with a key.
    {LIST: OURS + 'deb https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'},
    {LIST: OURS, '/etc/apt/sources.list.d/postgresql.list': 'deb http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'},
    {LIST: OURS + 'deb [signed-by=0123456789ABCDEF0123456789ABCDEF01234567] https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'},
])
def test_ours_that_was_added_beside_another_goes(tmpdir, files, missing, does):
    """apt refuses all lists on such a host, also when nothing is to be installed."""
    plan = planned(tmpdir, files, missing=missing)
    assert (plan['does'], plan['stale'], plan['problem']) == (does, [OURS.strip()], None)


@pytest.mark.parametrize('files', [
    {LIST: 'deb https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n' + OURS},
    {LIST: OURS, '/etc/apt/sources.list': 'deb http://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n'},
    {LIST: OURS + OURS.replace('main', '15')},
    {LIST: OURS + WIKI.replace('bookworm-pgdg', 'bookworm-pgdg-archive')},
    {LIST: OURS + WIKI.replace('apt.postgresql.org/pub', 'mirror.example')},
    {LIST: OURS + '# ' + WIKI},
])
def test_ours_that_contradicts_nobody_stays(tmpdir, files):
    assert planned(tmpdir, files, missing=[])['does'] == []


def test_ours_beside_one_that_lacks_what_is_needed(tmpdir):
    files = {LIST: OURS + WIKI.replace('main', '15')}
    assert planned(tmpdir.join('a'), files, missing=[])['does'] == ['stale']
    assert outcome(planned(tmpdir.join('b'), files)) == 'refused'


@pytest.mark.parametrize('files, keys, seen, expected, step', [
    ({LIST: '\n' + WIKI.replace('bookworm', 'bullseye')}, [WIKI_KEY],
     'the package source https://apt.postgresql.org/pub/repos/apt in /etc/apt/sources.list.d/pgdg.list, line 2, has bullseye-pgdg',
     'suite bookworm-pgdg', 'Correct the source, or delete it'),
    ({LIST: WIKI.replace('main', '15 16')}, [WIKI_KEY], 'has component 15, 16', 'component main', 'Correct the source'),
    ({LIST: 'deb [arch=arm64] https://m/ bookworm-pgdg main\n'}, [], 'is for arm64', 'architecture amd64', 'Correct the source'),
    ({LIST: '# ' + WIKI}, [WIKI_KEY], 'is disabled', 'an enabled source', 'Correct the source'),
    ({LIST: WIKI}, [], 'is signed by %s, which does not exist' % WIKI_KEY, 'its key', 'curl -fsS https://www.postgresql.org/media/keys/ACCC4CF8.asc -o '),
    ({SOURCES: SCRIPT}, [], 'is signed by %s, which does not exist' % SCRIPT_KEY, 'its key', 'ACCC4CF8.asc | gpg --dearmor -o ' + SCRIPT_KEY),
    # Of several the one that is nearest to what is needed.
    ({LIST: WIKI.replace('bookworm', 'bullseye') + '# ' + WIKI}, [WIKI_KEY], 'line 2, is disabled', 'an enabled source', 'Correct the source'),
])
def test_a_source_that_lacks_something_is_refused_before_any_change(tmpdir, files, keys, seen, expected, step):
    sources = read(tmpdir, files, keys)
    values = dict(host(sources).to_dict(), node_id=1, cluster='c', initial_role='primary')
    values['observed'] = Observed.from_dict(values['observed'])
    problem, = _problems_deploy.deploy_problems(_verdict.hosts_from([values]))
    assert (problem['code'], problem['stop'], problem['node']) == ('unusable_source', True, 'db1')
    assert seen in problem['seen'] and problem['expected'] == expected and step in problem['message'], problem


def test_other_package_sources_are_not_looked_at(tmpdir):
    for source in ('distro', 'none', ''):
        assert planned(tmpdir, {LIST: '# ' + WIKI}, package_source=source)['problem'] is None
    assert _sources.plan(host([]).replace(observed=None))['does'] == []


# -- deciding, on EL

PACKAGE = u'''[pgdg-common]
name=PostgreSQL common
baseurl=https://download.postgresql.org/pub/repos/yum/common/redhat/rhel-$releasever-$basearch
enabled=1

[pgdg15]
name=PostgreSQL 15
baseurl=https://download.postgresql.org/pub/repos/yum/15/redhat/rhel-$releasever-$basearch
enabled=1

[pgdg15-source]
baseurl=https://download.postgresql.org/pub/repos/yum/srpms/15/redhat/rhel-$releasever-$basearch
enabled=0
'''
OWN = u'''; our mirror
[company-postgresql]
name = PostgreSQL
baseurl = https://user:secret@mirror.example/pgdg/15/redhat/rhel-9-x86_64
Enabled = 1
'''
ARCHIVE = u'[pgdg15-archive]\nbaseurl=https://yum-archive.postgresql.org/15/redhat/rhel-9-x86_64\n'
YUM = '/etc/yum.repos.d/'


def planned_el(tmpdir, files, missing=('postgresql15-server', 'repmgr_15'), version='15', major='9'):
    sources = read(tmpdir, dict((YUM + name, text) for name, text in files.items()))
    return _sources.plan(host(sources, missing, os_family='RedHat', release='', distribution_major=major, postgresql_version=version))


@pytest.mark.parametrize('files, more, does', [
    ({}, {}, ['package', 'module']),
    ({}, {'major': '7', 'version': '10'}, ['package', 'archive', 'module']),
    ({}, {'version': '12'}, ['package', 'archive', 'module']),
    ({}, {'missing': ()}, ['package', 'module']),
    # The package is there, by the official instructions or by an earlier run.
    ({'pgdg-redhat-all.repo': PACKAGE}, {}, ['module']),
    ({'pgdg-redhat-all.repo': PACKAGE}, {'missing': ()}, []),
    ({'pgdg-redhat-all.repo': PACKAGE}, {'missing': ['sudo']}, []),
    # It no longer lists that version.
    ({'pgdg-redhat-all.repo': PACKAGE}, {'version': '12'}, ['archive', 'module']),
    # An old one does, though it is not served there any more.
    ({'pgdg-redhat-all.repo': PACKAGE.replace('15', '12')}, {'version': '12'}, ['archive', 'module']),
    ({'pgdg-redhat-all.repo': PACKAGE, 'pgdg15-archive.repo': ARCHIVE}, {'missing': ()}, []),
    # Ours alone is not the package.
    ({'pgdg15-archive.repo': ARCHIVE}, {}, ['package', 'module']),
    # An administrator's.
    ({'company.repo': OWN}, {}, ['module']),
    ({'company.repo': OWN}, {'missing': ()}, []),
    ({'company.repo': OWN.replace('/15/', '/12/')}, {'version': '12'}, ['module']),
    ({'company.repo': u'[pgdg15]\nmirrorlist=https://m.example/list\n'}, {}, ['module']),
    ({'company.repo': OWN, 'pgdg-redhat-all.repo': PACKAGE.replace('enabled=1', 'enabled=0')}, {}, ['module']),
    # Of another version, which is in nobody's way.
    ({'company.repo': OWN.replace('/15/', '/14/')}, {}, ['package', 'module']),
    ({'company.repo': OWN.replace('/pgdg/', '/srpms/')}, {}, ['package', 'module']),
    ({'company.repo': OWN.replace('company-postgresql', 'pg-debuginfo')}, {}, ['package', 'module']),
])
def test_repositories_of_el(tmpdir, files, more, does):
    plan = planned_el(tmpdir, files, **more)
    assert (plan['does'], plan['problem']) == (does, None)


def test_repository_of_el_that_is_disabled(tmpdir):
    files = {'pgdg-redhat-all.repo': PACKAGE.replace('enabled=1', 'enabled=0')}
    plan = planned_el(tmpdir, files)
    assert plan['does'] == []
    assert (plan['problem']['source'], plan['problem']['seen']) == ('pgdg15 in /etc/yum.repos.d/pgdg-redhat-all.repo, line 6', 'is disabled')
    # As somebody may want it who installs nothing unasked.
    assert planned_el(tmpdir, files, missing=())['problem'] is None


def test_no_password_is_kept(tmpdir):
    found = read(tmpdir, {os.path.join(YUM, 'company.repo'): OWN, LIST: 'deb https://a:secret@m.example/apt bookworm-pgdg main\n'})
    assert len(found) == 2 and 'secret' not in '%r' % (found,)
