"""What is made of results: of a run at its end, and of all runs together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from clusterproof.reports.decide.policy import DEFAULT, Policy, load_policy
from clusterproof.reports.history.history import History, HistoryError
from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.matrix import Matrix
from clusterproof.reports.matrix.urls import BADGES, BUILDS, CELLS, FRONT, ISSUES, RUNS
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import FILENAME, Cell, Key, read
from clusterproof.reports.site.material import Material
from clusterproof.reports.site.published_evidence import CopiedEvidence, EvidenceInPlace
from clusterproof.reports.site.rendering import STALE_DAYS, Made
from clusterproof.reports.site.site import Site

HISTORY = "history.sqlite"
MARK = ".clusterproof-site"  # in a folder that this made, and may clear

_RECENT = 10  # runs, the newest, of which evidence is looked for
_KEPT = 3  # results of a cell, the newest, that have pages of their own


class SiteError(RuntimeError):
    """The site cannot be made; the message says why and what to do."""


class Published(NamedTuple):
    """What a run's results say; ``gate(published.cells, policy, problems=published.missing)``.

    ``missing`` says which results are missing; ``problems`` these and what else went wrong.
    """

    cells: list[Cell]
    missing: list[str]
    problems: list[str]
    matrix: Matrix
    html: Path


def publish(
    run_dir: Path,
    ledger: Mapping[str, Issue],
    history_path: Path | None = None,
    *,
    policy: Policy | None = None,
    now: datetime | None = None,
) -> Published:
    """Record the results of ``run_dir`` in the history and make the run's folder a site of its results.

    The history is ``history_path``, by default ``history.sqlite`` beside the run's folder; one
    that cannot be used becomes a problem, and the pages are written without it; so does a cell's
    page that cannot be written. ``policy`` is what pages of builds judge by, by default that of the gate.
    ``now`` is the time that ages are measured from. May be repeated. Raises FileNotFoundError where the run
    has no results, OSError where the site cannot be written.
    """
    cells, missing = read(run_dir / FILENAME)
    problems = list(missing)
    runs = {cell.run: run_dir for cell in cells}
    made = Made(now or datetime.now(UTC), STALE_DAYS)

    def write(history: History | None) -> Matrix:
        matrix = build_matrix(cells, ledger, history, problems=problems)
        return Site(
            Material(
                run_dir,
                matrix,
                cells,
                ledger,
                made,
                EvidenceInPlace(),
                runs,
                policy or load_policy(DEFAULT),
                history,
                missing=missing,
            )
        ).write()

    try:
        with History(history_path or run_dir.parent / HISTORY) as history:
            history.record(cells)
            matrix = write(history)
    except HistoryError as error:
        problems.append(str(error))
        matrix = write(None)
    return Published(cells, missing, list(matrix.generated_from.problems), matrix, run_dir / FRONT)


def publish_site(
    out: Path,
    ledger: Mapping[str, Issue],
    history_path: Path,
    folders: Sequence[Path] = (),
    *,
    policy: Policy | None = None,
    stale_days: int = STALE_DAYS,
    now: datetime | None = None,
) -> Published:
    """Make ``out`` the site of all runs in the history; those in ``folders`` are recorded first.

    Evidence is taken from ``folders`` and from run folders beside the history, where they are. Pages and
    evidence that an earlier site in ``out`` had and this one has not are removed. ``policy`` is what pages of
    builds judge by, by default that of the gate. Raises SiteError where ``out``
    holds something else, FileNotFoundError where a folder has no results, OSError where the site
    cannot be written, HistoryError where the history cannot be used.
    """
    claim(out)
    kept = {folder: read(folder / FILENAME) for folder in folders}
    with History(history_path) as history:
        for cells, _ in kept.values():
            history.record(cells)
        current = history.current()
        named = {cell.run for cells, _ in kept.values() for cell in cells}
        recent = [run.id for run in history.summaries(_RECENT)]
        for run in dict.fromkeys([*recent, *(cell.run for cell in current)]):
            folder = history_path.parent / run
            if run not in named and (folder / FILENAME).is_file():
                kept[folder] = read(folder / FILENAME)
        runs = {cell.run: folder for folder, (cells, _) in kept.items() for cell in cells}
        problems = [problem for folder in folders for problem in kept[folder][1]]
        matrix = build_matrix(
            current, ledger, history, problems=problems, source=history_path.name, whole=True
        )
        copies = CopiedEvidence(out)
        site = Site(
            Material(
                out,
                matrix,
                current,
                ledger,
                Made(now or datetime.now(UTC), stale_days),
                copies,
                runs,
                policy or load_policy(DEFAULT),
                history,
                _earlier(current, [cell for cells, _ in kept.values() for cell in cells]),
                problems,
            )
        )
        matrix = site.write()
    _clear(out, site.written)
    copies.clear()
    return Published(current, problems, list(matrix.generated_from.problems), matrix, out / FRONT)


def _earlier(current: Iterable[Cell], kept: Iterable[Cell]) -> dict[Key, list[Repeats]]:
    """Return the results among ``kept`` that are not of a cell's newest run, by cell, newest first."""
    newest = {cell.key: cell.run for cell in current}
    by_run: dict[str, list[Cell]] = {}
    for cell in kept:
        if cell.key in newest and newest[cell.key] != cell.run:
            by_run.setdefault(cell.run, []).append(cell)
    found: dict[Key, list[Repeats]] = {}
    for cells in by_run.values():
        for key, group in repeats(cells).items():
            found.setdefault(key, []).append(group)
    return {
        key: sorted(groups, key=lambda group: group.newest.started, reverse=True)[: _KEPT - 1]
        for key, groups in found.items()
    }


def claim(out: Path) -> None:
    """Make sure that ``out`` is a folder for a site alone, as what is old in it will be removed.

    Raises SiteError where it holds something else.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise SiteError(f'"{out}" holds something else than a site; name a new folder with --out')
    put(out / MARK, "clusterproof site made this folder and removes what is old in it\n")


def _clear(out: Path, written: set[str]) -> None:
    """Remove the pages of an earlier site that were not ``written`` now."""
    pages = [path for folder in (ISSUES, BUILDS, CELLS, BADGES) for path in (out / folder).rglob("*")]
    for path in sorted([*pages, *(out / RUNS).glob("*.html")], reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif not path.is_dir() and path.relative_to(out).as_posix() not in written:
            path.unlink()
