"""What the wheel does in an environment of its own, in a folder elsewhere; ``tox run -e package``."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.package.conftest import ROOT

# From the area's folder on: what stands before it depends on pytest's rootdir.
NODE_ID = re.compile(r"([^/\s]+/[^/\s]+\.py::.+)$", re.MULTILINE)
COLLECTION = ("--collect-only", "-q", "-n", "0")


def cells(output: str) -> list[str]:
    """Return the cells of a collection, as ``area/module.py::scenario[case]``."""
    return sorted(NODE_ID.findall(output))


@pytest.fixture(scope="module")
def cells_of_checkout(tmp_path_factory) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "clusterproof", "qualify", *COLLECTION],
        cwd=ROOT,
        env={**os.environ, "LAB_DIR": str(tmp_path_factory.mktemp("lab"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return cells(done.stdout)


def test_the_version_is_the_installed_one(installed):
    printed = installed.run("python", "-c", "import clusterproof; print(clusterproof.__file__)").stdout
    assert printed.startswith(str(installed.bin.parent))


def test_doctor_examines_this_computer(installed):
    done = installed.run("clusterproof", "doctor")
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr
    for subject in ("python", "lab host", "disk", "memory"):
        assert re.search(rf"^ *\S+ +{subject}\b", done.stdout, re.MULTILINE), done.stdout


def test_builds_lists_the_catalogue(installed):
    done = installed.run("clusterproof", "builds")
    assert done.returncode == 0, done.stderr
    assert "incus@7.0.2" in done.stdout
    assert "lxd@5.21/candidate" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("clusterproof", "qualify"),
        ("pytest", "--pyargs", "clusterproof.suites"),
    ],
    ids=" ".join,
)
def test_the_same_cells_are_collected_as_in_the_checkout(installed, cells_of_checkout, command):
    done = installed.run(*command, *COLLECTION)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cells_of_checkout) > 300
    assert cells(done.stdout) == cells_of_checkout


def test_collecting_leaves_nothing_behind(installed):
    before = set(installed.folder.iterdir())
    installed.run("clusterproof", "qualify", *COLLECTION)
    assert {path.name for path in set(installed.folder.iterdir()) - before} <= {".pytest_cache"}
