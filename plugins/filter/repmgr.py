# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters: each checks what it is given, and calls the function that decides."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible.errors import AnsibleFilterError

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _changeover, _check_timing, _conninfo, _contract, _failover, _hba, _leave
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _password
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _problems_deploy, _rejoin, _removal, _repmgr, _restore, _routing, _settings, _sources
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _status, _steps, _topology, _upgrade, _verdict, _verify, _votes
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Node, integer, message
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _arguments, _reason, _report


def _listed(value, name):
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, '__iter__'):
        raise AnsibleFilterError('%s needs a list of dictionaries' % name)
    return list(value)


def libpq_conninfo(values):
    if not isinstance(values, dict):
        raise AnsibleFilterError('libpq_conninfo needs a dictionary')
    return _conninfo.build(values)


def parse_conninfo(text):
    try:
        return _conninfo.parse(text)
    except ValueError as exc:
        raise AnsibleFilterError('parse_conninfo: %s' % exc)


def multihost_dsn(hosts, dbname=None, user=None, target_session_attrs='read-write', **options):
    return _conninfo.multihost(
        _listed(hosts, 'multihost_dsn'), dbname=dbname, user=user, target_session_attrs=target_session_attrs, **options)


def passfile_password(text, user, cluster=None):
    return _conninfo.passfile_password(text, user, cluster)


def passfile_lines(members, database, user, password):
    return _conninfo.passfile_lines(_listed(members, 'passfile_lines'), database, user, password)


def unknown_password(results, user, given, line):
    return _password.unknown([(result.get('rc'), result.get('stdout') or '') for result in _listed(results, 'unknown_password')], user, given, line)


def guard_peers(records, name, registry=(), joined=(), keywords=None):
    """joined: the hosts that were registered after the registry was read."""
    records = _listed(records, 'guard_peers')
    rows = [Node.from_dict(row) for row in _rows(registry, 'guard_peers')]
    return _votes.peers(_votes.registered(rows, records, list(joined)), records, name, keywords)


def routing_timing(profile):
    return _check_timing.timing(profile)


def proxy_addresses(hosts):
    return _routing.proxy_addresses(_listed(hosts, 'proxy_addresses'))


def proxy_hosts(hostvars):
    """hostvars: all of them; those that this run has read the inventory of have a record."""
    found = []
    for name in hostvars:
        record = hostvars[name].get('__repmgr_record')
        for proxy in record['routing']['proxies'] if record else []:
            if proxy not in found:
                found.append(proxy)
    return sorted(found)


def proxy_looks(hostvars):
    """hostvars: all of them; those that this run has observed have a record."""
    hosts = [host for host in (hostvars[name] for name in hostvars) if host.get('__repmgr_record')]
    if not hosts:
        return {}
    return _routing.proxy_looks(
        [host['__repmgr_record'] for host in hosts], float(hosts[0]['__repmgr_run']), (hosts[0].get('__repmgr_given') or {}).get('connect_timeout'))


def proxy_plan(hostvars, proxy):
    """Of the clusters that this run has not refused: their hosts know who is primary."""
    members = {}
    for name in hostvars:
        host = hostvars[name]
        record = host.get('__repmgr_record')
        if record is None or host.get('__repmgr_primary') is None or proxy not in record['routing']['proxies']:
            continue
        speaker = host['__repmgr_primary']['name']
        if record['cluster'] not in members:
            # As the primary has it: a node that this run has removed is no member of its any more.
            members['%s' % record['cluster']] = (speaker, [hostvars[member]['__repmgr_record'] for member in hostvars[speaker]['__repmgr_members']])
    return _routing.proxy_plan(members, proxy)


def proxy_problems(plan, proxy, listening, installed):
    return _routing.proxy_problems(plan, proxy, _routing.listeners(listening), _routing.bound(installed))


def play_hosts(pattern, groups):
    problem = _arguments.hosts_problem(pattern, groups)
    if problem:
        raise AnsibleFilterError(problem)
    return pattern


def repmgr_service(version, verb):
    if verb not in ('pause', 'unpause', 'status'):
        raise AnsibleFilterError("repmgr_service needs one of pause, unpause, status, not '%s'" % (verb,))
    return _repmgr.service_command(verb, _repmgr.parse_version('%s' % (version or '',)))


def contract_problems(hosts):
    return _contract.contract_problems(_listed(hosts, 'contract_problems'))


def cluster_verdict(hosts):
    return _verdict.from_inventory(_listed(hosts, 'cluster_verdict'))


def deploy_problems(hosts):
    return _problems_deploy.deploy_problems(_verdict.hosts_from(_listed(hosts, 'deploy_problems')))


def pgdg_plan(host):
    if not isinstance(host, dict):
        raise AnsibleFilterError('pgdg_plan needs the dictionary of one host')
    return _sources.plan(_verdict.hosts_from([host])[0])


