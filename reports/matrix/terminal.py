"""The compatibility matrix on a terminal, and as plain lines where there is none."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from clusterproof.reports.matrix.matrix import NAMES, Column, IssueOnBuild, Matrix
from clusterproof.reports.results.answers import Answer, tally
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict

_STYLES = {
    Verdict.REGRESSED: "bold red",
    Verdict.DISCOVERED: "bold red",
    Verdict.FAILED: "bold red",
    Verdict.SILENTLY_FIXED: "bold magenta",
    Verdict.INVALID: "bold magenta",
    Verdict.BLOCKED: "bold cyan",
    Verdict.REPRODUCED: "yellow",
    Verdict.UNTESTABLE: "dim",
    Verdict.CONFORMS: "green",
    Verdict.CLEAR: "green",
    Verdict.NOT_APPLICABLE: "dim",
}


def terminal(matrix: Matrix, console: Console | None = None) -> None:
    """Print ``matrix`` to ``console`` (standard output by default).

    A table of issues x builds on a terminal that is wide enough, with the verdict beneath the plain
    words where it was not expected; otherwise one line per issue and build, which suits logs and
    ``grep``.
    """
    console = console or Console()
    if not matrix.rows:
        _print(console, "No results: nothing was judged in this run.")
    else:
        table = _table(matrix, console)
        width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
        if console.is_terminal and width <= console.width:
            console.print(table)
        else:
            _lines(matrix, console)
        if counts := tally((one.stands, one.role) for one in matrix.scenarios()):
            _print(console, f"{matrix.summary.scenarios} results: {counts}")
    for problem in matrix.generated_from.problems:
        _print(console, f"problem: {one_line(problem)}")


def show_lines(lines: Iterable[str], console: Console | None = None) -> None:
    """Print ``lines`` of a judgement, each whole; a verdict has its colour where there are any."""
    console = console or Console()
    for line in lines:
        text = Text(_encoded(line, console))
        for verdict, style in _STYLES.items():
            text.highlight_words([f"({verdict})"], style)
        text.highlight_regex(r"^gate \([^)]*\): passed", "bold green")
        text.highlight_regex(r"^gate \([^)]*\): not passed|^missing:|^error:", "bold red")
        console.print(text, soft_wrap=True)


def _table(matrix: Matrix, console: Console) -> Table:
    table = Table(header_style="bold")
    table.add_column("issue", no_wrap=True)
    for column in matrix.columns:
        table.add_column(Text(_encoded(one_line(_name(column)), console)), no_wrap=True)
    for row in matrix.rows:
        of_issue = matrix.cells[row.id]
        table.add_row(
            Text(_encoded(one_line(row.id), console)),
            *(
                _shown(of_issue[column.id], console) if column.id in of_issue else ""
                for column in matrix.columns
            ),
        )
    return table


def _shown(on_build: IssueOnBuild, console: Console) -> Text:
    verdict = on_build.verdict
    behind = "" if verdict.expected else f"\n  {verdict}"
    return Text(f"{_sign(verdict, console)} {on_build.answer}{behind}", style=_STYLES[verdict])


def _name(column: Column) -> str:
    return f"{NAMES.get(column.build.product, column.build.product)} {column.build.short}"


def _lines(matrix: Matrix, console: Console) -> None:
    issues = max(len(one_line(row.id)) for row in matrix.rows)
    builds = max(len(one_line(column.id)) for column in matrix.columns)
    words = max(map(len, Answer))
    verdicts = max(map(len, Verdict))
    for row in matrix.rows:
        for column in matrix.columns:
            if on_build := matrix.cells[row.id].get(column.id):
                count = len(on_build.scenarios)
                verdict = on_build.verdict
                _print(
                    console,
                    f"{one_line(row.id):{issues}}  {one_line(column.id):{builds}}  "
                    f"{_sign(verdict, console)} {on_build.answer:{words}}  {verdict:{verdicts}}  "
                    f"({count} scenario{'' if count == 1 else 's'})",
                )


def _sign(verdict: Verdict, console: Console) -> str:
    # Left out where the output cannot encode it: a substitute might be the sign of another verdict.
    return verdict.sign if _encoded(verdict.sign, console) == verdict.sign else " "


def _encoded(text: str, console: Console) -> str:
    return text.encode(console.encoding, "replace").decode(console.encoding)


def _print(console: Console, text: str) -> None:
    console.print(Text(_encoded(text, console)), soft_wrap=True)
