# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: a point-in-time restore of a cluster. What was asked for, which backup it takes, why it is refused, and where a run that was ended goes on."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import calendar
import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _settings, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._cluster import ANOTHER_NODE
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import lsn, position
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

# What recovery stops at; exactly one of them.
TARGETS = ('time', 'xid', 'lsn', 'name', 'immediate', 'latest')
_MORE = ('exclusive', 'set', 'timeline')
_EXAMPLE = "-e '{\"repmgr_restore\": {\"time\": \"2026-11-30 14:05:00+00\"}}'"
_TIME = re.compile(r'(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(\.\d{1,6})?)?\s*(Z|[+-]\d\d(?::?\d\d)?)\Z')
_LABEL = re.compile(r'[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?\Z')
_HISTORY = re.compile(r'\s*([0-9]+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)')
# Until a restore is proven nothing of the running cluster was touched; from 'swapping' on it goes on and not back.
PHASES = ('restoring', 'proven', 'swapping', 'swapped')
UNDER_WAY = ('swapping', 'swapped')
# What is no reason against a restore.
_TOLERATED = ('restart_pending', 'certificate_expires', 'authority_expires', 'stale_slot', 'backup_old', 'backup_verify_failed', 'backup_verify_old')
# How much more than the backup itself has to be free: WAL that is replayed, and what is written meanwhile.
_ROOM = 1.1


# -- what was asked for

def input_problems(given):
    """[(seen, expected)] of the variable repmgr_restore."""
    if not isinstance(given, dict):
        return [('it is no dictionary', 'a dictionary with one of %s' % ', '.join(TARGETS))]
    unknown = sorted('%s' % key for key in set(given) - set(TARGETS + _MORE))
    if unknown:
        return [('unknown: %s' % ', '.join(unknown), 'some of %s' % ', '.join(TARGETS + _MORE))]
    found = [key for key in TARGETS if key in given]
    if len(found) != 1:
        return [('it has %s' % (' and '.join(found) or 'no target'), 'exactly one of %s' % ', '.join(TARGETS))]
    kind, value = found[0], given[found[0]]
    problems = []
    if kind == 'time' and moment(value) is None:
        problems.append(('time is "%s"' % (value,), 'a time with its time zone, such as "2026-11-30 14:05:00+00"'))
    elif kind in ('immediate', 'latest') and value is not True:
        problems.append(('%s is "%s"' % (kind, value), 'true'))
    elif kind == 'xid' and not (_whole(value) and 3 <= int('%s' % value) <= 0xFFFFFFFF):
        problems.append(('xid is "%s"' % (value,), 'a transaction ID, 3 or greater'))
    elif kind == 'lsn' and position(value) is None:
        problems.append(('lsn is "%s"' % (value,), 'a position in the WAL, such as "0/3000148"'))
    elif kind == 'name' and not re.match(r'[ -&(-\[\]-~]{1,63}\Z', '%s' % (value,)):
        problems.append(('name is "%s"' % (value,), 'the name of a restore point (pg_create_restore_point), of 63 characters of ASCII or less, without quotes'))
    if 'exclusive' in given and (not isinstance(given['exclusive'], bool) or kind not in ('time', 'xid', 'lsn')):
        problems.append(('exclusive is "%s", with %s' % (given['exclusive'], kind), 'true or false, with time, xid or lsn'))
    if 'set' in given and not _LABEL.match('%s' % (given['set'],)):
        problems.append(('set is "%s"' % (given['set'],), 'the label of a backup, such as "20261129-020003F"'))
    if 'timeline' in given and not (_whole(given['timeline']) and int('%s' % given['timeline']) >= 1):
        problems.append(('timeline is "%s"' % (given['timeline'],), 'a number, 1 or more'))
    return problems


def _whole(value):
    return not isinstance(value, bool) and re.match(r'[0-9]{1,10}\Z', '%s' % (value,)) is not None


