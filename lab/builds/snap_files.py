"""Snaps that are files: what they say of themselves, and what lies beside them that they need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

from clusterproof.lab.core.errors import LabError

# What a snap takes to be installed without a store, in this order. "snap download" makes NAME_REVISION.snap.
NEEDED = ("snapd", "{base}")


def described(path: Path) -> dict[str, object]:
    """Return the ``meta/snap.yaml`` of a snap. Raises LabError."""
    try:
        argv = ["unsquashfs", "-cat", str(path), "meta/snap.yaml"]
        done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
    except OSError as error:
        raise LabError("reading a snap needs unsquashfs; run lab/bootstrap") from error
    try:
        found = yaml.safe_load(done.stdout) if done.returncode == 0 else None
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise LabError(f"{path} is not a snap: it has no meta/snap.yaml that can be read")
    return found


def beside(path: Path) -> tuple[Path, ...]:
    """Return which of the snaps that ``path`` needs lie beside it: ``snapd``, and its base. Raises LabError."""
    base = described(path).get("base", "core")
    found: list[Path] = []
    for name in (wanted.format(base=base) for wanted in NEEDED):
        files = [*sorted(path.parent.glob(f"{name}_*.snap")), *path.parent.glob(f"{name}.snap")]
        found += [file for file in files if described(file).get("name") == name][-1:]
    return tuple(found)


def downloaded(snap: str, revision: int) -> tuple[Path, ...]:
    """Return the files of revision ``revision`` of ``snap``, itself last, that need not be downloaded.

    They are in the folder ``LAB_SNAP_FILES``, as ``snap download`` puts them there; none where it is not set or
    has none of them. Raises LabError.
    """
    folder = os.environ.get("LAB_SNAP_FILES")
    file = Path(folder or "/nonexistent") / f"{snap}_{revision}.snap"
    return (*beside(file), file) if file.exists() else ()
