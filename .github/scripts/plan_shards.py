"""Cut a plan into shards for a job matrix: ``plan_shards.py PLAN [--minutes 45] [--most 16]``.

Each build has a shard of its own, which installs no other; one that takes longer has several.

``PLAN`` is what ``--plan-json`` wrote. Writes outputs for GitHub: ``shards``, a JSON list which is empty where
nothing is to run, of objects with the ``name`` of a shard (1/2) and its ``builds``; ``builds`` as ``--build``
takes them, with the revisions that the channels of snaps have: all shards run on these, whatever is released
meanwhile; and ``smoke`` and ``scenario``, the build and the scenario to be tried before all others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import defaultdict
from pathlib import Path

from pydantic import ValidationError

from clusterproof.reports.plan.plan import Plan, Planned
from clusterproof.reports.plan.priority import by_build

# GB: what a build takes while it is installed: its image twice, and its files in the pool.
ROOM = 2.7


def count(plan: Plan, minutes: float, most: int) -> int:
    """Return how many shards there are: one for each build and ``minutes`` that it takes, at most ``most``."""
    spent: defaultdict[str, float] = defaultdict(float)
    for one in plan.cells:
        spent[one.build] += one.seconds / plan.workers
    wanted = sum(max(1, math.ceil(seconds / (minutes * 60))) for seconds in spent.values())
    return min(wanted, most, len(plan.cells))


def gigabytes(plan: Plan) -> float:
    """Return how much room the images of the plan's builds take on a computer that runs all of them."""
    return len(plan.builds) * ROOM


def main(arguments: list[str] | None = None) -> int:
    """Write the outputs; return the exit status."""
    parser = argparse.ArgumentParser(prog="plan_shards.py", description=__doc__)
    parser.add_argument("plan", type=Path, help="the plan as JSON")
    parser.add_argument("--minutes", type=float, default=45.0, help="how long a shard is to take")
    parser.add_argument("--most", type=int, default=16, help="how many shards there are at most")
    given = parser.parse_args(arguments)
    if not given.minutes > 0 or given.most < 1:
        parser.error("--minutes and --most take numbers above 0")
    try:
        plan = Plan.model_validate_json(given.plan.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not what --plan-json writes"
        sys.stderr.write(f'plan_shards.py: "{given.plan}": {detail}\n')
        return 1
    shards = count(plan, given.minutes, given.most)
    listed = [f"{index}/{shards}" for index in range(1, shards + 1)]
    asked = {build.name: build.asked for build in plan.builds}
    first = _first(plan)
    sys.stdout.write(
        f"{plan.summary()}\nbuilds: {len(plan.builds)}, about {gigabytes(plan):.1f} GB in all and {ROOM:.1f} GB "
        f"for each\nshards: {', '.join(listed) or 'none'}\n"
    )
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            matrix = [
                {"name": name, "builds": " ".join(asked[build] for build in builds)}
                for name, builds in zip(listed, _builds(plan, shards), strict=True)
            ]
            scenario = first.name.partition("[")[0] if first else ""
            file.write(
                f"shards={json.dumps(matrix)}\nbuilds={' '.join(asked.values())}\n"
                f"smoke={asked[first.build] if first else ''}\nscenario={scenario}\n"
            )
    return 0


def _builds(plan: Plan, shards: int) -> list[list[str]]:
    """Return the builds that are judged in each of ``shards``, which are cut in the same way when they run."""
    dealt = by_build(plan.cells, shards, lambda one: one.build)
    return [sorted({one.build for one in share}) for share in dealt]


def _first(plan: Plan) -> Planned | None:
    """Return the cell to try first: of a snap if there is one, without a change of build, and soon over."""
    snaps = {build.name for build in plan.builds if build.revision}
    order = [(one.build not in snaps, "-to-" in one.name, one.seconds, one.name) for one in plan.cells]
    return plan.cells[order.index(min(order))] if order else None


if __name__ == "__main__":
    sys.exit(main())
