"""Pruning: what only takes room: images of old recipes and revisions, golden clusters, evidence of old runs."""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clusterproof.lab.baking import bake
from clusterproof.lab.builds import catalogue
from clusterproof.lab.cluster import golden
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.images.kinds import CONTAINER, VM
from clusterproof.lab.images.leftovers import remove_tree
from clusterproof.lab.images.recipe import digest

KEEP = 3
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


@dataclass(frozen=True)
class Surplus:
    """Something that can be removed: its ``kind``, what it is in a few words, and its files and folders."""

    kind: str
    what: str
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """The bytes on the disk that removing it frees; those that another name shares are not counted."""
        files = (file for path in self.paths for file in (path, *path.rglob("*")))
        facts = (file.lstat() for file in files if file.is_file() and not file.is_symlink())
        return sum(fact.st_blocks * 512 for fact in facts if fact.st_nlink == 1)

    def remove(self) -> None:
        """Remove it. Raises LabError."""
        for path in self.paths:
            remove_tree(path)


def surplus(keep: int, out: Path) -> list[Surplus]:
    """Return what can be removed where ``keep`` of everything old are kept, the newest.

    Images of the catalogue's builds as it is now always stay. Of other images, ``keep`` of each build or channel
    do; of golden clusters whose image stays, ``keep`` of a kind; of runs in ``out``, the evidence of ``keep``.
    """
    images = list(_images(keep))
    gone = {image.paths[0].name for image in images}
    return [*images, *_golden(keep, gone), *_evidence(keep, out)]


def check_idle() -> None:
    """Raise LabError while a run is alive: it may use an image of a recipe that this checkout does not know."""
    if alive := [run.id for run in Run.known() if run.alive()]:
        raise LabError(f"run {', '.join(alive)} uses the lab; prune it when the run has ended")


def _images(keep: int) -> Iterator[Surplus]:
    folder = bake.folder()
    current = _current()
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in folder.glob("*/recipe.json"):
        with contextlib.suppress(OSError, ValueError, LookupError):
            made = json.loads(file.read_text("utf-8"))
            # A revision follows the channel's name; a sideloaded build has no name of its own.
            name = made.get("build", f"a sideloaded {made.get('product')}").partition("=")[0]
            kind = CONTAINER.name if (file.parent / "metadata.tar").exists() else VM.name
            groups[name, kind].append(file.parent)
    for (name, kind), found in sorted(groups.items()):
        newest = sorted(found, key=_time, reverse=True)[:keep]
        for image in sorted(set(found) - set(newest)):
            if image.name not in current:
                paths = (image, *sorted(folder.glob(f"{image.name}.*")))
                yield Surplus("image", f"{kind} of {name}, {image.name[:12]}", paths)


def _current() -> set[str]:
    """Return the digests of the images of all builds in the catalogue, as far as they are known."""
    found = set()
    for build in catalogue.load().builds:
        for kind in (CONTAINER, VM):
            with contextlib.suppress(LabError):
                found.add(digest(build, kind=kind))
    return found


def _golden(keep: int, gone: set[str]) -> Iterator[Surplus]:
    images = {path.name for path in bake.folder().glob("*")} - gone
    groups: dict[str, list[Path]] = defaultdict(list)
    for folder in sorted(golden.place().glob("*")):
        try:
            known = json.loads((folder / "golden.json").read_text())
            what, image = str(known["what"]), known["image"]
        except (OSError, ValueError, LookupError):
            yield Surplus("golden cluster", f"incomplete, {folder.name[:12]}", (folder,))
            continue
        if image in images:
            groups[what].append(folder)
        else:
            yield Surplus("golden cluster", f"{what}, whose image is gone", (folder,))
    for what, found in sorted(groups.items()):
        for folder in sorted(found, key=_time, reverse=True)[keep:]:
            yield Surplus("golden cluster", what, (folder,))


def _evidence(keep: int, out: Path) -> Iterator[Surplus]:
    """Yield the evidence of all runs below ``out`` but the newest; their results and pages stay."""
    runs = [
        path
        for path in sorted(out.glob("*"), reverse=True)
        if _RUN.fullmatch(path.name) and not path.is_symlink() and (path / "results.jsonl").is_file()
    ]
    for run in runs[keep:]:
        if (run / "evidence").is_dir() and not (run / "evidence").is_symlink():
            yield Surplus("evidence", f"of run {run.name}", (run / "evidence",))


def _time(folder: Path) -> float:
    return folder.stat().st_mtime
