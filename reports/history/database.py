"""The history's SQLite file: its tables, and how it is opened, changed and explained."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clusterproof.reports.results.results import Cell, Key

SCHEMA = 3
_APPLICATION = 0x636C7072  # "clpr", so that another program's database is never taken for ours
_WAIT = 30.0  # seconds for another process that is writing
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Summaries read everything but the lines, which are most of the file: the index holds all they need.
_CREATE = """
CREATE TABLE cells (
    id INTEGER PRIMARY KEY,
    issue TEXT NOT NULL,
    scenario TEXT NOT NULL,
    role TEXT NOT NULL,
    product TEXT NOT NULL,
    version TEXT NOT NULL,
    peer_product TEXT NOT NULL,
    peer_version TEXT NOT NULL,
    substrate TEXT NOT NULL,
    UNIQUE (issue, scenario, role, product, version, peer_product, peer_version, substrate)
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    cell INTEGER NOT NULL REFERENCES cells,
    started INTEGER NOT NULL,
    run TEXT NOT NULL,
    observation TEXT NOT NULL,
    verdict TEXT NOT NULL,
    suite TEXT NOT NULL,
    text TEXT NOT NULL,
    seconds REAL NOT NULL,
    line TEXT NOT NULL,
    UNIQUE (cell, started, run)
);
CREATE INDEX summary ON results (cell, started, run, observation, verdict, suite, text, seconds)
"""

_CELL = "INSERT INTO cells VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)"
_NUMBER = (
    "SELECT id FROM cells WHERE issue = ? AND scenario = ? AND role = ? AND product = ? AND version = ? "
    "AND peer_product = ? AND peer_version = ? AND substrate = ?"
)

# A result is what one cell showed at one time in one run. Were the same one ever recorded with two
# contents, the choice must not depend on which came first.
_RECORD = """
INSERT INTO results (cell, started, run, observation, verdict, suite, text, seconds, line)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE
SET observation = excluded.observation, verdict = excluded.verdict, suite = excluded.suite,
    text = excluded.text, seconds = excluded.seconds, line = excluded.line
WHERE excluded.line > line
"""

_REBUILD = "clusterproof merge out records all runs in it anew"


class HistoryError(RuntimeError):
    """The history's file cannot be used; the message names it and the way out."""


class Database:
    """The SQLite file ``path``, which is made where there is none.

    Every method raises HistoryError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
        try:
            with self.explained():
                self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def add(self, cells: Iterable[Cell]) -> None:
        """Add the results ``cells``, all or none; those already there stay once.

        Results of fault-injected clusters are left out: they say nothing of a build.
        """
        with self.explained(), self._transaction():
            known = dict(self.cells())
            for cell in cells:
                if cell.fault:
                    continue
                key = cell.key
                number = known.get(key)
                if number is None:
                    made = self.connection.execute(_CELL, key)
                    known[key] = number = made.lastrowid or 0
                self.connection.execute(
                    _RECORD,
                    (
                        number,
                        instant(cell.started),
                        cell.run,
                        cell.observation,
                        cell.verdict,
                        cell.suite,
                        cell.text,
                        cell.seconds,
                        cell.line(),
                    ),
                )

    def number(self, key: Key) -> int | None:
        """Return the number of the cell, None where it has no result."""
        row = self.connection.execute(_NUMBER, key).fetchone()
        return None if row is None else int(row[0])

    def cells(self, issue: str | None = None) -> list[tuple[Key, int]]:
        """Return the cells that have results, of ``issue`` or of all, in their order, with their numbers."""
        if issue is None:
            rows = self.connection.execute("SELECT * FROM cells")
        else:
            rows = self.connection.execute("SELECT * FROM cells WHERE issue = ?", (issue,))
        return sorted((Key(*identity), number) for number, *identity in rows)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what goes wrong inside into a HistoryError that names the file and the way out."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(
                f'history "{self.path}" cannot be used ({error}); '
                f"move it away or name another file: {_REBUILD}"
            ) from error

    def _prepare(self) -> None:
        with self._transaction():
            application = self._pragma("application_id")
            version = self._pragma("user_version")
            tables = self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables and not version:
                self._create()
                self.connection.execute(f"PRAGMA application_id = {_APPLICATION}")
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
            self.connection.execute("PRAGMA journal_mode = WAL")

    def _create(self) -> None:
        for statement in _CREATE.split(";"):  # executescript would end the transaction
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")


def instant(time: datetime) -> int:
    """Return ``time`` as the file keeps it: microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(instant: int) -> datetime:
    """Return the time, in UTC, that the file keeps as ``instant``."""
    return _EPOCH + timedelta(microseconds=instant)
