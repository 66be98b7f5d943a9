"""What the sdist and the wheel contain; ``tox run -e package``."""

from __future__ import annotations

import stat
import subprocess
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from tests.package.conftest import ROOT

# The rooms of the checkout that are parts of the package.
ROOMS = ("lab", "fixtures", "reports", "suites")


def tracked(*paths: str) -> dict[str, bool]:
    """Return the files of ``paths`` that git has, and whether each may be executed."""
    lines = subprocess.check_output(["git", "ls-files", "--stage", "--", *paths], cwd=ROOT, text=True)
    entries = (line.split("\t", 1) for line in lines.splitlines())
    return {name: entry.startswith("100755") for entry, name in entries if (ROOT / name).exists()}


def contents(wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(distributions):
    with zipfile.ZipFile(distributions.wheel) as archive:
        yield archive


def test_nothing_but_the_package_is_installed(wheel):
    top = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    (info,) = top - {"clusterproof"}
    assert info.startswith("clusterproof-")
    assert info.endswith(".dist-info")


def test_the_wheel_has_every_file_of_the_package(wheel):
    having = set(wheel.namelist())
    files = tracked(*ROOMS)
    assert files
    assert [name for name in files if f"clusterproof/{name}" not in having] == []


def test_the_wheel_has_no_file_that_the_checkout_has_not(wheel):
    for name in wheel.namelist():
        if name.startswith("clusterproof/"):
            assert (ROOT / name).is_file(), name


def test_programs_can_be_executed(wheel):
    programs = {name for name, executable in tracked(*ROOMS).items() if executable}
    assert {"lab/bootstrap", "lab/images/container/customise", "lab/images/tiny/make"} <= programs
    for name in programs:
        mode = wheel.getinfo(f"clusterproof/{name}").external_attr >> 16
        assert mode & stat.S_IXUSR, name


def test_the_sdist_makes_the_same_wheel(distributions):
    assert contents(distributions.wheel) == contents(distributions.wheel_of_sdist)


def test_the_sdist_has_what_a_wheel_takes_and_no_more(distributions):
    with tarfile.open(distributions.sdist) as archive:
        having = {PurePosixPath(name).parts[1] for name in archive.getnames() if "/" in name}
    assert having == {
        "LICENSE",
        "MANIFEST.in",
        "PKG-INFO",
        "README.md",
        "clusterproof",
        "clusterproof.egg-info",
        "pyproject.toml",
        "setup.cfg",
    }
