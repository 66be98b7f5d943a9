"""The page of a run: what changed, what is not as documented, and what it was a run of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from clusterproof.reports.history.history import RunResult, RunSummary
from clusterproof.reports.matrix.matrix import NAMES, IssueRow
from clusterproof.reports.matrix.urls import build_page
from clusterproof.reports.results.results import Key
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import script

Address = Callable[[Key, str], str | None]


class News(NamedTuple):
    """A result that a run's page or the feed names, with the issue's row and its page, where there are any."""

    result: RunResult
    row: IssueRow | None
    page: str | None

    @property
    def title(self) -> str:
        """What the issue is called."""
        return self.row.title if self.row else self.result.key.issue

    @property
    def build(self) -> str:
        """The build's name as people write it, with its full version."""
        key = self.result.key
        return f"{NAMES.get(key.product, key.product)} {key.version}"


class BuildInRun(NamedTuple):
    """A build that a run had results of; ``page`` is None where the site has none of it."""

    name: str
    page: str | None
    results: int
    unexpected: int


class Run(NamedTuple):
    """A run: its results, and those of them that are news."""

    summary: RunSummary
    results: Sequence[RunResult]
    changed: Sequence[News]
    unexpected: Sequence[News]

    @property
    def ended(self) -> datetime:
        """When its last cell ended (UTC)."""
        return max(one.started + timedelta(seconds=one.seconds) for one in self.results)

    @property
    def suites(self) -> list[str]:
        """The digests of the scenarios that it ran."""
        return sorted({one.suite for one in self.results})

    @property
    def new(self) -> list[News]:
        """What is new: changes, and results not as documented of cells without an earlier one."""
        return [*self.changed, *(one for one in self.unexpected if one.result.previous is None)]


def runs_of(material: Material, address: Address) -> list[Run]:
    """Return the runs that have pages, the newest first; ``address`` leads to a result's page."""
    if not material.history:
        return []
    rows = {row.id: row for row in material.matrix.rows}
    found = material.history.results_of([one.id for one in material.summaries])

    def news(results: Sequence[RunResult], run: str) -> list[News]:
        ordered = sorted(results, key=lambda one: (-one.verdict.severity, one.key))
        return [News(one, rows.get(one.key.issue), address(one.key, run)) for one in ordered]

    return [
        Run(
            summary,
            found[summary.id],
            news([one for one in found[summary.id] if one.changed], summary.id),
            news([one for one in found[summary.id] if not one.verdict.expected], summary.id),
        )
        for summary in material.summaries
    ]


def run_page(material: Material, run: Run, older: str | None, newer: str | None) -> str:
    """Return the page of ``run``; ``older`` and ``newer`` are the addresses of the runs beside it."""
    columns = {(one.build.product, one.build.version): one for one in material.matrix.columns}
    counts = Counter((one.key.product, one.key.version) for one in run.results)
    wrong = Counter(
        (one.key.product, one.key.version) for one in run.results if not one.verdict.expected
    )
    builds = [
        BuildInRun(
            f"{NAMES.get(product, product)} {version}",
            build_page(f"{product}@{version}") if (product, version) in columns else None,
            count,
            wrong[product, version],
        )
        for (product, version), count in sorted(counts.items())
    ]
    return material.page(
        "run", "../", script("common"), run=run, builds=builds, older=older, newer=newer
    )
