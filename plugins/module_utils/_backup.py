# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: backups by pgBackRest. What the inventory may say of them, the configuration, who makes one from whom, and what the repository says it has.

Everything that knows pgBackRest is in here; the program repmgr-backup, the roles and the observation speak of tools, backups and repositories.
No other file of the collection is needed, because the program takes this one with it.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import posixpath
import re

TOOLS = ('none', 'pgbackrest')
TYPES = ('full', 'differential', 'incremental')
# As pgBackRest has them.
_TYPE_OPTION = {'full': 'full', 'differential': 'diff', 'incremental': 'incr'}
_TYPE_WORD = dict((short, long) for long, short in _TYPE_OPTION.items())
# {type of repository: ({key: default}, secret keys)}. None: has to be given.
REPOSITORIES = {
    'host': ({'path': '/var/lib/pgbackrest'}, ()),
    'directory': ({'path': None}, ()),
    's3': ({'path': '/pgbackrest', 'bucket': None, 'endpoint': None, 'region': None, 'key': None, 'key_secret': None, 'uri_style': 'host', 'ca_file': ''},
           ('key', 'key_secret')),
    'azure': ({'path': '/pgbackrest', 'account': None, 'container': None, 'key': None}, ('key',)),
    'gcs': ({'path': '/pgbackrest', 'bucket': None, 'key_file': None}, ()),
}
_OPTIONS = {
    's3': {'bucket': 's3-bucket', 'endpoint': 's3-endpoint', 'region': 's3-region', 'key': 's3-key', 'key_secret': 's3-key-secret',
           'uri_style': 's3-uri-style', 'ca_file': 'storage-ca-file'},
    'azure': {'account': 'azure-account', 'container': 'azure-container', 'key': 'azure-key'},
    'gcs': {'bucket': 'gcs-bucket', 'key_file': 'gcs-key'},
}
# The file that says, once the collection has made the stanza or was told to take it over, of which repository that is true.
MARKER = 'ours'
# What makes a repository another one: the type, and these.
_PLACE = ('account', 'bucket', 'container', 'path')
# The folder of a repository is given to the server's user, and closed to others. None of these may be.
_NOT_TO_GIVE_AWAY = frozenset('/' + path for path in (
    'bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr usr/bin usr/lib usr/local usr/sbin usr/share var var/backups var/cache '
    'var/lib var/lib/pgsql var/lib/postgresql var/log var/mail var/opt var/run var/spool var/tmp').split())
_PATH = re.compile(r'/[A-Za-z0-9_.,:@+=/-]+\Z')
_SIZE = re.compile(r'([1-9][0-9]*)(MB|GB|TB)\Z')
_DAYS = '(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*'
_CALENDAR = re.compile(
    r'(?:minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually'
    r'|(?:{0}(?:(?:,|\.\.){0})*(?:\s+|\Z))?(?:[0-9*,/.~]+-[0-9*,/.~-]+(?:\s+|\Z))?'
    r'(?:[0-9*,/.]+:[0-9*,/.]+(?::[0-9*,/.]+)?)?(?:\s+(?:UTC|[A-Z][A-Za-z_]+/[A-Za-z_]+))?)\Z'
    .format(_DAYS))
# What pgBackRest is given for a WAL file before it says that it failed. A server that shuts down tries three times, one second apart, and then goes
# without: what the repository takes of a switchover is three times this.
ARCHIVE_TIMEOUT = 5
# What a backup waits for the WAL that it needs to be archived: after three failures PostgreSQL tries again a minute later.
BACKUP_TIMEOUT = 300
# Commands whose other half runs on the other host, by what that host is to them.
_REMOTE = {
    'repo': ('archive-get', 'archive-push', 'check', 'info', 'restore', 'verify', 'manifest', 'repo-get', 'repo-ls'),
    'pg': ('backup', 'check', 'stanza-create', 'stanza-upgrade', 'stanza-delete'),
}
# Where it would write, what it would run, and where the rest of the configuration is read from.
_NOT_FOR_PEERS = re.compile(
    '(?:no-|reset-)?(?:cmd|config-|log-path|lock-path|spool-path|tls-|repo[0-9]*-(?:path|type|host|cipher|s3|gcs|azure|storage))|(?:no-|reset-)config')
_FIXED = ('config', 'config-path', 'config-include-path', 'stanza')


# -- the inventory

