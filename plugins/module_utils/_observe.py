# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one node can see of itself and of its peers, read in one go, changing nothing."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import glob
import grp
import hashlib
import io
import json
import os
import pwd
import re
import struct
import threading
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _conninfo, _hba, _reach, _repmgr, _sources
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import PsqlError
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Data, Observed, Server

# The directory of a file system's own is no data.
_NO_DATA = frozenset(['lost+found'])
# What makes a server recover before it takes writes: as a standby, or from an archive until it promotes itself (is_standby). ASIDE is appended to its name
# for as long as it is recovered by a server for a single user.
SIGNALS = ('standby.signal', 'recovery.signal', 'recovery.conf')
ASIDE = '.aside'
# In the home of the server's user: how far a restore of the cluster is, see _restore_work.
RESTORE_FILE = '.repmgr_restore.json'


class Place:
    """Where the things of one node are."""

    def __init__(self, name='', config_file=None, bin_dir=None, data_directory=None, port=5432, conninfo=None, user='postgres'):
        self.name = name
        self.config_file = config_file
        self.bin_dir = bin_dir
        self.data_directory = data_directory
        self.port = port
        self.conninfo = conninfo
        self.user = user


# Where the packages of Debian and of PGDG for EL put things.
_CONFIGS = ('/etc/repmgr.conf', '/etc/repmgr/*/repmgr.conf')
_PROGRAMS = ('/usr/lib/postgresql/*/bin', '/usr/pgsql-*/bin')
_DIRECTORIES = ('/var/lib/postgresql/*/main', '/var/lib/pgsql/*/data')


def find(place, root='/'):
    """Fill in what the caller did not say: by repmgr.conf where there is one, else by the places of packages, newest version first."""
    def newest(patterns):
        found = [path for pattern in patterns for path in glob.glob(os.path.join(root, pattern.lstrip('/')))]
        return max(found, key=lambda path: [int(number) for number in re.findall(r'[0-9]+', path)]) if found else None

    place.config_file = place.config_file or newest(_CONFIGS)
    config = read_config(place.config_file) or {}
    place.bin_dir = place.bin_dir or config.get('pg_bindir') or newest(_PROGRAMS)
    # Where there is none, the pattern stands for itself: nothing of that name is there.
    place.data_directory = place.data_directory or config.get('data_directory') or newest(_DIRECTORIES) or os.path.join(
        root, _DIRECTORIES[os.path.exists(os.path.join(root, 'etc/redhat-release'))].lstrip('/'))


def installed_repmgr(bin_dir, root='/'):
    """'MAJOR.MINOR' of the repmgr that belongs to these programs, or None. Its extension's control file says so without a process."""
    if not bin_dir:
        return None
    # EL and others keep both under one folder, Debian does not.
    above = os.path.dirname(os.path.normpath(bin_dir))
    shared = [os.path.join(above, 'share'), os.path.join(above, 'share/postgresql'),
              os.path.join(root, 'usr/share/postgresql', os.path.basename(above))]
    for folder in shared:
        try:
            with io.open(os.path.join(folder, 'extension/repmgr.control'), encoding='utf-8') as handle:
                found = re.search(r"^\s*default_version\s*=\s*'(\d+\.\d+)", handle.read(), re.MULTILINE)
        except (IOError, OSError, ValueError):
            continue
        return found.group(1) if found else None
    return None


# -- files

def elsewhere(place, root='/'):
    """[{file, data_directory, major, node_id, version}] of configuration that is for another data directory than the one of `place`.

    repmgr.conf with its node_id, where it is given, or else wherever packages have it: on EL its path has the major version in it. And on Debian the
    configuration of cluster `main` with its version, which is what starts the server. major is that of the data in that other directory, or None.
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
    found = []
    for path, directory, node_id, version in named:
        if place.data_directory and directory and os.path.realpath(directory) != os.path.realpath(place.data_directory):
            found.append({'file': path, 'data_directory': directory, 'major': major_of(directory), 'node_id': node_id, 'version': version})
    return found


def _setting(path, name):
    """What a file of PostgreSQL's settings says of one of them, or None. The last line counts."""
    try:
        with io.open(path, encoding='utf-8', errors='replace') as handle:
            lines = re.findall(r"^[ \t]*%s(?:[ \t]*=[ \t]*|[ \t]+)'((?:[^'\n]|'')*)'" % name, handle.read(), re.MULTILINE)
    except (IOError, OSError):
        return None
    return lines[-1].replace("''", "'") if lines else None


def major_of(directory):
    """The major version of the data in a directory as PG_VERSION has it, or None."""
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            return handle.read().strip() or None
    except (IOError, OSError):
        return None


def read_config(path):
    """repmgr.conf as {name: value}, or None where there is none that can be read."""
    if not path:
        return None
    try:
        with open(path, 'rb') as handle:
            values = _repmgr.parse_config(handle.read().decode('utf-8', 'replace'))
    except (IOError, OSError):
        return None
    # A number where it is one; what is none is shown as it stands.
    if values.get('node_id', '').isdigit():
        values['node_id'] = int(values['node_id'])
    return values


def public_config(values):
    """The same as it may be shown and compared: typed, without passwords, with repmgr's defaults."""
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


def marker_path(data_directory, user):
    """The file that says that a clone into this directory was begun. Outside of it: repmgr wants it empty."""
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        return None
    return os.path.join(home, '.repmgr_node', 'clone-%s.json' % os.path.abspath(data_directory).strip('/').replace('/', '-'))


def read_marker(path):
    if not path:
        return None
    try:
        with open(path) as handle:
            found = json.load(handle)
            return found if isinstance(found, dict) else {}
    except (IOError, OSError):
        return None
    except ValueError:
        return {}


