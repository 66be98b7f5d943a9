"""Results as Allure reads them: one test for each scenario, an environment for each build.

Made from results, transcripts and evidence, so that runs of other machines and older ones can be
shown, too. What makes two results the same test, and the same line of history, follows from the
cell alone, and so does the address of a test's page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from clusterproof.builds import Build
from clusterproof.reports.history.history import Past
from clusterproof.reports.history.repeats import repeats
from clusterproof.reports.matrix.matrix import NAMES
from clusterproof.reports.matrix.urls import build_id, cell_page, issue_page
from clusterproof.reports.results.kept_evidence import SYMPTOM, folder_of, walk
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.results.sanitize import plain
from clusterproof.reports.results.timeline import TRANSCRIPT, Step, Timeline, read_timeline
from clusterproof.reports.results.verdicts import Verdict

REPORT = "allure"  # the folder of the report in a site
# Allure makes links of whole addresses only. The report's page turns those at this one, which cannot
# exist, into relative ones: a site does not know where it will stand.
SITE = "https://site.invalid/"

# A known bug that shows is a failed test, as in pytest: Allure, too, is to say what was seen.
STATUSES = {
    Verdict.REGRESSED: "failed",
    Verdict.DISCOVERED: "failed",
    Verdict.FAILED: "failed",
    Verdict.REPRODUCED: "failed",
    Verdict.SILENTLY_FIXED: "passed",
    Verdict.CONFORMS: "passed",
    Verdict.CLEAR: "passed",
    Verdict.BLOCKED: "broken",
    Verdict.UNTESTABLE: "skipped",
    Verdict.NOT_APPLICABLE: "skipped",
}
_LOGS = ("daemon", "journal")  # what the names of logs worth reading begin with
_LOG = 24_000  # bytes of a log, its end
_SHORT = 600  # characters of what a step said
_NAME = 64  # characters that Allure allows in the name of an environment


def address(key: Key) -> str:
    """Return where the newest result of a cell is shown, relative to the site's front page."""
    return f"{REPORT}/index.html#{_md5(_uuid(key))}"


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
    """Return the categories of a report: verdicts that want to be read, the worst first."""
    telling = [one for one in Verdict if not one.expected or one is Verdict.REPRODUCED]
    return [{"verdict": one, "name": f"{one.sign} {one}: {one.meaning}"} for one in telling]


