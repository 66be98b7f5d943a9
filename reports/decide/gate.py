"""The gate: whether a run may pass, and if not, which cells stand in its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from clusterproof.builds import Expectation
from clusterproof.reports.decide.policy import Explanation, Policy
from clusterproof.reports.decide.same_failure import same_failures
from clusterproof.reports.decide.standing import Standing
from clusterproof.reports.history.repeats import repeats
from clusterproof.reports.results.answers import cell_in_words, tally
from clusterproof.reports.results.kept_evidence import pasteable
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Observation, Verdict

PASSED, UNEXPECTED, BLOCKED = 0, 1, 2
# Characters of a reason; all of it stands in the results.
_REASON = 240
# What contradicts the ledger cannot be understood without the claim and the last answers, which the reason has.
_CONTRADICTION = 1000
_CONTRADICTIONS = (Verdict.REGRESSED, Verdict.DISCOVERED, Verdict.SILENTLY_FIXED)


class Weight(StrEnum):
    """What an objection means for the run, the heaviest first."""

    FAILS = "fails"
    BLOCKS = "blocks"
    EXPLAINED = "explained"
    TOLERATED = "tolerated"

    @property
    def stops(self) -> bool:
        """Whether the run cannot pass with it."""
        return self in (Weight.FAILS, Weight.BLOCKS)


class Objection(NamedTuple):
    """A cell that the policy fails, blocks, explains or tolerates; ``why`` adds to the cell's own reason."""

    cell: Cell
    weight: Weight
    why: str = ""

    @property
    def build(self) -> str:
        """The build, and the other one of a change of build, with their full versions."""
        return build_of(self.cell)

    @property
    def reason(self) -> str:
        """What the cell says, on one line and in short."""
        return self._reason(_REASON)

    def _reason(self, most: int) -> str:
        reason = one_line(self.cell.reason) or "no reason was recorded"
        return reason if len(reason) <= most else f"{reason[: most - 3]}..."

    def line(self, run_dir: Path | None = None) -> str:
        """Return it as a line for a terminal, with a path that can be pasted where ``run_dir`` is the run's."""
        cell = self.cell
        where = f"evidence {pasteable(run_dir, cell.evidence)}" if cell.evidence else "no evidence"
        weight = "" if self.weight.stops else f"{self.weight}: "
        why = f" ({self.why})" if self.why else ""
        words = cell_in_words(cell)
        reason = self._reason(_CONTRADICTION if cell.verdict in _CONTRADICTIONS else _REASON)
        return one_line(
            f"{weight}{words}: {cell.scenario} on {self.build}: {reason}{why} [{where}]"
        )


