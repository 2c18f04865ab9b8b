# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the health endpoint of this node says about /primary."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import io
import json
import os
import time

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _http

# Seconds for one answer. The endpoint itself waits for its server for 0.8 s at most, and an answer of its server counts for 0.5 s.
LIMIT = 1
_FRESH = 0.6


def ask(root='/', get=_http.get):
    """One answer: {installed, answers, primary, reason, error}. The port, and whether it speaks TLS, are those that the endpoint was configured with.

    primary: whether it says 200; None where it does not answer. reason: why it does not, in the endpoint's own words.
    """
    found = {'installed': True, 'answers': False, 'primary': None, 'reason': '', 'error': ''}
    try:
        with io.open(os.path.join(root, 'etc/pgfleet/health.json'), encoding='utf-8') as handle:
            config = json.load(handle)
        code, body = get('127.0.0.1', int(config['listen_port']), '/primary', LIMIT, tls=bool(config['tls']))
        told = json.loads(body)
        if code not in (200, 503) or told['patroni']['scope'] != config['cluster'] or told['patroni']['name'] != config['name']:
            raise ValueError('not the endpoint of this node')
        reason = told.get('reason') or {}
        found.update(answers=True, primary=code == 200, reason='' if code == 200 else '%s' % (reason.get('text') or 'it is a %s' % told.get('role')))
    except _http.HttpError as exc:
        found['error'] = '%s on port %s' % (exc, config['listen_port'])
    except (IOError, OSError):
        found.update(installed=False, error='it is not installed')
    except (ValueError, KeyError, TypeError, AttributeError):
        found['error'] = 'another program answers on its port, or it does not know what to answer'
    return found


def settle(first, writable, again=ask, sleep=time.sleep):
    """The answer, with `settled`: whether it was the same before and after the server was asked. A role that changes meanwhile is no contradiction.

    first: of ask(), before the server was asked. writable: whether that has said that it is a primary. Nothing is asked again if all agree.
    """
    if first['answers'] and first['primary'] == writable or not first['installed']:
        return dict(first, settled=True)
    sleep(_FRESH)
    second = again()
    return dict(second, settled=(first['answers'], first['primary']) == (second['answers'], second['primary']))
