"""The history of all runs, in one SQLite file: what a cell showed before, and what is proven."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from reports.results import Cell, Key
from reports.verdicts import Observation, Verdict

SCHEMA = 1
_APPLICATION = 0x636C7072  # "clpr", so that another program's database is never taken for ours
_WAIT = 30.0  # seconds for another process that is writing

_CREATE = """
CREATE TABLE results (
    run TEXT NOT NULL,
    issue TEXT NOT NULL,
    scenario TEXT NOT NULL,
    role TEXT NOT NULL,
    product TEXT NOT NULL,
    version TEXT NOT NULL,
    peer_product TEXT NOT NULL,
    peer_version TEXT NOT NULL,
    substrate TEXT NOT NULL,
    started TEXT NOT NULL,
    observation TEXT NOT NULL,
    verdict TEXT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (
        issue, scenario, role, product, version, peer_product, peer_version, substrate, run, started
    )
) WITHOUT ROWID
"""

# A result is what one cell showed at one time in one run. Were the same one ever recorded with two
# contents, the choice must not depend on which came first.
_RECORD = """
INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE
SET observation = excluded.observation, verdict = excluded.verdict, line = excluded.line
WHERE excluded.line > line
"""

_SAME_CELL = (
    "issue = ? AND scenario = ? AND role = ? AND product = ? AND version = ? "
    "AND peer_product = ? AND peer_version = ? AND substrate = ?"
)


class HistoryError(RuntimeError):
    """The history's file cannot be used; the message names it and the way out."""


class Past(NamedTuple):
    """What one cell showed once."""

    run: str
    scenario: str
    role: str
    product: str
    version: str
    started: datetime
    observation: Observation
    verdict: Verdict


class Record(NamedTuple):
    """What is known of one cell: its newest result, how long that took (seconds), and its flips."""

    newest: Past
    seconds: float
    flips: int


class Proof(NamedTuple):
    """The two sides of an issue's proof, each the newest run that showed it, or None."""

    symptom: Past | None
    conforms: Past | None

    @property
    def proven(self) -> bool:
        """Whether the scenario was seen to tell sick from well."""
        return self.symptom is not None and self.conforms is not None


