# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore with arbitrary targets and backups. Here because hypothesis is not available on Python 2.7."""

from __future__ import annotations

import datetime

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _restore  # noqa: E402  pylint: disable=wrong-import-position

quickly = hypothesis.settings(deadline=None, print_blob=True)


@quickly
@hypothesis.given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2090, 1, 1)), st.integers(-12 * 60, 14 * 60))
def test_a_time_is_the_same_in_any_zone(when, minutes):
    local = when + datetime.timedelta(minutes=minutes)
    zone = '%s%02d:%02d' % ('-' if minutes < 0 else '+', abs(minutes) // 60, abs(minutes) % 60)
    text = _restore.target({'time': local.strftime('%Y-%m-%d %H:%M:%S.%f') + zone})['value']
    assert text == when.strftime('%Y-%m-%d %H:%M:%S') + ('.%06d' % when.microsecond if when.microsecond else '') + '+00'
    assert _restore.target({'time': text})['value'] == text


@quickly
@hypothesis.given(st.one_of(st.text(), st.integers(), st.none(), st.dictionaries(
    st.sampled_from(_restore.TARGETS + ('set', 'timeline', 'exclusive', 'x')), st.one_of(st.text(), st.integers(), st.booleans(), st.none()), max_size=4)))
def test_any_input_is_refused_or_understood(wanted):
    if not _restore.input_problems(wanted):
        found = _restore.target(wanted)
        assert _restore.words(found)
        options = _restore.recovery_options(found, 1, ['get'])
        text = _restore.conf_text(options)
        # No value ends its line or its quotes.
        assert len(text.splitlines()) == len(options) and all(line.endswith("'") for line in text.splitlines())


@quickly
@hypothesis.given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=8), st.integers(1, 4), st.lists(st.integers(0, 9), min_size=3, max_size=3),
                  st.integers(0, 9))
def test_what_is_chosen_had_ended_by_then_and_is_of_that_history(made, timeline, ends, wanted):
    found = [{'label': '20261130-16582%dF' % number, 'timeline': each, 'stop_lsn': '0/%d' % place, 'ended': 1796057907}
             for number, (each, place) in enumerate(made)]
    ancestors = [(number, sorted(ends)[number - 1]) for number in range(1, timeline)]
    backup, problem = _restore.choose(found, _restore.target({'lsn': '0/%d' % wanted}), timeline, ancestors)
    right = [each for each in found if int(each['stop_lsn'][2:]) <= wanted and (
        each['timeline'] == timeline or each['timeline'] < timeline and int(each['stop_lsn'][2:]) <= dict(ancestors)[each['timeline']])]
    assert (backup is None) == (problem is not None) and backup == (right[-1] if right else None)
