"""The compatibility matrix: documented issues x builds, as data (``matrix.json``)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from clusterproof.builds import Build, Expectation, Range, parse_version
from clusterproof.reports.history.flakes import Flakes
from clusterproof.reports.history.history import History, PastResult, Proof
from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.matrix.urls import build_id, build_page, cell_page, issue_page
from clusterproof.reports.results.answers import Answer, answer
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import FILENAME, Cell
from clusterproof.reports.results.verdicts import ROLES, Observation, Role, Verdict, expect

FORMAT = 2
_NUMBERED = re.compile(r"[0-9]+(\.[0-9]+)*")
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


class IssueOnBuild(_Part):
    """An issue on a build: the worst verdict of its scenarios, and these, worst first.

    ``expected`` is whether the ledger expected the results of all of them.
    """

    verdict: Verdict
    expected: bool
    scenarios: tuple[ScenarioOnBuild, ...]

    @property
    def role(self) -> Role:
        """The role of the scenario whose verdict it is, a reproduction where several have it."""
        return _counting(self.scenarios)[0].role

    @property
    def answer(self) -> Answer:
        """What the verdict says in plain words."""
        return answer(self.verdict, self.role)

    @property
    def by_substrate(self) -> dict[str, IssueOnBuild]:
        """The same for the scenarios on each substrate alone: what holds on one may not on another."""
        substrates = sorted({one.substrate for one in self.scenarios})
        if len(substrates) == 1:
            return {substrates[0]: self}
        return {
            name: _issue_on_build([one for one in self.scenarios if one.substrate == name])
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
        before = [one.previous or one.stands for one in self.scenarios if one.role != "injection"]
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


def build_matrix(
    cells: Iterable[Cell],
    ledger: Mapping[str, Issue],
    history: History | None = None,
    *,
    problems: Sequence[str] = (),
    source: str = FILENAME,
    whole: bool = False,
) -> Matrix:
    """Return the matrix of ``cells`` from ``source``, in which every issue of theirs is a row.

    With ``whole`` every issue of the ledger is one, also without results. Without ``history`` nothing
    is said of proof and earlier runs. Raises HistoryError where the history cannot be read.
    """
    cells = list(cells)
    groups = repeats(cells)
    columns = _columns(cells)
    issues_on_builds: dict[str, dict[str, list[ScenarioOnBuild]]] = {}
    for group in groups.values():
        cell = group.newest
        of_issue = issues_on_builds.setdefault(cell.issue, {})
        shown = scenario(group, ledger.get(cell.issue), history)
        of_issue.setdefault(build_id(cell.build), []).append(shown)
    if whole:
        issues_on_builds |= {issue: {} for issue in ledger if issue not in issues_on_builds}
    rows = [_row(issue, ledger.get(issue), history) for issue in issues_on_builds]
    rows.sort(key=lambda row: (not row.documented, row.area, row.id))
    counts = Counter(group.standing.verdict for group in groups.values())
    return Matrix(
        runs=_runs(cells),
        generated_from=ResultsFile(file=source, results=len(cells), problems=tuple(problems)),
        summary=Summary(
            scenarios=len(groups),
            unexpected=sum(
                n
                for verdict, n in counts.items()
                if not verdict.expected and verdict is not Verdict.BLOCKED
            ),
            blocked=counts[Verdict.BLOCKED],
            verdicts={verdict: counts[verdict] for verdict in Verdict if counts[verdict]},
            documented=len(ledger),
            judged=sum(row.documented and bool(issues_on_builds[row.id]) for row in rows),
        ),
        columns=columns,
        rows=tuple(rows),
        cells={
            row.id: {
                column.id: _issue_on_build(issues_on_builds[row.id][column.id])
                for column in columns
                if column.id in issues_on_builds[row.id]
            }
            for row in rows
        },
    )


def _columns(cells: Iterable[Cell]) -> tuple[Column, ...]:
    builds: dict[str, Build] = {}
    for cell in cells:
        name = build_id(cell.build)
        # A cell that did not run may not know what the image's bake found out; the others do.
        if name not in builds or builds[name].api_extensions is None:
            builds[name] = cell.build
    return tuple(
        Column(id=name, page=build_page(name), build=build)
        for name, build in sorted(builds.items(), key=lambda item: (*_place(item[1]), item[0]))
    )


def _place(build: Build) -> tuple[Any, ...]:
    """Return where ``build`` stands: numbered tracks come before those with a name, older first."""
    numbered = bool(_NUMBERED.fullmatch(build.track))
    track = parse_version(build.track) if numbered else build.track
    return build.product, not numbered, track, parse_version(build.version)


def _runs(cells: Iterable[Cell]) -> tuple[RunSpan, ...]:
    runs: dict[str, list[datetime]] = {}
    for cell in cells:
        runs.setdefault(cell.run, []).append(cell.started)
    return tuple(
        sorted(
            (RunSpan(id=run, first=min(at), last=max(at), results=len(at)) for run, at in runs.items()),
            key=lambda run: (run.first, run.id),
        )
    )


def scenario(group: Repeats, issue: Issue | None, history: History | None) -> ScenarioOnBuild:
    """Return what is said of the results in ``group``; ``issue`` is None where it is not in the ledger."""
    cell, stands = group.newest, group.standing.verdict
    record = history.recorded(cell.key) if history else None
    return ScenarioOnBuild(
        scenario=cell.scenario,
        page=cell_page(cell.key),
        role=cell.role,
        verdict=cell.verdict,
        stands=stands,
        expected=stands.expected,
        observation=cell.observation,
        expectation=cell.expectation,
        reason=cell.reason,
        seconds=cell.seconds,
        substrate=cell.substrate,
        peer=cell.peer,
        run=cell.run,
        started=cell.started,
        evidence=cell.evidence,
        repeats=group.verdicts,
        expects_now=_expects_now(cell, issue),
        previous=history.previous(cell) if history else None,
        runs=record.runs if record else None,
        flips=record.flips if record else None,
        flakes=record.flakes if record else None,
    )


def _expects_now(cell: Cell, issue: Issue | None) -> Expectation | None:
    """Return what the ledger expects of ``cell`` now, where that has changed since it was judged."""
    if issue is None:
        return None
    now = expect(issue.expects(cell.build), cell.role)
    # A scenario may not apply for reasons of its own, of which the ledger says nothing.
    known = cell.expectation is not Expectation.NOT_APPLICABLE
    return now if known and now is not cell.expectation else None


def _issue_on_build(scenarios: list[ScenarioOnBuild]) -> IssueOnBuild:
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
    return IssueOnBuild(
        verdict=_counting(ordered)[0].stands,
        expected=all(one.expected for one in ordered),
        scenarios=tuple(ordered),
    )


def _counting(scenarios: Sequence[ScenarioOnBuild]) -> Sequence[ScenarioOnBuild]:
    """Return those of ``scenarios``, worst first, that count: all where none does."""
    # A symptom that was brought about says nothing of the build, as long as it was recognised.
    return [one for one in scenarios if one.role != "injection" or not one.expected] or scenarios


def _peer(one: ScenarioOnBuild | Cell) -> str:
    return build_id(one.peer) if one.peer else ""


def _row(issue_id: str, issue: Issue | None, history: History | None) -> IssueRow:
    proof = _proof_state(history.proof(issue_id)) if history else None
    if issue is None:
        return IssueRow(
            id=issue_id,
            page=issue_page(issue_id),
            documented=False,
            title=f"{issue_id} (not in the ledger)",
            proof=proof,
        )
    return IssueRow(
        id=issue.id,
        page=issue_page(issue.id),
        documented=True,
        title=issue.title,
        kind=issue.kind,
        area=issue.area,
        products=issue.products,
        upstream=issue.upstream,
        needs=issue.needs,
        symptom=issue.symptom.words,
        workaround=issue.workaround,
        ranges=issue.ranges,
        proof=proof,
    )


def _proof_state(proof: Proof) -> ProofState:
    if proof.symptom and proof.conforms:
        return ProofState(
            state="proven",
            says=f"symptom seen on {_seen(proof.symptom)}, correct behaviour on {_seen(proof.conforms)}",
        )
    if proof.symptom:
        return ProofState(
            state="one-sided", says=f"symptom seen on {_seen(proof.symptom)}; never seen to conform"
        )
    if proof.conforms:
        return ProofState(
            state="one-sided",
            says=f"correct behaviour seen on {_seen(proof.conforms)}; symptom never seen",
        )
    return ProofState(state="unproven", says="neither the symptom nor correct behaviour was seen so far")


def _seen(past: PastResult) -> str:
    how = "" if past.role == "reproduction" else f" ({past.role})"
    return f"{NAMES.get(past.product, past.product)} {past.version}{how}"
