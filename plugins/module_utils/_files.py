# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PURE: files that a role writes, compared with what the observation saw of them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib


def seen_as(text, rights):
    """What the observation reports of a file with this content. rights: 'mode owner group'."""
    return '%s %s' % (hashlib.sha256(text.encode('utf-8')).hexdigest(), rights)


def stale(texts, rights, places, seen):
    """The names of the files that would change. texts: their contents, in the order of `rights`, {name: 'mode owner group'}. places: {name: path}.

    seen: {path: what the observation reports}.
    """
    return [name for name, text in zip(rights, texts) if seen.get(places[name]) != seen_as(text, rights[name])]
