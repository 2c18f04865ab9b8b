# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: pg_hba.conf with the rules of the collection in a marked block at the top. All lines below the block belong to the operator.

PostgreSQL uses the first rule that matches, so order and duplicates matter, and nothing outside of the block is sorted or merged.
https://www.postgresql.org/docs/current/auth-pg-hba-conf.html
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re
import socket

# The markers of blockinfile, which wrote the block on hosts with Python 2 before.
BEGIN = '# BEGIN pgfleet.repmgr'
END = '# END pgfleet.repmgr'
# The order in a run: allow its own connections over the local socket, add missing rules, and at the end remove rules that are no longer wanted.
STEPS = ('socket', 'add', 'remove')
TYPES = ('local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc')
# Without the methods of Windows and BSD: the server does not start with a method that it was not built with.
METHODS = ('trust', 'reject', 'scram-sha-256', 'md5', 'password', 'gss', 'ident', 'peer', 'ldap', 'radius', 'cert', 'pam', 'oauth')
# The connection types that these methods are restricted to.
_ONLY_FOR = {'peer': ('local',), 'cert': ('hostssl',), 'gss': TYPES[1:]}
KEYS = ('contype', 'databases', 'users', 'address', 'netmask', 'method', 'options', 'comment', 'state')
# Earlier versions of the collection wrote this rule above the operator's own lines.
_FORMER = ('local', 'all', 'all', 'peer')
# The characters that PostgreSQL treats as blanks; other Unicode spaces are not.
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
        """The line that community.postgresql.postgresql_pg_hba wrote for earlier versions of the collection."""
        return '\t'.join(self.words + ([' '.join(sorted(self.options))] if self.options else []))


def _word(value):
    # Module arguments are bytes on Python 2.
    return '' if value is None else (value.decode('utf-8') if isinstance(value, bytes) else '%s' % (value,)).strip()


def _options(value):
    if isinstance(value, dict):
        return ['%s=%s' % (_word(name), _word(value[name])) for name in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [_word(item) for item in value]
    return _WORD.findall(_word(value))


def _bits(address):
    """The bits of a numeric address as a string of 0 and 1, or None if it is not one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return ''.join('{0:08b}'.format(byte) for byte in bytearray(socket.inet_pton(family, address)))
        except (socket.error, ValueError, UnicodeError):
            continue
    return None


def is_address(text):
    return _bits(text) is not None


def _network(address, mask):
    """address/prefix if there is a netmask, otherwise the address unchanged."""
    bits = _bits(mask) if mask else None
    return '%s/%d' % (address, bits.count('1')) if bits else address


def problem(values):
    """What is wrong with an entry of repmgr_pg_hba_extra, or ''. With an invalid line in pg_hba.conf PostgreSQL does not start."""
    if not isinstance(values, dict):
        return 'is not a dictionary'
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
    # A line that ends in a backslash is continued in the next one.
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


def _host_network(address):
    return address + ('/128' if ':' in address else '/32')


def _rules(hba, reach):
    """The rules of the collection, the one for the local socket first.

    hba: the settings from the inventory. reach: the members with the IP addresses that this node resolves for them.
    """
    found = [_Rule({'contype': 'local', 'users': hba['os_user'], 'method': 'peer'})]
    for entry in reach or []:
        for address in sorted(entry.get('addresses') or []):
            for database in (hba['database'], 'replication'):
                found.append(_Rule({
                    'contype': 'hostssl' if hba['tls'] else 'host', 'databases': database, 'users': hba['user'],
                    'address': _host_network(address), 'method': 'trust' if hba['trust'] else 'scram-sha-256'}))
    return found + [_Rule(values) for values in hba['extra'] or [] if not problem(values)]


# -- the file

def text(present, hba, reach, step, leaving=(), sources=()):
    """The new text of pg_hba.conf after `step`, one of STEPS. leaving: the addresses of a node that leaves the cluster. sources: addresses that members
    connect from and that are not theirs, see _changeover.sources_to().

    Lines below the block are left unchanged, except for lines that an earlier version of the collection wrote there (they are in the block now) and, with
    `remove`, rules for the repmgr role that are not in the inventory. Those are removed last because a node may still need one to log in; one by which a
    member comes from an address that no rule of the inventory allows stays.
    """
    rules = _rules(hba, reach)
    wanted = [rule for rule in rules if not rule.absent][:1 if step == 'socket' else None]
    moved, fields = set(rule.former_line for rule in wanted), set(rule.fields for rule in wanted)
    block, rest = _parts(present)
    block = [line.rstrip('\r\n') + '\n' for line in block if _fields(line) not in fields]
    rest = [line for line in rest if line.rstrip('\r\n') not in moved]
    if step == 'remove':
        gone = set(rule.subject for rule in rules if rule.absent)
        # If a member does not resolve at the moment, the addresses in its rules are known only from the file.
        complete = all(entry.get('addresses') for entry in reach or [])
        theirs = set(_host_network(address) for address in leaving)

        def stays(line, in_block):
            found = _fields(line)
            if not found or found in fields:
                return True
            if found[:3 if found[0] == 'local' else 4] in gone or in_block and found == _FORMER:
                return False
            # An operator's `reject` rule for the role grants nothing and may stay.
            if not _is_for_role(found, hba) or not in_block and found[4:5] == ('reject',):
                return True
            if found[3] in theirs:
                return False
            return not complete or found[4:5] != ('reject',) and any(
                _has(found[3], source) and not _is_allowed(wanted, hba, found[1], source) for source in sources)

        block, rest = [line for line in block if stays(line, True)], [line for line in rest if stays(line, False)]
    own = []
    for rule in wanted:
        if rule.line not in own:
            own.append(rule.line)
    return ''.join([BEGIN + '\n'] + own + block + [END + '\n'] + rest)


def _has(network, address):
    """Whether the address field of a rule includes an address; True if that cannot be told here, as for a host name."""
    host, slash, prefix = network.partition('/')
    bits = _bits(host)
    if not slash or bits is None or not prefix.isdigit():
        return network != 'samehost'
    of_address = _bits(address)
    return of_address is not None and len(of_address) == len(bits) and of_address[:int(prefix)] == bits[:int(prefix)]


def _is_allowed(wanted, hba, database, address):
    """Whether one of these rules lets the repmgr role in from this address."""
    databases = (database,) if database == 'replication' else (database, 'all')
    return any(rule.words[0] != 'local' and rule.words[1] in databases and rule.words[2] in (hba['user'], 'all') and rule.words[4] != 'reject'
               and _bits(rule.words[3].partition('/')[0]) and _has(rule.words[3], address) for rule in wanted)


def due(present, hba, reach):
    """The steps that would change the file. present: its text, or None if it does not exist."""
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
    """The lines as PostgreSQL 14 and later reads them, with line ends: after a backslash at its end a line, even a comment, is continued in the next."""
    found, goes_on = [], False
    for line in re.findall('[^\n]*\n|[^\n]+', content):
        if goes_on:
            found[-1] += line
        else:
            found.append(line)
        goes_on = line.rstrip('\r\n').endswith('\\')
    return found


def _parts(content):
    """(lines in the block, all other lines)."""
    found = _lines(content)
    bare = [line.rstrip(_BLANKS) for line in found]
    if BEGIN not in bare or END not in bare[bare.index(BEGIN):]:
        return [], found
    begin = bare.index(BEGIN)
    end = bare.index(END, begin)
    return found[begin + 1:end], found[:begin] + found[end + 1:]


def _fields(line):
    """The fields of one rule, its address as address/prefix. () if it is not a rule, or not a simple one: a list with blanks, an unterminated quote."""
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
