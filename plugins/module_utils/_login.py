# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether this node can log in to its peers in the ways that repmgr uses: SSH, SQL and the replication protocol."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import threading

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo, _repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, redacted

# The port is known to be open, so a slow login means a busy host, which is no reason to fail.
_PATIENCE = 15

# All nodes log in at the same time, and sshd starts to drop connections at random when more than 10 are in the login phase (MaxStartups 10:30:100).
# A limit also keeps the cost per host independent of the size of the cluster.
_PEERS = 5


def whom(names, name):
    """The peers that a node logs in to: those after it in alphabetical order, wrapping around. So every node is also the target of as many logins."""
    others = sorted(set(names) - set([name]))
    after = [other for other in others if other > name]
    return (after + others[:len(others) - len(after)])[:_PEERS]


def log_in(runner, reach, name, config, passfile, bin_dir, user):
    """{peer: {way: '' or the error}} for the peers of whom(), with the real credentials, in parallel, and only if the port is open.

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
    """The command line of repmgr, without -q, so that errors are shown."""
    options = _repmgr.split_command(config.get('ssh_options') or '-q -o ConnectTimeout=10')
    # Without host key verification ssh would add unknown keys to known_hosts, and an observation must not change anything.
    unverified = any(word.replace('-o', '').lower() in ('stricthostkeychecking=no', 'stricthostkeychecking=off') for word in options)
    return (['ssh', '-o', 'Batchmode=yes'] + (['-o', 'UserKnownHostsFile=/dev/null'] if unverified else [])
            + [word for word in options if word != '-q'] + [address, 'true'])


def failures(observed, present):
    """['PEER, why']: the logins of a node that did not succeed, and the ports of its peers that are not open.

    observed: the node after it has tried to log in. present: the hosts that take part in this run; only their ports have to be open.
    """
    found = ['%s, its %s port: %s' % (peer['name'], way, peer[way])
             for peer in observed['reach'] if peer['name'] in present for way in ('ssh', 'postgresql') if peer[way] != 'open']
    return found + ['%s by %s (%s)' % (peer, way, why) for peer, ways in observed['logins'].items() for way, why in ways.items() if why]
