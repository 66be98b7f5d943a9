"""The results of one cell that ran more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.results.verdicts import Verdict


class Repeats(NamedTuple):
    """All results of one cell, in the order they began; at least one."""

    results: tuple[Cell, ...]

    @property
    def newest(self) -> Cell:
        """The latest result; the one written later where two began at the same time."""
        return self.results[-1]

    @property
    def standing(self) -> Cell:
        """The result that stands for the cell.

        The newest, unless one was unexpected: a repeat lifts a block, but a bug that shows only
        now and then is a bug.
        """
        unexpected = [
            cell
            for cell in self.results
            if not cell.verdict.expected and cell.verdict is not Verdict.BLOCKED
        ]
        return unexpected[-1] if unexpected else self.newest

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """How often each verdict was given, the worst first."""
        counts = Counter(cell.verdict for cell in self.results)
        return {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}


def repeats(cells: Iterable[Cell]) -> dict[Key, Repeats]:
    """Return ``cells`` by what makes them the same cell, in the order of each one's first."""
    groups: dict[Key, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key, []).append(cell)
    return {
        key: Repeats(tuple(sorted(group, key=lambda cell: cell.started)))
        for key, group in groups.items()
    }