def moment(text):
    """Seconds since 1970, with microseconds, of a time with a time zone; None for everything else."""
    found = _TIME.match(('%s' % (text,)).strip())
    if not found:
        return None
    year, month, day, hour, minute, second = [int(part or 0) for part in found.groups()[:6]]
    if not (1970 <= year and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and hour < 24 and minute < 60 and second < 60):
        return None
    zone = found.group(8).replace(':', '')
    offset = 0
    if zone != 'Z':
        hours, minutes = int(zone[1:3]), int(zone[3:5] or 0)
        if hours > 15 or minutes > 59:
            return None
        offset = (hours * 3600 + minutes * 60) * (-1 if zone[0] == '-' else 1)
    return calendar.timegm((year, month, day, hour, minute, second)) - offset + float(found.group(7) or 0)


def target(given):
    """{kind, value, exclusive, set, timeline} of a variable without problems. Two spellings of one target are the same.

    A timeline of 0 is that of the cluster.
    """
    kind = [key for key in TARGETS if key in given][0]
    value = given[kind]
    if kind == 'time':
        value = in_utc(moment(value))
    elif kind == 'lsn':
        value = lsn(position(value))
    elif kind == 'xid':
        value = int('%s' % value)
    return {'kind': kind, 'value': True if kind in ('immediate', 'latest') else '%s' % value, 'exclusive': bool(given.get('exclusive', False)),
            'set': '%s' % given.get('set', ''), 'timeline': int('%s' % given.get('timeline', 0))}