def changeover(hosts):
    return _changeover.changeover(_listed(hosts, 'changeover'))


def server_settings(hosts, name, own, inventory=None):
    found = _verdict.hosts_from(_listed(hosts, 'server_settings'))
    host = [each for each in found if each.name == name]
    if not host:
        raise AnsibleFilterError("server_settings: none of the hosts is '%s'" % (name,))
    host[0].settings, host[0].server_settings = dict(own), dict(inventory or {})
    return _settings.text(host[0].settings, host[0].server_settings, _settings.kept(host[0], found))


def hba_text(present, record, step, records=()):
    if step not in _hba.STEPS:
        raise AnsibleFilterError("hba_text needs one of %s, not '%s'" % (', '.join(_hba.STEPS), step))
    sources = _changeover.sources_to(_listed(records, 'hba_text'), record.get('name')) if records else ()
    return _hba.text(present, record['hba'], record['observed']['reach'], step, record.get('gone') or (), sources)


def cluster_status(hosts, now=None, proxies=()):
    return _status.status(_listed(hosts, 'cluster_status'), now, _listed(proxies, 'cluster_status'))


def status_text(status):
    if not isinstance(status, dict) or 'clusters' not in status:
        raise AnsibleFilterError('status_text needs the result of cluster_status')
    return _status.text(status)


def status_html(status):
    if not isinstance(status, dict) or 'clusters' not in status:
        raise AnsibleFilterError('status_html needs the result of cluster_status')
    return _report.page(status)


def failover_plan(hosts, target='', dead='', accept_loss=False):
    found = _verdict.hosts_from(_listed(hosts, 'failover_plan'))
    return _failover.failover_plan(found, _verdict.verdict(found), target, dead, accept_loss)


def removal_plan(hosts, target, dead=''):
    return _removal.removal_plan(_listed(hosts, 'removal_plan'), target, dead)


def rejoin_plan(hosts, target):
    found = _verdict.hosts_from(_listed(hosts, 'rejoin_plan'))
    return _rejoin.rejoin_plan(found, _verdict.verdict(found), target)


def upgrade_plan(hosts, newer):
    if not isinstance(newer, dict):
        raise AnsibleFilterError('upgrade_plan needs a dictionary with the output of the package manager of each host')
    found = _verdict.hosts_from(_listed(hosts, 'upgrade_plan'))
    return _upgrade.upgrade_plan(found, _verdict.verdict(found), newer)


def _is_number(value, least):
    return re.match('[0-9]+$', '%s' % (value,)) is not None and int(value) >= least


def cluster_batches(hosts, size):
    members = {}
    for host in _listed(hosts, 'cluster_batches'):
        name = '%s' % (host.get('repmgr_cluster_name') or '',)
        # The result of repmgr_arguments for repmgr_only.
        only = (host.get('__repmgr_given') or {}).get('only')
        if not only or name in only:
            members.setdefault(name, []).append(host['inventory_hostname'])
    found = list(members.values())
    # batch_problem refuses an invalid number later, where the refusal is not a template error.
    step = int(size) if _is_number(size, 1) else max(1, len(found))
    return [sum(found[begin:begin + step], []) for begin in range(0, len(found), step)]


def batch_problem(at_once, size, limit=0):
    for name, value, least in (('repmgr_batch', size, 1), ('repmgr_max_fail', limit, 0)):
        if not _is_number(value, least):
            return ("%s is '%s'; expected a number of clusters, %d or more. Nothing was changed. Run again with -e repmgr_batch=1, or without "
                    'repmgr_batch and repmgr_max_fail for all clusters together.' % (name, value, least))
    if at_once > int(size):
        return ('repmgr_batch is %s, but this run works on %d clusters at once; expected repmgr_batch as an extra variable (-e) of a playbook that works '
                'in batches: site, minor_upgrade, rolling_restart, rotate_credentials or maintenance. Nothing was changed. Run again with '
                '-e repmgr_batch=%s, or without it.' % (
                    size, at_once, size))
    return ''


def _rows(value, name):
    """The registered nodes, from a list of them or from a result of repmgr_cluster_info."""
    if isinstance(value, dict):
        value = ((value.get('observed') or value).get('repmgr') or {}).get('nodes')
        if value is None:
            raise AnsibleFilterError('%s: this observation has no registered nodes' % name)
    rows = _listed(value, name)
    if not all(isinstance(row, dict) and 'node_id' in row and 'node_name' in row for row in rows):
        raise AnsibleFilterError('%s needs nodes with node_id and node_name' % name)
    return rows


def topology_tree(nodes):
    return _topology.tree(_rows(nodes, 'topology_tree'))


def topology_mermaid(nodes):
    return _topology.mermaid(_rows(nodes, 'topology_mermaid'))