def normalized(repository):
    """The repository with its defaults, or None where its type is unknown."""
    given = repository if isinstance(repository, dict) else {}
    kind = given.get('type', 'host')
    if kind not in REPOSITORIES:
        return None
    return dict(REPOSITORIES[kind][0], **dict(given, type=kind))


def place(repository):
    """What tells a repository from another one."""
    values = normalized(repository)
    return ' '.join([values['type']] + ['%s' % values[key] for key in _PLACE if key in values])


def without_secrets(repository):
    """The same without what nobody shall read: of a secret, whether it is given."""
    found = dict(repository) if isinstance(repository, dict) else repository
    for key in REPOSITORIES.get(found.get('type', 'host'), ((), ()))[1] if isinstance(found, dict) else ():
        if found.get(key):
            found[key] = '(given)'
    return found


def input_problems(backup):
    """[(seen, expected, what to do)] of what the inventory says of the backups of one host."""
    tool = backup.get('tool')
    if tool not in TOOLS:
        return [('repmgr_backup is "%s"' % (tool,), 'one of %s' % ', '.join(TOOLS), 'Correct repmgr_backup.')]
    if tool == 'none':
        return []
    found = _repository_problems(backup)
    if backup.get('archive_command_named'):
        found.append(('repmgr_archive_command is set beside repmgr_backup', 'one of the two, because a server has one archive',
                      'Leave out repmgr_archive_command, or set it to /bin/true to give up the archive that the servers had before.'))
    schedule = backup.get('schedule')
    for kind, value in sorted(schedule.items()) if isinstance(schedule, dict) else [('', schedule)]:
        if kind not in TYPES:
            found.append(('repmgr_backup_schedule has "%s"' % (kind or value,), 'one or more of %s' % ', '.join(TYPES), 'Correct repmgr_backup_schedule.'))
        elif value and not is_calendar(value):
            found.append(('repmgr_backup_schedule.%s is "%s"' % (kind, value), 'a calendar event of systemd, as "Sun 02:00" or "daily"',
                          'Try it by systemd-analyze calendar, and correct repmgr_backup_schedule.'))
    if isinstance(schedule, dict) and not schedule.get('full'):
        found.append(('repmgr_backup_schedule has no full backup', 'when to make one, because old backups are removed only after a new full one',
                      'Set repmgr_backup_schedule.full.'))
    retention = backup.get('retention')
    for kind, value in sorted(retention.items()) if isinstance(retention, dict) else [('', retention)]:
        if kind not in ('full', 'differential'):
            found.append(('repmgr_backup_retention has "%s"' % (kind or value,), 'full, and differential if wanted', 'Correct repmgr_backup_retention.'))
        elif not _number(value, 1):
            found.append(('repmgr_backup_retention.%s is "%s"' % (kind, value), 'how many to keep, 1 or more', 'Correct repmgr_backup_retention.'))
    if isinstance(retention, dict) and 'full' not in retention:
        found.append(('repmgr_backup_retention has no full', 'how many full backups to keep', 'Set repmgr_backup_retention.full.'))
    for name in ('processes', 'max_age'):
        if not _number(backup.get(name), 1):
            found.append(('repmgr_backup_%s is "%s"' % (name, backup.get(name)), 'a number of 1 or more', 'Correct repmgr_backup_%s.' % name))
    if not _SIZE.match('%s' % (backup.get('archive_queue'),)):
        found.append(('repmgr_backup_archive_queue is "%s"' % (backup.get('archive_queue'),), 'a size as 8GB or 512MB', 'Correct repmgr_backup_archive_queue.'))
    if not _number(backup.get('verify_max_age', 0), 0):
        found.append(('repmgr_verify_max_age is "%s"' % (backup.get('verify_max_age'),), 'a number of hours, 0 for any age', 'Correct repmgr_verify_max_age.'))
    directory = '%s' % (backup.get('verify_directory') or '',)
    if directory and (not _PATH.match(directory) or re.search(r'(^|/)\.\.(/|$)', directory)):
        found.append(('repmgr_verify_directory is "%s"' % directory, 'the absolute path of a directory, without blanks, quotes and ..',
                      'Correct repmgr_verify_directory.'))
    found += [(seen, expected, 'Correct repmgr_verify_queries.') for seen, expected in query_problems(backup.get('verify_queries') or [])]
    if int(backup.get('cipher_lines') or 1) > 1:
        found.append(('repmgr_backup_cipher_pass has more than one line', 'one line', 'Correct repmgr_backup_cipher_pass.'))
    return found


