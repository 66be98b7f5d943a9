import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterproof.builds import Expectation
from clusterproof.reports.history.flakes import Flakes
from clusterproof.reports.history.history import History, HistoryError
from clusterproof.reports.results.verdicts import Observation, Verdict
from tests.samples import INCUS_702, INCUS_751, LXD_502, START, cell, record, sample_ledger, sample_run

OTHER = "suites/upgrade/test_downgrade.py::test_something_else"


def at(hour, **changes):
    return cell(run=f"run-{hour}", started=START + timedelta(hours=hour), **changes)


@contextmanager
def opened(path):
    """Open a database and let go of it at the end: one that is collected later still writes then."""
    with closing(sqlite3.connect(path)) as db, db:
        yield db


def rows(path):
    with opened(path) as db:
        cells = {row[0]: row[1:] for row in db.execute("SELECT * FROM cells")}
        return sorted((*cells[row[1]], *row[2:]) for row in db.execute("SELECT * FROM results"))


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
    with History(folder / "a") as one, History(folder / "b") as other:
        assert list(one.lines()) == list(other.lines())
        assert one.records() == other.records()
        assert one.current() == other.current()
        assert one.sightings() == other.sightings()


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
        assert history.recorded(first.key).runs == 3
        assert history.recorded(first.key).results == 4


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
        record_of = history.recorded(cell().key)
        assert (record_of.flips, record_of.changed) == (2, START + timedelta(hours=5))
        assert history.recorded(cell(build=LXD_502).key) is None


AFFECTED = {"observation": Observation.SYMPTOM, "expectation": Expectation.UNKNOWN}
INJECTED = {"role": "injection", "scenario": OTHER, "expectation": Expectation.AFFECTED}


