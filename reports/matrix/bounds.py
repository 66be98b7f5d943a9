"""The ranges of an issue, held against what runs saw: which bound is shown by which run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from clusterproof.builds import Bound, Build, Range, is_before, range_for
from clusterproof.reports.history.history import Sighting
from clusterproof.reports.matrix.urls import build_id
from clusterproof.reports.results.verdicts import Observation


class Seen(NamedTuple):
    """What reproductions saw on one build, each with the newest run that saw it, or None."""

    build: Build
    symptom: Sighting | None
    conforms: Sighting | None


class Shown(NamedTuple):
    """One end of a range and the runs nearest to it on either side, where they saw what it says."""

    bound: Bound
    before: Seen | None
    after: Seen | None

    @property
    def whole(self) -> bool:
        """Whether runs saw both sides of it."""
        return self.before is not None and self.after is not None


class Track(NamedTuple):
    """A range, its ends, and the builds of its track that were judged, in their order."""

    range: Range
    introduced: Shown | None
    fixed: Shown | None
    builds: tuple[Seen, ...]


def tracks(
    ranges: Sequence[Range], sightings: Iterable[Sighting], builds: Mapping[str, Build]
) -> list[Track]:
    """Return what ``sightings``, the newest at the end, show of each of ``ranges``.

    ``builds`` are those known, by id.
    """
    newest: dict[tuple[str, Observation], Sighting] = {}
    for one in sightings:
        if one.role == "reproduction":
            seen_as = f"{one.product}@{one.version}", one.observation
            before = newest[seen_as].results if seen_as in newest else 0
            newest[seen_as] = one._replace(results=before + one.results)
    ordered = sorted(builds.values(), key=lambda build: build.order)
    seen = [
        Seen(
            build,
            newest.get((build_id(build), Observation.SYMPTOM)),
            newest.get((build_id(build), Observation.CONFORMS)),
        )
        for build in ordered
    ]
    judged = [one for one in seen if one.symptom or one.conforms]
    found = []
    for entry in ranges:
        of_track = [one for one in judged if range_for(ranges, one.build) is entry]
        found.append(
            Track(
                entry,
                _shown(entry.introduced, of_track, affected_after=True),
                _shown(entry.fixed, of_track, affected_after=False),
                tuple(of_track),
            )
        )
    return found


def _shown(bound: Bound | None, judged: list[Seen], *, affected_after: bool) -> Shown | None:
    """Return which of ``judged`` show ``bound``, at or after which builds are sick or well."""
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
    return Shown(bound, before[-1] if before else None, after[0] if after else None)
