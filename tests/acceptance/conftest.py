"""One sequence of tests in the order of the file names, against the lab on which `make lab` has just run.

    make test-lab                               from nothing
    .venv/bin/pytest tests/acceptance -x -v     on the lab that is up

Later files depend on the state that earlier ones leave, so a failure ends the sequence (-x). The last files recreate the hosts
of the lab; afterwards `make lab` deploys the lab again.
"""
import pytest

# What was compared, in failures of these, too.
pytest.register_assert_rewrite("lab", "refusal", "writers")

import lab  # noqa: E402
import writers as clients  # noqa: E402

_figures = []


@pytest.fixture(scope="session")
def figure():
    """figure('what', 'value'): a measured number for the last lines of the run."""
    def note(what, text):
        _figures.append((what, text))
        print("%s: %s" % (what, text))

    return note


def pytest_terminal_summary(terminalreporter):
    if _figures:
        terminalreporter.section("figures")
        width = max(len(what) for what, dummy in _figures)
        for what, text in _figures:
            terminalreporter.write_line("%s  %s" % (what.ljust(width), text))


@pytest.fixture(scope="session", autouse=True)
def hosts():
    """The four hosts answer; without them nothing here means anything."""
    silent = [host for host in lab.HOSTS if not lab.answers(host)]
    if silent:
        pytest.exit("no answer from %s: run `make lab` first" % ", ".join(silent), returncode=2)


@pytest.fixture
def writers(tmp_path):
    return clients.Writers(tmp_path)
