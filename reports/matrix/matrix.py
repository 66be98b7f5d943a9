"""The compatibility matrix: documented issues x builds, as data (``matrix.json``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from clusterproof.builds import Build, Expectation, Range
from clusterproof.reports.history.flakes import Flakes
from clusterproof.reports.matrix.urls import build_id
from clusterproof.reports.results.answers import Answer, answer
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.verdicts import ROLES, Observation, Role, Verdict

FORMAT = 2
NAMES = {"lxd": "LXD", "incus": "Incus"}  # as their makers write them


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSpan(_Part):
    """A run that results come from: its first and last cell's start (UTC) and how many results."""

    id: str
    first: datetime
    last: datetime
    results: int


class ResultsFile(_Part):
    """What the matrix was made from: ``problems`` are lines that could not be read."""

    file: str
    results: int
    problems: tuple[str, ...]


class Column(_Part):
    """A build; ``id`` is product@version, with the full version that was installed.

    Here and elsewhere ``page`` is the address of the page that tells more, relative to the front page.
    """

    id: str
    page: str
    build: Build


class ProofState(_Part):
    """Whether an issue's scenario was seen to distinguish affected from unaffected builds, and where."""

    state: Literal["proven", "one-sided", "unproven"]
    says: str


class IssueRow(_Part):
    """A documented issue. Of one that is not in the ledger (any more) only the id is known.

    ``proof`` is None where there is no history to ask.
    """

    id: str
    page: str
    documented: bool
    title: str
    kind: Literal["bug", "promise"] | None = None
    area: str = ""
    products: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    symptom: str = ""
    workaround: str | None = None
    ranges: tuple[Range, ...] = ()
    proof: ProofState | None = None


class ScenarioOnBuild(_Part):
    """What one scenario showed on one build: its newest result.

    ``evidence`` is a folder relative to the run's. ``repeats`` counts the verdicts of all its
    results, the newest among them; ``stands`` is the one that counts, which is an earlier
    unexpected one where the newest is better. ``expects_now`` is what the ledger expects now, where
    that is not what the verdict was judged by; nothing is judged again. ``previous`` is the verdict
    of an earlier run; ``runs``, ``flips`` and ``flakes`` are counted over all history. None without it.
    """

    scenario: str
    page: str
    role: Role
    verdict: Verdict
    stands: Verdict
    expected: bool
    observation: Observation
    expectation: Expectation
    reason: str
    seconds: float
    substrate: Literal["container", "vm", "existing"]
    peer: Build | None
    run: str
    started: datetime
    evidence: str | None
    repeats: dict[Verdict, int]
    expects_now: Expectation | None = None
    previous: Verdict | None = None
    runs: int | None = None
    flips: int | None = None
    flakes: Flakes | None = None

    @property
    def changed(self) -> bool:
        """Whether an earlier run gave another verdict than the one that stands now."""
        return self.previous is not None and self.previous is not self.stands


class WayOut(StrEnum):
    """What came of a documented workaround on a build that has the bug."""

    VERIFIED = "verified"
    FAILS = "fails"


