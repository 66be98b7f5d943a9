"""Rank cells by information gain, estimate durations, distribute them over shards."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, pairwise
from math import inf
from statistics import median_low
from typing import NamedTuple, Protocol, TypeVar

from clusterproof.builds import Build, Expectation
from clusterproof.reports.history.history import PastResult
from clusterproof.reports.results.results import Key
from clusterproof.reports.results.verdicts import Verdict, judge

# Seconds of a cell of which nothing is known: 328 cells took 13:36 minutes with two workers.
UNKNOWN = 5.0
# Days by which a result is older than the history's newest before it is stale. Measured against the
# history and not the clock, so that the same history always says the same.
STALE = 7.0
_SAY_NOTHING = (Verdict.NOT_APPLICABLE, Verdict.UNTESTABLE)


class Why(StrEnum):
    """What makes a cell worth running, the most telling first."""

    UNEXPECTED = "unexpected or blocked last time"
    FLIPPED = "did not always show the same"
    CHANGED = "the ledger expects something else by now"
    NEVER = "never run"
    STALE = "not run lately"
    KNOWN = "as expected last time"
    SILENT = "nothing to run, as far as known"


_URGENT = (Why.UNEXPECTED, Why.FLIPPED, Why.CHANGED)
# What a run that is to add to the history need not have.
ENOUGH = (Why.KNOWN, Why.SILENT)


class Timed(Protocol):
    """A cell by name, with the seconds that it is expected to take."""

    @property
    def name(self) -> str:
        """Pytest's name of it."""

    @property
    def seconds(self) -> float:
        """How long it takes."""


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True)
class Candidate:
    """A cell that might run: ``name`` is pytest's; ``seconds`` is how long it is expected to take.

    ``past`` is its newest result, ``flips`` counts its changes, and ``age`` is how many days that
    result is older than the newest of all cells. ``runs`` says whether there is anything to run: the
    issue concerns the product, and the lab offers what the scenario needs.
    """

    name: str
    key: Key
    build: Build
    expectation: Expectation
    seconds: float
    past: PastResult | None
    flips: int
    age: float = 0.0
    runs: bool = True

    @property
    def why(self) -> Why:
        """What makes it worth running."""
        if self.past is None:
            return Why.NEVER if self.runs else Why.SILENT
        if not self.past.verdict.expected:
            return Why.UNEXPECTED
        if self.flips:
            return Why.FLIPPED
        if self._judged_otherwise(self.past):
            return Why.CHANGED
        if self.past.verdict in _SAY_NOTHING:
            return Why.SILENT
        return Why.STALE if self.age > STALE else Why.KNOWN

    @property
    def urgent(self) -> bool:
        """Whether it goes before every cell that never ran."""
        return self.why in _URGENT

    def _judged_otherwise(self, past: PastResult) -> bool:
        """Whether what was observed would get another verdict by what the ledger expects now."""
        if not past.observation.judged:
            return False
        if self.expectation is Expectation.NOT_APPLICABLE:
            return True
        return judge(self.expectation, past.observation) is not past.verdict


class Estimate(NamedTuple):
    """How many seconds a cell takes, and how that is known."""

    seconds: float
    basis: str


# Of a cell that does not concern the product, or that the lab cannot carry.
NOTHING = Estimate(0.0, "nothing to run")


class Durations:
    """How long cells take: as their newest result, else as the same scenario elsewhere.

    Those that are ``idle`` did not run: their time is an estimate for the same substrate only.
    """

    def __init__(self, seconds: Mapping[Key, float], idle: Container[Key] = ()) -> None:
        self._seconds = seconds
        elsewhere: dict[tuple[str, ...], list[float]] = {}
        for key, took in seconds.items():
            closest, *farther = _similar(key)
            for similar in (closest, *(() if key in idle else farther)):
                elsewhere.setdefault(similar, []).append(took)
        self._elsewhere = {similar: median_low(several) for similar, several in elsewhere.items()}

    def estimate(self, key: Key) -> Estimate:
        """Return how long the cell takes."""
        if key in self._seconds:
            return Estimate(self._seconds[key], "last time")
        for similar in _similar(key):
            if similar in self._elsewhere:
                return Estimate(self._elsewhere[similar], "other builds")
        return Estimate(UNKNOWN, "a guess")


