# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever package sources of PGDG a host has, the role ends with one that works, or changes nothing. hypothesis is not on Python 2.7."""

from __future__ import annotations

import itertools

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _sources  # noqa: E402  pylint: disable=wrong-import-position
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Host, Observed  # noqa: E402  pylint: disable=wrong-import-position

URIS = (_sources.URI, _sources.URI + "/", "http://apt.postgresql.org/pub/repos/apt", "https://mirror.example/apt")
SUITES = ("bookworm-pgdg", "bookworm-pgdg-archive", "bookworm-pgdg-testing", "bullseye-pgdg")
OURS = [_sources.line("bookworm-pgdg"), _sources.line("bullseye-pgdg")]
KEYS = ("", "/usr/share/keyrings/a.asc", "/gone.asc", _sources.KEY)
LINES = st.builds(
    lambda sign, key, arch, uri, suite, components: sign + "deb %s%s %s %s" % (
        "[%s] " % " ".join(filter(None, [arch, key and "signed-by=" + key])) if arch or key else "", uri, suite, components),
    st.sampled_from(("", "", "", "# ")), st.sampled_from(KEYS), st.sampled_from(("", "arch=amd64", "arch=arm64")), st.sampled_from(URIS),
    st.sampled_from(SUITES), st.sampled_from(("main", "15", "main 15")))
FILES = st.lists(st.one_of(LINES, st.sampled_from(OURS)), max_size=5, unique=True)


def plan(lines, keys, missing):
    sources = _sources.parse(_sources.FILE, "\n".join(lines))
    for source in sources:
        source["missing_keys"] = [key for key in source["keys"] if key not in keys]
    return sources, _sources.plan(Host(
        name="a", package_source="pgdg", os_family="Debian", release="bookworm", architecture="x86_64",
        observed=Observed(package_sources=sources, missing_packages=missing)))


def refused_by_apt(sources):
    """As apt 2.6 was seen to do it, which takes the first key that it reads for that of the URI and suite."""
    def place(source):
        return source["uris"][0].partition("://")[2].rstrip("/"), source["suites"][0]

    return [(one["line"], other["line"]) for one, other in itertools.combinations([source for source in sources if source["enabled"]], 2)
            if place(one) == place(other) and one["signed"] and one["keys"] != other["keys"]]


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(FILES, st.sampled_from([[], ["postgresql-15"]]), st.booleans())
def test_what_the_role_leaves(lines, missing, has_key):
    keys = ["/usr/share/keyrings/a.asc"] + ([_sources.KEY] if has_key else [])
    before, found = plan(lines, keys, missing)
    if found["problem"]:
        assert missing and not found["does"] and not found["stale"]
        return
    after = [line for line in lines if line not in found["stale"]]
    # Only what is ours, word for word, is taken away.
    assert set(lines) - set(after) <= set(OURS)
    if "source" in found["does"]:
        after, keys = after + [found["line"]] * (found["line"] not in after), keys + [_sources.KEY]
    sources, again = plan(after, keys, [])
    # What contradicts each other without the role's source is not the role's.
    assert refused_by_apt(sources) == [] or refused_by_apt([source for source in before if not source["ours"]])
    # The next run, which has its packages, finds nothing to do.
    assert (again["does"], again["problem"]) == ([], None)
    if missing:
        assert [source for source in sources if source["enabled"] and "main" in source["components"] and not source["missing_keys"]
                and source["suites"][0] in ("bookworm-pgdg", "bookworm-pgdg-archive")]
