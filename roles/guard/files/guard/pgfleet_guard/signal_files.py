# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signal files that a rejoin or a promotion has left behind when it was killed."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

from pgfleet_guard.data_directory import SIGNALS, data_is, is_standby, major_version, newest_history, own_timeline, promotes_itself, starts_as
from pgfleet_guard.messages import say


def put_signals_back(directory):
    """To recover a standby in single-user mode, a run of the collection moves its signal file aside, and may end before it has moved it back. The same as
    in plugins/module_utils/_service.py.
    """
    left = [path for path in (os.path.join(directory, name) for name in SIGNALS) if os.path.exists(path + '.aside')]
    stays_one = is_standby(directory)
    for path in left:
        if stays_one:
            # Left by an earlier rejoin, which has made it a standby since then.
            os.unlink(path + '.aside')
        else:
            os.rename(path + '.aside', path)
            say('%s had been moved aside by an interrupted rejoin: restored it; the server starts as %s' % (path, starts_as(directory)))


def lost_its_signal(control, directory, restores=False):
    """Whether a server on this directory was a candidate that was killed during its promotion: after its signal file was removed, and before it was on a
    timeline of its own. PostgreSQL first removes the file, and then writes the history and the first record of the new timeline (12 to 17; before 12 it
    renames recovery.conf).

    Started as it is, it would continue as a primary on the timeline on which it was a standby. If the old primary has written more on that timeline, neither
    a comparison of timelines nor pg_rewind can distinguish that from what is written here. It cannot be recovered before a rewind either: the checkpoint of
    the recovery would be beyond what it has received, and pg_rewind would not look for it if the new primary has received more. So it is made the standby
    again that it was: as a primary it has not answered any client.

    restores: whether the last server here ran on data that are being restored (is_restoring). Those end their recovery with a full checkpoint on their new
    timeline; during that they look the same, and would continue as a standby beyond their recovery target. After it their recovery has no minimum timeline,
    which a standby always has.
    """
    if restores or control.get('Database cluster state') != 'in archive recovery' or data_is(directory) != 'primary' or promotes_itself(directory):
        return False
    checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    if reached == '0':
        return False
    # The control data have the new timeline as soon as its first record is written. A timeline that was followed before the last restartpoint looks the same,
    # unless the directory has the history of a newer one.
    same = not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    # With a backup_label, a rewind or a base backup is unfinished, which is left to the program that began it.
    begun = any(os.path.exists(os.path.join(directory, name + '.new')) for name in ('standby.signal', 'recovery.conf'))
    return (same or begun or newest_history(directory) > own_timeline(control)) and not os.path.exists(os.path.join(directory, 'backup_label'))


def make_standby(directory, control):
    """Restore its signal file, and remove what the promotion has begun, which PostgreSQL never finds on a standby.

    The order makes an interruption harmless: if the new file exists, lost_its_signal recognizes the rest.
    """
    if 0 < major_version(directory) < 12:
        done, signal_file = [os.path.join(directory, name) for name in ('recovery.done', 'recovery.conf')]
        if not os.path.exists(signal_file + '.new'):
            os.rename(done, signal_file + '.new')
    else:
        signal_file = os.path.join(directory, 'standby.signal')
        with open(signal_file + '.new', 'w') as handle:
            os.fsync(handle.fileno())
    keep_names(directory)
    forget_promotion(directory, own_timeline(control))
    os.rename(signal_file + '.new', signal_file)
    keep_names(directory)
    say('was killed during its promotion, before it had a timeline of its own: is a standby again (%s)' % directory)


def keep_names(directory):
    """Make created, renamed and removed files of the directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def forget_promotion(directory, timeline):
    """Remove the timeline that a killed promotion has begun and no server is on: its history, its segment and their archive status files.

    A standby would take it for the newest one and wait forever, or diverge, because an existing history is not fetched; and peers that learn of it would not
    start. timeline: the newest one in the control data. Before a promotion removes the signal file, it creates the first segment of its timeline, whose
    number follows the newest history, and no other is created before the server accepts writes. So it is the newest timeline with a segment. A timeline with
    more segments is not from this promotion, and what was received of it may exist nowhere else.
    """
    folder = os.path.join(directory, 'pg_wal')
    status = os.path.join(folder, 'archive_status')
    names = os.listdir(folder)
    numbers = [int(name[:8], 16) for name in names if re.match('[0-9A-F]{24}$', name)]
    newest_one = max(numbers or [0])
    if newest_one <= timeline or numbers.count(newest_one) != 1 or newest_history(directory) > newest_one:
        return
    found = re.compile('%08X([0-9A-F]{16}([.]partial)?|[.]history)([.]ready|[.]done)?$' % newest_one)
    # The segment comes last, because after an interruption it identifies the rest.
    for path in [os.path.join(place, name) for place in (status, folder) if os.path.isdir(place)
                 for name in sorted(os.listdir(place)) if found.match(name)]:
        os.unlink(path)
        keep_names(os.path.dirname(path))
        say('removes %s, left by an unfinished promotion' % path)
