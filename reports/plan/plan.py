"""What a run is going to do: its cells, how long they take, and what is left out and why."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from clusterproof.reports.plan.priority import Candidate, Why
from clusterproof.reports.results.atomic import put
from clusterproof.reports.results.verdicts import Verdict

FILENAME = "plan.json"
LEFT_OUT = "left-out.txt"
FORMAT = 1
_MINUTE = 60.0  # seconds


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Planned(_Part):
    """A cell of the plan: ``seconds`` it is expected to take, by ``basis``; ``last`` is its newest verdict."""

    name: str
    issue: str
    build: str
    substrate: str
    seconds: float
    basis: str
    why: Why
    last: Verdict | None

    @classmethod
    def of(cls, one: Candidate, basis: str) -> Planned:
        """Return candidate ``one``, whose seconds are known by ``basis``."""
        return cls(
            name=one.name,
            issue=one.key.issue,
            build=one.build.name,
            substrate=one.key.substrate,
            seconds=round(one.seconds, 3),
            basis=basis,
            why=one.why,
            last=one.past.verdict if one.past else None,
        )


class PlannedBuild(_Part):
    """A build that cells need; ``missing`` says for which substrates its image has to be made first.

    ``revision`` is that of a snap, which its channel had when the plan was made.
    """

    name: str
    version: str
    missing: tuple[str, ...]
    revision: int | None = None

    @property
    def asked(self) -> str:
        """What ``--build`` takes for exactly this build, like ``lxd@5.21/edge=33110``."""
        return f"{self.name}={self.revision}" if self.revision else self.name


class Shard(_Part):
    """One share of a selection; ``index`` counts from 1.

    ``shares`` are the names of the cells in each shard, ``seconds`` is what each is expected to take
    with one worker. ``cut`` names the cut: shards that are to be joined have the same.
    """

    index: int
    cut: str
    seconds: tuple[float, ...]
    shares: tuple[tuple[str, ...], ...]

    @property
    def count(self) -> int:
        """How many shards there are."""
        return len(self.shares)

    @property
    def cells(self) -> int:
        """How many cells are in all shards together."""
        return sum(len(share) for share in self.shares)

    def __str__(self) -> str:
        """Return it as it is asked for, with the cut's name."""
        return f"{self.index}/{self.count} (cut {self.cut})"


class Plan(_Part):
    """What a run does: ``plan.json``, which ``--plan`` prints and every limited run keeps.

    ``budget`` is in seconds, None where there is none; ``left_out`` is what was selected and is in no
    shard, as the budget is not enough or enough is known of it. ``results`` counts the cells that
    history knows.
    """

    format: int = FORMAT
    budget: float | None
    workers: int
    shard: Shard | None
    results: int
    builds: tuple[PlannedBuild, ...]
    cells: tuple[Planned, ...]
    left_out: tuple[Planned, ...]

    @property
    def seconds(self) -> float:
        """How long the cells take with all workers: none is cut in two."""
        seconds = [one.seconds for one in self.cells]
        return max(sum(seconds) / self.workers, max(seconds, default=0.0))

    def summary(self) -> str:
        """Return it in one line."""
        parts = []
        if self.budget is not None:
            parts.append(f"budget {_time(self.budget)}")
        if self.shard:
            parts.append(f"shard {self.shard}")
        of = f" of {self.shard.cells}" if self.shard else ""
        cells = f"{len(self.cells)}{of} cells, about {_time(self.seconds)}"
        if self.workers > 1:
            cells += f" with {self.workers} workers"
        line = f"{', '.join(parts) or 'plan'}: {cells}"
        return f"{line}; {self.omitted()}" if self.left_out else line

    def omitted(self) -> str:
        """Say how many cells are left out, by what would have made them worth running."""
        counts = Counter(one.why for one in self.left_out)
        why = ", ".join(f"{counts[why]} {why}" for why in Why if counts[why])
        return f"{len(self.left_out)} left out ({why})"

    def lines(self) -> Iterator[str]:
        """Yield the plan for a person to read: what will not run first, as the end is what a screen shows."""
        if self.left_out:
            yield from _table(self.left_out, "left out:")
            yield ""
        yield from _table(self.cells, "cells:")
        yield ""
        yield from self._by_build()
        yield f"issues: {len({one.issue for one in self.cells})} are reached"
        if self.shard:
            shares = ", ".join(
                f"{index}/{self.shard.count} {_time(seconds / self.workers)}"
                for index, seconds in enumerate(self.shard.seconds, start=1)
            )
            yield f"shards: {shares}"
        guesses = sum(one.basis != "last time" for one in self.cells)
        yield (
            f"times: {len(self.cells) - guesses} cells as they took last time, "
            f"{guesses} (~) as on other builds or by guess; history knows {self.results} cells"
        )
        yield self.summary()

    def _by_build(self) -> Iterator[str]:
        yield "builds:"
        width = max((len(one.name) for one in self.builds), default=0)
        for build in self.builds:
            mine = [one for one in self.cells if one.build == build.name]
            substrates = ", ".join(sorted({one.substrate for one in mine})) or "only changed from or to"
            to_bake = f"to be baked first, which takes longer: {', '.join(build.missing)}"
            image = to_bake if build.missing else f"ready: {build.version}"
            if build.revision:
                image = f"revision {build.revision}, {image}"
            time = _time(sum(one.seconds for one in mine))
            yield f"  {build.name:{width}}  {len(mine):4} cells  {time:>8}  {substrates}; {image}"