def write_results(
    folder: Path, cells: Iterable[Cell], runs: Mapping[str, Path], ledger: Mapping[str, Issue]
) -> int:
    """Write a result for each of ``cells`` into ``folder`` and return how many tests they are.

    ``runs`` are the folders of runs, as far as they are here: steps and logs come from there.
    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = repeats(cells)
    for key, group in groups.items():
        for cell in group.results:
            uuid = _uuid(key) if cell is group.newest else _uuid(key, cell.started)
            run = runs.get(cell.run)
            kept = folder_of(run, cell) if run else None
            timeline = Timeline()
            if kept:
                shared = len(group.results) > 1
                timeline = read_timeline(kept / TRANSCRIPT, cell.started, shared=shared)
            result = _result(cell, uuid, kept, timeline, ledger.get(cell.issue))
            result["attachments"] = list(_attached(folder, uuid, kept))
            _write(folder / f"{uuid}-result.json", result)
    return len(groups)


def write_history(path: Path, trails: Mapping[Key, Sequence[Past]], shown: Mapping[Key, str]) -> int:
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
                "id": _md5(_uuid(key, past.started)),
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
) -> dict[str, Any]:
    key = cell.key
    start = _milliseconds(cell.started)
    says = f"{cell.verdict.sign} {cell.verdict}: {cell.verdict.meaning}"
    return {
        "uuid": uuid,
        "name": _name(key),
        "fullName": plain(key.scenario),
        "testCaseId": _test(key),
        "historyId": history_id(key),
        "status": STATUSES[cell.verdict],
        "statusDetails": {
            "message": plain(f"{says}\n{cell.reason}" if cell.reason else says),
            "trace": _symptom(kept),
            "known": cell.verdict is Verdict.REPRODUCED,
        },
        "description": plain(f"{issue.title}. {issue.symptom.words}" if issue else cell.issue),
        "start": start,
        "stop": start + round(cell.seconds * 1000),
        "labels": [{"name": name, "value": plain(value)} for name, value in _labels(cell, issue)],
        "parameters": [{"name": "build", "value": _build(key), "mode": "hidden"}],
        "links": list(_links(cell, issue)),
        "steps": list(_steps(timeline.steps, start)),
        "titlePath": plain(key.scenario).partition("::")[0].split("/"),
    }


def _labels(cell: Cell, issue: Issue | None) -> Iterator[tuple[str, str]]:
    key = cell.key
    yield "ALLURE_ID", _test(key)
    yield "product", key.product
    yield "product_version", key.version
    yield "epic", issue.area if issue else "not in the ledger"
    yield "feature", f"{cell.issue}: {issue.title}" if issue else cell.issue
    yield "issue", cell.issue
    yield "verdict", cell.verdict
    yield "tag", cell.verdict
    yield "expectation", cell.expectation
    yield "observation", cell.observation
    yield "role", cell.role
    yield "substrate", cell.substrate
    yield "run", cell.run
    yield "framework", "pytest"


def _links(cell: Cell, issue: Issue | None) -> Iterator[dict[str, str]]:
    yield {"type": "link", "name": "this cell in the matrix", "url": SITE + cell_page(cell.key)}
    yield {"type": "link", "name": plain(f"all of {cell.issue}"), "url": SITE + issue_page(cell.issue)}
    for url in issue.upstream if issue else ():
        yield {"type": "issue", "name": url.removeprefix("https://"), "url": url}


def _steps(steps: Sequence[Step], start: int) -> Iterator[dict[str, Any]]:
    """Yield the steps of a transcript; what was done for a check is inside it."""
    check: dict[str, Any] | None = None
    for step in steps:
        told = _step(step, start)
        if step.inside and check:
            check["steps"].append(told)
            continue
        if check:
            yield check
        check = told
    if check:
        yield check


def _step(step: Step, start: int) -> dict[str, Any]:
    begin = start + round((step.offset or 0.0) * 1000)
    who = "" if step.verb == "check" else f"{step.target} "
    mark = f" [{step.mark}]" if step.trouble else ""
    often = f" ({step.times} times)" if step.times > 1 else ""
    return {
        "name": f"{who}{step.verb}: {step.what}{often}{mark}",
        "status": "failed" if step.trouble == "error" else "passed",
        "statusDetails": {"message": step.error[:_SHORT]} if step.error else {},
        "start": begin,
        "stop": begin + round((step.seconds or 0.0) * 1000),
        "parameters": [{"name": part.label, "value": _cut(part.text)} for part in step.sections],
        "steps": [],
    }


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]} [...]"


def _symptom(kept: Path | None) -> str:
    path = kept / SYMPTOM if kept else None
    return _tail(path) if path and path.is_file() and not path.is_symlink() else ""


def _attached(folder: Path, uuid: str, kept: Path | None) -> Iterator[dict[str, str]]:
    """Copy the ends of the logs in ``kept`` beside the results, as text, and yield what Allure has to know."""
    if kept is None:
        return
    logs = [path for path, size in walk(kept) if size and path.name.startswith(_LOGS)]
    for number, path in enumerate(sorted(logs)):
        source = f"{uuid}-{number}-attachment.txt"
        (folder / source).write_text(_tail(path), encoding="utf-8")
        yield {"name": plain(str(path.relative_to(kept))), "type": "text/plain", "source": source}


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
    test = key.scenario.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    return plain(f"{key.issue}: {test}")


def _test(key: Key) -> str:
    return plain(f"{key.issue}/{key.scenario}")


def _build(key: Key) -> str:
    """Return what tells the results of one test apart: the build, and how a cluster came to it."""
    told = [f"{key.product}@{key.version}"]
    if key.peer_version:
        told.append(f"from {key.peer_product}@{key.peer_version}")
    return " ".join([*told, key.substrate, key.role])


def _uuid(key: Key, started: datetime | None = None) -> str:
    parts = [*key, started.isoformat() if started else ""]
    return _md5("\0".join(parts))


def _md5(text: str) -> str:
    # As Allure does it, for identities and not for safety.
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8", errors="replace")