def query_problems(queries):
    """[(seen, expected)] of what a restore drill shall ask the restored databases."""
    if not isinstance(queries, list):
        return [('repmgr_verify_queries is no list', 'a list of dictionaries with database, query and expected')]
    found = []
    for number, query in enumerate(queries, 1):
        where = 'query %d of repmgr_verify_queries' % number
        if not isinstance(query, dict):
            found.append(('%s is no dictionary' % where, 'one with database, query and, if wanted, expected'))
            continue
        unknown = sorted('%s' % key for key in set(query) - set(['database', 'query', 'expected']))
        if unknown:
            found.append(('%s has %s' % (where, ', '.join(unknown)), 'database, query and, if wanted, expected'))
        for key in ('database', 'query'):
            if not hasattr(query.get(key), 'lower') or not query[key].strip():
                found.append(('%s has no %s' % (where, key), 'a text'))
        if 'expected' in query and (isinstance(query['expected'], (bool, float)) or not (
                hasattr(query['expected'], 'lower') or re.match(r'-?[0-9]+\Z', '%s' % (query['expected'],)))):
            found.append(('%s expects %s' % (where, query['expected']), 'a text or a whole number, as psql -At prints it (t and f for booleans)'))
    return found


def _number(value, least):
    return not isinstance(value, bool) and re.match(r'[0-9]+\Z', '%s' % (value,)) is not None and int(value) >= least


def is_calendar(value):
    """Whether a text looks like a calendar event of systemd. The host's own systemd has the last word."""
    value = ('%s' % (value,)).strip()
    return bool(value) and _CALENDAR.match(value) is not None


def _repository_problems(backup):
    given = backup.get('repository')
    if not isinstance(given, dict) or given.get('type', 'host') not in REPOSITORIES:
        return [('repmgr_backup_repository is "%s"' % (given if not isinstance(given, dict) else given.get('type'),),
                 'a dictionary whose type is one of %s' % ', '.join(sorted(REPOSITORIES)), 'Correct repmgr_backup_repository.')]
    kind = given.get('type', 'host')
    known, found = REPOSITORIES[kind][0], []
    values = normalized(given)
    unknown = sorted('%s' % (key,) for key in set(given) - set(known) - set(['type']))
    if unknown:
        found.append(('repmgr_backup_repository has %s' % ', '.join(unknown), 'of a repository of type %s: %s' % (kind, ', '.join(sorted(known))),
                      'Correct repmgr_backup_repository.'))
    missing = sorted(key for key in known if values.get(key) is None or values.get(key) == '' and known[key] is None)
    if missing:
        found.append(('repmgr_backup_repository has no %s' % ', '.join(missing), 'a value for each', 'Complete repmgr_backup_repository.'))
    for key in [key for key in sorted(known) if key not in missing]:
        if re.search('[\r\n]', '%s' % (values[key],)):
            found.append(('repmgr_backup_repository.%s has more than one line' % key, 'one line', 'Correct repmgr_backup_repository.'))
    path = '%s' % (values.get('path') or '',)
    if 'path' not in missing and (not _PATH.match(path) or re.search(r'(^|/)\.\.(/|$)', path) or posixpath.normpath(path) == '/'):
        found.append(('repmgr_backup_repository.path is "%s"' % path, 'the absolute path of a folder, without blanks, quotes and ..',
                      'Correct repmgr_backup_repository.'))
    elif kind in ('host', 'directory') and posixpath.normpath(path) in _NOT_TO_GIVE_AWAY:
        found.append(('repmgr_backup_repository.path is "%s", which the system uses' % path, 'a folder of its own, because its owner and mode are changed',
                      'Set repmgr_backup_repository.path to a folder below it.'))
    data = '%s' % (backup.get('data_directory') or '',)
    if data and (path + '/').startswith(data.rstrip('/') + '/'):
        found.append(('repmgr_backup_repository.path is "%s", which is in repmgr_data_directory' % path, 'a folder elsewhere', 'Correct one of them.'))
    if values.get('uri_style', 'host') not in ('host', 'path'):
        found.append(('repmgr_backup_repository.uri_style is "%s"' % (values['uri_style'],), 'host or path', 'Correct repmgr_backup_repository.'))
    if kind == 'host':
        hosts = backup.get('hosts') or []
        if len(hosts) != 1:
            found.append(('group %s has %s for this cluster' % (backup.get('group'), 'no host' if not hosts else ' and '.join(hosts)),
                          'one host, which keeps its repository', 'Correct the group, or set repmgr_backup_repository.'))
        elif hosts[0] in (backup.get('data_hosts') or []):
            found.append(('the repository is on %s, a data node' % hosts[0], 'another host, because it would be lost with that node',
                          'Put another host into group %s, which may be the witness.' % backup.get('group')))
    return found


