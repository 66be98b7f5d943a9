"""What the pages of a site are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from clusterproof.reports.decide.policy import Policy
from clusterproof.reports.exports.allure_results import REPORT
from clusterproof.reports.history.history import History, RunSummary
from clusterproof.reports.history.repeats import Repeats
from clusterproof.reports.matrix.matrix import Column, IssueOnBuild, IssueRow, Matrix
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.site.published_evidence import EvidencePlace
from clusterproof.reports.site.rendering import Made, Script, render

RUNS_SHOWN = 20  # runs, the newest, that are listed and have pages


class Place(NamedTuple):
    """An issue on a build, as pages name it."""

    row: IssueRow
    column: Column
    on_build: IssueOnBuild


@dataclass(frozen=True)
class Material:
    """The ``matrix``, which was made from ``cells``, and all that pages tell beside it.

    ``root`` is the site's folder. ``runs`` are the folders of those runs whose evidence is at hand, by id;
    ``earlier`` the results of theirs that are not the newest of their cell. ``policy`` is what the gate judges
    each build by, ``missing`` says which results there should be as well. Without ``history`` pages say
    nothing of it.
    """

    root: Path
    matrix: Matrix
    cells: Sequence[Cell]
    ledger: Mapping[str, Issue]
    made: Made
    evidence: EvidencePlace
    runs: Mapping[str, Path]
    policy: Policy
    history: History | None = None
    earlier: Mapping[Key, Sequence[Repeats]] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def page(self, template: str, up: str, made_with: Script, **values: Any) -> str:  # noqa: ANN401
        """Return the page that ``template`` makes of ``values``; ``up`` leads from it to the front page."""
        shared = {
            "feed": self.history is not None,
            "listed_runs": {run.id for run in self.summaries},
        }
        return render(template, self.matrix, self.made, up=up, script=made_with, **shared, **values)

    @cached_property
    def has_allure(self) -> bool:
        """Whether Allure's report is in the site."""
        return (self.root / REPORT / "index.html").is_file()

    @cached_property
    def summaries(self) -> list[RunSummary]:
        """The runs that are listed, the newest first."""
        return self.history.summaries(RUNS_SHOWN) if self.history else []

    def places(self) -> Iterator[Place]:
        """Yield every issue on every build that has results of it."""
        for row in self.matrix.rows:
            for column in self.matrix.columns:
                if on_build := self.matrix.cells[row.id].get(column.id):
                    yield Place(row, column, on_build)
