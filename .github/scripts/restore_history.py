"""Fetch the history that the newest nightly run has left into ``out/``: what is known need not run again.

With ``gh``, GH_TOKEN (actions: read), GITHUB_REPOSITORY and DEFAULT_BRANCH. Begins with no history only
where GitHub says that there is none: an error must not lose what earlier runs have found.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from github_cli import GhError, gh

WORKFLOW = "nightly.yml"
ARTIFACT = "history"
# A fork's pull request can carry a changed workflow and call its branch like ours; it cannot be
# scheduled or dispatched here.
EVENTS = ("schedule", "workflow_dispatch")
_PAGE = 100  # runs and artifacts that are looked through, the newest


def _api(path: str, **values: object) -> Any:  # noqa: ANN401 (GitHub's JSON)
    given = [part for name, value in values.items() for part in ("-f", f"{name}={value}")]
    return json.loads(gh("api", "--method", "GET", path, *given))


def newest(repository: str, branch: str) -> int | None:
    """Return the number of the newest run that has a history, None where none has. Raises GhError."""
    path = f"repos/{repository}/actions/workflows/{WORKFLOW}/runs"
    runs = _api(path, branch=branch, status="completed", per_page=_PAGE)["workflow_runs"]
    for run in runs:
        if run["event"] not in EVENTS:
            continue
        artifacts = _api(f"repos/{repository}/actions/runs/{run['id']}/artifacts", name=ARTIFACT)["artifacts"]
        if any(one["name"] == ARTIFACT and not one["expired"] for one in artifacts):
            return int(run["id"])
    return None


def main() -> int:
    """Fetch it; return the exit status."""
    repository, branch = os.environ["GITHUB_REPOSITORY"], os.environ["DEFAULT_BRANCH"]
    out = Path("out")
    try:
        run = newest(repository, branch)
        if run is None:
            sys.stdout.write(f"history: none, as no run of {WORKFLOW} on {branch} has left one\n")
            return 0
        gh("run", "download", str(run), "--repo", repository, "--name", ARTIFACT, "--dir", str(out))
    except GhError as error:
        sys.stderr.write(f"restore_history.py: {error}\n")
        return 1
    except (ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"restore_history.py: GitHub's answer cannot be understood: {error!r}\n")
        return 1
    if not (out / "history.sqlite").is_file():
        sys.stderr.write(f"restore_history.py: the history of run {run} has no history.sqlite\n")
        return 1
    sys.stdout.write(f"history: that of run {run}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
