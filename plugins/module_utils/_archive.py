# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program of several source files as the one file that a host gets: a zip archive that Python runs, behind a line that names the interpreter.

The same sources give the same bytes with every Python and on every controller: a host compares the file's SHA-256 with the one that is wanted, and what differs
restarts the program.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import io
import os
import zipfile

# The first one that a zip archive can have.
_DATE = (1980, 1, 1, 0, 0, 0)
# A regular file that everybody may read, of Unix.
_RIGHTS, _UNIX = 0o100644 << 16, 3


def sources(folder):
    """{name in the archive: content} of the Python files below that folder, as bytes. Nothing else is taken: no compiled files, none of an editor."""
    found = {}
    for place, dummy, names in os.walk(folder):
        for name in names:
            if name.endswith('.py'):
                path = os.path.join(place, name)
                with open(path, 'rb') as handle:
                    found[os.path.relpath(path, folder).replace(os.sep, '/')] = handle.read()
    return found


def program(files, interpreter):
    """The bytes of the executable. files: as from sources, with a __main__.py."""
    buffer = io.BytesIO()
    # Positions count from the start of the file, as everything that reads archives expects.
    buffer.write(('#!%s\n# Ansible managed\n' % interpreter).encode('ascii'))
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            # What deflate makes of it depends on the version of zlib.
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_STORED, _UNIX, _RIGHTS
            archive.writestr(entry, files[name])
    return buffer.getvalue()