def cloning_process(data_directory, marker):
    """The process that still writes into a directory, because it outlived the task that began the clone."""
    wanted = os.path.abspath(data_directory)
    for entry in listdir('/proc'):
        if not entry.isdigit():
            continue
        # Root also sees the processes of containers, whose paths are not this host's.
        if works_on(_cmdline(int(entry)), wanted) and _same_namespace(os.path.join('/proc', entry), '/'):
            return int(entry)
    if marker and isinstance(marker.get('pid'), int) and marker['pid'] != os.getpid():
        if _start_time(marker['pid']) == marker.get('started') and marker.get('started') is not None:
            return marker['pid']
    return None


def works_on(words, directory):
    """Whether this command line is one that changes a data directory without a server: a copy, a rewind, a recovery, or the rejoin that begins these."""
    program = os.path.basename(words[0]) if words else ''
    if program == 'repmgr':
        return 'node' in words and 'rejoin' in words and not _of_another_node(words, directory)
    return (program in ('pg_basebackup', 'pg_rewind') or program == 'postgres' and '--single' in words) and any(
        os.path.abspath(word.split('=', 1)[-1]) == directory for word in words[1:] if '/' in word)


def processes_with(word):
    """The processes of this host that have it on their command lines."""
    return [int(entry) for entry in listdir('/proc') if entry.isdigit() and word in _cmdline(int(entry))
            and _same_namespace(os.path.join('/proc', entry), '/')]


def current_user():
    return pwd.getpwuid(os.geteuid()).pw_name


def process_identity():
    """What tells this process from a later one with the same number."""
    return {'pid': os.getpid(), 'started': _start_time(os.getpid())}


def listdir(path):
    """The names in a folder; none where it cannot be read."""
    try:
        return os.listdir(path)
    except (IOError, OSError):
        return []


def _cmdline(pid):
    return _words('/proc/%d/cmdline' % pid)


def _start_time(pid):
    try:
        with open('/proc/%d/stat' % pid) as handle:
            return int(handle.read().rpartition(')')[2].split()[19])
    except (IOError, OSError, IndexError, ValueError):
        return None


def is_standby(directory, aside=''):
    """Whether a server on this directory recovers until somebody promotes it. With recovery.signal alone, or a recovery.conf without standby_mode (before
    PostgreSQL 12), it recovers from an archive, and promotes itself when that is done. The guard, the fuse and the health endpoints have the same.
    """
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            old = int(handle.read().split('.')[0]) < 12
    except (IOError, OSError, ValueError):
        old = False
    if not old and os.path.exists(os.path.join(directory, 'standby.signal' + aside)):
        return True
    try:
        with open(os.path.join(directory, 'recovery.conf' + aside), 'rb') as handle:
            found = re.findall(br"(?im)^[ \t]*standby_mode[ \t]*=?[ \t]*'?[ \t]*([a-z0-9]+)", handle.read())
    except (IOError, OSError):
        return False
    # As PostgreSQL reads it: the last one counts, and a word may be shortened as long as it is one.
    word = found[-1].lower() if found else b''
    return word in (b'1', b'on') or word != b'' and (b'true'.startswith(word) or b'yes'.startswith(word))


def promotes_itself(directory):
    """Whether a server on this directory recovers, and then promotes itself: data that somebody restores."""
    return not is_standby(directory) and any(os.path.exists(os.path.join(directory, name)) for name in SIGNALS)


def observe_data(runner, place):
    path = place.data_directory
    data = Data(path=path or '')
    if not path:
        data.reason = 'no data directory is configured'
        return data
    marker = read_marker(marker_path(path, place.user))
    try:
        names = [name for name in os.listdir(path) if name not in _NO_DATA]
    except (IOError, OSError) as exc:
        if exc.errno == errno.ENOENT:
            data.state = 'missing'
            data.clone_begun = marker is not None
        else:
            data.reason = 'cannot be read: %s' % os.strerror(exc.errno)
        return data
    if not names:
        data.clone_begun = marker is not None
        if marker is not None and cloning_process(path, marker):
            data.reason = 'process %d is cloning into it' % cloning_process(path, marker)
            return data
        data.state = 'empty'
        return data
    if marker is not None and not _alive(os.path.join(path, 'postmaster.pid'), path):
        busy = cloning_process(path, marker)
        if busy:
            data.reason = 'process %d is still cloning into it' % busy
            return data
        if not _ran(names):
            data.state = 'partial'
            data.reason = _UNFINISHED
            return data
    has_version = 'PG_VERSION' in names
    control = os.path.join(path, 'global', 'pg_control')
    if has_version:
        try:
            with open(os.path.join(path, 'PG_VERSION')) as handle:
                data.major = handle.read().strip() or None
        except (IOError, OSError) as exc:
            data.reason = 'PG_VERSION cannot be read: %s' % os.strerror(exc.errno)
            return data
    if not os.path.exists(control):
        if has_version or 'backup_label' in names:
            data.state = 'partial'
            data.reason = 'has no global/pg_control'
        else:
            data.state = 'unrecognised'
            data.reason = 'holds %s but no PG_VERSION' % _some(names)
        return data
    if not has_version:
        data.state = 'partial'
        data.reason = 'has no PG_VERSION'
        return data
    if not _alive(os.path.join(path, 'postmaster.pid'), path):
        # A rewind that outlived the task that began it: nobody else may touch its files meanwhile.
        busy = cloning_process(path, None)
        if busy:
            data.reason = 'process %d is still working on it' % busy
            return data
    data.state = 'valid'
    # One that a killed rejoin has left aside is back before the next start.
    alive = _alive(os.path.join(path, 'postmaster.pid'), path) and not _is_single(os.path.join(path, 'postmaster.pid'))
    data.standby_signal = is_standby(path) or not alive and is_standby(path, ASIDE)
    data.promotes_itself = not data.standby_signal and promotes_itself(path)
    data.started = 'postmaster.opts' in names
    values = _read_control(runner, place, control, data)
    # It was started, and did not come to where the backup ended.
    if marker is not None and data.state == 'valid' and values.get('Backup start location', '').strip('0/') and not _alive(
            os.path.join(path, 'postmaster.pid'), path):
        data.state = 'partial'
        data.reason = _UNFINISHED
    return data


