"""The results of a run: one JSON line per cell, the source of truth for all reports."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from clusterproof.builds import Build, Expectation
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.verdicts import Observation, Role, Verdict, expect, judge

FILENAME = "results.jsonl"
PLANNED = "planned-cells.txt"
NOT_SELECTED = "not-selected.txt"
EVIDENCE = "evidence"
# What stands for the scenario where the crash watch judges: the function that watches, as there is no test.
CRASH_WATCH = "lab/cluster/crash_watch.py::crashes"
_SHOWN = 3  # scenarios that a message names


def _encodable(value: object) -> object:
    """Replace what cannot be written as UTF-8.

    Reasons quote logs and console output, where undecodable bytes arrive as lone surrogates.
    """
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, BeforeValidator(_encodable)]
Name = Annotated[str, Field(min_length=1), BeforeValidator(_encodable)]
# The name of a folder, so that a run cannot lead out of the folder that runs are in.
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]*$", max_length=100)]


class Phases(BaseModel):
    """Where a cell's time went, in seconds; ``host`` and ``members`` are 0 where shared.

    ``teardown`` is how long the next cell had to wait for it: containers are removed while that one begins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Seconds = 0.0
    members: Seconds = 0.0
    cluster: Seconds = 0.0
    scenario: Seconds = 0.0
    teardown: Seconds = 0.0


class Key(NamedTuple):
    """What makes two results results of the same cell, in whichever run. Empty where no peer."""

    issue: str
    scenario: str
    role: str
    product: str
    version: str
    peer_product: str
    peer_version: str
    substrate: str

    @classmethod
    def of(
        cls, issue: str, scenario: str, role: str, build: Build, peer: Build | None, substrate: str
    ) -> Self:
        """Return the identity of the cell of ``scenario`` on ``build``, with ``peer`` in a change of build."""
        return cls(
            issue=issue,
            scenario=scenario,
            role=role,
            product=build.product,
            version=build.version,
            peer_product=peer.product if peer else "",
            peer_version=peer.version if peer else "",
            substrate=substrate,
        )


class Crash(BaseModel):
    """A daemon that ended or panicked by itself while a cell ran.

    ``build`` is the name of the build that ``member`` ran then. ``kind`` is panic, assertion, signal, exit or
    killed (from outside), ``lines`` are the first of what it said, ``digest`` is the same for equal crashes.
    ``documented`` where it is the symptom of the cell's issue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: Name
    build: Name
    kind: Literal["panic", "assertion", "signal", "exit", "killed"]
    status: Text
    lines: tuple[Text, ...]
    digest: Name
    documented: bool = False

    @property
    def is_finding(self) -> bool:
        """Whether it breaks the promise that a daemon does not crash; a refusal to run does not."""
        return not self.documented and self.kind in ("panic", "assertion", "signal")


class Cell(BaseModel):
    """One result: what a scenario showed on a build.

    ``run`` names the run, ``scenario`` is pytest's node id without the parameters, ``issue`` the
    ledger's id. The judged build is ``build``; ``peer`` is the other one of an upgrade or
    downgrade. ``expectation`` is the scenario's, after its role was considered. ``seconds`` is the
    whole duration, ``evidence`` a folder beneath ``evidence/`` of the run's, ``started`` a time in UTC.
    ``suite`` is a digest of the scenarios and all that runs them: where it is the same, the same was asked of
    the product. ``text`` is a digest of the scenario alone, empty in results from before there was one:
    where it is the same, the scenario asked and recognised the same. ``fault`` names the fault that ``--fault``
    asked for, so that nothing is learnt of the build, and ``injected`` says whether the cell came so far.
    ``lab`` says what carried the cluster, with its kernel, and ``parts`` what the build consists of beside the
    product: the revisions of a snap's base and of snapd. Both are empty in results from before they were noted.

    Raises ValidationError (a ValueError) where the verdict is not the one that follows from
    expectation and observation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: RunId
    scenario: Name
    issue: Name
    role: Role
    build: Build
    peer: Build | None = None
    substrate: Literal["container", "vm", "existing"]
    observation: Observation
    expectation: Expectation
    verdict: Verdict
    reason: Text
    seconds: Seconds
    phases: Phases
    evidence: Text | None = None
    started: AwareDatetime
    suite: Name
    text: Text = ""
    fault: Name | None = None
    injected: bool = False
    crashes: tuple[Crash, ...] = ()
    lab: Text = ""
    parts: tuple[Text, ...] = ()

    @field_validator("started")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.astimezone(UTC)

    @field_validator("evidence")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        # The path becomes a link on the page: it must not lead out of the run's folder.
        if value is not None:
            path = PurePosixPath(value)
            odd = ".." in path.parts or "\\" in value or "\0" in value
            # What else is in the run's folder is not the cell's to name, and absolute paths begin with "/".
            if odd or path.parts[:1] != (EVIDENCE,) or path == PurePosixPath(EVIDENCE):
                raise ValueError(f'evidence "{value}" is not a path beneath {EVIDENCE}/ of the run\'s folder')
        return value

    @model_validator(mode="after")
    def _judged(self) -> Self:
        possible = {expect(expectation, self.role) for expectation in Expectation}
        if self.expectation not in possible:
            raise ValueError(
                f'expectation "{self.expectation}" in the role {self.role}: '
                "take the expectation from verdicts.expect()"
            )
        verdict = judge(self.expectation, self.observation)
        if self.verdict is not verdict:
            raise ValueError(
                f'verdict "{self.verdict}" does not follow from expectation "{self.expectation}" '
                f'and observation "{self.observation}"; it must be "{verdict}"'
            )
        return self

    @property
    def key(self) -> Key:
        """Identity of the cell: equal for repeats within a run and for other runs."""
        return Key.of(self.issue, self.scenario, self.role, self.build, self.peer, self.substrate)

    def line(self) -> str:
        """Return the cell as one line of JSON, without the line's end."""
        return self.model_dump_json(by_alias=True)


