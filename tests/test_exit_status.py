"""Exit statuses: their table, and what an error of the operating system means."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from pathlib import Path

import pytest

from clusterproof.exit_status import ExitStatus, fault, in_words, status_of

PAGE = Path(__file__).parent.parent / "docs" / "exit-status.md"


def test_the_table_in_the_docs_is_that_of_the_code():
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(str(int(one)), one.meaning) for one in ExitStatus]


@pytest.mark.parametrize(
    ("number", "status", "way_out"),
    [
        (errno.ENOSPC, ExitStatus.INCOMPLETE, "free some room"),
        (errno.EDQUOT, ExitStatus.INCOMPLETE, "free some room"),
        (errno.EFBIG, ExitStatus.INCOMPLETE, "ulimit -f"),
        (errno.EIO, ExitStatus.INCOMPLETE, "the disk fails"),
        (errno.EACCES, ExitStatus.USAGE, "name another place"),
        (errno.ENOTDIR, ExitStatus.USAGE, "name another place"),
        (errno.EROFS, ExitStatus.USAGE, "name another place"),
    ],
)
def test_a_place_that_cannot_be_written(number, status, way_out):
    error = OSError(number, os.strerror(number), "/a/place")
    assert status_of(error) is status
    said, _, how = in_words(error).partition("; ")
    assert said == f'cannot use "/a/place": {os.strerror(number)}'
    assert way_out in how


def test_a_database_without_room(tmp_path):
    database = sqlite3.connect(tmp_path / "x")
    database.execute("CREATE TABLE t (x)")
    database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        database.execute("INSERT INTO t VALUES (zeroblob(50000))")
    outer = RuntimeError("history")
    outer.__cause__ = full.value
    assert status_of(outer) is ExitStatus.INCOMPLETE
    assert status_of(RuntimeError("history")) is ExitStatus.USAGE


def test_a_fault_whose_traceback_cannot_be_kept(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/nope")
    assert "its traceback could not be kept" in fault(ValueError("x"))
