"""The ranges of an issue, held against what runs saw: which bound is shown by which run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from clusterproof.builds import Bound, Build, Range, is_before, range_for
from clusterproof.reports.history.history import Sighting
from clusterproof.reports.matrix.urls import build_id
from clusterproof.reports.results.verdicts import Observation


class JudgedBuild(NamedTuple):
    """What reproductions observed on one build, each with its newest sighting, or None."""

    build: Build
    symptom: Sighting | None
    conforms: Sighting | None


class BoundEvidence(NamedTuple):
    """A bound of a range, and the builds nearest to it on either side that behaved as it says."""

    bound: Bound
    before: JudgedBuild | None
    after: JudgedBuild | None


class RangeEvidence(NamedTuple):
    """A range, its bounds, and the builds of its track that were judged, in their order."""

    range: Range
    introduced: BoundEvidence | None
    fixed: BoundEvidence | None
    builds: tuple[JudgedBuild, ...]


def range_evidence(
    ranges: Sequence[Range], sightings: Iterable[Sighting], builds: Mapping[str, Build]
) -> list[RangeEvidence]:
    """Return what ``sightings``, the newest at the end, show of each of ``ranges``.

    ``builds`` are those known, by id.
    """
    reproductions = [one for one in sightings if one.role == "reproduction"]
    ordered = sorted(builds.values(), key=lambda build: build.order)
    found = []
    for entry in ranges:
        seen = [_judged(entry, ranges, build, reproductions) for build in ordered]
        judged = [one for one in seen if one.symptom or one.conforms]
        found.append(
            RangeEvidence(
                entry,
                _shown(entry.introduced, judged, affected_after=True),
                _shown(entry.fixed, judged, affected_after=False),
                tuple(judged),
            )
        )
    return found


def _judged(entry: Range, ranges: Sequence[Range], build: Build, sightings: Iterable[Sighting]) -> JudgedBuild:
    """Return what those of ``sightings`` saw on ``build`` whose range is ``entry``, of all ``ranges``."""
    newest: dict[Observation, Sighting] = {}
    for one in sightings:
        if f"{one.product}@{one.version}" == build_id(build) and (
            range_for(ranges, build, one.scenario) is entry
        ):
            before = newest[one.observation].results if one.observation in newest else 0
            newest[one.observation] = one._replace(results=before + one.results)
    return JudgedBuild(build, newest.get(Observation.SYMPTOM), newest.get(Observation.CONFORMS))


def _shown(bound: Bound | None, judged: list[JudgedBuild], *, affected_after: bool) -> BoundEvidence | None:
    """Return which of ``judged`` show ``bound``, from which on builds are affected or unaffected."""
    if bound is None:
        return None
    before = [
        one
        for one in judged
        if is_before(one.build.version, bound.version) and (one.conforms if affected_after else one.symptom)
    ]
    after = [
        one
        for one in judged
        if not is_before(one.build.version, bound.version)
        and (one.symptom if affected_after else one.conforms)
    ]
    return BoundEvidence(bound, before[-1] if before else None, after[0] if after else None)