_UNFINISHED = 'a clone into it was begun and never finished'


def _ran(names):
    """Whether a server has run on what a clone left, so that its note is forgotten and not true any more: somebody has finished it by hand.

    postmaster.opts is written by every start of a server, by nothing else, and not copied by pg_basebackup; the start also takes backup_label away.
    """
    return 'postmaster.opts' in names and 'backup_label' not in names


def disks(path):
    """[{path, total_bytes, free_bytes}] of the file systems of a data directory and of its WAL. Free is what its owner may use."""
    found, devices = [], set()
    for name in [path, os.path.join(path, 'pg_wal')] if path else []:
        try:
            device, stat = os.stat(name).st_dev, os.statvfs(name)
        except OSError:
            continue
        if device not in devices:
            devices.add(device)
            found.append({'path': name, 'total_bytes': stat.f_blocks * stat.f_frsize, 'free_bytes': stat.f_bavail * stat.f_frsize})
    return found


def _some(names):
    shown = sorted(names)[:4]
    return ', '.join(shown) + (' and %d more' % (len(names) - 4) if len(names) > 4 else '')


def _read_control(runner, place, control, data):
    try:
        # The one field whose place never changed; enough when the programs of the server are not there.
        with open(control, 'rb') as handle:
            data.system_identifier = str(struct.unpack('=Q', handle.read(8))[0])
    except (IOError, OSError, struct.error) as exc:
        data.state = 'unknown'
        data.reason = 'global/pg_control cannot be read: %s' % exc
        return {}
    program = os.path.join(place.bin_dir or '', 'pg_controldata')
    if not os.path.exists(program):
        return {}
    try:
        values = parse_controldata(runner.run([program, '-D', place.data_directory]).stdout)
    except CommandError as exc:
        data.state = 'unknown'
        data.reason = exc.message
        return {}
    data.system_identifier = values.get('Database system identifier', data.system_identifier)
    data.cluster_state = values.get('Database cluster state')
    timeline = values.get("Latest checkpoint's TimeLineID", '')
    data.timeline = int(timeline) if timeline.isdigit() else None
    if 'wal_log_hints setting' in values:
        data.wal_log_hints = values['wal_log_hints setting'] == 'on'
    if 'Data page checksum version' in values:
        data.checksums = values['Data page checksum version'] != '0'
    return values


def parse_controldata(text):
    values = {}
    for line in text.splitlines():
        name, colon, value = line.partition(':')
        if colon:
            values[name.strip()] = value.strip()
    return values


# -- the local server

def _postmaster(path):
    """The lines of postmaster.pid, or None."""
    try:
        with open(path) as handle:
            return handle.read().splitlines()
    except (IOError, OSError):
        return None


def _alive(path, data_directory):
    """The process that postmaster.pid names, if it is the server of this directory, also one for a single user, else None. Starts no process.

    After a crash of the host the number may be that of any process, also of another cluster's server. A server is a program of that name whose
    working directory is its data directory. The guard, which is one file without imports, has the same rule in owner().
    """
    lines = _postmaster(path)
    if not lines or not lines[0].strip().lstrip('-').isdigit():
        return None
    pid = abs(int(lines[0]))
    try:
        os.kill(pid, 0)
    except OSError as exc:
        if exc.errno == errno.ESRCH:
            return None
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as handle:
            program = os.path.basename(handle.read().split(b'\0')[0])
    except (IOError, OSError):
        # There, but hidden from this user: what may be a server is not taken for a stopped one.
        return pid
    if program not in (b'postgres', b'postmaster'):
        return None
    try:
        return pid if os.readlink('/proc/%d/cwd' % pid) == os.path.realpath(data_directory) else None
    except (IOError, OSError):
        # Root in a container may not look there; then its name is enough.
        return pid


def _is_single(path):
    """Whether it is a server for a single user, whose number is a negative one there: it owns the directory, and nobody can connect to it."""
    return (_postmaster(path) or [''])[0].startswith('-')


def history_files(directory):
    """Names of the timeline history files in a data directory."""
    return [name for name in listdir(os.path.join(directory, 'pg_wal')) if re.match('[0-9A-F]{8}[.]history$', name)]


def newest_timeline(control, directory):
    """The newest one in a data directory. control: what pg_controldata says of it.

    After a promotion the control file has it only from the next checkpoint on; a history file is earlier.
    """
    numbers = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    return max([0] + [int(number) for number in numbers if number.isdigit()] + [int(name[:8], 16) for name in history_files(directory)])


def server_of(data_directory):
    """The process id of the server that runs on this directory, or None."""
    return _alive(os.path.join(data_directory, 'postmaster.pid'), data_directory)


