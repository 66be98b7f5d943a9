import sqlite3
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builds import Expectation
from reports.history import History, HistoryError, record
from reports.verdicts import Observation, Verdict
from tests.samples import INCUS_702, INCUS_751, LXD_502, START, cell, sample_ledger, sample_run

OTHER = "suites/upgrade/test_downgrade.py::test_something_else"


def at(hour, **changes):
    return cell(run=f"run-{hour}", started=START + timedelta(hours=hour), **changes)


def rows(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT * FROM results").fetchall()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "history.sqlite"


def test_recording_again_changes_nothing(path, tmp_path):
    run = sample_run(sample_ledger(tmp_path))
    record(path, run)
    once = rows(path)
    record(path, run)
    record(path, reversed(run))
    assert rows(path) == once
    assert len(once) == len(run)


SEVERAL = [
    at(hour, observation=seen)
    for hour in range(4)
    for seen in (Observation.CONFORMS, Observation.SYMPTOM)
]


@settings(max_examples=20)  # each one waits for the disk
@given(st.permutations(SEVERAL), st.integers(0, len(SEVERAL)))
def test_the_order_of_recording_does_not_matter(tmp_path_factory, order, split):
    folder = tmp_path_factory.mktemp("history")
    record(folder / "a", SEVERAL)
    record(folder / "b", order[:split])
    record(folder / "b", order[split:])
    assert rows(folder / "a") == rows(folder / "b")


def test_the_previous_verdict_is_that_of_the_newest_run_before(path):
    first, second, third = (
        at(1),
        at(2, observation=Observation.SYMPTOM),
        at(3, observation=Observation.LAB_ERROR),
    )
    record(path, [third, first, second])
    with History(path) as history:
        assert history.previous(first) is None
        assert history.previous(second) is Verdict.CONFORMS
        assert history.previous(third) is Verdict.REGRESSED
        assert history.previous(at(9, build=INCUS_751)) is None
        repeat = second.model_copy(update={"started": second.started + timedelta(minutes=5)})
        history.record([repeat])
        assert history.previous(repeat) is Verdict.CONFORMS  # not its own run's
        assert history.runs(first.key) == 3


def test_flips_are_counted_over_what_was_seen_of_the_product(path):
    seen = [
        Observation.CONFORMS,
        Observation.LAB_ERROR,
        Observation.CONFORMS,
        Observation.SYMPTOM,
        Observation.NOT_RUN,
        Observation.CONFORMS,
    ]
    record(path, [at(hour, observation=one) for hour, one in enumerate(seen)])
    with History(path) as history:
        assert history.flips(cell().key) == 2
        assert history.flips(cell(build=LXD_502).key) == 0


SICK = {"observation": Observation.SYMPTOM, "expectation": Expectation.UNKNOWN}
INJECTED = {"role": "injection", "scenario": OTHER, "expectation": Expectation.AFFECTED}


@pytest.mark.parametrize(
    ("cells", "proven", "symptom", "conforms"),
    [
        ([], False, None, None),
        ([at(1)], False, None, "run-1"),
        ([at(1, **SICK)], False, "run-1", None),
        ([at(1, observation=Observation.OTHER_FAILURE), at(2, build=LXD_502)], False, None, "run-2"),
        # the same scenario on two builds
        ([at(1, build=LXD_502, **SICK), at(2)], True, "run-1", "run-2"),
        # on one build: the scenario is unsteady, which proves nothing
        ([at(1, **SICK), at(2)], False, "run-1", None),
        # on one build with the documented way out, or without the cause
        ([at(1, **SICK), at(2, role="workaround", scenario=OTHER)], True, "run-1", "run-2"),
        ([at(1, **SICK), at(2, role="control", scenario=OTHER)], True, "run-1", "run-2"),
        # another reproduction that conforms says nothing of this one
        ([at(1, build=LXD_502, **SICK), at(2, scenario=OTHER)], False, "run-1", None),
        # the symptom in spite of the way out
        ([at(1, build=LXD_502, role="workaround", **SICK), at(2)], False, None, "run-2"),
        # brought about on purpose, and seen; what a product did by itself goes before
        ([at(1, **{**SICK, **INJECTED}), at(2)], True, "run-1", "run-2"),
        ([at(1, **{**SICK, **INJECTED})], False, "run-1", None),
        (
            [at(1, build=LXD_502, **SICK), at(2), at(3, **{**SICK, **INJECTED})],
            True,
            "run-1",
            "run-2",
        ),
        # brought about on purpose, and not seen: the scenario cannot tell
        ([at(1, **SICK), at(2, **INJECTED)], False, "run-1", None),
        # the newest pair counts
        (
            [at(n, build=LXD_502, **SICK) for n in (1, 4)] + [at(n) for n in (2, 3)],
            True,
            "run-4",
            "run-3",
        ),
    ],
)
def test_proof_has_two_sides(path, cells, proven, symptom, conforms):
    record(path, cells)
    with History(path) as history:
        proof = history.proof("lxd-15313")
        assert proof.proven is proven
        assert (proof.symptom and proof.symptom.run) == symptom
        assert (proof.conforms and proof.conforms.run) == conforms
        assert not history.proof("other").proven


def test_records_are_the_newest_results_with_their_times_and_flips(path):
    seen = [
        cell(run="r1", seconds=3, started=START, observation=Observation.SYMPTOM),
        cell(run="r2", seconds=4, started=START + timedelta(hours=1)),
        cell(run="r3", seconds=5, started=START + timedelta(hours=2), observation=Observation.LAB_ERROR),
    ]
    other = cell(scenario="suites/b.py::test_b", seconds=7)
    with History(path) as history:
        assert history.records() == {}
        history.record([*reversed(seen), other])
        records = history.records()
    assert set(records) == {seen[0].key, other.key}
    found = records[seen[0].key]
    assert (found.newest.run, found.newest.verdict, found.seconds, found.flips) == ("r3", Verdict.BLOCKED, 5, 1)
    assert (records[other.key].seconds, records[other.key].flips) == (7, 0)


def test_what_is_proven_stays_so(path):
    record(path, [at(1, build=LXD_502, **SICK), at(2)])
    record(path, [at(3, build=LXD_502)])
    with History(path) as history:
        assert history.proof("lxd-15313").proven


def damaged(path):
    record(path, [at(hour, reason="x" * 3000) for hour in range(40)])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    path.write_bytes(data)


def foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.execute("PRAGMA user_version = 1")


def newer(path):
    record(path, [])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda path: path.write_text("This is not a database, but long enough to be one." * 99),
            "not a database",
        ),
        (damaged, "malformed"),
        (foreign, "another program"),
        (newer, "schema 99"),
        (lambda path: path.mkdir(), "unable to open"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_way_out(path, spoil, words):
    path.parent.mkdir(parents=True)
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(HistoryError, match=words) as caught:
        record(path, [at(1)])
    assert f'history "{path}"' in str(caught.value)
    assert "move" in str(caught.value) or "name another file" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before  # and nothing of it is lost


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match="cannot be used"):
        record(tmp_path / "file" / "history.sqlite", [])


def test_processes_may_record_at_once(path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.samples import cell; from reports.history import record\n"
        "for n in range(10): record(Path(sys.argv[1]), [cell(run=f'{sys.argv[2]}-{n}')])"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(3)]
    assert [one.wait(60) for one in started] == [0, 0, 0]
    with History(path) as history:
        assert history.runs(cell(build=INCUS_702).key) == 30
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
