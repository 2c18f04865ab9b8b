#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_proxy_info
short_description: Ask HAProxy where it sends clients
version_added: 0.1.0
description:
  - Reads the statistics of HAProxy on this host, as CSV over HTTP. Works with HAProxy 1.8 and later, and needs no privileges.
  - A HAProxy that does not answer is a result, not a failure, and costs two seconds.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.info
author:
  - The pgfleet authors (@pgfleet)
options:
  address:
    description:
      - The address of its statistics.
    type: str
    default: 127.0.0.1
  port:
    description:
      - The port of its statistics.
    type: int
    default: 8404
  expected:
    description:
      - For each of these backends the servers that are to be up, and no others. A HAProxy that answers otherwise is asked again for O(seconds); a backend
        that it does not have is ignored.
    type: dict
    default: {}
  seconds:
    description:
      - The limit for asking again.
    type: float
    default: 0
seealso:
  - module: pgfleet.repmgr.repmgr_status
"""

EXAMPLES = r"""
- name: Read which servers HAProxy sends clients to
  pgfleet.repmgr.repmgr_proxy_info:
  register: proxy

- name: Wait until it sends writes to db2 alone
  pgfleet.repmgr.repmgr_proxy_info:
    expected:
      orders-primary: [db2]
    seconds: 10
"""

RETURN = r"""
state:
  description: V(answers); V(refused) if nothing listens there; V(silent) if there was no answer in time; V(other) if the answer is not that of HAProxy.
  returned: always
  type: str
error:
  description: Why there is no answer, otherwise empty.
  returned: always
  type: str
backends:
  description:
    - For each backend its servers, each with C(node) (its name), C(up), C(status) as HAProxy has it, C(sessions), the number of current ones,
      C(changed_seconds) since it was last taken for up or down, and C(check), the result of the last check. Unknown numbers are V(none).
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _http, _proxies

# Seconds for one answer, and between two.
LIMIT = 2
PAUSE = 0.5


def ask(address, port, get=_http.get):
    """{state, error, backends}"""
    found = {'state': 'answers', 'error': '', 'backends': {}}
    where = '%s:%d' % ('[%s]' % address if ':' in address else address, port)
    try:
        code, body = get(address, port, '/;csv', LIMIT)
        backends = _proxies.parse(body) if code == 200 else None
        if backends is None:
            raise _http.HttpError('other', 'an answer (%d) that is not the statistics of HAProxy' % code)
        return dict(found, backends=backends)
    except _http.HttpError as exc:
        return dict(found, state=exc.state, error='%s at %s' % (exc, where))


def look(address, port, expected, seconds, once=ask, clock=time.time, sleep=time.sleep):
    """The answer; the last one where several were needed until it is as expected."""
    deadline = clock() + seconds
    while True:
        found = once(address, port)
        if found['state'] != 'answers' or _proxies.agrees(found['backends'], expected) or clock() + PAUSE > deadline:
            return found
        sleep(PAUSE)


def main():
    module = AnsibleModule(supports_check_mode=True, argument_spec=dict(
        address=dict(type='str', default='127.0.0.1'),
        port=dict(type='int', default=8404),
        expected=dict(type='dict', default={}),
        seconds=dict(type='float', default=0),
    ))
    params = module.params
    module.exit_json(changed=False, **look(params['address'], params['port'], params['expected'], params['seconds']))


if __name__ == '__main__':
    main()
