"""``clusterproof matrix | site | diff``: what results say, in the terminal and as pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from clusterproof.reports.commands.errors import print_problems, refusing, require_history, require_run
from clusterproof.reports.decide.diff import compare, find_build, lines
from clusterproof.reports.decide.policy import DEFAULT, load_policy
from clusterproof.reports.exports.allure_report import TOOLS, TRAIL, AllureMissingError, make_report
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.terminal import show_lines, terminal
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.results.results import FILENAME, read
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.site.compare_page import comparison_page
from clusterproof.reports.site.publish import claim, publish, publish_site
from clusterproof.reports.site.rendering import STALE_DAYS

RunFolder = Annotated[Path, typer.Option("--run", help="The run's folder.")]
HistoryFile = Annotated[Path, typer.Option("--history", help="The file of the history.")]


def matrix(run: RunFolder = Path("out/latest")) -> None:
    """Print the matrix of a run, and make the pages in its folder again."""
    require_run(run)
    show(run)


def show(run: Path, history: Path | None = None) -> None:
    """Make the pages of ``run`` and print its matrix."""
    with refusing("--run"):
        published = publish(run, load_ledger(), history)
    terminal(published.matrix)
    typer.echo(f"page: {published.html}")


def site(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders to record first.")] = None,
    history: HistoryFile = Path("out/history.sqlite"),
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("out/site"),
    stale: Annotated[
        int, typer.Option("--stale", min=1, help="Days after which a result is called stale.")
    ] = STALE_DAYS,
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME|FILE", help="What builds may ship by: see docs/gate.md.")
    ] = DEFAULT,
    *,
    allure: Annotated[bool, typer.Option("--allure", help="With Allure's report in it; needs Node.")] = False,
    tools: Annotated[Path, typer.Option("--tools", help="Where Node's packages are kept.")] = TOOLS,
) -> None:
    """Make a site of all runs in the history, for any web server or to be opened as it is."""
    runs = runs or []
    for run in runs:
        require_run(run, "name the folder of one")
    if not runs:
        require_history(history)
    if allure:
        _make_allure(out, history, runs, tools)
    with refusing():
        published = publish_site(
            out, load_ledger(), history, runs, policy=load_policy(policy), stale_days=stale
        )
    print_problems(published.problems)
    typer.echo(f"site: {published.html}")


def _make_allure(out: Path, history: Path, runs: Iterable[Path], tools: Path) -> None:
    """Make Allure's report, before the site, which then leads to it."""
    with refusing():
        claim(out)
        with History(history) as known:
            cells = {run: read(run / FILENAME)[0] for run in runs}
            for of_run in cells.values():
                known.record(of_run)
            folders = {run.id: history.parent / run.id for run in known.summaries(TRAIL)}
            folders |= {cell.run: run for run, of_run in cells.items() for cell in of_run}
            try:
                made = make_report(out, known, folders, load_ledger(), tools)
            except AllureMissingError as error:
                # The site is complete without it.
                typer.echo(f"no Allure report: {one_line(str(error))}", err=True)
                return
    typer.echo(f"allure: {made.page}: {made.tests} tests on {made.builds} builds, {made.runs} earlier runs")


def diff(
    before: Annotated[str, typer.Argument(help="A build, like incus@6.0.4.")],
    after: Annotated[str, typer.Argument(help="The build to compare it with.")],
    history: HistoryFile = Path("out/history.sqlite"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    page: Annotated[Path | None, typer.Option("--page", help="Write a page (HTML) there.")] = None,
) -> None:
    """Print what changes for a cluster that goes from one build to another."""
    require_history(history)
    with refusing("--page"):
        ledger = load_ledger()
        with History(history) as known:
            found = build_matrix(known.current(), ledger, known, source=history.name)
        comparison = compare(found, find_build(found, before), find_build(found, after))
        if page:
            put(page, comparison_page(found, comparison))
    if as_json:
        typer.echo(comparison.model_dump_json(by_alias=True, indent=1))
        return
    show_lines(lines(comparison))
