# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import hashlib
import hmac

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _by_hand, _password

# The example of RFC 7677: user "user", password "pencil".
SALT = 'W22ZaJ0SNY7soEsUEjb6gQ=='
MD5 = 'md5' + hashlib.md5(b'pencilrepmgr').hexdigest()


def stored(password, iterations=4096):
    salted = hashlib.pbkdf2_hmac('sha256', password.encode('utf-8'), base64.b64decode(SALT), iterations)
    key, server = (hmac.new(salted, name, hashlib.sha256).digest() for name in (b'Client Key', b'Server Key'))
    return 'SCRAM-SHA-256$%d:%s$%s:%s' % (
        iterations, SALT, base64.b64encode(hashlib.sha256(key).digest()).decode(), base64.b64encode(server).decode())


def test_the_key_of_the_rfc():
    # Its server signature, v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=, follows from the same salted password.
    message = (b'n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,'
               b'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0')
    server = base64.b64decode(stored('pencil').rpartition(':')[2])
    assert base64.b64encode(hmac.new(server, message, hashlib.sha256).digest()) == b'6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='


@pytest.mark.parametrize('text, password, known', [
    (stored('pencil'), 'pencil', True), (stored('pencil', 10), 'pencil', True), (stored('pencil'), 'Pencil', False), (stored('pencil'), '', False),
    (MD5, 'pencil', True), (MD5, 'Pencil', False),
    # Normalised by the client, and by one that does not.
    (stored(u'\u2168\u00e9'), u'\u2168\u00e9', True), (stored(u'IX\u00e9'), u'\u2168\u00e9', True), (stored(u'IX'), u'\u2169', False),
    ('SCRAM-SHA-256$4096:x$y:z', 'pencil', None), ('SCRAM-SHA-512$4096:eA==$eA==:eA==', 'pencil', None), ('pencil', 'pencil', None),
])
def test_is_of(text, password, known):
    assert _password.is_of(text, 'repmgr', password) is known


SET = [(0, stored('pencil') + '\n')]


@pytest.mark.parametrize('answers, given, line, why', [
    ([(0, '\n')], '', '', ''), ([(0, '')], 'pencil', '', ''), ([(2, ''), (0, '\n')], '', '', ''),
    (SET, '', '', 'unset'), ([(2, '')] + SET, '', '', 'unset'), (SET, 'pencil', '', ''), (SET, 'pencil', 'other', ''), (SET, 'other', 'pencil', 'given'),
    (SET, '', 'pencil', ''), (SET, '', 'other', 'line'), ([(0, 'md5of another age')], '', 'pencil', ''),
    ([(2, '')], '', '', 'unseen'), ([], 'pencil', '', 'unseen'), ([(2, '')], '', 'pencil', ''), ([(2, '')], 'other', 'pencil', ''),
])
def test_unknown(answers, given, line, why):
    assert _password.unknown(answers, 'repmgr', given, line) == why


@pytest.mark.parametrize('text, has', [
    ('*:*:*:repmgr:x\n', True), ('a:5432:*:*:x', True), ('# a:5432:*:repmgr:x\n', False), ('a:5432:*:other:x\n', False), ('', False), (None, False)])
def test_has_line(tmp_path, text, has):
    if text is not None:
        (tmp_path / '.pgpass').write_text(u'%s' % text)
    assert _by_hand.has_line(str(tmp_path / '.pgpass'), 'repmgr') is has
