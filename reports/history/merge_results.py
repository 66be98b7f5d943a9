"""Results of many runs, on whichever hosts, merged into one history; and the history as a file of lines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from clusterproof.reports.history.database import HistoryError
from clusterproof.reports.history.history import History
from clusterproof.reports.results.atomic import whole
from clusterproof.reports.results.results import FILENAME, Cell, not_run, scan


class MergeError(ValueError):
    """A source is invalid or unreadable; the message names it and the way out."""


class Merged(NamedTuple):
    """What was merged: ``results`` that were read from ``files``, ``new`` ones among them.

    ``fault_injected`` counts those of fault-injected clusters, which are left out. ``runs`` and
    ``total`` count what the history has now. ``problems`` are one line each: what could not be read
    and what is missing, while all else was kept.
    """

    files: int
    results: int
    new: int
    fault_injected: int
    runs: int
    total: int
    problems: list[str]


def merge(sources: Iterable[Path], history: Path) -> Merged:
    """Add all results of ``sources`` to ``history``: all of them, or none where that fails.

    A source is a run's folder, a folder that such folders are in, at whatever depth, or a file of
    results, such as an exported history. The same result counts once, however often it comes, and the
    order does not matter. Raises MergeError where a source is none of these or cannot be read,
    HistoryError where the history cannot be used.
    """
    files = results_in(sources)
    reading = _Reading(files)
    with History(history) as opened:
        before = opened.size()[1]
        opened.record(reading)
        runs, total = opened.size()
    return Merged(
        len(files), reading.results, total - before, reading.fault_injected, runs, total, reading.problems
    )


def collect(sources: Iterable[Path]) -> tuple[list[Cell], list[str]]:
    """Return the results of ``sources``, which are as for ``merge``, and what could not be read of them.

    The same result comes once. Raises MergeError where a source is none or cannot be read.
    """
    reading = _Reading(results_in(sources))
    cells = {cell.line(): cell for cell in reading}
    return list(cells.values()), reading.problems


def export(history: Path, path: Path) -> int:
    """Write all results of ``history`` to ``path``, one JSON line each, and return how many.

    The same results make the same file. Raises OSError, and HistoryError where there is no history.
    """
    if not history.is_file():
        raise HistoryError(
            f'no history "{history}"; make one with clusterproof merge, or name another with --history'
        )
    count = 0
    with History(history) as opened, whole(path) as file:
        for count, line in enumerate(opened.lines(), start=1):  # noqa: B007 (the last one is the count)
            file.write(f"{line}\n")
    return count


class _Reading:
    """The cells of ``files`` as they are read, and what is found out meanwhile."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = files
        self.results = 0
        self.fault_injected = 0
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Cell]:
        for file in self._files:
            with _named(file):
                yield from self._read(file)

    def _read(self, file: Path) -> Iterator[Cell]:
        scenarios: Counter[str] = Counter()
        problems = []
        for one in scan(file):
            if isinstance(one, str):
                problems.append(one)
                continue
            scenarios[one.scenario] += 1
            self.results += 1
            self.fault_injected += one.fault is not None
            yield one
        # A run that was ended before its first result has an empty one, too.
        if not scenarios and not problems and file.name != FILENAME:
            raise MergeError(f'"{file}" is empty; name run folders or files of results; nothing was merged')
        # One line that was cut off may be all that a run came to; but it begins like a result.
        if not scenarios and (len(problems) > 1 or (problems and not _begins_as_result(file))):
            raise MergeError(f'no line of "{file}" is a result ({problems[0]}); nothing was merged')
        self.problems += problems + [f"{file}: {problem}" for problem in not_run(file, scenarios)]


def _begins_as_result(file: Path) -> bool:
    """Say whether ``file`` begins as a line of JSON does that was cut off."""
    with file.open("rb") as opened:
        return opened.read(2) in (b'{"', b"{")


def results_in(sources: Iterable[Path]) -> list[Path]:
    """Return the files of results that ``sources`` are or have, each once. Raises MergeError."""
    named: dict[Path, Path] = {}
    for source in sources:
        for file in _files(source):
            named.setdefault(file.resolve(), file)
    return list(named.values())


def _files(source: Path) -> list[Path]:
    """Return the files of results that ``source`` is or has."""
    if source.is_dir():
        found = sorted(_beneath(source))
        if not found:
            raise MergeError(
                f'no results in "{source}" (no {FILENAME} is in it or beneath it); name the folder of a run, '
                "a folder with such folders, or a file of results"
            )
        return found
    if not source.exists():
        raise MergeError(f'no file or folder "{source}"; name run folders or files of results')
    with _named(source), source.open("rb") as file:
        if file.read(15) == b"SQLite format 3":
            raise MergeError(
                f'"{source}" is a database, not a file of results; write out what is in it with '
                f"clusterproof export --history {source}, and merge that"
            )
    return [source]


def _beneath(folder: Path) -> Iterator[Path]:
    # Links are not followed: "latest" is one of the others.
    for parent, folders, names in os.walk(folder):
        if FILENAME in names:
            yield Path(parent, FILENAME)
            folders.clear()  # what a run keeps are no runs


@contextmanager
def _named(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MergeError(f'"{source}" cannot be read: {error.strerror}; nothing was merged') from error
