# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result
from ansible_collections.pgfleet.repmgr.plugins.module_utils._host_files import missing_packages

STATUS = u"""Package: sudo
Status: install ok installed
Maintainer: Jos\u00e9
Description: Status: none of ours

Package: logrotate
Status: deinstall ok config-files

Package: postgresql-15
Status: install ok half-configured
Depends: a,
 Package: folded
"""


def test_only_what_is_wholly_installed_counts(tmpdir):
    path = tmpdir.join('status')
    path.write_binary(STATUS.encode('utf-8'))
    wanted = ['sudo', 'logrotate', 'postgresql-15', 'absent']
    assert missing_packages(None, wanted, str(path)) == ['logrotate', 'postgresql-15', 'absent']


class Rpm:
    """Rocky 9: rpm -q --whatprovides."""

    def run(self, argv, accept=(0,)):
        assert argv[:3] == ['rpm', '-q', '--whatprovides'] and accept is None
        known = {'sudo': 'sudo-1.9.5p2-10.el9.x86_64', 'python3': 'python3-3.9.18-3.el9.x86_64'}
        lines = [known.get(name, 'no package provides %s' % name) for name in argv[3:]]
        return Result(argv, len([line for line in lines if line.startswith('no ')]), '\n'.join(lines) + '\n', '')


class Nothing:
    def run(self, argv, accept=(0,)):
        raise CommandError('rpm cannot be run', Result(argv, 127, '', ''))


def test_without_dpkg_rpm_is_asked(tmpdir):
    assert missing_packages(Rpm(), ['sudo', 'postgresql15-server', 'python3', 'repmgr_15'], str(tmpdir.join('nothing'))) == [
        'postgresql15-server', 'repmgr_15']
    assert missing_packages(Rpm(), [], str(tmpdir.join('nothing'))) == []


def test_without_dpkg_and_rpm_it_cannot_be_told(tmpdir):
    assert missing_packages(Nothing(), ['sudo'], str(tmpdir.join('nothing'))) is None
