"""What proofs say of the ledger: what they show of it, what they contradict, and which are worth keeping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

from clusterproof.builds import Build, Expectation, Range, range_for
from clusterproof.reports.history.history import Sighting
from clusterproof.reports.matrix.bounds import BoundEvidence, RangeEvidence, range_evidence
from clusterproof.reports.matrix.urls import build_id
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.proofs import ProofLine
from clusterproof.reports.results.verdicts import Observation, judge


class Tally(NamedTuple):
    """How much of a ledger runs have shown: bounds on both sides, on one, in all; whole tracks, and in all."""

    both_sides: int = 0
    one_side: int = 0
    bounds: int = 0
    tracks_shown: int = 0
    tracks: int = 0

    @classmethod
    def of(cls, evidence: Iterable[RangeEvidence]) -> Self:
        """Return what ``evidence``, of all issues together, comes to."""
        ranges = list(evidence)
        bounds = [bound for one in ranges for bound in (one.introduced, one.fixed) if bound]
        whole = [one for one in ranges if not (one.introduced or one.fixed)]
        both = sum(one.whole for one in bounds)
        one_side = sum(bool(one.before or one.after) for one in bounds) - both
        return cls(both, one_side, len(bounds), sum(bool(one.shown) for one in whole), len(whole))


def sightings(issue: Issue, proofs: Iterable[ProofLine]) -> list[Sighting]:
    """Return ``proofs`` of ``issue`` as the history has what it saw, the newest at the end."""
    return [
        Sighting(
            issue.id, one.scenario, "reproduction", one.build.product, one.build.version, one.observation,
            judge(_expected(issue, one), one.observation), one.results, one.run, one.started,
        )
        for one in sorted(proofs, key=lambda one: (one.started, one.run))
    ]  # fmt: skip


def builds_of(proofs: Iterable[ProofLine]) -> dict[str, Build]:
    """Return the builds that ``proofs`` judged, by id."""
    return {build_id(one.build): one.build for one in proofs}


def evidence_of(issue: Issue, proofs: Sequence[ProofLine]) -> list[RangeEvidence]:
    """Return what ``proofs`` show of each range of ``issue``."""
    return range_evidence(issue.ranges, sightings(issue, proofs), builds_of(proofs))


def worth_keeping(issue: Issue, proofs: Sequence[ProofLine]) -> list[ProofLine]:
    """Return those of ``proofs`` that show a side of a bound, or a whole track, or contradict the ledger.

    Each scenario keeps its own. Of a whole track those of the oldest and of the newest build are kept.
    """
    wanted: set[tuple[str, str, Observation]] = set()
    for scenario in {one.scenario for one in proofs}:
        kept: list[Sighting | None] = []
        for entry in evidence_of(issue, [one for one in proofs if one.scenario == scenario]):
            for bound in (entry.introduced, entry.fixed):
                kept += bound.sightings if bound else ()
            seen = [one.symptom if entry.range.affected else one.conforms for one in entry.shown]
            kept += [*seen[:1], *seen[-1:]]
        wanted |= {(one.scenario, one.version, one.observation) for one in kept if one}
    contradicting = {id(line) for line, _ in _contradicting(issue, proofs)}
    return [
        one
        for one in proofs
        if (one.scenario, one.build.version, one.observation) in wanted or id(one) in contradicting
    ]


def contradictions(issue: Issue, proofs: Iterable[ProofLine]) -> list[str]:
    """Return a line for each of ``proofs`` that contradicts a range of ``issue``, which both are quoted in."""
    return [
        f"{_named(entry)} says {_words(entry)}, and {one.says}"
        for one, entry in _contradicting(issue, proofs)
    ]


def wrong_claims(issue: Issue, proofs: Sequence[ProofLine]) -> list[str]:
    """Return a line for each ``proof`` in the ranges of ``issue`` that ``proofs`` do not bear out.

    A bound has ``proof = "run"`` where runs showed both sides of it, a whole track where one showed it.
    """
    found = []
    for entry in evidence_of(issue, proofs):
        where = _named(entry.range)
        for word, bound in (("introduced", entry.introduced), ("fixed", entry.fixed)):
            if bound and (bound.bound.proof == "run") != bound.whole:
                right, shown = ("run", "both sides") if bound.whole else ("code", _missing(bound))
                found.append(
                    f'{where}, {word} {bound.bound.version}: write proof = "{right}", runs showed {shown}'
                )
        if entry.range.proof and (entry.range.proof == "run") != bool(entry.shown):
            right, shown = ("run", "it") if entry.shown else ("code", "no build of it")
            found.append(f'{where}: write proof = "{right}", runs showed {shown}')
    return found


def merged(seen: Iterable[Sighting], proven: Iterable[Sighting]) -> list[Sighting]:
    """Return what the history has ``seen``, and of what is ``proven`` the rest, the newest at the end."""
    both = list(seen)
    known = {(one.scenario, one.product, one.version, one.observation) for one in both}
    both += [one for one in proven if (one.scenario, one.product, one.version, one.observation) not in known]
    return sorted(both, key=lambda one: (one.started, one.run))


def tally(ledger: Mapping[str, Issue], proofs: Mapping[str, Sequence[ProofLine]]) -> Tally:
    """Return how much of ``ledger`` is shown by ``proofs``, which are by issue."""
    return Tally.of(
        entry for name, issue in ledger.items() for entry in evidence_of(issue, proofs.get(name, ()))
    )


def _contradicting(issue: Issue, proofs: Iterable[ProofLine]) -> Iterator[tuple[ProofLine, Range]]:
    for one in proofs:
        entry = range_for(issue.ranges, one.build, one.scenario)
        if entry is None:
            continue
        affected = entry.expects(one.build.version) is Expectation.AFFECTED
        if affected != (one.observation is Observation.SYMPTOM):
            yield one, entry


def _expected(issue: Issue, one: ProofLine) -> Expectation:
    # A proof of a product that the issue no longer concerns is none of it.
    found = issue.expects(one.build, one.scenario)
    return Expectation.UNKNOWN if found is Expectation.NOT_APPLICABLE else found


def _missing(bound: BoundEvidence) -> str:
    if bound.before or bound.after:
        return f"only what is {'before' if bound.before else 'from it on'}"
    return "neither side"


def _named(entry: Range) -> str:
    of_scenario = f" of {entry.scenario}" if entry.scenario else ""
    return f"the range {entry.product} {entry.track or '(other tracks)'}{of_scenario}"


def _words(entry: Range) -> str:
    if not entry.affected:
        return "not affected"
    ends = [("introduced", entry.introduced), ("fixed", entry.fixed)]
    return ", ".join(f"{word} {bound.version}" for word, bound in ends if bound) or "affected"
