"""The matrix as it is made from results, the ledger and the history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from clusterproof.builds import Build, Expectation, parse_version
from clusterproof.reports.history.history import History, PastResult, Proof
from clusterproof.reports.history.repeats import Repeats, repeats
from clusterproof.reports.matrix.matrix import (
    NAMES,
    Column,
    IssueOnBuild,
    IssueRow,
    Matrix,
    ProofState,
    ResultsFile,
    RunSpan,
    ScenarioOnBuild,
    Summary,
)
from clusterproof.reports.matrix.urls import build_id, build_page, cell_page, issue_page
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import FILENAME, Cell
from clusterproof.reports.results.verdicts import Verdict, expect

_NUMBERED = re.compile(r"[0-9]+(\.[0-9]+)*")


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
                column.id: IssueOnBuild.of(issues_on_builds[row.id][column.id])
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
    now = expect(issue.expects(cell.build, cell.scenario), cell.role)
    # A scenario may not apply for reasons of its own, of which the ledger says nothing.
    known = cell.expectation is not Expectation.NOT_APPLICABLE
    return now if known and now is not cell.expectation else None


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
