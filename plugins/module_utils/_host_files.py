# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files, packages and package sources of a host, observed so that the roles can skip tasks that would change nothing."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import io
import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _by_hand, _files, _hba, _place, _settings, _sources
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError


def observe(runner, observed, params):
    """Add what the roles query about the files and packages of a host. params: the options of the module repmgr_cluster_info."""
    observed.files = files(params['files'], params['blocks'])
    observed.contents = contents(params['contents'])
    content = contents([params['settings_file'] or '']).get(params['settings_file'])
    observed.server.kept, observed.server.foreign = _settings.kept_in(content), _settings.foreign_in(content)
    if params['passfile'] and params['hba']:
        observed.knows_password = _by_hand.has_line(params['passfile'], params['hba']['user'])
    observed.missing_packages = missing_packages(runner, params['packages'])
    observed.package_sources = package_sources() if params['package_sources'] else []


def files(paths, blocks=None):
    """{path: "DIGEST MODE OWNER GROUP"} of the files that exist, which is enough to tell whether writing a file again would change it.

    DIGEST is the SHA-256 of the content, or "folder". blocks: {path: marker}; in such a file, only the lines between "# BEGIN marker" and "# END marker"
    count.
    """
    states = dict((path, _files.state_of(path)) for path in paths)
    for path, marker in (blocks or {}).items():
        states[path] = _files.state_of(path, lambda content, marker=marker: _between(content, marker))
    return dict((path, state) for path, state in states.items() if state is not None)


def _between(content, marker):
    """The content of a block as Ansible's blockinfile writes it; empty if there is no such block."""
    lines = content.splitlines(True)
    begin, end = [('# %s %s\n' % (word, marker)).encode('utf-8') for word in ('BEGIN', 'END')]
    return b''.join(lines[lines.index(begin) + 1:lines.index(end)]) if begin in lines and end in lines else b''


def hba(wanted, reach, used):
    """{file, exists, due, other}: which changes of pg_hba.conf are due (see _hba.due), and which other file the server reads, if it does.

    wanted: the option `hba` of the module. reach: the observation of the peers' ports. used: hba_file of the server. The text of the file is not part of
    the result, because it may contain a password for LDAP or RADIUS.
    """
    path, present = wanted['file'], None
    state = {'file': path, 'exists': os.path.lexists(path), 'due': [], 'other': None}
    try:
        with open(path, 'rb') as handle:
            present = handle.read()
        rights = ' '.join(_files.rights_of(path))
    except (IOError, OSError, KeyError):
        rights = None
    if used and os.path.realpath(used) != os.path.realpath(path):
        state['other'] = used
    try:
        text = present if present is None else present.decode('utf-8')
    except ValueError:
        text = present.decode('latin-1')
    state['due'] = _hba.due(text, wanted, reach)
    if rights != wanted['rights'] and 'add' not in state['due']:
        state['due'].append('add')
    return state


def contents(paths):
    """{path: text} of the files that can be read."""
    texts = {}
    for path in paths:
        try:
            with io.open(path, encoding='utf-8') as handle:
                texts[path] = handle.read()
        except (IOError, OSError, ValueError):
            continue
    return texts


def package_sources(root='/'):
    """The package sources of PGDG, see _sources.parse; those of apt with missing_keys, the paths of their keys that do not exist."""
    etc = os.path.join(root, 'etc')
    folders = ((os.path.join(etc, 'apt', 'sources.list.d'), r'[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(list|sources)$'),
               (os.path.join(etc, 'yum.repos.d'), r'[^.].*\.repo$'))
    # Files with other names are ignored by apt, yum and dnf.
    paths = [os.path.join(etc, 'apt', 'sources.list')] + [
        os.path.join(folder, name) for folder, names in folders for name in sorted(_place.listdir(folder)) if re.match(names, name)]
    sources = []
    for path in sorted(paths):
        try:
            # Comments may be in any encoding, which apt, yum and dnf ignore.
            with io.open(path, encoding='utf-8', errors='replace') as handle:
                text = handle.read()
        except (IOError, OSError):
            continue
        for source in _sources.parse(os.path.join('/', os.path.relpath(path, root)), text):
            if 'keys' in source:
                source['missing_keys'] = [key for key in source['keys'] if not os.path.exists(os.path.join(root, key.lstrip('/')))]
            sources.append(source)
    return sources


def missing_packages(runner, names, status='/var/lib/dpkg/status'):
    """[name] of the packages that are not installed, by the status file of dpkg, otherwise by rpm; None if the host has neither."""
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
    """The same by rpm. It searches by what packages provide, because on EL the package of a Python module may have another name."""
    if not names:
        return []
    try:
        query = runner.run(['rpm', '-q', '--whatprovides'] + names, accept=None)
    except CommandError:
        return None
    lines = query.stdout.splitlines()
    return [name for name in names if 'no package provides %s' % name in lines]