def without_stale_pid(data_directory):
    """The environment in which PostgreSQL starts although postmaster.pid names a process that is no server of this directory.

    After a crash of the host the number may be that of repmgrd or of this module: PostgreSQL does not start beside a process of its own user, except
    for the one that is named like this (CreateLockFile in miscinit.c; pg_ctl does the same). It still looks for shared memory that is in use.
    """
    path = os.path.join(data_directory, 'postmaster.pid')
    lines = _postmaster(path)
    return {'PG_GRANDPARENT_PID': lines[0].strip().lstrip('-')} if lines and _alive(path, data_directory) is None else {}


def observe_server(place, data):
    server = Server()
    if data.state in ('missing', 'empty'):
        server.state = 'stopped'
        return server, None
    if not data.path or not os.access(data.path, os.X_OK | os.R_OK):
        server.error = 'its data directory cannot be read'
        return server, None
    path = os.path.join(data.path, 'postmaster.pid')
    pid = _alive(path, data.path)
    if pid is None:
        server.state = 'stopped'
        return server, None
    lines = _postmaster(path) or []
    server.pid = pid
    if _is_single(path):
        server.state, server.error = 'starting', 'is one for a single user (process %d)' % pid
        return server, None
    status = lines[7].strip() if len(lines) > 7 else ''
    server.state = {'ready': 'running', 'standby': 'running', 'starting': 'starting', 'stopping': 'starting'}.get(status, 'running')
    if status == 'stopping':
        server.error = 'is shutting down'
    if server.state == 'running':
        # What SQL would say, for the case that it does not answer.
        server.in_recovery = {
            'in production': False, 'in archive recovery': True, 'shut down in recovery': True,
        }.get(data.cluster_state)
    socket_dir = lines[4].strip() if len(lines) > 4 else ''
    port = lines[3].strip() if len(lines) > 3 else ''
    return server, {'host': socket_dir, 'port': port} if socket_dir else None


def _ways(place, config, sockets):
    """The connections to try, in turn: (conninfo, user to run psql as or None)."""
    ways = []
    conninfo = place.conninfo or (config or {}).get('conninfo')
    database = None
    if conninfo:
        ways.append((conninfo, None))
        database = _conninfo.parse_or_empty(conninfo).get('dbname')
    # The server's own user over the socket: the way in before repmgr's role exists. Root has to become that user.
    user = None
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(place.user)
        except KeyError:
            return ways
        user = place.user
    elif pwd.getpwuid(os.geteuid()).pw_name != place.user:
        return ways
    local = dict(sockets or {'port': str(place.port)})
    local['user'] = place.user
    if not sockets and conninfo:
        return ways
    for name in [database, 'postgres']:
        if name and (_conninfo.build(dict(local, dbname=name)), user) not in ways:
            ways.append((_conninfo.build(dict(local, dbname=name)), user))
    return ways


def observe_sql(psql, ways, events):
    """(tags, errors) of the first way that is answered."""
    errors = []
    for conninfo, user in ways:
        try:
            return psql.observe(conninfo, events=events, run_as=user), errors
        except PsqlError as exc:
            errors.append(redacted('%s' % exc))
    return None, errors


def take_sql(observed, tags, database=None):
    """What the server answered, into the observation."""
    server = observed.server
    answer = tags.get('server') or {}
    position = tags.get('position') or {}
    settings = tags.get('settings') or {}
    if 'primary_conninfo' in settings:
        settings['primary_conninfo'] = redacted(settings['primary_conninfo'])
    server.sql = bool(answer)
    server.in_recovery = answer.get('in_recovery', server.in_recovery)
    server.version = (answer.get('version') or '').split(' ')[0] or None
    server.version_num = answer.get('version_num')
    server.system_identifier = answer.get('system_identifier')
    server.checkpoint_timeline = answer.get('checkpoint_timeline')
    server.started_at = answer.get('started_at')
    for name in ('current_lsn', 'received_lsn', 'replayed_lsn', 'replay_paused', 'lag_bytes', 'lag_seconds'):
        setattr(server, name, position.get(name))
    server.oldest_wal = tags.get('oldest_wal')
    server.archiver = tags.get('archiver') or {}
    server.settings = settings
    server.configured = tags.get('configured') or {}
    receiver = tags.get('receiver')
    if receiver and receiver.get('status'):
        receiver['conninfo'] = redacted(receiver.get('conninfo'))
        receiver['received_lsn'] = receiver.get('flushed_lsn') or receiver.get('received_lsn')
        observed.receiver = receiver
    # The control data lags behind a promotion until the next checkpoint; what is written or received does not.
    if position.get('wal_timeline'):
        server.timeline = int(position['wal_timeline'], 16)
    else:
        known = [(receiver or {}).get('received_tli'), tags.get('recovery_timeline'), server.checkpoint_timeline]
        server.timeline = max([number for number in known if number] or [0]) or None
    observed.replication = tags.get('replication') or []
    observed.slots = tags.get('slots') or []
    databases = tags.get('databases')
    repmgrd = tags.get('repmgrd') or {}
    absent = databases is not None and database is not None and database not in databases
    nodes = tags.get('nodes')
    here = answer.get('database') is not None and answer.get('database') == database
    if nodes is None and (absent or (here and 'extension' not in tags)):
        nodes = []
    if nodes is not None:
        for row in nodes:
            row['conninfo'] = redacted(row.get('conninfo'))
    observed.repmgr = {
        'database': None if databases is None or database is None else database in databases,
        'extension': tags.get('extension'),
        'nodes': nodes,
        'repmgrd': {'running': repmgrd.get('running'), 'paused': repmgrd.get('paused'), 'pid': _known(repmgrd.get('pid'))},
        'upstream_last_seen': _known(tags.get('upstream_last_seen')),
        'upstream_node_id': _known(tags.get('upstream_node_id')),
        'role': (tags.get('role') or {}).get('rolname'),
        'missing_rights': tags.get('missing_rights'),
        'superuser': (tags.get('role') or {}).get('rolsuper'),
    }
    observed.events = tags.get('events') or []


