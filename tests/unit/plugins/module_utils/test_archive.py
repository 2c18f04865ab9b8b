# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of several files. These tests run on Python 2.7 and 3.6, too: the bytes, and what runs, are the same on all."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib
import io
import os
import subprocess
import sys
import zipfile

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _archive

FILES = {
    '__main__.py': b'import sys\nfrom thing import b\nsys.exit(b.run(sys.argv))\n',
    'thing/__init__.py': b'',
    'thing/b.py': b'from thing.a import text\n\n\ndef run(words):\n    print("%s %s" % (text(), words))\n    return 7\n',
    'thing/a.py': u'# \xe9\ndef text():\n    return __file__\n'.encode('utf-8').replace(b'# \xc3\xa9', b'# -*- coding: utf-8 -*-\n# \xc3\xa9'),
}


def names(content):
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_the_same_bytes_with_every_python():
    """A number: what one Python makes, the others have to make as well."""
    found = _archive.program(FILES, '/usr/bin/python3')
    assert hashlib.sha256(found).hexdigest() == 'ae741bfcd8ea8285c090391f091f72bf3269133d8a346f1f5b51a1fa7d9c57de'


def test_the_same_bytes_whatever_the_order_and_the_dates(tmpdir):
    content = _archive.program(FILES, '/usr/bin/python3')
    for order in (sorted(FILES), sorted(FILES, reverse=True)):
        folder = tmpdir.join(order[0].replace('/', '-'))
        for number, name in enumerate(order):
            folder.join(*name.split('/')).write_binary(FILES[name], ensure=True)
            os.utime(str(folder.join(*name.split('/'))), (number, number))
            os.chmod(str(folder.join(*name.split('/'))), 0o600 + number)
        assert _archive.program(_archive.sources(str(folder)), '/usr/bin/python3') == content
    assert names(content) == ['__main__.py', 'thing/__init__.py', 'thing/a.py', 'thing/b.py']


@pytest.mark.parametrize('change', [{'thing/a.py': b'def text():\n    return ""\n'}, {'thing/c.py': b''}])
def test_other_bytes_where_a_source_is_another_one(change):
    content = _archive.program(FILES, '/usr/bin/python3')
    assert _archive.program(dict(FILES, **change), '/usr/bin/python3') != content
    assert _archive.program(FILES, '/usr/bin/python2') == content.replace(b'python3', b'python2', 1) != content


def test_nothing_else_is_packed(tmpdir):
    for name in FILES:
        tmpdir.join(*name.split('/')).write_binary(FILES[name], ensure=True)
    content = _archive.program(_archive.sources(str(tmpdir)), '/usr/bin/python3')
    for name in ('thing/a.pyc', 'thing/__pycache__/a.cpython-36.pyc', 'thing/.a.py.swp', 'thing/a.py~', 'README.md', 'thing/a.py.orig'):
        tmpdir.join(*name.split('/')).write_binary(b'x', ensure=True)
    assert _archive.program(_archive.sources(str(tmpdir)), '/usr/bin/python3') == content


def test_it_runs(tmpdir):
    """By its first line, as systemd and repmgr start it. Its name is what it was called by: the guard starts itself again by that."""
    path = tmpdir.join('program')
    path.write_binary(_archive.program(FILES, sys.executable))
    path.chmod(0o755)
    for argv in ([str(path), 'a', 'b'], [sys.executable, str(path), 'a', 'b']):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd='/')
        output = process.communicate()[0].decode()
        assert process.returncode == 7, output
        assert output == '%s %s\n' % (os.path.join(str(path), 'thing', 'a.py'), [str(path), 'a', 'b'])
    assert tmpdir.listdir() == [path]


def test_where_a_program_fails(tmpdir):
    path = tmpdir.join('program')
    path.write_binary(_archive.program(dict(FILES, **{'thing/a.py': b'def text():\n    return 1 / 0\n'}), sys.executable))
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd='/')
    output = process.communicate()[0].decode()
    assert 'File "%s", line 2, in text' % os.path.join(str(path), 'thing', 'a.py') in output and 'ZeroDivisionError' in output