@pytest.mark.parametrize(
    ("cells", "proven", "symptom", "conforms"),
    [
        ([], False, None, None),
        ([at(1)], False, None, "run-1"),
        ([at(1, **AFFECTED)], False, "run-1", None),
        ([at(1, observation=Observation.OTHER_FAILURE), at(2, build=LXD_502)], False, None, "run-2"),
        # the same scenario on two builds
        ([at(1, build=LXD_502, **AFFECTED), at(2)], True, "run-1", "run-2"),
        # on one build: the scenario is unsteady, which proves nothing
        ([at(1, **AFFECTED), at(2)], False, "run-1", None),
        # on one build with the documented way out; without the cause, a check that never fails conforms, too
        ([at(1, **AFFECTED), at(2, role="workaround", scenario=OTHER)], True, "run-1", "run-2"),
        ([at(1, **AFFECTED), at(2, role="control", scenario=OTHER)], False, "run-1", None),
        ([at(1, build=LXD_502, **AFFECTED), at(2, role="control", scenario=OTHER)], False, "run-1", None),
        ([at(1, **{**AFFECTED, **INJECTED}), at(2, role="control", scenario=OTHER)], False, "run-1", None),
        ([at(2, role="control", scenario=OTHER)], False, None, None),
        # what an earlier text of the scenario saw says nothing of what it can tell now
        ([at(1, build=LXD_502, text="a", **AFFECTED), at(2, text="b")], False, None, "run-2"),
        ([at(1, build=LXD_502, text="b", **AFFECTED), at(2, text="b")], True, "run-1", "run-2"),
        # another reproduction that conforms says nothing of this one
        ([at(1, build=LXD_502, **AFFECTED), at(2, scenario=OTHER)], False, "run-1", None),
        # the symptom in spite of the way out
        ([at(1, build=LXD_502, role="workaround", **AFFECTED), at(2)], False, None, "run-2"),
        # brought about on purpose, and seen; what a product did by itself goes before
        ([at(1, **{**AFFECTED, **INJECTED}), at(2)], True, "run-1", "run-2"),
        ([at(1, **{**AFFECTED, **INJECTED})], False, "run-1", None),
        (
            [at(1, build=LXD_502, **AFFECTED), at(2), at(3, **{**AFFECTED, **INJECTED})],
            True,
            "run-1",
            "run-2",
        ),
        # brought about on purpose, and not seen: the scenario cannot tell
        ([at(1, **AFFECTED), at(2, **INJECTED)], False, "run-1", None),
        # the newest pair counts
        (
            [at(n, build=LXD_502, **AFFECTED) for n in (1, 4)] + [at(n) for n in (2, 3)],
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


def test_records_say_what_is_known_of_every_cell(path):
    seen = [
        cell(run="r1", seconds=3, started=START, observation=Observation.SYMPTOM),
        cell(run="r2", seconds=4, started=START + timedelta(hours=1), observation=Observation.LAB_ERROR),
        cell(run="r2", seconds=4, started=START + timedelta(hours=2)),
        cell(run="r3", seconds=5, started=START + timedelta(hours=3), observation=Observation.LAB_ERROR),
    ]
    other = cell(issue="lxd-1", scenario="suites/b.py::test_b", seconds=7)
    with History(path) as history:
        assert history.records() == {}
        history.record([*reversed(seen), other])
        records = history.records()
        assert history.records("lxd-1") == {other.key: records[other.key]}
        assert history.recorded(other.key) == records[other.key]
    assert list(records) == sorted([seen[0].key, other.key])
    found = records[seen[0].key]
    assert (found.newest.run, found.newest.verdict, found.seconds) == ("r3", Verdict.BLOCKED, 5)
    assert (found.runs, found.results) == (3, 4)
    assert (found.flips, found.changed) == (1, START + timedelta(hours=2))
    assert (found.previous, found.previous_run) == (Verdict.CONFORMS, "r2")
    alone = records[other.key]
    assert (alone.seconds, alone.flips, alone.changed, alone.previous, alone.previous_run) == (
        7, 0, None, None, None
    )  # fmt: skip


def test_flakes_are_counted_among_repeats_of_one_suite(path):
    def of(suite, *several):
        return [
            cell(run=f"{suite}-{n}", started=START + timedelta(hours=n), suite=suite, observation=one)
            for n, one in enumerate(several)
        ]

    shows, conforms, lab = Observation.SYMPTOM, Observation.CONFORMS, Observation.LAB_ERROR
    several = [*of("a", shows, shows, conforms, lab, shows), *of("b", *[conforms] * 5), *of("c", shows)]
    record(path, several)
    with History(path) as history:
        flakes = history.recorded(cell().key).flakes
        # A new suite may show something else; one result alone has nothing to differ from.
        assert flakes == Flakes(1, 9)
        repeated = [at(40, observation=one) for one in (shows, conforms)]
        repeated[1] = repeated[1].model_copy(update={"started": START + timedelta(hours=41)})
        history.record(repeated)
        assert history.recorded(cell().key).flakes == Flakes(2, 11)


def test_the_current_results_are_all_of_each_cell_s_newest_run(path):
    old, renewed = at(1), at(2, observation=Observation.SYMPTOM)
    repeat = renewed.model_copy(update={"started": START + timedelta(hours=3)})
    elsewhere = at(1, build=LXD_502)
    with History(path) as history:
        history.record([repeat, elsewhere, renewed, old])
        assert history.current() == [elsewhere, renewed, repeat]


def test_a_trail_is_the_newest_results_of_each_cell_of_an_issue(path):
    record(path, [*(at(hour) for hour in range(5)), at(1, build=LXD_502), at(2, issue="lxd-1")])
    with History(path) as history:
        trail = history.trail("lxd-15313", last=3)
        assert {key: [past.run for past in several] for key, several in trail.items()} == {
            at(0).key: ["run-2", "run-3", "run-4"],
            at(0, build=LXD_502).key: ["run-1"],
        }


def test_runs_are_summed_up_the_newest_first(path):
    with History(path) as history:
        assert (history.summaries(9), history.size()) == ([], (0, 0))
        history.record([at(2), at(3), at(3, build=LXD_502, observation=Observation.SYMPTOM)])
        newest, older = history.summaries(9)
        assert (newest.id, newest.first, newest.results) == ("run-3", START + timedelta(hours=3), 2)
        assert newest.verdicts == {Verdict.REGRESSED: 1, Verdict.CONFORMS: 1}
        assert (older.id, older.last) == ("run-2", START + timedelta(hours=2))
        assert history.summaries(1) == [newest]
        assert history.size() == (2, 3)


def test_sightings_say_how_often_and_when_last(path):
    peers = [at(hour, peer=peer) for hour, peer in ((1, LXD_502), (4, None), (2, INCUS_751))]
    affected = [at(hour, observation=Observation.SYMPTOM) for hour in (3, 5)]
    with History(path) as history:
        history.record([*peers, *affected, at(6, observation=Observation.LAB_ERROR)])
        conforms, symptom = history.sightings("lxd-15313")
        assert (conforms.observation, conforms.results, conforms.run) == (Observation.CONFORMS, 3, "run-4")
        assert (symptom.observation, symptom.results, symptom.run) == (Observation.SYMPTOM, 2, "run-5")
        assert symptom.past.started == START + timedelta(hours=5)
        assert history.sightings("lxd-1") == []
        assert history.sightings() == [conforms, symptom]


def test_what_a_fault_injected_cluster_did_says_nothing_of_a_build(path):
    with History(path) as history:
        history.record([at(1, fault="kill-member"), at(2)])
        assert [one.run for one in history.current()] == ["run-2"]


def test_what_is_proven_stays_so(path):
    record(path, [at(1, build=LXD_502, **AFFECTED), at(2)])
    record(path, [at(3, build=LXD_502)])
    with History(path) as history:
        assert history.proof("lxd-15313").proven


def damaged(path):
    record(path, [at(hour, reason="x" * 3000) for hour in range(40)])
    with opened(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    path.write_bytes(data)


def foreign(path):
    with opened(path) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.execute("PRAGMA user_version = 1")


def newer(path):
    record(path, [])
    with opened(path) as db:
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
        "from tests.samples import cell, record\n"
        "for n in range(10): record(Path(sys.argv[1]), [cell(run=f'{sys.argv[2]}-{n}')])"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(3)]
    assert [one.wait(60) for one in started] == [0, 0, 0]
    with History(path) as history:
        assert history.recorded(cell(build=INCUS_702).key).runs == 30
    with opened(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
