"""Which cells say most, where there is no time for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from builds import Build, Expectation
from reports.history import Past
from reports.results import Key
from reports.verdicts import Verdict

# Seconds of a cell of which nothing is known: most take less.
UNKNOWN = 12.0
_SAY_NOTHING = (Verdict.NOT_APPLICABLE, Verdict.UNTESTABLE)


@dataclass(frozen=True)
class Candidate:
    """A cell that might run: ``name`` is pytest's; ``past`` is its newest result, ``flips`` its changes."""

    name: str
    key: Key
    build: Build
    expectation: Expectation
    seconds: float
    past: Past | None
    flips: int

    @property
    def urgent(self) -> bool:
        """Whether its last verdict was unexpected or blocked, or it did not always show the same."""
        return bool(self.flips or (self.past and not self.past.verdict.expected))


def estimate(key: Key, seconds: dict[Key, float]) -> float:
    """Return how long a cell takes: as its newest result, else as the same scenario elsewhere."""
    if key in seconds:
        return seconds[key]
    elsewhere = sorted(took for other, took in seconds.items() if other.scenario == key.scenario)
    return elsewhere[len(elsewhere) // 2] if elsewhere else UNKNOWN


def choose(candidates: Iterable[Candidate], budget: float) -> list[Candidate]:
    """Return the cells that say most and together take at most ``budget`` seconds, in that order.

    First come those that were unexpected or blocked at last, or did not always show the same. Then
    each issue has a turn, again and again, with its cells in this order: what never ran before what
    did, and last what could not run; reproductions before workarounds and controls; for each build
    one scenario before a second; builds next to a bound, where the expectation changes, before
    others; newer builds before older; what is cheap. A cell for which no time is left makes room
    for a cheaper one.
    """
    candidates = list(candidates)
    urgent = [one for one in candidates if one.urgent]
    calm = [one for one in candidates if not one.urgent]
    by_issue = sorted(calm, key=lambda one: one.key.issue)
    turns = [_in_order(list(group)) for _, group in groupby(by_issue, key=lambda one: one.key.issue)]
    rest = [
        one
        for _, one in sorted(
            ((place, one) for turn in turns for place, one in enumerate(turn)),
            key=lambda pair: (pair[0], pair[1].seconds, pair[1].name),
        )
    ]
    chosen = []
    for one in [*sorted(urgent, key=lambda one: (one.seconds, one.name)), *rest]:
        if one.seconds <= budget:
            chosen.append(one)
            budget -= one.seconds
    return chosen


def _in_order(cells: Sequence[Candidate]) -> list[Candidate]:
    """Return the cells of one issue, those first that say most."""
    at_bound = _at_bound(cells)
    newest_first = sorted({one.build.order for one in cells}, reverse=True)
    seen: dict[tuple[str, str, bool], int] = {}
    ranked = []
    for one in sorted(cells, key=lambda one: (one.seconds, one.name)):
        reproduction = one.key.role == "reproduction"
        of_build = (one.build.product, one.build.version, reproduction)
        seen[of_build] = seen.get(of_build, -1) + 1
        rank = (
            one.past is not None and one.past.verdict in _SAY_NOTHING,
            one.past is not None,
            not reproduction,
            seen[of_build],
            _build_id(one.build) not in at_bound,
            newest_first.index(one.build.order),
            one.seconds,
            one.name,
        )
        ranked.append((rank, one))
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])]


def _at_bound(cells: Sequence[Candidate]) -> set[tuple[str, str]]:
    """Return the builds whose neighbour of the same product is expected to behave otherwise."""
    expected: dict[tuple[str, str], tuple[Build, Expectation]] = {
        _build_id(one.build): (one.build, one.expectation) for one in cells if one.key.role == "reproduction"
    }
    in_order = sorted(expected.values(), key=lambda pair: pair[0].order)
    found = set()
    for (before, said), (after, says) in pairwise(in_order):
        if before.product == after.product and said is not says:
            found |= {_build_id(before), _build_id(after)}
    return found


def _build_id(build: Build) -> tuple[str, str]:
    return build.product, build.version
