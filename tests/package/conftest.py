"""The project as it is handed out: its distributions, and an environment that has nothing but the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLING = 600  # seconds; what the wheel depends on may have to be fetched


@dataclass(frozen=True)
class Distributions:
    """The sdist and the wheel of this checkout, and the wheel that is made of that sdist."""

    sdist: Path
    wheel: Path
    wheel_of_sdist: Path


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and the folder elsewhere in which its programs are started."""

    bin: Path
    folder: Path

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment that sees nothing of the checkout or of the caller."""
        program, *arguments = map(str, argv)
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.folder,
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "LAB_DIR": str(self.folder / "lab"),
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture(scope="session")
def distributions(tmp_path_factory) -> Distributions:
    # Of a copy: what an earlier build left in a checkout would get into the wheel.
    source = tmp_path_factory.mktemp("source") / "clusterproof"
    copy_checkout(source)
    sdist = build(source, "--sdist")
    wheel = build(source, "--wheel")
    unpacked = tmp_path_factory.mktemp("sdist")
    subprocess.run(["tar", "--extract", "--file", sdist, "--directory", unpacked], check=True)
    (extracted,) = unpacked.iterdir()
    return Distributions(sdist, wheel, build(extracted, "--wheel"))


def copy_checkout(target: Path) -> None:
    """Copy what the repository has and what is new in the checkout, but nothing that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0"):
        file = ROOT / name
        if name and (file.exists() or file.is_symlink()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / name, follow_symlinks=False)


def build(source: Path, kind: str) -> Path:
    """Build one distribution of ``source`` and return it."""
    out = source / "dist" / kind.strip("-")
    done = subprocess.run(
        [sys.executable, "-m", "build", kind, "--outdir", out, source],
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALLING,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="session")
def installed(distributions, tmp_path_factory) -> Installed:
    environment = tmp_path_factory.mktemp("environment")
    # Debian's Python has no ensurepip of its own, and virtualenv brings pip.
    subprocess.run([sys.executable, "-m", "virtualenv", "--quiet", environment], check=True)
    done = subprocess.run(
        [environment / "bin/python", "-m", "pip", "install", "--quiet", distributions.wheel],
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALLING,
    )
    assert done.returncode == 0, done.stderr
    return Installed(environment / "bin", tmp_path_factory.mktemp("elsewhere"))
