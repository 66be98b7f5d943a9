"""What the installed plugin does in test runs that are not about clusters: nothing."""

from __future__ import annotations

import re

import pytest

CONFTEST = """
import sys

def pytest_addoption(parser):
    parser.addoption("--build", default="none", help="an option of the foreign project")
"""
TEST = """
import sys

def test_of_something_else(request):
    assert request.config.getoption("--build") == "debug"

def test_nothing_of_the_lab_is_imported():
    assert "pylxd" not in sys.modules
    assert not [name for name in sys.modules if name.startswith("clusterproof.lab")]
"""


@pytest.fixture
def foreign(installed):
    folder = installed.folder / "foreign"
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_foreign.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return folder


def test_a_foreign_run_passes_with_an_option_of_the_same_name(installed, foreign):
    done = installed.run("pytest", foreign, "--build", "debug", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert not re.search(r"\bgate\b|\bcells?\b|run \d{8}T", done.stdout)


def test_the_help_of_a_foreign_run_has_none_of_our_options(installed, foreign):
    done = installed.run("pytest", foreign, "--help")
    assert done.returncode == 0, done.stderr
    assert "an option of the foreign project" in done.stdout
    for option in ("--lab-host", "--sideload", "--substrate", "--skip-known"):
        assert option not in done.stdout