class GateResult(NamedTuple):
    """The exit code of a run, and the lines to print at its end, the summary last.

    ``outcome`` is what the exit code would be where the policy were enforced, ``says`` the summary
    in a few words. ``cells`` are the results that count, one for each cell; ``objections`` those that
    the policy objects to, the worst first; ``missing`` are results that are not there,
    and ``notes`` are about the policy, and about scenarios that failed alike everywhere.
    """

    exit_code: int
    lines: list[str]
    outcome: int
    says: str
    policy: str = ""
    cells: tuple[Cell, ...] = ()
    objections: tuple[Objection, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def having(self, weight: Weight) -> list[Objection]:
        """Return the objections of ``weight``."""
        return [one for one in self.objections if one.weight is weight]


def gate(
    cells: Iterable[Cell],
    policy: Policy,
    *,
    problems: Sequence[str] = (),
    before: Iterable[Cell] | None = None,
    today: date | None = None,
    run_dir: Path | None = None,
    stands_on: Standing | None = None,
) -> GateResult:
    """Judge the results of the run in ``run_dir`` by ``policy``; ``problems`` are the results that are missing.

    The exit code is 1 where a verdict fails the run, 2 where none does but cells are blocked,
    nothing was judged, or a result is missing, and 0 otherwise. ``before`` are the results of the
    predecessor, where the policy judges a build against it. ``today`` (in UTC, where not given)
    decides which explanations have expired. ``stands_on`` is what the run was to have of all cells there
    are: a policy that judges a build against its predecessor takes all of them.

    Of a cell that ran more than once the newest result counts; but a repeat lifts a block only,
    never an unexpected verdict: a bug that shows now and then is a bug.
    """
    standing = tuple(results.standing for results in repeats(cells).values())
    today = today or datetime.now(UTC).date()
    used: set[Explanation] = set()
    past = None if before is None else _Predecessor(before)
    found = [
        objection for cell in standing if (objection := _objection(cell, policy, past, today, used)) is not None
    ]
    missing = [*problems, *(past.missing(standing) if past else ())]
    if stands_on and policy.against:
        missing += stands_on.gaps
    blocked = [one for one in found if one.weight is Weight.BLOCKS]
    if len(blocked) <= policy.max_blocked and len(blocked) < len(standing):
        found = [
            one._replace(weight=Weight.TOLERATED) if one.weight is Weight.BLOCKS else one for one in found
        ]
    order = tuple(Weight)
    found.sort(key=lambda one: (order.index(one.weight), -one.cell.verdict.severity))
    notes = [
        f'the explanation of {one} explains nothing in this run; take it out ("{one.reason}")'
        for one in policy.explained
        if one not in used
    ]
    notes += same_failures(standing)
    stands = [f"stands on: {one}" for one in stands_on.lines] if stands_on else []
    code, says = _summed_up(policy, standing, found, missing if policy.complete else [])
    counts = tally((cell.verdict, cell.role) for cell in standing)
    word = "passed" if code == PASSED else "not passed"
    summary = f"gate ({policy.name}): {word}: {says}" + (f" ({counts})" if counts else "")
    if not policy.enforced and code != PASSED:
        summary += "; the exit status is 0 all the same"
    lines = [f"missing: {one_line(problem)}" for problem in missing]
    lines += [f"note: {one_line(note)}" for note in notes]
    lines += [one.line(run_dir) for one in found]
    lines += stands
    return GateResult(
        exit_code=code if policy.enforced else PASSED,
        lines=[*lines, summary],
        outcome=code,
        says=says,
        policy=policy.name,
        cells=standing,
        objections=tuple(found),
        missing=tuple(missing),
        notes=(*notes, *stands),
    )


def gate_faults(
    cells: Iterable[Cell],
    fault: str,
    *,
    problems: Sequence[str] = (),
    free: Sequence[str] = (),
    run_dir: Path | None = None,
) -> GateResult:
    """Judge the scenarios of the run in ``run_dir``, in which ``fault`` was injected into every cell.

    A scenario fails this check, and the exit code is 1, if it reports its symptom for the injected fault. Where
    the symptom is expected anyway this cannot be told, so that only cells count which expect none and into which
    the fault was injected; without one the exit code is 2. ``free`` are builds on which the cells would expect
    none.
    """
    standing = [results.standing for results in repeats(cells).values()]
    affected = [one for one in standing if one.expectation is Expectation.AFFECTED]
    counted = [one for one in standing if one not in affected and one.injected]
    mistaken = [Objection(one, Weight.FAILS) for one in counted if one.observation is Observation.SYMPTOM]
    lines = [f"missing: {one_line(problem)}" for problem in problems] + [one.line(run_dir) for one in mistaken]
    if affected:
        lines.append(
            f"note: {_count(len(affected))} not judged on {_builds(affected)}: "
            "they are expected to show the symptom, which then says nothing about the fault"
        )
    counts = Counter(one.observation for one in counted)
    observed = ", ".join(f"{counts[one]} {one}" for one in Observation if counts[one])
    code = UNEXPECTED if mistaken else BLOCKED if problems or not counted else PASSED
    says = f"{_count(len(mistaken))} took it for the symptom" if mistaken else "no cell took it for the symptom"
    where = f" on {_builds(counted)}" if counted else ""
    if not counted:
        says = "there is no cell that could"
        if free:
            says += f"; a build without the bug can judge: --build {free[0]}"
    word = "passed" if code == PASSED else "not passed"
    summary = f"fault {fault}: {word}: {says}{where} ({observed or 'no results'})"
    return GateResult(code, [*lines, summary], code, says)


def _builds(cells: Iterable[Cell]) -> str:
    return ", ".join(sorted({one.build.name for one in cells}))


def build_of(cell: Cell) -> str:
    """Return the cell's build, and the other one of a change of build, with their full versions."""
    build = f"{cell.build.name} ({cell.build.version})"
    return f"{build} with {cell.peer.name} ({cell.peer.version})" if cell.peer else build


class _Predecessor:
    """The predecessor's results, by what makes cells of two builds each other's counterpart."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells: dict[tuple[str, ...], Cell] = {}
        for results in repeats(cells).values():
            cell = results.standing
            other = self._cells.get(_counterpart(cell))
            # A scenario may have changed between several builds; what went worst is what was there.
            if other is None or _badness(other) < _badness(cell):
                self._cells[_counterpart(cell)] = cell

    def better_than(self, cell: Cell) -> str | None:
        """Return in words what the predecessor did if that was not as bad, else None."""
        other = self._cells.get(_counterpart(cell))
        if other is None or not other.observation.judged:
            # Then the cell's own verdict decides.
            return None if cell.verdict.expected else "its predecessor was not judged"
        if _badness(other) >= _badness(cell):
            return None
        return f"{other.build.name} {other.observation}"

    def missing(self, standing: Sequence[Cell]) -> list[str]:
        """Return which scenarios judged the predecessor and have no result of the build, one line each.

        Changes of build are left out: whether there is one depends on the neighbours of each build.
        """
        there = {_counterpart(cell) for cell in standing}
        return [
            f"{cell.scenario} judged {cell.build.name} and has no result of this build"
            for counterpart, cell in self._cells.items()
            if counterpart not in there and cell.observation.judged and cell.peer is None
        ]


def _counterpart(cell: Cell) -> tuple[str, ...]:
    return cell.issue, cell.scenario, cell.role, cell.substrate


def _badness(cell: Cell) -> int:
    """Return 1 where the product misbehaved, in whichever way, and 0 where it was not seen to."""
    return int(cell.observation in (Observation.SYMPTOM, Observation.OTHER_FAILURE))


def _objection(
    cell: Cell, policy: Policy, past: _Predecessor | None, today: date, used: set[Explanation]
) -> Objection | None:
    if cell.verdict in policy.fails:
        weight, why = Weight.FAILS, ""
        if past:
            better = past.better_than(cell)
            if better is None:
                return None
            why = better
    elif cell.verdict in policy.blocks:
        weight, why = Weight.BLOCKS, ""
    else:
        return None
    fitting = [one for one in policy.explained if one.fits(cell)]
    used.update(fitting)
    if valid := [one for one in fitting if one.expires >= today]:
        return Objection(cell, Weight.EXPLAINED, f"{valid[0].reason}; until {valid[0].expires}")
    if fitting:
        expired = f'its explanation expired on {fitting[0].expires}: "{fitting[0].reason}"'
        why = f"{why}; {expired}" if why else expired
    return Objection(cell, weight, why)


def _summed_up(
    policy: Policy, standing: Sequence[Cell], found: Sequence[Objection], missing: Sequence[str]
) -> tuple[int, str]:
    counts = Counter(one.weight for one in found)
    fails, blocks = counts[Weight.FAILS], counts[Weight.BLOCKS]
    wrong = "worse than on the predecessor" if policy.against else "not as expected"
    if fails:
        code, says = UNEXPECTED, f"{_count(fails)} {wrong}"
        if blocks:
            says += f", {blocks} blocked"
    elif blocks:
        code, says = BLOCKED, f"{_count(blocks)} blocked"
        if policy.max_blocked:
            says += f", at most {policy.max_blocked} may be"
    elif missing:
        return BLOCKED, "the results are incomplete"
    elif not standing:
        return BLOCKED, "nothing was judged, as there are no results"
    else:
        right = "none worse than on the predecessor" if policy.against else "as expected"
        says = f"{_count(len(standing) - len(found))} {right}"
        code = PASSED
    if missing:
        says += ", the results are incomplete"
    for weight, word in ((Weight.EXPLAINED, "explained"), (Weight.TOLERATED, "blocked and tolerated")):
        if counts[weight]:
            says += f", {counts[weight]} {word}"
    return code, says


def _count(number: int) -> str:
    return f"{number} cell{'' if number == 1 else 's'}"
