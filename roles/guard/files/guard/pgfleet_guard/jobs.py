# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that are watched and not waited for."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import signal
import subprocess
import tempfile

from pgfleet_guard.clock import clock
from pgfleet_guard.messages import say
from pgfleet_guard.processes import let_go, outcome
from pgfleet_guard.settings import PATIENCE, PID_FILE, SOON


class Job:
    """A command that is watched and not waited for. Its output goes to a file without a name: it is finished also where this program ends."""

    def __init__(self, config, what, argv, then, seconds=None, more=None):
        self.what, self.then, self.seconds = what, then, seconds
        self.begun = self.said = clock()
        self.output = tempfile.TemporaryFile(dir=os.path.dirname(PID_FILE))
        with open(os.devnull) as nothing:
            self.process = subprocess.Popen(argv, stdin=nothing, stdout=self.output, stderr=subprocess.STDOUT, cwd='/',
                                            env=dict(os.environ, LC_ALL='C', PGPASSFILE=config['passfile'], **more or {}))

    def result(self):
        """(exit code, output); None while it is at work."""
        if self.process.poll() is None:
            if self.seconds is None or clock() - self.begun < self.seconds:
                if clock() - self.said >= PATIENCE:
                    self.said = clock()
                    say('%s: at work for %d s (process %d)' % (self.what, clock() - self.begun, self.process.pid))
                return None
            say('%s: ended after %d s' % (self.what, self.seconds))
            let_go(self.process)
            outcome(self.process, SOON)
        self.output.seek(0)
        output = self.output.read().decode('utf-8', 'replace').strip()
        self.output.close()
        return -signal.SIGKILL if self.process.returncode is None else self.process.returncode, output

    def close(self):
        """What has a limit ends with this program: who stops a guard works on the node itself. A rejoin or a recovery goes on."""
        if self.seconds is not None and self.process.poll() is None:
            let_go(self.process)


def why_not(output):
    """The reason in what `repmgr node rejoin` printed: pg_rewind's own where it is that which failed, for repmgr has none then."""
    lines = output.splitlines()
    rewind = [line for line in lines if line.startswith(('pg_rewind: error', 'pg_rewind: fatal'))]
    said = [line for line in lines if line.startswith(('ERROR', 'DETAIL', 'HINT')) and 'pg_rewind command is' not in line]
    return '; '.join(rewind[:2] or said[:3]) or output[-300:]
