# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of a long action: a file on the host that is updated while the action runs, and is read by the playbook that waits for it."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import threading
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils._limits import span

# In the home directory of the postgres OS user.
PROGRESS_FILE = '.repmgr_node/progress.json'
_SECONDS = 3


class Progress:
    """Context manager that keeps the progress file up to date. `measure` returns (bytes done, bytes in total or None), or None."""

    def __init__(self, path, action, measure=None):
        self._path = path
        self._note = {'action': action, 'done': None, 'total': None, 'begun': time.time(), 'seen': time.time()}
        self._measure = measure
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.daemon = True

    def __enter__(self):
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *dummy):
        self._ended.set()
        self._thread.join(_SECONDS)
        try:
            os.unlink(self._path)
        except OSError:
            pass
        return False

    def _work(self):
        while not self._ended.wait(_SECONDS):
            found = self._measure() if self._measure else None
            if found is not None:
                self._note.update(done=found[0], total=found[1])
            self._note['seen'] = time.time()
            self._write()

    def _write(self):
        temporary = self._path + '.new'
        try:
            with open(temporary, 'w') as handle:
                json.dump(self._note, handle)
            os.rename(temporary, self._path)
        except (IOError, OSError):
            # The action must not fail because its progress cannot be written.
            pass


def line(note):
    """"clone: 3.1 GB of 12.4 GB, 118.3 MB/s, 1 min 20 s left", or as much of it as is known."""
    # Both times are from the clock of the host, which may differ from the controller's, so only compare them with each other.
    elapsed = max(note['seen'] - note['begun'], 0)
    done, total = note.get('done'), note.get('total')
    if done is None:
        return '%s: since %s' % (note['action'], span(elapsed))
    words = ['%s: %s' % (note['action'], human(done)) + (' of %s' % human(total) if total else '')]
    rate = done / elapsed if elapsed > 0 else 0
    if rate > 0:
        words.append('%s/s' % human(rate))
        if total and total > done:
            words.append('%s left' % span((total - done) / rate))
    return ', '.join(words)


def human(number):
    """A number of bytes in readable form, in powers of 1024."""
    for unit in ('bytes', 'kB', 'MB', 'GB'):
        if number < 1024 or unit == 'GB':
            return '%d %s' % (number, unit) if unit == 'bytes' else '%.1f %s' % (number, unit)
        number /= 1024.0
