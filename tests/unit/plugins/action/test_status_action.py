# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re

import pytest
from ansible.errors import AnsibleActionFail
from ansible.utils import color
from ansible_collections.pgfleet.repmgr.plugins.action import repmgr_status
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _status
from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils import status_cases as cases


def test_colours_are_all_that_a_terminal_has_more(monkeypatch):
    found = _status.status(cases.two_primaries().records())
    monkeypatch.setattr(color, "ANSIBLE_COLOR", True)
    coloured = repmgr_status.coloured(found)
    assert "\033[" in coloured
    assert "\n".join(line.rstrip() for line in re.sub("\033\\[[0-9;]*m", "", coloured).splitlines()) == _status.text(found)
    monkeypatch.setattr(color, "ANSIBLE_COLOR", False)
    assert repmgr_status.coloured(found) == _status.text(found)


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "status.txt"
    path.write_text("old")
    before = path.stat().st_ino
    repmgr_status.write(str(path), "n\u00fd\n")
    assert path.read_bytes() == b"n\xc3\xbd\n" and path.stat().st_ino != before
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    # An inventory of adopt, to which passwords may be added.
    repmgr_status.write(str(path), "text", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600 & ~umask
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.txt"]


def test_what_is_no_file_stays_what_it_is(tmp_path):
    pipe, link, path = tmp_path / "pipe", tmp_path / "link", tmp_path / "status.txt"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    repmgr_status.write(str(pipe), "text")
    assert os.read(reader, 10) == b"text" and pipe.is_fifo()
    os.close(reader)
    path.write_text("old")
    link.symlink_to(path)
    repmgr_status.write(str(link), "text")
    assert link.is_symlink() and path.read_text() == "text"


@pytest.mark.parametrize("path", ["no/such/status.txt", ""], ids=["no folder", "a folder"])
def test_a_file_that_cannot_be_written_is_named(tmp_path, path):
    with pytest.raises(AnsibleActionFail, match="cannot write " + re.escape(str(tmp_path / path))):
        repmgr_status.write(str(tmp_path / path), "text")
    assert list(tmp_path.iterdir()) == []
