# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for the roles alone: each collects what hosts have recorded, mostly from hostvars, and calls the function that decides."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64

from ansible.errors import AnsibleFilterError

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _adopt, _archive, _backup_hosts, _files, _login, _own_settings, _restore, _rolling
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _routing, _run, _ssh, _verdict, _votes


def _dictionary(value, name):
    if not hasattr(value, 'keys'):
        raise AnsibleFilterError('%s needs a dictionary' % name)
    return value


def _list(value, name):
    if isinstance(value, (str, bytes)) or hasattr(value, 'keys') or not hasattr(value, '__iter__'):
        raise AnsibleFilterError('%s needs a list' % name)
    return list(value)


def _records(names, hostvars):
    return [hostvars[name]['__repmgr_record'] for name in names]


def run_clusters(hostvars, hosts, expected, others):
    """Hosts of `hosts` without a record have failed or left the run before, and so have those of `expected`, which counts for left_out."""
    hostvars = _dictionary(hostvars, 'run_clusters')
    others = list(others) + [name for name in expected if '__repmgr_record' not in hostvars[name]]
    return {'clusters': _run.clusters([hostvars[name]['__repmgr_record'] for name in hosts if '__repmgr_record' in hostvars[name]]),
            'left_out': _run.left_out([(name, hostvars[name]['repmgr_cluster_name']) for name in others if 'repmgr_cluster_name' in hostvars[name]])}


def run_stops(problems, tolerated=()):
    return _run.stops(_list(problems, 'run_stops'), list(tolerated))


def observed_verdict(names, hostvars, present):
    """Of a host that has failed, or was not observed by this task, the record counts, as an earlier observation has left it."""
    records = []
    for name in _list(names, 'observed_verdict'):
        record, seen = hostvars[name]['__repmgr_record'], (hostvars[name].get('__repmgr_seen') or {}) if name in present else {}
        records.append(dict(record, observed=seen['observed']) if 'observed' in seen and not seen.get('failed') else record)
    return _verdict.from_inventory(records)


def failed_logins(observed, present):
    return _login.failures(_dictionary(observed, 'failed_logins'), list(present))


def connection_variables(variables):
    variables = _dictionary(variables, 'connection_variables')
    return dict((name, variables[name]) for name in _adopt.CONNECTION if name in variables)


def ssh_lines(hostvars, record, former, places, user, registered=('__repmgr_key',)):
    """registered: the variables with the results that have the keys of a node; without any, the key that the observation has read."""
    hostvars, peers = _dictionary(hostvars, 'ssh_lines'), []
    for peer in record['observed']['reach']:
        node = hostvars[peer['name']]
        theirs = node['__repmgr_record']
        keys = [key for key in [(node.get(variable) or {}).get('public_key') for variable in registered] if key]
        peers.append(dict(
            peer, port=theirs['peer']['ssh_port'], host_keys=_ssh.host_keys(node.get('ansible_facts') or {}),
            keys=keys or [_ssh.bare_key(text) for text in theirs['observed']['contents'].values()]))
    texts = _ssh.mesh(peers, former, user)
    return dict(texts, stale=_ssh.stale_blocks(texts, places, user, record['observed']['files']))


def known_hosts(public_keys, address, port):
    """public_keys: the lines of a host's /etc/ssh/ssh_host_*_key.pub."""
    return _ssh.lines(_ssh.known_hosts([address], port, [_ssh.bare_key(line) for line in _list(public_keys, 'known_hosts')]))


def backup_units(unit, schedule):
    return _backup_hosts.units(unit, _dictionary(schedule, 'backup_units'))


def backup_nodes(names, hostvars):
    return _backup_hosts.data_nodes(_records(_list(names, 'backup_nodes'), hostvars))


def backup_lacking(names, hostvars, path):
    return _backup_hosts.lacking(_records(_list(names, 'backup_lacking'), hostvars), path)


def backup_access(names, hostvars, command):
    return _backup_hosts.access([
        (hostvars[name]['__repmgr_record'], hostvars[name]['ansible_facts'], hostvars[name]['__repmgr_backup_node_key']['public_key'])
        for name in _list(names, 'backup_access')], command)


def step_looks(names, hostvars, registered):
    """registered: the variable with the result of the step `look` of a restore or of a restore drill."""
    results = [(name, hostvars[name].get(registered) or {}) for name in _list(names, 'step_looks')]
    return dict((name, result['look']) for name, result in results if 'look' in result)


def restore_unpaused(hosts):
    return _restore.unpaused(_verdict.hosts_from(_list(hosts, 'restore_unpaused')))


def restore_kept(names, hostvars):
    return _restore.kept_copies([(name, hostvars[name].get('__repmgr_recloned') or {}) for name in _list(names, 'restore_kept')])


def guard_votes(names, hostvars, registry):
    """Each role has its own name for what the module returned: a task that is skipped on a host would replace what another one has left."""
    names = _list(names, 'guard_votes')
    results = dict((name, [hostvars[name].get(variable) or {} for variable in ('__repmgr_node_primary', '__repmgr_node', '__repmgr_node_witness')])
                   for name in names)
    return _votes.joined(results, _records(names, hostvars), list(registry))


def firewall_entries(record, hosts, port):
    return _routing.firewall_entries(_dictionary(record, 'firewall_entries'), list(hosts), port)


def own_settings(nodes, observed, wanted):
    return dict(_own_settings.own(_list(nodes, 'own_settings'), observed, _dictionary(wanted, 'own_settings')))


def rolling_plan(hosts, cluster, wanted):
    return _rolling.rolling_plan(_verdict.hosts_from(_list(hosts, 'rolling_plan')), cluster, list(wanted))


def python_program(folder, interpreter):
    files = _archive.sources(folder)
    if '__main__.py' not in files:
        raise AnsibleFilterError('python_program: %s has no __main__.py, expected the folder of a program' % folder)
    content = _archive.program(files, interpreter)
    return {'base64': base64.b64encode(content).decode('ascii'), 'sha256': _files.digest_of(content)}


class FilterModule(object):
    def filters(self):
        return {
            'run_clusters': run_clusters,
            'run_stops': run_stops,
            'observed_verdict': observed_verdict,
            'failed_logins': failed_logins,
            'connection_variables': connection_variables,
            'ssh_lines': ssh_lines,
            'known_hosts': known_hosts,
            'backup_units': backup_units,
            'backup_nodes': backup_nodes,
            'backup_lacking': backup_lacking,
            'backup_access': backup_access,
            'step_looks': step_looks,
            'restore_unpaused': restore_unpaused,
            'restore_kept': restore_kept,
            'guard_votes': guard_votes,
            'firewall_entries': firewall_entries,
            'own_settings': own_settings,
            'rolling_plan': rolling_plan,
            'python_program': python_program,
        }