# -- the place of the repository, before anything is written there

def place_problems(seen, wanted):
    """[(seen, expected, what to do)] of what stands where the repository is to be.

    seen: {conf: its configuration, '' where there is none; folder: {exists, directory, owner, entries}, {} where no host keeps it}; wanted: {repository,
    cipher_pass, os_user}. The pass is in none of the texts.
    """
    found, folder, path = [], seen.get('folder') or {}, normalized(wanted['repository'])['path']
    # A filesystem that was just made has lost+found.
    entries = sorted(set(folder.get('entries') or []) - set(['lost+found']))
    if folder.get('exists') and not folder.get('directory'):
        found.append(('%s is no directory' % path, 'a directory, or nothing', 'Set another repmgr_backup_repository.path, or move it away.'))
    elif folder.get('exists') and folder.get('owner') != wanted['os_user'] and entries:
        found.append(('%s belongs to %s and has %s' % (path, folder.get('owner') or '?', ', '.join(entries[:3]) + (', ...' if entries[3:] else '')),
                      'an empty directory, or one of %s' % wanted['os_user'],
                      'Set another repmgr_backup_repository.path; if that is an earlier repository, give it to %s.' % wanted['os_user']))
    before = _repository_options(line.partition('=')[::2] for line in seen.get('conf', '').splitlines())
    after = _repository_options((key, '%s' % value) for key, value in _writes_to(wanted['repository'], wanted['cipher_pass']) if value not in (None, ''))
    if before and before[0] == after[0] and before[1] != after[1]:
        found.append(('%s than that with which the repository in %s was set up' % (
            'repmgr_backup_cipher_pass is another one' if before[1] and after[1] else
            'repmgr_backup_cipher_pass is empty, which is another one' if before[1] else 'repmgr_backup_cipher_pass is set, which is another one', path),
            'the same, because with another one its backups cannot be read, and it cannot be changed',
            'Restore the former value of repmgr_backup_cipher_pass, or set another repmgr_backup_repository.path for a new repository.'))
    return found


def has_other_pass(conf, cipher_pass):
    """Whether a configuration has a cipher pass that is not this one, and may be the last copy of it."""
    options = _repository_options(line.partition('=')[::2] for line in (conf or '').splitlines())
    return bool(options and options[1] and options[1] != '%s' % (cipher_pass or '',))


def _repository_options(options):
    """(what makes it this repository, its pass) of the options of a configuration, or None where it has none."""
    given = dict((key, value) for key, value in options if key.startswith('repo1-'))
    place = tuple((key, value) for key, value in sorted(given.items()) if key == 'repo1-type' or key.rpartition('-')[2] in _PLACE)
    return (place, given.get('repo1-cipher-pass', '')) if 'repo1-path' in given else None


# -- configuration
#
# settings: tool, cluster, os_user, port, socket_directory, data_directory, repository, cipher_pass, retention, processes, archive_queue, max_age, paths
# (of the programs and files), repository_address, repository_ssh_port; nodes: [{name, address, ssh_port, port, data_directory}].

def _ini(sections):
    lines = ['# Ansible managed']
    for name, options in sections:
        lines += ['', '[%s]' % name] + ['%s=%s' % option for option in options if option[1] not in (None, '')]
    return '\n'.join(lines) + '\n'


def _common(settings):
    return [('log-level-console', 'warn'), ('log-level-file', 'info'), ('log-path', settings['log_path']), ('process-max', settings['processes']),
            ('compress-type', 'gz'), ('compress-level', '3'), ('start-fast', 'y'), ('archive-timeout', BACKUP_TIMEOUT)]


def _writes_to(repository, cipher_pass):
    repository = normalized(repository)
    kind = repository['type']
    options = [] if kind in ('host', 'directory') else [('repo1-type', kind)]
    options += [('repo1-path', repository['path'])]
    options += [('repo1-%s' % option, repository.get(key)) for key, option in sorted(_OPTIONS.get(kind, {}).items())]
    if cipher_pass:
        options += [('repo1-cipher-type', 'aes-256-cbc'), ('repo1-cipher-pass', cipher_pass)]
    return options


