# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: problems of repmgrd, the guard and the versions of repmgr."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _cluster, _repmgr, _steps


# The guard of a primary that is alone, started, stops it.
_ALONE = 'First bring back, or remove, the nodes that do not answer: without a majority of the votes it would stop this primary.'
_ANSWERS = 'a majority of the votes answers'


def check_repmgrd(cluster):
    """Daemons that do not run, repmgrd that is paused, and servers that need a restart."""
    for host in cluster.seen:
        if not (_cluster.running(host) and host.observed.server.sql) or host.node_id not in cluster.registry:
            continue
        repmgrd = (host.observed.repmgr or {}).get('repmgrd') or {}
        if _versions_differ(host):
            _check_versions(cluster, host, _upgrade_repmgr(host))
        elif repmgrd.get('running') is False:
            cluster.problem('repmgrd_down', host.name, 'repmgrd is not running', 'a running repmgrd',
                            _steps.shell('systemctl start repmgrd', host=host.name), stop=False)
        if repmgrd.get('running') is None:
            cluster.problem('repmgrd_unknown', host.name, 'the state of repmgrd is unknown', 'shared_preload_libraries with repmgr',
                            'Add repmgr to shared_preload_libraries and restart the server.', stop=False)
        if repmgrd.get('paused'):
            note = host.observed.pause
            why = ' (%s: %s)' % (note.get('by'), note.get('reason')) if note else ''
            cluster.problem('repmgrd_paused', host.name, 'repmgrd is paused: no automatic failover%s' % why, 'not paused',
                            _steps.unpause((note or {}).get('by')), stop=False)
        guard, alone = host.observed.guard, host is cluster.primary and _cluster.is_alone(cluster, host)
        if guard and not (guard.get('running') and guard.get('enabled')):
            cluster.problem('guard_down', host.name, 'repmgr-guard %s' % (
                'would not start at boot' if guard.get('running') else 'is not running: nothing stops this node when it is isolated'),
                'a running guard', [
                    _ALONE, _steps.shell('systemctl enable --now repmgr-guard', host=host.name, only_if=_ANSWERS)] if alone else _steps.shell(
                        'systemctl enable --now repmgr-guard', host=host.name), stop=False)
        fuse = (guard or {}).get('fuse')
        if fuse and not (fuse.get('running') and fuse.get('enabled')):
            cluster.problem('fuse_down', host.name, 'repmgr-guard-fuse %s' % (
                'would not start at boot' if fuse.get('running') else
                'is not running: nothing stops this node when it is isolated and its guard hangs or dies'),
                'a running fuse', [
                    _ALONE, _steps.shell('systemctl enable --now repmgr-guard-fuse', host=host.name, only_if=_ANSWERS)] if alone else _steps.shell(
                        'systemctl enable --now repmgr-guard-fuse', host=host.name), stop=False)
        if host.observed.server.restart_for:
            cluster.problem('restart_pending', host.name, 'its server waits for a restart: %s' % ', '.join(host.observed.server.restart_for),
                            'a server that runs the installed programs with the configured settings',
                            _steps.playbook('rolling_restart'), stop=False)


# The problems that the playbook minor_upgrade solves. repmgrd compares the two versions only when it starts.
OTHER_VERSIONS = ('old_extension', 'new_extension')
_SAME_VERSION = 'the same version of both, because repmgrd does not start with an extension of another version'
RESTART_BETWEEN = [
    'This upgrade needs a restart of every server, and no playbook does that: stop repmgrd on all nodes, upgrade repmgr there, restart the servers.',
    'Then type in the database of repmgr, on the primary and on the witness: ALTER EXTENSION repmgr UPDATE', 'Start repmgrd on all nodes.']


def _versions(host):
    """(version of the installed packages, version of the extension in the database), each as (major, minor), or () if unknown."""
    return (_repmgr.parse_version(host.observed.repmgr_version)[:2], _repmgr.parse_version((host.observed.repmgr or {}).get('extension'))[:2])


def _versions_differ(host):
    """Whether the packages of repmgr and its extension are known to be of different versions."""
    installed, extension = _versions(host)
    return bool(installed and extension and installed != extension)


def _upgrade_repmgr(host):
    """The steps that make both versions the same."""
    upgrade = RESTART_BETWEEN if _repmgr.needs_restart(*sorted(_versions(host))) else _steps.playbook('minor_upgrade')
    return upgrade


def start_repmgrd(host):
    """The steps that get repmgrd running on this host."""
    return _upgrade_repmgr(host) if _versions_differ(host) else _steps.shell('systemctl start repmgrd', host=host.name)


def _check_versions(cluster, host, upgrade):
    installed, extension = host.observed.repmgr_version, host.observed.repmgr.get('extension')
    daemon = 'does not run' if _cluster.repmgrd_state(host) == 'down' else 'would not start again'
    if _versions(host)[0] > _versions(host)[1]:
        cluster.problem('old_extension', host.name, 'its repmgrd %s: repmgr %s is installed, and the extension in its database is %s' % (
            daemon, installed, extension), _SAME_VERSION, upgrade, stop=False)
    else:
        cluster.problem('new_extension', host.name, 'its repmgrd %s: the extension in its database is %s, and repmgr %s is installed' % (
            daemon, extension, installed), _SAME_VERSION, upgrade, stop=False)
