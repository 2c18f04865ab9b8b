# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: check the extra variables of a playbook, before anything else happens.

The short names without a prefix are accepted as extra variables only: an inventory may define `cluster` or `target` for its own purposes.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import collections
import difflib
import fnmatch
import re

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _restore

# check(value, hosts) -> the value for the playbook; the text of a ValueError says what was expected. example: a value for messages. selects: whether it
# limits the hosts of the run. A playbook that ignored such an argument would do more than was asked for.
Argument = collections.namedtuple('Argument', 'alias check default example selects')


def _text(value):
    return '' if value is None else ('%s' % (value,)).strip()


def _words(value):
    """The items of a comma-separated string or of a list, without duplicates."""
    words = [_text(word) for word in (value if isinstance(value, (list, tuple)) else _text(value).split(','))]
    return [word for number, word in enumerate(words) if word not in words[:number]]


def _joined(words):
    return ', '.join(sorted(set(words))) or 'none, because no host of this run has one'


def _clusters(value, hosts):
    words, known = _words(value), set(cluster for cluster in hosts.values() if cluster)
    if not words or set(words) - known:
        raise ValueError('one or more of %s, separated by commas' % _joined(known))
    return words


def _host(value, hosts):
    if _text(value) not in hosts:
        raise ValueError('one of %s' % _joined(hosts))
    return _text(value)


def _host_or_node(value, hosts):
    """Accept any name: it may be a registered node that is not in the inventory. The playbook checks that."""
    return _text(value) or _host(value, hosts)


def _not_empty(what):
    def check(value, dummy_hosts):
        if not _text(value):
            raise ValueError(what)
        return _text(value)
    return check


def _nodes(what):
    """Names, of which any may be that of a registered node that is not in the inventory."""
    def check(value, dummy_hosts):
        words = [word for word in _words(value) if word]
        if not words:
            raise ValueError(what)
        return ','.join(words)
    return check


def _one_of(*choices):
    def check(value, dummy_hosts):
        if _text(value) not in choices:
            raise ValueError('one of %s' % ', '.join(choices))
        return _text(value)
    return check


def _some_of(*choices):
    def check(value, dummy_hosts):
        words = _words(value)
        if not words or set(words) - set(choices):
            raise ValueError('one or more of %s, separated by commas' % ', '.join(choices))
        return words
    return check


def _boolean(value, dummy_hosts):
    try:
        return boolean(value)
    except TypeError:
        raise ValueError('true or false')


def _seconds(value, dummy_hosts):
    text = _text(value)
    if not text.isdigit() or int(text) < 1:
        raise ValueError('a number of seconds, 1 or more')
    return int(text)


def _restore_target(value, dummy_hosts):
    problems = _restore.input_problems(value)
    if problems:
        raise ValueError('%s (%s)' % (problems[0][1], problems[0][0]))
    return value


def _part_of_target(key, **more):
    """One key of what a restore takes as its target."""
    def check(value, dummy_hosts):
        problems = _restore.input_problems(dict(more, **{key: _text(value)}))
        if problems:
            raise ValueError(problems[0][1])
        return _text(value)
    return check


def _runs(value, dummy_hosts):
    words = _words(value)
    if not all(re.match('r[0-9a-f]{10}$', word) for word in words):
        raise ValueError('the id of the run in the message of the refusal, or several, separated by commas')
    return words


CREDENTIALS = ('password', 'ssh', 'certificates')

ARGUMENTS = {
    'repmgr_only': Argument('cluster', _clusters, [], 'NAME', True),
    'repmgr_target': Argument('target', _host, '', 'HOST', True),
    # The dead node may be registered and not in the inventory, so the playbook checks the name itself.
    'repmgr_primary_is_dead': Argument('primary_is_dead', _nodes('the name of the primary whose host is dead'), '', 'HOST', True),
    'repmgr_accept_loss': Argument('accept_loss', _boolean, False, 'true', False),
    'repmgr_rejoin': Argument('rejoin', _one_of('attach', 'rewind', 'reclone'), 'rewind', 'WAY', False),
    'repmgr_maintenance': Argument('repmgrd', _one_of('pause', 'unpause'), '', 'pause', False),
    'repmgr_reason': Argument('reason', _not_empty('the reason for the pause, which status shows'), '', "'...'", False),
    'repmgr_override_run': Argument('override_run', _runs, [], 'RUN', False),
    'repmgr_all': Argument('all', _boolean, False, 'true', False),
    'repmgr_credentials': Argument('credentials', _some_of(*CREDENTIALS), list(CREDENTIALS), ','.join(CREDENTIALS), False),
    'repmgr_backup_type': Argument('backup_type', _one_of('full', 'differential', 'incremental'), 'incremental', 'full', False),
    'repmgr_backup_wait': Argument('backup_wait', _seconds, 3600, 'SECONDS', False),
    'repmgr_restore': Argument('restore', _restore_target, {}, '\'{"time": "2026-11-30 14:05:00+00"}\'', False),
    'repmgr_restore_consent': Argument('restore_consent', _not_empty('the name of the cluster that is restored'), '', 'CLUSTER', False),
    'repmgr_backup_set': Argument('set', _part_of_target('set', latest=True), '', '20261129-020003F', False),
    'repmgr_backup_time': Argument('time', _part_of_target('time'), '', '\'"2026-11-30 14:05:00+00"\'', False),
    'repmgr_verify_limit': Argument('verify_limit', _seconds, 86400, 'SECONDS', False),
    'repmgr_format': Argument('format', _one_of('text', 'json'), 'text', 'json', False),
    'repmgr_output': Argument('output', _not_empty('the path of a file on the controller'), '', 'FILE', False),
    'repmgr_report': Argument('report', _not_empty('the path of a file on the controller'), '', 'FILE', False),
    'repmgr_logins': Argument('logins', _boolean, False, 'true', False),
    'repmgr_adopt_to': Argument('adopt_to', _not_empty('the path of a file on the controller'), '', 'FILE', False),
    'repmgr_adopt_overwrite': Argument('adopt_overwrite', _boolean, False, 'true', False),
    'repmgr_leave': Argument('leave', _clusters, [], 'CLUSTER', True),
    'repmgr_connect_timeout': Argument('connect_timeout', _seconds, 0, 'SECONDS', False),
}

