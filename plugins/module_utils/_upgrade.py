# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the order in which the nodes of a cluster are upgraded to a newer repmgr. repmgrd starts only if the extension has the same version."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _problems_repmgrd, _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

# apt-get --simulate: "Inst NAME [INSTALLED] (NEWER FROM ...)". yum check-update: "NAME.ARCHITECTURE NEWER FROM", a long name on a line of its own.
_APT = re.compile(r'^Inst (\S+) (?:\[\S*\] )?\((?:\d+:)?(\S+)', re.MULTILINE)
_YUM = re.compile(r'^(\S+)\.(?:noarch|x86_64|aarch64|ppc64le|s390x)\s+(?:\d+:)?(\S+)\s+\S+', re.MULTILINE)


def newer_repmgr(text):
    """The version of repmgr that a package manager would upgrade to according to its output, or () if it has none that is newer."""
    found = [_repmgr.parse_version(version) for name, version in _APT.findall(text or '') + _YUM.findall(text or '') if 'repmgr' in name]
    return max(found) if found else ()


def upgrade_plan(hosts, answer, newer):
    """Return {refuse, order, mended}.

    hosts: [Host] of one cluster. answer: their verdict. newer: {host: output of its package manager that lists the upgrades}. refuse: why not, or ''.
    order: the hosts whose packages and extension of repmgr are upgraded and whose repmgrd is restarted, one by one; empty if there is nothing to upgrade.
    mended: the messages of the problems that this solves.

    The primary comes first, because the standbys replicate its extension: a newer repmgrd would not start beside the older extension, while a running
    older repmgrd keeps working with the newer one. A witness has its own extension.
    """
    mended = [problem for problem in answer['problems'] if problem['code'] in _problems_repmgrd.OTHER_VERSIONS]
    versions = dict((name, newer_repmgr(text)) for name, text in newer.items())
    order = []
    if answer['primary'] and (mended or any(versions.values())):
        # A server that does not answer has no extension to compare, and repmgrd would not run there.
        order = [answer['primary']] + sorted(
            [host.name for host in hosts if host.name in newer and host.name != answer['primary'] and _answers(host)],
            key=lambda name: (answer['roles'].get(name) != 'witness', name))
    return {'refuse': _refusal(hosts, order, versions), 'order': order, 'mended': [problem['message'] for problem in mended]}


def _answers(host):
    return host.observed is not None and not host.unreachable and bool(host.observed.server.sql)


def _refusal(hosts, order, versions):
    for host in hosts:
        extension = _repmgr.parse_version(((host.observed.repmgr if host.observed is not None else None) or {}).get('extension'))[:2]
        wanted = max(versions.get(host.name) or (), _repmgr.parse_version(host.observed.repmgr_version if host.observed is not None else ''))[:2]
        if host.name in order and extension and wanted and _repmgr.needs_restart(*sorted([extension, wanted])):
            return message(host.name, 'would be upgraded to repmgr %d.%d, and the extension in its database is %d.%d' % (wanted + extension),
                           'versions without a change of repmgr.so between them', _problems_repmgrd.RESTART_BETWEEN)
    return ''