def make_plan(
    candidates: Sequence[Candidate],
    bases: dict[str, str],
    builds: Iterable[PlannedBuild],
    shares: Sequence[Sequence[str]],
    *,
    index: int | None = None,
    workers: int,
    results: int,
    budget: float | None = None,
) -> Plan:
    """Return the plan of the cells named in share ``index`` (from 1) of ``shares``.

    Without ``index`` there is one share, which is no shard. ``bases`` says by cell's name how its
    time is known. Candidates in no share are left out.
    """
    by_name = {one.name: one for one in candidates}
    dealt = [[by_name[name] for name in share] for share in shares]
    shard = index and Shard(
        index=index,
        cut=cut_id(shares),
        seconds=tuple(round(sum(one.seconds for one in share), 3) for share in dealt),
        shares=tuple(map(tuple, shares)),
    )
    chosen = {name for share in shares for name in share}
    return Plan(
        budget=budget,
        workers=workers,
        shard=shard or None,
        results=results,
        builds=tuple(builds),
        cells=tuple(Planned.of(one, bases[one.name]) for one in dealt[(index or 1) - 1]),
        left_out=tuple(Planned.of(one, bases[one.name]) for one in candidates if one.name not in chosen),
    )


def cut_id(shares: Sequence[Sequence[str]]) -> str:
    """Return a name for the cut into ``shares``: the same for the same cells in the same places."""
    text = json.dumps([sorted(share) for share in shares])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write(folder: Path, plan: Plan) -> None:
    """Keep ``plan`` in the run's folder, and beside it the names of what is left out."""
    if plan.left_out:
        text = "".join(f"{one.name}\t{one.seconds:.1f} s\t{one.why}\n" for one in plan.left_out)
        put(folder / LEFT_OUT, text)
    save(folder / FILENAME, plan)


def save(path: Path, plan: Plan) -> None:
    """Write ``plan`` as JSON, all or nothing. Raises OSError."""
    put(path, plan.model_dump_json(indent=1) + "\n")


def read(folder: Path) -> Plan | None:
    """Return the plan of the run in ``folder``, None where it keeps none.

    Raises ValueError where the file cannot be understood, OSError where it cannot be read.
    """
    try:
        return Plan.model_validate_json((folder / FILENAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _table(cells: Sequence[Planned], heading: str) -> Iterator[str]:
    yield heading
    width = max((len(one.why) for one in cells), default=0)
    for one in cells:
        guess = " " if one.basis == "last time" else "~"
        yield f"  {guess}{one.seconds:6.1f} s  {one.substrate:9}  {one.why:{width}}  {one.name}"


def _time(seconds: float) -> str:
    return f"{seconds / _MINUTE:.1f} min" if seconds >= _MINUTE else f"{seconds:.0f} s"
