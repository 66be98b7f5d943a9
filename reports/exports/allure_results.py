"""Results as Allure reads them: one test for each scenario, an environment for each build.

Written with the model and the writer of allure-pytest, from a cell and the evidence that was kept of
it: so a run writes its results as they come, and those of other hosts or of older runs can be
written later, by the same code. What makes two results the same test, and the same line of history,
follows from the cell alone, and so does the address of a test's page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import (
    ATTACHMENT_PATTERN,
    Attachment,
    Label,
    Link,
    Parameter,
    Status,
    StatusDetails,
    TestResult,
    TestStepResult,
)

from clusterproof.builds import Build
from clusterproof.reports.history.history import PastResult
from clusterproof.reports.history.repeats import repeats
from clusterproof.reports.matrix.matrix import NAMES
from clusterproof.reports.matrix.urls import build_id, cell_page, issue_page
from clusterproof.reports.results.answers import answer, cell_in_words, in_words, meaning
from clusterproof.reports.results.kept_evidence import SYMPTOM, folder_of, walk
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.results.sanitize import plain
from clusterproof.reports.results.timeline import TRANSCRIPT, Step, Timeline, read_timeline
from clusterproof.reports.results.verdicts import Verdict

FOLDER = "allure-results"  # of a run's own folder
REPORT = "allure"  # the folder of the report in a site
# Allure makes links of whole addresses only, and a site does not know where it will stand: the
# report's page makes links at this address, which cannot exist, relative ones.
SITE = "https://site.invalid/"

# A known bug that shows is a failed test, as in pytest: Allure, too, is to report what was observed.
STATUSES = {
    Verdict.REGRESSED: Status.FAILED,
    Verdict.DISCOVERED: Status.FAILED,
    Verdict.FAILED: Status.FAILED,
    Verdict.REPRODUCED: Status.FAILED,
    Verdict.SILENTLY_FIXED: Status.PASSED,
    Verdict.CONFORMS: Status.PASSED,
    Verdict.CLEAR: Status.PASSED,
    Verdict.INVALID: Status.BROKEN,
    Verdict.BLOCKED: Status.BROKEN,
    Verdict.UNTESTABLE: Status.SKIPPED,
    Verdict.NOT_APPLICABLE: Status.SKIPPED,
}
_LOGS = ("daemon", "journal")  # what the names of logs worth reading begin with
_LOG = 24_000  # bytes of a log, its end
_SHORT = 600  # characters of a step's error or output
_NAME = 64  # characters that Allure allows in the name of an environment


def address(key: Key) -> str:
    """Return where the newest result of a cell is shown, relative to the site's front page."""
    return f"{REPORT}/index.html#{_md5(result_id(key))}"


def history_id(key: Key) -> str:
    """Return what Allure knows one line of history by: the test, and its parameters."""
    return f"{_md5(f'ALLURE_ID={_test(key)}')}.{_md5(f'build:{_build(key)}')}"


def environments(builds: Iterable[Build]) -> list[dict[str, str]]:
    """Return the environments of a report: one for each build, in their order."""
    unique = {(build.product, build.version): build for build in builds}
    return [
        {
            "id": f"{build.product}-{_md5(build_id(build))[:12]}",
            "name": f"{NAMES.get(build.product, build.product)} {build.version}".replace("/", "-")[:_NAME],
            "product": build.product,
            "version": build.version,
        }
        for build in sorted(unique.values(), key=lambda build: build.order)
    ]


def categories() -> list[dict[str, str]]:
    """Return the categories of a report: the verdicts worth reading, the worst first."""
    worth_reading = [one for one in Verdict if not one.expected or one is Verdict.REPRODUCED]
    return [
        {"verdict": one, "name": f"{one.sign} {in_words(answer(one), one)}: {one.meaning}"}
        for one in worth_reading
    ]


