"""The page of a build: whether it may ship, and what its user has to know."""

from __future__ import annotations

from clusterproof.reports.matrix.matrix import Column, IssueOnBuild, IssueRow, Matrix
from clusterproof.reports.results.answers import Answer
from clusterproof.reports.site.badge import badge
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import own_markup, script
from clusterproof.reports.site.ship_answer import ShipAnswer, ship_answer


def build_page(material: Material, column: Column) -> tuple[str, str]:
    """Return the page of the build of ``column``, and its badge (SVG)."""
    answer = ship_answer(material, column)
    picture = badge(answer.gate)
    page = material.page(
        "build",
        "../",
        script("common"),
        column=column,
        ship=answer,
        badge=own_markup(picture),
        free=_free(material.matrix, column, answer),
    )
    return page, picture


def _free(matrix: Matrix, column: Column, answer: ShipAnswer) -> list[tuple[IssueRow, IssueOnBuild]]:
    """Return the issues that the build is free of, without those that are named as not as documented."""
    named = {row.id for row, _ in answer.unexpected}
    on_builds = [(row, matrix.cells[row.id].get(column.id)) for row in matrix.rows]
    return [
        (row, one) for row, one in on_builds if one and one.answer is Answer.FREE and row.id not in named
    ]
