# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: which package sources of PostgreSQL (PGDG) a host has, and what role pgdg_repo has to do about them.

apt refuses all lists where two sources of one URI and suite have different values of Signed-By ("Conflicting values set for option Signed-By"), so a
source that is there already is used, and none is added beside it. To apt http and https are one URI, and one that comes without a key after one with a
key contradicts it, too; components and architectures do not matter. A mirror is known by its suites: others than PGDG's do not end in -pgdg.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import posixpath
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer

# What the role adds on Debian.
KEY = '/etc/apt/keyrings/pgdg.asc'
KEY_URL = 'https://www.postgresql.org/media/keys/ACCC4CF8.asc'
FILE = '/etc/apt/sources.list.d/pgdg.list'
URI = 'https://apt.postgresql.org/pub/repos/apt'
COMPONENT = 'main'
# What the package pgdg-redhat-repo brings.
PACKAGE_FILE = '/etc/yum.repos.d/pgdg-redhat-all.repo'
# The oldest version that this package still lists.
OLDEST_LISTED = 13

_HOST = re.compile(r'[a-z+]+://apt(-archive)?\.postgresql\.org(:[0-9]+)?(/|$)')
_SUITE = re.compile(r'-pgdg(-[a-z]+)?/?$')
_OFF = ('no', 'false', 'without', 'off', 'disable', '0')
_ARCHITECTURES = {'x86_64': 'amd64', 'aarch64': 'arm64', 'ppc64le': 'ppc64el', 's390x': 's390x'}
# Repositories of PGDG that have no packages to run, by their ids and their URLs.
_OTHER_ID = re.compile('source|debug|testing')
_OTHER_URL = re.compile('/(srpms|debug|testing)/')


def line(suite):
    """The role's own source of a suite."""
    return 'deb [signed-by=%s] %s %s %s' % (KEY, URI, suite, COMPONENT)


# -- reading

def parse(path, text):
    """The package sources of PGDG in a file, as its name tells how to read it: [source].

    A source of apt is {file, line, uris, suites, components, architectures, signed, keys, enabled, ours}, with architectures empty for all of them,
    signed whether it has Signed-By, and keys the paths there. One of yum and dnf is {file, line, id, urls, enabled, ours}. URIs come without passwords.
    """
    if path.endswith('.repo'):
        return [source for source in _sections(path, text) if _is_pgdg_rpm(source)]
    found = _stanzas(path, text) if path.endswith('.sources') else _lines(path, text)
    return [source for source in found if _is_pgdg(source)]


def _is_pgdg(source):
    return any(_SUITE.search(suite) for suite in source['suites']) or any(
        _HOST.match(uri) for uri in source['uris'])


def _is_pgdg_rpm(source):
    return source['id'].startswith('pgdg') or any('postgresql.org' in url or re.search('/[0-9]+/redhat/', url) for url in source['urls'])


def _without_password(uri):
    return re.sub(r'^([a-z+]+://)[^/@]*@', r'\1', uri)


def _lines(path, text):
    """One-line sources: deb [option=value ...] URI SUITE COMPONENT ... A comment that is such a line is a source that somebody has disabled."""
    found = []
    for number, original in enumerate(text.splitlines(), 1):
        content, enabled = original.strip(), True
        if content.startswith('#'):
            content, enabled = content.lstrip('# \t'), False
        matched = re.match(r'deb\s+(?:\[([^\]]*)\]\s*)?([^\s\[#]+)\s+([^\s#]+)\s*([^#]*)', content.replace('"', ''))
        if not matched:
            continue
        # With += and -= an option changes what the host has by default.
        options = dict((name, value) for name, dummy, value in (word.partition('=') for word in (matched.group(1) or '').split()))
        suite = matched.group(3)
        found.append({
            'file': path, 'line': number, 'uris': [_without_password(matched.group(2))], 'suites': [suite], 'components': matched.group(4).split(),
            'architectures': [word for word in options.get('arch', '').split(',') if word], 'signed': bool(options.get('signed-by')),
            'keys': _paths(options.get('signed-by', '')), 'enabled': enabled,
            'ours': enabled and path == FILE and suite.endswith('-pgdg') and content == line(suite)})
    return found


