"""The command line: ``clusterproof matrix | site | diff | gate | merge | export | steady``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from clusterproof.reports.decide.diff import UnknownBuildError, compare, find_build, lines
from clusterproof.reports.decide.gate import GateResult
from clusterproof.reports.decide.gate import gate as judge_run
from clusterproof.reports.decide.policy import DEFAULT, PolicyError, load_policy
from clusterproof.reports.decide.qualification import QualificationError, of_build, qualify
from clusterproof.reports.exports.allure_report import (
    TOOLS,
    TRAIL,
    AllureError,
    AllureMissingError,
    make_report,
)
from clusterproof.reports.exports.junit import junit as make_junit
from clusterproof.reports.exports.sarif import sarif as make_sarif
from clusterproof.reports.exports.summary import summary as make_summary
from clusterproof.reports.history.history import History, HistoryError
from clusterproof.reports.history.import_results import MergeError, collect, results_in
from clusterproof.reports.history.import_results import export as export_history
from clusterproof.reports.history.import_results import merge as merge_results
from clusterproof.reports.history.stability import TIMES, steadiness
from clusterproof.reports.matrix.matrix import build_matrix
from clusterproof.reports.matrix.terminal import terminal
from clusterproof.reports.plan.join_shards import JoinError, join
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.ledger import LedgerError, load_ledger
from clusterproof.reports.results.results import FILENAME, Cell, read
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.site.badge import badge as make_badge
from clusterproof.reports.site.publish import HISTORY, SiteError, claim, publish, publish_site
from clusterproof.reports.site.site import STALE_DAYS, comparison_page

USAGE = 4  # exit status where a command cannot do what it was asked to

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What the results of a run say.")

_PROBLEMS = 20  # lines that a file which is no file of results may take

# Errors whose message is one line with the way out.
_TOLD = (
    AllureError,
    HistoryError,
    JoinError,
    MergeError,
    PolicyError,
    QualificationError,
    SiteError,
    UnknownBuildError,
)

Run = Annotated[Path, typer.Option("--run", help="The run's folder.")]
HistoryFile = Annotated[Path, typer.Option("--history", help="The file of the history.")]


@app.command()
def matrix(run: Run = Path("out/latest")) -> None:
    """Print the matrix of a run, and make the pages in its folder again."""
    _require(run)
    _publish(run)


@app.command()
def site(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders to record first.")] = None,
    history: HistoryFile = Path("out/history.sqlite"),
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("out/site"),
    stale: Annotated[
        int, typer.Option("--stale", min=1, help="Days after which a result is called stale.")
    ] = STALE_DAYS,
    *,
    allure: Annotated[bool, typer.Option("--allure", help="With Allure's report in it; needs Node.")] = False,
    tools: Annotated[Path, typer.Option("--tools", help="Where Node's packages are kept.")] = TOOLS,
) -> None:
    """Make a site of all runs in the history, to be put on any web server or opened as it is."""
    runs = runs or []
    for run in runs:
        _require(run, "name the folder of one")
    if not runs:
        _require_history(history)
    if allure:
        _make_allure(out, history, runs, tools)
    with _told():
        published = publish_site(out, load_ledger(), history, runs, stale_days=stale)
    for problem in published.problems:
        typer.echo(f"problem: {one_line(problem)}", err=True)
    typer.echo(f"site: {published.html}")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A build, like incus@6.0.4.")],
    after: Annotated[str, typer.Argument(help="The build to compare it with.")],
    history: HistoryFile = Path("out/history.sqlite"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    page: Annotated[Path | None, typer.Option("--page", help="Write a page (HTML) there.")] = None,
) -> None:
    """Say what changes for a cluster that goes from one build to another."""
    _require_history(history)
    with _told():
        ledger = load_ledger()
        with History(history) as known:
            found = build_matrix(known.current(), ledger, known, source=history.name)
        comparison = compare(found, find_build(found, before), find_build(found, after))
        if page:
            put(page, comparison_page(found, comparison))
    if as_json:
        typer.echo(comparison.model_dump_json(by_alias=True, indent=1))
        return
    for line in lines(comparison):
        typer.echo(line)


@app.command()
def gate(
    run: Run = Path("out/latest"),
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME|FILE", help="What lets a run pass: see docs/gate.md.")
    ] = DEFAULT,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit's XML there.")] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Add Markdown to it, like $GITHUB_STEP_SUMMARY.")
    ] = None,
    sarif: Annotated[Path | None, typer.Option("--sarif", help="Write the findings as SARIF there.")] = None,
    badge: Annotated[Path | None, typer.Option("--badge", help="Write a badge (SVG) there.")] = None,
    build: Annotated[str | None, typer.Option("--build", help="Judge this build alone.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Compare with this build, not with the predecessor.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="Where a predecessor is known; beside the run.")
    ] = None,
) -> None:
    """Say whether a run may pass: exit 0 if it may, 1 if not, 2 where too little is known."""
    with _told():
        chosen = load_policy(policy)
    if chosen.against and not build:
        _refuse(f'policy "{policy}" judges one build against its predecessor; name it with --build')
    if against and not chosen.against:
        _refuse(f'policy "{policy}" compares no builds, so --against means nothing; use --policy qualification')
    _require(run)
    cells, problems = read(run / FILENAME)
    before = None
    with _told():
        if build and chosen.against:
            known = _known(history or run.parent / HISTORY)
            qualified = qualify(cells, known, build, against)
            cells, before = qualified.cells, qualified.before
            typer.echo(f"{qualified.build.name} against {qualified.against.name} ({qualified.against.version})")
        elif build:
            cells = of_build(cells, build)
    result = judge_run(cells, chosen, problems=problems, before=before)
    _write_gate(result, junit, summary, sarif, badge)
    for line in result.lines:
        typer.echo(line)
    raise typer.Exit(result.exit_code)


def _make_allure(out: Path, history: Path, runs: Iterable[Path], tools: Path) -> None:
    """Make Allure's report, before the site, which then leads to it."""
    with _told():
        claim(out)
        with History(history) as known:
            for run in runs:
                known.record(read(run / FILENAME)[0])
            folders = {run.id: history.parent / run.id for run in known.summaries(TRAIL)}
            folders |= {cell.run: run for run in runs for cell in read(run / FILENAME)[0]}
            try:
                made = make_report(out, known, folders, load_ledger(), tools)
            except AllureMissingError as error:
                # The site is whole without it.
                typer.echo(f"no Allure report: {one_line(str(error))}", err=True)
                return
    typer.echo(f"allure: {made.page}: {made.tests} tests on {made.builds} builds, {made.runs} earlier runs")


