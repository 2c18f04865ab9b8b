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
    """A run of the collection that recovers a standby as a single user has moved its signal file aside, and may have been ended before it put it back. The
    same as in plugins/module_utils/_service.py.
    """
    left = [path for path in (os.path.join(directory, name) for name in SIGNALS) if os.path.exists(path + '.aside')]
    stays_one = is_standby(directory)
    for path in left:
        if stays_one:
            # Of an earlier rejoin, which has made it a standby since.
            os.unlink(path + '.aside')
        else:
            os.rename(path + '.aside', path)
            say('%s was moved aside by a rejoin that did not come to its end: is there again, and what starts is %s' % (path, starts_as(directory)))


def lost_its_signal(control, directory, restores=False):
    """Whether a server on this directory was a candidate that was killed while it was promoted: after its signal file was removed, and before it came on a
    timeline of its own. PostgreSQL removes the file first, and writes the history of the new timeline and its first record after that (12 to 17; before 12
    it renames recovery.conf).

    Started as it is it would go on as primary on the timeline on which it was a standby. What the old primary has written there beyond that no comparison
    of timelines tells from what is written here now, nor does pg_rewind. Nor may it be recovered before it is rewound: the checkpoint of that is beyond what
    it has received, and pg_rewind does not look for it where the new primary had received more. It is the standby again that it was: nobody has had an
    answer from it as primary.

    restores: whether what ran here last was data that somebody restores (is_restoring). Those end their recovery by a whole checkpoint on their new timeline;
    during that they look the same, and would go on as a standby beyond their recovery target. After it no timeline is left to come to, which a standby has
    always.
    """
    if restores or control.get('Database cluster state') != 'in archive recovery' or data_is(directory) != 'primary' or promotes_itself(directory):
        return False
    checkpoint, reached = [control.get(label) or '' for label in ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")]
    if reached == '0':
        return False
    # A new timeline is in its control data as soon as its first record is. One that it had followed before its last restartpoint looks the same, unless it has
    # the history of a newer one.
    same = not checkpoint.isdigit() or not reached.isdigit() or int(reached) <= int(checkpoint)
    # Of what pg_rewind has written, or a copy, the rest is up to whoever has begun that.
    begun = any(os.path.exists(os.path.join(directory, name + '.new')) for name in ('standby.signal', 'recovery.conf'))
    return (same or begun or newest_history(directory) > own_timeline(control)) and not os.path.exists(os.path.join(directory, 'backup_label'))


def make_standby(directory, control):
    """Give the signal file back to it, and take away what the promotion has begun, which PostgreSQL never finds on a standby.

    In the order that a kill in the middle does no harm: with the new file there lost_its_signal knows the rest of it.
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
    say('was killed while it was promoted, before it had a timeline of its own: is the standby again that it was (%s)' % directory)


def keep_names(directory):
    """What was made, renamed or removed there is so after a power failure, too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def forget_promotion(directory, timeline):
    """Remove the timeline that a promotion has begun, and that nobody is on: its history, its segment, and that those are to be archived.

    A standby would take it for the newest one and wait for ever, or diverge, because a history that is there is not fetched; and others that are told of it
    would not start. timeline: the newest in the control data. Before it removes the signal file a promotion makes the first segment of its timeline, the
    one after the newest history, and nothing makes another before the server takes writes. So it is the newest of which there is a segment; one with
    more segments is another's, and what was received of that may be nowhere else.
    """
    folder = os.path.join(directory, 'pg_wal')
    status = os.path.join(folder, 'archive_status')
    names = os.listdir(folder)
    numbers = [int(name[:8], 16) for name in names if re.match('[0-9A-F]{24}$', name)]
    newest_one = max(numbers or [0])
    if newest_one <= timeline or numbers.count(newest_one) != 1 or newest_history(directory) > newest_one:
        return
    found = re.compile('%08X([0-9A-F]{16}([.]partial)?|[.]history)([.]ready|[.]done)?$' % newest_one)
    # The segment last: by it the rest is found once more.
    for path in [os.path.join(place, name) for place in (status, folder) if os.path.isdir(place)
                 for name in sorted(os.listdir(place)) if found.match(name)]:
        os.unlink(path)
        keep_names(os.path.dirname(path))
        say('removes %s, which a promotion has left that did not come to its end' % path)
