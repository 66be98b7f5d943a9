"""The gate: whether a run may pass, and if not, which cells stand in its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from reports.repeats import repeats
from reports.results import Cell
from reports.text import one_line
from reports.verdicts import Observation, Verdict

Policy = Literal["strict", "expected", "none"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

PASSED, UNEXPECTED, BLOCKED = 0, 1, 2
_REASON = 240  # characters of a reason; all of it stands in the results


class GateResult(NamedTuple):
    """The exit code of a run, and the lines to print at its end, the summary last."""

    exit_code: int
    lines: list[str]


def gate(
    cells: Iterable[Cell], policy: Policy = "expected", *, problems: Sequence[str] = ()
) -> GateResult:
    """Judge the results of a run; ``problems`` are the results that are missing.

    ``expected``: 0 where all verdicts are expected, 1 where any is not, 2 where none is but cells
    are blocked, nothing was judged, or a result is missing. ``strict`` takes untestable
    cells for blocked. ``none`` says the same and is always 0.

    Of a cell that ran more than once the newest result counts; but a repeat lifts a block only,
    never an unexpected verdict: a bug that shows now and then is a bug.
    """
    standing = [results.standing for results in repeats(cells).values()]

    stops = {Verdict.BLOCKED} | ({Verdict.UNTESTABLE} if policy == "strict" else set())
    unexpected = [cell for cell in standing if not cell.verdict.expected and cell.verdict not in stops]
    blocked = [cell for cell in standing if cell.verdict in stops]
    if unexpected:
        code, summary = UNEXPECTED, f"{_count(unexpected)} not as expected"
        if blocked:
            summary += f", {len(blocked)} blocked"
    elif blocked:
        code, summary = BLOCKED, f"{_count(blocked)} blocked"
    elif problems:
        code, summary = BLOCKED, "the results are incomplete"
    elif not standing:
        code, summary = BLOCKED, "nothing was judged, as there are no results"
    else:
        code, summary = PASSED, f"{_count(standing)} as expected"

    worst_first = sorted(unexpected + blocked, key=lambda cell: -cell.verdict.severity)
    lines = [f"missing: {one_line(problem)}" for problem in problems]
    lines += [_line(cell) for cell in worst_first]
    counts = Counter(cell.verdict for cell in standing)
    tally = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    word = "passed" if code == PASSED else "not passed"
    if problems and (unexpected or blocked):
        summary += ", the results are incomplete"
    summary = f"gate ({policy}): {word}: {summary}" + (f" ({tally})" if tally else "")
    if policy == "none" and code != PASSED:
        code = PASSED
        summary += "; the exit status is 0 all the same"
    return GateResult(code, [*lines, summary])


def gate_faults(cells: Iterable[Cell], fault: str, *, problems: Sequence[str] = ()) -> GateResult:
    """Judge the scenarios of a run in which ``fault`` struck every cell: 1 where one cannot tell.

    A scenario cannot tell where it took the fault for its symptom, on a build that is expected to
    be free of it.
    """
    standing = [results.standing for results in repeats(cells).values()]
    mistaken = [one for one in standing if one.verdict in (Verdict.REGRESSED, Verdict.DISCOVERED)]
    lines = [f"missing: {one_line(problem)}" for problem in problems] + [_line(one) for one in mistaken]
    counts = Counter(one.observation for one in standing)
    tally = ", ".join(f"{counts[seen]} {seen}" for seen in Observation if counts[seen])
    code = UNEXPECTED if mistaken else BLOCKED if problems or not standing else PASSED
    says = f"{_count(mistaken)} took it for the symptom" if mistaken else "no cell took it for the symptom"
    word = "passed" if code == PASSED else "not passed"
    return GateResult(code, [*lines, f"fault {fault}: {word}: {says} ({tally or 'no results'})"])


def _count(cells: list[Cell]) -> str:
    return f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"


def _line(cell: Cell) -> str:
    build = f"{cell.build.name} ({cell.build.version})"
    if cell.peer:
        build += f" with {cell.peer.name} ({cell.peer.version})"
    reason = one_line(cell.reason) or "no reason was recorded"
    if len(reason) > _REASON:
        reason = f"{reason[: _REASON - 3]}..."
    where = f"evidence {cell.evidence}" if cell.evidence else "no evidence"
    return one_line(f"{cell.verdict}: {cell.scenario} on {build}: {reason} [{where}]")
