"""Where the newest judged builds of LXD and Incus differ: one has a bug that the other is free of."""

from __future__ import annotations

from typing import NamedTuple

from clusterproof.builds import parse_version
from clusterproof.reports.matrix.matrix import Column, Matrix
from clusterproof.reports.results.answers import Answer


class Divergence(NamedTuple):
    """The newest build of one product, which has the bug, and that of the other, which is free of it."""

    affected: Column
    free: Column


def divergence(matrix: Matrix, issue: str) -> Divergence | None:
    """Return how the products differ in ``issue``, a row of ``matrix``, or None where they do not.

    Of each product the newest build counts that was seen to have the bug or to be free of it.
    """
    newest: dict[str, Column] = {}
    for column in sorted(matrix.columns, key=lambda one: parse_version(one.build.version)):
        on_build = matrix.cells[issue].get(column.id)
        if on_build and on_build.answer in (Answer.HAS_BUG, Answer.FREE):
            newest[column.build.product] = column
    answers = {matrix.cells[issue][column.id].answer: column for column in newest.values()}
    if len(newest) > 1 and len(answers) > 1:
        return Divergence(answers[Answer.HAS_BUG], answers[Answer.FREE])
    return None