def _known(number):
    # repmgr's functions say -1 where they know nothing.
    return None if number == -1 else number


def observe_local(runner, psql, place, events=0):
    """This node: two processes at most, pg_controldata and psql, where the server answers at the first try."""
    config = read_config(place.config_file)
    if not place.data_directory and config:
        place.data_directory = config.get('data_directory')
    observed = Observed(
        name=place.name,
        installed=_exists(place.bin_dir, 'postgres'),
        repmgr_installed=_exists(place.bin_dir, 'repmgr'),
        deployed=is_deployed(),
        repmgr_version=installed_repmgr(place.bin_dir),
        config=public_config(config),
        repmgr=no_repmgr(),
    )
    observed.pause = read_pause(place.user)
    observed.restore = read_restore(place.user)
    observed.guard = read_guard()
    observed.daemons = daemons(place.data_directory)
    observed.data = observe_data(runner, place)
    observed.elsewhere = elsewhere(place)
    observed.disks = disks(place.data_directory)
    observed.server, sockets = observe_server(place, observed.data)
    if observed.server.state == 'running' and _exists(place.bin_dir, 'psql'):
        ways = _ways(place, config, sockets)
        tags, errors = observe_sql(psql, ways, events)
        observed.server.error = '; '.join(errors[:1])
        if tags is not None:
            conninfo = place.conninfo or (config or {}).get('conninfo')
            take_sql(observed, tags, _database(conninfo) or 'repmgr')
            observed.server.restart_for = [
                '%s has changed' % name for name in tags.get('pending_restart') or []] + _replaced(
                    observed.server.pid, os.path.join(place.bin_dir, 'postgres'), (tags.get('server') or {}).get('started_epoch'))
            observed.server.lowered = _lowered(runner, place, observed.server.settings, tags.get('pending_restart') or [])
            observed.server.unread = _unread(observed.server.settings, (tags.get('server') or {}).get('loaded_at'))
    elif observed.server.state == 'running':
        observed.server.error = 'there is no psql in %s' % place.bin_dir
    return observed


# What the role backup writes on a data node, and the seconds that the repository has to answer.
_BACKUP = 'etc/pgfleet/backup/*/node.json'
# Beside it: the result of the last restore drill.
VERIFIED = 'verified.json'
_BACKUP_LIMIT = 10


