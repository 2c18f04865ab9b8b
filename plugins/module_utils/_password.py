# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: whether a deployment would replace a password of the repmgr role that it does not know.

A role without a password may be given one. An existing password is in use, by nodes that log in with it from a place that the collection does not read: a
connection string, another passfile, a program of the operator's.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata

# https://www.postgresql.org/docs/current/catalog-pg-authid.html
_SCRAM = re.compile(r'SCRAM-SHA-256\$(\d+):([^$:]+)\$([^$:]+):([^$:]+)\Z')
_MD5 = re.compile(r'md5[0-9a-f]{32}\Z')


def is_of(stored, user, password):
    """Whether `stored`, rolpassword of the role `user`, is that of this password; None if that cannot be told here."""
    # On Python 2 a text may be bytes.
    user, password = [text.decode('utf-8') if isinstance(text, bytes) else text for text in (user, password)]
    try:
        scram = _SCRAM.match(stored)
        if scram:
            iterations, salt, key = int(scram.group(1)), base64.b64decode(scram.group(2)), base64.b64decode(scram.group(3))
            # The client normalises a password that is not plain ASCII (RFC 4013).
            return any(_scram_key(text, salt, iterations) == key for text in set([password, unicodedata.normalize('NFKC', password)]))
        if _MD5.match(stored):
            return stored == 'md5' + hashlib.md5((password + user).encode('utf-8')).hexdigest()
    except (ValueError, TypeError, binascii.Error):
        # md5 is missing where FIPS forbids it.
        pass
    return None


def _scram_key(password, salt, iterations):
    salted = hashlib.pbkdf2_hmac('sha256', password.encode('utf-8'), salt, iterations)
    return hashlib.sha256(hmac.new(salted, b'Client Key', hashlib.sha256).digest()).digest()


def unknown(answers, user, given, line):
    """'' if nothing is replaced that is not known, otherwise why not: 'unset', 'given', 'line' or 'unseen'.

    answers: [(exit code, output)] of the queries for rolpassword, one for each way to ask. given: repmgr_password. line: the password in the passfile of the
    primary, '' if there is none; it counts where no answer came, because a cluster that was built by hand need not let anybody ask.
    """
    stored = ([output.strip() for code, output in answers if code == 0] or [None])[0]
    if stored == '':
        return ''
    password = given or line
    if stored is not None and not password:
        return 'unset'
    known = None if stored is None else is_of(stored, user, password)
    if known is None:
        return '' if line else 'unseen'
    return '' if known else 'given' if given else 'line'
