"""What is made of a run's results at its end: history, ``matrix.json`` and the pages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from reports.evidence import INDEX, cell_page, folders
from reports.history import History, HistoryError
from reports.ledger import Issue
from reports.matrix import Matrix, build_matrix
from reports.page import page
from reports.results import FILENAME, Cell, read

HISTORY = "history.sqlite"


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
    html: Path | None = None,
) -> Published:
    """Record the results of ``run_dir`` in the history and write its matrix and its cells' pages.

    The history is ``history_path``, by default ``history.sqlite`` beside the run's folder; one
    that cannot be used becomes a problem, and the matrix is written without it; so does a cell's
    page that cannot be written. ``html`` puts the matrix's page elsewhere. May be repeated. Raises
    FileNotFoundError where the run has no results, OSError where the matrix cannot be written.
    """
    cells, missing = read(run_dir / FILENAME)
    problems = list(missing)
    history_path = history_path or run_dir.parent / HISTORY
    try:
        with History(history_path) as history:
            history.record(cells)
            matrix = build_matrix(cells, ledger, history, problems=problems)
    except HistoryError as error:
        problems.append(str(error))
        matrix = build_matrix(cells, ledger, problems=problems)
    html = html or run_dir / "matrix.html"
    if pageless := _write_cells(run_dir, cells, matrix, html):
        problems += pageless
        source = matrix.generated_from.model_copy(update={"problems": tuple(problems)})
        matrix = matrix.model_copy(update={"generated_from": source})
    base = Path(os.path.relpath(run_dir.resolve(), html.parent.resolve())).as_posix()
    _write(run_dir / "matrix.json", matrix.json_text())
    _write(html, page(matrix, "" if base == "." else base))
    return Published(cells=cells, missing=missing, problems=problems, matrix=matrix, html=html)


def _write_cells(run_dir: Path, cells: list[Cell], matrix: Matrix, html: Path) -> list[str]:
    """Write the page of every cell that has an evidence folder; return what could not be written."""
    problems = []
    for folder, results in folders(run_dir, cells).items():
        try:
            _write(folder / INDEX, cell_page(folder, results, matrix, html))
        except OSError as error:
            shown = folder.relative_to(run_dir.resolve())
            problems.append(f'no page for "{shown}": {error.strerror}')
    return problems


def _write(path: Path, text: str) -> None:
    # A reader, or a crash, sees the old file or the new one, never half of it.
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
