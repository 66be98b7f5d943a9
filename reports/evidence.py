"""The page of a cell (``index.html`` in its evidence folder): what happened, and what was kept of it."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from reports.matrix import NAMES, Matrix
from reports.page import anchor, short, templates
from reports.results import Cell
from reports.text import plain
from reports.timeline import TRANSCRIPT, read_timeline
from reports.verdicts import Observation

INDEX = "index.html"
SYMPTOM = "symptom.txt"

_LINES = 30  # lines that show the symptom
_LINE = 1_000  # characters of one of them
_READ = 64 * 1024  # bytes of their file
_FILES = 300  # files listed of one cell
_SEEN = 3_000  # directory entries looked at, at most
# What a browser shows as text. All else is only offered for download: a page or picture made by a
# product is not opened in the place of ours.
_TEXTS = {".txt", ".log", ".json", ".jsonl", ".sql", ".yaml", ".yml", ".toml", ".conf", ".csv", ".md"}
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@+~[],-")


class File(NamedTuple):
    """A file that was kept: ``link`` is relative to the page, ``size`` in bytes."""

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


def folders(run_dir: Path, cells: Iterable[Cell]) -> dict[Path, list[Cell]]:
    """Return the evidence folders that exist in ``run_dir`` with their results, the newest last.

    Results of repeats share a folder. One that leads out of the run's folder is left out.
    """
    root = run_dir.resolve()
    found: dict[Path, list[Cell]] = {}
    for cell in cells:
        if cell.evidence is not None:
            try:
                folder = (root / cell.evidence).resolve()
                if folder != root and folder.is_relative_to(root) and folder.is_dir():
                    found.setdefault(folder, []).append(cell)
            except (OSError, ValueError):  # a name that no file can have
                continue
    return {folder: sorted(results, key=lambda cell: cell.started) for folder, results in found.items()}


def cell_page(folder: Path, results: Sequence[Cell], matrix: Matrix, matrix_page: Path) -> str:
    """Return the HTML of the page for the newest of ``results``, which share ``folder``.

    ``matrix`` was made from them; ``matrix_page`` is the page to lead back to. Every text is
    escaped, cut to a size that a browser can bear and freed from what steers a terminal; the page
    loads nothing. Raises OSError where the evidence cannot be read.
    """
    cell = results[-1]
    files, more_files = kept(folder)
    back = Path(os.path.relpath(matrix_page.resolve(), folder)).as_posix()
    return (
        templates()
        .get_template("cell.html")
        .render(
            cell=cell,
            row=matrix.row(cell.issue),
            told=matrix.scenario(cell),
            others=results[:-1],
            timeline=read_timeline(folder / TRANSCRIPT, cell.started, shared=len(results) > 1),
            symptom=symptom_lines(folder) if cell.observation is Observation.SYMPTOM else None,
            kept=files,
            more_files=more_files,
            command=command(cell),
            back=f"{quote(back)}#{anchor(cell.issue)}",
            names=NAMES,
            transcript=TRANSCRIPT,
            symptom_file=SYMPTOM,
        )
    )


def parameter(cell: Cell) -> str:
    """Return how the scenario's build is written: ``incus@7.0.2``, ``incus@7.0.2-to-6.0.4``."""
    return f"{cell.peer.name}-to-{short(cell.build)}" if cell.peer else cell.build.name


def command(cell: Cell) -> str:
    """Return the command that runs exactly this cell again, quoted for a shell.

    A change of build is a scenario's only between builds next to each other, so that these two
    are selected.
    """
    node = f"{cell.scenario}[{parameter(cell)}]"
    words = ["tox run -e qualify --"]
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

    Links and special files are left out.
    """
    found = sorted(_walk(folder))
    files: dict[str, list[File]] = {}
    for path, size in found[:_FILES]:
        relative = path.relative_to(folder)
        member = relative.parts[0] if len(relative.parts) > 1 else ""
        files.setdefault(member, []).append(
            File(
                name=plain(str(relative.relative_to(member))),
                link=quote(os.fsencode(relative)),
                size=size,
                shown=relative.suffix.lower() in _TEXTS,
            )
        )
    groups = [Kept(plain(member), tuple(files[member])) for member in sorted(files)]
    return groups, len(found) - _FILES if len(found) > _FILES else 0


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
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
                ours = path.parent == folder and (entry.name == INDEX or entry.name.startswith("."))
                if stat.S_ISREG(status.st_mode) and not ours:
                    yield path, status.st_size
