# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import sys

import pytest

# ansible-test has its own way to import collections; plain pytest takes the link in this repository.
_COLLECTIONS = os.path.join(os.path.dirname(__file__), '..', '..', '.ansible', 'collections')
if os.path.isdir(_COLLECTIONS):
    sys.path.insert(0, os.path.abspath(_COLLECTIONS))
    try:
        import ansible_collections
        if not hasattr(ansible_collections, '__path__') or os.path.abspath(_COLLECTIONS) not in str(ansible_collections.__path__):
            # The ansible package brings a package of that name, which would hide ours.
            ansible_collections.__path__ = [os.path.join(os.path.abspath(_COLLECTIONS), 'ansible_collections')] + list(
                ansible_collections.__path__)
    except ImportError:
        pass


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Suggested commands have the form for an installed collection, also if the tests run in a checkout."""
    try:
        from ansible_collections.pgfleet.repmgr.plugins.module_utils import _steps
    except ImportError:
        return
    monkeypatch.setattr(_steps, 'INSTALLED', True)