def _keeps(settings):
    """The options of a host that writes to the repository itself."""
    retention = settings['retention']
    return _writes_to(settings['repository'], settings.get('cipher_pass')) + [
        ('repo1-retention-full', retention['full']), ('repo1-retention-diff', retention.get('differential'))]


def node_conf(settings):
    """pgbackrest.conf of a data node. Any of them may become primary, so it is the same on all, regardless of which one is primary now."""
    if normalized(settings['repository'])['type'] == 'host':
        repository = [('repo1-host', settings['repository_address']), ('repo1-host-user', settings['os_user']),
                      ('repo1-host-port', settings['repository_ssh_port']), ('repo1-host-config', settings['repository_conf']),
                      ('cmd-ssh', settings['ssh'])]
    else:
        repository = _keeps(settings)
    return _ini([
        ('global', _common(settings) + repository + [
            ('spool-path', settings['spool_path']), ('archive-async', 'y'), ('archive-push-queue-max', settings['archive_queue'])]),
        ('global:archive-push', [('archive-timeout', ARCHIVE_TIMEOUT)]),
        (settings['cluster'], [('pg1-path', settings['data_directory']), ('pg1-port', settings['port']),
                               ('pg1-socket-path', settings['socket_directory'])]),
    ])


def repository_conf(settings):
    """pgbackrest.conf of the host of the repository. The node from which a backup is made is chosen for each backup and given as options."""
    return _ini([('global', _common(settings) + _keeps(settings) + [('cmd-ssh', settings['ssh'])]), (settings['cluster'], [('pg1-path', '/nonexistent')])])


def files(settings):
    """{name: content} of a directory for one cluster: node.* on a data node, repository.* on the host of the repository."""
    directory, to_host = settings['directory'], normalized(settings['repository'])['type'] == 'host'
    common = dict((key, '%s' % settings[key]) for key in ('tool', 'cluster', 'os_user'))
    common.update(max_age=int(settings['max_age']), verify_max_age=int(settings['verify_max_age']), ssh=settings['ssh'],
                  lock=posixpath.join(settings['spool_path'], 'repmgr-%s.lock' % settings['cluster']),
                  node_conf=posixpath.join(directory, 'node.conf'), marker=posixpath.join(directory, MARKER), place=place(settings['repository']))
    nodes = dict((node['name'], dict((key, node[key]) for key in ('address', 'ssh_port', 'port', 'data_directory', 'socket_directory')))
                 for node in settings['nodes'])
    found = {
        'node.conf': node_conf(settings),
        'node.json': _json(dict(common, side='pg', name=settings['name'], conf=posixpath.join(directory, 'node.conf'), psql=settings['psql'],
                                port=settings['port'], socket_directory=settings['socket_directory'], makes=not to_host)),
    }
    if to_host:
        found['repository.conf'] = repository_conf(settings)
        found['repository.json'] = _json(dict(common, side='repo', conf=settings['repository_conf'], nodes=nodes, makes=True))
    return found


def _json(values):
    return json.dumps(values, indent=2, sort_keys=True, separators=(',', ': ')) + '\n'


# -- which host makes a backup, and from which node

def choose(states):
    """states: {node: what it says of itself, or None where it does not answer} -> {primary, standby, refused}.

    A standby spares the primary the reading. One that is delayed, paused or on another timeline would keep the backup waiting for what it does not replay.
    """
    primaries = sorted(name for name, state in states.items() if state and state.get('in_recovery') is False)
    if len(primaries) != 1:
        return {'primary': '', 'standby': '', 'refused': 'primaries that answer: %s; expected one' % (', '.join(primaries) or 'none')}
    timeline = states[primaries[0]].get('timeline')
    able = sorted(name for name, state in states.items() if state and state.get('in_recovery') and state.get('streaming') and state.get('delay') == 0
                  and not state.get('paused') and state.get('timeline') == timeline)
    return {'primary': primaries[0], 'standby': able[0] if able else '', 'refused': ''}


def lacks_checkpoint(state):
    """Whether the control data of a primary is still that of the timeline from which it was promoted. state: what it says of itself."""
    return state.get('checkpoint_timeline') not in (None, state.get('timeline'))


