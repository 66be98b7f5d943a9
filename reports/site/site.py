"""The site: all pages that people decide from, as files that any web server or browser can show.

A run's own folder is the site of that run; ``clusterproof site`` makes one of all runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from clusterproof.builds import Build
from clusterproof.reports.decide.diff import Change, Comparison, compare, predecessor, table
from clusterproof.reports.exports.allure_results import REPORT
from clusterproof.reports.exports.allure_results import address as address_in_allure
from clusterproof.reports.history.history import History, Past
from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.matrix.bounds import tracks
from clusterproof.reports.matrix.matrix import NAMES, Column, Matrix, Meeting, Row, Scenario, scenario
from clusterproof.reports.matrix.urls import (
    COMPARE,
    FRONT,
    build_id,
    build_page,
    cell_folder,
    cell_page,
    result_page,
)
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.kept_evidence import (
    SYMPTOM,
    Kept,
    command,
    folder_of,
    kept,
    symptom_lines,
)
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.results.timeline import TRANSCRIPT, Timeline, read_timeline
from clusterproof.reports.results.verdicts import Observation, Verdict
from clusterproof.reports.site.published_evidence import Shelf
from clusterproof.reports.site.rendering import script, templates
from clusterproof.reports.site.scenario_source import source_of

DATA = "matrix.json"
STALE_DAYS = 14

_NEWS = 6  # issues on builds that the front page tells of by name, of each kind
_RUNS = 20  # runs that it lists
_TRAIL = 20  # results of a cell that its pages list

_TONES = {
    Change.BROKEN: "worse",
    Change.FAILS: "worse",
    Change.APPEARS: "open",
    Change.STILL: "open",
    Change.STILL_FAILS: "worse",
    Change.FIXED: "better",
    Change.WORKS: "better",
}


class Made(NamedTuple):
    """When a site was made, and after how many days it calls a result stale."""

    made: datetime
    stale_days: int


class News(NamedTuple):
    """An issue on a build that the front page tells of."""

    row: Row
    column: Column
    meeting: Meeting


@dataclass(frozen=True)
class Site:
    """The pages of ``matrix``, which was made from ``cells``, in the folder ``root``.

    ``runs`` are the folders of those runs whose evidence is at hand, by id; ``earlier`` the results
    of theirs that are not the newest of their cell. Without ``history`` pages say nothing of it.
    ``written`` are the addresses of what was written.
    """

    root: Path
    matrix: Matrix
    cells: Sequence[Cell]
    ledger: Mapping[str, Issue]
    made: Made
    shelf: Shelf
    runs: Mapping[str, Path]
    history: History | None = None
    earlier: Mapping[Key, Sequence[Repeats]] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def write(self) -> Matrix:
        """Write all pages, and ``matrix.json``; return the matrix, which knows of cells without a page.

        Raises OSError where the site itself cannot be written, HistoryError where the history
        cannot be read.
        """
        groups = repeats(self.cells)
        problems = list(self.matrix.generated_from.problems)
        for row in self.matrix.rows:
            trails = self.history.trail(row.id, _TRAIL) if self.history else {}
            self._write(row.page, self.issue(row, trails))
            for key, group in groups.items():
                if key.issue == row.id:
                    problems += self._cell_pages(key, group, trails.get(key, []))
        for column in self.matrix.columns:
            self._write(column.page, self.build(column))
        self._write(COMPARE, self.comparison())
        whole = replace(self, matrix=self.matrix.with_problems(problems))
        self._write(DATA, whole.matrix.json_text())
        self._write(FRONT, whole.front())
        return whole.matrix

    # Pages

    def front(self) -> str:
        """Return the front page: the matrix, its filters, and what is new."""
        matrix = self.matrix
        met = list(self._meetings())
        return self._page(
            "matrix",
            "",
            script("common", "matrix") if matrix.rows else script("common"),
            here="matrix",
            columns=matrix.columns,
            tracks=_by_track(matrix.columns),
            superseded=_superseded(matrix.columns),
            unexpected=[one for one in met if not one.meeting.expected],
            changed=[one for one in met if one.meeting.was],
            shown=_NEWS,
            allure=f"{REPORT}/index.html" if self._has_allure else None,
            tested=sum(bool(matrix.cells[row.id]) for row in matrix.rows),
            summaries=self.history.summaries(_RUNS) if self.history else [],
            size=self.history.size() if self.history else (0, 0),
            products=[
                (one, NAMES.get(one, one)) for one in _unique(c.build.product for c in matrix.columns)
            ],
            areas=[
                (one or "-", one or "not in the ledger")
                for one in sorted({row.area for row in matrix.rows})
            ],
            substrates=[
                (one, one) for one in sorted({n for one in met for n in one.meeting.by_substrate})
            ],
        )

    def comparison(self) -> str:
        """Return the page that compares any two builds, at first the newest that can be compared."""
        columns = self.matrix.columns
        after = next((one for one in reversed(columns) if predecessor(self.matrix, one)), None)
        before = predecessor(self.matrix, after) if after else None
        if columns and not after:
            before, after = columns[0], columns[-1]
        return _comparison(self.matrix, self.made, before, after, linked=True)

    def build(self, column: Column) -> str:
        """Return the page of a build: what its user has to know."""
        matrix = self.matrix
        met = [(row, matrix.cells[row.id].get(column.id)) for row in matrix.rows]
        before = predecessor(matrix, column)
        comparison = compare(matrix, before, column) if before else None
        verdicts = [meeting.verdict for _, meeting in met if meeting]

        def of(*wanted: Verdict) -> list[tuple[Row, Meeting | None]]:
            return [(row, meeting) for row, meeting in met if meeting and meeting.verdict in wanted]

        untested = [
            (row, meeting)
            for row, meeting in met
            if meeting is None and column.build.product in row.products
        ]
        return self._page(
            "build",
            "../",
            script("common"),
            column=column,
            counts={one: verdicts.count(one) for one in Verdict if one in verdicts},
            comparison=comparison,
            worse=_worse(comparison),
            open=of(Verdict.REGRESSED, Verdict.DISCOVERED, Verdict.REPRODUCED),
            fixed=comparison.having(Change.FIXED, Change.WORKS) if comparison else [],
            groups=[
                (
                    "Misbehaves in another way",
                    "failed",
                    "The product failed, but not in the documented way.",
                    of(Verdict.FAILED),
                ),
                (
                    "Not as documented",
                    "silently-fixed",
                    "The ledger says that the build is affected, yet it behaved correctly.",
                    of(Verdict.SILENTLY_FIXED),
                ),
                (
                    "Free of",
                    "free",
                    "The scenarios of these issues ran and the build behaved correctly.",
                    of(Verdict.CONFORMS, Verdict.CLEAR),
                ),
                (
                    "Not judged",
                    "unjudged",
                    "The lab failed, or did not have what the scenario needs: nothing is known.",
                    [*of(Verdict.BLOCKED, Verdict.UNTESTABLE), *untested],
                ),
            ],
        )

    def issue(self, row: Row, trails: Mapping[Key, Sequence[Past]]) -> str:
        """Return the page of an issue; ``trails`` are the newest results of its cells."""
        documented = self.ledger.get(row.id)
        builds = {column.id: column.build for column in self.matrix.columns}

        def trail(column: Column, one: Scenario) -> Sequence[Past]:
            key = Key.of(row.id, one.scenario, one.role, column.build, one.peer, one.substrate)
            return trails.get(key, [])

        def column_page(build: Build) -> str:
            return build_page(build_id(build))

        sightings = self.history.sightings(row.id) if self.history else []
        meetings = self.matrix.cells[row.id]
        moved = [
            (column, one)
            for column in self.matrix.columns
            if column.id in meetings
            for one in meetings[column.id].scenarios
            if one.expects_now
        ]
        return self._page(
            "issue",
            "../",
            script("common"),
            row=row,
            meetings=meetings,
            moved=moved,
            tracks=tracks(row.ranges, sightings, builds),
            trails=trail,
            column_page=column_page,
            source=source_of(documented) if documented else None,
        )

    def cell(
        self, results: Repeats, past: Sequence[Past], pages: Mapping[str, str], address: str
    ) -> str:
        """Return the page, at ``address``, of the newest of ``results``, which are of one run.

        ``past`` are the newest results of the cell in all runs; ``pages`` leads to those that have
        a page, by run. Raises OSError where the evidence cannot be read.
        """
        cell = results.newest
        others = results.results[:-1]
        run_dir = self.runs.get(cell.run)
        folder = folder_of(run_dir, cell) if run_dir else None
        files: list[Kept] = []
        more, base = 0, ""
        if folder:
            placed = self.shelf.place(cell.run, folder, cell.evidence or "")
            files, more = kept(placed)
            page = (self.root / address).parent.resolve()
            base = f"{quote(Path(os.path.relpath(placed, page)).as_posix())}/"
        newest = cell_page(cell.key)
        if address == newest:
            told = self.matrix.scenario(cell)
        else:
            told = scenario(results, self.ledger.get(cell.issue), self.history)
        return self._page(
            "cell",
            "../../../",
            script("common"),
            cell=cell,
            row=self.matrix.row(cell.issue),
            column=self.matrix.column(build_id(cell.build)),
            told=told,
            allure=address_in_allure(cell.key) if address == newest and self._has_allure else None,
            newer=newest if address != newest else None,
            others=others,
            past=[(one, pages.get(one.run)) for one in past],
            timeline=read_timeline(folder / TRANSCRIPT, cell.started, shared=bool(others))
            if folder
            else Timeline(),
            symptom=symptom_lines(folder)
            if folder and cell.observation is Observation.SYMPTOM
            else None,
            kept=files,
            more_files=more,
            base=base,
            absent=cell.evidence is not None and folder is None,
            command=command(cell),
            transcript=TRANSCRIPT,
            symptom_file=SYMPTOM,
        )

    def _cell_pages(self, key: Key, newest: Repeats, past: Sequence[Past]) -> Iterator[str]:
        """Write the pages of one cell; yield what could not be written."""
        results = {cell_page(key): newest}
        for earlier in self.earlier.get(key, ()):
            results[result_page(key, earlier.newest.run)] = earlier
        pages = {group.newest.run: address for address, group in results.items()}
        for address, group in results.items():
            try:
                self._write(address, self.cell(group, past, pages, address))
            except OSError as error:
                yield f'no page for "{group.newest.evidence or cell_folder(key)}": {error.strerror}'

    # What pages are made from

    def _page(self, template: str, up: str, made_with: object, **values: Any) -> str:  # noqa: ANN401
        return _render(template, self.matrix, self.made, up=up, script=made_with, **values)

    def _meetings(self) -> Iterator[News]:
        for row in self.matrix.rows:
            for column in self.matrix.columns:
                if meeting := self.matrix.cells[row.id].get(column.id):
                    yield News(row, column, meeting)

    @cached_property
    def _has_allure(self) -> bool:
        return (self.root / REPORT / "index.html").is_file()

    def _write(self, address: str, text: str) -> None:
        put(self.root / address, text)
        self.written.add(address)


def comparison_page(matrix: Matrix, comparison: Comparison) -> str:
    """Return a page that stands alone and shows ``comparison`` and any other one of ``matrix``."""
    made = Made(datetime.now(UTC), STALE_DAYS)
    return _comparison(matrix, made, comparison.before, comparison.after, linked=False)


def _comparison(
    matrix: Matrix, made: Made, before: Column | None, after: Column | None, *, linked: bool
) -> str:
    builds = [
        {
            "id": one.id,
            "called": _called(one),
            "version": one.build.version,
            "track": one.build.track,
            "page": one.page if linked else None,
        }
        for one in matrix.columns
    ]
    issues = [
        {
            "id": row.id,
            "title": row.title,
            "page": row.page if linked else None,
            "cells": {
                column: {
                    "verdict": meeting.verdict,
                    "page": meeting.scenarios[0].page if linked else None,
                }
                for column, meeting in matrix.cells[row.id].items()
            },
        }
        for row in matrix.rows
    ]
    return _render(
        "compare",
        matrix,
        made,
        up="",
        script=script("common", "compare") if matrix.columns else script("common"),
        here="compare",
        linked=linked,
        before=before.id if before else "",
        after=after.id if after else "",
        changes=list(Change),
        data={
            "builds": builds,
            "issues": issues,
            "signs": {one: one.sign for one in Verdict},
            "changes": table([None, *Verdict]),
            "words": {one: one.meaning for one in Change},
            "tones": {one: _TONES.get(one, "calm") for one in Change},
            "differs": [one for one in Change if one.differs],
        },
    )


def _render(template: str, matrix: Matrix, made: Made, **values: Any) -> str:  # noqa: ANN401
    return (
        templates()
        .get_template(f"{template}.html")
        .render(
            {"here": "", "linked": True, **values},
            site=made,
            matrix=matrix,
            names=NAMES,
            Verdict=Verdict,
        )
    )


def _called(column: Column) -> str:
    return f"{NAMES.get(column.build.product, column.build.product)} {column.build.short}"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _by_track(columns: Iterable[Column]) -> dict[tuple[str, str], list[Column]]:
    groups: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        groups.setdefault((column.build.product, column.build.track), []).append(column)
    return groups


def _superseded(columns: Iterable[Column]) -> set[str]:
    """Return the ids of the builds that a newer one of their track has replaced."""
    return {column.id for group in _by_track(columns).values() for column in group[:-1]}


def _worse(comparison: Comparison | None) -> list[Any]:
    return comparison.having(Change.BROKEN, Change.FAILS) if comparison else []
