# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard as hosts get it, one executable, run by each Python that these tests run on."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re
import subprocess
import sys

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _archive
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.guard_program import FOLDER, NAMES, guard

FILES = _archive.sources(FOLDER)


@pytest.fixture
def run(tmpdir):
    """Runs it with a configuration of the test's; (exit code, what it says)."""
    settings = FILES['pgfleet_guard/settings.py'].decode().replace("CONFIG = '/etc/pgfleet/", "CONFIG = '%s/" % tmpdir)
    path = tmpdir.join('repmgr-guard')
    path.write_binary(_archive.program(dict(FILES, **{'pgfleet_guard/settings.py': settings.encode()}), sys.executable))
    path.chmod(0o755)

    def runs(*words):
        process = subprocess.Popen([str(path)] + list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd='/')
        return process.communicate()[0].decode(), process.returncode

    return runs


def test_the_package_and_nothing_else_is_in_it():
    assert sorted(FILES) == sorted(['__main__.py', 'pgfleet_guard/__init__.py'] + ['pgfleet_guard/%s.py' % name for name in NAMES])
    # Small enough to be read.
    assert not [name for name, text in FILES.items() if text.count(b'\n') > 400]


def test_what_needs_no_configuration(run):
    usage = sys.modules[guard.main.__module__].__doc__ + '\n'
    assert run() == run('nothing') == run('promote-by-hand') == (usage, 2) and run('help') == run('--help') == (usage, 0)
    for verb, code in (('start', 0), ('status', 1), ('watch', 1), ('promote', 1)):
        said, found = run(verb)
        assert found == code and 'guard.json cannot be read: ' in said and said.count('\n') == 1


@pytest.mark.parametrize('words, name, function', [
    (['start'], 'start', 'start'), (['promote'], 'promote', 'promote'), (['promote-by-hand', '--', 'true'], 'promote', 'promote'),
    (['primary-is-dead', 'a'], 'memory', 'primary_is_dead'), (['status'], 'status', 'status'), (['watch'], 'watch', 'watch'),
])
def test_each_verb_and_where_it_fails(run, tmpdir, words, name, function):
    """A traceback in the journal names a file and a line of the source."""
    tmpdir.join('guard.json').write('{}')
    said, code = run(*words)
    found = re.search(r'File "%s/repmgr-guard/pgfleet_guard/%s.py", line ([0-9]+), in %s\n' % (re.escape(str(tmpdir)), name, function), said)
    assert code == 1 and found and 'KeyError: ' in said
    assert 'config' in FILES['pgfleet_guard/%s.py' % name].decode().splitlines()[int(found.group(1)) - 1]
    assert not tmpdir.join('__pycache__').check()
