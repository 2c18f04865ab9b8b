# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: pg_hba.conf with the rules of the collection in a marked block at its top. What stands below the block is the operator's.

PostgreSQL uses the first line that matches, so order and duplicates mean something, and nothing outside of the block is sorted or merged.
https://www.postgresql.org/docs/current/auth-pg-hba-conf.html
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re
import socket

# As blockinfile writes them, which wrote the block on hosts with Python 2 before.
BEGIN = '# BEGIN pgfleet.repmgr'
END = '# END pgfleet.repmgr'
# A run goes from one to the next: it lets itself in over the socket, adds what is missing, and at its end removes what nobody asks for any more.
STEPS = ('socket', 'add', 'remove')
TYPES = ('local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc')
# Those of Windows and BSD are not among them: the server does not start with a method that it was not built with.
METHODS = ('trust', 'reject', 'scram-sha-256', 'md5', 'password', 'gss', 'ident', 'peer', 'ldap', 'radius', 'cert', 'pam', 'oauth')
# Who these methods are for.
_ONLY_FOR = {'peer': ('local',), 'cert': ('hostssl',), 'gss': TYPES[1:]}
KEYS = ('contype', 'databases', 'users', 'address', 'netmask', 'method', 'options', 'comment', 'state')
# Earlier versions wrote it above the operator's own lines.
_FORMER = ('local', 'all', 'all', 'peer')
# PostgreSQL's own idea of a blank, which has no other Unicode spaces.
_BLANKS = ' \t\r\n'
_WORD = re.compile('(?:"[^"]*"|[^%s"#])+' % _BLANKS)


# -- the rules

class _Rule:
    """One rule as the collection writes it."""

    def __init__(self, values):
        value = dict((key, _word(values[key])) for key in KEYS if key != 'options' and _word(values.get(key)))
        self.absent = value.get('state') == 'absent'
        self.comment = value.get('comment', '')
        words = [value['contype'], value.get('databases', 'all'), value.get('users', 'all')]
        if value['contype'] != 'local':
            words.append(_network(value.get('address', 'samehost'), value.get('netmask')))
        self.subject = tuple(words)
        self.words = words + [value.get('method', 'md5')]
        self.options = _options(values.get('options'))

    @property
    def fields(self):
        return tuple(self.words + self.options)

    @property
    def line(self):
        return ' '.join(self.fields) + (' # ' + self.comment if self.comment else '') + '\n'

    @property
    def former_line(self):
        """As community.postgresql.postgresql_pg_hba wrote it for earlier versions."""
        return '\t'.join(self.words + ([' '.join(sorted(self.options))] if self.options else []))


def _word(value):
    # Arguments of a module are bytes on Python 2.
    return '' if value is None else (value.decode('utf-8') if isinstance(value, bytes) else '%s' % (value,)).strip()


