"""Cut a plan into shards for a job matrix: ``plan_shards.py PLAN [--minutes 45] [--most 8]``.

``PLAN`` is what ``--plan-json`` wrote. Writes outputs for GitHub: ``shards``, a JSON list like ["1/2", "2/2"]
which is empty where nothing is to run, and ``builds`` as ``--build`` takes them, with the revisions that the
channels of snaps have: all shards run on these, whatever is released meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from clusterproof.reports.plan.plan import Plan


def count(plan: Plan, minutes: float, most: int) -> int:
    """Return how many shards take about ``minutes`` each, but at most ``most`` and none without cells."""
    if not plan.cells:
        return 0
    wanted = math.ceil(plan.seconds / (minutes * 60))
    return max(1, min(wanted, most, len(plan.cells)))


def main(arguments: list[str] | None = None) -> int:
    """Write the outputs; return the exit status."""
    parser = argparse.ArgumentParser(prog="plan_shards.py", description=__doc__)
    parser.add_argument("plan", type=Path, help="the plan as JSON")
    parser.add_argument("--minutes", type=float, default=45.0, help="how long a shard is to take")
    parser.add_argument("--most", type=int, default=8, help="how many shards there are at most")
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
    sys.stdout.write(f"{plan.summary()}\nshards: {', '.join(listed) or 'none'}\n")
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            builds = " ".join(build.asked for build in plan.builds)
            file.write(f"shards={json.dumps(listed)}\nbuilds={builds}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
