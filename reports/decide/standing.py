"""On what a gate stands: how many of all cells there are a run was to have, and why not the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from clusterproof.reports.results.results import PLANNED, not_selected
from clusterproof.reports.results.sanitize import one_line


class Standing(NamedTuple):
    """What stands behind a judgement: ``lines`` say it, ``gaps`` what is not known or was left out.

    A verdict on the whole of a build takes a standing without gaps.
    """

    lines: tuple[str, ...]
    gaps: tuple[str, ...]


def standing(run: Path, build: str | None = None) -> Standing:
    """Return on what a judgement of the run in the folder ``run`` stands, or of ``build`` in it.

    ``build`` is its name, like ``incus@7.0.2``; of a change of build the judged one counts.
    """
    try:
        planned = (run / PLANNED).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return _unknown(f"no plan ({PLANNED} is missing): completeness unknown")
    left_out = not_selected(run)
    if left_out is None:
        return _unknown("which cells were not selected was not written down: completeness unknown")
    return of_selection(planned, left_out, build)


def of_selection(planned: Iterable[str], left_out: Mapping[str, str], build: str | None = None) -> Standing:
    """Return on what a run with the cells ``planned`` stands; ``left_out`` has why others are not in it."""
    has = Counter(map(judged, planned))
    lacks: dict[str, Counter[str]] = {}
    for name, why in left_out.items():
        lacks.setdefault(judged(name), Counter())[why] += 1
    builds = [build] if build else sorted({*has, *lacks})
    lines, gaps = [], []
    for name in builds:
        missing = lacks.get(name, Counter())
        total = has[name] + missing.total()
        if not missing:
            lines.append(f"{'the only cell' if total == 1 else f'all {total} cells'} of {one_line(name)}")
            continue
        why = ", ".join(f"{count} not selected ({one_line(reason)})" for reason, count in missing.items())
        lines.append(f"{has[name]} of {total} cells of {one_line(name)}; {why}")
        gaps.append(lines[-1])
    if not gaps and len(builds) > 1:
        lines = [f"all {has.total()} cells of {len(builds)} builds"]
    return Standing(tuple(lines), tuple(gaps))


def judged(cell: str) -> str:
    """Return the name of the build that the cell of this name judges."""
    case = cell.partition("[")[2].removesuffix("]")
    start, to, asked = case.partition("-to-")
    return f"{start.partition('@')[0]}@{asked}" if to else start


def _unknown(why: str) -> Standing:
    return Standing((why,), (why,))