def _similar(key: Key) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what cells have in common that take about as long, the closest first."""
    # A scenario that does not concern a product takes no time on any build of it.
    return (key.scenario, key.substrate, key.product), (key.scenario,)


def cut(
    candidates: Iterable[Candidate], shards: int = 1, budget: float | None = None
) -> list[list[Candidate]]:
    """Return the cells distributed over ``shards``, each of which has ``budget`` seconds.

    Without a budget every cell is in exactly one shard, and the cells of a build stay together, as to install
    a build takes as long as many cells; only where there are fewer builds than shards, some are shared. With
    one the most telling are dealt first, each to the shard that has most time left, and cells for which none
    has time are left out. The same cells give the same cut, in whatever order they come.
    """
    if budget is None:
        return by_build(candidates, shards, lambda one: " ".join(_build_id(one.build)))
    return _deal(ranked(candidates), shards, budget)


def by_build(cells: Iterable[T], shards: int, build_of: Callable[[T], str]) -> list[list[T]]:
    """Return ``cells`` dealt to ``shards``, the longest first: those of a build to as few as possible.

    ``build_of`` says which build a cell is of.
    """
    found: dict[str, list[T]] = {}
    for one in sorted(cells, key=lambda one: (-one.seconds, one.name)):
        found.setdefault(build_of(one), []).append(one)
    pieces = dict.fromkeys(found, 1)
    while found and sum(pieces.values()) < min(shards, sum(map(len, found.values()))):
        # The build whose shares would still take longest is shared by one more.
        can = [build for build in found if pieces[build] < len(found[build])]
        pieces[max(can, key=lambda build: (_seconds(found[build]) / pieces[build], build))] += 1
    parts = [part for build, mine in found.items() for part in _deal(mine, pieces[build], inf)]
    dealt: list[list[T]] = [[] for _ in range(shards)]
    for part in sorted(parts, key=lambda part: (-_seconds(part), [one.name for one in part])):
        min(dealt, key=lambda shard: (_seconds(shard), len(shard))).extend(part)
    return dealt


def _seconds(cells: Iterable[Timed]) -> float:
    return sum(one.seconds for one in cells)


def _deal(cells: Iterable[T], shards: int, room: float) -> list[list[T]]:
    dealt: list[list[T]] = [[] for _ in range(shards)]
    spent = [0.0] * shards
    for one in cells:
        place = min(range(shards), key=lambda shard: (spent[shard], len(dealt[shard]), shard))
        if spent[place] + one.seconds <= room:
            dealt[place].append(one)
            spent[place] += one.seconds
    return dealt


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the cells, those first that say most.

    First come those that were unexpected or blocked at last, did not always show the same, or of
    which the ledger now expects something else. Then each issue has a turn, again and again, with
    its cells in this order: what never ran, what did not run lately, what did, and last what could
    not run; reproductions before workarounds and controls; for each build one scenario before a
    second; builds next to a bound, where the expectation changes, before others; newer builds
    before older; what is cheap.
    """
    candidates = list(candidates)
    urgent = [one for one in candidates if one.urgent]
    calm = [one for one in candidates if not one.urgent]
    by_issue = sorted(calm, key=lambda one: one.key.issue)
    turns = [_in_order(list(group)) for _, group in groupby(by_issue, key=lambda one: one.key.issue)]
    rest = sorted(
        ((place, one) for turn in turns for place, one in enumerate(turn)),
        key=lambda pair: (pair[0], pair[1].seconds, pair[1].name),
    )
    return [
        *sorted(urgent, key=lambda one: (_place(one.why), one.seconds, one.name)),
        *(one for _, one in rest),
    ]


def _place(why: Why) -> int:
    return tuple(Why).index(why)


def _in_order(cells: Sequence[Candidate]) -> list[Candidate]:
    """Return the cells of one issue, those first that say most."""
    at_bound = _at_bound(cells)
    newest_first = sorted({one.build.order for one in cells}, reverse=True)
    seen: dict[tuple[str, str, bool], int] = {}
    ranks = []
    for one in sorted(cells, key=lambda one: (one.seconds, one.name)):
        reproduction = one.key.role == "reproduction"
        of_build = (one.build.product, one.build.version, reproduction)
        seen[of_build] = seen.get(of_build, -1) + 1
        rank = (
            _place(one.why),
            not reproduction,
            seen[of_build],
            _build_id(one.build) not in at_bound,
            newest_first.index(one.build.order),
            one.seconds,
            one.name,
        )
        ranks.append((rank, one))
    return [one for _, one in sorted(ranks, key=lambda pair: pair[0])]


def _at_bound(cells: Sequence[Candidate]) -> set[tuple[str, str]]:
    """Return the builds whose neighbour of the same product is expected to behave otherwise."""
    expected: dict[tuple[str, str], tuple[Build, Expectation]] = {
        _build_id(one.build): (one.build, one.expectation) for one in cells if one.key.role == "reproduction"
    }
    in_order = sorted(expected.values(), key=lambda pair: pair[0].order)
    found = set()
    for (older, before), (newer, after) in pairwise(in_order):
        if older.product == newer.product and before is not after:
            found |= {_build_id(older), _build_id(newer)}
    return found


def _build_id(build: Build) -> tuple[str, str]:
    return build.product, build.version