_ALL = ('repmgr_only',)
# For the playbooks that take the run lock.
_CHANGES = _ALL + ('repmgr_override_run',)
# {playbook: (accepted arguments, required arguments)}
PLAYBOOKS = {
    'add_node': (_CHANGES + ('repmgr_target',), ('repmgr_target',)),
    'backup': (_ALL + ('repmgr_backup_type', 'repmgr_backup_wait'), ()),
    'adopt': (('repmgr_adopt_to', 'repmgr_adopt_overwrite'), ()),
    'failover': (_CHANGES + ('repmgr_target', 'repmgr_primary_is_dead', 'repmgr_accept_loss'), ()),
    'leave': (_CHANGES + ('repmgr_leave',), ('repmgr_leave',)),
    'maintenance': (_CHANGES + ('repmgr_maintenance', 'repmgr_reason', 'repmgr_primary_is_dead'), ('repmgr_maintenance',)),
    'minor_upgrade': (_CHANGES, ()),
    'preflight': (_ALL, ()),
    'rejoin': (_CHANGES + ('repmgr_target', 'repmgr_rejoin'), ('repmgr_target',)),
    'remove_node': (_CHANGES + ('repmgr_target', 'repmgr_primary_is_dead'), ('repmgr_target',)),
    'restore': (_CHANGES + ('repmgr_restore', 'repmgr_restore_consent'), ('repmgr_restore',)),
    'rolling_restart': (_CHANGES + ('repmgr_all',), ()),
    'rotate_credentials': (_CHANGES + ('repmgr_credentials',), ()),
    'site': (_CHANGES, ()),
    'status': (_ALL + ('repmgr_format', 'repmgr_output', 'repmgr_report', 'repmgr_logins', 'repmgr_connect_timeout'), ()),
    'switchover': (_CHANGES + ('repmgr_target',), ('repmgr_target',)),
    'verify_backup': (_ALL + ('repmgr_target', 'repmgr_backup_set', 'repmgr_backup_time', 'repmgr_verify_limit'), ()),
}
# Checks for an argument of one playbook only.
_CHECKS = {('remove_node', 'repmgr_target'): _host_or_node}
# Used in the keywords of plays, which are evaluated before any task; the playbooks check their values.
_OF_PLAYS = ('repmgr_hosts', 'repmgr_batch', 'repmgr_max_fail')
_DEFAULT_HOSTS = ('primary', 'standby', 'witness')


def hosts_problem(pattern, groups):
    """Return what is wrong with the host pattern of a play, or ''. Without this check, a play that matches no host would succeed without running a task.

    groups: Ansible's variable of that name. Every name in the pattern must be a group or a host. Of the three default groups one is enough, because not
    every inventory has a witness.
    """
    hosts = set(host for members in groups.values() for host in members)
    if not hosts or pattern in hosts:
        # Without an inventory this is a syntax check, or a run that Ansible itself warns about. A single host may have colons in its name (IPv6).
        return ''
    words = [word for word in re.split('[:,]', '%s' % (pattern,)) if word]
    if re.search(r'[~\[]', '%s' % (pattern,)):
        # A regular expression or a range, in which a colon is not a separator; leave it to Ansible.
        return ''
    names = [word.strip().lstrip('!&') for word in words]
    unknown = [name for name in names if not any(fnmatch.fnmatchcase(known, name) for known in list(groups) + sorted(hosts))]
    if not unknown or (len(unknown) < len(names) and not set(unknown) - set(_DEFAULT_HOSTS)):
        return ''
    return 'no group and no host of the inventory is named %s, expected some of its groups: %s. Run again with -e repmgr_hosts=GROUP:GROUP.' % (
        ' or '.join("'%s'" % name for name in unknown), ', '.join(sorted(name for name in groups if name not in ('all', 'ungrouped'))) or '(none)')


