"""The promise that a daemon does not crash: judged once for each build, over all cells of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from clusterproof.builds import Build
from clusterproof.reports.results.kept_evidence import pasteable
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import CRASH_WATCH, Cell, Crash, Key, Phases
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Observation, expect, judge

_SHOWN = 160  # characters of what a daemon said
# Which judgement stands where shards differ, all that there are.
_ORDER = (Observation.SYMPTOM, Observation.CONFORMS, Observation.LAB_ERROR, Observation.NOT_RUN)


def judge_crashes(cells: Iterable[Cell], issue: Issue, text: str) -> list[Cell]:
    """Return what ``cells`` of a run say of the promise ``issue``: a cell for each build that ran in them.

    ``text`` is the digest of the watch's own source. A build of which no cell counts is not judged.
    """
    of_build: dict[str, list[Cell]] = defaultdict(list)
    builds: dict[str, Build] = {}
    for cell in cells:
        if cell.scenario == CRASH_WATCH:
            continue
        for build in filter(None, (cell.build, cell.peer)):
            if build.product not in issue.products:
                continue
            of_build[build.name].append(cell)
            # A cell that did not run may not know what the image's bake found out; the others do.
            if build.name not in builds or builds[build.name].api_extensions is None:
                builds[build.name] = build
    return [_judged(build, of_build[name], issue, text) for name, build in builds.items()]


def join_judgements(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Yield for each build the one judgement that those in ``cells``, of the shards of a run, come to.

    One shard that saw a crash breaks the promise; one that was judged without any keeps it where no other did.
    """
    groups: dict[Key, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.scenario == CRASH_WATCH:
            groups[cell.key].append(cell)
    for group in groups.values():
        seen = {cell.observation for cell in group}
        alike = [cell for cell in group if cell.observation is next(one for one in _ORDER if one in seen)]
        crashes = {crash.digest: crash for cell in alike for crash in cell.crashes}
        yield alike[0].model_copy(
            update={
                "reason": "; ".join(dict.fromkeys(cell.reason for cell in alike)),
                "crashes": tuple(crashes.values()),
                "started": min(cell.started for cell in group),
            }
        )


def counts(cell: Cell) -> bool:
    """Say whether the watch's view of ``cell`` is a statement about the product.

    It is none where the product was not judged, where a fault was injected, or where the scenario brought its
    symptom about by hand: the crash may be the fault's or the hand's. The members of an existing cluster are not
    looked into.
    """
    return (
        cell.observation.judged
        and cell.role != "injection"
        and cell.fault is None
        and cell.substrate != "existing"
    )


def crash_lines(cells: Iterable[Cell], run_dir: Path | None = None) -> Iterator[str]:
    """Yield a line for each undocumented crash in ``cells``, of the run in ``run_dir``, that does not count."""
    others = [cell for cell in cells if cell.scenario != CRASH_WATCH and not counts(cell)]
    for build in dict.fromkeys(crash.build for cell in others for crash in cell.crashes):
        for found in _findings(others, build):
            yield f"not judged: a daemon of {build}: {_said(found, run_dir)}"


def _judged(build: Build, cells: Sequence[Cell], issue: Issue, text: str) -> Cell:
    counting = [cell for cell in cells if counts(cell)]
    findings, known = _findings(counting, build.name), []
    for one in issue.known_crashes:
        alike = [found for found in findings if one.matches(found[0][1].lines)]
        findings = [found for found in findings if found not in alike]
        known += [f"{_said(found)} is known (docs/findings/{one.finding}.md)" for found in alike]
    if findings:
        observation, reason = Observation.SYMPTOM, "; ".join(map(_said, findings))
    elif counting:
        observation = Observation.CONFORMS
        other = "other " if known else ""
        reason = f"no {other}daemon crashed in {_number(len(counting))} that {_were(counting)} judged"
        reason = "; ".join([*known, reason])
    else:
        blocked = any(cell.observation is Observation.LAB_ERROR for cell in cells)
        observation = Observation.LAB_ERROR if blocked else Observation.NOT_RUN
        seen = Counter(cell.observation for cell in cells)
        reason = "no cell of this build counts: " + ", ".join(f"{seen[one]} {one}" for one in sorted(seen))
    expectation = expect(issue.expects(build, CRASH_WATCH), "reproduction")
    substrates = [cell.substrate for cell in counting or cells]
    return Cell(
        run=cells[0].run,
        scenario=CRASH_WATCH,
        issue=issue.id,
        role="reproduction",
        build=build,
        substrate="container" if "container" in substrates else substrates[0],
        observation=observation,
        expectation=expectation,
        verdict=judge(expectation, observation),
        reason=reason,
        seconds=0.0,
        phases=Phases(),
        evidence=findings[0][0][0].evidence if findings else None,
        started=min(cell.started for cell in cells),
        suite=cells[0].suite,
        text=text,
        crashes=tuple(found[0][1] for found in findings),
    )


def _findings(cells: Iterable[Cell], build: str) -> list[list[tuple[Cell, Crash]]]:
    """Return the undocumented crashes of daemons of ``build``, with their cells: equal crashes are one."""
    found: dict[str, list[tuple[Cell, Crash]]] = defaultdict(list)
    for cell in cells:
        for crash in cell.crashes:
            if crash.is_finding and crash.build == build:
                found[crash.digest].append((cell, crash))
    return list(found.values())


def _said(found: Sequence[tuple[Cell, Crash]], run_dir: Path | None = None) -> str:
    cell, crash = found[0]
    cells = len({id(one) for one, _ in found})
    where = f"; see {pasteable(run_dir, cell.evidence)}" if cell.evidence else ""
    return (
        f"{crash.kind} of the daemon of {crash.member} in {_number(cells)} ({crash.digest}): "
        f"{one_line(crash.lines[0])[:_SHOWN]}{where}"
    )


def _number(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _were(cells: Sequence[Cell]) -> str:
    return "was" if len(cells) == 1 else "were"
