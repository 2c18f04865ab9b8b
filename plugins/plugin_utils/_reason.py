# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: the reason why a task with `no_log` failed, without the secrets that it used."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import json
import re

HIDDEN = '********'
_PEM = re.compile('-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\\Z)', re.DOTALL)
# Messages that only say that a module crashed; the last line of the traceback has the reason.
_CRASHED = ('MODULE FAILURE', 'The module failed to execute correctly')


def reason(result, secrets=()):
    """result: the result of a failed task or loop. secrets: the strings to hide, in all usual encodings."""
    results = [item for item in result.get('results') or [] if isinstance(item, dict) and item.get('failed')] or [result]
    said = []
    for item in results:
        text = _message(item)
        if text and text not in said:
            said.append(text)
    return hidden('; '.join(said) or 'no reason was given', secrets)


def _message(result):
    text = ('%s' % (result.get('msg') or '',)).strip()
    if not text or text.startswith(_CRASHED):
        for key in ('module_stderr', 'exception', 'stderr', 'module_stdout'):
            lines = ('%s' % (result.get(key) or '',)).strip().splitlines()
            if lines:
                return ' '.join(([text.splitlines()[0] + ':'] if text else []) + [lines[-1].strip()])
    return text


def hidden(text, secrets):
    text = _PEM.sub(HIDDEN, text)
    spellings = set()
    for secret in secrets:
        secret = '%s' % ('' if secret is None else secret,)
        if secret:
            # The plain secret, and as escaped in a passfile, in JSON, in SQL, and in base64 by slurp.
            escaped = secret.replace('\\', '\\\\').replace(':', '\\:')
            for spelling in (secret, escaped, secret.replace("'", "''")):
                spellings.update((spelling, json.dumps(spelling)[1:-1], repr(spelling)[1:-1]))
            spellings.add(base64.b64encode(secret.encode('utf-8')).decode('ascii'))
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text