def login_matrix(verdict):
    if not isinstance(verdict, dict) or 'logins' not in verdict:
        raise AnsibleFilterError('login_matrix needs a verdict')
    return _topology.login_matrix(verdict['logins'])


def playbook_command(name, **arguments):
    if not hasattr(name, 'lower') or not re.match('[a-z_]+$', name):
        raise AnsibleFilterError('playbook_command needs the name of a playbook of this collection, such as rejoin')
    return _steps.render(_steps.playbook(name, **arguments))


def leave_plan(hosts, files, unit):
    found = _verdict.hosts_from(_listed(hosts, 'leave_plan'))
    return _leave.leave_plan(found, _verdict.verdict(found), files, unit)


def plain_conf(text, guard, unit):
    return _leave.plain_conf(text, guard, unit)


def spare_slots(observed, node_id):
    if not isinstance(observed, dict):
        raise AnsibleFilterError('spare_slots needs a dictionary')
    return _leave.spare_slots(observed, integer(node_id))


def reason(result, secrets=()):
    if not isinstance(result, dict):
        raise AnsibleFilterError('reason needs the result of a task')
    return _reason.reason(result, secrets)


def restore_plan(hosts, looks, asked):
    if not isinstance(looks, dict) or not isinstance(asked, dict):
        raise AnsibleFilterError('restore_plan needs two dictionaries')
    found = _verdict.hosts_from(_listed(hosts, 'restore_plan'))
    return _restore.restore_plan(found, _verdict.verdict(found), looks, asked)


def verify_plan(hosts, looks, asked):
    if not isinstance(looks, dict) or not isinstance(asked, dict):
        raise AnsibleFilterError('verify_plan needs two dictionaries')
    found = _verdict.hosts_from(_listed(hosts, 'verify_plan'))
    return _verify.verify_plan(found, _verdict.verdict(found), looks, asked)


def verify_summary(note):
    if not isinstance(note, dict):
        raise AnsibleFilterError('verify_summary needs the result of a restore drill')
    return _verify.summary(note)


def restore_problems(hosts, place, timeline):
    found = _verdict.hosts_from(_listed(hosts, 'restore_problems'))
    answer = _verdict.verdict(found)
    timelines = dict((host.name, host.observed.server.timeline if host.observed else None) for host in found if answer['roles'][host.name] != 'witness')
    return _restore.result_problems(answer, timelines, place, integer(timeline))


def backup_repository(repository):
    return _backup.without_secrets(repository)


def backup_files(settings):
    if not isinstance(settings, dict):
        raise AnsibleFilterError('backup_files needs a dictionary')
    return _backup.files(settings)


def backup_place_problems(seen, wanted, host):
    if not isinstance(seen, dict) or not isinstance(wanted, dict):
        raise AnsibleFilterError('backup_place_problems needs two dictionaries')
    return [message(host, *problem) for problem in _backup.place_problems(seen, wanted)]


def backup_other_pass(conf, cipher_pass):
    return _backup.has_other_pass(conf, cipher_pass)


class FilterModule(object):
    def filters(self):
        return {
            'libpq_conninfo': libpq_conninfo,
            'parse_conninfo': parse_conninfo,
            'multihost_dsn': multihost_dsn,
            'passfile_password': passfile_password,
            'passfile_lines': passfile_lines,
            'unknown_password': unknown_password,
            'backup_other_pass': backup_other_pass,
            'guard_peers': guard_peers,
            'play_hosts': play_hosts,
            'routing_timing': routing_timing,
            'proxy_addresses': proxy_addresses,
            'proxy_hosts': proxy_hosts,
            'proxy_looks': proxy_looks,
            'proxy_plan': proxy_plan,
            'proxy_problems': proxy_problems,
            'repmgr_service': repmgr_service,
            'contract_problems': contract_problems,
            'cluster_verdict': cluster_verdict,
            'batch_problem': batch_problem,
            'cluster_batches': cluster_batches,
            'changeover': changeover,
            'cluster_status': cluster_status,
            'deploy_problems': deploy_problems,
            'pgdg_plan': pgdg_plan,
            'server_settings': server_settings,
            'hba_text': hba_text,
            'status_text': status_text,
            'status_html': status_html,
            'failover_plan': failover_plan,
            'removal_plan': removal_plan,
            'rejoin_plan': rejoin_plan,
            'upgrade_plan': upgrade_plan,
            'playbook_command': playbook_command,
            'topology_tree': topology_tree,
            'topology_mermaid': topology_mermaid,
            'login_matrix': login_matrix,
            'leave_plan': leave_plan,
            'plain_conf': plain_conf,
            'spare_slots': spare_slots,
            'reason': reason,
            'restore_plan': restore_plan,
            'restore_problems': restore_problems,
            'verify_plan': verify_plan,
            'verify_summary': verify_summary,
            'backup_repository': backup_repository,
            'backup_files': backup_files,
            'backup_place_problems': backup_place_problems,
        }
