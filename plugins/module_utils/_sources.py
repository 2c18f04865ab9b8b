# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: which package sources of PostgreSQL (PGDG) a host has, and what role pgdg_repo has to do about them.

If two sources with the same URI and suite have different values of Signed-By, apt refuses to read any source ("Conflicting values set for option
Signed-By"). So an existing source is used, and no second one is added. For this apt treats http and https as equal and ignores components and
architectures, and a source without a key that comes after one with a key conflicts as well. A mirror is recognised by its suites: only those of PGDG end
in -pgdg.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import posixpath
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import integer

# The source that the role adds on Debian.
KEY = '/etc/apt/keyrings/pgdg.asc'
KEY_URL = 'https://www.postgresql.org/media/keys/ACCC4CF8.asc'
FILE = '/etc/apt/sources.list.d/pgdg.list'
URI = 'https://apt.postgresql.org/pub/repos/apt'
COMPONENT = 'main'
# The file in the package pgdg-redhat-repo.
PACKAGE_FILE = '/etc/yum.repos.d/pgdg-redhat-all.repo'
# The oldest version that this package still lists.
OLDEST_LISTED = 13

_HOST = re.compile(r'[a-z+]+://apt(-archive)?\.postgresql\.org(:[0-9]+)?(/|$)')
_SUITE = re.compile(r'-pgdg(-[a-z]+)?/?$')
_OFF = ('no', 'false', 'without', 'off', 'disable', '0')
_ARCHITECTURES = {'x86_64': 'amd64', 'aarch64': 'arm64', 'ppc64le': 'ppc64el', 's390x': 's390x'}
# Repositories of PGDG without installable release packages, by their ids and URLs.
_OTHER_ID = re.compile('source|debug|testing')
_OTHER_URL = re.compile('/(srpms|debug|testing)/')


def line(suite):
    """The source line that the role writes for a suite."""
    return 'deb [signed-by=%s] %s %s %s' % (KEY, URI, suite, COMPONENT)


# -- reading

def parse(path, text):
    """The package sources of PGDG in a file, as a list. The name of the file determines its format.

    A source of apt is {file, line, uris, suites, components, architectures, signed, keys, enabled, ours}: architectures is empty if it is for all of them,
    signed is whether it has Signed-By, and keys are the paths in that. A source of yum and dnf is {file, line, id, urls, enabled, ours}. Passwords are
    removed from the URIs.
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
    """One-line sources: deb [option=value ...] URI SUITE COMPONENT ... Such a line that is commented out counts as a disabled source."""
    found = []
    for number, original in enumerate(text.splitlines(), 1):
        content, enabled = original.strip(), True
        if content.startswith('#'):
            content, enabled = content.lstrip('# \t'), False
        matched = re.match(r'deb\s+(?:\[([^\]]*)\]\s*)?([^\s\[#]+)\s+([^\s#]+)\s*([^#]*)', content.replace('"', ''))
        if not matched:
            continue
        # partition('=') leaves the options with += and -= under other names: they only change the defaults of the host.
        options = dict((name, value) for name, dummy, value in (word.partition('=') for word in (matched.group(1) or '').split()))
        suite = matched.group(3)
        found.append({
            'file': path, 'line': number, 'uris': [_without_password(matched.group(2))], 'suites': [suite], 'components': matched.group(4).split(),
            'architectures': [word for word in options.get('arch', '').split(',') if word], 'signed': bool(options.get('signed-by')),
            'keys': _paths(options.get('signed-by', '')), 'enabled': enabled,
            'ours': enabled and path == FILE and suite.endswith('-pgdg') and content == line(suite)})
    return found


def _stanzas(path, text):
    """Sources in deb822 format. A stanza in which every line is commented out counts as a disabled source."""
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
    """The paths in Signed-By. It may also contain fingerprints, or the key itself, whose lines may begin with a slash."""
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

    does: the tasks to run, empty if there is nothing to do: stale, source and lists on Debian; package, archive and module on EL. stale: lines to remove
    from the role's own file. line: the source line to add. problem: {source, seen, expected, steps} if an existing source is not usable; then the role does
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
    # A disabled source for another release does not count.
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
    """Whether apt would report the two as conflicting. It reads its files in the order of `sources`."""
    if not other['enabled'] or ours['suites'][0] not in other['suites'] or _location(URI) not in [_location(uri) for uri in other['uris']]:
        return False
    return other['keys'] != [KEY] if other['signed'] else sources.index(ours) < sources.index(other)


def _location(uri):
    return uri.partition('://')[2].rstrip('/')


def _lacks(source, suites, architecture):
    """[(seen, expected)]: the reasons why the role cannot install from a source; empty if it can."""
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
        found.append(('is signed by %s, which does not exist' % ', '.join(source['missing_keys']), 'its key'))
    return found


def _problem(source, suites, architecture):
    lacks = _lacks(source, suites, architecture)
    steps = []
    if source['enabled'] and source['missing_keys'] and len(lacks) == 1:
        path = source['missing_keys'][0]
        steps.append(_steps.shell('mkdir -p %s && curl -fsS %s %s %s' % (
            _steps.quoted(posixpath.dirname(path)), KEY_URL, '-o' if path.endswith('.asc') else '| gpg --dearmor -o', _steps.quoted(path)),
            reason='If it is the key of PGDG, fetch it'))
    steps.append('Correct the source, or delete it, and the role will add its own.')
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
                            'expected': 'an enabled source', 'steps': ['Set enabled=1 there, or delete the source, and the role will add its own.']}}
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
