"""Proofs: what runs showed of an issue, as data beside its ledger entry.

``test_downgrade.proofs.jsonl`` stands beside ``test_downgrade.toml`` and has one line for each side of a bound,
and for the oldest and the newest build of a track that is affected, or free of it, as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from clusterproof.builds import Build
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Cell, RunId, Text
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Observation

SUFFIX = ".proofs.jsonl"
_LINES, _WIDTH = 2, 400  # lines that are kept of what showed a symptom, and characters of each


class ProofError(ValueError):
    """A line of a file of proofs cannot be read; the message names file, line and what is wrong."""


class ProofLine(BaseModel):
    """A reproduction that showed the symptom on a build, or saw it behave correctly.

    ``build`` has its full version, which for a sideloaded one ends with its SHA-256; ``peer`` is the build that
    it was reached from. ``scenario`` is pytest's node id without the parameters. ``suite`` and ``text`` are the
    digests of the result, ``run`` and ``started`` (UTC) say which one it is, ``results`` how many like it there
    were. ``lines`` are what showed the symptom; where the build behaved correctly there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    observation: Literal[Observation.SYMPTOM, Observation.CONFORMS]
    build: Build
    peer: Build | None = None
    scenario: Annotated[str, Field(min_length=1)]
    substrate: Literal["container", "vm", "existing"]
    suite: str
    text: str
    run: RunId
    started: AwareDatetime
    results: Annotated[int, Field(ge=1)] = 1
    lines: tuple[Text, ...] = ()

    @classmethod
    def of(cls, cell: Cell, lines: Sequence[str]) -> Self | None:
        """Return what ``cell``, whose symptom ``lines`` showed, proves.

        None where it is no reproduction, or did not see the build as it is.
        """
        seen = cell.observation
        if cell.role != "reproduction" or cell.fault:
            return None
        if seen is not Observation.SYMPTOM and seen is not Observation.CONFORMS:
            return None
        shown = [one_line(line)[:_WIDTH] for line in lines][:_LINES]
        return cls(
            observation=seen,
            build=cell.build,
            peer=cell.peer,
            scenario=cell.scenario,
            substrate=cell.substrate,
            suite=cell.suite,
            text=cell.text,
            run=cell.run,
            started=cell.started,
            lines=tuple(shown) if seen is Observation.SYMPTOM else (),
        )

    @property
    def says(self) -> str:
        """The proof in a few words: ``lxd@5.21.3 showed the symptom (test_previous_build, run 2026...)``."""
        saw = "showed the symptom" if self.observation is Observation.SYMPTOM else "behaved correctly"
        test = self.scenario.rpartition("::")[2]
        return f"{self.build.product}@{self.build.version} {saw} ({test}, run {self.run})"

    @property
    def cell(self) -> tuple[str, ...]:
        """What two proofs of one cell have in common."""
        peer = self.peer.version if self.peer else ""
        return self.scenario, self.build.product, self.build.version, peer, self.substrate


def proofs_file(issue: Issue) -> Path:
    """Return the file of the proofs of ``issue``, whether or not it is there."""
    return issue.path.with_name(issue.path.stem + SUFFIX)


def read_proofs(issue: Issue) -> list[ProofLine]:
    """Return the proofs of ``issue``, in the order of the file. Raises ProofError, naming file and line."""
    file = proofs_file(issue)
    shown = "/".join(file.parts[-3:])
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ProofError(f"{shown}: cannot be read ({error}); restore it from the repository") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(ProofLine.model_validate_json(line))
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in detail["loc"]) or "line"
            raise ProofError(f"{shown}:{number}: {key}: {detail['msg']}; restore the line") from None
    return found


def write_proofs(issue: Issue, proofs: Iterable[ProofLine]) -> None:
    """Write the file of the proofs of ``issue``, ordered by build; without any there is none. Raises OSError."""
    ordered = sorted(proofs, key=lambda one: (one.build.order, one.cell, one.observation))
    if ordered:
        put(proofs_file(issue), "".join(f"{one.model_dump_json(by_alias=True)}\n" for one in ordered))
    else:
        proofs_file(issue).unlink(missing_ok=True)


def gathered(new: Iterable[ProofLine], known: Iterable[ProofLine] = ()) -> list[ProofLine]:
    """Return a line for each cell and observation: the newest of ``new``, which counts those like it.

    Of a cell only its newest text counts. A line of ``known`` stays where ``new`` has none that counts as many.
    """
    counted: dict[tuple[object, ...], ProofLine] = {}
    for one in sorted(new, key=lambda one: (one.started, one.run)):
        key = (one.cell, one.text, one.observation)
        before = counted[key].results if key in counted else 0
        counted[key] = one.model_copy(update={"results": before + one.results})
    for one in known:
        key = (one.cell, one.text, one.observation)
        if key not in counted or counted[key].results < one.results:
            counted[key] = one
    newest = {one.cell: one.text for one in sorted(counted.values(), key=lambda one: one.started)}
    return [one for one in counted.values() if newest[one.cell] == one.text]