def read_verified(root='/'):
    """What this node remembers of restore drills: {max_age: hours, now, last: the result of the last one or None}; None where there are no backups."""
    paths = sorted(glob.glob(os.path.join(root, _BACKUP)))
    if not paths:
        return None
    found = {'max_age': 0, 'now': int(time.time()), 'last': None}
    try:
        with io.open(paths[0], encoding='utf-8') as handle:
            found['max_age'] = int(json.load(handle).get('verify_max_age') or 0)
        with io.open(os.path.join(os.path.dirname(paths[0]), VERIFIED), encoding='utf-8') as handle:
            last = json.load(handle)
        if isinstance(last['ended'], int) and isinstance(last['seconds'], dict) and last['ok'] in (True, False) and all(
                hasattr(last[name], 'lower') for name in ('label', 'node', 'problem')):
            found['last'] = last
    except (IOError, OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return found


def observe_backup(runner, observed, user='postgres', root='/'):
    """What the repository says of the cluster, asked by the primary alone; None where there are no backups."""
    paths = sorted(glob.glob(os.path.join(root, _BACKUP)))
    if not paths or not observed.server.sql or observed.server.in_recovery is not False or (observed.config or {}).get('node_id') is None:
        return None
    try:
        with io.open(paths[0], encoding='utf-8') as handle:
            settings = json.load(handle)
        done = runner.run(_backup.command(settings, 'info', 'output=json', 'log-level-console=error'), accept=None, timeout=_BACKUP_LIMIT, run_as=user)
        judged = _backup.answered(done.rc, done.stdout, done.stderr, settings['cluster'])
    except (CommandError, IOError, OSError, ValueError, KeyError) as exc:
        settings, judged = {'max_age': 0}, _backup.answered(1, '', '%s' % exc, '')
    return {'settings': {'max_age': settings.get('max_age') or 0}, 'judged': judged, 'archiver': observed.server.archiver, 'now': int(time.time())}


# https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
_NO_LESS_THAN_THE_PRIMARY = ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction')


def _lowered(runner, place, settings, pending):
    """{name: value} of what the next start would give less of than there is now. The server's own program reads its files for that."""
    lowered = {}
    for name in [name for name in pending if name in _NO_LESS_THAN_THE_PRIMARY]:
        argv = [os.path.join(place.bin_dir, 'postgres'), '-D', settings.get('data_directory') or place.data_directory]
        if settings.get('config_file'):
            argv += ['-c', 'config_file=' + settings['config_file']]
        value = runner.run(argv + ['-C', name], accept=None, run_as=place.user).stdout.strip()
        if value.isdigit() and int(value) < int(settings[name]):
            lowered[name] = int(value)
    return lowered


def _replaced(pid, program, started):
    """Whether a server runs programs or libraries that are not on disk any more: a package was upgraded under it."""
    gone = ' (deleted)'
    try:
        found = [os.readlink('/proc/%d/exe' % pid)]
        with open('/proc/%d/maps' % pid) as handle:
            found += [line.rstrip('\n').split(None, 5)[-1] for line in handle if gone in line and '.so' in line]
    except (IOError, OSError, TypeError):
        # In a container root may be kept from looking into others' processes. A file that was put there after the start says the same.
        try:
            found = [program + gone] if started is not None and os.stat(program).st_ctime > started + 1 else []
        except OSError:
            return []
    names = sorted(set(os.path.basename(path[:-len(gone)]) for path in found if path.endswith(gone)))
    return ['%s was replaced by another version' % name for name in names]


def read_pause(user):
    """{by, reason} of whoever paused repmgrd by a playbook, or None."""
    try:
        with io.open(os.path.join(pwd.getpwnam(user).pw_dir, '.repmgr_pause.json'), encoding='utf-8') as handle:
            note = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return None
    return {'by': '%s' % note.get('by', ''), 'reason': '%s' % note.get('reason', '')} if isinstance(note, dict) else None


def read_restore(user):
    """{phase, target} of a restore of the cluster that has begun on this node and is not over, or None. The target is in words."""
    try:
        with io.open(os.path.join(pwd.getpwnam(user).pw_dir, RESTORE_FILE), encoding='utf-8') as handle:
            note = json.load(handle)
    except (IOError, OSError, KeyError, ValueError):
        return None
    return {'phase': '%s' % note.get('phase', ''), 'target': '%s' % note.get('words', '')} if isinstance(note, dict) else None


def daemons(data_directory, root='/'):
    """[{pid, unit}] of every repmgrd on this host that may watch the server of this directory. unit is that of systemd, None outside of any service.

    One whose configuration file names another data directory is another cluster's; one whose file cannot be told or read is not left out.
    """
    found = []
    for name in sorted(listdir(os.path.join(root, 'proc'))):
        if not name.isdigit():
            continue
        folder = os.path.join(root, 'proc', name)
        words = _words(os.path.join(folder, 'cmdline'))
        if not words or os.path.basename(words[0]) != 'repmgrd' or not _same_namespace(folder, root):
            continue
        if _of_another_node(words, data_directory):
            continue
        found.append({'pid': int(name), 'unit': _unit(os.path.join(folder, 'cgroup'))})
    return found


def config_of_daemon(folder, root='/'):
    """The configuration file that the command line of a repmgrd of this host names, by the process's folder in /proc; None for any other process."""
    words = _words(os.path.join(folder, 'cmdline'))
    if not words or os.path.basename(words[0]) != 'repmgrd' or not _same_namespace(folder, root):
        return None
    path = _option(words, '-f', '--config-file')
    if path and not path.startswith('/'):
        try:
            path = os.path.join(os.readlink(os.path.join(folder, 'cwd')), path)
        except OSError:
            return None
    return path


def _of_another_node(words, data_directory):
    """Whether a command line of repmgr or repmgrd names a configuration file with another data directory."""
    theirs = (read_config(_option(words, '-f', '--config-file')) or {}).get('data_directory')
    return bool(data_directory and theirs and os.path.realpath(theirs) != os.path.realpath(data_directory))


def _words(path):
    try:
        with open(path, 'rb') as handle:
            return [word.decode('utf-8', 'replace') for word in handle.read().split(b'\0') if word]
    except (IOError, OSError):
        return []


def _same_namespace(folder, root):
    """Whether the process is of this host, and not of a container on it."""
    try:
        return os.readlink(os.path.join(folder, 'ns/pid')) == os.readlink(os.path.join(root, 'proc/self/ns/pid'))
    except OSError:
        return True


def _option(words, short, long):
    """The value of an option in a command line, or None."""
    for word, value in zip(words, words[1:] + [None]):
        if word in (short, long):
            return value
        if word.startswith(long + '='):
            return word[len(long) + 1:]
        if word.startswith(short) and not word.startswith('--') and word != short:
            return word[len(short):]
    return None


def _unit(path):
    """The system service that a process is in, by its cgroups; None for one of a user's session."""
    try:
        with open(path) as handle:
            paths = [re.split('/+', line.rstrip('\n').split(':', 2)[-1]) for line in handle]
    except (IOError, OSError):
        return None
    for parts in paths:
        # In a container the path may begin with that of the container's own service.
        if 'system.slice' in parts:
            parts = parts[len(parts) - parts[::-1].index('system.slice'):]
        units = [part for part in parts if part.endswith('.service')]
        if units and not any(part.startswith('user@') for part in parts):
            return None if _STARTERS.match(units[-1]) else units[-1]
    return None


# They have started a repmgrd that stays in their service, and are not to be stopped with it.
_STARTERS = re.compile(r'(cron|crond|anacron|atd|ssh|sshd|ssh@.*|sshd@.*|postgresql.*|rc-local)\.service\Z')


def is_deployed(root='/'):
    """Whether role repmgrd has been here. It comes after the clone of a standby, while repmgr.conf is written before it."""
    return os.path.exists(os.path.join(root, 'etc/systemd/system/repmgrd.service'))


def read_guard(root='/'):
    """{running, enabled, stopped, peers, fuse} of repmgr-guard as role guard installs it, or None.

    stopped: {code, peers, since} as the guard wrote them down when it stopped the server, as much of it as it did; None where it has not.
    peers: [{node_id, conninfo}], whom it connects to and how. fuse: {running, enabled, limit, sight_age} of its fuse, or None where that is not installed; see
    _read_sight.
    """
    guard, fuse = _guard_unit(root, 'repmgr-guard'), _guard_unit(root, 'repmgr-guard-fuse')
    fuse = fuse and dict(fuse, **_read_sight(os.path.join(root, 'run/postgresql/repmgr-guard.sight'), _since_boot()))
    return guard and dict(guard, stopped=_read_stop(os.path.join(root, 'run/postgresql/repmgr-guard.stopped')), fuse=fuse,
                          peers=_guard_peers(os.path.join(root, 'etc/pgfleet/guard.json')))


def _guard_unit(root, name):
    """{running, enabled} of a unit that writes its process id where the guard does, or None where it is not installed."""
    if not os.path.exists(os.path.join(root, 'etc/systemd/system/%s.service' % name)):
        return None
    try:
        with open(os.path.join(root, 'run/postgresql/%s.pid' % name)) as handle:
            with open(os.path.join(root, 'proc/%d/cmdline' % int(handle.read())), 'rb') as command:
                # After the number was used again it may be the other's.
                running = name in [os.path.basename(word) for word in command.read().decode('utf-8', 'replace').split('\0')]
    except (IOError, OSError, ValueError):
        running = False
    return {'running': running, 'enabled': os.path.lexists(os.path.join(root, 'etc/systemd/system/multi-user.target.wants/%s.service' % name))}


def _read_sight(path, now):
    """{limit, sight_age}: how many seconds after its guard's last sight of enough votes the fuse ends a primary (None: it would not), and how long ago that
    was (None: nobody has told it)."""
    try:
        with io.open(path, encoding='utf-8') as handle:
            found = json.load(handle)
        return {'limit': found['limit'], 'sight_age': round(max(0, now - found['sight']), 1)}
    except (IOError, OSError, ValueError, KeyError, TypeError):
        return {'limit': None, 'sight_age': None}


def _since_boot():
    """Seconds, by the clock of the guard (clock in guard.py)."""
    if hasattr(time, 'clock_gettime'):
        return time.clock_gettime(7)  # CLOCK_BOOTTIME
    with open('/proc/uptime') as handle:
        return float(handle.read().split()[0])


def _guard_peers(path):
    try:
        with io.open(path, encoding='utf-8') as handle:
            return [{'node_id': peer['node_id'], 'conninfo': peer['conninfo']} for peer in json.load(handle)['peers']]
    except (IOError, OSError, ValueError, KeyError, TypeError):
        return []


def _read_stop(path):
    try:
        with io.open(path, encoding='utf-8') as handle:
            found = json.load(handle)
    except (IOError, OSError) as exc:
        # A mark that may not be read is a mark.
        return None if exc.errno == errno.ENOENT else {}
    except ValueError:
        # Empty, from an older guard or on a full disk.
        return {}
    if not isinstance(found, dict):
        return {}
    peers = found.get('peers')
    return {'code': found.get('code'), 'since': found.get('since'),
            'peers': ['%s' % peer for peer in peers] if isinstance(peers, list) else []}


def files(paths, blocks=None):
    """{path: "SHA-256 mode owner group"} of those that are there: enough to tell whether writing one again would change it. Of a folder, "folder"
    and the rest. blocks is {path: marker}: of such a file, only what stands between "# BEGIN marker" and "# END marker" counts."""
    found = {}
    blocks = blocks or {}
    for path in list(paths) + sorted(blocks):
        try:
            digest = 'folder'
            if not os.path.isdir(path):
                with open(path, 'rb') as handle:
                    content = handle.read()
                if path in blocks:
                    content = _between(content, blocks[path])
                digest = hashlib.sha256(content).hexdigest()
            stat = os.stat(path)
            found[path] = '%s %04o %s %s' % (digest, stat.st_mode & 0o7777, pwd.getpwuid(stat.st_uid).pw_name, grp.getgrgid(stat.st_gid).gr_name)
        except (IOError, OSError, KeyError):
            continue
    return found


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
        stat = os.stat(path)
        rights = '%04o %s %s' % (stat.st_mode & 0o7777, pwd.getpwuid(stat.st_uid).pw_name, grp.getgrgid(stat.st_gid).gr_name)
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
        os.path.join(folder, name) for folder, names in folders for name in sorted(listdir(folder)) if re.match(names, name)]
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


