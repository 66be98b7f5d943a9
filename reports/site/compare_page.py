"""The page that compares any two builds."""

from __future__ import annotations

from datetime import UTC, datetime

from clusterproof.builds import parse_version
from clusterproof.reports.decide.diff import Comparison, IssueChange, table
from clusterproof.reports.matrix.matrix import NAMES, Column, Matrix
from clusterproof.reports.results.verdicts import Verdict
from clusterproof.reports.site.rendering import STALE_DAYS, Made, render, script

_TONES = {
    IssueChange.BROKEN: "worse",
    IssueChange.FAILS: "worse",
    IssueChange.APPEARS: "open",
    IssueChange.UNCLEAR: "open",
    IssueChange.STILL: "open",
    IssueChange.STILL_FAILS: "worse",
    IssueChange.FIXED: "better",
    IssueChange.WORKS: "better",
}


def comparison_page(matrix: Matrix, comparison: Comparison) -> str:
    """Return a page that stands alone and shows ``comparison`` and any other one of ``matrix``."""
    made = Made(datetime.now(UTC), STALE_DAYS)
    return comparison_between(matrix, made, comparison.before, comparison.after, linked=False)


def comparison_between(
    matrix: Matrix, made: Made, before: Column | None, after: Column | None, *, linked: bool
) -> str:
    """Return the page that shows ``before`` and ``after`` at first; ``linked`` is within a site."""
    builds = [
        {
            "id": one.id,
            "called": _called(one),
            "product": one.build.product,
            "version": one.build.version,
            "track": one.build.track,
            "page": one.page if linked else None,
        }
        for one in matrix.columns
    ]
    issues = [
        {
            "id": row.id,
            "title": row.title,
            "page": row.page if linked else None,
            "cells": {
                column: {
                    "verdict": on_build.verdict,
                    "answer": on_build.answer,
                    "judged": on_build.judged,
                    "page": on_build.telling.page if linked else None,
                }
                for column, on_build in matrix.cells[row.id].items()
            },
        }
        for row in matrix.rows
    ]
    return render(
        "compare",
        matrix,
        made,
        up="",
        script=script("common", "versions", "compare") if matrix.columns else script("common"),
        here="compare",
        linked=linked,
        before=before.id if before else "",
        after=after.id if after else "",
        changes=list(IssueChange),
        presets=_presets(matrix),
        data={
            "builds": builds,
            "issues": issues,
            "signs": {one: one.sign for one in Verdict},
            "changes": table([None, *Verdict]),
            "words": {one: one.meaning for one in IssueChange},
            "tones": {one: _TONES.get(one, "calm") for one in IssueChange},
            "differs": [one for one in IssueChange if one.differs],
        },
    )


def _presets(matrix: Matrix) -> list[tuple[Column, Column]]:
    """Return the newest build of LXD with the newest of each of Incus' tracks: what a migration changes."""
    newest = {(one.build.product, one.build.track): one for one in matrix.columns}
    lxd = [one for one in newest.values() if one.build.product == "lxd"]
    last = max(lxd, key=lambda one: parse_version(one.build.version), default=None)
    return [(last, one) for one in newest.values() if last and one.build.product == "incus"]


def _called(column: Column) -> str:
    return f"{NAMES.get(column.build.product, column.build.product)} {column.build.short}"
