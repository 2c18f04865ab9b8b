# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and packages of a host, as far as the roles have to know whether a task would change them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import io
import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files, _hba, _place, _sources
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError


def files(paths, blocks=None):
    """{path: "SHA-256 mode owner group"} of those that are there: enough to tell whether writing one again would change it. Of a folder, "folder"
    and the rest. blocks is {path: marker}: of such a file, only what stands between "# BEGIN marker" and "# END marker" counts."""
    states = dict((path, _files.state_of(path)) for path in paths)
    for path, marker in (blocks or {}).items():
        states[path] = _files.state_of(path, lambda content, marker=marker: _between(content, marker))
    return dict((path, state) for path, state in states.items() if state is not None)


def _between(content, marker):
    """As Ansible's blockinfile writes it; empty where there is no such block."""
    lines = content.splitlines(True)
    begin, end = [('# %s %s\n' % (word, marker)).encode('utf-8') for word in ('BEGIN', 'END')]
    return b''.join(lines[lines.index(begin) + 1:lines.index(end)]) if begin in lines and end in lines else b''


def hba(wanted, reach, used):
    """What there is to do about pg_hba.conf, and where the server reads another file. Its text stays here: it may hold a password for LDAP or RADIUS."""
    path, present, found = wanted['file'], None, {'file': wanted['file'], 'exists': os.path.lexists(wanted['file']), 'due': [], 'other': None}
    try:
        with open(path, 'rb') as handle:
            present = handle.read()
        rights = ' '.join(_files.rights_of(path))
    except (IOError, OSError, KeyError):
        rights = None
    if used and os.path.realpath(used) != os.path.realpath(path):
        found['other'] = used
    try:
        text = present if present is None else present.decode('utf-8')
    except ValueError:
        text = present.decode('latin-1')
    found['due'] = _hba.due(text, wanted, reach)
    if rights != wanted['rights'] and 'add' not in found['due']:
        found['due'].append('add')
    return found


def contents(paths):
    """{path: text} of those that can be read."""
    found = {}
    for path in paths:
        try:
            with io.open(path, encoding='utf-8') as handle:
                found[path] = handle.read()
        except (IOError, OSError, ValueError):
            continue
    return found


def package_sources(root='/'):
    """The package sources of PGDG, see _sources.parse; of apt each with missing_keys, those of its keys that are not there."""
    etc = os.path.join(root, 'etc')
    folders = ((os.path.join(etc, 'apt', 'sources.list.d'), r'[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(list|sources)$'),
               (os.path.join(etc, 'yum.repos.d'), r'[^.].*\.repo$'))
    # What has another name is not read by apt, yum and dnf either.
    paths = [os.path.join(etc, 'apt', 'sources.list')] + [
        os.path.join(folder, name) for folder, names in folders for name in sorted(_place.listdir(folder)) if re.match(names, name)]
    found = []
    for path in sorted(paths):
        try:
            # A name in a comment may be in any encoding; to apt, yum and dnf it is none of their business.
            with io.open(path, encoding='utf-8', errors='replace') as handle:
                text = handle.read()
        except (IOError, OSError):
            continue
        for source in _sources.parse(os.path.join('/', os.path.relpath(path, root)), text):
            if 'keys' in source:
                source['missing_keys'] = [key for key in source['keys'] if not os.path.exists(os.path.join(root, key.lstrip('/')))]
            found.append(source)
    return found


def missing_packages(runner, names, status='/var/lib/dpkg/status'):
    """Which packages dpkg, or else rpm, does not call installed; None where there is neither. A file read costs no process."""
    try:
        with io.open(status, encoding='utf-8', errors='replace') as handle:
            records = handle.read().split('\n\n')
    except (IOError, OSError):
        return missing_rpms(runner, names)
    installed = set()
    for record in records:
        fields = dict(line.split(': ', 1) for line in record.splitlines() if line.startswith(('Package: ', 'Status: ')))
        if fields.get('Status', '').endswith(' ok installed'):
            installed.add(fields.get('Package'))
    return [name for name in names if name not in installed]


def missing_rpms(runner, names):
    """By what is provided: on EL the package of a Python module may have another name than the one that it is asked for by."""
    if not names:
        return []
    try:
        said = runner.run(['rpm', '-q', '--whatprovides'] + names, accept=None)
    except CommandError:
        return None
    lines = said.stdout.splitlines()
    return [name for name in names if 'no package provides %s' % name in lines]
