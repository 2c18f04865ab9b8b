# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profiles of roles/common/vars, in the simulator and in the tables of docs/guard.md."""
import pathlib
import re
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
from simulation import adapter, world  # noqa: E402  pylint: disable=wrong-import-position

PROFILES = yaml.safe_load((ROOT / "roles" / "common" / "vars" / "main.yml").read_text())["__repmgr_profiles"]


def worked_out(profile):
    """(after which time repmgrd gives a primary up, the longest that one whose host is gone is not missed), where libpq knows tcp_user_timeout."""
    timing = PROFILES[profile]
    tries = timing["reconnect_attempts"]
    pauses = (tries - 1) * timing["reconnect_interval"]
    return tries * timing["attempt"] + pauses, timing["monitor_interval"] + (tries + 1) * timing["attempt"] + pauses


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_of_the_simulator(profile):
    timing, (gives_up, detection) = PROFILES[profile], worked_out(profile)
    assert world.TIMINGS[profile] == {
        "isolation": timing["isolation"], "gives_up": gives_up, "detection": detection, "connect_timeout": timing["connect_timeout"],
        "monitor_interval": timing["monitor_interval"], "receiver_timeout": timing["wal_sender_timeout"]}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_of_the_documentation(profile):
    guard = adapter.load().module
    isolation, (gives_up, detection) = PROFILES[profile]["isolation"], worked_out(profile)
    promoted = isolation + guard.STOP_MARGIN
    rows = re.findall(r"^\| `%s` \| (.*) \|$" % profile, (ROOT / "docs" / "guard.md").read_text(), re.M)
    assert [[cell[:-2] for cell in row.split(" | ")[:number]] for row, number in zip(rows, (3, 4))] == [
        ["%d" % number for number in found] for found in (
            (isolation, isolation + guard.FUSE, promoted), (gives_up, detection, isolation, promoted))]