class History:
    """The results of all runs, in the SQLite file ``path``, which is made where there is none.

    A context manager. Every method raises HistoryError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def record(self, cells: Iterable[Cell]) -> None:
        """Add ``cells``, all or none; those already there stay once, in whatever order they come."""
        rows = [
            (cell.run, *cell.key, _instant(cell.started), cell.observation, cell.verdict, cell.line())
            for cell in cells
        ]
        with self._explained(), self._transaction():
            self._db.executemany(_RECORD, rows)

    def previous(self, cell: Cell) -> Verdict | None:
        """Return the cell's verdict in the newest other run that began it before, if any."""
        with self._explained():
            row = self._db.execute(
                f"SELECT verdict FROM results WHERE {_SAME_CELL} AND run != ? AND started < ? "  # noqa: S608
                "ORDER BY started DESC, run DESC LIMIT 1",
                (*cell.key, cell.run, _instant(cell.started)),
            ).fetchone()
        return Verdict(row[0]) if row else None

    def runs(self, key: Key) -> int:
        """Return in how many runs the cell has a result."""
        with self._explained():
            row = self._db.execute(
                f"SELECT count(DISTINCT run) FROM results WHERE {_SAME_CELL}",  # noqa: S608
                key,
            ).fetchone()
        return int(row[0])

    def flips(self, key: Key) -> int:
        """Return how often the cell's observation changed from one time to the next.

        Times when the product was not seen (lab-error, not-run) are passed over. The build is part
        of the key, so a flip is never a new version: the product or the scenario is unsteady.
        """
        with self._explained():
            rows = self._db.execute(
                f"SELECT observation FROM results WHERE {_SAME_CELL} ORDER BY started, run",  # noqa: S608
                key,
            ).fetchall()
        return _flips(Observation(row[0]) for row in rows)

    def records(self) -> dict[Key, Record]:
        """Return what is known of every cell."""
        results: dict[Key, list[tuple[Past, float]]] = {}
        with self._explained():
            rows = self._db.execute(
                "SELECT issue, scenario, role, product, version, peer_product, peer_version, substrate, "
                "run, started, observation, verdict, json_extract(line, '$.seconds') "
                "FROM results ORDER BY started, run"
            )
            for *identity, run, at, seen, said, seconds in rows:
                key = Key(*identity)
                past = _past(run, key.scenario, key.role, key.product, key.version, at, seen, said)
                results.setdefault(key, []).append((past, seconds))
        return {
            key: Record(*several[-1], flips=_flips(past.observation for past, _ in several))
            for key, several in results.items()
        }

    def proof(self, issue: str) -> Proof:
        """Return both sides of the proof of ``issue``.

        It is proven where a reproduction showed the symptom on some build, and either the same
        scenario conformed on another build, or a workaround or control of the issue conformed; or
        where an injection showed the symptom and any scenario of the issue conformed. What products
        did by themselves goes before injections. Where only one side exists, that one is returned.
        """
        with self._explained():
            rows = self._db.execute(
                "SELECT run, scenario, role, product, version, started, observation, verdict "
                "FROM results WHERE issue = ? AND observation IN (?, ?) ORDER BY started DESC, run DESC",
                (issue, Observation.SYMPTOM, Observation.CONFORMS),
            ).fetchall()
        past = [_past(*row) for row in rows]
        # A symptom in spite of the workaround says that the workaround fails, not that the scenario
        # can tell; so it counts for neither side.
        showing = [one for one in past if one.observation is Observation.SYMPTOM]
        sick = [one for role in ("reproduction", "injection") for one in showing if one.role == role]
        well = [one for one in past if one.observation is Observation.CONFORMS]
        for symptom in sick:
            for conforms in well:
                if _opposite(symptom, conforms):
                    return Proof(symptom, conforms)
        if sick:
            return Proof(sick[0], None)
        return Proof(None, well[0] if well else None)

    def _prepare(self) -> None:
        with self._transaction():
            application = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables and not version:
                self._db.execute(_CREATE)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
            elif application != _APPLICATION:
                raise HistoryError(
                    f'history "{self.path}" is the database of another program; '
                    "name another file for the history"
                )
            elif version != SCHEMA:
                raise HistoryError(
                    f'history "{self.path}" has schema {version}, this clusterproof knows {SCHEMA}; '
                    f"update clusterproof, or move the file away: {_REBUILD}"
                )
        # Readers need not wait for a writer then. Where another process is at it, it does this too.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(
                f'history "{self.path}" cannot be used ({error}); '
                f"move it away or name another file: {_REBUILD}"
            ) from error


_REBUILD = "python -m reports matrix --run out/<run> records a run anew"


def record(path: Path, cells: Iterable[Cell]) -> None:
    """Add ``cells`` to the history in ``path``; recording them again changes nothing.

    Raises HistoryError where the file cannot be used.
    """
    with History(path) as history:
        history.record(cells)


def _past(
    run: str, scenario: str, role: str, product: str, version: str, at: str, seen: str, said: str
) -> Past:
    return Past(
        run, scenario, role, product, version, datetime.fromisoformat(at), Observation(seen), Verdict(said)
    )


def _flips(observations: Iterable[Observation]) -> int:
    judged = (one for one in observations if one.judged)
    return sum(before is not after for before, after in pairwise(judged))


def _opposite(symptom: Past, conforms: Past) -> bool:
    if "injection" in (symptom.role, conforms.role):
        # Where the symptom was brought about and nothing was reported, the scenario could not tell.
        return conforms.role != "injection"
    if conforms.role != "reproduction":
        return True
    same_build = (symptom.product, symptom.version) == (conforms.product, conforms.version)
    return symptom.scenario == conforms.scenario and not same_build


def _instant(time: datetime) -> str:
    # A fixed width, so that text order is time order.
    return time.isoformat(timespec="microseconds")
