"""The answer to what a release manager asks of a build: whether it may ship."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clusterproof.reports.decide.diff import Comparison, Difference, IssueChange, compare, predecessor
from clusterproof.reports.decide.gate import BLOCKED, PASSED, GateResult, Objection, Weight, gate
from clusterproof.reports.matrix.matrix import Column, IssueOnBuild, IssueRow, Matrix, WayOut
from clusterproof.reports.matrix.urls import build_id
from clusterproof.reports.results.answers import Answer
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.verdicts import Verdict
from clusterproof.reports.site.material import Material

_WORSE = (IssueChange.BROKEN, IssueChange.FAILS)
_BETTER = (IssueChange.FIXED, IssueChange.WORKS)

Issues = Sequence[tuple[IssueRow, IssueOnBuild]]


class ShipAnswer(NamedTuple):
    """What stands for and against a build.

    ``says`` is the answer: yes, no, partly (yes, but not all was judged), worse (yes, but worse than the
    build before) or unknown; its words are in the template. ``unexpected`` are the issues not as documented,
    ``open`` those in the build, ``verified`` counts the ways out that hold there. ``unjudged`` are the issues
    that nothing is known of, without an entry where no scenario has a result; ``absent`` counts those that are
    documented for the product and are no row at all. ``comparison`` is with the predecessor, None where there
    is none.
    """

    says: str
    gate: GateResult
    unexpected: Issues
    open: Issues
    verified: int
    unjudged: Sequence[tuple[IssueRow, IssueOnBuild | None]]
    absent: int
    judged: int
    comparison: Comparison | None

    @property
    def documented(self) -> int:
        """How many issues concern the product, judged or not."""
        return self.judged + len(self.unjudged) + self.absent

    @property
    def worse(self) -> list[Difference]:
        """What the build does worse than its predecessor."""
        return self.comparison.having(*_WORSE) if self.comparison else []

    @property
    def fixed(self) -> list[Difference]:
        """What is gone since its predecessor."""
        return self.comparison.having(*_BETTER) if self.comparison else []

    @property
    def explained(self) -> list[Objection]:
        """What a person has looked into and accepted by name."""
        return self.gate.having(Weight.EXPLAINED)


def ship_answer(material: Material, column: Column) -> ShipAnswer:
    """Return what the gate, the ledger and the predecessor say of the build of ``column``."""
    matrix = material.matrix
    before = predecessor(matrix, column)
    policy = material.policy if before else material.policy.model_copy(update={"against": None})
    judged_by_gate = gate(
        _cells(material, column),
        policy,
        problems=material.missing,
        before=_cells(material, before) if policy.against and before else None,
        today=material.made.made.date(),
    )
    of_build = list(_concerning(matrix, column))
    on_builds = [(row, on_build) for row, on_build in of_build if on_build]
    unjudged = [(row, one) for row, one in of_build if one is None or not one.judged]
    having = [(row, one) for row, one in on_builds if one.answer is Answer.HAS_BUG]
    comparison = compare(matrix, before, column) if before else None
    answer = ShipAnswer(
        says="",
        gate=judged_by_gate,
        unexpected=[(row, one) for row, one in on_builds if not one.expected],
        open=having,
        verified=sum(one.way_out is WayOut.VERIFIED for _, one in having),
        unjudged=unjudged,
        absent=sum(
            column.build.product in issue.products and issue.id not in matrix.cells
            for issue in material.ledger.values()
        ),
        judged=len(of_build) - len(unjudged),
        comparison=comparison,
    )
    return answer._replace(says=_says(answer))


def _cells(material: Material, column: Column) -> list[Cell]:
    return [cell for cell in material.cells if build_id(cell.build) == column.id]


def _concerning(matrix: Matrix, column: Column) -> Iterable[tuple[IssueRow, IssueOnBuild | None]]:
    """Yield the issues that concern the product, with what was seen of them."""
    for row in matrix.rows:
        on_build = matrix.cells[row.id].get(column.id)
        if on_build is None and column.build.product in row.products:
            yield row, None
        elif on_build and on_build.verdict is not Verdict.NOT_APPLICABLE:
            yield row, on_build


def _says(answer: ShipAnswer) -> str:
    if answer.gate.outcome == BLOCKED or not answer.judged:
        return "unknown"
    if answer.gate.outcome != PASSED:
        return "no"
    if answer.worse:
        return "worse"
    return "partly" if answer.judged < answer.documented else "yes"