def _unread(settings, loaded_at):
    """What a run that was interrupted wrote, and the server has not been told to read."""
    folder = os.path.dirname(settings.get('config_file') or '')
    files = [os.path.join(folder, 'conf.d', 'repmgr.conf')] + [
        os.path.join(folder, settings[name]) for name in ('hba_file', 'ssl_cert_file', 'ssl_key_file') if settings.get(name)]
    found = []
    for path in files:
        try:
            # The second in which it read them counts as read.
            if loaded_at is not None and os.stat(path).st_mtime > loaded_at + 1:
                found.append(path)
        except OSError:
            continue
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


def no_repmgr():
    return {'database': None, 'extension': None, 'nodes': None, 'upstream_last_seen': None, 'upstream_node_id': None,
            'repmgrd': {'running': None, 'paused': None, 'pid': None}, 'role': None, 'missing_rights': None, 'superuser': None}


def observe_remote(psql, name, conninfo, events=0):
    """A node over its SQL connection alone. None and the reason where it does not answer."""
    try:
        tags = psql.observe(conninfo, events=events)
    except PsqlError as exc:
        return None, redacted('%s' % exc)
    observed = Observed(name=name, repmgr=no_repmgr())
    take_sql(observed, tags, _database(conninfo))
    if not observed.server.sql:
        return None, 'the server answered with nothing'
    observed.server.state = 'running'
    observed.data = Data(
        path=observed.server.settings.get('data_directory') or '', state='valid',
        system_identifier=observed.server.system_identifier, timeline=observed.server.checkpoint_timeline,
        cluster_state='in archive recovery' if observed.server.in_recovery else 'in production',
        standby_signal=bool(observed.server.in_recovery))
    return observed, ''


