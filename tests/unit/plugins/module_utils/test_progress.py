# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import time

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _progress


@pytest.mark.parametrize('number, text', [(0, '0 bytes'), (1023, '1023 bytes'), (1536, '1.5 kB'), (13314398618, '12.4 GB'), (2 ** 50, '1048576.0 GB')])
def test_sizes_as_people_say_them(number, text):
    assert _progress.human(number) == text


@pytest.mark.parametrize('seconds, text', [(0.4, '0 s'), (59.6, '1 min 0 s'), (75, '1 min 15 s'), (3600, '1 h 0 min'), (90000, '25 h 0 min')])
def test_times_as_people_say_them(seconds, text):
    assert _progress.span(seconds) == text


@pytest.mark.parametrize('note, text', [
    (dict(done=3 * 2 ** 30, total=12 * 2 ** 30, seen=30), 'clone: 3.0 GB of 12.0 GB, 102.4 MB/s, 1 min 30 s left'),
    (dict(done=2 ** 30, total=None, seen=10), 'clone: 1.0 GB, 102.4 MB/s'),
    (dict(done=None, total=None, seen=75), 'clone: since 1 min 15 s'),
    # The source counts more than it announced: what was written meanwhile.
    (dict(done=5, total=4, seen=1), 'clone: 5 bytes of 4 bytes, 5 bytes/s'),
    (dict(done=0, total=4, seen=0), 'clone: 0 bytes of 4 bytes'),
])
def test_line(note, text):
    assert _progress.line(dict(note, action='clone', begun=0)) == text


def test_the_file_is_there_while_it_lasts(tmpdir, monkeypatch):
    monkeypatch.setattr(_progress, '_SECONDS', 0.01)
    path = str(tmpdir.join('progress.json'))
    answers = [None, (1, 10), (2, 10)]
    with _progress.Progress(path, 'clone', lambda: answers.pop(0) if len(answers) > 1 else answers[0]):
        deadline = time.time() + 10
        while time.time() < deadline:
            with open(path) as handle:
                note = json.load(handle)
            if note['done'] == 2:
                break
        assert (note['action'], note['done'], note['total']) == ('clone', 2, 10)
    assert not os.path.exists(path)


def test_a_place_that_cannot_be_written_stops_nothing(tmpdir):
    with _progress.Progress(str(tmpdir.join('none', 'progress.json')), 'rewind'):
        pass
