"""The page of an issue: the way out, which versions have it, and what runs showed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from clusterproof.builds import Build
from clusterproof.reports.history.history import PastResult
from clusterproof.reports.matrix import urls
from clusterproof.reports.matrix.bounds import range_evidence
from clusterproof.reports.matrix.divergence import divergence
from clusterproof.reports.matrix.matrix import (
    Column,
    IssueOnBuild,
    IssueRow,
    Matrix,
    ScenarioOnBuild,
    WayOut,
)
from clusterproof.reports.results.answers import Answer
from clusterproof.reports.results.results import Key
from clusterproof.reports.results.verdicts import Verdict
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import script
from clusterproof.reports.site.scenario_source import sources_of
from clusterproof.reports.site.version_bar import version_bar

FOLDED = 3  # builds of one track with one verdict, from which on they are one line


class Alike(NamedTuple):
    """Builds next to each other in a track that showed the same."""

    columns: tuple[Column, ...]
    on_builds: tuple[IssueOnBuild, ...]

    @property
    def folded(self) -> bool:
        """Whether they are shown as one line."""
        return len(self.columns) >= FOLDED


def issue_page(material: Material, row: IssueRow, trails: Mapping[Key, Sequence[PastResult]]) -> str:
    """Return the page of the issue in ``row``; ``trails`` are the newest results of its cells."""
    matrix, history = material.matrix, material.history
    documented = material.ledger.get(row.id)
    builds = {column.id: column.build for column in matrix.columns}
    on_builds = matrix.cells[row.id]

    def trail(column: Column, one: ScenarioOnBuild) -> Sequence[PastResult]:
        key = Key.of(row.id, one.scenario, one.role, column.build, one.peer, one.substrate)
        return trails.get(key, [])

    def column_page(build: Build) -> str:
        return urls.build_page(urls.build_id(build))

    sightings = history.sightings(row.id) if history else []
    tracks = range_evidence(row.ranges, sightings, builds)
    columns = [column for column in matrix.columns if column.id in on_builds]
    return material.page(
        "issue",
        "../",
        script("common"),
        row=row,
        on_builds=on_builds,
        has_bug=[column.id for column in columns if on_builds[column.id].answer is Answer.HAS_BUG],
        ways_out={
            outcome: [column for column in columns if on_builds[column.id].way_out is outcome]
            for outcome in WayOut
        },
        upgrades=_upgrades(row),
        affected_only=bool(row.ranges)
        and all(entry.affected and not entry.fixed for entry in row.ranges),
        moved=[
            (column, one)
            for column in columns
            for one in on_builds[column.id].scenarios
            if one.expects_now
        ],
        tracks=[(one, version_bar(one)) for one in tracks],
        groups=list(_alike(matrix, row)),
        idle=[column for column in columns if on_builds[column.id].verdict is Verdict.NOT_APPLICABLE],
        differs=divergence(matrix, row.id),
        trails=trail,
        column_page=column_page,
        sources=sources_of(documented) if documented else [],
    )


def _upgrades(row: IssueRow) -> list[tuple[str, str, str]]:
    """Return the first version without the issue in each track that has one: product, track, version."""
    return [
        (entry.product, entry.track, entry.fixed.version)
        for entry in row.ranges
        if entry.fixed and entry.track and entry.scenario is None
    ]


def _alike(matrix: Matrix, row: IssueRow) -> Iterator[Alike]:
    """Yield the builds that the issue concerns, those next to each other with one verdict together."""
    on_builds = matrix.cells[row.id]
    shown: Iterable[Column] = (
        column
        for column in matrix.columns
        if column.id in on_builds and on_builds[column.id].verdict is not Verdict.NOT_APPLICABLE
    )

    def same(column: Column) -> tuple[str, str, Verdict, str]:
        on_build = on_builds[column.id]
        return column.build.product, column.build.track, on_build.verdict, on_build.role

    for _, group in groupby(shown, same):
        columns = tuple(group)
        yield Alike(columns, tuple(on_builds[column.id] for column in columns))