def check(playbook, given, extra, hosts, variables):
    """Return (values, problems): {name without prefix: value} for the playbook, and what is wrong with the arguments.

    given: the variables with the prefix of the collection, from any source. extra: the extra variables, {name: value}. hosts: {host of the play: its
    cluster}. variables: the names of all variables of the roles.
    """
    takes, needs = PLAYBOOKS[playbook]
    values, names, problems = {}, {}, _not_taken(playbook, takes, extra, variables)
    for name in takes:
        argument = ARGUMENTS[name]
        values[name] = argument.default
        found = []
        for source, spelling in ((given, name), (extra, argument.alias)):
            if spelling in source:
                names.setdefault(name, spelling)
                try:
                    found.append(_CHECKS.get((playbook, name), argument.check)(source[spelling], hosts))
                except ValueError as exc:
                    problems.append('%s is %s, expected %s. Run again with -e %s=%s.' % (
                        spelling, _shown(source[spelling]), exc, name, argument.example))
        if found[1:] and found[0] != found[1]:
            problems.append('%s is %s and %s is %s, expected one of the two. Run again without %s.' % (
                name, _shown(given[name]), argument.alias, _shown(extra[argument.alias]), argument.alias))
        if found:
            values[name] = found[0]
    for name in needs:
        if name not in names:
            problems.append('%s is not set, expected %s. Run again with -e %s=%s.' % (
                name, _expected(ARGUMENTS[name], hosts), name, ARGUMENTS[name].example))
    if values.get('repmgr_maintenance') == 'pause' and 'repmgr_reason' not in names:
        problems.append("repmgr_reason is not set, expected the reason for the pause, which status shows. Run again with -e repmgr_reason='...'.")
    if 'repmgr_logins' in takes and 'repmgr_logins' not in names:
        # The HTML report shows the logins.
        values['repmgr_logins'] = bool(values['repmgr_report'])
    if not problems:
        problems += _one_cluster(values, names, hosts)
    return dict((name[len('repmgr_'):], value) for name, value in values.items()), problems


def _shown(value):
    return value if isinstance(value, (bool, list, dict)) else "'%s'" % ('' if value is None else value)


def _expected(argument, hosts):
    try:
        argument.check('', hosts)
    except ValueError as exc:
        return '%s' % exc


def _not_taken(playbook, takes, extra, variables):
    """Refuse extra variables that the playbook does not know: a misspelt name would have no effect, or would make the run include all hosts."""
    found = []
    options = ', '.join(sorted(takes + _OF_PLAYS))
    for name in sorted('%s' % name for name in extra):
        if name in takes or name in _OF_PLAYS or name in variables:
            continue
        if name in ARGUMENTS or any(name == argument.alias and argument.selects and full not in takes for full, argument in ARGUMENTS.items()):
            found.append('%s is set, expected one of the arguments of %s: %s. Run again without it.' % (name, playbook, options))
        elif name.startswith('repmgr_'):
            known = dict((each[len('repmgr_'):], each) for each in sorted(set(takes) | set(_OF_PLAYS) | set(variables)))
            close = difflib.get_close_matches(name[len('repmgr_'):], sorted(known), 1)
            found.append('%s is not a variable of this collection, expected %s.' % (
                name, known[close[0]] if close else 'a variable of the roles or one of %s' % options))
    return found


def _one_cluster(values, names, hosts):
    """A host as an argument limits the run to its cluster."""
    if 'repmgr_only' not in values:
        return []
    only = values['repmgr_only']
    leaves = values.get('repmgr_leave')
    if leaves:
        # Consent is for one cluster, by its name.
        if len(leaves) > 1 or only not in ([], leaves):
            return ['%s is %s, expected the name of the one cluster that shall leave%s. Run again with -e repmgr_leave=%s.' % (
                names['repmgr_leave'], ','.join(leaves), ', the same as repmgr_only' if only else '', ARGUMENTS['repmgr_leave'].example)]
        only = leaves
    for name, host in [('repmgr_target', values.get('repmgr_target'))] + [
            ('repmgr_primary_is_dead', word) for word in _words(values.get('repmgr_primary_is_dead') or [])]:
        if host and host not in hosts and name == 'repmgr_target' and len(only or set(hosts.values())) != 1:
            return ["%s is '%s', expected one of %s, or the name of a registered node that is not in the inventory, together with its cluster. "
                    'Run again with one of them, or with -e repmgr_only=%s.' % (names[name], host, _joined(hosts), ARGUMENTS['repmgr_only'].example)]
        if not host or host not in hosts:
            continue
        if only and hosts[host] not in only:
            return ["%s is '%s', which is in cluster %s, expected a host of %s. Run again with one of %s." % (
                names[name], host, hosts[host] or '(none)', ', '.join(only),
                ', '.join(sorted(each for each in hosts if hosts[each] in only)))]
        only = [hosts[host]]
    values['repmgr_only'] = only
    return []
