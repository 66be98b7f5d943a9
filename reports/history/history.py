"""The history of all runs: what a cell showed before, how stable it is, and what is proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from clusterproof.reports.history.database import Database, HistoryError, instant, moment
from clusterproof.reports.history.flakes import Flakes
from clusterproof.reports.results.results import Cell, Key
from clusterproof.reports.results.verdicts import Observation, Verdict

__all__ = [
    "CellHistory", "History", "HistoryError", "PastResult", "Proof", "RunResult", "RunSummary", "Sighting",
    "prove",
]  # fmt: skip

_JUDGED = frozenset(one.value for one in Observation if one.judged)
_SEEN_ARE = (Observation.SYMPTOM, Observation.CONFORMS)
_SEEN = """
SELECT observation, count(*), (
    SELECT id FROM results AS one
    WHERE one.cell = several.cell AND one.text = several.text AND one.observation = several.observation
    ORDER BY started DESC, run DESC LIMIT 1
)
FROM results AS several WHERE cell = ? AND text = ? AND observation IN (?, ?) GROUP BY observation
"""
_OF_RUNS = """
SELECT run, cell, started, verdict, (
    SELECT verdict FROM results AS older
    WHERE older.cell = one.cell AND older.run != one.run AND older.started < one.started
    ORDER BY started DESC, run DESC LIMIT 1
), seconds, suite
FROM results AS one WHERE run IN
"""
_NEWEST_TEXT = "SELECT started, run, text FROM results WHERE cell = ? ORDER BY started DESC, run DESC LIMIT 1"


class PastResult(NamedTuple):
    """What one cell showed once."""

    run: str
    scenario: str
    role: str
    product: str
    version: str
    started: datetime
    observation: Observation
    verdict: Verdict


class CellHistory(NamedTuple):
    """What is known of one cell.

    ``newest`` is its newest result, which took ``seconds``; ``runs`` and ``results`` count those it
    has in all. ``flips`` is how often its observation changed from one time to the next, ``changed``
    when it did so last; times when the product was not seen are passed over. ``previous`` is the
    verdict that ``previous_run`` ended with, the run before the newest one. The build is part of what
    a cell is, so a flip is never a new version: the product or the scenario is flaky, or has been
    changed; ``flakes`` counts only results of the same suite.
    """

    newest: PastResult
    seconds: float
    runs: int
    results: int
    flips: int
    changed: datetime | None
    previous: Verdict | None
    previous_run: str | None
    flakes: Flakes


class Sighting(NamedTuple):
    """How often a scenario observed one thing on one build, and when and where it did so last."""

    issue: str
    scenario: str
    role: str
    product: str
    version: str
    observation: Observation
    verdict: Verdict
    results: int
    run: str
    started: datetime

    @property
    def past(self) -> PastResult:
        """The newest time."""
        return PastResult(
            self.run, self.scenario, self.role, self.product, self.version,
            self.started, self.observation, self.verdict,
        )  # fmt: skip


class RunSummary(NamedTuple):
    """A run: its first and last cell's start (UTC), and how many results it has of each verdict."""

    id: str
    first: datetime
    last: datetime
    verdicts: dict[Verdict, int]

    @property
    def results(self) -> int:
        """How many results it has."""
        return sum(self.verdicts.values())

    @property
    def unexpected(self) -> int:
        """How many of them are not as documented, the blocked ones among them."""
        return sum(count for verdict, count in self.verdicts.items() if not verdict.expected)


class RunResult(NamedTuple):
    """A result as a run's page lists it; ``previous`` is the cell's verdict before it in another run, if any."""

    key: Key
    started: datetime
    verdict: Verdict
    previous: Verdict | None
    seconds: float
    suite: str

    @property
    def changed(self) -> bool:
        """Whether the run before had another verdict."""
        return self.previous is not None and self.previous is not self.verdict


class Proof(NamedTuple):
    """The two sides of an issue's proof, each the newest run that showed it, or None."""

    symptom: PastResult | None
    conforms: PastResult | None

    @property
    def proven(self) -> bool:
        """Whether the scenario was seen to distinguish affected from unaffected builds."""
        return self.symptom is not None and self.conforms is not None


