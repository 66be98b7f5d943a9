"""What was kept of a cell: its files, the lines that show the symptom, and how to run it again."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from clusterproof.reports.results.results import CRASH_WATCH, Cell
from clusterproof.reports.results.sanitize import plain

SYMPTOM = "symptom.txt"

_LINES = 30  # lines that show the symptom
_LINE = 1_000  # characters of one of them
_READ = 64 * 1024  # bytes of their file
_BY_WORTH = (SYMPTOM, "transcript", "journal", "daemon")  # how the names of files begin that say most
_FILES = 300  # files listed of one cell
_SEEN = 3_000  # directory entries looked at, at most
# What a browser shows as text. All else is only offered for download: a page or picture made by a
# product is not opened in the place of ours.
TEXTS = {".txt", ".log", ".json", ".jsonl", ".sql", ".yaml", ".yml", ".toml", ".conf", ".csv", ".md"}
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@+~[],-")


class File(NamedTuple):
    """A file that was kept: ``link`` is relative to its folder, ``size`` in bytes."""

    name: str
    link: str
    size: int
    shown: bool


class Kept(NamedTuple):
    """The files of one member, or (without a name) of the whole cell."""

    member: str
    files: tuple[File, ...]


class Lines(NamedTuple):
    """The lines that show the symptom; ``more`` says that not all of them are here."""

    lines: tuple[str, ...]
    more: bool


def folder_of(run_dir: Path, cell: Cell) -> Path | None:
    """Return the folder beneath ``run_dir`` that holds the evidence of ``cell``, if there is one."""
    if cell.evidence is None:
        return None
    root = run_dir.resolve()
    try:
        folder = (root / cell.evidence).resolve()
        inside = folder != root and folder.is_relative_to(root) and folder.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return None
    return folder if inside else None


def pasteable(run_dir: Path | None, evidence: str) -> str:
    """Return the path of ``evidence``, a folder of the run in ``run_dir``, as a shell here takes it.

    Without ``run_dir`` it is the one within the run's folder.
    """
    return shlex.quote(os.path.relpath(run_dir / evidence) if run_dir else evidence)


def parameter(cell: Cell) -> str:
    """Return how the scenario's build is written: ``incus@7.0.2``, ``incus@7.0.2-to-6.0.4``."""
    return f"{cell.peer.name}-to-{cell.build.short}" if cell.peer else cell.build.name


def command(cell: Cell) -> str:
    """Return the command that runs exactly this cell again, quoted for a shell.

    A change of build is a scenario's only between builds next to each other, so that these two
    are selected. What the crash watch judges is judged over all cells of the build.
    """
    if cell.scenario == CRASH_WATCH:
        return plain(f"clusterproof qualify --build {_quoted(cell.build.name)}")
    node = f"{cell.scenario}[{parameter(cell)}]"
    words = ["clusterproof qualify"]
    if cell.peer:
        words += [f"--build {_quoted(one.name)}" for one in (cell.peer, cell.build)]
    quoted = f'"{node}"' if _SAFE.issuperset(node) else shlex.quote(node)
    return plain(" ".join([*words, quoted]))


def _quoted(word: str) -> str:
    return word if _SAFE.issuperset(word) else shlex.quote(word)


def symptom_lines(folder: Path) -> Lines | None:
    """Return the log lines in which the symptom was found, or None where they were not kept."""
    path = folder / SYMPTOM
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(_READ)
        more = bool(file.read(1))
    lines = [line for line in plain(text.decode(errors="replace")).split("\n") if line.strip()]
    shown = tuple(line if len(line) <= _LINE else f"{line[:_LINE]} […]" for line in lines[:_LINES])
    return Lines(shown, more or len(lines) > _LINES) if shown else None


def kept(folder: Path) -> tuple[list[Kept], int]:
    """Return what was kept, the cell's own files before its members', and how many files more.

    Of each the files come first that say most: the symptom, the transcript, the logs. Links and
    special files are left out.
    """
    found = sorted(walk(folder), key=lambda one: (_worth(one[0]), one[0]))
    files: dict[str, list[File]] = {}
    for path, size in found[:_FILES]:
        relative = path.relative_to(folder)
        member = relative.parts[0] if len(relative.parts) > 1 else ""
        files.setdefault(member, []).append(
            File(
                name=plain(str(relative.relative_to(member))),
                link=quote(os.fsencode(relative)),
                size=size,
                shown=relative.suffix.lower() in TEXTS,
            )
        )
    groups = [Kept(plain(member), tuple(files[member])) for member in sorted(files)]
    return groups, len(found) - _FILES if len(found) > _FILES else 0


def _worth(path: Path) -> int:
    return next((place for place, name in enumerate(_BY_WORTH) if path.name.startswith(name)), len(_BY_WORTH))


def walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the regular files beneath ``folder`` with their sizes in bytes, within reason many."""
    waiting, seen = [folder], 0
    while waiting and seen < _SEEN:
        with os.scandir(waiting.pop(0)) as entries:
            for entry in entries:
                seen += 1
                if seen > _SEEN:
                    return
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield path, status.st_size
