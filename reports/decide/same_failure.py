"""Scenarios that fail in the same way on every build of a run, which says more of them than of the builds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Observation

_BUILDS = 2  # fewer cannot say whether it is the build
_SHOWN = 160  # characters of the reason
# What differs between builds and runs though the failure is the same: products, numbers, addresses, digests.
_VARIES = re.compile(r"\b(?:lxd|lxc|incus)d?\b|\b(?=[0-9a-f]*\d)[0-9a-f]+\b|\d+")


def same_failures(cells: Iterable[Cell]) -> Iterator[str]:
    """Yield a line for each scenario that failed in the same way on every build that it judged.

    ``cells`` are the results of a run, one for each cell. Two builds at least are needed, and the symptom is no
    such failure. The cells' own verdicts stay: that every product misbehaves alike is unlikely, not impossible.
    """
    judged: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.observation.judged:
            judged.setdefault((cell.issue, cell.scenario), []).append(cell)
    for (_, scenario), group in judged.items():
        builds = {(cell.build.product, cell.build.version) for cell in group}
        ways = {_VARIES.sub("", cell.reason.lower()) for cell in group}
        if (
            len(builds) >= _BUILDS
            and len(ways) == 1
            and all(cell.observation is Observation.OTHER_FAILURE for cell in group)
        ):
            reason = one_line(group[0].reason)
            shown = reason if len(reason) <= _SHOWN else f"{reason[: _SHOWN - 3]}..."
            yield (
                f"{scenario} failed in the same way on all {len(builds)} builds that it judged, "
                f"so the mistake is more likely the scenario's than the products': {shown}"
            )
