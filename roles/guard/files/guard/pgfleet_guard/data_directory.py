# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a data directory is, and which timeline it is on."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re
import subprocess
import time

from pgfleet_guard.processes import let_go, outcome

# What makes a server recover before it takes writes: as a standby, or from an archive until it promotes itself (is_standby).
SIGNALS = ('standby.signal', 'recovery.signal', 'recovery.conf')


def data_is(directory):
    """The role in which the server would start: 'nothing', 'standby' or 'primary' (also if it recovers from an archive first)."""
    if not os.path.exists(os.path.join(directory, 'PG_VERSION')):
        return 'nothing'
    return 'standby' if is_standby(directory) else 'primary'


def is_standby(directory, aside=''):
    """Whether a server on this directory recovers until somebody promotes it. With recovery.signal alone, or a recovery.conf without standby_mode (before
    PostgreSQL 12), it recovers from an archive, and promotes itself when that is done. The same as in plugins/module_utils/_data_directory.py.
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
    # Like PostgreSQL: the last value counts, and a word may be abbreviated.
    word = found[-1].lower() if found else b''
    return word in (b'1', b'on') or word != b'' and (b'true'.startswith(word) or b'yes'.startswith(word))


def left_over(directory, pid, uptime):
    """The path of a recovery.signal that already existed when the server on this directory started and that its promotion has not removed, or None.

    If both files exist, PostgreSQL uses standby.signal, and a promotion removes only that one (12 to 17). The next start, for example after a crash, would
    recover from an archive, or fail immediately without one. A file that was created since then was put there on purpose and is left alone.

    pid, uptime: those of the server that reported that it accepts writes. A server that was started since then, for example for a restore, may have its
    own file there.
    """
    path = os.path.join(directory, 'recovery.signal')
    try:
        with open(os.path.join(directory, 'postmaster.pid')) as handle:
            words = handle.read().split('\n')
        begun, now = int(words[2]), time.time()
        # In whole seconds. If the wall clock was set back since the start, the date of the file cannot be compared.
        same = int(words[0]) == pid and begun <= now and uptime is not None and now - uptime >= begun - 1
        # Use ctime: a restored file may have any mtime.
        return path if same and not is_standby(directory) and os.stat(path).st_ctime < begun + 1 else None
    except (IOError, OSError, ValueError, IndexError):
        return None


def promotes_itself(directory):
    """Whether a server on this directory recovers and then promotes itself, as with restored data."""
    return not is_standby(directory) and any(os.path.exists(os.path.join(directory, name)) for name in SIGNALS)


def claim(directory, control, state):
    """The timeline with which a server that would start as primary is compared with its peers.

    This is its own one; history files that an interrupted rewind has copied do not count. Restored data begin on an older timeline than they will reach, so
    for them the timeline on which this node was last primary counts as well (from the state file).
    """
    timeline = own_timeline(control)
    return max(timeline, (state['reign'] or {}).get('timeline') or 0) if promotes_itself(directory) else timeline


def starts_as(directory):
    """The result of data_is as text."""
    return data_is(directory) + (', which recovers from an archive first and then promotes itself' if promotes_itself(directory) else '')


_reading = []


def control_data(config, seconds=None):
    """{label: value} as pg_controldata prints it; empty if it fails or takes longer than this. While an earlier pg_controldata still hangs on its disk, no
    other one is started.
    """
    if seconds is not None:
        _reading[:] = [process for process in _reading if process.poll() is None]
        if _reading:
            return {}
    process = subprocess.Popen([os.path.join(config['bin_dir'], 'pg_controldata'), '-D', config['data_directory']],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL='C'))
    # What it prints has room in the pipe.
    if seconds is not None and outcome(process, seconds) is None:
        process.stdout.close()
        let_go(process)
        _reading.append(process)
        return {}
    lines = process.communicate()[0].decode('utf-8', 'replace').splitlines()
    return dict((label.strip(), value.strip()) for label, dummy, value in (line.partition(':') for line in lines)) if process.returncode == 0 else {}


def own_timeline(control, directory=''):
    """The newest timeline in the data directory. The control data have it only after the next checkpoint, a history file is written first."""
    numbers = [control.get(label, '0') for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    return max([int(number) for number in numbers if number.isdigit()] + [newest_history(directory)])


def newest_history(directory):
    try:
        names = os.listdir(os.path.join(directory, 'pg_wal'))
    except (IOError, OSError):
        return 0
    return max([0] + [int(name[:8], 16) for name in names if re.match('[0-9A-F]{8}[.]history$', name)])


def wrote_nothing(control):
    """Whether the last server here was a standby, or a candidate that never wrote: it has only WAL that it received."""
    return control.get('Database cluster state') in ('shut down in recovery', 'in archive recovery')


def major_version(directory):
    """The major version, or 0 if it cannot be read."""
    try:
        with open(os.path.join(directory, 'PG_VERSION')) as handle:
            return int(handle.read().split('.')[0])
    except (IOError, OSError, ValueError):
        return 0
