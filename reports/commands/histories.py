"""``clusterproof merge | join | export | stability``: the results of many runs together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusterproof.exit_status import ExitStatus
from clusterproof.reports.commands.errors import print_problems, refuse, refusing
from clusterproof.reports.commands.pages import HistoryFile, show
from clusterproof.reports.history.history import History
from clusterproof.reports.history.merge_results import collect, results_in
from clusterproof.reports.history.merge_results import export as export_history
from clusterproof.reports.history.merge_results import merge as merge_results
from clusterproof.reports.history.stability import TIMES
from clusterproof.reports.history.stability import stability as judge_stability
from clusterproof.reports.plan.join_shards import join as join_shards

Sources = Annotated[
    list[Path], typer.Argument(help="Run folders, folders with such in them, files of results.")
]


def merge(sources: Sources, history: HistoryFile = Path("out/history.sqlite")) -> None:
    """Add the results of many runs and hosts to the history: each once, in whatever order."""
    with refusing():
        merged = merge_results(sources, history)
    print_problems(merged.problems)
    files = f"{merged.files} file{'' if merged.files == 1 else 's'}"
    left_out = f", {merged.fault_injected} left out (fault-injected)" if merged.fault_injected else ""
    typer.echo(
        f"merged {files}: {merged.results} results, {merged.new} of them new{left_out}; "
        f"{history} has {merged.total} results of {merged.runs} runs"
    )


def join(
    sources: Sources,
    run: Annotated[Path, typer.Option("--run", help="The folder to make.")],
    history: HistoryFile = Path("out/history.sqlite"),
) -> None:
    """Join the shards of a run to one run, with their evidence, and print its matrix."""
    with refusing("--history"):
        # Whether it can be used is found out before anything is made.
        History(history).close()
    with refusing("--run"):
        missing = join_shards([file.parent for file in results_in(sources)], run)
    print_problems(missing)
    show(run, history)


def export(
    history: HistoryFile = Path("out/history.sqlite"),
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("out/history.jsonl"),
) -> None:
    """Write the history as lines of JSON, which merge reads."""
    with refusing():
        count = export_history(history, out)
    typer.echo(f"{out}: {count} results")


def stability(
    sources: Sources,
    times: Annotated[int, typer.Option("--times", min=2, help="How many runs in a row.")] = TIMES,
    issue: Annotated[
        list[str] | None, typer.Option("--issue", help="Only this issue's cells; may be repeated.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Print the stable cells, too.")] = False,
) -> None:
    """Judge whether each cell gave one verdict in its last runs: 0 if so, 1 if not, 2 where some are missing.

    Only runs of a scenario's current text count: that of its newest result.
    """
    with refusing():
        cells, problems = collect(sources)
    print_problems(problems)
    if issue:
        there = {cell.issue for cell in cells}
        if missing := [one for one in issue if one not in there]:
            refuse(f'--issue: no results of "{missing[0]}"; there are some of {", ".join(sorted(there))}')
        cells = [cell for cell in cells if cell.issue in issue]
    if not cells and not problems:
        refuse("there are no results in what was named; name run folders or files of results")
    found = judge_stability(cells, times)
    for line in found.lines(every=every):
        typer.echo(line)
    if found.stable and not problems:
        return
    differ = any(one.word(times) == "unstable" for one in found.cells)
    raise typer.Exit(ExitStatus.STOPPED if differ else ExitStatus.INCOMPLETE)