def append(path: Path, cell: Cell) -> None:
    """Add ``cell`` to ``path`` as one line that is on the disk when this returns.

    Several processes may do so at once. A line that an earlier process could not finish stays
    as it is and is ended first, so that it does not swallow this one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        torn = False
        if end:
            file.seek(end - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + cell.line().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write_planned(folder: Path, cells: Sequence[str]) -> None:
    """Write down which cells a run is to have, by pytest's names of them, before the first one runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLANNED).write_text("".join(f"{name}\n" for name in cells), encoding="utf-8")


def write_not_selected(folder: Path, cells: Mapping[str, str]) -> None:
    """Write down which cells there are and the run is not to have, by name, and why not."""
    put(folder / NOT_SELECTED, "".join(f"{name}\t{why}\n" for name, why in cells.items()))


def not_selected(folder: Path) -> dict[str, str] | None:
    """Return which cells the run in ``folder`` was not to have, and why; None where nothing says so."""
    try:
        lines = (folder / NOT_SELECTED).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return dict(line.partition("\t")[::2] for line in lines if line)


def scan(path: Path) -> Iterator[Cell | str]:
    """Yield the cells of ``path`` in the order they were written, and a text for each line that is none.

    Such a text is one line and begins with file:line. Raises OSError where there is no such file.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield Cell.model_validate_json(line)
            except ValidationError as error:
                # Only the last line can lack its end: what a killed process left.
                cut = "" if line.endswith(b"\n") else "cut off in the middle: "
                yield f"{path}:{number}: {cut}{_first(error)}"


def read(path: Path) -> tuple[list[Cell], list[str]]:
    """Return the cells of ``path`` in the order they were written, and what is missing of it.

    Every problem is one line: a line that could not be read begins with file:line, the others are
    kept; cells that were planned and never had a result, as in a run that was interrupted, are one
    problem together. Raises FileNotFoundError where there is no such file.
    """
    found = list(scan(path))
    cells = [one for one in found if isinstance(one, Cell)]
    problems = [one for one in found if isinstance(one, str)]
    return cells, problems + not_run(path, Counter(cell.scenario for cell in cells))


def not_run(path: Path, results: Mapping[str, int]) -> list[str]:
    """Say which planned cells have no result in ``path``, which has ``results`` by scenario.

    The list of planned cells is beside ``path``; without one nothing is missing.
    """
    file = path.with_name(PLANNED)
    if not file.exists():
        return []
    planned = [name.partition("[")[0] for name in file.read_text(encoding="utf-8").splitlines()]
    missing = Counter(planned) - Counter(results)
    if not missing:
        return []
    shown = ", ".join(sorted(missing)[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more scenarios" if len(missing) > _SHOWN else ""
    return [f"{missing.total()} of {len(planned)} planned cells have no result: {shown}{more}"]


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "json_invalid":
        return f"not a line of JSON ({message})"
    if detail["type"] == "missing":
        return f"{key}: missing"
    if not key:
        return message
    value = json.dumps(detail["input"], default=str, ensure_ascii=False)
    return f"{key}: {message} (value {value[:77] + '...' if len(value) > 80 else value})"  # noqa: PLR2004
