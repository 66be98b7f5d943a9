"""The gate's result as Markdown: for a job's summary on GitHub, a comment or a mail."""

from __future__ import annotations

from collections import Counter

from clusterproof.reports.decide.gate import PASSED, GateResult, Objection, Weight, build_of
from clusterproof.reports.results.answers import Answer, answer, cell_in_words
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict

_ROWS = 300  # objections listed; GitHub takes a megabyte
_HEADINGS = {
    Weight.FAILS: "Stops the run",
    Weight.BLOCKS: "Blocked: nothing was learnt of the product",
    Weight.EXPLAINED: "Explained",
    Weight.TOLERATED: "Blocked, and tolerated",
}
# All that Markdown, HTML or GitHub (mentions, issue numbers) might take for something else.
_SPECIAL = str.maketrans({sign: f"&#{ord(sign)};" for sign in "\\`*_{}[]()<>&#|~@!:/"})


def summary(result: GateResult) -> str:
    """Return the Markdown, whose texts from results are shown as they are."""
    lines = [f"## {'✓ Passed' if result.outcome == PASSED else '✗ Not passed'}: {_text(result.says)}", ""]
    counts = Counter((answer(cell.verdict, cell.role), cell.verdict) for cell in result.cells)
    if counts:
        lines += ["| answer | verdict | cells |", "|---|---|---:|"]
        lines += [
            f"| {words} | {verdict.sign} {verdict} | {counts[words, verdict]} |"
            for words in Answer
            for verdict in Verdict
            if counts[words, verdict]
        ] + [""]
    if result.missing:
        lines += ["### Missing results", "", *(f"- {_text(one)}" for one in result.missing[:_ROWS]), ""]
    for weight, heading in _HEADINGS.items():
        if found := result.having(weight):
            lines += [f"### {heading}", "", "| answer | issue | scenario | build | why |"]
            lines += ["|---|---|---|---|---|"]
            lines += [_row(one) for one in found[:_ROWS]] + [""]
            if len(found) > _ROWS:
                lines += [f"{len(found) - _ROWS} more are in the results.", ""]
    if result.notes:
        lines += ["### Notes on the policy", "", *(f"- {_text(one)}" for one in result.notes), ""]
    return "\n".join(lines)


def _row(objection: Objection) -> str:
    cell = objection.cell
    why = f"{objection.reason} ({objection.why})" if objection.why else objection.reason
    words = f"{cell.verdict.sign} {cell_in_words(cell)}"
    cells = (words, cell.issue, cell.scenario, build_of(cell), why)
    return f"| {' | '.join(_text(one) for one in cells)} |"


def _text(text: str) -> str:
    return one_line(text).translate(_SPECIAL)
