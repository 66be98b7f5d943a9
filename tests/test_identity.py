"""The identity of a suite: the same for the same files, and another one for every difference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fixtures.identity import PARTS, digest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path) -> Path:
    files = {
        "suites/a/test_a.py": "a",
        "suites/a/test_a.toml": "b",
        "lab/images/tiny/init": "c",
        "fixtures/x.py": "",
        "builds.py": "d",
        "conftest.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "one"


def test_copies_are_the_same_suite(checkout, tmp_path):
    before = digest(checkout)
    assert digest(Path(shutil.copytree(checkout, tmp_path / "two"))) == before
    for name in ("suites/__pycache__/test_a.pyc", "suites/.test_a.py.swp", "reports/gate.py", "README.md"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("more")
    assert digest(checkout) == before


DIFFERENCES = {
    "content": lambda root: (root / "suites/a/test_a.py").write_text("aa"),
    "no content": lambda root: (root / "suites/a/test_a.toml").write_text(""),
    "name": lambda root: (root / "suites/a/test_a.py").rename(root / "suites/a/test_b.py"),
    "a file more": lambda root: (root / "suites/a/helper.py").touch(),
    "a file less": lambda root: (root / "lab/images/tiny/init").unlink(),
    "a module": lambda root: (root / "builds.py").write_text("e"),
    "the same bytes elsewhere": lambda root: [
        (root / "suites/a/test_a.toml").write_text(""),
        (root / "suites/a/test_a.py").write_text("ba"),
    ],
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_every_difference_makes_another_suite(checkout, difference):
    before = digest(checkout)
    DIFFERENCES[difference](checkout)
    assert digest(checkout) != before


def test_everything_that_runs_a_scenario_is_part_of_it():
    assert all((ROOT / part).exists() for part in PARTS)
    assert len(digest(ROOT)) == 16
