# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether this node can do with each peer what repmgr will want: log in by SSH, by SQL, and by the replication protocol."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import threading

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted

# The port is known to be open: what takes long here is a busy host, and no reason to stop anybody.
_PATIENCE = 15

# All nodes log in at the same time, and from the eleventh login that is under way on, sshd refuses at random (MaxStartups 10:30:100). Nor
# should a host cost more the more there are of them.
_PEERS = 5


def whom(names, name):
    """The peers that a node tries: those that follow it by name, and after the last the first. So everybody is tried by as many as they try."""
    others = sorted(set(names) - set([name]))
    after = [other for other in others if other > name]
    return (after + others[:len(others) - len(after)])[:_PEERS]


def log_in(runner, reach, name, config, passfile, bin_dir, user):
    """{peer: {way: '' or why not}} of whom(), with the real credentials, everything at once; only where the port is open.

    reach: the entries of _reach.reach(). config: this node's repmgr.conf; without one there are no credentials to try.
    """
    try:
        base = _conninfo.parse((config or {}).get('conninfo'))
    except ValueError:
        return {}
    if not base:
        return {}
    found, jobs = {}, []
    tried = whom([entry['name'] for entry in reach], name)
    for entry in reach:
        if entry['name'] not in tried:
            continue
        found[entry['name']] = {}
        if entry['ssh'] == 'open':
            jobs.append((entry['name'], 'ssh', _ssh(config, entry['address']), {}))
        if entry['postgresql'] == 'open':
            target = dict(base, host=entry['address'], port=entry['port'], connect_timeout=_PATIENCE)
            target.pop('password', None)
            env = {'PGAPPNAME': 'repmgr_preflight'}
            if passfile:
                env['PGPASSFILE'] = passfile
            if base.get('password'):
                env['PGPASSWORD'] = base['password']
            for way, more, query in (('sql', {}, 'SELECT 1'), ('replication', {'replication': 'true'}, 'IDENTIFY_SYSTEM')):
                jobs.append((entry['name'], way, [
                    os.path.join(bin_dir, 'psql'), '-XAtqw', '-c', query, '-d', _conninfo.build(dict(target, **more))], env))

    def work(peer, way, argv, env):
        try:
            result = runner.run(argv, env=env, accept=None, timeout=2 * _PATIENCE, run_as=user)
        except CommandError as exc:
            found[peer][way] = exc.message
            return
        said = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        found[peer][way] = '' if result.rc == 0 else redacted(said[-1] if said else 'exit code %d' % result.rc)

    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _ssh(config, address):
    """As repmgr calls it, but not silent about what it does not like."""
    options = _repmgr.split_command(config.get('ssh_options') or '-q -o ConnectTimeout=10')
    # Where host keys are not verified, ssh would write down those that it sees; and this is only a look.
    unverified = any(word.replace('-o', '').lower() in ('stricthostkeychecking=no', 'stricthostkeychecking=off') for word in options)
    return (['ssh', '-o', 'Batchmode=yes'] + (['-o', 'UserKnownHostsFile=/dev/null'] if unverified else [])
            + [word for word in options if word != '-q'] + [address, 'true'])
