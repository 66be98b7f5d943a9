"""The promise that a daemon does not crash, as all cells of a run together keep or break it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import Expectation
from clusterproof.reports.results.crashes import counts, crash_lines, join_judgements, judge_crashes
from clusterproof.reports.results.kept_evidence import command
from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.results.results import CRASH_WATCH, Crash
from clusterproof.reports.results.verdicts import Observation, Verdict
from tests.samples import INCUS_702, INCUS_751, LXD_502, START, cell

ISSUE = load_ledger()["daemon-does-not-crash"]
CHECKOUT = Path(__file__).parents[3]
TEXT = "ab12"
UNJUDGED = [
    {"observation": Observation.LAB_ERROR},
    {"observation": Observation.SCENARIO_ERROR},
    {"observation": Observation.NOT_RUN},
    {"role": "injection", "expectation": Expectation.AFFECTED},
    {"fault": "full-disk"},
    {"substrate": "existing"},
]


def crash(**changes) -> Crash:
    facts = {"member": "m1", "build": "incus@7.0.2", "kind": "panic", "status": "2", "lines": ("panic: oh",)}
    return Crash(**{**facts, "digest": "abc", **changes})


def judged(*cells):
    """Return the promise's cells by build."""
    return {one.build.name: one for one in judge_crashes(cells, ISSUE, TEXT)}


def test_a_build_without_a_crash_keeps_it():
    kept = judged(cell(), cell(observation=Observation.OTHER_FAILURE))["incus@7.0.2"]
    assert (kept.observation, kept.verdict) == (Observation.CONFORMS, Verdict.CLEAR)
    assert kept.reason == "no daemon crashed in 2 cells that were judged"
    assert (kept.issue, kept.scenario, kept.role) == (ISSUE.id, CRASH_WATCH, "reproduction")
    assert (kept.text, kept.suite, kept.run) == (TEXT, cell().suite, cell().run)
    assert (kept.evidence, kept.crashes, kept.seconds, kept.started) == (None, (), 0.0, START)


@pytest.mark.parametrize("kind", ["panic", "assertion", "signal"])
def test_a_crash_breaks_it(kind):
    with_crash = {"crashes": (crash(kind=kind),), "observation": Observation.SYMPTOM}
    broken = judged(
        cell(),
        cell(**with_crash, evidence="evidence/b", started=START + timedelta(seconds=1)),
        cell(**with_crash, evidence="evidence/c"),
    )["incus@7.0.2"]
    assert (broken.observation, broken.verdict) == (Observation.SYMPTOM, Verdict.DISCOVERED)
    assert broken.reason == f"{kind} of the daemon of m1 in 2 cells (abc): panic: oh; see evidence/b"
    assert (broken.evidence, broken.started) == ("evidence/b", START)
    assert broken.crashes == (crash(kind=kind),)


WAITING_LEADER = (
    "panic: runtime error: invalid memory address or nil pointer dereference",
    "goroutine 143 [running]:",
    "github.com/canonical/lxd/lxd/db.(*Cluster).Transaction(0xc00022c9a0?, {0x1edee60?, 0x314e620?}, 0x7?)",
    "github.com/canonical/lxd/lxd/cluster.(*Gateway).heartbeat(0xc00022c9a0, {0x1edf0a8, 0xc0006e0140}, 0x0)",
)


def test_a_crash_that_a_finding_describes_does_not_break_it():
    known = crash(lines=WAITING_LEADER)
    kept = judged(cell(crashes=(known,)))["incus@7.0.2"]
    assert kept.observation is Observation.CONFORMS
    assert kept.reason.startswith("panic of the daemon of m1 in 1 cell (abc): panic: runtime error")
    assert "is known (docs/findings/upgrade-waiting-leader-panics.md); no other daemon crashed" in kept.reason
    broken = judged(cell(crashes=(known, crash(digest="def"))))["incus@7.0.2"]
    assert broken.reason == "panic of the daemon of m1 in 1 cell (def): panic: oh"
    assert [one.digest for one in broken.crashes] == ["def"]


def test_every_known_crash_has_its_page():
    assert ISSUE.known_crashes
    for known in ISSUE.known_crashes:
        assert (CHECKOUT / "docs" / "findings" / f"{known.finding}.md").is_file()


def test_each_crash_is_in_the_reason_once():
    found = crash(), crash(member="m2"), crash(digest="def", member="m3")
    assert judged(cell(crashes=found))["incus@7.0.2"].reason.split("; ") == [
        "panic of the daemon of m1 in 1 cell (abc): panic: oh",
        "panic of the daemon of m3 in 1 cell (def): panic: oh",
    ]


@pytest.mark.parametrize(
    "harmless",
    [crash(documented=True), crash(kind="exit", status="1"), crash(kind="killed", status="9")],
    ids=lambda one: one.kind,
)
def test_what_is_documented_a_refusal_or_from_outside_does_not_break_it(harmless):
    assert judged(cell(crashes=(harmless,)))["incus@7.0.2"].verdict is Verdict.CLEAR


@pytest.mark.parametrize("changes", UNJUDGED, ids=str)
def test_a_crash_where_nothing_was_judged_does_not_count(changes):
    one = cell(crashes=(crash(),), **changes)
    assert not counts(one)
    assert judged(one)["incus@7.0.2"].observation in (Observation.LAB_ERROR, Observation.NOT_RUN)
    assert judged(one, cell())["incus@7.0.2"].reason == "no daemon crashed in 1 cell that was judged"


