"""Crashes that no issue documents, as lines at the end of a run."""

from __future__ import annotations

from clusterproof.reports.results.crashes import crash_lines
from clusterproof.reports.results.results import Crash
from tests.samples import cell


def crash(**changes) -> Crash:
    facts = {"member": "m1", "build": "incus@7.0.2", "kind": "panic", "status": "2", "lines": ("panic: oh",)}
    return Crash(**{**facts, "digest": "abc", **changes})


def test_equal_crashes_of_a_build_are_one_line():
    cells = [cell(crashes=(crash(), crash(member="m2"))), cell(crashes=(crash(),)), cell()]
    assert crash_lines(cells) == ["undocumented panic of a daemon of incus@7.0.2 in 2 cells (abc): panic: oh"]


def test_each_build_and_each_crash_has_its_line():
    found = crash(), crash(digest="def"), crash(build="incus@7.5.1")
    assert [line.split(" in ")[0] for line in crash_lines([cell(crashes=found)])] == [
        "undocumented panic of a daemon of incus@7.0.2",
        "undocumented panic of a daemon of incus@7.0.2",
        "undocumented panic of a daemon of incus@7.5.1",
    ]


def test_what_is_documented_or_a_refusal_to_run_is_none():
    found = crash(documented=True), crash(kind="exit", status="1")
    assert crash_lines([cell(crashes=found)]) == []


def test_what_a_daemon_said_steers_no_terminal():
    hostile = crash(lines=("panic: \x1b[2J" + "x" * 1000,))
    (line,) = crash_lines([cell(crashes=(hostile,), evidence="evidence/a")])
    assert "\x1b" not in line
    assert line.endswith("x; see evidence/a")
    assert len(line) < 300