def _stanzas(path, text):
    """deb822. A stanza of nothing but comments is one that somebody has disabled, if it is one without their signs."""
    found, stanza = [], []
    for number, each in enumerate(text.splitlines() + [''], 1):
        if each.strip():
            stanza.append((number, each))
            continue
        commented = all(written.startswith('#') for dummy, written in stanza)
        fields = _fields([re.sub('^#[ ]?', '', written) if commented else written for dummy, written in stanza])
        if 'deb' in fields.get('types', '').split() and fields.get('uris') and fields.get('suites'):
            found.append({
                'file': path, 'line': stanza[0][0], 'uris': [_without_password(uri) for uri in fields['uris'].split()],
                'suites': fields['suites'].split(), 'components': fields.get('components', '').split(),
                'architectures': fields.get('architectures', '').split(), 'signed': bool(fields.get('signed-by')),
                'keys': _paths(fields.get('signed-by', '')),
                'enabled': not commented and fields.get('enabled', 'yes').lower() not in _OFF, 'ours': False})
        stanza = []
    return found


def _fields(lines):
    fields, name = {}, None
    for each in lines:
        if each.startswith('#'):
            continue
        if each[:1] in ' \t':
            if name:
                fields[name] += '\n' + each.strip()
            continue
        name, colon, value = each.partition(':')
        name = name.strip().lower() if colon else None
        if name:
            fields[name] = value.strip()
    return fields


def _paths(value):
    """A key may also be named by its fingerprint, or be in the file itself, where any line of it may begin with a slash."""
    return [] if '-----BEGIN' in value else [word for word in re.split(r'[,\s]+', value) if word.startswith('/')]


def _sections(path, text):
    found, key = [], None
    for number, original in enumerate(text.splitlines(), 1):
        content = original.strip()
        if not content or content.startswith(('#', ';')):
            continue
        if content.startswith('['):
            name = content[1:].partition(']')[0]
            found.append({'file': path, 'line': number, 'id': name, 'urls': [], 'enabled': True,
                          'ours': bool(re.match('pgdg[0-9]+-archive$', name)) and posixpath.basename(path) == name + '.repo'})
            key = None
        elif found:
            if original[:1] not in ' \t':
                key, dummy, content = [word.strip() for word in content.partition('=')]
                key = key.lower()
            if key in ('baseurl', 'mirrorlist', 'metalink'):
                found[-1]['urls'] += [_without_password(url) for url in re.split('[, ]+', content) if url]
            elif key == 'enabled':
                found[-1]['enabled'] = content.lower() not in _OFF
    return found


# -- deciding

def plan(host):
    """What role pgdg_repo does on a host: {does, stale, line, file, key, key_url, problem}.

    does: which of its tasks, empty where nothing is left to do - stale, source and lists on Debian, package, archive and module on EL. stale: lines of
    its own file that go. line: its own source. problem: {source, seen, expected, steps} where there is a source that lacks what is needed; then it does
    nothing.
    """
    nothing = {'does': [], 'stale': [], 'line': '', 'file': FILE, 'key': KEY, 'key_url': KEY_URL, 'problem': None}
    if host.package_source != 'pgdg' or host.observed is None:
        return nothing
    return dict(nothing, **(_plan_debian if host.os_family == 'Debian' else _plan_el)(host))


def _wants_packages(host):
    missing = host.observed.missing_packages
    return missing is None or any('postgresql' in name or 'repmgr' in name for name in missing)


def _plan_debian(host):
    wanted = '%s-pgdg' % host.release
    suites = (wanted, wanted + '-archive')
    sources, wants = host.observed.package_sources, _wants_packages(host)
    ours = [source for source in sources if source['ours']]
    theirs = [source for source in sources if not source['ours']]
    usable = [source for source in theirs if not _lacks(source, suites, host.architecture)]
    right = [source for source in ours if source['suites'] == [wanted]]
    rivalled = [source for source in ours if any(_contradicts(sources, source, other) for other in theirs)]
    given_up = {'does': ['stale'] if rivalled else [], 'stale': [line(source['suites'][0]) for source in rivalled]}
    if usable:
        return dict(given_up, does=given_up['does'] + (['lists'] if wants else []))
    # One that is disabled for another system than this counts for nothing.
    unusable = [source for source in theirs if source['enabled'] or set(source['suites']) & set(suites)]
    if unusable and (not right or right[0] in rivalled):
        if not wants:
            return given_up
        nearest = sorted(unusable, key=lambda source: (not set(source['suites']) & set(suites), not source['enabled']))[0]
        return {'problem': _problem(nearest, suites, host.architecture)}
    stale = [line(source['suites'][0]) for source in ours if source not in right]
    if right and not stale and not wants and not right[0]['missing_keys']:
        return {}
    return {'does': (['stale'] if stale else []) + ['source'], 'stale': stale, 'line': line(wanted)}


