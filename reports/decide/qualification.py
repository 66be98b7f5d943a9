"""Qualification: one build's results, and those of the build that it is to follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clusterproof.builds import Build
from clusterproof.reports.decide.diff import find_build, predecessor
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import one_line


class QualificationError(ValueError):
    """There is nothing to compare; the message says what is missing and what to do."""


class Qualification(NamedTuple):
    """The results of ``build`` in a run, and ``before``, the newest of the build ``against``."""

    build: Build
    against: Build
    cells: list[Cell]
    before: list[Cell]


def of_build(run: Sequence[Cell], name: str) -> list[Cell]:
    """Return the results in ``run`` that judge the build a person calls ``name``.

    Raises UnknownBuildError.
    """
    build = find_build(build_matrix(run, {}), name).build
    return [cell for cell in run if _same(cell.build, build)]


def qualify(
    run: Sequence[Cell], known: Iterable[Cell], name: str, against: str | None = None
) -> Qualification:
    """Return what the build called ``name`` showed in ``run``, and its predecessor there or as ``known``.

    ``known`` are the newest results of every cell in history. ``against`` names another build than
    the one before in the track, or in the product where it is the first of its track. Raises
    UnknownBuildError, and QualificationError where there is no predecessor.
    """
    cells = of_build(run, name)
    in_run = {cell.key for cell in run}
    everything = [*run, *(cell for cell in known if cell.key not in in_run)]
    matrix = build_matrix(everything, {})
    column = next(one for one in matrix.columns if _same(one.build, cells[0].build))
    other = predecessor(matrix, column) if against is None else find_build(matrix, against)
    if other is None:
        raise QualificationError(
            f'build "{one_line(name)}" has no predecessor with results; run the suites on one, '
            "or name a build to compare it with: --against"
        )
    if other is column:
        raise QualificationError(f'build "{one_line(name)}" is compared with itself; name another one')
    before = [cell for cell in everything if _same(cell.build, other.build)]
    return Qualification(column.build, other.build, cells, before)


def _same(one: Build, other: Build) -> bool:
    return (one.product, one.version) == (other.product, other.version)