def in_utc(seconds):
    """As PostgreSQL reads it, whatever its time zone."""
    whole = int(seconds // 1)
    micro = int(round((seconds - whole) * 1000000))
    if micro == 1000000:
        whole, micro = whole + 1, 0
    days, rest = divmod(whole, 86400)
    year, month, day = _date(days)
    return '%04d-%02d-%02d %02d:%02d:%02d%s+00' % (year, month, day, rest // 3600, rest % 3600 // 60, rest % 60, '.%06d' % micro if micro else '')


def _date(days):
    """(year, month, day) so many days after 1970-01-01. time.gmtime() has limits of the platform."""
    year = 1970
    while days >= 365 + calendar.isleap(year):
        days -= 365 + calendar.isleap(year)
        year += 1
    month = 1
    while days >= calendar.monthrange(year, month)[1]:
        days -= calendar.monthrange(year, month)[1]
        month += 1
    return year, month, days + 1


def words(wanted):
    """The target in words."""
    kind, exclusive = wanted['kind'], ', exclusive' if wanted['exclusive'] else ''
    text = {'immediate': 'the end of the backup', 'latest': 'the end of the archive'}.get(kind) or '%s %s%s' % (
        {'time': 'the time', 'xid': 'transaction', 'lsn': 'position', 'name': 'restore point'}[kind], wanted['value'], exclusive)
    return text + (' on timeline %d' % wanted['timeline'] if wanted['timeline'] else '')


# -- which backup

def history(text):
    """[(timeline, where it ended, in bytes)] of the ancestors, by a timeline history file."""
    found = [_HISTORY.match(line) for line in (text or '').splitlines()]
    return [(int(each.group(1)), position(each.group(2))) for each in found if each]


def usable(backups, timeline, ancestors):
    """The backups from which that timeline can be reached: of itself, and those of an ancestor that ended before its successor began."""
    ends = dict(ancestors)
    return [each for each in backups if each['timeline'] == timeline or (
        each['timeline'] in ends and position(each['stop_lsn']) is not None and position(each['stop_lsn']) <= ends[each['timeline']])]


def choose(backups, wanted, timeline, ancestors):
    """(backup, None), or (None, (seen, expected)). backups: those of _backup.backups, the oldest first."""
    good = usable(backups, timeline, ancestors)
    if wanted['set'] and not [each for each in backups if each['label'] == wanted['set']]:
        return None, ('the repository has no backup %s' % wanted['set'], 'one of %s' % (', '.join(each['label'] for each in backups) or 'none'))
    if not good:
        return None, ('the repository has no backup from which timeline %d can be reached' % timeline, 'one or more')
    reaching = [each for each in good if _before(each, wanted)]
    if not reaching:
        first = good[0]
        return None, ('%s is before the end of the oldest backup, %s, at %s (%s)' % (words(wanted), first['label'], in_utc(first['ended']), first['stop_lsn']),
                      'a moment after it')
    if not wanted['set']:
        return reaching[-1], None
    named = [each for each in reaching if each['label'] == wanted['set']]
    if not named:
        return None, ('backup %s does not lead to %s' % (wanted['set'], words(dict(wanted, timeline=timeline))),
                      'a backup of that timeline that had ended by then: %s' % ', '.join(each['label'] for each in reaching))
    return named[0], None


def _before(backup, wanted):
    """Whether the backup had ended by the target. Of a transaction or a restore point the repository does not know when it was."""
    if wanted['kind'] == 'time':
        return backup['ended'] <= moment(wanted['value'])
    if wanted['kind'] == 'lsn':
        return position(backup['stop_lsn']) is not None and position(backup['stop_lsn']) <= position(wanted['value'])
    return True


# -- the private server

def restore_command(conf, cluster, directory, label, options=()):
    """The words that copy a backup. Where recovery ends is said in our own configuration."""
    return ['pgbackrest', '--config=%s' % conf, '--stanza=%s' % cluster, '--pg1-path=%s' % directory, '--type=none', '--set=%s' % label] + list(options) + [
        'restore']


def get_command(conf, cluster, directory=''):
    """The words that get one file of the archive, without those two. Not asynchronously: the running server archives with the same lock and spool."""
    return ['pgbackrest', '--config=%s' % conf, '--stanza=%s' % cluster, '--no-archive-async'] + (
        ['--pg1-path=%s' % directory] if directory else []) + ['archive-get']


def recovery_options(wanted, timeline, command):
    """[(name, value)] of where recovery gets its WAL and ends."""
    # PostgreSQL takes a failure for the end of the archive, up to 125. pgBackRest has 1 for a file that is not there, and more for a repository that fails.
    get = ' '.join(command) + ' %f "%p"; rc=$?; [ $rc -le 1 ] || rc=255; exit $rc'
    found = [('restore_command', get), ('recovery_target_timeline', '%d' % timeline)]
    if wanted['kind'] == 'immediate':
        found.append(('recovery_target', 'immediate'))
    elif wanted['kind'] != 'latest':
        found.append(('recovery_target_%s' % wanted['kind'], wanted['value']))
        found.append(('recovery_target_inclusive', 'off' if wanted['exclusive'] else 'on'))
    if wanted['kind'] != 'latest':
        found.append(('recovery_target_action', 'promote'))
    return found


def private_options(socket_directory, settings, sizes, keeps_wal=True):
    """[(name, value)] of a server that nobody reaches, and that archives nothing.

    settings: those of the running server that decide what is written. sizes: {name: number}, which must not be below those of the server that was backed up.
    keeps_wal: what it writes is archived once it is the cluster's.
    """
    # It has no worker for logical replication: with the subscriptions of the cluster it would take the place of the cluster at their publishers.
    archive = [('archive_mode', 'on'), ('archive_command', '/bin/false')] if keeps_wal else [('archive_mode', 'off'), ('archive_command', '')]
    return [('listen_addresses', ''), ('unix_socket_directories', socket_directory), ('unix_socket_permissions', '0700'),
            ('hba_file', socket_directory + '/pg_hba.conf'), ('ident_file', socket_directory + '/pg_ident.conf'), ('hot_standby', 'off'), ('ssl', 'off'),
            ('shared_buffers', '64MB'), ('shared_preload_libraries', ''),
            ('max_logical_replication_workers', '0')] + archive + [
                ('autovacuum', 'off'), ('lc_messages', 'C'), ('logging_collector', 'off'), ('log_destination', 'stderr'), ('log_line_prefix', '%m '),
                ('synchronous_standby_names', '')] + sorted(settings.items()) + sorted(sizes.items())


def conf_text(options):
    return ''.join(line + '\n' for line in _settings.lines(options))


def stopped_at(log):
    """What the server's log says of where recovery stopped, or ''. Before PostgreSQL 13 one that does not reach its target ends at the end of the WAL."""
    found = re.findall(r'recovery stopping [^\n]*', log)
    return found[-1].strip() if found else ''


def proof_problem(wanted, seen, expected):
    """Why what was restored is not what was asked for, or ''.

    seen: {in_recovery, timeline, system_identifier, tablespaces, stopped, lsn}; expected: {system_identifier, live_timeline, reached}. reached: up to where
    the archive had the WAL of that timeline when the restore began, '' where that is not known.
    """
    if seen.get('in_recovery') is not False:
        return 'it is still in recovery'
    if '%s' % seen['system_identifier'] != '%s' % expected['system_identifier']:
        return 'its system identifier is %s, that of the cluster %s' % (seen['system_identifier'], expected['system_identifier'])
    if seen['timeline'] <= expected['live_timeline']:
        return 'it is on timeline %d, and the cluster on %d' % (
            seen['timeline'], expected['live_timeline'])
    if wanted['kind'] != 'latest' and not seen['stopped']:
        return 'recovery ended before it reached %s' % words(wanted)
    if wanted['kind'] == 'latest' and expected['reached'] and position(seen['lsn']) < position(expected['reached']):
        return 'recovery ended at %s, and the archive goes on to %s' % (seen['lsn'], expected['reached'])
    if seen['tablespaces']:
        return 'it has %d tablespaces, which would be in the place of those of the cluster' % seen['tablespaces']
    return ''


# -- where a run goes on

def valid_state(state):
    """The state file of a restore, or None where it makes no sense."""
    if not isinstance(state, dict) or state.get('phase') not in PHASES or not isinstance(state.get('target'), dict):
        return None
    return state if all(hasattr(state.get(key), 'lower') for key in ('data_directory', 'directory', 'kept')) else None


def goes_on(state, wanted, live_timeline, cluster, begun=''):
    """Whether a restore that is there can be used for that target, the cluster being on that timeline. begun: when that of this run has begun.

    The end of the archive, or the newest backup, is another one in every run.
    """
    if state is None or state['target'] != wanted or state.get('cluster') != cluster:
        return False
    if state['phase'] in UNDER_WAY:
        return True
    return state.get('live_timeline') == live_timeline and (wanted['kind'] not in ('latest', 'immediate') or bool(begun) and state.get('begun') == begun)


def restore_plan(hosts, answer, looks, asked):
    """{refuse, place, phase, target, backup, bytes, timeline, archive, discard}: what a run would do, or why not.

    hosts: [Host]; answer: their verdict; looks: {name of a data host: what the module repmgr_restore saw there}; asked: {given, consent, cluster, clusters,
    tool, look_only, begun: when this run has begun to restore}. phase: where it goes on, '' for a restore that has not begun. discard: hosts with what an
    earlier restore has left.
    """
    given, cluster = asked['given'], asked['cluster']
    names = sorted(host.name for host in hosts if answer['roles'].get(host.name) != 'witness')
    plan = {'refuse': [], 'place': answer['primary'] or '', 'phase': '', 'target': {}, 'words': '', 'backup': None, 'bytes': 0, 'timeline': 0, 'archive': None,
            'discard': []}

    def refuse(node, seen, expected, steps=''):
        plan['refuse'].append(message(node, seen, expected, steps))

    again = _steps.playbook('restore', repmgr_restore=given, repmgr_restore_consent=cluster)
    for seen, expected in input_problems(given):
        refuse(cluster, 'repmgr_restore: %s' % seen, expected, 'Such as: %s' % _EXAMPLE)
    if plan['refuse']:
        return plan
    wanted = plan['target'] = target(given)
    plan['words'] = words(wanted)
    states = dict((name, valid_state((looks.get(name) or {}).get('state'))) for name in names)
    under_way = [name for name in names if states[name] and states[name]['phase'] in UNDER_WAY]
    if len(asked['clusters']) > 1:
        refuse(cluster, 'the run has the clusters %s' % ', '.join(sorted(asked['clusters'])), 'one', dict(again, arguments=dict(
            again['arguments'], repmgr_only=cluster)))
    if asked['tool'] == 'none':
        refuse(cluster, 'repmgr_backup is none', 'a cluster whose backups are set up', _steps.playbook('site', reason='Set repmgr_backup, and run'))
    missing = [name for name in names if name not in looks]
    if missing:
        refuse(', '.join(missing), 'cannot be observed', 'every data node, because all of them get the restored data', 'Bring them back, and run again.')
    if asked['consent'] != cluster and not asked['look_only']:
        refuse(cluster, 'repmgr_restore_consent is %s' % ('"%s"' % asked['consent'] if asked['consent'] else 'not set'),
               'the name of the cluster, because all of its nodes go back to %s, and what was committed since is given up (the old data directories are kept)'
               % words(wanted), [dict(again, check=True, arguments={'repmgr_restore': given}, reason='See first what it would do'),
                                 dict(again, reason='Then')])
    if under_way:
        _go_on(plan, states, under_way, wanted, cluster, answer, refuse)
        return plan
    for problem in answer['problems']:
        ours = problem['code'] == 'repmgrd_paused' and all((host.observed.pause or {}).get('by') == 'restore' for host in hosts
                                                           if host.name in problem['nodes'] and host.observed is not None)
        if problem['code'] not in _TOLERATED and not ours:
            plan['refuse'].append(problem['message'])
    if answer['primary'] is None:
        refuse(', '.join(names), answer['summary'], 'one primary, which goes on until the restored data are proven', _steps.playbook('status', reason='See'))
    if plan['refuse']:
        return plan
    place = answer['primary']
    look = looks[place]
    live = [host.observed.server.timeline for host in hosts if host.name == place][0]
    plan['timeline'], plan['archive'] = wanted['timeline'] or live, look.get('archive')
    if goes_on(states[place], wanted, live, cluster, asked['begun']):
        plan['phase'] = states[place]['phase']
    plan['discard'] = [name for name in names if states[name] and (name != place or not plan['phase'])]
    for name in names:
        if looks[name].get('obstacle'):
            refuse(name, looks[name]['obstacle'], 'data in one directory, and another one beside it that it can be exchanged with by a rename',
                   'Restore manually, as described in docs/backup.md.')
    if look.get('error'):
        refuse(place, look['error'], 'a repository that answers', _steps.playbook('status', reason='See'))
    elif wanted['kind'] == 'time' and moment(wanted['value']) > look['now']:
        refuse(place, '%s is in the future; it is %s there now' % (words(wanted), in_utc(look['now'])), 'a moment that has been')
    elif look.get('history') is None:
        refuse(place, 'there is no history of timeline %d' % plan['timeline'],
               'the timeline of the cluster, %d, or another one that it or the archive knows' % live)
    else:
        backup, problem = choose(look['backups'], wanted, plan['timeline'], history(look['history']))
        if problem:
            refuse(place, problem[0], problem[1], 'Look at what there is: pgbackrest info (docs/backup.md).')
        else:
            plan['backup'], plan['bytes'] = backup, backup['bytes'] or 0
            if look.get('tablespaces'):
                refuse(place, 'backup %s has tablespaces: %s' % (backup['label'], ', '.join(look['tablespaces'])),
                       'none, because they would be restored over the tablespaces in use', 'Restore manually, as described in docs/backup.md.')
            _check_space(plan, names, looks, place, refuse)
    return plan


def needed(copied, now):
    """Bytes that a copy takes: it grows by what is replayed, to about what is there now."""
    return int(max(copied or 0, now or 0) * _ROOM)


def _check_space(plan, names, looks, place, refuse):
    room = needed(plan['bytes'], looks[place].get('size'))
    for name in names:
        if not (name == place and plan['phase'] == 'proven') and looks[name]['free'] < room:
            refuse(name, '%d MB are free beside the data directory' % (looks[name]['free'] // 1048576),
                   '%d MB, because the old data are kept' % (room // 1048576 + 1), 'Free some space there, and run again.')


def _go_on(plan, states, under_way, wanted, cluster, answer, refuse):
    """Of one that is in the middle of the exchange: neither healthy nor to be judged by that."""
    primary = answer['primary']
    # Their servers would be stopped.
    others = [problem['message'] for problem in answer['problems'] if problem['code'] in ANOTHER_NODE]
    if others:
        plan['refuse'] += others
        return
    if len(under_way) > 1:
        refuse(', '.join(under_way), 'each is in the middle of a restore', 'one', 'Look at the files .repmgr_restore.json there.')
        return
    plan['place'], state = under_way[0], states[under_way[0]]
    anew = 'Move %s away if it is there, and remove the file .repmgr_restore.json in the home of the server\'s user, on %s' % (
        state['directory'], plan['place'])
    if state.get('cluster') != cluster:
        refuse(plan['place'], 'a restore of cluster %s is in its middle' % state.get('cluster'), 'one of %s' % cluster, anew + '.')
        return
    if primary not in (None, plan['place']):
        # Its timeline may have the number of the restored one.
        refuse(plan['place'], 'a restore is in its middle there, and %s has become primary' % primary, 'no other primary meanwhile',
               [anew + '; the data of %s count now.' % primary,
                _steps.playbook('rejoin', repmgr_target=plan['place'], repmgr_rejoin='reclone', reason='Then bring %s back by' % plan['place'])])
        return
    if state['target'] != wanted:
        refuse(plan['place'], 'a restore to %s is in its middle' % words(state['target']), 'the same target, because it can only go on',
               'Run again with that.')
        return
    if state['phase'] == 'swapping' and wanted['kind'] == 'latest' and primary:
        refuse(plan['place'], 'the end of the archive was reached at %s, and the cluster goes on since' % state.get('begun'), 'a restore that has all of it',
               [anew + '.', 'Run again: it is restored anew.'])
        return
    plan.update(phase=state['phase'], timeline=state.get('timeline') or 0, backup=state.get('backup'), bytes=(state.get('backup') or {}).get('bytes') or 0)


def unfinished(note):
    """(seen, expected) of a node in the middle of a restore, or None. note: what the observation has of its state file."""
    if not note or note.get('phase') not in UNDER_WAY:
        return None
    return 'a restore to %s is in its middle' % (note.get('target') or 'some moment'), 'a finished restore'


def result_problems(answer, timelines, place, timeline):
    """[text]: what is not as it should be after a restore. timelines: {name of a data node: its timeline, None where it is not known}."""
    found = [problem['message'] for problem in answer['problems'] if problem['code'] not in _TOLERATED and not problem['code'].startswith(
        ('backup_', 'archive_', 'restore_'))]
    if answer['primary'] != place:
        found.append('%s is primary, expected %s' % (answer['primary'] or 'nobody', place))
    others = sorted(name for name, number in timelines.items() if number != timeline)
    if others:
        found.append('not on timeline %d: %s' % (timeline, ', '.join('%s (%s)' % (name, timelines[name]) for name in others)))
    return found


def unpaused(hosts):
    """The names of the hosts whose repmgrd could still promote a node, with those that were not observed. A node whose server is down does not say whether
    it is paused, and promotes nobody."""
    return [host.name for host in hosts if host.observed is None or host.observed.server.state == 'running'
            and (host.observed.repmgr.get('repmgrd') or {}).get('paused') is not True]


def kept_copies(results):
    """['HOST DIRECTORY']: the former data directories of standbys that were cloned again. results: [(host, the result of repmgr_node)]."""
    return ['%s %s' % (name, action['result']['to']) for name, result in results for action in result.get('actions') or [] if action['action'] == 'move_aside']