def _contradicts(sources, ours, other):
    """Whether apt refuses all lists for the two of them. It reads its files in the order that sources have."""
    if not other['enabled'] or ours['suites'][0] not in other['suites'] or _location(URI) not in [_location(uri) for uri in other['uris']]:
        return False
    return other['keys'] != [KEY] if other['signed'] else sources.index(ours) < sources.index(other)


def _location(uri):
    return uri.partition('://')[2].rstrip('/')


def _lacks(source, suites, architecture):
    """[(what was seen, what was expected)]: why a source has not what the role would install."""
    found = []
    if not source['enabled']:
        found.append(('is disabled', 'an enabled source'))
    if not set(source['suites']) & set(suites):
        found.append(('has %s' % ', '.join(source['suites']), 'suite %s' % suites[0]))
    elif COMPONENT not in source['components']:
        found.append(('has component %s' % (', '.join(source['components']) or 'none'), 'component %s' % COMPONENT))
    wanted = _ARCHITECTURES.get(architecture)
    if wanted and source['architectures'] and wanted not in source['architectures']:
        found.append(('is for %s' % ', '.join(source['architectures']), 'architecture %s' % wanted))
    if source['missing_keys']:
        found.append(('is signed by %s, which is not there' % ', '.join(source['missing_keys']), 'its key'))
    return found


def _problem(source, suites, architecture):
    lacks = _lacks(source, suites, architecture)
    steps = []
    if source['enabled'] and source['missing_keys'] and len(lacks) == 1:
        path = source['missing_keys'][0]
        steps.append(_steps.shell('mkdir -p %s && curl -fsS %s %s %s' % (
            _steps.quoted(posixpath.dirname(path)), KEY_URL, '-o' if path.endswith('.asc') else '| gpg --dearmor -o', _steps.quoted(path)),
            reason='Fetch it, if the key is that of PGDG'))
    steps.append('Correct it. Or delete it, and the role adds a source of its own.')
    return {'source': '%s in %s, line %d' % (', '.join(source['uris']), source['file'], source['line']), 'seen': ' and '.join(seen for seen, dummy in lacks),
            'expected': ' and '.join(expected for dummy, expected in lacks), 'steps': steps}


def _plan_el(host):
    version = '%s' % host.postgresql_version
    sources = host.observed.package_sources
    packaged = any(source['file'] == PACKAGE_FILE for source in sources)
    fitting = [source for source in sources if not source['ours'] and _has_rpms(source, version)]
    theirs = [source for source in fitting if source['file'] != PACKAGE_FILE]
    wants = _wants_packages(host)
    if fitting and not any(source['enabled'] for source in fitting):
        if not wants:
            return {}
        source = fitting[0]
        return {'problem': {'source': '%s in %s, line %d' % (source['id'], source['file'], source['line']), 'seen': 'is disabled',
                            'expected': 'an enabled source', 'steps': ['Set enabled=1 there. Or delete it, and the role adds a source of its own.']}}
    if any(source['enabled'] for source in theirs):
        return {'does': ['module'] if wants else []}
    if packaged and not wants:
        return {}
    archived = integer(host.distribution_major) == 7 or (integer(version) or 0) < OLDEST_LISTED
    return {'does': ([] if packaged else ['package']) + (['archive'] if archived else []) + ['module']}


def _has_rpms(source, version):
    if _OTHER_ID.search(source['id']) or any(_OTHER_URL.search(url) for url in source['urls']):
        return False
    return source['id'] == 'pgdg%s' % version or any(re.search(r'(^|/)%s/redhat/' % re.escape(version), url) for url in source['urls'])
