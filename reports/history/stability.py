"""Whether cells give the same verdict in run after run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, takewhile
from typing import NamedTuple

from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict

TIMES = 10
# Verdicts of cells that did not run.
_IDLE = (Verdict.NOT_APPLICABLE, Verdict.UNTESTABLE)


class CellStability(NamedTuple):
    """One cell: all its results, and those of the scenario's current text.

    ``in_a_row`` is how many of the current ones, the newest, gave one verdict: 0 where there is none yet.
    """

    results: Repeats
    current: tuple[Cell, ...]
    in_a_row: int

    @classmethod
    def of(cls, results: Repeats, text: str) -> CellStability:
        """Return the stability of a cell with these results, whose scenario's text is now ``text``."""
        current = tuple(cell for cell in results.results if cell.text == text)
        same = takewhile(lambda cell: cell.verdict is current[-1].verdict, reversed(current))
        return cls(results, current, sum(1 for _ in same))

    @property
    def _blocked(self) -> bool:
        return bool(self.current) and self.current[-1].verdict is Verdict.BLOCKED

    def is_stable(self, times: int) -> bool:
        """Whether the last ``times`` results gave one verdict, and a cell that was blocked gave none."""
        return self.in_a_row >= times and not self._blocked

    def word(self, times: int) -> str:
        """Return ``stable``, ``too few runs`` or ``unstable``."""
        if self.is_stable(times):
            return "stable"
        few = self.in_a_row == len(self.current) and not self._blocked
        return "too few runs" if few else "unstable"

    def __str__(self) -> str:
        """The cell with its verdicts, on one line; the newest ones first, how often each in a row."""
        newest = self.results.newest
        series = groupby(cell.verdict for cell in reversed(self.current))
        verdicts = ", before ".join(f"{sum(1 for _ in same)} {verdict}" for verdict, same in series)
        if older := len(self.results.results) - len(self.current):
            verdicts = ", ".join(filter(None, [verdicts, f"{older} of an earlier text of the scenario"]))
        build = newest.build.name
        if newest.peer:
            build += f" with {newest.peer.name}"
        scenario = newest.scenario.rpartition("::")[2]
        return one_line(f"{newest.issue}: {scenario} on {build} ({newest.substrate}): {verdicts}")


class Stability(NamedTuple):
    """The cells that ran; ``idle`` counts those that never did."""

    cells: list[CellStability]
    idle: int
    times: int

    @property
    def stable(self) -> bool:
        """Whether there are cells, and each gave one verdict in its last ``times`` runs."""
        return bool(self.cells) and all(one.is_stable(self.times) for one in self.cells)

    def lines(self, *, every: bool = False) -> Iterator[str]:
        """Yield the cells that are unstable (``every``: all), a line for each issue, and the sum.

        That a cell ran too seldom is no fault of it, and only counted.
        """
        for cell in self.cells:
            if every or cell.word(self.times) == "unstable":
                yield f"{cell.word(self.times)}: {cell}"
        for issue, group in groupby(self.cells, key=lambda cell: cell.results.newest.issue):
            of_issue = list(group)
            counts = [cell.in_a_row for cell in of_issue]
            least, most = min(counts), max(counts)
            often = f"{least}" if least == most else f"{least} to {most}"
            stable = sum(cell.is_stable(self.times) for cell in of_issue)
            yield one_line(f"{issue}: {stable} of {len(of_issue)} cells stable, {often} in a row")
        stable = sum(cell.is_stable(self.times) for cell in self.cells)
        few = sum(cell.word(self.times) == "too few runs" for cell in self.cells)
        idle = f"; {few} have too few runs yet" if few else ""
        idle += f"; {self.idle} more were never run" if self.idle else ""
        yield (
            f"stable: {stable} of {len(self.cells)} cells gave one verdict in their last {self.times} runs{idle}"
        )


def stability(cells: Iterable[Cell], times: int = TIMES) -> Stability:
    """Judge the results ``cells`` of many runs; those of fault-injected clusters are left out.

    Each result of the scenario's current text counts, also a second one in the same run; that text is the one
    of the scenario's newest result. Cells are in the order of their issues.
    """
    groups = repeats(one for one in cells if one.fault is None).values()
    newest: dict[tuple[str, str], Cell] = {}
    for results in groups:
        one = results.newest
        scenario = one.issue, one.scenario
        newest[scenario] = max(newest.get(scenario, one), one, key=lambda cell: (cell.started, cell.run))
    found = [
        CellStability.of(results, newest[results.newest.issue, results.newest.scenario].text)
        for results in groups
    ]
    ran = [one for one in found if any(cell.verdict not in _IDLE for cell in one.results.results)]
    ran.sort(key=lambda one: one.results.newest.key)
    return Stability(ran, len(found) - len(ran), times)
