# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render the message of a refusal on the controller, where it is known how the collection is installed."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import message


def say_refusal(result):
    """The result of a module with its message rendered again: the host does not know whether the controller has an installed collection or a checkout."""
    refusal = result.get('refusal')
    if result.get('failed') and isinstance(refusal, dict):
        result['msg'] = message(refusal['node'], refusal['seen'], refusal['expected'], refusal['steps'])
    return result