class History:
    """The results of all runs, in the SQLite file ``path``, which is made where there is none.

    A context manager. Every method raises HistoryError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path)
        self._db = self._database.connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def record(self, cells: Iterable[Cell]) -> None:
        """Add ``cells``, all or none; those already there stay once, in whatever order they come."""
        self._database.add(cells)

    # One cell

    def previous(self, cell: Cell) -> Verdict | None:
        """Return the cell's verdict in the newest other run that began it before, if any."""
        with self._database.explained():
            row = self._db.execute(
                "SELECT verdict FROM results WHERE cell = ? AND run != ? AND started < ? "
                "ORDER BY started DESC, run DESC LIMIT 1",
                (self._database.number(cell.key), cell.run, instant(cell.started)),
            ).fetchone()
        return Verdict(row[0]) if row else None

    def recorded(self, key: Key) -> CellHistory | None:
        """Return what is known of the cell, if anything."""
        with self._database.explained():
            number = self._database.number(key)
            return None if number is None else self._cell_history(key, number)

    # All cells

    def records(self, issue: str | None = None) -> dict[Key, CellHistory]:
        """Return what is known of every cell, or of every one of ``issue``."""
        with self._database.explained():
            return {key: self._cell_history(key, number) for key, number in self._database.cells(issue)}

    def _cell_history(self, key: Key, number: int) -> CellHistory:
        rows = self._db.execute(
            "SELECT started, run, observation, verdict, suite, seconds FROM results WHERE cell = ? "
            "ORDER BY started, run",
            (number,),
        )
        return _summary(key, [_Result._make(row) for row in rows])

    def current(self) -> list[Cell]:
        """Return of every cell the results of its newest run, in the order they began."""
        with self._database.explained():
            rows = self._db.execute(
                "SELECT line FROM (SELECT id AS number, (SELECT run FROM results WHERE cell = cells.id "
                "ORDER BY started DESC, run DESC LIMIT 1) AS newest FROM cells) "
                "JOIN results ON cell = number AND run = newest ORDER BY started, run, cell"
            )
            return [Cell.model_validate_json(line) for (line,) in rows]

    def trail(self, issue: str, last: int) -> dict[Key, list[PastResult]]:
        """Return the newest ``last`` results of every cell of ``issue``, the newest at the end."""
        with self._database.explained():
            return {
                key: [
                    _past(key, *row)
                    for row in self._db.execute(
                        "SELECT * FROM (SELECT run, started, observation, verdict FROM results WHERE cell = ? "
                        "ORDER BY started DESC, run DESC LIMIT ?) ORDER BY started, run",
                        (number, last),
                    )
                ]
                for key, number in self._database.cells(issue)
            }

    def lines(self) -> Iterator[str]:
        """Yield all results as lines of JSON, by cell and time: the same for the same results."""
        with self._database.explained():
            for _, number in self._database.cells():
                for (line,) in self._db.execute(
                    "SELECT line FROM results WHERE cell = ? ORDER BY started, run", (number,)
                ):
                    yield line

    # Runs

    def summaries(self, last: int) -> list[RunSummary]:
        """Return the newest ``last`` runs, the newest first."""
        with self._database.explained():
            rows = self._db.execute(
                "SELECT run, verdict, count(*), min(started), max(started) FROM results GROUP BY run, verdict"
            ).fetchall()
        found = []
        for run, parts in groupby(rows, key=itemgetter(0)):
            of_run = list(parts)
            counts = {verdict: count for _, verdict, count, *_ in of_run}
            found.append(
                RunSummary(
                    run,
                    moment(min(first for *_, first, _ in of_run)),
                    moment(max(end for *_, end in of_run)),
                    {verdict: counts[verdict] for verdict in Verdict if verdict in counts},
                )
            )
        return sorted(found, key=lambda run: (run.first, run.id), reverse=True)[:last]

    def results_of(self, runs: Sequence[str]) -> dict[str, list[RunResult]]:
        """Return the results of each of ``runs``, in the order they began."""
        found: dict[str, list[RunResult]] = {run: [] for run in runs}
        with self._database.explained():
            keys = {number: key for key, number in self._database.cells()}
            rows = self._db.execute(f"{_OF_RUNS} ({', '.join('?' * len(runs))}) ORDER BY started", list(runs))
            for run, cell, started, verdict, previous, seconds, suite in rows:
                found[run].append(
                    RunResult(
                        keys[cell],
                        moment(started),
                        Verdict(verdict),
                        Verdict(previous) if previous else None,
                        seconds,
                        suite,
                    )
                )
        return found

    def size(self) -> tuple[int, int]:
        """Return how many runs and how many results there are."""
        with self._database.explained():
            row = self._db.execute("SELECT count(DISTINCT run), count(*) FROM results").fetchone()
        return int(row[0]), int(row[1])

    # Proof

    def sightings(self, issue: str | None = None) -> list[Sighting]:
        """Return what was observed of the product, for ``issue`` or for all, the newest at the end.

        Of each scenario only results of its current text count, which is that of its newest result: what an
        earlier text saw says nothing of what the scenario can tell now.
        """
        found: dict[tuple[str, ...], Sighting] = {}
        with self._database.explained():
            cells = self._database.cells(issue)
            texts = self._current_texts(cells)
            for key, number in cells:
                one = (key.issue, key.scenario, key.role, key.product, key.version)
                wanted = (number, texts[key.issue, key.scenario], *_SEEN_ARE)
                for seen, count, newest in self._db.execute(_SEEN, wanted).fetchall():
                    at, run, verdict = self._db.execute(
                        "SELECT started, run, verdict FROM results WHERE id = ?", (newest,)
                    ).fetchone()
                    sighting = Sighting(*one, Observation(seen), Verdict(verdict), count, run, moment(at))
                    # Cells that differ in their substrate or the build they came from are one here.
                    if other := found.get((*one, seen)):
                        newer = max(sighting, other, key=_time)
                        sighting = newer._replace(results=count + other.results)
                    found[*one, seen] = sighting
        return sorted(found.values(), key=_time)

    def _current_texts(self, cells: Iterable[tuple[Key, int]]) -> dict[tuple[str, str], str]:
        """Return the text of the newest result of each scenario, by issue and scenario."""
        newest: dict[tuple[str, str], tuple[int, str, str]] = {}
        for key, number in cells:
            if row := self._db.execute(_NEWEST_TEXT, (number,)).fetchone():
                scenario = key.issue, key.scenario
                newest[scenario] = max(newest.get(scenario, row), row)
        return {scenario: text for scenario, (_, _, text) in newest.items()}

    def proof(self, issue: str) -> Proof:
        """Return both sides of the proof of ``issue``.

        It is proven where a reproduction showed the symptom on some build, and either the same
        scenario conformed on another build, or a workaround of the issue conformed; or where an
        injection showed the symptom and a reproduction or workaround conformed. A control proves nothing:
        without the cause, one that could not see the bug would conform as well. What products did by
        themselves goes before injections. Where only one side exists, that one is returned.
        """
        return prove(self.sightings(issue))


