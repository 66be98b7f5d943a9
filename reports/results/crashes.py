"""Crashes of daemons that a run saw and that no issue documents: equal ones are one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from clusterproof.reports.results.results import Cell, Crash
from clusterproof.reports.results.sanitize import one_line

_SHOWN = 160  # characters of what a daemon said


def crash_lines(cells: Iterable[Cell]) -> list[str]:
    """Return a line for each crash of each build: what it said, in how many cells, and where to read more.

    A daemon that refuses to run (it ends with an exit status of its own) has not crashed.
    """
    seen: dict[tuple[str, str], list[tuple[Cell, Crash]]] = defaultdict(list)
    for cell in cells:
        for crash in cell.crashes:
            if crash.is_finding:
                seen[crash.build, crash.digest].append((cell, crash))
    return [_line(build, found) for (build, _), found in sorted(seen.items())]


def _line(build: str, found: list[tuple[Cell, Crash]]) -> str:
    cell, crash = found[0]
    cells = len({id(one) for one, _ in found})
    where = f"; see {cell.evidence}" if cell.evidence else ""
    said = one_line(crash.lines[0])[:_SHOWN]
    return (
        f"undocumented {crash.kind} of a daemon of {build} in {cells} cell{'' if cells == 1 else 's'} "
        f"({crash.digest}): {said}{where}"
    )