class IssueOnBuild(_Part):
    """An issue on a build: the worst verdict of its scenarios that say something of it, and all, worst first.

    ``expected`` is whether the ledger expected the results of all of them.
    """

    verdict: Verdict
    expected: bool
    scenarios: tuple[ScenarioOnBuild, ...]

    @classmethod
    def of(cls, scenarios: Sequence[ScenarioOnBuild]) -> Self:
        """Return what ``scenarios`` together say of their issue on their build."""
        ordered = sorted(
            scenarios,
            key=lambda one: (
                -one.stands.severity,
                ROLES.index(one.role),
                one.scenario,
                _peer(one),
                one.substrate,
            ),
        )
        return cls(
            verdict=_counting(ordered)[0].stands,
            expected=all(one.expected for one in ordered),
            scenarios=tuple(ordered),
        )

    @property
    def telling(self) -> ScenarioOnBuild:
        """The scenario whose verdict it is, a reproduction where several have it."""
        return _counting(self.scenarios)[0]

    @property
    def role(self) -> Role:
        """The role of the telling scenario."""
        return self.telling.role

    @property
    def answer(self) -> Answer:
        """What the verdict says in plain words."""
        return answer(self.verdict, self.role)

    @property
    def judged(self) -> bool:
        """Whether it says of the build that it has the bug, is free of it, or fails otherwise."""
        return self.answer in (Answer.HAS_BUG, Answer.FREE, Answer.FAILS)

    @property
    def way_out(self) -> WayOut | None:
        """What came of the documented workaround where the bug is in the build; None where that was not seen."""
        tried = [one for one in self.scenarios if one.role == "workaround" and one.observation.judged]
        if self.answer is not Answer.HAS_BUG or not tried:
            return None
        held = all(one.observation is Observation.CONFORMS and one.expected for one in tried)
        return WayOut.VERIFIED if held else WayOut.FAILS

    @property
    def by_substrate(self) -> dict[str, IssueOnBuild]:
        """The same for the scenarios on each substrate alone: what holds on one may not on another."""
        substrates = sorted({one.substrate for one in self.scenarios})
        if len(substrates) == 1:
            return {substrates[0]: self}
        return {
            name: IssueOnBuild.of([one for one in self.scenarios if one.substrate == name])
            for name in substrates
        }

    @property
    def oldest(self) -> datetime:
        """When the result began that has not been renewed for the longest time."""
        return min(one.started for one in self.scenarios)

    @property
    def runs(self) -> int | None:
        """In how many runs the scenario with the fewest runs was; None without history."""
        counts = [one.runs for one in self.scenarios if one.runs is not None]
        return min(counts) if counts else None

    @property
    def flips(self) -> int:
        """How often scenarios changed what they show on this build."""
        return sum(one.flips or 0 for one in self.scenarios)

    @property
    def flakes(self) -> Flakes:
        """How often repeats of its scenarios differed."""
        return sum((one.flakes for one in self.scenarios if one.flakes), Flakes())

    @property
    def unexpected(self) -> tuple[ScenarioOnBuild, ...]:
        """The scenarios of which the ledger said something else."""
        return tuple(one for one in self.scenarios if not one.expected)

    @property
    def was(self) -> Verdict | None:
        """The worst verdict in the runs before, where that is not the one of now."""
        counted = [one for one in self.scenarios if _counts(one.role, one.previous or one.stands)]
        before = [one.previous or one.stands for one in counted]
        worst = max(before, key=lambda verdict: verdict.severity, default=self.verdict)
        return worst if worst is not self.verdict else None


class Summary(_Part):
    """How many scenarios have results on builds, by verdict (the worst first), and how many issues.

    ``unexpected`` leaves the blocked ones out. ``documented`` counts the ledger, ``judged`` the
    issues among them of which results exist.
    """

    scenarios: int
    unexpected: int
    blocked: int
    verdicts: dict[Verdict, int]
    documented: int
    judged: int


class Matrix(_Part):
    """The shape of ``matrix.json``, written with aliases (a build's ``schema``).

    ``columns`` are ordered by product, track and Debian's version order, ``rows`` by area and id;
    ``cells`` holds an IssueOnBuild by row id, then column id; without results there is no entry.
    """

    format: int = FORMAT
    runs: tuple[RunSpan, ...]
    generated_from: ResultsFile
    summary: Summary
    columns: tuple[Column, ...]
    rows: tuple[IssueRow, ...]
    cells: dict[str, dict[str, IssueOnBuild]]

    def row(self, issue: str) -> IssueRow:
        """Return the row of ``issue``, which results exist of."""
        return next(row for row in self.rows if row.id == issue)

    def column(self, build: str) -> Column:
        """Return the column of the build with the id ``build``, which results exist of."""
        return next(column for column in self.columns if column.id == build)

    def scenario(self, cell: Cell) -> ScenarioOnBuild:
        """Return what is said of ``cell`` and its repeats."""
        of_build = self.cells[cell.issue][build_id(cell.build)].scenarios
        wanted = (cell.scenario, cell.role, cell.substrate, _peer(cell))
        return next(
            one for one in of_build if (one.scenario, one.role, one.substrate, _peer(one)) == wanted
        )

    def scenarios(self) -> Iterator[ScenarioOnBuild]:
        """Yield what every scenario showed on every build."""
        for of_issue in self.cells.values():
            for on_build in of_issue.values():
                yield from on_build.scenarios

    def with_problems(self, problems: Sequence[str]) -> Matrix:
        """Return the same matrix, made from results that have ``problems``."""
        source = self.generated_from.model_copy(update={"problems": tuple(problems)})
        return self.model_copy(update={"generated_from": source})

    def json_text(self) -> str:
        """Return the text of ``matrix.json``, the same for the same input."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


def _counting(scenarios: Sequence[ScenarioOnBuild]) -> Sequence[ScenarioOnBuild]:
    """Return those of ``scenarios``, worst first, that count: all where none does."""
    return [one for one in scenarios if not one.expected or _counts(one.role, one.stands)] or scenarios


def _counts(role: Role, verdict: Verdict) -> bool:
    # Neither a symptom that was brought about nor a way out that works says whether the bug is in the build:
    # where the reproduction was not run, nothing is known.
    return role != "injection" and answer(verdict, role) is not Answer.WORKS


def _peer(one: ScenarioOnBuild | Cell) -> str:
    return build_id(one.peer) if one.peer else ""
