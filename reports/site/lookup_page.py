"""The page that looks a version up: which issues are in it, and what is the way out."""

from __future__ import annotations

from typing import Any

from clusterproof.builds import Range
from clusterproof.reports.matrix.matrix import NAMES, IssueRow, Matrix, WayOut
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import script


def lookup_page(material: Material) -> str:
    """Return the page; it works on versions that were never run, by what is documented of their track."""
    matrix = material.matrix
    tracks = _tracks(matrix)
    return material.page(
        "lookup",
        "",
        script("common", "versions", "lookup"),
        here="lookup",
        tracks=tracks,
        data={
            "products": NAMES,
            "tracks": tracks,
            "builds": [
                {
                    "id": one.id,
                    "product": one.build.product,
                    "version": one.build.version,
                    "short": one.build.short,
                    "track": one.build.track,
                    "page": one.page,
                }
                for one in matrix.columns
            ],
            "issues": [_issue(matrix, row) for row in matrix.rows if row.documented],
        },
    )


def _tracks(matrix: Matrix) -> dict[str, list[str]]:
    """Return the tracks that anything is known of, by product."""
    found: dict[str, dict[str, None]] = {product: {} for product in NAMES}
    for row in matrix.rows:
        for entry in row.ranges:
            if entry.track:
                found[entry.product][entry.track] = None
    for column in matrix.columns:
        found[column.build.product][column.build.track] = None
    return {product: sorted(tracks) for product, tracks in found.items()}


def _issue(matrix: Matrix, row: IssueRow) -> dict[str, Any]:
    on_builds = matrix.cells[row.id]
    return {
        "id": row.id,
        "title": row.title,
        "page": row.page,
        "products": row.products,
        "workaround": row.workaround,
        "verified": [one for one, on_build in on_builds.items() if on_build.way_out is WayOut.VERIFIED],
        "ranges": [_range(entry) for entry in row.ranges],
        "seen": {
            one: {
                "answer": on_build.answer,
                "verdict": on_build.verdict,
                "page": on_build.telling.page,
            }
            for one, on_build in on_builds.items()
        },
    }


def _range(entry: Range) -> dict[str, Any]:
    bounds = [bound for bound in (entry.introduced, entry.fixed) if bound]
    return {
        "product": entry.product,
        "track": entry.track,
        "affected": entry.affected,
        "introduced": entry.introduced.version if entry.introduced else None,
        "fixed": entry.fixed.version if entry.fixed else None,
        "run": entry.proof == "run" or any(bound.proof == "run" for bound in bounds),
    }