def due(judged, timeline):
    """The type of backup that is due whatever the schedule says, or ''. judged: as judge() has it; timeline: that of the primary.

    What the last primary had not archived when it was lost is in no archive, so that from there on nothing can be restored before there is a backup
    of the new timeline.
    """
    if judged['state'] == 'no_backup':
        return 'full'
    if judged['state'] == 'ok' and judged['last'] and timeline and judged['last']['timeline'] != timeline:
        return 'incremental'
    return ''


def wal_folders(names, first):
    """Those folders of the archive that may have WAL from the first file on. A folder has what has the first 16 characters in common."""
    return [name for name in names if name[:8] == first[:8] and name[:16] >= first[:16]]


def missing_wal(names, first, end=None):
    """WAL files that lack between the first one and the newest that is there, of its timeline: [name].

    names: of files as the archive has them, "000000070000000000000013-<checksum>.gz"; first: (name, bytes of a WAL file); end: the number of the file before
    which that timeline has ended, however many there are.
    """
    name, size = first
    timeline, each = name[:8], 0x100000000 // size
    there = set(_wal_number(found, each) for found in names if re.match('[0-9A-F]{24}-', found) and found[:8] == timeline)
    begin = _wal_number(name, each)
    stop = max(there or [begin]) if end is None else end
    return ['%s%08X%08X' % ((timeline,) + divmod(number, each)) for number in range(begin, stop) if number not in there]


def _wal_number(name, each):
    return int(name[8:16], 16) * each + int(name[16:24], 16)


def lost_wal(before, state, after):
    """What of the missing WAL no longer comes. before and after: what lacks at two moments; state: what the primary said of itself between them.

    Several files are sent at once, so that one may lack for a moment. One that PostgreSQL has no longer to archive had arrived by then, or never will.
    """
    waiting = set(state.get('waiting') or [])
    return [name for name in after if name in before and name not in waiting]


def backup_command(settings, nodes, chosen, kind):
    """The words that make a backup. nodes: {name: {address, ssh_port, port, data_directory}}; none where the program runs on the primary itself."""
    words = command(settings, 'backup', 'type=%s' % _TYPE_OPTION[kind])
    return words if not nodes else words[:-1] + _sources(settings, nodes, chosen) + words[-1:]


def create_command(settings, nodes, chosen):
    words = command(settings, 'stanza-create')
    return words if not nodes else words[:-1] + _sources(settings, nodes, dict(chosen, standby='')) + words[-1:]


def _sources(settings, nodes, chosen):
    found = []
    for number, name in enumerate([name for name in (chosen['primary'], chosen['standby']) if name], 1):
        node = nodes[name]
        for option, value in (('host', node['address']), ('host-user', settings['os_user']), ('host-port', node['ssh_port']),
                              ('host-config', settings['node_conf']), ('path', node['data_directory']), ('port', node['port']),
                              ('socket-path', node['socket_directory'])):
            found.append('--pg%d-%s=%s' % (number, option, value))
    return found + (['--backup-standby'] if chosen['standby'] else [])


def command(settings, name, *options):
    """Without blanks that a shell would take apart: pgBackRest itself hands these words to one."""
    return ['pgbackrest', '--config=%s' % settings['conf'], '--stanza=%s' % settings['cluster']] + ['--%s' % option for option in options] + [name]


def is_allowed(words, side, settings):
    """Whether what a peer asks for over SSH is the other half of pgBackRest, with our configuration, for our cluster. side: what this host is, repo or pg.

    That keeps other commands out, not a hostile peer: whichever command it is started for, the other half reads, writes and removes files, and runs SQL.
    """
    if not words or words[0] not in ('pgbackrest', '/usr/bin/pgbackrest'):
        return False
    name, dummy, role = words[-1].partition(':')
    given = dict(word[2:].partition('=')[::2] for word in words[1:-1] if word.startswith('--'))
    if role != 'remote' or name not in _REMOTE[side] or len(given) != len(words) - 2 or given.get('remote-type') != side:
        return False
    fixed = dict((key, given[key]) for key in _FIXED if key in given)
    if fixed != {'config': settings['conf'], 'stanza': settings['cluster']}:
        return False
    return not [key for key in given if _NOT_FOR_PEERS.match(key)]


# -- what the repository has

