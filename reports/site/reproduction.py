"""A result, to be seen again: with clusterproof, with the product's own commands, or told to its makers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clusterproof.reports.matrix.matrix import IssueRow
from clusterproof.reports.results.kept_evidence import command
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.timeline import Step, Timeline
from clusterproof.reports.site.rendering import templates

_CLIENTS = {"lxd": "lxc", "incus": "incus"}
# What a scenario looks at to judge, and what it keeps as evidence: nothing changes by it.
_LOOKS = re.compile(r"(journalctl|systemctl show|cat|curl|stat|test|ls|ps|pgrep|find [^|;&]*-print)\b")
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")


class Reproduction(NamedTuple):
    """How a result is seen again.

    ``command`` is that of clusterproof, ``script`` a shell's, empty where no step was kept, and ``report``
    Markdown.
    """

    command: str
    script: str
    report: str


def reproduction(cell: Cell, row: IssueRow, timeline: Timeline, lines: Sequence[str]) -> Reproduction:
    """Return how to see ``cell`` again; ``lines`` are the logs' lines that show the symptom."""
    steps = list(_commands(cell, timeline))
    text = (
        templates().get_template("reproduce.sh").render(cell=cell, row=row, steps=steps) if steps else ""
    )
    report = (
        templates()
        .get_template("report.markdown")
        .render(cell=cell, row=row, steps=steps, lines=lines, command=command(cell))
    )
    return Reproduction(command(cell), text, report)


class Command(NamedTuple):
    """A line of the script, for ``member``; ``note`` is a comment that takes its place or goes before it."""

    member: str
    line: str
    stdin: str
    note: str


def _commands(cell: Cell, timeline: Timeline) -> Iterator[Command]:
    """Yield what changed the cluster, in order, and what was checked then; a repeated command once."""
    last = ""
    checked = max((step.number for step in timeline.checks), default=0)
    for step in timeline.steps:
        if step.number > checked and step.verb != "check":
            continue  # what ended after the last check was collected as evidence
        line, note = _line(cell, step)
        if (line or note) and (line or note) != last:
            yield Command(step.target, line, _text(step, "standard input"), note)
            last = line or note


def _line(cell: Cell, step: Step) -> tuple[str, str]:
    what = _text(step, "in full") or step.what
    if step.verb == "run":
        return ("", "") if _LOOKS.match(what) else (what, "")
    if step.verb == "api":
        method, _, path = what.partition(" ")
        if method not in _CHANGES:
            return "", ""
        body = _text(step, "request")
        data = f" --data {shlex.quote(' '.join(body.split()))}" if body else ""
        client = _CLIENTS[cell.build.product]
        return f"{client} query --wait --request {method}{data} {shlex.quote(path)}", ""
    if step.verb in ("fault", "write"):
        return "", f"{step.verb}: {what}"
    if step.verb == "check":
        return "", f"check: {what}: {step.mark}"
    return "", ""


def _text(step: Step, label: str) -> str:
    return next((section.text for section in step.sections if section.label == label), "")
