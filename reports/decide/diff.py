"""What changes for a cluster that goes from one build to another: two columns of a matrix, compared."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from clusterproof.builds import parse_version
from clusterproof.reports.matrix.matrix import NAMES, Column, IssueOnBuild, IssueRow, Matrix
from clusterproof.reports.results.answers import Answer, in_words
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict


class IssueChange(StrEnum):
    """What becomes of an issue from one build to another; the order is that in which it matters."""

    BROKEN = "new here"
    FAILS = "fails here"
    APPEARS = "has the bug"
    UNCLEAR = "unclear"
    FIXED = "gone here"
    WORKS = "works here"
    STILL = "in both"
    STILL_FAILS = "fails in both"
    UNSEEN = "not known"
    ABSENT = "free of it"
    FINE = "in neither"

    @property
    def meaning(self) -> str:
        """One sentence for a legend."""
        return _MEANINGS[self]

    @property
    def differs(self) -> bool:
        """Whether the builds are known to behave differently."""
        return self in (IssueChange.BROKEN, IssueChange.FAILS, IssueChange.FIXED, IssueChange.WORKS)


_MEANINGS = {
    IssueChange.BROKEN: "The symptom shows on the second build and not on the first.",
    IssueChange.FAILS: "The second build misbehaves, not in the documented way; the first was not seen to.",
    IssueChange.APPEARS: "The symptom shows on the second build; the first was not judged.",
    IssueChange.UNCLEAR: "The symptom shows on the second build; the first failed otherwise and may have it.",
    IssueChange.FIXED: "The symptom shows on the first build and not on the second.",
    IssueChange.WORKS: "Only the first build misbehaves, not in the documented way.",
    IssueChange.STILL: "The symptom shows on both builds.",
    IssueChange.STILL_FAILS: "Both builds misbehave, not in the documented way.",
    IssueChange.UNSEEN: "The second build was not judged.",
    IssueChange.ABSENT: "The second build behaves correctly; the first was not judged.",
    IssueChange.FINE: "Both builds behave correctly.",
}


class _State(Enum):
    """What a verdict says of a build, whatever was expected."""

    AFFECTED = auto()
    FAILING = auto()
    UNAFFECTED = auto()
    UNJUDGED = auto()


_STATES = {
    Verdict.REPRODUCED: _State.AFFECTED,
    Verdict.REGRESSED: _State.AFFECTED,
    Verdict.DISCOVERED: _State.AFFECTED,
    Verdict.FAILED: _State.FAILING,
    Verdict.CONFORMS: _State.UNAFFECTED,
    Verdict.CLEAR: _State.UNAFFECTED,
    Verdict.SILENTLY_FIXED: _State.UNAFFECTED,
}

# By what the second build showed, then the first.
_CHANGES = {
    _State.AFFECTED: {
        _State.AFFECTED: IssueChange.STILL,
        _State.FAILING: IssueChange.UNCLEAR,
        _State.UNAFFECTED: IssueChange.BROKEN,
        _State.UNJUDGED: IssueChange.APPEARS,
    },
    _State.FAILING: {
        _State.AFFECTED: IssueChange.FAILS,
        _State.FAILING: IssueChange.STILL_FAILS,
        _State.UNAFFECTED: IssueChange.FAILS,
        _State.UNJUDGED: IssueChange.FAILS,
    },
    _State.UNAFFECTED: {
        _State.AFFECTED: IssueChange.FIXED,
        _State.FAILING: IssueChange.WORKS,
        _State.UNAFFECTED: IssueChange.FINE,
        _State.UNJUDGED: IssueChange.ABSENT,
    },
    _State.UNJUDGED: dict.fromkeys(_State, IssueChange.UNSEEN),
}


class UnknownBuildError(ValueError):
    """There is no such build among the results; the message names the nearest one."""


class Side(BaseModel):
    """What one of the builds showed; without a result of the issue nothing is known of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict | None
    answer: Answer
    runs: int | None
    page: str | None


class Difference(BaseModel):
    """What becomes of one issue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issue: str
    title: str
    area: str
    page: str
    change: IssueChange
    before: Side
    after: Side


class Comparison(BaseModel):
    """Two builds and every issue that either of them has results of, what matters most first.

    The shape of ``clusterproof diff --json``. ``summary`` counts the changes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Column
    after: Column
    summary: dict[IssueChange, int]
    issues: tuple[Difference, ...]

    def having(self, *changes: IssueChange) -> list[Difference]:
        """Return the issues of which one of ``changes`` is true."""
        return [one for one in self.issues if one.change in changes]


class _Compared(NamedTuple):
    row: IssueRow
    before: IssueOnBuild | None
    after: IssueOnBuild | None


def change(before: Verdict | None, after: Verdict | None) -> IssueChange:
    """Return what it means that an issue has the verdict ``before`` on one build, ``after`` on the next.

    What the lab could not judge counts for nothing, on either side.
    """
    return _CHANGES[_state(after)][_state(before)]


