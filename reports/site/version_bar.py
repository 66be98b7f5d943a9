"""A version bar: a track's versions from the first to the last, cut where an issue begins and ends."""

from __future__ import annotations

from typing import NamedTuple

from clusterproof.builds import Bound, is_before
from clusterproof.reports.matrix.bounds import JudgedBuild, RangeEvidence


class Segment(NamedTuple):
    """The versions from ``begin`` up to and without ``end``, all affected or all free of the issue.

    None is the track's beginning, or that it has no end. ``builds`` are those of them that were judged;
    ``run`` says that runs showed it: those of this history, or where the whole track is one range, those that
    its entry speaks of.
    """

    affected: bool
    begin: str | None
    end: str | None
    run: bool
    builds: tuple[JudgedBuild, ...]


def version_bar(evidence: RangeEvidence) -> tuple[Segment, ...]:
    """Return the segments of the range in ``evidence``, in the order of versions."""
    entry = evidence.range
    if not entry.affected:
        return (_segment(evidence, False, None, None),)
    introduced, fixed = entry.introduced, entry.fixed
    found = []
    if introduced:
        found.append(_segment(evidence, False, None, introduced))
    found.append(_segment(evidence, True, introduced, fixed))
    if fixed:
        found.append(_segment(evidence, False, fixed, None))
    return tuple(found)


def _segment(evidence: RangeEvidence, affected: bool, begin: Bound | None, end: Bound | None) -> Segment:
    builds = tuple(
        one
        for one in evidence.builds
        if not (begin and is_before(one.build.version, begin.version))
        and (end is None or is_before(one.build.version, end.version))
    )
    seen = any(one.symptom if affected else one.conforms for one in builds)
    return Segment(
        affected=affected,
        begin=begin.version if begin else None,
        end=end.version if end else None,
        run=seen or evidence.range.proof == "run",
        builds=builds,
    )
