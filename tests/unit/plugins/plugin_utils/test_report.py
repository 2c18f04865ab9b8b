# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import html.parser
import re

import pytest
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _status, _topology
from ansible_collections.pgfleet.repmgr.plugins.plugin_utils import _report
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils import status_cases as cases

import browser

EVIL = "<script>alert(1)</script>"


def page(*clusters):
    return _report.page(_status.status([record for cluster in clusters for record in cluster.records()], "2026-03-04T05:06:07Z"))


class Reader(html.parser.HTMLParser):
    """The tags of a page, those that were never closed, and its text."""

    EMPTY = {"meta", "link", "br", "path", "rect", "circle"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_the_last_restore_drill():
    cluster = cases.healthy()
    assert "Restore drill" not in Reader(page(cluster)).text
    last = {"ok": False, "ended": 100, "label": "L", "node": "db2", "problem": EVIL, "kind": "damage", "seconds": {}}
    for note, said in ((None, "none was made"), (last, "failed: backup L, on db2: " + EVIL), (dict(last, ok=True), "backup L was restored and checked on db2")):
        cluster.observed[1].verified = {"max_age": 0, "now": 200, "last": note}
        found = Reader(page(cluster))
        assert found.open == [] and "Restore drill" in found.text and said in found.text


def test_where_clients_are_sent():
    cluster = cases.healthy()
    assert "Where proxies send clients" not in Reader(page(cluster)).text and "/primary" not in Reader(page(cluster)).text
    cluster.observed[1].health = {"installed": True, "answers": True, "primary": True, "settled": True, "reason": "", "error": ""}
    records = [dict(record, routing={"proxies": ["lb1"], "rw_port": 5000, "ro_port": 5001}) for record in cluster.records()]
    server = {"node": EVIL, "up": True, "status": "UP", "sessions": 2, "changed_seconds": 99, "check": ""}
    answer = {"name": "lb1", "unreachable": False, "state": "answers", "error": "", "asked_after": 1,
              "backends": {"orders-primary": [server], "orders-replicas": [dict(server, up=False, sessions=0)]}}
    found = Reader(_report.page(_status.status(records, proxies=[answer])))
    assert found.open == [] and "script" not in found.tags
    assert "Where proxies send clients proxy state server writes (port 5000) reads (port 5001) lb1 answers %s up, 2 sessions down" % EVIL in found.text
    assert found.text.count("/primary") == 1 and " 200 " in found.text


@pytest.mark.parametrize("case", sorted(cases.CASES))
def test_every_case_is_a_whole_page(case):
    found = Reader(page(cases.CASES[case]()))
    assert found.open == []
    view = _status.status(cases.CASES[case]().records())["clusters"][0]
    assert (view["next"] or "Nothing to do") in found.text
    for problem in view["problems"]:
        assert problem["seen"] in found.text and problem["command"].splitlines()[0] in found.text
    for node in view["nodes"]:
        assert node["state"] in found.text
    assert "None" not in found.text and "observed 2026-03-04 05:06:07 UTC" in found.text


@pytest.mark.parametrize(("case", "verdict", "sign"), [
    (cases.healthy, "healthy", "\u2713"), (cases.primary_gone, "degraded", "!"), (cases.paused_and_primary_down, "no primary", "\u2715"),
    (cases.two_primaries, "two primaries", "\u2715"), (cases.nobody_reached, "unknown", "!")])
def test_the_verdict_is_a_word_and_a_sign(case, verdict, sign):
    assert f"{sign} orders: {verdict} " in Reader(page(case())).text


def test_it_is_self_contained():
    found = Reader(page(cases.healthy(), cases.Cluster(name="billing")))
    assert not {"script", "iframe", "object", "img", "form"} & set(found.tags)
    assert not [pair for pair in found.attributes if pair[1].startswith("on")]
    links = [value for dummy, name, value in found.attributes if name in ("href", "src", "action")]
    assert links and all(link.startswith(("#", "data:,")) for link in links)
    assert "default-src 'none'" in page(cases.healthy()) and "@import" not in page(cases.healthy())


def test_what_a_server_says_is_text():
    cluster = cases.Cluster(name='"><b>', names=(EVIL, "db2", "db3", "db4"))
    cluster.pause('"><img src=x onerror=alert(1)>')
    cluster.events([(1, "<i>event</i>", False, "</ol><script>alert(2)</script>")])
    cluster.observed[1].slots[0]["slot_name"] = "<u>slot"
    found = Reader(page(cluster))
    assert not {"script", "b", "img", "u"} & set(found.tags)
    assert EVIL in found.text and '"><img src=x onerror=alert(1)>' in found.text and "<u>slot" in found.text and "<i>event</i>" in found.text
    assert found.open == []


def test_no_cluster():
    assert "No cluster is in this inventory" in Reader(_report.page(_status.status([]))).text


def test_a_long_name_is_cut_in_the_drawing_alone():
    name = "a-host-whose-name-somebody-took-pains-with.example"
    text = page(cases.Cluster(names=(name, "db2", "db3", "db4")))
    assert "a-host-whose-name-\u2026" in text and f"<title>{name}: " in text and f"</span> {name}</th>" in text


def drawn(cluster):
    view = _status.status(cluster.records())["clusters"][0]
    return _report._drawing(view)


def test_what_streams_and_what_does_not():
    assert [edge["kind"] for edge in drawn(cases.healthy())["edges"]] == ["streams", "streams", "watches"]
    assert [edge["kind"] for edge in drawn(cases.standby_detached())["edges"]] == ["streams", "broken", "watches"]
    assert [box["level"] for box in drawn(cases.two_primaries())["boxes"]] == ["bad", "ok", "ok", "bad"]
    assert len(drawn(cases.nobody_reached())["boxes"]) == 4


def test_boxes_do_not_lie_upon_each_other():
    rows = [{"node_id": number, "node_name": str(number), "upstream_node_id": upstream}
            for number, upstream in ((1, None), (2, 1), (3, 2), (4, 2), (5, 1), (6, None), (7, 8), (8, 7))]
    at = {node["node_id"]: (column, row) for node, column, row in _topology.placed(rows)}
    assert at == {1: (0, 1.25), 2: (1, 0.5), 3: (2, 0), 4: (2, 1), 5: (1, 2), 6: (0, 3), 7: (0, 4), 8: (1, 4)}
    assert _topology.placed([]) == []


# -- as a browser shows it

@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if not browser.PROGRAM:
        pytest.skip("no Chromium here: nobody looked at the report")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def show(chromium, tmp_path):
    def opened(text, **how):
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        chromium.open(path, **how)
        assert chromium.complaints() == []
        assert chromium.requests() == [path.as_uri()]
        return chromium

    return opened


def colour(shown, element="document.body"):
    """Of its background, from 0, black, to 765, white."""
    return sum(int(number) for number in re.findall(r"\d+", shown.value(f"getComputedStyle({element}).backgroundColor"))[:3])


@pytest.mark.parametrize("case", sorted(cases.CASES))
def test_a_phone_shows_all_of_it(show, case):
    cluster = cases.CASES[case]()
    shown = show(page(cluster, cases.Cluster(name="a-cluster-with-a-name-that-is-as-long-as-a-name-may-be-" + "x" * 40)), width=360)
    assert shown.value("document.documentElement.scrollWidth") == 360
    assert shown.value("document.querySelectorAll('svg')[0].getBoundingClientRect().height") > 50
    text = shown.value("document.body.innerText")
    assert "orders" in text and "Nothing to do" in text and all(name in text for name in cluster.names)


def test_names_that_are_scripts_do_not_run(show):
    shown = show(page(cases.Cluster(name=EVIL, names=(EVIL, "</title>" + EVIL, "db3", "db4"))))
    assert shown.value("document.scripts.length") == 0
    assert EVIL in shown.value("document.querySelector('h2').innerText") and EVIL in shown.value("document.title")


def test_light_dark_and_print(show):
    text = page(cases.standby_detached())
    assert colour(show(text)) > 700
    assert colour(show(text, dark=True)) < 150
    assert colour(show(text, dark=True, media="print")) == 765