def test_a_build_that_was_only_blocked_is_not_known():
    blocked, absent = cell(observation=Observation.LAB_ERROR), cell(observation=Observation.NOT_RUN)
    not_known = judged(blocked, absent)["incus@7.0.2"]
    assert not_known.verdict is Verdict.BLOCKED
    assert not_known.reason == "no cell of this build counts: 1 lab-error, 1 not-run"
    assert judged(absent)["incus@7.0.2"].verdict is Verdict.UNTESTABLE


def test_both_builds_of_a_change_are_watched_and_the_one_that_ran_is_meant():
    change = cell(build=INCUS_751, peer=INCUS_702, crashes=(crash(),))
    found = judged(change, cell(build=LXD_502))
    assert {name: one.verdict for name, one in found.items()} == {
        "incus@7.0.2": Verdict.DISCOVERED,
        "incus@7.5.1": Verdict.CLEAR,
        "lxd@5.0.2": Verdict.CLEAR,
    }
    assert {one.peer for one in found.values()} == {None}


def test_what_an_image_knows_of_its_build_is_taken_from_a_cell_that_ran():
    vague = INCUS_702.model_copy(update={"api_extensions": None, "schema_version": None})
    assert judged(cell(build=vague, observation=Observation.NOT_RUN), cell())["incus@7.0.2"].build == INCUS_702


def test_judging_twice_is_judging_once():
    cells = [cell(crashes=(crash(),)), cell(build=LXD_502)]
    once = judge_crashes(cells, ISSUE, TEXT)
    assert judge_crashes([*cells, *once], ISSUE, TEXT) == once


def test_shards_come_to_one_judgement():
    blocked, absent = cell(observation=Observation.LAB_ERROR), cell(observation=Observation.NOT_RUN)
    broken = cell(crashes=(crash(),), evidence="evidence/a")
    worse = cell(crashes=(crash(digest="def"),), started=START - timedelta(seconds=9))

    def joined(*shards):
        (one,) = join_judgements(one for shard in shards for one in judge_crashes([shard], ISSUE, TEXT))
        return one

    assert joined(absent, blocked).verdict is Verdict.BLOCKED
    assert joined(blocked, cell()).reason == "no daemon crashed in 1 cell that was judged"
    both = joined(cell(), broken, worse, broken)
    assert (both.verdict, both.evidence, both.started) == (Verdict.DISCOVERED, "evidence/a", worse.started)
    assert [one.digest for one in both.crashes] == ["abc", "def"]
    assert both.reason.count("panic of the daemon") == 2
    assert list(join_judgements([cell()])) == []


def test_products_that_the_entry_does_not_name():
    of_incus = ISSUE.model_copy(update={"products": ("incus",)})
    found = judge_crashes([cell(), cell(build=LXD_502)], of_incus, TEXT)
    assert [one.build.name for one in found] == ["incus@7.0.2"]


CELLS = st.builds(
    lambda changes, build, crashes: cell(**{**changes, "build": build, "crashes": crashes}),
    st.sampled_from([{}, {"observation": Observation.OTHER_FAILURE}, *UNJUDGED]),
    st.sampled_from([INCUS_702, INCUS_751, LXD_502]),
    st.lists(
        st.builds(
            lambda kind, documented, build: crash(kind=kind, documented=documented, build=build.name),
            st.sampled_from(["panic", "assertion", "signal", "exit", "killed"]),
            st.booleans(),
            st.sampled_from([INCUS_702, INCUS_751, LXD_502]),
        ),
        max_size=2,
    ).map(tuple),
)


@given(st.lists(CELLS, max_size=6))
def test_the_rule(cells):
    """One cell for each build that ran, broken only by what counts, and kept only where something counts."""
    found = judge_crashes(cells, ISSUE, TEXT)
    assert [one.build.name for one in found] == list(dict.fromkeys(one.build.name for one in cells))
    for one in found:
        counting = [other for other in cells if other.build == one.build and counts(other)]
        crashes = [
            crash
            for other in counting
            for crash in other.crashes
            if crash.build == one.build.name
            and crash.kind in ("panic", "assertion", "signal")
            and not crash.documented
        ]
        assert (one.observation is Observation.SYMPTOM) == bool(crashes)
        assert one.observation.judged == bool(counting)


def test_it_is_run_again_by_running_its_build():
    assert command(judged(cell())["incus@7.0.2"]) == "clusterproof qualify --build incus@7.0.2"


def test_crashes_that_do_not_count_are_printed_with_a_path_that_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocked = cell(observation=Observation.LAB_ERROR, crashes=(crash(),), evidence="evidence/a b")
    counted = cell(crashes=(crash(digest="def"),))
    promise = judge_crashes([blocked, counted], ISSUE, TEXT)
    assert list(crash_lines([blocked, counted, *promise], tmp_path / "out" / "r")) == [
        "not judged: a daemon of incus@7.0.2: panic of the daemon of m1 in 1 cell (abc): panic: oh; "
        "see 'out/r/evidence/a b'"
    ]


def test_what_a_daemon_said_steers_no_terminal():
    hostile = crash(lines=("panic: \x1b[2J" + "x" * 1000,))
    (line,) = crash_lines([cell(observation=Observation.LAB_ERROR, crashes=(hostile,), evidence="evidence/a")])
    reason = judged(cell(crashes=(hostile,)))["incus@7.0.2"].reason
    for text in (line, reason):
        assert "\x1b" not in text
        assert len(text) < 300
