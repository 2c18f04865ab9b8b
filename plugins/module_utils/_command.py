# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The only caller of run_command: argument lists instead of shell commands, a fixed locale, exceptions with the output of the program."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import os
import re

# The timeout in seconds of a program whose caller sets none.
LIMIT = 600
# The exit codes of timeout(1) if it ended the program by SIGTERM or by SIGKILL.
_ENDED = (124, 137)

# What stands in the place of a password.
HIDDEN = '********'
_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s']+)", re.IGNORECASE)
_URI_PASSWORD = re.compile(r"(postgres(?:ql)?://[^:/@\s]*):([^@\s]*)@", re.IGNORECASE)


def redacted(text):
    """The text without the passwords of any connection string in it."""
    if not text:
        return text
    return _URI_PASSWORD.sub(r'\1:%s@' % HIDDEN, _PASSWORD.sub(r'\1%s' % HIDDEN, text))


class Result:
    def __init__(self, cmd, rc, stdout, stderr):
        self.cmd = cmd
        self.rc = rc
        self.stdout = stdout
        self.stderr = stderr

    def to_dict(self):
        return {
            'cmd': [redacted(word) for word in self.cmd],
            'rc': self.rc,
            'stdout': redacted(self.stdout),
            'stderr': redacted(self.stderr),
        }


class CommandError(Exception):
    """A program could not be started, or ended with an unexpected exit code."""

    def __init__(self, message, result):
        super(CommandError, self).__init__(message)
        self.message = message
        self.result = result

    def to_dict(self):
        return self.result.to_dict()


class BrokenInput(Exception):
    """The program ended before it had read its input. Its output is lost."""


class Runner:
    """Runs programs through an AnsibleModule."""

    def __init__(self, module, run_as=None):
        self._module = module
        self._run_as = run_as

    def run(self, argv, stdin=None, env=None, accept=(0,), timeout=LIMIT, run_as=None, cwd=None):
        """accept: the exit codes that are not an error, or None for all. timeout: seconds after which the program is terminated."""
        cmd = list(argv)
        user = run_as or self._run_as
        if user and os.geteuid() == 0:
            cmd = ['runuser', '-u', user, '--'] + cmd
        # -k: a program that ignores SIGTERM would block the task for ever.
        cmd = ['timeout', '-k', '10', str(timeout)] + cmd
        variables = {'LC_ALL': 'C', 'LANG': 'C', 'LC_MESSAGES': 'C', 'PGCLIENTENCODING': 'UTF8'}
        variables.update(env or {})
        try:
            rc, stdout, stderr = self._module.run_command(
                # Exceptions are handled here: run_command would end the module, even from a thread, with an unreadable error.
                cmd, data=stdin, binary_data=True, environ_update=variables, handle_exceptions=False, encoding=None,
                # psql warns if its user may not enter the current directory.
                cwd=cwd or '/')
        except (IOError, OSError) as exc:
            if exc.errno == errno.EPIPE:
                raise BrokenInput('%s ended before it had read its input' % os.path.basename(argv[0]))
            raise CommandError('%s cannot be run: %s' % (argv[0], exc.strerror or exc), Result(cmd, 127, '', '%s' % exc))
        result = Result(cmd, rc, _text(stdout), _text(stderr))
        if accept is not None and rc not in accept and ended_late(result):
            raise CommandError('%s did not end within %s s' % (redacted(' '.join(argv))[:200], timeout), result)
        if accept is not None and rc not in accept:
            last = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
            raise CommandError('%s ended with exit code %s: %s' % (
                os.path.basename(argv[0]), rc, redacted(last[-1].strip()) if last else 'no output'), result)
        return result


def ended_late(result):
    """Whether the program was terminated because it exceeded its timeout."""
    return result.rc in _ENDED and 'timeout' in result.cmd


def _text(value):
    # Server output may contain bytes in any encoding; a replacement character is better than a traceback.
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else (value or '')