def _options(value):
    if isinstance(value, dict):
        return ['%s=%s' % (_word(name), _word(value[name])) for name in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [_word(item) for item in value]
    return _WORD.findall(_word(value))


def _bits(address):
    """The bits of a numeric address as a string of 0 and 1, or None for what is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return ''.join('{0:08b}'.format(byte) for byte in bytearray(socket.inet_pton(family, address)))
        except (socket.error, ValueError, UnicodeError):
            continue
    return None


def _network(address, mask):
    """address/prefix, where a mask says how long the prefix is; else the address as it is."""
    bits = _bits(mask) if mask else None
    return '%s/%d' % (address, bits.count('1')) if bits else address


def problem(values):
    """What is wrong with an entry of repmgr_pg_hba_extra, or ''. A line that PostgreSQL cannot read keeps it from its next start."""
    if not isinstance(values, dict):
        return 'is no dictionary'
    unknown = sorted('%s' % (key,) for key in values if key not in KEYS)
    if unknown:
        return 'has %s' % ', '.join(unknown)
    for key, allowed in (('contype', TYPES), ('method', METHODS + ('',)), ('state', ('present', 'absent', ''))):
        if _word(values.get(key)) not in allowed:
            return 'has %s "%s"' % (key, _word(values.get(key)))
    contype, method = _word(values['contype']), _word(values.get('method'))
    if contype not in _ONLY_FOR.get(method, TYPES) and _word(values.get('state')) != 'absent':
        return 'is %s and has method "%s"' % (contype, method)
    for key in ('databases', 'users', 'address', 'netmask'):
        if isinstance(values.get(key), (dict, list)) or _word(values.get(key)) and not _is_word(_word(values[key])):
            return 'has %s "%s"' % (key, _word(values[key]))
    options = _options(values.get('options'))
    # A line that ends in a backslash goes on in the next one.
    if [option for option in options if not _is_word(option) or '=' not in option or option.endswith('\\')]:
        return 'has options "%s"' % ' '.join(options)
    if re.search('[\r\n]|\\\\$', _word(values.get('comment'))):
        return 'has comment "%s"' % _word(values['comment'])
    return _address_problem(values)


def _is_word(value):
    match = _WORD.match(value)
    return bool(match) and match.end() == len(value) and not re.search('[\r\n]|^,|,$', value)


def _address_problem(values):
    address, mask = _word(values.get('address')), _word(values.get('netmask'))
    if _word(values['contype']) == 'local':
        return 'is local and has an address' if address or mask else ''
    host, slash, prefix = address.partition('/')
    bits = _bits(host)
    if mask:
        of_mask = _bits(mask)
        fits = bits and of_mask and not slash and len(bits) == len(of_mask) and '01' not in of_mask
    elif slash:
        fits = bits and re.match('[0-9]+$', prefix) and int(prefix) <= len(bits)
    else:
        fits = not bits
    return '' if fits else 'has address "%s"' % ' '.join(word for word in (address, mask) if word)


def _rules(hba, reach):
    """hba: what the inventory asks for; reach: the members with the addresses that this node has for them -> [_Rule], the one for the socket first."""
    found = [_Rule({'contype': 'local', 'users': hba['os_user'], 'method': 'peer'})]
    for entry in reach or []:
        for address in sorted(entry.get('addresses') or []):
            for database in (hba['database'], 'replication'):
                found.append(_Rule({
                    'contype': 'hostssl' if hba['tls'] else 'host', 'databases': database, 'users': hba['user'],
                    'address': address + ('/128' if ':' in address else '/32'), 'method': 'trust' if hba['trust'] else 'scram-sha-256'}))
    return found + [_Rule(values) for values in hba['extra'] or [] if not problem(values)]


# -- the file

def text(present, hba, reach, step):
    """The new text of pg_hba.conf, as the step of STEPS leaves it.

    Below the block every line stays as it is, but for those that an earlier version has written there, which are in the block now, and, with
    `remove`, rules for the repmgr role that the inventory does not ask for. These are removed last: a node may still log in by one.
    """
    rules = _rules(hba, reach)
    wanted = [rule for rule in rules if not rule.absent][:1 if step == 'socket' else None]
    moved, fields = set(rule.former_line for rule in wanted), set(rule.fields for rule in wanted)
    block, rest = _parts(present)
    block = [line.rstrip('\r\n') + '\n' for line in block if _fields(line) not in fields]
    rest = [line for line in rest if line.rstrip('\r\n') not in moved]
    if step == 'remove':
        gone = set(rule.subject for rule in rules if rule.absent)
        # A member that does not resolve at the moment has rules as well, and only the file knows for which addresses.
        complete = all(entry.get('addresses') for entry in reach or [])

        def stays(line, in_block):
            found = _fields(line)
            if not found or found in fields:
                return True
            if found[:3 if found[0] == 'local' else 4] in gone or in_block and found == _FORMER:
                return False
            # Who refuses the role by a line of his own lets nobody in by it.
            return not complete or not _is_for_role(found, hba) or not in_block and found[4:5] == ('reject',)

        block, rest = [line for line in block if stays(line, True)], [line for line in rest if stays(line, False)]
    own = []
    for rule in wanted:
        if rule.line not in own:
            own.append(rule.line)
    return ''.join([BEGIN + '\n'] + own + block + [END + '\n'] + rest)


def due(present, hba, reach):
    """The steps that would change the file; present is None where there is none."""
    if present is None:
        return ['add']
    added = text(present, hba, reach, 'add')
    return [step for step, changes in (
        ('socket', text(present, hba, reach, 'socket') != present), ('add', added != present), ('remove', text(added, hba, reach, 'remove') != added),
    ) if changes]


def rules(content):
    """The fields of each rule of a file, in its order."""
    return [fields for fields in (_fields(line) for line in _lines(content)) if fields]


def _lines(content):
    """The lines as PostgreSQL 14 and later reads them: one that ends in a backslash goes on in the next, in comments too. With their line ends."""
    found, goes_on = [], False
    for line in re.findall('[^\n]*\n|[^\n]+', content):
        if goes_on:
            found[-1] += line
        else:
            found.append(line)
        goes_on = line.rstrip('\r\n').endswith('\\')
    return found


def _parts(content):
    """The lines in the block, and all others."""
    found = _lines(content)
    bare = [line.rstrip(_BLANKS) for line in found]
    if BEGIN not in bare or END not in bare[bare.index(BEGIN):]:
        return [], found
    begin = bare.index(BEGIN)
    end = bare.index(END, begin)
    return found[begin + 1:end], found[:begin] + found[end + 1:]


def _fields(line):
    """The fields of one rule, its address as address/prefix; () for what is none, or is no plain one: a list with blanks in it, a quote that does not end."""
    line = re.sub('\\\\\r*\n', '', line)
    found, position = [], 0
    while True:
        position += len(line[position:]) - len(line[position:].lstrip(_BLANKS))
        if line[position:position + 1] in ('', '#'):
            break
        match = _WORD.match(line, position)
        if not match or match.group().startswith(',') or match.group().endswith(','):
            return ()
        found.append(match.group())
        position = match.end()
    if len(found) < 4 or found[0] not in TYPES:
        return ()
    if found[0] != 'local' and len(found) > 5 and _bits(found[3]) and _bits(found[4]):
        found[3:5] = [_network(found[3], found[4])]
    return tuple(found)


def _is_for_role(fields, hba):
    return fields[0] != 'local' and fields[1] in (hba['database'], 'replication') and fields[2] == hba['user']
