"""The front page: the matrix, its filters, and what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from clusterproof.reports.exports.allure_results import REPORT
from clusterproof.reports.matrix.divergence import divergence
from clusterproof.reports.matrix.matrix import NAMES, Column, IssueRow, Matrix
from clusterproof.reports.results.answers import Answer
from clusterproof.reports.results.verdicts import Verdict
from clusterproof.reports.site.material import Material, Place
from clusterproof.reports.site.rendering import script

COMPACT = 9  # builds from which on cells show their sign alone
OPEN_NEWS = 1  # lines of news that are shown without being asked for: more would push the matrix down


class Tally(NamedTuple):
    """The sums of a column: issues that are in the build, and those that are not as documented."""

    bugs: int
    unexpected: int


def front_page(material: Material) -> str:
    """Return the front page."""
    matrix = material.matrix
    places = list(material.places())
    unexpected = [one for one in places if not one.on_build.expected]
    changed = [one for one in places if one.on_build.was]
    return material.page(
        "matrix",
        "",
        script("common", "matrix") if matrix.rows else script("common"),
        here="matrix",
        columns=matrix.columns,
        by_area=_by_area(matrix),
        without=sum(not matrix.cells[row.id] for row in matrix.rows),
        tracks=by_track(matrix.columns),
        superseded=_superseded(matrix.columns),
        tallies=_tallies(matrix.columns, places),
        newest=_newest_runs(matrix.columns, places),
        differing={row.id for row in matrix.rows if divergence(matrix, row.id)},
        compact=len(matrix.columns) >= COMPACT,
        unexpected=unexpected,
        changed=changed,
        open_news=0 < len(unexpected) + len(changed) <= OPEN_NEWS,
        verdicts=_verdicts(places),
        oldest=min((one.on_build.oldest for one in places), default=None),
        allure=f"{REPORT}/index.html" if material.has_allure else None,
        summaries=material.summaries,
        size=material.history.size() if material.history else (0, 0),
        products=[
            (one, NAMES.get(one, one)) for one in _unique(c.build.product for c in matrix.columns)
        ],
        areas=[
            (one or "-", one or "not documented here")
            for one in sorted({row.area for row in matrix.rows})
        ],
        substrates=[
            (one, one) for one in sorted({name for one in places for name in one.on_build.by_substrate})
        ],
    )


def _by_area(matrix: Matrix) -> list[tuple[str, list[IssueRow]]]:
    """Return the rows by area, in their order; those of which no build has a result stand last, together."""
    seen = [row for row in matrix.rows if matrix.cells[row.id]]
    unseen = [row for row in matrix.rows if not matrix.cells[row.id]]
    # As rows are ordered, those that are not documented come after all areas.
    groups = [
        (area or "not documented here", list(rows)) for area, rows in groupby(seen, lambda row: row.area)
    ]
    return [*groups, ("documented, without a result here", unseen)] if unseen else groups


def by_track(columns: Iterable[Column]) -> dict[tuple[str, str], list[Column]]:
    """Return ``columns`` by product and track, in their order."""
    groups: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        groups.setdefault((column.build.product, column.build.track), []).append(column)
    return groups


def _superseded(columns: Iterable[Column]) -> set[str]:
    """Return the ids of the builds that a newer one of their track has replaced."""
    return {column.id for group in by_track(columns).values() for column in group[:-1]}


def _tallies(columns: Sequence[Column], places: Iterable[Place]) -> dict[str, Tally]:
    found = {column.id: Tally(0, 0) for column in columns}
    for _, column, on_build in places:
        bugs, unexpected = found[column.id]
        found[column.id] = Tally(
            bugs + (on_build.answer is Answer.HAS_BUG), unexpected + (not on_build.expected)
        )
    return found


def _newest_runs(columns: Sequence[Column], places: Sequence[Place]) -> dict[str, str]:
    """Return the run that saw each build last: a cell of another one has not been renewed by it."""
    newest: dict[str, str] = {}
    for column in columns:
        results = [one for place in places if place.column is column for one in place.on_build.scenarios]
        newest[column.id] = max(results, key=lambda one: one.started).run
    return newest


def _verdicts(places: Iterable[Place]) -> dict[Verdict, int]:
    """Count what a filter by verdict finds, the worst verdict first."""
    counts = Counter(part.verdict for one in places for part in one.on_build.by_substrate.values())
    return {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
