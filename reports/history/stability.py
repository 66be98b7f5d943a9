"""Whether cells give the same verdict time after time: what "ten runs in a row" means, from the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, takewhile
from typing import NamedTuple

from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict

TIMES = 10
# Of cells that nobody ran there is no other verdict to be had.
_IDLE = (Verdict.NOT_APPLICABLE, Verdict.UNTESTABLE)


class Row(NamedTuple):
    """One cell: all its results, and how many of the newest in a row gave one verdict."""

    results: Repeats
    in_a_row: int

    @classmethod
    def of(cls, results: Repeats) -> Row:
        """Return the row of a cell with these results."""
        verdict = results.newest.verdict
        same = takewhile(lambda cell: cell.verdict is verdict, reversed(results.results))
        return cls(results, sum(1 for _ in same))

    def is_steady(self, times: int) -> bool:
        """Whether the last ``times`` results gave one verdict, and a cell that was blocked gave none."""
        return self.in_a_row >= times and self.results.newest.verdict is not Verdict.BLOCKED

    def word(self, times: int) -> str:
        """Say in a word or two whether it is steady, and why not."""
        if self.is_steady(times):
            return "steady"
        few = (
            self.in_a_row == len(self.results.results)
            and self.results.newest.verdict is not Verdict.BLOCKED
        )
        return "too few runs" if few else "not steady"

    def __str__(self) -> str:
        """The cell with its verdicts, on one line; the newest ones first, how often each in a row."""
        newest = self.results.newest
        series = groupby(cell.verdict for cell in reversed(self.results.results))
        said = ", before ".join(f"{sum(1 for _ in same)} {verdict}" for verdict, same in series)
        build = newest.build.name
        if newest.peer:
            build += f" with {newest.peer.name}"
        scenario = newest.scenario.rpartition("::")[2]
        return one_line(f"{newest.issue}: {scenario} on {build} ({newest.substrate}): {said}")


class Steadiness(NamedTuple):
    """The cells that ran; ``idle`` counts those that never did."""

    rows: list[Row]
    idle: int
    times: int

    @property
    def steady(self) -> bool:
        """Whether there are cells, and each gave one verdict in its last ``times`` runs."""
        return bool(self.rows) and all(row.is_steady(self.times) for row in self.rows)

    def lines(self, *, every: bool = False) -> Iterator[str]:
        """Yield the cells that are not steady (``every``: all), a line for each issue, and the sum."""
        for row in self.rows:
            if every or not row.is_steady(self.times):
                yield f"{row.word(self.times)}: {row}"
        for issue, group in groupby(self.rows, key=lambda row: row.results.newest.issue):
            rows = list(group)
            counts = [row.in_a_row for row in rows]
            least, most = min(counts), max(counts)
            often = f"{least}" if least == most else f"{least} to {most}"
            good = sum(row.is_steady(self.times) for row in rows)
            yield one_line(f"{issue}: {good} of {len(rows)} cells steady, {often} in a row")
        good = sum(row.is_steady(self.times) for row in self.rows)
        idle = f"; {self.idle} more were never run" if self.idle else ""
        yield (
            f"steady: {good} of {len(self.rows)} cells gave one verdict in their last {self.times} runs{idle}"
        )


def steadiness(cells: Iterable[Cell], times: int = TIMES) -> Steadiness:
    """Judge the results ``cells`` of many runs; those whose cluster was struck on purpose are left out.

    Each result counts, also a second one in the same run. The rows are in the order of their issues.
    """
    rows = [Row.of(results) for results in repeats(one for one in cells if one.fault is None).values()]
    ran = [row for row in rows if any(cell.verdict not in _IDLE for cell in row.results.results)]
    ran.sort(key=lambda row: row.results.newest.key)
    return Steadiness(ran, len(rows) - len(ran), times)
