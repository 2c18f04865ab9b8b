# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._observe import missing_packages

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
    assert missing_packages(wanted, str(path)) == ['logrotate', 'postgresql-15', 'absent']


def test_without_dpkg_it_cannot_be_told(tmpdir):
    assert missing_packages(['sudo'], str(tmpdir.join('nothing'))) is None
