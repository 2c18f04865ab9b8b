# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A problem that status can print is found by a unit test that names its code."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_every_code_is_named_in_a_unit_test():
    sources = "".join(path.read_text() for path in sorted((ROOT / "plugins" / "module_utils").glob("_*.py")))
    codes = set(re.findall(r"cluster\.problem\(\s*'(\w+)'", sources))
    assert len(codes) > 30
    files = [path for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")) if path.name != pathlib.Path(__file__).name]
    tests = "".join(path.read_text() for path in files)
    assert {code for code in codes if not re.search(r"""['"]%s['"]""" % code, tests)} == set()
