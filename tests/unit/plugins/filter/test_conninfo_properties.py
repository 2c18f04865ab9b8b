# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection strings with arbitrary contents. These tests are in the folder of the filters, because hypothesis is not available on Python 2.7."""

from __future__ import annotations

import random
import string
import urllib.parse

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _conninfo  # noqa: E402  pylint: disable=wrong-import-position

KEYWORDS = ("host", "hostaddr", "port", "user", "dbname", "application_name", "sslmode", "sslrootcert", "connect_timeout", "options")
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=12)
VALUES = st.dictionaries(st.sampled_from(KEYWORDS), TEXT.filter(bool), max_size=6)
# Blanks, quotes, backslashes and equals signs make up most of what goes wrong.
AWKWARD = st.dictionaries(st.sampled_from(KEYWORDS), st.text(" '\\=\nab:/@%?&", min_size=1, max_size=8), max_size=6)
quickly = hypothesis.settings(max_examples=200, deadline=None)


def written(values, chance):
    """One of the many ways to write the same: any order, with blanks, with quotes where none are needed."""
    words = []
    for name, value in chance.sample(sorted(values.items()), len(values)):
        quoted = "'%s'" % value.replace("\\", "\\\\").replace("'", "\\'")
        if chance.random() < 0.5 and value and all(char in string.ascii_letters + string.digits + "/.:-" for char in value):
            quoted = value
        elif chance.random() < 0.3:
            quoted = "".join("\\" + char for char in value)
        blank = chance.choice(["", " ", "  "])
        words.append(name + blank + "=" + blank + quoted)
    return chance.choice(["", " "]) + chance.choice([" ", "\n", "   "]).join(words) + chance.choice(["", "\n"])


@quickly
@hypothesis.given(VALUES | AWKWARD)
def test_what_is_built_is_read(values):
    assert _conninfo.parse(_conninfo.build(values)) == values


@quickly
@hypothesis.given(VALUES | AWKWARD, st.integers())
def test_the_same_in_other_words(values, seed):
    chance = random.Random(seed)
    one, other = written(values, chance), written(values, chance)
    assert _conninfo.parse(one) == values
    assert all(_conninfo.same(*pair) for pair in ((one, other), (other, one)))
    assert _conninfo.same(one, written(dict(values, password="it's secret"), chance))


@quickly
@hypothesis.given(VALUES | AWKWARD, st.sampled_from(KEYWORDS), TEXT.filter(bool), st.integers())
def test_another_value_is_another_string(values, name, value, seed):
    chance = random.Random(seed)
    changed = dict(values, **{name: value})
    hypothesis.assume(_conninfo.effective(values) != _conninfo.effective(changed))
    assert not _conninfo.same(written(values, chance), written(changed, chance))


@quickly
@hypothesis.given(st.fixed_dictionaries(
    {"host": st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)},
    optional={"port": st.integers(1, 65535).map(str), "user": TEXT.filter(bool), "dbname": TEXT.filter(bool), "sslrootcert": TEXT.filter(bool)}), st.integers())
def test_a_uri_is_the_same_as_keywords(values, seed):
    quoted = {name: urllib.parse.quote(value, safe="") for name, value in values.items()}
    uri = "postgresql://%s%s%s/%s%s" % (
        quoted["user"] + "@" if "user" in values else "", values["host"], ":" + values["port"] if "port" in values else "", quoted.get("dbname", ""),
        "?sslrootcert=" + quoted["sslrootcert"] if "sslrootcert" in values else "")
    assert _conninfo.parse(uri) == values
    assert _conninfo.same(uri, written(values, random.Random(seed)))


@quickly
@hypothesis.given(TEXT | st.text("host=' \\a", max_size=20) | st.text("postgres:/@?&=[]a%1", max_size=20).map(lambda text: "postgresql://" + text))
def test_anything_is_read_or_refused(text):
    try:
        found = _conninfo.parse(text)
    except ValueError:
        assert _conninfo.parse_or_empty(text) == {}
        assert _conninfo.same(text, text) and not _conninfo.same(text, "host=a")
    else:
        assert all(isinstance(item, str) for pair in found.items() for item in pair)
        assert _conninfo.same(text, text)