def observe_peers(psql, observed, place, peers, timeout):
    """{name: observation or None} of every registered node and every given peer, in parallel."""
    own = place.conninfo or (read_config(place.config_file) or {}).get('conninfo') or ''
    base = _conninfo.parse_or_empty(own)
    targets = {}
    own_id = (observed.config or {}).get('node_id')
    for peer in peers:
        if peer['name'] != place.name:
            targets[peer['name']] = dict(base, host=peer['address'], port=str(peer['port']))
    for node in observed.nodes or []:
        if node.node_id != own_id and node.node_name not in targets:
            targets[node.node_name] = _conninfo.parse_or_empty(usable(node.conninfo, own))
    endpoints = dict((name, {
        'name': name, 'address': _conninfo.address(values) or 'localhost',
        'port': int(values.get('port') or 5432), 'ssh_port': int(values.get('port') or 5432),
    }) for name, values in targets.items())
    reached = dict((entry['name'], entry) for entry in _reach.reach(list(endpoints.values()), timeout))
    found = {}

    def ask(name):
        values = dict(targets[name])
        values.setdefault('connect_timeout', str(timeout))
        found[name] = observe_remote(psql, name, _conninfo.build(values))

    threads = []
    for name in targets:
        if reached[name]['postgresql'] == 'open':
            threads.append(threading.Thread(target=ask, args=(name,)))
            threads[-1].start()
        else:
            found[name] = (None, reached[name]['error'] or reached[name]['postgresql'])
    for thread in threads:
        thread.join()
    return found


def usable(conninfo, own):
    """A recorded connection string; the password that is never recorded in an observation is this node's own."""
    values = _conninfo.parse_or_empty(conninfo)
    if values.get('password'):
        values['password'] = _conninfo.parse_or_empty(own).get('password')
    return _conninfo.build(values)


def _database(conninfo):
    values = _conninfo.parse_or_empty(conninfo)
    return values.get('dbname') or values.get('user')


def _exists(directory, name):
    return bool(directory) and os.path.exists(os.path.join(directory, name))


# -- who is whose upstream

def sender_node_id(observed, nodes, resolve_timeout=2):
    """The registered node that this standby streams from, or is configured to: (id or None, streaming).

    The address is compared as text first and by what it resolves to second: names and addresses are mixed freely.
    """
    receiver = observed.receiver or {}
    streaming = receiver.get('status') == 'streaming'
    values = _conninfo.parse_or_empty(receiver.get('conninfo') or observed.server.settings.get('primary_conninfo') or '')
    host = receiver.get('sender_host') or _conninfo.address(values)
    port = str(receiver.get('sender_port') or values.get('port') or '5432')
    if not host:
        return None, streaming
    candidates = []
    for node in nodes:
        target = _conninfo.parse_or_empty(node.conninfo)
        if str(target.get('port') or '5432') == port:
            candidates.append((node.node_id, _conninfo.address(target) or ''))
    for node_id, address in candidates:
        if address == host:
            return node_id, streaming
    resolved = _reach.resolve([host] + [address for dummy, address in candidates if address], resolve_timeout)
    wanted = set(resolved[host][0])
    for node_id, address in candidates:
        if address and wanted & set(resolved[address][0]):
            return node_id, streaming
    return None, streaming


class View:
    """All that a plan for one node is made from."""

    def __init__(self, observed, primary, primary_error, metadata, upstream_id, streaming, primary_conninfo, moved=False):
        self.observed = observed
        self.primary = primary
        self.primary_error = primary_error
        self.metadata = metadata
        self.upstream_id = upstream_id
        self.streaming = streaming
        self.primary_conninfo = primary_conninfo
        self.moved = moved          # whether it streams from the node that it should by an address that is not registered any more

    def summary(self, node_id):
        """What a person wants to see before and after."""
        server = self.observed.server
        own = [row for row in self.metadata or [] if row.node_id == node_id]
        return {
            'data': self.observed.data.state,
            'server': server.state,
            'in_recovery': server.in_recovery,
            'timeline': server.timeline,
            'system_identifier': self.observed.system_identifier,
            'streaming_from': self.upstream_id if self.streaming else None,
            'record': own[0].to_dict() if own else None,
        }


def view(runner, psql, place, role, node_id, primary_conninfo=None, upstream_conninfo=None):
    """Observe a node, the live primary and the metadata that count for it."""
    observed = observe_local(runner, psql, place)
    own = (read_config(place.config_file) or {}).get('conninfo') or ''
    rows = observed.nodes
    if not primary_conninfo:
        known = [row for row in rows or [] if row.type == 'primary' and row.active and row.node_id != node_id]
        if known:
            primary_conninfo = usable(known[0].conninfo, own)
    primary, error = None, ''
    if primary_conninfo:
        primary, error = observe_remote(psql, 'primary', primary_conninfo)
        if primary is None:
            primary = False
    metadata = rows
    if role != 'primary':
        metadata = primary.nodes if primary else rows
    upstream_id, streaming = None, False
    if observed.server.sql and observed.server.in_recovery:
        upstream_id, streaming = sender_node_id(observed, metadata or [])
    moved = streaming and upstream_id is None and _sends(psql, upstream_conninfo or primary_conninfo, place.name)
    return View(observed, primary, error, metadata, upstream_id, streaming, primary_conninfo, moved)


def _sends(psql, conninfo, node_name):
    """Whether a node that is to be followed says that it sends to this one."""
    try:
        return bool(conninfo) and psql.streams(conninfo, node_name)
    except PsqlError:
        return False
