"""How flaky a cell is: repeats on one build with one suite that differ in what they show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Self

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Flakes:
    """How many of ``repeats`` results are ``differing``: not what most of their like showed.

    Only results that say something of the product are counted, and only where there are at least
    two of one build and one suite: a single one differs from nothing.
    """

    differing: int = 0
    repeats: int = 0

    @classmethod
    def of(cls, groups: Iterable[Mapping[str, int]]) -> Self:
        """Return the flakes of ``groups`` of identical build and suite: results by what they showed."""
        differing = repeats = 0
        for group in groups:
            count = sum(group.values())
            if count > 1:
                repeats += count
                differing += count - max(group.values())
        return cls(differing, repeats)

    def __add__(self, other: Flakes) -> Flakes:
        """Return the flakes of both together."""
        return Flakes(self.differing + other.differing, self.repeats + other.repeats)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the share that differs, each end 0 to 1; (0, 1) without repeats."""
        return wilson(self.differing, self.repeats)

    def __str__(self) -> str:
        """In words: ``1 of 12 repeats differed: 1.5-35 %``; nothing where nothing was repeated."""
        if not self.repeats:
            return ""
        low, high = (f"{100 * share:.{0 if share in (0, 1) else 2}g}" for share in self.interval)
        return f"{self.differing or 'none'} of {self.repeats} repeats differed: {low}-{high} %"


def wilson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's score interval of the share of ``hits`` in ``trials``.

    It holds for few trials and for shares near 0, which is what flakes are, where the usual normal
    interval has no width. Written out, as the libraries that offer it (SciPy, statsmodels) are a
    hundred times the size of this project. E. B. Wilson, 1927, doi:10.1080/01621459.1927.10502953.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits in {trials} trials are no share")
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / trials
    centre = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    whole = 1 + z * z / trials
    # What rounding leaves beyond the ends is no share.
    low = 0.0 if hits == 0 else max(0.0, (centre - spread) / whole)
    high = 1.0 if hits == trials else min(1.0, (centre + spread) / whole)
    return low, high
