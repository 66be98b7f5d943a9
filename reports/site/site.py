"""The site: all pages that people decide from, as files that any web server or browser can show.

A run's own folder is the site of that run; ``clusterproof site`` makes one of all runs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from clusterproof.builds import Build
from clusterproof.reports.decide.diff import Comparison, IssueChange, compare, predecessor
from clusterproof.reports.exports.allure_results import REPORT
from clusterproof.reports.exports.allure_results import address as address_in_allure
from clusterproof.reports.history.history import History, PastResult
from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.matrix import proving
from clusterproof.reports.matrix.bounds import range_evidence
from clusterproof.reports.matrix.from_results import scenario
from clusterproof.reports.matrix.matrix import (
    NAMES,
    Column,
    IssueOnBuild,
    IssueRow,
    Matrix,
    ScenarioOnBuild,
)
from clusterproof.reports.matrix.urls import (
    COMPARE,
    FRONT,
    build_id,
    build_page,
    cell_folder,
    cell_page,
    result_page,
)
from clusterproof.reports.results.answers import Answer
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
from clusterproof.reports.results.proofs import read_proofs
from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.results.timeline import TRANSCRIPT, Timeline, read_timeline
from clusterproof.reports.results.verdicts import Observation, Verdict
from clusterproof.reports.site.compare_page import comparison_between
from clusterproof.reports.site.published_evidence import EvidencePlace
from clusterproof.reports.site.rendering import Made, render, script
from clusterproof.reports.site.scenario_source import sources_of

DATA = "matrix.json"

_NEWS = 6  # issues on builds that the front page names, of each kind
_RUNS = 20  # runs that it lists
_TRAIL = 20  # results of a cell that its pages list

class News(NamedTuple):
    """An issue on a build that the front page names."""

    row: IssueRow
    column: Column
    on_build: IssueOnBuild


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
    evidence: EvidencePlace
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
        on_builds = list(self._issues_on_builds())
        return self._page(
            "matrix",
            "",
            script("common", "matrix") if matrix.rows else script("common"),
            here="matrix",
            columns=matrix.columns,
            tracks=_by_track(matrix.columns),
            superseded=_superseded(matrix.columns),
            unexpected=[one for one in on_builds if not one.on_build.expected],
            changed=[one for one in on_builds if one.on_build.was],
            shown=_NEWS,
            verdicts=_verdicts(on_builds),
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
                (one, one) for one in sorted({n for one in on_builds for n in one.on_build.by_substrate})
            ],
        )

    def comparison(self) -> str:
        """Return the page that compares any two builds, at first the newest that can be compared."""
        columns = self.matrix.columns
        after = next((one for one in reversed(columns) if predecessor(self.matrix, one)), None)
        before = predecessor(self.matrix, after) if after else None
        if columns and not after:
            before, after = columns[0], columns[-1]
        return comparison_between(self.matrix, self.made, before, after, linked=True)

    def build(self, column: Column) -> str:
        """Return the page of a build: what its user has to know."""
        matrix = self.matrix
        issues = [(row, matrix.cells[row.id].get(column.id)) for row in matrix.rows]
        before = predecessor(matrix, column)
        comparison = compare(matrix, before, column) if before else None
        counts = Counter((on_build.answer, on_build.verdict) for _, on_build in issues if on_build)

        def of(*wanted: Answer) -> list[tuple[IssueRow, IssueOnBuild]]:
            return [(row, on_build) for row, on_build in issues if on_build and on_build.answer in wanted]

        free = of(Answer.FREE)
        untested = [
            (row, on_build)
            for row, on_build in issues
            if on_build is None and column.build.product in row.products
        ]
        return self._page(
            "build",
            "../",
            script("common"),
            column=column,
            counts=[
                (words, verdict, counts[words, verdict])
                for words in Answer
                for verdict in Verdict
                if counts[words, verdict]
            ],
            comparison=comparison,
            worse=_worse(comparison),
            open=of(Answer.HAS_BUG),
            fixed=comparison.having(IssueChange.FIXED, IssueChange.WORKS) if comparison else [],
            groups=[
                (
                    "Fails otherwise",
                    "failed",
                    "The product failed, but not in the documented way.",
                    of(Answer.FAILS),
                ),
                (
                    "Not as documented",
                    "silently-fixed",
                    "The ledger says that the build is affected, yet it behaved correctly.",
                    [one for one in free if one[1].verdict is Verdict.SILENTLY_FIXED],
                ),
                (
                    "Free of it",
                    "free",
                    "The scenarios of these issues ran and the build behaved correctly.",
                    [one for one in free if one[1].verdict is not Verdict.SILENTLY_FIXED],
                ),
                (
                    "Not known",
                    "unjudged",
                    "The lab failed or lacks what a reproduction needs, or nothing was run.",
                    [*of(Answer.NOT_KNOWN, Answer.WORKS, Answer.BROUGHT_ABOUT), *untested],
                ),
            ],
        )

    def issue(self, row: IssueRow, trails: Mapping[Key, Sequence[PastResult]]) -> str:
        """Return the page of an issue; ``trails`` are the newest results of its cells."""
        documented = self.ledger.get(row.id)
        builds = {column.id: column.build for column in self.matrix.columns}
        # What the repository keeps of others' runs stands beside what this history has.
        proofs = read_proofs(documented) if documented else []

        def trail(column: Column, one: ScenarioOnBuild) -> Sequence[PastResult]:
            key = Key.of(row.id, one.scenario, one.role, column.build, one.peer, one.substrate)
            return trails.get(key, [])

        def column_page(build: Build) -> str | None:
            return build_page(build_id(build)) if build_id(build) in builds else None

        sightings = self.history.sightings(row.id) if self.history else []
        if documented:
            sightings = proving.merged(sightings, proving.sightings(documented, proofs))
        issues_on_builds = self.matrix.cells[row.id]
        moved = [
            (column, one)
            for column in self.matrix.columns
            if column.id in issues_on_builds
            for one in issues_on_builds[column.id].scenarios
            if one.expects_now
        ]
        return self._page(
            "issue",
            "../",
            script("common"),
            row=row,
            issues_on_builds=issues_on_builds,
            moved=moved,
            tracks=range_evidence(row.ranges, sightings, proving.builds_of(proofs) | builds),
            proofs=proofs,
            trails=trail,
            column_page=column_page,
            sources=sources_of(documented) if documented else [],
        )

    def cell(
        self, results: Repeats, past: Sequence[PastResult], pages: Mapping[str, str], address: str
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
            placed = self.evidence.place(cell.run, folder, cell.evidence or "")
            files, more = kept(placed)
            page = (self.root / address).parent.resolve()
            base = f"{quote(Path(os.path.relpath(placed, page)).as_posix())}/"
        newest = cell_page(cell.key)
        if address == newest:
            shown = self.matrix.scenario(cell)
        else:
            shown = scenario(results, self.ledger.get(cell.issue), self.history)
        return self._page(
            "cell",
            "../../../",
            script("common"),
            cell=cell,
            row=self.matrix.row(cell.issue),
            column=self.matrix.column(build_id(cell.build)),
            shown=shown,
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

    def _cell_pages(self, key: Key, newest: Repeats, past: Sequence[PastResult]) -> Iterator[str]:
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
        return render(template, self.matrix, self.made, up=up, script=made_with, **values)

    def _issues_on_builds(self) -> Iterator[News]:
        for row in self.matrix.rows:
            for column in self.matrix.columns:
                if on_build := self.matrix.cells[row.id].get(column.id):
                    yield News(row, column, on_build)

    @cached_property
    def _has_allure(self) -> bool:
        return (self.root / REPORT / "index.html").is_file()

    def _write(self, address: str, text: str) -> None:
        put(self.root / address, text)
        self.written.add(address)


def _verdicts(on_builds: Iterable[News]) -> dict[Verdict, int]:
    """Count what a filter by verdict finds, the worst verdict first."""
    counts = Counter(part.verdict for one in on_builds for part in one.on_build.by_substrate.values())
    return {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}


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
    return comparison.having(IssueChange.BROKEN, IssueChange.FAILS) if comparison else []