def compare(matrix: Matrix, before: Column, after: Column) -> Comparison:
    """Return what changes from ``before`` to ``after``, two columns of ``matrix``.

    An issue that concerns neither of them is left out.
    """
    idle = (None, Verdict.NOT_APPLICABLE)
    compared = [
        _Compared(row, matrix.cells[row.id].get(before.id), matrix.cells[row.id].get(after.id))
        for row in matrix.rows
    ]
    found = [
        Difference(
            issue=one.row.id,
            title=one.row.title,
            area=one.row.area,
            page=one.row.page,
            change=change(_judged(one.before), _judged(one.after)),
            before=_side(one.before),
            after=_side(one.after),
        )
        for one in compared
        if _verdict(one.before) not in idle or _verdict(one.after) not in idle
    ]
    order = tuple(IssueChange)
    found.sort(key=lambda one: (order.index(one.change), one.area, one.issue))
    counts = [one.change for one in found]
    return Comparison(
        before=before,
        after=after,
        summary={kind: counts.count(kind) for kind in IssueChange if kind in counts},
        issues=tuple(found),
    )


def find_build(matrix: Matrix, name: str) -> Column:
    """Return the column of the build that a person calls ``name``: ``incus@7.0.2``, or with the revision.

    Of several revisions of one version the newest is meant. Raises UnknownBuildError.
    """
    exact = [column for column in matrix.columns if column.id == name]
    called = [column for column in matrix.columns if column.build.name == name]
    if exact or called:
        return max(exact or called, key=lambda column: parse_version(column.build.version))
    names = sorted({column.build.name for column in matrix.columns})
    if not names:
        raise UnknownBuildError(f'build "{one_line(name)}" has no results, as there are none at all')
    nearest = get_close_matches(name, names, 1, 0.0)[0]
    listed = ", ".join(one_line(one) for one in names)
    raise UnknownBuildError(
        f'build "{one_line(name)}" has no results (nearest: {one_line(nearest)}); '
        f"those with results are {listed}"
    )


def predecessor(matrix: Matrix, column: Column) -> Column | None:
    """Return the build before ``column`` in its track or, where it is the first there, of its product."""
    of_product = [one for one in matrix.columns if one.build.product == column.build.product]
    older = [
        one
        for one in of_product
        if parse_version(one.build.version) < parse_version(column.build.version)
    ]
    same_track = [one for one in older if one.build.track == column.build.track]
    return max(same_track or older, key=lambda one: parse_version(one.build.version), default=None)


def lines(comparison: Comparison) -> list[str]:
    """Return ``comparison`` as text for a terminal, the summary last."""
    before, after = comparison.before, comparison.after
    text = [
        f"{_named(before)} ({before.build.version}, track {one_line(before.build.track)})"
        f" -> {_named(after)} ({after.build.version}, track {one_line(after.build.track)})"
    ]
    widest = max((len(one_line(one.issue)) for one in comparison.issues), default=0)
    wordiest = max((len(one.change) for one in comparison.issues), default=0)
    text += [
        f"{one.change:{wordiest}}  {one_line(one.issue):{widest}}  "
        f"{_word(one.before)} -> {_word(one.after)}  {one_line(one.title)}"
        for one in comparison.issues
    ]
    counts = [f"{count} {kind}" for kind, count in comparison.summary.items()]
    text.append(", ".join(counts) if counts else "neither of them has results of an issue that concerns it")
    return [line.rstrip() for line in text]


def table(verdicts: Sequence[Verdict | None]) -> dict[str, dict[str, IssueChange]]:
    """Return ``change`` for every pair of ``verdicts``, by their names; None is the empty text."""
    return {
        before or "": {after or "": change(before, after) for after in verdicts} for before in verdicts
    }


def _state(verdict: Verdict | None) -> _State:
    return _STATES.get(verdict, _State.UNJUDGED) if verdict else _State.UNJUDGED


def _verdict(on_build: IssueOnBuild | None) -> Verdict | None:
    return on_build.verdict if on_build else None


def _judged(on_build: IssueOnBuild | None) -> Verdict | None:
    # A workaround that works, where nothing else ran, says nothing of the bug.
    return on_build.verdict if on_build and on_build.judged else None


def _side(on_build: IssueOnBuild | None) -> Side:
    if on_build is None:
        return Side(verdict=None, answer=Answer.NOT_KNOWN, runs=None, page=None)
    return Side(
        verdict=on_build.verdict,
        answer=on_build.answer,
        runs=on_build.runs,
        page=on_build.telling.page,
    )


def _named(column: Column) -> str:
    product, at, version = one_line(column.build.name).partition("@")
    return f"{NAMES.get(product, product)} {version}" if at else product


def _word(side: Side) -> str:
    return f"{side.verdict.sign} {in_words(side.answer, side.verdict)}" if side.verdict else "no run"
