# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: a restore drill. On which node, from which backup, why it is refused, what its findings mean, and what status says of the last one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _backup, _restore, _steps
from ansible_collections.pgfleet.repmgr.plugins.module_utils._lsn import position
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message

# What a failed drill has found: the backup cannot be copied, cannot be recovered, WAL lacks, data are damaged, or a query of the inventory failed.
KINDS = ('copy', 'recovery', 'gap', 'damage', 'query')
# How much of what somebody's query returned, or of what a program printed, is repeated.
_SHOWN = 200


def wanted(time='', label=''):
    """What repmgr_restore would be for that moment, '' for the end of the archive, and that backup, '' for the right one."""
    return dict([('time', time)] if time else [('latest', True)], **({'set': label} if label else {}))


# -- where, and from what

def verify_plan(hosts, answer, looks, asked):
    """{refuse, place, directory, target, words, backup, timeline, archive, history, needed, free, discard}: what a run would do, or why not.

    hosts: [Host]; answer: their verdict; looks: {name of a data host: what the module repmgr_verify_backup saw there}, of the place with the repository, {}
    as long as the place is not known; asked: {cluster, tool, target: HOST or '', time, set}. discard: other hosts with what an earlier drill has left.
    """
    given = wanted(asked['time'], asked['set'])
    plan = {'refuse': [], 'place': '', 'directory': '', 'target': given, 'words': _restore.words(_restore.target(given)), 'backup': None, 'timeline': 0,
            'archive': None, 'history': '', 'needed': 0, 'free': 0, 'discard': []}

    def refuse(node, seen, expected, steps=''):
        plan['refuse'].append(message(node, seen, expected, steps))

    _choose_place(plan, hosts, answer, asked, refuse)
    if plan['refuse'] or not looks:
        return plan
    look = looks.get(plan['place']) or {}
    plan['directory'] = look.get('directory') or ''
    plan['discard'] = sorted(name for name in looks if name != plan['place'] and looks[name].get('left'))
    if look.get('obstacle'):
        refuse(plan['place'], look['obstacle'], 'a place beside the data for a copy of them',
               'Move it away, or set repmgr_verify_directory to another directory that the server\'s user may write to.')
    elif look.get('error'):
        refuse(plan['place'], look['error'], 'a repository that answers', _steps.playbook('status', reason='See'))
    elif not look.get('backups'):
        refuse(plan['place'], 'the backup repository has no backup of the cluster', 'one or more', _steps.playbook('backup', repmgr_backup_type='full'))
    elif look.get('history') is None:
        refuse(plan['place'], 'the archive has no history of timeline %d, that of the cluster' % plan['timeline'], 'one, because without it nothing can be '
               'restored along that timeline', _steps.playbook('backup', reason='Look at the archive of WAL, and make a new backup'))
    else:
        _choose_backup(plan, look, refuse)
    return plan


def _choose_place(plan, hosts, answer, asked, refuse):
    cluster = asked['cluster']
    if asked['tool'] == 'none':
        refuse(cluster, 'repmgr_backup is none', 'a cluster whose backups are set up', _steps.playbook('site', reason='Set repmgr_backup, and run'))
        return
    if answer['primary'] is None:
        refuse(cluster, answer['summary'], 'one primary, because a drill is no work for a cluster without', _steps.playbook('status', reason='See'))
        return
    plan['refuse'] += [problem['message'] for problem in answer['problems'] if problem['code'] == 'restore_unfinished']
    primary = [host for host in hosts if host.name == answer['primary']][0]
    plan['timeline'] = primary.observed.server.timeline
    able = [host for host in hosts if host.name not in _unable(hosts, answer)]
    named = asked['target']
    if named:
        if named not in [host.name for host in able]:
            refuse(named, _unable(hosts, answer).get(named, 'it is no node of cluster %s' % cluster),
                   'a data node of the cluster that runs, with backups set up: %s' % (', '.join(host.name for host in able) or 'none'))
        plan['place'] = named
        return
    standbys = [host for host in able if host is not primary]
    if not standbys:
        refuse(cluster, 'there is no standby that runs and whose backups are set up', 'one, because a drill takes from the node what its clients need',
               _steps.playbook('verify_backup', repmgr_target=primary.name, only_if='the primary has the room and the time for it'))
        return
    waited_for = set(entry.get('application_name') for entry in primary.observed.replication or [] if entry.get('sync_state') == 'sync')
    # Rather not one that commits wait for; then the one with the most room.
    plan['place'] = min(standbys, key=lambda host: (host.node_name in waited_for, -_free(host), host.name)).name


