"""Errors of commands: one clear line each, with the way out, and an exit status of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from clusterproof.exit_status import ExitStatus, in_words, status_of
from clusterproof.reports.decide.diff import UnknownBuildError
from clusterproof.reports.decide.policy import PolicyError
from clusterproof.reports.decide.qualification import QualificationError
from clusterproof.reports.exports.allure_report import AllureError
from clusterproof.reports.history.history import HistoryError
from clusterproof.reports.history.merge_results import MergeError
from clusterproof.reports.plan.join_shards import JoinError
from clusterproof.reports.results.ledger import LedgerError
from clusterproof.reports.results.results import FILENAME
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.site.publish import SiteError

_PROBLEMS = 20  # problems printed; a file that is no file of results may have one in each line

# Errors whose message is one line with the way out.
_EXPLAINED = (
    AllureError,
    HistoryError,
    JoinError,
    MergeError,
    PolicyError,
    QualificationError,
    SiteError,
    UnknownBuildError,
)


@contextmanager
def refusing(option: str = "--out") -> Iterator[None]:
    """Turn an error inside into a line that names the way out; ``option`` names the folder to write."""
    try:
        yield
    except LedgerError as error:
        refuse(*error.problems)
    except _EXPLAINED as error:
        refuse(str(error), status=status_of(error))
    except OSError as error:
        refuse(in_words(error, f"name another one with {option}"), status=status_of(error))


def refuse(*lines: str, status: ExitStatus = ExitStatus.USAGE) -> NoReturn:
    """Print ``lines`` as errors and exit."""
    for line in lines:
        typer.echo(f"error: {one_line(line)}", err=True)
    raise typer.Exit(status)


def print_problems(problems: Sequence[str]) -> None:
    """Print the first of ``problems``, and how many more there are."""
    for problem in problems[:_PROBLEMS]:
        typer.echo(f"problem: {one_line(problem)}", err=True)
    if (more := len(problems) - _PROBLEMS) > 0:
        typer.echo(f"problem: and {more} more like these", err=True)


def require_run(run: Path, name: str = "name another with --run") -> None:
    """Refuse where the folder ``run`` has no results; ``name`` says how another one is named."""
    way_out = f"make one with clusterproof qualify, or {name}"
    if not run.is_dir():
        refuse(f'no run folder "{run}"; {way_out}')
    if not (run / FILENAME).is_file():
        refuse(f'no results in "{run}" ({FILENAME} is missing); {way_out}')


def require_history(path: Path) -> None:
    """Refuse where there is no history in ``path``."""
    if not path.is_file():
        refuse(f'no history "{path}"; make one with clusterproof qualify, or name another with --history')
