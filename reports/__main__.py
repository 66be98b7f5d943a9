"""The command line: ``python -m reports matrix | gate | merge | export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from reports.gate import Policy
from reports.gate import gate as judge_run
from reports.history import HistoryError
from reports.ledger import LedgerError, load_ledger
from reports.merge import MergeError
from reports.merge import export as export_history
from reports.merge import merge as merge_results
from reports.publish import publish
from reports.results import FILENAME, read
from reports.terminal import terminal
from reports.text import one_line

USAGE = 4  # exit status where a command cannot do what it was asked to

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What the results of a run say.")

_PROBLEMS = 20  # lines that a file which is no file of results may take

Run = Annotated[Path, typer.Option("--run", help="The run's folder.")]
HistoryFile = Annotated[Path, typer.Option("--history", help="The file of the history.")]


@app.command()
def matrix(
    run: Run = Path("out/latest"),
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the page.")] = None,
) -> None:
    """Rebuild matrix.json and matrix.html of a run, and print the matrix."""
    _require(run)
    try:
        ledger = load_ledger(Path())
        published = publish(run, ledger, html=out)
    except LedgerError as error:
        _refuse(*error.problems)
    except OSError as error:
        _refuse(f'cannot write the matrix: "{error.filename}": {error.strerror}; use --out for the page')
    terminal(published.matrix)
    typer.echo(f"page: {published.html}")


@app.command()
def gate(
    run: Run = Path("out/latest"),
    policy: Annotated[
        Policy,
        typer.Option("--policy", help="strict: untestable cells block, too. none: always exit 0."),
    ] = "expected",
) -> None:
    """Say whether a run may pass: exit 0 as expected, 1 not as expected, 2 blocked."""
    _require(run)
    cells, problems = read(run / FILENAME)
    result = judge_run(cells, policy, problems=problems)
    for line in result.lines:
        typer.echo(line)
    raise typer.Exit(result.exit_code)


@app.command()
def merge(
    sources: Annotated[
        list[Path], typer.Argument(help="Run folders, folders with such in them, files of results.")
    ],
    history: HistoryFile = Path("out/history.sqlite"),
) -> None:
    """Join the results of many runs and machines in the history: each once, in whatever order."""
    try:
        merged = merge_results(sources, history)
    except (HistoryError, MergeError) as error:
        _refuse(str(error))
    for problem in merged.problems[:_PROBLEMS]:
        typer.echo(f"problem: {one_line(problem)}", err=True)
    if (more := len(merged.problems) - _PROBLEMS) > 0:
        typer.echo(f"problem: and {more} more like these", err=True)
    files = f"{merged.files} file{'' if merged.files == 1 else 's'}"
    struck = f", {merged.struck} left out as a fault struck their clusters" if merged.struck else ""
    typer.echo(
        f"merged {files}: {merged.results} results, {merged.new} of them new{struck}; "
        f"{history} has {merged.total} results of {merged.runs} runs"
    )


@app.command()
def export(
    history: HistoryFile = Path("out/history.sqlite"),
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("out/history.jsonl"),
) -> None:
    """Write the history as lines of JSON, which merge reads."""
    try:
        count = export_history(history, out)
    except HistoryError as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f'cannot write "{out}": {error.strerror}; name another file with --out')
    typer.echo(f"{out}: {count} results")


def _require(run: Path) -> None:
    way_out = "make one with tox run -e qualify, or name another with --run"
    if not run.is_dir():
        _refuse(f'no run folder "{run}"; {way_out}')
    if not (run / FILENAME).is_file():
        _refuse(f'no results in "{run}" ({FILENAME} is missing); {way_out}')


def _refuse(*lines: str) -> NoReturn:
    for line in lines:
        typer.echo(f"error: {one_line(line)}", err=True)
    raise typer.Exit(USAGE)


if __name__ == "__main__":
    app()
