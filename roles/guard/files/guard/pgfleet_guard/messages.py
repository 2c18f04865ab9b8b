# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people read."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import sys
from collections import namedtuple

try:
    from shlex import quote
except ImportError:  # Python 2.7
    from pipes import quote


def say(text):
    print(text)
    sys.stdout.flush()


# Why an action is not done, or a server is stopped. Decisions use the code, messages the text; peers: names.
Problem = namedtuple('Problem', 'code text peers')


def next_command(playbook, target='', way='', dead=''):
    """The next command for the operator. The full name of the playbook works in a checkout, too."""
    options = (('repmgr_target', target), ('repmgr_rejoin', way), ('repmgr_primary_is_dead', dead))
    # ansible-playbook splits NAME=VALUE at blanks and quotes again, after the shell.
    return ' '.join(['ansible-playbook pgfleet.repmgr.%s' % playbook] + [
        '-e ' + ('%s=%s' % (name, value) if quote(value) == value else quote(json.dumps({name: value}))) for name, value in options if value])