def _known(history: Path) -> list[Cell]:
    if not history.is_file():
        return []
    with History(history) as known:
        return known.current()


def _write_gate(
    result: GateResult, junit: Path | None, summary: Path | None, sarif: Path | None, badge: Path | None
) -> None:
    try:
        if junit:
            put(junit, make_junit(result))
        if sarif:
            put(sarif, make_sarif(result, load_ledger(), Path()))
        if badge:
            put(badge, make_badge(result))
        if summary:
            # It may hold what the steps of a job said before.
            with summary.open("a", encoding="utf-8") as file:
                file.write(make_summary(result))
    except LedgerError as error:
        _refuse(*error.problems)
    except OSError as error:
        _refuse(f'cannot write "{error.filename}": {error.strerror}; name another file')


@app.command()
def merge(
    sources: Annotated[
        list[Path], typer.Argument(help="Run folders, folders with such in them, files of results.")
    ],
    history: HistoryFile = Path("out/history.sqlite"),
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Also join them, such as the shards of a run, to one run in this folder."),
    ] = None,
) -> None:
    """Join the results of many runs and machines in the history: each once, in whatever order."""
    with _told():
        merged = merge_results(sources, history)
    _tell(merged.problems)
    files = f"{merged.files} file{'' if merged.files == 1 else 's'}"
    struck = f", {merged.struck} left out as a fault struck their clusters" if merged.struck else ""
    typer.echo(
        f"merged {files}: {merged.results} results, {merged.new} of them new{struck}; "
        f"{history} has {merged.total} results of {merged.runs} runs"
    )
    if run:
        _join(sources, run)
        _publish(run, history)


def _join(sources: list[Path], run: Path) -> None:
    """Join the runs in ``sources``, which are in the history by now, to one in the folder ``run``."""
    with _told("--run"):
        missing = join([file.parent for file in results_in(sources)], run)
    for problem in missing:
        typer.echo(f"problem: {one_line(problem)}", err=True)


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


@app.command()
def steady(
    sources: Annotated[
        list[Path], typer.Argument(help="Run folders, folders with such in them, files of results.")
    ],
    times: Annotated[int, typer.Option("--times", min=2, help="How many runs in a row.")] = TIMES,
    *,
    every: Annotated[bool, typer.Option("--all", help="Name the steady cells, too.")] = False,
) -> None:
    """Say whether each cell gave one verdict in its last runs: exit 0 if so, 1 if not or results are missing."""
    with _told():
        cells, problems = collect(sources)
    _tell(problems)
    found = steadiness(cells, times)
    for line in found.lines(every=every):
        typer.echo(line)
    raise typer.Exit(0 if found.steady and not problems else 1)


def _tell(problems: list[str]) -> None:
    for problem in problems[:_PROBLEMS]:
        typer.echo(f"problem: {one_line(problem)}", err=True)
    if (more := len(problems) - _PROBLEMS) > 0:
        typer.echo(f"problem: and {more} more like these", err=True)


def _publish(run: Path, history: Path | None = None) -> None:
    """Make the pages of ``run`` and print its matrix."""
    with _told():
        published = publish(run, load_ledger(), history)
    terminal(published.matrix)
    typer.echo(f"page: {published.html}")


def _require(run: Path, name: str = "name another with --run") -> None:
    way_out = f"make one with tox run -e qualify, or {name}"
    if not run.is_dir():
        _refuse(f'no run folder "{run}"; {way_out}')
    if not (run / FILENAME).is_file():
        _refuse(f'no results in "{run}" ({FILENAME} is missing); {way_out}')


def _require_history(path: Path) -> None:
    if not path.is_file():
        _refuse(f'no history "{path}"; make one with tox run -e qualify, or name another with --history')


@contextmanager
def _told(option: str = "--out") -> Iterator[None]:
    """End with a line that tells what is wrong and what to do; ``option`` names the folder to write."""
    try:
        yield
    except LedgerError as error:
        _refuse(*error.problems)
    except _TOLD as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f'cannot write "{error.filename}": {error.strerror}; name another folder with {option}')


def _refuse(*lines: str) -> NoReturn:
    for line in lines:
        typer.echo(f"error: {one_line(line)}", err=True)
    raise typer.Exit(USAGE)


