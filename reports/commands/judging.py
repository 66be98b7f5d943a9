"""``clusterproof gate``: whether a run may pass, and that as files for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusterproof.reports.commands.errors import refuse, refusing, require_run
from clusterproof.reports.commands.pages import RunFolder
from clusterproof.reports.decide.gate import GateResult
from clusterproof.reports.decide.gate import gate as judge_run
from clusterproof.reports.decide.policy import DEFAULT, load_policy
from clusterproof.reports.decide.qualification import of_build, qualify
from clusterproof.reports.decide.standing import standing
from clusterproof.reports.exports.junit import junit as make_junit
from clusterproof.reports.exports.summary import summary as make_summary
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.terminal import show_lines
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.results import FILENAME, Cell, read
from clusterproof.reports.site.badge import badge as make_badge
from clusterproof.reports.site.publish import HISTORY


def gate(
    run: RunFolder = Path("out/latest"),
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME|FILE", help="What lets a run pass: see docs/gate.md.")
    ] = DEFAULT,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit's XML there.")] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Add Markdown to it, like $GITHUB_STEP_SUMMARY.")
    ] = None,
    badge: Annotated[Path | None, typer.Option("--badge", help="Write a badge (SVG) there.")] = None,
    build: Annotated[str | None, typer.Option("--build", help="Judge this build alone.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Compare with this build, not with the predecessor.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="Where a predecessor is known; beside the run.")
    ] = None,
) -> None:
    """Judge whether a run may pass: exit 0 if it may, 1 if not, 2 where too little is known."""
    with refusing():
        chosen = load_policy(policy)
    if chosen.against and not build:
        refuse(f'policy "{policy}" judges one build against its predecessor; name it with --build')
    if against and not chosen.against:
        refuse(f'policy "{policy}" compares no builds, so --against means nothing; use --policy qualification')
    require_run(run)
    cells, problems = read(run / FILENAME)
    before = None
    stands_on = standing(run)
    with refusing():
        if build and chosen.against:
            known = _known(history or run.parent / HISTORY)
            qualified = qualify(cells, known, build, against)
            cells, before = qualified.cells, qualified.before
            typer.echo(f"{qualified.build.name} against {qualified.against.name} ({qualified.against.version})")
        elif build:
            cells = of_build(cells, build)
    if build and cells:
        stands_on = standing(run, cells[0].build.name)
    result = judge_run(
        cells, chosen, problems=problems, before=before, run_dir=run, stands_on=stands_on
    )
    _write(result, junit, summary, badge)
    show_lines(result.lines)
    raise typer.Exit(result.exit_code)


def _known(history: Path) -> list[Cell]:
    if not history.is_file():
        return []
    with History(history) as known:
        return known.current()


def _write(result: GateResult, junit: Path | None, summary: Path | None, badge: Path | None) -> None:
    if junit:
        with refusing("--junit"):
            put(junit, make_junit(result))
    if badge:
        with refusing("--badge"):
            put(badge, make_badge(result))
    if summary:
        with refusing("--summary"):
            _add(summary, make_summary(result))


def _add(path: Path, text: str) -> None:
    """Add ``text`` to the file, which may hold what earlier steps of a job wrote. Raises OSError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