def prove(sightings: Iterable[Sighting]) -> Proof:
    """Return what ``sightings`` of one issue, the newest at the end, prove of it; see History.proof."""
    newest_first = list(sightings)[::-1]
    # A symptom in spite of the workaround says that the workaround fails, not that the scenario
    # distinguishes builds; so it counts for neither side.
    showing = [one.past for one in newest_first if one.observation is Observation.SYMPTOM]
    affected = [one for role in ("reproduction", "injection") for one in showing if one.role == role]
    unaffected = [
        one.past
        for one in newest_first
        if one.observation is Observation.CONFORMS and one.role != "control"
    ]
    for symptom in affected:
        for conforms in unaffected:
            if _opposite(symptom, conforms):
                return Proof(symptom, conforms)
    if affected:
        return Proof(affected[0], None)
    return Proof(None, unaffected[0] if unaffected else None)


class _Result(NamedTuple):
    """A result as summaries read it; words stay words, as there may be a million."""

    started: int
    run: str
    observation: str
    verdict: str
    suite: str
    seconds: float


def _summary(key: Key, rows: Sequence[_Result]) -> CellHistory:
    newest = rows[-1]
    before = next((row for row in reversed(rows) if row.run != newest.run), None)
    judged = [row for row in rows if row.observation in _JUDGED]
    changes = [row for last, row in pairwise(judged) if row.observation != last.observation]
    groups: dict[str, dict[str, int]] = {}
    for row in judged:
        group = groups.setdefault(row.suite, {})
        group[row.observation] = group.get(row.observation, 0) + 1
    return CellHistory(
        newest=_past(key, newest.run, newest.started, newest.observation, newest.verdict),
        seconds=newest.seconds,
        runs=len({row.run for row in rows}),
        results=len(rows),
        flips=len(changes),
        changed=moment(changes[-1].started) if changes else None,
        previous=Verdict(before.verdict) if before else None,
        previous_run=before.run if before else None,
        flakes=Flakes.of(groups.values()),
    )


def _past(key: Key, run: str, started: int, observation: str, verdict: str) -> PastResult:
    return PastResult(
        run, key.scenario, key.role, key.product, key.version,
        moment(started), Observation(observation), Verdict(verdict),
    )  # fmt: skip


def _time(one: Sighting) -> tuple[datetime, str]:
    return one.started, one.run


def _opposite(symptom: PastResult, conforms: PastResult) -> bool:
    # A control lacks the cause, so that a check which never fails conforms, too; an injection that conforms
    # failed to recognise the symptom that it had brought about.
    if conforms.role in ("control", "injection"):
        return False
    if symptom.role == "injection" or conforms.role == "workaround":
        return True
    same_build = (symptom.product, symptom.version) == (conforms.product, conforms.version)
    return symptom.scenario == conforms.scenario and not same_build
