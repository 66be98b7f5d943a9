"""Where a site finds what runs have kept: in place, or as copies that are fit to be published."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from clusterproof.reports.matrix.urls import RUNS, evidence_folder
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.kept_evidence import TEXTS, walk

# Of a larger file the middle is left out: how it began, and above all how it ended, matter.
HEAD, TAIL = 256 * 1024, 768 * 1024  # bytes


class EvidencePlace(Protocol):
    """Where a site finds what runs have kept."""

    def place(self, run: str, folder: Path, evidence: str) -> Path:
        """Return the folder that pages lead to for ``folder``, which ``run`` calls ``evidence``."""


class EvidenceInPlace:
    """The run's folder is the site's: what was kept stays where it is."""

    def place(self, run: str, folder: Path, evidence: str) -> Path:  # noqa: ARG002
        """Return ``folder``."""
        return folder


class CopiedEvidence:
    """Copies beneath the site's folder ``root``, which go wherever the site goes.

    Every file becomes text of a bounded size that no browser takes for a page; what is already
    there was made from the same evidence and stays, as evidence does not change.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._placed: set[Path] = set()

    def place(self, run: str, folder: Path, evidence: str) -> Path:
        """Return the copy of ``folder``. Raises OSError where it cannot be made."""
        copy = self._root / evidence_folder(run) / evidence
        self._placed.add(copy)
        if copy.is_dir():
            return copy
        unfinished = copy.with_name(f".{copy.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            for path, size in walk(folder):
                shown = path.relative_to(folder)
                if path.suffix.lower() not in TEXTS:
                    shown = shown.with_name(f"{shown.name}.txt")
                put(unfinished / shown, _text(path, size))
            unfinished.replace(copy)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return copy

    def clear(self) -> None:
        """Remove the copies that no page leads to any more: those that were not asked for. Raises OSError."""
        above = {folder for copy in self._placed for folder in copy.parents}
        runs = self._root / RUNS
        # Files beside the folders are pages of runs.
        for folder in runs.iterdir() if runs.is_dir() and not runs.is_symlink() else ():
            if folder in above:
                self._clear(folder, above)
            elif folder.is_symlink():
                folder.unlink()
            elif folder.is_dir():
                shutil.rmtree(folder)

    def _clear(self, folder: Path, above: set[Path]) -> None:
        # What a link leads to was not made here.
        if folder.is_symlink() or not folder.is_dir():
            return
        for path in folder.iterdir():
            if path in self._placed:
                continue
            if path in above:
                self._clear(path, above)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _text(path: Path, size: int) -> str:
    with path.open("rb") as file:
        if size <= HEAD + TAIL:
            return file.read(HEAD + TAIL).decode(errors="replace")
        head = file.read(HEAD)
        head = head[: head.rfind(b"\n") + 1] or head
        file.seek(size - TAIL)
        tail = file.read(TAIL)
        tail = tail[tail.find(b"\n") + 1 :]
    left_out = size - len(head) - len(tail)
    note = f"\n[... {left_out} bytes left out: the whole is with the run ...]\n"
    return f"{head.decode(errors='replace')}{note}{tail.decode(errors='replace')}"
