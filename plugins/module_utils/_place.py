# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the programs, the configuration and the data of a node are, and the content of its repmgr.conf."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import io
import os
import pwd
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import redacted


class Place:
    """The paths and addresses of one node.

    conninfo: the connection string to use instead of the one in repmgr.conf, or None. user: the OS user that runs PostgreSQL.
    """

    def __init__(self, name='', config_file=None, bin_dir=None, data_directory=None, port=5432, conninfo=None, user='postgres'):
        self.name = name
        self.config_file = config_file
        self.bin_dir = bin_dir
        self.data_directory = data_directory
        self.port = port
        self.conninfo = conninfo
        self.user = user


# The paths of the packages of Debian, and of PGDG for EL.
_CONFIGS = ('/etc/repmgr.conf', '/etc/repmgr/*/repmgr.conf')
_PROGRAMS = ('/usr/lib/postgresql/*/bin', '/usr/pgsql-*/bin')
_DIRECTORIES = ('/var/lib/postgresql/*/main', '/var/lib/pgsql/*/data')


def find(place, root='/'):
    """Fill in the paths that the caller did not give: from repmgr.conf if there is one, otherwise the default paths of packages, newest version first."""
    def newest(patterns):
        paths = [path for pattern in patterns for path in glob.glob(os.path.join(root, pattern.lstrip('/')))]
        return max(paths, key=lambda path: [int(number) for number in re.findall(r'[0-9]+', path)]) if paths else None

    place.config_file = place.config_file or newest(_CONFIGS)
    config = read_config(place.config_file) or {}
    place.bin_dir = place.bin_dir or config.get('pg_bindir') or newest(_PROGRAMS)
    # Without any, use the pattern itself: a path that does not exist.
    place.data_directory = place.data_directory or config.get('data_directory') or newest(_DIRECTORIES) or os.path.join(
        root, _DIRECTORIES[os.path.exists(os.path.join(root, 'etc/redhat-release'))].lstrip('/'))


def installed_repmgr(bin_dir, root='/'):
    """'MAJOR.MINOR' of the repmgr that belongs to these programs, or None. It is read from the extension's control file, without starting a process."""
    if not bin_dir:
        return None
    # EL and others have both in one folder, Debian has not.
    above = os.path.dirname(os.path.normpath(bin_dir))
    shared = [os.path.join(above, 'share'), os.path.join(above, 'share/postgresql'),
              os.path.join(root, 'usr/share/postgresql', os.path.basename(above))]
    for folder in shared:
        try:
            with io.open(os.path.join(folder, 'extension/repmgr.control'), encoding='utf-8') as handle:
                version = re.search(r"^\s*default_version\s*=\s*'(\d+\.\d+)", handle.read(), re.MULTILINE)
        except (IOError, OSError, ValueError):
            continue
        return version.group(1) if version else None
    return None


def elsewhere(place, root='/'):
    """[{file, data_directory, major, node_id, version}] of configuration files for another data directory than the one of `place`.

    These are repmgr.conf (at the given path, otherwise at the paths of packages, which contain the major version on EL) with its node_id, and on Debian
    the configuration of the cluster `main`, which starts the server, with its version. major: the major version of the data in that directory, or None.
    """
    paths = [place.config_file] if place.config_file and os.path.exists(place.config_file) else [
        path for pattern in _CONFIGS for path in sorted(glob.glob(os.path.join(root, pattern.lstrip('/'))))]
    named = []
    for path in paths:
        config = read_config(path) or {}
        named.append((path, config.get('data_directory'), config.get('node_id'), None))
    version = os.path.basename(os.path.dirname(os.path.normpath(place.bin_dir or '')))
    path = os.path.join(root, 'etc/postgresql', version, 'main/postgresql.conf')
    if version.isdigit():
        named.append((path, _setting(path, 'data_directory'), None, version))
    others = []
    for path, directory, node_id, version in named:
        if place.data_directory and directory and os.path.realpath(directory) != os.path.realpath(place.data_directory):
            others.append({'file': path, 'data_directory': directory, 'major': major_of(directory), 'node_id': node_id, 'version': version})
    return others


def _setting(path, name):
    """The value of a setting in a configuration file of PostgreSQL, or None. The last line counts."""
    try:
        with io.open(path, encoding='utf-8', errors='replace') as handle:
            lines = re.findall(r"^[ \t]*%s(?:[ \t]*=[ \t]*|[ \t]+)'((?:[^'\n]|'')*)'" % name, handle.read(), re.MULTILINE)
    except (IOError, OSError):
        return None
    return lines[-1].replace("''", "'") if lines else None


def major_of(directory):
    """The major version of a data directory, as text from PG_VERSION, or None."""
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            return handle.read().strip() or None
    except (IOError, OSError):
        return None


def read_config(path):
    """repmgr.conf as {name: text}, with node_id as a number; None if the file cannot be read."""
    if not path:
        return None
    try:
        with open(path, 'rb') as handle:
            values = _repmgr.parse_config(handle.read().decode('utf-8', 'replace'))
    except (IOError, OSError):
        return None
    # An invalid id is kept as text, so that it can be shown.
    if values.get('node_id', '').isdigit():
        values['node_id'] = int(values['node_id'])
    return values


def public_config(values):
    """The values of read_config for output and comparison: typed, without passwords, with repmgr's defaults."""
    if values is None:
        return None
    shown = dict((name, redacted(value) if hasattr(value, 'lower') else value) for name, value in values.items()
                 if 'password' not in name)
    try:
        shown['priority'] = int(values.get('priority', 100))
    except ValueError:
        pass
    shown.setdefault('location', 'default')
    for name in ('node_id', 'node_name', 'conninfo', 'data_directory'):
        shown.setdefault(name, None)
    return shown


def current_user():
    """The name of the OS user that runs this process."""
    return pwd.getpwuid(os.geteuid()).pw_name


def listdir(path):
    """The names in a folder; an empty list if it cannot be read."""
    try:
        return os.listdir(path)
    except (IOError, OSError):
        return []
