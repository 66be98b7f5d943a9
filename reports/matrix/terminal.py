"""The compatibility matrix on a terminal, and as plain lines where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from clusterproof.reports.matrix.matrix import NAMES, Column, Matrix, Meeting
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict

_STYLES = {
    Verdict.REGRESSED: "bold red",
    Verdict.DISCOVERED: "bold red",
    Verdict.FAILED: "bold red",
    Verdict.SILENTLY_FIXED: "bold magenta",
    Verdict.BLOCKED: "bold cyan",
    Verdict.REPRODUCED: "yellow",
    Verdict.UNTESTABLE: "dim",
    Verdict.CONFORMS: "green",
    Verdict.CLEAR: "green",
    Verdict.NOT_APPLICABLE: "dim",
}


def terminal(matrix: Matrix, console: Console | None = None) -> None:
    """Print ``matrix`` to ``console`` (standard output by default).

    A table of issues x builds on a terminal that is wide enough; otherwise one plain line per
    issue and build, which suits logs and ``grep``.
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
        if tally := ", ".join(
            f"{count} {verdict}" for verdict, count in matrix.summary.verdicts.items()
        ):
            _print(console, f"{matrix.summary.scenarios} results: {tally}")
    for problem in matrix.generated_from.problems:
        _print(console, f"problem: {one_line(problem)}")


def _table(matrix: Matrix, console: Console) -> Table:
    table = Table(header_style="bold")
    table.add_column("issue", no_wrap=True)
    for column in matrix.columns:
        table.add_column(Text(_carried(one_line(_name(column)), console)), no_wrap=True)
    for row in matrix.rows:
        meetings = matrix.cells[row.id]
        table.add_row(
            Text(_carried(one_line(row.id), console)),
            *(
                _shown(meetings[column.id], console) if column.id in meetings else ""
                for column in matrix.columns
            ),
        )
    return table


def _shown(meeting: Meeting, console: Console) -> Text:
    return Text(f"{_sign(meeting.verdict, console)} {meeting.verdict}", style=_STYLES[meeting.verdict])


def _name(column: Column) -> str:
    return f"{NAMES.get(column.build.product, column.build.product)} {column.build.short}"


def _lines(matrix: Matrix, console: Console) -> None:
    issues = max(len(one_line(row.id)) for row in matrix.rows)
    builds = max(len(one_line(column.id)) for column in matrix.columns)
    words = max(len(verdict) for verdict in Verdict)
    for row in matrix.rows:
        for column in matrix.columns:
            if meeting := matrix.cells[row.id].get(column.id):
                count = len(meeting.scenarios)
                _print(
                    console,
                    f"{one_line(row.id):{issues}}  {one_line(column.id):{builds}}  "
                    f"{_sign(meeting.verdict, console)} {meeting.verdict:{words}}  "
                    f"({count} scenario{'' if count == 1 else 's'})",
                )


def _sign(verdict: Verdict, console: Console) -> str:
    # Left out where the output cannot carry it: a substitute might be the sign of another verdict.
    return verdict.sign if _carried(verdict.sign, console) == verdict.sign else " "


def _carried(text: str, console: Console) -> str:
    return text.encode(console.encoding, "replace").decode(console.encoding)


def _print(console: Console, text: str) -> None:
    console.print(Text(_carried(text, console)), soft_wrap=True)