class AllureResults:
    """A folder of results for Allure, which gets one file for each result, and its attachments.

    ``ledger`` has the documented issues by id. With ``linked`` results have links to the pages of
    the site that the report will be a part of.
    """

    def __init__(self, folder: Path, ledger: Mapping[str, Issue], *, linked: bool = False) -> None:
        self._writer: Any = AllureFileLogger(folder)  # type: ignore[no-untyped-call]
        self._ledger = ledger
        self._linked = linked

    def add(
        self, cell: Cell, run_dir: Path | None, *, uuid: str | None = None, shared: bool = False
    ) -> None:
        """Write the result of ``cell``, with steps and logs from the folder of its run, if that is here.

        ``uuid`` is what Allure knows the result by, by default one of its own for each time that the
        cell ran. ``shared`` says that an earlier result has its evidence in the same folder. Raises
        OSError.
        """
        uuid = uuid or result_id(cell.key, cell.started)
        kept = folder_of(run_dir, cell) if run_dir else None
        timeline = read_timeline(kept / TRANSCRIPT, cell.started, shared=shared) if kept else Timeline()
        result = _result(cell, uuid, kept, timeline, self._ledger.get(cell.issue))
        result.links = list(_links(cell, self._ledger.get(cell.issue), linked=self._linked))
        result.attachments = list(self._attached(uuid, kept))
        self._writer.report_result(result)

    def _attached(self, uuid: str, kept: Path | None) -> Iterator[Attachment]:
        """Attach the ends of the logs in ``kept``, as text."""
        if kept is None:
            return
        logs = [path for path, size in walk(kept) if size and path.name.startswith(_LOGS)]
        for number, path in enumerate(sorted(logs)):
            source = ATTACHMENT_PATTERN.format(prefix=f"{uuid}-{number}", ext="txt")
            self._writer.report_attached_data(_tail(path), source)
            yield Attachment(name=plain(str(path.relative_to(kept))), type="text/plain", source=source)


def write_results(
    folder: Path, cells: Iterable[Cell], runs: Mapping[str, Path], ledger: Mapping[str, Issue]
) -> int:
    """Write a result for each of ``cells`` into ``folder`` and return how many tests they are.

    ``runs`` are the folders of runs, as far as they are here: steps and logs come from there. The
    newest result of a cell has the address that the site leads to. Raises OSError.
    """
    results = AllureResults(folder, ledger, linked=True)
    groups = repeats(cells)
    for key, group in groups.items():
        for cell in group.results:
            uuid = result_id(key) if cell is group.newest else None
            results.add(cell, runs.get(cell.run), uuid=uuid, shared=len(group.results) > 1)
    return len(groups)


def write_history(path: Path, trails: Mapping[Key, Sequence[PastResult]], shown: Mapping[Key, str]) -> int:
    """Write what cells showed before, a line for each run, and return how many runs these are.

    ``trails`` are the newest results of every cell, ``shown`` is by cell the run whose result the
    report shows itself. Raises OSError.
    """
    points: dict[str, dict[str, Any]] = {}
    for key, trail in trails.items():
        for past in trail:
            if past.run == shown.get(key):
                continue
            at = _milliseconds(past.started)
            point = points.setdefault(past.run, _point(past.run))
            point["timestamp"] = max(point["timestamp"], at)
            identity = history_id(key)
            point["knownTestCaseIds"].append(identity.partition(".")[0])
            point["testResults"][identity] = {
                "id": _md5(result_id(key, past.started)),
                "name": _name(key),
                "fullName": plain(key.scenario),
                "status": STATUSES[past.verdict],
                "message": past.verdict,
                "start": at,
                "stop": at,
                "labels": [],
                "url": "",
                "historyId": identity,
                "reportLinks": [],
            }
    in_order = sorted(points.values(), key=lambda point: (point["timestamp"], point["name"]))
    for point in in_order:
        point["knownTestCaseIds"] = sorted(set(point["knownTestCaseIds"]))
    path.write_text("".join(f"{json.dumps(point)}\n" for point in in_order), encoding="utf-8")
    return len(in_order)


def _point(run: str) -> dict[str, Any]:
    return {
        "uuid": _md5(run), "name": run, "timestamp": 0, "knownTestCaseIds": [], "testResults": {},
        "metrics": {}, "url": "",
    }  # fmt: skip


def _result(
    cell: Cell, uuid: str, kept: Path | None, timeline: Timeline, issue: Issue | None
) -> TestResult:
    key = cell.key
    start = _milliseconds(cell.started)
    words = f"{cell.verdict.sign} {cell_in_words(cell)}: {meaning(cell.verdict, cell.role)}"
    return TestResult(
        uuid=uuid,
        name=_name(key),
        fullName=plain(key.scenario),
        testCaseId=_test(key),
        historyId=history_id(key),
        status=STATUSES[cell.verdict],
        statusDetails=StatusDetails(
            message=plain(f"{words}\n{cell.reason}" if cell.reason else words),
            trace=_symptom(kept),
            known=cell.verdict is Verdict.REPRODUCED,
        ),
        description=plain(f"{issue.title}. {issue.symptom.words}" if issue else cell.issue),
        start=start,
        stop=start + round(cell.seconds * 1000),
        labels=[Label(name=name, value=plain(value)) for name, value in _labels(cell, issue)],
        parameters=[Parameter(name="build", value=_build(key), mode="hidden")],
        steps=list(_steps(timeline.steps, start)),
        titlePath=plain(key.scenario).partition("::")[0].split("/"),
    )


