# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Molecule scenarios: whatever lists them has all of them."""
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("matrix_table", ROOT / "tests" / "tools" / "matrix_table.py")
matrix_table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(matrix_table)

# The lab has commands of its own.
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml") if path.parent.name != "default")
# sid may fail, so it is run by hand.
BY_HAND = {"sid"}


def words(script, variable):
    return re.search(r"^%s=\(([^)]*)\)" % variable, (ROOT / "tests" / "tools" / script).read_text(), re.M).group(1).split()


def test_the_lists_have_all():
    assert sorted(words("matrix.sh", "all")) == SCENARIOS
    families = set(re.search(r"TEST_ALL:-.*?then echo ([a-z0-9 ]+);", (ROOT / "tests" / "tools" / "lib.sh").read_text()).group(1).split())
    assert sorted(families | set(words("test-matrix.sh", "others"))) == sorted(set(SCENARIOS) - BY_HAND)
    # One that ends with an error has no row.
    assert sorted(matrix_table.ORDER) == [name for name in SCENARIOS if not name.endswith("_broken")]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_documentation_has_it(name):
    text = (ROOT / "docs" / "platforms.md").read_text()
    assert re.search(r"^\| %s \|" % name, text, re.M) or "`%s`" % name in text or "SCENARIO=%s`" % name in text