def _free(host):
    return max([0] + [disk['free_bytes'] for disk in (host.observed.disks or [])[:1]])


def _unable(hosts, answer):
    """{name: why no drill can run there}"""
    found = {}
    for host in hosts:
        if answer['roles'].get(host.name) == 'witness':
            found[host.name] = 'it is a witness'
        elif host.observed is None or host.unreachable:
            found[host.name] = 'it cannot be observed'
        elif not host.observed.server.sql:
            found[host.name] = 'its server does not answer'
        elif not [path for path, content in (host.observed.files or {}).items() if path.endswith('/node.json') and content]:
            found[host.name] = 'its backups are not set up'
    return found


def _choose_backup(plan, look, refuse):
    target = _restore.target(plan['target'])
    ancestors = _restore.history(look['history'])
    backup, problem = _restore.choose(look['backups'], target, plan['timeline'], ancestors)
    if target['kind'] == 'time' and _restore.moment(target['value']) > look['now']:
        backup, problem = None, ('%s is in the future; it is %s there now' % (plan['words'], _restore.in_utc(look['now'])), 'a moment that has been')
    if problem:
        refuse(plan['place'], problem[0], problem[1], 'Look at what there is: pgbackrest info (docs/backup.md).')
        return
    plan.update(backup=backup, archive=look.get('archive'), history=look['history'], free=look['free'],
                needed=_restore.needed(backup['bytes'], look.get('size')) + (look.get('reserve') or 0))
    if look.get('tablespaces'):
        refuse(plan['place'], 'backup %s has tablespaces: %s' % (backup['label'], ', '.join(look['tablespaces'])),
               'none, because they would be restored into the place of those in use', 'Try that backup by hand, as docs/backup.md says.')
    if plan['free'] < plan['needed']:
        refuse(plan['place'], '%d MB are free in %s' % (plan['free'] // 1048576, look['parent']), '%d MB, for the data and the WAL that is replayed' % (
            plan['needed'] // 1048576 + 1), 'Free some space there, set repmgr_verify_directory to a larger file system, or name another node by '
            '-e repmgr_target=HOST.')


def valid_state(state):
    """The file of a drill that has begun, or None where it makes no sense."""
    return state if isinstance(state, dict) and hasattr(state.get('directory'), 'lower') and hasattr(state.get('data_directory'), 'lower') else None


# -- what it finds

def missing_wal(names, backup, timeline, ancestors, size):
    """[name] of the WAL that lacks in the archive on the way from a backup to the end of a timeline.

    names: of files as the archive has them; ancestors: [(timeline, where it ended)]; size: bytes of a WAL file.
    """
    each, found = 0x100000000 // size, []
    ends = [(number, end) for number, end in ancestors if number >= backup['timeline']]
    first = backup['first_wal']
    for (number, end), (following, dummy) in zip(ends, ends[1:] + [(timeline, None)]):
        found += _backup.missing_wal(names, (first, size), end // size)
        # The rest of the segment in which a timeline ended is in the first one of the next.
        first = '%08X%08X%08X' % ((following,) + divmod(end // size, each))
    return found + _backup.missing_wal(names, (first, size))


def wal_folders(names, backup):
    """Those folders of the archive that may have WAL from a backup on, of its timeline and of later ones."""
    folders = [name for name in names if re.match('[0-9A-F]{16}\\Z', name)]
    return _backup.wal_folders(folders, backup['first_wal']) + [name for name in folders if int(name[:8], 16) > backup['timeline']]


def gap_words(missing):
    return 'the archive lacks WAL segment %s%s' % (missing[0], ' and %d more' % (len(missing) - 1) if missing[1:] else '')


def recovery_problem(target, seen, expected):
    """(kind, what is wrong) of what was recovered, or None.

    seen: as for _restore.proof_problem; expected: {system_identifier, timeline, archive: {min, max} when the drill began, missing: WAL that lacks,
    size: bytes of a WAL file}.
    """
    missing, archive = expected['missing'], expected['archive']
    reached = 0
    if archive and int(archive['max'][:8], 16) == expected['timeline']:
        each = 0x100000000 // expected['size']
        reached = (int(archive['max'][8:16], 16) * each + int(archive['max'][16:24], 16)) * expected['size']
    if target['kind'] == 'latest' and position(seen['lsn']) < reached:
        return 'gap' if missing else 'recovery', 'recovery ended at %s, and the archive goes on to %s%s' % (
            seen['lsn'], archive['max'], ': %s' % gap_words(missing) if missing else '')
    problem = _restore.proof_problem(target, seen, {
        'system_identifier': expected['system_identifier'], 'live_timeline': expected['timeline'], 'reached': ''})
    return ('recovery', problem) if problem else None


def query_problem(query, returned):
    """Why the answer to a query of the inventory is not the expected one, or ''."""
    if query.get('expected') is None or returned == '%s' % (query['expected'],):
        return ''
    return '"%s" in database %s returned "%s", expected "%s"' % (
        short(query['query']), query['database'], short(returned), short('%s' % (query['expected'],)))


def short(text):
    text = ' '.join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + '...'


def fatal_of(log):
    """What a server's log says of why it ended, and what pgBackRest did of why it got no WAL, without their times; or ''."""
    # Of pgBackRest the first line of the last error: what follows are its retries.
    fatal = [line for line in log.splitlines() if re.search(' (FATAL|PANIC): ', line) and 'not accepting connections' not in line]
    archive = re.findall(r'\bERROR: (\[[0-9]+\]: [^\n]*)', log)
    return '; '.join([short(re.sub(r'^.*? (FATAL|PANIC): +', '', line)) for line in fatal[-1:]] + [short(line) for line in archive[-1:]])


# -- the last one

def summary(note):
    """The last drill in words."""
    if note['ok']:
        return 'backup %s was restored and checked on %s in %d s; %s' % (
            note['label'], note['node'], note['seconds'].get('total') or 0,
            'newest commit %s' % note['newest_commit'] if note.get('newest_commit') else 'no commit came after the backup')
    return 'backup %s, on %s: %s' % (note['label'], note['node'], note['problem'])


def newest(seen):
    """Of [what the nodes remember], the one that ended last, or None. A node that was down, or is new, does not know of it."""
    notes = [each['last'] for each in seen if each and each.get('last')]
    return max(notes, key=lambda note: note['ended']) if notes else None


def age_words(seconds):
    if seconds < 7200:
        return '%d minutes' % (max(0, seconds) // 60)
    return '%d hours' % (seconds // 3600) if seconds < 172800 else '%d days' % (seconds // 86400)


def drill(seen):
    """What status shows of it: {ok, age_seconds, text} and the result itself, None where there are no backups. seen: [what the nodes remember]."""
    known = [each for each in seen if each]
    if not known:
        return None
    last = newest(known)
    if last is None:
        return {'ok': None, 'age_seconds': None, 'text': 'none was made', 'result': None}
    age = max(0, max(each['now'] for each in known) - last['ended'])
    return {'ok': last['ok'], 'age_seconds': age, 'text': '%s ago%s: %s' % (age_words(age), '' if last['ok'] else ', failed', summary(last)), 'result': last}


def problem_of(seen):
    """(code, seen, expected, steps) of the last drill, or None. seen: [what the nodes remember], that of the primary first."""
    known = [each for each in seen if each]
    if not known:
        return None
    last, now, hours = newest(known), max(each['now'] for each in known), known[0]['max_age']
    again = _steps.playbook('verify_backup')
    if last is not None and not last['ok']:
        first = ['Look at that query, and at repmgr_verify_queries.'] if last.get('kind') == 'query' else [
            _steps.playbook('backup', repmgr_backup_type='full', reason='Make a new backup by')]
        return ('backup_verify_failed', 'the last restore drill failed: %s' % summary(last), 'a backup that can be restored',
                first + [dict(again, reason='Then try it by')])
    if hours and (last is None or now - last['ended'] > hours * 3600):
        return ('backup_verify_old', 'no restore drill was made' if last is None else 'the last restore drill was %s ago' % age_words(now - last['ended']),
                'one within %d hours' % hours, again)
    return None