def _labels(cell: Cell, issue: Issue | None) -> Iterator[tuple[str, str]]:
    key = cell.key
    yield "ALLURE_ID", _test(key)
    yield "product", key.product
    yield "product_version", key.version
    yield "epic", issue.area if issue else "not in the ledger"
    yield "feature", f"{cell.issue}: {issue.title}" if issue else cell.issue
    yield "issue", cell.issue
    yield "answer", answer(cell.verdict, cell.role)
    yield "verdict", cell.verdict
    yield "tag", cell.verdict
    yield "expectation", cell.expectation
    yield "observation", cell.observation
    yield "role", cell.role
    yield "substrate", cell.substrate
    yield "run", cell.run
    yield "framework", "pytest"


def _links(cell: Cell, issue: Issue | None, *, linked: bool) -> Iterator[Link]:
    if linked:
        yield Link(type="link", name="this result in the matrix", url=SITE + cell_page(cell.key))
        yield Link(type="link", name=plain(f"all of {cell.issue}"), url=SITE + issue_page(cell.issue))
    for url in issue.upstream if issue else ():
        yield Link(type="issue", name=url.removeprefix("https://"), url=url)


def _steps(steps: Sequence[Step], start: int) -> Iterator[TestStepResult]:
    """Yield the steps of a transcript; what was done for a check is inside it."""
    check: TestStepResult | None = None
    for step in steps:
        shown = _step(step, start)
        if step.inside and check:
            check.steps.append(shown)
            continue
        if check:
            yield check
        check = shown
    if check:
        yield check


def _step(step: Step, start: int) -> TestStepResult:
    begin = start + round((step.offset or 0.0) * 1000)
    who = "" if step.verb == "check" else f"{step.target} "
    mark = f" [{step.mark}]" if step.trouble else ""
    often = f" ({step.times} times)" if step.times > 1 else ""
    return TestStepResult(
        name=f"{who}{step.verb}: {step.what}{often}{mark}",
        status=Status.FAILED if step.trouble == "error" else Status.PASSED,
        statusDetails=StatusDetails(message=step.error[:_SHORT]) if step.error else None,
        start=begin,
        stop=begin + round((step.seconds or 0.0) * 1000),
        parameters=[Parameter(name=part.label, value=_cut(part.text)) for part in step.sections],
    )


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]} [...]"


def _symptom(kept: Path | None) -> str:
    path = kept / SYMPTOM if kept else None
    return _tail(path) if path and path.is_file() and not path.is_symlink() else ""


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LOG))
        text = file.read(_LOG).decode(errors="replace")
    if size > _LOG:
        # The line that was cut belongs to what is left out, unless there is no other.
        whole = text.partition("\n")[2] or text
        text = f"[... the beginning is left out: {size} bytes in all ...]\n{whole}"
    return plain(text)


def _name(key: Key) -> str:
    """Return a test's name with its build, which Allure shows only as an environment elsewhere."""
    test = key.scenario.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    product = NAMES.get(key.product, key.product)
    build = f"{product} {key.version}"
    if key.peer_version:
        build = f"{NAMES.get(key.peer_product, key.peer_product)} {key.peer_version} to {build}"
    where = "" if key.substrate == "container" else f", {key.substrate}"
    return plain(f"{key.issue}: {test} [{build}{where}]")


def _test(key: Key) -> str:
    return plain(f"{key.issue}/{key.scenario}")


def _build(key: Key) -> str:
    """Return what distinguishes the results of one test: the build, and how a cluster came to it."""
    parts = [f"{key.product}@{key.version}"]
    if key.peer_version:
        parts.append(f"from {key.peer_product}@{key.peer_version}")
    return " ".join([*parts, key.substrate, key.role])


def result_id(key: Key, started: datetime | None = None) -> str:
    """Return what Allure knows a result by: of the cell's newest one, or of the one that began then."""
    return _md5("\0".join([*key, started.isoformat() if started else ""]))


def _md5(text: str) -> str:
    # As Allure does it, for identities and not for safety.
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
