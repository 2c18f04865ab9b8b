# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a node counts only before the collection takes it over: where its files are, how repmgrd is started, who logs in without a password."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import io
import os
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _hba, _place, _processes, _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted

# Where packages look for it first, then where people put it.
CONFIGS = ('/etc/repmgr.conf', '/etc/repmgr/*/repmgr.conf', '/etc/repmgr/repmgr.conf', '/etc/repmgr*.conf', '/etc/repmgr/*.conf', '/etc/repmgr/*/*.conf',
           '/etc/postgresql/repmgr.conf', '/etc/postgresql/*/*/repmgr.conf', '/usr/local/etc/repmgr.conf', '/usr/local/etc/repmgr/*.conf',
           '/opt/repmgr/*.conf', '/opt/repmgr/etc/*.conf', '/var/lib/pgsql/repmgr.conf', '/var/lib/pgsql/*/repmgr.conf', '/var/lib/pgsql/*/data/repmgr.conf',
           '/var/lib/postgresql/repmgr.conf', '/var/lib/postgresql/*/repmgr.conf', '/var/lib/postgresql/*/*/repmgr.conf')
_CRONTABS = ('/etc/crontab', '/etc/cron.d/*', '/var/spool/cron/*', '/var/spool/cron/crontabs/*')
_PROGRAMS = ('/usr/lib/postgresql/%s/bin', '/usr/pgsql-%s/bin')


def _found(patterns, root):
    names = []
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(root, pattern.lstrip('/')))):
            if path not in names and os.path.isfile(path):
                names.append(path)
    return names


def _config(path):
    """repmgr.conf as {name: value}, or None. Where people put it, there are other files too."""
    try:
        return _place.read_config(path)
    except _repmgr.ConfigError:
        return None


def configurations(root='/'):
    """[path] of every repmgr.conf of a node, the relevant one first: that of a running repmgrd, then those at usual paths."""
    named = []
    for name in sorted(_place.listdir(os.path.join(root, 'proc'))):
        if not name.isdigit():
            continue
        folder = os.path.join(root, 'proc', name)
        path = _processes.config_of_daemon(folder, root)
        if path and os.path.isfile(path) and path not in named:
            named.append(path)
    paths = named + [path for path in _found(CONFIGS, root) if path not in named]
    return [path for path in paths if (_config(path) or {}).get('node_id') is not None]


def locate(place, root='/'):
    """Fill in the configuration file, and the programs of the version that its data directory has."""
    if not place.config_file:
        place.config_file = (configurations(root) or [None])[0]
    config = _config(place.config_file) or {}
    directory = place.data_directory or config.get('data_directory')
    if not place.bin_dir and not config.get('pg_bindir') and directory:
        major = _place.major_of(directory)
        folders = [os.path.join(root, pattern.lstrip('/') % major) for pattern in _PROGRAMS] if major else []
        place.bin_dir = ([folder for folder in folders if os.path.isdir(folder)] or [None])[0]


def look(place, observed, passfile=None, root='/'):
    """The rest, beside an observation. No passwords."""
    config = _config(place.config_file) or {}
    settings = observed.server.settings or {}
    values = _conninfo.parse_or_empty(config.get('conninfo'))
    return {
        'config_file': place.config_file, 'bin_dir': place.bin_dir, 'data_directory': place.data_directory,
        'config_directory': os.path.dirname(settings['config_file']) if settings.get('config_file') else None,
        'settings': dict((name, redacted(value) if hasattr(value, 'lower') else value) for name, value in config.items() if 'password' not in name),
        'other_configs': _others(place, config, root),
        'cron': _cron_lines(root),
        'trust': _trusting(settings.get('hba_file')),
        'password': {
            'in_conninfo': bool(values.get('password')),
            'in_conf': sorted(name for name in config if 'password' in name),
            'in_passfile': passfile if passfile and has_line(passfile, values.get('user')) else None,
            'other_passfile': _other_passfile([values.get('passfile'), config.get('passfile')], passfile),
        },
    }


def _other_passfile(named, passfile):
    """The first path of a passfile that is not the one which the collection reads, or None. Nobody looks into it."""
    return ([path for path in named if path and (not passfile or os.path.realpath(path) != os.path.realpath(passfile))] or [None])[0]


def _others(place, config, root):
    """[path] of configuration files on this host that are for another data directory."""
    own = config.get('data_directory') or place.data_directory
    found = []
    for path in configurations(root):
        directory = (_config(path) or {}).get('data_directory')
        if path != place.config_file and directory and own and os.path.realpath(directory) != os.path.realpath(own):
            found.append(path)
    return found


def _text(path):
    try:
        with io.open(path, encoding='utf-8', errors='replace') as handle:
            return handle.read()
    except (IOError, OSError, TypeError):
        return ''


def _cron_lines(root):
    """[{file, line}] that start repmgrd."""
    return [{'file': path, 'line': redacted(line.strip())} for path in _found(_CRONTABS, root) for line in _text(path).splitlines()
            if re.search(r'\brepmgrd\b|repmgr\b.*\b(daemon|service)\s+start', line) and not line.lstrip().startswith('#')]


def _trusting(path):
    """The lines of pg_hba.conf by which somebody on another host logs in without a password. One that names databases, roles and an address has no secret."""
    return [' '.join(fields[:5]) for fields in _hba.rules(_text(path)) if fields[0] != 'local' and fields[4:5] == ('trust',)
            and fields[3] not in ('127.0.0.1/32', '::1/128', 'localhost', 'samehost')]


def has_line(path, user):
    """Whether a passfile has a line for this user."""
    lines = [_conninfo.passfile_fields(line) for line in _text(path).splitlines()]
    return any(fields and fields[3] in (user, '*') for fields in lines)