def judge(text, cluster):
    """What `pgbackrest info --output=json` says: {state: ok, no_backup, no_stanza, unreachable, reason, last, oldest, count, archive}."""
    try:
        stanzas = [stanza for stanza in json.loads(text) if stanza.get('name') == cluster]
    except (TypeError, ValueError, AttributeError):
        return _judged('unreachable', reason='the repository says nothing that can be read')
    if not stanzas:
        return _judged('no_stanza')
    stanza = stanzas[0]
    status = stanza.get('status') or {}
    if status.get('code') in (1, 3):
        return _judged('no_stanza', reason=status.get('message') or '')
    good = [backup for backup in stanza.get('backup') or [] if not backup.get('error')]
    if status.get('code') not in (0, 2, 4) or status.get('code') == 4 and not good:
        return _judged('unreachable', reason=_reason(stanza))
    if not good:
        return _judged('no_backup')
    ordered = sorted(good, key=lambda backup: backup['timestamp']['stop'])
    return _judged('ok', last=_backup(ordered[-1]), oldest=_backup(ordered[0]), count=len(ordered),
                   archive=((stanza.get('archive') or [{}])[-1].get('id') or ''))


def backups(text, cluster):
    """Each backup that is good, the oldest first, with stop_lsn besides."""
    found = [backup for stanza in json.loads(text) if stanza.get('name') == cluster for backup in stanza.get('backup') or [] if not backup.get('error')]
    return [dict(_backup(backup), stop_lsn=(backup.get('lsn') or {}).get('stop') or '') for backup in sorted(found, key=lambda each: each['timestamp']['stop'])]


def archived(text, cluster):
    """{id, min, max}: the newest archive, its first and its last WAL file, or None."""
    found = [archive for stanza in json.loads(text) if stanza.get('name') == cluster for archive in stanza.get('archive') or [] if archive.get('max')]
    return {'id': found[-1].get('id') or '', 'min': found[-1]['min'], 'max': found[-1]['max']} if found else None


def answered(code, out, err, cluster):
    """The same of a call that may have failed, or was ended because it took too long."""
    if code == 0:
        return judge(out, cluster)
    lines = [line.strip() for line in (err or '').splitlines() if line.strip()]
    return _judged('unreachable', reason=lines[0] if lines else 'no answer in time')


def _judged(state, reason='', last=None, oldest=None, count=0, archive=''):
    return {'state': state, 'reason': reason, 'last': last, 'oldest': oldest, 'count': count, 'archive': archive}


def _reason(stanza):
    """The first line of what is wrong with the repository itself."""
    said = [(repo.get('status') or {}).get('message') or '' for repo in stanza.get('repo') or []] + [(stanza.get('status') or {}).get('message') or '']
    return ('\n'.join(part for part in said if part).splitlines() or [''])[0]


def _backup(values):
    start = (values.get('archive') or {}).get('start') or ''
    times = values['timestamp']
    return {
        'label': values['label'], 'type': _TYPE_WORD.get(values.get('type'), values.get('type')), 'started': times['start'], 'ended': times['stop'],
        'seconds': times['stop'] - times['start'], 'bytes': (values.get('info') or {}).get('size'),
        'repository_bytes': ((values.get('info') or {}).get('repository') or {}).get('delta'),
        'timeline': int(start[:8], 16) if re.match('[0-9A-F]{24}', start) else None, 'first_wal': start,
    }


def problems(seen):
    """[(code, seen, expected)] of what the primary saw: {settings, judged, archiver, now}. The worst one first, and of the repository one alone."""
    found, judged = [], seen['judged']
    hours = seen['settings']['max_age']
    if judged['state'] == 'unreachable':
        found.append(('backup_repository', 'the backup repository does not answer: %s' % (judged['reason'] or 'no reason given'), 'one that answers'))
    elif judged['state'] == 'no_stanza':
        found.append(('backup_stanza', 'the backup repository does not know the cluster', 'one that takes its WAL and its backups'))
    elif judged['state'] == 'no_backup':
        found.append(('backup_missing', 'the backup repository has no backup of the cluster', 'one or more'))
    elif seen['now'] - judged['last']['ended'] > hours * 3600:
        found.append(('backup_old', 'the last backup, %s, is %d hours old' % (judged['last']['label'], (seen['now'] - judged['last']['ended']) // 3600),
                      '%d hours or less' % hours))
    archiver = seen.get('archiver') or {}
    if archiver.get('failing'):
        found.append(('archive_failing', 'archiving fails since %s: %s' % (archiver.get('failing_since') or '?', archiver.get('last_failed_wal')),
                      'WAL that reaches the repository'))
    return found
